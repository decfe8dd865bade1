// test_passes.c: the graph passes, on files of graph text.
//
// Each tests/passes/*.graph is one test. Comments in it say what to run and what to expect:
//   # pass: NAME            runs a pass (in order; `all`: the whole table)
//   # disable: NAME         as --disable-pass, before parsing
//   # count: OP N [over M]  N nodes of OP, counting those whose first operand has ≥ M elements
//   # check: TEXT           the resulting text contains TEXT
//   # check-not: TEXT       and this one not
// Whatever else it expects, the result must have the values of the graph it came from. Random
// graphs are held to the same below.
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "graph_helper.h"
#include "../../compiler/passes.h"

// ---- files ------------------------------------------------------------------------------------

// The rest of the next line that begins with "# KEY: ", or NULL; *at moves behind it.
static char *next_directive(struct arena *a, const char **at, const char *key) {
  char *start = str_printf(a, "# %s: ", key);
  for (const char *line = *at; *line;) {
    size_t length = strcspn(line, "\n");
    const char *next = line + length + (line[length] == '\n');
    if (strncmp(line, start, strlen(start)) == 0) {
      *at = next;
      return str_ndup(a, line + strlen(start), length - strlen(start));
    }
    line = next;
  }
  return NULL;
}

static struct graph *run_named(struct btc *b, struct graph *g, const char *name) {
  if (strcmp(name, "all") == 0) {
    bool stopped;
    return passes_run(b, g, &stopped);
  }
  for (int i = 0; i < pass_count; i++) {
    if (strcmp(pass_table[i].name, name) != 0) continue;
    struct graph *to = pass_table[i].run(g);
    graph_verify(to, name);
    return to;
  }
  fail_msg("there is no pass %s", name);
  return NULL;
}

static void check_count(const struct graph *g, const char *directive, const char *text) {
  char name[32];
  int expected;
  long long over = 0;
  enum op op;
  if (sscanf(directive, "%31s %d over %lld", name, &expected, &over) < 2 || !op_parse(name, &op))
    fail_msg("no count: %s", directive);
  int count = count_nodes(g, op, over);
  if (count != expected) fail_msg("%d instead of: %s\n%s", count, directive, text);
}

static void check_expectations(struct btc *b, const struct graph *g, const char *source) {
  char *text = text_of_graph(g), *directive;
  for (const char *at = source; (directive = next_directive(b->arena, &at, "count"));)
    check_count(g, directive, text);
  for (const char *at = source; (directive = next_directive(b->arena, &at, "check"));)
    if (!strstr(text, directive)) fail_msg("lacks: %s\n%s", directive, text);
  for (const char *at = source; (directive = next_directive(b->arena, &at, "check-not"));)
    if (strstr(text, directive)) fail_msg("holds: %s\n%s", directive, text);
  free(text);
}

static void run_file(void **state) {
  const char *path = *state;
  struct btc *b = btc_new();
  int source = source_open(b, path, (struct loc){0});
  assert_true(source >= 0);
  const char *text = b->files.data[source].text;
  char *name;
  for (const char *at = text; (name = next_directive(b->arena, &at, "disable"));)
    vec_push(b->arena, &b->opt.disabled, name);
  struct graph *from = graph_parse(b, source), *g = from;
  if (!from) fail_msg("%s", text_of_diagnostics(b));
  graph_verify(from, "parse");
  for (const char *at = text; (name = next_directive(b->arena, &at, "pass"));)
    g = run_named(b, g, name);
  if (g == from) fail_msg("runs no pass");
  assert_same_values(from, g, 1);
  check_expectations(b, g, text);
  btc_free(b);
}

// ---- random graphs ----------------------------------------------------------------------------

struct generator {
  struct graph *g;
  uint64_t state;
  VEC(struct node *) pool;
};

static int roll(struct generator *r, int n) {
  r->state = r->state * 6364136223846793005u + 1442695040888963407u;
  return (int)((r->state >> 33) % (unsigned)n);
}

static struct node *pick(struct generator *r) { return r->pool.data[roll(r, r->pool.len)]; }

// A value of x's shape: one of the pool if there is one, else x.
static struct node *pick_like(struct generator *r, struct node *x) {
  for (int tries = 0; tries < 20; tries++) {
    struct node *y = pick(r);
    if (shape_eq(&x->type.shape, &y->type.shape)) return y;
  }
  return x;
}

