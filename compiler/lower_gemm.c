// lower_gemm.c: products with what is fused into them, as callbacks of the schedule (sched_gemm.h).
//
// A product kernel has three bodies: its operands over (…, row, k) and (…, k, column), evaluated while
// they are packed, and its results over (…, row, column), evaluated when a vector of the product is at
// hand (and some of them once more, when the sums of its columns are known). Each has a nest of its own. Rows and leading axes may have been split into several axes
// of the body (reshapes): the schedule's one index is taken apart again.
#include "nest.h"
#include "regions.h"
#include "sched_gemm.h"

// A body whose axes of one role are bound to one index each.
struct side {
  struct nest nest;
  int axis[AXIS_COLUMN + 1][BODY_AXES], n[AXIS_COLUMN + 1]; // by role
  enum axis_role cross;                                     // of an operand: rows of A, columns of B
  unsigned outside;                                         // bound before operand_enter
};

static void side_begin(struct side *s, const struct params *p, const struct body *body,
                       struct lb *b, int vector) {
  nest_begin(&s->nest, p, body, b, vector);
  for (int i = 0; i < body->n_axes; i++) {
    enum axis_role role = body->role[i];
    s->axis[role][s->n[role]++] = i;
  }
}

static bool holds_vector(const struct side *s, enum axis_role role) {
  return s->n[role] == 1 && s->axis[role][0] == s->nest.vector;
}

static bool is_bound(const struct side *s, enum axis_role role) {
  return s->n[role] == 0 || ((s->nest.bound >> s->axis[role][0]) & 1);
}

// Binds all axes of a role; `left` is for the vector axis, where a tighter bound may replace another.
static void side_bind(struct side *s, enum axis_role role, lx index, lx left) {
  if (holds_vector(s, role))
    nest_bind_vector(&s->nest, 1, &index, &left);
  else if (!is_bound(s, role))
    nest_bind_flat(&s->nest, s->axis[role], s->n[role], index);
}

// ---- operands ---------------------------------------------------------------------------------

static enum axis_role role_of_k(const struct side *s) {
  return s->cross == AXIS_ROW ? AXIS_COLUMN : AXIS_ROW;
}

static void operand_enter(void *user, lx batch, lx cross, lx left) {
  struct side *s = user;
  s->outside = s->nest.bound;
  side_bind(s, AXIS_OUTER, batch, NULL);
  side_bind(s, s->cross, cross, left);
  nest_enter(&s->nest);
}

static void operand_leave(void *user) {
  struct side *s = user;
  nest_leave(&s->nest);
  s->nest.bound = s->outside;
}

static lx operand_vector(void *user, lx batch, lx cross, lx p, lx left) {
  struct side *s = user;
  unsigned outside = s->nest.bound;
  side_bind(s, AXIS_OUTER, batch, NULL);
  side_bind(s, s->cross, cross, left);
  side_bind(s, role_of_k(s), p, left);
  nest_enter(&s->nest);
  lx v = lx_broadcast(nest_value(&s->nest, s->nest.body->roots.data[0].value, 0));
  nest_leave(&s->nest);
  s->nest.bound = outside;
  return v;
}

static int axis_of(const struct body *body, enum axis_role role) {
  int axis = -1;
  for (int i = 0; i < body->n_axes; i++)
    if (body->role[i] == role) axis = axis < 0 ? i : BODY_AXES;
  return axis; // BODY_AXES: several
}

// Vectors run along the axis in which most of the large loads are contiguous.
static int vector_axis(const struct body *body) {
  int row = axis_of(body, AXIS_ROW), column = axis_of(body, AXIS_COLUMN), balance = 0;
  if (row >= BODY_AXES) return column;
  for (int i = 0; i < body->values.len; i++) {
    const struct value *v = body->values.data[i];
    if (v->kind != V_LOAD || v->at.k[row] == 0 || v->at.k[column] == 0) continue;
    balance += (v->at.k[row] == 1) - (v->at.k[column] == 1);
  }
  return balance > 0 ? row : column;
}

static struct gemm_operand operand_of(struct side *s, const struct kernel *k, int which,
                                      const struct params *p, struct lb *b) {
  const struct body *body = k->operand[which];
  bool transposed = k->product->attr.i[which == 0 ? MATMUL_TA : MATMUL_TB];
  int vector = vector_axis(body);
  side_begin(s, p, body, b, vector);
  s->cross = (which == 0) == transposed ? AXIS_COLUMN : AXIS_ROW;
  return (struct gemm_operand){.along_k = body->role[vector] != s->cross,
                               .vector = operand_vector,
                               .enter = operand_enter,
                               .leave = operand_leave,
                               .user = s};
}

// ---- the epilogue -----------------------------------------------------------------------------

// An operand that both meetings load: at the second it comes from a copy of the strip, since rows of a
// matrix are far apart, and where they are so by a power of two, few of them stay in the cache.
struct strip_copy {
  const struct value *load; // of the first meeting
  struct loop_buf *buf;     // two vectors of all rows
};

