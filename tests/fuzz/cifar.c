// cifar.c: libFuzzer's target for CIFAR's binary files. The input without its first byte is every
// file of a set, that of the classes' names too; the first byte says which set.
#include "../../runtime/cifar.h"
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[2][8] = {{"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                         "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin",
                                         "batches.meta.txt"},
                                        {"train.bin", "test.bin", "fine_label_names.txt"}};
static char folders[2][300];

static void remove_folders(void) {
  for (int k = 0; k < 2; k++) {
    for (const char *const *name = names[k]; *name; name++) {
      char path[400];
      snprintf(path, sizeof path, "%s/%s", folders[k], *name);
      unlink(path);
    }
    rmdir(folders[k]);
  }
}

// Links to where the input will be.
static void make_folders(const char *target) {
  const char *base = getenv("TMPDIR");
  for (int k = 0; k < 2; k++) {
    snprintf(folders[k], sizeof folders[k], "%s/btrt-cifar-XXXXXX", base ? base : "/tmp");
    fuzz_expect(mkdtemp(folders[k]) != NULL);
    for (const char *const *name = names[k]; *name; name++) {
      char path[400];
      snprintf(path, sizeof path, "%s/%s", folders[k], *name);
      fuzz_expect(symlink(target, path) == 0);
    }
  }
  atexit(remove_folders);
}

static void try_split(const struct bt_cifar *c, bool test) {
  struct bt_cifar_split s;
  char err[512] = "";
  if (!bt_cifar_read(c, test, &s, err, sizeof err)) {
    fuzz_expect(!s.pixels && !s.labels && *err);
    return;
  }
  volatile unsigned char sum = 0;
  fuzz_expect(s.n > 0);
  for (int64_t i = 0; i < s.n * 3 * BT_CIFAR_SIDE * BT_CIFAR_SIDE; i++) sum += s.pixels[i];
  for (int64_t i = 0; i < s.n; i++) fuzz_expect(s.labels[i] >= 0 && s.labels[i] < c->classes);
  free(s.pixels), free(s.labels);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int which = size ? data[0] % 2 : 0;
  struct fuzz_file f = fuzz_file(data + (size > 0), size - (size > 0));
  if (!*folders[0]) make_folders(f.path);
  struct bt_cifar c;
  char err[512];
  fuzz_expect(bt_cifar_find(&c, folders[which], err, sizeof err) && c.kind);
  try_split(&c, false);
  try_split(&c, true);
  char **found = bt_cifar_names(&c);
  for (int i = 0; found && i < c.classes; i++) fuzz_expect(*found[i]), free(found[i]);
  free(found);
  return 0;
}
