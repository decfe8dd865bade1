// fold_arith.c: constants and identities of elementwise ops, and arithmetic before broadcasting.
//
// Notation: c a constant, B(v) a broadcast of a smaller v. Products and sums are put in one order,
// wide operands before narrow ones and otherwise by age, so that x·y and y·x become one node.
#include <math.h>
#include <stdlib.h>

#include "fold.h"

// ---- any elementwise op -----------------------------------------------------------------------

// Whether a computed constant is finite in its own type. One that is not is left to run time, where
// it can be seen to happen.
static bool representable(double value, dtype t) {
  return t == BT_F32 ? isfinite((float)value) : isfinite(value);
}

// f(c₁, c₂, …) = c: computed by the op's own reference rule, in double.
static struct node *all_constant(struct fold *f, const struct node *n) {
  struct node *scalar[3];
  double value[3], result = 0;
  struct tensor64 in[3], out = {{n->type.dtype, {0}}, &result};
  const struct tensor64 *in_list[3] = {&in[0], &in[1], &in[2]};
  for (int i = 0; i < n->n_in; i++) {
    if (!fold_constant(n->in[i], &value[i])) return NULL;
    scalar[i] = n->in[i]->op == OP_broadcast ? n->in[i]->in[0] : n->in[i];
    in[i] = (struct tensor64){scalar[i]->type, &value[i]};
  }
  struct node on_scalars = *n;
  on_scalars.in = scalar;
  on_scalars.type.shape = (struct shape){0};
  op_info(n->op)->rules->eval(&on_scalars, in_list, &out);
  return representable(result, n->type.dtype) ? fold_full(f, &n->type, result) : NULL;
}

static bool ascending(const struct node *broadcast) {
  for (int i = 1; i < broadcast->attr.n; i++)
    if (broadcast->attr.i[i] <= broadcast->attr.i[i - 1]) return false;
  return true;
}

// The axes of `shape` in `set`, as a shape and as a list.
static struct shape sub_shape(const struct shape *shape, unsigned set, int64_t *axes) {
  struct shape sub = {0};
  for (int i = 0; i < shape->rank; i++) {
    if (!(set >> i & 1)) continue;
    axes[sub.rank] = i;
    sub.dim[sub.rank++] = shape->dim[i];
  }
  return sub;
}

// x, a broadcast, without the result axes outside `set` (which holds all of x's own).
static struct node *narrowed(struct fold *f, const struct node *x, unsigned set,
                             const struct shape *sub) {
  int64_t axes[MAX_RANK];
  for (int i = 0; i < x->attr.n; i++)
    axes[i] = __builtin_popcount(set & ((1u << x->attr.i[i]) - 1));
  return fold_broadcast(f, x->in[0], sub, axes);
}

// f(B(u), B(v)) = B(f(u, v)): where all operands repeat along some axis, the arithmetic is done
// once for all repetitions. This is what leaves a batch norm one scale per channel.
static struct node *before_broadcast(struct fold *f, const struct node *n) {
  unsigned set = 0;
  for (int i = 0; i < n->n_in; i++) {
    if (n->in[i]->op != OP_broadcast || !ascending(n->in[i])) return NULL;
    set |= node_axes(n->in[i]);
  }
  int64_t axes[MAX_RANK];
  struct shape sub = sub_shape(&n->type.shape, set, axes);
  if (shape_count(&sub) == shape_count(&n->type.shape)) return NULL;
  struct node *in[3];
  for (int i = 0; i < n->n_in; i++) in[i] = narrowed(f, n->in[i], set, &sub);
  struct node *inner =
      fold_node(f, n->op, in, n->n_in, &n->attr, &(struct tensor_type){n->type.dtype, sub});
  return fold_broadcast(f, inner, &n->type.shape, axes);
}

struct node *fold_elementwise(struct fold *f, const struct node *n) {
  if (n->n_in > 3) return NULL;
  struct node *to = all_constant(f, n);
  return to ? to : before_broadcast(f, n);
}

