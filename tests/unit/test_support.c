// test_support.c: arena, strings, source files, and diagnostics as they are printed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "btc.h"

// ---- memory -----------------------------------------------------------------------------------
static void test_arena(void **state) {
  (void)state;
  struct arena *a = arena_new();
  unsigned char *previous = NULL;
  for (size_t size = 0; size < 3000; size += 7) {
    unsigned char *p = arena_alloc(a, size);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % 16, 0);
    for (size_t i = 0; i < size; i++) assert_int_equal(p[i], 0);
    memset(p, 0xFF, size); // would show in the next one if they overlapped
    if (previous) assert_ptr_not_equal(p, previous);
    if (size) previous = p;
  }
  unsigned char *large = arena_alloc(a, 50 << 20);
  large[0] = large[(50 << 20) - 1] = 1;
  arena_free(a);
  arena_free(NULL);
}

static void test_vec(void **state) {
  (void)state;
  struct arena *a = arena_new();
  VEC(int) v = {0};
  for (int i = 0; i < 10000; i++) vec_push(a, &v, i * 3);
  assert_int_equal(v.len, 10000);
  for (int i = 0; i < v.len; i++) assert_int_equal(v.data[i], i * 3);
  arena_free(a);
}

// ---- strings ----------------------------------------------------------------------------------
static void test_strings(void **state) {
  (void)state;
  struct arena *a = arena_new();
  assert_string_equal(str_printf(a, "%s-%04d", "x", 7), "x-0007");
  char *wide = str_printf(a, "%5000s|", "");
  assert_int_equal(strlen(wide), 5001);
  assert_string_equal(str_ndup(a, "abcdef", 3), "abc");
  assert_string_equal(str_ndup(a, "", 0), "");
  assert_true(str_eq("a", "a") && str_eq(NULL, NULL));
  assert_false(str_eq("a", "b") || str_eq("a", NULL) || str_eq(NULL, "a"));
  assert_true(str_hash("") == 0xcbf29ce484222325u); // the reference values of FNV-1a
  assert_true(str_hash("a") == 0xaf63dc4c8601ec8cu);
  assert_true(str_hash("foobar") == 0x85944171f73967e8u);
  arena_free(a);
}

static const char *nearest(const char *word) {
  static const char *const candidates[] = {"linear", "lines",  "batch_norm", "conv2d",
                                           "conv",   "lambda", "n",          "wa"};
  return str_nearest(word, candidates, 8);
}

static void test_nearest(void **state) {
  (void)state;
  assert_string_equal(nearest("linaer"), "linear"); // swapped
  assert_string_equal(nearest("liner"), "linear");  // inserted; `lines` replaces, first wins
  assert_string_equal(nearest("batchnorm"), "batch_norm");
  assert_string_equal(nearest("Linear"), "linear");
  assert_string_equal(nearest("conv3d"), "conv2d");
  assert_string_equal(nearest("convv"), "conv");
  assert_string_equal(nearest("N"), "n"); // a change of case
  assert_string_equal(nearest("wb"), "wa");
  assert_null(nearest("m")); // one letter for another is no misspelling
  assert_null(nearest("relu"));
  assert_null(nearest("batch"));
  assert_null(nearest(""));
  char word[200];
  memset(word, 'a', sizeof word - 1);
  word[sizeof word - 1] = '\0';
  assert_null(nearest(word));
  assert_null(str_nearest("a", NULL, 0));
}

// ---- source files -----------------------------------------------------------------------------
static void test_sources(void **state) {
  (void)state;
  struct btc *b = btc_new();
  char path[] = "/tmp/btc_test_XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  size_t length = 100001;
  char *text = str_printf(b->arena, "%*s", (int)length, "x");
  text[5] = '\0'; // a NUL is kept for the parser to complain about
  assert_int_equal(write(fd, text, length), (ssize_t)length);
  close(fd);
  int index = source_open(b, path, (struct loc){0});
  unlink(path);
  assert_int_equal(index, 0);
  assert_int_equal(b->files.data[0].length, length);
  assert_memory_equal(b->files.data[0].text, text, length + 1);
  assert_int_equal(source_add(b, "y.btg", "const", 3), 1);
  assert_string_equal(b->files.data[1].text, "con");
  btc_free(b);
}

// ---- diagnostics ------------------------------------------------------------------------------
static void assert_flushed(struct btc *b, const char *expected) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  diag_flush(b, out);
  fclose(out);
  assert_string_equal(text, expected);
  free(text);
}

static struct loc run(int line, int column, int end_line, int end_column) {
  return (struct loc){0, line, column, end_line, end_column};
}

static struct btc *with_text(const char *text) {
  struct btc *b = btc_new();
  source_add(b, "m.btg", text, strlen(text));
  return b;
}

static void test_diag_form(void **state) {
  (void)state;
  struct btc *b = with_text("const a = 1\nlet y = linaer(10)\n");
  diag_error(b, run(2, 9, 2, 15), "unknown name `%s`", "linaer");
  diag_fixit(b, "linear");
  diag_note(b, run(1, 7, 1, 8), "here");
  diag_warning(b, (struct loc){0}, "no place");
  assert_int_equal(b->n_errors, 1);
  assert_int_equal(b->n_warnings, 1);
  assert_flushed(b, "m.btg:2:9: error: unknown name `linaer`\n"
                    "let y = linaer(10)\n"
                    "        ^~~~~~\n"
                    "        linear\n"
                    "m.btg:1:7: note: here\n"
                    "const a = 1\n"
                    "      ^\n"
                    "btc: warning: no place\n");
  assert_flushed(b, "");
  btc_free(b);
}

