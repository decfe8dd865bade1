// elab_model.c: the doors of elaboration: a file's model, and one of its functions as a program.
#include <math.h>
#include <string.h>

#include "elab.h"

// ---- the model --------------------------------------------------------------------------------

static void declare_programs(struct elab *e, struct unit *u) {
  for (int i = 0; i < u->entries.len; i++) {
    const struct decl *d = u->entries.data[i]->decl;
    if (d->kind != D_PROGRAM) continue;
    struct program *p = NEW(e->b->arena, struct program);
    *p = (struct program){.name = d->name.name, .loc = d->name.loc};
    vec_push(e->b->arena, &e->programs, p);
  }
}

// Constants and instances that nothing uses are evaluated too: their mistakes are mistakes.
static void evaluate_file(struct elab *e, struct unit *u) {
  struct frame *f = frame_push(e, NULL, u, NULL, (struct loc){0});
  for (int i = 0; i < u->entries.len; i++) {
    struct entry *n = u->entries.data[i];
    if (n->decl->kind == D_CONST || n->decl->kind == D_INSTANCE)
      entry_value(e, f, n, n->decl->name.loc);
  }
  for (int i = 0; i < u->file->decls.len; i++)
    if (u->file->decls.data[i]->kind == D_SCHEDULE)
      schedule_elaborate(e, f, u->file->decls.data[i]);
}

static void elaborate_programs(struct elab *e, struct unit *u) {
  for (int i = 0, k = 0; i < u->entries.len; i++) {
    const struct decl *d = u->entries.data[i]->decl;
    if (d->kind != D_PROGRAM) continue;
    struct program *p = e->programs.data[k++];
    program_elaborate(e, u, d, p);
    if (e->b->n_errors == 0) graph_verify(p->graph, "elaborate");
  }
  for (int i = 0; i < e->programs.len; i++)
    vec_push(e->b->arena, &e->model->programs, *e->programs.data[i]);
  for (int i = 0; i < e->passes.len; i++) {
    if (e->b->n_errors == 0) graph_verify(e->passes.data[i]->graph, "elaborate");
    vec_push(e->b->arena, &e->model->programs, *e->passes.data[i]);
  }
}

// What is loaded must be there once all programs are: a name that another instance goes by too
// ("k = l") has no parameters of its own.
static void check_loads(struct elab *e) {
  if (e->b->n_errors) return;
  for (int i = 0; i < e->loaded.len; i++) {
    const struct name_at *at = &e->loaded.data[i];
    size_t n = strlen(at->name);
    bool found = false;
    for (int k = 0; k < e->model->tensors.len && !found; k++) {
      const char *name = e->model->tensors.data[k].name;
      found = strncmp(name, at->name, n) == 0 && name[n] == '.';
    }
    if (!found)
      elab_error(e, NULL, at->loc, "there is no instance `%s` with parameters to load", at->name);
  }
}

static void warn_unapplied(struct elab *e) {
  if (e->b->n_errors || e->programs.len == 0) return;
  for (int i = 0; i < e->instances.len; i++) {
    const struct instance *in = e->instances.data[i];
    if (!in->applied)
      elab_warning(e, in->loc, "`%s` is never applied, so it has no parameters",
                   in->path ? in->path : in->module->name);
  }
  for (int i = 0; i < e->averages.len; i++)
    if (!e->averages.data[i]->applied)
      elab_warning(e, e->averages.data[i]->loc, "`%s` is never applied, so nothing is averaged",
                   e->averages.data[i]->path);
}

struct model *model_elaborate(struct btc *b, const struct file *f) {
  struct model *m = NEW(b->arena, struct model);
  struct elab *e = NEW(b->arena, struct elab);
  *m = (struct model){.b = b, .file = f, .elab = e};
  *e = (struct elab){.b = b, .model = m};
  // What a file with syntax errors seems to lack may be in what could not be read.
  if (b->n_errors) return m;
  struct unit *u = unit_load(e, f, b->files.data[f->source].path);
  unit_apply_defines(e, u);
  declare_programs(e, u);
  evaluate_file(e, u);
  elaborate_programs(e, u);
  check_unapplied(e);
  check_loads(e);
  warn_unapplied(e);
  return m;
}

const struct bt_tensor *model_tensor(const struct model *m, const char *name) {
  int at = model_tensor_index(m, name);
  return at < 0 ? NULL : &m->tensors.data[at];
}

// ---- one function -----------------------------------------------------------------------------

