// nest.c: see nest.h. Values become loop expressions here: affine forms to index arithmetic, loads
// to vector, broadcast, strided or gathered loads by their stride along the vector axis.
#include <string.h>

#include "nest.h"

static unsigned vector_bit(const struct nest *n) { return n->vector < 0 ? 0 : 1u << n->vector; }

void nest_begin(struct nest *n, const struct params *p, const struct body *body, struct lb *b,
                int vector) {
  *n = (struct nest){.b = b,
                     .body = body,
                     .arena = lb_arena(b),
                     .lanes = lb_target(b)->lanes,
                     .vector = vector,
                     .n_copies = 1,
                     .params = p};
  for (int c = 0; c < MAX_COPIES; c++) {
    n->copy[c].value = NEW_ARRAY(n->arena, lx, body->values.len);
    n->copy[c].level = NEW_ARRAY(n->arena, int, body->values.len);
  }
}

// ---- indices ----------------------------------------------------------------------------------

lx nest_form(struct nest *n, const struct affine *a, int copy) {
  lx e = lx_int(n->b, 0);
  for (int i = 0; i < n->body->n_axes; i++) {
    if (a->k[i] == 0) continue;
    lx index = i == n->vector ? n->copy[copy].at : n->index[i];
    expect(index != NULL, "axis %d is not bound", i);
    e = lx_add(e, lx_muli(index, a->k[i]));
  }
  return lx_addi(e, a->constant);
}

struct loop_buf *nest_param(const struct nest *n, const struct buffer *b) {
  return n->params->of[b->id];
}

static struct affine in_param(const struct nest *n, const struct buffer *b,
                              const struct affine *a) {
  struct affine at = *a;
  at.constant -= n->params->offset[b->id];
  return at;
}

lx nest_address(struct nest *n, const struct buffer *b, const struct affine *a, int copy) {
  struct affine at = in_param(n, b, a);
  return nest_form(n, &at, copy);
}

// The form in every lane, as i32 where that holds it.
static lx lane_form(struct nest *n, const struct affine *a, int copy) {
  int64_t lo, hi;
  affine_range(n->body, a, &lo, &hi);
  enum loop_type type = lo > INT32_MIN && hi < INT32_MAX ? LT_I32 : LT_I64;
  lx first = lx_broadcast(lx_convert(nest_form(n, a, copy), type));
  int64_t stride = a->k[n->vector];
  lx lane = lx_convert(lx_iota(n->b), type);
  return lx_add(
      first, stride == 1 ? lane : lx_mul(lane, lx_const(n->b, type, n->lanes, (double)stride)));
}

static bool varies(const struct nest *n, const struct affine *a) {
  return n->vector >= 0 && a->k[n->vector] != 0;
}

static bool inside(const struct nest *n, const struct affine *a, int64_t count) {
  int64_t lo, hi;
  affine_range(n->body, a, &lo, &hi);
  return lo >= 0 && hi < count;
}

// ---- values -----------------------------------------------------------------------------------

static lx value_load(struct nest *n, const struct value *v, int copy) {
  struct loop_buf *buf = nest_param(n, v->buffer);
  struct affine form = in_param(n, v->buffer, &v->at);
  bool safe = inside(n, &form, buf->count);
  if (!varies(n, &form)) {
    lx at = nest_form(n, &form, copy);
    return lx_load(buf, safe ? at : lx_mini(lx_maxi(at, 0), buf->count - 1));
  }
  if (safe)
    return lx_vload_strided(buf, nest_form(n, &form, copy), form.k[n->vector], n->copy[copy].n);
  lx at = lane_form(n, &form, copy);
  lx first = lx_const(n->b, at->type, n->lanes, 0);
  return lx_gather(
      buf, lx_min(lx_max(at, first), lx_const(n->b, at->type, n->lanes, (double)(buf->count - 1))));
}

static lx value_index(struct nest *n, const struct value *v, int copy) {
  lx at = varies(n, &v->at) ? lane_form(n, &v->at, copy) : nest_form(n, &v->at, copy);
  return lx_convert(at, lower_type(v->type));
}

