// progress.c: the progress line and the log.
//
// On a terminal one line is rewritten several times a second; elsewhere a plain line appears at
// most every two seconds, and one an epoch. The log is flushed line by line: it survives a crash. With
// --tensorboard each number of it is also a point of a curve. None of these touches the run: they read
// scalars that the step has computed anyway.
#include "progress.h"
#include "evaluate.h"
#include "events.h"
#include "json_text.h"
#include "sweep.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TERMINAL_INTERVAL 0.1
#define PLAIN_INTERVAL 2.0
// Columns: of a terminal that does not say how many it has; of a line in a file, which has room for most.
#define USUAL_WIDTH 80
#define PLAIN_WIDTH 120

// Two runs would take turns in overwriting each other's checkpoint. The lock goes with the process.
static bool is_locked(FILE *log) {
  return flock(fileno(log), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

// A run that was killed in the middle of a line must not take the next one with it.
static void end_last_line(FILE *log) {
  int last = fseek(log, -1, SEEK_END) == 0 ? fgetc(log) : '\n';
  fseek(log, 0, SEEK_END);
  if (last != '\n') fputc('\n', log);
}

// Beside the log, if they are wanted.
static bool open_events(struct bt_progress *p, char *err, size_t errlen) {
  if (!p->session->options->tensorboard) return true;
  char *folder = bt_path(p->session->options->out, p->session->program->name, ".");
  p->events = bt_events_open(folder, p->first_step, err, errlen);
  free(folder);
  return p->events != NULL;
}

bool bt_progress_open(struct bt_progress *p, const struct bt_session *s, char *err, size_t errlen) {
  *p = (struct bt_progress){.session = s, .terminal = isatty(STDERR_FILENO) == 1};
  p->epoch_sums = bt_xcalloc((size_t)s->program->n_outputs, sizeof *p->epoch_sums);
  p->log_path = bt_path(s->options->out, s->program->name, "log.jsonl");
  p->log = fopen(p->log_path, "a+e");
  if (p->log && !is_locked(p->log)) return true;
  if (!p->log)
    bt_fail(err, errlen, "cannot write %s: %s", p->log_path, strerror(errno));
  else
    bt_fail(err, errlen, "another run is writing to %s: give this one another --out", p->log_path);
  bt_progress_close(p);
  return false;
}

void bt_progress_show(struct bt_progress *p, const struct bt_session *s) {
  double now = bt_now();
  *p = (struct bt_progress){.session = s, .terminal = isatty(STDERR_FILENO) == 1, .started = now,
                            .shown = now + PLAIN_INTERVAL - TERMINAL_INTERVAL};
}

bool bt_progress_begin(struct bt_progress *p, int64_t first_step, bool append, char *err, size_t errlen) {
  p->started = p->shown = p->logged = bt_now();
  p->first_step = p->logged_step = first_step;
  if (append)
    end_last_line(p->log);
  else if (ftruncate(fileno(p->log), 0) != 0)
    fputc('\n', p->log); // what was there stays, apart
  return open_events(p, err, errlen);
}

void bt_progress_close(struct bt_progress *p) {
  bt_progress_end_line(p);
  if (p->log && fclose(p->log) != 0 && !p->warned)
    fprintf(stderr, "warning: cannot write %s: %s\n", p->log_path, strerror(errno));
  bt_events_close(p->events);
  free(p->log_path), free(p->epoch_sums);
  *p = (struct bt_progress){0};
}

// ---- the log ----------------------------------------------------------------------------------

// What shares the terminal with the line comes in its place; it is shown again soon.
static void clear_line(struct bt_progress *p) {
  if (p->open_line) fputs("\r\033[K", stderr), fflush(stderr);
  p->open_line = false;
}

// What cannot be written is worth a warning, not the run.
static void warn(struct bt_progress *p, bool *warned, const char *text) {
  if (!*warned) bt_progress_end_line(p), fprintf(stderr, "warning: %s\n", text);
  *warned = true;
}

// Writes and frees the object, and the points that came with it.
static void write_line(struct bt_progress *p, json_t *object) {
  char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)), why[4096];
  json_decref(object);
  if (!text) return;
  if (p->torn) end_last_line(p->log);
  p->torn = fprintf(p->log, "%s\n", text) < 0 || fflush(p->log) != 0;
  if (p->torn) {
    bt_fail(why, sizeof why, "cannot write %s: %s", p->log_path, strerror(errno));
    warn(p, &p->warned, why);
    __fpurge(p->log), clearerr(p->log); // half of a line may be there
  }
  if (!bt_events_flush(p->events, why, sizeof why)) warn(p, &p->warned_events, why);
  if (p->session->options->json) clear_line(p), printf("%s\n", text), fflush(stdout);
  free(text);
}

