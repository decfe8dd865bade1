// grad.c: reverse-mode differentiation on the graph.
//
// Walks the nodes that lie between `wrt` and `y` backwards. Each node's op turns the cotangent of its
// result into cotangents of its operands (op_rules.vjp); several that meet in one node are summed in
// the order in which its users are visited, which is the reverse of theirs in the graph. New nodes
// are appended to the same graph, under the place and address of the forward node.
#include "graph.h"

struct grad {
  struct graph *graph;
  const struct node *node;   // whose rule is running
  bool *depends;             // by node id: a float path leads from some wrt to it
  struct node **cotangent;   // by node id
};

struct graph *grad_graph(struct grad *g) { return g->graph; }

bool grad_wants(const struct grad *g, int operand) { return g->depends[g->node->in[operand]->id]; }

// Whether a rule has anybody to pass a cotangent on to. A value of wrt itself need not: then its op
// may well have no rule.
static bool passes_on(const struct grad *g, const struct node *n) {
  if (op_info(n->op)->gradient == NOGRAD) return false;
  for (int i = 0; i < n->n_in; i++)
    if (g->depends[n->in[i]->id]) return true;
  return false;
}

void grad_add(struct grad *g, int operand, struct node *cotangent) {
  const struct node *to = g->node->in[operand];
  if (!g->depends[to->id]) return;
  expect(type_eq(&to->type, &cotangent->type), "the gradient of %s gives operand %d %s instead of %s",
         op_info(g->node->op)->name, operand, type_text(g->graph->b->arena, &cotangent->type),
         type_text(g->graph->b->arena, &to->type));
  struct node **sum = &g->cotangent[to->id];
  *sum = *sum ? g_binary(g->graph, OP_add, *sum, cotangent) : cotangent;
}

// Nodes up to `last` whose float value depends on one of wrt through ops that have a gradient.
static bool *find_dependents(struct graph *g, int last, struct node *const *wrt, int n) {
  bool *depends = NEW_ARRAY(g->b->arena, bool, last + 1);
  for (int i = 0; i < n; i++)
    if (wrt[i]->id <= last && dtype_is_float(wrt[i]->type.dtype)) depends[wrt[i]->id] = true;
  for (int i = 0; i <= last; i++) {
    const struct node *node = g->nodes.data[i];
    if (op_info(node->op)->gradient == NOGRAD || !dtype_is_float(node->type.dtype)) continue;
    for (int k = 0; k < node->n_in && !depends[i]; k++) depends[i] = depends[node->in[k]->id];
  }
  return depends;
}

void graph_gradients(struct graph *g, struct node *y, struct node *seed, struct node *const *wrt, int n, struct node **out) {
  int last = y->id;
  struct grad grad = {g, NULL, find_dependents(g, last, wrt, n), NEW_ARRAY(g->b->arena, struct node *, last + 1)};
  struct loc loc = g->loc;
  const char *path = g->path;
  expect(seed || y->type.shape.rank == 0, "the gradient of %s needs a seed", type_text(g->b->arena, &y->type));
  grad.cotangent[last] = seed ? seed : g_constant(g, y->type.dtype, 1);
  for (int i = last; i >= 0; i--) {
    const struct node *node = g->nodes.data[i];
    if (!grad.depends[i] || !grad.cotangent[i] || !passes_on(&grad, node)) continue;
    expect(op_info(node->op)->gradient == GRAD, "%s is not differentiable a second time", op_info(node->op)->name);
    grad.node = node;
    g->loc = node->loc;
    g->path = node->path;
    op_info(node->op)->rules->vjp(&grad, node, grad.cotangent[i]);
  }
  g->loc = loc;
  g->path = path;
  for (int i = 0; i < n; i++) out[i] = wrt[i]->id <= last && grad.depends[wrt[i]->id] ? grad.cotangent[wrt[i]->id] : NULL;
}
