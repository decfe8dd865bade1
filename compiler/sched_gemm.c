// sched_gemm.c: blocks of a matrix product, the nest over them, and the register block.
//
// One parallel region. Operands that several tasks use are packed once into shared memory, before a
// barrier; the others are packed by the task that uses them, a block of kc steps at a time, into its
// own scratch, where they stay in the L2 cache. A task does one tile of C over all of k: the epilogue
// meets finished sums without C being stored anywhere but in that tile. Three shapes of work:
//
//   large        B packed for some panels of columns at a time, tiles of some rows by many columns
//   few columns  (or rows) one tile across: that operand's partner is packed by its only user
//   deep         few tiles and a long sum: pieces of k give partial tiles, added in order afterwards
//
// The register block is `rows` x 2 vectors of accumulators over kc steps; B is loaded by vectors, A
// broadcast.
#include "sched_gemm_internal.h"

// ---- blocks -----------------------------------------------------------------------------------
// Rows into tiles of equally many blocks, blocks as equal as can be.
static void choose_rows(struct gemm *g, int64_t row_tiles) {
  const struct gemm_shape *s = g->s;
  int64_t limit = target_block_rows(lb_target(g->b));
  g->row_tiles = row_tiles;
  g->tile_blocks = ceil_div(s->m, row_tiles * limit);
  g->blocks = row_tiles * g->tile_blocks;
  g->rows = ceil_div(s->m, g->blocks);
  g->n_big = g->blocks - (g->rows * g->blocks - s->m);
  g->tile_rows = g->tile_blocks * g->rows;
  g->group_blocks = g->blocks, g->group_rows = s->m;
}

// A symmetric product packs its one operand once, as strips of columns; a block of rows is part of a strip.
// Those of the last strip may lie past the matrix.
static void choose_symmetric_rows(struct gemm *g) {
  int64_t limit = target_block_rows(lb_target(g->b));
  g->row_tiles = 1;
  g->group_rows = g->strip;
  g->group_blocks = ceil_div(g->strip, limit);
  g->rows = ceil_div(g->strip, g->group_blocks);
  g->n_big = g->group_blocks - (g->rows * g->group_blocks - g->strip);
  g->strips = ceil_div(g->s->n, g->strip);
  g->tile_blocks = g->blocks = g->strips * g->group_blocks;
  g->tile_rows = g->strips * g->strip;
}

static void choose_columns(struct gemm *g, int64_t columns) {
  g->strips = ceil_div(g->s->n, g->strip);
  g->column_tiles = ceil_div(g->strips, max64(1, columns / g->strip));
  g->tile_strips = ceil_div(g->strips, g->column_tiles);
  g->column_tiles = ceil_div(g->strips, g->tile_strips);
}

static void choose_depth(struct gemm *g, int64_t kc) {
  int64_t k = g->s->k, each = ceil_div(k, ceil_div(k, kc));
  int64_t chunks = ceil_div(each, 128);
  g->chunk = round_up(ceil_div(each, chunks), g->lanes);
  g->kc = chunks * g->chunk;
  g->k_blocks = ceil_div(k, g->kc);
}

static void choose_pieces(struct gemm *g, int64_t pieces) {
  g->piece_blocks = ceil_div(g->k_blocks, max64(1, min64(pieces, g->k_blocks)));
  g->pieces = ceil_div(g->k_blocks, g->piece_blocks);
}

// What the shape is like; sched_gemm.c's heading says how each is done.
enum kind { LARGE, WIDE, DEEP, MANY };
static enum kind kind_of(const struct gemm_shape *s, const struct gemm_epilogue *e) {
  if (s->batch > 1 && s->m * s->n * s->k <= 1 << 24) return MANY;
  if (s->m * s->n <= 1 << 17 && s->k >= 8 * max64(s->m, s->n)) return DEEP;
  // B that is used by few rows and does not fit the L2 cache is not worth writing down for others.
  bool wide = s->m <= 640 && s->k * s->n > 1 << 18;
  return wide || s->symmetric || e->finish ? WIDE : LARGE;
}

