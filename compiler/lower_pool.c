// lower_pool.c: pools and their cotangents, planar (scalar) or blocked (a vector of channels a
// step).
//
// A *plane* is one channel, or one block of channels, of one image. Planes are independent; windows
// are clipped to the plane, so padding is never read: -inf for a maximum, 0 for a mean.
#include <math.h>

#include "body.h"

struct pool {
  struct lb *b;
  int64_t planes, h, w, oh, ow; // of x and y
  int64_t size[2], stride[2], pad[2];
  int lanes; // channels a plane
};

static struct pool pool_of(struct lb *b, const struct node *n, const struct node *x,
                           const struct node *y) {
  const int64_t *a = n->attr.i, *xd = x->type.shape.dim, *yd = y->type.shape.dim;
  int lanes = x->block > 0 ? x->block : 1;
  return (struct pool){.b = b,
                       .planes = xd[0] * xd[1] / lanes,
                       .h = xd[2],
                       .w = xd[3],
                       .oh = yd[2],
                       .ow = yd[3],
                       .size = {a[POOL_SIZE], a[POOL_SIZE + 1]},
                       .stride = {a[POOL_STRIDE], a[POOL_STRIDE + 1]},
                       .pad = {a[POOL_PAD], a[POOL_PAD + 1]},
                       .lanes = lanes};
}

static lx element(const struct pool *p, lx plane, lx row, int64_t rows, lx column,
                  int64_t columns) {
  return lx_muli(lx_add(lx_muli(lx_add(lx_muli(plane, rows), row), columns), column), p->lanes);
}
static lx load_x(const struct pool *p, struct loop_buf *x, lx plane, lx r, lx c) {
  lx at = element(p, plane, r, p->h, c, p->w);
  return p->lanes > 1 ? lx_vload(x, at) : lx_load(x, at);
}
static lx load_y(const struct pool *p, struct loop_buf *y, lx plane, lx r, lx c) {
  lx at = element(p, plane, r, p->oh, c, p->ow);
  return p->lanes > 1 ? lx_vload(y, at) : lx_load(y, at);
}

static lx open_planes(const struct pool *p) {
  lx zero = lx_int(p->b, 0), end = lx_int(p->b, p->planes);
  bool small = p->planes * p->lanes * p->h * p->w < 16384;
  return small ? lb_for_range(p->b, "plane", zero, end, 1)
               : lb_parallel_for(p->b, "plane", zero, end, 1);
}

struct window {
  lx row, column;
  lx row_lo, row_hi, column_lo, column_hi;
};

// Opens the loops over windows of a plane, and says where each lies in x.
static struct window open_windows(const struct pool *p) {
  struct lb *b = p->b;
  struct window w = {.row = lb_for(b, "row", p->oh)};
  w.column = lb_for(b, "column", p->ow);
  lx top = lx_addi(lx_muli(w.row, p->stride[0]), -p->pad[0]);
  lx left = lx_addi(lx_muli(w.column, p->stride[1]), -p->pad[1]);
  w.row_lo = lb_let(b, "top", lx_maxi(top, 0));
  w.row_hi = lb_let(b, "bottom", lx_mini(lx_addi(top, p->size[0]), p->h));
  w.column_lo = lb_let(b, "left", lx_maxi(left, 0));
  w.column_hi = lb_let(b, "right", lx_mini(lx_addi(left, p->size[1]), p->w));
  return w;
}

static void open_taps(const struct pool *p, const struct window *w, lx *r, lx *c) {
  *r = lb_for_range(p->b, "r", w->row_lo, w->row_hi, 1);
  *c = lb_for_range(p->b, "c", w->column_lo, w->column_hi, 1);
}

static void close(const struct pool *p, int blocks) {
  for (int i = 0; i < blocks; i++) lb_end(p->b);
}

static struct loop_reg *window_maximum(const struct pool *p, struct loop_buf *x, lx plane,
                                       const struct window *w) {
  struct loop_reg *best =
      lb_reg(p->b, "best", x->type, p->lanes, 0, lx_const(p->b, x->type, 1, -INFINITY));
  lx r, c;
  open_taps(p, w, &r, &c);
  lb_set(p->b, best, lower_extremum(LX_MAX, lx_reg(p->b, best), load_x(p, x, plane, r, c)));
  close(p, 2);
  return best;
}

