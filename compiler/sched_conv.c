// sched_conv.c: direct convolution, forward and backward, as loop nests with register blocks.
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
// Backward weights blocks 2 vectors of output channels x up to 14 (input channel, tap) pairs, over
// the pixels of a chunk of images. Sums over images go to a fixed number of partial results, which
// a second phase adds in order: the bits do not depend on the number of threads.
#include "sched_conv.h"

#include "sizes.h"

enum { OV = 2 }; // vectors of output channels in a register block
// Backward weights takes all (channel, tap) pairs over strips of about this many pixels, which stay
// in the L1 cache: 2 vectors of dy and one of x each.
enum { STRIP_PIXELS = 256 };

// ---- even splits ------------------------------------------------------------------------------
// n = n_big * size + n_small * (size - 1), blocks as equal as can be: 32 = 11 + 11 + 10.
struct split {
  int64_t size, n_big, n_small;
};
static struct split split_evenly(int64_t n, int64_t limit) {
  int64_t blocks = ceil_div(n, limit), size = ceil_div(n, blocks);
  int64_t n_small = size * blocks - n;
  return (struct split){size, blocks - n_small, n_small};
}

// Opens the loop over the blocks of one part (0 big, 1 small) and gives its start and block size.
static lx split_loop(struct lb *b, const char *name, struct split s, int part, int64_t *size) {
  int64_t n = part ? s.n_small : s.n_big;
  *size = s.size - part;
  lx i = lb_for(b, name, n);
  return lx_addi(lx_muli(i, *size), part ? s.n_big * s.size : 0);
}
static bool split_has(struct split s, int part) { return part ? s.n_small > 0 : s.n_big > 0; }

// ---- sources of activations -------------------------------------------------------------------
// A batch of images as the inner loops read it: the parameter itself, or the staged copy of the
// chunk of images at hand.
struct source {
  struct loop_buf *given, *staged;  // staged NULL: read in place
  int64_t channels, block;          // block: channels that lie together
  int64_t h, w;                     // of the given image
  int64_t before[2], rows, columns; // zero halo in front, and size with halo
};

static struct source make_source(struct lb *b, struct loop_buf *given, int64_t channels,
                                 int64_t block, int64_t h, int64_t w, const int64_t lo[2],
                                 const int64_t hi[2], int64_t images) {
  struct source s = {.given = given, .channels = channels, .block = block, .h = h, .w = w};
  s.before[0] = max64(0, -lo[0]);
  s.before[1] = max64(0, -lo[1]);
  s.rows = s.before[0] + max64(h, hi[0] + 1);
  s.columns = s.before[1] + max64(w, hi[1] + 1);
  if (s.rows > h || s.columns > w)
    s.staged = lb_scratch(b, "staged", LT_F32, images * channels * s.rows * s.columns);
  return s;
}
static int64_t source_image(const struct source *s) { return s->channels * s->rows * s->columns; }

// Offset of (channel block, row, column, channel in block) in an image; row and column may be in
// the halo.
static lx source_at(const struct source *s, lx first, lx image, lx cb, lx row, lx column, lx lane) {
  lx n = s->staged ? image : lx_add(first, image);
  lx r = lx_addi(lx_add(lx_muli(cb, s->rows), row), s->before[0]);
  lx c = lx_addi(lx_add(lx_muli(r, s->columns), column), s->before[1]);
  return lx_add(lx_muli(n, source_image(s)), lx_add(lx_muli(c, s->block), lane));
}
static struct loop_buf *source_buf(const struct source *s) {
  return s->staged ? s->staged : s->given;
}

static void copy_run(struct lb *b, struct loop_buf *to, lx to_at, struct loop_buf *from, lx from_at,
                     int64_t n) {
  int64_t lanes = lb_target(b)->lanes, whole = n / lanes * lanes;
  if (whole) {
    lx i = lb_for_range(b, "i", lx_int(b, 0), lx_int(b, whole), lanes);
    lb_store(b, to, lx_add(to_at, i), lx_vload(from, lx_add(from_at, i)));
    lb_end(b);
  }
  if (whole == n) return;
  lx rest = lx_int(b, n - whole);
  lb_store_n(b, to, lx_addi(to_at, whole), rest, lx_vload_n(from, lx_addi(from_at, whole), rest));
}

