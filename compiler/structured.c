// structured.c: making and combining structured matrices. See structured.h.
//
// A result's diagonal is computed from the operands' diagonals, by the program's own op, as soon as
// one of them is kept apart; its terms from their terms. Both are exact in real arithmetic.
//
// In floating point expanding a square can lose digits: Σ(cᵢⱼ + rᵢ)² as Σcᵢⱼ² + 2Σcᵢⱼrᵢ + Σrᵢ²
// cancels where c ≈ -r, which is just where centring leads. A constant beside a product is let
// through (HSIC's cᵢⱼ + 1: a product of short inner size cannot be near -1 everywhere off its
// diagonal and near 1 on it), and several products of one sign; a difference of products, and what
// varies, are refused.
#include <string.h>

#include "places.h"
#include "structured.h"

// ---- words ------------------------------------------------------------------------------------

const char *place_text(struct btc *b, struct loc loc) {
  const char *name = place_name(b, loc);
  return name ? str_printf(b->arena, " at %s", name) : "";
}

enum { LONGEST_QUOTE = 60 };

// The text of a place that is a piece of one line; NULL: too long to be quoted, or none.
static const char *quoted(struct btc *b, struct loc loc) {
  if (!loc.line || loc.file >= b->files.len || loc.line != loc.end_line) return NULL;
  int length = loc.end_column - loc.column;
  if (length < 1 || length > LONGEST_QUOTE) return NULL;
  const char *line = b->files.data[loc.file].text;
  for (int i = 1; i < loc.line && line; i++)
    line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL;
  return line ? str_ndup(b->arena, line + loc.column - 1, (size_t)length) : NULL;
}

const char *product_text(struct btc *b, const struct node *n) {
  const char *quote = quoted(b, n->loc), *at = place_text(b, n->loc);
  if (quote) return str_printf(b->arena, "`%s`%s", quote, at);
  return str_printf(b->arena, "the %s product%s", shape_text(b->arena, &n->type.shape), at);
}

// ---- terms ------------------------------------------------------------------------------------

static bool same_pair(const struct pair *p, const struct pair *q) {
  return p->a.node == q->a.node && p->a.inner_first == q->a.inner_first && p->b.node == q->b.node &&
         p->b.inner_first == q->b.inner_first;
}

static bool alike(const struct term *t, const struct term *r) {
  if (t->scalar != r->scalar || t->row != r->row || t->column != r->column ||
      t->degree != r->degree)
    return false;
  for (int i = 0; i < t->degree; i++)
    if (!same_pair(&t->pair[i], &r->pair[i])) return false;
  return true;
}

// Adds factor·t. Alike terms are one; a term of factor 0 is none. (That drops infinities and NaN of
// its products. They still reach the diagonal: if an entry of row i of A or of row j of B is not
// finite, neither is (A B')ᵢᵢ or (A B')ⱼⱼ.)
static void add_term(struct algebra *a, struct structured *s, const struct term *t, double factor) {
  for (int i = 0; i < s->terms.len; i++) {
    struct term *known = &s->terms.data[i];
    if (!alike(known, t)) continue;
    known->c += factor * t->c;
    if (known->c == 0) *known = s->terms.data[--s->terms.len];
    return;
  }
  struct term scaled = *t;
  scaled.c *= factor;
  if (scaled.c != 0) vec_push(a->arena, &s->terms, scaled);
}

static void add_terms(struct algebra *a, struct structured *to, const struct structured *x,
                      double factor) {
  for (int i = 0; i < x->terms.len; i++) add_term(a, to, &x->terms.data[i], factor);
}

struct term term_transpose(const struct term *t) {
  struct term r = *t;
  r.row = t->column;
  r.column = t->row;
  for (int i = 0; i < t->degree; i++) {
    r.pair[i].a = t->pair[i].b;
    r.pair[i].b = t->pair[i].a;
  }
  return r;
}

// ---- making -----------------------------------------------------------------------------------

static struct structured *new_structured(struct algebra *a, dtype t, int64_t rows,
                                         int64_t columns) {
  struct structured *s = NEW(a->arena, struct structured);
  s->type = (struct tensor_type){t, shape_of(2, rows, columns)};
  return s;
}

static bool is_square(const struct structured *s) {
  return s->type.shape.dim[0] == s->type.shape.dim[1];
}

