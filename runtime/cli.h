// cli.h: the trainer's command line.
#ifndef BT_CLI_H
#define BT_CLI_H

#include "btrt.h"

enum bt_command { BT_COMMAND_RUN, BT_COMMAND_INFO, BT_COMMAND_EXPORT, BT_COMMAND_VIEWS, BT_COMMAND_DONE };

enum { BT_MAX_EVALUATED = 16 }; // programs that one run measures

struct bt_options {
  enum bt_command command;
  const char *self;                 // argv[0]
  const struct bt_program *program; // BT_COMMAND_RUN, BT_COMMAND_VIEWS
  const char *data, *out, *from, *init, *features, *output, *instance;
  int64_t epochs, steps, stop_at, save_every, keep_every, log_every, bench, threads, loaders, rows; // 0: not given
  int64_t seed;
  int64_t cache; // bytes of decoded images
  bool seed_given, resume, force, find_nan, quiet, json, tensorboard, untrained, help, version;
  const char *labels; // as written
  const char *evaluate;           // as written: the programs, by commas
  int64_t evaluate_every;         // epochs
  const struct bt_program *evaluated[BT_MAX_EVALUATED];
  int n_evaluated;
  double label_fraction;
};

bool bt_program_has(const struct bt_program *program, enum bt_output_kind kind);
// A program trains if it has a loss; otherwise it measures.
bool bt_program_trains(const struct bt_program *program);

// Fills in options. Prints help, or what is wrong to stderr; then command is BT_COMMAND_DONE.
// Returns the exit code: 0, or 2 for wrong usage.
int bt_cli_parse(int argc, char **argv, const struct bt_module *module, struct bt_options *options);

// The options that the program takes, by name without dashes; those that were not given are null, or false.
struct json_t *bt_cli_options_json(const struct bt_options *options);

#endif
