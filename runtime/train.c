// train.c: the training loop.
//
// Where a run stands is one number, the step: epoch, order of images, random numbers and rates all
// follow from it and from the seed. So a checkpoint needs the tensors and the step, nothing else,
// and a resumed run repeats the uninterrupted one bit for bit.
//
// Passes follow an epoch's checkpoint, which says that they are due: a run that is stopped in one of them
// begins with them when it is resumed. They change no tensor, so they leave no other trace in it.
//
// A checkpoint is written at the end of each epoch and of the run, every --save-every steps, and
// when SIGINT, SIGTERM, SIGHUP or SIGPIPE arrives (a second SIGINT leaves at once). Parameters that
// are not finite are never saved: the last good checkpoint stays. Since steps can be repeated, those from
// there on are then done again under a watch (watch.h), which names the op that began it.
#define _GNU_SOURCE
#include "checkpoint.h"
#include "loader.h"
#include "progress.h"
#include "random.h"
#include "sweep.h"
#include "trainer.h"
#include "watch.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- signals ----------------------------------------------------------------------------------
// Ctrl-C; kill; the terminal was closed; nobody reads our messages any more. The last comes on the
// heels of the first where a pipe (2>&1 | tee log) gets Ctrl-C as well: the first one counts.

static const int stopping[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
enum { N_STOPPING = sizeof stopping / sizeof *stopping };

// A signal handler can reach nothing but a global.
static volatile sig_atomic_t signal_received;

static void on_signal(int number) {
  if (signal_received && number == SIGINT) _exit(130);
  if (!signal_received) signal_received = number;
}

// Whoever ignores these two (nohup) wants the run to go on.
static bool stays_ignored(int number, const struct sigaction *old) {
  return (number == SIGHUP || number == SIGPIPE) && old->sa_handler == SIG_IGN;
}

static void catch_signals(struct sigaction old[N_STOPPING]) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  signal_received = 0;
  for (int i = 0; i < N_STOPPING; i++) {
    sigaction(stopping[i], NULL, &old[i]);
    if (!stays_ignored(stopping[i], &old[i])) sigaction(stopping[i], &action, NULL);
  }
}

static void release_signals(const struct sigaction old[N_STOPPING]) {
  for (int i = 0; i < N_STOPPING; i++) sigaction(stopping[i], &old[i], NULL);
}

// ---- the run ----------------------------------------------------------------------------------

// Only the loader's threads read and write it, one at a time.
struct order {
  const uint32_t *images; // n: those with labels, or all
  int64_t n, batch, steps_per_epoch;
  uint64_t seed;
  uint32_t *order; // of the epoch: indices into images
  int64_t epoch;   // -1: none yet
};

struct run {
  struct bt_session *s;
  char *checkpoint;
  int loss;                   // output
  struct bt_step_point point; // step: done so far
  bool passes_due;            // an epoch has ended, and its passes have not
  int64_t saved;              // the step of the last checkpoint; -1: none
  bool saved_due;             // what it says of the passes
  uint32_t *images;           // those with labels, or all
  int64_t n_images;
  struct order order;
  struct bt_progress progress;
  char err[4096];
};

static int fail(struct run *r) {
  bt_progress_end_line(&r->progress);
  return bt_report_error(r->s->options, r->err);
}

static bool make_folder(struct run *r, const char *path) {
  return mkdir(path, 0777) == 0 || errno == EEXIST ||
         bt_fail(r->err, sizeof r->err, "cannot make the folder %s: %s", path, strerror(errno));
}

// The run's folder exists (made if need be) and a file can be created in it.
static bool check_writable(struct run *r) {
  const char *out = r->s->options->out;
  char *folder = bt_path(out, r->s->program->name, "");
  folder[strlen(folder) - 1] = 0; // the slash
  char *probe = bt_path(out, r->s->program->name, ".XXXXXX"); // no file of anyone's
  bool ok = make_folder(r, out) && make_folder(r, folder);
  int fd = ok ? mkstemp(probe) : -1;
  if (ok && fd < 0)
    ok = bt_fail(r->err, sizeof r->err, "cannot write to the folder %s: %s", folder, strerror(errno));
  if (fd >= 0) close(fd), unlink(probe);
  free(probe), free(folder);
  return ok;
}

