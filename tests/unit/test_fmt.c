// test_fmt.c: the formatter. Every .btg file of the repository and every example of its documentation, as it
// is and mangled (random spaces and line breaks; comments at every boundary of tokens), must keep its tree, its
// tokens and its comments; formatting what is formatted changes nothing; and what a file looks like follows from
// its tokens alone, wherever they stood. Then the layouts themselves, by example.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "expectations.h"
#include "fmt.h"
#include "parse.h"
#include "tree_dump.h"

// ---- helpers ----------------------------------------------------------------------------------
static const char *formatted(struct btc *b, const char *text) {
  const char *result = fmt_source(b, source_add(b, "test.btg", text, strlen(text)));
  if (!result) {
    diag_flush(b, stderr);
    fail_msg("does not parse:\n%s", text);
  }
  return result;
}

static const char *tree_of(struct btc *b, const char *text) {
  char *dump = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&dump, &size);
  tree_dump_file(out, parse_file(b, source_add(b, "test.btg", text, strlen(text))));
  fclose(out);
  const char *kept = str_ndup(b->arena, dump, size);
  free(dump);
  return kept;
}

// Without any white space: tokens and comments, in order.
static const char *squeezed(struct btc *b, const char *text) {
  char *result = str_ndup(b->arena, text, strlen(text)), *to = result;
  for (; *text; text++)
    if (!strchr(" \t\r\n\f\v", *text)) *to++ = *text;
  *to = 0;
  return result;
}

// assert_string_equal for texts too long to print: shows where they part.
static void assert_same_text(const char *x, const char *y) {
  size_t same = 0;
  while (x[same] && x[same] == y[same]) same++;
  size_t from = same < 200 ? 0 : same - 200;
  if (x[same] != y[same]) fail_msg("the texts part:\n%.300s\n---- other ----\n%.300s", x + from, y + from);
}

static void assert_tidy(const char *text) {
  assert_null(strstr(text, "\n\n\n"));
  assert_null(strstr(text, " \n"));
  assert_true(*text != '\n');
  size_t n = strlen(text);
  assert_true(n == 0 || text[n - 1] == '\n');
}

// Formats `text`, which has no commas before closing brackets.
static const char *check_formatted(struct btc *b, const char *text) {
  const char *result = formatted(b, text);
  assert_same_text(tree_of(b, text), tree_of(b, result));
  assert_same_text(squeezed(b, text), squeezed(b, result));
  assert_same_text(formatted(b, result), result);
  assert_tidy(result);
  return result;
}

// ---- mangling ---------------------------------------------------------------------------------
static unsigned random_below(uint64_t *seed, unsigned n) {
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  return (unsigned)(*seed >> 33) % n;
}

// The lexemes with `gap` between them, which says what stands before the i-th.
typedef const char *gap_function(struct arena *a, uint64_t *seed, const lexeme_list *l, int i);

static const char *mangled(struct btc *b, const char *text, uint64_t seed, bool comments, gap_function *gap) {
  lexeme_list l = {0};
  parse_lexemes(b, source_add(b, "test.btg", text, strlen(text)), &l);
  char *result = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&result, &size);
  for (int i = 0; i < l.len; i++) {
    if (l.data[i].kind == LEXEME_COMMENT && !comments) continue;
    bool after_comment = i > 0 && l.data[i - 1].kind == LEXEME_COMMENT && comments;
    fprintf(out, "%s%s%s", after_comment ? "\n" : "", gap(b->arena, &seed, &l, i), l.data[i].text);
  }
  fprintf(out, "\n%s", gap(b->arena, &seed, &l, l.len));
  fclose(out);
  const char *kept = str_ndup(b->arena, result, size);
  free(result);
  return kept;
}

static const char *random_space(struct arena *a, uint64_t *seed, const lexeme_list *l, int i) {
  (void)a, (void)l, (void)i;
  static const char *const spaces[] = {" ", "  ", "\t", "\n", " \r\n   ", "\n\n\n", "\n \f\n\t"};
  return spaces[random_below(seed, sizeof spaces / sizeof *spaces)];
}

