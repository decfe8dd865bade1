// elab_reduce.c: reductions, and the axes that `over:` names.
//
// `over: n` is the axis of that name, `over: [n, s]` several (a pack s is all of its axes), an
// integer a position, negative ones from the end; without `over:` all axes. A name that two axes of
// the value have is an error: only an integer says which.
#include <float.h>
#include <string.h>

#include "elab_builtin.h"

bool builtin_tensor(struct call *c, int i, struct value *out) {
  struct value v = c->given[i].value;
  if (v.kind == V_TENSOR) {
    *out = v;
    return true;
  }
  if (v.kind == V_DATA)
    elab_error(c->e, c->f, c->given[i].loc,
               "`%s` takes a tensor, not the images `%s` as they are stored; a view makes a tensor "
               "of them, as in `plain(%s)`",
               c->row->name, v.data->name, v.data->name);
  else if (v.kind != V_ERROR)
    elab_error(c->e, c->f, c->given[i].loc, "`%s` takes a tensor, not %s", c->row->name,
               value_text(c->e, &v));
  return false;
}

struct value builtin_elementwise(struct call *c, enum op op, struct value *v, int n) {
  const struct value *shaped = NULL;
  int first = op == OP_where; // a condition has its own element type
  for (int i = first; i < n; i++)
    if (v[i].kind == V_TENSOR && !shaped) shaped = &v[i];
  dtype t = shaped ? shaped->node->type.dtype : BT_F32;
  for (int i = 0; i < n; i++) {
    const char *what = str_printf(c->e->b->arena, "an argument of `%s`", c->row->name);
    if (!as_tensor(c->e, c->f, &v[i], i < first ? BT_BOOL : t, what)) return value_error();
    if (i < first || v[i].node->type.dtype == t) continue;
    elab_error(c->e, c->f, c->loc, "`%s` of %s and %s: element types differ", c->row->name,
               dtype_name(t), tensor_text(c->e, &v[i]));
    return value_error();
  }
  if (t == BT_BOOL && op != OP_where) {
    elab_error(c->e, c->f, c->loc, "`%s` does not take %s; `and` and `or` join conditions",
               c->row->name, tensor_text(c->e, shaped));
    return value_error();
  }
  const char *what = str_printf(c->e->b->arena, "`%s`", c->row->name);
  if (!tensors_align(c->e, c->f, c->loc, v, n, what)) return value_error();
  graph_at(c->e, c->f, c->loc);
  struct value r = v[n - 1];
  r.loc = c->loc;
  r.node = n == 3 ? g_where(c->e->graph, v[0].node, v[1].node, v[2].node)
                  : g_binary(c->e->graph, op, v[0].node, v[1].node);
  return r;
}

// ---- over -------------------------------------------------------------------------------------

// An axis passed as an argument is one of the caller's: ours stands for it.
static bool stands_for(const struct axis *ours, const struct axis *named) {
  for (; ours; ours = ours->outer)
    if (ours == named) return true;
  return false;
}

static int named_axis(struct call *c, const struct value *x, const struct value *over,
                      struct loc loc) {
  int at = -1;
  for (int i = 0; i < value_rank(x); i++) {
    if (!stands_for(x->axes[i], over->axis)) continue;
    if (at >= 0) {
      elab_error(c->e, c->f, loc,
                 "`over: %s` is ambiguous: two axes of %s have this name; an integer says which, "
                 "as in `over: %d`",
                 over->axis->name, tensor_text(c->e, x), at);
      return -1;
    }
    at = i;
  }
  if (at < 0) {
    elab_error(c->e, c->f, loc, "%s has no axis `%s`", tensor_text(c->e, x), over->axis->name);
    elab_note(c->e, over->axis->loc, "`%s` is bound here", over->axis->name);
  }
  return at;
}

static int one_axis(struct call *c, const struct value *x, const struct value *over,
                    struct loc loc) {
  if (over->kind != V_INT) {
    elab_error(c->e, c->f, loc,
               "`over:` takes the name or position of an axis, or a list of them, not %s",
               value_text(c->e, over));
    return -1;
  }
  if (over->axis) return named_axis(c, x, over, loc);
  int64_t rank = value_rank(x), at = over->integer < 0 ? over->integer + rank : over->integer;
  if (at >= 0 && at < rank) return (int)at;
  elab_error(
      c->e, c->f, loc,
      "%s has no axis %lld: an integer that names none of its axes is a position, 0 the first",
      tensor_text(c->e, x), (long long)over->integer);
  return -1;
}

static bool mark_axes(struct call *c, const struct value *x, const struct value *over,
                      struct loc loc, bool *marked) {
  if (over->kind == V_LIST) {
    for (int i = 0; i < over->list->len; i++)
      if (!mark_axes(c, x, &over->list->data[i], loc, marked)) return false;
    return true;
  }
  int at = one_axis(c, x, over, loc);
  if (at < 0) return false;
  if (marked[at]) {
    elab_error(c->e, c->f, loc, "axis %d of %s is named twice", at, tensor_text(c->e, x));
    return false;
  }
  return marked[at] = true;
}

