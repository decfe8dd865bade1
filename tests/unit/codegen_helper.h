// codegen_helper.h: whole graphs through the code generator and the host compiler, run beside the
// interpreter.
#ifndef CODEGEN_HELPER_H
#define CODEGEN_HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "codegen.h"
#include "graph.h"

struct compiled {
  struct btc *b;
  struct model *model;
  struct codegen *cg;
  void *handle;
  const struct bt_module *module;
  VEC(struct graph *) graphs; // as they were before the passes; one program each
  int grain;                  // floats of the leaves are multiples of 1/grain; 0: any
};

// Random numbers of a shape by the op of one word or two an element, from the scalar leaves seed and stream.
struct node *drawn(struct graph *g, enum op op, const struct shape *s);

// A model of which every graph is a program; its tensors are the graphs' parameters and states.
struct model *step_model(struct btc *b, struct graph *const *g, int n);
// Compiles the graphs for -march `march` at -O1 and loads the result; fails the test if it cannot.
struct compiled step_build(struct btc *b, struct graph *const *g, int n, const char *march);
// The same, but what is lowered is ready[i], which codegen_step has made of g[i].
struct compiled step_build_ready(struct btc *b, struct graph *const *g, struct graph *const *ready, int n,
                                 const char *march);
void step_close(struct compiled *n);

// Results of one step of program p: outputs, then updated tensors (by update), as doubles.
struct step_result {
  VEC(struct tensor64 *) values;
};
// Leaves are drawn by `seed` and name, as `draw` does. Memory has guard zones round the
// store, every tensor, every input and output, the arena and the scratch of each thread, and is
// poisoned before the step. Fails the test where a guard is hurt.
struct step_result step_run(struct compiled *n, int p, unsigned seed, int threads);
// The same from the interpreter, in double or rounding every result to f32.
struct step_result step_expected(struct compiled *n, int p, unsigned seed, bool round_f32);
// Results of a graph, outputs and then updates, in double, or as interp_outputs has them with noise.
struct step_result step_interpreted(const struct graph *g, int grain, unsigned seed, uint64_t noise);
// A leaf's value in all of these.
const struct tensor64 *step_leaf(struct arena *a, int grain, unsigned seed, const struct node *leaf);
// Fails unless step p agrees with the interpreter to 2e-5 of each tensor's largest entry, or to 8
// times what rounding every value to f32 changes, with one thread and, bit for bit alike, with two.
void step_check(struct compiled *n, int p, unsigned seed);

#endif
