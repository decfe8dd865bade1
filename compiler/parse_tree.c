// parse_tree.c: the builders that the grammar's actions call. A node is built from finished parts,
// so its depth is known when it is made; past PARSE_MAX_DEPTH the file gets one message and the
// tree a leaf, and everything that walks the tree later may recurse without fear.
#include "parse.h"

struct loc parse_span(struct loc first, struct loc last) {
  if (last.line == 0) { // an empty rule: the point behind the symbol before it
    first.line = first.end_line;
    first.column = first.end_column;
    return first;
  }
  first.end_line = last.end_line;
  first.end_column = last.end_column;
  return first;
}

static void parse_too_deep(struct parser *p, struct loc loc, const char *what) {
  if (!p->depth_reported)
    diag_error(p->b, loc, "%s nests deeper than %d levels", what, PARSE_MAX_DEPTH);
  p->depth_reported = true;
}

// ---- expressions ------------------------------------------------------------------------------
static struct expr *parse_node(struct parser *p, enum expr_kind kind, struct loc loc) {
  struct expr *e = NEW(p->b->arena, struct expr);
  e->kind = kind;
  e->loc = loc;
  e->depth = 1;
  return e;
}

static void parse_deepen(struct expr *e, const struct expr *child) {
  if (child && child->depth >= e->depth) e->depth = child->depth + 1;
}

// Every node with children passes here once they are all in place.
static struct expr *parse_finish(struct parser *p, struct expr *e) {
  parse_deepen(e, e->a);
  parse_deepen(e, e->b);
  parse_deepen(e, e->c);
  for (int i = 0; i < e->items.len; i++) parse_deepen(e, e->items.data[i]);
  for (int i = 0; i < e->args.len; i++) parse_deepen(e, e->args.data[i].value);
  if (e->depth <= PARSE_MAX_DEPTH) return e;
  parse_too_deep(p, e->loc, "this expression");
  return parse_node(p, E_INT, e->loc);
}

struct expr *parse_leaf(struct parser *p, enum expr_kind kind, struct loc loc, const char *string) {
  struct expr *e = parse_node(p, kind, loc);
  e->string = string;
  return e;
}

struct expr *parse_integer_leaf(struct parser *p, struct loc loc, int64_t value) {
  struct expr *e = parse_node(p, E_INT, loc);
  e->int_value = value;
  return e;
}

struct expr *parse_float_leaf(struct parser *p, struct loc loc, double value) {
  struct expr *e = parse_node(p, E_FLOAT, loc);
  e->float_value = value;
  return e;
}

struct expr *parse_expr(struct parser *p, enum expr_kind kind, struct loc loc, struct expr *a,
                        struct expr *b) {
  struct expr *e = parse_node(p, kind, loc);
  e->a = a;
  e->b = b;
  return parse_finish(p, e);
}

struct expr *parse_operator(struct parser *p, enum token_op op, struct loc loc, struct loc op_loc,
                            struct expr *a, struct expr *b) {
  struct expr *e = parse_node(p, b ? E_BINARY : E_UNARY, loc);
  e->op = op;
  e->op_loc = op_loc;
  e->a = a;
  e->b = b;
  return parse_finish(p, e);
}

struct expr *parse_if(struct parser *p, struct loc loc, struct expr *a, struct expr *b,
                      struct expr *c) {
  struct expr *e = parse_node(p, E_IF, loc);
  e->a = a;
  e->b = b;
  e->c = c;
  return parse_finish(p, e);
}

struct expr *parse_call(struct parser *p, struct loc loc, struct loc open, struct expr *a,
                        arg_list args) {
  struct expr *e = parse_node(p, E_CALL, loc);
  open.end_line = open.line;
  open.end_column = open.column + 1;
  e->op_loc = open;
  e->a = a;
  e->args = args;
  return parse_finish(p, e);
}

struct expr *parse_index(struct parser *p, struct loc loc, struct expr *a, expr_list items) {
  struct expr *e = parse_node(p, E_INDEX, loc);
  e->a = a;
  e->items = items;
  if (items.len == 0) diag_error(p->b, loc, "an index needs at least one item between `[` and `]`");
  return parse_finish(p, e);
}

struct expr *parse_field(struct parser *p, struct loc loc, struct expr *a, struct name_at label) {
  struct expr *e = parse_node(p, E_FIELD, loc);
  e->a = a;
  e->string = label.name;
  e->op_loc = label.loc;
  return parse_finish(p, e);
}

