// test_regions.c: regions: what is found, what it is called, and that every variant, wherever it is put, has
// the values of what it replaces.
#include <stdlib.h>
#include <string.h>

#include "../../compiler/passes.h"
#include "ast.h"
#include "codegen_helper.h"
#include "driver.h"
#include "graph_helper.h"
#include "random_graph.h"

static void assert_clean(struct btc *b) {
  if (b->n_errors == 0) return;
  diag_flush(b, stderr);
  fail_msg("unexpected diagnostics");
}

static struct graph *simplified(struct graph *g) {
  bool stopped;
  struct graph *to = passes_run(g->b, g, &stopped);
  assert_non_null(to);
  return to;
}

// ---- what is found ------------------------------------------------------------------------------

static const char prelude[] = "import std.nn\n"
                              "import std.mlp\n"
                              "import std.objectives\n"
                              "import std.optim\n"
                              "const n = 6\n"
                              "const d = 5\n"
                              "fn twins(za: f32[n, d], zb: f32[n, d], lambda: float = 0.01) -> f32 {\n"
                              "  let c = standardize(za)' @ standardize(zb) / n\n"
                              "  return sum((diag(c) - 1)^2) + lambda * sum(offdiag(c)^2)\n}\n";

// The simplified step of the first program of prelude and `text`.
static struct graph *step_of(struct btc *b, const char *text) {
  b->opt.home = ".";
  const char *whole = str_printf(b->arena, "%s%s", prelude, text);
  struct model *m = model_elaborate(b, parse_file(b, source_add(b, "test.btg", whole, strlen(whole))));
  assert_clean(b);
  struct program *p = &m->programs.data[0];
  if (p->loss) model_differentiate(m, p);
  assert_clean(b);
  return simplified(p->graph);
}

// "pretrain/objective: za zb -> loss d_za d_zb\n", a region a line.
static const char *described(struct btc *b, const struct regions *rs, bool all) {
  const char *text = "";
  for (int i = 0; i < rs->list.len; i++) {
    const struct region *r = &rs->list.data[i];
    if (!all && r->nodes.len == 1) continue;
    text = str_printf(b->arena, "%s%s:", text, r->address);
    for (int k = 0; k < r->input_names.len; k++) text = str_printf(b->arena, "%s %s", text, r->input_names.data[k]);
    text = str_printf(b->arena, "%s ->", text);
    for (int k = 0; k < r->output_names.len; k++) text = str_printf(b->arena, "%s %s", text, r->output_names.data[k]);
    text = str_printf(b->arena, "%s\n", text);
  }
  return text;
}

static int nodes_of(const struct region *r, enum op op) {
  int n = 0;
  for (int i = 0; i < r->nodes.len; i++) n += r->nodes.data[i]->op == op;
  return n;
}

static void check_found(const char *text, bool all, const char *expected) {
  struct btc *b = btc_new();
  struct graph *g = step_of(b, text);
  struct regions *rs = outline(g);
  assert_string_equal(described(b, rs, all), expected);
  assert_same_values(g, regions_splice(g, rs), 1);
  btc_free(b);
}

static void test_single_products(void **state) {
  (void)state;
  check_found("head = linear(3)\n"
              "program p {\n  data x: f32[n, 4], y: i32[n]\n"
              "  minimize cross_entropy(head(x), y)\n  optimizer sgd(lr: 0.1)\n}\n",
              true,
              "p/head/forward@a: x head_weight -> out\n"
              "p/head/dweight@a: in0 x -> out\n");
  check_found("stem = conv(3, 3)\nhead = linear(2)\n"
              "program p {\n  data x: f32[n, 2, 5, 5], y: i32[n]\n"
              "  let h = relu(stem(relu(stem(pad_channels(x)))))\n"
              "  minimize cross_entropy(head(flatten(h)), y)\n  optimizer sgd(lr: 0.1)\n}\n"
              "fn pad_channels(x: f32[n, 2, h, w]) -> f32[n, 3, h, w] = concat([x, slice_of(x)], 1)\n"
              "fn slice_of(x: f32[n, 2, h, w]) -> f32[n, 1, h, w] = x[_, 0..1]\n",
              true,
              "p/stem/forward@a: in0 stem_weight -> out\n"
              "p/stem/forward@b: in0 stem_weight -> out\n"
              "p/head/forward@a: in0 head_weight -> out\n"
              "p/head/dinput@a: in0 head_weight -> out\n"
              "p/head/dweight@a: in0 in1 -> out\n"
              "p/stem/dinput@b: in0 stem_weight -> out\n"
              "p/stem/dweight@b: in0 in1 -> out\n"
              "p/stem/dweight@a: in0 in1 -> out\n");
}

