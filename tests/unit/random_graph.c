// random_graph.c: see random_graph.h.
//
// A pool of values grows from the leaves by random steps, each a pattern of a few ops. For every
// value the pool knows a bound, and whether it is *exact*: then it is a multiple of 2^-fraction
// that f32 holds. Values that grow large are scaled down by a power of two.
#include "random_graph.h"

#include <math.h>

struct item {
  struct node *node;
  double most;  // |value| is about this at most
  int fraction; // exact: a multiple of 2^-fraction; -1: not
};

struct generator {
  struct graph *g;
  struct arena *arena;
  unsigned seed;
  uint64_t state;
  VEC(struct item) reals, integers, flags;
  VEC(struct node *) trained; // parameters that a gradient may reach
  int names;
  int limit;   // elements of a value
  bool layers; // many products
};

enum { SMALL = 3000, LARGE = 80000 /* elements, enough for threads and chunks */, EXACT_BITS = 22 };

static int roll(struct generator *r, int n) {
  r->state = r->state * 6364136223846793005u + 1442695040888963407u;
  return (int)((r->state >> 33) % (unsigned)n);
}

static const struct shape *shape(const struct item *x) { return &x->node->type.shape; }
static bool exact(const struct item *x) { return x->fraction >= 0; }

static bool fits(double most, int fraction) { return log2(fmax(most, 1)) + fraction <= EXACT_BITS; }

// A value of the pool: exact where the bits do, scaled where it is large.
static struct item made(struct generator *r, struct node *n, double most, int fraction) {
  if (fraction >= 0 && !fits(most, fraction)) fraction = -1;
  if (most > 64 && dtype_is_float(n->type.dtype)) {
    int shift = (int)ceil(log2(most / 8));
    n = g_scale(r->g, n, ldexp(1, -shift));
    most = ldexp(most, -shift);
    if (fraction >= 0) fraction += shift;
    if (fraction >= 0 && !fits(most, fraction)) fraction = -1;
  }
  return (struct item){n, most, fraction};
}

static void keep(struct generator *r, struct item x) { vec_push(r->arena, &r->reals, x); }

static struct item pick(struct generator *r) {
  int n = r->reals.len, late = n > 6 ? n - 6 : 0;
  return r->reals.data[roll(r, 2) ? late + roll(r, n - late) : roll(r, n)];
}

static struct item pick_exact(struct generator *r) {
  for (;;) {
    struct item x = r->reals.data[roll(r, r->reals.len)];
    if (exact(&x)) return x;
  }
}

static struct item pick_rank(struct generator *r, int rank) {
  for (int tries = 0; tries < 60; tries++) {
    struct item x = pick(r);
    if (shape(&x)->rank == rank) return x;
  }
  return r->reals.data[0]; // of rank 4
}

// ---- leaves -----------------------------------------------------------------------------------

static const char *name(struct generator *r, const char *stem) {
  return str_printf(r->arena, "g%u.%s%d", r->seed, stem, r->names++);
}

static struct node *input(struct generator *r, const char *stem, dtype t, struct shape s) {
  return g_input(r->g, name(r, stem), BT_INPUT_ARRAY, 0, 0, &(struct tensor_type){t, s});
}

static struct item leaf_item(struct node *n) { return (struct item){n, 2, 3}; }

static struct item param(struct generator *r, struct shape s) {
  for (int i = 0; i < r->trained.len; i++) // shared, now and then
    if (shape_eq(&r->trained.data[i]->type.shape, &s) && roll(r, 2))
      return leaf_item(r->trained.data[i]);
  struct node *n = g_leaf(r->g, OP_param, name(r, "p"), &(struct tensor_type){BT_F32, s});
  vec_push(r->arena, &r->trained, n);
  return leaf_item(n);
}

static struct shape random_shape(struct generator *r, int rank) {
  static const int sizes[] = {1, 2, 3, 4, 5, 7, 8, 17, 19};
  struct shape s = {.rank = rank};
  for (int i = 0; i < rank; i++) s.dim[i] = sizes[roll(r, rank > 2 ? 6 : 9)];
  if (r->limit == LARGE && rank > 0 && roll(r, 2)) {
    int i = roll(r, rank); // one long axis
    while (shape_count(&s) < LARGE / 8) s.dim[i] = s.dim[i] * 3 + 1;
  }
  return s;
}

