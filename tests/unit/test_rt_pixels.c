// test_rt_pixels.c: colour, blur and resizing of pixels: by definition in double, against PIL's and
// torchvision's results, and the same bits from vectors of every width.
#define _GNU_SOURCE
#include "rt_test.h"
#include "safetensors.h"
#include "views_internal.h"

#include <math.h>

// The loops once more, for the compiler's baseline alone.
#undef BT_CLONES
#define BT_CLONES
#define bt_pixels_affine plain_pixels_affine
#define bt_bytes_affine plain_bytes_affine
#define bt_pixels_blend plain_pixels_blend
#define bt_pixels_solarize plain_pixels_solarize
#define bt_image_grey_mean plain_image_grey_mean
#define bt_image_saturate plain_image_saturate
#define bt_image_grey plain_image_grey
#define bt_image_turn_hue plain_image_turn_hue
#define bt_blur_radius plain_blur_radius
#define bt_image_blur plain_image_blur
#define bt_taps_most plain_taps_most
#define bt_image_crop plain_image_crop
#define bt_image_resize plain_image_resize
#define bt_image_make_float plain_image_make_float
#define bt_image_mirror plain_image_mirror
#include "../../runtime/pixels.c"
#include "../../runtime/resample.c"
#undef bt_pixels_affine
#undef bt_bytes_affine
#undef bt_pixels_blend
#undef bt_pixels_solarize
#undef bt_image_grey_mean
#undef bt_image_saturate
#undef bt_image_grey
#undef bt_image_turn_hue
#undef bt_blur_radius
#undef bt_image_blur
#undef bt_taps_most
#undef bt_image_crop
#undef bt_image_resize
#undef bt_image_make_float
#undef bt_image_mirror

enum { MOST = 4 * 96 * 96, TAPS = 96 * 200 };
static uint8_t bytes[MOST];
static float pixels[2][MOST + BT_SLACK]; // the image and its spare
static struct bt_scratch scratch;
static char err[1000];

static int set_up(void **state) {
  (void)state;
  for (int i = 0; i < MOST; i++) bytes[i] = (uint8_t)(((uint32_t)i * 2654435761u) >> 24);
  for (int axis = 0; axis < 2; axis++) {
    struct bt_taps *t = axis ? &scratch.horizontal : &scratch.vertical;
    t->weight = calloc(TAPS, sizeof(float)), t->first = calloc(TAPS, sizeof(int));
  }
  scratch.strip = calloc(TAPS, sizeof(float));
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  free(scratch.vertical.weight), free(scratch.vertical.first);
  free(scratch.horizontal.weight), free(scratch.horizontal.first);
  free(scratch.strip);
  return 0;
}

static struct bt_image image_of(int channels, int height, int width) {
  return (struct bt_image){channels, height, width, bytes, pixels[0], pixels[1], false};
}

static struct bt_image float_image(int channels, int height, int width) {
  struct bt_image image = image_of(channels, height, width);
  bt_image_make_float(&image);
  return image;
}

static double byte_at(int height, int width, int c, int y, int x) {
  return bytes[(c * height + y) * width + x];
}

static void expect_near(double got, double want, double tolerance, const char *what, int i) {
  if (!(fabs(got - want) <= tolerance))
    fail_msg("%s: element %d is %g, not %g", what, i, got, want);
}

// ---- by definition ----------------------------------------------------------------------------

static double kernel(enum bt_interpolation filter, double d) {
  d = fabs(d);
  if (filter == BT_BILINEAR) return fmax(0, 1 - d);
  if (d < 1) return 1.5 * d * d * d - 2.5 * d * d + 1;
  return d < 2 ? -0.5 * d * d * d + 2.5 * d * d - 4 * d + 2 : 0;
}

// Not separated, over the whole window.
static double resized(enum bt_interpolation filter, const struct bt_image *image, int c,
                      struct bt_window w, int oh, int ow, int y, int x) {
  double sy = (double)w.height / oh, sx = (double)w.width / ow, fy = fmax(sy, 1), fx = fmax(sx, 1);
  double sum = 0, weight = 0;
  for (int i = 0; i < w.height; i++)
    for (int j = 0; j < w.width; j++) {
      double a = kernel(filter, (i + 0.5 - (y + 0.5) * sy) / fy),
             b = kernel(filter, (j + 0.5 - (x + 0.5) * sx) / fx);
      sum += a * b * byte_at(image->height, image->width, c, w.top + i, w.left + j),
          weight += a * b;
    }
  sum /= weight;
  return filter == BT_BICUBIC ? fmin(255, fmax(0, sum)) : sum;
}

