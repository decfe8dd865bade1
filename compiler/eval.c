// eval.c: functions and programs on given tensors. See eval.h.
//
// Both back ends are one loop over steps: feed the inputs, step, collect the outputs. The interpreter
// keeps parameters and states as doubles between steps; compiled code keeps them in its store.
#include <string.h>

#include "../runtime/random.h"
#include "ast.h"
#include "eval.h"

static const struct loc nowhere;

const char *eval_name(struct arena *a, const char *prefix, const char *name) {
  return str_printf(a, "%s%s", prefix, name);
}

// ---- functions --------------------------------------------------------------------------------

static const struct type *parameter_type(const struct decl *fn, const char *name) {
  for (int i = 0; i < fn->inputs.len; i++)
    if (str_eq(fn->inputs.data[i].name, name)) return fn->inputs.data[i].type;
  return NULL;
}

// Files hold what NumPy made (f64, i64); the language computes in f32 and i32 unless it says otherwise.
static struct tensor_type argument_type(const struct decl *fn, const struct value *v) {
  struct tensor_type t = v->tensor->type;
  const struct type *declared = parameter_type(fn, v->name);
  if (t.dtype == BT_F64) t.dtype = BT_F32;
  if (t.dtype == BT_I64) t.dtype = BT_I32;
  dtype named;
  if (declared && declared->name && dtype_parse(declared->name, &named)) {
    t.dtype = named;
    if (!declared->has_dims && shape_count(&t.shape) == 1) t.shape.rank = 0;
  }
  return t;
}

static void check_scalar(struct btc *b, const struct program *p) {
  for (int i = 0; i < p->graph->outputs.len; i++) {
    const struct graph_output *o = &p->graph->outputs.data[i];
    if (o->kind == BT_OUTPUT_VALUE && str_eq(o->name, "out") && o->node->type.shape.rank > 0)
      diag_error(b, nowhere, "the result of '%s' is %s, so its gradients need a cotangent: a tensor 'dout' of that shape in the input file", p->name, type_text(b->arena, &o->node->type));
  }
}

struct program *eval_function(struct model *m, const char *function, const value_list *given, bool gradients) {
  struct btc *b = m->b;
  const struct decl *fn = model_signature(m, function);
  if (!fn) return NULL;
  struct named_type *args = NEW_ARRAY(b->arena, struct named_type, given->len + 1);
  int n = 0;
  for (int i = 0; i < given->len; i++) {
    const struct value *v = &given->data[i];
    bool is_parameter = parameter_type(fn, v->name) != NULL;
    if (!is_parameter && !(gradients && str_eq(v->name, "dout"))) continue;
    if (shape_count(&v->tensor->type.shape) == 0) return diag_error(b, nowhere, "tensor '%s' is %s in the file: it has no elements", v->name, shape_text(b->arena, &v->tensor->type.shape)), NULL;
    bool scalar = shape_count(&v->tensor->type.shape) == 1;
    args[n++] = (struct named_type){v->name, argument_type(fn, v), scalar ? v->tensor->data : NULL};
  }
  struct program *p = model_function(m, function, args, n, gradients);
  if (p && gradients && !values_find(given, "dout")) check_scalar(b, p);
  return b->n_errors ? NULL : p;
}

// ---- gradients --------------------------------------------------------------------------------

void eval_add_gradients(struct program *p) {
  struct graph *g = p->graph;
  VEC(struct node *) wrt = {0};
  for (int i = 0; i < g->nodes.len; i++)
    if (g->nodes.data[i]->op == OP_param) vec_push(g->b->arena, &wrt, g->nodes.data[i]);
  struct node **gradients = NEW_ARRAY(g->b->arena, struct node *, wrt.len + 1);
  graph_gradients(g, p->loss, NULL, wrt.data, wrt.len, gradients);
  for (int i = 0; i < wrt.len; i++)
    if (gradients[i]) graph_output(g, eval_name(g->b->arena, "grad.", wrt.data[i]->attr.s), BT_OUTPUT_VALUE, gradients[i]);
}

