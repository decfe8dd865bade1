// cmd_check.c: `btc check`: what a file's programs are and what they will cost, without compiling C.
//
// Everything is first gathered as JSON; the table for people is printed from that, so the two forms
// cannot disagree.
#include <jansson.h>
#include <string.h>

#include "codegen.h"
#include "command.h"

static const struct option_row options[] = {
    OPTION_PROGRAM("only this program"),
    {0, "json", OPTION_FLAG, NULL, "print JSON", OPTION_AT(json), NULL},
    OPTION_DEFINE, OPTION_MARCH, OPTION_VARIANT, OPTION_NO_TUNED, OPTION_DISABLE_PASS, OPTION_COLOR, OPTION_HELP,
};

static const char about[] =
    "Checks a .btg file and prints, for each program: inputs and outputs with their shapes, parameters\n"
    "by instance, memory as planned, arithmetic of a step, kernels.\n";
static const char examples[] =
    "  btc check model.btg\n"
    "  btc check model.btg -D batch=64 --json | jq '.programs[0].memory'\n";

static int run(struct btc *b, struct settings *s);
const struct command command_check = {
    "check", "FILE", "check a file: shapes, parameters, memory, arithmetic", about, examples,
    options, sizeof options / sizeof *options, 1, 1, run,
};

// ---- gathering --------------------------------------------------------------------------------

static json_t *type_json(struct arena *a, const char *name, const struct tensor_type *type) {
  json_t *o = json_pack("{s:s, s:s}", "name", name ? name : "", "type", type_text(a, type));
  json_t *shape = json_array();
  for (int i = 0; i < type->shape.rank; i++) json_array_append_new(shape, json_integer(type->shape.dim[i]));
  json_object_set_new(o, "shape", shape);
  return o;
}

static const char *kind_text(const struct model *m, const struct node *n) {
  int64_t view = n->attr.i[INPUT_VIEW];
  switch ((enum bt_input_kind)n->attr.i[INPUT_KIND]) {
  case BT_INPUT_VIEW: return view < 0 ? "raw images" : str_printf(m->b->arena, "images through view %s", m->views.data[view].name);
  case BT_INPUT_LABEL: return "labels";
  case BT_INPUT_ARRAY: return "array";
  case BT_INPUT_KEY: return "random key";
  case BT_INPUT_KEPT: return "kept by a pass before";
  default: return "progress of the run";
  }
}

static json_t *inputs_json(const struct model *m, const struct graph *g) {
  json_t *list = json_array();
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    if (n->op != OP_input) continue;
    json_t *o = type_json(m->b->arena, n->attr.s, &n->type);
    json_object_set_new(o, "kind", json_string(kind_text(m, n)));
    json_array_append_new(list, o);
  }
  return list;
}

static json_t *outputs_json(const struct model *m, const struct graph *g) {
  static const char *const kinds[] = {[BT_OUTPUT_LOSS] = "loss", [BT_OUTPUT_REPORT] = "report", [BT_OUTPUT_VALUE] = "value", [BT_OUTPUT_ROWS] = "rows"};
  json_t *list = json_array();
  for (int i = 0; i < g->outputs.len; i++) {
    const struct graph_output *out = &g->outputs.data[i];
    json_t *o = type_json(m->b->arena, out->name, &out->node->type);
    json_object_set_new(o, "kind", json_string(kinds[out->kind]));
    json_array_append_new(list, o);
  }
  return list;
}

static bool uses(const struct graph *g, const char *name) {
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    if ((n->op == OP_param || n->op == OP_state) && str_eq(n->attr.s, name)) return true;
  }
  return false;
}

static void add_to(json_t *row, const char *key, json_int_t n) {
  json_object_set_new(row, key, json_integer(json_integer_value(json_object_get(row, key)) + n));
}

static json_t *row_of(json_t *list, const char *instance) {
  size_t i;
  json_t *row;
  json_array_foreach(list, i, row) if (str_eq(json_string_value(json_object_get(row, "instance")), instance)) return row;
  row = json_pack("{s:s, s:i, s:i, s:i, s:i}", "instance", instance, "tensors", 0, "parameters", 0, "states", 0, "bytes", 0);
  json_array_append_new(list, row);
  return row;
}

// Trained scalars and layers' state by top-level instance; the optimiser's state has a row of its own.
static json_t *instances_json(const struct model *m, const struct graph *g) {
  json_t *list = json_array();
  for (int i = 0; i < m->tensors.len; i++) {
    const struct bt_tensor *t = &m->tensors.data[i];
    if (!uses(g, t->name)) continue;
    const char *instance = t->role == BT_OPTIMIZER ? "(optimizer)" : str_ndup(m->b->arena, t->name, strcspn(t->name, "."));
    json_int_t count = 1;
    for (int k = 0; k < t->rank; k++) count *= t->shape[k];
    json_t *row = row_of(list, instance);
    add_to(row, "tensors", 1);
    add_to(row, t->role == BT_PARAM ? "parameters" : "states", count);
    add_to(row, "bytes", count * dtype_size(t->dtype));
  }
  return list;
}

static json_t *program_json(const struct model *m, const struct codegen *cg, const struct program *p) {
  struct codegen_size size = codegen_size(cg, p);
  json_t *o = json_pack("{s:s, s:s?, s:I, s:i, s:b}", "name", p->name, "owner", p->owner, "batch", (json_int_t)p->batch, "epochs", p->epochs, "trains", p->loss != NULL);
  json_object_set_new(o, "inputs", inputs_json(m, p->graph));
  json_object_set_new(o, "outputs", outputs_json(m, p->graph));
  json_object_set_new(o, "instances", instances_json(m, p->graph));
  json_object_set_new(o, "memory", json_pack("{s:I, s:I, s:I, s:I, s:I}", "store", (json_int_t)size.store, "parameters", (json_int_t)size.parameters,
                                             "states", (json_int_t)size.states, "arena", (json_int_t)size.arena, "thread_scratch", (json_int_t)size.thread_scratch));
  json_object_set_new(o, "flops", json_real(size.flops));
  json_object_set_new(o, "kernels", json_integer(size.kernels));
  json_object_set_new(o, "distinct_kernels", json_integer(size.distinct_kernels));
  return o;
}

