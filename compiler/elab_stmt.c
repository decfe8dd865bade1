// elab_stmt.c: the statements of functions, modules and whatever has a body. `if` and `for` splice:
// what their bodies bind is bound after them too.
#include <string.h>

#include "elab.h"

typedef bool statement_rule(struct elab *e, struct frame *f, const struct stmt *s);

// ---- let --------------------------------------------------------------------------------------

// `let name`, or nowhere if they are on two lines.
static struct loc word_and_name(struct loc statement, struct loc name) {
  if (statement.line != name.line || name.end_line != name.line) return (struct loc){0};
  statement.end_line = name.end_line;
  statement.end_column = name.end_column;
  return statement;
}

static void bind_let(struct elab *e, struct frame *f, const struct typed_name *name, struct loc let,
                     struct value v) {
  const char *what = str_printf(e->b->arena, "`%s`", name->name);
  if (e->checking) check_type(e, f, name->type);
  if (v.kind != V_ERROR && name->type && !type_bind(e, f, name->type, &v, f, v.loc, what))
    v = value_error();
  local_bind(e, f, name->name, name->loc, v);
  frame_find(f, name->name)->let = let;
  if (f->decl && f->decl->kind == D_PROGRAM && v.kind == V_TENSOR)
    graph_label(e->graph, name->name, v.node);
}

static void let_tuple(struct elab *e, struct frame *f, const struct stmt *s, struct value v) {
  int have = v.kind == V_TUPLE ? v.list->len : 1;
  bool fits = have == s->names.len;
  if (!fits && v.kind != V_ERROR)
    elab_error(e, f, s->loc, "%d name%s for %d value%s", s->names.len, s->names.len == 1 ? "" : "s",
               have, have == 1 ? "" : "s");
  for (int i = 0; i < s->names.len; i++)
    bind_let(e, f, &s->names.data[i], s->names.len == 1 ? word_and_name(s->loc, s->names.data[i].loc) : (struct loc){0},
             fits ? v.list->data[i] : value_error());
}

static void run_let(struct elab *e, struct frame *f, const struct stmt *s) {
  const char *address = f->address;
  if (f->decl && f->decl->kind == D_PROGRAM) f->address = s->names.data[0].name;
  struct value values = value_list(e, s->loc, V_TUPLE);
  for (int i = 0; i < s->values.len; i++)
    value_append(e, &values, expr_value(e, f, s->values.data[i]));
  f->address = address;
  if (s->values.len == 1 && (s->names.len > 1 || values.list->data[0].kind == V_TUPLE))
    let_tuple(e, f, s, values.list->data[0]);
  else
    let_tuple(e, f, s, values);
}

// ---- if, for ----------------------------------------------------------------------------------

// A block that cannot be run: what it would have bound is not known, what else it would have done is missing.
static void skip_block(struct elab *e, struct frame *f, const struct block *block) {
  f->unfinished = true;
  for (int i = 0; block && i < block->stmts.len; i++) {
    const struct stmt *s = block->stmts.data[i];
    bool binds = s->kind == S_PARAM || s->kind == S_STATE || s->kind == S_BIND || s->kind == S_FOR || s->kind == S_KEEP;
    for (int k = 0; k < s->names.len; k++)
      frame_bind(e, f, s->names.data[k].name, s->names.data[k].loc, value_error());
    if (binds) frame_bind(e, f, s->name.name, s->name.loc, value_error());
    skip_block(e, f, s->body);
    skip_block(e, f, s->else_body);
  }
}

static void run_if(struct elab *e, struct frame *f, const struct stmt *s, statement_rule *rule) {
  struct value c = expr_value(e, f, s->value);
  if (c.kind == V_ERROR && e->checking) {
    block_run(e, f, s->body, rule);
    if (s->else_body) block_run(e, f, s->else_body, rule);
    return;
  }
  if (c.kind == V_BOOL) {
    const struct block *taken = c.integer ? s->body : s->else_body;
    if (taken) block_run(e, f, taken, rule);
    return;
  }
  skip_block(e, f, s->body);
  skip_block(e, f, s->else_body);
  if (c.kind == V_TENSOR)
    elab_error(e, f, s->value->loc,
               "`if` is decided at compile time, but this is %s; use `where(condition, x, y)`",
               value_text(e, &c));
  else if (c.kind != V_ERROR)
    elab_error(e, f, s->value->loc, "`if` needs `true` or `false`, not %s", value_text(e, &c));
}

