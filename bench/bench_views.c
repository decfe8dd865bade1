// bench_views.c: time of the views of Barlow Twins (Zbontar et al., 2021, appendix A): bench_views CASE SECONDS
//
// Prints the microseconds that the two views of one image take, on one core. bench/views.py has the
// cases, the same in torchvision.
#include "views.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STEP(step, ...)             \
  {                                 \
    BT_VIEW_##step, { __VA_ARGS__ } \
  }

enum { N_IMAGES = 64, N_STEPS = 7 };

static const struct bench_case {
  const char *name;
  int height, width, size;
  double blur[2]; // how often each view is blurred
} cases[] = {{"32", 32, 32, 32, {1, 0.1}},
             {"32-no-blur", 32, 32, 32, {0, 0}},
             {"224", 375, 500, 224, {1, 0.1}}};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct bt_view_plan *plan_view(const struct bench_case *c, int view) {
  static struct bt_view_step steps[2][N_STEPS];
  static struct bt_view views[2];
  const struct bt_view_step all[N_STEPS] = {
      STEP(random_resized_crop, c->size, 0.08, 1, 3 / 4.0, 4 / 3.0, 1 /* bicubic */),
      STEP(horizontal_flip, 0.5),
      STEP(color_jitter, 0.8, 0.4, 0.4, 0.2, 0.1),
      STEP(grayscale, 0.2),
      STEP(gaussian_blur, c->blur[view], 0.1, 2),
      STEP(solarize, view ? 0.2 : 0, 128),
      STEP(normalize, 0.485, 0.456, 0.406, 0, 0.229, 0.224, 0.225)};
  const int64_t any[3] = {3, 0, 0};
  char err[1000];
  memcpy(steps[view], all, sizeof all);
  views[view] = (struct bt_view){"bench", N_STEPS, steps[view]};
  struct bt_view_plan *plan = bt_view_plan_new(&views[view], any, 1, err, sizeof err);
  if (plan) return plan;
  fprintf(stderr, "bench_views: %s\n", err);
  exit(1);
}

static double time_pairs(const struct bench_case *c, double seconds) {
  struct bt_view_plan *plans[2] = {plan_view(c, 0), plan_view(c, 1)};
  size_t bytes = 3 * (size_t)c->height * (size_t)c->width;
  uint8_t *images = malloc(N_IMAGES * bytes);
  float *out = malloc(sizeof(float) * 3 * (size_t)c->size * (size_t)c->size);
  for (size_t i = 0; i < N_IMAGES * bytes; i++) images[i] = (uint8_t)((i * 2654435761u) >> 13);
  double start = now(), end = start;
  long done = -N_IMAGES; // the first round warms up
  for (uint32_t epoch = 0; done <= 0 || end - start < seconds; epoch++) {
    for (uint32_t i = 0; i < N_IMAGES; i++)
      for (uint32_t view = 0; view < 2; view++) {
        struct bt_raster raster = {3, c->height, c->width, images + i * bytes};
        bt_view_apply(plans[view], 0, &raster, i, (struct bt_view_key){1, epoch, view}, out, NULL, 0);
      }
    if (epoch == 0) start = now();
    end = now(), done += N_IMAGES;
  }
  bt_view_plan_free(plans[0]), bt_view_plan_free(plans[1]);
  free(images), free(out);
  return (end - start) / (double)done * 1e6;
}

int main(int argc, char **argv) {
  for (size_t i = 0; argc == 3 && i < sizeof cases / sizeof *cases; i++)
    if (strcmp(argv[1], cases[i].name) == 0)
      return printf("%.1f\n", time_pairs(&cases[i], atof(argv[2]))), 0;
  fprintf(stderr, "usage: bench_views 32|32-no-blur|224 SECONDS\n");
  return 2;
}
