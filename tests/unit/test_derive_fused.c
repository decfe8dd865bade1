// test_derive_fused.c: derive_fused on objectives as people spell them: the values are those of the
// plain graph, and what is left to read a product is element by element, sums and products.
#include <stdlib.h>

#include "graph_helper.h"
#include "random_graph.h"
#include "regions.h"
#include "spellings.h"

struct fused_case {
  const char *function;
  int products;   // left
  int sums;       // over a product's shape
  bool pointwise; // nothing but element by element, sums and products reads a product
};
static const struct fused_case cases[] = {
    {"barlow_offdiag", 3, 6, true}, // and what it reports
    {"barlow_where", 3, 3, true},
    {"barlow_minus_eye", 3, 3, true},
    {"barlow_root_inside", 3, 3, true},
    {"barlow_less_diagonal", 3, 3, true},
    {"barlow_transposed", 3, 3, true},
    {"barlow_scaled_inside", 3, 3, true},
    {"own_hsic", 3, 3, true},
    {"barlow_divided", 3, 3, true},
    {"own_vicreg", 4, 2, true},
    {"vicreg_diagonal", 4, 2, true},
    {"barlow_symmetrised", 3, 3, false}, // reads c and c' at one place
    {"own_nt_xent", 2, 2, true},
    {"info_nce", 3, 4, true},
    {"uniformity", 3, 3, true},
    {"written_out", 3, 3, true},
    {"scaled_after", 3, 3, true},
    {"divided_by_outer", 3, 3, true},
    {"norm_of_rest", 3, 4, true},
    {"weights_matrix", 3, 3, true},
    {"masked_by_product", 3, 3, true},
    {"rows_then_all", 3, 4, true},
    {"columns_weighted", 3, 3, true},
    {"negated", 3, 3, true},
    {"hsic_shifted_after", 3, 3, true},
    {"hsic_target", 3, 3, true},
    {"hsic_expanded", 3, 4, true},
    {"vicreg_halves", 4, 2, true},
    {"uncentred", 3, 2, true},
};
enum { CASES = sizeof cases / sizeof *cases };

// Sizes at which no two axes are equal, some of them odd; more rows than columns and fewer.
static const int64_t sizes[][2] = {{8, 5}, {7, 19}, {24, 13}, {2, 3}};
enum { SIZES = sizeof sizes / sizeof *sizes };

static bool depends_on_product(const struct node *n) {
  if (n->op == OP_matmul) return true;
  for (int i = 0; i < n->n_in; i++)
    if (depends_on_product(n->in[i])) return true;
  return false;
}

// A product of inputs, which the others are gradients of.
static bool is_first_product(const struct node *n) {
  return n->op == OP_matmul && !depends_on_product(n->in[0]) && !depends_on_product(n->in[1]);
}

// By node id: computed element by element from a first product.
static bool *wide_values(const struct graph *g) {
  bool *wide = NEW_ARRAY(g->b->arena, bool, g->nodes.len);
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    wide[i] = is_first_product(n);
    for (int k = 0; k < n->n_in && op_info(n->op)->class == ELEMENTWISE; k++)
      wide[i] |= wide[n->in[k]->id];
  }
  return wide;
}

static void check_readers(const struct graph *g, const struct fused_case *c) {
  bool *wide = wide_values(g);
  int sums = 0;
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    bool reads = false;
    for (int k = 0; k < n->n_in; k++) reads |= wide[n->in[k]->id];
    sums += reads && n->op == OP_sum;
    if (!reads || !c->pointwise || op_info(n->op)->class == ELEMENTWISE) continue;
    if (n->op != OP_matmul && op_info(n->op)->class != REDUCE)
      fail_msg("%s: %s reads a product", c->function, op_info(n->op)->name);
  }
  if (sums != c->sums)
    fail_msg("%s: %d sums over products instead of %d", c->function, sums, c->sums);
}

// No sum over a gradient of za's shape is left: it was taken over the product's elements.
static void check_gradients(const struct graph *g, const struct fused_case *c, int64_t n,
                            int64_t d) {
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *s = g->nodes.data[i];
    if (s->op != OP_sum || s->in[0]->type.shape.rank != 2) continue;
    const int64_t *dim = s->in[0]->type.shape.dim;
    bool thin = (dim[0] == n || dim[0] == 2 * n) && dim[1] == d;
    if (thin && depends_on_product(s->in[0])) fail_msg("%s: %%%d sums a gradient", c->function, i);
  }
}

// What products read of a wide shape: one value for each first product.
static void check_stored(const struct graph *g, const struct fused_case *c) {
  bool *wide = wide_values(g), *read = NEW_ARRAY(g->b->arena, bool, g->nodes.len);
  int values = 0, first = 0;
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    first += is_first_product(n);
    for (int k = 0; k < n->n_in && n->op == OP_matmul; k++) {
      values += wide[n->in[k]->id] && !read[n->in[k]->id];
      read[n->in[k]->id] = true;
    }
  }
  if (c->pointwise && values != first)
    fail_msg("%s: %d values are read by products", c->function, values);
}

