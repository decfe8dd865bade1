// triangular.c: the Cholesky factor of positive definite matrices, and systems with triangular ones; the
// matrices are the last two axes, leading axes are batch.
//
// As LAPACK, NumPy and PyTorch have it, `cholesky` reads the lower triangle alone and `solve_triangular`
// only the triangle that it is told of, without the diagonal where that is taken as ones. Gradients are
// those of what is read: entries of the other triangle get 0.
//
// A matrix that is not positive definite has no factor: its whole lower triangle becomes NaN, as in JAX,
// and the other matrices of the batch keep theirs.
#include <math.h>
#include <string.h>

#include "rules.h"

// ---- what both share --------------------------------------------------------------------------

static const char *rule_square(struct arena *a, const struct node *n) {
  const struct shape *s = in_shape(n, 0);
  if (s->rank >= 2 && s->dim[s->rank - 1] == s->dim[s->rank - 2]) return NULL;
  return str_printf(a, "%s needs square matrices, not %s", op_info(n->op)->name, shape_text(a, s));
}

static int64_t matrix_size(const struct node *n) { return in_shape(n, 0)->dim[in_shape(n, 0)->rank - 1]; }

static int64_t matrix_count(const struct node *n) {
  int64_t size = matrix_size(n);
  return shape_count(in_shape(n, 0)) / (size * size);
}

static struct node *swapped(struct graph *g, struct node *x) {
  int perm[MAX_RANK], rank = x->type.shape.rank;
  for (int i = 0; i < rank; i++) perm[i] = i;
  perm[rank - 2] = rank - 1;
  perm[rank - 1] = rank - 2;
  return g_transpose(g, x, perm);
}

// Compares the indices of rows and of columns.
static struct node *row_to_column(struct graph *g, enum op comparison, const struct shape *s) {
  return g_binary(g, comparison, g_iota(g, BT_I32, s, s->rank - 2), g_iota(g, BT_I32, s, s->rank - 1));
}

static struct node *zeros_unless(struct graph *g, struct node *condition, struct node *x) {
  return g_where(g, condition, x, g_constant(g, x->type.dtype, 0));
}

// ---- cholesky ---------------------------------------------------------------------------------

static const char *infer_cholesky(struct arena *a, struct node *n) {
  TRY(rule_float(a, n, 0));  // (cholesky_c1) floats
  TRY(rule_square(a, n)); // (cholesky_c2) square matrices
  return rule_result(a, n, in_dtype(n, 0), in_shape(n, 0));
}

static double dot(const double *x, const double *y, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
  return sum;
}

// A = L Lᵀ by rows: L[i][j] L[j][j] = A[i][j] - Σ_{p<j} L[i][p] L[j][p]. False: a pivot is not positive.
static bool factorise(const double *a, double *l, int64_t n) {
  for (int64_t i = 0; i < n; i++) {
    double *row = l + i * n;
    for (int64_t j = 0; j < i; j++) row[j] = (a[i * n + j] - dot(row, l + j * n, j)) / l[j * n + j];
    double pivot = a[i * n + i] - dot(row, row, i);
    if (!(pivot > 0)) return false;
    row[i] = sqrt(pivot);
  }
  return true;
}

static void eval_cholesky(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  int64_t size = matrix_size(n);
  memset(out->data, 0, sizeof(double) * (size_t)shape_count(&n->type.shape));
#pragma omp parallel for if (matrix_count(n) * size * size * size > REFERENCE_PARALLEL)
  for (int64_t m = 0; m < matrix_count(n); m++) {
    double *l = out->data + m * size * size;
    if (factorise(in[0]->data + m * size * size, l, size)) continue;
    for (int64_t i = 0; i < size; i++)
      for (int64_t j = 0; j <= i; j++) l[i * size + j] = NAN;
  }
}

// Φ(X): the lower triangle of X with half of its diagonal.
static struct node *lower_half(struct graph *g, struct node *x) {
  const struct shape *s = &x->type.shape;
  struct node *diagonal = zeros_unless(g, row_to_column(g, OP_eq, s), g_scale(g, x, 0.5));
  return g_where(g, row_to_column(g, OP_le, s), diagonal, x);
}

// Murray, "Differentiation of the Cholesky decomposition" (2016), eq. 10: with P = Φ(Lᵀ dL) the cotangent
// of the lower triangle of A is Φ(L⁻ᵀ (P + Pᵀ) L⁻¹). Q = P + Pᵀ is symmetric, so L⁻ᵀ Q L⁻¹ is
// L⁻ᵀ (L⁻ᵀ Q)ᵀ: two solutions. What dL holds above the diagonal meets only zeros of Lᵀ in Φ.
static void vjp_cholesky(struct grad *g, const struct node *n, struct node *dy) {
  struct graph *graph = grad_graph(g);
  struct node *l = (struct node *)n;
  struct node *p = lower_half(graph, g_matmul(graph, l, dy, true, false));
  struct node *q = g_binary(graph, OP_add, p, swapped(graph, p));
  struct attr turned = {.n = 3, .i = {[SOLVE_TRANSPOSE] = 1}};
  struct node *half = graph_node(graph, OP_solve_triangular, (struct node *[]){l, q}, 2, &turned, NULL);
  struct node *whole = graph_node(graph, OP_solve_triangular, (struct node *[]){l, swapped(graph, half)}, 2, &turned, NULL);
  grad_add(g, 0, lower_half(graph, whole));
}

