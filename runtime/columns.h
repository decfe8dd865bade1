// columns.h: the columns of a data set besides its images: labels, and arrays of any shape, a row
// an example, each the `data` statement's name of what reads it.
#ifndef BT_COLUMNS_H
#define BT_COLUMNS_H

#include "npy.h"

struct bt_column {
  const char *name; // of the program's data
  enum bt_dtype dtype;
  int rank; // of one row
  int64_t shape[BT_MAX_RANK];
  bool label;  // i32 classes
  int classes; // labels are below it; 0: any
};

size_t bt_column_bytes(const struct bt_column *column); // of one row

// Makes n rows of the column of an array, which it takes over, converting numbers to its element type:
// whole numbers must fit, floats must be finite and never become whole numbers. n 0: however many there
// are. path: the array's, for messages. The rows, free() them; NULL with err on failure.
void *bt_column_of(const struct bt_column *column, struct bt_npy *array, const char *path, int64_t *n,
                   char *err, size_t errlen);

// n random rows, keyed by (seed, split, the column's number): floats normal, whole numbers 0 or 1.
void *bt_column_synthetic(const struct bt_column *column, int64_t n, uint64_t seed, uint32_t split,
                          uint32_t number);

#endif