static struct node *random_binary(struct generator *r, struct node *x) {
  static const enum op ops[] = {OP_add, OP_sub, OP_mul, OP_mul, OP_max, OP_min};
  static const double constants[] = {0, 1, -1, 2, 0.5, 3};
  struct node *y = roll(r, 3) ? pick_like(r, x) : g_full_like(r->g, x, constants[roll(r, 6)]);
  enum op op = ops[roll(r, 6)];
  return roll(r, 2) ? g_binary(r->g, op, x, y) : g_binary(r->g, op, y, x);
}

static struct node *random_reduction(struct generator *r, struct node *x) {
  int axes[MAX_RANK], n = 0;
  for (int i = 0; i < x->type.shape.rank; i++)
    if (roll(r, 2)) axes[n++] = i;
  static const enum op ops[] = {OP_sum, OP_sum, OP_mean, OP_var};
  return n ? g_reduce(r->g, ops[roll(r, 4)], x, axes, n) : x;
}

// Stretches x to a shape with one axis more, at any place.
static struct node *random_broadcast(struct generator *r, struct node *x) {
  struct shape to = {.rank = x->type.shape.rank + 1};
  int axes[MAX_RANK], extra = roll(r, to.rank);
  if (to.rank > 3) return x;
  for (int i = 0, k = 0; i < to.rank; i++) {
    to.dim[i] = i == extra ? 2 + roll(r, 2) : x->type.shape.dim[k];
    if (i != extra) axes[k++] = i;
  }
  return g_broadcast(r->g, x, &to, axes);
}

static struct node *random_transpose(struct generator *r, struct node *x) {
  int rank = x->type.shape.rank, perm[MAX_RANK];
  for (int i = 0; i < rank; i++) perm[i] = i;
  for (int i = rank - 1; i > 0; i--) {
    int k = roll(r, i + 1), keep = perm[i];
    perm[i] = perm[k];
    perm[k] = keep;
  }
  return g_transpose(r->g, x, perm);
}

// What normalisations are made of: x − mean(x) over some axis, which many rules are about.
static struct node *random_centred(struct generator *r, struct node *x) {
  int rank = x->type.shape.rank, kept[MAX_RANK], n = 0;
  if (rank == 0) return x;
  int axis = roll(r, rank);
  for (int i = 0; i < rank; i++)
    if (i != axis) kept[n++] = i;
  struct node *mean = g_reduce(r->g, OP_mean, x, &axis, 1);
  return g_binary(r->g, OP_sub, x, g_broadcast(r->g, mean, &x->type.shape, kept));
}

static struct node *random_product(struct generator *r, struct node *x) {
  if (x->type.shape.rank != 2) return x;
  struct node *y = g_transpose(r->g, pick_like(r, x), (int[]){1, 0});
  return roll(r, 2) ? g_matmul(r->g, x, y, false, false) : g_matmul(r->g, y, x, false, false);
}

// A choice by a mask, often a mask proper: zero on one side, which may meet its like in a sum.
static struct node *random_choice(struct generator *r, struct node *x) {
  struct node *mask = g_binary(r->g, OP_lt, r->pool.data[0], r->pool.data[1]),
              *zero = g_full_like(r->g, x, 0);
  struct node *y = roll(r, 2) ? zero : pick_like(r, x);
  if (!shape_eq(&mask->type.shape, &x->type.shape))
    mask = g_binary(r->g, OP_lt, x, pick_like(r, x));
  return roll(r, 2) ? g_where(r->g, mask, x, y) : g_where(r->g, mask, y, x);
}

static struct node *random_node(struct generator *r) {
  static const enum op unary[] = {OP_neg, OP_abs, OP_tanh, OP_relu, OP_stop_gradient, OP_neg};
  struct node *x = pick(r);
  switch (roll(r, 9)) {
  case 0: return g_unary(r->g, unary[roll(r, 6)], x);
  case 1: return random_reduction(r, x);
  case 2: return random_broadcast(r, x);
  case 3: return random_transpose(r, x);
  case 4: return random_centred(r, x);
  case 5: return random_product(r, x);
  case 6: return random_choice(r, x);
  default: return random_binary(r, x);
  }
}

