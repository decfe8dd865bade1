// passes.h: the passes of pass.c's table, a file each.
#ifndef BTC_PASSES_H
#define BTC_PASSES_H

#include "graph.h"

struct graph *pass_expand(const struct graph *g); // mean and var -> sums
struct graph *
pass_fold(const struct graph *g); // algebra: constants, identities, narrower arithmetic
struct graph *pass_reassociate(const struct graph *g); // the cheapest order of matrix products
struct graph *pass_cse(const struct graph *g); // one node for equal computations
struct graph *pass_dce(const struct graph *g); // what nothing needs

// The whole table, as far as it is not disabled, on a graph that a rewriting has made.
struct graph *passes_simplify(const struct graph *g);

#endif
