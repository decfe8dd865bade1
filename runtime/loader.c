// loader.c: see loader.h.
//
// One lock guards everything but the slots' bytes. Work is taken in the order of the stream, a few
// examples at a time, so that a batch is spread over all threads: the last batch that was opened is
// the only one of which something may be left to take, so one counter says what is next. Where
// nothing is left, the thread that finds a slot free opens the next batch: it asks for its examples
// and calls the others.
//
// After a failure nothing more is taken. What was taken before it is finished, so the batches
// before the failing one are whole and are still handed out, and of several failures the first in
// the stream's order is reported, however many threads there are.
#define _GNU_SOURCE
#include "loader.h"
#include "random.h"
#include "views.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 3 };             // one is read by the step, two are filled
enum { ITEM_BYTES = 64 << 10 }; // of a slot, about: what a thread takes at once

struct slot {
  char *data;       // the inputs that are loaded, one after the other
  uint32_t *index;  // the examples
  int64_t finished; // of them
};

struct worker {
  struct bt_loader *loader;
  int number;
  pthread_t thread;
  struct bt_image_room room;
  char err[4096]; // of the example that failed
};

struct bt_loader {
  pthread_mutex_t lock;
  pthread_cond_t work;     // for the workers: there may be something to do
  pthread_cond_t progress; // for the reader: a batch is whole, or nobody is busy
  int n_workers;
  struct worker *workers;
  struct bt_block block; // of all slots
  struct slot slots[SLOTS];
  size_t *offsets; // one per input of the stream's program: in a slot

  struct bt_stream stream;
  bool reads_images;
  int64_t item;   // examples that are taken at once
  int64_t read;   // the step whose batch the inputs are; first - 1: none yet
  int64_t opened; // the last step whose batch was opened
  int64_t taken;  // examples of it
  bool opening;   // its order is being asked for
  int busy;       // workers with an item
  bool running, leaving;
  bool failed;
  int64_t failed_step, failed_example; // the latter in its batch
  char err[4096];
};

bool bt_loader_writes(enum bt_input_kind kind) {
  switch (kind) {
  case BT_INPUT_VIEW:
  case BT_INPUT_LABEL:
  case BT_INPUT_ARRAY:
  case BT_INPUT_KEY: return true;
  default: return false;
  }
}

// ---- slots ------------------------------------------------------------------------------------

static size_t row_bytes(const struct bt_input *input) {
  return bt_tensor_bytes(input->dtype, input->rank - 1, input->shape + 1);
}

static size_t input_bytes(const struct bt_input *input) {
  return bt_round_up(bt_tensor_bytes(input->dtype, input->rank, input->shape), BT_ALIGN);
}

// Of the inputs of p that are loaded; their places fall to offsets, if it is not NULL.
static size_t place_inputs(const struct bt_program *p, size_t *offsets) {
  size_t at = 0;
  for (int i = 0; i < p->n_inputs; i++) {
    if (!bt_loader_writes(p->inputs[i].kind)) continue;
    if (offsets) offsets[i] = at;
    at += input_bytes(&p->inputs[i]);
  }
  return at;
}

// The largest program of s: s itself or a pass.
struct needs {
  size_t bytes;
  int64_t batch;
  int inputs;
};

static void grow_needs(struct needs *n, const struct bt_program *p) {
  size_t bytes = place_inputs(p, NULL);
  if (bytes > n->bytes) n->bytes = bytes;
  if (p->batch > n->batch) n->batch = p->batch;
  if (p->n_inputs > n->inputs) n->inputs = p->n_inputs;
}

static struct needs needs_of(const struct bt_session *s) {
  struct needs n = {0};
  for (int k = 0; k < s->n_turns; k++) grow_needs(&n, s->turns[k]->program);
  return n;
}

size_t bt_loader_bytes(const struct bt_session *s) {
  struct needs n = needs_of(s);
  return SLOTS * (n.bytes + (size_t)n.batch * sizeof(uint32_t));
}

