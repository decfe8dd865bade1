// bench.c: --bench N, the step and the data pipeline timed on the real thing, apart and at once.
#include "loader.h"
#include "random.h"
#include "trainer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_UP 3

static int compare_times(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *times, int64_t n) {
  qsort(times, (size_t)n, sizeof *times, compare_times);
  return n % 2 ? times[n / 2] : (times[n / 2 - 1] + times[n / 2]) / 2;
}

struct times {
  double step, data, both; // seconds a step; of both at once, as a run does it
};

static void print_times(const struct bt_session *s, int64_t n, const struct times *t) {
  const struct bt_program *p = s->program;
  double images = (double)p->batch / t->both, gflops = p->flops / t->step * 1e-9;
  int loaders = bt_session_loaders(s);
  if (s->options->json)
    printf("{\"program\":\"%s\",\"step_ms\":%.4f,\"data_ms\":%.4f,\"both_ms\":%.4f,\"images_per_s\":%.1f,"
           "\"gflop_per_s\":%.1f,\"batch\":%" PRId64 ",\"threads\":%d,\"loaders\":%d,\"steps\":%" PRId64 "}\n",
           p->name, 1e3 * t->step, 1e3 * t->data, 1e3 * t->both, images, gflops, p->batch, s->threads, loaders, n);
  else
    printf("%s: step %.2f ms, data %.2f ms, both at once %.2f ms (medians of %" PRId64
           "), %.0f images/s, %.1f GFLOP/s, batch %" PRId64 ", %d threads, %d loaders\n",
           p->name, 1e3 * t->step, 1e3 * t->data, 1e3 * t->both, n, images, gflops, p->batch, s->threads, loaders);
}

struct bench {
  struct bt_session *s;
  uint32_t *order;
  struct bt_step_point point;
  double *step, *data, *both; // n each
  char err[4096];
};

static void order_bench(void *user, int64_t step, uint32_t *index) {
  const struct bench *b = user;
  size_t batch = (size_t)b->s->program->batch;
  memcpy(index, b->order + (size_t)(step % b->point.steps_per_epoch) * batch, batch * sizeof *index);
}

static void start_loading(struct bench *b, int64_t steps) {
  struct bt_stream stream = {b->s, &b->s->data->train, order_bench, b, b->point.seed, b->point.step, b->point.step + steps,
                             b->point.steps_per_epoch};
  bt_loader_start(b->s->loader, &stream);
}

// *loaded: when the batch was there.
static bool take_step(struct bench *b, double *loaded) {
  if (!bt_loader_next(b->s->loader, b->err, sizeof b->err)) return false;
  *loaded = bt_now();
  bt_session_count(b->s, &b->point);
  bt_session_step(b->s);
  b->point.step++;
  return true;
}

// The loader stands still while the step is timed, and the step while a batch is loaded.
static bool time_apart(struct bench *b, int64_t n) {
  for (int64_t i = -WARM_UP; i < n; i++) {
    double start = bt_now(), loaded;
    start_loading(b, 1);
    if (!take_step(b, &loaded)) return false;
    if (i >= 0) b->data[i] = loaded - start, b->step[i] = bt_now() - loaded;
  }
  return true;
}

static bool time_together(struct bench *b, int64_t n) {
  start_loading(b, n + WARM_UP);
  for (int64_t i = -WARM_UP; i < n; i++) {
    double start = bt_now(), loaded;
    if (!take_step(b, &loaded)) return false;
    if (i >= 0) b->both[i] = bt_now() - start;
  }
  return true;
}

int bt_bench(struct bt_session *s) {
  int64_t n = s->options->bench, images = s->data->train.n, batch = s->program->batch;
  if (images < batch) return bt_report_error(s->options, "the data is smaller than one batch");
  struct bench b = {.s = s, .point = {(uint64_t)s->options->seed, 0, 2 * (n + WARM_UP), images / batch}};
  b.order = bt_xcalloc((size_t)images, sizeof *b.order);
  b.step = bt_xcalloc(3 * (size_t)n, sizeof *b.step), b.data = b.step + n, b.both = b.data + n;
  bt_shuffle(b.point.seed, 0, (uint32_t)images, b.order);
  bool ok = time_apart(&b, n) && time_together(&b, n);
  bt_loader_stop(s->loader);
  if (ok) print_times(s, n, &(struct times){median(b.step, n), median(b.data, n), median(b.both, n)});
  free(b.order), free(b.step);
  return ok ? 0 : bt_report_error(s->options, b.err);
}
