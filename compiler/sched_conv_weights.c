// sched_conv_weights.c: the weights' gradient of a convolution as a loop nest with register blocks.
//
// A register block is up to 2 vectors of output channels x up to 14 (input channel, tap) pairs, over
// the pixels of a chunk of images. Sums over images go to a fixed number of partial results, which
// a second phase adds in order: the bits do not depend on the number of threads. Groups are taken in
// bundles as in sched_conv.c; a last phase picks the weights that exist.
#include "sched_conv_internal.h"

struct weight_conv {
  struct lb *b;
  struct conv_shape s;
  struct source x;
  struct loop_buf *dy, *dy_blocked; // dy_blocked: [image][vector][pixel][lanes], where dy is planar
  struct loop_buf *partial, *dw;    // partial[set][vector][channel of the bundle][p][q][lanes]
  int64_t vectors;
  int64_t sets, chunks_per_set, chunk; // images: sets x chunks x chunk
  int64_t channels, tap_rows;          // of a register block
  struct bundle bundle;
  int64_t ov;
  lx first, set;
};

static lx dy_at(const struct weight_conv *g, lx image, lx vector, lx y, lx x) {
  lx n = g->dy_blocked ? image : lx_add(g->first, image);
  lx block = lx_add(lx_muli(n, g->vectors), vector);
  lx row = lx_add(lx_muli(block, g->s.oh), y);
  return lx_muli(lx_add(lx_muli(row, g->s.ow), x), lb_target(g->b)->lanes);
}

static lx partial_at(const struct weight_conv *g, lx set, lx vector, lx c, lx p, lx q) {
  lx i = lx_add(lx_muli(lx_add(lx_muli(set, g->vectors), vector), g->bundle.src), c);
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
  lx cb = lx_add(lx_muli(conv_bundle_of(&g->bundle, vector0, lanes), g->bundle.src / block),
                 lx_divi(c0, block));
  lx at = lb_let(b, "at", conv_source_at(&g->x, g->first, image, cb, row, column, lx_modi(c0, block)));
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
  lx value = lb_let(b, "x_", lx_broadcast(lx_load(conv_source_buf(&g->x), from)));
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
  struct split channels = conv_split(g->bundle.src, g->channels);
  if (g->x.block > 1) channels = (struct split){g->channels, g->bundle.src / g->channels, 0};
  struct split rows = {g->tap_rows, g->s.kh / g->tap_rows, 0};
  int64_t strip = max64(1, STRIP_PIXELS / (g->s.ow * g->chunk));
  lx y0 = lb_for_range(b, "y", lx_int(b, 0), lx_int(b, g->s.oh), strip);
  lx y1 = lb_let(b, "y_end", lx_mini(lx_addi(y0, strip), g->s.oh));
  for (int part = 0; part < 2; part++) {
    if (!conv_split_has(channels, part)) continue;
    int64_t n_channels, n_rows;
    lx c0 = conv_split_loop(b, "c", channels, part, &n_channels);
    lx p0 = conv_split_loop(b, "p", rows, 0, &n_rows);
    weight_block(g, images, vector0, ov, c0, n_channels, p0, n_rows, y0, y1);
    lb_end(b);
    lb_end(b);
  }
  lb_end(b);
}

// Adds the partial results in order and writes OIHW; of a bundle of several groups what lies within one.
static void add_partials(struct weight_conv *g) {
  struct lb *b = g->b;
  const struct conv_shape *s = &g->s;
  int64_t lanes = lb_target(b)->lanes, taps = g->bundle.src * s->kh * s->kw;
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
  if (g->bundle.groups == 1)
    lb_store_strided(b, g->dw, lx_add(lx_muli(o, taps), tap), taps, left, lx_reg(b, sum));
  else
    lb_store(b, g->partial, lx_muli(i, lanes), lx_reg(b, sum));
  lb_end(b);
}

static void pick_weights(struct weight_conv *g) {
  struct lb *b = g->b;
  const struct bundle *u = &g->bundle;
  int64_t lanes = lb_target(b)->lanes, taps = g->s.kh * g->s.kw, each = u->src_group * taps;
  lx o = lb_parallel_for(b, "o", lx_int(b, 0), lx_int(b, g->s.oc), 1);
  lx vector = lx_divi(o, lanes), group = lx_modi(lx_divi(o, u->out_group), u->groups);
  lx k = lb_for(b, "k", each);
  lx from = lx_add(lx_muli(vector, u->src * taps), lx_add(lx_muli(group, each), k));
  lb_store(b, g->dw, lx_add(lx_muli(o, each), k),
           lx_load(g->partial, lx_add(lx_muli(from, lanes), lx_modi(o, lanes))));
  lb_end(b);
  lb_end(b);
}

