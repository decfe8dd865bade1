// elab_expr.c: expressions. What is static is computed here, in 64-bit integers and doubles; what
// touches a tensor goes to elab_tensor.c.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "elab.h"

// ---- static operators -------------------------------------------------------------------------

static struct value operands_wrong(struct elab *e, struct frame *f, enum token_op op,
                                   struct loc loc, const struct value *a, const struct value *b) {
  elab_error(e, f, loc, "`%s` does not take %s and %s", token_op_text(op), value_text(e, a),
             value_text(e, b));
  return value_error();
}

static struct value overflow(struct elab *e, struct frame *f, struct loc loc) {
  elab_error(e, f, loc, "the result does not fit an integer of 64 bits");
  return value_error();
}

static bool int_power(int64_t base, int64_t exponent, int64_t *out) {
  *out = 1;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1 && __builtin_mul_overflow(*out, base, out)) return false;
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) return false;
  }
  return true;
}

// Quotient towards minus infinity, remainder with the sign of b. b is not 0.
static int64_t floor_quotient(int64_t a, int64_t b) {
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

static struct value int_binary(struct elab *e, struct frame *f, enum token_op op, struct loc loc,
                               int64_t a, int64_t b) {
  int64_t r = 0;
  bool over = false;
  switch (op) {
  case OP_ADD: over = __builtin_add_overflow(a, b, &r); break;
  case OP_SUB: over = __builtin_sub_overflow(a, b, &r); break;
  case OP_MUL: over = __builtin_mul_overflow(a, b, &r); break;
  case OP_POW: over = !int_power(a, b, &r); break;
  case OP_FLOORDIV:
    over = a == INT64_MIN && b == -1;
    if (!over) r = floor_quotient(a, b);
    break;
  case OP_MOD:
    over = a == INT64_MIN && b == -1;
    if (!over) r = a - b * floor_quotient(a, b);
    break;
  default: die("operator %s on integers", token_op_text(op));
  }
  return over ? overflow(e, f, loc) : value_int(loc, r);
}

static double float_arithmetic(enum token_op op, double a, double b) {
  switch (op) {
  case OP_ADD: return a + b;
  case OP_SUB: return a - b;
  case OP_MUL: return a * b;
  case OP_DIV: return a / b;
  case OP_FLOORDIV: return floor(a / b);
  case OP_MOD: return floor_remainder(a, b);
  case OP_POW: return pow(a, b);
  default: die("operator %s on numbers", token_op_text(op));
  }
}

static bool compare(enum token_op op, double a, double b) {
  switch (op) {
  case OP_LT: return a < b;
  case OP_LE: return a <= b;
  case OP_GT: return a > b;
  case OP_GE: return a >= b;
  default: die("%s does not compare", token_op_text(op));
  }
}

static bool is_comparison(enum token_op op) { return op >= OP_LT && op <= OP_GE; }
static bool is_equality(enum token_op op) { return op == OP_EQ || op == OP_NE; }
static bool is_logic(enum token_op op) { return op == OP_AND || op == OP_OR; }

static struct value number_binary(struct elab *e, struct frame *f, enum token_op op, struct loc loc,
                                  const struct value *a, const struct value *b) {
  double x = value_number(a), y = value_number(b);
  if (is_comparison(op)) return value_bool(loc, compare(op, x, y));
  if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && y == 0) {
    elab_error(e, f, loc, "division by zero");
    return value_error();
  }
  bool integers = a->kind == V_INT && b->kind == V_INT;
  if (integers && op != OP_DIV && !(op == OP_POW && y < 0))
    return int_binary(e, f, op, loc, a->integer, b->integer);
  double r = float_arithmetic(op, x, y);
  if (isfinite(r)) return value_float(loc, r);
  elab_error(e, f, loc, "`%s` of %g and %g is not a number", token_op_text(op), x, y);
  return value_error();
}

static struct value list_concat(struct elab *e, struct loc loc, const struct value *a,
                                const struct value *b) {
  struct value v = value_list(e, loc, V_LIST);
  for (int i = 0; i < a->list->len; i++) value_append(e, &v, a->list->data[i]);
  for (int i = 0; i < b->list->len; i++) value_append(e, &v, b->list->data[i]);
  return v;
}

