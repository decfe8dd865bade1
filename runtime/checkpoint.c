// checkpoint.c: see checkpoint.h.
//
// Everything is compared before anything is copied: a checkpoint of another model is named as such,
// with the first few tensors that differ, and leaves the store as it was.
#include "checkpoint.h"
#include "match.h"
#include "provenance.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- metadata ---------------------------------------------------------------------------------

bool bt_checkpoint_format(const struct st_file *f, const char *path, char *err, size_t errlen) {
  const char *format = st_metadata(f, "btc.format");
  char *end = NULL;
  if (format && (strtol(format, &end, 10) < 1 || *end)) return bt_fail(err, errlen, "%s: its format makes no sense", path);
  if (format && strtol(format, NULL, 10) > BT_CHECKPOINT_FORMAT)
    return bt_fail(
        err, errlen,
        "%s has checkpoint format %.10s, this trainer knows %d: it was written by a newer "
        "btc; compile the program with that one",
        path, format, BT_CHECKPOINT_FORMAT);
  return true;
}

static bool senseless(const char *path, const char *key, char *err, size_t errlen) {
  return bt_fail(err, errlen, "%s: its counters make no sense (%s)", path, key);
}

// Digits alone, and no more than fit.
static bool read_number(const struct st_file *f, const char *path, const char *key, uint64_t most, uint64_t *value,
                        char *err, size_t errlen) {
  const char *text = st_metadata(f, key);
  if (!text)
    return bt_fail(err, errlen,
                   "%s does not say where its run stood (no %s): not a checkpoint of a "
                   "run; it cannot be resumed",
                   path, key);
  errno = 0;
  if (*text && text[strspn(text, "0123456789")] == 0) *value = strtoull(text, NULL, 10);
  else errno = EINVAL;
  return (errno == 0 && *value <= most) || senseless(path, key, err, errlen);
}

static bool read_count(const struct st_file *f, const char *path, const char *key, int64_t *value, char *err, size_t errlen) {
  uint64_t number = 0;
  if (!read_number(f, path, key, INT64_MAX, &number, err, errlen)) return false;
  return *value = (int64_t)number, true;
}

static bool read_best(const struct st_file *f, const char *path, struct bt_progress_point *point, char *err, size_t errlen) {
  const char *by = st_metadata(f, "btc.best.by"), *value = st_metadata(f, "btc.best.value");
  char *end = NULL;
  point->best = (struct bt_best){0};
  if (!by) return true;
  if (strlen(by) >= sizeof point->best.by) return senseless(path, "btc.best.by", err, errlen);
  strcpy(point->best.by, by);
  point->best.highest = st_metadata(f, "btc.best.highest") != NULL;
  if (!read_count(f, path, "btc.best.step", &point->best.step, err, errlen)) return false;
  if (value) point->best.value = strtod(value, &end);
  bool number = end && end != value && *end == 0 && isfinite(point->best.value);
  return (number && point->best.step <= point->step) || senseless(path, "btc.best.value", err, errlen);
}

// Sums of another number of outputs are of no use: the means of this epoch begin here.
static bool read_sums(const struct st_file *f, const char *path, struct bt_progress_point *point, char *err, size_t errlen) {
  const char *text = st_metadata(f, "btc.epoch_sums");
  point->epoch_steps = 0;
  if (!text || !point->sums) return true;
  if (!read_count(f, path, "btc.epoch_steps", &point->epoch_steps, err, errlen)) return false;
  bool whole = point->epoch_steps <= point->steps_per_epoch;
  for (int i = 0; whole && i < point->n_sums; i++) {
    char *end;
    point->sums[i] = strtod(text, &end);
    whole = end != text && *end == (i + 1 < point->n_sums ? ' ' : 0);
    text = end;
  }
  if (whole) return true;
  memset(point->sums, 0, sizeof *point->sums * (size_t)point->n_sums);
  return point->epoch_steps = 0, true;
}

static bool read_point(const struct st_file *f, const char *path, struct bt_progress_point *point,
                       char *err, size_t errlen) {
  if (!bt_checkpoint_format(f, path, err, errlen) ||
      !read_number(f, path, "btc.seed", UINT64_MAX, &point->seed, err, errlen) ||
      !read_count(f, path, "btc.step", &point->step, err, errlen) ||
      !read_count(f, path, "btc.steps", &point->steps, err, errlen) ||
      !read_count(f, path, "btc.steps_per_epoch", &point->steps_per_epoch, err, errlen))
    return false;
  point->passes_due = st_metadata(f, "btc.passes") != NULL;
  const char *data = st_metadata(f, "btc.data");
  snprintf(point->data, sizeof point->data, "%.8s", data && data[strspn(data, "0123456789abcdef")] == 0 ? data : "");
  if (point->step > point->steps) return senseless(path, "btc.step", err, errlen);
  if (point->steps_per_epoch < 1) return senseless(path, "btc.steps_per_epoch", err, errlen);
  if (point->passes_due && point->step % point->steps_per_epoch && point->step < point->steps)
    return senseless(path, "btc.passes", err, errlen);
  return read_best(f, path, point, err, errlen) && read_sums(f, path, point, err, errlen);
}