// The grammar has one rule for what stands between brackets; a list takes less than an index.
struct expr *parse_list(struct parser *p, struct loc loc, expr_list items) {
  for (int i = 0; i < items.len; i++) {
    const struct expr *item = items.data[i];
    if (item->kind == E_WILDCARD)
      diag_error(p->b, item->loc, "`_` stands only in a type or an index, not in a list");
    else if (item->kind == E_RANGE && (!item->a || !item->b))
      diag_error(p->b, item->loc, "a range in a list needs both its ends");
  }
  struct expr *e = parse_node(p, E_LIST, loc);
  e->items = items;
  return parse_finish(p, e);
}

struct expr *parse_for_list(struct parser *p, struct loc loc, const char *name, struct expr *a,
                            struct expr *b) {
  struct expr *e = parse_node(p, E_FOR_LIST, loc);
  e->string = name;
  e->a = a;
  e->b = b;
  return parse_finish(p, e);
}

// ---- types ------------------------------------------------------------------------------------
struct type *parse_type(struct parser *p, struct loc loc, const char *name, struct type *element) {
  struct type *t = NEW(p->b->arena, struct type);
  t->loc = loc;
  t->name = name;
  t->element = element;
  return t;
}

static struct dim_syntax parse_dim(struct parser *p, struct expr *item) {
  struct dim_syntax d = {.kind = DIM_EXPR, .loc = item->loc, .expr = item};
  if (item->kind == E_WILDCARD) {
    d.kind = DIM_INFERRED;
    d.expr = NULL;
  } else if (item->kind == E_RANGE) {
    if (item->a || !item->b || item->b->kind != E_NAME)
      diag_error(p->b, item->loc, "a dimension is a size, `_`, or `..name` for any number of axes");
    d.kind = DIM_PACK;
    d.expr = NULL;
    d.name = item->b && item->b->kind == E_NAME ? item->b->string : "_";
  }
  return d;
}

void parse_dims(struct parser *p, struct type *t, expr_list items) {
  t->has_dims = true;
  bool packed = false;
  for (int i = 0; i < items.len; i++) {
    struct dim_syntax d = parse_dim(p, items.data[i]);
    if (d.kind == DIM_PACK && packed)
      diag_error(p->b, d.loc, "a type has at most one `..name`: two could not be told apart");
    packed |= d.kind == DIM_PACK;
    vec_push(p->b->arena, &t->dims, d);
  }
}

// ---- statements and declarations --------------------------------------------------------------
struct stmt *parse_stmt(struct parser *p, enum stmt_kind kind, struct loc loc, struct name_at name,
                        struct expr *value) {
  struct stmt *s = NEW(p->b->arena, struct stmt);
  s->kind = kind;
  s->loc = loc;
  s->name = name;
  s->value = value;
  return s;
}

struct block *parse_block(struct parser *p, struct loc loc, stmt_list stmts) {
  struct block *block = NEW(p->b->arena, struct block);
  block->loc = loc;
  block->stmts = stmts;
  return block;
}

static int parse_chain_length(const struct stmt *s) {
  int n = 0;
  while (s && s->kind == S_IF) {
    n++;
    s = s->else_body && s->else_body->stmts.len == 1 ? s->else_body->stmts.data[0] : NULL;
  }
  return n;
}

// `else if`: a block that holds only the inner `if`.
struct block *parse_else_if(struct parser *p, struct stmt *s) {
  stmt_list only = {0};
  if (parse_chain_length(s) < PARSE_MAX_DEPTH)
    vec_push(p->b->arena, &only, s);
  else
    parse_too_deep(p, s->loc, "this chain of `else if`");
  return parse_block(p, s->loc, only);
}

struct decl *parse_decl(struct parser *p, enum decl_kind kind, struct loc loc,
                        struct name_at name) {
  struct decl *d = NEW(p->b->arena, struct decl);
  d->kind = kind;
  d->loc = loc;
  d->name = name;
  return d;
}

void parse_open_block(struct parser *p, struct loc open, bool schedule) {
  vec_push(p->b->arena, &p->blocks, open);
  p->in_schedule = schedule;
}

void parse_close_block(struct parser *p) {
  p->blocks.len--;
  p->in_schedule = false;
}
