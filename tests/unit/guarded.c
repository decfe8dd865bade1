// guarded.c: see guarded.h.
#include "guarded.h"

#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

enum { GUARD = 64 }; // floats on each side
static const float guard_value = 12345.5f;

float *guarded(int64_t n, float fill) {
  float *p = aligned_alloc(64, (size_t)(n + 2 * GUARD + 16) / 16 * 64);
  for (int64_t i = 0; i < n + 2 * GUARD; i++) p[i] = guard_value;
  for (int64_t i = 0; i < n; i++) p[GUARD + i] = fill;
  return p + GUARD;
}

float *guarded_random(int64_t n, unsigned seed) {
  float *p = guarded(n, 0);
  for (int64_t i = 0; i < n; i++) {
    seed = seed * 1664525u + 1013904223u;
    p[i] = (float)(seed >> 8) / (float)(1 << 23) - 1;
  }
  return p;
}

void check_guards(const float *p, int64_t n, const char *what) {
  for (int64_t i = 0; i < GUARD; i++)
    if (p[-1 - i] != guard_value || p[n + i] != guard_value)
      fail_msg("%s: guard overwritten", what);
}

void release(float *p) { free(p - GUARD); }

void run_guarded(const struct loop_kernel *k, jit_kernel kernel, void *const *params, int threads) {
  int64_t shared = (int64_t)loop_shared_bytes(k) / 4;
  int64_t mine = (int64_t)loop_thread_bytes(k) / 4 * threads;
  float *s = guarded(shared, NAN), *m = guarded(mine, NAN);
  omp_set_num_threads(threads);
  kernel(params, (char *)s, (char *)m);
  check_guards(s, shared, "shared scratch");
  check_guards(m, mine, "thread scratch");
  release(s);
  release(m);
}
