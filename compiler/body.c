// body.c: from a kernel's nodes to a DAG of scalar values over one iteration space.
//
// A node is evaluated *at* coordinates, one affine form of the space's axes for each of its own
// axes. A movement op only changes the coordinates: broadcast drops some, transpose permutes, slice
// and pad shift (pad and concat add range tests), diag repeats one. Reshape takes the linear index
// apart again; where an axis of the space straddles two axes of the operand, the axis is split and
// the body is built anew. What is still not affine cannot be inlined: its node is reported and gets
// a buffer, in which a row-major linear index is an address as it stands.
//
// In the end axes that every form walks through as one are merged, so that loops are long.
#include <string.h>

#include "body.h"

// One axis of the space: `extent` steps of `step` along axis `of` of the kernel's shape.
struct space_axis {
  int of;
  int64_t step, extent;
};

struct recalled {
  const struct node *node;
  struct affine at[MAX_RANK];
  struct value *value;
};

struct builder {
  struct fusion *f;
  struct kernel *k;
  const struct node *operand; // of a product: its value is what is built; NULL: k's results
  bool finish;                // of them, those of the second meeting
  struct shape space;
  int block;
  struct arena *arena;
  struct body *body;
  struct space_axis axis[BODY_AXES];
  int n_axes;
  struct affine identity[MAX_RANK]; // coordinates of a point of the space
  VEC(struct recalled) known;
  const struct node *node;     // that is evaluated
  const struct node *offender; // cannot be inlined here
  const struct node *relayout; // the innermost relayout on the way down
  int split_axis;              // >= 0: split it and start again
  int64_t split_at;
};

// ---- affine forms -----------------------------------------------------------------------------

static struct affine form_constant(int64_t c) { return (struct affine){.constant = c}; }

static struct affine form_add(struct affine a, const struct affine *b, int64_t factor) {
  a.constant += b->constant * factor;
  for (int i = 0; i < BODY_AXES; i++) a.k[i] += b->k[i] * factor;
  return a;
}

bool affine_eq(const struct affine *a, const struct affine *b) {
  return memcmp(a, b, sizeof *a) == 0;
}

void affine_range(const struct body *b, const struct affine *a, int64_t *lo, int64_t *hi) {
  *lo = *hi = a->constant;
  for (int i = 0; i < b->n_axes; i++) {
    int64_t reach = a->k[i] * (b->extent[i] - 1);
    if (reach < 0)
      *lo += reach;
    else
      *hi += reach;
  }
}

static unsigned form_axes(const struct affine *a) {
  unsigned axes = 0;
  for (int i = 0; i < BODY_AXES; i++)
    if (a->k[i] != 0) axes |= 1u << i;
  return axes;
}

static bool may_split(const struct builder *s, int axis) {
  bool column = s->k->kind == KERNEL_PRODUCT && s->axis[axis].of == s->space.rank - 1;
  return s->n_axes < BODY_AXES && !column;
}

static int64_t floor_div(int64_t a, int64_t m) { return a / m - (a % m < 0); }

// a = quotient * m + remainder with 0 <= remainder < m over the whole space. False: not affine so;
// asks for a split where that may help and there is room for one axis more.
static bool form_divide(struct builder *s, const struct affine *a, int64_t m,
                        struct affine *quotient, struct affine *remainder) {
  *quotient = form_constant(floor_div(a->constant, m));
  *remainder = form_constant(a->constant - quotient->constant * m);
  for (int i = 0; i < s->n_axes; i++) {
    int64_t k = a->k[i], extent = s->axis[i].extent;
    if (k == 0) continue;
    if (k % m == 0) {
      quotient->k[i] = k / m;
      continue;
    }
    remainder->k[i] = k;
    if (may_split(s, i) && k > 0 && k < m && m % k == 0 && k * (extent - 1) >= m && extent % (m / k) == 0) {
      s->split_axis = i;
      s->split_at = m / k;
      return false;
    }
  }
  int64_t lo, hi;
  affine_range(s->body, remainder, &lo, &hi);
  return lo >= 0 && hi < m;
}

