// test_graph.c: types, the builder, rewriting, the verifier.
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

static struct tensor_type f32(struct shape s) { return (struct tensor_type){BT_F32, s}; }
static struct node *param(struct graph *g, const char *name, struct shape s) {
  struct tensor_type t = f32(s);
  return g_leaf(g, OP_param, name, &t);
}

// ---- types and ops ----------------------------------------------------------------------------

static void names_types(void **state) {
  (void)state;
  struct tensor_type t = f32(shape_of(2, (int64_t)256, (int64_t)32)), scalar = {BT_I64, {0}};
  assert_string_equal(type_text(b->arena, &t), "f32[256, 32]");
  assert_string_equal(type_text(b->arena, &scalar), "i64");
  assert_string_equal(shape_text(b->arena, &scalar.shape), "[]");
  assert_int_equal(shape_count(&t.shape), 8192);
  assert_int_equal(shape_count(&scalar.shape), 1);
  for (int i = BT_F32; i <= BT_BOOL; i++) {
    dtype back;
    assert_true(dtype_parse(dtype_name((dtype)i), &back));
    assert_int_equal(back, i);
  }
  dtype none;
  assert_false(dtype_parse("f16", &none));
  assert_true(dtype_is_float(BT_F64) && !dtype_is_float(BT_BOOL));
  assert_int_equal(dtype_size(BT_U8), 1);
}

static void names_ops(void **state) {
  (void)state;
  for (int i = 0; i < OP_COUNT; i++) {
    enum op back;
    assert_true(op_parse(op_info((enum op)i)->name, &back));
    assert_int_equal(back, i);
    assert_non_null(op_info((enum op)i)->rules->infer);
  }
  enum op none;
  assert_false(op_parse("convolution", &none));
}

// ---- building ---------------------------------------------------------------------------------

static void shares_equal_nodes(void **state) {
  (void)state;
  struct graph *g = graph_new(b, "g");
  struct shape s = shape_of(2, (int64_t)4, (int64_t)3);
  struct node *x = param(g, "x", s), *y = param(g, "y", s);
  assert_ptr_equal(param(g, "x", s), x);
  assert_ptr_not_equal(x, y);
  assert_ptr_equal(g_binary(g, OP_add, x, y), g_binary(g, OP_add, x, y));
  assert_ptr_not_equal(g_binary(g, OP_sub, x, y), g_binary(g, OP_sub, y, x));
  assert_ptr_not_equal(g_constant(g, BT_F32, 0.0), g_constant(g, BT_F32, -0.0));
  assert_ptr_not_equal(g_constant(g, BT_F32, 1), g_constant(g, BT_F64, 1));
  assert_ptr_not_equal(g_reduce(g, OP_sum, x, (int[]){0}, 1),
                       g_reduce(g, OP_sum, x, (int[]){1}, 1));
  struct tensor_type t = f32(s);
  assert_ptr_not_equal(g_input(g, "v", BT_INPUT_VIEW, 0, 1, &t),
                       g_input(g, "v", BT_INPUT_VIEW, 0, 2, &t));
  graph_verify(g, "build");
}

static void shares_among_many(void **state) {
  (void)state;
  struct graph *g = graph_new(b, "g");
  enum { MANY = 3000 };
  struct node *first[MANY];
  for (int i = 0; i < MANY; i++) first[i] = g_constant(g, BT_F64, i);
  for (int i = 0; i < MANY; i++) assert_ptr_equal(g_constant(g, BT_F64, i), first[i]);
  assert_int_equal(g->nodes.len, MANY);
}

static void keeps_apart_when_told(void **state) {
  (void)state;
  vec_push(b->arena, &b->opt.disabled, "cse");
  struct graph *g = graph_new(b, "g");
  struct node *x = param(g, "x", shape_of(1, (int64_t)4));
  assert_ptr_equal(param(g, "x", shape_of(1, (int64_t)4)), x);
  assert_ptr_not_equal(g_unary(g, OP_exp, x), g_unary(g, OP_exp, x));
}

static void stretches_scalars(void **state) {
  (void)state;
  struct graph *g = graph_new(b, "g");
  struct node *x = param(g, "x", shape_of(2, (int64_t)4, (int64_t)3)),
              *c = g_constant(g, BT_F32, 2);
  assert_true(shape_eq(&g_binary(g, OP_mul, c, x)->type.shape, &x->type.shape));
  assert_true(shape_eq(&g_binary(g, OP_mul, x, c)->type.shape, &x->type.shape));
  assert_int_equal(g_binary(g, OP_mul, c, c)->type.shape.rank, 0);
  struct node *chosen = g_where(g, g_binary(g, OP_lt, c, c), c, x);
  assert_true(shape_eq(&chosen->type.shape, &x->type.shape));
  assert_int_equal(g_where(g, g_binary(g, OP_lt, x, c), c, c)->type.shape.rank, 2);
}

