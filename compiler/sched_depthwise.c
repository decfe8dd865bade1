// sched_depthwise.c: convolutions of a channel at a time: each output channel reads its own input channel.
//
// A vector is `lanes` channels of one pixel; a tap multiplies it by the vector of these channels'
// weights. There is little arithmetic to a byte, so images go one channel block at a time: the block
// is copied into a zero halo, which turns planar images into blocks on the way, and read from there
// out of the cache. Where nothing lies beyond the edge and the image is in blocks, it is read in place.
//
// Forward and backward data are one schedule of axes and phases, as in sched_conv.c. Backward weights
// keeps a vector for each tap, over strips of rows; partial results of sets of images are added in
// order.
#include "sched_conv_internal.h"

// One channel block of an image, as the inner loops read it.
struct plane {
  struct loop_buf *given, *staged; // staged NULL: read in place
  bool blocked;                    // the layout of what is given
  int64_t channels, blocks, h, w;
  int64_t before[2], rows, columns; // zero halo in front, and size with halo
};

static struct plane make_plane(struct lb *b, struct loop_buf *given, bool blocked, int64_t channels,
                               int64_t h, int64_t w, const int64_t lo[2], const int64_t hi[2]) {
  int64_t lanes = lb_target(b)->lanes;
  struct plane p = {.given = given, .blocked = blocked, .channels = channels, .h = h, .w = w};
  p.blocks = ceil_div(channels, lanes);
  p.before[0] = max64(0, -lo[0]);
  p.before[1] = max64(0, -lo[1]);
  p.rows = p.before[0] + max64(h, hi[0] + 1);
  p.columns = p.before[1] + max64(w, hi[1] + 1);
  if (!blocked || p.rows > h || p.columns > w)
    p.staged = lb_scratch(b, "staged", LT_F32, p.rows * p.columns * lanes);
  return p;
}

// Of channel block cb: how many channels are left, NULL where that is a whole vector.
static lx channels_left(const struct plane *p, lx cb) {
  int64_t lanes = lb_target(cb->builder)->lanes;
  return p->channels % lanes ? lx_rsub(p->channels, lx_muli(cb, lanes)) : NULL;
}

static lx blocked_at(const struct plane *p, lx n, lx cb, lx pixel) {
  lx block = lx_add(lx_muli(n, p->blocks), cb);
  return lx_muli(lx_add(lx_muli(block, p->h * p->w), pixel), lb_target(cb->builder)->lanes);
}
static lx planar_at(const struct plane *p, lx n, lx cb, lx pixel) {
  lx channel = lx_add(lx_muli(n, p->channels), lx_muli(cb, lb_target(cb->builder)->lanes));
  return lx_add(lx_muli(channel, p->h * p->w), pixel);
}

static void stage_plane(struct lb *b, const struct plane *p, lx n, lx cb) {
  if (!p->staged) return;
  lx row = lb_for(b, "row", p->h), column = lb_for(b, "column", p->w);
  lx pixel = lx_add(lx_muli(row, p->w), column);
  lx to = lx_add(lx_muli(lx_addi(row, p->before[0]), p->columns), lx_addi(column, p->before[1]));
  lx value = p->blocked ? lx_vload(p->given, blocked_at(p, n, cb, pixel))
                        : lx_vload_strided(p->given, planar_at(p, n, cb, pixel), p->h * p->w,
                                           channels_left(p, cb));
  lb_store(b, p->staged, lx_muli(to, lb_target(b)->lanes), value);
  lb_end(b);
  lb_end(b);
}

static lx plane_at(const struct plane *p, lx n, lx cb, lx row, lx column) {
  if (!p->staged) return blocked_at(p, n, cb, lx_add(lx_muli(row, p->w), column));
  lx at = lx_add(lx_muli(lx_addi(row, p->before[0]), p->columns), lx_addi(column, p->before[1]));
  return lx_muli(at, lb_target(row->builder)->lanes);
}
static struct loop_buf *plane_buf(const struct plane *p) { return p->staged ? p->staged : p->given; }

