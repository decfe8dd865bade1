// test_rt_draws.c: the draws of programs' random sites (random.h): what they are, word for word, and
// whether they are distributed as they should be and independent of one another.
//
// Keys are fixed, so every run decides alike. Bounds: a Kolmogorov–Smirnov statistic above 1.95/√N, a mean
// of N standardised numbers above 4/√N, happen to one right generator in a thousand and in 15,000.
#define _GNU_SOURCE
#include "random.h"
#include "rt_test.h"

#include <math.h>

enum { N = 100000 };
static const int64_t SEED = 20240607, STREAM = ((int64_t)3 << 32) + 17; // site 3, step 17

// ---- what they are ----------------------------------------------------------------------------

static void test_words(void **state) {
  (void)state;
  int64_t seed = ((int64_t)0x12345 << 32) + 0x9abcdef0, stream = ((int64_t)70000 << 32) + 0x80000001;
  for (uint32_t i = 0; i < 9; i++) {
    uint32_t out[4], key[2] = {0x9abcdef0, 0x12345};
    uint32_t counter[4] = {i / 4, 0x80000001, 0, (uint32_t)BT_RANDOM_DRAW << 24 | 70000};
    bt_philox4x32(counter, key, out);
    assert_true(bt_draw_uniform(seed, stream, i) == (out[i % 4] >> 8) / 16777216.0);
    double radius = sqrt(-2 * log((float)((float)out[i % 4 & 2] + 1.0f) / 4294967296.0));
    double angle = 2 * M_PI * (out[(i % 4) | 1] >> 8) / 16777216.0;
    double want = radius * (i % 2 ? sin(angle) : cos(angle));
    assert_true(fabs(bt_draw_normal(seed, stream, i) - want) < 1e-14);
  }
}

// The seed as a double holds it: seeds up to 2^53 are themselves, and large ones still differ.
static void test_key(void **state) {
  (void)state;
  uint64_t most = ((uint64_t)1 << 53) - 1;
  assert_true(bt_draw_key(7) == 7 && bt_draw_key(most) == most);
  assert_true(bt_draw_key(~(uint64_t)0) <= most);
  assert_true(bt_draw_key(7 + ((uint64_t)1 << 60)) != 7);
}

// ---- distributions ----------------------------------------------------------------------------

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

// √n times the largest distance between the empirical distribution of x, which is sorted, and F.
static double kolmogorov_smirnov(double *x, int n, double (*F)(double x, double a, double b), double a,
                                 double b) {
  double distance = 0;
  qsort(x, (size_t)n, sizeof *x, ascending);
  for (int i = 0; i < n; i++) {
    double p = F(x[i], a, b);
    distance = fmax(distance, fmax(p - (double)i / n, (double)(i + 1) / n - p));
  }
  return sqrt(n) * distance;
}

static void check_moments(const double *x, int n, double mean, double variance, double fourth) {
  double first = 0, second = 0;
  for (int i = 0; i < n; i++) first += x[i] - mean, second += (x[i] - mean) * (x[i] - mean);
  assert_true(fabs(first / n) < 4 * sqrt(variance / n));
  assert_true(fabs(second / n - variance) < 4 * sqrt((fourth - variance * variance) / n));
}

static double uniform_cdf(double x, double a, double b) { return (void)a, (void)b, x; }
static double normal_cdf(double x, double a, double b) { return (void)a, (void)b, 0.5 * erfc(-x / sqrt(2)); }

static void test_uniform(void **state) {
  (void)state;
  static double x[N];
  for (int i = 0; i < N; i++) {
    x[i] = bt_draw_uniform(SEED, STREAM, (uint32_t)i);
    assert_true(x[i] >= 0 && x[i] < 1 && x[i] == (double)(float)x[i]);
  }
  check_moments(x, N, 0.5, 1.0 / 12, 1.0 / 80);
  assert_true(kolmogorov_smirnov(x, N, uniform_cdf, 0, 0) < 1.95);
}

// All, and those of cosines and of sines alone.
static void test_normal(void **state) {
  (void)state;
  static double x[N];
  for (int step = 1; step <= 2; step++)
    for (int first = 0; first < step; first++) {
      for (int i = 0; i < N; i++) x[i] = bt_draw_normal(SEED, STREAM, (uint32_t)(i * step + first));
      check_moments(x, N, 0, 1, 3);
      assert_true(kolmogorov_smirnov(x, N, normal_cdf, 0, 0) < 1.95);
    }
}

// The regularised incomplete beta function by its continued fraction (DLMF 8.17.22), which converges
// fast below the mean; above, by symmetry.
static double beta_cdf(double x, double a, double b) {
  if (x <= 0 || x >= 1) return x > 0;
  if (x > (a + 1) / (a + b + 2)) return 1 - beta_cdf(1 - x, b, a);
  double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a;
  double f = 1;
  for (int m = 200; m > 0; m--) { // from the innermost term out
    int k = m / 2;
    double d = m % 2 ? -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1))
                     : k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k));
    f = 1 + d / f;
  }
  return front / f;
}