static struct slot *slot_of(struct bt_loader *l, int64_t step) { return &l->slots[step % SLOTS]; }

// ---- loading an example -----------------------------------------------------------------------

// The example's image or, where it cannot be read, the one that takes its place: then *index is
// that one's.
static bool take_image(const struct bt_split *split, struct worker *w, uint32_t *index,
                       struct bt_raster *image) {
  int64_t taken;
  if (!bt_images_take(split->images, *index, &w->room, image, &taken, w->err, sizeof w->err))
    return false;
  *index = (uint32_t)taken;
  return true;
}

static bool write_pixels(const struct bt_input *input, const struct bt_raster *image, char *row,
                         char *err, size_t errlen) {
  const int64_t *shape = input->shape + 1;
  if (image->channels != shape[0] || image->height != shape[1] || image->width != shape[2])
    return bt_fail(err, errlen,
                   "the program takes images of %" PRId64 "×%" PRId64 "×%" PRId64
                   " (channels×height×width), not of %d×%d×%d",
                   shape[0], shape[1], shape[2], image->channels, image->height, image->width);
  memcpy(row, image->pixels, row_bytes(input));
  return true;
}

// Input i of a row: the view of an image, or its pixels.
static bool write_view(const struct bt_stream *t, int i, struct worker *w,
                       const struct bt_raster *image, uint32_t index, int64_t step, char *row) {
  const struct bt_session *s = t->session;
  const struct bt_input *input = &s->program->inputs[i];
  struct bt_view_key key = {t->seed, (uint32_t)(step / t->steps_per_epoch), (uint32_t)input->site};
  char why[1024];
  bool ok = input->dtype == BT_U8 ? write_pixels(input, image, row, why, sizeof why)
                                  : bt_view_apply(s->plans[i], w->number, image, index, key,
                                                  (float *)row, why, sizeof why);
  if (ok) return true;
  if (t->split->images->files)
    return bt_fail(w->err, sizeof w->err, "%s/%s: %s", bt_images_folder(t->split->images),
                   bt_images_path(t->split->images, index), why);
  return bt_fail(w->err, sizeof w->err, "%s: image %" PRIu32 ": %s", s->data->name, index, why);
}

// Writes row n of the batch of a step: an example with all its views, labels and arrays.
static bool load_example(struct bt_loader *l, struct worker *w, int64_t step, int64_t n) {
  const struct bt_stream *t = &l->stream;
  const struct bt_session *s = t->session;
  const struct slot *slot = slot_of(l, step);
  uint32_t index = slot->index[n];
  struct bt_raster image;
  if (l->reads_images && !take_image(t->split, w, &index, &image)) return false;
  for (int i = 0; i < s->program->n_inputs; i++) {
    const struct bt_input *input = &s->program->inputs[i];
    enum bt_input_kind kind = input->kind;
    if (kind != BT_INPUT_VIEW && kind != BT_INPUT_LABEL && kind != BT_INPUT_ARRAY) continue;
    size_t size = row_bytes(input);
    char *row = slot->data + l->offsets[i] + (size_t)n * size;
    if (kind != BT_INPUT_VIEW)
      memcpy(row, (const char *)t->split->columns[s->columns[i]] + index * size, size);
    else if (!write_view(t, i, w, &image, index, step, row))
      return false;
  }
  return true;
}

static void write_keys(struct bt_loader *l, int64_t step) {
  const struct bt_program *p = l->stream.session->program;
  for (int i = 0; i < p->n_inputs; i++) {
    if (p->inputs[i].kind != BT_INPUT_KEY) continue;
    int64_t *key = (int64_t *)(slot_of(l, step)->data + l->offsets[i]);
    key[0] = (int64_t)bt_draw_key(l->stream.seed), key[1] = step;
  }
}

// ---- workers ----------------------------------------------------------------------------------
// All with the lock held, which they give back while they work.

static int64_t batch_of(const struct bt_loader *l) { return l->stream.session->program->batch; }

