// compiled.h: compiled programs inside this process: emit, compile to a shared object, load, step.
// For `btc eval` and for tests that hold the C back end against the interpreter.
#ifndef BTC_COMPILED_H
#define BTC_COMPILED_H

#include "codegen.h"
#include "driver.h"

// Generates C for every program of the model and compiles it to a shared object. False after
// diagnostics. *c_file, unless NULL: where the C was left (else it is removed).
bool compiled_build(struct model *m, const struct host *host, const char *so_file, const char **c_file);

struct compiled {
  void *handle;
  const struct bt_module *module;
};
bool compiled_load(struct btc *b, const char *so_file, struct compiled *native); // false after a diagnostic
void compiled_unload(struct compiled *native);
// Builds in a temporary folder and loads. What `btc eval --backend=c` does.
bool compiled_open(struct model *m, const struct host *host, bool keep_c, struct compiled *native);
const struct bt_program *compiled_program(const struct compiled *native, const char *name); // NULL: none

// Everything that a program's step reads and writes. Every block stands between guard zones.
struct compiled_frame {
  const struct bt_module *module;
  const struct bt_program *program;
  struct bt_frame frame;
  struct compiled_block *blocks;
  int n_blocks;
  void **inputs, **outputs;
};
void compiled_frame_new(struct compiled_frame *f, const struct compiled *native, const struct bt_program *program);
// The same for so many threads (0, as above: the cores that this process may use).
void compiled_frame_with(struct compiled_frame *f, const struct compiled *native, const struct bt_program *program, int threads);
void compiled_frame_free(struct compiled_frame *f);
// Runs one step. NULL, or the name of a buffer that the step wrote outside of (a bug of btc).
const char *compiled_step(struct compiled_frame *f);
// The same of whatever steps ran since, and makes the guard zones whole again.
const char *compiled_frame_mend(struct compiled_frame *f);

// Between element types: `count` elements of host doubles to and from native memory.
void compiled_put(void *to, dtype type, const double *from, int64_t count);
void compiled_get(double *to, const void *from, dtype type, int64_t count);

#endif
