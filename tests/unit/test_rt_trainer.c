// test_rt_trainer.c: the command line from outside, on a hand-made module: each run is a process.
#define _GNU_SOURCE
#include "checkpoint.h"
#include "image_files.h"
#include "npy.h"
#include "random.h"
#include "rt_module.h"
#include "safetensors.h"
#include "rt_test.h"

#include <jansson.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

static char output[20000]; // of the last run: stdout and stderr
static bool disk_full;     // wish: files of the child may not grow beyond 600 bytes
static bool ignored;       // wish: the child was started with rt_signal ignored, as by nohup

// Runs the trainer with the words of `line` (%s: the folder) in a child; returns its exit code, or
// -signal. The rt_* wishes hold in the child.
static int train(const char *folder, const char *line) {
  char words[2000], log[600], *argv[40] = {"train"};
  int argc = 1, status;
  for (size_t i = 0, n = 0; (words[n] = line[i]); i++, n++)
    if (line[i] == '@') n += (size_t)sprintf(words + n, "%s", folder) - 1;
  for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
  snprintf(log, sizeof log, "%s.out", folder);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    if (disk_full) signal(SIGXFSZ, SIG_IGN), setrlimit(RLIMIT_FSIZE, &(struct rlimit){600, 600});
    signal(rt_signal, ignored ? SIG_IGN : SIG_DFL);
    int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    dup2(fd, 1), dup2(fd, 2), close(fd);
    int code = bt_main(argc, argv, &rt_module);
    fflush(NULL);
    exit(code);
  }
  assert_true(waitpid(child, &status, 0) == child);
  char *text = rt_read(log, NULL);
  snprintf(output, sizeof output, "%s", text);
  free(text);
  unlink(log);
  rt_signal_at = rt_nan_at = rt_nan_once = rt_break_at = rt_pass_signal_at = -1;
  rt_signal = SIGINT, rt_signal_times = 1, disk_full = ignored = rt_pipe_breaks = false;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void expect(const char *folder, const char *line, int code, const char *text) {
  int got = train(folder, line);
  if (got != code) fail_msg("'%s' gave %d, not %d: %s", line, got, code, output);
  rt_expect_text(output, text);
}

#define DATA " --data synthetic:50 " // 6 steps an epoch

static void test_help(void **state) {
  expect(*state, "--help", 0, "Programs (of toy.btg)");
  rt_expect_text(output, "--resume");
  expect(*state, "pixels --help", 0, "--untrained");
  assert_null(strstr(output, "--resume"));
  expect(*state, "fit -h", 0, "--resume");
  expect(*state, "--version", 0, "by hand");
  expect(*state, "info" DATA, 0, "17 parameters");
  rt_expect_text(output, "total");
  expect(*state, "info --json" DATA, 0, "\"total\"");
  expect(*state, "info --data @", 1, "has neither train-x.npy nor train-images");
}

static void test_wrong_usage(void **state) {
  expect(*state, "fit --epoch 3", 2, "did you mean '--epochs'");
  expect(*state, "fut", 2, "did you mean 'fit'");
  expect(*state, "fit --epochs", 2, "takes a N");
  expect(*state, "fit --epochs 0", 2, "whole number from 1");
  expect(*state, "fit --epochs 3x", 2, "whole number from 1");
  expect(*state, "fit --epochs=99999999999999999999", 2, "whole number from 1");
  expect(*state, "fit --seed -1", 2, "whole number from 0");
  expect(*state, "fit --quiet=yes", 2, "takes no value");
  expect(*state, "fit --epochs 1 --steps 2", 2, "not both");
  expect(*state, "fit --resume --force", 2, "not both");
  expect(*state, "pixels --epochs 3", 2, "trains nothing");
  expect(*state, "pixels --labels 0%", 2, "such as 1%");
  expect(*state, "pixels --labels 1", 2, "such as 1%");
  expect(*state, "fit more", 2, "one word too many");
  expect(*state, "export", 2, "export what");
  expect(*state, "export model", 2, "-o FILE");
  assert_int_equal(rt_files_in(*state), 0);
}

static void test_training(void **state) {
  expect(*state, DATA "--out @/run", 0, "done, saved");
  rt_expect_text(output, "epoch 2/2");
  char *log = rt_read(rt_path(*state, "run/fit/log.jsonl"), NULL);
  rt_expect_text(log, "{\"event\":\"step\",\"step\":10,");
  rt_expect_text(log, "\"rate\":");
  rt_expect_text(log, "{\"event\":\"epoch\",\"step\":12,");
  free(log);
  expect(*state, DATA "--out @/run", 1, "--force to start afresh");
  expect(*state, DATA "--out @/run --resume", 0, "nothing to do");
  expect(*state, DATA "--out @/quiet --quiet", 0, "");
  assert_string_equal(output, "");
  assert_true(rt_same_file(rt_path(*state, "run/fit/last.safetensors"),
                           rt_path(*state, "quiet/fit/last.safetensors")));
  expect(*state, DATA "--out @/run --force --seed 5", 0, "done");
  assert_false(rt_same_file(rt_path(*state, "run/fit/last.safetensors"),
                            rt_path(*state, "quiet/fit/last.safetensors")));
}

// ---- reports ----

static const char *const log_fields[] = {BT_LOG_FIELDS};
enum { N_FIELDS = sizeof log_fields / sizeof *log_fields };

// The log's lines, as an array.
static json_t *log_lines(const char *path) {
  json_t *lines = json_array();
  char *text = rt_read(path, NULL);
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
    json_t *object = json_loads(line, 0, NULL);
    assert_non_null(object);
    json_array_append_new(lines, object);
  }
  free(text);
  return lines;
}

static bool is_event(const json_t *line, const char *event) {
  return strcmp(json_string_value(json_object_get(line, "event")), event) == 0;
}

