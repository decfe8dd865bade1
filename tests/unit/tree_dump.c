// tree_dump.c: see tree_dump.h. Deliberately shares nothing with the compiler's own printer.
#include "tree_dump.h"

static const char *const expr_names[] = {
    [E_INT] = "int",           [E_FLOAT] = "float",
    [E_STRING] = "string",     [E_BOOL] = "bool",
    [E_NAME] = "name",         [E_LIST] = "list",
    [E_FOR_LIST] = "for-list", [E_UNARY] = "unary",
    [E_BINARY] = "binary",     [E_IF] = "if",
    [E_CALL] = "call",         [E_INDEX] = "index",
    [E_FIELD] = "field",       [E_TRANSPOSE] = "transpose",
    [E_RANGE] = "range",       [E_WILDCARD] = "wildcard",
};

static void dump_args(FILE *out, const arg_list *args) {
  for (int i = 0; i < args->len; i++) {
    fprintf(out, " %s:", args->data[i].label ? args->data[i].label : "");
    tree_dump_expr(out, args->data[i].value);
  }
}

void tree_dump_expr(FILE *out, const struct expr *e) {
  if (!e) {
    fputs("nil", out);
    return;
  }
  switch (e->kind) {
  case E_INT: fprintf(out, "%lld", (long long)e->int_value); return;
  case E_FLOAT: fprintf(out, "%a", e->float_value); return;
  case E_STRING: fprintf(out, "\"%s\"", e->string); return;
  case E_BOOL: fputs(e->int_value ? "true" : "false", out); return;
  case E_NAME: fputs(e->string, out); return;
  case E_WILDCARD: fputs("_", out); return;
  case E_UNARY:
  case E_BINARY: fprintf(out, "(%s", token_op_text(e->op)); break;
  default: fprintf(out, "(%s", expr_names[e->kind]);
  }
  if (e->kind == E_FIELD || e->kind == E_FOR_LIST) fprintf(out, " %s", e->string);
  if (e->a || e->kind == E_RANGE) fputc(' ', out), tree_dump_expr(out, e->a);
  if (e->b || e->kind == E_RANGE) fputc(' ', out), tree_dump_expr(out, e->b);
  if (e->c) fputc(' ', out), tree_dump_expr(out, e->c);
  for (int i = 0; i < e->items.len; i++) fputc(' ', out), tree_dump_expr(out, e->items.data[i]);
  dump_args(out, &e->args);
  fputc(')', out);
}

static void dump_type(FILE *out, const struct type *t) {
  if (!t) {
    fputs("nil", out);
    return;
  }
  fprintf(out, "(type %s", t->name ? t->name : "list");
  if (t->element) dump_type(out, t->element);
  if (t->has_dims) fputs(" dims", out);
  for (int i = 0; i < t->dims.len; i++) {
    const struct dim_syntax *d = &t->dims.data[i];
    fprintf(out, " %s", d->kind == DIM_INFERRED ? "inferred" : d->kind == DIM_PACK ? ".." : "");
    if (d->name) fputs(d->name, out);
    if (d->expr) tree_dump_expr(out, d->expr);
  }
  fputc(')', out);
}

static void dump_path(FILE *out, const struct path *path) {
  fputs(" (path", out);
  for (int i = 0; i < path->parts.len; i++) fprintf(out, " %s", path->parts.data[i].name);
  fputc(')', out);
}

static void dump_block(FILE *out, const struct block *b);

static void dump_stmt(FILE *out, const struct stmt *s) {
  fprintf(out, "\n(stmt %d %s%s ", s->kind, s->name.name ? s->name.name : "nil",
          s->from_string ? " file" : "");
  dump_type(out, s->type);
  fputc(' ', out);
  tree_dump_expr(out, s->value);
  for (int i = 0; i < s->names.len; i++) {
    fprintf(out, " %s:", s->names.data[i].name);
    dump_type(out, s->names.data[i].type);
  }
  for (int i = 0; i < s->values.len; i++) fputc(' ', out), tree_dump_expr(out, s->values.data[i]);
  dump_args(out, &s->args);
  for (int i = 0; i < s->paths.len; i++) dump_path(out, &s->paths.data[i]);
  dump_block(out, s->body);
  dump_block(out, s->else_body);
  fputc(')', out);
}

static void dump_block(FILE *out, const struct block *b) {
  if (!b) return;
  fputs(" {", out);
  for (int i = 0; i < b->stmts.len; i++) dump_stmt(out, b->stmts.data[i]);
  fputc('}', out);
}

static void dump_params(FILE *out, const param_list *params) {
  fputs(" (", out);
  for (int i = 0; i < params->len; i++) {
    fprintf(out, " %s:", params->data[i].name);
    dump_type(out, params->data[i].type);
    fputc('=', out);
    tree_dump_expr(out, params->data[i].default_value);
  }
  fputc(')', out);
}

static void dump_entry(FILE *out, const struct schedule_entry *e) {
  fprintf(out, "\n(entry %s %s", e->pattern ? e->pattern : "nil", e->variant.name);
  dump_path(out, &e->address);
  dump_args(out, &e->args);
  fputc(')', out);
}

static void dump_decl(FILE *out, const struct decl *d) {
  fprintf(out, "(decl %d %s %s%s ", d->kind, d->name.name ? d->name.name : "nil",
          d->file ? d->file : "nil", d->has_config ? " config" : "");
  dump_path(out, &d->path);
  dump_type(out, d->type);
  tree_dump_expr(out, d->value);
  dump_params(out, &d->config);
  dump_params(out, &d->inputs);
  for (int i = 0; i < d->results.len; i++) dump_type(out, d->results.data[i]);
  dump_block(out, d->body);
  for (int i = 0; i < d->entries.len; i++) dump_entry(out, &d->entries.data[i]);
  fputs(")\n", out);
}

void tree_dump_file(FILE *out, const struct file *f) {
  for (int i = 0; i < f->decls.len; i++) dump_decl(out, f->decls.data[i]);
}
