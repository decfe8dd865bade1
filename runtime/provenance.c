// provenance.c: see provenance.h.
//
// Files are a line each, "checksum path"; options too. So the comparison is one of lines.
#define _GNU_SOURCE
#include "provenance.h"
#include "btrt_internal.h"
#include "json_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOURCES "btc.sources"
#define OPTIONS "btc.options"
#define BUILD "btc.build"
enum { DIGITS = 8, PATH_AT = DIGITS + 1 }; // of a line of sources

static char *source_lines(const struct bt_module *m) {
  size_t room = 1, n = 0;
  for (int i = 0; i < m->n_sources; i++) room += strlen(m->sources[i].path) + PATH_AT + 1;
  char *lines = bt_xcalloc(room, 1);
  for (int i = 0; i < m->n_sources; i++)
    n += (size_t)snprintf(lines + n, room - n, "%s%08x %s", i ? "\n" : "", m->sources[i].crc32, m->sources[i].path);
  return lines;
}

static char *option_lines(const struct bt_module *m) {
  size_t room = 1, n = 0;
  for (int i = 0; i < m->n_options; i++) room += strlen(m->options[i]) + 1;
  char *lines = bt_xcalloc(room, 1);
  for (int i = 0; i < m->n_options; i++) n += (size_t)snprintf(lines + n, room - n, "%s%s", i ? "\n" : "", m->options[i]);
  return lines;
}

struct bt_provenance bt_provenance_of(const struct bt_module *m) {
  char *values[BT_PROVENANCE_ENTRIES] = {source_lines(m), option_lines(m), bt_xstrdup(m->build ? m->build : "")};
  for (int i = 0; i < BT_PROVENANCE_ENTRIES; i++) bt_mask_text(values[i]);
  return (struct bt_provenance){{{SOURCES, values[0]}, {OPTIONS, values[1]}, {BUILD, values[2]}}};
}

void bt_provenance_free(struct bt_provenance *provenance) {
  for (int i = 0; i < BT_PROVENANCE_ENTRIES; i++) free((char *)provenance->entries[i].value);
}

// ---- comparing --------------------------------------------------------------------------------

struct text {
  char *at;
  size_t room, used;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...) {
  va_list ap;
  if (t->used && t->used + 2 < t->room) t->used += (size_t)snprintf(t->at + t->used, t->room - t->used, "; ");
  va_start(ap, format);
  int n = vsnprintf(t->at + t->used, t->room - t->used, format, ap);
  va_end(ap);
  t->used += (size_t)n;
  if (t->used >= t->room) t->used = t->room - 1; // cut, where there is more than anybody reads
}

// The next line behind *at, which moves behind it; NULL: there is none. *length without its end.
static const char *next_line(const char **at, size_t *length) {
  const char *line = *at;
  if (!*line) return NULL;
  *length = strcspn(line, "\n");
  *at = line + *length + (line[*length] == '\n');
  return line;
}

// The line of `lines` that is the same as `line` from byte `from` on.
static const char *find_line(const char *lines, const char *line, size_t length, size_t from) {
  size_t n;
  for (const char *other; (other = next_line(&lines, &n));)
    if (n == length && memcmp(other + from, line + from, length - from) == 0) return other;
  return NULL;
}

static void compare_sources(struct text *t, const char *ours, const char *theirs) {
  size_t n;
  const char *at = ours;
  for (const char *line; (line = next_line(&at, &n));) {
    const char *other = n < PATH_AT ? NULL : find_line(theirs, line, n, PATH_AT);
    if (!other)
      add(t, "%.*s is new", (int)(n - PATH_AT), line + PATH_AT);
    else if (memcmp(line, other, DIGITS) != 0)
      add(t, "%.*s has changed", (int)(n - PATH_AT), line + PATH_AT);
  }
  for (const char *line; (line = next_line(&theirs, &n));)
    if (n >= PATH_AT && !find_line(ours, line, n, PATH_AT)) add(t, "%.*s is gone", (int)(n - PATH_AT), line + PATH_AT);
}

static void compare_options(struct text *t, const char *ours, const char *theirs) {
  size_t n;
  const char *at = ours;
  for (const char *line; (line = next_line(&at, &n));)
    if (!find_line(theirs, line, n, 0)) add(t, "it was compiled without %.*s", (int)n, line);
  for (const char *line; (line = next_line(&theirs, &n));)
    if (!find_line(ours, line, n, 0)) add(t, "it was compiled with %.*s", (int)n, line);
}

void bt_provenance_compare(const struct st_file *file, const struct bt_module *m, char *changes, size_t room) {
  struct text t = {changes, room, 0};
  struct bt_provenance ours = bt_provenance_of(m);
  const char *sources = st_metadata(file, SOURCES), *options = st_metadata(file, OPTIONS), *build = st_metadata(file, BUILD);
  *changes = 0;
  if (sources) compare_sources(&t, ours.entries[0].value, sources);
  if (sources && options) compare_options(&t, ours.entries[1].value, options);
  if (!sources) add(&t, "it does not say what it was compiled from");
  if (build && strcmp(build, ours.entries[2].value) != 0) add(&t, "it was built by %s, this trainer by %s", build, ours.entries[2].value);
  bt_provenance_free(&ours);
}