// A step's line has the log's own fields and every report, an epoch's the means of its steps.
static void test_reports_are_logged(void **state) {
  expect(*state, DATA "--out @/run --log-every 1", 0, "done");
  json_t *lines = log_lines(rt_path(*state, "run/fit/log.jsonl")), *line;
  size_t i, steps = 0, epochs = 0;
  double loss = 0, bias = 0;
  json_array_foreach(lines, i, line) {
    if (is_event(line, "step")) {
      assert_int_equal(json_object_size(line), N_FIELDS + 4);
      for (int k = 0; k < N_FIELDS; k++) assert_non_null(json_object_get(line, log_fields[k]));
      assert_true(json_real_value(json_object_get(line, "a_name_that_is_long")) == 12345);
      assert_int_equal(json_is_null(json_object_get(line, "once_nan")), steps == 1);
      loss += json_real_value(json_object_get(line, "loss")), bias += json_real_value(json_object_get(line, "bias"));
      steps++;
    } else if (is_event(line, "epoch")) {
      assert_true(fabs(json_real_value(json_object_get(line, "loss")) - loss / 6) < 1e-7);
      assert_true(fabs(json_real_value(json_object_get(line, "bias")) - bias / 6) < 1e-7);
      assert_int_equal(json_is_null(json_object_get(line, "once_nan")), epochs == 0);
      loss = bias = 0;
      epochs++;
    }
  }
  assert_true(steps == 12 && epochs == 2);
  json_decref(lines);
}

// The line has the program's first three reports, and of the rest what fits into its columns.
static void test_reports_are_shown(void **state) {
  expect(*state, DATA "--out @/run", 0, "done");
  char *line = strtok(output, "\n");
  rt_expect_text(line, "epoch 1/2  step 6/12  loss ");
  rt_expect_text(line, "  rate 0.08");
  rt_expect_text(line, "  bias 0.01");
  rt_expect_text(line, "  a_name_that_is_long 12345  ");
  rt_expect_text(line, " img/s  ETA ");
  assert_true(strlen(line) <= 120);
}

// ---- passes ----

// What the log says of a pass at a step: the last of its lines, and how many there are.
static json_t *pass_line(const json_t *lines, const char *pass, int64_t step, int *count) {
  json_t *line, *found = NULL;
  size_t i;
  *count = 0;
  json_array_foreach(lines, i, line)
    if (is_event(line, "pass") && strcmp(json_string_value(json_object_get(line, "pass")), pass) == 0 &&
        json_integer_value(json_object_get(line, "step")) == step)
      found = line, ++*count;
  return found;
}

static double number(const json_t *line, const char *name) { return json_real_value(json_object_get(line, name)); }

// 50 images to train on, of which the last two make no full batch but are kept; 13 to test, one full batch.
static void test_passes(void **state) {
  int n;
  expect(*state, "watched" DATA "--out @/run", 0, "  test  kept ");
  rt_expect_text(output, "  train_2  corner ");
  assert_null(strstr(output, "  train  "));
  json_t *lines = log_lines(rt_path(*state, "run/watched/log.jsonl"));
  const json_t *first = pass_line(lines, "test", 6, &n), *second = pass_line(lines, "test", 12, &n);
  assert_true(n == 1 && first && pass_line(lines, "train", 12, &n) && n == 1);
  assert_true(number(first, "at") == 6 && number(second, "at") == 12); // the run's step
  assert_true(number(first, "drawn") == 0 && number(second, "drawn") == 0);
  assert_true(number(first, "kept") == number(second, "kept"));
  assert_true(number(first, "first") != number(second, "first")); // the weights of their epoch
  // The sum over all rows, of synthetic images as data.c makes them (which a process that forks had better not).
  double sum = 0, corner = 0;
  for (int i = RT_ROWS - 1; i >= 0; i--) {
    struct bt_random r = bt_random_new(0, BT_RANDOM_DATA, (uint32_t)i, 0, 0);
    for (int j = 0; j < RT_PIXELS; j++) {
      double pixel = (bt_random_bits(&r) >> 24) / 255.0;
      sum += pixel * (i % 10 + 1);
      if (j == 0) corner = pixel;
    }
  }
  assert_true(fabs(number(first, "kept") - sum) < 1e-5 * sum);
  assert_true(fabs(number(pass_line(lines, "train_2", 6, &n), "corner") - corner) < 1e-6);
  json_decref(lines);
}

static void test_passes_change_no_training(void **state) {
  expect(*state, DATA "--out @/run --epochs 3", 0, "done");
  expect(*state, "watched" DATA "--out @/run --epochs 3", 0, "done");
  expect(*state, "export model --from @/run/fit/last.safetensors -o @/a", 0, "");
  expect(*state, "export model --from @/run/watched/last.safetensors -o @/b", 0, "");
  assert_true(rt_same_file(rt_path(*state, "a"), rt_path(*state, "b")));
}

// The passes take 7 steps, 2 and 1. Wherever a signal comes in them, the epoch is saved, and a resumed run
// has them anew.
static void test_a_signal_in_a_pass(void **state) {
  static const int steps[] = {0, 6, 7, 8, 9, 10, 17, 19};
  int n;
  expect(*state, "watched" DATA "--out @/whole", 0, "done");
  json_t *whole = log_lines(rt_path(*state, "whole/watched/log.jsonl"));
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    rt_pass_signal_at = steps[i];
    expect(*state, "watched" DATA "--out @/cut --force", 130, steps[i] < 10 ? "interrupted at step 6" : "interrupted at step 12");
    expect(*state, "watched" DATA "--out @/cut --resume", 0, "done");
    assert_true(rt_same_file(rt_path(*state, "whole/watched/last.safetensors"), rt_path(*state, "cut/watched/last.safetensors")));
    json_t *lines = log_lines(rt_path(*state, "cut/watched/log.jsonl"));
    for (int64_t step = 6; step <= 12; step += 6) {
      const json_t *got = pass_line(lines, "test", step, &n), *want = pass_line(whole, "test", step, &n);
      assert_true(number(got, "first") == number(want, "first") && number(got, "kept") == number(want, "kept"));
      assert_non_null(pass_line(lines, "train_2", step, &n));
      assert_int_equal(n, 1);
    }
    json_decref(lines);
    expect(*state, "watched" DATA "--out @/cut --resume", 0, "nothing to do");
  }
  json_decref(whole);
}

static void test_passes_and_stopping(void **state) {
  char line[200];
  int n;
  expect(*state, "watched" DATA "--out @/whole", 0, "done");
  for (int step = 4; step < 12; step++) {
    snprintf(line, sizeof line, "watched" DATA "--out @/s%d --stop-at %d", step, step);
    expect(*state, line, 0, "stopped");
    snprintf(line, sizeof line, "watched" DATA "--out @/s%d --resume", step);
    expect(*state, line, 0, "done");
    snprintf(line, sizeof line, "s%d/watched/last.safetensors", step);
    assert_true(rt_same_file(rt_path(*state, "whole/watched/last.safetensors"), rt_path(*state, line)));
    snprintf(line, sizeof line, "s%d/watched/log.jsonl", step);
    json_t *lines = log_lines(rt_path(*state, line));
    assert_non_null(pass_line(lines, "test", 6, &n));
    assert_int_equal(n, 1);
    json_decref(lines);
  }
}