// JSON has no infinities: they become null.
static json_t *real(double value) { return isfinite(value) ? json_real(value) : json_null(); }

// A number of a line, which is also a point of the curve group/name (without a group: name).
static void add_value(struct bt_progress *p, json_t *object, const char *group, int64_t step, const char *name,
                      double value) {
  char tag[1024];
  snprintf(tag, sizeof tag, "%s%s%s", group, *group ? "/" : "", name);
  json_object_set_new(object, name, real(value));
  bt_events_scalar(p->events, step, tag, value);
}

static json_t *line_of(const struct bt_progress *p, const struct bt_step_point *point,
                       const char *event) {
  json_t *object = json_object();
  json_object_set_new(object, "event", json_string(event));
  json_object_set_new(object, "step", json_integer(point->step));
  json_object_set_new(object, "epoch", real((double)point->step / (double)point->steps_per_epoch));
  json_object_set_new(object, "seconds", real(bt_now() - p->started));
  return object;
}

double bt_progress_mean(const struct bt_progress *p, int output) {
  return p->epoch_sums[output] / (double)p->epoch_steps;
}

// Where the values of a line come from: the step just done, or the epoch's mean.
typedef double value_source(const struct bt_progress *p, int output);
static double of_step(const struct bt_progress *p, int output) {
  return bt_session_scalar(p->session, output);
}
static double of_epoch(const struct bt_progress *p, int output) { return bt_progress_mean(p, output); }

// Sets the next output of a kind behind `from`; false: there is none.
static bool next_output(const struct bt_progress *p, enum bt_output_kind kind, int *from) {
  const struct bt_program *program = p->session->program;
  while (++*from < program->n_outputs)
    if (program->outputs[*from].kind == kind) return true;
  return false;
}

static void add_values(struct bt_progress *p, json_t *object, const char *group, int64_t step, value_source *value) {
  static const enum bt_output_kind kinds[] = {BT_OUTPUT_LOSS, BT_OUTPUT_REPORT};
  for (int k = 0; k < 2; k++)
    for (int i = -1; next_output(p, kinds[k], &i);)
      add_value(p, object, group, step, p->session->program->outputs[i].name, value(p, i));
}

static void log_step(struct bt_progress *p, const struct bt_step_point *point) {
  double now = bt_now(),
         images = (double)((point->step - p->logged_step) * p->session->program->batch);
  json_t *object = line_of(p, point, "step");
  add_values(p, object, "train", point->step, of_step);
  add_value(p, object, "", point->step, "images_per_s", images / fmax(now - p->logged, 1e-9));
  write_line(p, object);
  p->logged = now;
  p->logged_step = point->step;
}

void bt_progress_event(struct bt_progress *p, const char *event, int64_t step) {
  json_t *object = json_object();
  json_object_set_new(object, "event", json_string(event));
  json_object_set_new(object, "step", json_integer(step));
  write_line(p, object);
}

static void add_op(json_t *object, const struct bt_named_op *op) {
  char address[512];
  if (!op->op) return;
  snprintf(address, sizeof address, "%s%s%s", op->layer ? op->layer : "", op->layer ? "/" : "", op->op);
  json_object_set_new(object, "op", json_string(op->op));
  json_object_set_new(object, "address", json_string(address));
  if (op->place) json_object_set_new(object, "place", json_string(op->place));
}

void bt_progress_not_finite(struct bt_progress *p, int64_t step, const struct bt_finding *found) {
  json_t *object = json_object();
  json_object_set_new(object, "event", json_string("not finite"));
  json_object_set_new(object, "step", json_integer(step));
  add_op(object, &found->first);
  if (found->infinity.op) {
    json_t *infinity = json_object();
    add_op(infinity, &found->infinity);
    json_object_set_new(object, "infinity", infinity);
  }
  write_line(p, object);
}

void bt_progress_resumed(struct bt_progress *p, int64_t step, const char *changes) {
  json_t *object = json_object();
  json_object_set_new(object, "event", json_string("resumed"));
  json_object_set_new(object, "step", json_integer(step));
  if (*changes) json_object_set_new(object, "changes", bt_json_text(changes));
  write_line(p, object);
}

