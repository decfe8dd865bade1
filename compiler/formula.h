// formula.h: a kernel's body as text for the runtime, which evaluates it at one point to name the
// op that made a value that is not finite (runtime/formula.h, where the text is described).
#ifndef BTC_FORMULA_H
#define BTC_FORMULA_H

#include "body.h"

typedef VEC(const struct node *) node_list;

// The text, in `a`; NULL where the kernel is one opaque op. Adds to `origins` the node of each
// thing that the text computes, in its order; of an opaque op the one node.
const char *formula_text(struct arena *a, const struct kernel *k, node_list *origins);

#endif
