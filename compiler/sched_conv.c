// sched_conv.c: direct convolution, forward and backward data, as loop nests with register blocks.
//
// Forward and backward-data are one schedule. Along each axis, outputs t = 0, 1, … of one *phase*
// are
//
//   out[t * out_stride + out_phase] = sum over taps j of  k[k0 + j * k_step] * src[t * src_stride +
//   off + j * off_step]
//
// Forward has one phase and src_stride = stride. Backward data has `stride` phases (the residues of
// the input position), each a stride-1 convolution of dy with the taps that reach it, which are an
// arithmetic progression; a phase that no tap reaches is written as zeros.
//
// An image is staged into a zero-halo copy unless nothing is read beyond its edge. The copy keeps
// the channel block of its source: 1 (planar) or `lanes`, because the inner loop broadcasts single
// elements and does not care; so a first layer of 1 or 3 channels is not padded. Weights are packed
// once a call to [group][channel block][kh][kw][channel in block][vectors * lanes]. Accumulators of
// 2 vectors of output channels x up to 14 pixels stay in registers over all channels and taps.
//
// Groups: a vector of output channels must be of one convolution group. Where groups are narrower than
// a vector, as many as fill whole vectors are taken together as a dense convolution whose weights are
// zero between them (a *bundle*): the arithmetic that this wastes is at vector speed.
#include "sched_conv_internal.h"

struct gather_conv {
  struct lb *b;
  int64_t n, src_channels, out_channels, out_h, out_w, kh, kw;
  int64_t w_out_stride, w_src_stride; // of the two channels in w
  bool out_blocked;
  struct source src;
  struct bundle bundle;
  int64_t ov; // vectors of output channels in a register block
  struct loop_buf *w, *packed, *out;
  int64_t vectors, chunk; // vectors of output channels; images staged together
  lx first;               // image of the chunk at hand
};

// packed[group][cb][p][q][channel in block][v * lanes], group of ov vectors, the last maybe fewer;
// groups lie one after another, so the vectors of a group are `width` apart in it.
static lx packed_at(const struct gather_conv *g, lx vector0, int64_t ov, lx cb, lx p, lx q,
                    lx lane) {
  int64_t lanes = lb_target(g->b)->lanes, taps = g->bundle.src * g->kh * g->kw;
  lx k = lx_add(lx_muli(lx_add(lx_muli(cb, g->kh), p), g->kw), q);
  k = lx_add(lx_muli(k, g->src.block), lane);
  return lx_add(lx_muli(vector0, taps * lanes), lx_muli(k, ov * lanes));
}

// Weights of one group, vector by vector; channels beyond the last are zero. A bundle of one convolution
// group is a dense block of w.
static void pack_group(struct gather_conv *g, lx vector0, int64_t ov, lx cb) {
  struct lb *b = g->b;
  int64_t lanes = lb_target(b)->lanes, out = g->bundle.out;
  lx lane = lb_for(b, "lane", g->src.block);
  lx v = lb_for(b, "v", ov);
  lx p = lb_for(b, "p", g->kh);
  lx q = lb_for(b, "q", g->kw);
  lx vector = lx_add(vector0, v), bundle = conv_bundle_of(&g->bundle, vector, lanes);
  lx o = lx_muli(g->bundle.n > 1 ? lx_modi(vector, out / lanes) : vector, lanes);
  lx c = lx_add(lx_muli(cb, g->src.block), lane);
  lx from = lx_add(lx_add(lx_muli(o, g->w_out_stride), lx_muli(c, g->w_src_stride)),
                   lx_add(lx_muli(p, g->kw), q));
  from = lx_add(from, lx_muli(bundle, out * g->bundle.src * g->kh * g->kw));
  lx left = g->out_channels % lanes ? lx_rsub(g->out_channels, o) : NULL;
  lb_store(b, g->packed, lx_add(packed_at(g, vector0, ov, cb, p, q, lane), lx_muli(v, lanes)),
           lx_vload_strided(g->w, from, g->w_out_stride, left));
  for (int i = 0; i < 4; i++) lb_end(b);
}

