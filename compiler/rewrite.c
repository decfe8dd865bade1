// rewrite.c: from one graph to another.
//
// A rewrite walks the old graph in order, so operands are mapped before their users, and what no
// output or update needs is never visited. New nodes inherit the source place and address of the
// old node that they stand for. What the old graph shares, the new one does.
#include <string.h>

#include "graph.h"

struct rewrite rewrite_begin(const struct graph *from) {
  struct graph *to = graph_new(from->b, from->name);
  graph_set_sharing(to, graph_sharing(from));
  struct node **map = NEW_ARRAY(from->b->arena, struct node *, from->nodes.len);
  return (struct rewrite){.from = from, .to = to, .map = map};
}

static struct node *mapped(const struct rewrite *r, const struct node *n) {
  struct node *to = r->map[n->id];
  expect(to, "%%%d (%s) of graph %s is used but was not built", n->id, op_info(n->op)->name,
         r->from->name);
  return to;
}

struct node *rewrite_copy(struct rewrite *r, const struct node *n) {
  struct node *few[8];
  struct node **in = n->n_in <= 8 ? few : NEW_ARRAY(r->to->b->arena, struct node *, n->n_in);
  for (int i = 0; i < n->n_in; i++) in[i] = mapped(r, n->in[i]);
  r->to->loc = n->loc;
  r->to->path = n->path;
  r->to->how = n->how;
  return graph_node_in_layout(r->to, n->op, in, n->n_in, &n->attr, &n->type, n->block);
}

struct graph *rewrite_end(struct rewrite *r) {
  for (int i = 0; i < r->from->outputs.len; i++) {
    const struct graph_output *o = &r->from->outputs.data[i];
    graph_output(r->to, o->name, o->kind, mapped(r, o->node));
  }
  for (int i = 0; i < r->from->updates.len; i++) {
    const struct graph_update *u = &r->from->updates.data[i];
    graph_update(r->to, u->name, mapped(r, u->node));
  }
  for (int i = 0; i < r->from->labels.len; i++) {
    const struct graph_label *l = &r->from->labels.data[i];
    if (r->map[l->node->id]) graph_label(r->to, l->name, r->map[l->node->id]);
  }
  r->to->loc = (struct loc){0};
  r->to->path = NULL;
  r->to->how = NULL;
  return r->to;
}

struct graph *graph_map(const struct graph *g,
                        struct node *(*rule)(struct rewrite *r, const struct node *n)) {
  struct rewrite r = rewrite_begin(g);
  r.uses = graph_use_counts(g);
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    if (!r.uses[i]) continue;
    r.to->loc = n->loc;
    r.to->path = n->path;
    r.to->how = n->how;
    struct node *to = rule ? rule(&r, n) : NULL;
    r.map[i] = to ? to : rewrite_copy(&r, n);
  }
  return rewrite_end(&r);
}

int *graph_use_counts(const struct graph *g) {
  int *uses = NEW_ARRAY(g->b->arena, int, g->nodes.len);
  for (int i = 0; i < g->outputs.len; i++) uses[g->outputs.data[i].node->id]++;
  for (int i = 0; i < g->updates.len; i++) uses[g->updates.data[i].node->id]++;
  for (int i = g->nodes.len - 1; i >= 0; i--) {
    const struct node *n = g->nodes.data[i];
    for (int k = 0; uses[i] && k < n->n_in; k++) uses[n->in[k]->id]++;
  }
  return uses;
}
