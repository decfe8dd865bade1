// idx.h: files of the MNIST family (http://yann.lecun.com/exdb/mnist/): a magic number that tells
// element type and rank, big-endian sizes, then bytes. Plain or gzip.
#ifndef BT_IDX_H
#define BT_IDX_H

#include "btrt.h"

struct bt_idx {
  int rank;
  int64_t shape[4];
  uint8_t *data; // free() it
};

// Reads folder/name or folder/name.gz, which must have `rank` axes of bytes and end where its
// header says. On failure nothing is left allocated.
bool bt_idx_read(const char *folder, const char *name, int rank, struct bt_idx *idx, char *err,
                 size_t errlen);

#endif
