// pool.c: largest and mean of windows over the last two axes of NCHW, and their adjoints.
#include <math.h>
#include <string.h>

#include "rules.h"

static const char *check_attributes(struct arena *a, const struct node *n) { // (pool_c1) sizes and strides from 1 on, pads
  const char *name = op_info(n->op)->name;
  if (n->attr.n != 6) return str_printf(a, "%s needs size, stride and pad", name);
  for (int k = 0; k < 2; k++) {
    int64_t size = n->attr.i[POOL_SIZE + k], stride = n->attr.i[POOL_STRIDE + k], pad = n->attr.i[POOL_PAD + k];
    if (size < 1 || stride < 1) return str_printf(a, "%s: size %lld, stride %lld", name, (long long)size, (long long)stride);
    if (pad < 0 || pad >= size) // (pool_c2) every window covers an element
      return str_printf(a, "%s: padding %lld of windows of %lld", name, (long long)pad, (long long)size);
  }
  return NULL;
}

// The pooled shape; (pool_c3) the window fits the padded input.
static const char *pooled_shape(struct arena *a, const struct node *n, const struct shape *x, struct shape *y) {
  TRY(check_attributes(a, n));
  *y = *x;
  for (int k = 0; k < 2; k++) {
    int64_t padded = x->dim[2 + k] + 2 * n->attr.i[POOL_PAD + k] - n->attr.i[POOL_SIZE + k];
    if (padded < 0)
      return str_printf(a, "%s: windows of %lld do not fit %lld", op_info(n->op)->name,
                        (long long)n->attr.i[POOL_SIZE + k], (long long)x->dim[2 + k]);
    y->dim[2 + k] = padded / n->attr.i[POOL_STRIDE + k] + 1;
  }
  return NULL;
}

static const char *infer_pool(struct arena *a, struct node *n) {
  struct shape y;
  TRY(rule_float(a, n, 0));
  TRY(rule_rank(a, n, 0, 4));
  TRY(pooled_shape(a, n, in_shape(n, 0), &y));
  return rule_result(a, n, in_dtype(n, 0), &y);
}

static const char *check_cotangent(struct arena *a, const struct node *n, const struct shape *x, int operand) { // (pool_dx_c1) dy has the pooled shape
  struct shape y;
  TRY(rule_rank(a, n, operand, 4));
  TRY(pooled_shape(a, n, x, &y));
  if (shape_eq(&y, in_shape(n, operand))) return NULL;
  return str_printf(a, "%s: the cotangent must be %s, not %s", op_info(n->op)->name, shape_text(a, &y),
                    shape_text(a, in_shape(n, operand)));
}

static const char *infer_max_dx(struct arena *a, struct node *n) {
  TRY(rule_same_dtype(a, n));
  TRY(rule_float(a, n, 0));
  TRY(rule_rank(a, n, 0, 4));
  TRY(check_cotangent(a, n, in_shape(n, 0), 1));
  return rule_result(a, n, in_dtype(n, 0), in_shape(n, 0));
}

static const char *infer_avg_dx(struct arena *a, struct node *n) {
  TRY(rule_given(a, n));
  TRY(rule_float(a, n, 0));
  if (n->type.shape.rank != 4) return "avg_pool2d_dx gives 4 axes";
  TRY(check_cotangent(a, n, &n->type.shape, 0));
  return rule_result(a, n, in_dtype(n, 0), &n->type.shape);
}

// ---- reference evaluation ---------------------------------------------------------------------

// One window clipped to the plane: rows y0 … y1-1, columns x0 … x1-1 of x.
struct window { int64_t y0, y1, x0, x1; };

static void clip(const struct node *n, int k, int64_t at, int64_t size, int64_t *lo, int64_t *hi) {
  int64_t start = at * n->attr.i[POOL_STRIDE + k] - n->attr.i[POOL_PAD + k], end = start + n->attr.i[POOL_SIZE + k];
  *lo = start < 0 ? 0 : start;
  *hi = end > size ? size : end;
}

