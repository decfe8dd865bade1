// test_measure.c: candidates side by side: right ones, a wrong one, one that reads less, the choice of the
// reference, statistics.
#include <math.h>
#include <string.h>

#include "graph_helper.h"
#include "measure.h"
#include "regions.h"

// The squared length of each row of in0, less in1: odd sizes, two ways. `factor` 1 is right.
static struct graph *lengths(struct btc *b, double factor) {
  struct graph *g = graph_new(b, "lengths");
  struct tensor_type matrix = {BT_F32, shape_of(2, (int64_t)37, (int64_t)13)}, vector = {BT_F32, shape_of(1, (int64_t)37)};
  struct node *x = g_input(g, "in0", BT_INPUT_ARRAY, -1, 0, &matrix), *y = g_input(g, "in1", BT_INPUT_ARRAY, -1, 0, &vector);
  struct node *sum = g_reduce(g, OP_sum, g_binary(g, OP_mul, x, x), (int[]){1}, 1);
  graph_output(g, "out0", BT_OUTPUT_VALUE, g_binary(g, OP_sub, sum, y));
  graph_output(g, "out1", BT_OUTPUT_VALUE, g_scale(g, sum, factor));
  return g;
}

// The same through a product 37 x 37 of which only the diagonal is wanted: more memory, outputs in another order.
static struct graph *lengths_by_product(struct btc *b) {
  struct graph *g = graph_new(b, "by_product");
  struct tensor_type matrix = {BT_F32, shape_of(2, (int64_t)37, (int64_t)13)}, vector = {BT_F32, shape_of(1, (int64_t)37)};
  struct node *y = g_input(g, "in1", BT_INPUT_ARRAY, -1, 0, &vector), *x = g_input(g, "in0", BT_INPUT_ARRAY, -1, 0, &matrix);
  struct node *all = g_matmul(g, x, x, false, true);
  struct shape square = all->type.shape;
  struct node *same = g_binary(g, OP_eq, g_iota(g, BT_I32, &square, 0), g_iota(g, BT_I32, &square, 1));
  struct node *sum = g_reduce(g, OP_sum, g_where(g, same, all, g_full_like(g, all, 0)), (int[]){1}, 1);
  graph_output(g, "out1", BT_OUTPUT_VALUE, sum);
  graph_output(g, "out0", BT_OUTPUT_VALUE, g_binary(g, OP_sub, sum, y));
  return g;
}

// The output of lengths(b, 1) that needs no in1.
static struct graph *of_first(struct btc *b) {
  struct graph *g = graph_new(b, "of_first");
  struct tensor_type matrix = {BT_F32, shape_of(2, (int64_t)37, (int64_t)13)};
  struct node *x = g_input(g, "in0", BT_INPUT_ARRAY, -1, 0, &matrix);
  graph_output(g, "out1", BT_OUTPUT_VALUE, g_reduce(g, OP_sum, g_binary(g, OP_mul, x, x), (int[]){1}, 1));
  return g;
}

static const struct schedule stored = {.plain = true}; // the product is

static struct measurement *opened(struct btc *b, const struct candidate *c, int n, int threads) {
  struct host *host = NEW(b->arena, struct host);
  struct measure_setup setup = {.host = host, .threads = threads};
  host->march = "x86-64-v3";
  if (!host_find(b, host, NULL)) skip();
  struct measurement *m = measure_open(b, c, n, &setup);
  if (!m) fail_msg("%s", text_of_diagnostics(b));
  return m;
}

static void check(struct measurement *m, const struct candidate *c, double bytes, int candidate) {
  struct reference *want = measure_reference(m, c, 3, bytes);
  assert_int_equal(want->candidate, candidate);
  measure_check(m, want);
  reference_free(want);
}

