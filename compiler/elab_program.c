// elab_program.c: programs. A program's statements make its graph: data and views are its inputs,
// what it minimises is its loss, reports and features its outputs.
#include <string.h>

#include "../runtime/evaluate.h"
#include "elab.h"

// ---- inputs -----------------------------------------------------------------------------------

static bool same_input(const struct bt_input *a, const struct bt_input *b) {
  return str_eq(a->name, b->name) && a->kind == b->kind && a->view == b->view && a->site == b->site;
}

int program_input_index(struct elab *e, const struct bt_input *in) {
  struct program *p = e->program;
  for (int i = 0; i < p->inputs.len; i++)
    if (same_input(&p->inputs.data[i], in)) return i;
  vec_push(e->b->arena, &p->inputs, *in);
  return p->inputs.len - 1;
}

struct node *program_input(struct elab *e, const char *name, enum bt_input_kind kind, int view,
                           int site, const struct tensor_type *t) {
  struct bt_input in = {.name = name,
                        .kind = kind,
                        .dtype = t->dtype,
                        .rank = t->shape.rank,
                        .view = view,
                        .site = site};
  memcpy(in.shape, t->shape.dim, sizeof in.shape);
  program_input_index(e, &in);
  return g_input(e->graph, name, kind, view, site, t);
}

static bool batch_agrees(struct elab *e, struct frame *f, const struct typed_name *n,
                         int64_t batch) {
  struct program *p = e->program;
  if (p->batch == 0) p->batch = batch;
  if (p->batch == batch) return true;
  elab_error(e, f, n->type->loc,
             "`%s` has %lld rows a step, but the program's other data have %lld", n->name,
             (long long)batch, (long long)p->batch);
  return false;
}

// u8[batch, channels, height, width], of which only the batch must be known.
static bool data_dim(struct elab *e, struct frame *f, const struct dim_syntax *d, int i,
                     struct data *out) {
  struct type one = {.loc = d->loc, .name = "u8", .has_dims = true};
  struct tensor_type t;
  if (d->kind == DIM_INFERRED && i > 0) return true;
  vec_push(e->b->arena, &one.dims, *d);
  if (!type_resolve(e, f, &one, &t, &out->axes[i])) return false;
  out->dim[i] = t.shape.dim[0];
  return true;
}

static struct value data_images(struct elab *e, struct frame *f, const struct typed_name *n) {
  struct data *d = NEW(e->b->arena, struct data);
  *d = (struct data){.name = n->name, .loc = n->loc};
  bool packed = false;
  for (int i = 0; i < n->type->dims.len; i++) packed |= n->type->dims.data[i].kind == DIM_PACK;
  if (n->type->dims.len != 4 || packed) {
    elab_error(
        e, f, n->type->loc,
        "images are `u8[batch, channels, height, width]`, with `_` for sizes that are not known");
    return value_error();
  }
  for (int i = 0; i < 4; i++)
    if (!data_dim(e, f, &n->type->dims.data[i], i, d)) return value_error();
  if (!batch_agrees(e, f, n, d->dim[0])) return value_error();
  if (d->dim[1] > 4) {
    elab_error(e, f, n->type->dims.data[1].loc, "images have at most 4 channels, not %lld",
               (long long)d->dim[1]);
    return value_error();
  }
  memcpy(e->program->image, d->dim + 1, sizeof e->program->image);
  return (struct value){.kind = V_DATA, .loc = n->loc, .data = d};
}

static struct value data_tensor(struct elab *e, struct frame *f, const struct typed_name *n) {
  struct tensor_type t;
  struct value v = value_tensor(n->loc, NULL);
  if (!type_resolve(e, f, n->type, &t, v.axes)) return value_error();
  bool label = t.dtype == BT_I32 && t.shape.rank == 1;
  if (label && !batch_agrees(e, f, n, t.shape.dim[0])) return value_error();
  if (t.shape.rank > 0 && e->rows == 0) e->rows = t.shape.dim[0];
  graph_at(e, f, n->loc);
  v.node = program_input(e, n->name, label ? BT_INPUT_LABEL : BT_INPUT_ARRAY, -1, 0, &t);
  return v;
}

