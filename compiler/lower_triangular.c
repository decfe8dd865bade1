// lower_triangular.c: Cholesky factors and systems with triangular matrices, of one loop nest each.
//
// Substitution works on a *panel*: a few vectors of columns of the right side, kept in scratch,
// where the rows already solved stay in cache. In steps of a few rows t:
//
//   x[t] = (b[t] - Σ_{p<t} op(A)[t][p] x[p]) / op(A)[t][t]
//
// The sum over the rows before the step is a product with a register block; what the rows of the
// step owe one another follows in registers. Panels are independent and shared out among threads.
//
// Cholesky's factor is found by the same substitution. A block of rows of L is a panel on its side:
// its transpose X solves L[..j,..j] X = A[j.., ..j]ᵀ, L's rows above being known. Below these rows
// of X come those of the diagonal block, where the factor of each row is read from X itself: X[p][i
// - j] = L[i][p]. Matrices are shared out among threads, the blocks of one follow one another.
//
// Work is split by shape alone, so the bits do not depend on the number of threads.
#include "body.h"

struct triangular {
  struct lb *b;
  enum loop_type type;
  int64_t n;          // the matrices are n×n
  int vectors;        // of a panel's row
  int64_t width;      // the same in elements
  int rows;           // of a register block; divides `width`
  struct loop_buf *a; // of the coefficients
  struct loop_buf *panel;
  lx matrix;           // index of the first element of A
  int64_t row, column; // steps of op(A) in it
  bool last_first; // op(A) is an upper triangle: step t solves row n-1-t; panels are in order of t
  bool unit;       // the diagonal is ones
};

static struct triangular triangular_of(struct lb *b, const struct target *t, enum loop_type type,
                                       int64_t n, int64_t columns) {
  struct triangular s = {.b = b, .type = type, .n = n, .row = n, .column = 1};
  s.vectors = columns > t->lanes && type == LT_F32 ? 2 : 1; // an f64 vector takes two registers
  s.width = s.vectors * t->lanes;
  s.rows = target_block_rows(t) >= 8 ? 8 : 4;
  return s;
}

static lx in_panel(const struct triangular *s, lx row, lx column) {
  return lx_add(lx_muli(row, s->width), column);
}

static lx vector_at(const struct triangular *s, lx row, int v) {
  return in_panel(s, row, lx_int(s->b, (int64_t)v * lb_target(s->b)->lanes));
}

// What is solved at step t.
static lx row_of(const struct triangular *s, lx t) {
  return s->last_first ? lx_rsub(s->n - 1, t) : t;
}

static lx coefficient(const struct triangular *s, lx t, lx p) {
  lx at = lx_add(lx_muli(row_of(s, t), s->row), lx_muli(row_of(s, p), s->column));
  return lx_load(s->a, lx_add(s->matrix, at));
}

// ---- a register block -------------------------------------------------------------------------

// Steps t … t+rows-1. `diagonal`, where they are rows of Cholesky's diagonal block: its first row.
struct block {
  const struct triangular *s;
  lx t, diagonal;
  int rows;
  struct loop_reg *sum; // rows × vectors
};

static lx block_coefficient(const struct block *k, lx row, lx p) {
  const struct triangular *s = k->s;
  lx t = lx_add(k->t, row);
  return k->diagonal ? lx_load(s->panel, in_panel(s, p, lx_sub(t, k->diagonal)))
                     : coefficient(s, t, p);
}

static lx sum_index(const struct block *k, lx row, lx v) {
  return lx_add(lx_muli(row, k->s->vectors), v);
}

