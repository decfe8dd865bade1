// target.h: what the schedules need to know of the machine that runs the compiled program.
//
// Vectors have one lane count per target, whatever their element: 16 with AVX-512, 8 with AVX2,
// 4 otherwise. An f64 vector of 16 lanes takes two registers; that is the host compiler's business.
#ifndef BTC_TARGET_H
#define BTC_TARGET_H

#include <stdbool.h>
#include <stddef.h>

struct target {
  const char *march;         // the host compiler's -march
  int lanes;                 // f32 lanes of a vector: 16, 8 or 4
  int registers;             // vector registers
  bool fma;                  // fused multiply-add
  size_t l1_bytes, l2_bytes; // data cache of one core; schedules choose blocks by it
};

// Fills *t from a -march name ("native", "x86-64-v3", "skylake-avx512", "znver4", …; NULL: native).
// Names that are not in the table count as plain x86-64 of 4 lanes. The string is not copied.
void target_from_march(struct target *t, const char *march);
// Rows of a register block that is two vectors wide: as many accumulators, and what is multiplied,
// stay in registers.
int target_block_rows(const struct target *t);

#endif