static void clear_plane(struct lb *b, const struct plane *p) {
  if (!p->staged) return;
  int64_t lanes = lb_target(b)->lanes;
  lx i = lb_for_range(b, "i", lx_int(b, 0), lx_int(b, p->rows * p->columns * lanes), lanes);
  lb_store(b, p->staged, i, lx_vf32(b, 0));
  lb_end(b);
}

// ---- forward and backward data ----------------------------------------------------------------
struct depthwise {
  struct lb *b;
  int64_t n, kh, kw;
  struct plane src, out; // of out only the layout and the sizes
  struct loop_buf *w, *packed; // packed[channel block][p][q][lanes]
};

static void pack_taps(struct depthwise *d) {
  struct lb *b = d->b;
  int64_t lanes = lb_target(b)->lanes, taps = d->kh * d->kw;
  lx i = lb_parallel_for(b, "i", lx_int(b, 0), lx_int(b, d->src.blocks * taps), 1);
  lx cb = lx_divi(i, taps), from = lx_add(lx_muli(cb, lanes * taps), lx_modi(i, taps));
  lb_store(b, d->packed, lx_muli(i, lanes),
           lx_vload_strided(d->w, from, taps, channels_left(&d->src, cb)));
  lb_end(b);
}

// `columns` outputs of one row of a phase, from x0 on.
static void depthwise_run(struct depthwise *d, const struct axis axes[2], lx n, lx cb, lx y, lx x0,
                          int64_t columns) {
  struct lb *b = d->b;
  int64_t lanes = lb_target(b)->lanes;
  struct axis ay = axes[0], ax = axes[1];
  struct loop_reg *acc = lb_reg(b, "acc", LT_F32, (int)lanes, (int)columns, lx_vf32(b, 0));
  if (ay.taps && ax.taps) {
    lx i = lb_for(b, "p", ay.taps), j = lb_for(b, "q", ax.taps);
    lx p = lx_addi(lx_muli(i, ay.k_step), ay.k), q = lx_addi(lx_muli(j, ax.k_step), ax.k);
    lx tap = lx_add(lx_muli(lx_add(lx_muli(cb, d->kh), p), d->kw), q);
    lx weight = lb_let(b, "weight", lx_vload(d->packed, lx_muli(tap, lanes)));
    lx row = lx_addi(lx_add(lx_muli(y, ay.src_stride), lx_muli(i, ay.off_step)), ay.off);
    lx column = lx_addi(lx_add(lx_muli(x0, ax.src_stride), lx_muli(j, ax.off_step)), ax.off);
    lx at = lb_let(b, "at", plane_at(&d->src, n, cb, row, column));
    lx c = lb_unroll(b, "c", columns);
    lx x = lx_vload(plane_buf(&d->src), lx_add(at, lx_muli(c, ax.src_stride * lanes)));
    lb_fma_at(b, acc, c, x, weight);
    for (int l = 0; l < 3; l++) lb_end(b);
  }
  lx c = lb_unroll(b, "c", columns);
  lx row = lx_addi(lx_muli(y, ay.out_stride), ay.out_phase);
  lx column = lx_addi(lx_muli(lx_add(x0, c), ax.out_stride), ax.out_phase);
  lx pixel = lx_add(lx_muli(row, d->out.w), column), value = lx_reg_at(acc, c);
  if (d->out.blocked)
    lb_store(b, d->out.given, blocked_at(&d->out, n, cb, pixel), value);
  else
    lb_store_strided(b, d->out.given, planar_at(&d->out, n, cb, pixel), d->out.h * d->out.w,
                     channels_left(&d->out, cb), value);
  lb_end(b);
}

static void depthwise_phase(struct depthwise *d, const struct axis axes[2], lx n, lx cb) {
  if (!axes[0].count || !axes[1].count) return;
  struct lb *b = d->b;
  struct split columns = conv_split(axes[1].count, target_block_rows(lb_target(b)));
  lx y = lb_for(b, "y", axes[0].count);
  for (int part = 0; part < 2; part++) {
    if (!conv_split_has(columns, part)) continue;
    int64_t width;
    lx x0 = conv_split_loop(b, "x", columns, part, &width);
    depthwise_run(d, axes, n, cb, y, x0, width);
    lb_end(b);
  }
  lb_end(b);
}

