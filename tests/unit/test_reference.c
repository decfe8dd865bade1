// test_reference.c: layers and objectives against PyTorch's float64 autograd.
//
// The reference folder (BTC_SHARED, else ../shared; then reference/) holds safetensors of inputs,
// results, cotangents and gradients. Each file's computation is built here from graph ops as the
// standard library would write it; the interpreter must agree to 1e-9 of the largest entry, on the
// graph as built and on what the passes make of it. Without the folder the tests are skipped.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph_helper.h"
#include "op_helper.h"
#include "safetensors.h"

enum { INPUTS_MAX = 3 };
static const double TOLERANCE = 1e-9;
struct layer {
  struct graph *g;
  const struct st_file *file; // for its metadata
  struct node *in[INPUTS_MAX];
};
struct reference {
  const char *file;
  struct node *(*build)(const struct layer *l);
  const char *input[INPUTS_MAX], *result;
  int differentiable; // the first so many inputs
};

static int metadata_int(const struct layer *l, const char *key, int otherwise) {
  const char *text = st_metadata(l->file, key);
  return text ? atoi(text) : otherwise;
}

// ---- the layers -------------------------------------------------------------------------------

#define G (l->g)
#define ADD(x, y) g_binary(G, OP_add, x, y)
#define SUB(x, y) g_binary(G, OP_sub, x, y)
#define MUL(x, y) g_binary(G, OP_mul, x, y)
#define DIV(x, y) g_binary(G, OP_div, x, y)
#define NUMBER(v) g_constant(G, BT_F64, v)

// v repeated so that its axes lie on `axes` of x.
static struct node *like(const struct layer *l, struct node *v, const struct node *x,
                         const int *axes) {
  return g_broadcast(G, v, &x->type.shape, axes);
}

static struct node *conv(const struct layer *l) {
  int stride = metadata_int(l, "stride", 1), pad = metadata_int(l, "padding", 0),
      groups = metadata_int(l, "groups", 1);
  struct attr a = {.n = 7, .i = {stride, stride, pad, pad, 1, 1, groups}};
  struct node *y = g_conv(G, OP_conv2d, l->in[0], l->in[1], &a, NULL);
  return l->in[2] ? ADD(y, like(l, l->in[2], y, (int[]){1})) : y;
}

static struct node *linear(const struct layer *l) {
  struct node *y = g_matmul(G, l->in[0], l->in[1], false, true);
  return ADD(y, like(l, l->in[2], y, (int[]){1}));
}

// (x − mean) · rsqrt(var + eps), over `over`; `kept` are the other axes.
static struct node *standardise(const struct layer *l, struct node *x, const int *over, int n,
                                const int *kept) {
  struct node *mean = g_reduce(G, OP_mean, x, over, n), *var = g_reduce(G, OP_var, x, over, n);
  struct node *scale = g_unary(G, OP_rsqrt, ADD(var, NUMBER(1e-5)));
  return MUL(SUB(x, like(l, mean, x, kept)), like(l, scale, x, kept));
}

static struct node *affine(const struct layer *l, struct node *x) { // weight and bias on axis 1
  return ADD(MUL(x, like(l, l->in[1], x, (int[]){1})), like(l, l->in[2], x, (int[]){1}));
}

static struct node *batch_norm(const struct layer *l) {
  int n = l->in[0]->type.shape.rank == 4 ? 3 : 1;
  return affine(l, standardise(l, l->in[0], (int[]){0, 2, 3}, n, (int[]){1}));
}

static struct node *layer_norm(const struct layer *l) {
  return affine(l, standardise(l, l->in[0], (int[]){1}, 1, (int[]){0}));
}

// Over axis 1; the largest is subtracted first, so that nothing overflows.
static struct node *softmax(const struct layer *l) {
  struct node *x = l->in[0], *largest = g_reduce(G, OP_reduce_max, x, (int[]){1}, 1);
  struct node *e = g_unary(G, OP_exp, SUB(x, like(l, largest, x, (int[]){0})));
  return DIV(e, like(l, g_reduce(G, OP_sum, e, (int[]){1}, 1), x, (int[]){0}));
}

static struct node *gelu(const struct layer *l) {
  struct node *x = l->in[0], *cube = MUL(x, MUL(x, x));
  struct node *inner = g_scale(G, ADD(x, g_scale(G, cube, 0.044715)), sqrt(2 / M_PI));
  return MUL(g_scale(G, x, 0.5), ADD(g_unary(G, OP_tanh, inner), NUMBER(1)));
}