struct structured *structured_product(struct algebra *a, struct node *x, bool turn_x,
                                      struct node *y, bool turn_y, const struct node *origin) {
  struct pair p = {{x, turn_x}, {y, !turn_y}, origin};
  struct structured *s = new_structured(a, x->type.dtype, factor_outer(&p.a), factor_outer(&p.b));
  add_term(a, s, &(struct term){.c = 1, .degree = 1, .pair = {p}}, 1);
  s->origin = origin;
  return s;
}

// The term of a value that is repeated along both axes, or along one.
static struct term repeated(struct algebra *a, struct node *x, int axis) {
  struct term t = {.c = 1};
  double value;
  if (fold_constant(x, &value)) {
    t.c = value;
    return t;
  }
  int rank = x->type.shape.rank;
  x = algebra_weights(a, x, NULL, &t.c);
  if (rank == 0)
    t.scalar = x;
  else if (axis == 0)
    t.row = x;
  else
    t.column = x;
  return t;
}

struct structured *structured_repeat(struct algebra *a, struct node *x, int axis,
                                     const struct tensor_type *type) {
  struct structured *s = new_structured(a, type->dtype, type->shape.dim[0], type->shape.dim[1]);
  struct term t = repeated(a, x, axis);
  add_term(a, s, &t, 1);
  return s;
}

struct structured *structured_stored(struct algebra *a, struct node *x, const char *why) {
  const struct shape *shape = &x->type.shape;
  struct structured *s = new_structured(a, x->type.dtype, shape->dim[0], shape->dim[1]);
  s->why = why;
  if (is_square(s)) s->diagonal = fold_unary(&a->fold, OP_diag, x);
  return s;
}

struct structured *structured_transpose(struct algebra *a, const struct structured *x) {
  struct structured *s =
      new_structured(a, x->type.dtype, x->type.shape.dim[1], x->type.shape.dim[0]);
  for (int i = 0; i < x->terms.len; i++) {
    struct term t = term_transpose(&x->terms.data[i]);
    add_term(a, s, &t, 1);
  }
  s->diagonal = x->diagonal;
  s->why = x->why;
  s->origin = x->origin;
  return s;
}

// ---- lines ------------------------------------------------------------------------------------
// Many a matrix repeats one line, or one number, off its diagonal: masks of the diagonal, broadcast
// vectors. Any function of such lines is a function of vectors.

enum direction { A_NUMBER, ALONG_ROWS, ALONG_COLUMNS }; // ALONG_ROWS: a value for each row
struct line {
  enum direction direction;
  struct node *node;
};

static enum direction direction_of(const struct term *t) {
  return t->row ? ALONG_ROWS : t->column ? ALONG_COLUMNS : A_NUMBER;
}

static struct node *stretched(struct algebra *a, struct node *x, const struct shape *to) {
  return x->type.shape.rank < to->rank ? fold_broadcast(&a->fold, x, to, NULL) : x;
}

static struct node *line_of_term(struct algebra *a, const struct term *t, dtype type) {
  struct node *v = t->row ? t->row : t->column;
  if (v) return algebra_scaled(a, v, t->c, t->scalar);
  if (t->scalar) return algebra_scaled(a, t->scalar, t->c, NULL);
  return fold_full(&a->fold, &(struct tensor_type){.dtype = type}, t->c);
}

static bool line_add(struct algebra *a, struct line *l, const struct term *t, dtype type) {
  enum direction d = direction_of(t);
  if (t->degree || (t->row && t->column)) return false;
  if (d != A_NUMBER && l->direction != A_NUMBER && d != l->direction) return false;
  struct node *x = line_of_term(a, t, type);
  if (d != A_NUMBER) l->direction = d;
  if (l->node) {
    const struct shape *wider = x->type.shape.rank ? &x->type.shape : &l->node->type.shape;
    x = fold_binary(&a->fold, OP_add, stretched(a, l->node, wider), stretched(a, x, wider));
  }
  l->node = x;
  return true;
}

static bool as_line(struct algebra *a, const struct structured *s, struct line *l) {
  *l = (struct line){0};
  if (s->why) return false;
  for (int i = 0; i < s->terms.len; i++)
    if (!line_add(a, l, &s->terms.data[i], s->type.dtype)) return false;
  if (!l->node) l->node = fold_full(&a->fold, &(struct tensor_type){.dtype = s->type.dtype}, 0);
  return true;
}

// i = j never holds off the diagonal, and always on it.
static bool compares_indices(const struct node *n, const struct line *l) {
  return (n->op == OP_eq || n->op == OP_ne) && l[0].direction != A_NUMBER &&
         l[1].direction != A_NUMBER && l[0].direction != l[1].direction && l[0].node == l[1].node &&
         l[0].node->op == OP_iota;
}

