// elab_type.c: types of signatures, and the names of axes.
//
// A type such as f32[n, d] is met by a value and a frame. Each plain name in it is, in this order,
// an axis of the frame (an earlier parameter bound it), an integer of the frame (configuration), a
// constant, or new: then it is bound to the value's size. A name that is met again must have the
// same size, and must stand for the same axis of the caller: equal sizes alone do not make two
// names one.
#include <string.h>

#include "elab.h"

struct axis *frame_axis(struct frame *f, const char *name) {
  for (int i = f->axes.len - 1; i >= 0; i--)
    if (strcmp(f->axes.data[i]->name, name) == 0) return f->axes.data[i];
  return NULL;
}

struct pack *frame_pack(struct frame *f, const char *name) {
  for (int i = 0; i < f->packs.len; i++)
    if (strcmp(f->packs.data[i]->name, name) == 0) return f->packs.data[i];
  return NULL;
}

struct axis *axis_new(struct elab *e, struct frame *f, const char *name, int64_t size,
                      struct loc loc, const char *where) {
  struct axis *a = NEW(e->b->arena, struct axis);
  *a = (struct axis){.name = name, .size = size, .frame = f, .loc = loc, .where = where};
  vec_push(e->b->arena, &f->axes, a);
  return a;
}

bool type_is_tensor(const struct type *t) {
  dtype d;
  return t->name && strcmp(t->name, "bool") != 0 && dtype_parse(t->name, &d);
}

// ---- sizes ------------------------------------------------------------------------------------

// Whether a local size has another value since a type used it: then it is another axis.
static bool rebound(const struct axis *axis, const struct binding *local) {
  return axis->sized && local &&
         (local->value.kind != V_INT || local->value.integer != axis->size);
}

// The axis that a plain name stands for, or NULL where it is new. *bad after a diagnostic.
static struct axis *known_axis(struct elab *e, struct frame *f, const char *name, struct loc loc,
                               bool *bad) {
  struct axis *axis = frame_axis(f, name);
  struct binding *local = frame_find(f, name);
  if (axis && !rebound(axis, local)) return axis;
  struct entry *n = local ? NULL : unit_entry(f->unit, name);
  if (!local && !(n && n->decl->kind == D_CONST)) return NULL;
  struct value v = local ? local->value : entry_value(e, f, n, loc);
  *bad = v.kind != V_INT || v.integer < 1;
  if (v.kind == V_ERROR) return NULL;
  if (*bad) {
    elab_error(e, f, loc, "`%s` is %s, not a size", name, value_text(e, &v));
    elab_note(e, local ? local->loc : n->decl->name.loc, "`%s` is bound here", name);
    return NULL;
  }
  axis = axis_new(e, f, name, v.integer, local ? local->loc : n->decl->name.loc,
                  str_printf(e->b->arena, "`%s`", name));
  axis->sized = true;
  return axis;
}

static bool dim_number(struct elab *e, struct frame *f, const struct dim_syntax *d, int64_t *out) {
  struct value v = expr_value(e, f, d->expr);
  if (!static_int(e, f, v, out, "a size")) return false;
  if (*out >= 1) return true;
  elab_error(e, f, d->loc, "a size must be at least 1, not %lld", (long long)*out);
  return false;
}

// ---- binding tensors --------------------------------------------------------------------------

struct binder {
  struct elab *e;
  struct frame *f, *from;
  const struct type *type;
  struct value *v;
  struct value given; // as it came, for messages
  struct loc loc;
  const char *what;
};

static bool size_conflict(struct binder *b, const struct axis *axis, const struct dim_syntax *d,
                          int64_t size) {
  elab_error(b->e, b->f, b->loc, "%s is %s, so `%s` would be %lld; it is %lld by %s", b->what,
             tensor_text(b->e, &b->given), axis->name, (long long)size, (long long)axis->size,
             axis->where);
  elab_note(b->e, d->loc, "`%s` is declared here", axis->name);
  elab_note(b->e, axis->loc, "and got its size here");
  return false;
}

static bool name_conflict(struct binder *b, const struct axis *axis, const struct dim_syntax *d,
                          const struct axis *is, const struct axis *was) {
  elab_error(b->e, b->f, b->loc,
             "%s is %s: its axis `%s` does not fit `%s`, which is `%s` by %s; axes with different "
             "names are different, even of one size",
             b->what, tensor_text(b->e, &b->given), is->name, axis->name, was->name, axis->where);
  elab_note(b->e, d->loc, "`%s` is declared here", axis->name);
  elab_note(b->e, axis->loc, "and got its meaning here");
  return false;
}

