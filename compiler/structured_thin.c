// structured_thin.c: what is thin of a structured matrix: its sums, its diagonal, its products with
// thin matrices.
//
// Notation: a term is c·s·(u w') ∘ (A B') ∘ (C D'), that is tᵢⱼ = c s uᵢ wⱼ (Σₖ Aᵢₖ Bⱼₖ)(Σₗ Cᵢₗ
// Dⱼₗ); the identities below leave c and s out. "diag" in a formula makes a matrix of a vector.
//
// What is off the diagonal is what the terms say, so with e = diagonal - diag(terms), 0 where the
// terms say the diagonal too, the matrix is M = terms + diag(e):
//
//   Σ M = Σ terms + Σ e        M 1 = terms 1 + e        X M = X terms + X diag(e)
#include "structured.h"

// ---- arithmetic on thin nodes -----------------------------------------------------------------

static struct node *mul(struct algebra *a, struct node *x, struct node *y) {
  return fold_binary(&a->fold, OP_mul, x, y);
}

static struct node *add(struct algebra *a, struct node *x, struct node *y) {
  return !x ? y : !y ? x : fold_binary(&a->fold, OP_add, x, y);
}

static struct node *matmul(struct algebra *a, struct node *x, bool turn_x, struct node *y,
                           bool turn_y) {
  struct attr flags = {.n = 2, .i = {[MATMUL_TA] = turn_x, [MATMUL_TB] = turn_y}};
  return fold_node(&a->fold, OP_matmul, (struct node *[]){x, y}, 2, &flags, NULL);
}

struct node *algebra_product(struct algebra *a, struct node *x, struct node *y) {
  return !x ? y : !y ? x : mul(a, x, y);
}

static struct node *repeat(struct algebra *a, struct node *x, const struct shape *to, int axis) {
  return fold_broadcast(&a->fold, x, to, (int64_t[]){axis});
}

struct node *algebra_scaled(struct algebra *a, struct node *x, double c, struct node *scalar) {
  if (scalar) x = mul(a, x, repeat(a, scalar, &x->type.shape, 0));
  return c == 1 ? x : mul(a, x, fold_full(&a->fold, &x->type, c));
}

struct node *algebra_along(struct algebra *a, struct node *x, struct node *v, int axis) {
  return v ? mul(a, x, repeat(a, v, &x->type.shape, axis)) : x;
}

static struct node *zeros(struct algebra *a, dtype t, const struct shape *shape) {
  return fold_full(&a->fold, &(struct tensor_type){t, *shape}, 0);
}

static struct node *turned(struct algebra *a, struct node *x) {
  return fold_transpose(&a->fold, x, (int64_t[]){1, 0});
}

// ---- factors ----------------------------------------------------------------------------------

static int outer_axis(const struct factor *f) { return f->inner_first ? 1 : 0; }

int64_t factor_outer(const struct factor *f) { return f->node->type.shape.dim[outer_axis(f)]; }
int64_t factor_inner(const struct factor *f) { return f->node->type.shape.dim[1 - outer_axis(f)]; }

static bool same_factor(const struct factor *f, const struct factor *g) {
  return f->node == g->node && f->inner_first == g->inner_first;
}

static struct node *gram_in_order(struct algebra *a, const struct factor *f, struct node *v,
                                  const struct factor *g) {
  struct node *x = f->node, *y = g->node;
  x = algebra_along(a, x, v, outer_axis(f));
  if (v && same_factor(f, g) && v->op == OP_mul && v->in[0] == v->in[1])
    x = y = algebra_along(a, y, v->in[0], outer_axis(g));
  return matmul(a, x, !f->inner_first, y, g->inner_first);
}

// Where F = G and v = s², F' diag(v) F = (diag(s) F)' (diag(s) F) is symmetric and looks it. F'
// diag(v) G and G' diag(v) F are one product: that of the older node first.
struct node *factor_gram(struct algebra *a, const struct factor *f, struct node *v,
                         const struct factor *g) {
  if (f->node->id <= g->node->id) return gram_in_order(a, f, v, g);
  return turned(a, gram_in_order(a, g, v, f));
}

// Σᵢ Fᵢₖ vᵢ for each k.
static struct node *outer_sums(struct algebra *a, const struct factor *f, struct node *v) {
  int outer = outer_axis(f);
  return fold_sum(&a->fold, algebra_along(a, f->node, v, outer), 1u << outer);
}

