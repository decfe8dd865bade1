// data.h: data sets, whole, in memory, as bytes.
#ifndef BT_DATA_H
#define BT_DATA_H

#include "btrt.h"

struct bt_split {
  int64_t n;
  uint8_t *images; // n × channels × height × width
  int32_t *labels; // n
};

struct bt_data {
  const char *name; // the folder, or "synthetic"
  int64_t image[3]; // channels, height, width
  int classes;      // labels are 0 … classes-1
  struct bt_split train, test;
};

// What the program needs of its data; 0 where it takes anything.
struct bt_data_need {
  int64_t image[3];
  int classes;
};

// where: a folder with the four IDX files (train-images-idx3-ubyte, train-labels-idx1-ubyte,
// t10k-…, each plain or .gz), "synthetic" or "synthetic:N" (N random images of the needed shape, in
// ten classes), or NULL for Debian's Fashion-MNIST. NULL with err on failure.
struct bt_data *bt_data_open(const char *where, const struct bt_data_need *need, uint64_t seed,
                             char *err, size_t errlen);
void bt_data_free(struct bt_data *data);
size_t bt_data_bytes(const struct bt_data *data);

// Chooses round(fraction × size) images, at least one, of each class of a split, by seed; their
// numbers go to a fresh array, ascending. fraction 1: all. Returns how many.
int64_t bt_data_subset(const struct bt_split *split, double fraction, uint64_t seed,
                       uint32_t **chosen);

#endif
