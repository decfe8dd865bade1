// lower_loop.c: picks the schedule of a loop kernel and names it.
#include <string.h>

#include "nest.h"

// "sum_mul" for a kernel with these results: what a reader of the C looks for.
static const char *kernel_name(struct fusion *f, const struct kernel *k) {
  const char *name = "";
  int shown = k->roots.len < 3 ? k->roots.len : 3;
  for (int i = 0; i < shown; i++)
    name = str_printf(f->arena, "%s%s%s", name, i ? "_" : "", op_info(k->roots.data[i].node->op)->name);
  return name;
}

static bool folds(const struct body *b) {
  for (int i = 0; i < b->n_axes; i++)
    if (b->reduced[i]) return true;
  return false;
}

void lower_loop(struct fusion *f, struct kernel *k, const struct target *t) {
  struct lb *b = lower_begin(f, k, t, kernel_name(f, k));
  struct nest n;
  nest_begin(&n, f, k, b, k->body->n_axes - 1);
  if (folds(k->body)) lower_reduce(&n, f);
  else lower_map(&n); // folds over axes of one element store what they see
  lower_end(k, b);
}