static void run_for(struct elab *e, struct frame *f, const struct stmt *s, statement_rule *rule) {
  struct value items = range_items(e, f, expr_value(e, f, s->value), "`for`");
  local_bind(e, f, s->name.name, s->name.loc, value_error());
  if (items.kind == V_ERROR) {
    if (e->checking) block_run(e, f, s->body, rule);
    else skip_block(e, f, s->body);
    return;
  }
  int64_t repeated = e->repeated;
  for (int i = 0; i < items.list->len && !f->returned && e->repeated == repeated; i++) {
    if (!elab_spend(e, f, s->loc, 1)) break;
    frame_bind(e, f, s->name.name, s->name.loc, items.list->data[i]);
    block_run(e, f, s->body, rule);
  }
}

void block_run(struct elab *e, struct frame *f, const struct block *block, statement_rule *rule) {
  for (int i = 0; i < block->stmts.len && !f->returned; i++) {
    const struct stmt *s = block->stmts.data[i];
    if (!elab_spend(e, f, s->loc, 1)) break;
    switch (s->kind) {
    case S_LET: run_let(e, f, s); break;
    case S_IF: run_if(e, f, s, rule); break;
    case S_FOR: run_for(e, f, s, rule); break;
    default:
      if (!rule(e, f, s) && !e->checking) f->unfinished = true;
    }
  }
}

// ---- params and states ------------------------------------------------------------------------

static bool leads_to(const struct value *v, const struct instance *in) {
  for (int i = 0; v->kind == V_LIST && i < v->list->len; i++)
    if (leads_to(&v->list->data[i], in)) return true;
  return v->kind == V_MODULE && v->entry == in->module && v->config == in->config;
}

// Where a module that has no name was bound as a value.
static void note_value_binding(struct elab *e, struct frame *f, const struct instance *in) {
  bool module = f->decl && f->decl->kind == D_MODULE;
  for (int i = 0; i < f->locals.len; i++) {
    const struct binding *b = &f->locals.data[i];
    if (!b->let.line || !leads_to(&b->value, in)) continue;
    elab_note(e, b->let, "`let` binds a value; an instance is bound by `%s = …`%s", b->name,
              module ? "" : " at the top of the file, or in a module");
    if (module) elab_note_fixit(e, b->name);
  }
  for (int i = 0; i < f->unit->entries.len; i++) {
    const struct entry *n = f->unit->entries.data[i];
    if (n->decl->kind != D_CONST || n->state != ENTRY_DONE || !leads_to(&n->value, in)) continue;
    elab_note(e, word_and_name(n->decl->loc, n->decl->name.loc), "`const` binds a value; an instance is bound by `%s = …`", n->name);
    elab_note_fixit(e, n->name);
  }
}

static bool own(struct elab *e, struct frame *f, const struct name_at *name, const char *what) {
  if (!f->instance) {
    elab_error(e, f, name->loc, "only a module has %s, and this is %s", what,
               f->decl->kind == D_FN ? "a function" : "none");
    return false;
  }
  for (int i = 0; i < f->owned.len; i++) {
    if (!str_eq(f->owned.data[i].name, name->name)) continue;
    elab_error(e, f, name->loc, "`%s` is declared twice in one application", name->name);
    elab_note(e, f->owned.data[i].loc, "the first declaration");
    return false;
  }
  vec_push(e->b->arena, &f->owned, *name);
  bool unnamed = f->average && !f->average->path;
  if (f->instance->path && !unnamed) return true;
  const char *module = unnamed ? "ema" : f->instance->module->name;
  elab_error(e, f, f->call,
             "an inline `%s` owns %s, which would have no name; bind it first: `name = %s(…)`",
             module, what, module);
  note_value_binding(e, f->caller, f->instance);
  elab_note(e, name->loc, "`%s` is declared here", name->name);
  return false;
}

