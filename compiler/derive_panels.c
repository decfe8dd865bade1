// derive_panels.c: a product, and everything that reads it, a panel of columns at a time.
//
// For P = XᵀY and columns J:
//
//   P_J = Xᵀ Y_J                            the columns J of P come from those of Y
//   f(P, B₀(u), B₁(v))_J = f(P_J, B₀(u), B₁(v_J))
//   (i == j)_J = (i == p_J), p_j = j         a mask compares places
//   Σ_ij W = Σ_J Σ_ij W_J                   what sums over columns adds up, panel after panel,
//   A·Wᵀ = Σ_J A_J·W_Jᵀ                     products that sum over them as well
//   (Σ_i W)_J = Σ_i W_J,  (A·W)_J = A·W_J   what keeps columns is had a panel at a time
//
// Each node's *manner* follows from its operands' (find_manner). Then the graph is built three
// times over: what does not depend on the products; for each panel what is split, and the terms of
// what adds up; at last what needs all panels, among it results that are put side by side from
// theirs. Rows instead of columns are the same with the axes exchanged, so everything here speaks
// of an axis.
//
// Slices are pushed down to what is stored (inputs, vectors, products), so that the kernels of two
// panels differ only in where they start to read.
#include "derive_panels.h"

enum manner {
  WHOLE, // does not depend on the products
  SPLIT, // a panel at a time
  TERMS, // the sum (or extremum) of what each panel contributes
  LATE,  // needs all of something above
};

struct part {
  enum manner manner;
  int axis;  // SPLIT: along which
  bool wide; // SPLIT: of the products' shape, never put side by side
};

struct cutter {
  const struct graph *g;
  const struct panels *p;
  struct arena *arena;
  struct rewrite r;
  struct part *part;           // by node id
  const char *why;             // NULL: nothing in the way yet
  int64_t start, size;         // the present panel
  struct node **piece;         // by node id: the present panel's part of what is SPLIT
  struct node **cut;           // by node id and axis: likewise of what is WHOLE
  VEC(struct node *) * pieces; // by node id: all panels', of what is SPLIT
};

// ---- manners ----------------------------------------------------------------------------------

static const char *named(const struct cutter *c, const struct node *n) {
  const char *op = op_info(n->op)->name;
  return n->loc.line ? str_printf(c->arena, "%s at line %d", op, n->loc.line) : op;
}

static const struct part *part_of(const struct cutter *c, const struct node *n) {
  return &c->part[n->id];
}

static bool reads_wide(const struct cutter *c, const struct node *n) {
  for (int i = 0; i < n->n_in; i++)
    if (part_of(c, n->in[i])->wide) return true;
  return false;
}

// What n waits for: among all that it needs whole, something that adds up over the panels. NULL:
// nothing.
static const struct node *waits_for(const struct cutter *c, const struct node *n) {
  for (int i = 0; i < n->n_in; i++) {
    if (part_of(c, n->in[i])->manner == TERMS) return n->in[i];
    const struct node *first = part_of(c, n->in[i])->manner == LATE ? waits_for(c, n->in[i]) : NULL;
    if (first) return first;
  }
  return NULL;
}

// Something that cannot be had a panel at a time. Of what is narrow the panels are put together
// first.
static struct part late(struct cutter *c, const struct node *n) {
  const struct node *first = NULL;
  if (!c->why && reads_wide(c, n)) {
    if ((first = waits_for(c, n)))
      c->why = str_printf(
          c->arena,
          "%s, on the product's elements, needs %s, which is known only after the last panel",
          named(c, n), named(c, first));
    else
      c->why = str_printf(c->arena,
                          "%s reads the product otherwise than by element, by sum or by product",
                          named(c, n));
  }
  return (struct part){.manner = LATE};
}

static struct part split(int axis, bool wide) { return (struct part){SPLIT, axis, wide}; }

// Operands and result have the same axes.
static struct part by_element(struct cutter *c, const struct node *n) {
  int axis = -1;
  for (int i = 0; i < n->n_in; i++) {
    const struct part *x = part_of(c, n->in[i]);
    if (x->manner == WHOLE) continue;
    if (x->manner != SPLIT || (axis >= 0 && x->axis != axis)) return late(c, n);
    axis = x->axis;
  }
  return split(axis, reads_wide(c, n));
}

static int position(const struct attr *a, int64_t value) {
  for (int i = 0; i < a->n; i++)
    if (a->i[i] == value) return i;
  return -1;
}

static struct part by_reduction(struct cutter *c, const struct node *n) {
  int axis = part_of(c, n->in[0])->axis, after = axis;
  if (part_of(c, n->in[0])->manner != SPLIT) return late(c, n);
  if (position(&n->attr, axis) >= 0)
    return n->op == OP_argmax ? late(c, n) : (struct part){.manner = TERMS};
  for (int i = 0; i < n->attr.n; i++) after -= n->attr.i[i] < axis;
  return split(after, false);
}

// The axis of operand i of a matrix product that is an axis of the result; the other is summed
// over.
static int free_axis(const struct node *n, int i) {
  return i == 0 ? (int)n->attr.i[MATMUL_TA] : 1 - (int)n->attr.i[MATMUL_TB];
}

