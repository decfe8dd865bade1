// loops.h: the loop level, the one form that the code emitters read.
//
// A kernel is a loop nest over buffers of constant size. Expressions are arena trees, statements
// are linked lists; both are made only by the builder below, which folds constants, and checked by
// loop_verify, which proves every access inside its buffer.
//
//   x += 1 over 1000 floats, a vector at a time, the last one masked:
//
//     struct lb *b = lb_new(arena, target, "increment");
//     struct loop_buf *x = lb_inout(b, "x", LT_F32, 1000);
//     lx i = lb_parallel_for(b, "i", lx_int(b, 0), lx_int(b, 1000), target->lanes);
//     lx n = lx_rsub(1000, i);                             // lanes left
//     lb_store_n(b, x, i, n, lx_add(lx_vload_n(x, i, n), lx_vf32(b, 1)));
//     lb_end(b);
//     struct loop_kernel *k = lb_finish(b);
//
// Values are scalars or vectors (of target->lanes lanes) of an element type. Arithmetic takes
// operands of one type; a scalar beside a vector is broadcast by the builder, nothing else converts
// by itself. Index arithmetic is i64 scalar. A bool vector is a lane mask; in memory bool is one
// byte, 0 or 1. u8 values are arithmetic only after lx_convert.
//
// Parameters never overlap one another (`restrict`): in-place work is one lb_inout parameter.
#ifndef BTC_LOOPS_H
#define BTC_LOOPS_H

#include "btc.h"
#include "target.h"

// ---- types ------------------------------------------------------------------------------------
enum loop_type { LT_F32, LT_F64, LT_I32, LT_I64, LT_U8, LT_BOOL };
int loop_type_size(enum loop_type t); // bytes of one element in memory
const char *loop_type_name(enum loop_type t);

enum loop_op { // loop_ops.def, then what is not a plain operator
#define X(ID, name, arity, class, c) LX_##ID,
#include "loop_ops.def"
#undef X
  LX_CONST,  // number: `integer` or `real` by type; a vector constant has equal lanes
  LX_INDEX,  // a loop variable
  LX_REG,    // read of a register (element `a` of a register array)
  LX_LOAD,   // buf[a]; vector: lanes a, a+stride, …; b: how many lanes are valid, others read 0
  LX_GATHER, // lane l reads buf[a_l], a: i32 or i64 vector
  LX_IOTA,   // i32 vector 0, 1, …
  LX_BROADCAST, // scalar -> vector
  LX_CONVERT,   // to another element type; float -> integer truncates, anything -> bool is != 0
  LX_CHECKED,   // a, an integer known to be in [lo, hi) by a check made elsewhere (say so there)
  LX_ADDRESS,   // &buf[a], only as an argument of a call; the callee stays within `extent` elements
  LX_SYMBOL,    // a C identifier, only as an argument of a call (CblasRowMajor)
};

struct loop_buf {
  const char *name;
  enum loop_type type;
  int64_t count; // elements
  enum loop_space {
    LB_PARAM,
    LB_SCRATCH /* of each thread */,
    LB_SHARED /* of all threads */
  } space;
  bool read, write; // parameters: what the kernel may do with them
  int id;           // index in loop_kernel.bufs
};

struct loop_var {
  const char *name;
  int id; // unique in the kernel
  struct loop_stmt *loop;
};

struct loop_reg {
  const char *name;
  enum loop_type type;
  int lanes;
  int count; // 1, or the length of a register array, which is indexed by constants and unrolled
             // loops
  bool array;
  int id;
};

struct loop_expr {
  enum loop_op op;
  enum loop_type type;
  int lanes; // 1: scalar
  struct loop_expr *a, *b, *c;
  int64_t integer; // LX_CONST
  double real;     // LX_CONST
  int64_t lo, hi;  // LX_CHECKED
  int64_t stride;  // LX_LOAD of a vector
  int64_t extent;  // LX_ADDRESS
  struct loop_buf *buf;
  struct loop_var *var;
  struct loop_reg *reg;
  const char *symbol;
  struct lb *builder;
};
typedef struct loop_expr *lx;