static struct graph *random_graph(struct btc *b, unsigned seed) {
  struct generator r = {.g = graph_new(b, "random"), .state = seed * 0x9e3779b97f4a7c15u + 1};
  static const struct shape shapes[] = {
      {2, {2, 3}}, {2, {2, 3}}, {1, {3}}, {0, {0}}, {3, {2, 3, 2}}};
  for (int i = 0; i < 5; i++) {
    struct tensor_type t = {BT_F64, shapes[i]};
    vec_push(b->arena, &r.pool, g_leaf(r.g, OP_param, str_printf(b->arena, "p%d", i), &t));
  }
  for (int i = 0; i < 40; i++) {
    struct node *n = random_node(&r); // before vec_push touches the pool
    vec_push(b->arena, &r.pool, n);
  }
  for (int i = 0; i < 6; i++)
    graph_output(r.g, str_printf(b->arena, "out%d", i), BT_OUTPUT_VALUE,
                 r.pool.data[r.pool.len - 1 - 2 * i]);
  return r.g;
}

static void run_random(void **state) {
  (void)state;
  for (unsigned seed = 0; seed < 400; seed++) {
    struct btc *b = btc_new();
    struct graph *from = random_graph(b, seed), *g = passes_run(b, from, NULL);
    graph_verify(g, "all");
    assert_same_values(from, g, seed);
    assert_int_equal(count_nodes(g, OP_mean, 0) + count_nodes(g, OP_var, 0) +
                         count_nodes(g, OP_stop_gradient, 0),
                     0);
    btc_free(b);
  }
}

// ---- normalisations, differentiated by the compiler -------------------------------------------

static struct node *leaf(struct graph *g, enum op op, const char *name, struct shape s) {
  return g_leaf(g, op, name, &(struct tensor_type){BT_F32, s});
}

// The standard library's batch_norm with whatever follows it: y = (x − μ)·rsqrt(v + ε)·w + b.
static struct node *batch_norm(struct graph *g, struct node *x, struct node *w, struct node *bias) {
  int batch[] = {0, 2, 3}, channel[] = {1};
  const struct shape *s = &x->type.shape;
  struct node *mean = g_reduce(g, OP_mean, x, batch, 3), *v = g_reduce(g, OP_var, x, batch, 3);
  struct node *r = g_unary(g, OP_rsqrt, g_binary(g, OP_add, v, g_constant(g, BT_F32, 1e-5)));
  struct node *centred = g_binary(g, OP_sub, x, g_broadcast(g, mean, s, channel));
  struct node *y = g_binary(g, OP_mul, centred, g_broadcast(g, r, s, channel));
  y = g_binary(g, OP_mul, y, g_broadcast(g, w, s, channel));
  return g_binary(g, OP_add, y, g_broadcast(g, bias, s, channel));
}

static struct graph *simplified(struct btc *b, struct graph *from) {
  graph_verify(from, "gradients");
  struct graph *g = passes_run(b, from, NULL);
  assert_same_values(from, g, 7);
  return g;
}

static void normalises_in_four_sums(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "bn");
  enum { BIG = 4 * 3 * 5 * 5 };
  struct shape big = shape_of(4, (int64_t)4, (int64_t)3, (int64_t)5, (int64_t)5),
               channels = shape_of(1, (int64_t)3);
  struct node *in[3] = {leaf(g, OP_param, "x", big), leaf(g, OP_param, "weight", channels),
                        leaf(g, OP_param, "bias", channels)};
  struct node *y = batch_norm(g, in[0], in[1], in[2]), *d[3];
  graph_gradients(g, y, leaf(g, OP_param, "dy", big), in, 3, d);
  graph_output(g, "y", BT_OUTPUT_VALUE, y);
  for (int i = 0; i < 3; i++)
    graph_output(g, str_printf(b->arena, "d%d", i), BT_OUTPUT_VALUE, d[i]);
  g = simplified(b, g);
  assert_int_equal(count_nodes(g, OP_sum, BIG), 4); // x, (x − μ)², dy, dy·(x − μ)
  assert_int_equal(count_nodes(g, OP_sum, 0), 4);
  assert_int_equal(count_nodes(g, OP_mul, BIG),
                   5); // (x − μ)², scale of y, dy·(x − μ), dy·a, (x − μ)·b
  assert_int_equal(count_nodes(g, OP_add, BIG), 3); // shift of y, two in dx
  assert_int_equal(count_nodes(g, OP_sub, BIG), 1);
  assert_int_equal(count_nodes(g, OP_div, 0) + count_nodes(g, OP_sqrt, 0), 0);
  btc_free(b);
}