static void clear_run(struct lb *b, struct loop_buf *to, int64_t n) {
  int64_t lanes = lb_target(b)->lanes;
  lx i = lb_for_range(b, "i", lx_int(b, 0), lx_int(b, n), lanes);
  lb_store_n(b, to, i, n % lanes ? lx_rsub(n, i) : NULL, lx_vf32(b, 0));
  lb_end(b);
}

// Once a thread, before its first image: the halo stays zero.
static void clear_source(struct lb *b, const struct source *s) {
  if (s->staged) clear_run(b, s->staged, s->staged->count);
}

// Copies images first, first + 1, … (`images` of them) inside the halo.
static void stage_source(struct lb *b, const struct source *s, lx first, lx images) {
  if (!s->staged) return;
  lx image = lb_for_range(b, "image", lx_int(b, 0), images, 1);
  lx cb = lb_for(b, "cb", s->channels / s->block);
  lx row = lb_for(b, "row", s->h);
  lx n = lx_add(first, image);
  lx from = lx_add(lx_muli(n, s->channels / s->block), cb);
  from = lx_muli(lx_add(lx_muli(from, s->h), row), s->w * s->block);
  copy_run(b, s->staged, source_at(s, first, image, cb, row, lx_int(b, 0), lx_int(b, 0)), s->given,
           from, s->w * s->block);
  lb_end(b);
  lb_end(b);
  lb_end(b);
}

// ---- forward and backward data ----------------------------------------------------------------
struct axis {
  int64_t count, src_stride, taps, off, off_step, k, k_step, out_stride, out_phase;
};

struct gather_conv {
  struct lb *b;
  int64_t n, src_channels, out_channels, out_h, out_w, kh, kw;
  int64_t w_out_stride, w_src_stride; // of the two channels in w
  bool out_blocked;
  struct source src;
  struct loop_buf *w, *packed, *out;
  int64_t vectors, chunk; // vectors of output channels; images staged together
  lx first;               // image of the chunk at hand
};

static struct axis forward_axis(int64_t out, int64_t k, int64_t stride, int64_t pad, int64_t dil) {
  return (struct axis){.count = out,
                       .src_stride = stride,
                       .taps = k,
                       .off = -pad,
                       .off_step = dil,
                       .k_step = 1,
                       .out_stride = 1};
}

// The taps p with p * dil = phase + pad modulo stride; they read dy at t + (phase + pad -
// p*dil)/stride.
static struct axis backward_axis(int64_t in, int64_t k, int64_t stride, int64_t pad, int64_t dil,
                                 int64_t phase) {
  struct axis a = {.count = max64(0, ceil_div(in - phase, stride)),
                   .src_stride = 1,
                   .out_stride = stride,
                   .out_phase = phase,
                   .k_step = 1};
  int64_t last = -1;
  for (int64_t p = 0; p < k; p++) {
    int64_t d = phase + pad - p * dil;
    if (d % stride) continue;
    if (a.taps == 0) a.k = p, a.off = d / stride;
    if (a.taps == 1) a.k_step = p - last, a.off_step = d / stride - a.off;
    a.taps++;
    last = p;
  }
  return a;
}

static void axis_reach(struct axis a, int64_t *lo, int64_t *hi) {
  if (!a.taps || !a.count) return;
  int64_t end = a.off + (a.taps - 1) * a.off_step;
  *lo = min64(*lo, min64(a.off, end));
  *hi = max64(*hi, max64(a.off, end) + (a.count - 1) * a.src_stride);
}

// packed[group][cb][p][q][channel in block][v * lanes], group of OV vectors, the last maybe fewer;
// groups lie one after another, so the vectors of a group are `width` apart in it.
static lx packed_at(const struct gather_conv *g, lx vector0, int64_t ov, lx cb, lx p, lx q,
                    lx lane) {
  int64_t lanes = lb_target(g->b)->lanes, taps = g->src_channels * g->kh * g->kw;
  lx k = lx_add(lx_muli(lx_add(lx_muli(cb, g->kh), p), g->kw), q);
  k = lx_add(lx_muli(k, g->src.block), lane);
  return lx_add(lx_muli(vector0, taps * lanes), lx_muli(k, ov * lanes));
}

