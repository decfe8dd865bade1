// elab_scope.c: names and where they lead: frames with their locals, constants and instances
// evaluated on demand; and how mistakes are reported.
#include <string.h>

#include "elab.h"

enum { FRAME_MAX_DEPTH = 200, ENTRIES_NESTED_MOST = 400, CALL_NOTES = 6, CANDIDATES = 512, REPEATED_MOST = 1000 };

// ---- diagnostics ------------------------------------------------------------------------------

bool same_place(struct loc a, struct loc b) {
  return a.file == b.file && a.line == b.line && a.column == b.column;
}

static bool already_said(const struct btc *b, struct loc loc, const char *message) {
  for (int i = 0; i < b->diags.len; i++) {
    const struct diag *d = &b->diags.data[i];
    if (d->severity != SEV_NOTE && same_place(d->loc, loc) && strcmp(d->message, message) == 0)
      return true;
  }
  return false;
}

static const char *frame_what(struct elab *e, const struct frame *f) {
  if (f->instance && f->instance->path)
    return str_printf(e->b->arena, "`%s`, a `%s`", f->instance->path, f->decl->name.name);
  return str_printf(e->b->arena, "`%s`", f->decl->name.name);
}

static void note_calls(struct elab *e, const struct frame *f, struct loc error) {
  int n = 0;
  for (; f && f->caller && n < CALL_NOTES; f = f->caller)
    if (f->decl && f->call.line && !same_place(f->call, error))
      diag_note(e->b, f->call, "in %s, applied here", frame_what(e, f)), n++;
}

void elab_error(struct elab *e, const struct frame *f, struct loc loc, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  const char *message = str_vprintf(e->b->arena, format, ap);
  va_end(ap);
  e->muted = e->exhausted || already_said(e->b, loc, message); // what is not evaluated seems to lack
  if (e->muted && ++e->repeated > REPEATED_MOST) e->exhausted = true; // each costs a search for similar names
  if (e->muted) return;
  diag_error(e->b, loc, "%s", message);
  note_calls(e, f && f->reports_as ? f->reports_as : f, loc);
}

void elab_note(struct elab *e, struct loc loc, const char *format, ...) {
  if (e->muted || !loc.line) return;
  va_list ap;
  va_start(ap, format);
  const char *message = str_vprintf(e->b->arena, format, ap);
  va_end(ap);
  // The last diagnostic may be the same note: one axis on both sides of a conflict.
  const struct diag *last = e->b->diags.len ? &e->b->diags.data[e->b->diags.len - 1] : NULL;
  if (last && same_place(last->loc, loc) && strcmp(last->message, message) == 0) return;
  diag_note(e->b, loc, "%s", message);
}

void elab_fixit(struct elab *e, const char *replacement) {
  if (!e->muted) diag_fixit(e->b, replacement);
}

void elab_note_fixit(struct elab *e, const char *replacement) {
  if (!e->muted) diag_note_fixit(e->b, replacement);
}

void elab_warning(struct elab *e, struct loc loc, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  const char *message = str_vprintf(e->b->arena, format, ap);
  va_end(ap);
  e->muted = already_said(e->b, loc, message);
  if (!e->muted) diag_warning(e->b, loc, "%s", message);
}

const char *did_you_mean(struct elab *e, const char *word, const char *const *candidates, int n) {
  const char *near = str_nearest(word, candidates, n);
  return near ? str_printf(e->b->arena, "; did you mean `%s`?", near) : "";
}

// ---- frames -----------------------------------------------------------------------------------

struct frame *frame_push(struct elab *e, struct frame *caller, struct unit *u, const struct decl *d,
                         struct loc call) {
  struct frame *f = NEW(e->b->arena, struct frame);
  *f = (struct frame){.caller = caller, .unit = u, .decl = d, .call = call};
  f->state_role = BT_STATE;
  if (!caller) return f;
  f->depth = caller->depth + 1;
  f->training = caller->training;
  f->address = caller->address;
  f->prefix = caller->prefix;
  f->average = caller->average;
  f->within = caller->within;
  f->state_role = caller->state_role;
  if (f->depth < FRAME_MAX_DEPTH) return f;
  elab_error(e, NULL, call, "calls nest deeper than %d levels", FRAME_MAX_DEPTH);
  return NULL;
}

void frame_bind(struct elab *e, struct frame *f, const char *name, struct loc loc, struct value v) {
  struct binding b = {.name = name, .value = v, .loc = loc}, *before = frame_find(f, name);
  if (before) *before = b; // a loop binds its names many times
  else vec_push(e->b->arena, &f->locals, b);
}

struct loc parting_call(const struct frame *was, const struct frame *now) {
  const struct frame *first = was;
  while (was->caller && now->caller && (!was->call.line || same_place(was->call, now->call)))
    was = was->caller, now = now->caller;
  return was->call.line ? was->call : first->call;
}

struct binding *frame_find(struct frame *f, const char *name) {
  for (int i = f->locals.len - 1; i >= 0; i--)
    if (str_eq(f->locals.data[i].name, name)) return &f->locals.data[i];
  return NULL;
}

