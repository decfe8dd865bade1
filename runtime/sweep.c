// sweep.c: see sweep.h.
//
// Draws are keyed by the number of the batch, whatever the run's step is: every sweep of a pass draws the
// same, so what changes from one epoch to the next is the model.
#include "sweep.h"
#include "loader.h"

#include <stdlib.h>
#include <string.h>

static void order_sweep(void *user, int64_t step, uint32_t *index) {
  const struct bt_sweep *w = user;
  int64_t batch = w->session->program->batch, from = step * batch;
  for (int64_t i = 0; i < batch; i++) index[i] = w->images[from + i < w->n ? from + i : w->n - 1];
}

bool bt_sweep(const struct bt_sweep *w, bt_sweep_visit *visit, void *user, char *err, size_t errlen) {
  struct bt_session *s = w->session;
  int64_t batch = s->program->batch, batches = (w->n + batch - 1) / batch;
  struct bt_step_point point = {(uint64_t)s->options->seed, 0, batches, batches};
  struct bt_stream stream = {s, w->split, order_sweep, (void *)w, point.seed, 0, batches, batches};
  bool whole = true;
  if (errlen) *err = 0;
  bt_loader_start(s->loader, &stream);
  for (; whole && point.step < batches; point.step++) {
    int64_t from = point.step * batch, rows = w->n - from < batch ? w->n - from : batch;
    if (!(whole = bt_loader_next(s->loader, err, errlen))) break;
    bt_session_count(s, w->run ? w->run : &point);
    bt_session_step(s);
    whole = visit(user, from, rows);
  }
  bt_loader_stop(s->loader);
  return whole;
}

// ---- reports ----------------------------------------------------------------------------------

struct reports {
  const struct bt_sweep *sweep;
  char *const *keeps;
  double *sums;
  int64_t batches;
  bt_sweep_goes_on *goes_on;
  void *user;
};

static void keep_rows(const struct reports *r, int output, int64_t from, int64_t rows) {
  const struct bt_session *s = r->sweep->session;
  const struct bt_output *o = &s->program->outputs[output];
  size_t row = (size_t)bt_count(o->rank, o->shape) / (size_t)s->program->batch * bt_dtype_size(o->dtype);
  memcpy(r->keeps[output] + (size_t)from * row, s->outputs[output], (size_t)rows * row);
}

static bool visit_reports(void *user, int64_t from, int64_t rows) {
  struct reports *r = user;
  const struct bt_session *s = r->sweep->session;
  bool full = rows == s->program->batch;
  for (int i = 0; i < s->program->n_outputs; i++) {
    if (s->program->outputs[i].kind == BT_OUTPUT_REPORT && full) r->sums[i] += bt_session_scalar(s, i);
    if (r->keeps && r->keeps[i]) keep_rows(r, i, from, rows);
  }
  r->batches += full;
  return !r->goes_on || r->goes_on(r->user, from + rows);
}

bool bt_sweep_reports(const struct bt_sweep *w, char *const *keeps, double *means, bt_sweep_goes_on *goes_on, void *user,
                      char *err, size_t errlen) {
  int n = w->session->program->n_outputs;
  memset(means, 0, sizeof *means * (size_t)n);
  struct reports r = {.sweep = w, .keeps = keeps, .sums = means, .goes_on = goes_on, .user = user};
  bool whole = bt_sweep(w, visit_reports, &r, err, errlen);
  for (int i = 0; i < n && r.batches; i++) means[i] /= (double)r.batches;
  return whole;
}

const char *bt_pass_name(const struct bt_program *pass) { return pass->name + strlen(pass->owner) + 1; }

struct bt_sweep bt_pass_sweep(struct bt_pass *pass, const struct bt_step_point *run) {
  const struct bt_data *data = pass->session.data;
  const struct bt_split *split = pass->session.program->split == BT_SPLIT_TRAIN ? &data->train : &data->test;
  return (struct bt_sweep){&pass->session, split, pass->images, pass->n, run};
}
