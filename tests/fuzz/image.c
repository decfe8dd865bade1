// image.c: libFuzzer's target for the decoding of JPEG and PNG: the input as a file, and with the
// checksums of PNG's chunks put right. What a thread's decoder met before must change nothing.
//
// The libraries themselves are not instrumented, so the corpus has a file of each kind that they
// know, though they reach the same lines of ours.
#include "../../runtime/decode.h"
#include "fuzz.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static bool decode(struct bt_image_room *room, const uint8_t *data, size_t size, int channels,
                   struct bt_raster *raster) {
  char err[512] = "";
  bool ok = bt_decode(room, data, size, channels, raster, err, sizeof err);
  fuzz_expect(ok ? raster->pixels && raster->channels == channels : *err);
  return ok;
}

static struct bt_image_room used; // for all inputs

static void read_file(const uint8_t *data, size_t size) {
  char err[512] = "";
  size_t n = 0, most = size / 2 + 1;
  const uint8_t *all = bt_read_image_file(&used, AT_FDCWD, fuzz_file(data, size).path, SIZE_MAX, &n,
                                          err, sizeof err);
  fuzz_expect(size ? all && n == size && memcmp(all, data, n) == 0 : !all && *err);
  if (!size) return;
  all = bt_read_image_file(&used, AT_FDCWD, fuzz_file(data, size).path, most, &n, err, sizeof err);
  fuzz_expect(all && n == (size < most ? size : most) && memcmp(all, data, n) == 0);
}

static void try(const uint8_t *data, size_t size) {
  char err[512];
  int height = 0, width = 0;
  bool sized = bt_decode_size(&used, data, size, &height, &width, err, sizeof err);
  for (int channels = 1; channels <= 3; channels += 2) {
    struct bt_image_room fresh = {0};
    struct bt_raster a, b;
    bool ok = decode(&used, data, size, channels, &a);
    fuzz_expect(decode(&fresh, data, size, channels, &b) == ok);
    if (ok) {
      size_t n = (size_t)channels * (size_t)a.height * (size_t)a.width;
      fuzz_expect(sized && a.height == height && a.width == width && b.height == height &&
                  b.width == width);
      fuzz_expect(memcmp(a.pixels, b.pixels, n) == 0);
    }
    bt_image_room_free(&fresh);
  }
}

static uint32_t big_endian(const uint8_t *p) {
  return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

// False: it has no chunks.
static bool mend_chunks(uint8_t *data, size_t size) {
  size_t at = 8;
  if (size < at || memcmp(data, "\x89PNG", 4) != 0) return false;
  while (size - at >= 12) {
    size_t n = big_endian(data + at);
    if (n > size - at - 12) break;
    uint32_t crc = (uint32_t)crc32_z(0, data + at + 4, n + 4);
    for (int i = 0; i < 4; i++) data[at + 8 + n + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
    at += n + 12;
  }
  return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  read_file(data, size);
  try(data, size);
  uint8_t *copy = malloc(size + 1);
  memcpy(copy, data, size);
  if (mend_chunks(copy, size)) try(copy, size);
  free(copy);
  return 0;
}
