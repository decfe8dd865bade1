// test_ops.c: every op, alone: evaluation, gradient, adjoint, linearity.
//
// op_records.def has a row per case; an op without a row fails. A row serves
//   evaluation   the rule infers the stated type, and values are finite and of that type; once more
//                in f32 with rounding on, near the f64 values and each of them a float;
//   gradient     of GRAD ops: <dy, ∂f/∂x> by the op's vector-Jacobian product against central
//                differences, entry by entry, to 1e-6 of the largest;
//   adjoint      of FIRST ops: <dy, f(x)> = <f_dx(dy), x> to 1e-12;
//   linearity    f(2x − 3x') = 2f(x) − 3f(x') to 1e-12, where the row says so.
#include <math.h>
#include <string.h>

#include "op_helper.h"

enum { PROBE = -1 };
struct adjoint {
  enum op forward;
  int probe;   // which of forward's operands the FIRST op gives the cotangent of
  int dy;      // which of the FIRST op's operands is the cotangent
  int from[2]; // forward's operands: ours by number, or PROBE
};
struct op_record {
  enum op op;
  const char *operands, *result;
  struct attr attr;
  int block;
  enum domain domain[OPERANDS_MAX];
  unsigned wrt, linear[2];
  struct adjoint adjoint;
};

static const struct op_record records[] = {
#define RECORD(name, in, out, ...) {.op = OP_##name, .operands = in, .result = out, __VA_ARGS__},
#include "op_records.def"
#undef RECORD
};
enum { RECORDS = sizeof records / sizeof records[0] };

// ---- one record as a graph --------------------------------------------------------------------

struct trial {
  const struct op_record *record;
  struct btc *b;
  struct graph *graph;
  int n;
  struct node *in[OPERANDS_MAX], *y;
  struct leaf_values values;
};

static struct tensor_type in_precision(struct tensor_type t, dtype precision) {
  if (t.dtype == BT_F64) t.dtype = precision;
  return t;
}

// The op on leaves "0", "1", …. Its rule must give the stated type by itself, unless it wants to be
// told; told another, it must object.
static struct node *build(struct graph *g, const struct op_record *r, struct node *const *in, int n,
                          dtype precision) {
  struct tensor_type stated = in_precision(type_of_text(r->result), precision), other = stated;
  struct node bare = {.op = r->op,
                      .n_in = n,
                      .in = (struct node **)in,
                      .attr = r->attr,
                      .type.shape.rank = -1,
                      .block = r->block};
  const char *wrong = node_check(g->b->arena, &bare);
  if (wrong && !strstr(wrong, "must be given")) fail_msg("%s", wrong);
  if (!wrong && !type_eq(&bare.type, &stated))
    fail_msg("inferred %s", type_text(g->b->arena, &bare.type));
  if (!wrong) {
    other.shape.dim[other.shape.rank++] = 1;
    bare.type = other;
    assert_non_null(node_check(g->b->arena, &bare));
  }
  return graph_node_in_layout(g, r->op, in, n, &r->attr, wrong ? &stated : NULL, r->block);
}

static struct trial trial_begin(const struct op_record *r, dtype precision, unsigned seed) {
  struct trial t = {.record = r, .b = btc_new()};
  struct tensor_type types[OPERANDS_MAX];
  t.graph = graph_new(t.b, op_info(r->op)->name);
  t.values.arena = t.b->arena;
  t.n = types_of_text(r->operands, types, OPERANDS_MAX);
  for (int i = 0; i < t.n; i++) {
    types[i] = in_precision(types[i], precision);
    t.in[i] = numbered_leaf(t.graph, i, &types[i]);
    struct tensor64 *v = tensor64_new(t.b->arena, &types[i]);
    draw_values(v, r->domain[i], i, seed);
    t.values.of[i] = v;
  }
  t.y = build(t.graph, r, t.in, t.n, precision);
  graph_verify(t.graph, "test");
  return t;
}

static struct tensor64 *run(struct trial *t) {
  return evaluate(t->graph, &t->values, false)[t->y->id];
}

static struct tensor64 *drawn_like(struct trial *t, const struct node *n, enum domain domain,
                                   int which) {
  struct tensor64 *v = tensor64_new(t->b->arena, &n->type);
  draw_values(v, domain, which, 2);
  return v;
}

static const struct op_record *record_of(void **state) { return *state; }

// ---- evaluation -------------------------------------------------------------------------------

static bool representable(double x, dtype t) {
  switch (t) {
  case BT_F64: return isfinite(x);
  case BT_F32: return isfinite(x) && x == (double)(float)x;
  case BT_I32: return x == trunc(x) && fabs(x) <= 0x1p31;
  case BT_I64: return x == trunc(x) && fabs(x) <= 0x1p53;
  case BT_U8: return x == trunc(x) && x >= 0 && x <= 255;
  case BT_BOOL: return x == 0 || x == 1;
  }
  return false;
}

static void check_values(const struct node *n, const struct tensor64 *v) {
  assert_true(type_eq(&n->type, &v->type));
  for (int64_t i = 0; i < shape_count(&v->type.shape); i++)
    if (!representable(v->data[i], v->type.dtype))
      fail_msg("[%lld] is %g, no %s", (long long)i, v->data[i], dtype_name(v->type.dtype));
}

