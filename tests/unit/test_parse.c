// test_parse.c: the front end. Most of it is in tests/syntax/: every file there says in comments
// which diagnostics it must get ("# error: LINE:COLUMN: part of the message", likewise warning and
// note; "# fixit: TEXT" after the one it belongs to), in order, and must get no others. Files that
// expect nothing must parse, and survive printing.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "expectations.h"
#include "tree_dump.h"

// ---- helpers ----------------------------------------------------------------------------------
static struct file *parse_text(struct btc *b, const char *text) {
  return parse_file(b, source_add(b, "test.btg", text, strlen(text)));
}

static char *dumped(struct btc *b, const struct file *f) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  tree_dump_file(out, f);
  fclose(out);
  char *kept = str_ndup(b->arena, text, size);
  free(text);
  return kept;
}

static char *printed(struct btc *b, const struct file *f) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  ast_print(out, f);
  fclose(out);
  char *kept = str_ndup(b->arena, text, size);
  free(text);
  return kept;
}

static void assert_clean(struct btc *b) {
  if (b->diags.len == 0) return;
  diag_flush(b, stderr);
  fail_msg("unexpected diagnostics");
}

// ---- tests/syntax -----------------------------------------------------------------------------
static void parse_only(struct btc *b, int source) { parse_file(b, source); }
static void check_syntax_file(const char *path) { check_expectations(path, parse_only); }

static void test_syntax_files(void **state) {
  (void)state;
  assert_true(each_file("tests/syntax", check_syntax_file) >= 30);
}

// ---- printing ---------------------------------------------------------------------------------
// Print, parse, print: the same tree, the same text. Files with syntax errors are left out.
static void check_round_trip(const char *path) {
  struct btc *b = btc_new();
  struct file *first = parse_file(b, source_open(b, path, (struct loc){0}));
  if (b->n_errors == 0) {
    const char *text = printed(b, first);
    struct file *second = parse_text(b, text);
    if (b->n_errors > 0) diag_flush(b, stderr);
    assert_int_equal(b->n_errors, 0);
    assert_string_equal(dumped(b, first), dumped(b, second));
    assert_string_equal(text, printed(b, second));
  }
  btc_free(b);
}

static void test_print_round_trip(void **state) {
  (void)state;
  assert_true(each_file("tests/syntax", check_round_trip) > 0);
  each_file("stdlib", check_round_trip);
  each_file("examples", check_round_trip);
}

static void check_expr(const char *source, const char *tree, const char *canonical) {
  struct btc *b = btc_new();
  struct file *f = parse_text(b, str_printf(b->arena, "const x = %s", source));
  assert_clean(b);
  assert_int_equal(f->decls.len, 1);
  char text[512] = {0};
  FILE *out = fmemopen(text, sizeof text - 1, "w");
  tree_dump_expr(out, f->decls.data[0]->value);
  fclose(out);
  assert_string_equal(text, tree);
  memset(text, 0, sizeof text);
  out = fmemopen(text, sizeof text - 1, "w");
  ast_print_expr(out, f->decls.data[0]->value);
  fclose(out);
  assert_string_equal(text, canonical);
  btc_free(b);
}

static void test_precedence(void **state) {
  (void)state;
  check_expr("a + b * c", "(+ a (* b c))", "a + b * c");
  check_expr("(a + b) * c", "(* (+ a b) c)", "(a + b) * c");
  check_expr("a - b - c", "(- (- a b) c)", "a - b - c");
  check_expr("a - (b - c)", "(- a (- b c))", "a - (b - c)");
  check_expr("a ^ b ^ c", "(^ a (^ b c))", "a^b^c");
  check_expr("(a ^ b) ^ c", "(^ (^ a b) c)", "(a^b)^c");
  check_expr("-a ^ 2", "(- (^ a 2))", "-a^2");
  check_expr("(-a) ^ 2", "(^ (- a) 2)", "(-a)^2");
  check_expr("a ^ -b * c", "(* (^ a (- b)) c)", "a^-b * c");
  check_expr("a ^ -b ^ c", "(^ a (- (^ b c)))", "a^-b^c");
  check_expr("a @ b' / n", "(/ (@ a (transpose b)) n)", "a @ b' / n");
  check_expr("a // b % c", "(% (// a b) c)", "a // b % c");
  check_expr("not a == b and c or d", "(or (and (not (== a b)) c) d)", "not a == b and c or d");
  check_expr("not (a and b)", "(not (and a b))", "not (a and b)");
  check_expr("(a < b) == c", "(== (< a b) c)", "(a < b) == c");
  check_expr("0..n + 1", "(range 0 (+ n 1))", "0..n + 1");
  check_expr("if a then b else c + d", "(if a b (+ c d))", "if a then b else c + d");
  check_expr("(if a then b else c) + d", "(+ (if a b c) d)", "(if a then b else c) + d");
  check_expr("a + if b then c else d", "(+ a (if b c d))", "a + (if b then c else d)");
  check_expr("- - a", "(- (- a))", "--a");
  check_expr("(a + b)'", "(transpose (+ a b))", "(a + b)'");
  check_expr("-a'", "(- (transpose a))", "-a'");
}

