// loops_build.c: builds loop kernels. See loops.h for the language.
//
// The builder keeps the open blocks on a stack; each statement goes to the end of the innermost
// one. Index arithmetic is folded as it is built (x + 0, x * 1, constants gathered on the right),
// so that a schedule may be written generally and still prints as one would write it by hand.
#include "loops.h"

#include <stdarg.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

struct lb {
  struct arena *arena;
  const struct target *target;
  struct loop_kernel *kernel;
  struct {
    struct loop_stmt *owner, **tail;
  } open[MAX_DEPTH];
  int depth;
  VEC(const char *) names; // taken
};

// ---- tables -----------------------------------------------------------------------------------
static const struct {
  const char *name;
  int arity;
} op_table[] = {
#define X(ID, name, arity, class, c) {name, arity},
#include "loop_ops.def"
#undef X
};

int lx_arity(enum loop_op op) { return op < LX_CONST ? op_table[op].arity : 0; }
const char *lx_op_name(enum loop_op op) {
  static const char *const rest[] = {"const",     "index",   "reg",     "load",    "gather", "iota",
                                     "broadcast", "convert", "checked", "address", "symbol"};
  return op < LX_CONST ? op_table[op].name : rest[op - LX_CONST];
}

int loop_type_size(enum loop_type t) {
  static const int size[] = {4, 8, 4, 8, 1, 1};
  return size[t];
}
const char *loop_type_name(enum loop_type t) {
  static const char *const name[] = {"f32", "f64", "i32", "i64", "u8", "bool"};
  return name[t];
}
static bool is_float(enum loop_type t) { return t == LT_F32 || t == LT_F64; }

// ---- kernels and buffers ----------------------------------------------------------------------
struct lb *lb_new(struct arena *arena, const struct target *t, const char *name) {
  struct lb *b = NEW(arena, struct lb);
  b->arena = arena;
  b->target = t;
  b->kernel = NEW(arena, struct loop_kernel);
  b->kernel->name = str_printf(arena, "%s", name);
  b->kernel->lanes = t->lanes;
  b->open[0].tail = &b->kernel->body;
  static const char *const reserved[] = {"each", "mine", "shared_work",
                                         "thread_work"}; // emit_c.c's
  for (int i = 0; i < 4; i++) vec_push(arena, &b->names, reserved[i]);
  return b;
}

struct loop_kernel *lb_finish(struct lb *b) {
  expect(b->depth == 0, "kernel %s: %d blocks are still open", b->kernel->name, b->depth);
  return b->kernel;
}

const struct target *lb_target(const struct lb *b) { return b->target; }
struct arena *lb_arena(const struct lb *b) {
  return b->arena;
}

void lb_source(struct lb *b, const char *place) {
  struct loop_kernel *k = b->kernel;
  for (int i = 0; i < k->sources.len; i++)
    if (str_eq(k->sources.data[i], place)) return;
  vec_push(b->arena, &k->sources, str_printf(b->arena, "%s", place));
}
void lb_equation(struct lb *b, const char *text) {
  b->kernel->equation = str_printf(b->arena, "%s", text);
}
void lb_cost(struct lb *b, double flops, double bytes) {
  b->kernel->flops += flops;
  b->kernel->bytes += bytes;
}

static bool name_taken(const struct lb *b, const char *name) {
  for (int i = 0; i < b->names.len; i++)
    if (str_eq(b->names.data[i], name)) return true;
  return false;
}

static const char *fresh_name(struct lb *b, const char *name) {
  const char *result = str_printf(b->arena, "%s", name);
  for (int i = 2; name_taken(b, result); i++) result = str_printf(b->arena, "%s_%d", name, i);
  vec_push(b->arena, &b->names, result);
  return result;
}