static struct shape random_image(struct generator *r) {
  static const int channels[] = {16, 16, 32, 3, 5, 1, 8, 17};
  int size = r->limit == LARGE ? 20 : 1;
  return shape_of(4, (int64_t)(1 + roll(r, 3)), (int64_t)channels[roll(r, 8)],
                  (int64_t)(size + roll(r, 6)), (int64_t)(size + roll(r, 5)));
}

static void begin(struct generator *r) {
  keep(r, leaf_item(input(r, "x", BT_F32, random_image(r))));
  keep(r, leaf_item(input(r, "x", BT_F32, random_image(r))));
  keep(r, leaf_item(input(r, "x", BT_F32, random_shape(r, 2))));
  for (int i = 0; i < 3; i++) keep(r, param(r, random_shape(r, roll(r, 4))));
  struct tensor_type t = {BT_F32, random_shape(r, 1 + roll(r, 2))};
  keep(r, leaf_item(g_leaf(r->g, OP_state, name(r, "s"), &t)));
  struct item i = {input(r, "i", roll(r, 3) ? BT_I32 : BT_I64, random_shape(r, 2)), 4, 0};
  vec_push(r->arena, &r->integers, i);
  struct item u = {input(r, "u", BT_U8, random_shape(r, 2)), 4, 0};
  keep(r, made(r, g_cast(r->g, u.node, BT_F32), 4, 0));
  struct item f = {input(r, "f", BT_BOOL, random_shape(r, 2)), 1, 0};
  vec_push(r->arena, &r->flags, f);
}

// ---- arithmetic -------------------------------------------------------------------------------

static struct item constant_like(struct generator *r, const struct item *x) {
  static const double values[] = {0, 1, -1, 2, 0.5, 3, -0.25};
  double v = values[roll(r, 7)];
  return (struct item){g_full_like(r->g, x->node, v), fabs(v), 2};
}

// Another value of x's shape: of the pool, a stretched vector or scalar, or x itself.
static struct item pick_like(struct generator *r, struct item x) {
  if (roll(r, 5) == 0) return constant_like(r, &x);
  for (int tries = 0; tries < 30; tries++) {
    struct item y = pick(r);
    if (shape_eq(shape(&x), shape(&y))) return y;
    if (shape(&y)->rank == 0) {
      y.node = g_broadcast(r->g, y.node, shape(&x), NULL);
      return y;
    }
    for (int i = 0; shape(&y)->rank == 1 && i < shape(&x)->rank; i++)
      if (shape(&y)->dim[0] == shape(&x)->dim[i]) {
        y.node = g_broadcast(r->g, y.node, shape(&x), &i);
        return y;
      }
  }
  return x;
}

static int finer(const struct item *x, const struct item *y) {
  if (!exact(x) || !exact(y)) return -1;
  return x->fraction > y->fraction ? x->fraction : y->fraction;
}

static struct item random_binary(struct generator *r, struct item x) {
  struct item y = pick_like(r, x);
  struct graph *g = r->g;
  switch (roll(r, 6)) {
  case 0: return made(r, g_binary(g, OP_sub, x.node, y.node), x.most + y.most, finer(&x, &y));
  case 1:
  case 2:
    return made(r, g_binary(g, OP_mul, x.node, y.node), x.most * y.most,
                exact(&x) && exact(&y) ? x.fraction + y.fraction : -1);
  case 3: {
    struct node *square = g_binary(g, OP_mul, y.node, y.node);
    struct node *above = g_binary(g, OP_add, square, g_constant(g, BT_F32, 0.5));
    return made(r, g_binary(g, OP_div, x.node, above), 2 * x.most, -1);
  }
  case 4:
    if (!exact(&x) || !exact(&y)) break;
    return made(r, g_binary(g, roll(r, 2) ? OP_min : OP_max, x.node, y.node), fmax(x.most, y.most),
                finer(&x, &y));
  default: break;
  }
  return made(r, g_binary(g, OP_add, x.node, y.node), x.most + y.most, finer(&x, &y));
}