// lo <= at < hi, each half only where the space does not imply it.
static lx value_range(struct nest *n, const struct value *v, int copy) {
  int64_t lo, hi;
  affine_range(n->body, &v->at, &lo, &hi);
  bool lanes = varies(n, &v->at);
  lx at = lanes ? lane_form(n, &v->at, copy) : nest_form(n, &v->at, copy);
  lx test = NULL;
  if (lo < v->lo) test = lx_le(lx_const(n->b, at->type, 1, (double)v->lo), at);
  if (hi >= v->hi) {
    lx below = lx_lt(at, lx_const(n->b, at->type, 1, (double)v->hi));
    test = test ? lx_and(test, below) : below;
  }
  expect(test != NULL, "a range test that always holds");
  return test;
}

static lx compute(struct nest *n, const struct value *v, int copy) {
  switch (v->kind) {
  case V_CONST: return lx_const(n->b, lower_type(v->type), 1, v->number);
  case V_INDEX: return value_index(n, v, copy);
  case V_LOAD: return n->copied && n->copied[v->id] ? lx_vload(n->copied[v->id], n->copy_at) : value_load(n, v, copy);
  case V_RANGE: return value_range(n, v, copy);
  case V_PRODUCT: return n->product;
  case V_OP: break;
  }
  lx in[3];
  for (int i = 0; i < v->n_in; i++) in[i] = nest_value(n, v->in[i], copy);
  return lower_scalar(n->b, v->op, v->type, in);
}

static void name_value(struct nest *n, const struct value *v, int copy, lx e) {
  n->copy[copy].value[v->id] = lb_let(n->b, v->kind == V_LOAD ? "a" : "v", e);
  n->copy[copy].level[v->id] = n->level;
}

lx nest_value(struct nest *n, const struct value *v, int copy) {
  if ((v->axes & vector_bit(n)) == 0) copy = 0;
  if (n->copy[copy].value[v->id] != NULL) return n->copy[copy].value[v->id];
  lx e = compute(n, v, copy);
  if (v->uses < 2 || v->kind == V_CONST) return e;
  name_value(n, v, copy, e);
  return n->copy[copy].value[v->id];
}

lx nest_named(struct nest *n, const struct value *v, int copy) {
  lx e = nest_value(n, v, copy);
  if (n->copy[copy].value[v->id] == NULL) name_value(n, v, copy, e);
  return n->copy[copy].value[v->id];
}

// ---- levels -----------------------------------------------------------------------------------

static bool known(const struct nest *n, const struct value *v) {
  return (v->axes & ~n->bound) == 0;
}

// Values known here that something not yet known will want.
static void mark_frontier(const struct nest *n, bool *frontier) {
  const struct body *b = n->body;
  for (int i = 0; i < b->values.len; i++) {
    const struct value *user = b->values.data[i];
    if (known(n, user)) continue;
    for (int j = 0; j < user->n_in; j++)
      if (known(n, user->in[j])) frontier[user->in[j]->id] = true;
  }
  for (int i = 0; i < b->roots.len; i++)
    if (known(n, b->roots.data[i].value)) frontier[b->roots.data[i].value->id] = true;
}

static bool all_bound(const struct nest *n) { return n->bound == (1u << n->body->n_axes) - 1; }

void nest_enter(struct nest *n) {
  expect(n->level + 1 < MAX_LEVELS, "a loop nest of more than %d levels", MAX_LEVELS);
  n->level++;
  n->bound_at[n->level] = n->bound;
  if (all_bound(n)) return; // innermost: values are named where they are used
  bool *frontier = NEW_ARRAY(n->arena, bool, n->body->values.len);
  mark_frontier(n, frontier);
  for (int i = 0; i < n->body->values.len; i++) {
    const struct value *v = n->body->values.data[i];
    if (!frontier[i] || v->kind == V_CONST) continue;
    int copies = (v->axes & vector_bit(n)) ? n->n_copies : 1;
    for (int c = 0; c < copies; c++)
      if (n->copy[c].value[i] == NULL) {
        lx e = compute(n, v, c);
        if (n->copy[c].value[i] == NULL) name_value(n, v, c, e);
      }
  }
}