// Passes are due in a run that is now to end before: it is left as it is, and goes on to its old end.
static void test_passes_due_beyond_the_end(void **state) {
  rt_pass_signal_at = 10;
  expect(*state, "watched" DATA "--out @/cut", 130, "interrupted at step 12");
  expect(*state, "watched" DATA "--out @/cut --resume --epochs 1", 0, "already at step 12 of 6; nothing to do");
  expect(*state, "watched" DATA "--out @/cut --resume", 0, "done");
  expect(*state, "watched" DATA "--out @/cut --resume --epochs 3", 0, "done");
}

static void test_passes_that_do_not_fit(void **state) {
  expect(*state, "watched --data synthetic:48 --out @/run", 1,
         "the pass watched.train keeps 50 rows of 'bank', one for each of the train split, but here it sweeps 48 images");
  expect(*state, "watched" DATA "--out @/run --labels 60%", 1, "but here it sweeps 30 images");
  expect(*state, "watched --data synthetic:20 --out @/run", 1, "the pass watched.test reports means over full batches of 8, but its split has 5");
  expect(*state, "watched.test" DATA, 2, "no program 'watched.test'");
  expect(*state, "--help", 0, "watched");
  assert_null(strstr(output, "watched.t"));
  expect(*state, "info" DATA, 0, "rows that passes keep");
  assert_null(strstr(output, "watched.t"));
  expect(*state, "info --json --data synthetic:50", 0, "\"rows that passes keep\":3456"); // 50*16*4 and 50*4, aligned
}

static void test_threads_change_nothing(void **state) {
  expect(*state, DATA "--out @/a --threads 1", 0, "done");
  expect(*state, DATA "--out @/b --threads 3", 0, "done");
  assert_true(
      rt_same_file(rt_path(*state, "a/fit/last.safetensors"), rt_path(*state, "b/fit/last.safetensors")));
}

// Passes have the loader in between.
static void test_loaders_change_nothing(void **state) {
  char line[200], path[100];
  for (int n = 1; n <= 8; n *= 2) {
    snprintf(line, sizeof line, "watched" DATA "--out @/%d --loaders %d --epochs 4", n, n);
    expect(*state, line, 0, "done");
    snprintf(path, sizeof path, "%d/watched/last.safetensors", n);
    assert_true(rt_same_file(rt_path(*state, "1/watched/last.safetensors"), rt_path(*state, path)));
  }
  expect(*state, DATA "--out @/x --loaders 0", 2, "whole number from 1");
  expect(*state, DATA "--out @/x --loaders 1025", 2, "more than 1024");
}

// ---- images that cannot be read ----

// 50 images to train on and 13 to test; of those of `broken` two cannot be read, which is one too many.
static void make_images(const char *folder, const char *broken) {
  char command[600], name[64];
  snprintf(command, sizeof command, "cd '%s' && mkdir -p d/train/a d/train/b d/test/a d/test/b", folder);
  assert_int_equal(system(command), 0);
  for (int i = 0; i < 63; i++) {
    const char *split = i < 50 ? "train" : "test";
    snprintf(name, sizeof name, "d/%s/%c/%02d.png", split, 'a' + i % 2, i);
    image_png(rt_path(folder, name), i, PNG_COLOR_TYPE_GRAY, 8, RT_SIDE, RT_SIDE, IMAGE_PLAIN);
    if ((i == 10 || i == 20 || i == 50 || i == 60) && strcmp(split, broken) == 0) rt_write(rt_path(folder, name), "x", 1);
  }
}

// The steps before are kept, and when the images are there again the run goes on.
static void test_unreadable_images(void **state) {
  make_images(*state, "train");
  expect(*state, "--data @/d --cache 0 --out @/run --epochs 3 --loaders 1", 1, "2 of 50 images cannot be read");
  rt_expect_text(output, "The run stops at step 5, ");
  rt_expect_text(output, "fit/last.safetensors keeps step 5");
  expect(*state, "--data @/d --cache 0 --out @/run --resume", 1, "keeps step ");
  make_images(*state, "none");
  expect(*state, "--data @/d --cache 0 --out @/run --resume", 0, "done");
}

static void test_unreadable_images_of_a_pass(void **state) {
  int n;
  make_images(*state, "test");
  expect(*state, "watched --data @/d --cache 0 --out @/run", 1, "2 of 13 images cannot be read");
  expect(*state, "pixels --data @/d --cache 0 --untrained", 1, "2 of 13 images cannot be read");
  expect(*state, "brightness --data @/d --cache 0", 1, "2 of 13 images cannot be read");
  make_images(*state, "none");
  expect(*state, "watched --data @/d --cache 0 --out @/run --resume", 0, "done");
  json_t *lines = log_lines(rt_path(*state, "run/watched/log.jsonl"));
  assert_true(pass_line(lines, "test", 6, &n) && n == 1); // it was due
  json_decref(lines);
}

// Stopped anywhere, in the middle of an epoch or at its end, and resumed: the same bytes.
static void test_resume_is_exact(void **state) {
  char line[200];
  expect(*state, DATA "--out @/whole --epochs 3", 0, "done");
  for (int step = 1; step < 18; step++) {
    snprintf(line, sizeof line, DATA "--out @/s%d --epochs 3 --stop-at %d", step, step);
    expect(*state, line, 0, "stopped");
    snprintf(line, sizeof line, DATA "--out @/s%d --resume", step);
    expect(*state, line, 0, "done");
    snprintf(line, sizeof line, "s%d/fit/last.safetensors", step);
    assert_true(rt_same_file(rt_path(*state, "whole/fit/last.safetensors"), rt_path(*state, line)));
  }
}

static void test_signals(void **state) {
  static const struct { int number, code; } signals[] = {
      {SIGINT, 130}, {SIGTERM, 143}, {SIGUSR1, 138}, {SIGHUP, 129}, {SIGPIPE, 141}};
  expect(*state, DATA "--out @/whole", 0, "done");
  for (int i = 0; i < 5; i++) {
    rt_signal_at = 7, rt_signal = signals[i].number;
    expect(*state, DATA "--out @/cut --force", signals[i].code, "interrupted at step 8");
    expect(*state, DATA "--out @/cut --resume", 0, "done");
    assert_true(rt_same_file(rt_path(*state, "whole/fit/last.safetensors"),
                             rt_path(*state, "cut/fit/last.safetensors")));
  }
}