// The trainer finds data by name, whatever the program calls it later.
static bool data_is_new(struct elab *e, struct frame *f, const struct typed_name *n) {
  for (int i = 0; i < f->owned.len; i++) {
    if (!str_eq(f->owned.data[i].name, n->name)) continue;
    elab_error(e, f, n->loc, "the data `%s` is declared twice", n->name);
    elab_note(e, f->owned.data[i].loc, "the first declaration");
    return false;
  }
  vec_push(e->b->arena, &f->owned, ((struct name_at){.name = n->name, .loc = n->loc}));
  return true;
}

static void run_data(struct elab *e, struct frame *f, const struct stmt *s) {
  for (int i = 0; i < s->names.len; i++) {
    const struct typed_name *n = &s->names.data[i];
    if (!data_is_new(e, f, n)) continue;
    bool images = str_eq(n->type->name, "u8");
    struct value v = images ? data_images(e, f, n) : data_tensor(e, f, n);
    local_bind(e, f, n->name, n->loc, v);
  }
}

// ---- outputs ----------------------------------------------------------------------------------

// A run-time scalar in f32, of a scalar or a number.
static bool scalar(struct elab *e, struct frame *f, struct value *v, const char *what) {
  // What would have been an output is missing: that nothing else says so is no mistake.
  f->unfinished |= v->kind == V_ERROR;
  if (v->kind == V_ERROR || !as_tensor(e, f, v, BT_F32, what)) return false;
  if (value_rank(v) == 0 && v->node->type.dtype == BT_F32) return true;
  elab_error(e, f, v->loc, "%s is one f32 number, not %s%s", what, tensor_text(e, v),
             value_rank(v) ? "; `mean` or `sum` makes one of it" : "; convert it with `f32(…)`");
  return false;
}

static void run_minimize(struct elab *e, struct frame *f, const struct stmt *s) {
  f->address = "loss";
  struct value v = expr_value(e, f, s->value);
  f->address = NULL;
  if (e->program->loss) {
    elab_error(e, f, s->loc, "a program minimises one value; add the terms up");
    return;
  }
  if (!scalar(e, f, &v, "what is minimised")) return;
  e->program->loss = v.node;
  graph_output(e->graph, "loss", BT_OUTPUT_LOSS, v.node);
}

// ---- reports ----------------------------------------------------------------------------------

static const char *const log_fields[] = {BT_LOG_FIELDS}, *const pass_fields[] = {BT_PASS_LOG_FIELDS};

static const struct graph_output *output_named(const struct graph *g, const char *name) {
  for (int i = 0; i < g->outputs.len; i++)
    if (str_eq(g->outputs.data[i].name, name)) return &g->outputs.data[i];
  return NULL;
}

// A program's report has the name that it says, which must be new.
static bool name_reportable(struct elab *e, struct frame *f, const struct name_at *name) {
  bool pass = e->program && e->program->owner;
  const char *const *fields = pass ? pass_fields : log_fields;
  size_t n = pass ? sizeof pass_fields / sizeof *pass_fields : sizeof log_fields / sizeof *log_fields;
  for (size_t i = 0; e->minimizes && i < n; i++)
    if (str_eq(fields[i], name->name)) {
      elab_error(e, f, name->loc, "every line of the log has `%s` already; the report needs another name", name->name);
      return false;
    }
  if (f->decl->kind != D_PROGRAM || !output_named(e->graph, name->name)) return true;
  elab_error(e, f, name->loc, "`%s` is reported already", name->name);
  for (int i = 0; i < e->reported.len; i++)
    if (str_eq(e->reported.data[i].name, name->name))
      elab_note(e, e->reported.data[i].loc, "the first is here");
  return false;
}

// Functions and modules may be applied often: the first value has the name, those after it are name_2,
// name_3, … in the order of evaluation. NULL: this very value is reported already.
static const char *report_name(struct elab *e, const char *name, const struct node *value) {
  const char *numbered = name;
  const struct graph_output *o;
  for (int i = 2; (o = output_named(e->graph, numbered)); i++) {
    if (o->kind == BT_OUTPUT_REPORT && o->node == value) return NULL;
    numbered = str_printf(e->b->arena, "%s_%d", name, i);
  }
  return numbered;
}