// Weights of one group, vector by vector; channels beyond the last are zero.
static void pack_group(struct gather_conv *g, lx vector0, int64_t ov, lx cb) {
  struct lb *b = g->b;
  int64_t lanes = lb_target(b)->lanes;
  lx lane = lb_for(b, "lane", g->src.block);
  lx v = lb_for(b, "v", ov);
  lx p = lb_for(b, "p", g->kh);
  lx q = lb_for(b, "q", g->kw);
  lx o = lx_muli(lx_add(vector0, v), lanes);
  lx c = lx_add(lx_muli(cb, g->src.block), lane);
  lx from = lx_add(lx_add(lx_muli(o, g->w_out_stride), lx_muli(c, g->w_src_stride)),
                   lx_add(lx_muli(p, g->kw), q));
  lx left = g->out_channels % lanes ? lx_rsub(g->out_channels, o) : NULL;
  lb_store(b, g->packed, lx_add(packed_at(g, vector0, ov, cb, p, q, lane), lx_muli(v, lanes)),
           lx_vload_strided(g->w, from, g->w_out_stride, left));
  for (int i = 0; i < 4; i++) lb_end(b);
}

static void pack_weights(struct gather_conv *g) {
  struct lb *b = g->b;
  int64_t groups = g->vectors / OV, blocks = g->src_channels / g->src.block;
  lb_comment(b, "pack the weights: [group][channel block][kh][kw][channel][vectors of outputs]");
  if (groups) {
    lx i = lb_parallel_for(b, "i", lx_int(b, 0), lx_int(b, groups * blocks), 1);
    pack_group(g, lx_muli(lx_divi(i, blocks), OV), OV, lx_modi(i, blocks));
    lb_end(b);
  }
  if (g->vectors % OV) {
    lx cb = lb_parallel_for(b, "i", lx_int(b, 0), lx_int(b, blocks), 1);
    pack_group(g, lx_int(b, groups * OV), g->vectors % OV, cb);
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
    lx cb = lb_for(b, "cb", g->src_channels / g->src.block);
    lx i = lb_for(b, "p", ay.taps);
    lx j = lb_for(b, "q", ax.taps);
    int64_t together = g->src.block % 4 ? 1 : 4; // channels to a branch
    lx quarter = lb_for(b, "quarter", g->src.block / together);
    lx lane = lx_add(lx_muli(quarter, together), lb_unroll(b, "lane", together));
    lx row = lx_addi(lx_add(lx_muli(y0, ay.src_stride), lx_muli(i, ay.off_step)), ay.off);
    lx col = lx_addi(lx_add(lx_muli(x0, ax.src_stride), lx_muli(j, ax.off_step)), ax.off);
    lx at = lb_let(b, "at", source_at(&g->src, g->first, image, cb, row, col, lane));
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
               lx_broadcast(lx_load(source_buf(&g->src), lx_add(at, lx_muli(step, g->src.block)))));
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
  int64_t limit = target_block_rows(lb_target(b));
  struct split columns = split_evenly(axes[1].count, limit);
  struct split rows = split_evenly(axes[0].count, max64(1, limit / columns.size));
  for (int py = 0; py < 2; py++)
    for (int px = 0; px < 2; px++) {
      if (!split_has(rows, py) || !split_has(columns, px)) continue;
      int64_t n_rows, n_columns;
      lx y0 = split_loop(b, "y", rows, py, &n_rows);
      lx x0 = split_loop(b, "x", columns, px, &n_columns);
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
  int64_t chunks = ceil_div(g->n, g->chunk), groups = ceil_div(g->vectors, OV);
  int64_t shares = group_shares(chunks, groups), each = ceil_div(groups, shares);
  shares = ceil_div(groups, each);
  lx item = lb_parallel_for(b, "item", lx_int(b, 0), lx_int(b, chunks * shares), 1);
  lx share = lx_modi(item, shares);
  g->first = lx_muli(lx_divi(item, shares), g->chunk);
  lx images = g->n % g->chunk ? lx_mini(lx_rsub(g->n, g->first), g->chunk) : lx_int(b, g->chunk);
  stage_source(b, &g->src, g->first, images);
  lx begin = lx_muli(share, each), whole = lx_int(b, g->vectors / OV);
  if (g->vectors / OV) {
    lx group = lb_for_range(b, "group", begin, lx_min(lx_addi(begin, each), whole), 1);
    gather_groups(g, axes, phases, images, lx_muli(group, OV), OV);
    lb_end(b);
  }
  if (g->vectors % OV) { // the last group has fewer vectors and falls to the last share
    if (shares > 1) lb_if(b, lx_eq(share, lx_int(b, shares - 1)));
    gather_groups(g, axes, phases, images, lx_int(b, g->vectors / OV * OV), g->vectors % OV);
    if (shares > 1) lb_end(b);
  }
  lb_end(b);
}

static void gather_conv(struct gather_conv *g, struct loop_buf *src, int64_t src_h, int64_t src_w,
                        bool src_blocked, const struct axis *axes[2], const int phases[2]) {
  struct lb *b = g->b;
  int64_t lanes = lb_target(b)->lanes;
  int64_t lo[2] = {0, 0}, hi[2] = {0, 0};
  for (int d = 0; d < 2; d++)
    for (int i = 0; i < phases[d]; i++) axis_reach(axes[d][i], &lo[d], &hi[d]);
  g->vectors = ceil_div(g->out_channels, lanes);
  int64_t weights = g->vectors * lanes * g->src_channels * g->kh * g->kw;
  int64_t image = g->src_channels * (src_h + hi[0] - lo[0] + 1) * (src_w + hi[1] - lo[1] + 1);
  image = g->src_channels * (max64(src_h, hi[0] + 1) - lo[0]) * (max64(src_w, hi[1] + 1) - lo[1]);
  g->chunk = images_together(lb_target(b), g->n, image * 4, weights * 4);
  g->src =
      make_source(b, src, g->src_channels, src_blocked ? lanes : 1, src_h, src_w, lo, hi, g->chunk);
  g->packed = lb_shared(b, "packed", LT_F32, weights);
  lb_parallel(b);
  pack_weights(g);
  clear_source(b, &g->src);
  lb_barrier(b);
  gather_nest(g, axes, phases);
  lb_end(b);
}

// A 1x1 convolution of stride 1 without padding sees an image as one row.
static struct conv_shape flattened(const struct conv_shape *given) {
  struct conv_shape s = *given;
  if (s.kh * s.kw != 1 || s.stride[0] * s.stride[1] != 1 || s.pad[0] || s.pad[1]) return s;
  s.iw *= s.ih;
  s.ow *= s.oh;
  s.ih = s.oh = 1;
  return s;
}

static void check_shape(const struct conv_shape *s, const struct target *t) {
  int64_t in[2] = {s->ih, s->iw}, out[2] = {s->oh, s->ow}, k[2] = {s->kh, s->kw};
  for (int d = 0; d < 2; d++)
    expect(out[d] == (in[d] + 2 * s->pad[d] - s->dil[d] * (k[d] - 1) - 1) / s->stride[d] + 1,
           "convolution: output size %lld does not follow from the input's", (long long)out[d]);
  expect(!s->in_blocked || s->ic % t->lanes == 0, "convolution: blocked input of %lld channels",
         (long long)s->ic);
  expect(!s->out_blocked || s->oc % t->lanes == 0, "convolution: blocked output of %lld channels",
         (long long)s->oc);
}

static void describe(struct lb *b, struct arena *arena, const char *equation,
                     const struct conv_shape *s) {
  double in = (double)(s->n * s->ic * s->ih * s->iw), out = (double)(s->n * s->oc * s->oh * s->ow);
  double w = (double)(s->oc * s->ic * s->kh * s->kw);
  lb_equation(b, str_printf(arena, "%s, %lldx%lld, %lld -> %lld channels, %lldx%lld -> %lldx%lld",
                            equation, (long long)s->kh, (long long)s->kw, (long long)s->ic,
                            (long long)s->oc, (long long)s->ih, (long long)s->iw, (long long)s->oh,
                            (long long)s->ow));
  lb_cost(b, 2 * out * (double)(s->ic * s->kh * s->kw), 4 * (in + out + w));
}

struct loop_kernel *sched_conv_forward(struct arena *arena, const struct target *t,
                                       const char *name, const struct conv_shape *shape) {
  check_shape(shape, t);
  struct conv_shape s = flattened(shape);
  struct lb *b = lb_new(arena, t, name);
  describe(b, arena, "y = conv2d(x, w)", shape);
  struct loop_buf *x = lb_input(b, "x", LT_F32, s.n * s.ic * s.ih * s.iw);
  struct loop_buf *w = lb_input(b, "w", LT_F32, s.oc * s.ic * s.kh * s.kw);
  struct loop_buf *y = lb_output(b, "y", LT_F32, s.n * s.oc * s.oh * s.ow);
  struct gather_conv g = {.b = b,
                          .n = s.n,
                          .src_channels = s.ic,
                          .out_channels = s.oc,
                          .out_h = s.oh,
                          .out_w = s.ow,
                          .kh = s.kh,
                          .kw = s.kw,
                          .w_out_stride = s.ic * s.kh * s.kw,
                          .w_src_stride = s.kh * s.kw,
                          .out_blocked = s.out_blocked,
                          .w = w,
                          .out = y};
  struct axis rows = forward_axis(s.oh, s.kh, s.stride[0], s.pad[0], s.dil[0]);
  struct axis columns = forward_axis(s.ow, s.kw, s.stride[1], s.pad[1], s.dil[1]);
  gather_conv(&g, x, s.ih, s.iw, s.in_blocked, (const struct axis *[]){&rows, &columns},
              (int[]){1, 1});
  return lb_finish(b);
}

static struct axis *backward_axes(struct arena *arena, int64_t in, int64_t k, int64_t stride,
                                  int64_t pad, int64_t dil) {
  struct axis *axes = NEW_ARRAY(arena, struct axis, stride);
  for (int64_t r = 0; r < stride; r++) axes[r] = backward_axis(in, k, stride, pad, dil, r);
  return axes;
}

struct loop_kernel *sched_conv_backward_data(struct arena *arena, const struct target *t,
                                             const char *name, const struct conv_shape *shape) {
  check_shape(shape, t);
  struct conv_shape s = flattened(shape);
  struct lb *b = lb_new(arena, t, name);
  describe(b, arena, "dx = conv2d_dx(dy, w)", shape);
  struct loop_buf *dy = lb_input(b, "dy", LT_F32, s.n * s.oc * s.oh * s.ow);
  struct loop_buf *w = lb_input(b, "w", LT_F32, s.oc * s.ic * s.kh * s.kw);
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
                          .w_src_stride = s.ic * s.kh * s.kw,
                          .out_blocked = s.in_blocked,
                          .w = w,
                          .out = dx};
  const struct axis *axes[] = {backward_axes(arena, s.ih, s.kh, s.stride[0], s.pad[0], s.dil[0]),
                               backward_axes(arena, s.iw, s.kw, s.stride[1], s.pad[1], s.dil[1])};
  gather_conv(&g, dy, s.oh, s.ow, s.out_blocked, axes, (int[]){(int)s.stride[0], (int)s.stride[1]});
  return lb_finish(b);
}

