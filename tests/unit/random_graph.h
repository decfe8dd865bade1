// random_graph.h: random well-typed graphs, of what training steps are made of.
#ifndef RANDOM_GRAPH_H
#define RANDOM_GRAPH_H

#include "graph.h"

// A graph that follows from `seed` alone: activations, normalisations, convolutions, pools,
// products, movement, masks, integers; a loss, its gradients, updates of parameters and states.
//
// Its leaves are meant to hold multiples of 1/RANDOM_GRAIN in (-2, 2), small whole numbers and
// booleans. What has a jump (comparisons, extrema, floor) is put only on values that are then
// exact in f32 however they are computed, or that have no reason to lie at the jump: so the result
// in f32 is near the one in f64, and whatever is not is a mistake.
enum { RANDOM_GRAIN = 8 };
struct graph *random_graph(struct btc *b, unsigned seed);

#endif