// Of a program, or of what it applies, whose caller need not know of it. Gradients do not: nothing
// differentiates a report. A function that is applied to numbers alone, for a constant, has no step to
// report from.
void report_statement(struct elab *e, struct frame *f, const struct stmt *s) {
  const char *address = f->address;
  f->address = s->name.name;
  struct value v = expr_value(e, f, s->value);
  f->address = address;
  if (!e->graph || !name_reportable(e, f, &s->name) || !scalar(e, f, &v, "a report")) return;
  const char *name = report_name(e, s->name.name, v.node);
  if (!name) return;
  graph_output(e->graph, name, BT_OUTPUT_REPORT, v.node);
  vec_push(e->b->arena, &e->reported, ((struct name_at){.name = name, .loc = s->name.loc}));
}

// ---- outputs that are written -----------------------------------------------------------------

static bool writes_rows(struct elab *e, struct frame *f, const struct value *v) {
  int64_t batch = e->program->batch ? e->program->batch : e->rows;
  bool tensor = v->kind == V_TENSOR && value_rank(v) > 0 && value_dim(v, 0) == batch;
  bool typed = tensor && (v->node->type.dtype == BT_F32 || v->node->type.dtype == BT_I32);
  if (typed) return true;
  elab_error(e, f, v->loc, "an output has one row an example, %lld of a batch, of f32 or i32 numbers, and this is %s%s",
             (long long)batch, value_text(e, v), tensor && !typed ? "; convert it with `i32(…)` or `f32(…)`" : "");
  return false;
}

static const char *features_name(const struct elab *e) {
  const char *name = "features";
  for (int i = 1; output_named(e->graph, name); i++) name = str_printf(e->b->arena, "features%d", i);
  return name;
}

// It is the name of a file in the program's folder. What an evaluation is of has no name in the source, and gives way.
static bool name_outputs(struct elab *e, struct frame *f, const struct name_at *name) {
  for (int i = 0; i < e->graph->outputs.len; i++) {
    struct graph_output *o = &e->graph->outputs.data[i];
    if (o->kind == BT_OUTPUT_VALUE && str_eq(o->name, name->name)) o->name = features_name(e);
  }
  if (!output_named(e->graph, name->name)) return true;
  elab_error(e, f, name->loc, "the program has a report or an output `%s` already", name->name);
  for (int i = 0; i < e->reported.len; i++)
    if (str_eq(e->reported.data[i].name, name->name)) elab_note(e, e->reported.data[i].loc, "the first is here");
  return false;
}

static void run_output(struct elab *e, struct frame *f, const struct stmt *s) {
  f->address = s->name.name;
  struct value v = expr_value(e, f, s->value);
  f->address = NULL;
  if (e->minimizes) {
    elab_error(e, f, s->loc, "the program `%s` minimises; outputs are written by a program of its own, which says `load … from %s`",
               e->program->name, e->program->name);
    return;
  }
  bool ok = v.kind != V_ERROR && writes_rows(e, f, &v);
  f->unfinished |= !ok;
  if (!name_outputs(e, f, &s->name) || !ok) return;
  graph_output(e->graph, s->name.name, BT_OUTPUT_ROWS, v.node);
  vec_push(e->b->arena, &e->reported, s->name);
}

// ---- evaluate ---------------------------------------------------------------------------------

static const struct {
  const char *name, *arguments;
} evaluate_rows[] = {
#define EVALUATE(name, arguments) {#name, arguments},
#include "../runtime/evaluate.def"
#undef EVALUATE
};
static const char *const evaluate_names[] = {
#define EVALUATE(name, ...) #name,
#include "../runtime/evaluate.def"
#undef EVALUATE
};
enum { N_EVALUATES = sizeof evaluate_rows / sizeof *evaluate_rows, EVALUATE_SLOTS = 8 };

