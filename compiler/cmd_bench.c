// cmd_bench.c: `btc bench`: the variants of a region side by side.
//
// What is printed is a JSON value first; the table is another way to write it.
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "../runtime/btrt_internal.h"
#include "command.h"
#include "machine.h"
#include "measure.h"
#include "subjects.h"

// What the interpreter may hold of one region at a time.
static const double reference_bytes = 4e9;
static const double default_seconds = 3;
enum { LEAST_ROUNDS = 5 };
static const struct loc nowhere;

static const struct option_row options[] = {
    OPTION_PROGRAM("only regions of this program"),
    OPTION_FUNCTION("the regions of this function with its gradients"),
    OPTION_SHAPE,
    {0, "only", OPTION_ADD, "VARIANT", "time this variant alone (repeatable)", 0, option_add_only},
    OPTION_SECONDS("time for each region (default: 3; 5 rounds at least)"),
    OPTION_THREADS,
    {0, "no-check", OPTION_FLAG, NULL, "leave out the comparison with the float64 interpreter", OPTION_AT(no_check), NULL},
    {0, "json", OPTION_FLAG, NULL, "print JSON", OPTION_AT(json), NULL},
    OPTION_SEED,
    {'D', "define", OPTION_ADD, "NAME=VALUE", "rebind a constant; with --function also a size or a static input", 0, option_add_define},
    OPTION_VARIANT, OPTION_NO_TUNED, OPTION_MARCH, OPTION_CC, OPTION_KEEP_C, OPTION_VERBOSE, OPTION_COLOR, OPTION_HELP,
};

static const char about[] =
    "Compiles every variant of a region into one object, runs them interleaved on the same random\n"
    "inputs, and prints times (median and quartiles), speed, memory and the largest difference from\n"
    "the float64 interpreter, relative to the largest entry of the output. * marks the variant that\n"
    "compilation chooses. Without REGION: every region that has more than one variant (btc variants\n"
    "lists them).\n"
    "Exit status 1 if an error is above 2e-5 and more than rounding, or a variant does not compile.\n";
static const char examples[] =
    "  btc bench model.btg pretrain/objective\n"
    "  btc bench model.btg --function barlow_twins --shape za=256x2048 --shape zb=256x2048\n"
    "  btc bench model.btg objective --only gram --only fused --no-check\n";

static int run(struct btc *b, struct settings *s);
const struct command command_bench = {
    "bench", "FILE [REGION…]", "time the variants of a region side by side", about, examples,
    options, sizeof options / sizeof *options, 1, 1000, run,
};

// ---- measuring --------------------------------------------------------------------------------

// JSON has no infinity, and nobody knows the arithmetic of a function of the user's.
static json_t *real(double x) { return isfinite(x) ? json_real(x) : json_null(); }

// What the region calls the output that has the largest error; "out2" is the measured graph's name for it.
static const char *worst_output(const struct region *r, const struct measured *m) {
  int i;
  return sscanf(m->worst, "out%d", &i) == 1 && i < r->output_names.len ? r->output_names.data[i] : m->worst;
}

static void add_times(json_t *o, const struct measured *m) {
  json_object_set_new(o, "median_ms", json_real(1e3 * m->seconds.median));
  json_object_set_new(o, "q1_ms", json_real(1e3 * m->seconds.low));
  json_object_set_new(o, "q3_ms", json_real(1e3 * m->seconds.high));
  json_object_set_new(o, "min_ms", json_real(1e3 * m->seconds.least));
  json_object_set_new(o, "rounds", json_integer(m->rounds));
}

static void add_speed(json_t *o, const struct measured *m, bool known, const struct machine *peak) {
  double rate = known ? m->flops / m->seconds.median : NAN;
  json_object_set_new(o, "gflops", real(1e-9 * rate));
  json_object_set_new(o, "peak_share", real(rate / peak->flops));
  json_object_set_new(o, "gbps", json_real(1e-9 * m->bytes / m->seconds.median));
  json_object_set_new(o, "temporaries", json_integer((json_int_t)m->temporaries));
}

static void add_error(json_t *o, const struct region *r, const struct measured *m) {
  json_object_set_new(o, "error", real(m->error));
  json_object_set_new(o, "wrong", json_boolean(m->wrong));
  json_object_set_new(o, "rounding", json_boolean(!m->wrong && !(m->error <= MEASURE_TOLERANCE)));
  json_object_set_new(o, "worst", json_string(worst_output(r, m)));
}

static json_t *candidate_json(const struct region *r, int i, const struct measured *m, const struct machine *peak) {
  const struct variant *v = &r->variants.data[i];
  json_t *o = json_pack("{s:s, s:b, s:b}", "name", v->name, "chosen", i == r->chosen, "compiles", !m->failed);
  if (m->failed) return o;
  add_times(o, m);
  add_speed(o, m, !v->schedule.user, peak); // what a user's function computes is not known
  if (m->worst) add_error(o, r, m);
  return o;
}

