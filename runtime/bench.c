// bench.c: --bench N, the step and the data pipeline timed separately on the real thing.
#include "random.h"
#include "trainer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define WARM_UP 3

static int compare_times(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *times, int64_t n) {
  qsort(times, (size_t)n, sizeof *times, compare_times);
  return n % 2 ? times[n / 2] : (times[n / 2 - 1] + times[n / 2]) / 2;
}

static void print_times(const struct bt_session *s, int64_t n, double step, double data) {
  const struct bt_program *p = s->program;
  double images = (double)p->batch / (step + data), gflops = p->flops / step * 1e-9;
  if (s->options->json)
    printf("{\"program\":\"%s\",\"step_ms\":%.4f,\"data_ms\":%.4f,\"images_per_s\":%.1f,"
           "\"gflop_per_s\":%.1f,\"batch\":%" PRId64 ",\"threads\":%d,\"steps\":%" PRId64 "}\n",
           p->name, 1e3 * step, 1e3 * data, images, gflops, p->batch, s->threads, n);
  else
    printf("%s: step %.2f ms, data %.2f ms (medians of %" PRId64
           "), %.0f images/s, %.1f GFLOP/s, batch %" PRId64 ", %d threads\n",
           p->name, 1e3 * step, 1e3 * data, n, images, gflops, p->batch, s->threads);
}

int bt_bench(struct bt_session *s) {
  int64_t n = s->options->bench, images = s->data->train.n, batch = s->program->batch;
  if (images < batch) return bt_report_error(s->options, "the data is smaller than one batch");
  uint32_t *order = bt_xcalloc((size_t)images, sizeof *order);
  double *step = bt_xcalloc((size_t)n, sizeof *step), *data = bt_xcalloc((size_t)n, sizeof *data);
  struct bt_step_point point = {(uint64_t)s->options->seed, 0, n + WARM_UP, images / batch};
  bt_shuffle(point.seed, 0, (uint32_t)images, order);
  for (; point.step < n + WARM_UP; point.step++) {
    double t0 = bt_now();
    bt_session_feed(s, &s->data->train, order + point.step % point.steps_per_epoch * batch, &point);
    bt_session_count(s, &point);
    double t1 = bt_now();
    bt_session_step(s);
    double t2 = bt_now();
    if (point.step >= WARM_UP)
      data[point.step - WARM_UP] = t1 - t0, step[point.step - WARM_UP] = t2 - t1;
  }
  print_times(s, n, median(step, n), median(data, n));
  free(order), free(step), free(data);
  return 0;
}
