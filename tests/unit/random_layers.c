// random_layers.c: steps that multiply: products of matrices, convolutions, pools, normalisations, solutions.
#include "random_graph_internal.h"

// ---- products, convolutions, pools ------------------------------------------------------------

static struct item product(struct generator *r, struct item x) {
  struct graph *g = r->g;
  int rank = shape(&x)->rank;
  if (rank < 2 || rank > 3) return x;
  bool tx = roll(r, 2), ty = roll(r, 2);
  int64_t k = shape(&x)->dim[rank - (tx ? 2 : 1)];
  struct item y = roll(r, 2) ? random_pick_like(r, x) : x;
  if (y.node == x.node && roll(r, 2) == 0)
    ty = !tx; // x xᵀ
  else if (rank == 2 && roll(r, 3) > 0) {
    int64_t n = 1 + roll(r, 18);
    y = random_param(r, ty ? shape_of(2, n, k) : shape_of(2, k, n));
  } else
    ty = !tx;
  if (shape(&x)->dim[rank - (tx ? 1 : 2)] * shape(&y)->dim[rank - (ty ? 2 : 1)] > r->limit)
    return x;
  return random_made(r, g_matmul(g, x.node, y.node, tx, ty), x.most * y.most * (double)k,
              exact(&x) && exact(&y) ? x.fraction + y.fraction : -1);
}

// Something to meet a product: a vector along an axis, another product, a sum of its own, a mask.
static struct node *companion(struct generator *r, struct node *p, struct node *x) {
  struct graph *g = r->g;
  struct shape s = p->type.shape;
  int axis = roll(r, 2), folded[] = {axis};
  switch (roll(r, 6)) {
  case 0: return random_param(r, s).node;
  case 1: return g_matmul(g, x, random_param(r, shape_of(2, x->type.shape.dim[1], s.dim[1])).node, false, false);
  case 2:
    return g_cast(g, g_binary(g, OP_eq, g_iota(g, BT_I32, &s, 0), g_iota(g, BT_I32, &s, 1)), BT_F32);
  case 3: return g_broadcast(g, random_param(r, shape_of(1, s.dim[axis])).node, &s, folded);
  default: {
    struct node *other = roll(r, 2) ? p : g_binary(g, OP_mul, p, random_param(r, s).node);
    return random_stretched(r, g_reduce(g, OP_mean, other, folded, 1), &s, folded, 1);
  }
  }
}

// A product whose result meets others of its shape, wide now and then.
static struct item layer(struct generator *r, struct item x) {
  static const enum op ops[] = {OP_add, OP_sub, OP_mul};
  struct graph *g = r->g;
  if (shape(&x)->rank != 2) return x;
  int64_t m = shape(&x)->dim[0], k = shape(&x)->dim[1];
  int64_t n = roll(r, 2) ? 1 + roll(r, 40) : 256 + roll(r, 60);
  if (m * n > 2 * r->limit || k * n > 2 * r->limit) return x;
  struct node *p = g_matmul(g, x.node, random_param(r, shape_of(2, k, n)).node, false, false), *y = p;
  y = g_scale(g, y, 1.0 / (double)k);
  if (roll(r, 3) == 0) { // orthogonal to something, column by column
    struct node *a = random_param(r, p->type.shape).node;
    struct node *mean = g_reduce(g, OP_mean, g_binary(g, OP_mul, y, a), (int[]){0}, 1);
    y = g_binary(g, OP_sub, y, g_binary(g, OP_mul, a, g_broadcast(g, mean, &p->type.shape, (int[]){1})));
  }
  for (int i = roll(r, 4); i > 0; i--) y = g_binary(g, ops[roll(r, 3)], y, companion(r, p, x.node));
  switch (roll(r, 4)) {
  case 0: y = g_unary(g, OP_tanh, y); break;
  case 1: y = g_binary(g, OP_mul, y, g_unary(g, OP_sigmoid, y)); break;
  case 2: random_keep(r, random_made(r, p, x.most * 2 * (double)k, -1)); break;
  default: break;
  }
  return random_made(r, y, x.most * 64, -1);
}

struct window { int64_t size[2], stride[2], pad[2], dilation[2]; }; // down and right
static struct window random_window(struct generator *r, int64_t most_pad) {
  struct window w;
  for (int i = 0; i < 2; i++) {
    bool same = i == 1 && roll(r, 3);
    w.size[i] = same ? w.size[0] : 1 + roll(r, 3);
    w.stride[i] = same ? w.stride[0] : 1 + (roll(r, 3) == 0);
    w.pad[i] = same ? w.pad[0] : w.size[i] > 1 ? roll(r, (int)most_pad + 1) : 0;
    w.dilation[i] = same ? w.dilation[0] : 1 + (roll(r, 4) == 0);
  }
  return w;
}
static bool window_fits(const struct window *w, const struct shape *s) {
  for (int i = 0; i < 2; i++)
    if (w->dilation[i] * (w->size[i] - 1) + 1 > s->dim[2 + i] + 2 * w->pad[i]) return false;
  return true;
}

