// progress.c: the progress line and the log.
//
// On a terminal one line is rewritten several times a second; elsewhere a plain line appears at
// most every two seconds, and one an epoch. The log is flushed line by line: it survives a crash.
// Neither touches the run: they read scalars that the step has computed anyway.
#include "progress.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TERMINAL_INTERVAL 0.1
#define PLAIN_INTERVAL 2.0

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

bool bt_progress_open(struct bt_progress *p, const struct bt_session *s, int64_t first_step,
                      bool append, char *err, size_t errlen) {
  double now = bt_now();
  *p = (struct bt_progress){.session = s,
                            .terminal = isatty(STDERR_FILENO) == 1,
                            .started = now,
                            .shown = now,
                            .logged = now,
                            .first_step = first_step,
                            .logged_step = first_step};
  p->log_path = bt_path(s->options->out, s->program->name, ".jsonl");
  p->log = fopen(p->log_path, "a+");
  if (!p->log) {
    bt_fail(err, errlen, "cannot write %s: %s", p->log_path, strerror(errno));
  } else if (is_locked(p->log)) {
    bt_fail(err, errlen, "another run is writing to %s: give this one another --out", p->log_path);
    fclose(p->log);
  } else {
    if (append)
      end_last_line(p->log);
    else if (ftruncate(fileno(p->log), 0) != 0)
      fputc('\n', p->log); // what was there stays, apart
    return true;
  }
  free(p->log_path);
  return false;
}

void bt_progress_close(struct bt_progress *p) {
  bt_progress_end_line(p);
  if (p->log && fclose(p->log) != 0 && !p->warned)
    fprintf(stderr, "warning: cannot write %s: %s\n", p->log_path, strerror(errno));
  free(p->log_path);
  *p = (struct bt_progress){0};
}

// ---- the log ----------------------------------------------------------------------------------

// Writes and frees the object. A log that cannot be written is worth a warning, not the run.
static void write_line(struct bt_progress *p, json_t *object) {
  char *text = json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9));
  json_decref(object);
  if (!text) return;
  bool ok = fprintf(p->log, "%s\n", text) > 0 && fflush(p->log) == 0;
  if (!ok && !p->warned) {
    bt_progress_end_line(p);
    fprintf(stderr, "warning: cannot write %s: %s\n", p->log_path, strerror(errno));
    p->warned = true;
  }
  if (p->session->options->json) printf("%s\n", text), fflush(stdout);
  free(text);
}

// JSON has no infinities: they become null.
static json_t *real(double value) { return isfinite(value) ? json_real(value) : json_null(); }

static json_t *line_of(const struct bt_progress *p, const struct bt_step_point *point,
                       const char *event) {
  json_t *object = json_object();
  json_object_set_new(object, "event", json_string(event));
  json_object_set_new(object, "step", json_integer(point->step));
  json_object_set_new(object, "epoch", real((double)point->step / (double)point->steps_per_epoch));
  json_object_set_new(object, "seconds", real(bt_now() - p->started));
  return object;
}

static void add_reports(json_t *object, const struct bt_session *s) {
  for (int i = 0; i < s->program->n_outputs; i++)
    if (s->program->outputs[i].kind == BT_OUTPUT_REPORT)
      json_object_set_new(object, s->program->outputs[i].name, real(bt_session_scalar(s, i)));
}

static void log_step(struct bt_progress *p, const struct bt_step_point *point, double loss) {
  double now = bt_now(),
         images = (double)((point->step - p->logged_step) * p->session->program->batch);
  json_t *object = line_of(p, point, "step");
  json_object_set_new(object, "loss", real(loss));
  add_reports(object, p->session);
  json_object_set_new(object, "images_per_s", real(images / fmax(now - p->logged, 1e-9)));
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

// ---- the line ---------------------------------------------------------------------------------

void bt_progress_end_line(struct bt_progress *p) {
  if (p->open_line) fputc('\n', stderr);
  p->open_line = false;
}

static void print_duration(char *to, size_t room, double seconds) {
  int64_t s = seconds > 0 ? llround(seconds) : 0;
  if (s >= 3600)
    snprintf(to, room, "%" PRId64 ":%02d:%02d", s / 3600, (int)(s / 60 % 60), (int)(s % 60));
  else
    snprintf(to, room, "%d:%02d", (int)(s / 60), (int)(s % 60));
}

static int terminal_width(void) {
  struct winsize size;
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
}

// Bytes of text that fill at most `width` columns (names may be UTF-8).
static int fitting(const char *text, int width) {
  int i = 0;
  for (; text[i]; i++)
    if (((unsigned char)text[i] & 0xc0) != 0x80 && width-- <= 0) break;
  return i;
}

static void format_line(const struct bt_progress *p, const struct bt_step_point *point, double loss,
                        char *to, size_t room) {
  const struct bt_session *s = p->session;
  double elapsed = fmax(bt_now() - p->started, 1e-9);
  double done = (double)(point->step - p->first_step), left = (double)(point->steps - point->step);
  char eta[32];
  print_duration(eta, sizeof eta, done > 0 ? left * elapsed / done : 0);
  int64_t epochs = (point->steps + point->steps_per_epoch - 1) / point->steps_per_epoch;
  int64_t epoch = (point->step - 1) / point->steps_per_epoch + 1;
  size_t n = (size_t)snprintf(
      to, room, "epoch %" PRId64 "/%" PRId64 "  step %" PRId64 "/%" PRId64 "  loss %.5g", epoch,
      epochs, point->step, point->steps, loss);
  for (int i = 0; i < s->program->n_outputs && n < room; i++)
    if (s->program->outputs[i].kind == BT_OUTPUT_REPORT)
      n += (size_t)snprintf(to + n, room - n, "  %s %.4g", s->program->outputs[i].name,
                            bt_session_scalar(s, i));
  if (n < room)
    snprintf(to + n, room - n, "  %.0f images/s  ETA %s",
             done * (double)s->program->batch / elapsed, eta);
}

static void show(struct bt_progress *p, const struct bt_step_point *point, double loss) {
  char line[1024];
  format_line(p, point, loss, line, sizeof line);
  if (p->terminal)
    fprintf(stderr, "\r\033[K%.*s", fitting(line, terminal_width() - 1), line);
  else
    fprintf(stderr, "%s\n", line);
  fflush(stderr);
  p->open_line = p->terminal;
  p->shown = bt_now();
}

void bt_progress_step(struct bt_progress *p, const struct bt_step_point *point, double loss) {
  double interval = p->terminal ? TERMINAL_INTERVAL : PLAIN_INTERVAL;
  bool last = point->step == point->steps;
  p->epoch_loss += loss;
  p->epoch_steps++;
  if (point->step % p->session->options->log_every == 0 || last) log_step(p, point, loss);
  bool ends_epoch = last || point->step % point->steps_per_epoch == 0; // has a line of its own
  if (!p->session->options->quiet && !ends_epoch && bt_now() - p->shown >= interval)
    show(p, point, loss);
}

void bt_progress_epoch(struct bt_progress *p, const struct bt_step_point *point) {
  double mean = p->epoch_loss / (double)(p->epoch_steps ? p->epoch_steps : 1);
  json_t *object = line_of(p, point, "epoch");
  json_object_set_new(object, "loss", real(mean));
  write_line(p, object);
  if (!p->session->options->quiet) show(p, point, mean);
  bt_progress_end_line(p);
  p->epoch_loss = 0;
  p->epoch_steps = 0;
}