static void drops_idle_requests(void **state) {
  (void)state;
  struct graph *g = graph_new(b, "g");
  struct shape s = shape_of(2, (int64_t)4, (int64_t)3),
               square = shape_of(2, (int64_t)3, (int64_t)3);
  struct node *x = param(g, "x", s), *q = param(g, "q", square);
  assert_ptr_equal(g_reshape(g, x, &s), x);
  assert_ptr_equal(g_transpose(g, x, (int[]){0, 1}), x);
  assert_ptr_equal(g_broadcast(g, x, &s, (int[]){0, 1}), x);
  assert_ptr_equal(g_slice(g, x, (int64_t[]){0, 0}, &s), x);
  assert_ptr_equal(g_pad(g, x, (int64_t[]){0, 0}, &s), x);
  assert_ptr_equal(g_concat(g, &x, 1, 0), x);
  assert_ptr_equal(g_cast(g, x, BT_F32), x);
  assert_ptr_equal(g_scale(g, x, 1), x);
  assert_ptr_equal(g_relayout(g, x, 0), x);
  assert_ptr_equal(g_reduce(g, OP_sum, x, NULL, 0), x);
  // Same shape, other order: these do something.
  assert_ptr_not_equal(g_transpose(g, q, (int[]){1, 0}), q);
  assert_ptr_not_equal(g_broadcast(g, q, &square, (int[]){1, 0}), q);
}

static void replaces_updates(void **state) {
  (void)state;
  struct graph *g = graph_new(b, "g");
  struct node *x = param(g, "x", shape_of(1, (int64_t)2)), *y = g_unary(g, OP_neg, x);
  graph_update(g, "x", x);
  graph_update(g, "x", y);
  assert_int_equal(g->updates.len, 1);
  assert_ptr_equal(g->updates.data[0].node, y);
}

static void add_unequal(void *user) {
  struct graph *g = user;
  g->path = "encoder.fc@a";
  g_binary(g, OP_add, param(g, "x", shape_of(1, (int64_t)2)),
           param(g, "y", shape_of(1, (int64_t)3)));
}

static void dies_of_wrong_shapes(void **state) {
  (void)state;
  char *text = text_of_death(add_unequal, graph_new(b, "g"));
  assert_non_null(strstr(text, "add of encoder.fc@a"));
  assert_non_null(strstr(text, "param {name: \"y\"} : f32[3]"));
  free(text);
}

// ---- rewriting --------------------------------------------------------------------------------

static struct node *negate_params(struct rewrite *r, const struct node *n) {
  return n->op == OP_param ? g_unary(r->to, OP_neg, rewrite_copy(r, n)) : NULL;
}

static void rewrites(void **state) {
  (void)state;
  struct graph *g = graph_new(b, "g");
  g->path = "here";
  struct node *x = param(g, "x", shape_of(1, (int64_t)2)), *dead = g_unary(g, OP_tanh, x);
  struct node *y = g_binary(g, OP_mul, x, x);
  graph_output(g, "y", BT_OUTPUT_VALUE, y);
  graph_update(g, "x", x);
  int *uses = graph_use_counts(g);
  assert_int_equal(uses[x->id],
                   3); // twice by the product, once by the update; not by the dead node
  assert_int_equal(uses[y->id], 1);
  assert_int_equal(uses[dead->id], 0);

  struct graph *to = graph_map(g, negate_params);
  graph_verify(to, "rewrite");
  assert_int_equal(to->nodes.len, 3);
  assert_int_equal(to->updates.data[0].node->op, OP_neg);
  assert_int_equal(to->outputs.data[0].node->op, OP_mul);
  assert_string_equal(to->outputs.data[0].node->path, "here");
  assert_string_equal(to->updates.data[0].node->path, "here");
}

// ---- the verifier -----------------------------------------------------------------------------

static struct graph *sound_graph(void) {
  struct graph *g = graph_new(b, "g");
  struct node *x = param(g, "x", shape_of(2, (int64_t)4, (int64_t)6));
  graph_output(g, "y", BT_OUTPUT_VALUE, g_unary(g, OP_exp, g_unary(g, OP_neg, x)));
  return g;
}

static void verify(void *user) { graph_verify(user, "mangle"); }

static void expect_breach(struct graph *g, const char *what) {
  char *text = text_of_death(verify, g);
  if (!strstr(text, what) || !strstr(text, "mangle")) fail_msg("'%s' is not in: %s", what, text);
  free(text);
}

static void finds_breaches(void **state) {
  (void)state;
  graph_verify(sound_graph(), "build");

  struct graph *g = sound_graph();
  g->nodes.data[1]->in[0] = g->nodes.data[2];
  expect_breach(g, "%1 uses %2 before it is computed");

  g = sound_graph();
  g->nodes.data[1]->in[0] = sound_graph()->nodes.data[0];
  expect_breach(g, "operand 0 of %1 is of another graph");

  g = sound_graph();
  g->nodes.data[2]->id = 7;
  expect_breach(g, "node %7 stands at position 2");

  g = sound_graph();
  g->nodes.data[2]->type.shape.dim[0] = 5;
  expect_breach(g, "> %2 = exp(%1) : f32[5, 6]");

  g = sound_graph();
  g->nodes.data[1]->n_in = 0;
  expect_breach(g, "neg takes 1 operand, not 0");

  g = sound_graph();
  g->nodes.data[1]->block = 4; // 6 channels are not whole blocks of 4
  expect_breach(g, "cannot be laid out in blocks of 4");

  g = sound_graph();
  g->outputs.data[0].node = sound_graph()->nodes.data[2];
  expect_breach(g, "output y is no node of the graph");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(names_types),           TEST(names_ops),
      TEST(shares_equal_nodes),    TEST(shares_among_many),
      TEST(keeps_apart_when_told), TEST(stretches_scalars),
      TEST(drops_idle_requests),   TEST(replaces_updates),
      TEST(dies_of_wrong_shapes),  TEST(rewrites),
      TEST(finds_breaches),
  };
  return cmocka_run_group_tests_name("graph", tests, NULL, NULL);
}
