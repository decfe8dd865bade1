// outline.h: what outline.c, which finds regions, knows of a graph and tells region.c, which describes them.
#ifndef BTC_OUTLINE_H
#define BTC_OUTLINE_H

#include "regions.h"

enum { ON_DATA = 1, ON_WEIGHTS = 2, ON_PROGRESS = 4 /* step, epoch, random key */ };

// By node id.
struct graph_facts {
  bool *live;
  bool *output;          // of the program
  bool *forward;         // a result other than a gradient depends on it
  bool *weight_gradient; // is, but for pointwise arithmetic, the gradient of a parameter
  bool *late;            // nothing but the update of a tensor, by arithmetic of its size, becomes of it
  unsigned *depends;     // on what: ON_…; 0: a constant
  bool *remade;          // a number repeated, say: cheap, and larger than all that it is made of; who reads it makes it anew
  int64_t *source;       // elements of the largest value that it is (re)made of; 0: of constants alone
  VEC(struct node *) * users;
};

// The leaf whose gradient an output is, by its name (eval.h: grad.NAME of programs, dNAME of functions); NULL: none.
const struct node *gradient_of(const struct graph *g, const struct graph_output *o);
// From a region's nodes all else: what goes in and comes out, names, address, the plain variant.
// Distinct from what is in `others`.
void region_describe(struct region *r, const struct graph *g, const struct graph_facts *f, const struct regions *others);

#endif
