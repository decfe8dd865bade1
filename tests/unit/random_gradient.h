// random_gradient.h: the gradients of a graph against differences of its values.
#ifndef RANDOM_GRADIENT_H
#define RANDOM_GRADIENT_H

#include "graph.h"

// Differentiates the graph's loss, or where it has none the sum of squares of its float outputs, by all of its
// float leaves, and compares along a random direction, on leaves drawn by `seed`. What is wrong, in the graph's
// arena; NULL: nothing.
const char *random_gradient_fault(const struct graph *g, unsigned seed);

#endif
