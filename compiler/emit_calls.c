// emit_calls.c: see emit_calls.h. A model has thousands of calls: what they share stands once, with
// their kernel or as one text for equal formulas, and nothing says twice how long it is.
#include "emit_calls.h"

#include <inttypes.h>
#include <string.h>

#include "formula.h"
#include "places.h"

struct origin {
  const char *layer, *place;
};

struct call {
  const char *op;
  int kernel, formula; // -1: none
  int n_origins;
};

struct calls {
  const struct codegen *cg;
  const char *id;
  struct formulas *formulas;
  VEC(struct origin) origins; // distinct
  VEC(int) made;              // of all calls, one after the other: into origins
  VEC(struct call) list;
};

static int origin_of(struct calls *c, const struct node *n) {
  struct origin o = {n->path, place_name(c->cg->model->b, n->loc)};
  for (int i = c->origins.len - 1; i >= 0; i--)
    if (str_eq(c->origins.data[i].layer, o.layer) && str_eq(c->origins.data[i].place, o.place))
      return i;
  vec_push(c->cg->arena, &c->origins, o);
  return c->origins.len - 1;
}

// Emits the text where it is new.
static int formula_of(FILE *out, struct formulas *f, struct arena *a, const char *text) {
  if (text == NULL) return -1;
  for (int i = 0; i < f->texts.len; i++)
    if (str_eq(f->texts.data[i], text)) return i;
  fprintf(out, "\nstatic const char formula_%d[] =\n  ", f->texts.len);
  emit_string(out, text);
  fputs(";\n", out);
  vec_push(a, &f->texts, text);
  return f->texts.len - 1;
}

static void add_call(FILE *out, struct calls *c, const struct kernel *k, const int *kernels) {
  struct arena *a = c->cg->arena;
  node_list nodes = {0};
  const struct node *last = k->roots.data[k->roots.len - 1].node;
  struct call call = {.op = last->op == OP_extern ? last->attr.s : op_info(last->op)->name,
                      .kernel = -1};
  call.formula = formula_of(out, c->formulas, a, formula_text(a, k, &nodes));
  for (int i = 0; i < c->cg->distinct.len; i++)
    if (k->same == c->cg->distinct.data[i]) call.kernel = kernels[i];
  for (int i = 0; i < nodes.len; i++) vec_push(a, &c->made, origin_of(c, nodes.data[i]));
  call.n_origins = nodes.len;
  vec_push(a, &c->list, call);
}

// {4096}, {64, BT_STORE}, {0, BT_IN, 1}: where nothing follows, zeros.
static void emit_argument(FILE *out, const struct kernel_argument *a) {
  static const char *const spaces[] = {[SPACE_STORE] = ", BT_STORE",
                                       [SPACE_ARENA] = "",
                                       [SPACE_INPUT] = ", BT_IN",
                                       [SPACE_OUTPUT] = ", BT_OUT"};
  const struct buffer *b = a->buffer;
  bool slot = b->space == SPACE_INPUT || b->space == SPACE_OUTPUT;
  size_t from = (size_t)a->offset * (size_t)dtype_size(b->node->type.dtype);
  fprintf(out, "{%zu%s", (slot ? 0 : b->offset) + from, spaces[b->space]);
  if (slot && b->slot > 0) fprintf(out, ", %d", b->slot);
  fputc('}', out);
}

static bool emit_arguments(FILE *out, const struct codegen_program *p, const char *id) {
  int n = 0;
  for (int i = 0; i < p->fusion->kernels.len; i++) {
    const struct kernel *k = p->fusion->kernels.data[i];
    for (int j = 0; j < k->arguments.len; j++) {
      if (n == 0) fprintf(out, "\nstatic const struct bt_argument arguments_%s[] = {\n", id);
      fputs(n++ ? j ? ", " : ",\n  " : "  ", out);
      emit_argument(out, &k->arguments.data[j]);
    }
  }
  if (n > 0) fputs("};\n", out);
  return n > 0;
}

static void emit_origins(FILE *out, const struct calls *c) {
  fprintf(out, "\nstatic const struct bt_origin origins_%s[] = {\n", c->id);
  for (int i = 0; i < c->origins.len; i++) {
    fputs("  {", out);
    emit_string(out, c->origins.data[i].layer);
    fputs(", ", out);
    emit_string(out, c->origins.data[i].place);
    fputs("},\n", out);
  }
  fprintf(out, "};\n\nstatic const int made_%s[] = {", c->id);
  for (int i = 0; i < c->made.len; i++)
    fprintf(out, "%s%d", i == 0 ? "" : i % 24 ? "," : ",\n  ", c->made.data[i]);
  fputs("};\n", out);
}

static void emit_list(FILE *out, const struct calls *c) {
  fprintf(out, "\nstatic const struct bt_call calls_%s[] = {\n", c->id);
  for (int i = 0; i < c->list.len; i++) {
    const struct call *call = &c->list.data[i];
    fprintf(out, "  {%d, ", call->kernel);
    emit_string(out, call->op);
    if (call->formula < 0)
      fputs(", NULL", out);
    else
      fprintf(out, ", formula_%d", call->formula);
    fprintf(out, ", %d},\n", call->n_origins);
  }
  fputs("};\n", out);
}

void emit_parameters(FILE *out, const struct codegen *cg) {
  for (int i = 0; i < cg->distinct.len; i++) {
    const struct loop_kernel *l = cg->distinct.data[i]->loops;
    if (l->params.len == 0) continue;
    fprintf(out, "\nstatic const struct bt_parameter parameters_%d[] = {", i);
    for (int j = 0; j < l->params.len; j++) {
      const struct loop_buf *param = l->params.data[j];
      fputs(j ? ", {" : "{", out);
      emit_string(out, param->name);
      fprintf(out, ", %" PRId64 ", %s%s}", param->count,
              emit_dtype((int)cg->distinct.data[i]->arguments.data[j].buffer->node->type.dtype),
              param->write ? ", true" : "");
    }
    fputs("};", out);
  }
  if (cg->distinct.len > 0) fputc('\n', out);
}

struct emitted_calls emit_calls(FILE *out, const struct codegen *cg,
                                const struct codegen_program *p, const char *id, const int *kernels,
                                struct formulas *formulas) {
  struct calls c = {.cg = cg, .id = id, .formulas = formulas};
  for (int i = 0; i < p->fusion->kernels.len; i++)
    add_call(out, &c, p->fusion->kernels.data[i], kernels);
  if (c.list.len == 0) return (struct emitted_calls){0};
  struct emitted_calls made = {.arguments = emit_arguments(out, p, id), .origins = true};
  emit_origins(out, &c);
  emit_list(out, &c);
  return made;
}