struct value binary_value(struct elab *e, struct frame *f, enum token_op op, struct loc loc,
                          struct value a, struct value b) {
  if (a.kind == V_ERROR || b.kind == V_ERROR) return value_error();
  if (a.kind == V_TENSOR || b.kind == V_TENSOR) return tensor_binary(e, f, op, loc, a, b);
  if (is_equality(op) && !elab_spend(e, f, loc, value_size(&a))) return value_error();
  if (is_equality(op)) return value_bool(loc, value_equal(&a, &b) == (op == OP_EQ));
  if (is_logic(op) && a.kind == V_BOOL && b.kind == V_BOOL)
    return value_bool(loc, op == OP_AND ? a.integer && b.integer : a.integer || b.integer);
  if (op != OP_MATMUL && !is_logic(op) && value_is_number(&a) && value_is_number(&b))
    return number_binary(e, f, op, loc, &a, &b);
  if (op == OP_ADD && a.kind == V_LIST && b.kind == V_LIST) return list_concat(e, loc, &a, &b);
  return operands_wrong(e, f, op, loc, &a, &b);
}

// `and`, `or` with a static left side decide without the right one where they can.
static struct value binary_expr(struct elab *e, struct frame *f, const struct expr *x) {
  struct value a = expr_value(e, f, x->a);
  if (a.kind == V_BOOL && is_logic(x->op) && (bool)a.integer == (x->op == OP_OR))
    return value_bool(x->loc, a.integer);
  struct value b = expr_value(e, f, x->b);
  return binary_value(e, f, x->op, x->loc, a, b);
}

static struct value unary_expr(struct elab *e, struct frame *f, const struct expr *x) {
  struct value v = expr_value(e, f, x->a);
  bool negate = x->op == OP_NEG;
  if (v.kind == V_ERROR) return v;
  if (negate && v.kind == V_INT)
    return v.integer == INT64_MIN ? overflow(e, f, x->loc) : value_int(x->loc, -v.integer);
  if (negate && v.kind == V_FLOAT) return value_float(x->loc, -v.number);
  if (!negate && v.kind == V_BOOL) return value_bool(x->loc, !v.integer);
  if (v.kind == V_TENSOR) return tensor_unary(e, f, negate ? OP_neg : OP_not, x->loc, v);
  elab_error(e, f, x->op_loc, "`%s` does not take %s", token_op_text(x->op), value_text(e, &v));
  return value_error();
}

// ---- helpers that others use ------------------------------------------------------------------

bool static_int(struct elab *e, struct frame *f, struct value v, int64_t *out, const char *what) {
  if (v.kind == V_ERROR) return false;
  if (v.kind == V_INT) {
    *out = v.integer;
    return true;
  }
  elab_error(e, f, v.loc, "%s must be an integer known at compile time, not %s", what,
             value_text(e, &v));
  return false;
}

enum { RANGE_MOST = 100000 };

struct value range_items(struct elab *e, struct frame *f, struct value v, const char *what) {
  if (v.kind == V_ERROR || v.kind == V_LIST) return v;
  if (v.kind != V_RANGE || !v.integral) {
    elab_error(e, f, v.loc, "%s runs over a list or a range of integers, not %s", what,
               value_text(e, &v));
    return value_error();
  }
  if (v.high - v.low > RANGE_MOST) {
    elab_error(e, f, v.loc, "%s runs over at most %d integers, and this range has %.0f", what, RANGE_MOST, v.high - v.low);
    return value_error();
  }
  struct value items = value_list(e, v.loc, V_LIST);
  for (int64_t i = (int64_t)v.low; i < (int64_t)v.high; i++)
    value_append(e, &items, value_int(v.loc, i));
  return items;
}

// ---- the other forms --------------------------------------------------------------------------

static struct value list_expr(struct elab *e, struct frame *f, const struct expr *x) {
  struct value v = value_list(e, x->loc, V_LIST);
  bool poisoned = false;
  for (int i = 0; i < x->items.len; i++) {
    struct value item = expr_value(e, f, x->items.data[i]);
    poisoned |= item.kind == V_ERROR;
    value_append(e, &v, item);
  }
  return poisoned ? value_error() : v;
}

