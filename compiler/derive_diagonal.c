// derive_diagonal.c: the diagonal of a product as a choice by place.
//
// diag(P) is a vector, and a vector made of it that returns to P's shape would have to wait for all
// of P. But where it returns under the mask i == j, it equals a value at the same place:
//
//   where(i == j, B(f(diag P, v)), Y) = where(i == j, f(P, B₁(v)), Y)
//     for at i = j the left is f(P_ii, v_i) and the right f(P_ij, v_j) = f(P_ii, v_i).
//   Σ_i f(diag(P)_i, v_i) = Σ_ij where(i == j, f(P_ij, v_j), 0)
//     for the terms with i ≠ j are zero.
//
// f is evaluated at every (i, j), in registers, so it has to be cheap: a few additions, products
// and choices. Otherwise, and where the vector is wanted as a vector:
//
//   diag(P)_i = Σ_k op(X)_ik op(Y)_ki    if it returns to P's shape: known before P is
//             = Σ_j where(i == j, P, 0)  otherwise: one more sum in P's epilogue.
#include "derive_wide.h"

enum { CHEAP = 8 /* operations */, WALK = 512 /* nodes */ };

static bool is_cheap(enum op op) {
  switch (op) {
  case OP_neg:
  case OP_add:
  case OP_sub:
  case OP_mul:
  case OP_min:
  case OP_max:
  case OP_abs:
  case OP_relu:
  case OP_lt:
  case OP_le:
  case OP_eq:
  case OP_ne:
  case OP_and:
  case OP_or:
  case OP_not:
  case OP_where:
  case OP_cast: return true;
  default: return false;
  }
}

static bool is_diag_of_product(const struct node *n) {
  return n->op == OP_diag && n->in[0]->op == OP_matmul && n->type.shape.rank == 1;
}

// ---- diag moves to the product ----------------------------------------------------------------

static struct node *diag_of(struct fold *f, struct node *x) {
  return fold_node(f, OP_diag, &x, 1, NULL, NULL);
}

// diag(f(X, …)) = f(diag X, …);  diag(Xᵀ) = diag X;  diag(B(v)) = v
struct node *wide_diag_moves_in(struct fold *f, const struct node *n) {
  struct node *x = n->in[0], *in[3];
  if (n->type.shape.rank != 1) return NULL;
  if (fold_swaps(x)) return diag_of(f, x->in[0]);
  if (x->op == OP_broadcast)
    return x->attr.n == 2 ? NULL : fold_broadcast(f, x->in[0], &n->type.shape, (int64_t[]){0});
  if (wide_is_mask(x)) return fold_full(f, &n->type, 1);
  if (x->op == OP_iota) return g_iota(f->g, x->type.dtype, &n->type.shape, 0);
  if (op_info(x->op)->class != ELEMENTWISE) return NULL;
  for (int i = 0; i < x->n_in; i++) in[i] = diag_of(f, x->in[i]);
  return fold_node(f, x->op, in, x->n_in, &x->attr, &n->type);
}

// ---- a function of the diagonal, lifted -------------------------------------------------------

struct lift {
  struct fold *f;
  const struct shape *to;
  struct node *product;   // whose diagonal it is; NULL: none met yet
  int operations, walked; // so far
  bool fails;             // several products, too dear, or too large to tell
};

// Whether u is computed element by element from the diagonal of a product.
static bool from_diag(struct lift *l, const struct node *u) {
  if (is_diag_of_product(u)) return true;
  l->fails |= ++l->walked > WALK;
  if (l->fails) return false;
  for (int i = 0; i < u->n_in && op_info(u->op)->class == ELEMENTWISE; i++)
    if (from_diag(l, u->in[i])) return true;
  return false;
}

// f(P, B₁(v)) for u = f(diag P, v).
static struct node *lifted(struct lift *l, struct node *u) {
  struct node *in[3];
  if (is_diag_of_product(u)) {
    l->fails |= l->product && l->product != u->in[0];
    return l->product = u->in[0];
  }
  if (!from_diag(l, u)) return fold_broadcast(l->f, u, l->to, (int64_t[]){1});
  l->fails |= !is_cheap(u->op) || ++l->operations > CHEAP;
  for (int i = 0; i < u->n_in && !l->fails; i++) in[i] = lifted(l, u->in[i]);
  if (l->fails) return u;
  return fold_node(l->f, u->op, in, u->n_in, &u->attr,
                   &(struct tensor_type){u->type.dtype, *l->to});
}

