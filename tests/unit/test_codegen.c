// test_codegen.c: every op in C against the interpreter: odd sizes, blocked layouts, three widths.
//
// All cases become programs of one module per vector width, so that the host compiler runs three
// times. The table below must have a case for every op of ops.def.
#include "codegen_helper.h"

#include <math.h>
#include <string.h>

static const char *const marches[] = {"x86-64", "x86-64-v3", "x86-64-v4"};

struct cases {
  struct btc *b;
  VEC(struct graph *) graphs;
  bool covered[OP_COUNT];
};

static struct graph *begin(struct cases *c) {
  struct graph *g = graph_new(c->b, "case");
  vec_push(c->b->arena, &c->graphs, g);
  return g;
}

static void result(struct cases *c, struct graph *g, struct node *n) {
  for (int i = 0; i < g->nodes.len; i++) c->covered[g->nodes.data[i]->op] = true;
  graph_output(g, str_printf(c->b->arena, "out%d", g->outputs.len), BT_OUTPUT_VALUE, n);
}

static struct node *leaf(struct graph *g, const char *name, dtype t, struct shape s) {
  return g_input(g, name, BT_INPUT_ARRAY, 0, 0, &(struct tensor_type){t, s});
}
static struct node *x_of(struct graph *g, struct shape s) { return leaf(g, "x", BT_F32, s); }

// ---- elementwise ------------------------------------------------------------------------------

// A value that a convolution made, so that it is blocked: [2, 16, 5, 3] for each name.
static struct node *blocked(struct graph *g, const char *name, int64_t channels) {
  struct node *x =
      leaf(g, name, BT_F32, shape_of(4, (int64_t)2, (int64_t)3, (int64_t)5, (int64_t)3));
  struct node *w = leaf(g, str_printf(g->b->arena, "w_%s", name), BT_F32,
                        shape_of(4, channels, (int64_t)3, (int64_t)1, (int64_t)1));
  struct attr a = {.n = 7, .i = {1, 1, 0, 0, 1, 1, 1}};
  return g_conv(g, OP_conv2d, x, w, &a, NULL);
}

static struct node *operand(struct graph *g, int i, const struct shape *s, bool block) {
  const char *name = str_printf(g->b->arena, "x%d", i);
  return block ? blocked(g, name, 16) : leaf(g, name, BT_F32, *s);
}

// In the domain of the op: positive for logarithms and roots, whole numbers where ties matter.
static struct node *in_domain(struct graph *g, enum op op, int i, struct node *x) {
  if (op == OP_log || op == OP_sqrt || op == OP_rsqrt || (op == OP_pow && i == 0))
    return g_binary(g, OP_add, g_unary(g, OP_abs, x), g_full_like(g, x, 0.5));
  if (op == OP_div && i == 1)
    return g_binary(g, OP_add, g_unary(g, OP_abs, x), g_full_like(g, x, 0.25));
  if (op == OP_mod && i == 1) return g_full_like(g, x, 0.7);
  if (op == OP_eq || op == OP_ne || op == OP_le || op == OP_lt || op == OP_min || op == OP_max)
    return g_unary(g, OP_floor, x);
  if (op == OP_and || op == OP_or || op == OP_not || (op == OP_where && i == 0))
    return g_binary(g, OP_lt, x, g_full_like(g, x, 0.1));
  return x;
}

static void elementwise(struct cases *c, enum op op, struct shape s, bool block) {
  struct graph *g = begin(c);
  struct node *in[3];
  int arity = op_info(op)->arity;
  for (int i = 0; i < arity; i++) in[i] = in_domain(g, op, i, operand(g, i, &s, block));
  struct node *n = graph_node(g, op, in, arity, NULL, NULL);
  result(c, g, n);
}

static void casts(struct cases *c, struct shape s) {
  static const dtype types[] = {BT_F64, BT_I32, BT_I64, BT_U8, BT_BOOL};
  for (int i = 0; i < 5; i++) {
    struct graph *g = begin(c);
    struct node *x = g_unary(g, OP_floor, g_unary(g, OP_abs, x_of(g, s)));
    struct node *y = g_cast(g, x, types[i]);
    result(c, g, y);
    result(c, g, g_cast(g, leaf(g, "t", types[i], s), BT_F32));
    result(c, g, g_cast(g, y, BT_F64));
  }
}

