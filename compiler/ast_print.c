// ast_print.c: prints a tree as canonical source: two spaces of indent, one statement a line, a
// blank line round everything with a body, only the parentheses that precedence asks for (and those
// round an `if` that is an operand). Parsing the result gives the same tree again; comments are not
// in the tree and so not in the result; `btc fmt` (fmt.c) keeps them.
#include <stdlib.h>
#include <string.h>

#include "ast.h"

// ---- precedence, loose to tight (grammar/btg.y) -----------------------------------------------
enum precedence {
  PREC_IF,
  PREC_RANGE,
  PREC_OR,
  PREC_AND,
  PREC_NOT,
  PREC_COMPARE,
  PREC_SUM,
  PREC_PRODUCT,
  PREC_NEG,
  PREC_POWER,
  PREC_POST,
};

// clang-format off
static const struct { const char *text; enum precedence precedence; } token_ops[] = {
  [OP_ADD] = {"+", PREC_SUM},          [OP_SUB] = {"-", PREC_SUM},
  [OP_MUL] = {"*", PREC_PRODUCT},      [OP_DIV] = {"/", PREC_PRODUCT},
  [OP_FLOORDIV] = {"//", PREC_PRODUCT}, [OP_MOD] = {"%", PREC_PRODUCT},
  [OP_MATMUL] = {"@", PREC_PRODUCT},   [OP_POW] = {"^", PREC_POWER},
  [OP_LT] = {"<", PREC_COMPARE},       [OP_LE] = {"<=", PREC_COMPARE},
  [OP_GT] = {">", PREC_COMPARE},       [OP_GE] = {">=", PREC_COMPARE},
  [OP_EQ] = {"==", PREC_COMPARE},      [OP_NE] = {"!=", PREC_COMPARE},
  [OP_AND] = {"and", PREC_AND},        [OP_OR] = {"or", PREC_OR},
  [OP_NEG] = {"-", PREC_NEG},          [OP_NOT] = {"not", PREC_NOT},
};
// clang-format on

const char *token_op_text(enum token_op op) {
  expect((size_t)op < sizeof token_ops / sizeof *token_ops, "no such operator: %d", (int)op);
  return token_ops[op].text;
}

static enum precedence print_precedence(const struct expr *e) {
  switch (e->kind) {
  case E_IF: return PREC_IF;
  case E_RANGE: return PREC_RANGE;
  case E_UNARY:
  case E_BINARY: return token_ops[e->op].precedence;
  default: return PREC_POST;
  }
}

// ---- literals ---------------------------------------------------------------------------------
static void print_string(FILE *out, const char *s) {
  fputc('"', out);
  for (; *s; s++) {
    switch (*s) {
    case '\n': fputs("\\n", out); break;
    case '\t': fputs("\\t", out); break;
    case '\r': fputs("\\r", out); break;
    case '\\':
    case '"': fprintf(out, "\\%c", *s); break;
    default: fputc(*s, out);
    }
  }
  fputc('"', out);
}

// The shortest digits that read back as the same number, in the notation that people write: 0.0051,
// 1000.0, 1e-5, 2.5e20.
static void print_float(FILE *out, double value) {
  char text[40];
  int digits = 1;
  do snprintf(text, sizeof text, "%.*e", digits - 1, value);
  while (strtod(text, NULL) != value && digits++ < 17);
  char *e = strchr(text, 'e');
  expect(e, "no literal: %f", value);
  int exponent = atoi(e + 1);
  if (exponent < -4 || exponent > 15) {
    *e = '\0';
    fprintf(out, "%se%d", text, exponent);
  } else {
    int decimals = digits - 1 - exponent;
    fprintf(out, "%.*f", decimals > 1 ? decimals : 1, value);
  }
}

// ---- expressions ------------------------------------------------------------------------------
static void print_expr(FILE *out, const struct expr *e);

// An operand that must bind at least as tightly as `least`.
static void print_operand(FILE *out, const struct expr *e, enum precedence least) {
  bool parentheses = print_precedence(e) < least;
  if (parentheses) fputc('(', out);
  print_expr(out, e);
  if (parentheses) fputc(')', out);
}

static void print_items(FILE *out, const expr_list *items) {
  for (int i = 0; i < items->len; i++) {
    if (i) fputs(", ", out);
    print_expr(out, items->data[i]);
  }
}

