// parse_error.c: syntax errors in words.
//
// Bison says which tokens would have fitted; that list is put into the terms a reader thinks in
// ("an expression", "an operator", "a statement") and what is left is quoted. Before that come the
// mistakes that deserve their own sentence: misspelt statement words, `=` for `==`, comparisons in
// a chain, blocks that were never closed. Where the token that does not fit is the first of its
// line, the mistake is most likely at the end of the line before, and so is the caret.
#include "parse.h"

struct report {
  struct parser *p;
  struct token_set expected;
  const char *(*name)(int kind);
  const struct token *found, *previous;
  bool at_line_start; // what was found begins a line: point behind `previous`
};

static bool report_has(const struct report *r, int kind) {
  return r->expected.has[kind - TOKEN_FIRST];
}

static void report_drop(struct report *r, int kind) { r->expected.has[kind - TOKEN_FIRST] = false; }

static int report_count(const struct report *r) {
  int n = 0;
  for (int i = 0; i < TOKEN_COUNT; i++) n += r->expected.has[i];
  return n;
}

static bool report_only(const struct report *r, int kind) {
  return report_has(r, kind) && report_count(r) == 1;
}

// ---- token sets into phrases ------------------------------------------------------------------
static void report_drop_classes(struct report *r, unsigned classes) {
  for (int i = 0; i < parse_n_words; i++)
    if (parse_words[i].classes & classes) report_drop(r, parse_words[i].kind);
}

