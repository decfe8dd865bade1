// codegen.c: takes each program of a model from its graph to loop nests and a memory plan.
#include <string.h>

#include "body.h"
#include "codegen_internal.h"

// ---- distinct kernels -------------------------------------------------------------------------

// A kernel whose loops equal an earlier one's is that one, called once more.
static void find_same(struct codegen *cg, struct kernel *k) {
  k->hash = loop_hash(k->loops);
  for (int i = 0; i < cg->distinct.len; i++) {
    struct kernel *first = cg->distinct.data[i];
    if (first->hash != k->hash || !loop_equal(first->loops, k->loops)) continue;
    k->same = first;
    for (int j = 0; j < k->loops->sources.len; j++) {
      const char *place = k->loops->sources.data[j];
      bool known = false;
      for (int s = 0; s < first->loops->sources.len; s++)
        known |= str_eq(first->loops->sources.data[s], place);
      if (!known) vec_push(cg->arena, &first->loops->sources, place);
    }
    return;
  }
  k->same = k;
  vec_push(cg->arena, &cg->distinct, k);
  k->loops->name = str_printf(cg->arena, "%s_%d", k->loops->name, cg->distinct.len);
}

static void add_workspace(struct fusion *f, struct kernel *k) {
  size_t bytes = loop_shared_bytes(k->loops);
  if (bytes == 0) return;
  k->work = fusion_buffer_new(f, NULL, SPACE_ARENA, 0);
  k->work->name = "workspace";
  k->work->bytes = bytes;
  k->work->first = k->work->last = k->id;
}

void codegen_lower(struct fusion *f, const struct target *t) {
  plan_order(f);
  for (int i = 0; i < f->kernels.len; i++) {
    lower_kernel(f, f->kernels.data[i], t);
    add_workspace(f, f->kernels.data[i]);
  }
}

// ---- the store --------------------------------------------------------------------------------

static void place_tensors(struct codegen *cg) {
  for (int i = 0; i < cg->model->tensors.len; i++) {
    struct bt_tensor *t = &cg->model->tensors.data[i];
    int64_t count = 1;
    for (int d = 0; d < t->rank; d++) count *= t->shape[d];
    t->bytes = (size_t)count * (size_t)dtype_size((dtype)t->dtype);
    t->offset = cg->store_bytes;
    cg->store_bytes += plan_align(t->bytes);
  }
}

static void place_in_store(struct codegen *cg, struct fusion *f) {
  for (int i = 0; i < f->buffers.len; i++) {
    struct buffer *b = f->buffers.data[i];
    if (b->space == SPACE_STORE) b->offset = cg->model->tensors.data[b->slot].offset;
  }
}

static void mark_used(const struct fusion *f, bool *used) {
  for (int i = 0; i < f->buffers.len; i++)
    if (f->buffers.data[i]->space == SPACE_STORE) used[f->buffers.data[i]->slot] = true;
}

// A program's tensors are its passes' too: its checkpoint has all that a resumed run needs.
static void use_tensors(struct codegen *cg, struct codegen_program *p) {
  int n = cg->model->tensors.len;
  bool *used = NEW_ARRAY(cg->arena, bool, n), *written = NEW_ARRAY(cg->arena, bool, n);
  mark_used(p->fusion, used);
  for (int i = 0; i < cg->programs.len; i++) {
    const struct codegen_program *other = &cg->programs.data[i];
    if (str_eq(other->program->owner, p->program->name)) mark_used(other->fusion, used);
  }
  for (int i = 0; i < p->fusion->graph->updates.len; i++)
    written[fusion_tensor_slot(p->fusion, p->fusion->graph->updates.data[i].name)] = true;
  for (int i = 0; i < n; i++) {
    const struct bt_tensor *t = &cg->model->tensors.data[i];
    if (!used[i] && !written[i]) continue;
    vec_push(cg->arena, &p->tensors, i);
    *(t->role == BT_PARAM ? &p->parameters : &p->states) += (int64_t)t->bytes;
    if (t->role == BT_PARAM && written[i])
      p->trained += (int64_t)t->bytes / dtype_size((dtype)t->dtype);
  }
}

// ---- programs ---------------------------------------------------------------------------------

struct graph *codegen_regions(struct model *m, struct program *p, struct choices *choices,
                              struct regions **regions) {
  struct btc *b = m->b;
  if (p->loss != NULL) model_differentiate(m, p);
  bool stopped = false;
  struct graph *g = passes_run(b, p->graph, &stopped);
  if (g == NULL || stopped || b->n_errors > 0) return NULL;
  *regions = outline(g);
  choices_make(choices, *regions);
  return b->n_errors > 0 ? NULL : g;
}

static bool add_program(struct codegen *cg, struct program *p, struct choices *choices) {
  struct codegen_program made = {.program = p};
  struct graph *g = p->graph;
  if (choices != NULL) {
    g = codegen_regions(cg->model, p, choices, &made.regions);
    if (g == NULL) return false;
    g = regions_splice(g, made.regions);
  }
  g = pass_layout(g, cg->target.lanes);
  graph_verify(g, "layout");
  if (pass_dumped(cg->model->b, "layout")) graph_print(stderr, g);
  made.fusion = fuse_graph(g, cg->model, p->graph);
  struct fusion *f = made.fusion;
  codegen_lower(f, &cg->target);
  for (int i = 0; i < f->kernels.len; i++) {
    find_same(cg, f->kernels.data[i]);
    made.flops += f->kernels.data[i]->loops->flops;
  }
  made.plan = plan_arena(f);
  vec_push(cg->arena, &cg->programs, made);
  return true;
}