// ---- initial values ---------------------------------------------------------------------------

static struct tensor_type stored_type(const struct bt_tensor *t) {
  struct tensor_type type = {.dtype = t->dtype, .shape.rank = t->rank};
  memcpy(type.shape.dim, t->shape, sizeof type.shape.dim);
  return type;
}

static struct tensor64 *drawn(struct arena *a, const struct bt_tensor *t, uint64_t seed) {
  struct tensor_type type = stored_type(t);
  struct tensor64 *value = tensor64_new(a, &type);
  int64_t count = shape_count(&type.shape);
  void *raw = arena_alloc(a, (size_t)count * (size_t)dtype_size(type.dtype) + 1);
  bt_initialise(t, seed, raw);
  compiled_get(value->data, raw, type.dtype, count);
  return value;
}

static bool shape_fits(const struct shape *given, const struct shape *wanted) {
  return shape_eq(given, wanted) || (shape_count(given) == 1 && shape_count(wanted) == 1);
}

static struct tensor64 *initial(const struct eval *e, const struct bt_tensor *t) {
  struct btc *b = e->m->b;
  struct tensor_type type = stored_type(t);
  const struct tensor64 *given = values_find(e->given, eval_name(b->arena, "init.", t->name));
  if (!given) given = values_find(e->given, t->name);
  if (!given) return drawn(b->arena, t, e->seed);
  if (!shape_fits(&given->type.shape, &type.shape)) {
    diag_error(b, nowhere, "tensor '%s' is %s in the file, %s in the model", t->name, shape_text(b->arena, &given->type.shape), shape_text(b->arena, &type.shape));
    return NULL;
  }
  struct tensor64 *value = tensor64_new(b->arena, &type);
  memcpy(value->data, given->data, sizeof(double) * (size_t)shape_count(&type.shape));
  return value;
}

// An "init." name that no tensor has is a mistake: the run would start elsewhere than was asked.
static bool check_init_names(const struct eval *e) {
  struct btc *b = e->m->b;
  const char **names = NEW_ARRAY(b->arena, const char *, e->m->tensors.len);
  for (int i = 0; i < e->m->tensors.len; i++) names[i] = e->m->tensors.data[i].name;
  for (int i = 0; i < e->given->len; i++) {
    const char *name = e->given->data[i].name;
    if (strncmp(name, "init.", 5) != 0 || model_tensor(e->m, name + 5)) continue;
    const char *near = str_nearest(name + 5, names, e->m->tensors.len);
    if (near) diag_error(b, nowhere, "the model has no tensor '%s'; did you mean '%s'?", name + 5, near);
    else diag_error(b, nowhere, "the model has no tensor '%s'", name + 5);
  }
  return b->n_errors == 0;
}

bool eval_tensors(const struct eval *e, value_list *tensors) {
  if (!check_init_names(e)) return false;
  for (int i = 0; i < e->m->tensors.len; i++) {
    const struct bt_tensor *t = &e->m->tensors.data[i];
    struct tensor64 *value = initial(e, t);
    if (value) values_add(e->m->b->arena, tensors, t->name, value);
  }
  return e->m->b->n_errors == 0;
}

// ---- inputs -----------------------------------------------------------------------------------

struct feed { // what an input leaf and a bt_input say alike
  const char *name;
  enum bt_input_kind kind;
  int view, site;
  struct tensor_type type;
};

static struct feed feed_of_node(const struct node *n) {
  return (struct feed){n->attr.s, (enum bt_input_kind)n->attr.i[INPUT_KIND], (int)n->attr.i[INPUT_VIEW], (int)n->attr.i[INPUT_SITE], n->type};
}

static struct feed feed_of_input(const struct bt_input *in) {
  struct feed f = {in->name, in->kind, in->view, in->site, {.dtype = in->dtype, .shape.rank = in->rank}};
  memcpy(f.type.shape.dim, in->shape, sizeof f.type.shape.dim);
  return f;
}