// A task of a large product keeps its tile of C and a block of A in the L2 cache, while B streams by.
// There are 8 tiles at least if each has then rows enough: B that comes from beyond the L2 cache wants
// more of them, so that the next strip is there in time.
static void choose_large(struct gemm *g, int64_t room) {
  const struct gemm_shape *s = g->s;
  int64_t columns = s->nc ? s->nc : min64(2048, max64(256, (1 << 24) / s->k));
  choose_columns(g, columns);
  choose_depth(g, s->kc ? s->kc : 512);
  int64_t row_bytes = 5 * g->kc + (g->k_blocks > 1 ? 4 * g->tile_strips * g->strip : 0);
  int64_t rows = max64(4 * target_block_rows(lb_target(g->b)), min64(224, room / row_bytes));
  int64_t least = s->k * g->tile_strips * g->strip > 1 << 19 ? 112 : 16;
  int64_t tiles = max64(ceil_div(s->m, rows), min64(8, max64(1, s->m / least)));
  if (s->mc) tiles = ceil_div(s->m, s->mc);
  choose_rows(g, tiles > 1 ? min64(round_up(tiles, 2), s->m / 2) : 1);
  g->right.shared = true;
}

// Every task has all rows of its columns.
static void choose_whole_columns(struct gemm *g, int64_t columns, int64_t kc) {
  const struct gemm_shape *s = g->s;
  if (s->symmetric) choose_symmetric_rows(g);
  else choose_rows(g, 1);
  bool whole = s->symmetric && s->batch > 1; // a task's strips are also its rows
  choose_columns(g, s->nc && !whole ? s->nc : columns);
  choose_depth(g, s->kc ? s->kc : kc);
}

static void choose_blocks(struct gemm *g) {
  const struct gemm_shape *s = g->s;
  int64_t l2 = (int64_t)lb_target(g->b)->l2_bytes, pieces = 1;
  switch (kind_of(s, g->e)) {
  case LARGE: choose_large(g, l2 * 6 / 10); break;
  case WIDE: // the tile takes half the L2 cache at most, and there are 8 of them
    choose_whole_columns(g, min64(min64(128, s->n / 8), l2 / 8 / s->m), 512);
    g->left.shared = g->column_tiles > 1;
    break;
  case DEEP:
    pieces = 8;
    choose_whole_columns(g, round_up(s->n, g->strip), min64(256, ceil_div(s->k, pieces)));
    break;
  case MANY:
    choose_whole_columns(g, s->batch < 8 && !s->symmetric ? 128 : round_up(s->n, g->strip), 512);
    g->batch_in_tasks = true;
  }
  if (s->symmetric) g->right.shared = g->column_tiles > 1;
  choose_pieces(g, pieces);
  // Packed B of one column tile at a time is shared; B of one task each needs no order, and as A all is needed.
  g->panel_tiles = g->right.shared && !s->symmetric ? 1 : g->column_tiles;
  g->units = g->pieces > 1 ? g->strips : g->column_tiles;
}

static void describe_operands(struct gemm *g, const struct gemm_operand *a, const struct gemm_operand *b) {
  int64_t depth = g->k_blocks * g->kc;
  g->right.operand = b, g->right.name = "b_packed", g->right.extent = g->s->n;
  g->right.width = g->strip, g->right.depth = g->right.shared ? depth : g->kc;
  if (g->s->symmetric) return;
  g->left.operand = a, g->left.name = "a_packed", g->left.extent = g->s->m;
  g->left.width = round_up(g->rows, g->lanes), g->left.depth = g->left.shared ? depth : g->kc;
}

// Elements of a strip of a tile, and of a whole one.
static int64_t strip_elements(const struct gemm *g) { return g->tile_rows * g->strip; }
static int64_t tile_elements(const struct gemm *g) { return g->tile_strips * strip_elements(g); }
// Whether the sums of a tile wait for more blocks of k.
static bool sums_wait(const struct gemm *g) { return g->k_blocks > 1; }

static void sum_buffers(struct gemm *g) {
  int64_t tiles = g->row_tiles * g->column_tiles;
  bool whole = sums_wait(g) && g->pieces == 1;
  g->tile = lb_scratch(g->b, "tile", LT_F32, whole ? tile_elements(g) : strip_elements(g));
  if (g->pieces > 1)
    g->partial = lb_shared(g->b, "partial", LT_F32, g->pieces * tiles * tile_elements(g));
}

