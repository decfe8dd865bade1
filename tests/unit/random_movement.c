// random_movement.c: steps that fold axes, stretch them, and put elements elsewhere.
#include "random_graph_internal.h"

// ---- reductions -------------------------------------------------------------------------------

int random_axes(struct generator *r, int rank, int *axes) {
  int n = 0;
  for (int i = 0; i < rank; i++)
    if (roll(r, 2)) axes[n++] = i;
  return n;
}

static struct item reduction(struct generator *r, struct item x) {
  int axes[MAX_RANK], n = random_axes(r, shape(&x)->rank, axes);
  double folded = 1;
  for (int i = 0; i < n; i++) folded *= (double)shape(&x)->dim[axes[i]];
  if (n == 0) return x;
  static const enum op sharp[] = {OP_reduce_max, OP_reduce_min};
  switch (roll(r, 5)) {
  case 0: return random_made(r, g_reduce(r->g, OP_mean, x.node, axes, n), x.most, -1);
  case 1: return random_made(r, g_reduce(r->g, OP_var, x.node, axes, n), x.most * x.most, -1);
  case 2:
    if (!exact(&x)) break;
    return random_made(r, g_reduce(r->g, sharp[roll(r, 2)], x.node, axes, n), x.most, x.fraction);
  default: break;
  }
  return random_made(r, g_reduce(r->g, OP_sum, x.node, axes, n), x.most * folded, x.fraction);
}

// y stretched back over the axes of `like` that are not in axes.
struct node *random_stretched(struct generator *r, struct node *y, const struct shape *to,
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

static struct item centred(struct generator *r, struct item x) {
  int axes[MAX_RANK], n = random_axes(r, shape(&x)->rank, axes);
  if (n == 0) return x;
  struct node *mean = g_reduce(r->g, OP_mean, x.node, axes, n);
  return random_made(r, g_binary(r->g, OP_sub, x.node, random_stretched(r, mean, shape(&x), axes, n)), 2 * x.most,
              -1);
}

// e to the difference from the largest, and its sum: log of the sum, or each one's part of it.
static struct item softmax(struct generator *r, struct item x) {
  struct graph *g = r->g;
  if (shape(&x)->rank == 0) return x;
  int last = shape(&x)->rank - 1, axis = roll(r, 3) ? last : roll(r, last + 1);
  struct node *top = g_reduce(g, OP_reduce_max, x.node, &axis, 1);
  struct node *e = g_unary(g, OP_exp, g_binary(g, OP_sub, x.node, random_stretched(r, top, shape(&x), &axis, 1)));
  struct node *sum = g_reduce(g, OP_sum, e, &axis, 1);
  if (roll(r, 2)) return random_made(r, g_binary(g, OP_add, top, g_unary(g, OP_log, sum)), x.most + 5, -1);
  return random_made(r, g_binary(g, OP_div, e, random_stretched(r, sum, shape(&x), &axis, 1)), 1, -1);
}

// ---- movement ---------------------------------------------------------------------------------

static struct item transposed(struct generator *r, struct item x) {
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

// Stretches x to a shape with one axis more, its own axes in any order.
static struct item broadcast(struct generator *r, struct item x) {
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
  return roll(r, 2) ? x : transposed(r, x);
}

// Takes the elements apart into 1 to 4 axes by dividing what is left.
static struct item reshaped(struct generator *r, struct item x) {
  struct shape to = {.rank = 1 + roll(r, 4)};
  int64_t left = shape_count(shape(&x));
  for (int i = 0; i < to.rank; i++) to.dim[i] = 1;
  for (int64_t p = 2; left > 1; p++)
    for (; left % p == 0; left /= p) to.dim[roll(r, to.rank)] *= p;
  x.node = g_reshape(r->g, x.node, &to);
  return x;
}

static struct item window(struct generator *r, struct item x) {
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

static struct item joined(struct generator *r, struct item x) {
  struct item y = random_pick_like(r, x);
  if (shape(&x)->rank == 0 || shape_count(shape(&x)) > r->limit / 3) return x;
  struct node *parts[3] = {x.node, y.node, roll(r, 2) ? x.node : y.node};
  return random_made(r, g_concat(r->g, parts, 2 + roll(r, 2), roll(r, shape(&x)->rank)),
              fmax(x.most, y.most), finer(&x, &y));
}

static struct item diagonal(struct generator *r, struct item x) {
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

// x on one side of a diagonal, a number on the other.
static struct item triangle(struct generator *r, struct item x) {
  struct graph *g = r->g;
  struct shape s = *shape(&x);
  if (s.rank < 2) return x;
  struct node *row = g_iota(g, BT_I32, &s, s.rank - 2), *column = g_iota(g, BT_I32, &s, s.rank - 1);
  row = g_binary(g, OP_add, row, g_constant(g, BT_I32, roll(r, 3) - 1));
  struct node *kept = roll(r, 2) ? g_binary(g, OP_le, column, row) : g_binary(g, OP_le, row, column);
  struct node *other = g_full_like(g, x.node, roll(r, 2) ? 0 : -3);
  return random_made(r, g_where(g, kept, x.node, other), fmax(x.most, 3), x.fraction);
}

// Rows picked by integers of the pool, brought into the axis from either end.
static struct item picks(struct generator *r, struct item x) {
  struct graph *g = r->g;
  struct item i = random_pick_integer(r);
  const struct shape *s = shape(&x);
  if (s->rank == 0 || s->rank + shape(&i)->rank > 5) return x;
  int axis = roll(r, s->rank);
  int64_t rows = s->dim[axis];
  if (shape_count(s) / rows * shape_count(shape(&i)) > r->limit) return x;
  struct node *at = g_binary(g, OP_max, i.node, g_full_like(g, i.node, -(double)rows));
  at = g_binary(g, OP_min, at, g_full_like(g, i.node, (double)rows - 1));
  struct attr a = {.n = 1, .i = {axis}};
  struct node *y = graph_node(g, OP_gather, (struct node *[]){x.node, at}, 2, &a, NULL);
  return random_made(r, y, x.most, x.fraction);
}

const struct random_step random_movement[] = {
    {3, ANY, reduction}, {1, ANY, centred}, {2, EXACT, softmax}, {1, ANY, broadcast}, {1, ANY, transposed}, {1, ANY, reshaped},
    {2, ANY, window},    {1, ANY, joined},  {1, ANY, diagonal},  {1, ANY, triangle},  {1, ANY, picks},      {0},
};
