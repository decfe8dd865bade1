// test_reference_files.c: functions, layers, optimisers and whole training steps against tensors computed by
// PyTorch in float64. The interpreter has to agree to 1e-9 (relative to a tensor's largest entry),
// compiled code to single precision. Functions are compiled together, as programs of one module.
//
// The tensors are looked for in $BTC_SHARED/reference, else ../shared/reference; without them the
// tests are skipped.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "eval.h"
#include "graph_helper.h"

// ---- reference files --------------------------------------------------------------------------

static const char *reference_path(struct btc *b, const char *name) {
  return str_printf(b->arena, "%s/%s.safetensors", reference_folder(b->arena), name);
}

static bool have_reference(struct btc *b, const char *name) { return access(reference_path(b, name), R_OK) == 0; }

static void fail_with_diagnostics(struct btc *b, const char *what) {
  diag_flush(b, stderr);
  fail_msg("%s", what);
}

static value_list read_reference(struct btc *b, const char *name) {
  value_list list = {0};
  if (!values_read(b, reference_path(b, name), &list)) fail_with_diagnostics(b, name);
  return list;
}

static struct model *open_model(struct btc *b, const char *name) {
  struct model *m = driver_model(b, str_printf(b->arena, "tests/models/%s.btg", name));
  if (!m) fail_with_diagnostics(b, name);
  return m;
}

static void open_native(struct model *m, const char *march, struct compiled *native) {
  struct host host = {.march = march};
  if (!host_find(m->b, &host, NULL) || !compiled_open(m, &host, false, native)) fail_with_diagnostics(m->b, "compiling");
}

// ---- comparing --------------------------------------------------------------------------------

// The largest difference relative to the largest wanted entry. Infinite where the sizes differ.
static double deviation(const struct tensor64 *got, const struct tensor64 *want) {
  int64_t n = shape_count(&want->type.shape);
  double worst = 0, largest = 0;
  if (!got || shape_count(&got->type.shape) != n) return INFINITY;
  for (int64_t i = 0; i < n; i++) {
    double d = fabs(got->data[i] - want->data[i]);
    worst = isnan(d) ? INFINITY : fmax(worst, d);
    largest = fmax(largest, fabs(want->data[i]));
  }
  return largest > 0 ? worst / largest : worst;
}

static void expect_close(const char *what, const char *name, const struct tensor64 *got, const struct tensor64 *want, double tolerance) {
  double error = deviation(got, want);
  if (!(error <= tolerance)) fail_msg("%s: %s deviates by %.3e, allowed %.0e", what, name, error, tolerance);
}

// ---- functions --------------------------------------------------------------------------------

