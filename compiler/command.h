// command.h: the subcommands of btc, a file each (cmd_NAME.c), and what they share.
#ifndef BTC_COMMAND_H
#define BTC_COMMAND_H

#include "driver.h"
#include "options.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct command {
  const char *name;
  const char *operands;  // of the usage line
  const char *summary;   // one line, for the list of commands
  const char *about;     // paragraphs, ends with a newline
  const char *examples;  // lines, each ends with a newline
  const struct option_row *options;
  int n_options;
  int min_operands, max_operands;
  int (*run)(struct btc *b, struct settings *s); // returns the exit status
};

#define COMMANDS(X) X(compile) X(check) X(fmt) X(gradcheck) X(eval) X(variants) X(explain) X(bench) X(tune) X(doctor)
#define X(name) extern const struct command command_##name;
COMMANDS(X)
#undef X

// A mistake on the command line: prints it with the command's usage line; returns EXIT_USAGE.
int command_misuse(const struct command *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
