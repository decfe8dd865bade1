// test_fuse_product.c: what is computed together with products: kernels and memory counted, values
// against the interpreter at three vector widths, with one thread and with two.
#include "codegen_helper.h"
#include "codegen_internal.h"
#include "regions.h"

#include <string.h>

static const char *const marches[] = {"x86-64", "x86-64-v3", "x86-64-v4"};

// ---- building ---------------------------------------------------------------------------------

#define SHAPE(...)                                                                                 \
  ({                                                                                               \
    int64_t dims_[] = {__VA_ARGS__};                                                               \
    struct shape s_ = {.rank = (int)(sizeof dims_ / sizeof *dims_)};                               \
    memcpy(s_.dim, dims_, sizeof dims_);                                                           \
    s_;                                                                                            \
  })

static struct node *in(struct graph *g, const char *name, struct shape s) {
  return g_input(g, name, BT_INPUT_ARRAY, 0, 0, &(struct tensor_type){BT_F32, s});
}
static void out(struct graph *g, struct node *n) {
  graph_output(g, str_printf(g->b->arena, "out%d", g->outputs.len), BT_OUTPUT_VALUE, n);
}
static struct node *add(struct graph *g, struct node *x, struct node *y) {
  return g_binary(g, OP_add, x, y);
}
static struct node *sub(struct graph *g, struct node *x, struct node *y) {
  return g_binary(g, OP_sub, x, y);
}
static struct node *mul(struct graph *g, struct node *x, struct node *y) {
  return g_binary(g, OP_mul, x, y);
}
static struct node *product(struct graph *g, struct node *x, struct node *y) {
  return g_matmul(g, x, y, false, false);
}
// Over the axes of a mask.
static struct node *sum(struct graph *g, struct node *x, unsigned axes) {
  int list[MAX_RANK], n = 0;
  for (int i = 0; i < x->type.shape.rank; i++)
    if ((axes >> i) & 1) list[n++] = i;
  return g_reduce(g, OP_sum, x, list, n);
}
// v along the last axes of like, or with `axis` along that one.
static struct node *along(struct graph *g, struct node *v, int axis, const struct node *like) {
  return g_broadcast(g, v, &like->type.shape, &axis);
}
static struct node *eye(struct graph *g, const struct node *like) {
  return g_binary(g, OP_eq, g_iota(g, BT_I32, &like->type.shape, 0),
                  g_iota(g, BT_I32, &like->type.shape, 1));
}

enum { ROWS = 1, COLUMNS = 2, ALL = 3 }; // axes of a matrix that a sum is over

// ---- epilogues --------------------------------------------------------------------------------

static void linear_layer(struct graph *g) {
  struct node *p = product(g, in(g, "x", SHAPE(19, 37)), in(g, "w", SHAPE(37, 23)));
  out(g, g_unary(g, OP_relu, add(g, p, along(g, in(g, "b", SHAPE(23)), 1, p))));
}

// The result goes to two products and a sum, and so is stored once, in the first one's epilogue.
static void layer_backward(struct graph *g) {
  struct node *x = in(g, "x", SHAPE(19, 37)), *z = in(g, "z", SHAPE(19, 23));
  struct node *dh = g_matmul(g, in(g, "dy", SHAPE(19, 11)), in(g, "v", SHAPE(23, 11)), false, true);
  struct node *t = g_unary(g, OP_tanh, z), *one = g_full_like(g, t, 1);
  struct node *dz = mul(g, dh, sub(g, one, mul(g, t, t)));
  out(g, sum(g, dz, ROWS));
  out(g, g_matmul(g, x, dz, true, false));
  out(g, g_matmul(g, dz, in(g, "w", SHAPE(37, 23)), false, true));
}

