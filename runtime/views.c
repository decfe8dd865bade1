// views.c: the steps of a view, one function per row of views.def.
//
// Geometry and colour follow torchvision: a random resized crop draws area and aspect ratio up to
// ten times and falls back to a central crop; jitter factors are uniform and applied in random
// order, each clamped to 0 … 255. Pixels stay float between steps (no rounding to bytes).
#include "views.h"
#include "btrt_internal.h"
#include "random.h"
#include "views_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct workspace { // of one thread
  float *pixels, *spare, *rows;
  struct bt_taps vertical, horizontal;
};

struct bt_view_plan {
  const struct bt_view *view; // NULL: raw
  int channels, height, width, out_height, out_width;
  bool normalised;
  int workers;
  struct workspace *workspaces;
  size_t bytes;
};

// What a step works on.
struct context {
  struct bt_image image;
  struct workspace *work;
  struct bt_random random;
};

// ---- steps: apply -----------------------------------------------------------------------------

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

static void resize_window(struct context *c, struct bt_window window, int size) {
  bt_image_resize(&c->image, window, size, size, &c->work->vertical, &c->work->horizontal,
                  c->work->rows);
}

static void apply_random_resized_crop(struct context *c, const double *arg) {
  struct bt_window window =
      random_area(&c->random, c->image.height, c->image.width, arg + 1, arg + 3);
  resize_window(c, window, (int)arg[0]);
}

static void apply_random_crop(struct context *c, const double *arg) {
  int size = (int)arg[0], padding = (int)arg[1];
  int rows = c->image.height + 2 * padding - size + 1;
  int columns = c->image.width + 2 * padding - size + 1;
  int top = (int)bt_random_below(&c->random, (uint32_t)rows) - padding;
  int left = (int)bt_random_below(&c->random, (uint32_t)columns) - padding;
  bt_image_crop(&c->image, (struct bt_window){top, left, size, size});
}

static void apply_resize(struct context *c, const double *arg) {
  resize_window(c, (struct bt_window){0, 0, c->image.height, c->image.width}, (int)arg[0]);
}

// torchvision rounds half to even where it cuts, and down where it pads.
static int central_offset(int length, int size) {
  return length >= size ? (int)rint((length - size) / 2.0) : -((size - length) / 2);
}

static void apply_center_crop(struct context *c, const double *arg) {
  int size = (int)arg[0];
  bt_image_crop(&c->image, (struct bt_window){central_offset(c->image.height, size),
                                              central_offset(c->image.width, size), size, size});
}

static void make_float(struct bt_image *image) {
  if (image->bytes) bt_image_crop(image, (struct bt_window){0, 0, image->height, image->width});
}

static void apply_horizontal_flip(struct context *c, const double *arg) {
  if (bt_random_unit(&c->random) >= arg[0]) return;
  make_float(&c->image);
  int width = c->image.width, rows = c->image.channels * c->image.height;
  for (int y = 0; y < rows; y++) {
    float *row = c->image.pixels + (ptrdiff_t)y * width;
    for (int l = 0, r = width - 1; l < r; l++, r--) {
      float swap = row[l];
      row[l] = row[r], row[r] = swap;
    }
  }
}

static ptrdiff_t plane_of(const struct bt_image *image) {
  return (ptrdiff_t)image->height * image->width;
}

// pixels = clamp(factor × pixels + (1 − factor) × other).
static void blend(struct bt_image *image, float factor, float other) {
  ptrdiff_t n = plane_of(image) * image->channels;
  float add = (1 - factor) * other;
  for (ptrdiff_t i = 0; i < n; i++) {
    float v = factor * image->pixels[i] + add;
    image->pixels[i] = v < 0 ? 0 : v > 255 ? 255 : v;
  }
}

// The mean of the image as grey (ITU-R 601 weights where there are three channels).
static float grey_mean(const struct bt_image *image) {
  static const double luma[3] = {0.299, 0.587, 0.114};
  ptrdiff_t plane = plane_of(image);
  double mean = 0;
  for (int c = 0; c < image->channels; c++) {
    const float *p = image->pixels + c * plane;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (ptrdiff_t i = 0; i < plane; i++) sum += p[i];
    mean += (image->channels == 3 ? luma[c] : 1.0 / image->channels) * sum / (double)plane;
  }
  return (float)mean;
}

static double jitter_factor(struct bt_random *r, double strength) {
  return bt_random_uniform(r, strength < 1 ? 1 - strength : 0, 1 + strength);
}

static void apply_color_jitter(struct context *c, const double *arg) {
  if (bt_random_unit(&c->random) >= arg[0]) return;
  make_float(&c->image);
  double brightness = jitter_factor(&c->random, arg[1]);
  double contrast = jitter_factor(&c->random, arg[2]);
  uint32_t contrast_turn = bt_random_below(&c->random, 2);
  for (uint32_t turn = 0; turn < 2; turn++) {
    if (turn == contrast_turn && arg[2] > 0)
      blend(&c->image, (float)contrast, grey_mean(&c->image));
    if (turn != contrast_turn && arg[1] > 0) blend(&c->image, (float)brightness, 0);
  }
}