// ---- the line ---------------------------------------------------------------------------------

void bt_progress_end_line(struct bt_progress *p) {
  if (p->open_line) fputc('\n', stderr);
  p->open_line = false;
}

static void print_duration(char *to, size_t room, double seconds) {
  int64_t s = llround(fmin(fmax(seconds, 0), 1e15));
  if (s >= 3600)
    snprintf(to, room, "%" PRId64 ":%02d:%02d", s / 3600, (int)(s / 60 % 60), (int)(s % 60));
  else
    snprintf(to, room, "%d:%02d", (int)(s / 60), (int)(s % 60));
}

static int terminal_width(void) {
  struct winsize size;
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : USUAL_WIDTH;
}

// A line is a row of parts. Where it is too narrow for all, the important ones are shown. A part counts
// with a width that its number will hardly exceed, so that parts do not come and go with its digits.
enum { ALWAYS, FIRST_REPORTS, SCORE, STEP, RATE, OTHER_REPORTS, N_RANKS };
enum { N_FIRST_REPORTS = 3, MOST_REPORTS = 20, MOST_PARTS = MOST_REPORTS + 6 };
struct part {
  int rank, width;
  bool shown;
  char text[64];
};
struct line {
  int n;
  struct part parts[MOST_PARTS];
};

static void add_part(struct line *l, int rank, int width, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void add_part(struct line *l, int rank, int width, const char *format, ...) {
  struct part *part = &l->parts[l->n++];
  va_list args;
  *part = (struct part){.rank = rank};
  va_start(args, format);
  vsnprintf(part->text, sizeof part->text, format, args);
  va_end(args);
  int length = (int)strlen(part->text);
  part->width = length > width ? length : width;
}

static void add_counter(struct line *l, int rank, const char *name, int64_t at, int64_t of) {
  int width = snprintf(NULL, 0, "%s %" PRId64 "/%" PRId64, name, of, of);
  add_part(l, rank, width, "%s %" PRId64 "/%" PRId64, name, at, of);
}

static void add_counters(struct line *l, const struct bt_step_point *point) {
  int64_t epochs = (point->steps + point->steps_per_epoch - 1) / point->steps_per_epoch;
  add_counter(l, ALWAYS, "epoch", (point->step - 1) / point->steps_per_epoch + 1, epochs);
  add_counter(l, STEP, "step", point->step, point->steps);
}

// Reports are for a glance: 12345, 158, 42.3, 0.51, 6e-04.
static void print_short(char *to, size_t room, double value) {
  double size = fabs(value);
  if (size >= 1e6 || (size > 0 && size < 0.01)) snprintf(to, room, "%.0e", value);
  else if (size >= 100) snprintf(to, room, "%.0f", value);
  else snprintf(to, room, size >= 1 ? "%.3g" : "%.2f", value);
}

// The k-th.
static void add_report(struct line *l, int k, const char *name, double value) {
  char number[32];
  int width = (int)strlen(name) + (int)sizeof " 0.51" - 1;
  print_short(number, sizeof number, value);
  add_part(l, k < N_FIRST_REPORTS ? FIRST_REPORTS : OTHER_REPORTS, width, "%.40s %s", name, number);
}

static void add_scalars(struct line *l, const struct bt_progress *p, value_source *value) {
  const struct bt_output *outputs = p->session->program->outputs;
  for (int i = -1; next_output(p, BT_OUTPUT_LOSS, &i);)
    add_part(l, ALWAYS, sizeof "loss 44.481" - 1, "loss %.5g", value(p, i));
  for (int i = -1, k = 0; k < MOST_REPORTS && next_output(p, BT_OUTPUT_REPORT, &i); k++)
    add_report(l, k, outputs[i].name, value(p, i));
}

// Of a step that is done, how many ends of epochs have what follows them still to come.
static int64_t ends_to_come(const struct bt_step_point *point) {
  return (point->steps + point->steps_per_epoch - 1) / point->steps_per_epoch - (point->step - 1) / point->steps_per_epoch;
}

// Steps take what they took in this process; so do ends of epochs, once there was one.
static void add_times(struct line *l, const struct bt_progress *p,
                      const struct bt_step_point *point) {
  double stepping = fmax(bt_now() - p->started - p->aside, 1e-9);
  double done = (double)(point->step - p->first_step), left = (double)(point->steps - point->step);
  double seconds = (done > 0 ? left * stepping / done : 0) + (p->ends ? (double)ends_to_come(point) * p->aside / (double)p->ends : 0);
  char eta[32];
  print_duration(eta, sizeof eta, seconds);
  add_part(l, RATE, 0, "%.0f img/s", done * (double)p->session->program->batch / stepping);
  add_part(l, ALWAYS, 0, "ETA %s", eta);
}

static void choose_parts(struct line *l, int width) {
  int used = -2; // two blanks between parts
  for (int rank = ALWAYS; rank < N_RANKS; rank++)
    for (int i = 0; i < l->n; i++) {
      struct part *part = &l->parts[i];
      int more = 2 + part->width;
      if (part->rank != rank || (rank != ALWAYS && used + more > width)) continue;
      part->shown = true;
      used += more;
    }
}

static void show_line(struct bt_progress *p, struct line *l) {
  int width = p->terminal ? terminal_width() - 1 : PLAIN_WIDTH;
  char text[MOST_PARTS * sizeof l->parts->text] = "";
  size_t n = 0;
  choose_parts(l, width);
  for (int i = 0; i < l->n; i++)
    if (l->parts[i].shown)
      n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? "  " : "", l->parts[i].text);
  if (p->terminal)
    fprintf(stderr, "\r\033[K%.*s", width, text);
  else
    fprintf(stderr, "%s\n", text);
  fflush(stderr);
  p->open_line = p->terminal;
  p->shown = bt_now();
}

