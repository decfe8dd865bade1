// checkpoint.c: libFuzzer's target for checkpoints and weights of other libraries, read into the tests' hand-made
// module; the input is a file as in safetensors.c.
#include "../../runtime/checkpoint.h"
#include "../../runtime/interchange.h"
#include "../unit/rt_module.h"
#include "fuzz.h"

static const struct bt_program *const fit = &rt_programs[0];
static char err[5000], note[2000];
static char store[256] __attribute__((aligned(BT_ALIGN)));

static void clear(void) { memset(store, 99, sizeof store), *note = 0; }

static void expect_untouched(void) {
  for (size_t i = 0; i < sizeof store; i++) fuzz_expect(store[i] == 99);
}

static bool is_point(const struct bt_progress_point *p) {
  return p->step >= 0 && p->steps >= 0 && p->steps_per_epoch >= 1;
}

static void try_resume(const char *path) {
  struct bt_progress_point point, peeked;
  bool changed, peek = bt_checkpoint_peek(path, &peeked, err, sizeof err);
  fuzz_expect(!peek || is_point(&peeked));
  clear();
  if (bt_checkpoint_load(path, &rt_module, fit, store, &point, &changed, err, sizeof err))
    fuzz_expect(peek && point.step == peeked.step && point.seed == peeked.seed && is_point(&point));
  else
    expect_untouched();
}

static void try_init(const char *path) {
  bool given[4] = {false};
  clear();
  if (!bt_instance_load(path, &rt_module, "model", store, given, note, sizeof note, err, sizeof err)) expect_untouched();
  clear();
  bt_instances_init(path, &rt_module, fit, store, given, note, sizeof note, err, sizeof err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct fuzz_file f = fuzz_file(data, size);
  try_resume(f.path), try_init(f.path);
  f = fuzz_safetensors(data, size);
  try_resume(f.path), try_init(f.path);
  return 0;
}
