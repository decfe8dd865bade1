// interp.c: the float64 reference interpreter, the oracle for everything else.
//
// Every node is evaluated by its op's reference rule, in order, row-major whatever its layout; nothing
// is fused, reordered or skipped. Bools and integers are exact in a double,
// i64 up to 2^53; integers wrap as two's complement does.
#include <limits.h>
#include <math.h>

#include "../runtime/random.h"
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

struct tensor64 **interp_run_holding(const struct graph *g, struct arena *a, struct tensor64 *const *held,
                                     const struct tensor64 *(*leaf)(void *user, const struct node *n), void *user) {
  struct tensor64 **values = NEW_ARRAY(a, struct tensor64 *, g->nodes.len);
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    values[i] = held[i] ? held[i] : is_named_leaf(n) ? leaf_value(a, n, leaf(user, n)) : evaluate(a, n, values);
  }
  return values;
}

// ---- only the outputs -------------------------------------------------------------------------
// A training step at its true size has more values than memory holds, but few are wanted at a time: each
// has an arena of its own, which is dropped after the value's last use.

// By node id: the last node that reads it; INT_MAX of outputs, -1 of what no output needs.
static int *last_uses(const struct graph *g, struct arena *a) {
  int *last = NEW_ARRAY(a, int, g->nodes.len);
  for (int i = 0; i < g->nodes.len; i++) last[i] = -1;
  for (int i = 0; i < g->outputs.len; i++) last[g->outputs.data[i].node->id] = INT_MAX;
  for (int i = g->nodes.len - 1; i >= 0; i--) {
    const struct node *n = g->nodes.data[i];
    for (int k = 0; last[i] >= 0 && k < n->n_in; k++)
      if (last[n->in[k]->id] < i) last[n->in[k]->id] = i;
  }
  return last;
}

// Calls drop(user, operand) for each distinct operand that n is the last to read.
static void drop_operands(const struct node *n, const int *last, void (*drop)(void *user, const struct node *n), void *user) {
  for (int k = 0; k < n->n_in; k++) {
    bool again = false;
    for (int j = 0; j < k; j++) again |= n->in[j] == n->in[k];
    if (!again && last[n->in[k]->id] == n->id) drop(user, n->in[k]);
  }
}

struct outputs_run {
  struct arena **arenas;     // by node id
  struct tensor64 **values; // likewise
};
static void drop_value(void *user, const struct node *n) {
  struct outputs_run *r = user;
  arena_free(r->arenas[n->id]);
  r->arenas[n->id] = NULL;
}

// Up or down to a float, at random: to the nearer one the more often, so that sums of many do not drift. What is
// a float stays what it is, so comparisons of such values do not change.
static void round_at_random(const struct node *n, struct tensor64 *t, uint64_t noise) {
  struct bt_random random = bt_random_new(noise, BT_RANDOM_DATA, (uint32_t)n->id, 0, 0);
  for (int64_t i = 0, count = shape_count(&t->type.shape); i < count; i++) {
    double x = t->data[i], near = (double)(float)x;
    if (near == x || !isfinite(x - near)) continue;
    double other = (double)nextafterf((float)x, x > near ? INFINITY : -INFINITY);
    t->data[i] = bt_random_unit(&random) * fabs(other - near) < fabs(x - near) ? other : near;
  }
}

struct tensor64 **interp_outputs(const struct graph *g, struct arena *a, uint64_t noise,
                                 const struct tensor64 *(*leaf)(void *user, const struct node *n), void *user) {
  struct arena *scratch = arena_new();
  struct outputs_run r = {NEW_ARRAY(scratch, struct arena *, g->nodes.len), NEW_ARRAY(scratch, struct tensor64 *, g->nodes.len)};
  const int *last = last_uses(g, scratch);
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    if (last[i] < 0) continue;
    if (last[i] < INT_MAX) r.arenas[i] = arena_new();
    struct arena *own = r.arenas[i] ? r.arenas[i] : a;
    bool named = is_named_leaf(n);
    r.values[i] = named ? leaf_value(own, n, leaf(user, n)) : evaluate(own, n, r.values);
    if (noise && !named && n->type.dtype == BT_F32) round_at_random(n, r.values[i], noise);
    drop_operands(n, last, drop_value, &r);
  }
  struct tensor64 **outputs = NEW_ARRAY(a, struct tensor64 *, g->outputs.len);
  for (int i = 0; i < g->outputs.len; i++) outputs[i] = r.values[g->outputs.data[i].node->id];
  arena_free(scratch);
  return outputs;
}

static double value_bytes(const struct node *n) {
  return is_named_leaf(n) ? 0 : (double)sizeof(double) * (double)shape_count(&n->type.shape);
}
static void subtract_bytes(void *user, const struct node *n) { *(double *)user -= value_bytes(n); }

double interp_outputs_bytes(const struct graph *g) {
  struct arena *scratch = arena_new();
  const int *last = last_uses(g, scratch);
  double now = 0, most = 0;
  for (int i = 0; i < g->nodes.len; i++) {
    if (last[i] < 0) continue;
    now += value_bytes(g->nodes.data[i]);
    if (now > most) most = now;
    drop_operands(g->nodes.data[i], last, subtract_bytes, &now);
  }
  arena_free(scratch);
  return most;
}