static bool refuse_overwriting(struct run *r) {
  struct bt_progress_point old;
  char why[4096], where[64];
  if (access(r->checkpoint, F_OK) != 0 || r->s->options->force || r->s->options->find_nan) return true;
  if (bt_checkpoint_peek(r->checkpoint, &old, why, sizeof why))
    snprintf(where, sizeof where, "step %" PRId64 " of %" PRId64, old.step, old.steps);
  else
    snprintf(where, sizeof where, "not a checkpoint that can be resumed");
  return bt_fail(r->err, sizeof r->err,
                 "%s exists (%s): give --resume to go on from it, another --out to keep it, or "
                 "--force to start afresh over it",
                 r->checkpoint, where);
}

// Sets the length of the run; `recorded` (of a checkpoint) holds where no option says otherwise.
static bool choose_length(struct run *r, int64_t recorded) {
  const struct bt_options *o = r->s->options;
  struct bt_step_point *p = &r->point;
  p->steps_per_epoch = r->n_images / r->s->program->batch;
  if (p->steps_per_epoch < 1)
    return bt_fail(r->err, sizeof r->err,
                   "%s has %" PRId64 " %s to train on, fewer than one batch of %" PRId64
                   ": compile with a smaller batch, as in btc compile -D batch=%" PRId64,
                   r->s->data->name, r->n_images, r->s->data->unit, r->s->program->batch,
                   r->n_images);
  int64_t epochs = o->epochs ? o->epochs : r->s->program->epochs;
  if (o->steps)
    p->steps = o->steps;
  else if (recorded && !o->epochs)
    p->steps = recorded;
  else if (__builtin_mul_overflow(epochs, p->steps_per_epoch, &p->steps))
    return bt_fail(r->err, sizeof r->err, "%" PRId64 " epochs are more steps than can be counted",
                   epochs);
  return p->steps > 0 || bt_fail(r->err, sizeof r->err,
                                 "program %s does not say for how many epochs it "
                                 "trains: give --epochs N or --steps N",
                                 r->s->program->name);
}

static bool check_resumed(struct run *r, const struct bt_progress_point *old) {
  const struct bt_options *o = r->s->options;
  if (o->seed_given && (uint64_t)o->seed != old->seed)
    return bt_fail(r->err, sizeof r->err,
                   "%s was trained with --seed %" PRIu64 ", not %" PRId64
                   ": leave --seed away to go on",
                   r->checkpoint, old->seed, o->seed);
  if (old->steps_per_epoch != r->point.steps_per_epoch)
    return bt_fail(r->err, sizeof r->err,
                   "%s was trained with %" PRId64 " steps an epoch, now there "
                   "are %" PRId64 ": the data, the labels or the batch are others",
                   r->checkpoint, old->steps_per_epoch, r->point.steps_per_epoch);
  return true;
}

static bool resume(struct run *r) {
  struct bt_progress_point old;
  bool source_changed;
  if (access(r->checkpoint, F_OK) != 0)
    return bt_fail(r->err, sizeof r->err, "nothing to resume: %s is not there", r->checkpoint);
  if (!bt_checkpoint_load(r->checkpoint, r->s->module, r->s->program, r->s->store.data, &old,
                          &source_changed, r->err, sizeof r->err))
    return false;
  if (!choose_length(r, old.steps) || !check_resumed(r, &old)) return false;
  if (source_changed)
    fprintf(stderr,
            "warning: %s was written by a trainer of another source text; the run goes on "
            "with this one's\n",
            r->checkpoint);
  r->point.seed = old.seed;
  r->point.step = r->saved = old.step;
  r->passes_due = r->saved_due = old.passes_due && r->s->n_passes;
  return true;
}

static bool start(struct run *r) {
  return refuse_overwriting(r) && choose_length(r, 0) &&
         bt_session_load(r->s, r->err, sizeof r->err);
}