// ---- helpers ----------------------------------------------------------------------------------

static int narrowness(const struct node *n) {
  double c;
  return fold_constant(n, &c) ? 2 : fold_narrow(n);
}

static bool in_order(const struct node *x, const struct node *y) {
  int a = narrowness(x), b = narrowness(y);
  return a != b ? a < b : x->id <= y->id;
}

static bool is_float(const struct node *n) { return dtype_is_float(n->type.dtype); }
static struct node *neg(struct fold *f, struct node *x) { return fold_unary(f, OP_neg, x); }

// x·y = y·x, and the like.
static struct node *commute(struct fold *f, const struct node *n) {
  return in_order(n->in[0], n->in[1]) ? NULL : fold_binary(f, n->op, n->in[1], n->in[0]);
}

// Whether no element can be infinite or NaN, whatever the inputs: integers and what is made of
// them.
static bool always_finite(const struct node *n) {
  double c;
  if (!is_float(n)) return true;
  if (fold_constant(n, &c)) return isfinite(c);
  if (n->op == OP_cast || n->op == OP_broadcast || n->op == OP_reshape || n->op == OP_transpose)
    return always_finite(n->in[0]);
  return n->op == OP_iota;
}

// Whether c and 1/c are both normal numbers in f32.
static bool normal(double c) { return fabs(c) > 1e-37 && fabs(c) < 1e37; }

// ---- products ---------------------------------------------------------------------------------

// x·1 = x; x·(−1) = −x; x·0 = 0 only where x cannot be infinite or NaN: a diverged value must reach
// the loss, where it is reported, and not vanish behind a mask.
static struct node *mul_constant(struct fold *f, const struct node *n) {
  struct node *x = n->in[0], *y = n->in[1];
  if (fold_is(y, 1)) return x;
  if (fold_is(y, -1)) return neg(f, x);
  return fold_is(y, 0) && always_finite(x) ? fold_full(f, &n->type, 0) : NULL;
}

// (−a)·y = −(a·y), which meets y's sign, a narrow factor (neg_mul) or a sum (add_neg) further out.
static struct node *mul_neg(struct fold *f, const struct node *n) {
  for (int i = 0; i < 2; i++)
    if (n->in[i]->op == OP_neg)
      return neg(f, fold_binary(f, OP_mul, n->in[i]->in[0], n->in[1 - i]));
  return NULL;
}

// (a·B(u))·B(v) = a·B(u·v), if u·v is narrow still: one product over the wide shape instead of two.
// Constants whose product leaves the range of f32 stay apart, since a may bring it back.
static struct node *mul_narrow(struct fold *f, const struct node *n) {
  struct node *x = n->in[0], *y = n->in[1];
  if (x->op != OP_mul || !fold_narrow(y) || !fold_narrow(x->in[1])) return NULL;
  double a, b;
  if (fold_constant(y, &a) && fold_constant(x->in[1], &b) && a * b != 0 && !normal(a * b))
    return NULL;
  struct node *factor = fold_binary(f, OP_mul, x->in[1], y);
  return fold_narrow(factor) ? fold_binary(f, OP_mul, x->in[0], factor) : NULL;
}

// ---- quotients --------------------------------------------------------------------------------

// x/1 = x;  x/c = x·(1/c), exact where c is a power of two and within 1.5 units in the last place
// otherwise (a division costs several products, and the factor can now merge with others). Only
// where c and 1/c are normal numbers in f32, so that neither can overflow or flush to zero.
static struct node *div_constant(struct fold *f, const struct node *n) {
  double c;
  if (!is_float(n) || !fold_constant(n->in[1], &c)) return NULL;
  if (c == 1) return n->in[0];
  if (!normal(c)) return NULL;
  return fold_binary(f, OP_mul, n->in[0], fold_full(f, &n->type, 1 / c));
}

