// gradcheck.c: autodiff against central differences. See gradcheck.h.
//
// A central difference (f(x + h v) - f(x - h v)) / 2h errs by h² f'''/6 and by the rounding of f, about
// ε|f|/h. They balance at h ≈ ε^(1/3) of the scale on which f changes, for which the norm of the
// tensor stands (networks with batch norm are scale-free in their weights). What rounding alone may do is allowed
// for, so a gradient that is zero by symmetry passes. A step may straddle a kink of ReLU or max, where the
// difference is right at no accuracy: then other steps are tried. A wrong gradient is wrong at all of them.
//
// What stands behind a stop_gradient is constant for autodiff, so it is for the differences: it keeps the
// value that it has at x.
#include <float.h>
#include <math.h>
#include <string.h>

#include "gradcheck.h"
#include "../runtime/random.h"

// Rounding of a loss in units of ε·|f|: sums of some thousand terms, partly cancelling.
enum { GRADCHECK_ROUNDING = 100 };
static const double step_factors[] = {1, 0.1, 10, 0.01};
static const double good_enough = 1e-7;

const char *gradcheck_leaf_name(struct arena *a, const struct node *n) {
  if (n->op != OP_input || n->attr.i[INPUT_KIND] != BT_INPUT_VIEW) return n->attr.s;
  return str_printf(a, "%s@%d.%d", n->attr.s, (int)n->attr.i[INPUT_VIEW], (int)n->attr.i[INPUT_SITE]);
}

static const struct tensor64 *leaf_value(void *user, const struct node *n) {
  struct gradcheck *c = user;
  const struct tensor64 *t = values_find(&c->leaves, gradcheck_leaf_name(c->forward->b->arena, n));
  expect(t, "gradient check without a value for '%s'", n->attr.s);
  return t;
}

static const struct node *checked_output(const struct gradcheck *c) {
  for (int i = 0; i < c->forward->outputs.len; i++)
    if (str_eq(c->forward->outputs.data[i].name, c->of)) return c->forward->outputs.data[i].node;
  die("the graph has no output '%s'", c->of);
}

// By node id, in `a`: the values behind stop_gradient, NULL of other nodes.
static struct tensor64 **stopped_values(struct gradcheck *c, struct arena *a) {
  struct arena *all = arena_new();
  struct tensor64 **held = NEW_ARRAY(a, struct tensor64 *, c->forward->nodes.len);
  struct tensor64 **values = interp_run(c->forward, all, false, leaf_value, c);
  for (int i = 0; i < c->forward->nodes.len; i++) {
    if (c->forward->nodes.data[i]->op != OP_stop_gradient) continue;
    held[i] = tensor64_new(a, &values[i]->type);
    memcpy(held[i]->data, values[i]->data, sizeof(double) * (size_t)shape_count(&values[i]->type.shape));
  }
  arena_free(all);
  return held;
}

static double evaluate(struct gradcheck *c) {
  const struct node *n = checked_output(c);
  struct arena *a = arena_new();
  const struct tensor64 *t = interp_run_holding(c->forward, a, c->held, leaf_value, c)[n->id];
  int64_t count = shape_count(&t->type.shape);
  double sum = 0;
  for (int64_t i = 0; i < count; i++) sum += t->data[i] * (c->cotangent ? c->cotangent->data[i] : 1);
  arena_free(a);
  return sum;
}

static double norm(const double *x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
  return sqrt(sum);
}

static double dot(const double *x, const double *y, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += x[i] * y[i];
  return sum;
}

static void move(double *x, const double *from, const double *direction, double by, int64_t n) {
  for (int64_t i = 0; i < n; i++) x[i] = from[i] + by * direction[i];
}

struct difference { double slope, allowance; };

static struct difference central(struct gradcheck *c, struct tensor64 *x, const double *at, const double *direction, double h) {
  int64_t n = shape_count(&x->type.shape);
  move(x->data, at, direction, h, n);
  double up = evaluate(c);
  move(x->data, at, direction, -h, n);
  double down = evaluate(c);
  memcpy(x->data, at, sizeof(double) * (size_t)n);
  return (struct difference){(up - down) / (2 * h), GRADCHECK_ROUNDING * DBL_EPSILON * (fabs(up) + fabs(down)) / (2 * h)};
}

// Compares along one direction of unit length; `scale`: what the error is relative to, at least.
static void check_direction(struct gradcheck *c, struct tensor64 *x, const double *at, const double *direction, double analytic, double scale, struct gradcheck_row *row) {
  int64_t n = shape_count(&x->type.shape);
  double size = norm(at, n) / sqrt((double)n);
  double best = INFINITY, numeric = 0, difference = 0;
  double h = cbrt(DBL_EPSILON) * (size > 0 ? size : 1);
  for (size_t i = 0; i < sizeof step_factors / sizeof *step_factors && !(best <= good_enough); i++) {
    struct difference d = central(c, x, at, direction, h * step_factors[i]);
    double off = fabs(d.slope - analytic), excess = off - d.allowance;
    double size_of = fmax(fmax(fabs(analytic), fabs(d.slope)), scale);
    double relative = excess <= 0 ? 0 : excess / size_of;
    if (isnan(off)) relative = INFINITY;
    if (relative < best) best = relative, numeric = d.slope, difference = off > 0 ? off / size_of : 0;
  }
  row->checks++;
  if (best < row->error || (best == row->error && difference < row->difference)) return;
  row->error = best, row->difference = difference, row->analytic = analytic, row->numeric = numeric;
}

static double largest(const double *x, int64_t n) {
  double most = 0;
  for (int64_t i = 0; i < n; i++) most = fmax(most, fabs(x[i]));
  return most;
}

static void check_leaf(struct gradcheck *c, const char *name, const struct tensor64 *gradient, struct bt_random *random, gradcheck_rows *rows) {
  struct arena *a = arena_new();
  struct tensor64 *x = values_find(&c->leaves, name);
  expect(x, "gradient of '%s', which is no leaf", name);
  int64_t n = shape_count(&x->type.shape);
  double *at = NEW_ARRAY(a, double, n), *direction = NEW_ARRAY(a, double, n);
  memcpy(at, x->data, sizeof(double) * (size_t)n);
  struct gradcheck_row row = {.name = name, .shape = x->type.shape};
  for (int k = 0; k < c->samples && k < n; k++) {
    int64_t i = n <= c->samples ? k : (int64_t)bt_random_below(random, (uint32_t)n);
    memset(direction, 0, sizeof(double) * (size_t)n);
    direction[i] = 1;
    check_direction(c, x, at, direction, gradient->data[i], largest(gradient->data, n), &row);
  }
  for (int64_t i = 0; i < n; i++) direction[i] = bt_random_normal(random);
  double length = norm(direction, n);
  for (int64_t i = 0; i < n; i++) direction[i] /= length;
  check_direction(c, x, at, direction, dot(gradient->data, direction, n), norm(gradient->data, n) / sqrt((double)n), &row);
  vec_push(c->forward->b->arena, rows, row);
  arena_free(a);
}

void gradcheck_run(struct gradcheck *c, gradcheck_rows *rows) {
  struct bt_random random = bt_random_new(c->seed, BT_RANDOM_DATA, 1, 0, 0);
  struct arena *a = arena_new();
  c->held = stopped_values(c, a);
  for (int i = 0; i < c->gradients->len; i++)
    check_leaf(c, c->gradients->data[i].name, c->gradients->data[i].tensor, &random, rows);
  c->held = NULL;
  arena_free(a);
}
