// test_rt_formula.c: formulas by hand: what an element is, and who made one that is not finite.
// Those that the compiler writes are held against compiled kernels wherever tests run such
// (formula_check.h).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "../../runtime/formula.h"
#include "graph.h"

static void test_every_op(void **state) {
  (void)state;
  for (int i = 0; i < OP_COUNT; i++)
    if (op_info((enum op)i)->class == ELEMENTWISE && !bt_formula_knows(op_info((enum op)i)->name))
      fail_msg("%s is not known", op_info((enum op)i)->name);
  assert_false(bt_formula_knows("matmul"));
}

// Arguments 0 and 1 are read, f32[2, 3] and f32[3]; 2 and 3 are written.
static float x[6], bias[3], y[6], sums[3];
static const struct bt_formula_memory memory[] = {
    {x, BT_F32, 6}, {bias, BT_F32, 3}, {y, BT_F32, 6}, {sums, BT_F32, 3}};

static void fill(void) {
  for (int i = 0; i < 6; i++) x[i] = (float)(i + 1);
  for (int i = 0; i < 3; i++) bias[i] = (float)(10 * i);
}

static double value(const char *text, int root, int64_t element) {
  struct bt_formula *f = bt_formula_parse(text);
  double v = NAN;
  assert_true(bt_formula_value(f, memory, root, element, &v));
  bt_formula_free(f);
  return v;
}

static struct bt_blame blame_of(const char *text, int root, int64_t element, bool nan,
                                struct bt_blame *infinity) {
  struct bt_formula *f = bt_formula_parse(text);
  struct bt_blame b;
  bt_formula_blame(f, memory, root, element, nan, &b, infinity);
  bt_formula_free(f);
  return b;
}

#define LOG_OF_SUM \
  "[ 2 3\nf$ 0 0 3 1\nf$ 1 0 0 1\nfadd 0 1\nflog 2\n> 0 2 store 3 0 3 1\n> 1 3 sum 3 0 0 1\n"

static void test_values(void **state) {
  (void)state;
  fill();
  assert_true(value(LOG_OF_SUM, 0, 4) == (double)(float)log(15));
  assert_true(value(LOG_OF_SUM, 1, 1) == (double)(float)log(12) + (double)(float)log(15));
  assert_true(value("[ 6\ni@ 5 -1\nfcast 0\nf= 0.5\nfmul 1 2\n> 0 2 store 3 0 1\n", 0, 1) ==
              2); // an index
  assert_true(value("[ 6\nb< 2 4 0 1\nf$ 0 0 1\nf= -1\nfwhere 0 1 2\n> 0 2 store 3 0 1\n", 0, 4) ==
              -1); // a range
  const char *transposed = "[ 3 2\nf$ 0 0 1 3\n> 0 2 store 0 0 1 3\n";
  assert_true(value(transposed, 0, 5) == 6);
  struct bt_formula *part =
      bt_formula_parse("[ 2 2\nf$ 0 0 3 1\n> 0 2 store 0 1 3 1\n"); // columns 1 and 2 of three
  double v;
  assert_false(bt_formula_value(part, memory, 0, 3, &v));
  bt_formula_free(part);
}

// Where ops have an answer that arithmetic has not, it is the kernels'.
static void test_edges(void **state) {
  (void)state;
  fill();
  assert_true(value("[ 6\nf$ 0 0 1\nf= inf\nfmod 0 1\n> 0 2 store 2 0 1\n", 0, 0) == 1);
  assert_true(value("[ 6\ni= 7\ni= 0\nimod 0 1\nfcast 2\n> 0 2 store 3 0 1\n", 0, 0) == 0);
  assert_true(value("[ 6\nf= nan\nicast 0\nfcast 1\n> 0 2 store 2 0 1\n", 0, 0) == 0);
  assert_true(value("[ 6\nf= 1e10\nicast 0\nfcast 1\n> 0 2 store 2 0 1\n", 0, 0) == 0x1p31);
}

// p[2, 2] = x x' over 3, less than 20 or nothing.
#define PRODUCT \
  "* 2 2 3 0 1\n[ 2 3\nf$ 0 0 3 1\n> -1 -1 store 0 0\n[ 2 3\nf$ 0 0 3 1\n> -1 -1 store 0 0\n"
