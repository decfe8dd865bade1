// test_random_ops.c: random numbers of programs: the same bits from the interpreter and from C at three
// vector widths with any number of threads, and which draws are the same and which independent.
#include "codegen_helper.h"

#include <math.h>
#include <string.h>

#include "parse.h"
#include "passes.h"

static const char *const marches[] = {"x86-64", "x86-64-v3", "x86-64-v4"};

// ---- bits -------------------------------------------------------------------------------------

static void out(struct graph *g, struct node *n) {
  graph_output(g, str_printf(g->b->arena, "out%d", g->outputs.len), BT_OUTPUT_VALUE, n);
}

static struct node *scalar_key(struct graph *g, const char *name) {
  return g_input(g, name, BT_INPUT_ARRAY, 0, 0, &(struct tensor_type){.dtype = BT_I64});
}

static const struct shape shapes[] = {{0},          {1, {1}},        {1, {15}},    {1, {64}},          {1, {50003}},
                                      {2, {9, 16}}, {2, {300, 130}}, {3, {3, 7, 5}}, {4, {2, 32, 5, 3}}};
enum { SHAPES = sizeof shapes / sizeof *shapes };

// Draws, and windows and transposes of them, where lanes are other elements.
static struct graph *elements(struct btc *b, enum op op) {
  struct graph *g = graph_new(b, op_info(op)->name);
  for (int i = 0; i < SHAPES; i++) out(g, drawn(g, op, &shapes[i]));
  struct node *y = drawn(g, op, &shapes[6]);
  struct shape part = shape_of(2, (int64_t)100, (int64_t)77);
  out(g, g_slice(g, y, (int64_t[]){3, 5}, &part));
  out(g, g_transpose(g, y, (int[]){1, 0}));
  struct node *in[] = {g_input(g, "element", BT_INPUT_ARRAY, 0, 0, &(struct tensor_type){BT_I32, part}),
                       g_input(g, "seeds", BT_INPUT_ARRAY, 0, 0, &(struct tensor_type){BT_I64, part}),
                       g_input(g, "streams", BT_INPUT_ARRAY, 0, 0, &(struct tensor_type){BT_I64, part})};
  out(g, graph_node(g, op, in, 3, NULL, NULL)); // no two lanes of one block
  in[0] = g_binary(g, OP_mul, y->in[0], g_constant(g, BT_I32, 3));
  memcpy(in + 1, y->in + 1, 2 * sizeof *in);
  out(g, graph_node(g, op, in, 3, NULL, NULL)); // of one key, three apart
  return g;
}

static struct graph *others(struct btc *b) {
  struct graph *g = graph_new(b, "others");
  struct shape s = shape_of(2, (int64_t)70, (int64_t)9);
  struct node *keys[] = {scalar_key(g, "seed"), scalar_key(g, "stream"), NULL, NULL};
  static const double parameters[][2] = {{1, 1}, {0.2, 0.2}, {0.05, 7.3}};
  for (int i = 0; i < 3; i++) {
    for (int k = 0; k < 2; k++) keys[2 + k] = g_full(g, &(struct tensor_type){BT_F32, s}, parameters[i][k]);
    out(g, graph_node(g, OP_random_beta, keys, 4, NULL, NULL));
  }
  for (int64_t n = 1; n < 5000; n = 7 * n + 1)
    out(g, graph_node(g, OP_random_permutation, keys, 2, NULL, &(struct tensor_type){BT_I32, shape_of(1, n)}));
  return g;
}

// Radius and angle each err by a few units in the last place; the result by as many of the radius, 6.7 at
// most, of which sine and cosine may leave little: 4 ulp of 8.
static const double normal_error = 4 * 0x1p-21;

static void compare(const struct step_result *got, const struct step_result *want, double most) {
  assert_int_equal(got->values.len, want->values.len);
  for (int i = 0; i < want->values.len; i++) {
    const struct tensor64 *x = got->values.data[i], *y = want->values.data[i];
    for (int64_t k = 0; k < shape_count(&y->type.shape); k++)
      if (!(fabs(x->data[k] - y->data[k]) <= most))
        fail_msg("result %d [%lld]: %.9g, not %.9g", i, (long long)k, x->data[k], y->data[k]);
  }
}