// ---- batches ----------------------------------------------------------------------------------

// The examples of a step's batch: an epoch has all of them but the last few, which are less than a batch.
static void order_batch(void *user, int64_t step, uint32_t *index) {
  struct order *o = user;
  int64_t epoch = step / o->steps_per_epoch;
  if (o->epoch != epoch) bt_shuffle(o->seed, (uint32_t)epoch, (uint32_t)o->n, o->order);
  o->epoch = epoch;
  const uint32_t *batch = o->order + step % o->steps_per_epoch * o->batch;
  for (int64_t i = 0; i < o->batch; i++) index[i] = o->images[batch[i]];
}

// The loader works ahead to the end, or until passes need it for themselves. Returns the step there.
static int64_t start_loading(struct run *r, int64_t end) {
  const struct bt_step_point *p = &r->point;
  int64_t epoch_ends = (p->step / p->steps_per_epoch + 1) * p->steps_per_epoch;
  if (r->s->n_passes && epoch_ends < end) end = epoch_ends;
  r->order.seed = p->seed, r->order.steps_per_epoch = p->steps_per_epoch;
  struct bt_stream stream = {r->s, &r->s->data->train, order_batch, &r->order, p->seed, p->step, end, p->steps_per_epoch};
  bt_loader_start(r->s->loader, &stream);
  return end;
}

// ---- values that are not finite ---------------------------------------------------------------

// The first of the program's tensors with such a value: its index in the module; -1: none.
static int broken_tensor(const struct bt_session *s) {
  for (int i = 0; i < s->program->n_tensors; i++) {
    const struct bt_tensor *t = &s->module->tensors[s->program->tensors[i]];
    int64_t n = bt_count(t->rank, t->shape), broken = 0;
    const char *data = (const char *)s->store.data + t->offset;
    for (int64_t k = 0; t->dtype == BT_F32 && k < n; k++)
      broken += !isfinite(((const float *)data)[k]);
    for (int64_t k = 0; t->dtype == BT_F64 && k < n; k++)
      broken += !isfinite(((const double *)data)[k]);
    if (broken) return s->program->tensors[i];
  }
  return -1;
}

static void describe_kept(const struct run *r, char *kept, size_t room) {
  if (r->saved >= 0)
    snprintf(kept, room, "%s keeps step %" PRId64, r->checkpoint, r->saved);
  else
    snprintf(kept, room, "nothing was saved");
}

// The loss of the step just done, or else a tensor after it. False: all are finite.
static bool find_broken(const struct run *r, struct bt_watched_value *value) {
  bool loss = !isfinite(bt_session_scalar(r->s, r->loss));
  *value = (struct bt_watched_value){loss ? r->loss : -1, loss ? -1 : broken_tensor(r->s)};
  return loss || value->tensor >= 0;
}

static void describe_broken(const struct run *r, struct bt_watched_value value, char *text, size_t room) {
  double loss = value.output < 0 ? 0 : bt_session_scalar(r->s, value.output);
  if (value.output < 0)
    snprintf(text, room, "parameter %.160s is not finite", r->s->module->tensors[value.tensor].name);
  else
    snprintf(text, room, "the loss is %g", isnan(loss) ? NAN : loss); // no sign of NaN
}

static double epoch_of(const struct bt_step_point *p) { return (double)p->step / (double)p->steps_per_epoch; }

// Takes steps under a watch up to `last`. True: after the step at which the run then stands, `value` is not
// finite, and the watch knows about it. Writes err where the data cannot be read.
static bool watch_steps(struct run *r, struct bt_watch *w, int64_t last, struct bt_watched_value *value, char *err, size_t errlen) {
  struct bt_step_point *p = &r->point;
  for (int64_t loaded = p->step; p->step < last && !signal_received;) {
    if (p->step == loaded) loaded = start_loading(r, last);
    if (!bt_loader_next(r->s->loader, err, errlen)) return false;
    bt_session_count(r->s, p);
    bt_watch_step(w);
    p->step++;
    bt_progress_search(&r->progress, p->step, last);
    if (find_broken(r, value)) return true;
  }
  return false;
}