static const char *random_comment(struct arena *a, uint64_t *seed, const lexeme_list *l, int i) {
  static const char *const forms[] = {" #%d\n", "\n#%d\n", "\n\n  #%d\n\n", " #%d\n#more\n", "#%d\n\n#more\n\n\n", "  #%d\n   #under\n"};
  const char *form = forms[random_below(seed, sizeof forms / sizeof *forms)];
  if (i < l->len && l->data[i].kind == LEXEME_COMMENT) return "\n";
  char text[64];
  snprintf(text, sizeof text, "%.*s%d%s", (int)(strchr(form, '%') - form), form, i, strchr(form, '%') + 2);
  return str_printf(a, "%s", text);
}

// Blocks begin a line, whatever else does: one on a single line may stay there.
static const char *lines_of_blocks(struct arena *a, uint64_t *seed, const lexeme_list *l, int i) {
  (void)a;
  static const char *const spaces[] = {" ", "   ", "\n", "\n\t"};
  if (i > 0 && l->data[i - 1].kind == T_LBRACE) return "\n";
  return spaces[*seed ? random_below(seed, 4) : 0];
}

static void check_text(const char *text) {
  struct btc *b = btc_new();
  int source = source_add(b, "test.btg", text, strlen(text));
  parse_file(b, source);
  if (b->n_errors == 0) {
    const char *tree = tree_of(b, text), *plain = formatted(b, text);
    assert_same_text(tree, tree_of(b, plain));
    check_formatted(b, plain);
    for (uint64_t seed = 1; seed <= 3; seed++) {
      assert_same_text(tree, tree_of(b, check_formatted(b, mangled(b, plain, seed, true, random_space))));
      assert_same_text(tree, tree_of(b, check_formatted(b, mangled(b, plain, seed, true, random_comment))));
      assert_same_text(formatted(b, mangled(b, plain, seed, false, lines_of_blocks)),
                          formatted(b, mangled(b, plain, 0, false, lines_of_blocks)));
    }
  }
  btc_free(b);
}

static const char *text_of(struct btc *b, const char *path) {
  int source = source_open(b, path, (struct loc){0});
  assert_int_equal(source, 0);
  return b->files.data[source].text;
}

static void check_file(const char *path) {
  struct btc *b = btc_new();
  check_text(text_of(b, path));
  btc_free(b);
}

static void test_files(void **state) {
  (void)state;
  static const char *const folders[] = {"stdlib", "examples", "tests/models", "tests/syntax", "tests/errors", "tests/errors/parts"};
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) assert_true(each_file(folders[i], check_file) > 0);
}

// ---- the documentation ------------------------------------------------------------------------
// Calls check_text with every block that is marked ```btg; returns their number.
static int check_blocks(const char *path) {
  struct btc *b = btc_new();
  int n = 0;
  const char *text = text_of(b, path);
  while ((text = strstr(text, "```btg"))) {
    const char *begin = strchr(text, '\n') + 1, *end = strstr(begin, "```");
    assert_non_null(end);
    while (end > begin && end[-1] == ' ') end--;
    check_text(str_ndup(b->arena, begin, (size_t)(end - begin)));
    text = strstr(begin, "```") + 3;
    n++;
  }
  btc_free(b);
  return n;
}

static void test_documentation(void **state) {
  (void)state;
  assert_true(check_blocks("docs/language.md") >= 20);
  assert_true(check_blocks("docs/variants.md") > 0);
  assert_true(check_blocks("README.md") > 0);
}

// ---- layouts ----------------------------------------------------------------------------------
static void check_layout(const char *text, const char *want) {
  struct btc *b = btc_new();
  assert_string_equal(formatted(b, text), want);
  assert_string_equal(formatted(b, want), want);
  btc_free(b);
}