static struct item random_function(struct generator *r, struct item x) {
  static const enum op bounded[] = {OP_tanh, OP_sigmoid, OP_sin, OP_cos};
  struct graph *g = r->g;
  switch (roll(r, 6)) {
  case 0: return made(r, g_unary(g, OP_neg, x.node), x.most, x.fraction);
  case 1:
    if (x.most > 4) break;
    return made(r, g_unary(g, OP_exp, x.node), exp(x.most), -1);
  case 2: {
    static const enum op roots[] = {OP_sqrt, OP_rsqrt, OP_log};
    struct node *square = g_binary(g, OP_mul, x.node, x.node);
    struct node *above = g_binary(g, OP_add, square, g_constant(g, BT_F32, 0.25));
    return made(r, g_unary(g, roots[roll(r, 3)], above), fmax(x.most + 1, 2), -1);
  }
  case 3: return made(r, g_unary(g, OP_stop_gradient, x.node), x.most, x.fraction);
  default: break;
  }
  if (x.most > 16) return made(r, g_unary(g, OP_neg, x.node), x.most, x.fraction);
  return made(r, g_unary(g, bounded[roll(r, 4)], x.node), 1, -1);
}

static struct item random_kink(struct generator *r) {
  struct item x = pick_exact(r);
  switch (roll(r, 3)) {
  case 0: return made(r, g_unary(r->g, OP_abs, x.node), x.most, x.fraction);
  case 1: return made(r, g_unary(r->g, OP_floor, x.node), x.most + 1, 0);
  default: return made(r, g_unary(r->g, OP_relu, x.node), x.most, x.fraction);
  }
}

// ---- reductions -------------------------------------------------------------------------------

static int random_axes(struct generator *r, int rank, int *axes) {
  int n = 0;
  for (int i = 0; i < rank; i++)
    if (roll(r, 2)) axes[n++] = i;
  return n;
}

static struct item random_reduction(struct generator *r, struct item x) {
  int axes[MAX_RANK], n = random_axes(r, shape(&x)->rank, axes);
  double folded = 1;
  for (int i = 0; i < n; i++) folded *= (double)shape(&x)->dim[axes[i]];
  if (n == 0) return x;
  static const enum op sharp[] = {OP_reduce_max, OP_reduce_min};
  switch (roll(r, 5)) {
  case 0: return made(r, g_reduce(r->g, OP_mean, x.node, axes, n), x.most, -1);
  case 1: return made(r, g_reduce(r->g, OP_var, x.node, axes, n), x.most * x.most, -1);
  case 2:
    if (!exact(&x)) break;
    return made(r, g_reduce(r->g, sharp[roll(r, 2)], x.node, axes, n), x.most, x.fraction);
  default: break;
  }
  return made(r, g_reduce(r->g, OP_sum, x.node, axes, n), x.most * folded, x.fraction);
}

// y stretched back over the axes of `like` that are not in axes.
static struct node *stretched(struct generator *r, struct node *y, const struct shape *to,
                              const int *axes, int n) {
  int kept[MAX_RANK], k = 0;
  for (int i = 0, j = 0; i < to->rank; i++) {
    if (j < n && axes[j] == i)
      j++;
    else
      kept[k++] = i;
  }
  return g_broadcast(r->g, y, to, kept);
}

static struct item random_centred(struct generator *r, struct item x) {
  int axes[MAX_RANK], n = random_axes(r, shape(&x)->rank, axes);
  if (n == 0) return x;
  struct node *mean = g_reduce(r->g, OP_mean, x.node, axes, n);
  return made(r, g_binary(r->g, OP_sub, x.node, stretched(r, mean, shape(&x), axes, n)), 2 * x.most,
              -1);
}

static struct item random_softmax(struct generator *r) {
  struct item x = pick_exact(r);
  struct graph *g = r->g;
  if (shape(&x)->rank == 0) return x;
  int last = shape(&x)->rank - 1;
  struct node *top =
      stretched(r, g_reduce(g, OP_reduce_max, x.node, &last, 1), shape(&x), &last, 1);
  struct node *e = g_unary(g, OP_exp, g_binary(g, OP_sub, x.node, top));
  struct node *sum = stretched(r, g_reduce(g, OP_sum, e, &last, 1), shape(&x), &last, 1);
  return made(r, g_binary(g, OP_div, e, sum), 1, -1);
}

// ---- movement ---------------------------------------------------------------------------------

// Stretches x to a shape with one axis more, its own axes in any order.
static struct item random_broadcast(struct generator *r, struct item x) {
  struct shape to = {.rank = shape(&x)->rank + 1};
  if (to.rank > 4 || shape_count(shape(&x)) > r->limit / 4) return x;
  int place[MAX_RANK];
  for (int i = 0; i < to.rank; i++) place[i] = i;
  for (int i = to.rank - 1; i > 0; i--) {
    int k = roll(r, 3) ? i : roll(r, i + 1), other = place[k];
    place[k] = place[i];
    place[i] = other;
  }
  to.dim[place[to.rank - 1]] = 1 + roll(r, 4);
  for (int i = 0; i + 1 < to.rank; i++) to.dim[place[i]] = shape(&x)->dim[i];
  x.node = g_broadcast(r->g, x.node, &to, place);
  return x;
}

