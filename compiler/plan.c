// plan.c: the order of the kernels and the place of every buffer.
//
// Order. Kernels run as the graph was built, except that what only writes parameters and states
// runs as soon as it can: a gradient's memory is free right after its update. An update is written
// straight into the store where that is safe: its kernel reads the old value, if at all, point by
// point, and every other reader of the old value can come before it. Else the new value goes to a
// temporary that a copy commits once nobody needs the old one.
//
// In place. Parts of a concat are written into it. A map may write over an operand that dies there, read nowhere but at the point itself.
//
// Places. Lifetimes are intervals of the order. The largest buffer first, each at the lowest offset
// where it meets no buffer that lives at the same time.
#include <stdlib.h>
#include <string.h>

#include "body.h"

size_t plan_align(size_t bytes) { return (bytes + BT_ALIGN - 1) / BT_ALIGN * BT_ALIGN; }

// ---- order ------------------------------------------------------------------------------------

struct order {
  struct fusion *f;
  struct arena *arena;
  int n;
  VEC(int) * after; // by kernel: those that must wait for it
  int *writer;      // by buffer id; -1: nobody
};

static void must_follow(struct order *o, int later, int earlier) {
  if (later != earlier) vec_push(o->arena, &o->after[earlier], later);
}

static bool reaches(const struct order *o, int from, int to, bool *seen) {
  if (from == to) return true;
  if (seen[from]) return false;
  seen[from] = true;
  for (int i = 0; i < o->after[from].len; i++)
    if (reaches(o, o->after[from].data[i], to, seen)) return true;
  return false;
}

static bool depends(const struct order *o, int later, int earlier) {
  return reaches(o, earlier, later, NEW_ARRAY(o->arena, bool, o->n));
}

static struct order order_begin(struct fusion *f, int room) {
  struct order o = {.f = f, .arena = f->arena, .n = f->kernels.len};
  o.after = arena_alloc(f->arena, sizeof *o.after * (size_t)(o.n + room));
  o.writer = NEW_ARRAY(f->arena, int, f->buffers.len + 2 * room);
  for (int i = 0; i < f->buffers.len + 2 * room; i++) o.writer[i] = -1;
  for (int i = 0; i < o.n; i++)
    for (int j = 0; j < f->kernels.data[i]->roots.len; j++)
      o.writer[f->kernels.data[i]->roots.data[j].buffer->id] = i;
  for (int i = 0; i < o.n; i++) {
    const struct kernel *k = f->kernels.data[i];
    for (int j = 0; j < k->reads.len; j++) {
      int w = o.writer[k->reads.data[j]->id];
      if (w >= 0) must_follow(&o, i, w);
    }
  }
  return o;
}

static bool loads(const struct body *body, const struct buffer *b) {
  for (int i = 0; i < body->values.len; i++)
    if (body->values.data[i]->kind == V_LOAD && body->values.data[i]->buffer == b) return true;
  return false;
}

static const struct body_root *root_in(const struct body *body, const struct buffer *b) {
  for (int i = 0; body != NULL && i < body->roots.len; i++)
    if (body->roots.data[i].buffer == b) return &body->roots.data[i];
  return NULL;
}

static bool reads_only_at(const struct body *body, const struct buffer *b, const struct affine *at) {
  for (int i = 0; i < body->values.len; i++) {
    const struct value *v = body->values.data[i];
    if (v->kind == V_LOAD && v->buffer == b && !affine_eq(&v->at, at)) return false;
  }
  return true;
}

// Does k read `from` only where it writes `to`, point by point? Of the bodies of a product only the
// one that writes may read it.
static bool pointwise(const struct kernel *k, const struct buffer *from, const struct buffer *to) {
  bool dense = from->part_of == NULL && to->part_of == NULL;
  if (k->kind == KERNEL_CALL || k->kind == KERNEL_JOIN || !dense || from->bytes != to->bytes ||
      from->node->type.dtype != to->node->type.dtype)
    return false;
  const struct body *bodies[] = {k->body, k->finish, k->operand[0], k->operand[1]}, *home = NULL;
  const struct body_root *root = NULL;
  for (int i = 0; i < 2 && root == NULL; i++) {
    home = bodies[i];
    root = root_in(home, to);
  }
  if (root == NULL || root->reduce != OP_COUNT) return false;
  for (int i = 0; i < 4; i++)
    if (bodies[i] != NULL && bodies[i] != home && loads(bodies[i], from)) return false;
  return reads_only_at(home, from, &root->at);
}

