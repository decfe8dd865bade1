// lower_reduce.c: kernels with folds (sum, mean, max, min) over some axes of the space.
//
// Two forms, by the innermost axis of the space:
//   rows     it is folded: vectors run along it and are summed across lanes at the end
//   columns  it is kept: a tile of a few vectors stays in registers while the folded axes go by
//            (column sums, and channel sums of blocked activations)
//
// Sums of f32 are taken in f32 over groups of at most GROUP steps and in f64 from there, so their
// error does not grow with the length. Where the kept axes give too few pieces, the outermost
// folded axis is cut into chunks of a fixed size; each writes its part to shared scratch, and the
// parts are added in order. Sizes alone decide, so the bits do not depend on the number of threads.
#include <math.h>

#include "nest.h"

enum {
  PIECES = 64,
  PIECE_POINTS = 16384, // least work of a chunk
  GROUP = 256,          // f32 additions in a row
  TILE = 4,             // vectors in flight over all folds, in columns
};

struct fold {
  const struct body_root *root;
  enum op op;
  enum loop_type partial, total; // accumulate in `partial` within a group, in `total` beyond
  bool grouped;                  // the two differ
  struct loop_reg *sum[MAX_COPIES], *group[MAX_COPIES];
  struct loop_buf *parts; // [chunks][results], total
};

struct reduce {
  struct nest *n;
  struct lb *b;
  const struct body *body;
  bool rows;
  int folded[BODY_AXES], n_folded; // outermost first; in rows the last is the vector axis
  int kept[BODY_AXES], n_kept;     // but the vector axis
  int64_t kept_points;
  int64_t full, tail;        // of the vector axis
  int tile;                  // vectors in a full tile
  int64_t tiles;             // full ones
  int64_t chunks, per_chunk; // of folded[0]; in rows with one folded axis, in vectors
  int group_from;            // index in folded[]: a group is one run of the loops from there
  struct fold fold[MAX_COPIES];
  int n_folds;
  lx chunk;
};

// ---- accumulators -----------------------------------------------------------------------------

static bool is_sum(enum op op) { return op == OP_sum || op == OP_mean; }

static struct fold fold_of(const struct body_root *r) {
  enum loop_type t = lower_type(r->value->type);
  struct fold f = {.root = r, .op = r->reduce};
  if (is_sum(f.op))
    f.total = t == LT_F32 || t == LT_F64 ? LT_F64 : LT_I64;
  else
    f.total = t == LT_U8 || t == LT_BOOL ? LT_I32 : t;
  f.grouped = is_sum(f.op) && t == LT_F32;
  f.partial = f.grouped ? LT_F32 : f.total;
  return f;
}

static enum loop_op combiner(enum op op) { return op == OP_reduce_max ? LX_MAX : LX_MIN; }
static enum loop_op across_lanes(enum op op) {
  return is_sum(op) ? LX_HSUM : op == OP_reduce_max ? LX_HMAX : LX_HMIN;
}

// What leaves a fold unchanged.
static lx neutral(struct lb *b, enum op op, enum loop_type t) {
  if (is_sum(op)) return lx_const(b, t, 1, 0);
  bool maximum = op == OP_reduce_max;
  if (t == LT_F32 || t == LT_F64) return lx_const(b, t, 1, maximum ? -INFINITY : INFINITY);
  if (t == LT_I32) return lx_const(b, t, 1, maximum ? INT32_MIN : INT32_MAX);
  return lx_int(b, maximum ? INT64_MIN : INT64_MAX);
}

static int lanes_of(const struct reduce *s) { return s->n->vector < 0 ? 1 : s->n->lanes; }

static void accumulate(struct lb *b, struct loop_reg *sum, enum op op, lx v) {
  if (is_sum(op))
    lb_accumulate(b, sum, LX_ADD, v);
  else
    lb_set(b, sum, lower_extremum(combiner(op), lx_reg(b, sum), v));
}

static void sums_begin(struct reduce *s) {
  for (int f = 0; f < s->n_folds; f++)
    for (int c = 0; c < s->n->n_copies; c++) {
      struct fold *fold = &s->fold[f];
      fold->sum[c] =
          lb_reg(s->b, "sum", fold->total, lanes_of(s), 0, neutral(s->b, fold->op, fold->total));
    }
}

static void group_begin(struct reduce *s) {
  for (int f = 0; f < s->n_folds; f++)
    for (int c = 0; c < s->n->n_copies && s->fold[f].grouped; c++)
      s->fold[f].group[c] =
          lb_reg(s->b, "part", LT_F32, lanes_of(s), 0, lx_const(s->b, LT_F32, 1, 0));
}