static double flops_cholesky(const struct node *n) {
  double size = (double)matrix_size(n);
  return (double)matrix_count(n) * size * size * size / 3;
}

const struct op_rules op_rules_cholesky = {
    .infer = infer_cholesky, .vjp = vjp_cholesky, .eval = eval_cholesky, .flops = flops_cholesky};

// ---- solve_triangular -------------------------------------------------------------------------

static const char *infer_solve(struct arena *a, struct node *n) {
  bool flags = n->attr.n == 3;
  for (int i = 0; i < 3; i++) flags = flags && (n->attr.i[i] == 0 || n->attr.i[i] == 1);
  if (!flags) return "solve_triangular needs upper, transpose and unitriangular, each 0 or 1"; // (solve_triangular_c1) three flags
  TRY(rule_same_dtype(a, n));  // (solve_triangular_c2) one float type
  TRY(rule_float(a, n, 0));
  TRY(rule_square(a, n)); // (solve_triangular_c3) square matrices
  const struct shape *s = in_shape(n, 0), *b = in_shape(n, 1);
  bool fits = s->rank == b->rank;
  for (int i = 0; fits && i < s->rank - 1; i++) fits = s->dim[i] == b->dim[i];
  if (!fits) // (solve_triangular_c4) as many rows on the right, equal batch axes
    return str_printf(a, "solve_triangular of %s and %s", shape_text(a, s), shape_text(a, b));
  return rule_result(a, n, in_dtype(n, 0), b);
}

// Row after row, the last first where op(A) is an upper triangle: x[i] = (b[i] - Σ_p op(A)[i][p] x[p]) / op(A)[i][i].
static void substitute(const struct node *n, const double *a, double *x, int64_t columns) {
  int64_t size = matrix_size(n);
  bool transpose = n->attr.i[SOLVE_TRANSPOSE], last_first = n->attr.i[SOLVE_UPPER] != transpose;
  int64_t of_row = transpose ? 1 : size, of_column = transpose ? size : 1;
  for (int64_t t = 0; t < size; t++) {
    int64_t i = last_first ? size - 1 - t : t;
    double *row = x + i * columns;
    for (int64_t s = 0; s < t; s++) {
      int64_t p = last_first ? size - 1 - s : s;
      double v = a[i * of_row + p * of_column];
#pragma omp simd
      for (int64_t j = 0; j < columns; j++) row[j] -= v * x[p * columns + j];
    }
    if (n->attr.i[SOLVE_UNITRIANGULAR]) continue;
    for (int64_t j = 0; j < columns; j++) row[j] /= a[i * size + i];
  }
}

static void eval_solve(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  int64_t size = matrix_size(n), columns = in_shape(n, 1)->dim[in_shape(n, 1)->rank - 1];
  memcpy(out->data, in[1]->data, sizeof(double) * (size_t)shape_count(&n->type.shape));
#pragma omp parallel for if (matrix_count(n) * size * size * columns > REFERENCE_PARALLEL)
  for (int64_t m = 0; m < matrix_count(n); m++)
    substitute(n, in[0]->data + m * size * size, out->data + m * size * columns, columns);
}

// The triangle of a matrix like A that the solution reads.
static struct node *what_is_read(struct graph *g, const struct node *n, struct node *x) {
  bool upper = n->attr.i[SOLVE_UPPER], strict = n->attr.i[SOLVE_UNITRIANGULAR];
  const struct shape *s = &x->type.shape;
  struct node *row = g_iota(g, BT_I32, s, s->rank - 2), *column = g_iota(g, BT_I32, s, s->rank - 1);
  struct node *read = g_binary(g, strict ? OP_lt : OP_le, upper ? row : column, upper ? column : row);
  return zeros_unless(g, read, x);
}

// Giles, "Collected matrix derivative results" (2008), 2.3.1: op(A) X = B gives dB = op(A)⁻ᵀ dX and
// d op(A) = -dB Xᵀ, of which A gets what was read.
static void vjp_solve(struct grad *g, const struct node *n, struct node *dy) {
  struct graph *graph = grad_graph(g);
  struct attr a = n->attr;
  a.i[SOLVE_TRANSPOSE] ^= 1;
  struct node *x = (struct node *)n;
  struct node *db = graph_node(graph, OP_solve_triangular, (struct node *[]){n->in[0], dy}, 2, &a, NULL);
  if (grad_wants(g, 1)) grad_add(g, 1, db);
  if (!grad_wants(g, 0)) return;
  bool transpose = n->attr.i[SOLVE_TRANSPOSE];
  struct node *product = g_matmul(graph, transpose ? x : db, transpose ? db : x, false, true);
  grad_add(g, 0, what_is_read(graph, n, g_unary(graph, OP_neg, product)));
}

static double flops_solve(const struct node *n) {
  return (double)shape_count(&n->type.shape) * (double)matrix_size(n);
}

const struct op_rules op_rules_solve_triangular = {
    .infer = infer_solve, .vjp = vjp_solve, .eval = eval_solve, .flops = flops_solve};
