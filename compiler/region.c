// region.c: what a region is called, its plain graph, and its replacement in the program's.
//
// Address. The region with the loss is PROGRAM/objective. Others are called after the instance and the
// application that their first product stands for: PROGRAM/encoder.conv1/forward@a. What belongs to
// no instance goes by the `let`, or the function, that it was written in.
//
// Names. What comes in is called as the program calls it; what goes out is the loss, or the gradient of one of the inputs,
// d_NAME. Whose gradient a value is follows from the products: with C = A' B, the
// gradient of A is B dC', so a value computed from a product of B and of what follows from C is the gradient of
// what A was computed from. Where that leaves a doubt, and for all else that the program has no name for, the
// name is that of the place that the value comes from: the instance and application, the `let`, the function.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "outline.h"

struct describer {
  struct region *r;
  const struct graph *g;
  const struct graph_facts *f;
  struct arena *arena;
  bool *inside; // by node id
};

// ---- names --------------------------------------------------------------------------------------

static const char *as_identifier(struct arena *a, const char *name) {
  bool digit = isdigit((unsigned char)name[0]) || !name[0];
  char *id = str_printf(a, "%s%s", digit ? "_" : "", name);
  for (char *p = id; *p; p++)
    if (!isalnum((unsigned char)*p)) *p = '_';
  return id;
}

static bool name_taken(const struct describer *d, const char *name) {
  for (int i = 0; i < d->r->input_names.len; i++)
    if (d->r->input_names.data[i] && str_eq(d->r->input_names.data[i], name)) return true;
  for (int i = 0; i < d->r->output_names.len; i++)
    if (str_eq(d->r->output_names.data[i], name)) return true;
  return false;
}

static const char *distinct_name(const struct describer *d, const char *wanted) {
  const char *base = as_identifier(d->arena, wanted), *name = base;
  for (int i = 2; name_taken(d, name); i++) name = str_printf(d->arena, "%s_%d", base, i);
  return name;
}

// ---- what goes in and comes out ----------------------------------------------------------------

static bool holds(const struct describer *d, const struct node *n) { return d->inside[n->id]; }
static bool is_constant(const struct describer *d, const struct node *n) { return d->f->depends[n->id] == 0; }

// What is remade inside comes in as what it is made of: a number, say, and not a matrix that repeats it. A single op
// stays single.
static void add_input(struct describer *d, struct node *x, bool *read) {
  if (read[x->id] || holds(d, x) || is_constant(d, x)) return;
  read[x->id] = true;
  bool remade = d->r->nodes.len > 1 && d->f->remade[x->id];
  if (!remade) vec_push(d->arena, &d->r->inputs, x);
  for (int k = 0; remade && k < x->n_in; k++) add_input(d, x->in[k], read);
}

// In the order in which they are read first.
static void find_inputs(struct describer *d) {
  bool *read = NEW_ARRAY(d->arena, bool, d->g->nodes.len);
  for (int i = 0; i < d->r->nodes.len; i++) {
    const struct node *n = d->r->nodes.data[i];
    for (int k = 0; k < n->n_in; k++) add_input(d, n->in[k], read);
  }
}

static bool goes_out(const struct describer *d, const struct node *n) {
  for (int i = 0; i < d->g->outputs.len; i++)
    if (d->g->outputs.data[i].node == n) return true;
  for (int i = 0; i < d->g->updates.len; i++)
    if (d->g->updates.data[i].node == n) return true;
  for (int k = 0; k < d->f->users[n->id].len; k++)
    if (!holds(d, d->f->users[n->id].data[k])) return true;
  return false;
}

static bool has_output(const struct describer *d, const struct node *n) {
  for (int i = 0; i < d->r->outputs.len; i++)
    if (d->r->outputs.data[i] == n) return true;
  return false;
}

static void add_output(struct describer *d, struct node *n, const char *name) {
  if (has_output(d, n)) return;
  const char *distinct = distinct_name(d, name);
  vec_push(d->arena, &d->r->outputs, n);
  vec_push(d->arena, &d->r->output_names, distinct);
}

// ---- whose gradient ----------------------------------------------------------------------------

// Marks what `n` is computed from inside, up to products, which are marked but not passed.
static void mark_sources(const struct describer *d, const struct node *n, bool *seen) {
  if (seen[n->id]) return;
  seen[n->id] = true;
  if (!holds(d, n) || n->op == OP_matmul) return;
  for (int k = 0; k < n->n_in; k++) mark_sources(d, n->in[k], seen);
}

static bool *sources(const struct describer *d, const struct node *n) {
  bool *seen = NEW_ARRAY(d->arena, bool, d->g->nodes.len);
  if (n->op == OP_matmul && holds(d, n)) {
    seen[n->id] = true; // asked for by itself
    return seen;
  }
  mark_sources(d, n, seen);
  return seen;
}

