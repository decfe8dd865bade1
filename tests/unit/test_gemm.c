// test_gemm.c: the product schedule against naive sums in double.
//
// Every case runs at 16, 8 and 4 lanes (where the machine can), with guard zones round every buffer,
// scratch full of NaN, and with 1, 2 and 3 threads, whose bits must agree. The tolerance is that of
// fp32 sums: |error| <= 4 eps sqrt(terms) * the sum of |products|, and the same for folds.
//
// The full case has a prologue on both sides, (x - shift[cross]) * scale[p], and an epilogue that
// stores another value, d = c * t + c, and folds c, d and c^2 in all ways. The symmetric one with sums
// stores d too, and sums d and c^2 over everything.
#include "guarded.h"
#include "sched_gemm.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>


enum kind { PLAIN, FULL, FINISH, SYMMETRIC, SYMMETRIC_SUMS };
struct test {
  enum kind kind;
  int64_t batch, m, n, k;
  bool tx, tw;
  int64_t mc, kc, nc; // 0: chosen
};
static const struct test tests[] = {
    {PLAIN, 1, 1, 1, 1, false, false, 0, 0, 0},
    {PLAIN, 1, 1, 1, 1, true, true, 0, 0, 0},
    {PLAIN, 1, 1, 37, 19, false, false, 0, 0, 0},
    {PLAIN, 1, 37, 1, 19, true, false, 0, 0, 0},
    {PLAIN, 1, 13, 17, 1, false, true, 0, 0, 0},
    {PLAIN, 1, 31, 61, 127, false, false, 0, 0, 0},
    {PLAIN, 1, 31, 61, 127, true, false, 0, 0, 0},
    {PLAIN, 1, 31, 61, 127, false, true, 0, 0, 0},
    {PLAIN, 1, 31, 61, 127, true, true, 0, 0, 0},
    {PLAIN, 1, 64, 96, 160, false, true, 0, 0, 0},
    {PLAIN, 1, 203, 300, 67, false, true, 56, 32, 64}, // tiles both ways, several blocks of k
    {PLAIN, 1, 203, 301, 67, true, false, 56, 32, 64},
    {PLAIN, 1, 5, 7, 3001, false, false, 0, 0, 0}, // pieces
    {PLAIN, 1, 40, 53, 2048, true, true, 0, 256, 0},
    {PLAIN, 1, 20, 40, 2600, false, true, 0, 130, 0}, // the last block of k ends a chunk earlier
    {PLAIN, 5, 19, 35, 23, false, true, 0, 0, 0},   // batches as tasks
    {PLAIN, 3, 150, 290, 40, true, false, 28, 16, 96}, // batches one after another
    {FULL, 1, 29, 45, 33, false, false, 0, 0, 0},
    {FULL, 1, 64, 32, 37, true, true, 0, 0, 0},
    {FULL, 1, 131, 200, 70, false, true, 28, 32, 64},
    {FULL, 1, 131, 201, 70, true, false, 28, 0, 64},
    {FULL, 1, 23, 37, 2500, true, false, 0, 0, 0},
    {FULL, 4, 17, 39, 21, false, true, 0, 0, 0},
    {FULL, 2, 131, 200, 40, true, true, 28, 0, 32},
    {FINISH, 1, 31, 70, 26, false, false, 0, 0, 0},
    {FINISH, 1, 203, 300, 67, true, true, 0, 32, 64},
    {FINISH, 1, 20, 37, 2100, true, false, 0, 0, 0},
    {SYMMETRIC, 1, 1, 1, 5, false, true, 0, 0, 0},
    {SYMMETRIC, 1, 70, 70, 33, true, false, 0, 0, 0},
    {SYMMETRIC, 1, 203, 203, 67, false, true, 0, 32, 64},
    {SYMMETRIC, 1, 167, 167, 40, true, false, 0, 0, 32},
    {SYMMETRIC, 1, 45, 45, 2200, false, true, 0, 0, 0},
    {SYMMETRIC, 3, 33, 33, 20, true, false, 0, 0, 0},
    {SYMMETRIC_SUMS, 1, 70, 70, 33, true, false, 0, 0, 0},
    {SYMMETRIC_SUMS, 1, 203, 203, 67, false, true, 0, 32, 64},
    {SYMMETRIC_SUMS, 1, 45, 45, 2200, false, true, 0, 0, 0},
    {SYMMETRIC_SUMS, 3, 33, 33, 20, true, false, 0, 0, 0},
};