static json_t *inputs_json(struct arena *a, const struct region *r) {
  json_t *list = json_array();
  for (int i = 0; i < r->inputs.len; i++)
    json_array_append_new(list, json_string(str_printf(a, "%s: %s", r->input_names.data[i], type_text(a, &r->inputs.data[i]->type))));
  return list;
}

static bool is_asked(const struct settings *s, const char *variant) {
  bool asked = s->only.len == 0;
  for (int i = 0; i < s->only.len; i++) asked |= str_eq(s->only.data[i], variant);
  return asked;
}

static struct candidate candidate_of(const struct variant *v) { return (struct candidate){v->name, graph_scheduled(v->graph, &v->schedule)}; }

// Compares with what the plain variant, or one that takes less memory, is in float64. Returns its name.
static const char *check(struct btc *b, const struct region *r, struct measurement *m) {
  struct candidate *all = NEW_ARRAY(b->arena, struct candidate, r->variants.len);
  for (int i = 0; i < r->variants.len; i++) all[i] = candidate_of(&r->variants.data[i]);
  struct reference *want = measure_reference(m, all, r->variants.len, reference_bytes);
  const char *against = all[want->candidate].name;
  measure_check(m, want);
  reference_free(want);
  return against;
}

// The variants that are asked for, one at least. NULL after a diagnostic.
static json_t *region_json(struct btc *b, const struct settings *s, const struct host *host, const struct region *r, const struct machine *peak) {
  struct candidate *candidates = NEW_ARRAY(b->arena, struct candidate, r->variants.len);
  int n = 0, *variants = NEW_ARRAY(b->arena, int, r->variants.len);
  for (int i = 0; i < r->variants.len; i++) {
    if (!is_asked(s, r->variants.data[i].name)) continue;
    variants[n] = i;
    candidates[n++] = candidate_of(&r->variants.data[i]);
  }
  struct measure_setup setup = {.host = host, .threads = peak->threads, .seed = (uint64_t)s->seed, .keep_c = s->keep_c, .what = r->address};
  struct measurement *m = measure_open(b, candidates, n, &setup);
  if (!m) return NULL;
  json_t *against = s->no_check ? json_null() : json_string(check(b, r, m)), *list = json_array();
  measure_run(m, NULL, (struct budget){.seconds = s->seconds > 0 ? s->seconds : default_seconds, .least = LEAST_ROUNDS});
  for (int i = 0; i < n; i++) {
    struct measured result = measure_result(m, i);
    json_array_append_new(list, candidate_json(r, variants[i], &result, peak));
  }
  measure_close(m);
  return json_pack("{s:s, s:o, s:s, s:s, s:o, s:o}", "address", r->address, "inputs", inputs_json(b->arena, r), "chosen_by", r->chosen_by,
                   "plain", r->variants.data[0].name, "checked_against", against, "candidates", list);
}

static bool has_asked(const struct settings *s, const struct region *r) {
  bool has = false;
  for (int i = 0; i < r->variants.len; i++) has |= is_asked(s, r->variants.data[i].name);
  return has;
}

static bool was_refused(struct btc *b, const struct region *r, const char *variant) {
  for (int i = 0; i < r->refused.len; i++) {
    if (!str_eq(r->refused.data[i].name, variant)) continue;
    diag_error(b, nowhere, "--only %s: %s cannot be computed so: %s", variant, r->address, r->refused.data[i].why);
    return true;
  }
  return false;
}

static void no_such_variant(struct btc *b, const subject_list *subjects, const char *wanted) {
  VEC(const char *) names = {0};
  for (int i = 0; i < subjects->len; i++) {
    const struct region *r = subjects->data[i];
    if (was_refused(b, r, wanted)) return;
    for (int k = 0; k < r->variants.len; k++) vec_push(b->arena, &names, r->variants.data[k].name);
  }
  const char *near = str_nearest(wanted, names.data, names.len);
  if (near) diag_error(b, nowhere, "--only %s: no region has such a variant; did you mean '%s'?", wanted, near);
  else diag_error(b, nowhere, "--only %s: no region has such a variant; `btc variants` lists what there is", wanted);
}

// Leaves those that have a variant that is asked for. False after diagnostics: every variant must be somewhere.
static bool keep_asked(struct btc *b, const struct settings *s, subject_list *subjects) {
  bool good = true;
  for (int i = 0; i < s->only.len; i++) {
    bool somewhere = false;
    for (int k = 0; k < subjects->len; k++) somewhere |= region_variant(subjects->data[k], s->only.data[i]) >= 0;
    if (!somewhere) no_such_variant(b, subjects, s->only.data[i]), good = false;
  }
  int n = 0;
  for (int i = 0; i < subjects->len; i++)
    if (has_asked(s, subjects->data[i])) subjects->data[n++] = subjects->data[i];
  subjects->len = n;
  return good;
}

