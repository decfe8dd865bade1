// emit_module.c: the C translation unit of a model: kernels, one step function per program, and the
// constant tables from which the runtime knows everything else (btrt.h).
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "ast.h"
#include "body.h"
#include "codegen_internal.h"
#include "emit_c.h"
#include "emit_calls.h"
#include "places.h"

// ---- literals ---------------------------------------------------------------------------------

void emit_string(FILE *out, const char *s) {
  if (s == NULL) {
    fputs("NULL", out);
    return;
  }
  fputc('"', out);
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '\n')
      fputs(s[1] ? "\\n\"\n  \"" : "\\n", out);
    else if (c == '"' || c == '\\')
      fprintf(out, "\\%c", c);
    else if (c < 32 || c == '?' || c > 126)
      fprintf(out, "\\%03o", c);
    else
      fputc(c, out);
  }
  fputc('"', out);
}

static void emit_number(FILE *out, double v) {
  if (isnan(v))
    fputs("__builtin_nan(\"\")", out);
  else if (isinf(v))
    fputs(v < 0 ? "-__builtin_inf()" : "__builtin_inf()", out);
  else
    fprintf(out, "%.17g", v);
}

static void emit_numbers(FILE *out, const double *v, int n) {
  fputc('{', out);
  while (n > 1 && v[n - 1] == 0) n--;
  for (int i = 0; i < n; i++) {
    fputs(i ? ", " : "", out);
    emit_number(out, v[i]);
  }
  fputc('}', out);
}

static void emit_dims(FILE *out, const int64_t *dim, int rank) {
  fputc('{', out);
  for (int i = 0; i < (rank ? rank : 1); i++)
    fprintf(out, "%s%" PRId64, i ? ", " : "", rank ? dim[i] : 0);
  fputc('}', out);
}

const char *emit_dtype(int t) {
  static const char *const name[] = {"BT_F32", "BT_F64", "BT_I32", "BT_I64", "BT_U8", "BT_BOOL"};
  return name[t];
}

// An identifier of a program's name, which may hold anything.
static const char *identifier(struct arena *a, const char *name, int index) {
  char *id = str_printf(a, "%s_%d", name, index);
  for (char *p = id; *p; p++)
    if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_", *p)) *p = '_';
  return id;
}

// ---- steps ------------------------------------------------------------------------------------

static void emit_argument(FILE *out, const struct kernel_argument *a,
                          const struct loop_buf *param) {
  const struct buffer *b = a->buffer;
  fprintf(out, "(%s%s *)", param->write ? "" : "const ", emit_c_type(param->type));
  switch (b->space) {
  case SPACE_STORE: fprintf(out, "(store + %zu)", b->offset); break;
  case SPACE_ARENA: fprintf(out, "(arena + %zu)", b->offset); break;
  case SPACE_INPUT: fprintf(out, "in[%d]", b->slot); break;
  case SPACE_OUTPUT: fprintf(out, "out[%d]", b->slot); break;
  }
  if (a->offset != 0) fprintf(out, " + %" PRId64, a->offset);
}

static void emit_call(FILE *out, const struct codegen *cg, const struct kernel *k) {
  const struct loop_kernel *l = k->same->loops;
  const char *place = place_name(cg->model->b, k->roots.data[k->roots.len - 1].node->loc);
  fprintf(out, "  // %s%s%s\n  bt_watched(frame, %d);\n  %s(", kernel_address(cg->arena, k), place ? "  " : "",
          place ? place : "", k->id, l->name);
  for (int i = 0; i < k->arguments.len; i++) {
    fputs(i ? ", " : "", out);
    emit_argument(out, &k->arguments.data[i], l->params.data[i]);
  }
  if (k->work != NULL) fprintf(out, "%sarena + %zu", k->arguments.len ? ", " : "", k->work->offset);
  if (loop_thread_bytes(l) > 0)
    fprintf(out, "%sframe->thread_scratch", k->arguments.len || k->work ? ", " : "");
  fputs(");\n", out);
}