// Under nohup a closed terminal is nothing to stop for; who ignores SIGPIPE goes on too.
static void test_ignored_signals_stay_ignored(void **state) {
  static const int numbers[] = {SIGHUP, SIGPIPE};
  for (int i = 0; i < 2; i++) {
    rt_signal_at = 7, rt_signal = numbers[i], ignored = true;
    expect(*state, DATA "--out @/run --force", 0, "done");
  }
}

// `./train 2>&1 | tee log`, and Ctrl-C: it ends tee too, and the next message finds no reader.
static void test_the_first_signal_counts(void **state) {
  rt_signal_at = 7, rt_signal = SIGINT, rt_pipe_breaks = true;
  expect(*state, DATA "--out @/cut", 130, "interrupted at step 8");
  expect(*state, DATA "--out @/cut --resume", 0, "done");
}

static void test_second_interrupt_leaves_at_once(void **state) {
  rt_signal_at = 7, rt_signal_times = 2;
  expect(*state, DATA "--out @/cut --quiet", 130, "");
  char *log = rt_read(rt_path(*state, "cut/fit/log.jsonl"), NULL);
  assert_null(strstr(log, "interrupted"));
  free(log);
  expect(*state, DATA "--out @/cut --resume", 0, "done"); // from the end of the first epoch
}

// What is drawn by the seed outside of a step (which images have labels, synthetic data) is the
// run's own too, though its seed is not given again.
static void test_resume_has_the_seed_everywhere(void **state) {
  expect(*state, DATA "--out @/whole --seed 5 --labels 50%", 0, "done");
  expect(*state, DATA "--out @/cut --seed 5 --labels 50% --stop-at 4", 0, "stopped");
  expect(*state, DATA "--out @/cut --resume --labels 50%", 0, "done");
  assert_true(rt_same_file(rt_path(*state, "whole/fit/last.safetensors"),
                           rt_path(*state, "cut/fit/last.safetensors")));
}

static void test_a_torn_log(void **state) {
  expect(*state, DATA "--out @/run --stop-at 4", 0, "stopped");
  char *log = rt_read(rt_path(*state, "run/fit/log.jsonl"), NULL), torn[2000];
  int n = snprintf(torn, sizeof torn, "%s{\"event\":\"st", log);
  rt_write(rt_path(*state, "run/fit/log.jsonl"), torn, (size_t)n);
  free(log);
  expect(*state, DATA "--out @/run --resume", 0, "done");
  log = rt_read(rt_path(*state, "run/fit/log.jsonl"), NULL);
  rt_expect_text(log, "{\"event\":\"st\n{\"event\":\"resumed\"");
  assert_null(strstr(log, "\n\n"));
  free(log);
}

// Trying whether the folder can be written touches no file in it.
static void test_files_beside_the_checkpoint(void **state) {
  expect(*state, DATA "--out @/run --stop-at 4", 0, "stopped");
  rt_write(rt_path(*state, "run/fit/probe"), "mine", 4);
  expect(*state, DATA "--out @/run --resume", 0, "done");
  assert_int_equal(access(rt_path(*state, "run/fit/probe"), F_OK), 0);
  assert_int_equal(rt_files_in(rt_path(*state, "run/fit")), 6); // last, best, log.jsonl, config.json, model.btg
}

static void test_two_runs_in_one_folder(void **state) {
  expect(*state, DATA "--out @/run --stop-at 4", 0, "stopped");
  expect(*state, DATA "--out @/same --stop-at 4", 0, "stopped");
  int other = open(rt_path(*state, "run/fit/log.jsonl"), O_RDWR);
  assert_int_equal(flock(other, LOCK_EX), 0);
  expect(*state, DATA "--out @/run --resume", 1, "another run is writing to");
  expect(*state, DATA "--out @/run --force", 1, "another run is writing to");
  close(other);
  assert_true(rt_same_file(rt_path(*state, "run/fit/last.safetensors"),
                           rt_path(*state, "same/fit/last.safetensors")));
  expect(*state, DATA "--out @/run --resume", 0, "done");
}

static void assert_copy(const char *folder, const char *file, const char *stopped) {
  if (!rt_same_file(rt_path(folder, file), rt_path(folder, stopped))) fail_msg("%s is not %s", file, stopped);
}

// Epochs that are kept are what a run that stops there leaves; the best is that of the lowest mean loss.
static void test_kept_checkpoints(void **state) {
  char line[200], file[100], stopped[100];
  double lowest = INFINITY;
  int best = 0;
  expect(*state, DATA "--out @/run --epochs 4 --keep-every 2", 0, "done");
  json_t *lines = log_lines(rt_path(*state, "run/fit/log.jsonl")), *log_line;
  size_t i;
  json_array_foreach(lines, i, log_line) {
    if (!is_event(log_line, "epoch") || !(number(log_line, "loss") < lowest)) continue;
    lowest = number(log_line, "loss"), best = (int)json_integer_value(json_object_get(log_line, "step")) / 6;
  }
  json_decref(lines);
  assert_int_equal(rt_files_in(rt_path(*state, "run/fit")), 7);
  for (int epoch = 1; epoch <= 4; epoch++) {
    snprintf(line, sizeof line, DATA "--out @/s%d --epochs 4 --stop-at %d", epoch, 6 * epoch);
    snprintf(stopped, sizeof stopped, "s%d/fit/last.safetensors", epoch);
    snprintf(file, sizeof file, "run/fit/epoch-%04d.safetensors", epoch);
    expect(*state, line, 0, "saved to");
    if (epoch % 2 == 0) assert_copy(*state, file, stopped);
    if (epoch == best) assert_copy(*state, "run/fit/best.safetensors", stopped);
  }
}

// In the middle of an epoch: what the epoch has summed up goes with the checkpoint.
static void test_resume_keeps_means(void **state) {
  expect(*state, DATA "--out @/whole", 0, "done");
  json_t *whole = log_lines(rt_path(*state, "whole/fit/log.jsonl"));
  for (int step = 1; step < 12; step += 2) {
    char line[200];
    snprintf(line, sizeof line, DATA "--out @/cut --force --stop-at %d", step);
    expect(*state, line, 0, "stopped");
    expect(*state, DATA "--out @/cut --resume", 0, "done");
    json_t *cut = log_lines(rt_path(*state, "cut/fit/log.jsonl")), *line_of_cut, *line_of_whole;
    size_t i, k, same = 0;
    json_array_foreach(cut, i, line_of_cut) json_array_foreach(whole, k, line_of_whole) {
      if (!is_event(line_of_cut, "epoch") || !is_event(line_of_whole, "epoch")) continue;
      json_object_del(line_of_cut, "seconds"), json_object_del(line_of_whole, "seconds");
      same += (size_t)json_equal(line_of_cut, line_of_whole);
    }
    assert_int_equal(same, 2);
    json_decref(cut);
    assert_copy(*state, "cut/fit/best.safetensors", "whole/fit/best.safetensors");
  }
  json_decref(whole);
}

