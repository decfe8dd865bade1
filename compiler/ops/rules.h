// rules.h: what the op families share: messages, odometers over shapes, reference loops.
#ifndef BTC_OPS_RULES_H
#define BTC_OPS_RULES_H

#include "../graph.h"

static inline const struct shape *in_shape(const struct node *n, int i) { return &n->in[i]->type.shape; }
static inline dtype in_dtype(const struct node *n, int i) { return n->in[i]->type.dtype; }

// Passes on what is wrong.
#define TRY(check)                                                                                 \
  do {                                                                                             \
    const char *wrong_ = (check);                                                                  \
    if (wrong_) return wrong_;                                                                     \
  } while (0)

// Sets the result's type, or, where the builder gave one, says how it differs. NULL: fine.
const char *rule_result(struct arena *a, struct node *n, dtype t, const struct shape *s);
// For ops whose type the builder must give: says so where it did not.
const char *rule_given(struct arena *a, const struct node *n);
const char *rule_float(struct arena *a, const struct node *n, int operand);
const char *rule_rank(struct arena *a, const struct node *n, int operand, int rank);
const char *rule_same_dtype(struct arena *a, const struct node *n);
const char *rule_same_shape(struct arena *a, const struct node *n);

// Makes computed integers values of their type again: modulo 2^bits. What no integer is, a quotient
// by 0 say, becomes 0; compiled code may make something else of it.
void wrap_integers(struct tensor64 *t);

// Multiplications of a reference evaluation from which threads pay; below, waking them costs more.
enum { REFERENCE_PARALLEL = 1 << 17 };
// Multiplications of a reference product from which it is BLAS's.
enum { REFERENCE_BLAS = 1 << 20 };

// Row-major strides, in elements.
void shape_strides(const struct shape *s, int64_t stride[MAX_RANK]);
// Advances a row-major index; false past the last.
bool shape_next(const struct shape *s, int64_t index[MAX_RANK]);
// Does the operand axis lie in `axes`?
bool axes_have(const struct attr *axes, int axis);

#endif
