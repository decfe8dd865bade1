// embed.c: an encoder in a C program, without a framework: embed MODEL.so WEIGHTS.safetensors < batch > features
//
//   btc compile examples/points.btg --shared -o points.so
//   cc -O2 -fopenmp -Iruntime examples/embed.c build/libbtrt.a -ljansson -lz -ljpeg -lpng -lm -lopenblas -o embed
//   ./embed ./points.so run/pretrain/last.safetensors < batch > features
//
// It runs the program `knn`, whose output is what it evaluates: batches of f32 in, their features out. Labels stay 0:
// features need none.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "btrt_model.h"

static _Noreturn void fail(const char *what, const char *detail) {
  fprintf(stderr, "embed: %s%s\n", what, detail);
  exit(1);
}

int main(int argc, char **argv) {
  if (argc != 3) fail("usage: embed MODEL.so WEIGHTS.safetensors < batch > features", "");
  void *library = dlopen(argv[1], RTLD_NOW);
  if (!library) fail("", dlerror());
  const struct bt_module *module = dlsym(library, "bt_module");
  if (!module) fail("this is no model: ", argv[1]);
  char err[500];
  struct bt_model *model = bt_model_open(module, "knn", argv[2], err, sizeof err);
  if (!model) fail("", err);

  size_t batch, size;
  void *x = bt_model_input(model, "x", &batch);
  const void *features = bt_model_output(model, "features", &size);
  if (!x || !features) fail("`knn` does not make features of data x", "");
  size_t got;
  while ((got = fread(x, 1, batch, stdin)) == batch) {
    bt_model_run(model);
    fwrite(features, 1, size, stdout);
  }
  bt_model_close(model);
  if (got > 0) fail("the input ends within a batch", "");
  return 0;
}