static int features_output(struct elab *e, struct node *n) {
  struct graph *g = e->graph;
  for (int i = 0; i < g->outputs.len; i++)
    if (g->outputs.data[i].kind == BT_OUTPUT_VALUE && g->outputs.data[i].node == n) return i;
  graph_output(g, features_name(e), BT_OUTPUT_VALUE, n);
  return g->outputs.len - 1;
}

static int labels_input(struct elab *e, struct frame *f, const struct given *g) {
  const struct value *v = &g->value;
  struct program *p = e->program;
  if (v->kind == V_TENSOR && v->node->op == OP_input &&
      v->node->attr.i[INPUT_KIND] == BT_INPUT_LABEL)
    for (int i = 0; i < p->inputs.len; i++)
      if (str_eq(p->inputs.data[i].name, v->node->attr.s)) return i;
  elab_error(e, f, g->loc, "the labels are data, as in `data y: i32[batch]`, not %s",
             value_text(e, v));
  return -1;
}

static bool features_fit(struct elab *e, struct frame *f, const struct given *g) {
  const struct value *v = &g->value;
  if (v->kind == V_TENSOR && v->node->type.dtype == BT_F32 && value_rank(v) == 2 &&
      value_dim(v, 0) == e->program->batch)
    return true;
  const char *mend = v->kind == V_TENSOR && value_rank(v) > 2
                         ? "; `reshape(x, [count(x, over: 0), -1])` flattens it"
                         : "";
  elab_error(e, f, g->loc, "features are f32[batch, d], one row an image, not %s%s",
             value_text(e, v), mend);
  return false;
}

static bool evaluate_arguments(struct elab *e, struct frame *f, const struct stmt *s, int row,
                               struct bt_evaluate *out, struct given *given) {
  struct slot slots[EVALUATE_SLOTS];
  struct label labels[EVALUATE_SLOTS + 2] = {{.name = "features", .required = true},
                                             {.name = "labels", .required = true}};
  int n = slots_parse(e->b->arena, evaluate_rows[row].arguments, slots, EVALUATE_SLOTS);
  for (int i = 0; i < n; i++)
    labels[2 + i] = (struct label){.name = slots[i].name, .required = !slots[i].has_default};
  const char *what = str_printf(e->b->arena, "`%s`", s->name.name);
  if (!args_match(e, f, &s->args, s->loc, what, labels, n + 2, given)) return false;
  bool ok = true;
  int channels = 0;
  for (int i = 0; i < n; i++)
    ok = slot_fill(e, f, &slots[i], &given[2 + i], out->arg, what, &channels) && ok;
  return ok;
}

static void run_evaluate(struct elab *e, struct frame *f, const struct stmt *s) {
  int row = 0;
  while (row < N_EVALUATES && !str_eq(evaluate_rows[row].name, s->name.name)) row++;
  if (row == N_EVALUATES) {
    elab_error(e, f, s->name.loc, "unknown evaluation `%s`%s", s->name.name,
               did_you_mean(e, s->name.name, evaluate_names, N_EVALUATES));
    return;
  }
  struct bt_evaluate ev = {.kind = (enum bt_evaluate_kind)row};
  struct given given[EVALUATE_SLOTS + 2];
  if (!evaluate_arguments(e, f, s, row, &ev, given)) {
    f->unfinished = true; // an output is missing: that nothing else is computed is no mistake
    return;
  }
  char wrong[200];
  bool ok = bt_evaluate_check(&ev, wrong, sizeof wrong);
  if (!ok) elab_error(e, f, s->loc, "%s", wrong);
  ok = features_fit(e, f, &given[0]) && ok;
  ev.labels = labels_input(e, f, &given[1]);
  if (!ok || ev.labels < 0) return;
  ev.features = features_output(e, given[0].value.node);
  vec_push(e->b->arena, &e->program->evaluates, ev);
}

// ---- the other statements ---------------------------------------------------------------------

const char *path_text(struct arena *a, const struct path *p) {
  const char *text = p->parts.data[0].name;
  for (int i = 1; i < p->parts.len; i++) text = str_printf(a, "%s.%s", text, p->parts.data[i].name);
  return text;
}

