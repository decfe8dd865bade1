// cifar.h: CIFAR-10 and CIFAR-100 in their binary form
// (https://www.cs.toronto.edu/~kriz/cifar.html): records of one or two bytes of labels and 3×32×32
// bytes of pixels in planes. Plain or gzip.
#ifndef BT_CIFAR_H
#define BT_CIFAR_H

#include "btrt.h"

#define BT_CIFAR_SIDE 32

struct bt_cifar {
  char folder[4096];
  const struct bt_cifar_kind *kind; // NULL: there is none
  int classes;
};
struct bt_cifar_split {
  int64_t n;
  uint8_t *pixels; // n × 3 × 32 × 32; free() it
  int32_t *labels; // n, of CIFAR-100 the fine ones; free() it
};

// Looks for one of them in the folder, or in its cifar-10-batches-bin or cifar-100-binary. False
// with err where there are both.
bool bt_cifar_find(struct bt_cifar *cifar, const char *folder, char *err, size_t errlen);
// On failure nothing is left allocated.
bool bt_cifar_read(const struct bt_cifar *cifar, bool test, struct bt_cifar_split *split, char *err,
                   size_t errlen);
// The names of the classes, from the set's text file; NULL where that is not there or has not one a
// class.
char **bt_cifar_names(const struct bt_cifar *cifar);

#endif
