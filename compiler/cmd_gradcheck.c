// cmd_gradcheck.c: `btc gradcheck`: autodiff of a program's loss, or of a function, against central
// differences in the float64 interpreter.
#include <math.h>
#include <string.h>

#include "../runtime/random.h"
#include "command.h"
#include "eval.h"
#include "function_inputs.h"
#include "gradcheck.h"

static const double tolerance = 1e-5;
static const struct loc nowhere;

static const struct option_row options[] = {
    OPTION_PROGRAM("check the gradients of this program's loss (default: every program with one)"),
    OPTION_FUNCTION("check this function's gradients by its float inputs and parameters"),
    OPTION_SHAPE,
    {0, "samples", OPTION_NUMBER, "N", "entries checked in each tensor beside a random direction (default: 2)", OPTION_AT(samples), NULL},
    OPTION_SEED,
    {'D', "define", OPTION_ADD, "NAME=VALUE", "rebind a constant; with --function also a size or a static input", 0, option_add_define},
    OPTION_VARIANT, OPTION_COLOR, OPTION_HELP,
};

static const char about[] =
    "Compares autodiff with central differences in the float64 interpreter, and prints for each tensor\n"
    "the worst error relative to its gradient. Inputs and parameters are drawn from --seed; labels\n"
    "are 0 or 1. With --variant the gradients are those of the chosen variants. The interpreter is slow: rebind constants with -D to make the model small.\n"
    "Exit status 1 if an error is above 1e-5.\n";
static const char examples[] =
    "  btc gradcheck model.btg -D batch=4 -D dim=8\n"
    "  btc gradcheck model.btg --function barlow_twins --shape za=8x5 --shape zb=8x5 -D lambda=0.01\n";

static int run(struct btc *b, struct settings *s);
const struct command command_gradcheck = {
    "gradcheck", "FILE", "check gradients against finite differences", about, examples,
    options, sizeof options / sizeof *options, 1, 1, run,
};

// ---- random values ----------------------------------------------------------------------------

static uint32_t name_key(const char *name) { return (uint32_t)str_hash(name); }

// Floats are normal, integers 0 or 1.
static struct tensor64 *draw(struct arena *a, const char *name, const struct tensor_type *type, uint64_t seed) {
  struct bt_random random = bt_random_new(seed, BT_RANDOM_DATA, name_key(name), 0, 0);
  struct tensor64 *t = tensor64_new(a, type);
  int64_t n = shape_count(&type->shape);
  for (int64_t i = 0; i < n; i++)
    t->data[i] = dtype_is_float(type->dtype) ? bt_random_normal(&random) : (double)bt_random_below(&random, 2);
  return t;
}

// Constant initial values (a scale of 1, a bias of 0) would hide errors.
static void perturb(struct tensor64 *t, const char *name, uint64_t seed) {
  struct bt_random random = bt_random_new(seed, BT_RANDOM_INIT, name_key(name), 1, 0);
  int64_t n = shape_count(&t->type.shape);
  for (int64_t i = 0; i < n; i++) t->data[i] += bt_random_uniform(&random, -0.1, 0.1);
}

// A run's counters stand in its middle, where no schedule is at 0.
static struct tensor64 *draw_input(struct arena *a, const struct node *n, const char *name, uint64_t seed) {
  struct tensor64 *t = NULL;
  switch ((enum bt_input_kind)n->attr.i[INPUT_KIND]) {
  case BT_INPUT_VIEW: case BT_INPUT_LABEL: case BT_INPUT_ARRAY: case BT_INPUT_KEPT: return draw(a, name, &n->type, seed);
  case BT_INPUT_KEY:
    t = tensor64_new(a, &n->type);
    t->data[0] = (double)bt_draw_key(seed);
    return t;
  case BT_INPUT_STEP: case BT_INPUT_EPOCH:
    t = tensor64_new(a, &n->type);
    t->data[0] = 50;
    return t;
  case BT_INPUT_STEPS: case BT_INPUT_EPOCHS:
    t = tensor64_new(a, &n->type);
    t->data[0] = 100;
    return t;
  }
  die("input kind %d", (int)n->attr.i[INPUT_KIND]);
}

