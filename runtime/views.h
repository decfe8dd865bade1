// views.h: random views of images.
//
// A plan is a `struct bt_view` checked against the images, with room for every worker. A view's
// result is float, channels × height × width. Random numbers are keyed by (seed, epoch, image,
// site), so a result depends neither on the number of workers nor on the batch that an image happens
// to be in; nor on the processor.
#ifndef BT_VIEWS_H
#define BT_VIEWS_H

#include "images.h"

struct bt_view_plan;

enum { BT_VIEW_MOST_SIDE = 16384 }; // pixels, of what a step makes

// What a step makes of an image of height × width; 0: not known.
void bt_view_step_size(const struct bt_view_step *step, int64_t *height, int64_t *width);

// Whether the arguments of its steps have a meaning, and steps can work on such images: channels, height, width; the
// last two 0: any. Else err names the step.
bool bt_view_check(const struct bt_view *view, const int64_t image[3], char *err, size_t errlen);

// view: NULL for raw pixels (0 … 255). image: channels, height, width; the last two 0: any. NULL with
// err where a step cannot work on such images, or where the size of the result depends on the image.
struct bt_view_plan *bt_view_plan_new(const struct bt_view *view, const int64_t image[3],
                                      int workers, char *err, size_t errlen);
void bt_view_plan_free(struct bt_view_plan *plan);
void bt_view_plan_shape(const struct bt_view_plan *plan, int64_t shape[3]); // of a result
size_t bt_view_plan_bytes(const struct bt_view_plan *plan); // working memory, for images so far

struct bt_view_key {
  uint64_t seed;
  uint32_t epoch;
  uint32_t site;
};

// The view of one image, number `index` of its set, by worker 0 … workers-1 (of which each works on
// one image at a time). out: the result's shape. Allocates only where an image needs more room than
// all before it of its worker. False with err where the image is too small for a step, or memory is
// out.
bool bt_view_apply(struct bt_view_plan *plan, int worker, const struct bt_raster *image,
                   uint32_t index, struct bt_view_key key, float *out, char *err, size_t errlen);

#endif
