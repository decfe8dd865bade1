// emit_c.h: loop kernels as C text.
#ifndef BTC_EMIT_C_H
#define BTC_EMIT_C_H

#include "loops.h"

// What comes once, before the kernels of a translation unit: vector types and mathematics of
// runtime/btrt_math.h at the target's width.
void emit_c_prelude(FILE *out, const struct target *t);

// One kernel as a static function `NAME(params…[, char *shared_work][, char *thread_work])`, headed
// by a comment with its equation and source places. Compile with the target's -march, -std=gnu17
// (so that products and sums contract) or -ffp-contract=fast, -O3 -fopenmp
// -Wno-psabi, without -ffast-math.
void emit_c_kernel(FILE *out, const struct loop_kernel *k, const struct target *t);

// The C type of an element in memory.
const char *emit_c_type(enum loop_type t);

#endif