// The import that is called `name`, or NULL.
static const struct import *import_as(const struct unit *u, const char *name) {
  for (int i = 0; i < u->imports.len; i++)
    if (str_eq(u->imports.data[i].as, name)) return &u->imports.data[i];
  return NULL;
}

bool name_bindable(struct elab *e, struct frame *f, const char *name, struct loc loc) {
  if (frame_find(f, name)) return true;
  struct axis *axis = frame_axis(f, name);
  if (axis) {
    elab_error(e, f, loc, "`%s` names an axis here; a local cannot take its name", name);
    elab_note(e, axis->loc, "the axis");
    return false;
  }
  struct pack *pack = frame_pack(f, name);
  if (pack) {
    elab_error(e, f, loc, "`..%s` names axes here; a local cannot take its name", name);
    elab_note(e, pack->loc, "the axes");
    return false;
  }
  struct entry *n = unit_entry(f->unit, name);
  const struct import *file = import_as(f->unit, name);
  if (file || (n && n->decl->kind != D_CONST)) {
    elab_error(
        e, f, loc,
        "`%s` is declared in this file or its imports; only locals and constants may be shadowed",
        name);
    elab_note(e, file ? file->loc : n->decl->name.loc, "the declaration");
    return false;
  }
  if (builtin_find(name) || builtin_word(name)) {
    elab_error(e, f, loc,
               "`%s` is a word of the language; only locals and constants may be shadowed", name);
    return false;
  }
  return true;
}

void local_bind(struct elab *e, struct frame *f, const char *name, struct loc loc, struct value v) {
  frame_bind(e, f, name, loc, name_bindable(e, f, name, loc) ? v : value_error());
}

void graph_at(struct elab *e, const struct frame *f, struct loc loc) {
  e->graph->loc = loc;
  e->graph->path = f->address;
}

bool needs_graph(struct elab *e, const struct frame *f, struct loc loc, const char *what) {
  if (e->graph) return true;
  elab_error(e, f, loc, "%s exists only inside a program", what);
  return false;
}

// ---- values of names --------------------------------------------------------------------------

// The chain of activations from the one that runs `n` to f: a function may not lead to itself.
static bool recursion(struct elab *e, struct frame *f, const struct entry *n, struct loc loc) {
  struct frame *top = f;
  while (top && top->decl != n->decl) top = top->caller;
  if (!top) return false;
  const char *chain = n->name;
  for (struct frame *g = f; g != top; g = g->caller)
    if (g->decl) chain = str_printf(e->b->arena, "%s -> %s", g->decl->name.name, chain);
  elab_error(e, NULL, loc,
             "`%s` leads back to itself: %s -> %s; calls are inlined, so they cannot recurse",
             n->name, n->name, chain);
  elab_note(e, n->decl->name.loc, "`%s` is declared here", n->name);
  return true;
}

static void bound_wrong(struct elab *e, struct frame *f, const struct entry *n,
                        const struct value *v) {
  struct loc loc = n->decl->value->loc;
  if (v->kind == V_MODULE)
    elab_error(e, f, loc, "`%s` is a module; `%s = %s(…)` configures it and binds an instance",
               v->entry->name, n->name, v->entry->name);
  else {
    elab_error(e, f, n->decl->name.loc,
               "`%s = …` binds an instance, but this is %s; a constant is written `const %s = …`",
               n->name, value_text(e, v), n->name);
    elab_fixit(e, str_printf(e->b->arena, "const %s", n->name));
  }
}

static struct value evaluate_entry(struct elab *e, struct entry *n) {
  struct frame *f = frame_push(e, NULL, n->unit, NULL, (struct loc){0});
  struct graph *graph = e->graph;
  e->graph = NULL; // constants and instances are the file's, not a program's
  struct value v = expr_value(e, f, n->decl->value);
  if (v.kind != V_ERROR && n->decl->type &&
      !type_bind(e, f, n->decl->type, &v, f, n->decl->value->loc,
                 str_printf(e->b->arena, "`%s`", n->name)))
    v = value_error();
  if (v.kind != V_ERROR && n->decl->kind == D_INSTANCE) {
    struct value bound = instance_bind(e, f, v, n->name, n->decl->name.loc, NULL);
    if (bound.kind == V_ERROR) bound_wrong(e, f, n, &v);
    v = bound;
  }
  e->graph = graph;
  return v;
}

