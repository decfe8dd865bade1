// elab_tensor.c: operators on tensors: alignment of axes, arithmetic, transposes, products.
#include <math.h>
#include <string.h>

#include "elab.h"

bool as_tensor(struct elab *e, struct frame *f, struct value *v, dtype t, const char *what) {
  if (v->kind == V_TENSOR) return true;
  if (v->kind == V_ERROR) return false;
  if (v->kind == V_DATA) {
    elab_error(e, f, v->loc,
               "%s is the images `%s` as they are stored; only a view makes a tensor of them, as "
               "in `plain(%s)`",
               what, v->data->name, v->data->name);
    return false;
  }
  bool fits = value_is_number(v) || v->kind == V_BOOL;
  if (v->kind == V_FLOAT && !dtype_is_float(t)) fits = false;
  if (v->kind == V_BOOL && t != BT_BOOL) fits = false;
  if (v->kind != V_BOOL && t == BT_BOOL) fits = false;
  if (!fits) {
    elab_error(e, f, v->loc, "%s must be %s tensor, not %s", what,
               dtype_is_float(t) ? "a float" : str_printf(e->b->arena, "an %s", dtype_name(t)),
               value_text(e, v));
    return false;
  }
  bool small = t != BT_I32 || (v->integer >= INT32_MIN && v->integer <= INT32_MAX);
  if (t == BT_U8) small = v->integer >= 0 && v->integer <= UINT8_MAX;
  if (v->kind == V_INT && !small) {
    elab_error(e, f, v->loc, "%s does not fit %s", value_text(e, v), dtype_name(t));
    return false;
  }
  if (!needs_graph(e, f, v->loc, "a tensor")) return false;
  graph_at(e, f, v->loc);
  double x = v->kind == V_BOOL ? (double)v->integer : value_number(v);
  *v = value_tensor(v->loc, g_constant(e->graph, t, x));
  return true;
}

enum { SIZE_MOST_LOG2 = 38 };

bool size_fits(struct elab *e, struct frame *f, struct loc loc, const struct shape *s) {
  int64_t n = 1;
  bool fits = true;
  for (int i = 0; i < s->rank; i++)
    fits = fits && !__builtin_mul_overflow(n, s->dim[i], &n) && n <= (int64_t)1 << SIZE_MOST_LOG2;
  if (!fits) elab_error(e, f, loc, "a tensor of shape %s is too large", shape_text(e->b->arena, s));
  return fits;
}

// ---- alignment --------------------------------------------------------------------------------
// Decision 7. The operand of the largest rank says which axes there are. One of smaller rank is
// placed by names where each of its axes has a name that occurs there; one that occurs twice there
// is ambiguous, an error. Else its axes are the last ones. Of equal ranks, positions meet. Then at
// each position sizes are equal or 1, and two names are one.

static int axis_place(const struct value *wide, const struct axis *axis, bool *twice) {
  int place = -1;
  for (int i = 0; i < value_rank(wide); i++) {
    if (wide->axes[i] != axis) continue;
    *twice |= place >= 0;
    place = i;
  }
  return place;
}

// Returns the axis that might be two of `wide`, or NULL.
static const struct axis *place_axes(const struct value *wide, const struct value *v, int *places) {
  int rank = value_rank(v), gap = value_rank(wide) - rank;
  bool named = gap > 0;
  const struct axis *ambiguous = NULL;
  for (int i = 0; i < rank && named; i++) {
    bool twice = false;
    places[i] = v->axes[i] ? axis_place(wide, v->axes[i], &twice) : -1;
    named = places[i] >= 0;
    if (twice) ambiguous = v->axes[i];
    for (int k = 0; k < i; k++) named = named && places[k] != places[i];
  }
  if (named) return ambiguous;
  for (int i = 0; i < rank; i++) places[i] = gap + i;
  return NULL;
}

struct aligned {
  int rank;
  int64_t dim[MAX_RANK];
  struct axis *axes[MAX_RANK];
};

