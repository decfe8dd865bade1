// derive_sums.c: sums that the epilogue of a product can take.
//
// The backward pass of a normalisation needs Σ_n A_nj T_nj, where T = L·M is the gradient product,
// M is wide, and A is what L's fellow operand in the forward product was made of. The sum does not
// need T:
//
//   Σ_n A_nj (Σ_i L_ni M_ij) = Σ_i M_ij (Σ_n L_ni A_nj) = Σ_i M_ij (LᵀA)_ij
//
// and LᵀA is the forward product P = XᵀY, up to factors by row and by column: where X = L·B₁(x) and
// Y = A·B₁(y),  P_ij = x_i (LᵀA)_ij y_j. So it is a sum over P's own elements, in P's epilogue, and
// the gradient product is left with nothing that has to be summed before its result is finished. A
// factor that P has and A has not is divided away, so it must be one that cannot be zero: rsqrt,
// exp, a quotient, a constant. With A = 1, LᵀA is a vector: Σ_n T_nj = Σ_i M_ij (Σ_n L_ni).
//
// Sums over all of one space that only their own sum reads are gathered into one: k Σ w + l Σ v =
// Σ (k w + l v), where one of them is a choice by place, so that the parts of an objective on and
// off the diagonal become one choice.
#include "derive_wide.h"

// ---- factors ----------------------------------------------------------------------------------

// x = base · Π B(factor), factors being vectors along one axis of x, or numbers.
enum { MAX_FACTORS = 6 };
struct stripped {
  struct node *base;
  struct node *factor[MAX_FACTORS]; // NULL: cancelled
  int n;
};

static struct node *factor_along(struct fold *f, const struct node *x, int axis) {
  if (x->op != OP_broadcast || (node_axes(x) & ~(1u << axis))) return NULL;
  struct shape to = shape_of(1, x->type.shape.dim[axis]);
  return fold_broadcast(f, x->in[0], &to, (int64_t[]){0});
}

// Takes off what varies only along `axis`.
static struct stripped strip(struct fold *f, struct node *x, int axis) {
  struct stripped s = {.base = x};
  while (s.base->op == OP_mul && s.n < MAX_FACTORS) {
    struct node *a = factor_along(f, s.base->in[0], axis),
                *b = a ? NULL : factor_along(f, s.base->in[1], axis);
    if (!a && !b) break;
    s.factor[s.n++] = a ? a : b;
    s.base = s.base->in[a ? 1 : 0];
  }
  return s;
}

// 1/v for a v that is never zero, without dividing where that can be avoided; NULL if it may be.
static struct node *inverse(struct fold *f, struct node *v) {
  struct node *a, *b;
  double c;
  if (fold_constant(v, &c)) return c == 0 ? NULL : fold_full(f, &v->type, 1 / c);
  switch (v->op) {
  case OP_rsqrt: return fold_unary(f, OP_sqrt, v->in[0]);
  case OP_exp: return fold_unary(f, OP_exp, fold_unary(f, OP_neg, v->in[0]));
  case OP_neg: return (a = inverse(f, v->in[0])) ? fold_unary(f, OP_neg, a) : NULL;
  case OP_div: return (a = inverse(f, v->in[0])) ? fold_binary(f, OP_mul, v->in[1], a) : NULL;
  case OP_mul:
    if (!(a = inverse(f, v->in[0])) || !(b = inverse(f, v->in[1]))) return NULL;
    return fold_binary(f, OP_mul, a, b);
  default: return NULL;
  }
}

static bool cancel(struct stripped *s, const struct node *factor) {
  for (int i = 0; i < s->n; i++) {
    if (s->factor[i] != factor) continue;
    s->factor[i] = NULL;
    return true;
  }
  return false;
}

// The vector v with x = y·B(v) along `axis`; NULL if there is none.
static struct node *ratio(struct fold *f, struct node *x, struct node *y, int axis) {
  struct stripped a = strip(f, x, axis), b = strip(f, y, axis);
  struct tensor_type type = {x->type.dtype, shape_of(1, x->type.shape.dim[axis])};
  struct node *v = fold_full(f, &type, 1);
  if (a.base != b.base) return NULL;
  for (int i = 0; i < b.n; i++)
    if (cancel(&a, b.factor[i])) b.factor[i] = NULL;
  for (int i = 0; i < a.n; i++)
    if (a.factor[i]) v = fold_binary(f, OP_mul, v, a.factor[i]);
  for (int i = 0; i < b.n && v; i++) {
    if (!b.factor[i]) continue;
    struct node *w = inverse(f, b.factor[i]);
    v = w ? fold_binary(f, OP_mul, v, w) : NULL;
  }
  return v;
}

// ---- Σ A∘(L·M) --------------------------------------------------------------------------------

