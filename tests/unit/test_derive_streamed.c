// test_derive_streamed.c: derive_streamed on objectives as people spell them, in panels so narrow
// that small shapes have several: the values are those of the plain graph, no value of the
// product's shape is left, slices are of what is stored, and panels follow one another.
#include <stdlib.h>
#include <string.h>

#include "graph_helper.h"
#include "random_graph.h"
#include "regions.h"
#include "spellings.h"

struct streamed_case {
  const char *function;
  int groups;   // of products that are cut
  int products; // for each panel of each
};
static const struct streamed_case cases[] = {
    {"barlow_offdiag", 1, 3},
    {"barlow_where", 1, 3},
    {"barlow_minus_eye", 1, 3},
    {"barlow_root_inside", 1, 3},
    {"barlow_less_diagonal", 1, 3},
    {"barlow_transposed", 1, 3},
    {"barlow_scaled_inside", 1, 3},
    {"own_hsic", 1, 3},
    {"barlow_divided", 1, 3},
    {"own_vicreg", 2, 2},
    {"vicreg_diagonal", 2, 2},
    {"uniformity", 1, 3},
    {"info_nce", 1, 3},
};
enum { CASES = sizeof cases / sizeof *cases };

// Rows, columns, width of a panel: of the product of za's columns with zb's, and of their rows with
// rows.
static const int64_t sizes[][3] = {{8, 5, 3}, {13, 23, 7}, {24, 14, 7}, {5, 3, 1}, {17, 33, 16}};
enum { SIZES = sizeof sizes / sizeof *sizes };

static bool reads_rows(const struct streamed_case *c) {
  return str_eq(c->function, "uniformity") || str_eq(c->function, "info_nce");
}

static struct graph *streamed(struct graph *plain, int64_t panel, note_list *notes) {
  const char *why = NULL;
  struct graph *g = derive_streamed(plain, panel, notes, &why);
  if (!g) fail_msg("%s: %s", plain->name, why);
  graph_verify(g, "derive_streamed");
  return g;
}

// ---- structure --------------------------------------------------------------------------------

// dce has run: all of the graph is live.
static void check_no_square(const struct graph *g, int64_t d) {
  for (int i = 0; i < g->nodes.len; i++) {
    const struct shape *s = &g->nodes.data[i]->type.shape;
    if (s->rank == 2 && s->dim[0] == d && s->dim[1] == d)
      fail_msg("%s: %%%d is the whole product's shape", g->name, i);
  }
}

static void check_slices(const struct graph *g) {
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    if (n->op != OP_slice || n->type.shape.rank < 2) continue; // vectors are made once
    enum op of = n->in[0]->op;
    if (of != OP_input && of != OP_matmul)
      fail_msg("%s: %%%d slices %s", g->name, i, op_info(of)->name);
  }
}

// `each` products of a panel stand together: the first depends on inputs alone, the others on it.
static void check_order(const struct graph *g, int each) {
  const struct node *first = NULL;
  for (int i = 0, count = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    if (n->op != OP_matmul) continue;
    if (count++ % each == 0) {
      first = n;
      continue;
    }
    bool *after = NEW_ARRAY(g->b->arena, bool, g->nodes.len);
    after[first->id] = true;
    for (int k = first->id; k <= i; k++)
      for (int o = 0; o < g->nodes.data[k]->n_in; o++)
        after[k] |= after[g->nodes.data[k]->in[o]->id];
    if (!after[i]) fail_msg("%s: %%%d stands among the products of another panel", g->name, i);
  }
}

// Gradients to which every panel adds: y = y + product.
static int count_accumulations(const struct graph *g, int64_t rows, int64_t columns) {
  struct shape thin = shape_of(2, rows, columns);
  int count = 0;
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    if (n->op != OP_add || !shape_eq(&n->type.shape, &thin) || n->in[1]->op != OP_matmul) continue;
    count +=
        n->in[0]->op == OP_matmul || (n->in[0]->op == OP_add && n->in[0]->in[1]->op == OP_matmul);
  }
  return count;
}

static void streams(void **state) {
  const struct streamed_case *c = *state;
  for (int i = 0; i < SIZES; i++) {
    struct btc *b = btc_new();
    int64_t n = sizes[i][0], d = sizes[i][1], w = sizes[i][2], length = reads_rows(c) ? n : d;
    struct graph *plain = spelling_graph(b, c->function, n, d);
    note_list notes = {0};
    struct graph *g = streamed(plain, w, &notes);
    int panels = (int)((length + w - 1) / w);
    assert_same_values(plain, g, (unsigned)i);
    check_no_square(g, length);
    check_slices(g);
    assert_int_equal(count_nodes(g, OP_matmul, 0), c->groups * c->products * panels);
    check_order(g, c->products);
    if (c->products == 3) assert_int_equal(count_accumulations(g, n, d), panels - 1);
    btc_free(b);
  }
}