static bool misaligned(struct elab *e, struct frame *f, struct loc loc, const struct value *v,
                       int n, const char *what, const char *why) {
  const char *shapes = tensor_text(e, &v[0]);
  for (int i = 1; i < n; i++)
    shapes = str_printf(e->b->arena, "%s%s%s", shapes, i == n - 1 ? " and " : ", ",
                        tensor_text(e, &v[i]));
  elab_error(e, f, loc, "%s of %s: %s", what, shapes, why);
  return false;
}

static bool misnamed(struct elab *e, struct frame *f, struct loc loc, const struct value *v, int n,
                     const char *what, const char *why, const struct axis *a,
                     const struct axis *b) {
  misaligned(e, f, loc, v, n, what, why);
  elab_note(e, a->loc, "`%s` is %lld by %s", a->name, (long long)a->size, a->where);
  elab_note(e, b->loc, "`%s` is %lld by %s", b->name, (long long)b->size, b->where);
  return false;
}

// *clash: the two names, where it is names that do not fit.
static bool merge_axis(struct elab *e, struct aligned *to, int at, const struct value *v, int i,
                       const char **why, const struct axis **clash) {
  int64_t size = value_dim(v, i);
  struct axis *axis = v->axes[i];
  if (axis && to->axes[at] && axis != to->axes[at]) {
    clash[0] = to->axes[at], clash[1] = axis;
    *why = str_printf(e->b->arena,
                      "axes `%s` and `%s` meet at position %d and are different, even of one size; "
                      "transpose one operand, or reduce or index the axis that is too many",
                      to->axes[at]->name, axis->name, at);
    return false;
  }
  if (size != to->dim[at] && size != 1 && to->dim[at] != 1) {
    *why = str_printf(e->b->arena, "sizes %lld and %lld meet at position %d",
                      (long long)to->dim[at], (long long)size, at);
    return false;
  }
  // What stretches from 1 leaves its name behind: the axis is then another's.
  if (size == to->dim[at])
    to->axes[at] = axis ? axis : to->axes[at];
  else if (to->dim[at] == 1)
    to->axes[at] = axis;
  if (to->dim[at] == 1) to->dim[at] = size;
  return true;
}

// Sheds the axes of size 1 that must stretch, sorts the rest, and repeats it along the others.
static struct node *stretch(struct elab *e, const struct value *v, const int *places,
                            const struct aligned *to) {
  struct graph *g = e->graph;
  struct shape shape = {.rank = to->rank}, kept = {0};
  memcpy(shape.dim, to->dim, sizeof to->dim);
  if (shape_eq(&v->node->type.shape, &shape) && value_rank(v) == to->rank) return v->node;
  int axes[MAX_RANK], perm[MAX_RANK], sorted[MAX_RANK];
  for (int i = 0; i < value_rank(v); i++) {
    if (value_dim(v, i) == 1 && to->dim[places[i]] != 1) continue;
    axes[kept.rank] = places[i];
    kept.dim[kept.rank++] = value_dim(v, i);
  }
  struct node *n = g_reshape(g, v->node, &kept);
  for (int i = 0; i < kept.rank; i++) {
    int rank = 0;
    for (int k = 0; k < kept.rank; k++) rank += axes[k] < axes[i];
    perm[rank] = i;
    sorted[rank] = axes[i];
  }
  return g_broadcast(g, g_transpose(g, n, perm), &shape, sorted);
}

static bool ambiguous(struct elab *e, struct frame *f, struct loc loc, const struct value *v, int n,
                      const char *what, const struct axis *axis) {
  const char *name =
      str_eq(axis->name, "_") ? str_printf(e->b->arena, "%lld", (long long)axis->size) : axis->name;
  const char *why = str_printf(e->b->arena,
                               "which of the two axes `%s` is meant? `reshape` with a 1 says it: "
                               "`[%s, 1]` is a value for each row, `[1, %s]` one for each column",
                               name, name, name);
  return misaligned(e, f, loc, v, n, what, why);
}

