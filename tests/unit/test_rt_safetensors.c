// test_rt_safetensors.c: round trips, every truncation, and each way a header can lie.
#define _GNU_SOURCE
#include "rt_test.h"
#include "safetensors.h"

static char err[1000];

static const float floats[6] = {1, -2, 3.5f, 0, 1e-30f, 6};
static const double doubles[2] = {1.0 / 3, -1e300};
static const int64_t longs[1] = {-5};
static const uint8_t bytes[3] = {1, 2, 255};

static int make(const char *path) {
  const struct st_tensor tensors[] = {{"bytes", BT_U8, 1, {3}, bytes},
                                      {"a.floats", BT_F32, 2, {2, 3}, floats},
                                      {"doubles", BT_F64, 1, {2}, doubles},
                                      {"scalar", BT_I64, 0, {0}, longs},
                                      {"empty", BT_F32, 2, {0, 4}, NULL}};
  const struct st_entry meta[] = {{"note", "größe \"quoted\"\n"}, {"n", "1"}};
  return st_write(path, tensors, 5, meta, 2, err, sizeof err);
}

static void test_round_trip(void **state) {
  const char *path = rt_path(*state, "t.safetensors");
  assert_true(make(path));
  assert_int_equal(rt_files_in(*state), 1);
  struct st_file *f = st_open(path, err, sizeof err);
  assert_non_null(f);
  assert_int_equal(st_count(f), 5);
  const struct st_tensor *t = st_find(f, "a.floats");
  assert_int_equal(t->rank, 2);
  assert_int_equal(t->shape[1], 3);
  assert_int_equal((uintptr_t)t->data % BT_ALIGN, 0);
  assert_memory_equal(t->data, floats, sizeof floats);
  assert_memory_equal(st_find(f, "doubles")->data, doubles, sizeof doubles);
  assert_memory_equal(st_find(f, "bytes")->data, bytes, sizeof bytes);
  assert_memory_equal(st_find(f, "scalar")->data, longs, sizeof longs);
  assert_int_equal(st_bytes(st_find(f, "empty")), 0);
  assert_string_equal(st_metadata(f, "note"), "größe \"quoted\"\n");
  assert_null(st_metadata(f, "none"));
  assert_null(st_find(f, "none"));
  st_close(f);
}

static void test_truncation_at_every_byte(void **state) {
  const char *path = rt_path(*state, "t.safetensors"), *cut = rt_path(*state, "cut.safetensors");
  size_t n;
  assert_true(make(path));
  char *whole = rt_read(path, &n);
  for (size_t i = 0; i < n; i++) {
    rt_write(cut, whole, i);
    struct st_file *f = st_open(cut, err, sizeof err);
    if (f) fail_msg("%zu of %zu bytes were taken for a file", i, n);
    rt_expect_text(err, cut);
  }
  free(whole);
}

// Every flipped bit must be noticed, in the header too, but for those that rename the checksum: a
// file without one is good. None may crash.
static void test_damage_at_every_byte(void **state) {
  const char *path = rt_path(*state, "t.safetensors"), *bad = rt_path(*state, "bad.safetensors");
  size_t n;
  assert_true(make(path));
  char *whole = rt_read(path, &n);
  size_t key = (size_t)((char *)memmem(whole, n, ST_CHECKSUM_KEY, strlen(ST_CHECKSUM_KEY)) - whole);
  for (size_t i = 0; i < n; i++)
    for (int flip = 1; flip < 256; flip <<= 1) {
      whole[i] ^= (char)flip;
      rt_write(bad, whole, n);
      struct st_file *f = st_open(bad, err, sizeof err);
      bool renames = i >= key && i < key + strlen(ST_CHECKSUM_KEY);
      if (f && !renames) fail_msg("damage at byte %zu went unseen", i);
      st_close(f);
      whole[i] ^= (char)flip;
    }
  free(whole);
}

// A file of `header` and n bytes of data.
static void expect_refused(const char *folder, const char *header, size_t n, const char *why) {
  const char *path = rt_path(folder, "h.safetensors");
  size_t length = strlen(header), size = 8 + length + n;
  char *whole = calloc(size, 1);
  for (int i = 0; i < 8; i++) whole[i] = (char)(length >> (8 * i));
  memcpy(whole + 8, header, length);
  rt_write(path, whole, size);
  free(whole);
  struct st_file *f = st_open(path, err, sizeof err);
  if (f) fail_msg("accepted %s", header);
  rt_expect_text(err, why);
}