static void show(struct bt_progress *p, const struct bt_step_point *point, value_source *value) {
  struct line l = {0};
  add_counters(&l, point);
  add_scalars(&l, p, value);
  if (*p->score) add_part(&l, SCORE, 0, "%s", p->score);
  add_times(&l, p, point);
  show_line(p, &l);
}

static void warn_of_images(struct bt_progress *p) {
  char text[4400];
  if (!bt_data_warning(p->session->data, text, sizeof text)) return;
  bt_progress_end_line(p);
  fprintf(stderr, "warning: %s\n", text);
}

void bt_progress_search(struct bt_progress *p, int64_t step, int64_t last) {
  struct line l = {0};
  double interval = p->terminal && p->open_line ? TERMINAL_INTERVAL : PLAIN_INTERVAL;
  if (p->session->options->quiet || bt_now() - p->shown < interval) return;
  add_part(&l, ALWAYS, 0, "looking for the first value that is not finite:");
  add_counter(&l, ALWAYS, "step", step, last);
  show_line(p, &l);
}

void bt_progress_step(struct bt_progress *p, const struct bt_step_point *point) {
  warn_of_images(p);
  double interval = p->terminal ? TERMINAL_INTERVAL : PLAIN_INTERVAL;
  bool last = point->step == point->steps;
  for (int i = 0; i < p->session->program->n_outputs; i++)
    if (p->session->program->outputs[i].kind != BT_OUTPUT_VALUE)
      p->epoch_sums[i] += bt_session_scalar(p->session, i);
  p->epoch_steps++;
  if (point->step % p->session->options->log_every == 0 || last) log_step(p, point);
  bool ends_epoch = last || point->step % point->steps_per_epoch == 0; // has a line of its own
  if (!p->session->options->quiet && !ends_epoch && bt_now() - p->shown >= interval)
    show(p, point, of_step);
}

void bt_progress_epoch(struct bt_progress *p, const struct bt_step_point *point) {
  json_t *object = line_of(p, point, "epoch");
  add_values(p, object, "epoch", point->step, of_epoch);
  write_line(p, object);
  if (!p->session->options->quiet) show(p, point, of_epoch);
  bt_progress_end_line(p);
  p->ends++;
  memset(p->epoch_sums, 0, sizeof *p->epoch_sums * (size_t)p->session->program->n_outputs);
  p->epoch_steps = 0;
}

// ---- passes -----------------------------------------------------------------------------------

void bt_progress_aside(struct bt_progress *p, const struct bt_step_point *point, double seconds) {
  if (point->step == p->first_step && !p->ends) p->ends = 1; // due since before this process
  p->aside += seconds;
  p->logged += seconds;
}

