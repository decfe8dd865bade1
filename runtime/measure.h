// measure.h: what a program measures that minimises nothing: its evaluations of features, else its
// reports, then those of its passes. On its own (bt_measure of trainer.h) or while another trains.
#ifndef BT_MEASURE_H
#define BT_MEASURE_H

#include "session.h"

struct bt_result {
  const struct bt_program *program;
  const char *pass;    // NULL: none
  const char *measure; // "knn"; NULL: a report
  const char *report;  // NULL: none
  double value;        // share of test examples that are right; mean of a report over full batches
  int64_t train, test; // examples, that fit and that are measured; 0: none
  double seconds;
};

struct bt_measuring {
  struct bt_session *session; // its parameters are measured as they are
  void *room;                 // bt_features_bytes(session)
  void (*take)(void *user, const struct bt_result *result);
  // `done` of what it is at ("train", "test", "knn"); false asks it to stop.
  bool (*goes_on)(void *user, const char *what, int64_t done, int64_t of);
  void *user;
};

enum bt_measured {
  BT_MEASURED,
  BT_MEASURE_STOPPED, // by goes_on
  BT_MEASURE_FAILED,  // with err: the features are not finite, or cannot be written
};
enum bt_measured bt_measure_program(const struct bt_measuring *m, char *err, size_t errlen);

// On standard output, as text or with --json.
void bt_print_result(const struct bt_session *s, const struct bt_result *result);

// What collecting and judging a program's features takes, the largest of its evaluations.
size_t bt_features_bytes(const struct bt_session *s);
// A program that --evaluate may name: it evaluates or reports, or one of its passes does.
bool bt_program_measures(const struct bt_module *module, const struct bt_program *program);

#endif
