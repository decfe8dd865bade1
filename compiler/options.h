// options.h: command lines as tables. A row is an option's spelling, argument and help; parsing,
// --help and the suggestions for misspelt names all read the rows.
#ifndef BTC_OPTIONS_H
#define BTC_OPTIONS_H

#include "btc.h"

// What the command line of any subcommand says. Each subcommand's table fills its part.
struct settings {
  struct btc_options opt;       // -D, --march, --dump-after, …
  VEC(const char *) operands;   // what is not an option: FILE
  VEC(struct define) shapes;    // --shape NAME=AxB
  VEC(const char *) only;       // --only VARIANT
  const char *output;           // -o, --output
  const char *emit, *program, *function, *cc;
  const char *in, *backend, *format, *prototype;
  const char *color;
  int64_t seed, steps, samples; // steps 0: as many as the data has
  int64_t threads;              // 0: the cores that this process may use
  double seconds;               // 0: the command's default
  bool in_place, check;         // btc fmt
  bool gradients, json, shared, keep_c, verbose, list_passes, no_check, help;
};

enum option_kind {
  OPTION_FLAG,   // bool at `offset`
  OPTION_TEXT,   // const char * at `offset`
  OPTION_NUMBER, // int64_t at `offset`, not negative
  OPTION_REAL,   // double at `offset`, above 0
  OPTION_CHOICE, // const char * at `offset`, one of `argument`, which separates them by "|"
  OPTION_ADD,    // calls `add`, which returns what is wrong with the value, or NULL
};
struct option_row {
  char letter;          // 0: none
  const char *name;     // without "--"
  enum option_kind kind;
  const char *argument; // as --help shows it
  const char *help;
  size_t offset;        // in struct settings
  const char *(*add)(struct arena *a, struct settings *s, const char *value);
};

// Every row that more than one subcommand has.
#define OPTION_AT(member) offsetof(struct settings, member)
#define OPTION_HELP {'h', "help", OPTION_FLAG, NULL, "print this", OPTION_AT(help), NULL}
#define OPTION_COLOR {0, "color", OPTION_CHOICE, "auto|always|never", "colour messages (auto: on a terminal)", OPTION_AT(color), NULL}
#define OPTION_DEFINE {'D', "define", OPTION_ADD, "NAME=VALUE", "rebind a constant of FILE", 0, option_add_define}
#define OPTION_PROGRAM(help) {0, "program", OPTION_TEXT, "NAME", help, OPTION_AT(program), NULL}
#define OPTION_FUNCTION(help) {0, "function", OPTION_TEXT, "NAME", help, OPTION_AT(function), NULL}
#define OPTION_SHAPE {0, "shape", OPTION_ADD, "NAME=AxB", "shape of a function's input", 0, option_add_shape}
#define OPTION_MARCH {0, "march", OPTION_TEXT, "NAME", "generate code for this processor (default: native)", OPTION_AT(opt.march), NULL}
#define OPTION_CC {0, "cc", OPTION_TEXT, "COMMAND", "host C compiler (default: $CC, else cc, gcc or clang)", OPTION_AT(cc), NULL}
#define OPTION_SEED {0, "seed", OPTION_NUMBER, "N", "key of everything random (default: 0)", OPTION_AT(seed), NULL}
#define OPTION_THREADS {0, "threads", OPTION_NUMBER, "N", "threads that compute (default: the cores that there are)", OPTION_AT(threads), NULL}
#define OPTION_SECONDS(help) {0, "seconds", OPTION_REAL, "S", help, OPTION_AT(seconds), NULL}
#define OPTION_VERBOSE {'v', "verbose", OPTION_FLAG, NULL, "print the commands that are run", OPTION_AT(verbose), NULL}
#define OPTION_KEEP_C {0, "keep-c", OPTION_FLAG, NULL, "keep the generated C and say where it is", OPTION_AT(keep_c), NULL}
#define OPTION_DISABLE_PASS {0, "disable-pass", OPTION_ADD, "PASS", "leave out a graph pass", 0, option_add_disabled}
#define OPTION_VARIANT {0, "variant", OPTION_ADD, "ADDRESS=NAME", "compute regions this way (repeatable; btc variants lists them)", 0, option_add_variant}
#define OPTION_NO_TUNED {0, "no-tuned", OPTION_FLAG, NULL, "choose as if btc tune had never run", OPTION_AT(opt.no_tuned), NULL}
const char *option_add_define(struct arena *a, struct settings *s, const char *value);
const char *option_add_shape(struct arena *a, struct settings *s, const char *value);
const char *option_add_disabled(struct arena *a, struct settings *s, const char *value);
const char *option_add_variant(struct arena *a, struct settings *s, const char *value);
const char *option_add_only(struct arena *a, struct settings *s, const char *value);
const char *option_add_dump(struct arena *a, struct settings *s, const char *value);

// Parses argv[0 … argc). Returns NULL, or a message (an arena string) that names the offender and,
// where one is near, what was probably meant. "--" ends the options; options and operands may mix.
const char *options_parse(struct arena *a, const struct option_row *rows, int n, int argc,
                          char **argv, struct settings *s);
// One line an option, aligned.
void options_print(FILE *out, const struct option_row *rows, int n);

#endif
