// test_rt_progress.c: the line that a run shows, on terminals of any width and elsewhere, and its
// time left.
//
// Time is what the test says: the fields that hold when something began are set back.
#define _GNU_SOURCE
#include "progress.h"
#include "rt_module.h"
#include "rt_test.h"

#include <pty.h>
#include <termios.h>

enum { STEPS_PER_EPOCH = 10 };

struct run {
  struct bt_options options;
  struct bt_session session;
  struct bt_data data; // nothing to warn of
  struct bt_step_point point;
  struct bt_progress progress;
  float scalars[5];
  void *outputs[5];
};

static void open_run(struct run *r, const char *folder, int64_t first_step, int64_t steps) {
  char err[500];
  *r = (struct run){.options = {.out = folder, .log_every = 1000000},
                    .scalars = {0.5f, 0.1f, 0.2f, 12345, 1}};
  for (int i = 0; i < 5; i++) r->outputs[i] = &r->scalars[i];
  r->session = (struct bt_session){.program = &rt_programs[4], .options = &r->options, .outputs = r->outputs, .data = &r->data};
  r->point = (struct bt_step_point){.step = first_step, .steps = steps, .steps_per_epoch = STEPS_PER_EPOCH};
  mkdir(rt_path(folder, "watched"), 0777);
  bool ok = bt_progress_open(&r->progress, &r->session, err, sizeof err) &&
            bt_progress_begin(&r->progress, first_step, false, err, sizeof err);
  if (!ok) fail_msg("%s", err);
}

static void pass_seconds(struct run *r, double seconds) {
  r->progress.started -= seconds, r->progress.shown -= seconds, r->progress.logged -= seconds;
}

// Each step takes `seconds`. What follows an epoch takes `aside`.
static void take_steps(struct run *r, int64_t n, double seconds, double aside) {
  for (int64_t i = 0; i < n; i++) {
    r->point.step++;
    pass_seconds(r, seconds);
    bt_progress_step(&r->progress, &r->point);
    if (r->point.step % STEPS_PER_EPOCH != 0 && r->point.step != r->point.steps) continue;
    bt_progress_epoch(&r->progress, &r->point);
    pass_seconds(r, aside);
    bt_progress_aside(&r->progress, &r->point, aside);
  }
}

// ---- where it goes ----------------------------------------------------------------------------

struct screen {
  int saved, reader;
};

// Standard error becomes a terminal of so many columns; 0: a file.
static struct screen open_screen(const char *folder, int columns) {
  struct screen s = {dup(2), -1};
  int writer;
  if (columns) {
    struct termios raw;
    assert_int_equal(openpty(&s.reader, &writer, NULL, NULL,
                             &(struct winsize){.ws_row = 24, .ws_col = (unsigned short)columns}),
                     0);
    tcgetattr(writer, &raw), cfmakeraw(&raw), tcsetattr(writer, TCSANOW, &raw);
    fcntl(s.reader, F_SETFL, O_NONBLOCK);
  } else {
    writer = open(rt_path(folder, "err"), O_RDWR | O_CREAT | O_TRUNC, 0666);
    s.reader = open(rt_path(folder, "err"), O_RDONLY);
  }
  dup2(writer, 2), close(writer);
  return s;
}

// What was written to it; it is standard error no longer.
static const char *close_screen(struct screen s) {
  static char text[20000];
  size_t n = 0;
  fflush(stderr);
  for (ssize_t got;
       n < sizeof text - 1 && (got = read(s.reader, text + n, sizeof text - 1 - n)) > 0;)
    n += (size_t)got;
  text[n] = 0;
  dup2(s.saved, 2), close(s.saved), close(s.reader);
  return text;
}

// ---- tests ------------------------------------------------------------------------------------

static void test_plain_lines(void **state) {
  struct run r;
  struct screen s = open_screen(*state, 0);
  open_run(&r, *state, 0, 20);
  take_steps(&r, 3, 1.2, 0); // the second and no other is two seconds after a line
  take_steps(&r, 17, 0.1, 0);
  bt_progress_close(&r.progress);
  const char *text = close_screen(s);
  if (strpbrk(text, "\r\033")) fail_msg("%s", text);
  rt_expect_text(text, "epoch 1/2  step 2/20  loss 0.5  ");
  rt_expect_text(text, "epoch 2/2  step 20/20  loss 0.5  ");
  int lines = 0;
  for (const char *at = text; (at = strchr(at, '\n')); at++) lines++;
  assert_int_equal(lines, 3);
}

static void test_quiet(void **state) {
  static const int widths[] = {0, 80};
  for (int i = 0; i < 2; i++) {
    struct run r;
    struct screen s = open_screen(*state, widths[i]);
    open_run(&r, *state, 0, 20);
    r.options.quiet = true;
    take_steps(&r, 20, 3, 1);
    bt_progress_sweep(&r.progress, "test", 1, 2);
    bt_progress_close(&r.progress);
    assert_string_equal(close_screen(s), "");
  }
}

