// test_rt_checkpoint.c: what is saved comes back; what does not fit is named and changes nothing.
#define _GNU_SOURCE
#include "checkpoint.h"
#include "interchange.h"
#include "rt_module.h"
#include "rt_test.h"
#include "safetensors.h"

static char err[5000], changes[500];
static char store[256] __attribute__((aligned(64))), other[256] __attribute__((aligned(64)));
static double sums[3] = {1.0 / 3, -0.0, 1e300};
static const struct bt_progress_point point = {.seed = 1ull << 63,
                                               .step = 7,
                                               .steps = 20,
                                               .steps_per_epoch = 5,
                                               .best = {"loss", false, -1.0 / 7, 5},
                                               .epoch_steps = 2,
                                               .n_sums = 3,
                                               .sums = sums};

static void fill(void) {
  for (int i = 0; i < 256; i++) store[i] = (char)(i % 60), other[i] = 99;
}

static bool save(const char *path) {
  return bt_checkpoint_save(path, &rt_module, &rt_programs[0], store, &point, err, sizeof err);
}

static bool load_by(const struct bt_module *m, const char *path, struct bt_progress_point *got) {
  return bt_checkpoint_load(path, m, &rt_programs[0], other, got, changes, sizeof changes, err, sizeof err);
}

static bool load(const char *path, struct bt_progress_point *got) { return load_by(&rt_module, path, got); }

static void assert_point(const struct bt_progress_point *a, const struct bt_progress_point *b) {
  assert_true(a->seed == b->seed && a->step == b->step && a->steps == b->steps && a->steps_per_epoch == b->steps_per_epoch);
  assert_true(a->passes_due == b->passes_due && a->epoch_steps == b->epoch_steps);
  assert_string_equal(a->best.by, b->best.by);
  assert_true(a->best.highest == b->best.highest && a->best.step == b->best.step && a->best.value == b->best.value);
  assert_memory_equal(a->sums, b->sums, sizeof sums);
}

static void assert_stored(void) {
  for (int i = 0; i < 4; i++)
    assert_memory_equal(store + rt_tensors[i].offset, other + rt_tensors[i].offset, rt_tensors[i].bytes);
}

static void test_round_trip(void **state) {
  const char *path = rt_path(*state, "c.safetensors");
  double room[3] = {0};
  struct bt_progress_point got = {.n_sums = 3, .sums = room};
  fill();
  assert_true(save(path));
  assert_true(load(path, &got));
  assert_point(&got, &point);
  assert_string_equal(changes, "");
  assert_stored();
  got.n_sums = 2; // of a program with other outputs
  room[0] = 0;
  assert_true(load(path, &got));
  assert_true(got.epoch_steps == 0 && room[0] == 0);
}

// What a trainer is made of, against what the one was made of that wrote the checkpoint.
static void test_other_trainers(void **state) {
  const char *path = rt_path(*state, "c.safetensors");
  struct bt_progress_point got = {0};
  fill();
  assert_true(save(path));
  static const struct bt_source sources[] = {{"toy.btg", "", 9}, {"std/nn.btg", NULL, 3}, {"std/optim.btg", NULL, 4}};
  static const char *const options[] = {"-D batch=4"};
  struct bt_module edited = rt_module;
  edited.sources = sources, edited.options = options, edited.build = "by machine";
  assert_true(load_by(&edited, path, &got));
  assert_string_equal(changes, "toy.btg has changed; std/optim.btg is new; layers.btg is gone; it was compiled without -D batch=4; "
                               "it was compiled with -D batch=8; it was built by by hand, this trainer by by machine");
  edited = rt_module, edited.n_options = 0;
  assert_true(load_by(&edited, path, &got));
  assert_string_equal(changes, "it was compiled with -D batch=8");
  static const struct bt_source latin[] = {{"mod\xe8le.btg", "", 9}};
  edited = rt_module, edited.n_sources = 1, edited.sources = latin;
  assert_true(bt_checkpoint_save(path, &edited, &rt_programs[0], store, &point, err, sizeof err));
  assert_true(load_by(&edited, path, &got));
  assert_string_equal(changes, "");
}

static void expect_refused(const char *path, const char *why) {
  struct bt_progress_point got = {0};
  memset(other, 99, sizeof other);
  if (load(path, &got)) fail_msg("accepted, though: %s", why);
  rt_expect_text(err, why);
  for (int i = 0; i < 256; i++) assert_int_equal(other[i], 99);
}

// A file with the tensors of a good one and with these counters; NULL: without.
static void write_counters(const char *path, const char *step, const char *steps, const char *per_epoch, const char *passes,
                           const char *best) {
  struct st_tensor tensors[4];
  struct st_entry entries[8] = {{"btc.seed", "1"}};
  int n = 1;
  if (step) entries[n++] = (struct st_entry){"btc.step", step};
  if (steps) entries[n++] = (struct st_entry){"btc.steps", steps};
  if (per_epoch) entries[n++] = (struct st_entry){"btc.steps_per_epoch", per_epoch};
  if (passes) entries[n++] = (struct st_entry){"btc.passes", passes};
  if (best) entries[n++] = (struct st_entry){"btc.best.by", "loss"}, entries[n++] = (struct st_entry){"btc.best.value", "1"}, entries[n++] = (struct st_entry){"btc.best.step", best};
  for (int i = 0; i < 4; i++) {
    const struct bt_tensor *t = &rt_tensors[i];
    tensors[i] = (struct st_tensor){t->name, t->dtype, t->rank, {t->shape[0]}, store + t->offset};
  }
  assert_true(st_write(path, tensors, 4, entries, n, err, sizeof err));
}

