// elab_schedule.c: `schedule` blocks, as requests for variants of regions.
//
//   schedule pretrain { objective: streamed(panel: 512)   "encoder.layer*": direct }
//
// `kernel` alone names no variant: it makes one, of a C function of the user's.
//
// Which regions there are is known only when the step is compiled, so addresses and variants are checked
// there (choose.c); here the program must exist, and arguments must be whole numbers.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "elab.h"
#include "prototype.h"

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
    else if (!variant_argument_fits(*to)) {
      elab_error(e, f, given[i].loc, "%s must be a number from 1 to %d, not %lld", name, VARIANT_ARGUMENT_MOST, (long long)*to);
      ok = false;
    }
  }
  return ok;
}

// ---- kernels of the user's ------------------------------------------------------------------------

static bool string_of(struct elab *e, struct frame *f, const struct given *g, const char *what, const char **out) {
  if (g->value.kind == V_STRING) return *out = g->value.string, true;
  if (g->value.kind != V_ERROR) elab_error(e, f, g->loc, "%s is a string, not %s", what, value_text(e, &g->value));
  return false;
}

// Relative to the .btg file.
static const char *beside(struct elab *e, struct loc at, const char *path) {
  const char *file = e->b->files.data[at.file].path, *slash = path[0] == '/' ? NULL : strrchr(file, '/');
  return slash ? str_printf(e->b->arena, "%.*s/%s", (int)(slash - file), file, path) : path;
}

// objective: kernel("fast.c", "fast"): makes `fast` a variant of the region; chooses nothing.
static void bind_kernel(struct elab *e, struct frame *f, const char *program, const char *address, const struct schedule_entry *entry) {
  const struct label labels[] = {{.name = "file", .required = true}, {.name = "function", .required = true}};
  struct given given[2];
  struct kernel_binding k = {.program = program, .address = address, .loc = entry->address.loc};
  if (!args_match(e, f, &entry->args, entry->variant.loc, "`kernel`", labels, 2, given)) return;
  if (!string_of(e, f, &given[0], "the file of a kernel", &k.source) || !string_of(e, f, &given[1], "the function of a kernel", &k.function)) return;
  k.source = beside(e, entry->variant.loc, k.source);
  k.function_loc = given[1].loc;
  FILE *file = fopen(k.source, "r");
  if (!file) {
    elab_error(e, f, given[0].loc, "cannot read %s: %s", k.source, strerror(errno));
    return;
  }
  fclose(file);
  if (prototype_may_name(k.function)) vec_push(e->b->arena, &e->model->kernels, k);
  else elab_error(e, f, given[1].loc, "'%s' is not the name of a C function", k.function);
}

// ---- entries --------------------------------------------------------------------------------------

void schedule_elaborate(struct elab *e, struct frame *f, const struct decl *d) {
  if (d->name.name && !names_program(e, d)) return;
  for (int i = 0; i < d->entries.len; i++) {
    const struct schedule_entry *entry = &d->entries.data[i];
    struct variant_request r = {.program = d->name.name, .variant = entry->variant.name, .loc = entry->address.loc, .variant_loc = entry->variant.loc};
    r.address = entry->pattern ? entry->pattern : path_text(e->b->arena, &entry->address);
    if (str_eq(r.variant, "kernel")) {
      bind_kernel(e, f, r.program, r.address, entry);
      continue;
    }
    if (!read_arguments(e, f, entry, &r)) continue;
    const char *wrong = variant_request_fault(e->b->arena, &r, variant_takes(r.variant));
    if (wrong) elab_error(e, f, r.variant_loc, "%s", wrong);
    else vec_push(e->b->arena, &e->model->schedule, r);
  }
}
