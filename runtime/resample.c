// resample.c: cut-outs and antialiased bilinear resizing.
//
// Resizing is separable. The vertical pass comes first: it reads the source once, row-wise, so it
// vectorises over columns and converts bytes on the way; the horizontal pass then works on the few
// rows of the result. Taps depend on the window alone and are computed once for all channels.
#include "btrt_internal.h"
#include "views_internal.h"

#include <math.h>
#include <string.h>

int bt_taps_most(int input, int output) {
  double scale = (double)input / output;
  return (int)ceil(scale > 1 ? scale : 1) * 2 + 1;
}

// Pillow's Resample.c, precompute_coeffs, with its triangle filter.
static void compute_taps(struct bt_taps *t, int input, int output) {
  double scale = (double)input / output, stretch = scale > 1 ? scale : 1;
  t->taps = bt_taps_most(input, output);
  if (t->taps > input) t->taps = input;
  for (int i = 0; i < output; i++) {
    double centre = (i + 0.5) * scale, sum = 0;
    int lo = (int)(centre - stretch + 0.5), hi = (int)(centre + stretch + 0.5);
    if (lo < 0) lo = 0;
    if (hi > input) hi = input;
    // Every output uses `taps` inputs, so the loops over taps have one length; the surplus weighs
    // 0.
    int first = lo + t->taps > input ? input - t->taps : lo;
    float *weight = t->weight + (ptrdiff_t)i * t->taps;
    for (int k = 0; k < t->taps; k++) {
      double distance = fabs((first + k - centre + 0.5) / stretch);
      bool used = first + k >= lo && first + k < hi && distance < 1;
      weight[k] = used ? (float)(1 - distance) : 0;
      sum += used ? 1 - distance : 0;
    }
    for (int k = 0; k < t->taps; k++) weight[k] = (float)(weight[k] / sum);
    t->first[i] = first;
  }
}

static void add_row_bytes(float *restrict out, const uint8_t *restrict in, float weight, int n) {
  for (int x = 0; x < n; x++) out[x] += weight * (float)in[x];
}

static void add_row(float *restrict out, const float *restrict in, float weight, int n) {
  for (int x = 0; x < n; x++) out[x] += weight * in[x];
}

// rows: height × window.width, of channel c.
static void resize_rows(const struct bt_image *image, int c, struct bt_window window, int height,
                        const struct bt_taps *t, float *rows) {
  memset(rows, 0, sizeof(float) * (size_t)height * (size_t)window.width);
  for (int y = 0; y < height; y++)
    for (int k = 0; k < t->taps; k++) {
      float weight = t->weight[y * t->taps + k], *out = rows + (ptrdiff_t)y * window.width;
      ptrdiff_t row = (ptrdiff_t)c * image->height + window.top + t->first[y] + k;
      ptrdiff_t at = row * image->width + window.left;
      if (weight == 0) continue;
      if (image->bytes)
        add_row_bytes(out, image->bytes + at, weight, window.width);
      else
        add_row(out, image->pixels + at, weight, window.width);
    }
}

// out: height × width from rows: height × row_width.
static void resize_columns(const float *restrict rows, int row_width, int height, int width,
                           const struct bt_taps *t, float *restrict out) {
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++) {
      const float *in = rows + (ptrdiff_t)y * row_width + t->first[x];
      const float *weight = t->weight + (ptrdiff_t)x * t->taps;
      float sum = 0;
      for (int k = 0; k < t->taps; k++) sum += weight[k] * in[k];
      out[y * width + x] = sum;
    }
}

static void finish(struct bt_image *image, int height, int width) {
  float *swap = image->pixels;
  image->pixels = image->spare;
  image->spare = swap;
  image->bytes = NULL;
  image->height = height, image->width = width;
}

void bt_image_resize(struct bt_image *image, struct bt_window window, int height, int width,
                     struct bt_taps *vertical, struct bt_taps *horizontal, float *rows) {
  compute_taps(vertical, window.height, height);
  compute_taps(horizontal, window.width, width);
  for (int c = 0; c < image->channels; c++) {
    resize_rows(image, c, window, height, vertical, rows);
    resize_columns(rows, window.width, height, width, horizontal,
                   image->spare + (ptrdiff_t)c * height * width);
  }
  finish(image, height, width);
}

static void copy_pixels(const struct bt_image *image, ptrdiff_t from, float *to, int n) {
  if (!image->bytes)
    memcpy(to, image->pixels + from, sizeof(float) * (size_t)n);
  else
    for (int x = 0; x < n; x++) to[x] = (float)image->bytes[from + x];
}

void bt_image_crop(struct bt_image *image, struct bt_window window) {
  int lo = window.left < 0 ? 0 : window.left, hi = window.left + window.width;
  if (hi > image->width) hi = image->width;
  float *out = image->spare;
  for (int c = 0; c < image->channels; c++)
    for (int y = window.top; y < window.top + window.height; y++, out += window.width) {
      bool inside = y >= 0 && y < image->height && lo < hi;
      if (!inside || hi - lo < window.width) memset(out, 0, sizeof(float) * (size_t)window.width);
      ptrdiff_t row = ((ptrdiff_t)c * image->height + y) * image->width;
      if (inside) copy_pixels(image, row + lo, out + (lo - window.left), hi - lo);
    }
  finish(image, window.height, window.width);
}
