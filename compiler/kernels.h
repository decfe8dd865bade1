// kernels.h: the kernel level: which nodes are computed together, and where their values lie.
//
//   fuse.c    decides which nodes get a buffer and groups them into kernels
//   fuse_product.c, fuse_finish.c, fuse_parts.c  products, and values in parts
//   body.c    a kernel as DAGs of scalar values over iteration spaces
//   plan.c    orders the kernels and gives every buffer its place
//   lower*.c  turns each kernel into a loop nest
//
// Every live node that is not a leaf is either *stored* (some kernel writes it to a buffer) or
// *inlined* (recomputed, through an index map, by each kernel that wants it).
#ifndef BTC_KERNELS_H
#define BTC_KERNELS_H

#include "graph.h"
#include "loops.h"
#include "target.h"

// ---- buffers ----------------------------------------------------------------------------------
enum buffer_space { SPACE_STORE, SPACE_ARENA, SPACE_INPUT, SPACE_OUTPUT };

struct buffer {
  int id;
  const struct node *node; // whose value it holds; its type and layout are the node's
  const char *name;        // workspace of a kernel: what for
  size_t bytes;
  enum buffer_space space;
  int slot;            // STORE: index of the model's tensor; INPUT, OUTPUT: index in the program
  size_t offset;       // STORE, ARENA
  int first, last;     // ARENA: live from kernel `first` to kernel `last` of the order
  struct buffer *over; // written in place over this one, which dies there; NULL: a place of its own
  struct buffer *part_of; // lies in this one, the value of a concat, from `start` along `axis`
  int axis;
  int64_t start;
};

// ---- kernels ----------------------------------------------------------------------------------
enum kernel_kind {
  KERNEL_LOOP,    // elementwise results and reductions over one iteration space, in one sweep
  KERNEL_PRODUCT, // a matrix product: what is read is computed while it is packed (the prologue), what
                  // becomes of a point of the result while it is at hand (the epilogue)
  KERNEL_CALL,    // one opaque op: product by BLAS, convolution, pool, argmax, triangular matrices; or all results of one extern
  KERNEL_JOIN,    // a concat whose parts are written where they belong: nothing to do. Only until the
                  // order is settled
};

// One result. `reduce` says how a point of the space meets it: OP_COUNT stores it, OP_sum,
// OP_reduce_max, … folds it over `axes`, a bit each (in a loop kernel those of every fold are the same).
struct kernel_root {
  const struct node *node;
  struct buffer *buffer;
  enum op reduce;
  unsigned axes;
  bool finish; // KERNEL_PRODUCT: computed at the second meeting, when the sums of columns are known
};

// What is passed for a parameter: the buffer from its `offset`-th element on.
struct kernel_argument {
  struct buffer *buffer;
  int64_t offset;
};

struct kernel {
  int id;
  enum kernel_kind kind;
  VEC(struct kernel_root) roots;
  VEC(struct buffer *) reads; // distinct
  struct shape space;         // what the results are computed over; KERNEL_PRODUCT: the product's
  int block;                  // its layout
  unsigned axes;              // KERNEL_LOOP: reduced axes of the space, a bit each
  const struct node *product; // KERNEL_PRODUCT: the matmul
  struct body *operand[2];    // KERNEL_PRODUCT: its operands, over spaces of their own
  struct body *body;          // the results; KERNEL_PRODUCT: those of the epilogue
  struct body *finish;        // KERNEL_PRODUCT: those of the second meeting; NULL: none
  VEC(struct buffer *) kept;  // results of the epilogue that the second meeting reads, distinct
  VEC(const struct node *) recomputed; // stored by others, and evaluated by the second meeting itself
  struct loop_kernel *loops;
  VEC(struct kernel_argument) arguments; // one per parameter of `loops`
  uint64_t hash;                  // of `loops`
  const struct kernel *same;      // the first kernel with equal loops, maybe itself
  struct buffer *work;            // shared scratch of a call; NULL: none
};

// ---- fusion -----------------------------------------------------------------------------------
// Two kernels of which one reads what the other computes or reads, and why they are not one.
struct fusion_gap {
  const struct kernel *first, *second;
  const char *why;
};

