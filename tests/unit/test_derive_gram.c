// test_derive_gram.c: what is derived without values of a product's size equals the plain graph,
// and nothing else is derived.
//
//   spellings   every function of a group computes the same; each is derived, has no D x D value,
//   and as
//               many products as the group says (tests/models/spellings.btg, gram.btg)
//   near misses are refused, with a reason that names what stands in the way
//   references  PyTorch's loss and gradients, on the derived graph
//   random      trees of the operations that the algebra covers
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../compiler/ast.h"
#include "../../compiler/passes.h"
#include "../../compiler/regions.h"
#include "graph_helper.h"
#include "spellings.h"

enum { N = 7, D = 19, LONG = 23 };

// ---- graphs of functions ----------------------------------------------------------------------

static struct model *model_of(struct btc *b, const char *path) {
  b->opt.home = ".";
  int source = source_open(b, path, (struct loc){0});
  assert_true(source >= 0);
  struct file *f = parse_file(b, source);
  if (b->n_errors) fail_msg("%s", text_of_diagnostics(b));
  return model_elaborate(b, f);
}

// Forward and backward of a function of a file or its imports, through the passes.
static struct graph *graph_of(struct btc *b, const char *path, const char *function,
                              const struct named_type *args, int n) {
  struct program *p = model_function(model_of(b, path), function, args, n, true);
  if (!p || b->n_errors) fail_msg("%s: %s", function, text_of_diagnostics(b));
  return passes_run(b, p->graph, NULL);
}

static struct tensor_type matrix(int64_t rows, int64_t columns) {
  return (struct tensor_type){BT_F32, shape_of(2, rows, columns)};
}

static struct graph *graph_of_views(struct btc *b, const char *function, int64_t n, int64_t d) {
  struct named_type args[] = {
      {"za", matrix(n, d), NULL}, {"zb", matrix(n, d), NULL}, {"w", matrix(d, d), NULL}};
  bool third = strcmp(function, "own_matrix") == 0 || strcmp(function, "as_result") == 0;
  if (strcmp(function, "as_result") == 0) args[2].name = "dout";
  return graph_of(b, "tests/models/gram.btg", function, args, third ? 3 : 2);
}

// Spellings of one objective differ in what they report beside it.
static void drop_reports(struct graph *g) {
  int kept = 0;
  for (int i = 0; i < g->outputs.len; i++)
    if (g->outputs.data[i].kind != BT_OUTPUT_REPORT) g->outputs.data[kept++] = g->outputs.data[i];
  g->outputs.len = kept;
}

static struct graph *derived(const struct graph *g) {
  const char *why = NULL;
  note_list notes = {0};
  struct graph *to = derive_gram(g, &notes, &why);
  if (!to) fail_msg("%s is refused: %s\n%s", g->name, why, text_of_graph(g));
  graph_verify(to, "derive_gram");
  assert_true(notes.len > 0);
  return to;
}

// Computed values as large as a product of two axes of length `side`.
static int count_wide(const struct graph *g, int64_t side) {
  int count = 0;
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    count += n->op != OP_input && shape_count(&n->type.shape) >= side * side;
  }
  return count;
}

// ---- spellings --------------------------------------------------------------------------------

struct spelling {
  const char *function;
  int products; // 0: not counted
};

// That outputs of the same name have the same values, up to what rounding in double leaves.
static void check_spelling(struct btc *b, const struct graph *first, const struct spelling *s) {
  struct graph *plain = graph_of_views(b, s->function, N, D), *g = derived(plain);
  printf("  %-22s %d products\n", s->function, count_nodes(g, OP_matmul, 0));
  if (getenv("SHOW")) graph_print(stdout, g);
  assert_same_values(plain, g, 1);
  drop_reports(g);
  assert_same_values(first, g, 2);
  int wide = count_wide(g, D), products = count_nodes(g, OP_matmul, 0);
  if (wide) fail_msg("%s: %d values of %d x %d\n%s", s->function, wide, D, D, text_of_graph(g));
  if (s->products && products != s->products)
    fail_msg("%s: %d products, not %d\n%s", s->function, products, s->products, text_of_graph(g));
}

