// measure.c: see measure.h. The program's step turns a split's images into features or into reports;
// then its passes have their turn, once.
#include "measure.h"
#include "evaluate.h"
#include "outputs.h"
#include "progress.h"
#include "safetensors.h"
#include "sweep.h"
#include "trainer.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool bt_program_measures(const struct bt_module *module, const struct bt_program *program) {
  bool measures = program->n_evaluates || bt_program_has(program, BT_OUTPUT_REPORT);
  for (int i = 0; i < module->n_programs; i++) {
    const struct bt_program *p = &module->programs[i];
    bool pass = p->owner && strcmp(p->owner, program->name) == 0;
    measures |= pass && bt_program_has(p, BT_OUTPUT_REPORT);
  }
  return measures;
}

// A sweep has ended early: by a failure, which has an error text, or because it was told to.
static enum bt_measured interrupted(const char *err) { return *err ? BT_MEASURE_FAILED : BT_MEASURE_STOPPED; }

static bool goes_on(const struct bt_measuring *m, const char *what, int64_t done, int64_t of) {
  return !m->goes_on || m->goes_on(m->user, what, done, of);
}

// ---- features ---------------------------------------------------------------------------------

struct rows {
  float *features; // n × d
  int32_t *labels; // n
  int64_t n, d;
};

static struct rows place_rows(struct bt_room *room, int64_t n, int64_t d) {
  float *features = bt_room_take(room, (size_t)(n * d), sizeof *features);
  return (struct rows){features, bt_room_take(room, (size_t)n, sizeof(int32_t)), n, d};
}

static int64_t columns_of(const struct bt_session *s, const struct bt_evaluate *e) {
  const struct bt_output *o = &s->program->outputs[e->features];
  if (o->dtype != BT_F32) bt_die("features of %s", bt_dtype_name(o->dtype));
  return bt_count(o->rank, o->shape) / s->program->batch;
}

size_t bt_features_bytes(const struct bt_session *s) {
  size_t most = 0;
  for (int i = 0; i < s->program->n_evaluates; i++) {
    const struct bt_evaluate *e = &s->program->evaluates[i];
    struct bt_room room = {0};
    int64_t d = columns_of(s, e), train = s->data->train.n, test = s->data->test.n;
    place_rows(&room, train, d), place_rows(&room, test, d);
    size_t bytes = room.used + bt_evaluate_bytes(e, train, test, d, s->data->classes);
    if (bytes > most) most = bytes;
  }
  return most;
}

struct collection {
  const struct bt_measuring *measuring;
  const struct bt_sweep *sweep;
  const struct bt_evaluate *of;
  struct rows into;
  const char *split;
};

static bool collect_rows(void *user, int64_t from, int64_t rows) {
  const struct collection *c = user;
  const struct bt_session *s = c->sweep->session;
  memcpy(c->into.features + from * c->into.d, s->outputs[c->of->features], sizeof(float) * (size_t)(rows * c->into.d));
  memcpy(c->into.labels + from, s->inputs[c->of->labels], sizeof(int32_t) * (size_t)rows);
  return goes_on(c->measuring, c->split, from + rows, c->sweep->n);
}

// The features of the training examples `labelled` and of all test examples, collected once for all
// measures of the same features and labels. What is behind them in the room is free.
struct splits {
  struct rows train, test;
  const struct bt_evaluate *of; // NULL: nothing is collected
  struct bt_room room;
};

struct chosen {
  uint32_t *labelled, *all; // of the training and of the test split
  int64_t n_labelled, n_all;
};

static bool collect_split(const struct bt_measuring *m, const struct bt_evaluate *e, const struct bt_split *split,
                          const uint32_t *chosen, struct rows into, const char *name, char *err, size_t errlen) {
  struct bt_sweep w = {m->session, split, chosen, into.n, NULL};
  struct collection c = {m, &w, e, into, name};
  return bt_sweep(&w, collect_rows, &c, err, errlen);
}

static bool collect_splits(const struct bt_measuring *m, struct splits *w, const struct chosen *c, const struct bt_evaluate *e,
                           char *err, size_t errlen) {
  const struct bt_session *s = m->session;
  if (w->of && w->of->features == e->features && w->of->labels == e->labels) return true;
  int64_t d = columns_of(s, e);
  w->room = (struct bt_room){m->room, 0};
  w->train = place_rows(&w->room, c->n_labelled, d), w->test = place_rows(&w->room, c->n_all, d);
  w->of = e;
  return collect_split(m, e, &s->data->train, c->labelled, w->train, "train", err, errlen) &&
         collect_split(m, e, &s->data->test, c->all, w->test, "test", err, errlen);
}

