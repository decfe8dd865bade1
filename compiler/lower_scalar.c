// lower_scalar.c: elementwise ops on loop values, scalar or vector.
//
// Loop arithmetic knows f32, f64, i32 and i64; u8 and bool are widened to i32 and back where an op
// calculates with them. Logic and selection of booleans stay lane masks.
//
// NaN is kept by whatever chooses the larger or the smaller, so that a diverged value reaches the
// loss; the loop level's min and max only keep one that is their second operand.
#include "kernels.h"

static bool narrow(lx a) { return a->type == LT_U8 || a->type == LT_BOOL; }
static lx widen(lx a) { return narrow(a) ? lx_convert(a, LT_I32) : a; }
static bool real(lx a) { return a->type == LT_F32 || a->type == LT_F64; }
static lx like(lx a, double v) { return lx_const(a->builder, a->type, 1, v); }

static bool is_number(lx a) {
  if (a->op == LX_BROADCAST || a->op == LX_CONVERT) return is_number(a->a);
  return a->op == LX_CONST && a->real == a->real;
}

lx lower_is_nan(lx a) { return lx_binary(LX_NE, a, a); }

lx lower_extremum(enum loop_op op, lx a, lx b) {
  if (!real(a) || is_number(a)) return lx_binary(op, a, b);
  if (is_number(b)) return lx_binary(op, b, a);
  a = lb_let(a->builder, "m", a);
  return lx_select(lower_is_nan(a), a, lx_binary(op, a, b));
}

// f(a) for functions of real numbers; integers go through f64.
static lx in_reals(enum loop_op op, lx a) {
  if (real(a)) return lx_unary(op, a);
  return lx_convert(lx_unary(op, lx_convert(a, LT_F64)), a->type);
}

static lx in_reals2(enum loop_op op, lx a, lx b) {
  if (real(a)) return lx_binary(op, a, b);
  return lx_convert(lx_binary(op, lx_convert(a, LT_F64), lx_convert(b, LT_F64)), a->type);
}

// x - y floor(x / y). Of integers in f64, where it is exact up to 2^53; by 0 they are 0, as in NumPy.
static lx modulo(lx x, lx y) {
  if (real(x)) return lx_binary(LX_FLOORMOD, x, y);
  lx a = lx_convert(x, LT_F64), b = lx_convert(y, LT_F64);
  lx rest = lx_sub(a, lx_mul(b, lx_unary(LX_FLOOR, lx_div(a, b))));
  return lx_select(lx_eq(y, like(y, 0)), like(x, 0), lx_convert(rest, x->type));
}

static lx choose(lx c, lx yes, lx no) {
  if (yes->type == LT_BOOL) return lx_or(lx_and(c, yes), lx_and(lx_not(c), no));
  return lx_select(c, widen(yes), widen(no));
}

static lx unary(enum op op, lx x) {
  switch (op) {
  case OP_neg: return lx_unary(LX_NEG, x);
  case OP_abs: return lx_unary(LX_ABS, x);
  case OP_floor: return real(x) ? lx_unary(LX_FLOOR, x) : x;
  case OP_exp: return in_reals(LX_EXP, x);
  case OP_log: return in_reals(LX_LOG, x);
  case OP_sqrt: return in_reals(LX_SQRT, x);
  case OP_rsqrt: return in_reals(LX_RSQRT, x);
  case OP_tanh: return in_reals(LX_TANH, x);
  case OP_sin: return in_reals(LX_SIN, x);
  case OP_cos: return in_reals(LX_COS, x);
  case OP_relu: return lx_max(like(x, 0), x); // in this order NaN is kept
  case OP_sigmoid: return in_reals(LX_SIGMOID, x);
  case OP_erf: return in_reals(LX_ERF, x);
  case OP_softplus: return in_reals(LX_SOFTPLUS, x);
  default: die("%s is no elementwise op of one operand", op_info(op)->name);
  }
}

static lx binary(enum op op, lx x, lx y) {
  switch (op) {
  case OP_add: return lx_add(x, y);
  case OP_sub: return lx_sub(x, y);
  case OP_mul: return lx_mul(x, y);
  case OP_div: return in_reals2(LX_DIV, x, y);
  case OP_mod: return modulo(x, y);
  case OP_pow: return in_reals2(LX_POW, x, y);
  case OP_min: return lower_extremum(LX_MIN, x, y);
  case OP_max: return lower_extremum(LX_MAX, x, y);
  case OP_lt: return lx_lt(x, y);
  case OP_le: return lx_le(x, y);
  case OP_eq: return lx_eq(x, y);
  case OP_ne: return lx_binary(LX_NE, x, y);
  default: die("%s is no elementwise op of two operands", op_info(op)->name);
  }
}

lx lower_scalar(struct lb *b, enum op op, dtype type, const lx *in) {
  enum loop_type t = lower_type(type);
  (void)b;
  switch (op) {
  case OP_and: return lx_and(in[0], in[1]);
  case OP_or: return lx_or(in[0], in[1]);
  case OP_not: return lx_not(in[0]);
  case OP_where: return lx_convert(choose(in[0], in[1], in[2]), t);
  case OP_stop_gradient: return in[0];
  case OP_cast: return lx_convert(in[0], t);
  case OP_random_uniform: return lx_draw(LX_UNIFORM, in[0], in[1], in[2]);
  case OP_random_normal: return lx_draw(LX_NORMAL, in[0], in[1], in[2]);
  default: break;
  }
  int arity = op_info(op)->arity;
  lx x = widen(in[0]);
  return lx_convert(arity == 1 ? unary(op, x) : binary(op, x, widen(in[1])), t);
}
