// outline.c: finds the parts of a step that can be computed in several ways.
//
// Two kinds of region are taken out of the simplified graph of a whole step (forward, backward and update):
//
//   objective-like  Products of two activations whose result is consumed on the spot: met point by
//                   point, summed, multiplied again, and gone. A cross-correlation matrix with its loss and
//                   gradient is one, a similarity matrix under a softmax another. It holds what
//                   computes the products' operands and what becomes of them, forward and backward.
//   single          Every other product and every convolution, by itself.
//
// An objective-like region grows from *seeds*. A seed is a product of two activations; its *wide* values
// are what follows from it by elementwise ops and movement that keeps its size. It counts only if no wide value
// escapes: each is read by wide values, by reductions, or by further products, which are then *consumers*. Seed, wide
// values and consumers are the *core*; whatever lies on a path between two nodes of the core must be inside
// too (the *hull*), and where that is a layer, there is no region. Cores with a common
// node are one.
//
// The hull then grows over cheap nodes (elementwise, movement, reductions): backwards over operands, and in the
// forward pass over users, until it meets a barrier: a product, convolution or pool, a leaf, a value that
// only parameters make, or arithmetic with such a value (the scale and bias of a normalisation) unless it is a
// number (a learned temperature, or a loss's learned weight). So it begins at the outputs of the last layers and
// ends in the loss. Of the backward pass joins what the values inside suffice to compute. Last, growth is undone
// where a path leaves the region and comes back, because a region must be computable in one piece.
#include <string.h>

#include "outline.h"
#include "sizes.h"

struct group {
  bool *core, *hull, *inside; // by node id
};

struct outliner {
  const struct graph *g;
  struct arena *arena;
  int n; // nodes
  struct graph_facts facts;
  bool *in_core;   // of any group
  int *settled;    // by node id: 1 + index of the region that it is part of; 0: none yet
  int n_settled;
  VEC(struct group) groups;
};

// ---- facts ------------------------------------------------------------------------------------

static bool is_product(const struct node *n) { return n->op == OP_matmul; }

static bool is_barrier_op(const struct node *n) {
  enum op_class c = op_info(n->op)->class;
  return c == LEAF || c == OPAQUE || n->op == OP_argmax;
}

static unsigned leaf_depends(const struct node *n) {
  switch (n->op) {
  case OP_param:
  case OP_state: return ON_WEIGHTS;
  case OP_input: break;
  default: return 0;
  }
  switch ((enum bt_input_kind)n->attr.i[INPUT_KIND]) {
  case BT_INPUT_VIEW:
  case BT_INPUT_LABEL:
  case BT_INPUT_ARRAY:
  case BT_INPUT_KEPT: return ON_DATA;
  default: return ON_PROGRESS;
  }
}

static const struct node *leaf_named(const struct graph *g, const char *name) {
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i];
    bool leaf = n->op == OP_input || n->op == OP_param || n->op == OP_state;
    if (leaf && str_eq(n->attr.s, name)) return n;
  }
  return NULL;
}

const struct node *gradient_of(const struct graph *g, const struct graph_output *o) {
  if (o->kind != BT_OUTPUT_VALUE) return NULL;
  if (strncmp(o->name, "grad.", 5) == 0) return leaf_named(g, o->name + 5);
  return o->name[0] == 'd' ? leaf_named(g, o->name + 1) : NULL;
}

static void find_forward(struct outliner *u) {
  for (int i = 0; i < u->g->outputs.len; i++) {
    const struct graph_output *o = &u->g->outputs.data[i];
    u->facts.output[o->node->id] = true;
    if (!gradient_of(u->g, o)) u->facts.forward[o->node->id] = true;
  }
  for (int i = u->n - 1; i >= 0; i--)
    for (int k = 0; u->facts.forward[i] && k < u->g->nodes.data[i]->n_in; k++)
      u->facts.forward[u->g->nodes.data[i]->in[k]->id] = true;
}

