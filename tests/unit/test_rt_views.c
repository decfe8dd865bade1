// test_rt_views.c: each step against its definition, and independence of threads and batches.
#define _GNU_SOURCE
#include "btrt_internal.h"
#include "rt_test.h"
#include "safetensors.h"
#include "views.h"

#include <math.h>
#include <omp.h>
#include <time.h>

static char err[1000];
enum { H = 28, W = 28 };
static uint8_t image[3 * 64 * 64];

static void fill_image(void) {
  for (size_t i = 0; i < sizeof image; i++) image[i] = (uint8_t)((i * 2654435761u) >> 24);
}

#define STEP(step, ...)             \
  {                                 \
    BT_VIEW_##step, { __VA_ARGS__ } \
  }
#define VIEW(...)                                                                                \
  (&(struct bt_view){"v",                                                                        \
                     sizeof((struct bt_view_step[]){__VA_ARGS__}) / sizeof(struct bt_view_step), \
                     (const struct bt_view_step[]){__VA_ARGS__}})

// Views of images of one size, by as many threads as the plan has workers.
static void view_batch(struct bt_view_plan *plan, int workers, const int64_t shape[3],
                       const uint8_t *images, const uint32_t *index, int64_t n,
                       struct bt_view_key key, float *out) {
  int64_t result[3];
  bt_view_plan_shape(plan, result);
#pragma omp parallel for schedule(static) num_threads(workers)
  for (int64_t i = 0; i < n; i++) {
    struct bt_raster r = {(int)shape[0], (int)shape[1], (int)shape[2],
                          images + index[i] * bt_count(3, shape)};
    bt_view_apply(plan, omp_get_thread_num(), &r, index[i], key, out + i * bt_count(3, result), NULL, 0);
  }
}

// One image of c × h × w through a view; result to out; returns its element count.
static int64_t apply(const struct bt_view *view, int c, int h, int w, uint64_t seed, float *out) {
  const int64_t shape[3] = {c, h, w};
  int64_t result[3];
  uint32_t zero = 0;
  struct bt_view_plan *plan = bt_view_plan_new(view, shape, 1, err, sizeof err);
  if (!plan) fail_msg("%s", err);
  bt_view_plan_shape(plan, result);
  view_batch(plan, 1, shape, image, &zero, 1, (struct bt_view_key){seed, 0, 0}, out);
  bt_view_plan_free(plan);
  return bt_count(3, result);
}

// Antialiased bilinear resize by its definition, in double, without separating the axes.
static double resized(int h, int w, int oh, int ow, int y, int x) {
  double sy = (double)h / oh, sx = (double)w / ow, fy = fmax(sy, 1), fx = fmax(sx, 1);
  double sum = 0, weight = 0;
  for (int i = 0; i < h; i++)
    for (int j = 0; j < w; j++) {
      double a = 1 - fabs((i + 0.5 - (y + 0.5) * sy) / fy),
             b = 1 - fabs((j + 0.5 - (x + 0.5) * sx) / fx);
      if (a <= 0 || b <= 0) continue;
      sum += a * b * image[i * w + j], weight += a * b;
    }
  return sum / weight;
}

static void test_resize(void **state) {
  (void)state;
  static const int sizes[][3] = {{28, 28, 28}, {28, 28, 14}, {28, 28, 9},
                                 {17, 23, 32}, {64, 48, 20}, {5, 1, 7}};
  static float out[64 * 64];
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    int h = sizes[s][0], w = sizes[s][1], o = sizes[s][2];
    assert_int_equal(apply(VIEW(STEP(resize, o)), 1, h, w, 0, out), o * o);
    for (int y = 0; y < o; y++)
      for (int x = 0; x < o; x++) {
        double want = resized(h, w, o, o, y, x) / 255;
        if (fabs(out[y * o + x] - want) > 1e-5)
          fail_msg("%d×%d to %d: (%d, %d) is %g, not %g", h, w, o, y, x, out[y * o + x], want);
      }
  }
}

