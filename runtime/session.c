// session.c: see session.h.
#include "session.h"
#include "evaluate.h"
#include "interchange.h"
#include "match.h"
#include "random.h"
#include "views.h"

#include <inttypes.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

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

static void add_image(const int64_t image[3], struct bt_data_need *need) {
  for (int i = 0; i < 3; i++)
    if (image[i]) need->image[i] = image[i];
}

static bool add_images(struct bt_session *s, int i, struct bt_data_need *need, char *err,
                       size_t errlen) {
  const char *name = s->program->inputs[i].name;
  if (need->images_name && strcmp(need->images_name, name) != 0)
    return bt_fail(err, errlen,
                   "program %s takes two kinds of images, '%s' and '%s'; a data set has one",
                   s->program->name, need->images_name, name);
  if (s->program->inputs[i].view < 0) add_image(s->program->inputs[i].shape + 1, need); // pixels as they are
  return need->images_name = name, true;
}

// The column of this name in the need, or a new one.
static int column_of(struct bt_data_need *need, struct bt_column *columns, const struct bt_column *column) {
  for (int i = 0; i < need->n_columns; i++) {
    if (strcmp(columns[i].name, column->name) != 0) continue;
    bool fewer = column->classes && (!columns[i].classes || column->classes < columns[i].classes);
    if (fewer) columns[i].classes = column->classes;
    return i;
  }
  columns[need->n_columns] = *column;
  return need->n_columns++;
}

// Adds what the inputs of s need of the data; s->columns says which column an input reads.
static bool add_need(struct bt_session *s, struct bt_column *columns, struct bt_data_need *need,
                     char *err, size_t errlen) {
  const struct bt_program *p = s->program;
  add_image(p->image, need);
  s->columns = bt_xcalloc((size_t)p->n_inputs, sizeof *s->columns);
  for (int i = 0; i < p->n_inputs; i++) {
    const struct bt_input *input = &p->inputs[i];
    struct bt_column column;
    if (input->kind == BT_INPUT_VIEW && !add_images(s, i, need, err, errlen)) return false;
    if (input->kind != BT_INPUT_LABEL && input->kind != BT_INPUT_ARRAY) continue;
    if (!make_column(s, i, &column, err, errlen)) return false;
    s->columns[i] = column_of(need, columns, &column);
    if (input->classes && (!need->classes || input->classes < need->classes))
      need->classes = input->classes;
  }
  return true;
}

// Programs that minimise nothing measure on the test split.
static bool needs_test(const struct bt_session *s) {
  bool needs = !bt_program_trains(s->program) || s->program->n_evaluates;
  for (int k = 0; k < s->n_passes; k++) needs |= s->passes[k].session.program->split == BT_SPLIT_TEST;
  return needs;
}

// A program and its passes read the same data.
static bool open_data(struct bt_session *s, char *err, size_t errlen) {
  const struct bt_options *o = s->options;
  int inputs = s->program->n_inputs;
  for (int k = 0; k < s->n_passes; k++) inputs += s->passes[k].session.program->n_inputs;
  struct bt_column *columns = bt_xcalloc((size_t)inputs, sizeof *columns);
  struct bt_data_need need = {.columns = columns,
                              .train_only = !needs_test(s),
                              .cache = (size_t)o->cache,
                              .plan = o->command == BT_COMMAND_INFO,
                              .quiet = o->quiet};
  bool ok = add_need(s, columns, &need, err, errlen);
  for (int k = 0; ok && k < s->n_passes; k++) ok = add_need(&s->passes[k].session, columns, &need, err, errlen);
  if (ok) s->data = bt_data_open(o->data, &need, (uint64_t)o->seed, err, errlen);
  free(columns);
  if (!s->data || o->label_fraction == 1 || s->data->train.labels) return s->data != NULL;
  return bt_fail(err, errlen,
                 "--labels %s: %s has no labels that program %s reads, to choose examples by",
                 o->labels, s->data->name, s->program->name);
}

