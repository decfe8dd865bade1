// prototype.h: a region as a C header, for a function of the user's that computes it.
#ifndef BTC_PROTOTYPE_H
#define BTC_PROTOTYPE_H

#include "regions.h"

// The whole header: what is computed, the sizes as constants, the prototype of `function`.
const char *prototype_header(struct btc *b, const struct region *r, const char *function);

#endif