static void integers(struct cases *c) {
  static const enum op ops[] = {OP_add, OP_sub, OP_mul, OP_min, OP_max, OP_lt, OP_eq};
  for (int i = 0; i < 7; i++) {
    struct graph *g = begin(c);
    struct node *x = leaf(g, "x", BT_I32, shape_of(2, (int64_t)5, (int64_t)7));
    struct node *y = leaf(g, "y", BT_I32, shape_of(2, (int64_t)5, (int64_t)7));
    struct node *z = g_binary(g, ops[i], x, y);
    result(c, g, z);
    int axes[] = {1};
    if (ops[i] != OP_lt && ops[i] != OP_eq) result(c, g, g_reduce(g, OP_sum, z, axes, 1));
    if (ops[i] == OP_add) result(c, g, g_reduce(g, OP_reduce_max, z, axes, 1));
  }
}

// A logarithm of a negative number is NaN, which relu must not hide.
static void relu_keeps_nan(struct cases *c) {
  struct graph *g = begin(c);
  result(c, g, g_unary(g, OP_relu, g_unary(g, OP_log, x_of(g, shape_of(1, (int64_t)33)))));
}

static bool is_draw(enum op op) { return op == OP_random_uniform || op == OP_random_normal; }

static void all_elementwise(struct cases *c) {
  for (int op = 0; op < OP_COUNT; op++) {
    if (op_info(op)->class != ELEMENTWISE || op == OP_cast || is_draw(op)) continue;
    elementwise(c, op, shape_of(3, (int64_t)3, (int64_t)7, (int64_t)5), false);
    elementwise(c, op, shape_of(0), false);
    elementwise(c, op, shape_of(1, (int64_t)33), false);
    elementwise(c, op, shape_of(4, (int64_t)2, (int64_t)16, (int64_t)5, (int64_t)3), true);
  }
  elementwise(c, OP_add, shape_of(1, (int64_t)40011), false); // in parallel, in chunks
  elementwise(c, OP_exp, shape_of(2, (int64_t)3, (int64_t)20011), false);
  relu_keeps_nan(c);
  casts(c, shape_of(2, (int64_t)5, (int64_t)9));
  integers(c);
}

// ---- random numbers (test_random_ops.c compares bits) -------------------------------------------

// Runs of elements, alone and dropping values of a blocked layout; elements and keys of any kind.
static void draws(struct cases *c, enum op op) {
  static const struct shape shapes[] = {{0}, {1, {33}}, {1, {40011}}, {3, {3, 7, 5}}, {4, {2, 16, 5, 3}}};
  for (int i = 0; i < 5; i++) {
    struct graph *g = begin(c);
    struct node *y = drawn(g, op, &shapes[i]);
    result(c, g, y);
    if (i == 4)
      result(c, g, g_where(g, g_binary(g, OP_lt, y, g_full_like(g, y, 0.3)), g_full_like(g, y, 0), blocked(g, "x", 16)));
  }
  struct graph *g = begin(c);
  struct shape s = shape_of(2, (int64_t)5, (int64_t)19);
  struct node *in[] = {leaf(g, "element", BT_I32, s), leaf(g, "seed", BT_I64, s), leaf(g, "stream", BT_I64, s)};
  result(c, g, graph_node(g, op, in, 3, NULL, NULL));
}

static void random_numbers(struct cases *c) {
  draws(c, OP_random_uniform);
  draws(c, OP_random_normal);
  struct graph *g = begin(c);
  struct shape s = shape_of(2, (int64_t)37, (int64_t)19);
  struct node *seed = leaf(g, "seed", BT_I64, shape_of(0)), *stream = leaf(g, "stream", BT_I64, shape_of(0));
  struct node *a = leaf(g, "a", BT_F32, s);
  struct node *shape = g_binary(g, OP_add, g_unary(g, OP_abs, a), g_full_like(g, a, 0.1));
  result(c, g, graph_node(g, OP_random_beta, (struct node *[]){seed, stream, shape, shape}, 4, NULL, NULL));
  struct tensor_type order = {BT_I32, shape_of(1, (int64_t)37)};
  result(c, g, graph_node(g, OP_random_permutation, (struct node *[]){seed, stream}, 2, NULL, &order));
}

// ---- movement ---------------------------------------------------------------------------------