static void emit_step(FILE *out, const struct codegen *cg, const struct codegen_program *p,
                      const char *id) {
  fprintf(out, "\nstatic void step_%s(const struct bt_frame *frame) {\n", id);
  fputs("  char *const store = frame->store, *const arena = frame->arena;\n"
        "  void *const *const in = frame->inputs, *const *const out = frame->outputs;\n"
        "  (void)store, (void)arena, (void)in, (void)out;\n",
        out);
  for (int i = 0; i < p->fusion->kernels.len; i++) emit_call(out, cg, p->fusion->kernels.data[i]);
  fprintf(out, "  bt_watched(frame, %d);\n}\n", p->fusion->kernels.len);
}

// ---- tables -----------------------------------------------------------------------------------

static void emit_tensors(FILE *out, const struct model *m) {
  static const char *const role[] = {"BT_PARAM", "BT_STATE", "BT_OPTIMIZER"};
  static const char *const init[] = {"BT_INIT_CONSTANT", "BT_INIT_UNIFORM", "BT_INIT_NORMAL"};
  if (m->tensors.len == 0) return;
  fputs("\nstatic const struct bt_tensor tensors[] = {\n", out);
  for (int i = 0; i < m->tensors.len; i++) {
    const struct bt_tensor *t = &m->tensors.data[i];
    fputs("  {.name = ", out);
    emit_string(out, t->name);
    fprintf(out, ", .role = %s, .dtype = %s, .rank = %d, .shape = ", role[t->role],
            emit_dtype(t->dtype), t->rank);
    emit_dims(out, t->shape, t->rank);
    fprintf(out, ", .offset = %zu, .bytes = %zu, .init = {%s, ", t->offset, t->bytes,
            init[t->init.kind]);
    emit_number(out, t->init.a);
    fputs(", ", out);
    emit_number(out, t->init.b);
    fputc('}', out);
    if (t->copy_of) {
      fputs(", .copy_of = ", out);
      emit_string(out, t->copy_of);
    }
    fputs("},\n", out);
  }
  fputs("};\n", out);
}

static void emit_views(FILE *out, const struct model *m) {
  static const char *const kind[] = {
#define VIEW_STEP(name, ...) "BT_VIEW_" #name,
#include "../runtime/views.def"
#undef VIEW_STEP
  };
  for (int i = 0; i < m->views.len; i++) {
    const struct view_decl *v = &m->views.data[i];
    if (v->steps.len == 0) continue;
    fprintf(out, "\nstatic const struct bt_view_step view_%d[] = {\n", i);
    for (int j = 0; j < v->steps.len; j++) {
      fprintf(out, "  {.kind = %s, .arg = ", kind[v->steps.data[j].kind]);
      emit_numbers(out, v->steps.data[j].arg, BT_VIEW_ARGS);
      fputs("},\n", out);
    }
    fputs("};\n", out);
  }
  if (m->views.len == 0) return;
  fputs("\nstatic const struct bt_view views[] = {\n", out);
  for (int i = 0; i < m->views.len; i++) {
    const struct view_decl *v = &m->views.data[i];
    fputs("  {.name = ", out);
    emit_string(out, v->name);
    fprintf(out, ", .n_steps = %d", v->steps.len);
    if (v->steps.len > 0) fprintf(out, ", .steps = view_%d", i);
    fputs("},\n", out);
  }
  fputs("};\n", out);
}

// How many classes the program's labels have, 0 for other inputs: it is not the graph's to know.
static int label_classes(const struct program *p, const char *name) {
  for (int i = 0; i < p->inputs.len; i++)
    if (str_eq(p->inputs.data[i].name, name)) return p->inputs.data[i].classes;
  return 0;
}

