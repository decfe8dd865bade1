// fmt_tree.c: the syntax tree to groups of tokens. The walk goes through the tree in the order of the text
// and takes the tokens as they come, so every token is taken once and by the construct that it belongs to;
// parentheses that only group are in no node, and are met where a node begins behind the next token.
#include "fmt_internal.h"

enum { CONTINUATION = 4, BODY = 2 };

struct walk {
  struct arena *arena;
  fmt_token_list *tokens;
  int next;                // the token to take
  int line;                // first token of the innermost statement or declaration
  struct fmt_group *group; // the innermost that is open
};

// ---- tokens and groups ---------------------------------------------------------------------------
static int next_kind(const struct walk *w) { return w->tokens->data[w->next].kind; }

static struct fmt_token *take(struct walk *w, bool space) {
  expect(w->next + 1 < w->tokens->len, "no token is left");
  struct fmt_token *t = &w->tokens->data[w->next++];
  t->space = space;
  return t;
}

static void word(struct walk *w) { take(w, true); }   // with a space before it
static void joined(struct walk *w) { take(w, false); }

// A group whose lines start from the token `anchor`.
static struct fmt_group *open_group(struct walk *w, int anchor, int offset) {
  struct fmt_group *g = NEW(w->arena, struct fmt_group);
  *g = (struct fmt_group){.first = w->next, .anchor = anchor, .offset = offset, .hanging = -1, .parent = w->group};
  return w->group = g;
}

static void close_group(struct walk *w) {
  struct fmt_group *g = w->group, *parent = g->parent;
  g->end = w->next;
  w->group = parent;
  if (!parent || g->end == g->first) return;
  parent->forced |= g->forced;
  vec_push(w->arena, &parent->children, g);
}

static void add_break(struct walk *w, struct fmt_break b) {
  b.token = w->next;
  vec_push(w->arena, &w->group->breaks, b);
}

static void may_break(struct walk *w, int offset) {
  add_break(w, (struct fmt_break){.offset = offset, .comment_offset = offset});
}

// ---- lists ---------------------------------------------------------------------------------------
static void comma(struct walk *w, int offset) {
  joined(w);
  may_break(w, offset);
}

// `(` or `[`, items, and what closes it: open_bracket; for every item but the first comma; close_bracket.
static void open_bracket(struct walk *w, bool space, int n_items) {
  struct fmt_group *g = open_group(w, w->next + 1, 0);
  take(w, space);
  if (n_items == 0) return;
  g->bracket = true;
  may_break(w, 0);
}

static void close_bracket(struct walk *w) {
  joined(w);
  close_group(w);
}

// ---- expressions ---------------------------------------------------------------------------------
static void walk_expr(struct walk *w, const struct expr *e, bool space, int indent);

static bool is_before(struct loc a, struct loc b) {
  return a.line < b.line || (a.line == b.line && a.column < b.column);
}

static bool in_parentheses(const struct walk *w, const struct expr *e) {
  return is_before(w->tokens->data[w->next].loc, e->loc);
}

// Operators that a chain of operands may mix: a + b - c, a * b @ c.
static int chain_class(const struct expr *e) {
  if (e->kind != E_BINARY) return 0;
  switch (e->op) {
  case OP_ADD:
  case OP_SUB: return 1;
  case OP_MUL:
  case OP_DIV:
  case OP_FLOORDIV:
  case OP_MOD:
  case OP_MATMUL: return 2;
  case OP_AND: return 3;
  case OP_OR: return 4;
  case OP_LT:
  case OP_LE:
  case OP_GT:
  case OP_GE:
  case OP_EQ:
  case OP_NE: return 5;
  default: return 0; // ^ is never broken off
  }
}

// A chain that does not fit has a line for each operand, begun by its operator, under the first operand or
// `indent` columns right of it.
static void walk_chain(struct walk *w, const struct expr *e, bool space, int indent) {
  if (chain_class(e->a) == chain_class(e) && !in_parentheses(w, e->a)) walk_chain(w, e->a, space, indent);
  else walk_expr(w, e->a, space, 0);
  may_break(w, indent);
  word(w);
  walk_expr(w, e->b, true, 0);
}

static void walk_binary(struct walk *w, const struct expr *e, bool space, int indent) {
  if (chain_class(e)) {
    open_group(w, w->next, indent)->all = true;
    walk_chain(w, e, space, indent);
    close_group(w);
    return;
  }
  walk_expr(w, e->a, space, 0);
  joined(w);
  walk_expr(w, e->b, false, 0);
}

static void walk_if(struct walk *w, const struct expr *e, bool space) {
  open_group(w, w->next, BODY)->all = true;
  take(w, space);
  walk_expr(w, e->a, true, 0);
  may_break(w, BODY);
  word(w);
  walk_expr(w, e->b, true, 0);
  may_break(w, BODY);
  word(w);
  walk_expr(w, e->c, true, 0);
  close_group(w);
}