static void test_product(void **state) {
  (void)state;
  fill();
  assert_true(value(PRODUCT "[ 2 2\nf* 0 2 1\n> 0 2 store 0 0 2 1\n", 0, 1) ==
              1 * 4 + 2 * 5 + 3 * 6);
  struct bt_blame infinity;
  x[4] = NAN;
  struct bt_blame b =
      blame_of(PRODUCT "[ 2 2\nf* 0 2 1\n> 0 2 store 0 0 2 1\n", 0, 1, true, &infinity);
  assert_int_equal(b.how, BT_BLAME_READ);
  assert_int_equal(b.argument, 0);
  assert_int_equal(b.element, 4);
  fill();
  x[2] = x[5] = 3e38f;
  b = blame_of(PRODUCT "[ 2 2\nf* 0 2 1\n> 0 2 store 0 0 2 1\n", 0, 1, false, &infinity);
  assert_int_equal(b.how, BT_BLAME_MADE);
  assert_string_equal(b.op, "matmul");
}

static void test_blame(void **state) {
  (void)state;
  struct bt_blame infinity;
  fill();
  x[4] = -30;
  struct bt_blame b = blame_of(LOG_OF_SUM, 1, 1, true, &infinity);
  assert_int_equal(b.how, BT_BLAME_MADE);
  assert_string_equal(b.text, "log(-20) = nan");
  assert_int_equal(b.origin, 1); // of add, log and the roots
  assert_int_equal(infinity.how, BT_BLAME_UNKNOWN);
  x[4] = NAN;
  b = blame_of(LOG_OF_SUM, 1, 1, true, &infinity);
  assert_int_equal(b.how, BT_BLAME_READ);
  assert_int_equal(b.element, 4);
  fill();
  b = blame_of(LOG_OF_SUM, 1, 1, true, &infinity); // the kernel says so, and its formula does not
  assert_int_equal(b.how, BT_BLAME_UNKNOWN);
  x[0] = 100;
  const char *quotient = "[ 6\nf$ 0 0 1\nfexp 0\nfdiv 1 1\n> 0 2 store 2 0 1\n";
  b = blame_of(quotient, 0, 0, true, &infinity);
  assert_string_equal(b.text, "inf / inf = nan");
  assert_int_equal(infinity.how, BT_BLAME_MADE);
  assert_string_equal(infinity.text, "exp(100) = inf");
  // What is not chosen is not to blame.
  x[0] = -1;
  const char *chosen =
      "[ 6\nf$ 0 0 1\nflog 0\nf= 0\nblt 2 0\nfsqrt 0\nfwhere 3 1 4\n> 0 2 store 5 0 1\n";
  b = blame_of(chosen, 0, 0, true, &infinity);
  assert_string_equal(b.op, "sqrt");
  // A fold of large numbers, and of infinities of both signs.
  for (int i = 0; i < 6; i++) x[i] = 3e38f;
  y[0] = INFINITY;
  b = blame_of("[ 6\nf$ 0 0 1\n> 0 2 sum 0 0\n", 0, 0, false, &infinity);
  assert_string_equal(b.text, "sum of 6 values from 3e+38 to 3e+38 = inf");
  x[1] = INFINITY, x[2] = -INFINITY, y[0] = NAN;
  b = blame_of("[ 6\nf$ 0 0 1\n> 0 2 sum 0 0\n", 0, 0, true, &infinity);
  assert_string_equal(b.op, "sum");
  assert_int_equal(infinity.how, BT_BLAME_READ);
  assert_int_equal(infinity.element, 1);
}

static void test_search(void **state) {
  (void)state;
  struct bt_formula *part =
      bt_formula_parse("[ 2 2\nf$ 0 0 3 1\n> 0 2 store 0 1 3 1\n"); // columns 1 and 2 of three
  for (int i = 0; i < 6; i++) y[i] = 0;
  y[0] = NAN; // in column 0
  assert_int_equal(bt_formula_search(part, 0, y, BT_F32), -1);
  y[1] = INFINITY;
  assert_int_equal(bt_formula_search(part, 0, y, BT_F32), 1);
  y[5] = NAN;
  assert_int_equal(bt_formula_search(part, 0, y, BT_F32), 5);
  bt_formula_free(part);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_op), cmocka_unit_test(test_values),
      cmocka_unit_test(test_edges),
                                     cmocka_unit_test(test_product), cmocka_unit_test(test_blame),
                                     cmocka_unit_test(test_search)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