static void broadcasts(struct cases *c) {
  struct graph *g = begin(c);
  struct node *v = leaf(g, "v", BT_F32, shape_of(1, (int64_t)7)),
              *s = leaf(g, "s", BT_F32, shape_of(0));
  struct shape to = shape_of(3, (int64_t)3, (int64_t)7, (int64_t)5),
               rows = shape_of(2, (int64_t)6, (int64_t)7);
  result(c, g, g_broadcast(g, v, &to, (int[]){1}));
  result(c, g, g_broadcast(g, v, &rows, (int[]){1}));
  result(c, g, g_broadcast(g, s, &to, NULL));
  struct node *e = g_unary(g, OP_exp, v); // costly: stored once
  result(c, g,
         g_binary(g, OP_mul, g_broadcast(g, e, &rows, (int[]){1}), leaf(g, "m", BT_F32, rows)));
}

static void reshapes(struct cases *c) {
  struct graph *g = begin(c);
  struct shape a = shape_of(3, (int64_t)4, (int64_t)6, (int64_t)5),
               b = shape_of(2, (int64_t)24, (int64_t)5);
  struct shape d = shape_of(4, (int64_t)2, (int64_t)2, (int64_t)3, (int64_t)10),
               f = shape_of(2, (int64_t)8, (int64_t)15);
  struct node *x = x_of(g, a), *r = g_unary(g, OP_relu, x);
  result(c, g, g_reshape(g, x, &b));
  result(c, g, g_reshape(g, r, &b)); // splits an axis of the space
  result(c, g, g_reshape(g, r, &d));
  result(c, g, g_unary(g, OP_neg, g_reshape(g, r, &f))); // straddles
  struct graph *h = begin(c);
  struct shape flat = shape_of(2, (int64_t)2, (int64_t)240);
  struct node *y = g_unary(h, OP_relu, blocked(h, "x", 16));
  result(c, h, g_reshape(h, y, &flat));
  result(c, h, g_unary(h, OP_exp, g_reshape(h, y, &flat)));
}

static void windows(struct cases *c, bool block) {
  struct graph *g = begin(c);
  struct node *x =
      block ? blocked(g, "x", 16)
            : leaf(g, "x", BT_F32, shape_of(4, (int64_t)2, (int64_t)16, (int64_t)5, (int64_t)3));
  struct shape small = shape_of(4, (int64_t)1, (int64_t)5, (int64_t)3, (int64_t)2),
               large = shape_of(4, (int64_t)3, (int64_t)19, (int64_t)6, (int64_t)7);
  result(c, g, g_slice(g, x, (int64_t[]){1, 3, 1, 0}, &small));
  result(c, g, g_pad(g, x, (int64_t[]){1, 2, 0, 3}, &large));
  result(c, g,
         g_unary(g, OP_exp, g_pad(g, g_unary(g, OP_exp, x), (int64_t[]){0, 1, 1, 1}, &large)));
  for (int axis = 0; axis < 4; axis++) {
    struct node *parts[] = {x, g_unary(g, OP_neg, x), x};
    result(c, g, g_concat(g, parts, 3, axis));
  }
  result(c, g, g_transpose(g, x, (int[]){2, 0, 3, 1}));
  result(c, g, g_transpose(g, x, (int[]){0, 2, 3, 1}));
}

static void diagonals(struct cases *c) {
  struct graph *g = begin(c);
  struct node *x = x_of(g, shape_of(2, (int64_t)19, (int64_t)19)),
              *m = leaf(g, "m", BT_F32, shape_of(3, (int64_t)3, (int64_t)5, (int64_t)5));
  result(c, g, graph_node(g, OP_diag, &x, 1, NULL, NULL));
  result(c, g, graph_node(g, OP_diag, &m, 1, NULL, NULL));
  struct shape s = x->type.shape;
  struct node *eye = g_binary(g, OP_eq, g_iota(g, BT_I32, &s, 0), g_iota(g, BT_I32, &s, 1));
  result(c, g, g_where(g, eye, g_full_like(g, x, 0), x));
  result(c, g, g_iota(g, BT_F32, &s, 1));
  result(c, g, g_iota(g, BT_I64, &s, 0));
  result(c, g, g_unary(g, OP_neg, g_relayout(g, blocked(g, "b", 16), 4)));
}

// ---- reductions -------------------------------------------------------------------------------

