// data.c: finding a data set, and judging whether the program can use it.
#include "data.h"
#include "btrt_internal.h"
#include "idx.h"
#include "random.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEBIAN_FASHION_MNIST "/usr/share/datasets/fashion-mnist"
#define SYNTHETIC_IMAGES 1024
#define SYNTHETIC_CLASSES 10

static bool is_folder(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

// ---- IDX --------------------------------------------------------------------------------------

// Takes the images out of `images`, the labels out of `labels` (freed).
static bool join_split(struct bt_split *split, struct bt_idx *images, struct bt_idx *labels,
                       const char *folder, const char *prefix, char *err, size_t errlen) {
  bool ok = images->shape[0] == labels->shape[0];
  if (ok) {
    split->n = images->shape[0];
    split->images = images->data;
    split->labels = bt_xcalloc((size_t)split->n, sizeof *split->labels);
    for (int64_t i = 0; i < split->n; i++) split->labels[i] = labels->data[i];
  } else {
    bt_fail(err, errlen, "%s: %s has %" PRId64 " images but %" PRId64 " labels", folder, prefix,
            images->shape[0], labels->shape[0]);
    free(images->data);
  }
  free(labels->data);
  return ok;
}

static bool read_split(struct bt_split *split, int64_t image[3], const char *folder,
                       const char *prefix, char *err, size_t errlen) {
  struct bt_idx images, labels;
  char name[64];
  snprintf(name, sizeof name, "%s-images-idx3-ubyte", prefix);
  if (!bt_idx_read(folder, name, 3, &images, err, errlen)) return false;
  snprintf(name, sizeof name, "%s-labels-idx1-ubyte", prefix);
  if (!bt_idx_read(folder, name, 1, &labels, err, errlen)) return free(images.data), false;
  image[0] = 1, image[1] = images.shape[1], image[2] = images.shape[2];
  return join_split(split, &images, &labels, folder, prefix, err, errlen);
}

static bool read_idx_folder(struct bt_data *data, char *err, size_t errlen) {
  int64_t test[3];
  if (!read_split(&data->train, data->image, data->name, "train", err, errlen) ||
      !read_split(&data->test, test, data->name, "t10k", err, errlen))
    return false;
  if (memcmp(test, data->image, sizeof test) != 0)
    return bt_fail(err, errlen,
                   "%s: the test images are %" PRId64 "×%" PRId64 ", the training images %" PRId64
                   "×%" PRId64,
                   data->name, test[1], test[2], data->image[1], data->image[2]);
  for (int64_t i = 0; i < data->train.n; i++)
    if (data->train.labels[i] >= data->classes) data->classes = data->train.labels[i] + 1;
  return true;
}

// ---- synthetic --------------------------------------------------------------------------------

static void make_split(struct bt_split *split, int64_t n, int64_t pixels, int classes,
                       uint64_t seed, uint32_t which) {
  split->n = n;
  split->images = bt_xcalloc((size_t)n, (size_t)pixels);
  split->labels = bt_xcalloc((size_t)n, sizeof *split->labels);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n; i++) {
    struct bt_random r = bt_random_new(seed, BT_RANDOM_DATA, (uint32_t)i, which, 0);
    for (int64_t p = 0; p < pixels; p++)
      split->images[i * pixels + p] = (uint8_t)(bt_random_bits(&r) >> 24);
    split->labels[i] = (int32_t)(i % classes);
  }
}

static bool make_synthetic(struct bt_data *data, const char *count, const struct bt_data_need *need,
                           uint64_t seed, char *err, size_t errlen) {
  char *end = NULL;
  errno = 0;
  long long n = *count ? strtoll(count + 1, &end, 10) : SYNTHETIC_IMAGES;
  if (*count && (end == count + 1 || *end || errno || n < 1 || n > 100000000))
    return bt_fail(err, errlen, "--data synthetic%s: give a number of images, as in synthetic:1024",
                   count);
  if (need->image[0] < 1 || need->image[1] < 1 || need->image[2] < 1)
    return bt_fail(err, errlen,
                   "--data synthetic: the program does not say how large its images are "
                   "(write data x: u8[batch, 3, 32, 32] in its source)");
  memcpy(data->image, need->image, sizeof data->image);
  data->classes = need->classes ? need->classes : SYNTHETIC_CLASSES;
  int64_t pixels = bt_count(3, data->image);
  make_split(&data->train, n, pixels, data->classes, seed, 0);
  make_split(&data->test, (n + 3) / 4, pixels, data->classes, seed, 1);
  return true;
}

// ---- any --------------------------------------------------------------------------------------

