// fuse_store.c: which nodes lie in memory.
//
// Opaque ops, reductions and what opaque ops read do; so do results of the program and what leaves the
// epilogue of a product. Any other node is inlined into its readers, unless that costs more than it
// saves (`worth_storing`). A product is one more reader, of each of its operands.
#include "fuse_internal.h"

// An operand of an opaque op, but of a product, must be in memory; a reshape of something in memory is.
static void store_operand(struct fuser *u, const struct node *n) {
  while (n->op == OP_reshape && n->in[0]->block == 0) n = n->in[0];
  if (!is_memory_leaf(n)) u->stored[n->id] = true;
}

static void store_forced(struct fuser *u) {
  for (int i = 0; i < u->n; i++) {
    const struct node *n = u->g->nodes.data[i];
    if (!u->live[i]) continue;
    if (is_call(n) || is_fold(n)) u->stored[i] = true;
    if (is_call(n) && !fuse_is_open(n))
      for (int j = 0; j < n->n_in; j++) store_operand(u, n->in[j]);
  }
  for (int i = 0; i < u->g->outputs.len; i++) {
    const struct node *n = u->g->outputs.data[i].node;
    if (!is_memory_leaf(n)) u->stored[n->id] = true;
  }
  for (int i = 0; i < u->g->updates.len; i++) {
    const struct node *n = u->g->updates.data[i].node;
    if (!is_memory_leaf(n)) u->stored[n->id] = true;
  }
}

static bool in_memory(const struct fuser *u, const struct node *n) {
  return is_memory_leaf(n) || u->stored[n->id];
}

// An expression deeper than any model's is cut in two: what walks expressions recurses.
enum { DEEPEST_EXPRESSION = 400 };

static void store_deep(struct fuser *u) {
  int *depth = NEW_ARRAY(u->arena, int, u->n);
  for (int i = 0; i < u->n; i++) {
    const struct node *n = u->g->nodes.data[i];
    if (in_memory(u, n) || is_virtual_leaf(n)) continue;
    for (int j = 0; j < n->n_in; j++)
      if (depth[n->in[j]->id] > depth[i]) depth[i] = depth[n->in[j]->id];
    u->stored[i] = u->live[i] && ++depth[i] > DEEPEST_EXPRESSION;
    if (u->stored[i]) depth[i] = 0;
  }
}

// Cost of one evaluation of an inlined node, in units of one load of its size: simple arithmetic
// hides behind memory, divisions and roots less so, elementary functions not.
static double op_cost(const struct node *n) {
  switch (n->op) {
  case OP_exp:
  case OP_log:
  case OP_tanh:
  case OP_sigmoid:
  case OP_erf:
  case OP_sin:
  case OP_cos: return 1.0;
  case OP_softplus:
  case OP_pow: return 2.0;
  case OP_random_uniform: return 2.5;
  case OP_random_normal: return 8.0;
  case OP_div:
  case OP_sqrt:
  case OP_rsqrt:
  case OP_mod: return 0.25;
  case OP_stop_gradient: return 0;
  default: return class_of(n) == ELEMENTWISE ? 0.05 : 0;
  }
}

struct cost {
  double loads, work;
  int nodes;
};

static void add_cost(const struct fuser *u, const struct node *n, int64_t full, uint64_t *seen,
                     struct cost *c) {
  if (set_has(seen, n->id) || c->nodes > 200) return;
  set_add(seen, n->id);
  if (is_virtual_leaf(n)) return;
  if (in_memory(u, n)) {
    c->loads += (double)count_of(n) >= 0.5 * (double)full ? 1 : 0.1;
    return;
  }
  c->nodes++;
  c->work += op_cost(n) * (double)count_of(n) / (double)full;
  for (int i = 0; i < n->n_in; i++) add_cost(u, n->in[i], full, seen, c);
}

static struct cost cost_of(const struct fuser *u, const struct node *n) {
  struct cost c = {0};
  uint64_t *seen = set_new(u->arena, u->n);
  add_cost(u, n, count_of(n), seen, &c);
  return c;
}

// The stored nodes that would recompute n if n were inlined.
struct readers {
  VEC(const struct node *) list;
};

static void add_readers(const struct fuser *u, const struct node *n, uint64_t *seen,
                        struct readers *r) {
  for (int i = 0; i < u->users[n->id].len; i++) {
    const struct node *user = u->users[n->id].data[i];
    if (!u->live[user->id] || set_has(seen, user->id)) continue;
    set_add(seen, user->id);
    if (u->stored[user->id])
      vec_push(u->arena, &r->list, user);
    else
      add_readers(u, user, seen, r);
  }
}