lx gemm_block_row(const struct gemm *g, lx block) {
  bool groups = g->group_blocks < g->blocks;
  lx in_group = groups ? lx_modi(block, g->group_blocks) : block, row = lx_muli(in_group, g->rows);
  if (g->n_big < g->group_blocks) row = lx_sub(row, lx_maxi(lx_addi(in_group, -g->n_big), 0));
  return groups ? lx_add(row, lx_muli(lx_divi(block, g->group_blocks), g->group_rows)) : row;
}

// ---- the register block -----------------------------------------------------------------------
struct register_block {
  int64_t rows;
  int vectors;
  lx a, b, to; // in the packed operands and in the sums
  lx steps;    // of p
  lx first;    // whether these are the first steps of the sum; NULL: yes
  // What to fetch into the L2 cache meanwhile: a place in packed B or A, and floats a step.
  const struct gemm_packed *next; // NULL: nothing
  lx ahead;
  int64_t ahead_step;
  // What the epilogue will want of the block, from row row0 on: NULL where it asks for nothing.
  const struct gemm_strip *strip;
  lx row0, last; // whether these are the last steps of the sum; NULL: yes
  struct loop_reg *acc;
};

static void multiply_step(struct gemm *g, const struct register_block *r, lx p) {
  struct lb *b = g->b;
  lx at_a = lb_let(b, "at_a", lx_add(r->a, lx_muli(p, g->left.width)));
  lx at_b = lb_let(b, "at_b", lx_add(r->b, lx_muli(p, g->strip)));
  struct loop_reg *column = lb_reg(b, "column", LT_F32, (int)g->lanes, r->vectors, NULL);
  lx v = lb_unroll(b, "v", r->vectors);
  lb_set_at(b, column, v, lx_vload(g->right.buf, lx_add(at_b, lx_muli(v, g->lanes))));
  lb_end(b);
  lx row = lb_unroll(b, "r", r->rows);
  lx x = lb_let(b, "x_", lx_broadcast(lx_load(g->left.buf, lx_add(at_a, row))));
  v = lb_unroll(b, "v", r->vectors);
  lb_fma_at(b, r->acc, lx_add(lx_muli(v, r->rows), row), x, lx_reg_at(column, v));
  lb_end(b);
  lb_end(b);
}

static void store_sums(struct gemm *g, const struct register_block *r, bool add) {
  struct lb *b = g->b;
  struct loop_buf *sums = g->partial ? g->partial : g->tile;
  lx row = lb_unroll(b, "r", r->rows);
  lx v = lb_unroll(b, "v", r->vectors);
  lx at = lx_add(r->to, lx_add(lx_muli(row, g->strip), lx_muli(v, g->lanes)));
  lx sum = lx_reg_at(r->acc, lx_add(lx_muli(v, r->rows), row));
  lb_store(b, sums, at, add ? lx_add(lx_vload(sums, at), sum) : sum);
  lb_end(b);
  lb_end(b);
}

static void multiply_steps(struct gemm *g, const struct register_block *r, lx from, lx to) {
  struct lb *b = g->b;
  lx p = lb_for_range(b, "p", from, to, 1);
  if (r->next) lb_prefetch(b, r->next->buf, lx_add(r->ahead, lx_muli(p, r->ahead_step)));
  multiply_step(g, r, p);
  lb_end(b);
}

// Rows of the epilogue's operands are far apart in memory: they are asked for one by one between the
// steps, since a processor waits when it has more than a few misses under way.
static void multiply_and_fetch(struct gemm *g, const struct register_block *r) {
  struct lb *b = g->b;
  lx row = lb_for(b, "row", r->rows);
  if (r->last) lb_if(b, r->last);
  gemm_strip_fetch(g, r->strip, lx_mini(lx_add(r->row0, row), g->s->m - 1));
  if (r->last) lb_end(b);
  int64_t share = ceil_div(g->kc, r->rows);
  lx from = lx_muli(row, share);
  multiply_steps(g, r, from, lx_min(lx_addi(from, share), r->steps));
  lb_end(b);
}

