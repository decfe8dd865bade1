// graph.c: building graphs.
//
// Every node is made by one function, graph_node_in_layout: it runs the op's shape rule and returns
// an equal node where the graph already has one. Equal means: same op, operands, attributes, type
// and layout; ops have no side effects, and two draws of a random site differ by attribute, so
// equal nodes have equal values. The graph therefore never holds a common subexpression, and a pass
// that rebuilds its graph eliminates those that its rewrites create. The `g_` builders fill in
// attributes and types and drop requests that do nothing (a reshape to the same shape); arithmetic
// is left to pass_fold.c.
#include <string.h>

#include "graph.h"

// ---- the memo ---------------------------------------------------------------------------------
// An open-addressed table of the graph's nodes by content. With `--disable-pass=cse` only leaves
// are shared: two nodes that name one parameter are one value in any case.
struct graph_memo {
  enum sharing sharing;
  int used, capacity; // capacity is a power of two
  struct node **slot;
};

enum { MEMO_FIRST_CAPACITY = 256 };

static uint64_t mix(uint64_t h, uint64_t x) {
  h = (h ^ x) * 0x9e3779b97f4a7c15u;
  return h ^ h >> 29;
}

static uint64_t bits(double x) {
  uint64_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}

static uint64_t node_hash(const struct node *n) {
  uint64_t h = mix((uint64_t)n->op, (uint64_t)n->block);
  for (int i = 0; i < n->n_in; i++) h = mix(h, (uint64_t)n->in[i]->id);
  for (int i = 0; i < n->attr.n; i++) h = mix(h, (uint64_t)n->attr.i[i]);
  h = mix(h, bits(n->attr.f));
  if (n->attr.s) h = mix(h, str_hash(n->attr.s));
  h = mix(h, (uint64_t)n->type.dtype);
  for (int i = 0; i < n->type.shape.rank; i++) h = mix(h, (uint64_t)n->type.shape.dim[i]);
  return h;
}

// Numbers are compared by their bits: 0 and -0 are two constants, and a NaN equals itself.
static bool attr_eq(const struct attr *a, const struct attr *b) {
  return a->n == b->n && memcmp(a->i, b->i, sizeof a->i[0] * (size_t)a->n) == 0 &&
         bits(a->f) == bits(b->f) && str_eq(a->s, b->s);
}

static bool node_eq(const struct node *a, const struct node *b) {
  if (a->op != b->op || a->n_in != b->n_in || a->block != b->block || a->how != b->how) return false;
  for (int i = 0; i < a->n_in; i++)
    if (a->in[i] != b->in[i]) return false;
  return type_eq(&a->type, &b->type) && attr_eq(&a->attr, &b->attr);
}

static struct node **memo_slot(struct graph_memo *m, const struct node *n) {
  size_t mask = (size_t)m->capacity - 1;
  size_t at = node_hash(n) & mask;
  while (m->slot[at] && !node_eq(m->slot[at], n)) at = (at + 1) & mask;
  return &m->slot[at];
}

static void memo_grow(struct arena *a, struct graph_memo *m) {
  struct graph_memo old = *m;
  m->capacity = old.capacity ? 2 * old.capacity : MEMO_FIRST_CAPACITY;
  m->slot = NEW_ARRAY(a, struct node *, m->capacity);
  for (int i = 0; i < old.capacity; i++)
    if (old.slot[i]) *memo_slot(m, old.slot[i]) = old.slot[i];
}

static struct graph_memo *memo_new(struct btc *b) {
  struct graph_memo *m = NEW(b->arena, struct graph_memo);
  for (int i = 0; i < b->opt.disabled.len; i++)
    if (str_eq(b->opt.disabled.data[i], "cse")) m->sharing = SHARE_LEAVES;
  return m;
}

// The slot where `n` is or belongs.
static struct node **memo_find(struct graph *g, const struct node *n) {
  struct graph_memo *m = g->memo;
  if (4 * (m->used + 1) > 3 * m->capacity) memo_grow(g->b->arena, m);
  return memo_slot(m, n);
}

