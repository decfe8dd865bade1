// cmd_variants.c: `btc variants`: in which ways the regions of a step can be computed, and which way is
// chosen.
//
// Everything is first gathered as JSON; the table for people is printed from that, so the two forms
// cannot disagree.
#include <ctype.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "codegen.h"
#include "command.h"
#include "places.h"
#include "function_inputs.h"
#include "kernels.h"
#include "prototype.h"
#include "subjects.h"

static const struct option_row options[] = {
    OPTION_PROGRAM("only this program"),
    OPTION_FUNCTION("a function with its gradients, instead of programs"),
    OPTION_SHAPE,
    {0, "json", OPTION_FLAG, NULL, "print JSON", OPTION_AT(json), NULL},
    {0, "prototype", OPTION_TEXT, "REGION[=NAME]", "print a C header for a function of yours that computes the region", OPTION_AT(prototype), NULL},
    {'D', "define", OPTION_ADD, "NAME=VALUE", "rebind a constant; with --function also a size or a static input", 0, option_add_define},
    OPTION_VARIANT, OPTION_NO_TUNED, OPTION_MARCH, OPTION_DISABLE_PASS, OPTION_COLOR, OPTION_HELP,
};

static const char about[] =
    "Lists the regions of each program's step that can be computed in several ways: objectives, forward and\n"
    "backward together, and single products and convolutions. For every variant: arithmetic, memory traffic,\n"
    "temporaries, kernels and predicted time; `*` marks the choice. REGION, an address or a glob, restricts the list.\n"
    "--variant, or a `schedule` block in FILE, chooses another.\n\n"
    "--prototype prints what a C function of your own must look like to compute a region (docs/variants.md).\n";
static const char examples[] =
    "  btc variants model.btg objective\n"
    "  btc variants model.btg --program pretrain '*dweight*'\n"
    "  btc variants model.btg --function barlow_twins --shape za=256x8192 --shape zb=256x8192\n"
    "  btc compile model.btg --variant objective=gram -o train\n";

static int run(struct btc *b, struct settings *s);
const struct command command_variants = {
    "variants", "FILE [REGION]", "list the ways in which parts of a step can be computed", about, examples,
    options, sizeof options / sizeof *options, 1, 2, run,
};

// ---- gathering ----------------------------------------------------------------------------------

static json_t *ports_json(struct btc *b, struct node *const *nodes, const char *const *names, int n) {
  json_t *list = json_array();
  for (int i = 0; i < n; i++)
    json_array_append_new(list, json_pack("{s:s, s:s}", "name", names[i], "type", type_text(b->arena, &nodes[i]->type)));
  return list;
}

// null: not known.
static json_t *number_json(double x) { return isnan(x) ? json_null() : json_real(x); }

static json_t *variant_json(const struct region *r, int i) {
  const struct variant *v = &r->variants.data[i];
  json_t *o = json_pack("{s:s, s:s, s:b}", "name", v->name, "help", v->help, "chosen", i == r->chosen);
  json_object_set_new(o, "flops", number_json(v->cost.flops));
  json_object_set_new(o, "bytes", json_real(v->cost.bytes));
  json_object_set_new(o, "temporaries", json_integer((json_int_t)v->cost.temporaries));
  json_object_set_new(o, "kernels", json_integer(v->cost.kernels));
  json_object_set_new(o, "predicted_seconds", number_json(v->cost.seconds));
  return o;
}

static json_t *region_json(struct btc *b, const struct region *r) {
  json_t *variants = json_array(), *refused = json_array();
  const char *place = place_name(b, r->loc);
  for (int i = 0; i < r->variants.len; i++) json_array_append_new(variants, variant_json(r, i));
  for (int i = 0; i < r->refused.len; i++)
    json_array_append_new(refused, json_pack("{s:s, s:s}", "name", r->refused.data[i].name, "why", r->refused.data[i].why));
  json_t *o = json_pack("{s:s, s:s, s:s}", "address", r->address, "chosen", r->variants.data[r->chosen].name, "chosen_by", r->chosen_by);
  json_object_set_new(o, "place", place ? json_string(place) : json_null());
  json_object_set_new(o, "inputs", ports_json(b, r->inputs.data, r->input_names.data, r->inputs.len));
  json_object_set_new(o, "outputs", ports_json(b, r->outputs.data, r->output_names.data, r->outputs.len));
  json_object_set_new(o, "variants", variants);
  json_object_set_new(o, "refused", refused);
  return o;
}

// The operand may leave out the program, as --variant may.
static bool wanted(const struct settings *s, const struct region *r) {
  if (s->operands.len < 2) return true;
  return region_matches(s->operands.data[1], r->address);
}

typedef VEC(const char *) name_list;

// Adds all addresses to `known`, whether they are wanted or not.
static json_t *program_json(struct model *m, struct program *p, struct choices *choices, const struct target *t, const struct settings *s, name_list *known) {
  struct regions *regions;
  if (!codegen_regions(m, p, choices, &regions)) return NULL;
  json_t *list = json_array();
  for (int i = 0; i < regions->list.len; i++) {
    struct region *r = &regions->list.data[i];
    vec_push(m->b->arena, known, r->address);
    if (!wanted(s, r)) continue;
    region_derive(r);
    region_price(r, t);
    json_array_append_new(list, region_json(m->b, r));
  }
  return json_pack("{s:s, s:o}", "name", p->name, "regions", list);
}

// ---- the table ----------------------------------------------------------------------------------