// Whether the value is, but for pointwise arithmetic, the gradient of a parameter; and whether nothing
// but the update of one tensor, by arithmetic of its own size, becomes of it.
static void find_updates(struct outliner *u) {
  struct graph_facts *f = &u->facts;
  bool *given = NEW_ARRAY(u->arena, bool, u->n); // out of the graph, by another way than an update
  for (int i = 0; i < u->g->updates.len; i++)
    f->weight_gradient[u->g->updates.data[i].node->id] = f->late[u->g->updates.data[i].node->id] = true;
  for (int i = 0; i < u->g->outputs.len; i++) {
    const struct graph_output *o = &u->g->outputs.data[i];
    const struct node *of = gradient_of(u->g, o);
    if (of && of->op == OP_param) f->weight_gradient[o->node->id] = f->late[o->node->id] = true;
    else given[o->node->id] = true;
  }
  for (int i = u->n - 1; i >= 0; i--) {
    const struct node *n = u->g->nodes.data[i];
    bool all = !given[i] && (f->late[i] || f->users[i].len > 0);
    for (int k = 0; k < f->users[i].len; k++) {
      const struct node *user = f->users[i].data[k];
      enum op_class c = op_info(user->op)->class;
      if (c == ELEMENTWISE || c == MOVE) f->weight_gradient[i] |= f->weight_gradient[user->id];
      all &= c != OPAQUE && f->late[user->id] &&
             shape_count(&user->type.shape) == shape_count(&n->type.shape);
    }
    f->late[i] = all;
  }
}

// Numbers and vectors that are repeated, masks that are scaled by them: by pointwise arithmetic and movement, which
// cost nothing where the result is read. Likewise numbers for which the program has no name, made of others.
static void find_source(const struct graph *g, const struct graph_facts *f, const struct node *n) {
  bool cheap = op_info(n->op)->class == ELEMENTWISE || n->op == OP_broadcast || n->op == OP_reshape || n->op == OP_transpose;
  int64_t count = shape_count(&n->type.shape), largest = 0;
  if (f->depends[n->id] == 0) return;
  for (int k = 0; k < n->n_in; k++) largest = max64(largest, f->source[n->in[k]->id]);
  bool nameless = count == 1 && !(f->depends[n->id] & ON_DATA) && !graph_label_of(g, n);
  f->remade[n->id] = cheap && n->n_in > 0 && (largest < count || nameless);
  f->source[n->id] = f->remade[n->id] ? largest : count;
}

static void find_facts(struct outliner *u) {
  struct graph_facts *f = &u->facts;
  const int *uses = graph_use_counts(u->g);
  f->live = NEW_ARRAY(u->arena, bool, u->n);
  f->output = NEW_ARRAY(u->arena, bool, u->n);
  f->forward = NEW_ARRAY(u->arena, bool, u->n);
  f->late = NEW_ARRAY(u->arena, bool, u->n);
  f->weight_gradient = NEW_ARRAY(u->arena, bool, u->n);
  f->depends = NEW_ARRAY(u->arena, unsigned, u->n);
  f->remade = NEW_ARRAY(u->arena, bool, u->n);
  f->source = NEW_ARRAY(u->arena, int64_t, u->n);
  f->users = arena_alloc(u->arena, sizeof *f->users * (size_t)u->n);
  for (int i = 0; i < u->n; i++) {
    struct node *n = u->g->nodes.data[i];
    f->live[i] = uses[i] > 0;
    f->depends[i] = leaf_depends(n);
    for (int k = 0; f->live[i] && k < n->n_in; k++) {
      f->depends[i] |= f->depends[n->in[k]->id];
      vec_push(u->arena, &f->users[n->in[k]->id], n);
    }
    if (f->live[i]) find_source(u->g, f, n);
  }
  find_forward(u);
  find_updates(u);
}

static bool on_data(const struct outliner *u, const struct node *n) {
  return (u->facts.depends[n->id] & ON_DATA) != 0;
}