// Whatever its width, the line is never wrapped: each rewriting would leave a part of it behind.
static void test_terminals(void **state) {
  static const int widths[] = {2, 10, 20, 21, 40, 60, 80, 200};
  for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
    struct run r;
    struct screen s = open_screen(*state, widths[i]);
    open_run(&r, *state, 0, 1000);
    take_steps(&r, 25, 1, 0);
    bt_progress_close(&r.progress);
    const char *text = close_screen(s);
    rt_expect_text(text, "\r\033[Ke");
    if (widths[i] >= 60) rt_expect_text(text, "ETA ");
    if (widths[i] >= 80) rt_expect_text(text, "step 25/1000");
    for (const char *at = text; *at;) {
      if (strncmp(at, "\r\033[K", 4) == 0)
        at += 4;
      else if (*at == '\n')
        at++;
      size_t columns = strcspn(at, "\r\n");
      if (columns >= (size_t)widths[i])
        fail_msg("%zu columns of %d: %.*s", columns, widths[i], (int)columns, at);
      at += columns;
    }
  }
}

// JSON on the same terminal takes the place of the line, which is not left before it.
static void test_json_on_the_terminal(void **state) {
  struct run r;
  struct screen s = open_screen(*state, 80);
  int out = dup(1);
  fflush(stdout), dup2(2, 1);
  open_run(&r, *state, 0, 20);
  r.options.json = true;
  take_steps(&r, 3, 1, 0);
  bt_progress_event(&r.progress, "interrupted", 3);
  fflush(stdout), dup2(out, 1), close(out);
  bt_progress_close(&r.progress);
  rt_expect_text(close_screen(s), "\r\033[K{\"event\":\"interrupted\",\"step\":3}\n");
}

// The last ETA shown, in seconds.
static int64_t eta(const char *text) {
  const char *last = NULL;
  for (const char *at = text; (at = strstr(at, "ETA ")); at++) last = at;
  if (!last) fail_msg("no ETA in %s", text);
  int64_t seconds = 0;
  for (const char *at = last + 4; *at == ':' || (*at >= '0' && *at <= '9');) {
    char *end;
    seconds = 60 * seconds + strtol(at + (*at == ':'), &end, 10);
    at = end;
  }
  return seconds;
}

// After first_step and n steps of a run of `steps`, where each takes 4 s and what follows an epoch
// 30 s; `due`: the process begins with it.
static int64_t eta_after(const char *folder, int64_t first_step, bool due, int64_t n,
                         int64_t steps) {
  struct run r;
  struct screen s = open_screen(folder, 0);
  open_run(&r, folder, first_step, steps);
  if (due) pass_seconds(&r, 30), bt_progress_aside(&r.progress, &r.point, 30);
  take_steps(&r, n, 4, 30);
  bt_progress_close(&r.progress);
  return eta(close_screen(s));
}

static void test_time_left(void **state) {
  assert_int_equal(eta_after(*state, 0, false, 5, 100),
                   95 * 4); // nobody knows yet what follows epochs
  assert_int_equal(eta_after(*state, 0, false, 15, 100), 85 * 4 + 9 * 30);
  assert_int_equal(eta_after(*state, 0, false, 59, 100), 41 * 4 + 5 * 30);
  assert_int_equal(eta_after(*state, 0, false, 60, 100),
                   40 * 4 + 5 * 30); // at the epoch's end, before what follows it
  assert_int_equal(eta_after(*state, 0, false, 31, 35),
                   4 * 4 + 1 * 30); // the last epoch is a short one
  assert_int_equal(eta_after(*state, 0, false, 35, 35), 1 * 30);
}

static void test_time_left_after_resuming(void **state) {
  assert_int_equal(eta_after(*state, 50, false, 5, 100), 45 * 4);
  assert_int_equal(eta_after(*state, 50, true, 1, 100), 49 * 4 + 5 * 30);
  assert_int_equal(eta_after(*state, 55, false, 7, 100), 38 * 4 + 4 * 30);
  assert_int_equal(eta_after(*state, 50, true, 15, 100), 35 * 4 + 4 * 30);
}

// The rate is that of steps, in the line and in the log.
static void test_images_per_second(void **state) {
  struct run r;
  struct screen s = open_screen(*state, 120);
  open_run(&r, *state, 0, 100);
  r.options.log_every = 1;
  take_steps(&r, 12, 0.5, 30);
  bt_progress_close(&r.progress);
  rt_expect_text(close_screen(s), "  16 img/s  ");
  char *log = rt_read(rt_path(*state, "watched/log.jsonl"), NULL);
  const char *at = strstr(log, "\"step\":11,");
  assert_non_null(at);
  assert_true(fabs(strtod(strstr(at, "\"images_per_s\":") + 15, NULL) - 16) < 0.5);
  free(log);
}

static int setup(void **state) { return *state = rt_mkdir(), 0; }
static int teardown(void **state) { return rt_rmdir(*state), 0; }
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_FOLDER(test_plain_lines),      WITH_FOLDER(test_quiet),
      WITH_FOLDER(test_terminals),        WITH_FOLDER(test_json_on_the_terminal),
      WITH_FOLDER(test_time_left),        WITH_FOLDER(test_time_left_after_resuming),
      WITH_FOLDER(test_images_per_second)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
