// data.h: data sets: images, in memory or in files, labels, and columns of other numbers, in memory.
#ifndef BT_DATA_H
#define BT_DATA_H

#include "columns.h"
#include "images.h"

struct bt_split {
  int64_t n;                // 0: there is no such split, or nobody needs it
  struct bt_images *images; // n; NULL where the program takes none
  int32_t *labels;          // n: classes by which examples are chosen; NULL where there are none
  void **columns;           // one per column of the need: n rows; a column of labels may be `labels`
};

struct bt_data {
  const char *name;   // the folder, or "synthetic"
  const char *unit;   // what an example is called: "images" or "rows"
  int64_t image[3];   // channels, height, width; 0: they differ, or are not known
  int classes;        // labels are 0 … classes-1
  char **class_names; // n_class_names; NULL: the classes have none
  int n_class_names;
  int n_columns;
  size_t column_bytes;         // an example's, labels and columns
  size_t decoded_bytes;        // of images in files: what they may come to, judged by a sample
  struct bt_image_cache cache; // of images in files
  struct bt_split train, test;
};

// What the program needs of its data; 0 where it takes anything.
struct bt_data_need {
  int64_t image[3];
  int classes;             // the fewest of all columns of labels
  const char *images_name; // the data's name; NULL: it takes no images
  int n_columns;
  const struct bt_column *columns;
  bool train_only;         // the test split is not needed, and not read
  size_t cache;            // bytes of decoded images that may stay in memory
  bool plan;               // images in files are not decoded: what they would take is to be known
  bool quiet;              // no progress
};

// where: a folder, "synthetic" or "synthetic:N" (N random examples, in ten classes), or NULL for
// Debian's Fashion-MNIST. In a folder, data `x` are the arrays `x` of arrays.h, a row an example:
// columns, or images of bytes, [rows, height, width] or [rows, channels, height, width]. Images that are
// no array, and with them labels, are the four IDX files of the MNIST family, CIFAR (cifar.h), or files of
// images (image_folder.h). A need of nothing takes these. Labels are optional unless the need has them.
// NULL with err on failure.
struct bt_data *bt_data_open(const char *where, const struct bt_data_need *need, uint64_t seed,
                             char *err, size_t errlen);
void bt_data_free(struct bt_data *data);
// True where an image could not be read, once for each split: `text` is a sentence that names it.
bool bt_data_warning(const struct bt_data *data, char *text, size_t room);
// True where any could not: `text` is a sentence that counts them.
bool bt_data_unreadable(const struct bt_data *data, char *text, size_t room);
size_t bt_data_bytes(const struct bt_data *data); // with what will be decoded
// Finds out whether all images have one size, where that is not known: image[1] and [2] become it. False
// with err, which names the first image that has another.
bool bt_data_measure(struct bt_data *data, char *err, size_t errlen);

// A split must have labels if the fraction is below 1.
// Chooses round(fraction × size) images, at least one, of each class of a split, by seed; their
// numbers go to a fresh array, ascending. fraction 1: all. Returns how many.
int64_t bt_data_subset(const struct bt_split *split, double fraction, uint64_t seed,
                       uint32_t **chosen);

#endif