static struct affine form_linear(const struct shape *shape, const struct affine *at) {
  struct affine linear = form_constant(0);
  for (int i = 0; i < shape->rank; i++) {
    struct affine scaled = form_add(form_constant(0), &linear, shape->dim[i]);
    linear = form_add(scaled, &at[i], 1);
  }
  return linear;
}

// Address of node's element `at` in its own layout.
static bool form_address(struct builder *s, const struct node *n, const struct affine *at,
                         struct affine *address) {
  const struct shape *shape = &n->type.shape;
  if (n->block == 0) {
    *address = form_linear(shape, at);
    return true;
  }
  struct affine outer[MAX_RANK], lane;
  memcpy(outer, at, sizeof *at * (size_t)shape->rank);
  if (!form_divide(s, &at[1], n->block, &outer[1], &lane)) return false;
  struct shape blocks = *shape;
  blocks.dim[1] /= n->block;
  struct affine linear = form_linear(&blocks, outer);
  *address = form_add(lane, &linear, n->block);
  return true;
}

// Address of b's element `at` in its place.
static bool form_element(struct builder *s, const struct buffer *b, const struct affine *at,
                         struct affine *address) {
  if (b->part_of == NULL) return form_address(s, b->node, at, address);
  struct affine within[MAX_RANK];
  memcpy(within, at, sizeof *at * (size_t)b->node->type.shape.rank);
  within[b->axis].constant += b->start;
  return form_address(s, b->part_of->node, within, address);
}

// ---- values -----------------------------------------------------------------------------------

// Numbers by their bits: 0 and -0 are two.
static bool value_eq(const struct value *a, const struct value *b) {
  return a->kind == b->kind && a->type == b->type && a->op == b->op && a->n_in == b->n_in &&
         memcmp(a->in, b->in, sizeof a->in) == 0 && memcmp(&a->number, &b->number, sizeof a->number) == 0 &&
         affine_eq(&a->at, &b->at) && a->lo == b->lo && a->hi == b->hi && a->buffer == b->buffer;
}

static struct value *value_new(struct builder *s, struct value v) {
  for (int i = 0; i < s->body->values.len; i++)
    if (value_eq(s->body->values.data[i], &v)) return s->body->values.data[i];
  struct value *made = NEW(s->arena, struct value);
  *made = v;
  made->id = s->body->values.len;
  made->node = s->node;
  made->axes = form_axes(&v.at);
  for (int i = 0; i < v.n_in; i++) {
    made->axes |= v.in[i]->axes;
    v.in[i]->uses++;
  }
  vec_push(s->arena, &s->body->values, made);
  return made;
}

static struct value *value_const(struct builder *s, dtype t, double number) {
  return value_new(s, (struct value){.kind = V_CONST, .type = t, .number = number});
}

static struct value *value_op(struct builder *s, enum op op, dtype t, int n, struct value **in) {
  struct value v = {.kind = V_OP, .type = t, .op = op, .n_in = n};
  memcpy(v.in, in, sizeof *in * (size_t)n);
  return value_new(s, v);
}

// `yes` where lo <= at < hi, else `no`.
static struct value *value_within(struct builder *s, const struct affine *at, int64_t lo,
                                  int64_t hi, struct value *yes, struct value *no) {
  int64_t least, most;
  affine_range(s->body, at, &least, &most);
  if (least >= lo && most < hi) return yes;
  if (most < lo || least >= hi) return no;
  struct value *test =
      value_new(s, (struct value){.kind = V_RANGE, .type = BT_BOOL, .at = *at, .lo = lo, .hi = hi});
  return value_op(s, OP_where, yes->type, 3, (struct value *[]){test, yes, no});
}

// ---- evaluation at coordinates ----------------------------------------------------------------

static struct value *eval(struct builder *s, const struct node *n, const struct affine *at);