// x/B(v) = x·B(1/v): one division per element of v. Same rounding as above.
static struct node *div_narrow(struct fold *f, const struct node *n) {
  struct node *y = n->in[1];
  double c;
  if (!is_float(n) || y->op != OP_broadcast || !fold_narrow(y) || fold_constant(y, &c)) return NULL;
  struct node *one = fold_full(f, &y->type, 1);
  return fold_binary(f, OP_mul, n->in[0], fold_binary(f, OP_div, one, y));
}

// x/√a = x·rsqrt(a);  1/rsqrt(a) = √a;  (−a)/y = −(a/y)
static struct node *div_function(struct fold *f, const struct node *n) {
  struct node *x = n->in[0], *y = n->in[1];
  if (y->op == OP_sqrt) {
    struct node *r = fold_unary(f, OP_rsqrt, y->in[0]);
    return fold_is(x, 1) ? r : fold_binary(f, OP_mul, x, r);
  }
  if (y->op == OP_rsqrt && fold_is(x, 1)) return fold_unary(f, OP_sqrt, y->in[0]);
  return x->op == OP_neg ? neg(f, fold_binary(f, OP_div, x->in[0], y)) : NULL;
}

// ---- sums and signs ---------------------------------------------------------------------------

// x + 0 = x (of −0 + 0 only the sign changes);  x + x = x·2, exact;  x + (−y) = x − y
static struct node *add_identity(struct fold *f, const struct node *n) {
  struct node *x = n->in[0], *y = n->in[1];
  if (fold_is(y, 0)) return x;
  if (x == y) return fold_binary(f, OP_mul, x, fold_full(f, &n->type, 2));
  if (y->op == OP_neg) return fold_binary(f, OP_sub, x, y->in[0]);
  return x->op == OP_neg ? fold_binary(f, OP_sub, y, x->in[0]) : NULL;
}

// x − 0 = x;  0 − y = −y;  x − (−y) = x + y;  x − x = 0 for integers (∞ − ∞ is none)
static struct node *sub_identity(struct fold *f, const struct node *n) {
  struct node *x = n->in[0], *y = n->in[1];
  if (fold_is(y, 0)) return x;
  if (fold_is(x, 0)) return neg(f, y);
  if (y->op == OP_neg) return fold_binary(f, OP_add, x, y->in[0]);
  return x == y && !is_float(n) ? fold_full(f, &n->type, 0) : NULL;
}

// −(−x) = x;  −(x − y) = y − x;  −(x·B(v)) = x·B(−v)
static struct node *neg_identity(struct fold *f, const struct node *n) {
  struct node *x = n->in[0];
  if (x->op == OP_neg) return x->in[0];
  if (x->op == OP_sub) return fold_binary(f, OP_sub, x->in[1], x->in[0]);
  if (x->op == OP_mul && fold_narrow(x->in[1]))
    return fold_binary(f, OP_mul, x->in[0], neg(f, x->in[1]));
  return NULL;
}

// ---- powers and functions ---------------------------------------------------------------------

// x^0 = 1, x^1 = x, x^2 = x·x, x^3 = (x·x)·x, x^4 = (x·x)·(x·x), x^½ = √x, x^−½ = rsqrt(x), and
// x^−n = 1/x^n. (At x = −0 and −∞ √x and x^½ differ; `pow` is undefined there.)
static struct node *pow_constant(struct fold *f, const struct node *n) {
  double e;
  struct node *x = n->in[0];
  if (!fold_constant(n->in[1], &e)) return NULL;
  if (e == 0) return fold_full(f, &n->type, 1);
  if (e == 1) return x;
  if (e == 0.5) return fold_unary(f, OP_sqrt, x);
  if (e == -0.5) return fold_unary(f, OP_rsqrt, x);
  if (e != floor(e) || fabs(e) > 4 || (e < 0 && !is_float(n))) return NULL;
  struct node *square = fold_binary(f, OP_mul, x, x), *p = fabs(e) == 1 ? x : square;
  if (fabs(e) == 3) p = fold_binary(f, OP_mul, square, x);
  if (fabs(e) == 4) p = fold_binary(f, OP_mul, square, square);
  return e > 0 ? p : fold_binary(f, OP_div, fold_full(f, &n->type, 1), p);
}