static bool shares(const struct graph_memo *m, const struct node *n) {
  return m->sharing == SHARE_ALL || (m->sharing == SHARE_LEAVES && n->n_in == 0);
}

// ---- graphs -----------------------------------------------------------------------------------

struct graph *graph_new(struct btc *b, const char *name) {
  struct graph *g = NEW(b->arena, struct graph);
  g->b = b;
  g->name = name;
  g->memo = memo_new(b);
  return g;
}

void graph_set_sharing(struct graph *g, enum sharing sharing) { g->memo->sharing = sharing; }
enum sharing graph_sharing(const struct graph *g) { return g->memo->sharing; }

void graph_output(struct graph *g, const char *name, enum bt_output_kind kind, struct node *n) {
  vec_push(g->b->arena, &g->outputs, ((struct graph_output){name, kind, n}));
}

void graph_update(struct graph *g, const char *name, struct node *n) {
  for (int i = 0; i < g->updates.len; i++) {
    if (str_eq(g->updates.data[i].name, name)) {
      g->updates.data[i].node = n;
      return;
    }
  }
  vec_push(g->b->arena, &g->updates, ((struct graph_update){name, n}));
}

void graph_label(struct graph *g, const char *name, struct node *n) {
  vec_push(g->b->arena, &g->labels, ((struct graph_label){name, n}));
}

const char *graph_label_of(const struct graph *g, const struct node *n) {
  for (int i = 0; i < g->labels.len; i++)
    if (g->labels.data[i].node == n) return g->labels.data[i].name;
  return NULL;
}

// ---- the general builder ----------------------------------------------------------------------

unsigned node_axes(const struct node *n) {
  unsigned set = 0;
  for (int i = 0; i < n->attr.n; i++) set |= 1u << n->attr.i[i];
  return set;
}

const char *node_check(struct arena *a, struct node *n) {
  const struct op_info *op = op_info(n->op);
  if (op->arity >= 0 ? n->n_in != op->arity : n->n_in < 1)
    return str_printf(a, "%s takes %s%d operand%s, not %d", op->name,
                      op->arity < 0 ? "at least " : "", op->arity < 0 ? 1 : op->arity,
                      op->arity == 1 || op->arity < 0 ? "" : "s", n->n_in);
  const char *wrong = op->rules->infer(a, n);
  if (wrong) return wrong;
  const struct shape *s = &n->type.shape;
  if (s->rank < 0 || s->rank > MAX_RANK) return str_printf(a, "%s has no type", op->name);
  for (int i = 0; i < s->rank; i++)
    if (s->dim[i] < 1)
      return str_printf(a, "%s has an axis of size %lld", op->name, (long long)s->dim[i]);
  if (n->block < 0 || (n->block > 0 && (s->rank < 2 || s->dim[1] % n->block != 0)))
    return str_printf(a, "axis 1 of %s cannot be laid out in blocks of %d", shape_text(a, s),
                      n->block);
  return NULL;
}

_Noreturn static void die_of_node(struct graph *g, const struct node *n, const char *wrong) {
  fprintf(stderr, "in graph %s, operands:\n", g->name);
  for (int i = 0; i < n->n_in; i++) graph_print_node(stderr, n->in[i]);
  die("%s%s%s: %s (%s:%d:%d)", op_info(n->op)->name, n->path ? " of " : "", n->path ? n->path : "",
      wrong,
      n->loc.line && n->loc.file < g->b->files.len ? g->b->files.data[n->loc.file].path : "nowhere",
      n->loc.line, n->loc.column);
}

