// pass_expand.c: mean and variance in terms of sums.
//
//   mean(x)  =  Σx · (1/m)                        m: elements folded into one
//   var(x)   =  Σ(x − mean(x))² · (1/m)           biased
//
// They stay whole until the graph is differentiated, because their own gradients are shorter than
// those of the sums. Afterwards nothing below this pass needs to know them. The variance takes its
// mean from the graph: where the program computes the mean as well, both are one node. The variance
// is deliberately not Σx²/m − mean²: with mean ≫ deviation that form loses every digit.
#include "passes.h"

static void axes_of(const struct node *n, int *axes) {
  for (int i = 0; i < n->attr.n; i++) axes[i] = (int)n->attr.i[i];
}

static double elements_folded(const struct node *n) {
  double m = 1;
  for (int i = 0; i < n->attr.n; i++) m *= (double)n->in[0]->type.shape.dim[n->attr.i[i]];
  return m;
}

static struct node *expand_mean(struct graph *g, struct node *x, const struct node *n) {
  int axes[MAX_RANK];
  axes_of(n, axes);
  return g_scale(g, g_reduce(g, OP_sum, x, axes, n->attr.n), 1 / elements_folded(n));
}

// Stretches a value reduced over n's axes back to x's shape.
static struct node *unreduce(struct graph *g, struct node *reduced, struct node *x,
                             const struct node *n) {
  bool folded[MAX_RANK] = {false};
  for (int i = 0; i < n->attr.n; i++) folded[n->attr.i[i]] = true;
  int kept[MAX_RANK], rank = 0;
  for (int i = 0; i < x->type.shape.rank; i++)
    if (!folded[i]) kept[rank++] = i;
  return g_broadcast(g, reduced, &x->type.shape, kept);
}

static struct node *expand_node(struct rewrite *r, const struct node *n) {
  if (n->op != OP_mean && n->op != OP_var) return NULL;
  struct graph *g = r->to;
  struct node *x = r->map[n->in[0]->id], *mean = expand_mean(g, x, n);
  if (n->op == OP_mean) return mean;
  struct node *centred = g_binary(g, OP_sub, x, unreduce(g, mean, x, n));
  return expand_mean(g, g_binary(g, OP_mul, centred, centred), n);
}

struct graph *pass_expand(const struct graph *g) {
  return graph_map(g, expand_node);
}
