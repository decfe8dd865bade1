// parse.c: drives the scanner and the parser over one file, and gets them going again after a
// syntax error.
//
// Recovery: the parser has popped to the nearest list of statements, entries or declarations and
// waits for SYNC. From the token that did not fit on, the driver looks for a place where one
// begins: a statement word at the start of a line, a name there, the `}` of the block; a
// declaration word at the margin ends the search at any depth, and the blocks still open are closed
// for the file. Braces in between are skipped in pairs. So every mistake is reported once, where it
// is.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"

// ---- text that is not text --------------------------------------------------------------------
// Length of the UTF-8 character at s, 0 if it is none. The text ends with a NUL, which is no
// continuation byte, so nothing is read past it.
static int parse_utf8_length(const unsigned char *s) {
  if (s[0] < 0x80) return 1;
  int length = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
  if (s[0] < 0xC2 || s[0] > 0xF4) return 0;
  for (int i = 1; i < length; i++)
    if ((s[i] & 0xC0) != 0x80) return 0;
  bool overlong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xF0 && s[1] < 0x90);
  bool surrogate = s[0] == 0xED && s[1] > 0x9F;
  bool beyond = s[0] == 0xF4 && s[1] > 0x8F;
  return overlong || surrogate || beyond ? 0 : length;
}

// A file that is not UTF-8 text gets one message, not one for every byte of it.
static bool parse_is_text(struct btc *b, int source) {
  const struct source_file *f = &b->files.data[source];
  struct loc loc = {source, 1, 1, 1, 2};
  for (size_t i = 0; i < f->length;) {
    const unsigned char *s = (const unsigned char *)f->text + i;
    int length = parse_utf8_length(s);
    if (*s == 0) diag_error(b, loc, "a NUL byte: this is not a text file");
    if (length == 0) diag_error(b, loc, "byte 0x%02X is not UTF-8, which .btg files are", *s);
    if (*s == 0 || length == 0) return false;
    loc.column = *s == '\n' ? 1 : loc.column + length;
    loc.line += *s == '\n';
    loc.end_line = loc.line;
    loc.end_column = loc.column + 1;
    i += (size_t)length;
  }
  return true;
}

// ---- literals ---------------------------------------------------------------------------------
// `text` without the underscores that group digits.
static const char *parse_ungroup(struct parser *p, const char *text) {
  char *digits = str_ndup(p->b->arena, text, strlen(text));
  char *out = digits;
  for (const char *s = text; *s; s++)
    if (*s != '_') *out++ = *s;
  *out = '\0';
  return digits;
}

int64_t parse_integer(struct parser *p, struct loc loc, const char *text) {
  errno = 0;
  long long value = strtoll(parse_ungroup(p, text), NULL, 10);
  if (errno == ERANGE) diag_error(p->b, loc, "`%s` is larger than an int holds (2^63 - 1)", text);
  return value;
}

double parse_number(struct parser *p, struct loc loc, const char *text) {
  double value = strtod(parse_ungroup(p, text), NULL);
  if (!isinf(value)) return value;
  diag_error(p->b, loc, "`%s` is larger than a float holds (about 1.8e308)", text);
  return 0;
}

const char *parse_string(struct parser *p, struct loc loc, const char *text, size_t length) {
  static const char escapes[] = "n\nt\tr\r\\\\\"\"";
  char *string = str_ndup(p->b->arena, text, length);
  char *out = string;
  for (size_t i = 0; i < length; i++) {
    if (text[i] != '\\') {
      *out++ = text[i];
      continue;
    }
    i++;
    const char *pair = escapes;
    while (*pair && *pair != text[i]) pair += 2;
    if (*pair) {
      *out++ = pair[1];
      continue;
    }
    struct loc at = loc;
    at.column += (int)i; // the quote before the text makes up for i being past the backslash
    at.end_column = at.column + 1 + parse_utf8_length((const unsigned char *)text + i);
    diag_error(p->b, at, "unknown escape: strings know \\n, \\t, \\r, \\\\ and \\\"");
  }
  *out = '\0';
  return string;
}