static void multiply_block(struct gemm *g, struct register_block *r) {
  struct lb *b = g->b;
  r->acc = lb_reg(b, "acc", LT_F32, (int)g->lanes, (int)(r->vectors * r->rows), lx_vf32(b, 0));
  if (r->strip) multiply_and_fetch(g, r);
  else multiply_steps(g, r, lx_int(b, 0), r->steps);
  if (!r->first) {
    store_sums(g, r, false);
    return;
  }
  lb_if(b, r->first);
  store_sums(g, r, false);
  lb_else(b);
  store_sums(g, r, true);
  lb_end(b);
}

// ---- a tile -----------------------------------------------------------------------------------
struct steps {
  lx p0, p1, first, last; // of k; whether the first and the last ones of a sum (NULL: yes)
};
typedef void strip_body(struct gemm *g, const struct gemm_task *t, const struct steps *k, lx strip,
                        bool cut);

// Whole strips of a task, then, where columns do not fill the last, that one.
static void each_strip(struct gemm *g, const struct gemm_task *t, const struct steps *k,
                       strip_body *body) {
  struct lb *b = g->b;
  int64_t whole = g->s->n / g->strip;
  if (whole) {
    lx strip = lb_for_range(b, "strip", t->strip0, lx_mini(t->strip1, whole), 1);
    body(g, t, k, strip, false);
    lb_end(b);
  }
  if (whole == g->strips) return;
  lb_if(b, lx_lt(lx_int(b, whole), t->strip1));
  body(g, t, k, lx_int(b, whole), true);
  lb_end(b);
}

// Where a strip of the task's sums starts.
static lx strip_sums(const struct gemm *g, const struct gemm_task *t, lx strip) {
  if (!sums_wait(g)) return lx_int(g->b, 0);
  lx at = lx_muli(lx_sub(strip, t->strip0), strip_elements(g));
  return g->partial ? lx_add(t->sums, at) : at;
}

static lx panel_offset(const struct gemm_packed *o, lx panel, lx first, lx p0) {
  return lx_muli(o->shared ? lx_add(lx_muli(panel, o->depth), p0)
                           : lx_muli(lx_sub(panel, first), o->depth),
                 o->width);
}

// A block of rows in a strip of a task.
struct rows {
  lx block, row0, in_tile; // its number, its first row, and that one's place in the tile
};

static lx block_offset(const struct gemm *g, const struct gemm_task *t, const struct rows *rows, lx p0) {
  if (!g->s->symmetric) return panel_offset(&g->left, rows->block, t->block0, p0);
  lx strip = lx_divi(rows->block, g->group_blocks), in_strip = lx_sub(rows->row0, lx_muli(strip, g->strip));
  return lx_add(panel_offset(&g->left, strip, lx_int(g->b, 0), p0), lx_checked(in_strip, 0, g->strip - g->rows + 1));
}

// Packed operands that are shared stream from the L3 cache or memory, which takes the processor's own
// prefetching too long to notice. While a strip of B is used, its blocks fetch the next one, a share
// each until all is there; where all of A passes by every strip, a block fetches the next block.
static void fetch_ahead(struct gemm *g, const struct gemm_task *t, struct register_block *r, lx block) {
  enum { SHARE = 4 }; // floats of the next strip at each step
  if (!g->left.shared && !g->right.shared) return;
  bool next_strip = g->right.shared && !g->s->symmetric;
  r->next = next_strip ? &g->right : &g->left;
  int64_t panel = r->next->depth * r->next->width, used = g->kc * r->next->width;
  r->ahead_step = next_strip ? SHARE : g->left.width;
  lx at = lx_addi(next_strip ? r->b : r->a, panel);
  int64_t share = g->kc * r->ahead_step;
  if (next_strip)
    at = lx_add(at, lx_mini(lx_muli(lx_sub(block, t->block0), share), used - share));
  r->ahead = lb_let(g->b, "ahead", lx_mini(at, r->next->buf->count - share));
}

static void multiply_rows(struct gemm *g, const struct register_block *at, int64_t rows) {
  struct register_block r = *at;
  r.rows = rows;
  multiply_block(g, &r);
}