// A layer's own: more than a number, and only parameters make it.
static bool of_layer(const struct outliner *u, const struct node *n) {
  return !on_data(u, n) && (u->facts.depends[n->id] & ON_WEIGHTS) != 0 && u->facts.source[n->id] > 1;
}

// ---- seeds ------------------------------------------------------------------------------------

static bool of_activations(const struct outliner *u, const struct node *n) {
  return is_product(n) && on_data(u, n->in[0]) && on_data(u, n->in[1]);
}

// What a user makes of a wide value.
enum meeting { STAYS_WIDE, IS_FOLDED, IS_MULTIPLIED, ESCAPES };

static enum meeting meeting_of(const struct outliner *u, const struct node *wide,
                               const struct node *user) {
  enum op_class c = op_info(user->op)->class;
  int64_t count = shape_count(&user->type.shape);
  bool of_temperature = c == REDUCE && count == 1; // of its gradient the sum is here, whatever its update makes of that
  if (u->facts.late[user->id] && !of_temperature) return ESCAPES;
  switch (c) {
  case ELEMENTWISE: return STAYS_WIDE;
  case MOVE: return count < shape_count(&wide->type.shape) ? IS_FOLDED : STAYS_WIDE;
  case REDUCE: return user->op == OP_argmax ? ESCAPES : IS_FOLDED;
  default: break;
  }
  bool inner = of_activations(u, user) && !u->facts.weight_gradient[user->id];
  return inner ? IS_MULTIPLIED : ESCAPES;
}

// Fills in what follows from the seed, in order of ids. False where something wide escapes.
static bool find_core(const struct outliner *u, const struct node *seed, bool *core) {
  bool *wide = NEW_ARRAY(u->arena, bool, u->n);
  wide[seed->id] = core[seed->id] = true;
  bool used = false;
  for (int i = seed->id; i < u->n; i++) {
    if (!wide[i]) continue;
    if (u->facts.output[i]) return false;
    for (int k = 0; k < u->facts.users[i].len; k++) {
      const struct node *user = u->facts.users[i].data[k];
      switch (meeting_of(u, u->g->nodes.data[i], user)) {
      case STAYS_WIDE: wide[user->id] = core[user->id] = true; break;
      case IS_MULTIPLIED: core[user->id] = used = true; break;
      case IS_FOLDED: used = true; break;
      case ESCAPES: return false;
      }
    }
  }
  return used;
}

// ---- hulls ------------------------------------------------------------------------------------

// A region that is settled is computed in one piece: who reaches a node of it has reached all.
static bool complete_settled(const struct outliner *u, bool *in) {
  bool *reached = NEW_ARRAY(u->arena, bool, u->n_settled + 1), grew = false;
  for (int i = 0; i < u->n; i++) reached[u->settled[i]] |= in[i];
  for (int i = 0; i < u->n; i++)
    if (u->settled[i] && reached[u->settled[i]] && !in[i]) in[i] = grew = true;
  return grew;
}

// Everything that depends on the set, and everything that it depends on; the set included.
static bool *below(const struct outliner *u, const bool *set) {
  bool *in = NEW_ARRAY(u->arena, bool, u->n);
  memcpy(in, set, sizeof *in * (size_t)u->n);
  do
    for (int i = 0; i < u->n; i++) {
      const struct node *n = u->g->nodes.data[i];
      for (int k = 0; u->facts.live[i] && k < n->n_in; k++) in[i] |= in[n->in[k]->id];
    }
  while (complete_settled(u, in));
  return in;
}

static bool *above(const struct outliner *u, const bool *set) {
  bool *in = NEW_ARRAY(u->arena, bool, u->n);
  memcpy(in, set, sizeof *in * (size_t)u->n);
  do
    for (int i = u->n - 1; i >= 0; i--) {
      const struct node *n = u->g->nodes.data[i];
      for (int k = 0; in[i] && k < n->n_in; k++) in[n->in[k]->id] = true;
    }
  while (complete_settled(u, in));
  return in;
}

