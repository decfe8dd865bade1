// graph_text.c: a graph as text, and back.
//
//   file     = "graph" word "{" {node | output | update} "}"
//   node     = ID "=" op ["(" [ID {"," ID}] ")"] ["{" [attr {"," attr}] "}"] ":" type [layout]
//   [STRING] [place] attr     = label ":" {NUMBER | STRING}                 labels and counts are
//   ops.def's type     = dtype ["[" [INT {"," INT}] "]"] layout   = "{" "block" INT "}" axis 1 in
//   blocks; absent: row-major place    = "at" STRING ":" INT ":" INT                 file, line,
//   column output   = "output" ("loss" | "report" | "value") STRING "=" ID update   = "update"
//   STRING "=" ID
//
// ID is % and digits; `#` starts a comment. Printing what was parsed gives the same text, except
// that nodes are numbered in order. The scanner hands the parser one token at a time; a syntax
// error is diagnosed once and ends the parse.
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph.h"

static const char *const output_kinds[] = {
    [BT_OUTPUT_LOSS] = "loss", [BT_OUTPUT_REPORT] = "report", [BT_OUTPUT_VALUE] = "value", [BT_OUTPUT_ROWS] = "rows"};
enum { OUTPUT_KINDS = sizeof output_kinds / sizeof output_kinds[0] };

// ---- the attribute schema ---------------------------------------------------------------------
// One label of ops.def's attribute column: "stride:2", "axes:*", "value:f", "name:s".
struct attr_label {
  char name[24];
  int count; // integers; -1: as many as there are
  char kind; // 'i', 'f', 's'
};

// Reads the label at *schema and moves on. False at the end.
static bool next_label(const char **schema, struct attr_label *out) {
  int length = 0;
  char count[8];
  if (sscanf(*schema, " %23[^: ]:%7[^ ]%n", out->name, count, &length) < 2) return false;
  *schema += length;
  out->kind = count[0] == 'f' || count[0] == 's' ? count[0] : 'i';
  out->count = count[0] == '*' ? -1 : atoi(count);
  return true;
}

// ---- printing ---------------------------------------------------------------------------------

static void print_string(FILE *out, const char *s) {
  fputc('"', out);
  for (; *s; s++) {
    if (*s == '"' || *s == '\\')
      fprintf(out, "\\%c", *s);
    else if (*s == '\n')
      fputs("\\n", out);
    else
      fputc(*s, out);
  }
  fputc('"', out);
}

// The shortest decimal that reads back as the same double.
static void print_number(FILE *out, double x) {
  char text[40];
  if (x == floor(x) && fabs(x) < 1e15) {
    fprintf(out, "%.0f", x); // 100, not 1e+02
    return;
  }
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, x);
    if (strtod(text, NULL) == x) break;
  }
  fputs(text, out);
}

static void print_attributes(FILE *out, const struct node *n) {
  const char *schema = op_info(n->op)->attributes;
  struct attr_label l;
  int slot = 0;
  bool first = true;
  while (next_label(&schema, &l)) {
    int count = l.count < 0 ? n->attr.n : l.count;
    if (l.kind == 'i' && count == 0) continue;
    fprintf(out, "%s%s:", first ? " {" : ", ", l.name);
    first = false;
    if (l.kind == 'f')
      fputc(' ', out), print_number(out, n->attr.f);
    else if (l.kind == 's')
      fputc(' ', out), print_string(out, n->attr.s ? n->attr.s : "");
    else
      for (int i = 0; i < count; i++) fprintf(out, " %" PRId64, n->attr.i[slot++]);
  }
  if (!first) fputc('}', out);
}

static void print_type(FILE *out, const struct tensor_type *t) {
  fputs(dtype_name(t->dtype), out);
  for (int i = 0; i < t->shape.rank; i++)
    fprintf(out, "%s%" PRId64, i ? ", " : "[", t->shape.dim[i]);
  if (t->shape.rank) fputc(']', out);
}

