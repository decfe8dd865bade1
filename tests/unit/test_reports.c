// test_reports.c: `report` in programs, functions and modules: under which names values are logged, that
// gradients do not see them, and what Barlow Twins reports, against its definition in doubles.
#define _GNU_SOURCE
#include <math.h>
#include <string.h>

#include "btc.h"
#include "graph.h"
#include "parse.h"
#include "rt_test.h"

static struct model *model_of(const char *text) {
  struct btc *b = btc_new();
  b->opt.home = ".";
  struct model *m = model_elaborate(b, parse_file(b, source_add(b, "test.btg", text, strlen(text))));
  for (int i = 0; i < m->programs.len; i++) model_differentiate(m, &m->programs.data[i]);
  diag_flush(b, stderr);
  assert_int_equal(b->n_errors, 0);
  return m;
}

static void check_names(const char *text, const char *want) {
  struct model *m = model_of(text);
  const struct graph *g = m->programs.data[0].graph;
  const char *names = "";
  for (int i = 0; i < g->outputs.len; i++)
    if (g->outputs.data[i].kind == BT_OUTPUT_REPORT)
      names = str_printf(m->b->arena, "%s%s%s", names, *names ? " " : "", g->outputs.data[i].name);
  assert_string_equal(names, want);
  btc_free(m->b);
}

static void test_names(void **state) {
  (void)state;
  // In the order of evaluation; what is applied twice is numbered, around names that are taken.
  check_names("fn f(x: f32[n]) -> f32 {\n report b: sum(x)\n return sum(x^2)\n}\n"
              "program p { data x: f32[3]\n report b_2: sum(3 * x)\n report a: f(x) + f(2 * x)\n }\n",
              "b_2 b b_3 a");
}

