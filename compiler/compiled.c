// compiled.c: compiled programs inside this process. See compiled.h.
//
// A shared object leaves the runtime's symbols to the process (btc is linked with -rdynamic); BLAS is
// the one that the process has, set up once by bt_blas_init.
#include <dlfcn.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../runtime/btrt_internal.h"
#include "compiled.h"
#include "native.h"

static const struct loc nowhere;

// The runtime names OpenBLAS weakly, so that trainers without products need no BLAS; this strong name
// keeps the linker from leaving it out of a process that loads trainers.
extern void openblas_set_num_threads(int threads);

// ---- building ---------------------------------------------------------------------------------

bool compiled_build(struct model *m, const struct host *host, const char *so_file, const char **c_file) {
  struct btc *b = m->b;
  struct target target;
  target_from_march(&target, host->march);
  struct codegen *cg = codegen_model(m, &target);
  if (!cg) return false;
  const char *path = str_printf(b->arena, "%s.c", so_file);
  bool good = native_build(cg, host, path, so_file, true);
  if (c_file) *c_file = path;
  else unlink(path);
  return good;
}

bool compiled_load(struct btc *b, const char *so_file, struct compiled *native) {
  const char *path = strchr(so_file, '/') ? so_file : str_printf(b->arena, "./%s", so_file);
  *native = (struct compiled){.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL)};
  if (!native->handle) return diag_error(b, nowhere, "cannot load the compiled program: %s", dlerror()), false;
  native->module = dlsym(native->handle, "bt_module");
  if (native->module && native->module->abi == BT_ABI) return true;
  diag_error(b, nowhere, "%s is not a module of this btc", so_file);
  compiled_unload(native);
  return false;
}

void compiled_unload(struct compiled *native) {
  if (native->handle) dlclose(native->handle);
  *native = (struct compiled){0};
}

bool compiled_open(struct model *m, const struct host *host, bool keep_c, struct compiled *native) {
  const char *folder = temporary_folder(m->b), *c_file = NULL;
  if (!folder) return false;
  const char *so_file = str_printf(m->b->arena, "%s/module.so", folder);
  bool good = compiled_build(m, host, so_file, &c_file) && compiled_load(m->b, so_file, native);
  temporary_folder_end(folder, keep_c ? c_file : NULL);
  return good;
}

const struct bt_program *compiled_program(const struct compiled *native, const char *name) {
  for (int i = 0; i < native->module->n_programs; i++)
    if (str_eq(native->module->programs[i].name, name)) return &native->module->programs[i];
  return NULL;
}

// ---- memory between guard zones ---------------------------------------------------------------
// A zone is a few cache lines of a pattern. The far one begins right after the last byte.
enum { GUARD_BYTES = 4 * BT_ALIGN, GUARD_PATTERN = 0xA5 };

// In memory as a trainer's is: large blocks in huge pages.
struct compiled_block {
  const char *name;
  struct bt_block memory;
  unsigned char *base; // of the near zone
  size_t bytes;
};

static void block_guard(const struct compiled_block *block) {
  memset(block->base, GUARD_PATTERN, GUARD_BYTES);
  memset(block->base + GUARD_BYTES + block->bytes, GUARD_PATTERN, GUARD_BYTES);
}

static void *block_new(struct compiled_frame *f, const char *name, size_t bytes) {
  struct compiled_block *block = &f->blocks[f->n_blocks++];
  *block = (struct compiled_block){.name = name, .bytes = bytes};
  char err[256];
  bool good = bt_block_new(&block->memory, bytes + 2 * GUARD_BYTES, name, err, sizeof err);
  expect(good, "%s", err);
  block->base = block->memory.data;
  block_guard(block);
  return block->base + GUARD_BYTES;
}

static bool block_intact(const struct compiled_block *block) {
  for (size_t i = 0; i < GUARD_BYTES; i++)
    if (block->base[i] != GUARD_PATTERN || block->base[GUARD_BYTES + block->bytes + i] != GUARD_PATTERN) return false;
  return true;
}

static size_t tensor_bytes(dtype type, int rank, const int64_t *shape) {
  return bt_dtype_size(type) * (size_t)bt_count(rank, shape);
}

void compiled_frame_new(struct compiled_frame *f, const struct compiled *native, const struct bt_program *p) {
  compiled_frame_with(f, native, p, 0);
}

void compiled_frame_with(struct compiled_frame *f, const struct compiled *native, const struct bt_program *p, int threads) {
  threads = bt_blas_init(threads);
  openblas_set_num_threads(threads);
  *f = (struct compiled_frame){.module = native->module, .program = p};
  f->blocks = bt_xcalloc((size_t)(p->n_inputs + p->n_outputs + 3), sizeof *f->blocks);
  f->inputs = bt_xcalloc((size_t)p->n_inputs, sizeof *f->inputs);
  f->outputs = bt_xcalloc((size_t)p->n_outputs, sizeof *f->outputs);
  for (int i = 0; i < p->n_inputs; i++)
    f->inputs[i] = block_new(f, p->inputs[i].name, tensor_bytes(p->inputs[i].dtype, p->inputs[i].rank, p->inputs[i].shape));
  for (int i = 0; i < p->n_outputs; i++)
    f->outputs[i] = block_new(f, p->outputs[i].name, tensor_bytes(p->outputs[i].dtype, p->outputs[i].rank, p->outputs[i].shape));
  f->frame.store = block_new(f, "the parameter store", native->module->store_bytes);
  f->frame.arena = block_new(f, "the arena", p->arena_bytes);
  f->frame.thread_scratch = block_new(f, "the thread scratch", (size_t)threads * p->thread_bytes);
  f->frame.inputs = f->inputs;
  f->frame.outputs = f->outputs;
}

void compiled_frame_free(struct compiled_frame *f) {
  for (int i = 0; i < f->n_blocks; i++) bt_block_free(&f->blocks[i].memory);
  free(f->blocks);
  free(f->inputs);
  free(f->outputs);
  *f = (struct compiled_frame){0};
}

const char *compiled_step(struct compiled_frame *f) {
  f->program->step(&f->frame);
  for (int i = 0; i < f->n_blocks; i++)
    if (!block_intact(&f->blocks[i])) return f->blocks[i].name;
  return NULL;
}

const char *compiled_frame_mend(struct compiled_frame *f) {
  const char *hurt = NULL;
  for (int i = 0; i < f->n_blocks; i++) {
    if (block_intact(&f->blocks[i])) continue;
    hurt = f->blocks[i].name;
    block_guard(&f->blocks[i]);
  }
  return hurt;
}

// ---- element types ----------------------------------------------------------------------------

#define EACH_TYPE(X) X(BT_F32, float) X(BT_F64, double) X(BT_I32, int32_t) X(BT_I64, int64_t) X(BT_U8, uint8_t) X(BT_BOOL, uint8_t)

void compiled_put(void *to, dtype type, const double *from, int64_t count) {
  switch (type) {
#define X(tag, c_type) \
  case tag: \
    for (int64_t i = 0; i < count; i++) ((c_type *)to)[i] = (c_type)from[i]; \
    return;
    EACH_TYPE(X)
#undef X
  }
  die("dtype %d", (int)type);
}

void compiled_get(double *to, const void *from, dtype type, int64_t count) {
  switch (type) {
#define X(tag, c_type) \
  case tag: \
    for (int64_t i = 0; i < count; i++) to[i] = (double)((const c_type *)from)[i]; \
    return;
    EACH_TYPE(X)
#undef X
  }
  die("dtype %d", (int)type);
}
