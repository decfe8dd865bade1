// fuse_product.c: what is computed together with a matrix product.
//
// Prologue. What a product reads need not be stored: it is one more reader to `worth_storing` (fuse_store.c).
//
// Epilogue. A loop kernel that reads a product point by point and computes values of its shape, or
// sums of such, is merged into the product's kernel. Whatever the rest of the graph wants of those
// values is best stored there, and then the product itself need not be. So a value is stored where it
// *leaves* the epilogue: where somebody reads it otherwise than at the point. Where products meet, the
// epilogue is the last one's; what meets it is stored by the earlier one if it is one value, so a sum
// of many products is one buffer to which each adds.
//
// Such stores are made in advance; those that only their own kernel turns out to read are dropped.
#include <string.h>

#include "fuse_internal.h"
#include "regions.h"

bool fuse_is_product(const struct node *n) {
  return n->op == OP_matmul && n->type.dtype == BT_F32 && !(n->how != NULL && n->how->blas);
}

bool fuse_is_open(const struct node *n) {
  return fuse_is_product(n) && !(n->how != NULL && n->how->plain);
}

// ---- what leaves an epilogue ------------------------------------------------------------------

// Sums of a product's epilogue: over rows, columns or both, of each matrix by itself.
bool fuse_sums_matrix(const struct node *n) {
  if (n->op != OP_sum || n->type.dtype != BT_F32 || n->in[0]->type.dtype != BT_F32) return false;
  const struct shape *s = &n->in[0]->type.shape;
  unsigned axes = node_axes(n), matrix = s->rank < 2 ? 0 : 3u << (s->rank - 2);
  for (int i = 0; i < s->rank - 2; i++)
    if (((axes >> i) & 1) && s->dim[i] > 1) return false;
  return (axes & matrix) != 0;
}

static bool is_point(const struct node *user, const struct node *n) {
  return class_of(user) == ELEMENTWISE && shape_eq(&user->type.shape, &n->type.shape);
}

static bool leaves(const struct fuser *u, const struct node *n) {
  for (int i = 0; i < u->users[n->id].len; i++) {
    const struct node *user = u->users[n->id].data[i];
    if (u->live[user->id] && !is_point(user, n) && !fuse_sums_matrix(user)) return true;
  }
  return false;
}

// What a value is computed from, point by point: products, and what comes from elsewhere.
struct cone {
  const struct fuser *u;
  const struct shape *shape;
  uint64_t *seen;
  VEC(const struct node *) products, elsewhere;
};

static void find_cone(struct cone *c, const struct node *n) {
  if (set_has(c->seen, n->id)) return;
  set_add(c->seen, n->id);
  bool inside = class_of(n) == ELEMENTWISE && shape_eq(&n->type.shape, c->shape);
  if (fuse_is_open(n) && shape_eq(&n->type.shape, c->shape))
    vec_push(c->u->arena, &c->products, n);
  else if (inside && !c->u->stored[n->id])
    for (int i = 0; i < n->n_in; i++) find_cone(c, n->in[i]);
  else
    vec_push(c->u->arena, &c->elsewhere, n);
}

static struct cone cone_of(const struct fuser *u, const struct node *n) {
  struct cone c = {.u = u, .shape = &n->type.shape, .seen = set_new(u->arena, u->n)};
  find_cone(&c, n);
  return c;
}

static const struct node *last_product(const struct cone *c) {
  const struct node *last = NULL;
  for (int i = 0; i < c->products.len; i++)
    if (last == NULL || c->products.data[i]->id > last->id) last = c->products.data[i];
  return last;
}

// Nothing that is computed elsewhere waits for the product.
static bool fits_epilogue(const struct fuser *u, const struct cone *c, const struct node *product) {
  for (int i = 0; i < c->elsewhere.len; i++)
    if (class_of(c->elsewhere.data[i]) != ELEMENTWISE &&
        set_has(u->above[c->elsewhere.data[i]->id], product->id))
      return false;
  return true;
}

const struct node *fuse_epilogue_of(const struct fuser *u, const struct node *n) {
  struct cone c = cone_of(u, n);
  const struct node *product = last_product(&c);
  return product != NULL && fits_epilogue(u, &c, product) ? product : NULL;
}

// Does n, computed in the epilogue of `product`, meet a later product there?
static bool meets_later(const struct fuser *u, const struct node *n, const struct node *product) {
  for (int i = 0; i < u->users[n->id].len; i++) {
    const struct node *user = u->users[n->id].data[i];
    struct cone c = {.u = u, .shape = &n->type.shape, .seen = set_new(u->arena, u->n)};
    if (!u->live[user->id] || !is_point(user, n)) continue;
    for (int j = 0; j < user->n_in; j++)
      if (user->in[j] != n) find_cone(&c, user->in[j]);
    const struct node *other = last_product(&c);
    if (other != NULL && other->id > product->id) return true;
  }
  return false;
}

// The product at whose second meeting n can be computed; NULL: none.
static const struct node *finish_of(const struct fuser *u, const struct node *n) {
  struct cone c = cone_of(u, n);
  const struct node *product = last_product(&c);
  return product != NULL && fuse_may_finish(u, n, product) ? product : NULL;
}

