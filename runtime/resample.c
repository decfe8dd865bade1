// resample.c: cut-outs, and antialiased bilinear and bicubic resizing.
//
// Resizing is separable: down the columns first, then across. Sixteen rows of the result at a time
// lie in the scratch strip with their columns together (strip[x][row]), so that both passes work on
// vectors of sixteen. Taps depend on the window alone and are computed once for all channels.
#include "views_internal.h"

#include <math.h>
#include <string.h>

enum { LANES = BT_SLACK };
typedef float v4 __attribute__((vector_size(16)));
typedef float v4_any __attribute__((vector_size(16), may_alias, aligned(4)));
typedef float v16 __attribute__((vector_size(64)));
typedef float v16_any __attribute__((vector_size(64), may_alias, aligned(4)));
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
  const float *pixels;
  ptrdiff_t stride;
  int width; // of the window
};

// Sixteen rows of sixteen, in blocks of 4 × 4: those are single instructions for every width.
BT_INLINE void transpose(const v16 from[LANES], float *to) {
  const float *in = (const float *)from;
  for (int y = 0; y < LANES; y += 4)
    for (int x = 0; x < LANES; x += 4) {
      v4 row[4];
      for (int i = 0; i < 4; i++) row[i] = *(const v4_any *)(in + (y + i) * LANES + x);
      v4 a = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5);
      v4 b = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5);
      v4 c = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7);
      v4 d = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
      float *out = to + x * LANES + y;
      *(v4_any *)out = __builtin_shufflevector(a, b, 0, 1, 4, 5);
      *(v4_any *)(out + LANES) = __builtin_shufflevector(a, b, 2, 3, 6, 7);
      *(v4_any *)(out + 2 * LANES) = __builtin_shufflevector(c, d, 0, 1, 4, 5);
      *(v4_any *)(out + 3 * LANES) = __builtin_shufflevector(c, d, 2, 3, 6, 7);
    }
}

// strip[x][row] for the output rows from y on. A row past the last is the last.
BT_INLINE void resize_down(const struct source *s, const struct bt_taps *t, int y, int height,
                           float *strip) {
  for (int x = 0; x < s->width; x += LANES) {
    v16 row[LANES];
    for (int i = 0; i < LANES; i++) {
      int at = y + i < height ? y + i : height - 1;
      const float *weight = t->weight + (ptrdiff_t)at * t->taps,
                  *in = s->pixels + t->first[at] * s->stride + x;
      v16 sum = {0};
      for (int k = 0; k < t->taps; k++, in += s->stride) sum += weight[k] * *(const v16_any *)in;
      row[i] = sum;
    }
    transpose(row, strip + (ptrdiff_t)x * LANES);
  }
}

// rows: how many of the strip's are of the image. out: width a row.
BT_INLINE void resize_across(const float *strip, const struct bt_taps *t, int rows, int width,
                             float *out) {
  for (int x = 0; x < width; x += LANES) {
    int n = width - x < LANES ? width - x : LANES;
    v16 column[LANES];
    float block[LANES * LANES];
    for (int i = 0; i < LANES; i++) {
      int at = i < n ? x + i : x;
      const float *weight = t->weight + (ptrdiff_t)at * t->taps,
                  *in = strip + (ptrdiff_t)t->first[at] * LANES;
      v16 sum = {0};
      for (int k = 0; k < t->taps; k++) sum += weight[k] * *(const v16_any *)(in + k * LANES);
      column[i] = sum;
    }
    transpose(column, block);
    for (int i = 0; i < rows; i++)
      if (n == LANES)
        *(v16_any *)(out + (ptrdiff_t)i * width + x) = *(const v16_any *)(block + i * LANES);
      else
        memcpy(out + (ptrdiff_t)i * width + x, block + i * LANES, sizeof(float) * (size_t)n);
  }
}

BT_INLINE void limit_pixels(float *p, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; i++) p[i] = p[i] < 0 ? 0 : p[i] > 255 ? 255 : p[i];
}

BT_CLONES static void resize_plane(const struct source *s, int height, int width, bool limit,
                                   const struct bt_scratch *scratch, float *out) {
  for (int y = 0; y < height; y += LANES) {
    resize_down(s, &scratch->vertical, y, height, scratch->strip);
    int rows = height - y < LANES ? height - y : LANES;
    resize_across(scratch->strip, &scratch->horizontal, rows, width, out + (ptrdiff_t)y * width);
    if (limit) limit_pixels(out + (ptrdiff_t)y * width, (ptrdiff_t)rows * width);
  }
}

// Channel c of an image of bytes within the window, as floats.
BT_CLONES static void cut_bytes(const struct bt_image *image, int c, struct bt_window window,
                                float *restrict out) {
  const uint8_t *in =
      image->bytes + ((ptrdiff_t)c * image->height + window.top) * image->width + window.left;
  for (int y = 0; y < window.height; y++, in += image->width, out += window.width)
    for (int x = 0; x < window.width; x++) out[x] = (float)in[x];
}

void bt_image_resize(struct bt_image *image, struct bt_window window, int height, int width,
                     enum bt_interpolation filter, struct bt_scratch *scratch) {
  compute_taps(&scratch->vertical, filter, window.height, height);
  compute_taps(&scratch->horizontal, filter, window.width, width);
  bool limit = filter == BT_BICUBIC && !image->normalised; // it overshoots
  for (int c = 0; c < image->channels; c++) {
    ptrdiff_t at = ((ptrdiff_t)c * image->height + window.top) * image->width + window.left;
    struct source source = {image->pixels + at, image->width, window.width};
    if (image->bytes) { // a channel at a time, so that it stays in the cache
      cut_bytes(image, c, window, image->pixels);
      source = (struct source){image->pixels, window.width, window.width};
    }
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