// sum[row] = Σ_{p<t} coefficient[row][p] x[p]
static void sum_rows_before(const struct block *k) {
  const struct triangular *s = k->s;
  struct lb *b = s->b;
  int lanes = lb_target(b)->lanes;
  lx p = lb_for_range(b, "p", lx_int(b, 0), k->t, 1);
  struct loop_reg *x = lb_reg(b, "x_", s->type, lanes, s->vectors, NULL);
  lx v = lb_unroll(b, "v", s->vectors);
  lb_set_at(b, x, v, lx_vload(s->panel, in_panel(s, p, lx_muli(v, lanes))));
  lb_end(b);
  lx row = lb_unroll(b, "r", k->rows);
  lx c = lb_let(b, "c", lx_broadcast(block_coefficient(k, row, p)));
  v = lb_unroll(b, "v", s->vectors);
  lb_fma_at(b, k->sum, sum_index(k, row, v), c, lx_reg_at(x, v));
  for (int i = 0; i < 3; i++) lb_end(b);
}

// The factor of a row of x: the inverse of the coefficient on the diagonal. For Cholesky that is
// the root of what is left there, NaN (the root of -1) where that is not positive.
static lx row_factor(const struct block *k, lx row, lx t) {
  const struct triangular *s = k->s;
  struct lb *b = s->b;
  lx one = lx_const(b, s->type, 1, 1);
  if (!k->diagonal) return lb_let(b, "inverse", lx_div(one, coefficient(s, t, t)));
  lx left = lb_let(b, "left", block_coefficient(k, row, t));
  lx positive = lx_lt(lx_const(b, s->type, 1, 0), left);
  lx root = lx_unary(LX_SQRT, lx_select(positive, left, lx_const(b, s->type, 1, -1)));
  return lb_let(b, "inverse", lx_div(one, root));
}

static void finish_row(const struct block *k, int r) {
  const struct triangular *s = k->s;
  struct lb *b = s->b;
  lx row = lx_int(b, r), t = lx_add(k->t, row), x[2];
  for (int v = 0; v < s->vectors; v++) {
    lx sum = lx_reg_at(k->sum, sum_index(k, row, lx_int(b, v)));
    x[v] = lb_let(b, "x_", lx_sub(lx_vload(s->panel, vector_at(s, t, v)), sum));
    if (k->diagonal) lb_store(b, s->panel, vector_at(s, t, v), x[v]); // the root is of one lane
  }
  if (!s->unit) {
    lx factor = row_factor(k, row, t);
    for (int v = 0; v < s->vectors; v++) x[v] = lb_let(b, "x_", lx_mul(x[v], factor));
  }
  for (int v = 0; v < s->vectors; v++) lb_store(b, s->panel, vector_at(s, t, v), x[v]);
  if (r + 1 == k->rows) return;
  lx later = lx_addi(lb_unroll(b, "later", k->rows - r - 1), r + 1);
  lx c = lb_let(b, "c", lx_broadcast(block_coefficient(k, later, t)));
  for (int v = 0; v < s->vectors; v++)
    lb_fma_at(b, k->sum, sum_index(k, later, lx_int(b, v)), c, x[v]);
  lb_end(b);
}

static void solve_block(const struct triangular *s, lx t, int rows, lx diagonal) {
  struct lb *b = s->b;
  struct block k = {.s = s, .t = t, .diagonal = diagonal, .rows = rows};
  k.sum =
      lb_reg(b, "sum", s->type, lb_target(b)->lanes, rows * s->vectors, lx_const(b, s->type, 1, 0));
  sum_rows_before(&k);
  for (int r = 0; r < rows; r++) finish_row(&k, r);
}

static void solve_blocks(const struct triangular *s, lx from, lx to, lx diagonal) {
  lx t = lb_for_range(s->b, "t", from, to, s->rows);
  solve_block(s, t, s->rows, diagonal);
  lb_end(s->b);
}

// ---- solve_triangular -------------------------------------------------------------------------

enum { PARALLEL_FLOPS = 1 << 17 }; // below, waking threads costs more

static lx open_tasks(struct lb *b, int64_t tasks, double flops) {
  return tasks > 1 && flops > PARALLEL_FLOPS
             ? lb_parallel_for(b, "task", lx_int(b, 0), lx_int(b, tasks), 1)
             : lb_for(b, "task", tasks);
}

