// formula.c: see formula.h.
//
// A point's values are computed when they are asked for, in double, and rounded to their type. So a
// result may differ from the kernel's in its last bits, which seldom decides whether it is finite.
#include "formula.h"
#include "random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AXES = 14, BODIES = 4, OPERANDS = 3 };
#define MOST_VALUES 200000000 // evaluated for one blame: then it is given up

struct form {
  int64_t constant, k[AXES];
};

enum kind {
  CONSTANT = '=',
  INDEX = '@',
  LOAD = '$',
  RESULT = '&',
  RANGE = '<',
  PRODUCT = '*',
  OPERATION = 'o'
};

struct value {
  enum kind kind;
  enum bt_dtype type;
  int op, n_in, in[OPERANDS]; // OPERATION: index in op_table
  double number;
  int64_t lo, hi;
  int of;     // LOAD: argument; RESULT: root
  int origin; // of those that compute
  struct form at;
};

enum fold { STORE, SUM, REDUCE_MAX, REDUCE_MIN, FOLDS };
static const char *const fold_names[FOLDS] = {"store", "sum", "reduce_max", "reduce_min"};

struct root {
  int body, argument, value, origin;
  enum fold fold;
  struct form at;
};

struct body {
  int n_axes, n_values;
  int64_t extent[AXES];
  struct value *values;
  int result; // of an operand of a product: its value
};

struct bt_formula {
  bool product;
  int64_t m, n, k;
  int64_t transposed[2];
  int n_bodies, n_roots;
  struct body bodies[BODIES];
  struct root *roots; // by number
};

// ---- elementwise ops --------------------------------------------------------------------------

static double larger(double x, double y) { return isnan(x) || isnan(y) ? NAN : x > y ? x : y; }
static double smaller(double x, double y) { return isnan(x) || isnan(y) ? NAN : x < y ? x : y; }
static double modulo(double x, double y) {
  double r = fmod(x, y);
  return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}
static double softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }

// OP(name, infix sign or NULL, operands, value of x, y and z)
#define OPS(OP)                                             \
  OP(neg, NULL, 1, -x)                                      \
  OP(add, "+", 2, x + y)                                    \
  OP(sub, "-", 2, x - y)                                    \
  OP(mul, "*", 2, x *y)                                     \
  OP(div, "/", 2, x / y)                                    \
  OP(mod, NULL, 2, modulo(x, y))                            \
  OP(floor, NULL, 1, floor(x))                              \
  OP(pow, "^", 2, pow(x, y))                                \
  OP(min, NULL, 2, smaller(x, y))                           \
  OP(max, NULL, 2, larger(x, y))                            \
  OP(abs, NULL, 1, fabs(x))                                 \
  OP(exp, NULL, 1, exp(x))                                  \
  OP(log, NULL, 1, log(x))                                  \
  OP(sqrt, NULL, 1, sqrt(x))                                \
  OP(rsqrt, NULL, 1, 1 / sqrt(x))                           \
  OP(tanh, NULL, 1, tanh(x))                                \
  OP(sigmoid, NULL, 1, 1 / (1 + exp(-x)))                   \
  OP(softplus, NULL, 1, softplus(x))                        \
  OP(erf, NULL, 1, erf(x))                                  \
  OP(relu, NULL, 1, larger(x, 0))                           \
  OP(sin, NULL, 1, sin(x))                                  \
  OP(cos, NULL, 1, cos(x))                                  \
  OP(lt, "<", 2, x < y)                                     \
  OP(le, "<=", 2, x <= y)                                   \
  OP(eq, "==", 2, x == y)                                   \
  OP(ne, "!=", 2, x != y)                                   \
  OP(and, NULL, 2, x != 0 && y != 0)                        \
  OP(or, NULL, 2, x != 0 || y != 0)                         \
  OP(not, NULL, 1, x == 0)                                  \
  OP(where, NULL, 3, x != 0 ? y : z)                        \
  OP(cast, NULL, 1, x)                                      \
  OP(stop_gradient, NULL, 1, x)                             \
  OP(random_uniform, NULL, 3, NAN) /* of integers: apply */ \
  OP(random_normal, NULL, 3, NAN)

