// test_sweeps.c: passes by the float64 interpreter and by compiled code, on the same images: the rows that
// one keeps, put together, go into the next, as the trainer does it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "../runtime/random.h"
#include "ast.h"
#include "driver.h"
#include "eval.h"

enum { BATCH = 32, ROWS = 200, SIDE = 12, BATCHES = (ROWS + BATCH - 1) / BATCH };

struct sweeps {
  struct btc *b;
  struct model *m;
  struct compiled native;
  value_list given; // images and labels, a batch a step
};

static void expect_no_errors(struct btc *b, bool ok) {
  if (ok && b->n_errors == 0) return;
  diag_flush(b, stderr);
  fail_msg("diagnostics");
}

static struct tensor64 *drawn(struct btc *b, dtype t, struct shape s, int below) {
  struct tensor64 *x = tensor64_new(b->arena, &(struct tensor_type){t, s});
  struct bt_random r = bt_random_new(1, BT_RANDOM_DATA, (uint32_t)below, 0, 0);
  for (int64_t i = 0; i < shape_count(&s); i++)
    x->data[i] = below ? bt_random_below(&r, (uint32_t)below) : (float)bt_random_uniform(&r, -1, 1);
  return x;
}

static int open_sweeps(void **state) {
  static struct sweeps s;
  *state = &s;
  s.b = btc_new();
  s.m = driver_model(s.b, "tests/models/passes.btg");
  expect_no_errors(s.b, s.m != NULL);
  int64_t steps = BATCHES;
  values_add(s.b->arena, &s.given, "x", drawn(s.b, BT_F32, shape_of(5, steps, (int64_t)BATCH, (int64_t)1, (int64_t)SIDE, (int64_t)SIDE), 0));
  values_add(s.b->arena, &s.given, "y", drawn(s.b, BT_I32, shape_of(2, steps, (int64_t)BATCH), 10));
  struct model copy = *s.m; // the interpreter's graphs stay as they were written
  memset(&copy.programs, 0, sizeof copy.programs);
  copy.partial = true;
  for (int i = 0; i < s.m->programs.len; i++)
    if (str_eq(s.m->programs.data[i].owner, "train")) vec_push(s.b->arena, &copy.programs, s.m->programs.data[i]);
  struct host host = {.march = "native"};
  expect_no_errors(s.b, host_find(s.b, &host, NULL) && compiled_open(&copy, &host, false, &s.native));
  return 0;
}

static int close_sweeps(void **state) {
  struct sweeps *s = *state;
  compiled_unload(&s->native);
  btc_free(s->b);
  return 0;
}

static value_list run(struct sweeps *s, const char *pass, const struct compiled *native, const value_list *given, int64_t steps) {
  value_list results = {0};
  struct eval e = {.m = s->m, .p = driver_program(s->m, pass), .native = native, .given = given, .steps = steps};
  expect_no_errors(s->b, e.p && eval_run(&e, &results));
  return results;
}

// Embeddings have some dozens of operations behind them, of values around 1.
static void expect_near(const char *what, const struct tensor64 *got, const struct tensor64 *want, double tolerance) {
  if (!got || !want) fail_msg("%s is missing", what);
  int64_t n = shape_count(&want->type.shape);
  assert_int_equal(shape_count(&got->type.shape), n);
  for (int64_t i = 0; i < n; i++)
    if (!(fabs(got->data[i] - want->data[i]) <= tolerance)) fail_msg("%s[%d] is %.9g, not %.9g", what, (int)i, got->data[i], want->data[i]);
}

// All rows of an output of a pass; `results` hold a step's.
static struct tensor64 *kept(struct sweeps *s, const char *name, const struct compiled *native) {
  struct tensor64 *all = NULL;
  for (int64_t step = 1; step <= BATCHES; step++) { // results have the last step's values
    value_list results = run(s, "train.train", native, &s->given, step);
    const struct tensor64 *rows = values_find(&results, name);
    if (!rows) fail_msg("%s is not kept", name);
    struct tensor_type type = rows->type;
    int64_t row = shape_count(&type.shape) / BATCH, from = (step - 1) * BATCH;
    type.shape.dim[0] = ROWS;
    if (!all) all = tensor64_new(s->b->arena, &type);
    int64_t n = ROWS - from < BATCH ? ROWS - from : BATCH;
    memcpy(all->data + from * row, rows->data, sizeof(double) * (size_t)(n * row));
  }
  return all;
}

static void kept_rows_agree(void **state) {
  struct sweeps *s = *state;
  expect_near("bank", kept(s, "bank", &s->native), kept(s, "bank", NULL), 1e-5);
  expect_near("labels", kept(s, "labels", &s->native), kept(s, "labels", NULL), 0);
}

static void reports_agree(void **state) {
  struct sweeps *s = *state;
  value_list exact = run(s, "train.test", NULL, &s->given, BATCHES), single = run(s, "train.test", &s->native, &s->given, BATCHES);
  expect_near("loss", values_find(&single, "report.loss"), values_find(&exact, "report.loss"), 1e-5);
  expect_near("drawn", values_find(&single, "report.drawn"), values_find(&exact, "report.drawn"), 1e-5);
}

// A batch of the training images finds itself in the bank of all of them.
static void neighbours_agree(void **state) {
  struct sweeps *s = *state;
  value_list given = s->given;
  given.data = NEW_ARRAY(s->b->arena, struct value, given.len);
  memcpy(given.data, s->given.data, sizeof *given.data * (size_t)given.len);
  given.cap = given.len;
  values_add(s->b->arena, &given, "bank", kept(s, "bank", NULL));
  values_add(s->b->arena, &given, "labels", kept(s, "labels", NULL));
  value_list exact = run(s, "train.test_2", NULL, &given, 3), single = run(s, "train.test_2", &s->native, &given, 3);
  const struct tensor64 *nearest = values_find(&exact, "report.nearest");
  for (int i = 0; i < 3; i++) assert_true(nearest->data[i] == 1);
  expect_near("nearest", values_find(&single, "report.nearest"), nearest, 1.5 / BATCH); // two may be as near
  expect_near("neighbours", values_find(&single, "report.neighbours"), values_find(&exact, "report.neighbours"), 1.5 / BATCH);
  exact = run(s, "train.train_2", NULL, &given, 1), single = run(s, "train.train_2", &s->native, &given, 1);
  expect_near("spread", values_find(&single, "report.spread"), values_find(&exact, "report.spread"), 1e-5);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(kept_rows_agree), cmocka_unit_test(reports_agree), cmocka_unit_test(neighbours_agree)};
  return cmocka_run_group_tests(tests, open_sweeps, close_sweeps);
}
