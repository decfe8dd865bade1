// elab_shape.c: builtins that move elements, build matrices, or slide windows.
#include <string.h>

#include "elab_builtin.h"

// ---- shapes -----------------------------------------------------------------------------------

// A list of integers, nested lists flattened (a pack is a list). False after a diagnostic.
static bool int_list(struct call *c, const struct value *v, struct loc loc, const char *what,
                     struct value *out, int *n) {
  if (v->kind == V_LIST) {
    for (int i = 0; i < v->list->len; i++)
      if (!int_list(c, &v->list->data[i], loc, what, out, n)) return false;
    return true;
  }
  if (v->kind != V_INT || *n == MAX_RANK) {
    elab_error(c->e, c->f, loc, "%s is a list of at most %d integers, not %s", what, MAX_RANK,
               value_text(c->e, v));
    return false;
  }
  out[(*n)++] = *v;
  return true;
}

// At most one size is -1: what is left of the elements.
static bool infer_size(struct call *c, const struct value *x, struct shape *s) {
  int64_t known = 1, total = shape_count(&x->node->type.shape);
  int unknown = -1;
  bool ok = true;
  for (int i = 0; i < s->rank; i++) {
    if (s->dim[i] == -1 && unknown < 0)
      unknown = i;
    else if (s->dim[i] < 1 || __builtin_mul_overflow(known, s->dim[i], &known))
      ok = false;
  }
  ok = ok && (unknown < 0 ? known == total : total % known == 0);
  if (ok && unknown >= 0) s->dim[unknown] = total / known;
  if (!ok)
    elab_error(c->e, c->f, c->loc, "%s of %lld elements does not take the shape %s",
               tensor_text(c->e, x), (long long)total, shape_text(c->e->b->arena, s));
  return ok;
}

bool builtin_shape(struct call *c, int i, struct shape *s, struct value *result) {
  struct value sizes[MAX_RANK];
  *s = (struct shape){0};
  if (!int_list(c, &c->given[i].value, c->given[i].loc, "a shape", sizes, &s->rank)) return false;
  *result = value_tensor(c->loc, NULL);
  for (int k = 0; k < s->rank; k++) {
    s->dim[k] = sizes[k].integer;
    result->axes[k] = sizes[k].axis && sizes[k].axis->frame == c->f ? sizes[k].axis : NULL;
  }
  return true;
}

struct value builtin_reshape(struct call *c) {
  struct value x, r;
  struct shape s;
  if (!builtin_tensor(c, 0, &x) || !builtin_shape(c, 1, &s, &r) || !infer_size(c, &x, &s))
    return value_error();
  graph_at(c->e, c->f, c->loc);
  r.node = g_reshape(c->e->graph, x.node, &s);
  return r;
}

struct value builtin_permute(struct call *c) {
  struct value x;
  int order[MAX_RANK], n = 0;
  if (!builtin_tensor(c, 0, &x)) return value_error();
  const struct value *axes = &c->given[1].value;
  bool seen[MAX_RANK] = {false};
  bool ok = axes->kind == V_LIST && axes->list->len == value_rank(&x);
  for (int i = 0; ok && i < axes->list->len; i++) {
    struct call one = *c; // each item is read as an `over:`
    one.given[1].value = axes->list->data[i];
    int at[MAX_RANK], found;
    if (!builtin_axes(&one, 1, &x, at, &found)) return value_error();
    ok = found == 1 && !seen[at[0]];
    if (ok) seen[order[n++] = at[0]] = true;
  }
  if (!ok) {
    elab_error(c->e, c->f, c->given[1].loc,
               "`permute` needs each axis of %s once, by name or position", tensor_text(c->e, &x));
    return value_error();
  }
  graph_at(c->e, c->f, c->loc);
  struct value r = value_tensor(c->loc, g_transpose(c->e->graph, x.node, order));
  for (int i = 0; i < n; i++) r.axes[i] = x.axes[order[i]];
  return r;
}

// The static number that stands where x has no element, as a scalar of its type; 0 where it is missing.
static bool fill_value(struct call *c, int i, const struct value *x, struct node **fill) {
  struct value v = c->given[i].present ? c->given[i].value : value_int(c->loc, 0);
  dtype t = x->node->type.dtype;
  const char *what = str_printf(c->e->b->arena, "`value` of `%s`", c->row->name);
  if (v.kind == V_TENSOR) {
    elab_error(c->e, c->f, c->given[i].loc, "%s is a number known at compile time, not %s", what,
               tensor_text(c->e, &v));
    return false;
  }
  if (t == BT_BOOL && v.kind == V_INT) v = value_bool(c->loc, v.integer != 0);
  if (!as_tensor(c->e, c->f, &v, t, what)) return false;
  *fill = v.node;
  return true;
}

