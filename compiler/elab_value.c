// elab_value.c: the values of elaboration: makers, comparison, and the texts that messages show.
#include <math.h>
#include <string.h>

#include "elab.h"

struct value value_error(void) {
  return (struct value){.kind = V_ERROR};
}

struct value value_int(struct loc loc, int64_t i) {
  return (struct value){.kind = V_INT, .loc = loc, .integer = i};
}

struct value value_float(struct loc loc, double x) {
  return (struct value){.kind = V_FLOAT, .loc = loc, .number = x};
}

struct value value_bool(struct loc loc, bool b) {
  return (struct value){.kind = V_BOOL, .loc = loc, .integer = b};
}

struct value value_string(struct loc loc, const char *s) {
  return (struct value){.kind = V_STRING, .loc = loc, .string = s};
}

struct value value_list(struct elab *e, struct loc loc, enum value_kind kind) {
  return (struct value){.kind = kind, .loc = loc, .list = NEW(e->b->arena, struct value_list)};
}

void value_append(struct elab *e, struct value *list, struct value item) {
  int64_t size = value_size(&item);
  vec_push(e->b->arena, list->list, item);
  list->list->size += size;
  e->steps += size; // the next expression sees whether they are too many
}

int64_t value_size(const struct value *v) {
  return 1 + (v->kind == V_LIST || v->kind == V_TUPLE ? v->list->size : 0);
}

struct value value_tensor(struct loc loc, struct node *n) {
  return (struct value){.kind = V_TENSOR, .loc = loc, .node = n};
}

// frozen says more than eval, and eval more than nothing.
static enum mode stricter(enum mode a, enum mode b) { return a > b ? a : b; }

struct value value_applied(struct elab *e, struct value v, enum mode mode, struct average *average) {
  v.mode = stricter(v.mode, mode);
  if (average) v.average = average;
  if (v.kind != V_LIST) return v;
  struct value_list *items = v.list;
  v.list = NEW(e->b->arena, struct value_list);
  for (int i = 0; i < items->len; i++) value_append(e, &v, value_applied(e, items->data[i], mode, average));
  return v;
}

bool value_is_number(const struct value *v) { return v->kind == V_INT || v->kind == V_FLOAT; }

double value_number(const struct value *v) {
  expect(value_is_number(v), "a value of kind %d is not a number", v->kind);
  return v->kind == V_INT ? (double)v->integer : v->number;
}

bool value_is_callable(const struct value *v) {
  switch (v->kind) {
  case V_FN:
  case V_MODULE:
  case V_INSTANCE:
  case V_BUILTIN: return true;
  case V_LIST:
    for (int i = 0; i < v->list->len; i++)
      if (!value_is_callable(&v->list->data[i])) return false;
    return true;
  default: return false;
  }
}

static bool lists_equal(const struct value_list *a, const struct value_list *b) {
  if (a->len != b->len) return false;
  for (int i = 0; i < a->len; i++)
    if (!value_equal(&a->data[i], &b->data[i])) return false;
  return true;
}

bool value_equal(const struct value *a, const struct value *b) {
  if (value_is_number(a) && value_is_number(b)) {
    if (a->kind == V_INT && b->kind == V_INT) return a->integer == b->integer;
    return value_number(a) == value_number(b);
  }
  if (a->kind != b->kind) return false;
  switch (a->kind) {
  case V_BOOL: return a->integer == b->integer;
  case V_STRING: return strcmp(a->string, b->string) == 0;
  case V_LIST:
  case V_TUPLE: return lists_equal(a->list, b->list);
  case V_RANGE: return a->low == b->low && a->high == b->high;
  case V_FN: return a->entry == b->entry;
  case V_BUILTIN: return a->builtin == b->builtin;
  case V_INSTANCE: return a->instance == b->instance;
  default: return false;
  }
}

int value_rank(const struct value *tensor) { return tensor->node->type.shape.rank; }
int64_t value_dim(const struct value *tensor, int axis) {
  return tensor->node->type.shape.dim[axis];
}

// ---- texts ------------------------------------------------------------------------------------

const char *tensor_text(struct elab *e, const struct value *v) {
  struct arena *a = e->b->arena;
  const char *text = dtype_name(v->node->type.dtype);
  for (int i = 0; i < value_rank(v); i++) {
    const struct axis *axis = v->axes[i];
    text = str_printf(a, "%s%s%s%s%lld", text, i ? ", " : "[", axis ? axis->name : "",
                      axis ? "=" : "", (long long)value_dim(v, i));
  }
  return value_rank(v) ? str_printf(a, "%s]", text) : text;
}

static const char *list_text(struct elab *e, const struct value *v) {
  struct arena *a = e->b->arena;
  if (v->list->len > 0 && v->list->len <= 6) {
    const char *text = "";
    for (int i = 0; i < v->list->len; i++) {
      const struct value *item = &v->list->data[i];
      if (!value_is_number(item)) return str_printf(a, "a list of %d", v->list->len);
      text = str_printf(a, "%s%s%g", text, i ? ", " : "", value_number(item));
    }
    return str_printf(a, "the list [%s]", text);
  }
  return str_printf(a, "a list of %d", v->list->len);
}

const char *value_text(struct elab *e, const struct value *v) {
  struct arena *a = e->b->arena;
  switch (v->kind) {
  case V_ERROR: return "an erroneous value";
  case V_INT: return str_printf(a, "the integer %lld", (long long)v->integer);
  case V_FLOAT: return str_printf(a, "the number %g", v->number);
  case V_BOOL: return v->integer ? "`true`" : "`false`";
  case V_STRING: return str_printf(a, "the string \"%s\"", v->string);
  case V_LIST: return list_text(e, v);
  case V_TUPLE: return str_printf(a, "%d values", v->list->len);
  case V_RANGE: return str_printf(a, "the range %g..%g", v->low, v->high);
  case V_TENSOR: return tensor_text(e, v);
  case V_FN: return str_printf(a, "the function `%s`", v->entry->name);
  case V_MODULE:
    return str_printf(a, "the module `%s`%s", v->entry->name,
                      v->config ? "" : " without configuration");
  case V_INSTANCE:
    return str_printf(a, "the instance `%s`", v->instance->path ? v->instance->path : "");
  case V_VIEW: return str_printf(a, "the view `%s`", v->entry->name);
  case V_BUILTIN: return str_printf(a, "the function `%s`", builtin_name(v->builtin));
  case V_UNIT: return str_printf(a, "the file %s", v->unit->path);
  case V_DATA: return str_printf(a, "the images `%s`", v->data->name);
  case V_INIT: return "an initial distribution";
  }
  die("value of kind %d", v->kind);
}