// Loss and cotangent of a correlation matrix: five results, the matrix itself is not one.
static void many_results(struct graph *g) {
  struct node *x = in(g, "x", SHAPE(21, 35)), *y = in(g, "y", SHAPE(21, 35));
  struct node *c = g_scale(g, g_matmul(g, x, y, true, false), 1.0 / 21);
  struct node *r = sub(g, c, g_where(g, eye(g, c), g_full_like(g, c, 1), g_full_like(g, c, 0)));
  out(g, sum(g, mul(g, r, r), ALL));
  out(g, sum(g, r, ROWS));
  out(g, sum(g, mul(g, r, c), COLUMNS));
  struct node *d = g_scale(g, r, 2.0 / 21);
  out(g, g_matmul(g, y, d, false, true));
  out(g, product(g, x, d));
}

static void product_is_wanted_too(struct graph *g) {
  struct node *p = product(g, in(g, "x", SHAPE(7, 5)), in(g, "y", SHAPE(5, 17)));
  out(g, p);
  out(g, g_unary(g, OP_exp, p));
  out(g, sum(g, p, ALL));
  out(g, g_binary(g, OP_lt, p, g_full_like(g, p, 0.1))); // bool
}

static void of_one_row(struct graph *g) {
  struct node *p = product(g, in(g, "x", SHAPE(1, 33)), in(g, "y", SHAPE(33, 37)));
  out(g, sum(g, mul(g, p, p), ROWS));
  out(g, sum(g, p, COLUMNS));
}
static void of_one_column(struct graph *g) {
  struct node *p = product(g, in(g, "x", SHAPE(37, 1)), in(g, "y", SHAPE(1, 1)));
  out(g, sum(g, mul(g, p, p), ROWS));
  out(g, sum(g, p, COLUMNS));
  out(g, sum(g, p, ALL));
  out(g, g_unary(g, OP_neg, p));
}

// Sums of each matrix of a batch; one over the batch is a kernel of its own.
static void batch_sums(struct graph *g) {
  struct node *p = product(g, in(g, "x", SHAPE(3, 9, 5)), in(g, "y", SHAPE(3, 5, 21)));
  out(g, sum(g, p, 6));
  out(g, sum(g, mul(g, p, p), 2));
  out(g, sum(g, p, 4));
  out(g, add(g, p, in(g, "z", p->type.shape)));
}
static void sum_over_the_batch(struct graph *g) {
  struct node *p = product(g, in(g, "x", SHAPE(3, 9, 5)), in(g, "y", SHAPE(3, 5, 21)));
  out(g, sum(g, p, 7));
}

// Several tiles of rows and of columns, whose parts of the sums are added in the end.
static void many_tiles(struct graph *g) {
  struct node *x = in(g, "x", SHAPE(17, 343)), *y = in(g, "y", SHAPE(17, 1061));
  struct node *c = g_matmul(g, x, y, true, false);
  out(g, sum(g, mul(g, c, c), ALL));
  out(g, sum(g, c, ROWS));
  out(g, sum(g, g_unary(g, OP_abs, c), COLUMNS));
  out(g, g_unary(g, OP_relu, c));
}
// Cut along k into pieces, the last of them short.
static void long_sum(struct graph *g) {
  struct node *x = in(g, "x", SHAPE(5, 2430)), *c = g_matmul(g, x, x, false, true);
  out(g, g_scale(g, c, 0.01));
  out(g, sum(g, product(g, x, in(g, "y", SHAPE(2430, 7))), ROWS));
}

// Each product adds to what the ones before it made.
static void accumulation(struct graph *g) {
  struct node *s = product(g, in(g, "x0", SHAPE(9, 5)), in(g, "w0", SHAPE(5, 33)));
  for (int i = 1; i < 5; i++) {
    struct node *x = in(g, str_printf(g->b->arena, "x%d", i), SHAPE(9, 5)),
                *w = in(g, str_printf(g->b->arena, "w%d", i), SHAPE(5, 33));
    s = add(g, s, product(g, x, w));
  }
  out(g, s);
}

// Straight into the parameter and the momentum.
static void training_step(struct graph *g) {
  struct tensor_type t = {BT_F32, SHAPE(13, 35)};
  struct node *w = g_leaf(g, OP_param, "w", &t), *v = g_leaf(g, OP_state, "v", &t);
  struct node *dw = g_matmul(g, in(g, "x", SHAPE(9, 13)), in(g, "dy", SHAPE(9, 35)), true, false);
  struct node *vn = add(g, g_scale(g, v, 0.9), dw);
  graph_update(g, "v", vn);
  graph_update(g, "w", sub(g, w, g_scale(g, vn, 0.1)));
}

