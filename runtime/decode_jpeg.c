// decode_jpeg.c: JPEG by libjpeg-turbo: slow integer DCT, fancy upsampling, as is its default and
// PIL's.
//
// Each image has a decompressor of its own: one keeps the tables of the images before, and a file that lacks
// its own would be decoded with them. libjpeg reports errors by a call that must not return, hence setjmp.
#include "decode_internal.h"

#include <stdio.h>

#include <jpeglib.h>
// after it:
#include <jerror.h>
#include <setjmp.h>

#define MOST_SCANS 500 // a progressive file has some ten; each costs as much as the image is large

struct reading {
  struct jpeg_decompress_struct info;
  struct jpeg_error_mgr errors;
  struct jpeg_progress_mgr progress;
  jmp_buf failed;
  char message[JMSG_LENGTH_MAX];
};

static void leave(j_common_ptr info) {
  struct reading *r = info->client_data;
  info->err->format_message(info, r->message);
  longjmp(r->failed, 1);
}

// Of libjpeg's warnings, those that tell of lost or damaged data: what would follow is made up.
static void judge_warning(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
  case JWRN_JPEG_EOF:
  case JWRN_HIT_MARKER:
  case JWRN_HUFF_BAD_CODE:
  case JWRN_ARITH_BAD_CODE:
  case JWRN_MUST_RESYNC: leave(info); break;
  default: break;
  }
}

static void limit_scans(j_common_ptr info) {
  struct reading *r = info->client_data;
  if (r->info.input_scan_number <= MOST_SCANS) return;
  snprintf(r->message, sizeof r->message, "more than %d scans", MOST_SCANS);
  longjmp(r->failed, 1);
}

static void say_nothing(j_common_ptr info) { (void)info; }

// PIL refuses other numbers of components, too.
static bool choose_colours(struct bt_decoding *d, struct jpeg_decompress_struct *info) {
  switch (info->num_components) {
  case 1: info->out_color_space = JCS_GRAYSCALE; return true;
  case 3: info->out_color_space = JCS_RGB; return true;
  case 4: info->out_color_space = JCS_CMYK; return true;
  default: return bt_fail(d->err, d->errlen, "%d components, not 1, 3 or 4", info->num_components);
  }
}

// Huffman's code takes at least a bit for a block of 8 × 8 samples, and at least every second block of
// the image is in some component; so a short file cannot claim a large image, for which libjpeg would
// set coefficients aside. Arithmetic code has no such bound; what takes a quarter of that is no picture.
static bool is_credible(const struct bt_decoding *d, const struct jpeg_decompress_struct *info) {
  uint64_t blocks = ((uint64_t)info->image_height + 7) / 8 * (((uint64_t)info->image_width + 7) / 8);
  return blocks / (info->arith_code ? 64 : 16) <= d->n;
}

static void read_rows(struct bt_decoding *d, struct jpeg_decompress_struct *info) {
  int samples = info->output_components;
  JSAMPARRAY rows = info->mem->alloc_sarray((j_common_ptr)info, JPOOL_IMAGE,
                                            info->output_width * (JDIMENSION)samples,
                                            (JDIMENSION)info->rec_outbuf_height);
  while (info->output_scanline < info->output_height) {
    int y = (int)info->output_scanline;
    int n = (int)jpeg_read_scanlines(info, rows, (JDIMENSION)info->rec_outbuf_height);
    for (int i = 0; i < n; i++) bt_decoding_row(d, y + i, rows[i], samples);
  }
}

// Leaves by longjmp where libjpeg finds an error.
static bool decode(struct bt_decoding *d, struct jpeg_decompress_struct *info) {
  jpeg_mem_src(info, d->bytes, d->n);
  jpeg_read_header(info, TRUE);
  if (!choose_colours(d, info) ||
      !bt_decoding_begin(d, info->image_height, info->image_width, is_credible(d, info)))
    return false;
  if (d->size_only) return true;
  jpeg_start_decompress(info);
  read_rows(d, info);
  jpeg_finish_decompress(info);
  return true;
}

bool bt_decode_jpeg(struct bt_decoding *d) {
  struct reading r = {.progress.progress_monitor = limit_scans};
  r.info.err = jpeg_std_error(&r.errors);
  r.errors.error_exit = leave;
  r.errors.emit_message = judge_warning;
  r.errors.output_message = say_nothing;
  r.info.client_data = &r;
  bool ok = false;
  if (setjmp(r.failed)) {
    bt_fail(d->err, d->errlen, "%s", r.message);
  } else {
    jpeg_create_decompress(&r.info);
    r.info.progress = &r.progress;
    ok = decode(d, &r.info);
  }
  jpeg_destroy_decompress(&r.info);
  return ok;
}