// x / norm(x, over: 1) of axes without names, [4, 5] and [4], which NumPy's rule has meet at the end: where the sizes
// fit in order, "; `reshape(…, [4, 1])` …", else "".
static const char *reshape_mend(struct elab *e, const struct value *wide, const struct value *v) {
  int rank = value_rank(v), matched = 0;
  const char *shape = "";
  for (int i = 0; i < value_rank(wide); i++) {
    bool fits = matched < rank && value_dim(v, matched) == value_dim(wide, i);
    shape = str_printf(e->b->arena, "%s%s%lld", shape, i ? ", " : "", fits ? (long long)value_dim(v, matched) : 1LL);
    matched += fits;
  }
  if (rank == 0 || rank == value_rank(wide) || matched < rank) return "";
  return str_printf(e->b->arena, "; without names the last axes meet: `reshape(…, [%s])` of the smaller one says which it has", shape);
}

bool tensors_align(struct elab *e, struct frame *f, struct loc loc, struct value *v, int n,
                   const char *what) {
  int wide = 0, places[3][MAX_RANK];
  expect(n <= 3, "%d tensors to align", n);
  for (int i = 1; i < n; i++)
    if (value_rank(&v[i]) > value_rank(&v[wide])) wide = i;
  struct aligned to = {.rank = value_rank(&v[wide])};
  for (int i = 0; i < to.rank; i++) to.dim[i] = 1;
  for (int i = 0; i < n; i++) {
    const struct axis *axis = place_axes(&v[wide], &v[i], places[i]);
    if (axis) return ambiguous(e, f, loc, v, n, what, axis);
  }
  for (int i = 0; i < n; i++) {
    const char *why = NULL;
    const struct axis *clash[2] = {NULL};
    for (int k = 0; k < value_rank(&v[i]); k++) {
      if (merge_axis(e, &to, places[i][k], &v[i], k, &why, clash)) continue;
      if (clash[0]) return misnamed(e, f, loc, v, n, what, why, clash[0], clash[1]);
      const struct value *narrow = &v[i];
      for (int j = 0; j < n; j++)
        if (value_rank(&v[j]) > 0 && value_rank(&v[j]) < value_rank(narrow)) narrow = &v[j];
      why = str_printf(e->b->arena, "%s%s", why, reshape_mend(e, &v[wide], narrow));
      return misaligned(e, f, loc, v, n, what, why);
    }
  }
  struct shape shape = {.rank = to.rank};
  memcpy(shape.dim, to.dim, sizeof to.dim);
  if (!size_fits(e, f, loc, &shape)) return false;
  graph_at(e, f, loc);
  for (int i = 0; i < n; i++) {
    // A scalar stays one: the builders stretch it.
    if (value_rank(&v[i]) > 0) v[i].node = stretch(e, &v[i], places[i], &to);
    memcpy(v[i].axes, to.axes, sizeof to.axes);
  }
  return true;
}

// ---- elementwise ------------------------------------------------------------------------------

struct value tensor_unary(struct elab *e, struct frame *f, enum op op, struct loc loc,
                          struct value x) {
  bool logical = op == OP_not;
  dtype t = x.node->type.dtype;
  if (logical != (t == BT_BOOL) ||
      (!logical && op != OP_neg && op != OP_abs && op != OP_stop_gradient && !dtype_is_float(t))) {
    elab_error(e, f, loc, "`%s` does not take %s",
               logical        ? "not"
               : op == OP_neg ? "-"
                              : op_info(op)->name,
               tensor_text(e, &x));
    return value_error();
  }
  graph_at(e, f, loc);
  x.node = g_unary(e->graph, op, x.node);
  x.loc = loc;
  return x;
}

