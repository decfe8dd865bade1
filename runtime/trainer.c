// trainer.c: bt_main, the whole trainer. It reads the command line, opens what the command needs,
// and hands over: train.c, measure.c, bench.c, info.c, view_grid.c, or the export below.
#include "trainer.h"
#include "checkpoint.h"
#include "interchange.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int bt_report_error(const struct bt_options *options, const char *text) {
  fflush(stdout);
  fprintf(stderr, "%s: error: %s\n", options->self, text);
  return 1;
}

static bool same_file(const char *a, const char *b) {
  struct stat x, y;
  return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

// From --from, or the first training program's checkpoint in --out.
static int export_instance(const struct bt_module *m, const struct bt_options *o) {
  char err[4096], note[2048] = "";
  const struct bt_program *p = m->programs;
  for (int i = 0; i < m->n_programs && !bt_program_trains(p); i++) p = &m->programs[i];
  char *from = o->from ? NULL : bt_path(o->out, p->name, BT_LAST_CHECKPOINT);
  bool ok = true;
  if (from && access(from, F_OK) != 0)
    ok = bt_fail(err, sizeof err, "%s is not there: run '%s %s' first, or give --from FILE", from,
                 o->self, p->name);
  const char *source = from ? from : o->from;
  if (ok && same_file(source, o->output))
    ok = bt_fail(err, sizeof err, "%s is the checkpoint itself: give another -o FILE", o->output);
  ok = ok &&
       bt_instance_export(source, o->output, m, o->instance, note, sizeof note, err, sizeof err);
  free(from);
  if (!ok) return bt_report_error(o, err);
  if (!o->quiet) fputs(note, stderr);
  return 0;
}

// A resumed run has its checkpoint's seed from the beginning: synthetic data and the images with
// labels are drawn before the checkpoint is loaded, which will say what is wrong with it.
static void adopt_seed(struct bt_options *o) {
  struct bt_progress_point point;
  if (!o->resume || o->seed_given) return;
  char *path = o->from ? bt_xstrdup(o->from) : bt_path(o->out, o->program->name, BT_LAST_CHECKPOINT);
  if (bt_checkpoint_peek(path, &point, NULL, 0)) o->seed = (int64_t)point.seed;
  free(path);
}

// Asks bt_data_warning or bt_data_unreadable.
static void warn_of_images(const struct bt_session *s, bool (*ask)(const struct bt_data *, char *, size_t)) {
  char text[4400];
  if (ask(s->data, text, sizeof text)) fprintf(stderr, "%s: warning: %s\n", s->options->self, text);
}

static int run_program(const struct bt_module *m, struct bt_options *o) {
  char err[4096];
  struct bt_session s;
  // Before data are read, which may take long.
  const struct bt_session before = {.module = m, .program = o->program, .options = o};
  bool starts = bt_program_trains(o->program) && !o->resume && !o->bench;
  if (starts && !bt_train_may_start(&before, err, sizeof err)) return bt_report_error(o, err);
  int threads = bt_blas_init((int)o->threads);
  adopt_seed(o);
  if (!bt_session_open(&s, m, o->program, o, threads, err, sizeof err))
    return bt_report_error(o, err);
  warn_of_images(&s, bt_data_warning);
  int code = o->bench                        ? bt_bench(&s)
             : bt_program_trains(o->program) ? bt_train(&s)
                                             : bt_measure(&s);
  if (code != 1) warn_of_images(&s, bt_data_warning), warn_of_images(&s, bt_data_unreadable); // it said why
  bt_session_close(&s);
  return code;
}

// What was printed must have arrived: a full disk is no success.
static int check_printed(const struct bt_options *o, int code) {
  bool arrived = fflush(stdout) == 0 && !ferror(stdout);
  if (arrived || code) return code;
  return bt_report_error(o, "cannot write to standard output");
}

// Where standard output or error is closed (2>&-), the next file that is opened would get its number, and messages would
// be written into a checkpoint. Results that go to a closed output are an error (check_printed), messages are lost.
static void occupy_standard_files(void) {
  for (int fd = 0; fd <= STDERR_FILENO; fd++)
    if (fcntl(fd, F_GETFD) < 0) open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY); // gets the number fd
}

int bt_main(int argc, char **argv, const struct bt_module *module) {
  struct bt_options options;
  occupy_standard_files();
  json_set_alloc_funcs(bt_xmalloc, free);
  signal(SIGXFSZ, SIG_IGN); // a file that may not grow is an error of its writer
  if (module->abi != BT_ABI) {
    fprintf(stderr,
            "this trainer was compiled for runtime interface %d and linked with %d: "
            "compile it again\n",
            module->abi, BT_ABI);
    return 1;
  }
  int code = bt_cli_parse(argc, argv, module, &options);
  switch (options.command) {
  case BT_COMMAND_INFO: code = bt_info(module, &options); break;
  case BT_COMMAND_VIEWS: code = bt_view_grid(module, &options); break;
  case BT_COMMAND_EXPORT: code = export_instance(module, &options); break;
  case BT_COMMAND_RUN: code = run_program(module, &options); break;
  case BT_COMMAND_DONE: break;
  default: bt_die("command %d", (int)options.command);
  }
  return check_printed(&options, code);
}
