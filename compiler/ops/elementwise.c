// elementwise.c: ops that work entry by entry: arithmetic, functions, comparison, choice.
//
// All operands have the result's shape; broadcasting is explicit. An op is a scalar
// function here, and the loops over entries are written once per arity. Gradients are the textbook
// derivatives; where a function has a kink, ops.def says which one-sided derivative holds.
#include <math.h>

#include "rules.h"

// ---- shape rules ------------------------------------------------------------------------------

static const char *same_shapes(struct arena *a, const struct node *n) { return rule_same_shape(a, n); } // (elementwise_c1) one shape

static const char *not_bool(struct arena *a, const struct node *n, int operand) {
  if (in_dtype(n, operand) != BT_BOOL) return NULL;
  return str_printf(a, "%s needs numbers, not bool", op_info(n->op)->name);
}

static const char *infer_number(struct arena *a, struct node *n) { // (elementwise_c2) one numeric type
  TRY(same_shapes(a, n));
  TRY(rule_same_dtype(a, n));
  TRY(not_bool(a, n, 0));
  return rule_result(a, n, in_dtype(n, 0), in_shape(n, 0));
}

static const char *infer_function(struct arena *a, struct node *n) { // (elementwise_c3) one float type
  TRY(rule_float(a, n, 0));
  return infer_number(a, n);
}

static const char *infer_compare(struct arena *a, struct node *n) { // (elementwise_c4) gives bool
  TRY(same_shapes(a, n));
  TRY(rule_same_dtype(a, n));
  return rule_result(a, n, BT_BOOL, in_shape(n, 0));
}

static const char *infer_logic(struct arena *a, struct node *n) { // (elementwise_c5) bool in, bool out
  TRY(same_shapes(a, n));
  for (int i = 0; i < n->n_in; i++)
    if (in_dtype(n, i) != BT_BOOL)
      return str_printf(a, "%s needs bool operands, not %s", op_info(n->op)->name, dtype_name(in_dtype(n, i)));
  return rule_result(a, n, BT_BOOL, in_shape(n, 0));
}

static const char *infer_where(struct arena *a, struct node *n) { // (where_c1) bool, then two of one type
  TRY(same_shapes(a, n));
  if (in_dtype(n, 0) != BT_BOOL) return str_printf(a, "the condition of where is %s, not bool", dtype_name(in_dtype(n, 0)));
  if (in_dtype(n, 1) != in_dtype(n, 2))
    return str_printf(a, "the branches of where have different element types: %s and %s",
                      dtype_name(in_dtype(n, 1)), dtype_name(in_dtype(n, 2)));
  return rule_result(a, n, in_dtype(n, 1), in_shape(n, 1));
}

static const char *infer_cast(struct arena *a, struct node *n) { // (cast_c1) type given, shape kept
  TRY(rule_given(a, n));
  return rule_result(a, n, n->type.dtype, in_shape(n, 0));
}

static const char *infer_same(struct arena *a, struct node *n) {
  return rule_result(a, n, in_dtype(n, 0), in_shape(n, 0));
}

// ---- reference evaluation ---------------------------------------------------------------------
// NaN is kept, by min, max and relu too: a diverged value must reach the loss.

#define UNARY(name, expression)                                                                    \
  static void eval_##name(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) { \
    for (int64_t i = 0, count = shape_count(&n->type.shape); i < count; i++) {                     \
      double x = in[0]->data[i];                                                                   \
      out->data[i] = (expression);                                                                 \
    }                                                                                              \
    wrap_integers(out);                                                                            \
  }
#define BINARY(name, expression)                                                                   \
  static void eval_##name(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) { \
    for (int64_t i = 0, count = shape_count(&n->type.shape); i < count; i++) {                     \
      double x = in[0]->data[i], y = in[1]->data[i];                                               \
      out->data[i] = (expression);                                                                 \
    }                                                                                              \
    wrap_integers(out);                                                                            \
  }

// Of integers, modulo 2^64 (2^32 where that will do: then it is exact in a double).
static double product(dtype t, double x, double y) {
  if (dtype_is_float(t)) return x * y;
  uint64_t low = (uint64_t)(int64_t)x * (uint64_t)(int64_t)y;
  return t == BT_I64 ? (double)(int64_t)low : (double)(uint32_t)low;
}

