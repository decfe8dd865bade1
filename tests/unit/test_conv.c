// test_conv.c: the convolution schedules against naive sums in double.
//
// Every shape runs at 16, 8 and 4 lanes (where the machine can), all layouts that fit, with guard
// zones round every buffer, scratch full of NaN, and 1 and 2 threads, whose bits must agree. The
// tolerance is that of fp32 sums: |error| <= 4 eps sqrt(terms) * the sum of |products|.
#include "guarded.h"
#include "sched_conv.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum direction { FORWARD, DATA, WEIGHTS };

struct layer {
  int64_t n, ic, ih, iw, oc, kh, kw, sy, sx, py, px, dy, dx, groups;
};
static const struct layer layers[] = {
    {3, 16, 9, 9, 32, 3, 3, 1, 1, 1, 1, 1, 1, 1},  {2, 17, 7, 7, 33, 3, 3, 1, 1, 1, 1, 1, 1, 1},
    {2, 3, 12, 11, 16, 5, 5, 1, 1, 2, 2, 1, 1, 1}, {2, 3, 23, 23, 16, 7, 7, 2, 2, 3, 3, 1, 1, 1},
    {3, 16, 9, 9, 48, 1, 1, 2, 2, 0, 0, 1, 1, 1},  {3, 16, 9, 7, 16, 3, 3, 2, 2, 1, 1, 1, 1, 1},
    {5, 1, 28, 28, 16, 3, 3, 1, 1, 1, 1, 1, 1, 1}, {2, 32, 8, 8, 32, 1, 1, 1, 1, 0, 0, 1, 1, 1},
    {20, 32, 4, 4, 64, 3, 3, 1, 1, 1, 1, 1, 1, 1}, {2, 16, 15, 13, 16, 3, 3, 1, 1, 2, 2, 2, 2, 1},
    {2, 5, 10, 12, 7, 3, 2, 3, 2, 0, 1, 1, 2, 1},  {1, 4, 5, 5, 3, 5, 5, 1, 1, 0, 0, 1, 1, 1},
    {2, 16, 6, 6, 16, 1, 1, 1, 1, 1, 2, 1, 1, 1},  {2, 8, 11, 11, 24, 2, 2, 3, 3, 0, 0, 1, 1, 1},
    {33, 16, 3, 3, 80, 3, 3, 1, 1, 1, 1, 1, 1, 1}, {2, 1, 1, 17, 1, 1, 3, 1, 1, 0, 1, 1, 1, 1},
    // groups: as wide as vectors, as two, narrower, of no vector's width, with more outputs than inputs
    {3, 64, 5, 6, 64, 3, 3, 1, 1, 1, 1, 1, 1, 2}, {3, 48, 6, 5, 48, 3, 3, 2, 2, 1, 1, 1, 1, 3},
    {3, 32, 6, 7, 32, 3, 3, 1, 1, 1, 1, 1, 1, 8}, {2, 9, 6, 5, 6, 3, 2, 2, 1, 1, 0, 1, 2, 3},
    {2, 12, 5, 5, 36, 1, 1, 1, 1, 0, 0, 1, 1, 6}, {3, 16, 5, 5, 32, 3, 3, 1, 1, 1, 1, 1, 1, 16},
    {2, 96, 4, 4, 64, 1, 1, 2, 2, 0, 0, 1, 1, 2},
    // depthwise: in blocks and planar, strides, dilation, without a halo, of many taps
    {3, 32, 9, 17, 32, 3, 3, 1, 1, 1, 1, 1, 1, 32}, {3, 16, 8, 9, 16, 3, 3, 2, 2, 1, 1, 1, 1, 16},
    {2, 19, 7, 8, 19, 3, 3, 1, 2, 1, 1, 2, 1, 19},  {3, 16, 7, 7, 16, 2, 2, 1, 1, 0, 0, 1, 1, 16},
    {2, 5, 9, 40, 5, 5, 33, 3, 1, 2, 16, 1, 1, 5},  {33, 16, 4, 4, 16, 1, 1, 1, 1, 0, 0, 1, 1, 16},
};

static struct conv_shape shape_of(const struct layer *l) {
  int64_t oh = (l->ih + 2 * l->py - l->dy * (l->kh - 1) - 1) / l->sy + 1;
  int64_t ow = (l->iw + 2 * l->px - l->dx * (l->kw - 1) - 1) / l->sx + 1;
  return (struct conv_shape){l->n,  l->ic, l->ih, l->iw,          l->oc,          oh,
                             ow,    l->kh, l->kw, {l->sy, l->sx}, {l->py, l->px}, {l->dy, l->dx},
                             false, false, l->groups};
}