// One block of rows of one strip: in `to`, its place among the sums. `s`: whose epilogue it will meet.
static void block_sums(struct gemm *g, const struct gemm_task *t, const struct steps *k, lx strip,
                       bool cut, const struct rows *rows, lx to, const struct gemm_strip *s) {
  struct lb *b = g->b;
  lx block = rows->block;
  struct register_block r = {.vectors = STRIP_VECTORS, .to = to, .first = k->first, .last = k->last};
  if (g->e->fetch) r.strip = s, r.row0 = rows->row0;
  if (cut) r.vectors = (int)ceil_div(g->s->n % g->strip, g->lanes);
  r.a = lb_let(b, "a_at", block_offset(g, t, rows, k->p0));
  lx first = g->right.shared ? t->panel_strip : t->strip0;
  r.b = lb_let(b, "b_at", panel_offset(&g->right, lx_sub(strip, first), lx_int(b, 0), k->p0));
  r.steps = lx_sub(k->p1, k->p0);
  fetch_ahead(g, t, &r, block);
  if (g->n_big == g->group_blocks) {
    multiply_rows(g, &r, g->rows);
    return;
  }
  lb_if(b, lx_lt(lx_modi(block, g->group_blocks), lx_int(b, g->n_big)));
  multiply_rows(g, &r, g->rows);
  lb_else(b);
  multiply_rows(g, &r, g->rows - 1);
  lb_end(b);
}

// Where rows of a strip end: those of a symmetric product at the diagonal.
static lx strip_rows(const struct gemm *g, const struct gemm_task *t, lx strip) {
  return g->s->symmetric ? lx_mini(lx_muli(lx_addi(strip, 1), g->strip), g->s->m) : t->row1;
}

// Opens the loop over a strip's blocks. Every block starts at a row of the matrix; before it in the
// tile are fewer than tile_blocks of at most `rows` rows.
static struct rows open_blocks(struct gemm *g, const struct gemm_task *t, lx strip) {
  struct lb *b = g->b;
  struct rows r = {.block = lb_for_range(b, "block", t->block0, t->block1, 1)};
  r.row0 = lb_let(b, "row", lx_checked(gemm_block_row(g, r.block), 0, g->s->m));
  if (g->s->symmetric) lb_if(b, lx_lt(r.row0, strip_rows(g, t, strip)));
  lx in_tile = lx_checked(lx_sub(r.row0, t->row0), 0, g->tile_rows - g->rows + 1);
  r.in_tile = lb_let(b, "in_tile", in_tile);
  return r;
}
static void close_blocks(struct gemm *g) {
  if (g->s->symmetric) lb_end(g->b);
  lb_end(g->b);
}

static void finish_block(struct gemm *g, const struct gemm_task *t, const struct rows *r, lx strip,
                         struct gemm_strip *s) {
  lx end = lx_min(lx_addi(r->row0, g->rows), gemm_block_row(g, lx_addi(r->block, 1)));
  if (g->s->symmetric) end = lx_min(end, strip_rows(g, t, strip));
  gemm_strip_rows(g, s, r->row0, end, r->in_tile);
}

// One strip of a tile over the steps at hand.
static void multiply_strip(struct gemm *g, const struct gemm_task *t, const struct steps *k, lx strip,
                           bool cut) {
  struct lb *b = g->b;
  lx sums = strip_sums(g, t, strip);
  struct gemm_strip *s = g->pieces == 1 ? gemm_strip_begin(g, t, strip, sums, cut) : NULL;
  struct rows r = open_blocks(g, t, strip);
  lx to = lb_let(b, "to", lx_add(sums, lx_muli(r.in_tile, g->strip)));
  block_sums(g, t, k, strip, cut, &r, to, s);
  if (s && k->last) lb_if(b, k->last);
  if (s) finish_block(g, t, &r, strip, s);
  if (s && k->last) lb_end(b);
  close_blocks(g);
  if (!s) return;
  if (k->last) lb_if(b, k->last);
  gemm_strip_end(g, s);
  if (k->last) lb_end(b);
}

