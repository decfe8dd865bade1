// elab_take.c: elements picked by tensors of integers.
//
//   take(x, indices, axis), x[.., indices]   rows of x along one axis, NumPy's take: an embedding's
//                                            lookup. The axes of the indices take the axis's place.
//   gather(x, indices, axis)                 torch.gather, numpy.take_along_axis: one element along
//                                            the axis for each of the other positions.
//
// Both are one op (ops/gather.c): the second picks from x as one long row, by indices that count in
// it.
#include "elab_builtin.h"
#include "fold.h"

// Of indices that are one constant, as `take(x, 7, 0)` has them. False after a diagnostic.
static bool constant_fits(struct elab *e, struct frame *f, const struct value *indices, int64_t size) {
  double at;
  const struct node *n = indices->node;
  while (n->op == OP_reshape) n = n->in[0];
  if (!fold_constant(n, &at) || (at >= -(double)size && at < (double)size)) return true;
  elab_error(e, f, indices->loc, "index %.0f is outside an axis of size %lld", at, (long long)size);
  return false;
}

static bool is_index_type(dtype t) { return t == BT_I32 || t == BT_I64; }

struct value tensor_take(struct elab *e, struct frame *f, struct loc loc, struct value x,
                         const struct value *indices, int axis) {
  if (!is_index_type(indices->node->type.dtype)) {
    elab_error(e, f, indices->loc, "an index is an integer, or a tensor of i32 or i64, not %s%s",
               tensor_text(e, indices),
               dtype_is_float(indices->node->type.dtype) ? "; `i32(…)` converts" : "");
    return value_error();
  }
  int rank = value_rank(&x), more = value_rank(indices);
  if (rank - 1 + more > MAX_RANK) {
    elab_error(e, f, loc, "%s, picked from by %s, would have %d axes; a tensor has at most %d",
               tensor_text(e, &x), tensor_text(e, indices), rank - 1 + more, MAX_RANK);
    return value_error();
  }
  struct shape shape = {.rank = rank - 1 + more};
  struct value r = value_tensor(loc, NULL);
  for (int i = 0; i < shape.rank; i++) {
    bool picked = i >= axis && i < axis + more;
    const struct value *from = picked ? indices : &x;
    int at = picked ? i - axis : i < axis ? i : i - more + 1;
    shape.dim[i] = value_dim(from, at);
    r.axes[i] = from->axes[at];
  }
  if (!constant_fits(e, f, indices, value_dim(&x, axis)) || !size_fits(e, f, loc, &shape)) return value_error();
  graph_at(e, f, loc);
  note_classes(e, indices->node, value_dim(&x, axis));
  r.node = graph_node(e->graph, OP_gather, (struct node *[]){x.node, indices->node}, 2,
                      &(struct attr){.n = 1, .i = {axis}}, NULL);
  return r;
}

// The arguments x, indices and axis of a call. False after a diagnostic.
static bool arguments(struct call *c, struct value *x, struct value *indices, int *axis) {
  int axes[MAX_RANK], n;
  *indices = c->given[1].value;
  if (!builtin_tensor(c, 0, x) || !as_tensor(c->e, c->f, indices, BT_I32, "an index") ||
      !builtin_axes(c, 2, x, axes, &n))
    return false;
  if (n == 1) {
    *axis = axes[0];
    return true;
  }
  elab_error(c->e, c->f, c->given[2].loc, "`%s` goes along one axis, not %d", c->row->name, n);
  return false;
}

struct value builtin_take(struct call *c) {
  struct value x, indices;
  int axis;
  if (!arguments(c, &x, &indices, &axis)) return value_error();
  return tensor_take(c->e, c->f, c->loc, x, &indices, axis);
}

// ---- along an axis ----------------------------------------------------------------------------

static bool gather_fits(struct call *c, const struct value *x, const struct value *indices,
                        int axis) {
  bool fits = value_rank(x) == value_rank(indices) && is_index_type(indices->node->type.dtype);
  for (int i = 0; fits && i < value_rank(x); i++)
    fits = i == axis || (value_dim(x, i) == value_dim(indices, i) &&
                         (!x->axes[i] || !indices->axes[i] || x->axes[i] == indices->axes[i]));
  if (!fits)
    elab_error(
        c->e, c->f, c->loc,
        "`gather` along axis %d of %s takes integers with the same other axes, not %s; whole "
        "rows are picked by `take(x, indices, axis)`",
        axis, tensor_text(c->e, x), tensor_text(c->e, indices));
  return fits;
}

// Where each element of the indices' shape is picked from, counted in all of x: beyond its end
// where the index lies outside the axis, so that it is outside there too.
static struct node *flat_indices(struct graph *g, const struct shape *x, struct node *indices,
                                 int axis) {
  const struct shape *s = &indices->type.shape;
  int64_t stride[MAX_RANK], count = 1;
  for (int i = x->rank; i-- > 0; count *= x->dim[i]) stride[i] = count;
  if (count > INT32_MAX) indices = g_cast(g, indices, BT_I64);
  dtype t = indices->type.dtype;
  struct node *zero = g_constant(g, t, 0), *size = g_constant(g, t, (double)x->dim[axis]);
  struct node *wrapped =
      g_where(g, g_binary(g, OP_lt, indices, zero), g_binary(g, OP_add, indices, size), indices);
  struct node *inside =
      g_binary(g, OP_and, g_binary(g, OP_le, zero, wrapped), g_binary(g, OP_lt, wrapped, size));
  struct node *at = g_scale(g, wrapped, (double)stride[axis]);
  for (int i = 0; i < s->rank; i++)
    if (i != axis) at = g_binary(g, OP_add, at, g_scale(g, g_iota(g, t, s, i), (double)stride[i]));
  return g_where(g, inside, at, g_constant(g, t, (double)count));
}

struct value builtin_gather(struct call *c) {
  struct value x, indices;
  int axis;
  if (!arguments(c, &x, &indices, &axis) || !gather_fits(c, &x, &indices, axis) ||
      !constant_fits(c->e, c->f, &indices, value_dim(&x, axis)))
    return value_error();
  graph_at(c->e, c->f, c->loc);
  note_classes(c->e, indices.node, value_dim(&x, axis));
  struct graph *g = c->e->graph;
  struct shape flat = shape_of(1, shape_count(&x.node->type.shape));
  struct value r = indices;
  r.loc = c->loc;
  for (int i = 0; i < value_rank(&x); i++)
    if (i != axis && x.axes[i]) r.axes[i] = x.axes[i];
  struct node *in[] = {g_reshape(g, x.node, &flat),
                       flat_indices(g, &x.node->type.shape, indices.node, axis)};
  r.node = graph_node(g, OP_gather, in, 2, &(struct attr){.n = 1, .i = {0}}, NULL);
  return r;
}
