// bench_conv.c: GFLOP/s of the convolution schedules, each direction, on the shapes of ResNets, and of depthwise and
// grouped networks (by memory: 4 bytes an element of x and y for 2 * taps operations).
//
// Compiles every kernel for this machine, runs it until `seconds` are over, prints the median and
// the best. Blocked layouts, except where channels do not fill a vector.
//
//   build/bench_conv [seconds a kernel, default 0.5] [only shapes whose name contains this]
#include "../tests/unit/jit.h"
#include "measure.h"
#include "sched_conv.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

struct layer {
  const char *name;
  int64_t n, ic, oc, size, k, stride, pad, groups;
};
static const struct layer layers[] = {
    {"64->64 @ 32", 128, 64, 64, 32, 3, 1, 1, 1},
    {"128->128 @ 16", 128, 128, 128, 16, 3, 1, 1, 1},
    {"256->256 @ 8", 128, 256, 256, 8, 3, 1, 1, 1},
    {"512->512 @ 4", 128, 512, 512, 4, 3, 1, 1, 1},
    {"64->128 /2 @ 32", 128, 64, 128, 32, 3, 2, 1, 1},
    {"64->128 1x1 /2 @ 32", 128, 64, 128, 32, 1, 2, 0, 1},
    {"3->64 @ 32", 128, 3, 64, 32, 3, 1, 1, 1},
    {"1->16 @ 28", 256, 1, 16, 28, 3, 1, 1, 1},
    {"32->32 @ 14", 256, 32, 32, 14, 3, 1, 1, 1},
    {"64->64 @ 7", 256, 64, 64, 7, 3, 1, 1, 1},
    {"1x1 64->256 @ 56", 16, 64, 256, 56, 1, 1, 0, 1},
    {"1x1 256->64 @ 56", 16, 256, 64, 56, 1, 1, 0, 1},
    {"3->64 7x7 /2 @ 224", 16, 3, 64, 224, 7, 2, 3, 1},
    {"depthwise 64 @ 56", 32, 64, 64, 56, 3, 1, 1, 64},
    {"depthwise 96 7x7 @ 28", 32, 96, 96, 28, 7, 1, 3, 96},
    {"depthwise 65 @ 28", 32, 65, 65, 28, 3, 1, 1, 65},
    {"128->128 /32 @ 28", 32, 128, 128, 28, 3, 1, 1, 32},
    {"512->512 /32 @ 14", 32, 512, 512, 14, 3, 1, 1, 32},
    {"1024->1024 /32 @ 7", 32, 1024, 1024, 7, 3, 1, 1, 32},
};

static struct conv_shape conv_of(const struct layer *l, int lanes) {
  int64_t out = (l->size + 2 * l->pad - l->k) / l->stride + 1;
  return (struct conv_shape){l->n,
                             l->ic,
                             l->size,
                             l->size,
                             l->oc,
                             out,
                             out,
                             l->k,
                             l->k,
                             {l->stride, l->stride},
                             {l->pad, l->pad},
                             {1, 1},
                             l->ic % lanes == 0,
                             l->oc % lanes == 0,
                             l->groups};
}

static float *random_floats(int64_t n) {
  float *p = aligned_alloc(64, ((size_t)n * 4 + 4095) / 64 * 64);
  for (int64_t i = 0; i < n; i++) p[i] = (float)((i * 2654435761u % 2001) - 1000) / 1000;
  return p;
}

static void time_kernel(const struct loop_kernel *k, jit_kernel run, double seconds) {
  void *params[3];
  for (int i = 0; i < 3; i++) params[i] = random_floats(k->params.data[i]->count);
  char *shared = (char *)random_floats((int64_t)loop_shared_bytes(k) / 4 + 16);
  char *mine =
      (char *)random_floats((int64_t)loop_thread_bytes(k) * omp_get_max_threads() / 4 + 16);
  enum { MOST = 1000 };
  double took[MOST], end = omp_get_wtime() + seconds;
  int n = 0;
  run(params, shared, mine);
  do {
    double start = omp_get_wtime();
    run(params, shared, mine);
    took[n++] = omp_get_wtime() - start;
  } while (n < MOST && (omp_get_wtime() < end || n < 3));
  struct quartiles t = quartiles_of(took, n);
  printf("  %6.0f %6.0f (%7.2f ms)", k->flops / t.median / 1e9, k->flops / t.least / 1e9,
         t.least * 1e3);
  fflush(stdout);
  for (int i = 0; i < 3; i++) free(params[i]);
  free(shared);
  free(mine);
}

int main(int argc, char **argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 0.5;
  struct arena *arena = arena_new();
  struct target t;
  target_from_march(&t, getenv("BENCH_MARCH"));
  printf("%d lanes, %d threads; GFLOP/s: median, best (best time)\n", t.lanes,
         omp_get_max_threads());
  printf("%-22s  %-27s %-27s %s\n", "", "forward", "backward data", "backward weights");
  for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
    if (argc > 2 && !strstr(layers[i].name, argv[2])) continue;
    struct conv_shape s = conv_of(&layers[i], t.lanes);
    struct loop_kernel *k[] = {sched_conv_forward(arena, &t, "forward", &s),
                               sched_conv_backward_data(arena, &t, "backward_data", &s),
                               sched_conv_backward_weights(arena, &t, "backward_weights", &s)};
    struct jit j;
    if (!jit_build(&j, arena, k, 3, &t)) return 1;
    printf("%-22s", layers[i].name);
    for (int d = 0; d < 3; d++) time_kernel(k[d], j.kernels[d], seconds);
    printf("\n");
    jit_close(&j);
  }
  arena_free(arena);
  return 0;
}