static struct part by_product(struct cutter *c, const struct node *n) {
  if (c->p->product[n->id]) return split(c->p->axis, true);
  int n_free = 0, n_summed = 0, which = 0;
  for (int i = 0; i < 2; i++) {
    const struct part *x = part_of(c, n->in[i]);
    if (x->manner >= TERMS || n->type.shape.rank != 2) return late(c, n);
    if (x->manner == WHOLE) continue;
    bool is_free = x->axis == free_axis(n, i);
    n_free += is_free;
    n_summed += !is_free;
    if (is_free) which = i;
  }
  if (n_free + n_summed == 0) return (struct part){.manner = WHOLE};
  if (n_free == 0) return (struct part){.manner = TERMS};
  return n_free == 1 && n_summed == 0 ? split(which, false) : late(c, n);
}

static struct part by_movement(struct cutter *c, const struct node *n) {
  const struct part *x = part_of(c, n->in[0]);
  if (n->op == OP_concat)
    return by_element(c, n).axis == n->attr.i[0] ? late(c, n) : by_element(c, n);
  if (x->manner != SPLIT) return late(c, n);
  switch (n->op) {
  case OP_broadcast: return split((int)n->attr.i[x->axis], x->wide);
  case OP_transpose: return split(position(&n->attr, x->axis), x->wide);
  case OP_slice:
    if (n->type.shape.dim[x->axis] == n->in[0]->type.shape.dim[x->axis])
      return split(x->axis, x->wide); // fall through
  default: return late(c, n);
  }
}

static struct part find_manner(struct cutter *c, const struct node *n) {
  bool whole = !c->p->product[n->id];
  for (int i = 0; i < n->n_in; i++) whole &= part_of(c, n->in[i])->manner == WHOLE;
  if (whole) return (struct part){.manner = WHOLE};
  switch (op_info(n->op)->class) {
  case ELEMENTWISE: return by_element(c, n);
  case REDUCE: return by_reduction(c, n);
  case MOVE: return by_movement(c, n);
  default: return n->op == OP_matmul ? by_product(c, n) : late(c, n);
  }
}

static void check_result(struct cutter *c, const struct node *n) {
  if (!c->why && part_of(c, n)->wide)
    c->why = str_printf(c->arena, "%s, of the product's elements, is itself a result", named(c, n));
}

static bool find_manners(struct cutter *c) {
  for (int i = 0; i < c->g->nodes.len && !c->why; i++)
    c->part[i] = find_manner(c, c->g->nodes.data[i]);
  for (int i = 0; i < c->g->outputs.len; i++) check_result(c, c->g->outputs.data[i].node);
  for (int i = 0; i < c->g->updates.len; i++) check_result(c, c->g->updates.data[i].node);
  return !c->why;
}

// ---- panels -----------------------------------------------------------------------------------

static struct tensor_type type_of_panel(const struct cutter *c, const struct node *n, int axis) {
  struct tensor_type t = n->type;
  t.shape.dim[axis] = c->size;
  return t;
}

static struct node *cut(struct cutter *c, const struct node *n, int axis);

// n over operands that are cut along the given axes; -1: whole.
static struct node *cut_operands(struct cutter *c, const struct node *n, int axis, const int *of) {
  struct node **in = NEW_ARRAY(c->arena, struct node *, n->n_in);
  for (int i = 0; i < n->n_in; i++)
    in[i] = of[i] < 0 ? c->r.map[n->in[i]->id] : cut(c, n->in[i], of[i]);
  struct tensor_type type = axis < 0 ? n->type : type_of_panel(c, n, axis);
  return graph_node(c->r.to, n->op, in, n->n_in, &n->attr, &type);
}

// 0, 1, 2, … along an axis, as a vector in memory. A place that is computed would be another
// constant in each panel's kernels; one that is read is a slice, and the kernels are the same. What
// is summed up is stored, and Σ_k (i k) over k < 2 is i.
static struct node *stored_places(struct cutter *c, dtype t, int64_t length) {
  struct shape pairs = shape_of(2, length, (int64_t)2);
  struct node *i = g_iota(c->r.to, t, &pairs, 0), *k = g_iota(c->r.to, t, &pairs, 1);
  return g_reduce(c->r.to, OP_sum, g_binary(c->r.to, OP_mul, i, k), (int[]){1}, 1);
}

static struct node *cut_places(struct cutter *c, const struct node *n, int axis) {
  struct tensor_type type = type_of_panel(c, n, axis);
  if (n->attr.i[0] != axis) return g_iota(c->r.to, type.dtype, &type.shape, (int)n->attr.i[0]);
  struct node *places = stored_places(c, type.dtype, n->type.shape.dim[axis]);
  struct shape size = shape_of(1, c->size);
  return g_broadcast(c->r.to, g_slice(c->r.to, places, &c->start, &size), &type.shape, &axis);
}

