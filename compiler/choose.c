// choose.c: which variant a region gets.
//
// Requests come first: of --variant, then of the file's `schedule`; then what was tuned; then the least predicted
// cost. Single products and convolutions are not priced: they keep their default.
//
// A request names regions by a glob, or by the beginning of an address up to a ".", "/" or "@": `encoder.conv1`
// is that layer forward and backward, `encoder` all of them, `pretrain` all of that program. Of several for one region, a whole address counts more than a
// beginning, and that more than a glob; two of one kind are a mistake. A request that means several
// regions is for those that have such a variant; it must be of use to one.
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "regions.h"

// ---- requests -----------------------------------------------------------------------------------

const struct variant_argument_row variant_arguments[VARIANT_ARGUMENTS] = {
    [ARGUMENT_PANEL] = {"panel", offsetof(struct variant_request, panel), {128, 256, 512, 1024}},
    [ARGUMENT_MC] = {"mc", offsetof(struct variant_request, mc), {56, 112, 336}},
    [ARGUMENT_KC] = {"kc", offsetof(struct variant_request, kc), {128, 256, 1024}},
    [ARGUMENT_NC] = {"nc", offsetof(struct variant_request, nc), {128, 256, 512, 2048}},
};

int64_t *variant_argument(struct variant_request *r, int i) {
  return (int64_t *)(void *)((char *)r + variant_arguments[i].offset);
}

bool variant_argument_fits(int64_t value) { return value >= 1 && value <= VARIANT_ARGUMENT_MOST; }

const char *variant_request_fault(struct arena *a, const struct variant_request *r, unsigned takes) {
  struct variant_request q = *r;
  for (int i = 0; i < VARIANT_ARGUMENTS; i++) {
    if (takes >> i & 1 || !*variant_argument(&q, i)) continue;
    const char *takers = variant_takers(a, i);
    return str_printf(a, "`%s` takes no `%s`; %s %s", r->variant, variant_arguments[i].name, takers, strchr(takers, ' ') ? "do" : "does");
  }
  return NULL;
}

// "panel, mc, kc and nc"
static const char *argument_names(struct arena *a) {
  const char *list = variant_arguments[0].name;
  for (int i = 1; i < VARIANT_ARGUMENTS; i++)
    list = str_printf(a, "%s%s%s", list, i == VARIANT_ARGUMENTS - 1 ? " and " : ", ", variant_arguments[i].name);
  return list;
}

// "key: value, …)" from p on.
static const char *parse_arguments(struct arena *a, const char *p, struct variant_request *out) {
  for (;;) {
    p += strspn(p, " ");
    size_t length = strcspn(p, ":,) ");
    const char *key = str_ndup(a, p, length), *names[VARIANT_ARGUMENTS];
    int row = VARIANT_ARGUMENTS;
    for (int i = VARIANT_ARGUMENTS - 1; i >= 0; i--) {
      names[i] = variant_arguments[i].name;
      if (str_eq(names[i], key)) row = i;
    }
    const char *near = str_nearest(key, names, VARIANT_ARGUMENTS);
    if (row == VARIANT_ARGUMENTS && near) return str_printf(a, "no variant has an argument '%s'; did you mean '%s'?", key, near);
    if (row == VARIANT_ARGUMENTS) return str_printf(a, "no variant has an argument '%s'; there are %s", key, argument_names(a));
    p += length + strspn(p + length, " ");
    char *end;
    long long value = *p == ':' ? strtoll(p + 1, &end, 10) : 0;
    if (!variant_argument_fits(value)) return str_printf(a, "'%s' needs a number from 1 to %d, as in %s: 512", key, VARIANT_ARGUMENT_MOST, key);
    if (*variant_argument(out, row)) return str_printf(a, "'%s' is given twice", key);
    *variant_argument(out, row) = value;
    p = end + strspn(end, " ");
    if (strcmp(p, ")") == 0) return NULL;
    if (*p++ != ',') return "expected ADDRESS=NAME or ADDRESS=NAME(key: value, …)";
  }
}