static struct buffer *leaf_buffer(const struct fusion *f, const char *name) {
  for (int i = 0; i < f->buffers.len; i++) {
    struct buffer *b = f->buffers.data[i];
    bool leaf = b->node != NULL && (b->node->op == OP_param || b->node->op == OP_state);
    if (leaf && f->buffer[b->node->id] == b && str_eq(b->node->attr.s, name)) return b;
  }
  return NULL;
}

static bool can_write_store(const struct order *o, int kernel, const struct buffer *old,
                            const struct buffer *value) {
  if (old == NULL) return true;
  if (kernel_reads(o->f->kernels.data[kernel], old) &&
      !pointwise(o->f->kernels.data[kernel], old, value))
    return false;
  for (int i = 0; i < o->n; i++)
    if (i != kernel && kernel_reads(o->f->kernels.data[i], old) && depends(o, i, kernel))
      return false;
  return true;
}

static void follow_readers(struct order *o, int kernel, const struct buffer *old) {
  for (int i = 0; old != NULL && i < o->n; i++)
    if (kernel_reads(o->f->kernels.data[i], old)) must_follow(o, kernel, i);
}

// A kernel that copies the new value into the store after everybody who wants the old one.
static void commit(struct order *o, struct buffer *value, struct buffer *old, int slot) {
  struct fusion *f = o->f;
  struct kernel *k = NEW(f->arena, struct kernel);
  struct buffer *to = fusion_buffer_new(f, value->node, SPACE_STORE, slot);
  to->over = old;
  k->kind = KERNEL_LOOP;
  k->space = value->node->type.shape;
  vec_push(f->arena, &k->roots, ((struct kernel_root){.node = value->node, .buffer = to, .reduce = OP_COUNT}));
  vec_push(f->arena, &k->reads, value);
  struct buffer *was = f->buffer[value->node->id];
  f->buffer[value->node->id] = value;
  expect(body_build(f, k) == NULL, "a copy cannot be built");
  f->buffer[value->node->id] = was;
  vec_push(f->arena, &f->kernels, k);
  follow_readers(o, o->n, old);
  must_follow(o, o->n, o->writer[value->id]);
  o->n++;
}

static void place_update(struct order *o, int update) {
  struct fusion *f = o->f;
  const struct graph_update *u = &f->graph->updates.data[update];
  struct buffer *old = leaf_buffer(f, u->name), *value = f->update[update];
  if (value == old) return; // stays as it is
  int writer = o->writer[value->id], slot = fusion_tensor_slot(f, u->name);
  if (value->space == SPACE_ARENA && can_write_store(o, writer, old, value)) {
    value->space = SPACE_STORE;
    value->slot = slot;
    value->over = old;
    follow_readers(o, writer, old);
  } else
    commit(o, value, old, slot);
}

// Smaller runs earlier among those that are ready.
static int rank_of(const struct kernel *k) {
  bool update = true;
  int last = 0;
  for (int i = 0; i < k->roots.len; i++) {
    update &= k->roots.data[i].buffer->space == SPACE_STORE;
    if (k->roots.data[i].node->id > last) last = k->roots.data[i].node->id;
  }
  return update ? -1 : last;
}

static void sort_kernels(struct order *o) {
  struct fusion *f = o->f;
  int *waits = NEW_ARRAY(o->arena, int, o->n), *rank = NEW_ARRAY(o->arena, int, o->n);
  struct kernel **sorted = NEW_ARRAY(o->arena, struct kernel *, o->n);
  for (int i = 0; i < o->n; i++) {
    rank[i] = rank_of(f->kernels.data[i]);
    for (int j = 0; j < o->after[i].len; j++) waits[o->after[i].data[j]]++;
  }
  for (int at = 0; at < o->n; at++) {
    int next = -1;
    for (int i = 0; i < o->n; i++)
      if (waits[i] == 0 && (next < 0 || rank[i] < rank[next])) next = i;
    expect(next >= 0, "the kernels of %s wait for one another", f->graph->name);
    waits[next] = -1;
    sorted[at] = f->kernels.data[next];
    for (int j = 0; j < o->after[next].len; j++) waits[o->after[next].data[j]]--;
  }
  if (o->n) memcpy(f->kernels.data, sorted, sizeof *sorted * (size_t)o->n);
  for (int i = 0; i < o->n; i++) f->kernels.data[i]->id = i;
}