// ---- backward weights -------------------------------------------------------------------------
struct weight_conv {
  struct lb *b;
  struct conv_shape s;
  struct source x;
  struct loop_buf *dy, *dy_blocked; // dy_blocked: [image][vector][pixel][lanes], where dy is planar
  struct loop_buf *partial, *dw;    // partial[set][vector][ic][p][q][lanes]
  int64_t vectors;
  int64_t sets, chunks_per_set, chunk; // images: sets x chunks x chunk
  int64_t channels, tap_rows;          // of a register block
  lx first, set;
};

static lx dy_at(const struct weight_conv *g, lx image, lx vector, lx y, lx x) {
  lx n = g->dy_blocked ? image : lx_add(g->first, image);
  lx block = lx_add(lx_muli(n, g->vectors), vector);
  lx row = lx_add(lx_muli(block, g->s.oh), y);
  return lx_muli(lx_add(lx_muli(row, g->s.ow), x), lb_target(g->b)->lanes);
}

static lx partial_at(const struct weight_conv *g, lx set, lx vector, lx c, lx p, lx q) {
  lx i = lx_add(lx_muli(lx_add(lx_muli(set, g->vectors), vector), g->s.ic), c);
  i = lx_add(lx_muli(i, g->s.kh), p);
  return lx_muli(lx_add(lx_muli(i, g->s.kw), q), lb_target(g->b)->lanes);
}