static void apply_normalize(struct context *c, const double *arg) {
  make_float(&c->image);
  ptrdiff_t plane = plane_of(&c->image);
  for (int ch = 0; ch < c->image.channels; ch++) {
    float *p = c->image.pixels + ch * plane;
    float scale = (float)(1 / (255 * arg[4 + ch])), shift = (float)(-arg[ch] / arg[4 + ch]);
    for (ptrdiff_t i = 0; i < plane; i++) p[i] = p[i] * scale + shift;
  }
}

// ---- steps: check -----------------------------------------------------------------------------
// Each judges one step for images of the plan's present size (out_height × out_width) and updates
// it.

struct check {
  struct bt_view_plan *plan;
  const char *name; // of the view
  char *err;
  size_t errlen;
};
#define FAIL(c, format, ...) \
  bt_fail((c)->err, (c)->errlen, "view %s: " format, (c)->name __VA_OPT__(, ) __VA_ARGS__)

static bool check_size(struct check *c, double size) {
  if (!(size >= 1 && size <= 16384) || size != floor(size))
    return FAIL(c, "a size of %g is not a whole number from 1 to 16384", size);
  c->plan->out_height = c->plan->out_width = (int)size;
  return true;
}

static bool check_probability(struct check *c, const char *step, double p) {
  return (p >= 0 && p <= 1) || FAIL(c, "%s: p is %g, not from 0 to 1", step, p);
}

static bool check_random_resized_crop(struct check *c, const double *arg) {
  if (!(arg[1] > 0 && arg[1] <= arg[2] && arg[2] <= 1))
    return FAIL(c, "random_resized_crop: scale %g..%g is not within 0..1", arg[1], arg[2]);
  if (!(arg[3] > 0 && arg[3] <= arg[4] && isfinite(arg[4])))
    return FAIL(c, "random_resized_crop: ratio %g..%g is not a range above 0", arg[3], arg[4]);
  return check_size(c, arg[0]);
}

static bool check_random_crop(struct check *c, const double *arg) {
  int height = c->plan->out_height, width = c->plan->out_width;
  if (!(arg[1] >= 0 && arg[1] <= 16384) || arg[1] != floor(arg[1]))
    return FAIL(c, "random_crop: a padding of %g is not a whole number of pixels", arg[1]);
  if (arg[0] > height + 2 * arg[1] || arg[0] > width + 2 * arg[1])
    return FAIL(c, "random_crop(%g) of %d×%d images needs a padding of at least %g", arg[0], height,
                width, ceil((arg[0] - (height < width ? height : width)) / 2));
  return check_size(c, arg[0]);
}

static bool check_resize(struct check *c, const double *arg) { return check_size(c, arg[0]); }
static bool check_center_crop(struct check *c, const double *arg) { return check_size(c, arg[0]); }

static bool check_horizontal_flip(struct check *c, const double *arg) {
  return check_probability(c, "horizontal_flip", arg[0]);
}

static bool check_color_jitter(struct check *c, const double *arg) {
  if (c->plan->normalised) return FAIL(c, "color_jitter must come before normalize");
  if (!(arg[1] >= 0 && arg[2] >= 0 && isfinite(arg[1]) && isfinite(arg[2])))
    return FAIL(c, "color_jitter: brightness %g and contrast %g must not be negative", arg[1],
                arg[2]);
  return check_probability(c, "color_jitter", arg[0]);
}

static bool check_normalize(struct check *c, const double *arg) {
  if (c->plan->normalised) return FAIL(c, "normalize appears twice");
  if (c->plan->channels > 4)
    return FAIL(c, "normalize takes at most 4 channels, not %d", c->plan->channels);
  for (int i = 0; i < c->plan->channels; i++)
    if (!(arg[4 + i] > 0) || !isfinite(arg[i]))
      return FAIL(c, "normalize: channel %d has mean %g and std %g; std must be above 0", i, arg[i],
                  arg[4 + i]);
  return c->plan->normalised = true;
}

static const struct step_functions {
  void (*apply)(struct context *, const double *);
  bool (*check)(struct check *, const double *);
} step_functions[] = {
#define VIEW_STEP(name, ...) {apply_##name, check_##name},
#include "views.def"
#undef VIEW_STEP
};

// ---- the plan ---------------------------------------------------------------------------------

