// tune.c: the search. See tune.h.
//
// It goes in generations. The first holds every variant as it is by default. Each later one holds the best points
// so far and their neighbours: the same variant with one argument changed to another of the values worth
// trying. A generation is compiled into one object and runs successive halving (Jamieson and Talwalkar, 2016):
// all briefly, then the faster half for as long, and so on, so that time goes to those that are close. At last
// the best two, the best variant without arguments and what compilation would choose run side by side: times
// of different generations are of different minutes, the best of many is often a lucky one, and a gain must be real.
#include <math.h>
#include <omp.h>
#include <string.h>

#include "tune.h"

enum { GENERATIONS = 3, INCUMBENTS = 2, LEAST_ROUNDS = 3, ENOUGH_ROUNDS = 60 };
static const double worth_varying = 1.5;  // variants slower than the best by more are not tried with other arguments
static const double worth_changing = 0.02; // an argument must gain so much, or the default stays
static const double least_seconds = 0.2, least_last = 1; // of a stage and of the last, whatever the budget: a few rounds show chance

struct search {
  struct btc *b;
  struct region *r;
  const struct measure_setup *setup;
  struct tune_result *result;
  struct reference *want;
  double end; // when
};

// ---- points -----------------------------------------------------------------------------------

const char *tune_text(struct arena *a, const struct variant_request *request) {
  struct variant_request r = *request;
  const char *text = r.variant, *before = "(";
  for (int i = 0; i < VARIANT_ARGUMENTS; i++) {
    long long value = *variant_argument(&r, i);
    if (!value) continue;
    text = str_printf(a, "%s%s%s: %lld", text, before, variant_arguments[i].name, value);
    before = ", ";
  }
  return *before == ',' ? str_printf(a, "%s)", text) : text;
}

static bool same_request(const struct variant_request *x, const struct variant_request *y) {
  return str_eq(x->variant, y->variant) && x->panel == y->panel && x->mc == y->mc && x->kc == y->kc && x->nc == y->nc;
}

static int add_point(struct search *s, struct variant_request request, int variant) {
  for (int i = 0; i < s->result->points.len; i++)
    if (same_request(&s->result->points.data[i].request, &request)) return -1;
  struct tune_point p = {.request = request, .variant = variant};
  vec_push(s->b->arena, &s->result->points, p);
  return s->result->points.len - 1;
}

// As the region has it by now: arguments of --variant or of the file's schedule are in it.
static struct variant_request request_of(const struct variant *v) {
  return (struct variant_request){.variant = v->name, .panel = v->panel, .mc = v->schedule.mc, .kc = v->schedule.kc, .nc = v->schedule.nc};
}

// NULL where the derivation refuses the panel.
static struct graph *graph_of(const struct search *s, const struct tune_point *p) {
  struct variant *v = &s->r->variants.data[p->variant];
  struct schedule how = v->schedule;
  int64_t panel = v->panel;
  how.mc = p->request.mc, how.kc = p->request.kc, how.nc = p->request.nc;
  bool other = p->request.panel != panel;
  if (other && region_derive_panel(s->r, v->name, p->request.panel)) return NULL;
  struct graph *g = graph_scheduled(v->graph, &how);
  if (other) region_derive_panel(s->r, v->name, panel);
  return g;
}

// ---- arguments worth trying -------------------------------------------------------------------

struct extents { int64_t m, n, k; }; // the largest of the products

static struct extents extents_of(const struct graph *g) {
  struct extents e = {0};
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *p = g->nodes.data[i];
    if (p->op != OP_matmul) continue;
    const struct shape *x = &p->in[0]->type.shape, *y = &p->type.shape;
    int64_t k = x->dim[x->rank - (p->attr.i[MATMUL_TA] ? 2 : 1)];
    if (y->dim[y->rank - 2] > e.m) e.m = y->dim[y->rank - 2];
    if (y->dim[y->rank - 1] > e.n) e.n = y->dim[y->rank - 1];
    if (k > e.k) e.k = k;
  }
  return e;
}

