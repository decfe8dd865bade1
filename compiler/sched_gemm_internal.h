// sched_gemm_internal.h: what the files of the product schedule share.
//
//   sched_gemm.c           blocks, the nest of loops, the register block
//   sched_gemm_pack.c      operands into panels
//   sched_gemm_epilogue.c  what becomes of C: epilogue, folds, the second meeting
//
// Vocabulary. Columns of C come in *strips* of two vectors, rows in *blocks* of up to 14 (a register
// block is one block of one strip). A *tile* is a run of blocks by a run of strips, done by one task.
// The sum over p is cut into blocks of kc, and, where there are few tiles, into *pieces* that other
// tasks add up.
#ifndef BTC_SCHED_GEMM_INTERNAL_H
#define BTC_SCHED_GEMM_INTERNAL_H

#include "sched_gemm.h"
#include "sizes.h"

enum { STRIP_VECTORS = 2 };

// An operand in packed form: panels (blocks of A, strips of B) of `depth` steps of p, each `width`
// elements.
struct gemm_packed {
  const struct gemm_operand *operand;
  const char *name;
  int64_t extent; // rows of A, columns of B
  int64_t width, depth;
  bool shared; // packed whole, before the tiles, by all threads; else by each task for itself
  struct loop_buf *buf, *stage;
};

struct gemm {
  struct lb *b;
  const struct gemm_shape *s;
  const struct gemm_epilogue *e;
  int64_t lanes, strip;                                   // strip: columns
  int64_t rows, n_big, blocks;                            // blocks have `rows` rows, after n_big one fewer,
  int64_t group_blocks, group_rows;                       // and so again in every group of blocks
  int64_t tile_blocks, row_tiles, tile_rows;              // tile_rows: tile_blocks * rows
  int64_t strips, tile_strips, column_tiles, panel_tiles; // B is packed panel_tiles at a time
  int64_t chunk, kc, k_blocks;                            // packing goes by `chunk` steps of p
  int64_t pieces, piece_blocks;
  bool batch_in_tasks;
  struct gemm_packed left, right; // of a symmetric product the same: A is read out of packed B
  struct loop_buf *tile, *partial; // sums of a tile; of all tiles, piece by piece
  // Folds. A *unit* is what one task contributes along the columns.
  int64_t units;
  struct loop_buf **parts, **across; // by fold: partial sums, and COLUMNS' vectors of this task
  struct loop_reg **all;             // by fold: GEMM_FOLD_ALL's sum in this task
  struct loop_buf *mirror;
};

// Where a task is.
struct gemm_task {
  lx batch, row_tile, unit;
  lx block0, block1, row0, row1; // of the tile
  lx strip0, strip1; // strip1 may lie past the last strip
  lx panel_strip; // the first strip of the packed panels of B
  lx sums;        // where its partial sums start
};

lx gemm_block_row(const struct gemm *g, lx block); // the first row of a block

// Packing: panels first … end-1, steps p0 … p1-1, to panel `to` and step `to_p` of the buffer.
void gemm_pack_buffers(struct gemm *g);
void gemm_pack_shared(struct gemm *g, const struct gemm_packed *o, lx batch, lx first, int64_t panels);
void gemm_pack_local(struct gemm *g, const struct gemm_packed *o, lx batch, lx first, lx end, lx p0, lx p1);

// The epilogue of a task: of each of its strips (`cut`: the last of the matrix, with fewer columns),
// whose sums lie in `tile` from `at`, rows row0 … row1-1 at a time, the first of them row `in_tile` of
// the tile. Then the sums that several tasks contributed to.
void gemm_fold_buffers(struct gemm *g);
void gemm_task_begin(struct gemm *g);
struct gemm_strip *gemm_strip_begin(struct gemm *g, const struct gemm_task *t, lx strip, lx at, bool cut);
void gemm_strip_fetch(struct gemm *g, const struct gemm_strip *s, lx row); // ahead of gemm_strip_rows
void gemm_strip_rows(struct gemm *g, struct gemm_strip *s, lx row0, lx row1, lx in_tile);
void gemm_strip_end(struct gemm *g, struct gemm_strip *s);
void gemm_task_end(struct gemm *g, const struct gemm_task *t);
bool gemm_folds_remain(const struct gemm *g);
void gemm_add_folds(struct gemm *g);

#endif
