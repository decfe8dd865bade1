// outputs.c: see outputs.h.
//
// Rows go to the files as steps give them, so memory does not grow with the split. Each file is begun
// inside the writing of the one before it; inside the last one the sweep runs.
#include "outputs.h"
#include "folder.h"
#include "json_text.h"
#include "npy.h"
#include "replace.h"
#include "sweep.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct output_file {
  const struct bt_output *output;
  const void *rows; // of a step
  char *path;
  size_t row;       // bytes
  int fd;
  int64_t broken, first_broken; // rows that are not finite
};

struct writing {
  struct bt_sweep sweep;
  const char *split;
  struct bt_progress *progress;
  struct output_file *files;
  int n;
  char *err; // the first failure
  size_t errlen;
};

// A file, and those behind it, which are begun inside.
struct nested {
  struct writing *writing;
  int k;
};

static bool is_broken(const struct output_file *f, int64_t row) {
  const float *x = (const float *)((const char *)f->rows + (size_t)row * f->row);
  for (size_t i = 0; f->output->dtype == BT_F32 && i < f->row / sizeof *x; i++)
    if (!isfinite(x[i])) return true;
  return false;
}

static void count_broken(struct output_file *f, const uint32_t *examples, int64_t rows) {
  for (int64_t i = 0; i < rows; i++)
    if (is_broken(f, i) && f->broken++ == 0) f->first_broken = examples[i];
}

static bool write_rows(void *user, int64_t from, int64_t rows) {
  struct writing *w = user;
  for (int i = 0; i < w->n; i++) {
    count_broken(&w->files[i], w->sweep.images + from, rows);
    if (!bt_write_all(w->files[i].fd, w->files[i].rows, (size_t)rows * w->files[i].row)) return false;
  }
  bt_progress_sweep(w->progress, w->split, from + rows, w->sweep.n);
  return true;
}

static bool write_file(struct writing *w, int k);

static bool write_content(int fd, const void *user) {
  const struct nested *n = user;
  struct writing *w = n->writing;
  const struct bt_output *o = w->files[n->k].output;
  int64_t shape[BT_MAX_RANK];
  memcpy(shape, o->shape, sizeof shape);
  shape[0] = w->sweep.n;
  w->files[n->k].fd = fd;
  if (!bt_npy_write_header(fd, o->dtype, o->rank, shape)) return false;
  return n->k + 1 < w->n ? write_file(w, n->k + 1) : bt_sweep(&w->sweep, write_rows, w, w->err, w->errlen);
}

static bool write_file(struct writing *w, int k) {
  char why[4096];
  const struct nested n = {w, k};
  if (bt_replace_file(w->files[k].path, write_content, &n, why, sizeof why)) return true;
  if (!*w->err) bt_fail(w->err, w->errlen, "%s", why);
  return false;
}

// ---- what is written --------------------------------------------------------------------------

static struct output_file *find_files(const struct bt_session *s, const char *split, int *n) {
  const struct bt_program *p = s->program;
  struct output_file *files = bt_xcalloc((size_t)p->n_outputs, sizeof *files);
  for (int i = 0; i < p->n_outputs; i++) {
    const struct bt_output *o = &p->outputs[i];
    char name[512];
    if (o->kind != BT_OUTPUT_ROWS) continue;
    snprintf(name, sizeof name, "%s-%s.npy", split, o->name);
    files[(*n)++] = (struct output_file){.output = o, .rows = s->outputs[i], .path = bt_path(s->options->out, p->name, name),
                                         .row = (size_t)bt_count(o->rank - 1, o->shape + 1) * bt_dtype_size(o->dtype)};
  }
  return files;
}

static void print_text(const struct writing *w, const struct output_file *f) {
  printf("%s: %" PRId64 " rows of ", f->output->name, w->sweep.n);
  for (int i = 1; i < f->output->rank; i++) printf("%s%" PRId64, i > 1 ? "×" : "", f->output->shape[i]);
  printf("%s to %s\n", f->output->rank == 1 ? "one number" : "", f->path);
}

static void print_json(const struct writing *w, const struct output_file *f) {
  json_t *shape = json_array();
  json_array_append_new(shape, json_integer(w->sweep.n));
  for (int i = 1; i < f->output->rank; i++) json_array_append_new(shape, json_integer(f->output->shape[i]));
  json_t *line = json_pack("{s:s, s:s, s:s, s:o, s:s, s:o, s:I}", "program", w->sweep.session->program->name, "output",
                           f->output->name, "split", w->split, "shape", shape, "dtype", bt_dtype_name(f->output->dtype), "file",
                           bt_json_text(f->path), "not_finite", (json_int_t)f->broken);
  char *text = json_dumps(line, JSON_COMPACT);
  printf("%s\n", text);
  free(text);
  json_decref(line);
}

static void tell(const struct writing *w) {
  bt_progress_end_line(w->progress);
  for (int i = 0; i < w->n; i++) {
    const struct output_file *f = &w->files[i];
    if (w->sweep.session->options->json) print_json(w, f);
    else print_text(w, f);
    if (f->broken)
      fprintf(stderr, "warning: %s: %" PRId64 " of %" PRId64 " rows are not finite, the first is of %s %" PRId64 "\n", f->path,
              f->broken, w->sweep.n, w->split, f->first_broken);
  }
}

static bool write_split(struct bt_session *s, struct bt_progress *progress, const char *name, const struct bt_split *split,
                        double fraction, char *err, size_t errlen) {
  uint32_t *chosen;
  int64_t n = bt_data_subset(split, fraction, (uint64_t)s->options->seed, &chosen);
  struct writing w = {.sweep = {s, split, chosen, n, NULL}, .split = name, .progress = progress, .err = err, .errlen = errlen};
  w.files = find_files(s, name, &w.n);
  *err = 0;
  bool ok = write_file(&w, 0);
  if (ok) tell(&w);
  for (int i = 0; i < w.n; i++) free(w.files[i].path);
  free(w.files), free(chosen);
  return ok;
}

bool bt_outputs_write(struct bt_session *s, struct bt_progress *progress, char *err, size_t errlen) {
  return bt_folder_make(s, err, errlen) &&
         write_split(s, progress, "train", &s->data->train, s->options->label_fraction, err, errlen) &&
         write_split(s, progress, "test", &s->data->test, 1, err, errlen);
}
