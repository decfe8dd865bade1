// test_rt_checkpoint.c: what is saved comes back; what does not fit is named and changes nothing.
#define _GNU_SOURCE
#include "checkpoint.h"
#include "interchange.h"
#include "rt_module.h"
#include "rt_test.h"
#include "safetensors.h"

static char err[5000];
static char store[256] __attribute__((aligned(64))), other[256] __attribute__((aligned(64)));
static const struct bt_progress_point point = {
    .seed = 1ull << 63, .step = 7, .steps = 20, .steps_per_epoch = 5};

static void fill(void) {
  for (int i = 0; i < 256; i++) store[i] = (char)(i % 60), other[i] = 99;
}

static bool load(const char *path, struct bt_progress_point *got, bool *changed) {
  return bt_checkpoint_load(path, &rt_module, &rt_programs[0], other, got, changed, err,
                            sizeof err);
}

static void test_round_trip(void **state) {
  const char *path = rt_path(*state, "c.safetensors");
  struct bt_progress_point got;
  bool changed;
  fill();
  assert_true(
      bt_checkpoint_save(path, &rt_module, &rt_programs[0], store, &point, err, sizeof err));
  assert_true(load(path, &got, &changed));
  assert_memory_equal(&got, &point, sizeof got);
  assert_false(changed);
  for (int i = 0; i < 4; i++)
    assert_memory_equal(store + rt_tensors[i].offset, other + rt_tensors[i].offset,
                        rt_tensors[i].bytes);
  struct bt_module edited = rt_module;
  edited.source_text = "another toy";
  assert_true(
      bt_checkpoint_load(path, &edited, &rt_programs[0], other, &got, &changed, err, sizeof err));
  assert_true(changed);
}

static void expect_refused(const char *path, const char *why) {
  struct bt_progress_point got;
  bool changed;
  memset(other, 99, sizeof other);
  if (load(path, &got, &changed)) fail_msg("accepted, though: %s", why);
  rt_expect_text(err, why);
  for (int i = 0; i < 256; i++) assert_int_equal(other[i], 99);
}

static void test_other_models(void **state) {
  const char *path = rt_path(*state, "c.safetensors");
  struct bt_tensor tensors[4];
  struct bt_module m = rt_module;
  memcpy(tensors, rt_tensors, sizeof tensors);
  m.tensors = tensors;
  fill();
  tensors[0].name = "model.wait", tensors[1].dtype = BT_I32;
  assert_true(bt_checkpoint_save(path, &m, &rt_programs[0], store, &point, err, sizeof err));
  expect_refused(path, "1 missing: model.weight");
  rt_expect_text(err, "of another shape: model.bias (i32[1] in the file, f32[1] in the program)");
  rt_expect_text(err, "that the program does not have: model.wait");
  struct bt_program p = rt_programs[0];
  p.name = "other";
  assert_true(bt_checkpoint_save(path, &rt_module, &p, store, &point, err, sizeof err));
  expect_refused(path, "written by the program 'other'");
  const struct st_entry newer = {"btc.format", "2"};
  assert_true(st_write(path, NULL, 0, &newer, 1, err, sizeof err));
  expect_refused(path, "newer btc");
  expect_refused(rt_path(*state, "absent"), "cannot open");
}

// A file of all tensors whose `key` says `value`.
static void write_point(const char *path, const char *key, const char *value) {
  struct st_tensor tensors[4];
  struct st_entry metadata[] = {{"btc.seed", "1"}, {"btc.step", "7"}, {"btc.steps", "20"}, {"btc.steps_per_epoch", "5"}};
  for (int i = 0; i < 4; i++) {
    if (strcmp(metadata[i].key, key) == 0) metadata[i].value = value;
    tensors[i] = (struct st_tensor){rt_tensors[i].name, rt_tensors[i].dtype, rt_tensors[i].rank, {0}, store + rt_tensors[i].offset};
    memcpy(tensors[i].shape, rt_tensors[i].shape, sizeof tensors[i].shape);
  }
  assert_true(st_write(path, tensors, 4, metadata, 4, err, sizeof err));
}

