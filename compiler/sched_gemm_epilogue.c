// sched_gemm_epilogue.c: what becomes of a strip of C whose sums are complete.
//
// The sums lie in a tile in the cache, row by row, two vectors a row; a rolled loop over the rows of a
// register block hands them to the epilogue, whose stores then drain while the next block is
// multiplied. Sums over everything are f32 for a register block and f64 for a whole task (f64
// vectors take two registers, which the host compiler keeps in memory), sums over rows in registers for a strip, sums over columns in a vector per row of the task. Where several
// tasks contribute to a sum they leave partial sums, which are added in order after a barrier.
//
// A symmetric product hands over the rows above a strip's end, and then once more, turned lanes x lanes
// at a time, the rows above the strip's start, as elements below the diagonal. Its folds are over
// everything, so it does not matter which task meets an element.
#include "sched_gemm_internal.h"

// ---- partial sums -----------------------------------------------------------------------------
static enum gemm_fold fold_of(const struct gemm *g, int f) { return g->e->folds[f]; }

// Whether one task has the whole sum.
static bool fold_is_whole(const struct gemm *g, int f) {
  switch (fold_of(g, f)) {
  case GEMM_FOLD_ROWS: return g->row_tiles == 1;
  case GEMM_FOLD_COLUMNS: return g->units == 1;
  default: return g->row_tiles * g->units == 1;
  }
}

bool gemm_folds_remain(const struct gemm *g) {
  for (int f = 0; f < g->e->n_folds; f++)
    if (!fold_is_whole(g, f)) return true;
  return false;
}

// How many partial sums a fold has of each batch, and how many elements one has.
static int64_t part_count(const struct gemm *g, int f) {
  switch (fold_of(g, f)) {
  case GEMM_FOLD_ROWS: return g->row_tiles;
  case GEMM_FOLD_COLUMNS: return g->units;
  default: return g->row_tiles * g->units;
  }
}
static int64_t part_length(const struct gemm *g, int f) {
  switch (fold_of(g, f)) {
  case GEMM_FOLD_ROWS: return g->strips * g->strip;
  case GEMM_FOLD_COLUMNS: return g->s->m;
  default: return 1;
  }
}
static lx part_at(const struct gemm *g, int f, lx batch, lx part) {
  return lx_muli(lx_add(lx_muli(batch, part_count(g, f)), part), part_length(g, f));
}

void gemm_fold_buffers(struct gemm *g) {
  struct lb *b = g->b;
  int n = g->e->n_folds;
  g->parts = NEW_ARRAY(lb_arena(b), struct loop_buf *, n + 1);
  g->across = NEW_ARRAY(lb_arena(b), struct loop_buf *, n + 1);
  g->all = NEW_ARRAY(lb_arena(b), struct loop_reg *, n + 1);
  for (int f = 0; f < n; f++) {
    enum loop_type type = fold_of(g, f) == GEMM_FOLD_ALL ? LT_F64 : LT_F32;
    if (!fold_is_whole(g, f))
      g->parts[f] = lb_shared(b, "parts", type, g->s->batch * part_count(g, f) * part_length(g, f));
    if (fold_of(g, f) == GEMM_FOLD_COLUMNS)
      g->across[f] = lb_scratch(b, "across", LT_F32, g->tile_rows * g->lanes);
  }
  if (g->s->symmetric) g->mirror = lb_scratch(b, "mirror", LT_F32, g->lanes * g->lanes);
}

// ---- a task -----------------------------------------------------------------------------------
void gemm_task_begin(struct gemm *g) {
  struct lb *b = g->b;
  for (int f = 0; f < g->e->n_folds; f++) {
    if (fold_of(g, f) == GEMM_FOLD_ALL)
      g->all[f] = lb_reg(b, "all", LT_F64, (int)g->lanes, 0, lx_const(b, LT_F64, (int)g->lanes, 0));
    if (!g->across[f]) continue;
    lx r = lb_for(b, "r", g->tile_rows);
    lb_store(b, g->across[f], lx_muli(r, g->lanes), lx_vf32(b, 0));
    lb_end(b);
  }
}

