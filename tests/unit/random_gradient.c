// random_gradient.c: see random_gradient.h.
//
// A central difference (f(x + h v) - f(x - h v)) / 2h errs by h² f'''/6, and by the rounding of f over h; next to
// a kink it is right at no accuracy. So several steps are tried, each ten times shorter, and one that agrees
// is enough: a gradient that is wrong is wrong at all of them. What no cotangent passes by definition (stopped
// gradients, draws, comparisons, floors) is held where it is at x, so the differences do not see it either.
#include <float.h>
#include <math.h>
#include <string.h>

#include "../../runtime/random.h"
#include "codegen_helper.h"
#include "random_gradient.h"

enum { LEAVES = 128, STEPS = 4, ROUNDING = 100 /* of a loss, in units of ε times its size */ };
static const double agreement = 1e-5, first_step = 1e-3;

struct trial {
  const struct graph *g; // the loss alone, with what is held as inputs
  struct arena *arena;
  unsigned seed;
  struct tensor64 **held; // by the number in their names
  double step;            // along the direction
  struct node *wrt[LEAVES];
  int n;
};

// ---- the loss ---------------------------------------------------------------------------------

static struct node *sum_of_squares(struct graph *g, struct node *x) {
  int all[] = {0, 1, 2, 3, 4, 5};
  return g_reduce(g, OP_sum, g_binary(g, OP_mul, x, x), all, x->type.shape.rank);
}

static bool is_loss(const struct graph_output *o) { return o->kind == BT_OUTPUT_LOSS; }

// Forward alone: the loss, or the float outputs.
static struct graph *forward_of(const struct graph *g) {
  struct graph wanted = *g;
  bool loss = false;
  wanted.outputs.data = NULL, wanted.outputs.len = wanted.outputs.cap = wanted.updates.len = 0;
  for (int i = 0; i < g->outputs.len; i++) loss |= is_loss(&g->outputs.data[i]);
  for (int i = 0; i < g->outputs.len; i++) {
    const struct graph_output *o = &g->outputs.data[i];
    if (loss ? is_loss(o) : dtype_is_float(o->node->type.dtype)) vec_push(g->b->arena, &wanted.outputs, *o);
  }
  return graph_map(&wanted, NULL);
}

static struct node *loss_of(struct graph *g) {
  if (g->outputs.len == 1 && is_loss(&g->outputs.data[0])) return g->outputs.data[0].node;
  struct node *sum = g_constant(g, BT_F64, 0);
  for (int i = 0; i < g->outputs.len; i++)
    sum = g_binary(g, OP_add, sum, g_cast(g, sum_of_squares(g, g->outputs.data[i].node), BT_F64));
  return sum;
}

// ---- leaves -----------------------------------------------------------------------------------

static bool is_held(const struct node *n) {
  return op_info(n->op)->class != LEAF && op_info(n->op)->gradient == NOGRAD && dtype_is_float(n->type.dtype);
}
static bool is_choice(const struct node *n) { return n->n_in > 0 && !dtype_is_float(n->type.dtype); }

static const struct tensor64 *leaf_value(void *user, const struct node *n) {
  struct trial *t = user;
  int held;
  if (sscanf(n->attr.s, "held %d", &held) == 1) return t->held[held];
  struct tensor64 *v = tensor64_new(t->arena, &n->type);
  const struct tensor64 *at = step_leaf(t->arena, 0, t->seed, n);
  struct bt_random random = bt_random_new(t->seed, BT_RANDOM_DATA, (uint32_t)str_hash(n->attr.s), 1, 0);
  for (int64_t i = 0; i < shape_count(&n->type.shape); i++)
    v->data[i] = at->data[i] + (dtype_is_float(n->type.dtype) ? t->step * (2.0 * bt_random_below(&random, 2) - 1) : 0);
  return v;
}

