// guarded.h: floats between guard zones, and kernels run on them with guarded scratch.
#ifndef GUARDED_H
#define GUARDED_H

#include "jit.h"

float *guarded(int64_t n, float fill);            // n floats; release them
float *guarded_random(int64_t n, unsigned seed);  // in [-1, 1)
void check_guards(const float *p, int64_t n, const char *what); // fails the test where one was written
void release(float *p);

// Runs a kernel with this many threads; its scratch is NaN at first, and checked.
void run_guarded(const struct loop_kernel *k, jit_kernel kernel, void *const *params, int threads);

#endif
