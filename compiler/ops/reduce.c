// reduce.c: ops that fold axes away: sum, extrema, mean, variance, argmax.
#include <math.h>

#include "rules.h"

static const char *infer_axes(struct arena *a, struct node *n, dtype t) {
  const struct shape *x = in_shape(n, 0);
  struct shape to = {0};
  for (int i = 0; i < n->attr.n; i++) // (reduce_c1) ascending axes of the operand
    if (n->attr.i[i] < 0 || n->attr.i[i] >= x->rank || (i && n->attr.i[i] <= n->attr.i[i - 1]))
      return str_printf(a, "%s over axis %lld of %s", op_info(n->op)->name, (long long)n->attr.i[i], shape_text(a, x));
  for (int i = 0; i < x->rank; i++)
    if (!axes_have(&n->attr, i)) to.dim[to.rank++] = x->dim[i];
  return rule_result(a, n, t, &to);
}

static const char *infer_reduce(struct arena *a, struct node *n) { // (reduce_c2) numbers
  if (in_dtype(n, 0) == BT_BOOL) return str_printf(a, "%s needs numbers, not bool", op_info(n->op)->name);
  return infer_axes(a, n, in_dtype(n, 0));
}

static const char *infer_moment(struct arena *a, struct node *n) { // (reduce_c3) floats
  TRY(rule_float(a, n, 0));
  return infer_axes(a, n, in_dtype(n, 0));
}

static const char *infer_argmax(struct arena *a, struct node *n) { // (argmax_c1) one axis
  if (n->attr.n != 1) return str_printf(a, "argmax is over one axis, not %d", n->attr.n);
  return infer_axes(a, n, BT_I32);
}

// How many operand elements each result element folds.
static double folded(const struct node *n) {
  double m = 1;
  for (int i = 0; i < n->attr.n; i++) m *= (double)in_shape(n, 0)->dim[n->attr.i[i]];
  return m;
}

// ---- reference evaluation ---------------------------------------------------------------------

// Strides of the operand's axes in the result; 0 for those folded away.
static void result_strides(const struct node *n, int64_t stride[MAX_RANK]) {
  int64_t own[MAX_RANK];
  shape_strides(&n->type.shape, own);
  for (int i = 0, k = 0; i < in_shape(n, 0)->rank; i++) stride[i] = axes_have(&n->attr, i) ? 0 : own[k++];
}

#define FOLD(n, in, statement)                                                                     \
  do {                                                                                             \
    const struct shape *s_ = in_shape(n, 0);                                                       \
    int64_t stride_[MAX_RANK], index_[MAX_RANK] = {0};                                             \
    result_strides(n, stride_);                                                                    \
    for (int64_t i_ = 0, count_ = shape_count(s_); i_ < count_; i_++, shape_next(s_, index_)) {    \
      int64_t at = 0;                                                                              \
      for (int k_ = 0; k_ < s_->rank; k_++) at += index_[k_] * stride_[k_];                        \
      double x = (in)->data[i_];                                                                   \
      const int64_t *index = index_;                                                               \
      (void)index;                                                                                 \
      statement;                                                                                   \
    }                                                                                              \
  } while (0)

static void fill(struct tensor64 *t, double value) {
  for (int64_t i = 0, count = shape_count(&t->type.shape); i < count; i++) t->data[i] = value;
}

static void eval_sum(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  fill(out, 0);
  FOLD(n, in[0], out->data[at] += x);
  wrap_integers(out);
}

static void eval_reduce_max(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  fill(out, -INFINITY);
  FOLD(n, in[0], if (x > out->data[at] || isnan(x)) out->data[at] = x);
}

static void eval_reduce_min(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  fill(out, INFINITY);
  FOLD(n, in[0], if (x < out->data[at] || isnan(x)) out->data[at] = x);
}

static void eval_mean(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  double m = folded(n);
  eval_sum(n, in, out);
  for (int64_t i = 0, count = shape_count(&n->type.shape); i < count; i++) out->data[i] /= m;
}

