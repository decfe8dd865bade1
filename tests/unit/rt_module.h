// rt_module.h: a hand-made trainer: logistic regression by momentum SGD over a random view, with a
// rate that follows the schedule, a program that measures the pixels, one that reports their
// mean, and one that trains likewise and has passes. What the compiler emits looks like this, so the runtime is tested without it.
#ifndef RT_MODULE_H
#define RT_MODULE_H

#include "btrt.h"

#include <math.h>
#include <signal.h>
#include <string.h>

enum { RT_BATCH = 8, RT_SIDE = 4, RT_PIXELS = RT_SIDE * RT_SIDE };

// What the test wants to happen: at a step, a signal or a loss or a parameter that is not finite.
static int64_t rt_signal_at = -1, rt_nan_at = -1, rt_break_at = -1;
static int64_t rt_nan_once = -1; // in this step of the process: not again where the run's step is repeated
static int rt_signal = SIGINT, rt_signal_times = 1;
static bool rt_pipe_breaks; // SIGPIPE follows the signal
static int64_t rt_steps_taken;

static const struct bt_tensor rt_tensors[] = {
    {"model.weight", BT_PARAM, BT_F32, 1, {RT_PIXELS}, 0, 64, {BT_INIT_UNIFORM, -0.1, 0.1}, NULL},
    {"model.bias", BT_PARAM, BT_F32, 1, {1}, 64, 4, {BT_INIT_CONSTANT, 0, 0}, NULL},
    {"model.seen", BT_STATE, BT_I64, 0, {0}, 128, 8, {BT_INIT_CONSTANT, 0, 0}, NULL},
    {"optimizer.fit.model.weight.velocity",
     BT_OPTIMIZER,
     BT_F32,
     1,
     {RT_PIXELS},
     192,
     64,
     {BT_INIT_CONSTANT, 0, 0},
     NULL},
};

// Inputs: x (view a), y, step, steps, key. Outputs: loss, reports.
static void rt_fit_step(const struct bt_frame *f) {
  const float *x = f->inputs[0], step = *(float *)f->inputs[2], steps = *(float *)f->inputs[3];
  const int32_t *y = f->inputs[1];
  const int64_t *key = f->inputs[4];
  float *w = (float *)(f->store), *b = (float *)(f->store + 64), *v = (float *)(f->store + 192);
  float rate = 0.1f * (1 - step / steps), loss = 0, gradient[RT_PIXELS] = {0}, gb = 0;
  bt_watched(f, 0);
  for (int i = 0; i < RT_BATCH; i++) {
    float z = *b, t = (float)(y[i] % 2);
    for (int j = 0; j < RT_PIXELS; j++) z += w[j] * x[i * RT_PIXELS + j];
    float p = 1 / (1 + expf(-z));
    loss += -logf(t > 0 ? p : 1 - p) / RT_BATCH;
    for (int j = 0; j < RT_PIXELS; j++) gradient[j] += (p - t) * x[i * RT_PIXELS + j] / RT_BATCH;
    gb += (p - t) / RT_BATCH;
  }
  for (int j = 0; j < RT_PIXELS; j++) v[j] = 0.9f * v[j] + gradient[j], w[j] -= rate * v[j];
  *b -= rate * gb;
  ++*(int64_t *)(f->store + 128);
  for (int i = 0; key[1] == rt_signal_at && i < rt_signal_times; i++) raise(rt_signal);
  if (key[1] == rt_signal_at && rt_pipe_breaks) raise(SIGPIPE);
  if (key[1] == rt_break_at) w[3] = INFINITY;
  *(float *)f->outputs[0] = key[1] == rt_nan_at || rt_steps_taken == rt_nan_once ? NAN : loss;
  *(float *)f->outputs[1] = rate;
  *(float *)f->outputs[2] = *b;
  *(float *)f->outputs[3] = 12345;
  *(float *)f->outputs[4] = key[1] == 1 ? NAN : 1;
  bt_watched(f, 1);
  rt_steps_taken++;
}

static void rt_brightness_step(const struct bt_frame *f) {
  const float *x = f->inputs[0];
  float sum = 0;
  for (int i = 0; i < RT_BATCH * RT_PIXELS; i++) sum += x[i];
  *(float *)f->outputs[0] = sum / (RT_BATCH * RT_PIXELS);
  float *largest = f->outputs[1];
  *largest = -1;
  for (int i = 0; i < RT_BATCH; i++) *largest = fmaxf(*largest, (float)((int32_t *)f->inputs[1])[i]);
}

// Features: the pixels plus the weights' sum, so that loading shows.
static void rt_pixels_step(const struct bt_frame *f) {
  memcpy(f->outputs[0], f->inputs[0], sizeof(float) * RT_BATCH * RT_PIXELS);
}