static void test_spaces(void **state) {
  (void)state;
  check_layout("const  a=1+2 *( 3-b )/-c", "const a = 1 + 2 * (3 - b) / -c\n");
  check_layout("const a = x [ 0 , .. , 1 .. , .. n, _ ] . w .0 '\n", "const a = x[0, .., 1.., ..n, _].w.0'\n");
  check_layout("const a = f ( k :3 , [ 1,2 , ] , )", "const a = f(k: 3, [1, 2])\n");
  check_layout("const a=1 .0\nconst b = 1 .w", "const a = 1 .0\nconst b = 1 .w\n");
  check_layout("const a:[ [int] ]=[ for i in 0 .. n : - i ^ 2 ]", "const a: [[int]] = [for i in 0..n: -i^2]\n");
  check_layout("fn f ( x:f32 [ .. s ,n+1,_ ] )->f32[ ],i32 =x", "fn f(x: f32[..s, n + 1, _]) -> f32[], i32 = x\n");
  check_layout("const a = if b  and not c then\n1 else 2", "const a = if b and not c then 1 else 2\n");
  check_layout("", "");
  check_layout("\n\n", "");
  check_layout("\n\n# only\n\n\n# comments\n\n", "# only\n\n# comments\n");
  check_layout("\xEF\xBB\xBFimport  std . nn as n\r\nimport \"a b\"\r\n", "import std.nn as n\nimport \"a b\"\n");
}

static void test_blocks(void **state) {
  (void)state;
  check_layout("program p{\n\n\n  epochs 1\n\n\n  minimize x\n\n}\nprogram q{}\nview v { a() }\nview w { a() b() }",
               "program p {\n  epochs 1\n\n  minimize x\n}\n\nprogram q {}\nview v { a() }\nview w {\n  a()\n  b()\n}\n");
  check_layout("program p { if a { x = 1 } else if b { } else {\nx = 2 } for i in 0..n { if a { x = 1 } } }",
               "program p {\n  if a { x = 1 } else if b {} else {\n    x = 2\n  }\n  for i in 0..n {\n    if a { x = 1 }\n  }\n}\n");
  check_layout("schedule p { a.0 : gram \"b*\":w(k:1) }\nschedule{x:y}",
               "schedule p {\n  a.0: gram\n  \"b*\": w(k: 1)\n}\n\nschedule { x: y }\n");
  check_layout("program p { data x:u8[n],y:i32[n] load a.b,c from \"f\" optimizer sgd ( ) on a,b report r : x output z :x evaluate knn ( x ) pass q { keep k:f32[n]=x } }",
               "program p {\n  data x: u8[n], y: i32[n]\n  load a.b, c from \"f\"\n  optimizer sgd() on a, b\n  report r: x\n  output z: x\n"
               "  evaluate knn(x)\n  pass q { keep k: f32[n] = x }\n}\n");
}

static void test_comments(void **state) {
  (void)state;
  check_layout("# top\n\nprogram p { # p\n\n# first\n   epochs 1 #one\n      # own\n\n\n  # last \n}\n# end",
               "# top\n\nprogram p {    # p\n  # first\n  epochs 1    #one\n  # own\n\n  # last\n}\n# end\n");
  check_layout("const a = [1, # one\n# two\n2 # end\n]", "const a = [1,    # one\n           # two\n           2    # end\n           ]\n");
  check_layout("const a = f( # of\nx)", "const a = f(    # of\n    x)\n");
  check_layout("const a = 1 # first\nconst ab = 2 # second\n             # its second line\n\nconst c = 3 # alone",
               "const a  = 1    # first\nconst ab = 2    # second\n                # its second line\n\nconst c = 3    # alone\n");
  check_layout("fn f(x: f32) # why\n{ return x }", "fn f(x: f32)    # why\n    { return x }\n");
}

static void test_columns(void **state) {
  (void)state;
  check_layout("a=1\nbcd=2\nconst e = 3\nconst fgh=4\n\nh = 5", "a   = 1\nbcd = 2\nconst e   = 3\nconst fgh = 4\n\nh = 5\n");
  // A statement of several lines stands for itself.
  check_layout("a = concatenation_of_everything(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb, ccccccc)\nbcdef = 2",
               "a = concatenation_of_everything(aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb,\n"
               "                                ccccccc)\nbcdef = 2\n");
}