// A view that works on one size alone has the images' sizes looked up, where they are not known.
static bool make_plan(struct bt_session *s, int i, const struct bt_view *view, char *err, size_t errlen) {
  char why[1024], size[4300];
  if ((s->plans[i] = bt_view_plan_new(view, s->data->image, s->threads, why, sizeof why))) return true;
  if (s->data->image[1]) return bt_fail(err, errlen, "%s", why);
  if (!bt_data_measure(s->data, size, sizeof size)) return bt_fail(err, errlen, "%s; and %s", why, size);
  return (s->plans[i] = bt_view_plan_new(view, s->data->image, s->threads, err, errlen));
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

void bt_session_find_passes(struct bt_session *s) {
  const struct bt_module *m = s->module;
  s->passes = bt_xcalloc((size_t)m->n_programs, sizeof *s->passes);
  for (int i = 0; i < m->n_programs; i++) {
    const struct bt_program *p = &m->programs[i];
    if (p->owner && strcmp(p->owner, s->program->name) == 0)
      s->passes[s->n_passes++].session = (struct bt_session){.module = m, .program = p, .options = s->options, .threads = s->threads};
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

static bool has_output(const struct bt_program *p, enum bt_output_kind kind) {
  for (int i = 0; i < p->n_outputs; i++)
    if (p->outputs[i].kind == kind) return true;
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
  if (!reads_data(p) && !has_output(p, BT_OUTPUT_VALUE)) {
    pass->n = p->batch;
    pass->images = bt_xcalloc((size_t)pass->n, sizeof *pass->images);
    return true;
  }
  pass->n = bt_data_subset(train ? &s->data->train : &s->data->test, train ? o->label_fraction : 1, (uint64_t)o->seed, &pass->images);
  return pass->n >= p->batch || !has_output(p, BT_OUTPUT_REPORT) ||
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

bool bt_session_prepare(struct bt_session *s, const struct bt_module *module,
                        const struct bt_program *program, const struct bt_options *options,
                        int threads, char *err, size_t errlen) {
  *s = (struct bt_session){
      .module = module, .program = program, .options = options, .threads = threads};
  bt_session_find_passes(s);
  bool ok = open_data(s, err, errlen) && plan_views(s, err, errlen);
  for (int k = 0; ok && k < s->n_passes; k++) {
    s->passes[k].session.data = s->data;
    ok = plan_views(&s->passes[k].session, err, errlen) && choose_images(&s->passes[k], err, errlen);
  }
  ok = ok && check_kept(s, err, errlen);
  if (!ok) bt_session_close(s);
  return ok;
}

// ---- memory -----------------------------------------------------------------------------------

static size_t tensor_bytes(enum bt_dtype dtype, int rank, const int64_t *shape) {
  return bt_round_up((size_t)bt_count(rank, shape) * bt_dtype_size(dtype), BT_ALIGN);
}

static size_t input_bytes(const struct bt_input *input) {
  return tensor_bytes(input->dtype, input->rank, input->shape);
}

static size_t buffer_bytes(const struct bt_program *p) {
  size_t bytes = 0;
  for (int i = 0; i < p->n_inputs; i++)
    if (p->inputs[i].kind != BT_INPUT_KEPT) bytes += input_bytes(&p->inputs[i]);
  for (int i = 0; i < p->n_outputs; i++)
    bytes += tensor_bytes(p->outputs[i].dtype, p->outputs[i].rank, p->outputs[i].shape);
  return bytes;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

// A program and its passes take turns in the arena, the scratch and the buffers.
static struct bt_memory_plan plan_steps(const struct bt_session *s) {
  struct bt_memory_plan plan = {.store = s->module->store_bytes};
  for (int k = -1; k < s->n_passes; k++) {
    const struct bt_program *p = k < 0 ? s->program : s->passes[k].session.program;
    plan.arena = larger(plan.arena, p->arena_bytes);
    plan.scratch = larger(plan.scratch, p->thread_bytes * (size_t)s->threads);
    plan.buffers = larger(plan.buffers, buffer_bytes(p));
  }
  for (int k = 0; k < s->n_passes; k++)
    for (int o = 0; o < s->passes[k].session.program->n_outputs; o++) {
      const struct bt_input *input = NULL;
      for (int reader = k + 1; !input && reader < s->n_passes; reader++) input = kept_input(s, k, o, reader);
      if (input) plan.kept += input_bytes(input);
    }
  return plan;
}

static void place_buffers(struct bt_session *s, char *at) {
  const struct bt_program *p = s->program;
  s->inputs = bt_xcalloc((size_t)p->n_inputs, sizeof *s->inputs);
  s->outputs = bt_xcalloc((size_t)p->n_outputs, sizeof *s->outputs);
  for (int i = 0; i < p->n_inputs; i++) {
    if (p->inputs[i].kind == BT_INPUT_KEPT) continue; // place_kept
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
  step->frame = (struct bt_frame){s->store.data, s->arena.data, s->scratch.data, step->inputs, step->outputs};
}

static void place_kept(struct bt_session *s) {
  char *at = s->kept.data;
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
  struct bt_memory_plan plan = plan_steps(s);
  bool ok = bt_block_new(&s->store, plan.store, "parameters", err, errlen) &&
            bt_block_new(&s->arena, plan.arena, "arena", err, errlen) &&
            bt_block_new(&s->scratch, plan.scratch, "thread scratch", err, errlen) &&
            bt_block_new(&s->buffers, plan.buffers, "inputs and outputs", err, errlen) &&
            bt_block_new(&s->kept, plan.kept, "rows that passes keep", err, errlen);
  if (!ok) return bt_session_close(s), false;
  place_step(s, s);
  for (int k = 0; k < s->n_passes; k++) place_step(s, &s->passes[k].session);
  place_kept(s);
  bt_session_initialise(s, (uint64_t)options->seed);
  return true;
}

static void free_step(struct bt_session *s) {
  for (int i = 0; s->plans && i < s->program->n_inputs; i++) bt_view_plan_free(s->plans[i]);
  free(s->plans), free(s->columns), free(s->inputs), free(s->outputs);
}

void bt_session_close(struct bt_session *s) {
  free_step(s);
  for (int k = 0; k < s->n_passes; k++) {
    free_step(&s->passes[k].session);
    free(s->passes[k].images), free(s->passes[k].keeps);
  }
  free(s->passes);
  bt_data_free(s->data);
  bt_block_free(&s->store), bt_block_free(&s->arena);
  bt_block_free(&s->scratch), bt_block_free(&s->buffers), bt_block_free(&s->kept);
  *s = (struct bt_session){0};
}

void bt_session_plan(const struct bt_session *s, struct bt_memory_plan *plan) {
  const struct bt_program *p = s->program;
  *plan = plan_steps(s);
  if (!s->data) return;
  plan->data = bt_data_bytes(s->data);
  for (int i = 0; i < p->n_inputs; i++)
    if (s->plans[i]) plan->views += bt_view_plan_bytes(s->plans[i]);
  for (int k = 0; k < s->n_passes; k++) {
    const struct bt_session *pass = &s->passes[k].session;
    for (int i = 0; i < pass->program->n_inputs; i++)
      if (pass->plans[i]) plan->views += bt_view_plan_bytes(pass->plans[i]);
  }
  for (int i = 0; i < p->n_evaluates; i++) { // one after the other: the largest counts
    const struct bt_output *o = &p->outputs[p->evaluates[i].features];
    int64_t d = bt_count(o->rank, o->shape) / p->batch, train = s->data->train.n,
            test = s->data->test.n;
    size_t this = (size_t)(train + test) * ((size_t)d * sizeof(float) + sizeof(int32_t)) +
                  bt_evaluate_bytes(&p->evaluates[i], train, test, d, s->data->classes);
    if (this > plan->features) plan->features = this;
  }
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
  char *path = o->from         ? strdup(o->from)
               : load->is_file ? strdup(load->from)
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

// ---- stepping ---------------------------------------------------------------------------------

static void feed_view(struct bt_session *s, int i, const struct bt_split *split,
                      const uint32_t *index, const struct bt_step_point *point) {
  const struct bt_input *input = &s->program->inputs[i];
  size_t size = (size_t)bt_count(3, input->shape + 1);
  struct bt_view_key key = {point->seed, (uint32_t)(point->step / point->steps_per_epoch),
                            (uint32_t)input->site};
  if (input->dtype != BT_F32 && input->dtype != BT_U8) bt_die("images as %s", bt_dtype_name(input->dtype));
#pragma omp parallel for schedule(static) num_threads(s->threads)
  for (int64_t n = 0; n < s->program->batch; n++) {
    struct bt_image_room room = {0};
    struct bt_raster image;
    int64_t taken;
    char why[4400];
    if (!bt_images_take(split->images, index[n], &room, &image, &taken, why, sizeof why)) bt_die("%s", why);
    if (input->dtype == BT_U8)
      memcpy((uint8_t *)s->inputs[i] + (size_t)n * size, image.pixels, size);
    else
      bt_view_apply(s->plans[i], omp_get_thread_num(), &image, index[n], key, (float *)s->inputs[i] + (size_t)n * size, NULL, 0);
    bt_image_room_free(&room);
  }
}

// Labels or another array.
static void feed_column(struct bt_session *s, int i, const struct bt_split *split,
                        const uint32_t *index) {
  const struct bt_input *input = &s->program->inputs[i];
  const char *rows = split->columns[s->columns[i]];
  size_t size = bt_dtype_size(input->dtype) * (size_t)bt_count(input->rank - 1, input->shape + 1);
  for (int64_t n = 0; n < s->program->batch; n++)
    memcpy((char *)s->inputs[i] + (size_t)n * size, rows + index[n] * size, size);
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

void bt_session_feed(struct bt_session *s, const struct bt_split *split, const uint32_t *index,
                     const struct bt_step_point *point) {
  for (int i = 0; i < s->program->n_inputs; i++) {
    enum bt_input_kind kind = s->program->inputs[i].kind;
    switch (kind) {
    case BT_INPUT_VIEW: feed_view(s, i, split, index, point); break;
    case BT_INPUT_LABEL:
    case BT_INPUT_ARRAY: feed_column(s, i, split, index); break;
    case BT_INPUT_KEY:
      ((int64_t *)s->inputs[i])[0] = (int64_t)bt_draw_key(point->seed);
      ((int64_t *)s->inputs[i])[1] = point->step;
      break;
    default: break; // kept rows are in place, counters are bt_session_count's
    }
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
