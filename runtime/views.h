// views.h: random views of images.
//
// A plan is a `struct bt_view` checked against the size of the images, with room for every worker.
// A view's result is float, channels × height × width. Random numbers are keyed by (seed, epoch,
// image, site), so a result depends neither on the number of workers nor on the batch that an image
// happens to be in.
#ifndef BT_VIEWS_H
#define BT_VIEWS_H

#include "images.h"

struct bt_view_plan;

// view: NULL for raw pixels (0 … 255). image: channels, height, width; the last two 0: any. NULL with
// err where a step cannot work on such images.
struct bt_view_plan *bt_view_plan_new(const struct bt_view *view, const int64_t image[3],
                                      int workers, char *err, size_t errlen);
void bt_view_plan_free(struct bt_view_plan *plan);
void bt_view_plan_shape(const struct bt_view_plan *plan, int64_t shape[3]); // of a result
size_t bt_view_plan_bytes(const struct bt_view_plan *plan);                 // working memory

struct bt_view_key {
  uint64_t seed;
  uint32_t epoch;
  uint32_t site;
};

// The view of one image, number `index` of its set, by worker 0 … workers-1 (of which each works on
// one image at a time). out: the result's shape. False with err where the image is too small for a
// step.
bool bt_view_apply(struct bt_view_plan *plan, int worker, const struct bt_raster *image,
                   uint32_t index, struct bt_view_key key, float *out, char *err, size_t errlen);

#endif