// One group, several, or one for each channel.
static int64_t random_groups(struct generator *r, int64_t channels) {
  switch (roll(r, 6)) {
  case 0: return channels;
  case 1: return channels % 4 == 0 ? 4 : channels % 3 == 0 ? 3 : 1;
  default: return 1;
  }
}

static struct item convolution(struct generator *r, struct item x) {
  static const int channels[] = {16, 16, 32, 3, 5, 1};
  struct graph *g = r->g;
  if (shape(&x)->rank != 4) return x;
  const int64_t *d = shape(&x)->dim;
  int64_t groups = random_groups(r, d[1]), oc = groups > 1 ? groups * (1 + roll(r, 2)) : channels[roll(r, 6)];
  struct window w = random_window(r, 2);
  if (!window_fits(&w, shape(&x))) return x;
  if (d[0] * oc * (d[2] + 2 * w.pad[0]) * (d[3] + 2 * w.pad[1]) > 2 * r->limit) return x;
  struct item weight = random_param(r, shape_of(4, oc, d[1] / groups, w.size[0], w.size[1]));
  struct attr a = {.n = 7, .i = {w.stride[0], w.stride[1], w.pad[0], w.pad[1], w.dilation[0], w.dilation[1], groups}};
  struct node *y = g_conv(g, OP_conv2d, x.node, weight.node, &a, NULL);
  return random_made(r, y, x.most * weight.most * (double)(d[1] / groups * w.size[0] * w.size[1]),
                     exact(&x) ? x.fraction + weight.fraction : -1);
}

static struct item pooled(struct generator *r, struct item x) {
  if (shape(&x)->rank != 4) return x;
  struct window w = random_window(r, 1);
  for (int i = 0; i < 2; i++) w.dilation[i] = 1;
  if (!window_fits(&w, shape(&x))) return x;
  struct attr a = {.n = 6, .i = {w.size[0], w.size[1], w.stride[0], w.stride[1], w.pad[0], w.pad[1]}};
  bool maximum = exact(&x) && roll(r, 2);
  struct node *y = graph_node(r->g, maximum ? OP_max_pool2d : OP_avg_pool2d, &x.node, 1, &a, NULL);
  return random_made(r, y, x.most, maximum ? x.fraction : -1);
}

// Batch norm with a shift off every grid, then relu: a kink where nothing has a reason to lie.
static struct item norm(struct generator *r, struct item x) {
  struct graph *g = r->g;
  if (shape(&x)->rank != 4 && shape(&x)->rank != 2) return x;
  int axes[] = {0, 2, 3}, n = shape(&x)->rank == 4 ? 3 : 1, channel = 1;
  const struct shape *s = shape(&x);
  struct node *mu = g_reduce(g, OP_mean, x.node, axes, n),
              *v = g_reduce(g, OP_var, x.node, axes, n);
  struct node *scale = g_unary(g, OP_rsqrt, g_binary(g, OP_add, v, g_constant(g, BT_F32, 0.1)));
  struct item w = random_param(r, shape_of(1, s->dim[1])), b = random_param(r, shape_of(1, s->dim[1]));
  struct node *shift =
      g_binary(g, OP_add, g_scale(g, b.node, 0.7310585), g_constant(g, BT_F32, 0.0137));
  struct node *y = g_binary(g, OP_sub, x.node, g_broadcast(g, mu, s, &channel));
  y = g_binary(g, OP_mul, y, g_broadcast(g, scale, s, &channel));
  y = g_binary(g, OP_mul, y, g_broadcast(g, w.node, s, &channel));
  y = g_binary(g, OP_add, y, g_broadcast(g, shift, s, &channel));
  if (roll(r, 2) == 0) {
    struct tensor_type t = {BT_F32, mu->type.shape};
    const char *state = random_name(r, "running");
    struct node *old = g_leaf(g, OP_state, state, &t);
    graph_update(g, state,
                 g_binary(g, OP_add, g_scale(g, old, 0.9), g_scale(g, roll(r, 2) ? mu : v, 0.1)));
  }
  return random_made(r, roll(r, 3) ? g_unary(g, OP_relu, y) : y, 8, -1);
}

// ---- contractions of any axes -----------------------------------------------------------------

// einsum: each axis of x is a batch axis, a row, or summed over; the other operand has the first and the last kind
// and a column, in any order; so has the result. As elab_einsum.c makes it.
enum { BATCH, ROW, SUM, ROLES };
struct roles { int n, perm[MAX_RANK], many[ROLES]; int64_t size[ROLES]; };