// Joins have kept readers behind writers; there is nothing else for them to do.
static void drop_joins(struct fusion *f) {
  int left = 0;
  for (int i = 0; i < f->kernels.len; i++) {
    struct kernel *k = f->kernels.data[i];
    if (k->kind == KERNEL_JOIN) continue;
    k->id = left;
    f->kernels.data[left++] = k;
  }
  f->kernels.len = left;
}

// ---- lifetimes and work in place --------------------------------------------------------------

static void touch(struct buffer *b, int kernel) {
  if (b->first < 0 || kernel < b->first) b->first = kernel;
  if (kernel > b->last) b->last = kernel;
}

static void find_lifetimes(struct fusion *f) {
  for (int i = 0; i < f->buffers.len; i++)
    f->buffers.data[i]->first = f->buffers.data[i]->last = -1;
  for (int i = 0; i < f->kernels.len; i++) {
    const struct kernel *k = f->kernels.data[i];
    for (int j = 0; j < k->reads.len; j++) touch(k->reads.data[j], i);
    for (int j = 0; j < k->roots.len; j++) touch(k->roots.data[j].buffer, i);
  }
}

static bool overwritten(const struct kernel *k, const struct buffer *b) {
  for (int i = 0; i < k->roots.len; i++)
    if (k->roots.data[i].buffer->over == b) return true;
  return false;
}

// Is everything dead after kernel `at` that lies in b?
static bool dies(const struct fusion *f, const struct buffer *b, int at) {
  if (b->last != at) return false;
  for (int i = 0; i < f->buffers.len; i++)
    if (f->buffers.data[i]->part_of == b && f->buffers.data[i]->last >= at) return false;
  return true;
}

static void write_in_place(struct fusion *f, int at) {
  struct kernel *k = f->kernels.data[at];
  for (int i = 0; i < k->roots.len; i++) {
    struct buffer *to = k->roots.data[i].buffer;
    if (to->space != SPACE_ARENA || to->over != NULL || overwritten(k, to)) continue;
    for (int j = 0; j < k->reads.len; j++) {
      struct buffer *from = k->reads.data[j];
      if (from->space != SPACE_ARENA || !dies(f, from, at) || overwritten(k, from) ||
          !pointwise(k, from, to))
        continue;
      to->over = from;
      break;
    }
  }
}

// Is b read by its own kernel only, from `k` on?
static bool is_temporary(const struct fusion *f, const struct kernel *k, const struct buffer *b) {
  if (b->space != SPACE_ARENA || b->over != NULL || b->part_of != NULL) return false;
  for (int i = 0; i < f->kernels.len; i++)
    if (kernel_reads(f->kernels.data[i], b)) return false;
  return k->finish != NULL && root_in(k->body, b) != NULL;
}

// What the second meeting of a product reads and nobody else lies where the second meeting writes: each
// point is read before it is written.
static void keep_in_place(struct fusion *f, struct kernel *k) {
  for (int i = 0; i < k->kept.len; i++) {
    struct buffer *from = k->kept.data[i];
    if (!is_temporary(f, k, from)) continue;
    for (int j = 0; j < k->roots.len; j++) {
      const struct kernel_root *r = &k->roots.data[j];
      struct buffer *to = r->buffer;
      if (r->finish && to->over == NULL && to->part_of == NULL && !overwritten(k, to) && to->bytes == from->bytes &&
          to->node->type.dtype == from->node->type.dtype && root_in(k->body, from)->reduce == OP_COUNT) {
        from->over = to;
        break;
      }
    }
  }
}

