// session.c: see session.h.
#include "session.h"
#include "interchange.h"
#include "loader.h"
#include "match.h"
#include "measure.h"
#include "random.h"
#include "views.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

double bt_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

char *bt_path(const char *out, const char *program, const char *file) {
  size_t room = strlen(out) + strlen(program) + strlen(file) + 3;
  char *path = bt_xcalloc(room, 1);
  snprintf(path, room, "%s/%s/%s", out, program, file);
  return path;
}

// ---- preparing --------------------------------------------------------------------------------

// One row of an input is an example's: the batch is its first axis.
static bool make_column(struct bt_session *s, int i, struct bt_column *column, char *err,
                        size_t errlen) {
  const struct bt_input *input = &s->program->inputs[i];
  if (input->rank < 1 || input->shape[0] != s->program->batch)
    return bt_fail(err, errlen,
                   "program %s takes the tensor '%s', which has not one row for each of a batch of "
                   "%" PRId64 ": a data set does not have it (btc eval can give it)",
                   s->program->name, input->name, s->program->batch);
  *column = (struct bt_column){.name = input->name,
                               .dtype = input->dtype,
                               .rank = input->rank - 1,
                               .label = input->kind == BT_INPUT_LABEL,
                               .classes = input->classes};
  memcpy(column->shape, input->shape + 1, sizeof *column->shape * (size_t)column->rank);
  return true;
}

// Programs of one run may leave sizes open, but must agree on the others.
static bool add_size(const struct bt_session *s, const int64_t image[3], struct bt_data_need *need, char *err,
                     size_t errlen) {
  for (int i = 0; i < 3; i++) {
    if (image[i] && need->image[i] && image[i] != need->image[i])
      return bt_fail(err, errlen,
                     "program %s takes images of another size than the program that is run (%" PRId64 ", not %" PRId64
                     "): measure it by itself",
                     s->program->name, image[i], need->image[i]);
    if (image[i]) need->image[i] = image[i];
  }
  return true;
}

static bool add_images(struct bt_session *s, int i, struct bt_data_need *need, char *err,
                       size_t errlen) {
  const char *name = s->program->inputs[i].name;
  if (need->images_name && strcmp(need->images_name, name) != 0)
    return bt_fail(err, errlen,
                   "program %s takes a second kind of images, '%s' beside '%s'; a data set has one",
                   s->program->name, name, need->images_name);
  need->images_name = name;
  return s->program->inputs[i].view >= 0 || add_size(s, s->program->inputs[i].shape + 1, need, err, errlen); // pixels as they are
}

// The column of this name in the need, or a new one; -1: the two have different types.
static int column_of(struct bt_data_need *need, struct bt_column *columns, const struct bt_column *column) {
  for (int i = 0; i < need->n_columns; i++) {
    if (strcmp(columns[i].name, column->name) != 0) continue;
    bool same = columns[i].dtype == column->dtype && columns[i].rank == column->rank &&
                memcmp(columns[i].shape, column->shape, sizeof *column->shape * (size_t)column->rank) == 0;
    bool fewer = column->classes && (!columns[i].classes || column->classes < columns[i].classes);
    if (fewer) columns[i].classes = column->classes;
    return same ? i : -1;
  }
  columns[need->n_columns] = *column;
  return need->n_columns++;
}

// Adds what the inputs of s need of the data; s->columns says which column an input reads.
static bool add_need(struct bt_session *s, struct bt_column *columns, struct bt_data_need *need,
                     char *err, size_t errlen) {
  const struct bt_program *p = s->program;
  if (!add_size(s, p->image, need, err, errlen)) return false;
  s->columns = bt_xcalloc((size_t)p->n_inputs, sizeof *s->columns);
  for (int i = 0; i < p->n_inputs; i++) {
    const struct bt_input *input = &p->inputs[i];
    struct bt_column column;
    if (input->kind == BT_INPUT_VIEW && !add_images(s, i, need, err, errlen)) return false;
    if (input->kind != BT_INPUT_LABEL && input->kind != BT_INPUT_ARRAY) continue;
    if (!make_column(s, i, &column, err, errlen)) return false;
    s->columns[i] = column_of(need, columns, &column);
    if (s->columns[i] < 0)
      return bt_fail(err, errlen, "program %s takes the data '%s' in another type or shape than the program that is run: measure it by itself",
                     p->name, input->name);
    if (column.label && input->classes && (!need->classes || input->classes < need->classes))
      need->classes = input->classes;
  }
  return true;
}

