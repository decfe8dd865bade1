// test_plan.c: order, updates, work in place and places in the arena.
#include "codegen_helper.h"
#include "graph_helper.h"
#include "kernels.h"

#include "ast.h"
#include "codegen_internal.h"
#include "regions.h"

#include <stdlib.h>
#include <string.h>

static const struct tensor_type row = {BT_F32, {.rank = 1, .dim = {1000}}};

static struct node *input(struct graph *g, const char *name) {
  return g_input(g, name, BT_INPUT_ARRAY, 0, 0, &row);
}
// Products of f64 are BLAS's: those of our own pack their operands into memory of the arena.
static struct node *input64(struct graph *g, const char *name) {
  return g_input(g, name, BT_INPUT_ARRAY, 0, 0, &(struct tensor_type){BT_F64, row.shape});
}
static struct node *costly(struct graph *g, struct node *x) { return g_unary(g, OP_tanh, x); }

// What reads everything of x, so that x must be in memory: a product with itself.
static struct node *between(struct graph *g, struct node *x, struct node *y) {
  struct shape s = shape_of(2, (int64_t)40, (int64_t)25);
  return g_matmul(g, g_reshape(g, x, &s), g_reshape(g, y, &s), true, false);
}

static struct node *outer(struct graph *g, struct node *x) { return between(g, x, x); }

static const struct codegen_program *coded(struct btc *b, struct graph *g) {
  struct target t;
  target_from_march(&t, "x86-64-v3");
  struct codegen *cg = codegen_model(step_model(b, &g, 1), &t);
  assert_non_null(cg);
  return &cg->programs.data[0];
}

static size_t arena_sum(const struct fusion *f) {
  size_t sum = 0;
  for (int i = 0; i < f->buffers.len; i++)
    if (f->buffers.data[i]->space == SPACE_ARENA) sum += plan_align(f->buffers.data[i]->bytes);
  return sum;
}

static int writer_of(const struct fusion *f, const char *store) {
  for (int i = f->kernels.len - 1; i >= 0; i--) {
    const struct kernel *k = f->kernels.data[i];
    for (int j = 0; j < k->roots.len; j++) {
      const struct buffer *b = k->roots.data[j].buffer;
      if (b->space == SPACE_STORE && str_eq(f->model->tensors.data[b->slot].name, store)) return i;
    }
  }
  return -1;
}

// A chain needs two places however long it is, and one where each step may overwrite its operand.
static void a_chain_reuses_places(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "chain");
  struct shape square = shape_of(2, (int64_t)40, (int64_t)40);
  struct node *m = g_input(g, "m", BT_INPUT_ARRAY, 0, 0, &(struct tensor_type){BT_F64, square});
  for (int i = 0; i < 8; i++) m = g_matmul(g, m, m, false, false);
  graph_output(g, "out", BT_OUTPUT_VALUE, m);
  const struct codegen_program *p = coded(b, g);
  assert_int_equal(p->plan.arena_bytes, 2 * 40 * 40 * 8);
  assert_true(arena_sum(p->fusion) >= 7 * 40 * 40 * 8);
  btc_free(b);
}

static void maps_work_in_place(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "in_place");
  struct node *x = outer(g, input64(g, "x")), *y = g_unary(g, OP_exp, x);
  struct shape s = x->type.shape;
  struct node *z = g_matmul(
      g, y, g_input(g, "w", BT_INPUT_ARRAY, 0, 0, &(struct tensor_type){BT_F64, s}), false, false);
  graph_output(g, "out", BT_OUTPUT_VALUE, z);
  const struct codegen_program *p = coded(b, g);
  assert_int_equal(p->plan.arena_bytes, plan_align((size_t)shape_count(&s) * 8));
  btc_free(b);
}

// exp(x + x') reads other places than the one it writes: not over its operand. (x is not symmetric.)
static void a_transposing_map_does_not(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "transposed");
  struct node *x = between(g, input64(g, "x"), input64(g, "y")), *t = g_transpose(g, x, (int[]){1, 0});
  struct node *y = g_unary(g, OP_exp, g_binary(g, OP_add, x, t));
  struct attr axis = {.n = 1};
  graph_output(g, "out", BT_OUTPUT_VALUE, graph_node(g, OP_argmax, &y, 1, &axis, NULL)); // reads memory
  const struct codegen_program *p = coded(b, g);
  assert_int_equal(p->plan.arena_bytes, 2 * plan_align((size_t)shape_count(&x->type.shape) * 8));
  btc_free(b);
}