enum {
#define OP(name, ...) OP_##name,
  OPS(OP)
#undef OP
      N_OPS
};

static const struct {
  const char *name, *infix;
  int operands;
} op_table[N_OPS] = {
#define OP(name, infix, operands, value) {#name, infix, operands},
    OPS(OP)
#undef OP
};

static int op_named(const char *name) {
  for (int i = 0; i < N_OPS; i++)
    if (strcmp(op_table[i].name, name) == 0) return i;
  return -1;
}

bool bt_formula_knows(const char *op) { return op_named(op) >= 0; }

// Integers are kept whole too: keys of random numbers have 64 bits.
struct number {
  double real;
  int64_t whole;
};

static struct number of_whole(int64_t x) { return (struct number){.real = (double)x, .whole = x}; }

static bool is_real(enum bt_dtype type) { return type == BT_F32 || type == BT_F64; }

static struct number of_real(enum bt_dtype type, double x) {
  if (type == BT_F64) return (struct number){.real = x};
  if (type == BT_F32) return (struct number){.real = (double)(float)x};
  if (type == BT_BOOL) return of_whole(x != 0);
  double bound = type == BT_I32 ? 0x1p31 : 0x1p63; // the nearest there is; of NaN 0
  if (isnan(x)) return of_whole(0);
  if (x < -bound) return of_whole(type == BT_I32 ? INT32_MIN : INT64_MIN);
  if (x >= bound) return of_whole(type == BT_I32 ? INT32_MAX : INT64_MAX);
  return of_whole((int64_t)x);
}

static double op_value(int op, double x, double y, double z) {
  switch (op) {
#define OP(name, infix, operands, value) \
  case OP_##name: return value;
    OPS(OP)
#undef OP
  }
  bt_die("op %d", op);
}

static struct number apply(int op, enum bt_dtype type, const struct number *in) {
  uint64_t x = (uint64_t)in[0].whole, y = (uint64_t)in[1].whole;
  if (op == OP_random_uniform)
    return of_real(type, bt_draw_uniform(in[1].whole, in[2].whole, (uint32_t)x));
  if (op == OP_random_normal)
    return of_real(type, bt_draw_normal(in[1].whole, in[2].whole, (uint32_t)x));
  if (type == BT_I64) switch (op) {
    case OP_neg: return of_whole((int64_t)-x);
    case OP_add: return of_whole((int64_t)(x + y));
    case OP_sub: return of_whole((int64_t)(x - y));
    case OP_mul: return of_whole((int64_t)(x * y));
    case OP_cast: return in[0].whole ? in[0] : of_real(type, in[0].real);
    default: break;
    }
  return of_real(type, op_value(op, in[0].real, in[1].real, in[2].real));
}

// ---- parsing ----------------------------------------------------------------------------------
// The texts are the compiler's: what is wrong with one is a mistake of btc's.

struct parser {
  struct bt_formula *f;
  const char *at;
  int origins;
};

static int64_t whole(struct parser *p) {
  char *end;
  int64_t n = strtoll(p->at, &end, 10);
  if (end == p->at) bt_die("a formula has no number at '%.20s'", p->at);
  p->at = end;
  return n;
}

static bool at_end(const struct parser *p) { return *p->at == '\n' || *p->at == 0; }

static struct form form(struct parser *p) {
  struct form f = {.constant = whole(p)};
  for (int i = 0; i < AXES && !at_end(p); i++) f.k[i] = whole(p);
  return f;
}

// The word at the beginning, up to a blank.
static void word(struct parser *p, char *to, size_t room) {
  size_t n = strcspn(p->at, " \n");
  snprintf(to, room, "%.*s", (int)n, p->at);
  p->at += n;
}

static void begin_body(struct parser *p) {
  if (p->f->n_bodies == BODIES) bt_die("a formula of more than %d bodies", BODIES);
  struct body *b = &p->f->bodies[p->f->n_bodies++];
  while (!at_end(p)) b->extent[b->n_axes++] = whole(p);
}

