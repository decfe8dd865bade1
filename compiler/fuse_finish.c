// fuse_finish.c: results of a product that wait for sums of its columns.
//
//   c = k a;  s[j] = sum over i of c[i,j] a[i,j];  d = c - a * s / n
//
// A task of the schedule that owns whole columns knows s[j] while its part of c is still in the cache:
// it meets each element once more and computes d. So a kernel of elementwise results is merged into a
// product's, at its second meeting, if all that it wants of the product comes from the point itself or
// through sums of its column. Small arithmetic on such sums (s / n above) is evaluated there too; if
// nobody else wants it, its own kernel is dropped in the end.
#include "fuse_internal.h"

enum {
  MOST_ROWS = 2048,     // of a result that may stay in the cache by whole columns
  FEWEST_COLUMNS = 256, // otherwise too few tasks
};

enum where { AT_POINT, IN_COLUMN, ELSEWHERE, PLACES };

// Is a shape the product's without its rows, give or take axes of one element?
static bool is_column_shape(const struct shape *space, const struct shape *shape) {
  int at = 0;
  for (int i = 0; i < space->rank; i++) {
    if (i == space->rank - 2 || space->dim[i] == 1) continue;
    while (at < shape->rank && shape->dim[at] == 1) at++;
    if (at == shape->rank || shape->dim[at++] != space->dim[i]) return false;
  }
  while (at < shape->rank && shape->dim[at] == 1) at++;
  return at == shape->rank;
}

static bool repeats_columns(const struct shape *space, const struct node *n) {
  int rows = space->rank - 2;
  if (n->op != OP_broadcast || !shape_eq(space, &n->type.shape) ||
      !is_column_shape(space, &n->in[0]->type.shape))
    return false;
  for (int i = 0; i < n->attr.n; i++)
    if (n->attr.i[i] == rows && n->in[0]->type.shape.dim[i] > 1) return false;
  return true;
}

// Where n's operands are wanted if n is wanted at `where`.
static enum where operands_of(const struct shape *space, const struct node *n, enum where where) {
  if (class_of(n) == ELEMENTWISE) return where;
  if (where == AT_POINT && repeats_columns(space, n)) return IN_COLUMN;
  if (where == IN_COLUMN && n->op == OP_reshape && is_column_shape(space, &n->in[0]->type.shape))
    return IN_COLUMN;
  return ELSEWHERE;
}

static bool fits_cache(const struct shape *space) {
  return space->dim[space->rank - 2] <= MOST_ROWS && space->dim[space->rank - 1] >= FEWEST_COLUMNS;
}

// ---- before there are kernels: is n best stored at a second meeting? ---------------------------

struct outlook {
  const struct fuser *u;
  const struct node *product;
  uint64_t *seen; // places of nodes
};

static bool may_finish(const struct outlook *o, const struct node *n, enum where where) {
  const struct shape *space = &o->product->type.shape;
  int place = n->id * PLACES + (int)where;
  if (set_has(o->seen, place)) return true;
  set_add(o->seen, place);
  if (n == o->product) return where == AT_POINT;
  if (!set_has(o->u->above[n->id], o->product->id)) return true;
  if (fuse_sums_matrix(n) && where == IN_COLUMN)
    return node_axes(n) == 1u << (space->rank - 2) && shape_eq(&n->in[0]->type.shape, space) &&
           fuse_epilogue_of(o->u, n->in[0]) == o->product;
  if (class_of(n) != ELEMENTWISE && class_of(n) != MOVE) return false;
  for (int i = 0; i < n->n_in; i++)
    if (!may_finish(o, n->in[i], operands_of(space, n, where))) return false;
  return true;
}

bool fuse_may_finish(const struct fuser *u, const struct node *n, const struct node *product) {
  struct outlook o = {u, product, set_new(u->arena, u->n * PLACES)};
  return fits_cache(&product->type.shape) && may_finish(&o, n, AT_POINT);
}