// A product T = L·M or M·L taken apart, as the sum over axis `over` of A∘T meets it.
struct meeting {
  struct node *thin, *wide; // L, M
  int thin_free, wide_kept; // the axis of L that is summed over, of M that is kept; the others meet
};

static struct meeting meeting_of(const struct node *t, int over) {
  bool ta = t->attr.i[MATMUL_TA], tb = t->attr.i[MATMUL_TB];
  if (over == 0) return (struct meeting){t->in[0], t->in[1], ta, !tb};
  return (struct meeting){t->in[1], t->in[0], !tb, ta};
}

// LᵀA as a product that exists, in M's orientation, and the vectors that it has to be multiplied
// by, along M's axis that meets L and along the one that is kept.
struct match {
  struct node *product, *met, *kept;
};

// Tries p = op(X)·op(Y) with X made of L and Y of A if `straight`, else the other way round.
static bool matches(struct fold *f, const struct meeting *m, struct node *a, int over,
                    struct node *p, bool straight, struct match *out) {
  struct node *x = p->in[!straight], *y = p->in[straight];                 // of L, of A
  int k[2] = {p->attr.i[MATMUL_TA] ? 0 : 1, p->attr.i[MATMUL_TB] ? 1 : 0}; // where the two meet
  if (m->thin_free != k[!straight] || over != k[straight]) return false;
  out->met = ratio(f, m->thin, x, !m->thin_free);
  out->kept = out->met ? ratio(f, a, y, !over) : NULL;
  // p is indexed (met, kept) if straight; M is if wide_kept is 1
  out->product = straight == (m->wide_kept == 1) ? p : wide_turned(f, p);
  return out->kept && out->product;
}

static bool find_match(struct fold *f, const struct meeting *m, struct node *a, int over,
                       struct match *out) {
  node_list products = wide_products(f->g->b->arena, m->wide);
  for (int i = 0; i < products.len; i++)
    for (int straight = 1; straight >= 0; straight--)
      if (products.data[i]->type.shape.rank == 2 &&
          matches(f, m, a, over, products.data[i], straight, out))
        return true;
  return false;
}

static struct node *along(struct fold *f, const struct node *m, struct node *v, int axis) {
  return fold_broadcast(f, v, &m->type.shape, (int64_t[]){axis});
}

static struct node *sum_with_operand(struct fold *f, struct node *a, struct node *t, int over) {
  struct meeting m = meeting_of(t, over);
  struct match found;
  if (!find_match(f, &m, a, over, &found)) return NULL;
  wide_note(f, "a sum of a gradient with the operand that it is the gradient of is taken over the "
               "product's own elements");
  struct node *terms = fold_binary(f, OP_mul, m.wide, found.product);
  terms = fold_binary(f, OP_mul, terms, along(f, m.wide, found.met, !m.wide_kept));
  return fold_binary(f, OP_mul, fold_sum(f, terms, 1u << !m.wide_kept), found.kept);
}

static struct node *sum_alone(struct fold *f, struct node *t, int over) {
  struct meeting m = meeting_of(t, over);
  if (wide_products(f->g->b->arena, m.wide).len == 0) return NULL;
  wide_note(f, "a sum of a gradient is taken over the product's own elements");
  struct node *v = fold_sum(f, m.thin, 1u << m.thin_free);
  return fold_sum(f, fold_binary(f, OP_mul, m.wide, along(f, m.wide, v, !m.wide_kept)),
                  1u << !m.wide_kept);
}

enum { MAX_TERMS_DEPTH = 6 }; // of sums within sums, which share operands
static struct node *sum_of(struct fold *f, struct node *a, struct node *t, int over, int depth);

// Σ a∘(s ± t), where one of the two can be had without its product.
static struct node *sum_of_terms(struct fold *f, struct node *a, struct node *t, int over,
                                 int depth) {
  struct node *part[2];
  for (int i = 0; i < 2; i++) part[i] = sum_of(f, a, t->in[i], over, depth - 1);
  if (!part[0] && !part[1]) return NULL;
  for (int i = 0; i < 2; i++)
    if (!part[i])
      part[i] = fold_sum(f, a ? fold_binary(f, OP_mul, a, t->in[i]) : t->in[i], 1u << over);
  return fold_binary(f, t->op, part[0], part[1]);
}

// Σ a∘t over `over`, a NULL for 1, without making t; NULL if that cannot be.
static struct node *sum_of(struct fold *f, struct node *a, struct node *t, int over, int depth) {
  if (depth == 0 || t->type.shape.rank != 2) return NULL;
  if (t->op == OP_matmul) return a ? sum_with_operand(f, a, t, over) : sum_alone(f, t, over);
  if (t->op == OP_add || t->op == OP_sub) return sum_of_terms(f, a, t, over, depth);
  struct node *v = t->op == OP_mul ? factor_along(f, t->in[1], !over) : NULL;
  struct node *sum = v ? sum_of(f, a, t->in[0], over, depth - 1) : NULL;
  return sum ? fold_binary(f, OP_mul, sum, v) : NULL;
}

