// resample.c: cut-outs, and antialiased bilinear and bicubic resizing.
//
// Resizing is separable: down the columns first, which reads the source once and converts bytes on
// the way, then across. Sixteen rows of the result at a time lie in the scratch strip with their
// columns together (strip[x][row]), so that both passes work on vectors of sixteen. Taps depend on
// the window alone and are computed once for all channels.
#include "views_internal.h"

#include <math.h>
#include <string.h>

enum { LANES = BT_SLACK };
typedef float v16 __attribute__((vector_size(64)));
typedef float v16_any __attribute__((vector_size(64), may_alias, aligned(4)));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef uint8_t b16_any __attribute__((vector_size(16), may_alias, aligned(1)));
#define BT_INLINE static inline __attribute__((always_inline))

// ---- taps -------------------------------------------------------------------------------------

// Keys' cubic with a = -1/2, as Pillow's; zero from 2 on.
static double cubic(double x) {
  const double a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double triangle(double x) { return x < 1 ? 1 - x : 0; }

static const struct filter {
  double (*value)(double distance); // of a distance from 0
  int support;                      // from where on it is zero
} filters[] = {[BT_BILINEAR] = {triangle, 1}, [BT_BICUBIC] = {cubic, 2}};

int bt_taps_most(enum bt_interpolation filter, int input, int output) {
  double scale = (double)input / output;
  return (int)ceil(filters[filter].support * (scale > 1 ? scale : 1)) * 2 + 1;
}

// Pillow's Resample.c, precompute_coeffs.
static void compute_taps(struct bt_taps *t, enum bt_interpolation kind, int input, int output) {
  const struct filter *filter = &filters[kind];
  double scale = (double)input / output, stretch = scale > 1 ? scale : 1;
  double reach = filter->support * stretch;
  t->taps = bt_taps_most(kind, input, output);
  if (t->taps > input) t->taps = input;
  for (int i = 0; i < output; i++) {
    double centre = (i + 0.5) * scale, sum = 0;
    int lo = (int)(centre - reach + 0.5), hi = (int)(centre + reach + 0.5);
    if (lo < 0) lo = 0;
    if (hi > input) hi = input;
    // Every output uses `taps` inputs, so the loops over taps have one length; the surplus weighs
    // 0.
    int first = lo + t->taps > input ? input - t->taps : lo;
    float *weight = t->weight + (ptrdiff_t)i * t->taps;
    for (int k = 0; k < t->taps; k++) {
      bool used = first + k >= lo && first + k < hi;
      double value = used ? filter->value(fabs((first + k - centre + 0.5) / stretch)) : 0;
      weight[k] = (float)value;
      sum += value;
    }
    for (int k = 0; k < t->taps; k++) weight[k] = (float)(weight[k] / sum);
    t->first[i] = first;
  }
}

// ---- resizing ---------------------------------------------------------------------------------

// A plane of the source, from the window's upper left corner on.
struct source {
  const uint8_t *bytes; // or
  const float *pixels;
  ptrdiff_t stride;
  int width; // of the window
};

// The perfect shuffle of the sixteen rows, four times, transposes.
BT_INLINE void transpose(v16 row[LANES]) {
  for (int round = 0; round < 4; round++) {
    v16 from[LANES];
    memcpy(from, row, sizeof from);
    for (int i = 0; i < LANES / 2; i++) {
      row[2 * i] = __builtin_shufflevector(from[i], from[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20,
                                           5, 21, 6, 22, 7, 23);
      row[2 * i + 1] = __builtin_shufflevector(from[i], from[i + 8], 8, 24, 9, 25, 10, 26, 11, 27,
                                               12, 28, 13, 29, 14, 30, 15, 31);
    }
  }
}

BT_INLINE v16 load(const struct source *s, ptrdiff_t at, bool bytes) {
  if (bytes) return __builtin_convertvector(*(const b16_any *)(s->bytes + at), v16);
  return *(const v16_any *)(s->pixels + at);
}

// Sixteen columns of an output row, from x on.
BT_INLINE v16 sum_down(const struct source *s, int x, const float *weight, int first, int taps,
                       bool bytes) {
  v16 sum = {0};
  ptrdiff_t at = first * s->stride + x;
  for (int k = 0; k < taps; k++, at += s->stride) sum += weight[k] * load(s, at, bytes);
  return sum;
}

// strip[x][row] for the output rows from y on. A row past the last is the last. The last columns
// overlap those before them where the width is no multiple of sixteen: nothing is read past a row's
// end, except in images of floats that are narrower, which have slack.
BT_INLINE void resize_down(const struct source *s, const struct bt_taps *t, int y, int height,
                           float *strip, bool bytes) {
  for (int x = 0; x < s->width; x += LANES) {
    int from = x + LANES > s->width && s->width > LANES ? s->width - LANES : x;
    v16 row[LANES];
    for (int i = 0; i < LANES; i++) {
      int at = y + i < height ? y + i : height - 1;
      row[i] = sum_down(s, from, t->weight + (ptrdiff_t)at * t->taps, t->first[at], t->taps, bytes);
    }
    transpose(row);
    memcpy(strip + (ptrdiff_t)from * LANES, row, sizeof row);
  }
}

// Clamped to 0 … 255.
BT_INLINE v16 limited(v16 v) {
  v16 most = (v16){0} + 255.0f;
  i16 below = v<0.0f, above = v> most;
  return (v16)(((i16)v & ~below & ~above) | ((i16)most & above));
}

// rows: how many of the strip's are of the image. out: width a row.
BT_INLINE void resize_across(const float *strip, const struct bt_taps *t, int rows, int width,
                             bool limit, float *out) {
  for (int x = 0; x < width; x += LANES) {
    int n = width - x < LANES ? width - x : LANES;
    v16 column[LANES] = {{0}};
    for (int i = 0; i < n; i++) {
      const float *weight = t->weight + (ptrdiff_t)(x + i) * t->taps;
      const v16_any *in = (const v16_any *)(strip + (ptrdiff_t)t->first[x + i] * LANES);
      v16 sum = {0};
      for (int k = 0; k < t->taps; k++) sum += weight[k] * in[k];
      column[i] = limit ? limited(sum) : sum;
    }
    transpose(column);
    for (int i = 0; i < rows; i++)
      memcpy(out + (ptrdiff_t)i * width + x, &column[i], sizeof(float) * (size_t)n);
  }
}

BT_CLONES static void resize_plane(const struct source *s, int height, int width, bool limit,
                                   const struct bt_scratch *scratch, float *out) {
  for (int y = 0; y < height; y += LANES) {
    if (s->bytes)
      resize_down(s, &scratch->vertical, y, height, scratch->strip, true);
    else
      resize_down(s, &scratch->vertical, y, height, scratch->strip, false);
    resize_across(scratch->strip, &scratch->horizontal, height - y < LANES ? height - y : LANES,
                  width, limit, out + (ptrdiff_t)y * width);
  }
}

void bt_image_resize(struct bt_image *image, struct bt_window window, int height, int width,
                     enum bt_interpolation filter, struct bt_scratch *scratch) {
  if (image->bytes && window.width < LANES) { // bytes have no slack
    bt_image_crop(image, window);
    window.top = window.left = 0;
  }
  compute_taps(&scratch->vertical, filter, window.height, height);
  compute_taps(&scratch->horizontal, filter, window.width, width);
  bool limit = filter == BT_BICUBIC && !image->normalised; // it overshoots
  for (int c = 0; c < image->channels; c++) {
    ptrdiff_t at = ((ptrdiff_t)c * image->height + window.top) * image->width + window.left;
    struct source source = {image->bytes ? image->bytes + at : NULL, image->pixels + at,
                            image->width, window.width};
    resize_plane(&source, height, width, limit, scratch,
                 image->spare + (ptrdiff_t)c * height * width);
  }
  bt_image_swap(image, height, width);
}

// ---- moving -----------------------------------------------------------------------------------

BT_CLONES void bt_image_crop(struct bt_image *image, struct bt_window window) {
  int lo = window.left < 0 ? 0 : window.left, hi = window.left + window.width;
  if (hi > image->width) hi = image->width;
  float *out = image->spare;
  for (int c = 0; c < image->channels; c++)
    for (int y = window.top; y < window.top + window.height; y++, out += window.width) {
      bool inside = y >= 0 && y < image->height && lo < hi;
      if (!inside || hi - lo < window.width) memset(out, 0, sizeof(float) * (size_t)window.width);
      if (!inside) continue;
      ptrdiff_t from = ((ptrdiff_t)c * image->height + y) * image->width + lo;
      float *to = out + (lo - window.left);
      if (image->bytes)
        for (int x = 0; x < hi - lo; x++) to[x] = (float)image->bytes[from + x];
      else
        memcpy(to, image->pixels + from, sizeof(float) * (size_t)(hi - lo));
    }
  bt_image_swap(image, window.height, window.width);
}

void bt_image_make_float(struct bt_image *image) {
  if (image->bytes) bt_image_crop(image, (struct bt_window){0, 0, image->height, image->width});
}

BT_CLONES void bt_image_mirror(struct bt_image *image) {
  int width = image->width, rows = image->channels * image->height;
  for (int y = 0; y < rows; y++) {
    ptrdiff_t row = (ptrdiff_t)y * width;
    float *restrict to = image->spare + row;
    if (image->bytes)
      for (int x = 0; x < width; x++) to[x] = (float)image->bytes[row + width - 1 - x];
    else
      for (int x = 0; x < width; x++) to[x] = image->pixels[row + width - 1 - x];
  }
  bt_image_swap(image, image->height, image->width);
}