static struct loop_buf *new_buf(struct lb *b, const char *name, enum loop_type t, int64_t count,
                                enum loop_space space, bool read, bool write) {
  expect(count > 0, "buffer %s has no elements", name);
  struct loop_buf *buf = NEW(b->arena, struct loop_buf);
  *buf = (struct loop_buf){.name = fresh_name(b, name),
                           .type = t,
                           .count = count,
                           .space = space,
                           .read = read,
                           .write = write,
                           .id = b->kernel->bufs.len};
  vec_push(b->arena, &b->kernel->bufs, buf);
  if (space == LB_PARAM) vec_push(b->arena, &b->kernel->params, buf);
  return buf;
}
struct loop_buf *lb_input(struct lb *b, const char *name, enum loop_type t, int64_t count) {
  return new_buf(b, name, t, count, LB_PARAM, true, false);
}
struct loop_buf *lb_output(struct lb *b, const char *name, enum loop_type t, int64_t count) {
  return new_buf(b, name, t, count, LB_PARAM, false, true);
}
struct loop_buf *lb_inout(struct lb *b, const char *name, enum loop_type t, int64_t count) {
  return new_buf(b, name, t, count, LB_PARAM, true, true);
}
struct loop_buf *lb_scratch(struct lb *b, const char *name, enum loop_type t, int64_t count) {
  return new_buf(b, name, t, count, LB_SCRATCH, true, true);
}
struct loop_buf *lb_shared(struct lb *b, const char *name, enum loop_type t, int64_t count) {
  return new_buf(b, name, t, count, LB_SHARED, true, true);
}

// Each buffer starts on a cache line.
static size_t scratch_walk(const struct loop_kernel *k, enum loop_space space,
                           const struct loop_buf *until) {
  size_t offset = 0;
  for (int i = 0; i < k->bufs.len; i++) {
    const struct loop_buf *buf = k->bufs.data[i];
    if (buf == until) return offset;
    if (buf->space != space) continue;
    size_t bytes = (size_t)buf->count * (size_t)loop_type_size(buf->type);
    offset += (bytes + 63) / 64 * 64;
  }
  return offset;
}
size_t loop_shared_bytes(const struct loop_kernel *k) { return scratch_walk(k, LB_SHARED, NULL); }
size_t loop_thread_bytes(const struct loop_kernel *k) { return scratch_walk(k, LB_SCRATCH, NULL); }
size_t loop_scratch_offset(const struct loop_kernel *k, const struct loop_buf *buf) {
  return scratch_walk(k, buf->space, buf);
}

// ---- statements -------------------------------------------------------------------------------
static struct loop_stmt *add_stmt(struct lb *b, enum loop_stmt_kind kind) {
  struct loop_stmt *s = NEW(b->arena, struct loop_stmt);
  s->kind = kind;
  *b->open[b->depth].tail = s;
  b->open[b->depth].tail = &s->next;
  return s;
}

static void open_block(struct lb *b, struct loop_stmt *owner) {
  expect(b->depth + 1 < MAX_DEPTH, "kernel %s nests too deep", b->kernel->name);
  b->depth++;
  b->open[b->depth].owner = owner;
  b->open[b->depth].tail = &owner->body;
}

void lb_end(struct lb *b) {
  expect(b->depth > 0, "kernel %s: lb_end without a block", b->kernel->name);
  b->depth--;
}

static lx new_expr(struct lb *b, enum loop_op op, enum loop_type type, int lanes) {
  lx e = NEW(b->arena, struct loop_expr);
  e->op = op;
  e->type = type;
  e->lanes = lanes;
  e->builder = b;
  return e;
}