// The value's axis i meets axis `axis` of the frame.
static bool axis_meet(struct binder *b, struct axis *axis, const struct dim_syntax *d, int i) {
  int64_t size = value_dim(b->v, i);
  struct axis *is = b->given.axes[i];
  if (b->from == b->f) {
    // `-> f32[n, out]` where `out` is configuration says how large the axis is; it may be `c` too.
    bool renames = is && is != axis;
    if (renames && !axis->sized && !is->sized) return name_conflict(b, axis, d, is, axis);
    if (renames && size == axis->size) return true;
  } else {
    if (is && axis->outer && axis->outer != is) return name_conflict(b, axis, d, is, axis->outer);
    if (is && size == axis->size) axis->outer = is;
  }
  if (size != axis->size) return size_conflict(b, axis, d, size);
  b->v->axes[i] = axis;
  return true;
}

static bool bind_name(struct binder *b, const struct dim_syntax *d, int i) {
  bool bad = false;
  const char *name = d->expr->string;
  struct axis *axis = known_axis(b->e, b->f, name, d->loc, &bad);
  if (bad) return false;
  if (!axis) {
    const char *where = str_printf(b->e->b->arena, "%s %s", b->what, tensor_text(b->e, &b->given));
    axis = axis_new(b->e, b->f, name, value_dim(b->v, i), d->loc, where);
    if (b->from == b->f && b->given.axes[i])
      return name_conflict(b, axis, d, b->given.axes[i], axis);
  }
  return axis_meet(b, axis, d, i);
}

// An axis without a name in the signature keeps its identity through the call: one stand-in for
// each axis of the caller. No name that a program can write equals "_".
static void bind_nameless(struct binder *b, int i) {
  struct axis *is = b->given.axes[i];
  if (b->from == b->f || !is) return;
  for (int k = 0; k < b->f->axes.len; k++) {
    struct axis *a = b->f->axes.data[k];
    if (a->outer == is && str_eq(a->name, "_")) {
      b->v->axes[i] = a;
      return;
    }
  }
  b->v->axes[i] = axis_new(b->e, b->f, "_", is->size, is->loc, is->where);
  b->v->axes[i]->outer = is;
}

static bool bind_pack(struct binder *b, const struct dim_syntax *d, int i, int n) {
  struct pack *p = frame_pack(b->f, d->name);
  if (p && p->n != n) {
    elab_error(b->e, b->f, b->loc, "%s is %s, so `..%s` would be %d axes; it is %d", b->what,
               tensor_text(b->e, &b->given), d->name, n, p->n);
    elab_note(b->e, p->loc, "`..%s` was bound here", d->name);
    return false;
  }
  if (!p) {
    p = NEW(b->e->b->arena, struct pack);
    *p = (struct pack){.name = d->name, .n = n, .loc = d->loc};
    vec_push(b->e->b->arena, &b->f->packs, p);
    const char *where = str_printf(b->e->b->arena, "%s %s", b->what, tensor_text(b->e, &b->given));
    for (int k = 0; k < n; k++) {
      const char *name = str_printf(b->e->b->arena, "%s.%d", d->name, k);
      p->axes[k] = b->from == b->f && b->given.axes[i + k]
                       ? b->given.axes[i + k]
                       : axis_new(b->e, b->f, name, value_dim(b->v, i + k), d->loc, where);
    }
  }
  for (int k = 0; k < n; k++)
    if (!axis_meet(b, p->axes[k], d, i + k)) return false;
  return true;
}

static bool bind_size(struct binder *b, const struct dim_syntax *d, int i) {
  int64_t size;
  if (!dim_number(b->e, b->f, d, &size)) return false;
  bind_nameless(b, i);
  if (size == value_dim(b->v, i)) return true;
  elab_error(b->e, b->f, b->loc, "%s is %s, but axis %d must have size %lld", b->what,
             tensor_text(b->e, &b->given), i, (long long)size);
  elab_note(b->e, d->loc, "declared here");
  return false;
}

static bool bind_dim(struct binder *b, const struct dim_syntax *d, int i, int pack) {
  if (d->kind == DIM_PACK) return bind_pack(b, d, i, pack);
  if (d->kind == DIM_INFERRED) return bind_nameless(b, i), true;
  return d->expr->kind == E_NAME ? bind_name(b, d, i) : bind_size(b, d, i);
}

