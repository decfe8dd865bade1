// loops_bounds.c: symbolic bounds of index expressions.
//
// An expression is brought to linear form over atoms; its largest value is found by removing atoms
// one after another. The innermost loop's variable is replaced by its bound, itself an expression
// (so triangular loops and tiles cut off at the edge come out exactly): with a positive
// coefficient, v <= hi - 1, or hi - step where the range is a whole number of steps. A bound min(p,
// q) gives two valid replacements, of which the better counts; min and max elsewhere are split into
// their cases. An `if` around gives facts f <= 0, and e <= e - f. Quotients and remainders count by
// their range.
#include "loops_bounds.h"
#include "sizes.h"

enum { FUEL = 40 };
static int64_t upper(const struct bounds *b, struct linear e, int fuel);

// ---- linear form ------------------------------------------------------------------------------
static bool same(lx x, lx y) {
  if (x == y) return true;
  if (!x || !y || x->op != y->op || x->type != y->type || x->lanes != y->lanes) return false;
  return x->integer == y->integer && x->real == y->real && x->buf == y->buf && x->var == y->var &&
         x->reg == y->reg && x->lo == y->lo && x->hi == y->hi && x->op != LX_LOAD &&
         x->op != LX_GATHER && same(x->a, y->a) && same(x->b, y->b) && same(x->c, y->c);
}

static void add_term(struct linear *e, lx atom, int64_t coefficient) {
  int i = 0;
  while (i < e->n && !same(e->term[i].atom, atom)) i++;
  if (i == BOUNDS_TERMS) {
    e->overflow = true;
    return;
  }
  if (i == e->n) e->term[e->n].atom = atom, e->term[e->n++].coefficient = 0;
  e->term[i].coefficient += coefficient;
  if (e->term[i].coefficient == 0) e->term[i] = e->term[--e->n];
}

struct linear bounds_sum(struct linear x, const struct linear *y, int64_t factor) {
  x.overflow |= y->overflow;
  x.constant += factor * y->constant;
  for (int i = 0; i < y->n; i++) add_term(&x, y->term[i].atom, factor * y->term[i].coefficient);
  return x;
}

static void collect(const struct bounds *b, struct linear *sum, lx e, int64_t factor) {
  int64_t k;
  switch (e->op) {
  case LX_CONST:
    if (lx_is_int(e, &k))
      sum->constant += factor * k;
    else
      add_term(sum, e, factor);
    break;
  case LX_ADD: collect(b, sum, e->a, factor), collect(b, sum, e->b, factor); break;
  case LX_SUB: collect(b, sum, e->a, factor), collect(b, sum, e->b, -factor); break;
  case LX_NEG: collect(b, sum, e->a, -factor); break;
  case LX_BROADCAST: collect(b, sum, e->a, factor); break;
  case LX_MUL:
    if (lx_is_int(e->b, &k))
      collect(b, sum, e->a, factor * k);
    else if (lx_is_int(e->a, &k))
      collect(b, sum, e->b, factor * k);
    else
      add_term(sum, e, factor);
    break;
  case LX_CONVERT:
    if (e->a->type == LT_I32 && e->type == LT_I64)
      collect(b, sum, e->a, factor);
    else
      add_term(sum, e, factor);
    break;
  case LX_REG:
    if (b->definition[e->reg->id])
      collect(b, sum, b->definition[e->reg->id], factor);
    else
      add_term(sum, e, factor);
    break;
  default: add_term(sum, e, factor);
  }
}

struct linear bounds_linear(const struct bounds *b, lx e) {
  struct linear sum = {0};
  collect(b, &sum, e, 1);
  return sum;
}

// ---- removing atoms ---------------------------------------------------------------------------
// e without term i, plus its coefficient times `by`.
static struct linear replaced(const struct bounds *b, struct linear e, int i, lx by) {
  int64_t coefficient = e.term[i].coefficient;
  e.term[i] = e.term[--e.n];
  struct linear value = bounds_linear(b, by);
  return bounds_sum(e, &value, coefficient);
}

static bool divisible(const struct linear *e, int64_t by) {
  if (by == 1) return true;
  if (e->overflow || e->constant % by) return false;
  for (int i = 0; i < e->n; i++)
    if (e->term[i].coefficient % by) return false;
  return true;
}

