// conv.c: two-dimensional convolution (cross-correlation, as in PyTorch) and its two adjoints.
//
//   out[n, o, y, x] = Σ_{i, u, v} in[n, i, y·s − p + u·d, x·s − p + v·d] w[o, i, u, v]
//
// with i over the channels of o's group. The three ops are one trilinear form in (x, w, y); each
// solves for one of them, so the reference evaluation is one walk over rows with three row functions.
#include <string.h>

#include "rules.h"

struct conv {
  const char *name; // the op's
  const struct shape *x, *w, *y; // [n, ic, ih, iw], [oc, ic/groups, kh, kw], [n, oc, oh, ow]
  const int64_t *stride, *pad, *dilation;
  int64_t groups;
};

static struct conv conv_of(const struct node *n) {
  const int64_t *i = n->attr.i;
  struct conv c = {.name = op_info(n->op)->name, .stride = i + CONV_STRIDE, .pad = i + CONV_PAD, .dilation = i + CONV_DILATION, .groups = i[CONV_GROUPS]};
  const struct shape *first = in_shape(n, 0), *second = in_shape(n, 1), *result = &n->type.shape;
  if (n->op == OP_conv2d) c.x = first, c.w = second, c.y = result;
  if (n->op == OP_conv2d_dx) c.y = first, c.w = second, c.x = result;
  if (n->op == OP_conv2d_dw) c.x = first, c.y = second, c.w = result;
  return c;
}

// ---- shape rules ------------------------------------------------------------------------------

static const char *check_attributes(struct arena *a, const struct node *n) { // (conv2d_c1) strides, dilations, groups from 1 on, padding from 0
  const int64_t *i = n->attr.i;
  const char *name = op_info(n->op)->name;
  if (n->attr.n != 7) return str_printf(a, "%s needs stride, pad, dilation and groups", name);
  for (int k = 0; k < 2; k++) {
    if (i[CONV_STRIDE + k] < 1) return str_printf(a, "%s: stride %lld", name, (long long)i[CONV_STRIDE + k]);
    if (i[CONV_DILATION + k] < 1) return str_printf(a, "%s: dilation %lld", name, (long long)i[CONV_DILATION + k]);
    if (i[CONV_PAD + k] < 0) return str_printf(a, "%s: padding %lld", name, (long long)i[CONV_PAD + k]);
  }
  return i[CONV_GROUPS] >= 1 ? NULL : str_printf(a, "%s: %lld groups", name, (long long)i[CONV_GROUPS]);
}

static const char *check_channels(struct arena *a, const struct conv *c) { // (conv2d_c3) channels and groups agree
  if (c->x->dim[1] % c->groups || c->w->dim[0] % c->groups)
    return str_printf(a, "%s: %lld groups do not divide both %lld input and %lld output channels", c->name, (long long)c->groups,
                      (long long)c->x->dim[1], (long long)c->w->dim[0]);
  if (c->w->dim[1] != c->x->dim[1] / c->groups)
    return str_printf(a, "%s: the input has %lld channels in %lld groups, the weight expects %lld a group", c->name,
                      (long long)c->x->dim[1], (long long)c->groups, (long long)c->w->dim[1]);
  return NULL;
}

// The result's shape from x and w; (conv2d_c4) the kernel fits the padded input.
static const char *result_shape(struct arena *a, const struct conv *c, struct shape *y) {
  *y = (struct shape){4, {c->x->dim[0], c->w->dim[0]}};
  for (int k = 0; k < 2; k++) {
    int64_t reach = c->dilation[k] * (c->w->dim[2 + k] - 1) + 1, padded = c->x->dim[2 + k] + 2 * c->pad[k];
    if (reach > padded)
      return str_printf(a, "%s: a kernel that reaches over %lld does not fit %lld padded to %lld", c->name, (long long)reach,
                        (long long)c->x->dim[2 + k], (long long)padded);
    y->dim[2 + k] = (padded - reach) / c->stride[k] + 1;
  }
  return NULL;
}

static const char *check_operands(struct arena *a, const struct node *n) { // (conv2d_c2) NCHW and OIHW floats
  TRY(check_attributes(a, n));
  TRY(rule_same_dtype(a, n));
  TRY(rule_float(a, n, 0));
  TRY(rule_rank(a, n, 0, 4));
  return rule_rank(a, n, 1, 4);
}

static const char *infer_conv2d(struct arena *a, struct node *n) {
  TRY(check_operands(a, n));
  struct conv c = conv_of(n);
  struct shape y;
  TRY(check_channels(a, &c));
  TRY(result_shape(a, &c, &y));
  return rule_result(a, n, in_dtype(n, 0), &y);
}

// (conv2d_dx_c1) (conv2d_dw_c1) with the given type, conv2d(x, w) has the shape of dy
static const char *infer_adjoint(struct arena *a, struct node *n) {
  TRY(rule_given(a, n));
  TRY(check_operands(a, n));
  if (n->type.shape.rank != 4) return str_printf(a, "%s gives 4 axes", op_info(n->op)->name);
  struct conv c = conv_of(n);
  struct shape y;
  TRY(check_channels(a, &c));
  TRY(result_shape(a, &c, &y));
  if (!shape_eq(&y, c.y))
    return str_printf(a, "%s: the cotangent must be %s, not %s", op_info(n->op)->name, shape_text(a, &y), shape_text(a, c.y));
  return rule_result(a, n, in_dtype(n, 0), &n->type.shape);
}