static void parse_root(struct parser *p) {
  struct bt_formula *f = p->f;
  int number = (int)whole(p), argument = (int)whole(p);
  char name[32];
  p->at++;
  word(p, name, sizeof name);
  struct root r = {
      .body = f->n_bodies - 1, .argument = argument, .fold = FOLDS, .origin = p->origins++};
  for (int i = 0; i < FOLDS; i++)
    if (strcmp(fold_names[i], name) == 0) r.fold = (enum fold)i;
  if (r.fold == FOLDS) bt_die("a formula folds by '%s'", name);
  r.value = (int)whole(p);
  r.at = form(p);
  f->bodies[r.body].result = r.value;
  if (number < 0) return;
  if (number >= f->n_roots) {
    f->roots = realloc(f->roots, sizeof *f->roots * (size_t)(number + 1));
    if (!f->roots) bt_die("out of memory");
    memset(f->roots + f->n_roots, 0, sizeof *f->roots * (size_t)(number + 1 - f->n_roots));
    f->n_roots = number + 1;
  }
  f->roots[number] = r;
}

static void parse_operation(struct parser *p, struct value *v) {
  char name[32];
  word(p, name, sizeof name);
  v->kind = OPERATION;
  v->op = op_named(name);
  if (v->op < 0) bt_die("a formula has the op '%s'", name);
  while (!at_end(p)) v->in[v->n_in++] = (int)whole(p);
}

static void parse_value(struct parser *p, char letter) {
  static const char letters[] = "fdilub"; // in the order of enum bt_dtype
  const char *type = strchr(letters, letter);
  struct body *b = &p->f->bodies[p->f->n_bodies - 1];
  if (!type) bt_die("a formula has the type '%c'", letter);
  if ((b->n_values & (b->n_values - 1)) == 0) { // full at powers of two
    b->values = realloc(b->values, sizeof *b->values * (size_t)(b->n_values ? 2 * b->n_values : 1));
    if (!b->values) bt_die("out of memory");
  }
  struct value v = {.kind = (enum kind) * p->at, .type = (enum bt_dtype)(type - letters)};
  char *end;
  switch (*p->at++) {
  case CONSTANT: v.number = strtod(p->at, &end), p->at = end; break;
  case INDEX:
  case PRODUCT: v.at = form(p); break;
  case LOAD:
  case RESULT: v.of = (int)whole(p), v.at = form(p); break;
  case RANGE: v.lo = whole(p), v.hi = whole(p), v.at = form(p); break;
  default: p->at--, parse_operation(p, &v);
  }
  if (v.kind == CONSTANT || v.kind == PRODUCT || v.kind == OPERATION) v.origin = p->origins++;
  b->values[b->n_values++] = v;
}

static void parse_line(struct parser *p) {
  char letter = *p->at++;
  switch (letter) {
  case '*':
    p->f->product = true;
    p->f->m = whole(p), p->f->n = whole(p), p->f->k = whole(p);
    for (int i = 0; i < 2; i++) p->f->transposed[i] = whole(p);
    break;
  case '[': begin_body(p); break;
  case '>': parse_root(p); break;
  default: parse_value(p, letter);
  }
  if (!at_end(p)) bt_die("a formula goes on with '%.20s'", p->at);
}

struct bt_formula *bt_formula_parse(const char *text) {
  struct bt_formula *f = bt_xcalloc(1, sizeof *f);
  struct parser p = {.f = f, .at = text};
  while (*p.at) {
    parse_line(&p);
    p.at += *p.at == '\n';
  }
  return f;
}

void bt_formula_free(struct bt_formula *f) {
  if (!f) return;
  for (int i = 0; i < f->n_bodies; i++) free(f->bodies[i].values);
  free(f->roots);
  free(f);
}

int bt_formula_roots(const struct bt_formula *f) { return f->n_roots; }
int bt_formula_argument(const struct bt_formula *f, int root) { return f->roots[root].argument; }

bool bt_formula_reads(const struct bt_formula *f, int argument) {
  for (int i = 0; i < f->n_bodies; i++)
    for (int j = 0; j < f->bodies[i].n_values; j++)
      if (f->bodies[i].values[j].kind == LOAD && f->bodies[i].values[j].of == argument) return true;
  return false;
}

