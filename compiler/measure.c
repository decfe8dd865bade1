// measure.c: candidates side by side. See measure.h.
//
// The candidates are the programs of a model of their own, made into one shared object; where that does not
// compile, of those that do by themselves. One frame serves them all: what any of them reads (a derived graph may
// read less than another), arena and scratch of the size that the greediest needs, so that measuring many takes no
// more memory than the largest.
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../runtime/btrt_internal.h"
#include "../runtime/random.h"
#include "measure.h"

// A run shorter than this is repeated within its round: a clock's reading and a first run with cold caches
// cost microseconds.
static const double least_batch = 2e-3;

struct contender {
  const struct candidate *candidate;
  const struct bt_program *program; // NULL: it does not compile
  struct bt_frame frame; // pointers into measurement.frame
  int repeats;           // of a round; 0: not warmed up yet
  VEC(double) samples;   // seconds of a run, one a round
  double error;
  const char *worst;
  bool wrong;
};

// What an input holds, whether a candidate reads it or only the reference does.
struct drawn { const char *name; const struct tensor64 *value; };

struct measurement {
  struct btc *b;
  struct arena *arena;
  struct measure_setup setup;
  struct compiled native;
  struct bt_program all; // what `frame` was made for
  struct compiled_frame frame;
  VEC(struct contender) contenders;
  VEC(struct drawn) drawn;
  double opened, said;       // when; when progress was last shown
};

// ---- progress ---------------------------------------------------------------------------------

static const double quiet_seconds = 2;

// Nothing is said of what is quick. On a terminal a line overwrites the last one.
static void say(struct measurement *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct measurement *m, const char *format, ...) {
  double now = omp_get_wtime();
  if (!m->setup.what || now - m->opened < quiet_seconds || now - m->said < quiet_seconds) return;
  bool terminal = isatty(STDERR_FILENO);
  va_list ap;
  fprintf(stderr, "%s%s: ", terminal ? "\r\033[K" : "", m->setup.what);
  va_start(ap, format);
  vfprintf(stderr, format, ap);
  va_end(ap);
  if (!terminal) fputc('\n', stderr);
  m->said = now;
}