static const char *text_of(const json_t *o, const char *key) { return json_string_value(json_object_get(o, key)); }
static double number_of(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

static void print_ports(const json_t *list, const char *before) {
  size_t i;
  json_t *o;
  json_array_foreach(list, i, o) printf("%s%s: %s", i ? ", " : before, text_of(o, "name"), text_of(o, "type"));
}

static void print_scaled(const json_t *v, const char *key, double scale) {
  if (json_is_null(json_object_get(v, key))) printf(" %9s", "?");
  else printf(" %9.3f", scale * number_of(v, key));
}

static void print_variant(const json_t *v, const char *by) {
  double bytes = number_of(v, "temporaries");
  bool chosen = json_is_true(json_object_get(v, "chosen"));
  printf("  %c %-12s", chosen ? '*' : ' ', text_of(v, "name"));
  print_scaled(v, "flops", 1e-9);
  printf(" %9.1f %9.1f MiB %8.0f", 1e-6 * number_of(v, "bytes"), bytes / 0x1p20, number_of(v, "kernels"));
  print_scaled(v, "predicted_seconds", 1e3);
  if (chosen && !str_eq(by, "default")) printf("  by %s", by);
  putchar('\n');
}

static void print_region(const json_t *r) {
  size_t i;
  json_t *o;
  printf("%s", text_of(r, "address"));
  if (text_of(r, "place")) printf("   %s", text_of(r, "place"));
  print_ports(json_object_get(r, "inputs"), "\n  from ");
  print_ports(json_object_get(r, "outputs"), "\n  to ");
  putchar('\n');
  json_array_foreach(json_object_get(r, "variants"), i, o) print_variant(o, text_of(r, "chosen_by"));
  json_array_foreach(json_object_get(r, "refused"), i, o) printf("    %-12s no: %s\n", text_of(o, "name"), text_of(o, "why"));
}

static void print_table(const json_t *programs) {
  size_t i, k;
  json_t *p, *r;
  bool any = false;
  json_array_foreach(programs, i, p) {
    json_array_foreach(json_object_get(p, "regions"), k, r) {
      if (!any) printf("    %-12s %9s %9s %13s %8s %9s\n", "variant", "GFLOP", "MB moved", "temporaries", "kernels", "ms");
      any = true;
      print_region(r);
    }
  }
  if (!any) printf("no region: nothing here can be computed in another way\n");
}

// ---- the command --------------------------------------------------------------------------------

static bool any_region(const json_t *programs) {
  size_t i;
  json_t *p;
  bool any = false;
  json_array_foreach(programs, i, p) any |= json_array_size(json_object_get(p, "regions")) > 0;
  return any;
}

static json_t *programs_json(struct btc *b, const struct settings *s, const struct target *t) {
  name_list known = {0};
  struct model *m = subject_model(b, s);
  if (!m || b->n_errors) return NULL;
  struct choices *choices = choices_begin(m, t);
  json_t *list = json_array();
  for (int i = 0; i < m->programs.len; i++) {
    json_t *o = program_json(m, &m->programs.data[i], choices, t, s, &known);
    if (o) json_array_append_new(list, o);
  }
  if (b->n_errors == 0) choices_end(choices);
  if (b->n_errors == 0 && s->operands.len > 1 && !any_region(list)) {
    const char *wanted = s->operands.data[1];
    diag_error(b, (struct loc){0}, "no region is called '%s'%s", wanted, region_near(b->arena, wanted, known.data, known.len, "; without it all are listed"));
  }
  return list;
}

// ---- prototypes -----------------------------------------------------------------------------------

// The function that is bound already, else one called as the region's role is.
static const char *function_name(struct arena *a, const struct region *r) {
  for (int i = 0; i < r->variants.len; i++)
    if (r->variants.data[i].schedule.user) return r->variants.data[i].name;
  char *name = str_printf(a, "%s", strrchr(r->address, '/') + 1);
  for (char *p = name; *p; p++)
    if (!isalnum((unsigned char)*p)) *p = '_';
  return name;
}

static bool print_prototype(struct btc *b, const struct settings *s, const struct target *t) {
  const char *equals = strchr(s->prototype, '=');
  size_t length = equals ? (size_t)(equals - s->prototype) : strlen(s->prototype);
  struct settings one = *s;
  subject_list found = {0};
  one.operands = (typeof(one.operands)){0};
  vec_push(b->arena, &one.operands, s->operands.data[0]);
  vec_push(b->arena, &one.operands, str_ndup(b->arena, s->prototype, length));
  if (!subjects_find(b, &one, t, &found)) return false;
  if (found.len > 1) {
    diag_error(b, (struct loc){0}, "--prototype %s: that means several regions, and a function is for one: %s, %s, …", s->prototype, found.data[0]->address, found.data[1]->address);
    return false;
  }
  const struct region *r = found.data[0];
  const char *name = equals ? equals + 1 : function_name(b->arena, r);
  if (!prototype_may_name(name)) return diag_error(b, (struct loc){0}, "--prototype: '%s' is not the name of a C function", name), false;
  fputs(prototype_header(b, r, name), stdout);
  return true;
}

static int run(struct btc *b, struct settings *s) {
  if (s->function && s->program) return command_misuse(&command_variants, "give --function or --program, not both");
  if (!s->function && s->shapes.len) return command_misuse(&command_variants, "--shape goes with --function");
  struct target target;
  target_from_march(&target, s->opt.march);
  if (s->prototype) return print_prototype(b, s, &target) ? EXIT_OK : EXIT_FAILED;
  json_t *programs = programs_json(b, s, &target);
  bool good = programs && b->n_errors == 0;
  if (good && s->json) {
    json_t *report = json_pack("{s:s, s:O}", "march", target.march, "programs", programs);
    json_dumpf(report, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    putchar('\n');
    json_decref(report);
  } else if (good) print_table(programs);
  json_decref(programs);
  return good ? EXIT_OK : EXIT_FAILED;
}