// The parameter is read by the product that changes it: through a copy.
static void step_that_reads_its_target(struct graph *g) {
  struct node *w = g_leaf(g, OP_param, "square", &(struct tensor_type){BT_F32, SHAPE(21, 21)});
  graph_update(g, "square", sub(g, w, g_scale(g, product(g, w, w), 0.1)));
}

// Rows of the result as two axes of something that is computed there.
static void split_rows(struct graph *g) {
  struct node *p = product(g, in(g, "x", SHAPE(6, 5)), in(g, "y", SHAPE(5, 19)));
  struct shape s = p->type.shape;
  struct node *r = g_transpose(g, in(g, "r", SHAPE(3, 2, 19)), (int[]){1, 0, 2});
  out(g, add(g, p, g_reshape(g, r, &s)));
  struct node *c = g_transpose(g, in(g, "c", SHAPE(6, 19, 1)), (int[]){0, 2, 1});
  out(g, mul(g, p, g_reshape(g, c, &s)));
}
// Columns are not split: the transposed operand is stored.
static void split_columns(struct graph *g) {
  struct node *p = product(g, in(g, "x", SHAPE(6, 5)), in(g, "y", SHAPE(5, 20)));
  struct shape s = p->type.shape;
  struct node *r = g_transpose(g, in(g, "r", SHAPE(6, 5, 4)), (int[]){0, 2, 1});
  out(g, add(g, p, g_reshape(g, r, &s)));
}

// What waits for all of the product cannot be in its epilogue.
static void product_and_its_maximum(struct graph *g) {
  struct node *p = product(g, in(g, "x", SHAPE(6, 5)), in(g, "y", SHAPE(5, 20)));
  struct node *s = g_scale(g, p, 0.5), *m = g_reduce(g, OP_reduce_max, s, (int[]){1}, 1);
  out(g, g_unary(g, OP_exp, sub(g, s, along(g, m, 0, p))));
}

// ---- second meetings --------------------------------------------------------------------------

// s * (c - a * mean over rows of (c * a)) for the product c: as standardising does backward.
static struct node *projected(struct graph *g, struct node *c, struct node *a, struct node *s) {
  struct node *m = g_scale(g, sum(g, mul(g, c, a), ROWS), 1.0 / 37);
  return mul(g, along(g, s, 1, c), sub(g, c, mul(g, a, along(g, m, 1, c))));
}
static struct node *wide_product(struct graph *g) {
  return product(g, in(g, "k", SHAPE(37, 41)), in(g, "b", SHAPE(41, 301)));
}

