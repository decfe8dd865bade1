// test_compiled.c: compiled steps in this process: values go in and out, overruns are noticed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "compiled.h"

enum { COUNT = 5 }; // divides no cache line

// A module by hand: out = 2 in. `overrun` bytes are written beyond the output.
static int overrun;
static void doubling(const struct bt_frame *frame) {
  const float *in = frame->inputs[0];
  float *out = frame->outputs[0];
  for (int i = 0; i < COUNT; i++) out[i] = 2 * in[i];
  memset((char *)frame->outputs[0] + COUNT * sizeof(float), 0, (size_t)overrun);
}
static void before_arena(const struct bt_frame *frame) { frame->arena[-1] = 0; }

static const struct bt_input inputs[] = {{.name = "x", .kind = BT_INPUT_ARRAY, .dtype = BT_F32, .rank = 1, .shape = {COUNT}}};
static const struct bt_output outputs[] = {{.name = "out", .kind = BT_OUTPUT_VALUE, .dtype = BT_F32, .rank = 1, .shape = {COUNT}}};
static const struct bt_program programs[] = {
    {.name = "doubling", .step = doubling, .arena_bytes = 64, .n_inputs = 1, .n_outputs = 1, .inputs = inputs, .outputs = outputs},
    {.name = "before", .step = before_arena, .arena_bytes = 64, .thread_bytes = 64, .n_inputs = 1, .n_outputs = 1, .inputs = inputs, .outputs = outputs},
};
static const struct bt_module module = {.abi = BT_ABI, .n_programs = 2, .programs = programs, .store_bytes = 64};
static const struct compiled native = {NULL, &module};

static void open_frame(struct compiled_frame *f, const char *name) {
  const struct bt_program *p = compiled_program(&native, name);
  assert_non_null(p);
  compiled_frame_new(f, &native, p);
}

static void test_values(void **state) {
  (void)state;
  struct compiled_frame f;
  const double x[COUNT] = {1, -2, 3.5, 0, 1e-3};
  double y[COUNT];
  overrun = 0;
  open_frame(&f, "doubling");
  assert_int_equal((uintptr_t)f.outputs[0] % BT_ALIGN, 0);
  compiled_put(f.inputs[0], BT_F32, x, COUNT);
  assert_null(compiled_step(&f));
  compiled_get(y, f.outputs[0], BT_F32, COUNT);
  for (int i = 0; i < COUNT; i++) assert_true(y[i] == 2 * (double)(float)x[i]);
  compiled_frame_free(&f);
}

static void test_one_byte_over(void **state) {
  (void)state;
  struct compiled_frame f;
  overrun = 1;
  open_frame(&f, "doubling");
  assert_string_equal(compiled_step(&f), "out");
  compiled_frame_free(&f);
}

static void test_one_byte_before(void **state) {
  (void)state;
  struct compiled_frame f;
  open_frame(&f, "before");
  assert_string_equal(compiled_step(&f), "the arena");
  compiled_frame_free(&f);
}

static void test_types(void **state) {
  (void)state;
  const double values[] = {0, 1, 3};
  for (int t = BT_F32; t <= BT_U8; t++) {
    double memory[3], back[3];
    compiled_put(memory, (dtype)t, values, 3);
    compiled_get(back, memory, (dtype)t, 3);
    assert_memory_equal(back, values, sizeof back);
  }
}

static void test_no_such_program(void **state) {
  (void)state;
  assert_null(compiled_program(&native, "tripling"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values), cmocka_unit_test(test_one_byte_over), cmocka_unit_test(test_one_byte_before),
      cmocka_unit_test(test_types),  cmocka_unit_test(test_no_such_program),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