// Is n reached from `from` through nodes that are not stored?
static bool inlines(const struct fuser *u, const struct node *from, const struct node *n,
                    uint64_t *seen) {
  if (from == n) return true;
  if (set_has(seen, from->id) || in_memory(u, from)) return false;
  set_add(seen, from->id);
  for (int i = 0; i < from->n_in; i++)
    if (inlines(u, from->in[i], n, seen)) return true;
  return false;
}

// Products that pack n on both sides compute it twice.
static void add_second_readings(const struct fuser *u, const struct node *n, struct readers *r) {
  for (int i = r->list.len - 1; i >= 0; i--) {
    const struct node *y = r->list.data[i];
    if (y->op == OP_matmul && inlines(u, y->in[0], n, set_new(u->arena, u->n)) &&
        inlines(u, y->in[1], n, set_new(u->arena, u->n)))
      vec_push(u->arena, &r->list, y);
  }
}

static const struct shape *space_of(const struct node *n) {
  return is_fold(n) ? &n->in[0]->type.shape : &n->type.shape;
}

// Will two readers of one node become one kernel? (The test of step 2, on nodes.)
static bool one_sweep(const struct fuser *u, const struct node *a, const struct node *b) {
  if (is_call(a) || is_call(b) || !shape_eq(space_of(a), space_of(b))) return false;
  if (is_fold(a) && is_fold(b) && node_axes(a) != node_axes(b)) return false;
  return !set_has(u->above[a->id], b->id) && !set_has(u->above[b->id], a->id);
}

// The least number of kernels that r's readers become: each joins the first that it may join whole.
static int count_sweeps(const struct fuser *u, const struct readers *r) {
  int *sweep = NEW_ARRAY(u->arena, int, r->list.len), sweeps = 0;
  for (int i = 0; i < r->list.len; i++) {
    bool *barred = NEW_ARRAY(u->arena, bool, sweeps + 1);
    for (int j = 0; j < i; j++)
      if (!one_sweep(u, r->list.data[i], r->list.data[j])) barred[sweep[j]] = true;
    while (sweep[i] < sweeps && barred[sweep[i]]) sweep[i]++;
    if (sweep[i] == sweeps) sweeps++;
  }
  return sweeps;
}

static bool is_window(const struct node *n) { return n->op == OP_slice || n->op == OP_reshape; }

// Is n repeated by a broadcast, so that inlining it would compute each element many times? Maybe window
// by window, if the windows are most of it.
static bool is_repeated(const struct fuser *u, const struct node *n) {
  int64_t windows = 0;
  for (int i = 0; i < u->users[n->id].len; i++) {
    const struct node *user = u->users[n->id].data[i];
    if (user->op == OP_broadcast && count_of(user) > count_of(n)) return true;
    if (is_window(user) && is_repeated(u, user)) windows += count_of(user);
  }
  return 2 * windows > count_of(n);
}

// Is n a window of something that is repeated itself, and so stored as a whole?
static bool is_repeated_whole(const struct fuser *u, const struct node *n) {
  return is_window(n) && !is_virtual_leaf(n->in[0]) && is_repeated(u, n->in[0]);
}

// Inlined into k sweeps, n costs k × (its loads + its work); stored, that once, a store (2: the
// line is fetched first) and k loads. A range test evaluates both sides, so what goes into a pad or
// a concat should be a load.
static bool worth_storing(const struct fuser *u, const struct node *n) {
  struct cost c = cost_of(u, n);
  if (c.work == 0 && c.loads <= 1) return false; // a view of something in memory, or a constant
  if (is_repeated_whole(u, n)) return false;
  if (is_repeated(u, n)) return c.work > 0;
  for (int i = 0; i < u->users[n->id].len; i++) {
    enum op op = u->users[n->id].data[i]->op;
    if ((op == OP_concat || op == OP_pad) && c.work > 0) return true;
  }
  struct readers r = {0};
  add_readers(u, n, set_new(u->arena, u->n), &r);
  add_second_readings(u, n, &r);
  int k = count_sweeps(u, &r);
  if (k < 2) return false;
  return k * (c.loads + c.work) > c.loads + c.work + 2 + k;
}

void fuse_choose_stored(struct fuser *u) {
  store_forced(u);
  store_deep(u);
  fuse_store_parts(u);
  fuse_store_results(u);
  for (int i = u->n - 1; i >= 0; i--) {
    const struct node *n = u->g->nodes.data[i];
    if (!u->live[i] || in_memory(u, n) || is_virtual_leaf(n)) continue;
    if (worth_storing(u, n)) u->stored[i] = true;
  }
}

