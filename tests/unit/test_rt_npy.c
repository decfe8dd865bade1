// test_rt_npy.c: NumPy's files in all their forms, cut at every byte, with headers that lie; and the
// columns and images that data sets make of them.
#define _GNU_SOURCE
#include "btrt_internal.h"
#include "data.h"
#include "npy.h"
#include "rt_test.h"
#include "safetensors.h"

#include <math.h>
#include <zlib.h>

static char err[1000];

// A file in memory: version, header, elements. Returns its length.
static size_t npy(char *to, int major, const char *header, const void *data, size_t bytes) {
  size_t length = strlen(header), fixed = major == 1 ? 10 : 12;
  memcpy(to, "\x93NUMPY", 6);
  to[6] = (char)major, to[7] = 0;
  for (size_t i = 8; i < fixed; i++) to[i] = (char)(length >> 8 * (i - 8));
  memcpy(to + fixed, header, length);
  memcpy(to + fixed + length, data, bytes);
  return fixed + length + bytes;
}

static void put(const char *folder, const char *name, const char *header, const void *data,
                size_t bytes) {
  char file[4096];
  size_t n = npy(file, 1, header, data, bytes);
  rt_write(rt_path(folder, name), file, n);
}

static const float six[6] = {1, -2.5f, 3, 4, 5, 6};
#define SIX "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }        \n"

static void expect_six(const char *folder) {
  struct bt_npy a;
  if (!bt_npy_read(folder, "x.npy", &a, err, sizeof err)) fail_msg("%s", err);
  assert_int_equal(a.dtype, BT_F32);
  assert_int_equal(a.rank, 2);
  assert_int_equal(a.shape[0], 2);
  assert_int_equal(a.shape[1], 3);
  assert_memory_equal(a.data, six, sizeof six);
  free(a.data);
}

static void test_versions(void **state) {
  char file[1000];
  for (int major = 1; major <= 2; major++) {
    size_t n = npy(file, major, SIX, six, sizeof six);
    rt_write(rt_path(*state, "x.npy"), file, n);
    expect_six(*state);
  }
  unlink(rt_path(*state, "x.npy"));
  size_t n = npy(file, 1, SIX, six, sizeof six);
  gzFile f = gzopen(rt_path(*state, "x.npy.gz"), "wb");
  assert_int_equal(gzwrite(f, file, (unsigned)n), n);
  gzclose(f);
  expect_six(*state);
}

// What Python allows in the text of a dictionary: other orders, quotes and spaces, no last comma.
static void test_spellings(void **state) {
  static const char *const headers[] = {
      "{'shape':(2,3),'fortran_order':False,'descr':'<f4'}",
      "{\"descr\": \"<f4\", \"fortran_order\": False, \"shape\": (2, 3, ), }\n",
      "  { 'fortran_order' : False , 'descr' : '<f4' , 'shape' : ( 2 , 3 ) }  \n\n"};
  for (int i = 0; i < 3; i++) put(*state, "x.npy", headers[i], six, sizeof six), expect_six(*state);
}

static void expect_refused(const char *folder, const char *why) {
  struct bt_npy a;
  if (bt_npy_read(folder, "x.npy", &a, err, sizeof err)) fail_msg("accepted, though: %s", why);
  assert_null(a.data);
  rt_expect_text(err, "x.npy: ");
  rt_expect_text(err, why);
}