// ---- kernels ----------------------------------------------------------------------------------
// Parameters, by case: x, w, y; then what the full case has.
enum { X, W, Y, SHIFT_X, SCALE_X, SHIFT_W, SCALE_W, T, D, ALL, ROWS, COLUMNS, SQUARES, MOST };
static const char *const names[MOST] = {"x", "w", "y", "shift_x", "scale_x", "shift_w", "scale_w",
                                        "t", "d", "all", "rows", "columns", "squares"};
static int64_t count_of(const struct test *c, int p) {
  switch (p) {
  case X: return c->batch * c->m * c->k;
  case W: return c->batch * c->k * c->n;
  case SHIFT_X: return c->m;
  case SHIFT_W: return c->n;
  case SCALE_X:
  case SCALE_W: return c->k;
  case ALL:
  case SQUARES: return c->batch;
  case ROWS: return c->batch * c->n;
  case COLUMNS: return c->batch * c->m;
  default: return c->batch * c->m * c->n;
  }
}
static int params_of(enum kind kind) { return kind == PLAIN || kind == SYMMETRIC ? 3 : MOST; }
static bool is_symmetric(enum kind kind) { return kind == SYMMETRIC || kind == SYMMETRIC_SUMS; }
static bool has_prologue(enum kind kind) { return kind == FULL || kind == FINISH; }
static bool is_double(int p) { return p == ALL || p == SQUARES; }
static bool is_output(int p) { return p == Y || p == D || p >= ALL; }

struct side {
  struct lb *b;
  bool along_k;
  struct loop_buf *buf, *shift, *scale;
  int64_t along, across, matrix;
  lx hoisted;
};
static void side_enter(void *user, lx batch, lx cross, lx left) {
  struct side *s = user;
  (void)batch;
  s->hoisted = lb_let(s->b, "shift_here",
                      s->along_k ? lx_load(s->shift, cross) : lx_vload_n(s->shift, cross, left));
}
static void side_leave(void *user) { ((struct side *)user)->hoisted = NULL; }
static lx side_vector(void *user, lx batch, lx cross, lx p, lx left) {
  struct side *s = user;
  lx at = lx_add(lx_muli(cross, s->across), lx_muli(p, s->along));
  lx x = lx_vload_n(s->buf, lx_add(lx_muli(batch, s->matrix), at), left);
  if (!s->shift) return x;
  lx scale = s->along_k ? lx_vload_n(s->scale, p, left) : lx_load(s->scale, p);
  return lx_mul(lx_sub(x, s->hoisted), scale);
}

