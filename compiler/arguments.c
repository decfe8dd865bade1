// arguments.c: functions with arguments from the command line. See arguments.h.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "ast.h"
#include "driver.h"
#include "eval.h"

static const struct loc nowhere;

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

static struct tensor64 *typed(struct arena *a, const struct tensor_type *type) {
  struct tensor64 *t = NEW(a, struct tensor64);
  t->type = *type;
  return t;
}

static bool add_argument(struct btc *b, const struct file *f, const struct settings *s, const struct param_decl *p, value_list *given) {
  struct tensor_type type = {.dtype = BT_F64};
  double number;
  if (p->type->name && dtype_parse(p->type->name, &type.dtype) && !str_eq(p->type->name, "bool")) {
    if (!input_shape(b, f, s, p, &type.shape)) return false;
    values_add(b->arena, given, p->name, typed(b->arena, &type));
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

struct model *arguments_read(struct btc *b, const struct settings *s, value_list *given) {
  struct file *f = driver_parse(b, s->operands.data[0]);
  if (!f) return NULL;
  struct define *defines = NEW_ARRAY(b->arena, struct define, s->opt.defines.len);
  if (s->opt.defines.len) memcpy(defines, s->opt.defines.data, sizeof *defines * (size_t)s->opt.defines.len);
  b->opt.defines.data = defines; // s keeps all of them
  keep_constants(b, f);
  struct model *m = driver_elaborate(b, f);
  const struct decl *fn = m ? model_signature(m, s->function) : NULL;
  for (int i = 0; fn && i < fn->inputs.len; i++) add_argument(b, f, s, &fn->inputs.data[i], given);
  return fn && b->n_errors == 0 ? m : NULL;
}

struct program *arguments_forward(struct model *m, const char *function, const value_list *given, struct tensor_type *result) {
  struct program *p = eval_function(m, function, given, false);
  for (int i = 0; p && i < p->graph->outputs.len; i++)
    if (str_eq(p->graph->outputs.data[i].name, "out")) return *result = p->graph->outputs.data[i].node->type, p;
  if (p) diag_error(m->b, nowhere, "a function of several results: give one that returns one of them");
  return NULL;
}

struct program *arguments_gradients(struct model *m, const char *function, value_list *given) {
  struct tensor_type type;
  if (!arguments_forward(m, function, given, &type)) return NULL;
  if (type.shape.rank > 0) values_add(m->b->arena, given, "dout", typed(m->b->arena, &type));
  return eval_function(m, function, given, true);
}
