// options.c: the command line parser. See options.h.
//
// Accepted: -x, -xVALUE, -x VALUE, --name, --name=VALUE, --name VALUE. Short flags do not bundle.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "regions.h"

// ---- options that may be repeated -------------------------------------------------------------

static const char *split(struct arena *a, const char *value, struct define *d) {
  const char *equals = strchr(value, '=');
  if (!equals || equals == value || !equals[1]) return "expected NAME=VALUE";
  *d = (struct define){str_ndup(a, value, (size_t)(equals - value)), equals + 1};
  return NULL;
}

const char *option_add_define(struct arena *a, struct settings *s, const char *value) {
  struct define d;
  const char *wrong = split(a, value, &d);
  if (!wrong) vec_push(a, &s->opt.defines, d);
  return wrong;
}

const char *option_add_shape(struct arena *a, struct settings *s, const char *value) {
  struct define d;
  const char *wrong = split(a, value, &d);
  if (!wrong) vec_push(a, &s->shapes, d);
  return wrong;
}

const char *option_add_disabled(struct arena *a, struct settings *s, const char *value) {
  vec_push(a, &s->opt.disabled, value);
  return NULL;
}

const char *option_add_variant(struct arena *a, struct settings *s, const char *value) {
  struct variant_request request;
  const char *wrong = variant_request_parse(a, value, &request);
  if (!wrong) vec_push(a, &s->opt.variants, value);
  return wrong;
}

const char *option_add_only(struct arena *a, struct settings *s, const char *value) {
  vec_push(a, &s->only, value);
  return NULL;
}

const char *option_add_dump(struct arena *a, struct settings *s, const char *value) {
  vec_push(a, &s->opt.dump_after, value);
  return NULL;
}

// ---- one option -------------------------------------------------------------------------------

// Splits "a|b|c" into names.
static int choices(struct arena *a, const char *list, const char ***names) {
  int n = 1;
  for (const char *p = list; *p; p++) n += *p == '|';
  *names = NEW_ARRAY(a, const char *, n);
  for (int i = 0; i < n; i++) {
    size_t length = strcspn(list, "|");
    (*names)[i] = str_ndup(a, list, length);
    list += length + 1;
  }
  return n;
}

static const char *set_choice(struct arena *a, const struct option_row *row, const char *value, const char **into) {
  const char **names;
  int n = choices(a, row->argument, &names);
  for (int i = 0; i < n; i++)
    if (str_eq(names[i], value)) return *into = names[i], NULL;
  const char *near = str_nearest(value, names, n);
  if (near) return str_printf(a, "'%s' is none of %s; did you mean '%s'?", value, row->argument, near);
  return str_printf(a, "'%s' is none of %s", value, row->argument);
}

static const char *set_number(struct arena *a, const char *value, int64_t *into) {
  char *end;
  errno = 0;
  long long n = strtoll(value, &end, 10);
  if (end == value || *end || errno || n < 0) return str_printf(a, "'%s' is not a number from 0", value);
  *into = n;
  return NULL;
}

static const char *set_real(struct arena *a, const char *value, double *into) {
  char *end;
  double x = strtod(value, &end);
  if (end == value || *end || !(x > 0 && isfinite(x))) return str_printf(a, "'%s' is not a number above 0", value);
  *into = x;
  return NULL;
}

static const char *set(struct arena *a, const struct option_row *row, const char *value, struct settings *s) {
  char *at = (char *)s + row->offset;
  switch (row->kind) {
  case OPTION_FLAG: return *(bool *)at = true, NULL;
  case OPTION_TEXT: return *(const char **)at = value, NULL;
  case OPTION_NUMBER: return set_number(a, value, (int64_t *)at);
  case OPTION_REAL: return set_real(a, value, (double *)at);
  case OPTION_CHOICE: return set_choice(a, row, value, (const char **)at);
  case OPTION_ADD: return row->add(a, s, value);
  }
  die("option kind %d", (int)row->kind);
}

static const struct option_row *find(const struct option_row *rows, int n, const char *arg, size_t length) {
  bool is_long = arg[1] == '-';
  for (int i = 0; i < n; i++) {
    if (is_long && strlen(rows[i].name) == length - 2 && strncmp(rows[i].name, arg + 2, length - 2) == 0) return &rows[i];
    if (!is_long && rows[i].letter && rows[i].letter == arg[1]) return &rows[i];
  }
  return NULL;
}

static const char *unknown(struct arena *a, const struct option_row *rows, int n, const char *arg, size_t length) {
  const char **names = NEW_ARRAY(a, const char *, n);
  for (int i = 0; i < n; i++) names[i] = rows[i].name;
  const char *word = str_ndup(a, arg, length);
  const char *near = str_nearest(word + strspn(word, "-"), names, n);
  if (near) return str_printf(a, "unknown option '%s'; did you mean '--%s'?", word, near);
  return str_printf(a, "unknown option '%s'", word);
}

// Parses the option at argv[*i], and moves *i to the last argument it took.
static const char *parse_one(struct arena *a, const struct option_row *rows, int n, int argc, char **argv, int *i, struct settings *s) {
  const char *arg = argv[*i];
  bool is_long = arg[1] == '-';
  size_t length = is_long ? strcspn(arg, "=") : 2;
  const struct option_row *row = find(rows, n, arg, length);
  if (!row) return unknown(a, rows, n, arg, is_long ? length : strlen(arg));
  const char *name = str_ndup(a, arg, length), *value = NULL;
  if (arg[length]) value = arg + length + (is_long ? 1 : 0);
  if (row->kind == OPTION_FLAG && value) return str_printf(a, "option '%s' takes no value", name);
  if (row->kind != OPTION_FLAG && !value) {
    if (*i + 1 >= argc) return str_printf(a, "option '%s' needs a value: %s", name, row->argument);
    value = argv[++*i];
  }
  const char *wrong = set(a, row, value, s);
  return wrong ? str_printf(a, "option '%s': %s", name, wrong) : NULL;
}

const char *options_parse(struct arena *a, const struct option_row *rows, int n, int argc, char **argv, struct settings *s) {
  bool ended = false;
  for (int i = 0; i < argc; i++) {
    const char *arg = argv[i];
    if (!ended && str_eq(arg, "--")) ended = true;
    else if (ended || arg[0] != '-' || !arg[1]) vec_push(a, &s->operands, arg);
    else {
      const char *wrong = parse_one(a, rows, n, argc, argv, &i, s);
      if (wrong) return wrong;
    }
  }
  return NULL;
}

// ---- help -------------------------------------------------------------------------------------

static void spell(char *out, size_t size, const struct option_row *row) {
  char letter[8] = "    ";
  if (row->letter) snprintf(letter, sizeof letter, "-%c, ", row->letter);
  snprintf(out, size, "  %s--%s%s%s", letter, row->name, row->argument ? "=" : "", row->argument ? row->argument : "");
}

enum { OPTION_COLUMN = 30 };

void options_print(FILE *out, const struct option_row *rows, int n) {
  for (int i = 0; i < n; i++) {
    char text[160];
    spell(text, sizeof text, &rows[i]);
    if (strlen(text) < OPTION_COLUMN) fprintf(out, "%-*s%s\n", OPTION_COLUMN, text, rows[i].help);
    else fprintf(out, "%s\n%-*s%s\n", text, OPTION_COLUMN, "", rows[i].help);
  }
}