// ---- tokens -----------------------------------------------------------------------------------
void parse_list_lexeme(struct parser *p, int kind, struct loc loc, const char *text) {
  if (!p->lexemes) return;
  size_t length = (size_t)(loc.end_column - loc.column); // no lexeme spans lines
  struct lexeme l = {kind, loc, str_ndup(p->b->arena, text, length)};
  vec_push(p->b->arena, p->lexemes, l);
}

static struct token parse_read(struct parser *p, int previous_line) {
  struct token t = {0};
  t.kind = parse_scan(&t, p->scanner);
  if (t.kind != 0) parse_list_lexeme(p, t.kind, t.loc, p->b->files.data[p->file->source].text + t.offset);
  if (t.kind == 0) t.loc = (struct loc){p->file->source, p->line, p->column, p->line, p->column};
  t.starts_line = t.loc.line > previous_line;
  return t;
}

static struct token parse_next(struct parser *p, const struct token *before) {
  if (!p->has_ahead) return parse_read(p, before->loc.line);
  p->has_ahead = false;
  return p->ahead;
}

static const struct token *parse_peek(struct parser *p, const struct token *t) {
  if (!p->has_ahead) p->ahead = parse_read(p, t->loc.line);
  p->has_ahead = true;
  return &p->ahead;
}

// ---- nesting ----------------------------------------------------------------------------------
static bool parse_opens(int kind) {
  return kind == T_LPAREN || kind == T_LBRACKET || kind == T_LBRACE;
}

// Brackets would fill the parser's stack before a node is built; so they are counted as they come.
static bool parse_nests_too_deep(struct parser *p, const struct token *t) {
  if (!parse_opens(t->kind) || p->brackets.len + p->blocks.len < PARSE_MAX_DEPTH) return false;
  if (!p->depth_reported)
    diag_error(p->b, t->loc, "brackets nest deeper than %d levels", PARSE_MAX_DEPTH);
  p->depth_reported = true;
  return true;
}

static void parse_count_brackets(struct parser *p, const struct token *t) {
  if (t->kind == T_LPAREN || t->kind == T_LBRACKET)
    vec_push(p->b->arena, &p->brackets, t->loc);
  else if ((t->kind == T_RPAREN || t->kind == T_RBRACKET) && p->brackets.len > 0)
    p->brackets.len--;
  else if (t->kind == T_LBRACE || t->kind == T_RBRACE)
    p->brackets.len = 0;
}

// ---- places where something begins ------------------------------------------------------------
static bool parse_is_decl_word(const struct token *t) {
  const struct word *w = parse_word_of_kind(t->kind);
  return w && (w->classes & WORD_DECL);
}

// The first word of a line that stands no deeper than the statement that failed begins a new one,
// be it spelt right or not.
static bool parse_begins_binding(struct parser *p, const struct token *t) {
  const struct word *w = parse_word_of_kind(t->kind);
  bool soft = w && (w->classes & WORD_SOFT) && t->kind != T_VIEW && t->kind != T_ON;
  if (t->loc.column > p->statement_column) return false;
  return t->kind == T_NAME || (soft && parse_peek(p, t)->kind == T_ASSIGN);
}

static bool parse_begins_entry(struct parser *p, const struct token *t) {
  if (t->kind == T_STRING) return true;
  const struct word *w = parse_word_of_kind(t->kind);
  if (t->kind != T_NAME && !(w && (w->classes & WORD_SOFT))) return false;
  int next = parse_peek(p, t)->kind;
  return next == T_COLON || next == T_DOT || next == T_INDEX;
}