// Random trees, written with parentheses round every operand, so that what the printer leaves out
// is put to the test in every combination of operators.
static unsigned random_below(uint64_t *seed, unsigned n) {
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  return (unsigned)(*seed >> 33) % n;
}

static char *random_expr(struct arena *a, uint64_t *seed, int depth) {
  static const char *const leaves[] = {"a", "1", "0.5", "\"s\"", "true", "[]"};
  static const char *const binary[] = {"+",  "-", "*",  "/",  "//", "%",   "@",  "^", "<",
                                       "<=", ">", ">=", "==", "!=", "and", "or", ".."};
  static const char *const forms[] = {"-(%s)",
                                      "not (%s)",
                                      "(%s)'",
                                      "(%s).w",
                                      "(%s) .0",
                                      "(%s)(k: %s)",
                                      "(%s)[%s, _, ..%s]",
                                      "[%s, %s]",
                                      "if %s then %s else %s",
                                      "[for i in %s: %s]",
                                      "f(%s)"};
  if (depth == 0) return str_printf(a, "%s", leaves[random_below(seed, 6)]);
  char *x = random_expr(a, seed, depth - 1);
  char *y = random_expr(a, seed, (int)random_below(seed, (unsigned)depth));
  if (random_below(seed, 2))
    return str_printf(a, "(%s) %s (%s)", x, binary[random_below(seed, 17)], y);
  const char *form = forms[random_below(seed, 11)];
  char *text = str_printf(a, "%s", "");
  const char *parts[] = {x, y, "n"};
  for (int i = 0; *form; form++)
    if (*form == '%')
      text = str_printf(a, "%s(%s)", text, parts[i++]), form++;
    else
      text = str_printf(a, "%s%c", text, *form);
  return text;
}

static void test_print_random_expressions(void **state) {
  (void)state;
  uint64_t seed = 1;
  for (int i = 0; i < 3000; i++) {
    struct btc *b = btc_new();
    const char *source = random_expr(b->arena, &seed, 1 + i % 5);
    struct file *first = parse_text(b, str_printf(b->arena, "const x = %s", source));
    const char *text = printed(b, first);
    struct file *second = parse_text(b, text);
    assert_clean(b);
    assert_string_equal(dumped(b, first), dumped(b, second));
    btc_free(b);
  }
}

static void test_postfix(void **state) {
  (void)state;
  check_expr("f(x)(y, k: 3).w.0[1, _]'",
             "(transpose (index (field 0 (field w (call (call f :x) :y k:3))) 1 _))",
             "f(x)(y, k: 3).w.0[1, _]'");
  check_expr("x[.., 1.., ..2, 3..4,]",
             "(index x (range nil nil) (range 1 nil) (range nil 2) (range 3 4))",
             "x[.., 1.., ..2, 3..4]");
  check_expr("[for in in 0..3: in * 2]", "(for-list in (range 0 3) (* in 2))",
             "[for in in 0..3: in * 2]");
  check_expr("a\n  - 1\n  (2)", "(- a (call 1 :2))", "a - 1(2)");
}

static void test_literals(void **state) {
  (void)state;
  check_expr("1_000", "1000", "1000");
  check_expr("9223372036854775807", "9223372036854775807", "9223372036854775807");
  check_expr("0.1", "0x1.999999999999ap-4", "0.1");
  check_expr("1e3", "0x1.f4p+9", "1000.0");
  check_expr("2.5E-3", "0x1.47ae147ae147bp-9", "0.0025");
  check_expr("1e300", "0x1.7e43c8800759cp+996", "1e300");
  check_expr("0.00001", "0x1.4f8b588e368f1p-17", "1e-5");
  check_expr("1.5e20", "0x1.043561a88293p+67", "1.5e20");
  check_expr("0.1234567890123456789", "0x1.f9add3746f65fp-4", "0.12345678901234568");
  check_expr("true", "true", "true");
  check_expr("\"a\\n\\t\\\"\\\\b\"", "\"a\n\t\"\\b\"", "\"a\\n\\t\\\"\\\\b\"");
  check_expr("0..n", "(range 0 n)", "0..n");
  check_expr("0.2..1.0", "(range 0x1.999999999999ap-3 0x1p+0)", "0.2..1.0");
}

