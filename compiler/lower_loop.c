// lower_loop.c: picks the schedule of a loop kernel.
#include "nest.h"

static bool folds(const struct body *b) {
  for (int i = 0; i < b->n_axes; i++)
    if (b->reduced[i]) return true;
  return false;
}

void lower_loop(struct fusion *f, struct kernel *k, const struct target *t) {
  struct lb *b = lower_begin(f, k, t, equation_name(f, k));
  struct params *p = params_new(f, k, b);
  struct nest n;
  nest_begin(&n, p, k->body, b, k->body->n_axes - 1);
  lb_equation(b, equation_text(f, k, p));
  if (folds(k->body))
    lower_reduce(&n);
  else
    lower_map(&n); // folds over axes of one element store what they see
  lower_end(k, b);
}
