// elab_index.c: x[…] on lists (static) and on tensors: an integer takes one slice and drops the
// axis, lo..hi a window, `..` or `_` the whole axis. Negative positions count from the end. One
// index may be a tensor of integers, known only at run time, which picks rows (elab_take.c).
#include <string.h>

#include "elab.h"

// lo..hi within a size. False after a diagnostic.
static bool window_bounds(struct elab *e, struct frame *f, const struct expr *x, int64_t size,
                          int64_t *low, int64_t *high) {
  *low = 0;
  *high = size;
  if (x->a && !static_int(e, f, expr_value(e, f, x->a), low, "an index")) return false;
  if (x->b && !static_int(e, f, expr_value(e, f, x->b), high, "an index")) return false;
  int64_t given_low = *low, given_high = *high;
  if (*low < 0) *low += size;
  if (*high < 0) *high += size;
  if (*low >= 0 && *low < *high && *high <= size) return true;
  elab_error(e, f, x->loc,
             "the window %lld..%lld does not lie in an axis of size %lld, or is empty",
             (long long)given_low, (long long)given_high, (long long)size);
  return false;
}

static bool position(struct elab *e, struct frame *f, const struct expr *x, struct value index,
                     int64_t size, int64_t *at) {
  if (!static_int(e, f, index, at, "an index")) return false;
  int64_t given = *at;
  if (*at < 0) *at += size;
  if (*at >= 0 && *at < size) return true;
  elab_error(e, f, x->loc, "index %lld is outside an axis of size %lld", (long long)given,
             (long long)size);
  return false;
}

static struct value list_index(struct elab *e, struct frame *f, const struct expr *x,
                               struct value v) {
  if (x->items.len != 1) {
    elab_error(e, f, x->loc, "a list has one axis, not %d", x->items.len);
    return value_error();
  }
  const struct expr *item = x->items.data[0];
  int64_t low, high;
  if (item->kind != E_RANGE)
    return position(e, f, item, expr_value(e, f, item), v.list->len, &low) ? v.list->data[low]
                                                                           : value_error();
  if (!window_bounds(e, f, item, v.list->len, &low, &high)) return value_error();
  struct value r = value_list(e, x->loc, V_LIST);
  for (int64_t i = low; i < high; i++) value_append(e, &r, v.list->data[i]);
  return r;
}

struct value tensor_slice(struct elab *e, struct frame *f, const struct expr *x, struct value v) {
  int rank = value_rank(&v);
  if (x->items.len > rank) {
    elab_error(e, f, x->loc, "%d indices into %s", x->items.len, tensor_text(e, &v));
    return value_error();
  }
  struct shape window = v.node->type.shape, kept = {0};
  int64_t start[MAX_RANK] = {0};
  struct value r = value_tensor(x->loc, v.node), picks = value_error(); // none yet
  int picked_axis = 0;
  for (int i = 0; i < rank; i++) {
    const struct expr *item = i < x->items.len ? x->items.data[i] : NULL;
    int64_t size = window.dim[i], high;
    bool whole =
        !item || item->kind == E_WILDCARD || (item->kind == E_RANGE && !item->a && !item->b);
    bool drops = !whole && item->kind != E_RANGE;
    struct value index = drops ? expr_value(e, f, item) : value_error();
    if (index.kind == V_TENSOR) {
      if (picks.kind == V_TENSOR) {
        elab_error(e, f, item->loc,
                   "one index may be a tensor; `x[i][.., j]` picks by one after the other, "
                   "`gather(x, indices, axis)` an element for each position");
        return value_error();
      }
      picks = index;
      picks.loc = item->loc;
      picked_axis = kept.rank;
      drops = false;
    } else if (drops) {
      if (!position(e, f, item, index, size, &start[i])) return value_error();
      window.dim[i] = 1;
    } else if (!whole) {
      if (!window_bounds(e, f, item, size, &start[i], &high)) return value_error();
      window.dim[i] = high - start[i];
    }
    if (drops) continue;
    r.axes[kept.rank] = window.dim[i] == size ? v.axes[i] : NULL;
    kept.dim[kept.rank++] = window.dim[i];
  }
  graph_at(e, f, x->loc);
  r.node = g_reshape(e->graph, g_slice(e->graph, v.node, start, &window), &kept);
  return picks.kind == V_TENSOR ? tensor_take(e, f, x->loc, r, &picks, picked_axis) : r;
}

struct value index_value(struct elab *e, struct frame *f, const struct expr *x) {
  struct value v = expr_value(e, f, x->a);
  for (int i = 0; v.kind == V_ERROR && i < x->items.len; i++) { // for the mistakes in them
    const struct expr *item = x->items.data[i];
    if (item->kind == E_RANGE && item->a) expr_value(e, f, item->a);
    if (item->kind == E_RANGE && item->b) expr_value(e, f, item->b);
    if (item->kind != E_RANGE && item->kind != E_WILDCARD) expr_value(e, f, item);
  }
  if (v.kind == V_ERROR) return v;
  if (v.kind == V_TENSOR) return tensor_slice(e, f, x, v);
  if (v.kind == V_LIST) return list_index(e, f, x, v);
  elab_error(e, f, x->loc, "%s cannot be indexed: tensors and lists can", value_text(e, &v));
  return value_error();
}
