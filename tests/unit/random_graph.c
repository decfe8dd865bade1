// random_graph.c: see random_graph.h.
//
// A pool of values grows from the leaves by random steps, each a pattern of a few ops. For every
// value the pool knows a bound, and whether it is *exact*: then it is a multiple of 2^-fraction
// that f32 holds. Values that grow large are scaled down by a power of two. The steps are in random_pointwise.c,
// random_movement.c and random_layers.c; the loss, its gradients and the updates are here.
#include "random_graph_internal.h"

enum { EXACT_BITS = 22 };

static bool fits(double most, int fraction) { return log2(fmax(most, 1)) + fraction <= EXACT_BITS; }

// A value of the pool: exact where the bits do, scaled where it is large.
struct item random_made(struct generator *r, struct node *n, double most, int fraction) {
  if (fraction >= 0 && !fits(most, fraction)) fraction = -1;
  if (most > 64 && dtype_is_float(n->type.dtype)) {
    int shift = (int)ceil(log2(most / 8));
    n = g_scale(r->g, n, ldexp(1, -shift));
    most = ldexp(most, -shift);
    if (fraction >= 0) fraction += shift;
    if (fraction >= 0 && !fits(most, fraction)) fraction = -1;
  }
  return (struct item){n, most, fraction};
}

void random_keep(struct generator *r, struct item x) { vec_push(r->arena, &r->reals, x); }

struct item random_pick(struct generator *r) {
  int n = r->reals.len, late = n > 6 ? n - 6 : 0;
  return r->reals.data[roll(r, 2) ? late + roll(r, n - late) : roll(r, n)];
}

struct item random_pick_exact(struct generator *r) {
  for (;;) {
    struct item x = r->reals.data[roll(r, r->reals.len)];
    if (exact(&x)) return x;
  }
}

struct item random_pick_integer(struct generator *r) {
  return r->integers.data[roll(r, r->integers.len)];
}

struct item random_pick_rank(struct generator *r, int rank) {
  for (int tries = 0; tries < 60; tries++) {
    struct item x = random_pick(r);
    if (shape(&x)->rank == rank) return x;
  }
  return r->reals.data[0]; // of rank 4
}

// ---- leaves -----------------------------------------------------------------------------------

const char *random_name(struct generator *r, const char *stem) {
  return str_printf(r->arena, "g%u.%s%d", r->seed, stem, r->names++);
}

static struct node *input(struct generator *r, const char *stem, dtype t, struct shape s) {
  return g_input(r->g, random_name(r, stem), BT_INPUT_ARRAY, 0, 0, &(struct tensor_type){t, s});
}

struct item random_leaf(struct node *n) { return (struct item){n, 2, 3}; }

struct item random_param(struct generator *r, struct shape s) {
  for (int i = 0; i < r->trained.len; i++) // shared, now and then
    if (shape_eq(&r->trained.data[i]->type.shape, &s) && roll(r, 2))
      return random_leaf(r->trained.data[i]);
  struct node *n = g_leaf(r->g, OP_param, random_name(r, "p"), &(struct tensor_type){BT_F32, s});
  vec_push(r->arena, &r->trained, n);
  return random_leaf(n);
}

struct shape random_shape(struct generator *r, int rank) {
  static const int sizes[] = {1, 2, 3, 4, 5, 7, 8, 17, 19};
  struct shape s = {.rank = rank};
  for (int i = 0; i < rank; i++) s.dim[i] = sizes[roll(r, rank > 2 ? 6 : 9)];
  if (r->limit == LARGE && rank > 0 && roll(r, 2)) {
    int i = roll(r, rank); // one long axis
    while (shape_count(&s) < LARGE / 8) s.dim[i] = s.dim[i] * 3 + 1;
  }
  return s;
}

static struct shape random_image(struct generator *r) {
  static const int channels[] = {16, 16, 32, 3, 5, 1, 8, 17};
  int size = r->limit == LARGE ? 20 : 1;
  return shape_of(4, (int64_t)(1 + roll(r, 3)), (int64_t)channels[roll(r, 8)],
                  (int64_t)(size + roll(r, 6)), (int64_t)(size + roll(r, 5)));
}

