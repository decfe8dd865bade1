// test_rt_events.c: event files of TensorBoard, and what a trainer puts into them.
#define _GNU_SOURCE
#include "event_file.h"
#include "events.h"
#include "rt_module.h"
#include "rt_test.h"

#include <dirent.h>
#include <errno.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

static char err[5000];

// The vectors of RFC 3720, B.4, and the check value of CRC-32C.
static void test_checksums(void **state) {
  unsigned char bytes[32] = {0};
  (void)state;
  assert_int_equal(bt_crc32c(bytes, 32), 0x8a9136aa);
  memset(bytes, 0xff, 32);
  assert_int_equal(bt_crc32c(bytes, 32), 0x62a8ab43);
  for (int i = 0; i < 32; i++) bytes[i] = (unsigned char)i;
  assert_int_equal(bt_crc32c(bytes, 32), 0x46dd794e);
  for (int i = 0; i < 32; i++) bytes[i] = (unsigned char)(31 - i);
  assert_int_equal(bt_crc32c(bytes, 32), 0x113fdb5c);
  assert_int_equal(bt_crc32c("123456789", 9), 0xe3069283);
  assert_int_equal(bt_crc32c("", 0), 0);
}

// ---- files ------------------------------------------------------------------------------------

static int by_name(const struct dirent **a, const struct dirent **b) {
  return strcmp((*a)->d_name, (*b)->d_name);
}
static int is_events(const struct dirent *e) {
  return strncmp(e->d_name, "events.out.tfevents.", 20) == 0;
}

// The path of the folder's k-th event file in the order of names, which is the one in which
// TensorBoard reads; NULL: there are not so many.
static const char *event_path(const char *folder, int k) {
  struct dirent **names;
  const char *path = NULL;
  int n = scandir(folder, &names, is_events, by_name);
  assert_true(n >= 0);
  for (int i = 0; i < n; i++) {
    if (i == k) path = rt_path(folder, names[i]->d_name);
    free(names[i]);
  }
  free(names);
  return path;
}

static struct event_file open_events(const char *path) {
  struct event_file f = {0};
  f.data = (unsigned char *)rt_read(path, &f.n);
  return f;
}
static void close_events(struct event_file *f) { free((void *)f->data); }

static void expect_version_and_start(struct event_file *f, int64_t step) {
  struct event e;
  assert_int_equal(event_next(f, &e), EVENT_READ);
  assert_int_equal(e.kind, EVENT_IS_VERSION);
  assert_int_equal(e.length, 13);
  assert_memory_equal(e.text, "brain.Event:2", 13);
  assert_int_equal(event_next(f, &e), EVENT_READ);
  assert_int_equal(e.kind, EVENT_IS_START);
  assert_int_equal(e.step, step);
}

static void expect_scalar(struct event_file *f, int64_t step, const char *tag, float value) {
  struct event e;
  assert_int_equal(event_next(f, &e), EVENT_READ);
  assert_int_equal(e.kind, EVENT_IS_SCALAR);
  if (e.length != strlen(tag) || memcmp(e.text, tag, e.length) != 0)
    fail_msg("%.*s, not %s", (int)e.length, e.text, tag);
  assert_int_equal(e.step, step);
  assert_memory_equal(&e.value, &value, sizeof value);
}

static void expect_end(struct event_file *f) {
  struct event e;
  assert_int_equal(event_next(f, &e), EVENT_END);
}

static struct bt_events *open_new(const char *folder, int64_t first_step) {
  struct bt_events *e = bt_events_open(folder, first_step, err, sizeof err);
  if (!e) fail_msg("%s", err);
  return e;
}

static void flush(struct bt_events *e) {
  if (!bt_events_flush(e, err, sizeof err)) fail_msg("%s", err);
}