// |−x| = |x|, ||x|| = |x|
static struct node *abs_abs(struct fold *f, const struct node *n) {
  struct node *x = n->in[0];
  return x->op == OP_abs ? x : x->op == OP_neg ? fold_unary(f, OP_abs, x->in[0]) : NULL;
}

// relu(relu(x)) = relu(x), floor(floor(x)) = floor(x)
static struct node *idempotent(struct fold *f, const struct node *n) {
  (void)f;
  return n->in[0]->op == n->op ? n->in[0] : NULL;
}

// min(x, x) = max(x, x) = x and x = x and x = x or x
static struct node *both_same(struct fold *f, const struct node *n) {
  (void)f;
  return n->in[0] == n->in[1] ? n->in[0] : NULL;
}

// ---- logic and choice -------------------------------------------------------------------------

// x and true = x, x and false = false, x or false = x, x or true = true
static struct node *logic_constant(struct fold *f, const struct node *n) {
  (void)f;
  double c;
  if (!fold_constant(n->in[1], &c)) return NULL;
  return (c != 0) == (n->op == OP_and) ? n->in[0] : n->in[1];
}

// not(not x) = x
static struct node *not_not(struct fold *f, const struct node *n) {
  (void)f;
  return n->in[0]->op == OP_not ? n->in[0]->in[0] : NULL;
}

// A truth value as a number, compared with one: cast(x) == 1 is x, cast(x) == 0 is not x.
static struct node *compare_truth(struct fold *f, const struct node *n) {
  struct node *x = n->in[0];
  if (x->op != OP_cast || x->in[0]->type.dtype != BT_BOOL) return NULL;
  bool one = fold_is(n->in[1], 1);
  if (!one && !fold_is(n->in[1], 0)) return NULL;
  return one == (n->op == OP_eq) ? x->in[0] : fold_unary(f, OP_not, x->in[0]);
}

static struct node *choose(struct fold *f, struct node *c, struct node *x, struct node *y) {
  return fold_node(f, OP_where, (struct node *[]){c, x, y}, 3, NULL, NULL);
}

// where(true, x, y) = x, where(false, x, y) = y, where(c, x, x) = x, where(not c, x, y) = where(c,
// y, x)
static struct node *where_known(struct fold *f, const struct node *n) {
  double c;
  if (fold_constant(n->in[0], &c)) return n->in[c != 0 ? 1 : 2];
  if (n->in[1] == n->in[2]) return n->in[1];
  return n->in[0]->op == OP_not ? choose(f, n->in[0]->in[0], n->in[2], n->in[1]) : NULL;
}

// where(c, where(c, x, _), y) = where(c, x, y), and likewise on the other side: c is known there.
static struct node *where_nested(struct fold *f, const struct node *n) {
  struct node *c = n->in[0], *x = n->in[1], *y = n->in[2];
  if (x->op == OP_where && x->in[0] == c) return choose(f, c, x->in[1], y);
  return y->op == OP_where && y->in[0] == c ? choose(f, c, x, y->in[2]) : NULL;
}

// where(c, 0, y·k) = where(c, 0, y)·k for a constant k (finite, as constants are), and likewise on
// the other side: the gradient of a masked value comes masked again, and now both masks meet.
static struct node *where_scaled(struct fold *f, const struct node *n) {
  double k;
  for (int zero = 1; zero <= 2; zero++) {
    struct node *y = n->in[3 - zero];
    if (!fold_is(n->in[zero], 0) || y->op != OP_mul || !fold_constant(y->in[1], &k) || !isfinite(k))
      continue;
    struct node *in[3] = {n->in[0], n->in[zero], n->in[zero]};
    in[3 - zero] = y->in[0];
    return fold_binary(f, OP_mul, choose(f, in[0], in[1], in[2]), y->in[1]);
  }
  return NULL;
}

