// derive_gram.c: objectives of large square products without the squares.
//
// Correlation objectives form C = A'B, D x D, of which in the end they want a few sums and the
// products with A and B that are their gradients. With A and B N x D and N <= D all of that is had
// from the Gram products A A' and B B', N x N:
//
//   Σᵢⱼ Cᵢⱼ² = ⟨A A', B B'⟩      Cᵢᵢ = Σₙ Aₙᵢ Bₙᵢ      Σᵢⱼ Cᵢⱼ = ⟨A 1, B 1⟩      X (A'B) = (X A') B
//
// Nothing here knows an objective. The graph is interpreted once, over the structured matrices of
// structured.h: a product whose inner size is at most its sides becomes one instead of being
// computed, what is made of it becomes one too, and where it is summed, multiplied by something
// thin, or its diagonal is taken, the result is computed from the factors. A product whose values
// are needed after all (by a function, as a result, where digits would be lost) is stored, and the
// interpretation begins again without it; the derivation succeeds if one is left, and no value
// of its size.
//
// Why at most its sides: the Gram products are no larger then, and Σᵢⱼ Cᵢⱼ² - Σᵢ Cᵢᵢ², the masked
// sum, keeps its digits. If C has rank k and a diagonal near 1, then Σᵢⱼ Cᵢⱼ² >= (Σᵢ Cᵢᵢ)²/k ~ d²/k
// (for C = A'B with singular values σ: (tr C)² <= (Σσ)² <= k Σσ²), so what is left is at least d
// (d/k - 1). With k > d it can vanish, and with it all digits.
#include "passes.h"
#include "regions.h"
#include "structured.h"

struct derivation {
  const struct graph *from;
  struct arena *arena;
  struct rewrite r;
  struct algebra a;
  const bool *stored;         // products that are computed as they stand, by id
  bool any_size;              // do not ask for a short inner size
  struct structured **value;  // by id: of what a product went into
  struct structured **lifted; // by id: of stored nodes that are masks, broadcasts and the like
  bool *tried;                // lifted is known
  VEC(const struct node *) products; // that are not computed
  note_list notes;
  const char *why;            // it failed
  const struct node *culprit; // and would not if this product were stored
};

// ---- products ---------------------------------------------------------------------------------

struct extent {
  int64_t rows, columns, inner;
};

static struct extent extent_of(const struct node *product) {
  int ta = product->attr.i[MATMUL_TA] != 0;
  const struct shape *s = &product->type.shape;
  return (struct extent){s->dim[0], s->dim[1], product->in[0]->type.shape.dim[1 - ta]};
}

static bool is_product(const struct node *n) {
  return n->op == OP_matmul && n->type.shape.rank == 2;
}

static int64_t shorter_side(struct extent e) { return e.rows < e.columns ? e.rows : e.columns; }

// Is the inner size at most the sides, and something won by that?
static bool is_short(struct extent e) {
  return e.inner < shorter_side(e) || (e.inner == e.rows && e.inner == e.columns);
}

static bool is_candidate(const struct derivation *d, const struct node *n) {
  if (!is_product(n) || d->stored[n->id]) return false;
  return d->any_size || is_short(extent_of(n));
}

static bool same_sides(const struct shape *s, const struct node *product) {
  const struct shape *p = &product->type.shape;
  return s->rank == 2 && ((s->dim[0] == p->dim[0] && s->dim[1] == p->dim[1]) ||
                          (s->dim[0] == p->dim[1] && s->dim[1] == p->dim[0]));
}

static bool is_wide(const struct derivation *d, const struct shape *s) {
  for (int i = 0; i < d->products.len; i++)
    if (same_sides(s, d->products.data[i])) return true;
  return false;
}

// ---- words ------------------------------------------------------------------------------------

static bool fail(struct derivation *d, const char *why, const struct node *culprit) {
  d->why = why;
  d->culprit = culprit;
  return false;
}

static void note(struct derivation *d, const struct node *n, const char *text) {
  for (int i = 0; i < d->notes.len; i++)
    if (str_eq(d->notes.data[i].text, text) && d->notes.data[i].loc.line == n->loc.line) return;
  vec_push(d->arena, &d->notes, ((struct rewrite_note){text, n->loc}));
}

static const char *note_of_sum(struct derivation *d, const struct node *n,
                               const struct structured *m, const char *product, long long k) {
  const char *sums = n->attr.n == 2 ? "the sum" : "sums by line";
  if (structured_degree(m) == 2)
    return str_printf(d->arena,
                      "%s of products of entries of A'B, %s, from %lld x %lld Gram products: ⟨A'B, "
                      "C'D⟩ = ⟨A C', B D'⟩",
                      sums, product, k, k);
  return str_printf(d->arena, "%s of entries of %s from sums of its factors", sums, product);
}