static void report_drop_all(struct report *r, const int *kinds, int n) {
  for (int i = 0; i < n; i++) report_drop(r, kinds[i]);
}
#define DROP(r, ...) \
  report_drop_all((r), (const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

typedef VEC(const char *) phrase_list;

static void report_say(struct report *r, phrase_list *phrases, const char *phrase) {
  vec_push(r->p->b->arena, phrases, phrase);
}

static void report_phrase_statement(struct report *r, phrase_list *phrases, bool operand) {
  report_say(r, phrases, operand ? "a new statement" : "a statement");
  report_drop_classes(r, WORD_STMT | WORD_SOFT);
  DROP(r, T_NAME);
  if (operand) DROP(r, T_RBRACE, T_COMMA, T_ON, T_LPAREN);
}

static void report_phrase_expression(struct report *r, phrase_list *phrases) {
  report_say(r, phrases, "an expression");
  report_drop_classes(r, WORD_SOFT);
  DROP(r, T_NAME, T_INTEGER, T_NUMBER, T_STRING, T_TRUE, T_FALSE, T_LPAREN, T_LBRACKET, T_IF,
       T_MINUS, T_NOT, T_ASSIGN);
  if (report_has(r, T_WILDCARD)) DROP(r, T_WILDCARD, T_RANGE, T_FOR);
}

static const int report_operators[] = {T_PLUS, T_MINUS, T_STAR,   T_SLASH,   T_FLOORDIV, T_PERCENT,
                                       T_AT,   T_CARET, T_PRIME,  T_RANGE,   T_AND,      T_OR,
                                       T_EQ,   T_NE,    T_LT,     T_LE,      T_GT,       T_GE,
                                       T_DOT,  T_INDEX, T_LPAREN, T_LBRACKET};

// Turns the set into phrases, most telling first, and empties it but for what is quoted singly.
static phrase_list report_phrases(struct report *r) {
  phrase_list phrases = {0};
  bool operand = report_has(r, T_PLUS); // an expression could go on here
  bool statement = report_has(r, T_LET), declaration = report_has(r, T_FN);
  if (operand) {
    report_drop_all(r, report_operators, sizeof report_operators / sizeof *report_operators);
    if (statement || declaration || report_count(r) == 0) report_say(r, &phrases, "an operator");
  }
  if (statement) report_phrase_statement(r, &phrases, operand);
  if (declaration) {
    report_say(r, &phrases, operand ? "a new declaration" : "a declaration");
    report_drop_classes(r, WORD_DECL | WORD_SOFT);
    DROP(r, T_NAME);
  }
  if (report_has(r, T_INTEGER)) report_phrase_expression(r, &phrases);
  if (report_has(r, T_MODULE)) {
    report_say(r, &phrases, "a type");
    DROP(r, T_MODULE, T_NAME, T_LBRACKET);
  }
  if (report_has(r, T_NAME)) {
    report_say(r, &phrases, "a name");
    report_drop_classes(r, WORD_SOFT);
    DROP(r, T_NAME, T_ASSIGN); // `=` only because a soft word came before
  }
  // That a path could go on is the least likely of several continuations.
  if (report_count(r) > 2) DROP(r, T_INDEX, T_DOT);
  return phrases;
}

static const char *report_token_name(const struct report *r, int kind) {
  if (kind == T_STRING) return "a string";
  if (kind == T_INDEX) return "an index";
  return str_printf(r->p->b->arena, "`%s`", r->name(kind));
}

// "an expression", "`,` or `)`", "`:`, `=` or a name": what would have fitted.
static const char *report_wanted(struct report *r) {
  struct arena *a = r->p->b->arena;
  phrase_list phrases = report_phrases(r);
  for (int i = 0; i < TOKEN_COUNT; i++)
    if (r->expected.has[i]) report_say(r, &phrases, report_token_name(r, TOKEN_FIRST + i));
  if (phrases.len == 0) return "the end of the file";
  const char *text = phrases.data[0];
  for (int i = 1; i < phrases.len; i++)
    text = str_printf(a, "%s%s%s", text, i + 1 == phrases.len ? " or " : ", ", phrases.data[i]);
  return text;
}

// ---- the token that did not fit ---------------------------------------------------------------
// The token as the file has it; a long one is cut, between characters.
static const char *report_source(const struct report *r, const struct token *t) {
  enum { LONGEST = 40 };
  const char *s = r->p->b->files.data[t->loc.file].text + t->offset;
  int length = t->loc.end_column - t->loc.column;
  if (length <= LONGEST) return str_ndup(r->p->b->arena, s, (size_t)length);
  length = LONGEST;
  while (((unsigned char)s[length] & 0xC0) == 0x80) length--;
  return str_printf(r->p->b->arena, "%.*s…", length, s);
}

static const char *report_token(const struct report *r, const struct token *t) {
  static const struct {
    int kind;
    const char *what;
  } kinds[] = {
      {T_NAME, "name "},     {T_INTEGER, "number "}, {T_NUMBER, "number "},
      {T_STRING, "string "}, {T_INDEX, "index "},
  };
  if (t->kind == 0) return "the end of the file";
  const char *what = "";
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
    if (kinds[i].kind == t->kind) what = kinds[i].what;
  return str_printf(r->p->b->arena, "%s`%s`", what, report_source(r, t));
}

static struct loc report_behind(struct loc loc) {
  loc.line = loc.end_line;
  loc.column = loc.end_column;
  loc.end_column++;
  return loc;
}

// What was opened and not closed, if closing it would have fitted.
static void report_note_opener(const struct report *r, bool wants_bracket, bool wants_brace) {
  struct parser *p = r->p;
  if (wants_bracket && p->brackets.len > 0) {
    struct loc open = p->brackets.data[p->brackets.len - 1];
    if (open.line != r->found->loc.line) diag_note(p->b, open, "opened here and not closed");
  } else if (wants_brace && p->blocks.len > 0) {
    diag_note(p->b, p->blocks.data[p->blocks.len - 1], "the block opened here is not closed");
  }
}

static void report_expected(struct report *r) {
  struct btc *b = r->p->b;
  bool wants_bracket = report_has(r, T_RPAREN) || report_has(r, T_RBRACKET);
  bool wants_brace = report_has(r, T_RBRACE) && r->found->kind == 0;
  const char *wanted = report_wanted(r);
  const char *found = report_token(r, r->found);
  if (!r->at_line_start)
    diag_error(b, r->found->loc, "expected %s, found %s", wanted, found);
  else if (r->previous->loc.line == 0)
    diag_error(b, r->found->loc, "expected %s, found %s", wanted, found);
  else
    diag_error(b, report_behind(r->previous->loc), "expected %s after %s, before %s", wanted,
               report_token(r, r->previous), found);
  if (wants_bracket || wants_brace) report_note_opener(r, wants_bracket, wants_brace);
}

// ---- mistakes with their own sentence ---------------------------------------------------------
// Each returns true where it recognised its mistake and reported it.
static bool report_unclosed_block(struct report *r) {
  const struct word *w = parse_word_of_kind(r->found->kind);
  bool declares = w && (w->classes & WORD_DECL) && r->at_line_start;
  if (!report_has(r, T_RBRACE) || !(declares || r->found->kind == 0)) return false;
  if (declares && r->found->loc.column > 1) {
    diag_error(r->p->b, r->found->loc, "`%s` declares at the top level of a file, not in a block",
               w->text);
    return true;
  }
  diag_error(r->p->b, report_behind(r->previous->loc), "expected `}` before %s",
             report_token(r, r->found));
  report_note_opener(r, false, true);
  return true;
}

static bool report_lone_else(struct report *r) {
  if (r->found->kind != T_ELSE || !report_has(r, T_LET)) return false;
  diag_error(r->p->b, r->found->loc, "this `else` follows no `if` block");
  return true;
}

static bool report_misspelt_start(struct report *r) {
  if (r->previous->kind != T_NAME || !report_has(r, T_ASSIGN)) return false;
  bool top = r->p->blocks.len == 0;
  if (report_count(r) != (top ? 1 : 2) || (!top && !report_has(r, T_LPAREN))) return false;
  const char *word = r->previous->value.string;
  unsigned classes = top ? WORD_DECL : WORD_STMT;
  if (!r->previous->starts_line) classes |= WORD_CLAUSE;
  const char *meant = parse_word_meant(word, classes);
  struct btc *b = r->p->b;
  if (meant) {
    diag_error(b, r->previous->loc, "`%s` begins no %s; did you mean `%s`?", word,
               top ? "declaration" : "statement", meant);
    diag_fixit(b, meant);
  } else if (!r->previous->starts_line) {
    diag_error(b, r->previous->loc, "expected an operator or a new line before name `%s`", word);
  } else {
    return false;
  }
  return true;
}

static bool report_misspelt_inside(struct report *r) {
  if (r->found->kind != T_NAME) return false;
  const char *candidates[TOKEN_COUNT];
  int n = 0;
  for (int i = 0; i < TOKEN_COUNT; i++)
    if (r->expected.has[i] && parse_word_of_kind(TOKEN_FIRST + i))
      candidates[n++] = r->name(TOKEN_FIRST + i);
  if (n == 0 || report_has(r, T_LET)) return false;
  const char *meant = str_nearest(r->found->value.string, candidates, n);
  if (!meant) return false;
  diag_error(r->p->b, r->found->loc, "`%s` does not fit here; did you mean `%s`?",
             r->found->value.string, meant);
  diag_fixit(r->p->b, meant);
  return true;
}

static bool report_single_equals(struct report *r) {
  if (r->found->kind != T_ASSIGN || !report_has(r, T_PLUS)) return false;
  if (report_has(r, T_COLON) && report_has(r, T_COMMA)) {
    diag_error(r->p->b, r->found->loc, "expected `:`, found `=`; an argument is labelled `name: value`");
    diag_fixit(r->p->b, ":");
    return true;
  }
  diag_error(r->p->b, r->found->loc, "expected an operator, found `=`; equality is written `==`");
  diag_fixit(r->p->b, "==");
  return true;
}

static bool report_part_of_target(struct report *r) {
  if (r->found->kind != T_LBRACKET || !report_only(r, T_ASSIGN)) return false;
  diag_error(r->p->b, r->found->loc,
             "expected `=`, found `[`: a state is updated whole, from parts joined by `concat([a, b], axis)`");
  return true;
}

static bool report_chain(struct report *r) {
  if (!report_has(r, T_PLUS)) return false;
  switch (r->found->kind) {
  case T_LT:
  case T_LE:
  case T_GT:
  case T_GE:
  case T_EQ:
  case T_NE:
    diag_error(r->p->b, r->found->loc, "comparisons do not chain: join them with `and`");
    return true;
  case T_RANGE: diag_error(r->p->b, r->found->loc, "ranges do not chain"); return true;
  default: return false;
  }
}

static bool report_quote(struct report *r) {
  if (r->found->kind != T_PRIME || !report_has(r, T_STRING)) return false;
  diag_error(r->p->b, r->found->loc,
             "expected an expression, found `'`, which transposes; strings take double quotes");
  return true;
}

static bool report_point_number(struct report *r) {
  if (r->found->kind != T_INDEX || !report_has(r, T_NUMBER)) return false;
  diag_error(r->p->b, r->found->loc, "a number needs digits on both sides of its dot");
  diag_fixit(r->p->b, str_printf(r->p->b->arena, "0.%s", r->found->value.string));
  return true;
}

static bool report_reserved(struct report *r) {
  const struct word *w = parse_word_of_kind(r->found->kind);
  if (!w || r->at_line_start || !report_has(r, T_NAME) || report_has(r, T_INTEGER)) return false;
  if (report_has(r, T_LET) || report_has(r, T_FN) || report_has(r, T_MODULE)) return false;
  diag_error(r->p->b, r->found->loc, "expected a name, found `%s`, a word of the language",
             w->text);
  return true;
}

static bool report_second_list(struct report *r) {
  if (!report_only(r, T_LPAREN) || r->previous->kind != T_RPAREN) return false;
  diag_error(r->p->b, report_behind(r->previous->loc),
             "expected the inputs: a module takes (configuration)(inputs), the first may be `()`");
  return true;
}

static bool report_misplaced_statement(struct report *r) {
  const struct word *w = parse_word_of_kind(r->found->kind);
  if (!w || !(w->classes & WORD_STMT) || !report_has(r, T_FN)) return false;
  diag_error(r->p->b, r->found->loc,
             "`%s` stands in a block; a file holds declarations (`name = …` makes an instance, `const name = …` a constant)",
             w->text);
  return true;
}

static bool report_stray_closer(struct report *r) {
  if (r->found->kind != T_RBRACE || r->p->blocks.len > 0 || !report_has(r, T_FN)) return false;
  diag_error(r->p->b, r->found->loc, "this `}` closes nothing");
  return true;
}

void parse_report(struct parser *p, const struct token_set *expected, const char *(*name)(int)) {
  p->failed = true;
  if (p->quiet) return;
  struct report r = {
      .p = p, .expected = *expected, .name = name, .found = &p->current, .previous = &p->previous};
  r.at_line_start = r.found->starts_line || r.found->kind == 0;
  static bool (*const special[])(struct report *) = {
      report_unclosed_block,      report_lone_else,      report_stray_closer,
      report_misplaced_statement, report_misspelt_start, report_misspelt_inside,
      report_single_equals,       report_part_of_target, report_chain,
      report_quote,               report_point_number,   report_reserved,
      report_second_list};
  for (size_t i = 0; i < sizeof special / sizeof *special; i++)
    if (special[i](&r)) return;
  report_expected(&r);
}

void parse_report_overflow(struct parser *p) {
  p->failed = true;
  if (!p->depth_reported)
    diag_error(p->b, p->current.loc, "this nests deeper than %d levels", PARSE_MAX_DEPTH);
  p->depth_reported = true;
}