// One pair [before, after] an axis.
static bool pad_widths(struct call *c, const struct value *x, int64_t *before, struct shape *to) {
  const struct value *widths = &c->given[1].value;
  bool ok = widths->kind == V_LIST && widths->list->len == value_rank(x);
  for (int i = 0; ok && i < value_rank(x); i++) {
    const struct value *pair = &widths->list->data[i];
    ok = pair->kind == V_LIST && pair->list->len == 2;
    for (int k = 0; ok && k < 2; k++) {
      const struct value *width = &pair->list->data[k];
      ok = width->kind == V_INT && width->integer >= 0 &&
           !__builtin_add_overflow(to->dim[i], width->integer, &to->dim[i]);
      if (ok && k == 0) before[i] = width->integer;
    }
  }
  if (!ok)
    elab_error(c->e, c->f, c->given[1].loc,
               "`pad` of %s takes %d pair%s [before, after] of integers, one an axis, as in "
               "`pad(x, [[0, 0], [1, 1]])`",
               tensor_text(c->e, x), value_rank(x), value_rank(x) == 1 ? "" : "s");
  return ok;
}

struct value builtin_pad(struct call *c) {
  struct value x;
  if (!builtin_tensor(c, 0, &x)) return value_error();
  struct shape from = x.node->type.shape, to = from;
  int64_t before[MAX_RANK] = {0};
  struct node *fill;
  if (!pad_widths(c, &x, before, &to) || !size_fits(c->e, c->f, c->loc, &to) ||
      !fill_value(c, 2, &x, &fill))
    return value_error();
  graph_at(c->e, c->f, c->loc);
  struct graph *g = c->e->graph;
  struct value r = x;
  r.loc = c->loc;
  r.node = g_pad(g, x.node, before, &to);
  if (fill->attr.f != 0) {
    struct node *whole = g_full(g, &(struct tensor_type){BT_BOOL, from}, 1);
    r.node = g_where(g, g_pad(g, whole, before, &to), r.node, fill);
  }
  for (int i = 0; i < from.rank; i++)
    if (to.dim[i] != from.dim[i]) r.axes[i] = NULL;
  return r;
}

static bool concat_fits(struct call *c, const struct value *a, const struct value *b, int axis) {
  bool fits = a->node->type.dtype == b->node->type.dtype && value_rank(a) == value_rank(b);
  for (int i = 0; fits && i < value_rank(a); i++)
    fits = i == axis || (value_dim(a, i) == value_dim(b, i) &&
                         (!a->axes[i] || !b->axes[i] || a->axes[i] == b->axes[i]));
  if (!fits)
    elab_error(c->e, c->f, c->loc, "`concat` along axis %d of %s and %s: the other axes differ",
               axis, tensor_text(c->e, a), tensor_text(c->e, b));
  return fits;
}

struct value builtin_concat(struct call *c) {
  const struct value *xs = &c->given[0].value;
  if (xs->kind != V_LIST || xs->list->len == 0) {
    elab_error(c->e, c->f, c->given[0].loc,
               "`concat` takes a list of tensors, as in `concat([a, b], 0)`, not %s",
               value_text(c->e, xs));
    return value_error();
  }
  int n = xs->list->len, axes[MAX_RANK], n_axes;
  struct node **nodes = NEW_ARRAY(c->e->b->arena, struct node *, n);
  for (int i = 0; i < n; i++) {
    if (xs->list->data[i].kind == V_TENSOR) {
      nodes[i] = xs->list->data[i].node;
      continue;
    }
    elab_error(c->e, c->f, c->given[0].loc, "`concat` takes tensors, not %s",
               value_text(c->e, &xs->list->data[i]));
    return value_error();
  }
  struct value first = xs->list->data[0];
  if (!builtin_axes(c, 1, &first, axes, &n_axes)) return value_error();
  if (n_axes != 1) {
    elab_error(c->e, c->f, c->given[1].loc, "`concat` joins along one axis, not %d", n_axes);
    return value_error();
  }
  struct shape s = first.node->type.shape;
  for (int i = 1; i < n; i++) {
    if (!concat_fits(c, &first, &xs->list->data[i], axes[0])) return value_error();
    s.dim[axes[0]] += value_dim(&xs->list->data[i], axes[0]);
    if (!size_fits(c->e, c->f, c->loc, &s)) return value_error();
  }
  graph_at(c->e, c->f, c->loc);
  struct value r = first;
  r.loc = c->loc;
  r.node = g_concat(c->e->graph, nodes, n, axes[0]);
  if (n > 1) r.axes[axes[0]] = NULL;
  return r;
}