static void check_spellings(const struct spelling *s) {
  struct btc *b = btc_new();
  struct graph *first = graph_of_views(b, s->function, N, D);
  drop_reports(first);
  for (; s->function; s++) check_spelling(b, first, s);
  btc_free(b);
}

static void spells_barlow_twins(void **state) {
  (void)state;
  check_spellings((struct spelling[]){{"barlow_offdiag", 4},
                                      {"barlow_where", 4},
                                      {"barlow_minus_eye", 4},
                                      {"barlow_less_diagonal", 4},
                                      {"barlow_transposed", 4},
                                      {"barlow_scaled_inside", 4},
                                      {"written_out", 4},
                                      {"scaled_after", 4},
                                      {"divided_by_outer", 4},
                                      {"norm_of_rest", 4},
                                      {"weights_matrix", 4},
                                      {"masked_by_product", 4},
                                      {"rows_then_all", 4},
                                      {"columns_weighted", 4},
                                      {"negated", 4},
                                      {"barlow_einsum", 4},
                                      {"barlow_einsum_implicit", 4},
                                      {NULL, 0}});
}

// Authors differ in a constant factor of the diagonal's weight (0.0714² is not 0.0051), so these
// stand alone.
static void spells_alone(void **state) {
  (void)state;
  check_spellings((struct spelling[]){{"barlow_root_inside", 4}, {NULL, 0}});
  check_spellings((struct spelling[]){{"barlow_symmetrised", 7}, {NULL, 0}});
}

static void spells_hsic(void **state) {
  (void)state;
  check_spellings((struct spelling[]){{"own_hsic", 4},
                                      {"hsic_shifted_after", 4},
                                      {"hsic_target", 4},
                                      {"hsic_expanded", 4},
                                      {NULL, 0}});
}

static void spells_vicreg(void **state) {
  (void)state;
  check_spellings((struct spelling[]){{"own_vicreg", 4}, {"vicreg_halves", 4}, {NULL, 0}});
  check_spellings((struct spelling[]){{"vicreg_diagonal", 4}, {NULL, 0}});
}

static void spells_others(void **state) {
  (void)state;
  check_spellings((struct spelling[]){{"uncentred", 4}, {NULL, 0}});
  check_spellings((struct spelling[]){{"powers", 0}, {NULL, 0}});
  check_spellings((struct spelling[]){{"diagonal_alone", 4}, {NULL, 0}});
}

// Not a square matrix: 7 x 19 x 23, one factor in common.
static void derives_rectangles(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct named_type args[] = {
      {"x", matrix(N, D), NULL}, {"y", matrix(N, LONG), NULL}, {"z", matrix(N, D), NULL}};
  struct graph *plain = graph_of(b, "tests/models/gram.btg", "alignment", args, 3),
               *g = derived(plain);
  assert_same_values(plain, g, 1);
  assert_int_equal(count_wide(g, D), 0);
  // x x', z z', x z', y y', and what multiplies x, y and z: y y' twice, and each of the others
  assert_int_equal(count_nodes(g, OP_matmul, 0), 4 + 2 + 4);
  assert_int_equal(count_nodes(g, OP_transpose, 0), 0);
  btc_free(b);
}

// As many columns as rows: the Gram products are no smaller, but nothing is lost.
static void derives_at_equal_sides(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *plain = graph_of_views(b, "barlow_offdiag", N, N), *g = derived(plain);
  assert_same_values(plain, g, 1);
  assert_int_equal(count_nodes(g, OP_matmul, 0), 4);
  assert_int_equal(count_nodes(g, OP_where, 0), 0);
  btc_free(b);
}