// A NaN is near nothing and far from nothing: no accuracy would mean anything.
static bool check_finite(const struct bt_session *s, const struct rows *rows, const uint32_t *chosen, const char *split,
                         char *err, size_t errlen) {
  for (int64_t i = 0; i < rows->n * rows->d; i++)
    if (!isfinite(rows->features[i]))
      return bt_fail(err, errlen,
                     "program %s: the features of %s %.*s %" PRIu32 " are not finite, so nothing can be measured: what "
                     "computes them is broken (parameters of a run that diverged, or a division by 0)",
                     s->program->name, split, (int)strlen(s->data->unit) - 1, s->data->unit, chosen[i / rows->d]);
  return true;
}

static bool write_features(const char *path, const struct splits *w, char *err, size_t errlen) {
  const struct rows *train = &w->train, *test = &w->test;
  const struct st_tensor tensors[] = {
      {"train.features", BT_F32, 2, {train->n, train->d}, train->features},
      {"train.labels", BT_I32, 1, {train->n}, train->labels},
      {"test.features", BT_F32, 2, {test->n, test->d}, test->features},
      {"test.labels", BT_I32, 1, {test->n}, test->labels}};
  return st_write(path, tensors, 4, NULL, 0, err, errlen);
}

// ---- evaluations ------------------------------------------------------------------------------

struct judging {
  const struct bt_measuring *measuring;
  const char *name;
};

static bool judging_goes_on(void *user, int64_t done, int64_t of) {
  const struct judging *j = user;
  return goes_on(j->measuring, j->name, done, of);
}

static enum bt_measured judge(const struct bt_measuring *m, const struct bt_evaluate *e, const struct splits *w, double start) {
  struct bt_features train = {w->train.n, w->train.d, w->train.features, w->train.labels};
  struct bt_features test = {w->test.n, w->test.d, w->test.features, w->test.labels};
  struct judging j = {m, bt_evaluate_name(e->kind)};
  struct bt_onlooker watch = {judging_goes_on, &j};
  double accuracy = bt_evaluate(e, &train, &test, m->session->data->classes, (char *)m->room + w->room.used, &watch);
  if (isnan(accuracy)) return BT_MEASURE_STOPPED;
  struct bt_result r = {.program = m->session->program, .measure = j.name, .value = accuracy,
                        .train = train.n, .test = test.n, .seconds = bt_now() - start};
  return m->take(m->user, &r), BT_MEASURED;
}

static enum bt_measured run_evaluation(const struct bt_measuring *m, int i, struct splits *w, const struct chosen *c,
                                       char *err, size_t errlen) {
  const struct bt_session *s = m->session;
  double start = bt_now();
  if (!collect_splits(m, w, c, &s->program->evaluates[i], err, errlen)) return interrupted(err);
  bool ok = check_finite(s, &w->train, c->labelled, "training", err, errlen) &&
            check_finite(s, &w->test, c->all, "test", err, errlen);
  // Of several evaluations, the first one's features are written.
  if (ok && i == 0 && s->options->features) ok = write_features(s->options->features, w, err, errlen);
  return ok ? judge(m, &s->program->evaluates[i], w, start) : BT_MEASURE_FAILED;
}

static enum bt_measured run_evaluations(const struct bt_measuring *m, const struct chosen *c, char *err, size_t errlen) {
  struct splits w = {0};
  enum bt_measured how = BT_MEASURED;
  for (int i = 0; how == BT_MEASURED && i < m->session->program->n_evaluates; i++)
    how = run_evaluation(m, i, &w, c, err, errlen);
  return how;
}

// ---- reports ----------------------------------------------------------------------------------

struct reporting {
  const struct bt_measuring *measuring;
  const struct bt_sweep *sweep;
  const char *name;
};

static bool reporting_goes_on(void *user, int64_t done) {
  const struct reporting *r = user;
  return goes_on(r->measuring, r->name, done, r->sweep->n);
}

// Of the program itself over `w`, or of one of its passes, which keeps rows.
static enum bt_measured run_reports(const struct bt_measuring *m, const struct bt_sweep *w, const char *pass, char *const *keeps,
                                    char *err, size_t errlen) {
  const struct bt_program *p = w->session->program;
  double start = bt_now(), *means = bt_xcalloc((size_t)p->n_outputs, sizeof *means);
  struct reporting user = {m, w, pass ? pass : "test"};
  bool train = w->split == &w->session->data->train, whole = bt_sweep_reports(w, keeps, means, reporting_goes_on, &user, err, errlen);
  int64_t n = w->n - w->n % p->batch;
  for (int i = 0; whole && i < p->n_outputs; i++) {
    if (p->outputs[i].kind != BT_OUTPUT_REPORT) continue;
    struct bt_result r = {.program = m->session->program, .pass = pass, .report = p->outputs[i].name, .value = means[i],
                          .train = train ? n : 0, .test = train ? 0 : n, .seconds = bt_now() - start};
    m->take(m->user, &r);
  }
  free(means);
  return whole ? BT_MEASURED : interrupted(err);
}