// The graph has lt and le only: `a > b` is `b < a`.
static const struct {
  enum op op;
  bool swap;
} operator_ops[] = {
    [OP_ADD] = {OP_add, false}, [OP_SUB] = {OP_sub, false},      [OP_MUL] = {OP_mul, false},
    [OP_DIV] = {OP_div, false}, [OP_FLOORDIV] = {OP_div, false}, [OP_MOD] = {OP_mod, false},
    [OP_POW] = {OP_pow, false}, [OP_LT] = {OP_lt, false},        [OP_LE] = {OP_le, false},
    [OP_GT] = {OP_lt, true},    [OP_GE] = {OP_le, true},         [OP_EQ] = {OP_eq, false},
    [OP_NE] = {OP_ne, false},   [OP_AND] = {OP_and, false},      [OP_OR] = {OP_or, false},
};

static bool dtypes_meet(struct elab *e, struct frame *f, enum token_op op, struct loc loc,
                        const struct value *a, const struct value *b) {
  dtype s = a->node->type.dtype, t = b->node->type.dtype;
  const char *text = token_op_text(op);
  if (s != t) {
    elab_error(e, f, loc, "`%s` of %s and %s: element types differ; convert one, as in `%s(…)`",
               text, tensor_text(e, a), tensor_text(e, b), dtype_name(dtype_is_float(s) ? s : t));
    return false;
  }
  bool logical = op == OP_AND || op == OP_OR, equality = op == OP_EQ || op == OP_NE;
  bool fits = logical ? s == BT_BOOL : equality || s != BT_BOOL;
  if ((op == OP_DIV || op == OP_POW) && !dtype_is_float(s)) fits = false;
  if (!fits) elab_error(e, f, loc, "`%s` does not take %s", text, tensor_text(e, a));
  return fits;
}

static struct node *power_of(struct graph *g, struct node *x, int n) {
  if (n == 1) return x;
  struct node *half = power_of(g, x, n / 2), *square = g_binary(g, OP_mul, half, half);
  return n % 2 ? g_binary(g, OP_mul, square, x) : square;
}

// x ^ k for the exponents that products, quotients and roots say exactly; NULL: it takes the op.
static struct node *static_power(struct graph *g, struct node *x, double k) {
  if (k == 0.5) return g_unary(g, OP_sqrt, x);
  if (k == -0.5) return g_unary(g, OP_rsqrt, x);
  if (k != floor(k) || fabs(k) > 8 || k == 0) return NULL;
  struct node *p = power_of(g, x, (int)fabs(k));
  return k > 0 ? p : g_binary(g, OP_div, g_constant(g, x->type.dtype, 1), p);
}

// By way of f64: of integers exact up to 2^53, and a quotient of f32 is not rounded up to the next whole number.
// Integers by 0 are 0, as in NumPy.
static struct node *floor_quotient(struct graph *g, struct node *x, struct node *y) {
  dtype t = x->type.dtype;
  struct node *quotient = g_binary(g, OP_div, g_cast(g, x, BT_F64), g_cast(g, y, BT_F64));
  struct node *whole = g_cast(g, g_unary(g, OP_floor, quotient), t), *zero = g_constant(g, t, 0);
  return dtype_is_float(t) ? whole : g_where(g, g_binary(g, OP_eq, y, zero), zero, whole);
}