static lx open_loop(struct lb *b, const char *name, enum loop_kind kind, lx lo, lx hi,
                    int64_t step) {
  expect(step > 0, "loop %s: step %lld", name, (long long)step);
  struct loop_var *var = NEW(b->arena, struct loop_var);
  struct loop_stmt *s = add_stmt(b, LS_FOR);
  var->name = fresh_name(b, name);
  var->id = b->kernel->n_vars++;
  var->loop = s;
  s->loop = kind;
  s->var = var;
  s->lo = lo;
  s->hi = hi;
  s->step = step;
  open_block(b, s);
  lx e = new_expr(b, LX_INDEX, LT_I64, 1);
  e->var = var;
  return e;
}
lx lb_for(struct lb *b, const char *name, int64_t n) {
  return open_loop(b, name, LF_SERIAL, lx_int(b, 0), lx_int(b, n), 1);
}
lx lb_unroll(struct lb *b, const char *name, int64_t n) {
  return open_loop(b, name, LF_UNROLL, lx_int(b, 0), lx_int(b, n), 1);
}
lx lb_for_range(struct lb *b, const char *name, lx lo, lx hi, int64_t step) {
  return open_loop(b, name, LF_SERIAL, lo, hi, step);
}
lx lb_parallel_for(struct lb *b, const char *name, lx lo, lx hi, int64_t step) {
  return open_loop(b, name, LF_PARALLEL, lo, hi, step);
}
void lb_parallel(struct lb *b) { open_block(b, add_stmt(b, LS_PARALLEL)); }
void lb_if(struct lb *b, lx condition) {
  struct loop_stmt *s = add_stmt(b, LS_IF);
  s->value = condition;
  open_block(b, s);
}
void lb_else(struct lb *b) {
  struct loop_stmt *s = b->open[b->depth].owner;
  expect(b->depth > 0 && s->kind == LS_IF, "lb_else outside an if");
  b->open[b->depth].tail = &s->else_body;
}
void lb_barrier(struct lb *b) { add_stmt(b, LS_BARRIER); }
void lb_comment(struct lb *b, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  add_stmt(b, LS_COMMENT)->symbol = str_vprintf(b->arena, format, ap);
  va_end(ap);
}

static struct loop_stmt *add_store(struct lb *b, struct loop_buf *buf, lx index, lx value) {
  struct loop_stmt *s = add_stmt(b, LS_STORE);
  s->buf = buf;
  s->index = index;
  s->value = value;
  s->stride = 1;
  return s;
}
void lb_store(struct lb *b, struct loop_buf *buf, lx index, lx value) {
  add_store(b, buf, index, value);
}
static bool all_lanes(lx n, int lanes) {
  int64_t v;
  return !n || (lx_is_int(n, &v) && v >= lanes);
}
void lb_store_n(struct lb *b, struct loop_buf *buf, lx index, lx n, lx value) {
  lb_store_strided(b, buf, index, 1, n, value);
}
void lb_store_strided(struct lb *b, struct loop_buf *buf, lx index, int64_t stride, lx n,
                      lx value) {
  value = lx_broadcast(value);
  struct loop_stmt *s = add_store(b, buf, index, value);
  s->stride = stride;
  s->lanes = all_lanes(n, value->lanes) ? NULL : n;
}

void lb_call_list(struct lb *b, struct loop_reg *result, const char *function, int n_args,
                  const lx *args) {
  struct loop_stmt *s = add_stmt(b, LS_CALL);
  s->symbol = str_printf(b->arena, "%s", function);
  s->reg = result;
  for (int i = 0; i < n_args; i++) vec_push(b->arena, &s->args, args[i]);
}

void lb_call(struct lb *b, struct loop_reg *result, const char *function, int n_args, ...) {
  lx *args = NEW_ARRAY(b->arena, lx, n_args);
  va_list ap;
  va_start(ap, n_args);
  for (int i = 0; i < n_args; i++) args[i] = va_arg(ap, lx);
  va_end(ap);
  lb_call_list(b, result, function, n_args, args);
}