static bool diagonal_mask(struct algebra *a, const struct node *n, const struct line *l,
                          struct structured *out) {
  if (!is_square(out) || !compares_indices(n, l)) return false;
  struct tensor_type vector = {BT_BOOL, shape_of(1, out->type.shape.dim[0])};
  add_term(a, out, &(struct term){.c = n->op == OP_ne}, 1);
  out->diagonal = fold_full(&a->fold, &vector, n->op == OP_eq);
  return true;
}

// The op on lines, if all operands are lines of one direction.
static bool on_lines(struct algebra *a, const struct node *n, struct structured *const *in,
                     struct structured *out) {
  struct line l[3];
  struct node *operand[3];
  struct line to = {0};
  struct shape shape = {0};
  for (int i = 0; i < n->n_in; i++)
    if (!as_line(a, in[i], &l[i])) return false;
  if (diagonal_mask(a, n, l, out)) return true;
  for (int i = 0; i < n->n_in; i++) {
    if (l[i].direction == A_NUMBER) continue;
    if (to.direction != A_NUMBER && to.direction != l[i].direction) return false;
    to.direction = l[i].direction;
    shape = l[i].node->type.shape;
  }
  for (int i = 0; i < n->n_in; i++) operand[i] = stretched(a, l[i].node, &shape);
  struct tensor_type type = {n->type.dtype, shape};
  struct node *y = fold_node(&a->fold, n->op, operand, n->n_in, &n->attr, &type);
  struct term t = repeated(a, y, to.direction == ALONG_ROWS ? 0 : 1);
  add_term(a, out, &t, 1);
  return true;
}

// ---- off the diagonal -------------------------------------------------------------------------

static const char *one_by_one(struct algebra *a, const struct node *n,
                              const struct structured *out) {
  struct btc *b = a->fold.g->b;
  const char *op = op_info(n->op)->name, *at = place_text(b, n->loc);
  if (!out->origin)
    return str_printf(b->arena, "%s%s makes a matrix that is neither a diagonal nor repeats a line",
                      op, at);
  return str_printf(b->arena, "the values of %s are used one by one by %s%s",
                    product_text(b, out->origin), op, at);
}

static const char *too_many(struct algebra *a, const struct node *n, const struct structured *out) {
  struct btc *b = a->fold.g->b;
  return str_printf(b->arena, "values of %s are multiplied by one another more than twice by %s%s",
                    product_text(b, out->origin), op_info(n->op)->name, place_text(b, n->loc));
}

static const char *cancels(struct algebra *a, const struct node *n, const struct structured *out) {
  struct btc *b = a->fold.g->b;
  return str_printf(b->arena,
                    "digits would be lost: %s and what is added to it are squared together by "
                    "%s%s, and may cancel",
                    product_text(b, out->origin), op_info(n->op)->name, place_text(b, n->loc));
}

// May x be a factor of an expanded product? See the head of this file.
static bool expands_safely(const struct structured *x) {
  int products = 0, positive = 0, scaled = 0, varying = 0;
  for (int i = 0; i < x->terms.len; i++) {
    const struct term *t = &x->terms.data[i];
    bool constant = !t->scalar && !t->row && !t->column;
    products += t->degree > 0;
    positive += t->degree > 0 && t->c > 0;
    scaled += t->degree > 0 && !constant;
    varying += t->degree == 0 && !constant;
  }
  if (products == 0) return true;
  return varying == 0 && (products == 1 || (!scaled && (positive == 0 || positive == products)));
}

int structured_degree(const struct structured *x) {
  int degree = 0;
  for (int i = 0; i < x->terms.len; i++)
    if (x->terms.data[i].degree > degree) degree = x->terms.data[i].degree;
  return degree;
}

static struct term entrywise(struct algebra *a, const struct term *t, const struct term *r) {
  struct term p = *t;
  p.c *= r->c;
  p.scalar = algebra_weights(a, t->scalar, r->scalar, &p.c);
  p.row = algebra_weights(a, t->row, r->row, &p.c);
  p.column = algebra_weights(a, t->column, r->column, &p.c);
  for (int i = 0; i < r->degree; i++) p.pair[p.degree++] = r->pair[i];
  return p;
}