static bool is_data(enum bt_input_kind kind) {
  return kind == BT_INPUT_VIEW || kind == BT_INPUT_LABEL || kind == BT_INPUT_ARRAY || kind == BT_INPUT_KEPT;
}

// Where the file has the data: under name@view.site, name@view or name.
static const struct tensor64 *find_data(const struct eval *e, const struct feed *f) {
  struct arena *a = e->m->b->arena;
  const struct tensor64 *t = NULL;
  if (f->kind == BT_INPUT_VIEW && f->view >= 0 && f->view < e->m->views.len) {
    const char *at = str_printf(a, "%s@%s", f->name, e->m->views.data[f->view].name);
    t = values_find(e->given, str_printf(a, "%s.%d", at, f->site));
    if (!t) t = values_find(e->given, at);
  }
  return t ? t : values_find(e->given, f->name);
}

// Whether `given` is `wanted` with one more axis in front, of steps.
static bool has_steps(const struct shape *given, const struct shape *wanted) {
  if (given->rank != wanted->rank + 1) return false;
  for (int i = 0; i < wanted->rank; i++)
    if (given->dim[i + 1] != wanted->dim[i]) return false;
  return true;
}

static const struct tensor64 *data_at(const struct eval *e, const struct feed *f, int64_t step, struct arena *a) {
  const struct tensor64 *t = find_data(e, f);
  int64_t count = shape_count(&f->type.shape);
  struct tensor64 *value = tensor64_new(a, &f->type);
  int64_t from = has_steps(&t->type.shape, &f->type.shape) ? step * count : 0;
  memcpy(value->data, t->data + from, sizeof(double) * (size_t)count);
  return value;
}

static double counter(const struct eval *e, enum bt_input_kind kind, int64_t step) {
  int epochs = e->p->epochs > 0 ? e->p->epochs : 1;
  switch (kind) {
  case BT_INPUT_STEP: return (double)step;
  case BT_INPUT_STEPS: return (double)e->steps;
  case BT_INPUT_EPOCH: return (double)step * epochs / (double)e->steps;
  case BT_INPUT_EPOCHS: return epochs;
  default: die("input kind %d is no counter", (int)kind);
  }
}

static const struct tensor64 *feed_value(const struct eval *e, const struct feed *f, int64_t step, struct arena *a) {
  if (is_data(f->kind)) return data_at(e, f, step, a);
  struct tensor64 *value = tensor64_new(a, &f->type);
  if (f->kind == BT_INPUT_KEY) value->data[0] = (double)bt_draw_key(e->seed), value->data[1] = (double)step;
  else value->data[0] = counter(e, f->kind, step);
  return value;
}

static bool check_feed(struct eval *e, const struct feed *f, int64_t *steps) {
  struct btc *b = e->m->b;
  const struct tensor64 *t = find_data(e, f);
  if (!t) {
    const char *near = values_nearest(b->arena, e->given, f->name);
    diag_error(b, nowhere, "the input file has no '%s' (%s)%s%s%s", f->name, type_text(b->arena, &f->type), near ? "; did you mean its '" : "", near ? near : "", near ? "'?" : "");
    return false;
  }
  const struct shape *given = &t->type.shape, *wanted = &f->type.shape;
  if (has_steps(given, wanted) && given->dim[0] == 0) return diag_error(b, nowhere, "'%s' has no steps in the file: it is %s", f->name, shape_text(b->arena, given)), false;
  if (has_steps(given, wanted) && (*steps == 0 || given->dim[0] < *steps)) *steps = given->dim[0];
  if (has_steps(given, wanted) || shape_fits(given, wanted)) return true;
  diag_error(b, nowhere, "'%s' is %s in the file, where %s is wanted%s", f->name, shape_text(b->arena, given), shape_text(b->arena, wanted), e->p->loss ? ", with an axis of steps in front or without" : "");
  return false;
}