static void check_beta(double a, double b) {
  static double x[N];
  double sum = a + b, mean = a / sum, variance = a * b / (sum * sum * (sum + 1));
  double excess = 6 * ((a - b) * (a - b) * (sum + 1) - a * b * (sum + 2)) / (a * b * (sum + 2) * (sum + 3));
  for (int i = 0; i < N; i++) {
    x[i] = bt_draw_beta(SEED, STREAM, i, a, b);
    assert_true(x[i] >= 0 && x[i] <= 1);
  }
  check_moments(x, N, mean, variance, (excess + 3) * variance * variance);
  double statistic = kolmogorov_smirnov(x, N, beta_cdf, a, b);
  if (statistic >= 1.95) fail_msg("Beta(%g, %g): %g", a, b, statistic);
}

static void test_beta(void **state) {
  (void)state;
  assert_true(fabs(beta_cdf(0.3, 1, 1) - 0.3) < 1e-12);
  assert_true(fabs(beta_cdf(0.3, 2, 1) - 0.09) < 1e-12);
  assert_true(fabs(beta_cdf(0.75, 0.5, 0.5) - 2.0 / 3) < 1e-12); // 2/π · asin √x
  check_beta(1, 1);
  check_beta(0.2, 0.2); // mixup's; most of it near 0 and 1
  check_beta(0.05, 3);
  check_beta(2.5, 0.7);
  check_beta(40, 90);
  assert_true(isnan(bt_draw_beta(SEED, STREAM, 0, 0, 1)) && isnan(bt_draw_beta(SEED, STREAM, 0, 1, INFINITY)));
  assert_true(isnan(bt_draw_beta(SEED, STREAM, 0, -3, 1)) && isnan(bt_draw_beta(SEED, STREAM, 0, NAN, 1)));
}

// χ² over the 24 orders of four: 23 degrees of freedom, 49.7 once in a thousand.
static void test_permutation(void **state) {
  (void)state;
  enum { TRIALS = 24000, LONG = 1001 };
  int counts[256] = {0};
  for (int t = 0; t < TRIALS; t++) {
    int32_t p[4];
    bt_draw_permutation(SEED, STREAM + t, 4, p);
    counts[p[0] * 64 + p[1] * 16 + p[2] * 4 + p[3]]++;
  }
  double chi = 0;
  int orders = 0;
  for (int i = 0; i < 256; i++)
    if (counts[i]) orders++, chi += (counts[i] - 1000) * (counts[i] - 1000) / 1000.0;
  assert_int_equal(orders, 24);
  assert_true(chi < 49.7);
  int32_t order[LONG];
  bool seen[LONG] = {false};
  bt_draw_permutation(SEED, STREAM, LONG, order);
  for (int i = 0; i < LONG; i++) assert_false(seen[order[i]]), seen[order[i]] = true;
}

// ---- independence -----------------------------------------------------------------------------

struct key {
  int64_t seed, stream, shift;
};

static double correlation(struct key a, struct key b, double (*draw)(int64_t, int64_t, uint32_t)) {
  double sum = 0;
  for (int64_t i = 0; i < N; i++)
    sum += draw(a.seed, a.stream, (uint32_t)(i + a.shift)) * draw(b.seed, b.stream, (uint32_t)(i + b.shift));
  return sum / N;
}

static double centred(int64_t seed, int64_t stream, uint32_t i) {
  return sqrt(12) * (bt_draw_uniform(seed, stream, i) - 0.5);
}
static double beta_of_one(int64_t seed, int64_t stream, uint32_t i) {
  return sqrt(12) * (bt_draw_beta(seed, stream, i, 1, 1) - 0.5);
}
static double squared(int64_t seed, int64_t stream, uint32_t i) { // neighbours share their radius' words
  double x = bt_draw_normal(seed, stream, i);
  return (x * x - 1) / sqrt(2);
}

// Other sites, steps, seeds and elements.
static void test_independence(void **state) {
  (void)state;
  const struct key k = {SEED, STREAM, 0};
  const struct key others[] = {{SEED, STREAM + ((int64_t)1 << 32), 0}, {SEED, STREAM + 1, 0}, {SEED + 1, STREAM, 0},
                               {SEED + ((int64_t)1 << 32), STREAM, 0}, {SEED, STREAM, 1}, {SEED, STREAM, 2},
                               {SEED, STREAM, 4}};
  double (*const draws[])(int64_t, int64_t, uint32_t) = {centred, bt_draw_normal, squared, beta_of_one};
  for (size_t d = 0; d < sizeof draws / sizeof *draws; d++) {
    assert_true(correlation(k, k, draws[d]) > 0.9);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
      double r = correlation(k, others[i], draws[d]);
      if (fabs(r) > 4 / sqrt(N)) fail_msg("draw %zu and key %zu: %g", d, i, r);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_words), cmocka_unit_test(test_key),         cmocka_unit_test(test_uniform),
      cmocka_unit_test(test_normal), cmocka_unit_test(test_beta),        cmocka_unit_test(test_permutation),
      cmocka_unit_test(test_independence),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