static void print_args(FILE *out, const arg_list *args) {
  fputc('(', out);
  for (int i = 0; i < args->len; i++) {
    if (i) fputs(", ", out);
    if (args->data[i].label) fprintf(out, "%s: ", args->data[i].label);
    print_expr(out, args->data[i].value);
  }
  fputc(')', out);
}

static void print_unary(FILE *out, const struct expr *e) {
  fprintf(out, e->op == OP_NOT ? "%s " : "%s", token_op_text(e->op));
  print_operand(out, e->a, token_ops[e->op].precedence);
}

// A minus may follow `^` bare: `a ^ -b`.
static void print_binary(FILE *out, const struct expr *e) {
  enum precedence own = token_ops[e->op].precedence;
  enum precedence left = own + 1, right = own + 1;
  if (own == PREC_POWER)
    right = PREC_NEG;
  else if (own != PREC_COMPARE)
    left = own;
  print_operand(out, e->a, left);
  fprintf(out, own == PREC_POWER ? "%s" : " %s ", token_op_text(e->op));
  print_operand(out, e->b, right);
}

static void print_range(FILE *out, const struct expr *e) {
  if (e->a) print_operand(out, e->a, PREC_RANGE + 1);
  fputs("..", out);
  if (e->b) print_operand(out, e->b, PREC_RANGE + 1);
}

// Operands of `if` other than its last stand between words, the last goes as far as it can.
static void print_if(FILE *out, const struct expr *e) {
  fputs("if ", out);
  print_expr(out, e->a);
  fputs(" then ", out);
  print_expr(out, e->b);
  fputs(" else ", out);
  print_expr(out, e->c);
}

// `1.x` and `1.0` would be numbers.
static void print_field(FILE *out, const struct expr *e) {
  bool number = e->a->kind == E_INT || e->a->kind == E_FLOAT;
  print_operand(out, e->a, number ? PREC_POST + 1 : PREC_POST);
  fprintf(out, ".%s", e->string);
}

static void print_expr(FILE *out, const struct expr *e) {
  switch (e->kind) {
  case E_INT: fprintf(out, "%lld", (long long)e->int_value); break;
  case E_FLOAT: print_float(out, e->float_value); break;
  case E_STRING: print_string(out, e->string); break;
  case E_BOOL: fputs(e->int_value ? "true" : "false", out); break;
  case E_NAME: fputs(e->string, out); break;
  case E_WILDCARD: fputc('_', out); break;
  case E_UNARY: print_unary(out, e); break;
  case E_BINARY: print_binary(out, e); break;
  case E_RANGE: print_range(out, e); break;
  case E_IF: print_if(out, e); break;
  case E_LIST:
    fputc('[', out);
    print_items(out, &e->items);
    fputc(']', out);
    break;
  case E_FOR_LIST:
    fprintf(out, "[for %s in ", e->string);
    print_expr(out, e->a);
    fputs(": ", out);
    print_expr(out, e->b);
    fputc(']', out);
    break;
  case E_CALL:
    print_operand(out, e->a, PREC_POST);
    print_args(out, &e->args);
    break;
  case E_INDEX:
    print_operand(out, e->a, PREC_POST);
    fputc('[', out);
    print_items(out, &e->items);
    fputc(']', out);
    break;
  case E_FIELD: print_field(out, e); break;
  case E_TRANSPOSE:
    print_operand(out, e->a, PREC_POST);
    fputc('\'', out);
    break;
  }
}

void ast_print_expr(FILE *out, const struct expr *e) { print_expr(out, e); }

// ---- types and names --------------------------------------------------------------------------
static void print_dim(FILE *out, const struct dim_syntax *d) {
  switch (d->kind) {
  case DIM_EXPR: print_expr(out, d->expr); break;
  case DIM_INFERRED: fputc('_', out); break;
  case DIM_PACK: fprintf(out, "..%s", d->name); break;
  }
}

static void print_type(FILE *out, const struct type *t) {
  if (!t->name) {
    fputc('[', out);
    print_type(out, t->element);
    fputc(']', out);
    return;
  }
  fputs(t->name, out);
  if (!t->has_dims) return;
  fputc('[', out);
  for (int i = 0; i < t->dims.len; i++) {
    if (i) fputs(", ", out);
    print_dim(out, &t->dims.data[i]);
  }
  fputc(']', out);
}