// From another than the last checkpoint, of this folder or of none.
static void test_resume_from(void **state) {
  expect(*state, DATA "--out @/run --keep-every 1", 0, "done");
  expect(*state, DATA "--out @/other --resume --from @/run/fit/epoch-0001.safetensors", 0, "done");
  assert_copy(*state, "other/fit/last.safetensors", "run/fit/last.safetensors");
  expect(*state, DATA "--out @/third --resume --from @/run/fit/epoch-0002.safetensors", 0, "done"); // nothing to do but to save
  assert_copy(*state, "third/fit/last.safetensors", "run/fit/last.safetensors");
  expect(*state, DATA "--out @/third --resume --steps 6 --from @/run/fit/epoch-0002.safetensors", 0, "nothing to do");
  expect(*state, DATA "--out @/run --resume --from @/none", 1, "nothing to resume: ");
  // The best so far is the best of what follows.
  expect(*state, DATA "--out @/fourth --resume --stop-at 7 --from @/run/fit/epoch-0001.safetensors", 0, "stopped");
  assert_copy(*state, "fourth/fit/best.safetensors", "run/fit/epoch-0001.safetensors");
  expect(*state, "pixels" DATA "--resume --from @/run/fit/last.safetensors", 2, "no meaning");
}

static void test_a_run_too_long(void **state) {
  expect(*state, DATA "--out @/run --epochs 9000000000000000000", 1,
         "more steps than can be counted");
}

static void test_full_disk(void **state) {
  expect(*state, DATA "--out @/run --stop-at 6", 0, "stopped");
  expect(*state, DATA "--out @/good --stop-at 6", 0, "stopped");
  disk_full = true;
  expect(*state, DATA "--out @/run --resume", 1, "cannot write");
  rt_expect_text(output, "fit/config.json: File too large"); // what this limit says
  assert_true(rt_same_file(rt_path(*state, "run/fit/last.safetensors"),
                           rt_path(*state, "good/fit/last.safetensors")));
  assert_int_equal(rt_files_in(rt_path(*state, "run/fit")), 5); // nothing temporary
}

static void test_few_labels(void **state) {
  expect(*state, DATA "--out @/run --labels 40%", 0, "step 4/4"); // 20 images: 2 steps an epoch
}

static void test_resume_refusals(void **state) {
  expect(*state, DATA "--out @/run --resume", 1, "nothing to resume");
  expect(*state, DATA "--out @/run --seed 3", 0, "done");
  expect(*state, DATA "--out @/run --seed 4 --resume --epochs 3", 1, "trained with --seed 3");
  expect(*state, "--data synthetic:80 --out @/run --resume --epochs 3", 1,
         "6 steps an epoch, now there are 10");
  size_t n;
  char *whole = rt_read(rt_path(*state, "run/fit/last.safetensors"), &n);
  rt_write(rt_path(*state, "run/fit/last.safetensors"), whole, n - 1);
  free(whole);
  expect(*state, DATA "--out @/run --resume", 1, "truncated");
  expect(*state, DATA "--out @/run", 1, "not a checkpoint that can be resumed");
}

static void test_not_finite(void **state) {
  expect(*state, DATA "--out @/good --stop-at 6", 0, "stopped");
  rt_nan_at = 8;
  expect(*state, DATA "--out @/bad", 1, "the loss is nan at step 9");
  rt_expect_text(output, "keeps step 6");
  rt_break_at = 9; // the loss is still finite when the epoch's checkpoint is due
  expect(*state, DATA "--out @/worse --save-every 10", 1,
         "parameter model.weight is not finite at step 10");
  assert_true(rt_same_file(rt_path(*state, "good/fit/last.safetensors"),
                           rt_path(*state, "bad/fit/last.safetensors")));
  assert_true(rt_same_file(rt_path(*state, "good/fit/last.safetensors"),
                           rt_path(*state, "worse/fit/last.safetensors")));
}

// The line of the log's last event.
static char *last_line(const char *path) {
  char *text = rt_read(path, NULL), *end = text + strlen(text) - 1;
  *end = 0;
  char *line = strdup(strrchr(text, '\n') + 1);
  free(text);
  return line;
}

static void test_who_began_it(void **state) {
  rt_nan_at = 8;
  expect(*state, DATA "--out @/run", 1, "keeps step 6");
  rt_expect_text(output, "The first value that is not finite, in step 9: toy = nan, at toy.btg:3 in model@a\n    by kernel 0 of 1, toy_1: a toy\n");
  rt_expect_text(output, "which reads x from ");
  rt_expect_text(output, ", all finite");
  char *line = last_line(rt_path(*state, "run/fit/log.jsonl"));
  rt_expect_text(line, "{\"event\":\"not finite\",\"step\":9,\"op\":\"toy\",\"address\":\"model@a/toy\",\"place\":\"toy.btg:3\"}");
  free(line);
  rt_break_at = 3; // the loss shows it a step later
  expect(*state, DATA "--out @/run2", 1, "the loss is ");
  rt_expect_text(output, "at step 5 (");
  rt_expect_text(output, "in step 4: toy = inf");
  rt_nan_at = 2;
  expect(*state, DATA "--out @/none --find-nan", 1, "the loss is nan at step 3 (epoch 0.50)\n  The first");
  rt_nan_at = 8;
  expect(*state, DATA "--out @/none --find-nan --stop-at 8", 0, "steps 1 to 8 are finite");
  assert_true(access(rt_path(*state, "none"), F_OK) != 0);
}

static void test_not_again(void **state) {
  rt_nan_once = 8;
  expect(*state, DATA "--out @/run", 1, "Done again from step 6, the same steps are finite");
  rt_nan_at = 8, rt_signal_at = 7;
  expect(*state, DATA "--out @/signal --find-nan", 130, "steps 1 to 8 are finite");
  // What was not saved here begins at the checkpoint of --from.
  expect(*state, DATA "--out @/other --stop-at 3", 0, "stopped");
  rt_nan_once = 1;
  expect(*state, DATA "--out @/from --resume --from @/other/fit/last.safetensors", 1, "nothing was saved");
  rt_expect_text(output, "Done again from step 3, the same steps are finite");
  expect(*state, DATA "--out @/other --resume --find-nan --stop-at 3", 0, "there is no step to look at, the checkpoint is at step 3");
}

