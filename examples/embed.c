// embed.c: an encoder in a C program, without a framework: embed MODEL.so WEIGHTS.safetensors < batch > features
//
//   btc compile examples/points.btg --shared -o points.so
//   cc -O2 -fopenmp -Iruntime examples/embed.c build/libbtrt.a -ljansson -lz -ljpeg -lpng -lm -lopenblas -o embed
//   ./embed ./points.so run/pretrain/last.safetensors < batch > features
//
// It runs the program `knn`, whose output is what it evaluates: one batch of f32 in, its features out. MODEL.so
// exports `bt_module` (runtime/btrt.h): tables, and a step function for each program. Whoever calls a step owns the
// memory: the store with the weights, the arena, scratch for each thread, inputs and outputs.
#include <dlfcn.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "btrt.h"
#include "safetensors.h"

static _Noreturn void fail(const char *what, const char *detail) {
  fprintf(stderr, "embed: %s%s\n", what, detail);
  exit(1);
}

static size_t size_of(enum bt_dtype dtype, int rank, const int64_t *shape) {
  size_t size = dtype == BT_F64 || dtype == BT_I64 ? 8 : dtype == BT_U8 || dtype == BT_BOOL ? 1 : 4;
  for (int i = 0; i < rank; i++) size *= (size_t)shape[i];
  return size;
}

static void *block(size_t size) {
  size = (size / BT_ALIGN + 1) * BT_ALIGN;
  void *p = aligned_alloc(BT_ALIGN, size);
  return p ? memset(p, 0, size) : (fail("out of memory", ""), NULL);
}

static const struct bt_program *find_program(const struct bt_module *m, const char *name) {
  for (int i = 0; i < m->n_programs; i++)
    if (strcmp(m->programs[i].name, name) == 0) return &m->programs[i];
  fail("the model has no program ", name);
}

static char *read_store(const struct bt_module *m, const struct bt_program *p, const char *path) {
  char err[256], *store = block(m->store_bytes);
  struct st_file *file = st_open(path, err, sizeof err);
  if (!file) fail("", err);
  for (int i = 0; i < p->n_tensors; i++) {
    const struct bt_tensor *t = &m->tensors[p->tensors[i]];
    const struct st_tensor *s = st_find(file, t->name);
    if (!s || s->dtype != t->dtype || st_bytes(s) != t->bytes) fail("the file has no fitting ", t->name);
    memcpy(store + t->offset, s->data, t->bytes);
  }
  st_close(file);
  return store;
}

int main(int argc, char **argv) {
  if (argc != 3) fail("usage: embed MODEL.so WEIGHTS.safetensors < batch > features", "");
  void *library = dlopen(argv[1], RTLD_NOW);
  if (!library) fail("", dlerror());
  const struct bt_module *m = dlsym(library, "bt_module");
  if (!m || m->abi != BT_ABI) fail("no model of this version: ", argv[1]);
  const struct bt_program *p = find_program(m, "knn");

  void **inputs = calloc((size_t)p->n_inputs + 1, sizeof *inputs);
  void **outputs = calloc((size_t)p->n_outputs + 1, sizeof *outputs);
  if (!inputs || !outputs) fail("out of memory", "");
  for (int i = 0; i < p->n_inputs; i++) {
    const struct bt_input *in = &p->inputs[i];
    size_t size = size_of(in->dtype, in->rank, in->shape);
    inputs[i] = block(size);
    bool given = in->kind == BT_INPUT_ARRAY || in->kind == BT_INPUT_VIEW; // labels stay 0: features need none
    if (given && fread(inputs[i], 1, size, stdin) != size) fail("the input ends within a batch", "");
  }
  for (int i = 0; i < p->n_outputs; i++)
    outputs[i] = block(size_of(p->outputs[i].dtype, p->outputs[i].rank, p->outputs[i].shape));

  struct bt_frame frame = {
      .store = read_store(m, p, argv[2]),
      .arena = block(p->arena_bytes),
      .thread_scratch = block(p->thread_bytes * (size_t)omp_get_max_threads()),
      .inputs = inputs,
      .outputs = outputs,
  };
  p->step(&frame); // as often as there are batches
  int features = p->evaluates[0].features;
  const struct bt_output *out = &p->outputs[features];
  fwrite(outputs[features], 1, size_of(out->dtype, out->rank, out->shape), stdout);
  return 0;
}