static bool check_labels(const struct bt_data *data, const struct bt_split *split, const char *name,
                         int classes, const char *why, char *err, size_t errlen) {
  for (int64_t i = 0; i < split->n; i++)
    if (split->labels[i] >= classes)
      return bt_fail(err, errlen,
                     "%s: label %d of %s image %" PRId64 " is out of range: %s 0 to %d", data->name,
                     split->labels[i], name, i, why, classes - 1);
  return true;
}

static bool check_need(const struct bt_data *data, const struct bt_data_need *need, char *err,
                       size_t errlen) {
  for (int i = 0; i < 3; i++)
    if (need->image[i] && need->image[i] != data->image[i])
      return bt_fail(err, errlen,
                     "%s has images of %" PRId64 "×%" PRId64 "×%" PRId64
                     " (channels×height×width), the program was compiled for %" PRId64 "×%" PRId64
                     "×%" PRId64 ": compile it for these, or give other --data",
                     data->name, data->image[0], data->image[1], data->image[2], need->image[0],
                     need->image[1], need->image[2]);
  int classes = need->classes ? need->classes : data->classes;
  const char *why = need->classes ? "the program has classes" : "the training labels are";
  return check_labels(data, &data->train, "training", classes, why, err, errlen) &&
         check_labels(data, &data->test, "test", classes, why, err, errlen);
}

static bool open_folder(struct bt_data *data, const char *where, char *err, size_t errlen) {
  if (where && !is_folder(where))
    return bt_fail(err, errlen, "--data %s: %s", where,
                   access(where, F_OK) == 0 ? "not a folder" : "no such folder");
  if (!where && !is_folder(DEBIAN_FASHION_MNIST))
    return bt_fail(err, errlen,
                   "no data: give --data FOLDER, or install Fashion-MNIST with\n"
                   "  apt-get install dataset-fashion-mnist");
  data->name = strdup(where ? where : DEBIAN_FASHION_MNIST);
  return read_idx_folder(data, err, errlen);
}

struct bt_data *bt_data_open(const char *where, const struct bt_data_need *need, uint64_t seed,
                             char *err, size_t errlen) {
  struct bt_data *data = bt_xcalloc(1, sizeof *data);
  bool synthetic =
      where && strncmp(where, "synthetic", 9) == 0 && (where[9] == 0 || where[9] == ':');
  bool ok;
  if (synthetic) {
    data->name = strdup("synthetic");
    ok = make_synthetic(data, where + 9, need, seed, err, errlen);
  } else {
    ok = open_folder(data, where, err, errlen);
  }
  if (ok && check_need(data, need, err, errlen)) return data;
  bt_data_free(data);
  return NULL;
}

void bt_data_free(struct bt_data *data) {
  if (!data) return;
  free((char *)data->name);
  free(data->train.images), free(data->train.labels);
  free(data->test.images), free(data->test.labels);
  free(data);
}

size_t bt_data_bytes(const struct bt_data *data) {
  size_t each = (size_t)bt_count(3, data->image) + sizeof(int32_t);
  return (size_t)(data->train.n + data->test.n) * each;
}

// ---- subsets ----------------------------------------------------------------------------------

// Marks `keep` images of one class, chosen by a shuffle keyed by (seed, class).
static void choose_of_class(const struct bt_split *split, int32_t label, double fraction,
                            uint64_t seed, bool *keep) {
  uint32_t *members = bt_xcalloc((size_t)split->n, sizeof *members), n = 0;
  for (int64_t i = 0; i < split->n; i++)
    if (split->labels[i] == label) members[n++] = (uint32_t)i;
  int64_t wanted = llround(fraction * n);
  if (wanted < 1) wanted = 1;
  struct bt_random r = bt_random_new(seed, BT_RANDOM_LABELS, (uint32_t)label, 0, 0);
  for (uint32_t i = 0; i < n && i < wanted; i++) {
    uint32_t j = i + bt_random_below(&r, n - i), chosen = members[j];
    members[j] = members[i];
    keep[chosen] = true;
  }
  free(members);
}

int64_t bt_data_subset(const struct bt_split *split, double fraction, uint64_t seed,
                       uint32_t **chosen) {
  bool *keep = bt_xcalloc((size_t)split->n, sizeof *keep);
  int32_t largest = -1;
  for (int64_t i = 0; i < split->n; i++)
    if (split->labels[i] > largest) largest = split->labels[i];
  for (int32_t c = 0; c <= largest && fraction < 1; c++)
    choose_of_class(split, c, fraction, seed, keep);
  int64_t n = 0;
  *chosen = bt_xcalloc((size_t)split->n, sizeof **chosen);
  for (int64_t i = 0; i < split->n; i++)
    if (fraction >= 1 || keep[i]) (*chosen)[n++] = (uint32_t)i;
  free(keep);
  return n;
}