// A tile over the blocks of k of one piece.
static void multiply_tile(struct gemm *g, const struct gemm_task *t, lx piece) {
  struct lb *b = g->b;
  lx begin = lx_muli(piece, g->piece_blocks);
  struct steps k;
  lx block = lb_for_range(b, "k_block", begin, lx_mini(lx_addi(begin, g->piece_blocks), g->k_blocks), 1);
  k.p0 = lb_let(b, "p0", lx_muli(block, g->kc));
  k.p1 = g->s->k % g->kc ? lb_let(b, "p1", lx_mini(lx_addi(k.p0, g->kc), g->s->k))
                         : lx_addi(k.p0, g->kc);
  k.first = g->piece_blocks > 1 ? lx_eq(block, begin) : NULL;
  k.last = g->piece_blocks > 1 ? lx_eq(block, lx_int(b, g->k_blocks - 1)) : NULL;
  if (!g->left.shared && !g->s->symmetric) gemm_pack_local(g, &g->left, t->batch, t->block0, t->block1, k.p0, k.p1);
  if (!g->right.shared) gemm_pack_local(g, &g->right, t->batch, t->strip0, lx_mini(t->strip1, g->strips), k.p0,
                                         k.p1);
  each_strip(g, t, &k, multiply_strip);
  lb_end(b);
}

// ---- tasks ------------------------------------------------------------------------------------
static struct gemm_task task_at(struct gemm *g, lx batch, lx row_tile, lx column_tile) {
  struct lb *b = g->b;
  struct gemm_task t = {.batch = batch, .row_tile = row_tile, .unit = column_tile};
  t.block0 = lx_muli(row_tile, g->tile_blocks);
  t.block1 = lx_addi(t.block0, g->tile_blocks);
  t.row0 = lx_int(b, 0);
  t.row1 = lx_int(b, g->s->m);
  if (g->row_tiles > 1) { // said for the verifier: every tile has a row, and not more than tile_rows
    t.row0 = lb_let(b, "row0", lx_checked(gemm_block_row(g, t.block0), 0, g->s->m));
    t.row1 = lx_min(lx_addi(t.row0, g->tile_rows), gemm_block_row(g, t.block1));
  }
  t.panel_strip = lx_int(b, 0);
  t.strip0 = lx_muli(column_tile, g->tile_strips);
  t.strip1 = lx_addi(t.strip0, g->tile_strips);
  return t;
}

static void whole_task(struct gemm *g, struct gemm_task *t, lx piece) {
  struct lb *b = g->b;
  if (g->pieces == 1) gemm_task_begin(g);
  if (g->pieces > 1) {
    lx tile = lx_add(lx_muli(piece, g->row_tiles), t->row_tile);
    t->sums = lx_muli(lx_add(lx_muli(tile, g->column_tiles), t->unit), tile_elements(g));
    t->sums = lb_let(b, "sums", t->sums);
  }
  multiply_tile(g, t, piece);
  if (g->pieces == 1) gemm_task_end(g, t);
}

// Column tiles of a symmetric product have the more rows the farther right they are: a task takes one
// from either end.
static void symmetric_task(struct gemm *g, lx batch, lx pair, lx piece) {
  struct lb *b = g->b;
  if (g->column_tiles == 1) {
    struct gemm_task t = task_at(g, batch, lx_int(b, 0), lx_int(b, 0));
    whole_task(g, &t, piece);
    return;
  }
  lx side = lb_for(b, "side", 2);
  lx other = lx_rsub(g->column_tiles - 1, pair);
  lx tile = lx_select(lx_eq(side, lx_int(b, 0)), pair, other);
  tile = lb_let(b, "column_tile", lx_checked(tile, 0, g->column_tiles)); // as both alternatives are
  if (g->column_tiles % 2) // the middle one is its own other
    lb_if(b, lx_or(lx_eq(side, lx_int(b, 0)), lx_lt(pair, other)));
  struct gemm_task t = task_at(g, batch, lx_int(b, 0), tile);
  whole_task(g, &t, piece);
  if (g->column_tiles % 2) lb_end(b);
  lb_end(b);
}

