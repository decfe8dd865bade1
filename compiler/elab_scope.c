// elab_scope.c: names and where they lead: files and their imports, constants evaluated on demand,
// frames with their locals; and how mistakes are reported.
#include <stdlib.h>
#include <string.h>

#include "elab.h"

enum { FRAME_MAX_DEPTH = 200, CALL_NOTES = 6, CANDIDATES = 512 };

// ---- diagnostics ------------------------------------------------------------------------------

static bool same_place(struct loc a, struct loc b) {
  return a.file == b.file && a.line == b.line && a.column == b.column;
}

static bool already_said(const struct btc *b, struct loc loc, const char *message) {
  for (int i = 0; i < b->diags.len; i++) {
    const struct diag *d = &b->diags.data[i];
    if (d->severity != SEV_NOTE && same_place(d->loc, loc) && strcmp(d->message, message) == 0) return true;
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
    if (f->decl && f->call.line && !same_place(f->call, error)) diag_note(e->b, f->call, "in %s, applied here", frame_what(e, f)), n++;
}

void elab_error(struct elab *e, const struct frame *f, struct loc loc, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  const char *message = str_vprintf(e->b->arena, format, ap);
  va_end(ap);
  e->muted = already_said(e->b, loc, message);
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

// ---- files ------------------------------------------------------------------------------------

static struct entry *own_entry(const struct unit *u, const char *name) {
  for (int i = 0; i < u->entries.len; i++)
    if (str_eq(u->entries.data[i]->name, name)) return u->entries.data[i];
  return NULL;
}

// What a file imports unqualified is passed on to those that import it. Imports have no cycles.
struct entry *unit_entry(const struct unit *u, const char *name) {
  struct entry *n = own_entry(u, name);
  for (int i = 0; !n && i < u->imports.len; i++)
    if (!u->imports.data[i].as) n = unit_entry(u->imports.data[i].unit, name);
  return n;
}

static const char *home_of(const struct btc *b) { return b->opt.home ? b->opt.home : "."; }

// Where an import leads: std.a.b to <home>/stdlib/a/b.btg, "f.btg" relative to the importing file.
static const char *import_path(struct elab *e, const struct unit *u, const struct decl *d) {
  struct arena *a = e->b->arena;
  if (d->file) {
    const char *slash = d->file[0] == '/' ? NULL : strrchr(u->path, '/');
    if (!slash) return d->file;
    return str_printf(a, "%.*s/%s", (int)(slash - u->path), u->path, d->file);
  }
  if (d->path.parts.len < 2 || !str_eq(d->path.parts.data[0].name, "std")) {
    elab_error(e, NULL, d->path.loc, "only the standard library is imported by a dotted name, as in `import std.nn`; another file is imported as `import \"file.btg\"`");
    return NULL;
  }
  const char *path = str_printf(a, "%s/stdlib", home_of(e->b));
  for (int i = 1; i < d->path.parts.len; i++) path = str_printf(a, "%s/%s", path, d->path.parts.data[i].name);
  return str_printf(a, "%s.btg", path);
}

// One file is one unit, by whatever path it is reached.
static const char *canonical(struct elab *e, const char *path) {
  char *real = realpath(path, NULL);
  const char *kept = str_printf(e->b->arena, "%s", real ? real : path);
  free(real);
  return kept;
}

static struct unit *unit_of_path(struct elab *e, const char *path) {
  for (int i = 0; i < e->units.len; i++)
    if (str_eq(canonical(e, e->units.data[i]->path), canonical(e, path))) return e->units.data[i];
  return NULL;
}

static void check_collision(struct elab *e, const struct unit *u, const struct entry *n, struct loc at) {
  const struct entry *other = unit_entry(u, n->name);
  if (!other || other == n) return;
  elab_error(e, NULL, at, "this import brings `%s` of %s, which is declared in %s too; `import … as name` keeps them apart", n->name, n->unit->path, other->unit->path);
  elab_note(e, other->decl->name.loc, "the other `%s`", n->name);
}

// Every name that `from` brings must be new to `u`, or the same declaration by another route.
static void check_collisions(struct elab *e, const struct unit *u, const struct unit *from, struct loc at) {
  for (int i = 0; i < from->entries.len; i++) check_collision(e, u, from->entries.data[i], at);
  for (int i = 0; i < from->imports.len; i++)
    if (!from->imports.data[i].as) check_collisions(e, u, from->imports.data[i].unit, at);
}

static void import_one(struct elab *e, struct unit *u, const struct decl *d) {
  const char *path = import_path(e, u, d);
  u->incomplete |= !path;
  if (!path) return;
  struct loc at = d->file ? d->loc : d->path.loc;
  struct unit *v = unit_of_path(e, path);
  if (v && v->busy) {
    elab_error(e, NULL, at, "%s imports itself%s", v->path, v == u ? "" : " through this import");
    return;
  }
  if (!v) {
    int source = source_open(e->b, path, at);
    u->incomplete |= source < 0;
    if (source < 0) return;
    int errors = e->b->n_errors;
    v = unit_load(e, parse_file(e->b, source), path);
    u->incomplete |= e->b->n_errors > errors;
  }
  if (!d->name.name) check_collisions(e, u, v, at);
  vec_push(e->b->arena, &u->imports, ((struct import){v, d->name.name, at}));
}

static void declare(struct elab *e, struct unit *u, const struct decl *d) {
  if (d->kind == D_IMPORT || d->kind == D_SCHEDULE || !d->name.name) return;
  struct entry *before = own_entry(u, d->name.name);
  if (before) {
    elab_error(e, NULL, d->name.loc, "`%s` is declared twice", d->name.name);
    elab_note(e, before->decl->name.loc, "the first declaration");
    return;
  }
  if (builtin_find(d->name.name)) {
    elab_error(e, NULL, d->name.loc, "`%s` is a function of the language and cannot be declared again", d->name.name);
    return;
  }
  struct entry *n = NEW(e->b->arena, struct entry);
  *n = (struct entry){.name = d->name.name, .decl = d, .unit = u};
  vec_push(e->b->arena, &u->entries, n);
}

struct unit *unit_load(struct elab *e, const struct file *file, const char *path) {
  struct unit *u = NEW(e->b->arena, struct unit);
  *u = (struct unit){.path = path, .file = file, .busy = true, .main = e->units.len == 0};
  vec_push(e->b->arena, &e->units, u);
  for (int i = 0; i < file->decls.len; i++) declare(e, u, file->decls.data[i]);
  for (int i = 0; i < file->decls.len; i++)
    if (file->decls.data[i]->kind == D_IMPORT) import_one(e, u, file->decls.data[i]);
  u->busy = false;
  return u;
}

// ---- -D ---------------------------------------------------------------------------------------

static const struct decl *define_decl(struct elab *e, const struct define *d) {
  const char *text = str_printf(e->b->arena, "const %s = %s\n", d->name, d->value ? d->value : "true");
  int errors = e->b->n_errors;
  int source = source_add(e->b, str_printf(e->b->arena, "-D %s", d->name), text, strlen(text));
  const struct file *f = parse_file(e->b, source);
  if (e->b->n_errors > errors) return NULL;
  if (f->decls.len != 1 || f->decls.data[0]->kind != D_CONST) {
    elab_error(e, NULL, (struct loc){0}, "-D %s: the value is not one expression", d->name);
    return NULL;
  }
  return f->decls.data[0];
}

static bool rebinds_as(const struct value *from, const struct value *to) {
  if (from->kind == V_FLOAT) return value_is_number(to);
  return from->kind == to->kind;
}

static void apply_define(struct elab *e, struct unit *u, const struct define *d) {
  const char *names[CANDIDATES];
  int n_names = 0;
  for (int i = 0; i < u->entries.len && n_names < CANDIDATES; i++)
    if (u->entries.data[i]->decl->kind == D_CONST) names[n_names++] = u->entries.data[i]->name;
  struct entry *n = own_entry(u, d->name);
  if (!n || n->decl->kind != D_CONST) {
    elab_error(e, NULL, (struct loc){0}, "-D %s: %s has no constant of this name%s", d->name, u->path, did_you_mean(e, d->name, names, n_names));
    return;
  }
  const struct decl *given = define_decl(e, d);
  if (!given) return;
  struct value was = entry_value(e, NULL, n, n->decl->name.loc);
  struct frame *f = frame_push(e, NULL, u, NULL, (struct loc){0});
  struct value now = expr_value(e, f, given->value);
  if (was.kind == V_ERROR || now.kind == V_ERROR) return;
  if (n->decl->type && !type_bind(e, f, n->decl->type, &now, f, given->value->loc, str_printf(e->b->arena, "`%s`", d->name))) return;
  if (!rebinds_as(&was, &now)) {
    elab_error(e, NULL, given->value->loc, "`%s` is %s, so -D cannot make it %s", d->name, value_text(e, &was), value_text(e, &now));
    elab_note(e, n->decl->name.loc, "declared here");
    return;
  }
  if (was.kind == V_FLOAT && now.kind == V_INT) now = value_float(now.loc, (double)now.integer);
  vec_push(e->b->arena, &e->defined, ((struct binding){.name = n->name, .value = now}));
}

// Constants are evaluated as written to learn their types, then forgotten, so that those that depend
// on a rebound one are computed again.
void unit_apply_defines(struct elab *e, struct unit *u) {
  for (int i = 0; i < e->b->opt.defines.len; i++) apply_define(e, u, &e->b->opt.defines.data[i]);
  for (int i = 0; i < u->entries.len; i++) u->entries.data[i]->state = ENTRY_UNSEEN;
  for (int i = 0; i < e->defined.len; i++) {
    struct entry *n = own_entry(u, e->defined.data[i].name);
    n->state = ENTRY_DONE;
    n->value = e->defined.data[i].value;
  }
}

// ---- frames -----------------------------------------------------------------------------------

struct frame *frame_push(struct elab *e, struct frame *caller, struct unit *u, const struct decl *d, struct loc call) {
  struct frame *f = NEW(e->b->arena, struct frame);
  *f = (struct frame){.caller = caller, .unit = u, .decl = d, .call = call};
  f->state_role = BT_STATE;
  if (!caller) return f;
  f->depth = caller->depth + 1;
  f->training = caller->training;
  f->address = caller->address;
  f->prefix = caller->prefix;
  f->state_role = caller->state_role;
  if (f->depth < FRAME_MAX_DEPTH) return f;
  elab_error(e, NULL, call, "calls nest deeper than %d levels", FRAME_MAX_DEPTH);
  return NULL;
}

void frame_bind(struct elab *e, struct frame *f, const char *name, struct loc loc, struct value v) {
  vec_push(e->b->arena, &f->locals, ((struct binding){.name = name, .value = v, .loc = loc}));
}

struct binding *frame_find(struct frame *f, const char *name) {
  for (int i = f->locals.len - 1; i >= 0; i--)
    if (str_eq(f->locals.data[i].name, name)) return &f->locals.data[i];
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
  struct entry *n = unit_entry(f->unit, name);
  if (n && n->decl->kind != D_CONST) {
    elab_error(e, f, loc, "`%s` is declared in this file or its imports; only locals and constants may be shadowed", name);
    elab_note(e, n->decl->name.loc, "the declaration");
    return false;
  }
  enum bt_input_kind kind;
  if (builtin_find(name) || builtin_input(name, &kind)) {
    elab_error(e, f, loc, "`%s` is a word of the language; only locals and constants may be shadowed", name);
    return false;
  }
  return true;
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
  elab_error(e, NULL, loc, "`%s` leads back to itself: %s -> %s; calls are inlined, so they cannot recurse", n->name, n->name, chain);
  elab_note(e, n->decl->name.loc, "`%s` is declared here", n->name);
  return true;
}

static void bound_wrong(struct elab *e, struct frame *f, const struct entry *n, const struct value *v) {
  struct loc loc = n->decl->value->loc;
  if (v->kind == V_MODULE)
    elab_error(e, f, loc, "`%s` is a module; `%s = %s(…)` configures it and binds an instance", v->entry->name, n->name, v->entry->name);
  else
    elab_error(e, f, loc, "`%s = …` binds an instance, but this is %s; a constant is written `const %s = …`", n->name, value_text(e, v), n->name);
}

static struct value evaluate_entry(struct elab *e, struct entry *n) {
  struct frame *f = frame_push(e, NULL, n->unit, NULL, (struct loc){0});
  struct graph *graph = e->graph;
  e->graph = NULL; // constants and instances are the file's, not a program's
  struct value v = expr_value(e, f, n->decl->value);
  if (v.kind != V_ERROR && n->decl->type &&
      !type_bind(e, f, n->decl->type, &v, f, n->decl->value->loc, str_printf(e->b->arena, "`%s`", n->name)))
    v = value_error();
  if (v.kind != V_ERROR && n->decl->kind == D_INSTANCE) {
    struct value bound = instance_bind(e, f, v, n->name, n->decl->name.loc, NULL);
    if (bound.kind == V_ERROR)
      bound_wrong(e, f, n, &v);
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
    n->state = ENTRY_BUSY;
    struct value v = evaluate_entry(e, n);
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

static struct value local_value(struct frame *f, const char *name, const struct binding *b, struct loc loc) {
  struct value v = b->value;
  v.loc = loc;
  // A size given as configuration and used in a type is that axis's name too.
  if (v.kind == V_INT && !v.axis) v.axis = frame_axis(f, name);
  return v;
}

static int unit_names(const struct unit *u, const char **out, int n) {
  for (int i = 0; i < u->entries.len && n < CANDIDATES; i++) out[n++] = u->entries.data[i]->name;
  for (int i = 0; i < u->imports.len && n < CANDIDATES; i++) {
    if (u->imports.data[i].as) out[n++] = u->imports.data[i].as;
    else n = unit_names(u->imports.data[i].unit, out, n);
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

static struct value unknown_name(struct elab *e, struct frame *f, const char *name, struct loc loc) {
  // After a mistake in the frame, or a missing import, the name may be what is missing.
  if (f->poisoned || f->unit->incomplete) return value_error();
  const char *names[CANDIDATES];
  int n = visible_names(f, names);
  if (builtin_planned(name)) {
    elab_error(e, f, loc, "`%s` is not supported yet", name);
    return value_error();
  }
  const char *near = str_nearest(name, names, n);
  elab_error(e, f, loc, "unknown name `%s`%s", name, did_you_mean(e, name, names, n));
  if (near) elab_fixit(e, near);
  return value_error();
}

struct value name_value(struct elab *e, struct frame *f, const char *name, struct loc loc) {
  struct binding *b = frame_find(f, name);
  if (b) return local_value(f, name, b, loc);
  struct axis *axis = frame_axis(f, name);
  if (axis) {
    struct value v = value_int(loc, axis->size);
    v.axis = axis;
    return v;
  }
  struct pack *p = frame_pack(f, name);
  if (p) return pack_value(e, p, loc);
  struct entry *n = unit_entry(f->unit, name);
  if (n) return entry_value(e, f, n, loc);
  for (int i = 0; i < f->unit->imports.len; i++)
    if (str_eq(f->unit->imports.data[i].as, name))
      return (struct value){.kind = V_UNIT, .loc = loc, .unit = f->unit->imports.data[i].unit};
  if (str_eq(name, "training")) return value_bool(loc, f->training);
  const struct builtin *built = builtin_find(name);
  if (built) return (struct value){.kind = V_BUILTIN, .loc = loc, .builtin = built};
  enum bt_input_kind kind;
  if (builtin_input(name, &kind)) {
    if (!needs_graph(e, f, loc, str_printf(e->b->arena, "`%s`", name))) return value_error();
    graph_at(e, f, loc);
    return value_tensor(loc, program_input(e, name, kind, -1, 0, &(struct tensor_type){.dtype = BT_F32}));
  }
  return unknown_name(e, f, name, loc);
}