static struct item random_transpose(struct generator *r, struct item x) {
  int rank = shape(&x)->rank, perm[MAX_RANK];
  for (int i = 0; i < rank; i++) perm[i] = i;
  for (int i = rank - 1; i > 0; i--) {
    int k = roll(r, i + 1), other = perm[i];
    perm[i] = perm[k];
    perm[k] = other;
  }
  x.node = g_transpose(r->g, x.node, perm);
  return x;
}

// Takes the elements apart into 1 to 4 axes by dividing what is left.
static struct item random_reshape(struct generator *r, struct item x) {
  struct shape to = {.rank = 1 + roll(r, 4)};
  int64_t left = shape_count(shape(&x));
  for (int i = 0; i < to.rank; i++) to.dim[i] = 1;
  for (int64_t p = 2; left > 1; p++)
    for (; left % p == 0; left /= p) to.dim[roll(r, to.rank)] *= p;
  x.node = g_reshape(r->g, x.node, &to);
  return x;
}

static struct item random_window(struct generator *r, struct item x) {
  struct shape to = *shape(&x);
  int64_t at[MAX_RANK] = {0};
  bool slice = roll(r, 2);
  for (int i = 0; i < to.rank; i++) {
    if (roll(r, 2)) continue;
    int64_t have = to.dim[i], front = slice ? roll(r, (int)have) : roll(r, 3);
    at[i] = front;
    to.dim[i] = slice ? 1 + roll(r, (int)(have - front)) : have + front + roll(r, 2);
  }
  if (shape_count(&to) > r->limit) return x;
  x.node = slice ? g_slice(r->g, x.node, at, &to) : g_pad(r->g, x.node, at, &to);
  return x;
}

static struct item random_concat(struct generator *r, struct item x) {
  struct item y = pick_like(r, x);
  if (shape(&x)->rank == 0 || shape_count(shape(&x)) > r->limit / 3) return x;
  struct node *parts[3] = {x.node, y.node, roll(r, 2) ? x.node : y.node};
  return made(r, g_concat(r->g, parts, 2 + roll(r, 2), roll(r, shape(&x)->rank)),
              fmax(x.most, y.most), finer(&x, &y));
}

static struct item random_diagonal(struct generator *r, struct item x) {
  struct shape s = *shape(&x);
  if (s.rank < 2) return x;
  int64_t *a = &s.dim[s.rank - 1], *b = &s.dim[s.rank - 2], zero[MAX_RANK] = {0};
  *a = *b = *a < *b ? *a : *b;
  struct node *square = g_slice(r->g, x.node, zero, &s);
  if (roll(r, 2))
    x.node = g_unary(r->g, OP_diag, square);
  else { // the rest
    struct node *row = g_iota(r->g, BT_I32, &s, s.rank - 2),
                *column = g_iota(r->g, BT_I32, &s, s.rank - 1);
    struct node *eye = g_binary(r->g, OP_eq, row, column);
    x.node = g_where(r->g, eye, g_full_like(r->g, square, 0), square);
  }
  return x;
}

// ---- masks and integers -----------------------------------------------------------------------

static struct node *random_mask(struct generator *r, const struct shape *s) {
  static const enum op ops[] = {OP_lt, OP_le, OP_eq, OP_ne};
  for (int tries = 0; tries < 30; tries++) {
    struct item x = pick_exact(r);
    if (!shape_eq(shape(&x), s)) continue;
    struct item y = pick_like(r, x);
    if (!exact(&y)) continue;
    return g_binary(r->g, ops[roll(r, 4)], x.node, y.node);
  }
  for (int i = 0; i < r->flags.len; i++)
    if (shape_eq(shape(&r->flags.data[i]), s)) return r->flags.data[i].node;
  struct node *index = g_iota(r->g, BT_I32, s, roll(r, s->rank));
  return g_binary(r->g, OP_lt, index, g_constant(r->g, BT_I32, 2));
}

