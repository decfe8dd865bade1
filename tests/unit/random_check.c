// random_check.c: see random_check.h.
//
// How far a result may be off is learnt from the graph itself: the interpreter evaluates it again, rounding every
// f32 value up or down at random, a few times; the largest change, by the factor NOISE, is allowed, and ULPS of the
// largest entry. A product adds up more roundings than the one that the interpreter makes of it, and few draws
// may all be lucky, hence a factor; a mistake that matters is larger by orders of magnitude.
//
// All graphs and settings of a batch are programs of one module, so kernels that passes do not change are compiled
// once.
#include "random_check.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codegen_helper.h"
#include "passes.h"
#include "random_gradient.h"
#include "random_graph.h"

enum { NOISE = 32, DRAWS = 3, ULPS = 16, SEEDS = 4 /* of leaves, where the first shows a fault */ };
static const double floor_of_noise = 1e-8; // of zeros that are computed

// ---- settings ---------------------------------------------------------------------------------

static const struct pass *omitted(int setting) { // NULL: none
  for (int i = 0; i < pass_count && setting > 0; i++)
    if (!pass_table[i].required && --setting == 0) return &pass_table[i];
  return NULL;
}

int random_settings(void) {
  int n = 1;
  while (omitted(n)) n++;
  return n;
}

const char *random_setting_name(struct arena *a, int setting) {
  const struct pass *p = omitted(setting);
  return setting < 0 ? "gradients" : p ? str_printf(a, "without %s", p->name) : "all passes";
}

static void apply_setting(struct btc *b, int setting) {
  b->opt.disabled.len = 0;
  if (omitted(setting)) vec_push(b->arena, &b->opt.disabled, omitted(setting)->name);
}

// ---- one module -------------------------------------------------------------------------------

struct batch {
  struct btc *b;
  const struct random_job *job;
  struct random_outcome *outcome;
  int n_settings;
  struct graph **graphs; // setting by setting, all of the job's
  struct graph **ready;  // what the passes make of them
  struct compiled module;
};

static struct graph *lowered(struct btc *b, struct graph *g, const char *march) {
  struct target t;
  target_from_march(&t, march);
  graph_verify(g, "making");
  struct model *m = step_model(b, &g, 1);
  struct graph *ready = codegen_step(m, &m->programs.data[0], &t);
  if (!ready) diag_flush(b, stderr);
  expect(ready, "a random graph was refused");
  return ready;
}

static void build(struct batch *k) {
  const struct random_job *job = k->job;
  k->ready = NEW_ARRAY(k->b->arena, struct graph *, k->n_settings * job->count);
  for (int s = 0, at = 0; s < k->n_settings; s++) {
    apply_setting(k->b, job->first + s);
    for (int i = 0; i < job->count; i++, at++) {
      k->graphs[at] = job->make(k->b, job->user, i);
      k->ready[at] = lowered(k->b, k->graphs[at], job->march);
    }
  }
  k->module = step_build_ready(k->b, k->graphs, k->ready, k->n_settings * job->count, job->march);
  k->module.grain = RANDOM_GRAIN;
}

// ---- one program ------------------------------------------------------------------------------

struct reference {
  struct step_result want;
  double *tolerance; // by result; infinite where f32 cannot hold a value
};

static double change(const struct tensor64 *a, const struct tensor64 *b) {
  double most = 0;
  for (int64_t i = 0, n = shape_count(&a->type.shape); i < n; i++) {
    bool same = a->data[i] == b->data[i] || (isnan(a->data[i]) && isnan(b->data[i]));
    double by = same ? 0 : fabs(a->data[i] - b->data[i]);
    most = isfinite(by) ? fmax(most, by) : INFINITY;
  }
  return most;
}

static double largest(const struct tensor64 *t) {
  double most = 0;
  for (int64_t i = 0, n = shape_count(&t->type.shape); i < n; i++)
    if (isfinite(t->data[i])) most = fmax(most, fabs(t->data[i]));
  return most;
}

static struct reference reference_of(const struct graph *g, unsigned seed) {
  struct reference r = {.want = step_interpreted(g, RANDOM_GRAIN, seed, 0)};
  int n = r.want.values.len;
  r.tolerance = NEW_ARRAY(g->b->arena, double, n);
  for (uint64_t draw = 1; draw <= DRAWS; draw++) {
    struct step_result rounded = step_interpreted(g, RANDOM_GRAIN, seed, draw);
    for (int i = 0; i < n; i++) r.tolerance[i] = fmax(r.tolerance[i], change(r.want.values.data[i], rounded.values.data[i]));
  }
  for (int i = 0; i < n; i++) {
    const struct tensor64 *t = r.want.values.data[i];
    bool rounds = dtype_is_float(t->type.dtype);
    r.tolerance[i] = NOISE * r.tolerance[i] + (rounds ? ULPS * 0x1p-24 * largest(t) + floor_of_noise : 0);
  }
  return r;
}

// The first element that is not what it should be, or -1. *worst: the largest difference in units of the tolerance.
static int64_t differs(const struct tensor64 *is, const struct tensor64 *want, double tolerance, double *worst) {
  for (int64_t i = 0; i < shape_count(&want->type.shape); i++) {
    double x = is->data[i], y = want->data[i];
    if (x == y || (isnan(x) && isnan(y)) || !isfinite(tolerance)) continue;
    if (!(fabs(x - y) <= tolerance)) return i;
    *worst = fmax(*worst, fabs(x - y) / tolerance);
  }
  return -1;
}