// ---- points -----------------------------------------------------------------------------------

struct point {
  struct evaluation *e;
  const struct body *body;
  int64_t index[AXES];
  struct number *values;
  bool *known;
};

struct evaluation {
  const struct bt_formula *f;
  const struct bt_formula_memory *memory;
  int64_t left; // values that may still be evaluated
};

static struct point point_new(struct evaluation *e, const struct body *b) {
  return (struct point){.e = e,
                        .body = b,
                        .values = bt_xcalloc((size_t)b->n_values, sizeof(struct number)),
                        .known = bt_xcalloc((size_t)b->n_values, sizeof(bool))};
}

static void point_free(struct point *p) { free(p->values), free(p->known); }

static void point_move(struct point *p) {
  memset(p->known, 0, sizeof *p->known * (size_t)p->body->n_values);
}

// To the point of this place in row-major order.
static void point_at(struct point *p, int64_t linear) {
  for (int i = p->body->n_axes - 1; i >= 0; i--) {
    p->index[i] = linear % p->body->extent[i];
    linear /= p->body->extent[i];
  }
  point_move(p);
}

static int64_t form_at(const struct point *p, const struct form *f) {
  int64_t at = f->constant;
  for (int i = 0; i < p->body->n_axes; i++) at += f->k[i] * p->index[i];
  return at;
}

// Sets the axes that the form has so that it gives the address; the others to 0. Larger
// coefficients are larger than all that the smaller ones add up to, as elements of a result lie
// apart. False: no point has the address.
static bool point_find(struct point *p, const struct form *f, int64_t address) {
  int64_t rest = address - f->constant;
  bool set[AXES] = {false};
  for (int done = 0; done < p->body->n_axes; done++) {
    int next = -1;
    for (int i = 0; i < p->body->n_axes; i++)
      if (!set[i] && (next < 0 || f->k[i] > f->k[next])) next = i;
    int64_t k = f->k[next], most = p->body->extent[next] - 1;
    set[next] = true;
    p->index[next] = k > 0 ? rest / k < most ? rest / k : most : 0;
    if (rest < 0 || k < 0) return false;
    rest -= k * p->index[next];
  }
  point_move(p);
  return rest == 0;
}

// ---- evaluation -------------------------------------------------------------------------------

static struct number value_at(struct point *p, int id);

static struct number element(const struct bt_formula_memory *m, int64_t i) {
  if (i < 0) i = 0; // as kernels do: a range test drops it
  if (i >= m->count) i = m->count - 1;
  switch (m->type) {
  case BT_F32: return (struct number){.real = ((const float *)m->data)[i]};
  case BT_F64: return (struct number){.real = ((const double *)m->data)[i]};
  case BT_I32: return of_whole(((const int32_t *)m->data)[i]);
  case BT_I64: return of_whole(((const int64_t *)m->data)[i]);
  case BT_U8:
  case BT_BOOL: return of_whole(((const uint8_t *)m->data)[i]);
  }
  bt_die("dtype %d", (int)m->type);
}

// The place in operand `side` of the product's term `t` at row-major place `at` of the result.
static int64_t term_at(const struct bt_formula *f, int side, int64_t at, int64_t t) {
  int64_t matrix = at / (f->m * f->n), row = at / f->n % f->m, column = at % f->n;
  int64_t outer = side ? f->n : f->m, i = side ? column : row;
  bool outer_first = (side == 0) != (f->transposed[side] != 0); // m×k, or n×k
  return matrix * outer * f->k + (outer_first ? i * f->k + t : t * outer + i);
}

// Goes through the terms at `at`; `side` is called with both operands at theirs, until it says
// false.
typedef bool term_visit(void *user, struct point operand[2]);

static void each_term(struct evaluation *e, int64_t at, term_visit *visit, void *user) {
  struct point operand[2];
  for (int i = 0; i < 2; i++) operand[i] = point_new(e, &e->f->bodies[i]);
  for (int64_t t = 0; t < e->f->k && e->left > 0; t++) {
    for (int i = 0; i < 2; i++) point_at(&operand[i], term_at(e->f, i, at, t));
    if (!visit(user, operand)) break;
  }
  for (int i = 0; i < 2; i++) point_free(&operand[i]);
}

