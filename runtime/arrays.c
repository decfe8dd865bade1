// arrays.c: see arrays.h.
#define _GNU_SOURCE
#include "arrays.h"
#include "btrt_internal.h"
#include "reader.h"
#include "safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool bt_arrays_open(struct bt_arrays *a, const char *folder, const char *split, char *err,
                    size_t errlen) {
  *a = (struct bt_arrays){.folder = folder, .split = split};
  if (asprintf(&a->path, "%s/%s.safetensors", folder, split) < 0) bt_die("out of memory");
  if (access(a->path, F_OK) != 0) return true;
  a->tensors = st_open(a->path, err, errlen);
  if (!a->tensors) bt_arrays_close(a);
  return a->tensors;
}

void bt_arrays_close(struct bt_arrays *a) {
  st_close(a->tensors);
  free(a->path);
  *a = (struct bt_arrays){0};
}

static void npy_name(const struct bt_arrays *a, const char *name, char *to, size_t room) {
  snprintf(to, room, "%s-%s.npy", a->split, name);
}

bool bt_arrays_have(const struct bt_arrays *a, const char *name) {
  char file[256];
  npy_name(a, name, file, sizeof file);
  return bt_reader_exists(a->folder, file) || (a->tensors && st_find(a->tensors, name));
}

// As an .npy file would give it: at least one axis, none empty.
static bool copy_tensor(const struct bt_arrays *a, const struct st_tensor *t, struct bt_npy *array,
                        char *err, size_t errlen) {
  if (t->rank == 0)
    return bt_fail(err, errlen, "%s: '%s' is one number, not an array of rows", a->path, t->name);
  for (int i = 0; i < t->rank; i++)
    if (t->shape[i] == 0)
      return bt_fail(err, errlen, "%s: axis %d of '%s' is 0", a->path, i, t->name);
  *array = (struct bt_npy){.dtype = t->dtype, .rank = t->rank, .data = malloc(st_bytes(t))};
  if (!array->data)
    return bt_fail(err, errlen, "%s: not enough memory for the %zu bytes of '%s'", a->path,
                   st_bytes(t), t->name);
  memcpy(array->shape, t->shape, sizeof array->shape);
  memcpy(array->data, t->data, st_bytes(t));
  return true;
}

bool bt_arrays_read(const struct bt_arrays *a, const char *name, struct bt_npy *array, char *path,
                    size_t pathlen, char *err, size_t errlen) {
  const struct st_tensor *t = a->tensors ? st_find(a->tensors, name) : NULL;
  char file[256];
  npy_name(a, name, file, sizeof file);
  if (t && bt_reader_exists(a->folder, file))
    return bt_fail(err, errlen, "%s: '%s' is in %s too: remove one of them", a->path, name, file);
  snprintf(path, pathlen, t ? "%s: tensor '%s'" : "%s/%s", t ? a->path : a->folder,
           t ? name : file);
  return t ? copy_tensor(a, t, array, err, errlen)
           : bt_npy_read(a->folder, file, array, err, errlen);
}