static void test_counters(void **state) {
  static const struct { const char *key, *value, *why; } cases[] = {
      {"btc.step", "", "(no btc.step)"},      {"btc.step", "-1", "(no btc.step)"},
      {"btc.seed", "-1", "(no btc.seed)"},    {"btc.seed", "18446744073709551616", "(no btc.seed)"},
      {"btc.seed", " 1", "(no btc.seed)"},    {"btc.steps", "2x", "(no btc.steps)"},
      {"btc.steps", "9223372036854775808", "make no sense"}, {"btc.steps_per_epoch", "0", "make no sense"}};
  const char *path = rt_path(*state, "c.safetensors");
  struct bt_progress_point got;
  bool changed;
  fill();
  write_point(path, "btc.seed", "18446744073709551615");
  assert_true(load(path, &got, &changed));
  assert_true(got.seed == UINT64_MAX && got.step == 7);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    write_point(path, cases[i].key, cases[i].value);
    expect_refused(path, cases[i].why);
  }
}

static void test_truncated(void **state) {
  const char *path = rt_path(*state, "c.safetensors");
  size_t n;
  fill();
  assert_true(
      bt_checkpoint_save(path, &rt_module, &rt_programs[0], store, &point, err, sizeof err));
  char *whole = rt_read(path, &n);
  for (size_t i = 0; i < n; i += 13)
    rt_write(path, whole, i), expect_refused(path, "c.safetensors");
  free(whole);
}

static void test_instance(void **state) {
  const char *path = rt_path(*state, "c.safetensors"), *out = rt_path(*state, "e.safetensors");
  char note[500] = "";
  fill();
  assert_true(
      bt_checkpoint_save(path, &rt_module, &rt_programs[0], store, &point, err, sizeof err));
  assert_true(bt_instance_load(path, &rt_module, "model", other, NULL, note, sizeof note, err, sizeof err));
  assert_string_equal(note, ""); // a checkpoint of ours is nothing to speak of
  assert_memory_equal(store, other, 64);
  assert_int_equal(other[192], 99); // not the optimiser's
  assert_false(bt_instance_load(path, &rt_module, "mod", other, NULL, note, sizeof note, err, sizeof err));
  rt_expect_text(err, "no instance 'mod'");
  assert_true(bt_instance_export(path, out, &rt_module, "model", note, sizeof note, err, sizeof err));
  rt_expect_text(note, "model: 3 tensors to ");
  struct st_file *f = st_open(out, err, sizeof err);
  assert_int_equal(st_count(f), 3);
  assert_memory_equal(st_find(f, "weight")->data, store, 64);
  st_close(f);
}

// ---- files of other libraries -----------------------------------------------------------------

static const float weights[RT_PIXELS] = {1, 2, 3}, bias[1] = {4};
static const int64_t seen = 5, tracked = 6;

// The tensors of `model` as another library would have them: bare names, and more than are wanted.
static const struct st_tensor foreign[] = {
    {"weight", BT_F32, 1, {RT_PIXELS}, weights},        {"bias", BT_F32, 1, {1}, bias},
    {"seen", BT_I64, 0, {0}, &seen},                    {"fc.weight", BT_F32, 1, {1}, bias},
    {"bn.num_batches_tracked", BT_I64, 0, {0}, &tracked}, {"layer9.weight", BT_F32, 1, {1}, bias}};

static bool init(const char *argument, const struct bt_module *m, bool *given, char *note) {
  memset(other, 99, sizeof other), *note = 0;
  return bt_instances_init(argument, m, &rt_programs[0], other, given, note, 500, err, sizeof err);
}