static struct item random_choice(struct generator *r, struct item x) {
  if (shape(&x)->rank == 0) return x;
  struct item y = pick_like(r, x);
  struct node *mask = random_mask(r, shape(&x));
  if (roll(r, 3) == 0) {
    struct node *other = random_mask(r, shape(&x));
    mask = g_binary(r->g, roll(r, 2) ? OP_and : OP_or, mask, g_unary(r->g, OP_not, other));
  }
  struct item flag = {mask, 1, 0};
  vec_push(r->arena, &r->flags, flag);
  struct node *n =
      roll(r, 2) ? g_where(r->g, mask, x.node, y.node) : g_where(r->g, mask, y.node, x.node);
  return made(r, n, fmax(x.most, y.most), finer(&x, &y));
}

static struct item random_integer(struct generator *r) {
  struct graph *g = r->g;
  struct item x = r->integers.data[roll(r, r->integers.len)];
  int axes[MAX_RANK], n = random_axes(r, shape(&x)->rank, axes);
  switch (roll(r, 5)) {
  case 0: {
    struct item y = pick_exact(r);
    if (shape(&y)->rank == 0) break;
    int axis = roll(r, shape(&y)->rank);
    double most = (double)shape(&y)->dim[axis];
    x = (struct item){g_reduce(g, OP_argmax, y.node, &axis, 1), most, 0};
    break;
  }
  case 1:
    if (x.most < 1000) x = (struct item){g_binary(g, OP_mul, x.node, x.node), x.most * x.most, 0};
    break;
  case 2:
    if (n > 0 && x.most < 1000)
      x = (struct item){g_reduce(g, OP_sum, x.node, axes, n),
                        x.most * (double)shape_count(shape(&x)), 0};
    break;
  case 3:
    if (n > 0)
      x = (struct item){g_reduce(g, roll(r, 2) ? OP_reduce_max : OP_reduce_min, x.node, axes, n),
                        x.most, 0};
    break;
  default: {
    struct node *three = g_full_like(g, x.node, 3);
    x = (struct item){g_binary(g, roll(r, 2) ? OP_sub : OP_min, x.node, three), x.most + 3, 0};
  }
  }
  vec_push(r->arena, &r->integers, x);
  return made(r, g_cast(g, x.node, BT_F32), x.most, 0);
}

// ---- products, convolutions, pools ------------------------------------------------------------

static struct item random_product(struct generator *r, struct item x) {
  struct graph *g = r->g;
  int rank = shape(&x)->rank;
  if (rank < 2 || rank > 3) return x;
  bool tx = roll(r, 2), ty = roll(r, 2);
  int64_t k = shape(&x)->dim[rank - (tx ? 2 : 1)];
  struct item y = roll(r, 2) ? pick_like(r, x) : x;
  if (y.node == x.node && roll(r, 2) == 0)
    ty = !tx; // x xᵀ
  else if (rank == 2 && roll(r, 3) > 0) {
    int64_t n = 1 + roll(r, 18);
    y = param(r, ty ? shape_of(2, n, k) : shape_of(2, k, n));
  } else
    ty = !tx;
  if (shape(&x)->dim[rank - (tx ? 1 : 2)] * shape(&y)->dim[rank - (ty ? 2 : 1)] > r->limit)
    return x;
  return made(r, g_matmul(g, x.node, y.node, tx, ty), x.most * y.most * (double)k,
              exact(&x) && exact(&y) ? x.fraction + y.fraction : -1);
}

// Something to meet a product: a vector along an axis, another product, a sum of its own, a mask.
static struct node *companion(struct generator *r, struct node *p, struct node *x) {
  struct graph *g = r->g;
  struct shape s = p->type.shape;
  int axis = roll(r, 2), folded[] = {axis};
  switch (roll(r, 6)) {
  case 0: return param(r, s).node;
  case 1: return g_matmul(g, x, param(r, shape_of(2, x->type.shape.dim[1], s.dim[1])).node, false, false);
  case 2:
    return g_cast(g, g_binary(g, OP_eq, g_iota(g, BT_I32, &s, 0), g_iota(g, BT_I32, &s, 1)), BT_F32);
  case 3: return g_broadcast(g, param(r, shape_of(1, s.dim[axis])).node, &s, folded);
  default: {
    struct node *other = roll(r, 2) ? p : g_binary(g, OP_mul, p, param(r, s).node);
    return stretched(r, g_reduce(g, OP_mean, other, folded, 1), &s, folded, 1);
  }
  }
}