struct function_case {
  const char *file, *function;
  double tolerance; // of compiled code
  bool rounded;     // compiled code against the interpreter on fp32-rounded inputs
};
static const struct function_case function_cases[] = {
    {"objective_barlow_twins_small", "objective", 2e-4, false},
    {"objective_barlow_twins_wide", "objective", 2e-4, false},
    {"objective_barlow_twins_tall", "objective", 2e-4, false},
    {"objective_barlow_twins_offset", "objective", 2e-3, true},
    {"objective_barlow_hsic_small", "hsic", 2e-4, false},
    {"objective_barlow_hsic_wide", "hsic", 2e-4, false},
    {"objective_barlow_hsic_tall", "hsic", 2e-4, false},
    {"objective_simsiam_small", "siamese", 2e-4, false},
    {"objective_simsiam_wide", "siamese", 2e-4, false},
    {"objective_simsiam_tall", "siamese", 2e-4, false},
    {"objective_w_mse_small", "whitened", 2e-4, false},
    {"objective_w_mse_tall", "whitened", 2e-4, false},
    {"objective_byol_small", "bootstrapped", 2e-4, false},
    {"objective_byol_wide", "bootstrapped", 2e-4, false},
    {"objective_byol_tall", "bootstrapped", 2e-4, false},
    {"objective_nt_xent_small", "contrasted", 2e-4, false},
    {"objective_nt_xent_wide", "contrasted", 2e-4, false},
    {"objective_nt_xent_tall", "contrasted", 2e-4, false},
    {"objective_vicreg_small", "regularised", 2e-4, false},
    {"objective_vicreg_wide", "regularised", 2e-4, false},
    {"objective_vicreg_tall", "regularised", 2e-4, false},
    {"layer_conv2d_bias", "conv_bias", 2e-4, false},
    {"layer_conv2d_c16x32_hw8_k1_s1_p0", "conv_s1_p0", 2e-4, false},
    {"layer_conv2d_c16x32_hw8_k1_s2_p0", "conv_s2_p0", 2e-4, false},
    {"layer_conv2d_c16x32_hw8_k3_s1_p1", "conv_s1_p1", 2e-4, false},
    {"layer_conv2d_c16x32_hw8_k3_s2_p1", "conv_s2_p1", 2e-4, false},
    {"layer_conv2d_c16x32_hw9_k3_s2_p1", "conv_s2_p1", 2e-4, false},
    {"layer_conv2d_c17x33_hw7_k3_s1_p1", "conv_s1_p1", 2e-4, false},
    {"layer_conv2d_c3x16_hw20_k7_s2_p3", "conv_s2_p3", 2e-4, false},
    {"layer_conv2d_c3x16_hw9_k3_s1_p1", "conv_s1_p1", 2e-4, false},
    {"layer_conv2d_c8x8_hw6_k5_s1_p2", "conv_s1_p2", 2e-4, false},
    {"layer_conv2d_depthwise", "conv_depthwise", 2e-4, false},
    {"layer_layernorm", "normalise_rows", 2e-4, false},
    {"layer_gelu_tanh", "gelu_by_tanh", 2e-4, false},
    {"layer_softmax", "row_softmax", 2e-4, false},
    {"layer_linear", "linear_layer", 2e-4, false},
    {"layer_batchnorm1d", "normalise", 2e-4, false},
    {"layer_batchnorm2d", "normalise", 2e-4, false},
    {"layer_avgpool_global", "global_mean", 2e-4, false},
    {"layer_maxpool_k3_s2_p1", "pool", 2e-4, false},
    {"layer_cross_entropy", "entropy", 2e-4, false},
};
enum { N_FUNCTIONS = sizeof function_cases / sizeof *function_cases };