static void emit_inputs(FILE *out, const struct codegen_program *p, const char *id) {
  static const char *const kind[] = {"BT_INPUT_VIEW",   "BT_INPUT_LABEL", "BT_INPUT_ARRAY",
                                     "BT_INPUT_STEP",   "BT_INPUT_STEPS", "BT_INPUT_EPOCH",
                                     "BT_INPUT_EPOCHS", "BT_INPUT_KEY",   "BT_INPUT_KEPT"};
  if (p->fusion->inputs.len == 0) return;
  fprintf(out, "\nstatic const struct bt_input inputs_%s[] = {\n", id);
  for (int i = 0; i < p->fusion->inputs.len; i++) {
    const struct node *n = p->fusion->inputs.data[i];
    fputs("  {.name = ", out);
    emit_string(out, n->attr.s);
    fprintf(out, ", .kind = %s, .dtype = %s, .rank = %d, .shape = ", kind[n->attr.i[INPUT_KIND]],
            emit_dtype((int)n->type.dtype), n->type.shape.rank);
    emit_dims(out, n->type.shape.dim, n->type.shape.rank);
    fprintf(out, ", .view = %d, .site = %d, .classes = %d},\n", (int)n->attr.i[INPUT_VIEW],
            (int)n->attr.i[INPUT_SITE], label_classes(p->program, n->attr.s));
  }
  fputs("};\n", out);
}

static void emit_outputs(FILE *out, const struct codegen_program *p, const char *id) {
  static const char *const kind[] = {"BT_OUTPUT_LOSS", "BT_OUTPUT_REPORT", "BT_OUTPUT_VALUE", "BT_OUTPUT_ROWS"};
  const struct graph *g = p->fusion->graph;
  if (g->outputs.len == 0) return;
  fprintf(out, "\nstatic const struct bt_output outputs_%s[] = {\n", id);
  for (int i = 0; i < g->outputs.len; i++) {
    const struct graph_output *o = &g->outputs.data[i];
    fputs("  {.name = ", out);
    emit_string(out, o->name);
    fprintf(out, ", .kind = %s, .dtype = %s, .rank = %d, .shape = ", kind[o->kind],
            emit_dtype((int)o->node->type.dtype), o->node->type.shape.rank);
    emit_dims(out, o->node->type.shape.dim, o->node->type.shape.rank);
    fputs("},\n", out);
  }
  fputs("};\n", out);
}

static void emit_loads(FILE *out, const struct program *p, const char *id) {
  if (p->loads.len == 0) return;
  fprintf(out, "\nstatic const struct bt_load loads_%s[] = {\n", id);
  for (int i = 0; i < p->loads.len; i++) {
    fputs("  {", out);
    emit_string(out, p->loads.data[i].prefix);
    fputs(", ", out);
    emit_string(out, p->loads.data[i].from);
    fprintf(out, ", %s},\n", p->loads.data[i].is_file ? "true" : "false");
  }
  fputs("};\n", out);
}

static void emit_evaluates(FILE *out, const struct program *p, const char *id) {
  static const char *const kind[] = {
#define EVALUATE(name, ...) "BT_EVALUATE_" #name,
#include "../runtime/evaluate.def"
#undef EVALUATE
  };
  if (p->evaluates.len == 0) return;
  fprintf(out, "\nstatic const struct bt_evaluate evaluates_%s[] = {\n", id);
  for (int i = 0; i < p->evaluates.len; i++) {
    const struct bt_evaluate *e = &p->evaluates.data[i];
    fprintf(out, "  {.kind = %s, .features = %d, .labels = %d, .arg = ", kind[e->kind], e->features,
            e->labels);
    emit_numbers(out, e->arg, BT_EVALUATE_ARGS);
    fputs("},\n", out);
  }
  fputs("};\n", out);
}

static int calls_of(const struct codegen_program *p, const struct kernel *first) {
  int calls = 0;
  for (int i = 0; i < p->fusion->kernels.len; i++)
    calls += p->fusion->kernels.data[i]->same == first;
  return calls;
}

// `row`, by index in cg->distinct: a kernel's row of the table, -1 for those of other programs.
static int emit_kernel_table(FILE *out, const struct codegen *cg, const struct codegen_program *p,
                             const char *id, int *row) {
  int n = 0;
  for (int i = 0; i < cg->distinct.len; i++) {
    const struct kernel *k = cg->distinct.data[i];
    int calls = calls_of(p, k);
    row[i] = calls ? n : -1;
    if (calls == 0) continue;
    if (n++ == 0) fprintf(out, "\nstatic const struct bt_kernel_info kernels_%s[] = {\n", id);
    fputs("  {", out);
    emit_string(out, k->loops->name);
    fputs(", ", out);
    emit_string(out, k->loops->sources.len ? k->loops->sources.data[0] : "");
    fputs(", ", out);
    emit_string(out, k->loops->equation);
    fprintf(out, ", %.17g, %.17g, %d", k->loops->flops, k->loops->bytes, calls);
    if (k->loops->params.len > 0) fprintf(out, ", %d, parameters_%d", k->loops->params.len, i);
    fputs("},\n", out);
  }
  if (n > 0) fputs("};\n", out);
  return n;
}