// Programs that minimise nothing measure on the test split.
static bool needs_test(const struct bt_session *s) {
  bool needs = false;
  for (int k = 0; k < s->n_turns; k++) {
    const struct bt_program *p = s->turns[k]->program;
    needs |= p->owner ? p->split == BT_SPLIT_TEST : !bt_program_trains(p) || p->n_evaluates;
  }
  return needs && s->options->command != BT_COMMAND_VIEWS;
}

// All that take turns read the same data.
static bool open_data(struct bt_session *s, char *err, size_t errlen) {
  const struct bt_options *o = s->options;
  int inputs = 0;
  for (int k = 0; k < s->n_turns; k++) inputs += s->turns[k]->program->n_inputs;
  struct bt_column *columns = bt_xcalloc((size_t)inputs, sizeof *columns);
  struct bt_data_need need = {.columns = columns,
                              .train_only = !needs_test(s),
                              .cache = (size_t)o->cache,
                              .plan = o->command != BT_COMMAND_RUN,
                              .quiet = o->quiet};
  bool ok = true;
  for (int k = 0; ok && k < s->n_turns; k++) ok = add_need(s->turns[k], columns, &need, err, errlen);
  if (ok) s->data = bt_data_open(o->data, &need, (uint64_t)o->seed, err, errlen);
  free(columns);
  if (!s->data || o->label_fraction == 1 || s->data->train.labels) return s->data != NULL;
  return bt_fail(err, errlen,
                 "--labels %s: %s has no labels that program %s reads, to choose examples by",
                 o->labels, s->data->name, s->program->name);
}

int bt_session_loaders(const struct bt_session *s) {
  return s->options->loaders ? (int)s->options->loaders : s->threads;
}

// A view that works on one size alone has the images' sizes looked up, where they are not known.
static bool make_plan(struct bt_session *s, int i, const struct bt_view *view, char *err, size_t errlen) {
  char why[1024], size[4300];
  if ((s->plans[i] = bt_view_plan_new(view, s->data->image, bt_session_loaders(s), why, sizeof why))) return true;
  if (s->data->image[1]) return bt_fail(err, errlen, "%s", why);
  if (!bt_data_measure(s->data, size, sizeof size)) return bt_fail(err, errlen, "%s; and %s", why, size);
  return (s->plans[i] = bt_view_plan_new(view, s->data->image, bt_session_loaders(s), err, errlen));
}

static bool plan_view(struct bt_session *s, int i, char *err, size_t errlen) {
  const struct bt_input *input = &s->program->inputs[i];
  int64_t shape[3];
  if (input->kind != BT_INPUT_VIEW) return true;
  const struct bt_view *view = input->view < 0 ? NULL : &s->module->views[input->view];
  if (!make_plan(s, i, view, err, errlen)) return false;
  bt_view_plan_shape(s->plans[i], shape);
  if (memcmp(shape, input->shape + 1, sizeof shape) == 0) return true;
  return bt_fail(err, errlen,
                 "%s: view %s makes images of %" PRId64 "×%" PRId64 "×%" PRId64
                 " (channels×height×width), the program was compiled for %" PRId64 "×%" PRId64
                 "×%" PRId64 ": compile it for these images, or give other --data",
                 s->data->name, view ? view->name : "raw", shape[0], shape[1], shape[2],
                 input->shape[1], input->shape[2], input->shape[3]);
}

static bool plan_views(struct bt_session *s, char *err, size_t errlen) {
  bool ok = true;
  s->plans = bt_xcalloc((size_t)s->program->n_inputs, sizeof *s->plans);
  for (int i = 0; ok && i < s->program->n_inputs; i++) ok = plan_view(s, i, err, errlen);
  return ok;
}

// ---- who takes turns --------------------------------------------------------------------------

static struct bt_session session_of(const struct bt_session *s, const struct bt_program *p) {
  return (struct bt_session){.module = s->module, .program = p, .options = s->options, .threads = s->threads};
}