static void column_sums_done(struct gemm *g, const struct gemm_task *t, int f) {
  struct lb *b = g->b;
  lx i = lb_for_range(b, "i", t->row0, t->row1, 1);
  lx sum = lx_hsum(lx_vload(g->across[f], lx_muli(lx_sub(i, t->row0), g->lanes)));
  if (fold_is_whole(g, f))
    g->e->fold_done(g->e->user, f, t->batch, i, NULL, sum);
  else
    lb_store(b, g->parts[f], lx_add(part_at(g, f, t->batch, t->unit), i), sum);
  lb_end(b);
}

void gemm_task_end(struct gemm *g, const struct gemm_task *t) {
  struct lb *b = g->b;
  for (int f = 0; f < g->e->n_folds; f++) {
    if (g->across[f]) column_sums_done(g, t, f);
    if (fold_of(g, f) != GEMM_FOLD_ALL) continue;
    lx sum = lx_hsum(lx_reg(b, g->all[f])), part = lx_add(lx_muli(t->row_tile, g->units), t->unit);
    if (fold_is_whole(g, f))
      g->e->fold_done(g->e->user, f, t->batch, NULL, NULL, sum);
    else
      lb_store(b, g->parts[f], part_at(g, f, t->batch, part), sum);
  }
}

// ---- a strip ----------------------------------------------------------------------------------
struct gemm_strip {
  const struct gemm_task *task;
  lx at, column;      // in the tile; its first column
  int vectors;        // 1 or 2
  lx left;            // lanes inside the last of them; NULL: all
  lx row0, in_tile;   // the rows at hand start here, and in the tile there
  struct loop_reg ***rows; // by fold and vector: sums over rows
  struct loop_reg **block; // by fold: GEMM_FOLD_ALL's sum over the rows at hand
};
static lx strip_column(const struct gemm *g, const struct gemm_strip *s, int v) {
  return lx_addi(s->column, v * g->lanes);
}
static lx strip_left(const struct gemm_strip *s, int v) { return v == s->vectors - 1 ? s->left : NULL; }

static lx masked(struct lb *b, lx value, lx left) {
  if (!left) return value;
  lx inside = lx_lt(lx_iota(b), lx_broadcast(lx_convert(left, LT_I32)));
  return lx_select(inside, value, lx_const(b, value->type, value->lanes, 0));
}

static lx row_in_tile(const struct gemm_strip *s, lx i) {
  return lx_add(lx_sub(i, s->row0), s->in_tile);
}

// Adds what `point` gave for vector v of row i.
static void fold_value(struct gemm *g, const struct gemm_strip *s, int f, lx i, int v, lx value) {
  struct lb *b = g->b;
  value = masked(b, lx_broadcast(value), strip_left(s, v));
  if (fold_of(g, f) == GEMM_FOLD_ALL) {
    lb_accumulate(b, s->block[f], LX_ADD, value);
    return;
  }
  if (fold_of(g, f) == GEMM_FOLD_ROWS) {
    lb_accumulate(b, s->rows[f][v], LX_ADD, value);
    return;
  }
  lx at = lb_let(b, "at", lx_muli(row_in_tile(s, i), g->lanes));
  lb_store(b, g->across[f], at, lx_add(lx_vload(g->across[f], at), value));
}

static void row_points(struct gemm *g, const struct gemm_strip *s, lx i) {
  struct lb *b = g->b;
  const struct gemm_epilogue *e = g->e;
  lx *value = NEW_ARRAY(lb_arena(b), lx, e->n_folds + 1);
  lx from = lb_let(b, "from", lx_add(s->at, lx_muli(row_in_tile(s, i), g->strip)));
  for (int v = 0; v < s->vectors; v++) {
    lx c = lb_let(b, "c_", lx_vload(g->tile, lx_addi(from, v * g->lanes)));
    e->point(e->user, s->task->batch, i, strip_column(g, s, v), strip_left(s, v), c, value);
    for (int f = 0; f < e->n_folds; f++) fold_value(g, s, f, i, v, value[f]);
  }
}