const char *variant_request_parse(struct arena *a, const char *text, struct variant_request *out) {
  const char *equals = strchr(text, '=');
  if (!equals || equals == text || !equals[1] || equals[1] == '(') return "expected ADDRESS=NAME or ADDRESS=NAME(key: value, …)";
  size_t length = strcspn(equals + 1, "(");
  *out = (struct variant_request){.address = str_ndup(a, text, (size_t)(equals - text)), .variant = str_ndup(a, equals + 1, length)};
  const char *wrong = equals[1 + length] ? parse_arguments(a, equals + 2 + length, out) : NULL;
  return wrong ? wrong : variant_request_fault(a, out, variant_takes(out->variant));
}

// ---- addresses ----------------------------------------------------------------------------------

enum fit { NO_FIT, OF_OWNER_BY_GLOB, OF_OWNER_BY_BEGINNING, OF_OWNER, BY_GLOB, BY_BEGINNING, WHOLE };

static enum fit fit_of(const char *pattern, const char *address) {
  if (str_eq(pattern, address)) return WHOLE;
  size_t n = strlen(pattern);
  bool ends = n > 0 && strchr("./@", pattern[n - 1]);
  if (strncmp(pattern, address, n) == 0 && (ends || strchr("./@", address[n]))) return BY_BEGINNING;
  char *beginning = strdup(address);
  expect(beginning, "out of memory");
  bool fits = fnmatch(pattern, beginning, 0) == 0;
  for (char *p = beginning + strlen(beginning); !fits && p > beginning; p--)
    if (*p == '/' || *p == '@') {
      *p = 0;
      fits = fnmatch(pattern, beginning, 0) == 0;
    }
  free(beginning);
  return fits ? BY_GLOB : NO_FIT;
}

static const char *behind_program(const char *address) { return strchr(address, '/') + 1; }

// A program's requests are for its passes too, those of `pretrain` for `pretrain.test`, where nothing else is.
static enum fit fit_in_program(const struct variant_request *q, const char *address, enum fit fit) {
  size_t n = strlen(q->program);
  if (strncmp(q->program, address, n) != 0 || (address[n] != '/' && address[n] != '.')) return NO_FIT;
  if (address[n] == '/' || fit == NO_FIT) return fit;
  return fit == WHOLE ? OF_OWNER : fit == BY_BEGINNING ? OF_OWNER_BY_BEGINNING : OF_OWNER_BY_GLOB;
}

// The address may be given with the program or without; a glob only where it has a "/", or `p*` would be all of `pretrain`.
static enum fit request_fit(const struct variant_request *q, const char *address) {
  const char *rest = behind_program(address);
  enum fit of_rest = fit_of(q->address, rest);
  if (q->program) return fit_in_program(q, address, of_rest);
  if (of_rest != NO_FIT) return of_rest;
  enum fit of_all = fit_of(q->address, address);
  return of_all == BY_GLOB && !strchr(q->address, '/') ? NO_FIT : of_all;
}

bool region_matches(const char *pattern, const char *address) {
  return request_fit(&(struct variant_request){.address = pattern}, address) != NO_FIT;
}

// ---- the requests of one compilation --------------------------------------------------------------

struct asked {
  struct variant_request request;
  bool of_option, met, used; // a region fitted; it got the variant
  bool clashes;              // diagnosed
  const struct region *without; // a region that fitted and has no such variant
  const char *why;              // that it was refused there; NULL: nobody knows its name
};

// A kernel of the file's, and the region that it was bound to.
struct bound {
  const struct kernel_binding *kernel;
  const char *address; // NULL: none yet
  bool clashes;        // diagnosed
};

struct choices {
  struct btc *b;
  const struct target *target;
  bool partial;
  VEC(struct asked) asked;
  VEC(struct bound) bound;
  VEC(const char *) addresses; // of all regions so far
};

static const struct loc nowhere;