struct node *graph_node_in_layout(struct graph *g, enum op op, struct node *const *in, int n_in,
                                  const struct attr *attr, const struct tensor_type *type,
                                  int block) {
  struct node n = {.op = op, .n_in = n_in, .block = block, .loc = g->loc, .path = g->path, .how = g->how};
  n.type.shape.rank = -1;
  if (type) n.type = *type;
  if (attr) {
    n.attr = (struct attr){.n = attr->n, .f = attr->f, .s = attr->s};
    memcpy(n.attr.i, attr->i, sizeof n.attr.i[0] * (size_t)attr->n);
  }
  n.in = (struct node **)in; // replaced by a copy before it is kept
  const char *wrong = node_check(g->b->arena, &n);
  if (wrong) die_of_node(g, &n, wrong);
  struct node **slot = memo_find(g, &n);
  if (*slot && shares(g->memo, &n)) return *slot;

  struct node *kept = NEW(g->b->arena, struct node);
  *kept = n;
  kept->id = g->nodes.len;
  kept->in = NEW_ARRAY(g->b->arena, struct node *, n_in);
  if (n_in) memcpy(kept->in, in, sizeof *in * (size_t)n_in);
  if (n.attr.s) kept->attr.s = str_printf(g->b->arena, "%s", n.attr.s);
  vec_push(g->b->arena, &g->nodes, kept);
  if (!*slot) {
    *slot = kept;
    g->memo->used++;
  }
  return kept;
}

struct node *graph_node(struct graph *g, enum op op, struct node *const *in, int n_in,
                        const struct attr *attr, const struct tensor_type *type) {
  return graph_node_in_layout(g, op, in, n_in, attr, type, 0);
}

// ---- leaves -----------------------------------------------------------------------------------

struct node *g_leaf(struct graph *g, enum op op, const char *name, const struct tensor_type *type) {
  return graph_node(g, op, NULL, 0, &(struct attr){.s = name}, type);
}

struct node *g_input(struct graph *g, const char *name, enum bt_input_kind kind, int view, int site,
                     const struct tensor_type *type) {
  struct attr a = {
      .n = 3, .i = {[INPUT_KIND] = kind, [INPUT_VIEW] = view, [INPUT_SITE] = site}, .s = name};
  return graph_node(g, OP_input, NULL, 0, &a, type);
}

struct node *g_constant(struct graph *g, dtype t, double value) {
  return graph_node(g, OP_constant, NULL, 0, &(struct attr){.f = value},
                    &(struct tensor_type){.dtype = t});
}

struct node *g_full(struct graph *g, const struct tensor_type *type, double value) {
  return g_broadcast(g, g_constant(g, type->dtype, value), &type->shape, NULL);
}

struct node *g_full_like(struct graph *g, const struct node *like, double value) {
  return g_full(g, &like->type, value);
}

struct node *g_iota(struct graph *g, dtype t, const struct shape *shape, int axis) {
  return graph_node(g, OP_iota, NULL, 0, &(struct attr){.n = 1, .i = {axis}},
                    &(struct tensor_type){t, *shape});
}

// ---- elementwise ------------------------------------------------------------------------------

struct node *g_unary(struct graph *g, enum op op, struct node *x) {
  return graph_node(g, op, &x, 1, NULL, NULL);
}

// Scalars stretch to the shape of the operand that has one.
static struct node *stretch(struct graph *g, struct node *x, const struct shape *to) {
  return x->type.shape.rank == 0 ? g_broadcast(g, x, to, NULL) : x;
}

struct node *g_binary(struct graph *g, enum op op, struct node *x, struct node *y) {
  struct node *in[2] = {stretch(g, x, &y->type.shape), stretch(g, y, &x->type.shape)};
  return graph_node(g, op, in, 2, NULL, NULL);
}

struct node *g_where(struct graph *g, struct node *c, struct node *x, struct node *y) {
  struct node *in[3] = {c, x, y};
  const struct node *shaped = c->type.shape.rank ? c : x->type.shape.rank ? x : y;
  for (int i = 0; i < 3; i++) in[i] = stretch(g, in[i], &shaped->type.shape);
  return graph_node(g, OP_where, in, 3, NULL, NULL);
}

struct node *g_scale(struct graph *g, struct node *x, double factor) {
  return factor == 1 ? x : g_binary(g, OP_mul, x, g_constant(g, x->type.dtype, factor));
}