static struct loop_kernel *depthwise_gather(struct depthwise *d, const struct axis *axes[2],
                                            const int phases[2]) {
  struct lb *b = d->b;
  lb_parallel(b);
  pack_taps(d);
  clear_plane(b, &d->src);
  lb_barrier(b);
  lx item = lb_parallel_for(b, "item", lx_int(b, 0), lx_int(b, d->n * d->src.blocks), 1);
  lx n = lx_divi(item, d->src.blocks), cb = lx_modi(item, d->src.blocks);
  stage_plane(b, &d->src, n, cb);
  for (int i = 0; i < phases[0]; i++)
    for (int j = 0; j < phases[1]; j++)
      depthwise_phase(d, (struct axis[2]){axes[0][i], axes[1][j]}, n, cb);
  lb_end(b);
  lb_end(b);
  return lb_finish(b);
}

bool conv_is_depthwise(const struct conv_shape *s) { return s->groups == s->ic && s->ic == s->oc && s->ic > 1; }

static struct depthwise depthwise_begin(struct lb *b, const struct conv_shape *s) {
  return (struct depthwise){.b = b, .n = s->n, .kh = s->kh, .kw = s->kw};
}

static void depthwise_planes(struct depthwise *d, const struct axis *axes[2], const int phases[2],
                             int64_t channels, struct loop_buf *src, bool src_blocked, int64_t h,
                             int64_t w) {
  int64_t lo[2] = {0, 0}, hi[2] = {0, 0};
  for (int k = 0; k < 2; k++)
    for (int i = 0; i < phases[k]; i++) conv_axis_reach(axes[k][i], &lo[k], &hi[k]);
  d->src = make_plane(d->b, src, src_blocked, channels, h, w, lo, hi);
  d->packed = lb_shared(d->b, "packed", LT_F32,
                        d->src.blocks * d->kh * d->kw * lb_target(d->b)->lanes);
}

static struct plane out_plane(const struct depthwise *d, struct loop_buf *out, bool blocked,
                              int64_t channels, int64_t h, int64_t w) {
  return (struct plane){.given = out, .blocked = blocked, .channels = channels,
                        .blocks = d->src.blocks, .h = h, .w = w};
}

struct loop_kernel *sched_depthwise_forward(struct lb *b, const struct conv_shape *s) {
  struct depthwise d = depthwise_begin(b, s);
  struct loop_buf *x = lb_input(b, "x", LT_F32, s->n * s->ic * s->ih * s->iw);
  d.w = lb_input(b, "w", LT_F32, s->oc * s->kh * s->kw);
  struct loop_buf *y = lb_output(b, "y", LT_F32, s->n * s->oc * s->oh * s->ow);
  struct axis rows = conv_forward_axis(s->oh, s->kh, s->stride[0], s->pad[0], s->dil[0]);
  struct axis columns = conv_forward_axis(s->ow, s->kw, s->stride[1], s->pad[1], s->dil[1]);
  const struct axis *axes[] = {&rows, &columns};
  const int phases[] = {1, 1};
  depthwise_planes(&d, axes, phases, s->ic, x, s->in_blocked, s->ih, s->iw);
  d.out = out_plane(&d, y, s->out_blocked, s->oc, s->oh, s->ow);
  return depthwise_gather(&d, axes, phases);
}

struct loop_kernel *sched_depthwise_backward_data(struct lb *b, const struct conv_shape *s) {
  struct depthwise d = depthwise_begin(b, s);
  struct arena *arena = lb_arena(b);
  struct loop_buf *dy = lb_input(b, "dy", LT_F32, s->n * s->oc * s->oh * s->ow);
  d.w = lb_input(b, "w", LT_F32, s->oc * s->kh * s->kw);
  struct loop_buf *dx = lb_output(b, "dx", LT_F32, s->n * s->ic * s->ih * s->iw);
  const struct axis *axes[] = {
      conv_backward_axes(arena, s->ih, s->kh, s->stride[0], s->pad[0], s->dil[0]),
      conv_backward_axes(arena, s->iw, s->kw, s->stride[1], s->pad[1], s->dil[1])};
  const int phases[] = {(int)s->stride[0], (int)s->stride[1]};
  depthwise_planes(&d, axes, phases, s->oc, dy, s->out_blocked, s->oh, s->ow);
  d.out = out_plane(&d, dx, s->in_blocked, s->ic, s->ih, s->iw);
  return depthwise_gather(&d, axes, phases);
}