// The objective's standardize: the variance is the mean of the square of what was centred already.
static struct node *standardize(struct graph *g, struct node *z) {
  const struct shape *s = &z->type.shape;
  struct node *mean = g_reduce(g, OP_mean, z, (int[]){0}, 1);
  struct node *centred = g_binary(g, OP_sub, z, g_broadcast(g, mean, s, (int[]){1}));
  struct node *v =
      g_reduce(g, OP_mean, g_binary(g, OP_pow, centred, g_constant(g, BT_F32, 2)), (int[]){0}, 1);
  struct node *r = g_unary(g, OP_rsqrt, g_binary(g, OP_add, v, g_constant(g, BT_F32, 1e-5)));
  return g_binary(g, OP_mul, centred, g_broadcast(g, r, s, (int[]){1}));
}

static struct node *sum_of_squares(struct graph *g, struct node *x) {
  int axes[] = {0, 1};
  return g_reduce(g, OP_sum, g_binary(g, OP_pow, x, g_constant(g, BT_F32, 2)), axes,
                  x->type.shape.rank);
}

// Σᵢ (cᵢᵢ − 1)² + λ Σ_{i≠j} cᵢⱼ² with c = sa'·sb / n, sa and sb standardised.
static struct node *barlow_twins(struct graph *g, struct node *za, struct node *zb) {
  double n = (double)za->type.shape.dim[0];
  struct node *sa = g_transpose(g, standardize(g, za), (int[]){1, 0}), *sb = standardize(g, zb);
  struct node *c = g_binary(g, OP_div, g_matmul(g, sa, sb, false, false), g_constant(g, BT_F32, n));
  const struct shape *s = &c->type.shape;
  struct node *eye = g_binary(g, OP_eq, g_iota(g, BT_I32, s, 0), g_iota(g, BT_I32, s, 1));
  struct node *off = g_where(g, eye, g_constant(g, BT_F32, 0), c);
  struct node *on = g_binary(g, OP_sub, g_unary(g, OP_diag, c), g_constant(g, BT_F32, 1));
  return g_binary(g, OP_add, sum_of_squares(g, on), g_scale(g, sum_of_squares(g, off), 0.0051));
}

static void correlates_in_three_products(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "barlow_twins");
  enum { N = 8, D = 5 };
  struct shape s = shape_of(2, (int64_t)N, (int64_t)D);
  struct node *z[2] = {leaf(g, OP_param, "za", s), leaf(g, OP_param, "zb", s)}, *d[2];
  struct node *loss = barlow_twins(g, z[0], z[1]);
  graph_gradients(g, loss, NULL, z, 2, d);
  graph_output(g, "loss", BT_OUTPUT_LOSS, loss);
  graph_output(g, "dza", BT_OUTPUT_VALUE, d[0]);
  graph_output(g, "dzb", BT_OUTPUT_VALUE, d[1]);
  g = simplified(b, g);
  assert_int_equal(count_nodes(g, OP_matmul, 0), 3);
  assert_int_equal(count_nodes(g, OP_sum, N * D),
                   6); // of each view: z, its centred square, dz·centred
  assert_int_equal(count_nodes(g, OP_sum, 0), 8);
  assert_int_equal(
      count_nodes(g, OP_transpose, 0) + count_nodes(g, OP_div, 0) + count_nodes(g, OP_pow, 0), 0);
  btc_free(b);
}

