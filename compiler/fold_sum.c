// fold_sum.c: the algebra of sums. Σ_R sums over the axes R; B(v) broadcasts a smaller v; m_R is
// the number of elements that R folds into one.
//
// These rules are what turns the backward pass of a normalisation, derived op by op, into the two
// reductions that it needs, Σdy and Σdy·(x − μ): every other sum is one of these times something
// that is constant over R, or zero.
#include "fold.h"

static int64_t elements_in(const struct shape *s, unsigned axes) {
  int64_t m = 1;
  for (int i = 0; i < s->rank; i++)
    if (axes >> i & 1) m *= s->dim[i];
  return m;
}

static unsigned all_axes(const struct node *x) { return (1u << x->type.shape.rank) - 1; }

// The place of axis `a`, which R does not hold, among the axes that Σ_R leaves.
static int64_t axis_after(int64_t a, unsigned r) {
  return a - __builtin_popcount(r & ((1u << a) - 1));
}

// The axes of a broadcast's operand that land on result axes in R.
static unsigned operand_axes(const struct node *broadcast, unsigned r) {
  unsigned set = 0;
  for (int i = 0; i < broadcast->attr.n; i++) set |= (r >> broadcast->attr.i[i] & 1) << i;
  return set;
}

// ---- what is known ----------------------------------------------------------------------------
// To see whether a value is centred, its mean is built and compared (is_centred), and that may ask
// the same of parts of it. Each question about a node and its axes is answered once.

enum zero { UNKNOWN, ZERO, NOT_ZERO };
struct known_sum {
  struct known_sum *next; // of the same node
  unsigned axes;
  struct node *sum; // NULL: not built yet
  enum zero zero;
};

static struct known_sum *known_about(struct fold *f, const struct node *x, unsigned axes) {
  struct arena *a = f->g->b->arena;
  while (f->known.len <= x->id) vec_push(a, &f->known, NULL);
  struct known_sum *k = f->known.data[x->id];
  while (k && k->axes != axes) k = k->next;
  if (k) return k;
  k = NEW(a, struct known_sum);
  *k = (struct known_sum){.next = f->known.data[x->id], .axes = axes};
  return f->known.data[x->id] = k;
}

struct node *fold_sum(struct fold *f, struct node *x, unsigned axes) {
  struct attr a = {0};
  for (int i = 0; i < x->type.shape.rank; i++)
    if (axes >> i & 1) a.i[a.n++] = i;
  if (!a.n) return x;
  struct known_sum *k = known_about(f, x, axes);
  if (!k->sum) k->sum = fold_node(f, OP_sum, &x, 1, &a, NULL);
  return k->sum;
}

// ---- one operand ------------------------------------------------------------------------------

// Over axes of size 1 a sum only drops them.
static struct node *sum_of_one(struct fold *f, const struct node *n) {
  bool one = elements_in(&n->in[0]->type.shape, node_axes(n)) == 1;
  return one ? fold_reshape(f, n->in[0], &n->type.shape) : NULL;
}

// Σ_R B_a(x) = m_{R∖a} · B(Σ_{R∩a} x)
static struct node *sum_of_broadcast(struct fold *f, const struct node *n) {
  const struct node *x = n->in[0];
  if (x->op != OP_broadcast) return NULL;
  unsigned r = node_axes(n), own = operand_axes(x, r);
  struct node *sum = fold_sum(f, x->in[0], own);
  int64_t axes[MAX_RANK];
  int rank = 0;
  for (int i = 0; i < x->attr.n; i++)
    if (!(own >> i & 1)) axes[rank++] = axis_after(x->attr.i[i], r);
  double repeats = (double)elements_in(&x->type.shape, r & ~node_axes(x));
  struct node *scaled = fold_binary(f, OP_mul, sum, fold_full(f, &sum->type, repeats));
  return fold_broadcast(f, scaled, &n->type.shape, axes);
}

// Σ_R Σ_Q x = Σ_{Q ∪ R'} x, with R' the axes of x that R means
static struct node *sum_of_sum(struct fold *f, const struct node *n) {
  const struct node *x = n->in[0];
  if (x->op != OP_sum) return NULL;
  unsigned r = node_axes(n), q = node_axes(x), both = q;
  const struct node *inner = x->in[0];
  for (int a = 0, after = 0; a < inner->type.shape.rank; a++) {
    if (q >> a & 1) continue;
    both |= (r >> after++ & 1) << a;
  }
  return fold_sum(f, x->in[0], both);
}

// Σ_R T_p(x) = T_{p'}(Σ_{p(R)} x): the smaller result is transposed, if anything is left to
// transpose.
static struct node *sum_of_transpose(struct fold *f, const struct node *n) {
  const struct node *x = n->in[0];
  if (x->op != OP_transpose) return NULL;
  unsigned r = node_axes(n), inner = 0;
  for (int i = 0; i < x->attr.n; i++) inner |= (r >> i & 1) << x->attr.i[i];
  int64_t perm[MAX_RANK];
  int rank = 0;
  for (int i = 0; i < x->attr.n; i++)
    if (!(r >> i & 1)) perm[rank++] = axis_after(x->attr.i[i], inner);
  return fold_transpose(f, fold_sum(f, x->in[0], inner), perm);
}

