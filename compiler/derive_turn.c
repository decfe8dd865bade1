// derive_turn.c: one orientation for every wide value, and products of wide values.
//
//   f(Xᵀ, Yᵀ, B₀(v), …) = f(X, Y, B₁(v), …)ᵀ      transposes move out, to sums and products, which
//                                                  read either way for nothing
//   f(S, B₀(v))ᵀ = f(S, B₁(v))                     or vanish, where S = Sᵀ
//   where(i == j, X, Y)ᵀ = where(i == j, X, Yᵀ)    the diagonal is where it was
//   A·M + A·Mᵀ = A·(M + Mᵀ)                        one product for two, if Mᵀ needs no transpose
//   A·(s M) = s (A·M)                              a number that is known only when all of M's
//   product
//                                                  is must not hold up M
#include "derive_wide.h"

static const int64_t swapped[] = {1, 0};

// ---- transposes -------------------------------------------------------------------------------

// Operands are shared, so the walk is bounded: *left nodes.
static struct node *turned(struct fold *f, struct node *x, int *left) {
  struct node *in[3];
  if (x->type.shape.rank != 2 || --*left < 0) return NULL;
  if (fold_swaps(x)) return x->in[0];
  if (x->op == OP_broadcast && x->attr.n < 2) return fold_transpose(f, x, swapped);
  if (x->op == OP_iota) {
    struct shape to = shape_of(2, x->type.shape.dim[1], x->type.shape.dim[0]);
    return g_iota(f->g, x->type.dtype, &to, 1 - (int)x->attr.i[0]);
  }
  if (x->op == OP_matmul) {
    struct node *t = fold_transpose(f, x, swapped);
    return t == x ? x : NULL; // symmetric
  }
  if (op_info(x->op)->class != ELEMENTWISE) return NULL;
  bool on_diagonal = x->op == OP_where && wide_is_mask(x->in[0]); // of what is chosen there
  for (int i = 0; i < x->n_in; i++)
    if (!(in[i] = on_diagonal && i == 1 ? x->in[i] : turned(f, x->in[i], left))) return NULL;
  struct tensor_type type = {x->type.dtype, in[0]->type.shape};
  return fold_node(f, x->op, in, x->n_in, &x->attr, &type);
}

struct node *wide_turned(struct fold *f, struct node *x) {
  int left = 64;
  return turned(f, x, &left);
}

struct node *wide_elementwise_of_transposes(struct fold *f, const struct node *n) {
  struct node *in[3];
  bool any = false;
  if (op_info(n->op)->class != ELEMENTWISE || n->type.shape.rank != 2 || n->n_in > 3) return NULL;
  for (int i = 0; i < n->n_in; i++) any |= fold_swaps(n->in[i]);
  if (!any) return NULL;
  for (int i = 0; i < n->n_in; i++)
    if (!(in[i] = wide_turned(f, n->in[i]))) return NULL;
  struct tensor_type type = {n->type.dtype, in[0]->type.shape};
  struct node *to = fold_node(f, n->op, in, n->n_in, &n->attr, &type);
  if (wide_products(f->g->b->arena, to).len)
    wide_note(f, "computed in the orientation of the product instead of transposed");
  return fold_transpose(f, to, swapped);
}

struct node *wide_transpose_vanishes(struct fold *f, const struct node *n) {
  if (!fold_swaps(n) || op_info(n->in[0]->op)->class != ELEMENTWISE) return NULL;
  return wide_turned(f, n->in[0]);
}

// ---- sums of two ------------------------------------------------------------------------------

static struct node *merge_into(struct fold *f, struct node *sum, struct node *y, wide_merge merge) {
  for (int i = 0; sum->op == OP_add && i < 2; i++) {
    struct node *both = merge(f, sum->in[i], y);
    if (both) return fold_binary(f, OP_add, sum->in[1 - i], both);
  }
  return NULL;
}

struct node *wide_pairs(struct fold *f, const struct node *add, wide_merge merge) {
  struct node *x = add->in[0], *y = add->in[1], *both = merge(f, x, y);
  if (!both) both = merge_into(f, x, y, merge);
  return both ? both : merge_into(f, y, x, merge);
}

// ---- products ---------------------------------------------------------------------------------

// M + Mᵀ, if the two products differ only in how they read operand `i`, which is wide.
static struct node *both_ways(struct fold *f, const struct node *x, const struct node *y, int i) {
  struct node *m = x->in[i];
  int flag = i == 0 ? MATMUL_TA : MATMUL_TB, other = i == 0 ? MATMUL_TB : MATMUL_TA;
  bool match = x->in[0] == y->in[0] && x->in[1] == y->in[1] && x->attr.i[flag] != y->attr.i[flag] &&
               x->attr.i[other] == y->attr.i[other];
  if (!match || wide_products(f->g->b->arena, m).len == 0) return NULL;
  struct node *t = wide_turned(f, m);
  return t ? fold_binary(f, OP_add, m, t) : NULL;
}

// S·A and Sᵀ·A have their operands in either order.
static struct node *merge_products(struct fold *f, struct node *x, struct node *y) {
  if (x->op != OP_matmul || y->op != OP_matmul) return NULL;
  for (int i = 0; i < 2; i++) {
    struct node *in[2] = {x->in[0], x->in[1]}, *sum = both_ways(f, x, y, i);
    if (!sum) continue;
    struct attr a = x->attr;
    in[i] = sum;
    a.i[i == 0 ? MATMUL_TA : MATMUL_TB] = 0;
    wide_note(f, "two products with a value and with its transpose are one product with their sum");
    return fold_node(f, OP_matmul, in, 2, &a, NULL);
  }
  return NULL;
}

struct node *wide_sum_of_products(struct fold *f, const struct node *n) {
  return wide_pairs(f, n, merge_products);
}

// The number by which operand `i` is scaled, if it depends on the operand's product.
static struct node *late_factor(struct fold *f, const struct node *m) {
  if (m->op != OP_mul || m->in[1]->op != OP_broadcast) return NULL;
  struct node *s = m->in[1]->in[0];
  if (s->type.shape.rank > 0) return NULL;
  node_list products = wide_products(f->g->b->arena, m->in[0]);
  for (int i = 0; i < products.len; i++)
    if (wide_depends(f->g->b->arena, s, products.data[i])) return s;
  return NULL;
}

struct node *wide_product_of_scaled(struct fold *f, const struct node *n) {
  for (int i = 0; i < 2; i++) {
    struct node *in[2] = {n->in[0], n->in[1]}, *s = late_factor(f, n->in[i]);
    if (!s) continue;
    in[i] = in[i]->in[0];
    wide_note(f, "a factor that depends on the whole product is applied to what is made of it");
    struct node *product = fold_node(f, OP_matmul, in, 2, &n->attr, &n->type);
    return fold_binary(f, OP_mul, product, fold_broadcast(f, s, &n->type.shape, NULL));
  }
  return NULL;
}