// Planar dy, turned to vectors of channels: lanes are a plane apart.
static void transpose_dy(struct weight_conv *g, lx images, lx begin, lx end) {
  if (!g->dy_blocked) return;
  struct lb *b = g->b;
  int64_t lanes = lb_target(b)->lanes, plane = g->s.oh * g->s.ow;
  lx image = lb_for_range(b, "image", lx_int(b, 0), images, 1);
  lx vector = lb_for_range(b, "vector", begin, end, 1);
  lx pixel = lb_for(b, "pixel", plane);
  lx o = lx_muli(vector, lanes), n = lx_add(g->first, image);
  lx from = lx_add(lx_muli(lx_add(lx_muli(n, g->s.oc), o), plane), pixel);
  lx left = g->s.oc % lanes ? lx_rsub(g->s.oc, o) : NULL;
  lx to = lx_muli(lx_add(lx_muli(lx_add(lx_muli(image, g->vectors), vector), plane), pixel), lanes);
  lb_store(b, g->dy_blocked, to, lx_vload_strided(g->dy, from, plane, left));
  for (int i = 0; i < 3; i++) lb_end(b);
}

// One pixel's contribution to a register block.
static void weight_pixel(struct weight_conv *g, struct loop_reg *acc, lx image, lx vector0,
                         int64_t ov, lx c0, int64_t n_channels, lx p0, int64_t n_rows, lx y, lx x) {
  struct lb *b = g->b;
  const struct conv_shape *s = &g->s;
  int64_t lanes = lb_target(b)->lanes, block = g->x.block;
  struct loop_buf *dy = g->dy_blocked ? g->dy_blocked : g->dy;
  lx row = lx_addi(lx_add(lx_muli(y, s->stride[0]), lx_muli(p0, s->dil[0])), -s->pad[0]);
  lx column = lx_addi(lx_muli(x, s->stride[1]), -s->pad[1]);
  lx at = lb_let(
      b, "at",
      source_at(&g->x, g->first, image, lx_divi(c0, block), row, column, lx_modi(c0, block)));
  lx dy_here = lb_let(b, "dy_here", dy_at(g, image, vector0, y, x));
  struct loop_reg *d = lb_reg(b, "d", LT_F32, (int)lanes, (int)ov, NULL);
  lx v = lb_unroll(b, "v", ov);
  lb_set_at(b, d, v, lx_vload(dy, lx_add(dy_here, lx_muli(v, s->oh * s->ow * lanes))));
  lb_end(b);
  lx c = lb_unroll(b, "c", n_channels);
  lx p = lb_unroll(b, "p", n_rows);
  lx q = lb_unroll(b, "q", s->kw);
  int64_t apart = block == 1 ? g->x.rows * g->x.columns : 1;
  lx tap = lx_add(lx_muli(p, s->dil[0] * g->x.columns), lx_muli(q, s->dil[1]));
  lx from = lx_add(at, lx_add(lx_muli(c, apart), lx_muli(tap, block)));
  lx value = lb_let(b, "x_", lx_broadcast(lx_load(source_buf(&g->x), from)));
  v = lb_unroll(b, "v", ov);
  lx k = lx_add(lx_muli(lx_add(lx_muli(lx_add(lx_muli(v, n_channels), c), n_rows), p), s->kw), q);
  lb_fma_at(b, acc, k, value, lx_reg_at(d, v));
  for (int i = 0; i < 4; i++) lb_end(b);
}