// Replaces what does not depend smoothly on anything by its value.
static struct graph *hold(struct trial *t, const struct graph *g) {
  t->held = interp_run(g, t->arena, false, leaf_value, t);
  struct rewrite r = rewrite_begin(g);
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    bool held = is_held(n) || is_choice(n);
    r.map[i] = held ? g_input(r.to, str_printf(t->arena, "held %d", i), BT_INPUT_ARRAY, 0, 0, &n->type) : rewrite_copy(&r, n);
  }
  return rewrite_end(&r);
}

static void find_leaves(struct trial *t, const struct graph *g) {
  for (int i = 0; i < g->nodes.len && t->n < LEAVES; i++) {
    struct node *n = g->nodes.data[i];
    bool leaf = n->op == OP_param || n->op == OP_state || n->op == OP_input;
    if (leaf && dtype_is_float(n->type.dtype) && strncmp(n->attr.s, "held ", 5) != 0) t->wrt[t->n++] = n;
  }
}

// ---- both slopes ------------------------------------------------------------------------------

static double value_at(struct trial *t, double step) {
  struct arena *kept = t->arena;
  t->arena = arena_new();
  t->step = step;
  double value = interp_outputs(t->g, t->arena, 0, leaf_value, t)[0]->data[0];
  arena_free(t->arena);
  t->arena = kept;
  t->step = 0;
  return value;
}

// The derivative along the direction, and the root of the sum of squares of its parts: how much may cancel.
static double analytic(struct trial *t, const struct graph *with_gradients, double *parts) {
  struct tensor64 **d = interp_outputs(with_gradients, t->arena, 0, leaf_value, t);
  double slope = 0, squares = 0;
  for (int i = 0, at = 0; i < t->n; i++) {
    if (!t->wrt[i]) continue; // the loss does not depend on it
    const struct tensor64 *gradient = d[at++];
    t->step = 1;
    const struct tensor64 *to = leaf_value(t, t->wrt[i]);
    t->step = 0;
    const struct tensor64 *from = leaf_value(t, t->wrt[i]);
    for (int64_t k = 0; k < shape_count(&gradient->type.shape); k++) {
      double part = gradient->data[k] * (to->data[k] - from->data[k]);
      slope += part, squares += part * part;
    }
  }
  *parts = sqrt(squares);
  return slope;
}

static const char *compare(struct trial *t, double slope, double parts) {
  double h = first_step, nearest = INFINITY, numeric = 0;
  for (int i = 0; i < STEPS; i++, h /= 10) {
    double up = value_at(t, h), down = value_at(t, -h), difference = (up - down) / (2 * h);
    double allowed = agreement * fmax(fabs(slope), parts) + ROUNDING * DBL_EPSILON * (fabs(up) + fabs(down)) / (2 * h);
    double off = fabs(difference - slope);
    if (off <= allowed || !isfinite(up - down)) return NULL;
    if (off < nearest) nearest = off, numeric = difference;
  }
  return str_printf(t->g->b->arena, "the gradient is %.9g along a direction, the difference %.9g", slope, numeric);
}

const char *random_gradient_fault(const struct graph *g, unsigned seed) {
  struct graph *forward = forward_of(g);
  if (forward->outputs.len == 0) return NULL;
  struct node *d[LEAVES], *loss;
  struct trial t = {.arena = arena_new(), .seed = seed};
  struct graph *to = hold(&t, forward);
  find_leaves(&t, to);
  loss = loss_of(to);
  to->outputs.len = 0;
  graph_output(to, "loss", BT_OUTPUT_LOSS, loss);
  t.g = graph_map(to, NULL);
  graph_gradients(to, loss, NULL, t.wrt, t.n, d);
  to->outputs.len = 0;
  for (int i = 0; i < t.n; i++) {
    if (d[i])
      graph_output(to, t.wrt[i]->attr.s, BT_OUTPUT_VALUE, d[i]);
    else
      t.wrt[i] = NULL;
  }
  double parts, slope = analytic(&t, to, &parts);
  const char *fault = compare(&t, slope, parts);
  arena_free(t.arena);
  return fault;
}
