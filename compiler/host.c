// host.c: finding and running the host C compiler.
//
// Generated C that the host compiler rejects is a bug of btc, so its messages are shown under a
// heading that says so. They are collected in a file first: a compiler that works says nothing.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "driver.h"
#include "emit_c.h"
#include "process.h"

static const struct loc nowhere;

typedef VEC(char *) word_list;

static void words_add(struct arena *a, word_list *words, const char *text) {
  for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
    size_t length = strcspn(text, " ");
    vec_push(a, words, str_ndup(a, text, length));
    text += length;
  }
}

static void word_add(struct arena *a, word_list *words, const char *word) {
  vec_push(a, words, str_ndup(a, word, strlen(word)));
}

static bool spawn(struct arena *a, word_list *words, const char *output, pid_t *pid) {
  vec_push(a, words, (char *)NULL);
  return process_start(words->data, output, pid);
}

static char *read_all(struct arena *a, const char *path) {
  VEC(char) text = {0};
  FILE *f = fopen(path, "r");
  for (int c; f && (c = getc(f)) != EOF;) vec_push(a, &text, (char)c);
  if (f) fclose(f);
  vec_push(a, &text, '\0');
  return text.data;
}

// ---- finding ----------------------------------------------------------------------------------

// Whether the first word of a command names something to run.
static bool runnable(struct btc *b, const char *command) {
  word_list words = {0};
  words_add(b->arena, &words, command);
  if (words.len == 0) return false;
  if (strchr(words.data[0], '/')) return access(words.data[0], X_OK) == 0;
  const char *path = getenv("PATH");
  for (path = path ? path : ""; *path; path += *path == ':') {
    size_t length = strcspn(path, ":");
    if (access(str_printf(b->arena, "%.*s/%s", (int)length, path, words.data[0]), X_OK) == 0) return true;
    path += length;
  }
  return false;
}

const char *host_version(struct btc *b, const struct host *host) {
  const char *folder = temporary_folder(b);
  if (!folder) return NULL;
  const char *log = str_printf(b->arena, "%s/version", folder);
  word_list words = {0};
  words_add(b->arena, &words, host->command);
  words_add(b->arena, &words, "--version");
  pid_t pid;
  char *text = NULL;
  if (spawn(b->arena, &words, log, &pid) && process_wait(pid, "asking the C compiler") == 0) text = read_all(b->arena, log);
  temporary_folder_end(folder, NULL);
  if (text) text[strcspn(text, "\n")] = 0;
  return text;
}

static bool find_command(struct btc *b, struct host *host, const char *wanted) {
  const char *variable = getenv("CC");
  const char *const usual[] = {"cc", "gcc", "clang"};
  if (!wanted && variable && *variable) wanted = variable;
  if (wanted) {
    if (runnable(b, wanted)) return host->command = wanted, true;
    diag_error(b, nowhere, "there is no C compiler '%s'", wanted);
    return false;
  }
  for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
    if (runnable(b, usual[i])) return host->command = usual[i], true;
  diag_error(b, nowhere, "there is no C compiler: install one with `apt-get install gcc libc6-dev`, or name one with --cc or $CC");
  return false;
}

bool host_find(struct btc *b, struct host *host, const char *wanted) {
  int errors = b->n_errors;
  if (!find_command(b, host, wanted)) return false;
  const char *version = host_version(b, host);
  host->clang = version && strstr(version, "clang");
  return b->n_errors == errors;
}

// ---- compiling --------------------------------------------------------------------------------

const char *host_flags(struct btc *b, const struct host *host) {
  return str_printf(b->arena, EMIT_C_FLAGS "%s -march=%s", host->clang ? EMIT_C_CLANG_FLAGS : EMIT_C_GCC_FLAGS, host->march ? host->march : "native");
}

// The objects, and that each defines what it was compiled for.
static void source_words(struct arena *a, const host_source_list *sources, word_list *words) {
  for (int i = 0; i < sources->len; i++) {
    const struct host_source *s = &sources->data[i];
    word_add(a, words, s->object);
    for (int j = 0; j < s->functions.len; j++)
      word_add(a, words, str_printf(a, "-Wl,--require-defined=%s", s->functions.data[j]));
  }
}

static void compiler_words(struct btc *b, const struct host *host, bool shared, word_list *words) {
  words_add(b->arena, words, host->command);
  words_add(b->arena, words, host_flags(b, host));
  if (shared) words_add(b->arena, words, "-fPIC");
}

static void runtime_words(struct btc *b, word_list *words) {
  word_add(b->arena, words, str_printf(b->arena, "-I%s/runtime", b->opt.home));
}

