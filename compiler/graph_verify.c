// graph_verify.c: the invariants of a graph, checked after every pass.
//
//   order     nodes[i].id is i; operands are nodes of this graph and come before their user
//   rules     every node passes its op's shape rule again and keeps the type that it states
//   layout    a blocked value has an axis 1, in whole blocks
//   results   outputs and updates are nodes of this graph; an update's name is given once
//
// A breach is a mistake of the pass that ran last: it is named, and the nodes round the offender
// are shown.
#include "graph.h"

enum { WINDOW = 4 };

_Noreturn static void breach(const struct graph *g, const char *pass, int at, const char *what) {
  fprintf(stderr, "graph %s is broken after pass %s: %s\n", g->name, pass, what);
  int first = at - WINDOW < 0 ? 0 : at - WINDOW;
  int end = at + WINDOW + 1 > g->nodes.len ? g->nodes.len : at + WINDOW + 1;
  for (int i = first; i < end; i++) {
    fputs(i == at ? "> " : "  ", stderr);
    graph_print_node(stderr, g->nodes.data[i]);
  }
  die("pass %s: %s", pass, what);
}

static bool belongs(const struct graph *g, const struct node *n) {
  return n && n->id >= 0 && n->id < g->nodes.len && g->nodes.data[n->id] == n;
}

static void verify_node(const struct graph *g, const char *pass, int at) {
  struct arena *a = g->b->arena;
  const struct node *n = g->nodes.data[at];
  if (n->id != at) breach(g, pass, at, str_printf(a, "node %%%d stands at position %d", n->id, at));
  for (int i = 0; i < n->n_in; i++) {
    if (!belongs(g, n->in[i]))
      breach(g, pass, at, str_printf(a, "operand %d of %%%d is of another graph", i, at));
    if (n->in[i]->id >= at)
      breach(g, pass, at, str_printf(a, "%%%d uses %%%d before it is computed", at, n->in[i]->id));
  }
  struct node again = *n;
  const char *wrong = node_check(a, &again);
  if (wrong) breach(g, pass, at, str_printf(a, "%%%d: %s", at, wrong));
  if (!type_eq(&again.type, &n->type))
    breach(g, pass, at,
           str_printf(a, "%%%d is %s but its op gives %s", at, type_text(a, &n->type),
                      type_text(a, &again.type)));
}

static void verify_results(const struct graph *g, const char *pass) {
  struct arena *a = g->b->arena;
  for (int i = 0; i < g->outputs.len; i++)
    if (!belongs(g, g->outputs.data[i].node))
      breach(g, pass, g->nodes.len,
             str_printf(a, "output %s is no node of the graph", g->outputs.data[i].name));
  for (int i = 0; i < g->updates.len; i++) {
    const char *name = g->updates.data[i].name;
    if (!belongs(g, g->updates.data[i].node))
      breach(g, pass, g->nodes.len, str_printf(a, "update of %s is no node of the graph", name));
    for (int k = 0; k < i; k++)
      if (str_eq(g->updates.data[k].name, name))
        breach(g, pass, g->updates.data[i].node->id, str_printf(a, "%s is updated twice", name));
  }
}

void graph_verify(const struct graph *g, const char *after_pass) {
  for (int i = 0; i < g->nodes.len; i++) verify_node(g, after_pass, i);
  verify_results(g, after_pass);
}