struct node *g_cast(struct graph *g, struct node *x, dtype t) {
  if (x->type.dtype == t) return x;
  return graph_node(g, OP_cast, &x, 1, NULL, &(struct tensor_type){t, x->type.shape});
}

// ---- movement ---------------------------------------------------------------------------------

static struct attr attr_axes(const int *axes, int n) {
  expect(n >= 0 && n <= MAX_RANK, "%d axes; the largest rank is %d", n, MAX_RANK);
  struct attr a = {.n = n};
  for (int i = 0; i < n; i++) a.i[i] = axes[i];
  return a;
}

static bool counts_up(const int *axes, int n) {
  for (int i = 0; i < n; i++)
    if (axes[i] != i) return false;
  return true;
}

struct node *g_broadcast(struct graph *g, struct node *x, const struct shape *to, const int *axes) {
  int rank = x->type.shape.rank;
  if (shape_eq(&x->type.shape, to) && counts_up(axes, rank)) return x;
  struct attr a = attr_axes(axes, rank);
  return graph_node(g, OP_broadcast, &x, 1, &a, &(struct tensor_type){x->type.dtype, *to});
}

struct node *g_reshape(struct graph *g, struct node *x, const struct shape *to) {
  if (shape_eq(&x->type.shape, to)) return x;
  return graph_node(g, OP_reshape, &x, 1, NULL, &(struct tensor_type){x->type.dtype, *to});
}

struct node *g_transpose(struct graph *g, struct node *x, const int *perm) {
  if (counts_up(perm, x->type.shape.rank)) return x;
  struct attr a = attr_axes(perm, x->type.shape.rank);
  return graph_node(g, OP_transpose, &x, 1, &a, NULL);
}

static struct attr attr_sizes(const int64_t *sizes, int n) {
  struct attr a = {.n = n};
  memcpy(a.i, sizes, sizeof *sizes * (size_t)n);
  return a;
}

struct node *g_slice(struct graph *g, struct node *x, const int64_t *start,
                     const struct shape *size) {
  if (shape_eq(&x->type.shape, size)) return x;
  struct attr a = attr_sizes(start, x->type.shape.rank);
  return graph_node(g, OP_slice, &x, 1, &a, &(struct tensor_type){x->type.dtype, *size});
}

struct node *g_pad(struct graph *g, struct node *x, const int64_t *before, const struct shape *to) {
  if (shape_eq(&x->type.shape, to)) return x;
  struct attr a = attr_sizes(before, x->type.shape.rank);
  return graph_node(g, OP_pad, &x, 1, &a, &(struct tensor_type){x->type.dtype, *to});
}

struct node *g_concat(struct graph *g, struct node *const *xs, int n, int axis) {
  if (n == 1) return xs[0];
  return graph_node(g, OP_concat, xs, n, &(struct attr){.n = 1, .i = {axis}}, NULL);
}

struct node *g_relayout(struct graph *g, struct node *x, int block) {
  if (x->block == block) return x;
  return graph_node_in_layout(g, OP_relayout, &x, 1, NULL, &x->type, block);
}

// ---- reductions and contractions --------------------------------------------------------------

struct node *g_reduce(struct graph *g, enum op op, struct node *x, const int *axes, int n_axes) {
  // Over no axis a value is its own sum, mean and extremum (but not its variance or its index).
  if (n_axes == 0 && op != OP_var && op != OP_argmax) return x;
  struct attr a = attr_axes(axes, n_axes);
  return graph_node(g, op, &x, 1, &a, NULL);
}

struct node *g_matmul(struct graph *g, struct node *x, struct node *y, bool transpose_x,
                      bool transpose_y) {
  struct attr a = {.n = 2, .i = {[MATMUL_TA] = transpose_x, [MATMUL_TB] = transpose_y}};
  return graph_node(g, OP_matmul, (struct node *[]){x, y}, 2, &a, NULL);
}

struct node *g_conv(struct graph *g, enum op op, struct node *x, struct node *w,
                    const struct attr *attr, const struct tensor_type *type) {
  return graph_node(g, op, (struct node *[]){x, w}, 2, attr, type);
}