static void reductions_of(struct cases *c, enum op op, struct shape s, bool block, unsigned axes) {
  struct graph *g = begin(c);
  struct node *x = block ? blocked(g, "x", 16) : x_of(g, s);
  int list[MAX_RANK], n = 0;
  for (int i = 0; i < x->type.shape.rank; i++)
    if ((axes >> i) & 1) list[n++] = i;
  result(c, g, g_reduce(g, op, x, list, n));
}

static void all_reductions(struct cases *c) {
  static const enum op ops[] = {OP_sum, OP_mean, OP_var, OP_reduce_max, OP_reduce_min};
  for (int i = 0; i < 5; i++) {
    for (unsigned axes = 1; axes < 16; axes++) {
      reductions_of(c, ops[i], shape_of(4, (int64_t)3, (int64_t)5, (int64_t)7, (int64_t)19), false,
                    axes);
      reductions_of(c, ops[i], shape_of(0), true, axes);
    }
    reductions_of(c, ops[i], shape_of(1, (int64_t)100003), false, 1); // chunks
    reductions_of(c, ops[i], shape_of(2, (int64_t)3001, (int64_t)37), false, 1);
    reductions_of(c, ops[i], shape_of(2, (int64_t)37, (int64_t)3001), false, 2);
    reductions_of(c, ops[i], shape_of(3, (int64_t)700, (int64_t)3, (int64_t)70), false, 5);
  }
  reductions_of(c, OP_reduce_max, shape_of(3, (int64_t)5, (int64_t)1, (int64_t)7), false,
                2); // of one element
  for (unsigned axis = 0; axis < 3; axis++)
    reductions_of(c, OP_argmax, shape_of(3, (int64_t)5, (int64_t)7, (int64_t)9), false, 1u << axis);
}

// Several results in one sweep, some stored and some folded.
static void fused_sweep(struct cases *c, bool block) {
  struct graph *g = begin(c);
  struct node *x =
      block ? blocked(g, "x", 16)
            : leaf(g, "x", BT_F32, shape_of(4, (int64_t)7, (int64_t)5, (int64_t)9, (int64_t)11));
  struct node *e = g_unary(g, OP_exp, x), *s = g_binary(g, OP_mul, x, x);
  int axes[] = {0, 2, 3}, all[] = {0, 1, 2, 3};
  result(c, g, e);
  result(c, g, g_reduce(g, OP_sum, e, axes, 3));
  result(c, g, g_reduce(g, OP_sum, s, axes, 3));
  result(c, g, g_reduce(g, OP_reduce_max, s, axes, 3));
  result(c, g, g_reduce(g, OP_sum, s, all, 4));
}

// ---- products, convolutions, pools ------------------------------------------------------------

static void products(struct cases *c) {
  for (int t = 0; t < 4; t++) {
    struct graph *g = begin(c);
    bool ta = t & 1, tb = t & 2;
    int64_t m = 7, n = 5, k = 9;
    struct node *x = leaf(g, "x", BT_F32, ta ? shape_of(2, k, m) : shape_of(2, m, k));
    struct node *y = leaf(g, "y", BT_F32, tb ? shape_of(2, n, k) : shape_of(2, k, n));
    result(c, g, g_matmul(g, x, y, ta, tb));
    struct node *bx =
        leaf(g, "bx", BT_F32, ta ? shape_of(3, (int64_t)3, k, m) : shape_of(3, (int64_t)3, m, k));
    struct node *by =
        leaf(g, "by", BT_F32, tb ? shape_of(3, (int64_t)3, n, k) : shape_of(3, (int64_t)3, k, n));
    result(c, g, g_matmul(g, g_unary(g, OP_neg, bx), by, ta, tb));
    result(c, g, g_matmul(g, x, x, !ta, ta)); // one operand twice
  }
}

static struct node *on_diagonal(struct graph *g, const struct shape *s) {
  return g_binary(g, OP_eq, g_iota(g, BT_I32, s, s->rank - 2), g_iota(g, BT_I32, s, s->rank - 1));
}