// Σₖ Fᵢₖ vₖ for each i.
static struct node *inner_sums(struct algebra *a, const struct factor *f, struct node *v) {
  int inner = 1 - outer_axis(f);
  return fold_sum(&a->fold, algebra_along(a, f->node, v, inner), 1u << inner);
}

// Σₖ Fᵢₖ Gᵢₖ for each i.
static struct node *row_dots(struct algebra *a, const struct factor *f, const struct factor *g) {
  struct node *y = f->inner_first == g->inner_first ? g->node : turned(a, g->node);
  return fold_sum(&a->fold, mul(a, f->node, y), 1u << (1 - outer_axis(f)));
}

// ---- terms ------------------------------------------------------------------------------------

static struct node *sum_of(struct algebra *a, const struct tensor_type *m, struct node *v,
                           int axis) {
  if (v) return fold_sum(&a->fold, v, 1);
  return fold_full(&a->fold, &(struct tensor_type){.dtype = m->dtype}, (double)m->shape.dim[axis]);
}

// Σⱼ wⱼ (A B')ᵢⱼ (C D')ᵢⱼ = Σₖₗ Aᵢₖ (B' diag(w) D)ₖₗ Cᵢₗ: the rows of A against those of C G', G
// the Gram product in the middle.
static struct node *row_sums_of_two(struct algebra *a, const struct term *t, struct node *w) {
  const struct factor *x = &t->pair[0].a, *y = &t->pair[1].a;
  struct node *g = factor_gram(a, &t->pair[0].b, w, &t->pair[1].b);
  struct factor moved = {matmul(a, g, false, y->node, !y->inner_first), true};
  return row_dots(a, &moved, x);
}

struct node *term_row_sums(struct algebra *a, const struct tensor_type *type, const struct term *t,
                           struct node *v) {
  double c = t->c;
  struct node *w = algebra_weights(a, t->column, v, &c), *sums;
  if (t->degree == 2) {
    sums = row_sums_of_two(a, t, w);
  } else if (t->degree == 1) { // A (B' w)
    sums = inner_sums(a, &t->pair[0].a, outer_sums(a, &t->pair[0].b, w));
  } else {
    struct shape rows = shape_of(1, type->shape.dim[0]);
    sums = repeat(a, sum_of(a, type, w, 1), &rows, 0);
  }
  return algebra_scaled(a, algebra_product(a, sums, t->row), c, t->scalar);
}

// Two products: Σᵢⱼ uᵢ wⱼ (A B')ᵢⱼ (C D')ᵢⱼ = Σₖₗ (A' diag(u) C)ₖₗ (B' diag(w) D)ₖₗ, the inner
// product of two Gram products; of a product with itself, ‖A B'‖² = ⟨A'A, B'B⟩. One: Σₖ (A'u)ₖ
// (B'w)ₖ.
static struct node *term_sum(struct algebra *a, const struct tensor_type *type,
                             const struct term *t) {
  const struct pair *p = t->pair;
  struct node *sum;
  if (t->degree == 2) {
    int first = p[0].a.node->id <= p[1].a.node->id ? 0 : 1; // in which no transpose is needed
    struct node *rows = factor_gram(a, &p[first].a, t->row, &p[1 - first].a),
                *columns = factor_gram(a, &p[first].b, t->column, &p[1 - first].b);
    sum = fold_sum(&a->fold, mul(a, rows, columns), 3);
  } else if (t->degree == 1) {
    struct node *rows = outer_sums(a, &p[0].a, t->row);
    sum = fold_sum(&a->fold, mul(a, rows, outer_sums(a, &p[0].b, t->column)), 1);
  } else {
    sum = mul(a, sum_of(a, type, t->row, 0), sum_of(a, type, t->column, 1));
  }
  return algebra_scaled(a, sum, t->c, t->scalar);
}

static struct node *term_diagonal(struct algebra *a, const struct tensor_type *type,
                                  const struct term *t) {
  struct node *d = algebra_product(a, t->row, t->column);
  for (int i = 0; i < t->degree; i++)
    d = algebra_product(a, row_dots(a, &t->pair[i].a, &t->pair[i].b), d);
  struct tensor_type vector = {type->dtype, shape_of(1, type->shape.dim[0])};
  return algebra_scaled(a, d ? d : fold_full(&a->fold, &vector, 1), t->c, t->scalar);
}

