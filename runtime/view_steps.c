// view_steps.c: the steps of a view, two functions per row of views.def: one checks the arguments,
// one applies the step.
//
// Geometry and colour follow torchvision: a random resized crop draws area and aspect ratio up to
// ten times and falls back to a central crop; jitter factors are uniform and applied in random
// order, each clamped to 0 … 255. Pixels stay float between steps (no rounding to bytes).
#include "btrt_internal.h"
#include "views_internal.h"

#include <math.h>

// ---- geometry ---------------------------------------------------------------------------------

static struct bt_window central_window(int height, int width, int window_height, int window_width) {
  return (struct bt_window){(height - window_height) / 2, (width - window_width) / 2, window_height,
                            window_width};
}

// torchvision.transforms.RandomResizedCrop.get_params.
static struct bt_window random_area(struct bt_random *r, int height, int width, const double *scale,
                                    const double *ratio) {
  double area = (double)height * width;
  for (int attempt = 0; attempt < 10; attempt++) {
    double target = area * bt_random_uniform(r, scale[0], scale[1]);
    double aspect = exp(bt_random_uniform(r, log(ratio[0]), log(ratio[1])));
    double w = rint(sqrt(target * aspect)), h = rint(sqrt(target / aspect));
    if (w < 1 || w > width || h < 1 || h > height) continue;
    int top = (int)bt_random_below(r, (uint32_t)(height - (int)h + 1));
    int left = (int)bt_random_below(r, (uint32_t)(width - (int)w + 1));
    return (struct bt_window){top, left, (int)h, (int)w};
  }
  double whole = (double)width / height;
  int w = width, h = height;
  if (whole < ratio[0])
    h = (int)rint(w / ratio[0]);
  else if (whole > ratio[1])
    w = (int)rint(h * ratio[1]);
  return central_window(height, width, h < 1 ? 1 : h, w < 1 ? 1 : w);
}

static void apply_random_resized_crop(struct bt_view_context *c, const double *arg) {
  int size = (int)arg[0];
  struct bt_window window =
      random_area(&c->random, c->image.height, c->image.width, arg + 1, arg + 3);
  bt_image_resize(&c->image, window, size, size, (enum bt_interpolation)arg[5], c->scratch);
}

static void apply_random_crop(struct bt_view_context *c, const double *arg) {
  int size = (int)arg[0], padding = (int)arg[1];
  int rows = c->image.height + 2 * padding - size + 1;
  int columns = c->image.width + 2 * padding - size + 1;
  int top = (int)bt_random_below(&c->random, (uint32_t)rows) - padding;
  int left = (int)bt_random_below(&c->random, (uint32_t)columns) - padding;
  bt_image_crop(&c->image, (struct bt_window){top, left, size, size});
}

static void apply_resize(struct bt_view_context *c, const double *arg) {
  int64_t height = c->image.height, width = c->image.width;
  struct bt_view_step step = {BT_VIEW_resize, {arg[0]}};
  bt_view_step_size(&step, &height, &width);
  bt_image_resize(&c->image, (struct bt_window){0, 0, c->image.height, c->image.width}, (int)height,
                  (int)width, (enum bt_interpolation)arg[1], c->scratch);
}

// torchvision rounds half to even where it cuts, and down where it pads.
static int central_offset(int length, int size) {
  return length >= size ? (int)rint((length - size) / 2.0) : -((size - length) / 2);
}

static void apply_center_crop(struct bt_view_context *c, const double *arg) {
  int size = (int)arg[0];
  bt_image_crop(&c->image, (struct bt_window){central_offset(c->image.height, size),
                                              central_offset(c->image.width, size), size, size});
}

static void apply_horizontal_flip(struct bt_view_context *c, const double *arg) {
  if (bt_random_unit(&c->random) < arg[0]) bt_image_mirror(&c->image);
}

// ---- colour -----------------------------------------------------------------------------------

static ptrdiff_t pixels_of(const struct bt_image *image) {
  return bt_image_plane(image) * image->channels;
}