// Marks the inputs of type `like` that the cotangent product `m` may belong to.
static void add_owners(const struct describer *d, const struct node *m, const struct node *like, bool *owner) {
  for (int side = 0; side < 2; side++) {
    const struct node *other = m->in[!side];
    const bool *from = sources(d, m->in[side]);
    for (int i = 0; i < d->r->nodes.len; i++) {
      const struct node *c = d->r->nodes.data[i];
      if (!from[c->id] || c->op != OP_matmul || !d->f->forward[c->id]) continue;
      for (int k = 0; k < 2; k++) {
        if (c->in[!k] != other) continue;
        const bool *of = sources(d, c->in[k]);
        for (int j = 0; j < d->r->inputs.len; j++) {
          const struct node *in = d->r->inputs.data[j];
          owner[j] |= of[in->id] && type_eq(&in->type, &like->type);
        }
      }
    }
  }
}

// Index of the input whose gradient n is, or -1.
static int input_of_gradient(const struct describer *d, const struct node *n) {
  bool *owner = NEW_ARRAY(d->arena, bool, d->r->inputs.len + 1);
  const bool *from = NULL;
  if (n->op == OP_matmul) add_owners(d, n, n, owner);
  else from = sources(d, n);
  for (int i = 0; from && i < d->r->nodes.len; i++) {
    const struct node *m = d->r->nodes.data[i];
    if (from[m->id] && m->op == OP_matmul && !d->f->forward[m->id]) add_owners(d, m, n, owner);
  }
  int found = -1, owners = 0;
  for (int j = 0; j < d->r->inputs.len; j++)
    if (owner[j]) found = j, owners++;
  return owners == 1 ? found : -1;
}

// ---- names of what goes in and comes out -------------------------------------------------------

// NULL where the program has no name for it.
static void name_inputs(struct describer *d) {
  for (int i = 0; i < d->r->inputs.len; i++) {
    const struct node *n = d->r->inputs.data[i];
    const char *label = graph_label_of(d->g, n);
    if (!label && op_info(n->op)->class == LEAF) label = n->attr.s;
    const char *name = label ? distinct_name(d, label) : NULL;
    vec_push(d->arena, &d->r->input_names, name);
  }
}

// Where a value comes from; what stands in the line of the loss or a report is not called like it. NULL: not known.
static const char *place_of(const struct describer *d, const struct node *n) {
  for (int i = 0; n->path && i < d->g->outputs.len; i++)
    if (str_eq(d->g->outputs.data[i].name, n->path)) return NULL;
  return n->path;
}

static void name_nameless_inputs(struct describer *d) {
  for (int i = 0; i < d->r->inputs.len; i++) {
    const char **name = &d->r->input_names.data[i], *place = place_of(d, d->r->inputs.data[i]);
    if (!*name) *name = distinct_name(d, place ? place : str_printf(d->arena, "in%d", i));
  }
}

// A program's loss, or what a function returns, if it is a number.
static bool is_loss(const struct describer *d, const struct graph_output *o) {
  if (o->kind == BT_OUTPUT_LOSS) return true;
  if (!str_eq(o->name, "out") || o->node->type.shape.rank > 0) return false;
  for (int i = 0; i < d->g->outputs.len; i++)
    if (d->g->outputs.data[i].kind == BT_OUTPUT_LOSS) return false;
  return true;
}

static void add_results(struct describer *d, bool losses) {
  for (int i = 0; i < d->g->outputs.len; i++) {
    const struct graph_output *o = &d->g->outputs.data[i];
    if (is_loss(d, o) == losses && holds(d, o->node) && !gradient_of(d->g, o))
      add_output(d, o->node, losses ? "loss" : o->name);
  }
}

static void add_named_gradients(struct describer *d) {
  for (int i = 0; i < d->g->outputs.len; i++) {
    const struct graph_output *o = &d->g->outputs.data[i];
    const struct node *of = gradient_of(d->g, o);
    if (of && holds(d, o->node)) add_output(d, o->node, str_printf(d->arena, "d_%s", of->attr.s));
  }
}

static void add_found_gradients(struct describer *d) {
  for (int j = 0; j < d->r->inputs.len; j++)
    for (int i = 0; i < d->r->nodes.len; i++) {
      struct node *n = d->r->nodes.data[i];
      bool candidate = goes_out(d, n) && !d->f->forward[n->id];
      if (candidate && input_of_gradient(d, n) == j)
        add_output(d, n, str_printf(d->arena, "d_%s", d->r->input_names.data[j]));
    }
}