// Likewise, with a best score that no run has written.
static void write_best(const char *path, const char *by, const char *value) {
  struct st_tensor tensors[4];
  const struct st_entry entries[] = {{"btc.seed", "1"}, {"btc.step", "10"}, {"btc.steps", "20"}, {"btc.steps_per_epoch", "5"},
                                     {"btc.best.by", by}, {"btc.best.value", value}, {"btc.best.step", "5"}};
  for (int i = 0; i < 4; i++) {
    const struct bt_tensor *t = &rt_tensors[i];
    tensors[i] = (struct st_tensor){t->name, t->dtype, t->rank, {t->shape[0]}, store + t->offset};
  }
  assert_true(st_write(path, tensors, 4, entries, 7, err, sizeof err));
}

// A run could not save such a name, cut in the middle of a letter, nor ever find better than NaN.
static void test_best_scores(void **state) {
  const char *path = rt_path(*state, "c.safetensors");
  struct bt_progress_point got = {0};
  char name[100] = "k";
  for (int i = 0; i < 40; i++) strcat(name, "é");
  fill();
  write_best(path, "judge knn", "0.5");
  if (!load(path, &got)) fail_msg("%s", err);
  write_best(path, name, "0.5");
  expect_refused(path, "make no sense (btc.best.by)");
  static const char *const values[] = {"nan", "-inf", "", "0.5 "};
  for (int i = 0; i < 4; i++) {
    write_best(path, "judge knn", values[i]);
    expect_refused(path, "make no sense (btc.best.value)");
  }
}

static void test_counters(void **state) {
  const char *path = rt_path(*state, "c.safetensors");
  struct bt_progress_point got = {0};
  fill();
  write_counters(path, "10", "20", "5", "due", "5");
  if (!load(path, &got)) fail_msg("%s", err);
  static const char *const wrong[][5] = {{"21", "20", "5"}, {"-1", "20", "5"}, {" 1", "20", "5"}, {"1x", "20", "5"}, {"", "20", "5"},
                                         {"1", "-20", "5"}, {"1", "20", "0"}, {"9223372036854775808", "9223372036854775808", "5"},
                                         {"99999999999999999999", "20", "5"}, {"7", "20", "5", "due"}, {"10", "20", "5", NULL, "11"},
                                         {"10", "20", "5", NULL, "-1"}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    write_counters(path, wrong[i][0], wrong[i][1], wrong[i][2], wrong[i][3], wrong[i][4]);
    expect_refused(path, "make no sense");
  }
  write_counters(path, NULL, "20", "5", NULL, NULL);
  expect_refused(path, "does not say where its run stood");
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
  const struct st_entry nonsense = {"btc.format", "1.5"};
  assert_true(st_write(path, NULL, 0, &nonsense, 1, err, sizeof err));
  expect_refused(path, "its format makes no sense");
  expect_refused(rt_path(*state, "absent"), "cannot open");
}

static void test_truncated(void **state) {
  const char *path = rt_path(*state, "c.safetensors");
  size_t n;
  fill();
  assert_true(save(path));
  char *whole = rt_read(path, &n);
  for (size_t i = 0; i < n; i++) rt_write(path, whole, i), expect_refused(path, "c.safetensors");
  free(whole);
}

// A bit of every byte: what is damaged is refused. A flip in the name of the checksum's entry leaves a file without
// one, and nothing else is wrong with it.
static void test_flipped(void **state) {
  const char *path = rt_path(*state, "c.safetensors");
  size_t n, taken = 0;
  fill();
  assert_true(save(path));
  char *whole = rt_read(path, &n);
  for (size_t i = 0; i < n; i++) {
    double room[3] = {0};
    struct bt_progress_point got = {.n_sums = 3, .sums = room};
    char bit = (char)(1 << i % 8);
    whole[i] ^= bit;
    rt_write(path, whole, n);
    whole[i] ^= bit;
    memset(other, 99, sizeof other);
    if (load(path, &got)) assert_point(&got, &point), assert_stored(), taken++;
    else assert_int_equal(other[0], 99);
  }
  assert_true(taken <= strlen(ST_CHECKSUM_KEY));
  free(whole);
}

static void test_instance(void **state) {
  const char *path = rt_path(*state, "c.safetensors"), *out = rt_path(*state, "e.safetensors");
  char note[500] = "";
  fill();
  assert_true(save(path));
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
  assert_true(save(path));
  assert_true(init(path, &rt_module, NULL, note));
  assert_string_equal(note, "");
  assert_memory_equal(store, other, 64);
  assert_int_equal(other[192], 99);
  char argument[600];
  snprintf(argument, sizeof argument, "model=%s", path);
  assert_true(init(argument, &rt_module, NULL, note));
  rt_expect_text(note, "model: 1 of 4 tensors in ");
  rt_expect_text(note, " are not its own, and are not used\n");
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
                                     WITH_FOLDER(test_truncated), WITH_FOLDER(test_flipped), WITH_FOLDER(test_counters), WITH_FOLDER(test_best_scores),
                                     WITH_FOLDER(test_other_trainers), WITH_FOLDER(test_instance),
                                     WITH_FOLDER(test_init),      WITH_FOLDER(test_init_from_checkpoint),
                                     WITH_FOLDER(test_init_refuses)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
