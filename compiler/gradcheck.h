// gradcheck.h: autodiff against central differences, in the float64 interpreter.
#ifndef BTC_GRADCHECK_H
#define BTC_GRADCHECK_H

#include "graph.h"
#include "values.h"

struct gradcheck_row {
  const char *name;    // of the leaf
  struct shape shape;
  double error;        // the worst, relative to the leaf's gradient, less what rounding may do
  double difference;   // the same with rounding
  double analytic, numeric; // where it was worst
  int checks;
};
typedef VEC(struct gradcheck_row) gradcheck_rows;

struct gradcheck {
  const struct graph *forward;  // its output `of` is a scalar, or is contracted with `cotangent`
  const char *of;
  const struct tensor64 *cotangent; // NULL: 1
  value_list leaves;            // value of every leaf by name; perturbed and restored
  const value_list *gradients;  // by leaf name: what autodiff says; these leaves are checked
  struct tensor64 **held;       // by node id: what stop_gradient holds; set while gradcheck_run works
  int samples;                  // entries a leaf, beside one random direction
  uint64_t seed;
};
// Checks every leaf that has a gradient. Rows go to the forward graph's arena.
void gradcheck_run(struct gradcheck *c, gradcheck_rows *rows);

// The name under which a leaf's value stands in gradcheck.leaves: an input's carries view and site,
// because applications of views share the data's name.
const char *gradcheck_leaf_name(struct arena *a, const struct node *leaf);

#endif