// The panel's columns from or to rows of `side`, which has `columns`, of which `left` are from `at`
// on.
static void move_panel(const struct triangular *s, struct loop_buf *side, int64_t columns, lx at,
                       lx left, bool in) {
  struct lb *b = s->b;
  int lanes = lb_target(b)->lanes;
  lx t = lb_for(b, "t", s->n);
  lx row = lx_add(at, lx_muli(row_of(s, t), columns));
  for (int v = 0; v < s->vectors; v++) {
    lx there = lx_addi(row, (int64_t)v * lanes), here = vector_at(s, t, v),
       n = lx_addi(left, -(int64_t)v * lanes);
    if (in)
      lb_store(b, s->panel, here, lx_vload_n(side, there, n));
    else
      lb_store_n(b, side, there, n, lx_vload(s->panel, here));
  }
  lb_end(b);
}

void lower_solve_triangular(struct fusion *f, struct kernel *k, const struct target *t) {
  const struct node *n = k->roots.data[0].node;
  const struct shape *shape = &n->type.shape;
  int64_t size = shape->dim[shape->rank - 2], columns = shape->dim[shape->rank - 1];
  int64_t matrices = shape_count(shape) / (size * columns);
  struct lb *b = lower_begin(f, k, t, "solve_triangular");
  struct triangular s = triangular_of(b, t, lower_type(n->type.dtype), size, columns);
  int64_t panels = (columns + s.width - 1) / s.width;
  s.a = lower_input(k, b, fusion_value(f, n->in[0]), "a");
  bool same = fusion_value(f, n->in[0]) == fusion_value(f, n->in[1]);
  struct loop_buf *right = same ? s.a : lower_input(k, b, fusion_value(f, n->in[1]), "b");
  struct loop_buf *out = lower_output(k, b, k->roots.data[0].buffer, "x");
  s.panel = lb_scratch(b, "panel", s.type, size * s.width);
  s.unit = n->attr.i[SOLVE_UNITRIANGULAR];
  s.last_first = n->attr.i[SOLVE_UPPER] != n->attr.i[SOLVE_TRANSPOSE];
  if (n->attr.i[SOLVE_TRANSPOSE]) s.row = 1, s.column = size;
  lb_equation(b, str_printf(f->arena, "x = op(a)^-1 b, a %lldx%lld, b of %lld columns",
                            (long long)size, (long long)size, (long long)columns));
  lx task = open_tasks(b, matrices * panels, op_info(n->op)->rules->flops(n));
  lx matrix = lb_let(b, "matrix", lx_divi(task, panels));
  lx column = lb_let(b, "column", lx_muli(lx_modi(task, panels), s.width));
  s.matrix = lx_muli(matrix, size * size);
  lx at = lx_add(lx_muli(matrix, size * columns), column), left = lx_rsub(columns, column);
  move_panel(&s, right, columns, at, left, true);
  int64_t whole = size - size % s.rows;
  if (whole) solve_blocks(&s, lx_int(b, 0), lx_int(b, whole), NULL);
  if (size > whole) solve_block(&s, lx_int(b, whole), (int)(size - whole), NULL);
  move_panel(&s, out, columns, at, left, false);
  lb_end(b);
  lower_end(k, b);
}

// ---- cholesky ---------------------------------------------------------------------------------

