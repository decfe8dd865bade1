// sweep.c: programs that measure. The program's step turns a split's images into features, a batch
// at a time; the last, partial batch is filled up with its last image, and the surplus rows
// ignored.
#include "evaluate.h"
#include "safetensors.h"
#include "trainer.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sweep {
  float *features; // n × d
  int32_t *labels; // n
  int64_t n, d;
};

// The first of `batches` steps, which are one epoch.
static struct bt_step_point sweep_point(const struct bt_session *s, int64_t batches) {
  return (struct bt_step_point){(uint64_t)s->options->seed, 0, batches, batches};
}

// Steps over the examples `chosen` (n of them) of a split and collects what e measures.
static struct sweep collect(struct bt_session *s, const struct bt_split *split,
                            const uint32_t *chosen, int64_t n, const struct bt_evaluate *e) {
  const struct bt_program *p = s->program;
  const struct bt_output *o = &p->outputs[e->features];
  int64_t batch = p->batch, d = bt_count(o->rank, o->shape) / batch;
  if (o->dtype != BT_F32) bt_die("features of %s", bt_dtype_name(o->dtype));
  struct sweep w = {bt_xcalloc((size_t)(n * d), sizeof(float)),
                    bt_xcalloc((size_t)n, sizeof(int32_t)), n, d};
  uint32_t *index = bt_xcalloc((size_t)batch, sizeof *index);
  struct bt_step_point point = sweep_point(s, (n + batch - 1) / batch);
  for (int64_t from = 0; from < n; from += batch, point.step++) {
    int64_t rows = n - from < batch ? n - from : batch;
    for (int64_t i = 0; i < batch; i++) index[i] = chosen[from + (i < rows ? i : rows - 1)];
    bt_session_feed(s, split, index, &point);
    bt_session_step(s);
    memcpy(w.features + from * d, s->outputs[e->features], sizeof(float) * (size_t)(rows * d));
    memcpy(w.labels + from, s->inputs[e->labels], sizeof(int32_t) * (size_t)rows);
  }
  free(index);
  return w;
}

static void sweep_free(struct sweep *w) { free(w->features), free(w->labels); }

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
  struct sweep train, test;
  const struct bt_evaluate *of; // NULL: nothing is collected
};

static void collect_splits(struct bt_session *s, struct splits *w, const uint32_t *labelled,
                           int64_t n_labelled, const uint32_t *all, const struct bt_evaluate *e) {
  if (w->of && w->of->features == e->features && w->of->labels == e->labels) return;
  sweep_free(&w->train), sweep_free(&w->test);
  w->train = collect(s, &s->data->train, labelled, n_labelled, e);
  w->test = collect(s, &s->data->test, all, s->data->test.n, e);
  w->of = e;
}

static bool write_features(const char *path, const struct splits *w, char *err, size_t errlen) {
  const struct sweep *train = &w->train, *test = &w->test;
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

static void print_report(const struct bt_session *s, const char *name, double value, int64_t test) {
  if (!s->options->json) {
    printf("%s: %.6g\n", name, value);
    return;
  }
  json_t *line =
      json_pack("{s:s, s:s, s:o, s:I}", "program", s->program->name, "report", name, "value",
                isfinite(value) ? json_real(value) : json_null(), "test_images", (json_int_t)test);
  char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9));
  printf("%s\n", text);
  free(text);
  json_decref(line);
}

// A program without `evaluate`: means of its reports over the test split's full batches.
static int measure_reports(struct bt_session *s) {
  const struct bt_program *p = s->program;
  int64_t batches = s->data->test.n / p->batch;
  double *sums = bt_xcalloc((size_t)p->n_outputs, sizeof *sums);
  uint32_t *index = bt_xcalloc((size_t)p->batch, sizeof *index);
  struct bt_step_point point = sweep_point(s, batches);
  for (int64_t b = 0; b < batches; b++, point.step++) {
    for (int64_t i = 0; i < p->batch; i++) index[i] = (uint32_t)(b * p->batch + i);
    bt_session_feed(s, &s->data->test, index, &point);
    bt_session_step(s);
    for (int i = 0; i < p->n_outputs; i++)
      if (p->outputs[i].kind == BT_OUTPUT_REPORT) sums[i] += bt_session_scalar(s, i);
  }
  for (int i = 0; batches && i < p->n_outputs; i++)
    if (p->outputs[i].kind == BT_OUTPUT_REPORT)
      print_report(s, p->outputs[i].name, sums[i] / (double)batches, batches * p->batch);
  free(sums), free(index);
  return batches ? 0 : bt_report_error(s->options, "the test split is smaller than one batch");
}

int bt_measure(struct bt_session *s) {
  char err[4096];
  uint32_t *labelled, *all;
  if (!bt_session_load(s, err, sizeof err)) return bt_report_error(s->options, err);
  if (s->program->n_evaluates == 0 && s->options->features)
    return bt_report_error(s->options, "--features: the program evaluates no features");
  if (s->program->n_evaluates == 0) return measure_reports(s);
  int64_t n_labelled = bt_data_subset(&s->data->train, s->options->label_fraction,
                                      (uint64_t)s->options->seed, &labelled);
  bt_data_subset(&s->data->test, 1, 0, &all);
  struct splits w = {0};
  const char *features = s->options->features;
  bool ok = true;
  for (int i = 0; ok && i < s->program->n_evaluates; i++) {
    double start = bt_now();
    const struct bt_evaluate *e = &s->program->evaluates[i];
    collect_splits(s, &w, labelled, n_labelled, all, e);
    // Of several measures the first one's.
    if (ok && i == 0 && features) ok = write_features(features, &w, err, sizeof err);
    if (ok) measure_one(s, e, &w, start);
  }
  sweep_free(&w.train), sweep_free(&w.test);
  free(labelled), free(all);
  return ok ? 0 : bt_report_error(s->options, err);
}