// False where a layer lies between two nodes of the core.
static bool find_hull(struct outliner *u, struct group *p) {
  const bool *down = below(u, p->core), *up = above(u, p->core);
  p->hull = NEW_ARRAY(u->arena, bool, u->n);
  for (int i = 0; i < u->n; i++) {
    p->hull[i] = down[i] && up[i];
    if (p->hull[i] && !u->in_core[i] && is_barrier_op(u->g->nodes.data[i])) return false;
  }
  return true;
}

static bool meet(const struct outliner *u, const bool *a, const bool *b) {
  for (int i = 0; i < u->n; i++)
    if (a[i] && b[i]) return true;
  return false;
}

// The two as one group; false, and nothing happens, where that has no hull.
static bool join(struct outliner *u, int a, int b) {
  struct group both = {.core = NEW_ARRAY(u->arena, bool, u->n)};
  for (int i = 0; i < u->n; i++)
    both.core[i] = u->groups.data[a].core[i] || u->groups.data[b].core[i];
  if (!find_hull(u, &both)) return false;
  u->groups.data[a] = both;
  u->groups.data[b] = u->groups.data[--u->groups.len];
  return true;
}

static void drop_group(struct outliner *u, int at) {
  memmove(&u->groups.data[at], &u->groups.data[at + 1], sizeof *u->groups.data * (size_t)(--u->groups.len - at));
}

// Which nodes are in a core decides which hulls there are, and the other way round.
static void settle_cores(struct outliner *u) {
  for (bool again = true; again;) {
    again = false;
    memset(u->in_core, 0, sizeof *u->in_core * (size_t)u->n);
    for (int g = 0; g < u->groups.len; g++)
      for (int i = 0; i < u->n; i++) u->in_core[i] |= u->groups.data[g].core[i];
    for (int g = u->groups.len - 1; g >= 0; g--)
      if (!find_hull(u, &u->groups.data[g])) drop_group(u, g), again = true;
  }
}

static bool join_touching(struct outliner *u) {
  for (int a = 0; a < u->groups.len; a++)
    for (int b = a + 1; b < u->groups.len; b++) {
      if (!meet(u, u->groups.data[a].hull, u->groups.data[b].hull)) continue;
      if (join(u, a, b)) return true;
      drop_group(u, b); // each by itself would have to be computed before the other
      drop_group(u, a);
      return true;
    }
  return false;
}

static void find_groups(struct outliner *u) {
  for (int i = 0; i < u->n; i++) {
    const struct node *n = u->g->nodes.data[i];
    if (!u->facts.live[i] || !of_activations(u, n) || u->facts.weight_gradient[i]) continue;
    struct group p = {.core = NEW_ARRAY(u->arena, bool, u->n)};
    if (find_core(u, n, p.core)) vec_push(u->arena, &u->groups, p);
  }
  do settle_cores(u);
  while (join_touching(u));
}

// ---- growth -----------------------------------------------------------------------------------

static bool may_join(const struct outliner *u, const struct node *n) {
  if (!u->facts.live[n->id] || u->settled[n->id] || u->facts.late[n->id]) return false;
  if (!on_data(u, n) || is_barrier_op(n)) return false;
  for (int k = 0; k < n->n_in; k++)
    if (of_layer(u, n->in[k])) return false;
  return true;
}

static bool grow_over_operands(const struct outliner *u, bool *in) {
  bool grew = false;
  for (int i = u->n - 1; i >= 0; i--) {
    const struct node *n = u->g->nodes.data[i];
    for (int k = 0; in[i] && k < n->n_in; k++)
      if (!in[n->in[k]->id] && may_join(u, n->in[k])) in[n->in[k]->id] = grew = true;
  }
  return grew;
}

static bool grow_forwards(const struct outliner *u, bool *in) {
  bool grew = false;
  for (int i = 0; i < u->n; i++) {
    const struct node *n = u->g->nodes.data[i];
    if (in[i] || !u->facts.forward[i] || !may_join(u, n)) continue;
    for (int k = 0; !in[i] && k < n->n_in; k++) in[i] = in[n->in[k]->id];
    grew |= in[i];
  }
  return grew;
}

