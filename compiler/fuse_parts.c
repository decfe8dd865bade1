// fuse_parts.c: values that are computed in parts.
//
// Where every operand of a concat is computed by kernels that store it point by point, those kernels
// write straight into the whole, each at its place along the axis, and joining them is no work. What a
// graph does a panel of columns at a time thus needs no copy in the end.
#include "fuse_internal.h"

static bool is_part(const struct fuser *u, const struct node *n) {
  int joined = 0;
  for (int i = 0; i < u->users[n->id].len; i++) {
    const struct node *user = u->users[n->id].data[i];
    if (u->live[user->id] && user->op == OP_concat) joined++; // once for each of its operands
  }
  return joined == 1 && n->block == 0 && (class_of(n) == ELEMENTWISE || fuse_is_product(n));
}

static bool joins_parts(const struct fuser *u, const struct node *n) {
  bool parts = n->op == OP_concat && n->block == 0 && n->n_in > 1;
  for (int i = 0; i < n->n_in && parts; i++) parts = is_part(u, n->in[i]);
  return parts;
}

void fuse_store_parts(struct fuser *u) {
  for (int i = 0; i < u->n; i++) {
    const struct node *n = u->g->nodes.data[i];
    if (!u->live[i] || !joins_parts(u, n)) continue;
    u->stored[i] = true;
    for (int j = 0; j < n->n_in; j++) u->stored[n->in[j]->id] = true;
  }
}

// Do all who touch a buffer address it by coordinates, and is it nobody else's?
static bool may_lie_inside(const struct fusion *f, const struct buffer *b) {
  if (b->space != SPACE_ARENA || fusion_is_update(f, b)) return false;
  for (int i = 0; i < f->kernels.len; i++)
    if (f->kernels.data[i]->kind == KERNEL_CALL && kernel_reads(f->kernels.data[i], b))
      return false;
  return true;
}

static bool can_join(const struct fuser *u, const struct kernel *k) {
  const struct node *n = k->roots.data[0].node;
  const struct buffer *whole = k->roots.data[0].buffer;
  bool good = k->kind == KERNEL_LOOP && k->roots.len == 1 && joins_parts(u, n) &&
              whole == u->f->buffer[n->id] && !fusion_is_update(u->f, whole);
  for (int i = 0; i < n->n_in && good; i++) good = may_lie_inside(u->f, u->f->buffer[n->in[i]->id]);
  return good;
}

static void join(struct fuser *u, struct kernel *k) {
  const struct node *n = k->roots.data[0].node;
  int axis = (int)n->attr.i[0];
  int64_t start = 0;
  for (int i = 0; i < n->n_in; i++) {
    struct buffer *part = u->f->buffer[n->in[i]->id];
    part->part_of = k->roots.data[0].buffer;
    part->axis = axis;
    part->start = start;
    start += n->in[i]->type.shape.dim[axis];
  }
  k->kind = KERNEL_JOIN;
}

void fuse_join_parts(struct fuser *u) {
  for (int i = 0; i < u->f->kernels.len; i++)
    if (can_join(u, u->f->kernels.data[i])) join(u, u->f->kernels.data[i]);
}