// What an item's own lines are indented by, so that they differ from the next item's.
static int item_indent(int n_items) { return n_items > 1 ? BODY : 0; }

static void walk_items(struct walk *w, const expr_list *items, bool space) {
  open_bracket(w, space, items->len);
  for (int i = 0; i < items->len; i++) {
    if (i > 0) comma(w, 0);
    walk_expr(w, items->data[i], i > 0, item_indent(items->len));
  }
  close_bracket(w);
}

static void walk_args(struct walk *w, const arg_list *args) {
  open_bracket(w, false, args->len);
  for (int i = 0; i < args->len; i++) {
    const struct arg *arg = &args->data[i];
    if (i > 0) comma(w, 0);
    if (arg->label) take(w, i > 0), joined(w);
    walk_expr(w, arg->value, arg->label || i > 0, item_indent(args->len));
  }
  close_bracket(w);
}

static void walk_for_list(struct walk *w, const struct expr *e, bool space) {
  open_bracket(w, space, 1);
  joined(w), word(w), word(w); // for NAME in
  walk_expr(w, e->a, true, 0);
  comma(w, BODY); // a colon
  walk_expr(w, e->b, true, 0);
  close_bracket(w);
}

static void walk_range(struct walk *w, const struct expr *e, bool space) {
  if (e->a) walk_expr(w, e->a, space, 0);
  take(w, !e->a && space);
  if (e->b) walk_expr(w, e->b, false, 0);
}

// `1.x` and `1.0` would be numbers.
static void walk_field(struct walk *w, const struct expr *e, bool space) {
  walk_expr(w, e->a, space, 0);
  int before = w->tokens->data[w->next - 1].kind;
  bool number = before == T_INTEGER || before == T_NUMBER;
  if (next_kind(w) == T_DOT) take(w, number), joined(w);
  else take(w, number);
}

static void walk_unary(struct walk *w, const struct expr *e, bool space) {
  take(w, space);
  walk_expr(w, e->a, e->op == OP_NOT, 0);
}

static void walk_node(struct walk *w, const struct expr *e, bool space, int indent) {
  switch (e->kind) {
  case E_INT:
  case E_FLOAT:
  case E_STRING:
  case E_BOOL:
  case E_NAME:
  case E_WILDCARD: take(w, space); break;
  case E_UNARY: walk_unary(w, e, space); break;
  case E_BINARY: walk_binary(w, e, space, indent); break;
  case E_RANGE: walk_range(w, e, space); break;
  case E_IF: walk_if(w, e, space); break;
  case E_LIST: walk_items(w, &e->items, space); break;
  case E_FOR_LIST: walk_for_list(w, e, space); break;
  case E_CALL:
    walk_expr(w, e->a, space, 0);
    walk_args(w, &e->args);
    break;
  case E_INDEX:
    walk_expr(w, e->a, space, 0);
    walk_items(w, &e->items, false);
    break;
  case E_FIELD: walk_field(w, e, space); break;
  case E_TRANSPOSE:
    walk_expr(w, e->a, space, 0);
    joined(w);
    break;
  }
}

static void walk_expr(struct walk *w, const struct expr *e, bool space, int indent) {
  int parentheses = 0;
  for (; in_parentheses(w, e); parentheses++) take(w, space && parentheses == 0);
  walk_node(w, e, space && parentheses == 0, parentheses ? 0 : indent);
  while (parentheses-- > 0) joined(w);
}

// ---- types and names -----------------------------------------------------------------------------
// Types are short and not broken.
static void walk_type(struct walk *w, const struct type *t, bool space) {
  take(w, space);
  if (!t->name) {
    walk_type(w, t->element, false);
    joined(w);
  }
  if (!t->has_dims) return;
  joined(w);
  for (int i = 0; i < t->dims.len; i++) {
    const struct dim_syntax *d = &t->dims.data[i];
    if (i > 0) joined(w);
    if (d->kind == DIM_EXPR) walk_expr(w, d->expr, i > 0, 0);
    else take(w, i > 0);
    if (d->kind == DIM_PACK) joined(w);
  }
  joined(w);
}

static void walk_typed(struct walk *w, const struct type *t) { // [: type]
  if (!t) return;
  joined(w);
  walk_type(w, t, true);
}

static void walk_path(struct walk *w, bool space) {
  take(w, space);
  while (next_kind(w) == T_DOT || next_kind(w) == T_INDEX)
    if (take(w, false)->kind == T_DOT) joined(w);
}

