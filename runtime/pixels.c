// pixels.c: colour and blur, over whole planes.
#include "views_internal.h"

#include <math.h>
#include <string.h>

typedef float v4 __attribute__((vector_size(16)));
typedef float v4_any __attribute__((vector_size(16), may_alias, aligned(4)));
typedef float v16 __attribute__((vector_size(64)));
typedef float v16_any __attribute__((vector_size(64), may_alias, aligned(4)));

static const float luma[3] = {0.299f, 0.587f, 0.114f}; // ITU-R 601

static inline float clamp(float v) { return v < 0 ? 0 : v > 255 ? 255 : v; }

BT_CLONES void bt_pixels_affine(float *out, const float *in, ptrdiff_t n, float scale,
                                float shift) {
#pragma omp simd
  for (ptrdiff_t i = 0; i < n; i++) out[i] = in[i] * scale + shift;
}

BT_CLONES void bt_bytes_affine(float *out, const uint8_t *in, ptrdiff_t n, float scale,
                               float shift) {
#pragma omp simd
  for (ptrdiff_t i = 0; i < n; i++) out[i] = (float)in[i] * scale + shift;
}

BT_CLONES void bt_pixels_blend(float *pixels, ptrdiff_t n, float factor, float add) {
#pragma omp simd
  for (ptrdiff_t i = 0; i < n; i++) pixels[i] = clamp(factor * pixels[i] + add);
}

BT_CLONES void bt_pixels_solarize(float *pixels, ptrdiff_t n, float threshold) {
#pragma omp simd
  for (ptrdiff_t i = 0; i < n; i++)
    pixels[i] = pixels[i] >= threshold ? 255 - pixels[i] : pixels[i];
}

// ---- grey -------------------------------------------------------------------------------------

enum { PART = 1024 }; // pixels whose sum is one of floats

static inline float sum_lanes(v4 s) { return ((s[0] + s[1]) + s[2]) + s[3]; }

static float sum_part(const float *p, int n) {
  v4 s = {0};
  int i = 0;
  for (; i + 4 <= n; i += 4) s += *(const v4_any *)(p + i);
  for (; i < n; i++) s[0] += p[i];
  return sum_lanes(s);
}

// Four parts at a time, so that four additions are under way.
static double sum_pixels(const float *p, ptrdiff_t n) {
  double sum = 0;
  for (; n >= 4 * PART; n -= 4 * PART, p += 4 * PART) {
    v4 s[4] = {{0}};
    for (int i = 0; i < PART; i += 4)
      for (int k = 0; k < 4; k++) s[k] += *(const v4_any *)(p + k * PART + i);
    for (int k = 0; k < 4; k++) sum += sum_lanes(s[k]);
  }
  for (; n > 0; n -= PART, p += PART) sum += sum_part(p, n < PART ? (int)n : PART);
  return sum;
}

double bt_image_grey_mean(const struct bt_image *image) {
  static const double weight[3] = {0.299, 0.587, 0.114};
  ptrdiff_t plane = bt_image_plane(image);
  double mean = 0;
  for (int c = 0; c < image->channels; c++)
    mean += (image->channels == 3 ? weight[c] : 1.0 / image->channels) *
            sum_pixels(image->pixels + c * plane, plane) / (double)plane;
  return mean;
}

static inline float grey_of(float r, float g, float b) {
  return luma[0] * r + luma[1] * g + luma[2] * b;
}

BT_CLONES void bt_image_saturate(struct bt_image *image, float factor) {
  ptrdiff_t plane = bt_image_plane(image);
  float *r = image->pixels, *g = r + plane, *b = g + plane, rest = 1 - factor;
#pragma omp simd
  for (ptrdiff_t i = 0; i < plane; i++) {
    float grey = rest * grey_of(r[i], g[i], b[i]);
    r[i] = clamp(factor * r[i] + grey);
    g[i] = clamp(factor * g[i] + grey);
    b[i] = clamp(factor * b[i] + grey);
  }
}

BT_CLONES void bt_image_grey(struct bt_image *image) {
  ptrdiff_t plane = bt_image_plane(image);
  float *r = image->pixels, *g = r + plane, *b = g + plane;
#pragma omp simd
  for (ptrdiff_t i = 0; i < plane; i++) r[i] = g[i] = b[i] = grey_of(r[i], g[i], b[i]);
}

// ---- hue --------------------------------------------------------------------------------------

// The channel that lies n sixths before red on the circle, of value v, chroma c and hue h in
// sixths.
static inline float channel_of_hue(float n, float h, float v, float c) {
  float k = n + h;
  k = k >= 6 ? k - 6 : k;
  float m = k < 4 - k ? k : 4 - k;
  m = m < 0 ? 0 : m > 1 ? 1 : m;
  return v - c * m;
}

