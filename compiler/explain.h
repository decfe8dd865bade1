// explain.h: what the compiler did with a program, for people: regions and their variants, kernels in
// order with source, cost and memory, what was fused and what was not.
#ifndef BTC_EXPLAIN_H
#define BTC_EXPLAIN_H

#include "codegen.h"

// Patterns (fnmatch) select regions and kernels by their addresses, kernels also by the names of their
// C functions; NULL selects all.
bool explain_finds(const struct codegen *cg, const char *pattern); // anything
// What to say of a pattern that finds nothing (region_near).
const char *explain_near(const struct codegen *cg, const char *pattern);
void explain_text(FILE *out, const struct codegen *cg, const char *pattern);
// As a graph for Graphviz's dot: kernels are nodes, buffers edges, regions clusters.
void explain_dot(FILE *out, const struct codegen *cg, const char *pattern);

#endif