struct value tensor_binary(struct elab *e, struct frame *f, enum token_op op, struct loc loc,
                           struct value a, struct value b) {
  if (op == OP_MATMUL) return tensor_matmul(e, f, loc, a, b);
  const char *what = str_printf(e->b->arena, "an operand of `%s`", token_op_text(op));
  bool divides = op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD;
  if (divides && value_is_number(&b) && value_number(&b) == 0) {
    elab_error(e, f, loc, "division of %s by zero", tensor_text(e, &a));
    return value_error();
  }
  if (op == OP_POW && value_is_number(&b)) {
    graph_at(e, f, loc);
    dtype t = a.node->type.dtype;
    bool product = t != BT_BOOL && b.kind == V_INT && b.integer > 0; // then integers have it too
    struct node *p = dtype_is_float(t) || product
                         ? static_power(e->graph, a.node, value_number(&b))
                         : NULL;
    if (p) {
      a.node = p;
      a.loc = loc;
      return a;
    }
  }
  if (a.kind == V_TENSOR && !as_tensor(e, f, &b, a.node->type.dtype, what)) return value_error();
  if (b.kind == V_TENSOR && !as_tensor(e, f, &a, b.node->type.dtype, what)) return value_error();
  if (!dtypes_meet(e, f, op, loc, &a, &b)) return value_error();
  struct value v[2] = {a, b};
  if (!tensors_align(e, f, loc, v, 2, str_printf(e->b->arena, "`%s`", token_op_text(op))))
    return value_error();
  bool swap = operator_ops[op].swap;
  struct value r = v[0];
  r.loc = loc;
  graph_at(e, f, loc);
  r.node = op == OP_FLOORDIV ? floor_quotient(e->graph, v[0].node, v[1].node)
                             : g_binary(e->graph, operator_ops[op].op, v[swap].node, v[!swap].node);
  return r;
}

// ---- transposes and products ------------------------------------------------------------------

struct value tensor_transpose(struct elab *e, struct frame *f, struct loc loc, struct value x) {
  int rank = value_rank(&x), perm[MAX_RANK];
  if (rank < 2) {
    elab_error(e, f, loc, "`'` swaps the last two axes; %s has %d", tensor_text(e, &x), rank);
    return value_error();
  }
  for (int i = 0; i < rank; i++) perm[i] = i < rank - 2 ? i : 2 * rank - 3 - i;
  graph_at(e, f, loc);
  struct value r = x;
  r.loc = loc;
  r.node = g_transpose(e->graph, x.node, perm);
  for (int i = 0; i < rank; i++) r.axes[i] = x.axes[perm[i]];
  return r;
}

// The axis of a factor that is summed over: of the right one the last but one, of a vector its only one.
static int inner_axis(const struct value *v, bool right) {
  int rank = value_rank(v);
  return right && rank > 1 ? rank - 2 : rank - 1;
}

static bool product_fits(struct elab *e, struct frame *f, struct loc loc, const struct value *a,
                         const struct value *b) {
  const char *why = NULL;
  if (a->kind != V_TENSOR || b->kind != V_TENSOR) {
    elab_error(e, f, loc, "`@` multiplies two tensors, not %s and %s", value_text(e, a),
               value_text(e, b));
    return false;
  }
  int at = inner_axis(a, false), bt = inner_axis(b, true);
  if (at < 0 || bt < 0)
    why = "both have at least one axis; `*` multiplies by a scalar";
  else if (!dtype_is_float(a->node->type.dtype) || a->node->type.dtype != b->node->type.dtype)
    why = "both must have one float type";
  else if (value_dim(a, at) != value_dim(b, bt))
    why = str_printf(e->b->arena, "the inner sizes %lld and %lld differ",
                     (long long)value_dim(a, at), (long long)value_dim(b, bt));
  struct value both[2] = {*a, *b};
  if (why) return misaligned(e, f, loc, both, 2, "`@`", why);
  const struct axis *inner[2] = {a->axes[at], b->axes[bt]};
  if (!inner[0] || !inner[1] || inner[0] == inner[1]) return true;
  why = str_printf(e->b->arena, "the inner axes `%s` and `%s` are different, even of one size",
                   inner[0]->name, inner[1]->name);
  return misnamed(e, f, loc, both, 2, "`@`", why, inner[0], inner[1]);
}

// A vector as a matrix of one row, or of one column.
static struct value as_matrix(struct elab *e, struct value v, bool column) {
  if (value_rank(&v) > 1) return v;
  int64_t k = value_dim(&v, 0);
  struct shape s = shape_of(2, column ? k : (int64_t)1, column ? (int64_t)1 : k);
  struct axis *axis = v.axes[0];
  v.node = g_reshape(e->graph, v.node, &s);
  v.axes[0] = column ? axis : NULL;
  v.axes[1] = column ? NULL : axis;
  return v;
}