enum jitter { BRIGHTNESS, CONTRAST, SATURATION, HUE, N_JITTER }; // in the order of the arguments

static void jitter(struct bt_image *image, enum jitter kind, double factor) {
  float f = (float)factor;
  switch (kind) {
  case BRIGHTNESS: bt_pixels_blend(image->pixels, pixels_of(image), f, 0); break;
  case CONTRAST:
    bt_pixels_blend(image->pixels, pixels_of(image), f, (1 - f) * (float)bt_image_grey_mean(image));
    break;
  case SATURATION: // a grey image has none
    if (image->channels == 3) bt_image_saturate(image, f);
    break;
  case HUE:
    if (image->channels == 3) bt_image_turn_hue(image, factor);
    break;
  default: bt_die("jitter %d", (int)kind);
  }
}

static double jitter_factor(struct bt_random *r, enum jitter kind, double strength) {
  if (kind == HUE) return bt_random_uniform(r, -strength, strength);
  return bt_random_uniform(r, strength < 1 ? 1 - strength : 0, 1 + strength);
}

// The order is built by insertion at random places. Brightness and contrast draw in any case, so a
// view without the other two has the draws that it had before there were these.
static void apply_color_jitter(struct bt_view_context *c, const double *arg) {
  double factor[N_JITTER];
  enum jitter order[N_JITTER];
  int n = 0;
  if (bt_random_unit(&c->random) >= arg[0]) return;
  bt_image_make_float(&c->image);
  for (enum jitter k = BRIGHTNESS; k <= CONTRAST; k++)
    factor[k] = jitter_factor(&c->random, k, arg[1 + k]);
  for (enum jitter k = BRIGHTNESS; k < N_JITTER; k++) {
    if (k >= SATURATION && arg[1 + k] == 0) continue;
    if (k >= SATURATION) factor[k] = jitter_factor(&c->random, k, arg[1 + k]);
    int place = n > 0 ? (int)bt_random_below(&c->random, (uint32_t)n + 1) : 0;
    for (int i = n++; i > place; i--) order[i] = order[i - 1];
    order[place] = k;
  }
  for (int i = 0; i < n; i++)
    if (arg[1 + order[i]] > 0) jitter(&c->image, order[i], factor[order[i]]);
}

static void apply_grayscale(struct bt_view_context *c, const double *arg) {
  if (bt_random_unit(&c->random) >= arg[0] || c->image.channels != 3) return;
  bt_image_make_float(&c->image);
  bt_image_grey(&c->image);
}

static void apply_gaussian_blur(struct bt_view_context *c, const double *arg) {
  if (bt_random_unit(&c->random) >= arg[0]) return;
  bt_image_make_float(&c->image);
  bt_image_blur(&c->image, bt_random_uniform(&c->random, arg[1], arg[2]), c->scratch);
}

static void apply_solarize(struct bt_view_context *c, const double *arg) {
  if (bt_random_unit(&c->random) >= arg[0]) return;
  bt_image_make_float(&c->image);
  bt_pixels_solarize(c->image.pixels, pixels_of(&c->image), (float)arg[1]);
}

static void apply_normalize(struct bt_view_context *c, const double *arg) {
  bt_image_make_float(&c->image);
  ptrdiff_t plane = bt_image_plane(&c->image);
  for (int ch = 0; ch < c->image.channels; ch++) {
    struct bt_affine a = bt_normalize_affine(arg, ch);
    float *p = c->image.pixels + ch * plane;
    bt_pixels_affine(p, p, plane, a.scale, a.shift);
  }
  c->image.normalised = true;
}

struct bt_affine bt_normalize_affine(const double *arg, int channel) {
  double mean = arg[channel], std = arg[4 + channel];
  return (struct bt_affine){(float)(1 / (255 * std)), (float)(-mean / std)};
}

// ---- checks -----------------------------------------------------------------------------------

#define FAIL(c, format, ...) \
  bt_fail((c)->err, (c)->errlen, "view %s: " format, (c)->name __VA_OPT__(, ) __VA_ARGS__)

