// explain.h: what the compiler did with a program, for people: regions and their variants, kernels in
// order with source, cost and memory, what was fused and what was not.
#ifndef BTC_EXPLAIN_H
#define BTC_EXPLAIN_H

#include "codegen.h"

// Of every program of `cg`; of all kernels and regions, or those of which the address, or the name
// of the C function, matches the pattern (fnmatch). False where nothing does.
bool explain_text(FILE *out, const struct codegen *cg, const char *pattern);
// The same as a graph for Graphviz's dot: kernels are nodes, buffers edges, regions clusters.
bool explain_dot(FILE *out, const struct codegen *cg, const char *pattern);

#endif
