// equation.c: names of kernels, and what they compute, for the reader of the C.
#include <stdio.h>
#include <stdlib.h>

#include "nest.h"

enum { EQUATION_LENGTH = 240, SHOWN = 3 };

// "sum_mul" for a kernel with these results.
const char *equation_name(struct fusion *f, const struct kernel *k) {
  const char *name = k->kind == KERNEL_PRODUCT ? "matmul" : "";
  for (int i = 0; i < k->roots.len && i < SHOWN; i++) {
    const struct node *n = k->roots.data[i].node;
    if (n == k->product) continue;
    name = str_printf(f->arena, "%s%s%s", name, *name ? "_" : "", op_info(n->op)->name);
  }
  return name;
}

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

struct writer {
  FILE *out;
  const struct params *params;
};

static void write_value(const struct writer *w, const struct value *v);

static void write_operation(const struct writer *w, const struct value *v) {
  const char *sign = infix(v->op);
  bool call = sign == NULL;
  fprintf(w->out, "%s(", call ? op_info(v->op)->name : "");
  for (int i = 0; i < v->n_in; i++) {
    if (i > 0) fprintf(w->out, call ? ", " : " %s ", sign);
    write_value(w, v->in[i]);
  }
  fputc(')', w->out);
}

static void write_value(const struct writer *w, const struct value *v) {
  if (ftell(w->out) > EQUATION_LENGTH) {
    fputs("...", w->out);
    return;
  }
  switch (v->kind) {
  case V_CONST: fprintf(w->out, "%g", v->number); break;
  case V_INDEX: fputs("index", w->out); break;
  case V_RANGE: fputs("inside", w->out); break;
  case V_LOAD: fputs(w->params->of[v->buffer->id]->name, w->out); break;
  case V_OP: write_operation(w, v); break;
  case V_PRODUCT: fputs("p", w->out); break;
  }
}

// "p[256,8192] = (x - x_2)' x over 64; "
static void write_product(const struct writer *w, const struct kernel *k) {
  const struct node *n = k->product;
  const struct shape *s = &n->type.shape, *x = &n->in[0]->type.shape;
  bool ta = n->attr.i[MATMUL_TA], tb = n->attr.i[MATMUL_TB];
  fprintf(w->out, "p[%lld,%lld] = ", (long long)s->dim[s->rank - 2],
          (long long)s->dim[s->rank - 1]);
  write_value(w, k->operand[0]->roots.data[0].value);
  fputs(ta ? "' " : " ", w->out);
  write_value(w, k->operand[1]->roots.data[0].value);
  fprintf(w->out, "%s over %lld; ", tb ? "'" : "", (long long)x->dim[x->rank - (ta ? 2 : 1)]);
}

static void write_result(const struct writer *w, const struct body_root *r) {
  const char *fold = r->reduce == OP_COUNT ? "" : op_info(r->reduce)->name;
  fprintf(w->out, "%s = %s%s", w->params->of[r->buffer->id]->name, fold, *fold ? "(" : "");
  write_value(w, r->value);
  fputs(*fold ? ")" : "", w->out);
}

static void write_results(const struct writer *w, const struct body *body) {
  for (int i = 0; i < body->roots.len; i++) {
    if (i > 0) fputs("; ", w->out);
    write_result(w, &body->roots.data[i]);
    fflush(w->out);
  }
}

const char *equation_text(struct fusion *f, const struct kernel *k, const struct params *p) {
  char *text = NULL;
  size_t size = 0;
  struct writer w = {open_memstream(&text, &size), p};
  expect(w.out != NULL, "out of memory");
  if (k->kind == KERNEL_PRODUCT) write_product(&w, k);
  write_results(&w, k->body);
  if (k->finish != NULL) fputs("; then ", w.out);
  if (k->finish != NULL) write_results(&w, k->finish);
  fclose(w.out);
  const char *kept = str_printf(f->arena, "%s", text);
  free(text);
  return kept;
}
