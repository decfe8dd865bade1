// expectations.c: see expectations.h.
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "expectations.h"

int each_file(const char *folder, void (*check)(const char *path)) {
  struct dirent **entries;
  int n = scandir(folder, &entries, NULL, alphasort), checked = 0;
  for (int i = 0; i < n; i++) {
    char path[512];
    const char *dot = strrchr(entries[i]->d_name, '.');
    snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
    if (dot && str_eq(dot, ".btg")) check(path), checked++;
    free(entries[i]);
  }
  if (n >= 0) free(entries);
  return checked;
}

struct expectation {
  char kind[16];
  int line, column;
  char text[256];
};
typedef VEC(struct expectation) expectation_list;

static const char *const severity_words[] = {"note", "warning", "error"};

static bool read_expectation(const char *line, struct expectation *e) {
  *e = (struct expectation){0};
  if (sscanf(line, "# %15[a-z]: ", e->kind) != 1) return false;
  if (str_eq(e->kind, "fixit")) return sscanf(line, "# fixit: %255[^\n]", e->text) == 1;
  if (!str_eq(e->kind, "error") && !str_eq(e->kind, "warning") && !str_eq(e->kind, "note"))
    return false;
  if (sscanf(line, "# %*[a-z]: %d:%d: %255[^\n]", &e->line, &e->column, e->text) == 3) return true;
  e->line = e->column = 0;
  return sscanf(line, "# %*[a-z]: %255[^\n]", e->text) == 1;
}

static expectation_list read_expectations(struct btc *b, int source) {
  expectation_list list = {0};
  const struct source_file *f = &b->files.data[source];
  const char *end = f->text + f->length;
  for (const char *s = f->text; s < end;) {
    struct expectation e;
    if (read_expectation(s, &e)) vec_push(b->arena, &list, e);
    const char *newline = memchr(s, '\n', (size_t)(end - s));
    s = newline ? newline + 1 : end;
  }
  return list;
}

// In the form of the expectations. Of a place in the standard library only the file's name: it may grow.
static struct expectation of_diagnostic(const struct btc *b, const struct diag *d) {
  struct expectation e = {0};
  snprintf(e.kind, sizeof e.kind, "%s", severity_words[d->severity]);
  const char *path = b->files.data[d->loc.file].path, *library = strstr(path, "stdlib/");
  if (!library) {
    e.line = d->loc.line;
    e.column = d->loc.column;
    snprintf(e.text, sizeof e.text, "%s", d->message);
  } else {
    snprintf(e.text, sizeof e.text, "%s: %s", library, d->message);
  }
  return e;
}

static expectation_list diagnosed(struct btc *b) {
  expectation_list list = {0};
  for (int i = 0; i < b->diags.len; i++) {
    const struct diag *d = &b->diags.data[i];
    vec_push(b->arena, &list, of_diagnostic(b, d));
    if (!d->fixit) continue;
    struct expectation mend = {.kind = "fixit"};
    snprintf(mend.text, sizeof mend.text, "%s", d->fixit);
    vec_push(b->arena, &list, mend);
  }
  return list;
}

static void show_expectations(const char *title, const expectation_list *list) {
  fprintf(stderr, "  %s:\n", title);
  for (int i = 0; i < list->len; i++) {
    const struct expectation *e = &list->data[i];
    if (e->line) fprintf(stderr, "    # %s: %d:%d: %s\n", e->kind, e->line, e->column, e->text);
    else fprintf(stderr, "    # %s: %s\n", e->kind, e->text);
  }
}

static bool same_expectation(const struct expectation *want, const struct expectation *got) {
  return str_eq(want->kind, got->kind) && want->line == got->line && want->column == got->column &&
         strstr(got->text, want->text);
}

static void read_define(struct btc *b, const char *line) {
  char name[64], value[128];
  if (sscanf(line, "# define: %63[^=]=%127[^\n]", name, value) != 2) return;
  struct define d = {str_printf(b->arena, "%s", name), str_printf(b->arena, "%s", value)};
  vec_push(b->arena, &b->opt.defines, d);
}

static void read_defines(struct btc *b, int source) {
  for (const char *s = b->files.data[source].text; s; s = strchr(s, '\n'))
    read_define(b, s += *s == '\n');
}

void check_expectations(const char *path, void (*compile)(struct btc *b, int source)) {
  struct btc *b = btc_new();
  b->opt.home = ".";
  int source = source_open(b, path, (struct loc){0});
  assert_int_equal(source, 0);
  read_defines(b, source);
  compile(b, source);
  expectation_list want = read_expectations(b, source), got = diagnosed(b);
  bool same = want.len == got.len;
  for (int i = 0; same && i < want.len; i++) same = same_expectation(&want.data[i], &got.data[i]);
  if (!same) {
    show_expectations("wanted", &want);
    show_expectations("got", &got);
    fail_msg("%s: other diagnostics than expected", path);
  }
  btc_free(b);
}