// The same for a bundle of several groups, element by element: zero between channels of different ones.
static void pack_bundle(struct gather_conv *g, lx vector0, int64_t ov, lx cb) {
  struct lb *b = g->b;
  const struct bundle *u = &g->bundle;
  int64_t lanes = lb_target(b)->lanes;
  lx lane = lb_for(b, "lane", g->src.block);
  lx v = lb_for(b, "v", ov);
  lx p = lb_for(b, "p", g->kh);
  lx q = lb_for(b, "q", g->kw);
  lx l = lb_for(b, "l", lanes);
  lx vector = lx_add(vector0, v);
  lx o = lb_let(b, "o", lx_mini(lx_add(lx_muli(vector, lanes), l), g->out_channels - 1));
  lx c = lx_add(lx_muli(conv_bundle_of(u, vector, lanes), u->src),
                lx_add(lx_muli(cb, g->src.block), lane));
  lx group = lx_divi(o, u->out_group);
  lx from = lx_muli(group, u->out_group * u->src_group * g->kh * g->kw);
  from = lx_add(from, lx_muli(lx_modi(o, u->out_group), g->w_out_stride));
  from = lx_add(from, lx_muli(lx_modi(c, u->src_group), g->w_src_stride));
  from = lx_add(from, lx_add(lx_muli(p, g->kw), q));
  lx together = lx_eq(group, lx_divi(c, u->src_group));
  lx to = lx_add(packed_at(g, vector0, ov, cb, p, q, lane), lx_add(lx_muli(v, lanes), l));
  lb_store(b, g->packed, to, lx_select(together, lx_load(g->w, from), lx_const(b, LT_F32, 1, 0)));
  for (int i = 0; i < 5; i++) lb_end(b);
}

static void pack(struct gather_conv *g, lx vector0, int64_t ov, lx cb) {
  if (g->bundle.groups == 1)
    pack_group(g, vector0, ov, cb);
  else
    pack_bundle(g, vector0, ov, cb);
}

static void pack_weights(struct gather_conv *g) {
  struct lb *b = g->b;
  int64_t groups = g->vectors / g->ov, blocks = g->bundle.src / g->src.block;
  lb_comment(b, "pack the weights: [group][channel block][kh][kw][channel][vectors of outputs]");
  if (groups) {
    lx i = lb_parallel_for(b, "i", lx_int(b, 0), lx_int(b, groups * blocks), 1);
    pack(g, lx_muli(lx_divi(i, blocks), g->ov), g->ov, lx_modi(i, blocks));
    lb_end(b);
  }
  if (g->vectors % g->ov) {
    lx cb = lb_parallel_for(b, "i", lx_int(b, 0), lx_int(b, blocks), 1);
    pack(g, lx_int(b, groups * g->ov), g->vectors % g->ov, cb);
    lb_end(b);
  }
}

static void store_block(struct gather_conv *g, struct loop_reg *acc, const struct axis axes[2],
                        lx image, lx vector0, int64_t ov, lx y0, lx x0, int64_t rows,
                        int64_t cols) {
  struct lb *b = g->b;
  int64_t lanes = lb_target(b)->lanes, plane = g->out_h * g->out_w;
  lx v = lb_unroll(b, "v", ov);
  lx r = lb_unroll(b, "r", rows);
  lx c = lb_unroll(b, "c", cols);
  lx y = lx_addi(lx_muli(lx_add(y0, r), axes[0].out_stride), axes[0].out_phase);
  lx x = lx_addi(lx_muli(lx_add(x0, c), axes[1].out_stride), axes[1].out_phase);
  lx pixel = lx_add(lx_muli(y, g->out_w), x);
  lx vector = lx_add(vector0, v), n = lx_add(g->first, image);
  lx value = lx_reg_at(acc, lx_add(lx_muli(lx_add(lx_muli(v, rows), r), cols), c));
  if (g->out_blocked) {
    lx block = lx_add(lx_muli(n, g->vectors), vector);
    lb_store(b, g->out, lx_muli(lx_add(lx_muli(block, plane), pixel), lanes), value);
  } else {
    lx o = lx_muli(vector, lanes);
    lx at = lx_add(lx_muli(lx_add(lx_muli(n, g->out_channels), o), plane), pixel);
    lx left = g->out_channels % lanes ? lx_rsub(g->out_channels, o) : NULL;
    lb_store_strided(b, g->out, at, plane, left, value);
  }
  for (int i = 0; i < 3; i++) lb_end(b);
}

