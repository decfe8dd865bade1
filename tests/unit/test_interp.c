// test_interp.c: the interpreter at sizes that people train with: products by BLAS, outputs alone.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <math.h>
#include <cmocka.h>

#include "graph_helper.h"

static struct tensor64 *leaf_of(struct arena *a, const struct node *n) {
  struct tensor64 *t = tensor64_new(a, &n->type);
  for (int64_t i = 0; i < shape_count(&n->type.shape); i++) t->data[i] = sin((double)(7 * i % 1009) + (double)n->id);
  return t;
}
static const struct tensor64 *leaf(void *user, const struct node *n) { return leaf_of(user, n); }

// Above REFERENCE_BLAS multiplications, no size a multiple of another.
enum { M = 131, K = 103, N = 97 };

static double element(const struct tensor64 *t, bool transposed, int64_t row, int64_t column) {
  return transposed ? t->data[column * t->type.shape.dim[1] + row] : t->data[row * t->type.shape.dim[1] + column];
}

static void large_products(void **state) {
  (void)state;
  for (int flags = 0; flags < 4; flags++) {
    struct btc *b = btc_new();
    bool tx = flags & 1, ty = flags & 2;
    struct graph *g = graph_new(b, "product");
    struct tensor_type x = {BT_F64, tx ? shape_of(2, (int64_t)K, (int64_t)M) : shape_of(2, (int64_t)M, (int64_t)K)};
    struct tensor_type y = {BT_F64, ty ? shape_of(2, (int64_t)N, (int64_t)K) : shape_of(2, (int64_t)K, (int64_t)N)};
    struct node *in[] = {g_leaf(g, OP_param, "x", &x), g_leaf(g, OP_param, "y", &y)};
    struct node *z = g_matmul(g, in[0], in[1], tx, ty);
    struct tensor64 **v = interp_run(g, b->arena, false, leaf, b->arena);
    for (int64_t i = 0; i < M; i++) {
      for (int64_t j = 0; j < N; j++) {
        double want = 0;
        for (int64_t k = 0; k < K; k++) want += element(v[in[0]->id], tx, i, k) * element(v[in[1]->id], ty, k, j);
        if (!(fabs(v[z->id]->data[i * N + j] - want) <= K * 0x1p-52 * K)) fail_msg("transposed %d: [%lld, %lld]", flags, (long long)i, (long long)j);
      }
    }
    btc_free(b);
  }
}

static const char *const text =
    "graph g {\n"
    "  %0 = param {name: \"x\"} : f32[5, 7]\n"
    "  %1 = exp(%0) : f32[5, 7]\n"
    "  %2 = mul(%1, %1) : f32[5, 7]\n"
    "  %3 = add(%2, %1) : f32[5, 7]\n"
    "  %4 = sum(%3) {axes: 0 1} : f32[]\n"
    "  %5 = neg(%0) : f32[5, 7]\n"
    "  output value \"x\" = %0\n"
    "  output value \"s\" = %4\n"
    "  output value \"e\" = %1\n"
    "}\n";

static struct graph *sample(struct btc *b) {
  struct graph *g = graph_of_text(b, text);
  if (!g) fail_msg("%s", text_of_diagnostics(b));
  return g;
}

static void outputs_alone(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = sample(b);
  struct tensor64 **all = interp_run(g, b->arena, false, leaf, b->arena);
  struct tensor64 **outputs = interp_outputs(g, b->arena, 0, leaf, b->arena);
  for (int i = 0; i < g->outputs.len; i++) {
    const struct node *n = g->outputs.data[i].node;
    assert_true(type_eq(&outputs[i]->type, &n->type));
    assert_memory_equal(outputs[i]->data, all[n->id]->data, sizeof(double) * (size_t)shape_count(&n->type.shape));
  }
  btc_free(b);
}

// exp stays, as an output; its square is dropped once the sum is made, neg is dead.
static void bytes_at_most(void **state) {
  (void)state;
  struct btc *b = btc_new();
  assert_true(interp_outputs_bytes(sample(b)) == sizeof(double) * 3 * 35);
  btc_free(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(large_products), cmocka_unit_test(outputs_alone), cmocka_unit_test(bytes_at_most)};
  return cmocka_run_group_tests_name("interp", tests, NULL, NULL);
}
