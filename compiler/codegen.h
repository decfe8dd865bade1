// codegen.h: from a differentiated model to code: passes, layout, fusion, memory plan, loops, C.
//
//   graph --passes--> graph --regions (regions.h)--> graph --layout--> graph with relayout nodes --fuse--> kernels (kernels.h)
//         --plan--> buffers at offsets --lower--> loop kernels, identical ones once --emit--> C
#ifndef BTC_CODEGEN_H
#define BTC_CODEGEN_H

#include "regions.h"

struct codegen;
// Everything up to loops for every program of the model (differentiated here where it is not yet).
// NULL: stopped by --stop-after or a diagnostic. Lives in the compilation's arena.
struct codegen *codegen_model(struct model *m, const struct target *t);

// The first part of that for one program: its step (differentiated here where it is not yet), simplified, and
// its regions with their choices; regions_splice may follow. NULL after diagnostics, or where --stop-after hit.
struct graph *codegen_regions(struct model *m, struct program *p, struct choices *choices,
                              struct regions **regions);
// The step with the chosen variants in place, for the interpreter; `m` has no other program that
// requests could mean. NULL after diagnostics.
struct graph *codegen_step(struct model *m, struct program *p, const struct target *t);

void codegen_print_kernels(FILE *out, const struct codegen *cg); // --emit=kernels
void codegen_print_loops(FILE *out, const struct codegen *cg);   // --emit=loops
// One C translation unit: prelude, kernels, step functions, the tables of btrt.h, `bt_module`, and,
// unless `shared`, main. `build` describes compiler and flags.
void codegen_emit_c(FILE *out, const struct codegen *cg, const char *build, bool shared);
// How many parts with kernels it has, to be compiled side by side with -DBTC_PART=1 … and 0 for the
// rest; 0: it is too little to be worth it.
int codegen_parts(const struct codegen *cg);

struct codegen_size {  // of one program, in bytes
  size_t store, parameters, states, arena, thread_scratch;
  int kernels, distinct_kernels;
  double flops; // a step's arithmetic
};
struct codegen_size codegen_size(const struct codegen *cg, const struct program *p);

#endif