// ---- registers --------------------------------------------------------------------------------
struct loop_reg *lb_reg(struct lb *b, const char *name, enum loop_type t, int lanes, int count,
                        lx init) {
  struct loop_reg *r = NEW(b->arena, struct loop_reg);
  *r = (struct loop_reg){.name = fresh_name(b, name),
                         .type = t,
                         .lanes = lanes,
                         .count = count ? count : 1,
                         .array = count > 0,
                         .id = b->kernel->n_regs++};
  if (init && lanes > 1) init = lx_broadcast(init);
  struct loop_stmt *s = add_stmt(b, LS_REG);
  s->reg = r;
  s->value = init;
  return r;
}
lx lb_let(struct lb *b, const char *name, lx value) {
  if (value->op == LX_CONST || value->op == LX_INDEX) return value;
  return lx_reg(b, lb_reg(b, name, value->type, value->lanes, 0, value));
}
lx lx_reg_at(struct loop_reg *r, lx index) {
  lx e = new_expr(index->builder, LX_REG, r->type, r->lanes);
  e->reg = r;
  e->a = index;
  return e;
}
lx lx_reg(struct lb *b, struct loop_reg *r) { return lx_reg_at(r, lx_int(b, 0)); }
void lb_set_at(struct lb *b, struct loop_reg *r, lx index, lx value) {
  struct loop_stmt *s = add_stmt(b, LS_SET);
  s->reg = r;
  s->index = index;
  s->value = r->lanes > 1 ? lx_broadcast(value) : value;
}
void lb_set(struct lb *b, struct loop_reg *r, lx value) { lb_set_at(b, r, lx_int(b, 0), value); }
void lb_accumulate(struct lb *b, struct loop_reg *r, enum loop_op op, lx value) {
  lb_set(b, r, lx_binary(op, lx_reg(b, r), value));
}
void lb_fma_at(struct lb *b, struct loop_reg *r, lx index, lx x, lx y) {
  lb_set_at(b, r, index, lx_fma(x, y, lx_reg_at(r, index)));
}

// ---- leaves -----------------------------------------------------------------------------------
lx lx_const(struct lb *b, enum loop_type t, int lanes, double v) {
  lx e = new_expr(b, LX_CONST, t, lanes);
  if (is_float(t))
    e->real = v;
  else
    e->integer = to_integer(v, t == LT_I32 ? 32 : 64);
  return e;
}
lx lx_int(struct lb *b, int64_t v) {
  lx e = new_expr(b, LX_CONST, LT_I64, 1);
  e->integer = v;
  return e;
}
lx lx_vf32(struct lb *b, double v) { return lx_const(b, LT_F32, b->target->lanes, v); }
lx lx_iota(struct lb *b) { return new_expr(b, LX_IOTA, LT_I32, b->target->lanes); }
bool lx_is_int(lx a, int64_t *value) {
  if (a->op != LX_CONST || is_float(a->type)) return false;
  *value = a->integer;
  return true;
}

static lx new_load(struct loop_buf *buf, lx index, int lanes, int64_t stride, lx n) {
  lx e = new_expr(index->builder, LX_LOAD, buf->type, lanes);
  e->buf = buf;
  e->a = index;
  e->b = all_lanes(n, lanes) ? NULL : n;
  e->stride = stride;
  return e;
}
lx lx_load(struct loop_buf *buf, lx index) { return new_load(buf, index, 1, 1, NULL); }
lx lx_vload(struct loop_buf *buf, lx index) { return lx_vload_strided(buf, index, 1, NULL); }
lx lx_vload_n(struct loop_buf *buf, lx index, lx n) { return lx_vload_strided(buf, index, 1, n); }
lx lx_vload_strided(struct loop_buf *buf, lx index, int64_t stride, lx n) {
  return new_load(buf, index, index->builder->target->lanes, stride, n);
}
lx lx_gather(struct loop_buf *buf, lx indices) {
  lx e = new_expr(indices->builder, LX_GATHER, buf->type, indices->lanes);
  e->buf = buf;
  e->a = indices;
  return e;
}
lx lx_checked(lx index, int64_t lo, int64_t hi) {
  lx e = new_expr(index->builder, LX_CHECKED, index->type, index->lanes);
  e->a = index;
  e->lo = lo;
  e->hi = hi;
  return e;
}
lx lx_address(struct loop_buf *buf, lx index, int64_t extent) {
  lx e = new_expr(index->builder, LX_ADDRESS, buf->type, 1);
  e->buf = buf;
  e->a = index;
  e->extent = extent;
  return e;
}