// The sum of all elements does not depend on their arrangement.
static struct node *sum_of_reshape(struct fold *f, const struct node *n) {
  const struct node *x = n->in[0];
  if (x->op != OP_reshape || node_axes(n) != all_axes(x)) return NULL;
  return fold_sum(f, x->in[0], all_axes(x->in[0]));
}

// ---- factors ----------------------------------------------------------------------------------

// A product taken apart: what varies over R stays, what does not is collected in `outside`, which
// has the shape of the sum.
struct factors {
  unsigned r;
  const struct shape *to;
  struct node *outside; // NULL: none yet
  int depth;            // products within products so far
};
// Products share operands, so the tree that is walked may be exponentially larger than the graph.
enum { MAX_PRODUCT_DEPTH = 8, MAX_SUM_DEPTH = 8 };

static void take_out(struct fold *f, struct factors *out, struct node *factor) {
  out->outside = out->outside ? fold_binary(f, OP_mul, out->outside, factor) : factor;
}

static bool constant_over(const struct node *x, unsigned r) {
  return x->op == OP_broadcast && !(node_axes(x) & r);
}

// A broadcast that is constant over R, as a factor of the sum.
static struct node *as_outside(struct fold *f, const struct factors *out, const struct node *x) {
  int64_t axes[MAX_RANK];
  for (int i = 0; i < x->attr.n; i++) axes[i] = axis_after(x->attr.i[i], out->r);
  return fold_broadcast(f, x->in[0], out->to, axes);
}

static struct node *take_apart(struct fold *f, struct factors *out, struct node *x);

static struct node *take_operands_apart(struct fold *f, struct factors *out, struct node *x) {
  struct node *a = take_apart(f, out, x->in[0]);
  struct node *b = x->op == OP_mul ? take_apart(f, out, x->in[1]) : x->in[1];
  if (a == x->in[0] && b == x->in[1]) return x;
  if (x->op == OP_div && !a) a = fold_full(f, &x->type, 1);
  return a && b ? fold_binary(f, x->op, a, b) : a ? a : b;
}

// Returns what is left of x inside the sum, x itself if nothing leaves, NULL for 1.
static struct node *take_apart(struct fold *f, struct factors *out, struct node *x) {
  if (constant_over(x, out->r)) {
    take_out(f, out, as_outside(f, out, x));
    return NULL;
  }
  if (x->op == OP_neg) {
    take_out(f, out, fold_full(f, &(struct tensor_type){x->type.dtype, *out->to}, -1));
    return take_apart(f, out, x->in[0]);
  }
  if (x->op != OP_mul && (x->op != OP_div || fold_is(x->in[0], 1))) return x;
  if (out->depth == MAX_PRODUCT_DEPTH) return x;
  out->depth++;
  struct node *rest = take_operands_apart(f, out, x);
  out->depth--;
  return rest;
}

// Σ_R x·B(v) = v·Σ_R x where B(v) does not vary over R; likewise signs and factors of a numerator.
// Sharing is kept: the rest of a product that loses no factor stays the node it was.
static struct node *sum_of_product(struct fold *f, const struct node *n) {
  struct factors out = {.r = node_axes(n), .to = &n->type.shape};
  struct node *rest = take_apart(f, &out, n->in[0]);
  if (!out.outside) return NULL;
  if (!rest) rest = fold_full(f, &n->in[0]->type, 1);
  return fold_binary(f, OP_mul, fold_sum(f, rest, out.r), out.outside);
}

// ---- sums that are zero -----------------------------------------------------------------------

// x − mean(x) sums to zero over the mean's axes Q, and over any R that holds them:
//   Σ_Q (x − B(Σ_Q x / m_Q)) = Σ_Q x − m_Q · Σ_Q x / m_Q = 0.
// In floating point the sum that is dropped is rounding noise. The mean is recognised by building
// it: if B's operand is the mean, that yields the same node.
static bool is_centred(struct fold *f, const struct node *x, unsigned r) {
  if (x->op != OP_sub || x->in[1]->op != OP_broadcast) return false;
  const struct node *mean = x->in[1];
  unsigned q = all_axes(x) & ~node_axes(mean);
  if (!q || (q & ~r) || !dtype_is_float(x->type.dtype)) return false;
  for (int i = 1; i < mean->attr.n; i++)
    if (mean->attr.i[i] < mean->attr.i[i - 1]) return false;
  struct node *sum = fold_sum(f, x->in[0], q);
  double m = (double)elements_in(&x->type.shape, q);
  return fold_binary(f, OP_mul, sum, fold_full(f, &sum->type, 1 / m)) == mean->in[0];
}