static void print_line(FILE *out, const struct node *n) {
  fprintf(out, "%%%d = %s", n->id, op_info(n->op)->name);
  for (int i = 0; i < n->n_in; i++) fprintf(out, "%s%%%d", i ? ", " : "(", n->in[i]->id);
  if (n->n_in) fputc(')', out);
  print_attributes(out, n);
  fputs(" : ", out);
  print_type(out, &n->type);
  if (n->block) fprintf(out, "{block %d}", n->block);
  if (n->path) fputc(' ', out), print_string(out, n->path);
}

void graph_print_node(FILE *out, const struct node *n) {
  print_line(out, n);
  fputc('\n', out);
}

static void print_place(FILE *out, const struct btc *b, const struct loc *loc) {
  if (!loc->line || loc->file < 0 || loc->file >= b->files.len) return;
  fputs(" at ", out);
  print_string(out, b->files.data[loc->file].path);
  fprintf(out, ":%d:%d", loc->line, loc->column);
}

void graph_print(FILE *out, const struct graph *g) {
  fprintf(out, "graph %s {\n", g->name);
  for (int i = 0; i < g->nodes.len; i++) {
    fputs("  ", out);
    print_line(out, g->nodes.data[i]);
    print_place(out, g->b, &g->nodes.data[i]->loc);
    fputc('\n', out);
  }
  for (int i = 0; i < g->outputs.len; i++) {
    fprintf(out, "  output %s ", output_kinds[g->outputs.data[i].kind]);
    print_string(out, g->outputs.data[i].name);
    fprintf(out, " = %%%d\n", g->outputs.data[i].node->id);
  }
  for (int i = 0; i < g->updates.len; i++) {
    fputs("  update ", out);
    print_string(out, g->updates.data[i].name);
    fprintf(out, " = %%%d\n", g->updates.data[i].node->id);
  }
  fputs("}\n", out);
}

// ---- scanning ---------------------------------------------------------------------------------

enum token { T_END, T_WORD, T_NUMBER, T_STRING, T_ID, T_PUNCTUATION };

struct text_parser {
  struct btc *b;
  struct graph *g;
  const char *at, *line_start; // the scanner's place
  int source, line;
  enum token token; // the current token
  const char *text; // its spelling; a string's value
  double number;
  struct loc loc;
  VEC(struct node *) by_id; // the node that the text calls %i
  bool failed;
};

static bool fail(struct text_parser *p, struct loc loc, const char *message) {
  if (!p->failed) diag_error(p->b, loc, "%s", message);
  p->failed = true;
  p->token = T_END;
  return false;
}

static void skip_space(struct text_parser *p) {
  for (;; p->at++) {
    if (*p->at == '#') p->at += strcspn(p->at, "\n");
    if (*p->at == '\n')
      p->line++, p->line_start = p->at + 1;
    else if (!isspace((unsigned char)*p->at))
      return;
  }
}

static struct loc place_of(const struct text_parser *p, const char *start, const char *end) {
  int column = (int)(start - p->line_start) + 1;
  return (struct loc){p->source, p->line, column, p->line, column + (int)(end - start)};
}

// A quoted string; p->at is behind the opening quote.
static void scan_string(struct text_parser *p, const char *start) {
  char *value = arena_alloc(p->b->arena, strcspn(start + 1, "\n") + 1), *to = value;
  while (*p->at && *p->at != '\n' && *p->at != '"') {
    if (*p->at == '\\' && p->at[1]) {
      p->at++;
      *to++ = *p->at == 'n' ? '\n' : *p->at;
      p->at++;
    } else {
      *to++ = *p->at++;
    }
  }
  p->token = T_STRING;
  p->text = value;
  if (*p->at == '"')
    p->at++;
  else
    fail(p, place_of(p, start, p->at), "this string has no end on its line");
}

static bool begins_number(const char *s) {
  if (*s == '-' || *s == '+') s++;
  bool special = strncmp(s, "inf", 3) == 0 || strncmp(s, "nan", 3) == 0;
  return isdigit((unsigned char)*s) || (special && !isalnum((unsigned char)s[3]) && s[3] != '_');
}