void lb_prefetch(struct lb *b, struct loop_buf *buf, lx index) {
  lb_call(b, NULL, "__builtin_prefetch", 3, lx_address(buf, index, 1), lx_int(b, 0), lx_int(b, 2));
}
lx lx_symbol(struct lb *b, const char *name) {
  lx e = new_expr(b, LX_SYMBOL, LT_I64, 1);
  e->symbol = str_printf(b->arena, "%s", name);
  return e;
}

// ---- operators --------------------------------------------------------------------------------
lx lx_broadcast(lx a) {
  if (a->lanes > 1) return a;
  struct lb *b = a->builder;
  lx e = new_expr(b, a->op == LX_CONST ? LX_CONST : LX_BROADCAST, a->type, b->target->lanes);
  if (a->op == LX_CONST)
    e->integer = a->integer, e->real = a->real;
  else
    e->a = a;
  return e;
}

lx lx_convert(lx a, enum loop_type t) {
  if (a->type == t) return a;
  lx e = new_expr(a->builder, LX_CONVERT, t, a->lanes);
  if (a->op == LX_CONST && t != LT_BOOL && a->type != LT_BOOL && t != LT_U8) {
    double v = is_float(a->type) ? a->real : (double)a->integer;
    return lx_const(a->builder, t, a->lanes, v);
  }
  e->a = a;
  return e;
}

static enum loop_type result_type(enum loop_op op, lx a, lx b) {
  switch (op) {
  case LX_LT:
  case LX_LE:
  case LX_EQ:
  case LX_NE: return LT_BOOL;
  case LX_SELECT: return b->type;
  default: return a->type;
  }
}

static lx operation(enum loop_op op, lx a, lx b, lx c) {
  bool horizontal = op == LX_HSUM || op == LX_HMAX || op == LX_HMIN;
  bool vector = a->lanes > 1 || (b && b->lanes > 1) || (c && c->lanes > 1);
  if (vector) {
    a = lx_broadcast(a);
    b = b ? lx_broadcast(b) : NULL;
    c = c ? lx_broadcast(c) : NULL;
  }
  lx e = new_expr(a->builder, op, result_type(op, a, b), horizontal ? 1 : a->lanes);
  e->a = a;
  e->b = b;
  e->c = c;
  return e;
}

// Folds an index operation on two constants; false where it is left alone.
static bool fold_constants(enum loop_op op, int64_t x, int64_t y, int64_t *result) {
  switch (op) {
  case LX_ADD: *result = x + y; return true;
  case LX_SUB: *result = x - y; return true;
  case LX_MUL: *result = x * y; return true;
  case LX_DIV: *result = y ? x / y : 0; return y > 0 && x >= 0;
  case LX_MOD: *result = y ? x % y : 0; return y > 0 && x >= 0;
  case LX_MIN: *result = x < y ? x : y; return true;
  case LX_MAX: *result = x > y ? x : y; return true;
  default: return false;
  }
}

// (e + k1) + k2, (e * k1) * k2: one constant, on the right.
static lx fold_right(enum loop_op op, lx a, int64_t k) {
  struct lb *b = a->builder;
  int64_t inner;
  switch (op) {
  case LX_ADD:
    if (k == 0) return a;
    if (a->op == LX_ADD && lx_is_int(a->b, &inner)) return lx_add(a->a, lx_int(b, inner + k));
    return operation(LX_ADD, a, lx_int(b, k), NULL);
  case LX_MUL:
    if (k == 0) return lx_int(b, 0);
    if (k == 1) return a;
    if (a->op == LX_MUL && lx_is_int(a->b, &inner)) return lx_mul(a->a, lx_int(b, inner * k));
    return operation(LX_MUL, a, lx_int(b, k), NULL);
  case LX_DIV: return k == 1 ? a : operation(op, a, lx_int(b, k), NULL);
  case LX_MOD: return k == 1 ? lx_int(b, 0) : operation(op, a, lx_int(b, k), NULL);
  default: return operation(op, a, lx_int(b, k), NULL);
  }
}

