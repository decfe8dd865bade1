// nest.h: emission of a body's values inside the loops that a schedule opens.
//
// A schedule (lower_map.c, lower_reduce.c) binds the axes of the body's space to loop indices,
// level by level; nest_enter then names every value that needs nothing further inside: it is
// computed once per iteration of that level. The vector axis is bound to the index of its first
// lane. A schedule may keep several vectors in flight (*copies*); what does not depend on the
// vector axis is shared by them.
#ifndef BTC_NEST_H
#define BTC_NEST_H

#include "body.h"

#define MAX_COPIES 8
#define MAX_LEVELS 24

// The parameters of a kernel's loops, by buffer id (arguments.c).
struct params {
  struct loop_buf **of;
  int64_t *offset; // the parameter begins at this element of the buffer
};
struct params *params_new(struct fusion *f, struct kernel *k, struct lb *b);

struct nest_copy {
  lx at;      // index of the first lane along the vector axis
  lx n;       // valid lanes; NULL: all
  lx *value;  // by value id; NULL: not named yet
  int *level; // where it was named
};

struct nest {
  struct lb *b;
  const struct body *body;
  struct arena *arena;
  int lanes;
  int vector;          // axis; -1: everything is scalar
  lx index[BODY_AXES]; // of the bound axes but the vector axis
  unsigned bound, bound_at[MAX_LEVELS];
  int level;
  int n_copies;
  struct nest_copy copy[MAX_COPIES];
  const struct params *params;
  lx product; // in an epilogue: what V_PRODUCT is at the point
  struct loop_buf **copied; // by value id: where a load finds its vector instead, from `copy_at`; may be NULL
  lx copy_at;
};

void nest_begin(struct nest *n, const struct params *p, const struct body *body, struct lb *b,
                int vector);
void nest_bind(struct nest *n, int axis, lx index);
// Binds the vector axis: copy c stands at[c] with n[c] lanes (NULL: all).
void nest_bind_vector(struct nest *n, int copies, const lx *at, const lx *lanes);
void nest_enter(struct nest *n); // a level begins: hoists
void nest_leave(struct nest *n); // forgets what was named and bound since nest_enter
lx nest_value(struct nest *n, const struct value *v, int copy);
// The same by a name, once.
lx nest_named(struct nest *n, const struct value *v, int copy);
lx nest_form(struct nest *n, const struct affine *a, int copy);
struct loop_buf *nest_param(const struct nest *n, const struct buffer *b);
// The form, which addresses an element of b, in b's parameter.
lx nest_address(struct nest *n, const struct buffer *b, const struct affine *a, int copy);
// Prefetches what the innermost level will load and store at its vector, where that varies along `axes`.
void nest_prefetch(struct nest *n, unsigned axes);
// Stores the results, of the folds (over axes of one element) only where `folds`.
void nest_store_all(struct nest *n, int copy, bool folds);
// Decodes a flattened index into the axes of `axis[0..n)`, outermost first, and binds them.
void nest_bind_flat(struct nest *n, const int *axis, int n_axes, lx flat);

// "mul_sum", and "y = (x * x_2); y_2 = sum(x)", cut where it gets long (equation.c).
const char *equation_name(struct fusion *f, const struct kernel *k);
const char *equation_text(struct fusion *f, const struct kernel *k, const struct params *p);

void lower_map(struct nest *n);
void lower_reduce(struct nest *n);

#endif
