// tuned.c: libFuzzer's target for the store of tuned variants. It is tried twice: the input as it is, and as
// this processor's entries, whose key a corpus cannot know.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>

#include "../../runtime/btrt_internal.h"
#include "fuzz.h"
#include "machine.h"
#include "regions.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char processor[128], *wrapped;
  try_tuned(fuzz_file(data, size).path);
  machine_processor(processor, sizeof processor);
  int n =
      asprintf(&wrapped, "{\"version\": 1, \"processors\": {\"%s, %d threads, 8 lanes\": %.*s}}",
               processor, bt_cores_available(), (int)size, (const char *)data);
  if (n < 0) die("out of memory");
  try_tuned(fuzz_file(wrapped, (size_t)n).path);
  free(wrapped);
  return 0;
}