UNARY(neg, -x)
UNARY(floor, floor(x))
UNARY(abs, fabs(x))
UNARY(exp, exp(x))
UNARY(log, log(x))
UNARY(sqrt, sqrt(x))
UNARY(rsqrt, 1 / sqrt(x))
UNARY(tanh, tanh(x))
UNARY(sigmoid, 1 / (1 + exp(-x)))
UNARY(softplus, fmax(x, 0) + log1p(exp(-fabs(x))))
UNARY(erf, erf(x))
UNARY(relu, x > 0 || isnan(x) ? x : 0)
UNARY(sin, sin(x))
UNARY(cos, cos(x))
UNARY(not, x == 0)
UNARY(stop_gradient, x)
BINARY(add, x + y)
BINARY(sub, x - y)
BINARY(mul, product(n->type.dtype, x, y))
BINARY(mod, dtype_is_float(n->type.dtype) ? floor_remainder(x, y) : x - y * floor(x / y))
BINARY(pow, pow(x, y))
BINARY(min, y < x || isnan(y) ? y : x)
BINARY(max, y > x || isnan(y) ? y : x)
BINARY(lt, x < y)
BINARY(le, x <= y)
BINARY(eq, x == y)
BINARY(ne, x != y)
BINARY(and, x != 0 && y != 0)
BINARY(or, x != 0 || y != 0)

// Integer division truncates, as C's.
BINARY(div, dtype_is_float(n->type.dtype) ? x / y : trunc(x / y))

static void eval_where(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  for (int64_t i = 0, count = shape_count(&n->type.shape); i < count; i++)
    out->data[i] = in[0]->data[i] != 0 ? in[1]->data[i] : in[2]->data[i];
}

static void eval_cast(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  dtype t = n->type.dtype;
  bool saturates = (t == BT_I32 || t == BT_I64) && dtype_is_float(in[0]->type.dtype);
  for (int64_t i = 0, count = shape_count(&n->type.shape); i < count; i++) {
    double x = in[0]->data[i];
    out->data[i] = dtype_is_float(t) ? x : t == BT_BOOL ? x != 0 : saturates ? (double)to_integer(x, 8 * (int)dtype_size(t)) : trunc(x);
  }
  if (!saturates) wrap_integers(out);
}

// ---- gradients --------------------------------------------------------------------------------
// `dy` is the result's cotangent, x and y the operands, r the result.

#define VJP(name)                                                                                  \
  static void vjp_##name(struct grad *g, __attribute__((unused)) const struct node *n, struct node *dy)
#define G (grad_graph(g))
#define X (n->in[0])
#define Y (n->in[1])
#define R ((struct node *)(uintptr_t)n) // the builder never writes to operands
#define MUL(a, b) g_binary(G, OP_mul, a, b)
#define DIV(a, b) g_binary(G, OP_div, a, b)
#define SUB(a, b) g_binary(G, OP_sub, a, b)
#define NEG(a) g_unary(G, OP_neg, a)
#define NUMBER(v) g_constant(G, n->type.dtype, v)
#define IF(c, a) g_where(G, c, a, NUMBER(0)) // a where c, else 0

