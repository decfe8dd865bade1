// op_helper.h: single ops in tests: types from text, drawn operands, evaluation, inner products.
#ifndef OP_HELPER_H
#define OP_HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "graph.h"

enum { OPERANDS_MAX = 4 };

// "f64[2, 3] bool" as types; dies on anything else. Returns how many.
int types_of_text(const char *text, struct tensor_type *out, int most);
struct tensor_type type_of_text(const char *text); // exactly one

// Where operands are drawn from. Numbers of integer type are small integers in all of them.
enum domain {
  DISTINCT, // -2 … 2, no two alike, none at 0, nor equal to the same entry of another operand
  POSITIVE, // 0.25 … 2.25; integers 1 … 7
  INTEGERS, // -3 … 3, whole
  DOMINANT, // square matrices, -1 … 1 but for a diagonal that exceeds a row's sum: positive definite
};
// Fills a tensor; `which` tells operands apart, `seed` draws. bool: both values.
void draw_values(struct tensor64 *t, enum domain domain, int which, unsigned seed);

// The leaves of a test's graph are params named "0", "1", …; their values:
struct leaf_values {
  struct arena *arena;
  const struct tensor64 *of[OPERANDS_MAX + 1]; // NULL: drawn when asked for
};
struct node *numbered_leaf(struct graph *g, int i, const struct tensor_type *type);
struct tensor64 **evaluate(const struct graph *g, struct leaf_values *l, bool round_f32);

double largest_entry(const struct tensor64 *t);
double inner_product(const struct tensor64 *a, const struct tensor64 *b);
// Fails, naming the entry, unless |a - b| <= tolerance × the largest entry of b.
void assert_near(const char *what, const struct tensor64 *a, const struct tensor64 *b,
                 double tolerance);

#endif