static void same_bits(void **state) {
  struct btc *b = btc_new();
  struct graph *g[] = {elements(b, OP_random_uniform), elements(b, OP_random_normal), others(b)};
  struct compiled n = step_build(b, g, 3, *state);
  for (int p = 0; p < 3; p++)
    for (unsigned seed = 1; seed < 4; seed++) {
      struct step_result want = step_expected(&n, p, seed, false), one = step_run(&n, p, seed, 1);
      struct step_result two = step_run(&n, p, seed, 2), five = step_run(&n, p, seed, 5);
      compare(&one, &want, p == 1 ? normal_error : 0);
      compare(&two, &one, 0);
      compare(&five, &one, 0);
    }
  step_close(&n);
  btc_free(b);
}

// ---- which draws are one ----------------------------------------------------------------------

struct keyed {
  double seed, step;
  struct arena *arena;
};

// Everything but the key is 0.
static const struct tensor64 *leaf(void *user, const struct node *n) {
  const struct keyed *key = user;
  struct tensor64 *t = tensor64_new(key->arena, &n->type);
  if (n->op == OP_input && n->attr.i[INPUT_KIND] == BT_INPUT_KEY) t->data[0] = key->seed, t->data[1] = key->step;
  return t;
}

static struct model *elaborated(const char *text) {
  struct btc *b = btc_new();
  b->opt.home = ".";
  return model_elaborate(b, parse_file(b, source_add(b, "test.btg", text, strlen(text))));
}

static struct model *model_of(const char *text) {
  struct model *m = elaborated(text);
  for (int i = 0; i < m->programs.len; i++) model_differentiate(m, &m->programs.data[i]);
  diag_flush(m->b, stderr);
  assert_int_equal(m->b->n_errors, 0);
  return m;
}

static double value_of(struct model *m, const struct graph *g, const char *name, struct keyed key) {
  key.arena = m->b->arena;
  struct tensor64 **r = interp_run(g, m->b->arena, false, leaf, &key);
  for (int i = 0; i < g->outputs.len; i++)
    if (strcmp(g->outputs.data[i].name, name) == 0) return r[g->outputs.data[i].node->id]->data[0];
  fail_msg("no output %s", name);
  return NAN;
}

static int count_op(const struct graph *g, enum op op) {
  int n = 0;
  for (int i = 0; i < g->nodes.len; i++) n += g->nodes.data[i]->op == op;
  return n;
}

static const char sites[] =
    "module noise()(x: f32[n]) -> f32[n] {\n return x + random_uniform([n])\n}\n"
    "layer = noise()\n"
    "program p {\n"
    "  data x: f32[4]\n"
    "  let a = random_uniform([4])\n"
    "  let b = random_uniform([4])\n"
    "  let unused = random_uniform([4])\n"
    "  report again: sum(abs(a - a))\n"
    "  report other: sum(abs(a - b))\n"
    "  report applied: sum(abs(layer(x) - layer(x)))\n"
    "  report first: sum(a)\n"
    "  report mixed: sum(random_normal([4]) + random_beta([4], 1, 1))\n"
    "  report order: f32(sum(abs(random_permutation(40) - random_permutation(40))))\n"
    "  report each: var(random_beta([4], 2, 1)) * var(random_beta([4], 2, 1 + exp(x)))\n"
    "}\n";

// After every pass as well: nothing merges two sites, and what nobody reads is gone.
static void sites_draw_apart(void **state) {
  (void)state;
  struct model *m = model_of(sites);
  bool stopped = false;
  const struct graph *graphs[] = {m->programs.data[0].graph, NULL};
  graphs[1] = passes_run(m->b, m->programs.data[0].graph, &stopped);
  assert_int_equal(count_op(graphs[1], OP_random_uniform), 4); // a, b, and layer twice
  assert_int_equal(count_op(graphs[1], OP_random_permutation), 2);
  for (int i = 0; i < 2; i++) {
    struct keyed key = {7, 3, NULL};
    assert_true(value_of(m, graphs[i], "again", key) == 0);
    assert_true(value_of(m, graphs[i], "other", key) > 0.1);
    assert_true(value_of(m, graphs[i], "applied", key) > 0.1);
    assert_true(value_of(m, graphs[i], "each", key) > 0); // a draw for each element
    double first = value_of(m, graphs[i], "first", key), mixed = value_of(m, graphs[i], "mixed", key);
    assert_true(first == value_of(m, graphs[i], "first", key));
    assert_true(first != value_of(m, graphs[i], "first", (struct keyed){7, 4, NULL}));
    assert_true(first != value_of(m, graphs[i], "first", (struct keyed){8, 3, NULL}));
    assert_true(mixed != value_of(m, graphs[i], "mixed", (struct keyed){7, 4, NULL}));
    assert_true(mixed != value_of(m, graphs[i], "mixed", (struct keyed){8, 3, NULL}));
  }
  btc_free(m->b);
}