static void describe_finding(const struct run *r, const struct bt_finding *found, char *text, size_t room) {
  snprintf(text, room, "\n  %s, in step %" PRId64 ": %s", found->infinity.op ? "The first nan" : "The first value that is not finite",
           r->point.step, found->text);
}

// Back to the last checkpoint, or to the beginning.
static bool go_back(struct run *r, char *err, size_t errlen) {
  struct bt_progress_point old;
  bool source_changed;
  r->point.step = r->saved >= 0 ? r->saved : 0;
  if (r->saved >= 0)
    return bt_checkpoint_load(r->checkpoint, r->s->module, r->s->program, r->s->store.data, &old, &source_changed, err, errlen);
  struct bt_options quiet = *r->s->options;
  const struct bt_options *given = r->s->options;
  quiet.quiet = true; // what was loaded from where was said
  r->s->options = &quiet;
  bt_session_initialise(r->s, r->point.seed);
  bool ok = bt_session_load(r->s, err, errlen);
  r->s->options = given;
  return ok;
}

// The time for the steps since then once more; to watch one takes about as long again.
static double time_to_repeat(const struct run *r) {
  int64_t from = r->saved >= 0 ? r->saved : 0, here = r->point.step - r->progress.first_step;
  return 2 * (bt_now() - r->progress.started) / (double)(here > 0 ? here : 1) * (double)(r->point.step - from);
}

static void say_how_to_find(const struct run *r, double seconds, char *text, size_t room) {
  snprintf(text, room,
           "\n  '%s %s%s --find-nan', with the other options of this run, names the first value that is not finite: "
           "it takes about %.0f minutes",
           r->s->options->self, r->s->program->name, r->saved >= 0 ? " --resume" : "", ceil(seconds / 60));
}

// Repeats the steps that led here, and says who began it. The run cannot go on from here.
static void find_beginning(struct run *r, struct bt_finding *found, char *text, size_t room) {
  enum { MOST_SECONDS = 60 };
  char err[1024] = "";
  struct bt_watched_value value;
  int64_t broken_at = r->point.step;
  double seconds = time_to_repeat(r);
  if (r->s->program->n_calls == 0) return; // no tables to watch by
  if (seconds > MOST_SECONDS) {
    say_how_to_find(r, seconds, text, room);
    return;
  }
  struct bt_watch *w = bt_watch_new(r->s);
  bool back = go_back(r, err, sizeof err);
  if (back && watch_steps(r, w, broken_at, &value, err, sizeof err)) {
    bt_watch_explain(w, value, found);
    describe_finding(r, found, text, room);
  } else if (*err) {
    snprintf(text, room, "\n  The steps cannot be done again: %s", err);
  } else if (signal_received) {
    snprintf(text, room, "\n  The search for the first value that is not finite was interrupted");
  } else {
    snprintf(text, room, "\n  Done again from step %" PRId64 ", the same steps are finite: something here differs from one run "
             "to the next, as products of OpenBLAS may", r->saved >= 0 ? r->saved : 0);
  }
  bt_watch_free(w);
}

static void describe_break(struct run *r, struct bt_watched_value value) {
  char kept[512], what[256], more[2600] = "";
  struct bt_finding found = {.text = ""};
  int64_t step = r->point.step;
  double epoch = epoch_of(&r->point);
  describe_kept(r, kept, sizeof kept);
  describe_broken(r, value, what, sizeof what);
  bt_progress_end_line(&r->progress);
  find_beginning(r, &found, more, sizeof more);
  bt_progress_not_finite(&r->progress, step, &found);
  bt_fail(r->err, sizeof r->err,
          "%s at step %" PRId64 " (epoch %.2f): the run stops, %s. Try a lower learning rate or a "
          "longer warm-up%s",
          what, step, epoch, kept, more);
}

// ---- saving -----------------------------------------------------------------------------------