static void advance(struct text_parser *p) {
  if (p->failed) return;
  skip_space(p);
  const char *start = p->at;
  if (!*start) {
    p->token = T_END;
  } else if (*start == '"') {
    p->at++;
    scan_string(p, start);
  } else if (begins_number(start)) {
    p->token = T_NUMBER;
    char *end;
    p->number = strtod(start, &end);
    p->at = end;
  } else if (*start == '%' || isalpha((unsigned char)*start) || *start == '_') {
    p->token = *start == '%' ? T_ID : T_WORD;
    for (p->at++; isalnum((unsigned char)*p->at) || *p->at == '_' || *p->at == '.'; p->at++) {}
  } else {
    p->token = T_PUNCTUATION;
    p->at++;
  }
  if (p->failed) return;
  if (p->token != T_STRING) p->text = str_ndup(p->b->arena, start, (size_t)(p->at - start));
  p->loc = place_of(p, start, p->at);
}

// ---- parsing ----------------------------------------------------------------------------------

static bool is(const struct text_parser *p, const char *spelling) {
  return (p->token == T_PUNCTUATION || p->token == T_WORD) && strcmp(p->text, spelling) == 0;
}

static bool accept(struct text_parser *p, const char *spelling) {
  if (!is(p, spelling)) return false;
  advance(p);
  return true;
}

static bool wanted(struct text_parser *p, const char *what) {
  if (p->token == T_END)
    return fail(p, p->loc, str_printf(p->b->arena, "the graph ends where %s should follow", what));
  return fail(p, p->loc, str_printf(p->b->arena, "'%s' where %s should stand", p->text, what));
}

static bool require(struct text_parser *p, const char *spelling) {
  return accept(p, spelling) || wanted(p, str_printf(p->b->arena, "'%s'", spelling));
}

static bool parse_token(struct text_parser *p, enum token token, const char *what,
                        const char **text) {
  if (p->token != token) return wanted(p, what);
  *text = p->text;
  advance(p);
  return true;
}

static bool parse_int(struct text_parser *p, int64_t *out) {
  if (p->token != T_NUMBER || p->number != floor(p->number) || fabs(p->number) > 9e15)
    return wanted(p, "an integer");
  *out = strtoll(p->text, NULL, 10);
  advance(p);
  return true;
}

static bool parse_id(struct text_parser *p, int *id) {
  char *end;
  long i = p->token == T_ID ? strtol(p->text + 1, &end, 10) : -1;
  if (i < 0 || *end || end == p->text + 1 || i > 1 << 24) return wanted(p, "a node such as %0");
  *id = (int)i;
  advance(p);
  return true;
}

static bool parse_operand(struct text_parser *p, struct node **out) {
  struct loc loc = p->loc;
  int id;
  if (!parse_id(p, &id)) return false;
  if (id >= p->by_id.len || !p->by_id.data[id])
    return fail(p, loc, str_printf(p->b->arena, "%%%d is used before it is computed", id));
  *out = p->by_id.data[id];
  return true;
}

static bool parse_type(struct text_parser *p, struct tensor_type *t) {
  if (p->token != T_WORD || !dtype_parse(p->text, &t->dtype))
    return wanted(p, "an element type (f32, f64, i32, i64, u8 or bool)");
  advance(p);
  t->shape = (struct shape){0};
  if (!accept(p, "[")) return true;
  while (!is(p, "]")) {
    if (t->shape.rank == MAX_RANK)
      return fail(p, p->loc, str_printf(p->b->arena, "a shape has at most %d axes", MAX_RANK));
    if (!parse_int(p, &t->shape.dim[t->shape.rank++])) return false;
    if (!accept(p, ",")) break;
  }
  return require(p, "]");
}

