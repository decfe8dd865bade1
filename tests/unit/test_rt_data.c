// test_rt_data.c: IDX files plain and gzip, cut at every byte, CIFAR's binary files, and sets that do not fit the
// program.
#define _GNU_SOURCE
#include "data.h"
#include "rt_test.h"

#include <zlib.h>

static char err[1000];
static const struct bt_data_need anything;

enum { N = 6, SIDE = 3 };

// An IDX file in memory: header of `rank` sizes, then `bytes` bytes. Returns its length.
static size_t idx(unsigned char *to, int rank, const unsigned *shape, size_t bytes, int modulo) {
  size_t at = 4;
  memcpy(to, (unsigned char[]){0, 0, 8, (unsigned char)rank}, 4);
  for (int i = 0; i < rank; i++, at += 4)
    to[at] = 0, to[at + 1] = 0, to[at + 2] = (unsigned char)(shape[i] >> 8),
    to[at + 3] = (unsigned char)shape[i];
  for (size_t i = 0; i < bytes; i++) to[at + i] = (unsigned char)(i % (size_t)modulo);
  return at + bytes;
}

static void put(const char *folder, const char *name, const void *data, size_t n, bool gz) {
  char path[600];
  snprintf(path, sizeof path, "%s/%s%s", folder, name, gz ? ".gz" : "");
  if (!gz) {
    rt_write(path, data, n);
    return;
  }
  gzFile f = gzopen(path, "wb");
  assert_int_equal(gzwrite(f, data, (unsigned)n), n);
  gzclose(f);
}

// Four files: N training and N / 2 test images.
static void make(const char *folder, bool gz) {
  unsigned char file[1000];
  for (int test = 0; test < 2; test++) {
    unsigned n = test ? N / 2 : N;
    const char *prefix = test ? "t10k" : "train";
    char name[64];
    size_t size = idx(file, 3, (unsigned[]){n, SIDE, SIDE}, n * SIDE * SIDE, 251);
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", prefix);
    put(folder, name, file, size, gz);
    size = idx(file, 1, (unsigned[]){n}, n, 3);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", prefix);
    put(folder, name, file, size, gz);
  }
}

static void expect_refused(const char *folder, const struct bt_data_need *need, const char *why) {
  struct bt_data *d = bt_data_open(folder, need, 0, err, sizeof err);
  if (d) fail_msg("accepted, though: %s", why);
  rt_expect_text(err, why);
}

static void test_read(void **state) {
  for (int gz = 0; gz < 2; gz++) {
    make(*state, gz);
    struct bt_data *d = bt_data_open(*state, &anything, 0, err, sizeof err);
    if (!d) fail_msg("%s", err);
    assert_int_equal(d->train.n, N);
    assert_int_equal(d->test.n, N / 2);
    assert_int_equal(d->image[0], 1);
    assert_int_equal(d->image[2], SIDE);
    assert_int_equal(d->classes, 3);
    assert_int_equal(d->train.images->pixels[SIDE * SIDE + 1], SIDE * SIDE + 1);
    assert_int_equal(d->train.labels[4], 1);
    bt_data_free(d);
    const char *images = rt_path(*state, "train-images-idx3-ubyte");
    if (!gz) unlink(images), unlink(rt_path(*state, "t10k-labels-idx1-ubyte"));
  }
}

// Every shorter file must be refused; `name` is restored after.
static void cut_everywhere(const char *folder, const char *name) {
  const char *path = rt_path(folder, name);
  size_t n;
  char *whole = rt_read(path, &n);
  for (size_t i = 0; i < n; i++) {
    rt_write(path, whole, i);
    struct bt_data *d = bt_data_open(folder, &anything, 0, err, sizeof err);
    if (d) fail_msg("%s: %zu of %zu bytes were taken for a file", name, i, n);
    rt_expect_text(err, name);
  }
  rt_write(path, whole, n);
  free(whole);
}

static void test_truncation_raw(void **state) {
  make(*state, false);
  cut_everywhere(*state, "train-images-idx3-ubyte");
  cut_everywhere(*state, "t10k-labels-idx1-ubyte");
}

static void test_truncation_gzip(void **state) {
  make(*state, true);
  cut_everywhere(*state, "train-images-idx3-ubyte.gz");
  cut_everywhere(*state, "t10k-labels-idx1-ubyte.gz");
}