struct codegen *codegen_model(struct model *m, const struct target *t) {
  struct codegen *cg = NEW(m->b->arena, struct codegen);
  *cg = (struct codegen){.model = m, .target = *t, .arena = m->b->arena};
  struct choices *choices = m->scheduled ? NULL : choices_begin(m, t);
  bool complete = true;
  for (int i = 0; i < m->programs.len; i++)
    complete &= add_program(cg, &m->programs.data[i], choices);
  if (!complete) return NULL;
  if (choices != NULL) choices_end(choices);
  if (m->b->n_errors > 0) return NULL;
  place_tensors(cg); // now that every optimiser has added its own
  for (int i = 0; i < cg->programs.len; i++) {
    place_in_store(cg, cg->programs.data[i].fusion);
    use_tensors(cg, &cg->programs.data[i]);
  }
  return cg;
}

struct graph *codegen_step(struct model *m, struct program *p, const struct target *t) {
  struct choices *choices = choices_begin(m, t);
  struct regions *regions;
  struct graph *g = codegen_regions(m, p, choices, &regions);
  if (g == NULL) return NULL;
  choices_end(choices);
  for (int i = 0; i < regions->list.len; i++) {
    const struct region *r = &regions->list.data[i];
    const struct variant *v = &r->variants.data[r->chosen];
    if (v->schedule.user) diag_error(m->b, v->schedule.user->loc, "%s is computed by `%s`, which only compiled code can call", r->address, v->name);
  }
  return m->b->n_errors > 0 ? NULL : regions_splice(g, regions);
}

static const struct codegen_program *program_of(const struct codegen *cg, const struct program *p) {
  for (int i = 0; i < cg->programs.len; i++)
    if (cg->programs.data[i].program == p) return &cg->programs.data[i];
  die("program %s has no code", p->name);
}

struct codegen_size codegen_size(const struct codegen *cg, const struct program *p) {
  const struct codegen_program *cp = program_of(cg, p);
  struct codegen_size s = {.store = cg->store_bytes,
                           .parameters = (size_t)cp->parameters,
                           .states = (size_t)cp->states,
                           .arena = cp->plan.arena_bytes,
                           .thread_scratch = cp->plan.thread_bytes,
                           .kernels = cp->fusion->kernels.len,
                           .flops = cp->flops};
  bool *seen = NEW_ARRAY(cg->arena, bool, cg->distinct.len);
  for (int i = 0; i < cp->fusion->kernels.len; i++)
    for (int j = 0; j < cg->distinct.len; j++)
      if (cp->fusion->kernels.data[i]->same == cg->distinct.data[j]) seen[j] = true;
  for (int j = 0; j < cg->distinct.len; j++) s.distinct_kernels += seen[j];
  return s;
}

// ---- printing ---------------------------------------------------------------------------------

static void print_buffer(FILE *out, const struct codegen *cg, const struct buffer *b) {
  static const char *const space[] = {"store", "arena", "input", "output"};
  const char *type = b->node ? type_text(cg->arena, &b->node->type) : b->name;
  fprintf(out, "%s", type);
  if (b->node && b->node->block) fprintf(out, "{block %d}", b->node->block);
  const struct buffer *own = b;
  b = buffer_place((struct buffer *)b);
  bool placed = b->space == SPACE_STORE || b->space == SPACE_ARENA;
  fprintf(out, " %s%s%zu", space[b->space], placed ? "+" : "#",
          placed ? b->offset : (size_t)b->slot);
  if (own->part_of) fputs(" in part", out);
  if (own->over) fputs(" in place", out);
}

static void print_kernel(FILE *out, const struct codegen *cg, const struct kernel *k) {
  fprintf(out, "  %3d %s: %s\n", k->id, k->same->loops->name, kernel_address(cg->arena, k));
  for (int i = 0; i < k->reads.len; i++) {
    fputs("        reads ", out);
    print_buffer(out, cg, k->reads.data[i]);
    fputc('\n', out);
  }
  for (int i = 0; i < k->roots.len; i++) {
    const struct kernel_root *r = &k->roots.data[i];
    fprintf(out, "        writes %%%d %s ", r->node->id, op_info(r->node->op)->name);
    print_buffer(out, cg, r->buffer);
    fputc('\n', out);
  }
}

void codegen_print_kernels(FILE *out, const struct codegen *cg) {
  for (int i = 0; i < cg->programs.len; i++) {
    const struct codegen_program *p = &cg->programs.data[i];
    struct codegen_size s = codegen_size(cg, p->program);
    fprintf(out,
            "%sprogram %s: %d kernels, %d distinct; arena %zu bytes, %zu a thread; store %zu\n",
            i ? "\n" : "", p->program->name, s.kernels, s.distinct_kernels, s.arena,
            s.thread_scratch, s.store);
    for (int j = 0; j < p->fusion->kernels.len; j++)
      print_kernel(out, cg, p->fusion->kernels.data[j]);
  }
}

void codegen_print_loops(FILE *out, const struct codegen *cg) {
  for (int i = 0; i < cg->distinct.len; i++) loop_print(out, cg->distinct.data[i]->loops);
}
