// body.h: a kernel as a DAG of scalar values over one iteration space. A product has three: its
// operands and what becomes of its result.
//
// The space has at most BODY_AXES axes, outermost first. Every memory address, index value and
// range test in the DAG is an affine form of the axes' indices: the pull model composes the index
// maps of the movement ops between the space and the buffers, and what would not be affine is given
// a buffer instead (fuse.c). So the lowering sees only strides: 1 is a vector load, 0 a broadcast.
#ifndef BTC_BODY_H
#define BTC_BODY_H

#include "kernels.h"

#define BODY_AXES 14

struct affine {
  int64_t constant, k[BODY_AXES];
};

enum value_kind {
  V_CONST, // number
  V_INDEX, // the integer `at`, converted to `type`
  V_LOAD,  // buffer[at]; an address outside (where a range test will drop the value) reads anything
  V_RANGE, // bool: lo <= at < hi
  V_OP,    // op(in)
  V_PRODUCT, // in an epilogue or at the second meeting: the product at the point
};

struct value {
  int id;
  enum value_kind kind;
  dtype type;
  enum op op;
  int n_in;
  struct value *in[3];
  double number;
  struct affine at;
  int64_t lo, hi;
  struct buffer *buffer;
  unsigned axes; // the axes that it depends on, a bit each
  int uses;
  const struct node *node; // the first that it was made for: its place and address, for people
};

struct body_root {
  struct value *value;
  struct affine at;
  enum op reduce;
  unsigned axes;         // of the fold
  struct buffer *buffer; // NULL: the value of an operand, which is packed
};

// Axes of the bodies of products belong to rows or columns of their matrix, or come before both. Axes
// of different roles stay apart, and columns are never split: vectors may run along them.
enum axis_role { AXIS_OUTER, AXIS_ROW, AXIS_COLUMN };

struct body {
  int n_axes;
  int64_t extent[BODY_AXES];
  bool reduced[BODY_AXES];
  enum axis_role role[BODY_AXES];
  VEC(struct value *) values; // operands first
  VEC(struct body_root) roots;
};

// Builds k->body and k->operand. NULL, or the node that must get a buffer before this kernel can be.
const struct node *body_build(struct fusion *f, struct kernel *k);
// Smallest and largest value of a form over the space.
void affine_range(const struct body *b, const struct affine *a, int64_t *lo, int64_t *hi);
bool affine_eq(const struct affine *a, const struct affine *b);
int64_t buffer_count(const struct buffer *b); // elements

#endif
