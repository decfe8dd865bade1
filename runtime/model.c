// model.c: see btrt_model.h.
#include "btrt_model.h"
#include "btrt_internal.h"
#include "interchange.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

struct bt_model {
  const struct bt_program *program;
  int threads; // that there is scratch for
  struct bt_block store, arena, scratch, buffers;
  void **inputs, **outputs;
  struct bt_frame frame;
};

// Gives inputs and outputs their places from `at` on; NULL: only says how much they take.
static size_t place(struct bt_model *m, char *at) {
  const struct bt_program *p = m->program;
  size_t total = 0;
  for (int i = 0; i < p->n_inputs + p->n_outputs; i++) {
    const struct bt_input *in = &p->inputs[i];
    const struct bt_output *out = &p->outputs[i - p->n_inputs];
    bool input = i < p->n_inputs;
    if (at) *(input ? &m->inputs[i] : &m->outputs[i - p->n_inputs]) = at + total;
    total += bt_round_up(input ? bt_tensor_bytes(in->dtype, in->rank, in->shape) : bt_tensor_bytes(out->dtype, out->rank, out->shape), BT_ALIGN);
  }
  return total;
}

static const struct bt_program *find_program(const struct bt_module *module, const char *name) {
  for (int i = 0; i < module->n_programs; i++)
    if (strcmp(module->programs[i].name, name) == 0) return &module->programs[i];
  return NULL;
}

static bool allocate(struct bt_model *m, const struct bt_module *module, char *err, size_t errlen) {
  const struct bt_program *p = m->program;
  m->threads = bt_blas_init(omp_get_max_threads());
  m->inputs = bt_xcalloc((size_t)p->n_inputs + 1, sizeof *m->inputs);
  m->outputs = bt_xcalloc((size_t)p->n_outputs + 1, sizeof *m->outputs);
  bool ok = bt_block_new(&m->store, module->store_bytes, "parameters", err, errlen) &&
            bt_block_new(&m->arena, p->arena_bytes, "arena", err, errlen) &&
            bt_block_new(&m->scratch, p->thread_bytes * (size_t)m->threads, "thread scratch", err, errlen) &&
            bt_block_new(&m->buffers, place(m, NULL), "inputs and outputs", err, errlen);
  if (ok) place(m, m->buffers.data);
  m->frame = (struct bt_frame){.store = m->store.data, .arena = m->arena.data, .thread_scratch = m->scratch.data,
                              .inputs = m->inputs, .outputs = m->outputs};
  return ok;
}

static bool read_weights(struct bt_model *m, const struct bt_module *module, const char *weights, char *err,
                         size_t errlen) {
  const struct bt_program *p = m->program;
  char note[2000] = "";
  if (p->n_tensors == 0) return true;
  bool *given = bt_xcalloc((size_t)module->n_tensors, sizeof *given);
  bool ok = bt_instances_init(weights, module, p, m->store.data, given, note, sizeof note, err, errlen);
  for (int i = 0; ok && i < p->n_tensors; i++) {
    const struct bt_tensor *t = &module->tensors[p->tensors[i]];
    if (!given[p->tensors[i]] && t->role != BT_OPTIMIZER) ok = bt_fail(err, errlen, "%s has no tensor %s", weights, t->name);
  }
  free(given);
  return ok;
}

struct bt_model *bt_model_open(const struct bt_module *module, const char *program, const char *weights, char *err,
                               size_t errlen) {
  if (module->abi != BT_ABI)
    return bt_fail(err, errlen, "the model was compiled for version %d of the runtime, and this is %d: compile it again",
                   module->abi, BT_ABI), NULL;
  const struct bt_program *p = find_program(module, program);
  if (!p) return bt_fail(err, errlen, "the model has no program %s", program), NULL;
  struct bt_model *m = bt_xcalloc(1, sizeof *m);
  m->program = p;
  if (allocate(m, module, err, errlen) && read_weights(m, module, weights, err, errlen)) return m;
  bt_model_close(m);
  return NULL;
}

void bt_model_close(struct bt_model *m) {
  if (!m) return;
  bt_block_free(&m->store), bt_block_free(&m->arena), bt_block_free(&m->scratch), bt_block_free(&m->buffers);
  free(m->inputs), free(m->outputs);
  free(m);
}

void *bt_model_input(const struct bt_model *m, const char *name, size_t *bytes) {
  const struct bt_program *p = m->program;
  for (int i = 0; i < p->n_inputs; i++)
    if (strcmp(p->inputs[i].name, name) == 0)
      return *bytes = bt_tensor_bytes(p->inputs[i].dtype, p->inputs[i].rank, p->inputs[i].shape), m->inputs[i];
  return NULL;
}

const void *bt_model_output(const struct bt_model *m, const char *name, size_t *bytes) {
  const struct bt_program *p = m->program;
  for (int i = 0; i < p->n_outputs; i++)
    if (strcmp(p->outputs[i].name, name) == 0)
      return *bytes = bt_tensor_bytes(p->outputs[i].dtype, p->outputs[i].rank, p->outputs[i].shape), m->outputs[i];
  return NULL;
}

void bt_model_run(struct bt_model *m) {
  if (omp_get_max_threads() > m->threads) omp_set_num_threads(m->threads);
  m->program->step(&m->frame);
}