// One register block: ov vectors x (rows x cols) outputs, over all channels and taps.
static void gather_block(struct gather_conv *g, const struct axis axes[2], lx image, lx vector0,
                         int64_t ov, lx y0, lx x0, int64_t rows, int64_t cols) {
  struct lb *b = g->b;
  int64_t lanes = lb_target(b)->lanes;
  struct axis ay = axes[0], ax = axes[1];
  struct loop_reg *acc =
      lb_reg(b, "acc", LT_F32, (int)lanes, (int)(ov * rows * cols), lx_vf32(b, 0));
  if (ay.taps && ax.taps) {
    int64_t blocks = g->bundle.src / g->src.block;
    lx cb = lb_for(b, "cb", blocks);
    lx i = lb_for(b, "p", ay.taps);
    lx j = lb_for(b, "q", ax.taps);
    int64_t together = g->src.block % 4 ? 1 : 4; // channels to a branch
    lx quarter = lb_for(b, "quarter", g->src.block / together);
    lx lane = lx_add(lx_muli(quarter, together), lb_unroll(b, "lane", together));
    lx row = lx_addi(lx_add(lx_muli(y0, ay.src_stride), lx_muli(i, ay.off_step)), ay.off);
    lx col = lx_addi(lx_add(lx_muli(x0, ax.src_stride), lx_muli(j, ax.off_step)), ax.off);
    lx block = lx_add(lx_muli(conv_bundle_of(&g->bundle, vector0, lanes), blocks), cb);
    lx at = lb_let(b, "at", conv_source_at(&g->src, g->first, image, block, row, col, lane));
    lx wk = lb_let(b, "wk",
                   packed_at(g, vector0, ov, cb, lx_addi(lx_muli(i, ay.k_step), ay.k),
                             lx_addi(lx_muli(j, ax.k_step), ax.k), lane));
    struct loop_reg *weight = lb_reg(b, "weight", LT_F32, (int)lanes, (int)ov, NULL);
    lx v = lb_unroll(b, "v", ov);
    lb_set_at(b, weight, v, lx_vload(g->packed, lx_add(wk, lx_muli(v, lanes))));
    lb_end(b);
    lx r = lb_unroll(b, "r", rows);
    lx c = lb_unroll(b, "c", cols);
    lx step = lx_add(lx_muli(r, ay.src_stride * g->src.columns), lx_muli(c, ax.src_stride));
    lx x =
        lb_let(b, "x_",
               lx_broadcast(lx_load(conv_source_buf(&g->src), lx_add(at, lx_muli(step, g->src.block)))));
    v = lb_unroll(b, "v", ov);
    lx k = lx_add(lx_muli(lx_add(lx_muli(v, rows), r), cols), c);
    lb_fma_at(b, acc, k, x, lx_reg_at(weight, v));
    for (int e = 0; e < 8; e++) lb_end(b);
  }
  store_block(g, acc, axes, image, vector0, ov, y0, x0, rows, cols);
}

// All outputs of one phase, of one image and one group.
static void gather_phase(struct gather_conv *g, const struct axis axes[2], lx image, lx vector0,
                         int64_t ov) {
  if (!axes[0].count || !axes[1].count) return;
  struct lb *b = g->b;
  int64_t limit = target_block_rows(lb_target(b)) * OV / g->ov;
  struct split columns = conv_split(axes[1].count, limit);
  struct split rows = conv_split(axes[0].count, max64(1, limit / columns.size));
  for (int py = 0; py < 2; py++)
    for (int px = 0; px < 2; px++) {
      if (!conv_split_has(rows, py) || !conv_split_has(columns, px)) continue;
      int64_t n_rows, n_columns;
      lx y0 = conv_split_loop(b, "y", rows, py, &n_rows);
      lx x0 = conv_split_loop(b, "x", columns, px, &n_columns);
      gather_block(g, axes, image, vector0, ov, y0, x0, n_rows, n_columns);
      lb_end(b);
      lb_end(b);
    }
}