// A path must begin with a top-level instance.
static bool path_names_instance(struct elab *e, struct frame *f, const struct path *p) {
  const char *names[256];
  int n = 0;
  const struct name_at *first = &p->parts.data[0];
  struct unit *u = f->unit;
  for (int i = 0; i < u->entries.len; i++)
    if (u->entries.data[i]->decl->kind == D_INSTANCE && n < 256)
      names[n++] = u->entries.data[i]->name;
  struct entry *found = unit_entry(u, first->name);
  if (found && found->decl->kind == D_INSTANCE) return true;
  elab_error(e, f, first->loc, "`%s` is not an instance%s", first->name,
             did_you_mean(e, first->name, names, n));
  return false;
}

static bool load_source_exists(struct elab *e, struct frame *f, const struct stmt *s) {
  if (s->from_string) return true;
  const char *names[64];
  int n = 0;
  for (int i = 0; i < e->programs.len && n < 64; i++) {
    names[n++] = e->programs.data[i]->name;
    if (!str_eq(e->programs.data[i]->name, s->name.name)) continue;
    if (e->programs.data[i] != e->program) return true;
    elab_error(e, f, s->name.loc, "`%s` cannot load from itself; `--resume` goes on with a run",
               s->name.name);
    return false;
  }
  elab_error(e, f, s->name.loc, "there is no program `%s`%s", s->name.name,
             did_you_mean(e, s->name.name, names, n));
  return false;
}

static void run_load(struct elab *e, struct frame *f, const struct stmt *s) {
  bool ok = load_source_exists(e, f, s);
  for (int i = 0; i < s->paths.len; i++) {
    const struct path *p = &s->paths.data[i];
    if (!path_names_instance(e, f, p) || !ok) continue;
    struct bt_load load = {path_text(e->b->arena, p), s->name.name, s->from_string};
    vec_push(e->b->arena, &e->program->loads, load);
    vec_push(e->b->arena, &e->loaded, ((struct name_at){.name = load.prefix, .loc = p->loc}));
  }
}

static void run_epochs(struct elab *e, struct frame *f, const struct stmt *s) {
  int64_t n;
  if (!static_int(e, f, expr_value(e, f, s->value), &n, "the number of epochs")) return;
  if (n < 1 || n > INT32_MAX) {
    elab_error(e, f, s->value->loc, "the number of epochs must be at least 1, not %lld",
               (long long)n);
    return;
  }
  e->program->epochs = (int)n;
}

static bool is_optimizer(const struct value *v) {
  if (v->kind != V_MODULE || !v->config) return false;
  const struct decl *d = v->entry->decl;
  return d->inputs.len == 2 && type_is_tensor(d->inputs.data[0].type) &&
         type_is_tensor(d->inputs.data[1].type);
}

static void run_optimizer(struct elab *e, struct frame *f, const struct stmt *s) {
  f->address = "optimizer";
  struct value v = expr_value(e, f, s->value);
  f->address = NULL;
  bool ok = v.kind != V_ERROR;
  if (ok && !is_optimizer(&v)) {
    elab_error(e, f, s->value->loc,
               "an optimizer is a module (parameter, gradient) -> parameter with its "
               "configuration, as in `sgd(lr: 0.1)`, not %s",
               value_text(e, &v));
    ok = false;
  }
  if (e->program->optimizer) {
    elab_error(e, f, s->loc, "a program has one optimizer");
    ok = false;
  }
  for (int i = 0; i < s->paths.len; i++) ok = path_names_instance(e, f, &s->paths.data[i]) && ok;
  if (!ok) return;
  struct optimizer *o = NEW(e->b->arena, struct optimizer);
  *o = (struct optimizer){.rule = v, .on = s->paths, .loc = s->loc, .frame = f};
  e->program->optimizer = o;
}

// What is bound is known all the same: what follows is no mistake.
static void run_bind(struct elab *e, struct frame *f, const struct stmt *s) {
  struct value v = expr_value(e, f, s->value);
  elab_error(e, f, s->name.loc,
             "instances are bound at the top of the file, where programs share them; a value is "
             "bound by `let %s = …`",
             s->name.name);
  bool value = v.kind != V_ERROR && !value_is_callable(&v);
  if (value) elab_fixit(e, str_printf(e->b->arena, "let %s", s->name.name));
  local_bind(e, f, s->name.name, s->name.loc, value ? v : value_error());
}