// Features: the pixels times the weights; the same rows and the labels are outputs. It touches much of the arena and,
// as no program should in a run, a state.
static bool rt_features_break; // wish: a feature of the last test image is NaN
static void rt_end_pass_step(void);
static void rt_judge_step(const struct bt_frame *f) {
  const float *x = f->inputs[0], *w = (float *)f->store;
  float *features = f->outputs[0];
  memset(f->arena, 0x55, 16384);
  for (int i = 0; i < RT_BATCH * RT_PIXELS; i++) features[i] = x[i] * w[i % RT_PIXELS];
  if (rt_features_break) features[RT_BATCH * RT_PIXELS - 1] = NAN;
  memcpy(f->outputs[1], features, sizeof(float) * RT_BATCH * RT_PIXELS);
  memcpy(f->outputs[2], f->inputs[1], sizeof(int32_t) * RT_BATCH);
  ++*(int64_t *)(f->store + 128);
  rt_end_pass_step();
}

// The passes of `watched`. The first keeps pixels and labels and touches all of the arena and of the outputs
// that the step has; the second reads what was kept.
enum { RT_ROWS = 50 };
static int64_t rt_pass_signal_at = -1, rt_pass_steps;

static void rt_end_pass_step(void) {
  if (rt_pass_steps++ == rt_pass_signal_at) raise(rt_signal);
}

static void rt_keep_step(const struct bt_frame *f) {
  memset(f->arena, 0x7f, 8192);
  memcpy(f->outputs[0], f->inputs[0], sizeof(float) * RT_BATCH * RT_PIXELS);
  memcpy(f->outputs[1], f->inputs[1], sizeof(int32_t) * RT_BATCH);
  rt_end_pass_step();
}

static void rt_kept_step(const struct bt_frame *f) {
  const float *x = f->inputs[0], *bank = f->inputs[1];
  const int32_t *labels = f->inputs[2];
  double sum = 0;
  for (int i = 0; i < RT_ROWS; i++)
    for (int j = 0; j < RT_PIXELS; j++) sum += bank[i * RT_PIXELS + j] * (labels[i] + 1);
  *(float *)f->outputs[0] = (float)sum;
  *(float *)f->outputs[1] = *(float *)f->inputs[3];
  *(float *)f->outputs[2] = x[0] + *(float *)f->store;
  *(float *)f->outputs[3] = (float)((int64_t *)f->inputs[4])[1];
  rt_end_pass_step();
}

static void rt_once_step(const struct bt_frame *f) {
  *(float *)f->outputs[0] = *(float *)f->inputs[0];
  rt_end_pass_step();
}

static const struct bt_view_step rt_view_steps[] = {{BT_VIEW_random_crop, {RT_SIDE, 1}},
                                                    {BT_VIEW_horizontal_flip, {0.5}}};
static const struct bt_view rt_views[] = {{"a", 2, rt_view_steps}, {"plain", 0, NULL}};
static const struct bt_input rt_fit_inputs[] = {
    {"x", BT_INPUT_VIEW, BT_F32, 4, {RT_BATCH, 1, RT_SIDE, RT_SIDE}, 0, 0, 0},
    {"y", BT_INPUT_LABEL, BT_I32, 1, {RT_BATCH}, 0, 0, 10},
    {"step", BT_INPUT_STEP, BT_F32, 0, {0}, 0, 0, 0},
    {"steps", BT_INPUT_STEPS, BT_F32, 0, {0}, 0, 0, 0},
    {"key", BT_INPUT_KEY, BT_I64, 1, {2}, 0, 0, 0}};
static const struct bt_output rt_fit_outputs[] = {{"loss", BT_OUTPUT_LOSS, BT_F32, 0, {0}},
                                                  {"rate", BT_OUTPUT_REPORT, BT_F32, 0, {0}},
                                                  {"bias", BT_OUTPUT_REPORT, BT_F32, 0, {0}},
                                                  {"a_name_that_is_long", BT_OUTPUT_REPORT, BT_F32, 0, {0}},
                                                  {"once_nan", BT_OUTPUT_REPORT, BT_F32, 0, {0}}};
static const struct bt_input rt_pixels_inputs[] = {
    {"x", BT_INPUT_VIEW, BT_F32, 4, {RT_BATCH, 1, RT_SIDE, RT_SIDE}, 1, 0, 0},
    {"y", BT_INPUT_LABEL, BT_I32, 1, {RT_BATCH}, 0, 0, 10}};
static const struct bt_output rt_pixels_outputs[] = {
    {"features", BT_OUTPUT_VALUE, BT_F32, 2, {RT_BATCH, RT_PIXELS}}};
