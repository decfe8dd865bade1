// elab_check.c: bodies that nothing applies. Without arguments there are no shapes, so such a body is run on
// poisoned values: parameters, sizes and constants are not known, every branch is taken, loops are run once,
// and no call is followed. What is left to say is true of every application: names that do not exist, labels
// and counts of arguments, what stands where it cannot.
#include "elab.h"

// Names in a type: axes that it introduces are bound, what else it says is evaluated.
void check_type(struct elab *e, struct frame *f, const struct type *t) {
  for (int i = 0; t && i < t->dims.len; i++) {
    const struct dim_syntax *d = &t->dims.data[i];
    const char *name = d->kind == DIM_PACK                                      ? d->name
                       : d->kind == DIM_EXPR && d->expr->kind == E_NAME ? d->expr->string
                                                                                : NULL;
    if (name && !frame_find(f, name) && !unit_entry(f->unit, name))
      frame_bind(e, f, name, d->loc, value_error());
    else if (d->kind == DIM_EXPR)
      expr_value(e, f, d->expr);
  }
}

static void check_return(struct elab *e, struct frame *f, const struct stmt *s) {
  int declared = f->decl->results.len;
  for (int i = 0; i < s->values.len; i++) expr_value(e, f, s->values.data[i]);
  if (s->values.len < 2 || declared == 0 || declared == s->values.len) return;
  elab_error(e, f, s->loc, "`%s` returns %d values, but declares %d", f->decl->name.name, s->values.len, declared);
  elab_note(e, f->decl->results.data[0]->loc, "declared here");
}

static bool check_statement(struct elab *e, struct frame *f, const struct stmt *s) {
  bool owns = s->kind == S_PARAM || s->kind == S_STATE || s->kind == S_BIND;
  if (owns && f->decl->kind != D_MODULE) return body_statement(e, f, s);
  switch (s->kind) {
  case S_PARAM:
  case S_STATE: check_type(e, f, s->type); // fall through
  case S_BIND:
    expr_value(e, f, s->value);
    local_bind(e, f, s->name.name, s->name.loc, value_error());
    if (s->kind == S_STATE) frame_find(f, s->name.name)->state = s->name.name;
    return true;
  case S_RETURN: check_return(e, f, s); return true;
  case S_REPORT: expr_value(e, f, s->value); return true;
  default: return body_statement(e, f, s);
  }
}

static void check_params(struct elab *e, struct frame *f, const param_list *params) {
  for (int i = 0; i < params->len; i++) {
    const struct param_decl *p = &params->data[i];
    check_type(e, f, p->type);
    if (p->default_value) expr_value(e, f, p->default_value);
    frame_bind(e, f, p->name, p->loc, value_error());
  }
}

static void check_body(struct elab *e, struct unit *u, const struct decl *d) {
  struct frame *f = frame_push(e, NULL, u, d, (struct loc){0});
  check_params(e, f, &d->config);
  check_params(e, f, &d->inputs);
  if (d->value)
    expr_value(e, f, d->value);
  else if (d->kind == D_VIEW)
    view_check(e, f, d->body);
  else
    block_run(e, f, d->body, check_statement);
}

void check_unapplied(struct elab *e) {
  struct program nobody = {.name = "check", .graph = graph_new(e->b, "check")};
  e->program = &nobody;
  e->graph = nobody.graph;
  e->checking = true;
  for (int i = 0; i < e->units.len; i++)
    for (int k = 0; k < e->units.data[i]->entries.len; k++) {
      const struct entry *n = e->units.data[i]->entries.data[k];
      enum decl_kind kind = n->decl->kind;
      if (!n->applied && (kind == D_FN || kind == D_MODULE || kind == D_VIEW))
        check_body(e, e->units.data[i], n->decl);
    }
  e->checking = false;
  e->graph = NULL;
  e->program = NULL;
}