struct function {
  struct elab *e;
  struct frame *f;
  struct value callee;
  const struct decl *decl;
  const struct named_type *args;
  int n_args;
  struct node *inputs[32];
  int n_inputs;
};

static const struct named_type *argument_of(const struct function *fn, const char *name) {
  for (int i = 0; i < fn->n_args; i++)
    if (str_eq(fn->args[i].name, name)) return &fn->args[i];
  return NULL;
}

static struct value static_argument(struct function *fn, const struct param_decl *p, double x) {
  if (str_eq(p->type->name, "bool")) return value_bool(p->loc, x != 0);
  if (!str_eq(p->type->name, "int")) return value_float(p->loc, x);
  if (x == floor(x) && fabs(x) < 9e15) return value_int(p->loc, (int64_t)x);
  elab_error(fn->e, NULL, p->loc, "`%s` is an integer, not %g", p->name, x);
  return value_error();
}

// A parameter: the tensor of its name, the number of its name, or what its type alone says.
static bool function_argument(struct function *fn, const struct param_decl *p, struct given *g) {
  const struct named_type *a = argument_of(fn, p->name);
  *g = (struct given){.loc = p->loc, .present = true};
  struct tensor_type t;
  struct axis *axes[MAX_RANK];
  if (a && a->scalar && !type_is_tensor(p->type)) {
    g->value = static_argument(fn, p, *a->scalar);
    return g->value.kind != V_ERROR;
  }
  if (a)
    t = a->type;
  else if (p->default_value)
    return g->present = false, true;
  else if (!type_is_tensor(p->type)) {
    elab_error(fn->e, NULL, p->loc, "`%s` of `%s` needs a value", p->name, fn->decl->name.name);
    return false;
  } else if (!type_resolve(fn->e, fn->f, p->type, &t, axes)) {
    elab_note(fn->e, p->loc, "no tensor `%s` is given, and its type alone does not say its shape", p->name);
    return false;
  }
  struct node *n = program_input(fn->e, p->name, BT_INPUT_ARRAY, -1, 0, &t);
  if (fn->n_inputs < 32) fn->inputs[fn->n_inputs++] = n;
  g->value = value_tensor(p->loc, n);
  return true;
}

static bool arguments_known(struct function *fn, bool gradients) {
  const char *names[33];
  int n = 0;
  for (int i = 0; i < fn->decl->inputs.len && n < 32; i++)
    names[n++] = fn->decl->inputs.data[i].name;
  bool ok = true;
  for (int i = 0; i < fn->n_args; i++) {
    bool found = gradients && str_eq(fn->args[i].name, "dout");
    for (int k = 0; k < n; k++) found |= str_eq(fn->args[i].name, names[k]);
    if (!found)
      elab_error(fn->e, NULL, fn->decl->name.loc, "`%s` has no parameter `%s`%s",
                 fn->decl->name.name, fn->args[i].name,
                 did_you_mean(fn->e, fn->args[i].name, names, n));
    ok = ok && found;
  }
  return ok;
}

// By the float inputs, and by the parameters of the instances that it applies.
static bool function_gradients(struct function *fn, struct node *out) {
  struct elab *e = fn->e;
  struct graph *g = e->graph;
  const struct named_type *dout = argument_of(fn, "dout");
  struct node *seed = NULL;
  VEC(struct node *) wrt = {0};
  if (dout && !shape_eq(&dout->type.shape, &out->type.shape)) { // its numbers take the result's type
    elab_error(e, NULL, fn->decl->name.loc, "the cotangent `dout` is %s, but the result is %s",
               type_text(e->b->arena, &dout->type), type_text(e->b->arena, &out->type));
    return false;
  }
  if (dout || out->type.shape.rank > 0)
    seed = program_input(e, "dout", BT_INPUT_ARRAY, -1, 0, &out->type);
  for (int i = 0; i < fn->n_inputs; i++)
    if (dtype_is_float(fn->inputs[i]->type.dtype)) vec_push(e->b->arena, &wrt, fn->inputs[i]);
  for (int i = 0; i < g->nodes.len; i++)
    if (g->nodes.data[i]->op == OP_param) vec_push(e->b->arena, &wrt, g->nodes.data[i]);
  struct node **grads = NEW_ARRAY(e->b->arena, struct node *, wrt.len + 1);
  graph_gradients(g, out, seed, wrt.data, wrt.len, grads);
  for (int i = 0; i < wrt.len; i++) {
    struct node *d = grads[i] ? grads[i] : g_full_like(g, wrt.data[i], 0);
    graph_output(g, str_printf(e->b->arena, "d%s", wrt.data[i]->attr.s), BT_OUTPUT_VALUE, d);
  }
  return true;
}