static void test_bad_surroundings(void **state) {
  rt_write(rt_path(*state, "file"), "x", 1);
  expect(*state, DATA "--out @/file", 1, "cannot make the folder");
  expect(*state, DATA "--out @/no/where", 1, "cannot make the folder");
  expect(*state, "--data @ --out @/run", 1, "has neither train-x.npy nor train-images");
  expect(*state, "--data synthetic:5 --out @/run", 1, "fewer than one batch");
  assert_int_equal(rt_files_in(*state), 2);
}

static void test_measures(void **state) {
  expect(*state, "pixels" DATA "--out @/run", 1, "run 'train fit' first");
  expect(*state, "pixels" DATA "--out @/run --untrained", 0, "knn: ");
  rt_expect_text(output, "linear_probe: ");
  rt_expect_text(output, "untrained");
  expect(*state, DATA "--out @/run", 0, "done");
  expect(*state, "pixels" DATA "--out @/run --json --labels 20%", 0, "\"labels\":\"20%\"");
  rt_expect_text(output, "\"train_images\":10,");
  expect(*state, "pixels" DATA "--from @/none", 1, "cannot open");
  expect(*state, "pixels" DATA "--from @/run/fit/last.safetensors", 0, "knn: ");
}

static void test_reports(void **state) {
  expect(*state, "brightness" DATA, 0, "mean: ");
  rt_expect_text(output, "largest_label: 4"); // of inputs with 5 and with 20 classes
  expect(*state, "brightness --json" DATA, 0,
         "{\"program\":\"brightness\",\"report\":\"mean\",\"value\":");
  rt_expect_text(output, ",\"test_images\":8}\n"); // a batch of the 13
}

static void test_export(void **state) {
  expect(*state, "export model -o @/m.safetensors --out @/run", 1, "run 'train fit' first");
  expect(*state, DATA "--out @/run", 0, "done");
  expect(*state, "export model -o @/m.safetensors --out @/run", 0, "3 tensors");
  expect(*state, "export nodel -o @/n.safetensors --out @/run", 1, "no instance 'nodel'");
  expect(*state, "export model -o @/no/m.safetensors --out @/run", 1, "cannot write");
  expect(*state, "export model -o @/n.safetensors --from @/m.safetensors", 0, "3 tensors");
  assert_true(rt_same_file(rt_path(*state, "m.safetensors"), rt_path(*state, "n.safetensors")));
  expect(*state, "export model -o @/m.safetensors --from @/m.safetensors", 1, "itself");
}

// What a run starts from, and what is measured, through files.
static void test_init(void **state) {
  expect(*state, DATA "--out @/run", 0, "done");
  expect(*state, "export model -o @/m.safetensors --out @/run", 0, "3 tensors");
  expect(*state, DATA "--out @/run --resume --init @/m.safetensors", 2, "--resume or --init");
  expect(*state, "pixels" DATA "--untrained --init @/m.safetensors", 2, "--init or --untrained");
  expect(*state, "export model -o @/n --init @/m.safetensors", 2, "no meaning");
  expect(*state, DATA "--out @/other --init @/m.safetensors", 0, "model: 3 tensors from ");
  // 3 more steps of the same run than those that the first took: the state counts on.
  char text[500];
  struct st_file *f = st_open(rt_path(*state, "other/fit/last.safetensors"), text, sizeof text);
  struct st_file *g = st_open(rt_path(*state, "run/fit/last.safetensors"), text, sizeof text);
  assert_int_equal(*(const int64_t *)st_find(f, "model.seen")->data,
                   2 * *(const int64_t *)st_find(g, "model.seen")->data);
  st_close(f), st_close(g);
  expect(*state, "pixels" DATA "--out @/none --init @/m.safetensors", 0, "right");
  expect(*state, "pixels" DATA "--out @/none --init @/absent", 1, "cannot open");
}

static void test_features(void **state) {
  expect(*state, "pixels" DATA "--untrained --features @/f.safetensors", 0, "right");
  char text[500];
  struct st_file *f = st_open(rt_path(*state, "f.safetensors"), text, sizeof text);
  if (!f) fail_msg("%s", text);
  const struct st_tensor *train = st_find(f, "train.features"), *labels = st_find(f, "test.labels");
  assert_int_equal(train->shape[0], 50);
  assert_int_equal(labels->shape[0], 13);
  assert_int_equal(train->shape[1], RT_PIXELS);
  for (int i = 0; i < labels->shape[0]; i++)
    assert_int_equal(((const int32_t *)labels->data)[i], i % 10);
  st_close(f);
  expect(*state, "brightness" DATA "--features @/g.safetensors", 1, "evaluates no features");
  expect(*state, "pixels" DATA "--untrained --features @/no/f.safetensors", 1, "cannot write");
  expect(*state, "fit" DATA "--features @/g.safetensors", 2, "no meaning");
}

static void test_bench(void **state) {
  expect(*state, "fit --bench 5" DATA "--out @/run", 0, "step ");
  expect(*state, "fit --bench 5 --json" DATA "--out @/run", 0, "\"step_ms\":");
  assert_int_equal(rt_files_in(*state), 0);
}

static int setup(void **state) { return *state = rt_mkdir(), 0; }
static int teardown(void **state) { return rt_rmdir(*state), 0; }
#define WITH_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

// ---- measures while training -------------------------------------------------------------------

// Of the log of a run: how many lines have both texts.
static int lines_with(const char *folder, const char *log, const char *a, const char *b) {
  char *text = rt_read(rt_path(folder, log), NULL);
  int n = 0;
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) n += strstr(line, a) && strstr(line, b);
  free(text);
  return n;
}

static double accuracy_in(const char *text) {
  const char *at = strstr(text, "\"accuracy\":");
  assert_non_null(at);
  return atof(at + 11);
}