// A program before or after does not number the sites of this one, its optimiser's included.
static void programs_number_apart(void **state) {
  (void)state;
  static const char other[] = "program q { data x: f32[4]\n report r: sum(random_uniform([4])) }\n";
  static const char langevin[] =
      "module langevin()(w: f32[..s], g: f32[..s]) -> f32[..s] {\n return w - g + random_normal(s)\n}\n"
      "module scale()(x: f32[n]) -> f32[n] {\n param w: f32[n] = 1\n return w * x\n}\n"
      "net = scale()\n"
      "program p { data x: f32[4]\n let a = random_normal([4])\n let b = random_normal([4])\n"
      "minimize sum(net(x) * a)\n report r: sum(b)\n optimizer langevin() }\n";
  char both[1000];
  snprintf(both, sizeof both, "%s%s", langevin, other);
  struct model *alone = model_of(langevin), *m = model_of(both);
  assert_int_equal(alone->programs.data[0].sites, 3);
  assert_int_equal(m->programs.data[0].sites, 3);
  assert_int_equal(m->programs.data[1].sites, 1);
  const struct graph *g[] = {alone->programs.data[0].graph, m->programs.data[0].graph};
  assert_int_equal(count_op(g[1], OP_random_normal), 3);
  struct keyed key = {1, 2, NULL};
  assert_true(value_of(m, g[1], "r", key) == value_of(alone, g[0], "r", key));
  btc_free(alone->b);
  btc_free(m->b);
}

// ---- dropout ----------------------------------------------------------------------------------

static const char dropping[] =
    "import std.nn\nimport std.optim\n"
    "module shift()(x: f32[n]) -> f32[n] {\n param by: f32[n] = 0\n return x + by\n}\n"
    "three = shift()\n"
    "program p { data x: f32[4000]\n let y = dropout(0.25)(three(x) + 3)\n minimize sum(y)\n"
    "report zeros: mean(f32(y == 0))\n report kept: max(y)\n report least: min(where(y == 0, 4, y))\n"
    "report same: sum(abs(eval(dropout(0.25))(x + 1) - x - 1))\n"
    "report none: sum(abs(dropout(0)(x + 1) - x - 1))\n"
    "report all: sum(abs(dropout(1)(x + 1)))\n optimizer sgd(lr: 0.1) }\n"
    "program measured { data x: f32[4000]\n report same: sum(abs(dropout(0.25)(x + 1) - x - 1)) }\n";

// A quarter is dropped: within 4 standard deviations of a mean of 4000.
static void dropout_is_inverted(void **state) {
  (void)state;
  struct model *m = elaborated(dropping);
  assert_int_equal(m->b->n_errors, 0);
  const struct graph *g = m->programs.data[0].graph;
  struct keyed key = {3, 1, NULL};
  assert_true(fabs(value_of(m, g, "zeros", key) - 0.25) < 4 * sqrt(0.25 * 0.75 / 4000));
  assert_true(fabs(value_of(m, g, "kept", key) - 4) < 1e-12);
  assert_true(fabs(value_of(m, g, "least", key) - 4) < 1e-12);
  static const char *const nothing[] = {"same", "none", "all"};
  for (int i = 0; i < 3; i++) assert_true(value_of(m, g, nothing[i], key) == 0);
  assert_true(value_of(m, m->programs.data[1].graph, "same", key) == 0);
  assert_int_equal(count_op(m->programs.data[1].graph, OP_random_uniform), 0);
  btc_free(m->b);
  m = elaborated("import std.nn\nprogram p { data x: f32[4]\n report r: sum(dropout(1.5)(x)) }\n");
  assert_int_equal(m->b->n_errors, 1);
  btc_free(m->b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_prestate(same_bits, (void *)marches[0]),
      cmocka_unit_test_prestate(same_bits, (void *)marches[1]),
      cmocka_unit_test_prestate(same_bits, (void *)marches[2]),
      cmocka_unit_test(sites_draw_apart),
      cmocka_unit_test(programs_number_apart),
      cmocka_unit_test(dropout_is_inverted),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
