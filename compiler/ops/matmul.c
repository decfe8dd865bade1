// matmul.c: matrix product over the last two axes, either operand transposed; leading axes are batch.
//
// The reference product is a plain loop; a large one is BLAS's, in double precision as well, so that
// the interpreter can check what compiled code computes at the sizes that people train with.
#include <cblas.h>
#include <omp.h>
#include <string.h>

#include "../../runtime/btrt_internal.h"
#include "rules.h"

struct product { int64_t batch, m, k, n; bool ta, tb; };

static struct product product_of(const struct node *n) {
  const struct shape *x = in_shape(n, 0), *y = in_shape(n, 1);
  struct product p = {.batch = 1, .ta = n->attr.i[MATMUL_TA], .tb = n->attr.i[MATMUL_TB]};
  for (int i = 0; i < x->rank - 2; i++) p.batch *= x->dim[i];
  p.m = x->dim[x->rank - 2 + p.ta];
  p.k = x->dim[x->rank - 1 - p.ta];
  p.n = y->dim[y->rank - 1 - p.tb];
  return p;
}

static bool is_flag(int64_t i) { return i == 0 || i == 1; }

static const char *infer_matmul(struct arena *a, struct node *n) {
  if (n->attr.n != 2 || !is_flag(n->attr.i[MATMUL_TA]) || !is_flag(n->attr.i[MATMUL_TB])) // (matmul_c5) two flags
    return "matmul needs transpose_a and transpose_b, each 0 or 1";
  TRY(rule_same_dtype(a, n)); // (matmul_c1) one float type
  TRY(rule_float(a, n, 0));
  const struct shape *x = in_shape(n, 0), *y = in_shape(n, 1);
  if (x->rank < 2 || x->rank != y->rank) // (matmul_c2) matrices, equally many batch axes
    return str_printf(a, "matmul of %s and %s", shape_text(a, x), shape_text(a, y));
  for (int i = 0; i < x->rank - 2; i++)
    if (x->dim[i] != y->dim[i]) // (matmul_c3) batch axes agree
      return str_printf(a, "matmul: batch sizes differ: %lld and %lld", (long long)x->dim[i], (long long)y->dim[i]);
  struct product p = product_of(n);
  int64_t k = y->dim[y->rank - 2 + p.tb];
  if (p.k != k) // (matmul_c4) inner sizes agree
    return str_printf(a, "matmul: inner sizes differ: %lld and %lld", (long long)p.k, (long long)k);
  struct shape to = *x;
  to.dim[to.rank - 2] = p.m;
  to.dim[to.rank - 1] = p.n;
  return rule_result(a, n, in_dtype(n, 0), &to);
}

// out[m, n] = Σ_k op(x)[m, k] y[k, n], in order of k.
static void multiply(const struct product *p, const double *x, const double *y, double *out) {
#pragma omp parallel for if (p->m * p->k * p->n > REFERENCE_PARALLEL)
  for (int64_t i = 0; i < p->m; i++) {
    double *row = out + i * p->n;
    memset(row, 0, sizeof *row * (size_t)p->n);
    for (int64_t k = 0; k < p->k; k++) {
      double v = p->ta ? x[k * p->m + i] : x[i * p->k + k];
#pragma omp simd
      for (int64_t j = 0; j < p->n; j++) row[j] += v * y[k * p->n + j];
    }
  }
}

// The same by BLAS, in whatever order it adds.
static void multiply_by_blas(const struct product *p, const double *x, const double *y, double *out) {
  bt_blas_init(omp_get_max_threads()); // on the processor's core, before the first product; keeps the threads
  cblas_dgemm(CblasRowMajor, p->ta ? CblasTrans : CblasNoTrans, p->tb ? CblasTrans : CblasNoTrans, (int)p->m, (int)p->n,
              (int)p->k, 1, x, (int)(p->ta ? p->m : p->k), y, (int)(p->tb ? p->k : p->n), 0, out, (int)p->n);
}

static bool is_for_blas(const struct product *p) {
  return p->m * p->k * p->n >= REFERENCE_BLAS && p->m <= INT32_MAX && p->k <= INT32_MAX && p->n <= INT32_MAX;
}

static void transpose(const double *from, int64_t rows, int64_t columns, double *to) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < columns; c++) to[c * rows + r] = from[r * columns + c];
}

// In the plain loop a transposed y is turned first: down its columns the inner loop would miss the cache at every step.
static void eval_matmul(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  struct product p = product_of(n);
  struct arena *scratch = arena_new();
  bool blas = is_for_blas(&p);
  double *turned = p.tb && !blas ? NEW_ARRAY(scratch, double, p.k * p.n) : NULL;
  for (int64_t b = 0; b < p.batch; b++) {
    const double *x = in[0]->data + b * p.m * p.k, *y = in[1]->data + b * p.k * p.n;
    double *to = out->data + b * p.m * p.n;
    if (turned) transpose(y, p.n, p.k, turned);
    if (blas) multiply_by_blas(&p, x, y, to);
    else multiply(&p, x, turned ? turned : y, to);
  }
  arena_free(scratch);
}

// With A = op(x), B = op(y): dA = dy Bᵀ, dB = Aᵀ dy; where an operand is stored transposed, so is its
// cotangent, and the product is taken the other way round.
static void vjp_matmul(struct grad *g, const struct node *n, struct node *dy) {
  struct graph *graph = grad_graph(g);
  struct node *x = n->in[0], *y = n->in[1];
  bool ta = n->attr.i[MATMUL_TA], tb = n->attr.i[MATMUL_TB];
  if (grad_wants(g, 0)) grad_add(g, 0, ta ? g_matmul(graph, y, dy, tb, true) : g_matmul(graph, dy, y, false, !tb));
  if (grad_wants(g, 1)) grad_add(g, 1, tb ? g_matmul(graph, dy, x, true, ta) : g_matmul(graph, x, dy, !ta, false));
}

static double flops_matmul(const struct node *n) {
  struct product p = product_of(n);
  return 2.0 * (double)p.batch * (double)p.m * (double)p.k * (double)p.n;
}

const struct op_rules op_rules_matmul = {
    .infer = infer_matmul, .vjp = vjp_matmul, .eval = eval_matmul, .flops = flops_matmul};
