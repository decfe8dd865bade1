// emit_c.h: loop kernels as C text.
#ifndef BTC_EMIT_C_H
#define BTC_EMIT_C_H

#include "loops.h"

// How to compile emitted code, beside -march. gnu17: products and sums contract to fma. Predictive
// commoning keeps scalars from one iteration to the next and turns broadcasts from memory, which
// are free, into shuffles: a quarter of the speed of a convolution's weight gradient. -Wno-psabi:
// gcc notes how wide vectors are passed, but all functions on them are inlined. Never -ffast-math:
// btrt_math.h relies upon infinities, NaN and exact sums; errno, which nobody reads, would only keep
// square roots from being one instruction.
#define EMIT_C_FLAGS "-std=gnu17 -O3 -fno-math-errno -fopenmp -Wno-psabi"
#define EMIT_C_GCC_FLAGS " -fno-predictive-commoning" // gcc's besides; clang refuses it
#define EMIT_C_CLANG_FLAGS " -Wno-ignored-optimization-argument"

// What comes once, before the kernels of a file: vector types and mathematics of runtime/btrt_math.h
// at the target's width, and the macros KERNEL and IN_PART(n) by which the file may be compiled in
// parts: with -DBTC_PART=n, for each n.
void emit_c_prelude(FILE *out, const struct target *t);

// One kernel as a function `KERNEL void NAME(params…[, char *shared_work][, char *thread_work])`,
// headed by a comment with its equation and source places; and its declaration.
void emit_c_kernel(FILE *out, const struct loop_kernel *k, const struct target *t);
void emit_c_prototype(FILE *out, const struct loop_kernel *k);

// The C type of an element in memory.
const char *emit_c_type(enum loop_type t);

#endif