// A block as large as the matrix is as good as any larger one.
static int64_t extent_for(const struct extents *e, const char *argument) {
  if (str_eq(argument, "mc")) return e->m;
  if (str_eq(argument, "kc")) return e->k;
  return e->n;
}

static void add_neighbours(struct search *s, int of) {
  const struct tune_point p = s->result->points.data[of];
  struct extents e = extents_of(s->r->variants.data[p.variant].graph), plain = extents_of(s->r->variants.data[0].graph);
  for (int i = 0; i < VARIANT_ARGUMENTS; i++) {
    struct variant_request request = p.request;
    const struct variant_argument_row *row = &variant_arguments[i];
    if (!(s->r->variants.data[p.variant].takes >> i & 1)) continue;
    int64_t limit = str_eq(row->name, "panel") ? plain.n : extent_for(&e, row->name);
    for (int k = 0; k < VARIANT_TRIED && row->tried[k] && row->tried[k] < limit; k++) {
      *variant_argument(&request, i) = row->tried[k];
      int at = add_point(s, request, p.variant);
      if (at >= 0 && !graph_of(s, &s->result->points.data[at])) s->result->points.len--;
    }
  }
}

// ---- a generation -----------------------------------------------------------------------------

struct generation {
  int n;
  int *points;   // indices into the result's
  bool *active;
  struct measurement *m;
};

static void compare_in(struct search *s, struct generation *g, const struct candidate *candidates) {
  if (!s->want) s->want = measure_reference(g->m, candidates, g->n, 0);
  measure_check(g->m, s->want);
  for (int i = 0; i < g->n; i++) {
    struct tune_point *p = &s->result->points.data[g->points[i]];
    struct measured m = measure_result(g->m, i);
    p->error = m.error;
    p->wrong = m.wrong;
    p->failed = m.failed;
    g->active[i] = !p->wrong && !p->failed;
  }
}

static void collect(struct search *s, struct generation *g) {
  for (int i = 0; i < g->n; i++) {
    struct measured m = measure_result(g->m, i);
    struct tune_point *p = &s->result->points.data[g->points[i]];
    if (m.rounds) p->seconds = m.seconds.least, p->rounds = m.rounds;
  }
}

static int count_active(const struct generation *g) {
  int n = 0;
  for (int i = 0; i < g->n; i++) n += g->active[i];
  return n;
}

static void halve(struct search *s, struct generation *g) {
  for (int out = count_active(g) / 2; out > 0; out--) {
    int slowest = -1;
    for (int i = 0; i < g->n; i++) {
      if (!g->active[i]) continue;
      if (slowest < 0 || s->result->points.data[g->points[i]].seconds > s->result->points.data[g->points[slowest]].seconds) slowest = i;
    }
    g->active[slowest] = false;
  }
}

// Two or three remain for the last stage.
static void run_halving(struct search *s, struct generation *g, double seconds) {
  int stages = 1;
  for (int n = count_active(g); n > 3; n -= n / 2) stages++;
  for (int stage = 0; stage < stages; stage++) {
    if (stage) halve(s, g);
    measure_run(g->m, g->active, (struct budget){fmax(seconds / stages, least_seconds), LEAST_ROUNDS, ENOUGH_ROUNDS});
    collect(s, g);
  }
}

// Compiles and measures the points of the list, in about so many seconds beside compilation. False after a
// diagnostic.
static bool measure_points(struct search *s, int *points, int n, double seconds) {
  struct arena *a = s->b->arena;
  struct generation g = {.n = n, .points = points, .active = NEW_ARRAY(a, bool, n)};
  struct candidate *candidates = NEW_ARRAY(a, struct candidate, n);
  for (int i = 0; i < n; i++) {
    const struct tune_point *p = &s->result->points.data[points[i]];
    candidates[i] = (struct candidate){tune_text(a, &p->request), graph_of(s, p)};
  }
  g.m = measure_open(s->b, candidates, n, s->setup);
  if (!g.m) return false;
  compare_in(s, &g, candidates);
  if (count_active(&g)) run_halving(s, &g, seconds);
  measure_close(g.m);
  return true;
}