struct fusion {
  const struct graph *graph;
  struct arena *arena;
  const struct model *model;    // names parameters and states; NULL in graph tests
  VEC(struct kernel *) kernels; // in an order that respects data flow
  VEC(struct fusion_gap) gaps;  // for people
  VEC(struct buffer *) buffers;
  struct buffer **buffer;          // by node id: where its value is; NULL: inlined
  struct buffer **update;          // by update: where its new value is, before it is committed
  VEC(const struct node *) inputs; // the program's, in the order of bt_program.inputs
};
struct fusion *fuse_graph(const struct graph *g, const struct model *m,
                          const struct graph *inputs_of);
int fusion_tensor_slot(const struct fusion *f, const char *name); // index of the model's tensor
// The buffer in which node's value can be read as it is, looking through reshapes; NULL: none.
struct buffer *fusion_value(const struct fusion *f, const struct node *n);
struct buffer *fusion_buffer_new(struct fusion *f, const struct node *n, enum buffer_space space,
                                 int slot);
const char *kernel_address(struct arena *a, const struct kernel *k); // "encoder.bn1@a/relu"
bool kernel_reads(const struct kernel *k, const struct buffer *b);

// ---- the plan ---------------------------------------------------------------------------------
struct plan {
  size_t arena_bytes;  // peak
  size_t thread_bytes; // scratch a thread
};
// Orders f->kernels; lets kernels write in place where it is safe.
void plan_order(struct fusion *f);
// Offsets of the arena's buffers, once every kernel is lowered. Dies if two live buffers overlap.
struct plan plan_arena(struct fusion *f);
void plan_check(const struct fusion *f); // dies on an overlap of live buffers
size_t plan_align(size_t bytes);
// The buffer in whose place b lies: itself, or what it is written over or a part of.
struct buffer *buffer_place(struct buffer *b);

// ---- layout -----------------------------------------------------------------------------------
// The graph with every node's `block` chosen for vectors of `lanes`, relayouts put in where needed.
struct graph *pass_layout(const struct graph *g, int lanes);

// ---- lowering ---------------------------------------------------------------------------------
// Gives k its loop nest and the arguments for it. Workspaces become buffers of the arena.
void lower_kernel(struct fusion *f, struct kernel *k, const struct target *t);
void lower_loop(struct fusion *f, struct kernel *k, const struct target *t);
void lower_product(struct fusion *f, struct kernel *k, const struct target *t);
// Is the product of something with its own transpose, and so is what becomes of it?
bool product_symmetric(const struct kernel *k);
void lower_matmul(struct fusion *f, struct kernel *k, const struct target *t); // by BLAS
void lower_conv(struct fusion *f, struct kernel *k, const struct target *t);
void lower_pool(struct fusion *f, struct kernel *k, const struct target *t);
void lower_argmax(struct fusion *f, struct kernel *k, const struct target *t);
void lower_cholesky(struct fusion *f, struct kernel *k, const struct target *t);
void lower_solve_triangular(struct fusion *f, struct kernel *k, const struct target *t);
void lower_random_beta(struct fusion *f, struct kernel *k, const struct target *t);
void lower_random_permutation(struct fusion *f, struct kernel *k, const struct target *t);
void lower_gather(struct fusion *f, struct kernel *k, const struct target *t);
void lower_extern(struct fusion *f, struct kernel *k, const struct target *t);
enum loop_type lower_type(dtype t);
// One elementwise op on loop values: in[] are its operands, `from` the element type of the first.
lx lower_scalar(struct lb *b, enum op op, dtype type, const lx *in);
// LX_MIN or LX_MAX of a and b; NaN where one of them is.
lx lower_extremum(enum loop_op op, lx a, lx b);
lx lower_is_nan(lx a);
// What every lowering does at its start and end: a builder named after the op, sources, arguments.
struct lb *lower_begin(struct fusion *f, struct kernel *k, const struct target *t,
                       const char *name);
void lower_end(struct kernel *k, struct lb *b);
void lower_source(struct fusion *f, struct kernel *k); // for kernels that a scheduler has built
struct loop_buf *lower_input(struct kernel *k, struct lb *b, struct buffer *from, const char *name);
struct loop_buf *lower_output(struct kernel *k, struct lb *b, struct buffer *to, const char *name);

#endif
