// variants.c: the variants of a region.
//
// Regions of several nodes get what the derivations (derive_*.c) make of their plain graph; a derivation
// that does not apply says why, and that is kept for people. A single product may also be a call of BLAS.
// A derived graph passes the verifier here, whoever made it. What a variant is called, says of itself and takes stands
// in one table; those of the user's functions (bind.c) take nothing.
#include <math.h>

#include "regions.h"

enum { BLOCKS = 1u << ARGUMENT_MC | 1u << ARGUMENT_KC | 1u << ARGUMENT_NC, PANEL = 1u << ARGUMENT_PANEL };

struct kind {
  const char *name, *help;
  unsigned takes;
  struct graph *(*derive)(const struct graph *g, int64_t panel, note_list *notes, const char **why); // NULL: a schedule
};

static struct graph *fused(const struct graph *g, int64_t panel, note_list *notes, const char **why) {
  (void)panel;
  return derive_fused(g, notes, why);
}

static struct graph *gram(const struct graph *g, int64_t panel, note_list *notes, const char **why) {
  (void)panel;
  return derive_gram(g, notes, why);
}

static const struct kind kinds[] = {
    {"unfused", "as written: every product and every fold stores its result", BLOCKS, NULL},
    {"fused", "normalisation while operands are packed, loss and gradient while results are in registers", BLOCKS, fused},
    {"streamed", "as fused, panel of columns by panel: the product is never stored", BLOCKS | PANEL, derive_streamed},
    {"gram", "sums of squares of a product by two products of samples with samples", BLOCKS, gram},
    {"gemm", "a product by a kernel of our own", BLOCKS, NULL},
    {"blas", "a product by the BLAS library", 0, NULL},
    {"direct", "a convolution without an intermediate matrix", 0, NULL},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static const struct kind *kind_named(const char *name) {
  for (int i = 0; i < KINDS; i++)
    if (str_eq(kinds[i].name, name)) return &kinds[i];
  return NULL;
}

static struct variant variant_of(const struct kind *k, struct graph *g) {
  return (struct variant){.name = k->name, .help = k->help, .takes = k->takes, .graph = g, .schedule.variant = k->name};
}

struct variant variant_new(const char *name, struct graph *g) {
  const struct kind *k = kind_named(name);
  expect(k, "no variant is called %s", name);
  return variant_of(k, g);
}

unsigned variant_takes(const char *name) {
  const struct kind *k = kind_named(name);
  return k ? k->takes : ~0u;
}

const char *variant_takers(struct arena *a, int i) {
  const char *list = "", *last = NULL;
  for (int k = 0; k < KINDS; k++) {
    if (!(kinds[k].takes >> i & 1)) continue;
    if (last) list = str_printf(a, "%s%s`%s`", list, *list ? ", " : "", last);
    last = kinds[k].name;
  }
  return *list ? str_printf(a, "%s and `%s`", list, last) : str_printf(a, "`%s`", last);
}

// ---- deriving -----------------------------------------------------------------------------------

// NULL, or why there is none.
static const char *derive(const struct region *r, const struct kind *k, int64_t panel, struct variant *v) {
  const char *why = NULL;
  *v = variant_of(k, NULL);
  v->panel = panel;
  v->graph = k->derive(r->variants.data[0].graph, panel, &v->notes, &why);
  if (v->graph) graph_verify(v->graph, k->name);
  expect(v->graph || why, "the derivation of %s refuses %s without a reason", k->name, r->address);
  return v->graph ? NULL : why;
}

static void add_derived(struct region *r, const struct kind *k) {
  struct arena *a = r->variants.data[0].graph->b->arena;
  struct variant v;
  const char *why = derive(r, k, 0, &v);
  if (why) vec_push(a, &r->refused, ((struct refusal){k->name, why}));
  else vec_push(a, &r->variants, v);
}

const char *region_derive_panel(struct region *r, const char *name, int64_t panel) {
  struct variant v;
  const struct kind *k = kind_named(name);
  expect(k && k->derive, "no derivation is called %s", name);
  const char *why = derive(r, k, panel, &v);
  if (why) return why;
  int at = region_variant(r, name);
  if (at < 0) vec_push(v.graph->b->arena, &r->variants, v);
  else r->variants.data[at] = v;
  for (int i = 0; i < r->refused.len; i++)
    if (str_eq(r->refused.data[i].name, name)) r->refused.data[i] = r->refused.data[--r->refused.len];
  return NULL;
}

void region_derive(struct region *r) {
  if (r->derived) return;
  r->derived = true;
  struct graph *plain = r->variants.data[0].graph;
  if (r->nodes.len > 1) {
    for (int i = 0; i < KINDS; i++)
      if (kinds[i].derive) add_derived(r, &kinds[i]);
  } else if (r->nodes.data[0]->op == OP_matmul) {
    struct variant blas = variant_new("blas", plain);
    blas.schedule.blas = true;
    vec_push(plain->b->arena, &r->variants, blas);
  }
}

int region_variant(const struct region *r, const char *name) {
  for (int i = 0; i < r->variants.len; i++)
    if (str_eq(r->variants.data[i].name, name)) return i;
  return -1;
}

void region_price(struct region *r, const struct target *t) {
  for (int i = 0; i < r->variants.len; i++) {
    struct variant *v = &r->variants.data[i];
    if (v->priced) continue;
    v->cost = graph_cost(graph_scheduled(v->graph, &v->schedule), t);
    if (v->schedule.user) v->cost.flops = v->cost.seconds = NAN;
    v->priced = true;
  }
}
