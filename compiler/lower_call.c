// lower_call.c: matrix products (calls of BLAS), argmax, and convolutions (sched_conv.c; those of f64
// as plain loops).
#include <math.h>

#include "body.h"
#include "sched_conv.h"

// ---- products by BLAS ---------------------------------------------------------------------------------

struct product {
  int64_t batch, m, n, k;
  bool ta, tb;
};

static struct product product_of(const struct node *y) {
  const struct shape *s = &y->type.shape, *x = &y->in[0]->type.shape;
  struct product p = {.batch = 1, .ta = y->attr.i[MATMUL_TA], .tb = y->attr.i[MATMUL_TB]};
  for (int i = 0; i < s->rank - 2; i++) p.batch *= s->dim[i];
  p.m = s->dim[s->rank - 2];
  p.n = s->dim[s->rank - 1];
  p.k = x->dim[x->rank - (p.ta ? 2 : 1)];
  return p;
}

static lx transposed(struct lb *b, bool t) {
  return lx_symbol(b, t ? "CblasTrans" : "CblasNoTrans");
}

// y: m×n = x: m×k (or its transpose, stored k×m) times w: k×n (or n×k), row-major, `batch` times.
void lower_matmul(struct fusion *f, struct kernel *k, const struct target *t) {
  const struct node *y = k->roots.data[0].node;
  struct product p = product_of(y);
  enum loop_type type = lower_type(y->type.dtype);
  expect(type == LT_F32 || type == LT_F64, "matmul of %s", loop_type_name(type));
  struct lb *b = lower_begin(f, k, t, "matmul");
  struct loop_buf *x = lower_input(k, b, fusion_value(f, y->in[0]), "x");
  bool square = fusion_value(f, y->in[0]) == fusion_value(f, y->in[1]); // one parameter read twice
  struct loop_buf *w = square ? x : lower_input(k, b, fusion_value(f, y->in[1]), "w");
  struct loop_buf *out = lower_output(k, b, k->roots.data[0].buffer, "y");
  lb_equation(b, str_printf(f->arena, "y[%lld,%lld] = x%s w%s over %lld", (long long)p.m,
                            (long long)p.n, p.ta ? "'" : "", p.tb ? "'" : "", (long long)p.k));
  lx i = p.batch > 1 ? lb_for(b, "i", p.batch) : lx_int(b, 0);
  lx one = lx_const(b, type, 1, 1), zero = lx_const(b, type, 1, 0);
  lb_call(b, NULL, type == LT_F32 ? "cblas_sgemm" : "cblas_dgemm", 14,
          lx_symbol(b, "CblasRowMajor"), transposed(b, p.ta), transposed(b, p.tb), lx_int(b, p.m),
          lx_int(b, p.n), lx_int(b, p.k), one, lx_address(x, lx_muli(i, p.m * p.k), p.m * p.k),
          lx_int(b, p.ta ? p.m : p.k), lx_address(w, lx_muli(i, p.k * p.n), p.k * p.n),
          lx_int(b, p.tb ? p.k : p.n), zero, lx_address(out, lx_muli(i, p.m * p.n), p.m * p.n),
          lx_int(b, p.n));
  if (p.batch > 1) lb_end(b);
  lower_end(k, b);
}

// ---- argmax -----------------------------------------------------------------------------------

