// pass.c: the table of graph passes and the loop that runs it.
//
// Options name passes: --dump-after (or `all`), --stop-after, --disable-pass, --time-passes. Dumps
// go to standard error as graph text, so they can be cut out and parsed again; one that would
// repeat the graph before it says so instead. The graph is verified before the first pass and after
// each.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "passes.h"

// The order, and why:
//   expand  first, so that the algebra meets sums alone and the mean inside a variance can coincide
//           with a mean that the program uses;
//   fold    next: it sees all of forward, backward and update at once, which is where a factor
//           leaves a sum and where sums of centred values vanish;
//   reassociate
//           after fold, which has taken transposes and factors out from between products;
//   cse     after fold, whose rewrites make equal what was written differently;
//   dce     last: what the three above have orphaned.
const struct pass pass_table[] = {
    {"expand", "write mean and variance as sums", pass_expand, true},
    {"fold", "fold constants, apply identities, move arithmetic to smaller shapes", pass_fold,
     false},
    {"reassociate", "multiply chains of matrices in the cheapest order", pass_reassociate, false},
    {"cse", "compute equal expressions once", pass_cse, false},
    {"dce", "drop what no output and no update needs", pass_dce, false},
};
const int pass_count = sizeof pass_table / sizeof pass_table[0];

// What codegen.c does next, in its order. The options may name these too; it asks pass_dumped and
// pass_stops. None can be disabled.
static const char *const stages[] = {"layout"};
enum { STAGES = sizeof stages / sizeof stages[0] };

// ---- options ----------------------------------------------------------------------------------

static const struct pass *pass_find(const char *name) {
  for (int i = 0; i < pass_count; i++)
    if (str_eq(pass_table[i].name, name)) return &pass_table[i];
  return NULL;
}

static bool is_stage(const char *name) {
  for (int i = 0; i < STAGES; i++)
    if (str_eq(stages[i], name)) return true;
  return false;
}

static void unknown_pass(struct btc *b, const char *option, const char *name) {
  int count = pass_count + STAGES;
  const char **names = NEW_ARRAY(b->arena, const char *, count), *list = "";
  for (int i = 0; i < count; i++) {
    names[i] = i < pass_count ? pass_table[i].name : stages[i - pass_count];
    list = str_printf(b->arena, "%s%s%s", list, i ? ", " : "", names[i]);
  }
  const char *near = str_nearest(name, names, count);
  if (near)
    diag_error(b, (struct loc){0}, "%s: there is no pass '%s'; did you mean '%s'?", option, name,
               near);
  else
    diag_error(b, (struct loc){0}, "%s: there is no pass '%s'; the passes are %s", option, name,
               list);
}

static void check_name(struct btc *b, const char *option, const char *name) {
  if (!pass_find(name) && !is_stage(name)) unknown_pass(b, option, name);
}

static void check_disabled(struct btc *b, const char *name) {
  const struct pass *p = pass_find(name);
  if (is_stage(name) || (p && p->required))
    diag_error(b, (struct loc){0},
               "--disable-pass: '%s' cannot be disabled, because later stages need its result",
               name);
  else if (!p)
    unknown_pass(b, "--disable-pass", name);
}

bool pass_options_check(struct btc *b) {
  int before = b->n_errors;
  const struct btc_options *o = &b->opt;
  for (int i = 0; i < o->dump_after.len; i++)
    if (!str_eq(o->dump_after.data[i], "all")) check_name(b, "--dump-after", o->dump_after.data[i]);
  if (o->stop_after) check_name(b, "--stop-after", o->stop_after);
  for (int i = 0; i < o->disabled.len; i++) check_disabled(b, o->disabled.data[i]);
  return b->n_errors == before;
}

static bool pass_disabled(const struct btc *b, const char *name) {
  for (int i = 0; i < b->opt.disabled.len; i++)
    if (str_eq(b->opt.disabled.data[i], name)) return true;
  return false;
}

bool pass_dumped(const struct btc *b, const char *name) {
  for (int i = 0; i < b->opt.dump_after.len; i++)
    if (str_eq(b->opt.dump_after.data[i], name) || str_eq(b->opt.dump_after.data[i], "all"))
      return true;
  return false;
}

bool pass_stops(const struct btc *b, const char *name) { return str_eq(b->opt.stop_after, name); }

// ---- dumps and times --------------------------------------------------------------------------

static char *graph_as_text(const struct graph *g) {
  char *text = NULL;
  size_t size = 0;
  FILE *f = open_memstream(&text, &size);
  expect(f, "out of memory");
  graph_print(f, g);
  fclose(f);
  return text;
}

static void dump(const struct graph *before, const struct graph *after, const struct pass *p) {
  char *was = graph_as_text(before), *is = graph_as_text(after);
  if (strcmp(was, is) == 0)
    fprintf(stderr, "# %s after %s: unchanged\n", after->name, p->name);
  else
    fprintf(stderr, "# %s after %s\n%s", after->name, p->name, is);
  free(was);
  free(is);
}

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct graph *run_timed(const struct graph *g, const struct pass *p, bool show) {
  double start = seconds();
  struct graph *to = p->run(g);
  double ran = seconds();
  graph_verify(to, p->name);
  double checked = seconds();
  if (show)
    fprintf(stderr, "  %-10s %9.3f %9.3f %7d -> %d\n", p->name, 1e3 * (ran - start),
            1e3 * (checked - ran), g->nodes.len, to->nodes.len);
  return to;
}

struct graph *passes_run(struct btc *b, struct graph *g, bool *stopped) {
  if (stopped) *stopped = false;
  if (!pass_options_check(b)) return NULL;
  graph_verify(g, "build");
  if (b->opt.time_passes)
    fprintf(stderr, "passes of %s\n  %-10s %9s %9s   nodes\n", g->name, "pass", "run ms",
            "verify ms");
  for (int i = 0; i < pass_count; i++) {
    const struct pass *p = &pass_table[i];
    if (!pass_disabled(b, p->name)) {
      struct graph *to = run_timed(g, p, b->opt.time_passes);
      if (pass_dumped(b, p->name)) dump(g, to, p);
      g = to;
    }
    if (pass_stops(b, p->name)) {
      if (stopped) *stopped = true;
      break;
    }
  }
  return g;
}

struct graph *passes_simplify(const struct graph *g) {
  struct graph *to = NULL;
  for (int i = 0; i < pass_count; i++)
    if (!pass_disabled(g->b, pass_table[i].name)) to = pass_table[i].run(to ? to : g);
  return to;
}