static void derives_after_a_layer(void **state) {
  (void)state;
  struct btc *b = btc_new();
  enum { P = 5 };
  struct named_type args[] = {
      {"za", matrix(N, P), NULL}, {"zb", matrix(N, P), NULL}, {"w", matrix(D, P), NULL}};
  struct graph *plain = graph_of(b, "tests/models/gram.btg", "after_linear", args, 3),
               *g = derived(plain);
  assert_same_values(plain, g, 1);
  assert_int_equal(count_wide(g, D), 0);
  // the layer twice, four of the objective, the gradients of w and of its inputs
  assert_int_equal(count_nodes(g, OP_matmul, 0), 2 + 4 + 4);
  btc_free(b);
}

static void says_what_it_did(void **state) {
  (void)state;
  struct btc *b = btc_new();
  const char *why;
  note_list notes = {0};
  assert_non_null(derive_gram(graph_of_views(b, "barlow_offdiag", N, D), &notes, &why));
  char *all = str_printf(b->arena, "%s", "");
  for (int i = 0; i < notes.len; i++) {
    assert_true(notes.data[i].loc.line > 0);
    all = str_printf(b->arena, "%s%s\n", all, notes.data[i].text);
  }
  printf("%s", all);
  assert_non_null(strstr(all, "7 x 7 Gram products"));
  assert_non_null(strstr(all, "no 19 x 19 value"));
  assert_non_null(strstr(all, "19 dot products of 7"));
  btc_free(b);
}

// ---- refusals ---------------------------------------------------------------------------------

static void expect_refusal(const char *function, int64_t n, int64_t d, const char *reason) {
  struct btc *b = btc_new();
  const char *why = NULL;
  struct graph *g = graph_of_views(b, function, n, d);
  struct graph *to = derive_gram(g, NULL, &why);
  if (to) fail_msg("%s is derived\n%s", function, text_of_graph(to));
  printf("  %s: %s\n", function, why);
  if (!strstr(why, reason)) fail_msg("%s: '%s' is not in: %s", function, reason, why);
  btc_free(b);
}

static void refuses_near_misses(void **state) {
  (void)state;
  expect_refusal("larger_than_mirror", N, D, "one by one by");
  expect_refusal("absolute", N, D, "one by one by");
  expect_refusal("fourth_powers", N, D, "more than twice");
  expect_refusal("cubes", N, D, "more than twice");
  expect_refusal("as_result", N, D, "the result");
  expect_refusal("largest_of_rows", N, D, "one by one by reduce_max");
  expect_refusal("softmax_of_rows", N, D, "one by one by");
  expect_refusal("centred_product", N, D, "digits");
  expect_refusal("difference_of_covariances", N, D, "digits");
  expect_refusal("one_of_two", N, D, "one by one by abs");
  expect_refusal("small_beside_large", N, D, "one by one by abs");
  expect_refusal("identity_elsewhere", N, D, "is [19, 19] itself");
  expect_refusal("own_matrix", N, D, "a [19, 19] matrix of its own");
  expect_refusal("own_nt_xent", N, 3, "one by one by");
  expect_refusal("info_nce", N, 3, "one by one by");
  expect_refusal("info_nce", N, D, "one by one by");
}

// A choice of some squares by a mask that is neither a diagonal nor its complement.
static void refuse_mask(enum op compare, bool of_labels) {
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "mask");
  struct tensor_type z = matrix(N, D), wide = matrix(D, D),
                     line = {BT_I32, shape_of(1, (int64_t)D)};
  struct node *c =
      g_matmul(g, g_leaf(g, OP_param, "za", &z), g_leaf(g, OP_param, "zb", &z), true, false);
  struct node *x[2];
  for (int axis = 0; axis < 2; axis++)
    x[axis] = of_labels ? g_broadcast(g, g_leaf(g, OP_param, "labels", &line), &wide.shape, &axis)
                        : g_iota(g, BT_I32, &wide.shape, axis);
  struct node *mask = g_binary(g, compare, x[0], x[1]);
  struct node *part = g_where(g, mask, g_binary(g, OP_mul, c, c), g_constant(g, BT_F32, 0));
  graph_output(g, "loss", BT_OUTPUT_LOSS, g_reduce(g, OP_sum, part, (int[]){0, 1}, 2));
  const char *why = NULL;
  assert_null(derive_gram(passes_run(b, g, NULL), NULL, &why));
  assert_string_equal(why, "the values of the [19, 19] product are used one by one by where");
  btc_free(b);
}