static void check_evaluation(const struct op_record *r) {
  struct trial t = trial_begin(r, BT_F64, 1), single = trial_begin(r, BT_F32, 1);
  struct tensor64 *y = run(&t),
                  *rounded = evaluate(single.graph, &single.values, true)[single.y->id];
  check_values(t.y, y);
  check_values(single.y, rounded);
  double flops = op_info(r->op)->rules->flops ? op_info(r->op)->rules->flops(t.y) : 0;
  assert_true(isfinite(flops) && flops >= 0);
  // floor, comparisons and choices would jump where rounding moves an operand over an edge; the
  // drawn values stay clear of edges
  assert_near("rounded", rounded, y, r->op == OP_mod ? 1e-5 : 3e-6);
  btc_free(t.b);
  btc_free(single.b);
}

static void evaluates(void **state) { check_evaluation(record_of(state)); }

// ---- gradients --------------------------------------------------------------------------------

static const double STEP = 1e-5;

// <dy, (f(x + h e) − f(x − h e)) / 2h> for each entry of operand k.
static struct tensor64 *central_differences(struct trial *t, int k, const struct tensor64 *dy) {
  struct tensor64 *d = tensor64_new(t->b->arena, &t->in[k]->type),
                  *moved = tensor64_new(t->b->arena, &t->in[k]->type);
  const struct tensor64 *x = t->values.of[k];
  int64_t count = shape_count(&x->type.shape);
  memcpy(moved->data, x->data, sizeof(double) * (size_t)count);
  t->values.of[k] = moved;
  for (int64_t i = 0; i < count; i++) {
    double up = x->data[i] + STEP, down = x->data[i] - STEP;
    struct leaf_values scratch = t->values;
    scratch.arena = arena_new();
    moved->data[i] = up;
    struct tensor64 *above = evaluate(t->graph, &scratch, false)[t->y->id];
    moved->data[i] = down;
    struct tensor64 *below = evaluate(t->graph, &scratch, false)[t->y->id];
    moved->data[i] = x->data[i];
    for (int64_t j = 0; j < shape_count(&dy->type.shape); j++)
      d->data[i] += dy->data[j] * (above->data[j] - below->data[j]) / (up - down);
    arena_free(scratch.arena);
  }
  t->values.of[k] = x;
  return d;
}

// Adds the gradients for all operands to t->graph; NULL where there is none.
static void differentiate(struct trial *t, const struct tensor64 *dy,
                          struct node *gradient[OPERANDS_MAX]) {
  struct node *seed = numbered_leaf(t->graph, OPERANDS_MAX, &t->y->type);
  t->values.of[OPERANDS_MAX] = dy;
  graph_gradients(t->graph, t->y, seed, t->in, t->n, gradient);
  graph_verify(t->graph, "differentiation");
}

// Operands that the record wants a gradient for.
static bool differentiable(const struct op_record *r, const struct node *y, const struct node *in,
                           int k) {
  if (r->wrt && !(r->wrt >> k & 1)) return false;
  return op_info(r->op)->gradient == GRAD && dtype_is_float(in->type.dtype) &&
         dtype_is_float(y->type.dtype);
}

static void check_gradient(const struct op_record *r) {
  struct trial t = trial_begin(r, BT_F64, 1);
  struct tensor64 *dy = drawn_like(&t, t.y, DISTINCT, 3), *expected[OPERANDS_MAX] = {0};
  for (int k = 0; k < t.n; k++)
    if (differentiable(r, t.y, t.in[k], k)) expected[k] = central_differences(&t, k, dy);
  struct node *gradient[OPERANDS_MAX];
  differentiate(&t, dy, gradient);
  struct tensor64 **values = evaluate(t.graph, &t.values, false);
  for (int k = 0; k < t.n; k++) {
    bool exists = !r->wrt || r->wrt >> k & 1 ? expected[k] != NULL : gradient[k] != NULL;
    if ((gradient[k] != NULL) != exists)
      fail_msg("operand %d has %s gradient", k, exists ? "no" : "a");
    if (expected[k])
      assert_near(str_printf(t.b->arena, "gradient of operand %d", k), values[gradient[k]->id],
                  expected[k], 1e-6);
  }
  btc_free(t.b);
}

// In f32 the gradient's nodes must be f32 too: a constant of the wrong type would die here.
static void check_gradient_types(const struct op_record *r) {
  struct trial t = trial_begin(r, BT_F32, 1);
  struct node *gradient[OPERANDS_MAX];
  differentiate(&t, drawn_like(&t, t.y, DISTINCT, 3), gradient);
  for (int k = 0; k < t.n; k++)
    if (gradient[k]) assert_true(type_eq(&gradient[k]->type, &t.in[k]->type));
  btc_free(t.b);
}

static void differentiates(void **state) {
  check_gradient(record_of(state));
  check_gradient_types(record_of(state));
}

