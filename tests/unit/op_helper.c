// op_helper.c: see op_helper.h.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op_helper.h"

// ---- types ------------------------------------------------------------------------------------

static const char *read_type(const char *at, struct tensor_type *out) {
  char name[8];
  int length = 0;
  *out = (struct tensor_type){0};
  if (sscanf(at, " %7[a-z0-9]%n", name, &length) < 1 || !dtype_parse(name, &out->dtype))
    die("no type: %s", at);
  at += length;
  if (*at != '[') return at;
  do {
    char *end;
    expect(out->shape.rank < MAX_RANK, "too many axes: %s", at);
    out->shape.dim[out->shape.rank++] = strtoll(at + 1, &end, 10);
    expect(end > at + 1, "no size: %s", at);
    at = end;
  } while (*at == ',');
  expect(*at == ']', "an axis list that does not end: %s", at);
  return at + 1;
}

int types_of_text(const char *text, struct tensor_type *out, int most) {
  int n = 0;
  for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
    expect(n < most, "more than %d types", most);
    text = read_type(text, &out[n++]);
  }
  return n;
}

struct tensor_type type_of_text(const char *text) {
  struct tensor_type t;
  expect(types_of_text(text, &t, 1) == 1, "not one type: %s", text);
  return t;
}

// ---- values -----------------------------------------------------------------------------------

static double draw_unit(uint64_t *state) { // 0 … 1
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (double)(*state >> 11) * 0x1p-53;
}

// Entry i gets place p(i) of n on an even grid, p a permutation.
static void draw_distinct(struct tensor64 *t, int which, uint64_t *state) {
  int64_t n = shape_count(&t->type.shape);
  for (int64_t i = 0; i < n; i++) t->data[i] = (double)i;
  for (int64_t i = n - 1; i > 0; i--) {
    int64_t k = (int64_t)(draw_unit(state) * (double)(i + 1));
    double keep = t->data[i];
    t->data[i] = t->data[k];
    t->data[k] = keep;
  }
  double offset = 0.3 + 0.2 * which - (double)(n / 2); // never whole, other for every operand
  for (int64_t i = 0; i < n; i++) t->data[i] = 4 * (t->data[i] + offset) / (double)n;
}

static void draw_dominant(struct tensor64 *t, uint64_t *state) {
  int64_t n = t->type.shape.dim[t->type.shape.rank - 1];
  for (int64_t i = 0; i < shape_count(&t->type.shape); i++) {
    double unit = draw_unit(state);
    t->data[i] = i / n % n == i % n ? (double)n + unit : 2 * unit - 1;
  }
}

static double draw_one(dtype t, enum domain domain, uint64_t *state) {
  double unit = draw_unit(state);
  if (t == BT_BOOL) return unit < 0.5;
  if (domain == INTEGERS && t != BT_U8) return floor(7 * unit) - 3;
  if (!dtype_is_float(t)) return (domain == DISTINCT && t != BT_U8 ? -3 : 1) + floor(7 * unit);
  return 0.25 + 2 * unit;
}

void draw_values(struct tensor64 *t, enum domain domain, int which, unsigned seed) {
  uint64_t state = 0x9e3779b97f4a7c15u * (seed * 16u + (unsigned)which + 1);
  draw_unit(&state);
  if (domain == DISTINCT && dtype_is_float(t->type.dtype))
    draw_distinct(t, which, &state);
  else if (domain == DOMINANT)
    draw_dominant(t, &state);
  else
    for (int64_t i = 0; i < shape_count(&t->type.shape); i++)
      t->data[i] = draw_one(t->type.dtype, domain, &state);
}

// ---- evaluation -------------------------------------------------------------------------------

struct node *numbered_leaf(struct graph *g, int i, const struct tensor_type *type) {
  return g_leaf(g, OP_param, str_printf(g->b->arena, "%d", i), type);
}

static const struct tensor64 *leaf_value(void *user, const struct node *n) {
  struct leaf_values *l = user;
  int i = atoi(n->attr.s);
  expect(i >= 0 && i <= OPERANDS_MAX, "leaf %s", n->attr.s);
  if (!l->of[i]) {
    struct tensor64 *t = tensor64_new(l->arena, &n->type);
    draw_values(t, POSITIVE, i, 1);
    l->of[i] = t;
  }
  return l->of[i];
}

struct tensor64 **evaluate(const struct graph *g, struct leaf_values *l, bool round_f32) {
  return interp_run(g, l->arena, round_f32, leaf_value, l);
}

// ---- comparison -------------------------------------------------------------------------------

double largest_entry(const struct tensor64 *t) {
  double largest = 0;
  for (int64_t i = 0; i < shape_count(&t->type.shape); i++)
    largest = fmax(largest, fabs(t->data[i]));
  return largest;
}

double inner_product(const struct tensor64 *a, const struct tensor64 *b) {
  double sum = 0;
  for (int64_t i = 0; i < shape_count(&a->type.shape); i++) sum += a->data[i] * b->data[i];
  return sum;
}

void assert_near(const char *what, const struct tensor64 *a, const struct tensor64 *b,
                 double tolerance) {
  int64_t count = shape_count(&b->type.shape);
  if (shape_count(&a->type.shape) != count)
    fail_msg("%s has %lld entries, not %lld", what, (long long)shape_count(&a->type.shape),
             (long long)count);
  double largest = largest_entry(b), scale = largest > 0 ? largest : 1;
  for (int64_t i = 0; i < count; i++)
    if (!(fabs(a->data[i] - b->data[i]) <= tolerance * scale))
      fail_msg("%s[%lld] is %.17g, not %.17g: off by %.1e of the largest entry", what, (long long)i,
               a->data[i], b->data[i], fabs(a->data[i] - b->data[i]) / scale);
}
