// decode.c: see decode.h. Which format a file has is told by its first bytes, whatever its name is.
#include "decode_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_BYTES ((off_t)1 << 30) // of a file
#define FAIL(d, ...) bt_fail((d)->err, (d)->errlen, __VA_ARGS__)

// ---- files ------------------------------------------------------------------------------------

static struct bt_decoder *decoder_of(struct bt_image_room *room) {
  if (!room->decoder) room->decoder = bt_xcalloc(1, sizeof *room->decoder);
  return room->decoder;
}

// What was in the room is not kept.
static bool make_room(uint8_t **bytes, size_t *have, size_t n) {
  if (n <= *have) return true;
  free(*bytes);
  *bytes = malloc(n);
  *have = *bytes ? n : 0;
  return *bytes;
}

static bool read_bytes(int file, uint8_t *to, size_t n, char *err, size_t errlen) {
  for (size_t have = 0; have < n;) {
    ssize_t got = read(file, to + have, n - have);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return bt_fail(err, errlen, "cannot read: %s", strerror(errno));
    if (got == 0) return bt_fail(err, errlen, "it became shorter while it was read");
    have += (size_t)got;
  }
  return true;
}

static bool read_file(struct bt_decoder *d, int file, size_t most, size_t *n, char *err,
                      size_t errlen) {
  struct stat st;
  if (fstat(file, &st) != 0) return bt_fail(err, errlen, "cannot read: %s", strerror(errno));
  if (!S_ISREG(st.st_mode)) return bt_fail(err, errlen, "not a file");
  if (st.st_size == 0) return bt_fail(err, errlen, "empty");
  if (st.st_size > MOST_BYTES)
    return bt_fail(err, errlen, "%" PRId64 " bytes are no image", (int64_t)st.st_size);
  *n = (size_t)st.st_size < most ? (size_t)st.st_size : most;
  if (!make_room(&d->file, &d->file_room, *n))
    return bt_fail(err, errlen, "not enough memory for its %zu bytes", *n);
  return read_bytes(file, d->file, *n, err, errlen);
}