// ---- reference evaluation ---------------------------------------------------------------------

// One row of output positions against one tap: x advances by the stride, y by 1.
typedef void row_function(double *w, double *x, double *y, int64_t count, int64_t stride);

static void row_forward(double *w, double *x, double *y, int64_t count, int64_t stride) {
  for (int64_t i = 0; i < count; i++) y[i] += *w * x[i * stride];
}
static void row_dx(double *w, double *x, double *y, int64_t count, int64_t stride) {
  for (int64_t i = 0; i < count; i++) x[i * stride] += *w * y[i];
}
static void row_dw(double *w, double *x, double *y, int64_t count, int64_t stride) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++) sum += x[i * stride] * y[i];
  *w += sum;
}

// Output positions o of an axis whose tap lies inside: 0 <= o·stride + offset < size.
static void valid_range(int64_t offset, int64_t stride, int64_t size, int64_t out, int64_t *lo, int64_t *hi) {
  *lo = offset < 0 ? (-offset + stride - 1) / stride : 0;
  int64_t last = size - 1 - offset;
  *hi = last < 0 ? 0 : last / stride + 1;
  if (*hi > out) *hi = out;
}

static void walk_plane(const struct conv *c, double *w, double *x, double *y, row_function *row) {
  int64_t ih = c->x->dim[2], iw = c->x->dim[3], oh = c->y->dim[2], ow = c->y->dim[3], kh = c->w->dim[2], kw = c->w->dim[3];
  for (int64_t u = 0; u < kh; u++) {
    int64_t y0, y1, dy = u * c->dilation[0] - c->pad[0];
    valid_range(dy, c->stride[0], ih, oh, &y0, &y1);
    for (int64_t v = 0; v < kw; v++) {
      int64_t x0, x1, dx = v * c->dilation[1] - c->pad[1];
      valid_range(dx, c->stride[1], iw, ow, &x0, &x1);
      for (int64_t r = y0; r < y1 && x0 < x1; r++)
        row(w + u * kw + v, x + (r * c->stride[0] + dy) * iw + x0 * c->stride[1] + dx, y + r * ow + x0, x1 - x0,
            c->stride[1]);
    }
  }
}

static void walk_pair(const struct conv *c, double *w, double *x, double *y, int64_t image, int64_t o, row_function *row) {
  int64_t group_in = c->w->dim[1], x_plane = c->x->dim[2] * c->x->dim[3], y_plane = c->y->dim[2] * c->y->dim[3];
  int64_t first = o / (c->w->dim[0] / c->groups) * group_in, taps = c->w->dim[2] * c->w->dim[3];
  for (int64_t i = 0; i < group_in; i++)
    walk_plane(c, w + (o * group_in + i) * taps, x + (image * c->x->dim[1] + first + i) * x_plane,
               y + (image * c->y->dim[1] + o) * y_plane, row);
}

// Threads share out what each writes alone: images for y and x, output channels for w.
static void walk(const struct conv *c, double *w, double *x, double *y, bool by_channel, row_function *row) {
  int64_t images = c->x->dim[0], channels = c->w->dim[0], outer = by_channel ? channels : images;
  int64_t work = shape_count(c->y) * c->w->dim[1] * c->w->dim[2] * c->w->dim[3];
#pragma omp parallel for if (work > REFERENCE_PARALLEL)
  for (int64_t i = 0; i < outer; i++)
    for (int64_t j = 0; j < (by_channel ? images : channels); j++)
      walk_pair(c, w, x, y, by_channel ? j : i, by_channel ? i : j, row);
}

static void eval_conv(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out) {
  struct conv c = conv_of(n);
  double *first = in[0]->data, *second = in[1]->data;
  memset(out->data, 0, sizeof(double) * (size_t)shape_count(&n->type.shape));
  if (n->op == OP_conv2d) walk(&c, second, first, out->data, false, row_forward);
  if (n->op == OP_conv2d_dx) walk(&c, second, out->data, first, false, row_dx);
  if (n->op == OP_conv2d_dw) walk(&c, out->data, first, second, true, row_dw);
}

static void vjp_conv2d(struct grad *g, const struct node *n, struct node *dy) {
  struct node *x = n->in[0], *w = n->in[1];
  if (grad_wants(g, 0)) grad_add(g, 0, g_conv(grad_graph(g), OP_conv2d_dx, dy, w, &n->attr, &x->type));
  if (grad_wants(g, 1)) grad_add(g, 1, g_conv(grad_graph(g), OP_conv2d_dw, x, dy, &n->attr, &w->type));
}

// Taps on padding are counted, as is usual.
static double flops_conv(const struct node *n) {
  struct conv c = conv_of(n);
  return 2.0 * (double)shape_count(c.y) * (double)(c.w->dim[1] * c.w->dim[2] * c.w->dim[3]);
}

const struct op_rules op_rules_conv2d = {
    .infer = infer_conv2d, .vjp = vjp_conv2d, .eval = eval_conv, .flops = flops_conv};
const struct op_rules op_rules_conv2d_dx = {.infer = infer_adjoint, .eval = eval_conv, .flops = flops_conv};
const struct op_rules op_rules_conv2d_dw = {.infer = infer_adjoint, .eval = eval_conv, .flops = flops_conv};