// The tiles of column tiles first … of a panel; every batch's where batch is NULL.
static void multiply_panel(struct gemm *g, lx batch, lx panel) {
  struct lb *b = g->b;
  bool symmetric = g->s->symmetric;
  int64_t across = symmetric ? ceil_div(g->column_tiles, 2) : g->panel_tiles;
  int64_t batches = batch ? 1 : g->s->batch;
  lx item = lb_parallel_for(b, "task", lx_int(b, 0),
                            lx_int(b, batches * g->pieces * g->row_tiles * across), 1);
  lx column = lx_modi(item, across), rest = lx_divi(item, across);
  lx row_tile = lx_modi(rest, g->row_tiles);
  rest = lx_divi(rest, g->row_tiles);
  lx piece = lx_modi(rest, g->pieces);
  if (!batch) batch = lb_let(b, "batch", lx_divi(rest, g->pieces));
  if (symmetric)
    symmetric_task(g, batch, column, piece);
  else {
    lx tile = lx_add(lx_muli(panel, g->panel_tiles), column);
    struct gemm_task t = task_at(g, batch, row_tile, tile);
    t.panel_strip = lx_muli(panel, g->panel_tiles * g->tile_strips);
    whole_task(g, &t, piece);
  }
  lb_end(b);
}

// ---- pieces -----------------------------------------------------------------------------------
// The partial sums of a strip, added in order into the tile.
static void add_strip(struct gemm *g, const struct gemm_task *t, lx strip) {
  struct lb *b = g->b;
  int64_t tiles = g->row_tiles * g->column_tiles;
  lx tile = lx_add(lx_muli(t->row_tile, g->column_tiles), lx_divi(strip, g->tile_strips));
  lx from = lx_add(lx_muli(tile, tile_elements(g)),
                   lx_muli(lx_modi(strip, g->tile_strips), strip_elements(g)));
  from = lb_let(b, "from", from);
  lx row = lb_for_range(b, "row", lx_int(b, 0), lx_sub(strip_rows(g, t, strip), t->row0), 1);
  lx v = lb_unroll(b, "v", STRIP_VECTORS);
  lx at = lb_let(b, "at", lx_add(lx_muli(row, g->strip), lx_muli(v, g->lanes)));
  struct loop_reg *sum = lb_reg(b, "sum", LT_F32, (int)g->lanes, 0, lx_vload(g->partial, lx_add(from, at)));
  lx piece = lb_for_range(b, "piece", lx_int(b, 1), lx_int(b, g->pieces), 1);
  lx part = lx_add(lx_add(from, at), lx_muli(piece, tiles * tile_elements(g)));
  lb_accumulate(b, sum, LX_ADD, lx_vload(g->partial, part));
  lb_end(b);
  lb_store(b, g->tile, at, lx_reg(b, sum));
  lb_end(b);
  lb_end(b);
}

static void added_strip(struct gemm *g, const struct gemm_task *t, const struct steps *k, lx strip,
                        bool cut) {
  (void)k;
  add_strip(g, t, strip);
  struct gemm_strip *s = gemm_strip_begin(g, t, strip, lx_int(g->b, 0), cut);
  struct rows r = open_blocks(g, t, strip);
  finish_block(g, t, &r, strip, s);
  close_blocks(g);
  gemm_strip_end(g, s);
}

static void add_pieces(struct gemm *g, lx batch) {
  struct lb *b = g->b;
  lx item = lb_parallel_for(b, "item", lx_int(b, 0), lx_int(b, g->row_tiles * g->strips), 1);
  lx strip = lx_modi(item, g->strips);
  struct gemm_task t = task_at(g, batch, lx_divi(item, g->strips), lx_int(b, 0));
  t.unit = t.strip0 = strip;
  t.strip1 = lx_addi(strip, 1);
  gemm_task_begin(g);
  each_strip(g, &t, NULL, added_strip);
  gemm_task_end(g, &t);
  lb_end(b);
}

// ---- the whole --------------------------------------------------------------------------------
// One batch's product, or all of them (batch NULL).
static void product(struct gemm *g, lx batch) {
  struct lb *b = g->b;
  int64_t panels = ceil_div(g->column_tiles, g->panel_tiles);
  if (g->left.shared && !g->s->symmetric) gemm_pack_shared(g, &g->left, batch, lx_int(b, 0), g->blocks);
  lx panel = panels > 1 ? lb_for(b, "panel", panels) : lx_int(b, 0);
  int64_t strips = min64(g->strips, g->panel_tiles * g->tile_strips);
  if (g->right.shared) gemm_pack_shared(g, &g->right, batch, lx_muli(panel, strips), strips);
  if (g->left.shared || g->right.shared) lb_barrier(b);
  multiply_panel(g, batch, panel);
  if (panels > 1) {
    lb_barrier(b);
    lb_end(b);
  }
  if (g->pieces > 1) {
    lb_barrier(b);
    add_pieces(g, batch);
  }
}