static void weight_block(struct weight_conv *g, lx images, lx vector0, int64_t ov, lx c0,
                         int64_t n_channels, lx p0, int64_t n_rows, lx y0, lx y1) {
  struct lb *b = g->b;
  int64_t lanes = lb_target(b)->lanes, kw = g->s.kw;
  struct loop_reg *acc =
      lb_reg(b, "acc", LT_F32, (int)lanes, (int)(ov * n_channels * n_rows * kw), lx_vf32(b, 0));
  lx image = lb_for_range(b, "image", lx_int(b, 0), images, 1);
  lx y = lb_for_range(b, "y", y0, y1, 1);
  lx x = lb_for(b, "x", g->s.ow);
  weight_pixel(g, acc, image, vector0, ov, c0, n_channels, p0, n_rows, y, x);
  for (int i = 0; i < 3; i++) lb_end(b);
  lx v = lb_unroll(b, "v", ov);
  lx c = lb_unroll(b, "c", n_channels);
  lx p = lb_unroll(b, "p", n_rows);
  lx q = lb_unroll(b, "q", kw);
  lx k = lx_add(lx_muli(lx_add(lx_muli(lx_add(lx_muli(v, n_channels), c), n_rows), p), kw), q);
  lx to = partial_at(g, g->set, lx_add(vector0, v), lx_add(c0, c), lx_add(p0, p), q);
  lb_store(b, g->partial, to, lx_add(lx_vload(g->partial, to), lx_reg_at(acc, k)));
  for (int i = 0; i < 4; i++) lb_end(b);
}

