// fmt.c: canonical source text. Tokens keep their spelling and comments their place between tokens; line
// breaks, spaces and blank lines are decided anew, from the syntax tree. What the author decides:
//
//   - a blank line between statements, declarations or comments stays (one, however many there were);
//   - a block written on one line stays there, where it holds one plain statement and fits;
//   - a comment behind a token stays behind it, one with a line to itself keeps that.
//
// Everything else follows from the tokens, so formatting what is formatted changes nothing. A comma before
// a closing bracket is dropped. The result is scanned again and compared, token by token and comment by
// comment: the formatter would rather stop than change a program.
#include <string.h>

#include "fmt_internal.h"

// ---- tokens with their comments -----------------------------------------------------------------
static const char *without_trailing_space(struct arena *a, const char *text) {
  size_t n = strlen(text);
  while (n > 0 && strchr(" \t\r\f\v", text[n - 1])) n--;
  return str_ndup(a, text, n);
}

static bool is_superfluous_comma(const lexeme_list *lexemes, int at) {
  if (lexemes->data[at].kind != T_COMMA) return false;
  while (++at < lexemes->len && lexemes->data[at].kind == LEXEME_COMMENT) continue;
  return at < lexemes->len && (lexemes->data[at].kind == T_RPAREN || lexemes->data[at].kind == T_RBRACKET);
}

static struct fmt_comment read_comment(struct arena *a, const lexeme_list *lexemes, int at, bool after_trailing) {
  const struct lexeme *l = &lexemes->data[at], *before = at > 0 ? l - 1 : NULL;
  int lines = before ? l->loc.line - before->loc.end_line : 1;
  return (struct fmt_comment){
      .text = without_trailing_space(a, l->text),
      .trailing = lines == 0,
      .continues = after_trailing && lines == 1 && l->loc.column == before->loc.column,
      .blank_before = lines > 1,
  };
}

static fmt_token_list read_tokens(struct arena *a, const lexeme_list *lexemes) {
  fmt_token_list tokens = {0};
  struct fmt_token next = {0};
  bool after_trailing = false; // the lexeme before is a comment behind a token, or goes on one
  for (int i = 0; i < lexemes->len; i++) {
    const struct lexeme *l = &lexemes->data[i];
    if (l->kind == LEXEME_COMMENT) {
      struct fmt_comment c = read_comment(a, lexemes, i, after_trailing);
      after_trailing = c.trailing || c.continues;
      vec_push(a, &next.comments, c);
      continue;
    }
    after_trailing = false;
    if (is_superfluous_comma(lexemes, i)) continue;
    next.kind = l->kind;
    next.text = l->text;
    next.loc = l->loc;
    next.width = fmt_text_width(l->text);
    next.blank_before = i > 0 && l->loc.line - lexemes->data[i - 1].loc.end_line > 1;
    vec_push(a, &tokens, next);
    next = (struct fmt_token){0};
  }
  next.text = "";
  vec_push(a, &tokens, next);
  return tokens;
}

// ---- the check ----------------------------------------------------------------------------------
static bool same_comments(const struct fmt_token *x, const struct fmt_token *y) {
  if (x->comments.len != y->comments.len) return false;
  for (int i = 0; i < x->comments.len; i++)
    if (!str_eq(x->comments.data[i].text, y->comments.data[i].text)) return false;
  return true;
}

static bool same_tokens(const fmt_token_list *x, const fmt_token_list *y) {
  if (x->len != y->len) return false;
  for (int i = 0; i < x->len; i++)
    if (!str_eq(x->data[i].text, y->data[i].text) || !same_comments(&x->data[i], &y->data[i])) return false;
  return true;
}

static void check_same(struct btc *b, int source, const fmt_token_list *before, const char *text) {
  lexeme_list lexemes = {0};
  int errors = b->n_errors;
  parse_lexemes(b, source_add(b, b->files.data[source].path, text, strlen(text)), &lexemes);
  fmt_token_list after = read_tokens(b->arena, &lexemes);
  expect(b->n_errors == errors && same_tokens(before, &after), "%s would not be the same program when formatted", b->files.data[source].path);
}

const char *fmt_source(struct btc *b, int source) {
  lexeme_list lexemes = {0};
  int errors = b->n_errors;
  struct file *f = parse_lexemes(b, source, &lexemes);
  if (b->n_errors > errors) return NULL;
  fmt_token_list tokens = read_tokens(b->arena, &lexemes);
  struct fmt_group *file = fmt_group_file(b->arena, f, &tokens);
  fmt_line_list lines = fmt_layout(b->arena, &tokens, file);
  const char *text = fmt_join_lines(b->arena, &lines);
  check_same(b, source, &tokens, text);
  return text;
}
