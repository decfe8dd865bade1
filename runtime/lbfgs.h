// lbfgs.h: minimise a smooth function of many variables (Nocedal and Wright, Numerical
// Optimization, algorithms 7.4, 7.5 and 3.5, 3.6).
#ifndef BT_LBFGS_H
#define BT_LBFGS_H

#include "btrt_internal.h"

// Value at x (n numbers); its gradient goes to g.
typedef double bt_objective(void *context, const double *x, double *g);

struct bt_lbfgs_options {
  int memory; // pairs kept
  int max_iterations;
  double tolerance; // stop when no |gradient| entry exceeds it
  struct bt_onlooker watch; // of iterations
};

// Improves x in place; returns the iterations taken. The value never rises. room: bt_lbfgs_bytes.
int bt_lbfgs(bt_objective *objective, void *context, int n, double *x,
             const struct bt_lbfgs_options *options, void *room);

// What it works in, for n variables and `memory` pairs.
size_t bt_lbfgs_bytes(int n, int memory);

#endif