// ---- the table --------------------------------------------------------------------------------

static const char *text_of(const json_t *o, const char *key) { return json_string_value(json_object_get(o, key)); }
static long long integer_of(const json_t *o, const char *key) { return json_integer_value(json_object_get(o, key)); }

static void print_types(const json_t *list, const char *heading) {
  size_t i;
  json_t *o;
  if (json_array_size(list) == 0) return;
  printf("  %s\n", heading);
  json_array_foreach(list, i, o) printf("    %-20s %-28s %s\n", text_of(o, "name"), text_of(o, "type"), text_of(o, "kind"));
}

static void print_instances(const json_t *list) {
  size_t i;
  json_t *o;
  long long total[3] = {0};
  if (json_array_size(list) == 0) return;
  printf("  %-22s %9s %14s %12s\n", "instances", "tensors", "parameters", "state");
  json_array_foreach(list, i, o) {
    printf("    %-20s %9lld %14lld %12lld\n", text_of(o, "instance"), integer_of(o, "tensors"), integer_of(o, "parameters"), integer_of(o, "states"));
    total[0] += integer_of(o, "tensors"), total[1] += integer_of(o, "parameters"), total[2] += integer_of(o, "states");
  }
  printf("    %-20s %9lld %14lld %12lld\n", "total", total[0], total[1], total[2]);
}

static void print_bytes(const char *name, long long bytes, const char *note) {
  const char *unit = bytes < 10240 ? "B" : bytes < 10 << 20 ? "KiB" : "MiB";
  double scale = bytes < 10240 ? 1 : bytes < 10 << 20 ? 0x1p10 : 0x1p20;
  printf("    %-20s %9.*f %-4s %s\n", name, bytes < 10240 ? 0 : 1, (double)bytes / scale, unit, note);
}

static void print_flops(double flops) {
  static const struct { double at_least; const char *unit; } units[] = {{1e12, "TFLOP"}, {1e9, "GFLOP"}, {1e6, "MFLOP"}, {1e3, "kFLOP"}, {0, "FLOP"}};
  size_t i = 0;
  while (flops < units[i].at_least) i++;
  printf("    %-20s %9.1f %s\n", "arithmetic", flops / (units[i].at_least > 0 ? units[i].at_least : 1), units[i].unit);
}

static void print_program(const json_t *o) {
  const json_t *memory = json_object_get(o, "memory");
  bool pass = !json_is_null(json_object_get(o, "owner")), trains = json_is_true(json_object_get(o, "trains"));
  printf("%s %s: batch %lld%s\n", pass ? "pass" : "program", text_of(o, "name"), integer_of(o, "batch"), pass || trains ? "" : ", trains nothing");
  print_types(json_object_get(o, "inputs"), "inputs");
  print_types(json_object_get(o, "outputs"), "outputs");
  print_instances(json_object_get(o, "instances"));
  printf("  memory\n");
  print_bytes("store", integer_of(memory, "store"), "parameters and states of all programs");
  print_bytes("arena", integer_of(memory, "arena"), "temporaries of a step");
  print_bytes("thread scratch", integer_of(memory, "thread_scratch"), "for each thread");
  printf("  step\n");
  print_flops(json_real_value(json_object_get(o, "flops")));
  printf("    %-20s %9lld (%lld distinct)\n", "kernels", integer_of(o, "kernels"), integer_of(o, "distinct_kernels"));
}

static void print_all(const json_t *report, bool as_json) {
  size_t i;
  json_t *o;
  if (as_json) {
    json_dumpf(report, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(12));
    putchar('\n');
    return;
  }
  if (json_array_size(json_object_get(report, "programs")) == 0)
    printf("no program: constants, instances and all names are right; shapes are checked where functions are called\n");
  json_array_foreach(json_object_get(report, "programs"), i, o) {
    if (i) putchar('\n');
    print_program(o);
  }
}

// JSON is UTF-8, the name of a file may be anything: then all beyond ASCII becomes '?'.
static json_t *argument_json(struct arena *a, const char *text) {
  json_t *json = json_string(text);
  if (json) return json;
  char *ascii = str_ndup(a, text, strlen(text));
  for (char *p = ascii; *p; p++)
    if (*p & 0x80) *p = '?';
  return json_string(ascii);
}

static int run(struct btc *b, struct settings *s) {
  struct model *m = driver_model(b, s->operands.data[0]);
  struct target target;
  target_from_march(&target, s->opt.march);
  struct program *only = m && s->program ? driver_program(m, s->program) : NULL;
  struct codegen *cg = m && b->n_errors == 0 ? codegen_model(m, &target) : NULL;
  if (!cg || b->n_errors) return EXIT_FAILED;
  json_t *report = json_pack("{s:o, s:o, s:[]}", "file", argument_json(b->arena, s->operands.data[0]), "march", argument_json(b->arena, target.march), "programs");
  for (int i = 0; i < m->programs.len; i++) {
    const struct program *p = &m->programs.data[i];
    if (!only || p == only) json_array_append_new(json_object_get(report, "programs"), program_json(m, cg, p));
  }
  print_all(report, s->json);
  json_decref(report);
  return EXIT_OK;
}
