// test_extern.c: graphs that call C functions, compiled, against the same graphs spelt out.
//
// The functions are this process's own: compiled steps find them as they find the runtime. Each adds
// no rounding of its own, so results are compared bit for bit.
#include "codegen_helper.h"

#include <stdlib.h>
#include <string.h>

enum { M = 6, N = 7 };

void extern_sum_difference(const float *x, const float *y, float *sum, float *difference);
void extern_sum_difference(const float *x, const float *y, float *sum, float *difference) {
  for (int i = 0; i < M * N; i++) {
    sum[i] = x[i] + y[i];
    difference[i] = x[i] - y[i];
  }
}

void extern_doubled(const float *x, double *y);
void extern_doubled(const float *x, double *y) {
  for (int i = 0; i < M * N; i++) y[i] = 2 * (double)x[i];
}

static struct shape shape_mn(void) { return shape_of(2, (int64_t)M, (int64_t)N); }

static struct node *leaf(struct graph *g, const char *name) {
  return g_input(g, name, BT_INPUT_ARRAY, 0, 0, &(struct tensor_type){BT_F32, shape_mn()});
}

static struct node *called(struct graph *g, const char *function, int result, int of,
                           struct node *const *in, int n_in, dtype type) {
  struct attr a = {.n = 2, .i = {[EXTERN_RESULT] = result, [EXTERN_OF] = of}, .s = function};
  return graph_node(g, OP_extern, in, n_in, &a, &(struct tensor_type){type, shape_mn()});
}

static struct node *sum_difference(struct graph *g, bool native, struct node *x, struct node *y, int result) {
  if (native) return called(g, "extern_sum_difference", result, 2, (struct node *[]){x, y}, 2, BT_F32);
  return g_binary(g, result == 0 ? OP_add : OP_sub, x, y);
}

// Results read by other kernels, in either order; called once for both.
static void two_results(struct graph *g, bool native) {
  struct node *x = leaf(g, "x"), *y = leaf(g, "y");
  struct node *difference = sum_difference(g, native, x, y, 1);
  struct node *sum = sum_difference(g, native, x, y, 0);
  graph_output(g, "product", BT_OUTPUT_VALUE, g_binary(g, OP_mul, sum, difference));
  graph_output(g, "sum", BT_OUTPUT_VALUE, sum);
}

// One operand twice, an inlined expression, a reshape, results fed to another call.
static void operands(struct graph *g, bool native) {
  struct node *x = leaf(g, "x");
  struct shape other = shape_of(2, (int64_t)N, (int64_t)M), back = shape_mn();
  struct node *moved = g_reshape(g, g_transpose(g, g_unary(g, OP_neg, x), (int[]){1, 0}), &back);
  struct node *twice = sum_difference(g, native, x, x, 0), *zero = sum_difference(g, native, x, x, 1);
  struct node *again = sum_difference(g, native, moved, twice, 0), *less = sum_difference(g, native, moved, twice, 1);
  graph_output(g, "zero", BT_OUTPUT_VALUE, zero);
  graph_output(g, "again", BT_OUTPUT_VALUE, again);
  graph_output(g, "less", BT_OUTPUT_VALUE, g_reshape(g, less, &other));
}

static void other_types(struct graph *g, bool native) {
  struct node *x = leaf(g, "x"), *wide = g_cast(g, x, BT_F64);
  struct node *y = native ? called(g, "extern_doubled", 0, 1, &x, 1, BT_F64) : g_binary(g, OP_add, wide, wide);
  graph_output(g, "y", BT_OUTPUT_VALUE, y);
}

// A new state that the call writes, from the old one.
static void updates(struct graph *g, bool native) {
  struct node *s = g_leaf(g, OP_state, "s", &(struct tensor_type){BT_F32, shape_mn()});
  graph_update(g, "s", sum_difference(g, native, s, leaf(g, "x"), 0));
  graph_output(g, "left", BT_OUTPUT_VALUE, sum_difference(g, native, s, leaf(g, "x"), 1));
}

static void (*const builders[])(struct graph *g, bool native) = {two_results, operands, other_types, updates};
enum { CASES = sizeof builders / sizeof *builders };

static void agrees_with_the_graph(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *graphs[2 * CASES];
  for (int i = 0; i < 2 * CASES; i++) builders[i / 2](graphs[i] = graph_new(b, "case"), i % 2);
  struct compiled n = step_build(b, graphs, 2 * CASES, "x86-64-v3");
  for (int i = 0; i < CASES; i++) {
    struct step_result plain = step_run(&n, 2 * i, 1, 2), native = step_run(&n, 2 * i + 1, 1, 2);
    assert_int_equal(plain.values.len, native.values.len);
    for (int j = 0; j < plain.values.len; j++)
      assert_memory_equal(plain.values.data[j]->data, native.values.data[j]->data, sizeof(double) * M * N);
  }
  step_close(&n);
  btc_free(b);
}

static const char *kernels_of(struct btc *b, struct graph *g) {
  struct target t;
  target_from_march(&t, "x86-64-v3");
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  codegen_print_kernels(out, codegen_model(step_model(b, &g, 1), &t));
  fclose(out);
  const char *kept = str_printf(b->arena, "%s", text);
  free(text);
  return kept;
}

static void calls_once(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "case");
  two_results(g, true);
  const char *text = kernels_of(b, g), *call = strstr(text, "call_extern_sum_difference");
  assert_non_null(strstr(text, "2 kernels"));
  assert_non_null(call);
  assert_null(strstr(call + 1, "call_extern_sum_difference"));
  btc_free(b);
}

static void survives_text(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "case");
  two_results(g, true);
  char *text = NULL, *again = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  graph_print(out, g);
  fclose(out);
  struct graph *parsed = graph_parse(b, source_add(b, "case.graph", text, strlen(text)));
  assert_non_null(parsed);
  out = open_memstream(&again, &size);
  graph_print(out, parsed);
  fclose(out);
  assert_string_equal(text, again);
  free(text);
  free(again);
  btc_free(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_the_graph), cmocka_unit_test(calls_once),
                                     cmocka_unit_test(survives_text)};
  return cmocka_run_group_tests_name("extern", tests, NULL, NULL);
}
