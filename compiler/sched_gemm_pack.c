// sched_gemm_pack.c: operands of products into packed panels, evaluating their prologue.
//
// A panel of the packed form has for each p one group of `width` consecutive elements: two vectors of
// columns of B, or the rows of a register block of A, rounded up to vectors. Where the operand's
// vectors run across (rows or columns side by side), they are stored as they come. Where they run
// along k, `lanes` rows of a chunk are evaluated into a stage in the L1 cache and turned in registers,
// lanes x lanes at a time.
//
// Steps of p at the end of the last chunk, rows past the last and columns past the last hold anything:
// they meet only elements of C that do not exist.
#include "sched_gemm_internal.h"

// Steps of p that are packed for all panels before the next ones. Rows of k are read in runs of a
// chunk; across, few enough rows that their pages stay known while the panels go along them.
static int64_t chunk_of(const struct gemm *g, const struct gemm_packed *o) {
  return o->operand->along_k ? g->chunk : min64(32, g->kc);
}

static int64_t stage_stride(const struct gemm *g) { return g->chunk + g->lanes; }

static void packed_buffers(struct gemm *g, struct gemm_packed *o, int64_t panels) {
  int64_t count = panels * o->depth * o->width;
  o->buf = (o->shared ? lb_shared : lb_scratch)(g->b, o->name, LT_F32, count);
  if (o->operand->along_k)
    o->stage = lb_scratch(g->b, "stage", LT_F32, g->lanes * stage_stride(g));
}

void gemm_pack_buffers(struct gemm *g) {
  int64_t strips = g->right.shared ? g->panel_tiles * g->tile_strips : g->tile_strips;
  packed_buffers(g, &g->right, min64(strips, g->strips));
  if (g->s->symmetric) g->left = g->right;
  else packed_buffers(g, &g->left, g->left.shared ? g->blocks : g->tile_blocks);
}

// Its first row or column. Every block has a row; said, because the verifier would take the row's
// expression apart instead of using what the conditions around the loads say about it.
static lx panel_start(const struct gemm *g, const struct gemm_packed *o, lx panel) {
  if (o == &g->right) return lx_muli(panel, g->strip);
  return lx_checked(gemm_block_row(g, panel), 0, o->extent);
}

// Vectors across: rows or columns cross … cross+lanes-1, to buf[to + (p - p0) * width].
static void pack_across(struct gemm *g, const struct gemm_packed *o, lx batch, lx cross, lx left,
                        lx to, lx p0, lx p1) {
  struct lb *b = g->b;
  const struct gemm_operand *op = o->operand;
  if (op->enter) op->enter(op->user, batch, cross, left);
  lx p = lb_for_range(b, "p", p0, p1, 1);
  lb_store(b, o->buf, lx_add(to, lx_muli(lx_sub(p, p0), o->width)),
           op->vector(op->user, batch, cross, p, left));
  lb_end(b);
  if (op->leave) op->leave(op->user);
}

// The same where some may be outside: whole vectors unmasked.
static void pack_across_edge(struct gemm *g, const struct gemm_packed *o, lx batch, lx cross, lx to,
                             lx p0, lx p1) {
  struct lb *b = g->b;
  bool aligned = o == &g->right && o->extent % g->strip == 0;
  if (aligned) {
    pack_across(g, o, batch, cross, NULL, to, p0, p1);
    return;
  }
  lb_if(b, lx_le(lx_addi(cross, g->lanes), lx_int(b, o->extent)));
  pack_across(g, o, batch, cross, NULL, to, p0, p1);
  lb_else(b);
  lb_if(b, lx_lt(cross, lx_int(b, o->extent)));
  pack_across(g, o, batch, cross, lx_rsub(o->extent, cross), to, p0, p1);
  lb_end(b);
  lb_end(b);
}

// One row of A or column of B, steps p0 … p1-1, into the stage from `to`.
static void stage_row(struct gemm *g, const struct gemm_packed *o, lx batch, lx cross, lx to, lx p0,
                      lx p1) {
  struct lb *b = g->b;
  const struct gemm_operand *op = o->operand;
  int64_t k = g->s->k, whole = k / g->lanes * g->lanes;
  if (op->enter) op->enter(op->user, batch, cross, NULL);
  if (whole) {
    lx p = lb_for_range(b, "p", p0, lx_mini(p1, whole), g->lanes);
    lb_store(b, o->stage, lx_add(to, lx_sub(p, p0)), op->vector(op->user, batch, cross, p, NULL));
    lb_end(b);
  }
  if (whole < k) {
    lb_if(b, lx_lt(lx_int(b, whole), p1));
    lx last = lx_int(b, whole);
    // In the last chunk, whose start p0 is a multiple of the vector and not past `whole`.
    lx offset = lx_checked(lx_sub(last, p0), 0, g->chunk - g->lanes + 1);
    lb_store(b, o->stage, lx_add(to, offset),
             op->vector(op->user, batch, cross, last, lx_int(b, k - whole)));
    lb_end(b);
  }
  if (op->leave) op->leave(op->user);
}

