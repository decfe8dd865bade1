// jit.h: compiles loop kernels with the host compiler and loads them, for tests and benchmarks.
#ifndef JIT_H
#define JIT_H

#include "loops.h"

// Runs a kernel on its parameters in order, with scratch that the caller gives.
typedef void (*jit_kernel)(void *const *params, char *shared_work, char *thread_work);

struct jit {
  void *handle;
  jit_kernel *kernels;
};

// Emits the kernels as C into a temporary folder, compiles them with $CC (default cc) for the
// target and loads them. JIT_FLAGS in the environment adds flags, JIT_KEEP keeps the C text. Prints
// the compiler's messages and returns false where that fails.
bool jit_build(struct jit *j, struct arena *arena, struct loop_kernel *const *kernels, int n,
               const struct target *t);
void jit_close(struct jit *j);

#endif