// Checks that all data is there and settles how many steps there are.
static bool settle_steps(struct eval *e) {
  struct btc *b = e->m->b;
  int64_t available = 0;
  for (int i = 0; i < e->p->graph->nodes.len; i++) {
    const struct node *n = e->p->graph->nodes.data[i];
    if (n->op != OP_input) continue;
    struct feed f = feed_of_node(n);
    if (is_data(f.kind)) check_feed(e, &f, &available);
  }
  if (b->n_errors) return false;
  if (available && e->steps > available) return diag_error(b, nowhere, "%lld steps are asked for, the data has %lld", (long long)e->steps, (long long)available), false;
  if (e->steps == 0) e->steps = available ? available : 1;
  return true;
}

// ---- a step -----------------------------------------------------------------------------------

struct step_output { const char *name; enum bt_output_kind kind; struct tensor64 *tensor; };
typedef VEC(struct step_output) output_list;

struct run {
  struct eval *e;
  value_list tensors;         // as they stand
  struct compiled_frame frame;  // compiled code only
  int64_t step;
  struct arena *scratch;      // of one step
};

static const struct tensor64 *leaf_value(void *user, const struct node *n) {
  struct run *r = user;
  if (n->op == OP_input) {
    struct feed f = feed_of_node(n);
    return feed_value(r->e, &f, r->step, r->scratch);
  }
  const struct tensor64 *t = values_find(&r->tensors, n->attr.s);
  expect(t, "the model has no tensor '%s'", n->attr.s);
  return t;
}

static void interp_step(struct run *r, output_list *outputs) {
  const struct graph *g = r->e->p->graph;
  struct arena *a = r->e->m->b->arena;
  struct tensor64 **values = interp_run(g, r->scratch, false, leaf_value, r);
  for (int i = 0; i < g->outputs.len; i++) {
    const struct graph_output *o = &g->outputs.data[i];
    struct step_output out = {o->name, o->kind, tensor64_copy(a, values[o->node->id])};
    vec_push(a, outputs, out);
  }
  for (int i = 0; i < g->updates.len; i++) {
    const struct tensor64 *now = values[g->updates.data[i].node->id];
    struct tensor64 *kept = values_find(&r->tensors, g->updates.data[i].name);
    expect(kept, "update of '%s', which the model does not have", g->updates.data[i].name);
    memcpy(kept->data, now->data, sizeof(double) * (size_t)shape_count(&now->type.shape));
  }
}

static bool native_run_step(struct run *r, output_list *outputs) {
  const struct bt_program *p = r->frame.program;
  struct arena *a = r->e->m->b->arena;
  for (int i = 0; i < p->n_inputs; i++) {
    struct feed f = feed_of_input(&p->inputs[i]);
    compiled_put(r->frame.inputs[i], f.type.dtype, feed_value(r->e, &f, r->step, r->scratch)->data, shape_count(&f.type.shape));
  }
  const char *overrun = compiled_step(&r->frame);
  if (overrun) return diag_error(r->e->m->b, nowhere, "the compiled step of %s wrote outside of %s; this is a bug in btc", p->name, overrun), false;
  for (int i = 0; i < p->n_outputs; i++) {
    const struct bt_output *o = &p->outputs[i];
    struct tensor_type type = {.dtype = o->dtype, .shape.rank = o->rank};
    memcpy(type.shape.dim, o->shape, sizeof type.shape.dim);
    struct step_output out = {o->name, o->kind, tensor64_new(a, &type)};
    compiled_get(out.tensor->data, r->frame.outputs[i], o->dtype, shape_count(&type.shape));
    vec_push(a, outputs, out);
  }
  return true;
}