void nest_leave(struct nest *n) {
  for (int c = 0; c < MAX_COPIES; c++)
    for (int i = 0; i < n->body->values.len; i++)
      if (n->copy[c].value[i] != NULL && n->copy[c].level[i] >= n->level)
        n->copy[c].value[i] = NULL;
  n->level--;
  n->bound = n->bound_at[n->level];
}

void nest_bind(struct nest *n, int axis, lx index) {
  n->index[axis] = index;
  n->bound |= 1u << axis;
}

void nest_bind_vector(struct nest *n, int copies, const lx *at, const lx *lanes) {
  expect(copies <= MAX_COPIES, "%d vectors in flight", copies);
  n->n_copies = copies;
  for (int c = 0; c < copies; c++) {
    n->copy[c].at = at[c];
    n->copy[c].n = lanes[c];
  }
  n->bound |= vector_bit(n);
}

void nest_bind_flat(struct nest *n, const int *axis, int n_axes, lx flat) {
  for (int i = n_axes - 1; i > 0; i--) {
    int64_t extent = n->body->extent[axis[i]];
    nest_bind(n, axis[i], lb_let(n->b, "i", lx_modi(flat, extent)));
    flat = lb_let(n->b, "i", lx_divi(flat, extent));
  }
  if (n_axes > 0) nest_bind(n, axis[0], flat);
}

// ---- prefetching ------------------------------------------------------------------------------

static bool worth_prefetching(const struct nest *n, const struct affine *a, unsigned axes) {
  for (int i = 0; i < n->body->n_axes; i++)
    if (((axes >> i) & 1) && a->k[i] != 0) return varies(n, a) && a->k[n->vector] == 1;
  return false;
}

static void prefetch(struct nest *n, const struct buffer *buffer, const struct affine *a, unsigned axes) {
  struct loop_buf *buf = nest_param(n, buffer);
  struct affine form = in_param(n, buffer, a);
  if (!worth_prefetching(n, a, axes) || !inside(n, &form, buf->count)) return;
  lb_prefetch(n->b, buf, nest_form(n, &form, 0));
}

static bool is_loaded(const struct body *b, const struct body_root *r) {
  for (int i = 0; i < b->values.len; i++) {
    const struct value *v = b->values.data[i];
    if (v->kind == V_LOAD && v->buffer == r->buffer && affine_eq(&v->at, &r->at)) return true;
  }
  return false;
}

void nest_prefetch(struct nest *n, unsigned axes) {
  const struct body *b = n->body;
  for (int i = 0; i < b->values.len; i++)
    if (b->values.data[i]->kind == V_LOAD && !(n->copied && n->copied[i])) prefetch(n, b->values.data[i]->buffer, &b->values.data[i]->at, axes);
  for (int i = 0; i < b->roots.len; i++) {
    const struct body_root *r = &b->roots.data[i];
    if (r->reduce == OP_COUNT && !is_loaded(b, r)) prefetch(n, r->buffer, &r->at, axes);
  }
}

static void store_value(struct nest *n, const struct body_root *r, int copy, lx value) {
  struct loop_buf *buf = nest_param(n, r->buffer);
  lx at = nest_address(n, r->buffer, &r->at, copy);
  if (varies(n, &r->at))
    lb_store_strided(n->b, buf, at, r->at.k[n->vector], n->copy[copy].n, value);
  else
    lb_store(n->b, buf, at, value);
}

// A result may lie over an operand that another result reads too: all are computed, then stored.
void nest_store_all(struct nest *n, int copy, bool folds) {
  const struct body *b = n->body;
  lx *value = NEW_ARRAY(n->arena, lx, b->roots.len);
  for (int i = 0; i < b->roots.len; i++) {
    const struct body_root *r = &b->roots.data[i];
    if (r->reduce != OP_COUNT && !folds) continue;
    value[i] = lx_convert(nest_value(n, r->value, copy), nest_param(n, r->buffer)->type);
    if (b->roots.len > 1) value[i] = lb_let(n->b, "v", value[i]);
  }
  for (int i = 0; i < b->roots.len; i++)
    if (value[i] != NULL) store_value(n, &b->roots.data[i], copy, value[i]);
}