static void declare_row_sums(struct gemm *g, struct gemm_strip *s) {
  struct lb *b = g->b;
  s->rows = NEW_ARRAY(lb_arena(b), struct loop_reg **, g->e->n_folds + 1);
  for (int f = 0; f < g->e->n_folds; f++) {
    if (fold_of(g, f) != GEMM_FOLD_ROWS) continue;
    s->rows[f] = NEW_ARRAY(lb_arena(b), struct loop_reg *, s->vectors);
    for (int v = 0; v < s->vectors; v++)
      s->rows[f][v] = lb_reg(b, "sum", LT_F32, (int)g->lanes, 0, lx_vf32(b, 0));
  }
}

static void row_sums_done(struct gemm *g, const struct gemm_strip *s) {
  struct lb *b = g->b;
  for (int f = 0; f < g->e->n_folds; f++)
    for (int v = 0; s->rows[f] && v < s->vectors; v++) {
      lx sum = lx_reg(b, s->rows[f][v]), j = strip_column(g, s, v);
      if (fold_is_whole(g, f))
        g->e->fold_done(g->e->user, f, s->task->batch, j, strip_left(s, v), sum);
      else
        lb_store(b, g->parts[f], lx_add(part_at(g, f, s->task->batch, s->task->row_tile), j), sum);
    }
}

enum { ROWS_AHEAD = 12 }; // whose operands are asked for

static void meet_again(struct gemm *g, const struct gemm_strip *s) {
  struct lb *b = g->b;
  const struct gemm_epilogue *e = g->e;
  lx batch = s->task->batch;
  for (int v = 0; e->finish && v < s->vectors; v++) {
    lx j = strip_column(g, s, v), left = strip_left(s, v);
    if (e->finish_enter) e->finish_enter(e->user, batch, j, left);
    lx i = lb_for(b, "i", g->s->m);
    if (e->finish_fetch) e->finish_fetch(e->user, lx_mini(lx_addi(i, ROWS_AHEAD), g->s->m - 1));
    lx c = lx_vload(g->tile, lx_add(s->at, lx_addi(lx_muli(i, g->strip), v * g->lanes)));
    e->finish(e->user, batch, i, j, left, c);
    lb_end(b);
    if (e->finish_leave) e->finish_leave(e->user);
  }
}

static void block_sums_begin(struct gemm *g, struct gemm_strip *s) {
  int n = g->e->n_folds;
  s->block = NEW_ARRAY(lb_arena(g->b), struct loop_reg *, n + 1);
  for (int f = 0; f < n; f++)
    if (g->all[f]) s->block[f] = lb_reg(g->b, "block_sum", LT_F32, (int)g->lanes, 0, lx_vf32(g->b, 0));
}

static void block_sums_end(struct gemm *g, const struct gemm_strip *s) {
  struct lb *b = g->b;
  for (int f = 0; f < g->e->n_folds; f++)
    if (g->all[f]) lb_accumulate(b, g->all[f], LX_ADD, lx_convert(lx_reg(b, s->block[f]), LT_F64));
}

// Elements below the diagonal: row j0 + c of C from column c of rows above the strip's start j0. Whole
// vectors, since strips start at multiples of them.
static void mirror_strip(struct gemm *g, struct gemm_strip *s) {
  struct lb *b = g->b;
  const struct gemm_epilogue *e = g->e;
  lx *value = NEW_ARRAY(lb_arena(b), lx, e->n_folds + 1);
  lx above = lx_mini(s->column, g->s->m / g->lanes * g->lanes); // the minimum for the verifier
  lx r = lb_for_range(b, "r", lx_int(b, 0), above, g->lanes);
  block_sums_begin(g, s);
  for (int v = 0; v < s->vectors; v++) {
    lb_call(b, NULL, "btrt_transpose_f32", 4, lx_address(g->mirror, lx_int(b, 0), g->lanes * g->lanes),
            lx_int(b, g->lanes),
            lx_address(g->tile, lx_add(s->at, lx_addi(lx_muli(r, g->strip), v * g->lanes)),
                       (g->lanes - 1) * g->strip + g->lanes),
            lx_int(b, g->strip));
    lx c = lb_for_range(b, "c", lx_int(b, 0), strip_left(s, v) ? s->left : lx_int(b, g->lanes), 1);
    lx mirrored = lb_let(b, "c_", lx_vload(g->mirror, lx_muli(c, g->lanes)));
    e->point(e->user, s->task->batch, lx_add(strip_column(g, s, v), c), r, NULL, mirrored, value);
    for (int f = 0; f < e->n_folds; f++) lb_accumulate(b, s->block[f], LX_ADD, lx_broadcast(value[f]));
    lb_end(b);
  }
  block_sums_end(g, s);
  lb_end(b);
}