static void forward(const struct pool *p, bool maximum, struct loop_buf *x, struct loop_buf *y) {
  struct lb *b = p->b;
  lx plane = open_planes(p), result;
  struct window w = open_windows(p);
  if (maximum)
    result = lx_reg(b, window_maximum(p, x, plane, &w));
  else {
    struct loop_reg *sum = lb_reg(b, "sum", x->type, p->lanes, 0, lx_const(b, x->type, 1, 0));
    lx r, c;
    open_taps(p, &w, &r, &c);
    lb_accumulate(b, sum, LX_ADD, load_x(p, x, plane, r, c));
    close(p, 2);
    result =
        lx_mul(lx_reg(b, sum), lx_const(b, x->type, 1, 1.0 / (double)(p->size[0] * p->size[1])));
  }
  lb_store(b, y, element(p, plane, w.row, p->oh, w.column, p->ow), result);
  close(p, 3);
}

static void clear_plane(const struct pool *p, struct loop_buf *dx, lx plane) {
  struct lb *b = p->b;
  lx i = lb_for(b, "i", p->h * p->w);
  lx zero = lx_const(b, dx->type, p->lanes, 0);
  lb_store(b, dx, lx_muli(lx_add(lx_muli(plane, p->h * p->w), i), p->lanes), zero);
  lb_end(b);
}

static void add_to(const struct pool *p, struct loop_buf *dx, lx plane, lx r, lx c, lx v) {
  lb_store(p->b, dx, element(p, plane, r, p->h, c, p->w), lx_add(load_x(p, dx, plane, r, c), v));
}

static void average_dx(const struct pool *p, struct loop_buf *dy, struct loop_buf *dx) {
  struct lb *b = p->b;
  lx plane = open_planes(p), r, c;
  clear_plane(p, dx, plane);
  struct window w = open_windows(p);
  lx share = lx_const(b, dy->type, 1, 1.0 / (double)(p->size[0] * p->size[1]));
  lx d = lb_let(b, "d", lx_mul(load_y(p, dy, plane, w.row, w.column), share));
  open_taps(p, &w, &r, &c);
  add_to(p, dx, plane, r, c, d);
  close(p, 5);
}

// The cotangent goes to the first element that equals the window's maximum; where that is NaN, so
// is some element, and the first such one is meant. `left` is what is still
// to be given away, a count of one in each lane, so that lanes may find theirs at different taps.
static void maximum_dx(const struct pool *p, struct loop_buf *x, struct loop_buf *dy,
                       struct loop_buf *dx) {
  struct lb *b = p->b;
  lx plane = open_planes(p), r, c;
  clear_plane(p, dx, plane);
  struct window w = open_windows(p);
  lx best = lx_reg(b, window_maximum(p, x, plane, &w));
  struct loop_reg *left =
      lb_reg(b, "left", dy->type, p->lanes, 0, load_y(p, dy, plane, w.row, w.column));
  open_taps(p, &w, &r, &c);
  lx zero = lx_const(b, dy->type, p->lanes, 0);
  lx v = lb_let(b, "v", load_x(p, x, plane, r, c));
  lx hit = lb_let(b, "hit", lx_or(lx_eq(v, best), lower_is_nan(v)));
  add_to(p, dx, plane, r, c, lx_select(hit, lx_reg(b, left), zero));
  lb_set(b, left, lx_select(hit, zero, lx_reg(b, left)));
  close(p, 5);
}

void lower_pool(struct fusion *f, struct kernel *k, const struct target *t) {
  const struct node *n = k->roots.data[0].node;
  struct lb *b = lower_begin(f, k, t, op_info(n->op)->name);
  struct loop_buf *in[2];
  for (int i = 0; i < n->n_in; i++)
    in[i] = lower_input(k, b, fusion_value(f, n->in[i]), i ? "dy" : "x");
  bool backward = n->op == OP_max_pool2d_dx || n->op == OP_avg_pool2d_dx;
  struct buffer *to = k->roots.data[0].buffer;
  vec_push(f->arena, &k->arguments, ((struct kernel_argument){to, 0}));
  struct loop_buf *out = (backward ? lb_inout : lb_output)(
      b, backward ? "dx" : "y", lower_type(n->type.dtype), buffer_count(to));
  struct pool p = pool_of(b, n, backward ? n : n->in[0], backward ? n->in[n->n_in - 1] : n);
  switch (n->op) {
  case OP_max_pool2d: forward(&p, true, in[0], out); break;
  case OP_avg_pool2d: forward(&p, false, in[0], out); break;
  case OP_avg_pool2d_dx: average_dx(&p, in[0], out); break;
  default: maximum_dx(&p, in[0], in[1], out); break;
  }
  lower_end(k, b);
}
