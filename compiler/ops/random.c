// random.c: random numbers, as functions of their keys.
//
// A draw is what runtime/random.h says for (seed, stream, element); nothing else enters, so that equal
// nodes are equal draws like those of any op, and sites differ because their streams do. No cotangent
// passes: a draw does not depend on its keys smoothly, and a Beta's shapes are taken as given.
#include <stdlib.h>

#include "../../runtime/btrt_internal.h"
#include "../../runtime/random.h"
#include "rules.h"

static const char *keys(struct arena *a, const struct node *n, int first) { // (random_c1) i64 keys
  for (int i = first; i < first + 2; i++)
    if (in_dtype(n, i) != BT_I64)
      return str_printf(a, "%s takes its seed and stream as i64, not %s", op_info(n->op)->name,
                        dtype_name(in_dtype(n, i)));
  return NULL;
}

static const char *scalar_keys(struct arena *a, const struct node *n) { // (random_c2) scalars
  TRY(keys(a, n, 0));
  TRY(rule_rank(a, n, 0, 0));
  return rule_rank(a, n, 1, 0);
}

// ---- one word or two an element ---------------------------------------------------------------

static const char *infer_element(struct arena *a, struct node *n) { // (random_c3) an i32 index
  if (in_dtype(n, 0) != BT_I32)
    return str_printf(a, "%s counts elements in i32, not %s", op_info(n->op)->name, dtype_name(in_dtype(n, 0)));
  TRY(keys(a, n, 1));
  TRY(rule_same_shape(a, n)); // as elementwise_c1
  return rule_result(a, n, BT_F32, in_shape(n, 0));
}

// An f32, as compiled code has it but for the last bits of a normal number.
static void each_element(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out,
                         double (*draw)(int64_t seed, int64_t stream, uint32_t i)) {
  for (int64_t i = 0, count = shape_count(&n->type.shape); i < count; i++)
    out->data[i] = (float)draw((int64_t)in[1]->data[i], (int64_t)in[2]->data[i], (uint32_t)(int32_t)in[0]->data[i]);
}
static void eval_uniform(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  each_element(n, in, out, bt_draw_uniform);
}
static void eval_normal(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  each_element(n, in, out, bt_draw_normal);
}

static double uniform_flops(const struct node *n) { return 12.0 * (double)shape_count(&n->type.shape); }
static double normal_flops(const struct node *n) { return 24.0 * (double)shape_count(&n->type.shape); }

// ---- as many as it takes ----------------------------------------------------------------------

static const char *infer_beta(struct arena *a, struct node *n) { // (random_c4) shapes a and b are f32, alike
  TRY(scalar_keys(a, n));
  for (int i = 2; i < 4; i++)
    if (in_dtype(n, i) != BT_F32) return str_printf(a, "random_beta is of f32, not %s", dtype_name(in_dtype(n, i)));
  if (!shape_eq(in_shape(n, 2), in_shape(n, 3)))
    return str_printf(a, "the shapes of random_beta are %s and %s", shape_text(a, in_shape(n, 2)), shape_text(a, in_shape(n, 3)));
  return rule_result(a, n, BT_F32, in_shape(n, 2));
}

// Draws compare numbers, so both sides must see the same: a, b and the result as f32.
static void eval_beta(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  for (int64_t i = 0, count = shape_count(&n->type.shape); i < count; i++)
    out->data[i] = (float)bt_draw_beta((int64_t)in[0]->data[0], (int64_t)in[1]->data[0], i,
                                       (float)in[2]->data[i], (float)in[3]->data[i]);
}

static const char *infer_permutation(struct arena *a, struct node *n) { // (random_c5) i32[n], given
  TRY(scalar_keys(a, n));
  TRY(rule_given(a, n));
  if (n->type.shape.rank == 1 && n->type.dtype == BT_I32) return NULL;
  return str_printf(a, "random_permutation gives i32[n], not %s", type_text(a, &n->type));
}

static void eval_permutation(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  int64_t count = shape_count(&n->type.shape);
  int32_t *order = bt_xcalloc((size_t)count, sizeof *order);
  bt_draw_permutation((int64_t)in[0]->data[0], (int64_t)in[1]->data[0], count, order);
  for (int64_t i = 0; i < count; i++) out->data[i] = order[i];
  free(order);
}

static double beta_flops(const struct node *n) { return 300.0 * (double)shape_count(&n->type.shape); }
static double permutation_flops(const struct node *n) { return 12.0 * (double)shape_count(&n->type.shape); }

const struct op_rules op_rules_random_uniform = {.infer = infer_element, .eval = eval_uniform, .flops = uniform_flops};
const struct op_rules op_rules_random_normal = {.infer = infer_element, .eval = eval_normal, .flops = normal_flops};
const struct op_rules op_rules_random_beta = {.infer = infer_beta, .eval = eval_beta, .flops = beta_flops};
const struct op_rules op_rules_random_permutation = {.infer = infer_permutation, .eval = eval_permutation, .flops = permutation_flops};