static void finished(struct graph *g) {
  struct node *c = wide_product(g), *a = in(g, "a", c->type.shape), *s = in(g, "s", SHAPE(301));
  out(g, projected(g, c, a, s));
}
// The projection is wanted by a product: stored at the second meeting, over the product itself.
static void finished_in_the_arena(struct graph *g) {
  struct node *c = wide_product(g), *a = in(g, "a", c->type.shape), *s = in(g, "s", SHAPE(301));
  struct node *d = projected(g, g_scale(g, c, 0.5), a, g_unary(g, OP_exp, s));
  out(g, g_matmul(g, d, a, false, true));
}
// The product is stored too, and the factor of the correction leaves.
static void finished_and_stored(struct graph *g) {
  struct node *c = wide_product(g), *t = sum(g, mul(g, c, c), ROWS);
  struct node *r = g_unary(g, OP_rsqrt, add(g, t, g_full_like(g, t, 0.1)));
  out(g, c);
  out(g, r);
  out(g, mul(g, c, along(g, r, 1, c)));
}
// Straight over the parameter that only the second meeting reads: the product needs its own memory.
static void finished_update(struct graph *g) {
  struct node *c = wide_product(g), *w = g_leaf(g, OP_param, "wide", &c->type);
  struct node *t = sum(g, c, ROWS);
  graph_update(g, "wide", sub(g, w, add(g, c, along(g, t, 1, c))));
}
static void finished_batch(struct graph *g) {
  struct node *c = product(g, in(g, "x", SHAPE(3, 5, 9)), in(g, "y", SHAPE(3, 9, 270)));
  struct node *t = sum(g, c, 2), *r = g_scale(g, t, 0.2);
  out(g, sub(g, c, g_broadcast(g, r, &c->type.shape, (int[]){0, 2})));
}
// The sum of the column whose number is the row's: another column's.
static void of_another_column(struct graph *g) {
  struct node *c = product(g, in(g, "x", SHAPE(259, 7)), in(g, "y", SHAPE(7, 259)));
  out(g, mul(g, c, along(g, sum(g, c, ROWS), 0, c)));
}
// Sums of rows and of everything: not in time.
static void not_in_time(struct graph *g) {
  struct node *c = wide_product(g), *t = sum(g, c, ROWS), *one = sum(g, t, 1);
  struct node *u = sum(g, c, COLUMNS);
  out(g, mul(g, c, g_broadcast(g, one, &c->type.shape, NULL)));
  out(g, mul(g, c, along(g, u, 0, c)));
}

// ---- prologues --------------------------------------------------------------------------------

static struct node *standardised(struct graph *g, struct node *x) {
  struct node *m = g_reduce(g, OP_mean, x, (int[]){0}, 1), *c = sub(g, x, along(g, m, 1, x));
  struct node *v = g_reduce(g, OP_mean, mul(g, c, c), (int[]){0}, 1);
  struct node *r = g_unary(g, OP_rsqrt, add(g, v, g_full_like(g, v, 1e-3)));
  return mul(g, c, along(g, r, 1, x));
}

// A standardised matrix is packed from the raw one, by three products.
static void standardised_operand(struct graph *g) {
  struct node *z = standardised(g, in(g, "x", SHAPE(37, 21)));
  out(g, g_matmul(g, z, in(g, "y", SHAPE(37, 35)), true, false));
  out(g, product(g, z, in(g, "w", SHAPE(21, 5))));
  out(g, g_matmul(g, in(g, "v", SHAPE(9, 21)), z, false, true));
}

static void gram(struct graph *g) {
  struct node *z = standardised(g, in(g, "x", SHAPE(37, 21)));
  struct node *k = g_matmul(g, z, z, false, true);
  out(g, k);
  out(g, g_scale(g, mul(g, k, k), 0.1));
}
// Not symmetric: the rows are told apart.
static void gram_by_rows(struct graph *g) {
  struct node *x = in(g, "x", SHAPE(37, 21)), *k = g_matmul(g, x, x, true, false);
  out(g, add(g, k, along(g, in(g, "r", SHAPE(21)), 0, k)));
}
static void gram_off_diagonal(struct graph *g) {
  struct node *x = in(g, "x", SHAPE(37, 21)), *k = g_matmul(g, x, x, true, false);
  out(g, g_where(g, eye(g, k), g_full_like(g, k, 0), k));
}
static void gram_squared(struct graph *g) {
  struct node *x = in(g, "x", SHAPE(37, 21)), *k = g_matmul(g, x, x, true, false);
  out(g, sum(g, mul(g, k, in(g, "y", SHAPE(21, 21))), ALL));
  out(g, k);
}
// Sums over one axis, which only the whole product has in order.
static void gram_columns(struct graph *g) {
  struct node *x = in(g, "x", SHAPE(37, 21)), *k = g_matmul(g, x, x, true, false);
  out(g, sum(g, mul(g, k, k), ROWS));
  out(g, k);
}

// Costly to evaluate and packed by two products, by each on both sides: stored.
static void costly_operand(struct graph *g) {
  struct node *x = in(g, "x", SHAPE(21, 21)), *e = g_unary(g, OP_tanh, g_unary(g, OP_exp, x));
  out(g, product(g, e, e));
  out(g, product(g, e, g_unary(g, OP_neg, e)));
}