// How many images to take through all groups of output channels at a time. Where the weights do not
// stay in the L2 cache beside an image, a chunk of 8 uses each group 8 times.
static int64_t images_together(const struct target *t, int64_t n, int64_t image_bytes,
                               int64_t weight_bytes) {
  int64_t room = (int64_t)t->l2_bytes / 2;
  if (weight_bytes + image_bytes < room) return 1;
  int64_t fit = max64(1, room / image_bytes);
  return max64(1, min64(min64(8, fit), n / 16));
}

// With few images, the groups of one image are shared out too, each thread staging for itself.
static int64_t group_shares(int64_t chunks, int64_t groups) {
  return chunks >= 16 ? 1 : min64(groups, ceil_div(16, chunks));
}

static void gather_groups(struct gather_conv *g, const struct axis *axes[2], const int phases[2],
                          lx images, lx vector0, int64_t ov) {
  struct lb *b = g->b;
  lx image = lb_for_range(b, "image", lx_int(b, 0), images, 1);
  for (int i = 0; i < phases[0]; i++)
    for (int j = 0; j < phases[1]; j++)
      gather_phase(g, (struct axis[2]){axes[0][i], axes[1][j]}, image, vector0, ov);
  lb_end(b);
}

// The nest over chunks of images and groups of output channels.
static void gather_nest(struct gather_conv *g, const struct axis *axes[2], const int phases[2]) {
  struct lb *b = g->b;
  int64_t chunks = ceil_div(g->n, g->chunk), groups = ceil_div(g->vectors, g->ov);
  int64_t shares = group_shares(chunks, groups), each = ceil_div(groups, shares);
  shares = ceil_div(groups, each);
  lx item = lb_parallel_for(b, "item", lx_int(b, 0), lx_int(b, chunks * shares), 1);
  lx share = lx_modi(item, shares);
  g->first = lx_muli(lx_divi(item, shares), g->chunk);
  lx images = g->n % g->chunk ? lx_mini(lx_rsub(g->n, g->first), g->chunk) : lx_int(b, g->chunk);
  conv_source_stage(b, &g->src, g->first, images);
  lx begin = lx_muli(share, each), whole = lx_int(b, g->vectors / g->ov);
  if (g->vectors / g->ov) {
    lx group = lb_for_range(b, "group", begin, lx_min(lx_addi(begin, each), whole), 1);
    gather_groups(g, axes, phases, images, lx_muli(group, g->ov), g->ov);
    lb_end(b);
  }
  if (g->vectors % g->ov) { // the last group has fewer vectors and falls to the last share
    if (shares > 1) lb_if(b, lx_eq(share, lx_int(b, shares - 1)));
    gather_groups(g, axes, phases, images, lx_int(b, g->vectors / g->ov * g->ov), g->vectors % g->ov);
    if (shares > 1) lb_end(b);
  }
  lb_end(b);
}

static void gather_conv(struct gather_conv *g, int64_t groups, struct loop_buf *src, int64_t src_h, int64_t src_w,
                        bool src_blocked, const struct axis *axes[2], const int phases[2]) {
  struct lb *b = g->b;
  int64_t lanes = lb_target(b)->lanes;
  int64_t lo[2] = {0, 0}, hi[2] = {0, 0};
  for (int d = 0; d < 2; d++)
    for (int i = 0; i < phases[d]; i++) conv_axis_reach(axes[d][i], &lo[d], &hi[d]);
  g->vectors = ceil_div(g->out_channels, lanes);
  g->bundle =
      conv_bundle(groups, g->src_channels, g->out_channels, lanes, src_blocked ? lanes : 1);
  g->ov = conv_bundle_vectors(&g->bundle, lanes);
  int64_t weights = g->vectors * lanes * g->bundle.src * g->kh * g->kw;
  int64_t image = g->src_channels * (max64(src_h, hi[0] + 1) - lo[0]) * (max64(src_w, hi[1] + 1) - lo[1]);
  g->chunk = images_together(lb_target(b), g->n, image * 4, weights * 4);
  g->src =
      conv_source(b, src, g->src_channels, src_blocked ? lanes : 1, src_h, src_w, lo, hi, g->chunk);
  g->packed = lb_shared(b, "packed", LT_F32, weights);
  lb_parallel(b);
  pack_weights(g);
  conv_source_clear(b, &g->src);
  lb_barrier(b);
  gather_nest(g, axes, phases);
  lb_end(b);
}

