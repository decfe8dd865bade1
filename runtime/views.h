// views.h: random views of images, a batch at a time.
//
// A plan is a `struct bt_view` checked against the size of the images, with room for every thread.
// Images are uint8 channels × height × width; a view's result is float in the same order. Random
// numbers are keyed by (seed, epoch, image, site), so a result depends neither on the number of
// threads nor on the batch that an image happens to be in.
#ifndef BT_VIEWS_H
#define BT_VIEWS_H

#include "btrt.h"

struct bt_view_plan;

// view: NULL for raw pixels (0 … 255). image: channels, height, width. NULL with err where a step
// cannot work on such images.
struct bt_view_plan *bt_view_plan_new(const struct bt_view *view, const int64_t image[3],
                                      int threads, char *err, size_t errlen);
void bt_view_plan_free(struct bt_view_plan *plan);
void bt_view_plan_shape(const struct bt_view_plan *plan, int64_t shape[3]); // of a result
size_t bt_view_plan_bytes(const struct bt_view_plan *plan);                 // working memory

struct bt_view_key {
  uint64_t seed;
  uint32_t epoch;
  uint32_t site;
};

// images: the whole data set. index: n image numbers. out: n × result shape.
void bt_view_batch(struct bt_view_plan *plan, const uint8_t *images, const uint32_t *index,
                   int64_t n, struct bt_view_key key, float *out);

#endif