// Weights have 2^-24 of relative error and there are some dozens of taps of absolute sum up to 1.5:
// 2e-3 of 255.
static void check_resize(enum bt_interpolation filter, int channels, int h, int w,
                         struct bt_window window, int oh, int ow, bool as_float) {
  struct bt_image image = as_float ? float_image(channels, h, w) : image_of(channels, h, w);
  float *spare = image.spare;
  int n = channels * oh * ow;
  memset(spare, 0xff, sizeof pixels[0]); // NaN
  const struct bt_image before = image;
  bt_image_resize(&image, window, oh, ow, filter, &scratch);
  assert_true(image.height == oh && image.width == ow && !image.bytes);
  assert_ptr_equal(image.pixels, spare);
  for (int i = 0; i < n; i++)
    expect_near(spare[i],
                resized(filter, &before, i / (oh * ow), window, oh, ow, i / ow % oh, i % ow), 2e-3,
                filter == BT_BICUBIC ? "bicubic" : "bilinear", i);
  for (int i = n; i < n + 100; i++) assert_true(isnan(spare[i]));
}

static void test_resize(void **state) {
  (void)state;
  static const struct {
    int h, w;
    struct bt_window window;
    int oh, ow;
  } cases[] = {{28, 28, {0, 0, 28, 28}, 28, 28}, {28, 28, {3, 5, 20, 17}, 28, 28},
               {40, 60, {0, 0, 40, 60}, 20, 30}, {61, 47, {1, 2, 59, 45}, 7, 9},
               {5, 1, {0, 0, 5, 1}, 7, 7},       {9, 33, {2, 30, 3, 3}, 33, 15},
               {17, 23, {0, 0, 17, 23}, 1, 1},   {96, 96, {80, 80, 16, 16}, 48, 47}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (int filter = BT_BILINEAR; filter <= BT_BICUBIC; filter++)
      for (int floats = 0; floats < 2; floats++)
        check_resize((enum bt_interpolation)filter, 1 + (int)i % 4, cases[i].h, cases[i].w,
                     cases[i].window, cases[i].oh, cases[i].ow, floats);
}

static void test_colour(void **state) {
  (void)state;
  enum { H = 13, W = 19, N = H * W };
  struct bt_image image = float_image(3, H, W);
  double grey[N], mean = 0;
  for (int i = 0; i < N; i++) {
    grey[i] = 0.299 * bytes[i] + 0.587 * bytes[N + i] + 0.114 * bytes[2 * N + i];
    mean += grey[i] / N;
  }
  expect_near(bt_image_grey_mean(&image), mean, 1e-3, "mean", 0);
  bt_image_saturate(&image, 1.7f);
  for (int i = 0; i < 3 * N; i++)
    expect_near(image.pixels[i], fmin(255, fmax(0, 1.7 * bytes[i] - 0.7 * grey[i % N])), 1e-3,
                "saturate", i);
  image = float_image(3, H, W);
  bt_image_grey(&image);
  for (int i = 0; i < 3 * N; i++) expect_near(image.pixels[i], grey[i % N], 1e-4, "grey", i);
  image = float_image(3, H, W);
  bt_pixels_solarize(image.pixels, 3 * N, 100);
  for (int i = 0; i < 3 * N; i++)
    assert_true(image.pixels[i] == (bytes[i] >= 100 ? 255 - bytes[i] : bytes[i]));
  struct bt_image large = float_image(2, 96, 96); // parts of sums
  mean = 0;
  for (int i = 0; i < 2 * 96 * 96; i++) mean += bytes[i] / (2.0 * 96 * 96);
  expect_near(bt_image_grey_mean(&large), mean, 1e-3, "mean", 1);
}

// HSV by its definition; the hue between steps of 1/255 is cut off. Pixels whose hue is within
// rounding of a step are left out.
static void test_hue(void **state) {
  (void)state;
  enum { H = 31, W = 33, N = H * W };
  static const double shifts[] = {0, 0.08, -0.1, 0.5, -0.5};
  int left_out = 0;
  for (size_t s = 0; s < sizeof shifts / sizeof *shifts; s++) {
    struct bt_image image = float_image(3, H, W);
    bt_image_turn_hue(&image, shifts[s]);
    for (int i = 0; i < N; i++) {
      double p[3] = {bytes[i], bytes[N + i], bytes[2 * N + i]};
      int top = p[0] >= p[1] && p[0] >= p[2] ? 0 : p[1] >= p[2] ? 1 : 2;
      double v = p[top], least = fmin(p[0], fmin(p[1], p[2])), c = v - least;
      double h = c > 0 ? fmod(2 * top + (p[(top + 1) % 3] - p[(top + 2) % 3]) / c + 6, 6) : 0;
      double step = h * 255 / 6;
      if (fabs(step - rint(step)) < 1e-4 && c > 0 && h > 0) {
        left_out++;
        continue;
      }
      h = fmod(floor(step) + trunc(shifts[s] * 255) + 256, 256) * 6 / 255;
      double x = c * (1 - fabs(fmod(h, 2) - 1));
      const double wheel[7][3] = {{c, x, 0}, {x, c, 0}, {0, c, x}, {0, x, c},
                                  {x, 0, c}, {c, 0, x}, {c, x, 0}};
      for (int k = 0; k < 3; k++)
        expect_near(image.pixels[k * N + i], least + wheel[(int)h][k], 1e-3, "hue", i);
    }
  }
  assert_true(left_out < 5 * N / 20);
}

static int reflect(int i, int n) {
  if (n == 1) return 0;
  while (i < 0 || i >= n) i = i < 0 ? -i : 2 * (n - 1) - i;
  return i;
}

static void check_blur(int channels, int h, int w, double sigma) {
  struct bt_image image = float_image(channels, h, w);
  int radius = (int)(8 * sigma) + 1, n = channels * h * w;
  float *spare = image.spare;
  memset(spare, 0xff, sizeof pixels[0]);
  bt_image_blur(&image, sigma, &scratch);
  assert_ptr_equal(image.pixels, spare);
  for (int i = 0; i < n; i++) {
    double sum = 0, weight = 0;
    for (int dy = -radius; dy <= radius; dy++)
      for (int dx = -radius; dx <= radius; dx++) {
        double g = exp(-(dx * dx + dy * dy) / (2 * sigma * sigma));
        sum += g * byte_at(h, w, i / (h * w), reflect(i / w % h + dy, h), reflect(i % w + dx, w)),
            weight += g;
      }
    // What lies beyond 4 sigma weighs 6e-5 on each axis, of 255 at most.
    expect_near(spare[i], sum / weight, 2 * 6.4e-5 * 255, "blur", i);
  }
  for (int i = n + BT_SLACK; i < n + 100; i++) assert_true(isnan(spare[i]));
}

static void test_blur(void **state) {
  (void)state;
  check_blur(1, 28, 28, 1.1);
  check_blur(3, 17, 35, 0.3);
  check_blur(4, 5, 3, 2); // its mirror is mirrored again
  check_blur(2, 1, 9, 0.1);
  check_blur(2, 11, 1, 1.7);
}

static void test_mirror_and_crop(void **state) {
  (void)state;
  for (int floats = 0; floats < 2; floats++) {
    struct bt_image image = floats ? float_image(3, 7, 19) : image_of(3, 7, 19);
    bt_image_mirror(&image);
    for (int i = 0; i < 3 * 7 * 19; i++)
      assert_true(image.pixels[i] == bytes[i / 19 * 19 + 18 - i % 19]);
    image = floats ? float_image(3, 7, 19) : image_of(3, 7, 19);
    bt_image_crop(&image, (struct bt_window){-2, 15, 5, 9});
    for (int c = 0; c < 3; c++)
      for (int y = 0; y < 5; y++)
        for (int x = 0; x < 9; x++) {
          bool inside = y >= 2 && x < 4;
          double want = inside ? byte_at(7, 19, c, y - 2, 15 + x) : 0;
          assert_true(image.pixels[(c * 5 + y) * 9 + x] == want);
        }
  }
}

// ---- vectors ----------------------------------------------------------------------------------

#define SAME(make, call, plain_call)                                                               \
  do {                                                                                             \
    struct bt_image image = make;                                                                  \
    plain_call;                                                                                    \
    size_t count = (size_t)image.channels * (size_t)image.height * (size_t)image.width;            \
    memcpy(want, image.pixels, count * sizeof(float));                                             \
    image = make;                                                                                  \
    call;                                                                                          \
    if (memcmp(want, image.pixels, count * sizeof(float)) != 0) fail_msg("other bits: %s", #call); \
  } while (0)

static void test_same_bits(void **state) {
  (void)state;
  static float want[MOST];
  static const struct bt_window window = {3, 7, 80, 71};
#define BOTH(call) SAME(float_image(3, 89, 83), bt_##call, plain_##call)
  BOTH(image_resize(&image, window, 53, 61, BT_BICUBIC, &scratch));
  BOTH(image_resize(&image, window, 87, 91, BT_BILINEAR, &scratch));
  BOTH(image_blur(&image, 1.3, &scratch));
  BOTH(image_saturate(&image, 0.7f));
  BOTH(image_turn_hue(&image, 0.09));
  BOTH(image_grey(&image));
  BOTH(image_mirror(&image));
  BOTH(pixels_blend(image.pixels, 3 * 89 * 83, 1.3f, -17.7f));
  BOTH(pixels_solarize(image.pixels, 3 * 89 * 83, 99));
  BOTH(pixels_affine(image.pixels, image.pixels, 3 * 89 * 83, 0.017f, -2.1f));
  struct bt_image image = float_image(3, 89, 83);
  bt_pixels_affine(image.pixels, image.pixels, 3 * 89 * 83, 0.917f, 0.1f);
  assert_true(bt_image_grey_mean(&image) == plain_image_grey_mean(&image));
}

// ---- PIL --------------------------------------------------------------------------------------

enum { REF_H = 48, REF_W = 64 };

static void compare(struct st_file *f, const struct bt_image *image, const char *name, double mean,
                    double most) {
  const struct st_tensor *t = st_find(f, name);
  if (!t) fail_msg("no %s", name);
  const uint8_t *want = t->data;
  int plane = image->height * image->width;
  double sum = 0, largest = 0;
  for (int i = 0; i < 3 * plane; i++) {
    double d = fabs(image->pixels[i] - want[i % plane * 3 + i / plane]);
    sum += d / (3 * plane), largest = fmax(largest, d);
  }
  if (sum > mean || largest > most)
    fail_msg("%s: %g of 255 away in the mean, %g at most", name, sum, largest);
}

static void test_reference(void **state) {
  (void)state;
  const char *path = rt_reference("augment_fixed.safetensors");
  if (!path) skip();
  struct st_file *f = st_open(path, err, sizeof err);
  const uint8_t *in = st_find(f, "image")->data;
  for (int i = 0; i < 3 * REF_H * REF_W; i++)
    bytes[i] = in[i % (REF_H * REF_W) * 3 + i / (REF_H * REF_W)];
  struct bt_image image;
  int n = 3 * REF_H * REF_W;
#define STEP(call, name, mean, most) \
  image = float_image(3, REF_H, REF_W), call, compare(f, &image, name, mean, most)
#define CROP(top, left, h, w)                                                                 \
  image = image_of(3, REF_H, REF_W),                                                          \
  bt_image_resize(&image, (struct bt_window){top, left, h, w}, 32, 32, BT_BICUBIC, &scratch), \
  compare(f, &image, "crop_t" #top "_l" #left "_h" #h "_w" #w "_to32_bicubic", 1, 3)
  CROP(5, 7, 30, 41);
  CROP(2, 3, 12, 10);
  STEP(bt_image_mirror(&image), "hflip", 0, 0);
  STEP(bt_pixels_blend(image.pixels, n, 1.3f, 0), "brightness_1_3", 1, 3);
  STEP(bt_pixels_blend(image.pixels, n, 0.7f, 0.3f * (float)bt_image_grey_mean(&image)),
       "contrast_0_7", 1, 3);
  STEP(bt_image_saturate(&image, 1.2f), "saturation_1_2", 1, 3);
  STEP(bt_image_turn_hue(&image, 0.08), "hue_0_08", 1, 3);
  STEP(bt_image_turn_hue(&image, -0.1), "hue_m0_1", 1, 3);
  STEP(bt_image_grey(&image), "grayscale", 1, 3);
  STEP(bt_pixels_solarize(image.pixels, n, 128), "solarize_128", 0, 0);
  STEP(bt_image_blur(&image, 1.1, &scratch), "blur_sigma_1_1", 3, 255);
  STEP(bt_image_blur(&image, 0.3, &scratch), "blur_sigma_0_3", 3, 255);
  STEP(bt_image_blur(&image, 2.0, &scratch), "blur_sigma_2_0", 3, 255);
  st_close(f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_resize),
      cmocka_unit_test(test_colour),
      cmocka_unit_test(test_hue),
      cmocka_unit_test(test_blur),
      cmocka_unit_test(test_mirror_and_crop),
      cmocka_unit_test(test_same_bits),
      cmocka_unit_test(test_reference),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
