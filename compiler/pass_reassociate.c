// pass_reassociate.c: products of several matrices in the order that costs least.
//
// (X'X) V and X'(X V) are equal, and with X: n x d and V: d x m they take 2nd² + 2d²m or 4ndm
// operations. A chain is a product and what it multiplies, as far as those are products that
// nothing else wants (one that is used elsewhere is computed anyway). Its best order is found by
// dynamic programming over runs of factors (Cormen et al., Introduction to Algorithms,
// "Matrix-chain multiplication"), and taken where it is cheaper than the one written.
#include <math.h>

#include "passes.h"

enum { LONGEST_CHAIN = 12 };

struct link {
  const struct node *node; // of the graph that is read
  bool turned;
  int64_t rows, columns;
};
struct chain {
  const int *uses;
  int n;
  struct link link[LONGEST_CHAIN];
  double cost; // as written, in multiplications of one matrix of a batch
};
struct order { // of the links from i to j
  double cost;
  int split; // the first link of the right part
};
typedef struct order orders[LONGEST_CHAIN][LONGEST_CHAIN];

static int64_t last(const struct node *n, int from_end) {
  return n->type.shape.dim[n->type.shape.rank - from_end];
}

static double cost_of(const struct node *n) {
  double inner = (double)last(n->in[0], n->attr.i[MATMUL_TA] ? 2 : 1);
  return (double)last(n, 2) * (double)last(n, 1) * inner;
}

static void add_link(struct chain *c, const struct node *n, bool turned) {
  c->link[c->n++] = (struct link){n, turned, last(n, turned ? 1 : 2), last(n, turned ? 2 : 1)};
}

static void add_product(struct chain *c, const struct node *n, bool turned, int room);

// An operand: taken apart where it is a product with no other user. `room`: links that may be
// added.
static void add_operand(struct chain *c, const struct node *n, bool turned, int room) {
  if (n->op == OP_matmul && c->uses[n->id] == 1 && room >= 2)
    add_product(c, n, turned, room);
  else
    add_link(c, n, turned);
}

// (P Q)' = Q'P'
static void add_product(struct chain *c, const struct node *n, bool turned, int room) {
  int first = turned ? 1 : 0, before = c->n;
  static const int flag[] = {MATMUL_TA, MATMUL_TB};
  c->cost += cost_of(n);
  add_operand(c, n->in[first], turned ^ (n->attr.i[flag[first]] != 0), room - 1);
  room -= c->n - before;
  add_operand(c, n->in[1 - first], turned ^ (n->attr.i[flag[1 - first]] != 0), room);
}

static void best_orders(const struct chain *c, orders best) {
  for (int i = 0; i < c->n; i++) best[i][i] = (struct order){0};
  for (int length = 2; length <= c->n; length++)
    for (int i = 0; i + length <= c->n; i++) {
      int j = i + length - 1;
      best[i][j].cost = INFINITY;
      for (int split = i + 1; split <= j; split++) {
        double here =
            (double)c->link[i].rows * (double)c->link[split].rows * (double)c->link[j].columns;
        double cost = best[i][split - 1].cost + best[split][j].cost + here;
        if (cost < best[i][j].cost) best[i][j] = (struct order){cost, split};
      }
    }
}

struct operand {
  struct node *node;
  bool turned;
};

static struct operand build(struct rewrite *r, const struct chain *c, orders best, int i, int j) {
  if (i == j) return (struct operand){r->map[c->link[i].node->id], c->link[i].turned};
  int split = best[i][j].split;
  struct operand x = build(r, c, best, i, split - 1), y = build(r, c, best, split, j);
  return (struct operand){g_matmul(r->to, x.node, y.node, x.turned, y.turned), false};
}

static struct node *reassociated(struct rewrite *r, const struct node *n) {
  if (n->op != OP_matmul) return NULL;
  struct chain c = {.uses = r->uses};
  orders best;
  add_product(&c, n, false, LONGEST_CHAIN);
  if (c.n < 3) return NULL;
  best_orders(&c, best);
  if (!(best[0][c.n - 1].cost < c.cost)) return NULL;
  return build(r, &c, best, 0, c.n - 1).node;
}

struct graph *pass_reassociate(const struct graph *g) {
  return pass_dce(graph_map(g, reassociated));
}
