// folder.c: see folder.h.
#define _GNU_SOURCE
#include "folder.h"
#include "json_text.h"
#include "replace.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CONFIG "config.json"
#define MODEL "model.btg"

static char *path_of(const struct bt_session *s, const char *file) { return bt_path(s->options->out, s->program->name, file); }

static char *folder_of(const struct bt_session *s) {
  char *folder = path_of(s, "");
  folder[strlen(folder) - 1] = 0; // the slash
  return folder;
}

// ---- the folder -------------------------------------------------------------------------------

static bool make(const char *path, char *err, size_t errlen) {
  return mkdir(path, 0777) == 0 || errno == EEXIST ||
         bt_fail(err, errlen, "cannot make the folder %s: %s", path, strerror(errno));
}

bool bt_folder_make(const struct bt_session *s, char *err, size_t errlen) {
  char *folder = folder_of(s), *probe = path_of(s, ".XXXXXX"); // no file of anyone's
  bool ok = make(s->options->out, err, errlen) && make(folder, err, errlen);
  int fd = ok ? mkstemp(probe) : -1;
  if (fd >= 0) unlink(probe);
  if (ok && (fd < 0 || close(fd) != 0)) ok = bt_fail(err, errlen, "cannot write to the folder %s: %s", folder, strerror(errno));
  free(probe), free(folder);
  return ok;
}

// ---- its files --------------------------------------------------------------------------------

static bool is_epoch_checkpoint(const char *name) {
  int64_t epoch;
  char again[64];
  if (sscanf(name, "epoch-%" SCNd64, &epoch) != 1) return false;
  snprintf(again, sizeof again, BT_EPOCH_CHECKPOINT, epoch);
  return strcmp(name, again) == 0;
}

static bool is_other_checkpoint(const char *name) { return strcmp(name, BT_BEST_CHECKPOINT) == 0 || is_epoch_checkpoint(name); }

static bool is_temporary(const char *name) {
  char of[64];
  size_t n = bt_temporary_of(name);
  if (n == 0 || n >= sizeof of) return false;
  snprintf(of, sizeof of, "%.*s", (int)n, name);
  return is_other_checkpoint(of) || strcmp(of, BT_LAST_CHECKPOINT) == 0 || strcmp(of, CONFIG) == 0 || strcmp(of, MODEL) == 0;
}

// The next file of the folder of this kind, as a path to be freed; NULL: that was all.
static char *next_file(const struct bt_session *s, DIR *folder, bool (*is)(const char *name)) {
  for (struct dirent *entry; folder && (entry = readdir(folder));)
    if (is(entry->d_name)) return path_of(s, entry->d_name);
  return NULL;
}

static DIR *open_folder(const struct bt_session *s) {
  char *path = folder_of(s);
  DIR *folder = opendir(path);
  free(path);
  return folder;
}

static void remove_files(const struct bt_session *s, bool (*is)(const char *name)) {
  DIR *folder = open_folder(s);
  for (char *path; (path = next_file(s, folder, is)); free(path)) unlink(path);
  if (folder) closedir(folder);
}

void bt_folder_clean(const struct bt_session *s) { remove_files(s, is_temporary); }
void bt_folder_forget(const struct bt_session *s) { remove_files(s, is_other_checkpoint); }

char *bt_folder_checkpoint(const struct bt_session *s) {
  char *last = path_of(s, BT_LAST_CHECKPOINT);
  if (access(last, F_OK) == 0) return last;
  free(last);
  DIR *folder = open_folder(s);
  char *path = next_file(s, folder, is_other_checkpoint);
  if (folder) closedir(folder);
  return path;
}

