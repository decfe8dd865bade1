// explain_regions.c: what `btc explain` says of regions: the ways there are, what each derivation did or why it
// refused, which way was taken and by whose word.
#include "explain_internal.h"

#include "units.h"

static void print_ports(FILE *out, struct arena *a, const char *what, struct node *const *nodes, const char *const *names, int n) {
  for (int i = 0; i < n; i++) fprintf(out, "%s %s: %s", i ? "," : what, names[i], type_text(a, &nodes[i]->type));
  fputc('\n', out);
}

static const char *authority(const char *by) {
  static const char *const phrases[][2] = {{"default", "by default"},
                                           {"cost", "it has the least predicted time"},
                                           {"--variant", "by --variant"},
                                           {"schedule", "by the schedule block of the file"},
                                           {"tuned", "btc tune measured it to be fastest"}};
  for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++)
    if (str_eq(phrases[i][0], by)) return phrases[i][1];
  return by;
}

static void print_variant(FILE *out, struct btc *b, const struct region *r, int i) {
  const struct variant *v = &r->variants.data[i];
  struct arena *a = b->arena;
  fprintf(out, "  %c %-10s %s\n", i == r->chosen ? '*' : ' ', v->name, v->help);
  const char *flops = v->schedule.user ? "?" : unit_flops(a, v->cost.flops);
  fprintf(out, "               %s, %s moved, %s of temporaries, kernels: %d, predicted %s\n", flops, unit_bytes(a, v->cost.bytes),
          unit_bytes(a, (double)v->cost.temporaries), v->cost.kernels, unit_seconds(a, v->cost.seconds));
  if (i == r->chosen) fprintf(out, "               chosen: %s\n", authority(r->chosen_by));
  for (int k = 0; k < v->notes.len; k++) {
    const char *place = place_name(b, v->notes.data[k].loc);
    fprintf(out, "               - %s%s%s%s\n", v->notes.data[k].text, place ? " (" : "", place ? place : "", place ? ")" : "");
  }
}

static void print_region(FILE *out, struct btc *b, const struct region *r) {
  place_list line = {0};
  places_add(b, &line, r->loc);
  fprintf(out, "  region %s\n", r->address);
  if (line.len) fprintf(out, "    %-20s %s\n", line.data[0].name, line.data[0].text);
  print_ports(out, b->arena, "    from", r->inputs.data, r->input_names.data, r->inputs.len);
  print_ports(out, b->arena, "    to  ", r->outputs.data, r->output_names.data, r->outputs.len);
  for (int i = 0; i < r->variants.len; i++) print_variant(out, b, r, i);
  for (int i = 0; i < r->refused.len; i++)
    fprintf(out, "    %-10s refused: %s\n", r->refused.data[i].name, r->refused.data[i].why);
}

// Single products and convolutions are many, and mostly as they always are: those alone are left out.
static bool is_wanted(const struct region *r, const char *pattern) {
  if (pattern) return region_matches(pattern, r->address);
  return r->nodes.len > 1 || r->chosen != 0;
}

void explain_regions(FILE *out, const struct codegen *cg, const struct codegen_program *p, const char *pattern) {
  for (int i = 0; i < p->regions->list.len; i++) {
    struct region *r = &p->regions->list.data[i];
    if (!is_wanted(r, pattern)) continue;
    region_derive(r);
    region_price(r, &cg->target);
    print_region(out, cg->model->b, r);
  }
}
