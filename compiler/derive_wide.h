// derive_wide.h: between derive_fused.c and its rules: values of a product's shape.
//
// A *wide* value is computed element by element from a product P = op(X)·op(Y): at (i, j) it reads
// P at (i, j), vectors at i or at j, and masks. What is wide and read only by sums, other products
// and further wide values fits into the epilogue of P, which meets every element once.
//
// Notation: B₀(v) repeats a vector along columns, v_i at (i, j); B₁(v) along rows, v_j at (i, j).
#ifndef BTC_DERIVE_WIDE_H
#define BTC_DERIVE_WIDE_H

#include "fold.h"
#include "regions.h"

struct wide {
  note_list *notes;
}; // fold.user of the rules
typedef VEC(struct node *) node_list;

// Says what was done at the place of the node that is being rebuilt; once for each place.
void wide_note(struct fold *f, const char *text);
bool wide_is_mask(const struct node *n); // i == j, of matrices
// The products that x reads element by element, x itself if it is one.
node_list wide_products(struct arena *a, const struct node *x);
bool wide_reads(struct arena *a, const struct node *x, const struct node *product);
// Whether any path leads from `from` to x.
bool wide_depends(struct arena *a, const struct node *x, const struct node *from);
// xᵀ without a transpose, NULL if there is none: a mask, a vector turned, what is symmetric.
struct node *wide_turned(struct fold *f, struct node *x);
// x + y by `merge`, which knows two terms that are better summed at once: tried on x and y, and on
// the terms that they are sums of. NULL: no such two.
typedef struct node *(*wide_merge)(struct fold *f, struct node *x, struct node *y);
struct node *wide_pairs(struct fold *f, const struct node *add, wide_merge merge);

// derive_diagonal.c: the diagonal as a choice by place
struct node *wide_diag_moves_in(struct fold *f, const struct node *n);
struct node *wide_diag_under_mask(struct fold *f, const struct node *n);
struct node *wide_sum_of_diag(struct fold *f, const struct node *n);
struct node *wide_mask_as_number(struct fold *f, const struct node *n);
// What is left of diag(P): its own sums, or a sum in P's epilogue.
struct graph *wide_replace_diagonals(const struct graph *g, note_list *notes);
// derive_turn.c: one orientation
struct node *wide_elementwise_of_transposes(struct fold *f, const struct node *n);
struct node *wide_transpose_vanishes(struct fold *f, const struct node *n);
struct node *wide_sum_of_products(struct fold *f, const struct node *n);
struct node *wide_product_of_scaled(struct fold *f, const struct node *n);
// derive_sums.c: sums where the product is
struct node *wide_sum_of_thin(struct fold *f, const struct node *n);
struct node *wide_sum_of_sums(struct fold *f, const struct node *n);

#endif
