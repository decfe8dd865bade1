// variants.c: the variants of a region.
//
// Regions of several nodes get what the derivations (derive_*.c) make of their plain graph; a derivation
// that does not apply says why, and that is kept for people. A single product may also be a call of BLAS.
// A derived graph passes the verifier here, whoever made it.
#include <math.h>

#include "regions.h"

struct derivation {
  const char *name, *help;
  struct graph *(*derive)(const struct graph *g, int64_t panel, note_list *notes, const char **why);
};

static struct graph *fused(const struct graph *g, int64_t panel, note_list *notes, const char **why) {
  (void)panel;
  return derive_fused(g, notes, why);
}

static struct graph *gram(const struct graph *g, int64_t panel, note_list *notes, const char **why) {
  (void)panel;
  return derive_gram(g, notes, why);
}

static const struct derivation derivations[] = {
    {"fused", "normalisation while operands are packed, loss and gradient while results are in registers", fused},
    {"streamed", "as fused, panel of columns by panel: the product is never stored", derive_streamed},
    {"gram", "sums of squares of a product by two products of samples with samples", gram},
};
enum { DERIVATIONS = sizeof derivations / sizeof *derivations };

static const struct derivation *derivation_of(const char *name) {
  for (int i = 0; i < DERIVATIONS; i++)
    if (str_eq(derivations[i].name, name)) return &derivations[i];
  die("no derivation is called %s", name);
}

// NULL, or why there is none.
static const char *derive(const struct region *r, const struct derivation *d, int64_t panel, struct variant *v) {
  const char *why = NULL;
  *v = (struct variant){.name = d->name, .help = d->help, .schedule.variant = d->name, .panel = panel};
  v->graph = d->derive(r->variants.data[0].graph, panel, &v->notes, &why);
  if (v->graph) graph_verify(v->graph, d->name);
  expect(v->graph || why, "the derivation of %s refuses %s without a reason", d->name, r->address);
  return v->graph ? NULL : why;
}

static void add_derived(struct region *r, const struct derivation *d) {
  struct arena *a = r->variants.data[0].graph->b->arena;
  struct variant v;
  const char *why = derive(r, d, 0, &v);
  if (why) vec_push(a, &r->refused, ((struct refusal){d->name, why}));
  else vec_push(a, &r->variants, v);
}

const char *region_derive_panel(struct region *r, const char *name, int64_t panel) {
  struct variant v;
  const char *why = derive(r, derivation_of(name), panel, &v);
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
  struct variant plain = r->variants.data[0];
  if (r->nodes.len > 1) {
    for (int i = 0; i < DERIVATIONS; i++) add_derived(r, &derivations[i]);
  } else if (r->nodes.data[0]->op == OP_matmul) {
    plain.name = plain.schedule.variant = "blas";
    plain.help = "a product by the BLAS library";
    plain.schedule.blas = true;
    vec_push(plain.graph->b->arena, &r->variants, plain);
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
