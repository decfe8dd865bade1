// bind.c: C functions of the user's as variants (docs/variants.md).
//
// Such a variant is one extern node for each result, all over the region's inputs; lower_extern.c makes a
// call of them.
#include "prototype.h"

static bool name_is_free(struct btc *b, const struct region *r, const struct kernel_binding *k) {
  bool taken = region_variant(r, k->function) >= 0;
  for (int i = 0; i < r->refused.len; i++) taken |= str_eq(r->refused.data[i].name, k->function);
  if (taken) diag_error(b, k->function_loc, "%s has a variant `%s` already; call the function something else", r->address, k->function);
  return !taken;
}

static struct graph *call_of(struct btc *b, const struct region *r, const struct kernel_binding *k) {
  struct graph *g = graph_new(b, r->address);
  struct node **in = NEW_ARRAY(b->arena, struct node *, r->inputs.len);
  g->loc = k->function_loc;
  g->path = r->nodes.data[0]->path;
  for (int i = 0; i < r->inputs.len; i++)
    in[i] = g_input(g, str_printf(b->arena, "in%d", i), BT_INPUT_ARRAY, -1, 0, &r->inputs.data[i]->type);
  for (int i = 0; i < r->outputs.len; i++) {
    struct attr a = {.n = 2, .i = {[EXTERN_RESULT] = i, [EXTERN_OF] = r->outputs.len}, .s = k->function};
    struct node *out = graph_node(g, OP_extern, in, r->inputs.len, &a, &r->outputs.data[i]->type);
    graph_output(g, str_printf(b->arena, "out%d", i), BT_OUTPUT_VALUE, out);
  }
  graph_verify(g, "bind");
  return g;
}

bool region_bind(struct btc *b, struct region *r, const struct kernel_binding *k) {
  region_derive(r);
  if (!name_is_free(b, r, k)) return false;
  struct user_kernel *u = NEW(b->arena, struct user_kernel);
  *u = (struct user_kernel){k->function, k->source, prototype_header(b, r, k->function), k->function_loc,
                            prototype_arguments(b->arena, r)};
  struct variant v = {.name = k->function,
                      .help = str_printf(b->arena, "a C function of %s", k->source),
                      .graph = call_of(b, r, k),
                      .schedule = {.variant = k->function, .user = u}};
  vec_push(b->arena, &r->variants, v);
  return true;
}