// Largest value of variable `s->var` under the alternative `hi` of its bound: what to subtract.
static int64_t last_step(const struct bounds *b, const struct loop_stmt *s, lx hi) {
  struct linear range = bounds_linear(b, hi), lo = bounds_linear(b, s->lo);
  range = bounds_sum(range, &lo, -1);
  if (divisible(&range, s->step)) return s->step;
  if (range.n == 0 && !range.overflow && range.constant > 0)
    return (range.constant - 1) % s->step + 1;
  return 1;
}

// The best bound of e with variable i at the alternatives of `end`, a tree of min (hi) or max (lo).
static int64_t at_bound(const struct bounds *b, struct linear e, int i, lx end, bool high,
                        int fuel) {
  if (end->op == (high ? LX_MIN : LX_MAX))
    return min64(at_bound(b, e, i, end->a, high, fuel), at_bound(b, e, i, end->b, high, fuel));
  int64_t coefficient = e.term[i].coefficient;
  const struct loop_stmt *s = e.term[i].atom->var->loop;
  struct linear r = replaced(b, e, i, end);
  if (high) r.constant -= coefficient * last_step(b, s, end);
  return upper(b, r, fuel - 1);
}

static int64_t type_limit(enum loop_type t) {
  return t == LT_BOOL ? 1 : t == LT_U8 ? 255 : t == LT_I32 ? INT32_MAX : BOUNDS_UNKNOWN;
}

// The largest divisor of k that divides every value of e: e mod k is a multiple of it.
static int64_t granularity(const struct linear *e, int64_t k) {
  int64_t g = k;
  while (k % g || !divisible(e, g)) g--;
  return g;
}

// Range of an atom that is not a variable.
static void atom_range(const struct bounds *b, lx e, int fuel, int64_t *lo, int64_t *hi) {
  int64_t k;
  *hi = type_limit(e->type);
  *lo = e->type == LT_BOOL || e->type == LT_U8 ? 0 : -*hi;
  if (e->op == LX_IOTA) *lo = 0, *hi = b->lanes - 1;
  if (e->op == LX_CHECKED) *lo = e->lo, *hi = e->hi - 1;
  if (e->op == LX_CONVERT && type_limit(e->a->type) < *hi && e->a->type != LT_F32)
    *hi = type_limit(e->a->type), *lo = 0;
  if ((e->op != LX_DIV && e->op != LX_MOD) || !lx_is_int(e->b, &k) || k <= 0) return;
  struct linear a = bounds_linear(b, e->a), minus = bounds_sum((struct linear){0}, &a, -1);
  int64_t top = upper(b, a, fuel - 1), bottom = -upper(b, minus, fuel - 1);
  if (e->op == LX_DIV)
    *lo = bottom / k, *hi = top >= BOUNDS_UNKNOWN ? BOUNDS_UNKNOWN : top / k;
  else
    *lo = 0, *hi = min64(k - granularity(&a, k), top);
  if (bottom < 0) *lo = -BOUNDS_UNKNOWN;
}

static int64_t saturated(int64_t coefficient, int64_t value) {
  int64_t product;
  if (value >= BOUNDS_UNKNOWN || value <= -BOUNDS_UNKNOWN) return BOUNDS_UNKNOWN;
  return __builtin_mul_overflow(coefficient, value, &product) ? BOUNDS_UNKNOWN : product;
}

static int64_t without(const struct bounds *b, struct linear e, int i, int fuel) {
  int64_t coefficient = e.term[i].coefficient, lo, hi;
  atom_range(b, e.term[i].atom, fuel, &lo, &hi);
  int64_t most = saturated(coefficient, coefficient > 0 ? hi : lo);
  if (most >= BOUNDS_UNKNOWN) return BOUNDS_UNKNOWN;
  e.term[i] = e.term[--e.n];
  e.constant += most;
  return upper(b, e, fuel - 1);
}

