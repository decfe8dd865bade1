// images.h: the images of a split, of one size or of many.
//
// Pixels are bytes in planes, channels × height × width, as views read them.
#ifndef BT_IMAGES_H
#define BT_IMAGES_H

#include "btrt.h"

struct bt_raster {
  int channels, height, width;
  const uint8_t *pixels;
};

struct bt_images {
  int64_t n;
  int channels;      // of every image
  int height, width; // of every image; 0: they differ, or are not known before they are read
  uint8_t *pixels;   // all, one after the other
};

// Room for one image that is read when it is wanted: a thread has its own, and it grows.
struct bt_image_room {
  uint8_t *pixels;
  size_t bytes;
};

// Image i; its pixels lie in the set or in `room`, until the room's next use. Threads may call at
// once, each with its room. False with err where it cannot be read.
bool bt_images_get(const struct bt_images *images, int64_t i, struct bt_image_room *room,
                   struct bt_raster *raster, char *err, size_t errlen);
void bt_images_free(struct bt_images *images);

#endif
