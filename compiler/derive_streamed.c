// derive_streamed.c: the fused form, a panel of a product's columns at a time.
//
// In the fused form a product of D×D elements is read element by element, summed and multiplied,
// which can be done for w columns before the next w are made (derive_panels.c); then no value of
// its shape is left, and a panel stays in the cache from one product to the next. The products that
// are cut are the first ones: products of inputs, whose elements an objective reads; the gradients'
// products follow. Products that meet element by element are cut together; others one after
// another.
//
// A softmax over rows needs all of a row at once, so its product cannot be cut by columns. Then
// rows are tried.
#include "derive_panels.h"
#include "derive_wide.h"
#include "passes.h"
#include "sizes.h"

enum { MOST_PANELS = 32, NARROWEST = 256, WIDEST = 1024, STEP = 64 /* columns */ };

struct streamed {
  struct graph *g;   // so far
  struct node **now; // by node id of the fused form: what stands for it in g; NULL: it is in panels
  const struct graph *fused;
  int64_t panel; // as asked for; 0: chosen
  note_list *notes;
  bool *follows;     // by node id of the fused form: depends on a product that is cut
  int64_t cut, left; // elements of the smallest product that is cut, of the largest that is not
  const char *why;   // the first reason
};

// ---- widths -----------------------------------------------------------------------------------

// As many columns as the product sums terms, so that a panel is about as large as an operand;
// within limits, and so that panels are about equal.
static int64_t chosen_width(int64_t length, int64_t terms) {
  int64_t w = round_up(terms, STEP);
  if (w < NARROWEST) w = NARROWEST;
  if (w > WIDEST) w = WIDEST;
  if (length > MOST_PANELS * w) w = round_up((length + MOST_PANELS - 1) / MOST_PANELS, STEP);
  int64_t panels = ceil_div(length, w), even = round_up(ceil_div(length, panels), STEP);
  return even < w ? even : w;
}

static const char *axis_name(int axis) { return axis ? "columns" : "rows"; }

// The width, or 0 and *why.
static int64_t width_of(const struct streamed *s, const struct node *product, int axis,
                        const char **why) {
  struct arena *a = s->fused->b->arena;
  int64_t length = product->type.shape.dim[axis],
          terms = product->in[0]->type.shape.dim[product->attr.i[MATMUL_TA] ? 0 : 1];
  int64_t w = s->panel ? s->panel : chosen_width(length, terms);
  if (length <= w)
    *why = str_printf(a, "the product %s is no larger than one panel of %lld %s",
                      shape_text(a, &product->type.shape), (long long)w, axis_name(axis));
  else if (length > MOST_PANELS * w)
    *why = str_printf(a, "panels of %lld %s would be more than %d", (long long)w, axis_name(axis),
                      MOST_PANELS);
  else
    return w;
  return 0;
}

// ---- groups -----------------------------------------------------------------------------------

static bool is_candidate(const struct graph *g, const struct node *n) {
  if (n->op != OP_matmul || n->type.shape.rank != 2) return false;
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *user = g->nodes.data[i];
    for (int k = 0; k < user->n_in && user->op != OP_matmul; k++)
      if (user->in[k] == n) return true;
  }
  return false;
}

// Whether some node reads both element by element.
static bool meet(const struct graph *g, const struct node *p, const struct node *q) {
  bool *of_p = NEW_ARRAY(g->b->arena, bool, g->nodes.len),
       *of_q = NEW_ARRAY(g->b->arena, bool, g->nodes.len);
  of_p[p->id] = of_q[q->id] = true;
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    for (int k = 0; k < n->n_in && op_info(n->op)->class == ELEMENTWISE; k++) {
      of_p[i] |= of_p[n->in[k]->id];
      of_q[i] |= of_q[n->in[k]->id];
    }
    if (of_p[i] && of_q[i]) return true;
  }
  return false;
}

// Whether q is cut together with the products of a group: it meets one and is made of none.
static bool belongs(const struct graph *g, const bool *group, const struct node *q) {
  bool meets = false;
  for (int k = 0; k < q->id; k++) {
    if (!group[k]) continue;
    if (wide_depends(g->b->arena, q, g->nodes.data[k])) return false;
    meets |= meet(g, g->nodes.data[k], q);
  }
  return meets;
}

