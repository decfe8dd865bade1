// lbfgs.h: minimise a smooth function of many variables (Nocedal and Wright, Numerical
// Optimization, algorithms 7.4, 7.5 and 3.5, 3.6).
#ifndef BT_LBFGS_H
#define BT_LBFGS_H

#include <stddef.h>

// Value at x (n numbers); its gradient goes to g.
typedef double bt_objective(void *context, const double *x, double *g);

struct bt_lbfgs_options {
  int memory; // pairs kept
  int max_iterations;
  double tolerance; // stop when no |gradient| entry exceeds it
};

// Improves x in place; returns the iterations taken. The value never rises.
int bt_lbfgs(bt_objective *objective, void *context, int n, double *x,
             const struct bt_lbfgs_options *options);

// What it allocates for n variables and `memory` pairs, in bytes.
size_t bt_lbfgs_bytes(int n, int memory);

#endif
