// fold_move.c: movements of movements, and transposes that matmul does itself.
//
// Broadcasts are put in one form, axes ascending, which the rules of fold_arith.c and fold_sum.c
// rely on.
#include "fold.h"

static bool counts_up(const struct attr *a) {
  for (int i = 0; i < a->n; i++)
    if (a->i[i] != i) return false;
  return true;
}

static bool same_shape(const struct node *n) {
  return shape_eq(&n->type.shape, &n->in[0]->type.shape);
}

// A movement to x's own shape that moves nothing is x.
static struct node *identity(struct fold *f, const struct node *n) {
  (void)f;
  if (!same_shape(n)) return NULL;
  bool ordered = n->op == OP_broadcast || n->op == OP_transpose;
  return !ordered || counts_up(&n->attr) ? n->in[0] : NULL;
}

// ---- broadcast --------------------------------------------------------------------------------

// B_a(B_b(x)) = B_{a∘b}(x)
static struct node *broadcast_broadcast(struct fold *f, const struct node *n) {
  const struct node *inner = n->in[0];
  int64_t axes[MAX_RANK];
  if (inner->op != OP_broadcast) return NULL;
  for (int i = 0; i < inner->attr.n; i++) axes[i] = n->attr.i[inner->attr.i[i]];
  return fold_broadcast(f, inner->in[0], &n->type.shape, axes);
}

// Axes out of order: the small operand is transposed first.
static struct node *broadcast_ascending(struct fold *f, const struct node *n) {
  int64_t perm[MAX_RANK], axes[MAX_RANK];
  int rank = 0;
  bool sorted = true;
  for (int i = 1; i < n->attr.n; i++) sorted &= n->attr.i[i] > n->attr.i[i - 1];
  if (sorted) return NULL;
  for (int axis = 0; axis < n->type.shape.rank; axis++) {
    for (int i = 0; i < n->attr.n; i++) {
      if (n->attr.i[i] != axis) continue;
      perm[rank] = i;
      axes[rank++] = axis;
    }
  }
  return fold_broadcast(f, fold_transpose(f, n->in[0], perm), &n->type.shape, axes);
}

// ---- reshape ----------------------------------------------------------------------------------

// Only the last of several reshapes matters; a scalar goes to any shape at once.
static struct node *reshape_reshape(struct fold *f, const struct node *n) {
  const struct node *x = n->in[0];
  if (x->op == OP_reshape) return fold_reshape(f, x->in[0], &n->type.shape);
  if (x->op == OP_broadcast && x->in[0]->type.shape.rank == 0)
    return fold_broadcast(f, x->in[0], &n->type.shape, NULL);
  return NULL;
}

// ---- transpose --------------------------------------------------------------------------------

// T_p(T_q(x)) = T_{q∘p}(x):  axis i of the result is axis q[p[i]] of x
static struct node *transpose_transpose(struct fold *f, const struct node *n) {
  const struct node *x = n->in[0];
  int64_t perm[MAX_RANK];
  if (x->op != OP_transpose) return NULL;
  for (int i = 0; i < n->attr.n; i++) perm[i] = x->attr.i[n->attr.i[i]];
  return fold_transpose(f, x->in[0], perm);
}

// T_p(B_a(x)) = B_{p⁻¹∘a}(x)
static struct node *transpose_broadcast(struct fold *f, const struct node *n) {
  const struct node *x = n->in[0];
  int64_t inverse[MAX_RANK], axes[MAX_RANK];
  if (x->op != OP_broadcast) return NULL;
  for (int i = 0; i < n->attr.n; i++) inverse[n->attr.i[i]] = i;
  for (int i = 0; i < x->attr.n; i++) axes[i] = inverse[x->attr.i[i]];
  return fold_broadcast(f, x->in[0], &n->type.shape, axes);
}

bool fold_swaps(const struct node *n) {
  int rank = n->attr.n;
  if (n->op != OP_transpose || rank < 2) return false;
  for (int i = 0; i < rank - 2; i++)
    if (n->attr.i[i] != i) return false;
  return n->attr.i[rank - 1] == rank - 2;
}

bool fold_compares_places(const struct node *n) {
  if ((n->op != OP_eq && n->op != OP_ne) || n->in[0]->op != OP_iota || n->in[1]->op != OP_iota)
    return false;
  int64_t a = n->in[0]->attr.i[0], b = n->in[1]->attr.i[0], last = n->type.shape.rank - 1;
  return a != b && (a == last || a == last - 1) && (b == last || b == last - 1);
}

// Whether x = xᵀ by construction: AᵀA, AAᵀ and what is made of them element by element. Operands are
// shared, so the walk is bounded.
enum { MAX_SYMMETRY_DEPTH = 8 };
static bool symmetric(const struct node *x, int depth) {
  int rank = x->type.shape.rank;
  if (depth == 0 || rank < 2 || x->type.shape.dim[rank - 1] != x->type.shape.dim[rank - 2])
    return false;
  unsigned last_two = 3u << (rank - 2);
  if (x->op == OP_broadcast) return !(node_axes(x) & last_two);
  if (x->op == OP_matmul)
    return x->in[0] == x->in[1] && x->attr.i[MATMUL_TA] != x->attr.i[MATMUL_TB];
  if (fold_compares_places(x)) return true;
  if (op_info(x->op)->class != ELEMENTWISE) return false;
  if (x->op == OP_where && x->in[0]->op == OP_eq && fold_compares_places(x->in[0]))
    return symmetric(x->in[2], depth - 1); // a diagonal is its own transpose
  for (int i = 0; i < x->n_in; i++)
    if (!symmetric(x->in[i], depth - 1)) return false;
  return true;
}