static void fuses(void **state) {
  const struct fused_case *c = *state;
  for (int i = 0; i < SIZES; i++) {
    struct btc *b = btc_new();
    int64_t n = sizes[i][0], d = sizes[i][1];
    struct graph *plain = spelling_graph(b, c->function, n, d);
    note_list notes = {0};
    const char *why = NULL;
    struct graph *fused = derive_fused(plain, &notes, &why);
    if (!fused) fail_msg("%s: %s", c->function, why);
    graph_verify(fused, "derive_fused");
    assert_same_values(plain, fused, (unsigned)i);
    assert_int_equal(count_nodes(fused, OP_diag, 0), 0);
    assert_int_equal(count_nodes(fused, OP_matmul, 0), c->products);
    check_readers(fused, c);
    check_gradients(fused, c, n, d);
    check_stored(fused, c);
    btc_free(b);
  }
}

// ---- what was done, and what is refused -------------------------------------------------------

static void notes_have_places(void **state) {
  (void)state;
  struct btc *b = btc_new();
  note_list notes = {0};
  const char *why = NULL;
  assert_non_null(derive_fused(spelling_graph(b, "barlow_root_inside", 8, 5), &notes, &why));
  assert_int_equal(notes.len, 4);
  for (int i = 0; i < notes.len; i++) assert_true(notes.data[i].loc.line > 0);
  btc_free(b);
}

static void nothing_to_fuse(void **state) {
  (void)state;
  struct btc *b = btc_new();
  note_list notes = {0};
  const char *why = NULL;
  assert_null(derive_fused(spelling_graph(b, "no_product", 8, 5), &notes, &why));
  assert_string_equal(
      why, "there is no product whose value is read here by anything but another product");
  btc_free(b);
}

// sum over n of x * (y f(c)) with c = x'y: y'x is there only transposed, so the sum stays where it
// is.
static const char other_way_round[] =
    "graph other_way {\n"
    "  %0 = input {name: \"x\", kind: 2, view: 0, site: 0} : f32[4, 3]\n"
    "  %1 = input {name: \"y\", kind: 2, view: 0, site: 0} : f32[4, 3]\n"
    "  %2 = matmul(%0, %1) {transpose_a: 1, transpose_b: 0} : f32[3, 3]\n"
    "  %3 = exp(%2) : f32[3, 3]\n"
    "  %4 = matmul(%1, %3) {transpose_a: 0, transpose_b: 0} : f32[4, 3]\n"
    "  %5 = mul(%0, %4) : f32[4, 3]\n"
    "  %6 = sum(%5) {axes: 0} : f32[3]\n"
    "  output value \"s\" = %6\n"
    "}\n";

static void a_product_is_not_its_transpose(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_of_text(b, other_way_round);
  note_list notes = {0};
  const char *why = NULL;
  struct graph *fused = derive_fused(g, &notes, &why);
  assert_non_null(fused);
  assert_same_values(g, fused, 1);
  assert_int_equal(notes.len, 0);
  btc_free(b);
}

static void random_graphs_keep_their_values(void **state) {
  (void)state;
  for (unsigned seed = 0; seed < 60; seed++) {
    struct btc *b = btc_new();
    bool stopped;
    struct graph *g = passes_run(b, random_graph(b, seed), &stopped);
    note_list notes = {0};
    const char *why = NULL;
    struct graph *fused = derive_fused(g, &notes, &why);
    if (fused) {
      graph_verify(fused, "derive_fused");
      assert_same_values(g, fused, seed);
    }
    btc_free(b);
  }
}

// ---- reference tensors ------------------------------------------------------------------------

static const char *const references[][2] = {
    CORRELATION_REFERENCES,
    {"nt_xent_small", "own_nt_xent"},
    {"nt_xent_wide", "own_nt_xent"},
    {"nt_xent_tall", "own_nt_xent"},
};
enum { REFERENCES = sizeof references / sizeof *references };

static void matches_reference(void **state) {
  const char *const *c = *state;
  struct btc *b = btc_new();
  struct reference_file r = reference_objective(b, c[0]);
  note_list notes = {0};
  const char *why = NULL;
  struct graph *fused = derive_fused(
      spelling_graph(b, c[1], r.za->type.shape.dim[0], r.za->type.shape.dim[1]), &notes, &why);
  assert_non_null(fused);
  assert_matches_reference(fused, &r, 1e-9);
  btc_free(b);
}

int main(void) {
  enum { OTHERS = 4 };
  struct CMUnitTest tests[CASES + REFERENCES + OTHERS] = {
      cmocka_unit_test(notes_have_places), cmocka_unit_test(nothing_to_fuse),
      cmocka_unit_test(a_product_is_not_its_transpose),
      cmocka_unit_test(random_graphs_keep_their_values)};
  for (int i = 0; i < CASES; i++)
    tests[OTHERS + i] =
        (struct CMUnitTest){cases[i].function, fuses, NULL, NULL, (void *)(uintptr_t)&cases[i]};
  for (int i = 0; i < REFERENCES; i++)
    tests[OTHERS + CASES + i] = (struct CMUnitTest){references[i][0], matches_reference, NULL, NULL,
                                                    (void *)(uintptr_t)references[i]};
  return _cmocka_run_group_tests("derive_fused", tests, CASES + REFERENCES + OTHERS, NULL, NULL);
}