static lx index_binary(enum loop_op op, lx a, lx b) {
  int64_t x, y, folded;
  bool left = lx_is_int(a, &x), right = lx_is_int(b, &y);
  if (left && right && fold_constants(op, x, y, &folded)) return lx_int(a->builder, folded);
  if (left && (op == LX_ADD || op == LX_MUL)) return fold_right(op, b, x);
  if (right && op == LX_SUB) return fold_right(LX_ADD, a, -y);
  if (right) return fold_right(op, a, y);
  return operation(op, a, b, NULL);
}

lx lx_unary(enum loop_op op, lx a) {
  expect(lx_arity(op) == 1, "%s is not unary", lx_op_name(op));
  return operation(op, a, NULL, NULL);
}
lx lx_binary(enum loop_op op, lx a, lx b) {
  expect(lx_arity(op) == 2, "%s is not binary", lx_op_name(op));
  bool index = a->type == LT_I64 && b->type == LT_I64 && a->lanes == 1 && b->lanes == 1;
  return index ? index_binary(op, a, b) : operation(op, a, b, NULL);
}
lx lx_add(lx a, lx b) { return lx_binary(LX_ADD, a, b); }
lx lx_sub(lx a, lx b) { return lx_binary(LX_SUB, a, b); }
lx lx_mul(lx a, lx b) { return lx_binary(LX_MUL, a, b); }
lx lx_div(lx a, lx b) { return lx_binary(LX_DIV, a, b); }
lx lx_min(lx a, lx b) { return lx_binary(LX_MIN, a, b); }
lx lx_max(lx a, lx b) { return lx_binary(LX_MAX, a, b); }
lx lx_lt(lx a, lx b) { return lx_binary(LX_LT, a, b); }
lx lx_le(lx a, lx b) { return lx_binary(LX_LE, a, b); }
lx lx_eq(lx a, lx b) { return lx_binary(LX_EQ, a, b); }
lx lx_and(lx a, lx b) { return lx_binary(LX_AND, a, b); }
lx lx_or(lx a, lx b) { return lx_binary(LX_OR, a, b); }
lx lx_not(lx a) { return lx_unary(LX_NOT, a); }
lx lx_fma(lx a, lx b, lx c) { return operation(LX_FMA, a, b, c); }
lx lx_select(lx condition, lx yes, lx no) { return operation(LX_SELECT, condition, yes, no); }
lx lx_draw(enum loop_op op, lx element, lx seed, lx stream) {
  bool keyed = seed->lanes > 1 || stream->lanes > 1; // a key for each lane
  lx e = new_expr(element->builder, op, LT_F32, 1);
  e->a = keyed ? lx_broadcast(element) : element;
  e->b = keyed ? lx_broadcast(seed) : seed;
  e->c = keyed ? lx_broadcast(stream) : stream;
  e->lanes = e->a->lanes;
  return e;
}
lx lx_hsum(lx a) { return lx_unary(LX_HSUM, a); }
lx lx_hmax(lx a) { return lx_unary(LX_HMAX, a); }

lx lx_addi(lx a, int64_t k) { return lx_add(a, lx_int(a->builder, k)); }
lx lx_muli(lx a, int64_t k) { return lx_mul(a, lx_int(a->builder, k)); }
lx lx_rsub(int64_t k, lx a) { return lx_sub(lx_int(a->builder, k), a); }
lx lx_divi(lx a, int64_t k) { return lx_div(a, lx_int(a->builder, k)); }
lx lx_modi(lx a, int64_t k) { return lx_binary(LX_MOD, a, lx_int(a->builder, k)); }
lx lx_mini(lx a, int64_t k) { return lx_min(a, lx_int(a->builder, k)); }
lx lx_maxi(lx a, int64_t k) { return lx_max(a, lx_int(a->builder, k)); }