// ---- the search -------------------------------------------------------------------------------

static int fastest(const struct search *s, int but) {
  int best = -1;
  for (int i = 0; i < s->result->points.len; i++) {
    const struct tune_point *p = &s->result->points.data[i];
    if (p->wrong || p->failed || !p->rounds || i == but) continue;
    if (best < 0 || p->seconds < s->result->points.data[best].seconds) best = i;
  }
  return best;
}

static bool first_generation(struct search *s) {
  struct arena *a = s->b->arena;
  int n = s->r->variants.len, *points = NEW_ARRAY(a, int, n);
  for (int i = 0; i < n; i++) points[i] = add_point(s, request_of(&s->r->variants.data[i]), i);
  s->result->base = s->r->chosen;
  if (!measure_points(s, points, n, (s->end - omp_get_wtime()) / (GENERATIONS + 1) / 2)) return false;
  const struct tune_point *plain = &s->result->points.data[0];
  if (plain->wrong) diag_error(s->b, s->r->loc, "%s: the variants disagree, `%s` by %.1e: `btc bench` shows more", s->r->address, s->r->variants.data[0].name, plain->error);
  else if (fastest(s, -1) < 0) diag_error(s->b, s->r->loc, "%s: no variant is right: `btc bench` shows more", s->r->address);
  else return true;
  return false;
}

// The best points and what is new among their neighbours. 0: nothing is.
static int next_points(struct search *s, int *points) {
  int best = fastest(s, -1), second = fastest(s, best), first = s->result->points.len, n = 0;
  bool close = second >= 0 && s->result->points.data[second].seconds < worth_varying * s->result->points.data[best].seconds;
  add_neighbours(s, best);
  if (close) add_neighbours(s, second);
  if (s->result->points.len == first) return 0;
  points[n++] = best;
  if (close) points[n++] = second;
  for (int i = first; i < s->result->points.len; i++) points[n++] = i;
  return n;
}

// The point of the same variant in the first generation.
static int without_arguments(const struct search *s, int point) {
  return s->result->points.data[point].variant;
}

static void add_once(const struct search *s, int *points, int *n, int point) {
  if (point < 0 || s->result->points.data[point].wrong || s->result->points.data[point].failed) return;
  for (int i = 0; i < *n; i++)
    if (points[i] == point) return;
  points[(*n)++] = point;
}

static bool last_round(struct search *s, double seconds) {
  int points[4], n = 0, best = fastest(s, -1), plain = without_arguments(s, best);
  add_once(s, points, &n, plain);
  add_once(s, points, &n, s->result->base);
  add_once(s, points, &n, best);
  add_once(s, points, &n, fastest(s, best));
  if (n > 1 && !measure_points(s, points, n, fmax(seconds, least_last))) return false;
  s->result->best = points[0];
  for (int i = 1; i < n; i++) { // in order of preference
    double gain = 1 - s->result->points.data[points[i]].seconds / s->result->points.data[s->result->best].seconds;
    if (gain > worth_changing) s->result->best = points[i];
  }
  return true;
}

bool tune_region(struct btc *b, struct region *r, const struct measure_setup *setup, double seconds, struct tune_result *out) {
  *out = (struct tune_result){0};
  struct search s = {.b = b, .r = r, .setup = setup, .result = out, .end = omp_get_wtime() + seconds};
  bool good = first_generation(&s);
  for (int i = 1; good && i < GENERATIONS; i++) {
    double left = s.end - omp_get_wtime();
    int points[INCUMBENTS + INCUMBENTS * VARIANT_ARGUMENTS * VARIANT_TRIED];
    int n = left > 0 ? next_points(&s, points) : 0;
    if (n == 0) break;
    good = measure_points(&s, points, n, left / (GENERATIONS + 1 - i) / 2);
  }
  good = good && last_round(&s, s.end - omp_get_wtime());
  reference_free(s.want);
  return good;
}