// ---- matrices ---------------------------------------------------------------------------------

static bool square(struct call *c, struct value *x) {
  if (!builtin_tensor(c, 0, x)) return false;
  int r = value_rank(x);
  if (r >= 2 && value_dim(x, r - 1) == value_dim(x, r - 2)) return true;
  elab_error(c->e, c->f, c->loc, "`%s` takes a square matrix, not %s", c->row->name,
             tensor_text(c->e, x));
  return false;
}

struct value builtin_diag(struct call *c) {
  struct value x;
  if (!square(c, &x)) return value_error();
  int r = value_rank(&x);
  graph_at(c->e, c->f, c->loc);
  struct value d = value_tensor(c->loc, g_unary(c->e->graph, OP_diag, x.node));
  for (int i = 0; i < r - 1; i++) d.axes[i] = x.axes[i];
  if (x.axes[r - 1] != x.axes[r - 2]) d.axes[r - 2] = NULL;
  return d;
}

// True on the diagonal of the last two axes.
static struct node *on_diagonal(struct graph *g, const struct shape *s) {
  return g_binary(g, OP_eq, g_iota(g, BT_I32, s, s->rank - 2), g_iota(g, BT_I32, s, s->rank - 1));
}

struct value builtin_offdiag(struct call *c) {
  struct value x;
  if (!square(c, &x)) return value_error();
  graph_at(c->e, c->f, c->loc);
  struct graph *g = c->e->graph;
  struct node *zero = g_full_like(g, x.node, 0);
  x.node = g_where(g, on_diagonal(g, &x.node->type.shape), zero, x.node);
  x.loc = c->loc;
  return x;
}

// tril keeps column <= row + diagonal of the last two axes, triu column >= row + diagonal.
struct value builtin_triangle(struct call *c) {
  struct value x;
  int64_t diagonal = 0;
  struct node *fill;
  if (!builtin_tensor(c, 0, &x)) return value_error();
  int r = value_rank(&x);
  if (r < 2) {
    elab_error(c->e, c->f, c->loc, "`%s` takes a matrix, not %s", c->row->name,
               tensor_text(c->e, &x));
    return value_error();
  }
  if (c->given[1].present && !static_int(c->e, c->f, c->given[1].value, &diagonal, "`diagonal`"))
    return value_error();
  if (!fill_value(c, 2, &x, &fill)) return value_error();
  graph_at(c->e, c->f, c->loc);
  struct graph *g = c->e->graph;
  const struct shape *s = &x.node->type.shape;
  struct node *row = g_iota(g, BT_I64, s, r - 2), *column = g_iota(g, BT_I64, s, r - 1);
  row = g_binary(g, OP_add, row, g_constant(g, BT_I64, (double)diagonal));
  bool lower = c->row->name[3] == 'l';
  struct node *kept = lower ? g_binary(g, OP_le, column, row) : g_binary(g, OP_le, row, column);
  x.node = g_where(g, kept, x.node, fill);
  x.loc = c->loc;
  return x;
}

struct value builtin_eye(struct call *c) {
  int64_t n;
  struct value size = c->given[0].value;
  if (!static_int(c->e, c->f, size, &n, "the size of `eye`") ||
      !needs_graph(c->e, c->f, c->loc, "a tensor"))
    return value_error();
  if (n < 1) {
    elab_error(c->e, c->f, c->loc, "a size must be at least 1, not %lld", (long long)n);
    return value_error();
  }
  struct shape s = shape_of(2, n, n);
  if (!size_fits(c->e, c->f, c->loc, &s)) return value_error();
  graph_at(c->e, c->f, c->loc);
  struct value r = value_tensor(c->loc, g_cast(c->e->graph, on_diagonal(c->e->graph, &s), BT_F32));
  r.axes[0] = r.axes[1] = size.axis && size.axis->frame == c->f ? size.axis : NULL;
  return r;
}

void note_classes(struct elab *e, const struct node *labels, int64_t classes) {
  struct program *p = e->program;
  while (labels->op == OP_reshape || labels->op == OP_transpose || labels->op == OP_broadcast || labels->op == OP_cast)
    labels = labels->in[0]; // the same numbers; a part of an array may be other than the rest
  for (int i = 0; p && classes <= INT32_MAX && i < p->inputs.len; i++) {
    struct bt_input *in = &p->inputs.data[i];
    bool data = in->kind == BT_INPUT_LABEL || (in->kind == BT_INPUT_ARRAY && !dtype_is_float(in->dtype));
    if (labels->op != OP_input || !data || !str_eq(in->name, labels->attr.s)) continue;
    if (in->classes == 0 || classes < in->classes) in->classes = (int)classes;
  }
}

