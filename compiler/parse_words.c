// parse_words.c: the words of the language, in one table from which the scanner, error recovery and
// the "did you mean" of syntax errors all read.
#include "parse.h"

// clang-format off
const struct word parse_words[] = {
  {"import", T_IMPORT, WORD_DECL},
  {"const", T_CONST, WORD_DECL},
  {"fn", T_FN, WORD_DECL},
  {"module", T_MODULE, WORD_DECL},
  {"view", T_VIEW, WORD_DECL | WORD_SOFT},
  {"program", T_PROGRAM, WORD_DECL},
  {"schedule", T_SCHEDULE, WORD_DECL},
  {"param", T_PARAM, WORD_STMT},
  {"state", T_STATE, WORD_STMT},
  {"update", T_UPDATE, WORD_STMT},
  {"let", T_LET, WORD_STMT},
  {"return", T_RETURN, WORD_STMT},
  {"for", T_FOR, WORD_STMT},
  {"if", T_IF, WORD_STMT},
  {"minimize", T_MINIMIZE, WORD_STMT},
  {"optimizer", T_OPTIMIZER, WORD_STMT},
  {"data", T_DATA, WORD_STMT | WORD_SOFT},
  {"epochs", T_EPOCHS, WORD_STMT | WORD_SOFT},
  {"report", T_REPORT, WORD_STMT | WORD_SOFT},
  {"output", T_OUTPUT, WORD_STMT | WORD_SOFT},
  {"load", T_LOAD, WORD_STMT | WORD_SOFT},
  {"pass", T_PASS, WORD_STMT | WORD_SOFT},
  {"keep", T_KEEP, WORD_STMT | WORD_SOFT},
  {"evaluate", T_EVALUATE, WORD_STMT | WORD_SOFT},
  {"from", T_FROM, WORD_CLAUSE | WORD_SOFT},
  {"on", T_ON, WORD_CLAUSE | WORD_SOFT},
  {"in", T_IN, WORD_CLAUSE | WORD_SOFT},
  {"as", T_AS, WORD_CLAUSE},
  {"then", T_THEN, WORD_CLAUSE},
  {"else", T_ELSE, WORD_CLAUSE},
  {"and", T_AND, WORD_CLAUSE},
  {"or", T_OR, WORD_CLAUSE},
  {"not", T_NOT, WORD_CLAUSE},
  {"true", T_TRUE, WORD_CLAUSE},
  {"false", T_FALSE, WORD_CLAUSE},
};
// clang-format on
const int parse_n_words = sizeof parse_words / sizeof *parse_words;

const struct word *parse_word(const char *text) {
  for (int i = 0; i < parse_n_words; i++)
    if (str_eq(parse_words[i].text, text)) return &parse_words[i];
  return NULL;
}

const struct word *parse_word_of_kind(int kind) {
  for (int i = 0; i < parse_n_words; i++)
    if (parse_words[i].kind == kind) return &parse_words[i];
  return NULL;
}

// What other languages call these things: no distance finds them.
static const struct {
  const char *foreign, *ours;
} parse_foreign[] = {
    {"def", "fn"},        {"func", "fn"},         {"function", "fn"},   {"class", "module"},
    {"var", "let"},       {"val", "let"},         {"auto", "let"},      {"elif", "else if"},
    {"elsif", "else if"}, {"elseif", "else if"},  {"use", "import"},    {"include", "import"},
    {"using", "import"},  {"constant", "const"},  {"train", "program"}, {"buffer", "state"},
    {"loss", "minimize"}, {"parameter", "param"},
};

const char *parse_word_meant(const char *text, unsigned classes) {
  for (size_t i = 0; i < sizeof parse_foreign / sizeof *parse_foreign; i++) {
    const struct word *w = parse_word(parse_foreign[i].ours);
    unsigned its_classes = w ? w->classes : WORD_STMT; // `else if` goes on a statement
    if (str_eq(parse_foreign[i].foreign, text) && (its_classes & classes))
      return parse_foreign[i].ours;
  }
  const char *candidates[sizeof parse_words / sizeof *parse_words];
  int n = 0;
  for (int i = 0; i < parse_n_words; i++)
    if (parse_words[i].classes & classes) candidates[n++] = parse_words[i].text;
  return str_nearest(text, candidates, n);
}
