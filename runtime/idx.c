// idx.c: see idx.h. zlib reads plain files and gzip alike; memory grows with what is really there,
// so a header that promises too much cannot make us allocate it.
#include "idx.h"
#include "btrt_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define CHUNK ((uint64_t)64 << 20)

struct reader {
  char path[4096];
  gzFile file;
  char *err;
  size_t errlen;
};
#define FAIL(r, format, ...) \
  bt_fail((r)->err, (r)->errlen, "%s: " format, (r)->path __VA_OPT__(, ) __VA_ARGS__)

static bool open_either(struct reader *r, const char *folder, const char *name) {
  static const char *const endings[] = {"", ".gz"};
  for (int i = 0; i < 2; i++) {
    snprintf(r->path, sizeof r->path, "%s/%s%s", folder, name, endings[i]);
    struct stat st;
    if (stat(r->path, &st) == 0 && !S_ISREG(st.st_mode)) return FAIL(r, "not a file");
    if ((r->file = gzopen(r->path, "rb"))) return gzbuffer(r->file, 1 << 17), true;
    if (errno != ENOENT) return FAIL(r, "cannot open: %s", strerror(errno));
  }
  return bt_fail(r->err, r->errlen, "%s has no %s (nor %s.gz)", folder, name, name);
}

// Up to n bytes; *got says how many there were. False: the file is damaged (or cannot be read).
static bool read_some(struct reader *r, void *to, uint64_t n, uint64_t *got) {
  *got = 0;
  while (*got < n) {
    uint64_t want = n - *got < CHUNK ? n - *got : CHUNK;
    int count = gzread(r->file, (char *)to + *got, (unsigned)want);
    int code;
    const char *message = gzerror(r->file, &code);
    if (count < 0 || (code != Z_OK && code != Z_BUF_ERROR && code != Z_STREAM_END))
      return FAIL(r, "damaged: %s", code == Z_ERRNO ? strerror(errno) : message);
    if (count == 0) break;
    *got += (uint64_t)count;
  }
  return true;
}

static bool read_header(struct reader *r, int rank, struct bt_idx *idx, uint64_t *bytes) {
  unsigned char header[4 + 4 * 4];
  uint64_t size = 4 + 4 * (uint64_t)rank, got;
  if (!read_some(r, header, size, &got)) return false;
  if (got < size)
    return FAIL(r, "truncated: %" PRIu64 " bytes where the header alone has %" PRIu64, got, size);
  if (header[0] || header[1] || header[2] != 8 || header[3] != rank)
    return FAIL(
        r,
        "wrong magic number %02x%02x%02x%02x; an IDX file of bytes with %d ax%ss begins with "
        "000008%02x",
        header[0], header[1], header[2], header[3], rank, rank == 1 ? "i" : "e", rank);
  *bytes = 1;
  for (int i = 0; i < rank; i++) {
    const unsigned char *p = header + 4 + 4 * i;
    uint64_t dim = (uint64_t)p[0] << 24 | (uint64_t)p[1] << 16 | (uint64_t)p[2] << 8 | p[3];
    if (dim == 0) return FAIL(r, "axis %d of its shape is 0", i);
    if (__builtin_mul_overflow(*bytes, dim, bytes) || *bytes > INT64_MAX)
      return FAIL(r, "its shape is too large for any memory");
    idx->shape[i] = (int64_t)dim;
  }
  return true;
}

// Reads exactly `bytes` into idx->data, growing it chunk by chunk.
static bool read_data(struct reader *r, struct bt_idx *idx, uint64_t bytes) {
  uint64_t have = 0, got;
  while (have < bytes) {
    uint64_t want = bytes - have < CHUNK ? bytes - have : CHUNK;
    uint8_t *grown = realloc(idx->data, have + want);
    if (!grown) return FAIL(r, "not enough memory for %" PRIu64 " bytes", bytes);
    idx->data = grown;
    if (!read_some(r, idx->data + have, want, &got)) return false;
    have += got;
    if (got < want)
      return FAIL(r, "truncated: %" PRIu64 " bytes of data, its header says %" PRIu64, have, bytes);
  }
  return true;
}

// The end must be here. For gzip this also checks that the stream's own checksum was reached.
static bool check_end(struct reader *r) {
  char extra;
  uint64_t got;
  int code;
  if (!read_some(r, &extra, 1, &got)) return false;
  if (got) return FAIL(r, "longer than its header says");
  gzerror(r->file, &code);
  return code == Z_OK || code == Z_STREAM_END || FAIL(r, "truncated: the gzip stream has no end");
}

bool bt_idx_read(const char *folder, const char *name, int rank, struct bt_idx *idx, char *err,
                 size_t errlen) {
  struct reader r = {.err = err, .errlen = errlen};
  uint64_t bytes = 0;
  if (rank < 1 || rank > 4) bt_die("an IDX file of rank %d", rank);
  *idx = (struct bt_idx){.rank = rank};
  if (!open_either(&r, folder, name)) return false;
  bool ok = read_header(&r, rank, idx, &bytes) && read_data(&r, idx, bytes) && check_end(&r);
  gzclose_r(r.file);
  if (ok) return true;
  free(idx->data);
  idx->data = NULL;
  return false;
}