// Leading axes meet from the last of them on, and size 1 stretches, as in NumPy.
static bool leading_axes_meet(struct elab *e, struct frame *f, struct loc loc,
                              const struct value *v, struct aligned *to) {
  int more = value_rank(&v[1]) > value_rank(&v[0]);
  *to = (struct aligned){.rank = value_rank(&v[more]) - 2};
  for (int i = 0; i < to->rank; i++) to->dim[i] = 1;
  for (int o = 0; o < 2; o++) {
    int rank = value_rank(&v[o]) - 2;
    for (int i = 0; i < rank; i++) {
      const char *why = NULL;
      const struct axis *clash[2] = {NULL};
      if (merge_axis(e, to, to->rank - rank + i, &v[o], i, &why, clash)) continue;
      return clash[0] ? misnamed(e, f, loc, v, 2, "`@`", why, clash[0], clash[1])
                      : misaligned(e, f, loc, v, 2, "`@`", why);
    }
  }
  return true;
}

// v with the leading axes `lead`, repeated where it has not got them.
static struct node *with_leading(struct elab *e, const struct value *v, const struct aligned *lead) {
  struct aligned to = *lead;
  int rank = value_rank(v), places[MAX_RANK];
  for (int i = rank - 2; i < rank; i++) to.dim[to.rank++] = value_dim(v, i);
  for (int i = 0; i < rank; i++) places[i] = to.rank - rank + i;
  return stretch(e, v, places, &to);
}

// x: [..b, k] times a matrix: the leading axes are one while it is multiplied.
static struct node *product_with_matrix(struct graph *g, struct node *x, struct node *y) {
  const struct shape *s = &x->type.shape;
  if (s->rank == 2) return g_matmul(g, x, y, false, false);
  int64_t k = s->dim[s->rank - 1], columns = y->type.shape.dim[1];
  struct shape flat = shape_of(2, shape_count(s) / k, k), full = *s;
  full.dim[full.rank - 1] = columns;
  return g_reshape(g, g_matmul(g, g_reshape(g, x, &flat), y, false, false), &full);
}

// NumPy's rule: a vector is a row on the left and a column on the right, and its axis of size 1 is not
// in the result.
struct value tensor_matmul(struct elab *e, struct frame *f, struct loc loc, struct value a,
                           struct value b) {
  if (!product_fits(e, f, loc, &a, &b)) return value_error();
  graph_at(e, f, loc);
  struct value v[2] = {as_matrix(e, a, false), as_matrix(e, b, true)};
  int ra = value_rank(&v[0]), rb = value_rank(&v[1]);
  struct aligned lead;
  if (!leading_axes_meet(e, f, loc, v, &lead)) return value_error();
  struct value r = value_tensor(loc, NULL);
  struct shape shape = {.rank = lead.rank};
  memcpy(shape.dim, lead.dim, sizeof lead.dim);
  memcpy(r.axes, lead.axes, sizeof lead.axes);
  if (value_rank(&a) > 1) {
    r.axes[shape.rank] = a.axes[ra - 2];
    shape.dim[shape.rank++] = value_dim(&a, ra - 2);
  }
  if (value_rank(&b) > 1) {
    r.axes[shape.rank] = b.axes[rb - 1];
    shape.dim[shape.rank++] = value_dim(&b, rb - 1);
  }
  if (!size_fits(e, f, loc, &shape)) return value_error();
  struct node *product =
      rb == 2 ? product_with_matrix(e->graph, v[0].node, v[1].node)
              : g_matmul(e->graph, with_leading(e, &v[0], &lead), with_leading(e, &v[1], &lead),
                         false, false);
  r.node = g_reshape(e->graph, product, &shape);
  return r;
}
