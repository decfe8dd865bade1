// lower_gather.c: rows picked by a tensor of integers, and their cotangent.
//
// x is outer × rows × inner, y is outer × picked × inner: a row is `inner` elements that lie
// together, copied and added a vector at a time. An index is brought into the axis before it
// becomes an address, so whatever the indices hold, no access leaves its buffer, and the verifier
// can prove it; what lay outside is told by a comparison (ops/gather.c says what becomes of it).
//
// The cotangent writes a row as often as it was picked. A piece of the work owns every STRIPES-th
// row, in one block of columns, clears it, and goes through all indices in order: no element is
// written by two pieces, and its sum has one order, for any number of threads.
#include <math.h>

#include "body.h"

enum {
  COLUMNS = 4096,        // of a block; a multiple of every vector
  STRIPES = 16,          // pieces that the rows of a cotangent are dealt to
  PARALLEL_FROM = 16384, // elements from which threads pay
};

struct rows {
  struct lb *b;
  int64_t outer, rows, inner, picked, blocks;
  int lanes;
  struct loop_buf *from, *indices, *to;
};

static struct rows rows_of(struct lb *b, const struct node *n, const struct shape *x) {
  int axis = (int)n->attr.i[0];
  struct rows r = {.b = b, .outer = 1, .rows = x->dim[axis], .inner = 1};
  for (int i = 0; i < axis; i++) r.outer *= x->dim[i];
  for (int i = axis + 1; i < x->rank; i++) r.inner *= x->dim[i];
  r.picked = shape_count(&n->in[1]->type.shape);
  r.blocks = (r.inner + COLUMNS - 1) / COLUMNS;
  r.lanes = lb_target(b)->lanes;
  return r;
}

// What an index means: a row, or, where `inside` is false, none (`row` is some row all the same).
struct pick {
  lx row, inside;
};

static struct pick pick_at(const struct rows *r, lx j) {
  struct lb *b = r->b;
  lx index = lb_let(b, "index", lx_convert(lx_load(r->indices, j), LT_I64));
  lx at = lb_let(b, "at", lx_select(lx_lt(index, lx_int(b, 0)), lx_addi(index, r->rows), index));
  lx inside = lx_and(lx_le(lx_int(b, 0), at), lx_lt(at, lx_int(b, r->rows)));
  return (struct pick){lb_let(b, "row", lx_mini(lx_maxi(at, 0), r->rows - 1)), inside};
}

// Opens a loop over `count` pieces; the only one needs none.
static lx open_pieces(const struct rows *r, int64_t count, bool parallel) {
  lx zero = lx_int(r->b, 0), end = lx_int(r->b, count);
  if (count == 1) return zero;
  return parallel ? lb_parallel_for(r->b, "p", zero, end, 1)
                  : lb_for_range(r->b, "p", zero, end, 1);
}

// p / k and p % k, of which a k of 1 needs no division.
static lx quotient(lx p, int64_t k) { return k == 1 ? p : lx_divi(p, k); }
static lx remainder_of(lx p, int64_t k) { return k == 1 ? lx_int(p->builder, 0) : lx_modi(p, k); }

// Visits the vectors of one block of a row: `column` counts from the row's beginning, `n` lanes are
// left (NULL: all of a vector).
typedef void visitor(const struct rows *r, lx from, lx to, lx column, lx n);
static void each_vector(const struct rows *r, lx block, lx from, lx to, visitor *visit) {
  struct lb *b = r->b;
  int64_t tail = r->inner % r->lanes, whole = r->inner - tail;
  if (whole > 0) {
    lx first = lx_muli(block, COLUMNS);
    lx last = r->blocks == 1 ? lx_int(b, whole) : lx_mini(lx_addi(first, COLUMNS), whole);
    lx column = lb_for_range(b, "c", first, last, r->lanes);
    visit(r, from, to, column, NULL);
    lb_end(b);
  }
  if (tail == 0) return;
  if (r->blocks > 1) lb_if(b, lx_eq(block, lx_int(b, r->blocks - 1)));
  visit(r, from, to, lx_int(b, whole), lx_int(b, tail));
  if (r->blocks > 1) lb_end(b);
}

// ---- one vector of a row; rows of one element go without vectors ------------------------------

static lx load(const struct rows *r, struct loop_buf *buf, lx at, lx n) {
  return r->inner == 1 ? lx_load(buf, at) : n == NULL ? lx_vload(buf, at) : lx_vload_n(buf, at, n);
}

static void store(const struct rows *r, lx at, lx n, lx value) {
  if (r->inner == 1 || n == NULL)
    lb_store(r->b, r->to, at, value);
  else
    lb_store_n(r->b, r->to, at, n, value);
}

static void copy(const struct rows *r, lx from, lx to, lx column, lx n) {
  store(r, lx_add(to, column), n, load(r, r->from, lx_add(from, column), n));
}