enum loop_kind { LF_SERIAL, LF_PARALLEL, LF_UNROLL };
enum loop_stmt_kind {
  LS_FOR,      // var from lo to hi (exclusive) by step: body
  LS_PARALLEL, // region: body runs on every thread, its LF_PARALLEL loops are shared out
  LS_BARRIER,  // directly in a region: phases before and after it
  LS_REG,      // declares reg; value: initial value of every element, may be NULL
  LS_SET,      // reg[index] = value
  LS_STORE,    // buf[index] = value; vector: stride, lanes (how many are stored)
  LS_IF,       // if value: body, else else_body
  LS_CALL,     // [reg =] symbol(args)
  LS_COMMENT,  // symbol
};

struct loop_stmt {
  enum loop_stmt_kind kind;
  struct loop_stmt *next;
  struct loop_stmt *body, *else_body;
  enum loop_kind loop;
  struct loop_var *var;
  lx lo, hi;
  int64_t step;
  struct loop_reg *reg;
  struct loop_buf *buf;
  lx index, value, lanes;
  int64_t stride;
  const char *symbol;
  VEC(lx) args;
};

struct loop_kernel {
  const char *name;
  const char *equation;          // what it computes, for the reader; may be NULL
  VEC(const char *) sources;     // "model.btg:12"
  VEC(struct loop_buf *) params; // in call order
  VEC(struct loop_buf *) bufs;   // params and scratch, by id
  struct loop_stmt *body;
  int lanes; // the target's
  int n_vars, n_regs;
  double flops, bytes; // arithmetic and least memory traffic of one call
};

// Scratch memory comes from the caller. A compiled kernel has after its parameters, where the size
// is not 0, `char *shared_work` (loop_shared_bytes) and then `char *thread_work` (loop_thread_bytes
// for every thread of the OpenMP pool; thread t uses the t-th part), both 64-byte aligned.
size_t loop_shared_bytes(const struct loop_kernel *k);
size_t loop_thread_bytes(const struct loop_kernel *k);
// Where a scratch buffer lies in the shared part, or in its thread's.
size_t loop_scratch_offset(const struct loop_kernel *k, const struct loop_buf *buf);

// ---- the builder ------------------------------------------------------------------------------
struct lb;
struct lb *lb_new(struct arena *arena, const struct target *t, const char *name);
struct loop_kernel *lb_finish(struct lb *b); // dies on an open block
const struct target *lb_target(const struct lb *b);
struct arena *lb_arena(const struct lb *b);
void lb_source(struct lb *b, const char *place); // "model.btg:12"; adds to the list, once each
void lb_equation(struct lb *b, const char *text);
void lb_cost(struct lb *b, double flops, double bytes); // adds

struct loop_buf *lb_input(struct lb *b, const char *name, enum loop_type t, int64_t count);
struct loop_buf *lb_output(struct lb *b, const char *name, enum loop_type t, int64_t count);
struct loop_buf *lb_inout(struct lb *b, const char *name, enum loop_type t, int64_t count);
struct loop_buf *lb_scratch(struct lb *b, const char *name, enum loop_type t, int64_t count);
struct loop_buf *lb_shared(struct lb *b, const char *name, enum loop_type t, int64_t count);

// Blocks: each is closed by lb_end. Loops return their variable. Equal names are made distinct.
lx lb_for(struct lb *b, const char *name, int64_t n);    // 0 … n-1
lx lb_unroll(struct lb *b, const char *name, int64_t n); // the same, unrolled
lx lb_for_range(struct lb *b, const char *name, lx lo, lx hi, int64_t step);
// Iterations must be independent. Inside lb_parallel: shared out, no barrier at its end.
lx lb_parallel_for(struct lb *b, const char *name, lx lo, lx hi, int64_t step);
void lb_parallel(struct lb *b);
void lb_if(struct lb *b, lx condition); // scalar bool
void lb_else(struct lb *b);
void lb_end(struct lb *b);