static void call_workers(struct bt_loader *l, int64_t most) {
  for (int64_t i = 0; i < most && i < l->n_workers; i++) pthread_cond_signal(&l->work);
}

static bool can_take(const struct bt_loader *l) {
  return l->running && !l->failed && !l->opening && l->taken < batch_of(l);
}

static bool can_open(const struct bt_loader *l) {
  return l->running && !l->failed && !l->opening && l->taken == batch_of(l) &&
         l->opened + 1 < l->stream.end && l->opened < l->read + SLOTS - 1;
}

static void open_batch(struct bt_loader *l) {
  int64_t step = ++l->opened;
  l->opening = true;
  pthread_mutex_unlock(&l->lock);
  l->stream.order(l->stream.user, step, slot_of(l, step)->index);
  write_keys(l, step);
  pthread_mutex_lock(&l->lock);
  l->opening = false;
  l->taken = slot_of(l, step)->finished = 0;
  call_workers(l, (batch_of(l) - 1) / l->item);
  if (!l->running) pthread_cond_signal(&l->progress);
}

static void note_failure(struct bt_loader *l, const struct worker *w, int64_t step,
                         int64_t example) {
  bool first = !l->failed || step < l->failed_step ||
               (step == l->failed_step && example < l->failed_example);
  if (!first) return;
  l->failed = true;
  l->failed_step = step, l->failed_example = example;
  memcpy(l->err, w->err, sizeof l->err);
}

static void take_item(struct bt_loader *l, struct worker *w) {
  int64_t step = l->opened, from = l->taken, left = batch_of(l) - from,
          n = left < l->item ? left : l->item, done = 0;
  l->taken += n;
  l->busy++;
  if (can_open(l)) call_workers(l, 1);
  pthread_mutex_unlock(&l->lock);
  while (done < n && load_example(l, w, step, from + done)) done++;
  pthread_mutex_lock(&l->lock);
  l->busy--;
  slot_of(l, step)->finished += done;
  if (done < n) note_failure(l, w, step, from + done);
  if (slot_of(l, step)->finished == batch_of(l) || l->busy == 0) pthread_cond_signal(&l->progress);
}

static void *work(void *user) {
  struct worker *w = user;
  struct bt_loader *l = w->loader;
  pthread_mutex_lock(&l->lock);
  while (!l->leaving)
    if (can_take(l))
      take_item(l, w);
    else if (can_open(l))
      open_batch(l);
    else
      pthread_cond_wait(&l->work, &l->lock);
  pthread_mutex_unlock(&l->lock);
  return NULL;
}

// ---- the reader -------------------------------------------------------------------------------

static bool reads_images(const struct bt_program *p) {
  for (int i = 0; i < p->n_inputs; i++)
    if (p->inputs[i].kind == BT_INPUT_VIEW) return true;
  return false;
}

// An image that must be decoded is work enough.
static int64_t item_of(const struct bt_loader *l) {
  const struct bt_program *p = l->stream.session->program;
  if (l->reads_images && l->stream.split->images->files) return 1;
  int64_t examples = (int64_t)(ITEM_BYTES * (size_t)p->batch / (place_inputs(p, NULL) + 1));
  return examples < 1 ? 1 : examples;
}

void bt_loader_stop(struct bt_loader *l) {
  pthread_mutex_lock(&l->lock);
  l->running = false;
  while (l->busy || l->opening) pthread_cond_wait(&l->progress, &l->lock);
  pthread_mutex_unlock(&l->lock);
}

void bt_loader_start(struct bt_loader *l, const struct bt_stream *stream) {
  bt_loader_stop(l);
  pthread_mutex_lock(&l->lock);
  l->stream = *stream;
  l->reads_images = reads_images(stream->session->program);
  l->item = item_of(l);
  place_inputs(stream->session->program, l->offsets);
  l->read = l->opened = stream->first - 1;
  l->taken = stream->session->program->batch; // of no batch nothing is left
  l->failed = false;
  l->running = true;
  call_workers(l, 1);
  pthread_mutex_unlock(&l->lock);
}

