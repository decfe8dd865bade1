// test_math.c: the errors of runtime/btrt_math.h, in ulp against the C library's doubles.
//
// The header is compiled at the three widths, each into a kernel that maps an array; every width
// must give the same bits (it is one definition), up to contraction, so each is held to the bound.
#include "jit.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { N = 1 << 16 };

struct function {
  enum loop_op op;
  double (*exact)(double);
  double lo, hi, ulp;
  bool logarithmic;
};
static double exact_rsqrt(double x) { return 1 / sqrt(x); }
static const struct function functions[] = {
    {LX_EXP, exp, -87, 88.7, 2, false},      {LX_EXP, exp, -1e-3, 1e-3, 2, false},
    {LX_EXP, exp, -103, -87, 2, false},      {LX_LOG, log, 1e-38, 1e38, 2, true},
    {LX_LOG, log, 0.7, 1.5, 3, false},       {LX_LOG, log, 1e-44, 1e-38, 2, true},
    {LX_TANH, tanh, -10, 10, 3, false},      {LX_TANH, tanh, -1, 1, 3, false},
    {LX_SIN, sin, -3.2, 3.2, 3, false},      {LX_COS, cos, -1.5, 1.5, 3, false},
    {LX_SQRT, sqrt, 0, 1e10, 0.5001, false}, {LX_RSQRT, exact_rsqrt, 1e-30, 1e30, 1.5, true},
    {LX_FLOOR, floor, -1e7, 1e7, 0, false},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

static struct loop_kernel *map_kernel(struct arena *a, const struct target *t, enum loop_op op,
                                      int i) {
  struct lb *b = lb_new(a, t, str_printf(a, "map_%d", i));
  struct loop_buf *x = lb_input(b, "x", LT_F32, N), *y = lb_output(b, "y", LT_F32, N);
  lx at = lb_for_range(b, "i", lx_int(b, 0), lx_int(b, N), t->lanes);
  lb_store(b, y, at, lx_unary(op, lx_vload(x, at)));
  lb_end(b);
  return lb_finish(b);
}

static double ulp_of(double exact) { // of the float nearest to it
  int e;
  frexp(exact, &e);
  return ldexp(1, (e < -125 ? -125 : e) - 24);
}

static void fill(float *x, const struct function *f) {
  for (int i = 0; i < N; i++) {
    double at = (i + 0.5) / N;
    x[i] = (float)(f->logarithmic ? exp(log(f->lo) + at * (log(f->hi) - log(f->lo)))
                                  : f->lo + at * (f->hi - f->lo));
  }
}

static void check_function(const struct function *f, jit_kernel kernel, int lanes) {
  float *x = malloc(N * 4), *y = malloc(N * 4);
  fill(x, f);
  kernel((void *[]){x, y}, NULL, NULL);
  for (int i = 0; i < N; i++) {
    double exact = f->exact(x[i]), error = fabs(y[i] - exact) / ulp_of(exact);
    // Near a zero of sin and cos the reduction's absolute error counts.
    if ((f->op == LX_SIN || f->op == LX_COS) && fabs(y[i] - exact) < 1.2e-7) continue;
    if (!(error <= f->ulp))
      fail_msg("%s at %d lanes: %.9g gives %.9g, exactly %.17g: %.2f ulp of %.2f",
               lx_op_name(f->op), lanes, (double)x[i], (double)y[i], exact, error, f->ulp);
  }
  free(x);
  free(y);
}

static float value(jit_kernel kernel, float *x, float *y, float at) {
  for (int i = 0; i < N; i++) x[i] = at;
  kernel((void *[]){x, y}, NULL, NULL);
  return y[N - 1];
}

static void check_specials(const jit_kernel *k) { // exp, log and tanh are kernels 0, 3 and 6
  float *x = malloc(N * 4), *y = malloc(N * 4);
  assert_true(value(k[0], x, y, INFINITY) == INFINITY && value(k[0], x, y, -INFINITY) == 0);
  assert_true(value(k[0], x, y, 0) == 1 && value(k[0], x, y, 89) == INFINITY);
  assert_true(isnan(value(k[0], x, y, NAN)) && isnan(value(k[3], x, y, NAN)));
  assert_true(value(k[3], x, y, 0) == -INFINITY && isnan(value(k[3], x, y, -1)));
  assert_true(value(k[3], x, y, INFINITY) == INFINITY && value(k[3], x, y, 1) == 0);
  assert_true(value(k[6], x, y, INFINITY) == 1 && value(k[6], x, y, -INFINITY) == -1);
  assert_true(isnan(value(k[6], x, y, NAN)) && signbit(value(k[6], x, y, -0.0f)));
  free(x);
  free(y);
}

static void check_width(const char *march) {
  struct target t, native;
  target_from_march(&t, march);
  target_from_march(&native, "native");
  if (native.lanes < t.lanes) skip();
  struct arena *a = arena_new();
  struct loop_kernel *k[FUNCTIONS];
  for (int i = 0; i < FUNCTIONS; i++) k[i] = map_kernel(a, &t, functions[i].op, i);
  struct jit j;
  assert_true(jit_build(&j, a, k, FUNCTIONS, &t));
  for (int i = 0; i < FUNCTIONS; i++) check_function(&functions[i], j.kernels[i], t.lanes);
  check_specials(j.kernels);
  jit_close(&j);
  arena_free(a);
}

static void lanes_16(void **state) { (void)state, check_width("x86-64-v4"); }
static void lanes_8(void **state) { (void)state, check_width("x86-64-v3"); }
static void lanes_4(void **state) { (void)state, check_width("x86-64"); }

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(lanes_16), cmocka_unit_test(lanes_8),
                                     cmocka_unit_test(lanes_4)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