// ---- the calls --------------------------------------------------------------------------------

static struct st_tensor as_stored(const struct bt_tensor *t, const char *store) {
  struct st_tensor out = {t->name, t->dtype, t->rank, {0}, store + t->offset};
  memcpy(out.shape, t->shape, sizeof out.shape);
  return out;
}

// Seventeen digits name a double exactly.
#define EXACT "%.17g"

static char *sums_text(const struct bt_progress_point *point) {
  size_t room = 32 * (size_t)point->n_sums + 1, n = 0;
  char *text = bt_xcalloc(room, 1);
  for (int i = 0; i < point->n_sums; i++) n += (size_t)snprintf(text + n, room - n, "%s" EXACT, i ? " " : "", point->sums[i]);
  return text;
}

// Texts of the metadata, with the numbers that they show.
struct metadata {
  int n;
  struct st_entry entries[20];
  char numbers[12][32];
  int n_numbers;
};

static void add(struct metadata *m, const char *key, const char *value) {
  if (m->n == sizeof m->entries / sizeof *m->entries) bt_die("too much metadata");
  m->entries[m->n++] = (struct st_entry){key, value};
}

__attribute__((format(printf, 3, 4))) static void add_number(struct metadata *m, const char *key, const char *format, ...) {
  va_list ap;
  char *text = m->numbers[m->n_numbers++];
  va_start(ap, format);
  vsnprintf(text, sizeof m->numbers[0], format, ap);
  va_end(ap);
  add(m, key, text);
}

static void add_point(struct metadata *m, const struct bt_progress_point *p) {
  add_number(m, "btc.seed", "%" PRIu64, p->seed);
  add_number(m, "btc.step", "%" PRId64, p->step);
  add_number(m, "btc.steps", "%" PRId64, p->steps);
  add_number(m, "btc.epoch", "%.4f", (double)p->step / (double)p->steps_per_epoch);
  add_number(m, "btc.steps_per_epoch", "%" PRId64, p->steps_per_epoch);
  if (p->passes_due) add(m, "btc.passes", "due");
  if (*p->data) add(m, "btc.data", p->data);
  if (p->epoch_steps) add_number(m, "btc.epoch_steps", "%" PRId64, p->epoch_steps);
  if (!*p->best.by) return;
  add(m, "btc.best.by", p->best.by);
  add_number(m, "btc.best.value", EXACT, p->best.value);
  add_number(m, "btc.best.step", "%" PRId64, p->best.step);
  if (p->best.highest) add(m, "btc.best.highest", "is best");
}

bool bt_checkpoint_save(const char *path, const struct bt_module *module,
                        const struct bt_program *program, const char *store,
                        const struct bt_progress_point *point, char *err, size_t errlen) {
  struct metadata m = {0};
  struct bt_provenance provenance = bt_provenance_of(module);
  char *sums = point->epoch_steps ? sums_text(point) : NULL;
  add_number(&m, "btc.format", "%d", BT_CHECKPOINT_FORMAT);
  add(&m, "btc.program", program->name);
  add_point(&m, point);
  if (sums) add(&m, "btc.epoch_sums", sums);
  for (int i = 0; i < BT_PROVENANCE_ENTRIES; i++) add(&m, provenance.entries[i].key, provenance.entries[i].value);
  struct bt_selection s = bt_select_program(module, program);
  struct st_tensor *tensors = bt_xcalloc((size_t)s.n, sizeof *tensors);
  for (int i = 0; i < s.n; i++) tensors[i] = as_stored(s.tensors[i], store);
  bool ok = st_write(path, tensors, s.n, m.entries, m.n, err, errlen);
  free(tensors), free(s.tensors), free(sums);
  bt_provenance_free(&provenance);
  return ok;
}

bool bt_checkpoint_load(const char *path, const struct bt_module *module,
                        const struct bt_program *program, char *store,
                        struct bt_progress_point *point, char *changes, size_t room, char *err,
                        size_t errlen) {
  struct st_file *f = st_open(path, err, errlen);
  if (!f) return false;
  struct bt_selection s = bt_select_program(module, program);
  const char *writer = st_metadata(f, "btc.program");
  bool ok = bt_checkpoint_format(f, path, err, errlen);
  if (ok && writer && strcmp(writer, program->name) != 0)
    ok = bt_fail(err, errlen, "%s was written by the program '%s', not by '%s'", path, writer,
                 program->name);
  const struct bt_match match = {f, path, NULL, false};
  ok = ok && bt_match_compare(&match, &s, NULL, 0, err, errlen) &&
       read_point(f, path, point, err, errlen);
  if (ok) {
    bt_match_copy(&match, &s, store);
    bt_provenance_compare(f, module, changes, room);
  }
  free(s.tensors);
  st_close(f);
  return ok;
}

bool bt_checkpoint_peek(const char *path, struct bt_progress_point *point, char *err,
                        size_t errlen) {
  point->sums = NULL;
  struct st_file *f = st_open(path, err, errlen);
  bool ok = f && read_point(f, path, point, err, errlen);
  st_close(f);
  return ok;
}
