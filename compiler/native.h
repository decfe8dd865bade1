// native.h: compiled programs inside this process: emit, compile to a shared object, load, step.
// For `btc eval` and for tests that hold the C back end against the interpreter.
#ifndef BTC_NATIVE_H
#define BTC_NATIVE_H

#include "codegen.h"
#include "driver.h"

// Generates C for every program of the model and compiles it to a shared object. False after
// diagnostics. *c_file, unless NULL: where the C was left (else it is removed).
bool native_build(struct model *m, const struct host *host, const char *so_file, const char **c_file);

struct native {
  void *handle;
  const struct bt_module *module;
};
bool native_load(struct btc *b, const char *so_file, struct native *native); // false after a diagnostic
void native_unload(struct native *native);
// Builds in a temporary folder and loads. What `btc eval --backend=c` does.
bool native_open(struct model *m, const struct host *host, bool keep_c, struct native *native);
const struct bt_program *native_program(const struct native *native, const char *name); // NULL: none

// Everything that a program's step reads and writes. Every block stands between guard zones.
struct native_frame {
  const struct bt_module *module;
  const struct bt_program *program;
  struct bt_frame frame;
  struct native_block *blocks;
  int n_blocks;
  void **inputs, **outputs;
};
void native_frame_new(struct native_frame *f, const struct native *native, const struct bt_program *program);
void native_frame_free(struct native_frame *f);
// Runs one step. NULL, or the name of a buffer that the step wrote outside of (a bug of btc).
const char *native_step(struct native_frame *f);

// Between element types: `count` elements of host doubles to and from native memory.
void native_put(void *to, dtype type, const double *from, int64_t count);
void native_get(double *to, const void *from, dtype type, int64_t count);

#endif
