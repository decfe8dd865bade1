// elab_optim.c: the training step as one graph: gradients of the loss, and the optimiser's module
// applied to each parameter and its gradient. An optimiser's states belong to (program, parameter):
// optimizer.<program>.<parameter>.<state>.
#include <string.h>

#include "elab.h"

typedef VEC(struct node *) node_list;

// `on head.layer1` restricts to that path and what lies under it.
static bool path_covers(const char *path, const char *name) {
  size_t n = strlen(path);
  return strncmp(path, name, n) == 0 && (name[n] == '.' || name[n] == '\0');
}

bool optimizer_selects(struct elab *e, const struct optimizer *o, const char *name) {
  for (int i = 0; i < o->on.len; i++)
    if (path_covers(path_text(e->b->arena, &o->on.data[i]), name)) return true;
  return o->on.len == 0;
}

static node_list parameters_of(struct elab *e, const struct graph *g, const struct optimizer *o) {
  node_list list = {0};
  for (int i = 0; i < g->nodes.len; i++) {
    struct node *n = g->nodes.data[i];
    if (n->op == OP_param && dtype_is_float(n->type.dtype) && optimizer_selects(e, o, n->attr.s))
      vec_push(e->b->arena, &list, n);
  }
  return list;
}

// Every path after `on` must select something that gets a gradient.
static void check_selection(struct elab *e, const struct optimizer *o, const node_list *params,
                            struct node *const *grads) {
  bool any = false;
  for (int i = 0; i < params->len; i++) any |= grads[i] != NULL;
  for (int k = 0; any && k < o->on.len; k++) {
    const char *path = path_text(e->b->arena, &o->on.data[k]);
    bool found = false;
    for (int i = 0; i < params->len; i++)
      found |= grads[i] && path_covers(path, params->data[i]->attr.s);
    if (!found)
      elab_error(e, NULL, o->on.data[k].loc, "no parameter of `%s` gets a gradient in `%s`: what is minimised does not depend on it, "
                 "or only through `frozen` or `stop_gradient`", path,
                 e->program->name);
  }
  if (!any)
    elab_error(e, NULL, o->loc,
               "there is nothing to train: no parameter%s gets a gradient from what `%s` minimises",
               o->on.len ? " after `on`" : "", e->program->name);
}

static struct instance *optimizer_instance(struct elab *e, const struct optimizer *o,
                                           const char *param) {
  struct instance *in = NEW(e->b->arena, struct instance);
  *in = (struct instance){.module = o->rule.entry, .config = o->rule.config, .loc = o->loc};
  in->path = str_printf(e->b->arena, "optimizer.%s.%s", e->program->name, param);
  return in;
}

static bool update_parameter(struct elab *e, const struct optimizer *o, struct frame *f,
                             struct node *w, struct node *dw) {
  struct value rule = {
      .kind = V_INSTANCE, .loc = o->loc, .instance = optimizer_instance(e, o, w->attr.s)};
  struct given given[2] = {
      {.value = value_tensor(o->loc, w), .loc = o->loc, .present = true},
      {.value = value_tensor(o->loc, dw), .loc = o->loc, .present = true},
  };
  struct value next = apply_given(e, f, rule, given, 2, o->loc);
  if (next.kind == V_ERROR) return false;
  if (next.kind != V_TENSOR || !type_eq(&next.node->type, &w->type)) {
    elab_error(e, f, o->loc, "the optimizer makes %s of the parameter `%s`, %s; its result must have the same type",
               value_text(e, &next), w->attr.s, type_text(e->b->arena, &w->type));
    return false;
  }
  graph_update(e->graph, w->attr.s, next.node);
  return true;
}

static void differentiate(struct elab *e, struct program *p, const struct optimizer *o) {
  node_list params = parameters_of(e, p->graph, o);
  struct node **grads = NEW_ARRAY(e->b->arena, struct node *, params.len + 1);
  int errors = e->b->n_errors;
  graph_gradients(p->graph, p->loss, NULL, params.data, params.len, grads);
  check_selection(e, o, &params, grads);
  if (e->b->n_errors > errors) return;
  struct frame *f = frame_push(e, o->frame, o->frame->unit, NULL, o->loc);
  f->state_role = BT_OPTIMIZER;
  for (int i = 0; i < params.len; i++) {
    if (!grads[i]) continue;
    graph_label(p->graph, str_printf(e->b->arena, "d_%s", params.data[i]->attr.s), grads[i]);
    if (!update_parameter(e, o, f, params.data[i], grads[i])) return; // the rest would say the same
  }
  averages_follow(e);
}

void model_differentiate(struct model *m, struct program *p) {
  struct elab *e = m->elab;
  const struct optimizer *o = p->optimizer;
  if (!p->loss || !o) return;
  e->program = p;
  e->graph = p->graph;
  e->minimizes = true;
  e->reported.len = 0;
  differentiate(e, p, o);
  p->optimizer = NULL; // done
  e->graph = NULL;
  e->program = NULL;
}