static void refuses_other_masks(void **state) {
  (void)state;
  refuse_mask(OP_lt, false); // what lies above the diagonal
  refuse_mask(OP_eq, true);  // pairs of one label
}

static void refuses_without_products(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "none");
  struct tensor_type z = matrix(N, D);
  graph_output(g, "out", BT_OUTPUT_VALUE, g_unary(g, OP_exp, g_leaf(g, OP_param, "za", &z)));
  const char *why = NULL;
  assert_null(derive_gram(g, NULL, &why));
  assert_string_equal(why, "it has no product of two matrices");
  btc_free(b);
}

static void refuses_long_products(void **state) {
  (void)state;
  expect_refusal("barlow_offdiag", LONG, D, "inner size 23");
  expect_refusal("own_vicreg", LONG, D, "inner size 23");
}

// ---- references -------------------------------------------------------------------------------

static double largest(const struct tensor64 *t) {
  double most = 0;
  for (int64_t i = 0; i < shape_count(&t->type.shape); i++) most = fmax(most, fabs(t->data[i]));
  return most;
}

// The largest difference, relative to the largest entry of b.
static double distance(const struct tensor64 *a, const struct tensor64 *b) {
  double most = 0;
  assert_true(shape_count(&a->type.shape) == shape_count(&b->type.shape));
  for (int64_t i = 0; i < shape_count(&a->type.shape); i++)
    most = fmax(most, fabs(a->data[i] - b->data[i]));
  return most / largest(b);
}

static void check_reference(const char *name, const char *models, const char *function) {
  struct btc *b = btc_new();
  struct reference_file r = reference_objective(b, name);
  struct shape z = r.za->type.shape;
  struct named_type args[] = {{"za", {BT_F32, z}, NULL}, {"zb", {BT_F32, z}, NULL}};
  struct graph *g = derived(graph_of(b, models, function, args, 2));
  drop_reports(g);
  assert_int_equal(g->outputs.len, 3);
  assert_matches_reference(g, &r, 1e-9);
  btc_free(b);
}

static void agrees_with_references(void **state) {
  (void)state;
  const char *functions = "tests/models/functions.btg", *spellings = "tests/models/spellings.btg";
  check_reference("barlow_twins_wide", functions, "objective_barlow_twins");
  check_reference("barlow_hsic_wide", spellings, "own_hsic");
  check_reference("vicreg_wide", functions, "objective_vicreg");
}

// ---- digits -----------------------------------------------------------------------------------

struct views {
  struct arena *arena;
  double mean, between; // of every entry; how far the views are apart
};

// Views of unit deviation round a mean.
static const struct tensor64 *view_leaf(void *user, const struct node *n) {
  const struct views *v = user;
  struct tensor64 *t = tensor64_new(v->arena, &n->type);
  uint64_t common = 1, own = str_hash(n->attr.s);
  for (int64_t i = 0; i < shape_count(&n->type.shape); i++) {
    double part[2];
    for (int k = 0; k < 2; k++) {
      uint64_t *s = k ? &own : &common;
      *s = *s * 6364136223846793005u + 1442695040888963407u;
      part[k] = 3.4641 * ((double)(*s >> 11) * 0x1p-53 - 0.5);
    }
    t->data[i] = (double)(float)(v->mean + part[0] + v->between * part[1]);
  }
  return t;
}

