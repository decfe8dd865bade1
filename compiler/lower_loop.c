// lower_loop.c: picks the schedule of a loop kernel and names it.
#include <stdio.h>
#include <stdlib.h>

#include "nest.h"

// "sum_mul" for a kernel with these results: what a reader of the C looks for.
static const char *kernel_name(struct fusion *f, const struct kernel *k) {
  const char *name = "";
  int shown = k->roots.len < 3 ? k->roots.len : 3;
  for (int i = 0; i < shown; i++)
    name = str_printf(f->arena, "%s%s%s", name, i ? "_" : "",
                      op_info(k->roots.data[i].node->op)->name);
  return name;
}

// ---- what it computes, for the reader ----------------------------------------------------------

enum { EQUATION_LENGTH = 240 };

static const char *infix(enum op op) {
  switch (op) {
  case OP_add: return "+";
  case OP_sub: return "-";
  case OP_mul: return "*";
  case OP_div: return "/";
  case OP_lt: return "<";
  case OP_le: return "<=";
  case OP_eq: return "==";
  default: return NULL;
  }
}

static void write_value(FILE *out, const struct nest *n, const struct value *v);

static void write_operation(FILE *out, const struct nest *n, const struct value *v) {
  const char *sign = infix(v->op);
  bool call = sign == NULL;
  fprintf(out, "%s(", call ? op_info(v->op)->name : "");
  for (int i = 0; i < v->n_in; i++) {
    if (i > 0) fprintf(out, call ? ", " : " %s ", sign);
    write_value(out, n, v->in[i]);
  }
  fputc(')', out);
}

static void write_value(FILE *out, const struct nest *n, const struct value *v) {
  if (ftell(out) > EQUATION_LENGTH) {
    fputs("...", out);
    return;
  }
  switch (v->kind) {
  case V_CONST: fprintf(out, "%g", v->number); break;
  case V_INDEX: fputs("index", out); break;
  case V_RANGE: fputs("inside", out); break;
  case V_LOAD: fputs(n->param[v->buffer->id]->name, out); break;
  case V_OP: write_operation(out, n, v); break;
  }
}

// "y = (x * x_2); y_2 = sum(x)", cut where it gets long.
static const char *equation(struct fusion *f, const struct nest *n) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  expect(out != NULL, "out of memory");
  for (int i = 0; i < n->body->roots.len; i++) {
    const struct body_root *r = &n->body->roots.data[i];
    const char *fold = r->reduce == OP_COUNT ? "" : op_info(r->reduce)->name;
    fprintf(out, "%s%s = %s%s", i ? "; " : "", n->param[r->buffer->id]->name, fold,
            *fold ? "(" : "");
    write_value(out, n, r->value);
    fputs(*fold ? ")" : "", out);
    fflush(out);
  }
  fclose(out);
  const char *kept = str_printf(f->arena, "%s", text);
  free(text);
  return kept;
}

// ---- lowering ---------------------------------------------------------------------------------

static bool folds(const struct body *b) {
  for (int i = 0; i < b->n_axes; i++)
    if (b->reduced[i]) return true;
  return false;
}

void lower_loop(struct fusion *f, struct kernel *k, const struct target *t) {
  struct lb *b = lower_begin(f, k, t, kernel_name(f, k));
  struct nest n;
  nest_begin(&n, f, k, b, k->body->n_axes - 1);
  lb_equation(b, equation(f, &n));
  if (folds(k->body))
    lower_reduce(&n, f);
  else
    lower_map(&n); // folds over axes of one element store what they see
  lower_end(k, b);
}