// labels: i32[..s] to f32[..s, classes]
struct value builtin_one_hot(struct call *c) {
  struct value y;
  int64_t classes;
  struct value k = c->given[1].value;
  if (!builtin_tensor(c, 0, &y) || !static_int(c->e, c->f, k, &classes, "the number of classes"))
    return value_error();
  dtype t = y.node->type.dtype;
  int r = value_rank(&y);
  if ((t != BT_I32 && t != BT_I64) || r == MAX_RANK || classes < 1) {
    elab_error(c->e, c->f, c->loc,
               "`one_hot` takes integer labels and a number of classes, not %s and %lld",
               tensor_text(c->e, &y), (long long)classes);
    return value_error();
  }
  struct shape s = y.node->type.shape;
  s.dim[s.rank++] = classes;
  int axes[MAX_RANK];
  for (int i = 0; i < r; i++) axes[i] = i;
  if (!size_fits(c->e, c->f, c->loc, &s)) return value_error();
  graph_at(c->e, c->f, c->loc);
  struct graph *g = c->e->graph;
  struct node *hot = g_binary(g, OP_eq, g_broadcast(g, y.node, &s, axes), g_iota(g, t, &s, r));
  note_classes(c->e, y.node, classes);
  y.node = g_cast(g, hot, BT_F32);
  y.axes[r] = k.axis && k.axis->frame == c->f ? k.axis : NULL;
  y.loc = c->loc;
  return y;
}

// ---- windows ----------------------------------------------------------------------------------

// stride: 2 or stride: [2, 1], at least `least`; `missing` where it is not given.
static bool pair(struct call *c, int i, const char *what, int64_t least, const int64_t missing[2],
                 int64_t *out) {
  if (!c->given[i].present) {
    out[0] = missing[0], out[1] = missing[1];
    return true;
  }
  const struct value *v = &c->given[i].value;
  bool list = v->kind == V_LIST && v->list->len == 2;
  for (int k = 0; k < 2; k++) {
    const struct value *item = list ? &v->list->data[k] : v;
    if (item->kind == V_INT && item->integer >= least && item->integer <= INT32_MAX) {
      out[k] = item->integer;
      continue;
    }
    elab_error(c->e, c->f, c->given[i].loc,
               "`%s` of `%s` is an integer of at least %lld, or two of them, not %s", what,
               c->row->name, (long long)least, value_text(c->e, v));
    return false;
  }
  return true;
}

static bool four_axes(struct call *c, const struct value *v, const char *what) {
  if (value_rank(v) == 4 && dtype_is_float(v->node->type.dtype)) return true;
  elab_error(c->e, c->f, c->loc, "`%s` takes %s of four axes, not %s", c->row->name, what,
             tensor_text(c->e, v));
  return false;
}

static bool window_fits(struct call *c, const struct value *x, const int64_t *extent,
                        const int64_t *pad) {
  for (int k = 0; k < 2; k++) {
    if (value_dim(x, 2 + k) + 2 * pad[k] >= extent[k]) continue;
    elab_error(c->e, c->f, c->loc, "a window of %lld×%lld is larger than %s with padding %lld×%lld",
               (long long)extent[0], (long long)extent[1], tensor_text(c->e, x), (long long)pad[0],
               (long long)pad[1]);
    return false;
  }
  return true;
}

// The padded result is no smaller than the real one.
static bool output_fits(struct call *c, const struct value *x, int64_t channels,
                        const int64_t *pad) {
  struct shape s = x->node->type.shape;
  s.dim[1] = channels;
  for (int k = 0; k < 2; k++) s.dim[2 + k] += 2 * pad[k];
  return size_fits(c->e, c->f, c->loc, &s);
}

static bool channels_fit(struct call *c, const struct value *x, const struct value *w,
                         int64_t groups) {
  if (groups < 1 || value_dim(x, 1) % groups || value_dim(w, 0) % groups) {
    elab_error(c->e, c->f, c->loc, "%lld groups do not divide %s and %s", (long long)groups,
               tensor_text(c->e, x), tensor_text(c->e, w));
    return false;
  }
  if (value_dim(x, 1) == groups * value_dim(w, 1)) return true;
  elab_error(c->e, c->f, c->loc,
             "`conv2d` of %s with weights %s: %lld channels meet %lld in %lld group%s",
             tensor_text(c->e, x), tensor_text(c->e, w), (long long)value_dim(x, 1),
             (long long)value_dim(w, 1), (long long)groups, groups == 1 ? "" : "s");
  return false;
}

