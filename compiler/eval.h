// eval.h: running a function or a program of a model on given tensors, by the float64 interpreter or
// by compiled code: `btc eval`, `btc gradcheck`, and the tests that compare with other frameworks.
//
// Names in the given values:
//   of a function   its parameters, and `dout`, the cotangent of its result
//   of a program    `data` names (or name@view, or name@view.site, where several views or applications
//                   of one read it), with a leading axis of steps or without; tensors by their own names, or these after "init."
// Names in the results:
//   of a function   out (out0, out1, … where it returns several), report.NAME, dNAME
//   of a program    losses [steps]; report.NAME [steps]; its features and other values by their names,
//                   from the last step; grad.NAME from the first step; final.NAME, every tensor after the
//                   last step
#ifndef BTC_EVAL_H
#define BTC_EVAL_H

#include "compiled.h"
#include "values.h"

// The function as a program over inputs of the given shapes; one-element values also serve its static
// parameters. `dout` counts only with gradients. NULL after diagnostics.
struct program *eval_function(struct model *m, const char *function, const value_list *given, bool gradients);
// Makes the gradient of the program's loss by every parameter that it reads an output, grad.NAME. To be
// called on the forward graph, before model_differentiate.
void eval_add_gradients(struct program *p);

struct eval {
  struct model *m;
  struct program *p;           // as elaborated; differentiated where it should learn
  const struct compiled *native; // NULL: the interpreter
  const value_list *given;
  uint64_t seed;               // of tensors that are not given
  int64_t steps;               // 0: as many as the data has
};
// False after diagnostics. Results in the arena.
bool eval_run(struct eval *e, value_list *results);

// Initial values of the model's tensors, given or drawn by seed. False after diagnostics.
bool eval_tensors(const struct eval *e, value_list *tensors);
// What the results call `name` with a prefix: "grad." of a parameter, "final." of a tensor.
const char *eval_name(struct arena *a, const char *prefix, const char *name);

#endif
