// fuse.c: which nodes get a buffer, and which are computed together.
//
// 1. Stored. Some nodes lie in memory; any other is inlined into its readers (fuse_store.c).
// 2. Kernels. Each stored node starts as a kernel of its own. Kernels over one space that share a
//    large input, or of which one reads the other's result point by point, become one sweep
//    with several results, as long as no path leads out of the pair and back.
// 3. Bodies. Each loop kernel's DAG is built; a node whose index map is not affine there is stored
//    after all, and the grouping is done again.
//
// What concerns products is in fuse_product.c and fuse_finish.c. The order of the kernels here respects data flow;
// plan.c improves on it.
#include <stdlib.h>
#include <string.h>

#include "fuse_internal.h"

#define MAX_STREAMS 10 // large operands of one sweep

// ---- facts about nodes ------------------------------------------------------------------------

static void mark_live(struct fuser *u, const struct node *n) {
  if (u->live[n->id]) return;
  u->live[n->id] = true;
  for (int i = 0; i < n->n_in; i++) mark_live(u, n->in[i]);
}

static void collect_users(struct fuser *u) {
  u->users = arena_alloc(u->arena, sizeof *u->users * (size_t)u->n);
  u->above = NEW_ARRAY(u->arena, uint64_t *, u->n);
  u->words = (u->n + 63) / 64;
  for (int i = 0; i < u->n; i++) {
    if (!u->live[i]) continue;
    struct node *n = u->g->nodes.data[i];
    u->above[i] = set_new(u->arena, u->n);
    for (int j = 0; j < n->n_in; j++) {
      vec_push(u->arena, &u->users[n->in[j]->id], n);
      set_add(u->above[i], n->in[j]->id);
      set_join(u->above[i], u->above[n->in[j]->id], u->words);
    }
  }
}

// ---- buffers ----------------------------------------------------------------------------------

struct buffer *fusion_buffer_new(struct fusion *f, const struct node *n, enum buffer_space space,
                                 int slot) {
  struct buffer *b = NEW(f->arena, struct buffer);
  b->id = f->buffers.len;
  b->node = n;
  b->space = space;
  b->slot = slot;
  if (n != NULL) b->bytes = (size_t)shape_count(&n->type.shape) * (size_t)dtype_size(n->type.dtype);
  vec_push(f->arena, &f->buffers, b);
  return b;
}

struct buffer *fusion_value(const struct fusion *f, const struct node *n) {
  while (f->buffer[n->id] == NULL && n->op == OP_reshape && n->in[0]->block == 0) n = n->in[0];
  return f->buffer[n->id];
}

int fusion_tensor_slot(const struct fusion *f, const char *name) {
  for (int i = 0; i < f->model->tensors.len; i++)
    if (str_eq(f->model->tensors.data[i].name, name)) return i;
  die("no tensor is called %s", name);
}

bool fusion_is_update(const struct fusion *f, const struct buffer *b) {
  for (int i = 0; i < f->graph->updates.len; i++)
    if (f->update[i] == b) return true;
  return false;
}

static bool same_input(const struct node *a, const struct node *b) {
  return str_eq(a->attr.s, b->attr.s) && a->attr.n == b->attr.n &&
         memcmp(a->attr.i, b->attr.i, sizeof a->attr.i) == 0;
}

static int input_slot(const struct fusion *f, const struct node *n) {
  for (int i = 0; i < f->inputs.len; i++)
    if (same_input(f->inputs.data[i], n)) return i;
  die("%s is no input of the program", n->attr.s);
}

static void give_buffers(struct fuser *u) {
  u->f->buffers.len = 0;
  u->f->buffer = NEW_ARRAY(u->arena, struct buffer *, u->n);
  for (int i = 0; i < u->n; i++) {
    const struct node *n = u->g->nodes.data[i];
    if (!u->live[i]) continue;
    if (n->op == OP_input)
      u->f->buffer[i] = fusion_buffer_new(u->f, n, SPACE_INPUT, input_slot(u->f, n));
    else if (is_memory_leaf(n))
      u->f->buffer[i] =
          fusion_buffer_new(u->f, n, SPACE_STORE, fusion_tensor_slot(u->f, n->attr.s));
    else if (u->stored[i])
      u->f->buffer[i] = fusion_buffer_new(u->f, n, SPACE_ARENA, 0);
  }
}

