// elab_triangular.c: `cholesky` and `solve_triangular`, with the conventions of torch.linalg.
#include "elab_builtin.h"

// Two axes that meet are one: of one size, and not of two names.
static bool one_axis(struct call *c, const struct value *a, int i, const struct value *b, int k,
                     const char *what) {
  const struct axis *x = a->axes[i], *y = b->axes[k];
  const char *both =
      a == b ? tensor_text(c->e, a)
             : str_printf(c->e->b->arena, "%s and %s", tensor_text(c->e, a), tensor_text(c->e, b));
  if (value_dim(a, i) != value_dim(b, k)) {
    elab_error(c->e, c->f, c->loc, "`%s` of %s: %s are %lld and %lld", c->row->name, both, what,
               (long long)value_dim(a, i), (long long)value_dim(b, k));
    return false;
  }
  if (!x || !y || x == y) return true;
  elab_error(c->e, c->f, c->loc,
             "`%s` of %s: %s are `%s` and `%s`, different axes even of one size", c->row->name,
             both, what, x->name, y->name);
  elab_note(c->e, x->loc, "`%s` is %lld by %s", x->name, (long long)x->size, x->where);
  elab_note(c->e, y->loc, "`%s` is %lld by %s", y->name, (long long)y->size, y->where);
  return false;
}

static bool float_matrices(struct call *c, int i, struct value *x) {
  if (!builtin_tensor(c, i, x)) return false;
  if (value_rank(x) >= 2 && dtype_is_float(x->node->type.dtype)) return true;
  elab_error(c->e, c->f, c->given[i].loc, "`%s` takes matrices of floats, not %s", c->row->name,
             tensor_text(c->e, x));
  return false;
}

static bool square_matrices(struct call *c, struct value *a) {
  return float_matrices(c, 0, a) && one_axis(c, a, value_rank(a) - 2, a, value_rank(a) - 1,
                                             "the matrix is to be square, its rows and columns");
}

struct value builtin_cholesky(struct call *c) {
  struct value x;
  if (!square_matrices(c, &x)) return value_error();
  graph_at(c->e, c->f, c->loc);
  x.node = g_unary(c->e->graph, OP_cholesky, x.node);
  x.loc = c->loc;
  return x;
}

// A static boolean, false where it is missing.
static bool flag(struct call *c, int i, const char *name, int64_t *out) {
  const struct given *g = &c->given[i];
  *out = g->present && g->value.integer;
  if (!g->present || g->value.kind == V_BOOL) return true;
  if (g->value.kind != V_ERROR)
    elab_error(c->e, c->f, g->loc, "`%s` of `%s` is `true` or `false`, not %s", name, c->row->name,
               value_text(c->e, &g->value));
  return false;
}

struct value builtin_solve_triangular(struct call *c) {
  struct value a, b;
  struct attr flags = {.n = 3};
  if (!square_matrices(c, &a) || !float_matrices(c, 1, &b)) return value_error();
  if (!flag(c, 2, "upper", &flags.i[SOLVE_UPPER]) ||
      !flag(c, 3, "unitriangular", &flags.i[SOLVE_UNITRIANGULAR]))
    return value_error();
  int rank = value_rank(&a);
  if (rank != value_rank(&b) || a.node->type.dtype != b.node->type.dtype) {
    elab_error(c->e, c->f, c->loc,
               "`solve_triangular` of %s and %s: both have one element type and equally many axes",
               tensor_text(c->e, &a), tensor_text(c->e, &b));
    return value_error();
  }
  if (!one_axis(c, &a, rank - 2, &b, rank - 2, "the rows of both sides")) return value_error();
  for (int i = 0; i < rank - 2; i++)
    if (!one_axis(c, &a, i, &b, i, "the leading axes of both sides")) return value_error();
  graph_at(c->e, c->f, c->loc);
  struct value x = b;
  x.loc = c->loc;
  x.node = graph_node(c->e->graph, OP_solve_triangular, (struct node *[]){a.node, b.node}, 2,
                      &flags, NULL);
  for (int i = 0; i < rank - 2; i++)
    if (!x.axes[i]) x.axes[i] = a.axes[i];
  x.axes[rank - 2] = a.axes[rank - 1];
  return x;
}