struct choices *choices_begin(const struct model *m, const struct target *t) {
  struct choices *c = NEW(m->b->arena, struct choices);
  *c = (struct choices){.b = m->b, .target = t, .partial = m->partial};
  for (int i = 0; i < m->b->opt.variants.len; i++) {
    struct asked one = {.of_option = true};
    const char *wrong = variant_request_parse(m->b->arena, m->b->opt.variants.data[i], &one.request);
    if (wrong) diag_error(m->b, nowhere, "--variant %s: %s", m->b->opt.variants.data[i], wrong);
    else vec_push(m->b->arena, &c->asked, one);
  }
  for (int i = 0; i < m->schedule.len; i++) vec_push(m->b->arena, &c->asked, ((struct asked){.request = m->schedule.data[i]}));
  for (int i = 0; i < m->kernels.len; i++) vec_push(m->b->arena, &c->bound, ((struct bound){.kernel = &m->kernels.data[i]}));
  return c;
}

// "--variant objective=gram: " before what cannot show a place.
static const char *of_command_line(const struct choices *c, const struct asked *one) {
  const struct variant_request *q = &one->request;
  return one->of_option ? str_printf(c->b->arena, "--variant %s=%s: ", q->address, q->variant) : "";
}

static void note_clash(struct choices *c, const struct region *r, struct asked *one, const struct asked *other) {
  if (one->clashes) return;
  one->clashes = true;
  const char *now = one->request.variant, *before = other->request.variant;
  diag_error(c->b, one->request.loc, "%s%s is given a variant twice: `%s` here, `%s` before", of_command_line(c, one), r->address, now, before);
  if (other->request.loc.line) diag_note(c->b, other->request.loc, "the first is here");
}

// The request that counts for r, among those of options or among those of the file; NULL: none.
static struct asked *request_for(struct choices *c, const struct region *r, bool of_option) {
  struct asked *best = NULL;
  enum fit best_fit = NO_FIT;
  for (int i = 0; i < c->asked.len; i++) {
    struct asked *one = &c->asked.data[i];
    enum fit fit = one->of_option == of_option ? request_fit(&one->request, r->address) : NO_FIT;
    if (fit == NO_FIT) continue;
    one->met = true;
    if (fit == best_fit) note_clash(c, r, one, best);
    if (best) (fit > best_fit ? best : one)->used = true; // it has no say here
    if (fit > best_fit) best = one, best_fit = fit;
  }
  return best;
}

static const char *refusal_of(const struct region *r, const char *variant) {
  for (int i = 0; i < r->refused.len; i++)
    if (str_eq(r->refused.data[i].name, variant)) return r->refused.data[i].why;
  return NULL;
}

// NULL, or why the region cannot have it so ("" where nobody knows its name).
static const char *choose(struct region *r, const struct variant_request *q, const char *by) {
  if (!str_eq(q->variant, r->variants.data[0].name)) region_derive(r);
  const char *why = refusal_of(r, q->variant);
  if (q->panel && (why || region_variant(r, q->variant) >= 0)) why = region_derive_panel(r, q->variant, q->panel);
  if (why) return why;
  int at = region_variant(r, q->variant);
  if (at < 0) return "";
  why = variant_request_fault(r->variants.data[at].graph->b->arena, q, r->variants.data[at].takes);
  if (why) return why;
  struct schedule *s = &r->variants.data[at].schedule;
  if (q->mc) s->mc = q->mc;
  if (q->kc) s->kc = q->kc;
  if (q->nc) s->nc = q->nc;
  r->chosen = at;
  r->chosen_by = by;
  return NULL;
}

static bool grant(struct region *r, struct asked *one, const char *by) {
  const char *why = choose(r, &one->request, by);
  one->used |= !why;
  if (why && (!one->without || *why)) {
    one->without = r;
    one->why = *why ? why : NULL;
  }
  return !why;
}

static void choose_cheapest(struct choices *c, struct region *r) {
  region_derive(r);
  if (r->variants.len == 1) return;
  region_price(r, c->target);
  for (int i = 1; i < r->variants.len; i++)
    if (r->variants.data[i].cost.seconds < r->variants.data[r->chosen].cost.seconds) r->chosen = i;
  r->chosen_by = "cost";
}

static void choose_for(struct choices *c, struct region *r) {
  struct asked *option = request_for(c, r, true), *entry = request_for(c, r, false);
  if (option && grant(r, option, "--variant")) {
    if (entry) entry->used = true;
    return;
  }
  if (entry && grant(r, entry, "schedule")) return;
  struct variant_request tuned;
  if (tuned_choice(r, c->target, &tuned) && !choose(r, &tuned, "tuned")) return;
  if (r->nodes.len > 1) choose_cheapest(c, r);
}