static void note_thin(struct derivation *d, const struct node *n, const struct structured *m) {
  if (!m->origin) return;
  struct extent e = extent_of(m->origin);
  const char *product = product_text(d->from->b, m->origin);
  long long rows = e.rows, columns = e.columns, k = e.inner;
  if (n->op == OP_sum)
    note(d, n, note_of_sum(d, n, m, product, k));
  else if (n->op == OP_diag)
    note(d, n,
         str_printf(d->arena, "the diagonal of %s as %lld dot products of %lld", product, rows, k));
  else
    note(d, n,
         str_printf(d->arena, "X (A'B) = (X A') B with A'B %s: no %lld x %lld value", product, rows,
                    columns));
}

// ---- stored nodes as structured matrices ------------------------------------------------------

static struct structured *lift(struct derivation *d, const struct node *n);

static struct structured *lift_elementwise(struct derivation *d, const struct node *n) {
  struct structured *in[3];
  for (int i = 0; i < n->n_in; i++)
    if (!(in[i] = lift(d, n->in[i]))) return NULL;
  return structured_elementwise(&d->a, n, in);
}

static struct structured *lift_iota(struct derivation *d, const struct node *n) {
  int axis = (int)n->attr.i[0];
  struct shape line = shape_of(1, n->type.shape.dim[axis]);
  return structured_repeat(&d->a, g_iota(d->r.to, n->type.dtype, &line, 0), axis, &n->type);
}

static struct structured *lifted(struct derivation *d, const struct node *n) {
  if (n->type.shape.rank != 2 || d->value[n->id]) return NULL;
  switch (n->op) {
  case OP_iota: return lift_iota(d, n);
  case OP_broadcast:
    if (n->attr.n > 1) return NULL;
    return structured_repeat(&d->a, d->r.map[n->in[0]->id], n->attr.n ? (int)n->attr.i[0] : 0,
                             &n->type);
  case OP_transpose: {
    struct structured *x = lift(d, n->in[0]);
    return x ? structured_transpose(&d->a, x) : NULL;
  }
  default: return op_info(n->op)->class == ELEMENTWISE ? lift_elementwise(d, n) : NULL;
  }
}

// A node that is computed by itself, seen as a structured matrix; NULL: it has no structure.
static struct structured *lift(struct derivation *d, const struct node *n) {
  if (!d->tried[n->id]) {
    d->tried[n->id] = true;
    d->lifted[n->id] = lifted(d, n);
  }
  return d->lifted[n->id];
}

static const char *own_matrix(struct derivation *d, const struct node *n,
                              const struct node *reader) {
  struct btc *b = d->from->b;
  const char *name = n->n_in == 0 && n->attr.s ? n->attr.s : op_info(n->op)->name;
  return str_printf(d->arena,
                    "`%s`%s, a %s matrix of its own, meets a product entry by entry in %s%s", name,
                    place_text(b, n->loc), shape_text(d->arena, &n->type.shape),
                    op_info(reader->op)->name, place_text(b, reader->loc));
}

// What an operand of an elementwise op is, whatever it is.
static struct structured *operand(struct derivation *d, const struct node *n,
                                  const struct node *reader) {
  struct structured *s = d->value[n->id] ? d->value[n->id] : lift(d, n);
  return s ? s : structured_stored(&d->a, d->r.map[n->id], own_matrix(d, n, reader));
}

// An operand of a product or a sum that need not be stored: derived from a product, or a mask or
// the like as large as one.
static struct structured *unstored(struct derivation *d, const struct node *n) {
  if (d->value[n->id]) return d->value[n->id];
  if (!is_wide(d, &n->type.shape)) return NULL;
  struct structured *s = lift(d, n);
  return s && !s->why ? s : NULL;
}

// ---- one node ---------------------------------------------------------------------------------

static struct structured *turned_if(struct derivation *d, struct structured *s, bool turn) {
  return turn ? structured_transpose(&d->a, s) : s;
}

static bool thin(struct derivation *d, const struct node *n, const struct structured *m,
                 struct node *result, const char *why) {
  if (!result) return fail(d, why, m->origin);
  d->r.map[n->id] = result;
  note_thin(d, n, m);
  return true;
}