VJP(neg) { grad_add(g, 0, NEG(dy)); }
VJP(add) {
  grad_add(g, 0, dy);
  grad_add(g, 1, dy);
}
VJP(sub) {
  grad_add(g, 0, dy);
  if (grad_wants(g, 1)) grad_add(g, 1, NEG(dy));
}
VJP(mul) {
  if (grad_wants(g, 0)) grad_add(g, 0, MUL(dy, Y));
  if (grad_wants(g, 1)) grad_add(g, 1, MUL(dy, X));
}
VJP(div) { // d(x/y) = dx/y − (x/y) dy/y
  if (grad_wants(g, 0)) grad_add(g, 0, DIV(dy, Y));
  if (grad_wants(g, 1)) grad_add(g, 1, NEG(DIV(MUL(dy, R), Y)));
}
// d(x^y) = y x^(y−1) dx + x^y ln x dy. The first is 0 for y = 0, also where x^(y−1) is infinite (a
// choice that folds away for a constant y); the second is 0 where x = 0.
VJP(pow) {
  if (grad_wants(g, 0)) {
    struct node *slope = MUL(Y, g_binary(G, OP_pow, X, SUB(Y, NUMBER(1))));
    grad_add(g, 0, MUL(dy, g_where(G, g_binary(G, OP_eq, Y, NUMBER(0)), NUMBER(0), slope)));
  }
  if (grad_wants(g, 1)) {
    struct node *zero = g_binary(G, OP_eq, X, NUMBER(0));
    struct node *safe = g_where(G, zero, NUMBER(1), X);
    grad_add(g, 1, MUL(dy, MUL(R, g_unary(G, OP_log, safe))));
  }
}
VJP(min) { // ties: to x
  struct node *first = g_binary(G, OP_le, X, Y);
  if (grad_wants(g, 0)) grad_add(g, 0, IF(first, dy));
  if (grad_wants(g, 1)) grad_add(g, 1, g_where(G, first, NUMBER(0), dy));
}
VJP(max) { // ties: to x
  struct node *first = g_binary(G, OP_le, Y, X);
  if (grad_wants(g, 0)) grad_add(g, 0, IF(first, dy));
  if (grad_wants(g, 1)) grad_add(g, 1, g_where(G, first, NUMBER(0), dy));
}
VJP(abs) { // sign(x), 0 at 0
  struct node *zero = NUMBER(0);
  struct node *negative = g_where(G, g_binary(G, OP_lt, X, zero), NEG(dy), zero);
  grad_add(g, 0, g_where(G, g_binary(G, OP_lt, zero, X), dy, negative));
}
VJP(exp) { grad_add(g, 0, MUL(dy, R)); }
VJP(log) { grad_add(g, 0, DIV(dy, X)); }
VJP(sqrt) { grad_add(g, 0, DIV(g_scale(G, dy, 0.5), R)); }
VJP(rsqrt) { // −½ r³
  grad_add(g, 0, MUL(g_scale(G, dy, -0.5), MUL(R, MUL(R, R))));
}
VJP(tanh) { grad_add(g, 0, MUL(dy, SUB(NUMBER(1), MUL(R, R)))); }
VJP(sigmoid) { grad_add(g, 0, MUL(dy, MUL(R, SUB(NUMBER(1), R)))); }
VJP(softplus) { grad_add(g, 0, MUL(dy, g_unary(G, OP_sigmoid, X))); }
VJP(erf) { // 2 / sqrt(pi) e^(−x²)
  grad_add(g, 0, MUL(g_scale(G, dy, M_2_SQRTPI), g_unary(G, OP_exp, NEG(MUL(X, X)))));
}
// The mask is taken from the result, so that the operand need not be kept.
VJP(relu) { grad_add(g, 0, IF(g_binary(G, OP_lt, NUMBER(0), R), dy)); }
VJP(sin) { grad_add(g, 0, MUL(dy, g_unary(G, OP_cos, X))); }
VJP(cos) { grad_add(g, 0, NEG(MUL(dy, g_unary(G, OP_sin, X)))); }
VJP(where) {
  if (grad_wants(g, 1)) grad_add(g, 1, IF(X, dy));
  if (grad_wants(g, 2)) grad_add(g, 2, g_where(G, X, NUMBER(0), dy));
}
VJP(cast) {
  if (dtype_is_float(n->type.dtype) && dtype_is_float(in_dtype(n, 0))) grad_add(g, 0, g_cast(G, dy, in_dtype(n, 0)));
}

// ---- the table --------------------------------------------------------------------------------

#define RULES_GRAD(name, rule)                                                                     \
  const struct op_rules op_rules_##name = {.infer = infer_##rule, .vjp = vjp_##name, .eval = eval_##name};
#define RULES(name, rule) const struct op_rules op_rules_##name = {.infer = infer_##rule, .eval = eval_##name};

RULES_GRAD(neg, number)
RULES_GRAD(add, number)
RULES_GRAD(sub, number)
RULES_GRAD(mul, number)
RULES_GRAD(div, number)
RULES_GRAD(pow, number)
RULES_GRAD(min, number)
RULES_GRAD(max, number)
RULES_GRAD(abs, number)
RULES_GRAD(exp, function)
RULES_GRAD(log, function)
RULES_GRAD(sqrt, function)
RULES_GRAD(rsqrt, function)
RULES_GRAD(tanh, function)
RULES_GRAD(sigmoid, function)
RULES_GRAD(softplus, function)
RULES_GRAD(erf, function)
RULES_GRAD(relu, number)
RULES_GRAD(sin, function)
RULES_GRAD(cos, function)
RULES_GRAD(where, where)
RULES_GRAD(cast, cast)
RULES(mod, number)
RULES(floor, number)
RULES(lt, compare)
RULES(le, compare)
RULES(eq, compare)
RULES(ne, compare)
RULES(and, logic)
RULES(or, logic)
RULES(not, logic)
RULES(stop_gradient, same)