// (Σ tᵢ) ∘ (Σ rⱼ) = Σ tᵢ ∘ rⱼ
static const char *multiply(struct algebra *a, const struct node *n, const struct structured *x,
                            const struct structured *y, struct structured *out) {
  int degree_x = structured_degree(x), degree_y = structured_degree(y);
  if (degree_x + degree_y > 2) return too_many(a, n, out);
  if (degree_x && degree_y && !(expands_safely(x) && expands_safely(y))) return cancels(a, n, out);
  for (int i = 0; i < x->terms.len; i++)
    for (int j = 0; j < y->terms.len; j++) {
      struct term t = entrywise(a, &x->terms.data[i], &y->terms.data[j]);
      add_term(a, out, &t, 1);
    }
  return NULL;
}

static struct node *inverse(struct algebra *a, struct node *x) {
  return x ? fold_binary(&a->fold, OP_div, fold_full(&a->fold, &x->type, 1), x) : NULL;
}

// x / (c s u w') = x ∘ (1/c)(1/s)(1/u)(1/w)'
static const char *divide(struct algebra *a, const struct node *n, const struct structured *x,
                          const struct structured *y, struct structured *out) {
  if (y->terms.len != 1 || y->terms.data[0].degree) return one_by_one(a, n, out);
  struct term t = y->terms.data[0];
  t.c = 1 / t.c;
  t.scalar = inverse(a, t.scalar);
  t.row = inverse(a, t.row);
  t.column = inverse(a, t.column);
  struct structured by = {.type = y->type};
  add_term(a, &by, &t, 1);
  return multiply(a, n, x, &by, out);
}

static bool same_terms(const struct structured *x, const struct structured *y) {
  if (x->why || y->why || x->terms.len != y->terms.len) return false;
  for (int i = 0; i < x->terms.len; i++)
    if (!alike(&x->terms.data[i], &y->terms.data[i]) || x->terms.data[i].c != y->terms.data[i].c)
      return false;
  return true;
}

// A choice by a mask that is one constant off the diagonal, or between equals.
static const char *choose(struct algebra *a, const struct node *n, struct structured *const *in,
                          struct structured *out) {
  struct line mask;
  double value;
  if (same_terms(in[1], in[2])) {
    add_terms(a, out, in[1], 1);
    return NULL;
  }
  if (!as_line(a, in[0], &mask) || !fold_constant(mask.node, &value)) return one_by_one(a, n, out);
  const struct structured *chosen = in[value != 0 ? 1 : 2];
  add_terms(a, out, chosen, 1);
  return chosen->why;
}

static const char *combine(struct algebra *a, const struct node *n, struct structured *const *in,
                           struct structured *out) {
  if (n->op == OP_where) return choose(a, n, in, out);
  for (int i = 0; i < n->n_in; i++)
    if (in[i]->why) return in[i]->why;
  if (!dtype_is_float(n->type.dtype)) return one_by_one(a, n, out);
  switch (n->op) {
  case OP_neg: add_terms(a, out, in[0], -1); return NULL;
  case OP_add: add_terms(a, out, in[0], 1), add_terms(a, out, in[1], 1); return NULL;
  case OP_sub: add_terms(a, out, in[0], 1), add_terms(a, out, in[1], -1); return NULL;
  case OP_mul: return multiply(a, n, in[0], in[1], out);
  case OP_div: return divide(a, n, in[0], in[1], out);
  default: return one_by_one(a, n, out);
  }
}

// ---- the op -----------------------------------------------------------------------------------

static bool diagonals_apart(const struct node *n, struct structured *const *in,
                            const struct structured *out) {
  bool apart = out->why != NULL;
  for (int i = 0; i < n->n_in; i++) apart |= in[i]->diagonal != NULL;
  return apart && is_square(out);
}

static struct node *op_on_diagonals(struct algebra *a, const struct node *n,
                                    struct structured *const *in) {
  struct node *operand[3];
  for (int i = 0; i < n->n_in; i++) operand[i] = structured_diagonal(a, in[i]);
  struct tensor_type type = {n->type.dtype, shape_of(1, n->type.shape.dim[0])};
  return fold_node(&a->fold, n->op, operand, n->n_in, &n->attr, &type);
}

struct structured *structured_elementwise(struct algebra *a, const struct node *n,
                                          struct structured *const *in) {
  const struct shape *shape = &n->type.shape;
  struct structured *out = new_structured(a, n->type.dtype, shape->dim[0], shape->dim[1]);
  for (int i = 0; i < n->n_in && !out->origin; i++) out->origin = in[i]->origin;
  if (!on_lines(a, n, in, out)) out->why = combine(a, n, in, out);
  if (!out->diagonal && diagonals_apart(n, in, out)) out->diagonal = op_on_diagonals(a, n, in);
  return out;
}

