// data.c: finding a data set, and judging whether the program can use it.
#include "data.h"
#include "btrt_internal.h"
#include "idx.h"
#include "npy.h"
#include "random.h"
#include "reader.h"

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
#define MOST_CLASSES (1 << 20) // of labels that the program does not bound: what is measured has tables of them
#define NAME 256 // of a file

static bool is_folder(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

// ---- a folder ---------------------------------------------------------------------------------

struct folder {
  struct bt_data *data;
  const struct bt_data_need *need;
  const char *path;
  char *err;
  size_t errlen;
};
#define FAIL(f, ...) bt_fail((f)->err, (f)->errlen, __VA_ARGS__)

// The files of a split begin with one word in either family.
struct family {
  const char *npy, *idx;
};

static bool is_wanted(const struct bt_data_need *need) {
  return need->images_name || need->n_columns == 0;
}

// Images and labels of one split have one count.
static bool count_rows(const struct folder *f, struct bt_split *split, int64_t n,
                       const char *what) {
  if (split->n && split->n != n)
    return FAIL(f, "%s: %s has %" PRId64 " rows, where the split's other files have %" PRId64,
                f->path, what, n, split->n);
  return split->n = n, true;
}

// The splits' images have one shape.
static bool shape_images(const struct folder *f, const int64_t image[3], const char *what) {
  int64_t *have = f->data->image;
  if (!have[0]) memcpy(have, image, sizeof f->data->image);
  return memcmp(have, image, sizeof f->data->image) == 0 ||
         FAIL(f,
              "%s: the images of %s are %" PRId64 "×%" PRId64 "×%" PRId64
              " (channels×height×width), those before it %" PRId64 "×%" PRId64 "×%" PRId64,
              f->path, what, image[0], image[1], image[2], have[0], have[1], have[2]);
}

// The split has its n images, of one size.
static bool add_images(const struct folder *f, struct bt_split *split, int64_t n,
                       const int64_t image[3], const char *name) {
  struct bt_images *images = split->images;
  images->n = n, images->channels = (int)image[0];
  images->height = (int)image[1], images->width = (int)image[2];
  return shape_images(f, image, name) && count_rows(f, split, n, name);
}

static bool read_npy_images(const struct folder *f, struct bt_split *split, const char *name) {
  struct bt_npy npy;
  if (!bt_npy_read(f->path, name, &npy, f->err, f->errlen)) return false;
  split->images = bt_xcalloc(1, sizeof *split->images);
  split->images->pixels = npy.data;
  if (npy.dtype != BT_U8 || npy.rank < 3 || npy.rank > 4)
    return FAIL(
        f,
        "%s/%s: images are bytes, [rows, height, width] or [rows, channels, height, width], "
        "not %s with %d ax%ss",
        f->path, name, bt_dtype_name(npy.dtype), npy.rank, npy.rank == 1 ? "i" : "e");
  const int64_t *size = npy.shape + npy.rank - 2;
  return add_images(f, split, npy.shape[0],
                    (int64_t[3]){npy.rank == 4 ? npy.shape[1] : 1, size[0], size[1]}, name);
}

static bool read_idx_images(const struct folder *f, struct bt_split *split, const char *name) {
  struct bt_idx idx;
  if (!bt_idx_read(f->path, name, 3, &idx, f->err, f->errlen)) return false;
  split->images = bt_xcalloc(1, sizeof *split->images);
  split->images->pixels = idx.data;
  return add_images(f, split, idx.shape[0], (int64_t[3]){1, idx.shape[1], idx.shape[2]}, name);
}

// Neither an array nor a file of the MNIST family is there: the array is named, which anybody can make.
static bool has_none(const struct folder *f, const char *npy, const char *idx) {
  if (!npy || bt_reader_exists(f->path, idx)) return false;
  return !FAIL(f, "%s has neither %s nor %s (nor either with .gz)", f->path, npy, idx);
}

static bool read_images(const struct folder *f, struct bt_split *split, struct family prefix,
                        bool *npy) {
  char array[NAME], name[NAME];
  bool named = f->need->images_name != NULL;
  snprintf(array, sizeof array, "%s-%s.npy", prefix.npy, named ? f->need->images_name : "");
  *npy = named && bt_reader_exists(f->path, array);
  if (*npy) return read_npy_images(f, split, array);
  snprintf(name, sizeof name, "%s-images-idx3-ubyte", prefix.idx);
  return !has_none(f, named ? array : NULL, name) && read_idx_images(f, split, name);
}

// Becomes the split's labels; missing: the array that is not there, NULL where none was looked for.
static bool read_idx_labels(const struct folder *f, struct bt_split *split, struct family prefix,
                            const char *missing) {
  struct bt_idx idx;
  char name[NAME];
  snprintf(name, sizeof name, "%s-labels-idx1-ubyte", prefix.idx);
  if (has_none(f, missing, name)) return false;
  if (!bt_idx_read(f->path, name, 1, &idx, f->err, f->errlen)) return false;
  bool ok = count_rows(f, split, idx.shape[0], name);
  split->labels = bt_xcalloc((size_t)idx.shape[0], sizeof *split->labels);
  for (int64_t i = 0; i < idx.shape[0]; i++) split->labels[i] = idx.data[i];
  free(idx.data);
  return ok;
}

// One column; missing: becomes the file that it has not, if it is of labels, which IDX files may have.
static bool read_column(const struct folder *f, struct bt_split *split, struct family prefix, int i,
                        char missing[NAME]) {
  const struct bt_column *c = &f->need->columns[i];
  char name[NAME];
  snprintf(name, sizeof name, "%s-%s.npy", prefix.npy, c->name);
  bool there = bt_reader_exists(f->path, name);
  if (!there && c->label) memcpy(missing, name, sizeof name);
  if (!there)
    return c->label || FAIL(f, "%s has no %s (nor %s.gz) for the program's data '%s'", f->path,
                            name, name, c->name);
  split->columns[i] = bt_column_read(c, f->path, name, &split->n, f->err, f->errlen);
  return split->columns[i] != NULL;
}

// The first column of labels is the one by which examples are chosen.
static void adopt_labels(const struct bt_data_need *need, struct bt_split *split) {
  for (int i = need->n_columns - 1; i >= 0; i--)
    if (need->columns[i].label && split->columns[i]) split->labels = split->columns[i];
}

static bool read_split(const struct folder *f, struct bt_split *split, struct family prefix) {
  const struct bt_data_need *need = f->need;
  bool npy = false, labelled = false;
  char missing[NAME] = ""; // an array of labels
  if (is_wanted(need) && !read_images(f, split, prefix, &npy)) return false;
  for (int i = 0; i < need->n_columns; i++) {
    if (!read_column(f, split, prefix, i, missing)) return false;
    labelled |= need->columns[i].label;
  }
  if (!*missing) adopt_labels(need, split);
  // IDX images come with labels, by which --labels chooses though no program reads them.
  if (!*missing && (labelled || npy || !is_wanted(need))) return true;
  if (!read_idx_labels(f, split, prefix, *missing ? missing : NULL)) return false;
  for (int i = 0; i < need->n_columns; i++)
    if (!split->columns[i]) split->columns[i] = split->labels;
  return true;
}

static bool read_folder(struct bt_data *data, const struct bt_data_need *need, char *err,
                        size_t errlen) {
  const struct folder f = {data, need, data->name, err, errlen};
  return read_split(&f, &data->train, (struct family){"train", "train"}) &&
         read_split(&f, &data->test, (struct family){"test", "t10k"});
}

// ---- synthetic --------------------------------------------------------------------------------

static void make_images(struct bt_split *split, const int64_t image[3], uint64_t seed, uint32_t which) {
  int64_t pixels = bt_count(3, image);
  uint8_t *all = bt_xcalloc((size_t)split->n, (size_t)pixels);
  split->images = bt_xcalloc(1, sizeof *split->images);
  *split->images = (struct bt_images){split->n, (int)image[0], (int)image[1], (int)image[2], all};
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < split->n; i++) {
    struct bt_random r = bt_random_new(seed, BT_RANDOM_DATA, (uint32_t)i, which, 0);
    for (int64_t p = 0; p < pixels; p++)
      all[i * pixels + p] = (uint8_t)(bt_random_bits(&r) >> 24);
  }
}

