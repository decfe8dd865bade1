// session.h: one program with everything it runs on: memory, data, views, inputs and outputs.
#ifndef BT_SESSION_H
#define BT_SESSION_H

#include "btrt_internal.h"
#include "cli.h"
#include "data.h"

struct bt_loader; // loader.h

struct bt_session {
  const struct bt_module *module;
  const struct bt_program *program;
  const struct bt_options *options;
  int threads;
  struct bt_block store, arena, scratch, buffers; // buffers: outputs, and the inputs that no loader writes
  void **inputs, **outputs;
  struct bt_data *data;
  struct bt_view_plan **plans; // one per input; NULL unless it is a view
  int *columns;                // one per input: the data's column of labels or of an array
  struct bt_loader *loader;    // of the program and its passes: writes the other inputs
  struct bt_frame frame;
  struct bt_pass *passes;     // those of the program, in order
  int n_passes;
  struct bt_session *measures; // programs that --evaluate names, which a training run runs now and then
  int n_measures;
  struct bt_session **turns;  // all whose steps take turns in its memory: itself, its passes, its measures, their passes
  int n_turns;
  struct bt_block kept;       // what passes keep
  struct bt_block features;   // what a measured program's features are collected in, and what judges them
  struct bt_block states;     // of the training run, while a measure runs
};

// A pass, as a measure, has inputs, outputs and views of its own; memory and data are its program's session's.
struct bt_pass {
  struct bt_session session;
  uint32_t *images; // of its split, what it sweeps: n of them
  int64_t n;
  char **keeps;     // by output: where the rows go; NULL: nowhere
};

// What a session takes, in bytes; measures nothing. Without data, what the compiler knows.
struct bt_memory_plan {
  size_t store, arena, scratch, buffers, batches, kept, views, data, features, states;
};
void bt_session_plan(const struct bt_session *s, struct bt_memory_plan *plan);

// Opens data, checks that the program can use it, allocates, and initialises the parameters by
// seed. threads: as bt_blas_init returned.
bool bt_session_open(struct bt_session *s, const struct bt_module *module,
                     const struct bt_program *program, const struct bt_options *options,
                     int threads, char *err, size_t errlen);
// Only the data, the views and the passes: enough to plan.
bool bt_session_prepare(struct bt_session *s, const struct bt_module *module,
                        const struct bt_program *program, const struct bt_options *options,
                        int threads, char *err, size_t errlen);
int bt_session_loaders(const struct bt_session *s); // threads of its loader
void bt_session_find(struct bt_session *s); // passes and measures, nothing else: where even data is missing
void bt_session_close(struct bt_session *s);

// Fills the store with the initial values of seed.
void bt_session_initialise(struct bt_session *s, uint64_t seed);
// Carries out --init, then the program's `load … from …` of what --init does not give (nothing with
// --untrained); then copies what starts as a copy. Says on standard error what came from files of others.
bool bt_session_load(struct bt_session *s, char *err, size_t errlen);

// Where in a run a step is.
struct bt_step_point {
  uint64_t seed;
  int64_t step, steps, steps_per_epoch;
};
// Of what the program trains on: images, labels and arrays of the training split.
uint32_t bt_session_checksum(const struct bt_session *s);
// Fills the inputs `step`, `steps`, `epoch`, `epochs`.
void bt_session_count(struct bt_session *s, const struct bt_step_point *point);
void bt_session_step(struct bt_session *s);
double bt_session_scalar(const struct bt_session *s, int output); // of a loss or a report
// The states that a measured program has, kept and put back: it may update them.
void bt_session_save_states(struct bt_session *s, const struct bt_session *measure);
void bt_session_restore_states(struct bt_session *s, const struct bt_session *measure);
double bt_now(void);                                              // seconds, monotonic

// The files of a program's run lie in <out>/<program>. <out>/<program>/<file>; free() it.
#define BT_LAST_CHECKPOINT "last.safetensors"
char *bt_path(const char *out, const char *program, const char *file);

#endif