void plan_order(struct fusion *f) {
  int updates = f->graph->updates.len;
  struct order o = order_begin(f, updates);
  for (int i = 0; i < updates; i++) place_update(&o, i);
  sort_kernels(&o);
  drop_joins(f);
  find_lifetimes(f);
  for (int i = 0; i < f->kernels.len; i++) keep_in_place(f, f->kernels.data[i]);
  for (int i = 0; i < f->kernels.len; i++) write_in_place(f, i);
}

// ---- places -----------------------------------------------------------------------------------

static bool live_together(const struct buffer *a, const struct buffer *b) {
  return a->first <= b->last && b->first <= a->last;
}

static bool overlap(const struct buffer *a, const struct buffer *b) {
  return a->offset < b->offset + plan_align(b->bytes) &&
         b->offset < a->offset + plan_align(a->bytes);
}

static int larger_first(const void *a, const void *b) {
  const struct buffer *x = *(struct buffer *const *)a, *y = *(struct buffer *const *)b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  return x->id - y->id;
}

// Places of their own in the arena; the lifetime of what is written over them is theirs.
static int arena_places(struct fusion *f, struct buffer **places) {
  int n = 0;
  for (int i = 0; i < f->buffers.len; i++) {
    struct buffer *b = f->buffers.data[i], *p = buffer_place(b);
    if (b->space != SPACE_ARENA || b->first < 0) continue;
    if (b->last > p->last) p->last = b->last;
    if (b->first < p->first) p->first = b->first;
    if (p == b) places[n++] = b;
  }
  return n;
}

// The smallest gap between placed buffers that live at the same time and that b fits into; else the
// end of them all.
static size_t best_fit(const struct buffer *b, struct buffer **placed, int n) {
  size_t best = 0, best_gap = SIZE_MAX, at = 0, size = plan_align(b->bytes);
  for (int i = 0; i < n; i++) { // by offset
    if (!live_together(b, placed[i])) continue;
    if (placed[i]->offset >= at + size && placed[i]->offset - at < best_gap) {
      best = at;
      best_gap = placed[i]->offset - at;
    }
    size_t end = placed[i]->offset + plan_align(placed[i]->bytes);
    if (end > at) at = end;
  }
  return best_gap == SIZE_MAX ? at : best;
}

static void insert_by_offset(struct buffer **placed, int n, struct buffer *b) {
  int i = n;
  for (; i > 0 && placed[i - 1]->offset > b->offset; i--) placed[i] = placed[i - 1];
  placed[i] = b;
}

static bool lies_elsewhere(const struct buffer *b) { return b->over != NULL || b->part_of != NULL; }

void plan_check(const struct fusion *f) {
  for (int i = 0; i < f->buffers.len; i++) {
    const struct buffer *a = f->buffers.data[i];
    if (a->space != SPACE_ARENA || a->first < 0 || lies_elsewhere(a)) continue;
    for (int j = 0; j < i; j++) {
      const struct buffer *b = f->buffers.data[j];
      if (b->space != SPACE_ARENA || b->first < 0 || lies_elsewhere(b)) continue;
      expect(!live_together(a, b) || !overlap(a, b), "buffers %d and %d overlap in %s", i, j,
             f->graph->name);
    }
  }
}

struct plan plan_arena(struct fusion *f) {
  struct plan plan = {0};
  struct buffer **places = NEW_ARRAY(f->arena, struct buffer *, f->buffers.len);
  struct buffer **placed = NEW_ARRAY(f->arena, struct buffer *, f->buffers.len);
  int n = arena_places(f, places);
  qsort(places, (size_t)n, sizeof *places, larger_first);
  for (int i = 0; i < n; i++) {
    places[i]->offset = best_fit(places[i], placed, i);
    insert_by_offset(placed, i, places[i]);
    size_t end = places[i]->offset + plan_align(places[i]->bytes);
    if (end > plan.arena_bytes) plan.arena_bytes = end;
  }
  for (int i = 0; i < f->buffers.len; i++)
    if (f->buffers.data[i]->space == SPACE_ARENA)
      f->buffers.data[i]->offset = buffer_place(f->buffers.data[i])->offset;
  for (int i = 0; i < f->kernels.len; i++) {
    size_t bytes = plan_align(loop_thread_bytes(f->kernels.data[i]->loops));
    if (bytes > plan.thread_bytes) plan.thread_bytes = bytes;
  }
  plan_check(f);
  return plan;
}