// The hue, 0 … 255, as Pillow's Convert.c (rgb2hsv) computes it, operation by operation: a hue that
// lies on a step is common among bytes, and it is the last bit that decides its side. 0 of greys.
static inline int hue_of(float r, float g, float b, float most, float chroma) {
  float d = chroma > 0 ? chroma : 1;
  float rc = (most - r) / d, gc = (most - g) / d, bc = (most - b) / d;
  float near_red = bc - gc, near_green = (float)(2.0 + rc - bc), near_blue = (float)(4.0 + gc - rc);
  float h = g == most ? near_green : near_blue;
  h = r == most ? near_red : h;
  double turn = (double)h / 6.0 + 1.0; // 5/6 … 11/6
  turn -= (int)turn;
  return (int)((double)(float)turn * 255.0);
}

BT_CLONES void bt_image_turn_hue(struct bt_image *image, double shift) {
  ptrdiff_t plane = bt_image_plane(image);
  float *red = image->pixels, *green = red + plane, *blue = green + plane;
  int turn = (int)(shift * 255);
#pragma omp simd
  for (ptrdiff_t i = 0; i < plane; i++) {
    float r = red[i], g = green[i], b = blue[i];
    float most = r > g ? r : g, least = r < g ? r : g;
    most = most > b ? most : b, least = least < b ? least : b;
    float chroma = most - least;
    float h = (float)((hue_of(r, g, b, most, chroma) + turn) & 255) * (6 / 255.0f);
    red[i] = channel_of_hue(5, h, most, chroma);
    green[i] = channel_of_hue(3, h, most, chroma);
    blue[i] = channel_of_hue(1, h, most, chroma);
  }
}

// ---- blur -------------------------------------------------------------------------------------

int bt_blur_radius(double sigma) { return (int)ceil(4 * sigma); }

// weight: radius + 1, from the middle outwards.
static void compute_gaussian(double sigma, int radius, float *weight) {
  double sum = 1;
  for (int i = 1; i <= radius; i++) sum += 2 * exp(-0.5 * (i / sigma) * (i / sigma));
  for (int i = 0; i <= radius; i++)
    weight[i] = (float)(exp(-0.5 * (i / sigma) * (i / sigma)) / sum);
}

// Position i of a line of n, mirrored into it as often as it takes.
static int mirrored(int i, int n) {
  if (i >= 0 && i < n) return i;
  if (n == 1) return 0;
  int period = 2 * (n - 1);
  i = i < 0 ? -i % period : i % period;
  return i < n ? i : period - i;
}

// line: width from the rows at `at` (radius above, the middle, radius below) of plane.
static inline __attribute__((always_inline)) void blur_down(const float *plane, int width,
                                                            const int *at, const float *weight,
                                                            int radius, float *line) {
  for (int x = 0; x < width; x += BT_SLACK) {
    v16 sum = weight[0] * *(const v16_any *)(plane + (ptrdiff_t)at[radius] * width + x);
    for (int k = 1; k <= radius; k++)
      sum += weight[k] * (*(const v16_any *)(plane + (ptrdiff_t)at[radius - k] * width + x) +
                          *(const v16_any *)(plane + (ptrdiff_t)at[radius + k] * width + x));
    *(v16_any *)(line + x) = sum;
  }
}

// out: width; line has `radius` more on both sides.
static inline __attribute__((always_inline)) void
blur_across(const float *line, int width, const float *weight, int radius, float *out) {
  for (int x = 0; x < width; x += BT_SLACK) {
    v16 sum = weight[0] * *(const v16_any *)(line + x);
    for (int k = 1; k <= radius; k++)
      sum += weight[k] * (*(const v16_any *)(line + x - k) + *(const v16_any *)(line + x + k));
    *(v16_any *)(out + x) = sum;
  }
}

// Rows in order: what the last vector of a row writes past its end is written again.
BT_CLONES static void blur_plane(const float *plane, int height, int width, int radius,
                                 const struct bt_scratch *scratch, float *out) {
  const float *weight = scratch->vertical.weight;
  int *at = scratch->vertical.first;
  float *line = scratch->strip + radius;
  for (int y = 0; y < height; y++) {
    for (int k = -radius; k <= radius; k++) at[radius + k] = mirrored(y + k, height);
    blur_down(plane, width, at, weight, radius, line);
    for (int k = 1; k <= radius; k++) {
      line[-k] = line[mirrored(-k, width)];
      line[width - 1 + k] = line[mirrored(width - 1 + k, width)];
    }
    blur_across(line, width, weight, radius, out + (ptrdiff_t)y * width);
  }
}

void bt_image_blur(struct bt_image *image, double sigma, struct bt_scratch *scratch) {
  int radius = bt_blur_radius(sigma);
  ptrdiff_t plane = bt_image_plane(image);
  compute_gaussian(sigma, radius, scratch->vertical.weight);
  for (int c = 0; c < image->channels; c++)
    blur_plane(image->pixels + c * plane, image->height, image->width, radius, scratch,
               image->spare + c * plane);
  bt_image_swap(image, image->height, image->width);
}