static void find_passes(struct bt_session *s) {
  const struct bt_module *m = s->module;
  s->passes = bt_xcalloc((size_t)m->n_programs, sizeof *s->passes);
  for (int i = 0; i < m->n_programs; i++) {
    const struct bt_program *p = &m->programs[i];
    if (p->owner && strcmp(p->owner, s->program->name) == 0) s->passes[s->n_passes++].session = session_of(s, p);
  }
}

static void add_turns(struct bt_session *s, struct bt_session *of) {
  s->turns[s->n_turns++] = of;
  for (int k = 0; k < of->n_passes; k++) s->turns[s->n_turns++] = &of->passes[k].session;
}

void bt_session_find(struct bt_session *s) {
  const struct bt_options *o = s->options;
  bool trains = bt_program_trains(s->program);
  s->measures = bt_xcalloc((size_t)o->n_evaluated, sizeof *s->measures);
  s->turns = bt_xcalloc((size_t)s->module->n_programs, sizeof *s->turns);
  find_passes(s);
  add_turns(s, s);
  for (int i = 0; trains && i < o->n_evaluated; i++) {
    struct bt_session *m = &s->measures[s->n_measures++];
    *m = session_of(s, o->evaluated[i]);
    find_passes(m);
    add_turns(s, m);
  }
}

// ---- passes -----------------------------------------------------------------------------------

static bool reads_data(const struct bt_program *p) {
  for (int i = 0; i < p->n_inputs; i++)
    switch (p->inputs[i].kind) {
    case BT_INPUT_VIEW:
    case BT_INPUT_LABEL:
    case BT_INPUT_ARRAY: return true;
    default: break;
    }
  return false;
}

static const char *split_name(const struct bt_program *pass) {
  return pass->split == BT_SPLIT_TRAIN ? "train" : "test";
}

// Of the training split, what is trained on. A pass that reads only what others kept takes one step.
static bool choose_images(struct bt_pass *pass, char *err, size_t errlen) {
  const struct bt_session *s = &pass->session;
  const struct bt_program *p = s->program;
  const struct bt_options *o = s->options;
  bool train = p->split == BT_SPLIT_TRAIN;
  if (!reads_data(p) && !bt_program_has(p, BT_OUTPUT_VALUE)) {
    pass->n = p->batch;
    pass->images = bt_xcalloc((size_t)pass->n, sizeof *pass->images);
    return true;
  }
  pass->n = bt_data_subset(train ? &s->data->train : &s->data->test, train ? o->label_fraction : 1, (uint64_t)o->seed, &pass->images);
  return pass->n >= p->batch || !bt_program_has(p, BT_OUTPUT_REPORT) ||
         bt_fail(err, errlen,
                 "%s: the pass %s reports means over full batches of %" PRId64 ", but its split has %" PRId64
                 " %s: compile with a smaller batch, as in btc compile -D batch=%" PRId64,
                 s->data->name, p->name, p->batch, pass->n, s->data->unit, pass->n);
}

// What pass k keeps of its output o, as input of pass `reader`; NULL: it does not read it.
static const struct bt_input *kept_input(const struct bt_session *s, int k, int o, int reader) {
  const struct bt_program *p = s->passes[reader].session.program;
  const struct bt_output *output = &s->passes[k].session.program->outputs[o];
  for (int i = 0; output->kind == BT_OUTPUT_VALUE && i < p->n_inputs; i++)
    if (p->inputs[i].kind == BT_INPUT_KEPT && strcmp(p->inputs[i].name, output->name) == 0) return &p->inputs[i];
  return NULL;
}

static bool check_kept(const struct bt_session *s, char *err, size_t errlen) {
  for (int k = 0; k < s->n_passes; k++)
    for (int o = 0; o < s->passes[k].session.program->n_outputs; o++)
      for (int reader = k + 1; reader < s->n_passes; reader++) {
        const struct bt_program *p = s->passes[k].session.program;
        const struct bt_input *input = kept_input(s, k, o, reader);
        if (input && input->shape[0] != s->passes[k].n)
          return bt_fail(err, errlen,
                         "%s: the pass %s keeps %" PRId64 " rows of '%s', one for each of the %s split, but here it "
                         "sweeps %" PRId64 " %s: declare as many (btc compile -D sets a constant)",
                         s->data->name, p->name, input->shape[0], input->name, split_name(p), s->passes[k].n, s->data->unit);
      }
  return true;
}