static void test_round_trip(void **state) {
  static const float values[] = {0, -1.5f, 1e-42f, 3e38f, INFINITY, -INFINITY, NAN};
  static const int64_t steps[] = {0, 1, 127, 128, 300, INT32_MAX, INT64_MAX};
  time_t before = time(NULL);
  struct bt_events *w = open_new(*state, 41);
  for (int i = 0; i < 7; i++) bt_events_scalar(w, steps[i], "train/loss", values[i]);
  bt_events_scalar(w, 5, "", 1);
  bt_events_scalar(w, 5, "größe", 1e300); // more than a float holds
  flush(w);
  struct event_file f = open_events(event_path(*state, 0));
  expect_version_and_start(&f, 42);
  for (int i = 0; i < 7; i++) expect_scalar(&f, steps[i], "train/loss", values[i]);
  expect_scalar(&f, 5, "", 1);
  expect_scalar(&f, 5, "größe", INFINITY);
  expect_end(&f);
  struct event e;
  f.at = 0, event_next(&f, &e);
  assert_true(e.wall_time >= (double)before && e.wall_time <= (double)time(NULL) + 1);
  close_events(&f);
  bt_events_close(w);
}

// More points than memory holds between two flushes, with tags longer than are kept.
static void test_many_between_flushes(void **state) {
  struct bt_events *w = open_new(*state, 0);
  char tag[3000];
  memset(tag, 'x', sizeof tag), tag[sizeof tag - 1] = 0;
  for (int i = 0; i < 1000; i++) bt_events_scalar(w, i, i % 2 ? tag : "y", i);
  flush(w);
  bt_events_close(w);
  struct event_file f = open_events(event_path(*state, 0));
  expect_version_and_start(&f, 1);
  tag[1024] = 0;
  for (int i = 0; i < 1000; i++) expect_scalar(&f, i, i % 2 ? tag : "y", (float)i);
  expect_end(&f);
  close_events(&f);
}

// Killed anywhere: all whole records are read, then readers stop. A flipped bit is noticed too.
static void test_torn_and_damaged(void **state) {
  struct bt_events *w = open_new(*state, 0);
  size_t ends[4], n_ends = 0;
  bt_events_scalar(w, 1, "a", 1), bt_events_scalar(w, 1, "b", 2);
  flush(w);
  bt_events_close(w);
  struct event_file f = open_events(event_path(*state, 0));
  struct event e;
  while (event_next(&f, &e) == EVENT_READ) ends[n_ends++] = f.at;
  assert_true(n_ends == 4 && ends[3] == f.n);
  for (size_t n = 0; n < f.n; n++) {
    struct event_file cut = {f.data, n, 0};
    enum event_status s;
    size_t whole = 0;
    while ((s = event_next(&cut, &e)) == EVENT_READ) whole++;
    for (size_t k = 0; k < 4; k++) assert_int_equal(k < whole, ends[k] <= n);
    assert_int_equal(s, n == 0 || (whole && ends[whole - 1] == n) ? EVENT_END : EVENT_TORN);
  }
  for (size_t i = ends[1]; i < ends[2]; i++)
    for (int flip = 1; flip < 256; flip <<= 1) {
      ((unsigned char *)f.data)[i] ^= (unsigned char)flip;
      f.at = ends[1];
      assert_int_equal(event_next(&f, &e), EVENT_TORN);
      ((unsigned char *)f.data)[i] ^= (unsigned char)flip;
    }
  close_events(&f);
}

// In the order of names, whatever the clock does: TensorBoard reads them so.
static void test_names_are_in_order(void **state) {
  char later[100], mine[100];
  snprintf(later, sizeof later, "events.out.tfevents.%010lld.host.1.0",
           (long long)time(NULL) + 1000);
  snprintf(mine, sizeof mine, "%s/events.out.tfevents.", (char *)*state);
  rt_write(rt_path(*state, later), "", 0);
  rt_write(rt_path(*state, "events.out.tfevents.of-someone"), "", 0);
  for (int i = 1; i <= 3; i++) {
    struct bt_events *w = open_new(*state, i);
    flush(w);
    bt_events_close(w);
  }
  rt_expect_text(event_path(*state, 0), later);
  for (int i = 1; i <= 3; i++) {
    struct event_file f = open_events(event_path(*state, i));
    rt_expect_text(event_path(*state, i), mine);
    expect_version_and_start(&f, i + 1);
    close_events(&f);
  }
}

static void test_no_folder(void **state) {
  assert_null(bt_events_open(rt_path(*state, "absent"), 0, err, sizeof err));
  rt_expect_text(err, "cannot write ");
  rt_expect_text(err, "absent/events.out.tfevents.");
  bt_events_scalar(NULL, 1, "a", 1);
  assert_true(bt_events_flush(NULL, err, sizeof err));
  bt_events_close(NULL);
}