// ---- 2: kernels -------------------------------------------------------------------------------

static struct kernel *kernel_new(struct fuser *u, const struct node *n, struct buffer *to) {
  struct kernel *k = NEW(u->arena, struct kernel);
  bool fold = to == u->f->buffer[n->id] && is_fold(n);
  bool call = to == u->f->buffer[n->id] && is_call(n);
  k->kind = !call ? KERNEL_LOOP : fuse_is_product(n) ? KERNEL_PRODUCT : KERNEL_CALL;
  k->product = k->kind == KERNEL_PRODUCT ? n : NULL;
  k->space = fold ? n->in[0]->type.shape : n->type.shape;
  k->block = fold ? n->in[0]->block : n->block;
  k->axes = fold ? node_axes(n) : 0;
  vec_push(u->arena, &k->roots, ((struct kernel_root){n, to, fold ? n->op : OP_COUNT, k->axes, false}));
  k->id = u->f->kernels.len;
  vec_push(u->arena, &u->f->kernels, k);
  return k;
}

static bool same_call(const struct node *a, const struct node *b) {
  bool same = a->op == OP_extern && b->op == OP_extern && a->n_in == b->n_in && a->how == b->how &&
              str_eq(a->attr.s, b->attr.s);
  for (int i = 0; same && i < a->n_in; i++) same = a->in[i] == b->in[i];
  return same;
}

// One call gives all results of an extern: the others join the kernel of the first.
static void add_kernel(struct fuser *u, const struct node *n, struct buffer *to) {
  for (int i = 0; i < u->f->kernels.len; i++) {
    struct kernel *k = u->f->kernels.data[i];
    if (!same_call(k->roots.data[0].node, n)) continue;
    vec_push(u->arena, &k->roots, ((struct kernel_root){.node = n, .buffer = to, .reduce = OP_COUNT}));
    return;
  }
  kernel_new(u, n, to);
}

// Results that have no kernel writing them where they are wanted get one that copies.
static void route_results(struct fuser *u) {
  const struct graph *g = u->g;
  for (int i = 0; i < g->outputs.len; i++) {
    const struct node *n = g->outputs.data[i].node;
    struct buffer *b = u->f->buffer[n->id];
    if (b->space == SPACE_ARENA) {
      b->space = SPACE_OUTPUT;
      b->slot = i;
    } else
      kernel_new(u, n, fusion_buffer_new(u->f, n, SPACE_OUTPUT, i));
  }
  u->f->update = NEW_ARRAY(u->arena, struct buffer *, g->updates.len);
  for (int i = 0; i < g->updates.len; i++) {
    const struct node *n = g->updates.data[i].node;
    u->f->update[i] = u->f->buffer[n->id];
    if (!is_memory_leaf(n) || str_eq(n->attr.s, g->updates.data[i].name)) continue;
    u->f->update[i] = fusion_buffer_new(u->f, n, SPACE_ARENA, 0);
    kernel_new(u, n, u->f->update[i]);
  }
}

static bool reads_buffer(const struct kernel *k, const struct buffer *b) {
  for (int i = 0; i < k->reads.len; i++)
    if (k->reads.data[i] == b) return true;
  return false;
}
bool kernel_reads(const struct kernel *k, const struct buffer *b) { return reads_buffer(k, b); }

// Is n's own buffer a result that k computes point by point, in its epilogue or at the second meeting, or
// is n its product? (A copy of n has another buffer.)
static bool computes(const struct fusion *f, const struct kernel *k, const struct node *n,
                     bool finish) {
  if (n == k->product) return true;
  for (int i = 0; i < k->roots.len; i++) {
    const struct kernel_root *r = &k->roots.data[i];
    if (r->node == n && r->finish == finish && r->reduce == OP_COUNT &&
        r->buffer == f->buffer[n->id])
      return true;
  }
  return false;
}

