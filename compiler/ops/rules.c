// rules.c: see rules.h.
#include <math.h>

#include "rules.h"

const char *rule_result(struct arena *a, struct node *n, dtype t, const struct shape *s) {
  struct tensor_type type = {t, *s};
  if (n->type.shape.rank < 0) n->type = type;
  if (type_eq(&n->type, &type)) return NULL;
  return str_printf(a, "%s gives %s, not %s", op_info(n->op)->name, type_text(a, &type), type_text(a, &n->type));
}

const char *rule_given(struct arena *a, const struct node *n) {
  return n->type.shape.rank >= 0 ? NULL : str_printf(a, "the type of %s must be given", op_info(n->op)->name);
}

const char *rule_float(struct arena *a, const struct node *n, int operand) {
  if (dtype_is_float(in_dtype(n, operand))) return NULL;
  return str_printf(a, "%s needs a float operand, not %s", op_info(n->op)->name, dtype_name(in_dtype(n, operand)));
}

const char *rule_rank(struct arena *a, const struct node *n, int operand, int rank) {
  if (in_shape(n, operand)->rank == rank) return NULL;
  return str_printf(a, "operand %d of %s must have %d axes, not %s", operand, op_info(n->op)->name, rank,
                    shape_text(a, in_shape(n, operand)));
}

const char *rule_same_dtype(struct arena *a, const struct node *n) {
  for (int i = 1; i < n->n_in; i++)
    if (in_dtype(n, i) != in_dtype(n, 0))
      return str_printf(a, "operands of %s have different element types: %s and %s", op_info(n->op)->name,
                        dtype_name(in_dtype(n, 0)), dtype_name(in_dtype(n, i)));
  return NULL;
}

const char *rule_same_shape(struct arena *a, const struct node *n) {
  for (int i = 1; i < n->n_in; i++)
    if (!shape_eq(in_shape(n, 0), in_shape(n, i)))
      return str_printf(a, "operands of %s have different shapes: %s and %s", op_info(n->op)->name,
                        shape_text(a, in_shape(n, 0)), shape_text(a, in_shape(n, i)));
  return NULL;
}

void shape_strides(const struct shape *s, int64_t stride[MAX_RANK]) {
  int64_t step = 1;
  for (int i = s->rank - 1; i >= 0; i--) {
    stride[i] = step;
    step *= s->dim[i];
  }
}

bool shape_next(const struct shape *s, int64_t index[MAX_RANK]) {
  for (int i = s->rank - 1; i >= 0; i--) {
    if (++index[i] < s->dim[i]) return true;
    index[i] = 0;
  }
  return false;
}

bool axes_have(const struct attr *axes, int axis) {
  for (int i = 0; i < axes->n; i++)
    if (axes->i[i] == axis) return true;
  return false;
}

void wrap_integers(struct tensor64 *t) {
  dtype type = t->type.dtype;
  if (dtype_is_float(type) || type == BT_BOOL) return;
  double period = ldexp(1, 8 * dtype_size(type)), lowest = type == BT_U8 ? 0 : -period / 2;
  for (int64_t i = 0, count = shape_count(&t->type.shape); i < count; i++) {
    double x = t->data[i];
    t->data[i] = isfinite(x) ? x - period * floor((x - lowest) / period) : 0;
  }
}
