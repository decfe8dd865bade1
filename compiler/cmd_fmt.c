// cmd_fmt.c: `btc fmt`: files in canonical form, on standard output or in their place.
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"
#include "fmt.h"

static const struct loc nowhere;

static const struct option_row options[] = {
    {'i', "in-place", OPTION_FLAG, NULL, "rewrite the files instead of printing them", OPTION_AT(in_place), NULL},
    {0, "check", OPTION_FLAG, NULL, "print nothing; fail where a file is not formatted", OPTION_AT(check), NULL},
    OPTION_COLOR, OPTION_HELP,
};

static const char about[] =
    "Prints .btg files in canonical form: two spaces of indent, lines of at most 110 columns where they can\n"
    "be broken, the `=` of constants and instances and the comments behind code in columns. Comments and\n"
    "single blank lines stay. FILE - is standard input. A file with syntax errors is left alone.\n";
static const char examples[] =
    "  btc fmt model.btg\n"
    "  btc fmt -i examples/*.btg\n"
    "  btc fmt --check model.btg || btc fmt -i model.btg\n"
    "  :%!btc fmt -                  formats the buffer in vi\n";

static int run(struct btc *b, struct settings *s);
const struct command command_fmt = {
    "fmt", "FILE…", "print a file in canonical form, or rewrite it", about, examples,
    options, sizeof options / sizeof *options, 1, INT_MAX, run,
};

// ---- what to do with the text -------------------------------------------------------------------

static bool write_text(const char *path, const char *text, mode_t mode) {
  FILE *out = fopen(path, "w");
  if (!out) return false;
  bool good = fputs(text, out) >= 0 && fchmod(fileno(out), mode) == 0;
  return fclose(out) == 0 && good;
}

// The file that a link leads to is rewritten, not the link; its permissions stay.
static void rewrite(struct btc *b, const char *path, const char *text) {
  char *real = realpath(path, NULL);
  struct stat status;
  struct output o;
  if (!real || stat(real, &status)) diag_error(b, nowhere, "cannot write %s: %s", path, strerror(errno));
  else if (output_begin(b, &o, real)) {
    if (write_text(o.temporary, text, status.st_mode & 07777)) output_commit(b, &o);
    else {
      diag_error(b, nowhere, "cannot write %s: %s", path, strerror(errno));
      output_abandon(&o);
    }
  }
  free(real);
}

// Where the texts first differ, and how the line should be.
static void report_difference(struct btc *b, int source, const char *path, const char *want) {
  const char *have = b->files.data[source].text;
  size_t same = 0, start = 0;
  struct loc loc = {source, 1, 1, 1, 2};
  for (; have[same] && have[same] == want[same]; same++)
    if (have[same] == '\n') loc.line++, start = same + 1;
  loc.end_line = loc.line;
  loc.column = (int)(same - start) + 1;
  loc.end_column = loc.column + 1;
  diag_error(b, loc, "not in canonical form from here on; `btc fmt -i %s` mends it", path);
  diag_fixit(b, str_ndup(b->arena, want + same, strcspn(want + same, "\n")));
}

static void format(struct btc *b, const struct settings *s, const char *path) {
  int source = source_open(b, str_eq(path, "-") ? "/dev/stdin" : path, nowhere);
  const char *text = source < 0 ? NULL : fmt_source(b, source);
  if (!text) return;
  const struct source_file *f = &b->files.data[source];
  bool same = f->length == strlen(text) && memcmp(f->text, text, f->length) == 0;
  if (!s->check && !s->in_place) fputs(text, stdout);
  else if (!same && s->check) report_difference(b, source, path, text);
  else if (!same) rewrite(b, path, text);
}

static int run(struct btc *b, struct settings *s) {
  if (s->check && s->in_place) return command_misuse(&command_fmt, "--check changes nothing: it does not go with --in-place");
  for (int i = 0; i < s->operands.len; i++)
    if (s->in_place && str_eq(s->operands.data[i], "-")) return command_misuse(&command_fmt, "standard input has no place to rewrite: it does not go with --in-place");
  for (int i = 0; i < s->operands.len; i++) format(b, s, s->operands.data[i]);
  return b->n_errors ? EXIT_FAILED : EXIT_OK;
}
