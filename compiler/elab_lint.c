// elab_lint.c: state updates that no gradient accompanies.
//
// stop_gradient(encoder(x)) in a program that trains applies the encoder as if it trained: batch norm normalises
// by the batch and counts it in its running statistics. So does an encoder that only a report reads, and one that
// the optimiser's `on` leaves out. What is meant is mostly frozen(encoder)(x) or eval(encoder)(x).
//
// What is judged is the application of an instance, or of a list of them, as a whole: from its result a path that has a
// gradient must lead to the loss, and one of the parameters that it read must be trained. An instance without
// parameters (a queue, a centre, a counter) has states for their own sake; an average follows its source.
#include "elab.h"

// Items of a list are applied at the list's place; what stands in its arguments is applied elsewhere.
struct application *lint_application(struct elab *e, const struct frame *f, struct loc call) {
  if (f->within || !e->minimizes || !f->training || f->state_role != BT_STATE) return f->within;
  if (f->list && same_place(f->list->call, call)) return f->list;
  struct application *a = NEW(e->b->arena, struct application);
  *a = (struct application){.call = call};
  vec_push(e->b->arena, &e->trained, a);
  return a;
}

// A part may be applied in evaluation mode, or be an average's.
static bool trains(const struct frame *f) { return f->within && f->training && !f->average; }

void lint_parameter(struct elab *e, const struct frame *f, const char *name) {
  if (trains(f)) vec_push(e->b->arena, &f->within->parameters, name);
}

void lint_update(const struct frame *f, const char *state, struct loc loc) {
  if (!trains(f) || f->within->state) return;
  f->within->state = state;
  f->within->update = loc;
}

// By node id: a path on which every op has a gradient leads to the loss.
static bool *reach_loss(struct elab *e, const struct graph *g, const struct node *loss) {
  bool *reach = NEW_ARRAY(e->b->arena, bool, g->nodes.len + 1);
  reach[loss->id] = true;
  for (int i = loss->id; i >= 0; i--) {
    const struct node *n = g->nodes.data[i];
    if (!reach[i] || op_info(n->op)->gradient == NOGRAD) continue;
    for (int k = 0; k < n->n_in; k++)
      if (dtype_is_float(n->in[k]->type.dtype)) reach[n->in[k]->id] = true;
  }
  return reach;
}

static bool result_reaches(const struct value *v, const bool *reach) {
  for (int i = 0; v->kind == V_TUPLE && i < v->list->len; i++)
    if (result_reaches(&v->list->data[i], reach)) return true;
  return v->kind == V_TENSOR && reach[v->node->id];
}

static bool any_selected(struct elab *e, const struct optimizer *o, const struct application *a) {
  for (int i = 0; i < a->parameters.len; i++)
    if (optimizer_selects(e, o, a->parameters.data[i])) return true;
  return false;
}

void lint_program(struct elab *e) {
  const struct program *p = e->program;
  if (e->b->n_errors || !p->loss || !p->optimizer) return;
  const bool *reach = reach_loss(e, e->graph, p->loss);
  for (int i = 0; i < e->trained.len; i++) {
    const struct application *a = e->trained.data[i];
    if (!a->state || a->parameters.len == 0) continue;
    bool passes = result_reaches(&a->result, reach);
    if (passes && any_selected(e, p->optimizer, a)) continue;
    elab_warning(e, a->call,
                 "this application updates the state `%s`, but %s; if it is not to train, `frozen(…)` or `eval(…)` "
                 "leaves its states alone",
                 a->state, passes ? "`on` leaves its parameters out" : "no gradient passes through it");
    elab_note(e, a->update, "the update");
  }
}