// What k reads when it evaluates its results.
struct reading {
  struct fuser *u;
  struct kernel *k;
  bool finish; // those of the second meeting, which may read those of the first
  uint64_t *seen;
};

static void add_read(struct reading *r, struct buffer *b) {
  for (int i = 0; i < r->k->roots.len && r->finish; i++) {
    const struct kernel_root *root = &r->k->roots.data[i];
    if (root->buffer != b || root->finish) continue;
    for (int j = 0; j < r->k->kept.len; j++)
      if (r->k->kept.data[j] == b) return;
    vec_push(r->u->arena, &r->k->kept, b);
    return;
  }
  if (!reads_buffer(r->k, b)) vec_push(r->u->arena, &r->k->reads, b);
}

static bool recomputes(const struct reading *r, const struct node *n) {
  for (int i = 0; i < r->k->recomputed.len && r->finish; i++)
    if (r->k->recomputed.data[i] == n) return true;
  return false;
}

static void add_reads(struct reading *r, const struct node *n, bool top) {
  if (!top && set_has(r->seen, n->id)) return;
  set_add(r->seen, n->id);
  struct buffer *b = top ? NULL : fusion_value(r->u->f, n);
  if (b != NULL && !recomputes(r, b->node) && !computes(r->u->f, r->k, n, r->finish)) {
    add_read(r, b);
    return;
  }
  for (int i = 0; i < n->n_in; i++) add_reads(r, n->in[i], false);
}

void fuse_find_reads(struct fuser *u, struct kernel *k) {
  k->reads.len = k->kept.len = 0;
  for (int i = 0; i < k->roots.len; i++) {
    const struct kernel_root *root = &k->roots.data[i];
    bool own = root->buffer == u->f->buffer[root->node->id]; // else a copy of what lies elsewhere
    struct reading r = {u, k, root->finish, set_new(u->arena, u->n)};
    add_reads(&r, root->node, own);
  }
}

static void note_writers(struct merger *m, const struct kernel *k) {
  for (int i = 0; i < k->roots.len; i++) m->writer[k->roots.data[i].buffer->id] = k->id;
}

static void depend(struct merger *m, int id, uint64_t *done) {
  struct kernel *k = m->kernel[id];
  if (set_has(done, id)) return;
  set_add(done, id);
  memset(m->before[id], 0, sizeof(uint64_t) * (size_t)m->words);
  for (int i = 0; i < k->reads.len; i++) {
    int w = m->writer[k->reads.data[i]->id];
    if (w < 0 || w == id) continue;
    depend(m, w, done);
    set_add(m->before[id], w);
    set_join(m->before[id], m->before[w], m->words);
  }
}

static void find_order(struct merger *m) {
  uint64_t *done = set_new(m->u->arena, m->n);
  for (int i = 0; i < m->n; i++)
    if (m->kernel[i] != NULL) depend(m, i, done);
}

static bool full_size(const struct kernel *k, const struct buffer *b) {
  return shape_count(&b->node->type.shape) >= shape_count(&k->space);
}

// The slice through which n, or what is inlined into it, reads r: of the first way there. NULL: none.
static bool find_slice(const struct merger *m, const struct node *n, const struct buffer *r,
                       const struct node **slice, uint64_t *seen) {
  for (int i = 0; i < n->n_in; i++) {
    const struct node *x = n->in[i], *outer = *slice;
    struct buffer *b = fusion_value(m->u->f, x);
    if (set_has(seen, x->id)) continue;
    set_add(seen, x->id);
    if (n->op == OP_slice) *slice = n;
    if (b != NULL ? b == r : find_slice(m, x, r, slice, seen)) return true;
    *slice = outer;
  }
  return false;
}

static const struct node *slice_of(const struct merger *m, const struct kernel *k, const struct buffer *r) {
  const struct node *slice = NULL;
  uint64_t *seen = set_new(m->u->arena, m->u->n);
  for (int i = 0; i < k->roots.len; i++)
    if (find_slice(m, k->roots.data[i].node, r, &slice, seen)) break;
  return slice;
}

