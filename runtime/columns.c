// columns.c: see columns.h.
#include "columns.h"
#include "btrt_internal.h"
#include "random.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t bt_column_bytes(const struct bt_column *column) {
  return (size_t)bt_count(column->rank, column->shape) * bt_dtype_size(column->dtype);
}

// ---- element types ----------------------------------------------------------------------------

static bool is_float(enum bt_dtype dtype) { return dtype == BT_F32 || dtype == BT_F64; }

static double float_at(const void *data, enum bt_dtype dtype, int64_t i) {
  return dtype == BT_F32 ? ((const float *)data)[i] : ((const double *)data)[i];
}

static int64_t whole_at(const void *data, enum bt_dtype dtype, int64_t i) {
  switch (dtype) {
  case BT_I32: return ((const int32_t *)data)[i];
  case BT_I64: return ((const int64_t *)data)[i];
  case BT_U8:
  case BT_BOOL: return ((const uint8_t *)data)[i];
  default: bt_die("whole numbers of %s", bt_dtype_name(dtype));
  }
}

static void put_float(void *to, enum bt_dtype dtype, int64_t i, double value) {
  if (dtype == BT_F32)
    ((float *)to)[i] = (float)value;
  else
    ((double *)to)[i] = value;
}

static void put_whole(void *to, enum bt_dtype dtype, int64_t i, int64_t value) {
  switch (dtype) {
  case BT_F32: ((float *)to)[i] = (float)value; return;
  case BT_F64: ((double *)to)[i] = (double)value; return;
  case BT_I32: ((int32_t *)to)[i] = (int32_t)value; return;
  case BT_I64: ((int64_t *)to)[i] = value; return;
  default: bt_die("a column of %s", bt_dtype_name(dtype));
  }
}

// ---- reading ----------------------------------------------------------------------------------

struct reading {
  const struct bt_column *column;
  const char *path;
  char *err;
  size_t errlen;
};
#define FAIL(r, format, ...) \
  bt_fail((r)->err, (r)->errlen, "%s: " format, (r)->path __VA_OPT__(, ) __VA_ARGS__)

static void print_shape(char *to, size_t room, int rank, const int64_t *shape) {
  size_t length = (size_t)snprintf(to, room, "[rows");
  for (int i = 0; i < rank && length < room; i++)
    length += (size_t)snprintf(to + length, room - length, ", %" PRId64, shape[i]);
  if (length < room) snprintf(to + length, room - length, "]");
}

static bool check_shape(const struct reading *r, const struct bt_npy *npy, int64_t *n) {
  const struct bt_column *c = r->column;
  if (npy->rank != c->rank + 1 ||
      memcmp(npy->shape + 1, c->shape, sizeof *c->shape * (size_t)c->rank) != 0) {
    char theirs[160], ours[160];
    print_shape(theirs, sizeof theirs, npy->rank - 1, npy->shape + 1);
    print_shape(ours, sizeof ours, c->rank, c->shape);
    return FAIL(r, "its shape is %s, the program was compiled for %s", theirs, ours);
  }
  if (*n && npy->shape[0] != *n)
    return FAIL(r, "%" PRId64 " rows, where the split's other files have %" PRId64, npy->shape[0],
                *n);
  if (npy->shape[0] > UINT32_MAX) return FAIL(r, "more rows than can be counted");
  return *n = npy->shape[0], true;
}

// Where element i is, for a message.
static bool bad_value(const struct reading *r, const struct bt_npy *npy, int64_t i,
                      const char *what) {
  return FAIL(r, "row %" PRId64 " has %s", i / (bt_count(npy->rank, npy->shape) / npy->shape[0]),
              what);
}

static bool convert_floats(const struct reading *r, const struct bt_npy *npy, void *to) {
  int64_t count = bt_count(npy->rank, npy->shape);
  if (!is_float(r->column->dtype))
    return FAIL(r, "it holds floats, where the program takes whole numbers: save x.astype('<i4')");
  for (int64_t i = 0; i < count; i++) {
    double value = float_at(npy->data, npy->dtype, i);
    if (!isfinite(value)) return bad_value(r, npy, i, "a value that is not finite");
    if (r->column->dtype == BT_F32 && !isfinite((float)value))
      return bad_value(r, npy, i, "a value that f32 does not hold");
    put_float(to, r->column->dtype, i, value);
  }
  return true;
}

static bool convert_wholes(const struct reading *r, const struct bt_npy *npy, void *to) {
  int64_t count = bt_count(npy->rank, npy->shape);
  for (int64_t i = 0; i < count; i++) {
    int64_t value = whole_at(npy->data, npy->dtype, i);
    if (r->column->dtype == BT_I32 && value != (int32_t)value)
      return bad_value(r, npy, i, "a number that 32 bits do not hold");
    if (r->column->label && value < 0) return bad_value(r, npy, i, "a negative label");
    put_whole(to, r->column->dtype, i, value);
  }
  return true;
}

void *bt_column_of(const struct bt_column *column, struct bt_npy *array, const char *path, int64_t *n,
                   char *err, size_t errlen) {
  struct reading r = {column, path, err, errlen};
  void *to = array->data; // where no conversion is needed, the elements stay where they are
  bool ok = check_shape(&r, array, n);
  if (ok && array->dtype != column->dtype) to = bt_xcalloc((size_t)*n, bt_column_bytes(column));
  ok = ok && (is_float(array->dtype) ? convert_floats(&r, array, to) : convert_wholes(&r, array, to));
  if (to != array->data) free(array->data);
  array->data = NULL;
  if (ok) return to;
  free(to);
  return NULL;
}

// ---- synthetic --------------------------------------------------------------------------------

void *bt_column_synthetic(const struct bt_column *column, int64_t n, uint64_t seed, uint32_t split,
                          uint32_t number) {
  void *to = bt_xcalloc((size_t)n, bt_column_bytes(column));
  int64_t row = bt_count(column->rank, column->shape);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; i++) {
    struct bt_random r = bt_random_new(seed, BT_RANDOM_DATA, (uint32_t)i, split, number + 1);
    for (int64_t k = i * row; k < (i + 1) * row; k++)
      if (is_float(column->dtype))
        put_float(to, column->dtype, k, bt_random_normal(&r));
      else
        put_whole(to, column->dtype, k, bt_random_bits(&r) & 1);
  }
  return to;
}