static bool parse_begins_item(struct parser *p, const struct token *t) {
  if (!t->starts_line) return false;
  if (p->in_schedule) return parse_begins_entry(p, t);
  const struct word *w = parse_word_of_kind(t->kind);
  if (p->blocks.len > 0 && w && (w->classes & WORD_STMT)) return true;
  return (p->blocks.len > 0 || t->loc.column == 1) && parse_begins_binding(p, t);
}

// Inside a block only one at the margin counts: the block was never closed.
static bool parse_begins_decl(struct parser *p, const struct token *t, int depth) {
  if (!t->starts_line || !parse_is_decl_word(t)) return false;
  return t->loc.column == 1 || (depth == 0 && p->blocks.len == 0);
}

// ---- pushing and recovering -------------------------------------------------------------------
static int parse_push(struct parser *p, btg_pstate *state, struct token *t) {
  p->failed = false;
  p->current = *t;
  if (t->starts_line && p->brackets.len == 0) p->statement_column = t->loc.column;
  // The parser gives up at an error on the file's end; a block that is open there is closed first.
  bool cut_short = t->kind == 0 && p->blocks.len > 0;
  // What the scanner could not make anything of, it has reported.
  p->quiet = t->kind == T_INVALID || parse_nests_too_deep(p, t);
  int kind = p->quiet || cut_short ? T_INVALID : t->kind;
  int status = btg_push_parse(state, kind, &t->value, &t->loc, p);
  if (p->failed) return status;
  parse_count_brackets(p, t);
  p->previous = *t;
  return status;
}

static void parse_push_plain(struct parser *p, btg_pstate *state, int kind, struct loc loc) {
  loc.end_line = loc.line;
  loc.end_column = loc.column;
  struct token t = {.kind = kind, .loc = loc};
  btg_push_parse(state, kind, &t.value, &t.loc, p);
}

// Finds where to go on, from `t`, which did not fit. Returns the token that stands there.
static struct token parse_skip(struct parser *p, struct token t) {
  int depth = 0;
  for (;; t = parse_next(p, &t)) {
    if (t.kind == 0 || parse_begins_decl(p, &t, depth)) break;
    if (t.kind == T_LBRACE) {
      depth++;
    } else if (t.kind == T_RBRACE) {
      if (depth == 0 && p->blocks.len > 0) break;
      if (depth > 0) depth--;
    } else if (depth == 0 && parse_begins_item(p, &t)) {
      break;
    }
  }
  return t;
}

static struct token parse_recover(struct parser *p, btg_pstate *state, const struct token *bad) {
  struct token t = parse_skip(p, *bad);
  p->brackets.len = 0;
  parse_push_plain(p, state, T_SYNC, t.loc);
  if (t.kind == 0 || parse_begins_decl(p, &t, 0))
    while (p->blocks.len > 0) parse_push_plain(p, state, T_RBRACE, t.loc);
  return t;
}

static void parse_run(struct parser *p, btg_pstate *state) {
  struct token t = parse_next(p, &p->previous);
  for (;;) {
    int status = parse_push(p, state, &t);
    if (status != YYPUSH_MORE || diag_is_full(p->b)) break; // nothing more would be said
    t = p->failed ? parse_recover(p, state, &t) : parse_next(p, &t);
  }
}

struct file *parse_lexemes(struct btc *b, int source, lexeme_list *lexemes) {
  struct file *f = NEW(b->arena, struct file);
  f->source = source;
  if (!parse_is_text(b, source)) return f;
  struct parser *p = NEW(b->arena, struct parser);
  *p = (struct parser){.b = b, .file = f, .line = 1, .column = 1, .lexemes = lexemes};
  parse_scan_open(p, b->files.data[source].text, b->files.data[source].length);
  btg_pstate *state = btg_pstate_new();
  expect(state, "out of memory");
  parse_run(p, state);
  btg_pstate_delete(state);
  parse_scan_close(p);
  return f;
}

struct file *parse_file(struct btc *b, int source) { return parse_lexemes(b, source, NULL); }