// ---- products of two --------------------------------------------------------------------------

// F G: outer of F x columns of G, as a factor stored like F.
static struct factor factor_times(struct algebra *a, const struct factor *f, struct node *g,
                                  bool turn_g) {
  struct node *left = f->inner_first ? g : f->node, *right = f->inner_first ? f->node : g;
  struct attr flags = {
      .n = 2,
      .i = {[MATMUL_TA] = f->inner_first && !turn_g, [MATMUL_TB] = !f->inner_first && turn_g}};
  struct node *y = fold_node(&a->fold, OP_matmul, (struct node *[]){left, right}, 2, &flags, NULL);
  return (struct factor){y, f->inner_first};
}

// (A B') diag(v) (C D') = A G D' with the Gram product G = B' diag(v) C, which goes to the side
// where that is less work.
static struct pair pair_product(struct algebra *a, const struct pair *p, struct node *v,
                                const struct pair *q) {
  struct node *g = factor_gram(a, &p->b, v, &q->a);
  if (factor_outer(&p->a) <= factor_outer(&q->b))
    return (struct pair){factor_times(a, &p->a, g, false), q->b, p->origin};
  return (struct pair){p->a, factor_times(a, &q->b, g, true), p->origin};
}

// t r for terms t of x and r of y. Without a product on one side the result is of rank one:
// (u w') r = u (r'w)'.
static const char *term_product(struct algebra *a, const struct structured *x, const struct term *t,
                                const struct structured *y, const struct term *r,
                                struct term *out) {
  *out = (struct term){.c = t->c, .scalar = t->scalar, .row = t->row};
  if (t->degree == 0) {
    struct term turned = term_transpose(r);
    struct tensor_type type = {y->type.dtype,
                               shape_of(2, y->type.shape.dim[1], y->type.shape.dim[0])};
    out->column = term_row_sums(a, &type, &turned, t->column);
    return NULL;
  }
  if (r->degree == 0) {
    *out = (struct term){.c = r->c, .scalar = r->scalar, .column = r->column};
    out->row = term_row_sums(a, &x->type, t, r->row);
    return NULL;
  }
  if (t->degree == 2 || r->degree == 2)
    return str_printf(a->arena, "squares of the values of %s are multiplied by another matrix",
                      product_text(a->fold.g->b, (t->degree == 2 ? t : r)->pair[0].origin));
  out->c *= r->c;
  out->scalar = algebra_weights(a, t->scalar, r->scalar, &out->c);
  out->column = r->column;
  out->degree = 1;
  struct node *inner = algebra_weights(a, t->column, r->row, &out->c);
  out->pair[0] = pair_product(a, &t->pair[0], inner, &r->pair[0]);
  return NULL;
}

// (terms of x + diag(e)) (terms of y + diag(f)) = terms·terms + diag(e) terms + terms diag(f) +
// diag(e ∘ f)
struct structured *structured_matmul(struct algebra *a, const struct structured *x,
                                     const struct structured *y, const char **why) {
  struct structured *out =
      new_structured(a, x->type.dtype, x->type.shape.dim[0], y->type.shape.dim[1]);
  *why = x->why ? x->why : y->why;
  out->origin = x->origin ? x->origin : y->origin;
  for (int i = 0; i < x->terms.len; i++)
    for (int j = 0; j < y->terms.len && !*why; j++) {
      struct term t;
      *why = term_product(a, x, &x->terms.data[i], y, &y->terms.data[j], &t);
      if (!*why) add_term(a, out, &t, 1);
    }
  if (*why) return NULL;
  struct term scale_rows = {.c = 1, .row = structured_excess(a, x)},
              scale_columns = {.c = 1, .column = structured_excess(a, y)};
  for (int j = 0; scale_rows.row && j < y->terms.len; j++) {
    struct term t = entrywise(a, &scale_rows, &y->terms.data[j]);
    add_term(a, out, &t, 1);
  }
  for (int i = 0; scale_columns.column && i < x->terms.len; i++) {
    struct term t = entrywise(a, &scale_columns, &x->terms.data[i]);
    add_term(a, out, &t, 1);
  }
  if (scale_rows.row && scale_columns.column) {
    struct node *both = algebra_product(a, scale_rows.row, scale_columns.column);
    out->diagonal = fold_binary(&a->fold, OP_add, structured_diagonal(a, out), both);
  }
  return out;
}
