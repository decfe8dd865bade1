// checkpoint.c: see checkpoint.h.
//
// Everything is compared before anything is copied: a checkpoint of another model is named as such,
// with the first few tensors that differ, and leaves the store as it was.
#include "checkpoint.h"
#include "btrt_internal.h"
#include "safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define SHOWN 3 // tensors named in a message

// ---- choosing tensors -------------------------------------------------------------------------

struct selection {
  const struct bt_tensor **tensors;
  int n;
};

static struct selection of_program(const struct bt_module *module,
                                   const struct bt_program *program) {
  struct selection s = {bt_xcalloc((size_t)program->n_tensors, sizeof *s.tensors), 0};
  for (int i = 0; i < program->n_tensors; i++)
    s.tensors[s.n++] = &module->tensors[program->tensors[i]];
  return s;
}

static bool belongs_to(const struct bt_tensor *t, const char *prefix) {
  size_t n = strlen(prefix);
  return t->role != BT_OPTIMIZER && strncmp(t->name, prefix, n) == 0 && t->name[n] == '.';
}

static struct selection of_instance(const struct bt_module *module, const char *prefix) {
  struct selection s = {bt_xcalloc((size_t)module->n_tensors, sizeof *s.tensors), 0};
  for (int i = 0; i < module->n_tensors; i++)
    if (belongs_to(&module->tensors[i], prefix)) s.tensors[s.n++] = &module->tensors[i];
  return s;
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

static bool selected(const struct selection *s, const char *name) {
  for (int i = 0; i < s->n; i++)
    if (strcmp(s->tensors[i]->name, name) == 0) return true;
  return false;
}

static void append(char *to, size_t room, const char *what, const struct difference *d) {
  size_t length = strlen(to);
  if (d->n == 0) return;
  snprintf(to + length, room - length, "\n  %d %s: %s%s", d->n, what, d->text,
           d->n > SHOWN ? ", …" : "");
}

// Does the file have every selected tensor in its type (and, if `exact`, no other)?
static bool compare(const struct st_file *f, const char *path, const struct selection *s,
                    bool exact, char *err, size_t errlen) {
  struct difference missing = {0}, extra = {0}, shapes = {0};
  char text[2200] = "";
  for (int i = 0; i < s->n; i++) {
    const struct st_tensor *found = st_find(f, s->tensors[i]->name);
    if (!found)
      note(&missing, s->tensors[i]->name, "");
    else if (!same_type(s->tensors[i], found))
      note_shapes(&shapes, s->tensors[i], found);
  }
  for (int i = 0; exact && i < st_count(f); i++)
    if (!selected(s, st_at(f, i)->name)) note(&extra, st_at(f, i)->name, "");
  if (!missing.n && !shapes.n && !extra.n) return true;
  append(text, sizeof text, "missing", &missing);
  append(text, sizeof text, "of another shape", &shapes);
  append(text, sizeof text, "that the program does not have", &extra);
  return bt_fail(err, errlen, "%s is a checkpoint of another model; its tensors differ:%s", path,
                 text);
}

static void copy_in(const struct st_file *f, const struct selection *s, char *store) {
  for (int i = 0; i < s->n; i++) {
    const struct st_tensor *found = st_find(f, s->tensors[i]->name);
    memcpy(store + s->tensors[i]->offset, found->data, st_bytes(found));
  }
}

// ---- metadata ---------------------------------------------------------------------------------

static void source_hash(const struct bt_module *module, char text[16]) {
  const char *source = module->source_text ? module->source_text : "";
  snprintf(text, 16, "%08lx", (unsigned long)crc32_z(0, (const Bytef *)source, strlen(source)));
}

static bool check_format(const struct st_file *f, const char *path, char *err, size_t errlen) {
  const char *format = st_metadata(f, "btc.format");
  if (format && strtol(format, NULL, 10) > BT_CHECKPOINT_FORMAT)
    return bt_fail(
        err, errlen,
        "%s has checkpoint format %.10s, this trainer knows %d: it was written by a newer "
        "btc; compile the program with that one",
        path, format, BT_CHECKPOINT_FORMAT);
  return true;
}

static bool read_number(const struct st_file *f, const char *path, const char *key, uint64_t *value,
                        char *err, size_t errlen) {
  const char *text = st_metadata(f, key);
  char *end = NULL;
  if (text) *value = strtoull(text, &end, 10);
  if (text && end != text && *end == 0) return true;
  return bt_fail(err, errlen,
                 "%s does not say where its run stood (no %s): not a checkpoint of a "
                 "run; it cannot be resumed",
                 path, key);
}

static bool read_point(const struct st_file *f, const char *path, struct bt_progress_point *point,
                       char *err, size_t errlen) {
  uint64_t step = 0, steps = 0, per_epoch = 0;
  if (!check_format(f, path, err, errlen) ||
      !read_number(f, path, "btc.seed", &point->seed, err, errlen) ||
      !read_number(f, path, "btc.step", &step, err, errlen) ||
      !read_number(f, path, "btc.steps", &steps, err, errlen) ||
      !read_number(f, path, "btc.steps_per_epoch", &per_epoch, err, errlen))
    return false;
  point->step = (int64_t)step, point->steps = (int64_t)steps;
  point->steps_per_epoch = (int64_t)per_epoch;
  point->passes_due = st_metadata(f, "btc.passes") != NULL;
  if (point->step < 0 || point->steps < 0 || point->steps_per_epoch < 1)
    return bt_fail(err, errlen, "%s: its counters make no sense", path);
  return true;
}

// ---- the calls --------------------------------------------------------------------------------

static struct st_tensor as_stored(const struct bt_tensor *t, const char *store) {
  struct st_tensor out = {t->name, t->dtype, t->rank, {0}, store + t->offset};
  memcpy(out.shape, t->shape, sizeof out.shape);
  return out;
}

bool bt_checkpoint_save(const char *path, const struct bt_module *module,
                        const struct bt_program *program, const char *store,
                        const struct bt_progress_point *point, char *err, size_t errlen) {
  char format[16], seed[24], step[24], steps[24], per_epoch[24], epoch[32], source[16];
  snprintf(format, sizeof format, "%d", BT_CHECKPOINT_FORMAT);
  snprintf(seed, sizeof seed, "%" PRIu64, point->seed);
  snprintf(step, sizeof step, "%" PRId64, point->step);
  snprintf(steps, sizeof steps, "%" PRId64, point->steps);
  snprintf(per_epoch, sizeof per_epoch, "%" PRId64, point->steps_per_epoch);
  snprintf(epoch, sizeof epoch, "%.4f", (double)point->step / (double)point->steps_per_epoch);
  source_hash(module, source);
  const struct st_entry metadata[] = {{"btc.format", format},
                                      {"btc.program", program->name},
                                      {"btc.seed", seed},
                                      {"btc.step", step},
                                      {"btc.steps", steps},
                                      {"btc.epoch", epoch},
                                      {"btc.steps_per_epoch", per_epoch},
                                      {"btc.source", source},
                                      {"btc.build", module->build ? module->build : ""},
                                      {"btc.passes", "due"}};
  int n_metadata = (int)(sizeof metadata / sizeof *metadata) - !point->passes_due;
  struct selection s = of_program(module, program);
  struct st_tensor *tensors = bt_xcalloc((size_t)s.n, sizeof *tensors);
  for (int i = 0; i < s.n; i++) tensors[i] = as_stored(s.tensors[i], store);
  bool ok = st_write(path, tensors, s.n, metadata, n_metadata, err, errlen);
  free(tensors);
  free(s.tensors);
  return ok;
}

bool bt_checkpoint_load(const char *path, const struct bt_module *module,
                        const struct bt_program *program, char *store,
                        struct bt_progress_point *point, bool *source_changed, char *err,
                        size_t errlen) {
  char source[16];
  struct st_file *f = st_open(path, err, errlen);
  if (!f) return false;
  struct selection s = of_program(module, program);
  const char *writer = st_metadata(f, "btc.program");
  bool ok = check_format(f, path, err, errlen);
  if (ok && writer && strcmp(writer, program->name) != 0)
    ok = bt_fail(err, errlen, "%s was written by the program '%s', not by '%s'", path, writer,
                 program->name);
  ok = ok && compare(f, path, &s, true, err, errlen) && read_point(f, path, point, err, errlen);
  if (ok) {
    copy_in(f, &s, store);
    source_hash(module, source);
    const char *theirs = st_metadata(f, "btc.source");
    *source_changed = !theirs || strcmp(theirs, source) != 0;
  }
  free(s.tensors);
  st_close(f);
  return ok;
}

bool bt_checkpoint_peek(const char *path, struct bt_progress_point *point, char *err,
                        size_t errlen) {
  struct st_file *f = st_open(path, err, errlen);
  bool ok = f && read_point(f, path, point, err, errlen);
  st_close(f);
  return ok;
}

bool bt_checkpoint_load_instance(const char *path, const struct bt_module *module,
                                 const char *prefix, char *store, char *err, size_t errlen) {
  struct selection s = of_instance(module, prefix);
  struct st_file *f = NULL;
  bool ok = s.n > 0 || bt_fail(err, errlen, "there is no instance '%s' with parameters", prefix);
  ok = ok && (f = st_open(path, err, errlen)) && check_format(f, path, err, errlen) &&
       compare(f, path, &s, false, err, errlen);
  if (ok) copy_in(f, &s, store);
  st_close(f);
  free(s.tensors);
  return ok;
}

bool bt_checkpoint_export(const char *from, const char *to, const struct bt_module *module,
                          const char *prefix, int *n, char *err, size_t errlen) {
  struct selection s = of_instance(module, prefix);
  struct st_tensor *tensors = bt_xcalloc((size_t)s.n, sizeof *tensors);
  struct st_file *f = NULL;
  bool ok = s.n > 0 || bt_fail(err, errlen, "there is no instance '%s' with parameters", prefix);
  ok = ok && (f = st_open(from, err, errlen)) && check_format(f, from, err, errlen) &&
       compare(f, from, &s, false, err, errlen);
  for (int i = 0; ok && i < s.n; i++) {
    tensors[i] = *st_find(f, s.tensors[i]->name);
    tensors[i].name += strlen(prefix) + 1;
  }
  const struct st_entry metadata[] = {
      {"format", "pt"}, // what transformers and others expect to see
      {"btc.instance", prefix},
      {"btc.build", module->build ? module->build : ""}};
  ok = ok && st_write(to, tensors, s.n, metadata, 3, err, errlen);
  *n = s.n;
  free(tensors);
  free(s.tensors);
  st_close(f);
  return ok;
}