#define TRAINED "  optimizer sgd(lr: 0.1, momentum: 0.9)\n}\n"
static const char two_views[] = "pretrain/objective: za zb -> loss d_za d_zb\n";

// Whatever z comes from, the region begins where the layers end.
static void test_where_it_begins(void **state) {
  (void)state;
  check_found("head = linear(d)\n"
              "program pretrain {\n  data x: f32[n, 4], y: f32[n, 4]\n"
              "  let za = head(x)\n  let zb = head(y)\n"
              "  minimize twins(za, zb, 0.01)\n" TRAINED,
              false, two_views);
  check_found("head = linear(d, bias: false)\n"
              "program pretrain {\n  data x: f32[n, 4], y: f32[n, 4]\n"
              "  minimize twins(head(x), head(y), 0.01)\n" TRAINED,
              false, two_views);
  check_found("projector = mlp([7, d])\n"
              "program pretrain {\n  data x: f32[n, 4], y: f32[n, 4]\n"
              "  let za = projector(x)\n  let zb = projector(y)\n"
              "  minimize twins(za, zb, 0.01)\n"
              "  report spread: mean(var(za, over: 0))\n" TRAINED,
              false, "pretrain/objective: za zb -> loss spread d_za d_zb\n");
}

// What lies between the last layer and the product is inside, and what goes in then has no name. (The mean
// of what leaves a batch norm is its bias, known to pass_fold.c: the difference goes in.)
static void test_nameless(void **state) {
  (void)state;
  check_found("head = [linear(d), batch_norm()]\n"
              "program pretrain {\n  data x: f32[n, 4], y: f32[n, 4]\n"
              "  minimize twins(head(x), head(y), 0.01)\n" TRAINED,
              false, "pretrain/objective: in0 in1 -> loss d_in0 d_in1\n");
  check_found("head = batch_norm()\n"
              "program pretrain {\n  data x: f32[n, d], y: f32[n, d]\n"
              "  minimize twins(head(x), head(y), 0.01)\n" TRAINED,
              false, "pretrain/objective: in0 in1 -> loss d_in0 d_in1\n");
  check_found("head = [linear(d), relu]\n"
              "program pretrain {\n  data x: f32[n, 4], y: f32[n, 4]\n"
              "  minimize twins(head(x), head(y), 0.01)\n" TRAINED,
              false, "pretrain/objective: in0 in1 -> loss d_in0 d_in1\n");
}

static const char others[] =
    "fn covariance(z: f32[n, d]) -> f32[d, d] {\n"
    "  let centred = z - mean(z, over: n)\n  return centred' @ centred / (n - 1)\n}\n"
    "fn spread(z: f32[n, d]) -> f32 = mean(relu(1 - sqrt(var(z, over: n) + 1e-4)))\n"
    "fn decorrelate(za: f32[n, d], zb: f32[n, d]) -> f32 =\n"
    "  25 * mean((za - zb)^2) + 25 * (spread(za) + spread(zb))\n"
    "  + sum(offdiag(covariance(za))^2) / d + sum(offdiag(covariance(zb))^2) / d\n"
    "fn unit_rows(z: f32[n, d]) -> f32[n, d] = z / sqrt(sum(z^2, over: d))\n"
    "fn contrast(za: f32[n, d], zb: f32[n, d]) -> f32 {\n"
    "  let s = unit_rows(za) @ unit_rows(zb)' / 0.2\n"
    "  return mean(logsumexp(s, over: 1) - diag(s))\n}\n"
    "head = linear(d, bias: false)\n";

static void test_several_products_are_one(void **state) {
  (void)state;
  const char *vicreg = "program pretrain {\n  data x: f32[n, 4], y: f32[n, 4]\n"
                       "  minimize decorrelate(head(x), head(y))\n" TRAINED;
  const char *both = "program pretrain {\n  data x: f32[n, 4], y: f32[n, 4]\n"
                     "  let za = head(x)\n  let zb = head(y)\n"
                     "  minimize twins(za, zb, 0.1) + contrast(za, zb)\n" TRAINED;
  struct btc *b = btc_new();
  check_found(str_printf(b->arena, "%s%s", others, vicreg), false, two_views);
  check_found(str_printf(b->arena, "%s%s", others, both), false, two_views);
  struct graph *g = step_of(b, str_printf(b->arena, "%s%s", others, vicreg));
  struct regions *rs = outline(g);
  assert_true(nodes_of(&rs->list.data[0], OP_matmul) >= 4); // two covariances, forward and backward
  btc_free(b);
}