static void group_end(struct reduce *s) {
  for (int f = 0; f < s->n_folds; f++)
    for (int c = 0; c < s->n->n_copies && s->fold[f].grouped; c++)
      lb_accumulate(s->b, s->fold[f].sum[c], LX_ADD,
                    lx_convert(lx_reg(s->b, s->fold[f].group[c]), LT_F64));
}

static void fold_point(struct reduce *s, struct fold *f, int copy) {
  struct nest *n = s->n;
  lx v = lx_convert(nest_value(n, f->root->value, copy), f->partial);
  if (s->rows && n->copy[copy].n != NULL) {
    lx valid = lx_lt(lx_iota(s->b), lx_convert(n->copy[copy].n, LT_I32));
    v = lx_select(valid, v, neutral(s->b, f->op, f->partial));
  }
  accumulate(s->b, f->grouped ? f->group[copy] : f->sum[copy], f->op, v);
}

// Everything at one point (vector) of the space: folds, and results that are stored on the way.
static void visit_point(struct reduce *s) {
  nest_enter(s->n);
  for (int c = 0; c < s->n->n_copies; c++) {
    for (int f = 0; f < s->n_folds; f++) fold_point(s, &s->fold[f], c);
    nest_store_all(s->n, c, false); // after the folds, which may read what it overwrites
  }
  nest_leave(s->n);
}

// ---- loops over the folded axes ---------------------------------------------------------------

static bool is_vector_axis(const struct reduce *s, int i) {
  return s->rows && i == s->n_folded - 1;
}

// Steps along folded[i]: vectors on the vector axis.
static int64_t length_of(const struct reduce *s, int i) {
  return is_vector_axis(s, i) ? s->full : s->body->extent[s->folded[i]];
}

static void range_of(const struct reduce *s, int i, lx *lo, lx *hi) {
  *lo = lx_int(s->b, 0);
  *hi = lx_int(s->b, length_of(s, i));
  if (i > 0 || s->chunks == 1) return;
  *lo = lx_muli(s->chunk, s->per_chunk);
  *hi = lx_mini(lx_addi(*lo, s->per_chunk), length_of(s, i));
}

static void loops_from(struct reduce *s, int i);

// One loop along folded[i] from lo to hi, and what is inside it.
static void run(struct reduce *s, int i, lx lo, lx hi) {
  struct nest *n = s->n;
  unsigned bound = n->bound;
  lx r = lb_for_range(s->b, "r", lo, hi, 1);
  if (is_vector_axis(s, i)) {
    nest_bind_vector(n, 1, &(lx){lx_muli(r, n->lanes)}, &(lx){NULL});
    visit_point(s);
  } else {
    nest_bind(n, s->folded[i], r);
    nest_enter(n);
    if (i + 1 < s->n_folded)
      loops_from(s, i + 1);
    else
      visit_point(s);
    nest_leave(n);
  }
  lb_end(s->b);
  n->bound = bound;
}

static void run_tail(struct reduce *s, int i) {
  if (s->tail == 0) return;
  unsigned bound = s->n->bound;
  bool chunked = i == 0 && s->chunks > 1;
  if (chunked) lb_if(s->b, lx_eq(s->chunk, lx_int(s->b, s->chunks - 1)));
  if (i == s->group_from && length_of(s, i) > GROUP) group_begin(s);
  nest_bind_vector(s->n, 1, &(lx){lx_int(s->b, s->full * s->n->lanes)},
                   &(lx){lx_int(s->b, s->tail)});
  visit_point(s);
  if (i == s->group_from && length_of(s, i) > GROUP) group_end(s);
  if (chunked) lb_end(s->b);
  s->n->bound = bound;
}

// A long innermost loop is itself cut into groups.
static void run_in_groups(struct reduce *s, int i, lx lo, lx hi) {
  lx block = lb_for_range(s->b, "block", lo, hi, GROUP);
  group_begin(s);
  run(s, i, block, lx_min(lx_addi(block, GROUP), hi));
  group_end(s);
  lb_end(s->b);
}

static void loops_from(struct reduce *s, int i) {
  lx lo, hi;
  range_of(s, i, &lo, &hi);
  bool cut = i == s->group_from && length_of(s, i) > GROUP;
  if (i == s->group_from && !cut) group_begin(s);
  if (cut)
    run_in_groups(s, i, lo, hi);
  else if (length_of(s, i) > 0)
    run(s, i, lo, hi);
  if (is_vector_axis(s, i)) run_tail(s, i);
  if (i == s->group_from && !cut) group_end(s);
}

