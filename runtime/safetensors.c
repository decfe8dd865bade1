// safetensors.c: the reader. See safetensors.h; the writer is safetensors_write.c.
//
// The header is read and judged before a byte of tensor data is: sizes are compared with the file's
// real length, so a damaged header cannot make us allocate or read what is not there. Each tensor
// is then read to its own aligned place, for the format aligns nothing.
#define _GNU_SOURCE
#include "safetensors.h"
#include "btrt_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define MAX_HEADER 100000000 // as in the reference implementation

struct extent {
  uint64_t begin, end;
}; // in the data section

struct st_file {
  json_t *header;
  int n;
  struct st_tensor *tensors;
  const char **names;
  struct extent *extents; // one per tensor
  int *by_place;          // tensors in the order of their bytes
  char *data;
  char checksum[ST_CHECKSUM_DIGITS + 1]; // as the file says; empty: it has none
  uLong crc;                             // of the header, to be continued over the data
};

// What is being opened, for messages.
struct source {
  const char *path;
  int fd;
  uint64_t size, data_start;
  char *err;
  size_t errlen;
};
#define FAIL(s, format, ...) \
  bt_fail((s)->err, (s)->errlen, "%s: " format, (s)->path __VA_OPT__(, ) __VA_ARGS__)

size_t st_bytes(const struct st_tensor *t) {
  return (size_t)bt_count(t->rank, t->shape) * bt_dtype_size(t->dtype);
}

// Reads exactly n bytes at `offset`.
static bool read_at(const struct source *s, void *to, uint64_t n, uint64_t offset) {
  char *p = to;
  while (n > 0) {
    ssize_t got = pread(s->fd, p, n, (off_t)offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FAIL(s, "cannot read: %s", strerror(errno));
    if (got == 0) return FAIL(s, "the file became shorter while it was read");
    p += got, n -= (uint64_t)got, offset += (uint64_t)got;
  }
  return true;
}

static bool read_dtype(const struct source *s, struct st_tensor *t, const json_t *value) {
  static const struct {
    const char *name;
    enum bt_dtype dtype;
  } known[] = {{"F32", BT_F32}, {"F64", BT_F64}, {"I32", BT_I32},
               {"I64", BT_I64}, {"U8", BT_U8},   {"BOOL", BT_BOOL}};
  const char *name = json_string_value(value);
  if (!name) return FAIL(s, "tensor '%s' has no dtype", t->name);
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strcmp(known[i].name, name) == 0) return t->dtype = known[i].dtype, true;
  return FAIL(s, "tensor '%s' has dtype %.20s, which is not supported (convert it to F32)", t->name,
              name);
}

// Fills in the shape; the product with the element size goes to *bytes.
static bool read_shape(const struct source *s, struct st_tensor *t, const json_t *value,
                       uint64_t *bytes) {
  if (!json_is_array(value)) return FAIL(s, "tensor '%s' has no shape", t->name);
  size_t rank = json_array_size(value);
  if (rank > BT_MAX_RANK)
    return FAIL(s, "tensor '%s' has %zu axes; at most %d are supported", t->name, rank,
                BT_MAX_RANK);
  t->rank = (int)rank;
  *bytes = bt_dtype_size(t->dtype);
  bool empty = false;
  for (size_t i = 0; i < rank; i++) {
    const json_t *size = json_array_get(value, i);
    json_int_t dim = json_integer_value(size);
    if (!json_is_integer(size) || dim < 0)
      return FAIL(s, "tensor '%s': axis %zu of its shape is not a size", t->name, i);
    t->shape[i] = dim;
    if (dim == 0)
      empty = true;
    else if (__builtin_mul_overflow(*bytes, (uint64_t)dim, bytes) || *bytes > INT64_MAX)
      return FAIL(s, "tensor '%s': its shape is too large for any memory", t->name);
  }
  if (empty) *bytes = 0;
  return true;
}

