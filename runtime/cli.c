// cli.c: the trainer's command line. One table names each option, says what it takes and where it
// has a meaning; the parser, the help and the suggestions for misspelt words all read it.
#include "cli.h"
#include "btrt_internal.h"
#include "json_text.h"
#include "measure.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { FLAG, TEXT, COUNT, SEED, LABELS, SIZE };
enum scope { TRAIN = 1, MEASURE = 2, INFO = 4, EXPORT = 8, VIEWS = 16, RUN = TRAIN | MEASURE, ANY = 31 };

static const struct option {
  const char *name, *takes, *help;
  enum kind kind;
  int scope;
  size_t field;
} table[] = {
#define FIELD(name) offsetof(struct bt_options, name)
    {"--data", "DIR", "folder of images, arrays, CIFAR or IDX files, or synthetic[:N]; default: Debian's Fashion-MNIST",
     TEXT, RUN | INFO | VIEWS, FIELD(data)},
    {"--cache", "SIZE", "memory for decoded images, as in 2G, 500M, 0 (default: a quarter of the machine's)", SIZE,
     RUN | INFO, FIELD(cache)},
    {"--out", "DIR", "folder of checkpoints and logs (default: run); of views the picture (views.png)", TEXT,
     RUN | EXPORT | VIEWS, FIELD(out)},
    {"--seed", "N", "key of all random numbers (default: 0)", SEED, RUN | VIEWS, FIELD(seed)},
    {"--rows", "N", "images in the picture (default: 8)", COUNT, VIEWS, FIELD(rows)},
    {"--threads", "N", "threads (default: the cores this process may use)", COUNT, RUN | INFO,
     FIELD(threads)},
    {"--loaders", "N", "threads that load and view images ahead (default: as many as --threads)", COUNT,
     RUN | INFO, FIELD(loaders)},
    {"--epochs", "N", "passes over the data (default: the program's)", COUNT, TRAIN, FIELD(epochs)},
    {"--steps", "N", "length of the run in steps, instead of epochs", COUNT, TRAIN, FIELD(steps)},
    {"--stop-at", "N", "save and stop after step N; --resume goes on from there", COUNT, TRAIN,
     FIELD(stop_at)},
    {"--resume", NULL, "go on from the last checkpoint in --out, or from that of --from", FLAG, TRAIN, FIELD(resume)},
    {"--force", NULL, "start afresh over an existing checkpoint", FLAG, TRAIN, FIELD(force)},
    {"--find-nan", NULL, "name the op that makes the first value that is not finite; saves nothing", FLAG, TRAIN,
     FIELD(find_nan)},
    {"--save-every", "N", "also save a checkpoint every N steps", COUNT, TRAIN, FIELD(save_every)},
    {"--keep-every", "N", "keep the checkpoint of every Nth epoch, as epoch-0010.safetensors", COUNT, TRAIN, FIELD(keep_every)},
    {"--log-every", "N", "steps between two lines of the log (default: 10)", COUNT, TRAIN,
     FIELD(log_every)},
    {"--evaluate", "PROGRAM", "measure with this program of the file, or these (knn,probe), while training", TEXT,
     TRAIN | INFO, FIELD(evaluate)},
    {"--evaluate-every", "N", "epochs between two such measurements (default: 1); the last epoch has one", COUNT, TRAIN,
     FIELD(evaluate_every)},
    {"--tensorboard", NULL, "also write what is logged for TensorBoard, beside the log", FLAG, TRAIN,
     FIELD(tensorboard)},
    {"--from", "FILE", "checkpoint to load from (default: the one the program names, in --out)",
     TEXT, RUN | EXPORT, FIELD(from)},
    {"--init", "FILE", "start from these tensors, another library's too; INSTANCE=FILE says whose",
     TEXT, RUN, FIELD(init)},
    {"--untrained", NULL, "load nothing: measure the initial parameters", FLAG, MEASURE,
     FIELD(untrained)},
    {"--labels", "SHARE", "labelled training images: all, or a share such as 1%, class by class",
     LABELS, RUN, FIELD(labels)},
    {"--features", "FILE", "also write the features and labels that are measured (safetensors)",
     TEXT, MEASURE, FIELD(features)},
    {"--bench", "N", "time N steps and print medians; saves nothing", COUNT, RUN, FIELD(bench)},
    {"--quiet", NULL, "print nothing but results and errors", FLAG, RUN | EXPORT | VIEWS, FIELD(quiet)},
    {"--json", NULL, "results as JSON lines on standard output", FLAG, RUN | INFO, FIELD(json)},
    {"--output", "FILE", "file to write (also -o)", TEXT, EXPORT, FIELD(output)},
    {"--help", NULL, "this text (also -h)", FLAG, ANY, FIELD(help)},
    {"--version", NULL, "what built this trainer", FLAG, ANY, FIELD(version)},
};
#define N_OPTIONS ((int)(sizeof table / sizeof *table))

