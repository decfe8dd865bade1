// pass_cse.c: one node for equal computations.
//
// Rebuilding a graph through its memo (graph.c) is common-subexpression elimination: operands are
// mapped first, so equal trees meet from the leaves upwards. Dead nodes are copied too; dropping
// them is pass_dce.c's task.
#include "passes.h"

struct graph *pass_cse(const struct graph *g) {
  struct rewrite r = rewrite_begin(g);
  graph_set_sharing(r.to, SHARE_ALL);
  for (int i = 0; i < g->nodes.len; i++) r.map[i] = rewrite_copy(&r, g->nodes.data[i]);
  return rewrite_end(&r);
}
