// views_internal.h: between views.c (plans), view_steps.c (the steps), resample.c (cut-outs and
// resizing) and pixels.c (colour and blur).
//
// The loops over pixels are compiled for several vector widths (BT_CLONES) and have the same bits
// in each: sums have an order of their own, and the runtime is compiled without contraction to
// fused multiply-adds.
#ifndef BT_VIEWS_INTERNAL_H
#define BT_VIEWS_INTERNAL_H

#include "random.h"
#include "views.h"

#ifndef BT_CLONES // the processor's is chosen when the program starts
#if defined __x86_64__ && defined __ELF__
#define BT_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define BT_CLONES
#endif
#endif

// An image on its way through a view. It starts as the data set's bytes; the first step that
// touches pixels makes it float, so a crop never converts what it throws away.
struct bt_image {
  int channels, height, width;
  const uint8_t *bytes;  // not NULL: still the original
  float *pixels, *spare; // 0 … 255; a step that cannot work in place writes spare and swaps
  bool normalised;       // no longer 0 … 255
};

// Loops may read and write up to BT_SLACK elements past the end of pixels, spare and scratch.
enum { BT_SLACK = 16 };

// One axis of a resize: output i is the sum over k < taps of weight[i][k] × input[first[i] + k].
struct bt_taps {
  int taps;
  int *first;
  float *weight;
};

// What a step needs besides the image.
struct bt_scratch {
  struct bt_taps vertical, horizontal;
  float *strip;
};

struct bt_window {
  int top, left, height, width;
};

static inline ptrdiff_t bt_image_plane(const struct bt_image *image) {
  return (ptrdiff_t)image->height * image->width;
}

// Spare, holding an image of this size, becomes the image.
static inline void bt_image_swap(struct bt_image *image, int height, int width) {
  float *swap = image->pixels;
  image->pixels = image->spare;
  image->spare = swap;
  image->bytes = NULL;
  image->height = height, image->width = width;
}

// ---- resample.c -------------------------------------------------------------------------------
enum bt_interpolation { BT_BILINEAR, BT_BICUBIC }; // the words of `interpolation` in views.def

// Taps that resampling an axis of at most `input` pixels to `output` may need.
int bt_taps_most(enum bt_interpolation filter, int input, int output);
// Replaces the image by its window, zero where the window reaches outside.
void bt_image_crop(struct bt_image *image, struct bt_window window);
// Replaces the image by its window (wholly inside) resized to height × width, with the filter
// widened by the scale when shrinking (antialias), as PIL's and torchvision's. Bicubic results are
// clamped to 0 … 255. scratch: taps of both axes, strip: (window.width + BT_SLACK) × BT_SLACK.
void bt_image_resize(struct bt_image *image, struct bt_window window, int height, int width,
                     enum bt_interpolation filter, struct bt_scratch *scratch);
void bt_image_make_float(struct bt_image *image);
void bt_image_mirror(struct bt_image *image); // left to right

// ---- pixels.c ---------------------------------------------------------------------------------
// Of float images. Those of three channels take red, green, blue.
// out = in × scale + shift.
void bt_pixels_affine(float *out, const float *in, ptrdiff_t n, float scale, float shift);
void bt_bytes_affine(float *out, const uint8_t *in, ptrdiff_t n, float scale, float shift);
// pixels = clamp(factor × pixels + add) to 0 … 255.
void bt_pixels_blend(float *pixels, ptrdiff_t n, float factor, float add);
double bt_image_grey_mean(const struct bt_image *image); // of the mean channel unless there are 3
void bt_image_saturate(struct bt_image *image,
                       float factor);       // clamp(factor × pixel + (1 − factor) × grey)
void bt_image_grey(struct bt_image *image); // in every channel
// Turns the hue by `shift` of the circle, as torchvision does on PIL's images: in steps of 1/255.
void bt_image_turn_hue(struct bt_image *image, double shift);
void bt_pixels_solarize(float *pixels, ptrdiff_t n,
                        float threshold); // 255 − pixel from threshold on
// The pixels each way that a blur takes: 4 sigma, beyond which lies 1/16000 of the weight.
int bt_blur_radius(double sigma);
// Gaussian blur; beyond its borders the image is its mirror, whose edge pixels are not repeated
// (torchvision's `reflect`). scratch: vertical of 2 radius + 1, strip: width + 2 radius + BT_SLACK.
void bt_image_blur(struct bt_image *image, double sigma, struct bt_scratch *scratch);

// ---- view_steps.c -----------------------------------------------------------------------------
// What a step works on.
struct bt_view_context {
  struct bt_image image;
  struct bt_scratch *scratch;
  struct bt_random random;
};
void bt_view_step_apply(struct bt_view_context *c, const struct bt_view_step *step);

// A channel of a normalize step with these arguments, from 0 … 255: pixel × scale + shift.
struct bt_affine {
  float scale, shift;
};
struct bt_affine bt_normalize_affine(const double *arg, int channel);

// What steps are checked for, when a plan is made.
struct bt_view_check {
  const char *name; // of the view
  int channels;
  bool normalised; // by a step before
  char *err;
  size_t errlen;
};
bool bt_view_step_check(struct bt_view_check *c, const struct bt_view_step *step);

// The largest needs of any step, in elements: of pixels and of spare, of the strip, of each axis.
struct bt_view_room {
  size_t pixels, strip, weights, firsts;
};
// Enlarges room to what the step needs for an image of channels × from[0] × from[1] that it makes
// to[0] × to[1].
void bt_view_step_room(struct bt_view_room *room, const struct bt_view_step *step, int channels,
                       const int64_t from[2], const int64_t to[2]);

#endif