// ---- kernels ----------------------------------------------------------------------------------

struct search {
  struct merger *m;
  const struct kernel *product;
  uint64_t *seen; // places of nodes
  VEC(const struct node *) recomputed;
};

static bool is_ready(const struct search *s, const struct node *n, enum where where) {
  const struct kernel *k = s->product;
  for (int i = 0; i < k->roots.len; i++) {
    const struct kernel_root *r = &k->roots.data[i];
    if (r->node != n) continue;
    bool over_rows = r->axes == 1u << (k->space.rank - 2);
    return r->reduce == OP_COUNT ? where == AT_POINT : where == IN_COLUMN && over_rows;
  }
  return false;
}

// A value of another kernel that waits for the product: small, made of nothing but elementwise steps.
static bool may_recompute(const struct search *s, const struct node *n, enum where where) {
  return where == IN_COLUMN && class_of(n) == ELEMENTWISE && n->type.shape.rank > 0 &&
         is_column_shape(&s->product->space, &n->type.shape);
}

static bool can_finish(struct search *s, const struct node *n, enum where where, bool top) {
  int place = n->id * PLACES + (int)where;
  if (set_has(s->seen, place)) return true;
  set_add(s->seen, place);
  struct buffer *b = top ? NULL : s->m->u->f->buffer[n->id];
  if (b != NULL) {
    int writer = s->m->writer[b->id], product = s->product->id;
    if (writer == product) return is_ready(s, n, where);
    if (writer < 0 || !set_has(s->m->before[writer], product)) return true;
    if (!may_recompute(s, n, where)) return false;
    vec_push(s->m->u->arena, &s->recomputed, n);
  }
  for (int i = 0; i < n->n_in; i++)
    if (!can_finish(s, n->in[i], operands_of(&s->product->space, n, where), false)) return false;
  return true;
}

static bool is_candidate(const struct merger *m, const struct kernel *product,
                         const struct kernel *k) {
  const struct shape *s = &product->space;
  if (product->kind != KERNEL_PRODUCT || !fuse_is_open(product->product) ||
      k->kind != KERNEL_LOOP || k->block != 0 || !shape_eq(s, &k->space) ||
      !set_has(m->before[k->id], product->id) || !fits_cache(s))
    return false;
  for (int i = 0; i < k->roots.len; i++)
    if (k->roots.data[i].reduce != OP_COUNT) return false;
  return product->roots.len + k->roots.len <= MAX_ROOTS &&
         product->reads.len + k->reads.len <= MAX_READS;
}

static bool finishes(struct search *s, const struct kernel *k) {
  for (int i = 0; i < k->roots.len; i++) {
    const struct kernel_root *r = &k->roots.data[i];
    bool own = r->buffer == s->m->u->f->buffer[r->node->id];
    if (!can_finish(s, r->node, AT_POINT, own)) return false;
  }
  return true;
}

static void merge_finish(struct search *s, struct kernel *product, struct kernel *k) {
  struct arena *a = s->m->u->arena;
  for (int i = 0; i < k->roots.len; i++) k->roots.data[i].finish = true;
  for (int i = 0; i < s->recomputed.len; i++)
    vec_push(a, &product->recomputed, s->recomputed.data[i]);
  fuse_merge(s->m, product, k);
}

void fuse_finish_products(struct merger *m) {
  for (int i = 0; i < m->n; i++) // operands first
    for (int j = m->n - 1; j >= 0 && m->kernel[i] != NULL; j--) {
      if (m->kernel[j] == NULL || !is_candidate(m, m->kernel[j], m->kernel[i])) continue;
      struct search s = {.m = m, .product = m->kernel[j]};
      s.seen = set_new(m->u->arena, m->u->n * PLACES);
      if (finishes(&s, m->kernel[i])) merge_finish(&s, m->kernel[j], m->kernel[i]);
    }
}
