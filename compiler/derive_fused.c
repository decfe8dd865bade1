// derive_fused.c: a region's graph with everything of a product's shape made pointwise.
//
// An objective over P = XᵀY, of D×D elements, reads P at its elements, on its diagonal, transposed,
// and its gradients read something of P's shape once more. What reads P element by element, or sums
// it up, can be computed in P's epilogue while the element is in a register; everything else needs
// P stored. So the rest is rewritten, by rules on top of those of simplification (fold.h):
//
//   derive_diagonal.c  the diagonal, as a choice by place
//   derive_turn.c      transposes, moved out or made to vanish; products of wide values
//   derive_sums.c      sums over the gradients, as sums over P's elements; sums of sums
//
// Barlow Twins ends as one product whose epilogue stores dL/dP and keeps three sums (of all, by
// row, by column), and two products that read dL/dP, whose epilogues finish the gradients.
#include "derive_wide.h"
#include "passes.h"

static const struct fold_row wide_rules[] = {
    {OP_diag, wide_diag_moves_in},
    {OP_where, wide_diag_under_mask},
    {OP_sum, wide_sum_of_diag},
    {OP_sum, wide_sum_of_thin},
    {OP_add, wide_sum_of_sums},
    {OP_sub, wide_sum_of_sums},
    {OP_add, wide_sum_of_products},
    {OP_transpose, wide_transpose_vanishes},
    {OP_COUNT, wide_elementwise_of_transposes},
    {OP_COUNT, wide_mask_as_number},
    {OP_COUNT, NULL},
};

// Once the products have met (A·M + A·Mᵀ): what they have in common may be no factor of each.
static const struct fold_row late_rules[] = {
    {OP_matmul, wide_product_of_scaled},
    {OP_sum, wide_sum_of_thin},
    {OP_COUNT, NULL},
};

// ---- what rules ask ---------------------------------------------------------------------------

void wide_note(struct fold *f, const char *text) {
  const struct wide *w = f->user;
  for (int i = 0; i < w->notes->len; i++) {
    const struct rewrite_note *n = &w->notes->data[i];
    if (str_eq(n->text, text) && n->loc.file == f->g->loc.file && n->loc.line == f->g->loc.line &&
        n->loc.column == f->g->loc.column)
      return;
  }
  vec_push(f->g->b->arena, w->notes, ((struct rewrite_note){text, f->g->loc}));
}

bool wide_is_mask(const struct node *n) {
  return n->op == OP_eq && n->type.shape.rank == 2 && fold_compares_places(n);
}

static void find_products(struct arena *a, struct node *x, bool *seen, node_list *out) {
  if (seen[x->id]) return;
  seen[x->id] = true;
  if (x->op == OP_matmul) vec_push(a, out, x);
  for (int i = 0; i < x->n_in && op_info(x->op)->class == ELEMENTWISE; i++)
    find_products(a, x->in[i], seen, out);
}

node_list wide_products(struct arena *a, const struct node *x) {
  node_list out = {0};
  find_products(a, (struct node *)(uintptr_t)x, NEW_ARRAY(a, bool, x->id + 1), &out);
  return out;
}

bool wide_reads(struct arena *a, const struct node *x, const struct node *product) {
  node_list products = wide_products(a, x);
  for (int i = 0; i < products.len; i++)
    if (products.data[i] == product) return true;
  return false;
}

static bool depends(const struct node *x, const struct node *from, bool *seen) {
  if (x == from) return true;
  if (x->id < from->id || seen[x->id]) return false;
  seen[x->id] = true;
  for (int i = 0; i < x->n_in; i++)
    if (depends(x->in[i], from, seen)) return true;
  return false;
}

bool wide_depends(struct arena *a, const struct node *x, const struct node *from) {
  return depends(x, from, NEW_ARRAY(a, bool, x->id + 1));
}

// ---- the derivation ---------------------------------------------------------------------------

// A product whose value something other than a product reads.
static bool has_wide_value(const struct graph *g) {
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    for (int k = 0; k < n->n_in && n->op != OP_matmul; k++)
      if (n->in[k]->op == OP_matmul) return true;
  }
  return false;
}

struct graph *derive_fused(const struct graph *g, note_list *notes, const char **why) {
  struct wide w = {notes};
  struct graph *to = fold_with(g, wide_rules, &w);
  to = fold_with(wide_replace_diagonals(to, notes), wide_rules, &w);
  to = fold_with(to, late_rules, &w);
  if (has_wide_value(to)) return pass_dce(pass_cse(pass_fold(to)));
  *why = "there is no product whose value is read here by anything but another product";
  return NULL;
}