// A measure finds what it loads in the store, as the run's program leaves it.
static bool check_loads(const struct bt_session *s, const struct bt_session *measure, char *err, size_t errlen) {
  const struct bt_program *p = s->program, *m = measure->program;
  for (int i = 0; i < m->n_tensors; i++) {
    const char *name = s->module->tensors[m->tensors[i]].name;
    bool owned = false;
    for (int k = 0; k < p->n_tensors; k++) owned |= p->tensors[k] == m->tensors[i];
    for (int k = 0; !owned && k < m->n_loads; k++) {
      size_t n = strlen(m->loads[k].prefix);
      if (strncmp(name, m->loads[k].prefix, n) == 0 && name[n] == '.')
        return bt_fail(err, errlen, "--evaluate %s: it loads %s from %s, which %s does not have: run '%s %s' after the run",
                       m->name, m->loads[k].prefix, m->loads[k].from, p->name, s->options->self, m->name);
    }
  }
  return true;
}

static bool check_measure(const struct bt_session *s, const struct bt_session *measure, char *err, size_t errlen) {
  const struct bt_program *m = measure->program;
  bool means = !m->n_evaluates && bt_program_has(m, BT_OUTPUT_REPORT);
  if (means && s->data->test.n < m->batch)
    return bt_fail(err, errlen, "--evaluate %s: the test split is smaller than one batch", m->name);
  return check_loads(s, measure, err, errlen);
}

// Passes of a program, whose data are open.
static bool prepare_passes(struct bt_session *s, char *err, size_t errlen) {
  bool ok = true;
  for (int k = 0; ok && k < s->n_passes; k++) ok = choose_images(&s->passes[k], err, errlen);
  return ok && check_kept(s, err, errlen);
}

bool bt_session_prepare(struct bt_session *s, const struct bt_module *module,
                        const struct bt_program *program, const struct bt_options *options,
                        int threads, char *err, size_t errlen) {
  *s = (struct bt_session){
      .module = module, .program = program, .options = options, .threads = threads};
  bt_session_find(s);
  bool ok = open_data(s, err, errlen);
  for (int k = 0; ok && k < s->n_turns; k++) {
    s->turns[k]->data = s->data;
    ok = plan_views(s->turns[k], err, errlen);
  }
  ok = ok && prepare_passes(s, err, errlen);
  for (int k = 0; ok && k < s->n_measures; k++)
    ok = prepare_passes(&s->measures[k], err, errlen) && check_measure(s, &s->measures[k], err, errlen);
  if (!ok) bt_session_close(s);
  return ok;
}

// ---- memory -----------------------------------------------------------------------------------

static size_t tensor_bytes(enum bt_dtype dtype, int rank, const int64_t *shape) {
  return bt_round_up(bt_tensor_bytes(dtype, rank, shape), BT_ALIGN);
}

static size_t input_bytes(const struct bt_input *input) {
  return tensor_bytes(input->dtype, input->rank, input->shape);
}

// The loader has the other inputs in its slots, and passes what they keep (place_kept).
static bool is_buffered(enum bt_input_kind kind) { return kind != BT_INPUT_KEPT && !bt_loader_writes(kind); }