// What is read already, or costs nothing to have: constants, numbers, and what is remade of such.
static bool at_hand(const struct outliner *u, const bool *in, const struct node *n) {
  if (in[n->id] || (!on_data(u, n) && u->facts.source[n->id] <= 1)) return true;
  for (int k = 0; k < u->facts.users[n->id].len; k++)
    if (in[u->facts.users[n->id].data[k]->id]) return true;
  bool remade = u->facts.remade[n->id];
  for (int k = 0; remade && k < n->n_in; k++) remade = at_hand(u, in, n->in[k]);
  return remade;
}

static void grow_backwards(const struct outliner *u, bool *in) {
  for (int i = 0; i < u->n; i++) {
    const struct node *n = u->g->nodes.data[i];
    if (in[i] || u->facts.forward[i] || !may_join(u, n)) continue;
    bool reads = false, all = true;
    for (int k = 0; k < n->n_in; k++) {
      reads |= in[n->in[k]->id];
      all &= at_hand(u, in, n->in[k]);
    }
    in[i] = reads && all;
  }
}

// ---- shrinking --------------------------------------------------------------------------------

// What only follows from values that leave the region anyhow (the gradient of a bias, from that of
// the layer's output) is better off with the layer.
static bool trim_ends(const struct outliner *u, const struct group *p) {
  for (int i = u->n - 1; i >= 0; i--) {
    const struct node *n = u->g->nodes.data[i];
    if (!p->inside[i] || p->hull[i] || u->facts.forward[i] || u->facts.output[i]) continue;
    bool end = true;
    for (int k = 0; k < u->facts.users[i].len; k++) end &= !p->inside[u->facts.users[i].data[k]->id];
    p->inside[i] = false;
    for (int k = 0; k < n->n_in; k++) {
      const struct node *x = n->in[k];
      bool other = u->facts.output[x->id];
      for (int j = 0; j < u->facts.users[x->id].len; j++) {
        const struct node *user = u->facts.users[x->id].data[j];
        other |= user != n && !p->inside[user->id];
      }
      end &= !p->inside[x->id] || other;
    }
    p->inside[i] = !end;
    if (end) return true;
  }
  return false;
}

// Takes out what is cut off from the hull.
static bool drop_islands(const struct outliner *u, const struct group *p) {
  bool *kept = NEW_ARRAY(u->arena, bool, u->n), dropped = false;
  for (int i = 0; i < u->n; i++) kept[i] = p->hull[i] && p->inside[i];
  for (bool grew = true; grew;) {
    grew = false;
    for (int i = 0; i < u->n; i++) {
      const struct node *n = u->g->nodes.data[i];
      for (int k = 0; p->inside[i] && k < n->n_in; k++) {
        int j = n->in[k]->id;
        if (!p->inside[j] || kept[i] == kept[j]) continue;
        kept[i] = kept[j] = grew = true;
      }
    }
  }
  for (int i = 0; i < u->n; i++) {
    dropped |= p->inside[i] && !kept[i];
    p->inside[i] = kept[i];
  }
  return dropped;
}

// Takes out what a path that leaves and comes back passes first, where it leads to the hull, or else what it
// passes last. Where the hull itself has such a path (through two regions that are settled) all goes.
static bool make_convex(const struct outliner *u, const struct group *p) {
  const bool *down = below(u, p->inside), *up = above(u, p->inside), *before = above(u, p->hull);
  bool *early = NEW_ARRAY(u->arena, bool, u->n), *detour = NEW_ARRAY(u->arena, bool, u->n);
  bool any = false;
  for (int i = 0; i < u->n; i++) {
    detour[i] = u->facts.live[i] && !p->inside[i] && down[i] && up[i];
    early[i] = detour[i] && before[i];
    any |= detour[i];
  }
  if (!any) return false;
  const bool *first = above(u, early), *last = below(u, detour);
  bool changed = false, removed = false;
  for (int i = 0; i < u->n; i++)
    if (p->inside[i] && !p->hull[i] && first[i]) p->inside[i] = false, changed = true;
  for (int i = 0; !changed && i < u->n; i++)
    if (p->inside[i] && !p->hull[i] && last[i]) p->inside[i] = false, removed = true;
  if (!changed && !removed) memset(p->inside, 0, sizeof *p->inside * (size_t)u->n);
  return changed || removed;
}