// X (diag(u) A B' diag(w)) = ((X diag(u) A) B') diag(w); without a product, (X u) w'.
static struct node *term_times(struct algebra *a, struct node *x, bool turn_x, const struct term *t,
                               bool turn_result, int64_t columns) {
  struct factor from = {x, !turn_x}; // X' seen from the rows of the term
  struct node *y;
  int column_axis = turn_result ? 0 : 1;
  if (t->degree == 1) {
    const struct factor *b = &t->pair[0].b;
    struct node *g = factor_gram(a, &from, t->row, &t->pair[0].a);
    y = turn_result ? matmul(a, b->node, b->inner_first, g, true)
                    : matmul(a, g, false, b->node, !b->inner_first);
  } else {
    struct node *sums = outer_sums(a, &from, t->row);
    struct shape to = {.rank = 2};
    to.dim[column_axis] = columns;
    to.dim[1 - column_axis] = factor_inner(&from);
    y = repeat(a, sums, &to, 1 - column_axis);
  }
  return algebra_scaled(a, algebra_along(a, y, t->column, column_axis), t->c, t->scalar);
}

// ---- matrices ---------------------------------------------------------------------------------

static struct node *diagonal_of_terms(struct algebra *a, const struct structured *x) {
  struct node *d = NULL;
  for (int i = 0; i < x->terms.len; i++)
    d = add(a, d, term_diagonal(a, &x->type, &x->terms.data[i]));
  struct shape vector = shape_of(1, x->type.shape.dim[0]);
  return d ? d : zeros(a, x->type.dtype, &vector);
}

struct node *structured_diagonal(struct algebra *a, const struct structured *x) {
  return x->diagonal ? x->diagonal : diagonal_of_terms(a, x);
}

struct node *structured_excess(struct algebra *a, const struct structured *x) {
  if (!x->diagonal) return NULL;
  struct node *of_terms = diagonal_of_terms(a, x);
  return of_terms == x->diagonal ? NULL : fold_binary(&a->fold, OP_sub, x->diagonal, of_terms);
}

static struct node *sum_all(struct algebra *a, const struct structured *x) {
  struct node *e = structured_excess(a, x), *sum = NULL;
  for (int i = 0; i < x->terms.len; i++)
    sum = add(a, sum, term_sum(a, &x->type, &x->terms.data[i]));
  if (e) sum = add(a, sum, fold_sum(&a->fold, e, 1));
  return sum ? sum : zeros(a, x->type.dtype, &(struct shape){0});
}

static struct node *row_sums(struct algebra *a, const struct structured *x) {
  struct node *sums = NULL;
  for (int i = 0; i < x->terms.len; i++)
    sums = add(a, sums, term_row_sums(a, &x->type, &x->terms.data[i], NULL));
  sums = add(a, sums, structured_excess(a, x));
  struct shape rows = shape_of(1, x->type.shape.dim[0]);
  return sums ? sums : zeros(a, x->type.dtype, &rows);
}

struct node *structured_sum(struct algebra *a, const struct structured *x, unsigned axes,
                            const char **why) {
  *why = x->why;
  if (x->why) return NULL;
  if (axes == 3) return sum_all(a, x);
  return row_sums(a, axes == 2 ? x : structured_transpose(a, x));
}

struct node *structured_times(struct algebra *a, struct node *x, bool turn_x,
                              const struct structured *m, bool turn_result, const char **why) {
  *why = m->why;
  int64_t rows = x->type.shape.dim[turn_x ? 1 : 0], columns = m->type.shape.dim[1];
  struct node *y = NULL;
  for (int i = 0; i < m->terms.len && !*why; i++) {
    const struct term *t = &m->terms.data[i];
    if (t->degree == 2)
      *why = str_printf(a->arena, "squares of the values of %s are multiplied by another matrix",
                        product_text(a->fold.g->b, t->pair[0].origin));
    else
      y = add(a, y, term_times(a, x, turn_x, t, turn_result, columns));
  }
  if (*why) return NULL;
  struct node *e = structured_excess(a, m);
  if (e) {
    struct node *scaled = algebra_along(a, x, e, turn_x ? 0 : 1);
    y = add(a, y, turn_x == turn_result ? scaled : turned(a, scaled));
  }
  struct shape to = turn_result ? shape_of(2, columns, rows) : shape_of(2, rows, columns);
  return y ? y : zeros(a, m->type.dtype, &to);
}
