// cost.c: predicts the time of a graph, by roofline.
//
// The graph is lowered as code generation would lower it, and each kernel takes the longer of two
// times: its arithmetic at the rate of the vector units, and its memory traffic at the bandwidth of the memory
// that its data fits into; and a launch besides. This is meant to rank variants that differ by
// factors; `btc tune` measures those that are close.
#include "codegen_internal.h"

// Two cores of a Xeon with AVX-512 (2 MiB of L2 each): OpenBLAS's sgemm with operands in cache, and a sweep that reads
// one array and writes another, of 1 MiB, 16 to 64 MiB, and 256 MiB together; an empty parallel loop.
static const double lane_flops = 20e9; // of a lane: 320 GFLOP/s with 16
static const double l2_bandwidth = 145e9, l3_bandwidth = 56e9, memory_bandwidth = 26e9; // bytes/s
static const double l3_bytes = 64 << 20;
static const double launch_seconds = 0.7e-6;

static double bandwidth_for(double bytes, const struct target *t) {
  if (bytes <= (double)t->l2_bytes) return l2_bandwidth;
  return bytes <= l3_bytes ? l3_bandwidth : memory_bandwidth;
}

struct kernel_time kernel_time(const struct loop_kernel *k, const struct target *t) {
  struct kernel_time c = {.arithmetic = k->flops / (lane_flops * t->lanes), .traffic = k->bytes / bandwidth_for(k->bytes, t), .launch = launch_seconds};
  c.seconds = c.launch + (c.arithmetic > c.traffic ? c.arithmetic : c.traffic);
  return c;
}

struct variant_cost graph_cost(const struct graph *g, const struct target *t) {
  const struct graph *laid_out = pass_layout(g, t->lanes);
  struct fusion *f = fuse_graph(laid_out, NULL, g);
  struct variant_cost c = {.kernels = f->kernels.len};
  codegen_lower(f, t);
  for (int i = 0; i < f->kernels.len; i++) {
    const struct loop_kernel *k = f->kernels.data[i]->loops;
    c.flops += k->flops;
    c.bytes += k->bytes;
    c.seconds += kernel_time(k, t).seconds;
  }
  c.temporaries = plan_arena(f).arena_bytes;
  return c;
}