// ---- results ----------------------------------------------------------------------------------

static lx finished(const struct fold *f, lx total, int64_t folded_points) {
  if (f->op == OP_mean)
    total = lx_mul(total, lx_const(total->builder, f->total, 1, 1.0 / (double)folded_points));
  return lx_convert(total, lower_type(f->root->buffer->node->type.dtype));
}

static int64_t folded_points(const struct reduce *s) {
  int64_t points = 1;
  for (int i = 0; i < s->n_folded; i++) points *= s->body->extent[s->folded[i]];
  return points;
}

static void store_fold(struct reduce *s, struct fold *f, int copy) {
  struct nest *n = s->n;
  lx total = lx_reg(s->b, f->sum[copy]);
  if (s->rows && total->lanes > 1) total = lx_unary(across_lanes(f->op), total);
  lx at = nest_form(n, &f->root->at, copy); // results fill their buffers: no offset
  struct loop_buf *to = nest_param(n, f->root->buffer);
  if (s->chunks > 1) {
    to = f->parts;
    at = lx_add(lx_muli(s->chunk, buffer_count(f->root->buffer)), at);
  } else
    total = finished(f, total, folded_points(s));
  int64_t stride = n->vector < 0 ? 0 : f->root->at.k[n->vector];
  if (stride == 0)
    lb_store(s->b, to, at, total);
  else
    lb_store_strided(s->b, to, at, stride, n->copy[copy].n, total);
}

// One piece: the folds of the points that are bound now.
static void piece(struct reduce *s) {
  nest_enter(s->n);
  sums_begin(s);
  loops_from(s, 0);
  for (int f = 0; f < s->n_folds; f++)
    for (int c = 0; c < s->n->n_copies; c++) store_fold(s, &s->fold[f], c);
  nest_leave(s->n);
}

// Adds the parts of each result, in order, a vector of results at a time.
static void combine_at(struct reduce *s, struct fold *f, lx at, lx lanes, bool vector) {
  struct lb *b = s->b;
  int64_t results = buffer_count(f->root->buffer);
  struct loop_reg *sum =
      lb_reg(b, "total", f->total, vector ? s->n->lanes : 1, 0, neutral(b, f->op, f->total));
  lx c = lb_for(b, "c", s->chunks);
  lx from = lx_add(lx_muli(c, results), at);
  accumulate(b, sum, f->op, vector ? lx_vload_n(f->parts, from, lanes) : lx_load(f->parts, from));
  lb_end(b);
  lx total = finished(f, lx_reg(b, sum), folded_points(s));
  struct loop_buf *to = nest_param(s->n, f->root->buffer);
  if (vector)
    lb_store_n(b, to, at, lanes, total);
  else
    lb_store(b, to, at, total);
}

static void combine(struct reduce *s, struct fold *f) {
  struct lb *b = s->b;
  int64_t results = buffer_count(f->root->buffer), lanes = s->n->lanes;
  int64_t full = results / lanes, tail = results % lanes;
  if (results == 1) {
    combine_at(s, f, lx_int(b, 0), NULL, false);
    return;
  }
  if (full > 0) {
    bool shared = results * s->chunks >= PIECE_POINTS;
    lx zero = lx_int(b, 0), end = lx_int(b, full);
    lx j = shared ? lb_parallel_for(b, "j", zero, end, 1) : lb_for_range(b, "j", zero, end, 1);
    combine_at(s, f, lx_muli(j, lanes), NULL, true);
    lb_end(b);
  }
  if (tail > 0) combine_at(s, f, lx_int(b, full * lanes), lx_int(b, tail), true);
}

// ---- the schedule -----------------------------------------------------------------------------

static void find_axes(struct reduce *s) {
  const struct body *b = s->body;
  int vector = s->n->vector;
  s->kept_points = 1;
  s->rows = b->reduced[vector];
  for (int i = 0; i < b->n_axes; i++) {
    if (b->reduced[i])
      s->folded[s->n_folded++] = i;
    else if (i != vector) {
      s->kept[s->n_kept++] = i;
      s->kept_points *= b->extent[i];
    }
  }
  s->full = b->extent[vector] / s->n->lanes;
  s->tail = b->extent[vector] % s->n->lanes;
}