static void add_leaves(struct gradcheck *c, const struct graph *g, const value_list *tensors, uint64_t seed) {
  struct arena *a = g->b->arena;
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    if (n->op != OP_input && n->op != OP_param && n->op != OP_state) continue;
    const char *name = gradcheck_leaf_name(a, n);
    if (values_find(&c->leaves, name)) continue;
    struct tensor64 *t = n->op == OP_input ? draw_input(a, n, name, seed) : values_find(tensors, name);
    expect(t, "the model has no tensor '%s'", name);
    if (n->op == OP_param) perturb(t, name, seed);
    values_add(a, &c->leaves, name, t);
  }
}

// ---- the graphs -------------------------------------------------------------------------------

// What the node depends on, as a graph with the one output `name`.
static struct graph *slice_for(const struct graph *g, const struct node *y, const char *name) {
  bool *needed = NEW_ARRAY(g->b->arena, bool, g->nodes.len);
  needed[y->id] = true;
  for (int i = y->id; i >= 0; i--)
    for (int k = 0; needed[i] && k < g->nodes.data[i]->n_in; k++) needed[g->nodes.data[i]->in[k]->id] = true;
  struct rewrite r = rewrite_begin(g);
  for (int i = 0; i <= y->id; i++)
    if (needed[i]) r.map[i] = rewrite_copy(&r, g->nodes.data[i]);
  graph_output(r.to, name, BT_OUTPUT_VALUE, r.map[y->id]);
  return r.to;
}

static const struct tensor64 *leaf_value(void *user, const struct node *n) {
  const struct gradcheck *c = user;
  return values_find(&c->leaves, gradcheck_leaf_name(c->forward->b->arena, n));
}

// The graph with gradients as it is, or where variants are asked for, with these in it.
static const struct graph *with_variants(struct model *m, struct program *p) {
  if (m->b->opt.variants.len == 0) return p->graph;
  struct target target;
  target_from_march(&target, NULL);
  struct model alone = *m;
  alone.partial = true;
  return codegen_step(&alone, p, &target);
}

// What autodiff says: the outputs PREFIXname, under the name of their leaf.
static value_list analytic(struct gradcheck *c, const struct graph *g, const char *prefix) {
  value_list gradients = {0};
  struct tensor64 **values = interp_run(g, g->b->arena, false, leaf_value, c);
  for (int i = 0; i < g->outputs.len; i++) {
    const struct graph_output *o = &g->outputs.data[i];
    if (o->kind != BT_OUTPUT_VALUE || strncmp(o->name, prefix, strlen(prefix)) != 0) continue;
    const char *leaf = o->name + strlen(prefix);
    if (values_find(&c->leaves, leaf)) values_add(g->b->arena, &gradients, leaf, values[o->node->id]);
  }
  return gradients;
}

// ---- the table --------------------------------------------------------------------------------

// A gradient of zero differs from its difference by rounding alone, which is all of it.
static const char *verdict(const struct gradcheck_row *r) {
  if (!(r->error <= tolerance)) return "  WRONG";
  return r->difference > tolerance ? "  rounding" : "";
}

static bool print_rows(struct btc *b, const char *what, const gradcheck_rows *rows) {
  double worst = 0;
  printf("%s\n  %-40s %-22s %6s %12s %14s %14s\n", what, "tensor", "shape", "checks", "worst error", "autodiff", "difference");
  for (int i = 0; i < rows->len; i++) {
    const struct gradcheck_row *r = &rows->data[i];
    printf("  %-40s %-22s %6d %12.2e %14.6e %14.6e%s\n", r->name, shape_text(b->arena, &r->shape), r->checks, r->difference, r->analytic, r->numeric, verdict(r));
    double error = r->difference <= tolerance ? r->difference : r->error; // less rounding
    if (!isnan(worst) && !(error <= worst)) worst = error;                // a NaN stays
  }
  bool good = worst <= tolerance && rows->len > 0;
  if (rows->len == 0) printf("  nothing has a gradient\n");
  else printf("  worst beyond rounding %.2e, allowed %.0e: %s\n", worst, tolerance, good ? "good" : "WRONG");
  return good;
}

// ---- programs ---------------------------------------------------------------------------------