static void test_names_of_functions(void **state) {
  (void)state;
  static const char f[] = "fn f(x: f32[n]) -> f32 {\n report a: sum(x)\n report k: 2\n return sum(x^2)\n}\n";
  static const struct { const char *program, *names; } cases[] = {
      {"report r: f(x)", "a k r"},
      {"report r: f(x) + f(y)", "a k a_2 r"},               // k is one value
      {"report r: f(x) + f(y) + f(x)", "a k a_2 r"},        // so is f(x)
      {"let z = f(x)\n report a_2: z\n report s: f(y)", "a k a_2 a_3 s"},
      {"for i in 0..3 { let z = f(x * i) }\n report r: z", "a k a_2 a_3 r"},
      {"report r: eval(f)(x)", "a k r"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[500];
    snprintf(text, sizeof text, "%sprogram p { data x: f32[3], y: f32[3]\n %s\n }\n", f, cases[i].program);
    check_names(text, cases[i].names);
  }
}

// A module's, an optimiser's, and one whose function is also applied to numbers alone.
static void test_names_of_modules(void **state) {
  (void)state;
  check_names("fn rate(x: float) -> float {\n report twice: 2 * x\n return x\n}\nconst fast = rate(0.5)\n"
              "module layer()(x: f32[n]) -> f32[n] {\n param w: f32[n] = 1\n report size: norm(w)\n return w * x\n}\n"
              "module sgd(lr: f32)(w: f32[..s], g: f32[..s]) -> f32[..s] {\n report steepness: norm(g)\n return w - lr * g\n}\n"
              "net = [layer(), layer()]\n"
              "program p { data x: f32[3]\n minimize sum(net(x))\n optimizer sgd(lr: fast) }\n",
              "size size_2 steepness steepness_2");
}

// ---- values -----------------------------------------------------------------------------------

static const struct tensor64 *leaf(void *user, const struct node *n) {
  const struct tensor64 *const *inputs = user;
  return inputs[strcmp(n->attr.s, "zb") == 0];
}

static double value_of(const struct graph *g, struct tensor64 **r, const char *name, int64_t at) {
  for (int i = 0; i < g->outputs.len; i++)
    if (strcmp(g->outputs.data[i].name, name) == 0) return r[g->outputs.data[i].node->id]->data[at];
  fail_msg("no output %s", name);
  return NAN;
}

struct views { // of n embeddings of size d, what fill makes of them
  int64_t n, d;
  double lambda;
  struct tensor64 *z[2];
};

static double noise(int64_t i) {
  uint64_t x = (uint64_t)i * 0x9e3779b97f4a7c15u + 77;
  x = (x ^ x >> 31) * 0xbf58476d1ce4e5b9u;
  return (double)(x >> 40) / 0x1p24 - 0.5;
}

// Spread over the dimensions, or all along one direction; the views differ by `difference`.
static void fill(struct views *v, bool collapsed, double scale, double difference) {
  for (int view = 0; view < 2; view++)
    for (int64_t i = 0; i < v->n; i++)
      for (int64_t j = 0; j < v->d; j++) {
        double common = collapsed ? noise(i) * (noise(1000 + j) + 0.7) : noise(i * v->d + j);
        v->z[view]->data[i * v->d + j] = 3 + scale * (common + difference * noise(5000 + view * 997 + i * v->d + j));
      }
}

// Columns with mean 0 and variance 1, to `to`; returns the sum of standard deviations.
static double standardise(const struct views *v, const double *z, double *to) {
  double deviations = 0;
  for (int64_t j = 0; j < v->d; j++) {
    double mean = 0, var = 0;
    for (int64_t i = 0; i < v->n; i++) mean += z[i * v->d + j] / (double)v->n;
    for (int64_t i = 0; i < v->n; i++) var += pow(z[i * v->d + j] - mean, 2) / (double)v->n;
    for (int64_t i = 0; i < v->n; i++) to[i * v->d + j] = (z[i * v->d + j] - mean) / sqrt(var + 1e-5);
    deviations += sqrt(var);
  }
  return deviations;
}

struct definition { double on, off, trace, all, deviation; };

static struct definition define(const struct views *v, struct arena *a) {
  double *z[2], deviations = 0;
  struct definition want = {0};
  for (int k = 0; k < 2; k++) {
    z[k] = arena_alloc(a, (size_t)(v->n * v->d) * sizeof(double));
    deviations += standardise(v, v->z[k]->data, z[k]);
  }
  want.deviation = deviations / (2 * (double)v->d);
  for (int64_t i = 0; i < v->d; i++)
    for (int64_t j = 0; j < v->d; j++) {
      double c = 0;
      for (int64_t k = 0; k < v->n; k++) c += z[0][k * v->d + i] * z[1][k * v->d + j] / (double)v->n;
      want.all += c * c;
      if (i == j) want.on += (1 - c) * (1 - c), want.trace += c;
      else want.off += c * c;
    }
  return want;
}

struct result { struct model *m; const struct graph *g; struct tensor64 **r; };

static struct result run(struct views *v, const char *text, const char *function) {
  struct model *m = model_of(text);
  struct tensor_type t = {BT_F32, shape_of(2, v->n, v->d)};
  struct named_type args[] = {{"za", t, NULL}, {"zb", t, NULL}, {"lambda", {BT_F64, {0}}, &v->lambda}};
  struct program *p = model_function(m, function, args, 3, true);
  diag_flush(m->b, stderr);
  assert_non_null(p);
  return (struct result){m, p->graph, interp_run(p->graph, m->b->arena, false, leaf, v->z)};
}

static struct views views_of(struct arena *a, int64_t n, int64_t d, double lambda) {
  struct tensor_type t = {BT_F64, shape_of(2, n, d)};
  return (struct views){n, d, lambda, {tensor64_new(a, &t), tensor64_new(a, &t)}};
}

static const char objectives[] = "import std.objectives\n";

static void check_near(const char *name, double got, double want) {
  if (!(fabs(got - want) <= 1e-12 * fmax(1, fabs(want)))) fail_msg("%s is %.17g, not %.17g", name, got, want);
}

static void check_barlow_twins(int64_t n, int64_t d, double lambda, double floor, bool collapsed) {
  struct arena *a = arena_new();
  struct views v = views_of(a, n, d, lambda);
  fill(&v, collapsed, 1, 0.3);
  struct definition want = define(&v, a);
  struct result got = run(&v, objectives, "barlow_twins");
  double loss = value_of(got.g, got.r, "out", 0);
#define GOT(name) value_of(got.g, got.r, name, 0)
  check_near("loss", loss, want.on + lambda * want.off);
  check_near("on_diagonal", GOT("on_diagonal"), want.on);
  check_near("off_diagonal", GOT("off_diagonal"), want.off);
  check_near("participation", GOT("participation"), want.trace * want.trace / want.all);
  check_near("std", GOT("std"), want.deviation);
  check_near("floor", GOT("floor"), floor);
  check_near("excess", GOT("excess"), loss - floor);
  assert_true(lambda < 0 || loss >= floor);
  btc_free(got.m->b);
  arena_free(a);
}

static void test_barlow_twins(void **state) {
  (void)state;
  double k = 0.0051 * (37.0 / 10 - 1);
  check_barlow_twins(11, 37, 0.0051, 37 * k / (1 + k), false);
  check_barlow_twins(11, 37, 0.0051, 37 * k / (1 + k), true);
  check_barlow_twins(13, 13, 0.5, 13 * (0.5 / 12) / (1 + 0.5 / 12), false);
  check_barlow_twins(14, 13, 0.5, 0, false); // n > d
  check_barlow_twins(37, 11, 0.0051, 0, false);
  check_barlow_twins(5, 9, 1.5, 0, false); // nothing is known where lambda > 1, or is no weight at all
  check_barlow_twins(37, 11, -1, 0, false);
}

// Dimensional collapse shows in the participation, complete collapse in the deviation too.
static void test_collapse(void **state) {
  (void)state;
  struct arena *a = arena_new();
  struct views v = views_of(a, 31, 19, 0.0051);
  static const struct { bool collapsed; double scale, least, most, deviation; } cases[] = {
      {false, 1, 9, 19, 0.2}, {true, 1, 0.999, 1.001, 0.1}, {true, 1e-4, 0.999, 1.001, 0}, {true, 0, 0, 0, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    fill(&v, cases[i].collapsed, cases[i].scale, 0);
    struct result got = run(&v, objectives, "barlow_twins");
    double participation = GOT("participation"), deviation = GOT("std");
    assert_true(participation >= cases[i].least && participation <= cases[i].most);
    assert_true(cases[i].deviation > 0 ? deviation >= cases[i].deviation : deviation <= 1e-4);
    btc_free(got.m->b);
  }
  arena_free(a);
}

// The same gradients, bit for bit, as of the objective without its reports.
static void test_gradients_do_not_see_them(void **state) {
  (void)state;
  struct arena *a = arena_new();
  struct views v = views_of(a, 11, 37, 0.0051);
  fill(&v, false, 1, 0.3);
  struct result with = run(&v, objectives, "barlow_twins");
  struct result without = run(&v,
      "import std.objectives\nfn plain(za: f32[n, d], zb: f32[n, d], lambda: float) -> f32 {\n"
      " let c = standardize(za)' @ standardize(zb) / n\n return sum((diag(c) - 1)^2) + lambda * sum(offdiag(c)^2)\n}\n", "plain");
  static const char *const names[] = {"out", "dza", "dzb"};
  for (int k = 0; k < 3; k++)
    for (int64_t i = 0; i < (k ? v.n * v.d : 1); i++)
      assert_true(value_of(with.g, with.r, names[k], i) == value_of(without.g, without.r, names[k], i));
  btc_free(with.m->b), btc_free(without.m->b);
  arena_free(a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_names),       cmocka_unit_test(test_names_of_functions),
      cmocka_unit_test(test_names_of_modules), cmocka_unit_test(test_barlow_twins),
      cmocka_unit_test(test_collapse),
      cmocka_unit_test(test_gradients_do_not_see_them),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