// Movements in operands: windows, rotations, masks, constants, an index, booleans.
static void moved_operands(struct graph *g) {
  struct node *x = in(g, "x", SHAPE(9, 33)), *y = in(g, "y", SHAPE(40, 50));
  struct shape window = SHAPE(33, 21), wide = SHAPE(9, 40);
  struct node *w = g_slice(g, y, (int64_t[]){3, 5}, &window);
  out(g, product(g, x, w));
  out(g, product(g, g_pad(g, x, (int64_t[]){0, 4}, &wide), y));
  out(g, product(g, x, g_full(g, &w->type, 0.5)));
  out(g, product(g, g_cast(g, g_binary(g, OP_lt, x, g_full_like(g, x, 0)), BT_F32), w));
  out(g, product(g, g_cast(g, g_iota(g, BT_I32, &x->type.shape, 1), BT_F32), w));
  struct node *back = g_transpose(g, in(g, "t", SHAPE(33, 3, 7)), (int[]){2, 0, 1});
  out(g, product(g, g_reshape(g, back, &(struct shape){2, {7, 99}}), in(g, "u", SHAPE(99, 5))));
  struct node *heads = g_transpose(g, in(g, "h", SHAPE(2, 9, 3, 7)), (int[]){0, 2, 1, 3});
  out(g, g_matmul(g, heads, heads, false, true));
}

// Columns of the inputs in panels: one function, called for each.
static void panels(struct graph *g) {
  struct node *x = in(g, "x", SHAPE(19, 96)), *y = in(g, "y", SHAPE(19, 32));
  for (int i = 0; i < 3; i++) {
    struct shape panel = SHAPE(19, 32);
    struct node *c = g_matmul(g, y, g_slice(g, x, (int64_t[]){0, 32 * i}, &panel), true, false);
    out(g, sum(g, mul(g, c, c), ALL));
  }
}

// The same with results in parts, each written where it belongs in the whole; the last is wider.
static void parts_of_a_whole(struct graph *g) {
  struct node *y = in(g, "y", SHAPE(19, 21)), *part[3];
  for (int i = 0; i < 3; i++) {
    struct node *w = in(g, str_printf(g->b->arena, "w%d", i), SHAPE(21, i == 2 ? 37 : 32));
    part[i] = g_unary(g, OP_tanh, product(g, y, w));
  }
  struct node *whole = g_concat(g, part, 3, 1);
  out(g, whole);
  out(g, product(g, g_unary(g, OP_neg, whole), in(g, "v", SHAPE(101, 5))));
  out(g, g_matmul(g, part[1], y, true, false)); // a part is read by itself
}
// Rows; the whole lies in the arena and dies where the sum is stored over it, one part a sweep later.
static void parts_in_rows(struct graph *g) {
  struct node *x = in(g, "x", SHAPE(9, 13)), *w = in(g, "w", SHAPE(13, 33)), *part[2];
  part[0] = product(g, x, w);
  part[1] = g_unary(g, OP_exp, in(g, "z", SHAPE(11, 33)));
  struct node *whole = g_concat(g, part, 2, 0), *m = g_reduce(g, OP_reduce_max, whole, (int[]){0}, 1);
  struct node *e = g_unary(g, OP_tanh, sub(g, whole, along(g, m, 1, whole)));
  out(g, g_matmul(g, e, e, false, true));
  out(g, g_matmul(g, part[0], e, false, true));
}
// By reshape: a part is not dense.
static void parts_reshaped(struct graph *g) {
  struct node *x = in(g, "x", SHAPE(6, 13)), *part[2];
  for (int i = 0; i < 2; i++)
    part[i] = product(g, x, in(g, str_printf(g->b->arena, "w%d", i), SHAPE(13, 20)));
  out(g, g_concat(g, part, 2, 1));
  struct shape s = SHAPE(24, 5);
  out(g, g_unary(g, OP_neg, g_reshape(g, part[1], &s)));
}
// Not in parts: one is an input, one comes twice, one is wanted by a call, the whole is an update.
static void not_in_parts(struct graph *g) {
  struct node *x = in(g, "x", SHAPE(6, 13)), *p = product(g, x, in(g, "w", SHAPE(13, 13)));
  out(g, g_concat(g, (struct node *[]){p, x}, 2, 1));
  out(g, g_concat(g, (struct node *[]){g_unary(g, OP_exp, p), g_unary(g, OP_exp, p)}, 2, 0));
  struct node *q = g_unary(g, OP_neg, x), *r = g_unary(g, OP_tanh, x);
  out(g, g_concat(g, (struct node *[]){q, r}, 2, 0));
  struct attr last = {.n = 1, .i = {1}};
  out(g, graph_node(g, OP_argmax, &r, 1, &last, NULL));
  struct node *old = g_leaf(g, OP_state, "old", &(struct tensor_type){BT_F32, SHAPE(12, 13)});
  struct node *two[] = {g_unary(g, OP_sin, x), g_unary(g, OP_cos, x)};
  graph_update(g, "old", g_concat(g, two, 2, 0));
  out(g, product(g, old, in(g, "w", SHAPE(13, 13))));
}

