// image_files.h: JPEG and PNG files for the tests, written by the libraries.
#ifndef IMAGE_FILES_H
#define IMAGE_FILES_H

#include "rt_test.h"

#include <jpeglib.h>
#include <png.h>

// Pixel p, channel c of a picture; different by `seed`.
static inline uint8_t image_value(int seed, int p, int c) {
  return (uint8_t)(40 + 97 * seed + 13 * (p / 7) + 31 * c + p % 7);
}

enum image_options {
  IMAGE_PLAIN,
  IMAGE_INTERLACED = 1,
  IMAGE_PROGRESSIVE = 2,
  IMAGE_YCCK = 4,
  IMAGE_RESTARTS = 8,
  IMAGE_ARITHMETIC = 16
};

// channels: 1 grey, 3 RGB, 4 inks.
static inline void image_jpeg(const char *path, int seed, int channels, int height, int width,
                              int options) {
  struct jpeg_compress_struct info;
  struct jpeg_error_mgr errors;
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  jpeg_stdio_dest(&info, f);
  info.image_width = (JDIMENSION)width, info.image_height = (JDIMENSION)height;
  info.input_components = channels;
  info.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&info);
  if (options & IMAGE_YCCK) jpeg_set_colorspace(&info, JCS_YCCK);
  if (options & IMAGE_PROGRESSIVE) jpeg_simple_progression(&info);
  if (options & IMAGE_RESTARTS) info.restart_interval = 1;
  if (options & IMAGE_ARITHMETIC) info.arith_code = TRUE;
  jpeg_set_quality(&info, 90, TRUE);
  jpeg_start_compress(&info, TRUE);
  uint8_t *row = malloc((size_t)(width * channels));
  for (int y = 0; y < height; y++) {
    for (int i = 0; i < width * channels; i++)
      row[i] = image_value(seed, y * width + i / channels, i % channels);
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  free(row);
  fclose(f);
}

// type: PNG_COLOR_TYPE_…; bits: 8 or 16, whose lower byte is noise; palettes have entry i = (i, 2i,
// 255-i).
static inline void image_png(const char *path, int seed, int type, int bits, int height, int width,
                             int options) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
  png_infop info = png_create_info_struct(png);
  assert_int_equal(setjmp(png_jmpbuf(png)), 0);
  png_init_io(png, f);
  bool interlaced = options & IMAGE_INTERLACED;
  png_set_IHDR(png, info, (unsigned)width, (unsigned)height, bits, type,
               interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  png_color palette[256];
  for (int i = 0; i < 256; i++)
    palette[i] = (png_color){(uint8_t)i, (uint8_t)(2 * i), (uint8_t)(255 - i)};
  if (type == PNG_COLOR_TYPE_PALETTE) png_set_PLTE(png, info, palette, 256);
  png_write_info(png, info);
  int channels = png_get_channels(png, info), bytes = bits / 8;
  uint8_t *rows[512], *all = malloc((size_t)(height * width * channels * bytes));
  for (int i = 0; i < height * width * channels; i++) {
    all[i * bytes] = image_value(seed, i / channels, i % channels);
    if (bytes == 2) all[2 * i + 1] = (uint8_t)(171 * i);
  }
  for (int y = 0; y < height; y++) rows[y] = all + y * width * channels * bytes;
  png_write_image(png, rows);
  png_write_end(png, NULL);
  png_destroy_write_struct(&png, &info);
  free(all);
  fclose(f);
}

#endif