// Register block: (channels x tap rows x kw) <= limit, within one channel block of x.
static void choose_weight_block(struct weight_conv *g) {
  int64_t limit = target_block_rows(lb_target(g->b)) * OV / g->ov, kw = g->s.kw;
  g->tap_rows = g->bundle.src * kw < limit / 2 && g->s.kh * kw <= limit ? g->s.kh : 1;
  g->channels = max64(1, min64(g->bundle.src, limit / (g->tap_rows * kw)));
  while (g->x.block > 1 && g->x.block % g->channels) g->channels--;
}

// Sets of images with a partial result each: enough of them to share out, not more memory than
// 24 MiB (2 sets at least); chunks of images that fit the L2 cache and have 256 pixels.
static void choose_sets(struct weight_conv *g, int64_t image_bytes) {
  const struct target *t = lb_target(g->b);
  const struct conv_shape *s = &g->s;
  int64_t bytes = g->vectors * t->lanes * g->bundle.src * s->kh * s->kw * 4;
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
  int64_t lanes = lb_target(b)->lanes, taps = g->bundle.src * g->s.kh * g->s.kw;
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
  conv_source_stage(b, &g->x, g->first, images);
  transpose_dy(g, images, begin, end);
  lx whole = lx_mini(end, g->vectors / g->ov * g->ov);
  if (g->vectors / g->ov) {
    lx vector0 = lb_for_range(b, "vector", begin, whole, g->ov);
    weight_group(g, images, vector0, g->ov);
    lb_end(b);
  }
  if (g->vectors % g->ov) {
    lb_if(b, lx_eq(end, lx_int(b, g->vectors)));
    weight_group(g, images, lx_int(b, g->vectors / g->ov * g->ov), g->vectors % g->ov);
    lb_end(b);
  }
  lb_end(b);
}

static void weight_nest(struct weight_conv *g) {
  struct lb *b = g->b;
  int64_t groups = ceil_div(g->vectors, g->ov);
  int64_t shares = min64(groups, ceil_div(16, g->sets)), each = ceil_div(groups, shares);
  shares = ceil_div(groups, each);
  lx zero = lx_int(b, 0);
  lb_parallel(b);
  conv_source_clear(b, &g->x);
  lx item = lb_parallel_for(b, "item", zero, lx_int(b, g->sets * shares), 1);
  g->set = lx_divi(item, shares);
  lx begin = lx_muli(lx_modi(item, shares), each * g->ov);
  weight_item(g, begin, lx_mini(lx_addi(begin, each * g->ov), g->vectors));
  lb_end(b);
  lb_barrier(b);
  add_partials(g);
  if (g->bundle.groups > 1) {
    lb_barrier(b);
    pick_weights(g);
  }
  lb_end(b);
}

struct loop_kernel *sched_conv_backward_weights(struct arena *arena, const struct target *t,
                                                const char *name, const struct conv_shape *shape) {
  conv_check(shape, t);
  struct conv_shape s = conv_flattened(shape);
  struct lb *b = lb_new(arena, t, name);
  conv_describe(b, "dw = conv2d_dw(x, dy)", shape);
  if (conv_is_depthwise(shape)) return sched_depthwise_backward_weights(b, &s);
  struct weight_conv g = {.b = b, .s = s, .vectors = ceil_div(s.oc, t->lanes)};
  g.bundle = conv_bundle(s.groups, s.ic, s.oc, t->lanes, s.in_blocked ? t->lanes : 1);
  g.ov = conv_bundle_vectors(&g.bundle, t->lanes);
  struct loop_buf *x = lb_input(b, "x", LT_F32, s.n * s.ic * s.ih * s.iw);
  g.dy = lb_input(b, "dy", LT_F32, s.n * s.oc * s.oh * s.ow);
  g.dw = lb_output(b, "dw", LT_F32, s.oc * s.ic / s.groups * s.kh * s.kw);
  int64_t lo[2] = {0, 0}, hi[2] = {0, 0};
  conv_axis_reach(conv_forward_axis(s.oh, s.kh, s.stride[0], s.pad[0], s.dil[0]), &lo[0], &hi[0]);
  conv_axis_reach(conv_forward_axis(s.ow, s.kw, s.stride[1], s.pad[1], s.dil[1]), &lo[1], &hi[1]);
  int64_t padded = (max64(s.ih, hi[0] + 1) - lo[0]) * (max64(s.iw, hi[1] + 1) - lo[1]);
  choose_sets(&g, 4 * (s.ic * padded + g.vectors * t->lanes * s.oh * s.ow));
  g.x = conv_source(b, x, s.ic, s.in_blocked ? t->lanes : 1, s.ih, s.iw, lo, hi, g.chunk);
  if (!s.out_blocked)
    g.dy_blocked =
        lb_scratch(b, "dy_blocked", LT_F32, g.chunk * g.vectors * t->lanes * s.oh * s.ow);
  g.partial = lb_shared(b, "partial", LT_F32,
                        g.sets * g.vectors * t->lanes * g.bundle.src * s.kh * s.kw);
  choose_weight_block(&g);
  weight_nest(&g);
  return lb_finish(b);
}