static const struct bt_input rt_brightness_inputs[] = {
    {"x", BT_INPUT_VIEW, BT_F32, 4, {RT_BATCH, 1, RT_SIDE, RT_SIDE}, 1, 0, 0},
    {"y", BT_INPUT_LABEL, BT_I32, 1, {RT_BATCH}, 0, 0, 5},
    {"z", BT_INPUT_LABEL, BT_I32, 1, {RT_BATCH}, 0, 0, 20}};
static const struct bt_output rt_brightness_outputs[] = {
    {"mean", BT_OUTPUT_REPORT, BT_F32, 0, {0}}, {"largest_label", BT_OUTPUT_REPORT, BT_F32, 0, {0}}};
static const struct bt_output rt_judge_outputs[] = {{"features", BT_OUTPUT_VALUE, BT_F32, 2, {RT_BATCH, RT_PIXELS}},
                                                    {"z", BT_OUTPUT_ROWS, BT_F32, 3, {RT_BATCH, RT_SIDE, RT_SIDE}},
                                                    {"y", BT_OUTPUT_ROWS, BT_I32, 1, {RT_BATCH}}};
static const struct bt_output rt_keep_outputs[] = {{"bank", BT_OUTPUT_VALUE, BT_F32, 2, {RT_BATCH, RT_PIXELS}},
                                                   {"labels", BT_OUTPUT_VALUE, BT_I32, 1, {RT_BATCH}}};
static const struct bt_input rt_kept_inputs[] = {
    {"x", BT_INPUT_VIEW, BT_F32, 4, {RT_BATCH, 1, RT_SIDE, RT_SIDE}, 1, 0, 0},
    {"bank", BT_INPUT_KEPT, BT_F32, 2, {RT_ROWS, RT_PIXELS}, -1, 0, 0},
    {"labels", BT_INPUT_KEPT, BT_I32, 1, {RT_ROWS}, -1, 0, 0},
    {"step", BT_INPUT_STEP, BT_F32, 0, {0}, 0, 0, 0},
    {"key", BT_INPUT_KEY, BT_I64, 1, {2}, 0, 0, 0}};
static const struct bt_output rt_kept_outputs[] = {{"kept", BT_OUTPUT_REPORT, BT_F32, 0, {0}},
                                                   {"at", BT_OUTPUT_REPORT, BT_F32, 0, {0}},
                                                   {"first", BT_OUTPUT_REPORT, BT_F32, 0, {0}},
                                                   {"drawn", BT_OUTPUT_REPORT, BT_F32, 0, {0}}};
static const struct bt_input rt_once_inputs[] = {{"bank", BT_INPUT_KEPT, BT_F32, 2, {RT_ROWS, RT_PIXELS}, -1, 0, 0}};
static const struct bt_output rt_once_outputs[] = {{"corner", BT_OUTPUT_REPORT, BT_F32, 0, {0}}};
static const struct bt_load rt_loads[] = {{"model", "fit", false}};
static const struct bt_evaluate rt_evaluates[] = {{BT_EVALUATE_knn, 0, 1, {5, 0.1}},
                                                  {BT_EVALUATE_linear_probe, 0, 1, {1e-4, 50}}};
static const int rt_fit_tensors[] = {0, 1, 2, 3}, rt_pixels_tensors[] = {0, 1};

// The step of `fit` as one kernel.
static const struct bt_parameter rt_parameters[] = {{"x", RT_BATCH * RT_PIXELS, BT_F32, false}, {"w", RT_PIXELS, BT_F32, true}, {"loss", 1, BT_F32, true}};
static const struct bt_kernel_info rt_kernels[] = {{"toy_1", "toy.btg:3", "a toy", 0, 0, 1, 3, rt_parameters}};
static const struct bt_argument rt_arguments[] = {{0, BT_IN, 0}, {0, BT_STORE, 0}, {0, BT_OUT, 0}};
static const struct bt_call rt_calls[] = {{0, "toy", NULL, 1}};
static const struct bt_origin rt_origins[] = {{"model@a", "toy.btg:3"}};
static const int rt_made[] = {0};