static bool check_size(struct bt_view_check *c, double size) {
  return (size >= 1 && size <= BT_VIEW_MOST_SIDE && size == floor(size)) ||
         FAIL(c, "a size of %g is not a whole number from 1 to %d", size, BT_VIEW_MOST_SIDE);
}

static bool check_probability(struct bt_view_check *c, const char *step, double p) {
  return (p >= 0 && p <= 1) || FAIL(c, "%s: p is %g, not from 0 to 1", step, p);
}

// Steps that need pixels of 0 … 255.
static bool check_colour(struct bt_view_check *c, const char *step) {
  return !c->normalised || FAIL(c, "%s must come before normalize", step);
}

// Images of one channel are grey already; what the others are of two or four is not known.
static bool check_rgb(struct bt_view_check *c, const char *step) {
  return c->channels == 1 || c->channels == 3 ||
         FAIL(c, "%s takes images of 1 or 3 channels, not %d", step, c->channels);
}

static bool check_random_resized_crop(struct bt_view_check *c, const double *arg) {
  if (!(arg[1] > 0 && arg[1] <= arg[2] && arg[2] <= 1))
    return FAIL(c, "random_resized_crop: scale %g..%g is not a range above 0 and up to 1", arg[1], arg[2]);
  if (!(arg[3] > 0 && arg[3] <= arg[4] && isfinite(arg[4])))
    return FAIL(c, "random_resized_crop: ratio %g..%g is not a range above 0", arg[3], arg[4]);
  return check_size(c, arg[0]);
}

static bool check_random_crop(struct bt_view_check *c, const double *arg) {
  if (!(arg[1] >= 0 && arg[1] <= BT_VIEW_MOST_SIDE) || arg[1] != floor(arg[1]))
    return FAIL(c, "random_crop: a padding of %g is not a whole number of pixels", arg[1]);
  return check_size(c, arg[0]);
}

static bool check_resize(struct bt_view_check *c, const double *arg) {
  return check_size(c, arg[0]);
}
static bool check_center_crop(struct bt_view_check *c, const double *arg) {
  return check_size(c, arg[0]);
}

static bool check_horizontal_flip(struct bt_view_check *c, const double *arg) {
  return check_probability(c, "horizontal_flip", arg[0]);
}

static bool check_color_jitter(struct bt_view_check *c, const double *arg) {
  if (!check_colour(c, "color_jitter")) return false;
  for (int k = BRIGHTNESS; k <= SATURATION; k++)
    if (!(arg[1 + k] >= 0 && isfinite(arg[1 + k])))
      return FAIL(c,
                  "color_jitter: brightness %g, contrast %g and saturation %g must not be negative",
                  arg[1], arg[2], arg[3]);
  if (!(arg[4] >= 0 && arg[4] <= 0.5))
    return FAIL(c, "color_jitter: hue is %g, not from 0 to 0.5, half the circle", arg[4]);
  bool coloured = arg[3] > 0 || arg[4] > 0;
  return (!coloured || check_rgb(c, "color_jitter with saturation or hue")) &&
         check_probability(c, "color_jitter", arg[0]);
}

static bool check_grayscale(struct bt_view_check *c, const double *arg) {
  return check_colour(c, "grayscale") && check_rgb(c, "grayscale") &&
         check_probability(c, "grayscale", arg[0]);
}

enum { MOST_SIGMA = 100 };

static bool check_gaussian_blur(struct bt_view_check *c, const double *arg) {
  if (!(arg[1] > 0 && arg[1] <= arg[2] && arg[2] <= MOST_SIGMA))
    return FAIL(c, "gaussian_blur: sigma %g..%g is not a range above 0 and up to %d", arg[1],
                arg[2], MOST_SIGMA);
  return check_probability(c, "gaussian_blur", arg[0]);
}

static bool check_solarize(struct bt_view_check *c, const double *arg) {
  if (!check_colour(c, "solarize")) return false;
  if (!(arg[1] >= 0 && arg[1] <= 256))
    return FAIL(c, "solarize: a threshold of %g is not from 0 to 256", arg[1]);
  return check_probability(c, "solarize", arg[0]);
}

