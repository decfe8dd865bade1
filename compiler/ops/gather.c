// gather.c: rows picked along one axis by a tensor of integers (NumPy's `take`), and their cotangent,
// which adds up again what was picked.
//
//   gather     y[i.., j.., k..] = x[i.., indices[j..], k..]      the axis stands between i and k
//   gather_dx  dx[i.., r, k..] = Σ dy[i.., j.., k..] over the j with indices[j] = r, in order of j
//
// A negative index counts from the end of the axis. What lies outside all the same picks NaN, or the
// smallest value of an integer type, which nothing later can take for data, and sends no cotangent:
// jax.numpy.take does so too ("fill"). An error at run time would need a way out of every kernel.
#include <math.h>
#include <string.h>

#include "rules.h"

// (gather_c1) integers pick; (gather_c2) the axis exists; (gather_c3) the result has not too many axes
static const char *picked_shape(struct arena *a, const struct node *n, const struct shape *x, struct shape *y) {
  const char *name = op_info(n->op)->name;
  const struct shape *indices = in_shape(n, 1);
  int64_t axis = n->attr.n == 1 ? n->attr.i[0] : -1;
  if (in_dtype(n, 1) != BT_I32 && in_dtype(n, 1) != BT_I64)
    return str_printf(a, "%s by %s, which are no integers", name, type_text(a, &n->in[1]->type));
  if (axis < 0 || axis >= x->rank)
    return str_printf(a, "%s along axis %lld of %s", name, (long long)axis, shape_text(a, x));
  *y = (struct shape){.rank = x->rank - 1 + indices->rank};
  if (y->rank > MAX_RANK)
    return str_printf(a, "%s of %s by indices %s has %d axes", name, shape_text(a, x), shape_text(a, indices), y->rank);
  for (int i = 0; i < y->rank; i++)
    y->dim[i] = i < axis                    ? x->dim[i]
                : i < axis + indices->rank ? indices->dim[i - axis]
                                           : x->dim[i - indices->rank + 1];
  return NULL;
}

static const char *infer_gather(struct arena *a, struct node *n) {
  struct shape y;
  TRY(picked_shape(a, n, in_shape(n, 0), &y));
  return rule_result(a, n, in_dtype(n, 0), &y);
}

static const char *infer_gather_dx(struct arena *a, struct node *n) { // (gather_dx_c1) dy is the forward result's
  struct shape y;
  TRY(rule_given(a, n));
  TRY(rule_float(a, n, 0));
  TRY(picked_shape(a, n, &n->type.shape, &y));
  if (!shape_eq(&y, in_shape(n, 0)))
    return str_printf(a, "gather_dx: the cotangent must be %s, not %s", shape_text(a, &y), shape_text(a, in_shape(n, 0)));
  return rule_result(a, n, in_dtype(n, 0), &n->type.shape);
}

// ---- reference evaluation ---------------------------------------------------------------------

struct picks { int64_t outer, rows, inner, picked; }; // x: outer × rows × inner, y: outer × picked × inner

static struct picks picks_of(const struct node *n, const struct shape *x) {
  struct picks p = {1, x->dim[n->attr.i[0]], 1, shape_count(in_shape(n, 1))};
  for (int i = 0; i < n->attr.i[0]; i++) p.outer *= x->dim[i];
  for (int i = (int)n->attr.i[0] + 1; i < x->rank; i++) p.inner *= x->dim[i];
  return p;
}

// The row that an index means, or -1.
static int64_t row_of(double index, int64_t rows) {
  if (index < 0) index += (double)rows;
  return index >= 0 && index < (double)rows ? (int64_t)index : -1;
}

static double outside(dtype t) {
  return dtype_is_float(t) ? NAN : t == BT_I32 ? -0x1p31 : t == BT_I64 ? -0x1p63 : 0;
}

static void eval_gather(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  struct picks p = picks_of(n, in_shape(n, 0));
  double *y = out->data;
  for (int64_t o = 0; o < p.outer; o++)
    for (int64_t j = 0; j < p.picked; j++, y += p.inner) {
      int64_t row = row_of(in[1]->data[j], p.rows);
      const double *x = in[0]->data + (o * p.rows + row) * p.inner;
      for (int64_t k = 0; k < p.inner; k++) y[k] = row >= 0 ? x[k] : outside(n->type.dtype);
    }
}

static void eval_gather_dx(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  struct picks p = picks_of(n, &n->type.shape);
  const double *dy = in[0]->data;
  memset(out->data, 0, sizeof(double) * (size_t)shape_count(&n->type.shape));
  for (int64_t o = 0; o < p.outer; o++)
    for (int64_t j = 0; j < p.picked; j++, dy += p.inner) {
      int64_t row = row_of(in[1]->data[j], p.rows);
      double *dx = out->data + (o * p.rows + row) * p.inner;
      for (int64_t k = 0; k < p.inner && row >= 0; k++) dx[k] += dy[k];
    }
}

// ---- gradient and cost ------------------------------------------------------------------------

static void vjp_gather(struct grad *g, const struct node *n, struct node *dy) {
  if (!grad_wants(g, 0)) return;
  struct node *in[] = {dy, n->in[1]};
  grad_add(g, 0, graph_node(grad_graph(g), OP_gather_dx, in, 2, &n->attr, &n->in[0]->type));
}

static double flops_gather_dx(const struct node *n) { return (double)shape_count(in_shape(n, 0)); }

const struct op_rules op_rules_gather = {.infer = infer_gather, .vjp = vjp_gather, .eval = eval_gather};
const struct op_rules op_rules_gather_dx = {.infer = infer_gather_dx, .eval = eval_gather_dx, .flops = flops_gather_dx};
