// bench_gemm.c: GFLOP/s of the product schedule beside OpenBLAS, interleaved in one run.
//
// Compiles every product for this machine and runs it alternately with cblas_sgemm until `seconds` are
// over: so both meet the same load. Prints the medians and their ratio.
//
//   build/bench_gemm [seconds a product, default 0.5] [only shapes whose name contains this]
#include "../tests/unit/jit.h"
#include "btrt_internal.h"
#include "sched_gemm.h"

#include <cblas.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

static const struct gemm_shape shapes[] = {
    {.m = 256, .n = 256, .k = 256},    {.m = 512, .n = 512, .k = 512},
    {.m = 1024, .n = 1024, .k = 1024}, {.m = 2048, .n = 2048, .k = 2048},
    {.m = 4096, .n = 4096, .k = 4096}, {.m = 8192, .n = 8192, .k = 8192},
    {.m = 256, .n = 256, .k = 8192},   {.m = 8192, .n = 256, .k = 256},
    {.m = 256, .n = 8192, .k = 256},   {.m = 256, .n = 8192, .k = 8192},
    {.m = 8192, .n = 8192, .k = 256},  {.m = 512, .n = 512, .k = 4096},
    {.m = 4096, .n = 512, .k = 512},   {.m = 128, .n = 1024, .k = 128},
    {.m = 128, .n = 128, .k = 1024},   {.m = 1024, .n = 1024, .k = 128},
    {.m = 128, .n = 1024, .k = 1024},  {.m = 2048, .n = 2048, .k = 256},
    {.m = 256, .n = 2048, .k = 2048},  {.m = 127, .n = 1001, .k = 509},
    {.m = 32, .n = 4096, .k = 1024},   {.m = 1024, .n = 10, .k = 512},
};

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static float *random_floats(int64_t n) {
  float *p = aligned_alloc(64, ((size_t)n * 4 + 4095) / 64 * 64);
  for (int64_t i = 0; i < n; i++) p[i] = (float)((i * 2654435761u % 2001) - 1000) / 1000;
  return p;
}

static void blas(const struct gemm_shape *s, bool tx, bool tw, float *const p[3]) {
  int m = (int)s->m, n = (int)s->n, k = (int)s->k;
  cblas_sgemm(CblasRowMajor, tx ? CblasTrans : CblasNoTrans, tw ? CblasTrans : CblasNoTrans, m, n, k, 1,
              p[0], tx ? m : k, p[1], tw ? k : n, 0, p[2], n);
}

static void time_product(const struct gemm_shape *s, bool tx, bool tw, const struct loop_kernel *k,
                         jit_kernel run, double seconds) {
  float *p[3] = {random_floats(s->m * s->k), random_floats(s->k * s->n), random_floats(s->m * s->n)};
  char *shared = (char *)random_floats((int64_t)loop_shared_bytes(k) / 4 + 16);
  char *mine = (char *)random_floats((int64_t)loop_thread_bytes(k) * omp_get_max_threads() / 4 + 16);
  enum { MOST = 2000 };
  double ours[MOST], theirs[MOST], end = omp_get_wtime() + seconds;
  int n = 0;
  run((void **)p, shared, mine);
  blas(s, tx, tw, p);
  do {
    double start = omp_get_wtime();
    run((void **)p, shared, mine);
    double middle = omp_get_wtime();
    blas(s, tx, tw, p);
    ours[n] = middle - start, theirs[n++] = omp_get_wtime() - middle;
  } while (n < MOST && (omp_get_wtime() < end || n < 3));
  qsort(ours, (size_t)n, sizeof *ours, by_value);
  qsort(theirs, (size_t)n, sizeof *theirs, by_value);
  printf("  %4.0f %4.0f %5.2f", k->flops / ours[n / 2] / 1e9, k->flops / theirs[n / 2] / 1e9,
         theirs[n / 2] / ours[n / 2]);
  fflush(stdout);
  for (int i = 0; i < 3; i++) free(p[i]);
  free(shared);
  free(mine);
}

int main(int argc, char **argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 0.5;
  const char *threads = getenv("OMP_NUM_THREADS");
  bt_blas_init(threads ? atoi(threads) : 0);
  struct arena *arena = arena_new();
  struct target t;
  target_from_march(&t, getenv("BENCH_MARCH"));
  printf("%d lanes, %d threads, OpenBLAS for %s; GFLOP/s of medians: ours, OpenBLAS, ratio\n", t.lanes,
         omp_get_max_threads(), bt_blas_core());
  printf("%-16s  %-15s  %-15s  %-15s  %s\n", "m x n x k", "x w", "x w'", "x' w", "x' w'");
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    struct gemm_shape s = shapes[i];
    s.batch = 1;
    const char *name = str_printf(arena, "%ldx%ldx%ld", (long)s.m, (long)s.n, (long)s.k);
    if (argc > 2 && !strstr(name, argv[2])) continue;
    struct loop_kernel *k[4];
    for (int f = 0; f < 4; f++)
      k[f] = sched_gemm_plain(arena, &t, str_printf(arena, "product_%d", f), &s, f & 2, f & 1);
    struct jit j;
    if (!jit_build(&j, arena, k, 4, &t)) return 1;
    printf("%-16s", name);
    for (int f = 0; f < 4; f++) time_product(&s, f & 2, f & 1, k[f], j.kernels[f], seconds);
    printf("\n");
    jit_close(&j);
  }
  arena_free(arena);
  return 0;
}
