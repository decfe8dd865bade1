// random_reduce.c: a graph that fails, made smaller while it still does.
//
// First the one result that is wrong, then operands instead of it, as long as one of them is wrong too; then each
// operand on the way is tried as a leaf, from the last to the first. What is left is a handful of nodes.
#include <string.h>

#include "passes.h"
#include "random_check.h"

struct reduction {
  const struct random_fault *fault;
  const char *march;
};

static struct graph *same(struct btc *b, void *user, int i) {
  (void)b, (void)i;
  return user;
}

static bool fails(const struct reduction *r, struct graph *g) {
  bool gradients = r->fault->setting < 0;
  struct random_job job = {.make = same, .user = g, .count = 1, .gradients = gradients, .march = r->march};
  if (!gradients) job.first = r->fault->setting, job.end = r->fault->setting + 1;
  return !random_passes(&job);
}

static struct graph *with_results(const struct graph *g) {
  struct graph *to = NEW(g->b->arena, struct graph);
  *to = *g;
  memset(&to->outputs, 0, sizeof to->outputs);
  memset(&to->updates, 0, sizeof to->updates);
  return to;
}

static struct graph *only(const struct graph *g, struct node *n) {
  struct graph *to = with_results(g);
  graph_output(to, "out", BT_OUTPUT_VALUE, n);
  return pass_dce(to);
}

static struct graph *without(const struct graph *g, int result) {
  struct graph *to = with_results(g);
  for (int i = 0; i < g->outputs.len; i++)
    if (i != result) vec_push(g->b->arena, &to->outputs, g->outputs.data[i]);
  for (int i = 0; i < g->updates.len; i++)
    if (i + g->outputs.len != result) vec_push(g->b->arena, &to->updates, g->updates.data[i]);
  return pass_dce(to);
}

static struct node *loss_of(const struct graph *g) {
  for (int i = 0; i < g->outputs.len; i++)
    if (g->outputs.data[i].kind == BT_OUTPUT_LOSS) return g->outputs.data[i].node;
  return NULL;
}

// The wrong result alone, or, where it takes others to be wrong, without those that it does not take.
static struct graph *fewer_results(const struct reduction *r, struct graph *g) {
  int wrong = r->fault->result, outputs = g->outputs.len;
  struct node *n = r->fault->setting < 0 ? loss_of(g)
                   : wrong < outputs     ? g->outputs.data[wrong].node
                                         : g->updates.data[wrong - outputs].node;
  struct graph *alone = only(g, n);
  if (fails(r, alone)) return alone;
  for (int i = g->outputs.len + g->updates.len - 1; i >= 0 && g->outputs.len + g->updates.len > 1; i--) {
    struct graph *less = without(g, i);
    if (fails(r, less)) g = less;
  }
  return g;
}

static struct graph *look_at_operands(const struct reduction *r, struct graph *g) {
  for (bool smaller = true; smaller && g->outputs.len == 1 && g->updates.len == 0;) {
    const struct node *n = g->outputs.data[0].node;
    smaller = false;
    for (int i = 0; i < n->n_in && !smaller; i++) {
      if (op_info(n->in[i]->op)->class == LEAF) continue;
      struct graph *less = only(g, n->in[i]);
      smaller = fails(r, less);
      if (smaller) g = less;
    }
  }
  return g;
}

// The graph with a leaf instead of node `at`.
static struct graph *cut(const struct graph *g, int at) {
  struct rewrite r = rewrite_begin(g);
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    bool leaf = i == at;
    r.map[i] = leaf ? g_input(r.to, str_printf(g->b->arena, "cut%d", i), BT_INPUT_ARRAY, 0, 0, &n->type) : rewrite_copy(&r, n);
  }
  return pass_dce(rewrite_end(&r));
}

static struct graph *cut_operands(const struct reduction *r, struct graph *g) {
  for (int i = g->nodes.len - 2; i >= 0; i--) {
    if (i >= g->nodes.len || op_info(g->nodes.data[i]->op)->class == LEAF) continue;
    struct graph *less = cut(g, i);
    if (fails(r, less)) g = less;
  }
  return g;
}

struct graph *random_reduced(struct graph *g, const struct random_fault *fault, const char *march) {
  struct reduction r = {fault, march};
  g = fewer_results(&r, g);
  g = look_at_operands(&r, g);
  return cut_operands(&r, g);
}