static void product_nest(struct gemm *g) {
  struct lb *b = g->b;
  bool serial = g->s->batch > 1 && !g->batch_in_tasks;
  lb_parallel(b);
  lx batch = serial ? lb_for(b, "batch", g->s->batch) : g->batch_in_tasks ? NULL : lx_int(b, 0);
  product(g, batch);
  if (serial) {
    lb_barrier(b);
    lb_end(b);
  }
  if (gemm_folds_remain(g)) {
    lb_barrier(b);
    gemm_add_folds(g);
  }
  lb_end(b);
}

void sched_gemm(struct lb *b, const struct gemm_shape *s, const struct gemm_operand *a_operand,
                const struct gemm_operand *b_operand, const struct gemm_epilogue *e) {
  expect(s->batch > 0 && s->m > 0 && s->n > 0 && s->k > 0, "product of %lld x %lld x %lld",
         (long long)s->m, (long long)s->n, (long long)s->k);
  expect(!s->symmetric || (s->m == s->n && !e->finish), "a symmetric product that is not square or met again");
  for (int f = 0; f < e->n_folds; f++)
    expect(!s->symmetric || e->folds[f] == GEMM_FOLD_ALL, "a symmetric product with sums over one axis");
  int64_t lanes = lb_target(b)->lanes;
  struct gemm g = {.b = b, .s = s, .e = e, .lanes = lanes, .strip = STRIP_VECTORS * lanes};
  choose_blocks(&g);
  describe_operands(&g, a_operand, b_operand);
  gemm_pack_buffers(&g);
  sum_buffers(&g);
  gemm_fold_buffers(&g);
  product_nest(&g);
}

// ---- plain products ---------------------------------------------------------------------------
struct plain_operand {
  struct loop_buf *buf;
  int64_t along, across; // strides of p and of the row or column
  int64_t matrix;        // elements of one batch
};
static lx plain_vector(void *user, lx batch, lx cross, lx p, lx lanes_left) {
  const struct plain_operand *o = user;
  lx at = lx_add(lx_muli(cross, o->across), lx_muli(p, o->along));
  return lx_vload_n(o->buf, lx_add(lx_muli(batch, o->matrix), at), lanes_left);
}

struct plain_result {
  struct lb *b;
  struct loop_buf *y;
  int64_t m, n;
};
static void plain_point(void *user, lx batch, lx i, lx j, lx lanes_left, lx c, lx *value) {
  (void)value;
  const struct plain_result *r = user;
  lx row = lx_add(lx_muli(batch, r->m), i);
  lb_store_n(r->b, r->y, lx_add(lx_muli(row, r->n), j), lanes_left, c);
}

struct loop_kernel *sched_gemm_plain(struct arena *arena, const struct target *t, const char *name,
                                     const struct gemm_shape *s, bool transpose_x, bool transpose_w) {
  struct lb *b = lb_new(arena, t, name);
  int64_t m = s->m, n = s->n, k = s->k;
  lb_equation(b, str_printf(arena, "y[%lld,%lld] = x%s w%s over %lld", (long long)m, (long long)n,
                            transpose_x ? "'" : "", transpose_w ? "'" : "", (long long)k));
  lb_cost(b, 2.0 * (double)(s->batch * m * n) * (double)k, 4.0 * (double)(s->batch * (m * k + k * n + m * n)));
  struct plain_operand x = {lb_input(b, "x", LT_F32, s->batch * m * k), transpose_x ? m : 1,
                            transpose_x ? 1 : k, m * k};
  struct plain_operand w = {lb_input(b, "w", LT_F32, s->batch * k * n), transpose_w ? 1 : n,
                            transpose_w ? k : 1, k * n};
  struct plain_result y = {b, lb_output(b, "y", LT_F32, s->batch * m * n), m, n};
  struct gemm_operand left = {.along_k = !transpose_x, .vector = plain_vector, .user = &x};
  struct gemm_operand right = {.along_k = transpose_w, .vector = plain_vector, .user = &w};
  struct gemm_epilogue e = {.user = &y, .point = plain_point};
  sched_gemm(b, s, &left, &right, &e);
  return lb_finish(b);
}
