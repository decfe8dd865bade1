// lower.c: from kernels to loop nests: what all lowerings share, and which one a kernel gets.
#include <string.h>

#include "body.h"
#include "places.h"

enum loop_type lower_type(dtype t) {
  switch (t) {
  case BT_F32: return LT_F32;
  case BT_F64: return LT_F64;
  case BT_I32: return LT_I32;
  case BT_I64: return LT_I64;
  case BT_U8: return LT_U8;
  case BT_BOOL: return LT_BOOL;
  }
  die("element type %d has no loop type", (int)t);
}

// ---- places and names -------------------------------------------------------------------------

static void add_place(struct fusion *f, struct lb *b, const struct node *n) {
  const char *place = place_name(f->graph->b, n->loc);
  if (place != NULL) lb_source(b, place);
}

void lower_source(struct fusion *f, struct kernel *k) {
  const char *place = place_name(f->graph->b, k->roots.data[0].node->loc);
  if (place != NULL) vec_push(f->arena, &k->loops->sources, place);
}

static double node_flops(const struct node *n) {
  const struct op_info *op = op_info(n->op);
  if (op->rules->flops != NULL) return op->rules->flops(n);
  switch (op->class) {
  case ELEMENTWISE: return (double)shape_count(&n->type.shape);
  case REDUCE: return (double)shape_count(&n->in[0]->type.shape);
  default: return 0;
  }
}

// Every inlined operation at every point that needs it.
static double body_flops(const struct body *body) {
  double ops = 0;
  for (int i = 0; i < body->values.len; i++) {
    const struct value *v = body->values.data[i];
    double points = v->kind == V_OP;
    for (int a = 0; a < body->n_axes; a++)
      if ((v->axes >> a) & 1) points *= (double)body->extent[a];
    ops += points;
  }
  return ops;
}

static double kernel_flops(const struct kernel *k) {
  if (k->kind == KERNEL_CALL) return node_flops(k->roots.data[0].node);
  double ops = body_flops(k->body);
  if (k->kind == KERNEL_PRODUCT) {
    bool symmetric = product_symmetric(k); // one operand, packed once, and half of the result
    for (int i = 0; i < (symmetric ? 1 : 2); i++) ops += body_flops(k->operand[i]);
    if (k->finish != NULL) ops += body_flops(k->finish);
    ops += node_flops(k->product) * (symmetric ? 0.5 : 1);
  }
  for (int i = 0; i < k->roots.len; i++)
    if (k->roots.data[i].reduce != OP_COUNT) ops += (double)shape_count(&k->space);
  return ops;
}

struct lb *lower_begin(struct fusion *f, struct kernel *k, const struct target *t,
                       const char *name) {
  struct lb *b = lb_new(f->arena, t, name);
  double bytes = 0;
  for (int i = 0; i < k->reads.len; i++) bytes += (double)k->reads.data[i]->bytes;
  for (int i = 0; i < k->roots.len; i++) {
    add_place(f, b, k->roots.data[i].node);
    bytes += (double)k->roots.data[i].buffer->bytes;
  }
  lb_cost(b, kernel_flops(k), bytes);
  return b;
}

void lower_end(struct kernel *k, struct lb *b) {
  k->loops = lb_finish(b);
  expect(k->loops->params.len == k->arguments.len, "kernel %s has %d parameters and %d arguments",
         k->loops->name, k->loops->params.len, k->arguments.len);
  const char *fault = loop_verify(lb_arena(b), k->loops);
  if (fault == NULL) return;
  loop_print(stderr, k->loops);
  die("kernel %s is unsound: %s", k->loops->name, fault);
}

struct loop_buf *lower_input(struct kernel *k, struct lb *b, struct buffer *from,
                             const char *name) {
  vec_push(lb_arena(b), &k->arguments, ((struct kernel_argument){from, 0}));
  return lb_input(b, name, lower_type(from->node->type.dtype), buffer_count(from));
}

struct loop_buf *lower_output(struct kernel *k, struct lb *b, struct buffer *to, const char *name) {
  vec_push(lb_arena(b), &k->arguments, ((struct kernel_argument){to, 0}));
  return lb_output(b, name, lower_type(to->node->type.dtype), buffer_count(to));
}

// ---- dispatch ---------------------------------------------------------------------------------

void lower_kernel(struct fusion *f, struct kernel *k, const struct target *t) {
  k->arguments.len = 0;
  if (k->kind == KERNEL_LOOP) {
    lower_loop(f, k, t);
    return;
  }
  if (k->kind == KERNEL_PRODUCT) {
    lower_product(f, k, t);
    return;
  }
  switch (k->roots.data[0].node->op) {
  case OP_matmul: lower_matmul(f, k, t); break;
  case OP_conv2d:
  case OP_conv2d_dx:
  case OP_conv2d_dw: lower_conv(f, k, t); break;
  case OP_max_pool2d:
  case OP_max_pool2d_dx:
  case OP_avg_pool2d:
  case OP_avg_pool2d_dx: lower_pool(f, k, t); break;
  case OP_argmax: lower_argmax(f, k, t); break;
  case OP_cholesky: lower_cholesky(f, k, t); break;
  case OP_solve_triangular: lower_solve_triangular(f, k, t); break;
  case OP_random_beta: lower_random_beta(f, k, t); break;
  case OP_random_permutation: lower_random_permutation(f, k, t); break;
  case OP_gather:
  case OP_gather_dx: lower_gather(f, k, t); break;
  case OP_extern: lower_extern(f, k, t); break;
  default: die("no lowering for %s", op_info(k->roots.data[0].node->op)->name);
  }
}