static struct roles random_roles(struct generator *r, const struct shape *s) {
  int role[MAX_RANK];
  struct roles roles = {.n = s->rank, .size = {1, 1, 1}};
  for (int i = 0; i < s->rank; i++) role[i] = roll(r, ROLES);
  for (int kind = 0, at = 0; kind < ROLES; kind++)
    for (int i = 0; i < s->rank; i++)
      if (role[i] == kind) roles.perm[at++] = i, roles.many[kind]++, roles.size[kind] *= s->dim[i];
  return roles;
}

static void shuffle(struct generator *r, int *order, int n) {
  for (int i = 0; i < n; i++) order[i] = i;
  for (int i = n - 1; i > 0; i--) {
    int k = roll(r, i + 1), other = order[i];
    order[i] = order[k], order[k] = other;
  }
}

// A parameter whose axes, brought into order, are those of `s`.
static struct item param_in_some_order(struct generator *r, const struct shape *s) {
  int order[MAX_RANK], back[MAX_RANK];
  struct shape lying = {.rank = s->rank};
  shuffle(r, order, s->rank);
  for (int i = 0; i < s->rank; i++) lying.dim[i] = s->dim[order[i]], back[order[i]] = i;
  struct item y = random_param(r, lying);
  y.node = g_transpose(r->g, y.node, back);
  return y;
}

static struct item contraction(struct generator *r, struct item x) {
  struct graph *g = r->g;
  const struct shape *s = shape(&x);
  if (s->rank < 2 || s->rank > 4) return x;
  struct roles roles = random_roles(r, s);
  int64_t batch = roles.size[BATCH], rows = roles.size[ROW], sum = roles.size[SUM], columns = 1 + roll(r, 6);
  if (batch * rows * columns > r->limit || batch * sum * columns > r->limit) return x;
  struct shape other = {0}, result = {0};
  for (int i = 0; i < s->rank; i++) {
    int64_t dim = s->dim[roles.perm[i]];
    if (i < roles.many[BATCH] || i >= s->rank - roles.many[SUM]) other.dim[other.rank++] = dim;
    if (i < s->rank - roles.many[SUM]) result.dim[result.rank++] = dim;
  }
  other.dim[other.rank++] = result.dim[result.rank++] = columns;
  struct item y = param_in_some_order(r, &other);
  struct shape left = shape_of(3, batch, rows, sum), right = shape_of(3, batch, sum, columns);
  struct node *a = g_reshape(g, g_transpose(g, x.node, roles.perm), &left), *b = g_reshape(g, y.node, &right);
  struct node *p = g_reshape(g, g_matmul(g, a, b, false, false), &result);
  int order[MAX_RANK];
  shuffle(r, order, result.rank);
  return random_made(r, g_transpose(g, p, order), x.most * y.most * (double)sum,
                     exact(&x) ? x.fraction + y.fraction : -1);
}

// ---- triangular matrices ----------------------------------------------------------------------

static struct node *eye_like(struct graph *g, const struct node *square) {
  const struct shape *s = &square->type.shape;
  struct node *row = g_iota(g, BT_I32, s, s->rank - 2), *column = g_iota(g, BT_I32, s, s->rank - 1);
  return g_cast(g, g_binary(g, OP_eq, row, column), BT_F32);
}

// x' x / n + 1 of bounded x has eigenvalues from 1 to 1 + d: it has a factor, and solutions do not grow. With
// ones for the diagonal they may, so what is beside it is made small.
static struct item solution(struct generator *r, struct item x) {
  struct graph *g = r->g;
  const struct shape *s = shape(&x);
  if (s->rank < 2 || s->rank > 3 || s->dim[s->rank - 1] > 40) return x;
  int64_t d = s->dim[s->rank - 1], n = s->dim[s->rank - 2];
  struct node *z = g_unary(g, OP_tanh, x.node), *gram = g_scale(g, g_matmul(g, z, z, true, false), 1 / (double)n);
  struct node *l = g_unary(g, OP_cholesky, g_binary(g, OP_add, gram, eye_like(g, gram)));
  if (roll(r, 4) == 0) return random_made(r, l, 1 + sqrt((double)d), -1);
  bool upper = roll(r, 2), ones = roll(r, 4) == 0;
  if (ones) l = g_scale(g, l, 0.25);
  int turn[] = {0, 1, 2}, last = s->rank - 1;
  turn[last] = last - 1, turn[last - 1] = last;
  struct node *b = g_transpose(g, z, turn);
  struct attr a = {.n = 3, .i = {upper, roll(r, 2), ones}};
  struct node *in[] = {upper ? g_transpose(g, l, turn) : l, b};
  return random_made(r, graph_node(g, OP_solve_triangular, in, 2, &a, NULL), ones ? 64 : sqrt((double)d), -1);
}

const struct random_step random_layers[] = {
    {2, 2, product}, {1, 3, product}, {1, 2, layer},       {4, 4, convolution}, {2, 4, pooled},
    {2, 4, norm},    {1, 2, norm},    {2, ANY, contraction}, {2, 2, solution},  {1, 3, solution}, {0},
};
