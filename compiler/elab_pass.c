// elab_pass.c: passes: `pass test { … }` sweeps a split after each epoch of its program, or once where
// the program minimises nothing.
//
// A pass is a program of its own, with a graph of its own in which nothing trains. It is elaborated where
// it stands, in the program's frame: so it sees the program's static values and instances. Of tensors it
// sees the data alone: data are leaves, which are made anew in the pass's graph when a name leads to one.
// Every other tensor is of the program's step, which the pass does not take.
//
// `keep bank: f32[60000, _] = z` is an output of one pass, the rows of a batch, and an input of those after
// it, all rows. The runtime puts them together, so no graph has an op for it.
#include <string.h>

#include "elab.h"

// Passes have random sites of their own, behind all that a program may have: a pass more does not change
// what the program draws.
enum { FIRST_PASS_SITE = 1 << 20 };

static const char *const split_names[] = {[BT_SPLIT_TRAIN] = "train", [BT_SPLIT_TEST] = "test"};
enum { N_SPLITS = sizeof split_names / sizeof *split_names };

// ---- what a program's names lead to -----------------------------------------------------------

static struct kept *kept_of(struct elab *e, const struct node *n) {
  for (int i = 0; i < e->kept.len; i++)
    if (e->kept.data[i].value.node == n) return &e->kept.data[i];
  return NULL;
}

static bool is_readable(struct elab *e, struct frame *f, struct kept *k, struct loc loc) {
  if (e->program->owner && k->by != e->program) return k->read = true;
  if (e->program->owner)
    elab_error(e, f, loc, "`%s` is not whole before its pass has ended; a pass after this one may read it", k->name);
  else
    elab_error(e, f, loc, "`%s` is kept by a pass, for passes after it; the program's step does not see it", k->name);
  elab_note(e, k->loc, "it is kept here");
  return false;
}

struct value step_value(struct elab *e, struct frame *f, const char *name, struct value v) {
  if (!value_is_foreign(e, &v)) return v;
  const struct node *n = v.kind == V_TENSOR ? v.node : NULL;
  struct kept *k = kept_of(e, n);
  if (k && !is_readable(e, f, k, v.loc)) return value_error();
  if (n && n->op == OP_input && n->attr.i[INPUT_KIND] != BT_INPUT_VIEW) {
    v.node = program_input(e, n->attr.s, (enum bt_input_kind)n->attr.i[INPUT_KIND], -1, 0, &n->type);
    return v;
  }
  elab_error(e, f, v.loc, "`%s` is a value of the program's step, which a pass does not take; compute it in the pass", name);
  elab_note(e, frame_find(f, name)->loc, "`%s` is bound here", name);
  return value_error();
}

// ---- keep -------------------------------------------------------------------------------------

static bool keep_is_new(struct elab *e, struct frame *f, const struct name_at *name) {
  for (int i = 0; i < e->kept.len; i++) {
    if (!str_eq(e->kept.data[i].name, name->name)) continue;
    elab_error(e, f, name->loc, "`%s` is kept already", name->name);
    elab_note(e, e->kept.data[i].loc, "the first is here");
    return false;
  }
  return name_bindable(e, f, name->name, name->loc);
}

// How many rows are declared, and the axis that is called so.
static bool keep_rows(struct elab *e, struct frame *f, const struct type *t, int64_t *rows, struct axis **axis) {
  bool declared = type_is_tensor(t) && t->dims.len > 0 && t->dims.data[0].kind == DIM_EXPR;
  if (!declared) {
    elab_error(e, f, t->loc, "what is kept has a declared number of rows, as in `f32[60000, _]`");
    return false;
  }
  struct type first = {.loc = t->loc, .name = t->name, .has_dims = true};
  struct tensor_type resolved;
  vec_push(e->b->arena, &first.dims, t->dims.data[0]);
  if (!type_resolve(e, f, &first, &resolved, axis)) return false;
  *rows = resolved.shape.dim[0];
  return true;
}

static bool keeps_rows_of(struct elab *e, struct frame *f, const struct value *v) {
  if (v->kind == V_TENSOR && value_rank(v) > 0 && value_dim(v, 0) == e->program->batch) return true;
  elab_error(e, f, v->loc, "what is kept has one row an image, %lld of a batch, and this is %s",
             (long long)e->program->batch, value_text(e, v));
  return false;
}

// The value that passes after this one see: v with all its rows, a leaf that is in no program's graph.
static bool kept_value(struct elab *e, struct frame *f, const struct stmt *s, const struct value *v,
                       struct value *kept) {
  struct axis *axis = NULL;
  struct tensor_type type = v->node->type;
  if (!keep_rows(e, f, s->type, &type.shape.dim[0], &axis) || !size_fits(e, f, s->type->loc, &type.shape)) return false;
  *kept = *v;
  kept->axes[0] = axis;
  kept->node = g_input(graph_new(e->b, s->name.name), s->name.name, BT_INPUT_KEPT, -1, 0, &type);
  const char *what = str_printf(e->b->arena, "`%s`", s->name.name);
  return type_bind(e, f, s->type, kept, f, s->value->loc, what);
}