static const struct bt_program rt_programs[] = {{.name = "fit",
                                                 .step = rt_fit_step,
                                                 .batch = RT_BATCH,
                                                 .image = {1, RT_SIDE, RT_SIDE},
                                                 .epochs = 2,
                                                 .arena_bytes = 4096,
                                                 .thread_bytes = 128,
                                                 .n_inputs = 5,
                                                 .inputs = rt_fit_inputs,
                                                 .n_outputs = 5,
                                                 .outputs = rt_fit_outputs,
                                                 .n_tensors = 4,
                                                 .tensors = rt_fit_tensors,
                                                 .n_kernels = 1,
                                                 .kernels = rt_kernels,
                                                 .n_calls = 1,
                                                 .calls = rt_calls,
                                                 .arguments = rt_arguments,
                                                 .origins = rt_origins,
                                                 .made = rt_made,
                                                 .parameters = 17,
                                                 .flops = 1e3},
                                                {.name = "pixels",
                                                 .step = rt_pixels_step,
                                                 .batch = RT_BATCH,
                                                 .image = {1, RT_SIDE, RT_SIDE},
                                                 .n_inputs = 2,
                                                 .inputs = rt_pixels_inputs,
                                                 .n_outputs = 1,
                                                 .outputs = rt_pixels_outputs,
                                                 .n_loads = 1,
                                                 .loads = rt_loads,
                                                 .n_evaluates = 2,
                                                 .evaluates = rt_evaluates,
                                                 .n_tensors = 2,
                                                 .tensors = rt_pixels_tensors},
                                                {.name = "brightness",
                                                 .step = rt_brightness_step,
                                                 .batch = RT_BATCH,
                                                 .image = {1, RT_SIDE, RT_SIDE},
                                                 .n_inputs = 3,
                                                 .inputs = rt_brightness_inputs,
                                                 .n_outputs = 2,
                                                 .outputs = rt_brightness_outputs},
                                                {.name = "judge",
                                                 .step = rt_judge_step,
                                                 .batch = RT_BATCH,
                                                 .image = {1, RT_SIDE, RT_SIDE},
                                                 .arena_bytes = 16384,
                                                 .n_inputs = 2,
                                                 .inputs = rt_pixels_inputs,
                                                 .n_outputs = 3,
                                                 .outputs = rt_judge_outputs,
                                                 .n_loads = 1,
                                                 .loads = rt_loads,
                                                 .n_evaluates = 1,
                                                 .evaluates = rt_evaluates,
                                                 .n_tensors = 3,
                                                 .tensors = rt_fit_tensors},
                                                {.name = "watched",
                                                 .step = rt_fit_step,
                                                 .batch = RT_BATCH,
                                                 .image = {1, RT_SIDE, RT_SIDE},
                                                 .epochs = 2,
                                                 .arena_bytes = 4096,
                                                 .n_inputs = 5,
                                                 .inputs = rt_fit_inputs,
                                                 .n_outputs = 5,
                                                 .outputs = rt_fit_outputs,
                                                 .n_tensors = 4,
                                                 .tensors = rt_fit_tensors},
                                                {.name = "watched.train",
                                                 .step = rt_keep_step,
                                                 .owner = "watched",
                                                 .split = BT_SPLIT_TRAIN,
                                                 .batch = RT_BATCH,
                                                 .image = {1, RT_SIDE, RT_SIDE},
                                                 .arena_bytes = 8192,
                                                 .n_inputs = 2,
                                                 .inputs = rt_pixels_inputs,
                                                 .n_outputs = 2,
                                                 .outputs = rt_keep_outputs},
                                                {.name = "watched.test",
                                                 .step = rt_kept_step,
                                                 .owner = "watched",
                                                 .split = BT_SPLIT_TEST,
                                                 .batch = RT_BATCH,
                                                 .image = {1, RT_SIDE, RT_SIDE},
                                                 .n_inputs = 5,
                                                 .inputs = rt_kept_inputs,
                                                 .n_outputs = 4,
                                                 .outputs = rt_kept_outputs},
                                                {.name = "watched.train_2",
                                                 .step = rt_once_step,
                                                 .owner = "watched",
                                                 .split = BT_SPLIT_TRAIN,
                                                 .batch = RT_BATCH,
                                                 .image = {1, RT_SIDE, RT_SIDE},
                                                 .n_inputs = 1,
                                                 .inputs = rt_once_inputs,
                                                 .n_outputs = 1,
                                                 .outputs = rt_once_outputs}};
static const struct bt_source rt_sources[] = {{"toy.btg", "a toy", 1}, {"layers.btg", "layers", 2}, {"std/nn.btg", NULL, 3}};
static const char *const rt_options[] = {"-D batch=8"};
static const struct bt_module rt_module = {.abi = BT_ABI,
                                           .source_path = "toy.btg",
                                           .n_sources = 3,
                                           .sources = rt_sources,
                                           .n_options = 1,
                                           .options = rt_options,
                                           .build = "by hand",
                                           .n_programs = 8,
                                           .programs = rt_programs,
                                           .n_tensors = 4,
                                           .tensors = rt_tensors,
                                           .n_views = 2,
                                           .views = rt_views,
                                           .store_bytes = 256};

#endif