static bool visit_product(struct derivation *d, const struct node *n) {
  bool ta = n->attr.i[MATMUL_TA] != 0, tb = n->attr.i[MATMUL_TB] != 0;
  struct structured *x = unstored(d, n->in[0]), *y = unstored(d, n->in[1]);
  const char *why;
  if (x) x = turned_if(d, x, ta);
  if (y) y = turned_if(d, y, tb);
  if (x && y) {
    d->value[n->id] = structured_matmul(&d->a, x, y, &why);
    return d->value[n->id] || fail(d, why, x->why || !y->origin ? x->origin : y->origin);
  }
  if (y) {
    struct node *to = structured_times(&d->a, d->r.map[n->in[0]->id], ta, y, false, &why);
    return thin(d, n, y, to, why);
  }
  struct structured *turned = structured_transpose(&d->a, x); // x m = (m' x')'
  struct node *to = structured_times(&d->a, d->r.map[n->in[1]->id], !tb, turned, true, &why);
  return thin(d, n, x, to, why);
}

static bool visit_sum(struct derivation *d, const struct node *n) {
  struct structured *m = unstored(d, n->in[0]);
  const char *why;
  struct node *to = structured_sum(&d->a, m, node_axes(n), &why);
  return thin(d, n, m, to, why);
}

static bool visit_elementwise(struct derivation *d, const struct node *n) {
  struct structured *in[3];
  for (int i = 0; i < n->n_in; i++) in[i] = operand(d, n->in[i], n);
  d->value[n->id] = structured_elementwise(&d->a, n, in);
  return true;
}

// A node with an operand that is not stored.
static bool visit_structured(struct derivation *d, const struct node *n) {
  struct structured *m = unstored(d, n->in[0]);
  if (op_info(n->op)->class == ELEMENTWISE) return visit_elementwise(d, n);
  if (is_product(n)) return visit_product(d, n);
  if (n->op == OP_sum) return visit_sum(d, n);
  if (n->op == OP_diag) return thin(d, n, m, structured_diagonal(&d->a, m), NULL);
  if (n->op == OP_transpose) {
    d->value[n->id] = structured_transpose(&d->a, m);
    return true;
  }
  const struct node *origin = m->origin;
  return fail(d,
              str_printf(d->arena, "the values of %s are used one by one by %s%s",
                         product_text(d->from->b, origin), op_info(n->op)->name,
                         place_text(d->from->b, n->loc)),
              origin);
}

static bool reads_derived(const struct derivation *d, const struct node *n) {
  for (int i = 0; i < n->n_in; i++)
    if (d->value[n->in[i]->id]) return true;
  return false;
}

// Does n make something thin of a mask or a broadcast of the products' size?
static bool reads_mask(struct derivation *d, const struct node *n) {
  if (is_product(n)) return !unstored(d, n->in[0]) != !unstored(d, n->in[1]);
  return (n->op == OP_sum || n->op == OP_diag) && unstored(d, n->in[0]);
}

static bool visit(struct derivation *d, const struct node *n) {
  d->r.to->loc = n->loc;
  d->r.to->path = n->path;
  d->r.to->how = n->how;
  if (reads_derived(d, n)) return visit_structured(d, n);
  if (is_candidate(d, n)) {
    struct node *x = d->r.map[n->in[0]->id], *y = d->r.map[n->in[1]->id];
    d->value[n->id] =
        structured_product(&d->a, x, n->attr.i[MATMUL_TA] != 0, y, n->attr.i[MATMUL_TB] != 0, n);
    vec_push(d->arena, &d->products, n);
    return true;
  }
  if (reads_mask(d, n)) return visit_structured(d, n);
  d->r.map[n->id] = rewrite_copy(&d->r, n);
  return true;
}

// ---- the graph --------------------------------------------------------------------------------

static bool keeps(struct derivation *d, const char *what, const char *name, const struct node *n) {
  const struct structured *s = d->value[n->id];
  if (!s) return true;
  return fail(d,
              str_printf(d->arena, "the values of %s are wanted: they are %s `%s`",
                         product_text(d->from->b, s->origin), what, name),
              s->origin);
}

static bool results_are_thin(struct derivation *d) {
  const struct graph *g = d->from;
  for (int i = 0; i < g->outputs.len; i++)
    if (!keeps(d, "the result", g->outputs.data[i].name, g->outputs.data[i].node)) return false;
  for (int i = 0; i < g->updates.len; i++)
    if (!keeps(d, "the new value of", g->updates.data[i].name, g->updates.data[i].node))
      return false;
  return true;
}