static void make_split(struct bt_data *data, struct bt_split *split, int64_t n,
                       const struct bt_data_need *need, uint64_t seed, uint32_t which) {
  split->n = n;
  if (is_wanted(need)) make_images(split, data->image, seed, which);
  split->labels = bt_xcalloc((size_t)n, sizeof *split->labels);
  for (int64_t i = 0; i < n; i++) split->labels[i] = (int32_t)(i % data->classes);
  for (int i = 0; i < need->n_columns; i++) {
    const struct bt_column *c = &need->columns[i];
    split->columns[i] =
        c->label ? (void *)split->labels : bt_column_synthetic(c, n, seed, which, (uint32_t)i);
  }
}

static bool make_synthetic(struct bt_data *data, const char *count, const struct bt_data_need *need,
                           uint64_t seed, char *err, size_t errlen) {
  char *end = NULL;
  errno = 0;
  long long n = *count ? strtoll(count + 1, &end, 10) : SYNTHETIC_IMAGES;
  if (*count && (end == count + 1 || *end || errno || n < 1 || n > 100000000))
    return bt_fail(err, errlen, "--data synthetic%s: give a number of %s, as in synthetic:1024",
                   count, data->unit);
  if (is_wanted(need) && (need->image[0] < 1 || need->image[1] < 1 || need->image[2] < 1))
    return bt_fail(err, errlen,
                   "--data synthetic: the program does not say how large its images are "
                   "(write data x: u8[batch, 3, 32, 32] in its source)");
  memcpy(data->image, need->image, sizeof data->image);
  data->classes = need->classes ? need->classes : SYNTHETIC_CLASSES;
  make_split(data, &data->train, n, need, seed, 0);
  make_split(data, &data->test, (n + 3) / 4, need, seed, 1);
  return true;
}