static struct value *recall(struct builder *s, const struct node *n, const struct affine *at) {
  for (int i = 0; i < s->known.len; i++) {
    const struct recalled *r = &s->known.data[i];
    if (r->node == n && memcmp(r->at, at, sizeof *at * (size_t)n->type.shape.rank) == 0)
      return r->value;
  }
  return NULL;
}

static void remember(struct builder *s, const struct node *n, const struct affine *at,
                     struct value *v) {
  struct recalled r = {.node = n, .value = v};
  memcpy(r.at, at, sizeof *at * (size_t)n->type.shape.rank);
  vec_push(s->arena, &s->known, r);
}

static bool at_point(const struct builder *s, const struct node *n, const struct affine *at) {
  return s->operand == NULL && n->type.shape.rank == s->space.rank &&
         memcmp(at, s->identity, sizeof *at * (size_t)s->space.rank) == 0;
}

// Where n can be read while the kernel runs; NULL: it is inlined.
static struct buffer *memory_of(const struct builder *s, const struct node *n) {
  for (int i = 0; i < s->k->recomputed.len && s->finish; i++)
    if (s->k->recomputed.data[i] == n) return NULL;
  return s->f->buffer[n->id];
}

// Is n one of the results that are built, elementwise, at the point itself?
static bool computed_here(const struct builder *s, const struct node *n, const struct affine *at) {
  if (!at_point(s, n, at)) return false;
  for (int i = 0; i < s->k->roots.len; i++) {
    const struct kernel_root *r = &s->k->roots.data[i];
    if (r->node == n && r->finish == s->finish && r->reduce == OP_COUNT &&
        r->buffer == s->f->buffer[n->id])
      return true;
  }
  return false;
}

static struct value *product_value(struct builder *s, const struct node *n,
                                   const struct affine *at) {
  struct value v = {.kind = V_PRODUCT, .type = n->type.dtype, .at = form_linear(&n->type.shape, at)};
  return value_new(s, v);
}

static struct value *load(struct builder *s, const struct node *n, const struct affine *at) {
  struct affine address;
  if (!form_element(s, s->f->buffer[n->id], at, &address)) {
    if (s->split_axis < 0) s->offender = s->relayout;
    return NULL;
  }
  return value_new(
      s, (struct value){
             .kind = V_LOAD, .type = n->type.dtype, .at = address, .buffer = s->f->buffer[n->id]});
}

static struct value *eval_elementwise(struct builder *s, const struct node *n,
                                      const struct affine *at) {
  struct value *in[3];
  expect(n->n_in <= 3, "%s has %d operands", op_info(n->op)->name, n->n_in);
  for (int i = 0; i < n->n_in; i++)
    if ((in[i] = eval(s, n->in[i], at)) == NULL) return NULL;
  if (n->op == OP_stop_gradient) return in[0];
  if (n->op == OP_cast && in[0]->type == n->type.dtype) return in[0];
  return value_op(s, n->op, n->type.dtype, n->n_in, in);
}

// A reshape whose operand is in memory row-major reads it by linear index; else the index is taken
// apart along the operand's axes.
static struct value *eval_reshape(struct builder *s, const struct node *n,
                                  const struct affine *at) {
  struct affine linear = form_linear(&n->type.shape, at);
  const struct node *x = n->in[0];
  while (x->op == OP_reshape && memory_of(s, x) == NULL) x = x->in[0];
  struct buffer *buffer = memory_of(s, x);
  if (x->block == 0 && buffer != NULL && buffer->part_of == NULL)
    return value_new(
        s, (struct value){.kind = V_LOAD, .type = x->type.dtype, .at = linear, .buffer = buffer});
  if (x->op == OP_constant) return eval(s, x, at);
  struct affine in_at[MAX_RANK], rest = linear;
  for (int i = x->type.shape.rank - 1; i >= 0; i--) {
    struct affine quotient;
    if (!form_divide(s, &rest, x->type.shape.dim[i], &quotient, &in_at[i])) {
      if (s->split_axis < 0) s->offender = x;
      return NULL;
    }
    rest = quotient;
  }
  return eval(s, x, in_at);
}

