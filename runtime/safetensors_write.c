// safetensors_write.c: the writer, which replaces a file whole or not at all (replace.h). Larger elements come
// first, so that readers who map the file find every tensor aligned to its element.
#define _GNU_SOURCE
#include "safetensors.h"
#include "btrt_internal.h"
#include "replace.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static const char *dtype_text(enum bt_dtype dtype) {
  static const char *const names[] = {"F32", "F64", "I32", "I64", "U8", "BOOL"};
  if ((unsigned)dtype > BT_BOOL) bt_die("dtype %d", (int)dtype);
  return names[dtype];
}

static int compare_alignment(const void *a, const void *b, void *tensors) {
  const struct st_tensor *t = tensors;
  int x = *(const int *)a, y = *(const int *)b;
  size_t sx = bt_dtype_size(t[x].dtype), sy = bt_dtype_size(t[y].dtype);
  return sx != sy ? (sx < sy) - (sx > sy) : (x > y) - (x < y);
}

#define NO_CHECKSUM "00000000" // until the header is whole

static json_t *metadata_json(const struct st_entry *metadata, int n_metadata) {
  json_t *object = json_object();
  for (int i = 0; i < n_metadata; i++)
    if (json_object_set_new(object, metadata[i].key, json_string(metadata[i].value)) != 0)
      return json_decref(object), NULL;
  json_object_set_new(object, ST_CHECKSUM_KEY, json_string(NO_CHECKSUM));
  return object;
}

static json_t *tensor_json(const struct st_tensor *t, size_t *offset) {
  json_t *shape = json_array();
  for (int i = 0; i < t->rank; i++) json_array_append_new(shape, json_integer(t->shape[i]));
  size_t begin = *offset;
  *offset += st_bytes(t);
  return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_text(t->dtype), "shape", shape,
                   "data_offsets", (json_int_t)begin, (json_int_t)*offset);
}

// Puts the checksum in its place in the header's text.
static void set_checksum(char *header, const struct st_tensor *tensors, const int *order, int n) {
  static const char place[] = "\"" ST_CHECKSUM_KEY "\":\"" NO_CHECKSUM "\"";
  char digits[ST_CHECKSUM_DIGITS + 1], *at = strstr(header, place);
  if (!at) bt_die("no place for the checksum");
  uLong crc = crc32_z(crc32(0, NULL, 0), (const Bytef *)header, strlen(header));
  for (int i = 0; i < n; i++)
    if (st_bytes(&tensors[order[i]]))
      crc = crc32_z(crc, tensors[order[i]].data, st_bytes(&tensors[order[i]]));
  snprintf(digits, sizeof digits, "%08lx", (unsigned long)crc);
  memcpy(strstr(at, NO_CHECKSUM), digits, ST_CHECKSUM_DIGITS);
}

// The header's text, padded with spaces to a multiple of 8 bytes; NULL: a name is not UTF-8.
static char *header_text(const struct st_tensor *tensors, const int *order, int n,
                         const struct st_entry *metadata, int n_metadata) {
  json_t *header = json_object();
  json_t *object = metadata_json(metadata, n_metadata);
  bool ok = json_object_set_new(header, "__metadata__", object) == 0;
  size_t offset = 0;
  for (int i = 0; ok && i < n; i++) {
    const struct st_tensor *t = &tensors[order[i]];
    ok = json_object_set_new(header, t->name, tensor_json(t, &offset)) == 0;
  }
  char *text = ok ? json_dumps(header, JSON_COMPACT) : NULL;
  json_decref(header);
  if (!text) return NULL;
  size_t length = strlen(text), padded = bt_round_up(length, 8);
  char *result = bt_xcalloc(padded + 1, 1);
  memset(result, ' ', padded);
  memcpy(result, text, length);
  set_checksum(result, tensors, order, n);
  free(text);
  return result;
}

struct content {
  const char *header;
  const struct st_tensor *tensors;
  const int *order;
  int n;
};

static bool write_content(int fd, const void *user) {
  const struct content *c = user;
  unsigned char word[8];
  uint64_t length = strlen(c->header);
  for (int i = 0; i < 8; i++) word[i] = (unsigned char)(length >> (8 * i));
  if (!bt_write_all(fd, word, 8) || !bt_write_all(fd, c->header, length)) return false;
  for (int i = 0; i < c->n; i++)
    if (!bt_write_all(fd, c->tensors[c->order[i]].data, st_bytes(&c->tensors[c->order[i]]))) return false;
  return true;
}

bool st_write(const char *path, const struct st_tensor *tensors, int n,
              const struct st_entry *metadata, int n_metadata, char *err, size_t errlen) {
  int *order = bt_xcalloc((size_t)n, sizeof *order);
  for (int i = 0; i < n; i++) order[i] = i;
  qsort_r(order, (size_t)n, sizeof *order, compare_alignment, (void *)tensors);
  char *header = header_text(tensors, order, n, metadata, n_metadata);
  struct content content = {header, tensors, order, n};
  bool ok = header ? bt_replace_file(path, write_content, &content, err, errlen)
                   : bt_fail(err, errlen,
                             "cannot write %s: a name or a metadata value is not UTF-8", path);
  free(header);
  free(order);
  return ok;
}