static struct node *cut_stored(struct cutter *c, const struct node *n, int axis) {
  struct tensor_type type = type_of_panel(c, n, axis);
  int64_t start[MAX_RANK] = {0};
  start[axis] = c->start;
  return g_slice(c->r.to, c->r.map[n->id], start, &type.shape);
}

// The axis of n's operand i that n's axis is, as far as cutting one is cutting the other: -1 if it
// is none.
static int operand_axis(const struct node *n, int axis, int i) {
  if (n->op == OP_broadcast) return position(&n->attr, axis);
  if (n->op == OP_transpose) return (int)n->attr.i[axis];
  if (n->op == OP_matmul) return i == axis ? free_axis(n, i) : -1;
  if (op_info(n->op)->class != REDUCE) return axis;
  for (int k = 0; k < n->attr.n; k++) axis += n->attr.i[k] <= axis;
  return axis;
}

// Whether the cut of a WHOLE n is made of cuts of its operands. Vectors are computed once for all
// panels.
static bool is_made_of_cuts(const struct node *n, int axis) {
  if (n->type.shape.rank < 2) return false;
  switch (n->op) {
  case OP_broadcast:
  case OP_transpose: return true;
  case OP_concat: return n->attr.i[0] != axis;
  default: return op_info(n->op)->class == ELEMENTWISE;
  }
}

static struct node *build_cut(struct cutter *c, const struct node *n, int axis) {
  int *of = NEW_ARRAY(c->arena, int, n->n_in);
  if (n->op == OP_iota) return cut_places(c, n, axis);
  if (part_of(c, n)->manner == WHOLE && !is_made_of_cuts(n, axis)) return cut_stored(c, n, axis);
  for (int i = 0; i < n->n_in; i++) of[i] = operand_axis(n, axis, i);
  return cut_operands(c, n, axis, of);
}

// The present panel's part of n, along `axis`.
static struct node *cut(struct cutter *c, const struct node *n, int axis) {
  struct node **known =
      part_of(c, n)->manner == SPLIT ? &c->piece[n->id] : &c->cut[n->id * MAX_RANK + axis];
  if (!*known) *known = build_cut(c, n, axis);
  return *known;
}

// What the present panel contributes to n.
static struct node *term(struct cutter *c, const struct node *n) {
  int of[2] = {0};
  for (int i = 0; i < n->n_in; i++)
    of[i] = n->op == OP_matmul ? 1 - free_axis(n, i) : part_of(c, n->in[i])->axis;
  return cut_operands(c, n, -1, of);
}

static enum op combines(enum op op) {
  return op == OP_reduce_max ? OP_max : op == OP_reduce_min ? OP_min : OP_add;
}

static void place(struct cutter *c, const struct node *n) {
  c->r.to->loc = n->loc;
  c->r.to->path = n->path;
  c->r.to->how = n->how;
}

static void build_panel(struct cutter *c) {
  for (int i = 0; i < c->g->nodes.len; i++) {
    const struct node *n = c->g->nodes.data[i];
    struct node **sum = &c->r.map[i];
    place(c, n);
    if (c->part[i].manner == SPLIT) vec_push(c->arena, &c->pieces[i], cut(c, n, c->part[i].axis));
    if (c->part[i].manner != TERMS) continue;
    struct node *more = term(c, n);
    *sum = *sum ? g_binary(c->r.to, combines(n->op), *sum, more) : more;
  }
}

// ---- the whole --------------------------------------------------------------------------------

static void build_panels(struct cutter *c) {
  int n = c->g->nodes.len;
  for (c->start = 0; c->start < c->p->length; c->start += c->p->width) {
    c->size = c->p->length - c->start < c->p->width ? c->p->length - c->start : c->p->width;
    c->piece = NEW_ARRAY(c->arena, struct node *, n);
    c->cut = NEW_ARRAY(c->arena, struct node *, n * MAX_RANK);
    build_panel(c);
  }
}

static void build_others(struct cutter *c, enum manner manner) {
  for (int i = 0; i < c->g->nodes.len; i++) {
    const struct node *n = c->g->nodes.data[i];
    const struct part *p = &c->part[i];
    place(c, n);
    if (p->manner == manner) c->r.map[i] = rewrite_copy(&c->r, n);
    if (manner == LATE && p->manner == SPLIT && !p->wide)
      c->r.map[i] = g_concat(c->r.to, c->pieces[i].data, c->pieces[i].len, p->axis);
  }
}

struct graph *panels_cut(const struct graph *g, const struct panels *p, struct node **map,
                         const char **why) {
  struct cutter c = {.g = g, .p = p, .arena = g->b->arena};
  c.part = NEW_ARRAY(c.arena, struct part, g->nodes.len);
  if (!find_manners(&c)) return *why = c.why, NULL;
  c.r = rewrite_begin(g);
  c.pieces = arena_alloc(c.arena, sizeof *c.pieces * (size_t)g->nodes.len);
  build_others(&c, WHOLE);
  build_panels(&c);
  build_others(&c, LATE);
  for (int i = 0; i < g->nodes.len; i++) map[i] = c.r.map[i];
  return rewrite_end(&c.r);
}
