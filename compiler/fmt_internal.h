// fmt_internal.h: what the formatter's parts hand on.
//
//   fmt.c         a file's tokens with the comments before them; the check that none was lost
//   fmt_tree.c    the syntax tree to groups of tokens that say where lines may break
//   fmt_layout.c  groups to lines
//   fmt_lines.c   lines to text: columns of `=` and of comments
#ifndef BTC_FMT_INTERNAL_H
#define BTC_FMT_INTERNAL_H

#include "fmt.h"
#include "parse.h"

struct fmt_comment {
  const char *text;
  bool trailing;     // stands behind a token on its line
  bool continues;    // stands under a comment behind a token, in the same column
  bool blank_before; // a blank line
};

enum fmt_column { FMT_NO_COLUMN, FMT_CONSTANTS, FMT_INSTANCES };

struct fmt_token {
  int kind;
  const char *text;
  struct loc loc;
  int width;              // display columns
  VEC(struct fmt_comment) comments; // before it
  bool blank_before;
  bool space;             // one column before it, unless it begins a line
  enum fmt_column column; // of an `=` that may be aligned with those around
};
typedef VEC(struct fmt_token) fmt_token_list; // the last has no text: it carries the comments at the file's end

// A line may, or in a group with `all` will, begin at a token.
struct fmt_break {
  int token;
  int offset, comment_offset; // columns from the anchor: of the token, of comments before it
  bool statement;             // a statement or declaration begins: blank lines before it stay
  bool apart;                 // and follows one with a body, which a blank line sets off
};

// A run of tokens that goes on one line if it fits there, and is broken at its breaks if not.
struct fmt_group {
  int first, end;    // tokens [first, end)
  int anchor;        // token whose column the lines of this group start from; -1: the margin
  int offset;        // columns from there of lines that begin in no break's place (after a comment)
  bool all;          // broken at all of its breaks, or else only where the line is full
  bool forced;       // never on one line
  bool bracket;      // the first break is behind the opening bracket, the anchor the token there
  int hanging;       // column of a bracket's items where they do not stand behind it; -1: they do
  struct fmt_group *parent;
  VEC(struct fmt_break) breaks;
  VEC(struct fmt_group *) children;
};

// ---- fmt_tree.c: sets the tokens' spaces and columns -------------------------------------------
struct fmt_group *fmt_group_file(struct arena *a, const struct file *f, fmt_token_list *tokens);

// ---- fmt_layout.c ------------------------------------------------------------------------------
struct fmt_line {
  int indent, width;     // columns before the text, and with it
  const char *text;
  const char *comment;   // behind the text, or NULL
  int assign;            // bytes of text before the `=` that may be moved
  enum fmt_column column;
  bool continues;        // goes on the statement of the line before
};
typedef VEC(struct fmt_line) fmt_line_list;
fmt_line_list fmt_layout(struct arena *a, const fmt_token_list *tokens, struct fmt_group *file);
int fmt_text_width(const char *text);

// ---- fmt_lines.c: changes the lines ------------------------------------------------------------
const char *fmt_join_lines(struct arena *a, fmt_line_list *lines);

#endif
