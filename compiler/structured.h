// structured.h: matrices that are worked with and never stored.
//
// A *structured* matrix of `rows` x `columns` is a sum of terms
//
//   c · s · (u w') ∘ (A B') ∘ (C D')        ∘: entry by entry
//
// of up to two products of *thin* factors (A: rows x inner, B: columns x inner), scaled by a number
// c, a run-time scalar s, a vector u over the rows and a vector w over the columns. Sums,
// differences, scalings and transposes of such matrices are such matrices, and so are products of
// two, entry by entry or as matrices, while no term gets a third product. What the rest of a
// program wants of them (sums, diagonals, products with thin matrices) is computed from the
// factors.
//
// The diagonal of a square one is kept apart where it is not what the terms say: a mask, a choice
// by `iota == iota`, an identity subtracted. So arithmetic on it is done as the program wrote it,
// (cᵢᵢ - 1)² and not cᵢᵢ² - 2cᵢᵢ + 1, and any function may be applied to it. The terms then speak
// for the entries off the diagonal only.
//
//   structured.c          making and combining them
//   structured_thin.c     thin results
//   structured_weights.c  products of weights in one form
#ifndef BTC_STRUCTURED_H
#define BTC_STRUCTURED_H

#include "fold.h"

// Where results are built: through the folding builder, so that they come out simplified and an
// equal product is one node.
struct algebra {
  struct fold fold;
  struct arena *arena;
};

struct factor {
  struct node *node;
  bool inner_first; // stored inner x outer, else outer x inner
};
struct pair {
  struct factor a, b;        // A B': A's outer axis is the rows, B's the columns
  const struct node *origin; // the product that it stands for in the program
};
struct term {
  double c;
  struct node *scalar, *row, *column; // NULL: 1
  int degree;                         // pairs in use
  struct pair pair[2];
};
struct structured {
  struct tensor_type type;
  VEC(struct term) terms;
  struct node *diagonal;     // NULL: as the terms say (always so where the matrix is not square)
  const char *why;           // not NULL: entries off the diagonal have no such form, and why;
                             // then a square matrix has `diagonal`
  const struct node *origin; // a product that went into it; NULL: none
};

// ---- making them ------------------------------------------------------------------------------
// x or x' times y or y', for the program's product `origin`.
struct structured *structured_product(struct algebra *a, struct node *x, bool turn_x,
                                      struct node *y, bool turn_y, const struct node *origin);
// A scalar or a vector repeated along the other axes; `axis` is the vector's.
struct structured *structured_repeat(struct algebra *a, struct node *x, int axis,
                                     const struct tensor_type *type);
// A stored matrix that meets structured ones: its diagonal can be used, and no more.
struct structured *structured_stored(struct algebra *a, struct node *x, const char *why);

// The op of `n` on operands of its shape. If entries off the diagonal leave the form, the result
// says so in `why` (with n's place): that is no failure before somebody wants them.
struct structured *structured_elementwise(struct algebra *a, const struct node *n,
                                          struct structured *const *in);
struct structured *structured_transpose(struct algebra *a, const struct structured *x);
// x y; NULL with *why where the result is of no such form.
struct structured *structured_matmul(struct algebra *a, const struct structured *x,
                                     const struct structured *y, const char **why);

int structured_degree(const struct structured *x); // the largest of its terms

// ---- thin results -----------------------------------------------------------------------------
// The sum over `axes` (bit 0: over rows, bit 1: over columns).
struct node *structured_sum(struct algebra *a, const struct structured *x, unsigned axes,
                            const char **why);
// x m or x' m with thin x; `turn_result`: its transpose.
struct node *structured_times(struct algebra *a, struct node *x, bool turn_x,
                              const struct structured *m, bool turn_result, const char **why);
struct node *structured_diagonal(struct algebra *a, const struct structured *x);

// ---- between the files ------------------------------------------------------------------------
struct node *algebra_product(struct algebra *a, struct node *x, struct node *y); // NULL: 1
// x y in one form, without its constant factor, which goes into *c (structured_weights.c); NULL: 1.
struct node *algebra_weights(struct algebra *a, struct node *x, struct node *y, double *c);
struct node *algebra_scaled(struct algebra *a, struct node *x, double c, struct node *scalar);
struct node *algebra_along(struct algebra *a, struct node *x, struct node *v,
                           int axis); // x ∘ v, repeated
int64_t factor_inner(const struct factor *f);
int64_t factor_outer(const struct factor *f);
// F' diag(v) G: inner of F x inner of G.
struct node *factor_gram(struct algebra *a, const struct factor *f, struct node *v,
                         const struct factor *g);
// diagonal - diag(terms); NULL: 0.
struct node *structured_excess(struct algebra *a, const struct structured *x);
// Σⱼ tᵢⱼ vⱼ for each row i of a term of a matrix of this type; v NULL: ones.
struct node *term_row_sums(struct algebra *a, const struct tensor_type *type, const struct term *t,
                           struct node *v);
struct term term_transpose(const struct term *t);
const char *place_text(struct btc *b, struct loc loc);         // " at model.btg:12", "" if unknown
const char *product_text(struct btc *b, const struct node *n); // "`a' @ b` (model.btg:12)"

#endif