bool bt_program_has(const struct bt_program *program, enum bt_output_kind kind) {
  for (int i = 0; i < program->n_outputs; i++)
    if (program->outputs[i].kind == kind) return true;
  return false;
}

bool bt_program_trains(const struct bt_program *program) { return bt_program_has(program, BT_OUTPUT_LOSS); }

static json_t *option_json(const struct bt_options *o, const struct option *option) {
  const void *field = (const char *)o + option->field;
  switch (option->kind) {
  case FLAG: return json_boolean(*(const bool *)field);
  case TEXT:
  case LABELS: return bt_json_text(*(const char *const *)field);
  case COUNT:
  case SIZE: return *(const int64_t *)field ? json_integer(*(const int64_t *)field) : json_null();
  case SEED: return json_integer(*(const int64_t *)field);
  }
  bt_die("option kind %d", (int)option->kind);
}

json_t *bt_cli_options_json(const struct bt_options *o) {
  int scope = bt_program_trains(o->program) ? TRAIN : MEASURE;
  json_t *object = json_object();
  for (int i = 0; i < N_OPTIONS; i++)
    if ((table[i].scope & scope) && table[i].scope != ANY)
      json_object_set_new(object, table[i].name + 2, option_json(o, &table[i]));
  return object;
}

// ---- complaints -------------------------------------------------------------------------------

__attribute__((format(printf, 2, 3))) static int wrong(const struct bt_options *o,
                                                       const char *format, ...) {
  va_list ap;
  fprintf(stderr, "%s: error: ", o->self);
  va_start(ap, format);
  vfprintf(stderr, format, ap);
  va_end(ap);
  fprintf(stderr, "\n(%s --help lists what there is)\n", o->self);
  return 2;
}

static int wrong_option(const struct bt_options *o, const char *word, int length) {
  const char *names[N_OPTIONS];
  char given[64];
  for (int i = 0; i < N_OPTIONS; i++) names[i] = table[i].name;
  snprintf(given, sizeof given, "%.*s", length, word);
  const char *near = bt_nearest(given, names, N_OPTIONS);
  if (near) return wrong(o, "unknown option '%s'; did you mean '%s'?", given, near);
  return wrong(o, "unknown option '%s'", given);
}

static int wrong_program(const struct bt_options *o, const struct bt_module *m, const char *word) {
  const char **names = bt_xcalloc((size_t)m->n_programs + 3, sizeof *names);
  int n = 0;
  for (int i = 0; i < m->n_programs; i++)
    if (!m->programs[i].owner) names[n++] = m->programs[i].name;
  names[n++] = "info", names[n++] = "export", names[n++] = "views";
  const char *near = bt_nearest(word, names, n);
  free(names);
  if (near) return wrong(o, "no program '%s'; did you mean '%s'?", word, near);
  return wrong(o, "no program '%s'", word);
}

// ---- help -------------------------------------------------------------------------------------

static void print_options(int scope) {
  printf("\nOptions:\n");
  for (int i = 0; i < N_OPTIONS; i++) {
    char left[48];
    if (!(table[i].scope & scope)) continue;
    snprintf(left, sizeof left, "%s %s", table[i].name, table[i].takes ? table[i].takes : "");
    printf("  %-18s %s\n", left, table[i].help);
  }
}