static void emit_tensor_list(FILE *out, const struct codegen_program *p, const char *id) {
  if (p->tensors.len == 0) return;
  fprintf(out, "\nstatic const int tensors_%s[] = {", id);
  for (int i = 0; i < p->tensors.len; i++) fprintf(out, "%s%d", i ? ", " : "", p->tensors.data[i]);
  fputs("};\n", out);
}

// One row of the program table: ".n_X = n, .X = X_id", where there is an X.
static void emit_list(FILE *out, const char *name, int n, const char *id) {
  if (n > 0) fprintf(out, "   .n_%s = %d, .%s = %s_%s,\n", name, n, name, name, id);
}

struct emitted { // of a program
  const char *id;
  int n_kernels;
  struct emitted_calls calls;
};

static void emit_program(FILE *out, const struct codegen_program *p, const struct emitted *e) {
  const char *id = e->id;
  const struct program *s = p->program;
  fputs("  {.name = ", out);
  emit_string(out, s->name);
  fprintf(out,
          ", .step = step_%s, .batch = %" PRId64 ", .epochs = %d, .image = {%" PRId64 ", %" PRId64
          ", %" PRId64 "},\n",
          id, s->batch, s->epochs, s->image[0], s->image[1], s->image[2]);
  fprintf(out,
          "   .arena_bytes = %zu, .thread_bytes = %zu, .parameters = %" PRId64
          ", .flops = %.17g,\n",
          p->plan.arena_bytes, p->plan.thread_bytes, p->trained, p->flops);
  if (s->owner) {
    fputs("   .owner = ", out);
    emit_string(out, s->owner);
    fprintf(out, ", .split = %s,\n", s->split == BT_SPLIT_TRAIN ? "BT_SPLIT_TRAIN" : "BT_SPLIT_TEST");
  }
  emit_list(out, "inputs", p->fusion->inputs.len, id);
  emit_list(out, "outputs", p->fusion->graph->outputs.len, id);
  emit_list(out, "loads", s->loads.len, id);
  emit_list(out, "evaluates", s->evaluates.len, id);
  emit_list(out, "tensors", p->tensors.len, id);
  emit_list(out, "kernels", e->n_kernels, id);
  emit_list(out, "calls", p->fusion->kernels.len, id);
  if (e->calls.arguments) fprintf(out, "   .arguments = arguments_%s,\n", id);
  if (e->calls.origins) fprintf(out, "   .made = made_%s, .origins = origins_%s,\n", id, id);
  fputs("  },\n", out);
}

static void emit_module(FILE *out, const struct codegen *cg, const char *build) {
  const struct model *m = cg->model;
  struct emitted_provenance provenance = emit_provenance(out, m);
  const struct source_file *source = m->file ? &m->b->files.data[m->file->source] : NULL;
  fputs("\nconst struct bt_module bt_module = {\n  .abi = BT_ABI,\n  .source_path = ", out);
  emit_string(out, source ? source->path : "");
  emit_provenance_fields(out, &provenance);
  fputs(",\n  .build = ", out);
  emit_string(out, build);
  fprintf(out, ",\n  .n_programs = %d, .programs = programs", cg->programs.len);
  if (m->tensors.len > 0) fprintf(out, ",\n  .n_tensors = %d, .tensors = tensors", m->tensors.len);
  if (m->views.len > 0) fprintf(out, ",\n  .n_views = %d, .views = views", m->views.len);
  fprintf(out, ",\n  .store_bytes = %zu,\n};\n", cg->store_bytes);
}

static bool calls_blas(const struct loop_stmt *s) {
  for (; s; s = s->next)
    if ((s->kind == LS_CALL && strncmp(s->symbol, "cblas_", 6) == 0) || calls_blas(s->body) ||
        calls_blas(s->else_body))
      return true;
  return false;
}