static void print_path(FILE *out, const struct path *path) {
  for (int i = 0; i < path->parts.len; i++)
    fprintf(out, "%s%s", i ? "." : "", path->parts.data[i].name);
}

static void print_paths(FILE *out, const path_list *paths) {
  for (int i = 0; i < paths->len; i++) {
    if (i) fputs(", ", out);
    print_path(out, &paths->data[i]);
  }
}

static void print_typed_names(FILE *out, const typed_name_list *names) {
  for (int i = 0; i < names->len; i++) {
    fprintf(out, "%s%s", i ? ", " : "", names->data[i].name);
    if (!names->data[i].type) continue;
    fputs(": ", out);
    print_type(out, names->data[i].type);
  }
}

// ---- statements -------------------------------------------------------------------------------
static void print_stmt(FILE *out, const struct stmt *s, int indent);

static void print_block(FILE *out, const struct block *b, int indent) {
  fputs("{\n", out);
  for (int i = 0; i < b->stmts.len; i++) {
    fprintf(out, "%*s", indent + 2, "");
    print_stmt(out, b->stmts.data[i], indent + 2);
    fputc('\n', out);
  }
  fprintf(out, "%*s}", indent, "");
}

static void print_declared(FILE *out, const char *word, const struct stmt *s) {
  fprintf(out, "%s %s: ", word, s->name.name);
  print_type(out, s->type);
  fputs(" = ", out);
  print_expr(out, s->value);
}

static void print_valued(FILE *out, const char *words, const struct stmt *s) {
  fprintf(out, "%s ", words);
  print_expr(out, s->value);
}

// The parser writes `else if` as a block of one; it begins where its only statement does.
static const struct stmt *print_else_if(const struct block *b) {
  if (b->stmts.len != 1 || b->stmts.data[0]->kind != S_IF) return NULL;
  const struct stmt *only = b->stmts.data[0];
  return b->loc.line == only->loc.line && b->loc.column == only->loc.column ? only : NULL;
}

static void print_if_stmt(FILE *out, const struct stmt *s, int indent) {
  print_valued(out, "if", s);
  fputc(' ', out);
  print_block(out, s->body, indent);
  if (!s->else_body) return;
  fputs(" else ", out);
  const struct stmt *chained = print_else_if(s->else_body);
  if (chained)
    print_if_stmt(out, chained, indent);
  else
    print_block(out, s->else_body, indent);
}

static void print_load(FILE *out, const struct stmt *s) {
  fputs("load ", out);
  print_paths(out, &s->paths);
  fputs(" from ", out);
  if (s->from_string)
    print_string(out, s->name.name);
  else
    fputs(s->name.name, out);
}

static void print_stmt(FILE *out, const struct stmt *s, int indent) {
  switch (s->kind) {
  case S_PARAM: print_declared(out, "param", s); break;
  case S_STATE: print_declared(out, "state", s); break;
  case S_KEEP: print_declared(out, "keep", s); break;
  case S_UPDATE:
    fprintf(out, "update %s = ", s->name.name);
    print_expr(out, s->value);
    break;
  case S_LET:
    fputs("let ", out);
    print_typed_names(out, &s->names);
    fputs(" = ", out);
    print_items(out, &s->values);
    break;
  case S_BIND:
    fprintf(out, "%s = ", s->name.name);
    print_expr(out, s->value);
    break;
  case S_CALL:
    fputs(s->name.name, out);
    print_args(out, &s->args);
    break;
  case S_RETURN:
    fputs("return ", out);
    print_items(out, &s->values);
    break;
  case S_FOR:
    fprintf(out, "for %s in ", s->name.name);
    print_expr(out, s->value);
    fputc(' ', out);
    print_block(out, s->body, indent);
    break;
  case S_IF: print_if_stmt(out, s, indent); break;
  case S_DATA:
    fputs("data ", out);
    print_typed_names(out, &s->names);
    break;
  case S_MINIMIZE: print_valued(out, "minimize", s); break;
  case S_EPOCHS: print_valued(out, "epochs", s); break;
  case S_OPTIMIZER:
    print_valued(out, "optimizer", s);
    if (s->paths.len > 0) fputs(" on ", out);
    print_paths(out, &s->paths);
    break;
  case S_REPORT:
  case S_OUTPUT:
    fprintf(out, "%s %s: ", s->kind == S_REPORT ? "report" : "output", s->name.name);
    print_expr(out, s->value);
    break;
  case S_LOAD: print_load(out, s); break;
  case S_PASS:
    fprintf(out, "pass %s ", s->name.name);
    print_block(out, s->body, indent);
    break;
  case S_EVALUATE:
    fprintf(out, "evaluate %s", s->name.name);
    print_args(out, &s->args);
    break;
  }
}

