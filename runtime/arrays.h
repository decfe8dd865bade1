// arrays.h: the arrays of a split by name: x is <split>-x.npy (or .npy.gz), or the tensor x of
// <split>.safetensors.
#ifndef BT_ARRAYS_H
#define BT_ARRAYS_H

#include "npy.h"

struct bt_arrays {
  const char *folder, *split; // the caller's
  char *path;                 // of the safetensors file, be it there or not
  struct st_file *tensors;    // NULL: there is none
};

// False with err where there is a safetensors file that cannot be read.
bool bt_arrays_open(struct bt_arrays *arrays, const char *folder, const char *split, char *err,
                    size_t errlen);
void bt_arrays_close(struct bt_arrays *arrays);

bool bt_arrays_have(const struct bt_arrays *arrays, const char *name);
// Reads an array that is there; `path` becomes what messages call it.
bool bt_arrays_read(const struct bt_arrays *arrays, const char *name, struct bt_npy *array,
                    char *path, size_t pathlen, char *err, size_t errlen);

#endif