static void test_damage(void **state) {
  unsigned char file[1000];
  make(*state, false);
  const char *images = rt_path(*state, "train-images-idx3-ubyte");
  size_t size = idx(file, 3, (unsigned[]){N, SIDE, SIDE}, N * SIDE * SIDE, 251);
  rt_write(images, file, size + 1);
  expect_refused(*state, &anything, "longer than its header");
  file[3] = 1;
  rt_write(images, file, size);
  expect_refused(*state, &anything, "wrong magic number 00000801");
  size = idx(file, 3, (unsigned[]){N, 0, SIDE}, 0, 251);
  rt_write(images, file, size);
  expect_refused(*state, &anything, "shape is 0");
  memset(file + 4, 0xff, 12);
  rt_write(images, file, size);
  expect_refused(*state, &anything, "too large");
  size = idx(file, 3, (unsigned[]){N - 1, SIDE, SIDE}, (N - 1) * SIDE * SIDE, 251);
  rt_write(images, file, size);
  expect_refused(*state, &anything, "labels-idx1-ubyte has 6 rows, where the split's other files have 5");
  unlink(images);
  expect_refused(*state, &anything, "has no train-images-idx3-ubyte");
  size = idx(file, 3, (unsigned[]){N, SIDE, SIDE}, N * SIDE * SIDE, 251);
  put(*state, "train-images-idx3-ubyte", file, size, true);
  size_t n;
  char *gz = rt_read(rt_path(*state, "train-images-idx3-ubyte.gz"), &n);
  gz[n - 6] ^= 1; // its checksum
  rt_write(rt_path(*state, "train-images-idx3-ubyte.gz"), gz, n);
  free(gz);
  expect_refused(*state, &anything, "damaged");
}

static void test_unfit(void **state) {
  unsigned char file[1000];
  make(*state, false);
  expect_refused(*state, &(struct bt_data_need){.image = {3, 0, 0}, .classes = 0}, "1×3×3");
  expect_refused(*state, &(struct bt_data_need){.image = {1, 4, 3}, .classes = 0}, "1×4×3");
  expect_refused(*state, &(struct bt_data_need){.image = {0}, .classes = 2},
                 "label 2 of training image 2 is out of range");
  size_t size = idx(file, 1, (unsigned[]){N / 2}, N / 2, 4);
  file[8] = 9;
  rt_write(rt_path(*state, "t10k-labels-idx1-ubyte"), file, size);
  expect_refused(*state, &anything, "label 9 of test image 0");
  size = idx(file, 3, (unsigned[]){N / 2, SIDE, SIDE + 1}, N / 2 * SIDE * (SIDE + 1), 251);
  rt_write(rt_path(*state, "t10k-images-idx3-ubyte"), file, size);
  expect_refused(*state, &anything, "images of t10k-images-idx3-ubyte are 1×3×4");
  expect_refused("/nonexistent", &anything, "no such folder");
  expect_refused("/dev/null", &anything, "not a folder");
}

// Labels that no program reads need not be there; nor need a test split where nothing is tested.
static void test_optional(void **state) {
  static const struct bt_column y = {.name = "y", .dtype = BT_I32, .label = true};
  struct bt_data_need need = {.images_name = "x", .train_only = true};
  make(*state, false);
  unlink(rt_path(*state, "train-labels-idx1-ubyte")), unlink(rt_path(*state, "t10k-images-idx3-ubyte"));
  struct bt_data *d = bt_data_open(*state, &need, 0, err, sizeof err);
  if (!d) fail_msg("%s", err);
  assert_int_equal(d->train.n, N);
  assert_int_equal(d->test.n, 0);
  assert_null(d->train.labels);
  bt_data_free(d);
  need.n_columns = 1, need.columns = &y;
  expect_refused(*state, &need, "has neither train-y.npy nor train-labels-idx1-ubyte (nor either with .gz), nor 'y' in");
  need = (struct bt_data_need){.images_name = "x"};
  expect_refused(*state, &need, "has no t10k-images-idx3-ubyte");
}

// ---- CIFAR --------------------------------------------------------------------------------------

enum { PIXELS = 3 * 32 * 32 };

// n records; the label of record i is (first + i) % classes.
static void put_cifar(const char *folder, const char *name, int label_bytes, int n, int first, int classes, bool gz) {
  size_t record = (size_t)label_bytes + PIXELS;
  unsigned char *all = calloc((size_t)n, record);
  for (int i = 0; i < n; i++) {
    memset(all + (size_t)i * record, 200, record); // a coarse label may be anything
    all[(size_t)i * record + (size_t)label_bytes - 1] = (unsigned char)((first + i) % classes);
    memset(all + (size_t)i * record + label_bytes, first + i, PIXELS);
  }
  put(folder, name, all, (size_t)n * record, gz);
  free(all);
}

static void make_cifar10(const char *folder, bool gz) {
  for (int i = 1; i <= 5; i++) {
    char name[64];
    snprintf(name, sizeof name, "data_batch_%d.bin", i);
    put_cifar(folder, name, 1, 3, 10 * i, 10, gz);
  }
  put_cifar(folder, "test_batch.bin", 1, 4, 77, 10, gz);
}

static void expect_cifar10(const char *folder) {
  struct bt_data *d = bt_data_open(folder, &anything, 0, err, sizeof err);
  if (!d) fail_msg("%s", err);
  assert_int_equal(d->train.n, 15);
  assert_int_equal(d->test.n, 4);
  assert_int_equal(d->image[0], 3);
  assert_int_equal(d->image[2], 32);
  assert_int_equal(d->classes, 10);
  assert_string_equal(d->class_names[9], "truck");
  assert_int_equal(d->train.labels[4], 1);
  assert_int_equal(d->train.images->pixels[4 * PIXELS], 21);
  bt_data_free(d);
}