// Lists without brackets fill their lines, which start under the first item.
static void walk_paths(struct walk *w, const path_list *paths) {
  open_group(w, w->next, 0);
  for (int i = 0; i < paths->len; i++) {
    if (i > 0) comma(w, 0);
    walk_path(w, true);
  }
  close_group(w);
}

static void walk_names(struct walk *w, const typed_name_list *names) {
  open_group(w, w->next, 0);
  for (int i = 0; i < names->len; i++) {
    if (i > 0) comma(w, 0);
    word(w);
    walk_typed(w, names->data[i].type);
  }
  close_group(w);
}

static void walk_values(struct walk *w, const expr_list *values) {
  open_group(w, w->next, 0);
  for (int i = 0; i < values->len; i++) {
    if (i > 0) comma(w, 0);
    walk_expr(w, values->data[i], true, item_indent(values->len));
  }
  close_group(w);
}

static void walk_params(struct walk *w, const param_list *params) {
  open_bracket(w, false, params->len);
  for (int i = 0; i < params->len; i++) {
    const struct param_decl *d = &params->data[i];
    if (i > 0) comma(w, 0);
    take(w, i > 0);
    walk_typed(w, d->type);
    if (!d->default_value) continue;
    word(w);
    walk_expr(w, d->default_value, true, BODY);
  }
  close_bracket(w);
}

// ---- statements ----------------------------------------------------------------------------------
static void walk_stmt(struct walk *w, const struct stmt *s);

static bool is_plain(const struct stmt *s) { return !s->body; }

static void begin_lines(struct walk *w, bool one_line) {
  struct fmt_group *g = open_group(w, w->line, BODY);
  g->all = true;
  g->forced = !one_line;
  word(w);
}

static void end_lines(struct walk *w, bool empty) {
  add_break(w, (struct fmt_break){.comment_offset = BODY, .statement = true});
  take(w, !empty);
  close_group(w);
}

static void walk_block(struct walk *w, const struct block *b) {
  bool written_so = b->loc.line == b->loc.end_line;
  bool one_line = b->stmts.len == 0 || (b->stmts.len == 1 && is_plain(b->stmts.data[0]) && written_so);
  begin_lines(w, one_line);
  for (int i = 0; i < b->stmts.len; i++) {
    add_break(w, (struct fmt_break){.offset = BODY, .comment_offset = BODY, .statement = true});
    walk_stmt(w, b->stmts.data[i]);
  }
  end_lines(w, b->stmts.len == 0);
}

static void walk_assigned(struct walk *w, const struct expr *value) {
  word(w);
  walk_expr(w, value, true, 0);
}

static void walk_declared(struct walk *w, const struct stmt *s) { // WORD NAME: type = value
  word(w), word(w);
  walk_typed(w, s->type);
  walk_assigned(w, s->value);
}

static void walk_binding(struct walk *w, enum fmt_column column, const struct expr *value) {
  w->tokens->data[w->next].column = column;
  walk_assigned(w, value);
}

static void walk_if_stmt(struct walk *w, const struct stmt *s) {
  word(w);
  walk_expr(w, s->value, true, 0);
  walk_block(w, s->body);
  if (!s->else_body) return;
  word(w);
  if (next_kind(w) == T_IF) walk_if_stmt(w, s->else_body->stmts.data[0]);
  else walk_block(w, s->else_body);
}

static void walk_optimizer(struct walk *w, const struct stmt *s) {
  word(w);
  walk_expr(w, s->value, true, 0);
  if (s->paths.len == 0) return;
  may_break(w, CONTINUATION);
  word(w);
  walk_paths(w, &s->paths);
}

static void walk_stmt_parts(struct walk *w, const struct stmt *s) {
  switch (s->kind) {
  case S_PARAM:
  case S_STATE:
  case S_KEEP: walk_declared(w, s); break;
  case S_UPDATE:
    word(w), word(w);
    walk_assigned(w, s->value);
    break;
  case S_LET:
    word(w);
    walk_names(w, &s->names);
    word(w);
    walk_values(w, &s->values);
    break;
  case S_BIND:
    word(w);
    walk_binding(w, FMT_INSTANCES, s->value);
    break;
  case S_CALL:
    word(w);
    walk_args(w, &s->args);
    break;
  case S_RETURN:
    word(w);
    walk_values(w, &s->values);
    break;
  case S_FOR:
    word(w), word(w);
    walk_assigned(w, s->value); // in
    walk_block(w, s->body);
    break;
  case S_IF: walk_if_stmt(w, s); break;
  case S_DATA:
    word(w);
    walk_names(w, &s->names);
    break;
  case S_MINIMIZE:
  case S_EPOCHS: walk_assigned(w, s->value); break;
  case S_OPTIMIZER: walk_optimizer(w, s); break;
  case S_REPORT:
  case S_OUTPUT:
    word(w), word(w), joined(w);
    walk_expr(w, s->value, true, 0);
    break;
  case S_LOAD:
    word(w);
    walk_paths(w, &s->paths);
    word(w), word(w);
    break;
  case S_PASS:
    word(w), word(w);
    walk_block(w, s->body);
    break;
  case S_EVALUATE:
    word(w), word(w);
    walk_args(w, &s->args);
    break;
  }
}

