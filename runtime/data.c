// data.c: finding a data set, and judging whether the program can use it.
#include "data.h"
#include "arrays.h"
#include "btrt_internal.h"
#include "cifar.h"
#include "idx.h"
#include "image_folder.h"
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
  // Where images come from, and labels that are no array.
  enum { NOWHERE, ARRAYS, IDX, CIFAR, FILES } source;
  struct bt_cifar cifar;
  struct bt_image_tree tree;
};
#define FAIL(f, ...) bt_fail((f)->err, (f)->errlen, __VA_ARGS__)

// What the files of a split begin with.
static const struct prefix {
  const char *array, *idx;
} train_prefix = {"train", "train"}, test_prefix = {"test", "t10k"};

static bool is_wanted(const struct bt_data_need *need) {
  return need->images_name || need->n_columns == 0;
}

static const struct bt_column *label_column(const struct bt_data_need *need) {
  for (int i = 0; i < need->n_columns; i++)
    if (need->columns[i].label) return &need->columns[i];
  return NULL;
}

// Images and labels of one split have one count.
static bool count_rows(const struct folder *f, struct bt_split *split, int64_t n,
                       const char *what) {
  if (split->n && split->n != n)
    return FAIL(f, "%s: %s has %" PRId64 " rows, where the split's other files have %" PRId64,
                f->path, what, n, split->n);
  return split->n = n, true;
}

// ---- images -----------------------------------------------------------------------------------

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

// n images of one size, whose pixels are taken over.
static struct bt_images *images_of(uint8_t *pixels, int64_t n, const int64_t image[3]) {
  struct bt_images *images = bt_xcalloc(1, sizeof *images);
  *images = (struct bt_images){
      .n = n, .channels = (int)image[0], .height = (int)image[1], .width = (int)image[2], .pixels = pixels};
  return images;
}

// The split has these n images, of one size, which it takes over.
static bool add_images(const struct folder *f, struct bt_split *split, uint8_t *pixels, int64_t n,
                       const int64_t image[3], const char *name) {
  split->images = images_of(pixels, n, image);
  return shape_images(f, image, name) && count_rows(f, split, n, name);
}

static bool read_array_images(const struct folder *f, struct bt_split *split,
                              const struct bt_arrays *arrays) {
  struct bt_npy array;
  char path[4200];
  if (!bt_arrays_read(arrays, f->need->images_name, &array, path, sizeof path, f->err, f->errlen)) return false;
  if (array.dtype != BT_U8 || array.rank < 3 || array.rank > 4) {
    free(array.data);
    return FAIL(
        f,
        "%s: images are bytes, [rows, height, width] or [rows, channels, height, width], "
        "not %s with %d ax%ss",
        path, bt_dtype_name(array.dtype), array.rank, array.rank == 1 ? "i" : "e");
  }
  const int64_t *size = array.shape + array.rank - 2;
  const int64_t image[3] = {array.rank == 4 ? array.shape[1] : 1, size[0], size[1]};
  return add_images(f, split, array.data, array.shape[0], image, strrchr(path, '/') + 1);
}

static bool read_idx_images(const struct folder *f, struct bt_split *split, const struct prefix *prefix) {
  struct bt_idx idx;
  char name[NAME];
  snprintf(name, sizeof name, "%s-images-idx3-ubyte", prefix->idx);
  if (!bt_idx_read(f->path, name, 3, &idx, f->err, f->errlen)) return false;
  return add_images(f, split, idx.data, idx.shape[0], (int64_t[3]){1, idx.shape[1], idx.shape[2]}, name);
}

static bool read_cifar(const struct folder *f, struct bt_split *split, bool test) {
  struct bt_cifar_split c;
  if (!bt_cifar_read(&f->cifar, test, &c, f->err, f->errlen)) return false;
  split->labels = c.labels;
  return add_images(f, split, c.pixels, c.n, (int64_t[3]){3, BT_CIFAR_SIDE, BT_CIFAR_SIDE}, "CIFAR");
}

static bool take_files(struct folder *f, struct bt_split *split, bool test) {
  struct bt_image_list *list = test ? &f->tree.test : &f->tree.train;
  int channels = f->need->image[0] ? (int)f->need->image[0] : 3;
  if (!list->folder)
    return FAIL(f, "%s has no images to test on, which the program needs: put them in a folder test (or val) "
                "beside one called train", f->path);
  f->data->image[0] = channels;
  split->images = bt_images_of_files(list, channels, &f->data->cache);
  split->labels = list->labels;
  list->labels = NULL;
  return count_rows(f, split, split->images->n, bt_images_folder(split->images));
}