// ---- declarations -----------------------------------------------------------------------------
static void print_params(FILE *out, const param_list *params) {
  fputc('(', out);
  for (int i = 0; i < params->len; i++) {
    const struct param_decl *d = &params->data[i];
    fprintf(out, "%s%s: ", i ? ", " : "", d->name);
    print_type(out, d->type);
    if (!d->default_value) continue;
    fputs(" = ", out);
    print_expr(out, d->default_value);
  }
  fputc(')', out);
}

static void print_results(FILE *out, const type_list *results) {
  for (int i = 0; i < results->len; i++) {
    fputs(i ? ", " : " -> ", out);
    print_type(out, results->data[i]);
  }
}

static void print_body(FILE *out, const struct decl *d) {
  if (d->value) {
    fputs(" = ", out);
    print_expr(out, d->value);
  } else {
    fputc(' ', out);
    print_block(out, d->body, 0);
  }
}

static void print_import(FILE *out, const struct decl *d) {
  fputs("import ", out);
  if (d->file)
    print_string(out, d->file);
  else
    print_path(out, &d->path);
  if (d->name.name) fprintf(out, " as %s", d->name.name);
}

static void print_const(FILE *out, const struct decl *d) {
  fprintf(out, "const %s", d->name.name);
  if (d->type) fputs(": ", out), print_type(out, d->type);
  print_body(out, d);
}

static void print_schedule(FILE *out, const struct decl *d) {
  fprintf(out, "schedule%s%s {\n", d->name.name ? " " : "", d->name.name ? d->name.name : "");
  for (int i = 0; i < d->entries.len; i++) {
    const struct schedule_entry *e = &d->entries.data[i];
    fputs("  ", out);
    if (e->pattern)
      print_string(out, e->pattern);
    else
      print_path(out, &e->address);
    fprintf(out, ": %s", e->variant.name);
    if (e->args.len > 0) print_args(out, &e->args);
    fputc('\n', out);
  }
  fputc('}', out);
}

static void print_decl(FILE *out, const struct decl *d) {
  switch (d->kind) {
  case D_IMPORT: print_import(out, d); break;
  case D_CONST: print_const(out, d); break;
  case D_INSTANCE:
    fputs(d->name.name, out);
    print_body(out, d);
    break;
  case D_FN:
    fprintf(out, "fn %s", d->name.name);
    print_params(out, &d->inputs);
    print_results(out, &d->results);
    print_body(out, d);
    break;
  case D_MODULE:
    fprintf(out, "module %s", d->name.name);
    print_params(out, &d->config);
    print_params(out, &d->inputs);
    print_results(out, &d->results);
    print_body(out, d);
    break;
  case D_VIEW:
    fprintf(out, "view %s", d->name.name);
    if (d->has_config) print_params(out, &d->config);
    print_body(out, d);
    break;
  case D_PROGRAM:
    fprintf(out, "program %s", d->name.name);
    print_body(out, d);
    break;
  case D_SCHEDULE: print_schedule(out, d); break;
  }
  fputc('\n', out);
}

// Lines of one kind stand together; everything else is set apart.
static bool print_apart(const struct decl *above, const struct decl *below) {
  return above->kind != below->kind || above->body || above->kind == D_SCHEDULE || below->body;
}

void ast_print(FILE *out, const struct file *f) {
  for (int i = 0; i < f->decls.len; i++) {
    if (i > 0 && print_apart(f->decls.data[i - 1], f->decls.data[i])) fputc('\n', out);
    print_decl(out, f->decls.data[i]);
  }
}