// What leaves the region only to be summed (the gradient of a bias may be a sum of something that
// the gradient of the layer's output is not) had better leave it summed.
static bool take_folds(const struct outliner *u, const struct group *p) {
  bool took = false;
  for (int i = 0; i < u->n; i++) {
    bool only_folds = p->inside[i] && !u->facts.output[i], any = false;
    for (int k = 0; only_folds && k < u->facts.users[i].len; k++) {
      const struct node *user = u->facts.users[i].data[k];
      if (p->inside[user->id]) continue;
      only_folds = op_info(user->op)->class == REDUCE && !is_barrier_op(user) && !u->settled[user->id];
      any = true;
    }
    for (int k = 0; only_folds && any && k < u->facts.users[i].len; k++)
      p->inside[u->facts.users[i].data[k]->id] = took = true;
  }
  return took;
}

static void grow(struct outliner *u, struct group *p) {
  p->inside = NEW_ARRAY(u->arena, bool, u->n);
  memcpy(p->inside, p->hull, sizeof *p->inside * (size_t)u->n);
  while (grow_over_operands(u, p->inside) | grow_forwards(u, p->inside)) {}
  grow_backwards(u, p->inside);
  while (make_convex(u, p) || drop_islands(u, p) || trim_ends(u, p) || take_folds(u, p)) {}
}

// Groups that grow into one another are one where they can be; else the first takes what both want.
static void grow_groups(struct outliner *u) {
  for (int g = 0; g < u->groups.len; g++) grow(u, &u->groups.data[g]);
  for (int a = 0; a < u->groups.len; a++)
    for (int b = a + 1; b < u->groups.len; b++) {
      if (!meet(u, u->groups.data[a].inside, u->groups.data[b].inside) || !join(u, a, b)) continue;
      grow(u, &u->groups.data[a]);
      a = -1; // the joint group may touch any other
      break;
    }
  for (int g = 0; g < u->groups.len; g++) {
    grow(u, &u->groups.data[g]);
    u->n_settled++;
    for (int i = 0; i < u->n; i++)
      if (u->groups.data[g].inside[i]) u->settled[i] = u->n_settled;
  }
}

// ---- regions ----------------------------------------------------------------------------------

static bool is_single(const struct node *n) {
  return n->op == OP_matmul || n->op == OP_conv2d || n->op == OP_conv2d_dx || n->op == OP_conv2d_dw;
}

static void add_region(struct outliner *u, struct regions *out, const bool *inside) {
  struct region r = {0};
  for (int i = 0; i < u->n; i++)
    if (inside[i]) vec_push(u->arena, &r.nodes, u->g->nodes.data[i]);
  if (r.nodes.len == 0) return;
  region_describe(&r, u->g, &u->facts, out);
  vec_push(u->arena, &out->list, r);
}

struct regions *outline(const struct graph *g) {
  struct outliner u = {.g = g, .arena = g->b->arena, .n = g->nodes.len};
  struct regions *out = NEW(u.arena, struct regions);
  u.in_core = NEW_ARRAY(u.arena, bool, u.n);
  u.settled = NEW_ARRAY(u.arena, int, u.n);
  find_facts(&u);
  find_groups(&u);
  grow_groups(&u);
  for (int i = 0; i < u.groups.len; i++) add_region(&u, out, u.groups.data[i].inside);
  bool *one = NEW_ARRAY(u.arena, bool, u.n);
  for (int i = 0; i < u.n; i++) {
    if (!u.facts.live[i] || u.settled[i] || !is_single(g->nodes.data[i])) continue;
    one[i] = true;
    add_region(&u, out, one);
    one[i] = false;
  }
  return out;
}