// The scores of attention are gone before the next layer, but the backward pass, which comes after it,
// wants them: then only the gradient of the scores is a region's own.
static void test_layers_between(void **state) {
  (void)state;
  const char *attention = "q = linear(d)\nk = linear(d)\nv = linear(d)\nlast = linear(9)\n"
                          "fn attend(x: f32[n, c], y: i32[n]) -> f32 {\n"
                          "  let a = softmax(q(x) @ k(x)', over: 1) @ v(x)\n"
                          "  return cross_entropy(last(a), y)\n}\n";
  struct btc *b = btc_new();
  check_found(str_printf(b->arena, "%sprogram p {\n  data x: f32[n, 4], y: i32[n]\n  minimize attend(x, y)\n" TRAINED, attention), false,
              "p/attend/region: in0 in1 in2 in3 in4 in5 in6 in7 -> out0 out1\n");
  check_found(str_printf(b->arena, "%sprogram p {\n  data x: f32[n, 4], y: i32[n]\n  report r: attend(x, y)\n}\n", attention), false,
              "p/attend/region: in0 in1 in2 -> out0\n");
  btc_free(b);
}

// What comes before a layer that the region begins behind is not inside, nor what only it leads to.
static void test_before_a_layer(void **state) {
  (void)state;
  check_found("head = linear(d, bias: false)\n"
              "program pretrain {\n  data x: f32[n, 4], y: f32[n, 4]\n"
              "  let u = tanh(x)\n"
              "  minimize twins(head(u), head(y), 0.01) + mean(u^2)\n"
              "  report s: sum(exp(u))\n" TRAINED,
              false, "pretrain/objective: za zb u -> loss d_za d_zb\n");
}

// The gradient of a bias, from what the gradient of the layer is not: it leaves as a sum.
static void test_sums_leave(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = step_of(b, "head = linear(d)\n"
                               "fn apart(za: f32[n, d], zb: f32[n, d]) -> f32 = 3 * mean((za - zb)^2) + twins(za, zb)\n"
                               "program pretrain {\n  data x: f32[n, 4], y: f32[n, 4]\n"
                               "  minimize apart(head(x), head(y))\n" TRAINED);
  const struct region *r = &outline(g)->list.data[0];
  assert_true(r->outputs.len > 3);
  for (int i = 3; i < r->outputs.len; i++) assert_int_equal(r->outputs.data[i]->type.shape.rank, 1);
  btc_free(b);
}

// A product whose result is wanted for itself is no objective.
static void test_escapes(void **state) {
  (void)state;
  check_found("program p {\n  data x: f32[n, d], y: f32[n, d], z: i32[n]\n"
              "  let c = tanh(x @ y')\n  evaluate knn(c, z)\n  report r: sum(c^2)\n}\n",
              false, "");
  check_found("program p {\n  data x: f32[n, d], y: f32[n, d]\n  report r: sum((x @ y')^2)\n}\n",
              false, "p/r/region: x y -> r\n");
}

// ---- random objectives --------------------------------------------------------------------------

struct spelling {
  struct graph *g;
  unsigned state;
};

static int pick(struct spelling *s, int n) {
  s->state = s->state * 1664525u + 1013904223u;
  return (int)((s->state >> 8) % (unsigned)n);
}

static struct node *over(struct graph *g, struct node *z, int axis) {
  int kept = 1 - axis;
  return g_broadcast(g, g_reduce(g, OP_mean, z, &axis, 1), &z->type.shape, &kept);
}

static struct node *number(struct graph *g, double x) { return g_constant(g, BT_F32, x); }