// X[p][i - first] = A[i][p] of the lower triangle; zeros beyond it, and rows beyond A as of a unit
// matrix.
static void load_rows(const struct triangular *s, struct loop_buf *a, lx first, lx present) {
  struct lb *b = s->b;
  lx end = lx_addi(first, s->width), zero = lx_const(b, s->type, 1, 0);
  lx i = lb_for_range(b, "i", lx_int(b, 0), present, 1), diagonal = lx_add(first, i);
  lx p = lb_for_range(b, "p", lx_int(b, 0), lx_addi(diagonal, 1), 1);
  lb_store(b, s->panel, in_panel(s, p, i),
           lx_load(a, lx_add(s->matrix, lx_add(lx_muli(diagonal, s->n), p))));
  lb_end(b);
  p = lb_for_range(b, "p", lx_addi(diagonal, 1), end, 1);
  lb_store(b, s->panel, in_panel(s, p, i), zero);
  lb_end(b);
  lb_end(b);
  if (s->n % s->width == 0) return;
  i = lb_for_range(b, "i", present, lx_int(b, s->width), 1);
  p = lb_for_range(b, "p", lx_int(b, 0), end, 1);
  lb_store(b, s->panel, in_panel(s, p, i), zero);
  lb_end(b);
  lb_store(b, s->panel, in_panel(s, lx_add(first, i), i), lx_const(b, s->type, 1, 1));
  lb_end(b);
}

static void store_rows(const struct triangular *s, struct loop_buf *l, lx first, lx present) {
  struct lb *b = s->b;
  lx i = lb_for_range(b, "i", lx_int(b, 0), present, 1), diagonal = lx_add(first, i);
  lx row = lx_add(s->matrix, lx_muli(diagonal, s->n));
  lx p = lb_for_range(b, "p", lx_int(b, 0), lx_addi(diagonal, 1), 1);
  lb_store(b, l, lx_add(row, p), lx_load(s->panel, in_panel(s, p, i)));
  lb_end(b);
  p = lb_for_range(b, "p", lx_addi(diagonal, 1), lx_int(b, s->n), 1);
  lb_store(b, l, lx_add(row, p), lx_const(b, s->type, 1, 0));
  lb_end(b);
  lb_end(b);
}

// A pivot that is NaN makes all that follow it NaN, the last one too; then nothing of the factor
// counts.
static void spread_failure(const struct triangular *s, struct loop_buf *l) {
  struct lb *b = s->b;
  lx last = lb_let(b, "last", lx_load(l, lx_addi(s->matrix, s->n * s->n - 1)));
  lb_if(b, lower_is_nan(last));
  lx i = lb_for(b, "i", s->n), j = lb_for_range(b, "j", lx_int(b, 0), lx_addi(i, 1), 1);
  lb_store(b, l, lx_add(s->matrix, lx_add(lx_muli(i, s->n), j)), last);
  for (int k = 0; k < 3; k++) lb_end(b);
}

void lower_cholesky(struct fusion *f, struct kernel *k, const struct target *t) {
  const struct node *n = k->roots.data[0].node;
  const struct shape *shape = &n->type.shape;
  int64_t size = shape->dim[shape->rank - 1], matrices = shape_count(shape) / (size * size);
  struct lb *b = lower_begin(f, k, t, "cholesky");
  struct triangular s = triangular_of(b, t, lower_type(n->type.dtype), size, size);
  struct loop_buf *a = lower_input(k, b, fusion_value(f, n->in[0]), "a");
  struct buffer *to = k->roots.data[0].buffer;
  vec_push(f->arena, &k->arguments, ((struct kernel_argument){to, 0}));
  s.a = lb_inout(b, "l", s.type, buffer_count(to));
  int64_t blocks = (size + s.width - 1) / s.width;
  s.panel = lb_scratch(b, "panel", s.type, blocks * s.width * s.width);
  lb_equation(b, str_printf(f->arena, "l l' = a, %lldx%lld", (long long)size, (long long)size));
  s.matrix = lx_muli(open_tasks(b, matrices, op_info(n->op)->rules->flops(n)), size * size);
  lx first = lx_muli(lb_for(b, "block", blocks), s.width);
  lx present = size % s.width ? lb_let(b, "present", lx_mini(lx_rsub(size, first), s.width))
                              : lx_int(b, s.width);
  load_rows(&s, a, first, present);
  solve_blocks(&s, lx_int(b, 0), first, NULL);
  solve_blocks(&s, first, lx_addi(first, s.width), first);
  store_rows(&s, s.a, first, present);
  lb_end(b);
  spread_failure(&s, s.a);
  lb_end(b);
  lower_end(k, b);
}