// Do the two read something as large as their space? Two slices of it are two things: kernels of
// successive panels, in one, would keep all of the panels' values alive.
static bool share_input(const struct merger *m, const struct kernel *a, const struct kernel *b) {
  for (int i = 0; i < a->reads.len; i++) {
    const struct buffer *r = a->reads.data[i];
    if (!full_size(a, r) || !reads_buffer(b, r)) continue;
    if (slice_of(m, a, r) == slice_of(m, b, r)) return true;
  }
  return false;
}

// Large inputs of the two together: the processor follows only so many streams.
static int streams(const struct kernel *a, const struct kernel *b) {
  int n = 0;
  for (int i = 0; i < a->reads.len; i++) n += full_size(a, a->reads.data[i]);
  for (int i = 0; i < b->reads.len; i++)
    n += full_size(b, b->reads.data[i]) && !reads_buffer(a, b->reads.data[i]);
  return n;
}

// Does n, evaluated at a point, read results of `j` otherwise than at that point? `seen` holds what
// has been looked at and does not: node ids at the point, and behind them node ids elsewhere.
static bool reads_elsewhere(const struct merger *m, const struct kernel *j, const struct node *n,
                            bool at_point, bool top, uint64_t *seen) {
  struct buffer *b = top ? NULL : fusion_value(m->u->f, n);
  if (b != NULL) {
    if (m->writer[b->id] != j->id) return false;
    return !at_point || !computes(m->u->f, j, n, false);
  }
  int place = at_point ? n->id : m->u->n + n->id;
  if (!top && set_has(seen, place)) return false;
  if (!top) set_add(seen, place);
  bool same = at_point && (class_of(n) == ELEMENTWISE || n->op == OP_relayout);
  for (int i = 0; i < n->n_in; i++)
    if (reads_elsewhere(m, j, n->in[i], same, false, seen)) return true;
  return false;
}

bool fuse_feeds_point_by_point(const struct merger *m, const struct kernel *j,
                               const struct kernel *k) {
  uint64_t *seen = set_new(m->u->arena, 2 * m->u->n);
  for (int i = 0; i < k->roots.len; i++) {
    const struct kernel_root *r = &k->roots.data[i];
    bool fold = r->reduce != OP_COUNT, own = r->buffer == m->u->f->buffer[r->node->id];
    const struct node *n = fold ? r->node->in[0] : r->node;
    if (reads_elsewhere(m, j, n, true, !fold && own, seen)) return false;
  }
  return true;
}

bool fuse_detour(const struct merger *m, int from, int to) {
  for (int i = 0; i < m->n; i++)
    if (m->kernel[i] != NULL && i != from && i != to && set_has(m->before[i], from) &&
        set_has(m->before[to], i))
      return true;
  return false;
}

// A sum over no axes has no folded axis that it could share.
static bool folds_nothing(const struct kernel *k) {
  return k->axes == 0 && k->roots.data[0].reduce != OP_COUNT;
}

static const char *other_space(const struct kernel *j, const struct kernel *k) {
  if (j->kind != KERNEL_LOOP || k->kind != KERNEL_LOOP) return "a sweep and a product";
  if (!shape_eq(&j->space, &k->space)) return "they run over different spaces";
  if (j->block != k->block) return "their values are laid out differently";
  if (folds_nothing(j) || folds_nothing(k) || (j->axes != k->axes && j->axes != 0 && k->axes != 0))
    return "they sum over different axes";
  return NULL;
}

const char *fuse_too_many(const struct kernel *j, const struct kernel *k) {
  if (j->roots.len + k->roots.len > MAX_ROOTS) return "too many results for one kernel";
  if (j->reads.len + k->reads.len > MAX_READS) return "too many operands for one kernel";
  return NULL;
}

