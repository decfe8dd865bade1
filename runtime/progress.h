// progress.h: what a run shows while it runs (a line on standard error) and what it leaves behind
// (<out>/<program>/log.jsonl, one JSON object a line; with --tensorboard event files beside it).
#ifndef BT_PROGRESS_H
#define BT_PROGRESS_H

#include "measure.h"
#include "watch.h"

#include <stdio.h>

struct bt_progress {
  const struct bt_session *session;
  FILE *log; // NULL: none
  char *log_path;
  struct bt_events *events; // NULL: none
  bool terminal, open_line, warned, warned_events, torn; // torn: the log's last line may not be whole
  double started, shown; // seconds
  int64_t first_step;    // where this process began
  double aside;          // seconds of what follows epochs
  int64_t ends;          // of epochs, that it followed
  double *epoch_sums;    // one per output: of scalars, over the epoch's steps
  int64_t epoch_steps;
  double logged; // time and step of the log's last line
  int64_t logged_step;
  char score[64]; // the last accuracy of --evaluate's first program; "": none yet
};

// Takes the log, whose lock is the folder's. False with err if it cannot be written, or another run is writing to it.
bool bt_progress_open(struct bt_progress *p, const struct bt_session *s, char *err, size_t errlen);
// Before the first step. append: go on with an existing log (a resumed run). False with err if events cannot be written.
bool bt_progress_begin(struct bt_progress *p, int64_t first_step, bool append, char *err, size_t errlen);
// Only lines, without a log, as measuring shows them on a terminal when it takes longer than 2 seconds.
void bt_progress_show(struct bt_progress *p, const struct bt_session *s);
// After a step: point->step is the number of steps done.
void bt_progress_step(struct bt_progress *p, const struct bt_step_point *point);
double bt_progress_mean(const struct bt_progress *p, int output); // over the steps of the epoch so far
void bt_progress_epoch(struct bt_progress *p, const struct bt_step_point *point);
// In the middle of something else that takes long; after a pass: means of its reports, by output.
void bt_progress_sweep(struct bt_progress *p, const char *what, int64_t done, int64_t of);
void bt_progress_pass(struct bt_progress *p, const struct bt_step_point *point, const struct bt_program *pass,
                      const double *means, double seconds);
// After a measure of --evaluate: its n results. broken: why there are none, else NULL. first: the line shows
// its first accuracy from now on.
void bt_progress_measure(struct bt_progress *p, const struct bt_step_point *point, const struct bt_program *program,
                         const struct bt_result *results, int n, const char *broken, bool first, double seconds);
// What took so long is no part of the time that images take, and follows each epoch.
void bt_progress_aside(struct bt_progress *p, const struct bt_step_point *point, double seconds);
void bt_progress_event(struct bt_progress *p, const char *event, int64_t step);
void bt_progress_not_finite(struct bt_progress *p, int64_t step, const struct bt_finding *found);
// While steps are watched: shown once it takes longer than two seconds.
void bt_progress_search(struct bt_progress *p, int64_t step, int64_t last);
void bt_progress_resumed(struct bt_progress *p, int64_t step, const char *changes); // changes: of the trainer; empty: none
void bt_progress_end_line(struct bt_progress *p); // before anything else is printed
void bt_progress_close(struct bt_progress *p);

#endif