static struct value *eval_pad(struct builder *s, const struct node *n, const struct affine *at) {
  const struct shape *inner = &n->in[0]->type.shape;
  struct affine in_at[MAX_RANK];
  for (int i = 0; i < inner->rank; i++) {
    in_at[i] = at[i];
    in_at[i].constant -= n->attr.i[i];
  }
  struct value *v = eval(s, n->in[0], in_at);
  if (v == NULL) return NULL;
  struct value *zero = value_const(s, n->type.dtype, 0);
  for (int i = 0; i < inner->rank; i++) v = value_within(s, &in_at[i], 0, inner->dim[i], v, zero);
  return v;
}

// From the last part to the first: where the index has reached what comes later, that; else this
// one.
static struct value *eval_concat(struct builder *s, const struct node *n, const struct affine *at) {
  int axis = (int)n->attr.i[0];
  struct affine in_at[MAX_RANK];
  memcpy(in_at, at, sizeof *at * (size_t)n->type.shape.rank);
  struct value *later = NULL;
  int64_t start = n->type.shape.dim[axis];
  for (int i = n->n_in - 1; i >= 0; i--) {
    struct affine later_at = in_at[axis];
    start -= n->in[i]->type.shape.dim[axis];
    in_at[axis] = at[axis];
    in_at[axis].constant -= start;
    struct value *part = eval(s, n->in[i], in_at);
    if (part == NULL) return NULL;
    later = later == NULL ? part : value_within(s, &later_at, 0, INT64_MAX, later, part);
  }
  return later;
}

static struct value *eval_move(struct builder *s, const struct node *n, const struct affine *at) {
  const struct node *x = n->in[0];
  int rank = x->type.shape.rank, last = n->type.shape.rank - 1;
  struct affine in_at[MAX_RANK] = {0};
  switch (n->op) {
  case OP_broadcast:
    for (int i = 0; i < rank; i++)
      in_at[i] = x->type.shape.dim[i] == 1 ? form_constant(0) : at[n->attr.i[i]];
    break;
  case OP_transpose:
    for (int i = 0; i < rank; i++) in_at[n->attr.i[i]] = at[i];
    break;
  case OP_slice:
    for (int i = 0; i < rank; i++) {
      in_at[i] = at[i];
      in_at[i].constant += n->attr.i[i];
    }
    break;
  case OP_diag:
    memcpy(in_at, at, sizeof *at * (size_t)(last + 1));
    in_at[last + 1] = at[last];
    break;
  case OP_relayout: memcpy(in_at, at, sizeof *at * (size_t)rank); break;
  case OP_reshape: return eval_reshape(s, n, at);
  case OP_pad: return eval_pad(s, n, at);
  case OP_concat: return eval_concat(s, n, at);
  default: die("%s has no index map", op_info(n->op)->name);
  }
  const struct node *outer = s->relayout;
  if (n->op == OP_relayout) s->relayout = n;
  struct value *v = eval(s, x, in_at);
  s->relayout = outer;
  return v;
}

static struct value *eval_expression(struct builder *s, const struct node *n,
                                     const struct affine *at) {
  if (n->op == OP_constant) return value_const(s, n->type.dtype, n->attr.f);
  if (n->op == OP_iota)
    return value_new(
        s, (struct value){.kind = V_INDEX, .type = n->type.dtype, .at = at[n->attr.i[0]]});
  switch (op_info(n->op)->class) {
  case ELEMENTWISE: return eval_elementwise(s, n, at);
  case MOVE: return eval_move(s, n, at);
  default: die("%%%d = %s has no buffer and cannot be inlined", n->id, op_info(n->op)->name);
  }
}