static void begin(struct generator *r) {
  random_keep(r, random_leaf(input(r, "x", BT_F32, random_image(r))));
  random_keep(r, random_leaf(input(r, "x", BT_F32, random_image(r))));
  random_keep(r, random_leaf(input(r, "x", BT_F32, random_shape(r, 2))));
  for (int i = 0; i < 3; i++) random_keep(r, random_param(r, random_shape(r, roll(r, 4))));
  struct tensor_type t = {BT_F32, random_shape(r, 1 + roll(r, 2))};
  random_keep(r, random_leaf(g_leaf(r->g, OP_state, random_name(r, "s"), &t)));
  struct item i = {input(r, "i", roll(r, 3) ? BT_I32 : BT_I64, random_shape(r, 2)), 4, 0};
  vec_push(r->arena, &r->integers, i);
  struct item u = {input(r, "u", BT_U8, random_shape(r, 2)), 4, 0};
  random_keep(r, random_made(r, g_cast(r->g, u.node, BT_F32), 4, 0));
  struct item f = {input(r, "f", BT_BOOL, random_shape(r, 2)), 1, 0};
  vec_push(r->arena, &r->flags, f);
}

// ---- the graph --------------------------------------------------------------------------------

static const struct random_step *const tables[] = {random_pointwise, random_movement, random_layers};

enum { TABLES = sizeof tables / sizeof *tables };

// Of graphs with many layers, every other step is one.
static const struct random_step *random_step(struct generator *r) {
  int first = r->layers && roll(r, 2) ? TABLES - 1 : 0, all = 0;
  for (int i = first; i < TABLES; i++)
    for (const struct random_step *s = tables[i]; s->weight; s++) all += s->weight;
  int at = roll(r, all);
  for (int i = first; i < TABLES; i++)
    for (const struct random_step *s = tables[i]; s->weight; s++)
      if ((at -= s->weight) < 0) return s;
  die("weights that do not add up");
}

static struct item random_item(struct generator *r) {
  const struct random_step *s = random_step(r);
  return s->run(r, s->of == ANY     ? random_pick(r)
                   : s->of == EXACT ? random_pick_exact(r)
                                    : random_pick_rank(r, s->of));
}

static struct node *random_loss(struct generator *r) {
  struct graph *g = r->g;
  struct node *loss = g_constant(g, BT_F32, 0);
  for (int i = 0; i < 4; i++) {
    struct item x = r->reals.data[r->reals.len - 1 - roll(r, r->reals.len / 2)];
    int all[] = {0, 1, 2, 3, 4, 5};
    struct node *square = g_binary(g, OP_mul, x.node, x.node);
    loss = g_binary(g, OP_add, loss,
                    g_reduce(g, roll(r, 2) ? OP_mean : OP_sum, roll(r, 2) ? square : x.node, all,
                             shape(&x)->rank));
  }
  return loss;
}

static void output(struct generator *r, struct node *n) {
  graph_output(r->g, str_printf(r->arena, "out%d", r->g->outputs.len), BT_OUTPUT_VALUE, n);
}

// Of the update of a parameter w by its gradient: the momentum, the two averages and the norms of SGD, Adam and LARS.
static struct node *state_like(struct generator *r, const char *stem, const struct node *w) {
  return g_leaf(r->g, OP_state, random_name(r, stem), &w->type);
}

static struct node *average(struct generator *r, struct node *old, struct node *now, double kept) {
  struct node *next = g_binary(r->g, OP_add, g_scale(r->g, old, kept), g_scale(r->g, now, 1 - kept));
  graph_update(r->g, old->attr.s, next);
  return next;
}

static struct node *adam(struct generator *r, struct node *w, struct node *dw) {
  struct graph *g = r->g;
  struct node *step = g_input(g, "step", BT_INPUT_STEP, 0, 0, &(struct tensor_type){.dtype = BT_F32});
  struct node *t = g_binary(g, OP_add, g_unary(g, OP_abs, step), g_constant(g, BT_F32, 1));
  struct node *m = average(r, state_like(r, "exp_avg", w), dw, 0.9);
  struct node *v = average(r, state_like(r, "exp_avg_sq", w), g_binary(g, OP_mul, dw, dw), 0.99);
  struct node *one = g_constant(g, BT_F32, 1);
  m = g_binary(g, OP_div, m, g_binary(g, OP_sub, one, g_binary(g, OP_pow, g_constant(g, BT_F32, 0.9), t)));
  v = g_unary(g, OP_abs, v); // which a state that is drawn at random needs
  return g_binary(g, OP_div, m, g_binary(g, OP_add, g_unary(g, OP_sqrt, v), g_constant(g, BT_F32, 0.1)));
}

static struct node *sum_of_squares(struct graph *g, struct node *x) {
  int all[] = {0, 1, 2, 3, 4, 5};
  return g_reduce(g, OP_sum, g_binary(g, OP_mul, x, x), all, x->type.shape.rank);
}

