// elab_ema.c: averages of instances: target = ema(encoder, decay: d), the exponential moving average of
// BYOL (Grill et al., 2020) and of MoCo (He et al., 2020).
//
// An average is the modules of its instances, applied with other tensors: where a module would read
// encoder.conv1.weight it reads target.conv1.weight, a state, so nothing differentiates by it. States are
// doubled like parameters: running statistics follow the applications of the average. What a step changed
// of the instances, and what the average's own applications did not change, follows behind the optimiser:
//
//     target' = d · target + (1 − d) · encoder'
//
// Every tensor of an average starts as a copy of its source's (bt_tensor.copy_of).
#include <string.h>

#include "elab.h"

// ---- making one -------------------------------------------------------------------------------

// Every instance in `v`, with its place in lists. False after a diagnostic.
static bool collect_roots(struct elab *e, struct frame *f, struct average *a, const struct value *v,
                          const char *under, struct loc loc) {
  if (v->kind == V_INSTANCE && v->average) {
    elab_error(e, f, loc, "`%s` is an average already; `ema` takes what is trained",
               v->average->path ? v->average->path : "ema");
    return false;
  }
  if (v->kind == V_INSTANCE) {
    struct average_root root = {.of = v->instance->path, .under = under};
    vec_push(e->b->arena, &a->roots, root);
    return true;
  }
  if (v->kind == V_FN || v->kind == V_BUILTIN) return true;
  if (v->kind != V_LIST) {
    elab_error(e, f, loc, "`ema` averages an instance or a list of them, not %s%s", value_text(e, v),
               v->kind == V_MODULE ? "; bind it first, and train it" : "");
    return false;
  }
  for (int i = 0; i < v->list->len; i++) {
    const char *place = str_printf(e->b->arena, "%s.%d", under, i);
    if (!collect_roots(e, f, a, &v->list->data[i], place, loc)) return false;
  }
  return true;
}

static bool decay_fits(struct elab *e, struct frame *f, const struct value *v, struct loc loc) {
  if (value_is_number(v) && value_number(v) >= 0 && value_number(v) <= 1) return true;
  if (v->kind == V_TENSOR && value_rank(v) == 0 && v->node->type.dtype == BT_F32) return true;
  elab_error(e, f, loc, "the decay of an average is a number from 0 to 1, or one f32 number of the step, not %s",
             value_text(e, v));
  return false;
}

// The argument after `decay:`, or the second.
static const struct expr *decay_argument(const arg_list *args) {
  for (int i = 0; i < args->len; i++)
    if (args->data[i].label ? str_eq(args->data[i].label, "decay") : i == 1) return args->data[i].value;
  die("ema without its decay");
}

struct value average_value(struct elab *e, struct frame *f, const struct expr *x) {
  static const struct label labels[] = {{.name = "instance", .required = true},
                                        {.name = "decay", .required = true}};
  struct given given[2];
  if (e->checking) {
    args_match(e, f, &x->args, x->loc, "`ema`", labels, 2, given);
    return value_error();
  }
  if (e->graph) {
    elab_error(e, f, x->loc,
               "an average is bound at the top of the file, where programs share it: `target = ema(encoder, "
               "decay: 0.99)`");
    return value_error();
  }
  // The decay may be a value of the step. Here it is tried in a step that nobody takes.
  struct program nobody = {.name = "decay", .graph = graph_new(e->b, "decay")};
  e->program = &nobody;
  e->graph = nobody.graph;
  bool ok = args_match(e, f, &x->args, x->loc, "`ema`", labels, 2, given);
  e->graph = NULL;
  e->program = NULL;
  if (!ok || !decay_fits(e, f, &given[1].value, given[1].loc)) return value_error();
  struct average *a = NEW(e->b->arena, struct average);
  *a = (struct average){.loc = x->loc, .decay = decay_argument(&x->args), .frame = f};
  if (!collect_roots(e, f, a, &given[0].value, "", given[0].loc)) return value_error();
  if (a->roots.len == 0) {
    elab_error(e, f, given[0].loc, "there is no instance in %s to average", value_text(e, &given[0].value));
    return value_error();
  }
  vec_push(e->b->arena, &e->averages, a);
  struct value v = value_applied(e, given[0].value, MODE_INHERIT, a);
  v.loc = x->loc;
  return v;
}

// ---- names ------------------------------------------------------------------------------------

// Under an instance that is averaged, the rest of the path; elsewhere (an instance that another one was
// configured with) the whole of it.
const char *average_path(struct elab *e, const struct average *a, const char *path) {
  if (!a->path || !path) return NULL;
  for (int i = 0; i < a->roots.len; i++) {
    const struct average_root *r = &a->roots.data[i];
    size_t n = strlen(r->of);
    if (strncmp(path, r->of, n) == 0 && (path[n] == '.' || path[n] == '\0'))
      return str_printf(e->b->arena, "%s%s%s", a->path, r->under, path + n);
  }
  return str_printf(e->b->arena, "%s.%s", a->path, path);
}

// ---- following --------------------------------------------------------------------------------

static struct node *update_of(const struct graph *g, const char *name, int n_updates) {
  for (int i = 0; i < n_updates; i++)
    if (str_eq(g->updates.data[i].name, name)) return g->updates.data[i].node;
  return NULL;
}

static bool follow(struct elab *e, const struct average *a, int tensor, struct node *source) {
  const char *name = e->model->tensors.data[tensor].name;
  if (!dtype_is_float(source->type.dtype)) {
    graph_update(e->graph, name, source);
    return true;
  }
  struct frame *f = a->frame;
  struct loc loc = a->decay->loc;
  f->address = a->path;
  graph_at(e, f, loc);
  struct value old = value_tensor(loc, current_tensor(e, tensor)), new = value_tensor(loc, source);
  struct value d = expr_value(e, f, a->decay);
  if (d.kind == V_TENSOR) d.node = g_cast(e->graph, d.node, source->type.dtype);
  struct value rest = binary_value(e, f, OP_SUB, loc, value_int(loc, 1), d);
  struct value kept = binary_value(e, f, OP_MUL, loc, d, old);
  struct value next = binary_value(e, f, OP_ADD, loc, kept, binary_value(e, f, OP_MUL, loc, rest, new));
  f->address = NULL;
  if (next.kind == V_ERROR) return false;
  graph_update(e->graph, name, next.node);
  return true;
}

void averages_follow(struct elab *e) {
  const struct model *m = e->model;
  int changed = e->graph->updates.len;
  for (int i = 0; i < m->tensors.len; i++) {
    const struct average *a = e->sites.data[i].average;
    struct node *source = a ? update_of(e->graph, m->tensors.data[i].copy_of, changed) : NULL;
    if (source && !update_of(e->graph, m->tensors.data[i].name, changed) && !follow(e, a, i, source)) return;
  }
}