struct loop_kernel *sched_conv_forward(struct arena *arena, const struct target *t,
                                       const char *name, const struct conv_shape *shape) {
  conv_check(shape, t);
  struct conv_shape s = conv_flattened(shape);
  struct lb *b = lb_new(arena, t, name);
  conv_describe(b, "y = conv2d(x, w)", shape);
  if (conv_is_depthwise(shape)) return sched_depthwise_forward(b, &s);
  struct loop_buf *x = lb_input(b, "x", LT_F32, s.n * s.ic * s.ih * s.iw);
  struct loop_buf *w = lb_input(b, "w", LT_F32, s.oc * s.ic / s.groups * s.kh * s.kw);
  struct loop_buf *y = lb_output(b, "y", LT_F32, s.n * s.oc * s.oh * s.ow);
  struct gather_conv g = {.b = b,
                          .n = s.n,
                          .src_channels = s.ic,
                          .out_channels = s.oc,
                          .out_h = s.oh,
                          .out_w = s.ow,
                          .kh = s.kh,
                          .kw = s.kw,
                          .w_out_stride = s.ic / s.groups * s.kh * s.kw,
                          .w_src_stride = s.kh * s.kw,
                          .out_blocked = s.out_blocked,
                          .w = w,
                          .out = y};
  struct axis rows = conv_forward_axis(s.oh, s.kh, s.stride[0], s.pad[0], s.dil[0]);
  struct axis columns = conv_forward_axis(s.ow, s.kw, s.stride[1], s.pad[1], s.dil[1]);
  gather_conv(&g, s.groups, x, s.ih, s.iw, s.in_blocked, (const struct axis *[]){&rows, &columns},
              (int[]){1, 1});
  return lb_finish(b);
}

struct loop_kernel *sched_conv_backward_data(struct arena *arena, const struct target *t,
                                             const char *name, const struct conv_shape *shape) {
  conv_check(shape, t);
  struct conv_shape s = conv_flattened(shape);
  struct lb *b = lb_new(arena, t, name);
  conv_describe(b, "dx = conv2d_dx(dy, w)", shape);
  if (conv_is_depthwise(shape)) return sched_depthwise_backward_data(b, &s);
  struct loop_buf *dy = lb_input(b, "dy", LT_F32, s.n * s.oc * s.oh * s.ow);
  struct loop_buf *w = lb_input(b, "w", LT_F32, s.oc * s.ic / s.groups * s.kh * s.kw);
  struct loop_buf *dx = lb_output(b, "dx", LT_F32, s.n * s.ic * s.ih * s.iw);
  struct gather_conv g = {.b = b,
                          .n = s.n,
                          .src_channels = s.oc,
                          .out_channels = s.ic,
                          .out_h = s.ih,
                          .out_w = s.iw,
                          .kh = s.kh,
                          .kw = s.kw,
                          .w_out_stride = s.kh * s.kw,
                          .w_src_stride = s.ic / s.groups * s.kh * s.kw,
                          .out_blocked = s.in_blocked,
                          .w = w,
                          .out = dx};
  const struct axis *axes[] = {conv_backward_axes(arena, s.ih, s.kh, s.stride[0], s.pad[0], s.dil[0]),
                               conv_backward_axes(arena, s.iw, s.kw, s.stride[1], s.pad[1], s.dil[1])};
  gather_conv(&g, s.groups, dy, s.oh, s.ow, s.out_blocked, axes, (int[]){(int)s.stride[0], (int)s.stride[1]});
  return lb_finish(b);
}