// y + bias, one number a channel.
static bool add_bias(struct call *c, struct value *y) {
  struct value bias;
  if (!builtin_tensor(c, 6, &bias)) return false;
  bool fits = value_rank(&bias) == 1 && bias.node->type.dtype == y->node->type.dtype &&
              value_dim(&bias, 0) == value_dim(y, 1) &&
              (!bias.axes[0] || !y->axes[1] || bias.axes[0] == y->axes[1]);
  if (!fits) {
    elab_error(c->e, c->f, c->given[6].loc,
               "`bias` of `conv2d` has one number for each channel of %s; this is %s",
               tensor_text(c->e, y), tensor_text(c->e, &bias));
    return false;
  }
  struct graph *g = c->e->graph;
  int channel = 1;
  y->node = g_binary(g, OP_add, y->node, g_broadcast(g, bias.node, &y->node->type.shape, &channel));
  return true;
}

struct value builtin_conv(struct call *c) {
  static const int64_t one[2] = {1, 1}, zero[2] = {0, 0};
  struct value x, w;
  struct attr a = {.n = 7, .i = {[CONV_GROUPS] = 1}};
  if (!builtin_tensor(c, 0, &x) || !builtin_tensor(c, 1, &w)) return value_error();
  if (!four_axes(c, &x, "images [n, c, h, w]") || !four_axes(c, &w, "weights [out, in, h, w]"))
    return value_error();
  if (x.node->type.dtype != w.node->type.dtype) {
    elab_error(c->e, c->f, c->loc, "`conv2d` of %s with weights %s: element types differ",
               tensor_text(c->e, &x), tensor_text(c->e, &w));
    return value_error();
  }
  if (!pair(c, 2, "stride", 1, one, &a.i[CONV_STRIDE]) ||
      !pair(c, 3, "pad", 0, zero, &a.i[CONV_PAD]) ||
      !pair(c, 4, "dilation", 1, one, &a.i[CONV_DILATION]))
    return value_error();
  if (c->given[5].present &&
      !static_int(c->e, c->f, c->given[5].value, &a.i[CONV_GROUPS], "`groups`"))
    return value_error();
  int64_t extent[2];
  for (int k = 0; k < 2; k++) extent[k] = a.i[CONV_DILATION + k] * (value_dim(&w, 2 + k) - 1) + 1;
  if (!channels_fit(c, &x, &w, a.i[CONV_GROUPS]) || !window_fits(c, &x, extent, &a.i[CONV_PAD]) ||
      !output_fits(c, &x, value_dim(&w, 0), &a.i[CONV_PAD]))
    return value_error();
  graph_at(c->e, c->f, c->loc);
  struct value r = value_tensor(c->loc, g_conv(c->e->graph, OP_conv2d, x.node, w.node, &a, NULL));
  r.axes[0] = x.axes[0];
  r.axes[1] = w.axes[0];
  return !c->given[6].present || add_bias(c, &r) ? r : value_error();
}

struct value builtin_pool(struct call *c) {
  static const int64_t zero[2] = {0, 0};
  struct value x;
  struct attr a = {.n = 6};
  if (!builtin_tensor(c, 0, &x) || !four_axes(c, &x, "images [n, c, h, w]")) return value_error();
  if (!pair(c, 1, "size", 1, NULL, &a.i[POOL_SIZE]) ||
      !pair(c, 2, "stride", 1, &a.i[POOL_SIZE], &a.i[POOL_STRIDE]) ||
      !pair(c, 3, "pad", 0, zero, &a.i[POOL_PAD]))
    return value_error();
  if (2 * a.i[POOL_PAD] > a.i[POOL_SIZE] || 2 * a.i[POOL_PAD + 1] > a.i[POOL_SIZE + 1]) {
    elab_error(c->e, c->f, c->loc, "the padding of `%s` is at most half its size", c->row->name);
    return value_error();
  }
  if (!window_fits(c, &x, &a.i[POOL_SIZE], &a.i[POOL_PAD]) ||
      !output_fits(c, &x, value_dim(&x, 1), &a.i[POOL_PAD]))
    return value_error();
  graph_at(c->e, c->f, c->loc);
  struct value r = value_tensor(c->loc, graph_node(c->e->graph, c->row->op, &x.node, 1, &a, NULL));
  r.axes[0] = x.axes[0];
  r.axes[1] = x.axes[1];
  return r;
}
