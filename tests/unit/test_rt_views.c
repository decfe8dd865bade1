// test_rt_views.c: each step against its definition, and independence of threads and batches.
#define _GNU_SOURCE
#include "btrt_internal.h"
#include "rt_test.h"
#include "random.h"
#include "views.h"

#include <math.h>
#include <omp.h>

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
    bt_view_apply(plan, omp_get_thread_num(), &r, index[i], key, out + i * bt_count(3, result),
                  NULL, 0);
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

// The shorter side becomes the size, the longer follows, rounded down.
static void test_resize(void **state) {
  (void)state;
  static const int sizes[][5] = {{28, 28, 28, 28, 28}, {28, 28, 9, 9, 9}, {17, 23, 32, 32, 43},
                                 {64, 48, 20, 26, 20}, {5, 1, 7, 35, 7},  {61, 64, 30, 30, 31}};
  static float out[64 * 64];
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    int h = sizes[s][0], w = sizes[s][1], oh = sizes[s][3], ow = sizes[s][4];
    assert_int_equal(apply(VIEW(STEP(resize, sizes[s][2])), 1, h, w, 0, out), oh * ow);
    for (int y = 0; y < oh; y++)
      for (int x = 0; x < ow; x++) {
        double want = resized(h, w, oh, ow, y, x) / 255;
        if (fabs(out[y * ow + x] - want) > 1e-5)
          fail_msg("%d×%d to %d×%d: (%d, %d) is %g, not %g", h, w, oh, ow, y, x, out[y * ow + x],
                   want);
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

// The draws as apply_color_jitter says, composed in double: every order comes about equally often.
static void test_jitter_order(void **state) {
  (void)state;
  enum { S = 6, N = 3 * S * S, SEEDS = 2400 };
  static const double strength[4] = {0.4, 0.4, 0.2, 0};
  static float out[N];
  int seen[4 * 4 * 4] = {0}, orders = 0;
  for (int i = 0; i < N; i++)
    image[i] = (uint8_t)(image[i] < 128 ? image[i] / 4 : 255 - image[i] / 4); // clamps
  for (uint64_t seed = 0; seed < SEEDS; seed++) {
    struct bt_random r = bt_random_new(seed, BT_RANDOM_VIEW, 0, 0, 0);
    double factor[3], p[N];
    int order[3] = {0}, n = 1;
    bt_random_unit(&r); // p
    for (int k = 0; k < 2; k++) factor[k] = bt_random_uniform(&r, 1 - strength[k], 1 + strength[k]);
    if (bt_random_below(&r, 2) == 0)
      order[0] = 1, order[1] = 0;
    else
      order[0] = 0, order[1] = 1;
    factor[2] = bt_random_uniform(&r, 1 - strength[2], 1 + strength[2]);
    int place = (int)bt_random_below(&r, 3);
    for (n = 2; n > place; n--) order[n] = order[n - 1];
    order[place] = 2;
    seen[order[0] * 16 + order[1] * 4 + order[2]]++;
    for (int i = 0; i < N; i++) p[i] = image[i];
    for (int k = 0; k < 3; k++) {
      double grey[S * S], mean = 0, f = factor[order[k]];
      for (int i = 0; i < S * S; i++) {
        grey[i] = 0.299 * p[i] + 0.587 * p[S * S + i] + 0.114 * p[2 * S * S + i];
        mean += grey[i] / (S * S);
      }
      for (int i = 0; i < N; i++) {
        double other = order[k] == 0 ? 0 : order[k] == 1 ? mean : grey[i % (S * S)];
        p[i] = fmin(255, fmax(0, f * p[i] + (1 - f) * other));
      }
    }
    apply(VIEW(STEP(color_jitter, 1, strength[0], strength[1], strength[2], 0)), 3, S, S, seed,
          out);
    for (int i = 0; i < N; i++)
      if (fabs(out[i] * 255 - p[i]) > 2e-3)
        fail_msg("seed %d: element %d is %g, not %g", (int)seed, i, out[i] * 255, p[i]);
  }
  for (int i = 0; i < 64; i++) {
    if (!seen[i]) continue;
    orders++;
    assert_true(seen[i] > 310 && seen[i] < 490); // 400 of each, five standard deviations
  }
  assert_int_equal(orders, 6);
  fill_image();
}

// With all four, hue takes a place too: on an image of one colour its effect is seen.
static void test_hue_is_drawn(void **state) {
  (void)state;
  static float out[3 * 4];
  double least = 1, most = -1;
  for (int c = 0; c < 3; c++)
    for (int i = 0; i < 4; i++) image[c * 4 + i] = c == 0 ? 200 : 50; // red
  for (uint64_t seed = 0; seed < 500; seed++) {
    apply(VIEW(STEP(color_jitter, 1, 0, 0, 0, 0.1)), 3, 2, 2, seed, out);
    double turn = (out[4] > out[8] ? out[4] - 50 / 255.0 : 50 / 255.0 - out[8]) / (150 / 255.0) / 6;
    assert_true(fabs(out[0] * 255 - 200) < 1e-3 && fabs(fmin(out[4], out[8]) * 255 - 50) < 1e-3);
    least = fmin(least, turn), most = fmax(most, turn);
  }
  fill_image();
  assert_true(least < -0.09 && least > -0.101 && most > 0.09 && most < 0.101);
}

static void test_frequencies(void **state) {
  (void)state;
  enum { S = 8, N = 3 * S * S };
  static float out[N];
  const struct bt_view *views[] = {
      VIEW(STEP(grayscale, 0.3)), VIEW(STEP(gaussian_blur, 0.3, 0.5, 1)),
      VIEW(STEP(solarize, 0.3, 128)), VIEW(STEP(color_jitter, 0.3, 0, 0, 0.5, 0))};
  for (int v = 0; v < 4; v++) {
    int changed = 0;
    for (uint64_t seed = 0; seed < 1000; seed++) {
      bool same = true;
      apply(views[v], 3, S, S, seed, out);
      for (int i = 0; i < N; i++) same = same && fabsf(out[i] - (float)image[i] / 255) < 1e-6f;
      changed += !same;
    }
    assert_true(changed > 228 && changed < 372); // 300, five standard deviations
  }
}

// torchvision leaves images of one channel as they are where a step needs colours.
static void test_one_channel(void **state) {
  (void)state;
  static float out[H * W];
  apply(VIEW(STEP(grayscale, 1), STEP(color_jitter, 1, 0, 0, 0.9, 0.5)), 1, H, W, 3, out);
  for (int i = 0; i < H * W; i++) assert_true(fabsf(out[i] - (float)image[i] / 255) < 1e-6f);
}

#define PAPER_VIEW                                                                           \
  VIEW(STEP(random_resized_crop, 24, 0.08, 1, 0.75, 4.0 / 3, 1), STEP(horizontal_flip, 0.5), \
       STEP(color_jitter, 0.8, 0.4, 0.4, 0.2, 0.1), STEP(grayscale, 0.2),                    \
       STEP(gaussian_blur, 0.5, 0.1, 2), STEP(solarize, 0.2, 128),                           \
       STEP(normalize, 0.5, 0.4, 0.3, 0, 0.2, 0.3, 0.4))

// Images of any size, growing and shrinking: what a plan for the one size makes, and nothing around
// it. Memory grows only with the image.
static void test_mixed_sizes(void **state) {
  (void)state;
  enum { N = 3 * 24 * 24, GUARD = 64 };
  static const int sizes[][2] = {{20, 30}, {64, 50}, {1, 1}, {5, 64}, {64, 64}, {33, 9}, {64, 64}};
  static float out[N + 2 * GUARD], want[N];
  const int64_t any[3] = {3, 0, 0};
  int64_t shape[3];
  struct bt_view_plan *plan = bt_view_plan_new(PAPER_VIEW, any, 2, err, sizeof err);
  if (!plan) fail_msg("%s", err);
  bt_view_plan_shape(plan, shape);
  assert_true(shape[0] == 3 && shape[1] == 24 && shape[2] == 24);
  size_t bytes = 0;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (uint64_t seed = 0; seed < 40; seed++) {
      struct bt_raster r = {3, sizes[i][0], sizes[i][1], image};
      for (int k = 0; k < N + 2 * GUARD; k++) out[k] = 77;
      if (i == 6 && seed == 0) bytes = bt_view_plan_bytes(plan);
      assert_true(bt_view_apply(plan, (int)seed % 2, &r, 0, (struct bt_view_key){seed, 0, 0},
                                out + GUARD, err, sizeof err));
      apply(PAPER_VIEW, 3, sizes[i][0], sizes[i][1], seed, want);
      assert_memory_equal(out + GUARD, want, sizeof want);
      for (int k = 0; k < GUARD; k++) assert_true(out[k] == 77 && out[GUARD + N + k] == 77);
    }
  assert_true(bytes > 0 && bytes == bt_view_plan_bytes(plan)); // warm
  struct bt_raster wrong = {1, 20, 20, image};
  assert_false(
      bt_view_apply(plan, 0, &wrong, 0, (struct bt_view_key){0, 0, 0}, out, err, sizeof err));
  rt_expect_text(err, "an image of 1×20×20");
  bt_view_plan_free(plan);
}

// Evaluation as torchvision's: Resize(int), then a central crop.
static void test_mixed_sizes_evaluated(void **state) {
  (void)state;
  static float out[24 * 24], whole[64 * 64];
  const int64_t any[3] = {1, 0, 0};
  struct bt_view_plan *plan =
      bt_view_plan_new(VIEW(STEP(resize, 28), STEP(center_crop, 24)), any, 1, err, sizeof err);
  if (!plan) fail_msg("%s", err);
  struct bt_raster r = {1, 40, 60, image};
  assert_true(bt_view_apply(plan, 0, &r, 0, (struct bt_view_key){0, 0, 0}, out, err, sizeof err));
  assert_int_equal(apply(VIEW(STEP(resize, 28)), 1, 40, 60, 0, whole), 28 * 42);
  for (int y = 0; y < 24; y++)
    for (int x = 0; x < 24; x++) assert_true(out[y * 24 + x] == whole[(y + 2) * 42 + x + 9]);
  bt_view_plan_free(plan);
}

static void test_too_small(void **state) {
  (void)state;
  static float out[3 * 28 * 28];
  const int64_t any[3] = {1, 0, 0};
  struct bt_view_plan *plan =
      bt_view_plan_new(VIEW(STEP(random_crop, 28, 2)), any, 1, err, sizeof err);
  struct bt_raster small = {1, 40, 20, image}, large = {1, 28, 24, image};
  struct bt_view_key key = {0, 0, 0};
  assert_false(bt_view_apply(plan, 0, &small, 0, key, out, err, sizeof err));
  rt_expect_text(
      err, "random_crop(28) of an image of 40×20 (height×width) needs a padding of at least 4");
  assert_true(bt_view_apply(plan, 0, &large, 0, key, out, err, sizeof err));
  bt_view_plan_free(plan);
  plan = bt_view_plan_new(VIEW(STEP(resize, 1000), STEP(center_crop, 8)), any, 1, err, sizeof err);
  struct bt_raster thin = {1, 2, 3000, image};
  assert_false(bt_view_apply(plan, 0, &thin, 0, key, out, err, sizeof err));
  rt_expect_text(err, "resize(1000) makes 1000×1500000 (height×width) of an image of 2×3000");
  bt_view_plan_free(plan);
}

// Published figures rest on these bits.
static void test_views_of_fashion_mnist(void **state) {
  (void)state;
  static float out[H * W];
  uint64_t hash = 14695981039346656037u; // FNV-1a, a float at a time
  for (uint64_t seed = 0; seed < 500; seed++) {
    apply(VIEW(STEP(random_resized_crop, 28, 0.5, 1, 0.75, 1.3333333333333333),
               STEP(horizontal_flip, 0.5), STEP(color_jitter, 1, 0.4, 0.4),
               STEP(normalize, 0.286, 0, 0, 0, 0.353)),
          1, H, W, seed, out);
    for (int i = 0; i < H * W; i++) {
      uint32_t bits;
      memcpy(&bits, &out[i], sizeof bits);
      hash = (hash ^ bits) * 1099511628211u;
    }
  }
  if (hash != 0xf4370143ddcd743au)
    fail_msg("other views than before: %llx", (unsigned long long)hash);
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
  const struct {
    const struct bt_view *view;
    const char *why;
    int channels, size; // 0: any
  } cases[] = {
      {VIEW(STEP(resize, 0)), "whole number", 1, 28},
      {VIEW(STEP(resize, 2.5)), "whole number", 1, 28},
      {VIEW(STEP(random_crop, 40, 2)), "padding of at least 6", 1, 28},
      {VIEW(STEP(random_crop, 28, -1)), "padding", 1, 28},
      {VIEW(STEP(random_resized_crop, 28, 0, 1, 1, 1)), "scale", 1, 28},
      {VIEW(STEP(random_resized_crop, 28, 0.5, 1, 2, 1)), "ratio", 1, 28},
      {VIEW(STEP(horizontal_flip, 1.5)), "p is 1.5", 1, 28},
      {VIEW(STEP(normalize, 0, 0, 0, 0, 0)), "std must be above 0", 1, 28},
      {VIEW(STEP(normalize, 0, 0, 0, 0, 1), STEP(color_jitter, 1, 0.1, 0.1)), "before normalize", 1,
       28},
      {VIEW(STEP(normalize, 0, 0, 0, 0, 1), STEP(solarize, 1, 128)), "before normalize", 1, 28},
      {VIEW(STEP(normalize, 0, 0, 0, 0, 1), STEP(grayscale, 1)), "before normalize", 1, 28},
      {VIEW(STEP(normalize, 0, 0, 0, 0, 1), STEP(normalize, 0, 0, 0, 0, 1)), "twice", 1, 28},
      {VIEW(STEP(color_jitter, 1, -0.1, 0)), "negative", 1, 28},
      {VIEW(STEP(color_jitter, 1, 0, 0, 0, 0.6)), "hue is 0.6, not from 0 to 0.5", 3, 28},
      {VIEW(STEP(color_jitter, 1, 0, 0, 0.1)), "1 or 3 channels, not 4", 4, 28},
      {VIEW(STEP(grayscale, 1)), "1 or 3 channels, not 2", 2, 28},
      {VIEW(STEP(gaussian_blur, 1, 0, 1)), "sigma 0..1", 1, 28},
      {VIEW(STEP(gaussian_blur, 2, 1, 1)), "p is 2", 1, 28},
      {VIEW(STEP(solarize, 1, 300)), "threshold of 300", 1, 28},
      {VIEW(STEP(solarize, -1, 128)), "p is -1", 1, 28},
      {VIEW(STEP(resize, 28), STEP(horizontal_flip, 1)), "center_crop(224) after a resize", 1, 0},
      {NULL, "the images differ in size", 1, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const int64_t shape[3] = {cases[i].channels, cases[i].size, cases[i].size};
    assert_null(bt_view_plan_new(cases[i].view, shape, 1, err, sizeof err));
    rt_expect_text(err, cases[i].why);
  }
}

int main(void) {
  fill_image();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_resize),
      cmocka_unit_test(test_full_crop_is_the_image),
      cmocka_unit_test(test_crop_statistics),
      cmocka_unit_test(test_random_crop_pads_with_zero),
      cmocka_unit_test(test_center_crop),
      cmocka_unit_test(test_flip_and_normalize),
      cmocka_unit_test(test_jitter),
      cmocka_unit_test(test_jitter_order),
      cmocka_unit_test(test_hue_is_drawn),
      cmocka_unit_test(test_frequencies),
      cmocka_unit_test(test_one_channel),
      cmocka_unit_test(test_mixed_sizes),
      cmocka_unit_test(test_mixed_sizes_evaluated),
      cmocka_unit_test(test_too_small),
      cmocka_unit_test(test_views_of_fashion_mnist),
      cmocka_unit_test(test_raw),
      cmocka_unit_test(test_threads_and_batches_change_nothing),
      cmocka_unit_test(test_bad_views),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
