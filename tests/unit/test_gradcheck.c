// test_gradcheck.c: the gradient check finds a wrong gradient, and does not cry at kinks or at zero.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "gradcheck.h"

enum { N = 6 };

struct fixture {
  struct btc *b;
  struct gradcheck check;
  value_list gradients;
  struct tensor64 *x, *gradient;
};

static struct tensor_type vector(void) { return (struct tensor_type){BT_F32, shape_of(1, (int64_t)N)}; }

// out = sum f(x), f(x) chosen by `op`; x = values; the gradient is the test's to say.
static void open_fixture(struct fixture *f, enum op op, const double *values) {
  int axis = 0;
  struct tensor_type type = vector();
  *f = (struct fixture){.b = btc_new()};
  struct graph *g = graph_new(f->b, "p");
  struct node *x = g_leaf(g, OP_param, "x", &type);
  graph_output(g, "out", BT_OUTPUT_VALUE, g_reduce(g, OP_sum, g_unary(g, op, x), &axis, 1));
  f->x = tensor64_new(f->b->arena, &type);
  f->gradient = tensor64_new(f->b->arena, &type);
  memcpy(f->x->data, values, sizeof(double) * N);
  values_add(f->b->arena, &f->gradients, "x", f->gradient);
  f->check = (struct gradcheck){.forward = g, .of = "out", .gradients = &f->gradients, .samples = N, .seed = 1};
  values_add(f->b->arena, &f->check.leaves, "x", f->x);
}

static double worst(struct fixture *f) {
  gradcheck_rows rows = {0};
  gradcheck_run(&f->check, &rows);
  assert_int_equal(rows.len, 1);
  assert_int_equal(rows.data[0].checks, N + 1);
  return rows.data[0].error;
}

static const double values[N] = {0.3, -1.2, 0.7, 2.1, -0.1, 1.5};

static void test_right(void **state) {
  (void)state;
  struct fixture f;
  open_fixture(&f, OP_exp, values);
  for (int i = 0; i < N; i++) f.gradient->data[i] = exp(values[i]);
  assert_true(worst(&f) < 1e-7);
  assert_memory_equal(f.x->data, values, sizeof values); // put back
  btc_free(f.b);
}

static void test_wrong_entry(void **state) {
  (void)state;
  struct fixture f;
  open_fixture(&f, OP_exp, values);
  for (int i = 0; i < N; i++) f.gradient->data[i] = exp(values[i]);
  f.gradient->data[3] *= 1 + 1e-4;
  assert_true(worst(&f) > 5e-5);
  btc_free(f.b);
}

static void test_missing_gradient(void **state) {
  (void)state;
  struct fixture f;
  open_fixture(&f, OP_exp, values); // gradient stays 0
  assert_true(worst(&f) > 0.9);
  btc_free(f.b);
}

static void test_not_a_number(void **state) {
  (void)state;
  struct fixture f;
  open_fixture(&f, OP_exp, values);
  for (int i = 0; i < N; i++) f.gradient->data[i] = exp(values[i]);
  f.gradient->data[0] = NAN;
  assert_true(isinf(worst(&f)));
  btc_free(f.b);
}

// One entry is so near to the kink of ReLU that the usual step straddles it.
static void test_kink(void **state) {
  (void)state;
  double near[N];
  memcpy(near, values, sizeof near);
  near[4] = 2e-6;
  struct fixture f;
  open_fixture(&f, OP_relu, near);
  for (int i = 0; i < N; i++) f.gradient->data[i] = near[i] > 0;
  assert_true(worst(&f) < 1e-6);
  btc_free(f.b);
}

// A gradient of zero: floor is constant round every entry.
static void test_zero(void **state) {
  (void)state;
  struct fixture f;
  open_fixture(&f, OP_floor, values);
  assert_true(worst(&f) == 0);
  btc_free(f.b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_right),         cmocka_unit_test(test_wrong_entry), cmocka_unit_test(test_missing_gradient),
      cmocka_unit_test(test_not_a_number), cmocka_unit_test(test_kink),        cmocka_unit_test(test_zero),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
