// cmd_tune.c: `btc tune`: finds the fastest variant of each region on this processor, and remembers it.
#include <string.h>

#include "../runtime/btrt_internal.h"
#include "command.h"
#include "subjects.h"
#include "tune.h"
#include "tuned.h"

static const double default_seconds = 60;

static const struct option_row options[] = {
    OPTION_PROGRAM("only regions of this program"),
    OPTION_FUNCTION("the regions of this function with its gradients"),
    OPTION_SHAPE,
    OPTION_SECONDS("time for all regions together (default: 60)"),
    OPTION_THREADS, OPTION_SEED,
    {'D', "define", OPTION_ADD, "NAME=VALUE", "rebind a constant; with --function also a size or a static input", 0, option_add_define},
    OPTION_VARIANT, OPTION_MARCH, OPTION_CC, OPTION_VERBOSE, OPTION_COLOR, OPTION_HELP,
};

static const char about[] =
    "Measures the variants of each region and their arguments (blocks of products, panels), prints what it\n"
    "tried, and stores the fastest for this processor and the region's shape, for later compilations of\n"
    "this and other files. Prints a `schedule` block that says the same. The environment's BTC_TUNED is\n"
    "where it is stored; empty: nowhere.\n";
static const char examples[] =
    "  btc tune model.btg\n"
    "  btc tune model.btg pretrain/objective --seconds 20\n"
    "  btc tune model.btg --function barlow_twins --shape za=256x8192 --shape zb=256x8192\n";

static int run(struct btc *b, struct settings *s);
const struct command command_tune = {
    "tune", "FILE [REGION…]", "find the fastest variants on this processor and remember them", about, examples,
    options, sizeof options / sizeof *options, 1, 1000, run,
};

// ---- printing ---------------------------------------------------------------------------------

static void print_point(struct btc *b, const struct tune_result *t, int i) {
  const struct tune_point *p = &t->points.data[i];
  printf("  %c %-36s", i == t->best ? '*' : ' ', tune_text(b->arena, &p->request));
  if (p->failed) printf(" does not compile");
  else if (p->wrong) printf(" WRONG: error %.1e", p->error);
  else printf(" %10.4f ms %6d rounds", 1e3 * p->seconds, p->rounds);
  printf("%s\n", i == t->base ? "  the choice without" : "");
}

static void print_region(struct btc *b, const struct region *r, const struct tune_result *t) {
  const struct tune_point *base = &t->points.data[t->base], *best = &t->points.data[t->best];
  printf("%s (", r->address);
  for (int i = 0; i < r->inputs.len; i++) printf("%s%s: %s", i ? ", " : "", r->input_names.data[i], type_text(b->arena, &r->inputs.data[i]->type));
  printf(")\n");
  for (int i = 0; i < t->points.len; i++) print_point(b, t, i);
  if (t->best == t->base) printf("  %s stays, %.4f ms\n\n", tune_text(b->arena, &best->request), 1e3 * best->seconds);
  else if (base->wrong || base->failed) printf("  %s, %.4f ms\n\n", tune_text(b->arena, &best->request), 1e3 * best->seconds);
  else
    printf("  %s, %.4f ms, instead of %s, %.4f ms: %.2f times as fast\n\n", tune_text(b->arena, &best->request), 1e3 * best->seconds,
           tune_text(b->arena, &base->request), 1e3 * base->seconds, base->seconds / best->seconds);
  if (str_eq(r->chosen_by, "schedule"))
    printf("  the file's `schedule` asks for %s here, and comes before what is stored\n\n", tune_text(b->arena, &base->request));
  fflush(stdout);
}

// ---- regions of one shape ---------------------------------------------------------------------

struct tuned_region {
  struct region *region;
  struct tuned_entry entry; // entry.shape NULL: not measured yet
  int same;                 // index of the first region of this shape
};
typedef VEC(struct tuned_region) tuned_regions;

static int collect(struct btc *b, const subject_list *subjects, tuned_regions *list) {
  int distinct = 0;
  for (int i = 0; i < subjects->len; i++) {
    struct tuned_region t = {.region = subjects->data[i], .entry.shape = tuned_shape(b->arena, subjects->data[i]), .same = i};
    for (int k = i - 1; k >= 0; k--)
      if (str_eq(list->data[k].entry.shape, t.entry.shape)) t.same = list->data[k].same;
    distinct += t.same == i;
    vec_push(b->arena, list, t);
  }
  return distinct;
}

