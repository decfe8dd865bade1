// checkpoint.c: see checkpoint.h.
//
// Everything is compared before anything is copied: a checkpoint of another model is named as such,
// with the first few tensors that differ, and leaves the store as it was.
#include "checkpoint.h"
#include "match.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

// ---- metadata ---------------------------------------------------------------------------------

static void source_hash(const struct bt_module *module, char text[16]) {
  const char *source = module->source_text ? module->source_text : "";
  snprintf(text, 16, "%08lx", (unsigned long)crc32_z(0, (const Bytef *)source, strlen(source)));
}

bool bt_checkpoint_format(const struct st_file *f, const char *path, char *err, size_t errlen) {
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
  errno = 0;
  if (text && isdigit((unsigned char)*text)) *value = strtoull(text, &end, 10);
  if (end && *end == 0 && errno == 0) return true;
  return bt_fail(err, errlen,
                 "%s does not say where its run stood (no %s): not a checkpoint of a "
                 "run; it cannot be resumed",
                 path, key);
}

static bool read_point(const struct st_file *f, const char *path, struct bt_progress_point *point,
                       char *err, size_t errlen) {
  uint64_t step = 0, steps = 0, per_epoch = 0;
  if (!bt_checkpoint_format(f, path, err, errlen) ||
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
  struct bt_selection s = bt_select_program(module, program);
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