static bool add_term(void *user, struct point operand[2]) {
  *(double *)user += value_at(&operand[0], operand[0].body->result).real *
                     value_at(&operand[1], operand[1].body->result).real;
  return true;
}

// A result that only its own kernel reads may lie where a later one is written: it is computed
// again. A fold stays.
static struct number result_at(struct point *p, const struct value *v) {
  struct evaluation *e = p->e;
  const struct root *r = &e->f->roots[v->of];
  if (r->fold != STORE) return element(&e->memory[r->argument], form_at(p, &v->at));
  struct point own = point_new(e, &e->f->bodies[r->body]);
  bool found = point_find(&own, &r->at, form_at(p, &v->at));
  struct number x = found ? value_at(&own, r->value) : (struct number){.real = 0};
  point_free(&own);
  return x;
}

static struct number operation_at(struct point *p, const struct value *v) {
  struct number in[OPERANDS] = {{0}};
  if (v->op == OP_where) {
    in[0] = value_at(p, v->in[0]);
    return value_at(p, v->in[in[0].real != 0 ? 1 : 2]);
  }
  for (int i = 0; i < v->n_in; i++) in[i] = value_at(p, v->in[i]);
  return apply(v->op, v->type, in);
}

static struct number compute(struct point *p, const struct value *v) {
  double sum = 0;
  switch (v->kind) {
  case CONSTANT: return of_real(v->type, v->number);
  case INDEX: return of_whole(form_at(p, &v->at));
  case LOAD: return element(&p->e->memory[v->of], form_at(p, &v->at));
  case RESULT: return result_at(p, v);
  case RANGE: return of_whole(form_at(p, &v->at) >= v->lo && form_at(p, &v->at) < v->hi);
  case PRODUCT: each_term(p->e, form_at(p, &v->at), add_term, &sum); return of_real(v->type, sum);
  case OPERATION: return operation_at(p, v);
  }
  bt_die("value %d", (int)v->kind);
}

static struct number value_at(struct point *p, int id) {
  if (p->known[id]) return p->values[id];
  p->e->left--;
  p->values[id] = compute(p, &p->body->values[id]);
  p->known[id] = true;
  return p->values[id];
}

// ---- where a value came from ------------------------------------------------------------------

struct search {
  struct evaluation *e;
  bool nan;                          // else an infinity
  struct bt_blame *blame, *infinity; // the second is NULL while the infinity itself is looked for
};

static bool follow(const struct search *s, struct point *p, int id);

static bool is_sought(const struct search *s, double x) { return s->nan ? isnan(x) : isinf(x); }

static bool made(const struct search *s, int origin, const char *op) {
  s->blame->how = BT_BLAME_MADE;
  s->blame->origin = origin;
  s->blame->op = op;
  return true;
}

// The search for the infinity of which a NaN was made.
static struct search for_infinity(const struct search *s) {
  return (struct search){.e = s->e, .nan = false, .blame = s->infinity};
}
static bool wants_infinity(const struct search *s) {
  return s->nan && s->infinity && s->infinity->how == BT_BLAME_UNKNOWN;
}

// "%g" without a NaN's sign.
static double shown(double x) { return isnan(x) ? NAN : x; }

static void describe(char *text, size_t room, int op, const double *in, double result) {
  const char *name = op_table[op].name, *infix = op_table[op].infix;
  if (infix)
    snprintf(text, room, "%.6g %s %.6g = %.6g", in[0], infix, in[1], result);
  else if (op_table[op].operands == 1)
    snprintf(text, room, "%s(%.6g) = %.6g", name, in[0], result);
  else if (op_table[op].operands == 2)
    snprintf(text, room, "%s(%.6g, %.6g) = %.6g", name, in[0], in[1], result);
  else
    snprintf(text, room, "%s(%.6g, %.6g, %.6g) = %.6g", name, in[0], in[1], in[2], result);
}

