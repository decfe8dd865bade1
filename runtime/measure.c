// measure.c: programs that minimise nothing. The program's step turns a split's images into features or
// into reports; then its passes have their turn, once.
#include "evaluate.h"
#include "safetensors.h"
#include "sweep.h"
#include "trainer.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct features {
  float *features; // n × d
  int32_t *labels; // n
  int64_t n, d;
};
struct collection {
  const struct bt_sweep *sweep;
  const struct bt_evaluate *of;
  struct features into;
};

static bool collect_rows(void *user, int64_t from, int64_t rows) {
  struct collection *c = user;
  const struct bt_sweep *w = c->sweep;
  memcpy(c->into.features + from * c->into.d, w->session->outputs[c->of->features], sizeof(float) * (size_t)(rows * c->into.d));
  memcpy(c->into.labels + from, w->session->inputs[c->of->labels], sizeof(int32_t) * (size_t)rows);
  return true;
}

// Steps over the examples `chosen` (n of them) of a split and collects what e measures.
static bool collect(struct bt_session *s, const struct bt_split *split, const uint32_t *chosen, int64_t n,
                    const struct bt_evaluate *e, struct features *into, char *err, size_t errlen) {
  const struct bt_output *o = &s->program->outputs[e->features];
  int64_t d = bt_count(o->rank, o->shape) / s->program->batch;
  if (o->dtype != BT_F32) bt_die("features of %s", bt_dtype_name(o->dtype));
  struct bt_sweep w = {s, split, chosen, n, NULL};
  struct collection c = {&w, e, {bt_xcalloc((size_t)(n * d), sizeof(float)), bt_xcalloc((size_t)n, sizeof(int32_t)), n, d}};
  *into = c.into;
  return bt_sweep(&w, collect_rows, &c, err, errlen);
}

static void features_free(struct features *w) { free(w->features), free(w->labels); }

static void print_result(const struct bt_session *s, const char *measure, double accuracy,
                         int64_t train, int64_t test, double seconds) {
  const struct bt_options *o = s->options;
  if (!o->json) {
    printf("%s: %.2f %% of %" PRId64 " test %s right, from %" PRId64
           " labelled ones (%s%s, %.1f s)\n",
           measure, 100 * accuracy, test, s->data->unit, train, o->untrained ? "untrained, " : "",
           s->program->name, seconds);
    return;
  }
  json_t *line = json_pack("{s:s, s:s, s:f, s:s, s:I, s:I, s:b, s:f}", "program", s->program->name,
                           "measure", measure, "accuracy", accuracy, "labels", o->labels,
                           "train_images", (json_int_t)train, "test_images", (json_int_t)test,
                           "untrained", (int)o->untrained, "seconds", seconds);
  char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9));
  printf("%s\n", text);
  free(text);
  json_decref(line);
}

// Both splits' features, collected once for all measures of the same features and labels.
struct splits {
  struct features train, test;
  const struct bt_evaluate *of; // NULL: nothing is collected
};

static bool collect_splits(struct bt_session *s, struct splits *w, const uint32_t *labelled, int64_t n_labelled,
                           const uint32_t *all, const struct bt_evaluate *e, char *err, size_t errlen) {
  if (w->of && w->of->features == e->features && w->of->labels == e->labels) return true;
  features_free(&w->train), features_free(&w->test);
  w->train = w->test = (struct features){0};
  w->of = e;
  return collect(s, &s->data->train, labelled, n_labelled, e, &w->train, err, errlen) &&
         collect(s, &s->data->test, all, s->data->test.n, e, &w->test, err, errlen);
}

static bool write_features(const char *path, const struct splits *w, char *err, size_t errlen) {
  const struct features *train = &w->train, *test = &w->test;
  const struct st_tensor tensors[] = {
      {"train.features", BT_F32, 2, {train->n, train->d}, train->features},
      {"train.labels", BT_I32, 1, {train->n}, train->labels},
      {"test.features", BT_F32, 2, {test->n, test->d}, test->features},
      {"test.labels", BT_I32, 1, {test->n}, test->labels}};
  return st_write(path, tensors, 4, NULL, 0, err, errlen);
}

static void measure_one(const struct bt_session *s, const struct bt_evaluate *e,
                        const struct splits *w, double start) {
  struct bt_features train = {w->train.n, w->train.d, w->train.features, w->train.labels};
  struct bt_features test = {w->test.n, w->test.d, w->test.features, w->test.labels};
  double accuracy = bt_evaluate(e, &train, &test, s->data->classes);
  print_result(s, bt_evaluate_name(e->kind), accuracy, train.n, test.n, bt_now() - start);
}

