// measure.c: candidates side by side. See measure.h.
//
// The candidates are the programs of a model of their own, made into one shared object. One frame
// serves them all: inputs and outputs of the first (a derived graph may read fewer), arena and scratch
// of the size that the greediest needs, so that measuring many takes no more memory than the largest.
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
  const struct bt_program *program;
  struct bt_frame frame; // pointers into measurement.frame
  int repeats;           // of a round; 0: not warmed up yet
  VEC(double) samples;   // seconds of a run, one a round
  double error;
  const char *worst;
};

struct measurement {
  struct btc *b;
  struct arena *arena;
  struct measure_setup setup;
  struct compiled native;
  struct bt_program largest; // what `frame` was made for
  struct compiled_frame frame;
  VEC(struct contender) contenders;
  struct tensor64 **inputs;  // by input of `largest`
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

static struct model *model_of(struct btc *b, const struct candidate *candidates, int n) {
  struct model *model = NEW(b->arena, struct model);
  model->b = b;
  model->scheduled = true;
  for (int i = 0; i < n; i++) {
    struct program p = {.name = str_printf(b->arena, "candidate%d", i), .graph = candidates[i].graph, .batch = 1};
    vec_push(b->arena, &model->programs, p);
  }
  return model;
}

static int input_named(const struct bt_program *p, const char *name) {
  for (int i = 0; i < p->n_inputs; i++)
    if (str_eq(p->inputs[i].name, name)) return i;
  die("a candidate reads '%s', which the first does not have", name);
}

static int output_named(const struct bt_program *p, const char *name) {
  for (int i = 0; i < p->n_outputs; i++)
    if (str_eq(p->outputs[i].name, name)) return i;
  die("a candidate has an output '%s', which the first does not have", name);
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static struct bt_program largest_of(const struct measurement *m) {
  struct bt_program all = *m->contenders.data[0].program;
  for (int i = 1; i < m->contenders.len; i++) {
    const struct bt_program *p = m->contenders.data[i].program;
    all.arena_bytes = larger(all.arena_bytes, p->arena_bytes);
    all.thread_bytes = larger(all.thread_bytes, p->thread_bytes);
  }
  return all;
}

static void make_frame(struct measurement *m, struct contender *c) {
  const struct bt_program *p = c->program, *all = &m->largest;
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
static struct tensor64 *draw(struct arena *a, const struct bt_input *input, uint64_t seed) {
  struct tensor_type type = {.dtype = input->dtype, .shape.rank = input->rank};
  memcpy(type.shape.dim, input->shape, sizeof type.shape.dim);
  struct bt_random random = bt_random_new(seed, BT_RANDOM_DATA, (uint32_t)str_hash(input->name), 0, 0);
  struct tensor64 *t = tensor64_new(a, &type);
  int64_t n = shape_count(&type.shape);
  for (int64_t i = 0; i < n; i++)
    t->data[i] = dtype_is_float(type.dtype) ? (double)(float)bt_random_normal(&random) : (double)bt_random_below(&random, 2);
  return t;
}

static void fill_inputs(struct measurement *m) {
  const struct bt_program *p = &m->largest;
  m->inputs = NEW_ARRAY(m->arena, struct tensor64 *, p->n_inputs);
  for (int i = 0; i < p->n_inputs; i++) {
    m->inputs[i] = draw(m->arena, &p->inputs[i], m->setup.seed);
    compiled_put(m->frame.inputs[i], p->inputs[i].dtype, m->inputs[i]->data, shape_count(&m->inputs[i]->type.shape));
  }
}

struct measurement *measure_open(struct btc *b, const struct candidate *candidates, int n, const struct measure_setup *setup) {
  struct arena *arena = arena_new();
  struct measurement *m = NEW(arena, struct measurement);
  *m = (struct measurement){.b = b, .arena = arena, .setup = *setup, .opened = omp_get_wtime()};
  if (!compiled_open(model_of(b, candidates, n), setup->host, setup->keep_c, &m->native)) {
    arena_free(arena);
    return NULL;
  }
  for (int i = 0; i < n; i++) {
    struct contender c = {.candidate = &candidates[i], .program = &m->native.module->programs[i]};
    vec_push(arena, &m->contenders, c);
  }
  m->largest = largest_of(m);
  compiled_frame_with(&m->frame, &m->native, &m->largest, setup->threads);
  for (int i = 0; i < n; i++) make_frame(m, &m->contenders.data[i]);
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

static const struct tensor64 *input_value(void *user, const struct node *n) {
  struct measurement *m = user;
  return m->inputs[input_named(&m->largest, n->attr.s)];
}

// What C of the user's computes only C of the user's can.
static bool can_be_interpreted(const struct graph *g) {
  for (int i = 0; i < g->nodes.len; i++)
    if (g->nodes.data[i]->op == OP_extern) return false;
  return true;
}

static int reference_candidate(const struct measurement *m, double bytes) {
  int least = 0;
  double need = interp_outputs_bytes(m->contenders.data[0].candidate->graph);
  for (int i = 1; need > bytes && i < m->contenders.len; i++) {
    if (!can_be_interpreted(m->contenders.data[i].candidate->graph)) continue;
    double other = interp_outputs_bytes(m->contenders.data[i].candidate->graph);
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
  const struct bt_program *p = &m->largest;
  for (int i = 0; i < p->n_outputs; i++)
    memset(m->frame.outputs[i], 0xff, (size_t)bt_count(p->outputs[i].rank, p->outputs[i].shape) * bt_dtype_size(p->outputs[i].dtype));
}

static int graph_output_named(const struct graph *g, const char *name) {
  for (int i = 0; i < g->outputs.len; i++)
    if (str_eq(g->outputs.data[i].name, name)) return i;
  die("the candidate of reference has no output '%s'", name);
}

static void add_error(struct contender *c, double error, const char *where) {
  if (!c->worst || error > c->error) c->error = error, c->worst = where;
}

static void compare(struct contender *c, const struct reference *want) {
  for (int i = 0; i < c->program->n_outputs; i++) {
    const struct bt_output *o = &c->program->outputs[i];
    const struct tensor64 *t = want->outputs[graph_output_named(want->graph, o->name)];
    struct arena *scratch = arena_new();
    int64_t count = shape_count(&t->type.shape);
    double *is = NEW_ARRAY(scratch, double, count);
    compiled_get(is, c->frame.outputs[i], o->dtype, count);
    add_error(c, error_of(is, t), o->name);
    arena_free(scratch);
  }
}

// A user's kernel may write where it should not; that is an error like another.
static void check_memory(struct measurement *m, struct contender *c) {
  const char *hurt = compiled_frame_mend(&m->frame);
  if (hurt) add_error(c, INFINITY, str_printf(m->arena, "memory outside of %s", hurt));
}

struct reference *measure_reference(struct measurement *m, double bytes) {
  struct arena *arena = arena_new();
  struct reference *r = NEW(arena, struct reference);
  int candidate = reference_candidate(m, bytes);
  *r = (struct reference){arena, candidate, m->contenders.data[candidate].candidate->graph, NULL};
  say(m, "evaluating %s in float64", m->contenders.data[candidate].candidate->name);
  r->outputs = interp_outputs(r->graph, arena, input_value, m);
  return r;
}

void reference_free(struct reference *r) {
  if (r) arena_free(r->arena);
}

void measure_check(struct measurement *m, const struct reference *want) {
  for (int i = 0; i < m->contenders.len; i++) {
    struct contender *c = &m->contenders.data[i];
    say(m, "checking %s", c->candidate->name);
    poison_outputs(m);
    c->program->step(&c->frame);
    compare(c, want);
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
    if (active && !active[i]) continue;
    vec_push(m->arena, &c->samples, time_of(c, c->repeats));
    say(m, "round %d", round + 1);
  }
}

void measure_run(struct measurement *m, const bool *active, struct budget budget) {
  for (int i = 0; i < m->contenders.len; i++)
    if ((!active || active[i]) && !m->contenders.data[i].repeats) warm_up(&m->contenders.data[i]);
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
  struct measured r = {.rounds = c->samples.len, .flops = c->program->flops, .temporaries = c->program->arena_bytes,
                       .error = c->error, .worst = c->worst};
  if (c->samples.len) r.seconds = quartiles_of(c->samples.data, c->samples.len);
  for (int k = 0; k < c->program->n_kernels; k++) r.bytes += c->program->kernels[k].bytes * c->program->kernels[k].calls;
  return r;
}
