// decode_internal.h: between decode.c (files, rows, colours) and the two formats.
#ifndef BT_DECODE_INTERNAL_H
#define BT_DECODE_INTERNAL_H

#include "btrt_internal.h"
#include "decode.h"

struct bt_decoder {
  uint8_t *file; // the bytes last read
  size_t file_room;
};

// One image on its way.
struct bt_decoding {
  struct bt_image_room *room;
  const uint8_t *bytes;
  size_t n;
  bool size_only;
  struct bt_raster *raster; // channels: as wanted
  char *err;
  size_t errlen;
};

// Takes note of what the header says, which is judged, and makes room for the pixels. credible: can
// the file's bytes hold so many?
bool bt_decoding_begin(struct bt_decoding *d, uint64_t height, uint64_t width, bool credible);
// Puts row y, of `samples` bytes a pixel: 1 grey, 3 RGB, 4 CMYK, each byte 255 for no ink.
void bt_decoding_row(struct bt_decoding *d, int y, const uint8_t *row, int samples);

bool bt_decode_jpeg(struct bt_decoding *d);
bool bt_decode_png(struct bt_decoding *d);

#endif
