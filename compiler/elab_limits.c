// elab_limits.c: elaboration ends, whatever the file says.
//
// The language has no recursion, but a few nested loops, or calls that double, written in a line
// each, would run for years, and so would whatever reads their graph. So every expression and
// statement that is evaluated, every item that is put into a list, is a step, and steps, nodes,
// tensors and levels are counted. The limits are far above what models need: a training step of
// ResNet-18 takes some 20000 steps, 2000 nodes, 200 tensors. Past a limit there is one message, and
// every further expression is poisoned, so that elaboration unwinds at once.
#include "elab.h"

enum { STEPS_MOST = 2000000, NODES_MOST = 50000, TENSORS_MOST = 10000, LEVELS_MOST = 2000 };

static bool exhausted(struct elab *e, const struct frame *f, struct loc loc, const char *what,
                      int most) {
  elab_error(e, f, loc, "elaboration stops here, at more than %d %s: loops or calls multiply", most,
             what);
  e->exhausted = true;
  return false;
}

bool elab_spend(struct elab *e, const struct frame *f, struct loc loc, int64_t steps) {
  // Nor is there a point in going on where nothing more would be said.
  if (diag_is_full(e->b)) e->exhausted = true;
  if (e->exhausted) return false;
  e->steps += steps;
  if (e->steps > STEPS_MOST) return exhausted(e, f, loc, "steps", STEPS_MOST);
  if (e->graph && e->graph->nodes.len > NODES_MOST)
    return exhausted(e, f, loc, "nodes of a graph", NODES_MOST);
  if (e->model->tensors.len > TENSORS_MOST)
    return exhausted(e, f, loc, "parameters and states", TENSORS_MOST);
  return true;
}

bool elab_enter(struct elab *e, const struct frame *f, struct loc loc) {
  if (!elab_spend(e, f, loc, 1)) return false;
  if (e->levels == LEVELS_MOST)
    return exhausted(e, f, loc, "levels of expressions and calls", LEVELS_MOST);
  e->levels++;
  return true;
}

void elab_leave(struct elab *e) { e->levels--; }
