// images.c: see images.h.
#include "images.h"

#include <stdlib.h>

bool bt_images_get(const struct bt_images *images, int64_t i, struct bt_image_room *room,
                   struct bt_raster *raster, char *err, size_t errlen) {
  (void)room, (void)err, (void)errlen;
  size_t bytes = (size_t)images->channels * (size_t)images->height * (size_t)images->width;
  *raster = (struct bt_raster){images->channels, images->height, images->width,
                               images->pixels + (size_t)i * bytes};
  return true;
}

void bt_images_free(struct bt_images *images) {
  if (!images) return;
  free(images->pixels);
  free(images);
}