static void test_hostile_headers(void **state) {
#define WITH(descr, order, shape) "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }\n"
  static const struct {
    const char *header, *why;
  } cases[] = {
      {"", "not a dictionary"},
      {"{", "not a dictionary of"},
      {"{}", "has no descr"},
      {"{'descr': '<f4'}", "has no fortran_order"},
      {"{'descr': '<f4', 'fortran_order': False}", "has no shape"},
      {"{'descr': '<f4', 'descr': '<f4'}", "key 'descr' twice"},
      {"{'dtype': '<f4'}", "the key 'dtype'"},
      {"{'descr': '<f4' 'fortran_order': False}", "not a dictionary"},
      {"{'descr', '<f4'}", "not a dictionary of"},
      {"{'a key that is longer than any': 1}", "not a dictionary of"},
      {"{'descr", "not a dictionary of"},
      {WITH("'<f4'", "False", "(6,)") "x", "not a dictionary"},
      {WITH("'>f4'", "False", "(6,)"), "its elements are '>f4'"},
      {WITH("'<f2'", "False", "(6,)"), "its elements are '<f2'"},
      {WITH("'|O'", "False", "(6,)"), "its elements are '|O'"},
      {WITH("[('x', '<f4')]", "False", "(6,)"), "records or objects"},
      {WITH("'\\x3cf4'", "False", "(6,)"), "records or objects"},
      {WITH("'<f4'", "0", "(6,)"), "neither True nor False"},
      {WITH("'<f4'", "True", "(2, 3)"), "np.ascontiguousarray"},
      {WITH("'<f4'", "False", "()"), "one number"},
      {WITH("'<f4'", "False", "6"), "not a tuple"},
      {WITH("'<f4'", "False", "(6"), "axis 1 of its header's shape is not a size"},
      {WITH("'<f4'", "False", "(2 3)"), "not a tuple"},
      {WITH("'<f4'", "False", "(-6,)"), "axis 0 of its header's shape is not a size"},
      {WITH("'<f4'", "False", "(6.0,)"), "not a tuple"},
      {WITH("'<f4'", "False", "(2, x)"), "axis 1 of its header's shape is not a size"},
      {WITH("'<f4'", "False", "(6, 0)"), "axis 1 of its shape is 0"},
      {WITH("'<f4'", "False", "(1, 1, 1, 1, 1, 1, 6)"), "more than 6 axes"},
      {WITH("'<f4'", "False", "(4294967296, 4294967296)"), "too large for any memory"},
      {WITH("'<f4'", "False", "(99999999999999999999999999,)"), "too large for any memory"},
      {WITH("'<f4'", "False", "(1000000000000,)"), "truncated: 24 bytes of data"},
      {WITH("'<f4'", "False", "(5,)"), "longer than its header says"},
      {WITH("'<f8'", "False", "(6,)"), "truncated: 24 bytes of data, its header says 48"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    put(*state, "x.npy", cases[i].header, six, sizeof six), expect_refused(*state, cases[i].why);
  char file[1000];
  size_t n = npy(file, 1, SIX, six, sizeof six);
  file[6] = 3, rt_write(rt_path(*state, "x.npy"), file, n), expect_refused(*state, "version 3.0");
  file[6] = 1, file[20] = 0, rt_write(rt_path(*state, "x.npy"), file, n);
  expect_refused(*state, "not a dictionary");
  file[0] = 'x', rt_write(rt_path(*state, "x.npy"), file, n), expect_refused(*state, "not a .npy");
  n = npy(file, 2, SIX, six, sizeof six);
  memset(file + 8, 0x7f, 4), rt_write(rt_path(*state, "x.npy"), file, n);
  expect_refused(*state, "a header of 2139062143 bytes");
}

static void test_truncation(void **state) {
  char file[1000];
  size_t n = npy(file, 2, SIX, six, sizeof six);
  for (size_t i = 0; i < n; i++)
    rt_write(rt_path(*state, "x.npy"), file, i), expect_refused(*state, "truncated");
}

// ---- columns ----------------------------------------------------------------------------------

static void *column(const char *folder, const struct bt_column *c) {
  int64_t n = 0;
  struct bt_npy array;
  if (!bt_npy_read(folder, "x.npy", &array, err, sizeof err)) return NULL;
  return bt_column_of(c, &array, "x.npy", &n, err, sizeof err);
}

static void test_conversions(void **state) {
  static const double doubles[2] = {1.5, -2}, beyond[2] = {0, -1e300};
  static const int64_t wholes[2] = {7, -8}, large[2] = {1, (int64_t)1 << 31};
  static const uint8_t bytes[2] = {0, 255};
  static const float infinite[2] = {0, INFINITY};
  const struct bt_column f32 = {.name = "x", .dtype = BT_F32}, i32 = {.name = "x", .dtype = BT_I32},
                         i64 = {.name = "x", .dtype = BT_I64}, f64 = {.name = "x", .dtype = BT_F64},
                         label = {.name = "x", .dtype = BT_I32, .label = true};
#define ROWS(descr) WITH("'" descr "'", "False", "(2,)")
#define EXPECT(c, type, first, second)                                         \
  do {                                                                         \
    type *got = column(*state, &(c));                                          \
    if (!got) fail_msg("%s", err);                                             \
    assert_true(got[0] == (first) && got[1] == (second));                      \
    free(got);                                                                 \
  } while (0)
#define EXPECT_NOT(c, why) \
  assert_null(column(*state, &(c))), rt_expect_text(err, "x.npy: "), rt_expect_text(err, why)
  put(*state, "x.npy", ROWS("<f8"), doubles, sizeof doubles);
  EXPECT(f32, float, 1.5f, -2);
  EXPECT(f64, double, 1.5, -2);
  EXPECT_NOT(i32, "save x.astype('<i4')");
  put(*state, "x.npy", ROWS("<f8"), beyond, sizeof beyond);
  EXPECT(f64, double, 0, -1e300);
  EXPECT_NOT(f32, "row 1 has a value that f32 does not hold");
  put(*state, "x.npy", ROWS("<i8"), wholes, sizeof wholes);
  EXPECT(f32, float, 7, -8);
  EXPECT(i32, int32_t, 7, -8);
  EXPECT(i64, int64_t, 7, -8);
  EXPECT_NOT(label, "row 1 has a negative label");
  put(*state, "x.npy", ROWS("<i8"), large, sizeof large);
  EXPECT_NOT(i32, "row 1 has a number that 32 bits do not hold");
  put(*state, "x.npy", ROWS("|u1"), bytes, sizeof bytes);
  EXPECT(f64, double, 0, 255);
  EXPECT(label, int32_t, 0, 255);
  put(*state, "x.npy", ROWS("<f4"), infinite, sizeof infinite);
  EXPECT_NOT(f32, "row 1 has a value that is not finite");
}

// ---- data sets --------------------------------------------------------------------------------

static const struct bt_column columns[] = {
    {.name = "x", .dtype = BT_F32, .rank = 1, .shape = {3}},
    {.name = "y", .dtype = BT_I32, .label = true},
};
static const struct bt_data_need vectors = {.n_columns = 2, .columns = columns},
                                 pictures = {.images_name = "i", .n_columns = 1, .columns = columns + 1};
static const int32_t classes[2] = {0, 4};
static const uint8_t pixels[24] = {9, 8, 7};

static void make(const char *folder) {
  put(folder, "train-x.npy", SIX, six, sizeof six);
  put(folder, "test-x.npy", SIX, six, sizeof six);
  put(folder, "train-y.npy", ROWS("<i4"), classes, sizeof classes);
  put(folder, "test-y.npy", ROWS("<i4"), classes, sizeof classes);
  put(folder, "train-i.npy", WITH("'|u1'", "False", "(2, 3, 2, 2)"), pixels, 24);
  put(folder, "test-i.npy", WITH("'|u1'", "False", "(2, 3, 2, 2)"), pixels, 24);
}

static void test_vectors(void **state) {
  make(*state);
  struct bt_data *d = bt_data_open(*state, &vectors, 0, err, sizeof err);
  if (!d) fail_msg("%s", err);
  assert_int_equal(d->train.n, 2);
  assert_string_equal(d->unit, "rows");
  assert_int_equal(d->classes, 5);
  assert_memory_equal(d->train.columns[0], six, sizeof six);
  assert_memory_equal(d->train.labels, classes, sizeof classes);
  assert_null(d->train.images);
  assert_int_equal(bt_data_bytes(d), 4 * (3 * sizeof(float) + sizeof(int32_t)));
  bt_data_free(d);
  d = bt_data_open("synthetic:8", &vectors, 0, err, sizeof err);
  if (!d) fail_msg("%s", err);
  assert_int_equal(d->train.labels[3], 3);
  assert_true(((float *)d->train.columns[0])[23] != 0);
  bt_data_free(d);
}

static void test_images(void **state) {
  make(*state);
  struct bt_data *d = bt_data_open(*state, &pictures, 0, err, sizeof err);
  if (!d) fail_msg("%s", err);
  assert_int_equal(d->image[0], 3);
  assert_int_equal(d->image[2], 2);
  assert_memory_equal(d->train.images->pixels, pixels, sizeof pixels);
  assert_string_equal(d->unit, "images");
  bt_data_free(d);
}

static void expect_no_data(const char *folder, const struct bt_data_need *need, const char *why) {
  struct bt_data *d = bt_data_open(folder, need, 0, err, sizeof err);
  if (d) fail_msg("accepted, though: %s", why);
  rt_expect_text(err, why);
}

static void test_unfit(void **state) {
  expect_no_data(*state, &vectors, "has no train-x.npy (nor train-x.npy.gz) for the program's data 'x'");
  expect_no_data(NULL, &vectors, "give --data FOLDER with train-x.npy and test-x.npy");
  make(*state);
  put(*state, "test-y.npy", WITH("'<i4'", "False", "(1,)"), classes, 4);
  expect_no_data(*state, &vectors, "test-y.npy: 1 rows, where the split's other files have 2");
  make(*state);
  put(*state, "train-x.npy", WITH("'<f4'", "False", "(3, 2)"), six, sizeof six);
  expect_no_data(*state, &vectors, "its shape is [rows, 2], the program was compiled for [rows, 3]");
  make(*state);
  put(*state, "test-y.npy", ROWS("<i4"), ((int32_t[]){0, 5}), 8);
  expect_no_data(*state, &vectors, "label 5 of test row 1 is out of range: the training labels are 0 to 4");
  put(*state, "train-y.npy", ROWS("<i4"), ((int32_t[]){0, INT32_MAX}), 8);
  expect_no_data(*state, &vectors, "label 2147483647 of training row 1 is out of range: classes count from 0 to 1048575");
  put(*state, "test-i.npy", WITH("'|u1'", "False", "(2, 1, 2, 2)"), pixels, 8);
  expect_no_data(*state, &pictures, "images of test-i.npy are 1×2×2");
  put(*state, "train-i.npy", SIX, six, sizeof six);
  expect_no_data(*state, &pictures, "images are bytes, [rows, height, width]");
  unlink(rt_path(*state, "train-y.npy"));
  expect_no_data(*state, &vectors, "has neither train-y.npy nor train-labels-idx1-ubyte");
}

// The same data as tensors; arrays and tensors may be mixed, but nothing may be there twice.
static void test_tensors(void **state) {
  const struct st_tensor train[] = {{"x", BT_F32, 2, {2, 3}, six}, {"y", BT_I32, 1, {2}, classes}, {"i", BT_U8, 4, {2, 3, 2, 2}, pixels}},
                         test[] = {{"x", BT_F32, 2, {2, 3}, six}, {"i", BT_U8, 4, {2, 3, 2, 2}, pixels}};
  const char *path = rt_path(*state, "train.safetensors");
  assert_true(st_write(path, train, 3, NULL, 0, err, sizeof err));
  assert_true(st_write(rt_path(*state, "test.safetensors"), test, 2, NULL, 0, err, sizeof err));
  put(*state, "test-y.npy", ROWS("<i4"), classes, sizeof classes);
  struct bt_data *d = bt_data_open(*state, &vectors, 0, err, sizeof err);
  if (!d) fail_msg("%s", err);
  assert_memory_equal(d->train.columns[0], six, sizeof six);
  assert_memory_equal(d->train.labels, classes, sizeof classes);
  assert_memory_equal(d->test.labels, classes, sizeof classes);
  bt_data_free(d);
  d = bt_data_open(*state, &pictures, 0, err, sizeof err);
  if (!d) fail_msg("%s", err);
  assert_memory_equal(d->train.images->pixels, pixels, sizeof pixels);
  bt_data_free(d);
  put(*state, "train-y.npy", ROWS("<i4"), classes, sizeof classes);
  expect_no_data(*state, &vectors, "train.safetensors: 'y' is in train-y.npy too: remove one of them");
  unlink(rt_path(*state, "train-y.npy"));
  const struct st_tensor longer = {"y", BT_I32, 1, {2}, classes};
  assert_true(st_write(path, &longer, 1, NULL, 0, err, sizeof err));
  expect_no_data(*state, &vectors, "nor a tensor of this name in train.safetensors");
  const struct st_tensor wrong = {"x", BT_F32, 2, {3, 2}, six};
  assert_true(st_write(path, &wrong, 1, NULL, 0, err, sizeof err));
  expect_no_data(*state, &vectors, "train.safetensors: tensor 'x': its shape is [rows, 2], the program was compiled for [rows, 3]");
  rt_write(path, "x", 1);
  expect_no_data(*state, &vectors, "train.safetensors: truncated");
}

static int setup(void **state) { return *state = rt_mkdir(), 0; }
static int teardown(void **state) { return rt_rmdir(*state), 0; }
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_FOLDER(test_versions),   WITH_FOLDER(test_spellings),   WITH_FOLDER(test_hostile_headers),
      WITH_FOLDER(test_truncation), WITH_FOLDER(test_conversions), WITH_FOLDER(test_vectors),
      WITH_FOLDER(test_images),     WITH_FOLDER(test_unfit),       WITH_FOLDER(test_tensors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
