// formula.c: see formula.h. Addresses are relative to the argument, so equal loops have equal texts
// wherever their buffers lie.
#include "formula.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct formula_writer {
  FILE *out;
  struct arena *arena;
  const struct kernel *k;
  node_list *origins;
};

static const char type_letter[] = {
    [BT_F32] = 'f', [BT_F64] = 'd', [BT_I32] = 'i', [BT_I64] = 'l', [BT_U8] = 'u', [BT_BOOL] = 'b'};

// Coefficients from the outermost axis on; those that are 0 at the end are left out.
static void write_form(const struct formula_writer *w, const struct affine *a, int64_t base) {
  int n = BODY_AXES;
  while (n > 0 && a->k[n - 1] == 0) n--;
  fprintf(w->out, " %" PRId64, a->constant - base);
  for (int i = 0; i < n; i++) fprintf(w->out, " %" PRId64, a->k[i]);
  fputc('\n', w->out);
}

static int argument_of(const struct kernel *k, const struct buffer *b) {
  const struct buffer *place = buffer_place((struct buffer *)b);
  for (int i = 0; i < k->arguments.len; i++)
    if (k->arguments.data[i].buffer == place) return i;
  die("kernel %s reads or writes what it is not given", k->loops->name);
}

static int root_of(const struct kernel *k, const struct buffer *b) {
  for (int i = 0; i < k->roots.len; i++)
    if (k->roots.data[i].buffer == b) return i;
  return -1;
}

static void add_origin(const struct formula_writer *w, const struct node *n) {
  vec_push(w->arena, w->origins, n);
}

static void write_load(const struct formula_writer *w, const struct value *v) {
  int argument = argument_of(w->k, v->buffer), root = root_of(w->k, v->buffer);
  fprintf(w->out, root < 0 ? "$ %d" : "& %d", root < 0 ? argument : root);
  write_form(w, &v->at, w->k->arguments.data[argument].offset);
}

static void write_operation(const struct formula_writer *w, const struct value *v) {
  add_origin(w, v->node);
  fputs(op_info(v->op)->name, w->out);
  for (int i = 0; i < v->n_in; i++) fprintf(w->out, " %d", v->in[i]->id);
  fputc('\n', w->out);
}

static void write_value(const struct formula_writer *w, const struct value *v) {
  fputc(type_letter[v->type], w->out);
  switch (v->kind) {
  case V_CONST:
    add_origin(w, v->node);
    fprintf(w->out, "= %.17g\n", v->number);
    break;
  case V_INDEX:
    fputc('@', w->out);
    write_form(w, &v->at, 0);
    break;
  case V_LOAD: write_load(w, v); break;
  case V_RANGE:
    fprintf(w->out, "< %" PRId64 " %" PRId64, v->lo, v->hi);
    write_form(w, &v->at, 0);
    break;
  case V_PRODUCT:
    add_origin(w, w->k->product);
    fputc('*', w->out);
    write_form(w, &v->at, 0);
    break;
  case V_OP: write_operation(w, v); break;
  }
}

static void write_root(const struct formula_writer *w, const struct body_root *r) {
  int root = r->buffer == NULL ? -1 : root_of(w->k, r->buffer);
  const struct node *n = root < 0 ? w->k->product : w->k->roots.data[root].node;
  add_origin(w, n);
  fprintf(w->out, "> %d %d %s %d", root, root < 0 ? -1 : argument_of(w->k, r->buffer),
          r->reduce == OP_COUNT ? "store" : op_info(r->reduce)->name, r->value->id);
  write_form(w, &r->at, root < 0 ? 0 : w->k->arguments.data[argument_of(w->k, r->buffer)].offset);
}

static void write_body(const struct formula_writer *w, const struct body *b) {
  fputc('[', w->out);
  for (int i = 0; i < b->n_axes; i++) fprintf(w->out, " %" PRId64, b->extent[i]);
  fputc('\n', w->out);
  for (int i = 0; i < b->values.len; i++) write_value(w, b->values.data[i]);
  for (int i = 0; i < b->roots.len; i++) write_root(w, &b->roots.data[i]);
}

static void write_product(const struct formula_writer *w) {
  const struct node *y = w->k->product;
  const struct shape *s = &y->type.shape, *x = &y->in[0]->type.shape;
  bool ta = y->attr.i[MATMUL_TA], tb = y->attr.i[MATMUL_TB];
  fprintf(w->out, "* %" PRId64 " %" PRId64 " %" PRId64 " %d %d\n", s->dim[s->rank - 2],
          s->dim[s->rank - 1], x->dim[x->rank - (ta ? 2 : 1)], ta, tb);
  for (int i = 0; i < 2; i++) write_body(w, w->k->operand[i]);
}

const char *formula_text(struct arena *a, const struct kernel *k, node_list *origins) {
  if (k->kind == KERNEL_CALL) {
    vec_push(a, origins, k->roots.data[k->roots.len - 1].node);
    return NULL;
  }
  char *text = NULL;
  size_t size = 0;
  struct formula_writer w = {open_memstream(&text, &size), a, k, origins};
  expect(w.out != NULL, "out of memory");
  if (k->kind == KERNEL_PRODUCT) write_product(&w);
  write_body(&w, k->body);
  if (k->finish != NULL) write_body(&w, k->finish);
  fclose(w.out);
  const char *kept = str_printf(a, "%s", text);
  free(text);
  return kept;
}