// Chains in which every link could be a mean, a product or a sum of the next: a search that asks
// the same question twice at each link would not return.
static void walks_long_chains(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "chains");
  struct shape s = shape_of(2, (int64_t)3, (int64_t)2), column = shape_of(1, (int64_t)2);
  struct node *x = leaf(g, OP_param, "x", s), *shifted = x, *power = g_unary(g, OP_tanh, x),
              *centred = x;
  for (int i = 0; i < 40; i++) {
    struct node *c = leaf(g, OP_param, str_printf(b->arena, "c%d", i), column);
    shifted = g_binary(g, OP_sub, shifted, g_broadcast(g, c, &s, (int[]){1}));
    power = g_binary(g, OP_mul, power, power);
    struct node *mean = g_reduce(g, OP_mean, centred, (int[]){0}, 1);
    centred = g_binary(g, OP_sub, centred, g_broadcast(g, mean, &s, (int[]){1}));
  }
  struct node *ends[] = {shifted, power, centred};
  for (int i = 0; i < 3; i++)
    graph_output(g, str_printf(b->arena, "sum%d", i), BT_OUTPUT_VALUE,
                 g_reduce(g, OP_sum, ends[i], (int[]){0}, 1));
  g = simplified(b, g);
  assert_int_equal(count_nodes(g, OP_sum, 0), 2); // the centred one is zero
  btc_free(b);
}

// ---- options ----------------------------------------------------------------------------------

static const char small[] = "graph small {\n %0 = param {name: \"p\"} : f32[2]\n %1 = mean(%0) "
                            "{axes: 0} : f32\n output value \"m\" = %1\n}\n";

static void stops_after(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_of_text(b, small);
  bool stopped;
  g = passes_run(b, g, &stopped);
  assert_false(stopped);
  b->opt.stop_after = "expand";
  g = passes_run(b, g, &stopped);
  assert_true(stopped);
  btc_free(b);
}

static void expect_message(void (*set)(struct btc *b), const char *message) {
  struct btc *b = btc_new();
  struct graph *g = graph_of_text(b, small);
  set(b);
  assert_null(passes_run(b, g, NULL));
  char *text = text_of_diagnostics(b);
  if (!strstr(text, message)) fail_msg("'%s' is not in: %s", message, text);
  free(text);
  btc_free(b);
}

static void dump_all(void *user) {
  struct graph *g = user;
  vec_push(g->b->arena, &g->b->opt.dump_after, "all");
  passes_run(g->b, g, NULL);
  die("shown");
}

static void dumps(void **state) {
  (void)state;
  struct btc *b = btc_new();
  char *text = text_of_death(dump_all, graph_of_text(b, small));
  assert_non_null(strstr(text, "# small after expand\ngraph small {"));
  assert_non_null(strstr(text, "constant {value: 0.5} : f32"));
  assert_non_null(strstr(text, "# small after dce: unchanged"));
  free(text);
  btc_free(b);
}

static void misspelt(struct btc *b) { b->opt.stop_after = "fodl"; }
static void unknown(struct btc *b) { vec_push(b->arena, &b->opt.dump_after, "vectorise"); }
static void needed(struct btc *b) { vec_push(b->arena, &b->opt.disabled, "expand"); }

static void needed_later(struct btc *b) { vec_push(b->arena, &b->opt.disabled, "layout"); }

static void diagnoses_options(void **state) {
  (void)state;
  expect_message(misspelt, "--stop-after: there is no pass 'fodl'; did you mean 'fold'?");
  expect_message(unknown, "the passes are expand, fold, reassociate, cse, dce, layout");
  expect_message(needed, "'expand' cannot be disabled");
  expect_message(needed_later, "'layout' cannot be disabled");
}

int main(void) {
  glob_t files;
  if (glob("tests/passes/*.graph", 0, NULL, &files) != 0) {
    fprintf(stderr, "no tests/passes/*.graph: run from the repository's root\n");
    return 1;
  }
  const struct CMUnitTest fixed[] = {cmocka_unit_test(run_random),
                                     cmocka_unit_test(normalises_in_four_sums),
                                     cmocka_unit_test(correlates_in_three_products),
                                     cmocka_unit_test(walks_long_chains),
                                     cmocka_unit_test(dumps),
                                     cmocka_unit_test(stops_after),
                                     cmocka_unit_test(diagnoses_options)};
  enum { FIXED = sizeof fixed / sizeof fixed[0], MOST = 200 };
  struct CMUnitTest tests[MOST];
  size_t n = 0;
  for (; n < FIXED; n++) tests[n] = fixed[n];
  for (size_t i = 0; i < files.gl_pathc && n < MOST; i++)
    tests[n++] = (struct CMUnitTest){files.gl_pathv[i], run_file, NULL, NULL, files.gl_pathv[i]};
  int failures = _cmocka_run_group_tests("passes", tests, n, NULL, NULL);
  globfree(&files);
  return failures;
}
