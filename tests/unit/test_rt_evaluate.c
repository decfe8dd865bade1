// test_rt_evaluate.c: nearest neighbours and the linear probe against slow, plain versions.
#define _GNU_SOURCE
#include "btrt_internal.h"
#include "evaluate.h"
#include "lbfgs.h"
#include "random.h"
#include "rt_test.h"

#include <math.h>
#include <omp.h>

// Rows scattered about one centre a class; labels i % classes.
static struct bt_features blobs(int64_t n, int64_t d, int classes, double spread, uint32_t which) {
  float *x = malloc(sizeof *x * (size_t)(n * d));
  int32_t *y = malloc(sizeof *y * (size_t)n);
  for (int64_t i = 0; i < n; i++) {
    struct bt_random r = bt_random_new(5, BT_RANDOM_DATA, (uint32_t)i, which, 0);
    y[i] = (int32_t)(i % classes);
    struct bt_random centre = bt_random_new(6, BT_RANDOM_DATA, (uint32_t)y[i], 0, 0);
    for (int64_t j = 0; j < d; j++)
      x[i * d + j] = (float)(bt_random_normal(&centre) + spread * bt_random_normal(&r));
  }
  return (struct bt_features){n, d, x, y};
}

static void drop(struct bt_features *f) { free((void *)f->features), free((void *)f->labels); }

static double cosine(const float *a, const float *b, int64_t d) {
  double ab = 0, aa = 0, bb = 0;
  for (int64_t j = 0; j < d; j++)
    ab += (double)a[j] * b[j], aa += (double)a[j] * a[j], bb += (double)b[j] * b[j];
  return ab / sqrt(aa * bb);
}

static double plain_knn(const struct bt_features *train, const struct bt_features *test,
                        int classes, int k, double temperature) {
  int64_t right = 0;
  double *similarity = malloc(sizeof *similarity * (size_t)train->n);
  for (int64_t q = 0; q < test->n; q++) {
    double votes[16] = {0}, most = 0;
    int best = 0;
    for (int64_t i = 0; i < train->n; i++)
      similarity[i] =
          cosine(test->features + q * test->d, train->features + i * train->d, train->d);
    for (int i = 0; i < k; i++) {
      int64_t nearest = 0;
      for (int64_t j = 1; j < train->n; j++)
        if (similarity[j] > similarity[nearest]) nearest = j;
      if (i == 0) most = similarity[nearest];
      votes[train->labels[nearest]] += exp((similarity[nearest] - most) / temperature);
      similarity[nearest] = -INFINITY;
    }
    for (int c = 1; c < classes; c++)
      if (votes[c] > votes[best]) best = c;
    right += best == test->labels[q];
  }
  free(similarity);
  return (double)right / (double)test->n;
}

static const struct bt_onlooker nobody;

static double measure(const struct bt_evaluate *e, const struct bt_features *train, const struct bt_features *test, int classes,
                      const struct bt_onlooker *watch) {
  size_t bytes = bt_evaluate_bytes(e, train->n, test->n, train->d, classes);
  unsigned char *work = aligned_alloc(BT_ALIGN, bytes + BT_ALIGN);
  memset(work, 0xa5, bytes + BT_ALIGN); // nothing may rely on zeros
  double accuracy = bt_evaluate(e, train, test, classes, work, watch);
  for (size_t i = 0; i < BT_ALIGN; i++) assert_int_equal(work[bytes + i], 0xa5); // as planned
  free(work);
  return accuracy;
}

static double knn(const struct bt_features *train, const struct bt_features *test, int classes, int k, double temperature) {
  return measure(&(struct bt_evaluate){BT_EVALUATE_knn, 0, 0, {k, temperature}}, train, test, classes, &nobody);
}

static double probe(const struct bt_features *train, const struct bt_features *test, int classes, double weight_decay,
                    int iterations, const struct bt_onlooker *watch) {
  return measure(&(struct bt_evaluate){BT_EVALUATE_linear_probe, 0, 0, {weight_decay, iterations}}, train, test, classes, watch);
}