static void weight_group(struct weight_conv *g, lx images, lx vector0, int64_t ov) {
  struct lb *b = g->b;
  struct split channels = split_evenly(g->s.ic, g->channels);
  if (g->x.block > 1) channels = (struct split){g->channels, g->s.ic / g->channels, 0};
  struct split rows = {g->tap_rows, g->s.kh / g->tap_rows, 0};
  int64_t strip = max64(1, STRIP_PIXELS / (g->s.ow * g->chunk));
  lx y0 = lb_for_range(b, "y", lx_int(b, 0), lx_int(b, g->s.oh), strip);
  lx y1 = lb_let(b, "y_end", lx_mini(lx_addi(y0, strip), g->s.oh));
  for (int part = 0; part < 2; part++) {
    if (!split_has(channels, part)) continue;
    int64_t n_channels, n_rows;
    lx c0 = split_loop(b, "c", channels, part, &n_channels);
    lx p0 = split_loop(b, "p", rows, 0, &n_rows);
    weight_block(g, images, vector0, ov, c0, n_channels, p0, n_rows, y0, y1);
    lb_end(b);
    lb_end(b);
  }
  lb_end(b);
}

// Adds the partial results in order and writes OIHW.
static void add_partials(struct weight_conv *g) {
  struct lb *b = g->b;
  const struct conv_shape *s = &g->s;
  int64_t lanes = lb_target(b)->lanes, taps = s->ic * s->kh * s->kw;
  lx zero = lx_int(b, 0);
  lx i = lb_parallel_for(b, "i", zero, lx_int(b, g->vectors * taps), 1);
  lx vector = lx_divi(i, taps), tap = lx_modi(i, taps);
  struct loop_reg *sum =
      lb_reg(b, "sum", LT_F32, (int)lanes, 0, lx_vload(g->partial, lx_muli(i, lanes)));
  if (g->sets > 1) {
    lx set = lb_for_range(b, "set", lx_int(b, 1), lx_int(b, g->sets), 1);
    lx at = lx_muli(lx_add(lx_muli(set, g->vectors * taps), i), lanes);
    lb_accumulate(b, sum, LX_ADD, lx_vload(g->partial, at));
    lb_end(b);
  }
  lx o = lx_muli(vector, lanes), left = s->oc % lanes ? lx_rsub(s->oc, o) : NULL;
  lb_store_strided(b, g->dw, lx_add(lx_muli(o, taps), tap), taps, left, lx_reg(b, sum));
  lb_end(b);
}

// Register block: (channels x tap rows x kw) <= limit, within one channel block of x.
static void choose_weight_block(struct weight_conv *g) {
  int64_t limit = target_block_rows(lb_target(g->b)), kw = g->s.kw;
  g->tap_rows = g->s.ic * kw < limit / 2 && g->s.kh * kw <= limit ? g->s.kh : 1;
  g->channels = max64(1, min64(g->s.ic, limit / (g->tap_rows * kw)));
  while (g->x.block > 1 && g->x.block % g->channels) g->channels--;
}

// Sets of images with a partial result each: enough of them to share out, not more memory than
// 24 MiB (2 sets at least); chunks of images that fit the L2 cache and have 256 pixels.
static void choose_sets(struct weight_conv *g, int64_t image_bytes) {
  const struct target *t = lb_target(g->b);
  const struct conv_shape *s = &g->s;
  int64_t bytes = g->vectors * t->lanes * s->ic * s->kh * s->kw * 4;
  int64_t want = max64(2, min64(16, (24 << 20) / bytes));
  int64_t images = ceil_div(s->n, min64(want, s->n)); // of a set
  int64_t pixels = ceil_div(2 * STRIP_PIXELS, s->oh * s->ow),
          fit = (int64_t)t->l2_bytes * 6 / 10 / image_bytes;
  g->chunk = max64(1, min64(images, min64(pixels, fit)));
  g->chunks_per_set = ceil_div(images, g->chunk);
  g->sets = ceil_div(s->n, g->chunks_per_set * g->chunk);
}

