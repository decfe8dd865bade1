// picture.h: pictures for people, written as PNG.
#ifndef BT_PICTURE_H
#define BT_PICTURE_H

#include "btrt.h"

struct bt_picture {
  int height, width, channels; // 1: grey, 3: red, green, blue
  uint8_t *pixels;             // height × width × channels
};

// Writes the file atomically: another of that name is replaced once the picture is complete. False
// with err where it cannot.
bool bt_png_write(const char *path, const struct bt_picture *picture, char *err, size_t errlen);

#endif
