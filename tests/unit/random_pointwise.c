// random_pointwise.c: steps element by element: arithmetic, functions, choices, integers, random draws.
#include "random_graph_internal.h"

// ---- arithmetic -------------------------------------------------------------------------------

static struct item constant_like(struct generator *r, const struct item *x) {
  static const double values[] = {0, 1, -1, 2, 0.5, 3, -0.25};
  double v = values[roll(r, 7)];
  return (struct item){g_full_like(r->g, x->node, v), fabs(v), 2};
}

// Another value of x's shape: of the pool, a stretched vector or scalar, or x itself.
struct item random_pick_like(struct generator *r, struct item x) {
  if (roll(r, 5) == 0) return constant_like(r, &x);
  for (int tries = 0; tries < 30; tries++) {
    struct item y = random_pick(r);
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

static struct item arithmetic(struct generator *r, struct item x) {
  struct item y = random_pick_like(r, x);
  struct graph *g = r->g;
  switch (roll(r, 6)) {
  case 0: return random_made(r, g_binary(g, OP_sub, x.node, y.node), x.most + y.most, finer(&x, &y));
  case 1:
  case 2:
    return random_made(r, g_binary(g, OP_mul, x.node, y.node), x.most * y.most,
                exact(&x) && exact(&y) ? x.fraction + y.fraction : -1);
  case 3: {
    struct node *square = g_binary(g, OP_mul, y.node, y.node);
    struct node *above = g_binary(g, OP_add, square, g_constant(g, BT_F32, 0.5));
    return random_made(r, g_binary(g, OP_div, x.node, above), 2 * x.most, -1);
  }
  case 4:
    if (!exact(&x) || !exact(&y)) break;
    return random_made(r, g_binary(g, roll(r, 2) ? OP_min : OP_max, x.node, y.node), fmax(x.most, y.most),
                finer(&x, &y));
  default: break;
  }
  return random_made(r, g_binary(g, OP_add, x.node, y.node), x.most + y.most, finer(&x, &y));
}

// x² + above
static struct node *positive(struct generator *r, struct node *x, double above) {
  struct graph *g = r->g;
  return g_binary(g, OP_add, g_binary(g, OP_mul, x, x), g_constant(g, x->type.dtype, above));
}

static struct item bounded(struct generator *r, struct item x) {
  static const enum op ops[] = {OP_tanh, OP_sigmoid, OP_sin, OP_cos, OP_erf};
  if (x.most > 16) return random_made(r, g_unary(r->g, OP_neg, x.node), x.most, x.fraction);
  return random_made(r, g_unary(r->g, ops[roll(r, 5)], x.node), 1, -1);
}

static struct item root(struct generator *r, struct item x) {
  static const enum op ops[] = {OP_sqrt, OP_rsqrt, OP_log};
  return random_made(r, g_unary(r->g, ops[roll(r, 3)], positive(r, x.node, 0.25)), fmax(x.most + 1, 2), -1);
}

static struct item exponential(struct generator *r, struct item x) {
  if (x.most > 4) return bounded(r, x);
  return random_made(r, g_unary(r->g, OP_exp, x.node), exp(x.most), -1);
}

// x (1 + erf(x / √2)) / 2, or log(1 + eˣ): no kink.
static struct item smooth_relu(struct generator *r, struct item x) {
  struct graph *g = r->g;
  if (x.most > 32 || roll(r, 2)) return random_made(r, g_unary(g, OP_softplus, x.node), x.most + 1, -1);
  struct node *half = g_binary(g, OP_add, g_unary(g, OP_erf, g_scale(g, x.node, M_SQRT1_2)), g_constant(g, BT_F32, 1));
  return random_made(r, g_scale(g, g_binary(g, OP_mul, x.node, half), 0.5), x.most, -1);
}

static struct item power(struct generator *r, struct item x) {
  static const double exponents[] = {2, 3, 4, -1, -2, 0.5, -0.5, 1.5, 1, 0};
  struct graph *g = r->g;
  if (x.most > 3) return root(r, x);
  struct item y = random_pick_like(r, x);
  double e = exponents[roll(r, 10)];
  bool varies = y.most <= 2 && roll(r, 3) == 0;
  struct node *exponent = varies ? y.node : g_full_like(g, x.node, e);
  double most = pow(x.most * x.most + 2, fmax(2, fabs(e)));
  return random_made(r, g_binary(g, OP_pow, positive(r, x.node, 0.5), exponent), most, -1);
}

static struct item sign(struct generator *r, struct item x) {
  return random_made(r, g_unary(r->g, roll(r, 2) ? OP_neg : OP_stop_gradient, x.node), x.most, x.fraction);
}

// What has a jump or a kink, of an exact value.
static struct item kink(struct generator *r, struct item x) {
  struct graph *g = r->g;
  switch (roll(r, 5)) {
  case 0: return random_made(r, g_unary(g, OP_abs, x.node), x.most, x.fraction);
  case 1: return random_made(r, g_unary(g, OP_floor, x.node), x.most + 1, 0);
  case 2: // leaky
    return random_made(r, g_where(g, g_binary(g, OP_lt, g_full_like(g, x.node, 0), x.node), x.node, g_scale(g, x.node, 0.25)),
                       x.most, x.fraction + 2);
  case 3: // x mod 1.5
    if (!(x.fraction >= 1)) break;
    return random_made(r, g_binary(g, OP_mod, x.node, g_full_like(g, x.node, roll(r, 2) ? 1.5 : -2)), 2, x.fraction);
  default: break;
  }
  return random_made(r, g_unary(g, OP_relu, x.node), x.most, x.fraction);
}

// A few ops in double, and back.
static struct item in_double(struct generator *r, struct item x) {
  struct graph *g = r->g;
  struct node *d = g_cast(g, x.node, BT_F64), *y = d;
  double most = x.most;
  int rank = shape(&x)->rank, axes[MAX_RANK], n = random_axes(r, rank, axes);
  if (roll(r, 2)) y = g_binary(g, OP_mul, y, g_unary(g, OP_sigmoid, d));
  if (roll(r, 2)) y = g_binary(g, OP_add, y, g_full_like(g, y, 0.375)), most += 1;
  if (n > 0 && roll(r, 2)) {
    struct node *mean = g_reduce(g, OP_mean, y, axes, n);
    y = g_binary(g, OP_sub, y, random_stretched(r, mean, shape(&x), axes, n)), most *= 2;
  }
  if (rank == 2 && shape(&x)->dim[0] * shape(&x)->dim[0] <= r->limit && roll(r, 2)) {
    most *= most * (double)shape(&x)->dim[1];
    y = g_matmul(g, y, roll(r, 2) ? y : d, false, true);
  }
  return random_made(r, g_cast(g, y, BT_F32), most, -1);
}

// ---- random numbers ---------------------------------------------------------------------------

// Keys of a site of its own, as the elaborator makes them.
struct site { struct node *seed, *stream; };
static struct site new_site(struct generator *r) {
  struct graph *g = r->g;
  struct tensor_type key = {.dtype = BT_I64};
  struct node *seed = g_input(g, "seed", BT_INPUT_ARRAY, 0, 0, &key);
  struct node *stream = g_input(g, "stream", BT_INPUT_ARRAY, 0, 0, &key);
  return (struct site){seed, g_binary(g, OP_add, stream, g_constant(g, BT_I64, 0x1p32 * r->sites++))};
}

static struct node *draw(struct generator *r, enum op op, const struct shape *s) {
  struct graph *g = r->g;
  struct site site = new_site(r);
  struct shape flat = shape_of(1, shape_count(s));
  struct node *element = s->rank ? g_reshape(g, g_iota(g, BT_I32, &flat, 0), s) : g_constant(g, BT_I32, 0);
  struct node *in[] = {element, g_broadcast(g, site.seed, s, NULL), g_broadcast(g, site.stream, s, NULL)};
  return graph_node(g, op, in, 3, NULL, NULL);
}

static struct item draws(struct generator *r, struct item x) {
  struct graph *g = r->g;
  bool normal = roll(r, 2);
  enum op op = normal ? OP_random_normal : OP_random_uniform;
  double most = normal ? 5 : 1;
  struct node *y = draw(r, op, shape(&x));
  if (roll(r, 2)) { // of two sites
    static const enum op ops[] = {OP_add, OP_sub, OP_mul};
    y = g_binary(g, ops[roll(r, 3)], y, draw(r, op, shape(&x)));
    most = most + most * most;
  }
  if (roll(r, 2)) y = g_binary(g, OP_add, g_scale(g, y, 0.125), x.node), most += x.most;
  return random_made(r, y, most, -1);
}

// A draw is the same 24 bits wherever it is made, so it may be compared.
static struct item dropout(struct generator *r, struct item x) {
  struct graph *g = r->g;
  struct node *dropped = g_binary(g, OP_lt, draw(r, OP_random_uniform, shape(&x)), g_full(g, &x.node->type, 0.3));
  return random_made(r, g_where(g, dropped, g_full_like(g, x.node, 0), g_scale(g, x.node, 1 / 0.7)), 1.5 * x.most, -1);
}

static struct item beta(struct generator *r, struct item x) {
  struct graph *g = r->g;
  if (shape_count(shape(&x)) > SMALL) return x;
  struct site site = new_site(r);
  struct node *a = g_binary(g, OP_add, g_unary(g, OP_abs, x.node), g_constant(g, BT_F32, 0.5));
  struct node *b = g_full_like(g, x.node, 1.5), *in[] = {site.seed, site.stream, a, b};
  return random_made(r, graph_node(g, OP_random_beta, in, 4, NULL, NULL), 1, -1);
}

// Rows in random order.
static struct item shuffled(struct generator *r, struct item x) {
  if (shape(&x)->rank == 0) return x;
  int axis = roll(r, shape(&x)->rank);
  struct shape s = shape_of(1, shape(&x)->dim[axis]);
  struct site site = new_site(r);
  struct node *order = graph_node(r->g, OP_random_permutation, (struct node *[]){site.seed, site.stream}, 2, NULL,
                                  &(struct tensor_type){BT_I32, s});
  if (roll(r, 2)) vec_push(r->arena, &r->integers, ((struct item){order, (double)s.dim[0], 0}));
  struct attr a = {.n = 1, .i = {axis}};
  x.node = graph_node(r->g, OP_gather, (struct node *[]){x.node, order}, 2, &a, NULL);
  return x;
}

// ---- masks and integers -----------------------------------------------------------------------

struct node *random_mask(struct generator *r, const struct shape *s) {
  static const enum op ops[] = {OP_lt, OP_le, OP_eq, OP_ne};
  for (int tries = 0; tries < 30; tries++) {
    struct item x = random_pick_exact(r);
    if (!shape_eq(shape(&x), s)) continue;
    struct item y = random_pick_like(r, x);
    if (!exact(&y)) continue;
    return g_binary(r->g, ops[roll(r, 4)], x.node, y.node);
  }
  for (int i = 0; i < r->flags.len; i++)
    if (shape_eq(shape(&r->flags.data[i]), s)) return r->flags.data[i].node;
  struct node *index = g_iota(r->g, BT_I32, s, roll(r, s->rank));
  return g_binary(r->g, OP_lt, index, g_constant(r->g, BT_I32, 2));
}

static struct item choice(struct generator *r, struct item x) {
  if (shape(&x)->rank == 0) return x;
  struct item y = random_pick_like(r, x);
  struct node *mask = random_mask(r, shape(&x));
  if (roll(r, 3) == 0) {
    struct node *other = random_mask(r, shape(&x));
    mask = g_binary(r->g, roll(r, 2) ? OP_and : OP_or, mask, g_unary(r->g, OP_not, other));
  }
  struct item flag = {mask, 1, 0};
  vec_push(r->arena, &r->flags, flag);
  struct node *n =
      roll(r, 2) ? g_where(r->g, mask, x.node, y.node) : g_where(r->g, mask, y.node, x.node);
  return random_made(r, n, fmax(x.most, y.most), finer(&x, &y));
}

static struct item integer(struct generator *r, struct item unused) {
  (void)unused;
  struct graph *g = r->g;
  struct item x = random_pick_integer(r);
  int axes[MAX_RANK], n = random_axes(r, shape(&x)->rank, axes);
  switch (roll(r, 6)) {
  case 5: { // by something positive
    struct node *y = g_full_like(g, x.node, 1 + roll(r, 4));
    x = (struct item){g_binary(g, roll(r, 2) ? OP_div : OP_mod, x.node, y), fmax(x.most, 4), 0};
    break;
  }
  case 0: {
    struct item y = random_pick_exact(r);
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
  return random_made(r, g_cast(g, x.node, BT_F32), x.most, 0);
}

// Integers become numbers by one-hot rows, too.
static struct item one_hot(struct generator *r, struct item x) {
  (void)x;
  struct graph *g = r->g;
  struct item i = random_pick_integer(r);
  struct shape s = *shape(&i);
  if (s.rank > 3 || shape_count(&s) > r->limit / 5) return x;
  int kept[MAX_RANK] = {0, 1, 2, 3};
  s.dim[s.rank++] = 2 + roll(r, 4);
  struct node *class = g_iota(g, i.node->type.dtype, &s, s.rank - 1);
  struct node *hot = g_binary(g, OP_eq, g_broadcast(g, i.node, &s, kept), class);
  return random_made(r, g_cast(g, hot, BT_F32), 1, 0);
}

const struct random_step random_pointwise[] = {
    {5, ANY, arithmetic}, {1, ANY, bounded}, {1, ANY, root},    {1, ANY, exponential}, {1, ANY, smooth_relu},
    {1, ANY, power},      {1, ANY, sign},    {2, EXACT, kink},  {1, ANY, in_double},   {1, ANY, draws},
    {1, ANY, dropout},    {1, EXACT, beta},  {1, ANY, shuffled}, {3, ANY, choice},     {2, ANY, integer},
    {1, ANY, one_hot},    {0},
};