static void test_soft_words_are_names(void **state) {
  (void)state;
  static const char *const words[] = {"data", "view", "epochs", "report",   "load", "from",
                                      "on",   "pass", "keep",   "evaluate", "in",
                                      "output"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    struct btc *b = btc_new();
    parse_text(b, str_printf(b->arena,
                             "fn %1$s(%1$s: f32[n]) -> f32[n] {\n"
                             "  let %1$s: f32[n] = %1$s\n"
                             "  for %1$s in %1$s { let y = f(%1$s: %1$s) }\n"
                             "  return %1$s.%1$s + %1$s(%1$s)\n}\n",
                             words[i]));
    assert_clean(b);
    btc_free(b);
  }
}

// ---- the tree ---------------------------------------------------------------------------------
static void test_module_tree(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct file *f = parse_text(b, "module m(out: int)(x: f32[..b, in]) -> f32[..b, out], f32 {\n"
                                 "  param w: f32[out, _] = 0\n"
                                 "  if a { k = l(1) } else if c { return x, w }\n"
                                 "}\n");
  assert_clean(b);
  assert_string_equal(dumped(b, f),
                      "(decl 3 m nil config  (path)nilnil ( out:(type int)=nil)"
                      " ( x:(type f32 dims ..b in)=nil)(type f32 dims ..b out)(type f32) {\n"
                      "(stmt 0 w (type f32 dims out inferred) 0)\n"
                      "(stmt 9 nil nil a {\n(stmt 5 k nil (call l :1))} {\n"
                      "(stmt 9 nil nil c {\n(stmt 7 nil nil nil x w)})})})\n");
  btc_free(b);
}

static void test_program_tree(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct file *f = parse_text(b, "program p {\n"
                                 "  data x: u8[n], y: i32[n]\n"
                                 "  load a.0.b, c from \"f\"\n"
                                 "  optimizer sgd(lr: 1) on a, b\n"
                                 "  evaluate knn(x, k: 2)\n"
                                 "}\n"
                                 "schedule p { a.b: gram \"c*\": w(tile: 2) }");
  assert_clean(b);
  assert_string_equal(dumped(b, f), "(decl 5 p nil  (path)nilnil () () {\n"
                                    "(stmt 10 nil nil nil x:(type u8 dims n) y:(type i32 dims n))\n"
                                    "(stmt 15 f file nil nil (path a 0 b) (path c))\n"
                                    "(stmt 13 nil nil (call sgd lr:1) (path a) (path b))\n"
                                    "(stmt 17 knn nil nil :x k:2)})\n"
                                    "(decl 7 p nil  (path)nilnil () ()\n"
                                    "(entry nil gram (path a b))\n(entry c* w (path) tile:2))\n");
  btc_free(b);
}

static void assert_loc(struct loc loc, int line, int column, int end_line, int end_column) {
  assert_int_equal(loc.line, line);
  assert_int_equal(loc.column, column);
  assert_int_equal(loc.end_line, end_line);
  assert_int_equal(loc.end_column, end_column);
}

static void test_places(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct file *f =
      parse_text(b, "# é\r\nfn f(x: f32[n]) -> f32 {\r\n  return \"é\" + g(\r\n x)\r\n}");
  assert_clean(b);
  const struct decl *d = f->decls.data[0];
  assert_loc(d->loc, 2, 1, 5, 2);
  assert_loc(d->name.loc, 2, 4, 2, 5);
  assert_loc(d->inputs.data[0].loc, 2, 6, 2, 15);
  assert_loc(d->inputs.data[0].type->loc, 2, 9, 2, 15);
  assert_loc(d->body->loc, 2, 24, 5, 2);
  const struct expr *sum = d->body->stmts.data[0]->values.data[0];
  assert_loc(sum->loc, 3, 10, 4, 4);
  assert_loc(sum->op_loc, 3, 15, 3, 16);
  assert_loc(sum->b->op_loc, 3, 18, 3, 19);
  assert_loc(sum->b->args.data[0].loc, 4, 2, 4, 3);
  btc_free(b);
}

static void test_accepted_texts(void **state) {
  (void)state;
  static const char *const texts[] = {"",
                                      "\n",
                                      "# only a comment",
                                      "\r\n\r\n",
                                      "const a = 1",
                                      "\xEF\xBB\xBF"
                                      "const a = 1",
                                      "program p {}",
                                      "\tconst a=1\f"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct btc *b = btc_new();
    parse_text(b, texts[i]);
    assert_clean(b);
    btc_free(b);
  }
}