// ---- both -------------------------------------------------------------------------------------

static struct node *softmax(struct graph *g, struct node *x) {
  int last = x->type.shape.rank - 1, kept[MAX_RANK];
  for (int i = 0; i < last; i++) kept[i] = i;
  struct node *m = g_reduce(g, OP_reduce_max, x, &last, 1);
  struct node *e = g_unary(g, OP_exp, sub(g, x, g_broadcast(g, m, &x->type.shape, kept)));
  struct node *s = g_reduce(g, OP_sum, e, &last, 1);
  return g_binary(g, OP_div, e, g_broadcast(g, s, &x->type.shape, kept));
}

static struct node *attention_of(struct graph *g, struct node *q, struct node *k, struct node *v) {
  return product(g, softmax(g, g_scale(g, g_matmul(g, q, k, false, true), 0.4)), v);
}

static void attention(struct graph *g) {
  out(g, attention_of(g, in(g, "q", SHAPE(2, 3, 19, 7)), in(g, "k", SHAPE(2, 3, 21, 7)),
                      in(g, "v", SHAPE(2, 3, 21, 9))));
}

static void attention_backward(struct graph *g) {
  struct node *x[] = {in(g, "q", SHAPE(2, 19, 7)), in(g, "k", SHAPE(2, 21, 7)),
                      in(g, "v", SHAPE(2, 21, 9))};
  struct node *y = attention_of(g, x[0], x[1], x[2]), *d[3];
  graph_gradients(g, y, in(g, "dy", y->type.shape), x, 3, d);
  for (int i = 0; i < 3; i++) out(g, d[i]);
}

static void perceptron_backward(struct graph *g) {
  struct node *x = in(g, "x", SHAPE(19, 13)), *w1 = in(g, "w1", SHAPE(13, 37)),
              *b1 = in(g, "b1", SHAPE(37)), *w2 = in(g, "w2", SHAPE(37, 11));
  struct node *p = product(g, x, w1), *z = add(g, p, along(g, b1, 1, p));
  struct node *h = mul(g, z, g_unary(g, OP_sigmoid, z)), *y = product(g, h, w2), *d[3];
  struct node *loss = sum(g, mul(g, y, y), ALL);
  graph_gradients(g, loss, NULL, (struct node *[]){w1, b1, w2}, 3, d);
  out(g, loss);
  for (int i = 0; i < 3; i++) out(g, d[i]);
}

// ---- by order ---------------------------------------------------------------------------------

static void plain(struct graph *g) {
  static const struct schedule how = {.plain = true};
  g->how = &how;
  linear_layer(g);
}
static void blas(struct graph *g) {
  static const struct schedule how = {.blas = true};
  g->how = &how;
  linear_layer(g);
}
static void blocks(struct graph *g) {
  static const struct schedule how = {.mc = 8, .kc = 8, .nc = 16};
  g->how = &how;
  many_results(g);
}

