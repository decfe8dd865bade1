// move.c: data movement. Every result element is one operand element, or a zero (pad).
//
// The reference evaluation is one gather: an op says where result index `index` comes from. Gradients
// are movements the other way, or sums where an element was repeated.
#include <string.h>

#include "rules.h"

// ---- broadcast --------------------------------------------------------------------------------

static const char *infer_broadcast(struct arena *a, struct node *n) {
  TRY(rule_given(a, n));
  const struct shape *x = in_shape(n, 0), *to = &n->type.shape;
  if (n->attr.n != x->rank) // (broadcast_c1) an axis for each of the operand's
    return str_printf(a, "broadcast of %s names %d axes", shape_text(a, x), n->attr.n);
  unsigned seen = 0;
  for (int i = 0; i < x->rank; i++) {
    int64_t axis = n->attr.i[i];
    if (axis < 0 || axis >= to->rank || seen >> axis & 1) // (broadcast_c2) distinct axes of the result
      return str_printf(a, "broadcast to %s names axis %lld", shape_text(a, to), (long long)axis);
    if (to->dim[axis] != x->dim[i]) // (broadcast_c3) sizes agree
      return str_printf(a, "broadcast puts axis %d of %s on axis %lld of %s: sizes %lld and %lld differ", i,
                        shape_text(a, x), (long long)axis, shape_text(a, to), (long long)x->dim[i],
                        (long long)to->dim[axis]);
    seen |= 1u << axis;
  }
  return rule_result(a, n, in_dtype(n, 0), to);
}

static void eval_broadcast(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  int64_t stride[MAX_RANK], index[MAX_RANK] = {0};
  shape_strides(in_shape(n, 0), stride);
  for (int64_t i = 0, count = shape_count(&n->type.shape); i < count; i++, shape_next(&n->type.shape, index)) {
    int64_t at = 0;
    for (int k = 0; k < n->attr.n; k++) at += index[n->attr.i[k]] * stride[k];
    out->data[i] = in[0]->data[at];
  }
}

// Sum over the repeated axes; what remains is in the order of the result's axes, so put it into the
// operand's.
static void vjp_broadcast(struct grad *g, const struct node *n, struct node *dy) {
  int repeated[MAX_RANK], perm[MAX_RANK], n_repeated = 0;
  for (int axis = 0; axis < n->type.shape.rank; axis++)
    if (!axes_have(&n->attr, axis)) repeated[n_repeated++] = axis;
  struct node *sum = g_reduce(grad_graph(g), OP_sum, dy, repeated, n_repeated);
  for (int i = 0; i < n->attr.n; i++) {
    perm[i] = 0;
    for (int k = 0; k < n->attr.n; k++) perm[i] += n->attr.i[k] < n->attr.i[i];
  }
  grad_add(g, 0, g_transpose(grad_graph(g), sum, perm));
}

// ---- reshape, relayout ------------------------------------------------------------------------

static const char *infer_reshape(struct arena *a, struct node *n) { // (reshape_c1) same number of elements
  TRY(rule_given(a, n));
  if (shape_count(in_shape(n, 0)) != shape_count(&n->type.shape))
    return str_printf(a, "cannot reshape %s, %lld elements, to %s, %lld elements", shape_text(a, in_shape(n, 0)),
                      (long long)shape_count(in_shape(n, 0)), shape_text(a, &n->type.shape),
                      (long long)shape_count(&n->type.shape));
  return rule_result(a, n, in_dtype(n, 0), &n->type.shape);
}

static void vjp_reshape(struct grad *g, const struct node *n, struct node *dy) {
  grad_add(g, 0, g_reshape(grad_graph(g), dy, in_shape(n, 0)));
}

static const char *infer_relayout(struct arena *a, struct node *n) {
  return rule_result(a, n, in_dtype(n, 0), in_shape(n, 0));
}

static void vjp_relayout(struct grad *g, const struct node *n, struct node *dy) {
  (void)n;
  grad_add(g, 0, dy);
}

static void eval_copy(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  memcpy(out->data, in[0]->data, sizeof(double) * (size_t)shape_count(&n->type.shape));
}

// ---- transpose --------------------------------------------------------------------------------

