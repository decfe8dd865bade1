// cli.h: the trainer's command line.
#ifndef BT_CLI_H
#define BT_CLI_H

#include "btrt.h"

enum bt_command { BT_COMMAND_RUN, BT_COMMAND_INFO, BT_COMMAND_EXPORT, BT_COMMAND_DONE };

struct bt_options {
  enum bt_command command;
  const char *self;                 // argv[0]
  const struct bt_program *program; // BT_COMMAND_RUN
  const char *data, *out, *from, *init, *features, *output, *instance;
  int64_t epochs, steps, stop_at, save_every, log_every, bench, threads; // 0: not given
  int64_t seed;
  int64_t cache; // bytes of decoded images
  bool seed_given, resume, force, quiet, json, tensorboard, untrained, help, version;
  const char *labels; // as written
  double label_fraction;
};

// A program trains if it has a loss; otherwise it measures.
bool bt_program_trains(const struct bt_program *program);

// Fills in options. Prints help, or what is wrong to stderr; then command is BT_COMMAND_DONE.
// Returns the exit code: 0, or 2 for wrong usage.
int bt_cli_parse(int argc, char **argv, const struct bt_module *module, struct bt_options *options);

#endif