static struct value for_list(struct elab *e, struct frame *f, const struct expr *x) {
  struct value items = range_items(e, f, expr_value(e, f, x->a), "`for`");
  if (items.kind == V_ERROR && e->checking) {
    items = value_list(e, x->loc, V_LIST);
    value_append(e, &items, value_error());
  }
  if (items.kind == V_ERROR || !name_bindable(e, f, x->string, x->loc)) return value_error();
  struct value v = value_list(e, x->loc, V_LIST);
  int before = f->locals.len;
  int64_t repeated = e->repeated;
  bool poisoned = false;
  for (int i = 0; i < items.list->len && e->repeated == repeated; i++) {
    struct binding b = {.name = x->string, .value = items.list->data[i], .loc = x->loc};
    f->locals.len = before;
    vec_push(e->b->arena, &f->locals, b); // hides a local of this name for the while
    struct value item = expr_value(e, f, x->b);
    poisoned |= item.kind == V_ERROR;
    value_append(e, &v, item);
  }
  f->locals.len = before;
  return poisoned ? value_error() : v;
}

static struct value if_expr(struct elab *e, struct frame *f, const struct expr *x) {
  struct value c = expr_value(e, f, x->a);
  if (c.kind == V_ERROR && e->checking) {
    expr_value(e, f, x->b);
    expr_value(e, f, x->c);
  }
  if (c.kind == V_ERROR) return c;
  if (c.kind == V_BOOL) return expr_value(e, f, c.integer ? x->b : x->c);
  if (c.kind == V_TENSOR)
    elab_error(e, f, x->a->loc,
               "`if` is decided at compile time, but this is %s; use `where(condition, x, y)`",
               value_text(e, &c));
  else
    elab_error(e, f, x->a->loc, "`if` needs `true` or `false`, not %s", value_text(e, &c));
  return value_error();
}

static struct value range_expr(struct elab *e, struct frame *f, const struct expr *x) {
  struct value a = expr_value(e, f, x->a), b = expr_value(e, f, x->b);
  if (a.kind == V_ERROR || b.kind == V_ERROR) return value_error();
  if (!value_is_number(&a) || !value_is_number(&b)) {
    elab_error(e, f, x->loc, "a range needs two numbers known at compile time, not %s and %s",
               value_text(e, &a), value_text(e, &b));
    return value_error();
  }
  return (struct value){.kind = V_RANGE,
                        .loc = x->loc,
                        .low = value_number(&a),
                        .high = value_number(&b),
                        .integral = a.kind == V_INT && b.kind == V_INT};
}

static struct value unit_field(struct elab *e, struct frame *f, const struct expr *x,
                               struct unit *u) {
  const char *names[256];
  int n = 0;
  for (int i = 0; i < u->entries.len && n < 256; i++) {
    names[n++] = u->entries.data[i]->name;
    if (str_eq(u->entries.data[i]->name, x->string))
      return entry_value(e, f, u->entries.data[i], x->op_loc);
  }
  elab_error(e, f, x->op_loc, "%s has no `%s`%s", u->path, x->string,
             did_you_mean(e, x->string, names, n));
  return value_error();
}

enum { PART_NAMES = 128 };

// A parameter or state of an instance, read from outside.
static struct value tensor_part(struct elab *e, struct frame *f, const struct expr *x,
                                const struct value *instance, int tensor) {
  if (!needs_graph(e, f, x->loc, str_printf(e->b->arena, "`%s`", e->model->tensors.data[tensor].name)))
    return value_error();
  graph_at(e, f, x->loc);
  struct value v = value_tensor(x->loc, current_tensor(e, tensor));
  return instance->mode == MODE_FROZEN ? tensor_unary(e, f, OP_stop_gradient, x->loc, v) : v;
}

// Adds the names of the tensors right under `path`.
static int tensor_names(struct elab *e, const char *path, const char **names, int n) {
  size_t length = path ? strlen(path) : 0;
  for (int i = 0; i < e->model->tensors.len && n < PART_NAMES; i++) {
    const char *name = e->model->tensors.data[i].name;
    bool under = length && strncmp(name, path, length) == 0 && name[length] == '.';
    if (under && !strchr(name + length + 1, '.')) names[n++] = name + length + 1;
  }
  return n;
}