// Where its norm is known to be above zero, trust times w's norm by that of dw.
static struct node *adapted(struct generator *r, struct node *w, struct node *dw) {
  struct graph *g = r->g;
  struct node *wn = g_unary(g, OP_sqrt, sum_of_squares(g, w)), *gn = g_unary(g, OP_sqrt, sum_of_squares(g, dw));
  struct node *rate = g_binary(g, OP_div, wn, g_binary(g, OP_add, gn, g_constant(g, BT_F32, 0.5)));
  struct node *any = g_binary(g, OP_lt, g_constant(g, BT_F32, 0), wn);
  return g_binary(g, OP_mul, dw, g_where(g, any, rate, g_constant(g, BT_F32, 1)));
}

// New value of w from its gradient; now and then of another parameter's old value, or turned.
static struct node *optimizer(struct generator *r, struct node *w, struct node *dw) {
  struct graph *g = r->g;
  struct node *step = dw, *old = w;
  switch (roll(r, 5)) {
  case 0: step = adam(r, w, dw); break;
  case 1: step = adapted(r, w, dw); // fall through
  case 2: step = average(r, state_like(r, "velocity", w), step, 0.9); break;
  default: break;
  }
  if (roll(r, 4) == 0)
    for (int i = 0; i < r->trained.len; i++)
      if (shape_eq(&r->trained.data[i]->type.shape, &w->type.shape)) old = r->trained.data[i];
  struct node *next = g_binary(g, OP_sub, old, g_scale(g, step, 0.125));
  const struct shape *s = &w->type.shape;
  if (s->rank == 2 && s->dim[0] == s->dim[1] && roll(r, 2)) next = g_transpose(g, next, (int[]){1, 0});
  return next;
}

static void update(struct generator *r, struct node *w, struct node *dw) {
  struct node *next = optimizer(r, w, dw);
  graph_update(r->g, w->attr.s, next);
  if (roll(r, 6) == 0) output(r, next);
}

static void finish(struct generator *r) {
  struct graph *g = r->g;
  struct node *loss = random_loss(r), *d[64];
  int n = r->trained.len;
  expect(n <= 63, "%d parameters", n);
  struct node *wrt[64];
  for (int i = 0; i < n; i++) wrt[i] = r->trained.data[i];
  wrt[n] = r->reals.data[0].node;
  graph_gradients(g, loss, NULL, wrt, n + 1, d);
  graph_output(g, "loss", BT_OUTPUT_LOSS, loss);
  for (int i = 0; i < n; i++) {
    if (d[i] == NULL) {
      if (roll(r, 3) == 0) graph_update(g, wrt[i]->attr.s, wrt[roll(r, 2) ? i : 0]);
      continue;
    }
    if (roll(r, 4))
      update(r, wrt[i], d[i]);
    else
      output(r, d[i]);
  }
  if (d[n] != NULL) output(r, d[n]);
  for (int i = 0; i < 4; i++) output(r, random_pick(r).node);
  output(r, r->integers.data[roll(r, r->integers.len)].node);
  output(r, r->flags.data[roll(r, r->flags.len)].node);
  output(r, roll(r, 2) ? wrt[0] : r->reals.data[0].node); // a leaf as it is
  if (roll(r, 4) == 0) output(r, g_constant(g, BT_F32, 0.5));
  if (roll(r, 2)) output(r, r->g->outputs.data[roll(r, r->g->outputs.len)].node); // once more
}

// Updates must keep the type; one through another tensor may not.
static void drop_mistyped(struct generator *r) {
  struct graph *g = r->g;
  int kept = 0;
  for (int i = 0; i < g->updates.len; i++) {
    bool fits_leaf = true;
    for (int j = 0; j < g->nodes.len; j++) {
      const struct node *leaf = g->nodes.data[j];
      if ((leaf->op == OP_param || leaf->op == OP_state) &&
          str_eq(leaf->attr.s, g->updates.data[i].name))
        fits_leaf = type_eq(&leaf->type, &g->updates.data[i].node->type);
    }
    if (fits_leaf) g->updates.data[kept++] = g->updates.data[i];
  }
  g->updates.len = kept;
}

struct graph *random_graph(struct btc *b, unsigned seed) {
  struct generator r = {.g = graph_new(b, "random"),
                        .arena = b->arena,
                        .seed = seed,
                        .state = seed * 0x9e3779b97f4a7c15u + 1};
  r.limit = roll(&r, 5) ? SMALL : LARGE;
  r.layers = seed % 3 == 2;
  begin(&r);
  for (int i = 0, steps = 6 + roll(&r, 20); i < steps; i++) random_keep(&r, random_item(&r));
  finish(&r);
  drop_mistyped(&r);
  return r.g;
}
