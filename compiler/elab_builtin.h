// elab_builtin.h: a row of the table of builtins, and the functions that other files give it.
#ifndef BTC_ELAB_BUILTIN_H
#define BTC_ELAB_BUILTIN_H

#include "elab.h"

enum { BUILTIN_PARAMS = 8 };

struct call {
  struct elab *e;
  struct frame *f;
  const struct builtin *row;
  struct given given[BUILTIN_PARAMS]; // in the row's order
  struct loc loc;
};
struct builtin {
  const char *name;
  const char *params;
  struct value (*call)(struct call *c);
  enum op op;             // OP_COUNT: none of its own
  double (*fold)(double); // on static numbers
};

// The i-th argument as a tensor; false after a diagnostic.
bool builtin_tensor(struct call *c, int i, struct value *out);
// The axes that `x`'s `over:` argument (the i-th) names, ascending; all where it is missing.
bool builtin_axes(struct call *c, int i, const struct value *x, int *axes, int *n);
// The i-th argument as a shape, and a value whose axes have the names of its sizes; false after a
// diagnostic.
bool builtin_shape(struct call *c, int i, struct shape *s, struct value *result);
struct value builtin_elementwise(struct call *c, enum op op, struct value *v, int n);

// Reductions (elab_reduce.c).
struct value builtin_reduce(struct call *c);
struct value builtin_logsumexp(struct call *c);
struct value builtin_norm(struct call *c);
struct value builtin_count(struct call *c);

// Shapes, matrices, windows (elab_shape.c).
struct value builtin_reshape(struct call *c);
struct value builtin_permute(struct call *c);
struct value builtin_pad(struct call *c);
struct value builtin_concat(struct call *c);
struct value builtin_diag(struct call *c);
struct value builtin_offdiag(struct call *c);
struct value builtin_triangle(struct call *c);
struct value builtin_eye(struct call *c);
struct value builtin_one_hot(struct call *c);
struct value builtin_conv(struct call *c);
struct value builtin_pool(struct call *c);

// Triangular matrices (elab_triangular.c).
struct value builtin_cholesky(struct call *c);
struct value builtin_solve_triangular(struct call *c);

// Random numbers (elab_random.c).
struct value builtin_random_uniform(struct call *c);
struct value builtin_random_normal(struct call *c);
struct value builtin_random_beta(struct call *c);
struct value builtin_random_permutation(struct call *c);

// Picking (elab_take.c), sums of products (elab_einsum.c).
struct value builtin_take(struct call *c);
struct value builtin_gather(struct call *c);
struct value builtin_einsum(struct call *c);

#endif
