// checkpoint.c: libFuzzer's target for checkpoints and weights of other libraries, read into the
// tests' hand-made module; the input is a file as in safetensors.c. What was loaded is saved, and
// must come back.
#include "../../runtime/checkpoint.h"
#include "../../runtime/interchange.h"
#include "../unit/rt_module.h"
#include "fuzz.h"

#include <stdio.h>
#include <unistd.h>

static const struct bt_program *const fit = &rt_programs[0];
static char err[5000], note[2000], changes[1000];
static double sums[16], sums_again[16];
static char store[256] __attribute__((aligned(BT_ALIGN)));

static void clear(void) { memset(store, 99, sizeof store), *note = 0; }

static void expect_untouched(void) {
  for (size_t i = 0; i < sizeof store; i++) fuzz_expect(store[i] == 99);
}

static bool is_point(const struct bt_progress_point *p) {
  return p->step >= 0 && p->steps >= 0 && p->steps_per_epoch >= 1;
}

// A pipe is written directly, and has room for the file.
static void expect_round_trip(const struct bt_progress_point *point) {
  static char first[sizeof store], file[8192];
  char path[64];
  int ends[2];
  memcpy(first, store, sizeof store);
  fuzz_expect(pipe(ends) == 0);
  snprintf(path, sizeof path, FUZZ_FOLDER "/%d", ends[1]);
  fuzz_expect(bt_checkpoint_save(path, &rt_module, fit, store, point, err, sizeof err));
  ssize_t n = read(ends[0], file, sizeof file);
  close(ends[0]), close(ends[1]);
  fuzz_expect(n > 0 && n < (ssize_t)sizeof file);
  struct bt_progress_point again = {.n_sums = fit->n_outputs, .sums = sums_again};
  clear();
  fuzz_expect(bt_checkpoint_load(fuzz_file(file, (size_t)n).path, &rt_module, fit, store, &again, changes, sizeof changes, err, sizeof err));
  fuzz_expect(!*changes && again.seed == point->seed && again.step == point->step && again.steps == point->steps &&
              again.steps_per_epoch == point->steps_per_epoch && again.passes_due == point->passes_due &&
              again.epoch_steps == point->epoch_steps && again.best.step == point->best.step);
  fuzz_expect(memcmp(first, store, sizeof store) == 0);
}

static void try_resume(const char *path) {
  struct bt_progress_point point = {.n_sums = fit->n_outputs, .sums = sums}, peeked = {0};
  bool peek = bt_checkpoint_peek(path, &peeked, err, sizeof err);
  fuzz_expect(!peek || is_point(&peeked));
  clear();
  if (bt_checkpoint_load(path, &rt_module, fit, store, &point, changes, sizeof changes, err, sizeof err)) {
    fuzz_expect(peek && point.step == peeked.step && point.seed == peeked.seed && is_point(&point));
    expect_round_trip(&point);
  } else {
    expect_untouched();
  }
}

static void try_init(const char *path) {
  bool given[4] = {false};
  clear();
  if (!bt_instance_load(path, &rt_module, "model", store, given, note, sizeof note, err,
                        sizeof err))
    expect_untouched();
  clear();
  bt_instances_init(path, &rt_module, fit, store, given, note, sizeof note, err, sizeof err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  try_init(fuzz_file(data, size).path);
  try_resume(fuzz_file(data, size).path);
  try_init(fuzz_safetensors(data, size).path);
  try_resume(fuzz_safetensors(data, size).path);
  return 0;
}
