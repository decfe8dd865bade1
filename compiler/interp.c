// interp.c: the float64 reference interpreter, the oracle for everything else.
//
// Every node is evaluated by its op's reference rule, in order, row-major whatever its layout; nothing
// is fused, reordered or skipped. Bools and integers are exact in a double,
// i64 up to 2^53; integers wrap as two's complement does.
#include "graph.h"

struct tensor64 *tensor64_new(struct arena *a, const struct tensor_type *type) {
  struct tensor64 *t = NEW(a, struct tensor64);
  t->type = *type;
  t->data = NEW_ARRAY(a, double, shape_count(&type->shape));
  return t;
}

static bool is_named_leaf(const struct node *n) { return op_info(n->op)->class == LEAF && !op_info(n->op)->rules->eval; }

static struct tensor64 *leaf_value(struct arena *a, const struct node *n, const struct tensor64 *given) {
  expect(given, "no value for %s '%s'", op_info(n->op)->name, n->attr.s);
  expect(shape_eq(&given->type.shape, &n->type.shape), "'%s' is %s, its value %s", n->attr.s,
         shape_text(a, &n->type.shape), shape_text(a, &given->type.shape));
  struct tensor64 *t = NEW(a, struct tensor64);
  *t = (struct tensor64){n->type, given->data};
  return t;
}

static struct tensor64 *evaluate(struct arena *a, const struct node *n, struct tensor64 *const *values) {
  const struct tensor64 **in = NEW_ARRAY(a, const struct tensor64 *, n->n_in);
  for (int i = 0; i < n->n_in; i++) in[i] = values[n->in[i]->id];
  struct tensor64 *out = tensor64_new(a, &n->type);
  expect(op_info(n->op)->rules->eval, "only compiled code can call %s", n->attr.s);
  op_info(n->op)->rules->eval(n, in, out);
  return out;
}

static void round_to_f32(struct arena *a, struct tensor64 *t, bool shared) {
  int64_t count = shape_count(&t->type.shape);
  double *from = t->data;
  if (shared) t->data = NEW_ARRAY(a, double, count);
  for (int64_t i = 0; i < count; i++) t->data[i] = (double)(float)from[i];
}

struct tensor64 **interp_run(const struct graph *g, struct arena *a, bool round_f32,
                             const struct tensor64 *(*leaf)(void *user, const struct node *n), void *user) {
  struct tensor64 **values = NEW_ARRAY(a, struct tensor64 *, g->nodes.len);
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    bool named = is_named_leaf(n);
    values[i] = named ? leaf_value(a, n, leaf(user, n)) : evaluate(a, n, values);
    if (round_f32 && n->type.dtype == BT_F32) round_to_f32(a, values[i], named);
  }
  return values;
}
