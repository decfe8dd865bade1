// reader.c: see reader.h.
#include "reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_CHUNK ((uint64_t)1 << 16)
#define CHUNK ((uint64_t)64 << 20)
#define FAIL BT_READER_FAIL

static const char *const endings[] = {"", ".gz"};

bool bt_reader_exists(const char *folder, const char *name) {
  char path[4096];
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s%s", folder, name, endings[i]);
    if (access(path, F_OK) == 0) return true;
  }
  return false;
}

bool bt_reader_open(struct bt_reader *r, const char *folder, const char *name) {
  for (int i = 0; i < 2; i++) {
    snprintf(r->path, sizeof r->path, "%s/%s%s", folder, name, endings[i]);
    struct stat st;
    if (stat(r->path, &st) == 0 && !S_ISREG(st.st_mode)) return FAIL(r, "not a file");
    if ((r->file = gzopen(r->path, "rb"))) return gzbuffer(r->file, 1 << 17), true;
    if (errno != ENOENT) return FAIL(r, "cannot open: %s", strerror(errno));
  }
  return bt_fail(r->err, r->errlen, "%s has no %s (nor %s.gz)", folder, name, name);
}

void bt_reader_close(struct bt_reader *r) {
  if (r->file) gzclose(r->file);
}

bool bt_reader_some(struct bt_reader *r, void *to, uint64_t n, uint64_t *got) {
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

bool bt_reader_header(struct bt_reader *r, void *to, uint64_t n) {
  uint64_t got;
  if (!bt_reader_some(r, to, n, &got)) return false;
  return got == n ||
         FAIL(r, "truncated: %" PRIu64 " bytes where the header alone has %" PRIu64, got, n);
}

bool bt_reader_bytes(struct bt_reader *r, int rank, const int64_t *shape, size_t element,
                     uint64_t *bytes) {
  *bytes = element;
  for (int i = 0; i < rank; i++) {
    if (shape[i] == 0) return FAIL(r, "axis %d of its shape is 0", i);
    if (__builtin_mul_overflow(*bytes, (uint64_t)shape[i], bytes) || *bytes > INT64_MAX)
      return FAIL(r, "its shape is too large for any memory");
  }
  return true;
}

// The end must be here. For gzip this also checks that the stream's own checksum was reached.
static bool check_end(struct bt_reader *r) {
  char extra;
  uint64_t got;
  int code;
  if (!bt_reader_some(r, &extra, 1, &got)) return false;
  if (got) return FAIL(r, "longer than its header says");
  gzerror(r->file, &code);
  return code == Z_OK || code == Z_STREAM_END || FAIL(r, "truncated: the gzip stream has no end");
}

// Appends up to a chunk of the missing bytes to *data: as much as there was, within bounds.
static bool read_chunk(struct bt_reader *r, char **data, uint64_t *have, uint64_t n) {
  uint64_t want = *have < FIRST_CHUNK ? FIRST_CHUNK : *have < CHUNK ? *have : CHUNK, got;
  if (want > n - *have) want = n - *have;
  char *grown = realloc(*data, *have + want);
  if (!grown) return FAIL(r, "not enough memory for %" PRIu64 " bytes", n);
  *data = grown;
  if (!bt_reader_some(r, grown + *have, want, &got)) return false;
  *have += got;
  return got == want ||
         FAIL(r, "truncated: %" PRIu64 " bytes of data, its header says %" PRIu64, *have, n);
}

void *bt_reader_rest(struct bt_reader *r, uint64_t n) {
  char *data = NULL;
  uint64_t have = 0;
  bool ok = true;
  while (ok && have < n) ok = read_chunk(r, &data, &have, n);
  if (ok && check_end(r)) return data;
  free(data);
  return NULL;
}

void *bt_reader_all(struct bt_reader *r, uint64_t *n) {
  char *data = NULL;
  uint64_t room = 0, got = 1;
  bool ok = true;
  for (*n = 0; ok && got > 0; *n += got) {
    if (*n == room) room = room ? 2 * room : FIRST_CHUNK;
    char *grown = realloc(data, room);
    if (grown) data = grown;
    ok = grown ? bt_reader_some(r, data + *n, room - *n, &got) : FAIL(r, "not enough memory for %" PRIu64 " bytes", room);
  }
  if (ok && check_end(r)) return data;
  free(data);
  return NULL;
}