// A panel's memory serves the next: beside values of za's shape there is room for two panels,
// not 16.
static void panels_share_memory(void **state) {
  (void)state;
  enum { N = 64, D = 1024, WIDTH = 64 };
  struct btc *b = btc_new();
  struct target t;
  target_from_march(&t, "x86-64-v3");
  note_list notes = {0};
  struct graph *g = streamed(spelling_graph(b, "own_hsic", N, D), WIDTH, &notes);
  size_t thin = N * D * sizeof(float), panel = D * WIDTH * sizeof(float);
  struct variant_cost cost = graph_cost(graph_scheduled(g, &(struct schedule){0}), &t);
  assert_in_range(cost.temporaries, panel, 2 * panel + 3 * thin);
  btc_free(b);
}

// ---- widths and reasons -----------------------------------------------------------------------

struct width_case {
  int64_t n, d;
  const char *note;
};
static const struct width_case widths[] = {
    {256, 2048, "made, read and dropped in 8 panels of 256 columns"},
    {100, 1000, "made, read and dropped in 4 panels of 256 columns"},
    {500, 1300, "made, read and dropped in 3 panels of 448 columns"},
    {2048, 8192, "made, read and dropped in 8 panels of 1024 columns"},
    {128, 8192, "made, read and dropped in 32 panels of 256 columns"},
    {128, 20000, "made, read and dropped in 32 panels of 640 columns"},
};

static void chooses_widths(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
    struct btc *b = btc_new();
    note_list notes = {0};
    struct graph *g =
        streamed(spelling_graph(b, "own_hsic", widths[i].n, widths[i].d), 0, &notes);
    assert_string_equal(notes.data[notes.len - 1].text, widths[i].note);
    assert_true(notes.data[notes.len - 1].loc.line > 0);
    int panels = atoi(strstr(widths[i].note, "in ") + 3);
    assert_in_range(g->nodes.len, 1, 200 + 60 * panels);
    btc_free(b);
  }
}

struct refusal_case {
  const char *function;
  int64_t n, d, panel;
  const char *why;
};
static const struct refusal_case refusals[] = {
    {"own_hsic", 512, 300, 0,
     "the product [300, 300] is no larger than one panel of 320 columns"},
    {"own_hsic", 8, 5, 5, "the product [5, 5] is no larger than one panel of 5 columns"},
    {"own_hsic", 8, 67, 2, "panels of 2 columns would be more than 32"},
    {"no_product", 8, 5, 3,
     "there is no product whose value is read here by anything but another product"},
};

static const char *reason(struct btc *b, const char *function, int64_t n, int64_t d,
                          int64_t panel) {
  note_list notes = {0};
  const char *why = NULL;
  assert_null(derive_streamed(spelling_graph(b, function, n, d), panel, &notes, &why));
  return why;
}

static void says_why_not(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
    const struct refusal_case *c = &refusals[i];
    struct btc *b = btc_new();
    assert_string_equal(reason(b, c->function, c->n, c->d, c->panel), c->why);
    btc_free(b);
  }
}

// Where in the file the obstacle is.
static int line_of(struct btc *b, const char *text) {
  int source = source_open(b, "tests/models/spellings.btg", (struct loc){0}), line = 1;
  const char *file = b->files.data[source].text, *at = strstr(file, text);
  assert_non_null(at);
  for (const char *p = file; p < at; p++) line += *p == '\n';
  return line;
}

static void names_the_obstacle(void **state) {
  (void)state;
  struct btc *b = btc_new();
  int softmax = line_of(b, "mean(logsumexp(others"), sum = line_of(b, "(c + c')");
  assert_string_equal(reason(b, "own_nt_xent", 8, 5, 3),
                      str_printf(b->arena,
                                 "sub at line %d, on the product's elements, needs reduce_max at "
                                 "line %d, which is known only after the last panel",
                                 softmax, softmax));
  assert_string_equal(
      reason(b, "barlow_symmetrised", 8, 5, 3),
      str_printf(b->arena,
                 "add at line %d reads the product otherwise than by element, by sum or by product",
                 sum));
  btc_free(b);
}

static const char product_leaves[] =
    "graph leaves {\n"
    "  %0 = input {name: \"x\", kind: 2, view: 0, site: 0} : f32[3, 6]\n"
    "  %1 = matmul(%0, %0) {transpose_a: 1, transpose_b: 0} : f32[6, 6]\n"
    "  %2 = mul(%1, %1) : f32[6, 6]\n"
    "  output value \"y\" = %2\n"
    "}\n";