// An optimiser's step goes straight into the store.
static void updates_need_no_memory(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "momentum");
  struct node *w = g_leaf(g, OP_param, "w", &row), *v = g_leaf(g, OP_state, "v", &row);
  struct node *vn = g_binary(g, OP_add, g_scale(g, v, 0.9), costly(g, input(g, "g")));
  graph_update(g, "v", vn);
  graph_update(g, "w", g_binary(g, OP_sub, w, g_scale(g, vn, 0.1)));
  const struct codegen_program *p = coded(b, g);
  assert_int_equal(p->plan.arena_bytes, 0);
  assert_int_equal(p->fusion->kernels.len, 1);
  btc_free(b);
}

// Who reads the old value comes first.
static void readers_of_the_old_value_come_first(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "readers");
  struct node *w = g_leaf(g, OP_param, "w", &row);
  graph_update(g, "w", g_binary(g, OP_add, w, costly(g, input(g, "g"))));
  graph_output(g, "out", BT_OUTPUT_VALUE, outer(g, w));
  const struct codegen_program *p = coded(b, g);
  int writer = writer_of(p->fusion, "w");
  assert_true(writer >= 0);
  for (int i = writer + 1; i < p->fusion->kernels.len; i++)
    for (int j = 0; j < p->fusion->kernels.data[i]->reads.len; j++)
      assert_true(p->fusion->kernels.data[i]->reads.data[j]->node->op != OP_param);
  btc_free(b);
}

static void identical_kernels_are_emitted_once(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "twice");
  for (int i = 0; i < 5; i++)
    graph_output(g, str_printf(b->arena, "o%d", i), BT_OUTPUT_VALUE,
                 costly(g, input(g, str_printf(b->arena, "x%d", i))));
  struct target t;
  target_from_march(&t, "x86-64-v3");
  struct model *m = step_model(b, &g, 1);
  struct codegen *cg = codegen_model(m, &t);
  struct codegen_size s = codegen_size(cg, &m->programs.data[0]);
  assert_int_equal(s.kernels, 5);
  assert_int_equal(s.distinct_kernels, 1);
  btc_free(b);
}

static void make_them_overlap(void *user) {
  struct fusion *f = user;
  for (int i = 0; i < f->buffers.len; i++) f->buffers.data[i]->offset = 0;
  plan_check(f);
}

static void an_overlap_is_fatal(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct graph *g = graph_new(b, "overlap");
  struct node *x = outer(g, input(g, "x")), *y = outer(g, input(g, "y"));
  graph_output(g, "out", BT_OUTPUT_VALUE, g_matmul(g, x, y, false, false));
  const struct codegen_program *p = coded(b, g);
  char *message = text_of_death(make_them_overlap, p->fusion);
  assert_non_null(strstr(message, "overlap"));
  free(message);
  btc_free(b);
}

// Optimisers add tensors while programs are compiled: all have places of their own in the end.
static const char trained[] =
    "module scaled()(x: f32[n, d]) -> f32[n, d] {\n  param weight: f32[d] = 1\n  return x * "
    "weight\n}\n"
    "module momentum(lr: f32)(w: f32[..s], g: f32[..s]) -> f32[..s] {\n  state velocity: f32[..s] "
    "= 0\n"
    "  update velocity = 0.9 * velocity + g\n  return w - lr * velocity\n}\n"
    "layer = scaled()\nprogram fit {\n  data x: f32[4, 8]\n  minimize sum(layer(x)^2)\n  optimizer "
    "momentum(0.1)\n  epochs 1\n}\n";

static void tensors_do_not_overlap(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct model *m =
      model_elaborate(b, parse_file(b, source_add(b, "fit.btg", trained, strlen(trained))));
  if (b->n_errors) diag_flush(b, stderr);
  assert_int_equal(b->n_errors, 0);
  struct target t;
  target_from_march(&t, "x86-64-v3");
  assert_non_null(codegen_model(m, &t));
  assert_int_equal(m->tensors.len, 2);
  for (int i = 1; i < m->tensors.len; i++)
    assert_true(m->tensors.data[i].offset >=
                m->tensors.data[i - 1].offset + m->tensors.data[i - 1].bytes);
  btc_free(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_chain_reuses_places),
      cmocka_unit_test(maps_work_in_place),
      cmocka_unit_test(a_transposing_map_does_not),
      cmocka_unit_test(updates_need_no_memory),
      cmocka_unit_test(readers_of_the_old_value_come_first),
      cmocka_unit_test(identical_kernels_are_emitted_once),
      cmocka_unit_test(an_overlap_is_fatal),
      cmocka_unit_test(tensors_do_not_overlap),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