static void test_diag_lines(void **state) {
  (void)state;
  struct btc *b = with_text("a = f(x,\r\n      y)\nlast");
  diag_error(b, run(1, 5, 2, 9), "cut at the line's end");
  assert_flushed(b, "m.btg:1:5: error: cut at the line's end\na = f(x,\n    ^~~~\n");
  diag_error(b, run(3, 5, 3, 6), "behind the end");
  assert_flushed(b, "m.btg:3:5: error: behind the end\nlast\n    ^\n");
  diag_error(b, run(9, 1, 9, 2), "no such line");
  assert_flushed(b, "m.btg:9:1: error: no such line\n");
  btc_free(b);
}

static void test_diag_widths(void **state) {
  (void)state;
  struct btc *b = with_text("\tx\ty\n\"é日本\" z\n\"\xFF\x01\" w\n");
  diag_error(b, run(1, 4, 1, 5), "tabs");
  diag_error(b, run(2, 2, 2, 10), "wide");
  diag_error(b, run(2, 12, 2, 13), "behind them");
  diag_error(b, run(3, 6, 3, 7), "bytes");
  assert_flushed(b, "m.btg:1:4: error: tabs\n        x       y\n                ^\n"
                    "m.btg:2:2: error: wide\n\"é日本\" z\n ^~~~~\n"
                    "m.btg:2:12: error: behind them\n\"é日本\" z\n        ^\n"
                    "m.btg:3:6: error: bytes\n\"<FF><01>\" w\n           ^\n");
  btc_free(b);
}

static void test_diag_long_line(void **state) {
  (void)state;
  char text[1001];
  memset(text, 'x', 1000);
  text[1000] = '\0';
  text[499] = 'Y';
  struct btc *b = with_text(text);
  diag_error(b, run(1, 500, 1, 501), "far out");
  char expected[1000], *end = stpcpy(expected, "m.btg:1:500: error: far out\n...");
  for (int i = 0; i < 160; i++) *end++ = i == 40 ? 'Y' : 'x';
  sprintf(end, "...\n%43s^\n", "");
  assert_flushed(b, expected);
  btc_free(b);
}

static void test_diag_color(void **state) {
  (void)state;
  struct btc *b = with_text("x");
  b->opt.color = true;
  diag_error(b, run(1, 1, 1, 2), "no");
  assert_flushed(b, "\033[1mm.btg:1:1: \033[0m\033[1;31merror:\033[0m \033[1mno\033[0m\n"
                    "x\n\033[1;32m^\033[0m\n");
  btc_free(b);
}

static void test_diag_limit(void **state) {
  (void)state;
  struct btc *b = with_text("x");
  b->opt.max_errors = 2;
  for (int i = 0; i < 5; i++) {
    diag_error(b, (struct loc){0}, "error %d", i);
    diag_fixit(b, "y");
    diag_note(b, (struct loc){0}, "note %d", i);
  }
  assert_int_equal(b->n_errors, 5);
  assert_flushed(b, "btc: error: error 0\nbtc: note: note 0\nbtc: error: error 1\n"
                    "btc: note: note 1\nbtc: 3 more errors not shown (the limit is 2)\n");
  btc_free(b);
}

static void test_diag_warnings_as_errors(void **state) {
  (void)state;
  struct btc *b = btc_new();
  b->opt.warnings_are_errors = true;
  diag_warning(b, (struct loc){0}, "dubious");
  assert_int_equal(b->n_errors, 1);
  assert_int_equal(b->n_warnings, 0);
  assert_flushed(b, "btc: error: dubious\n");
  btc_free(b);
}

static void test_source_errors(void **state) {
  (void)state;
  struct btc *b = with_text("import \"nowhere.btg\"\n");
  assert_int_equal(source_open(b, "/nowhere/x.btg", run(1, 8, 1, 21)), -1);
  assert_int_equal(source_open(b, "/", (struct loc){0}), -1);
  assert_flushed(b, "m.btg:1:8: error: cannot open `/nowhere/x.btg`: No such file or directory\n"
                    "import \"nowhere.btg\"\n       ^~~~~~~~~~~~~\n"
                    "btc: error: cannot read `/`: Is a directory\n");
  btc_free(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_arena),          cmocka_unit_test(test_vec),
      cmocka_unit_test(test_strings),        cmocka_unit_test(test_nearest),
      cmocka_unit_test(test_sources),        cmocka_unit_test(test_diag_form),
      cmocka_unit_test(test_diag_lines),     cmocka_unit_test(test_diag_widths),
      cmocka_unit_test(test_diag_long_line), cmocka_unit_test(test_diag_color),
      cmocka_unit_test(test_diag_limit),     cmocka_unit_test(test_diag_warnings_as_errors),
      cmocka_unit_test(test_source_errors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
