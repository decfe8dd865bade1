// elab_random.c: builtins that draw random numbers.
//
// Every call that is elaborated is a site of its own: it takes the program's next number, views
// included, and reads the stream of (seed, site, step). So two calls draw independently, and so do two
// applications of one module; a `let` is one draw that is read twice. The number is a constant
// operand, by which the nodes of two sites differ.
#include "elab_builtin.h"

enum { MOST_SITES = 1 << 21 }; // site * 2^32 + step is exact in a double

// ---- keys -------------------------------------------------------------------------------------

struct keys {
  struct node *seed, *stream;
};

static struct node *key_word(struct elab *e, int word) {
  struct tensor_type type = {BT_I64, shape_of(1, (int64_t)2)};
  struct node *key = program_input(e, "random key", BT_INPUT_KEY, -1, 0, &type);
  struct shape one = shape_of(1, (int64_t)1), scalar = shape_of(0);
  return g_reshape(e->graph, g_slice(e->graph, key, (int64_t[]){word}, &one), &scalar);
}

static struct keys site_keys(struct elab *e) {
  int site = e->program->sites++;
  expect(site < MOST_SITES, "a program of more than %d random sites", MOST_SITES);
  struct node *offset = g_constant(e->graph, BT_I64, (double)site * 0x1p32);
  return (struct keys){key_word(e, 0), g_binary(e->graph, OP_add, key_word(e, 1), offset)};
}

// ---- arguments --------------------------------------------------------------------------------

// The shape of a draw, and the value that it will be.
static bool draw_shape(struct call *c, int i, struct shape *s, struct value *result) {
  const char *what = str_printf(c->e->b->arena, "`%s`", c->row->name);
  if (!needs_graph(c->e, c->f, c->loc, what) || !builtin_shape(c, i, s, result)) return false;
  for (int k = 0; k < s->rank; k++)
    if (s->dim[k] < 1) {
      elab_error(c->e, c->f, c->given[i].loc, "a size must be at least 1, not %lld",
                 (long long)s->dim[k]);
      return false;
    }
  if (!size_fits(c->e, c->f, c->loc, s)) return false;
  if (shape_count(s) <= INT32_MAX) return true;
  elab_error(c->e, c->f, c->given[i].loc, "`%s` draws less than 2^31 numbers, not %s",
             c->row->name, shape_text(c->e->b->arena, s));
  return false;
}

// A number that is known must be `above` or larger; with `strictly`, larger.
static bool number_above(struct call *c, int i, const char *what, double above, bool strictly) {
  const struct value *v = &c->given[i].value;
  if (!c->given[i].present || !value_is_number(v)) return true;
  double x = value_number(v);
  if (x > above || (x == above && !strictly)) return true;
  elab_error(c->e, c->f, c->given[i].loc, "%s of `%s` must be %s %g, not %g", what, c->row->name,
             strictly ? "above" : "at least", above, x);
  return false;
}

// ---- element by element -----------------------------------------------------------------------

static struct node *element_index(struct graph *g, const struct shape *s) {
  if (s->rank == 0) return g_constant(g, BT_I32, 0);
  struct shape flat = shape_of(1, shape_count(s));
  return g_reshape(g, g_iota(g, BT_I32, &flat, 0), s);
}

static void draw_elements(struct call *c, const struct shape *s, struct value *result) {
  graph_at(c->e, c->f, c->loc);
  struct graph *g = c->e->graph;
  struct keys k = site_keys(c->e);
  struct node *in[] = {element_index(g, s), g_broadcast(g, k.seed, s, NULL),
                       g_broadcast(g, k.stream, s, NULL)};
  result->node = graph_node(g, c->row->op, in, 3, NULL, NULL);
}

// draws * scale + offset, of the draws' shape.
static struct value scaled(struct call *c, struct value draws, struct value scale,
                           struct value offset) {
  struct value x = draws;
  if (!value_is_number(&scale) || value_number(&scale) != 1)
    x = binary_value(c->e, c->f, OP_MUL, c->loc, x, scale);
  if (!value_is_number(&offset) || value_number(&offset) != 0)
    x = binary_value(c->e, c->f, OP_ADD, c->loc, x, offset);
  if (x.kind == V_ERROR || shape_eq(&x.node->type.shape, &draws.node->type.shape)) return x;
  elab_error(c->e, c->f, c->loc, "the parameters of `%s` do not fit into the shape %s",
             c->row->name, shape_text(c->e->b->arena, &draws.node->type.shape));
  return value_error();
}

