// elab_call.c: calls. Arguments are evaluated in the caller's frame and sorted by label; functions
// and modules run their bodies in a new frame; their results return in the caller's axis names.
#include <string.h>

#include "elab.h"

enum { MOST_PARAMS = 32, CALLS_NESTED_MOST = 400 };

// ---- arguments --------------------------------------------------------------------------------

static int label_index(const struct label *labels, int n, const char *name) {
  for (int i = 0; i < n; i++)
    if (str_eq(labels[i].name, name)) return i;
  return -1;
}

const char *labels_text(struct elab *e, const struct label *labels, int n) {
  const char *text = "";
  for (int i = 0; i < n; i++)
    text = str_printf(e->b->arena, "%s%s%s%s", text, i ? ", " : "", labels[i].name,
                      labels[i].required ? "" : "?");
  return text;
}

static bool place_argument(struct elab *e, struct frame *f, const struct arg *a, const char *callee,
                           const struct label *labels, int n, struct given *out, int *next) {
  int at = a->label ? label_index(labels, n, a->label) : (*next)++;
  if (a->label && at < 0) {
    const char *names[MOST_PARAMS];
    for (int i = 0; i < n; i++) names[i] = labels[i].name;
    const char *mend = did_you_mean(e, a->label, names, n);
    if (!*mend) mend = str_printf(e->b->arena, "; it takes (%s)", labels_text(e, labels, n));
    elab_error(e, f, a->loc, "%s has no parameter `%s`%s", callee, a->label, mend);
    return false;
  }
  if (at >= n) {
    elab_error(e, f, a->loc, "too many arguments: %s takes (%s)", callee,
               labels_text(e, labels, n));
    return false;
  }
  if (out[at].present) {
    elab_error(e, f, a->loc, "`%s` of %s is given twice", labels[at].name, callee);
    elab_note(e, out[at].loc, "the first is here");
    return false;
  }
  out[at] = (struct given){.loc = a->value->loc, .present = true};
  return true;
}

bool args_match(struct elab *e, struct frame *f, const arg_list *args, struct loc call,
                const char *callee, const struct label *labels, int n, struct given *out) {
  bool ok = true, placed = true;
  int next = 0;
  memset(out, 0, sizeof *out * (size_t)n);
  for (int i = 0; i < args->len; i++) {
    const struct arg *a = &args->data[i];
    struct value v = expr_value(e, f, a->value);
    v.loc = a->value->loc;
    if (!elab_spend(e, f, v.loc, value_size(&v))) return false;
    ok = v.kind != V_ERROR && ok;
    int before = next;
    if (!place_argument(e, f, a, callee, labels, n, out, &next)) {
      ok = placed = false;
      continue;
    }
    out[a->label ? label_index(labels, n, a->label) : before].value = v;
  }
  for (int i = 0; i < n; i++) {
    if (out[i].present || !labels[i].required) continue;
    if (placed) {
      elab_error(e, f, call, "missing argument `%s` of %s", labels[i].name, callee);
      elab_note(e, labels[i].loc, "declared here");
    }
    ok = placed = false;
  }
  return ok;
}

static int labels_of(struct elab *e, const param_list *params, struct label *labels) {
  if (params->len > MOST_PARAMS) {
    elab_error(e, NULL, params->data[MOST_PARAMS].loc, "at most %d parameters are supported",
               MOST_PARAMS);
    return -1;
  }
  for (int i = 0; i < params->len; i++) {
    const struct param_decl *p = &params->data[i];
    int before = label_index(labels, i, p->name);
    labels[i] = (struct label){p->name, p->default_value == NULL, p->loc};
    if (before < 0) continue;
    elab_error(e, NULL, p->loc, "`%s` is a parameter twice", p->name);
    elab_note(e, labels[before].loc, "the first is here");
    return -1;
  }
  return params->len;
}

// One parameter of `callee`: the given value, or the default, in the parameter's type.
static bool bind_param(struct elab *e, struct frame *callee, struct frame *caller,
                       const struct param_decl *p, const struct given *g, struct value *out) {
  struct value v = g->present ? g->value : expr_value(e, callee, p->default_value);
  struct loc loc = g->present ? g->loc : p->default_value->loc;
  const char *what = str_printf(e->b->arena, "`%s` of `%s`", p->name, callee->decl->name.name);
  // What is wrong with an argument is the caller's mistake: it is reported among the caller's
  // calls.
  callee->reports_as = g->present ? caller : NULL;
  bool ok = type_bind(e, callee, p->type, &v, g->present ? caller : callee, loc, what);
  callee->reports_as = NULL;
  *out = ok ? v : value_error();
  return ok;
}

