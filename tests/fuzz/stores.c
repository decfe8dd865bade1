// stores.c: libFuzzer's target for the binary and JSON files that are read: safetensors, and the
// store of tuned variants. Both readers take paths; the input is put under one that names memory.
// As a store it is tried twice: as it is, and as this processor's entries, whose key a corpus
// cannot know.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../runtime/btrt_internal.h"
#include "fuzz.h"
#include "machine.h"
#include "regions.h"
#include "safetensors.h"

static void try_safetensors(const char *path) {
  char err[512];
  struct st_file *f = st_open(path, err, sizeof err);
  for (int i = 0; f && i < st_count(f); i++) {
    const struct st_tensor *t = st_at(f, i);
    size_t n = st_bytes(t);
    volatile unsigned char sum = 0; // every byte that it says is there must be
    for (size_t k = 0; k < n; k++) sum += ((const unsigned char *)t->data)[k];
    st_find(f, t->name);
  }
  if (f) st_metadata(f, "format");
  st_close(f);
}

static void try_tuned(const char *path) {
  struct btc *b = btc_new();
  struct target target;
  struct variant_request request;
  target_from_march(&target, "x86-64-v3");
  struct graph *g = graph_new(b, "p");
  graph_output(g, "out", BT_OUTPUT_VALUE, g_constant(g, BT_F32, 1));
  struct variant plain = {.name = "plain", .graph = g};
  struct region r = {.address = "p/out"};
  vec_push(b->arena, &r.variants, plain);
  setenv("BTC_TUNED", path, 1);
  tuned_choice(&r, &target, &request);
  btc_free(b);
}

static int in_memory(const void *data, size_t size, char path[64]) {
  int fd = memfd_create("input", 0);
  snprintf(path, 64, "/proc/self/fd/%d", fd);
  if (fd < 0 || write(fd, data, size) != (ssize_t)size) die("cannot write to memory");
  return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char path[64], processor[128], *wrapped;
  int fd = in_memory(data, size, path);
  try_safetensors(path);
  try_tuned(path);
  close(fd);
  machine_processor(processor, sizeof processor);
  int n =
      asprintf(&wrapped, "{\"version\": 1, \"processors\": {\"%s, %d threads, 8 lanes\": %.*s}}",
               processor, bt_cores_available(), (int)size, (const char *)data);
  if (n < 0) die("out of memory");
  fd = in_memory(wrapped, (size_t)n, path);
  try_tuned(path);
  close(fd);
  free(wrapped);
  return 0;
}