struct epilogue {
  struct side side, finish;
  VEC(struct strip_copy) copies;
  VEC(const struct body_root *) folds;
  VEC(enum gemm_fold) kinds; // by fold
};

// Where row i of the vector at column j is in a copy.
static lx copy_place(const struct nest *n, lx i, lx j) {
  lx vector = lx_modi(lx_divi(j, n->lanes), 2);
  int64_t rows = n->body->extent[n->body->n_axes - 2];
  return lx_muli(lx_add(lx_muli(vector, rows), i), n->lanes);
}

static void keep_copies(struct epilogue *e, lx i, lx j) {
  struct nest *n = &e->side.nest;
  if (e->copies.len == 0) return;
  lx at = lb_let(n->b, "at", copy_place(n, i, j));
  for (int c = 0; c < e->copies.len; c++)
    lb_store(n->b, e->copies.data[c].buf, at, nest_named(n, e->copies.data[c].load, 0));
}

static void epilogue_point(void *user, lx batch, lx i, lx j, lx left, lx c, lx *value) {
  struct epilogue *e = user;
  struct nest *n = &e->side.nest;
  unsigned outside = n->bound;
  side_bind(&e->side, AXIS_OUTER, batch, NULL);
  side_bind(&e->side, AXIS_ROW, i, NULL);
  side_bind(&e->side, AXIS_COLUMN, j, left);
  n->product = c;
  nest_enter(n);
  for (int f = 0; f < e->folds.len; f++) // named: a store below may overwrite what they read
    value[f] = lb_let(n->b, "v", lx_broadcast(nest_value(n, e->folds.data[f]->value, 0)));
  keep_copies(e, i, j);
  nest_store_all(n, 0, false);
  nest_leave(n);
  n->bound = outside;
}

static unsigned axes_of(const struct side *s, enum axis_role role) {
  unsigned axes = 0;
  for (int i = 0; i < s->n[role]; i++) axes |= 1u << s->axis[role][i];
  return axes;
}

static void epilogue_fetch(void *user, lx batch, lx i, lx j) {
  struct side *s = &((struct epilogue *)user)->side;
  unsigned outside = s->nest.bound;
  side_bind(s, AXIS_OUTER, batch, NULL);
  side_bind(s, AXIS_ROW, i, NULL);
  side_bind(s, AXIS_COLUMN, j, NULL);
  nest_prefetch(&s->nest, axes_of(s, AXIS_ROW));
  s->nest.bound = outside;
}

static void epilogue_fold_done(void *user, int fold, lx batch, lx index, lx left, lx total) {
  struct epilogue *e = user;
  struct nest *n = &e->side.nest;
  const struct body_root *r = e->folds.data[fold];
  unsigned outside = n->bound;
  side_bind(&e->side, AXIS_OUTER, batch, NULL);
  if (e->kinds.data[fold] == GEMM_FOLD_COLUMNS) side_bind(&e->side, AXIS_ROW, index, NULL);
  if (e->kinds.data[fold] == GEMM_FOLD_ROWS) side_bind(&e->side, AXIS_COLUMN, index, left);
  struct loop_buf *to = nest_param(n, r->buffer);
  lx at = nest_address(n, r->buffer, &r->at, 0);
  total = lx_convert(total, to->type);
  int64_t stride = r->at.k[n->vector];
  if (stride == 0)
    lb_store(n->b, to, at, total);
  else
    lb_store_strided(n->b, to, at, stride, left, total);
  n->bound = outside;
}

static void finish_enter(void *user, lx batch, lx j, lx left) {
  struct side *s = &((struct epilogue *)user)->finish;
  side_bind(s, AXIS_OUTER, batch, NULL);
  side_bind(s, AXIS_COLUMN, j, left);
  nest_enter(&s->nest);
}

static void finish_leave(void *user) {
  struct side *s = &((struct epilogue *)user)->finish;
  nest_leave(&s->nest);
  s->nest.bound = 0;
}

static void finish_fetch(void *user, lx i) {
  struct side *s = &((struct epilogue *)user)->finish;
  unsigned outside = s->nest.bound;
  side_bind(s, AXIS_ROW, i, NULL);
  nest_prefetch(&s->nest, axes_of(s, AXIS_ROW));
  s->nest.bound = outside;
}

static void finish_point(void *user, lx batch, lx i, lx j, lx left, lx c) {
  struct side *s = &((struct epilogue *)user)->finish;
  unsigned outside = s->nest.bound;
  (void)batch, (void)left; // bound by finish_enter
  side_bind(s, AXIS_ROW, i, NULL);
  s->nest.product = c;
  if (s->nest.copied) s->nest.copy_at = lb_let(s->nest.b, "at", copy_place(&s->nest, i, j));
  nest_enter(&s->nest);
  nest_store_all(&s->nest, 0, false);
  nest_leave(&s->nest);
  s->nest.bound = outside;
}

static const struct value *same_load(const struct body *body, const struct value *v) {
  for (int i = 0; i < body->values.len; i++) {
    const struct value *x = body->values.data[i];
    if (x->kind == V_LOAD && x->buffer == v->buffer && affine_eq(&x->at, &v->at)) return x;
  }
  return NULL;
}