// Vectors along k of `count` rows or columns, turned.
static void pack_along(struct gemm *g, const struct gemm_packed *o, lx batch, lx cross, lx count, lx to,
                       lx p0, lx p1) {
  struct lb *b = g->b;
  int64_t lanes = g->lanes, stride = stage_stride(g);
  lx c = lb_for_range(b, "c", lx_int(b, 0), lx_min(count, lx_rsub(o->extent, cross)), 1);
  stage_row(g, o, batch, lx_add(cross, c), lx_muli(c, stride), p0, p1);
  lb_end(b);
  lx vectors = lx_divi(lx_addi(lx_maxi(lx_sub(p1, p0), 0), lanes - 1), lanes); // p0 < p1 anyway
  lx q = lb_for_range(b, "q", lx_int(b, 0), vectors, 1);
  lb_call(b, NULL, "btrt_transpose_f32", 4,
          lx_address(o->buf, lx_add(to, lx_muli(q, lanes * o->width)), (lanes - 1) * o->width + lanes),
          lx_int(b, o->width), lx_address(o->stage, lx_muli(q, lanes), (lanes - 1) * stride + lanes),
          lx_int(b, stride));
  lb_end(b);
}

// Steps p0 … p1-1 (one chunk) of a panel, to buf[to …].
static void pack_panel(struct gemm *g, const struct gemm_packed *o, lx batch, lx panel, lx to, lx p0,
                       lx p1) {
  struct lb *b = g->b;
  lx v = lb_for(b, "v", o->width / g->lanes);
  lx cross = lb_let(b, "cross", lx_add(panel_start(g, o, panel), lx_muli(v, g->lanes)));
  lx at = lx_add(to, lx_muli(v, g->lanes));
  lx used = lx_rsub(o == &g->left ? g->rows : g->strip, lx_muli(v, g->lanes)); // of the panel's width
  if (o->operand->along_k)
    pack_along(g, o, batch, cross, lx_mini(used, g->lanes), at, p0, p1);
  else
    pack_across_edge(g, o, batch, cross, at, p0, p1);
  lb_end(b);
}

void gemm_pack_local(struct gemm *g, const struct gemm_packed *o, lx batch, lx first, lx end, lx p0,
                     lx p1) {
  struct lb *b = g->b;
  int64_t chunk = chunk_of(g, o);
  // The last block may end chunks earlier.
  lx chunks = lx_divi(lx_addi(lx_sub(p1, p0), chunk - 1), chunk);
  lx q = lb_for_range(b, "chunk", lx_int(b, 0), lx_mini(chunks, ceil_div(g->kc, chunk)), 1);
  lx from = lb_let(b, "from", lx_add(p0, lx_muli(q, chunk)));
  lx to = lb_let(b, "to", lx_min(lx_addi(from, chunk), p1));
  lx panel = lb_for_range(b, "panel", first, end, 1);
  lx at = lx_add(lx_muli(lx_sub(panel, first), o->depth), lx_muli(q, chunk));
  pack_panel(g, o, batch, panel, lx_muli(at, o->width), from, to);
  lb_end(b);
  lb_end(b);
}

void gemm_pack_shared(struct gemm *g, const struct gemm_packed *o, lx batch, lx first, int64_t panels) {
  struct lb *b = g->b;
  enum { TOGETHER = 4 }; // panels of an item
  int64_t all = o == &g->left ? g->blocks : g->strips;
  int64_t chunk = chunk_of(g, o), chunks = ceil_div(g->s->k, chunk);
  int64_t groups = ceil_div(panels, TOGETHER);
  lx item = lb_parallel_for(b, "item", lx_int(b, 0), lx_int(b, chunks * groups), 1);
  lx p0 = lb_let(b, "from", lx_muli(lx_divi(item, groups), chunk));
  lx p1 = lb_let(b, "to", lx_mini(lx_addi(p0, chunk), g->s->k));
  lx begin = lx_muli(lx_modi(item, groups), TOGETHER);
  lx end = lx_min(lx_mini(lx_addi(begin, TOGETHER), panels), lx_rsub(all, first));
  lx panel = lb_for_range(b, "panel", begin, end, 1);
  lx at = lx_muli(lx_add(lx_muli(panel, o->depth), p0), o->width);
  pack_panel(g, o, batch, lx_add(first, panel), at, p0, p1);
  lb_end(b);
  lb_end(b);
}