// Two runs have left the same tensors, whatever their checkpoints say of the best score.
static void expect_same_tensors(const char *folder, const char *a, const char *b) {
  char err[1000];
  struct st_file *x = st_open(rt_path(folder, a), err, sizeof err), *y = st_open(rt_path(folder, b), err, sizeof err);
  assert_non_null(x), assert_non_null(y);
  assert_int_equal(st_count(x), st_count(y));
  for (int i = 0; i < st_count(x); i++) {
    const struct st_tensor *t = st_at(x, i), *u = st_find(y, t->name);
    assert_non_null(u), assert_int_equal(st_bytes(t), st_bytes(u));
    assert_memory_equal(t->data, u->data, st_bytes(t));
  }
  st_close(x), st_close(y);
}

// They share arena, buffers and states with the run, and change nothing of it. The last one is what `judge` says then.
static void test_measures_change_no_training(void **state) {
  expect(*state, DATA "--out @/plain --epochs 3", 0, "done");
  expect(*state, DATA "--out @/run --epochs 3 --evaluate judge,pixels", 0, "  judge knn ");
  expect_same_tensors(*state, "plain/fit/last.safetensors", "run/fit/last.safetensors");
  rt_expect_text(output, "test images right, from 50 labelled ones (judge");
  assert_int_equal(lines_with(*state, "run/fit/log.jsonl", "\"event\":\"evaluate\"", "\"program\":\"judge\""), 3);
  assert_int_equal(lines_with(*state, "run/fit/log.jsonl", "\"program\":\"pixels\"", "\"measure\":\"linear_probe\""), 3);
  expect(*state, DATA "--out @/run --force --epochs 3 --evaluate judge --json --quiet", 0, "\"epoch\":3.0,");
  double last = accuracy_in(strrchr(output, '{'));
  expect(*state, "judge" DATA "--out @/run --json", 0, "\"accuracy\":");
  assert_true(last == accuracy_in(output));
  // Reports, and labels of which the program has fewer: synthetic ones are fewer then.
  expect(*state, DATA "--out @/run --force --evaluate brightness", 0, "  mean 0.5");
  rt_expect_text(output, "largest_label: 4\n");
  assert_int_equal(lines_with(*state, "run/fit/log.jsonl", "\"program\":\"brightness\"", "\"report\":\"largest_label\",\"value\":4"), 2);
}

static void test_measures_now_and_then(void **state) {
  expect(*state, DATA "--out @/a --epochs 5 --evaluate judge --evaluate-every 2", 0, "done");
  assert_int_equal(lines_with(*state, "a/fit/log.jsonl", "\"evaluate\"", "\"step\":12,"), 1);
  assert_int_equal(lines_with(*state, "a/fit/log.jsonl", "\"evaluate\"", "\"step\":24,"), 1);
  assert_int_equal(lines_with(*state, "a/fit/log.jsonl", "\"evaluate\"", "\"step\":30,"), 1);
  assert_int_equal(lines_with(*state, "a/fit/log.jsonl", "\"evaluate\"", ""), 3);
  expect(*state, DATA "--out @/b --steps 8 --evaluate judge", 0, "done"); // the end is no end of an epoch
  assert_int_equal(lines_with(*state, "b/fit/log.jsonl", "\"evaluate\"", "\"step\":8,"), 1);
  assert_int_equal(lines_with(*state, "b/fit/log.jsonl", "\"evaluate\"", ""), 2);
}

// Whatever step of a measure a signal comes in, the run goes on with it.
static void test_a_signal_in_a_measure(void **state) {
  static const int steps[] = {0, 5, 8, 9, 17};
  expect(*state, DATA "--out @/whole --evaluate judge", 0, "done");
  for (int i = 0; i < 5; i++) {
    rt_pass_signal_at = steps[i], rt_pass_steps = 0;
    expect(*state, DATA "--out @/cut --force --evaluate judge", 130, steps[i] < 9 ? "interrupted at step 6" : "interrupted at step 12");
    expect(*state, DATA "--out @/cut --resume --evaluate judge", 0, "done");
    assert_true(rt_same_file(rt_path(*state, "whole/fit/last.safetensors"), rt_path(*state, "cut/fit/last.safetensors")));
    assert_int_equal(lines_with(*state, "cut/fit/log.jsonl", "\"evaluate\"", ""), 2);
    expect(*state, DATA "--out @/cut --resume --evaluate judge", 0, "nothing to do");
  }
  rt_pass_signal_at = 0, rt_pass_steps = 0;
  expect(*state, DATA "--out @/cut --force --evaluate judge", 130, "interrupted at step 6");
  expect(*state, DATA "--out @/cut --resume", 0, "done"); // without it, it is not due
  expect_same_tensors(*state, "whole/fit/last.safetensors", "cut/fit/last.safetensors");
}

// The best checkpoint is the one with the highest accuracy, the first of equals.
static void test_the_best_of_a_measure(void **state) {
  char err[1000], *log, *line;
  double best = -1;
  int64_t at = 0;
  expect(*state, DATA "--out @/run --epochs 6 --evaluate judge", 0, "done");
  log = rt_read(rt_path(*state, "run/fit/log.jsonl"), NULL);
  for (line = strtok(log, "\n"); line; line = strtok(NULL, "\n"))
    if (strstr(line, "\"evaluate\"") && accuracy_in(line) > best) best = accuracy_in(line), at = atoll(strstr(line, "\"step\":") + 7);
  free(log);
  struct bt_progress_point point;
  if (!bt_checkpoint_peek(rt_path(*state, "run/fit/best.safetensors"), &point, err, sizeof err)) fail_msg("%s", err);
  assert_int_equal(point.step, at);
  assert_string_equal(point.best.by, "judge knn");
  char again[100];
  snprintf(again, sizeof again, DATA "--out @/again --epochs 6 --stop-at %d", (int)at);
  expect(*state, again, 0, "");
  expect_same_tensors(*state, "again/fit/last.safetensors", "run/fit/best.safetensors");
}

static void test_measures_that_cannot_be(void **state) {
  expect(*state, "fit --evaluate judg" DATA, 2, "did you mean 'judge'?");
  expect(*state, "fit --evaluate watched" DATA, 2, "'watched' trains");
  expect(*state, "fit --evaluate judge,judge" DATA, 2, "names 'judge' twice");
  expect(*state, "fit --evaluate judge," DATA, 2, "no program ''");
  expect(*state, "fit --evaluate-every 2" DATA, 2, "give --evaluate PROGRAM too");
  expect(*state, "fit --evaluate judge --evaluate-every 0" DATA, 2, "whole number from 1");
  expect(*state, "judge --evaluate pixels" DATA, 2, "no meaning");
  expect(*state, "fit --data synthetic:24 --evaluate brightness --out @/run", 1, "the test split is smaller than one batch");
  expect(*state, "info --evaluate judge" DATA, 0, "features and their evaluation");
  rt_expect_text(output, "states during an evaluation");
  expect(*state, "info --json --evaluate judge" DATA, 0, "\"arena\":16384");
}