static void point_inputs(const struct bt_loader *l, const struct slot *slot) {
  struct bt_session *s = l->stream.session;
  for (int i = 0; i < s->program->n_inputs; i++)
    if (bt_loader_writes(s->program->inputs[i].kind)) s->inputs[i] = slot->data + l->offsets[i];
}

// Whether the batch of a step is whole, or will never be.
static bool is_settled(struct bt_loader *l, int64_t step) {
  if (l->failed && l->failed_step <= step) return l->busy == 0;
  return l->opened >= step && !(l->opened == step && l->opening) &&
         slot_of(l, step)->finished == batch_of(l);
}

bool bt_loader_next(struct bt_loader *l, char *err, size_t errlen) {
  pthread_mutex_lock(&l->lock);
  int64_t step = ++l->read;
  if (!l->running || step >= l->stream.end) bt_die("step %" PRId64 " is not loaded", step);
  call_workers(l, 1); // the batch before it has left a slot
  while (!is_settled(l, step)) pthread_cond_wait(&l->progress, &l->lock);
  bool ok = !l->failed || step < l->failed_step;
  if (ok)
    point_inputs(l, slot_of(l, step));
  else
    l->read--, bt_fail(err, errlen, "%s", l->err);
  pthread_mutex_unlock(&l->lock);
  return ok;
}

// ---- making and freeing -----------------------------------------------------------------------

static bool make_slots(struct bt_loader *l, const struct bt_session *s, char *err, size_t errlen) {
  struct needs n = needs_of(s);
  l->offsets = bt_xcalloc((size_t)n.inputs, sizeof *l->offsets);
  if (!bt_block_new(&l->block, bt_loader_bytes(s), "batches that are loaded ahead", err, errlen))
    return false;
  char *index = (char *)l->block.data + SLOTS * n.bytes;
  for (int i = 0; i < SLOTS; i++) {
    l->slots[i].data = (char *)l->block.data + (size_t)i * n.bytes;
    l->slots[i].index = (uint32_t *)index + i * n.batch;
  }
  return true;
}

// They take no signals: those are for the thread that trains.
static bool start_workers(struct bt_loader *l, int threads, char *err, size_t errlen) {
  sigset_t all, old;
  int code = 0;
  l->workers = bt_xcalloc((size_t)threads, sizeof *l->workers);
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  for (int i = 0; i < threads && code == 0; i++) {
    l->workers[i].loader = l, l->workers[i].number = i;
    code = pthread_create(&l->workers[i].thread, NULL, work, &l->workers[i]);
    l->n_workers += code == 0;
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  return code == 0 ||
         bt_fail(err, errlen,
                 "cannot start %d threads that load the data (%s): give fewer --loaders", threads,
                 strerror(code));
}

struct bt_loader *bt_loader_new(const struct bt_session *s, int threads, char *err, size_t errlen) {
  struct bt_loader *l = bt_xcalloc(1, sizeof *l);
  pthread_mutex_init(&l->lock, NULL);
  pthread_cond_init(&l->work, NULL), pthread_cond_init(&l->progress, NULL);
  bool ok = make_slots(l, s, err, errlen) && start_workers(l, threads, err, errlen);
  if (!ok) bt_loader_free(l), l = NULL;
  return l;
}

void bt_loader_free(struct bt_loader *l) {
  if (!l) return;
  bt_loader_stop(l);
  pthread_mutex_lock(&l->lock);
  l->leaving = true;
  pthread_cond_broadcast(&l->work);
  pthread_mutex_unlock(&l->lock);
  for (int i = 0; i < l->n_workers; i++) {
    pthread_join(l->workers[i].thread, NULL);
    bt_image_room_free(&l->workers[i].room);
  }
  pthread_cond_destroy(&l->work), pthread_cond_destroy(&l->progress);
  pthread_mutex_destroy(&l->lock);
  bt_block_free(&l->block);
  free(l->offsets), free(l->workers);
  free(l);
}