// Leaves are below 2, so 2n on the diagonal makes a matrix positive definite. The second one goes without.
static void factors(struct cases *c, dtype t, int64_t count, int64_t n) {
  struct graph *g = begin(c);
  struct shape s = shape_of(3, count, n, n);
  struct node *second = g_binary(g, OP_eq, g_iota(g, BT_I32, &s, 0), g_constant(g, BT_I32, 1));
  struct node *large = g_binary(g, OP_and, on_diagonal(g, &s), g_unary(g, OP_not, second));
  struct node *a = g_where(g, large, g_constant(g, t, 2.0 * (double)n), leaf(g, "a", t, s));
  result(c, g, g_unary(g, OP_cholesky, a));
}

// Coefficients are below 2 / n, so that the solution of a unit triangle does not grow from row to row.
static void solutions(struct cases *c, dtype t, int64_t count, int64_t n, int64_t columns) {
  struct shape s = shape_of(3, count, n, n);
  for (int flags = 0; flags < 8; flags++) {
    struct graph *g = begin(c);
    struct attr attr = {.n = 3, .i = {flags & 1, flags >> 1 & 1, flags >> 2}};
    struct node *a = g_where(g, on_diagonal(g, &s), g_constant(g, t, 1.5), g_scale(g, leaf(g, "a", t, s), 1 / (double)n));
    struct node *b = leaf(g, "b", t, shape_of(3, count, n, columns));
    result(c, g, graph_node(g, OP_solve_triangular, (struct node *[]){a, b}, 2, &attr, NULL));
    if (n == columns) // one operand twice
      result(c, g, graph_node(g, OP_solve_triangular, (struct node *[]){a, a}, 2, &attr, NULL));
  }
}

// Blocks of rows, panels of columns and their remainders at every width of vectors.
static void triangular(struct cases *c) {
  factors(c, BT_F32, 1, 1);
  factors(c, BT_F32, 3, 5);
  factors(c, BT_F32, 2, 19);
  factors(c, BT_F32, 1, 64);
  factors(c, BT_F32, 2, 101);
  factors(c, BT_F64, 3, 19);
  solutions(c, BT_F32, 1, 1, 1);
  solutions(c, BT_F32, 3, 5, 7);
  solutions(c, BT_F32, 1, 37, 37);
  solutions(c, BT_F32, 2, 64, 67); // by threads
  solutions(c, BT_F64, 2, 19, 3);
}

static int64_t out_size(int64_t in, int64_t k, int64_t stride, int64_t pad, int64_t dil) {
  return (in + 2 * pad - dil * (k - 1) - 1) / stride + 1;
}

static void convolution(struct cases *c, int64_t ic, int64_t oc, int64_t h, int64_t w, int64_t k,
                        int64_t stride, int64_t pad, int64_t dil, int64_t groups) {
  struct graph *g = begin(c);
  struct attr a = {.n = 7, .i = {stride, stride, pad, pad, dil, dil, groups}};
  struct tensor_type xt = {BT_F32, shape_of(4, (int64_t)2, ic, h, w)},
                     wt = {BT_F32, shape_of(4, oc, ic / groups, k, k)};
  struct node *x = leaf(g, "x", BT_F32, xt.shape), *weight = leaf(g, "w", BT_F32, wt.shape);
  struct node *dy = leaf(g, "dy", BT_F32,
                         shape_of(4, (int64_t)2, oc, out_size(h, k, stride, pad, dil),
                                  out_size(w, k, stride, pad, dil)));
  result(c, g, g_conv(g, OP_conv2d, x, weight, &a, NULL));
  result(c, g, g_conv(g, OP_conv2d_dx, dy, weight, &a, &xt));
  result(c, g, g_conv(g, OP_conv2d_dw, x, dy, &a, &wt));
}

static void convolutions(struct cases *c) {
  convolution(c, 3, 16, 7, 9, 3, 1, 1, 1, 1);
  convolution(c, 16, 32, 6, 5, 3, 2, 1, 1, 1);
  convolution(c, 17, 5, 7, 6, 3, 1, 1, 1, 1);
  convolution(c, 16, 16, 5, 5, 1, 2, 0, 1, 1);
  convolution(c, 4, 6, 9, 8, 3, 2, 2, 2, 2);
  convolution(c, 32, 32, 6, 5, 3, 1, 1, 1, 8);   // in blocks, of groups narrower than a vector
  convolution(c, 32, 64, 5, 5, 1, 1, 0, 1, 2);
  convolution(c, 16, 16, 7, 6, 3, 2, 1, 1, 16);  // depthwise
  convolution(c, 7, 7, 6, 9, 3, 1, 2, 2, 7);
}