static bool read_extent(const struct source *s, const struct st_tensor *t, const json_t *value,
                        uint64_t bytes, struct extent *extent) {
  const json_t *begin = json_array_get(value, 0), *end = json_array_get(value, 1);
  if (json_array_size(value) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
      json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
    return FAIL(s, "tensor '%s': data_offsets are not [begin, end]", t->name);
  *extent = (struct extent){(uint64_t)json_integer_value(begin), (uint64_t)json_integer_value(end)};
  if (extent->end > s->size - s->data_start)
    return FAIL(s,
                "truncated: tensor '%s' ends at byte %" PRIu64 " of the data, the file has %" PRIu64
                " bytes of data",
                t->name, extent->end, s->size - s->data_start);
  if (extent->end - extent->begin != bytes)
    return FAIL(s, "tensor '%s': %" PRIu64 " bytes stored, its shape and dtype need %" PRIu64,
                t->name, extent->end - extent->begin, bytes);
  return true;
}

static bool read_tensor(const struct source *s, struct st_tensor *t, struct extent *extent,
                        const json_t *value) {
  uint64_t bytes = 0;
  if (!json_is_object(value)) return FAIL(s, "tensor '%s' is not described", t->name);
  return read_dtype(s, t, json_object_get(value, "dtype")) &&
         read_shape(s, t, json_object_get(value, "shape"), &bytes) &&
         read_extent(s, t, json_object_get(value, "data_offsets"), bytes, extent);
}

static bool check_metadata(const struct source *s, json_t *metadata) {
  const char *key;
  json_t *value;
  if (!json_is_object(metadata)) return FAIL(s, "__metadata__ is not an object");
  json_object_foreach(metadata, key, value) if (!json_is_string(value)) return FAIL(
      s, "__metadata__ '%s' is not a string", key);
  return true;
}

static bool read_entries(struct st_file *f, const struct source *s) {
  const char *key;
  json_t *value;
  size_t size = json_object_size(f->header);
  f->tensors = bt_xcalloc(size, sizeof *f->tensors);
  f->extents = bt_xcalloc(size, sizeof *f->extents);
  f->names = bt_xcalloc(size, sizeof *f->names);
  f->by_place = bt_xcalloc(size, sizeof *f->by_place);
  json_object_foreach(f->header, key, value) {
    if (strcmp(key, "__metadata__") == 0) {
      if (!check_metadata(s, value)) return false;
      continue;
    }
    f->tensors[f->n].name = f->names[f->n] = key;
    if (!read_tensor(s, &f->tensors[f->n], &f->extents[f->n], value)) return false;
    f->n++;
  }
  return true;
}

static int compare_places(const void *a, const void *b, void *extents) {
  const struct extent *x = (struct extent *)extents + *(const int *)a;
  const struct extent *y = (struct extent *)extents + *(const int *)b;
  if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
  return (x->end > y->end) - (x->end < y->end); // empty ones first
}

// The tensors must tile the data section: no overlap, no gap, nothing left over.
static bool check_layout(struct st_file *f, const struct source *s) {
  uint64_t at = 0;
  for (int i = 0; i < f->n; i++) f->by_place[i] = i;
  qsort_r(f->by_place, (size_t)f->n, sizeof *f->by_place, compare_places, f->extents);
  for (int i = 0; i < f->n; i++) {
    const struct extent *e = &f->extents[f->by_place[i]];
    const char *name = f->names[f->by_place[i]];
    if (e->begin < at)
      return FAIL(s, "tensor '%s' overlaps '%s'", name, f->names[f->by_place[i - 1]]);
    if (e->begin > at)
      return FAIL(s, "%" PRIu64 " bytes before tensor '%s' belong to no tensor", e->begin - at,
                  name);
    at = e->end;
  }
  if (at != s->size - s->data_start)
    return FAIL(s, "%" PRIu64 " bytes after the last tensor", s->size - s->data_start - at);
  return true;
}

// Takes note of the header's checksum, if it has one. It was formed with zeros in its own place.
static void note_checksum(struct st_file *f, char *text, size_t length) {
  static const char key[] = "\"" ST_CHECKSUM_KEY "\":\"";
  char *at = memmem(text, length, key, sizeof key - 1);
  if (!at || (size_t)(text + length - at) < sizeof key + ST_CHECKSUM_DIGITS) return;
  at += sizeof key - 1;
  memcpy(f->checksum, at, ST_CHECKSUM_DIGITS);
  memset(at, '0', ST_CHECKSUM_DIGITS);
  f->crc = crc32_z(crc32(0, NULL, 0), (const Bytef *)text, length);
}

static bool read_header(struct st_file *f, struct source *s) {
  unsigned char word[8];
  uint64_t length = 0;
  if (s->size < 8)
    return FAIL(s, "%s (%" PRIu64 " bytes): not a safetensors file",
                s->size ? "truncated" : "empty", s->size);
  if (!read_at(s, word, 8, 0)) return false;
  for (int i = 7; i >= 0; i--) length = length << 8 | word[i];
  if (length > MAX_HEADER)
    return FAIL(s, "not a safetensors file (it would have a header of %" PRIu64 " bytes)", length);
  if (length > s->size - 8)
    return FAIL(s, "truncated: the header needs %" PRIu64 " bytes, the file has %" PRIu64, length,
                s->size - 8);
  s->data_start = 8 + length;
  char *text = bt_xcalloc(length + 1, 1);
  json_error_t json;
  if (!read_at(s, text, length, 8)) return free(text), false;
  f->header = text[0] == '{' ? json_loadb(text, length, JSON_REJECT_DUPLICATES, &json) : NULL;
  bool object = text[0] == '{';
  note_checksum(f, text, length);
  free(text);
  if (!object) return FAIL(s, "not a safetensors file (its header is not a JSON object)");
  if (!f->header)
    return FAIL(s, "the header is not valid JSON (byte %d): %s", json.position, json.text);
  return true;
}

static bool read_data(struct st_file *f, const struct source *s) {
  size_t total = 0;
  for (int i = 0; i < f->n; i++) total += bt_round_up(st_bytes(&f->tensors[i]), BT_ALIGN);
  if (total == 0) total = BT_ALIGN;
  if (!(f->data = aligned_alloc(BT_ALIGN, total)))
    return FAIL(s, "not enough memory to read %.1f MiB", (double)total / 0x1p20);
  char *to = f->data;
  uLong crc = f->crc;
  for (int i = 0; i < f->n; i++) {
    struct st_tensor *t = &f->tensors[f->by_place[i]];
    const struct extent *e = &f->extents[f->by_place[i]];
    size_t bytes = e->end - e->begin;
    if (!read_at(s, to, bytes, s->data_start + e->begin)) return false;
    crc = crc32_z(crc, (const Bytef *)to, bytes);
    t->data = to;
    to += bt_round_up(bytes, BT_ALIGN);
  }
  char digits[24];
  snprintf(digits, sizeof digits, "%08lx", (unsigned long)crc);
  if (*f->checksum && strcmp(f->checksum, digits) != 0)
    return FAIL(s, "damaged: the checksum is %s, the file says %s", digits, f->checksum);
  return true;
}

struct st_file *st_open(const char *path, char *err, size_t errlen) {
  struct source s = {.path = path, .err = err, .errlen = errlen};
  struct stat st;
  s.fd = open(path, O_RDONLY | O_CLOEXEC);
  if (s.fd < 0) return FAIL(&s, "cannot open: %s", strerror(errno)), NULL;
  struct st_file *f = bt_xcalloc(1, sizeof *f);
  bool ok = fstat(s.fd, &st) == 0 && S_ISREG(st.st_mode);
  if (!ok) FAIL(&s, "not a file");
  s.size = ok ? (uint64_t)st.st_size : 0;
  ok = ok && read_header(f, &s) && read_entries(f, &s) && check_layout(f, &s) && read_data(f, &s);
  close(s.fd);
  if (ok) return f;
  st_close(f);
  return NULL;
}

void st_close(struct st_file *f) {
  if (!f) return;
  json_decref(f->header);
  free(f->tensors);
  free(f->names);
  free(f->extents);
  free(f->by_place);
  free(f->data);
  free(f);
}

int st_count(const struct st_file *f) { return f->n; }

const struct st_tensor *st_at(const struct st_file *f, int i) {
  if (i < 0 || i >= f->n) bt_die("tensor %d of %d", i, f->n);
  return &f->tensors[i];
}

const struct st_tensor *st_find(const struct st_file *f, const char *name) {
  for (int i = 0; i < f->n; i++)
    if (strcmp(f->names[i], name) == 0) return &f->tensors[i];
  return NULL;
}

const char *st_metadata(const struct st_file *f, const char *key) {
  return json_string_value(json_object_get(json_object_get(f->header, "__metadata__"), key));
}