static json_t *all_json(struct btc *b, const struct settings *s, const subject_list *subjects) {
  struct host host = {.march = s->opt.march, .verbose = s->verbose};
  if (!host_find(b, &host, s->cc)) return NULL;
  struct machine peak = machine_measure(bt_blas_init((int)s->threads));
  char processor[128];
  machine_processor(processor, sizeof processor);
  json_t *regions = json_array();
  for (int i = 0; i < subjects->len; i++) {
    json_t *region = region_json(b, s, &host, subjects->data[i], &peak);
    if (!region) return json_decref(regions), NULL;
    json_array_append_new(regions, region);
  }
  return json_pack("{s:o, s:f, s:f, s:i, s:s}", "regions", regions, "peak_gflops", 1e-9 * peak.flops, "peak_gbps", 1e-9 * peak.bandwidth,
                   "threads", peak.threads, "processor", processor);
}

// ---- the table --------------------------------------------------------------------------------

static double number(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }
static const char *text(const json_t *o, const char *key) { return json_string_value(json_object_get(o, key)); }
static bool truth(const json_t *o, const char *key) { return json_is_true(json_object_get(o, key)); }

static const char *bytes_text(struct arena *a, double bytes) {
  return bytes < 1e6 ? str_printf(a, "%.1f kB", bytes * 1e-3) : str_printf(a, "%.1f MB", bytes * 1e-6);
}

static void print_error(const json_t *c) {
  const json_t *error = json_object_get(c, "error");
  if (!error) printf("  %8s", "-");
  else if (json_is_null(error)) printf("  infinite");
  else printf("  %8.1e", json_number_value(error));
  if (truth(c, "wrong")) printf("  WRONG: %s", text(c, "worst"));
  if (truth(c, "rounding")) printf("  rounding: %s", text(c, "worst"));
}

static void print_candidate(struct arena *a, const json_t *c) {
  printf("%s %-10s", truth(c, "chosen") ? "*" : " ", text(c, "name"));
  if (!truth(c, "compiles")) {
    printf(" does not compile\n");
    return;
  }
  printf(" %10.4f %10.4f %10.4f", number(c, "median_ms"), number(c, "q1_ms"), number(c, "q3_ms"));
  if (json_is_null(json_object_get(c, "gflops"))) printf(" %9s %7s", "?", "?");
  else printf(" %9.1f %5.1f %%", number(c, "gflops"), 100 * number(c, "peak_share"));
  printf(" %8.1f %12s", number(c, "gbps"), bytes_text(a, number(c, "temporaries")));
  print_error(c);
  putchar('\n');
}

static void print_region(struct arena *a, const json_t *region) {
  size_t i;
  const json_t *item, *candidates = json_object_get(region, "candidates");
  printf("%s (", text(region, "address"));
  json_array_foreach(json_object_get(region, "inputs"), i, item) printf("%s%s", i ? ", " : "", json_string_value(item));
  printf(")\n  %-10s %10s %10s %10s %9s %7s %8s %12s  %8s\n", "variant", "median ms", "quartile", "quartile", "GFLOP/s", "of peak", "GB/s", "memory", "error");
  json_array_foreach(candidates, i, item) print_candidate(a, item);
  const char *against = text(region, "checked_against"), *plain = text(region, "plain");
  if (against && !str_eq(against, plain))
    printf("  checked against %s in float64: %s would take more than %.0f GB\n", against, plain, 1e-9 * reference_bytes);
  putchar('\n');
}

static bool all_right(const json_t *all) {
  size_t i, k;
  const json_t *region, *candidate;
  bool right = true;
  json_array_foreach(json_object_get(all, "regions"), i, region)
    json_array_foreach(json_object_get(region, "candidates"), k, candidate) right &= truth(candidate, "compiles") && !truth(candidate, "wrong");
  return right;
}

static int run(struct btc *b, struct settings *s) {
  if (s->function && s->program) return command_misuse(&command_bench, "give --function or --program, not both");
  if (!s->function && s->shapes.len) return command_misuse(&command_bench, "--shape goes with --function");
  struct target target;
  subject_list subjects = {0};
  target_from_march(&target, s->opt.march);
  json_t *all = subjects_find(b, s, &target, &subjects) && keep_asked(b, s, &subjects) ? all_json(b, s, &subjects) : NULL;
  if (!all) return EXIT_FAILED;
  size_t i;
  const json_t *region;
  if (s->json) json_dumpf(all, stdout, JSON_INDENT(2)), putchar('\n');
  else {
    json_array_foreach(json_object_get(all, "regions"), i, region) print_region(b->arena, region);
    printf("peak: %.0f GFLOP/s, %.1f GB/s; %s, threads: %.0f\n", number(all, "peak_gflops"), number(all, "peak_gbps"), text(all, "processor"), number(all, "threads"));
  }
  int status = all_right(all) ? EXIT_OK : EXIT_FAILED;
  json_decref(all);
  return status;
}
