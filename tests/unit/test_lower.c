// test_lower.c: structure: what is fused, what is stored, which layouts, how many sweeps.
#include "kernels.h"
#include "codegen_helper.h"

#include "body.h"
#include "graph_helper.h"

#include <stdlib.h>

static struct node *input(struct graph *g, const char *name, struct shape s) {
  return g_input(g, name, BT_INPUT_ARRAY, 0, 0, &(struct tensor_type){BT_F32, s});
}
static struct node *param(struct graph *g, const char *name, struct shape s) {
  return g_leaf(g, OP_param, name, &(struct tensor_type){BT_F32, s});
}
static struct node *conv(struct graph *g, struct node *x, const char *w, int64_t out) {
  struct attr a = {.n = 7, .i = {1, 1, 1, 1, 1, 1, 1}};
  return g_conv(g, OP_conv2d, x,
                param(g, w, shape_of(4, out, x->type.shape.dim[1], (int64_t)3, (int64_t)3)), &a,
                NULL);
}

static struct node *over_channels(struct graph *g, struct node *v, const struct node *like) {
  return g_broadcast(g, v, &like->type.shape, (int[]){1});
}

// relu(batch norm(x)), as the standard library writes it.
static struct node *norm_relu(struct graph *g, struct node *x, const char *name) {
  int axes[] = {0, 2, 3};
  struct shape channels = shape_of(1, x->type.shape.dim[1]);
  struct node *weight = param(g, str_printf(g->b->arena, "%s.weight", name), channels);
  struct node *bias = param(g, str_printf(g->b->arena, "%s.bias", name), channels);
  struct node *mean = g_reduce(g, OP_mean, x, axes, 3), *var = g_reduce(g, OP_var, x, axes, 3);
  struct node *scale = g_unary(g, OP_rsqrt, g_binary(g, OP_add, var, g_full_like(g, var, 1e-5)));
  struct node *centred = g_binary(g, OP_sub, x, over_channels(g, mean, x));
  struct node *y = g_binary(g, OP_mul, g_binary(g, OP_mul, centred, over_channels(g, scale, x)),
                            over_channels(g, weight, x));
  return g_unary(g, OP_relu, g_binary(g, OP_add, y, over_channels(g, bias, x)));
}

static struct fusion *fused(struct graph *g, int lanes) {
  bool stopped;
  struct graph *passed = pass_layout(passes_run(g->b, g, &stopped), lanes);
  graph_verify(passed, "layout");
  return fuse_graph(passed, step_model(g->b, &g, 1), g);
}

// Loop kernels that go over at least `points` elements.
static int sweeps(const struct fusion *f, int64_t points) {
  int n = 0;
  for (int i = 0; i < f->kernels.len; i++) {
    const struct kernel *k = f->kernels.data[i];
    n += k->kind == KERNEL_LOOP && shape_count(&k->space) >= points;
  }
  return n;
}

static void show(const struct fusion *f) {
  for (int i = 0; i < f->kernels.len; i++) {
    const struct kernel *k = f->kernels.data[i];
    print_message("# %s over %lld:", kernel_address(f->arena, k),
                  (long long)shape_count(&k->space));
    for (int j = 0; j < k->roots.len; j++)
      print_message(" %%%d %s", k->roots.data[j].node->id,
                    op_info(k->roots.data[j].node->op)->name);
    print_message(" reads");
    for (int j = 0; j < k->reads.len; j++)
      print_message(" %%%d", k->reads.data[j]->node ? k->reads.data[j]->node->id : -1);
    print_message("\n");
  }
}

static void expect_sweeps(const struct fusion *f, int64_t points, int most) {
  int is = sweeps(f, points);
  if (is > most) show(f);
  assert_true(is <= most);
}

enum { N = 4, C = 32, H = 6 };

static struct node *small_net(struct graph *g) {
  struct node *x = input(g, "x", shape_of(4, (int64_t)N, (int64_t)3, (int64_t)H, (int64_t)H));
  return conv(g, x, "conv1", C);
}