bool builtin_axes(struct call *c, int i, const struct value *x, int *axes, int *n) {
  bool marked[MAX_RANK] = {false};
  bool all = !c->given[i].present;
  if (!all && !mark_axes(c, x, &c->given[i].value, c->given[i].loc, marked)) return false;
  *n = 0;
  for (int k = 0; k < value_rank(x); k++)
    if (all || marked[k]) axes[(*n)++] = k;
  return true;
}

// ---- reductions -------------------------------------------------------------------------------

static int over_index(const struct call *c) { return strchr(c->row->params, 'y') ? 2 : 1; }

static struct value without_axes(const struct value *x, struct node *n, const int *axes, int n_axes,
                                 struct loc loc) {
  struct value r = value_tensor(loc, n);
  for (int i = 0, k = 0, at = 0; i < value_rank(x); i++) {
    if (k < n_axes && axes[k] == i)
      k++;
    else
      r.axes[at++] = x->axes[i];
  }
  return r;
}

struct reduction {
  struct value x;
  int axes[MAX_RANK], n;
};

static bool reduction(struct call *c, struct reduction *r) {
  if (!builtin_tensor(c, 0, &r->x) || !builtin_axes(c, over_index(c), &r->x, r->axes, &r->n))
    return false;
  dtype t = r->x.node->type.dtype;
  bool extremum = c->row->op == OP_reduce_min || c->row->op == OP_reduce_max;
  if (!dtype_is_float(t) &&
      (t == BT_BOOL || !(extremum || c->row->op == OP_sum || c->row->op == OP_argmax))) {
    elab_error(c->e, c->f, c->loc, "`%s` does not take %s; convert it with `f32(…)`", c->row->name,
               tensor_text(c->e, &r->x));
    return false;
  }
  graph_at(c->e, c->f, c->loc);
  return true;
}

static struct value reduced(struct call *c, const struct reduction *r, struct node *n) {
  return without_axes(&r->x, n, r->axes, r->n, c->loc);
}

struct value builtin_reduce(struct call *c) {
  struct reduction r;
  if (!reduction(c, &r)) return value_error();
  if (c->row->op == OP_argmax && r.n != 1) {
    elab_error(c->e, c->f, c->loc, "`argmax` goes over one axis, not %d; `over:` says which", r.n);
    return value_error();
  }
  if (r.n == 0 && c->row->op == OP_var)
    return reduced(c, &r, g_full_like(c->e->graph, r.x.node, 0));
  return reduced(c, &r, g_reduce(c->e->graph, c->row->op, r.x.node, r.axes, r.n));
}

// x, but no gradient where it is 0: of what follows the slope is infinite there, and what x was made of
// has slope 0, so the product would be NaN.
static struct node *without_slope_at_zero(struct graph *g, struct node *x) {
  struct node *zero = g_constant(g, x->type.dtype, 0);
  return g_where(g, g_binary(g, OP_eq, x, zero), zero, x);
}

// The largest element, or the nearest finite number: an infinite one less itself would be NaN.
static struct node *finite_top(struct graph *g, const struct reduction *r) {
  dtype t = r->x.node->type.dtype;
  double most = t == BT_F32 ? FLT_MAX : DBL_MAX;
  struct node *top = g_reduce(g, OP_reduce_max, r->x.node, r->axes, r->n);
  top = g_binary(g, OP_max, top, g_constant(g, t, -most));
  return g_unary(g, OP_stop_gradient, g_binary(g, OP_min, top, g_constant(g, t, most)));
}

// log(sum(exp(x))), shifted by the largest element so that nothing overflows; the shift cancels, so
// no gradient passes through it. Of nothing but -inf it is -inf, with gradient 0.
struct value builtin_logsumexp(struct call *c) {
  struct reduction r;
  if (!reduction(c, &r)) return value_error();
  struct graph *g = c->e->graph;
  const struct shape *shape = &r.x.node->type.shape;
  struct node *top = finite_top(g, &r);
  int kept[MAX_RANK];
  for (int i = 0, k = 0, at = 0; i < shape->rank; i++) {
    if (k < r.n && r.axes[k] == i)
      k++;
    else
      kept[at++] = i;
  }
  struct node *shifted = g_binary(g, OP_sub, r.x.node, g_broadcast(g, top, shape, kept));
  struct node *sum = g_reduce(g, OP_sum, g_unary(g, OP_exp, shifted), r.axes, r.n);
  struct node *log = g_unary(g, OP_log, without_slope_at_zero(g, sum));
  return reduced(c, &r, g_binary(g, OP_add, log, top));
}

// Root of the sum of squares; the gradient at 0 is 0, as PyTorch's.
struct value builtin_norm(struct call *c) {
  struct reduction r;
  if (!reduction(c, &r)) return value_error();
  struct graph *g = c->e->graph;
  struct node *squares = g_reduce(g, OP_sum, g_binary(g, OP_mul, r.x.node, r.x.node), r.axes, r.n);
  return reduced(c, &r, g_unary(g, OP_sqrt, without_slope_at_zero(g, squares)));
}

struct value builtin_count(struct call *c) {
  struct value x;
  int axes[MAX_RANK], n;
  if (!builtin_tensor(c, 0, &x) || !builtin_axes(c, 1, &x, axes, &n)) return value_error();
  int64_t size = 1;
  for (int i = 0; i < n; i++) size *= value_dim(&x, axes[i]);
  return value_int(c->loc, size);
}