static bool parse_values(struct text_parser *p, const struct attr_label *l, struct attr *a,
                         int slot) {
  if (l->kind == 's') return parse_token(p, T_STRING, "a string", &a->s);
  if (l->kind == 'f') {
    if (p->token != T_NUMBER) return wanted(p, "a number");
    a->f = p->number;
    advance(p);
    return true;
  }
  int n = 0;
  for (; p->token == T_NUMBER && (l->count < 0 || n < l->count); n++) {
    if (slot + n == MAX_ATTR) return fail(p, p->loc, "too many numbers");
    if (!parse_int(p, &a->i[slot + n])) return false;
  }
  if (n < l->count)
    return wanted(
        p, str_printf(p->b->arena, "%d of %d numbers of '%s'", l->count - n, l->count, l->name));
  if (slot + n > a->n) a->n = slot + n;
  return true;
}

// "{label: values, …}" in any order; every label that has slots must come.
static bool parse_attributes(struct text_parser *p, enum op op, struct attr *a) {
  const struct op_info *info = op_info(op);
  struct attr_label l = {0};
  unsigned seen = 0;
  if (accept(p, "{") && !is(p, "}")) {
    do {
      const char *label = NULL;
      struct loc loc = p->loc;
      if (!parse_token(p, T_WORD, "an attribute", &label)) return false;
      int slot = 0, index = 0;
      const char *schema = info->attributes;
      while (next_label(&schema, &l) && strcmp(l.name, label) != 0)
        slot += l.kind == 'i' ? l.count : 0, index++, l.name[0] = 0;
      if (strcmp(l.name, label) != 0)
        return fail(p, loc,
                    str_printf(p->b->arena, "%s has no attribute '%s'; it has: %s", info->name,
                               label, *info->attributes ? info->attributes : "none"));
      seen |= 1u << index;
      if (!require(p, ":") || !parse_values(p, &l, a, slot)) return false;
    } while (accept(p, ","));
    if (!require(p, "}")) return false;
  }
  const char *schema = info->attributes;
  for (int index = 0; next_label(&schema, &l); index++)
    if (!(seen >> index & 1) && l.count >= 0)
      return fail(p, p->loc,
                  str_printf(p->b->arena, "%s lacks its attribute '%s'", info->name, l.name));
  return true;
}

static int source_named(struct btc *b, const char *path) {
  for (int i = 0; i < b->files.len; i++)
    if (str_eq(b->files.data[i].path, path)) return i;
  return source_add(b, path, "", 0);
}

static bool parse_place(struct text_parser *p, struct loc *loc) {
  const char *path = NULL;
  int64_t line, column;
  if (!parse_token(p, T_STRING, "a file's name in quotes", &path)) return false;
  if (!require(p, ":") || !parse_int(p, &line) || !require(p, ":") || !parse_int(p, &column))
    return false;
  *loc = (struct loc){source_named(p->b, path), (int)line, (int)column, (int)line, (int)column + 1};
  return true;
}

static bool parse_op(struct text_parser *p, struct node *n) {
  if (p->token == T_WORD && op_parse(p->text, &n->op)) {
    advance(p);
    return true;
  }
  const char *names[OP_COUNT];
  for (int i = 0; i < OP_COUNT; i++) names[i] = op_info((enum op)i)->name;
  const char *near = p->token == T_WORD ? str_nearest(p->text, names, OP_COUNT) : NULL;
  if (near)
    return fail(p, p->loc,
                str_printf(p->b->arena, "there is no op '%s'; did you mean '%s'?", p->text, near));
  return wanted(p, "an op");
}

static bool parse_operands(struct text_parser *p, struct node *n) {
  VEC(struct node *) in = {0};
  if (accept(p, "(") && !accept(p, ")")) {
    do {
      struct node *x;
      if (!parse_operand(p, &x)) return false;
      vec_push(p->b->arena, &in, x);
    } while (accept(p, ","));
    if (!require(p, ")")) return false;
  }
  n->in = in.data;
  n->n_in = in.len;
  return true;
}

