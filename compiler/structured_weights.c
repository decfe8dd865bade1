// structured_weights.c: products of weights in one form.
//
// Two Gram products A diag(w) A' are one if their weights are the same node. The weights of a loss
// and of its gradient are products of the same powers of the same vectors, written in many ways: r
// r, with r = rsqrt(v), is also (1/√v)(1/√v), and √v r³. So products of vectors (or of scalars) are
// taken apart into
//
//   c · Π baseᵢ^(hᵢ/2)
//
// and built again in one order; c is kept apart. A square is built as one node times itself, which
// shows factor_gram that A diag(s²) A' is symmetric. Under a root a base is positive (else the
// program's own value is NaN, as is whatever else is made of the root).
#include <math.h>
#include <stdlib.h>

#include "structured.h"

enum { MOST_BASES = 8, PRODUCT_DEPTH = 8 }; // products share operands: walks are bounded

struct power {
  struct node *base;
  int halves; // twice the exponent
  bool root;  // seen under a root
};
struct monomial {
  double c;
  int n;
  struct power power[MOST_BASES];
};

static bool add_power(struct monomial *m, struct node *base, int halves) {
  struct power *p = m->power, *end = m->power + m->n;
  while (p < end && p->base != base) p++;
  if (p == end) {
    if (m->n == MOST_BASES) return false;
    *p = (struct power){base, 0, false};
    m->n++;
  }
  p->halves += halves;
  p->root |= halves % 2 != 0;
  return true;
}

// Multiplies m by x^(halves/2). False: there are too many bases.
static bool collect(struct monomial *m, struct node *x, int halves, int depth) {
  double value;
  if (fold_constant(x, &value) && (halves % 2 == 0 || value > 0)) {
    m->c *= pow(value, halves / 2.0);
    return true;
  }
  bool whole = halves % 2 == 0;
  if (depth == 0 || !whole) return add_power(m, x, halves);
  switch (x->op) {
  case OP_neg:
    if (halves / 2 % 2 != 0) m->c = -m->c;
    return collect(m, x->in[0], halves, depth - 1);
  case OP_mul:
    return collect(m, x->in[0], halves, depth - 1) && collect(m, x->in[1], halves, depth - 1);
  case OP_div:
    return collect(m, x->in[0], halves, depth - 1) && collect(m, x->in[1], -halves, depth - 1);
  case OP_sqrt: return collect(m, x->in[0], halves / 2, depth - 1);
  case OP_rsqrt: return collect(m, x->in[0], -halves / 2, depth - 1);
  default: return add_power(m, x, halves);
  }
}

static struct node *times_itself(struct algebra *a, struct node *x, int times) {
  if (times == 1) return x;
  struct node *half = times_itself(a, x, times / 2), *square = algebra_product(a, half, half);
  return times % 2 ? algebra_product(a, x, square) : square;
}

static struct node *build_power(struct algebra *a, const struct power *p) {
  struct fold *f = &a->fold;
  if (p->halves > 0 && p->halves % 2 == 0) return times_itself(a, p->base, p->halves / 2);
  if (p->root) {
    struct node *root = fold_unary(f, p->halves > 0 ? OP_sqrt : OP_rsqrt, p->base);
    return times_itself(a, root, abs(p->halves));
  }
  struct node *one = fold_full(f, &p->base->type, 1);
  return times_itself(a, fold_binary(f, OP_div, one, p->base), -p->halves / 2);
}

static struct node *build_product(struct algebra *a, const struct monomial *m) {
  struct node *x = NULL;
  for (int i = 0; i < m->n; i++)
    if (m->power[i].halves) x = algebra_product(a, x, build_power(a, &m->power[i]));
  return x;
}

// Is every exponent even, so that there is a root of the same form?
static bool is_square(const struct monomial *m) {
  for (int i = 0; i < m->n; i++)
    if (m->power[i].halves % (m->power[i].root ? 2 : 4) != 0) return false;
  return m->n > 0;
}

static struct node *build(struct algebra *a, struct monomial *m, bool scalar) {
  if (scalar || !is_square(m)) return build_product(a, m);
  for (int i = 0; i < m->n; i++) m->power[i].halves /= 2;
  struct node *root = build_product(a, m);
  return root ? algebra_product(a, root, root) : NULL;
}

static void sort(struct monomial *m) {
  for (int i = 1; i < m->n; i++)
    for (int k = i; k > 0 && m->power[k - 1].base->id > m->power[k].base->id; k--) {
      struct power keep = m->power[k];
      m->power[k] = m->power[k - 1];
      m->power[k - 1] = keep;
    }
}

struct node *algebra_weights(struct algebra *a, struct node *x, struct node *y, double *c) {
  struct node *plain = algebra_product(a, x, y);
  struct monomial m = {.c = 1};
  if (!plain || !dtype_is_float(plain->type.dtype)) return plain;
  if ((x && !collect(&m, x, 2, PRODUCT_DEPTH)) || (y && !collect(&m, y, 2, PRODUCT_DEPTH)) ||
      !isfinite(m.c))
    return plain;
  sort(&m);
  *c *= m.c;
  return build(a, &m, plain->type.shape.rank == 0);
}