struct value entry_value(struct elab *e, struct frame *f, struct entry *n, struct loc loc) {
  switch (n->decl->kind) {
  case D_FN:
    if (recursion(e, f, n, loc)) return value_error();
    return (struct value){.kind = V_FN, .loc = loc, .entry = n};
  case D_MODULE:
    if (recursion(e, f, n, loc)) return value_error();
    return (struct value){.kind = V_MODULE, .loc = loc, .entry = n};
  case D_VIEW: return (struct value){.kind = V_VIEW, .loc = loc, .entry = n};
  case D_PROGRAM:
    elab_error(e, f, loc, "`%s` is a program, not a value", n->name);
    return value_error();
  default: break;
  }
  if (n->state == ENTRY_BUSY) {
    elab_error(e, f, loc, "`%s` is defined by itself", n->name);
    elab_note(e, n->decl->name.loc, "declared here");
    n->value = value_error();
    n->state = ENTRY_DONE;
  }
  if (n->state == ENTRY_UNSEEN) {
    if (e->nesting >= ENTRIES_NESTED_MOST) {
      elab_error(e, f, loc, "declarations need one another deeper than %d levels",
                 ENTRIES_NESTED_MOST);
      return value_error();
    }
    n->state = ENTRY_BUSY;
    e->nesting++;
    struct value v = evaluate_entry(e, n);
    e->nesting--;
    if (n->state == ENTRY_BUSY) n->value = v;
    n->state = ENTRY_DONE;
  }
  struct value v = n->value;
  v.loc = loc;
  return v;
}

static struct value pack_value(struct elab *e, const struct pack *p, struct loc loc) {
  struct value v = value_list(e, loc, V_LIST);
  for (int i = 0; i < p->n; i++) {
    struct value size = value_int(loc, p->axes[i]->size);
    size.axis = p->axes[i];
    value_append(e, &v, size);
  }
  return v;
}

static struct value local_value(struct elab *e, struct frame *f, const char *name, const struct binding *b,
                                struct loc loc) {
  struct value v = b->value;
  v.loc = loc;
  if (e->graph && f->decl && f->decl->kind == D_PROGRAM) v = step_value(e, f, name, v);
  // A size given as configuration and used in a type is that axis's name too.
  struct axis *axis = v.kind == V_INT && !v.axis ? frame_axis(f, name) : NULL;
  if (axis && axis->size == v.integer) v.axis = axis;
  return v;
}

static int unit_names(const struct unit *u, const char **out, int n) {
  for (int i = 0; i < u->entries.len && n < CANDIDATES; i++) out[n++] = u->entries.data[i]->name;
  for (int i = 0; i < u->imports.len && n < CANDIDATES; i++) {
    if (u->imports.data[i].as)
      out[n++] = u->imports.data[i].as;
    else
      n = unit_names(u->imports.data[i].unit, out, n);
  }
  return n;
}

static int visible_names(struct frame *f, const char **out) {
  int n = 0;
  for (int i = 0; i < f->locals.len && n < CANDIDATES; i++) out[n++] = f->locals.data[i].name;
  for (int i = 0; i < f->axes.len && n < CANDIDATES; i++) out[n++] = f->axes.data[i]->name;
  n = unit_names(f->unit, out, n);
  return n + builtin_names(out + n, CANDIDATES - n);
}

static struct value unknown_name(struct elab *e, struct frame *f, const char *name,
                                 struct loc loc) {
  if (f->unit->incomplete) return value_error(); // it may be what a missing import has
  const char *names[CANDIDATES];
  int n = visible_names(f, names);
  const char *library = std_file_with(e, name);
  if (library) {
    elab_error(e, f, loc, "unknown name `%s`; the standard library has it: `import std.%s`", name,
               library);
    return value_error();
  }
  const char *here = builtin_elsewhere(name);
  if (here) {
    elab_error(e, f, loc, "unknown name `%s`; here it is %s", name, here);
    return value_error();
  }
  const char *near = str_nearest(name, names, n);
  elab_error(e, f, loc, "unknown name `%s`%s", name, did_you_mean(e, name, names, n));
  if (near) elab_fixit(e, near);
  return value_error();
}

struct value name_value(struct elab *e, struct frame *f, const char *name, struct loc loc) {
  struct binding *b = frame_find(f, name);
  if (b) return local_value(e, f, name, b, loc);
  struct axis *axis = frame_axis(f, name);
  if (axis) {
    struct value v = value_int(loc, axis->size);
    v.axis = axis;
    return v;
  }
  struct pack *p = frame_pack(f, name);
  if (p) return pack_value(e, p, loc);
  struct entry *n = unit_entry(f->unit, name);
  if (n) {
    struct value v = entry_value(e, f, n, loc);
    return e->checking && n->decl->kind == D_CONST ? value_error() : v;
  }
  const struct import *file = import_as(f->unit, name);
  if (file) return (struct value){.kind = V_UNIT, .loc = loc, .unit = file->unit};
  if (str_eq(name, "training")) return e->checking ? value_error() : value_bool(loc, f->training);
  const struct builtin *built = builtin_find(name);
  if (built) return (struct value){.kind = V_BUILTIN, .loc = loc, .builtin = built};
  enum bt_input_kind kind;
  if (builtin_input(name, &kind)) {
    if (!needs_graph(e, f, loc, str_printf(e->b->arena, "`%s`", name))) return value_error();
    graph_at(e, f, loc);
    return value_tensor(
        loc, program_input(e, name, kind, -1, 0, &(struct tensor_type){.dtype = BT_F32}));
  }
  return unknown_name(e, f, name, loc);
}
