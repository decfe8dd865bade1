// npy.h: arrays in NumPy's own file format
// (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html): a magic number, the
// format's version, a header that is the text of a Python dictionary, then the elements. Plain or
// gzip.
#ifndef BT_NPY_H
#define BT_NPY_H

#include "btrt.h"

struct bt_npy {
  enum bt_dtype dtype;
  int rank;
  int64_t shape[BT_MAX_RANK]; // row-major
  void *data;                 // free() it
};

// Reads folder/name or folder/name.gz as np.save writes it: versions 1.0 and 2.0, little-endian f4,
// f8, i4, i8 or u1, in C order, at least one axis. On failure nothing is left allocated.
bool bt_npy_read(const char *folder, const char *name, struct bt_npy *npy, char *err,
                 size_t errlen);

// Writes the header, version 1.0, of an array of that type and shape to fd; the elements, row-major,
// follow it. dtype: one of those above. False with errno set.
bool bt_npy_write_header(int fd, enum bt_dtype dtype, int rank, const int64_t *shape);

#endif
