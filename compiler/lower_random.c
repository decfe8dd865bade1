// lower_random.c: draws that take a varying number of random bits, by functions of the runtime
// (btrt.h); each element draws from a stream of its own, so elements are independent.
#include "body.h"

enum { PARALLEL_FROM = 512 }; // elements: some 100 ns each

static lx load_key(struct fusion *f, struct kernel *k, struct lb *b, int operand, const char *name) {
  const struct node *key = k->roots.data[0].node->in[operand];
  return lb_let(b, name, lx_load(lower_input(k, b, fusion_value(f, key), name), lx_int(b, 0)));
}

// Parameters never overlap: the two shapes of a Beta(a, a) are one parameter.
void lower_random_beta(struct fusion *f, struct kernel *k, const struct target *t) {
  const struct node *n = k->roots.data[0].node;
  int64_t count = shape_count(&n->type.shape);
  struct lb *b = lower_begin(f, k, t, "random_beta");
  lx seed = load_key(f, k, b, 0, "seed"), stream = load_key(f, k, b, 1, "stream");
  struct buffer *first = fusion_value(f, n->in[2]), *second = fusion_value(f, n->in[3]);
  struct loop_buf *shape_a = lower_input(k, b, first, "a");
  struct loop_buf *shape_b = second == first ? shape_a : lower_input(k, b, second, "b");
  struct loop_buf *out = lower_output(k, b, k->roots.data[0].buffer, "y");
  lx i = count < PARALLEL_FROM ? lb_for(b, "i", count)
                               : lb_parallel_for(b, "i", lx_int(b, 0), lx_int(b, count), 1);
  struct loop_reg *draw = lb_reg(b, "draw", LT_F64, 1, 0, lx_const(b, LT_F64, 1, 0));
  lb_call(b, draw, "bt_draw_beta", 5, seed, stream, i, lx_convert(lx_load(shape_a, i), LT_F64),
          lx_convert(lx_load(shape_b, i), LT_F64));
  lb_store(b, out, i, lx_convert(lx_reg(b, draw), out->type));
  lb_end(b);
  lower_end(k, b);
}

void lower_random_permutation(struct fusion *f, struct kernel *k, const struct target *t) {
  int64_t count = shape_count(&k->roots.data[0].node->type.shape);
  struct lb *b = lower_begin(f, k, t, "random_permutation");
  lx seed = load_key(f, k, b, 0, "seed"), stream = load_key(f, k, b, 1, "stream");
  struct loop_buf *out = lower_output(k, b, k->roots.data[0].buffer, "y");
  lb_call(b, NULL, "bt_draw_permutation", 4, seed, stream, lx_int(b, count),
          lx_address(out, lx_int(b, 0), count));
  lower_end(k, b);
}
