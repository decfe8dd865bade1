// emit_provenance.c: what a trainer is made of, so that a run can say it and a resumed one can say what has changed:
// the files that were read, by their content, and the options that change a program.
#include <string.h>
#include <zlib.h>

#include "ast.h"
#include "codegen_internal.h"

// What follows `folder/` in path; NULL: it does not lie in there.
static const char *path_inside(const char *path, const char *folder, size_t length) {
  bool inside = strncmp(path, folder, length) == 0 && path[length] == '/';
  return inside ? path + length + 1 : NULL;
}

static const char *library_path(const struct btc *b, const char *path) {
  const char *home = b->opt.home ? b->opt.home : ".";
  const char *inside = path_inside(path, home, strlen(home));
  return inside ? path_inside(inside, "stdlib", 6) : NULL;
}

static void emit_source(FILE *out, const struct model *m, const struct source_file *f) {
  const char *main = m->b->files.data[m->file->source].path, *slash = strrchr(main, '/');
  const char *library = library_path(m->b, f->path);
  const char *near = slash ? path_inside(f->path, main, (size_t)(slash - main)) : NULL;
  fputs("  {", out);
  emit_string(out, library ? str_printf(m->b->arena, "std/%s", library) : near ? near : f->path);
  fputs(",\n  ", out);
  emit_string(out, library ? NULL : f->text);
  fprintf(out, ", 0x%08lx},\n", (unsigned long)crc32_z(0, (const Bytef *)f->text, f->length));
}

static int emit_sources(FILE *out, const struct model *m) {
  int n = 1, main = m->file->source;
  fputs("\nstatic const struct bt_source sources[] = {\n", out);
  emit_source(out, m, &m->b->files.data[main]);
  for (int i = 0; i < m->b->files.len; i++) {
    const struct source_file *f = &m->b->files.data[i];
    if (i == main || strncmp(f->path, "-D ", 3) == 0) continue; // -D is an option
    emit_source(out, m, f);
    n++;
  }
  fputs("};\n", out);
  return n;
}

static void emit_option(FILE *out, struct arena *a, const char *option, const char *value) {
  fputs("  ", out);
  emit_string(out, str_printf(a, "%s %s", option, value));
  fputs(",\n", out);
}

static int emit_options(FILE *out, const struct model *m) {
  const struct btc_options *o = &m->b->opt;
  struct arena *a = m->b->arena;
  int n = o->defines.len + o->variants.len + o->disabled.len;
  if (n == 0) return 0;
  fputs("\nstatic const char *const options[] = {\n", out);
  for (int i = 0; i < o->defines.len; i++) {
    const struct define *d = &o->defines.data[i];
    emit_option(out, a, "-D", str_printf(a, "%s=%s", d->name, d->value ? d->value : "true"));
  }
  for (int i = 0; i < o->variants.len; i++) emit_option(out, a, "--variant", o->variants.data[i]);
  for (int i = 0; i < o->disabled.len; i++) emit_option(out, a, "--disable-pass", o->disabled.data[i]);
  fputs("};\n", out);
  return n;
}

struct emitted_provenance emit_provenance(FILE *out, const struct model *m) {
  if (!m->file) return (struct emitted_provenance){0};
  int n_sources = emit_sources(out, m);
  return (struct emitted_provenance){n_sources, emit_options(out, m)};
}

void emit_provenance_fields(FILE *out, const struct emitted_provenance *provenance) {
  if (provenance->n_sources) fprintf(out, ",\n  .n_sources = %d, .sources = sources", provenance->n_sources);
  if (provenance->n_options) fprintf(out, ",\n  .n_options = %d, .options = options", provenance->n_options);
}