static bool save(struct run *r) {
  if (r->saved == r->point.step && r->saved_due == r->passes_due) return true;
  int broken = broken_tensor(r->s);
  if (broken >= 0) return describe_break(r, (struct bt_watched_value){-1, broken}), false;
  struct bt_progress_point point = {r->point.seed, r->point.step, r->point.steps,
                                    r->point.steps_per_epoch, r->passes_due};
  if (!bt_checkpoint_save(r->checkpoint, r->s->module, r->s->program, r->s->store.data, &point,
                          r->err, sizeof r->err))
    return false;
  r->saved = r->point.step;
  r->saved_due = r->passes_due;
  return true;
}

// ---- steps ------------------------------------------------------------------------------------

// Where the data cannot be read any more, what was trained so far is saved.
static bool load_batch(struct run *r) {
  char why[3000], kept[512];
  if (bt_loader_next(r->s->loader, why, sizeof why)) return true;
  if (r->point.step > 0 && !save(r)) return false;
  describe_kept(r, kept, sizeof kept);
  return bt_fail(r->err, sizeof r->err, "%s. The run stops at step %" PRId64 ", %s", why, r->point.step, kept);
}

static bool take_step(struct run *r) {
  struct bt_step_point *p = &r->point;
  if (!load_batch(r)) return false;
  bt_session_count(r->s, p);
  bt_session_step(r->s);
  r->point.step++;
  if (!isfinite(bt_session_scalar(r->s, r->loss))) return describe_break(r, (struct bt_watched_value){r->loss, -1}), false;
  bt_progress_step(&r->progress, &r->point);
  return true;
}

// ---- passes -----------------------------------------------------------------------------------

struct pass_run {
  struct run *run;
  const struct bt_sweep *sweep;
};

static bool pass_goes_on(void *user, int64_t images_done) {
  const struct pass_run *p = user;
  bt_progress_sweep(&p->run->progress, p->sweep->session->program, images_done, p->sweep->n);
  return !signal_received;
}

static bool run_pass(struct run *r, struct bt_pass *pass) {
  const struct bt_program *program = pass->session.program;
  struct bt_sweep w = bt_pass_sweep(pass, &r->point);
  struct pass_run user = {r, &w};
  double start = bt_now(), *means = bt_xcalloc((size_t)program->n_outputs, sizeof *means);
  bool whole = bt_sweep_reports(&w, pass->keeps, means, pass_goes_on, &user, r->err, sizeof r->err);
  if (whole) bt_progress_pass(&r->progress, &r->point, program, means, bt_now() - start);
  free(means);
  return whole;
}

// They stay due where a signal comes before their end. False with err where one fails.
static bool run_passes(struct run *r) {
  for (int k = 0; k < r->s->n_passes; k++)
    if (signal_received || !run_pass(r, &r->s->passes[k])) return !*r->err;
  r->passes_due = false;
  return true;
}

// ---- the loop ---------------------------------------------------------------------------------

static bool end_epoch(struct run *r) {
  bt_progress_epoch(&r->progress, &r->point);
  r->passes_due = r->s->n_passes > 0;
  return save(r) && (!r->passes_due || run_passes(r));
}

static bool run_steps(struct run *r, int64_t end) {
  struct bt_step_point *p = &r->point;
  int64_t every = r->s->options->save_every, loaded = p->step;
  if (r->passes_due && !run_passes(r)) return false;
  while (p->step < end && !signal_received) {
    if (p->step == loaded) loaded = start_loading(r, end);
    if (!take_step(r)) return false;
    bool epoch_ends = p->step % p->steps_per_epoch == 0 || p->step == p->steps;
    if (epoch_ends && !end_epoch(r)) return false;
    if (!epoch_ends && every && p->step % every == 0 && !save(r)) return false;
  }
  return save(r);
}

static int finish(struct run *r, int64_t end) {
  bt_progress_end_line(&r->progress);
  bool quiet = r->s->options->quiet;
  if (signal_received && (r->point.step < end || r->passes_due)) {
    if (!quiet)
      fprintf(stderr, "interrupted at step %" PRId64 "; saved to %s; --resume goes on\n",
              r->point.step, r->checkpoint);
    bt_progress_event(&r->progress, "interrupted", r->point.step);
    return 128 + (int)signal_received;
  }
  if (!quiet)
    fprintf(stderr, "%s to %s; peak memory %.1f MiB\n",
            r->point.step < r->point.steps ? "stopped, saved" : "done, saved", r->checkpoint,
            (double)bt_peak_bytes() / 0x1p20);
  return 0;
}