// Both bodies are over (…, row, column), each one axis.
static bool same_space(const struct body *x, const struct body *y) {
  if (x->n_axes != y->n_axes || axis_of(x, AXIS_ROW) != x->n_axes - 2 || axis_of(y, AXIS_ROW) != y->n_axes - 2) return false;
  for (int i = 0; i < x->n_axes; i++)
    if (x->extent[i] != y->extent[i]) return false;
  return true;
}

static void find_copies(struct epilogue *e, struct lb *b) {
  struct nest *first = &e->side.nest, *second = &e->finish.nest;
  if (!same_space(first->body, second->body)) return;
  int row = first->body->n_axes - 2, column = row + 1;
  for (int i = 0; i < second->body->values.len; i++) {
    const struct value *v = second->body->values.data[i];
    if (v->kind != V_LOAD || v->type != BT_F32 || v->at.k[row] == 0 || v->at.k[column] != 1) continue;
    const struct value *load = same_load(first->body, v);
    if (load == NULL) continue;
    if (second->copied == NULL) second->copied = NEW_ARRAY(lb_arena(b), struct loop_buf *, second->body->values.len);
    second->copied[i] = lb_scratch(b, "copy", LT_F32, 2 * first->body->extent[row] * first->lanes);
    vec_push(lb_arena(b), &e->copies, ((struct strip_copy){load, second->copied[i]}));
  }
}

static enum gemm_fold fold_kind(const struct kernel *k, unsigned axes) {
  bool rows = (axes >> (k->space.rank - 2)) & 1, columns = (axes >> (k->space.rank - 1)) & 1;
  return rows && columns ? GEMM_FOLD_ALL : rows ? GEMM_FOLD_ROWS : GEMM_FOLD_COLUMNS;
}

static struct gemm_epilogue epilogue_of(struct epilogue *e, const struct kernel *k,
                                        const struct params *p, struct lb *b) {
  side_begin(&e->side, p, k->body, b, axis_of(k->body, AXIS_COLUMN));
  for (int i = 0; i < k->body->roots.len; i++) {
    const struct body_root *r = &k->body->roots.data[i];
    if (r->reduce == OP_COUNT) continue;
    vec_push(lb_arena(b), &e->folds, r);
    vec_push(lb_arena(b), &e->kinds, fold_kind(k, r->axes));
  }
  struct gemm_epilogue made = {.user = e,
                               .n_folds = e->kinds.len,
                               .folds = e->kinds.data,
                               .point = epilogue_point,
                               .fetch = epilogue_fetch,
                               .fold_done = epilogue_fold_done};
  if (k->finish == NULL) return made;
  side_begin(&e->finish, p, k->finish, b, axis_of(k->finish, AXIS_COLUMN));
  find_copies(e, b);
  made.finish = finish_point;
  made.finish_fetch = finish_fetch;
  made.finish_enter = finish_enter;
  made.finish_leave = finish_leave;
  return made;
}

// ---- the kernel -------------------------------------------------------------------------------

// A product of a matrix with its own transpose, whose epilogue the symmetric schedule can do: it meets
// elements in another order, which only whole sums and stores allow.
bool product_symmetric(const struct kernel *k) {
  const struct node *n = k->product;
  if (k->finish != NULL || n->in[0] != n->in[1] || n->attr.i[MATMUL_TA] == n->attr.i[MATMUL_TB]) return false;
  for (int i = 0; i < k->body->roots.len; i++) {
    const struct body_root *r = &k->body->roots.data[i];
    if (r->reduce != OP_COUNT && fold_kind(k, r->axes) != GEMM_FOLD_ALL) return false;
  }
  return true;
}

static struct gemm_shape shape_of_product(const struct kernel *k) {
  const struct node *n = k->product;
  const struct shape *s = &n->type.shape, *x = &n->in[0]->type.shape;
  struct gemm_shape g = {.batch = 1, .symmetric = product_symmetric(k)};
  for (int i = 0; i < s->rank - 2; i++) g.batch *= s->dim[i];
  g.m = s->dim[s->rank - 2];
  g.n = s->dim[s->rank - 1];
  g.k = x->dim[x->rank - (n->attr.i[MATMUL_TA] ? 2 : 1)];
  if (n->how != NULL) {
    g.mc = n->how->mc;
    g.kc = n->how->kc;
    g.nc = n->how->nc;
  }
  return g;
}

void lower_product(struct fusion *f, struct kernel *k, const struct target *t) {
  struct lb *b = lower_begin(f, k, t, equation_name(f, k));
  struct params *p = params_new(f, k, b);
  lb_equation(b, equation_text(f, k, p));
  struct gemm_shape s = shape_of_product(k);
  struct side left = {0}, right = {0};
  struct epilogue e = {0};
  struct gemm_operand a_operand = operand_of(&left, k, 0, p, b);
  struct gemm_operand b_operand = operand_of(&right, k, 1, p, b);
  struct gemm_epilogue epilogue = epilogue_of(&e, k, p, b);
  sched_gemm(b, &s, &a_operand, &b_operand, &epilogue);
  lower_end(k, b);
}