struct room {
  size_t pixels, rows, taps, outputs;
}; // largest needs of any step, in elements

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static void grow_room(struct room *room, int channels, int from_height, int from_width, int height,
                      int width) {
  int longest = from_height > from_width ? from_height : from_width;
  int shortest = height < width ? height : width, most = height > width ? height : width;
  size_t taps = (size_t)bt_taps_most(longest, shortest);
  room->pixels = larger(room->pixels, (size_t)channels * (size_t)height * (size_t)width);
  room->rows = larger(room->rows, (size_t)height * (size_t)from_width);
  room->taps = larger(room->taps, taps * (size_t)most);
  room->outputs = larger(room->outputs, (size_t)most);
}

static bool check_steps(struct check *c, struct room *room) {
  struct bt_view_plan *plan = c->plan;
  for (int i = 0; plan->view && i < plan->view->n_steps; i++) {
    const struct bt_view_step *step = &plan->view->steps[i];
    int height = plan->out_height, width = plan->out_width;
    if ((unsigned)step->kind >= BT_VIEW_COUNT) bt_die("view step %d", (int)step->kind);
    if (!step_functions[step->kind].check(c, step->arg)) return false;
    grow_room(room, plan->channels, height, width, plan->out_height, plan->out_width);
  }
  return true;
}

static float *floats(struct bt_view_plan *plan, size_t n) {
  plan->bytes += n * sizeof(float);
  return bt_xcalloc(n, sizeof(float));
}

static void make_workspace(struct bt_view_plan *plan, struct workspace *w,
                           const struct room *room) {
  w->pixels = floats(plan, room->pixels);
  w->spare = floats(plan, room->pixels);
  w->rows = floats(plan, room->rows);
  w->vertical.weight = floats(plan, room->taps);
  w->horizontal.weight = floats(plan, room->taps);
  w->vertical.first = bt_xcalloc(room->outputs, sizeof(int));
  w->horizontal.first = bt_xcalloc(room->outputs, sizeof(int));
  plan->bytes += 2 * room->outputs * sizeof(int);
}

struct bt_view_plan *bt_view_plan_new(const struct bt_view *view, const int64_t image[3],
                                      int workers, char *err, size_t errlen) {
  struct bt_view_plan *plan = bt_xcalloc(1, sizeof *plan);
  *plan = (struct bt_view_plan){.view = view, .workers = workers, .channels = (int)image[0]};
  plan->height = plan->out_height = (int)image[1];
  plan->width = plan->out_width = (int)image[2];
  struct check check = {plan, view ? view->name : "raw", err, errlen};
  struct room room = {0};
  grow_room(&room, plan->channels, plan->height, plan->width, plan->height, plan->width);
  bool ok = check_steps(&check, &room);
  if (!ok) return bt_view_plan_free(plan), NULL;
  plan->workspaces = bt_xcalloc((size_t)workers, sizeof *plan->workspaces);
  for (int i = 0; i < workers; i++) make_workspace(plan, &plan->workspaces[i], &room);
  return plan;
}

void bt_view_plan_free(struct bt_view_plan *plan) {
  if (!plan) return;
  for (int i = 0; plan->workspaces && i < plan->workers; i++) {
    struct workspace *w = &plan->workspaces[i];
    free(w->pixels), free(w->spare), free(w->rows);
    free(w->vertical.weight), free(w->vertical.first);
    free(w->horizontal.weight), free(w->horizontal.first);
  }
  free(plan->workspaces);
  free(plan);
}

void bt_view_plan_shape(const struct bt_view_plan *plan, int64_t shape[3]) {
  shape[0] = plan->channels, shape[1] = plan->out_height, shape[2] = plan->out_width;
}

size_t bt_view_plan_bytes(const struct bt_view_plan *plan) { return plan->bytes; }

// ---- images -----------------------------------------------------------------------------------

bool bt_view_apply(struct bt_view_plan *plan, int worker, const struct bt_raster *image,
                   uint32_t index, struct bt_view_key key, float *out, char *err, size_t errlen) {
  struct workspace *work = &plan->workspaces[worker];
  struct context c = {.work = work,
                      .random = bt_random_new(key.seed, BT_RANDOM_VIEW, index, key.epoch, key.site)};
  if (image->channels != plan->channels || image->height != plan->height || image->width != plan->width)
    return bt_fail(err, errlen, "an image of %d×%d×%d", image->channels, image->height, image->width);
  c.image = (struct bt_image){image->channels, image->height, image->width,
                              image->pixels,   work->pixels,  work->spare};
  for (int i = 0; plan->view && i < plan->view->n_steps; i++) {
    const struct bt_view_step *step = &plan->view->steps[i];
    step_functions[step->kind].apply(&c, step->arg);
  }
  make_float(&c.image);
  ptrdiff_t n = plane_of(&c.image) * c.image.channels;
  float scale = plan->view && !plan->normalised ? 1 / 255.0f : 1;
  for (ptrdiff_t i = 0; i < n; i++) out[i] = c.image.pixels[i] * scale;
  return true;
}