static bool initial(struct elab *e, struct frame *f, const struct stmt *s, bool state,
                    struct bt_init *out) {
  struct value v = expr_value(e, f, s->value);
  if (v.kind == V_ERROR) return false;
  if (value_is_number(&v)) {
    *out = (struct bt_init){BT_INIT_CONSTANT, value_number(&v), 0};
    return true;
  }
  if (v.kind == V_INIT && !state) {
    *out = v.init;
    return true;
  }
  elab_error(e, f, s->value->loc, "`%s` starts as a number%s, not as %s", s->name.name,
             state ? "" : ", `uniform(low, high)` or `normal(mean, sd)`", value_text(e, &v));
  return false;
}

static struct tensor_type tensor_type_of(const struct bt_tensor *t) {
  struct tensor_type type = {t->dtype, {.rank = t->rank}};
  memcpy(type.shape.dim, t->shape, sizeof t->shape);
  return type;
}

int model_tensor_index(const struct model *m, const char *name) {
  for (int i = 0; i < m->tensors.len; i++)
    if (strcmp(m->tensors.data[i].name, name) == 0) return i;
  return -1;
}

// The first application of an instance fixes its parameters; later ones must agree.
static bool fix_tensor(struct elab *e, struct frame *f, const struct stmt *s, struct bt_tensor new,
                       struct average *average) {
  int at = model_tensor_index(e->model, new.name);
  if (at < 0) {
    struct tensor_site site = {f, average};
    vec_push(e->b->arena, &e->model->tensors, new);
    vec_push(e->b->arena, &e->sites, site);
    return true;
  }
  const struct bt_tensor *was = &e->model->tensors.data[at];
  struct tensor_type fixed = tensor_type_of(was), here = tensor_type_of(&new);
  bool same = type_eq(&fixed, &here) && was->role == new.role && str_eq(was->copy_of, new.copy_of);
  if (same) return true;
  if (!str_eq(was->copy_of, new.copy_of))
    elab_error(e, f, f->call, "two tensors are called `%s` in the average; bind one of them under another name",
               new.name);
  else
    elab_error(e, f, f->call, "`%s` would be %s here, but is %s since its first application", new.name,
               type_text(e->b->arena, &here), type_text(e->b->arena, &fixed));
  elab_note(e, parting_call(e->sites.data[at].applied, f), "the first application");
  elab_note(e, s->name.loc, "`%s` is declared here", s->name.name);
  return false;
}

struct node *current_tensor(struct elab *e, int tensor) {
  const struct bt_tensor *t = &e->model->tensors.data[tensor];
  struct tensor_type type = tensor_type_of(t);
  if (t->role == BT_PARAM) return g_leaf(e->graph, OP_param, t->name, &type);
  for (int i = 0; i < e->graph->updates.len; i++)
    if (str_eq(e->graph->updates.data[i].name, t->name)) return e->graph->updates.data[i].node;
  return g_leaf(e->graph, OP_state, t->name, &type);
}

// The instance's tensor, and in an average the one that stands for it: a state that starts as its copy.
static bool own_tensor(struct elab *e, struct frame *f, const struct stmt *s, enum bt_role role,
                       const struct tensor_type *t, struct bt_init init, const char **name) {
  struct bt_tensor new = {.role = role, .dtype = t->dtype, .rank = t->shape.rank, .init = init};
  memcpy(new.shape, t->shape.dim, sizeof new.shape);
  new.bytes = (size_t)shape_count(&t->shape) * (size_t)dtype_size(t->dtype);
  new.name = *name = str_printf(e->b->arena, "%s.%s", f->prefix, s->name.name);
  bool ok = fix_tensor(e, f, s, new, NULL);
  if (!ok || !f->average) return ok;
  new.copy_of = new.name;
  new.role = BT_STATE;
  new.name = *name = average_path(e, f->average, new.copy_of);
  return fix_tensor(e, f, s, new, f->average);
}

