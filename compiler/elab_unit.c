// elab_unit.c: files: what they declare, what they import, and the constants that -D rebinds.
#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "elab.h"

enum { CANDIDATES = 512 };

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
    elab_error(e, NULL, d->path.loc,
               "only the standard library is imported by a dotted name, as in `import std.nn`; "
               "another file is imported as `import \"file.btg\"`");
    return NULL;
  }
  const char *path = str_printf(a, "%s/stdlib", home_of(e->b));
  for (int i = 1; i < d->path.parts.len; i++)
    path = str_printf(a, "%s/%s", path, d->path.parts.data[i].name);
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

static void check_collision(struct elab *e, const struct unit *u, const struct entry *n,
                            struct loc at) {
  const struct entry *other = unit_entry(u, n->name);
  if (!other || other == n) return;
  elab_error(e, NULL, at,
             "this import brings `%s` of %s, which is declared in %s too; `import … as name` keeps "
             "them apart",
             n->name, n->unit->path, other->unit->path);
  elab_note(e, other->decl->name.loc, "the other `%s`", n->name);
}

// Every name that `from` brings must be new to `u`, or the same declaration by another route.
static void check_collisions(struct elab *e, const struct unit *u, const struct unit *from,
                             struct loc at) {
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
  enum bt_input_kind scalar;
  bool word = builtin_word(d->name.name) && !builtin_input(d->name.name, &scalar);
  if (word || builtin_find(d->name.name)) {
    elab_error(e, NULL, d->name.loc,
               "`%s` is a %s of the language and cannot be declared again", d->name.name, word ? "word" : "function");
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

static void read_library_file(struct elab *e, const char *folder, const char *name) {
  const char *dot = strrchr(name, '.');
  if (!dot || !str_eq(dot, ".btg")) return;
  int source = source_open(e->b, str_printf(e->b->arena, "%s/%s", folder, name), (struct loc){0});
  if (source < 0) return;
  const struct file *f = parse_file(e->b, source);
  const char *file = str_ndup(e->b->arena, name, (size_t)(dot - name));
  for (int i = 0; i < f->decls.len; i++)
    vec_push(e->b->arena, &e->library, ((struct library_name){f->decls.data[i]->name.name, file}));
}

static void read_library(struct elab *e) {
  const char *folder = str_printf(e->b->arena, "%s/stdlib", home_of(e->b));
  struct dirent **files;
  int n = scandir(folder, &files, NULL, alphasort);
  for (int i = 0; i < n; i++) {
    read_library_file(e, folder, files[i]->d_name);
    free(files[i]);
  }
  if (n >= 0) free(files);
}

const char *std_file_with(struct elab *e, const char *name) {
  if (e->library.len == 0) read_library(e); // once: names may be unknown in every turn of a loop
  for (int i = 0; i < e->library.len; i++)
    if (str_eq(e->library.data[i].name, name)) return e->library.data[i].file;
  return NULL;
}

// ---- -D ---------------------------------------------------------------------------------------

static const struct decl *define_decl(struct elab *e, const struct define *d) {
  const char *text =
      str_printf(e->b->arena, "const %s = %s\n", d->name, d->value ? d->value : "true");
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

// On a command line a word needs no quotes of its own to be a string: -D stem=small.
static bool bare_string(const struct value *was, const struct define *d) {
  return was->kind == V_STRING && d->value && isalpha((unsigned char)d->value[0]) &&
         !strchr(d->value, '"');
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
    elab_error(e, NULL, (struct loc){0}, "-D %s: %s has no constant of this name%s", d->name,
               u->path, did_you_mean(e, d->name, names, n_names));
    return;
  }
  struct value was = entry_value(e, NULL, n, n->decl->name.loc);
  struct define quoted = *d;
  if (bare_string(&was, d)) quoted.value = str_printf(e->b->arena, "\"%s\"", d->value);
  const struct decl *given = define_decl(e, &quoted);
  if (!given) return;
  struct frame *f = frame_push(e, NULL, u, NULL, (struct loc){0});
  struct value now = expr_value(e, f, given->value);
  if (was.kind == V_ERROR || now.kind == V_ERROR) return;
  if (n->decl->type && !type_bind(e, f, n->decl->type, &now, f, given->value->loc,
                                  str_printf(e->b->arena, "`%s`", d->name)))
    return;
  if (!rebinds_as(&was, &now)) {
    elab_error(e, NULL, given->value->loc, "`%s` is %s, so -D cannot make it %s", d->name,
               value_text(e, &was), value_text(e, &now));
    elab_note(e, n->decl->name.loc, "declared here");
    return;
  }
  if (was.kind == V_FLOAT && now.kind == V_INT) now = value_float(now.loc, (double)now.integer);
  vec_push(e->b->arena, &e->defined, ((struct binding){.name = n->name, .value = now}));
}

// Constants are evaluated as written to learn their types, then forgotten, so that those that
// depend on a rebound one are computed again.
void unit_apply_defines(struct elab *e, struct unit *u) {
  for (int i = 0; i < e->b->opt.defines.len; i++) apply_define(e, u, &e->b->opt.defines.data[i]);
  for (int i = 0; i < u->entries.len; i++) u->entries.data[i]->state = ENTRY_UNSEEN;
  for (int i = 0; i < e->defined.len; i++) {
    struct entry *n = own_entry(u, e->defined.data[i].name);
    n->state = ENTRY_DONE;
    n->value = e->defined.data[i].value;
  }
}