// Whether A·B sums to zero over its rows because A's columns do, or over its columns because B's
// rows do:  Σᵢ Σₖ Aᵢₖ Bₖⱼ = Σₖ (Σᵢ Aᵢₖ) Bₖⱼ.
static bool sums_to_zero(struct fold *f, const struct node *x, unsigned r);
static bool matmul_sums_to_zero(struct fold *f, const struct node *x, unsigned r) {
  int rank = x->type.shape.rank;
  unsigned row = 1u << (rank - 2), column = 1u << (rank - 1);
  if ((r & row) && sums_to_zero(f, x->in[0], x->attr.i[MATMUL_TA] ? column : row)) return true;
  return (r & column) && sums_to_zero(f, x->in[1], x->attr.i[MATMUL_TB] ? row : column);
}

static bool zero_by_algebra(struct fold *f, const struct node *x, unsigned r) {
  switch (x->op) {
  case OP_neg: return sums_to_zero(f, x->in[0], r);
  case OP_mul:
    return (constant_over(x->in[1], r) && sums_to_zero(f, x->in[0], r)) ||
           (constant_over(x->in[0], r) && sums_to_zero(f, x->in[1], r));
  case OP_sub:
    if (is_centred(f, x, r)) return true; // fall through
  case OP_add: return sums_to_zero(f, x->in[0], r) && sums_to_zero(f, x->in[1], r);
  case OP_matmul: return matmul_sums_to_zero(f, x, r);
  default: return fold_is(x, 0);
  }
}

// Whether Σ_R x is zero by algebra alone. (Where a factor is infinite or NaN, so is the value that
// is normalised with it, and the loss says so.)
static bool sums_to_zero(struct fold *f, const struct node *x, unsigned r) {
  struct known_sum *k = known_about(f, x, r);
  if (k->zero == UNKNOWN) k->zero = zero_by_algebra(f, x, r) ? ZERO : NOT_ZERO;
  return k->zero == ZERO;
}

static struct node *sum_is_zero(struct fold *f, const struct node *n) {
  return sums_to_zero(f, n->in[0], node_axes(n)) ? fold_full(f, &n->type, 0) : NULL;
}

// Σ(x + y) = Σx and Σ(x − y) = Σx where Σy = 0.
static struct node *sum_loses_part(struct fold *f, const struct node *n) {
  const struct node *x = n->in[0];
  unsigned r = node_axes(n);
  if (x->op != OP_add && x->op != OP_sub) return NULL;
  if (sums_to_zero(f, x->in[1], r)) return fold_sum(f, x->in[0], r);
  if (!sums_to_zero(f, x->in[0], r)) return NULL;
  struct node *rest = fold_sum(f, x->in[1], r);
  return x->op == OP_add ? rest : fold_unary(f, OP_neg, rest);
}

// Does a factor of x leave Σ_R?
static bool has_constant_factor(const struct node *x, unsigned r, int depth) {
  if (constant_over(x, r)) return true;
  if (depth == 0 || (x->op != OP_mul && x->op != OP_neg && x->op != OP_div)) return false;
  if (has_constant_factor(x->in[0], r, depth - 1)) return true;
  return x->op == OP_mul && has_constant_factor(x->in[1], r, depth - 1);
}

// Σ_R x is there already, or is one that may be there times what is constant over R. Sums share
// operands as products do, so the walk is bounded too.
static bool sum_is_cheap(struct fold *f, const struct node *x, unsigned r, int depth) {
  if (x->op == OP_add && depth > 0)
    return sum_is_cheap(f, x->in[0], r, depth - 1) && sum_is_cheap(f, x->in[1], r, depth - 1);
  return known_about(f, x, r)->sum != NULL || has_constant_factor(x, r, 4);
}

// Σ(x + y) = Σx + Σy where both are cheap: a normalisation that is applied twice sums the cotangents of
// its weight, and each part is what its application needs anyhow. Otherwise a sum of sums is left
// alone: one sweep over x + y beats two.
static struct node *sum_of_cheap_sums(struct fold *f, const struct node *n) {
  const struct node *x = n->in[0];
  unsigned r = node_axes(n);
  if (x->op != OP_add || !sum_is_cheap(f, x, r, MAX_SUM_DEPTH)) return NULL;
  return fold_binary(f, OP_add, fold_sum(f, x->in[0], r), fold_sum(f, x->in[1], r));
}

const struct fold_row fold_reduction[] = {
    {OP_sum, sum_of_one},       {OP_sum, sum_is_zero},    {OP_sum, sum_loses_part},
    {OP_sum, sum_of_cheap_sums},
    {OP_sum, sum_of_broadcast}, {OP_sum, sum_of_sum},     {OP_sum, sum_of_product},
    {OP_sum, sum_of_transpose}, {OP_sum, sum_of_reshape}, {OP_COUNT, NULL},
};
