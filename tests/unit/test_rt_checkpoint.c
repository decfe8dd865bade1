// test_rt_checkpoint.c: what is saved comes back; what does not fit is named and changes nothing.
#define _GNU_SOURCE
#include "checkpoint.h"
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
  int n;
  fill();
  assert_true(
      bt_checkpoint_save(path, &rt_module, &rt_programs[0], store, &point, err, sizeof err));
  assert_true(bt_checkpoint_load_instance(path, &rt_module, "model", other, err, sizeof err));
  assert_memory_equal(store, other, 64);
  assert_int_equal(other[192], 99); // not the optimiser's
  assert_false(bt_checkpoint_load_instance(path, &rt_module, "mod", other, err, sizeof err));
  rt_expect_text(err, "no instance 'mod'");
  assert_true(bt_checkpoint_export(path, out, &rt_module, "model", &n, err, sizeof err));
  assert_int_equal(n, 3);
  struct st_file *f = st_open(out, err, sizeof err);
  assert_int_equal(st_count(f), 3);
  assert_memory_equal(st_find(f, "weight")->data, store, 64);
  st_close(f);
}

static int setup(void **state) { return *state = rt_mkdir(), 0; }
static int teardown(void **state) { return rt_rmdir(*state), 0; }
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {WITH_FOLDER(test_round_trip), WITH_FOLDER(test_other_models),
                                     WITH_FOLDER(test_truncated), WITH_FOLDER(test_instance)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