static struct value *eval(struct builder *s, const struct node *n, const struct affine *at) {
  struct value *v = recall(s, n, at);
  if (v != NULL) return v;
  const struct node *outer = s->node;
  s->node = n;
  if (n == s->k->product && at_point(s, n, at))
    v = product_value(s, n, at);
  else if (memory_of(s, n) != NULL && !computed_here(s, n, at))
    v = load(s, n, at);
  else
    v = eval_expression(s, n, at);
  s->node = outer;
  if (v != NULL) remember(s, n, at, v);
  return v;
}

// ---- the space --------------------------------------------------------------------------------

// Axes of a shape in memory order: blocked ones end in the lanes of axis 1.
static void space_begin(struct builder *s) {
  const struct shape *shape = &s->space;
  s->n_axes = 0;
  for (int i = 0; i < shape->rank; i++) {
    int64_t step = i == 1 && s->block > 0 ? s->block : 1;
    s->axis[s->n_axes++] = (struct space_axis){i, step, shape->dim[i] / step};
  }
  if (s->block > 0) s->axis[s->n_axes++] = (struct space_axis){1, 1, s->block};
}

static void space_split(struct builder *s) {
  expect(s->n_axes < BODY_AXES, "an iteration space of more than %d axes", BODY_AXES);
  int i = s->split_axis;
  struct space_axis whole = s->axis[i];
  memmove(&s->axis[i + 1], &s->axis[i], sizeof s->axis[0] * (size_t)(s->n_axes - i));
  s->n_axes++;
  s->axis[i] = (struct space_axis){whole.of, whole.step * s->split_at, whole.extent / s->split_at};
  s->axis[i + 1] = (struct space_axis){whole.of, whole.step, s->split_at};
}

static enum axis_role role_of(const struct builder *s, int axis) {
  int last = s->space.rank - 1, of = s->axis[axis].of;
  if (s->k->kind != KERNEL_PRODUCT || of < last - 1) return AXIS_OUTER;
  return of == last ? AXIS_COLUMN : AXIS_ROW;
}

static void space_apply(struct builder *s) {
  struct body *b = s->body = NEW(s->arena, struct body);
  memset(s->identity, 0, sizeof s->identity);
  b->n_axes = s->n_axes;
  for (int i = 0; i < s->n_axes; i++) {
    b->extent[i] = s->axis[i].extent;
    b->reduced[i] = (s->k->axes >> s->axis[i].of) & 1;
    b->role[i] = role_of(s, i);
    s->identity[s->axis[i].of].k[i] = s->axis[i].step;
  }
  s->known.len = 0;
  s->split_axis = -1;
}

// Coordinates of a reduction's result: those of the axes that are kept.
static void kept_coordinates(const struct builder *s, unsigned axes, struct affine *at) {
  int n = 0;
  for (int i = 0; i < s->space.rank; i++)
    if (!((axes >> i) & 1)) at[n++] = s->identity[i];
}

static bool add_root(struct builder *s, const struct kernel_root *r) {
  struct body_root root = {.reduce = r->reduce, .axes = r->axes, .buffer = r->buffer};
  struct affine at[MAX_RANK];
  bool stored = r->reduce == OP_COUNT;
  if (stored)
    memcpy(at, s->identity, sizeof at);
  else
    kept_coordinates(s, r->axes, at);
  root.value = eval(s, stored ? r->node : r->node->in[0], s->identity);
  if (root.value == NULL) return false;
  if (!form_element(s, r->buffer, at, &root.at)) {
    expect(s->split_axis >= 0, "result %%%d of a kernel has no affine address", r->node->id);
    return false;
  }
  root.value->uses++;
  vec_push(s->arena, &s->body->roots, root);
  return true;
}

static bool add_operand(struct builder *s) {
  struct body_root root = {.value = eval(s, s->operand, s->identity), .reduce = OP_COUNT};
  if (root.value == NULL) return false;
  root.value->uses++;
  vec_push(s->arena, &s->body->roots, root);
  return true;
}

// ---- merging axes -----------------------------------------------------------------------------