// More rows than one block of the bank and of queries, neither a multiple; fewer than one; fewer than k.
static void test_knn(void **state) {
  (void)state;
  static const struct {
    int64_t train, test, d;
    int k;
    double temperature;
  } cases[] = {{4500, 300, 7, 20, 0.1}, {4500, 300, 7, 1, 0.1}, {4500, 300, 7, 100, 0.07}, {4097, 257, 2, 5, 0.1},
               {4095, 255, 33, 5, 1e-3}, {37, 1, 129, 20, 0.1}, {3, 300, 7, 20, 0.1}, {1, 5, 3, 1, 0.1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct bt_features train = blobs(cases[i].train, cases[i].d, 5, 1.5, 1), test = blobs(cases[i].test, cases[i].d, 5, 1.5, 2);
    int k = cases[i].k < cases[i].train ? cases[i].k : (int)cases[i].train;
    double got = knn(&train, &test, 5, cases[i].k, cases[i].temperature), want = plain_knn(&train, &test, 5, k, cases[i].temperature);
    if (fabs(got - want) > 1.01 / (double)cases[i].test) fail_msg("case %d: %g, not %g", (int)i, got, want);
    if (i < 3) assert_true(got > 0.5 && got < 0.99);
    drop(&train), drop(&test);
  }
}

// Rows of ±1, four numbers each: norms, quotients and products are exact, so similarities are 1, 0.5, 0, … and tie by
// the hundred. Here every answer is the plain one's, which takes the first of equals.
static void test_knn_ties(void **state) {
  (void)state;
  enum { TRAIN = 4200, TEST = 260, D = 4 };
  float *x = malloc(sizeof *x * (TRAIN + TEST) * D);
  int32_t *y = malloc(sizeof *y * (TRAIN + TEST));
  struct bt_random r = bt_random_new(1, BT_RANDOM_DATA, 0, 0, 0);
  for (int i = 0; i < (TRAIN + TEST) * D; i++) x[i] = bt_random_below(&r, 2) ? 1 : -1;
  for (int i = 0; i < TRAIN + TEST; i++) y[i] = (int32_t)bt_random_below(&r, 7);
  struct bt_features train = {TRAIN, D, x, y}, test = {TEST, D, x + TRAIN * D, y + TRAIN};
  static const int k[] = {1, 2, 20, 150};
  for (int i = 0; i < 4; i++) {
    double want = plain_knn(&train, &test, 7, k[i], 0.5);
    assert_true(knn(&train, &test, 7, k[i], 0.5) == want);
    omp_set_num_threads(3);
    assert_true(knn(&train, &test, 7, k[i], 0.5) == want);
    omp_set_num_threads(2);
  }
  free(x), free(y);
}

// The first of two equal rows counts, in one block or in two; of two classes with equal votes the lower.
static void test_knn_order(void **state) {
  (void)state;
  enum { FAR = 5000 };
  float *x = calloc(FAR + 1, sizeof *x * 2);
  int32_t *y = calloc(FAR + 1, sizeof *y), truth = 3;
  for (int i = 0; i <= FAR; i++) x[2 * i] = -1, y[i] = 9;
  const float query[] = {2, 0};
  const struct bt_features train = {FAR + 1, 2, x, y}, test = {1, 2, query, &truth};
  x[2 * 7] = 1, y[7] = 3, x[2 * 8] = 4, y[8] = 1, x[2 * FAR] = 1, y[FAR] = 0;
  assert_true(knn(&train, &test, 10, 1, 0.1) == 1);
  truth = 1; // one vote each for 3 and 1
  assert_true(knn(&train, &test, 10, 2, 0.1) == 1);
  truth = 0; // and for 0
  assert_true(knn(&train, &test, 10, 3, 0.1) == 1);
  free(x), free(y);
}

// Rows of zeros are near nothing, and no NaN comes of them. One class, and classes without rows.
static void test_knn_corners(void **state) {
  (void)state;
  const float x[] = {0, 0, 1, 1, -1, 1}, t[] = {0, 0, 1, 2, 1e30f, 1e30f, 1e-30f, 1e-30f};
  const int32_t y[] = {0, 2, 4}, truth[] = {0, 2, 2, 2}, zeros[4] = {0};
  const struct bt_features train = {3, 2, x, y}, test = {4, 2, t, truth};
  assert_true(knn(&train, &test, 6, 1, 0.1) == 1);
  assert_true(knn(&(struct bt_features){3, 2, x, zeros}, &(struct bt_features){4, 2, t, zeros}, 1, 2, 0.1) == 1);
  assert_true(knn(&train, &test, 6, 3, 1e-300) == 1); // a temperature near 0 is the nearest alone
}

static double rosenbrock(void *context, const double *x, double *g) {
  int n = *(int *)context;
  double value = 0;
  memset(g, 0, sizeof *g * (size_t)n);
  for (int i = 0; i + 1 < n; i++) {
    double a = x[i + 1] - x[i] * x[i], b = 1 - x[i];
    value += 100 * a * a + b * b;
    g[i] += -400 * x[i] * a - 2 * b;
    g[i + 1] += 200 * a;
  }
  return value;
}

static void test_lbfgs(void **state) {
  (void)state;
  int n = 10;
  double x[10], g[10];
  for (int i = 0; i < n; i++) x[i] = i % 2 ? 1 : -1.2;
  struct bt_lbfgs_options options = {.memory = 10, .max_iterations = 300, .tolerance = 1e-8};
  void *room = malloc(bt_lbfgs_bytes(n, 10));
  int iterations = bt_lbfgs(rosenbrock, &n, n, x, &options, room);
  free(room);
  assert_true(rosenbrock(&n, x, g) < 1e-12);
  assert_true(iterations > 5 && iterations < 120);
}

// How far it came, and where it is to stop.
struct count {
  int64_t done, stop;
};
static bool count(void *user, int64_t done, int64_t of) {
  struct count *c = user;
  assert_true(of > 0 && done < of);
  c->done = done;
  return done < c->stop;
}

static void test_linear_probe(void **state) {
  (void)state;
  struct bt_features train = blobs(3000, 12, 4, 0.8, 1), test = blobs(1000, 12, 4, 0.8, 2);
  struct count iterations = {0, INT64_MAX};
  float *x = (float *)train.features, *t = (float *)test.features;
  for (int64_t i = 0; i < train.n; i++) x[i * 12] = 3, x[i * 12 + 1] = 1e4f * x[i * 12 + 1] + 1e5f;
  for (int64_t i = 0; i < test.n; i++) t[i * 12] = 4, t[i * 12 + 1] = 1e4f * t[i * 12 + 1] + 1e5f;
  double accuracy = probe(&train, &test, 4, 1e-4, 200, &(struct bt_onlooker){count, &iterations});
  assert_true(accuracy > 0.97); // scale, offset and a constant column do not matter
  assert_true(iterations.done > 3 && iterations.done < 199);
  assert_true(probe(&train, &test, 9, 1e-4, 200, &nobody) > 0.97); // classes without a row
  drop(&train), drop(&test);
}

// One feature, two classes, no decay that matters: the optimum separates at the midpoint.
static void test_probe_boundary(void **state) {
  (void)state;
  const float x[] = {0, 1, 2, 10, 11, 12}, t[] = {5.5f, 6.5f, -3, 99};
  const int32_t y[] = {0, 0, 0, 1, 1, 1}, truth[] = {0, 1, 0, 1}, zeros[6] = {0};
  assert_true(probe(&(struct bt_features){6, 1, x, y}, &(struct bt_features){4, 1, t, truth}, 2, 1e-4, 200, &nobody) == 1);
  assert_true(probe(&(struct bt_features){6, 1, x, zeros}, &(struct bt_features){4, 1, t, zeros}, 1, 1e-4, 200, &nobody) == 1);
}

static void test_stopping(void **state) {
  (void)state;
  struct bt_features train = blobs(5000, 12, 4, 2, 1), test = blobs(100, 12, 4, 2, 2);
  struct count c = {0, 4096};
  assert_true(isnan(measure(&(struct bt_evaluate){BT_EVALUATE_knn, 0, 0, {20, 0.1}}, &train, &test, 4, &(struct bt_onlooker){count, &c})));
  assert_int_equal(c.done, 4096);
  c.stop = 3;
  assert_true(isnan(probe(&train, &test, 4, 1e-4, 200, &(struct bt_onlooker){count, &c})));
  assert_int_equal(c.done, 3);
  drop(&train), drop(&test);
}

static void test_blas(void **state) {
  (void)state;
  assert_true(bt_cores_available() >= 1);
  assert_int_equal(bt_blas_init(2), 2);
  if (!getenv("OPENBLAS_CORETYPE") || strcmp(bt_blas_core(), "unknown BLAS") != 0)
    assert_null(bt_blas_better_core(bt_blas_core())); // repaired
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512bw"))
    assert_string_equal(bt_blas_better_core("Prescott"), "SkylakeX");
  if (__builtin_cpu_supports("avx512bw"))
    assert_string_equal(bt_blas_better_core("Haswell"), "SkylakeX");
  assert_null(bt_blas_better_core("SkylakeX"));
#endif
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_blas),           cmocka_unit_test(test_knn),
      cmocka_unit_test(test_knn_ties),       cmocka_unit_test(test_knn_order),
      cmocka_unit_test(test_knn_corners),    cmocka_unit_test(test_stopping),
      cmocka_unit_test(test_lbfgs),          cmocka_unit_test(test_linear_probe),
      cmocka_unit_test(test_probe_boundary),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