static bool check_program(struct model *m, struct program *p, const struct settings *s) {
  struct btc *b = m->b;
  value_list none = {0}, tensors = {0};
  struct eval e = {.m = m, .p = p, .given = &none, .seed = (uint64_t)s->seed};
  if (!eval_tensors(&e, &tensors)) return false;
  struct gradcheck c = {.forward = slice_for(p->graph, p->loss, "loss"), .of = "loss", .samples = (int)s->samples, .seed = (uint64_t)s->seed};
  eval_add_gradients(p);
  add_leaves(&c, p->graph, &tensors, c.seed);
  p->optimizer = NULL; // updates are not checked
  const struct graph *backward = with_variants(m, p);
  if (!backward) return false;
  value_list gradients = analytic(&c, backward, "grad.");
  c.gradients = &gradients;
  gradcheck_rows rows = {0};
  gradcheck_run(&c, &rows);
  return print_rows(b, str_printf(b->arena, "program %s", p->name), &rows);
}

static bool check_programs(struct btc *b, const struct settings *s) {
  struct model *m = driver_model(b, s->operands.data[0]);
  struct program *only = m && s->program ? driver_program(m, s->program) : NULL;
  if (!m || b->n_errors) return false;
  if (only && !only->loss) return diag_error(b, nowhere, "program '%s' minimises nothing", only->name), false;
  bool good = true;
  int n = 0;
  for (int i = 0; i < m->programs.len; i++) {
    struct program *p = &m->programs.data[i];
    if (!p->loss || (only && p != only)) continue;
    if (n++) putchar('\n');
    good &= check_program(m, p, s);
  }
  if (n == 0) diag_error(b, nowhere, "no program of the file minimises anything; --function NAME checks a function");
  return good && n > 0;
}

// ---- functions --------------------------------------------------------------------------------

static struct graph_output *the_output(struct btc *b, struct program *p) {
  for (int i = 0; i < p->graph->outputs.len; i++) {
    struct graph_output *o = &p->graph->outputs.data[i];
    if (o->kind == BT_OUTPUT_VALUE && str_eq(o->name, "out")) return o;
  }
  diag_error(b, nowhere, "a function of several results: check one that returns one of them");
  return NULL;
}

static bool check_arguments(struct model *m, const struct settings *s, value_list *given) {
  struct btc *b = m->b;
  struct program *forward = eval_function(m, s->function, given, false);
  struct graph_output *out = forward ? the_output(b, forward) : NULL;
  if (!out) return false;
  const struct tensor_type type = out->node->type;
  struct tensor64 *cotangent = type.shape.rank ? draw(b->arena, "dout", &type, (uint64_t)s->seed) : NULL;
  value_list none = {0}, tensors = {0};
  struct eval e = {.m = m, .p = forward, .given = &none, .seed = (uint64_t)s->seed};
  if (!eval_tensors(&e, &tensors)) return false;
  struct gradcheck c = {.forward = slice_for(forward->graph, out->node, "out"), .of = "out", .cotangent = cotangent, .leaves = *given, .samples = (int)s->samples, .seed = (uint64_t)s->seed};
  add_leaves(&c, forward->graph, &tensors, c.seed);
  if (cotangent) values_add(b->arena, &c.leaves, "dout", cotangent);
  struct program *p = eval_function(m, s->function, &c.leaves, true);
  const struct graph *backward = p ? with_variants(m, p) : NULL;
  if (!backward) return false;
  value_list gradients = analytic(&c, backward, "d");
  c.gradients = &gradients;
  gradcheck_rows rows = {0};
  gradcheck_run(&c, &rows);
  return print_rows(b, str_printf(b->arena, "function %s", s->function), &rows);
}

static bool check_function(struct btc *b, const struct settings *s) {
  named_types inputs = {0};
  struct model *m = function_inputs(b, s, &inputs);
  value_list given = {0};
  for (int i = 0; m && i < inputs.len; i++) {
    const struct named_type *input = &inputs.data[i];
    struct tensor64 *t = input->scalar ? tensor64_new(b->arena, &input->type) : draw(b->arena, input->name, &input->type, (uint64_t)s->seed);
    if (input->scalar) t->data[0] = *input->scalar;
    values_add(b->arena, &given, input->name, t);
  }
  return m && check_arguments(m, s, &given);
}

static int run(struct btc *b, struct settings *s) {
  if (s->function && s->program) return command_misuse(&command_gradcheck, "give --function or --program, not both");
  if (!s->function && s->shapes.len) return command_misuse(&command_gradcheck, "--shape goes with --function");
  return (s->function ? check_function(b, s) : check_programs(b, s)) ? EXIT_OK : EXIT_FAILED;
}