// NULL where k can follow j, whose result it reads, in one kernel.
const char *fuse_cannot_follow(const struct merger *m, const struct kernel *j, const struct kernel *k) {
  if (!fuse_feeds_point_by_point(m, j, k)) return "a result is read otherwise than point by point";
  if (fuse_detour(m, j->id, k->id)) return "another kernel must run between them";
  return NULL;
}

// Would one of two small sweeps wait for what it does not read? Memory stays in use meanwhile, for which
// little is saved.
static bool waits_in_vain(const struct merger *m, const struct kernel *j, const struct kernel *k) {
  enum { SMALL = 16384 }; // points
  return shape_count(&j->space) < SMALL &&
         memcmp(m->before[j->id], m->before[k->id], sizeof(uint64_t) * (size_t)m->words) != 0;
}

// NULL where the two can be one sweep, else why not.
static const char *why_apart(const struct merger *m, const struct kernel *j, const struct kernel *k) {
  const char *why = other_space(j, k);
  if (why == NULL) why = fuse_too_many(j, k);
  if (why != NULL) return why;
  if (set_has(m->before[k->id], j->id)) return fuse_cannot_follow(m, j, k);
  if (set_has(m->before[j->id], k->id)) return fuse_cannot_follow(m, k, j);
  if (!share_input(m, j, k)) return "they have no large operand in common";
  if (waits_in_vain(m, j, k)) return "they are small, and one would have to wait for the other's operands";
  return streams(j, k) <= MAX_STREAMS ? NULL : "too many large operands to stream at once";
}

void fuse_merge(struct merger *m, struct kernel *j, struct kernel *k) {
  for (int i = 0; i < k->roots.len; i++) vec_push(m->u->arena, &j->roots, k->roots.data[i]);
  if (j->kind == KERNEL_LOOP) j->axes |= k->axes;
  m->kernel[k->id] = NULL;
  note_writers(m, j);
  fuse_find_reads(m->u, j);
  find_order(m);
}

// What keeps k from the kernel j whose result or operand it reads.
static void note_gap(struct merger *m, const struct kernel *j, const struct kernel *k) {
  struct fusion *f = m->u->f;
  bool calls = j->kind == KERNEL_CALL || k->kind == KERNEL_CALL;
  for (int i = f->gaps.len - 1; i >= 0 && f->gaps.data[i].second == k; i--)
    if (f->gaps.data[i].first == j) return;
  if (j == k || calls) return;
  const char *why = j->kind == KERNEL_PRODUCT   ? fuse_not_absorbed(m, j, k)
                    : k->kind == KERNEL_PRODUCT ? fuse_not_packed(k)
                                                : why_apart(m, j, k);
  if (why == NULL) why = "each had been joined with others before it could be";
  vec_push(m->u->arena, &f->gaps, ((struct fusion_gap){j, k, why}));
}

static void note_gaps(struct merger *m) {
  VEC(const struct kernel *) *readers = arena_alloc(m->u->arena, sizeof *readers * (size_t)m->u->f->buffers.len);
  m->u->f->gaps.len = 0;
  for (int i = 0; i < m->n; i++) {
    const struct kernel *k = m->kernel[i];
    for (int r = 0; k != NULL && r < k->reads.len; r++) {
      const struct buffer *b = k->reads.data[r];
      int writer = m->writer[b->id];
      if (writer >= 0) note_gap(m, m->kernel[writer], k);
      for (int j = 0; j < readers[b->id].len && full_size(k, b) && k->kind == KERNEL_LOOP; j++)
        if (readers[b->id].data[j]->kind == KERNEL_LOOP) note_gap(m, readers[b->id].data[j], k);
      vec_push(m->u->arena, &readers[b->id], k);
    }
  }
}

static void emit_ordered(struct merger *m, int id, uint64_t *done) {
  struct kernel *k = m->kernel[id];
  if (set_has(done, id)) return;
  set_add(done, id);
  for (int i = 0; i < k->reads.len; i++) {
    int w = m->writer[k->reads.data[i]->id];
    if (w >= 0 && w != id) emit_ordered(m, w, done);
  }
  vec_push(m->u->arena, &m->u->f->kernels, k);
}

