// test_functions.c: the language's functions where they are special: at kinks and zeros, at infinities,
// on integers, on vectors. Values and gradients, from the interpreter and from compiled code.
//
// A row is an expression of x: f32[n] that gives a scalar; all become functions of one module.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ast.h"
#include "eval.h"
#include "graph_helper.h"

enum { ENTRIES = 3 };
struct row {
  const char *expression;
  double x[ENTRIES], result, gradient[ENTRIES];
};
#define INF INFINITY
// Derivatives that are not plain: the logistic function at 1, and of x times the normal distribution.
#define SIGMOID_1 0.731058578630005
#define GELU_SLOPE_1 1.083315470587686 // Φ(1) + φ(1)

static const struct row rows[] = {
    {"norm(x)", {0, 0, 0}, 0, {0, 0, 0}},
    {"norm(x)", {3, 0, -4}, 5, {0.6, 0, -0.8}},
    {"sum(norm(reshape(x, [n, 1]), over: 1))", {0, 2, -1}, 3, {0, 1, -1}},
    {"logsumexp(x)", {0, 0, 0}, 1.0986122886681098, {1. / 3, 1. / 3, 1. / 3}},
    {"logsumexp(x)", {-INF, -INF, -INF}, -INF, {0, 0, 0}},
    {"logsumexp(x)", {-INF, 2, -INF}, 2, {0, 1, 0}},
    {"logsumexp(x)", {1e30, -1e30, 0}, 1e30, {1, 0, 0}},
    {"sum(clamp(x, -1, 2))", {-1, 2, 3}, 3, {1, 1, 0}},
    {"sum(clamp(x, min: 0))", {-1, 0, 5}, 5, {0, 1, 1}},
    {"sum(clamp(x, max: 0))", {-1, 0, 5}, -1, {1, 1, 0}},
    {"sum(sign(x) * x)", {-2, 0, 3}, 5, {-1, 0, 1}},
    {"2 * sum(sign(x))", {NAN, 0, -3}, -2, {0, 0, 0}},
    {"sum(softplus(x))", {0, -1000, 1000}, 1000.6931471805599, {0.5, 0, 1}},
    {"sum(pow(x, 3))", {-2, 0, 1}, -7, {12, 0, 3}},
    {"sum(pow(x, x))", {1, 2, 3}, 32, {1, 6.772588722239781, 56.66253179403896}},
    {"sum(gelu(x))", {0, 1, -40}, 0.841344746068543, {0.5, GELU_SLOPE_1, 0}},
    {"sum(leaky_relu(x))", {0, 2, -3}, 1.97, {0.01, 1, 0.01}},
    {"sum(erf(x))", {0, INF, -INF}, 0, {1.1283791670955126, 0, 0}},
    {"sum(sigmoid(x))", {1, -1000, 1000}, 1 + SIGMOID_1, {SIGMOID_1 * (1 - SIGMOID_1), 0, 0}},
    {"sum(f32(i32(x) // 2) * 10 + f32(i32(x) % 2))", {-3, 5, 4}, 22, {0, 0, 0}},
    {"sum(f32(i32(x) // -3) + f32(i32(x) % -3)) + sum(f32(i32(x)^3))", {-4, 5, 6}, 272, {0, 0, 0}},
    {"sum(f32(i32(x) // (i32(x) - 5) + 10 * (i32(x) % (i32(x) - 5))))", {5, 8, 2}, 11, {0, 0, 0}},
    // The quotient is 9999.99985, which f32 rounds up.
    {"x[0] // x[1] - 9000 + 1000 * (x[0] % x[1])", {1000, 0x1.99999ap-4, 0}, 1098.98510032892227, {0, 0, 0}},
    {"x @ x", {1, 2, -3}, 14, {2, 4, -6}},
    {"sum(x @ reshape(3 * x, [3, 1]))", {1, 2, -3}, 42, {6, 12, -18}},
    {"sum(pad(x, [[1, 2]], value: 4)^2)", {1, 2, 3}, 62, {2, 4, 6}},
    {"sum(tril(reshape(x, [n, 1]) @ reshape(x, [1, n]), value: 1))", {1, 2, 3}, 28, {7, 8, 9}},
    {"sum(triu(reshape(x, [n, 1]) @ reshape(x, [1, n]), diagonal: 1))", {1, 2, 3}, 11, {5, 4, 3}},
};
enum { ROWS = sizeof rows / sizeof *rows };