// x: outer × axis × inner row-major; y[outer][inner] is the index of the first largest.
void lower_argmax(struct fusion *f, struct kernel *k, const struct target *t) {
  const struct node *y = k->roots.data[0].node;
  const struct shape *s = &y->in[0]->type.shape;
  int axis = (int)y->attr.i[0];
  int64_t outer = 1, length = s->dim[axis], inner = 1;
  for (int i = 0; i < axis; i++) outer *= s->dim[i];
  for (int i = axis + 1; i < s->rank; i++) inner *= s->dim[i];
  struct lb *b = lower_begin(f, k, t, "argmax");
  struct loop_buf *x = lower_input(k, b, fusion_value(f, y->in[0]), "x");
  struct loop_buf *out = lower_output(k, b, k->roots.data[0].buffer, "y");
  bool wide = x->type != LT_U8 && x->type != LT_BOOL;
  enum loop_type type = wide ? x->type : LT_I32;
  lx p = outer * inner * length < 16384
             ? lb_for(b, "p", outer * inner)
             : lb_parallel_for(b, "p", lx_int(b, 0), lx_int(b, outer * inner), 1);
  lx first =
      lb_let(b, "first", lx_add(lx_muli(lx_divi(p, inner), length * inner), lx_modi(p, inner)));
  bool real = type == LT_F32 || type == LT_F64; // then NaN is never the largest
  lx start = real ? lx_const(b, type, 1, -INFINITY) : lx_convert(lx_load(x, first), type);
  struct loop_reg *best = lb_reg(b, "best", type, 1, 0, start);
  struct loop_reg *at = lb_reg(b, "at", LT_I64, 1, 0, lx_int(b, 0));
  lx j = lb_for_range(b, "j", lx_int(b, !real), lx_int(b, length), 1);
  lx v = lb_let(b, "v", lx_convert(lx_load(x, lx_add(first, lx_muli(j, inner))), type));
  lb_if(b, lx_lt(lx_reg(b, best), v));
  lb_set(b, best, v);
  lb_set(b, at, j);
  lb_end(b);
  lb_end(b);
  lb_store(b, out, p, lx_convert(lx_reg(b, at), out->type));
  lb_end(b);
  lower_end(k, b);
}

// ---- convolutions -----------------------------------------------------------------------------

struct conv_nodes {
  const struct node *x, *w, *y;
}; // whoever holds each shape: operand, result or cotangent

static struct conv_nodes conv_nodes(const struct node *n) {
  switch (n->op) {
  case OP_conv2d: return (struct conv_nodes){n->in[0], n->in[1], n};
  case OP_conv2d_dx: return (struct conv_nodes){n, n->in[1], n->in[0]};
  default: return (struct conv_nodes){n->in[0], n, n->in[1]};
  }
}

static struct conv_shape conv_shape_of(const struct node *n) {
  struct conv_nodes c = conv_nodes(n);
  const int64_t *x = c.x->type.shape.dim, *w = c.w->type.shape.dim, *y = c.y->type.shape.dim;
  const int64_t *a = n->attr.i;
  return (struct conv_shape){.n = x[0],
                             .ic = x[1],
                             .ih = x[2],
                             .iw = x[3],
                             .oc = y[1],
                             .oh = y[2],
                             .ow = y[3],
                             .kh = w[2],
                             .kw = w[3],
                             .stride = {a[CONV_STRIDE], a[CONV_STRIDE + 1]},
                             .pad = {a[CONV_PAD], a[CONV_PAD + 1]},
                             .dil = {a[CONV_DILATION], a[CONV_DILATION + 1]},
                             .in_blocked = c.x->block > 0,
                             .out_blocked = c.y->block > 0,
                             .groups = a[CONV_GROUPS]};
}

struct taps {
  const struct conv_shape *s;
  int64_t icg, ocg; // channels of a group
  struct lb *b;
};

static lx at4(lx i, lx j, int64_t nj, lx k, int64_t nk, lx l, int64_t nl) {
  return lx_add(lx_muli(lx_add(lx_muli(lx_add(lx_muli(i, nj), j), nk), k), nl), l);
}

// buf[...] where the row and the column are inside, else 0; both are clamped for the load.
static lx load_inside(struct loop_buf *buf, lx i, lx j, int64_t nj, lx row, int64_t rows, lx column,
                      int64_t columns) {
  struct lb *b = row->builder;
  lx zero = lx_int(b, 0);
  lx in_rows = lx_and(lx_le(zero, row), lx_lt(row, lx_int(b, rows)));
  lx in_columns = lx_and(lx_le(zero, column), lx_lt(column, lx_int(b, columns)));
  lx r = lx_mini(lx_maxi(row, 0), rows - 1), c = lx_mini(lx_maxi(column, 0), columns - 1);
  return lx_select(lx_and(in_rows, in_columns), lx_load(buf, at4(i, j, nj, r, rows, c, columns)),
                   lx_const(b, buf->type, 1, 0));
}