static bool declare_tensor(struct elab *e, struct frame *f, const struct stmt *s) {
  bool state = s->kind == S_STATE;
  struct tensor_type t;
  struct value v = value_tensor(s->name.loc, NULL);
  struct bt_init init;
  bool ok = own(e, f, &s->name, state ? "a state" : "a parameter");
  ok = ok && type_resolve(e, f, s->type, &t, v.axes);
  ok = ok && initial(e, f, s, state, &init);
  if (ok && !state && f->state_role == BT_OPTIMIZER) {
    elab_error(e, f, s->loc, "an optimizer has states, not parameters: declare it with `state`");
    ok = false;
  }
  const char *name = s->name.name;
  ok = ok && own_tensor(e, f, s, state ? f->state_role : BT_PARAM, &t, init, &name);
  if (ok) {
    graph_at(e, f, s->loc);
    v.node = current_tensor(e, model_tensor_index(e->model, name));
    if (!state) lint_parameter(e, f, name);
  }
  local_bind(e, f, s->name.name, s->name.loc, ok ? v : value_error());
  if (state) frame_find(f, s->name.name)->state = name;
  return true; // the name is bound: nothing follows from a mistake in it
}

static bool state_type_fits(struct elab *e, struct frame *f, const struct stmt *s,
                            const struct value *was, struct value *v) {
  if (value_is_number(v)) {
    if (!as_tensor(e, f, v, was->node->type.dtype, "an update")) return false;
    v->node = g_broadcast(e->graph, v->node, &was->node->type.shape, NULL);
  }
  bool fits = v->kind == V_TENSOR && type_eq(&v->node->type, &was->node->type);
  for (int i = 0; fits && i < value_rank(v); i++)
    fits = !v->axes[i] || !was->axes[i] || v->axes[i] == was->axes[i];
  if (fits) return true;
  elab_error(e, f, s->value->loc, "the update of `%s`, %s, is %s; both must have the same type", s->name.name,
             tensor_text(e, was), value_text(e, v));
  return false;
}

static bool run_update(struct elab *e, struct frame *f, const struct stmt *s) {
  struct value v = expr_value(e, f, s->value);
  if (e->program && e->program->owner) {
    elab_error(e, f, s->loc, "a pass changes nothing, but `%s` is updated in any mode; put the update under `if training`",
               s->name.name);
    return true;
  }
  struct binding *b = frame_find(f, s->name.name);
  if (!b || !b->state) {
    const char *names[64];
    int n = 0;
    for (int i = 0; i < f->locals.len && n < 64; i++)
      if (f->locals.data[i].state) names[n++] = f->locals.data[i].name;
    elab_error(e, f, s->name.loc, "`%s` is not a state of this module%s", s->name.name,
               did_you_mean(e, s->name.name, names, n));
    return true;
  }
  struct value was = b->value;
  const char *name = b->state;
  if (v.kind == V_ERROR || was.kind == V_ERROR || !state_type_fits(e, f, s, &was, &v)) return true;
  graph_update(e->graph, name, v.node);
  lint_update(f, name, s->loc);
  struct value now = was;
  now.node = v.node;
  frame_bind(e, f, s->name.name, s->name.loc, now);
  frame_find(f, s->name.name)->state = name;
  return true;
}

// ---- instances --------------------------------------------------------------------------------

static struct binding *child_of(struct instance *in, const char *name) {
  for (int i = 0; i < in->children.len; i++)
    if (str_eq(in->children.data[i].name, name)) return &in->children.data[i];
  return NULL;
}