static void add(const struct rows *r, lx from, lx to, lx column, lx n) {
  lx old = load(r, r->to, lx_add(to, column), n);
  store(r, lx_add(to, column), n, lx_add(old, load(r, r->from, lx_add(from, column), n)));
}

static void fill_with(const struct rows *r, lx to, lx column, lx n, lx value) {
  store(r, lx_add(to, column), n, r->inner == 1 ? value : lx_broadcast(value));
}

static void fill_outside(const struct rows *r, lx from, lx to, lx column, lx n) {
  (void)from;
  enum loop_type t = r->to->type;
  lx value = t == LT_F32 || t == LT_F64 ? lx_const(r->b, t, 1, NAN)
             : t == LT_I64              ? lx_int(r->b, INT64_MIN)
                                        : lx_const(r->b, t, 1, t == LT_I32 ? INT32_MIN : 0);
  fill_with(r, to, column, n, value);
}

static void clear(const struct rows *r, lx from, lx to, lx column, lx n) {
  (void)from;
  fill_with(r, to, column, n, lx_const(r->b, r->to->type, 1, 0));
}

// ---- the kernels ------------------------------------------------------------------------------

static void gather(const struct rows *r) {
  struct lb *b = r->b;
  int64_t count = r->outer * r->picked * r->blocks;
  lx p = open_pieces(r, count, r->outer * r->picked * r->inner >= PARALLEL_FROM);
  lx block = remainder_of(p, r->blocks), target = quotient(p, r->blocks);
  lx o = r->outer == 1 ? lx_int(b, 0) : lx_divi(target, r->picked);
  struct pick pick = pick_at(r, r->outer == 1 ? target : remainder_of(target, r->picked));
  lx to = lb_let(b, "to", lx_muli(target, r->inner));
  lx from = lb_let(b, "from", lx_muli(lx_add(lx_muli(o, r->rows), pick.row), r->inner));
  lb_if(b, pick.inside);
  each_vector(r, block, from, to, copy);
  lb_else(b);
  each_vector(r, block, from, to, fill_outside);
  lb_end(b);
  if (count > 1) lb_end(b);
}

static void gather_dx(const struct rows *r) {
  struct lb *b = r->b;
  int64_t work = r->outer * (r->picked + r->rows) * r->inner;
  int64_t stripes = work < PARALLEL_FROM ? 1 : r->rows < STRIPES ? r->rows : STRIPES;
  int64_t count = r->outer * r->blocks * stripes;
  lx p = open_pieces(r, count, work >= PARALLEL_FROM);
  lx stripe = remainder_of(p, stripes), rest = quotient(p, stripes);
  lx block = remainder_of(rest, r->blocks), o = quotient(rest, r->blocks);
  lx own = lb_for_range(b, "own", stripe, lx_int(b, r->rows), stripes);
  each_vector(r, block, NULL, lx_muli(lx_add(lx_muli(o, r->rows), own), r->inner), clear);
  lb_end(b);
  lx j = lb_for(b, "j", r->picked);
  struct pick pick = pick_at(r, j);
  lb_if(b, stripes == 1 ? pick.inside
                        : lx_and(pick.inside, lx_eq(lx_modi(pick.row, stripes), stripe)));
  lx from = lb_let(b, "from", lx_muli(lx_add(lx_muli(o, r->picked), j), r->inner));
  lx to = lb_let(b, "to", lx_muli(lx_add(lx_muli(o, r->rows), pick.row), r->inner));
  each_vector(r, block, from, to, add);
  lb_end(b);
  lb_end(b);
  if (count > 1) lb_end(b);
}

void lower_gather(struct fusion *f, struct kernel *k, const struct target *t) {
  const struct node *n = k->roots.data[0].node;
  bool backward = n->op == OP_gather_dx;
  struct lb *b = lower_begin(f, k, t, op_info(n->op)->name);
  struct rows r = rows_of(b, n, backward ? &n->type.shape : &n->in[0]->type.shape);
  struct buffer *from = fusion_value(f, n->in[0]), *indices = fusion_value(f, n->in[1]);
  r.from = lower_input(k, b, from, backward ? "dy" : "x");
  r.indices = indices == from ? r.from : lower_input(k, b, indices, "indices");
  struct buffer *to = k->roots.data[0].buffer;
  vec_push(f->arena, &k->arguments, ((struct kernel_argument){to, 0}));
  r.to = (backward ? lb_inout : lb_output)(b, backward ? "dx" : "y", lower_type(n->type.dtype),
                                           buffer_count(to));
  lb_equation(b, backward ? "dx[o, indices[j], c] += dy[o, j, c]"
                          : "y[o, j, c] = x[o, indices[j], c]");
  (backward ? gather_dx : gather)(&r);
  lower_end(k, b);
}
