// outputs.h: what a program writes with `output NAME: …`.
#ifndef BT_OUTPUTS_H
#define BT_OUTPUTS_H

#include "progress.h"

// Sweeps the training examples (with --labels, those chosen) and the test examples, in the data set's
// order, and writes <out>/<program>/train-NAME.npy and test-NAME.npy of each output, a row an example.
// The files of a split appear together, when it is whole. Says on standard output what was written.
bool bt_outputs_write(struct bt_session *s, struct bt_progress *progress, char *err, size_t errlen);

#endif
