// elab_schedule.c: `schedule` blocks, as requests for variants of regions.
//
//   schedule pretrain { objective: streamed(panel: 512)   "encoder.layer*": direct }
//
// Which regions there are is known only when the step is compiled, so addresses and variants are checked
// there (choose.c); here the program must exist, and arguments must be whole numbers.
#include <string.h>

#include "elab.h"
#include "regions.h"

static bool names_program(struct elab *e, const struct decl *d) {
  const char *names[256];
  int n = 0;
  for (int i = 0; i < e->programs.len && n < 256; i++) {
    names[n++] = e->programs.data[i]->name;
    if (str_eq(e->programs.data[i]->name, d->name.name)) return true;
  }
  elab_error(e, NULL, d->name.loc, "there is no program `%s`%s", d->name.name, did_you_mean(e, d->name.name, names, n));
  return false;
}

static bool read_arguments(struct elab *e, struct frame *f, const struct schedule_entry *entry, struct variant_request *r) {
  struct label labels[VARIANT_ARGUMENTS];
  struct given given[VARIANT_ARGUMENTS];
  const char *what = str_printf(e->b->arena, "`%s`", r->variant);
  for (int i = 0; i < VARIANT_ARGUMENTS; i++) labels[i] = (struct label){.name = variant_arguments[i].name};
  if (!args_match(e, f, &entry->args, r->variant_loc, what, labels, VARIANT_ARGUMENTS, given)) return false;
  bool ok = true;
  for (int i = 0; i < VARIANT_ARGUMENTS; i++) {
    if (!given[i].present) continue;
    int64_t *to = variant_argument(r, i);
    const char *name = str_printf(e->b->arena, "`%s` of %s", labels[i].name, what);
    if (!static_int(e, f, given[i].value, to, name)) ok = false;
    else if (*to < 1) {
      elab_error(e, f, given[i].loc, "%s must be a number from 1, not %lld", name, (long long)*to);
      ok = false;
    }
  }
  return ok;
}

void schedule_elaborate(struct elab *e, struct frame *f, const struct decl *d) {
  if (d->name.name && !names_program(e, d)) return;
  for (int i = 0; i < d->entries.len; i++) {
    const struct schedule_entry *entry = &d->entries.data[i];
    struct variant_request r = {.program = d->name.name, .variant = entry->variant.name, .loc = entry->address.loc, .variant_loc = entry->variant.loc};
    r.address = entry->pattern ? entry->pattern : path_text(e->b->arena, &entry->address);
    if (!read_arguments(e, f, entry, &r)) continue;
    const char *wrong = variant_request_fault(e->b->arena, &r);
    if (wrong) elab_error(e, f, r.variant_loc, "%s", wrong);
    else vec_push(e->b->arena, &e->model->schedule, r);
  }
}