static void test_lying_headers(void **state) {
#define T(dtype, shape, at) "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" at "}"
  const struct {
    const char *header;
    size_t n;
    const char *why;
  } cases[] = {
      {"[1]", 0, "not a JSON object"},
      {"{\"a\":", 0, "not valid JSON"},
      {"{\"a\":1}", 0, "not described"},
      {"{\"a\":" T("F16", "[2]", "[0,4]") "}", 4, "F16"},
      {"{\"a\":" T("BF16", "[2]", "[0,4]") "}", 4, "not supported"},
      {"{\"a\":" T("F32", "[2]", "[0,4]") "}", 4, "need 8"},
      {"{\"a\":" T("F32", "[2]", "[0,8]") "}", 4, "truncated"},
      {"{\"a\":" T("F32", "[1]", "[0,4]") "}", 5, "1 bytes after the last tensor"},
      {"{\"a\":" T("F32", "[1]", "[4,8]") "}", 8, "belong to no tensor"},
      {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"b\":" T("F32", "[1]", "[0,4]") "}", 4, "overlaps"},
      {"{\"a\":" T("F32", "[1]", "[0,4]") ",\"a\":" T("F32", "[1]", "[0,4]") "}", 4, "duplicate"},
      {"{\"a\":" T("F32", "[-1]", "[0,4]") "}", 4, "not a size"},
      {"{\"a\":" T("F32", "[1.5]", "[0,4]") "}", 4, "not a size"},
      {"{\"a\":" T("F32", "[4294967296,4294967296]", "[0,4]") "}", 4, "too large"},
      {"{\"a\":" T("F32", "[1,1,1,1,1,1,1]", "[0,4]") "}", 4, "at most 6"},
      {"{\"a\":" T("F32", "[1]", "[4,0]") "}", 4, "data_offsets"},
      {"{\"a\":" T("F32", "[1]", "[0]") "}", 4, "data_offsets"},
      {"{\"a\":" T("F32", "7", "[0,4]") "}", 4, "no shape"},
      {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "no dtype"},
      {"{\"__metadata__\":{\"a\":1}}", 0, "not a string"},
      {"{\"__metadata__\":7}", 0, "not an object"},
      {"{\"__metadata__\":{\"btc.crc32\":\"12345678\"},\"a\":" T("F32", "[1]", "[0,4]") "}", 4,
       "damaged"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    expect_refused(*state, cases[i].header, cases[i].n, cases[i].why);
  rt_write(rt_path(*state, "big.safetensors"), "\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10);
  assert_null(st_open(rt_path(*state, "big.safetensors"), err, sizeof err));
  rt_expect_text(err, "not a safetensors file");
  assert_null(st_open(rt_path(*state, "absent"), err, sizeof err));
  rt_expect_text(err, "No such file");
  assert_null(st_open(*state, err, sizeof err));
  rt_expect_text(err, "not a file");
}

static void test_failed_write_keeps_the_old_file(void **state) {
  const char *path = rt_path(*state, "t.safetensors"), *copy = rt_path(*state, "copy");
  size_t n;
  assert_true(make(path));
  char *whole = rt_read(path, &n);
  rt_write(copy, whole, n);
  free(whole);
  const struct st_tensor bad = {"\xff", BT_U8, 1, {3}, bytes}; // not UTF-8
  assert_false(st_write(path, &bad, 1, NULL, 0, err, sizeof err));
  rt_expect_text(err, "UTF-8");
  assert_false(make("/dev/full"));
  rt_expect_text(err, "No space left");
  assert_false(make(rt_path(*state, "absent/t.safetensors")));
  assert_false(make(*state));
  rt_expect_text(err, "folder");
  assert_true(rt_same_file(path, copy));
  assert_int_equal(rt_files_in(*state), 2);
}

// A disk that fills up: the file size limit stands in for it.
static void test_full_disk(void **state) {
  const char *path = rt_path(*state, "t.safetensors");
  char command[1024];
  assert_true(make(path));
  char self[512];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  assert_true(length > 0);
  self[length] = 0;
  snprintf(command, sizeof command, "trap '' XFSZ; ulimit -f 0; exec '%s' --write '%s'", self,
           path);
  assert_int_not_equal(system(command), 0);
  struct st_file *f = st_open(path, err, sizeof err);
  assert_non_null(f); // the old file, whole
  st_close(f);
  assert_int_equal(rt_files_in(*state), 1);
}

static void test_foreign_file(void **state) {
  (void)state;
  const char *path = rt_reference("augment_fixed.safetensors");
  if (!path) skip();
  struct st_file *f = st_open(path, err, sizeof err);
  assert_non_null(f);
  assert_int_equal(st_find(f, "image")->shape[2], 3);
  st_close(f);
}

static int setup(void **state) { return *state = rt_mkdir(), 0; }
static int teardown(void **state) { return rt_rmdir(*state), 0; }

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "--write") == 0) return make(argv[2]) ? 0 : 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
      cmocka_unit_test_setup_teardown(test_truncation_at_every_byte, setup, teardown),
      cmocka_unit_test_setup_teardown(test_damage_at_every_byte, setup, teardown),
      cmocka_unit_test_setup_teardown(test_lying_headers, setup, teardown),
      cmocka_unit_test_setup_teardown(test_failed_write_keeps_the_old_file, setup, teardown),
      cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
      cmocka_unit_test(test_foreign_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
