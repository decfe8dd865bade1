// test_math.c: the errors of runtime/btrt_math.h, in ulp against the C library's doubles.
//
// The header is compiled at the three widths, each into a kernel that maps an array of floats of every
// exponent, infinities and NaN; every width must give the same bits (it is one definition), up to
// contraction, so each is held to the bound. MATH_ERRORS=1 prints the largest error met.
#include "jit.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { N = 1 << 20 };

struct function {
  enum loop_op op;
  double (*exact)(double);          // of one operand
  double (*exact_of_two)(double, double); // of two
  double ulp;
};
static double exact_rsqrt(double x) { return 1 / sqrt(x); }
static double exact_sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static double exact_softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }
static double exact_floormod(double x, double y) {
  double r = fmod(x, y);
  return r < 0 && y > 0 ? r + y : r > 0 && y < 0 ? r + y : r;
}
static const struct function functions[] = {
    {LX_EXP, exp, NULL, 1.5},           {LX_LOG, log, NULL, 1.5},
    {LX_TANH, tanh, NULL, 2.5},         {LX_SIGMOID, exact_sigmoid, NULL, 3},
    {LX_SOFTPLUS, exact_softplus, NULL, 3}, {LX_ERF, erf, NULL, 1.5},
    {LX_SIN, sin, NULL, 1.5},           {LX_COS, cos, NULL, 1.5},
    {LX_SQRT, sqrt, NULL, 0.5001},      {LX_RSQRT, exact_rsqrt, NULL, 1.5},
    {LX_FLOOR, floor, NULL, 0},         {LX_POW, NULL, pow, 0.6},
    {LX_FLOORMOD, NULL, exact_floormod, 0.5001},
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

static struct loop_kernel *map_kernel(struct arena *a, const struct target *t,
                                      const struct function *f, int i) {
  struct lb *b = lb_new(a, t, str_printf(a, "map_%d", i));
  struct loop_buf *x = lb_input(b, "x", LT_F32, N), *y = lb_input(b, "y", LT_F32, N);
  struct loop_buf *z = lb_output(b, "z", LT_F32, N);
  lx at = lb_for_range(b, "i", lx_int(b, 0), lx_int(b, N), t->lanes), v = lx_vload(x, at);
  lb_store(b, z, at, f->exact ? lx_unary(f->op, v) : lx_binary(f->op, v, lx_vload(y, at)));
  lb_end(b);
  return lb_finish(b);
}

// ---- operands ---------------------------------------------------------------------------------
// Where functions begin, end, overflow, change their polynomial, or have an exception.
static const float corners[] = {
    0,      -0.0f,  1,        -1,         2,       -2,      3,      -3,      0.5f,     -0.5f,   1e-45f,
    -1e-45f, 1.1754942e-38f, -1.1754942e-38f, 1.17549435e-38f, -1.17549435e-38f, 3.4028235e38f,
    -3.4028235e38f, INFINITY, -INFINITY,  NAN,     88.72283f, 88.72284f, -87.33654f, -103.97208f,
    -103.97209f, 0.625f, 0.92773438f, 0.70710677f, 16777216, 16777215, -16777217, 268435456,
    268435440, 3.1415927f, 355, 6381956970095103.0f * 0x1p75f, // close to a multiple of pi/2
};
enum { CORNERS = sizeof corners / sizeof *corners };

static float of_bits(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

// The corners, every one with every other, then floats spread evenly over all bit patterns: as many of
// each exponent. y: exponents as they are used, whole and fractional, and now and then any float.
static void fill(float *x, float *y) {
  uint32_t random = 1;
  for (uint32_t i = 0; i < N; i++) {
    random = random * 1664525 + 1013904223;
    x[i] = i < CORNERS * CORNERS ? corners[i % CORNERS] : of_bits(i << 12 | random >> 20);
    y[i] = i < CORNERS * CORNERS ? corners[i / CORNERS]
           : i % 8 == 0          ? of_bits(random ^ i << 12)
           : i % 8 < 3           ? (float)(int)(random % 41) - 20
                                 : (float)random * 0x1p-26f - 32;
  }
}

// ---- errors -----------------------------------------------------------------------------------
static double ulp_of(double exact) { // of the float nearest to it
  int e;
  frexp(exact, &e);
  return ldexp(1, (e < -125 ? -125 : e > 128 ? 128 : e) - 24);
}

// What overflows is as far away as the next float would be.
static double in_range(double x) { return fabs(x) >= 0x1p128 ? copysign(0x1p128, x) : x; }

static double error_in_ulp(double got, double exact) {
  if (isnan(got) || isnan(exact)) return isnan(got) && isnan(exact) ? 0 : INFINITY;
  if (got == 0 && exact == 0) return signbit(got) == signbit(exact) ? 0 : INFINITY;
  return fabs(in_range(got) - in_range(exact)) / ulp_of(exact);
}

static void check_function(const struct function *f, jit_kernel kernel, int lanes, float *x, float *y,
                           float *z) {
  double worst = 0;
  kernel((void *[]){x, y, z}, NULL, NULL);
  for (int i = 0; i < N; i++) {
    double exact = f->exact ? f->exact(x[i]) : f->exact_of_two(x[i], y[i]);
    double error = error_in_ulp(z[i], exact);
    worst = fmax(worst, error);
    if (error > f->ulp)
      fail_msg("%s at %d lanes: of %.9g (and %.9g) it gives %.9g, exactly %.17g: %.2f ulp of %.2f",
               lx_op_name(f->op), lanes, (double)x[i], (double)y[i], (double)z[i], exact, error, f->ulp);
  }
  if (getenv("MATH_ERRORS")) print_message("%s at %d lanes: %.3f ulp\n", lx_op_name(f->op), lanes, worst);
}

// ---- conversions ------------------------------------------------------------------------------
static const enum loop_type conversions[][2] = {{LT_F32, LT_I32}, {LT_F32, LT_I64}, {LT_F64, LT_I32}, {LT_F64, LT_I64}};
enum { CONVERSIONS = 4 };

static struct loop_kernel *convert_kernel(struct arena *a, const struct target *t, int i, int lanes) {
  enum loop_type from = conversions[i][0], to = conversions[i][1];
  struct lb *b = lb_new(a, t, str_printf(a, "convert_%d_%d", i, lanes));
  struct loop_buf *x = lb_input(b, "x", LT_F32, N), *z = lb_output(b, "z", to, N);
  lx at = lb_for_range(b, "i", lx_int(b, 0), lx_int(b, N), lanes);
  lb_store(b, z, at, lx_convert(lx_convert(lanes > 1 ? lx_vload(x, at) : lx_load(x, at), from), to));
  lb_end(b);
  return lb_finish(b);
}

// Every float, those that no integer is near included, in vectors and one by one.
static void check_conversions(const struct target *t, float *x, float *unused) {
  struct arena *a = arena_new();
  struct loop_kernel *k[2 * CONVERSIONS];
  struct jit j;
  int64_t *z = malloc(N * 8);
  fill(x, unused);
  for (int i = 0; i < 2 * CONVERSIONS; i++) k[i] = convert_kernel(a, t, i / 2, i % 2 ? t->lanes : 1);
  assert_true(jit_build(&j, a, k, 2 * CONVERSIONS, t));
  for (int i = 0; i < 2 * CONVERSIONS; i++) {
    bool narrow = conversions[i / 2][1] == LT_I32;
    j.kernels[i]((void *[]){x, z}, NULL, NULL);
    for (int at = 0; at < N; at++) {
      int64_t got = narrow ? ((int32_t *)z)[at] : z[at], want = to_integer(x[at], narrow ? 32 : 64);
      if (got != want) fail_msg("%s: of %.9g it gives %lld, not %lld", k[i]->name, (double)x[at], (long long)got, (long long)want);
    }
  }
  free(z);
  jit_close(&j);
  arena_free(a);
}

static void check_width(const char *march) {
  struct target t, native;
  target_from_march(&t, march);
  target_from_march(&native, "native");
  if (native.lanes < t.lanes) skip();
  struct arena *a = arena_new();
  struct loop_kernel *k[FUNCTIONS];
  for (int i = 0; i < FUNCTIONS; i++) k[i] = map_kernel(a, &t, &functions[i], i);
  struct jit j;
  assert_true(jit_build(&j, a, k, FUNCTIONS, &t));
  float *x = malloc(N * 4), *y = malloc(N * 4), *z = malloc(N * 4);
  fill(x, y);
  for (int i = 0; i < FUNCTIONS; i++)
    check_function(&functions[i], j.kernels[i], t.lanes, x, y, z);
  check_conversions(&t, x, y);
  free(x), free(y), free(z);
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
