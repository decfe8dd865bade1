// test_rt_evaluate.c: nearest neighbours and the linear probe against slow, plain versions.
#define _GNU_SOURCE
#include "btrt_internal.h"
#include "evaluate.h"
#include "lbfgs.h"
#include "random.h"
#include "rt_test.h"

#include <math.h>

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
    double votes[16] = {0};
    int best = 0;
    for (int64_t i = 0; i < train->n; i++)
      similarity[i] =
          cosine(test->features + q * test->d, train->features + i * train->d, train->d);
    for (int i = 0; i < k; i++) {
      int64_t nearest = 0;
      for (int64_t j = 1; j < train->n; j++)
        if (similarity[j] > similarity[nearest]) nearest = j;
      votes[train->labels[nearest]] += exp(similarity[nearest] / temperature);
      similarity[nearest] = -INFINITY;
    }
    for (int c = 1; c < classes; c++)
      if (votes[c] > votes[best]) best = c;
    right += best == test->labels[q];
  }
  free(similarity);
  return (double)right / (double)test->n;
}

// More rows than one block of the bank and of queries, neither a multiple.
static void test_knn(void **state) {
  (void)state;
  struct bt_features train = blobs(4500, 7, 5, 1.5, 1), test = blobs(300, 7, 5, 1.5, 2);
  const struct bt_knn_options options[] = {{20, 0.1}, {1, 0.1}, {200, 0.07}};
  for (int i = 0; i < 3; i++) {
    double got = bt_knn(&train, &test, 5, &options[i]);
    double want = plain_knn(&train, &test, 5, options[i].k, options[i].temperature);
    assert_true(fabs(got - want) < 0.0034); // one tie may fall otherwise
    assert_true(got > 0.5 && got < 0.99);
  }
  train.n = 3; // fewer than k
  assert_true(bt_knn(&train, &test, 5, &options[0]) > 0.1);
  train.n = 4500;
  drop(&train), drop(&test);
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
  int iterations = bt_lbfgs(rosenbrock, &n, n, x, &options);
  assert_true(rosenbrock(&n, x, g) < 1e-12);
  assert_true(iterations > 5 && iterations < 120);
}

static void test_linear_probe(void **state) {
  (void)state;
  struct bt_features train = blobs(3000, 12, 4, 0.8, 1), test = blobs(1000, 12, 4, 0.8, 2);
  int iterations;
  float *x = (float *)train.features, *t = (float *)test.features;
  for (int64_t i = 0; i < train.n; i++) x[i * 12] = 3, x[i * 12 + 1] = 1e4f * x[i * 12 + 1] + 1e5f;
  for (int64_t i = 0; i < test.n; i++) t[i * 12] = 4, t[i * 12 + 1] = 1e4f * t[i * 12 + 1] + 1e5f;
  double accuracy =
      bt_linear_probe(&train, &test, 4, &(struct bt_probe_options){1e-4, 200}, &iterations);
  assert_true(accuracy > 0.97); // scale, offset and a constant column do not matter
  assert_true(iterations > 3 && iterations < 200);
  drop(&train), drop(&test);
}

// One feature, two classes, no decay that matters: the optimum separates at the midpoint.
static void test_probe_boundary(void **state) {
  (void)state;
  const float x[] = {0, 1, 2, 10, 11, 12}, t[] = {5.5f, 6.5f, -3, 99};
  const int32_t y[] = {0, 0, 0, 1, 1, 1}, truth[] = {0, 1, 0, 1};
  int iterations;
  double accuracy =
      bt_linear_probe(&(struct bt_features){6, 1, x, y}, &(struct bt_features){4, 1, t, truth}, 2,
                      &(struct bt_probe_options){1e-4, 200}, &iterations);
  assert_true(accuracy == 1);
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
      cmocka_unit_test(test_lbfgs),          cmocka_unit_test(test_linear_probe),
      cmocka_unit_test(test_probe_boundary),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