// Applies `visit` to every form of the body until it says false.
static bool each_form(struct body *b, bool (*visit)(struct body *, struct affine *, int),
                      int axis) {
  for (int i = 0; i < b->values.len; i++)
    if (!visit(b, &b->values.data[i]->at, axis)) return false;
  for (int i = 0; i < b->roots.len; i++)
    if (!visit(b, &b->roots.data[i].at, axis)) return false;
  return true;
}

static bool walks_as_one(struct body *b, struct affine *a, int axis) {
  return a->k[axis] == a->k[axis + 1] * b->extent[axis + 1];
}

static bool drop_coefficient(struct body *b, struct affine *a, int axis) {
  for (int i = axis; i + 1 < b->n_axes; i++) a->k[i] = a->k[i + 1];
  a->k[b->n_axes - 1] = 0;
  return true;
}

static void drop_axis(struct body *b, int axis) {
  each_form(b, drop_coefficient, axis);
  for (int i = axis; i + 1 < b->n_axes; i++) {
    b->extent[i] = b->extent[i + 1];
    b->reduced[i] = b->reduced[i + 1];
    b->role[i] = b->role[i + 1];
  }
  b->n_axes--;
}

static void merge_axes(struct body *b) {
  for (int i = b->n_axes - 1; i >= 0; i--)
    if (b->extent[i] == 1 && b->role[i] == AXIS_OUTER) drop_axis(b, i);
  for (int i = b->n_axes - 2; i >= 0; i--) {
    if (b->reduced[i] != b->reduced[i + 1] || b->role[i] != b->role[i + 1] ||
        !each_form(b, walks_as_one, i))
      continue;
    b->extent[i + 1] *= b->extent[i];
    drop_axis(b, i);
  }
  for (int i = 0; i < b->values.len; i++) {
    struct value *v = b->values.data[i];
    v->axes = form_axes(&v->at);
    for (int j = 0; j < v->n_in; j++) v->axes |= v->in[j]->axes;
  }
}

static bool add_all(struct builder *s) {
  if (s->operand != NULL) return add_operand(s);
  bool done = true;
  for (int i = 0; i < s->k->roots.len && done; i++)
    if (s->k->roots.data[i].finish == s->finish) done = add_root(s, &s->k->roots.data[i]);
  return done;
}

static const struct node *build(struct builder *s, struct body **made) {
  space_begin(s);
  for (;;) {
    space_apply(s);
    if (add_all(s)) break;
    if (s->split_axis < 0) {
      expect(s->offender != NULL, "a kernel of %s cannot be built", s->f->graph->name);
      return s->offender;
    }
    space_split(s);
  }
  merge_axes(s->body);
  *made = s->body;
  return NULL;
}

static bool has_finish(const struct kernel *k) {
  for (int i = 0; i < k->roots.len; i++)
    if (k->roots.data[i].finish) return true;
  return false;
}

const struct node *body_build(struct fusion *f, struct kernel *k) {
  for (int i = 0; i < 2 && k->kind == KERNEL_PRODUCT; i++) {
    const struct node *x = k->product->in[i];
    struct builder s = {.f = f, .k = k, .arena = f->arena, .operand = x, .space = x->type.shape};
    const struct node *offender = build(&s, &k->operand[i]);
    if (offender != NULL) return offender;
  }
  struct builder s = {
      .f = f, .k = k, .arena = f->arena, .space = k->space, .block = k->block};
  const struct node *offender = build(&s, &k->body);
  if (offender != NULL || !has_finish(k)) return offender;
  struct builder last = {
      .f = f, .k = k, .arena = f->arena, .space = k->space, .finish = true};
  return build(&last, &k->finish);
}

struct buffer *buffer_place(struct buffer *b) {
  while (b->over != NULL || b->part_of != NULL) b = b->over != NULL ? b->over : b->part_of;
  return b;
}

int64_t buffer_count(const struct buffer *b) {
  return (int64_t)b->bytes / dtype_size(b->node->type.dtype);
}
