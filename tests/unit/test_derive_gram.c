// test_derive_gram.c: what is derived without values of a product's size equals the plain graph, and
// nothing else is derived.
//
//   spellings   every function of a group computes the same; each is derived, has no D x D value, and as
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

// Forward and backward of a function of gram.btg or its imports, through the passes.
static struct graph *graph_of(struct btc *b, const char *function, const struct named_type *args, int n) {
  struct program *p = model_function(model_of(b, "tests/models/gram.btg"), function, args, n, true);
  if (!p || b->n_errors) fail_msg("%s: %s", function, text_of_diagnostics(b));
  return passes_run(b, p->graph, NULL);
}

static struct tensor_type matrix(int64_t rows, int64_t columns) {
  return (struct tensor_type){BT_F32, shape_of(2, rows, columns)};
}

static struct graph *graph_of_views(struct btc *b, const char *function, int64_t n, int64_t d) {
  struct named_type args[] = {{"za", matrix(n, d), NULL}, {"zb", matrix(n, d), NULL}, {"w", matrix(d, d), NULL}};
  bool third = strcmp(function, "own_matrix") == 0 || strcmp(function, "as_result") == 0;
  if (strcmp(function, "as_result") == 0) args[2].name = "dout";
  return graph_of(b, function, args, third ? 3 : 2);
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
  assert_same_values(first, g, 2);
  int wide = count_wide(g, D), products = count_nodes(g, OP_matmul, 0);
  if (wide) fail_msg("%s: %d values of %d x %d\n%s", s->function, wide, D, D, text_of_graph(g));
  if (s->products && products != s->products) fail_msg("%s: %d products, not %d\n%s", s->function, products, s->products, text_of_graph(g));
}

static void check_spellings(const struct spelling *s) {
  struct btc *b = btc_new();
  struct graph *first = graph_of_views(b, s->function, N, D);
  for (; s->function; s++) check_spelling(b, first, s);
  btc_free(b);
}

static void spells_barlow_twins(void **state) {
  (void)state;
  check_spellings((struct spelling[]){
      {"barlow_offdiag", 4}, {"barlow_where", 4}, {"barlow_minus_eye", 4}, {"barlow_less_diagonal", 4},
      {"barlow_transposed", 4}, {"barlow_scaled_inside", 4}, {"written_out", 4}, {"scaled_after", 4},
      {"divided_by_outer", 4}, {"norm_of_rest", 4}, {"weights_matrix", 4}, {"masked_by_product", 4},
      {"rows_then_all", 4}, {"columns_weighted", 4}, {"negated", 4}, {NULL, 0}});
}

// Authors differ in a constant factor of the diagonal's weight (0.0714² is not 0.0051), so these stand alone.
static void spells_alone(void **state) {
  (void)state;
  check_spellings((struct spelling[]){{"barlow_root_inside", 4}, {NULL, 0}});
  check_spellings((struct spelling[]){{"barlow_symmetrised", 7}, {NULL, 0}});
}

static void spells_hsic(void **state) {
  (void)state;
  check_spellings((struct spelling[]){
      {"barlow_hsic", 4}, {"hsic_shifted_after", 4}, {"hsic_target", 4}, {"hsic_expanded", 4}, {NULL, 0}});
}

static void spells_vicreg(void **state) {
  (void)state;
  check_spellings((struct spelling[]){{"vicreg", 4}, {"vicreg_halves", 4}, {NULL, 0}});
  check_spellings((struct spelling[]){{"vicreg_diagonal", 4}, {NULL, 0}});
}

static void spells_others(void **state) {
  (void)state;
  check_spellings((struct spelling[]){{"uncentred", 4}, {NULL, 0}});
  check_spellings((struct spelling[]){{"powers", 0}, {NULL, 0}});
  check_spellings((struct spelling[]){{"diagonal_alone", 4}, {NULL, 0}});
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
  expect_refusal("own_matrix", N, D, "a matrix of its own");
  expect_refusal("nt_xent", N, 3, "one by one by");
  expect_refusal("info_nce", N, 3, "one by one by");
  expect_refusal("info_nce", N, D, "one by one by");
}

static void refuses_long_products(void **state) {
  (void)state;
  expect_refusal("barlow_offdiag", LONG, D, "inner size 23");
  expect_refusal("vicreg", LONG, D, "inner size 23");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(spells_barlow_twins), cmocka_unit_test(spells_alone),
      cmocka_unit_test(spells_hsic),         cmocka_unit_test(spells_vicreg),
      cmocka_unit_test(spells_others),       cmocka_unit_test(refuses_near_misses),
      cmocka_unit_test(refuses_long_products),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