static bool function_outputs(struct function *fn, struct value r, bool gradients) {
  struct elab *e = fn->e;
  if (r.kind == V_ERROR) return false;
  int n = r.kind == V_TUPLE ? r.list->len : 1;
  for (int i = 0; i < n; i++) {
    struct value *v = r.kind == V_TUPLE ? &r.list->data[i] : &r;
    if (!as_tensor(e, fn->f, v, BT_F32, "the result")) return false;
    graph_output(e->graph, n == 1 ? "out" : str_printf(e->b->arena, "out%d", i), BT_OUTPUT_VALUE,
                 v->node);
  }
  if (!gradients) return true;
  if (n == 1 && dtype_is_float(r.node->type.dtype)) return function_gradients(fn, r.node);
  elab_error(e, NULL, fn->decl->name.loc, "gradients need one float result, and `%s` returns %s",
             fn->decl->name.name, value_text(e, &r));
  return false;
}

// A function, or an instance under its name: then its module's inputs are meant.
static bool function_find(struct function *fn, struct unit *u, const char *name) {
  struct elab *e = fn->e;
  const char *names[256];
  int n = 0;
  for (int i = 0; i < u->entries.len && n < 256; i++)
    if (u->entries.data[i]->decl->kind == D_FN || u->entries.data[i]->decl->kind == D_INSTANCE)
      names[n++] = u->entries.data[i]->name;
  struct entry *found = unit_entry(u, name);
  if (!found || (found->decl->kind != D_FN && found->decl->kind != D_INSTANCE)) {
    elab_error(e, NULL, (struct loc){0}, "%s has no function `%s`%s", u->path, name,
               did_you_mean(e, name, names, n));
    return false;
  }
  fn->callee = entry_value(e, fn->f, found, found->decl->name.loc);
  struct value first = fn->callee;
  while (first.kind == V_LIST && first.list->len) first = first.list->data[0];
  if (first.kind == V_ERROR) return false;
  if (first.kind == V_FN)
    fn->decl = first.entry->decl;
  else if (first.kind == V_INSTANCE)
    fn->decl = first.instance->module->decl;
  else
    elab_error(e, NULL, found->decl->name.loc, "`%s` is %s, which cannot be run by itself", name,
               value_text(e, &first));
  return fn->decl != NULL;
}

static bool function_run(struct function *fn, struct unit *u, const char *name, bool gradients) {
  if (!function_find(fn, u, name) || !arguments_known(fn, gradients)) return false;
  struct given given[32] = {0};
  int n = fn->decl->inputs.len;
  for (int i = 0; i < n && i < 32; i++)
    if (!function_argument(fn, &fn->decl->inputs.data[i], &given[i])) return false;
  struct value r = apply_given(fn->e, fn->f, fn->callee, given, n, (struct loc){0});
  return function_outputs(fn, r, gradients);
}

const struct decl *model_signature(struct model *m, const char *function) {
  struct elab *e = m->elab;
  if (e->units.len == 0) return NULL;
  struct unit *u = e->units.data[0];
  struct function fn = {.e = e, .f = frame_push(e, NULL, u, NULL, (struct loc){0})};
  return function_find(&fn, u, function) ? fn.decl : NULL;
}

struct program *model_function(struct model *m, const char *function, const struct named_type *args,
                               int n_args, bool gradients) {
  struct elab *e = m->elab;
  if (e->b->n_errors || e->units.len == 0) return NULL;
  struct unit *u = e->units.data[0];
  struct program *p = NEW(e->b->arena, struct program);
  *p = (struct program){.name = function, .graph = graph_new(e->b, function)};
  struct function fn = {.e = e, .args = args, .n_args = n_args};
  fn.f = frame_push(e, NULL, u, NULL, (struct loc){0});
  fn.f->training = true; // a function says eval(x) where it means evaluation
  e->minimizes = false;
  e->reported.len = 0;
  e->applications.len = 0;
  e->program = p;
  e->graph = p->graph;
  bool ok = function_run(&fn, u, function, gradients) && e->b->n_errors == 0;
  if (ok) graph_verify(p->graph, "elaborate");
  e->graph = NULL;
  e->program = NULL;
  return ok ? p : NULL;
}