// The named gradient, outside, that all use of a backward value leads to by pointwise arithmetic: the value is a summand
// or a factor of it. NULL: none.
static const char *gradient_with(const struct describer *d, const struct node *n) {
  const char *found = NULL;
  for (int k = 0; k < d->f->users[n->id].len && !d->f->forward[n->id]; k++) {
    const struct node *user = d->f->users[n->id].data[k];
    if (holds(d, user) || op_info(user->op)->class != ELEMENTWISE) return NULL;
    const char *label = graph_label_of(d->g, user);
    if (!label) label = gradient_with(d, user);
    if (!label || (found && !str_eq(found, label))) return NULL;
    found = label;
  }
  return found;
}

static const char *name_of_output(const struct describer *d, const struct node *n) {
  const char *label = graph_label_of(d->g, n), *place = place_of(d, n), *whole = gradient_with(d, n);
  if (label) return label;
  if (d->r->nodes.len == 1) return "out";
  if (whole) return str_printf(d->arena, "%s_part", whole);
  return place ? place : str_printf(d->arena, "out%d", d->r->outputs.len);
}

// Names that the program gives come before those of places, which may be the same.
static void find_ports(struct describer *d) {
  find_inputs(d);
  name_inputs(d);
  add_results(d, true);
  add_results(d, false);
  name_nameless_inputs(d);
  add_named_gradients(d);
  if (d->r->nodes.len > 1) add_found_gradients(d);
  for (int i = 0; i < d->r->nodes.len; i++)
    if (goes_out(d, d->r->nodes.data[i])) add_output(d, d->r->nodes.data[i], name_of_output(d, d->r->nodes.data[i]));
}

// ---- the address ---------------------------------------------------------------------------------

static bool holds_loss(const struct describer *d) {
  for (int i = 0; i < d->g->outputs.len; i++)
    if (is_loss(d, &d->g->outputs.data[i]) && holds(d, d->g->outputs.data[i].node)) return true;
  return false;
}

static const char *role_of(const struct describer *d, const struct node *n) {
  if (n->op == OP_conv2d_dx) return "dinput";
  if (n->op == OP_conv2d_dw) return "dweight";
  if (d->f->forward[n->id] || n->op == OP_conv2d) return "forward";
  return d->f->weight_gradient[n->id] ? "dweight" : "dinput";
}

static const struct node *first_product(const struct describer *d) {
  for (int i = 0; i < d->r->nodes.len; i++)
    if (op_info(d->r->nodes.data[i]->op)->class == OPAQUE) return d->r->nodes.data[i];
  die("a region without a product");
}

static const char *address_of(const struct describer *d, const struct node *first) {
  const char *program = d->g->name;
  if (d->r->nodes.len > 1 && holds_loss(d)) return str_printf(d->arena, "%s/objective", program);
  const char *path = first->path ? first->path : op_info(first->op)->name, *at = strchr(path, '@');
  int length = at ? (int)(at - path) : (int)strlen(path);
  const char *role = d->r->nodes.len > 1 ? "region" : role_of(d, first);
  return str_printf(d->arena, "%s/%.*s/%s%s", program, length, path, role, at ? at : "");
}

static bool address_taken(const struct regions *rs, const char *address) {
  for (int i = 0; i < rs->list.len; i++)
    if (str_eq(rs->list.data[i].address, address)) return true;
  return false;
}

// ---- the plain graph -----------------------------------------------------------------------------

// Constants, and what is remade of inputs.
static void copy_operand(struct rewrite *w, const struct node *n) {
  if (w->map[n->id]) return;
  for (int k = 0; k < n->n_in; k++) copy_operand(w, n->in[k]);
  w->map[n->id] = rewrite_copy(w, n);
}

static struct graph *plain_graph(const struct describer *d) {
  const struct region *r = d->r;
  struct rewrite w = rewrite_begin(d->g);
  w.to->name = r->address;
  for (int i = 0; i < r->inputs.len; i++) {
    w.to->loc = r->inputs.data[i]->loc;
    w.map[r->inputs.data[i]->id] = g_input(w.to, str_printf(d->arena, "in%d", i), BT_INPUT_ARRAY, -1, 0, &r->inputs.data[i]->type);
  }
  for (int i = 0; i < r->nodes.len; i++) {
    const struct node *n = r->nodes.data[i];
    for (int k = 0; k < n->n_in; k++) copy_operand(&w, n->in[k]);
    w.map[n->id] = rewrite_copy(&w, n);
  }
  for (int i = 0; i < r->outputs.len; i++)
    graph_output(w.to, str_printf(d->arena, "out%d", i), BT_OUTPUT_VALUE, w.map[r->outputs.data[i]->id]);
  w.to->loc = (struct loc){0};
  w.to->path = NULL;
  graph_verify(w.to, "outline");
  return w.to;
}