// x, which counts only where i = j, without diagonals.
static struct node *under_mask(struct lift *l, struct node *x) {
  struct node *in[3];
  bool changed = false;
  l->fails |= ++l->walked > WALK;
  if (l->fails) return x;
  if (x->op == OP_broadcast && x->attr.n == 1)
    return from_diag(l, x->in[0]) ? lifted(l, x->in[0]) : x;
  if (op_info(x->op)->class != ELEMENTWISE) return x;
  for (int i = 0; i < x->n_in; i++) changed |= (in[i] = under_mask(l, x->in[i])) != x->in[i];
  return changed && !l->fails ? fold_node(l->f, x->op, in, x->n_in, &x->attr, &x->type) : x;
}

// Whether y reads products and none of them is p: then lifting would bring a second product to y's.
static bool reads_others(struct arena *a, const struct node *y, const struct node *p) {
  node_list products = wide_products(a, y);
  for (int i = 0; i < products.len; i++)
    if (products.data[i] == p) return false;
  return products.len > 0;
}

struct node *wide_diag_under_mask(struct fold *f, const struct node *n) {
  if (!wide_is_mask(n->in[0])) return NULL;
  struct lift l = {.f = f, .to = &n->type.shape};
  struct node *x = under_mask(&l, n->in[1]), *y = n->in[2];
  if (l.fails || x == n->in[1] || reads_others(f->g->b->arena, y, l.product)) return NULL;
  wide_note(
      f,
      "a vector made of the diagonal returns under the mask i == j: computed at the place instead");
  return fold_node(f, OP_where, (struct node *[]){n->in[0], x, y}, 3, NULL, NULL);
}

// Whether u depends on p beside its diagonal: through sums over P's space, say.
static bool depends_otherwise(struct arena *a, const struct node *u, const struct node *p) {
  if (is_diag_of_product(u)) return false;
  if (op_info(u->op)->class != ELEMENTWISE) return wide_depends(a, u, p);
  for (int i = 0; i < u->n_in; i++)
    if (depends_otherwise(a, u->in[i], p)) return true;
  return false;
}

static struct node *mask_like(struct fold *f, const struct shape *s) {
  struct node *in[2] = {g_iota(f->g, BT_I32, s, 0), g_iota(f->g, BT_I32, s, 1)};
  return fold_binary(f, OP_eq, in[0], in[1]);
}

static struct node *on_diagonal(struct fold *f, struct node *x) {
  struct node *in[3] = {mask_like(f, &x->type.shape), x, fold_full(f, &x->type, 0)};
  return fold_node(f, OP_where, in, 3, NULL, NULL);
}

struct node *wide_sum_of_diag(struct fold *f, const struct node *n) {
  struct node *u = n->in[0];
  if (u->type.shape.rank != 1) return NULL;
  int64_t d = u->type.shape.dim[0];
  struct shape square = shape_of(2, d, d);
  struct lift l = {.f = f, .to = &square};
  if (!from_diag(&l, u)) return NULL;
  struct node *x = lifted(&l, u);
  if (l.fails || depends_otherwise(f->g->b->arena, u, l.product)) return NULL;
  wide_note(f,
            "a sum over the diagonal is summed over the product's elements, zero off the diagonal");
  return fold_sum(f, on_diagonal(f, x), 3);
}

// ---- masks as numbers -------------------------------------------------------------------------

// A mask as a number: 1 or 0, or a choice between two constants. *mask chooses value[1] over
// value[0].
static bool number_by_mask(const struct node *x, struct node **mask, double value[2]) {
  if (x->op == OP_cast && wide_is_mask(x->in[0])) {
    *mask = x->in[0];
    value[0] = 0, value[1] = 1;
    return true;
  }
  if (x->op != OP_where || !wide_is_mask(x->in[0])) return false;
  *mask = x->in[0];
  return fold_constant(x->in[1], &value[1]) && fold_constant(x->in[2], &value[0]);
}

