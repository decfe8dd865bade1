// btrt_model.h: a trained program in a C program, all that one needs of the runtime (libbtrt.a).
//
//   btc compile model.btg --shared -o model.so
//
// The object exports `bt_module`. A model is one of its programs with weights: write a batch to its inputs, run
// it, read its outputs. A run takes the batch that the program was compiled for, allocates nothing, and works on
// the OpenMP threads of its caller, at most as many as there were when it was opened. Models are independent of each other; one is for one thread at a time.
#ifndef BTRT_MODEL_H
#define BTRT_MODEL_H

#include <stdbool.h>
#include <stddef.h>

struct bt_module;
struct bt_model;

// The program of this name, with all its parameters and states from `weights`: a checkpoint of the trainer, a file
// that it exported, or INSTANCE=FILE, as its --init takes them. NULL with a sentence in err on failure;
// bt_model_close frees it.
struct bt_model *bt_model_open(const struct bt_module *module, const char *program, const char *weights, char *err,
                               size_t errlen);
void bt_model_close(struct bt_model *model); // NULL: nothing happens

// Where a batch of the data `name` is written (row-major, in the element type of its declaration; images as their
// view gives them, in f32), and an output read: `features` of an evaluation, a report by its name. They start as 0
// and stay where they are. NULL: there is none of this name. *bytes: its size.
void *bt_model_input(const struct bt_model *model, const char *name, size_t *bytes);
const void *bt_model_output(const struct bt_model *model, const char *name, size_t *bytes);

void bt_model_run(struct bt_model *model);

#endif
