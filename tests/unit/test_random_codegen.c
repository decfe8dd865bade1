// test_random_codegen.c: random training steps in C against the interpreter.
//
// Graphs of random_graph.c go through every pass (or all but one), the code generator and the host
// compiler, a batch to a file, and run with one thread and with two. How far a result may be off
// is learnt from the graph itself: a multiple of what rounding every value to f32 changes.
//
// A graph that fails is reduced, by dropping results and by looking at operands instead, and
// printed as text. BTC_RANDOM_GRAPHS=N tries N graphs, BTC_RANDOM_SEED=S begins with another.
#include "codegen_helper.h"
#include "graph_helper.h"
#include "passes.h"
#include "random_graph.h"

#include <glob.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GRAPHS = 60, BATCH = 15, NOISE = 50, ULPS = 16 };
static const double floor_of_noise = 1e-8; // of zeros that are computed

struct setting {
  const char *march, *disabled;
};
static const struct setting settings[] = {
    {"x86-64-v4", NULL}, {"x86-64-v3", "fold"}, {"x86-64", "cse"}, {"x86-64-v4", "dce"}};

// ---- one result -------------------------------------------------------------------------------

static double tolerance_of(const struct tensor64 *want, const struct tensor64 *rounded) {
  double largest = 0, noise = 0;
  for (int64_t i = 0; i < shape_count(&want->type.shape); i++) {
    double error = fabs(want->data[i] - rounded->data[i]);
    if (!isfinite(error)) return INFINITY; // beyond f32
    largest = fmax(largest, fabs(want->data[i]));
    noise = fmax(noise, error);
  }
  if (!dtype_is_float(want->type.dtype)) return 0;
  return NOISE * noise + ULPS * 0x1p-24 * largest + floor_of_noise;
}

// The first element that is not what it should be, or -1.
static int64_t differs(const struct tensor64 *is, const struct tensor64 *want, double tolerance) {
  for (int64_t i = 0; i < shape_count(&want->type.shape); i++) {
    double x = is->data[i], y = want->data[i];
    if (x != y && !(isnan(x) && isnan(y)) && !(fabs(x - y) <= tolerance)) return i;
  }
  return -1;
}

static bool calls_blas(const struct graph *g) {
  for (int i = 0; i < g->nodes.len; i++)
    if (g->nodes.data[i]->op == OP_matmul && g->nodes.data[i]->type.dtype == BT_F64) return true;
  return false;
}

static const char *result_name(const struct graph *g, int i) {
  return i < g->outputs.len ? g->outputs.data[i].name : g->updates.data[i - g->outputs.len].name;
}

// What is wrong with program p on the leaves of a seed; NULL: nothing. *result: of which.
static const char *fault_on(struct compiled *n, int p, unsigned seed, int *result) {
  const struct graph *g = n->graphs.data[p];
  struct step_result want = step_expected(n, p, seed, false),
                     rounded = step_expected(n, p, seed, true);
  struct step_result one = step_run(n, p, seed, 1), two = step_run(n, p, seed, 2);
  for (int i = 0; i < want.values.len; i++) {
    const struct tensor64 *w = want.values.data[i], *is = one.values.data[i];
    *result = i;
    double tolerance = tolerance_of(w, rounded.values.data[i]);
    int64_t at = differs(is, w, tolerance);
    if (at >= 0)
      return str_printf(n->b->arena, "%s[%lld] is %.9g instead of %.9g (tolerance %.3g)",
                        result_name(g, i), (long long)at, is->data[at], w->data[at], tolerance);
    size_t bytes = sizeof(double) * (size_t)shape_count(&w->type.shape);
    if (!calls_blas(g) && memcmp(is->data, two.values.data[i]->data, bytes) != 0)
      return str_printf(n->b->arena, "%s depends on the number of threads", result_name(g, i));
  }
  return NULL;
}

// A value may by accident lie where another jumps: what is wrong is wrong on other leaves too.
static const char *fault_of(struct compiled *n, int p, int *result) {
  const char *fault = fault_on(n, p, 1, result);
  int again = 0, other;
  for (unsigned seed = 2; fault != NULL && seed < 5; seed++)
    again += fault_on(n, p, seed, &other) != NULL;
  return again >= 2 ? fault : NULL;
}

// ---- reduction --------------------------------------------------------------------------------

static struct graph *with_results(const struct graph *g) {
  struct graph *to = NEW(g->b->arena, struct graph);
  *to = *g;
  memset(&to->outputs, 0, sizeof to->outputs);
  memset(&to->updates, 0, sizeof to->updates);
  return to;
}

static struct graph *without(const struct graph *g, int result) {
  struct graph *to = with_results(g);
  for (int i = 0; i < g->outputs.len; i++)
    if (i != result) vec_push(g->b->arena, &to->outputs, g->outputs.data[i]);
  for (int i = 0; i < g->updates.len; i++)
    if (i + g->outputs.len != result) vec_push(g->b->arena, &to->updates, g->updates.data[i]);
  return to;
}