static void test_full_crop_is_the_image(void **state) {
  (void)state;
  static float out[3 * H * W];
  apply(VIEW(STEP(random_resized_crop, 28, 1, 1, 1, 1)), 3, H, W, 1, out);
  for (int i = 0; i < 3 * H * W; i++) assert_true(fabsf(out[i] - (float)image[i] / 255) < 1e-6f);
}

// On a horizontal ramp the crop's place and width can be read off the result.
static void test_crop_statistics(void **state) {
  (void)state;
  static float out[H * W];
  double area = 0, least = 1, most = 0;
  enum { N = 2000 };
  for (int y = 0; y < 64; y++)
    for (int x = 0; x < 64; x++) image[y * 64 + x] = (uint8_t)(x * 2);
  for (uint64_t seed = 0; seed < N; seed++) {
    apply(VIEW(STEP(random_resized_crop, 28, 0.25, 1, 1, 1)), 1, 64, 64, seed, out);
    double side = (out[14 * W + 20] - out[14 * W + 8]) * 255 / 2 / 12 * 28 / 64; // crop width / 64
    double share = side * side;
    area += share / N, least = fmin(least, share), most = fmax(most, share);
  }
  fill_image();
  assert_true(fabs(area - 0.625) < 0.02); // mean of U(0.25, 1)
  assert_true(least > 0.23 && least < 0.28);
  assert_true(most > 0.97 && most < 1.04);
}

static void test_random_crop_pads_with_zero(void **state) {
  (void)state;
  static float out[H * W];
  bool seen[9][9] = {{false}};
  memset(image, 255, sizeof image);
  for (uint64_t seed = 0; seed < 1000; seed++) {
    apply(VIEW(STEP(random_crop, 28, 4)), 1, H, W, seed, out);
    int top = 0, bottom = 0, left = 0, right = 0; // zero rows and columns on each side
    while (out[top * W + 14] == 0) top++;
    while (out[(27 - bottom) * W + 14] == 0) bottom++;
    while (out[14 * W + left] == 0) left++;
    while (out[14 * W + 27 - right] == 0) right++;
    assert_true((top == 0 || bottom == 0) && top <= 4 && bottom <= 4);
    seen[4 + top - bottom][4 + left - right] = true;
    double sum = 0;
    for (int i = 0; i < H * W; i++) sum += out[i];
    assert_true(fabs(sum - (28 - top - bottom) * (28 - left - right)) < 1e-3);
  }
  int places = 0;
  for (int i = 0; i < 81; i++) places += seen[i / 9][i % 9];
  assert_int_equal(places, 81);
  fill_image();
}

static void test_center_crop(void **state) {
  (void)state;
  static float out[40 * 40];
  apply(VIEW(STEP(center_crop, 20)), 1, 28, 31, 0, out); // torchvision: rounds 5.5 to 6
  assert_true(fabsf(out[0] - (float)image[4 * 31 + 6] / 255) < 1e-6f);
  apply(VIEW(STEP(center_crop, 40)), 1, 28, 31, 0, out); // pads 6 above, 4 on the left
  assert_true(out[5 * 40 + 20] == 0 && out[20 * 40 + 3] == 0);
  assert_true(fabsf(out[6 * 40 + 4] - (float)image[0] / 255) < 1e-6f);
}

static void test_flip_and_normalize(void **state) {
  (void)state;
  static float out[3 * H * W];
  apply(VIEW(STEP(horizontal_flip, 1), STEP(normalize, 0.5, 0.25, 0.1, 0, 0.2, 0.5, 2, 0)), 3, H, W,
        0, out);
  const double mean[3] = {0.5, 0.25, 0.1}, std[3] = {0.2, 0.5, 2};
  for (int c = 0; c < 3; c++)
    for (int y = 0; y < H; y++)
      for (int x = 0; x < W; x++) {
        double want = (image[(c * H + y) * W + W - 1 - x] / 255.0 - mean[c]) / std[c];
        assert_true(fabs(out[(c * H + y) * W + x] - want) < 1e-5);
      }
  int flipped = 0;
  for (uint64_t seed = 0; seed < 1000; seed++) {
    apply(VIEW(STEP(horizontal_flip, 0.3)), 1, H, W, seed, out);
    flipped += fabsf(out[0] - (float)image[0] / 255) > 1e-6f;
  }
  assert_true(flipped > 240 && flipped < 360);
}