static struct value instance_field(struct elab *e, struct frame *f, const struct expr *x,
                                   const struct value *v) {
  struct instance *in = v->instance;
  const char *names[PART_NAMES];
  int n = 0;
  for (int i = 0; i < in->children.len && n < PART_NAMES; i++) {
    names[n++] = in->children.data[i].name;
    if (str_eq(in->children.data[i].name, x->string))
      return value_applied(e, in->children.data[i].value, v->mode, v->average);
  }
  const char *path = v->average ? average_path(e, v->average, in->path) : in->path;
  int tensor = path ? model_tensor_index(e->model, str_printf(e->b->arena, "%s.%s", path, x->string)) : -1;
  if (tensor >= 0) return tensor_part(e, f, x, v, tensor);
  if (e->checking) return value_error(); // it may have it by then
  n = tensor_names(e, path, names, n);
  elab_error(e, f, x->op_loc, "`%s` has no part `%s`%s%s", path ? path : "ema", x->string,
             did_you_mean(e, x->string, names, n),
             in->applied ? "" : "; its parts exist once it has been applied");
  return value_error();
}

static struct value field_expr(struct elab *e, struct frame *f, const struct expr *x) {
  struct value v = expr_value(e, f, x->a);
  if (v.kind == V_ERROR) return v;
  if (v.kind == V_UNIT) return unit_field(e, f, x, v.unit);
  if (v.kind == V_INSTANCE) return instance_field(e, f, x, &v);
  bool index = x->string[0] >= '0' && x->string[0] <= '9';
  if (index && (v.kind == V_LIST || v.kind == V_TUPLE)) {
    long at = strtol(x->string, NULL, 10);
    if (at < v.list->len) return v.list->data[at];
    elab_error(e, f, x->op_loc, "%s has no item %ld: it has %d", value_text(e, &v), at, v.list->len);
    return value_error();
  }
  const char *here = v.kind == V_TENSOR ? builtin_elsewhere(x->string) : NULL;
  const char *mend = "";
  if (v.kind == V_TENSOR && !here && builtin_find(x->string))
    here = str_printf(e->b->arena, "`%s(x, …)`", x->string);
  if (here) mend = str_printf(e->b->arena, "; here it is %s", here);
  elab_error(e, f, x->op_loc, "%s has no field `%s`%s", value_text(e, &v), x->string, mend);
  return value_error();
}

static struct value transpose_expr(struct elab *e, struct frame *f, const struct expr *x) {
  struct value v = expr_value(e, f, x->a);
  if (v.kind == V_ERROR) return v;
  if (v.kind == V_TENSOR) return tensor_transpose(e, f, x->loc, v);
  elab_error(e, f, x->loc, "`'` transposes a tensor, not %s", value_text(e, &v));
  return value_error();
}

static struct value expr_of_kind(struct elab *e, struct frame *f, const struct expr *x) {
  switch (x->kind) {
  case E_INT: return value_int(x->loc, x->int_value);
  case E_FLOAT: return value_float(x->loc, x->float_value);
  case E_STRING: return value_string(x->loc, x->string);
  case E_BOOL: return value_bool(x->loc, x->int_value != 0);
  case E_NAME: return name_value(e, f, x->string, x->loc);
  case E_LIST: return list_expr(e, f, x);
  case E_FOR_LIST: return for_list(e, f, x);
  case E_UNARY: return unary_expr(e, f, x);
  case E_BINARY: return binary_expr(e, f, x);
  case E_IF: return if_expr(e, f, x);
  case E_CALL: return call_value(e, f, x);
  case E_INDEX: return index_value(e, f, x);
  case E_FIELD: return field_expr(e, f, x);
  case E_TRANSPOSE: return transpose_expr(e, f, x);
  case E_RANGE: return range_expr(e, f, x);
  case E_WILDCARD:
    elab_error(e, f, x->loc, "`_` stands only in a type or an index");
    return value_error();
  }
  die("expression of kind %d", x->kind);
}

struct value expr_value(struct elab *e, struct frame *f, const struct expr *x) {
  if (!elab_enter(e, f, x->loc)) return value_error();
  struct value v = expr_of_kind(e, f, x);
  elab_leave(e);
  return v;
}
