// decode_png.c: PNG by libpng, to 8 bits of grey or RGB.
//
// libpng reports errors by a call that must not return, hence setjmp.
#include "decode_internal.h"

#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reading {
  struct bt_decoding *d;
  size_t at; // bytes read
  png_structp png;
  png_infop info;
  uint8_t *rows; // room for one row or, where they are interlaced, for all
  char message[160];
};

static void leave(png_structp png, png_const_charp message) {
  struct reading *r = png_get_error_ptr(png);
  snprintf(r->message, sizeof r->message, "%s", message);
  png_longjmp(png, 1);
}

static void say_nothing(png_structp png, png_const_charp message) { (void)png, (void)message; }

static void give_bytes(png_structp png, png_bytep to, size_t n) {
  struct reading *r = png_get_io_ptr(png);
  if (n > r->d->n - r->at) png_error(png, "Premature end of PNG file");
  memcpy(to, r->d->bytes + r->at, n);
  r->at += n;
}

// Whatever the file has becomes one or three bytes a pixel.
static int choose_samples(struct reading *r) {
  png_set_expand(r->png); // palettes to RGB, grey of few bits to 8
  png_set_strip_16(r->png);
  png_set_strip_alpha(r->png);
  png_set_interlace_handling(r->png);
  png_read_update_info(r->png, r->info);
  return png_get_channels(r->png, r->info);
}

static bool read_rows(struct reading *r) {
  const struct bt_raster *raster = r->d->raster;
  bool interlaced = png_get_interlace_type(r->png, r->info) != PNG_INTERLACE_NONE;
  int samples = choose_samples(r), passes = interlaced ? 7 : 1;
  size_t row = png_get_rowbytes(r->png, r->info);
  r->rows = calloc(interlaced ? (size_t)raster->height : 1, row);
  if (!r->rows) return bt_fail(r->d->err, r->d->errlen, "not enough memory for its rows");
  for (int pass = 1; pass <= passes; pass++)
    for (int y = 0; y < raster->height; y++) {
      uint8_t *to = r->rows + (interlaced ? (size_t)y * row : 0);
      png_read_row(r->png, to, NULL);
      if (pass == passes) bt_decoding_row(r->d, y, to, samples);
    }
  return true;
}

// Deflate makes of a byte at most 1032.
static bool is_credible(const struct reading *r) {
  uint64_t rows = png_get_image_height(r->png, r->info);
  return rows * png_get_rowbytes(r->png, r->info) / 1032 <= r->d->n;
}

// Leaves by longjmp where libpng finds an error.
static bool decode(struct reading *r) {
  png_set_read_fn(r->png, r, give_bytes);
  png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1); // texts, profiles, gamma
  png_read_info(r->png, r->info);
  if (!bt_decoding_begin(r->d, png_get_image_height(r->png, r->info),
                         png_get_image_width(r->png, r->info), is_credible(r)))
    return false;
  if (r->d->size_only) return true;
  if (!read_rows(r)) return false;
  png_read_end(r->png, NULL);
  return true;
}

bool bt_decode_png(struct bt_decoding *d) {
  struct reading r = {.d = d};
  r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, leave, say_nothing);
  r.info = r.png ? png_create_info_struct(r.png) : NULL;
  bool ok = false;
  if (!r.info)
    bt_fail(d->err, d->errlen, "not enough memory");
  else if (setjmp(png_jmpbuf(r.png)))
    bt_fail(d->err, d->errlen, "%s", r.message);
  else
    ok = decode(&r);
  png_destroy_read_struct(&r.png, &r.info, NULL);
  free(r.rows);
  return ok;
}
