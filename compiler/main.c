// main.c: the btc command: finds the subcommand, parses its options, runs it.
//
// Results go to standard output, messages to standard error. Exit status: 0 done, 1 failed (the
// input is wrong, or something outside), 2 the command line is wrong.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

static const struct command *const commands[] = {
#define X(name) &command_##name,
    COMMANDS(X)
#undef X
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

// ---- help -------------------------------------------------------------------------------------

static void print_usage(FILE *out) {
  fputs("usage: btc COMMAND [OPTIONS] …\n\n"
        "btc compiles .btg models of self-supervised learning into native trainers.\n\ncommands:\n", out);
  for (int i = 0; i < N_COMMANDS; i++) fprintf(out, "  %-12s%s\n", commands[i]->name, commands[i]->summary);
  fputs("  help        explain a command: btc help COMMAND\n\n"
        "options:\n  -h, --help  print this\n  --version   print the version\n\n"
        "first steps:\n  btc doctor\n  btc compile examples/fashion_mnist.btg -o train && ./train\n", out);
}

static void print_command_help(FILE *out, const struct command *c) {
  fprintf(out, "usage: btc %s%s%s [OPTIONS]\n\n%s\noptions:\n", c->name, *c->operands ? " " : "", c->operands, c->about);
  options_print(out, c->options, c->n_options);
  if (c->examples) fprintf(out, "\nexamples:\n%s", c->examples);
}

int command_misuse(const struct command *c, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  fprintf(stderr, "btc %s: ", c->name);
  vfprintf(stderr, format, ap);
  va_end(ap);
  fprintf(stderr, "\nusage: btc %s%s%s [OPTIONS]   (btc help %s explains)\n", c->name, *c->operands ? " " : "", c->operands, c->name);
  return EXIT_USAGE;
}

// ---- dispatch ---------------------------------------------------------------------------------

static const struct command *find_command(const char *name) {
  for (int i = 0; i < N_COMMANDS; i++)
    if (str_eq(commands[i]->name, name)) return commands[i];
  return NULL;
}

static int unknown_command(const char *name) {
  const char *names[N_COMMANDS + 1] = {"help"};
  for (int i = 0; i < N_COMMANDS; i++) names[i + 1] = commands[i]->name;
  const char *near = str_nearest(name, names, N_COMMANDS + 1);
  if (near) fprintf(stderr, "btc: unknown command '%s'; did you mean '%s'?\n", name, near);
  else fprintf(stderr, "btc: unknown command '%s'; `btc help` lists them\n", name);
  return EXIT_USAGE;
}

static int run_help(int argc, char **argv) {
  if (argc == 0) return print_usage(stdout), EXIT_OK;
  const struct command *c = find_command(argv[0]);
  if (!c) return unknown_command(argv[0]);
  print_command_help(stdout, c);
  return EXIT_OK;
}

static bool use_color(const char *choice) {
  if (str_eq(choice, "always")) return true;
  if (str_eq(choice, "never")) return false;
  const char *no = getenv("NO_COLOR"), *terminal = getenv("TERM");
  return isatty(STDERR_FILENO) && !(no && *no) && !str_eq(terminal, "dumb");
}

static int run_command(const struct command *c, const char *program, int argc, char **argv) {
  struct btc *b = btc_new();
  struct settings s = {.opt.max_errors = 20, .samples = 2};
  const char *wrong = options_parse(b->arena, c->options, c->n_options, argc, argv, &s);
  int status = EXIT_OK;
  if (wrong) status = command_misuse(c, "%s", wrong);
  else if (s.help) print_command_help(stdout, c);
  else if (s.operands.len < c->min_operands) status = command_misuse(c, "%s is missing", c->operands);
  else if (s.operands.len > c->max_operands) status = command_misuse(c, "unexpected argument '%s'", s.operands.data[c->max_operands]);
  else {
    s.opt.program = program;
    s.opt.color = use_color(s.color);
    b->opt = s.opt;
    status = c->run(b, &s);
    diag_flush(b, stderr);
  }
  btc_free(b);
  return status;
}

static int dispatch(int argc, char **argv) {
  if (argc < 2) return print_usage(stderr), EXIT_USAGE;
  const char *word = argv[1];
  if (str_eq(word, "--help") || str_eq(word, "-h")) return print_usage(stdout), EXIT_OK;
  if (str_eq(word, "--version")) return printf("btc %s\n", BTC_VERSION), EXIT_OK;
  if (str_eq(word, "help")) return run_help(argc - 2, argv + 2);
  if (word[0] == '-') {
    fprintf(stderr, "btc: unknown option '%s' before a command; `btc help` lists what there is\n", word);
    return EXIT_USAGE;
  }
  const struct command *c = find_command(word);
  return c ? run_command(c, argv[0], argc - 2, argv + 2) : unknown_command(word);
}

int main(int argc, char **argv) {
  int status = dispatch(argc, argv);
  if (fflush(stdout) || ferror(stdout)) {
    perror("btc: cannot write to standard output");
    if (status == EXIT_OK) status = EXIT_FAILED;
  }
  return status;
}
