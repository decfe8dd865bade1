// checkpoint.h: a program's parameters and state in a safetensors file.
//
// The file holds every tensor that the program uses (optimiser state too) under its own name, and
// in its metadata where the run stood, so that a resumed run goes on bit for bit.
#ifndef BT_CHECKPOINT_H
#define BT_CHECKPOINT_H

#include "safetensors.h"

#define BT_CHECKPOINT_FORMAT 1

// The best score of a run so far.
struct bt_best {
  char by[64]; // what is scored, as in "loss"; empty: nothing yet
  bool highest;
  double value;
  int64_t step;
};

struct bt_progress_point {
  uint64_t seed;
  int64_t step;  // done so far
  int64_t steps; // of the whole run
  int64_t steps_per_epoch;
  bool passes_due; // the epoch ended here, and its passes were not done yet
  char data[16];   // a checksum of what was trained on; empty: not known
  struct bt_best best;
  // What the steps of this epoch have summed up, an output each. When it is read, sums is NULL or has room for n_sums;
  // epoch_steps 0: the file has none of them.
  int64_t epoch_steps;
  int n_sums;
  double *sums;
};

bool bt_checkpoint_save(const char *path, const struct bt_module *module,
                        const struct bt_program *program, const char *store,
                        const struct bt_progress_point *point, char *err, size_t errlen);

// Reads all of the program's tensors into the store. `changes`: how this trainer differs from the one that wrote it
// (bt_provenance_compare). On failure the store is untouched.
bool bt_checkpoint_load(const char *path, const struct bt_module *module,
                        const struct bt_program *program, char *store,
                        struct bt_progress_point *point, char *changes, size_t room, char *err,
                        size_t errlen);

// Where a run stood, without its tensors' values.
bool bt_checkpoint_peek(const char *path, struct bt_progress_point *point, char *err,
                        size_t errlen);

// False with err where a newer btc wrote the file. Any other safetensors file will do.
bool bt_checkpoint_format(const struct st_file *file, const char *path, char *err, size_t errlen);

#endif