// To compile `inputs` where they are C, and link.
static bool link_words(struct btc *b, const struct host *host, const word_list *inputs, const char *out, bool shared, const host_source_list *sources, word_list *words) {
  struct arena *a = b->arena;
  const char *library = shared ? NULL : driver_runtime_library(b);
  if (!shared && !library) return false;
  compiler_words(b, host, shared, words);
  runtime_words(b, words);
  words_add(a, words, shared ? "-shared -o" : "-o");
  word_add(a, words, out);
  for (int i = 0; i < inputs->len; i++) word_add(a, words, inputs->data[i]);
  source_words(a, sources, words);
  // A shared object leaves the runtime to the process that loads it.
  if (library) word_add(a, words, library);
  words_add(a, words, library ? "-lopenblas -ljansson -lz -ljpeg -lpng -lm" : "-lopenblas -lm");
  return true;
}

bool host_links(struct btc *b, const struct host *host, const char *c_file, const char *out, const char *flags, const char *log) {
  word_list words = {0};
  words_add(b->arena, &words, host->command);
  words_add(b->arena, &words, "-o");
  word_add(b->arena, &words, out);
  word_add(b->arena, &words, c_file);
  words_add(b->arena, &words, flags);
  pid_t pid;
  return spawn(b->arena, &words, log, &pid) && process_wait(pid, "trying the C compiler") == 0;
}

static void print_words(const word_list *words) {
  for (int i = 0; i < words->len; i++) fprintf(stderr, "%s%s", i ? " " : "", words->data[i]);
  fputc('\n', stderr);
}

// gcc brings OpenMP along; Debian packs clang's runtime by clang's version: clang-19, libomp-19-dev.
const char *host_openmp_package(struct btc *b, const struct host *host) {
  if (!host->clang) return "gcc libgomp1";
  const char *program = str_ndup(b->arena, host->command, strcspn(host->command, " "));
  const char *slash = strrchr(program, '/');
  const char *name = slash ? slash + 1 : program;
  const char *suffix = strncmp(name, "clang-", 6) == 0 ? name + 5 : "";
  return str_printf(b->arena, "libomp%s-dev", suffix);
}

static bool lacks_openmp(const char *messages) {
  return strstr(messages, "omp.h") || strstr(messages, "cannot find -lomp") || strstr(messages, "cannot find -lgomp");
}

static void show_messages(struct btc *b, const struct host *host, const char *c_file, const char *messages) {
  if (host->silent) return;
  diag_flush(b, stderr);
  fprintf(stderr, "---- %s on %s says ----\n%s----\n", host->command, c_file, messages);
}

// Is the mistake that a file of the user's lacks a function? Then it is diagnosed.
static bool lacks_function(struct btc *b, const host_source_list *sources, const char *messages) {
  for (int i = 0; i < sources->len; i++) {
    const struct host_source *s = &sources->data[i];
    for (int j = 0; j < s->functions.len; j++) {
      const char *quoted = str_printf(b->arena, "required symbol `%s'", s->functions.data[j]);
      if (!strstr(messages, quoted)) continue;
      diag_error(b, s->loc, "%s defines no function '%s'", s->path, s->functions.data[j]);
      return true;
    }
  }
  for (int i = 0; i < sources->len && strstr(messages, "undefined reference"); i++) {
    if (!strstr(messages, sources->data[i].object)) continue;
    diag_error(b, sources->data[i].loc, "%s calls a function that neither it nor a library of the trainer defines", sources->data[i].path);
    return true;
  }
  return false;
}

static void show_failure(struct btc *b, const struct host *host, const char *c_file, const host_source_list *sources, const char *log, int status) {
  if (WIFSIGNALED(status)) {
    process_signal(); // if it was ours, it is told here
    diag_error(b, nowhere, "'%s' was stopped by signal %d", host->command, WTERMSIG(status));
    return;
  }
  const char *messages = read_all(b->arena, log);
  show_messages(b, host, c_file, messages);
  if (lacks_function(b, sources, messages)) return;
  if (lacks_openmp(messages))
    diag_error(b, nowhere, "'%s' has no OpenMP, which trainers need: `apt-get install %s`, or take another compiler with --cc", host->command, host_openmp_package(b, host));
  else if (strstr(messages, "cannot find -l"))
    diag_error(b, nowhere, "a library to link with is missing: `btc doctor` says which package has it");
  else
    diag_error(b, nowhere, "the C compiler did not accept what btc generated; this is a bug in btc (--keep-c keeps the file)");
}

// Starts it with its messages in `log`. False after a diagnostic.
static bool start_host(struct btc *b, const struct host *host, word_list *words, const char *log, pid_t *pid) {
  if (host->verbose) print_words(words);
  if (spawn(b->arena, words, log, pid)) return true;
  int why = errno, number = process_signal();
  if (number) diag_error(b, nowhere, "stopped by signal %d", number);
  else diag_error(b, nowhere, "cannot run '%s': %s", host->command, strerror(why));
  return false;
}