static void print_report(const struct bt_session *s, const char *pass, const char *name, double value,
                         const char *images, int64_t n) {
  if (!s->options->json) {
    printf("%s%s%s: %.6g\n", pass ? pass : "", pass ? " " : "", name, value);
    return;
  }
  json_t *line = json_pack("{s:s, s:s*, s:s, s:o, s:I}", "program", s->program->name, "pass", pass, "report", name,
                           "value", isfinite(value) ? json_real(value) : json_null(), images, (json_int_t)n);
  char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9));
  printf("%s\n", text);
  free(text);
  json_decref(line);
}

// Of the program itself, or of one of its passes.
static void print_reports(const struct bt_session *s, const struct bt_sweep *w, const char *pass, const double *means) {
  const struct bt_program *p = w->session->program;
  const char *images = w->split == &s->data->train ? "train_images" : "test_images";
  for (int i = 0; i < p->n_outputs; i++)
    if (p->outputs[i].kind == BT_OUTPUT_REPORT)
      print_report(s, pass, p->outputs[i].name, means[i], images, w->n - w->n % p->batch);
}

// A program without `evaluate`: means of its reports over the test split's full batches.
static bool measure_reports(struct bt_session *s, const uint32_t *all, char *err, size_t errlen) {
  const struct bt_program *p = s->program;
  struct bt_sweep w = {s, &s->data->test, all, s->data->test.n - s->data->test.n % p->batch, NULL};
  if (w.n == 0) return bt_fail(err, errlen, "the test split is smaller than one batch");
  double *means = bt_xcalloc((size_t)p->n_outputs, sizeof *means);
  bool ok = bt_sweep_reports(&w, NULL, means, NULL, NULL, err, errlen);
  if (ok) print_reports(s, &w, NULL, means);
  free(means);
  return ok;
}

static bool measure_passes(struct bt_session *s, char *err, size_t errlen) {
  bool ok = true;
  for (int k = 0; ok && k < s->n_passes; k++) {
    struct bt_pass *pass = &s->passes[k];
    struct bt_sweep w = bt_pass_sweep(pass, NULL);
    double *means = bt_xcalloc((size_t)pass->session.program->n_outputs, sizeof *means);
    ok = bt_sweep_reports(&w, pass->keeps, means, NULL, NULL, err, errlen);
    if (ok) print_reports(s, &w, bt_pass_name(pass->session.program), means);
    free(means);
  }
  return ok;
}

static bool has_reports(const struct bt_program *p) {
  for (int i = 0; i < p->n_outputs; i++)
    if (p->outputs[i].kind == BT_OUTPUT_REPORT) return true;
  return false;
}

// Of several measures, the first one's features are written.
static bool measure_features(struct bt_session *s, const uint32_t *all, char *err, size_t errlen) {
  uint32_t *labelled;
  int64_t n = bt_data_subset(&s->data->train, s->options->label_fraction, (uint64_t)s->options->seed, &labelled);
  struct splits w = {0};
  bool ok = true;
  for (int i = 0; ok && i < s->program->n_evaluates; i++) {
    double start = bt_now();
    const struct bt_evaluate *e = &s->program->evaluates[i];
    ok = collect_splits(s, &w, labelled, n, all, e, err, errlen);
    if (ok && i == 0 && s->options->features) ok = write_features(s->options->features, &w, err, errlen);
    if (ok) measure_one(s, e, &w, start);
  }
  features_free(&w.train), features_free(&w.test);
  free(labelled);
  return ok;
}

int bt_measure(struct bt_session *s) {
  char err[4096];
  uint32_t *all;
  bool ok = true;
  if (!bt_session_load(s, err, sizeof err)) return bt_report_error(s->options, err);
  if (s->program->n_evaluates == 0 && s->options->features)
    return bt_report_error(s->options, "--features: the program evaluates no features");
  bt_data_subset(&s->data->test, 1, 0, &all);
  if (s->program->n_evaluates)
    ok = measure_features(s, all, err, sizeof err);
  else if (has_reports(s->program))
    ok = measure_reports(s, all, err, sizeof err);
  ok = ok && measure_passes(s, err, sizeof err);
  free(all);
  return ok ? 0 : bt_report_error(s->options, err);
}