void fuse_store_results(struct fuser *u) {
  const struct node **home = NEW_ARRAY(u->arena, const struct node *, u->n);
  int *meetings = NEW_ARRAY(u->arena, int, u->n); // by product
  bool *meets = NEW_ARRAY(u->arena, bool, u->n);
  for (int i = 0; i < u->n; i++) {
    const struct node *n = u->g->nodes.data[i];
    if (!u->live[i] || u->stored[i] || class_of(n) != ELEMENTWISE) continue;
    home[i] = fuse_epilogue_of(u, n); // which changes as nodes before it are stored
    const struct node *product = home[i] != NULL ? home[i] : finish_of(u, n);
    if (product == NULL || leaves(u, product)) continue;
    if (leaves(u, n)) u->stored[i] = true;
    meets[i] = home[i] != NULL && !u->stored[i] && meets_later(u, n, home[i]);
    meetings[product->id] += meets[i];
  }
  for (int i = 0; i < u->n; i++)
    if (meets[i] && meetings[home[i]->id] == 1) u->stored[i] = true;
}

// ---- merging ----------------------------------------------------------------------------------

static const char *not_absorbed(const struct merger *m, const struct kernel *product,
                                const struct kernel *k) {
  if (!fuse_is_open(product->product)) return "the schedule keeps products by themselves";
  if (k->kind != KERNEL_LOOP) return "a product waits for the whole result";
  if (k->block != 0 || !shape_eq(&product->space, &k->space)) return "they run over different spaces";
  for (int i = 0; i < k->roots.len; i++)
    if (k->roots.data[i].reduce != OP_COUNT && !fuse_sums_matrix(k->roots.data[i].node))
      return "an epilogue only adds up rows, columns or all of a matrix";
  const char *why = fuse_too_many(product, k);
  return why != NULL ? why : fuse_cannot_follow(m, product, k);
}

static bool reads_result(const struct kernel *k, const struct kernel *of) {
  for (int i = 0; i < of->roots.len; i++)
    if (kernel_reads(k, of->roots.data[i].buffer)) return true;
  return false;
}

static bool may_absorb(const struct merger *m, const struct kernel *product,
                       const struct kernel *k) {
  return product->kind == KERNEL_PRODUCT && reads_result(k, product) &&
         not_absorbed(m, product, k) == NULL;
}

const char *fuse_not_absorbed(const struct merger *m, const struct kernel *product,
                              const struct kernel *k) {
  const char *why = not_absorbed(m, product, k);
  return why != NULL ? why : "it reads results of several products, and is computed with another";
}

// The last product whose epilogue k can be part of: earlier ones are then read from memory.
static struct kernel *absorber(const struct merger *m, const struct kernel *k) {
  for (int i = m->n - 1; i >= 0; i--)
    if (m->kernel[i] != NULL && may_absorb(m, m->kernel[i], k)) return m->kernel[i];
  return NULL;
}

const char *fuse_not_packed(const struct kernel *product) {
  if (!fuse_is_open(product->product)) return "the schedule keeps products by themselves";
  return "stored once it costs less than computed whenever the product is packed";
}

void fuse_merge_products(struct merger *m) {
  for (int i = 0; i < m->n; i++) { // operands first
    if (m->kernel[i] == NULL || m->kernel[i]->kind != KERNEL_LOOP) continue;
    struct kernel *product = absorber(m, m->kernel[i]);
    if (product != NULL) fuse_merge(m, product, m->kernel[i]);
  }
}

// ---- results that nobody wants ----------------------------------------------------------------

static bool is_read(const struct fusion *f, const struct buffer *b, const struct kernel *but) {
  for (int i = 0; i < f->kernels.len; i++)
    if (f->kernels.data[i] != but && kernel_reads(f->kernels.data[i], b)) return true;
  for (int i = 0; i < but->kept.len; i++)
    if (but->kept.data[i] == b) return true;
  return false;
}

static bool is_private(const struct fusion *f, const struct kernel *k,
                       const struct kernel_root *r) {
  bool point = class_of(r->node) == ELEMENTWISE || r->node == k->product;
  return point && r->reduce == OP_COUNT && r->buffer->space == SPACE_ARENA &&
         r->buffer == f->buffer[r->node->id] && !fusion_is_update(f, r->buffer) &&
         !is_read(f, r->buffer, k);
}

static void drop_private_of(struct fuser *u, struct kernel *k) {
  int left = 0;
  for (int i = 0; i < k->roots.len; i++) {
    struct kernel_root r = k->roots.data[i];
    if (is_private(u->f, k, &r))
      u->f->buffer[r.node->id] = NULL;
    else
      k->roots.data[left++] = r;
  }
  k->roots.len = left;
  fuse_find_reads(u, k);
}

void fuse_drop_private(struct fuser *u) {
  struct fusion *f = u->f;
  for (int i = f->kernels.len - 1; i >= 0; i--) drop_private_of(u, f->kernels.data[i]); // readers first
  int left = 0;
  for (int i = 0; i < f->kernels.len; i++) {
    struct kernel *k = f->kernels.data[i];
    if (k->roots.len == 0) continue; // recomputed by all who read it
    k->id = left;
    f->kernels.data[left++] = k;
  }
  f->kernels.len = left;
}
