// derive_panels.h: a product cut into panels, with everything that reads it.
#ifndef BTC_DERIVE_PANELS_H
#define BTC_DERIVE_PANELS_H

#include "graph.h"

struct panels {
  const bool *product; // by node id: the products that are cut; of one shape
  int axis;            // of theirs, along which
  int64_t length;      // of that axis
  int64_t width;       // of a panel, the last may be narrower
};
// The graph with the products made, read and dropped panel by panel. NULL, and *why, where
// something wants them otherwise. In map, by node id: the nodes of the result that stand for g's;
// NULL for those that exist only in panels.
struct graph *panels_cut(const struct graph *g, const struct panels *p, struct node **map,
                         const char **why);

#endif