// A program without `evaluate`: means of its reports over the test split's full batches.
static enum bt_measured run_own_reports(const struct bt_measuring *m, const struct chosen *c, char *err, size_t errlen) {
  struct bt_session *s = m->session;
  struct bt_sweep w = {s, &s->data->test, c->all, c->n_all - c->n_all % s->program->batch, NULL};
  if (w.n == 0) return bt_fail(err, errlen, "the test split is smaller than one batch"), BT_MEASURE_FAILED;
  return run_reports(m, &w, NULL, NULL, err, errlen);
}

static enum bt_measured run_passes(const struct bt_measuring *m, char *err, size_t errlen) {
  enum bt_measured how = BT_MEASURED;
  for (int k = 0; how == BT_MEASURED && k < m->session->n_passes; k++) {
    struct bt_pass *pass = &m->session->passes[k];
    struct bt_sweep w = bt_pass_sweep(pass, NULL);
    how = run_reports(m, &w, bt_pass_name(pass->session.program), pass->keeps, err, errlen);
  }
  return how;
}

// ---- a program --------------------------------------------------------------------------------

enum bt_measured bt_measure_program(const struct bt_measuring *m, char *err, size_t errlen) {
  const struct bt_session *s = m->session;
  const struct bt_options *o = s->options;
  struct chosen c = {0};
  *err = 0;
  c.n_labelled = bt_data_subset(&s->data->train, o->label_fraction, (uint64_t)o->seed, &c.labelled);
  c.n_all = bt_data_subset(&s->data->test, 1, 0, &c.all);
  enum bt_measured how = BT_MEASURED;
  if (s->program->n_evaluates) how = run_evaluations(m, &c, err, errlen);
  else if (bt_program_has(s->program, BT_OUTPUT_REPORT)) how = run_own_reports(m, &c, err, errlen);
  if (how == BT_MEASURED) how = run_passes(m, err, errlen);
  free(c.labelled), free(c.all);
  return how;
}

// ---- on its own -------------------------------------------------------------------------------

static void print_json(const struct bt_options *o, const struct bt_result *r) {
  const char *images = r->test ? "test_images" : "train_images";
  json_t *line =
      r->measure ? json_pack("{s:s, s:s, s:f, s:s, s:I, s:I, s:b, s:f}", "program", r->program->name, "measure", r->measure,
                             "accuracy", r->value, "labels", o->labels, "train_images", (json_int_t)r->train, "test_images",
                             (json_int_t)r->test, "untrained", (int)o->untrained, "seconds", r->seconds)
                 : json_pack("{s:s, s:s*, s:s, s:o, s:I}", "program", r->program->name, "pass", r->pass, "report", r->report,
                             "value", isfinite(r->value) ? json_real(r->value) : json_null(), images,
                             (json_int_t)(r->test ? r->test : r->train));
  char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9));
  printf("%s\n", text);
  free(text);
  json_decref(line);
}

void bt_print_result(const struct bt_session *s, const struct bt_result *r) {
  const struct bt_options *o = s->options;
  if (o->json)
    print_json(o, r);
  else if (r->measure)
    printf("%s: %.2f %% of %" PRId64 " test %s right, from %" PRId64 " labelled ones (%s%s, %.1f s)\n", r->measure,
           100 * r->value, r->test, s->data->unit, r->train, o->untrained ? "untrained, " : "", r->program->name, r->seconds);
  else
    printf("%s%s%s: %.6g\n", r->pass ? r->pass : "", r->pass ? " " : "", r->report, r->value);
}

struct alone {
  const struct bt_session *session;
  struct bt_progress progress;
};

static void take_alone(void *user, const struct bt_result *r) {
  struct alone *a = user;
  bt_progress_end_line(&a->progress);
  bt_print_result(a->session, r);
}

static bool show_alone(void *user, const char *what, int64_t done, int64_t of) {
  struct alone *a = user;
  bt_progress_sweep(&a->progress, what, done, of);
  return true;
}

int bt_measure(struct bt_session *s) {
  char err[4096];
  struct alone a = {.session = s};
  struct bt_measuring m = {s, s->features.data, take_alone, show_alone, &a};
  if (!bt_session_load(s, err, sizeof err)) return bt_report_error(s->options, err);
  if (s->program->n_evaluates == 0 && s->options->features)
    return bt_report_error(s->options, "--features: the program evaluates no features");
  bt_progress_show(&a.progress, s);
  bool ok = bt_measure_program(&m, err, sizeof err) == BT_MEASURED;
  ok = ok && (!bt_program_has(s->program, BT_OUTPUT_ROWS) || bt_outputs_write(s, &a.progress, err, sizeof err));
  bt_progress_end_line(&a.progress);
  return ok ? 0 : bt_report_error(s->options, err);
}