struct result {
  struct lb *b;
  const struct test *c;
  struct loop_buf **p;
  lx hoisted;
};
static lx result_at(const struct result *r, lx batch, lx i, lx j) {
  return lx_add(lx_muli(lx_add(lx_muli(batch, r->c->m), i), r->c->n), j);
}
static void plain_point(void *user, lx batch, lx i, lx j, lx left, lx c, lx *value) {
  struct result *r = user;
  (void)value;
  lb_store_n(r->b, r->p[Y], result_at(r, batch, i, j), left, c);
}
static void full_point(void *user, lx batch, lx i, lx j, lx left, lx c, lx *value) {
  struct result *r = user;
  lx at = lb_let(r->b, "place", result_at(r, batch, i, j));
  lx d = lb_let(r->b, "value", lx_fma(c, lx_vload_n(r->p[T], at, left), c));
  lb_store_n(r->b, r->p[D], at, left, d);
  if (r->c->kind == FULL) lb_store_n(r->b, r->p[Y], at, left, c);
  value[0] = value[2] = c;
  value[1] = d;
  value[3] = lx_mul(c, c);
}
static void sums_point(void *user, lx batch, lx i, lx j, lx left, lx c, lx *value) {
  struct result *r = user;
  lx at = lb_let(r->b, "place", result_at(r, batch, i, j));
  value[0] = lb_let(r->b, "value", lx_fma(c, lx_vload_n(r->p[T], at, left), c));
  value[1] = lx_mul(c, c);
  lb_store_n(r->b, r->p[Y], at, left, c);
  lb_store_n(r->b, r->p[D], at, left, value[0]);
}
static const enum gemm_fold sums[] = {GEMM_FOLD_ALL, GEMM_FOLD_ALL};
static void sums_done(void *user, int fold, lx batch, lx index, lx left, lx total) {
  struct result *r = user;
  (void)index, (void)left;
  lb_store(r->b, r->p[fold == 0 ? ALL : SQUARES], batch, total);
}
static const enum gemm_fold folds[] = {GEMM_FOLD_ALL, GEMM_FOLD_ROWS, GEMM_FOLD_COLUMNS,
                                       GEMM_FOLD_ALL};
static void full_done(void *user, int fold, lx batch, lx index, lx left, lx total) {
  struct result *r = user;
  struct loop_buf *to = r->p[fold == 3 ? SQUARES : ALL + fold];
  switch (folds[fold]) {
  case GEMM_FOLD_ALL: lb_store(r->b, to, batch, total); break;
  case GEMM_FOLD_ROWS:
    lb_store_n(r->b, to, lx_add(lx_muli(batch, r->c->n), index), left, total);
    break;
  case GEMM_FOLD_COLUMNS: lb_store(r->b, to, lx_add(lx_muli(batch, r->c->m), index), total); break;
  }
}
// y = d + c + rows, once the column's sum is known.
static void finish_enter(void *user, lx batch, lx j, lx left) {
  struct result *r = user;
  r->hoisted = lb_let(r->b, "total", lx_vload_n(r->p[ROWS], lx_add(lx_muli(batch, r->c->n), j), left));
}
static void finish_leave(void *user) { ((struct result *)user)->hoisted = NULL; }
static void finish(void *user, lx batch, lx i, lx j, lx left, lx c) {
  struct result *r = user;
  lx at = lb_let(r->b, "place", result_at(r, batch, i, j));
  lb_store_n(r->b, r->p[Y], at, left, lx_add(lx_add(lx_vload_n(r->p[D], at, left), c), r->hoisted));
}

static struct loop_kernel *build_kernel(struct arena *a, const struct target *t, const struct test *c,
                                        int index) {
  const char *name = str_printf(a, "gemm_%d", index);
  struct gemm_shape shape = {c->batch, c->m, c->n, c->k, is_symmetric(c->kind), c->mc, c->kc, c->nc};
  if (c->kind == PLAIN) return sched_gemm_plain(a, t, name, &shape, c->tx, c->tw);
  struct lb *b = lb_new(a, t, name);
  struct loop_buf *p[MOST];
  for (int i = 0; i < params_of(c->kind); i++) {
    enum loop_type type = is_double(i) ? LT_F64 : LT_F32;
    p[i] = (i == D || i == ROWS ? lb_inout : is_output(i) ? lb_output : lb_input)(b, names[i], type,
                                                                            count_of(c, i));
  }
  bool full = has_prologue(c->kind);
  struct side x = {b, !c->tx, p[X], full ? p[SHIFT_X] : NULL, full ? p[SCALE_X] : NULL,
                   c->tx ? c->m : 1, c->tx ? 1 : c->k, c->m * c->k, NULL};
  struct side w = {b, c->tw, p[W], full ? p[SHIFT_W] : NULL, full ? p[SCALE_W] : NULL,
                   c->tw ? 1 : c->n, c->tw ? c->k : 1, c->k * c->n, NULL};
  struct result r = {b, c, p, NULL};
  struct gemm_operand left = {x.along_k, side_vector, side_enter, side_leave, &x};
  struct gemm_operand right = {w.along_k, side_vector, side_enter, side_leave, &w};
  if (!full) left.enter = right.enter = NULL, left.leave = right.leave = NULL;
  struct gemm_epilogue e = {.user = &r, .point = full ? full_point : plain_point};
  if (c->kind == SYMMETRIC_SUMS) e.point = sums_point, e.n_folds = 2, e.folds = sums, e.fold_done = sums_done;
  if (full) e.n_folds = 4, e.folds = folds, e.fold_done = full_done;
  if (c->kind == FINISH) e.finish = finish, e.finish_enter = finish_enter, e.finish_leave = finish_leave;
  sched_gemm(b, &shape, &left, &right, &e);
  return lb_finish(b);
}