// The graph without the products that are not `stored`; NULL with d->why.
static struct graph *interpret(struct derivation *d) {
  const struct graph *g = d->from;
  const int *uses = graph_use_counts(g);
  d->r = rewrite_begin(g);
  d->a = (struct algebra){.fold = {.g = d->r.to}, .arena = d->arena};
  d->value = NEW_ARRAY(d->arena, struct structured *, g->nodes.len);
  d->lifted = NEW_ARRAY(d->arena, struct structured *, g->nodes.len);
  d->tried = NEW_ARRAY(d->arena, bool, g->nodes.len);
  for (int i = 0; i < g->nodes.len; i++)
    if (uses[i] && !visit(d, g->nodes.data[i])) return NULL;
  return results_are_thin(d) ? rewrite_end(&d->r) : NULL;
}

// Stores products until the interpretation succeeds. Sets d->products to those that are left;
// d->why stays what stood in the way first.
static struct graph *search(struct derivation *d) {
  bool *stored = NEW_ARRAY(d->arena, bool, d->from->nodes.len);
  const struct derivation start = *d;
  const char *first = NULL;
  for (;;) {
    *d = start;
    d->stored = stored;
    struct graph *to = interpret(d);
    if (!first) first = d->why;
    if (!to && d->culprit) {
      stored[d->culprit->id] = true;
      continue;
    }
    d->why = first;
    return d->products.len ? to : NULL;
  }
}

// ---- refusals ---------------------------------------------------------------------------------

static bool is_result_shape(const struct graph *g, const struct shape *s) {
  for (int i = 0; i < g->outputs.len; i++)
    if (shape_eq(s, &g->outputs.data[i].node->type.shape)) return true;
  for (int i = 0; i < g->nodes.len; i++)
    if (g->nodes.data[i]->n_in == 0 && g->nodes.data[i]->op != OP_iota &&
        shape_eq(s, &g->nodes.data[i]->type.shape))
      return true;
  return false;
}

// A computed value of the size of a product that is not computed. Where factors, inputs or results
// have that size too it says nothing.
static const struct node *wide_value(const struct derivation *d, const struct graph *to) {
  for (int i = 0; i < to->nodes.len; i++) {
    const struct node *n = to->nodes.data[i];
    if (n->n_in == 0 && n->op != OP_iota) continue;
    for (int k = 0; k < d->products.len; k++) {
      struct extent e = extent_of(d->products.data[k]);
      if (e.inner < shorter_side(e) && same_sides(&n->type.shape, d->products.data[k]) &&
          !is_result_shape(to, &n->type.shape))
        return n;
    }
  }
  return NULL;
}

// Is a product stored that is as large as the largest one that is not?
static bool stores_a_large_one(const struct derivation *d) {
  int64_t largest = 0;
  for (int i = 0; i < d->products.len; i++) {
    int64_t count = shape_count(&d->products.data[i]->type.shape);
    if (count > largest) largest = count;
  }
  for (int i = 0; i < d->from->nodes.len; i++)
    if (d->stored[i] && shape_count(&d->from->nodes.data[i]->type.shape) >= largest) return true;
  return false;
}

static const char *too_long(const struct derivation *d) {
  const struct node *worst = NULL;
  for (int i = 0; i < d->products.len; i++) {
    struct extent e = extent_of(d->products.data[i]);
    if (e.inner > shorter_side(e) &&
        (!worst || shape_count(&worst->type.shape) < e.rows * e.columns))
      worst = d->products.data[i];
  }
  if (!worst) return NULL;
  struct extent e = extent_of(worst);
  long long k = e.inner, rows = e.rows, columns = e.columns;
  return str_printf(d->arena,
                    "%s is %lld x %lld with inner size %lld: its %lld x %lld Gram products would "
                    "cost more; and its squares off the diagonal may then vanish, so that the "
                    "difference of two sums would keep no digit of theirs",
                    product_text(d->from->b, worst), rows, columns, k, k, k);
}

static const char *why_not(const struct derivation *tried) {
  struct derivation d = {.from = tried->from, .arena = tried->arena, .any_size = true};
  const char *reason = search(&d) ? too_long(&d) : NULL;
  if (reason) return reason;
  return tried->why ? tried->why : d.why ? d.why : "it has no product of two matrices";
}

struct graph *derive_gram(const struct graph *g, note_list *notes, const char **why) {
  struct derivation d = {.from = g, .arena = g->b->arena};
  struct graph *to = search(&d);
  if (!to) {
    *why = why_not(&d);
    return NULL;
  }
  to = passes_simplify(to);
  const struct node *wide = wide_value(&d, to);
  if (wide || stores_a_large_one(&d)) {
    *why = d.why ? d.why
                 : str_printf(d.arena, "%s%s is %s itself", op_info(wide->op)->name,
                              place_text(g->b, wide->loc), shape_text(d.arena, &wide->type.shape));
    return NULL;
  }
  for (int i = 0; notes && i < d.notes.len; i++) vec_push(d.arena, notes, d.notes.data[i]);
  return to;
}