struct node *wide_sum_of_thin(struct fold *f, const struct node *n) {
  struct node *x = n->in[0], *to = NULL;
  unsigned axes = node_axes(n);
  if (x->type.shape.rank != 2) return NULL;
  for (int over = 0; over < 2 && !to; over++) {
    if (!(axes >> over & 1)) continue;
    for (int i = 0; x->op == OP_mul && i < 2 && !to; i++)
      to = sum_of(f, x->in[1 - i], x->in[i], over, MAX_TERMS_DEPTH);
    if (x->op != OP_mul) to = sum_of(f, NULL, x, over, MAX_TERMS_DEPTH);
  }
  return to && axes == 3 ? fold_sum(f, to, 1) : to;
}

// ---- sums of one space ------------------------------------------------------------------------

// k Σ x over a matrix.
struct space_sum {
  double k;
  struct node *x, *mask;
};

// The mask by which x chooses; NULL: by none.
static struct node *mask_of(struct node *x, int *left) {
  if (wide_is_mask(x)) return x;
  struct node *mask = NULL;
  if (--*left < 0 || op_info(x->op)->class != ELEMENTWISE) return NULL;
  for (int i = 0; i < x->n_in && !mask; i++) mask = mask_of(x->in[i], left);
  return mask;
}

// A sum that something else reads too stays by itself.
static bool space_sum_of(struct fold *f, struct node *n, struct space_sum *s) {
  int left = 64;
  s->k = 1;
  if (fold_uses(f, n) > 1) return false;
  if (n->op == OP_mul && fold_constant(n->in[1], &s->k)) n = n->in[0];
  if (n->op == OP_neg) s->k = -1, n = n->in[0];
  if (n->op != OP_sum || n->in[0]->type.shape.rank != 2 || n->type.shape.rank != 0 ||
      fold_uses(f, n) > 1)
    return false;
  s->x = n->in[0];
  s->mask = mask_of(s->x, &left);
  return true;
}

static bool same_space(struct arena *a, const struct node *x, const struct node *y) {
  node_list of_x = wide_products(a, x);
  for (int i = 0; i < of_x.len; i++)
    if (wide_reads(a, y, of_x.data[i])) return true;
  return false;
}

// What x is where the mask is `on`. Gives up, and returns x, after *left nodes: still right.
static struct node *chosen(struct fold *f, struct node *x, const struct node *mask, bool on,
                           int *left) {
  struct node *in[3];
  bool changed = false;
  if (x == mask) return fold_full(f, &x->type, on);
  if (--*left < 0 || op_info(x->op)->class != ELEMENTWISE) return x;
  if (x->op == OP_where && x->in[0] == mask) return chosen(f, x->in[on ? 1 : 2], mask, on, left);
  for (int i = 0; i < x->n_in; i++)
    changed |= (in[i] = chosen(f, x->in[i], mask, on, left)) != x->in[i];
  return changed ? fold_node(f, x->op, in, x->n_in, &x->attr, &x->type) : x;
}

// k x + l y where the mask is `on`.
static struct node *terms_where(struct fold *f, const struct space_sum *s, const struct node *mask,
                                bool on) {
  struct node *term[2];
  for (int i = 0; i < 2; i++) {
    int left = 64;
    struct node *x = chosen(f, s[i].x, mask, on, &left);
    term[i] = fold_binary(f, OP_mul, x, fold_full(f, &x->type, s[i].k));
  }
  return fold_binary(f, OP_add, term[0], term[1]);
}

// Without a choice the sum of both would be taken apart again (fold_sum.c).
static struct node *merge_sums(struct fold *f, struct node *x, struct node *y) {
  struct space_sum s[2];
  if (!space_sum_of(f, x, &s[0]) || !space_sum_of(f, y, &s[1]) ||
      !same_space(f->g->b->arena, s[0].x, s[1].x))
    return NULL;
  struct node *mask = s[0].mask ? s[0].mask : s[1].mask;
  if (!mask) return NULL;
  wide_note(f, "sums over the product's elements are summed at once");
  struct node *in[3] = {mask, terms_where(f, s, mask, true), terms_where(f, s, mask, false)};
  return fold_sum(f, fold_node(f, OP_where, in, 3, NULL, NULL), 3);
}

struct node *wide_sum_of_sums(struct fold *f, const struct node *n) {
  if (n->type.shape.rank > 0) return NULL;
  if (n->op == OP_add) return wide_pairs(f, n, merge_sums);
  struct node minus = {
      .op = OP_add, .n_in = 2, .in = (struct node *[]){n->in[0], fold_unary(f, OP_neg, n->in[1])}};
  return wide_pairs(f, &minus, merge_sums);
}