const uint8_t *bt_read_image_file(struct bt_image_room *room, int folder, const char *path,
                                  size_t most, size_t *n, char *err, size_t errlen) {
  struct bt_decoder *d = decoder_of(room);
  int file =
      openat(folder, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // no waiting for a pipe's writer
  if (file < 0) return bt_fail(err, errlen, "cannot open: %s", strerror(errno)), NULL;
  bool ok = read_file(d, file, most, n, err, errlen);
  close(file);
  return ok ? d->file : NULL;
}

// ---- pixels -----------------------------------------------------------------------------------

bool bt_decoding_begin(struct bt_decoding *d, uint64_t height, uint64_t width, bool credible) {
  if (height == 0 || width == 0) return FAIL(d, "its header says 0 pixels");
  if (height > BT_MOST_PIXELS || width > BT_MOST_PIXELS || height * width > BT_MOST_PIXELS)
    return FAIL(d, "its header claims %" PRIu64 "×%" PRIu64 " pixels, more than %d", height, width,
                BT_MOST_PIXELS);
  d->raster->height = (int)height, d->raster->width = (int)width;
  if (d->size_only) return true; // of the first bytes alone
  if (!credible)
    return FAIL(
        d, "its %zu bytes cannot hold the %" PRIu64 "×%" PRIu64 " pixels that its header claims",
        d->n, height, width);
  size_t bytes = (size_t)d->raster->channels * height * width;
  if (!make_room(&d->room->pixels, &d->room->bytes, bytes))
    return FAIL(d, "not enough memory for %" PRIu64 "×%" PRIu64 " pixels", height, width);
  d->raster->pixels = d->room->pixels;
  return true;
}

static void copy_colours(uint8_t *to, size_t plane, const uint8_t *row, int width) {
  uint8_t *red = to, *green = to + plane, *blue = to + 2 * plane;
  for (int x = 0; x < width; x++)
    red[x] = row[3 * x], green[x] = row[3 * x + 1], blue[x] = row[3 * x + 2];
}

// PIL's fixed point of 0.299 R + 0.587 G + 0.114 B.
static void mix_colours(uint8_t *to, const uint8_t *row, int width) {
  for (int x = 0; x < width; x++) {
    const uint8_t *p = row + 3 * x;
    to[x] = (uint8_t)((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16);
  }
}

// PIL's: ink dims white, black dims what is left; a × b / 255 is rounded.
static uint8_t dimmed(unsigned colour, unsigned white) {
  unsigned ink = 255 - colour, product = ink * white + 128;
  int left = (int)white - (int)(((product >> 8) + product) >> 8);
  return (uint8_t)(left < 0 ? 0 : left);
}

static void put_colours(struct bt_decoding *d, int y, const uint8_t *row) {
  const struct bt_raster *r = d->raster;
  uint8_t *to = d->room->pixels + (size_t)y * (size_t)r->width;
  if (r->channels == 1)
    mix_colours(to, row, r->width);
  else
    copy_colours(to, (size_t)r->height * (size_t)r->width, row, r->width);
}

static void put_inks(struct bt_decoding *d, int y, const uint8_t *row) {
  const struct bt_raster *r = d->raster;
  size_t plane = (size_t)r->height * (size_t)r->width;
  uint8_t *to = d->room->pixels + (size_t)y * (size_t)r->width;
  for (int x = 0; x < r->width; x++) {
    const uint8_t *p = row + 4 * (size_t)x;
    uint8_t rgb[3] = {dimmed(p[0], p[3]), dimmed(p[1], p[3]), dimmed(p[2], p[3])};
    if (r->channels == 1)
      mix_colours(to + x, rgb, 1);
    else
      copy_colours(to + x, plane, rgb, 1);
  }
}

void bt_decoding_row(struct bt_decoding *d, int y, const uint8_t *row, int samples) {
  const struct bt_raster *r = d->raster;
  size_t width = (size_t)r->width, plane = (size_t)r->height * width;
  if (samples == 3)
    put_colours(d, y, row);
  else if (samples == 4)
    put_inks(d, y, row);
  else
    for (int c = 0; c < r->channels; c++)
      memcpy(d->room->pixels + (size_t)c * plane + (size_t)y * width, row, width);
}

// ---- the formats ------------------------------------------------------------------------------

static bool decode(struct bt_decoding *d) {
  static const uint8_t png[] = {0x89, 'P', 'N', 'G'}, jpeg[] = {0xff, 0xd8, 0xff};
  decoder_of(d->room);
  if (d->n >= sizeof jpeg && memcmp(d->bytes, jpeg, sizeof jpeg) == 0) return bt_decode_jpeg(d);
  if (d->n >= sizeof png && memcmp(d->bytes, png, sizeof png) == 0) return bt_decode_png(d);
  return FAIL(d, "neither JPEG nor PNG");
}

bool bt_decode(struct bt_image_room *room, const uint8_t *bytes, size_t n, int channels,
               struct bt_raster *raster, char *err, size_t errlen) {
  struct bt_decoding d = {room, bytes, n, false, raster, err, errlen};
  *raster = (struct bt_raster){.channels = channels};
  return decode(&d);
}

bool bt_decode_size(struct bt_image_room *room, const uint8_t *bytes, size_t n, int *height,
                    int *width, char *err, size_t errlen) {
  struct bt_raster raster = {.channels = 3};
  struct bt_decoding d = {room, bytes, n, true, &raster, err, errlen};
  if (!decode(&d)) return false;
  *height = raster.height, *width = raster.width;
  return true;
}

void bt_image_room_free(struct bt_image_room *room) {
  free(room->pixels);
  if (room->decoder) free(room->decoder->file);
  free(room->decoder);
  *room = (struct bt_image_room){0};
}