// ---- the naive sums ---------------------------------------------------------------------------
// What every output should be, and how large its terms are.
struct expected {
  double *value[MOST], *magnitude[MOST];
  int64_t terms[MOST];
};

static double element(const struct test *c, float *const *p, int64_t batch, int64_t cross, int64_t q,
                      bool left) {
  bool t = left ? c->tx : !c->tw;
  int64_t extent = left ? c->m : c->n;
  int64_t at = batch * extent * c->k + (t ? q * extent + cross : cross * c->k + q);
  float x = p[left ? X : W][at];
  if (!has_prologue(c->kind)) return (double)x;
  float shifted = x - p[left ? SHIFT_X : SHIFT_W][cross];
  return (double)(shifted * p[left ? SCALE_X : SCALE_W][q]);
}

static void expect_point(const struct test *c, float *const *p, struct expected *e, int64_t batch,
                         int64_t i, int64_t j, double sum, double size) {
  int64_t at = (batch * c->m + i) * c->n + j;
  double t = params_of(c->kind) == MOST ? (double)p[T][at] : 0, d = sum * t + sum;
  double d_size = size * (1 + fabs(t));
  double value[MOST] = {[Y] = sum, [D] = d, [ALL] = is_symmetric(c->kind) ? d : sum, [ROWS] = d, [COLUMNS] = sum, [SQUARES] = sum * sum};
  double magnitude[MOST] = {[Y] = size, [D] = d_size, [ALL] = is_symmetric(c->kind) ? d_size : size, [ROWS] = d_size, [COLUMNS] = size, [SQUARES] = 2 * size * fabs(sum) + size * size * 1e-6};
  int64_t place[MOST] = {[Y] = at, [D] = at, [ALL] = batch, [ROWS] = batch * c->n + j, [COLUMNS] = batch * c->m + i, [SQUARES] = batch};
  for (int o = 0; o < params_of(c->kind); o++)
    if (is_output(o)) e->value[o][place[o]] += value[o], e->magnitude[o][place[o]] += magnitude[o];
}

static struct expected expect_all(const struct test *c, float *const *p) {
  struct expected e = {0};
  for (int o = 0; o < params_of(c->kind); o++)
    if (is_output(o)) {
      e.value[o] = calloc((size_t)count_of(c, o), 8), e.magnitude[o] = calloc((size_t)count_of(c, o), 8);
      e.terms[o] = c->k + (o == ROWS ? c->m : o == COLUMNS ? c->n : 0);
    }
  for (int64_t batch = 0; batch < c->batch; batch++)
    for (int64_t i = 0; i < c->m; i++)
      for (int64_t j = 0; j < c->n; j++) {
        double sum = 0, size = 0;
        for (int64_t q = 0; q < c->k; q++) {
          double term = element(c, p, batch, i, q, true) * element(c, p, batch, j, q, false);
          sum += term, size += fabs(term);
        }
        expect_point(c, p, &e, batch, i, j, sum, size);
      }
  for (int64_t i = 0; c->kind == FINISH && i < count_of(c, Y); i++) {
    int64_t column = i / (c->m * c->n) * c->n + i % c->n;
    e.value[Y][i] += e.value[D][i] + e.value[ROWS][column];
    e.magnitude[Y][i] += e.magnitude[D][i] + e.magnitude[ROWS][column];
    e.terms[Y] = c->k + c->m;
  }
  return e;
}