static bool follow_operation(const struct search *s, struct point *p, const struct value *v,
                             double result) {
  double in[OPERANDS] = {0};
  if (v->op == OP_where) return follow(s, p, v->in[value_at(p, v->in[0]).real != 0 ? 1 : 2]);
  for (int i = 0; i < v->n_in; i++) {
    in[i] = shown(value_at(p, v->in[i]).real);
    if (is_sought(s, in[i])) return follow(s, p, v->in[i]);
  }
  struct search other = for_infinity(s);
  for (int i = 0; i < v->n_in && wants_infinity(s); i++)
    if (isinf(in[i])) follow(&other, p, v->in[i]);
  describe(s->blame->text, sizeof s->blame->text, v->op, in, shown(result));
  return made(s, v->origin, op_table[v->op].name);
}

// Of a sum or a product of rows: what its terms are.
struct terms {
  const struct search *s;
  int64_t n;
  double lo, hi;
  bool found;
};

static void add_range(struct terms *t, double x) { t->lo = fmin(t->lo, x), t->hi = fmax(t->hi, x); }

// The value is followed where it is what is sought; an infinity in passing.
static bool visit_value(struct terms *t, struct point *p, int id) {
  double x = value_at(p, id).real;
  struct search other = for_infinity(t->s);
  add_range(t, x);
  if (is_sought(t->s, x)) {
    if (t->s->infinity) t->s->infinity->how = BT_BLAME_UNKNOWN; // one in passing was not its
    return t->found = follow(t->s, p, id);
  }
  if (isinf(x) && wants_infinity(t->s)) follow(&other, p, id);
  return false;
}

static bool visit_term(void *user, struct point operand[2]) {
  struct terms *t = user;
  t->n++;
  return !visit_value(t, &operand[0], operand[0].body->result) &&
         !visit_value(t, &operand[1], operand[1].body->result);
}

static bool made_of_terms(const struct terms *t, int origin, const char *op, const char *what,
                          double result) {
  struct bt_blame *b = t->s->blame;
  snprintf(b->text, sizeof b->text, "%s of %lld %s from %.6g to %.6g = %.6g", op, (long long)t->n,
           what, t->lo, t->hi, shown(result));
  return made(t->s, origin, op);
}

static bool follow_product(const struct search *s, struct point *p, const struct value *v,
                           double result) {
  struct terms t = {.s = s, .lo = INFINITY, .hi = -INFINITY};
  each_term(s->e, form_at(p, &v->at), visit_term, &t);
  return t.found || made_of_terms(&t, v->origin, "matmul", "terms with factors", result);
}

// Can the fold of these be what is sought? A NaN comes of infinities, an infinity of a sum that is
// too large.
static bool can_make(const struct terms *t, enum bt_dtype type) {
  double largest = fmax(fabs(t->lo), fabs(t->hi));
  return t->s->nan
             ? isinf(largest)
             : largest * (double)t->n > (type == BT_F32 ? 0x1.fffffep127 : 0x1.fffffffffffffp1023);
}

// Does the fold go over this axis?
static bool is_folded(const struct root *r, const struct body *b, int axis) {
  return r->at.k[axis] == 0 && b->extent[axis] > 1;
}

// The next point of a fold; false: it was the last.
static bool next_folded(const struct root *r, struct point *p) {
  for (int i = p->body->n_axes - 1; i >= 0; i--) {
    if (!is_folded(r, p->body, i)) continue;
    point_move(p);
    if (++p->index[i] < p->body->extent[i]) return true;
    p->index[i] = 0;
  }
  return false;
}

static bool follow_root(const struct search *s, int root, int64_t address) {
  const struct root *r = &s->e->f->roots[root];
  struct point p = point_new(s->e, &s->e->f->bodies[r->body]);
  struct terms t = {.s = s, .lo = INFINITY, .hi = -INFINITY};
  bool found = point_find(&p, &r->at, address);
  if (found && r->fold == STORE) {
    found = is_sought(s, value_at(&p, r->value).real) && follow(s, &p, r->value);
  } else if (found) {
    do t.n++;
    while (!visit_value(&t, &p, r->value) && s->e->left > 0 && next_folded(r, &p));
    found = t.found || (s->e->left > 0 && can_make(&t, s->e->memory[r->argument].type) &&
                        made_of_terms(&t, r->origin, fold_names[r->fold], "values",
                                      element(&s->e->memory[r->argument], address).real));
  }
  point_free(&p);
  return found;
}