// BLAS adds in another order for another number of threads.
static bool calls_blas(const struct graph *g) {
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    if (n->op == OP_matmul && (n->type.dtype == BT_F64 || (n->how && n->how->blas))) return true;
  }
  return false;
}

static const char *result_name(const struct graph *g, int i) {
  return i < g->outputs.len ? g->outputs.data[i].name : g->updates.data[i - g->outputs.len].name;
}

// What is wrong with program p of the module on the leaves of a seed; NULL: nothing.
static const char *fault_on(struct batch *k, int p, unsigned seed, const struct reference *r, int *result, double *worst) {
  const struct graph *g = k->graphs[p];
  struct step_result one = step_run(&k->module, p, seed, 1), two = step_run(&k->module, p, seed, 2);
  bool blas = calls_blas(k->ready[p]);
  for (int i = 0; i < r->want.values.len; i++) {
    const struct tensor64 *want = r->want.values.data[i], *is = one.values.data[i];
    *result = i;
    int64_t at = differs(is, want, r->tolerance[i], worst);
    if (at >= 0)
      return str_printf(k->b->arena, "%s[%lld] is %.9g instead of %.9g (%.3g allowed)", result_name(g, i), (long long)at,
                        is->data[at], want->data[at], r->tolerance[i]);
    size_t bytes = sizeof(double) * (size_t)shape_count(&want->type.shape);
    if (!blas && memcmp(is->data, two.values.data[i]->data, bytes) != 0)
      return str_printf(k->b->arena, "%s depends on the number of threads", result_name(g, i));
  }
  return NULL;
}

static bool add_fault(struct random_outcome *o, int program, int setting, int result, const char *text) {
  struct random_fault *f = &o->fault[o->n_faults++];
  *f = (struct random_fault){.program = program, .setting = setting, .result = result};
  snprintf(f->text, sizeof f->text, "%s", text);
  return true;
}

// A value may by accident lie where another jumps: what is wrong is wrong on other leaves too.
static bool check_program(struct batch *k, int setting, int program, const struct reference *r) {
  int result, other, p = setting * k->job->count + program, again = 0;
  double worst = 0, ignored;
  const char *fault = fault_on(k, p, 1, r, &result, &worst);
  for (unsigned seed = 2; fault && seed <= SEEDS; seed++) {
    struct reference at = reference_of(k->graphs[p], seed);
    again += fault_on(k, p, seed, &at, &other, &ignored) != NULL;
  }
  struct random_outcome *o = k->outcome;
  o->compiled++;
  o->results += r->want.values.len;
  if (worst > o->worst) o->worst = worst, o->worst_program = program;
  return again >= 2 && add_fault(o, program, k->job->first + setting, result, fault);
}

static bool check_gradients(struct batch *k, int program) {
  const struct graph *g = k->graphs[program];
  const char *fault = random_gradient_fault(g, 1);
  int again = 0;
  for (unsigned seed = 2; fault && seed <= SEEDS; seed++) again += random_gradient_fault(g, seed) != NULL;
  k->outcome->gradients++;
  return again >= 2 && add_fault(k->outcome, program, -1, 0, fault);
}

static bool is_faulty(const struct random_outcome *o, int program) {
  for (int i = 0; i < o->n_faults; i++)
    if (o->fault[i].program == program) return true;
  return false;
}

// ---- a job ------------------------------------------------------------------------------------

static void check_programs(struct batch *k) {
  build(k);
  for (int i = 0; i < k->job->count; i++) {
    if (is_faulty(k->outcome, i)) continue;
    struct reference r = reference_of(k->graphs[i], 1);
    for (int s = 0; s < k->n_settings && !check_program(k, s, i, &r); s++) {}
  }
  step_close(&k->module);
}

void random_check(const struct random_job *job, struct random_outcome *outcome) {
  struct batch k = {.b = btc_new(), .job = job, .outcome = outcome, .n_settings = job->end - job->first};
  k.graphs = NEW_ARRAY(k.b->arena, struct graph *, (k.n_settings + 1) * job->count);
  for (int i = 0; job->gradients && i < job->count; i++) {
    k.graphs[i] = job->make(k.b, job->user, i);
    check_gradients(&k, i);
  }
  if (k.n_settings) check_programs(&k);
  outcome->complete = true;
  btc_free(k.b);
}

// ---- processes --------------------------------------------------------------------------------

struct random_outcome *random_outcomes_new(int n) {
  void *o = mmap(NULL, sizeof(struct random_outcome) * (size_t)n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  expect(o != MAP_FAILED, "no memory for the outcome of %d checks", n);
  return o;
}
void random_outcomes_free(struct random_outcome *o, int n) { munmap(o, sizeof *o * (size_t)n); }

// What fails in the child ends the child: no test goes on in it.
static int start(const struct random_job *job, struct random_outcome *outcome, bool silent) {
  outcome->started = true;
  fflush(stdout);
  pid_t child = fork();
  expect(child >= 0, "no process for a check");
  if (child > 0) return child;
  setenv("CMOCKA_TEST_ABORT", "1", 1);
  signal(SIGABRT, SIG_DFL);
  if (silent && (!freopen("/dev/null", "w", stderr) || !freopen("/dev/null", "w", stdout))) _exit(2);
  random_check(job, outcome);
  _exit(outcome->n_faults > 0);
}

int random_start(const struct random_job *job, struct random_outcome *shared) { return start(job, shared, false); }

bool random_passes(const struct random_job *job) {
  struct random_outcome own = {0};
  int status;
  waitpid(start(job, &own, true), &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
