// parse.h: what the scanner (grammar/btg.l), the grammar (grammar/btg.y) and the driver between them
// (parse.c, parse_error.c) share. Beside them only the formatter (fmt*.c) includes it: it needs a file's tokens
// as well as its tree.
//
// The parser is a bison push parser: the driver pulls tokens from the scanner and pushes them in.
// That leaves the driver free to look at the token that did not fit, to skip to a place where a
// statement begins, and to close blocks that the file forgot to close.
#ifndef BTC_PARSE_H
#define BTC_PARSE_H

#include "ast.h"
#include "btg.tab.h"

// A token or a comment as the file has it.
struct lexeme {
  int kind; // enum btg_tokentype, or LEXEME_COMMENT
  struct loc loc;
  const char *text;
};
enum { LEXEME_COMMENT = -1 };
typedef VEC(struct lexeme) lexeme_list;

struct token {
  int kind;               // enum btg_tokentype; YYEOF at the end
  union BTG_STYPE value;  // string: words (and statement words, as spelt); integer; number
  struct loc loc;
  size_t offset;          // of its first byte in the file
  bool starts_line;       // the first token of its line
};

struct parser {
  struct btc *b;
  struct file *file;
  void *scanner;
  int line, column;       // where the scanner stands
  size_t offset;          // likewise, in bytes from the start of the file
  struct token ahead;     // read but not yet taken, if has_ahead
  bool has_ahead;
  struct token previous, current; // the last token that fitted, the one being pushed
  int statement_column;   // of the line where the current statement began
  bool failed;            // the current token did not fit
  bool quiet;             // and the reason has been reported already
  bool depth_reported;    // one message about nesting is enough for a file
  VEC(struct loc) blocks;   // open "{", as the parser accepted them
  VEC(struct loc) brackets; // open "(" and "[" of the current statement
  bool in_schedule;       // the innermost block holds schedule entries
  lexeme_list *lexemes;   // where every token and comment is listed, or NULL
};

// ---- words (parse_words.c) --------------------------------------------------------------------
enum word_class {
  WORD_DECL = 1,   // begins a declaration
  WORD_STMT = 2,   // begins a statement
  WORD_CLAUSE = 4, // stands inside one
  WORD_SOFT = 8,   // may also be a name
};
struct word { const char *text; int kind; unsigned classes; };
extern const struct word parse_words[];
extern const int parse_n_words;
const struct word *parse_word(const char *text);      // NULL: an ordinary name
const struct word *parse_word_of_kind(int kind);      // NULL: not a word
// The word of one of `classes` that `text` probably means: a near spelling, or another language's.
const char *parse_word_meant(const char *text, unsigned classes);

// ---- driver (parse.c) -------------------------------------------------------------------------
// parse_file that also lists the tokens and comments that it reads.
struct file *parse_lexemes(struct btc *b, int source, lexeme_list *lexemes);
void parse_list_lexeme(struct parser *p, int kind, struct loc loc, const char *text);

// ---- scanner (grammar/btg.l) ------------------------------------------------------------------
void parse_scan_open(struct parser *p, const char *text, size_t length);
void parse_scan_close(struct parser *p);
int parse_scan(struct token *t, void *scanner);

// Conversions of token text; they diagnose what is wrong with it and return something usable.
int64_t parse_integer(struct parser *p, struct loc loc, const char *text);
double parse_number(struct parser *p, struct loc loc, const char *text);
const char *parse_string(struct parser *p, struct loc loc, const char *text, size_t length);

// ---- syntax errors (parse_error.c) ------------------------------------------------------------
enum { TOKEN_FIRST = 258, TOKEN_COUNT = T_TOKEN_LAST - TOKEN_FIRST };
struct token_set { bool has[TOKEN_COUNT]; bool end; }; // `end`: the end of the file would fit
void parse_report(struct parser *p, const struct token_set *expected, const char *(*name)(int kind));
void parse_report_overflow(struct parser *p);

// ---- tree builders, called by the grammar (parse_tree.c) --------------------------------------
struct expr *parse_expr(struct parser *p, enum expr_kind kind, struct loc loc, struct expr *a,
                        struct expr *b);
struct expr *parse_leaf(struct parser *p, enum expr_kind kind, struct loc loc, const char *string);
struct expr *parse_integer_leaf(struct parser *p, struct loc loc, int64_t value);
struct expr *parse_float_leaf(struct parser *p, struct loc loc, double value);
struct expr *parse_operator(struct parser *p, enum token_op op, struct loc loc, struct loc op_loc,
                            struct expr *a, struct expr *b);
struct expr *parse_if(struct parser *p, struct loc loc, struct expr *a, struct expr *b,
                      struct expr *c);
struct expr *parse_call(struct parser *p, struct loc loc, struct loc open, struct expr *a,
                        arg_list args);
struct expr *parse_index(struct parser *p, struct loc loc, struct expr *a, expr_list items);
struct expr *parse_field(struct parser *p, struct loc loc, struct expr *a, struct name_at label);
struct expr *parse_list(struct parser *p, struct loc loc, expr_list items);
struct expr *parse_for_list(struct parser *p, struct loc loc, const char *name, struct expr *a,
                            struct expr *b);
struct type *parse_type(struct parser *p, struct loc loc, const char *name, struct type *element);
void parse_dims(struct parser *p, struct type *t, expr_list items);
struct stmt *parse_stmt(struct parser *p, enum stmt_kind kind, struct loc loc, struct name_at name,
                        struct expr *value);
struct block *parse_block(struct parser *p, struct loc loc, stmt_list stmts);
struct block *parse_else_if(struct parser *p, struct stmt *s);
struct decl *parse_decl(struct parser *p, enum decl_kind kind, struct loc loc, struct name_at name);
void parse_open_block(struct parser *p, struct loc open, bool schedule);
void parse_close_block(struct parser *p);
struct loc parse_span(struct loc first, struct loc last);

#endif