static void choose_tile(struct reduce *s) {
  s->tile = 1;
  s->tiles = 1;
  if (s->rows) return;
  s->tile = TILE / s->n_folds < 1 ? 1 : TILE / s->n_folds;
  if (s->tile > s->full) s->tile = s->full > 0 ? (int)s->full : 1;
  s->tiles = s->full / s->tile;
}

static void choose_chunks(struct reduce *s, int64_t points) {
  s->chunks = 1;
  int64_t pieces = s->kept_points * (s->tiles > 0 ? s->tiles : 1), first = length_of(s, 0);
  if (pieces >= PIECES / 2) return;
  int64_t want = (PIECES + pieces - 1) / pieces, most = points / pieces / PIECE_POINTS;
  if (want > most) want = most;
  if (want > first) want = first;
  if (want < 2) return;
  s->per_chunk = (first + want - 1) / want;
  s->chunks = (first + s->per_chunk - 1) / s->per_chunk;
}

// The innermost folded loops that together stay within a group.
static void choose_group(struct reduce *s) {
  int64_t steps = 1;
  s->group_from = s->n_folded - 1;
  for (int i = s->n_folded - 1; i >= 0; i--) {
    steps *= length_of(s, i) + is_vector_axis(s, i);
    if (steps > GROUP) break;
    s->group_from = i;
  }
}

// Pieces of `copies` vectors each, `count` of them from vector `first` on; the last may be a tail.
static void pieces(struct reduce *s, int64_t first, int64_t count, int copies, bool tail,
                   bool parallel) {
  struct nest *n = s->n;
  struct lb *b = s->b;
  int64_t all = s->kept_points * s->chunks * count;
  lx zero = lx_int(b, 0), end = lx_int(b, all);
  lx t = all == 1   ? zero
         : parallel ? lb_parallel_for(b, "t", zero, end, 1)
                    : lb_for_range(b, "t", zero, end, 1);
  lx rest = t, tile = lx_modi(rest, count), at[MAX_COPIES], lanes[MAX_COPIES];
  rest = count > 1 ? lb_let(b, "i", lx_divi(rest, count)) : rest;
  s->chunk = s->chunks > 1 ? lb_let(b, "chunk", lx_modi(rest, s->chunks)) : zero;
  rest = s->chunks > 1 ? lb_let(b, "i", lx_divi(rest, s->chunks)) : rest;
  nest_bind_flat(n, s->kept, s->n_kept, rest);
  lx base = lb_let(b, "first", lx_muli(lx_addi(lx_muli(tile, copies), first), n->lanes));
  for (int c = 0; c < copies; c++) {
    at[c] = lx_addi(base, (int64_t)c * n->lanes);
    lanes[c] = tail && c == copies - 1 ? lx_int(b, s->tail) : NULL;
  }
  if (s->rows)
    n->n_copies = 1;
  else
    nest_bind_vector(n, copies, at, lanes);
  piece(s);
  n->bound = 0;
  if (all != 1) lb_end(b);
}

void lower_reduce(struct nest *n) {
  struct reduce s = {.n = n, .b = n->b, .body = n->body};
  int64_t points = 1;
  for (int i = 0; i < s.body->n_axes; i++) points *= s.body->extent[i];
  for (int i = 0; i < s.body->roots.len; i++)
    if (s.body->roots.data[i].reduce != OP_COUNT) {
      expect(s.n_folds < MAX_COPIES, "more than %d folds in a kernel", MAX_COPIES);
      s.fold[s.n_folds++] = fold_of(&s.body->roots.data[i]);
    }
  find_axes(&s);
  choose_tile(&s);
  choose_chunks(&s, points);
  choose_group(&s);
  for (int i = 0; i < s.n_folds && s.chunks > 1; i++)
    s.fold[i].parts =
        lb_shared(s.b, "parts", s.fold[i].total, s.chunks * buffer_count(s.fold[i].root->buffer));
  bool parallel = points >= PIECE_POINTS;
  if (s.rows)
    pieces(&s, 0, 1, 1, false, parallel);
  else {
    int64_t left = s.full - s.tiles * s.tile;
    if (s.tiles > 0 && s.full > 0) pieces(&s, 0, s.tiles, s.tile, false, parallel);
    if (left + (s.tail > 0) > 0)
      pieces(&s, s.tiles * s.tile, 1, (int)left + (s.tail > 0), s.tail > 0, parallel);
  }
  for (int i = 0; i < s.n_folds && s.chunks > 1; i++) combine(&s, &s.fold[i]);
}