struct gemm_strip *gemm_strip_begin(struct gemm *g, const struct gemm_task *t, lx strip, lx at,
                                    bool cut) {
  int64_t inside = cut ? g->s->n % g->strip : g->strip, rest = inside % g->lanes;
  struct gemm_strip *s = NEW(lb_arena(g->b), struct gemm_strip);
  *s = (struct gemm_strip){.task = t, .at = at, .column = lx_muli(strip, g->strip)};
  s->vectors = (int)ceil_div(inside, g->lanes);
  s->left = rest ? lx_int(g->b, rest) : NULL;
  declare_row_sums(g, s);
  return s;
}

void gemm_strip_fetch(struct gemm *g, const struct gemm_strip *s, lx row) {
  for (int v = 0; v < s->vectors; v++) g->e->fetch(g->e->user, s->task->batch, row, strip_column(g, s, v));
}

void gemm_strip_rows(struct gemm *g, struct gemm_strip *s, lx row0, lx row1, lx in_tile) {
  struct lb *b = g->b;
  s->row0 = row0, s->in_tile = in_tile;
  block_sums_begin(g, s);
  lx i = lb_for_range(b, "i", row0, row1, 1);
  row_points(g, s, i);
  lb_end(b);
  block_sums_end(g, s);
}

void gemm_strip_end(struct gemm *g, struct gemm_strip *s) {
  row_sums_done(g, s);
  if (g->s->symmetric) mirror_strip(g, s);
  meet_again(g, s);
}

// ---- the end ----------------------------------------------------------------------------------
static void add_parts(struct gemm *g, int f, lx batch, lx index, lx left) {
  struct lb *b = g->b;
  bool vector = fold_of(g, f) == GEMM_FOLD_ROWS;
  lx (*load)(struct loop_buf *, lx) = vector ? lx_vload : lx_load;
  lx offset = index ? index : lx_int(b, 0);
  lx first = load(g->parts[f], lx_add(part_at(g, f, batch, lx_int(b, 0)), offset));
  struct loop_reg *sum = lb_reg(b, "sum", first->type, first->lanes, 0, first);
  lx part = lb_for_range(b, "part", lx_int(b, 1), lx_int(b, part_count(g, f)), 1);
  lb_accumulate(b, sum, LX_ADD, load(g->parts[f], lx_add(part_at(g, f, batch, part), offset)));
  lb_end(b);
  g->e->fold_done(g->e->user, f, batch, index, left, lx_reg(b, sum));
}

// Vectors of columns: the last, masked one apart.
static void add_row_parts(struct gemm *g, int f, lx batch) {
  struct lb *b = g->b;
  int64_t n = g->s->n, whole = n / g->lanes * g->lanes;
  if (whole) {
    lx j = lb_parallel_for(b, "j", lx_int(b, 0), lx_int(b, whole), g->lanes);
    add_parts(g, f, batch, j, NULL);
    lb_end(b);
  }
  if (whole == n) return;
  lb_parallel_for(b, "rest", lx_int(b, 0), lx_int(b, 1), 1);
  add_parts(g, f, batch, lx_int(b, whole), lx_int(b, n - whole));
  lb_end(b);
}

void gemm_add_folds(struct gemm *g) {
  struct lb *b = g->b;
  lx batch = g->s->batch > 1 ? lb_for(b, "batch", g->s->batch) : lx_int(b, 0);
  for (int f = 0; f < g->e->n_folds; f++) {
    if (fold_is_whole(g, f)) continue;
    if (fold_of(g, f) == GEMM_FOLD_ROWS) {
      add_row_parts(g, f, batch);
      continue;
    }
    bool all = fold_of(g, f) == GEMM_FOLD_ALL;
    lx i = lb_parallel_for(b, "i", lx_int(b, 0), lx_int(b, part_length(g, f)), 1);
    add_parts(g, f, batch, all ? NULL : i, NULL);
    lb_end(b);
  }
  if (g->s->batch > 1) lb_end(b);
}
