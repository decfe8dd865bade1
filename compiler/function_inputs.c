// function_inputs.c: see function_inputs.h.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ast.h"
#include "function_inputs.h"

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

static bool add_input(struct btc *b, const struct file *f, const struct settings *s, const struct param_decl *p, named_types *inputs) {
  struct named_type input = {.name = p->name, .type.dtype = BT_F64};
  if (p->type->name && dtype_parse(p->type->name, &input.type.dtype) && !str_eq(p->type->name, "bool")) {
    if (!input_shape(b, f, s, p, &input.type.shape)) return false;
  } else {
    double *number = NEW(b->arena, double);
    input.type.dtype = BT_F64;
    input.scalar = number;
    if (!number_of(f, s, p->name, number)) {
      if (!p->default_value) diag_error(b, p->loc, "'%s' needs a value: give -D %s=…", p->name, p->name);
      return p->default_value != NULL;
    }
  }
  vec_push(b->arena, inputs, input);
  return true;
}

// -D of what is no constant of the file is meant for the function; the elaborator must not see it.
static void keep_constants(struct btc *b, const struct file *f) {
  int n = 0;
  for (int i = 0; i < b->opt.defines.len; i++)
    if (find_decl(f, D_CONST, b->opt.defines.data[i].name)) b->opt.defines.data[n++] = b->opt.defines.data[i];
  b->opt.defines.len = n;
}

struct model *function_inputs(struct btc *b, const struct settings *s, named_types *inputs) {
  struct file *f = driver_parse(b, s->operands.data[0]);
  if (!f) return NULL;
  struct define *defines = NEW_ARRAY(b->arena, struct define, s->opt.defines.len);
  if (s->opt.defines.len) memcpy(defines, s->opt.defines.data, sizeof *defines * (size_t)s->opt.defines.len);
  b->opt.defines.data = defines; // s keeps all of them
  keep_constants(b, f);
  struct model *m = driver_elaborate(b, f);
  const struct decl *fn = m ? model_signature(m, s->function) : NULL;
  for (int i = 0; fn && i < fn->inputs.len; i++) add_input(b, f, s, &fn->inputs.data[i], inputs);
  return fn && b->n_errors == 0 ? m : NULL;
}