// A product whose result meets others of its shape, wide now and then.
static struct item random_layer(struct generator *r, struct item x) {
  static const enum op ops[] = {OP_add, OP_sub, OP_mul};
  struct graph *g = r->g;
  if (shape(&x)->rank != 2) return x;
  int64_t m = shape(&x)->dim[0], k = shape(&x)->dim[1];
  int64_t n = roll(r, 2) ? 1 + roll(r, 40) : 256 + roll(r, 60);
  if (m * n > 2 * r->limit || k * n > 2 * r->limit) return x;
  struct node *p = g_matmul(g, x.node, param(r, shape_of(2, k, n)).node, false, false), *y = p;
  y = g_scale(g, y, 1.0 / (double)k);
  if (roll(r, 3) == 0) { // orthogonal to something, column by column
    struct node *a = param(r, p->type.shape).node;
    struct node *mean = g_reduce(g, OP_mean, g_binary(g, OP_mul, y, a), (int[]){0}, 1);
    y = g_binary(g, OP_sub, y, g_binary(g, OP_mul, a, g_broadcast(g, mean, &p->type.shape, (int[]){1})));
  }
  for (int i = roll(r, 4); i > 0; i--) y = g_binary(g, ops[roll(r, 3)], y, companion(r, p, x.node));
  switch (roll(r, 4)) {
  case 0: y = g_unary(g, OP_tanh, y); break;
  case 1: y = g_binary(g, OP_mul, y, g_unary(g, OP_sigmoid, y)); break;
  case 2: keep(r, made(r, p, x.most * 2 * (double)k, -1)); break;
  default: break;
  }
  return made(r, y, x.most * 64, -1);
}

static struct item random_convolution(struct generator *r, struct item x) {
  static const int channels[] = {16, 16, 32, 3, 5, 1};
  struct graph *g = r->g;
  if (shape(&x)->rank != 4) return x;
  const int64_t *d = shape(&x)->dim;
  int64_t groups = roll(r, 4) ? 1 : d[1] % 4 == 0 ? 4 : d[1] % 3 == 0 ? 3 : 1;
  int64_t oc = groups > 1 ? groups * (1 + roll(r, 3)) : channels[roll(r, 6)];
  int64_t kh = 1 + 2 * roll(r, 2), kw = roll(r, 4) ? kh : 1, pad = kh > 1 ? roll(r, 3) : 0;
  int64_t stride = 1 + (roll(r, 3) == 0), dil = 1 + (roll(r, 4) == 0);
  if (dil * (kh - 1) + 1 > d[2] + 2 * pad || dil * (kw - 1) + 1 > d[3] + 2 * pad) return x;
  if (d[0] * oc * (d[2] + 2 * pad) * (d[3] + 2 * pad) > 2 * r->limit) return x;
  struct item w = param(r, shape_of(4, oc, d[1] / groups, kh, kw));
  struct attr a = {.n = 7, .i = {stride, stride, pad, pad, dil, dil, groups}};
  struct node *y = g_conv(g, OP_conv2d, x.node, w.node, &a, NULL);
  return made(r, y, x.most * w.most * (double)(d[1] / groups * kh * kw),
              exact(&x) ? x.fraction + w.fraction : -1);
}

static struct item random_pool(struct generator *r, struct item x) {
  if (shape(&x)->rank != 4) return x;
  int64_t size = 2 + roll(r, 2), stride = 1 + roll(r, 2), pad = roll(r, 2);
  const int64_t *d = shape(&x)->dim;
  if (size > d[2] + 2 * pad || size > d[3] + 2 * pad) return x;
  struct attr a = {.n = 6, .i = {size, size, stride, stride, pad, pad}};
  bool maximum = exact(&x) && roll(r, 2);
  struct node *y = graph_node(r->g, maximum ? OP_max_pool2d : OP_avg_pool2d, &x.node, 1, &a, NULL);
  return made(r, y, x.most, maximum ? x.fraction : -1);
}

// Rows picked by integers of the pool, brought into the axis from either end.
static struct item random_picks(struct generator *r, struct item x) {
  struct graph *g = r->g;
  struct item i = r->integers.data[roll(r, r->integers.len)];
  const struct shape *s = shape(&x);
  if (s->rank == 0 || s->rank + shape(&i)->rank > 5) return x;
  int axis = roll(r, s->rank);
  int64_t rows = s->dim[axis];
  if (shape_count(s) / rows * shape_count(shape(&i)) > r->limit) return x;
  struct node *at = g_binary(g, OP_max, i.node, g_full_like(g, i.node, -(double)rows));
  at = g_binary(g, OP_min, at, g_full_like(g, i.node, (double)rows - 1));
  struct attr a = {.n = 1, .i = {axis}};
  struct node *y = graph_node(g, OP_gather, (struct node *[]){x.node, at}, 2, &a, NULL);
  return made(r, y, x.most, x.fraction);
}