// The term to remove next: a choice first, then the innermost variable, then the rest.
static int next_term(const struct bounds *b, const struct linear *e) {
  int best = -1, depth = -1;
  for (int i = 0; i < e->n; i++) {
    lx atom = e->term[i].atom;
    if (atom->op == LX_MIN || atom->op == LX_MAX || atom->op == LX_SELECT) return i;
    int d = atom->op == LX_INDEX ? b->depth[atom->var->id] : -1;
    if (best < 0 || d > depth) best = i, depth = d;
  }
  return best;
}

static int64_t remove_choice(const struct bounds *b, struct linear e, int i, int fuel) {
  lx atom = e.term[i].atom;
  bool select = atom->op == LX_SELECT;
  bool tightens = !select && (atom->op == LX_MIN) == (e.term[i].coefficient > 0);
  int64_t x = upper(b, replaced(b, e, i, select ? atom->b : atom->a), fuel - 1);
  int64_t y = upper(b, replaced(b, e, i, select ? atom->c : atom->b), fuel - 1);
  return tightens ? min64(x, y) : max64(x, y);
}

// e <= e - m * f for a fact f <= 0 and m > 0, chosen so that a term goes away.
static int64_t by_facts(const struct bounds *b, struct linear e, int i, int fuel) {
  int64_t best = BOUNDS_UNKNOWN;
  for (int k = 0; k < b->n_facts; k++)
    for (int j = 0; j < b->fact[k].n; j++) {
      int64_t c = b->fact[k].term[j].coefficient, want = e.term[i].coefficient;
      if (!same(b->fact[k].term[j].atom, e.term[i].atom) || want % c || want / c <= 0) continue;
      best = min64(best, upper(b, bounds_sum(e, &b->fact[k], -(want / c)), fuel / 2));
    }
  return best;
}

static int64_t upper(const struct bounds *b, struct linear e, int fuel) {
  if (e.overflow || fuel <= 0) return BOUNDS_UNKNOWN;
  if (e.n == 0) return e.constant;
  int i = next_term(b, &e);
  lx atom = e.term[i].atom;
  if (atom->op == LX_MIN || atom->op == LX_MAX || atom->op == LX_SELECT)
    return remove_choice(b, e, i, fuel);
  int64_t best = by_facts(b, e, i, fuel);
  if (atom->op != LX_INDEX) return min64(best, without(b, e, i, fuel));
  bool high = e.term[i].coefficient > 0;
  const struct loop_stmt *s = atom->var->loop;
  return min64(best, at_bound(b, e, i, high ? s->hi : s->lo, high, fuel));
}

int64_t bounds_upper(const struct bounds *b, struct linear e) { return upper(b, e, FUEL); }
int64_t bounds_lower(const struct bounds *b, struct linear e) {
  int64_t most = upper(b, bounds_sum((struct linear){0}, &e, -1), FUEL);
  return most >= BOUNDS_UNKNOWN ? -BOUNDS_UNKNOWN : -most;
}

// ---- facts ------------------------------------------------------------------------------------
static int assume_order(struct bounds *b, lx small, lx large, int64_t gap) { // small + gap <= large
  if (b->n_facts == BOUNDS_FACTS) return 0;
  struct linear f = bounds_linear(b, small), y = bounds_linear(b, large);
  f = bounds_sum(f, &y, -1);
  f.constant += gap;
  b->fact[b->n_facts++] = f;
  return 1;
}

int bounds_assume(struct bounds *b, lx c, bool truth) {
  if (c->op == LX_NOT) return bounds_assume(b, c->a, !truth);
  if ((c->op == LX_AND && truth) || (c->op == LX_OR && !truth))
    return bounds_assume(b, c->a, truth) + bounds_assume(b, c->b, truth);
  if (c->op >= LX_CONST || lx_arity(c->op) < 2) return 0;
  if (c->a->type != LT_I64 && c->a->type != LT_I32) return 0;
  switch (c->op) {
  case LX_LT: return truth ? assume_order(b, c->a, c->b, 1) : assume_order(b, c->b, c->a, 0);
  case LX_LE: return truth ? assume_order(b, c->a, c->b, 0) : assume_order(b, c->b, c->a, 1);
  case LX_EQ:
  case LX_NE:
    if ((c->op == LX_EQ) != truth) return 0;
    return assume_order(b, c->a, c->b, 0) + assume_order(b, c->b, c->a, 0);
  default: return 0;
  }
}