// Names first: a size that is computed may use them.
static bool bind_dims(struct binder *b) {
  const struct type *t = b->type;
  int rank = value_rank(b->v), packs = 0;
  for (int k = 0; k < t->dims.len; k++) packs += t->dims.data[k].kind == DIM_PACK;
  int pack = rank - (t->dims.len - packs);
  if (packs ? pack < 0 : pack != 0) {
    elab_error(b->e, b->f, b->loc, "%s is %s, of rank %d; its type has %s%d ax%s", b->what,
               tensor_text(b->e, &b->given), rank, packs ? "at least " : "", t->dims.len - packs,
               t->dims.len - packs == 1 ? "is" : "es");
    elab_note(b->e, t->loc, "the type is declared here");
    return false;
  }
  bool ok = true;
  for (int computed = 0; computed < 2; computed++) {
    for (int k = 0, i = 0; k < t->dims.len; k++) {
      const struct dim_syntax *d = &t->dims.data[k];
      bool late = d->kind == DIM_EXPR && d->expr->kind != E_NAME;
      if (late == computed && ok) ok = bind_dim(b, d, i, pack);
      i += d->kind == DIM_PACK ? pack : 1;
    }
  }
  return ok;
}

static bool wrong_kind(struct binder *b) {
  const char *want = b->type->name ? b->type->name : "a list";
  if (b->v->kind == V_DATA)
    elab_error(b->e, b->f, b->loc,
               "%s is the images `%s` as they are stored; only a view makes a tensor of them, as "
               "in `plain(%s)`",
               b->what, b->v->data->name, b->v->data->name);
  else
    elab_error(b->e, b->f, b->loc, "%s must be %s%s%s, not %s", b->what, b->type->name ? "`" : "",
               want, b->type->name ? "`" : "", value_text(b->e, b->v));
  elab_note(b->e, b->type->loc, "the type is declared here");
  // linear(x), as of a function: the first parentheses of a module configure it.
  const struct decl *d = b->f ? b->f->decl : NULL;
  if (b->v->kind == V_TENSOR && d && d->kind == D_MODULE && b->type->name &&
      !type_is_tensor(b->type))
    elab_note(b->e, b->loc,
              "a module is configured and bound first, `name = %s(…)`, then `name(x)`",
              d->name.name);
  return false;
}

static bool bind_tensor(struct binder *b, dtype want) {
  bool scalar =
      value_is_number(b->v) && (want != BT_U8) && (b->v->kind == V_INT || dtype_is_float(want));
  if (scalar) {
    bool fits = true; // a number has rank 0; only packs match none
    for (int k = 0; k < b->type->dims.len; k++)
      fits = fits && b->type->dims.data[k].kind == DIM_PACK;
    if (!fits) return wrong_kind(b);
    if (!b->e->graph) return true;
    if (!as_tensor(b->e, b->f, b->v, want, b->what)) return false;
  }
  if (b->v->kind != V_TENSOR) return wrong_kind(b);
  b->given = *b->v;
  dtype is = b->v->node->type.dtype;
  if (is == want) return bind_dims(b);
  elab_error(b->e, b->f, b->loc, "%s is %s, but must be %s; convert it with `%s(…)`", b->what,
             tensor_text(b->e, &b->given), dtype_name(want), dtype_name(want));
  elab_note(b->e, b->type->loc, "the type is declared here");
  return false;
}

// ---- binding everything -----------------------------------------------------------------------

static const char *const type_words[] = {"int", "float", "bool", "string", "module",
                                         "f32", "f64",   "i32",  "i64",    "u8"};

static bool unknown_type(struct elab *e, struct frame *f, const struct type *t) {
  elab_error(e, f, t->loc, "unknown type `%s`%s", t->name,
             did_you_mean(e, t->name, type_words, sizeof type_words / sizeof *type_words));
  return false;
}

static bool bind_static(struct binder *b) {
  const char *t = b->type->name;
  struct value *v = b->v;
  bool known = false;
  for (size_t i = 0; i < sizeof type_words / sizeof *type_words; i++)
    known |= strcmp(t, type_words[i]) == 0;
  if (!known) return unknown_type(b->e, b->f, b->type);
  if (b->type->has_dims) {
    elab_error(b->e, b->f, b->type->loc, "`%s` is static and has no axes; a list is written `[%s]`",
               t, t);
    return false;
  }
  if (strcmp(t, "int") == 0) return v->kind == V_INT || wrong_kind(b);
  if (strcmp(t, "bool") == 0)
    return v->kind == V_BOOL || (v->kind == V_TENSOR && v->node->type.dtype == BT_BOOL) ||
           wrong_kind(b);
  if (strcmp(t, "string") == 0) return v->kind == V_STRING || wrong_kind(b);
  if (strcmp(t, "module") == 0) return value_is_callable(v) || wrong_kind(b);
  if (v->kind == V_INT) *v = value_float(v->loc, (double)v->integer);
  return v->kind == V_FLOAT || wrong_kind(b);
}