// Batch norm with a shift off every grid, then relu: a kink where nothing has a reason to lie.
static struct item random_norm(struct generator *r, struct item x) {
  struct graph *g = r->g;
  if (shape(&x)->rank != 4 && shape(&x)->rank != 2) return x;
  int axes[] = {0, 2, 3}, n = shape(&x)->rank == 4 ? 3 : 1, channel = 1;
  const struct shape *s = shape(&x);
  struct node *mu = g_reduce(g, OP_mean, x.node, axes, n),
              *v = g_reduce(g, OP_var, x.node, axes, n);
  struct node *scale = g_unary(g, OP_rsqrt, g_binary(g, OP_add, v, g_constant(g, BT_F32, 0.1)));
  struct item w = param(r, shape_of(1, s->dim[1])), b = param(r, shape_of(1, s->dim[1]));
  struct node *shift =
      g_binary(g, OP_add, g_scale(g, b.node, 0.7310585), g_constant(g, BT_F32, 0.0137));
  struct node *y = g_binary(g, OP_sub, x.node, g_broadcast(g, mu, s, &channel));
  y = g_binary(g, OP_mul, y, g_broadcast(g, scale, s, &channel));
  y = g_binary(g, OP_mul, y, g_broadcast(g, w.node, s, &channel));
  y = g_binary(g, OP_add, y, g_broadcast(g, shift, s, &channel));
  if (roll(r, 2) == 0) {
    struct tensor_type t = {BT_F32, mu->type.shape};
    const char *state = name(r, "running");
    struct node *old = g_leaf(g, OP_state, state, &t);
    graph_update(g, state,
                 g_binary(g, OP_add, g_scale(g, old, 0.9), g_scale(g, roll(r, 2) ? mu : v, 0.1)));
  }
  return made(r, roll(r, 3) ? g_unary(g, OP_relu, y) : y, 8, -1);
}

// ---- the graph --------------------------------------------------------------------------------

static struct item random_item(struct generator *r) {
  if (r->layers && roll(r, 2)) return random_layer(r, pick_rank(r, 2));
  switch (roll(r, 24)) {
  case 0:
  case 1: return random_function(r, pick(r));
  case 2: return random_kink(r);
  case 3:
  case 4: return random_reduction(r, pick(r));
  case 5: return random_centred(r, pick(r));
  case 6: return random_softmax(r);
  case 7: return random_broadcast(r, pick(r));
  case 8: return random_transpose(r, pick(r));
  case 9: return random_reshape(r, pick(r));
  case 10: return random_window(r, pick(r));
  case 11: return random_concat(r, pick(r));
  case 12: return random_diagonal(r, pick(r));
  case 13:
  case 14: return random_choice(r, pick(r));
  case 15: return random_integer(r);
  case 16: return random_product(r, pick_rank(r, 2 + roll(r, 2)));
  case 17:
  case 18: return random_convolution(r, pick_rank(r, 4));
  case 19: return random_pool(r, pick_rank(r, 4));
  case 20: return random_norm(r, pick_rank(r, roll(r, 3) ? 4 : 2));
  case 21: return random_picks(r, pick(r));
  default: return random_binary(r, pick(r));
  }
}

static struct node *random_loss(struct generator *r) {
  struct graph *g = r->g;
  struct node *loss = g_constant(g, BT_F32, 0);
  for (int i = 0; i < 4; i++) {
    struct item x = r->reals.data[r->reals.len - 1 - roll(r, r->reals.len / 2)];
    int all[] = {0, 1, 2, 3, 4, 5};
    struct node *square = g_binary(g, OP_mul, x.node, x.node);
    loss = g_binary(g, OP_add, loss,
                    g_reduce(g, roll(r, 2) ? OP_mean : OP_sum, roll(r, 2) ? square : x.node, all,
                             shape(&x)->rank));
  }
  return loss;
}

static void output(struct generator *r, struct node *n) {
  graph_output(r->g, str_printf(r->arena, "out%d", r->g->outputs.len), BT_OUTPUT_VALUE, n);
}

