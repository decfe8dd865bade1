// npy.c: see npy.h.
//
// The header is parsed by a grammar of exactly what the format allows: a dictionary with the keys
// 'descr' (a string), 'fortran_order' (True or False) and 'shape' (a tuple of whole numbers), each
// once, in any order. Whatever else it is, it is an error.
#include "npy.h"
#include "reader.h"
#include "replace.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER 65536 // NumPy itself refuses more than 10,000 without being asked
#define FAIL BT_READER_FAIL

// ---- the dictionary ---------------------------------------------------------------------------

struct header {
  char descr[16];
  bool has_descr, has_order, has_shape, fortran;
  int rank;
  int64_t shape[BT_MAX_RANK];
};

static void skip_space(const char **at) { *at += strspn(*at, " \t\n"); }

static bool take(const char **at, const char *token) {
  skip_space(at);
  size_t n = strlen(token);
  if (strncmp(*at, token, n) != 0) return false;
  *at += n;
  return true;
}

// 'text' or "text", without escapes, into to.
static bool take_string(const char **at, char *to, size_t room) {
  skip_space(at);
  char quote = **at;
  if (quote != '\'' && quote != '"') return false;
  const char *from = *at + 1, *end = strchr(from, quote);
  if (!end || (size_t)(end - from) >= room || memchr(from, '\\', (size_t)(end - from)))
    return false;
  memcpy(to, from, (size_t)(end - from));
  to[end - from] = 0;
  *at = end + 1;
  return true;
}

// Saturates: bt_reader_bytes will say that it is too large.
static bool take_size(const char **at, int64_t *size) {
  skip_space(at);
  if (!isdigit((unsigned char)**at)) return false;
  for (*size = 0; isdigit((unsigned char)**at); ++*at)
    if (__builtin_mul_overflow(*size, 10, size) || __builtin_add_overflow(*size, **at - '0', size))
      *size = INT64_MAX / 16;
  return true;
}

static bool take_shape(struct bt_reader *r, const char **at, struct header *h) {
  if (!take(at, "(")) return FAIL(r, "its header's shape is not a tuple");
  while (!take(at, ")")) {
    if (h->rank == BT_MAX_RANK) return FAIL(r, "more than %d axes", BT_MAX_RANK);
    if (!take_size(at, &h->shape[h->rank++]))
      return FAIL(r, "axis %d of its header's shape is not a size", h->rank - 1);
    skip_space(at);
    if (!take(at, ",") && **at != ')') return FAIL(r, "its header's shape is not a tuple");
  }
  return true;
}

static bool take_entry(struct bt_reader *r, const char **at, struct header *h) {
  char key[16];
  if (!take_string(at, key, sizeof key) || !take(at, ":"))
    return FAIL(r, "its header is not a dictionary of descr, fortran_order and shape");
  bool *seen = strcmp(key, "descr") == 0           ? &h->has_descr
               : strcmp(key, "fortran_order") == 0 ? &h->has_order
               : strcmp(key, "shape") == 0         ? &h->has_shape
                                                   : NULL;
  if (!seen || *seen) return FAIL(r, "its header has the key '%s'%s", key, seen ? " twice" : "");
  *seen = true;
  if (seen == &h->has_shape) return take_shape(r, at, h);
  if (seen == &h->has_descr)
    return take_string(at, h->descr, sizeof h->descr) ||
           FAIL(r, "its elements are records or objects, not numbers");
  h->fortran = take(at, "True");
  return h->fortran || take(at, "False") ||
         FAIL(r, "its header's fortran_order is neither True nor False");
}

static bool parse(struct bt_reader *r, const char *text, struct header *h) {
  const char *at = text;
  bool ok = take(&at, "{");
  while (ok && !take(&at, "}")) {
    if (!take_entry(r, &at, h)) return false;
    skip_space(&at);
    ok = take(&at, ",") || *at == '}';
  }
  skip_space(&at);
  if (!ok || *at) return FAIL(r, "its header is not a dictionary");
  if (!h->has_descr || !h->has_order || !h->has_shape)
    return FAIL(r, "its header has no %s",
                h->has_descr ? h->has_order ? "shape" : "fortran_order" : "descr");
  return true;
}

// ---- the file ---------------------------------------------------------------------------------

static const struct {
  const char *descr;
  enum bt_dtype dtype;
} known[] = {{"<f4", BT_F32}, {"<f8", BT_F64}, {"<i4", BT_I32}, {"<i8", BT_I64}, {"|u1", BT_U8}};
enum { N_KNOWN = sizeof known / sizeof *known };