static void run_keep(struct elab *e, struct frame *f, const struct stmt *s) {
  f->address = s->name.name;
  struct value v = expr_value(e, f, s->value);
  f->address = NULL;
  struct value kept = value_error();
  bool bindable = keep_is_new(e, f, &s->name);
  bool ok = bindable && v.kind != V_ERROR && keeps_rows_of(e, f, &v) && kept_value(e, f, s, &v, &kept);
  if (!ok) f->unfinished = true;
  if (!bindable) return;
  struct kept k = {.name = s->name.name, .loc = s->name.loc, .value = ok ? kept : value_error(), .by = e->program};
  vec_push(e->b->arena, &e->kept, k);
  frame_bind(e, f, k.name, k.loc, k.value);
  if (ok) graph_output(e->graph, k.name, BT_OUTPUT_VALUE, v.node);
}

void warn_unread(struct elab *e) {
  if (e->b->n_errors) return;
  for (int i = 0; i < e->kept.len; i++)
    if (!e->kept.data[i].read)
      elab_warning(e, e->kept.data[i].loc, "`%s` is kept, but no pass after this one reads it", e->kept.data[i].name);
}

// ---- pass -------------------------------------------------------------------------------------

static bool pass_statement(struct elab *e, struct frame *f, const struct stmt *s) {
  switch (s->kind) {
  case S_KEEP: run_keep(e, f, s); return true;
  case S_DATA:
  case S_MINIMIZE:
  case S_EPOCHS:
  case S_OPTIMIZER:
  case S_LOAD:
  case S_EVALUATE:
  case S_OUTPUT:
  case S_PASS:
    elab_error(e, f, s->loc, "`%s` belongs in the program, not in one of its passes", statement_word(s->kind));
    return true;
  default: return program_statement(e, f, s);
  }
}

static int split_named(struct elab *e, struct frame *f, const struct name_at *name) {
  for (int i = 0; i < N_SPLITS; i++)
    if (str_eq(split_names[i], name->name)) return i;
  const char *mend = did_you_mean(e, name->name, split_names, N_SPLITS);
  elab_error(e, f, name->loc, "a pass sweeps `train` or `test`, not `%s`%s", name->name, mend);
  return BT_SPLIT_TEST;
}

static const char *pass_name(struct elab *e, const char *split) {
  const char *first = str_printf(e->b->arena, "%s.%s", e->program->name, split), *name = first;
  for (int i = 0, n = 1; i < e->passes.len; i++)
    if (str_eq(e->passes.data[i]->name, name)) name = str_printf(e->b->arena, "%s_%d", first, ++n), i = -1;
  return name;
}

static struct program *pass_new(struct elab *e, struct frame *f, const struct stmt *s) {
  struct program *owner = e->program, *p = NEW(e->b->arena, struct program);
  int split = split_named(e, f, &s->name);
  *p = (struct program){.name = pass_name(e, split_names[split]), .loc = s->loc, .owner = owner->name,
                        .batch = owner->batch ? owner->batch : e->rows, .sites = FIRST_PASS_SITE};
  p->split = (enum bt_split_kind)split;
  p->graph = graph_new(e->b, p->name);
  memcpy(p->image, owner->image, sizeof p->image);
  for (int i = 0; i < e->passes.len; i++)
    if (str_eq(e->passes.data[i]->owner, owner->name)) p->sites = e->passes.data[i]->sites;
  vec_push(e->b->arena, &e->passes, p);
  if (p->batch == 0)
    elab_error(e, f, s->loc, "the program has no `data` above this pass, which says how many rows a step has");
  return p;
}

static void check_pass(struct elab *e, struct frame *f, const struct stmt *s, int errors) {
  if (f->unfinished || e->b->n_errors > errors || e->graph->outputs.len) return;
  elab_error(e, f, s->loc, "the pass computes nothing: it has no `report` or `keep`");
}

// What was bound in the pass ends with it, but for what it kept. An axis has a name no longer than the
// frame has it.
static void leave_scope(struct elab *e, struct frame *f, const struct frame *before, int first_kept) {
  f->training = before->training;
  f->locals = before->locals;
  f->axes.len = before->axes.len;
  f->packs.len = before->packs.len;
  for (int i = first_kept; i < e->kept.len; i++) {
    struct kept *k = &e->kept.data[i];
    for (int axis = 0; axis < MAX_RANK; axis++) {
      bool named = false;
      for (int j = 0; j < f->axes.len; j++) named |= f->axes.data[j] == k->value.axes[axis];
      if (!named) k->value.axes[axis] = NULL;
    }
    frame_bind(e, f, k->name, k->loc, k->value);
  }
}

void run_pass(struct elab *e, struct frame *f, const struct stmt *s) {
  struct elab outer = *e;
  struct frame before = *f;
  int errors = e->b->n_errors;
  e->program = pass_new(e, f, s);
  e->graph = e->program->graph;
  memset(&e->reported, 0, sizeof e->reported);
  memset(&e->applications, 0, sizeof e->applications);
  memset(&f->locals, 0, sizeof f->locals); // bound anew, names of the program are the pass's own
  for (int i = 0; i < before.locals.len; i++) vec_push(e->b->arena, &f->locals, before.locals.data[i]);
  f->training = false;
  block_run(e, f, s->body, pass_statement);
  check_pass(e, f, s, errors);
  leave_scope(e, f, &before, outer.kept.len);
  e->program = outer.program;
  e->graph = outer.graph;
  e->reported = outer.reported;
  e->applications = outer.applications;
}

bool has_passes(const struct elab *e, const struct program *p) {
  for (int i = 0; i < e->passes.len; i++)
    if (str_eq(e->passes.data[i]->owner, p->name)) return true;
  return false;
}
