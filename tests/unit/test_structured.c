// test_structured.c: random expressions of the operations that the algebra of structured.h covers,
// with their gradients: what derive_gram makes of them has the same values, and no value of a
// product's size.
#include <stdlib.h>
#include <string.h>

#include "../../compiler/passes.h"
#include "../../compiler/regions.h"
#include "../../compiler/structured.h"
#include "graph_helper.h"

enum { INNER = 3, ROWS = 7, COLUMNS = 11, CASES = 1000 };

struct generator {
  struct btc *b;
  struct graph *g;
  uint64_t state;
  struct shape wide; // rows x columns
  int leaves;
};
struct matrix {
  struct node *node;
  int degree; // products that its entries multiply
};

static int roll(struct generator *r, int n) {
  r->state = r->state * 6364136223846793005u + 1442695040888963407u;
  return (int)((r->state >> 33) % (unsigned)n);
}

static bool is_square(const struct generator *r) { return r->wide.dim[0] == r->wide.dim[1]; }

// One of a few leaves of a shape, so that equal factors meet.
static struct node *leaf(struct generator *r, struct shape s) {
  const char *name = str_printf(r->b->arena, "p%s%d", shape_text(r->b->arena, &s), roll(r, 2));
  return g_leaf(r->g, OP_param, name, &(struct tensor_type){BT_F32, s});
}

static struct node *constant(struct generator *r) {
  static const double values[] = {0.5, -1, 2, 0.25, -0.75};
  return g_constant(r->g, BT_F32, values[roll(r, 5)]);
}

static struct node *scalar(struct generator *r) {
  return roll(r, 3) ? constant(r) : leaf(r, (struct shape){0});
}

// A number, or a vector along one axis, repeated.
static struct node *repeated(struct generator *r) {
  int axis = roll(r, 3);
  if (axis == 2) return g_broadcast(r->g, scalar(r), &r->wide, NULL);
  struct node *v = leaf(r, shape_of(1, r->wide.dim[axis]));
  if (roll(r, 3) == 0) v = g_unary(r->g, OP_tanh, v);
  return g_broadcast(r->g, v, &r->wide, &axis);
}

static struct node *eye(struct generator *r) {
  return g_binary(r->g, roll(r, 4) ? OP_eq : OP_ne, g_iota(r->g, BT_I32, &r->wide, 0),
                  g_iota(r->g, BT_I32, &r->wide, 1));
}

// x' y and the like: rows x columns.
static struct node *product(struct generator *r) {
  int64_t inner = roll(r, 5) ? INNER : 1;
  bool tx = roll(r, 2), ty = roll(r, 2);
  struct node *x =
      leaf(r, tx ? shape_of(2, inner, r->wide.dim[0]) : shape_of(2, r->wide.dim[0], inner));
  struct node *y =
      leaf(r, ty ? shape_of(2, r->wide.dim[1], inner) : shape_of(2, inner, r->wide.dim[1]));
  return g_matmul(r->g, x, y, tx, ty);
}

// A product scaled: what is safe to multiply with its like, entry by entry.
static struct node *scaled_product(struct generator *r) {
  struct node *x = product(r);
  for (int i = roll(r, 3); i > 0; i--) x = g_binary(r->g, OP_mul, x, repeated(r));
  if (roll(r, 3) == 0)
    x = g_binary(r->g, OP_add, product(r), g_broadcast(r->g, constant(r), &r->wide, NULL));
  if (roll(r, 4) == 0 && is_square(r)) x = g_transpose(r->g, x, (int[]){1, 0});
  return x;
}

static struct matrix random_matrix(struct generator *r, int depth);

static struct matrix square_of(struct generator *r) {
  struct node *x = scaled_product(r);
  return (struct matrix){g_binary(r->g, OP_mul, x, roll(r, 2) ? x : scaled_product(r)), 2};
}

