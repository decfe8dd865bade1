// test_rt_loader.c: batches against their definition, for any number of threads; stopping anywhere;
// failures.
#define _GNU_SOURCE
#include "image_files.h"
#include "loader.h"
#include "random.h"
#include "rt_test.h"
#include "views.h"

#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>

// An example takes 27 KiB, so a batch is many items. The pass reads the same images otherwise.
enum { BATCH = 24, SIDE = 32, CHANNELS = 3, PIXELS = CHANNELS * SIDE * SIDE, AHEAD = 2 };
static const struct bt_view_step steps[] = {{BT_VIEW_random_crop, {SIDE, 4}},
                                            {BT_VIEW_horizontal_flip, {0.5}}};
static const struct bt_view views[] = {{"a", 2, steps}, {"plain", 0, NULL}};
#define IMAGES(type, view, site) \
  { "x", BT_INPUT_VIEW, type, 4, {BATCH, CHANNELS, SIDE, SIDE}, view, site, 0 }
static const struct bt_input inputs[] = {IMAGES(BT_F32, 0, 1),
                                         {"y", BT_INPUT_LABEL, BT_I32, 1, {BATCH}, 0, 0, 0},
                                         {"step", BT_INPUT_STEP, BT_F32, 0, {0}, 0, 0, 0},
                                         IMAGES(BT_F32, 0, 2),
                                         {"key", BT_INPUT_KEY, BT_I64, 1, {2}, 0, 0, 0},
                                         IMAGES(BT_U8, -1, 0)};
static const struct bt_input pass_inputs[] = {{"y", BT_INPUT_LABEL, BT_I32, 1, {BATCH}, 0, 0, 0},
                                              IMAGES(BT_F32, 1, 0)};
static const struct bt_program programs[] = {
    {.name = "p", .batch = BATCH, .image = {CHANNELS, SIDE, SIDE}, .n_inputs = 6, .inputs = inputs},
    {.name = "p.pass",
     .owner = "p",
     .split = BT_SPLIT_TEST,
     .batch = BATCH,
     .image = {CHANNELS, SIDE, SIDE},
     .n_inputs = 2,
     .inputs = pass_inputs}};
static const struct bt_module module = {
    .abi = BT_ABI, .n_programs = 2, .programs = programs, .n_views = 2, .views = views};

static char err[5000];

struct fixture {
  struct bt_options options;
  struct bt_session s;
  int64_t n;             // examples are 0 … n-1
  int64_t broken;        // an example that cannot be read: the next one takes its place; -1: none
  _Atomic int64_t asked; // the step whose order was asked for last
  atomic_int at_once;
};

static void open_fixture(struct fixture *f, const char *data, int64_t loaders) {
  *f = (struct fixture){.options = {.data = data,
                                    .loaders = loaders,
                                    .seed = 7,
                                    .label_fraction = 1,
                                    .labels = "all"},
                        .broken = -1};
  if (!bt_session_open(&f->s, &module, programs, &f->options, 1, err, sizeof err))
    fail_msg("%s", err);
  f->n = f->s.data->test.n;
}

// ---- what a batch is --------------------------------------------------------------------------

static uint32_t example(const struct fixture *f, int64_t step, int64_t i) {
  return (uint32_t)((step * BATCH + i * 7) % f->n);
}

// By one thread at a time, step after step; slowly, so that others would have the time to come in
// between.
static void order(void *user, int64_t step, uint32_t *index) {
  struct fixture *f = user;
  if (atomic_fetch_add(&f->at_once, 1) != 0) abort();
  if (step != f->asked + 1) abort();
  usleep(50);
  for (int64_t i = 0; i < BATCH; i++) index[i] = example(f, step, i);
  f->asked = step;
  atomic_fetch_sub(&f->at_once, 1);
}

static void start(struct fixture *f, struct bt_session *s, int64_t first, int64_t end) {
  const struct bt_split *split = s == &f->s ? &f->s.data->train : &f->s.data->test;
  struct bt_stream stream = {s, split, order, f, 7, first, end, 4};
  bt_loader_stop(f->s.loader);
  f->asked = first - 1;
  bt_loader_start(f->s.loader, &stream);
}

static void expect_row(const struct bt_session *s, int input, int64_t row, const void *want,
                       size_t bytes) {
  if (memcmp((char *)s->inputs[input] + (size_t)row * bytes, want, bytes) != 0)
    fail_msg("row %d of input %d is another", (int)row, input);
}

