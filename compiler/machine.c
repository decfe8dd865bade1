// machine.c: the machine's peak, measured. See machine.h.
//
// Arithmetic: independent chains of fused multiply-adds that never leave the registers. A processor
// starts two a cycle and finishes each about four cycles later, so more than eight must be under way.
// The kernel exists for each width of vectors; the processor says which it has. Memory: STREAM's triad
// (McCalpin, 1995), a = b + s c, on arrays that few caches hold. Both are the best of several tries:
// what disturbs a try makes it slower, never faster.
#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "btc.h"
#include "machine.h"

// ---- arithmetic -------------------------------------------------------------------------------

enum { CHAINS = 12, FMA_TRIES = 250, FMA_ROUNDS = 1 << 19 };

// x = x * y + z converges to z / (1 - y): no overflow, no denormal numbers, whatever the rounds.
#define FMA_KERNEL(name, attribute, lanes)                                                         \
  attribute static float name(int rounds, float y, float z) {                                     \
    typedef float vector __attribute__((vector_size(4 * (lanes))));                                \
    vector x[CHAINS], ys = (vector){0} + y, zs = (vector){0} + z, total = {0};                     \
    for (int i = 0; i < CHAINS; i++) x[i] = zs * (float)i;                                         \
    for (int r = 0; r < rounds; r++) {                                                             \
      _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) x[i] = x[i] * ys + zs;             \
    }                                                                                              \
    for (int i = 0; i < CHAINS; i++) total += x[i];                                                \
    return total[0];                                                                               \
  }

#ifdef __x86_64__
FMA_KERNEL(fma_16, __attribute__((target("avx512f"))), 16)
FMA_KERNEL(fma_8, __attribute__((target("avx2,fma"))), 8)
#endif
FMA_KERNEL(fma_4, , 4)

typedef float (*fma_kernel)(int rounds, float y, float z);

static fma_kernel widest(int *lanes) {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f")) return *lanes = 16, fma_16;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return *lanes = 8, fma_8;
#endif
  return *lanes = 4, fma_4;
}

// The sum of what was computed goes where the compiler cannot see that nobody reads it.
static volatile float sink;

// The threads start and end a try together, in one parallel region: others' work disturbs only some tries.
static double peak_flops(int threads) {
  int lanes;
  fma_kernel kernel = widest(&lanes);
  double least = 1e9, start = 0;
#pragma omp parallel num_threads(threads)
  for (int i = 0; i < FMA_TRIES; i++) {
#pragma omp barrier
#pragma omp master
    start = omp_get_wtime();
    float got = kernel(FMA_ROUNDS, 0.5f + 0 * sink, 1);
#pragma omp critical
    sink = got;
#pragma omp barrier
#pragma omp master
    least = fmin(least, omp_get_wtime() - start);
  }
  return 2.0 * lanes * CHAINS * FMA_ROUNDS * threads / least;
}

// ---- memory -----------------------------------------------------------------------------------

enum { TRIAD_TRIES = 5, TRIAD_FLOATS = 32 << 20 };

static double peak_bandwidth(int threads) {
  size_t bytes = sizeof(float) * TRIAD_FLOATS;
  float *a = malloc(bytes), *b = malloc(bytes), *c = malloc(bytes);
  double best = 0;
  expect(a && b && c, "out of memory: %zu bytes thrice", bytes);
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t i = 0; i < TRIAD_FLOATS; i++) a[i] = 0, b[i] = 1, c[i] = 2;
  for (int try = 0; try < TRIAD_TRIES; try++) {
    double start = omp_get_wtime();
#pragma omp parallel for simd num_threads(threads) schedule(static)
    for (int64_t i = 0; i < TRIAD_FLOATS; i++) a[i] = b[i] + 3 * c[i];
    double rate = 3 * (double)bytes / (omp_get_wtime() - start);
    if (rate > best) best = rate;
  }
  sink = a[TRIAD_FLOATS / 2];
  free(a), free(b), free(c);
  return best;
}

struct machine machine_measure(int threads) {
  return (struct machine){.threads = threads, .flops = peak_flops(threads), .bandwidth = peak_bandwidth(threads)};
}

// ---- its name ---------------------------------------------------------------------------------

static bool value_of(const char *line, const char *key, char *text, int size) {
  size_t n = strlen(key);
  const char *colon = strchr(line, ':');
  if (strncmp(line, key, n) != 0 || !colon) return false;
  colon += 1 + strspn(colon + 1, " \t");
  snprintf(text, (size_t)size, "%.*s", (int)strcspn(colon, "\n"), colon);
  for (char *p = text; *p; p++)
    if ((unsigned char)*p < 32) *p = ' ';
  return *text;
}

void machine_processor(char *text, int size) {
  FILE *f = fopen("/proc/cpuinfo", "r");
  char line[1024];
  bool found = false;
  while (f && !found && fgets(line, sizeof line, f)) found = value_of(line, "model name", text, size);
  if (f) fclose(f);
  if (!found) snprintf(text, (size_t)size, "unknown processor");
}