char *bt_folder_good_checkpoint(const struct bt_session *s, struct bt_progress_point *point) {
  DIR *folder = open_folder(s);
  char *best = NULL, changes[64], err[64];
  struct bt_progress_point this = {0};
  for (char *path; (path = next_file(s, folder, is_other_checkpoint));) {
    bool good = bt_checkpoint_load(path, s->module, s->program, s->store.data, &this, changes, sizeof changes, err, sizeof err);
    if (!good || (best && this.step <= point->step)) {
      free(path);
      continue;
    }
    free(best);
    best = path, *point = this;
  }
  if (folder) closedir(folder);
  return best;
}

// ---- what was run -----------------------------------------------------------------------------

static bool write_text(int fd, const void *text) { return bt_write_all(fd, text, strlen(text)); }

static bool replace_text(const struct bt_session *s, const char *file, const char *text, char *err, size_t errlen) {
  char *path = path_of(s, file);
  bool ok = bt_replace_file(path, write_text, text, err, errlen);
  free(path);
  return ok;
}

// The main file is model.btg; the library's are known by their checksums.
static json_t *sources_json(const struct bt_module *m) {
  json_t *sources = json_array();
  for (int i = 0; i < m->n_sources; i++) {
    char digits[16];
    snprintf(digits, sizeof digits, "%08x", m->sources[i].crc32);
    json_t *source = json_pack("{s:o, s:s}", "path", bt_json_text(m->sources[i].path), "crc32", digits);
    if (i > 0 && m->sources[i].text) json_object_set_new(source, "text", bt_json_text(m->sources[i].text));
    json_array_append_new(sources, source);
  }
  return sources;
}

static json_t *compile_options_json(const struct bt_module *m) {
  json_t *options = json_array();
  for (int i = 0; i < m->n_options; i++) json_array_append_new(options, bt_json_text(m->options[i]));
  return options;
}

static json_t *data_json(const struct bt_session *s, int64_t n) {
  const struct bt_data *d = s->data;
  json_t *image = json_pack("[I, I, I]", (json_int_t)d->image[0], (json_int_t)d->image[1], (json_int_t)d->image[2]);
  return json_pack("{s:o, s:I, s:I, s:I, s:I, s:o}", "name", bt_json_text(d->name), "train", (json_int_t)d->train.n, "trained_on",
                   (json_int_t)n, "test", (json_int_t)d->test.n, "classes", (json_int_t)d->classes, "image", image);
}

static json_t *config_json(const struct bt_session *s, const struct bt_step_point *point, int64_t n) {
  const struct bt_module *m = s->module;
  char started[32];
  time_t now = time(NULL);
  struct tm utc;
  strftime(started, sizeof started, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
  json_t *object = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:s}", "program", s->program->name, "started", started,
                             "from_step", (json_int_t)point->step, "steps", (json_int_t)point->steps, "steps_per_epoch",
                             (json_int_t)point->steps_per_epoch, "batch", (json_int_t)s->program->batch, "parameters",
                             (json_int_t)s->program->parameters, "seed", (json_int_t)point->seed, "threads", s->threads,
                             "blas", bt_blas_core());
  json_object_set_new(object, "data", data_json(s, n));
  json_object_set_new(object, "options", bt_cli_options_json(s->options));
  json_object_set_new(object, "build", bt_json_text(m->build));
  json_object_set_new(object, "source", bt_json_text(m->source_path));
  json_object_set_new(object, "compile_options", compile_options_json(m));
  json_object_set_new(object, "sources", sources_json(m));
  return object;
}

bool bt_folder_describe(const struct bt_session *s, const struct bt_step_point *point, int64_t n, char *err, size_t errlen) {
  json_t *config = config_json(s, point, n);
  char *text = json_dumps(config, JSON_INDENT(2) | JSON_REAL_PRECISION(9)), *lines = bt_xcalloc(strlen(text) + 2, 1);
  sprintf(lines, "%s\n", text);
  const char *model = s->module->n_sources ? s->module->sources[0].text : NULL;
  bool ok = replace_text(s, CONFIG, lines, err, errlen) && (!model || replace_text(s, MODEL, model, err, errlen));
  json_decref(config);
  free(text), free(lines);
  return ok;
}