void bt_progress_sweep(struct bt_progress *p, const char *what, int64_t done, int64_t of) {
  struct line l = {0};
  if (p->session->options->quiet || !p->terminal || bt_now() - p->shown < TERMINAL_INTERVAL) return;
  add_counter(&l, ALWAYS, what, done, of);
  show_line(p, &l);
}

void bt_progress_pass(struct bt_progress *p, const struct bt_step_point *point, const struct bt_program *pass,
                      const double *means, double seconds) {
  json_t *object = line_of(p, point, "pass");
  struct line l = {0};
  char group[256];
  snprintf(group, sizeof group, "pass/%s", bt_pass_name(pass)); // train/… are the steps'
  json_object_set_new(object, "pass", json_string(bt_pass_name(pass)));
  add_part(&l, ALWAYS, 0, "  %.40s", bt_pass_name(pass));
  for (int i = 0, k = 0; i < pass->n_outputs; i++) {
    if (pass->outputs[i].kind != BT_OUTPUT_REPORT) continue;
    add_value(p, object, group, point->step, pass->outputs[i].name, means[i]);
    if (k < MOST_REPORTS) add_report(&l, k++, pass->outputs[i].name, means[i]);
  }
  write_line(p, object);
  if (!p->session->options->quiet && l.n > 1) show_line(p, &l), bt_progress_end_line(p);
  bt_progress_aside(p, point, seconds);
}

// ---- measures ---------------------------------------------------------------------------------

// "knn", or "probe linear_probe" where the program has another name than its measure.
static void name_measure(char *to, size_t room, const struct bt_result *r) {
  bool same = strcmp(r->program->name, r->measure) == 0;
  snprintf(to, room, "%.30s%s%.20s", r->program->name, same ? "" : " ", same ? "" : r->measure);
}

static void log_result(struct bt_progress *p, const struct bt_step_point *point, const struct bt_result *r, double value) {
  char tag[1024];
  json_t *object = line_of(p, point, "evaluate");
  json_object_set_new(object, "program", json_string(r->program->name));
  if (r->pass) json_object_set_new(object, "pass", json_string(r->pass));
  if (r->measure) json_object_set_new(object, "measure", json_string(r->measure));
  if (r->report) json_object_set_new(object, "report", json_string(r->report));
  json_object_set_new(object, r->report ? "value" : "accuracy", real(value));
  snprintf(tag, sizeof tag, "evaluate/%s/%s%s%s", r->program->name, r->pass ? r->pass : "", r->pass ? "/" : "",
           r->measure ? r->measure : r->report ? r->report : "");
  bt_events_scalar(p->events, point->step, tag, value);
  write_line(p, object);
}

static void add_result(struct line *l, int k, const struct bt_result *r) {
  char name[64];
  if (r->measure) {
    name_measure(name, sizeof name, r);
    add_part(l, ALWAYS, 0, "%s%s %.2f %%", k ? "" : "  ", name, 100 * r->value);
    return;
  }
  snprintf(name, sizeof name, "%s%.20s%s%.30s", k ? "" : "  ", r->pass ? r->pass : "", r->pass ? " " : "", r->report);
  add_report(l, k, name, r->value);
}

static const struct bt_result *first_accuracy(const struct bt_result *results, int n) {
  for (int i = 0; i < n; i++)
    if (results[i].measure) return &results[i];
  return NULL;
}

void bt_progress_measure(struct bt_progress *p, const struct bt_step_point *point, const struct bt_program *program,
                         const struct bt_result *results, int n, const char *broken, bool first, double seconds) {
  struct line l = {0};
  const struct bt_result *score = first ? first_accuracy(results, n) : NULL;
  if (score) {
    char name[64];
    name_measure(name, sizeof name, score);
    snprintf(p->score, sizeof p->score, "%.50s %.1f %%", name, 100 * score->value);
  }
  for (int i = 0; i < n; i++) {
    log_result(p, point, &results[i], results[i].value);
    if (i < MOST_REPORTS) add_result(&l, i, &results[i]);
  }
  if (broken) {
    const struct bt_evaluate *e = program->evaluates;
    const struct bt_result none = {.program = program, .measure = program->n_evaluates ? bt_evaluate_name(e->kind) : NULL};
    log_result(p, point, &none, NAN);
    bt_progress_end_line(p);
    fprintf(stderr, "warning: %s\n", broken);
  }
  if (!p->session->options->quiet && l.n) show_line(p, &l), bt_progress_end_line(p);
  bt_progress_aside(p, point, seconds);
}
