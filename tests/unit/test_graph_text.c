// test_graph_text.c: the text form: parse, print, and what is said about text that is wrong.
#include <glob.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph_helper.h"

static struct btc *b;
static int set_up(void **state) {
  (void)state;
  b = btc_new();
  return 0;
}
static int tear_down(void **state) {
  (void)state;
  btc_free(b);
  return 0;
}

static void expect_fixed_point(const char *text) {
  struct graph *g = graph_of_text(b, text);
  if (!g) fail_msg("%s", text_of_diagnostics(b));
  graph_verify(g, "parse");
  char *once = text_of_graph(g);
  struct graph *again = graph_of_text(b, once);
  if (!again) fail_msg("%s", text_of_diagnostics(b));
  char *twice = text_of_graph(again);
  assert_string_equal(once, twice);
  free(once);
  free(twice);
}

// As printed: every part that a line can have.
static const char whole[] =
    "graph step {\n"
    "  %0 = input {name: \"x\", kind: 0, view: -1, site: 3} : f32[8, 32, 5, 5]\n"
    "  %1 = param {name: \"encoder.conv1.weight\"} : f32[32, 32, 3, 3]\n"
    "  %2 = conv2d(%0, %1) {stride: 1 1, pad: 1 1, dilation: 1 1, groups: 1} : f32[8, 32, 5, 5] "
    "\"encoder.conv1@a\" at \"model.btg\":12:3\n"
    "  %3 = relayout(%2) : f32[8, 32, 5, 5]{block 16} \"encoder.conv1@a\"\n"
    "  %4 = relayout(%3) : f32[8, 32, 5, 5] at \"a \\\"quoted\\\" file.btg\":1:1\n"
    "  %5 = sum(%4) {axes: 0 1 2 3} : f32\n"
    "  %6 = constant {value: 0.1} : f32\n"
    "  %7 = broadcast(%6) : f32[3]\n"
    "  output loss \"loss\" = %5\n"
    "  output report \"a \\\\ b\" = %6\n"
    "  output value \"v\" = %7\n"
    "  update \"encoder.conv1.weight\" = %1\n"
    "}\n";

static void prints_what_it_read(void **state) {
  (void)state;
  struct graph *g = graph_of_text(b, whole);
  if (!g) fail_msg("%s", text_of_diagnostics(b));
  char *text = text_of_graph(g);
  assert_string_equal(text, whole);
  free(text);
  assert_int_equal(g->nodes.data[3]->block, 16);
  assert_int_equal(g->nodes.data[0]->attr.i[INPUT_VIEW], -1);
  assert_int_equal(g->nodes.data[2]->loc.line, 12);
  assert_string_equal(b->files.data[g->nodes.data[2]->loc.file].path, "model.btg");
}

static void reads_numbers_exactly(void **state) {
  (void)state;
  const double values[] = {
      0.1, 1.0 / 3, -0.0, 1e300, 5e-324, INFINITY, -INFINITY, 100, 123456789012345678.0};
  struct graph *g = graph_new(b, "numbers");
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) g_constant(g, BT_F64, values[i]);
  char *text = text_of_graph(g);
  struct graph *back = graph_of_text(b, text);
  assert_non_null(back);
  for (size_t i = 0; i < sizeof values / sizeof *values; i++)
    assert_memory_equal(&back->nodes.data[i]->attr.f, &values[i], sizeof(double));
  free(text);
}

static void numbers_in_order(void **state) {
  (void)state;
  struct graph *g =
      graph_of_text(b, "# any comment\ngraph g { # here too\n%7 = param {name: \"p\"} : f32[2]\n"
                       "%3 = exp(%7) : f32[2] %9 = exp(%7) : f32[2]\noutput value \"v\" = %3 }");
  assert_non_null(g);
  assert_int_equal(g->nodes.len, 3); // equal nodes stay as written
  char *text = text_of_graph(g);
  assert_non_null(strstr(text, "%1 = exp(%0) : f32[2]\n  %2 = exp(%0)"));
  free(text);
  // Built later, an equal node is found.
  assert_ptr_equal(g_unary(g, OP_exp, g->nodes.data[0]), g->nodes.data[1]);
}