static void expect_images(struct bt_session *s, int input, const struct bt_split *split,
                          int64_t step, int64_t row, uint32_t index) {
  struct bt_image_room room = {0};
  struct bt_raster raster;
  static float view[PIXELS];
  const struct bt_input *in = &s->program->inputs[input];
  const int64_t shape[3] = {CHANNELS, SIDE, SIDE};
  assert_true(bt_images_get(split->images, index, &room, &raster, err, sizeof err));
  if (in->dtype == BT_U8) {
    expect_row(s, input, row, raster.pixels, PIXELS);
  } else {
    struct bt_view_plan *plan = bt_view_plan_new(&views[in->view], shape, 1, err, sizeof err);
    struct bt_view_key key = {7, (uint32_t)(step / 4), (uint32_t)in->site};
    assert_true(bt_view_apply(plan, 0, &raster, index, key, view, err, sizeof err));
    expect_row(s, input, row, view, sizeof view);
    bt_view_plan_free(plan);
  }
  bt_image_room_free(&room);
}

// The next batch, of that step, is as the definition says.
static void expect_batch(struct fixture *f, struct bt_session *s, int64_t step) {
  const struct bt_split *split = s == &f->s ? &f->s.data->train : &f->s.data->test;
  const int64_t key[2] = {(int64_t)bt_draw_key(7), step};
  if (!bt_loader_next(f->s.loader, err, sizeof err)) fail_msg("step %d: %s", (int)step, err);
  assert_true(f->asked >= step && f->asked <= step + AHEAD);
  for (int64_t row = 0; row < BATCH; row++) {
    uint32_t index = example(f, step, row);
    if (index == f->broken) index++;
    for (int i = 0; i < s->program->n_inputs; i++) {
      const struct bt_input *in = &s->program->inputs[i];
      if (in->kind == BT_INPUT_VIEW) expect_images(s, i, split, step, row, index);
      if (in->kind == BT_INPUT_LABEL)
        expect_row(s, i, row, (int32_t *)split->columns[s->columns[i]] + index, 4);
      if (in->kind == BT_INPUT_KEY) assert_memory_equal(s->inputs[i], key, sizeof key);
    }
  }
}

static void test_batches(void **state) {
  (void)state;
  for (int64_t threads = 1; threads <= 8; threads *= 2) {
    struct fixture f;
    open_fixture(&f, "synthetic:240", threads);
    start(&f, &f.s, 3, 14);
    for (int64_t step = 3; step < 14; step++) expect_batch(&f, &f.s, step);
    assert_int_equal(f.asked, 13);
    bt_session_close(&f.s);
  }
}

// While a step has its batch, the next two are prepared, and no more.
static void test_ahead(void **state) {
  (void)state;
  struct fixture f;
  open_fixture(&f, "synthetic:240", 2);
  start(&f, &f.s, 0, 9);
  expect_batch(&f, &f.s, 0);
  for (int waited = 0; f.asked < AHEAD; waited++) {
    if (waited == 10000) fail_msg("nothing is prepared");
    usleep(1000);
  }
  expect_batch(&f, &f.s, 1); // and its look at the next ones
  bt_session_close(&f.s);
}

static void test_memory(void **state) {
  (void)state;
  struct bt_memory_plan plan;
  struct fixture f;
  size_t batch = BATCH * (2 * PIXELS * 4 + PIXELS + 4) + 64;
  open_fixture(&f, "synthetic:240", 2);
  bt_session_plan(&f.s, &plan);
  assert_true(plan.batches >= 3 * batch &&
              plan.batches < 3 * batch + 1000); // alignment, and numbers of examples
  assert_true(plan.buffers < 200);
  bt_session_close(&f.s);
}

// ---- stopping ---------------------------------------------------------------------------------

// Left after any number of batches: by another stream, of the program or of a pass; by a stop; by
// closing.
static void test_leaving(void **state) {
  (void)state;
  for (int64_t threads = 1; threads <= 4; threads *= 4)
    for (int64_t leave = 0; leave <= 6; leave++) {
      struct fixture f;
      open_fixture(&f, "synthetic:240", threads);
      struct bt_session *pass = &f.s.passes[0].session;
      for (int round = 0; round < 3; round++) {
        start(&f, &f.s, 0, 6);
        for (int64_t step = 0; step < leave; step++) expect_batch(&f, &f.s, step);
        if (round == 1) bt_loader_stop(f.s.loader), bt_loader_stop(f.s.loader);
        start(&f, pass, 0, 2);
        for (int64_t step = 0; step < 2; step++) expect_batch(&f, pass, step);
        start(&f, pass, 0, 2);
      }
      start(&f, &f.s, 5, 9);
      for (int64_t step = 5; step < 5 + leave && step < 9; step++) expect_batch(&f, &f.s, step);
      bt_session_close(&f.s);
    }
}

static void test_unused(void **state) {
  (void)state;
  struct fixture f;
  open_fixture(&f, "synthetic:240", 3);
  bt_session_close(&f.s);
}