// Functions of the user's are declared as they are called; one that is called twice, once.
static void emit_externs(FILE *out, const struct codegen *cg) {
  VEC(const char *) declared = {0};
  for (int i = 0; i < cg->distinct.len; i++) {
    const struct node *n = cg->distinct.data[i]->roots.data[0].node;
    bool known = n->op != OP_extern;
    for (int j = 0; j < declared.len; j++) known |= str_eq(declared.data[j], n->attr.s);
    if (known) continue;
    vec_push(cg->arena, &declared, n->attr.s);
    const struct loop_stmt *call = cg->distinct.data[i]->loops->body;
    fprintf(out, "void %s(", n->attr.s);
    for (int j = 0; j < call->args.len; j++) {
      const struct loop_buf *buf = call->args.data[j]->buf;
      fprintf(out, "%s%s%s *", j ? ", " : "", buf->write ? "" : "const ", emit_c_type(buf->type));
    }
    fputs(");\n", out);
  }
}

// Kernels to a part. The host compiler takes seconds for a product's kernel, and more than
// proportionally long, and much memory, for many in one file.
enum { PART_KERNELS = 6 };

int codegen_parts(const struct codegen *cg) {
  return cg->distinct.len <= PART_KERNELS ? 0 : (cg->distinct.len + PART_KERNELS - 1) / PART_KERNELS;
}

static void emit_kernels(FILE *out, const struct codegen *cg) {
  fputc('\n', out);
  for (int i = 0; i < cg->distinct.len; i++) emit_c_prototype(out, cg->distinct.data[i]->loops);
  for (int i = 0; i < cg->distinct.len; i++) {
    if (i % PART_KERNELS == 0) fprintf(out, "%s\n#if IN_PART(%d)\n", i ? "#endif\n" : "", i / PART_KERNELS + 1);
    emit_c_kernel(out, cg->distinct.data[i]->loops, &cg->target);
  }
  if (cg->distinct.len > 0) fputs("#endif\n", out);
}

void codegen_emit_c(FILE *out, const struct codegen *cg, const char *build, bool shared) {
  bool blas = false;
  for (int i = 0; i < cg->distinct.len; i++) blas |= calls_blas(cg->distinct.data[i]->loops->body);
  fprintf(out, "// Made by btc from %s. Do not edit.\n",
          cg->model->file ? cg->model->b->files.data[cg->model->file->source].path : "a graph");
  if (blas) fputs("#include <cblas.h>\n", out);
  emit_c_prelude(out, &cg->target);
  fputs("#include \"btrt.h\"\n", out);
  emit_externs(out, cg);
  emit_kernels(out, cg);
  fputs("\n#if IN_PART(0)\n", out);
  emit_tensors(out, cg->model);
  emit_views(out, cg->model);
  VEC(struct emitted) emitted = {0};
  struct formulas formulas = {0};
  int *row = NEW_ARRAY(cg->arena, int, cg->distinct.len);
  emit_parameters(out, cg);
  for (int i = 0; i < cg->programs.len; i++) {
    const struct codegen_program *p = &cg->programs.data[i];
    const char *id = identifier(cg->arena, p->program->name, i);
    emit_step(out, cg, p, id);
    emit_inputs(out, p, id);
    emit_outputs(out, p, id);
    emit_loads(out, p->program, id);
    emit_evaluates(out, p->program, id);
    emit_tensor_list(out, p, id);
    struct emitted e = {.id = id, .n_kernels = emit_kernel_table(out, cg, p, id, row)};
    e.calls = emit_calls(out, cg, p, id, row, &formulas);
    vec_push(cg->arena, &emitted, e);
  }
  fputs("\nstatic const struct bt_program programs[] = {\n", out);
  for (int i = 0; i < cg->programs.len; i++)
    emit_program(out, &cg->programs.data[i], &emitted.data[i]);
  fputs("};\n", out);
  emit_module(out, cg, build);
  if (!shared)
    fputs("\nint main(int argc, char **argv) { return bt_main(argc, argv, &bt_module); }\n", out);
  fputs("#endif\n", out);
}