static bool read_dtype(struct bt_reader *r, const char *descr, enum bt_dtype *dtype) {
  for (int i = 0; i < N_KNOWN; i++)
    if (strcmp(known[i].descr, descr) == 0) return *dtype = known[i].dtype, true;
  return FAIL(r,
              "its elements are '%s'; '<f4', '<f8', '<i4', '<i8' and '|u1' can be read: save "
              "x.astype('<f4')",
              descr);
}

// The dictionary's text; free() it. NULL after a message.
static char *read_text(struct bt_reader *r) {
  unsigned char fixed[8], size[4] = {0};
  if (!bt_reader_header(r, fixed, sizeof fixed)) return NULL;
  if (memcmp(fixed, "\x93NUMPY", 6) != 0) return FAIL(r, "not a .npy file of NumPy"), NULL;
  int major = fixed[6], minor = fixed[7];
  if ((major != 1 && major != 2) || minor != 0)
    return FAIL(r, "version %d.%d of the format; 1.0 and 2.0 can be read", major, minor), NULL;
  if (!bt_reader_header(r, size, major == 1 ? 2 : 4)) return NULL;
  uint32_t n = size[0] | (uint32_t)size[1] << 8 | (uint32_t)size[2] << 16 | (uint32_t)size[3] << 24;
  if (n > MAX_HEADER)
    return FAIL(r, "a header of %" PRIu32 " bytes, where %d are enough", n, MAX_HEADER), NULL;
  char *text = bt_xcalloc((size_t)n + 1, 1);
  if (bt_reader_header(r, text, n) &&
      (!memchr(text, 0, n) || FAIL(r, "its header is not a dictionary")))
    return text;
  free(text);
  return NULL;
}

static bool read_header(struct bt_reader *r, struct bt_npy *npy) {
  struct header h = {0};
  char *text = read_text(r);
  bool ok = text && parse(r, text, &h);
  free(text);
  if (!ok || !read_dtype(r, h.descr, &npy->dtype)) return false;
  if (h.fortran && h.rank > 1)
    return FAIL(r, "its elements are in Fortran's order: save np.ascontiguousarray(x)");
  if (h.rank == 0) return FAIL(r, "one number, not an array of rows");
  npy->rank = h.rank;
  memcpy(npy->shape, h.shape, sizeof npy->shape);
  return true;
}

bool bt_npy_read(const char *folder, const char *name, struct bt_npy *npy, char *err,
                 size_t errlen) {
  struct bt_reader r = {.err = err, .errlen = errlen};
  uint64_t bytes;
  *npy = (struct bt_npy){0};
  if (!bt_reader_open(&r, folder, name)) return false;
  if (read_header(&r, npy) &&
      bt_reader_bytes(&r, npy->rank, npy->shape, bt_dtype_size(npy->dtype), &bytes))
    npy->data = bt_reader_rest(&r, bytes);
  bt_reader_close(&r);
  return npy->data != NULL;
}

// ---- writing ----------------------------------------------------------------------------------

static const char *descr_of(enum bt_dtype dtype) {
  for (int i = 0; i < N_KNOWN; i++)
    if (known[i].dtype == dtype) return known[i].descr;
  bt_die("an array of %s", bt_dtype_name(dtype));
}

// Magic number, version and length are 10 bytes; with them the header is a multiple of 64 bytes,
// spaces and a newline at its end, so that elements are aligned.
enum { FIXED = 10, ALIGNMENT = 64, MOST_TEXT = 256 };

bool bt_npy_write_header(int fd, enum bt_dtype dtype, int rank, const int64_t *shape) {
  char header[FIXED + MOST_TEXT] = "\x93NUMPY\x01", *text = header + FIXED;
  int n = snprintf(text, MOST_TEXT, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr_of(dtype));
  for (int i = 0; i < rank; i++)
    n += snprintf(text + n, (size_t)(MOST_TEXT - n), rank == 1 || i + 1 < rank ? "%" PRId64 ", " : "%" PRId64, shape[i]);
  n += snprintf(text + n, (size_t)(MOST_TEXT - n), "), }");
  int padded = (int)bt_round_up((size_t)(FIXED + n + 1), ALIGNMENT) - FIXED;
  memset(text + n, ' ', (size_t)(padded - n));
  text[padded - 1] = '\n';
  header[FIXED - 2] = (char)(padded & 255), header[FIXED - 1] = (char)(padded >> 8);
  return bt_write_all(fd, header, (size_t)(FIXED + padded));
}
