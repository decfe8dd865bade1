// fold.h: between the driver of algebraic simplification (pass_fold.c) and its rules (fold_*.c).
//
// A rule looks at a node that is about to be built, `n`, whose operands are simplified already, and
// returns the node to use in its place, or NULL. It builds through the fold_ functions, so its
// result is simplified in turn. Rules must make progress: fewer nodes, a smaller shape, or an order
// that no other rule undoes.
#ifndef BTC_FOLD_H
#define BTC_FOLD_H

#include "graph.h"

struct known_sum; // fold_sum.c
struct fold_row;
struct fold {
  struct graph *g;               // being built
  int depth;                     // of rules within rules
  bool sole_user;                // the node that the walk is at is the one user of its operand
  const struct rewrite *walk;    // from the graph that is simplified
  const int *uses;               // in that graph
  VEC(struct known_sum *) known; // by node id: what is known of sums over the node
  const struct fold_row *more;   // rules of a derivation, tried after the tables; NULL: none
  void *user;                    // theirs
};
typedef struct node *(*fold_rule)(struct fold *f, const struct node *n);
struct fold_row {
  enum op op; // OP_COUNT: any
  fold_rule apply;
};

// Simplifies by the tables and by `more`, which ends with a NULL rule, until nothing changes.
struct graph *fold_with(const struct graph *g, const struct fold_row *more, void *user);

extern const struct fold_row fold_arithmetic[]; // ends with a NULL rule
extern const struct fold_row fold_movement[];
extern const struct fold_row fold_reduction[];
// Rules for any op of class ELEMENTWISE; tried before the tables.
struct node *fold_elementwise(struct fold *f, const struct node *n);

// ---- building simplified nodes; arguments as the g_ builders' ----------------------------------
struct node *fold_node(struct fold *f, enum op op, struct node *const *in, int n_in,
                       const struct attr *attr, const struct tensor_type *type);
struct node *fold_unary(struct fold *f, enum op op, struct node *x);
struct node *fold_binary(struct fold *f, enum op op, struct node *x, struct node *y); // one shape
struct node *fold_broadcast(struct fold *f, struct node *x, const struct shape *to,
                            const int64_t *axes);
struct node *fold_reshape(struct fold *f, struct node *x, const struct shape *to);
struct node *fold_transpose(struct fold *f, struct node *x, const int64_t *perm);
struct node *fold_sum(struct fold *f, struct node *x, unsigned axes); // a set: bit i is axis i

// ---- looking at nodes -------------------------------------------------------------------------
bool fold_constant(const struct node *n, double *value); // a constant, or one broadcast
bool fold_is(const struct node *n, double value);        // is that constant
bool fold_narrow(const struct node *n);   // a constant, or broadcast from fewer elements
bool fold_swaps(const struct node *n);    // is a transpose of the last two axes
// Whether n compares an element's places on the last two axes: the mask of a diagonal.
bool fold_compares_places(const struct node *n);
// Whether n is the only user of its one operand, which then dies with it: redoing it is free.
bool fold_may_replace_operand(const struct fold *f);
// How many use what x stands for, in the graph that is simplified.
int fold_uses(const struct fold *f, const struct node *x);
struct node *fold_full(struct fold *f, const struct tensor_type *type, double value);

#endif