// If x is zero wherever its mask is `zero_if`, by a choice or a choice times constants, returns the
// mask and in *rest a value that x has elsewhere; else NULL.
static struct node *masked(struct fold *f, struct node *x, bool zero_if, struct node **rest) {
  double k;
  if (x->op == OP_where && fold_is(x->in[zero_if ? 1 : 2], 0)) {
    *rest = x->in[zero_if ? 2 : 1];
    return x->in[0];
  }
  if (x->op != OP_mul || !fold_constant(x->in[1], &k) || !isfinite(k)) return NULL;
  struct node *mask = masked(f, x->in[0], zero_if, rest);
  if (mask) *rest = fold_binary(f, OP_mul, *rest, x->in[1]);
  return mask;
}

// where(c, x, 0) + where(c, 0, y) = where(c, x, y): the gradients of two parts of one tensor.
static struct node *add_parts(struct fold *f, const struct node *n) {
  for (int i = 0; i < 2; i++) {
    struct node *x, *y, *mask = masked(f, n->in[i], false, &x);
    if (mask && mask == masked(f, n->in[1 - i], true, &y)) return choose(f, mask, x, y);
  }
  return NULL;
}

// Whether every value of `from` is a value of `through`.
static bool widens(dtype from, dtype through) {
  switch (through) {
  case BT_F64: return from != BT_I64;
  case BT_F32: return from == BT_U8 || from == BT_BOOL || from == BT_F32;
  case BT_I64: return !dtype_is_float(from);
  case BT_I32: return from == BT_U8 || from == BT_BOOL || from == BT_I32;
  default: return from == through || from == BT_BOOL;
  }
}

// A cast to x's own type is x; so is one there and back through a type that holds all of x's
// values.
static struct node *cast_back(struct fold *f, const struct node *n) {
  (void)f;
  struct node *x = n->in[0];
  if (x->type.dtype == n->type.dtype) return x;
  if (x->op != OP_cast || x->in[0]->type.dtype != n->type.dtype) return NULL;
  return x->type.dtype != BT_BOOL && widens(n->type.dtype, x->type.dtype) ? x->in[0] : NULL;
}

// The graph is differentiated: nothing is left to stop.
static struct node *stop_nothing(struct fold *f, const struct node *n) {
  (void)f;
  return n->in[0];
}

const struct fold_row fold_arithmetic[] = {
    {OP_mul, commute},        {OP_mul, mul_constant},
    {OP_mul, mul_neg},        {OP_mul, mul_narrow},
    {OP_div, div_constant},   {OP_div, div_narrow},
    {OP_div, div_function},   {OP_add, commute},
    {OP_add, add_identity},   {OP_sub, sub_identity},
    {OP_neg, neg_identity},   {OP_pow, pow_constant},
    {OP_abs, abs_abs},        {OP_relu, idempotent},
    {OP_floor, idempotent},   {OP_min, both_same},
    {OP_max, both_same},      {OP_and, commute},
    {OP_and, logic_constant}, {OP_and, both_same},
    {OP_or, commute},         {OP_or, logic_constant},
    {OP_or, both_same},       {OP_eq, commute},
    {OP_ne, commute},         {OP_eq, compare_truth},
    {OP_ne, compare_truth},   {OP_not, not_not},
    {OP_where, where_known},  {OP_where, where_nested},
    {OP_where, where_scaled}, {OP_add, add_parts},
    {OP_cast, cast_back},     {OP_stop_gradient, stop_nothing},
    {OP_COUNT, NULL},
};