static struct value given_or(const struct call *c, int i, double missing) {
  return c->given[i].present ? c->given[i].value : value_float(c->loc, missing);
}

struct value builtin_random_uniform(struct call *c) {
  struct shape s;
  struct value draws, low = given_or(c, 1, 0), high = given_or(c, 2, 1);
  if (low.kind == V_ERROR || high.kind == V_ERROR || !draw_shape(c, 0, &s, &draws))
    return value_error();
  if (value_is_number(&low) && !number_above(c, 2, "`high`", value_number(&low), false))
    return value_error();
  struct value span = binary_value(c->e, c->f, OP_SUB, c->loc, high, low);
  if (span.kind == V_ERROR) return value_error();
  draw_elements(c, &s, &draws);
  return scaled(c, draws, span, low);
}

struct value builtin_random_normal(struct call *c) {
  struct shape s;
  struct value draws, mean = given_or(c, 1, 0), sd = given_or(c, 2, 1);
  if (mean.kind == V_ERROR || sd.kind == V_ERROR || !draw_shape(c, 0, &s, &draws) ||
      !number_above(c, 2, "`sd`", 0, false))
    return value_error();
  draw_elements(c, &s, &draws);
  return scaled(c, draws, sd, mean);
}

// ---- others -----------------------------------------------------------------------------------

struct value builtin_random_beta(struct call *c) {
  struct shape s;
  struct value draws, v[3] = {{0}, c->given[1].value, c->given[2].value};
  if (!draw_shape(c, 0, &s, &draws) || !number_above(c, 1, "`a`", 0, true) ||
      !number_above(c, 2, "`b`", 0, true))
    return value_error();
  graph_at(c->e, c->f, c->loc);
  struct graph *g = c->e->graph;
  v[0] = draws;
  v[0].node = g_full(g, &(struct tensor_type){BT_F32, s}, 0); // what a and b stretch to
  for (int i = 1; i < 3; i++) {
    if (!as_tensor(c->e, c->f, &v[i], BT_F32, "a parameter of `random_beta`")) return value_error();
    if (v[i].node->type.dtype == BT_F32) continue;
    elab_error(c->e, c->f, c->given[i].loc, "a parameter of `random_beta` is f32, not %s",
               tensor_text(c->e, &v[i]));
    return value_error();
  }
  if (!tensors_align(c->e, c->f, c->loc, v, 3, "`random_beta`")) return value_error();
  if (!shape_eq(&v[0].node->type.shape, &s)) {
    elab_error(c->e, c->f, c->loc, "the parameters of `random_beta` do not fit into the shape %s",
               shape_text(c->e->b->arena, &s));
    return value_error();
  }
  struct keys k = site_keys(c->e);
  struct node *in[] = {k.seed, k.stream, v[1].node, v[2].node};
  for (int i = 2; i < 4; i++) // what is one number was not stretched
    if (in[i]->type.shape.rank < s.rank) in[i] = g_broadcast(g, in[i], &s, NULL);
  draws.node = graph_node(g, OP_random_beta, in, 4, NULL, NULL);
  return draws;
}

struct value builtin_random_permutation(struct call *c) {
  struct shape s;
  struct value draws;
  if (!draw_shape(c, 0, &s, &draws)) return value_error();
  if (s.rank != 1) {
    elab_error(c->e, c->f, c->given[0].loc, "`random_permutation` takes one number, not %s",
               value_text(c->e, &c->given[0].value));
    return value_error();
  }
  graph_at(c->e, c->f, c->loc);
  struct keys k = site_keys(c->e);
  struct node *in[] = {k.seed, k.stream};
  draws.node = graph_node(c->e->graph, OP_random_permutation, in, 2, NULL,
                          &(struct tensor_type){BT_I32, s});
  return draws;
}