// One of: as it is, centred, standardised, centred with its variance from var, of unit rows; then a function of it.
static struct node *normalised(struct spelling *s, struct node *z) {
  struct graph *g = s->g;
  int axis = pick(s, 2), kept = 1 - axis, how = pick(s, 5);
  if (how == 4) z = g_unary(g, OP_tanh, z);
  if (how == 0) return z;
  struct node *centred = g_binary(g, OP_sub, z, over(g, z, axis));
  if (how == 1) return centred;
  struct node *square = g_binary(g, OP_mul, centred, centred);
  struct node *v = how == 2 ? g_reduce(g, OP_mean, square, &axis, 1) : g_reduce(g, OP_var, z, &axis, 1);
  struct node *root = g_unary(g, OP_rsqrt, g_binary(g, OP_add, v, number(g, 1e-2)));
  return g_binary(g, OP_mul, centred, g_broadcast(g, root, &z->type.shape, &kept));
}

// A square matrix by samples or by features, of one view or of both.
static struct node *square_product(struct spelling *s, struct node *a, struct node *b) {
  bool of_samples = pick(s, 3) == 0, single = pick(s, 3) == 0;
  struct node *c = g_matmul(s->g, a, single ? a : b, !of_samples, of_samples);
  if (pick(s, 2)) c = g_scale(s->g, c, 1.0 / (double)a->type.shape.dim[0]);
  if (pick(s, 4) == 0) c = g_transpose(s->g, c, (int[]){1, 0});
  if (pick(s, 4) == 0) c = g_binary(s->g, OP_add, c, number(s->g, 1));
  return c;
}

static struct node *total(struct graph *g, struct node *x) {
  int axes[2] = {0, 1};
  return g_reduce(g, OP_sum, x, axes, x->type.shape.rank);
}

static struct node *on_diagonal(struct spelling *s, struct node *c) {
  struct graph *g = s->g;
  struct tensor_type index = {BT_I32, c->type.shape};
  return g_binary(g, OP_eq, g_iota(g, BT_I32, &index.shape, 0), g_iota(g, BT_I32, &index.shape, 1));
}

static struct node *squares(struct graph *g, struct node *x) { return total(g, g_binary(g, OP_mul, x, x)); }

// Terms over the entries, the diagonal, the rest, rows; and one that is no sum of squares.
static struct node *term(struct spelling *s, struct node *c) {
  struct graph *g = s->g;
  int axis = 1;
  switch (pick(s, 6)) {
  case 0: return squares(g, c);
  case 1: return squares(g, g_binary(g, OP_sub, g_unary(g, OP_diag, c), number(g, 1)));
  case 2: return squares(g, g_where(g, on_diagonal(s, c), number(g, 0), c));
  case 3: {
    struct node *off = g_where(g, on_diagonal(s, c), g_binary(g, OP_sub, c, number(g, 1)), g_scale(g, c, 0.1));
    return squares(g, off);
  }
  case 4: return squares(g, g_reduce(g, OP_sum, c, &axis, 1));
  default: return total(g, g_unary(g, OP_log, g_reduce(g, OP_sum, g_unary(g, OP_exp, g_unary(g, OP_tanh, c)), &axis, 1)));
  }
}

// A loss of two views with its gradients by both.
static struct graph *random_objective(struct btc *b, unsigned seed) {
  struct spelling s = {graph_new(b, str_printf(b->arena, "random%u", seed)), seed * 2654435761u + 1};
  struct graph *g = s.g;
  struct tensor_type type = {BT_F32, shape_of(2, (int64_t)(2 + pick(&s, 9)), (int64_t)(2 + pick(&s, 12)))};
  struct node *z[2] = {g_input(g, "za", BT_INPUT_ARRAY, -1, 0, &type), g_input(g, "zb", BT_INPUT_ARRAY, -1, 0, &type)};
  struct node *a = normalised(&s, z[0]), *c = normalised(&s, z[1]), *loss = NULL;
  int terms = 1 + pick(&s, 3);
  struct node *product = square_product(&s, a, c);
  for (int i = 0; i < terms; i++) {
    struct node *t = g_scale(g, term(&s, product), 0.25 * (1 + pick(&s, 8)));
    loss = loss ? g_binary(g, OP_add, loss, t) : t;
    if (pick(&s, 4) == 0) product = square_product(&s, c, a);
  }
  if (pick(&s, 3) == 0) loss = g_binary(g, OP_add, loss, squares(g, g_binary(g, OP_sub, z[0], z[1])));
  struct node *d[2];
  graph_gradients(g, loss, NULL, z, 2, d);
  graph_output(g, "out", BT_OUTPUT_VALUE, loss);
  for (int i = 0; i < 2; i++)
    if (d[i]) graph_output(g, i ? "dzb" : "dza", BT_OUTPUT_VALUE, d[i]);
  return g;
}