// Parameters and states between r->tensors and the store of compiled code.
static void copy_store(struct run *r, bool into_store) {
  const struct bt_module *module = r->frame.module;
  for (int i = 0; i < r->frame.program->n_tensors; i++) {
    const struct bt_tensor *t = &module->tensors[r->frame.program->tensors[i]];
    struct tensor64 *value = values_find(&r->tensors, t->name);
    expect(value, "the compiled module has a tensor '%s' that the model has not", t->name);
    int64_t count = shape_count(&value->type.shape);
    if (into_store) compiled_put(r->frame.frame.store + t->offset, t->dtype, value->data, count);
    else compiled_get(value->data, r->frame.frame.store + t->offset, t->dtype, count);
  }
}

// ---- a run ------------------------------------------------------------------------------------

static bool is_gradient(const struct step_output *o) {
  return o->kind == BT_OUTPUT_VALUE && strncmp(o->name, "grad.", 5) == 0;
}

static struct tensor64 *series(struct run *r, value_list *results, const char *name) {
  struct arena *a = r->e->m->b->arena;
  struct tensor64 *t = values_find(results, name);
  if (t) return t;
  struct tensor_type type = {.dtype = r->e->native ? BT_F32 : BT_F64, .shape = shape_of(1, r->e->steps)};
  t = tensor64_new(a, &type);
  values_add(a, results, name, t);
  return t;
}

// The interpreter's results are doubles, whatever the graph calls them.
static struct tensor64 *as_result(const struct run *r, struct tensor64 *t) {
  if (!r->e->native && t->type.dtype == BT_F32) t->type.dtype = BT_F64;
  return t;
}

static void record(struct run *r, const output_list *outputs, value_list *results) {
  struct arena *a = r->e->m->b->arena;
  for (int i = 0; i < outputs->len; i++) {
    struct step_output *o = &outputs->data[i];
    bool wanted = is_gradient(o) ? r->step == 0 : r->step == r->e->steps - 1;
    if (o->kind == BT_OUTPUT_LOSS) series(r, results, "losses")->data[r->step] = o->tensor->data[0];
    else if (o->kind == BT_OUTPUT_REPORT) series(r, results, eval_name(a, "report.", o->name))->data[r->step] = o->tensor->data[0];
    else if (wanted) values_add(a, results, o->name, as_result(r, o->tensor));
  }
}

// Tensors that the program has nothing to do with are not its result.
static bool program_has(const struct run *r, const char *name) {
  const struct graph *g = r->e->p->graph;
  for (int i = 0; i < g->updates.len; i++)
    if (str_eq(g->updates.data[i].name, name)) return true;
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    if ((n->op == OP_param || n->op == OP_state) && str_eq(n->attr.s, name)) return true;
  }
  return false;
}

static void record_final(struct run *r, value_list *results) {
  struct arena *a = r->e->m->b->arena;
  for (int i = 0; i < r->tensors.len; i++) {
    const struct value *v = &r->tensors.data[i];
    if (program_has(r, v->name)) values_add(a, results, eval_name(a, "final.", v->name), as_result(r, v->tensor));
  }
}

static bool run_steps(struct run *r, value_list *results) {
  bool good = true;
  for (r->step = 0; good && r->step < r->e->steps; r->step++) {
    output_list outputs = {0};
    r->scratch = arena_new();
    if (r->e->native) good = native_run_step(r, &outputs);
    else interp_step(r, &outputs);
    arena_free(r->scratch);
    if (good) record(r, &outputs, results);
  }
  return good;
}

bool eval_run(struct eval *e, value_list *results) {
  struct run r = {.e = e};
  if (!eval_tensors(e, &r.tensors) || !settle_steps(e)) return false;
  if (e->native) {
    const struct bt_program *compiled = compiled_program(e->native, e->p->name);
    expect(compiled, "the compiled module has no program '%s'", e->p->name);
    compiled_frame_new(&r.frame, e->native, compiled);
    copy_store(&r, true);
  }
  bool good = run_steps(&r, results);
  if (e->native) {
    copy_store(&r, false);
    compiled_frame_free(&r.frame);
  }
  if (good) record_final(&r, results);
  return good;
}
