// values.c: named tensors of doubles. See values.h.
#include <string.h>

#include "../runtime/safetensors.h"
#include "compiled.h"
#include "values.h"

static const struct loc nowhere;

void values_add(struct arena *a, value_list *list, const char *name, struct tensor64 *tensor) {
  struct value v = {name, tensor};
  vec_push(a, list, v);
}

struct tensor64 *values_find(const value_list *list, const char *name) {
  for (int i = 0; i < list->len; i++)
    if (str_eq(list->data[i].name, name)) return list->data[i].tensor;
  return NULL;
}

const char *values_nearest(struct arena *a, const value_list *list, const char *name) {
  const char **names = NEW_ARRAY(a, const char *, list->len);
  for (int i = 0; i < list->len; i++) names[i] = list->data[i].name;
  return str_nearest(name, names, list->len);
}

struct tensor64 *tensor64_copy(struct arena *a, const struct tensor64 *t) {
  struct tensor64 *copy = tensor64_new(a, &t->type);
  memcpy(copy->data, t->data, sizeof(double) * (size_t)shape_count(&t->type.shape));
  return copy;
}

void tensor64_round(struct tensor64 *t) {
  if (t->type.dtype != BT_F32) return;
  int64_t n = shape_count(&t->type.shape);
  for (int64_t i = 0; i < n; i++) t->data[i] = (double)(float)t->data[i];
}

// ---- files ------------------------------------------------------------------------------------

static struct tensor64 *from_file(struct arena *a, const struct st_tensor *from) {
  struct tensor_type type = {.dtype = from->dtype, .shape.rank = from->rank};
  memcpy(type.shape.dim, from->shape, sizeof type.shape.dim);
  struct tensor64 *t = tensor64_new(a, &type);
  compiled_get(t->data, from->data, from->dtype, shape_count(&type.shape));
  return t;
}

bool values_read(struct btc *b, const char *path, value_list *list) {
  char err[512] = "";
  struct st_file *file = st_open(path, err, sizeof err);
  if (!file) return diag_error(b, nowhere, "%s", err), false;
  for (int i = 0; i < st_count(file); i++) {
    const struct st_tensor *t = st_at(file, i);
    values_add(b->arena, list, str_ndup(b->arena, t->name, strlen(t->name)), from_file(b->arena, t));
  }
  st_close(file);
  return true;
}

static struct st_tensor to_file(struct arena *a, const struct value *v) {
  const struct tensor_type *type = &v->tensor->type;
  struct st_tensor t = {.name = v->name, .dtype = type->dtype, .rank = type->shape.rank};
  memcpy(t.shape, type->shape.dim, sizeof t.shape);
  int64_t count = shape_count(&type->shape);
  void *data = arena_alloc(a, (size_t)count * (size_t)dtype_size(type->dtype) + 1);
  compiled_put(data, type->dtype, v->tensor->data, count);
  t.data = data;
  return t;
}

bool values_write(struct btc *b, const char *path, const value_list *list) {
  char err[512] = "";
  struct st_tensor *tensors = NEW_ARRAY(b->arena, struct st_tensor, list->len);
  for (int i = 0; i < list->len; i++) tensors[i] = to_file(b->arena, &list->data[i]);
  const struct st_entry by = {"producer", "btc " BTC_VERSION};
  if (st_write(path, tensors, list->len, &by, 1, err, sizeof err)) return true;
  diag_error(b, nowhere, "%s", err);
  return false;
}