// Each variant of the region by itself, and put into the graph. Panels are narrow, or there would be one.
static int check_variants(const struct graph *g, struct regions *rs, struct region *r, unsigned seed) {
  region_derive(r);
  if (r->nodes.len > 1) region_derive_panel(r, "streamed", 1 + seed % 5);
  for (int i = 0; i < r->variants.len; i++) {
    assert_same_values(r->variants.data[0].graph, r->variants.data[i].graph, seed);
    r->chosen = i;
    struct graph *spliced = regions_splice(g, rs);
    assert_same_values(g, spliced, seed + 1);
    assert_int_equal(outline(spliced)->list.len > 0, 1);
  }
  r->chosen = 0;
  return r->variants.len;
}

static void test_random_objectives(void **state) {
  (void)state;
  int variants = 0, objectives = 0;
  for (unsigned seed = 0; seed < 300; seed++) {
    struct btc *b = btc_new();
    struct graph *g = simplified(random_objective(b, seed));
    struct regions *rs = outline(g);
    bool found = rs->list.len > 0 && rs->list.data[0].nodes.len > 1;
    if (found) {
      objectives++;
      assert_string_equal(rs->list.data[0].address, str_printf(b->arena, "random%u/objective", seed));
      for (int i = 1; i < rs->list.len; i++) assert_int_equal(rs->list.data[i].nodes.len, 1);
    }
    for (int i = 0; i < rs->list.len; i++) variants += check_variants(g, rs, &rs->list.data[i], seed);
    btc_free(b);
  }
  print_message("%d objectives, %d variants\n", objectives, variants);
  assert_true(objectives >= 250);
}

// ---- compiled -----------------------------------------------------------------------------------

enum { COMPILED = 12 };

// Whether any of the graphs has an objective that can be computed this way.
static bool anyone_has(struct graph *const *g, const char *variant, int64_t panel) {
  for (int i = 0; i < COMPILED; i++) {
    struct regions *rs = outline(simplified(g[i]));
    if (rs->list.len == 0 || rs->list.data[0].nodes.len == 1) continue;
    region_derive(&rs->list.data[0]);
    if (panel) region_derive_panel(&rs->list.data[0], variant, panel);
    if (region_variant(&rs->list.data[0], variant) >= 0) return true;
  }
  return false;
}

// What C computes does not depend on the variant, at sizes that no vector divides.
static void check_compiled(const char *variant, int64_t panel) {
  struct btc *b = btc_new();
  struct graph *g[COMPILED];
  for (int i = 0; i < COMPILED; i++) g[i] = random_objective(b, (unsigned)i);
  if (anyone_has(g, variant, panel)) {
    const char *arguments = panel ? str_printf(b->arena, "(panel: %d)", (int)panel) : "";
    vec_push(b->arena, &b->opt.variants, str_printf(b->arena, "objective=%s%s", variant, arguments));
    struct compiled n = step_build(b, g, COMPILED, "native");
    for (int i = 0; i < COMPILED; i++) step_check(&n, i, 3);
    step_close(&n);
  } else {
    print_message("none of %d objectives has the variant %s\n", COMPILED, variant);
  }
  btc_free(b);
}

static void test_compiled(void **state) {
  (void)state;
  check_compiled("unfused", 0);
  check_compiled("fused", 0);
  check_compiled("gram", 0);
  check_compiled("streamed", 3);
}

// ---- random steps -------------------------------------------------------------------------------

static void test_random_steps(void **state) {
  (void)state;
  int regions = 0;
  for (unsigned seed = 0; seed < 150; seed++) {
    struct btc *b = btc_new();
    struct graph *g = simplified(random_graph(b, seed));
    struct regions *rs = outline(g);
    regions += rs->list.len;
    assert_same_values(g, regions_splice(g, rs), seed);
    btc_free(b);
  }
  assert_true(regions > 150);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_single_products),
      cmocka_unit_test(test_where_it_begins),
      cmocka_unit_test(test_nameless),
      cmocka_unit_test(test_several_products_are_one),
      cmocka_unit_test(test_layers_between),
      cmocka_unit_test(test_before_a_layer),
      cmocka_unit_test(test_sums_leave),
      cmocka_unit_test(test_escapes),
      cmocka_unit_test(test_random_objectives),
      cmocka_unit_test(test_compiled),
      cmocka_unit_test(test_random_steps),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
