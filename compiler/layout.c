// layout.c: chooses the memory layout of every value: row-major, or axis 1 in blocks of one vector.
//
// Convolutions want their activations as [n][c/lanes][h][w][lanes], so that a vector is `lanes`
// channels of one pixel; what they write is blocked wherever the channels divide, and elementwise
// ops and pools follow their operands. Everything else (movement, products, results, updates) is
// row-major, reductions read whatever comes and write row-major. Where the two meet stands a
// relayout; inlined into its reader it costs nothing but strides, so only the operands of opaque
// ops are ever copied.
#include "kernels.h"

struct layout {
  struct rewrite r;
  int lanes;
};

// The schedules of convolutions are for f32; others are plain loops over row-major values.
static bool divides(const struct node *n, int lanes) {
  return n->type.dtype == BT_F32 && n->type.shape.rank == 4 && n->type.shape.dim[1] % lanes == 0;
}

// Operand i of n in the layout `block`. A broadcast is never in memory: it is made in that layout.
static struct node *in_layout(struct layout *l, const struct node *n, int i, int block) {
  struct node *x = l->r.map[n->in[i]->id];
  if (x->block == block) return x;
  if (x->op == OP_relayout && x->in[0]->block == block) return x->in[0];
  if (x->op == OP_broadcast)
    return graph_node_in_layout(l->r.to, OP_broadcast, x->in, 1, &x->attr, &x->type, block);
  return g_relayout(l->r.to, x, block);
}

// The layout that an opaque op's operand i should have: blocked where it can be, but for weights.
static int wanted_block(const struct layout *l, const struct node *n, int i) {
  const struct node *x = n->in[i];
  switch (n->op) {
  case OP_conv2d:
  case OP_conv2d_dx: return i == 0 && divides(x, l->lanes) ? l->lanes : 0;
  case OP_conv2d_dw: return divides(x, l->lanes) ? l->lanes : 0;
  default: return 0;
  }
}

static int blocked_operand(const struct layout *l, const struct node *n) {
  for (int i = 0; i < n->n_in; i++) {
    int block = l->r.map[n->in[i]->id]->block;
    if (block > 0) return block;
  }
  return 0;
}

static bool is_pool(enum op op) {
  return op == OP_max_pool2d || op == OP_max_pool2d_dx || op == OP_avg_pool2d ||
         op == OP_avg_pool2d_dx;
}

static bool follows_operands(const struct node *n) {
  return op_info(n->op)->class == ELEMENTWISE || is_pool(n->op);
}

static struct node *place(struct layout *l, const struct node *n) {
  struct node **in = NEW_ARRAY(l->r.to->b->arena, struct node *, n->n_in + 1);
  int follow = follows_operands(n) ? blocked_operand(l, n) : 0, block = follow;
  bool fold = op_info(n->op)->class == REDUCE && n->op != OP_argmax;
  bool makes_blocks = n->op == OP_conv2d || n->op == OP_conv2d_dx;
  if (makes_blocks && divides(n, l->lanes)) block = l->lanes;
  for (int i = 0; i < n->n_in; i++) {
    struct node *x = l->r.map[n->in[i]->id];
    int want = follows_operands(n) ? (x->type.shape.rank == 0 ? 0 : follow) : wanted_block(l, n, i);
    in[i] = fold ? x : in_layout(l, n, i, want);
  }
  return graph_node_in_layout(l->r.to, n->op, in, n->n_in, &n->attr, &n->type, block);
}

// Results leave row-major.
static struct graph *finish(struct layout *l) {
  for (int i = 0; i < l->r.from->nodes.len; i++) {
    struct node *to = l->r.map[i];
    if (to == NULL || to->block == 0) continue;
    bool result = false;
    for (int j = 0; j < l->r.from->outputs.len; j++)
      result |= l->r.from->outputs.data[j].node->id == i;
    for (int j = 0; j < l->r.from->updates.len; j++)
      result |= l->r.from->updates.data[j].node->id == i;
    if (result) l->r.map[i] = g_relayout(l->r.to, to, 0);
  }
  return rewrite_end(&l->r);
}

struct graph *pass_layout(const struct graph *g, int lanes) {
  struct layout l = {.r = rewrite_begin(g), .lanes = lanes};
  const int *uses = graph_use_counts(g);
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    if (!uses[i]) continue;
    l.r.to->loc = n->loc;
    l.r.to->path = n->path;
    l.r.to->how = n->how;
    l.r.map[i] = place(&l, n);
  }
  return finish(&l);
}