static int train_from_here(struct run *r) {
  struct sigaction old[N_STOPPING];
  int64_t stop = r->s->options->stop_at, end = r->point.steps;
  if (stop && stop < end) end = stop;
  bool resumed = r->point.step > 0;
  if (r->point.step >= end && !r->passes_due) {
    if (!r->s->options->quiet)
      fprintf(stderr, "%s is already at step %" PRId64 " of %" PRId64 "; nothing to do\n",
              r->checkpoint, r->point.step, r->point.steps);
    return 0;
  }
  if (!bt_progress_open(&r->progress, r->s, r->point.step, resumed, r->err, sizeof r->err))
    return bt_report_error(r->s->options, r->err);
  if (resumed) bt_progress_event(&r->progress, "resumed", r->point.step);
  catch_signals(old);
  int code = run_steps(r, end) ? finish(r, end) : fail(r);
  bt_loader_stop(r->s->loader);
  release_signals(old);
  bt_progress_close(&r->progress);
  return code;
}

// --find-nan: the steps from here on under a watch. Leaves no trace but what it says.
static int find_nan(struct run *r) {
  struct sigaction old[N_STOPPING];
  struct bt_watched_value value;
  struct bt_finding found;
  int64_t stop = r->s->options->stop_at, first = r->point.step, end = stop && stop < r->point.steps ? stop : r->point.steps;
  struct bt_watch *w = bt_watch_new(r->s);
  bt_progress_begin(&r->progress, r->s, first);
  catch_signals(old);
  bool broken = watch_steps(r, w, end, &value, r->err, sizeof r->err);
  bt_loader_stop(r->s->loader);
  release_signals(old);
  bt_progress_close(&r->progress);
  int code = 0;
  if (broken) {
    char what[256], more[2600];
    describe_broken(r, value, what, sizeof what);
    bt_watch_explain(w, value, &found);
    describe_finding(r, &found, more, sizeof more);
    bt_fail(r->err, sizeof r->err, "%s at step %" PRId64 " (epoch %.2f)%s", what, r->point.step, epoch_of(&r->point), more);
    code = bt_report_error(r->s->options, r->err);
  } else if (*r->err) {
    code = bt_report_error(r->s->options, r->err);
  } else {
    fprintf(stderr, "steps %" PRId64 " to %" PRId64 " are finite\n", first + 1, r->point.step);
    if (signal_received) code = 128 + (int)signal_received;
  }
  bt_watch_free(w);
  return code;
}

static int loss_output(const struct bt_program *p) {
  for (int i = 0; i < p->n_outputs; i++)
    if (p->outputs[i].kind == BT_OUTPUT_LOSS) return i;
  bt_die("program %s has no loss", p->name);
}

int bt_train(struct bt_session *s) {
  const struct bt_options *o = s->options;
  struct run r = {.s = s, .saved = -1, .point = {.seed = (uint64_t)o->seed}};
  r.checkpoint = bt_path(o->out, s->program->name, BT_LAST_CHECKPOINT);
  r.loss = loss_output(s->program);
  r.n_images = bt_data_subset(&s->data->train, o->label_fraction, (uint64_t)o->seed, &r.images);
  r.order = (struct order){.images = r.images, .n = r.n_images, .batch = s->program->batch, .epoch = -1};
  r.order.order = bt_xcalloc((size_t)r.n_images, sizeof *r.order.order);
  bool ok = (o->find_nan || check_writable(&r)) && (o->resume ? resume(&r) : start(&r));
  int code = !ok ? bt_report_error(o, r.err) : o->find_nan ? find_nan(&r) : train_from_here(&r);
  free(r.images), free(r.order.order), free(r.checkpoint);
  return code;
}
