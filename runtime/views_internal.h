// views_internal.h: between views.c (the steps) and resample.c (cut-outs and resizing).
#ifndef BT_VIEWS_INTERNAL_H
#define BT_VIEWS_INTERNAL_H

#include "btrt.h"

// An image on its way through a view. It starts as the data set's bytes; the first step that
// touches pixels makes it float, so a crop never converts what it throws away.
struct bt_image {
  int channels, height, width;
  const uint8_t *bytes;  // not NULL: still the original
  float *pixels, *spare; // 0 … 255; a step that cannot work in place writes spare and swaps
};

// One axis of a resize: output i is the sum over k < taps of weight[i][k] × input[first[i] + k].
struct bt_taps {
  int taps;
  int *first;
  float *weight;
};

struct bt_window {
  int top, left, height, width;
};

// Room that resampling an image of `input` pixels a side to `output` pixels a side may need.
int bt_taps_most(int input, int output);
// Replaces the image by its window, zero where the window reaches outside.
void bt_image_crop(struct bt_image *image, struct bt_window window);
// Replaces the image by its window (wholly inside) resized to height × width: bilinear, with the
// triangle widened by the scale when shrinking (antialias), as PIL's and torchvision's.
// rows: room for height × window.width floats.
void bt_image_resize(struct bt_image *image, struct bt_window window, int height, int width,
                     struct bt_taps *vertical, struct bt_taps *horizontal, float *rows);

#endif
