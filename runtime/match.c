// match.c: see match.h.
#include "match.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN 3 // tensors named in a message

// ---- choosing tensors -------------------------------------------------------------------------

struct bt_selection bt_select_program(const struct bt_module *module,
                                      const struct bt_program *program) {
  struct bt_selection s = {bt_xcalloc((size_t)program->n_tensors, sizeof *s.tensors), 0};
  for (int i = 0; i < program->n_tensors; i++)
    s.tensors[s.n++] = &module->tensors[program->tensors[i]];
  return s;
}

static bool is_under(const char *name, const char *instance) {
  size_t n = strlen(instance);
  return strncmp(name, instance, n) == 0 && name[n] == '.';
}

struct bt_selection bt_select_instance(const struct bt_module *module, const char *instance) {
  struct bt_selection s = {bt_xcalloc((size_t)module->n_tensors, sizeof *s.tensors), 0};
  for (int i = 0; i < module->n_tensors; i++) {
    const struct bt_tensor *t = &module->tensors[i];
    if (t->role != BT_OPTIMIZER && is_under(t->name, instance)) s.tensors[s.n++] = t;
  }
  return s;
}

struct bt_match bt_match_instance(const struct st_file *file, const char *path,
                                  const char *instance) {
  bool bare = !st_metadata(file, "btc.format");
  for (int i = 0; bare && i < st_count(file); i++) bare = !is_under(st_at(file, i)->name, instance);
  return (struct bt_match){file, path, instance, bare};
}

static const char *name_in_file(const struct bt_match *m, const struct bt_tensor *t) {
  return m->bare ? t->name + strlen(m->instance) + 1 : t->name;
}

const struct st_tensor *bt_match_find(const struct bt_match *m, const struct bt_tensor *t) {
  return st_find(m->file, name_in_file(m, t));
}

// ---- comparing --------------------------------------------------------------------------------

// A sentence in parts: the first few names, and how many there are.
struct difference {
  int n;
  char text[600];
  size_t length;
};

static void note(struct difference *d, const char *name, const char *detail) {
  if (d->n++ >= SHOWN) return;
  size_t room = sizeof d->text - d->length;
  int put = snprintf(d->text + d->length, room, "%s%.80s%s", d->n > 1 ? ", " : "", name, detail);
  if (put > 0) d->length += (size_t)put < room ? (size_t)put : room - 1;
}

static void print_shape(char *to, size_t room, int rank, const int64_t *shape) {
  size_t length = (size_t)snprintf(to, room, "[");
  for (int i = 0; i < rank && length < room; i++)
    length += (size_t)snprintf(to + length, room - length, "%s%" PRId64, i ? ", " : "", shape[i]);
  if (length < room) snprintf(to + length, room - length, "]");
}

static bool same_type(const struct bt_tensor *t, const struct st_tensor *found) {
  return t->dtype == found->dtype && t->rank == found->rank &&
         memcmp(t->shape, found->shape, sizeof *t->shape * (size_t)t->rank) == 0;
}

static void note_shapes(struct difference *d, const struct bt_tensor *t,
                        const struct st_tensor *found) {
  char ours[96], theirs[96], detail[256];
  print_shape(ours, sizeof ours, t->rank, t->shape);
  print_shape(theirs, sizeof theirs, found->rank, found->shape);
  snprintf(detail, sizeof detail, " (%s%s in the file, %s%s in the program)",
           bt_dtype_name(found->dtype), theirs, bt_dtype_name(t->dtype), ours);
  note(d, t->name, detail);
}

static bool selected(const struct bt_match *m, const struct bt_selection *s, const char *name) {
  for (int i = 0; i < s->n; i++)
    if (strcmp(name_in_file(m, s->tensors[i]), name) == 0) return true;
  return false;
}

// What other libraries' models have besides an encoder. `name` follows the instance's.
static bool is_classifier(const char *name) {
  return is_under(name, "fc") || is_under(name, "head") || is_under(name, "heads");
}

static bool is_counter(const char *name) {
  static const char counter[] = ".num_batches_tracked"; // of PyTorch's batch norm
  size_t n = strlen(name), length = sizeof counter - 1;
  return n > length && strcmp(name + n - length, counter) == 0;
}

static void append(char *to, size_t room, const char *what, const struct difference *d) {
  size_t length = strlen(to);
  if (d->n == 0) return;
  snprintf(to + length, room - length, "\n  %d %s: %s%s", d->n, what, d->text,
           d->n > SHOWN ? ", …" : "");
}

static void describe_ignored(const struct difference *classifier, int counters, char *to,
                             size_t room) {
  char count[64] = "";
  if (counters) snprintf(count, sizeof count, "%d num_batches_tracked", counters);
  snprintf(to, room, "%s%s%s%s", classifier->text, classifier->n > SHOWN ? ", …" : "",
           classifier->n && counters ? ", " : "", count);
}

// Sorts the file's tensors that nothing selects into those to ignore and those that are too many.
static void find_others(const struct bt_match *m, const struct bt_selection *s,
                        struct difference *extra, char *ignored, size_t ignoredlen) {
  struct difference classifier = {0};
  int counters = 0;
  for (int i = 0; i < st_count(m->file); i++) {
    const char *name = st_at(m->file, i)->name, *rest = name;
    if (m->instance && !m->bare && !is_under(name, m->instance)) continue;
    if (m->instance && !m->bare) rest += strlen(m->instance) + 1;
    if (selected(m, s, name)) continue;
    if (m->instance && is_counter(rest))
      counters++;
    else if (m->instance && is_classifier(rest))
      note(&classifier, name, "");
    else
      note(extra, name, "");
  }
  describe_ignored(&classifier, counters, ignored, ignoredlen);
}

bool bt_match_compare(const struct bt_match *m, const struct bt_selection *s, char *ignored,
                      size_t ignoredlen, char *err, size_t errlen) {
  struct difference missing = {0}, extra = {0}, shapes = {0};
  char text[2200] = "";
  for (int i = 0; i < s->n; i++) {
    const struct st_tensor *found = bt_match_find(m, s->tensors[i]);
    if (!found)
      note(&missing, name_in_file(m, s->tensors[i]), "");
    else if (!same_type(s->tensors[i], found))
      note_shapes(&shapes, s->tensors[i], found);
  }
  find_others(m, s, &extra, ignored, ignoredlen);
  if (!missing.n && !shapes.n && !extra.n) return true;
  append(text, sizeof text, "missing", &missing);
  append(text, sizeof text, "of another shape", &shapes);
  append(text, sizeof text, "that the program does not have", &extra);
  if (m->bare)
    return bt_fail(err, errlen, "%s does not fit '%s'; its tensors differ:%s", m->path, m->instance,
                   text);
  return bt_fail(err, errlen, "%s is a checkpoint of another model; its tensors differ:%s", m->path,
                 text);
}

void bt_match_copy(const struct bt_match *m, const struct bt_selection *s, char *store) {
  for (int i = 0; i < s->n; i++) {
    const struct st_tensor *found = bt_match_find(m, s->tensors[i]);
    memcpy(store + s->tensors[i]->offset, found->data, st_bytes(found));
  }
}
