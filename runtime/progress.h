// progress.h: what a run shows while it runs (a line on standard error) and what it leaves behind
// (<out>/<program>/log.jsonl, one JSON object a line; with --tensorboard event files beside it).
#ifndef BT_PROGRESS_H
#define BT_PROGRESS_H

#include "session.h"

#include <stdio.h>

struct bt_progress {
  const struct bt_session *session;
  FILE *log; // NULL: none
  char *log_path;
  struct bt_events *events; // NULL: none
  bool terminal, open_line, warned, warned_events;
  double started, shown; // seconds
  int64_t first_step;    // where this process began
  double aside;          // seconds of what follows epochs
  int64_t ends;          // of epochs, that it followed
  double *epoch_sums;    // one per output: of scalars, over the epoch's steps
  int64_t epoch_steps;
  double logged; // time and step of the log's last line
  int64_t logged_step;
};

// append: go on with an existing log (a resumed run). False with err if it cannot be written, or
// another run is writing to it.
bool bt_progress_open(struct bt_progress *p, const struct bt_session *s, int64_t first_step,
                      bool append, char *err, size_t errlen);
// After a step: point->step is the number of steps done.
void bt_progress_step(struct bt_progress *p, const struct bt_step_point *point);
void bt_progress_epoch(struct bt_progress *p, const struct bt_step_point *point);
// In the middle of a pass, and after it: means of its reports, by output.
void bt_progress_sweep(struct bt_progress *p, const struct bt_program *pass, int64_t done, int64_t images);
void bt_progress_pass(struct bt_progress *p, const struct bt_step_point *point, const struct bt_program *pass,
                      const double *means, double seconds);
// What took so long is no part of the time that images take, and follows each epoch.
void bt_progress_aside(struct bt_progress *p, const struct bt_step_point *point, double seconds);
void bt_progress_event(struct bt_progress *p, const char *event, int64_t step);
void bt_progress_end_line(struct bt_progress *p); // before anything else is printed
void bt_progress_close(struct bt_progress *p);

#endif