bool config_bind(struct elab *e, struct frame *f, struct entry *n, const arg_list *args,
                 struct loc call, struct value **config) {
  const struct decl *d = n->decl;
  struct label labels[MOST_PARAMS];
  struct given given[MOST_PARAMS];
  int count = labels_of(e, &d->config, labels);
  const char *callee = str_printf(e->b->arena, "`%s`", d->name.name);
  if (count < 0 || !args_match(e, f, args, call, callee, labels, count, given)) return false;
  struct frame *scope = frame_push(e, f, n->unit, d, call);
  if (!scope) return false;
  *config = NEW_ARRAY(e->b->arena, struct value, count + 1);
  bool ok = true;
  for (int i = 0; i < count; i++) {
    ok = bind_param(e, scope, f, &d->config.data[i], &given[i], &(*config)[i]) && ok;
    frame_bind(e, scope, labels[i].name, labels[i].loc, (*config)[i]);
  }
  return ok;
}

void frame_bind_config(struct elab *e, struct frame *f, const struct decl *d,
                       const struct value *config) {
  for (int i = 0; i < d->config.len; i++) {
    const struct param_decl *p = &d->config.data[i];
    struct value v = config[i];
    dtype t;
    if (e->graph && value_is_number(&v) && type_is_tensor(p->type) &&
        dtype_parse(p->type->name, &t))
      as_tensor(e, f, &v, t, p->name);
    frame_bind(e, f, p->name, p->loc, v);
  }
}

// ---- running a body ---------------------------------------------------------------------------

static bool check_results(struct elab *e, struct frame *callee, const struct decl *d,
                          struct value *r) {
  int n = d->results.len;
  if (n == 0 || r->kind == V_ERROR) return r->kind != V_ERROR;
  int have = r->kind == V_TUPLE ? r->list->len : 1;
  if (have != n) {
    elab_error(e, callee, r->loc, "`%s` returns %d value%s, but declares %d", d->name.name, have,
               have == 1 ? "" : "s", n);
    elab_note(e, d->results.data[0]->loc, "declared here");
    return false;
  }
  bool ok = true;
  for (int i = 0; i < n; i++) {
    struct value *v = r->kind == V_TUPLE ? &r->list->data[i] : r;
    const char *what = str_printf(e->b->arena, "the result of `%s`", d->name.name);
    ok = type_bind(e, callee, d->results.data[i], v, callee, v->loc, what) && ok;
  }
  return ok;
}

static struct value run_body(struct elab *e, struct frame *callee, const struct decl *d) {
  if (d->value) {
    callee->result = expr_value(e, callee, d->value);
    callee->returned = true;
  } else {
    block_run(e, callee, d->body, body_statement);
  }
  if (!callee->returned && !callee->unfinished) {
    elab_error(e, callee, d->name.loc, "`%s` ends without `return`", d->name.name);
    return value_error();
  }
  struct value r = callee->returned ? callee->result : value_error();
  if (!check_results(e, callee, d, &r)) return value_error();
  axes_to_caller(callee, &r);
  return r;
}

static bool bind_inputs(struct elab *e, struct frame *callee, struct frame *caller,
                        const struct decl *d, const struct given *given) {
  bool ok = true;
  for (int i = 0; i < d->inputs.len; i++) {
    const struct param_decl *p = &d->inputs.data[i];
    struct value v;
    ok = bind_param(e, callee, caller, p, &given[i], &v) && ok;
    frame_bind(e, callee, p->name, p->loc, v);
    bool called_by_program = d->kind == D_FN && caller->decl && caller->decl->kind == D_PROGRAM;
    if (called_by_program && v.kind == V_TENSOR) graph_label(e->graph, p->name, v.node);
  }
  return ok;
}

// a, b, …, z, aa, ab, …: the how-manieth application of an instance in its program.
static const char *application_letters(struct arena *a, int n) {
  const char *text = "";
  for (n++; n > 0; n = (n - 1) / 26) text = str_printf(a, "%c%s", 'a' + (n - 1) % 26, text);
  return text;
}

static int count_application(struct elab *e, const char *path) {
  for (int i = 0; i < e->applications.len; i++)
    if (str_eq(e->applications.data[i].path, path)) return e->applications.data[i].n++;
  vec_push(e->b->arena, &e->applications, ((struct application_count){path, 1}));
  return 0;
}