static void merge_kernels(struct fuser *u) {
  struct merger m = {.u = u, .n = u->f->kernels.len, .words = (u->f->kernels.len + 63) / 64};
  m.kernel = u->f->kernels.data;
  m.writer = NEW_ARRAY(u->arena, int, u->f->buffers.len);
  m.before = NEW_ARRAY(u->arena, uint64_t *, m.n);
  for (int i = 0; i < u->f->buffers.len; i++) m.writer[i] = -1;
  for (int i = 0; i < m.n; i++) {
    m.before[i] = set_new(u->arena, m.n);
    note_writers(&m, m.kernel[i]);
    fuse_find_reads(u, m.kernel[i]);
  }
  find_order(&m);
  fuse_merge_products(&m);
  fuse_finish_products(&m);
  for (int i = 0; i < m.n; i++)
    for (int j = 0; j < i && m.kernel[i] != NULL; j++)
      if (m.kernel[j] != NULL && why_apart(&m, m.kernel[j], m.kernel[i]) == NULL)
        fuse_merge(&m, m.kernel[j], m.kernel[i]);
  note_gaps(&m);
  memset(&u->f->kernels, 0, sizeof u->f->kernels);
  uint64_t *done = set_new(u->arena, m.n);
  for (int i = 0; i < m.n; i++)
    if (m.kernel[i] != NULL) emit_ordered(&m, i, done);
  for (int i = 0; i < u->f->kernels.len; i++) u->f->kernels.data[i]->id = i;
  fuse_drop_private(u);
  fuse_join_parts(u);
}

static void form_kernels(struct fuser *u) {
  memset(&u->f->kernels, 0, sizeof u->f->kernels);
  give_buffers(u);
  for (int i = 0; i < u->n; i++)
    if (u->live[i] && u->stored[i]) add_kernel(u, u->g->nodes.data[i], u->f->buffer[i]);
  route_results(u);
  merge_kernels(u);
}

// ---- 3: bodies --------------------------------------------------------------------------------

// True when all are built; else one more node is stored.
static bool build_bodies(struct fuser *u) {
  for (int i = 0; i < u->f->kernels.len; i++) {
    struct kernel *k = u->f->kernels.data[i];
    if (k->kind == KERNEL_CALL || k->kind == KERNEL_JOIN) continue;
    const struct node *offender = body_build(u->f, k);
    if (offender == NULL) continue;
    expect(!u->stored[offender->id], "%%%d is stored and still not affine", offender->id);
    u->stored[offender->id] = true;
    return false;
  }
  return true;
}

struct fusion *fuse_graph(const struct graph *g, const struct model *m,
                          const struct graph *inputs_of) {
  struct arena *a = g->b->arena;
  struct fusion *f = NEW(a, struct fusion);
  *f = (struct fusion){.graph = g, .arena = a, .model = m};
  for (int i = 0; i < inputs_of->nodes.len; i++)
    if (inputs_of->nodes.data[i]->op == OP_input) vec_push(a, &f->inputs, inputs_of->nodes.data[i]);
  struct fuser u = {.f = f, .g = g, .arena = a, .n = g->nodes.len};
  u.live = NEW_ARRAY(a, bool, u.n);
  u.stored = NEW_ARRAY(a, bool, u.n);
  for (int i = 0; i < g->outputs.len; i++) mark_live(&u, g->outputs.data[i].node);
  for (int i = 0; i < g->updates.len; i++) mark_live(&u, g->updates.data[i].node);
  collect_users(&u);
  fuse_choose_stored(&u);
  do form_kernels(&u);
  while (!build_bodies(&u));
  return f;
}

// ---- names ------------------------------------------------------------------------------------

const char *kernel_address(struct arena *a, const struct kernel *k) {
  const struct node *n = k->roots.data[k->roots.len - 1].node;
  const char *role = n->op == OP_extern ? n->attr.s : op_info(n->op)->name;
  return n->path ? str_printf(a, "%s/%s", n->path, role) : str_printf(a, "%%%d/%s", n->id, role);
}
