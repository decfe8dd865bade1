// trainer.h: what bt_main dispatches to. Each returns the exit code and has told the user why.
#ifndef BT_TRAINER_H
#define BT_TRAINER_H

#include "session.h"

int bt_train(struct bt_session *s);                                            // train.c
// False with err where a run without --resume or --force would overwrite a checkpoint; needs program and options alone.
bool bt_train_may_start(const struct bt_session *s, char *err, size_t errlen);
int bt_measure(struct bt_session *s);                                          // measure.c
int bt_bench(struct bt_session *s);                                            // bench.c
int bt_info(const struct bt_module *module, const struct bt_options *options); // info.c
int bt_view_grid(const struct bt_module *module, const struct bt_options *options); // view_grid.c

// Prints "SELF: error: TEXT" to stderr; returns 1.
int bt_report_error(const struct bt_options *options, const char *text);

#endif