static void print_program(const struct bt_program *p, bool is_default) {
  if (!bt_program_trains(p))
    printf("  %-12s measures", p->name);
  else
    printf("  %-12s trains for %d epochs", p->name, p->epochs);
  printf(", batch %" PRId64 "%s\n", p->batch, is_default ? " (default)" : "");
}

static void print_help(const struct bt_module *m, const struct bt_options *o, int scope) {
  if (scope == INFO) {
    printf("Usage: %s info [options]\nSays what the programs are and the memory they take.\n",
           o->self);
  } else if (scope == EXPORT) {
    printf("Usage: %s export INSTANCE -o FILE [options]\n"
           "Writes an instance's tensors (encoder, …) from a checkpoint to a safetensors file.\n",
           o->self);
  } else if (scope == VIEWS) {
    printf("Usage: %s views [PROGRAM] [options]\n"
           "Draws images and what the program's views make of them (PNG).\n",
           o->self);
  } else if (scope != ANY) {
    printf("Usage: %s %s [options]\n", o->self, o->program->name);
    print_program(o->program, o->program == m->programs);
  } else {
    printf("Usage: %s [PROGRAM] [options]\n       %s info [options]\n"
           "       %s export INSTANCE -o FILE [options]\n"
           "       %s views [PROGRAM] [options]\n\nPrograms (of %s):\n",
           o->self, o->self, o->self, o->self, m->source_path);
    for (int i = 0; i < m->n_programs; i++)
      if (!m->programs[i].owner) print_program(&m->programs[i], i == 0);
  }
  print_options(scope);
  if (scope & TRAIN)
    printf("\nExit status: 0 done, 1 failed, 2 wrong usage. SIGINT, SIGTERM, SIGUSR1, SIGHUP and SIGPIPE\n"
           "finish the step, save a checkpoint and end the run with 128 + their number (130, 143,\n"
           "138, 129, 141); --resume goes on. A second SIGINT leaves at once.\n");
  else
    printf("\nExit status: 0 done, 1 failed, 2 wrong usage.\n");
}

// ---- parsing ----------------------------------------------------------------------------------

static bool parse_count(const char *text, int64_t least, int64_t *value) {
  char *end;
  errno = 0;
  long long n = strtoll(text, &end, 10);
  if (end == text || *end || errno || n < least) return false;
  return *value = n, true;
}

// Bytes, or K, M, G, T of them.
static bool parse_size(const char *text, int64_t *bytes) {
  static const char units[] = "KMGT";
  char *end;
  errno = 0;
  long long n = strtoll(text, &end, 10);
  const char *unit = *end ? strchr(units, *end) : NULL;
  if (end == text || errno || n < 0 || (*end && (!unit || end[1]))) return false;
  return !__builtin_mul_overflow(n, unit ? 1LL << 10 * (unit - units + 1) : 1, bytes);
}

static bool parse_share(const char *text, double *fraction) {
  char *end;
  if (strcmp(text, "all") == 0) return *fraction = 1, true;
  double percent = strtod(text, &end);
  if (end == text || strcmp(end, "%") != 0 || !(percent > 0 && percent <= 100)) return false;
  return *fraction = percent / 100, true;
}

static int store_value(struct bt_options *o, const struct option *option, const char *value) {
  void *field = (char *)o + option->field;
  switch (option->kind) {
  case FLAG: *(bool *)field = true; return 0;
  case TEXT:
    if (!*value) return wrong(o, "%s takes a %s, not nothing", option->name, option->takes);
    *(const char **)field = value;
    return 0;
  case COUNT:
    if (parse_count(value, 1, field)) return 0;
    return wrong(o, "%s takes a whole number from 1, not '%s'", option->name, value);
  case SEED:
    o->seed_given = true;
    if (parse_count(value, 0, field)) return 0;
    return wrong(o, "%s takes a whole number from 0, not '%s'", option->name, value);
  case SIZE:
    if (parse_size(value, field)) return 0;
    return wrong(o, "%s takes a size such as 2G, 500M or 0, not '%s'", option->name, value);
  case LABELS:
    *(const char **)field = value;
    if (parse_share(value, &o->label_fraction)) return 0;
    return wrong(o, "%s takes all or a share such as 1%%, not '%s'", option->name, value);
  }
  bt_die("option kind %d", (int)option->kind);
}