// A function is for one region: its prototype has that region's sizes.
static void bind_kernels(struct choices *c, struct region *r) {
  for (int i = 0; i < c->bound.len; i++) {
    struct bound *one = &c->bound.data[i];
    const struct kernel_binding *k = one->kernel;
    const struct variant_request as_request = {.program = k->program, .address = k->address};
    if (request_fit(&as_request, r->address) == NO_FIT || one->clashes) continue;
    if (!one->address) {
      one->address = r->address;
      region_bind(c->b, r, k);
      continue;
    }
    one->clashes = true;
    diag_error(c->b, k->loc, "'%s' means several regions, and a kernel is for one: %s, %s, …", k->address, one->address, r->address);
  }
}

void choices_make(struct choices *c, struct regions *rs) {
  for (int i = 0; i < rs->list.len; i++) {
    vec_push(c->b->arena, &c->addresses, rs->list.data[i].address);
    bind_kernels(c, &rs->list.data[i]);
    choose_for(c, &rs->list.data[i]);
  }
}

// ---- requests that were of no use -----------------------------------------------------------------

const char region_listed[] = "; `btc variants` lists what there is";

const char *region_near(struct arena *a, const char *wanted, const char *const *addresses, int n, const char *otherwise) {
  const char **names = NEW_ARRAY(a, const char *, 2 * n + 1);
  for (int i = 0; i < n; i++) {
    const char *slash = strchr(addresses[i], '/');
    names[i] = slash ? slash + 1 : addresses[i];
    names[n + i] = addresses[i];
  }
  const char *near = str_nearest(wanted, names, 2 * n);
  return near ? str_printf(a, "; did you mean '%s'?", near) : otherwise;
}

static void no_such_region(struct choices *c, struct loc loc, const char *before, const char *program, const char *address) {
  const char *of = program ? str_printf(c->b->arena, " of program %s", program) : "";
  const char *near = region_near(c->b->arena, address, c->addresses.data, c->addresses.len, region_listed);
  diag_error(c->b, loc, "%sno region%s is called '%s'%s", before, of, address, near);
}

static void no_such_variant(struct choices *c, const struct asked *one) {
  struct arena *a = c->b->arena;
  const struct region *r = one->without;
  int n = r->variants.len + r->refused.len;
  const char **names = NEW_ARRAY(a, const char *, n), *list = "", *wanted = one->request.variant;
  for (int i = 0; i < n; i++) {
    names[i] = i < r->variants.len ? r->variants.data[i].name : r->refused.data[i - r->variants.len].name;
    if (i < r->variants.len) list = str_printf(a, "%s%s%s", list, i ? ", " : "", names[i]);
  }
  const char *near = str_nearest(wanted, names, n), *before = of_command_line(c, one);
  if (one->why) diag_error(c->b, one->request.variant_loc, "%s%s cannot be computed as `%s`: %s", before, r->address, wanted, one->why);
  else if (near) diag_error(c->b, one->request.variant_loc, "%s%s has no variant `%s`; did you mean `%s`?", before, r->address, wanted, near);
  else diag_error(c->b, one->request.variant_loc, "%s%s has no variant `%s`; it has %s", before, r->address, wanted, list);
  if (r->loc.line) diag_note(c->b, r->loc, "the region begins here");
}

void choices_end(struct choices *c) {
  for (int i = 0; i < c->asked.len; i++) {
    const struct asked *one = &c->asked.data[i];
    if (one->used) continue;
    if (one->met) no_such_variant(c, one);
    else if (one->of_option || !c->partial) no_such_region(c, one->request.loc, of_command_line(c, one), one->request.program, one->request.address);
  }
  for (int i = 0; i < c->bound.len && !c->partial; i++) {
    const struct kernel_binding *k = c->bound.data[i].kernel;
    if (!c->bound.data[i].address) no_such_region(c, k->loc, "", k->program, k->address);
  }
}