static void plain_forward(struct taps g, struct loop_buf *x, struct loop_buf *w,
                          struct loop_buf *y) {
  const struct conv_shape *s = g.s;
  struct lb *b = g.b;
  lx t = lb_parallel_for(b, "t", lx_int(b, 0), lx_int(b, s->n * s->oc), 1);
  lx n = lx_divi(t, s->oc), o = lx_modi(t, s->oc), group = lx_divi(o, g.ocg);
  lx r = lb_for(b, "r", s->oh), c = lb_for(b, "c", s->ow);
  struct loop_reg *sum = lb_reg(b, "sum", y->type, 1, 0, lx_const(b, y->type, 1, 0));
  lx i = lb_for(b, "i", g.icg), p = lb_for(b, "p", s->kh), q = lb_for(b, "q", s->kw);
  lx row = lx_addi(lx_add(lx_muli(r, s->stride[0]), lx_muli(p, s->dil[0])), -s->pad[0]);
  lx column = lx_addi(lx_add(lx_muli(c, s->stride[1]), lx_muli(q, s->dil[1])), -s->pad[1]);
  lx v = load_inside(x, n, lx_add(lx_muli(group, g.icg), i), s->ic, row, s->ih, column, s->iw);
  lb_accumulate(b, sum, LX_ADD, lx_mul(v, lx_load(w, at4(o, i, g.icg, p, s->kh, q, s->kw))));
  for (int l = 0; l < 3; l++) lb_end(b);
  lb_store(b, y, at4(n, o, s->oc, r, s->oh, c, s->ow), lx_reg(b, sum));
  for (int l = 0; l < 3; l++) lb_end(b);
}

// (row + pad - tap * dilation) / stride where that is whole, else a place outside (-1).
static lx source_of(lx row, lx tap, int64_t pad, int64_t dil, int64_t stride) {
  struct lb *b = row->builder;
  lx t = lx_addi(lx_sub(row, lx_muli(tap, dil)), pad), inside = lx_maxi(t, 0);
  lx whole = lx_and(lx_le(lx_int(b, 0), t), lx_eq(lx_modi(inside, stride), lx_int(b, 0)));
  return lx_select(whole, lx_divi(inside, stride), lx_int(b, -1));
}

static void plain_backward_data(struct taps g, struct loop_buf *dy, struct loop_buf *w,
                                struct loop_buf *dx) {
  const struct conv_shape *s = g.s;
  struct lb *b = g.b;
  lx t = lb_parallel_for(b, "t", lx_int(b, 0), lx_int(b, s->n * s->ic), 1);
  lx n = lx_divi(t, s->ic), ic = lx_modi(t, s->ic), group = lx_divi(ic, g.icg),
     i = lx_modi(ic, g.icg);
  lx r = lb_for(b, "r", s->ih), c = lb_for(b, "c", s->iw);
  struct loop_reg *sum = lb_reg(b, "sum", dx->type, 1, 0, lx_const(b, dx->type, 1, 0));
  lx j = lb_for(b, "j", g.ocg), p = lb_for(b, "p", s->kh), q = lb_for(b, "q", s->kw);
  lx o = lx_add(lx_muli(group, g.ocg), j);
  lx row = lb_let(b, "row", source_of(r, p, s->pad[0], s->dil[0], s->stride[0]));
  lx column = lb_let(b, "column", source_of(c, q, s->pad[1], s->dil[1], s->stride[1]));
  lx v = load_inside(dy, n, o, s->oc, row, s->oh, column, s->ow);
  lb_accumulate(b, sum, LX_ADD, lx_mul(v, lx_load(w, at4(o, i, g.icg, p, s->kh, q, s->kw))));
  for (int l = 0; l < 3; l++) lb_end(b);
  lb_store(b, dx, at4(n, ic, s->ic, r, s->ih, c, s->iw), lx_reg(b, sum));
  for (int l = 0; l < 3; l++) lb_end(b);
}