// The factor drawn is read back from the result, then the whole image must agree with it.
static void test_jitter(void **state) {
  (void)state;
  static float out[3 * H * W];
  double least = 9, most = 0, mean = 0;
  for (int i = 0; i < 3 * H * W; i++) image[i] = (uint8_t)(60 + image[i] % 100);
  for (int i = 0; i < H * W; i++)
    mean += (0.299 * image[i] + 0.587 * image[H * W + i] + 0.114 * image[2 * H * W + i]) / (H * W);
  for (uint64_t seed = 0; seed < 300; seed++) {
    apply(VIEW(STEP(color_jitter, 1, 0.4, 0)), 3, H, W, seed, out);
    double factor = out[0] * 255 / image[0];
    least = fmin(least, factor), most = fmax(most, factor);
    for (int i = 0; i < 3 * H * W; i++)
      assert_true(fabs(out[i] * 255 - fmin(255, factor * image[i])) < 2e-2);
    apply(VIEW(STEP(color_jitter, 1, 0, 0.4)), 3, H, W, seed, out);
    factor = (out[0] * 255 - mean) / (image[0] - mean);
    for (int i = 0; i < 3 * H * W; i++) {
      double want = fmin(255, fmax(0, factor * image[i] + (1 - factor) * mean));
      assert_true(fabs(out[i] * 255 - want) < 2e-2);
    }
  }
  assert_true(least > 0.59 && least < 0.63 && most > 1.37 && most < 1.41);
  fill_image();
}

static void test_raw(void **state) {
  (void)state;
  static float out[H * W];
  apply(NULL, 1, H, W, 0, out);
  for (int i = 0; i < H * W; i++) assert_true(out[i] == image[i]);
}

#define FULL_VIEW                                                                        \
  VIEW(STEP(random_resized_crop, 28, 0.3, 1, 0.75, 4.0 / 3), STEP(horizontal_flip, 0.5), \
       STEP(color_jitter, 0.8, 0.4, 0.4), STEP(normalize, 0.286, 0, 0, 0, 0.353, 0, 0, 0))

static void test_threads_and_batches_change_nothing(void **state) {
  (void)state;
  enum { N = 40 };
  uint8_t *images = malloc(N * H * W);
  float *a = malloc(sizeof(float) * N * H * W), *b = malloc(sizeof(float) * N * H * W);
  const int64_t shape[3] = {1, H, W};
  uint32_t index[N];
  for (int i = 0; i < N * H * W; i++) images[i] = (uint8_t)(i * 7919 >> 3);
  for (int i = 0; i < N; i++) index[i] = (uint32_t)(i * 17 % N);
  struct bt_view_plan *one = bt_view_plan_new(FULL_VIEW, shape, 1, err, sizeof err);
  struct bt_view_plan *four = bt_view_plan_new(FULL_VIEW, shape, 4, err, sizeof err);
  struct bt_view_key key = {9, 2, 1};
  view_batch(one, 1, shape, images, index, N, key, a);
  view_batch(four, 4, shape, images, index, N, key, b);
  assert_memory_equal(a, b, sizeof(float) * N * H * W);
  for (int i = 0; i < N; i++) view_batch(one, 1, shape, images, index + i, 1, key, b + i * H * W);
  assert_memory_equal(a, b, sizeof(float) * N * H * W);
  struct bt_view_key others[3] = {{8, 2, 1}, {9, 3, 1}, {9, 2, 2}};
  for (int i = 0; i < 3; i++) {
    view_batch(one, 1, shape, images, index, N, others[i], b);
    assert_memory_not_equal(a, b, sizeof(float) * N * H * W);
  }
  bt_view_plan_free(one), bt_view_plan_free(four);
  free(images), free(a), free(b);
}