// Statements.
void lb_barrier(struct lb *b);
void lb_comment(struct lb *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void lb_store(struct lb *b, struct loop_buf *buf, lx index, lx value); // scalar, or whole vector
void lb_store_n(struct lb *b, struct loop_buf *buf, lx index, lx n, lx value); // lanes 0 … n-1
void lb_store_strided(struct lb *b, struct loop_buf *buf, lx index, int64_t stride, lx n, lx value);
void lb_call(struct lb *b, struct loop_reg *result, const char *function, int n_args, ...); // lx …
void lb_call_list(struct lb *b, struct loop_reg *result, const char *function, int n_args,
                  const lx *args);
lx lb_let(struct lb *b, const char *name, lx value); // a named intermediate value

// Registers. count 0: one; else an array. init: of every element, NULL: undefined at first.
struct loop_reg *lb_reg(struct lb *b, const char *name, enum loop_type t, int lanes, int count,
                        lx init);
lx lx_reg(struct lb *b, struct loop_reg *r);
lx lx_reg_at(struct loop_reg *r, lx index);
void lb_set(struct lb *b, struct loop_reg *r, lx value);
void lb_set_at(struct lb *b, struct loop_reg *r, lx index, lx value);
// r = op(r, value), or for LX_FMA the form lb_fma_at: r[index] = x * y + r[index]
void lb_accumulate(struct lb *b, struct loop_reg *r, enum loop_op op, lx value);
void lb_fma_at(struct lb *b, struct loop_reg *r, lx index, lx x, lx y);

// ---- expressions ------------------------------------------------------------------------------
lx lx_int(struct lb *b, int64_t v);                               // i64, for indices
lx lx_const(struct lb *b, enum loop_type t, int lanes, double v); // any element type
lx lx_vf32(struct lb *b, double v);                               // f32 vector
lx lx_iota(struct lb *b);

lx lx_load(struct loop_buf *buf, lx index);          // scalar
lx lx_vload(struct loop_buf *buf, lx index);         // whole vector of consecutive elements
lx lx_vload_n(struct loop_buf *buf, lx index, lx n); // its first n lanes (n <= 0: none), others 0
lx lx_vload_strided(struct loop_buf *buf, lx index, int64_t stride, lx n); // n NULL: all lanes
lx lx_gather(struct loop_buf *buf, lx indices); // keep them inside by lx_min/lx_max or lx_checked
lx lx_checked(lx index, int64_t lo, int64_t hi);

lx lx_unary(enum loop_op op, lx a); // any row of loop_ops.def
lx lx_binary(enum loop_op op, lx a, lx b);
lx lx_add(lx a, lx b);
lx lx_sub(lx a, lx b);
lx lx_mul(lx a, lx b);
lx lx_div(lx a, lx b);
lx lx_min(lx a, lx b);
lx lx_max(lx a, lx b);
lx lx_fma(lx a, lx b, lx c); // a * b + c
lx lx_select(lx condition, lx yes, lx no);
lx lx_draw(enum loop_op op, lx element, lx seed, lx stream); // LX_UNIFORM, LX_NORMAL; keys may stay scalar
lx lx_lt(lx a, lx b);
lx lx_le(lx a, lx b);
lx lx_eq(lx a, lx b);
lx lx_and(lx a, lx b);
lx lx_or(lx a, lx b);
lx lx_not(lx a);
lx lx_broadcast(lx a); // a vector stays as it is
lx lx_convert(lx a, enum loop_type t);
lx lx_hsum(lx a);
lx lx_hmax(lx a);

// Index arithmetic with constants, i64.
lx lx_addi(lx a, int64_t k);
lx lx_muli(lx a, int64_t k);
lx lx_rsub(int64_t k, lx a); // k - a
lx lx_divi(lx a, int64_t k); // a >= 0, k > 0
lx lx_modi(lx a, int64_t k);
lx lx_mini(lx a, int64_t k);
lx lx_maxi(lx a, int64_t k);

// Arguments of calls.
lx lx_address(struct loop_buf *buf, lx index, int64_t extent);
// Asks for the cache line of an element to come into the L2 cache.
void lb_prefetch(struct lb *b, struct loop_buf *buf, lx index);
lx lx_symbol(struct lb *b, const char *name);

// ---- what is done with kernels ----------------------------------------------------------------
// Text form (`--emit=loops`).
void loop_print(FILE *out, const struct loop_kernel *k);

// Proves the kernel sound: every access inside its buffer, types and lanes agree, registers
// declared before use, register arrays indexed by constants and unrolled loops only, parallel loops
// and barriers where they may stand. Returns NULL, or the first fault as a message in the arena,
// which is the compiler's own mistake.
const char *loop_verify(struct arena *arena, const struct loop_kernel *k);

// Equality over everything except name, equation, sources and the names inside, so that identical
// kernels are emitted once; equal kernels have equal hashes.
bool loop_equal(const struct loop_kernel *a, const struct loop_kernel *b);
uint64_t loop_hash(const struct loop_kernel *k);

// Index of a constant, or false.
bool lx_is_int(lx a, int64_t *value);
int lx_arity(enum loop_op op);
const char *lx_op_name(enum loop_op op);

#endif