// ---- the schedule block -----------------------------------------------------------------------

static size_t program_length(const struct region *r) { return strcspn(r->address, "/"); }

static bool new_program(const tuned_regions *list, int i) {
  const struct region *r = list->data[i].region;
  size_t n = program_length(r);
  return i == 0 || program_length(list->data[i - 1].region) != n || strncmp(list->data[i - 1].region->address, r->address, n) != 0;
}

// A pass has no block of its own, and what its program's block says it has already: its addresses are whole.
static bool is_pass(const struct region *r) { return memchr(r->address, '.', program_length(r)); }

// Addresses that are a path are written as one, the others as strings.
static bool is_path(const char *s) {
  return s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")] == 0;
}

static void print_schedule(struct btc *b, const tuned_regions *list) {
  for (int i = 0; i < list->len; i++) {
    const struct region *r = list->data[i].region;
    bool pass = is_pass(r);
    const char *address = pass ? r->address : r->address + program_length(r) + 1, *quote = is_path(address) ? "" : "\"";
    if (new_program(list, i) && pass) printf("%sschedule {\n", i ? "}\n" : "");
    else if (new_program(list, i)) printf("%sschedule %.*s {\n", i ? "}\n" : "", (int)program_length(r), r->address);
    printf("  %s%s%s: %s\n", quote, address, quote, tune_text(b->arena, &list->data[list->data[i].same].entry.request));
  }
  printf("}\n");
}

// ---- the command ------------------------------------------------------------------------------

static bool any_failed(const struct tune_result *result) {
  bool failed = false;
  for (int i = 0; i < result->points.len; i++) failed |= result->points.data[i].failed;
  return failed;
}

// *failed: a variant does not compile, which leaves the others.
static bool tune_one(struct btc *b, struct tuned_region *t, const struct measure_setup *setup, const struct target *target, double seconds, bool *failed) {
  struct tune_result result;
  struct measure_setup own = *setup;
  own.what = t->region->address;
  if (!tune_region(b, t->region, &own, seconds, &result)) return false;
  const struct tune_point *best = &result.points.data[result.best];
  print_region(b, t->region, &result);
  *failed |= any_failed(&result);
  t->entry.request = best->request;
  t->entry.seconds = best->seconds;
  t->entry.default_seconds = result.points.data[result.base].seconds;
  return !tuned_path(b) || tuned_add(b, t->region, target, setup->threads, &t->entry);
}

static bool tune_all(struct btc *b, const struct settings *s, const subject_list *subjects, const struct target *target) {
  struct host host = {.march = s->opt.march, .verbose = s->verbose};
  if (!host_find(b, &host, s->cc)) return false;
  struct measure_setup setup = {.host = &host, .threads = bt_blas_init((int)s->threads), .seed = (uint64_t)s->seed};
  tuned_regions list = {0};
  bool failed = false;
  int distinct = collect(b, subjects, &list);
  double seconds = (s->seconds > 0 ? s->seconds : default_seconds) / distinct;
  for (int i = 0; i < list.len; i++)
    if (list.data[i].same == i && !tune_one(b, &list.data[i], &setup, target, seconds, &failed)) return false;
  if (tuned_path(b)) printf("stored in %s\n", tuned_path(b));
  if (!s->function) print_schedule(b, &list);
  return !failed;
}

static int run(struct btc *b, struct settings *s) {
  if (s->function && s->program) return command_misuse(&command_tune, "give --function or --program, not both");
  if (!s->function && s->shapes.len) return command_misuse(&command_tune, "--shape goes with --function");
  struct target target;
  subject_list subjects = {0};
  target_from_march(&target, s->opt.march);
  b->opt.no_tuned = true; // the gain is over what would be chosen without
  bool good = subjects_find(b, s, &target, &subjects);
  b->opt.no_tuned = false;
  good = good && tune_all(b, s, &subjects, &target);
  return good ? EXIT_OK : EXIT_FAILED;
}