static bool read_images(struct folder *f, struct bt_split *split, const struct prefix *prefix,
                        const struct bt_arrays *arrays) {
  switch (f->source) {
  case ARRAYS: return read_array_images(f, split, arrays);
  case IDX: return read_idx_images(f, split, prefix);
  case CIFAR: return read_cifar(f, split, prefix == &test_prefix);
  case FILES: return take_files(f, split, prefix == &test_prefix);
  default: bt_die("images from nowhere");
  }
}

// ---- columns ----------------------------------------------------------------------------------

// One column, if it is there. Labels need not be an array.
static bool read_column(const struct folder *f, struct bt_split *split, const struct bt_arrays *arrays, int i) {
  const struct bt_column *c = &f->need->columns[i];
  struct bt_npy array;
  char path[4200];
  if (!bt_arrays_have(arrays, c->name))
    return c->label || FAIL(f, "%s has no %s-%s.npy (nor %s-%s.npy.gz) for the program's data '%s', nor a tensor of this name in %s.safetensors",
                            f->path, arrays->split, c->name, arrays->split, c->name, c->name, arrays->split);
  if (!bt_arrays_read(arrays, c->name, &array, path, sizeof path, f->err, f->errlen)) return false;
  split->columns[i] = bt_column_of(c, &array, path, &split->n, f->err, f->errlen);
  return split->columns[i] != NULL;
}

// IDX images come with labels, by which --labels chooses though no program reads them; but they are not needed.
static bool read_idx_labels(const struct folder *f, struct bt_split *split, const struct prefix *prefix) {
  struct bt_idx idx;
  char name[NAME];
  snprintf(name, sizeof name, "%s-labels-idx1-ubyte", prefix->idx);
  if (!bt_reader_exists(f->path, name)) return true;
  if (!bt_idx_read(f->path, name, 1, &idx, f->err, f->errlen)) return false;
  bool ok = count_rows(f, split, idx.shape[0], name);
  split->labels = bt_xcalloc((size_t)idx.shape[0], sizeof *split->labels);
  for (int64_t i = 0; i < idx.shape[0]; i++) split->labels[i] = idx.data[i];
  free(idx.data);
  return ok;
}

// The labels that the program reads and no array has: name the array, which anybody can make, and what
// else it could be.
static bool lacks_labels(const struct folder *f, const struct bt_split *split, const struct prefix *prefix,
                         const char *name) {
  if (f->source == FILES)
    return FAIL(f, "%s has images without labels, which the program reads as '%s': put the images of each class in a "
                "folder of its own", bt_images_folder(split->images), name);
  return FAIL(f, "%s has neither %s-%s.npy nor %s-labels-idx1-ubyte (nor either with .gz), nor '%s' in %s.safetensors",
              f->path, prefix->array, name, prefix->idx, name, prefix->array);
}

// Labels of the images' source serve the columns that are no array; otherwise the first column of labels is
// the one by which examples are chosen.
static bool share_labels(const struct folder *f, struct bt_split *split, const struct prefix *prefix) {
  const struct bt_data_need *need = f->need;
  int32_t *first = NULL;
  bool served = false;
  for (int i = need->n_columns - 1; i >= 0; i--) {
    if (!need->columns[i].label) continue;
    if (!split->columns[i] && !split->labels) return lacks_labels(f, split, prefix, need->columns[i].name);
    if (!split->columns[i]) split->columns[i] = split->labels, served = true;
    first = split->columns[i];
  }
  if (first && !served) free(split->labels), split->labels = first;
  return true;
}

// ---- splits -----------------------------------------------------------------------------------

static bool all_labels_are_arrays(const struct bt_data_need *need, const struct bt_split *split) {
  for (int i = 0; i < need->n_columns; i++)
    if (need->columns[i].label && !split->columns[i]) return false;
  return label_column(need);
}

static bool read_arrays(struct folder *f, struct bt_split *split, const struct prefix *prefix,
                        const struct bt_arrays *arrays) {
  if (is_wanted(f->need) && !read_images(f, split, prefix, arrays)) return false;
  for (int i = 0; i < f->need->n_columns; i++)
    if (!read_column(f, split, arrays, i)) return false;
  bool idx = f->source == IDX || (f->source == ARRAYS && label_column(f->need));
  if (idx && !all_labels_are_arrays(f->need, split) && !read_idx_labels(f, split, prefix)) return false;
  return share_labels(f, split, prefix);
}