static void note_application(struct elab *e, struct instance *in, struct frame *callee) {
  in->applied = true;
  if (callee->average) callee->average->applied = true;
  const char *path = callee->average ? average_path(e, callee->average, in->path) : in->path;
  if (path)
    callee->address = str_printf(e->b->arena, "%s@%s", path,
                                 application_letters(e->b->arena, count_application(e, path)));
}

static struct value freeze(struct elab *e, struct frame *f, struct loc loc, struct value v) {
  if (v.kind == V_TENSOR && dtype_is_float(v.node->type.dtype))
    return tensor_unary(e, f, OP_stop_gradient, loc, v);
  if (v.kind == V_TUPLE)
    for (int i = 0; i < v.list->len; i++) v.list->data[i] = freeze(e, f, loc, v.list->data[i]);
  return v;
}

bool value_is_foreign(const struct elab *e, const struct value *v) {
  if (v->kind == V_LIST) {
    for (int i = 0; i < v->list->len; i++)
      if (value_is_foreign(e, &v->list->data[i])) return true;
    return false;
  }
  if (v->kind != V_TENSOR) return false;
  int id = v->node->id;
  return id >= e->graph->nodes.len || e->graph->nodes.data[id] != v->node;
}

static bool config_usable(struct elab *e, struct frame *f, const struct instance *in,
                          struct loc call) {
  const param_list *config = &in->module->decl->config;
  for (int i = 0; i < config->len; i++) {
    if (!value_is_foreign(e, &in->config[i])) continue;
    elab_error(e, f, call,
               "`%s` was configured with a value of another program's step, `%s`; apply here what "
               "binds `%s` first",
               in->path ? in->path : in->module->name, config->data[i].name,
               in->path ? in->path : in->module->name);
    elab_note(e, in->loc, "it is bound here");
    return false;
  }
  return true;
}

// Mode and average of an application hold for all that it applies in turn.
static void apply_as(struct frame *callee, const struct value *as) {
  if (as->mode != MODE_INHERIT) callee->training = false;
  if (as->average) callee->average = as->average;
}

static struct value run_module(struct elab *e, struct frame *f, struct instance *in,
                               const struct value *as, const struct given *given, struct loc call) {
  const struct decl *d = in->module->decl;
  if (!config_usable(e, f, in, call)) return value_error();
  struct frame *callee = frame_push(e, f, in->module->unit, d, call);
  if (!callee) return value_error();
  callee->instance = in;
  callee->prefix = in->path;
  apply_as(callee, as);
  in->module->applied = true;
  note_application(e, in, callee);
  callee->within = lint_application(e, f, call);
  frame_bind_config(e, callee, d, in->config);
  if (!bind_inputs(e, callee, f, d, given)) return value_error();
  struct value r = run_body(e, callee, d);
  if (callee->within != f->within && callee->within != f->list) callee->within->result = r;
  return as->mode == MODE_FROZEN ? freeze(e, f, call, r) : r;
}

// A function's mode is that of the instances that it applies.
static struct value run_function(struct elab *e, struct frame *f, const struct value *fn,
                                 const struct given *given, struct loc call) {
  struct entry *n = fn->entry;
  struct frame *callee = frame_push(e, f, n->unit, n->decl, call);
  if (!callee) return value_error();
  if (f->decl && f->decl->kind == D_PROGRAM) callee->address = n->name;
  apply_as(callee, fn);
  n->applied = true;
  if (!bind_inputs(e, callee, f, n->decl, given)) return value_error();
  struct value r = run_body(e, callee, n->decl);
  return fn->mode == MODE_FROZEN ? freeze(e, f, call, r) : r;
}

// ---- applying ---------------------------------------------------------------------------------

static struct instance *inline_instance(struct elab *e, const struct value *module) {
  struct instance *in = NEW(e->b->arena, struct instance);
  *in = (struct instance){.module = module->entry, .config = module->config, .loc = module->loc};
  return in;
}

static struct value not_callable(struct elab *e, struct frame *f, const struct value *v,
                                 struct loc call) {
  if (v->kind != V_ERROR)
    elab_error(e, f, v->loc.line ? v->loc : call, "%s cannot be called", value_text(e, v));
  return value_error();
}

