// test_tuned.c: the store of tuned choices: what is found again, for what, and what damage does.
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../runtime/btrt_internal.h"
#include "graph_helper.h"
#include "tuned.h"

static char folder[] = "/tmp/btc-tuned-XXXXXX";
static char path[128];
static struct btc *b;
static const struct target target = {.lanes = 8};

static int set_up(void **state) {
  (void)state;
  strcpy(folder, "/tmp/btc-tuned-XXXXXX");
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/a/b/tuned.json", folder); // folders that are not there yet
  setenv("BTC_TUNED", path, 1);
  b = btc_new();
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  char command[160];
  btc_free(b);
  snprintf(command, sizeof command, "rm -rf %s", folder);
  return system(command);
}

// A new compilation, which has not read the store yet.
static void again(void) {
  btc_free(b);
  b = btc_new();
}

// (x x') c, or the same with nodes in another order.
static struct region *region_of(int64_t n, int64_t d, double factor, bool other_order) {
  struct graph *g = graph_new(b, "r");
  struct tensor_type type = {BT_F32, shape_of(2, n, d)};
  struct node *c = other_order ? g_constant(g, BT_F32, factor) : NULL;
  struct node *x = g_input(g, "in0", BT_INPUT_ARRAY, -1, 0, &type), *y = g_matmul(g, x, x, false, true);
  graph_output(g, "out0", BT_OUTPUT_VALUE, g_binary(g, OP_mul, y, c ? c : g_constant(g, BT_F32, factor)));
  struct region *r = NEW(b->arena, struct region);
  r->address = "p/objective";
  vec_push(b->arena, &r->variants, ((struct variant){.name = "unfused", .graph = g}));
  return r;
}

static struct region *usual(void) { return region_of(33, 17, 2, false); }

static void add(const struct region *r, int threads, struct variant_request request) {
  struct tuned_entry entry = {tuned_shape(b->arena, r), request, 1e-3, 2e-3};
  if (!tuned_add(b, r, &target, threads, &entry)) fail_msg("%s", text_of_diagnostics(b));
}

static void write_store(const char *text) {
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static void found_again(void **state) {
  (void)state;
  struct variant_request got;
  assert_false(tuned_choice(usual(), &target, &got)); // no store: no warning either
  add(usual(), bt_cores_available(), (struct variant_request){.variant = "streamed", .panel = 512});
  add(region_of(5, 7, 1, false), bt_cores_available(), (struct variant_request){.variant = "gram"});
  add(usual(), bt_cores_available(), (struct variant_request){.variant = "streamed", .panel = 256, .kc = 128});
  again();
  assert_true(tuned_choice(usual(), &target, &got));
  assert_string_equal(got.variant, "streamed");
  assert_true(got.panel == 256 && got.kc == 128 && got.mc == 0 && got.nc == 0);
  assert_true(tuned_choice(region_of(5, 7, 1, false), &target, &got));
  assert_string_equal(got.variant, "gram");
  assert_int_equal(b->diags.len, 0);
}

static void shape_is_ops_and_sizes(void **state) {
  (void)state;
  const char *shape = tuned_shape(b->arena, usual());
  assert_int_equal(strlen(shape), 16);
  assert_string_equal(shape, tuned_shape(b->arena, region_of(33, 17, 3, false))); // another constant
  assert_string_equal(shape, tuned_shape(b->arena, region_of(33, 17, 2, true)));  // another order
  assert_string_not_equal(shape, tuned_shape(b->arena, region_of(33, 18, 2, false)));
  assert_string_not_equal(shape, tuned_shape(b->arena, region_of(17, 33, 2, false)));
}

static void of_this_processor_only(void **state) {
  (void)state;
  struct variant_request got;
  struct target wider = {.lanes = 16};
  add(usual(), bt_cores_available(), (struct variant_request){.variant = "gram"});
  again();
  assert_false(tuned_choice(usual(), &wider, &got));
  again();
  assert_int_equal(unlink(path), 0);
  add(usual(), bt_cores_available() + 1, (struct variant_request){.variant = "gram"});
  again();
  assert_false(tuned_choice(usual(), &target, &got));
}

static void can_be_off(void **state) {
  (void)state;
  struct variant_request got;
  add(usual(), bt_cores_available(), (struct variant_request){.variant = "gram"});
  again();
  b->opt.no_tuned = true;
  assert_false(tuned_choice(usual(), &target, &got));
  again();
  setenv("BTC_TUNED", "", 1);
  assert_null(tuned_path(b));
  assert_false(tuned_choice(usual(), &target, &got));
  unsetenv("BTC_TUNED");
  setenv("XDG_CACHE_HOME", "/somewhere", 1);
  assert_string_equal(tuned_path(b), "/somewhere/btc/tuned.json");
  unsetenv("XDG_CACHE_HOME");
  setenv("HOME", "/home/nobody", 1);
  assert_string_equal(tuned_path(b), "/home/nobody/.cache/btc/tuned.json");
}

// Whatever the file holds: one warning, no choice, and the next tune mends it.
static void assert_damaged(const char *text) {
  struct variant_request got;
  again();
  write_store(text);
  assert_false(tuned_choice(usual(), &target, &got));
  assert_false(tuned_choice(usual(), &target, &got));
  assert_int_equal(b->n_errors, 0);
  if (b->n_warnings != 1) fail_msg("%d warnings of: %s", b->n_warnings, text);
  add(usual(), bt_cores_available(), (struct variant_request){.variant = "gram"});
  again();
  assert_true(tuned_choice(usual(), &target, &got));
  assert_int_equal(b->n_warnings, 0);
}

static void assert_damaged_by(const char *text, const char *what, const char *by) {
  char changed[4096];
  const char *at = strstr(text, what);
  assert_non_null(at);
  snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, by, at + strlen(what));
  assert_damaged(changed);
}

static void damage(void **state) {
  (void)state;
  add(usual(), bt_cores_available(), (struct variant_request){.variant = "fused", .kc = 128});
  char text[4096];
  FILE *f = fopen(path, "r");
  assert_non_null(f);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
  assert_damaged("");
  assert_damaged("no JSON");
  assert_damaged("[]");
  assert_damaged("{\"version\": 2, \"processors\": {}}");
  assert_damaged("{\"version\": 1}");
  assert_damaged("{\"version\": 1, \"processors\": []}");
  assert_damaged_by(text, "\"fused\"", "7");
  assert_damaged_by(text, "128", "-1");
  assert_damaged_by(text, "128", "\"many\"");
  assert_damaged_by(text, "128", "99999999999");
  assert_damaged_by(text, "\"fused\"", "\"blas\""); // which takes no kc
  text[strlen(text) / 2] = 0;
  assert_damaged(text);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void) {
  const struct CMUnitTest tests[] = {TEST(found_again), TEST(shape_is_ops_and_sizes), TEST(of_this_processor_only), TEST(can_be_off), TEST(damage)};
  return cmocka_run_group_tests_name("tuned", tests, NULL, NULL);
}