static bool read_split(struct folder *f, struct bt_split *split, const struct prefix *prefix) {
  struct bt_arrays arrays;
  if (!bt_arrays_open(&arrays, f->path, prefix->array, f->err, f->errlen)) return false;
  bool ok = read_arrays(f, split, prefix, &arrays);
  bt_arrays_close(&arrays);
  return ok;
}

static bool has_idx(const struct folder *f) {
  return bt_reader_exists(f->path, "train-images-idx3-ubyte") || bt_reader_exists(f->path, "t10k-images-idx3-ubyte");
}

static bool has_array_images(struct folder *f, bool *has) {
  struct bt_arrays arrays;
  if (!bt_arrays_open(&arrays, f->path, train_prefix.array, f->err, f->errlen)) return false;
  *has = f->need->images_name && bt_arrays_have(&arrays, f->need->images_name);
  bt_arrays_close(&arrays);
  return true;
}

static bool has_nothing(const struct folder *f) {
  const char *name = f->need->images_name;
  if (!name) return FAIL(f, "%s has no train-images-idx3-ubyte (nor train-images-idx3-ubyte.gz), nor images", f->path);
  return FAIL(f, "%s has neither train-%s.npy nor train-images-idx3-ubyte (nor either with .gz), nor '%s' in "
              "train.safetensors, nor CIFAR's binary files, nor folders of JPEG or PNG images",
              f->path, name, name);
}

// Where nothing is an image, labels may still be those of IDX files.
static bool find_source(struct folder *f) {
  bool arrays = false;
  if (!is_wanted(f->need)) return f->source = ARRAYS, true;
  if (!has_array_images(f, &arrays) || !bt_cifar_find(&f->cifar, f->path, f->err, f->errlen)) return false;
  f->source = arrays          ? ARRAYS
              : has_idx(f)    ? IDX
              : f->cifar.kind ? CIFAR
              : bt_image_folder_likely(f->path) ? FILES
                              : NOWHERE;
  if (f->source == FILES)
    return bt_image_folder_read(f->path, f->need->train_only, &f->tree, f->err, f->errlen);
  return f->source != NOWHERE || has_nothing(f);
}

static void name_classes(struct folder *f) {
  struct bt_data *d = f->data;
  if (f->source == CIFAR) d->class_names = bt_cifar_names(&f->cifar), d->classes = f->cifar.classes;
  if (f->source == FILES) d->class_names = f->tree.classes, d->classes = f->tree.n_classes;
  d->n_class_names = d->class_names ? d->classes : 0;
  if (f->source == FILES) f->tree.classes = NULL, f->tree.n_classes = 0;
}

// ---- images in files --------------------------------------------------------------------------

static struct bt_split *split_of(struct bt_data *data, int k) { return k ? &data->test : &data->train; }

static bool measure_split(struct bt_data *data, struct bt_images *images, char *err, size_t errlen) {
  int64_t other = 0, *size = data->image + 1;
  int height, width;
  bool same = bt_images_measure(images, &other, &height, &width);
  if (same && !size[0]) size[0] = images->height, size[1] = images->width;
  if (same && (!images->height || (images->height == size[0] && images->width == size[1]))) return true;
  if (same) height = images->height, width = images->width;
  return bt_fail(err, errlen, "%s/%s has %d×%d pixels, the images before it another size", bt_images_folder(images),
                 bt_images_path(images, other), height, width);
}

bool bt_data_measure(struct bt_data *data, char *err, size_t errlen) {
  bool same = true;
  if (data->image[1]) return true;
  for (int k = 0; same && k < 2; k++) {
    struct bt_images *images = split_of(data, k)->images;
    same = !images || !images->files || measure_split(data, images, err, errlen);
  }
  if (!same) data->image[1] = data->image[2] = 0;
  return same;
}

static bool load_files(struct bt_data *data, const struct bt_data_need *need, char *err, size_t errlen) {
  static const char *const what[] = {"training images", "test images"};
  size_t bytes = 0;
  for (int k = 0; k < 2; k++)
    if (split_of(data, k)->images) bytes += bt_images_decoded_bytes(split_of(data, k)->images);
  data->decoded_bytes = bytes < data->cache.budget ? bytes : data->cache.budget;
  bool ok = true;
  for (int k = 0; ok && !need->plan && bytes <= data->cache.budget && k < 2; k++) {
    const struct bt_images *images = split_of(data, k)->images;
    ok = !images || bt_images_load(images, need->quiet ? NULL : what[k], err, errlen);
  }
  return ok;
}

static bool all_loaded(struct bt_data *data) {
  for (int k = 0; k < 2; k++)
    if (split_of(data, k)->images && !bt_images_loaded(split_of(data, k)->images)) return false;
  return true;
}