static const char *infer_transpose(struct arena *a, struct node *n) {
  const struct shape *x = in_shape(n, 0);
  struct shape to = {.rank = x->rank};
  unsigned seen = 0;
  bool permutes = n->attr.n == x->rank;
  for (int i = 0; i < x->rank && permutes; i++) {
    int64_t axis = n->attr.i[i];
    permutes = axis >= 0 && axis < x->rank && !(seen >> axis & 1);
    if (!permutes) break;
    seen |= 1u << axis;
    to.dim[i] = x->dim[axis];
  }
  if (!permutes) // (transpose_c1) each axis once
    return str_printf(a, "transpose of %s needs a permutation of its %d axes", shape_text(a, x), x->rank);
  return rule_result(a, n, in_dtype(n, 0), &to);
}

static void eval_transpose(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  int64_t stride[MAX_RANK], index[MAX_RANK] = {0};
  shape_strides(in_shape(n, 0), stride);
  for (int64_t i = 0, count = shape_count(&n->type.shape); i < count; i++, shape_next(&n->type.shape, index)) {
    int64_t at = 0;
    for (int k = 0; k < n->attr.n; k++) at += index[k] * stride[n->attr.i[k]];
    out->data[i] = in[0]->data[at];
  }
}

static void vjp_transpose(struct grad *g, const struct node *n, struct node *dy) {
  int inverse[MAX_RANK];
  for (int i = 0; i < n->attr.n; i++) inverse[n->attr.i[i]] = i;
  grad_add(g, 0, g_transpose(grad_graph(g), dy, inverse));
}

// ---- slice, pad: windows ----------------------------------------------------------------------

// (slice_c1) (pad_c1) as many starts as axes; (slice_c2) (pad_c2) the window lies inside
static const char *window_fits(struct arena *a, const struct node *n, const struct shape *inner, const struct shape *outer) {
  const char *name = op_info(n->op)->name;
  if (inner->rank != outer->rank || n->attr.n != inner->rank)
    return str_printf(a, "%s between %s and %s with %d starts", name, shape_text(a, inner), shape_text(a, outer), n->attr.n);
  for (int i = 0; i < inner->rank; i++)
    if (n->attr.i[i] < 0 || n->attr.i[i] + inner->dim[i] > outer->dim[i])
      return str_printf(a, "%s: %lld elements from %lld on do not fit on axis %d of %s", name,
                        (long long)inner->dim[i], (long long)n->attr.i[i], i, shape_text(a, outer));
  return NULL;
}

// Where element 0 of the window lies in the outer tensor, and the outer strides.
static int64_t window_origin(const struct node *n, const struct shape *outer, int64_t stride[MAX_RANK]) {
  int64_t at = 0;
  shape_strides(outer, stride);
  for (int i = 0; i < n->attr.n; i++) at += n->attr.i[i] * stride[i];
  return at;
}

static int64_t dot_index(int rank, const int64_t *index, const int64_t *stride) {
  int64_t at = 0;
  for (int i = 0; i < rank; i++) at += index[i] * stride[i];
  return at;
}

static const char *infer_slice(struct arena *a, struct node *n) {
  TRY(rule_given(a, n));
  TRY(window_fits(a, n, &n->type.shape, in_shape(n, 0)));
  return rule_result(a, n, in_dtype(n, 0), &n->type.shape);
}

static void eval_slice(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  int64_t stride[MAX_RANK], index[MAX_RANK] = {0};
  int64_t origin = window_origin(n, in_shape(n, 0), stride);
  for (int64_t i = 0, count = shape_count(&n->type.shape); i < count; i++, shape_next(&n->type.shape, index))
    out->data[i] = in[0]->data[origin + dot_index(n->attr.n, index, stride)];
}

static void vjp_slice(struct grad *g, const struct node *n, struct node *dy) {
  grad_add(g, 0, g_pad(grad_graph(g), dy, n->attr.i, in_shape(n, 0)));
}

static const char *infer_pad(struct arena *a, struct node *n) {
  TRY(rule_given(a, n));
  TRY(window_fits(a, n, in_shape(n, 0), &n->type.shape));
  return rule_result(a, n, in_dtype(n, 0), &n->type.shape);
}

static void eval_pad(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  int64_t stride[MAX_RANK], index[MAX_RANK] = {0};
  int64_t origin = window_origin(n, &n->type.shape, stride);
  memset(out->data, 0, sizeof(double) * (size_t)shape_count(&n->type.shape));
  for (int64_t i = 0, count = shape_count(in_shape(n, 0)); i < count; i++, shape_next(in_shape(n, 0), index))
    out->data[origin + dot_index(n->attr.n, index, stride)] = in[0]->data[i];
}