static struct graph *only(const struct graph *g, struct node *n) {
  struct graph *to = with_results(g);
  graph_output(to, "out", BT_OUTPUT_VALUE, n);
  return to;
}

static const char *fault_alone(struct graph *g, const char *march, int *result) {
  struct compiled n = step_build(g->b, &g, 1, march);
  n.grain = RANDOM_GRAIN;
  const char *fault = fault_of(&n, 0, result);
  step_close(&n);
  return fault;
}

static struct graph *look_at_operands(struct graph *g, const char *march) {
  int result;
  for (bool smaller = true; smaller && g->outputs.len == 1 && g->updates.len == 0;) {
    const struct node *n = g->outputs.data[0].node;
    smaller = false;
    for (int i = 0; i < n->n_in && !smaller; i++) {
      struct graph *less = only(g, n->in[i]);
      smaller = op_info(n->in[i]->op)->class != LEAF && fault_alone(less, march, &result);
      if (smaller) g = less;
    }
  }
  return g;
}

static void report(struct graph *g, unsigned seed, const struct setting *s, const char *fault) {
  int result;
  for (int i = g->outputs.len + g->updates.len - 1; i >= 0; i--) {
    struct graph *less = without(g, i);
    if (less->outputs.len + less->updates.len > 0 && fault_alone(less, s->march, &result)) g = less;
  }
  g = look_at_operands(g, s->march);
  const char *still = fault_alone(g, s->march, &result);
  graph_print(stderr, pass_dce(g));
  fail_msg("graph %u, %s, without %s: %s; reduced: %s", seed, s->march,
           s->disabled ? s->disabled : "nothing", fault, still ? still : "(no longer)");
}

// ---- batches ----------------------------------------------------------------------------------

// A graph that the compiler dies of is printed before all of the batch goes.
static void try_compiling(struct graph *g, unsigned seed, const char *march) {
  pid_t child = fork();
  if (child == 0) {
    signal(SIGABRT, SIG_DFL);
    struct target t;
    target_from_march(&t, march);
    codegen_model(step_model(g->b, &g, 1), &t);
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  if (WIFEXITED(status)) return;
  graph_print(stderr, g);
  fail_msg("the compiler dies of graph %u for %s", seed, march);
}

static void run_batch(unsigned first, int count, const struct setting *s) {
  struct btc *b = btc_new();
  if (s->disabled) vec_push(b->arena, &b->opt.disabled, s->disabled);
  struct graph **g = NEW_ARRAY(b->arena, struct graph *, count);
  for (int i = 0; i < count; i++) {
    g[i] = random_graph(b, first + (unsigned)i);
    graph_verify(g[i], "making");
    try_compiling(g[i], first + (unsigned)i, s->march);
  }
  struct compiled n = step_build(b, g, count, s->march);
  n.grain = RANDOM_GRAIN;
  for (int i = 0; i < count; i++) {
    int result;
    const char *fault = fault_of(&n, i, &result);
    if (fault) report(g[i], first + (unsigned)i, s, fault);
  }
  step_close(&n);
  btc_free(b);
}

// Graphs that were wrong once, and those that invite it: tests/codegen/*.graph, each by itself.
static void run_file(void **state) {
  const char *path = *state;
  for (int i = 0; i < 3; i++) {
    struct btc *b = btc_new();
    struct graph *g = graph_parse(b, source_open(b, path, (struct loc){0}));
    if (!g) fail_msg("%s", text_of_diagnostics(b));
    int result;
    try_compiling(g, 0, settings[i].march);
    const char *fault = fault_alone(g, settings[i].march, &result);
    if (fault) fail_msg("%s, %s: %s", path, settings[i].march, fault);
    btc_free(b);
  }
}

static int number_of(const char *variable, int otherwise) {
  const char *text = getenv(variable);
  return text ? atoi(text) : otherwise;
}

static void agrees_with_the_interpreter(void **state) {
  (void)state;
  int graphs = number_of("BTC_RANDOM_GRAPHS", GRAPHS), first = number_of("BTC_RANDOM_SEED", 0);
  for (int i = 0, batch = 0; i < graphs; i += BATCH, batch++) {
    int count = graphs - i < BATCH ? graphs - i : BATCH;
    run_batch((unsigned)(first + i), count, &settings[(first / BATCH + batch) % 4]);
  }
}

int main(void) {
  glob_t files;
  if (glob("tests/codegen/*.graph", 0, NULL, &files) != 0) {
    fprintf(stderr, "no tests/codegen/*.graph: run from the repository's root\n");
    return 1;
  }
  enum { MOST = 200 };
  struct CMUnitTest tests[MOST] = {cmocka_unit_test(agrees_with_the_interpreter)};
  size_t n = 1;
  for (size_t i = 0; i < files.gl_pathc && n < MOST; i++)
    tests[n++] = (struct CMUnitTest){files.gl_pathv[i], run_file, NULL, NULL, files.gl_pathv[i]};
  int failures = _cmocka_run_group_tests("random_codegen", tests, n, NULL, NULL);
  globfree(&files);
  return failures;
}