static void test_bad_views(void **state) {
  (void)state;
  const int64_t shape[3] = {1, 28, 28};
  const struct {
    const struct bt_view *view;
    const char *why;
  } cases[] = {
      {VIEW(STEP(resize, 0)), "whole number"},
      {VIEW(STEP(resize, 2.5)), "whole number"},
      {VIEW(STEP(random_crop, 40, 2)), "padding of at least 6"},
      {VIEW(STEP(random_crop, 28, -1)), "padding"},
      {VIEW(STEP(random_resized_crop, 28, 0, 1, 1, 1)), "scale"},
      {VIEW(STEP(random_resized_crop, 28, 0.5, 1, 2, 1)), "ratio"},
      {VIEW(STEP(horizontal_flip, 1.5)), "p is 1.5"},
      {VIEW(STEP(normalize, 0, 0, 0, 0, 0)), "std must be above 0"},
      {VIEW(STEP(normalize, 0, 0, 0, 0, 1), STEP(color_jitter, 1, 0.1, 0.1)), "before normalize"},
      {VIEW(STEP(color_jitter, 1, -0.1, 0)), "negative"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_null(bt_view_plan_new(cases[i].view, shape, 1, err, sizeof err));
    rt_expect_text(err, cases[i].why);
  }
}

// PIL's results at fixed parameters. A jitter of strength s has factor 1 ± s only by chance, so the
// colour definitions are checked above; here the flip, which has no parameter.
static void test_reference_flip(void **state) {
  (void)state;
  const char *path = rt_reference("augment_fixed.safetensors");
  if (!path) skip();
  struct st_file *f = st_open(path, err, sizeof err);
  const uint8_t *in = st_find(f, "image")->data, *want = st_find(f, "hflip")->data;
  static float out[3 * 48 * 64];
  for (int c = 0; c < 3; c++)
    for (int i = 0; i < 48 * 64; i++) image[c * 48 * 64 + i] = in[i * 3 + c];
  apply(VIEW(STEP(horizontal_flip, 1)), 3, 48, 64, 0, out);
  for (int c = 0; c < 3; c++)
    for (int i = 0; i < 48 * 64; i++)
      assert_int_equal(lrintf(out[c * 48 * 64 + i] * 255), want[i * 3 + c]);
  st_close(f);
  fill_image();
}

static int time_views(void) {
  enum { N = 20000 };
  uint8_t *images = calloc(N, H * W);
  float *out = malloc(sizeof(float) * N * H * W);
  uint32_t *index = malloc(sizeof *index * N);
  const int64_t shape[3] = {1, H, W};
  for (uint32_t i = 0; i < N; i++) index[i] = i;
  struct bt_view_plan *plan =
      bt_view_plan_new(FULL_VIEW, shape, omp_get_max_threads(), err, sizeof err);
  for (uint32_t epoch = 0; epoch < 3; epoch++) {
    double start = omp_get_wtime();
    view_batch(plan, omp_get_max_threads(), shape, images, index, N, (struct bt_view_key){1, epoch, 0}, out);
    printf("# %.0f views/s on %d threads\n", N / (omp_get_wtime() - start), omp_get_max_threads());
  }
  bt_view_plan_free(plan);
  return free(images), free(out), free(index), 0;
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "--time") == 0) return time_views();
  fill_image();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_resize),
      cmocka_unit_test(test_full_crop_is_the_image),
      cmocka_unit_test(test_crop_statistics),
      cmocka_unit_test(test_random_crop_pads_with_zero),
      cmocka_unit_test(test_center_crop),
      cmocka_unit_test(test_flip_and_normalize),
      cmocka_unit_test(test_jitter),
      cmocka_unit_test(test_raw),
      cmocka_unit_test(test_threads_and_batches_change_nothing),
      cmocka_unit_test(test_bad_views),
      cmocka_unit_test(test_reference_flip),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
