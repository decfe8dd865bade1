// train.c: the training loop.
//
// Where a run stands is one number, the step: epoch, order of images, random numbers and rates all
// follow from it and from the seed. So a checkpoint needs the tensors and the step, and, for what is
// printed and for the best checkpoint, the sums over the epoch's steps and the best score. A resumed
// run repeats the uninterrupted one bit for bit.
//
// Passes follow an epoch's checkpoint, which says that they are due: a run that is stopped in one of them
// begins with them when it is resumed. They change no tensor, so they leave no other trace in it. The programs
// that --evaluate names follow the passes, and are due with them.
//
// A checkpoint is written at the end of each epoch and of the run, every --save-every steps, and
// when SIGINT, SIGTERM, SIGUSR1, SIGHUP or SIGPIPE arrives (a second SIGINT leaves at once). Parameters
// that are not finite are never saved: the last good checkpoint stays. Since steps can be repeated, those from
// there on are then done again under a watch (watch.h), which names the op that began it. Where the checkpoint is
// the best one, or one to keep, it is written under that name first: killed between the two, the run comes from
// the last one to the same place again.
#define _GNU_SOURCE
#include "checkpoint.h"
#include "folder.h"
#include "loader.h"
#include "measure.h"
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
#include <unistd.h>

// ---- signals ----------------------------------------------------------------------------------
// Ctrl-C; kill; a batch system wants the machine; the terminal was closed; nobody reads our messages any more. The
// last comes on the heels of the first where a pipe (2>&1 | tee log) gets Ctrl-C as well: the first one counts.

static const int stopping[] = {SIGINT, SIGTERM, SIGUSR1, SIGHUP, SIGPIPE};
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

enum { MOST_RESULTS = 64 };

struct run {
  struct bt_session *s;
  char *checkpoint;           // the last
  bool resumed;
  char changes[1024];         // of the trainer, since the checkpoint was written
  char data[16];              // checksum of what is trained on
  int loss;                   // output
  struct bt_step_point point; // step: done so far
  struct bt_best best;
  bool best_due;              // what is here is the best, and not saved as such
  bool passes_due;            // an epoch has ended, and its passes and measures have not
  int64_t saved;              // the step of the last checkpoint; -1: none
  bool saved_due;             // what it says of the passes
  uint32_t *images;           // those with labels, or all
  int64_t n_images;
  struct order order;
  struct bt_progress progress;
  struct bt_result last[MOST_RESULTS]; // of what passes and measures said at the end
  int n_last;
  char err[4096];
};

static int fail(struct run *r) {
  bt_progress_end_line(&r->progress);
  return bt_report_error(r->s->options, r->err);
}