static void test_init(void **state) {
  const char *path = rt_path(*state, "foreign.safetensors");
  char note[500], argument[600];
  bool given[4] = {false};
  assert_true(st_write(path, foreign, 5, NULL, 0, err, sizeof err));
  if (!init(path, &rt_module, given, note)) fail_msg("%s", err);
  rt_expect_text(note, "model: 3 tensors from ");
  rt_expect_text(note, "; ignored: fc.weight, 1 num_batches_tracked\n");
  assert_memory_equal(other, weights, sizeof weights);
  assert_memory_equal(other + 128, &seen, sizeof seen);
  assert_int_equal(other[192], 99);
  assert_true(given[0] && given[1] && given[2] && !given[3]);
  snprintf(argument, sizeof argument, "model=%s", path);
  assert_true(init(argument, &rt_module, NULL, note));
  assert_memory_equal(other, weights, sizeof weights);
  assert_true(bt_instance_load(path, &rt_module, "model", other, NULL, note, 500, err, sizeof err));
  const char *out = rt_path(*state, "out.safetensors");
  assert_true(bt_instance_export(path, out, &rt_module, "model", note, 500, err, sizeof err));
  struct st_file *f = st_open(out, err, sizeof err);
  assert_int_equal(st_count(f), 3);
  assert_memory_equal(st_find(f, "weight")->data, weights, sizeof weights);
  st_close(f);
}

// A checkpoint by its names: the optimiser's state is not taken.
static void test_init_from_checkpoint(void **state) {
  const char *path = rt_path(*state, "c.safetensors");
  char note[500];
  fill();
  assert_true(bt_checkpoint_save(path, &rt_module, &rt_programs[0], store, &point, err, sizeof err));
  assert_true(init(path, &rt_module, NULL, note));
  assert_memory_equal(store, other, 64);
  assert_int_equal(other[192], 99);
}

static void expect_no_init(const char *argument, const struct bt_module *m, const char *why) {
  char note[500];
  if (init(argument, m, NULL, note)) fail_msg("accepted, though: %s", why);
  rt_expect_text(err, why);
  for (int i = 0; i < 256; i++) assert_int_equal(other[i], 99);
}

static void test_init_refuses(void **state) {
  const char *path = rt_path(*state, "foreign.safetensors");
  struct st_tensor changed[6];
  char argument[600];
  memcpy(changed, foreign, sizeof foreign);
  assert_true(st_write(path, changed, 6, NULL, 0, err, sizeof err));
  expect_no_init(path, &rt_module, "does not fit 'model'");
  rt_expect_text(err, "1 that the program does not have: layer9.weight");
  changed[0].shape[0]--, changed[1].dtype = BT_I32;
  assert_true(st_write(path, changed, 2, NULL, 0, err, sizeof err));
  expect_no_init(path, &rt_module, "1 missing: seen");
  rt_expect_text(err, "model.weight (f32[15] in the file, f32[16] in the program), model.bias (i32[1]");
  assert_true(st_write(path, foreign + 3, 3, NULL, 0, err, sizeof err));
  expect_no_init(path, &rt_module, "has no tensor of this program");
  snprintf(argument, sizeof argument, "models=%s", path);
  expect_no_init(argument, &rt_module, "no instance 'models'");
  expect_no_init(rt_path(*state, "absent"), &rt_module, "cannot open");
  struct bt_tensor tensors[4];
  struct bt_module two = rt_module;
  memcpy(tensors, rt_tensors, sizeof tensors);
  tensors[1].name = "twin.weight", two.tensors = tensors;
  assert_true(st_write(path, foreign, 1, NULL, 0, err, sizeof err));
  expect_no_init(path, &two, "could be 'model' or 'twin': give --init model=");
}

static int setup(void **state) { return *state = rt_mkdir(), 0; }
static int teardown(void **state) { return rt_rmdir(*state), 0; }
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {WITH_FOLDER(test_round_trip), WITH_FOLDER(test_other_models),
                                     WITH_FOLDER(test_truncated), WITH_FOLDER(test_counters), WITH_FOLDER(test_instance),
                                     WITH_FOLDER(test_init),      WITH_FOLDER(test_init_from_checkpoint),
                                     WITH_FOLDER(test_init_refuses)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