// ---- the tests --------------------------------------------------------------------------------

// What a graph becomes: kernels of each kind, different functions, bytes of the arena (at 16 lanes; -1:
// whatever).
struct row {
  const char *name;
  void (*make)(struct graph *g);
  int products, loops, calls, distinct;
  int64_t arena;
};
#define ROW(make, ...) {#make, make, __VA_ARGS__}
static const struct row rows[] = {
    ROW(linear_layer, 1, 0, 0, 1, 0),
    ROW(layer_backward, 3, 0, 0, 3, 19 * 23 * 4),
    ROW(many_results, 3, 1, 0, 4, -1),
    ROW(product_is_wanted_too, 1, 0, 0, 1, 0),
    ROW(of_one_row, 1, 1, 0, 2, 37 * 4),
    ROW(of_one_column, 1, 1, 0, 2, 37 * 4),
    ROW(batch_sums, 1, 0, 0, 1, 0),
    ROW(sum_over_the_batch, 1, 1, 0, 2, 3 * 9 * 21 * 4),
    ROW(many_tiles, 1, 0, 0, 1, 0),
    ROW(long_sum, 2, 0, 0, 2, 0),
    ROW(accumulation, 5, 0, 0, 3, 9 * 33 * 4),
    ROW(training_step, 1, 0, 0, 1, 0),
    ROW(step_that_reads_its_target, 1, 1, 0, 2, 21 * 21 * 4),
    ROW(split_rows, 1, 0, 0, 1, 0),
    ROW(split_columns, 1, 1, 0, 2, -1),
    ROW(product_and_its_maximum, 1, 2, 0, 3, -1),
    ROW(finished, 1, 0, 0, 1, 301 * 4),
    ROW(finished_in_the_arena, 2, 1, 0, 3, 37 * 301 * 4 + 2 * 1216),
    ROW(finished_and_stored, 1, 1, 0, 2, 301 * 4),
    ROW(finished_update, 1, 0, 0, 1, -1),
    ROW(finished_batch, 1, 0, 0, 1, 3 * 270 * 4),
    ROW(of_another_column, 1, 1, 0, 2, -1),
    ROW(not_in_time, 1, 1, 0, 2, -1),
    ROW(standardised_operand, 3, 4, 0, 7, 256),
    ROW(gram, 1, 4, 0, 5, 256),
    ROW(gram_by_rows, 1, 0, 0, 1, 0),
    ROW(gram_off_diagonal, 1, 0, 0, 1, 0),
    ROW(gram_squared, 1, 0, 0, 1, 0),
    ROW(gram_columns, 1, 0, 0, 1, 0),
    ROW(costly_operand, 2, 1, 0, 3, 21 * 21 * 4),
    ROW(moved_operands, 7, 1, 0, 8, -1),
    ROW(panels, 3, 0, 0, 1, 0),
    ROW(parts_of_a_whole, 5, 0, 0, 4, 0),
    ROW(parts_in_rows, 3, -1, 0, -1, -1),
    ROW(parts_reshaped, 2, 1, 0, 2, -1),
    ROW(not_in_parts, 2, -1, 1, -1, -1),
    ROW(attention, 2, 3, 0, 5, -1),
    ROW(attention_backward, -1, -1, 0, -1, -1),
    ROW(perceptron_backward, 5, 0, 0, 5, -1),
    ROW(plain, 1, 1, 0, 2, 19 * 23 * 4),
    ROW(blas, 0, 1, 1, 2, 19 * 23 * 4),
    ROW(blocks, 3, 1, 0, 4, -1),
};
enum { N_ROWS = sizeof rows / sizeof *rows };

static struct graph *graph_of(struct btc *b, const struct row *r) {
  struct graph *g = graph_new(b, r->name);
  r->make(g);
  return g;
}

static int kernels_of(const struct fusion *f, enum kernel_kind kind) {
  int n = 0;
  for (int i = 0; i < f->kernels.len; i++) n += f->kernels.data[i]->kind == kind;
  return n;
}