static void pool(struct cases *c, int64_t size, int64_t stride, int64_t pad, bool block) {
  struct graph *g = begin(c);
  struct attr a = {.n = 6, .i = {size, size, stride, stride, pad, pad}};
  struct node *x =
      block ? blocked(g, "x", 16)
            : leaf(g, "x", BT_F32, shape_of(4, (int64_t)2, (int64_t)3, (int64_t)7, (int64_t)6));
  for (int maximum = 0; maximum < 2; maximum++) {
    struct node *y = graph_node(g, maximum ? OP_max_pool2d : OP_avg_pool2d, &x, 1, &a, NULL);
    struct node *dy = leaf(g, "dy", BT_F32, y->type.shape);
    result(c, g, y);
    if (maximum)
      result(c, g, graph_node(g, OP_max_pool2d_dx, (struct node *[]){x, dy}, 2, &a, &x->type));
    else
      result(c, g, graph_node(g, OP_avg_pool2d_dx, &dy, 1, &a, &x->type));
  }
}

static void pools(struct cases *c) {
  for (int block = 0; block < 2; block++) {
    pool(c, 2, 2, 0, block);
    pool(c, 3, 2, 1, block);
    pool(c, 3, 1, 0, block);
  }
}

// ---- picking ----------------------------------------------------------------------------------

// Indices 0 … 4 of the leaf, times `scale`, plus `shift`: where they lie outside, nothing may be touched.
static void gather(struct cases *c, struct graph *g, struct node *x, int64_t axis, struct node *indices,
                   double scale, double shift) {
  struct attr a = {.n = 1, .i = {axis}};
  struct node *at = g_binary(g, OP_add, g_scale(g, indices, scale), g_full_like(g, indices, shift));
  struct node *y = graph_node(g, OP_gather, (struct node *[]){x, at}, 2, &a, NULL);
  result(c, g, y);
  if (!dtype_is_float(x->type.dtype)) return;
  struct node *dy = leaf(g, str_printf(g->b->arena, "dy%d", g->outputs.len), x->type.dtype, y->type.shape);
  result(c, g, graph_node(g, OP_gather_dx, (struct node *[]){dy, at}, 2, &a, &x->type));
}

static void gather_of(struct cases *c, dtype t, struct shape s, int64_t axis, struct shape picked) {
  struct graph *g = begin(c);
  struct node *x = leaf(g, "x", t, s), *narrow = leaf(g, "i", BT_I32, picked),
              *wide = leaf(g, "j", BT_I64, picked);
  gather(c, g, x, axis, narrow, 1, 0);    // within 5 rows
  gather(c, g, x, axis, wide, 1, -5);     // from the end
  gather(c, g, x, axis, narrow, 7, -13);  // most of them outside
  gather(c, g, x, axis, narrow, 5e8, -1e9); // far outside
  gather(c, g, x, axis, wide, 0x1p60, -0x1p61);
}

static void gathers(struct cases *c) {
  static const dtype types[] = {BT_F32, BT_F64, BT_I32, BT_I64, BT_U8, BT_BOOL};
  struct shape few = shape_of(1, (int64_t)9), many = shape_of(2, (int64_t)13, (int64_t)101);
  for (int i = 0; i < 6; i++) {
    gather_of(c, types[i], shape_of(2, (int64_t)6, (int64_t)37), 0, few);
    gather_of(c, types[i], shape_of(3, (int64_t)3, (int64_t)5, (int64_t)1), 1, few);
  }
  gather_of(c, BT_F32, shape_of(1, (int64_t)7), 0, shape_of(0));
  gather_of(c, BT_F32, shape_of(2, (int64_t)5, (int64_t)3), 0, many);      // a part of a vector
  gather_of(c, BT_F32, shape_of(2, (int64_t)41, (int64_t)48), 0, many);    // whole vectors, in stripes
  gather_of(c, BT_F32, shape_of(3, (int64_t)2, (int64_t)19, (int64_t)21), 1, many);
  gather_of(c, BT_F32, shape_of(2, (int64_t)3, (int64_t)4133), 0, shape_of(1, (int64_t)7)); // in blocks
  gather_of(c, BT_F32, shape_of(2, (int64_t)3, (int64_t)8192), 0, shape_of(1, (int64_t)7));
  gather_of(c, BT_F32, shape_of(1, (int64_t)20011), 0, many);
  struct graph *g = begin(c); // a permutation of itself, and of what was blocked
  struct node *p = leaf(g, "p", BT_I32, shape_of(1, (int64_t)5));
  struct attr a = {.n = 1, .i = {0}}, channel = {.n = 1, .i = {1}};
  result(c, g, graph_node(g, OP_gather, (struct node *[]){p, p}, 2, &a, NULL));
  result(c, g, graph_node(g, OP_gather, (struct node *[]){blocked(g, "x", 16), p}, 2, &channel, NULL));
}