// In the folder itself, and gzip in one of its own.
static void test_cifar10(void **state) {
  static const char names[] = "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";
  char within[200], path[400];
  make_cifar10(*state, false);
  rt_write(rt_path(*state, "batches.meta.txt"), names, sizeof names - 1);
  expect_cifar10(*state);
  snprintf(within, sizeof within, "%s/outer", (char *)*state);
  mkdir(within, 0777);
  snprintf(path, sizeof path, "%s/cifar-10-batches-bin", within);
  mkdir(path, 0777);
  make_cifar10(path, true);
  rt_write(rt_path(path, "batches.meta.txt"), names, sizeof names - 1);
  expect_cifar10(within);
  unlink(rt_path(path, "data_batch_3.bin.gz"));
  expect_refused(within, &anything, "has no data_batch_3.bin");
}

static void test_cifar100(void **state) {
  put_cifar(*state, "train.bin", 2, 120, 0, 100, false);
  put_cifar(*state, "test.bin", 2, 5, 90, 100, false);
  struct bt_data *d = bt_data_open(*state, &anything, 0, err, sizeof err);
  if (!d) fail_msg("%s", err);
  assert_int_equal(d->classes, 100);
  assert_int_equal(d->train.labels[101], 1);
  assert_int_equal(d->test.labels[4], 94);
  assert_int_equal(d->train.images->pixels[3 * PIXELS], 3);
  assert_null(d->class_names);
  bt_data_free(d);
  make_cifar10(*state, false);
  expect_refused(*state, &anything, "has both CIFAR-10 and CIFAR-100");
  unlink(rt_path(*state, "data_batch_1.bin")), unlink(rt_path(*state, "test_batch.bin"));
  put_cifar(*state, "train.bin", 1, 12, 0, 100, false); // CIFAR-10's
  expect_refused(*state, &anything, "no file of CIFAR-100: its 36876 bytes are not a number of records of 3074");
  put_cifar(*state, "train.bin", 2, 12, 100, 200, false);
  expect_refused(*state, &anything, "damaged, or no file of CIFAR-100: image 0 has label 100");
  put(*state, "train.bin", "", 0, false);
  expect_refused(*state, &anything, "train.bin: truncated");
}

static void test_synthetic(void **state) {
  (void)state;
  const struct bt_data_need need = {.image = {3, 8, 8}, .classes = 4};
  struct bt_data *a = bt_data_open("synthetic:20", &need, 1, err, sizeof err);
  struct bt_data *b = bt_data_open("synthetic:20", &need, 1, err, sizeof err);
  assert_non_null(a);
  assert_int_equal(a->train.n, 20);
  assert_int_equal(a->test.n, 5);
  assert_memory_equal(a->train.images->pixels, b->train.images->pixels, 20 * 192);
  assert_memory_not_equal(a->train.images->pixels, a->test.images->pixels, 192);
  bt_data_free(a), bt_data_free(b);
  expect_refused("synthetic", &anything, "does not say how large");
  expect_refused("synthetic:", &need, "number of images");
  expect_refused("synthetic:-1", &need, "number of images");
  expect_refused("synthetic:9x", &need, "number of images");
  expect_refused("synthetics", &need, "no such folder");
}

static void test_subset(void **state) {
  (void)state;
  const struct bt_data_need need = {.image = {1, 1, 1}, .classes = 10};
  struct bt_data *d = bt_data_open("synthetic:1000", &need, 1, err, sizeof err);
  uint32_t *a, *b, *c;
  int counts[10] = {0};
  assert_int_equal(bt_data_subset(&d->train, 0.1, 1, &a), 100);
  assert_int_equal(bt_data_subset(&d->train, 0.1, 1, &b), 100);
  assert_int_equal(bt_data_subset(&d->train, 0.1, 2, &c), 100);
  assert_memory_equal(a, b, 400);
  assert_memory_not_equal(a, c, 400);
  for (int i = 0; i < 100; i++) counts[d->train.labels[a[i]]]++, assert_true(!i || a[i] > a[i - 1]);
  for (int i = 0; i < 10; i++) assert_int_equal(counts[i], 10);
  free(a), free(b), free(c);
  assert_int_equal(bt_data_subset(&d->train, 0.0001, 1, &a), 10); // one a class at least
  assert_int_equal(bt_data_subset(&d->train, 1, 1, &b), 1000);
  free(a), free(b);
  bt_data_free(d);
}

static int setup(void **state) { return *state = rt_mkdir(), 0; }
static int teardown(void **state) { return rt_rmdir(*state), 0; }
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_FOLDER(test_read),
      WITH_FOLDER(test_truncation_raw),
      WITH_FOLDER(test_truncation_gzip),
      WITH_FOLDER(test_damage),
      WITH_FOLDER(test_unfit),
      WITH_FOLDER(test_optional),
      WITH_FOLDER(test_cifar10),
      WITH_FOLDER(test_cifar100),
      cmocka_unit_test(test_synthetic),
      cmocka_unit_test(test_subset),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