// ---- layouts ----------------------------------------------------------------------------------
static int64_t position(int64_t c, int64_t h, int64_t w, int64_t n, int64_t i, int64_t y, int64_t x,
                        int64_t block) {
  return (((n * (c / block) + i / block) * h + y) * w + x) * block + i % block;
}

static void relayout(float *to, const float *from, int64_t n, int64_t c, int64_t h, int64_t w,
                     int64_t to_block, int64_t from_block) {
  for (int64_t i = 0; i < n * c * h * w; i++) {
    int64_t x = i % w, y = i / w % h, ch = i / w / h % c, im = i / w / h / c;
    to[position(c, h, w, im, ch, y, x, to_block)] =
        from[position(c, h, w, im, ch, y, x, from_block)];
  }
}

// ---- the naive sums ---------------------------------------------------------------------------
struct tensors {
  float *x, *w, *y;
  double *result, *magnitude;
};

static void naive(const struct conv_shape *s, enum direction d, struct tensors t) {
  for (int64_t n = 0; n < s->n; n++)
    for (int64_t o = 0; o < s->oc; o++)
      for (int64_t r = 0; r < s->oh; r++)
        for (int64_t c = 0; c < s->ow; c++)
          for (int64_t i = 0; i < s->ic / s->groups; i++)
            for (int64_t p = 0; p < s->kh; p++)
              for (int64_t q = 0; q < s->kw; q++) {
                int64_t iy = r * s->stride[0] + p * s->dil[0] - s->pad[0];
                int64_t ix = c * s->stride[1] + q * s->dil[1] - s->pad[1];
                if (iy < 0 || iy >= s->ih || ix < 0 || ix >= s->iw) continue;
                int64_t channel = o / (s->oc / s->groups) * (s->ic / s->groups) + i;
                int64_t at_x = ((n * s->ic + channel) * s->ih + iy) * s->iw + ix;
                int64_t at_w = ((o * (s->ic / s->groups) + i) * s->kh + p) * s->kw + q;
                int64_t at_y = ((n * s->oc + o) * s->oh + r) * s->ow + c;
                double a = d == FORWARD ? t.w[at_w] : t.y[at_y],
                       b = d == DATA ? t.w[at_w] : t.x[at_x];
                int64_t to = d == FORWARD ? at_y : d == DATA ? at_x : at_w;
                t.result[to] += a * b;
                t.magnitude[to] += fabs(a * b);
              }
}

// ---- one comparison ---------------------------------------------------------------------------
static void compare(const struct conv_shape *s, enum direction d, const float *got,
                    const struct tensors *t, int64_t count, int64_t terms, const char *what) {
  for (int64_t i = 0; i < count; i++) {
    double limit = 4 * 1.2e-7 * sqrt((double)terms) * t->magnitude[i] + 1e-30;
    if (!(fabs(got[i] - t->result[i]) <= limit))
      fail_msg("%s, direction %d, %ld -> %ld channels: element %ld is %g, should be %g", what, d,
               (long)s->ic, (long)s->oc, (long)i, (double)got[i], t->result[i]);
  }
}

// params in the kernel's order; the result is planar again in `got`.
static void check_direction(const struct conv_shape *s, enum direction d, int lanes,
                            const struct loop_kernel *k, jit_kernel kernel, struct tensors t) {
  int64_t in_block = s->in_blocked ? lanes : 1, out_block = s->out_blocked ? lanes : 1;
  int64_t nx = s->n * s->ic * s->ih * s->iw, ny = s->n * s->oc * s->oh * s->ow;
  int64_t nw = s->oc * s->ic / s->groups * s->kh * s->kw;
  float *x = guarded(nx, NAN), *y = guarded(ny, NAN), *w = guarded(nw, NAN);
  if (d != DATA) relayout(x, t.x, s->n, s->ic, s->ih, s->iw, in_block, 1);
  if (d != FORWARD) relayout(y, t.y, s->n, s->oc, s->oh, s->ow, out_block, 1);
  if (d != WEIGHTS) memcpy(w, t.w, (size_t)nw * 4);
  void *params[3][3] = {{x, w, y}, {y, w, x}, {x, y, w}};
  int64_t count = d == FORWARD ? ny : d == DATA ? nx : nw;
  float *result = params[d][2], *first = malloc((size_t)count * 4),
        *got = malloc((size_t)count * 4);
  run_guarded(k, kernel, params[d], 2);
  memcpy(first, result, (size_t)count * 4);
  run_guarded(k, kernel, params[d], 1);
  if (memcmp(first, result, (size_t)count * 4)) fail_msg("%s: bits depend on threads", k->equation);
  check_guards(x, nx, "x"), check_guards(y, ny, "y"), check_guards(w, nw, "w");
  if (d == FORWARD)
    relayout(got, y, s->n, s->oc, s->oh, s->ow, 1, out_block);
  else if (d == DATA)
    relayout(got, x, s->n, s->ic, s->ih, s->iw, 1, in_block);
  else
    memcpy(got, w, (size_t)nw * 4);
  int64_t terms = d == FORWARD ? s->ic / s->groups * s->kh * s->kw
                  : d == DATA  ? s->oc / s->groups * s->kh * s->kw
                               : s->n * s->oh * s->ow;
  compare(s, d, got, &t, count, terms, k->equation);
  free(first), free(got), release(x), release(y), release(w);
}