// The first item takes the call's arguments, or what is given.
static struct value apply_list(struct elab *e, struct frame *f, struct value list, const arg_list *args,
                               const struct given *given, struct loc call) {
  struct application *before = f->list;
  f->list = lint_application(e, f, call);
  struct value x = args ? apply_value(e, f, list.list->data[0], args, call) : given->value;
  for (int i = args ? 1 : 0; i < list.list->len && x.kind != V_ERROR; i++) {
    struct given g = {.value = x, .loc = call, .present = true};
    x = apply_given(e, f, list.list->data[i], &g, 1, call);
  }
  if (f->list) f->list->result = x;
  f->list = before;
  return x;
}

// The inputs that `callee` takes; false where it is no function or module over inputs.
static bool inputs_of(const struct value *callee, const param_list **inputs, const char **name) {
  const struct entry *n = callee->kind == V_INSTANCE ? callee->instance->module
                          : callee->kind == V_FN || callee->kind == V_MODULE ? callee->entry
                                                                             : NULL;
  if (!n) return false;
  *inputs = &n->decl->inputs;
  *name = n->name;
  return true;
}

static struct value run_callable(struct elab *e, struct frame *f, const struct value *callee,
                                 const struct given *given, struct loc call) {
  if (e->checking) return value_error();
  if (callee->kind == V_FN) return run_function(e, f, callee, given, call);
  struct instance *in = callee->kind == V_INSTANCE ? callee->instance : inline_instance(e, callee);
  if (!e->graph) {
    elab_error(e, f, call, "%s can be applied only inside a program", value_text(e, callee));
    return value_error();
  }
  return run_module(e, f, in, callee, given, call);
}

static bool unconfigured(const struct value *v) { return v->kind == V_MODULE && !v->config; }

struct value apply_given(struct elab *e, struct frame *f, struct value callee, struct given *given,
                         int n, struct loc call) {
  if (callee.kind == V_LIST && n >= 1 && value_is_callable(&callee))
    return apply_list(e, f, callee, NULL, given, call);
  if (callee.kind == V_BUILTIN) return builtin_apply(e, f, callee.builtin, given, n, call);
  if (unconfigured(&callee)) {
    elab_error(e, f, callee.loc, "%s is applied; configure it first: `%s(…)`",
               value_text(e, &callee), callee.entry->name);
    return value_error();
  }
  const param_list *inputs;
  const char *name;
  if (!inputs_of(&callee, &inputs, &name)) return not_callable(e, f, &callee, call);
  struct given all[MOST_PARAMS] = {0};
  struct label labels[MOST_PARAMS];
  if (labels_of(e, inputs, labels) < 0) return value_error();
  if (n > inputs->len) {
    elab_error(e, f, call, "`%s` takes %d argument%s, not %d", name, inputs->len,
               inputs->len == 1 ? "" : "s", n);
    return value_error();
  }
  for (int i = 0; i < inputs->len && i < MOST_PARAMS; i++) {
    if (i < n) all[i] = given[i];
    if (all[i].present || inputs->data[i].default_value) continue;
    elab_error(e, f, call, "missing argument `%s` of `%s`", inputs->data[i].name, name);
    elab_note(e, inputs->data[i].loc, "declared here");
    return value_error();
  }
  return run_callable(e, f, &callee, all, call);
}

static struct value call_view(struct elab *e, struct frame *f, struct value callee,
                              const arg_list *args, struct loc call) {
  if (callee.entry->decl->has_config && !callee.config) {
    if (!config_bind(e, f, callee.entry, args, call, &callee.config)) return value_error();
    callee.loc = call;
    return callee;
  }
  struct label label = {.name = "images", .required = true, .loc = callee.entry->decl->name.loc};
  struct given g;
  const char *name = str_printf(e->b->arena, "the view `%s`", callee.entry->name);
  if (!args_match(e, f, args, call, name, &label, 1, &g)) return value_error();
  return view_apply(e, f, callee, g.value, call);
}

static struct value configure(struct elab *e, struct frame *f, struct value module,
                              const arg_list *args, struct loc call) {
  if (!config_bind(e, f, module.entry, args, call, &module.config)) return value_error();
  module.loc = call;
  return module;
}

struct value apply_value(struct elab *e, struct frame *f, struct value callee, const arg_list *args,
                         struct loc call) {
  if (callee.kind == V_BUILTIN) return builtin_call(e, f, callee.builtin, args, call);
  if (callee.kind == V_VIEW) return call_view(e, f, callee, args, call);
  if (unconfigured(&callee)) return configure(e, f, callee, args, call);
  if (callee.kind == V_LIST && value_is_callable(&callee) && callee.list->len > 0)
    return apply_list(e, f, callee, args, NULL, call);
  const param_list *inputs;
  const char *name;
  struct label labels[MOST_PARAMS];
  struct given given[MOST_PARAMS];
  if (!inputs_of(&callee, &inputs, &name)) {
    for (int i = 0; i < args->len; i++) expr_value(e, f, args->data[i].value);
    return not_callable(e, f, &callee, call);
  }
  int n = labels_of(e, inputs, labels);
  const char *what = str_printf(e->b->arena, "`%s`", name);
  if (n < 0 || !args_match(e, f, args, call, what, labels, n, given)) return value_error();
  return run_callable(e, f, &callee, given, call);
}