// ---- any --------------------------------------------------------------------------------------

static int largest_label(const int32_t *labels, int64_t n) {
  int32_t largest = -1;
  for (int64_t i = 0; i < n; i++)
    if (labels[i] > largest) largest = labels[i];
  return largest;
}

// The classes of the training labels, whichever column.
static void count_classes(struct bt_data *data, const struct bt_data_need *need) {
  const struct bt_split *t = &data->train;
  int largest = t->labels ? largest_label(t->labels, t->n) : -1;
  for (int i = 0; i < need->n_columns; i++) {
    int this = need->columns[i].label ? largest_label(t->columns[i], t->n) : -1;
    if (this > largest) largest = this;
  }
  if (largest >= MOST_CLASSES) largest = MOST_CLASSES - 1; // then check_classes says so
  if (largest >= data->classes) data->classes = largest + 1;
}

static bool check_labels(const struct bt_data *data, const struct bt_split *split,
                         const int32_t *labels, int classes, const char *why, char *err,
                         size_t errlen) {
  const char *name = split == &data->train ? "training" : "test";
  for (int64_t i = 0; labels && i < split->n; i++)
    if (labels[i] >= classes)
      return bt_fail(err, errlen, "%s: label %d of %s %.*s %" PRId64 " is out of range: %s 0 to %d",
                     data->name, labels[i], name, (int)strlen(data->unit) - 1, data->unit, i, why,
                     classes - 1);
  return true;
}

static bool check_classes(const struct bt_data *data, const struct bt_data_need *need, char *err,
                          size_t errlen) {
  static const char *const program = "the program has classes";
  const char *file = data->classes < MOST_CLASSES ? "the training labels are" : "classes count from";
  const struct bt_split *const splits[] = {&data->train, &data->test};
  for (int k = 0; k < 2; k++) {
    const struct bt_split *s = splits[k];
    for (int i = 0; i < need->n_columns; i++) {
      const struct bt_column *c = &need->columns[i];
      if (c->label && !check_labels(data, s, s->columns[i], c->classes ? c->classes : data->classes,
                                    c->classes ? program : file, err, errlen))
        return false;
    }
    if (!check_labels(data, s, s->labels, need->classes ? need->classes : data->classes,
                      need->classes ? program : file, err, errlen))
      return false;
  }
  return true;
}