// An op without a gradient blocks cotangents and has no rule; one with has a rule.
static void declares_gradients(void **state) {
  (void)state;
  for (int i = 0; i < OP_COUNT; i++) {
    const struct op_info *o = op_info((enum op)i);
    if ((o->gradient == GRAD) != (o->rules->vjp != NULL))
      fail_msg("%s: its row and its rules disagree on a gradient", o->name);
    if (!o->rules->eval && o->class != LEAF && i != OP_extern) fail_msg("%s has no reference evaluation", o->name);
    if (!o->rules->infer) fail_msg("%s has no shape rule", o->name);
  }
}

// ---- adjoints ---------------------------------------------------------------------------------

static void check_adjoint(const struct op_record *r) {
  const struct adjoint *a = &r->adjoint;
  struct trial t = trial_begin(r, BT_F64, 1);
  struct node *in[2], *probe = NULL;
  int n = op_info(a->forward)->arity;
  if (a->from[a->probe] == PROBE) probe = numbered_leaf(t.graph, OPERANDS_MAX, &t.y->type);
  for (int i = 0; i < n; i++) in[i] = a->from[i] == PROBE ? probe : t.in[a->from[i]];
  struct node *forward = graph_node(t.graph, a->forward, in, n, &r->attr, NULL);
  if (probe) t.values.of[OPERANDS_MAX] = drawn_like(&t, probe, DISTINCT, 3);
  struct tensor64 **v = evaluate(t.graph, &t.values, false), *dy = v[t.in[a->dy]->id],
                  *y = v[forward->id];
  double left = inner_product(dy, y), right = inner_product(v[t.y->id], v[in[a->probe]->id]);
  double scale = largest_entry(dy) * largest_entry(y) * sqrt((double)shape_count(&y->type.shape));
  if (!(fabs(left - right) <= 1e-12 * scale))
    fail_msg("<dy, f(x)> = %.17g, <f_dx(dy), x> = %.17g", left, right);
  btc_free(t.b);
}

static void is_adjoint(void **state) { check_adjoint(record_of(state)); }

// ---- linearity --------------------------------------------------------------------------------

// f at 2x − 3x' for the operands of `mask`; the others stay.
static void check_linear_in(struct trial *t, unsigned mask) {
  const struct tensor64 *x[OPERANDS_MAX], *other[OPERANDS_MAX];
  struct tensor64 *at_x = run(t), *expected = tensor64_new(t->b->arena, &t->y->type);
  for (int k = 0; k < t->n; k++) {
    x[k] = other[k] = t->values.of[k];
    if (mask >> k & 1) other[k] = drawn_like(t, t->in[k], t->record->domain[k], k);
    t->values.of[k] = other[k];
  }
  struct tensor64 *at_other = run(t);
  for (int k = 0; k < t->n; k++) {
    if (!(mask >> k & 1)) continue;
    struct tensor64 *mixed = tensor64_new(t->b->arena, &x[k]->type);
    for (int64_t i = 0; i < shape_count(&x[k]->type.shape); i++)
      mixed->data[i] = 2 * x[k]->data[i] - 3 * other[k]->data[i];
    t->values.of[k] = mixed;
  }
  for (int64_t i = 0; i < shape_count(&t->y->type.shape); i++)
    expected->data[i] = 2 * at_x->data[i] - 3 * at_other->data[i];
  assert_near("f(2x - 3x')", run(t), expected, 1e-12);
}

static void check_linearity(const struct op_record *r) {
  for (int i = 0; i < 2 && r->linear[i]; i++) {
    struct trial t = trial_begin(r, BT_F64, 1);
    check_linear_in(&t, r->linear[i]);
    btc_free(t.b);
  }
}

static void is_linear(void **state) { check_linearity(record_of(state)); }

// ---- the tests --------------------------------------------------------------------------------

static void covers_every_op(void **state) {
  (void)state;
  bool covered[OP_COUNT] = {false};
  for (int i = 0; i < RECORDS; i++) covered[records[i].op] = true;
  for (int i = 0; i < OP_COUNT; i++)
    if (!covered[i] && i != OP_extern /* test_extern.c */) fail_msg("op_records.def has no row for %s", op_info((enum op)i)->name);
}

int main(void) {
  static struct CMUnitTest tests[2 + 3 * RECORDS] = {cmocka_unit_test(covers_every_op),
                                                     cmocka_unit_test(declares_gradients)};
  struct arena *a = arena_new();
  size_t n = 2;
  for (int i = 0; i < RECORDS; i++) {
    const struct op_record *r = &records[i];
    const struct op_info *o = op_info(r->op);
#define TEST(function)                                                                             \
  tests[n++] = (struct CMUnitTest){                                                                \
      str_printf(a, #function " %s(%s) -> %s", o->name, r->operands, r->result), function, NULL,   \
      NULL, (void *)(uintptr_t)r}
    TEST(evaluates);
    if (o->gradient == FIRST) TEST(is_adjoint);
    else if (o->class != LEAF) TEST(differentiates);
    if (r->linear[0]) TEST(is_linear);
#undef TEST
  }
  int failures = _cmocka_run_group_tests("ops", tests, n, NULL, NULL);
  arena_free(a);
  return failures;
}