// New value of w from its gradient: plain, with momentum, or through another parameter.
static void random_update(struct generator *r, struct node *w, struct node *dw) {
  struct graph *g = r->g;
  struct node *step = dw, *old = w;
  if (roll(r, 2)) {
    const char *state = name(r, "velocity");
    struct node *v = g_leaf(g, OP_state, state, &w->type);
    step = g_binary(g, OP_add, g_scale(g, v, 0.9), dw);
    graph_update(g, state, step);
  }
  if (roll(r, 4) == 0)
    for (int i = 0; i < r->trained.len; i++)
      if (shape_eq(&r->trained.data[i]->type.shape, &w->type.shape)) old = r->trained.data[i];
  if (roll(r, 4) == 0) { // decay by the norm of it all
    int all[] = {0, 1, 2, 3, 4, 5};
    struct node *norm = g_reduce(g, OP_sum, g_binary(g, OP_mul, w, w), all, w->type.shape.rank);
    norm = g_binary(g, OP_div, norm, g_binary(g, OP_add, norm, g_constant(g, BT_F32, 1)));
    step = g_binary(g, OP_mul, step, norm);
  }
  struct node *next = g_binary(g, OP_sub, old, g_scale(g, step, 0.125));
  int rank = w->type.shape.rank;
  if (rank == 2 && w->type.shape.dim[0] == w->type.shape.dim[1] && roll(r, 2))
    next = g_transpose(g, next, (int[]){1, 0});
  graph_update(g, w->attr.s, next);
  if (roll(r, 6) == 0) output(r, next);
}

static void finish(struct generator *r) {
  struct graph *g = r->g;
  struct node *loss = random_loss(r), *d[64];
  int n = r->trained.len;
  expect(n <= 63, "%d parameters", n);
  struct node *wrt[64];
  for (int i = 0; i < n; i++) wrt[i] = r->trained.data[i];
  wrt[n] = r->reals.data[0].node;
  graph_gradients(g, loss, NULL, wrt, n + 1, d);
  graph_output(g, "loss", BT_OUTPUT_LOSS, loss);
  for (int i = 0; i < n; i++) {
    if (d[i] == NULL) {
      if (roll(r, 3) == 0) graph_update(g, wrt[i]->attr.s, wrt[roll(r, 2) ? i : 0]);
      continue;
    }
    if (roll(r, 4))
      random_update(r, wrt[i], d[i]);
    else
      output(r, d[i]);
  }
  if (d[n] != NULL) output(r, d[n]);
  for (int i = 0; i < 4; i++) output(r, pick(r).node);
  output(r, r->integers.data[roll(r, r->integers.len)].node);
  output(r, r->flags.data[roll(r, r->flags.len)].node);
  output(r, roll(r, 2) ? wrt[0] : r->reals.data[0].node); // a leaf as it is
  if (roll(r, 4) == 0) output(r, g_constant(g, BT_F32, 0.5));
  if (roll(r, 2)) output(r, r->g->outputs.data[roll(r, r->g->outputs.len)].node); // once more
}

// Updates must keep the type; one through another tensor may not.
static void drop_mistyped(struct generator *r) {
  struct graph *g = r->g;
  int kept = 0;
  for (int i = 0; i < g->updates.len; i++) {
    bool fits_leaf = true;
    for (int j = 0; j < g->nodes.len; j++) {
      const struct node *leaf = g->nodes.data[j];
      if ((leaf->op == OP_param || leaf->op == OP_state) &&
          str_eq(leaf->attr.s, g->updates.data[i].name))
        fits_leaf = type_eq(&leaf->type, &g->updates.data[i].node->type);
    }
    if (fits_leaf) g->updates.data[kept++] = g->updates.data[i];
  }
  g->updates.len = kept;
}

struct graph *random_graph(struct btc *b, unsigned seed) {
  struct generator r = {.g = graph_new(b, "random"),
                        .arena = b->arena,
                        .seed = seed,
                        .state = seed * 0x9e3779b97f4a7c15u + 1};
  r.limit = roll(&r, 5) ? SMALL : LARGE;
  r.layers = seed % 3 == 2;
  begin(&r);
  for (int i = 0, steps = 6 + roll(&r, 20); i < steps; i++) keep(&r, random_item(&r));
  finish(&r);
  drop_mistyped(&r);
  return r.g;
}