static void eval_var(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  struct arena *scratch = arena_new();
  struct tensor64 *mean = tensor64_new(scratch, &n->type);
  double m = folded(n);
  eval_mean(n, in, mean);
  fill(out, 0);
  FOLD(n, in[0], out->data[at] += (x - mean->data[at]) * (x - mean->data[at]));
  for (int64_t i = 0, count = shape_count(&n->type.shape); i < count; i++) out->data[i] /= m;
  arena_free(scratch);
}

static void eval_argmax(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  struct arena *scratch = arena_new();
  struct tensor64 *best = tensor64_new(scratch, &n->type);
  fill(best, -INFINITY);
  fill(out, 0);
  FOLD(n, in[0], if (x > best->data[at]) {
    best->data[at] = x;
    out->data[at] = (double)index[n->attr.i[0]];
  });
  arena_free(scratch);
}

// ---- gradients --------------------------------------------------------------------------------

// A value of the result's shape, repeated over the folded axes.
static struct node *expand(struct graph *g, const struct node *n, struct node *v) {
  int axes[MAX_RANK], k = 0;
  for (int i = 0; i < in_shape(n, 0)->rank; i++)
    if (!axes_have(&n->attr, i)) axes[k++] = i;
  return g_broadcast(g, v, in_shape(n, 0), axes);
}

static void vjp_sum(struct grad *g, const struct node *n, struct node *dy) {
  grad_add(g, 0, expand(grad_graph(g), n, dy));
}

static void vjp_mean(struct grad *g, const struct node *n, struct node *dy) {
  struct graph *graph = grad_graph(g);
  grad_add(g, 0, expand(graph, n, g_scale(graph, dy, 1 / folded(n))));
}

// d var = 2/m Σ (x − mean) dx; the mean's own share vanishes, since Σ (x − mean) = 0.
static void vjp_var(struct grad *g, const struct node *n, struct node *dy) {
  struct graph *graph = grad_graph(g);
  int axes[MAX_RANK];
  for (int i = 0; i < n->attr.n; i++) axes[i] = (int)n->attr.i[i];
  struct node *mean = g_reduce(graph, OP_mean, n->in[0], axes, n->attr.n);
  struct node *centred = g_binary(graph, OP_sub, n->in[0], expand(graph, n, mean));
  grad_add(g, 0, g_binary(graph, OP_mul, centred, expand(graph, n, g_scale(graph, dy, 2 / folded(n)))));
}

// To the extremal elements, in equal shares.
static void vjp_extremum(struct grad *g, const struct node *n, struct node *dy) {
  struct graph *graph = grad_graph(g);
  dtype t = n->type.dtype;
  int axes[MAX_RANK];
  for (int i = 0; i < n->attr.n; i++) axes[i] = (int)n->attr.i[i];
  struct node *result = (struct node *)(uintptr_t)n; // operands are never written
  struct node *is = g_binary(graph, OP_eq, n->in[0], expand(graph, n, result));
  struct node *ties = g_reduce(graph, OP_sum, g_cast(graph, is, t), axes, n->attr.n);
  struct node *share = expand(graph, n, g_binary(graph, OP_div, dy, ties));
  grad_add(g, 0, g_where(graph, is, share, g_constant(graph, t, 0)));
}

static double flops_var(const struct node *n) { return 3 * (double)shape_count(in_shape(n, 0)); }

const struct op_rules op_rules_sum = {.infer = infer_reduce, .vjp = vjp_sum, .eval = eval_sum};
const struct op_rules op_rules_reduce_max = {.infer = infer_reduce, .vjp = vjp_extremum, .eval = eval_reduce_max};
const struct op_rules op_rules_reduce_min = {.infer = infer_reduce, .vjp = vjp_extremum, .eval = eval_reduce_min};
const struct op_rules op_rules_mean = {.infer = infer_moment, .vjp = vjp_mean, .eval = eval_mean};
const struct op_rules op_rules_var = {.infer = infer_moment, .vjp = vjp_var, .eval = eval_var, .flops = flops_var};
const struct op_rules op_rules_argmax = {.infer = infer_argmax, .eval = eval_argmax};