static void side_by_side(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct candidate c[] = {{"plain", lengths(b, 1)}, {"product", graph_scheduled(lengths_by_product(b), &stored)}, {"wrong", lengths(b, 1.001)}};
  struct measurement *m = opened(b, c, 3, 3); // more threads than most of these machines have
  check(m, c, 1e9, 0);
  const bool active[] = {true, false, true};
  measure_run(m, active, (struct budget){.least = 5});
  struct measured plain = measure_result(m, 0), product = measure_result(m, 1), wrong = measure_result(m, 2);
  assert_true(plain.error <= 1e-6 && product.error <= 1e-6); // sums of 13 products
  assert_true(wrong.error > MEASURE_TOLERANCE && fabs(wrong.error - 0.001) < 1e-5);
  assert_string_equal(wrong.worst, "out1");
  assert_int_equal(plain.rounds, 5);
  assert_int_equal(product.rounds, 0);
  assert_true(plain.seconds.low > 0 && plain.seconds.low <= plain.seconds.median && plain.seconds.median <= plain.seconds.high);
  assert_true(product.flops > plain.flops && product.flops >= 37 * 37 * 13);
  assert_true(product.bytes > 0 && product.temporaries >= 37 * 37 * sizeof(float));
  measure_run(m, NULL, (struct budget){.least = 5});
  assert_int_equal(measure_result(m, 0).rounds, 10);
  measure_run(m, NULL, (struct budget){.seconds = 1000, .most = 7});
  assert_int_equal(measure_result(m, 0).rounds, 17);
  measure_close(m);
  btc_free(b);
}

// Where the first takes too much memory in double, the one that takes least is the reference.
static void reference_of_less_memory(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct candidate c[] = {{"product", lengths_by_product(b)}, {"plain", lengths(b, 1)}, {"wrong", lengths(b, 1.001)}};
  struct measurement *m = opened(b, c, 3, 0);
  check(m, c, 37 * 37 * sizeof(double), 1);
  assert_true(measure_result(m, 0).error <= 1e-6);
  assert_true(measure_result(m, 2).error > MEASURE_TOLERANCE);
  measure_close(m);
  btc_free(b);
}

// in0 less its mean, summed: nothing but rounding; of in1 something.
static struct graph *remainder_of(struct btc *b, double more) {
  struct graph *g = graph_new(b, "remainder");
  struct tensor_type type = {BT_F32, shape_of(1, (int64_t)1013)};
  struct node *x = g_input(g, "in0", BT_INPUT_ARRAY, -1, 0, &type);
  struct node *mean = g_scale(g, g_reduce(g, OP_sum, x, (int[]){0}, 1), 1.0 / 1013);
  struct node *centred = g_binary(g, OP_sub, x, g_broadcast(g, mean, &type.shape, NULL));
  graph_output(g, "out0", BT_OUTPUT_VALUE, g_binary(g, OP_add, g_reduce(g, OP_sum, centred, (int[]){0}, 1), g_constant(g, BT_F32, more)));
  return g;
}

// What should be 0 may be what rounding makes of it, and no more.
static void rounding(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct candidate c[] = {{"plain", remainder_of(b, 0)}, {"same", remainder_of(b, 0)}, {"wrong", remainder_of(b, 0.01)}};
  struct measurement *m = opened(b, c, 3, 0);
  check(m, c, 1e9, 0);
  struct measured right = measure_result(m, 0), wrong = measure_result(m, 2);
  assert_true(right.error > MEASURE_TOLERANCE && !right.wrong);
  assert_true(wrong.wrong);
  measure_close(m);
  btc_free(b);
}

// The reference is none of those that are measured, and reads what they do not.
static void reference_apart(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct candidate c[] = {{"more", lengths(b, 1)}, {"first", of_first(b)}};
  struct measurement *m = opened(b, &c[1], 1, 0);
  struct reference *want = measure_reference(m, c, 2, 1e9);
  measure_check(m, want);
  reference_free(want);
  assert_true(measure_result(m, 0).error <= 1e-6 && !measure_result(m, 0).wrong);
  measure_close(m);
  btc_free(b);
}

static void quartiles(void **state) {
  (void)state;
  double odd[] = {5, 1, 4, 2, 3}, even[] = {4, 1, 3, 2}, one[] = {7};
  struct quartiles q = quartiles_of(odd, 5);
  assert_true(q.least == 1 && q.low == 2 && q.median == 3 && q.high == 4);
  q = quartiles_of(even, 4);
  assert_true(q.low == 1.75 && q.median == 2.5 && q.high == 3.25);
  q = quartiles_of(one, 1);
  assert_true(q.low == 7 && q.median == 7 && q.high == 7);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(side_by_side), cmocka_unit_test(reference_of_less_memory), cmocka_unit_test(rounding), cmocka_unit_test(reference_apart), cmocka_unit_test(quartiles)};
  return cmocka_run_group_tests_name("measure", tests, NULL, NULL);
}