static struct matrix masked(struct generator *r, int depth) {
  struct matrix x = random_matrix(r, depth - 1),
                y = roll(r, 2) ? random_matrix(r, depth - 1) : (struct matrix){repeated(r), 0};
  struct node *mask = eye(r), *as_number = g_cast(r->g, mask, BT_F32);
  int degree = x.degree > y.degree ? x.degree : y.degree;
  switch (roll(r, 5)) {
  case 0: return (struct matrix){g_binary(r->g, OP_sub, x.node, as_number), x.degree};
  case 1: return (struct matrix){g_binary(r->g, OP_mul, as_number, x.node), x.degree};
  case 2:
    return (struct matrix){g_where(r->g, g_unary(r->g, OP_not, mask), x.node, y.node), degree};
  case 3: {
    struct node *diagonal =
        g_binary(r->g, OP_eq, g_iota(r->g, BT_I32, &r->wide, 0), g_iota(r->g, BT_I32, &r->wide, 1));
    return (struct matrix){
        g_where(r->g, diagonal, g_unary(r->g, roll(r, 2) ? OP_abs : OP_tanh, x.node), y.node),
        degree};
  }
  default: return (struct matrix){g_where(r->g, mask, x.node, y.node), degree};
  }
}

static struct matrix sum_or_difference(struct generator *r, int depth) {
  struct matrix x = random_matrix(r, depth - 1),
                y = roll(r, 3) ? random_matrix(r, depth - 1) : (struct matrix){repeated(r), 0};
  enum op op = roll(r, 2) ? OP_add : OP_sub;
  return (struct matrix){g_binary(r->g, op, x.node, y.node),
                         x.degree > y.degree ? x.degree : y.degree};
}

static struct matrix matrix_product(struct generator *r, int depth) {
  struct matrix x = random_matrix(r, depth - 1), y = random_matrix(r, depth - 1);
  if (x.degree > 1 || y.degree > 1) return x;
  return (struct matrix){g_matmul(r->g, x.node, y.node, roll(r, 2), roll(r, 2)), 1};
}

static struct matrix random_matrix(struct generator *r, int depth) {
  if (depth == 0) return (struct matrix){product(r), 1};
  struct matrix x;
  switch (roll(r, is_square(r) ? 8 : 5)) {
  case 0: return square_of(r);
  case 1: return sum_or_difference(r, depth);
  case 2:
    x = random_matrix(r, depth - 1);
    return (struct matrix){g_unary(r->g, OP_neg, x.node), x.degree};
  case 3:
    x = random_matrix(r, depth - 1);
    return (struct matrix){g_binary(r->g, roll(r, 3) ? OP_mul : OP_div, x.node, repeated(r)),
                           x.degree};
  case 4: return (struct matrix){scaled_product(r), 1};
  case 5:
    x = random_matrix(r, depth - 1);
    return (struct matrix){g_transpose(r->g, x.node, (int[]){1, 0}), x.degree};
  case 6: return matrix_product(r, depth);
  default: return masked(r, depth);
  }
}

static struct node *thin(struct generator *r, struct matrix m) {
  int axes[] = {0, 1};
  switch (roll(r, is_square(r) ? 6 : 5)) {
  case 0: return g_reduce(r->g, OP_sum, m.node, axes, 2);
  case 1: return g_reduce(r->g, OP_sum, m.node, axes + roll(r, 2), 1);
  case 2:
    if (m.degree == 2) break;
    return g_matmul(r->g, leaf(r, shape_of(2, (int64_t)INNER, r->wide.dim[0])), m.node, false,
                    false);
  case 3:
    if (m.degree == 2) break;
    return g_matmul(r->g, m.node, leaf(r, shape_of(2, (int64_t)INNER, r->wide.dim[1])), false,
                    true);
  case 4:
    if (m.degree == 2) break;
    return g_matmul(r->g, m.node, leaf(r, shape_of(2, r->wide.dim[0], (int64_t)INNER)), true,
                    false);
  default:
    if (is_square(r)) return g_unary(r->g, OP_diag, m.node);
  }
  return g_reduce(r->g, OP_sum, m.node, axes, 2);
}

static struct node *total(struct generator *r, struct node *x) {
  int axes[] = {0, 1};
  struct node *y = roll(r, 2) ? g_unary(r->g, OP_tanh, g_scale(r->g, x, 0.01)) : x;
  return g_reduce(r->g, OP_sum, y, axes, x->type.shape.rank);
}