static const struct option *find_option(const char *word, size_t length) {
  if (length == 2 && word[1] == 'o') word = "--output", length = 8;
  if (length == 2 && word[1] == 'h') word = "--help", length = 6;
  for (int i = 0; i < N_OPTIONS; i++)
    if (strlen(table[i].name) == length && memcmp(table[i].name, word, length) == 0)
      return &table[i];
  return NULL;
}

// argv[*i] is an option, with its value after '=' or in the next word. Marks it in `seen`.
static int parse_option(struct bt_options *o, char **argv, int *i, bool *seen) {
  const char *word = argv[*i], *value = strchr(word, '=');
  size_t length = value ? (size_t)(value - word) : strlen(word);
  const struct option *option = find_option(word, length);
  if (!option) return wrong_option(o, word, (int)length);
  if (!option->takes && value) return wrong(o, "%s takes no value", option->name);
  if (option->takes && !value && !(value = argv[++*i]))
    return wrong(o, "%s takes a %s", option->name, option->takes);
  seen[option - table] = true;
  return store_value(o, option,
                     value && value[0] == '=' && value == word + length ? value + 1 : value);
}

static int choose_program(struct bt_options *o, const struct bt_module *m, const char *word) {
  for (int i = 0; i < m->n_programs; i++) {
    if (m->programs[i].owner || strcmp(m->programs[i].name, word) != 0) continue;
    o->program = &m->programs[i];
    return 0;
  }
  return wrong_program(o, m, word);
}

static int choose(struct bt_options *o, const struct bt_module *m, const char *word, int *scope) {
  if (strcmp(word, "info") == 0) return o->command = BT_COMMAND_INFO, *scope = INFO, 0;
  if (strcmp(word, "export") == 0) return o->command = BT_COMMAND_EXPORT, *scope = EXPORT, 0;
  if (strcmp(word, "views") == 0) return o->command = BT_COMMAND_VIEWS, *scope = VIEWS, 0;
  int code = choose_program(o, m, word);
  if (code == 0) *scope = bt_program_trains(o->program) ? TRAIN : MEASURE;
  return code;
}

static int parse_words(struct bt_options *o, int argc, char **argv, const struct bt_module *m,
                       bool *seen, int *scope) {
  const char *first = NULL;
  for (int i = 1; i < argc; i++) {
    int code = 0;
    if (argv[i][0] == '-' && argv[i][1])
      code = parse_option(o, argv, &i, seen);
    else if (!first)
      code = choose(o, m, first = argv[i], scope);
    else if (o->command == BT_COMMAND_EXPORT && !o->instance)
      o->instance = argv[i];
    else if (o->command == BT_COMMAND_VIEWS && !o->program)
      code = choose_program(o, m, argv[i]);
    else
      code = wrong(o, "'%s' is one word too many", argv[i]);
    if (code) return code;
  }
  return 0;
}

static int check_scope(const struct bt_options *o, const bool *seen, int scope) {
  const char *what = scope == INFO     ? "info"
                     : scope == EXPORT ? "export"
                     : scope == VIEWS  ? "views"
                                       : o->program->name;
  for (int i = 0; i < N_OPTIONS; i++)
    if (seen[i] && !(table[i].scope & scope))
      return wrong(o, "%s has no meaning for '%s'%s", table[i].name, what,
                   scope == MEASURE ? ", which trains nothing"
                   : scope == TRAIN ? ", which trains"
                                    : "");
  if (o->epochs && o->steps) return wrong(o, "give --epochs or --steps, not both");
  if (o->resume && o->force) return wrong(o, "give --resume or --force, not both");
  if (o->find_nan && o->bench) return wrong(o, "give --find-nan or --bench, not both");
  if (o->resume && o->init) return wrong(o, "give --resume or --init, not both");
  if (o->untrained && o->init) return wrong(o, "give --init or --untrained, not both");
  if (o->untrained && o->from) return wrong(o, "give --from or --untrained, not both");
  if (o->threads > 1024) return wrong(o, "--threads %" PRId64 " is more than 1024", o->threads);
  if (o->loaders > 1024) return wrong(o, "--loaders %" PRId64 " is more than 1024", o->loaders);
  if (scope == EXPORT && !o->instance)
    return wrong(o, "export what? Name an instance, as in encoder");
  if (scope == EXPORT && !o->output) return wrong(o, "export to where? Give -o FILE");
  return 0;
}