static void plain_backward_weights(struct taps g, struct loop_buf *x, struct loop_buf *dy,
                                   struct loop_buf *dw) {
  const struct conv_shape *s = g.s;
  struct lb *b = g.b;
  lx t = lb_parallel_for(b, "t", lx_int(b, 0), lx_int(b, s->oc * g.icg), 1);
  lx o = lx_divi(t, g.icg), i = lx_modi(t, g.icg), group = lx_divi(o, g.ocg);
  lx p = lb_for(b, "p", s->kh), q = lb_for(b, "q", s->kw);
  struct loop_reg *sum = lb_reg(b, "sum", LT_F64, 1, 0, lx_const(b, LT_F64, 1, 0));
  lx n = lb_for(b, "n", s->n), r = lb_for(b, "r", s->oh), c = lb_for(b, "c", s->ow);
  lx row = lx_addi(lx_add(lx_muli(r, s->stride[0]), lx_muli(p, s->dil[0])), -s->pad[0]);
  lx column = lx_addi(lx_add(lx_muli(c, s->stride[1]), lx_muli(q, s->dil[1])), -s->pad[1]);
  lx v = load_inside(x, n, lx_add(lx_muli(group, g.icg), i), s->ic, row, s->ih, column, s->iw);
  lx d = lx_load(dy, at4(n, o, s->oc, r, s->oh, c, s->ow));
  lb_accumulate(b, sum, LX_ADD, lx_convert(lx_mul(v, d), LT_F64));
  for (int l = 0; l < 3; l++) lb_end(b);
  lb_store(b, dw, at4(o, i, g.icg, p, s->kh, q, s->kw), lx_convert(lx_reg(b, sum), dw->type));
  for (int l = 0; l < 3; l++) lb_end(b);
}

static void lower_plain(struct fusion *f, struct kernel *k, const struct target *t,
                        const struct conv_shape *s) {
  const struct node *n = k->roots.data[0].node;
  struct lb *b = lower_begin(f, k, t, op_info(n->op)->name);
  struct loop_buf *first = lower_input(k, b, fusion_value(f, n->in[0]), "x");
  bool same = fusion_value(f, n->in[0]) == fusion_value(f, n->in[1]);
  struct loop_buf *second = same ? first : lower_input(k, b, fusion_value(f, n->in[1]), "w");
  struct loop_buf *out = lower_output(k, b, k->roots.data[0].buffer, "y");
  struct taps g = {s, s->ic / s->groups, s->oc / s->groups, b};
  if (n->op == OP_conv2d)
    plain_forward(g, first, second, out);
  else if (n->op == OP_conv2d_dx)
    plain_backward_data(g, first, second, out);
  else
    plain_backward_weights(g, first, second, out);
  lower_end(k, b);
}

void lower_conv(struct fusion *f, struct kernel *k, const struct target *t) {
  const struct node *n = k->roots.data[0].node;
  struct conv_shape s = conv_shape_of(n);
  if (n->type.dtype != BT_F32) {
    lower_plain(f, k, t, &s);
    return;
  }
  const char *name = op_info(n->op)->name;
  k->loops = n->op == OP_conv2d      ? sched_conv_forward(f->arena, t, name, &s)
             : n->op == OP_conv2d_dx ? sched_conv_backward_data(f->arena, t, name, &s)
                                     : sched_conv_backward_weights(f->arena, t, name, &s);
  for (int i = 0; i < 2; i++)
    vec_push(f->arena, &k->arguments, ((struct kernel_argument){fusion_value(f, n->in[i]), 0}));
  vec_push(f->arena, &k->arguments, ((struct kernel_argument){k->roots.data[0].buffer, 0}));
  lower_source(f, k);
}