// Some thin results of random matrices, their sum, and its gradients.
static struct graph *random_graph_of(struct btc *b, unsigned seed) {
  struct generator r = {
      .b = b, .g = graph_new(b, "random"), .state = seed * 0x9e3779b97f4a7c15u + 1};
  r.wide = roll(&r, 4) ? shape_of(2, (int64_t)COLUMNS, (int64_t)COLUMNS)
                       : shape_of(2, (int64_t)ROWS, (int64_t)COLUMNS);
  struct node *loss = g_constant(r.g, BT_F32, 0), *wrt[64], *d[64];
  for (int i = 0, n = 1 + roll(&r, 3); i < n; i++) {
    struct node *x = thin(&r, random_matrix(&r, roll(&r, 4)));
    graph_output(r.g, str_printf(b->arena, "thin%d", i), BT_OUTPUT_VALUE, x);
    loss = g_binary(r.g, OP_add, loss, total(&r, x));
  }
  int n = 0;
  for (int i = 0; i < r.g->nodes.len && n < 64; i++)
    if (r.g->nodes.data[i]->op == OP_param) wrt[n++] = r.g->nodes.data[i];
  graph_gradients(r.g, loss, NULL, wrt, n, d);
  graph_output(r.g, "loss", BT_OUTPUT_LOSS, loss);
  for (int i = 0; i < n; i++)
    if (d[i]) graph_output(r.g, str_printf(b->arena, "d%s", wrt[i]->attr.s), BT_OUTPUT_VALUE, d[i]);
  return r.g;
}

static int count_wide(const struct graph *g) {
  int count = 0;
  for (int i = 0; i < g->nodes.len; i++)
    count += shape_count(&g->nodes.data[i]->type.shape) >= ROWS * COLUMNS;
  return count;
}

static void equals_the_plain_graph(void **state) {
  (void)state;
  int refused = 0;
  for (unsigned seed = 0; seed < CASES; seed++) {
    struct btc *b = btc_new();
    const char *why = NULL;
    struct graph *plain = passes_run(b, random_graph_of(b, seed), NULL),
                 *g = derive_gram(plain, NULL, &why);
    if (getenv("SHOW") && (unsigned)atoi(getenv("SHOW")) == seed) graph_print(stdout, plain);
    if (g) {
      graph_verify(g, "derive_gram");
      if (getenv("SHOW")) printf("%u\n", seed), fflush(stdout);
      assert_same_values(plain, g, seed);
      if (count_wide(g))
        fail_msg("seed %u: %d wide values\n%s", seed, count_wide(g), text_of_graph(g));
    } else {
      refused++;
      if (getenv("SHOW")) printf("%u refused: %s\n", seed, why);
    }
    btc_free(b);
  }
  printf("  %d of %d refused\n", refused, CASES);
  assert_true(refused < CASES / 4);
}

// ---- weights ----------------------------------------------------------------------------------

// Spellings of 1/v, with v under a root, and of u v w, times constants.
static void puts_weights_in_one_form(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct algebra a = {.fold = {.g = graph_new(b, "weights")}, .arena = b->arena};
  struct graph *g = a.fold.g;
  struct tensor_type t = {BT_F32, shape_of(1, (int64_t)COLUMNS)};
  struct node *u = g_leaf(g, OP_param, "u", &t), *v = g_leaf(g, OP_param, "v", &t),
              *w = g_leaf(g, OP_param, "w", &t);
  struct node *root = g_unary(g, OP_sqrt, v), *r = g_unary(g, OP_rsqrt, v),
              *one = g_full_like(g, v, 1);
  struct node *inverse = g_binary(g, OP_div, one, root),
              *cube = g_binary(g, OP_mul, r, g_binary(g, OP_mul, r, r));
  double c[5] = {2, 2, 2, 1, 1};
  struct node *square = algebra_weights(&a, r, r, &c[0]);
  assert_true(square->op == OP_mul && square->in[0] == square->in[1]);
  assert_ptr_equal(square, algebra_weights(&a, inverse, g_scale(g, inverse, 3), &c[1]));
  assert_ptr_equal(square, algebra_weights(&a, root, g_unary(g, OP_neg, cube), &c[2]));
  assert_true(c[0] == 2 && c[1] == 6 && c[2] == -2);
  struct node *uvw = algebra_weights(&a, g_binary(g, OP_mul, u, v), w, &c[3]);
  assert_ptr_equal(uvw, algebra_weights(&a, g_binary(g, OP_mul, w, u), g_scale(g, v, 0.5), &c[4]));
  assert_true(c[3] == 1 && c[4] == 0.5);
  assert_null(algebra_weights(&a, root, r, &c[3])); // 1
  struct node *both =
      algebra_weights(&a, g_binary(g, OP_mul, u, w), g_binary(g, OP_mul, w, u), &c[3]);
  assert_true(both->op == OP_mul && both->in[0] == both->in[1]);
  btc_free(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(equals_the_plain_graph),
                                     cmocka_unit_test(puts_weights_in_one_form)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
