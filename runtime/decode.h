// decode.h: JPEG and PNG images, from the bytes of a file to planes of pixels.
//
// The pixels are those of PIL's Image.open(f).convert("RGB") or, for one channel, .convert("L"):
// grey is copied to each channel, colour becomes grey by ITU-R 601, palettes are looked up, alpha
// is dropped, CMYK is taken as Adobe writes it, an orientation in EXIF is not applied. 16 bits
// become the upper 8 (PIL would clip one grey channel of 16 bits to white).
//
// Nothing is trusted: a header that claims more than BT_MOST_PIXELS, or more than the file can
// hold, is refused; a warning of libjpeg that data are missing or damaged is an error.
#ifndef BT_DECODE_H
#define BT_DECODE_H

#include "images.h"

#define BT_MOST_PIXELS 178956970 // of an image: PIL's limit against decompression bombs

// Decodes the file of n bytes to 1 or 3 channels, in room->pixels. False with err, a clause that
// names no file.
bool bt_decode(struct bt_image_room *room, const uint8_t *bytes, size_t n, int channels,
               struct bt_raster *raster, char *err, size_t errlen);
// What the header says; the first bytes of a file will do where they hold it.
bool bt_decode_size(struct bt_image_room *room, const uint8_t *bytes, size_t n, int *height,
                    int *width, char *err, size_t errlen);

// Reads a file (path: within `folder`, a descriptor), at most `most` bytes from its beginning; they
// stay in the room until its next use. NULL with err, a clause that names no file.
const uint8_t *bt_read_image_file(struct bt_image_room *room, int folder, const char *path,
                                  size_t most, size_t *n, char *err, size_t errlen);

#endif
