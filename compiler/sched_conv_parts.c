// sched_conv_parts.c: what the schedules of convolutions share: even splits, staged images, axes,
// bundles of groups.
//
// An image is staged into a zero-halo copy unless nothing is read beyond its edge. The copy keeps
// the channel block of its source: 1 (planar) or `lanes`.
#include "sched_conv_internal.h"

struct split conv_split(int64_t n, int64_t limit) {
  int64_t blocks = ceil_div(n, limit), size = ceil_div(n, blocks);
  int64_t n_small = size * blocks - n;
  return (struct split){size, blocks - n_small, n_small};
}

lx conv_split_loop(struct lb *b, const char *name, struct split s, int part, int64_t *size) {
  int64_t n = part ? s.n_small : s.n_big;
  *size = s.size - part;
  lx i = lb_for(b, name, n);
  return lx_addi(lx_muli(i, *size), part ? s.n_big * s.size : 0);
}
bool conv_split_has(struct split s, int part) { return part ? s.n_small > 0 : s.n_big > 0; }

// ---- sources of activations -------------------------------------------------------------------
struct source conv_source(struct lb *b, struct loop_buf *given, int64_t channels,
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

lx conv_source_at(const struct source *s, lx first, lx image, lx cb, lx row, lx column, lx lane) {
  lx n = s->staged ? image : lx_add(first, image);
  lx r = lx_addi(lx_add(lx_muli(cb, s->rows), row), s->before[0]);
  lx c = lx_addi(lx_add(lx_muli(r, s->columns), column), s->before[1]);
  return lx_add(lx_muli(n, source_image(s)), lx_add(lx_muli(c, s->block), lane));
}
struct loop_buf *conv_source_buf(const struct source *s) {
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

void conv_source_clear(struct lb *b, const struct source *s) {
  if (s->staged) clear_run(b, s->staged, s->staged->count);
}

void conv_source_stage(struct lb *b, const struct source *s, lx first, lx images) {
  if (!s->staged) return;
  lx image = lb_for_range(b, "image", lx_int(b, 0), images, 1);
  lx cb = lb_for(b, "cb", s->channels / s->block);
  lx row = lb_for(b, "row", s->h);
  lx n = lx_add(first, image);
  lx from = lx_add(lx_muli(n, s->channels / s->block), cb);
  from = lx_muli(lx_add(lx_muli(from, s->h), row), s->w * s->block);
  copy_run(b, s->staged, conv_source_at(s, first, image, cb, row, lx_int(b, 0), lx_int(b, 0)), s->given,
           from, s->w * s->block);
  lb_end(b);
  lb_end(b);
  lb_end(b);
}

// ---- axes -------------------------------------------------------------------------------------
struct axis conv_forward_axis(int64_t out, int64_t k, int64_t stride, int64_t pad, int64_t dil) {
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

void conv_axis_reach(struct axis a, int64_t *lo, int64_t *hi) {
  if (!a.taps || !a.count) return;
  int64_t end = a.off + (a.taps - 1) * a.off_step;
  *lo = min64(*lo, min64(a.off, end));
  *hi = max64(*hi, max64(a.off, end) + (a.count - 1) * a.src_stride);
}

struct axis *conv_backward_axes(struct arena *arena, int64_t in, int64_t k, int64_t stride,
                                  int64_t pad, int64_t dil) {
  struct axis *axes = NEW_ARRAY(arena, struct axis, stride);
  for (int64_t r = 0; r < stride; r++) axes[r] = backward_axis(in, k, stride, pad, dil, r);
  return axes;
}

// ---- shapes -----------------------------------------------------------------------------------
struct conv_shape conv_flattened(const struct conv_shape *given) {
  struct conv_shape s = *given;
  if (s.kh * s.kw != 1 || s.stride[0] * s.stride[1] != 1 || s.pad[0] || s.pad[1]) return s;
  s.iw *= s.ih;
  s.ow *= s.oh;
  s.ih = s.oh = 1;
  return s;
}

void conv_check(const struct conv_shape *s, const struct target *t) {
  int64_t in[2] = {s->ih, s->iw}, out[2] = {s->oh, s->ow}, k[2] = {s->kh, s->kw};
  for (int d = 0; d < 2; d++)
    expect(out[d] == (in[d] + 2 * s->pad[d] - s->dil[d] * (k[d] - 1) - 1) / s->stride[d] + 1,
           "convolution: output size %lld does not follow from the input's", (long long)out[d]);
  expect(!s->in_blocked || s->ic % t->lanes == 0, "convolution: blocked input of %lld channels",
         (long long)s->ic);
  expect(s->groups > 0 && s->ic % s->groups == 0 && s->oc % s->groups == 0,
         "convolution: %lld groups", (long long)s->groups);
  expect(!s->out_blocked || s->oc % t->lanes == 0, "convolution: blocked output of %lld channels",
         (long long)s->oc);
}

void conv_describe(struct lb *b, const char *equation, const struct conv_shape *s) {
  double in = (double)(s->n * s->ic * s->ih * s->iw), out = (double)(s->n * s->oc * s->oh * s->ow);
  double terms = (double)(s->ic / s->groups * s->kh * s->kw), w = (double)s->oc * terms;
  struct arena *arena = lb_arena(b);
  const char *groups =
      s->groups > 1 ? str_printf(arena, " in %lld groups", (long long)s->groups) : "";
  lb_equation(b, str_printf(arena, "%s, %lldx%lld, %lld -> %lld channels%s, %lldx%lld -> %lldx%lld",
                            equation, (long long)s->kh, (long long)s->kw, (long long)s->ic,
                            (long long)s->oc, groups, (long long)s->ih, (long long)s->iw,
                            (long long)s->oh, (long long)s->ow));
  lb_cost(b, 2 * out * terms, 4 * (in + out + w));
}

// ---- bundles ----------------------------------------------------------------------------------

struct bundle conv_bundle(int64_t groups, int64_t src, int64_t out, int64_t lanes, int64_t block) {
  struct bundle u = {.groups = 1, .src_group = src / groups, .out_group = out / groups};
  while (u.groups < groups && (groups % u.groups || u.groups * u.out_group % lanes ||
                               u.groups * u.src_group % block))
    u.groups++;
  u.n = groups / u.groups;
  u.src = u.groups * u.src_group;
  u.out = u.groups * u.out_group;
  return u;
}

int64_t conv_bundle_vectors(const struct bundle *u, int64_t lanes) {
  return u->n == 1 || u->out / lanes % OV == 0 ? OV : 1;
}

lx conv_bundle_of(const struct bundle *u, lx vector, int64_t lanes) {
  return u->n == 1 ? lx_int(vector->builder, 0) : lx_divi(vector, u->out / lanes);
}