static struct node *max_pool(const struct layer *l) {
  struct attr a = {.n = 6, .i = {3, 3, 2, 2, 1, 1}};
  return graph_node(G, OP_max_pool2d, &l->in[0], 1, &a, NULL);
}

static struct node *global_average(const struct layer *l) {
  return g_reduce(G, OP_mean, l->in[0], (int[]){2, 3}, 2);
}

static struct node *global_average_pool(const struct layer *l) { // the same as one window
  const struct shape *x = &l->in[0]->type.shape;
  struct attr a = {.n = 6, .i = {x->dim[2], x->dim[3], 1, 1, 0, 0}};
  struct node *pooled = graph_node(G, OP_avg_pool2d, &l->in[0], 1, &a, NULL);
  struct shape to = {.rank = 2, .dim = {x->dim[0], x->dim[1]}};
  return g_reshape(G, pooled, &to);
}

// mean over n of logsumexp(x[n]) − x[n, label[n]]
static struct node *cross_entropy(const struct layer *l) {
  struct node *x = l->in[0], *largest = g_reduce(G, OP_reduce_max, x, (int[]){1}, 1);
  struct node *e = g_unary(G, OP_exp, SUB(x, like(l, largest, x, (int[]){0})));
  struct node *log_sum = ADD(g_unary(G, OP_log, g_reduce(G, OP_sum, e, (int[]){1}, 1)), largest);
  struct node *hot =
      g_binary(G, OP_eq, g_iota(G, BT_I64, &x->type.shape, 1), like(l, l->in[1], x, (int[]){0}));
  struct node *chosen = g_reduce(G, OP_sum, g_where(G, hot, x, NUMBER(0)), (int[]){1}, 1);
  return g_reduce(G, OP_mean, SUB(log_sum, chosen), (int[]){0}, 1);
}

static struct node *sum_of_squares(const struct layer *l, struct node *x) {
  return g_reduce(G, OP_sum, MUL(x, x), (int[]){0, 1}, x->type.shape.rank);
}

// Σᵢ(1 − Cᵢᵢ)² + λ Σ_{i≠j} Cᵢⱼ²,  C = ẐaᵀẐb / N
static struct node *barlow_twins(const struct layer *l) {
  struct node *za = standardise(l, l->in[0], (int[]){0}, 1, (int[]){1});
  struct node *zb = standardise(l, l->in[1], (int[]){0}, 1, (int[]){1});
  struct node *c = g_scale(G, g_matmul(G, za, zb, true, false), 1 / (double)za->type.shape.dim[0]);
  const struct shape *s = &c->type.shape;
  struct node *eye = g_binary(G, OP_eq, g_iota(G, BT_I32, s, 0), g_iota(G, BT_I32, s, 1));
  struct node *diagonal = SUB(g_unary(G, OP_diag, c), NUMBER(1));
  struct node *rest = g_where(G, eye, NUMBER(0), c);
  return ADD(sum_of_squares(l, diagonal), g_scale(G, sum_of_squares(l, rest), 0.0051));
}

#define LAYER(name, function, inputs)                                                              \
  {                                                                                                \
    "layer_" name, function, {"in0", inputs > 1 ? "in1" : NULL, inputs > 2 ? "in2" : NULL}, "out", \
        inputs                                                                                     \
  }
#define BARLOW(name) \
  { "objective_barlow_twins_" name, barlow_twins, {"za", "zb"}, "loss", 2 }
// clang-format off
static const struct reference references[] = {
    LAYER("conv2d_c16x32_hw8_k1_s1_p0", conv, 2), LAYER("conv2d_c16x32_hw8_k1_s2_p0", conv, 2),
    LAYER("conv2d_c16x32_hw8_k3_s1_p1", conv, 2), LAYER("conv2d_c16x32_hw8_k3_s2_p1", conv, 2),
    LAYER("conv2d_c16x32_hw9_k3_s2_p1", conv, 2), LAYER("conv2d_c17x33_hw7_k3_s1_p1", conv, 2),
    LAYER("conv2d_c3x16_hw20_k7_s2_p3", conv, 2), LAYER("conv2d_c3x16_hw9_k3_s1_p1", conv, 2),
    LAYER("conv2d_c8x8_hw6_k5_s1_p2", conv, 2),   LAYER("conv2d_depthwise", conv, 2),
    LAYER("conv2d_bias", conv, 3),                LAYER("linear", linear, 3),
    LAYER("batchnorm1d", batch_norm, 3),          LAYER("batchnorm2d", batch_norm, 3),
    LAYER("layernorm", layer_norm, 3),            LAYER("softmax", softmax, 1),
    LAYER("gelu_tanh", gelu, 1),                  LAYER("maxpool_k3_s2_p1", max_pool, 1),
    LAYER("avgpool_global", global_average, 1),   LAYER("avgpool_global", global_average_pool, 1),
    {"layer_cross_entropy", cross_entropy, {"in0", "labels"}, "out", 1},
    BARLOW("small"), BARLOW("wide"), BARLOW("tall"), BARLOW("offset"),
};
// clang-format on
enum { REFERENCES = sizeof references / sizeof references[0] };