static bool bind_child(struct elab *e, struct frame *f, const struct stmt *s) {
  struct value v = expr_value(e, f, s->value);
  const char *name = s->name.name;
  if (v.kind != V_ERROR && !value_is_callable(&v)) {
    struct binding *b = frame_find(f, name);
    bool state = b && b->state;
    elab_error(e, f, s->name.loc, "`%s = …` binds an instance, but this is %s; a %s by `%s`", name,
               value_text(e, &v), state ? "state changes" : "value is bound", state ? "update" : "let");
    elab_fixit(e, str_printf(e->b->arena, "%s %s", state ? "update" : "let", name));
    v = value_error();
  }
  if (!f->instance) {
    elab_error(e, f, s->name.loc,
               "only a module owns instances; bind `%s` at the top of the file or in a module, or "
               "a value by `let`",
               name);
    if (!value_is_callable(&v) && v.kind != V_ERROR) elab_fixit(e, str_printf(e->b->arena, "let %s", name));
    v = value_error();
  }
  if (!name_bindable(e, f, name, s->name.loc)) v = value_error();
  for (int i = 0; v.kind != V_ERROR && i < f->owned.len; i++) {
    if (!str_eq(f->owned.data[i].name, name)) continue;
    elab_error(
        e, f, s->name.loc,
        "`%s` is bound twice in one application; a list of instances is bound by `%s = [for …: …]`",
        name, name);
    elab_note(e, f->owned.data[i].loc, "the first is here");
    v = value_error();
  }
  if (v.kind != V_ERROR) {
    vec_push(e->b->arena, &f->owned, s->name);
    const char *path = f->prefix ? str_printf(e->b->arena, "%s.%s", f->prefix, name) : NULL;
    struct binding *before = child_of(f->instance, name);
    v = instance_bind(e, f, v, path, s->name.loc, before ? &before->value : NULL);
    if (v.kind == V_ERROR)
      elab_error(e, f, s->value->loc,
                 "a module is configured before it is bound, as in `%s = linear(10)`", name);
    if (before)
      before->value = v;
    else
      vec_push(e->b->arena, &f->instance->children,
               ((struct binding){.name = name, .value = v, .loc = s->name.loc}));
  }
  frame_bind(e, f, name, s->name.loc, v);
  return true;
}

// ---- the rest ---------------------------------------------------------------------------------

static bool run_return(struct elab *e, struct frame *f, const struct stmt *s) {
  f->result =
      s->values.len == 1 ? expr_value(e, f, s->values.data[0]) : value_list(e, s->loc, V_TUPLE);
  bool failed = false;
  for (int i = 0; s->values.len > 1 && i < s->values.len; i++) {
    struct value v = expr_value(e, f, s->values.data[i]);
    failed |= v.kind == V_ERROR;
    value_append(e, &f->result, v);
  }
  if (failed) f->result = value_error();
  f->returned = true;
  return true;
}

static bool run_call(struct elab *e, struct frame *f, const struct stmt *s) {
  struct value callee = name_value(e, f, s->name.name, s->name.loc);
  if (callee.kind == V_ERROR) return true;
  if (callee.kind == V_BUILTIN && str_eq(builtin_name(callee.builtin), "fail")) {
    f->result = builtin_call(e, f, callee.builtin, &s->args, s->loc);
    f->returned = !e->checking; // nothing after it is meant
    return false;
  }
  elab_error(e, f, s->loc, "the result of this call goes nowhere; `let y = %s(…)` keeps it",
             s->name.name);
  return true;
}

const char *statement_word(enum stmt_kind kind) {
  static const char *const words[] = {
      [S_KEEP] = "keep",     [S_DATA] = "data",           [S_MINIMIZE] = "minimize", [S_EPOCHS] = "epochs",
      [S_OPTIMIZER] = "optimizer", [S_LOAD] = "load", [S_PASS] = "pass", [S_EVALUATE] = "evaluate",
      [S_OUTPUT] = "output",
  };
  return words[kind];
}

bool body_statement(struct elab *e, struct frame *f, const struct stmt *s) {
  switch (s->kind) {
  case S_PARAM:
  case S_STATE: return declare_tensor(e, f, s);
  case S_UPDATE: return run_update(e, f, s);
  case S_BIND: return bind_child(e, f, s);
  case S_RETURN: return run_return(e, f, s);
  case S_CALL: return run_call(e, f, s);
  case S_REPORT: report_statement(e, f, s); return true;
  default:
    elab_error(e, f, s->loc, "`%s` belongs in a program, not in a %s", statement_word(s->kind),
               f->decl->kind == D_FN ? "function" : "module");
    return true;
  }
}