static size_t buffer_bytes(const struct bt_program *p) {
  size_t bytes = 0;
  for (int i = 0; i < p->n_inputs; i++)
    if (is_buffered(p->inputs[i].kind)) bytes += input_bytes(&p->inputs[i]);
  for (int i = 0; i < p->n_outputs; i++)
    bytes += tensor_bytes(p->outputs[i].dtype, p->outputs[i].rank, p->outputs[i].shape);
  return bytes;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

// What passes of a program keep while they have their turn.
static size_t kept_bytes(const struct bt_session *s) {
  size_t bytes = 0;
  for (int k = 0; k < s->n_passes; k++)
    for (int o = 0; o < s->passes[k].session.program->n_outputs; o++) {
      const struct bt_input *input = NULL;
      for (int reader = k + 1; !input && reader < s->n_passes; reader++) input = kept_input(s, k, o, reader);
      if (input) bytes += input_bytes(input);
    }
  return bytes;
}

static size_t states_bytes(const struct bt_session *measure) {
  size_t bytes = 0;
  for (int i = 0; i < measure->program->n_tensors; i++) {
    const struct bt_tensor *t = &measure->module->tensors[measure->program->tensors[i]];
    if (t->role == BT_STATE) bytes += bt_round_up(t->bytes, BT_ALIGN);
  }
  return bytes;
}

// Programs take turns in the arena, the scratch and the buffers, and so do measures in theirs.
static struct bt_memory_plan plan_memory(const struct bt_session *s) {
  struct bt_memory_plan plan = {.store = s->module->store_bytes, .batches = bt_loader_bytes(s), .kept = kept_bytes(s)};
  for (int k = 0; k < s->n_turns; k++) {
    const struct bt_program *p = s->turns[k]->program;
    plan.arena = larger(plan.arena, p->arena_bytes);
    plan.scratch = larger(plan.scratch, p->thread_bytes * (size_t)s->threads);
    plan.buffers = larger(plan.buffers, buffer_bytes(p));
  }
  if (s->data) plan.features = bt_features_bytes(s);
  for (int k = 0; k < s->n_measures; k++) {
    plan.kept = larger(plan.kept, kept_bytes(&s->measures[k]));
    plan.states = larger(plan.states, states_bytes(&s->measures[k]));
    if (s->data) plan.features = larger(plan.features, bt_features_bytes(&s->measures[k]));
  }
  return plan;
}

static void place_buffers(struct bt_session *s, char *at) {
  const struct bt_program *p = s->program;
  s->inputs = bt_xcalloc((size_t)p->n_inputs, sizeof *s->inputs);
  s->outputs = bt_xcalloc((size_t)p->n_outputs, sizeof *s->outputs);
  for (int i = 0; i < p->n_inputs; i++) {
    if (!is_buffered(p->inputs[i].kind)) continue;
    s->inputs[i] = at;
    at += input_bytes(&p->inputs[i]);
  }
  for (int i = 0; i < p->n_outputs; i++) {
    s->outputs[i] = at;
    at += tensor_bytes(p->outputs[i].dtype, p->outputs[i].rank, p->outputs[i].shape);
  }
}

// Gives `step`, of s or of one of its passes, its place in the memory of s.
static void place_step(const struct bt_session *s, struct bt_session *step) {
  place_buffers(step, s->buffers.data);
  step->loader = s->loader;
  step->frame = (struct bt_frame){.store = s->store.data, .arena = s->arena.data, .thread_scratch = s->scratch.data,
                                .inputs = step->inputs, .outputs = step->outputs};
}

// Of the passes of s, from `at` on.
static void place_kept(struct bt_session *s, char *at) {
  for (int k = 0; k < s->n_passes; k++) {
    const struct bt_program *p = s->passes[k].session.program;
    s->passes[k].keeps = bt_xcalloc((size_t)p->n_outputs, sizeof *s->passes[k].keeps);
    for (int o = 0; o < p->n_outputs; o++) {
      size_t bytes = 0;
      for (int reader = k + 1; reader < s->n_passes; reader++) {
        const struct bt_input *input = kept_input(s, k, o, reader);
        if (!input) continue;
        s->passes[reader].session.inputs[input - s->passes[reader].session.program->inputs] = s->passes[k].keeps[o] = at;
        bytes = input_bytes(input);
      }
      at += bytes;
    }
  }
}

bool bt_session_open(struct bt_session *s, const struct bt_module *module,
                     const struct bt_program *program, const struct bt_options *options,
                     int threads, char *err, size_t errlen) {
  if (!bt_session_prepare(s, module, program, options, threads, err, errlen)) return false;
  struct bt_memory_plan plan = plan_memory(s);
  bool ok = bt_block_new(&s->store, plan.store, "parameters", err, errlen) &&
            bt_block_new(&s->arena, plan.arena, "arena", err, errlen) &&
            bt_block_new(&s->scratch, plan.scratch, "thread scratch", err, errlen) &&
            bt_block_new(&s->buffers, plan.buffers, "outputs", err, errlen) &&
            bt_block_new(&s->kept, plan.kept, "rows that passes keep", err, errlen) &&
            (options->bench || bt_block_new(&s->features, plan.features, "features and their evaluation", err, errlen)) &&
            bt_block_new(&s->states, plan.states, "states during an evaluation", err, errlen) &&
            (s->loader = bt_loader_new(s, bt_session_loaders(s), err, errlen));
  if (!ok) return bt_session_close(s), false;
  for (int k = 0; k < s->n_turns; k++) place_step(s, s->turns[k]);
  place_kept(s, s->kept.data);
  for (int k = 0; k < s->n_measures; k++) place_kept(&s->measures[k], s->kept.data);
  bt_session_initialise(s, (uint64_t)options->seed);
  return true;
}

static void free_step(struct bt_session *s) {
  for (int i = 0; s->plans && i < s->program->n_inputs; i++) bt_view_plan_free(s->plans[i]);
  free(s->plans), free(s->columns), free(s->inputs), free(s->outputs);
}

static void free_passes(struct bt_session *s) {
  for (int k = 0; k < s->n_passes; k++) free(s->passes[k].images), free(s->passes[k].keeps);
  free(s->passes);
}

void bt_session_close(struct bt_session *s) {
  bt_loader_free(s->loader);
  for (int k = 0; k < s->n_turns; k++) free_step(s->turns[k]);
  for (int k = 0; k < s->n_measures; k++) free_passes(&s->measures[k]);
  free_passes(s);
  free(s->measures), free(s->turns);
  bt_data_free(s->data);
  bt_block_free(&s->store), bt_block_free(&s->arena);
  bt_block_free(&s->scratch), bt_block_free(&s->buffers), bt_block_free(&s->kept);
  bt_block_free(&s->features), bt_block_free(&s->states);
  *s = (struct bt_session){0};
}

void bt_session_plan(const struct bt_session *s, struct bt_memory_plan *plan) {
  *plan = plan_memory(s);
  if (!s->data) return;
  plan->data = bt_data_bytes(s->data);
  for (int k = 0; k < s->n_turns; k++)
    for (int i = 0; i < s->turns[k]->program->n_inputs; i++)
      if (s->turns[k]->plans[i]) plan->views += bt_view_plan_bytes(s->turns[k]->plans[i]);
}

// ---- parameters -------------------------------------------------------------------------------

void bt_session_initialise(struct bt_session *s, uint64_t seed) {
  for (int i = 0; i < s->module->n_tensors; i++) {
    const struct bt_tensor *t = &s->module->tensors[i];
    bt_initialise(t, seed, (char *)s->store.data + t->offset);
  }
}

static const struct bt_tensor *tensor_named(const struct bt_module *m, const char *name) {
  for (int i = 0; i < m->n_tensors; i++)
    if (strcmp(m->tensors[i].name, name) == 0) return &m->tensors[i];
  bt_die("there is no tensor %s", name);
}

static bool is_loaded(const struct bt_session *s, const char *name) {
  for (int i = 0; !s->options->untrained && i < s->program->n_loads; i++) {
    size_t n = strlen(s->program->loads[i].prefix);
    if (strncmp(name, s->program->loads[i].prefix, n) == 0 && name[n] == '.') return true;
  }
  return false;
}

// `given`, by tensor: what --init gave.
static void copy_starts(struct bt_session *s, const bool *given) {
  char *store = s->store.data;
  for (int i = 0; i < s->module->n_tensors; i++) {
    const struct bt_tensor *t = &s->module->tensors[i];
    if (t->copy_of && !given[i] && !is_loaded(s, t->name))
      memcpy(store + t->offset, store + tensor_named(s->module, t->copy_of)->offset, t->bytes);
  }
}

// Does --init give all that a `load` would?
static bool all_given(const struct bt_module *module, const char *instance, const bool *given) {
  struct bt_selection s = bt_select_instance(module, instance);
  bool all = true;
  for (int i = 0; i < s.n; i++) all &= given[s.tensors[i] - module->tensors];
  free(s.tensors);
  return all;
}

static bool load_one(struct bt_session *s, const struct bt_load *load, char *note, size_t notelen,
                     char *err, size_t errlen) {
  const struct bt_options *o = s->options;
  char *path = o->from         ? bt_xstrdup(o->from)
               : load->is_file ? bt_xstrdup(load->from)
                               : bt_path(o->out, load->from, BT_LAST_CHECKPOINT);
  bool ok;
  if (access(path, F_OK) != 0 && !load->is_file && !o->from)
    ok = bt_fail(err, errlen,
                 "%s needs %s, which is not there: run '%s %s' first, or give --from FILE%s",
                 s->program->name, path, o->self, load->from,
                 bt_program_trains(s->program) ? "" : " or --untrained");
  else
    ok = bt_instance_load(path, s->module, load->prefix, s->store.data, NULL, note, notelen, err,
                          errlen);
  free(path);
  return ok;
}

bool bt_session_load(struct bt_session *s, char *err, size_t errlen) {
  const struct bt_options *o = s->options;
  char note[2048] = "";
  bool *given = bt_xcalloc((size_t)s->module->n_tensors, sizeof *given);
  bool ok = !o->init || bt_instances_init(o->init, s->module, s->program, s->store.data, given,
                                          note, sizeof note, err, errlen);
  for (int i = 0; ok && !o->untrained && i < s->program->n_loads; i++)
    if (!all_given(s->module, s->program->loads[i].prefix, given))
      ok = load_one(s, &s->program->loads[i], note, sizeof note, err, errlen);
  if (ok) copy_starts(s, given);
  free(given);
  if (ok && !o->quiet) fputs(note, stderr);
  return ok;
}

typedef void state_move(char *kept, char *tensor, size_t bytes);
static void save_state(char *kept, char *tensor, size_t bytes) { memcpy(kept, tensor, bytes); }
static void restore_state(char *kept, char *tensor, size_t bytes) { memcpy(tensor, kept, bytes); }

static void move_states(struct bt_session *s, const struct bt_session *measure, state_move *move) {
  char *at = s->states.data;
  for (int i = 0; i < measure->program->n_tensors; i++) {
    const struct bt_tensor *t = &s->module->tensors[measure->program->tensors[i]];
    if (t->role != BT_STATE) continue;
    move(at, (char *)s->store.data + t->offset, t->bytes);
    at += bt_round_up(t->bytes, BT_ALIGN);
  }
}

void bt_session_save_states(struct bt_session *s, const struct bt_session *measure) { move_states(s, measure, save_state); }
void bt_session_restore_states(struct bt_session *s, const struct bt_session *measure) { move_states(s, measure, restore_state); }

// ---- stepping ---------------------------------------------------------------------------------

uint32_t bt_session_checksum(const struct bt_session *s) {
  const struct bt_split *train = &s->data->train;
  uLong sum = train->images ? bt_images_checksum(train->images) : 0;
  for (int i = 0; i < s->program->n_inputs; i++) {
    const struct bt_input *input = &s->program->inputs[i];
    if (input->kind != BT_INPUT_LABEL && input->kind != BT_INPUT_ARRAY) continue;
    size_t row = bt_tensor_bytes(input->dtype, input->rank - 1, input->shape + 1);
    sum = crc32_z(sum, train->columns[s->columns[i]], row * (size_t)train->n);
  }
  return (uint32_t)sum;
}

static double schedule_value(enum bt_input_kind kind, const struct bt_step_point *p) {
  switch (kind) {
  case BT_INPUT_STEP: return (double)p->step;
  case BT_INPUT_STEPS: return (double)p->steps;
  case BT_INPUT_EPOCH: return (double)p->step / (double)p->steps_per_epoch;
  case BT_INPUT_EPOCHS: return (double)p->steps / (double)p->steps_per_epoch;
  default: bt_die("input kind %d", (int)kind);
  }
}

void bt_session_count(struct bt_session *s, const struct bt_step_point *point) {
  for (int i = 0; i < s->program->n_inputs; i++) {
    enum bt_input_kind kind = s->program->inputs[i].kind;
    if (kind >= BT_INPUT_STEP && kind <= BT_INPUT_EPOCHS) *(float *)s->inputs[i] = (float)schedule_value(kind, point);
  }
}

void bt_session_step(struct bt_session *s) { s->program->step(&s->frame); }

double bt_session_scalar(const struct bt_session *s, int output) {
  const struct bt_output *o = &s->program->outputs[output];
  if (o->dtype == BT_F64) return *(const double *)s->outputs[output];
  if (o->dtype != BT_F32) bt_die("a scalar of %s", bt_dtype_name(o->dtype));
  return *(const float *)s->outputs[output];
}