// A statement or declaration: its tokens, whose lines start from the first of them.
static int begin_line(struct walk *w) {
  int outer = w->line;
  w->line = w->next;
  open_group(w, w->next, CONTINUATION);
  return outer;
}

static void end_line(struct walk *w, int outer) {
  close_group(w);
  w->line = outer;
}

static void walk_stmt(struct walk *w, const struct stmt *s) {
  int outer = begin_line(w);
  walk_stmt_parts(w, s);
  end_line(w, outer);
}

// ---- declarations --------------------------------------------------------------------------------
static void walk_results(struct walk *w, const type_list *results) {
  for (int i = 0; i < results->len; i++) {
    take(w, i == 0); // -> or a comma
    walk_type(w, results->data[i], true);
  }
}

// What does not fit goes below the `=`.
static void walk_fn(struct walk *w, const struct decl *d) {
  w->group->all = true;
  word(w), word(w);
  walk_params(w, &d->inputs);
  walk_results(w, &d->results);
  if (d->body) {
    walk_block(w, d->body);
    return;
  }
  word(w);
  may_break(w, BODY);
  walk_expr(w, d->value, true, 0);
}

// The inputs go below the configuration where both do not fit on a line.
static void walk_module(struct walk *w, const struct decl *d) {
  word(w), word(w);
  struct fmt_group *g = open_group(w, w->next, 0);
  g->all = true;
  walk_params(w, &d->config);
  may_break(w, 0);
  walk_params(w, &d->inputs);
  walk_results(w, &d->results);
  close_group(w);
  walk_block(w, d->body);
}

static void walk_import(struct walk *w, const struct decl *d) {
  word(w);
  if (d->file) word(w);
  else walk_path(w, true);
  if (d->name.name) word(w), word(w);
}

static void walk_entry(struct walk *w, const struct schedule_entry *e) {
  int outer = begin_line(w);
  walk_path(w, true);
  joined(w), word(w);
  if (next_kind(w) == T_LPAREN) walk_args(w, &e->args);
  end_line(w, outer);
}

static void walk_schedule(struct walk *w, const struct decl *d) {
  word(w);
  if (d->name.name) word(w);
  begin_lines(w, d->entries.len == 0 || (d->entries.len == 1 && d->loc.line == d->loc.end_line));
  for (int i = 0; i < d->entries.len; i++) {
    add_break(w, (struct fmt_break){.offset = BODY, .comment_offset = BODY, .statement = true});
    walk_entry(w, &d->entries.data[i]);
  }
  end_lines(w, d->entries.len == 0);
}

static void walk_decl_parts(struct walk *w, const struct decl *d) {
  switch (d->kind) {
  case D_IMPORT: walk_import(w, d); break;
  case D_CONST:
    word(w), word(w);
    walk_typed(w, d->type);
    walk_binding(w, FMT_CONSTANTS, d->value);
    break;
  case D_INSTANCE:
    word(w);
    walk_binding(w, FMT_INSTANCES, d->value);
    break;
  case D_FN: walk_fn(w, d); break;
  case D_MODULE: walk_module(w, d); break;
  case D_VIEW:
    word(w), word(w);
    if (d->has_config) walk_params(w, &d->config);
    walk_block(w, d->body);
    break;
  case D_PROGRAM:
    word(w), word(w);
    walk_block(w, d->body);
    break;
  case D_SCHEDULE: walk_schedule(w, d); break;
  }
}

static bool has_lines(const struct decl *d) { return d->body || d->kind == D_SCHEDULE; }

struct fmt_group *fmt_group_file(struct arena *a, const struct file *f, fmt_token_list *tokens) {
  struct walk w = {.arena = a, .tokens = tokens};
  struct fmt_group *g = open_group(&w, -1, 0);
  g->all = true;
  for (int i = 0; i < f->decls.len; i++) {
    bool apart = i > 0 && has_lines(f->decls.data[i - 1]);
    add_break(&w, (struct fmt_break){.statement = true, .apart = apart});
    int outer = begin_line(&w);
    walk_decl_parts(&w, f->decls.data[i]);
    end_line(&w, outer);
  }
  close_group(&w);
  expect(w.next + 1 == tokens->len, "%d tokens were not taken", tokens->len - 1 - w.next);
  return g;
}