// ---- nesting ----------------------------------------------------------------------------------
// before, then `unit` n times, then middle, then `closer` n times, then after
static char *repeated(struct btc *b, const char *before, const char *unit, int n,
                      const char *middle, const char *closer, const char *after) {
  size_t size = strlen(before) + (strlen(unit) + strlen(closer)) * (size_t)n + strlen(middle) +
                strlen(after) + 1;
  char *text = NEW_ARRAY(b->arena, char, size), *end = stpcpy(text, before);
  for (int i = 0; i < n; i++) end = stpcpy(end, unit);
  end = stpcpy(end, middle);
  for (int i = 0; i < n; i++) end = stpcpy(end, closer);
  stpcpy(end, after);
  return text;
}

struct nest {
  const char *before, *unit, *middle, *closer, *after;
};
// clang-format off
static const struct nest nests[] = {
  {"const a = ", "(", "1", ")", ""},
  {"const a = ", "[", "1", "]", ""},
  {"const a = ", "f(", "1", ")", ""},
  {"const a = ", "x[", "1", "]", ""},
  {"const a = ", "- ", "1", "", ""},
  {"const a = ", "not ", "1", "", ""},
  {"const a = 1", " + 1", "", "", ""},
  {"const a = 1", "^1", "", "", ""},
  {"const a = x", "'", "", "", ""},
  {"const a = x", ".y", "", "", ""},
  {"const a = x", "(1)", "", "", ""},
  {"const a = ", "if 1 then 2 else ", "3", "", ""},
  {"const a = ", "[for i in 0..1: ", "i", "]", ""},
  {"const a: ", "[", "int", "]", " = 0"},
  {"program p {", "for i in x {", "", "}", "}"},
  {"program p { if a {}", " else if b {}", "", "", "}"},
};
// clang-format on

static void check_nest(const struct nest *nest, int n, int errors) {
  struct btc *b = btc_new();
  struct file *f = parse_text(
      b, repeated(b, nest->before, nest->unit, n, nest->middle, nest->closer, nest->after));
  if (b->n_errors != errors) diag_flush(b, stderr);
  assert_int_equal(b->n_errors, errors);
  if (errors) assert_non_null(strstr(b->diags.data[0].message, "deeper than"));
  assert_non_null(printed(b, f));
  btc_free(b);
}

static void test_nesting(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof nests / sizeof *nests; i++) {
    check_nest(&nests[i], PARSE_MAX_DEPTH - 6, 0);
    check_nest(&nests[i], PARSE_MAX_DEPTH + 2, 1);
    check_nest(&nests[i], 100000, 1);
  }
}

// What comes after an error deep inside is parsed all the same.
static void test_recovery_keeps_the_rest(void **state) {
  (void)state;
  struct btc *b = btc_new();
  struct file *f =
      parse_text(b, "fn f(x: f32) -> f32 {\n  let a = (x +\n  let c = 2\n  return c\n}\n"
                    "const b = 1\n");
  assert_int_equal(b->n_errors, 1);
  assert_int_equal(f->decls.len, 2);
  assert_int_equal(f->decls.data[0]->body->stmts.len, 2);
  assert_int_equal(f->decls.data[1]->kind, D_CONST);
  btc_free(b);
}

// Every beginning of a valid file and every file with one token's bytes knocked out ends in a tree
// and in messages, never in a crash.
static void check_damage(const char *path) {
  struct btc *b = btc_new();
  int source = source_open(b, path, (struct loc){0});
  char *text = str_ndup(b->arena, b->files.data[source].text, b->files.data[source].length);
  size_t length = strlen(text);
  for (size_t i = 0; i < length; i += 7) {
    struct btc *damaged = btc_new();
    parse_file(damaged, source_add(damaged, "cut.btg", text, i));
    char kept = text[i];
    text[i] = "(){}[]'\"=.:,if"[i % 14];
    parse_text(damaged, text);
    text[i] = kept;
    FILE *nowhere = fopen("/dev/null", "w");
    diag_flush(damaged, nowhere);
    fclose(nowhere);
    btc_free(damaged);
  }
  btc_free(b);
}

static void test_damaged_files(void **state) {
  (void)state;
  each_file("tests/syntax", check_damage);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_syntax_files),
      cmocka_unit_test(test_print_round_trip),
      cmocka_unit_test(test_precedence),
      cmocka_unit_test(test_print_random_expressions),
      cmocka_unit_test(test_postfix),
      cmocka_unit_test(test_literals),
      cmocka_unit_test(test_soft_words_are_names),
      cmocka_unit_test(test_module_tree),
      cmocka_unit_test(test_program_tree),
      cmocka_unit_test(test_places),
      cmocka_unit_test(test_accepted_texts),
      cmocka_unit_test(test_nesting),
      cmocka_unit_test(test_recovery_keeps_the_rest),
      cmocka_unit_test(test_damaged_files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