bool bt_train_may_start(const struct bt_session *s, char *err, size_t errlen) {
  struct bt_progress_point old;
  char why[4096], where[64], *path = s->options->force || s->options->find_nan ? NULL : bt_folder_checkpoint(s);
  if (!path) return true;
  if (bt_checkpoint_peek(path, &old, why, sizeof why))
    snprintf(where, sizeof where, "step %" PRId64 " of %" PRId64, old.step, old.steps);
  else
    snprintf(where, sizeof where, "not a checkpoint that can be resumed");
  bt_fail(err, errlen,
          "%s exists (%s): give --resume to go on from it, another --out to keep it, or "
          "--force to start afresh over it",
          path, where);
  free(path);
  return false;
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

static bool check_resumed(struct run *r, const char *path, const struct bt_progress_point *old) {
  const struct bt_options *o = r->s->options;
  if (o->seed_given && (uint64_t)o->seed != old->seed)
    return bt_fail(r->err, sizeof r->err,
                   "%s was trained with --seed %" PRIu64 ", not %" PRId64
                   ": leave --seed away to go on",
                   path, old->seed, o->seed);
  if (old->steps_per_epoch != r->point.steps_per_epoch)
    return bt_fail(r->err, sizeof r->err,
                   "%s was trained with %" PRId64 " steps an epoch, now there "
                   "are %" PRId64 ": the data, the labels or the batch are others",
                   path, old->steps_per_epoch, r->point.steps_per_epoch);
  if (*old->data && strcmp(old->data, r->data) != 0)
    return bt_fail(r->err, sizeof r->err,
                   "%s was trained on other data: as many, but other ones, other labels or other names of files. "
                   "Give the same --data, or begin a run of its own with --init %s",
                   path, path);
  if (old->steps != r->point.steps && !o->quiet)
    fprintf(stderr, "warning: the run is now %" PRId64 " steps long, not %" PRId64 ": what follows `steps` or `epochs` changes\n",
            r->point.steps, old->steps);
  return true;
}

// Are measures due after the step?
static bool is_measured(const struct run *r) {
  const struct bt_step_point *p = &r->point;
  if (!r->s->n_measures) return false;
  int64_t epoch = p->step / p->steps_per_epoch, every = r->s->options->evaluate_every;
  return p->step == p->steps || (p->step % p->steps_per_epoch == 0 && epoch % every == 0);
}

// Has the end of an epoch, after the step, something to follow?
static bool has_followers(const struct run *r) { return r->s->n_passes || is_measured(r); }

// The last checkpoint is missing or damaged, which the error says: another may be good.
static bool point_to_another(struct run *r) {
  struct bt_progress_point other;
  char why[sizeof r->err], *path = bt_folder_good_checkpoint(r->s, &other);
  memcpy(why, r->err, sizeof why);
  if (path)
    bt_fail(r->err, sizeof r->err, "%.3000s; %s is good (step %" PRId64 " of %" PRId64 "): --resume --from %s goes on from there",
            why, path, other.step, other.steps, path);
  free(path);
  return false;
}

static bool load_checkpoint(struct run *r, const char *path, struct bt_progress_point *point) {
  if (access(path, F_OK) != 0)
    return bt_fail(r->err, sizeof r->err, "nothing to resume: %s is not there", path);
  return bt_checkpoint_load(path, r->s->module, r->s->program, r->s->store.data, point, r->changes,
                            sizeof r->changes, r->err, sizeof r->err);
}

static bool resume(struct run *r) {
  const char *from = r->s->options->from, *path = from ? from : r->checkpoint;
  struct bt_progress_point old = {.n_sums = r->s->program->n_outputs, .sums = r->progress.epoch_sums};
  if (!load_checkpoint(r, path, &old)) return from ? false : point_to_another(r);
  if (!choose_length(r, old.steps) || !check_resumed(r, path, &old)) return false;
  if (*r->changes && !r->s->options->quiet)
    fprintf(stderr, "warning: %s comes from another trainer: %s; the run goes on with this one\n", path, r->changes);
  r->resumed = true;
  r->point.seed = old.seed;
  r->point.step = old.step;
  r->passes_due = old.passes_due && has_followers(r);
  r->best = old.best;
  r->progress.epoch_steps = old.epoch_steps;
  if (!from) r->saved = old.step, r->saved_due = r->passes_due;
  r->best_due = from && r->best.step == old.step; // here there is none, or another run's
  return true;
}

static bool start(struct run *r) {
  return bt_train_may_start(r->s, r->err, sizeof r->err) && choose_length(r, 0) &&
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

// The loader works ahead to the end, or until passes or measures need it for themselves. Returns the step there.
static int64_t start_loading(struct run *r, int64_t end) {
  const struct bt_step_point *p = &r->point;
  int64_t epoch_ends = (p->step / p->steps_per_epoch + 1) * p->steps_per_epoch;
  if ((r->s->n_passes || r->s->n_measures) && epoch_ends < end) end = epoch_ends;
  bt_loader_stop(r->s->loader); // it reads the order
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

// The step of the last checkpoint, or where this process began: at that of --from, or at the beginning.
static int64_t step_back(const struct run *r) { return r->saved >= 0 ? r->saved : r->progress.first_step; }

static bool go_back(struct run *r, char *err, size_t errlen) {
  struct bt_progress_point old = {0};
  char changes[1024];
  const char *path = r->saved >= 0 ? r->checkpoint : r->resumed ? r->s->options->from : NULL;
  r->point.step = step_back(r);
  if (path)
    return bt_checkpoint_load(path, r->s->module, r->s->program, r->s->store.data, &old, changes, sizeof changes, err, errlen);
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
  int64_t here = r->point.step - r->progress.first_step;
  return 2 * (bt_now() - r->progress.started) / (double)(here > 0 ? here : 1) * (double)(r->point.step - step_back(r));
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
             "to the next, as products of OpenBLAS may", step_back(r));
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

static bool save_as(struct run *r, const char *name) {
  const struct bt_progress *progress = &r->progress;
  struct bt_progress_point point = {.seed = r->point.seed,
                                    .step = r->point.step,
                                    .steps = r->point.steps,
                                    .steps_per_epoch = r->point.steps_per_epoch,
                                    .passes_due = r->passes_due,
                                    .best = r->best,
                                    .epoch_steps = progress->epoch_steps,
                                    .n_sums = r->s->program->n_outputs,
                                    .sums = progress->epoch_sums};
  memcpy(point.data, r->data, sizeof point.data);
  char *path = bt_path(r->s->options->out, r->s->program->name, name);
  bool ok = bt_checkpoint_save(path, r->s->module, r->s->program, r->s->store.data, &point, r->err, sizeof r->err);
  free(path);
  return ok;
}

static bool keeps_epoch(const struct run *r) {
  int64_t every = r->s->options->keep_every, per_epoch = r->point.steps_per_epoch;
  return every && r->point.step > 0 && r->point.step % per_epoch == 0 && r->point.step / per_epoch % every == 0;
}

// Under all names that it is due for. What is kept of an epoch is what its end has saved, not its passes.
static bool save_all(struct run *r) {
  char epoch[64];
  bool keeps = r->saved != r->point.step && keeps_epoch(r);
  snprintf(epoch, sizeof epoch, BT_EPOCH_CHECKPOINT, r->point.step / r->point.steps_per_epoch);
  if (!r->resumed && r->saved < 0) bt_folder_forget(r->s);
  return (!r->best_due || save_as(r, BT_BEST_CHECKPOINT)) && (!keeps || save_as(r, epoch)) &&
         save_as(r, BT_LAST_CHECKPOINT);
}

static bool save(struct run *r) {
  if (r->saved == r->point.step && r->saved_due == r->passes_due && !r->best_due) return true;
  int broken = broken_tensor(r->s);
  if (broken >= 0) return describe_break(r, (struct bt_watched_value){-1, broken}), false;
  if (!save_all(r)) return false;
  r->saved = r->point.step;
  r->saved_due = r->passes_due;
  r->best_due = false;
  return true;
}

// What the run has reached at this step, by some measure of a fixed name ("loss"). Where it is better than all before,
// the next checkpoint, which has to be of this step, is the best one too.
static void score(struct run *r, const char *by, double value, bool highest) {
  struct bt_best *best = &r->best;
  bool same = best->highest == highest && strncmp(best->by, by, sizeof best->by - 1) == 0;
  bool better = !same || (highest ? value > best->value : value < best->value);
  if (!isfinite(value) || !better) return;
  *best = (struct bt_best){.highest = highest, .value = value, .step = r->point.step};
  snprintf(best->by, sizeof best->by, "%s", by);
  r->best_due = true;
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

static bool is_last(const struct run *r) { return r->point.step == r->point.steps; }

// What is measured at a run's end is its result, printed when all is saved.
static void keep_last(struct run *r, const struct bt_result *result) {
  if (is_last(r) && r->n_last < MOST_RESULTS) r->last[r->n_last++] = *result;
}

// --json has printed the log's lines already.
static void print_last(const struct run *r) {
  for (int i = 0; i < r->n_last && !r->s->options->json; i++) bt_print_result(r->s, &r->last[i]);
  fflush(stdout);
}

struct pass_run {
  struct run *run;
  const struct bt_sweep *sweep;
};

static bool pass_goes_on(void *user, int64_t images_done) {
  const struct pass_run *p = user;
  bt_progress_sweep(&p->run->progress, bt_pass_name(p->sweep->session->program), images_done, p->sweep->n);
  return !signal_received;
}

static bool run_pass(struct run *r, struct bt_pass *pass) {
  const struct bt_program *program = pass->session.program;
  struct bt_sweep w = bt_pass_sweep(pass, &r->point);
  struct pass_run user = {r, &w};
  double start = bt_now(), *means = bt_xcalloc((size_t)program->n_outputs, sizeof *means);
  bool whole = bt_sweep_reports(&w, pass->keeps, means, pass_goes_on, &user, r->err, sizeof r->err);
  if (whole) bt_progress_pass(&r->progress, &r->point, program, means, bt_now() - start);
  for (int i = 0; whole && i < program->n_outputs; i++)
    if (program->outputs[i].kind == BT_OUTPUT_REPORT)
      keep_last(r, &(struct bt_result){.program = r->s->program, .pass = bt_pass_name(program),
                                        .report = program->outputs[i].name, .value = means[i]});
  free(means);
  return whole;
}

// ---- measures ---------------------------------------------------------------------------------

struct measure_run {
  struct run *run;
  const char *program;
  struct bt_result results[MOST_RESULTS];
  int n;
};

static void take_result(void *user, const struct bt_result *result) {
  struct measure_run *m = user;
  if (m->n < MOST_RESULTS) m->results[m->n++] = *result;
}

static bool measure_goes_on(void *user, const char *what, int64_t done, int64_t of) {
  const struct measure_run *m = user;
  char text[64];
  snprintf(text, sizeof text, "%.30s: %.20s", m->program, what);
  bt_progress_sweep(&m->run->progress, text, done, of);
  return !signal_received;
}

// The best checkpoint is that of the highest accuracy of the first evaluation that --evaluate names.
static bool is_scored_by_measure(const struct run *r) { return r->s->n_measures && r->s->measures[0].program->n_evaluates; }

static void score_measure(struct run *r, const struct bt_result *first) {
  char by[sizeof r->best.by];
  snprintf(by, sizeof by, "%.30s %.20s", first->program->name, first->measure);
  score(r, by, first->value, true);
}

// The k-th. The run's states come back as they were; a measure that fails is no reason to stop training.
static bool run_measure(struct run *r, int k) {
  struct bt_session *s = &r->s->measures[k];
  struct measure_run m = {.run = r, .program = s->program->name};
  const struct bt_measuring how = {s, r->s->features.data, take_result, measure_goes_on, &m};
  char err[4096];
  double start = bt_now();
  bt_session_save_states(r->s, s);
  enum bt_measured end = bt_measure_program(&how, err, sizeof err);
  bt_session_restore_states(r->s, s);
  if (end == BT_MEASURE_STOPPED) return false;
  bt_progress_measure(&r->progress, &r->point, s->program, m.results, m.n, end == BT_MEASURE_FAILED ? err : NULL, k == 0,
                      bt_now() - start);
  if (k == 0 && is_scored_by_measure(r) && m.n) score_measure(r, &m.results[0]);
  for (int i = 0; i < m.n; i++) keep_last(r, &m.results[i]);
  return true;
}

// What follows an epoch, which stays due where a signal comes before its end. The best checkpoint is of this step.
// False with err where a pass fails.
static bool run_followers(struct run *r) {
  bool whole = true;
  *r->err = 0;
  for (int k = 0; whole && k < r->s->n_passes; k++) whole = !signal_received && run_pass(r, &r->s->passes[k]);
  if (*r->err) return false;
  for (int k = 0; whole && is_measured(r) && k < r->s->n_measures; k++) whole = !signal_received && run_measure(r, k);
  r->passes_due = !whole;
  return !r->best_due || save(r);
}

// ---- the loop ---------------------------------------------------------------------------------

static bool end_epoch(struct run *r) {
  if (!is_scored_by_measure(r)) score(r, "loss", bt_progress_mean(&r->progress, r->loss), false);
  bt_progress_epoch(&r->progress, &r->point);
  r->passes_due = has_followers(r);
  if (!save(r)) return false;
  return !r->passes_due || run_followers(r);
}

static bool run_steps(struct run *r, int64_t end) {
  struct bt_step_point *p = &r->point;
  int64_t every = r->s->options->save_every, loaded = p->step;
  if (r->best_due && !save(r)) return false;
  if (r->passes_due && !run_followers(r)) return false;
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
  print_last(r);
  if (!quiet)
    fprintf(stderr, "%s to %s; peak memory %.1f MiB\n",
            r->point.step < r->point.steps ? "stopped, saved" : "done, saved", r->checkpoint,
            (double)bt_peak_bytes() / 0x1p20);
  return 0;
}

// Of --from, the checkpoint is not the last one yet. A run that has come further than it is now to go is left alone,
// with what is due.
static bool is_done(const struct run *r, int64_t end) {
  return r->point.step > r->point.steps ||
         (r->point.step >= end && !r->passes_due && (r->saved >= 0 || r->point.step > end));
}

static int train_from_here(struct run *r) {
  struct sigaction old[N_STOPPING];
  int64_t stop = r->s->options->stop_at, end = r->point.steps;
  if (stop && stop < end) end = stop;
  if (is_done(r, end)) {
    if (!r->s->options->quiet)
      fprintf(stderr, "%s is already at step %" PRId64 " of %" PRId64 "; nothing to do\n",
              r->checkpoint, r->point.step, r->point.steps);
    return 0;
  }
  bt_folder_clean(r->s);
  if (!bt_folder_describe(r->s, &r->point, r->n_images, r->err, sizeof r->err)) return fail(r);
  if (!bt_progress_begin(&r->progress, r->point.step, r->resumed, r->err, sizeof r->err)) return fail(r);
  if (r->resumed) bt_progress_resumed(&r->progress, r->point.step, r->changes);
  catch_signals(old);
  int code = run_steps(r, end) ? finish(r, end) : fail(r);
  bt_loader_stop(r->s->loader);
  release_signals(old);
  return code;
}

// --find-nan: the steps from here on under a watch. Leaves no trace but what it says.
static int find_nan(struct run *r) {
  struct sigaction old[N_STOPPING];
  struct bt_watched_value value;
  struct bt_finding found;
  int64_t stop = r->s->options->stop_at, first = r->point.step, end = stop && stop < r->point.steps ? stop : r->point.steps;
  struct bt_watch *w = bt_watch_new(r->s);
  catch_signals(old);
  bool broken = watch_steps(r, w, end, &value, r->err, sizeof r->err);
  bt_loader_stop(r->s->loader);
  release_signals(old);
  bt_progress_end_line(&r->progress);
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
  } else if (r->point.step == first && !signal_received) {
    fprintf(stderr, "there is no step to look at, the checkpoint is at step %" PRId64 "\n", first);
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
  snprintf(r.data, sizeof r.data, "%08x", bt_session_checksum(s));
  r.loss = loss_output(s->program);
  r.n_images = bt_data_subset(&s->data->train, o->label_fraction, (uint64_t)o->seed, &r.images);
  r.order = (struct order){.images = r.images, .n = r.n_images, .batch = s->program->batch, .epoch = -1};
  r.order.order = bt_xcalloc((size_t)r.n_images, sizeof *r.order.order);
  int code;
  if (o->find_nan) bt_progress_show(&r.progress, s);
  bool ok = o->find_nan || (bt_folder_make(s, r.err, sizeof r.err) && bt_progress_open(&r.progress, s, r.err, sizeof r.err));
  if (ok) {
    ok = o->resume ? resume(&r) : start(&r);
    code = !ok ? bt_report_error(o, r.err) : o->find_nan ? find_nan(&r) : train_from_here(&r);
    bt_progress_close(&r.progress);
  } else {
    code = bt_report_error(o, r.err);
  }
  free(r.images), free(r.order.order), free(r.checkpoint);
  return code;
}