static bool bind_list(struct binder *b) {
  if (b->v->kind != V_LIST) return wrong_kind(b);
  struct value bound = value_list(b->e, b->v->loc, V_LIST);
  for (int i = 0; i < b->v->list->len; i++) {
    struct value item = b->v->list->data[i];
    const char *what = str_printf(b->e->b->arena, "item %d of %s", i, b->what);
    if (!type_bind(b->e, b->f, b->type->element, &item, b->from, b->loc, what)) return false;
    value_append(b->e, &bound, item);
  }
  *b->v = bound;
  return true;
}

bool type_bind(struct elab *e, struct frame *f, const struct type *t, struct value *v,
               struct frame *from, struct loc loc, const char *what) {
  if (v->kind == V_ERROR) return false;
  struct binder b = {
      .e = e, .f = f, .from = from, .type = t, .v = v, .given = *v, .loc = loc, .what = what};
  if (!t->name) return bind_list(&b);
  dtype d;
  if (type_is_tensor(t) && dtype_parse(t->name, &d)) return bind_tensor(&b, d);
  return bind_static(&b);
}

// ---- declared shapes --------------------------------------------------------------------------

static bool resolve_dim(struct elab *e, struct frame *f, const struct dim_syntax *d, int64_t *size,
                        struct axis **axis) {
  if (d->kind == DIM_INFERRED) {
    elab_error(e, f, d->loc, "`_` cannot be inferred here: write the size");
    return false;
  }
  *axis = NULL;
  if (d->expr->kind != E_NAME) return dim_number(e, f, d, size);
  bool bad = false;
  *axis = known_axis(e, f, d->expr->string, d->loc, &bad);
  if (!*axis && !bad) {
    const char *names[64];
    int n = 0;
    for (int i = 0; i < f->axes.len && n < 32; i++) names[n++] = f->axes.data[i]->name;
    for (int i = 0; i < f->locals.len && n < 64; i++) names[n++] = f->locals.data[i].name;
    elab_error(e, f, d->loc, "the size `%s` is not known here%s", d->expr->string,
               did_you_mean(e, d->expr->string, names, n));
  }
  if (*axis) *size = (*axis)->size;
  return *axis != NULL;
}

static bool resolve_pack(struct elab *e, struct frame *f, const struct dim_syntax *d,
                         struct tensor_type *out, struct axis **axes) {
  struct pack *p = frame_pack(f, d->name);
  if (!p) {
    elab_error(e, f, d->loc, "the axes `..%s` are not known here: they come from the type of an input", d->name);
    return false;
  }
  if (out->shape.rank + p->n > MAX_RANK) return true; // the caller counts
  for (int k = 0; k < p->n; k++) {
    axes[out->shape.rank] = p->axes[k];
    out->shape.dim[out->shape.rank++] = p->axes[k]->size;
  }
  return true;
}

bool type_resolve(struct elab *e, struct frame *f, const struct type *t, struct tensor_type *out,
                  struct axis **axes) {
  *out = (struct tensor_type){0};
  if (!t->name || !type_is_tensor(t) || !dtype_parse(t->name, &out->dtype)) {
    elab_error(e, f, t->loc, "expected a tensor type, such as `f32[%s]`", "n");
    return false;
  }
  bool ok = true;
  for (int k = 0; k < t->dims.len; k++) {
    const struct dim_syntax *d = &t->dims.data[k];
    if (d->kind == DIM_PACK) {
      ok = resolve_pack(e, f, d, out, axes) && ok;
      continue;
    }
    if (out->shape.rank == MAX_RANK) {
      elab_error(e, f, t->loc, "a tensor has at most %d axes", MAX_RANK);
      return false;
    }
    int at = out->shape.rank++;
    ok = resolve_dim(e, f, d, &out->shape.dim[at], &axes[at]) && ok;
  }
  return ok && size_fits(e, f, t->loc, &out->shape);
}

void axes_to_caller(const struct frame *callee, struct value *v) {
  if (v->kind == V_INT) {
    v->axis = v->axis && v->axis->frame == callee ? v->axis->outer : NULL;
  } else if (v->kind == V_TUPLE || v->kind == V_LIST) {
    for (int i = 0; i < v->list->len; i++) axes_to_caller(callee, &v->list->data[i]);
  } else if (v->kind == V_TENSOR) {
    for (int i = 0; i < value_rank(v); i++)
      v->axes[i] = v->axes[i] && v->axes[i]->frame == callee ? v->axes[i]->outer : NULL;
  }
}