// ---- backward weights -------------------------------------------------------------------------
struct depthwise_weights {
  struct lb *b;
  const struct conv_shape *s;
  struct plane x, dy;
  struct loop_buf *partial, *dw; // partial[set][channel block][p][q][lanes]
  int64_t sets, per_set;         // sets of images
};

static lx tap_at(const struct depthwise_weights *d, lx set, lx cb, lx p, lx q) {
  lx i = lx_add(lx_muli(lx_add(lx_muli(set, d->x.blocks), cb), d->s->kh), p);
  return lx_muli(lx_add(lx_muli(i, d->s->kw), q), lb_target(d->b)->lanes);
}

// Taps p0 … p0 + rows, q0 … q0 + columns over pixel rows y0 … y1 of one image.
static void weight_taps(struct depthwise_weights *d, lx set, lx n, lx cb, lx p0, int64_t rows, lx q0,
                        int64_t columns, lx y0, lx y1) {
  struct lb *b = d->b;
  const struct conv_shape *s = d->s;
  int64_t lanes = lb_target(b)->lanes;
  struct loop_reg *acc = lb_reg(b, "acc", LT_F32, (int)lanes, (int)(rows * columns), lx_vf32(b, 0));
  lx y = lb_for_range(b, "y", y0, y1, 1), x = lb_for(b, "x", s->ow);
  lx row = lx_addi(lx_add(lx_muli(y, s->stride[0]), lx_muli(p0, s->dil[0])), -s->pad[0]);
  lx column = lx_addi(lx_add(lx_muli(x, s->stride[1]), lx_muli(q0, s->dil[1])), -s->pad[1]);
  lx at = lb_let(b, "at", plane_at(&d->x, n, cb, row, column));
  lx dy = lb_let(b, "dy_", lx_vload(plane_buf(&d->dy), plane_at(&d->dy, n, cb, y, x)));
  lx p = lb_unroll(b, "p", rows), q = lb_unroll(b, "q", columns);
  lx tap = lx_add(lx_muli(p, s->dil[0] * d->x.columns), lx_muli(q, s->dil[1]));
  lb_fma_at(b, acc, lx_add(lx_muli(p, columns), q),
            lx_vload(plane_buf(&d->x), lx_add(at, lx_muli(tap, lanes))), dy);
  for (int l = 0; l < 4; l++) lb_end(b);
  p = lb_unroll(b, "p", rows), q = lb_unroll(b, "q", columns);
  lx to = tap_at(d, set, cb, lx_add(p0, p), lx_add(q0, q));
  lb_store(b, d->partial, to,
           lx_add(lx_vload(d->partial, to), lx_reg_at(acc, lx_add(lx_muli(p, columns), q))));
  lb_end(b);
  lb_end(b);
}

// All taps at a time where the registers hold them, else a row of them, or a part of one.
static void weight_image(struct depthwise_weights *d, lx set, lx n, lx cb) {
  struct lb *b = d->b;
  const struct conv_shape *s = d->s;
  int64_t limit = target_block_rows(lb_target(b)) * OV, strip = max64(1, STRIP_PIXELS / s->ow);
  int64_t rows = s->kh * s->kw <= limit ? s->kh : 1;
  struct split columns = conv_split(s->kw, limit);
  lx y0 = lb_for_range(b, "y", lx_int(b, 0), lx_int(b, s->oh), strip);
  lx y1 = lb_let(b, "y_end", lx_mini(lx_addi(y0, strip), s->oh));
  lx p0 = lx_muli(lb_for(b, "p", s->kh / rows), rows);
  for (int part = 0; part < 2; part++) {
    if (!conv_split_has(columns, part)) continue;
    int64_t width;
    lx q0 = conv_split_loop(b, "q", columns, part, &width);
    weight_taps(d, set, n, cb, p0, rows, q0, width, y0, y1);
    lb_end(b);
  }
  lb_end(b);
  lb_end(b);
}