// Every width of vectors that this processor has.
static const char *const marches[] = {"native", "x86-64-v3", "x86-64"};
enum { N_MARCHES = sizeof marches / sizeof *marches };
static bool can_run(const char *march) { return !str_eq(march, "x86-64-v3") || (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")); }

struct functions { // what the function tests share: one module
  struct btc *b;
  struct model *m;
  value_list given[N_FUNCTIONS];
  struct compiled native[N_MARCHES];
};
static struct functions functions;

static struct program named_program(struct functions *f, int i) {
  const struct function_case *c = &function_cases[i];
  f->given[i] = read_reference(f->b, c->file);
  struct program *p = eval_function(f->m, c->function, &f->given[i], true);
  if (!p) fail_with_diagnostics(f->b, c->file);
  p->name = c->file;
  p->graph->name = c->file;
  return *p;
}

// From a copy: the interpreter keeps the graphs as they were elaborated.
static void compile_functions(struct functions *f, const char *march, struct compiled *native) {
  struct model copy = *f->m;
  copy.programs.data = NEW_ARRAY(f->b->arena, struct program, N_FUNCTIONS);
  memcpy(copy.programs.data, f->m->programs.data, sizeof *copy.programs.data * N_FUNCTIONS);
  open_native(&copy, march, native);
}

static int open_functions(void **state) {
  struct functions *f = &functions;
  (void)state;
  f->b = btc_new();
  if (!have_reference(f->b, function_cases[0].file)) return 0;
  f->m = open_model(f->b, "reference");
  struct program *programs = NEW_ARRAY(f->b->arena, struct program, N_FUNCTIONS);
  for (int i = 0; i < N_FUNCTIONS; i++) programs[i] = named_program(f, i);
  f->m->programs.data = programs;
  f->m->programs.len = f->m->programs.cap = N_FUNCTIONS;
  for (int k = 0; k < N_MARCHES; k++)
    if (can_run(marches[k])) compile_functions(f, marches[k], &f->native[k]);
  return 0;
}

static int close_functions(void **state) {
  (void)state;
  for (int k = 0; k < N_MARCHES; k++) compiled_unload(&functions.native[k]);
  btc_free(functions.b);
  return 0;
}

static value_list run_function(struct functions *f, int i, const value_list *given, const struct compiled *native) {
  value_list results = {0};
  struct eval e = {.m = f->m, .p = &f->m->programs.data[i], .native = native, .given = given};
  if (!eval_run(&e, &results)) fail_with_diagnostics(f->b, function_cases[i].file);
  return results;
}

// The reference says `loss` of an objective, `out` of a layer.
static void compare_function(const struct function_case *c, const value_list *got, const value_list *want, double tolerance) {
  int compared = 0;
  for (int i = 0; i < want->len; i++) {
    const char *name = want->data[i].name;
    bool result = str_eq(name, "loss") || str_eq(name, "out");
    if (!result && (name[0] != 'd' || str_eq(name, "dout"))) continue;
    expect_close(c->file, name, values_find(got, result ? "out" : name), want->data[i].tensor, tolerance);
    compared++;
  }
  assert_true(compared >= 2);
}

static value_list rounded_to_single(struct arena *a, const value_list *values) {
  value_list rounded = {0};
  for (int k = 0; k < values->len; k++) {
    struct tensor64 *t = tensor64_copy(a, values->data[k].tensor);
    int64_t n = shape_count(&t->type.shape);
    for (int64_t i = 0; i < n; i++) t->data[i] = (double)(float)t->data[i];
    values_add(a, &rounded, values->data[k].name, t);
  }
  return rounded;
}

static void test_function(void **state) {
  const struct function_case *c = *state;
  struct functions *f = &functions;
  int i = (int)(c - function_cases);
  if (!f->m) skip();
  value_list exact = run_function(f, i, &f->given[i], NULL);
  compare_function(c, &exact, &f->given[i], 1e-9);
  value_list given = f->given[i], want = f->given[i];
  if (c->rounded) {
    given = rounded_to_single(f->b->arena, &f->given[i]);
    want = run_function(f, i, &given, NULL);
  }
  for (int k = 0; k < N_MARCHES; k++) {
    if (!f->native[k].handle) continue;
    value_list single = run_function(f, i, &given, &f->native[k]);
    compare_function(c, &single, &want, c->tolerance);
  }
}

// However the objective is computed, a mean far above the deviation costs no more digits than fp32 inputs have.
static void test_offset(void **state) {
  const char *variant = *state, *file = "objective_barlow_twins_offset";
  struct btc *b = btc_new();
  if (!have_reference(b, file)) skip();
  vec_push(b->arena, &b->opt.variants, str_printf(b->arena, "%s/objective=%s", file, variant));
  struct functions f = {.b = b, .m = open_model(b, "reference")};
  value_list reference = read_reference(b, file), given = rounded_to_single(b->arena, &reference);
  struct program *p = eval_function(f.m, "objective", &given, true);
  if (!p) fail_with_diagnostics(b, file);
  p->name = p->graph->name = file;
  f.m->programs.data = p;
  f.m->programs.len = f.m->programs.cap = 1;
  struct compiled native;
  open_native(f.m, NULL, &native);
  value_list want = run_function(&f, 0, &given, NULL), got = run_function(&f, 0, &given, &native);
  for (int i = 0; i < want.len; i++) expect_close(variant, want.data[i].name, values_find(&got, want.data[i].name), want.data[i].tensor, 2e-3);
  compiled_unload(&native);
  btc_free(b);
}

// ---- optimisers and the schedule ----------------------------------------------------------------

// gw0, gw1, … of the file as one tensor with an axis of steps.
static struct tensor64 *stacked(struct arena *a, const value_list *file, const char *stem, int steps) {
  const struct tensor64 *first = values_find(file, str_printf(a, "%s0", stem));
  struct tensor_type type = first->type;
  type.shape.rank++;
  type.shape.dim[0] = steps;
  for (int i = 0; i < first->type.shape.rank; i++) type.shape.dim[i + 1] = first->type.shape.dim[i];
  struct tensor64 *t = tensor64_new(a, &type);
  int64_t n = shape_count(&first->type.shape);
  for (int k = 0; k < steps; k++)
    memcpy(t->data + k * n, values_find(file, str_printf(a, "%s%d", stem, k))->data, sizeof(double) * (size_t)n);
  return t;
}

static value_list run_program(struct model *m, struct program *p, const struct compiled *native, const value_list *given, int64_t steps) {
  value_list results = {0};
  struct eval e = {.m = m, .p = p, .native = native, .given = given, .steps = steps};
  if (!eval_run(&e, &results)) fail_with_diagnostics(m->b, p->name);
  return results;
}

// Opens the one program of a file, differentiated, and the same compiled.
static struct program *open_program(struct model *m, const char *name, bool gradients, struct compiled *native) {
  struct program *p = driver_program(m, name);
  if (!p) fail_with_diagnostics(m->b, name);
  if (gradients) eval_add_gradients(p);
  if (p->loss) model_differentiate(m, p);
  struct program *copy = NEW(m->b->arena, struct program);
  *copy = *p;
  struct model alone = *m;
  alone.programs.data = copy;
  alone.programs.len = alone.programs.cap = 1;
  open_native(&alone, NULL, native);
  return p;
}

static void test_optimizer(void **state) {
  const char *name = *state;
  enum { STEPS = 5 };
  struct btc *b = btc_new();
  const char *file = str_printf(b->arena, "optimizer_%s", name);
  if (!have_reference(b, file)) skip();
  value_list reference = read_reference(b, file), given = {0};
  values_add(b->arena, &given, "gw", stacked(b->arena, &reference, "gw", STEPS));
  values_add(b->arena, &given, "gb", stacked(b->arena, &reference, "gb", STEPS));
  values_add(b->arena, &given, "init.weights.w", values_find(&reference, "w0"));
  values_add(b->arena, &given, "init.weights.b", values_find(&reference, "b0"));
  struct model *m = open_model(b, "reference");
  struct compiled native;
  struct program *p = open_program(m, str_printf(b->arena, "%s_steps", name), false, &native);
  for (int k = 1; k <= STEPS; k++) {
    const struct tensor64 *w = values_find(&reference, str_printf(b->arena, "w%d", k)), *bias = values_find(&reference, str_printf(b->arena, "b%d", k));
    value_list exact = run_program(m, p, NULL, &given, k), single = run_program(m, p, &native, &given, k);
    expect_close(file, "w", values_find(&exact, "final.weights.w"), w, 1e-9);
    expect_close(file, "b", values_find(&exact, "final.weights.b"), bias, 1e-9);
    expect_close(file, "w in C", values_find(&single, "final.weights.w"), w, 2e-4);
    expect_close(file, "b in C", values_find(&single, "final.weights.b"), bias, 2e-4);
  }
  compiled_unload(&native);
  btc_free(b);
}

static void test_schedule(void **state) {
  (void)state;
  struct btc *b = btc_new();
  if (!have_reference(b, "schedule_cosine_warmup")) skip();
  value_list reference = read_reference(b, "schedule_cosine_warmup"), given = {0};
  const struct tensor64 *want = values_find(&reference, "lr");
  struct tensor_type gw = {BT_F64, shape_of(2, (int64_t)6, (int64_t)4)}, gb = {BT_F64, shape_of(1, (int64_t)6)};
  values_add(b->arena, &given, "gw", tensor64_new(b->arena, &gw));
  values_add(b->arena, &given, "gb", tensor64_new(b->arena, &gb));
  struct model *m = open_model(b, "reference");
  struct compiled native;
  struct program *p = open_program(m, "schedule_steps", false, &native);
  value_list exact = run_program(m, p, NULL, &given, want->type.shape.dim[0]);
  value_list single = run_program(m, p, &native, &given, want->type.shape.dim[0]);
  expect_close("schedule", "rate", values_find(&exact, "report.rate"), want, 1e-9);
  expect_close("schedule", "rate in C", values_find(&single, "report.rate"), want, 2e-4);
  compiled_unload(&native);
  btc_free(b);
}

// ---- whole steps ------------------------------------------------------------------------------

// Every tensor of `want` whose name begins with the prefix.
static void compare_all(const char *what, const char *prefix, const value_list *got, const value_list *want, double tolerance) {
  int compared = 0;
  for (int i = 0; i < want->len; i++) {
    const char *name = want->data[i].name;
    if (strncmp(name, prefix, strlen(prefix)) != 0 || strstr(name, "num_batches_tracked")) continue;
    expect_close(what, name, values_find(got, name), want->data[i].tensor, tolerance);
    compared++;
  }
  assert_true(compared > 0);
}

static void test_train(void **state) {
  (void)state;
  struct btc *b = btc_new();
  if (!have_reference(b, "train_resnet18_w8_lars")) skip();
  value_list reference = read_reference(b, "train_resnet18_w8_lars");
  struct model *m = open_model(b, "resnet18_w8_lars");
  struct compiled native;
  struct program *p = open_program(m, "pretrain", true, &native);
  value_list exact = run_program(m, p, NULL, &reference, 3), single = run_program(m, p, &native, &reference, 3);
  compare_all("interpreter", "losses", &exact, &reference, 1e-7);
  compare_all("interpreter", "grad.", &exact, &reference, 1e-7);
  compare_all("interpreter", "final.", &exact, &reference, 1e-7);
  compare_all("C", "losses", &single, &reference, 1e-3);
  compare_all("C", "grad.", &single, &reference, 2e-3);
  compiled_unload(&native);
  btc_free(b);
}

// Evaluation of the trained encoder, with running statistics, on the first step's view a.
static void test_features(void **state) {
  (void)state;
  struct btc *b = btc_new();
  if (!have_reference(b, "train_resnet18_w8_lars")) skip();
  value_list reference = read_reference(b, "train_resnet18_w8_lars"), given = {0};
  for (int i = 0; i < reference.len; i++)
    if (strncmp(reference.data[i].name, "final.", 6) == 0)
      values_add(b->arena, &given, eval_name(b->arena, "init.", reference.data[i].name + 6), reference.data[i].tensor);
  struct tensor_type labels = {BT_I32, shape_of(1, (int64_t)8)};
  values_add(b->arena, &given, "x", values_find(&reference, "xa")); // with its axis of steps
  values_add(b->arena, &given, "y", tensor64_new(b->arena, &labels));
  struct model *m = open_model(b, "resnet18_w8_lars");
  struct compiled native;
  struct program *p = open_program(m, "features", false, &native);
  value_list exact = run_program(m, p, NULL, &given, 1), single = run_program(m, p, &native, &given, 1);
  const struct tensor64 *want = values_find(&reference, "features_eval");
  expect_close("interpreter", "features", values_find(&exact, "features"), want, 1e-7);
  expect_close("C", "features", values_find(&single, "features"), want, 1e-3);
  compiled_unload(&native);
  btc_free(b);
}

static void test_step(void **state) {
  (void)state;
  struct btc *b = btc_new();
  if (!have_reference(b, "step_resnet18_w8_gelu")) skip();
  value_list reference = read_reference(b, "step_resnet18_w8_gelu");
  struct model *m = open_model(b, "resnet18_w8_gelu");
  struct compiled native;
  struct program *p = open_program(m, "pretrain", true, &native);
  value_list single = run_program(m, p, &native, &reference, 1);
  expect_close("C", "loss", values_find(&single, "losses"), values_find(&reference, "loss"), 1e-4);
  compare_all("C", "grad.", &single, &reference, 1e-4);
  value_list exact = run_program(m, p, NULL, &reference, 1);
  compare_all("interpreter", "grad.", &exact, &reference, 1e-7);
  compiled_unload(&native);
  btc_free(b);
}

// ---- the list ---------------------------------------------------------------------------------

int main(void) {
  const struct CMUnitTest run_tests[] = {
      {"offset, unfused", test_offset, NULL, NULL, "unfused"},
      {"offset, fused", test_offset, NULL, NULL, "fused"},
      {"optimizer_lars", test_optimizer, NULL, NULL, "lars"},
      {"optimizer_sgd_momentum", test_optimizer, NULL, NULL, "sgd_momentum"},
      {"optimizer_sgd_nesterov", test_optimizer, NULL, NULL, "sgd_nesterov"},
      {"optimizer_adam", test_optimizer, NULL, NULL, "adam"},
      {"optimizer_adamw", test_optimizer, NULL, NULL, "adamw"},
      {"schedule_cosine_warmup", test_schedule, NULL, NULL, NULL},
      {"train_resnet18_w8_lars", test_train, NULL, NULL, NULL},
      {"train_resnet18_w8_lars, features", test_features, NULL, NULL, NULL},
      {"step_resnet18_w8_gelu", test_step, NULL, NULL, NULL},
  };
  enum { N_RUNS = sizeof run_tests / sizeof *run_tests };
  struct CMUnitTest tests[N_FUNCTIONS + N_RUNS];
  for (int i = 0; i < N_FUNCTIONS; i++)
    tests[i] = (struct CMUnitTest){function_cases[i].file, test_function, NULL, NULL, (void *)&function_cases[i]};
  memcpy(tests + N_FUNCTIONS, run_tests, sizeof run_tests);
  return _cmocka_run_group_tests("reference", tests, N_FUNCTIONS + N_RUNS, open_functions, close_functions);
}