static void files_are_fixed_points(void **state) {
  (void)state;
  glob_t files;
  assert_int_equal(glob("tests/passes/*.graph", 0, NULL, &files), 0);
  for (size_t i = 0; i < files.gl_pathc; i++) {
    int source = source_open(b, files.gl_pathv[i], (struct loc){0});
    assert_true(source >= 0);
    expect_fixed_point(b->files.data[source].text);
  }
  globfree(&files);
}

// ---- mistakes ---------------------------------------------------------------------------------

#define P "%0 = param {name: \"p\"} : f32[2, 3]\n"
static const struct {
  const char *body, *message;
} mistakes[] = {
    {P "%1 = exp(%2) : f32[2, 3]", "test.graph:3:10: error: %2 is used before it is computed"},
    {P "%0 = exp(%0) : f32[2, 3]", "%0 is computed twice"},
    {P "%1 = epx(%0) : f32[2, 3]", "there is no op 'epx'; did you mean 'exp'?"},
    {P "%1 = exp(%0, %0) : f32[2, 3]", "exp takes 1 operand, not 2"},
    {P "%1 = exp(%0) : f32[2, 4]", "test.graph:3:6: error: "},
    {P "%1 = exp(%0) : f16[2, 3]", "'f16' where an element type"},
    {P "%1 = exp(%0)", "where ':' should"},
    {P "%1 = exp(%0) : f32[2, 3", "where ']' should"},
    {P "%1 = exp(%0) : f32[2, 3]{block 2}", "cannot be laid out in blocks of 2"},
    {P "%1 = sum(%0) {axis: 1} : f32[2]", "sum has no attribute 'axis'; it has: axes:*"},
    {P "%1 = matmul(%0, %0) {transpose_a: 1} : f32[3, 3]",
     "matmul lacks its attribute 'transpose_b'"},
    {P "%1 = max_pool2d(%0) {size: 2} : f32[2, 3]", "1 of 2 numbers of 'size'"},
    {P "%1 = sum(%0) {axes: 0.5} : f32[3]", "an integer"},
    {P "output lose \"l\" = %0", "where 'loss', 'report', 'value' or 'rows' should stand"},
    {P "output loss \"l = %0", "this string has no end on its line"},
    {P "update \"p\" = %0\nupdate \"p\" = %0", "p is updated twice"},
    {P "%1 = exp(%0) : f32[2, 3] } more", "the end of the text"},
    {P "%1 = exp(%99999999999) : f32[2, 3]", "a node such as %0"},
    {P "%1 = iota {axis: 0} : i32[1, 1, 1, 1, 1, 1, 1]", "at most 6 axes"},
    {P "@", "'@' where a node"},
};

static void explains_mistakes(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
    struct btc *own = btc_new();
    char *text = str_printf(own->arena, "graph g {\n%s\n}\n", mistakes[i].body);
    assert_null(graph_of_text(own, text));
    char *said = text_of_diagnostics(own);
    if (!strstr(said, mistakes[i].message))
      fail_msg("'%s' is not in: %s", mistakes[i].message, said);
    if (strstr(strstr(said, "error:") + 1, "error:")) fail_msg("more than one error: %s", said);
    free(said);
    btc_free(own);
  }
}

// Every prefix of a graph, and every one-byte change of it, is parsed or refused, never a crash.
static void survives_damage(void **state) {
  (void)state;
  size_t length = strlen(whole);
  for (size_t i = 0; i < length; i++) {
    struct btc *own = btc_new();
    char *text = str_ndup(own->arena, whole, length);
    text[i] = "%}\"0x{:("[i % 8];
    graph_of_text(own, text);
    text[i] = 0;
    assert_null(i < length - 2 ? graph_of_text(own, text) : NULL);
    btc_free(own);
  }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(prints_what_it_read),    TEST(reads_numbers_exactly), TEST(numbers_in_order),
      TEST(files_are_fixed_points), TEST(explains_mistakes),     TEST(survives_damage),
  };
  return cmocka_run_group_tests_name("graph_text", tests, NULL, NULL);
}
