// safetensors.c: libFuzzer's target for the reader of safetensors files: the input as a file, and
// with a header whose length is right.
#include "../../runtime/safetensors.h"
#include "fuzz.h"

static void try(const char *path) {
  char err[512];
  struct st_file *f = st_open(path, err, sizeof err);
  for (int i = 0; f && i < st_count(f); i++) {
    const struct st_tensor *t = st_at(f, i);
    size_t n = st_bytes(t);
    volatile unsigned char sum = 0; // every byte that it says is there must be
    for (size_t k = 0; k < n; k++) sum += ((const unsigned char *)t->data)[k];
    fuzz_expect((uintptr_t)t->data % BT_ALIGN == 0);
    fuzz_expect(st_find(f, t->name) == t);
  }
  if (f) st_metadata(f, "format");
  st_close(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  try(fuzz_file(data, size).path);
  try(fuzz_safetensors(data, size).path);
  return 0;
}