static bool check_normalize(struct bt_view_check *c, const double *arg) {
  if (c->normalised) return FAIL(c, "normalize appears twice");
  if (c->channels > 4) return FAIL(c, "normalize takes at most 4 channels, not %d", c->channels);
  for (int i = 0; i < c->channels; i++)
    if (!(arg[4 + i] > 0) || !isfinite(arg[i]))
      return FAIL(c, "normalize: channel %d has mean %g and std %g; std must be above 0", i, arg[i],
                  arg[4 + i]);
  return c->normalised = true;
}

// ---- by row -----------------------------------------------------------------------------------

static const struct {
  void (*apply)(struct bt_view_context *, const double *);
  bool (*check)(struct bt_view_check *, const double *);
} functions[] = {
#define VIEW_STEP(name, ...) {apply_##name, check_##name},
#include "views.def"
#undef VIEW_STEP
};

void bt_view_step_apply(struct bt_view_context *c, const struct bt_view_step *step) {
  functions[step->kind].apply(c, step->arg);
}

bool bt_view_step_check(struct bt_view_check *c, const struct bt_view_step *step) {
  if ((unsigned)step->kind >= BT_VIEW_COUNT) bt_die("view step %d", (int)step->kind);
  return functions[step->kind].check(c, step->arg);
}

void bt_view_step_size(const struct bt_view_step *step, int64_t *height, int64_t *width) {
  enum rule { SIZE_KEEPS, SIZE_SQUARE, SIZE_SHORTER };
  static const enum rule rules[] = {
#define VIEW_STEP(name, size, ...) size,
#include "views.def"
#undef VIEW_STEP
  };
  int64_t size = (int64_t)step->arg[0], h = *height, w = *width;
  switch (rules[step->kind]) {
  case SIZE_KEEPS: break;
  case SIZE_SQUARE: *height = *width = size; break;
  case SIZE_SHORTER: // torchvision rounds down
    *height = !h || !w ? 0 : h <= w ? size : size * h / w;
    *width = !h || !w ? 0 : w <= h ? size : size * w / h;
    break;
  }
}

// ---- room -------------------------------------------------------------------------------------

static void at_least(size_t *n, size_t need) {
  if (*n < need) *n = need;
}

static void room_to_resize(struct bt_view_room *room, enum bt_interpolation filter,
                           const int64_t from[2], const int64_t to[2]) {
  for (int axis = 0; axis < 2; axis++) {
    at_least(&room->weights,
             (size_t)bt_taps_most(filter, (int)from[axis], (int)to[axis]) * (size_t)to[axis]);
    at_least(&room->firsts, (size_t)to[axis]);
  }
  at_least(&room->strip, (size_t)(from[1] + BT_SLACK) * BT_SLACK);
}

static void room_to_blur(struct bt_view_room *room, double sigma, const int64_t to[2]) {
  size_t radius = (size_t)bt_blur_radius(sigma);
  at_least(&room->weights, radius + 1);
  at_least(&room->firsts, 2 * radius + 1);
  at_least(&room->strip, (size_t)to[1] + 2 * radius + BT_SLACK);
}

void bt_view_step_room(struct bt_view_room *room, const struct bt_view_step *step, int channels,
                       const int64_t from[2], const int64_t to[2]) {
  at_least(&room->pixels, (size_t)(channels * from[0] * from[1]) + BT_SLACK);
  at_least(&room->pixels, (size_t)(channels * to[0] * to[1]) + BT_SLACK);
  switch (step->kind) {
  case BT_VIEW_random_resized_crop:
    room_to_resize(room, (enum bt_interpolation)step->arg[5], from, to);
    break;
  case BT_VIEW_resize: room_to_resize(room, (enum bt_interpolation)step->arg[1], from, to); break;
  case BT_VIEW_gaussian_blur: room_to_blur(room, step->arg[2], to); break;
  default: break;
  }
}