// Sizes that the program fixes are looked up at once; otherwise they are where that costs nothing.
static bool open_files(const struct folder *f) {
  const int64_t *fixed = f->need->image;
  char why[4300];
  if (f->need->image[0] && f->need->image[0] != 1 && f->need->image[0] != 3)
    return FAIL(f, "%s: the program takes images of %" PRId64 " channels; of files they can have 1 or 3", f->path, fixed[0]);
  if (!load_files(f->data, f->need, f->err, f->errlen)) return false;
  bool must = fixed[1] || fixed[2];
  if (!must && !all_loaded(f->data)) return true;
  if (bt_data_measure(f->data, why, sizeof why) || !must) return true;
  return FAIL(f, "%s. The program takes images of one size: write data x: u8[batch, %" PRId64 ", _, _] in its source, and "
              "begin its views with a step that makes one size, such as resize", why, fixed[0]);
}

static bool read_folder(struct bt_data *data, const struct bt_data_need *need, char *err,
                        size_t errlen) {
  struct folder f = {.data = data, .need = need, .path = data->name, .err = err, .errlen = errlen};
  bool ok = find_source(&f) && read_split(&f, &data->train, &train_prefix) &&
            (need->train_only || read_split(&f, &data->test, &test_prefix));
  if (ok) name_classes(&f);
  ok = ok && (f.source != FILES || open_files(&f));
  bt_image_tree_free(&f.tree);
  return ok;
}

// ---- synthetic --------------------------------------------------------------------------------

static void make_images(struct bt_split *split, const int64_t image[3], uint64_t seed, uint32_t which) {
  int64_t pixels = bt_count(3, image);
  uint8_t *all = bt_xcalloc((size_t)split->n, (size_t)pixels);
  split->images = images_of(all, split->n, image);
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
  if (!need->train_only) make_split(data, &data->test, (n + 3) / 4, need, seed, 1);
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
  char called[160] = "";
  for (int64_t i = 0; labels && i < split->n; i++) {
    if (labels[i] < classes) continue;
    if (labels[i] < data->n_class_names) snprintf(called, sizeof called, " (%s)", data->class_names[labels[i]]);
    return bt_fail(err, errlen, "%s: label %d%s of %s %.*s %" PRId64 " is out of range: %s 0 to %d",
                   data->name, labels[i], called, name, (int)strlen(data->unit) - 1, data->unit, i, why,
                   classes - 1);
  }
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
    if (need->image[i] && data->image[i] && need->image[i] != data->image[i])
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

// Of one example.
static size_t column_bytes(const struct bt_data *data, const struct bt_data_need *need) {
  const struct bt_split *t = &data->train;
  size_t bytes = t->labels ? sizeof *t->labels : 0;
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
  data->cache.budget = need->cache;
  data->train.columns = bt_xcalloc((size_t)need->n_columns, sizeof *data->train.columns);
  data->test.columns = bt_xcalloc((size_t)need->n_columns, sizeof *data->test.columns);
  if (synthetic) {
    data->name = bt_xstrdup("synthetic");
    ok = make_synthetic(data, where + 9, need, seed, err, errlen);
  } else {
    ok = open_folder(data, where, need, err, errlen);
  }
  if (ok) count_classes(data, need), data->column_bytes = column_bytes(data, need);
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
  for (int i = 0; i < data->n_class_names; i++) free(data->class_names[i]);
  free(data->class_names);
  free_split(&data->train, data->n_columns), free_split(&data->test, data->n_columns);
  free(data);
}

static size_t split_bytes(const struct bt_data *data, const struct bt_split *split) {
  return (size_t)split->n * data->column_bytes + (split->images ? bt_images_bytes(split->images) : 0);
}

size_t bt_data_bytes(const struct bt_data *data) {
  return split_bytes(data, &data->train) + split_bytes(data, &data->test) + data->decoded_bytes;
}

bool bt_data_warning(const struct bt_data *data, char *text, size_t room) {
  return bt_images_warning(data->train.images, text, room) || bt_images_warning(data->test.images, text, room);
}

bool bt_data_unreadable(const struct bt_data *data, char *text, size_t room) {
  int64_t train = bt_images_unreadable(data->train.images), test = bt_images_unreadable(data->test.images);
  if (!train && !test) return false;
  snprintf(text, room, "%s: %" PRId64 " of %" PRId64 " images could not be read, and others took their places", data->name,
           train + test, data->train.n + data->test.n);
  return true;
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