// eval(x), frozen(x) and ema(x, decay: d) are not functions: they say how what is named is applied.
static bool is_word(struct frame *f, const struct expr *x) {
  return x->a->kind == E_NAME && !frame_find(f, x->a->string) && !unit_entry(f->unit, x->a->string);
}

static bool mode_word(struct frame *f, const struct expr *x, enum mode *mode) {
  if (!is_word(f, x)) return false;
  *mode = str_eq(x->a->string, "eval")     ? MODE_EVAL
          : str_eq(x->a->string, "frozen") ? MODE_FROZEN
                                           : MODE_INHERIT;
  return *mode != MODE_INHERIT;
}

static struct value with_mode(struct elab *e, struct frame *f, const struct expr *x,
                              enum mode mode) {
  struct label label = {.name = "instance", .required = true};
  struct given g;
  const char *name = str_printf(e->b->arena, "`%s`", x->a->string);
  if (!args_match(e, f, &x->args, x->loc, name, &label, 1, &g)) return value_error();
  struct value v = g.value;
  if (!value_is_callable(&v)) {
    elab_error(e, f, g.loc, "`%s` takes an instance, not %s; write `%s(encoder)(x)`", x->a->string,
               value_text(e, &v), x->a->string);
    return value_error();
  }
  v = value_applied(e, v, mode, NULL);
  v.loc = x->loc;
  return v;
}

struct value call_value(struct elab *e, struct frame *f, const struct expr *x) {
  enum mode mode;
  if (mode_word(f, x, &mode)) return with_mode(e, f, x, mode);
  if (is_word(f, x) && str_eq(x->a->string, "ema")) return average_value(e, f, x);
  if (e->nesting >= CALLS_NESTED_MOST) {
    elab_error(e, f, x->loc, "calls nest deeper than %d levels", CALLS_NESTED_MOST);
    return value_error();
  }
  e->nesting++;
  struct value callee = expr_value(e, f, x->a), r = value_error();
  if (elab_spend(e, f, x->loc, value_size(&callee))) r = apply_value(e, f, callee, &x->args, x->loc);
  e->nesting--;
  if (r.kind != V_ERROR) r.loc = x->loc;
  return r;
}

// ---- naming instances -------------------------------------------------------------------------

static struct value bind_module(struct elab *e, struct value v, const char *path, struct loc loc,
                                const struct value *before) {
  struct instance *in = before && before->kind == V_INSTANCE && before->instance->module == v.entry
                            ? before->instance
                            : NULL;
  if (!in) {
    in = NEW(e->b->arena, struct instance);
    *in = (struct instance){.module = v.entry, .path = path, .loc = loc};
    vec_push(e->b->arena, &e->instances, in);
  }
  in->config = v.config;
  return (struct value){.kind = V_INSTANCE, .mode = v.mode, .loc = loc, .instance = in};
}

struct value instance_bind(struct elab *e, struct frame *f, struct value v, const char *path,
                           struct loc loc, struct value *before) {
  if (v.average && !v.average->path && path) {
    v.average->path = path;
    v.average->loc = loc;
  }
  if (v.average) return v;
  if (v.kind == V_MODULE && v.config) return bind_module(e, v, path, loc, before);
  if (v.kind == V_FN || v.kind == V_BUILTIN || v.kind == V_INSTANCE) return v;
  if (v.kind != V_LIST || !value_is_callable(&v)) return value_error();
  struct value bound = value_list(e, loc, V_LIST);
  bound.mode = v.mode;
  for (int i = 0; i < v.list->len; i++) {
    const char *name = path ? str_printf(e->b->arena, "%s.%d", path, i) : NULL;
    struct value *old =
        before && before->kind == V_LIST && i < before->list->len ? &before->list->data[i] : NULL;
    struct value item = instance_bind(e, f, v.list->data[i], name, loc, old);
    if (item.kind == V_ERROR) return item;
    value_append(e, &bound, item);
  }
  return bound;
}