// f(X, Y), where operand i is a number by mask; NULL where a choice between two results is no
// simpler.
static struct node *as_choice(struct fold *f, const struct node *n, int i) {
  struct node *mask, *branch[2], *in[2] = {n->in[0], n->in[1]}, *x = n->in[1 - i];
  double value[2], c;
  if (!number_by_mask(n->in[i], &mask, value)) return NULL;
  for (int k = 0; k < 2; k++) {
    in[i] = fold_full(f, &n->in[i]->type, value[k]);
    branch[k] = fold_node(f, n->op, in, 2, &n->attr, &n->type);
  }
  bool simpler = n->in[i]->op == OP_cast || branch[0] == x || branch[1] == x ||
                 (fold_constant(branch[0], &c) && fold_constant(branch[1], &c));
  return simpler
             ? fold_node(f, OP_where, (struct node *[]){mask, branch[1], branch[0]}, 3, NULL, NULL)
             : NULL;
}

// f(1 where i == j else 0, X) = where(i == j, f(1, X), f(0, X)): c − eye, c ∘ (1 − eye) and the
// like.
struct node *wide_mask_as_number(struct fold *f, const struct node *n) {
  if (op_info(n->op)->class != ELEMENTWISE || n->n_in != 2) return NULL;
  struct node *to = as_choice(f, n, 0);
  return to ? to : as_choice(f, n, 1);
}

// ---- what is left -----------------------------------------------------------------------------

// Whether something wide of d's product depends on d.
static bool returns(const struct graph *g, const struct node *d) {
  struct arena *a = g->b->arena;
  bool *wide = NEW_ARRAY(a, bool, g->nodes.len), *after = NEW_ARRAY(a, bool, g->nodes.len);
  wide[d->in[0]->id] = after[d->id] = true;
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    for (int k = 0; k < n->n_in; k++) {
      wide[i] |= wide[n->in[k]->id] && op_info(n->op)->class == ELEMENTWISE;
      after[i] |= after[n->in[k]->id];
    }
    if (wide[i] && after[i]) return true;
  }
  return false;
}

// Σ_k op(X)_ik op(Y)_ki, along whichever axis of X and Y k runs.
static struct node *sums_of_operands(struct graph *g, const struct node *product, struct node *x,
                                     struct node *y) {
  bool first = product->attr.i[MATMUL_TA]; // k runs along axis 0 of X
  if (first == product->attr.i[MATMUL_TB]) y = g_transpose(g, y, (int[]){1, 0});
  return g_reduce(g, OP_sum, g_binary(g, OP_mul, x, y), (int[]){!first}, 1);
}

static struct node *sums_of_product(struct graph *g, struct node *product) {
  const struct shape *s = &product->type.shape;
  struct node *mask = g_binary(g, OP_eq, g_iota(g, BT_I32, s, 0), g_iota(g, BT_I32, s, 1));
  struct node *zero = g_constant(g, product->type.dtype, 0);
  return g_reduce(g, OP_sum, g_where(g, mask, product, zero), (int[]){0}, 1);
}

static struct node *replaced(struct rewrite *r, const struct node *n, note_list *notes) {
  const struct node *p = n->in[0];
  bool before = returns(r->from, n);
  const char *text = before ? "the diagonal, which the product's own elements depend on, is summed "
                              "up from the operands beforehand"
                            : "the diagonal is summed up with the product";
  vec_push(r->to->b->arena, notes, ((struct rewrite_note){text, n->loc}));
  if (before) return sums_of_operands(r->to, p, r->map[p->in[0]->id], r->map[p->in[1]->id]);
  return sums_of_product(r->to, r->map[p->id]);
}

struct graph *wide_replace_diagonals(const struct graph *g, note_list *notes) {
  struct rewrite r = rewrite_begin(g);
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    r.to->loc = n->loc;
    r.to->path = n->path;
    r.map[i] = is_diag_of_product(n) ? replaced(&r, n, notes) : rewrite_copy(&r, n);
  }
  return rewrite_end(&r);
}