// p's value is what is sought.
static bool follow(const struct search *s, struct point *p, int id) {
  const struct value *v = &p->body->values[id];
  double x = value_at(p, id).real;
  switch (v->kind) {
  case LOAD:
    s->blame->how = BT_BLAME_READ, s->blame->argument = v->of,
    s->blame->element = form_at(p, &v->at);
    return true;
  case RESULT: return follow_root(s, v->of, form_at(p, &v->at));
  case PRODUCT: return follow_product(s, p, v, x);
  case OPERATION: return follow_operation(s, p, v, x);
  default:
    snprintf(s->blame->text, sizeof s->blame->text, "the constant %.6g", shown(x));
    return made(s, v->origin, "constant");
  }
}

void bt_formula_blame(const struct bt_formula *f, const struct bt_formula_memory *memory, int root,
                      int64_t element, bool nan, struct bt_blame *blame,
                      struct bt_blame *infinity) {
  *blame = *infinity = (struct bt_blame){.how = BT_BLAME_UNKNOWN};
  struct evaluation e = {f, memory, MOST_VALUES};
  struct search s = {&e, nan, blame, infinity};
  if (!follow_root(&s, root, element) || e.left <= 0)
    *blame = *infinity = (struct bt_blame){.how = BT_BLAME_UNKNOWN};
}

// ---- searching a result -----------------------------------------------------------------------

static double real_at(const void *data, enum bt_dtype type, int64_t i) {
  return type == BT_F32 ? (double)((const float *)data)[i] : ((const double *)data)[i];
}

// The first along the innermost axis from p on that is NaN, or, where there is none, infinite.
static void search_row(const struct root *r, const struct point *p, const void *data,
                       enum bt_dtype type, int64_t *nan, int64_t *infinity) {
  int last = p->body->n_axes - 1;
  int64_t at = form_at(p, &r->at), stride = last < 0 ? 0 : r->at.k[last];
  int64_t n = last < 0 || is_folded(r, p->body, last) ? 1 : p->body->extent[last];
  for (int64_t i = 0; i < n; i++, at += stride) {
    double x = real_at(data, type, at);
    if (isfinite(x)) continue;
    if (isinf(x) && *infinity < 0) *infinity = at;
    if (isinf(x)) continue;
    *nan = at;
    return;
  }
}

int64_t bt_formula_search(const struct bt_formula *f, int root, const void *data,
                          enum bt_dtype type) {
  const struct root *r = &f->roots[root];
  const struct body *b = &f->bodies[r->body];
  struct point p = {.body = b};
  int64_t nan = -1, infinity = -1;
  if (!is_real(type)) return -1;
  for (int i = 0; i >= 0 && nan < 0;) {
    search_row(r, &p, data, type, &nan, &infinity);
    for (i = b->n_axes - 2; i >= 0; i--) {
      if (is_folded(r, b, i)) continue;
      if (++p.index[i] < b->extent[i]) break;
      p.index[i] = 0;
    }
  }
  return nan >= 0 ? nan : infinity;
}

bool bt_formula_value(const struct bt_formula *f, const struct bt_formula_memory *memory, int root,
                      int64_t address, double *value) {
  const struct root *r = &f->roots[root];
  struct evaluation e = {f, memory, MOST_VALUES};
  struct point p = point_new(&e, &f->bodies[r->body]);
  bool found = point_find(&p, &r->at, address);
  if (found) *value = value_at(&p, r->value).real;
  while (found && r->fold != STORE && next_folded(r, &p)) {
    double x = value_at(&p, r->value).real;
    *value = r->fold == SUM          ? *value + x
             : r->fold == REDUCE_MAX ? larger(*value, x)
                                     : smaller(*value, x);
  }
  point_free(&p);
  return found;
}