static void say_no_more(const struct measurement *m) {
  if (m->said > 0 && isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
}

// ---- compiling --------------------------------------------------------------------------------

static void add_program(struct model *model, const struct candidate *c) {
  struct program p = {.name = str_printf(model->b->arena, "candidate%d", model->programs.len), .graph = c->graph, .batch = 1};
  vec_push(model->b->arena, &model->programs, p);
}

static struct model *model_new(struct btc *b) {
  struct model *model = NEW(b->arena, struct model);
  model->b = b;
  model->scheduled = true;
  return model;
}

static bool compiles(struct btc *b, const struct candidate *c, const struct measure_setup *setup) {
  struct diag_mark mark = diag_mark(b);
  struct host silent = *setup->host;
  struct compiled alone;
  struct model *model = model_new(b);
  silent.silent = true;
  add_program(model, c);
  bool good = compiled_open(model, &silent, setup->keep_c, &alone);
  if (good) compiled_unload(&alone);
  diag_rewind(b, mark);
  return good;
}

// Says which of the candidates compile by themselves. False where that mends nothing.
static bool find_compiling(struct btc *b, const struct candidate *candidates, int n, const struct measure_setup *setup, bool *good) {
  int n_good = 0;
  for (int i = 0; n > 1 && i < n; i++) n_good += good[i] = compiles(b, &candidates[i], setup);
  return n_good > 0 && n_good < n;
}

// Those with good[i] as one object, in their order.
static bool open_together(struct measurement *m, const struct candidate *candidates, int n, const bool *good) {
  struct model *model = model_new(m->b);
  for (int i = 0; i < n; i++)
    if (good[i]) add_program(model, &candidates[i]);
  return compiled_open(model, m->setup.host, m->setup.keep_c, &m->native);
}

// All, or those that compile, into `good`. False after a diagnostic. Diagnostics of what does not compile are
// printed, but count no longer: the candidate's result says it.
static bool open_native(struct measurement *m, const struct candidate *candidates, int n, bool *good) {
  struct diag_mark mark = diag_mark(m->b);
  for (int i = 0; i < n; i++) good[i] = true;
  if (open_together(m, candidates, n, good)) return true;
  diag_flush(m->b, stderr);
  diag_rewind(m->b, mark);
  return find_compiling(m->b, candidates, n, &m->setup, good) && open_together(m, candidates, n, good);
}

static int input_named(const struct bt_program *p, const char *name) {
  for (int i = 0; i < p->n_inputs; i++)
    if (str_eq(p->inputs[i].name, name)) return i;
  return -1;
}

static int output_named(const struct bt_program *p, const char *name) {
  for (int i = 0; i < p->n_outputs; i++)
    if (str_eq(p->outputs[i].name, name)) return i;
  die("a candidate has an output '%s', which the first does not have", name);
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static struct bt_program all_of(const struct measurement *m) {
  const struct bt_module *module = m->native.module;
  struct bt_program all = module->programs[0];
  VEC(struct bt_input) inputs = {0};
  all.n_inputs = 0;
  for (int i = 0; i < module->n_programs; i++) {
    const struct bt_program *p = &module->programs[i];
    for (int k = 0; k < p->n_inputs; k++) {
      if (input_named(&all, p->inputs[k].name) < 0) vec_push(m->arena, &inputs, p->inputs[k]);
      all.inputs = inputs.data;
      all.n_inputs = inputs.len;
    }
    all.arena_bytes = larger(all.arena_bytes, p->arena_bytes);
    all.thread_bytes = larger(all.thread_bytes, p->thread_bytes);
  }
  return all;
}

static void make_frame(struct measurement *m, struct contender *c) {
  const struct bt_program *p = c->program, *all = &m->all;
  void **inputs = NEW_ARRAY(m->arena, void *, p->n_inputs), **outputs = NEW_ARRAY(m->arena, void *, p->n_outputs);
  for (int i = 0; i < p->n_inputs; i++) inputs[i] = m->frame.inputs[input_named(all, p->inputs[i].name)];
  for (int i = 0; i < p->n_outputs; i++) outputs[i] = m->frame.outputs[output_named(all, p->outputs[i].name)];
  expect(p->n_outputs == all->n_outputs, "candidate %s has %d outputs, the first %d", c->candidate->name, p->n_outputs, all->n_outputs);
  c->frame = m->frame.frame;
  c->frame.inputs = inputs;
  c->frame.outputs = outputs;
}

// ---- inputs -----------------------------------------------------------------------------------

// Floats are normal, rounded to what their type holds; integers, labels among them, 0 or 1.
static struct tensor64 *draw(struct arena *a, const char *name, const struct tensor_type *type, uint64_t seed) {
  struct bt_random random = bt_random_new(seed, BT_RANDOM_DATA, (uint32_t)str_hash(name), 0, 0);
  struct tensor64 *t = tensor64_new(a, type);
  int64_t n = shape_count(&type->shape);
  for (int64_t i = 0; i < n; i++)
    t->data[i] = dtype_is_float(type->dtype) ? (double)(float)bt_random_normal(&random) : (double)bt_random_below(&random, 2);
  return t;
}

static const struct tensor64 *drawn(struct measurement *m, const char *name, const struct tensor_type *type) {
  for (int i = 0; i < m->drawn.len; i++)
    if (str_eq(m->drawn.data[i].name, name)) return m->drawn.data[i].value;
  const struct tensor64 *value = draw(m->arena, name, type, m->setup.seed);
  vec_push(m->arena, &m->drawn, ((struct drawn){name, value}));
  return value;
}

static void fill_inputs(struct measurement *m) {
  const struct bt_program *p = &m->all;
  for (int i = 0; i < p->n_inputs; i++) {
    const struct bt_input *input = &p->inputs[i];
    struct tensor_type type = {.dtype = input->dtype, .shape.rank = input->rank};
    memcpy(type.shape.dim, input->shape, sizeof type.shape.dim);
    compiled_put(m->frame.inputs[i], input->dtype, drawn(m, input->name, &type)->data, shape_count(&type.shape));
  }
}

struct measurement *measure_open(struct btc *b, const struct candidate *candidates, int n, const struct measure_setup *setup) {
  struct arena *arena = arena_new();
  struct measurement *m = NEW(arena, struct measurement);
  *m = (struct measurement){.b = b, .arena = arena, .setup = *setup, .opened = omp_get_wtime()};
  bool *good = NEW_ARRAY(arena, bool, n);
  if (!open_native(m, candidates, n, good)) {
    arena_free(arena);
    return NULL;
  }
  m->all = all_of(m);
  compiled_frame_with(&m->frame, &m->native, &m->all, setup->threads);
  for (int i = 0, program = 0; i < n; i++) {
    struct contender c = {.candidate = &candidates[i], .program = good[i] ? &m->native.module->programs[program++] : NULL};
    if (c.program) make_frame(m, &c);
    vec_push(arena, &m->contenders, c);
  }
  fill_inputs(m);
  return m;
}

void measure_close(struct measurement *m) {
  if (!m) return;
  say_no_more(m);
  compiled_frame_free(&m->frame);
  compiled_unload(&m->native);
  arena_free(m->arena);
}

// ---- checking ---------------------------------------------------------------------------------

static const struct tensor64 *input_value(void *user, const struct node *n) { return drawn(user, n->attr.s, &n->type); }

// What C of the user's computes only C of the user's can.
static bool can_be_interpreted(const struct graph *g) {
  for (int i = 0; i < g->nodes.len; i++)
    if (g->nodes.data[i]->op == OP_extern) return false;
  return true;
}

static int reference_candidate(const struct candidate *candidates, int n, double bytes) {
  int least = 0;
  double need = interp_outputs_bytes(candidates[0].graph);
  for (int i = 1; need > bytes && i < n; i++) {
    if (!can_be_interpreted(candidates[i].graph)) continue;
    double other = interp_outputs_bytes(candidates[i].graph);
    if (other < need) need = other, least = i;
  }
  return least;
}

// Largest difference relative to the largest entry. What should be a number and is none is wrong by all.
static double error_of(const double *is, const struct tensor64 *want) {
  double largest = 0, difference = 0;
  for (int64_t i = 0, n = shape_count(&want->type.shape); i < n; i++) {
    double x = is[i], y = want->data[i];
    if (x == y || (isnan(x) && isnan(y))) continue;
    if (!isfinite(x - y)) return INFINITY;
    difference = fmax(difference, fabs(x - y));
  }
  for (int64_t i = 0, n = shape_count(&want->type.shape); i < n; i++)
    if (isfinite(want->data[i])) largest = fmax(largest, fabs(want->data[i]));
  return difference == 0 ? 0 : difference / largest;
}

static void poison_outputs(struct measurement *m) {
  const struct bt_program *p = &m->all;
  for (int i = 0; i < p->n_outputs; i++)
    memset(m->frame.outputs[i], 0xff, (size_t)bt_count(p->outputs[i].rank, p->outputs[i].shape) * bt_dtype_size(p->outputs[i].dtype));
}

static int graph_output_named(const struct graph *g, const char *name) {
  for (int i = 0; i < g->outputs.len; i++)
    if (str_eq(g->outputs.data[i].name, name)) return i;
  die("the candidate of reference has no output '%s'", name);
}

// The largest; of errors that are wrong, if one is.
static void add_error(struct contender *c, double error, bool wrong, const char *where) {
  if (c->worst && (wrong < c->wrong || (wrong == c->wrong && error <= c->error))) return;
  c->error = error;
  c->wrong = wrong;
  c->worst = where;
}

// How far rounding alone may take an output: as measured, but a product's sum rounds at every step, which the
// interpreter does once, and one number's three draws may all be small.
enum { NOISE_DRAWS = 3 };
static const double noise_allowed = 32;

static const double *measure_noise(struct measurement *m, struct reference *r) {
  if (r->noise) return r->noise;
  r->noise = NEW_ARRAY(r->arena, double, r->graph->outputs.len);
  say(m, "evaluating it with rounding");
  for (uint64_t draw = 1; draw <= NOISE_DRAWS; draw++) {
    struct arena *scratch = arena_new();
    struct tensor64 **noisy = interp_outputs(r->graph, scratch, draw, input_value, m);
    for (int i = 0; i < r->graph->outputs.len; i++) r->noise[i] = fmax(r->noise[i], error_of(noisy[i]->data, r->outputs[i]));
    arena_free(scratch);
  }
  return r->noise;
}

static void compare(struct measurement *m, struct contender *c, struct reference *want) {
  for (int i = 0; i < c->program->n_outputs; i++) {
    const struct bt_output *o = &c->program->outputs[i];
    int at = graph_output_named(want->graph, o->name);
    const struct tensor64 *t = want->outputs[at];
    struct arena *scratch = arena_new();
    int64_t count = shape_count(&t->type.shape);
    double *is = NEW_ARRAY(scratch, double, count);
    compiled_get(is, c->frame.outputs[i], o->dtype, count);
    double error = error_of(is, t);
    arena_free(scratch);
    add_error(c, error, error > MEASURE_TOLERANCE && error > noise_allowed * measure_noise(m, want)[at], o->name);
  }
}

// A user's kernel may write where it should not; that is an error like another.
static void check_memory(struct measurement *m, struct contender *c) {
  const char *hurt = compiled_frame_mend(&m->frame);
  if (hurt) add_error(c, INFINITY, true, str_printf(m->arena, "memory outside of %s", hurt));
}

struct reference *measure_reference(struct measurement *m, const struct candidate *candidates, int n, double bytes) {
  struct arena *arena = arena_new();
  struct reference *r = NEW(arena, struct reference);
  int candidate = reference_candidate(candidates, n, bytes);
  *r = (struct reference){.arena = arena, .candidate = candidate, .graph = candidates[candidate].graph};
  say(m, "evaluating %s in float64", candidates[candidate].name);
  r->outputs = interp_outputs(r->graph, arena, 0, input_value, m);
  return r;
}

void reference_free(struct reference *r) {
  if (r) arena_free(r->arena);
}

void measure_check(struct measurement *m, struct reference *want) {
  for (int i = 0; i < m->contenders.len; i++) {
    struct contender *c = &m->contenders.data[i];
    if (!c->program) continue;
    say(m, "checking %s", c->candidate->name);
    poison_outputs(m);
    c->program->step(&c->frame);
    compare(m, c, want);
    check_memory(m, c);
  }
}

// ---- timing -----------------------------------------------------------------------------------

static double time_of(struct contender *c, int repeats) {
  double start = omp_get_wtime();
  for (int i = 0; i < repeats; i++) c->program->step(&c->frame);
  return (omp_get_wtime() - start) / repeats;
}

// The first run may have page faults, the second says how often to repeat.
static void warm_up(struct contender *c) {
  time_of(c, 1);
  double once = time_of(c, 1);
  c->repeats = once < least_batch ? (int)(least_batch / fmax(once, 1e-7)) + 1 : 1;
}

// The order turns from round to round: nobody always follows the same one.
static void run_round(struct measurement *m, const bool *active, int round) {
  for (int k = 0; k < m->contenders.len; k++) {
    int i = (k + round) % m->contenders.len;
    struct contender *c = &m->contenders.data[i];
    if (!c->program || (active && !active[i])) continue;
    vec_push(m->arena, &c->samples, time_of(c, c->repeats));
    say(m, "round %d", round + 1);
  }
}

void measure_run(struct measurement *m, const bool *active, struct budget budget) {
  for (int i = 0; i < m->contenders.len; i++) {
    struct contender *c = &m->contenders.data[i];
    if (c->program && (!active || active[i]) && !c->repeats) warm_up(c);
  }
  double start = omp_get_wtime();
  for (int round = 0; round < budget.least || omp_get_wtime() - start < budget.seconds; round++) {
    if (budget.most && round == budget.most) break;
    run_round(m, active, round);
  }
}

// ---- results ----------------------------------------------------------------------------------

static int compare_samples(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double quantile(const double *sorted, int n, double q) {
  double at = q * (n - 1);
  int below = (int)at;
  return below + 1 < n ? sorted[below] + (at - below) * (sorted[below + 1] - sorted[below]) : sorted[n - 1];
}

struct quartiles quartiles_of(double *samples, int n) {
  qsort(samples, (size_t)n, sizeof *samples, compare_samples);
  return (struct quartiles){samples[0], quantile(samples, n, 0.25), quantile(samples, n, 0.5), quantile(samples, n, 0.75)};
}

struct measured measure_result(const struct measurement *m, int i) {
  const struct contender *c = &m->contenders.data[i];
  if (!c->program) return (struct measured){.failed = true};
  struct measured r = {.rounds = c->samples.len, .flops = c->program->flops, .temporaries = c->program->arena_bytes,
                       .error = c->error, .worst = c->worst, .wrong = c->wrong};
  if (c->samples.len) r.seconds = quartiles_of(c->samples.data, c->samples.len);
  for (int k = 0; k < c->program->n_kernels; k++) r.bytes += c->program->kernels[k].bytes * c->program->kernels[k].calls;
  return r;
}