static void weight_set(struct depthwise_weights *d, lx set, lx cb) {
  struct lb *b = d->b;
  int64_t lanes = lb_target(b)->lanes, taps = d->s->kh * d->s->kw;
  lx from = tap_at(d, set, cb, lx_int(b, 0), lx_int(b, 0));
  lx i = lb_for(b, "i", taps);
  lb_store(b, d->partial, lx_add(from, lx_muli(i, lanes)), lx_vf32(b, 0));
  lb_end(b);
  lx first = lx_muli(set, d->per_set), last = lx_mini(lx_addi(first, d->per_set), d->s->n);
  lx n = lb_for_range(b, "n", first, last, 1);
  stage_plane(b, &d->x, n, cb);
  stage_plane(b, &d->dy, n, cb);
  weight_image(d, set, n, cb);
  lb_end(b);
}

static void add_sets(struct depthwise_weights *d) {
  struct lb *b = d->b;
  int64_t lanes = lb_target(b)->lanes, taps = d->s->kh * d->s->kw, all = d->x.blocks * taps;
  lx i = lb_parallel_for(b, "i", lx_int(b, 0), lx_int(b, all), 1);
  struct loop_reg *sum =
      lb_reg(b, "sum", LT_F32, (int)lanes, 0, lx_vload(d->partial, lx_muli(i, lanes)));
  if (d->sets > 1) {
    lx set = lb_for_range(b, "set", lx_int(b, 1), lx_int(b, d->sets), 1);
    lb_accumulate(b, sum, LX_ADD,
                  lx_vload(d->partial, lx_muli(lx_add(lx_muli(set, all), i), lanes)));
    lb_end(b);
  }
  lx cb = lx_divi(i, taps), to = lx_add(lx_muli(cb, lanes * taps), lx_modi(i, taps));
  lb_store_strided(b, d->dw, to, taps, channels_left(&d->x, cb), lx_reg(b, sum));
  lb_end(b);
}

struct loop_kernel *sched_depthwise_backward_weights(struct lb *b, const struct conv_shape *s) {
  struct depthwise_weights d = {.b = b, .s = s};
  int64_t lanes = lb_target(b)->lanes;
  struct loop_buf *x = lb_input(b, "x", LT_F32, s->n * s->ic * s->ih * s->iw);
  struct loop_buf *dy = lb_input(b, "dy", LT_F32, s->n * s->oc * s->oh * s->ow);
  d.dw = lb_output(b, "dw", LT_F32, s->oc * s->kh * s->kw);
  struct axis rows = conv_forward_axis(s->oh, s->kh, s->stride[0], s->pad[0], s->dil[0]);
  struct axis columns = conv_forward_axis(s->ow, s->kw, s->stride[1], s->pad[1], s->dil[1]);
  int64_t lo[2] = {0, 0}, hi[2] = {0, 0}, none[2] = {0, 0};
  conv_axis_reach(rows, &lo[0], &hi[0]);
  conv_axis_reach(columns, &lo[1], &hi[1]);
  d.x = make_plane(b, x, s->in_blocked, s->ic, s->ih, s->iw, lo, hi);
  d.dy = make_plane(b, dy, s->out_blocked, s->oc, s->oh, s->ow, none, none);
  d.per_set = ceil_div(s->n, min64(s->n, max64(2, ceil_div(16, d.x.blocks))));
  d.sets = ceil_div(s->n, d.per_set);
  d.partial = lb_shared(b, "partial", LT_F32, d.sets * d.x.blocks * s->kh * s->kw * lanes);
  lb_parallel(b);
  clear_plane(b, &d.x);
  lx item = lb_parallel_for(b, "item", lx_int(b, 0), lx_int(b, d.sets * d.x.blocks), 1);
  weight_set(&d, lx_divi(item, d.x.blocks), lx_modi(item, d.x.blocks));
  lb_end(b);
  lb_barrier(b);
  add_sets(&d);
  lb_end(b);
  return lb_finish(b);
}