static void test_broken_features(void **state) {
  rt_features_break = true;
  int code = train(*state, "judge" DATA "--untrained");
  assert_int_equal(code, 1);
  rt_expect_text(output, "program judge: the features of training image 7 are not finite");
  code = train(*state, DATA "--out @/run --evaluate judge");
  rt_features_break = false;
  assert_int_equal(code, 0); // the run does not depend on it
  rt_expect_text(output, "warning: program judge: the features of training image 7 are not finite");
  assert_int_equal(lines_with(*state, "run/fit/log.jsonl", "\"measure\":\"knn\"", "\"accuracy\":null"), 2);
}

// ---- outputs -----------------------------------------------------------------------------------

static void test_outputs(void **state) {
  char err[1000] = "", *folder = strdup(rt_path(*state, "run/judge"));
  struct bt_npy z, y;
  expect(*state, DATA "--out @/run", 0, "done");
  expect(*state, "judge" DATA "--out @/run --features @/f.safetensors", 0, "z: 50 rows of 4×4 to ");
  rt_expect_text(output, "y: 13 rows of one number to ");
  struct st_file *file = st_open(rt_path(*state, "f.safetensors"), err, sizeof err);
  assert_non_null(file);
  static const char *const splits[] = {"train", "test"};
  for (int i = 0; i < 2; i++) { // the rows that are evaluated, those of a partial batch too
    char name[40];
    snprintf(name, sizeof name, "%s-z.npy", splits[i]);
    if (!bt_npy_read(folder, name, &z, err, sizeof err)) fail_msg("%s", err);
    snprintf(name, sizeof name, "%s-y.npy", splits[i]);
    if (!bt_npy_read(folder, name, &y, err, sizeof err)) fail_msg("%s", err);
    snprintf(name, sizeof name, "%s.features", splits[i]);
    const struct st_tensor *t = st_find(file, name);
    int64_t n = t->shape[0];
    assert_int_equal(z.rank, 3), assert_int_equal(z.shape[0], n), assert_int_equal(z.shape[2], RT_SIDE);
    assert_int_equal(y.rank, 1), assert_int_equal(y.shape[0], n), assert_int_equal(y.dtype, BT_I32);
    assert_memory_equal(z.data, t->data, (size_t)n * RT_PIXELS * sizeof(float));
    for (int64_t k = 0; k < n; k++) assert_int_equal(((int32_t *)y.data)[k], k % 10);
    free(z.data), free(y.data);
  }
  st_close(file);
  expect(*state, "judge" DATA "--out @/few --untrained --labels 20% --json", 0, "\"output\":\"z\",\"split\":\"train\",\"shape\":[10,4,4],\"dtype\":\"f32\"");
  assert_int_equal(rt_files_in(folder), 4);
  free(folder);
}

static void test_outputs_that_cannot_be(void **state) {
  disk_full = true;
  expect(*state, "judge" DATA "--out @/run --untrained", 1, "cannot write ");
  assert_int_equal(rt_files_in(rt_path(*state, "run/judge")), 0); // neither the one that was too large nor the other
  rt_write(rt_path(*state, "file"), "", 0);
  expect(*state, "judge" DATA "--out @/file --untrained", 1, "cannot make the folder");
  mkdir(rt_path(*state, "dir"), 0777), mkdir(rt_path(*state, "dir/judge"), 0777), mkdir(rt_path(*state, "dir/judge/train-y.npy"), 0777);
  expect(*state, "judge" DATA "--out @/dir --untrained", 1, "train-y.npy is a folder");
  assert_int_equal(rt_files_in(rt_path(*state, "dir/judge")), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      WITH_FOLDER(test_help),
      WITH_FOLDER(test_wrong_usage),
      WITH_FOLDER(test_training),
      WITH_FOLDER(test_reports_are_logged),
      WITH_FOLDER(test_reports_are_shown),
      WITH_FOLDER(test_passes),
      WITH_FOLDER(test_passes_change_no_training),
      WITH_FOLDER(test_a_signal_in_a_pass),
      WITH_FOLDER(test_passes_and_stopping),
      WITH_FOLDER(test_passes_due_beyond_the_end),
      WITH_FOLDER(test_passes_that_do_not_fit),
      WITH_FOLDER(test_threads_change_nothing),
      WITH_FOLDER(test_loaders_change_nothing),
      WITH_FOLDER(test_unreadable_images),
      WITH_FOLDER(test_unreadable_images_of_a_pass),
      WITH_FOLDER(test_resume_is_exact),
      WITH_FOLDER(test_signals),
      WITH_FOLDER(test_resume_refusals),
      WITH_FOLDER(test_not_finite),
      WITH_FOLDER(test_who_began_it),
      WITH_FOLDER(test_not_again),
      WITH_FOLDER(test_bad_surroundings),
      WITH_FOLDER(test_measures),
      WITH_FOLDER(test_reports),
      WITH_FOLDER(test_export),
      WITH_FOLDER(test_init),
      WITH_FOLDER(test_features),
      WITH_FOLDER(test_bench),
      WITH_FOLDER(test_ignored_signals_stay_ignored),
      WITH_FOLDER(test_the_first_signal_counts),
      WITH_FOLDER(test_resume_has_the_seed_everywhere),
      WITH_FOLDER(test_a_torn_log),
      WITH_FOLDER(test_files_beside_the_checkpoint),
      WITH_FOLDER(test_two_runs_in_one_folder),
      WITH_FOLDER(test_a_run_too_long),
      WITH_FOLDER(test_second_interrupt_leaves_at_once),
      WITH_FOLDER(test_kept_checkpoints),
      WITH_FOLDER(test_resume_keeps_means),
      WITH_FOLDER(test_resume_from),
      WITH_FOLDER(test_few_labels),
      WITH_FOLDER(test_full_disk),
      WITH_FOLDER(test_measures_change_no_training),
      WITH_FOLDER(test_measures_now_and_then),
      WITH_FOLDER(test_a_signal_in_a_measure),
      WITH_FOLDER(test_the_best_of_a_measure),
      WITH_FOLDER(test_measures_that_cannot_be),
      WITH_FOLDER(test_broken_features),
      WITH_FOLDER(test_outputs),
      WITH_FOLDER(test_outputs_that_cannot_be),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