static bool check_image(const struct bt_data *data, const struct bt_data_need *need, char *err,
                        size_t errlen) {
  for (int i = 0; i < 3; i++)
    if (need->image[i] && need->image[i] != data->image[i])
      return bt_fail(err, errlen,
                     "%s has images of %" PRId64 "×%" PRId64 "×%" PRId64
                     " (channels×height×width), the program was compiled for %" PRId64 "×%" PRId64
                     "×%" PRId64 ": compile it for these, or give other --data",
                     data->name, data->image[0], data->image[1], data->image[2], need->image[0],
                     need->image[1], need->image[2]);
  return true;
}

// Where no folder is given: the images of Debian's Fashion-MNIST, which has no other columns.
static bool default_folder(const struct bt_data_need *need, char *err, size_t errlen) {
  for (int i = 0; i < need->n_columns; i++)
    if (!need->columns[i].label)
      return bt_fail(err, errlen,
                     "no data: give --data FOLDER with train-%s.npy and test-%s.npy, or --data "
                     "synthetic",
                     need->columns[i].name, need->columns[i].name);
  return is_folder(DEBIAN_FASHION_MNIST) ||
         bt_fail(err, errlen,
                 "no data: give --data FOLDER, or install Fashion-MNIST with\n"
                 "  apt-get install dataset-fashion-mnist");
}

static bool open_folder(struct bt_data *data, const char *where, const struct bt_data_need *need,
                        char *err, size_t errlen) {
  if (where && !is_folder(where))
    return bt_fail(err, errlen, "--data %s: %s", where,
                   access(where, F_OK) == 0 ? "not a folder" : "no such folder");
  if (!where && !default_folder(need, err, errlen)) return false;
  data->name = bt_xstrdup(where ? where : DEBIAN_FASHION_MNIST);
  return read_folder(data, need, err, errlen);
}

static size_t row_bytes(const struct bt_data *data, const struct bt_data_need *need) {
  const struct bt_split *t = &data->train;
  size_t bytes = t->images ? (size_t)bt_count(3, data->image) : 0;
  if (t->labels) bytes += sizeof *t->labels;
  for (int i = 0; i < need->n_columns; i++)
    if (t->columns[i] != t->labels) bytes += bt_column_bytes(&need->columns[i]);
  return bytes;
}

struct bt_data *bt_data_open(const char *where, const struct bt_data_need *need, uint64_t seed,
                             char *err, size_t errlen) {
  struct bt_data *data = bt_xcalloc(1, sizeof *data);
  bool synthetic =
      where && strncmp(where, "synthetic", 9) == 0 && (where[9] == 0 || where[9] == ':');
  bool ok;
  data->unit = is_wanted(need) ? "images" : "rows";
  data->n_columns = need->n_columns;
  data->train.columns = bt_xcalloc((size_t)need->n_columns, sizeof *data->train.columns);
  data->test.columns = bt_xcalloc((size_t)need->n_columns, sizeof *data->test.columns);
  if (synthetic) {
    data->name = bt_xstrdup("synthetic");
    ok = make_synthetic(data, where + 9, need, seed, err, errlen);
  } else {
    ok = open_folder(data, where, need, err, errlen);
  }
  if (ok) count_classes(data, need), data->row_bytes = row_bytes(data, need);
  if (ok && check_image(data, need, err, errlen) && check_classes(data, need, err, errlen))
    return data;
  bt_data_free(data);
  return NULL;
}

static void free_split(struct bt_split *split, int n_columns) {
  for (int i = 0; i < n_columns; i++)
    if (split->columns[i] != split->labels) free(split->columns[i]);
  free(split->columns), free(split->labels), bt_images_free(split->images);
}

void bt_data_free(struct bt_data *data) {
  if (!data) return;
  free((char *)data->name);
  free_split(&data->train, data->n_columns), free_split(&data->test, data->n_columns);
  free(data);
}

size_t bt_data_bytes(const struct bt_data *data) {
  return (size_t)(data->train.n + data->test.n) * data->row_bytes;
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
  int largest = fraction < 1 ? largest_label(split->labels, split->n) : -1;
  for (int32_t c = 0; c <= largest; c++) choose_of_class(split, c, fraction, seed, keep);
  int64_t n = 0;
  *chosen = bt_xcalloc((size_t)split->n, sizeof **chosen);
  for (int64_t i = 0; i < split->n; i++)
    if (fraction >= 1 || keep[i]) (*chosen)[n++] = (uint32_t)i;
  free(keep);
  return n;
}