static void vjp_pad(struct grad *g, const struct node *n, struct node *dy) {
  grad_add(g, 0, g_slice(grad_graph(g), dy, n->attr.i, in_shape(n, 0)));
}

// ---- concat -----------------------------------------------------------------------------------

static const char *infer_concat(struct arena *a, struct node *n) {
  TRY(rule_same_dtype(a, n)); // (concat_c1) one element type
  struct shape to = *in_shape(n, 0);
  int64_t axis = n->attr.n == 1 ? n->attr.i[0] : -1;
  if (axis < 0 || axis >= to.rank) // (concat_c2) the axis exists
    return str_printf(a, "concat along axis %lld of %s", (long long)axis, shape_text(a, &to));
  for (int k = 1; k < n->n_in; k++) {
    const struct shape *s = in_shape(n, k);
    for (int i = 0; i < to.rank; i++)
      if (s->rank != to.rank || (i != axis && s->dim[i] != to.dim[i])) // (concat_c3) other axes agree
        return str_printf(a, "concat along axis %lld of %s and %s", (long long)axis, shape_text(a, in_shape(n, 0)),
                          shape_text(a, s));
    to.dim[axis] += s->dim[axis];
  }
  return rule_result(a, n, in_dtype(n, 0), &to);
}

static void eval_concat(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  int axis = (int)n->attr.i[0];
  int64_t outer = 1, inner = 1, at = 0;
  for (int i = 0; i < axis; i++) outer *= n->type.shape.dim[i];
  for (int i = axis + 1; i < n->type.shape.rank; i++) inner *= n->type.shape.dim[i];
  for (int64_t o = 0; o < outer; o++) {
    for (int k = 0; k < n->n_in; k++) {
      int64_t run = in_shape(n, k)->dim[axis] * inner;
      memcpy(out->data + at, in[k]->data + o * run, sizeof(double) * (size_t)run);
      at += run;
    }
  }
}

static void vjp_concat(struct grad *g, const struct node *n, struct node *dy) {
  int64_t start[MAX_RANK] = {0};
  for (int k = 0; k < n->n_in; k++) {
    if (grad_wants(g, k)) grad_add(g, k, g_slice(grad_graph(g), dy, start, in_shape(n, k)));
    start[n->attr.i[0]] += in_shape(n, k)->dim[n->attr.i[0]];
  }
}

// ---- diag -------------------------------------------------------------------------------------

static const char *infer_diag(struct arena *a, struct node *n) { // (diag_c1) the last two axes are square
  struct shape to = *in_shape(n, 0);
  if (to.rank < 2 || to.dim[to.rank - 1] != to.dim[to.rank - 2])
    return str_printf(a, "diag needs square matrices, not %s", shape_text(a, &to));
  to.rank--;
  return rule_result(a, n, in_dtype(n, 0), &to);
}

static void eval_diag(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  int64_t d = n->type.shape.dim[n->type.shape.rank - 1];
  for (int64_t i = 0, count = shape_count(&n->type.shape); i < count; i++)
    out->data[i] = in[0]->data[i / d * d * d + i % d * (d + 1)];
}

static void vjp_diag(struct grad *g, const struct node *n, struct node *dy) {
  struct graph *graph = grad_graph(g);
  const struct shape *x = in_shape(n, 0);
  int axes[MAX_RANK];
  for (int i = 0; i < x->rank; i++) axes[i] = i;
  struct node *eye = g_binary(graph, OP_eq, g_iota(graph, BT_I32, x, x->rank - 2), g_iota(graph, BT_I32, x, x->rank - 1));
  struct node *repeated = g_broadcast(graph, dy, x, axes);
  grad_add(g, 0, g_where(graph, eye, repeated, g_constant(graph, n->type.dtype, 0)));
}

#define MOVE_RULES(name, evaluation)                                                               \
  const struct op_rules op_rules_##name = {.infer = infer_##name, .vjp = vjp_##name, .eval = evaluation};
MOVE_RULES(broadcast, eval_broadcast)
MOVE_RULES(reshape, eval_copy)
MOVE_RULES(relayout, eval_copy)
MOVE_RULES(transpose, eval_transpose)
MOVE_RULES(slice, eval_slice)
MOVE_RULES(pad, eval_pad)
MOVE_RULES(concat, eval_concat)
MOVE_RULES(diag, eval_diag)
