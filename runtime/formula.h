// formula.h: what a kernel computes, as text in its bt_call, evaluated at one point after the
// kernel has run: to name the op that made a value which is not finite.
//
// The text has one thing a line. A type letter is f d i l u b: f32 f64 i32 i64 u8 bool. A *form* is
// a whole number and a coefficient for each axis of the body, outermost first: an address in an
// argument, an index. Values are numbered from 0 in each body, and operands come first. Lines
// marked ° compute: bt_call has an origin for each.
//
//   * M N K TA TB        of a matrix product, first line; two bodies follow, its operands, then
//   those of its results [ EXTENT …           a body begins, over a space of these extents f=
//   NUMBER          ° a constant i@ FORM              an index f$ ARGUMENT FORM     an element of
//   what the kernel read f& ROOT FORM         an element of a result of the same kernel b< LO HI
//   FORM        is the index in LO … HI-1? f* FORM            ° the product at this index, in
//   row-major order fOP VALUE …        ° an elementwise op > ROOT ARGUMENT FOLD VALUE FORM
//                      ° a result: the value at each point (FOLD `store`), or its sum, reduce_max,
//                      reduce_min over
//                        the axes that the form does not have; ROOT -1: an operand of the product
#ifndef BT_FORMULA_H
#define BT_FORMULA_H

#include "btrt_internal.h"

struct bt_formula;
struct bt_formula *bt_formula_parse(const char *text); // bt_formula_free it
void bt_formula_free(struct bt_formula *f);
bool bt_formula_knows(const char *op); // elementwise

int bt_formula_roots(const struct bt_formula *f);
int bt_formula_argument(const struct bt_formula *f, int root); // that the root is written to
bool bt_formula_reads(const struct bt_formula *f, int argument);
// The first element of the root in its argument that is NaN, or if there is none an infinity; -1:
// all are finite.
int64_t bt_formula_search(const struct bt_formula *f, int root, const void *argument,
                          enum bt_dtype type);

// What the kernel's arguments held when it ran; `count` elements each.
struct bt_formula_memory {
  const void *data;
  enum bt_dtype type;
  int64_t count;
};

// The root's element: what the kernel wrote but for rounding. False: the root has no such element.
bool bt_formula_value(const struct bt_formula *f, const struct bt_formula_memory *memory, int root,
                      int64_t element, double *value);

// Where a value that is not finite came from.
struct bt_blame {
  enum { BT_BLAME_UNKNOWN, BT_BLAME_MADE, BT_BLAME_READ } how;
  int origin;      // MADE: which of the lines that compute
  char text[160];  // MADE: "log(-0.25) = nan"
  const char *op;  // MADE
  int argument;    // READ: of the kernel
  int64_t element; // READ
};
// Evaluates the root's element, which is NaN (`nan`) or infinite, and follows the value to where it
// was made. Of a NaN that was made of an infinity, `infinity` says where that came from; else its
// `how` is UNKNOWN. Where the evaluation gives another value than the kernel did, all is UNKNOWN.
void bt_formula_blame(const struct bt_formula *f, const struct bt_formula_memory *memory, int root,
                      int64_t element, bool nan, struct bt_blame *blame, struct bt_blame *infinity);

#endif