static struct variant plain_variant(const struct describer *d, const struct node *first) {
  bool single = d->r->nodes.len == 1;
  struct variant v = variant_new(!single ? "unfused" : first->op == OP_matmul ? "gemm" : "direct", plain_graph(d));
  v.schedule.plain = !single;
  return v;
}

void region_describe(struct region *r, const struct graph *g, const struct graph_facts *f, const struct regions *others) {
  struct describer d = {r, g, f, g->b->arena, NEW_ARRAY(g->b->arena, bool, g->nodes.len)};
  for (int i = 0; i < r->nodes.len; i++) d.inside[r->nodes.data[i]->id] = true;
  const struct node *first = first_product(&d);
  const char *address = address_of(&d, first);
  r->address = address;
  r->loc = first->loc;
  for (int i = 2; address_taken(others, r->address); i++) r->address = str_printf(d.arena, "%s-%d", address, i);
  find_ports(&d);
  vec_push(d.arena, &r->variants, plain_variant(&d, first));
  r->chosen_by = "default";
}

struct graph *graph_scheduled(const struct graph *g, const struct schedule *how) {
  struct arena *a = g->b->arena;
  struct schedule *kept = NEW(a, struct schedule);
  *kept = *how;
  struct rewrite w = rewrite_begin(g);
  bool *computes = NEW_ARRAY(a, bool, g->nodes.len); // constants stay shared with the rest of the program
  for (int i = 0; i < g->nodes.len; i++) {
    struct node n = *g->nodes.data[i];
    computes[i] = n.op == OP_input;
    for (int k = 0; k < n.n_in; k++) computes[i] |= computes[n.in[k]->id];
    n.how = computes[i] && n.op != OP_input ? kept : NULL;
    w.map[i] = rewrite_copy(&w, &n);
  }
  return rewrite_end(&w);
}

// ---- splicing -----------------------------------------------------------------------------------

// The old graph in order, except that a region is built, whole, where its first node is met, and what
// it reads before it.
struct splicer {
  struct rewrite w;
  const struct regions *rs;
  const struct region **region; // by node id: that it is part of; NULL: none
  bool *done;                   // by region
};

static void build(struct splicer *s, const struct node *n);

// Single ops as they are by default need no schedule, and share with what has none.
static bool is_default(const struct region *r) {
  const struct schedule *s = &r->variants.data[r->chosen].schedule;
  return r->nodes.len == 1 && r->chosen == 0 && !s->mc && !s->kc && !s->nc;
}

static void build_region(struct splicer *s, const struct region *r) {
  struct arena *a = s->w.to->b->arena;
  const struct variant *v = &r->variants.data[r->chosen];
  struct schedule how = v->schedule;
  how.region = r->address;
  const struct graph *from = is_default(r) ? v->graph : graph_scheduled(v->graph, &how);
  s->done[r - s->rs->list.data] = true;
  struct node **map = NEW_ARRAY(a, struct node *, from->nodes.len);
  for (int i = 0; i < r->inputs.len; i++) build(s, r->inputs.data[i]);
  struct rewrite w = {.from = from, .to = s->w.to, .map = map};
  for (int i = 0; i < from->nodes.len; i++) {
    const struct node *n = from->nodes.data[i];
    map[i] = n->op == OP_input ? s->w.map[r->inputs.data[atoi(n->attr.s + 2)]->id] : rewrite_copy(&w, n);
  }
  for (int i = 0; i < r->outputs.len; i++)
    s->w.map[r->outputs.data[i]->id] = map[from->outputs.data[i].node->id];
}

static void build(struct splicer *s, const struct node *n) {
  if (s->w.map[n->id]) return;
  if (s->region[n->id]) {
    build_region(s, s->region[n->id]);
    return;
  }
  for (int k = 0; k < n->n_in; k++) build(s, n->in[k]);
  s->w.map[n->id] = rewrite_copy(&s->w, n);
}

struct graph *regions_splice(const struct graph *g, const struct regions *rs) {
  struct splicer s = {.w = rewrite_begin(g), .rs = rs};
  const int *uses = graph_use_counts(g);
  s.region = NEW_ARRAY(g->b->arena, const struct region *, g->nodes.len);
  for (int i = 0; i < rs->list.len; i++)
    for (int k = 0; k < rs->list.data[i].nodes.len; k++)
      s.region[rs->list.data[i].nodes.data[k]->id] = &rs->list.data[i];
  s.done = NEW_ARRAY(g->b->arena, bool, rs->list.len + 1);
  for (int i = 0; i < g->nodes.len; i++) {
    const struct region *r = s.region[i];
    if (uses[i] && !(r && s.done[r - rs->list.data])) build(&s, g->nodes.data[i]);
  }
  struct graph *to = rewrite_end(&s.w);
  graph_verify(to, "splice");
  return to;
}