static void batch_norm_forward_is_three_sweeps(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "forward");
  struct node *y = norm_relu(g, small_net(g), "bn");
  graph_output(g, "y", BT_OUTPUT_VALUE, conv(g, y, "conv2", 16));
  struct fusion *f = fused(g, 16);
  expect_sweeps(f, N * C * H * H, 3);
  btc_free(b);
}

// Between two convolutions: backward data, then sums of dy and dy (x - mean), then dx.
static void batch_norm_backward_is_two_sweeps(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "backward");
  struct node *c1 = small_net(g), *y = norm_relu(g, c1, "bn"), *out = conv(g, y, "conv2", 16);
  struct node *seed = input(g, "dout", out->type.shape), *d[4];
  struct node *wrt[] = {
      param(g, "conv1", shape_of(4, (int64_t)C, (int64_t)3, (int64_t)3, (int64_t)3)),
      param(g, "bn.weight", shape_of(1, (int64_t)C)), param(g, "bn.bias", shape_of(1, (int64_t)C)),
      param(g, "conv2", shape_of(4, (int64_t)16, (int64_t)C, (int64_t)3, (int64_t)3))};
  graph_gradients(g, out, seed, wrt, 4, d);
  graph_output(g, "out", BT_OUTPUT_VALUE, out);
  for (int i = 0; i < 4; i++)
    graph_output(g, str_printf(b->arena, "d%d", i), BT_OUTPUT_VALUE, d[i]);
  struct fusion *f = fused(g, 16);
  expect_sweeps(f, N * C * H * H, 3 + 2);
  btc_free(b);
}

// Three products; each view three sweeps forward and two back, the last in its product's epilogue; all
// that is done to the correlation matrix in its product's.
static void barlow_twins_is_three_products_and_eight_sweeps(void **state) {
  (void)state;
  struct btc *b = btc_new();
  const char *root = getenv("BTC_ROOT") ? getenv("BTC_ROOT") : ".";
  int source = source_open(b, str_printf(b->arena, "%s/tests/passes/barlow_twins.graph", root),
                           (struct loc){0});
  struct graph *g = source < 0 ? NULL : graph_parse(b, source);
  if (g == NULL) diag_flush(b, stderr);
  assert_non_null(g);
  struct fusion *f = fused(g, 16);
  int products = 0;
  for (int i = 0; i < f->kernels.len; i++) products += f->kernels.data[i]->kind == KERNEL_PRODUCT;
  assert_int_equal(products, 3);
  expect_sweeps(f, 8 * 5, 2 * (3 + 1));
  expect_sweeps(f, 5 * 5, 2 * (3 + 1));
  btc_free(b);
}

// A momentum step: velocity and weight in one sweep, and what norms want in one more.
static void optimiser_is_one_sweep(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "lars");
  struct shape s = shape_of(2, (int64_t)64, (int64_t)32);
  int axes[] = {0, 1};
  struct node *w = param(g, "w", s), *v = g_leaf(g, OP_state, "v", &w->type), *d = input(g, "g", s);
  d = g_binary(g, OP_add, d, g_scale(g, w, 1e-4));
  struct node *wn = g_unary(g, OP_sqrt, g_reduce(g, OP_sum, g_binary(g, OP_mul, w, w), axes, 2));
  struct node *dn = g_unary(g, OP_sqrt, g_reduce(g, OP_sum, g_binary(g, OP_mul, d, d), axes, 2));
  struct node *vn =
      g_binary(g, OP_add, g_scale(g, v, 0.9),
               g_binary(g, OP_mul, d, g_broadcast(g, g_binary(g, OP_div, wn, dn), &s, NULL)));
  graph_update(g, "v", vn);
  graph_update(g, "w", g_binary(g, OP_sub, w, g_scale(g, vn, 0.1)));
  expect_sweeps(fused(g, 16), 64 * 32, 2);
  btc_free(b);
}