// Calls body for every output position i of every plane, with its window and x's plane at `plane`.
#define EACH_WINDOW(n, xs, ys, body)                                                               \
  do {                                                                                             \
    int64_t h_ = (xs)->dim[2], w_ = (xs)->dim[3], oh_ = (ys)->dim[2], ow_ = (ys)->dim[3];          \
    for (int64_t p_ = 0; p_ < (xs)->dim[0] * (xs)->dim[1]; p_++)                                   \
      for (int64_t r_ = 0; r_ < oh_; r_++)                                                         \
        for (int64_t c_ = 0; c_ < ow_; c_++) {                                                     \
          struct window win;                                                                       \
          clip(n, 0, r_, h_, &win.y0, &win.y1);                                                    \
          clip(n, 1, c_, w_, &win.x0, &win.x1);                                                    \
          int64_t i = (p_ * oh_ + r_) * ow_ + c_, plane = p_ * h_ * w_, width = w_;                \
          body;                                                                                    \
        }                                                                                          \
  } while (0)

// Position in the plane of the window's first largest element; the first NaN is larger than all.
static int64_t first_largest(const double *x, int64_t width, struct window w) {
  int64_t best = w.y0 * width + w.x0;
  for (int64_t r = w.y0; r < w.y1; r++)
    for (int64_t c = w.x0; c < w.x1; c++)
      if (!isnan(x[best]) && !(x[r * width + c] <= x[best])) best = r * width + c;
  return best;
}

static double window_sum(const double *x, int64_t width, struct window w) {
  double sum = 0;
  for (int64_t r = w.y0; r < w.y1; r++)
    for (int64_t c = w.x0; c < w.x1; c++) sum += x[r * width + c];
  return sum;
}

static double window_size(const struct node *n) { return (double)(n->attr.i[POOL_SIZE] * n->attr.i[POOL_SIZE + 1]); }

static void eval_max(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  const double *x = in[0]->data;
  EACH_WINDOW(n, in_shape(n, 0), &n->type.shape, out->data[i] = x[plane + first_largest(x + plane, width, win)]);
}

static void eval_max_dx(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  const double *x = in[0]->data;
  memset(out->data, 0, sizeof(double) * (size_t)shape_count(&n->type.shape));
  EACH_WINDOW(n, in_shape(n, 0), in_shape(n, 1),
              out->data[plane + first_largest(x + plane, width, win)] += in[1]->data[i]);
}

static void eval_avg(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  double size = window_size(n);
  EACH_WINDOW(n, in_shape(n, 0), &n->type.shape, out->data[i] = window_sum(in[0]->data + plane, width, win) / size);
}

static void eval_avg_dx(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  double size = window_size(n);
  memset(out->data, 0, sizeof(double) * (size_t)shape_count(&n->type.shape));
  EACH_WINDOW(n, &n->type.shape, in_shape(n, 0), {
    for (int64_t r = win.y0; r < win.y1; r++)
      for (int64_t c = win.x0; c < win.x1; c++) out->data[plane + r * width + c] += in[0]->data[i] / size;
  });
}

// ---- gradients and cost -----------------------------------------------------------------------

static void vjp_max(struct grad *g, const struct node *n, struct node *dy) {
  grad_add(g, 0, graph_node(grad_graph(g), OP_max_pool2d_dx, (struct node *[]){n->in[0], dy}, 2, &n->attr, NULL));
}

static void vjp_avg(struct grad *g, const struct node *n, struct node *dy) {
  grad_add(g, 0, graph_node(grad_graph(g), OP_avg_pool2d_dx, &dy, 1, &n->attr, &n->in[0]->type));
}

static double flops_pool(const struct node *n) { return window_size(n) * (double)shape_count(&n->type.shape); }
static double flops_max_dx(const struct node *n) { return window_size(n) * (double)shape_count(in_shape(n, 1)); }
static double flops_avg_dx(const struct node *n) { return window_size(n) * (double)shape_count(in_shape(n, 0)); }

const struct op_rules op_rules_max_pool2d = {.infer = infer_pool, .vjp = vjp_max, .eval = eval_max, .flops = flops_pool};
const struct op_rules op_rules_avg_pool2d = {.infer = infer_pool, .vjp = vjp_avg, .eval = eval_avg, .flops = flops_pool};
const struct op_rules op_rules_max_pool2d_dx = {.infer = infer_max_dx, .eval = eval_max_dx, .flops = flops_max_dx};
const struct op_rules op_rules_avg_pool2d_dx = {.infer = infer_avg_dx, .eval = eval_avg_dx, .flops = flops_avg_dx};
