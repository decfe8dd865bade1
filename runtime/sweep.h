// sweep.h: a program's step over the images of a split, a batch at a time.
#ifndef BT_SWEEP_H
#define BT_SWEEP_H

#include "session.h"

struct bt_sweep {
  struct bt_session *session;
  const struct bt_split *split;
  const uint32_t *images; // of the split, n of them
  int64_t n;
  const struct bt_step_point *run; // what `step`, `epoch`, … say; NULL: where the sweep is
};
// After a step, over images `from` … from + rows - 1 of the sweep. The last batch is filled up with its last
// image: the rows behind are surplus. False ends the sweep.
typedef bool bt_sweep_visit(void *user, int64_t from, int64_t rows);
// False where a visit ended it, and with err where an image cannot be loaded (else err is empty).
bool bt_sweep(const struct bt_sweep *w, bt_sweep_visit *visit, void *user, char *err, size_t errlen);

// A program's reports, as means over the full batches, which fall to `means` by output; and for a pass the
// rows that it keeps. goes_on (NULL: always true) is asked after each step; false where it said no, and with err as bt_sweep.
typedef bool bt_sweep_goes_on(void *user, int64_t images_done);
bool bt_sweep_reports(const struct bt_sweep *w, char *const *keeps, double *means, bt_sweep_goes_on *goes_on, void *user,
                      char *err, size_t errlen);
// "test" of pretrain.test: what its program calls a pass.
const char *bt_pass_name(const struct bt_program *pass);
struct bt_sweep bt_pass_sweep(struct bt_pass *pass, const struct bt_step_point *run);

#endif