static void weight_item(struct weight_conv *g, lx begin, lx end) {
  struct lb *b = g->b;
  int64_t n = g->s.n, per_set = g->chunks_per_set * g->chunk;
  int64_t lanes = lb_target(b)->lanes, taps = g->s.ic * g->s.kh * g->s.kw;
  lx from = lx_muli(lx_add(lx_muli(g->set, g->vectors), begin), taps * lanes);
  lx size = lx_muli(lx_sub(end, begin), taps * lanes);
  lx i = lb_for_range(b, "i", lx_int(b, 0), size, lanes);
  lb_store(b, g->partial, lx_add(from, i), lx_vf32(b, 0));
  lb_end(b);
  lx base = lx_muli(g->set, per_set);
  bool ragged = n % per_set != 0;
  lx last = ragged ? lx_mini(lx_addi(base, per_set), n) : lx_addi(base, per_set);
  g->first = lb_for_range(b, "first", base, last, g->chunk);
  lx images = n % g->chunk || per_set % g->chunk ? lx_mini(lx_sub(last, g->first), g->chunk)
                                                 : lx_int(b, g->chunk);
  stage_source(b, &g->x, g->first, images);
  transpose_dy(g, images, begin, end);
  lx whole = lx_mini(end, g->vectors / OV * OV);
  if (g->vectors / OV) {
    lx vector0 = lb_for_range(b, "vector", begin, whole, OV);
    weight_group(g, images, vector0, OV);
    lb_end(b);
  }
  if (g->vectors % OV) {
    lb_if(b, lx_eq(end, lx_int(b, g->vectors)));
    weight_group(g, images, lx_int(b, g->vectors / OV * OV), g->vectors % OV);
    lb_end(b);
  }
  lb_end(b);
}

static void weight_nest(struct weight_conv *g) {
  struct lb *b = g->b;
  int64_t groups = ceil_div(g->vectors, OV);
  int64_t shares = min64(groups, ceil_div(16, g->sets)), each = ceil_div(groups, shares);
  shares = ceil_div(groups, each);
  lx zero = lx_int(b, 0);
  lb_parallel(b);
  clear_source(b, &g->x);
  lx item = lb_parallel_for(b, "item", zero, lx_int(b, g->sets * shares), 1);
  g->set = lx_divi(item, shares);
  lx begin = lx_muli(lx_modi(item, shares), each * OV);
  weight_item(g, begin, lx_mini(lx_addi(begin, each * OV), g->vectors));
  lb_end(b);
  lb_barrier(b);
  add_partials(g);
  lb_end(b);
}

struct loop_kernel *sched_conv_backward_weights(struct arena *arena, const struct target *t,
                                                const char *name, const struct conv_shape *shape) {
  check_shape(shape, t);
  struct conv_shape s = flattened(shape);
  struct lb *b = lb_new(arena, t, name);
  describe(b, arena, "dw = conv2d_dw(x, dy)", shape);
  struct weight_conv g = {.b = b, .s = s, .vectors = ceil_div(s.oc, t->lanes)};
  struct loop_buf *x = lb_input(b, "x", LT_F32, s.n * s.ic * s.ih * s.iw);
  g.dy = lb_input(b, "dy", LT_F32, s.n * s.oc * s.oh * s.ow);
  g.dw = lb_output(b, "dw", LT_F32, s.oc * s.ic * s.kh * s.kw);
  int64_t lo[2] = {0, 0}, hi[2] = {0, 0};
  axis_reach(forward_axis(s.oh, s.kh, s.stride[0], s.pad[0], s.dil[0]), &lo[0], &hi[0]);
  axis_reach(forward_axis(s.ow, s.kw, s.stride[1], s.pad[1], s.dil[1]), &lo[1], &hi[1]);
  int64_t padded = (max64(s.ih, hi[0] + 1) - lo[0]) * (max64(s.iw, hi[1] + 1) - lo[1]);
  choose_sets(&g, 4 * (s.ic * padded + g.vectors * t->lanes * s.oh * s.ow));
  g.x = make_source(b, x, s.ic, s.in_blocked ? t->lanes : 1, s.ih, s.iw, lo, hi, g.chunk);
  if (!s.out_blocked)
    g.dy_blocked =
        lb_scratch(b, "dy_blocked", LT_F32, g.chunk * g.vectors * t->lanes * s.oh * s.ow);
  g.partial = lb_shared(b, "partial", LT_F32, g.sets * g.vectors * t->lanes * s.ic * s.kh * s.kw);
  choose_weight_block(&g);
  weight_nest(&g);
  return lb_finish(b);
}