static bool parse_layout(struct text_parser *p, int *block) {
  int64_t lanes;
  if (!accept(p, "{")) return true;
  if (!require(p, "block") || !parse_int(p, &lanes) || !require(p, "}")) return false;
  *block = (int)lanes;
  return true;
}

static void enter_id(struct text_parser *p, int id, struct node *n) {
  while (p->by_id.len <= id) vec_push(p->b->arena, &p->by_id, NULL);
  p->by_id.data[id] = n;
}

static bool parse_node(struct text_parser *p) {
  struct node n = {0};
  struct loc loc = p->loc;
  int id;
  if (!parse_id(p, &id)) return false;
  if (id < p->by_id.len && p->by_id.data[id])
    return fail(p, loc, str_printf(p->b->arena, "%%%d is computed twice", id));
  if (!require(p, "=")) return false;
  struct loc op_loc = p->loc;
  if (!parse_op(p, &n) || !parse_operands(p, &n) || !parse_attributes(p, n.op, &n.attr))
    return false;
  if (!require(p, ":") || !parse_type(p, &n.type) || !parse_layout(p, &n.block)) return false;
  if (p->token == T_STRING && !parse_token(p, T_STRING, "an address", &n.path)) return false;
  if (accept(p, "at") && !parse_place(p, &n.loc)) return false;
  const char *wrong = node_check(p->b->arena, &n);
  if (wrong) return fail(p, op_loc, wrong);
  p->g->loc = n.loc;
  p->g->path = n.path;
  enter_id(p, id, graph_node_in_layout(p->g, n.op, n.in, n.n_in, &n.attr, &n.type, n.block));
  return true;
}

static bool parse_output(struct text_parser *p) {
  const char *name = NULL;
  struct node *n;
  int kind = 0;
  while (kind < OUTPUT_KINDS && !is(p, output_kinds[kind])) kind++;
  if (kind == OUTPUT_KINDS) return wanted(p, "'loss', 'report', 'value' or 'rows'");
  advance(p);
  if (!parse_token(p, T_STRING, "the output's name in quotes", &name)) return false;
  if (!require(p, "=") || !parse_operand(p, &n)) return false;
  graph_output(p->g, name, (enum bt_output_kind)kind, n);
  return true;
}

static bool parse_update(struct text_parser *p) {
  const char *name = NULL;
  struct node *n;
  struct loc loc = p->loc;
  if (!parse_token(p, T_STRING, "the name of a parameter or state in quotes", &name)) return false;
  if (!require(p, "=") || !parse_operand(p, &n)) return false;
  for (int i = 0; i < p->g->updates.len; i++)
    if (str_eq(p->g->updates.data[i].name, name))
      return fail(p, loc, str_printf(p->b->arena, "%s is updated twice", name));
  graph_update(p->g, name, n);
  return true;
}

static bool parse_line(struct text_parser *p) {
  if (accept(p, "output")) return parse_output(p);
  if (accept(p, "update")) return parse_update(p);
  if (p->token == T_ID) return parse_node(p);
  return wanted(p, "a node, 'output', 'update' or '}'");
}

struct graph *graph_parse(struct btc *b, int source) {
  const char *text = b->files.data[source].text, *name = NULL;
  struct text_parser p = {.b = b, .at = text, .line_start = text, .source = source, .line = 1};
  advance(&p);
  if (!require(&p, "graph") || !parse_token(&p, T_WORD, "the graph's name", &name) ||
      !require(&p, "{"))
    return NULL;
  p.g = graph_new(b, name);
  enum sharing sharing = graph_sharing(p.g);
  graph_set_sharing(p.g, SHARE_NONE);
  while (!p.failed && !accept(&p, "}"))
    if (!parse_line(&p)) return NULL;
  if (!p.failed && p.token != T_END) wanted(&p, "the end of the text");
  graph_set_sharing(p.g, sharing);
  p.g->loc = (struct loc){0};
  p.g->path = NULL;
  return p.failed ? NULL : p.g;
}