static void a_product_that_is_a_result_stays(void **state) {
  (void)state;
  struct btc *b = btc_new();
  note_list notes = {0};
  const char *why = NULL;
  assert_null(derive_streamed(graph_of_text(b, product_leaves), 2, &notes, &why));
  assert_string_equal(why, "mul, of the product's elements, is itself a result");
  btc_free(b);
}

// %6 meets the products %2 and %3, and is made of %2: it cannot be cut together with them.
static const char product_of_product[] =
    "graph nested {\n"
    "  %0 = input {name: \"x\", kind: 2, view: 0, site: 0} : f32[3, 6]\n"
    "  %1 = input {name: \"y\", kind: 2, view: 0, site: 0} : f32[3, 6]\n"
    "  %2 = matmul(%0, %1) {transpose_a: 1, transpose_b: 0} : f32[6, 6]\n"
    "  %3 = matmul(%1, %0) {transpose_a: 1, transpose_b: 0} : f32[6, 6]\n"
    "  %4 = tanh(%2) : f32[6, 6]\n"
    "  %5 = matmul(%0, %4) {transpose_a: 0, transpose_b: 0} : f32[3, 6]\n"
    "  %6 = matmul(%0, %5) {transpose_a: 1, transpose_b: 0} : f32[6, 6]\n"
    "  %7 = mul(%2, %3) : f32[6, 6]\n"
    "  %8 = mul(%3, %6) : f32[6, 6]\n"
    "  %9 = sum(%7) {axes: 0 1} : f32\n"
    "  %10 = sum(%8) {axes: 0 1} : f32\n"
    "  output value \"a\" = %9\n"
    "  output value \"b\" = %10\n"
    "}\n";

static void a_product_of_a_product_follows(void **state) {
  (void)state;
  struct btc *b = btc_new();
  note_list notes = {0};
  struct graph *plain = graph_of_text(b, product_of_product), *g = streamed(plain, 4, &notes);
  assert_same_values(plain, g, 1);
  check_no_square(g, 6);
  btc_free(b);
}

// ---- any graph --------------------------------------------------------------------------------

static void random_graphs_keep_their_values(void **state) {
  (void)state;
  int cut = 0;
  for (unsigned seed = 0; seed < 300; seed++) {
    struct btc *b = btc_new();
    bool stopped;
    struct graph *g = passes_run(b, random_graph(b, seed), &stopped);
    note_list notes = {0};
    const char *why = NULL;
    struct graph *to = derive_streamed(g, 1 + seed % 3, &notes, &why);
    assert_true(to || why);
    if (to) {
      graph_verify(to, "derive_streamed");
      assert_same_values(g, to, seed);
      cut++;
    }
    btc_free(b);
  }
  assert_true(cut > 0);
}

// ---- reference tensors ------------------------------------------------------------------------

static const char *const references[][2] = {
    CORRELATION_REFERENCES,
};
enum { REFERENCES = sizeof references / sizeof *references };

static void matches_reference(void **state) {
  const char *const *c = *state;
  struct btc *b = btc_new();
  struct reference_file r = reference_objective(b, c[0]);
  int64_t n = r.za->type.shape.dim[0], d = r.za->type.shape.dim[1];
  note_list notes = {0};
  struct graph *g = streamed(spelling_graph(b, c[1], n, d), d / 3 + 1, &notes);
  assert_matches_reference(g, &r, 1e-9);
  btc_free(b);
}

int main(void) {
  enum { OTHERS = 7 };
  struct CMUnitTest tests[CASES + REFERENCES + OTHERS] = {
      cmocka_unit_test(a_product_of_a_product_follows),
      cmocka_unit_test(panels_share_memory),
      cmocka_unit_test(chooses_widths),
      cmocka_unit_test(says_why_not),
      cmocka_unit_test(names_the_obstacle),
      cmocka_unit_test(a_product_that_is_a_result_stays),
      cmocka_unit_test(random_graphs_keep_their_values)};
  for (int i = 0; i < CASES; i++)
    tests[OTHERS + i] =
        (struct CMUnitTest){cases[i].function, streams, NULL, NULL, (void *)(uintptr_t)&cases[i]};
  for (int i = 0; i < REFERENCES; i++)
    tests[OTHERS + CASES + i] = (struct CMUnitTest){references[i][0], matches_reference, NULL, NULL,
                                                    (void *)(uintptr_t)references[i]};
  return _cmocka_run_group_tests("derive_streamed", tests, CASES + REFERENCES + OTHERS, NULL, NULL);
}
