// fuse_internal.h: what the files of fusion share.
//
//   fuse.c          which kernels become one
//   fuse_store.c    what is stored
//   fuse_product.c  what surrounds matrix products
//   fuse_finish.c   what of it waits for sums of columns
//   fuse_parts.c    values that are computed in parts
#ifndef BTC_FUSE_INTERNAL_H
#define BTC_FUSE_INTERNAL_H

#include "body.h"

struct fuser {
  struct fusion *f;
  const struct graph *g;
  struct arena *arena;
  int n; // nodes
  bool *live, *stored;
  int words;        // of a set of nodes
  uint64_t **above; // by node id: all its ancestors
  VEC(struct node *) * users;
};

// ---- sets of small integers -------------------------------------------------------------------
static inline uint64_t *set_new(struct arena *a, int n) {
  return NEW_ARRAY(a, uint64_t, (n + 63) / 64 + 1);
}
static inline bool set_has(const uint64_t *s, int i) { return (s[i >> 6] >> (i & 63)) & 1; }
static inline void set_add(uint64_t *s, int i) { s[i >> 6] |= (uint64_t)1 << (i & 63); }
static inline void set_join(uint64_t *s, const uint64_t *t, int words) {
  for (int i = 0; i < words; i++) s[i] |= t[i];
}

// ---- facts about nodes ------------------------------------------------------------------------
static inline enum op_class class_of(const struct node *n) { return op_info(n->op)->class; }
static inline bool is_memory_leaf(const struct node *n) {
  return n->op == OP_input || n->op == OP_param || n->op == OP_state;
}
static inline bool is_virtual_leaf(const struct node *n) {
  return n->op == OP_constant || n->op == OP_iota;
}
static inline bool is_call(const struct node *n) {
  return class_of(n) == OPAQUE || n->op == OP_argmax;
}
static inline bool is_fold(const struct node *n) {
  return class_of(n) == REDUCE && n->op != OP_argmax;
}
static inline int64_t count_of(const struct node *n) { return shape_count(&n->type.shape); }

// ---- kernels while they are merged ------------------------------------------------------------
// Who writes a buffer; kernels that were merged away are NULL in the table.
struct merger {
  struct fuser *u;
  int n;
  struct kernel **kernel; // by id
  int *writer;            // by buffer id: kernel id or -1
  uint64_t **before;      // by kernel id: all kernels that it depends on
  int words;
};

enum {
  MAX_ROOTS = 8,  // results of one kernel: more want more registers than there are
  MAX_READS = 24, // likewise for its operands
};

// Is what k reads of j's results read point by point?
bool fuse_feeds_point_by_point(const struct merger *m, const struct kernel *j,
                               const struct kernel *k);
// Does a path lead from one kernel to the other through a third?
bool fuse_detour(const struct merger *m, int from, int to);
void fuse_merge(struct merger *m, struct kernel *j, struct kernel *k); // k into j
// What stands against one kernel instead of two, for people; NULL: nothing.
const char *fuse_too_many(const struct kernel *j, const struct kernel *k);
const char *fuse_cannot_follow(const struct merger *m, const struct kernel *j, const struct kernel *k);
// Why k, which reads a result of the product's kernel, is no part of its epilogue.
const char *fuse_not_absorbed(const struct merger *m, const struct kernel *product, const struct kernel *k);
// Why what the product reads is not computed by its prologue.
const char *fuse_not_packed(const struct kernel *product);
void fuse_find_reads(struct fuser *u, struct kernel *k);

void fuse_choose_stored(struct fuser *u); // fuse_store.c

// ---- products (fuse_product.c) ----------------------------------------------------------------
bool fuse_is_product(const struct node *n); // by our own kernels
bool fuse_is_open(const struct node *n);    // and something may be fused into it
// Stores what leaves the epilogue of a product. Called once all that must be stored is.
void fuse_store_results(struct fuser *u);
void fuse_merge_products(struct merger *m);
void fuse_finish_products(struct merger *m);
// The product in whose epilogue n can be computed; NULL: none.
const struct node *fuse_epilogue_of(const struct fuser *u, const struct node *n);
// Can n be computed at the second meeting of a product, whose columns' sums it may want?
bool fuse_may_finish(const struct fuser *u, const struct node *n, const struct node *product);
bool fuse_sums_matrix(const struct node *n); // over rows, columns or both of each matrix
// Drops results that nobody but their own kernel reads, and kernels without others.
void fuse_drop_private(struct fuser *u);

// ---- parts (fuse_parts.c) ---------------------------------------------------------------------
void fuse_store_parts(struct fuser *u);
void fuse_join_parts(struct fuser *u); // once no kernel is merged any more
bool fusion_is_update(const struct fusion *f, const struct buffer *b);

#endif