// Sᵀ = S
static struct node *transpose_symmetric(struct fold *f, const struct node *n) {
  (void)f;
  return fold_swaps(n) && symmetric(n->in[0], MAX_SYMMETRY_DEPTH) ? n->in[0] : NULL;
}

// (A·B)ᵀ = Bᵀ·Aᵀ, unless the product is used as it stands as well.
static struct node *transpose_matmul(struct fold *f, const struct node *n) {
  const struct node *x = n->in[0];
  if (x->op != OP_matmul || !fold_swaps(n) || !fold_may_replace_operand(f)) return NULL;
  struct attr a = {.n = 2,
                   .i = {[MATMUL_TA] = !x->attr.i[MATMUL_TB], [MATMUL_TB] = !x->attr.i[MATMUL_TA]}};
  return fold_node(f, OP_matmul, (struct node *[]){x->in[1], x->in[0]}, 2, &a, &n->type);
}

// ---- slice ------------------------------------------------------------------------------------

// A slice of a slice starts at the sum of both starts; a slice of a repeated scalar repeats less.
static struct node *slice_slice(struct fold *f, const struct node *n) {
  const struct node *x = n->in[0];
  if (x->op == OP_broadcast && x->in[0]->type.shape.rank == 0)
    return fold_broadcast(f, x->in[0], &n->type.shape, NULL);
  if (x->op != OP_slice) return NULL;
  struct attr a = n->attr;
  for (int i = 0; i < a.n; i++) a.i[i] += x->attr.i[i];
  return fold_node(f, OP_slice, &x->in[0], 1, &a, &n->type);
}

// A concatenation of one is its operand.
static struct node *concat_one(struct fold *f, const struct node *n) {
  (void)f;
  return n->n_in == 1 ? n->in[0] : NULL;
}

// ---- matmul -----------------------------------------------------------------------------------

// A transposed operand is read the other way round: Aᵀ·B with transpose_a, A·Bᵀ with transpose_b.
static struct node *matmul_transposed(struct fold *f, const struct node *n) {
  struct node *in[2] = {n->in[0], n->in[1]};
  struct attr a = n->attr;
  bool found = false;
  for (int i = 0; i < 2; i++) {
    if (!fold_swaps(in[i])) continue;
    in[i] = in[i]->in[0];
    a.i[i == 0 ? MATMUL_TA : MATMUL_TB] ^= 1;
    found = true;
  }
  return found ? fold_node(f, OP_matmul, in, 2, &a, &n->type) : NULL;
}

// A symmetric operand is read as it stands: then S·A and Sᵀ·A, of which the gradient of AᵀA is the sum,
// are one product.
static struct node *matmul_symmetric(struct fold *f, const struct node *n) {
  struct attr a = n->attr;
  for (int i = 0; i < 2; i++) {
    int64_t *turned = &a.i[i == 0 ? MATMUL_TA : MATMUL_TB];
    if (*turned && symmetric(n->in[i], MAX_SYMMETRY_DEPTH)) *turned = 0;
  }
  bool same = a.i[MATMUL_TA] == n->attr.i[MATMUL_TA] && a.i[MATMUL_TB] == n->attr.i[MATMUL_TB];
  return same ? NULL : fold_node(f, OP_matmul, n->in, 2, &a, &n->type);
}

// ---- solve_triangular -------------------------------------------------------------------------

// The transpose of a lower triangle, said to be an upper one, is the lower one read the other way round.
static struct node *solve_transposed(struct fold *f, const struct node *n) {
  if (!fold_swaps(n->in[0])) return NULL;
  struct attr a = n->attr;
  a.i[SOLVE_UPPER] ^= 1;
  a.i[SOLVE_TRANSPOSE] ^= 1;
  return fold_node(f, OP_solve_triangular, (struct node *[]){n->in[0]->in[0], n->in[1]}, 2, &a, &n->type);
}

const struct fold_row fold_movement[] = {
    {OP_broadcast, identity},
    {OP_broadcast, broadcast_broadcast},
    {OP_broadcast, broadcast_ascending},
    {OP_reshape, identity},
    {OP_reshape, reshape_reshape},
    {OP_transpose, identity},
    {OP_transpose, transpose_transpose},
    {OP_transpose, transpose_broadcast},
    {OP_transpose, transpose_symmetric},
    {OP_transpose, transpose_matmul},
    {OP_slice, identity},
    {OP_slice, slice_slice},
    {OP_pad, identity},
    {OP_concat, concat_one},
    {OP_matmul, matmul_transposed},
    {OP_matmul, matmul_symmetric},
    {OP_solve_triangular, solve_transposed},
    {OP_COUNT, NULL},
};
