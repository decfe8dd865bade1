// test_random_programs.c: random training steps in C against the interpreter.
//
// Graphs of random_graph.c go through all passes, and all but each, the code generator and the host compiler, a batch to
// a module and a process, and run with one thread and with two; their gradients are compared with differences.
// One that fails is reduced and printed as text.
//   BTC_RANDOM_PROGRAMS=N    N of them
//   BTC_RANDOM_SEED=S        from seed S on, and no other test of this file
//   BTC_RANDOM_REDUCE=0      stops at the first batch that fails
#include "random_check.h"

#include <glob.h>
#include <omp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "graph_helper.h"
#include "random_graph.h"

enum { PROGRAMS = 150, ENOUGH = 100 /* of which every op should occur in one */, PROCESSES = 16 };

static const char *const marches[] = {"x86-64-v4", "x86-64-v3", "x86-64"}; // by batch
enum { MARCHES = sizeof marches / sizeof *marches };

static int number_of(const char *variable, int otherwise) {
  const char *text = getenv(variable);
  return text ? atoi(text) : otherwise;
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- batches ----------------------------------------------------------------------------------

struct run {
  unsigned first;
  int programs, batches;
  struct random_outcome *outcome; // by batch, shared with the processes
};

// A batch has the processor of its seeds, so that a program is checked as it was when it is checked alone.
static const char *march_of(unsigned seed) { return marches[seed / CHECK_BATCH % MARCHES]; }
static unsigned first_of(const struct run *r, int batch) {
  return batch == 0 ? r->first : (r->first / CHECK_BATCH + (unsigned)batch) * CHECK_BATCH;
}
static int count_of(const struct run *r, int batch) {
  unsigned end = first_of(r, batch + 1), all = r->first + (unsigned)r->programs;
  return (int)((end < all ? end : all) - first_of(r, batch));
}

static struct graph *make(struct btc *b, void *user, int i) { return random_graph(b, *(unsigned *)user + (unsigned)i); }

static struct random_job job_of(unsigned *first, int count) {
  return (struct random_job){make, first, count, 0, random_settings(), true, march_of(*first)};
}

// One process a core; what a dead one leaves is no complete outcome.
static bool run_batches(struct run *r) {
  int cores = omp_get_num_procs(), running = 0, failed = 0;
  bool stop = number_of("BTC_RANDOM_REDUCE", 1) == 0;
  if (cores > PROCESSES) cores = PROCESSES;
  for (int i = 0; i < r->batches || running;) {
    int status = 0;
    while (i < r->batches && running < cores && !(stop && failed)) {
      unsigned first = first_of(r, i);
      struct random_job job = job_of(&first, count_of(r, i));
      random_start(&job, &r->outcome[i++]);
      running++;
    }
    if (running == 0) break;
    if (wait(&status) > 0) running--;
    failed += status != 0;
  }
  return failed == 0;
}

// ---- what went wrong --------------------------------------------------------------------------

static void print_reduced(unsigned seed, const struct random_fault *fault) {
  struct btc *b = btc_new();
  struct graph *g = random_reduced(random_graph(b, seed), fault, march_of(seed));
  fprintf(stderr, "reduced:\n");
  graph_print(stderr, g);
  btc_free(b);
}

static void print_fault(unsigned seed, const struct random_fault *fault, bool reduce) {
  struct btc *b = btc_new();
  fprintf(stderr, "program %u, %s, %s: %s\n", seed, march_of(seed), random_setting_name(b->arena, fault->setting), fault->text);
  fprintf(stderr, "  again: BTC_RANDOM_SEED=%u BTC_RANDOM_PROGRAMS=1 build/tests/test_random_programs\n", seed);
  btc_free(b);
  if (reduce) print_reduced(seed, fault);
}

// Which program and which setting a process died of: each by itself.
static void print_death(unsigned seed, bool *reduce) {
  struct random_job job = job_of(&seed, 1);
  job.gradients = false;
  for (int s = 0; s < random_settings(); s++) {
    job.first = s, job.end = s + 1;
    if (random_passes(&job)) continue;
    print_fault(seed, &(struct random_fault){.setting = s, .text = "the compiler dies, or memory is hurt"}, *reduce);
    *reduce = false;
    return;
  }
}

// The first is reduced.
static void print_faults(const struct run *r) {
  bool reduce = number_of("BTC_RANDOM_REDUCE", 1) != 0;
  for (int i = 0; i < r->batches; i++) {
    const struct random_outcome *o = &r->outcome[i];
    for (int k = 0; k < o->n_faults; k++) {
      print_fault(first_of(r, i) + (unsigned)o->fault[k].program, &o->fault[k], reduce);
      reduce = false;
    }
    for (int k = 0; reduce && o->started && !o->complete && k < count_of(r, i); k++) print_death(first_of(r, i) + (unsigned)k, &reduce);
  }
}

// ---- what was covered -------------------------------------------------------------------------

// The layout pass makes relayouts, and no graph can say what C code of a user's computes.
static bool is_made_later(enum op op) { return op == OP_relayout || op == OP_extern; }

static int ops_missing(const struct run *r, char *list, size_t size) {
  int programs[OP_COUNT] = {0}, missing = 0;
  for (int i = 0; i < r->programs; i++) {
    struct btc *b = btc_new();
    struct graph *g = random_graph(b, r->first + (unsigned)i);
    for (int k = 0; k < g->nodes.len; k++) programs[g->nodes.data[k]->op]++;
    btc_free(b);
  }
  for (int op = 0; op < OP_COUNT; op++) {
    if (programs[op] || is_made_later(op)) continue;
    missing++;
    size_t used = strlen(list);
    snprintf(list + used, size - used, " %s", op_info(op)->name);
  }
  return missing;
}

static void print_summary(const struct run *r, double took) {
  struct random_outcome all = {0};
  unsigned worst = 0;
  int died = 0;
  for (int i = 0; i < r->batches; i++) {
    const struct random_outcome *o = &r->outcome[i];
    died += o->started && !o->complete;
    all.compiled += o->compiled, all.results += o->results, all.gradients += o->gradients, all.n_faults += o->n_faults;
    if (o->worst > all.worst) all.worst = o->worst, worst = first_of(r, i) + (unsigned)o->worst_program;
  }
  printf("# random programs: %d, seeds %u to %u; %d settings of the passes, %d compiled programs, %d results and %d\n"
         "# gradients compared; %d programs failed, %d batches died; nearest to its tolerance %.2f (seed %u); %.0f s\n",
         r->programs, r->first, r->first + (unsigned)r->programs - 1, random_settings(), all.compiled, all.results,
         all.gradients, all.n_faults, died, all.worst, worst, took);
  fflush(stdout);
}

static void agrees_with_the_interpreter(void **state) {
  (void)state;
  struct run r = {.first = (unsigned)number_of("BTC_RANDOM_SEED", 0), .programs = number_of("BTC_RANDOM_PROGRAMS", PROGRAMS)};
  while (r.programs > 0 && first_of(&r, r.batches) < r.first + (unsigned)r.programs) r.batches++;
  assert_true(r.batches > 0);
  r.outcome = random_outcomes_new(r.batches);
  double start = seconds();
  bool good = run_batches(&r);
  print_summary(&r, seconds() - start);
  if (!good) print_faults(&r);
  random_outcomes_free(r.outcome, r.batches);
  assert_true(good);
}

static void every_op_occurs(void **state) {
  (void)state;
  struct run r = {.programs = ENOUGH};
  char list[1000] = "";
  if (ops_missing(&r, list, sizeof list)) fail_msg("in %d programs there is none of%s", ENOUGH, list);
}

// ---- files ------------------------------------------------------------------------------------

static struct graph *read_file(struct btc *b, void *user, int i) {
  (void)i;
  struct graph *g = graph_parse(b, source_open(b, user, (struct loc){0}));
  expect(g, "%s", text_of_diagnostics(b));
  return g;
}

// Graphs that were wrong once, and those that invite it: tests/codegen/*.graph, each by itself.
static void run_file(void **state) {
  for (int i = 0; i < MARCHES; i++) {
    struct random_job job = {read_file, *state, 1, 0, random_settings(), false, marches[i]};
    struct random_outcome *o = random_outcomes_new(1);
    int status;
    waitpid(random_start(&job, o), &status, 0);
    struct btc *b = btc_new();
    if (status != 0)
      fail_msg("%s, %s: %s: %s", (const char *)*state, marches[i], random_setting_name(b->arena, o->fault[0].setting),
               o->complete ? o->fault[0].text : "dies");
    btc_free(b);
    random_outcomes_free(o, 1);
  }
}

int main(void) {
  glob_t files;
  if (glob("tests/codegen/*.graph", 0, NULL, &files) != 0) {
    fprintf(stderr, "no tests/codegen/*.graph: run from the repository's root\n");
    return 1;
  }
  enum { MOST = 200 };
  struct CMUnitTest tests[MOST] = {cmocka_unit_test(agrees_with_the_interpreter), cmocka_unit_test(every_op_occurs)};
  size_t n = 2;
  if (getenv("BTC_RANDOM_SEED")) n = 1, files.gl_pathc = 0;
  for (size_t i = 0; i < files.gl_pathc && n < MOST; i++)
    tests[n++] = (struct CMUnitTest){files.gl_pathv[i], run_file, NULL, NULL, files.gl_pathv[i]};
  int failures = _cmocka_run_group_tests("random_programs", tests, n, NULL, NULL);
  globfree(&files);
  return failures;
}