// ---- comparison -------------------------------------------------------------------------------

static const struct tensor64 *read_tensor(struct arena *a, const struct st_file *file,
                                          const char *name) {
  const struct st_tensor *t = st_find(file, name);
  if (!t) fail_msg("the file has no tensor %s", name);
  struct tensor_type type = {t->dtype, {.rank = t->rank}};
  memcpy(type.shape.dim, t->shape, sizeof *t->shape * (size_t)t->rank);
  struct tensor64 *out = tensor64_new(a, &type);
  for (int64_t i = 0; i < shape_count(&type.shape); i++) {
    switch (t->dtype) {
    case BT_F64: out->data[i] = ((const double *)t->data)[i]; break;
    case BT_I64: out->data[i] = (double)((const int64_t *)t->data)[i]; break;
    default: fail_msg("%s is %s", name, dtype_name(t->dtype));
    }
  }
  return out;
}

static void compare_outputs(const struct graph *g, const struct st_file *file,
                            struct leaf_values *values) {
  struct tensor64 **v = evaluate(g, values, false);
  for (int i = 0; i < g->outputs.len; i++)
    assert_near(g->outputs.data[i].name, v[g->outputs.data[i].node->id],
                read_tensor(values->arena, file, g->outputs.data[i].name), TOLERANCE);
}

// Result and gradients as outputs, under the names that they have in the file.
static struct graph *build_reference(struct btc *b, const struct reference *r,
                                     const struct st_file *file, struct leaf_values *values) {
  struct layer l = {.g = graph_new(b, r->file), .file = file};
  struct node *gradient[INPUTS_MAX], *seed = NULL;
  for (int i = 0; i < INPUTS_MAX && r->input[i]; i++) {
    values->of[i] = read_tensor(b->arena, file, r->input[i]);
    l.in[i] = numbered_leaf(l.g, i, &values->of[i]->type);
  }
  struct node *y = r->build(&l);
  if (y->type.shape.rank > 0) {
    values->of[INPUTS_MAX] = read_tensor(b->arena, file, "dout");
    seed = numbered_leaf(l.g, INPUTS_MAX, &y->type);
  }
  graph_gradients(l.g, y, seed, l.in, r->differentiable, gradient);
  graph_output(l.g, r->result, BT_OUTPUT_VALUE, y);
  for (int i = 0; i < r->differentiable; i++) {
    assert_non_null(gradient[i]);
    graph_output(l.g, str_printf(b->arena, "d%s", r->input[i]), BT_OUTPUT_VALUE, gradient[i]);
  }
  return l.g;
}

static void agrees_with_reference(void **state) {
  const struct reference *r = *state;
  struct btc *b = btc_new();
  char err[256];
  struct st_file *file =
      st_open(str_printf(b->arena, "%s/%s.safetensors", reference_folder(b->arena), r->file), err,
              sizeof err);
  if (!file) fail_msg("%s", err);
  struct leaf_values values = {b->arena, {0}};
  struct graph *g = build_reference(b, r, file, &values);
  compare_outputs(g, file, &values);
  bool stopped;
  g = passes_run(b, g, &stopped);
  compare_outputs(g, file, &values);
  st_close(file);
  btc_free(b);
}

static void skipped(void **state) {
  (void)state;
  skip();
}

int main(void) {
  struct arena *a = arena_new();
  struct CMUnitTest tests[REFERENCES];
  bool there = access(reference_folder(a), R_OK) == 0;
  for (int i = 0; i < REFERENCES; i++)
    tests[i] = (struct CMUnitTest){references[i].file, there ? agrees_with_reference : skipped,
                                   NULL, NULL, (void *)(uintptr_t)&references[i]};
  int failures = _cmocka_run_group_tests("reference", tests, REFERENCES, NULL, NULL);
  arena_free(a);
  return failures;
}
