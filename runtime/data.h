// data.h: data sets, whole, in memory: images as bytes, labels, and columns of other numbers.
#ifndef BT_DATA_H
#define BT_DATA_H

#include "columns.h"
#include "images.h"

struct bt_split {
  int64_t n;
  struct bt_images *images; // n; NULL where the program takes none
  int32_t *labels;          // n: classes by which examples are chosen; NULL where there are none
  void **columns;           // one per column of the need: n rows; a column of labels may be `labels`
};

struct bt_data {
  const char *name; // the folder, or "synthetic"
  const char *unit; // what an example is called: "images" or "rows"
  int64_t image[3]; // channels, height, width; 0: they differ
  int classes;      // labels are 0 … classes-1
  int n_columns;
  size_t row_bytes; // an example's, images, labels and columns
  struct bt_split train, test;
};

// What the program needs of its data; 0 where it takes anything.
struct bt_data_need {
  int64_t image[3];
  int classes;             // the fewest of all columns of labels
  const char *images_name; // the data's name; NULL: it takes no images
  int n_columns;
  const struct bt_column *columns;
};

// where: a folder, "synthetic" or "synthetic:N" (N random examples, in ten classes), or NULL for
// Debian's Fashion-MNIST. In a folder, data `x` are train-x.npy and test-x.npy, a row an example:
// columns, or images of bytes, [rows, height, width] or [rows, channels, height, width]. Where
// these are not there, images and labels are the four IDX files (train-images-idx3-ubyte,
// train-labels-idx1-ubyte, t10k-…). Each may be plain or .gz. A need of nothing takes the IDX
// files. NULL with err on failure.
struct bt_data *bt_data_open(const char *where, const struct bt_data_need *need, uint64_t seed,
                             char *err, size_t errlen);
void bt_data_free(struct bt_data *data);
size_t bt_data_bytes(const struct bt_data *data);

// A split must have labels if the fraction is below 1.
// Chooses round(fraction × size) images, at least one, of each class of a split, by seed; their
// numbers go to a fresh array, ascending. fraction 1: all. Returns how many.
int64_t bt_data_subset(const struct bt_split *split, double fraction, uint64_t seed,
                       uint32_t **chosen);

#endif