struct session {
  struct btc *b;
  struct model *m;
  value_list given[ROWS];
  struct compiled native;
};

static void expect_no_errors(struct btc *b, bool ok) {
  if (ok && b->n_errors == 0) return;
  diag_flush(b, stderr);
  fail_msg("diagnostics");
}

static const char *source_text(struct arena *a) {
  const char *text = "import std.nn\n";
  for (int i = 0; i < ROWS; i++)
    text = str_printf(a, "%sfn f%d(x: f32[n]) -> f32 = %s\n", text, i, rows[i].expression);
  return text;
}

static int open_session(void **state) {
  static struct session s;
  *state = &s;
  s.b = btc_new();
  const char *text = source_text(s.b->arena);
  s.m = model_elaborate(s.b, parse_file(s.b, source_add(s.b, "test.btg", text, strlen(text))));
  expect_no_errors(s.b, s.m != NULL);
  struct program *programs = NEW_ARRAY(s.b->arena, struct program, ROWS);
  for (int i = 0; i < ROWS; i++) {
    struct tensor_type type = {BT_F32, shape_of(1, (int64_t)ENTRIES)};
    struct tensor64 *x = tensor64_new(s.b->arena, &type);
    memcpy(x->data, rows[i].x, sizeof rows[i].x);
    values_add(s.b->arena, &s.given[i], "x", x);
    const char *name = str_printf(s.b->arena, "f%d", i);
    struct program *p = eval_function(s.m, name, &s.given[i], true);
    expect_no_errors(s.b, p != NULL);
    programs[i] = *p;
    programs[i].name = programs[i].graph->name = name;
  }
  s.m->programs.data = programs;
  s.m->programs.len = s.m->programs.cap = ROWS;
  struct model copy = *s.m; // the interpreter keeps the graphs as they were elaborated
  copy.programs.data = NEW_ARRAY(s.b->arena, struct program, ROWS);
  memcpy(copy.programs.data, programs, sizeof *programs * ROWS);
  struct host host = {.march = "native"};
  expect_no_errors(s.b, host_find(s.b, &host, NULL) && compiled_open(&copy, &host, false, &s.native));
  return 0;
}

static int close_session(void **state) {
  struct session *s = *state;
  compiled_unload(&s->native);
  btc_free(s->b);
  return 0;
}

static void expect_number(const struct row *r, const char *what, double got, double want, double tolerance) {
  bool same = isnan(want) ? isnan(got) : isinf(want) ? got == want : fabs(got - want) <= tolerance * fmax(1, fabs(want));
  if (!same) fail_msg("%s of %s is %.17g, should be %.17g", what, r->expression, got, want);
}

static void check_row(struct session *s, int i, const struct compiled *native, double tolerance) {
  const struct row *r = &rows[i];
  value_list results = {0};
  struct eval e = {.m = s->m, .p = &s->m->programs.data[i], .native = native, .given = &s->given[i]};
  expect_no_errors(s->b, eval_run(&e, &results));
  expect_number(r, "the value", values_find(&results, "out")->data[0], r->result, tolerance);
  struct tensor64 *dx = values_find(&results, "dx");
  for (int k = 0; k < ENTRIES; k++)
    expect_number(r, str_printf(s->b->arena, "gradient %d", k), dx ? dx->data[k] : 0, r->gradient[k], tolerance);
}

static void by_the_interpreter(void **state) {
  for (int i = 0; i < ROWS; i++) check_row(*state, i, NULL, 1e-12);
}

static void compiled(void **state) {
  struct session *s = *state;
  for (int i = 0; i < ROWS; i++) check_row(s, i, &s->native, 1e-6);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(by_the_interpreter), cmocka_unit_test(compiled)};
  return cmocka_run_group_tests(tests, open_session, close_session);
}