// ---- updates ----------------------------------------------------------------------------------

// Momentum in place, an exchange of two states, an old value that is read after the new one exists.
static void updates(struct cases *c) {
  struct graph *g = begin(c);
  struct tensor_type t = {BT_F32, shape_of(2, (int64_t)5, (int64_t)7)};
  struct node *w = g_leaf(g, OP_param, "w", &t), *v = g_leaf(g, OP_state, "v", &t),
              *gr = leaf(g, "g", BT_F32, t.shape);
  struct node *p = g_leaf(g, OP_state, "p", &t), *q = g_leaf(g, OP_state, "q", &t),
              *r = g_leaf(g, OP_state, "r", &t);
  struct node *vn = g_binary(g, OP_add, g_scale(g, v, 0.9), gr);
  struct node *wn = g_binary(g, OP_sub, w, g_scale(g, vn, 0.1));
  graph_update(g, "v", vn);
  graph_update(g, "w", wn);
  graph_update(g, "p", q);
  graph_update(g, "q", p);
  graph_update(g, "r", g_matmul(g, r, g_matmul(g, r, r, true, false), false, false));
  int axes[] = {0, 1};
  result(c, g, g_reduce(g, OP_sum, g_binary(g, OP_mul, wn, w), axes, 2)); // old and new together
  result(c, g, wn);
  result(c, g, wn); // twice
  result(c, g, w);
}

// Two results of one sweep, of which the first may overwrite what only the second reads.
static void overwriting(struct cases *c) {
  struct graph *g = begin(c);
  struct node *x = leaf(g, "x", BT_F32, shape_of(2, (int64_t)19, (int64_t)19));
  struct node *a = g_matmul(g, x, x, true, false);
  struct node *v = leaf(g, "v", BT_F32, shape_of(1, (int64_t)19));
  struct shape s = x->type.shape;
  struct node *p = g_unary(
      g, OP_exp,
      g_binary(g, OP_mul, g_broadcast(g, v, &s, (int[]){0}), g_broadcast(g, v, &s, (int[]){1})));
  struct node *q = g_binary(g, OP_add, g_binary(g, OP_mul, p, p), a);
  result(c, g, g_matmul(g, g_matmul(g, p, q, false, false), x, true, false));
}

// ---- the tests --------------------------------------------------------------------------------

static struct cases all_cases(struct btc *b) {
  struct cases c = {.b = b};
  all_elementwise(&c);
  random_numbers(&c);
  broadcasts(&c);
  reshapes(&c);
  windows(&c, false);
  windows(&c, true);
  diagonals(&c);
  all_reductions(&c);
  fused_sweep(&c, false);
  fused_sweep(&c, true);
  products(&c);
  triangular(&c);
  convolutions(&c);
  pools(&c);
  gathers(&c);
  updates(&c);
  overwriting(&c);
  return c;
}

static void every_op_has_a_case(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct cases c = all_cases(b);
  for (int op = 0; op < OP_COUNT; op++)
    if (!c.covered[op] && op != OP_extern /* test_extern.c */) fail_msg("no case covers %s", op_info(op)->name);
  btc_free(b);
}

static void agrees_with_the_interpreter(void **state) {
  struct btc *b = btc_new();
  struct cases c = all_cases(b);
  struct compiled n = step_build(b, c.graphs.data, c.graphs.len, *state);
  for (int i = 0; i < c.graphs.len; i++) step_check(&n, i, 1);
  step_close(&n);
  btc_free(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_op_has_a_case),
      cmocka_unit_test_prestate(agrees_with_the_interpreter, (void *)marches[0]),
      cmocka_unit_test_prestate(agrees_with_the_interpreter, (void *)marches[1]),
      cmocka_unit_test_prestate(agrees_with_the_interpreter, (void *)marches[2]),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