// ---- one comparison ---------------------------------------------------------------------------
static int64_t floats_of(const struct test *c, int p) {
  return count_of(c, p) * (is_double(p) ? 2 : 1);
}
static void compare(const struct test *c, int index, int o, const float *got, const struct expected *e) {
  if (c->kind == SYMMETRIC_SUMS && (o == ROWS || o == COLUMNS)) return; // which it does not have
  for (int64_t i = 0; i < count_of(c, o); i++) {
    double value = is_double(o) ? ((const double *)(const void *)got)[i] : (double)got[i];
    double limit = 4 * 1.2e-7 * sqrt((double)e->terms[o]) * e->magnitude[o][i] + 1e-30;
    if (!(fabs(value - e->value[o][i]) <= limit))
      fail_msg("case %d, %ldx%ldx%ld: %s[%ld] is %.9g, should be %.9g +- %g", index, (long)c->m,
               (long)c->n, (long)c->k, names[o], (long)i, value, e->value[o][i], limit);
  }
}

static void check_case(const struct test *c, int index, const struct loop_kernel *k, jit_kernel kernel) {
  float *p[MOST], *first[MOST];
  int n = params_of(c->kind);
  for (int i = 0; i < n; i++)
    p[i] = is_output(i) ? guarded(floats_of(c, i), NAN) : guarded_random(floats_of(c, i), (unsigned)i);
  if (is_symmetric(c->kind)) memcpy(p[W], p[X], (size_t)count_of(c, X) * 4);
  for (int threads = 1; threads <= 3; threads++) {
    run_guarded(k, kernel, (void *const *)p, threads);
    for (int o = 0; o < n; o++) {
      check_guards(p[o], floats_of(c, o), names[o]);
      size_t bytes = (size_t)floats_of(c, o) * 4;
      if (threads == 1) first[o] = malloc(bytes), memcpy(first[o], p[o], bytes);
      if (memcmp(first[o], p[o], bytes)) fail_msg("case %d: %s depends on threads", index, names[o]);
      for (int64_t i = 0; is_output(o) && i < floats_of(c, o); i++) p[o][i] = NAN;
    }
  }
  struct expected e = expect_all(c, p);
  for (int o = 0; o < n; o++) {
    if (is_output(o)) compare(c, index, o, first[o], &e), free(e.value[o]), free(e.magnitude[o]);
    free(first[o]);
    release(p[o]);
  }
}

// ---- all cases at one width -------------------------------------------------------------------
static void check_width(const char *march) {
  enum { N = sizeof tests / sizeof *tests };
  struct arena *a = arena_new();
  struct target t, native;
  target_from_march(&t, march);
  target_from_march(&native, "native");
  if (native.lanes < t.lanes) {
    arena_free(a);
    skip();
  }
  struct loop_kernel *kernels[N];
  for (int i = 0; i < N; i++) {
    kernels[i] = build_kernel(a, &t, &tests[i], i);
    const char *fault = loop_verify(a, kernels[i]);
   
    if (fault) fail_msg("%s", fault);
  }
  struct jit j;
  assert_true(jit_build(&j, a, kernels, N, &t));
  for (int i = 0; i < N; i++) check_case(&tests[i], i, kernels[i], j.kernels[i]);
  jit_close(&j);
  arena_free(a);
}

static void lanes_16(void **state) { (void)state, check_width("x86-64-v4"); }
static void lanes_8(void **state) { (void)state, check_width("x86-64-v3"); }
static void lanes_4(void **state) { (void)state, check_width("x86-64"); }

int main(void) {
  setenv("JIT_FLAGS", "-O1", 0); // to save the host compiler's time
  const struct CMUnitTest unit_tests[] = {cmocka_unit_test(lanes_16), cmocka_unit_test(lanes_8),
                                          cmocka_unit_test(lanes_4)};
  return cmocka_run_group_tests(unit_tests, NULL, NULL);
}