// How far the outputs computed with every result rounded to f32 are from those in f64.
static double error_of(const struct graph *g, struct views *v) {
  struct tensor64 **exact = interp_run(g, v->arena, false, view_leaf, v),
                  **rounded = interp_run(g, v->arena, true, view_leaf, v);
  double most = 0;
  for (int i = 0; i < g->outputs.len; i++) {
    int id = g->outputs.data[i].node->id;
    most = fmax(most, distance(rounded[id], exact[id]));
  }
  return most;
}

// Rounding does no more harm than in the plain graph: near the optimum, where off-diagonals are
// small; with means 10000 deviations away.
static void check_digits(const char *function, double mean, double between) {
  struct btc *b = btc_new();
  struct views v = {b->arena, mean, between};
  struct graph *plain = graph_of_views(b, function, 32, 67);
  double before = error_of(plain, &v), after = error_of(derived(plain), &v);
  printf("  %s, mean %g, views apart by %g: %.2g, was %.2g\n", function, mean, between, after,
         before);
  assert_true(after <= 3 * before + 0x1p-22);
  btc_free(b);
}

static void keeps_digits(void **state) {
  (void)state;
  static const char *const functions[] = {"barlow_offdiag", "barlow_minus_eye", "own_hsic",
                                          "own_vicreg", "scaled_after"};
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    check_digits(functions[i], 0, 1);
    check_digits(functions[i], 0, 0.01);
    check_digits(functions[i], 10000, 0.1);
  }
}

// ---- costs ------------------------------------------------------------------------------------

// Multiplications and additions; half of them where a product is symmetric because its operands are
// one.
static double flops_of(const struct graph *g) {
  double sum = 0;
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    const struct op_info *op = op_info(n->op);
    int64_t count = shape_count(&n->type.shape);
    if (op->rules->flops)
      sum += op->rules->flops(n) / (n->op == OP_matmul && n->in[0] == n->in[1] ? 2 : 1);
    else if (op->class == ELEMENTWISE)
      sum += (double)count;
    else if (op->class == REDUCE)
      sum += (double)shape_count(&n->in[0]->type.shape);
  }
  return sum;
}

// Three products of 2ND² without the derivation, and 6N²D with it, at N = 256, D = 2048.
static void costs_less(void **state) {
  (void)state;
  static const struct {
    const char *function;
    double products;
  } cases[] = {{"barlow_offdiag", 3}, {"own_hsic", 3}, {"own_vicreg", 4}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct btc *b = btc_new();
    struct graph *plain = graph_of_views(b, cases[i].function, 256, 2048), *g = derived(plain);
    double before = flops_of(plain), after = flops_of(g), ratio = before / after;
    printf("  %s: %.3g -> %.3g, %d -> %d products\n", cases[i].function, before, after,
           count_nodes(plain, OP_matmul, 0), count_nodes(g, OP_matmul, 0));
    if (!(ratio > 0.8 * 2048 / 256)) fail_msg("%s: only %g times less", cases[i].function, ratio);
    btc_free(b);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(spells_barlow_twins),   cmocka_unit_test(spells_alone),
      cmocka_unit_test(spells_hsic),           cmocka_unit_test(spells_vicreg),
      cmocka_unit_test(spells_others),         cmocka_unit_test(derives_at_equal_sides),
      cmocka_unit_test(derives_rectangles),    cmocka_unit_test(derives_after_a_layer),
      cmocka_unit_test(says_what_it_did),      cmocka_unit_test(refuses_near_misses),
      cmocka_unit_test(refuses_other_masks),   cmocka_unit_test(refuses_without_products),
      cmocka_unit_test(refuses_long_products), cmocka_unit_test(agrees_with_references),
      cmocka_unit_test(keeps_digits),          cmocka_unit_test(costs_less),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