// Between convolutions everything stays in blocks; the results leave row-major.
static void blocks_last_between_convolutions(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "blocks");
  struct node *y = norm_relu(g, small_net(g), "bn");
  graph_output(g, "y", BT_OUTPUT_VALUE, conv(g, y, "conv2", 16));
  const struct graph *l = fused(g, 16)->graph;
  assert_int_equal(count_nodes(l, OP_relayout, 0), 1);
  for (int i = 0; i < l->nodes.len; i++)
    if (l->nodes.data[i]->op == OP_conv2d || l->nodes.data[i]->op == OP_relu)
      assert_int_equal(l->nodes.data[i]->block, 16);
  btc_free(b);
}

// What is costly and wanted by two sweeps is computed once; what is cheap is computed twice.
static void costly_values_are_stored(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct shape s = shape_of(2, (int64_t)32, (int64_t)32);
  for (int costly = 0; costly < 2; costly++) {
    struct graph *g = graph_new(b, "shared");
    struct node *x = input(g, "x", s), *y = x;
    for (int i = 0; i < 4; i++)
      y = costly ? g_unary(g, OP_tanh, y) : g_unary(g, OP_abs, g_binary(g, OP_sub, y, x));
    graph_output(g, "rows", BT_OUTPUT_VALUE, g_reduce(g, OP_sum, y, (int[]){1}, 1));
    graph_output(g, "columns", BT_OUTPUT_VALUE, g_reduce(g, OP_sum, y, (int[]){0}, 1));
    struct fusion *f = fused(g, 16);
    bool stored = false;
    for (int i = 0; i < f->buffers.len; i++) stored |= f->buffers.data[i]->space == SPACE_ARENA;
    assert_int_equal(stored, costly);
  }
  btc_free(b);
}

// Of a vector that is repeated window by window the whole is stored, by one sweep.
static void windows_of_a_vector_are_stored_at_once(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "windows");
  struct node *v = g_unary(g, OP_rsqrt, input(g, "v", shape_of(1, (int64_t)96)));
  for (int64_t i = 0; i < 3; i++) {
    struct shape w = shape_of(1, (int64_t)32), s = shape_of(2, (int64_t)5, (int64_t)32);
    struct node *x = input(g, str_printf(b->arena, "x%d", (int)i), s);
    struct node *part = g_slice(g, v, (int64_t[]){32 * i}, &w);
    graph_output(g, str_printf(b->arena, "y%d", (int)i), BT_OUTPUT_VALUE,
                 g_binary(g, OP_mul, x, g_broadcast(g, part, &s, (int[]){1})));
  }
  struct fusion *f = fused(g, 16);
  if (f->kernels.len != 4) show(f);
  assert_int_equal(f->kernels.len, 4);
  assert_int_equal(shape_count(&f->kernels.data[0]->space), 96);
  assert_true(f->kernels.data[0]->roots.data[0].node->op == OP_rsqrt);
  btc_free(b);
}

// Two products, each with a small sweep after it that reads one common vector: one after the other.
static void small_sweeps_do_not_wait(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "waiting");
  struct node *v = input(g, "v", shape_of(1, (int64_t)32)), *sum[2];
  for (int i = 0; i < 2; i++) {
    struct node *x = input(g, str_printf(b->arena, "x%d", i), shape_of(2, (int64_t)32, (int64_t)32));
    sum[i] = g_reduce(g, OP_sum, g_unary(g, OP_abs, g_matmul(g, x, x, false, false)), (int[]){0}, 1);
    graph_output(g, str_printf(b->arena, "y%d", i), BT_OUTPUT_VALUE,
                 g_unary(g, OP_exp, g_binary(g, OP_mul, sum[i], v)));
  }
  struct fusion *f = fused(g, 16);
  if (f->kernels.len != 4) show(f);
  assert_int_equal(f->kernels.len, 4);
  btc_free(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(batch_norm_forward_is_three_sweeps),
      cmocka_unit_test(batch_norm_backward_is_two_sweeps),
      cmocka_unit_test(barlow_twins_is_three_products_and_eight_sweeps),
      cmocka_unit_test(optimiser_is_one_sweep),
      cmocka_unit_test(blocks_last_between_convolutions),
      cmocka_unit_test(costly_values_are_stored),
      cmocka_unit_test(windows_of_a_vector_are_stored_at_once),
      cmocka_unit_test(small_sweeps_do_not_wait),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
