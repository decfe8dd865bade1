// btrt.h: the contract between emitted code and the runtime (libbtrt.a).
//
// The compiler emits one `struct bt_module` per executable: constant tables (parameters, programs,
// inputs, outputs, views) and one step function per program. The runtime owns everything else:
// memory, data, views, checkpoints, logging, the command line. `bt_main` is the whole trainer.
//
// Memory. Two blocks, sized by the compiler and allocated once:
//   store   every parameter and state of the executable, shared by its programs
//   arena   temporaries of the program that runs, plus `thread_bytes` of scratch per thread
// A step allocates nothing.
#ifndef BTRT_H
#define BTRT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BT_ABI 3
#define BT_MAX_RANK 6
#define BT_ALIGN 64 // every buffer in store and arena starts on a cache line

enum bt_dtype { BT_F32, BT_F64, BT_I32, BT_I64, BT_U8, BT_BOOL };

// ---- parameters and state ---------------------------------------------------------------------
enum bt_role {
  BT_PARAM,     // trained
  BT_STATE,     // a layer's (running statistics)
  BT_OPTIMIZER, // an optimiser's (velocity), named optimizer.<program>.<parameter>.<state>
};
enum bt_init_kind { BT_INIT_CONSTANT /* a */, BT_INIT_UNIFORM /* [a, b) */, BT_INIT_NORMAL /* mean a, sd b */ };
struct bt_init { enum bt_init_kind kind; double a, b; };

struct bt_tensor {
  const char *name; // dotted binding path, torchvision's where it has the network
  enum bt_role role;
  enum bt_dtype dtype;
  int rank;
  int64_t shape[BT_MAX_RANK]; // row-major, dense
  size_t offset, bytes;       // in the store
  struct bt_init init;        // random draws are keyed by (seed, name)
  const char *copy_of;        // the tensor whose value it starts with instead, where it is not loaded; NULL: none
};

// ---- views ------------------------------------------------------------------------------------
// The steps of a view and their arguments are the rows of views.def.
enum bt_view_kind {
#define VIEW_STEP(name, ...) BT_VIEW_##name,
#include "views.def"
#undef VIEW_STEP
  BT_VIEW_COUNT
};
#define BT_VIEW_ARGS 12
struct bt_view_step { enum bt_view_kind kind; double arg[BT_VIEW_ARGS]; }; // in views.def's order
struct bt_view {
  const char *name; // as in the source
  int n_steps;
  const struct bt_view_step *steps;
};

// ---- programs ---------------------------------------------------------------------------------
enum bt_input_kind {
  BT_INPUT_VIEW,   // images through `view`; f32[batch, c, h, w]; `site` keys its random draws.
                   // view -1: raw pixels 0 … 255, as u8 or f32
  BT_INPUT_LABEL,  // i32[batch]; each in 0 … classes-1 where `classes` is not 0
  BT_INPUT_ARRAY,  // any tensor fed by name (btc eval; data of programs without views)
  BT_INPUT_STEP, BT_INPUT_STEPS, BT_INPUT_EPOCH, BT_INPUT_EPOCHS, // f32 scalars; EPOCH is step / steps-per-epoch
  BT_INPUT_KEY,    // i64[2]: bt_draw_key(seed), step; random sites derive their streams from it
  BT_INPUT_KEPT,   // of a pass: all rows that an earlier pass of its program kept of its output `name`
};
struct bt_input {
  const char *name; // the `data` name
  enum bt_input_kind kind;
  enum bt_dtype dtype;
  int rank;
  int64_t shape[BT_MAX_RANK];
  int view, site;
  int classes;     // BT_INPUT_LABEL: labels are below it; 0: any
};
enum bt_output_kind {
  BT_OUTPUT_LOSS,   // f32 scalar
  BT_OUTPUT_REPORT, // f32 scalar, logged under `name`
  BT_OUTPUT_VALUE,  // any tensor: features of an evaluation, results and gradients of btc eval; of a pass, rows
                    // that it keeps
};
// What every log line of a training step, or of a pass, has beside its reports, so that no report is called so.
#define BT_LOG_FIELDS "event", "step", "epoch", "seconds", "loss", "images_per_s"
#define BT_PASS_LOG_FIELDS "event", "step", "epoch", "seconds", "pass"
struct bt_output {
  const char *name;
  enum bt_output_kind kind;
  enum bt_dtype dtype;
  int rank;
  int64_t shape[BT_MAX_RANK];
};

struct bt_load { const char *prefix; const char *from; bool is_file; }; // load encoder from pretrain

// evaluate knn(features, labels, k: 20, temperature: 0.1)
// Fits on the train split's features, measures on the test split's. The rows are evaluate.def's.
enum bt_evaluate_kind {
#define EVALUATE(name, ...) BT_EVALUATE_##name,
#include "evaluate.def"
#undef EVALUATE
  BT_EVALUATE_COUNT
};
#define BT_EVALUATE_ARGS 8
struct bt_evaluate { enum bt_evaluate_kind kind; int features; /* output index */ int labels; /* input index */ double arg[BT_EVALUATE_ARGS]; };

// What a step reads and writes. All pointers are BT_ALIGN-aligned.
struct bt_frame {
  char *store, *arena;
  char *thread_scratch;      // threads × thread_bytes
  void *const *inputs;       // one per bt_program.inputs
  void *const *outputs;      // one per bt_program.outputs
};

// The images that a pass sweeps: of the training split those that the run trains on.
enum bt_split_kind { BT_SPLIT_TRAIN, BT_SPLIT_TEST };

struct bt_kernel_info { const char *name, *source; double flops, bytes; int calls; }; // one distinct kernel

struct bt_program {
  const char *name;
  void (*step)(const struct bt_frame *frame);
  int64_t batch;              // images a step
  int64_t image[3];           // channels, height, width of `data x`; 0: whatever the data set has
  int epochs;                 // 0: nothing is minimised; sweeps once
  size_t arena_bytes, thread_bytes;
  int n_inputs, n_outputs, n_loads, n_evaluates, n_tensors, n_kernels;
  const struct bt_input *inputs;
  const struct bt_output *outputs;
  const struct bt_load *loads;
  const struct bt_evaluate *evaluates;
  const int *tensors;         // which of the module's tensors this program uses
  const struct bt_kernel_info *kernels;
  int64_t parameters;         // trained scalars
  double flops;               // a step's arithmetic
  const char *owner;          // of a pass: the program whose epochs it follows, in the table's order; NULL: no pass
  enum bt_split_kind split;   // that a pass sweeps
};

struct bt_module {
  int abi;                    // BT_ABI of the compiler that emitted it
  const char *source_path, *source_text; // the main .btg
  const char *build;          // compiler version, host compiler, flags
  int n_programs, n_tensors, n_views;
  const struct bt_program *programs; // the first is the default; passes are last
  const struct bt_tensor *tensors;
  const struct bt_view *views;
  size_t store_bytes;
};

// ---- what kernels call ------------------------------------------------------------------------
// Draws of a random site (random.h): element i of a Beta(a, b), NaN unless both are positive and
// finite; a permutation of 0 … n-1.
double bt_draw_beta(int64_t seed, int64_t stream, int64_t i, double a, double b);
void bt_draw_permutation(int64_t seed, int64_t stream, int64_t n, int32_t *order);

// The whole trainer: parses the command line and runs a program. Returns the exit code:
// 0 done, 1 failed (data, checkpoint, NaN loss, …), 2 wrong usage, 129/130/141/143 interrupted (saved).
int bt_main(int argc, char **argv, const struct bt_module *module);

#endif
