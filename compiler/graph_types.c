// graph_types.c: element types, shapes and tensor types: names, sizes, comparison, text.
#include <string.h>

#include "graph.h"

static const struct {
  const char *name;
  int size;
  bool is_float;
} dtypes[] = {
    [BT_F32] = {"f32", 4, true},  [BT_F64] = {"f64", 8, true}, [BT_I32] = {"i32", 4, false},
    [BT_I64] = {"i64", 8, false}, [BT_U8] = {"u8", 1, false},  [BT_BOOL] = {"bool", 1, false},
};
enum { DTYPE_COUNT = sizeof dtypes / sizeof dtypes[0] };

const char *dtype_name(dtype t) {
  expect((unsigned)t < DTYPE_COUNT, "element type %d does not exist", (int)t);
  return dtypes[t].name;
}

bool dtype_parse(const char *s, dtype *out) {
  for (int t = 0; t < DTYPE_COUNT; t++) {
    if (strcmp(s, dtypes[t].name) == 0) {
      *out = (dtype)t;
      return true;
    }
  }
  return false;
}

bool dtype_is_float(dtype t) { return dtypes[t].is_float; }
int dtype_size(dtype t) { return dtypes[t].size; }

// ---- shapes -----------------------------------------------------------------------------------

int64_t shape_count(const struct shape *s) {
  int64_t n = 1;
  for (int i = 0; i < s->rank; i++) n *= s->dim[i];
  return n;
}

bool shape_eq(const struct shape *a, const struct shape *b) {
  if (a->rank != b->rank) return false;
  for (int i = 0; i < a->rank; i++)
    if (a->dim[i] != b->dim[i]) return false;
  return true;
}

bool type_eq(const struct tensor_type *a, const struct tensor_type *b) {
  return a->dtype == b->dtype && shape_eq(&a->shape, &b->shape);
}

struct shape shape_of(int rank, ...) {
  expect(rank >= 0 && rank <= MAX_RANK, "a shape of rank %d; the largest is %d", rank, MAX_RANK);
  struct shape s = {.rank = rank};
  va_list ap;
  va_start(ap, rank);
  for (int i = 0; i < rank; i++) s.dim[i] = va_arg(ap, int64_t);
  va_end(ap);
  return s;
}

const char *shape_text(struct arena *a, const struct shape *s) {
  char text[MAX_RANK * 24 + 3] = "[";
  size_t n = 1;
  for (int i = 0; i < s->rank; i++)
    n += (size_t)snprintf(text + n, sizeof text - n, i ? ", %lld" : "%lld", (long long)s->dim[i]);
  text[n++] = ']';
  return str_ndup(a, text, n);
}

const char *type_text(struct arena *a, const struct tensor_type *t) {
  if (t->shape.rank == 0) return str_printf(a, "%s", dtype_name(t->dtype));
  return str_printf(a, "%s%s", dtype_name(t->dtype), shape_text(a, &t->shape));
}