// ---- --evaluate -------------------------------------------------------------------------------

static int wrong_measure(const struct bt_options *o, const struct bt_module *m, const char *word) {
  const char **names = bt_xcalloc((size_t)m->n_programs, sizeof *names);
  int n = 0;
  for (int i = 0; i < m->n_programs; i++) {
    const struct bt_program *p = &m->programs[i];
    if (!p->owner && !bt_program_trains(p) && bt_program_measures(m, p)) names[n++] = p->name;
  }
  const char *near = bt_nearest(word, names, n);
  int code = near   ? wrong(o, "--evaluate: no program '%s' that measures; did you mean '%s'?", word, near)
             : n    ? wrong(o, "--evaluate: no program '%s' that measures, as '%s' does", word, names[0])
                    : wrong(o, "--evaluate: no program '%s' that measures; the file has none", word);
  free(names);
  return code;
}

static int add_measure(struct bt_options *o, const struct bt_module *m, const char *word) {
  const struct bt_program *found = NULL;
  for (int i = 0; i < m->n_programs; i++)
    if (!m->programs[i].owner && strcmp(m->programs[i].name, word) == 0) found = &m->programs[i];
  if (found && bt_program_trains(found)) return wrong(o, "--evaluate: '%s' trains; name a program that measures", word);
  if (!found) return wrong_measure(o, m, word);
  if (!bt_program_measures(m, found))
    return wrong(o, "--evaluate: '%s' measures nothing, it only writes outputs; run it after the run", word);
  for (int i = 0; i < o->n_evaluated; i++)
    if (o->evaluated[i] == found) return wrong(o, "--evaluate names '%s' twice", word);
  if (o->n_evaluated == BT_MAX_EVALUATED) return wrong(o, "--evaluate takes at most %d programs", BT_MAX_EVALUATED);
  o->evaluated[o->n_evaluated++] = found;
  return 0;
}

static int find_measures(struct bt_options *o, const struct bt_module *m) {
  int code = 0;
  if (!o->evaluate) return o->evaluate_every ? wrong(o, "--evaluate-every says how often; give --evaluate PROGRAM too") : 0;
  for (const char *at = o->evaluate; code == 0 && at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
    char word[256];
    snprintf(word, sizeof word, "%.*s", (int)strcspn(at, ","), at);
    code = add_measure(o, m, word);
  }
  if (!o->evaluate_every) o->evaluate_every = 1;
  return code;
}

int bt_cli_parse(int argc, char **argv, const struct bt_module *module, struct bt_options *o) {
  bool seen[N_OPTIONS] = {false};
  int scope = ANY;
  *o = (struct bt_options){.self = argc > 0 ? argv[0] : "train",
                           .labels = "all",
                           .label_fraction = 1,
                           .cache = (int64_t)(bt_memory_bytes() / 4),
                           .command = BT_COMMAND_RUN};
  int code = parse_words(o, argc, argv, module, seen, &scope);
  if (code == 0 && o->help) return print_help(module, o, scope), o->command = BT_COMMAND_DONE, 0;
  if (code == 0 && o->version)
    return printf("%s\n", module->build), o->command = BT_COMMAND_DONE, 0;
  if (code == 0 && scope == ANY) code = choose(o, module, module->programs[0].name, &scope);
  if (!o->out) o->out = scope == VIEWS ? "views.png" : "run";
  if (!o->program && scope == VIEWS) o->program = module->programs;
  if (code == 0) code = check_scope(o, seen, scope);
  if (code == 0) code = find_measures(o, module);
  if (code) o->command = BT_COMMAND_DONE;
  if (!o->log_every) o->log_every = 10;
  return code;
}
