// cmd_gradcheck.c: `btc gradcheck`: autodiff of a program's loss, or of a function, against central
// differences in the float64 interpreter.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../runtime/random.h"
#include "ast.h"
#include "command.h"
#include "eval.h"
#include "gradcheck.h"

static const double tolerance = 1e-5;
static const struct loc nowhere;

static const struct option_row options[] = {
    OPTION_PROGRAM("check the gradients of this program's loss (default: every program with one)"),
    OPTION_FUNCTION("check this function's gradients by its float inputs and parameters"),
    {0, "shape", OPTION_ADD, "NAME=AxB", "shape of a function's input", 0, option_add_shape},
    {0, "samples", OPTION_NUMBER, "N", "entries checked in each tensor beside a random direction (default: 2)", OPTION_AT(samples), NULL},
    OPTION_SEED,
    {'D', "define", OPTION_ADD, "NAME=VALUE", "rebind a constant; with --function also a size or a static input", 0, option_add_define},
    OPTION_COLOR, OPTION_HELP,
};

static const char about[] =
    "Compares autodiff with central differences in the float64 interpreter, and prints for each tensor\n"
    "the worst error relative to its gradient. Inputs and parameters are drawn from --seed; labels\n"
    "are 0 or 1. The interpreter is slow: rebind constants with -D to make the model small.\n"
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
  case BT_INPUT_VIEW: case BT_INPUT_LABEL: case BT_INPUT_ARRAY: return draw(a, name, &n->type, seed);
  case BT_INPUT_KEY:
    t = tensor64_new(a, &n->type);
    t->data[0] = (double)seed;
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
  value_list gradients = analytic(&c, p->graph, "grad.");
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

static const struct decl *find_decl(const struct file *f, enum decl_kind kind, const char *name) {
  for (int i = 0; i < f->decls.len; i++)
    if (f->decls.data[i]->kind == kind && str_eq(f->decls.data[i]->name.name, name)) return f->decls.data[i];
  return NULL;
}

// The number that -D, or a constant of the file, gives to a name.
static bool number_of(const struct file *f, const struct settings *s, const char *name, double *value) {
  for (int i = s->opt.defines.len - 1; i >= 0; i--) {
    const struct define *d = &s->opt.defines.data[i];
    if (!str_eq(d->name, name)) continue;
    if (str_eq(d->value, "true") || str_eq(d->value, "false")) return *value = str_eq(d->value, "true"), true;
    char *end;
    *value = strtod(d->value, &end);
    return end != d->value && !*end && isfinite(*value);
  }
  const struct decl *constant = find_decl(f, D_CONST, name);
  if (!constant || (constant->value->kind != E_INT && constant->value->kind != E_FLOAT)) return false;
  *value = constant->value->kind == E_INT ? (double)constant->value->int_value : constant->value->float_value;
  return true;
}

static bool shape_from_text(const char *text, struct shape *shape) {
  *shape = (struct shape){0};
  while (*text && shape->rank < MAX_RANK) {
    char *end;
    long long n = strtoll(text, &end, 10);
    if (end == text || n <= 0 || (*end && *end != 'x') || (*end == 'x' && !end[1])) return false;
    shape->dim[shape->rank++] = n;
    text = *end ? end + 1 : end;
  }
  return !*text;
}

static bool dims_from_type(const struct file *f, const struct settings *s, const struct type *type, struct shape *shape) {
  *shape = (struct shape){0};
  for (int i = 0; i < type->dims.len; i++) {
    const struct dim_syntax *d = &type->dims.data[i];
    double n = 0;
    if (d->kind != DIM_EXPR) return false;
    if (d->expr->kind == E_INT) n = (double)d->expr->int_value;
    else if (d->expr->kind != E_NAME || !number_of(f, s, d->expr->string, &n)) return false;
    if (!(n >= 1 && n <= INT32_MAX && n == floor(n))) return false; // the interpreter's tensors are small
    shape->dim[shape->rank++] = (int64_t)n;
  }
  return true;
}

static bool input_shape(struct btc *b, const struct file *f, const struct settings *s, const struct param_decl *p, struct shape *shape) {
  for (int i = 0; i < s->shapes.len; i++) {
    if (!str_eq(s->shapes.data[i].name, p->name)) continue;
    if (shape_from_text(s->shapes.data[i].value, shape)) return true;
    diag_error(b, nowhere, "--shape %s=%s: expected sizes like 32x24", p->name, s->shapes.data[i].value);
    return false;
  }
  if (dims_from_type(f, s, p->type, shape)) return true;
  diag_error(b, p->loc, "the shape of '%s' is not known: give --shape %s=…, or its sizes with -D, whole numbers from 1", p->name, p->name);
  return false;
}

static bool add_argument(struct btc *b, const struct file *f, const struct settings *s, const struct param_decl *p, value_list *given) {
  struct tensor_type type = {.dtype = BT_F64};
  double number;
  if (p->type->name && dtype_parse(p->type->name, &type.dtype) && !str_eq(p->type->name, "bool")) {
    if (!input_shape(b, f, s, p, &type.shape)) return false;
    values_add(b->arena, given, p->name, draw(b->arena, p->name, &type, (uint64_t)s->seed));
    return true;
  }
  if (!number_of(f, s, p->name, &number)) {
    if (!p->default_value) diag_error(b, p->loc, "'%s' needs a value: give -D %s=…", p->name, p->name);
    return p->default_value != NULL;
  }
  struct tensor64 *t = tensor64_new(b->arena, &type);
  t->data[0] = number;
  values_add(b->arena, given, p->name, t);
  return true;
}

// -D of what is no constant of the file is meant for the function; the elaborator must not see it.
static void keep_constants(struct btc *b, const struct file *f) {
  int n = 0;
  for (int i = 0; i < b->opt.defines.len; i++)
    if (find_decl(f, D_CONST, b->opt.defines.data[i].name)) b->opt.defines.data[n++] = b->opt.defines.data[i];
  b->opt.defines.len = n;
}

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
  struct program *backward = eval_function(m, s->function, &c.leaves, true);
  if (!backward) return false;
  value_list gradients = analytic(&c, backward->graph, "d");
  c.gradients = &gradients;
  gradcheck_rows rows = {0};
  gradcheck_run(&c, &rows);
  return print_rows(b, str_printf(b->arena, "function %s", s->function), &rows);
}

static bool check_function(struct btc *b, const struct settings *s) {
  struct file *f = driver_parse(b, s->operands.data[0]);
  if (!f) return false;
  struct define *defines = NEW_ARRAY(b->arena, struct define, s->opt.defines.len);
  if (s->opt.defines.len) memcpy(defines, s->opt.defines.data, sizeof *defines * (size_t)s->opt.defines.len);
  b->opt.defines.data = defines; // s keeps all of them
  keep_constants(b, f);
  struct model *m = driver_elaborate(b, f);
  const struct decl *fn = m ? model_signature(m, s->function) : NULL;
  value_list given = {0};
  for (int i = 0; fn && i < fn->inputs.len; i++) add_argument(b, f, s, &fn->inputs.data[i], &given);
  return fn && b->n_errors == 0 && check_arguments(m, s, &given);
}

static int run(struct btc *b, struct settings *s) {
  if (s->function && s->program) return command_misuse(&command_gradcheck, "give --function or --program, not both");
  if (!s->function && s->shapes.len) return command_misuse(&command_gradcheck, "--shape goes with --function");
  return (s->function ? check_function(b, s) : check_programs(b, s)) ? EXIT_OK : EXIT_FAILED;
}
