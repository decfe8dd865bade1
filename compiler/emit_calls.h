// emit_calls.h: the tables of bt_program.calls, from which a watch names what made a value
// (emit_calls.c).
#ifndef BTC_EMIT_CALLS_H
#define BTC_EMIT_CALLS_H

#include <stdio.h>

#include "codegen_internal.h"

// Texts that are emitted once, however many calls have them.
struct formulas {
  VEC(const char *) texts;
};

// parameters_I of each distinct kernel.
void emit_parameters(FILE *out, const struct codegen *cg);
// calls_ID, and what belongs to them; `kernels` by index in cg->distinct: the program's row of the
// kernel.
struct emitted_calls {
  bool arguments, origins; // are there arguments_ID; made_ID and origins_ID
};
struct emitted_calls emit_calls(FILE *out, const struct codegen *cg,
                                const struct codegen_program *p, const char *id, const int *kernels,
                                struct formulas *formulas);

void emit_string(FILE *out, const char *s); // a C literal, or NULL (emit_module.c)
const char *emit_dtype(int t);              // BT_F32, …

#endif
