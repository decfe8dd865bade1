// prototype.h: a region as a C header, for a function of the user's that computes it.
#ifndef BTC_PROTOTYPE_H
#define BTC_PROTOTYPE_H

#include "regions.h"

// Whether a C function can be called so.
bool prototype_may_name(const char *function);
// The names of its arguments: the region's inputs, then its results.
const char *const *prototype_arguments(struct arena *a, const struct region *r);
// The whole header: what is computed, the sizes as constants, the prototype of `function`.
const char *prototype_header(struct btc *b, const struct region *r, const char *function);

#endif
