// leaf.c: values that come from outside the graph, and constants.
//
// Their type is given; they have no gradient of their own: graph_gradients reads the
// cotangents that arrive at them.
#include <math.h>

#include "rules.h"

static const char *infer_named(struct arena *a, struct node *n) { // (leaf_c1) the type is given; (leaf_c2) named
  if (!n->attr.s) return str_printf(a, "%s needs a name", op_info(n->op)->name);
  return rule_given(a, n);
}

// Integers hold whole numbers (out of range they wrap, as arithmetic does), floats any.
static bool holds(dtype t, double value) {
  if (t == BT_BOOL) return value == 0 || value == 1;
  return dtype_is_float(t) || (isfinite(value) && value == trunc(value));
}

static const char *infer_constant(struct arena *a, struct node *n) { // (constant_c1) a scalar
  if (n->type.shape.rank > 0) return "a constant is a scalar; broadcast it";
  TRY(rule_given(a, n));
  if (holds(n->type.dtype, n->attr.f)) return NULL; // (constant_c2) of its type
  return str_printf(a, "%g is no %s", n->attr.f, dtype_name(n->type.dtype));
}

static void eval_constant(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  (void)in;
  out->data[0] = n->attr.f;
  wrap_integers(out);
}

static const char *infer_iota(struct arena *a, struct node *n) { // (iota_c1) axis exists
  TRY(rule_given(a, n));
  if (n->type.dtype == BT_BOOL) return "iota counts in numbers, not bool"; // (iota_c2) numbers
  if (n->attr.n == 1 && n->attr.i[0] >= 0 && n->attr.i[0] < n->type.shape.rank) return NULL;
  return str_printf(a, "iota counts along axis %lld of %s", (long long)n->attr.i[0], shape_text(a, &n->type.shape));
}

static void eval_iota(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  (void)in;
  int64_t index[MAX_RANK] = {0};
  for (int64_t i = 0; i < shape_count(&n->type.shape); i++, shape_next(&n->type.shape, index))
    out->data[i] = (double)index[n->attr.i[0]];
  wrap_integers(out);
}

static double no_flops(const struct node *n) {
  (void)n;
  return 0;
}

// Values of named leaves are the caller's (interp_run asks for them).
const struct op_rules op_rules_input = {.infer = infer_named, .flops = no_flops};
const struct op_rules op_rules_param = {.infer = infer_named, .flops = no_flops};
const struct op_rules op_rules_state = {.infer = infer_named, .flops = no_flops};
const struct op_rules op_rules_constant = {.infer = infer_constant, .eval = eval_constant, .flops = no_flops};
const struct op_rules op_rules_iota = {.infer = infer_iota, .eval = eval_iota, .flops = no_flops};