// The products that are cut together with p: by node id of the fused form.
static bool *group_of(const struct streamed *s, const struct node *p) {
  const struct graph *g = s->fused;
  bool *group = NEW_ARRAY(g->b->arena, bool, g->nodes.len);
  group[p->id] = true;
  for (int i = p->id + 1; i < g->nodes.len; i++) {
    const struct node *q = g->nodes.data[i];
    if (!s->follows[i] && is_candidate(g, q) && shape_eq(&q->type.shape, &p->type.shape))
      group[i] = belongs(g, group, q);
  }
  return group;
}

// ---- one group --------------------------------------------------------------------------------

static void took(struct streamed *s, const struct node *p, const bool *group, int axis,
                 int64_t width, struct graph *to, struct node **map) {
  int64_t length = p->type.shape.dim[axis];
  for (int i = 0; i < s->fused->nodes.len; i++) {
    const struct node *n = s->fused->nodes.data[i];
    s->now[i] = s->now[i] ? map[s->now[i]->id] : NULL;
    s->follows[i] |= group[i];
    for (int k = 0; k < n->n_in; k++) s->follows[i] |= s->follows[n->in[k]->id];
  }
  s->g = to;
  int64_t count = shape_count(&p->type.shape);
  if (!s->cut || count < s->cut) s->cut = count;
  const char *text =
      str_printf(to->b->arena, "made, read and dropped in %lld panels of %lld %s",
                 (long long)ceil_div(length, width), (long long)width, axis_name(axis));
  vec_push(to->b->arena, s->notes, ((struct rewrite_note){text, p->loc}));
}

static bool cut_along(struct streamed *s, const struct node *p, const bool *group, int axis) {
  struct arena *a = s->fused->b->arena;
  const char *why = NULL;
  struct panels panels = {
      .axis = axis, .length = p->type.shape.dim[axis], .width = width_of(s, p, axis, &why)};
  if (panels.width) {
    bool *product = NEW_ARRAY(a, bool, s->g->nodes.len);
    for (int i = 0; i < s->fused->nodes.len; i++)
      if (group[i]) product[s->now[i]->id] = true;
    panels.product = product;
    struct node **map = NEW_ARRAY(a, struct node *, s->g->nodes.len);
    struct graph *to = panels_cut(s->g, &panels, map, &why);
    if (to) return took(s, p, group, axis, panels.width, to, map), true;
  }
  if (!s->why) s->why = why;
  return false;
}

static void cut_group(struct streamed *s, const struct node *p, bool *tried) {
  bool *group = group_of(s, p);
  for (int i = 0; i < s->fused->nodes.len; i++) tried[i] |= group[i];
  if (cut_along(s, p, group, 1) || cut_along(s, p, group, 0)) return;
  int64_t count = shape_count(&p->type.shape);
  if (count > s->left) s->left = count;
}

struct graph *derive_streamed(const struct graph *g, int64_t panel, note_list *notes,
                              const char **why) {
  struct graph *fused = derive_fused(g, notes, why);
  if (!fused) return NULL;
  int n = fused->nodes.len;
  struct streamed s = {.g = fused, .fused = fused, .panel = panel, .notes = notes};
  s.now = NEW_ARRAY(g->b->arena, struct node *, n);
  s.follows = NEW_ARRAY(g->b->arena, bool, n);
  bool *tried = NEW_ARRAY(g->b->arena, bool, n);
  for (int i = 0; i < n; i++) s.now[i] = fused->nodes.data[i];
  for (int i = 0; i < n; i++)
    if (!tried[i] && !s.follows[i] && is_candidate(fused, fused->nodes.data[i]))
      cut_group(&s, fused->nodes.data[i], tried);
  if (s.cut > s.left) return pass_dce(pass_cse(pass_fold(s.g)));
  *why = s.why ? s.why : "what is read here are products of several matrices at once";
  return NULL;
}