static void test_breaking(void **state) {
  (void)state;
  // Parameters fill their lines behind the parenthesis; the inputs go below the configuration.
  check_layout("module lars(lr: f32, lr_bias: f32 = lr, momentum: float = 0.9, weight_decay: float = 0.0, trust: float = 0.001)(w: f32[..s], g: f32[..s]) -> f32[..s] {}",
               "module lars(lr: f32, lr_bias: f32 = lr, momentum: float = 0.9, weight_decay: float = 0.0,\n"
               "            trust: float = 0.001)\n"
               "           (w: f32[..s], g: f32[..s]) -> f32[..s] {}\n");
  // A function's expression goes below its head, a sum has a line for each term.
  check_layout("fn vicreg(za: f32[n, d], zb: f32[n, d]) -> f32 = 25 * mean((za - zb)^2) + 25 * (variance_term(za) + variance_term(zb)) + covariance_term(za) + covariance_term(zb)",
               "fn vicreg(za: f32[n, d], zb: f32[n, d]) -> f32 =\n  25 * mean((za - zb)^2)\n"
               "  + 25 * (variance_term(za) + variance_term(zb))\n  + covariance_term(za)\n  + covariance_term(zb)\n");
  // What a list makes of each index goes below.
  check_layout("layer = [for i in 0..blocks[1]: basic_block(2 * width, stride: if i == 0 then 2 else 1, activation: activation, x: 1)]",
               "layer = [for i in 0..blocks[1]:\n"
               "           basic_block(2 * width, stride: if i == 0 then 2 else 1, activation: activation, x: 1)]\n");
  check_layout("const start = if initialisation == \"kaiming\" then normal(0, sqrt(2 / (out * size * size))) else uniform(-bound_of(x), 1)",
               "const start = if initialisation == \"kaiming\"\n"
               "                then normal(0, sqrt(2 / (out * size * size)))\n"
               "                else uniform(-bound_of(x), 1)\n");
  // Items hang where they would not fit behind the bracket.
  check_layout("const aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb(ccccccccccccccccc + ddddddddddddd, 1)",
               "const aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb(\n"
               "    ccccccccccccccccc + ddddddddddddd, 1)\n");
  // 110 columns are not too many; a block that had one line gets more where it needs them.
  check_layout("const a = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa + bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n",
               "const a = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa + bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n");
  check_layout("const a = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa + bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n",
               "const a = aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n"
               "          + bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\n");
  check_layout("view plain { normalize(mean: [0.49100000, 0.48200000, 0.44700000], std: [0.24700000, 0.24300000, 0.26200000]) }",
               "view plain {\n  normalize(mean: [0.49100000, 0.48200000, 0.44700000], std: [0.24700000, 0.24300000, 0.26200000])\n}\n");
}

// ---- random expressions -----------------------------------------------------------------------
static const char *random_expr(struct arena *a, uint64_t *seed, int depth) {
  static const char *const leaves[] = {"a", "1", "0.5", "\"s\"", "true", "[]", "a_long_name_of_something"};
  static const char *const forms[] = {"-%s", "(%s + %s)", "%s^2 * %s", "not (%s)", "(%s)'", "(%s).w", "f(%s)(k: %s)", "(%s)[%s, _, 1..]",
                                      "[%s, %s]", "(if %s then %s else 1)", "[for i in 0..n: %s]", "g((%s) == %s, %s)", "(%s and %s)"};
  if (depth == 0) return leaves[random_below(seed, 7)];
  const char *form = forms[random_below(seed, sizeof forms / sizeof *forms)];
  const char *text = "";
  for (; *form; form++) {
    if (*form != '%') text = str_printf(a, "%s%c", text, *form);
    else text = str_printf(a, "%s%s", text, random_expr(a, seed, depth - 1)), form++;
  }
  return text;
}

static void test_random_expressions(void **state) {
  (void)state;
  uint64_t seed = 1;
  for (int i = 0; i < 400; i++) {
    struct btc *b = btc_new();
    check_text(str_printf(b->arena, "const x = %s", random_expr(b->arena, &seed, 1 + i % 5)));
    btc_free(b);
  }
}

static void test_errors(void **state) {
  (void)state;
  struct btc *b = btc_new();
  assert_null(fmt_source(b, source_add(b, "test.btg", "const a = ", 10)));
  assert_int_equal(b->n_errors, 1);
  btc_free(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_spaces),        cmocka_unit_test(test_blocks), cmocka_unit_test(test_comments),
      cmocka_unit_test(test_columns),       cmocka_unit_test(test_breaking), cmocka_unit_test(test_errors),
      cmocka_unit_test(test_files),         cmocka_unit_test(test_documentation), cmocka_unit_test(test_random_expressions),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
