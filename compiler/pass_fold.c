// pass_fold.c: algebraic simplification, by tables of rules over one op each.
//
// Every live node is rebuilt through fold_node, which offers it to the rules of its op and builds
// it only if none has something better. Rules are exact in real arithmetic. In floating point they
// may change the last bits (a product is reassociated, a division becomes a product with the
// reciprocal), never more: nothing here cancels what was not cancelled before. What a rule assumes
// about infinities and NaN stands with the rule.
//
//   fold_arith.c  constants, identities, arithmetic on broadcast operands done before broadcasting
//   fold_move.c   chains of movements, transposes into matmul
//   fold_sum.c    factors out of sums, sums of broadcasts, sums that are zero
//
// One walk can expose work to the next (an operand's second use appears later), so walks repeat
// until the graph stays as it is; the bound only guards against rules that undo each other.
#include "fold.h"
#include "passes.h"

enum { MAX_WALKS = 16, MAX_DEPTH = 48 };

// ---- the rules' building functions ------------------------------------------------------------

static struct node *first_of(struct fold *f, const struct fold_row *rows, const struct node *n) {
  for (; rows->apply; rows++) {
    if (rows->op != n->op && rows->op != OP_COUNT) continue;
    struct node *to = rows->apply(f, n);
    if (to) return to;
  }
  return NULL;
}

static struct node *simplified(struct fold *f, const struct node *n) {
  struct node *to = NULL;
  if (op_info(n->op)->class == ELEMENTWISE) to = fold_elementwise(f, n);
  if (!to) to = first_of(f, fold_arithmetic, n);
  if (!to) to = first_of(f, fold_movement, n);
  if (!to) to = first_of(f, fold_reduction, n);
  return to || !f->more ? to : first_of(f, f->more, n);
}

struct node *fold_node(struct fold *f, enum op op, struct node *const *in, int n_in,
                       const struct attr *attr, const struct tensor_type *type) {
  struct node n = {.op = op, .n_in = n_in, .in = (struct node **)in, .type.shape.rank = -1};
  if (attr) n.attr = *attr;
  if (type) n.type = *type;
  struct node *to = NULL;
  if (f->depth < MAX_DEPTH && !node_check(f->g->b->arena, &n)) {
    f->depth++;
    to = simplified(f, &n);
    f->depth--;
  }
  return to ? to : graph_node(f->g, op, in, n_in, attr, type);
}

struct node *fold_unary(struct fold *f, enum op op, struct node *x) {
  return fold_node(f, op, &x, 1, NULL, NULL);
}

struct node *fold_binary(struct fold *f, enum op op, struct node *x, struct node *y) {
  return fold_node(f, op, (struct node *[]){x, y}, 2, NULL, NULL);
}

static struct attr attr_of(const int64_t *values, int n) {
  struct attr a = {.n = n};
  for (int i = 0; i < n; i++) a.i[i] = values[i];
  return a;
}

struct node *fold_broadcast(struct fold *f, struct node *x, const struct shape *to,
                            const int64_t *axes) {
  struct attr a = attr_of(axes, x->type.shape.rank);
  return fold_node(f, OP_broadcast, &x, 1, &a, &(struct tensor_type){x->type.dtype, *to});
}

struct node *fold_reshape(struct fold *f, struct node *x, const struct shape *to) {
  return fold_node(f, OP_reshape, &x, 1, NULL, &(struct tensor_type){x->type.dtype, *to});
}

struct node *fold_transpose(struct fold *f, struct node *x, const int64_t *perm) {
  struct attr a = attr_of(perm, x->type.shape.rank);
  return fold_node(f, OP_transpose, &x, 1, &a, NULL);
}

struct node *fold_full(struct fold *f, const struct tensor_type *type, double value) {
  return g_full(f->g, type, value);
}

// ---- what rules ask ---------------------------------------------------------------------------

bool fold_constant(const struct node *n, double *value) {
  if (n->op == OP_broadcast) n = n->in[0];
  if (n->op != OP_constant) return false;
  *value = n->attr.f;
  return true;
}

bool fold_is(const struct node *n, double value) {
  double c;
  return fold_constant(n, &c) && c == value;
}

bool fold_narrow(const struct node *n) {
  return n->op == OP_constant || (n->op == OP_broadcast &&
                                  shape_count(&n->in[0]->type.shape) < shape_count(&n->type.shape));
}

bool fold_may_replace_operand(const struct fold *f) { return f->sole_user && f->depth == 1; }

int fold_uses(const struct fold *f, const struct node *x) {
  int uses = 0;
  for (int i = 0; i < f->walk->from->nodes.len; i++)
    if (f->walk->map[i] == x) uses += f->uses[i];
  return uses;
}

// ---- the walk ---------------------------------------------------------------------------------

// The rules are about row-major values; once a layout is chosen, a node is kept.
static bool has_layout(const struct node *n) {
  bool blocked = n->block > 0;
  for (int i = 0; i < n->n_in; i++) blocked |= n->in[i]->block > 0;
  return blocked;
}

static struct node *walk_node(struct fold *f, struct rewrite *r, const struct node *n) {
  if (n->n_in == 0 || has_layout(n)) return rewrite_copy(r, n);
  struct node **in = NEW_ARRAY(f->g->b->arena, struct node *, n->n_in);
  for (int i = 0; i < n->n_in; i++) in[i] = r->map[n->in[i]->id];
  f->g->loc = n->loc;
  f->g->path = n->path;
  f->g->how = n->how;
  return fold_node(f, n->op, in, n->n_in, &n->attr, &n->type);
}

static struct graph *walk(const struct graph *g, const struct fold_row *more, void *user) {
  struct rewrite r = rewrite_begin(g);
  const int *uses = graph_use_counts(g);
  struct fold f = {.g = r.to, .walk = &r, .uses = uses, .more = more, .user = user};
  for (int i = 0; i < g->nodes.len; i++)
    if (uses[i]) {
      const struct node *n = g->nodes.data[i];
      f.sole_user = n->n_in == 1 && uses[n->in[0]->id] == 1;
      r.map[i] = walk_node(&f, &r, n);
    }
  return pass_dce(rewrite_end(&r));
}

static bool same_node(const struct node *a, const struct node *b) {
  if (a->op != b->op || a->n_in != b->n_in || a->attr.f != b->attr.f ||
      !type_eq(&a->type, &b->type))
    return false;
  for (int i = 0; i < a->n_in; i++)
    if (a->in[i]->id != b->in[i]->id) return false;
  for (int i = 0; i < a->attr.n; i++)
    if (a->attr.i[i] != b->attr.i[i]) return false;
  return true;
}

static bool same_graph(const struct graph *a, const struct graph *b) {
  if (a->nodes.len != b->nodes.len) return false;
  for (int i = 0; i < a->nodes.len; i++)
    if (!same_node(a->nodes.data[i], b->nodes.data[i])) return false;
  return true;
}

struct graph *fold_with(const struct graph *g, const struct fold_row *more, void *user) {
  struct graph *now = walk(g, more, user);
  for (int i = 1; i < MAX_WALKS; i++) {
    struct graph *next = walk(now, more, user);
    if (same_graph(now, next)) break;
    now = next;
  }
  return now;
}

struct graph *pass_fold(const struct graph *g) { return fold_with(g, NULL, NULL); }