// ---- all layers at one width ------------------------------------------------------------------
static struct loop_kernel *schedule(struct arena *a, const struct target *t, enum direction d,
                                    const struct conv_shape *s, int i) {
  const char *name = str_printf(a, "conv_%d", i);
  struct loop_kernel *k = d == FORWARD ? sched_conv_forward(a, t, name, s)
                          : d == DATA  ? sched_conv_backward_data(a, t, name, s)
                                       : sched_conv_backward_weights(a, t, name, s);
  const char *fault = loop_verify(a, k);
  if (fault) fail_msg("%s", fault);
  return k;
}

// The layouts of the i-th try that a shape allows: bit 0 blocked input, bit 1 blocked output. Mixed
// ones only where the batch is not 2, to save the host compiler's time.
static bool choose_layout(struct conv_shape *s, int i, int lanes) {
  s->in_blocked = i & 1;
  s->out_blocked = i & 2;
  if (s->in_blocked != s->out_blocked && s->n == 2) return false;
  return (!s->in_blocked || s->ic % lanes == 0) && (!s->out_blocked || s->oc % lanes == 0);
}

static void check_layer(struct arena *a, const struct target *t, const struct layer *l,
                        const jit_kernel *kernels, int *next) {
  struct conv_shape s = shape_of(l);
  int64_t nx = s.n * s.ic * s.ih * s.iw, ny = s.n * s.oc * s.oh * s.ow,
          nw = s.oc * s.ic / s.groups * s.kh * s.kw;
  float *x = guarded_random(nx, 1), *w = guarded_random(nw, 2), *y = guarded_random(ny, 3);
  for (int d = 0; d < 3; d++) {
    int64_t count = d == FORWARD ? ny : d == DATA ? nx : nw;
    struct tensors tensors = {x, w, y, calloc((size_t)count, 8), calloc((size_t)count, 8)};
    naive(&s, d, tensors);
    for (int i = 0; i < 4; i++)
      if (choose_layout(&s, i, t->lanes)) {
        struct loop_kernel *k = schedule(a, t, d, &s, *next);
        check_direction(&s, d, t->lanes, k, kernels[(*next)++], tensors);
      }
    free(tensors.result), free(tensors.magnitude);
  }
  release(x), release(w), release(y);
}

static void check_width(const char *march) {
  enum { N = sizeof layers / sizeof *layers };
  struct arena *a = arena_new();
  struct target t, native;
  target_from_march(&t, march);
  target_from_march(&native, "native");
  if (native.lanes < t.lanes) {
    arena_free(a);
    skip();
  }
  struct loop_kernel *kernels[N * 12];
  int n = 0, next = 0;
  for (int l = 0; l < N; l++)
    for (int d = 0; d < 3; d++)
      for (int i = 0; i < 4; i++) {
        struct conv_shape s = shape_of(&layers[l]);
        if (choose_layout(&s, i, t.lanes)) kernels[n] = schedule(a, &t, d, &s, n), n++;
      }
  struct jit j;
  assert_true(jit_build(&j, a, kernels, n, &t));
  for (int l = 0; l < N; l++) check_layer(a, &t, &layers[l], j.kernels, &next);
  assert_int_equal(next, n);
  jit_close(&j);
  arena_free(a);
}

static void lanes_16(void **state) { (void)state, check_width("x86-64-v4"); }
static void lanes_8(void **state) { (void)state, check_width("x86-64-v3"); }
static void lanes_4(void **state) { (void)state, check_width("x86-64"); }

int main(void) {
  setenv("JIT_FLAGS", "-O1", 0); // 250 kernels: -O3 takes three times as long (and passes: try it)
  const struct CMUnitTest tests[] = {cmocka_unit_test(lanes_16), cmocka_unit_test(lanes_8),
                                     cmocka_unit_test(lanes_4)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
