// sched_gemm.h: matrix products as loop kernels, with work folded in on both sides.
//
//   C[i][j] = sum over p of A(i, p) * B(p, j)        i < m, j < n, p < k; `batch` times
//
// A and B are whatever the caller can evaluate at (i, p) and (p, j): the *prologue*, computed while
// operands are packed. C is handed to the *epilogue* tile by tile, from registers or from the cache, and
// need not be stored at all: it may be turned into other values of its shape, summed over rows,
// columns or everything, and, where a task owns whole columns (`finish`), met a second time when the
// sums of its columns are known.
//
// Goto's blocking (Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", 2008):
// panels of B in packed form in L2/L3, blocks of A in packed form in L1/L2, register blocks of
// `mr` rows x 2 vectors. Work is split by size, never by the number of threads, and partial sums are
// added in a fixed order: the bits do not depend on the number of threads.
#ifndef BTC_SCHED_GEMM_H
#define BTC_SCHED_GEMM_H

#include "loops.h"

// An operand by element. Vectors run along the axis in which memory is contiguous.
struct gemm_operand {
  bool along_k; // true: a vector is `lanes` consecutive p at one row i (A) or column j (B);
                // false: `lanes` consecutive rows (A) or columns (B) at one p
  // `cross`: the row of A or the column of B. A vector of which the first `lanes_left` lanes are
  // inside (NULL: all); what the others hold does not matter, but nothing outside may be read.
  // Called with the builder inside the packing loops; may emit statements (lb_let) there.
  lx (*vector)(void *user, lx batch, lx cross, lx p, lx lanes_left);
  // Packing runs over p inside the loops over rows or columns. What does not depend on p is computed
  // once per `cross`: called when that index is bound, before the loop over p opens. `cross` and
  // `lanes_left` (NULL where along_k: one row or column) are what `vector` gets inside. May be NULL.
  void (*enter)(void *user, lx batch, lx cross, lx lanes_left);
  void (*leave)(void *user);
  void *user;
};

enum gemm_fold { GEMM_FOLD_ALL /* one number */, GEMM_FOLD_ROWS /* over i: one for each j */, GEMM_FOLD_COLUMNS /* over j: one for each i */ };

// What becomes of C. Every callback gets the place of a vector of C: row i, columns j … j+lanes-1,
// of which the first `lanes_left` are inside (NULL: all).
struct gemm_epilogue {
  void *user;
  int n_folds;
  const enum gemm_fold *folds;
  // Emits whatever is stored for these elements, and fills value[f] (f32 vectors) with what goes into
  // fold f; lanes outside are ignored by the schedule.
  void (*point)(void *user, lx batch, lx i, lx j, lx lanes_left, lx c, lx *value);
  // Asks for what `point` will load and store at a vector: rows of a block, far apart in memory, come while
  // the block is multiplied. May be NULL.
  void (*fetch)(void *user, lx batch, lx i, lx j);
  // Stores a finished sum. ALL: index NULL, scalar. ROWS: a vector of columns from `index`, COLUMNS:
  // a scalar of row `index`. ALL adds f32 within a register block and f64 beyond, and arrives in f64;
  // the others are f32.
  void (*fold_done)(void *user, int fold, lx batch, lx index, lx lanes_left, lx total);
  // With `finish` a task owns whole columns: after every row of a strip of two vectors of columns, the
  // first at a multiple of two vectors, has met `point` and the ROWS folds of the strip are stored, finish
  // is called for every vector of the strip again, in a second loop nest, before the thread goes on to the
  // next strip. NULL: no second meeting.
  void (*finish)(void *user, lx batch, lx i, lx j, lx lanes_left, lx c);
  void (*finish_fetch)(void *user, lx i); // as fetch, for the bound columns. May be NULL
  // Around the loops over i of the second meeting, with the columns bound: hoist here. May be NULL.
  void (*finish_enter)(void *user, lx batch, lx j, lx lanes_left);
  void (*finish_leave)(void *user);
};

struct gemm_shape {
  int64_t batch, m, n, k; // batch >= 1
  bool symmetric;         // A(i, p) == B(p, i): only tiles on or above the diagonal are computed, and the
                          // epilogue, whose folds are then all GEMM_FOLD_ALL, meets the others as
                          // transposed vectors
  int64_t mc, kc, nc;     // blocks; 0: chosen from the shape and the target's caches
};

// Emits the product into an open builder, whose parameters the callbacks use. f32.
void sched_gemm(struct lb *b, const struct gemm_shape *s, const struct gemm_operand *a_operand,
                const struct gemm_operand *b_operand, const struct gemm_epilogue *e);

// A plain product of row-major matrices, y = x w, with either operand read transposed: for tests,
// benchmarks, and as the simplest example of the callbacks. Parameters: x, w, y.
struct loop_kernel *sched_gemm_plain(struct arena *arena, const struct target *t, const char *name,
                                     const struct gemm_shape *s, bool transpose_x, bool transpose_w);

#endif