static bool agrees(const char *name, const char *what, int64_t is, int64_t want) {
  bool good = want < 0 || is == want;
  if (!good) print_error("%s: %s: %lld, not %lld\n", name, what, (long long)is, (long long)want);
  return good;
}

static bool structured(const struct row *r) {
  struct btc *b = btc_new();
  struct graph *g = graph_of(b, r);
  struct target t;
  target_from_march(&t, "x86-64-v4");
  struct model *m = step_model(b, &g, 1);
  struct codegen *cg = codegen_model(m, &t);
  const struct codegen_program *p = &cg->programs.data[0];
  struct codegen_size size = codegen_size(cg, &m->programs.data[0]);
  int64_t arena = r->arena < 0 ? -1 : (int64_t)plan_align((size_t)r->arena), is = 0;
  for (int i = 0; i < p->fusion->buffers.len; i++) { // without workspaces of the schedule
    const struct buffer *x = p->fusion->buffers.data[i];
    bool place = x->space == SPACE_ARENA && buffer_place((struct buffer *)x) == x && x->first >= 0;
    place = place && x->node != NULL;
    if (place) is += (int64_t)plan_align(x->bytes);
  }
  bool good = agrees(r->name, "products", kernels_of(p->fusion, KERNEL_PRODUCT), r->products);
  good &= agrees(r->name, "loops", kernels_of(p->fusion, KERNEL_LOOP), r->loops);
  good &= agrees(r->name, "calls", kernels_of(p->fusion, KERNEL_CALL), r->calls);
  good &= agrees(r->name, "functions", size.distinct_kernels, r->distinct);
  good &= agrees(r->name, "bytes of values in the arena", is, arena);
  if (!good) codegen_print_kernels(stderr, cg);
  btc_free(b);
  return good;
}

static void kernels_and_memory(void **state) {
  (void)state;
  int wrong = 0;
  for (int i = 0; i < N_ROWS; i++) wrong += !structured(&rows[i]);
  assert_int_equal(wrong, 0);
}

static void agrees_with_the_interpreter(void **state) {
  struct btc *b = btc_new();
  struct graph *g[N_ROWS];
  for (int i = 0; i < N_ROWS; i++) g[i] = graph_of(b, &rows[i]);
  struct compiled n = step_build(b, g, N_ROWS, *state);
  for (int i = 0; i < N_ROWS; i++) step_check(&n, i, 1);
  step_close(&n);
  btc_free(b);
}

// Half the arithmetic where the product is its own transpose, with sums over everything or not.
static double flops_of(void (*make)(struct graph *g)) {
  struct btc *b = btc_new();
  struct graph *g = graph_of(b, &(struct row){.name = "flops", .make = make});
  struct target t;
  target_from_march(&t, "x86-64-v4");
  struct codegen *cg = codegen_model(step_model(b, &g, 1), &t);
  double most = 0;
  for (int i = 0; i < cg->distinct.len; i++)
    if (cg->distinct.data[i]->loops->flops > most) most = cg->distinct.data[i]->loops->flops;
  btc_free(b);
  return most;
}

static void symmetric_products_cost_half(void **state) {
  (void)state;
  double pack = 2.0 * 37 * 21, half = 37.0 * 37 * 21, stored = 2.0 * 37 * 37;
  assert_true(flops_of(gram) == half + pack + stored);
  assert_true(flops_of(gram_by_rows) == 21.0 * 21 * 37 + 21 * 21);
  assert_true(flops_of(gram_off_diagonal) < 2.0 * 21 * 21 * 37);
  assert_true(flops_of(gram_squared) < 2.0 * 21 * 21 * 37);
  assert_true(flops_of(gram_columns) >= 2.0 * 21 * 21 * 37);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(kernels_and_memory),
      cmocka_unit_test(symmetric_products_cost_half),
      cmocka_unit_test_prestate(agrees_with_the_interpreter, (void *)marches[0]),
      cmocka_unit_test_prestate(agrees_with_the_interpreter, (void *)marches[1]),
      cmocka_unit_test_prestate(agrees_with_the_interpreter, (void *)marches[2]),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