// ---- failures ---------------------------------------------------------------------------------

// Two images in a hundred are one too many. The first, of step 2, has its place taken; the second
// ends step 5.
static void make_images(const char *folder) {
  char command[600], name[64];
  snprintf(command, sizeof command,
           "mkdir -p '%s/test/a' && cd '%s' && mkdir -p train/a train/b train/c", folder, folder);
  assert_int_equal(system(command), 0);
  image_png(rt_path(folder, "test/a/0.png"), 1, PNG_COLOR_TYPE_RGB, 8, SIDE, SIDE, IMAGE_PLAIN);
  for (int i = 0; i < 150; i++) {
    snprintf(name, sizeof name, "train/%c/%03d.png", 'a' + i / 50, i);
    if (i == 83 || i == 141)
      rt_write(rt_path(folder, name), "no image", 8);
    else
      image_png(rt_path(folder, name), i, PNG_COLOR_TYPE_RGB, 8, SIDE, SIDE, IMAGE_PLAIN);
  }
}

static void test_unreadable(void **state) {
  make_images(*state);
  for (int64_t threads = 1; threads <= 8; threads *= 2) {
    struct fixture f;
    open_fixture(&f, *state, threads);
    f.n = 150, f.broken = 83;
    start(&f, &f.s, 0, 20);
    for (int64_t step = 0; step < 5; step++) expect_batch(&f, &f.s, step);
    for (int again = 0; again < 2; again++) {
      *err = 0;
      assert_false(bt_loader_next(f.s.loader, err, sizeof err));
      rt_expect_text(err, "2 of 150 images cannot be read");
    }
    start(&f, &f.s, 0, 20); // what can be read still can
    for (int64_t step = 0; step < 2; step++) expect_batch(&f, &f.s, step);
    bt_session_close(&f.s);
  }
}

// An image that no program takes is named.
static void test_another_size(void **state) {
  (void)state;
  struct fixture f;
  open_fixture(&f, "synthetic:240", 2);
  f.s.data->train.images->width = SIDE / 2;
  start(&f, &f.s, 0, 2);
  assert_false(bt_loader_next(f.s.loader, err, sizeof err));
  rt_expect_text(err, "synthetic: image 0: ");
  bt_session_close(&f.s);
}

// In a child whose address space may grow by so much: what the loader says. A sanitizer has no such
// limit.
static void expect_refusal(size_t more, const char *text) {
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
  struct fixture f;
  open_fixture(&f, "synthetic:240", 1);
  pid_t child = fork(); // before it, threads of the fixture sleep
  if (child == 0) {
    size_t pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    if (fscanf(statm, "%zu", &pages) != 1) _exit(1);
    size_t bytes = pages * 4096 + more;
    setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes});
    *err = 0;
    bool made = bt_loader_new(&f.s, 1000, err, sizeof err);
    _exit(!made && strstr(err, text) ? 0 : 2);
  }
  int status;
  assert_true(waitpid(child, &status, 0) == child);
  assert_int_equal(status, 0);
  bt_session_close(&f.s);
#else
  (void)more, (void)text;
#endif
}

static void test_refusals(void **state) {
  (void)state;
  expect_refusal((size_t)1 << 20, "cannot allocate");
  expect_refusal((size_t)100 << 20, "cannot start 1000 threads that load the data (Resource "
                                    "temporarily unavailable): give fewer --loaders");
}

// A signal that the training thread holds back stays with it.
static void test_signals(void **state) {
  (void)state;
  struct fixture f;
  sigset_t ours, pending;
  open_fixture(&f, "synthetic:240", 4);
  start(&f, &f.s, 0, 3);
  sigemptyset(&ours), sigaddset(&ours, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &ours, NULL);
  kill(getpid(), SIGUSR1); // who does not block it dies of it
  expect_batch(&f, &f.s, 0);
  sigpending(&pending);
  assert_true(sigismember(&pending, SIGUSR1));
  signal(SIGUSR1, SIG_IGN); // forgets it
  pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
  bt_session_close(&f.s);
}

static int setup(void **state) { return *state = rt_mkdir(), 0; }
static int teardown(void **state) { return rt_rmdir(*state), 0; }

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_batches),
      cmocka_unit_test(test_ahead),
      cmocka_unit_test(test_memory),
      cmocka_unit_test(test_leaving),
      cmocka_unit_test(test_unused),
      cmocka_unit_test_setup_teardown(test_unreadable, setup, teardown),
      cmocka_unit_test(test_another_size),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_signals),
  };
  omp_set_num_threads(1); // the loader's are the only threads
  return cmocka_run_group_tests(tests, NULL, NULL);
}