static void limit_files(rlim_t bytes) {
  struct rlimit limit;
  getrlimit(RLIMIT_FSIZE, &limit);
  limit.rlim_cur = bytes;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

// A full disk loses what does not fit, and leaves whole records: later points follow when there is
// room.
static void test_full_disk(void **state) {
  struct bt_events *w = open_new(*state, 0);
  signal(SIGXFSZ, SIG_IGN);
  bt_events_scalar(w, 1, "a", 1);
  flush(w);
  struct event_file f = open_events(event_path(*state, 0));
  limit_files(f.n + 20);
  close_events(&f);
  bt_events_scalar(w, 2, "a", 2);
  bool full = !bt_events_flush(w, err, sizeof err);
  bool empty = bt_events_flush(w, err, sizeof err); // nothing was to be written since
  limit_files(RLIM_INFINITY);
  assert_true(full && empty);
  rt_expect_text(err, "cannot write ");
  bt_events_scalar(w, 3, "a", 3);
  flush(w);
  bt_events_close(w);
  f = open_events(event_path(*state, 0));
  expect_version_and_start(&f, 1);
  expect_scalar(&f, 1, "a", 1);
  expect_scalar(&f, 3, "a", 3);
  expect_end(&f);
  close_events(&f);
}

// ---- bytes that no writer of ours makes ---------------------------------------------------------

static size_t frame(unsigned char *to, const void *payload, size_t n) {
  for (int i = 0; i < 8; i++) to[i] = (unsigned char)((uint64_t)n >> 8 * i);
  memcpy(to + 12, payload, n);
  for (int part = 0; part < 2; part++) {
    uint32_t crc = part ? bt_crc32c(payload, n) : bt_crc32c(to, 8);
    crc = (crc >> 15 | crc << 17) + 0xa282ead8;
    for (int i = 0; i < 4; i++) to[(part ? 12 + n : 8) + (size_t)i] = (unsigned char)(crc >> 8 * i);
  }
  return n + 16;
}

static void test_foreign_records(void **state) {
  static const struct {
    const char *bytes;
    size_t n;
    enum event_status want;
  } cases[] = {
      {"", 0, EVENT_READ},
      {"\x10", 1, EVENT_BAD},                                              // no value
      {"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, EVENT_BAD}, // a varint of 77 bits
      {"\x09\0\0\0", 4, EVENT_BAD},                                        // half a double
      {"\x2a\x05\x0a", 3, EVENT_BAD},              // a summary longer than the record
      {"\x2a\x02\x0a\x7f", 4, EVENT_BAD},          // and a value longer than the summary
      {"\x0b", 1, EVENT_BAD},                      // a group
      {"\x2d\1\2\3\4\x2a\0\x50\1", 9, EVENT_READ}, // other fields
  };
  unsigned char bytes[100];
  struct event e;
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct event_file f = {bytes, frame(bytes, cases[i].bytes, cases[i].n), 0};
    assert_int_equal(event_next(&f, &e), cases[i].want);
    assert_int_equal(e.kind, EVENT_IS_OTHER);
  }
}

// ---- a trainer ----------------------------------------------------------------------------------

static bool disk_full; // wish: files of the child may not grow beyond 3000 bytes: checkpoints are smaller

static int train(const char *folder, const char *program, const char *more, char output[4000]) {
  char line[1000], *argv[40] = {"train"};
  int argc = 1, status;
  snprintf(line, sizeof line, "%s --data synthetic:50 --out %s/run %s", program, folder, more);
  for (char *word = strtok(line, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
  const char *out = rt_path(folder, "out");
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    if (disk_full) signal(SIGXFSZ, SIG_IGN), limit_files(3000);
    int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    dup2(fd, 1), dup2(fd, 2), close(fd);
    int code = bt_main(argc, argv, &rt_module);
    fflush(NULL);
    exit(code);
  }
  assert_true(waitpid(child, &status, 0) == child);
  char *text = rt_read(out, NULL);
  snprintf(output, 4000, "%s", text);
  free(text);
  rt_nan_at = -1, disk_full = false;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void expect_train(const char *folder, const char *program, const char *more) {
  char output[4000];
  if (train(folder, program, more, output) != 0) fail_msg("%s %s: %s", program, more, output);
}

// Finds the point in what follows; the file is read from there on.
static struct event find(struct event_file *f, int64_t step, const char *tag) {
  struct event e;
  while (event_next(f, &e) == EVENT_READ)
    if (e.kind == EVENT_IS_SCALAR && e.step == step && e.length == strlen(tag) &&
        memcmp(e.text, tag, e.length) == 0)
      return e;
  fail_msg("no %s of step %lld", tag, (long long)step);
  return e;
}

// Every number of the log is a point; `once_nan` is NaN at step 2.
static void test_what_a_trainer_writes(void **state) {
  expect_train(*state, "watched", "--tensorboard --log-every 1");
  const char *folder = rt_path(*state, "run/watched");
  assert_null(event_path(folder, 1));
  struct event_file f = open_events(event_path(folder, 0));
  char *log = rt_read(rt_path(*state, "run/watched/log.jsonl"), NULL),
       *at = strstr(log, "\"loss\":");
  expect_version_and_start(&f, 1);
  assert_true(fabs(find(&f, 1, "train/loss").value - strtod(at + 7, NULL)) < 1e-6);
  find(&f, 1, "train/rate"), find(&f, 1, "train/bias");
  assert_true(find(&f, 1, "train/a_name_that_is_long").value == 12345);
  assert_true(find(&f, 1, "train/once_nan").value == 1 && find(&f, 1, "images_per_s").value > 0);
  assert_true(isnan(find(&f, 2, "train/once_nan").value));
  find(&f, 6, "train/loss"), find(&f, 6, "epoch/loss"), find(&f, 6, "epoch/once_nan");
  find(&f, 6, "pass/test/kept"), find(&f, 6, "pass/train_2/corner");
  find(&f, 12, "epoch/loss"), find(&f, 12, "pass/train_2/corner");
  expect_end(&f);
  free(log);
  close_events(&f);
}

// A run that is killed has points behind its checkpoint. Its next part says from where on they are
// repeated.
static void test_resumed(void **state) {
  const char *folder = rt_path(*state, "run/fit");
  expect_train(*state, "fit", "--tensorboard --log-every 1 --stop-at 4");
  expect_train(*state, "fit", "--tensorboard --log-every 1 --resume");
  struct event_file first = open_events(event_path(folder, 0)),
                    second = open_events(event_path(folder, 1));
  expect_version_and_start(&first, 1);
  find(&first, 4, "images_per_s"), expect_end(&first);
  expect_version_and_start(&second, 5);
  expect_scalar(&second, 5, "train/loss",
                find(&(struct event_file){second.data, second.n, 0}, 5, "train/loss").value);
  find(&second, 12, "epoch/once_nan"), expect_end(&second);
  close_events(&first), close_events(&second);
  expect_train(*state, "fit", "--force --seed 3");
  assert_null(event_path(folder, 2)); // none without the option
}

static void test_a_trainer_on_a_full_disk(void **state) {
  char output[4000];
  disk_full = true;
  assert_int_equal(train(*state, "fit", "--tensorboard --log-every 1 --epochs 5 --quiet", output), 0);
  char *first = strstr(output, "warning: cannot write"), *events = strstr(output, "/events.out.tfevents.");
  assert_true(first && events && !strstr(events + 1, "/events.out.tfevents."));
  struct event_file f = open_events(event_path(rt_path(*state, "run/fit"), 0));
  struct event e;
  enum event_status s;
  while ((s = event_next(&f, &e)) == EVENT_READ) {}
  assert_int_equal(s, EVENT_END);
  close_events(&f);
}

static int setup(void **state) { return *state = rt_mkdir(), 0; }
static int teardown(void **state) { return rt_rmdir(*state), 0; }
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_checksums),
                                     WITH_FOLDER(test_round_trip),
                                     WITH_FOLDER(test_many_between_flushes),
                                     WITH_FOLDER(test_torn_and_damaged),
                                     WITH_FOLDER(test_names_are_in_order),
                                     WITH_FOLDER(test_no_folder),
                                     WITH_FOLDER(test_full_disk),
                                     cmocka_unit_test(test_foreign_records),
                                     WITH_FOLDER(test_what_a_trainer_writes),
                                     WITH_FOLDER(test_resumed),
                                     WITH_FOLDER(test_a_trainer_on_a_full_disk)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