bool program_statement(struct elab *e, struct frame *f, const struct stmt *s) {
  switch (s->kind) {
  case S_DATA: run_data(e, f, s); break;
  case S_MINIMIZE: run_minimize(e, f, s); break;
  case S_EPOCHS: run_epochs(e, f, s); break;
  case S_OPTIMIZER: run_optimizer(e, f, s); break;
  case S_REPORT: report_statement(e, f, s); break;
  case S_OUTPUT: run_output(e, f, s); break;
  case S_LOAD: run_load(e, f, s); break;
  case S_EVALUATE: run_evaluate(e, f, s); break;
  case S_PASS: run_pass(e, f, s); break;
  case S_KEEP: elab_error(e, f, s->loc, "`keep` belongs in a `pass`, whose rows it keeps"); break;
  case S_RETURN:
    elab_error(e, f, s->loc, "a program returns nothing; `report name: value` logs a value");
    break;
  case S_PARAM:
  case S_STATE:
  case S_UPDATE:
    elab_error(e, f, s->loc, "parameters and states belong to modules, not to programs");
    break;
  case S_BIND: run_bind(e, f, s); break;
  default: return body_statement(e, f, s);
  }
  return true;
}

// ---- the program ------------------------------------------------------------------------------

static bool block_minimizes(const struct block *b) {
  for (int i = 0; b && i < b->stmts.len; i++) {
    const struct stmt *s = b->stmts.data[i];
    if (s->kind == S_MINIMIZE || block_minimizes(s->body) || block_minimizes(s->else_body))
      return true;
  }
  return false;
}

static void check_complete(struct elab *e, struct frame *f, const struct decl *d, int errors) {
  struct program *p = e->program;
  if (f->unfinished || e->b->n_errors > errors) return;
  if (p->batch == 0) p->batch = e->rows; // no images and no labels: the first array's rows
  if (p->loss && !p->optimizer)
    elab_error(
        e, f, d->name.loc,
        "the program `%s` minimises, but has no optimizer; for instance `optimizer sgd(lr: 0.1)`",
        p->name);
  else if (!p->loss && p->optimizer)
    elab_error(e, f, ((struct optimizer *)p->optimizer)->loc,
               "there is nothing to optimise: the program `%s` has no `minimize`", p->name);
  else if (!p->loss && p->epochs)
    elab_error(e, f, d->name.loc,
               "the program `%s` has `epochs` but no `minimize`: it sweeps its data once; leave `epochs` out", p->name);
  else if (p->loss && p->evaluates.len)
    elab_error(e, f, d->name.loc,
               "the program `%s` minimises and evaluates; features are measured by a program of "
               "its own, which says `load … from %s`",
               p->name, p->name);
  else if (p->graph->outputs.len == 0 && !has_passes(e, p))
    elab_error(e, f, d->name.loc,
               "the program `%s` computes nothing: it has no `minimize`, `report`, `evaluate`, `output` or `pass`",
               p->name);
  else if (p->batch == 0)
    elab_error(e, f, d->name.loc, "the program `%s` has no `data`, which says how many rows a step has", p->name);
  else if (p->loss && p->epochs == 0)
    p->epochs = 1;
}

void program_elaborate(struct elab *e, struct unit *u, const struct decl *d, struct program *p) {
  struct frame *f = frame_push(e, NULL, u, d, (struct loc){0});
  p->graph = graph_new(e->b, p->name);
  e->program = p;
  e->graph = p->graph;
  e->rows = 0;
  int errors = e->b->n_errors;
  e->reported.len = 0;
  e->applications.len = 0;
  e->trained.len = 0;
  e->kept.len = 0;
  f->training = e->minimizes = block_minimizes(d->body);
  block_run(e, f, d->body, program_statement);
  check_complete(e, f, d, errors);
  warn_unread(e);
  lint_program(e);
  e->graph = NULL;
  e->program = NULL;
}