// And waits; *status is how it ended.
static bool run_host(struct btc *b, const struct host *host, word_list *words, const char *log, const char *doing, int *status) {
  pid_t pid;
  if (!start_host(b, host, words, log, &pid)) return false;
  *status = process_wait(pid, doing);
  return true;
}

// ---- compiling in parts -----------------------------------------------------------------------

struct part {
  const char *object, *log;
  pid_t pid;
};

static bool start_part(struct btc *b, const struct host *host, const char *c_file, int number, bool shared, struct part *part) {
  struct arena *a = b->arena;
  word_list words = {0};
  part->object = str_printf(a, "%s.part%d.o", c_file, number);
  part->log = str_printf(a, "%s.log", part->object);
  compiler_words(b, host, shared, &words);
  runtime_words(b, &words);
  word_add(a, &words, str_printf(a, "-DBTC_PART=%d", number));
  words_add(a, &words, "-c -o");
  word_add(a, &words, part->object);
  word_add(a, &words, c_file);
  return start_host(b, host, &words, part->log, &part->pid);
}

// Of several parts that fail, the first is shown. `good`: none has so far.
static bool finish_part(struct btc *b, const struct host *host, const char *c_file, const struct part *part, bool good) {
  static const host_source_list none;
  int status = process_wait(part->pid, "compiling the generated C");
  if (status != 0 && good) show_failure(b, host, c_file, &none, part->log, status);
  unlink(part->log);
  return good && status == 0;
}

// Keeps as many compilers at work as there are processors. Objects go to `objects`, made or not.
static bool compile_parts(struct btc *b, const struct host *host, const char *c_file, int parts, bool shared, word_list *objects) {
  struct part *part = NEW_ARRAY(b->arena, struct part, parts);
  int processors = (int)sysconf(_SC_NPROCESSORS_ONLN), at_once = processors < PROCESS_MOST ? processors : PROCESS_MOST;
  int started = 0, finished = 0;
  bool good = true;
  while (finished < started || (good && started < parts)) {
    bool room = started < parts && started - finished < at_once;
    if (good && room) {
      good = start_part(b, host, c_file, started, shared, &part[started]);
      word_add(b->arena, objects, part[started].object);
      started += good;
    } else
      good = finish_part(b, host, c_file, &part[finished++], good);
  }
  return good;
}

static bool link_inputs(struct btc *b, const struct host *host, const char *c_file, const word_list *inputs, const char *out, bool shared, const host_source_list *sources) {
  word_list words = {0};
  if (!link_words(b, host, inputs, out, shared, sources, &words)) return false;
  const char *log = str_printf(b->arena, "%s.log", c_file);
  int status;
  if (!run_host(b, host, &words, log, "compiling the generated C", &status)) return false;
  if (status != 0) show_failure(b, host, c_file, sources, log, status);
  unlink(log);
  return status == 0;
}

bool host_compile(struct btc *b, const struct host *host, const char *c_file, int parts, const char *out, bool shared, const host_source_list *sources) {
  word_list inputs = {0};
  if (!driver_home(b)) return false;
  bool good = true;
  if (parts > 0)
    good = compile_parts(b, host, c_file, parts + 1, shared, &inputs);
  else
    word_add(b->arena, &inputs, c_file);
  good = good && link_inputs(b, host, c_file, &inputs, out, shared, sources);
  for (int i = 0; parts > 0 && i < inputs.len; i++) unlink(inputs.data[i]);
  return good;
}

// ---- the user's C -----------------------------------------------------------------------------

static const char *folder_of(struct btc *b, const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? str_ndup(b->arena, path, (size_t)(slash - path)) : ".";
}

static void include_words(struct btc *b, const struct host_source *s, word_list *words) {
  for (int i = 0; i < s->headers.len; i++) {
    const char *header = s->headers.data[i];
    words_add(b->arena, words, "-include");
    word_add(b->arena, words, header);
    word_add(b->arena, words, str_printf(b->arena, "-I%s", folder_of(b, header)));
  }
}

bool host_compile_source(struct btc *b, const struct host *host, const struct host_source *s, bool shared) {
  struct arena *a = b->arena;
  word_list words = {0};
  compiler_words(b, host, shared, &words);
  words_add(a, &words, "-Wall -c -o");
  word_add(a, &words, s->object);
  include_words(b, s, &words);
  word_add(a, &words, s->path);
  const char *log = str_printf(a, "%s.log", s->object);
  int status;
  if (!run_host(b, host, &words, log, str_printf(a, "compiling %s", s->path), &status)) return false;
  const char *messages = read_all(a, log);
  if (*messages) show_messages(b, host, s->path, messages);
  unlink(log);
  if (status != 0) diag_error(b, s->loc, "the C compiler did not accept %s", s->path);
  return status == 0;
}
