// test_loops.c: the loop level: builder, text form, verifier, equality, emitted code.
#include "jit.h"

#include "emit_c.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct fixture {
  struct arena *arena;
  struct target target;
  struct lb *b;
};

static int setup(void **state) {
  struct fixture *f = calloc(1, sizeof *f);
  f->arena = arena_new();
  target_from_march(&f->target, "native");
  f->target.lanes = 4;
  f->target.march = "x86-64";
  f->b = lb_new(f->arena, &f->target, "k");
  *state = f;
  return 0;
}
static int teardown(void **state) {
  struct fixture *f = *state;
  arena_free(f->arena);
  free(f);
  return 0;
}

// x += 1 over n elements, the last vector masked by `left` - i lanes.
static struct loop_kernel *increment(struct fixture *f, const char *name, int64_t n, int64_t left) {
  struct lb *b = lb_new(f->arena, &f->target, name);
  struct loop_buf *x = lb_inout(b, "x", LT_F32, n);
  lx i = lb_parallel_for(b, "i", lx_int(b, 0), lx_int(b, n), f->target.lanes);
  lx rest = lx_rsub(left, i);
  lb_store_n(b, x, i, rest, lx_add(lx_vload_n(x, i, rest), lx_vf32(b, 1)));
  lb_end(b);
  return lb_finish(b);
}

static char *text_of(const struct loop_kernel *k) {
  char *text;
  size_t size;
  FILE *out = open_memstream(&text, &size);
  loop_print(out, k);
  fclose(out);
  return text;
}

static void assert_sound(struct fixture *f) {
  const char *fault = loop_verify(f->arena, lb_finish(f->b));
  if (fault) fail_msg("%s", fault);
}
static void assert_fault(struct fixture *f, const char *part) {
  const char *fault = loop_verify(f->arena, lb_finish(f->b));
  if (!fault || !strstr(fault, part))
    fail_msg("expected \"%s\", found \"%s\"", part, fault ? fault : "no fault");
}

// ---- builder and text -------------------------------------------------------------------------
static void prints_text(void **state) {
  char *text = text_of(increment(*state, "increment", 10, 10));
  assert_string_equal(text, "kernel increment(x: f32[10] inout)\n"
                            "  parallel for i in 0..10 by 4\n"
                            "    x[i : (10 - i)] = (x[i : (10 - i)] + 1:f32x4)\n");
  free(text);
}

static void folds_indices(void **state) {
  struct fixture *f = *state;
  struct lb *b = f->b;
  int64_t v;
  assert_true(lx_is_int(lx_addi(lx_muli(lx_int(b, 3), 5), 2), &v));
  assert_int_equal(v, 17);
  lx i = lb_for(b, "i", 8);
  assert_ptr_equal(lx_addi(lx_muli(i, 1), 0), i);
  lx sum = lx_addi(lx_addi(i, 3), 4);
  assert_true(sum->op == LX_ADD && sum->a == i && lx_is_int(sum->b, &v));
  assert_int_equal(v, 7);
  assert_ptr_equal(lx_addi(lx_addi(i, 3), -3), i);
  lb_end(b);
}

// ---- the verifier: what it accepts ------------------------------------------------------------
static void accepts_masked_tail(void **state) {
  struct fixture *f = *state;
  assert_null(loop_verify(f->arena, increment(f, "k", 10, 10)));
}

static void accepts_flattened_tiles(void **state) {
  struct fixture *f = *state;
  struct lb *b = f->b;
  struct loop_buf *x = lb_output(b, "x", LT_F32, 3 * 20);
  lx t = lb_for(b, "t", 3 * 5);
  lb_store(b, x, lx_add(lx_muli(lx_divi(t, 5), 20), lx_muli(lx_modi(t, 5), 4)), lx_vf32(b, 0));
  lb_end(b);
  assert_sound(f);
}

static void accepts_cut_tiles_and_triangles(void **state) {
  struct fixture *f = *state;
  struct lb *b = f->b;
  struct loop_buf *x = lb_output(b, "x", LT_F64, 20), *y = lb_output(b, "y", LT_I32, 10);
  lx i = lb_for_range(b, "i", lx_int(b, 0), lx_int(b, 20), 8);
  lx j = lb_for_range(b, "j", lx_int(b, 0), lx_mini(lx_rsub(20, i), 8), 1);
  lb_store(b, x, lx_add(i, j), lx_const(b, LT_F64, 1, 0));
  lb_end(b);
  lb_end(b);
  lx r = lb_for(b, "r", 10);
  lx c = lb_for_range(b, "c", r, lx_int(b, 10), 1);
  lb_store(b, y, lx_sub(c, r), lx_const(b, LT_I32, 1, 1));
  lb_end(b);
  lb_end(b);
  assert_sound(f);
}

static void accepts_guarded(void **state) {
  struct fixture *f = *state;
  struct lb *b = f->b;
  struct loop_buf *x = lb_input(b, "x", LT_F32, 8), *y = lb_output(b, "y", LT_F32, 10);
  lx i = lb_for(b, "i", 10);
  lx inside = lx_and(lx_le(lx_int(b, 1), i), lx_lt(i, lx_int(b, 9)));
  lb_if(b, inside);
  lb_store(b, y, i, lx_load(x, lx_addi(i, -1)));
  lb_else(b);
  lb_store(b, y, i, lx_const(b, LT_F32, 1, 0));
  lb_end(b);
  lb_end(b);
  assert_sound(f);
}

static lx looked_up(struct fixture *f, struct loop_buf **table) {
  struct lb *b = f->b;
  *table = lb_input(b, "table", LT_F32, 100);
  struct loop_buf *at = lb_input(b, "at", LT_I32, 8);
  return lx_vload(at, lx_muli(lb_for(b, "i", 2), 4));
}

static void accepts_clamped_gather(void **state) {
  struct fixture *f = *state;
  struct loop_buf *table, *y = lb_output(f->b, "y", LT_F32, 4);
  lx at = looked_up(f, &table);
  at = lx_max(lx_min(at, lx_const(f->b, LT_I32, 1, 99)), lx_const(f->b, LT_I32, 1, 0));
  lb_store(f->b, y, lx_int(f->b, 0), lx_gather(table, at));
  lb_end(f->b);
  assert_sound(f);
}

static void accepts_checked_gather(void **state) {
  struct fixture *f = *state;
  struct loop_buf *table, *y = lb_output(f->b, "y", LT_F32, 4);
  lx at = lx_checked(looked_up(f, &table), 0, 100);
  lb_store(f->b, y, lx_int(f->b, 0), lx_gather(table, at));
  lb_end(f->b);
  assert_sound(f);
}

// ---- the verifier: what it catches ------------------------------------------------------------
static void catches_wrong_mask(void **state) {
  struct fixture *f = *state;
  const char *fault = loop_verify(f->arena, increment(f, "k", 10, 11));
  assert_non_null(fault);
  assert_non_null(strstr(fault, "reaches 0..11, outside 0..10"));
}

static void catches_unmasked_tail(void **state) {
  struct fixture *f = *state;
  struct loop_buf *x = lb_output(f->b, "x", LT_F32, 10);
  lb_store(f->b, x, lb_for_range(f->b, "i", lx_int(f->b, 0), lx_int(f->b, 10), 4),
           lx_vf32(f->b, 0));
  lb_end(f->b);
  assert_fault(f, "reaches 0..12, outside 0..10");
}

static void catches_negative_index(void **state) {
  struct fixture *f = *state;
  struct loop_buf *x = lb_output(f->b, "x", LT_F32, 10);
  lb_store(f->b, x, lx_addi(lb_for(f->b, "i", 10), -1), lx_const(f->b, LT_F32, 1, 0));
  lb_end(f->b);
  assert_fault(f, "reaches -1..9");
}

static void catches_weak_guard(void **state) {
  struct fixture *f = *state;
  struct lb *b = f->b;
  struct loop_buf *x = lb_output(b, "x", LT_F32, 8);
  lx i = lb_for(b, "i", 10);
  lb_if(b, lx_le(i, lx_int(b, 8)));
  lb_store(b, x, i, lx_const(b, LT_F32, 1, 0));
  lb_end(b);
  lb_end(b);
  assert_fault(f, "reaches 0..9, outside 0..8");
}

static void catches_open_gather(void **state) {
  struct fixture *f = *state;
  struct loop_buf *table, *y = lb_output(f->b, "y", LT_F32, 4);
  lx at = lx_max(looked_up(f, &table), lx_const(f->b, LT_I32, 1, 0));
  lb_store(f->b, y, lx_int(f->b, 0), lx_gather(table, at));
  lb_end(f->b);
  assert_fault(f, "outside 0..100");
}

static void catches_call_extent(void **state) {
  struct fixture *f = *state;
  struct loop_buf *x = lb_input(f->b, "x", LT_F32, 10);
  lb_call(f->b, NULL, "callee", 1, lx_address(x, lx_int(f->b, 4), 7));
  assert_fault(f, "reaches 4..11, outside 0..10");
}

static void catches_mixed_types(void **state) {
  struct fixture *f = *state;
  struct loop_buf *x = lb_input(f->b, "x", LT_F32, 4), *y = lb_output(f->b, "y", LT_F64, 4);
  lx zero = lx_int(f->b, 0);
  lb_store(f->b, y, zero, lx_add(lx_load(x, zero), lx_const(f->b, LT_F64, 1, 0)));
  assert_fault(f, "the operands of add differ");
}

static void catches_written_input(void **state) {
  struct fixture *f = *state;
  struct loop_buf *x = lb_input(f->b, "x", LT_F32, 4);
  lb_store(f->b, x, lx_int(f->b, 0), lx_vf32(f->b, 0));
  assert_fault(f, "x is an input, but it is written");
}

static void catches_serial_register_index(void **state) {
  struct fixture *f = *state;
  struct loop_reg *r = lb_reg(f->b, "r", LT_F32, 4, 8, NULL);
  lb_set_at(f->b, r, lb_for(f->b, "i", 8), lx_vf32(f->b, 0));
  lb_end(f->b);
  assert_fault(f, "which is not unrolled");
}

static void catches_shared_accumulator(void **state) {
  struct fixture *f = *state;
  struct lb *b = f->b;
  struct loop_reg *r = lb_reg(b, "r", LT_F32, 1, 0, lx_const(b, LT_F32, 1, 0));
  lb_parallel_for(b, "i", lx_int(b, 0), lx_int(b, 8), 1);
  lb_accumulate(b, r, LX_ADD, lx_const(b, LT_F32, 1, 1));
  lb_end(b);
  assert_fault(f, "lives outside it");
}

static void catches_stray_barrier(void **state) {
  struct fixture *f = *state;
  lb_parallel(f->b);
  lb_parallel_for(f->b, "i", lx_int(f->b, 0), lx_int(f->b, 8), 1);
  lb_barrier(f->b);
  lb_end(f->b);
  lb_end(f->b);
  assert_fault(f, "a barrier that not every thread meets");
}

// ---- equality ---------------------------------------------------------------------------------
static void equal_but_for_names(void **state) {
  struct fixture *f = *state;
  struct loop_kernel *a = increment(f, "a", 10, 10), *b = increment(f, "b", 10, 10);
  vec_push(f->arena, &b->sources, "model.btg:3");
  assert_true(loop_equal(a, b));
  assert_true(loop_hash(a) == loop_hash(b));
  struct loop_kernel *c = increment(f, "a", 11, 11), *d = increment(f, "a", 10, 9);
  assert_false(loop_equal(a, c));
  assert_false(loop_equal(a, d));
  assert_true(loop_hash(a) != loop_hash(c) && loop_hash(a) != loop_hash(d));
}

// ---- emitted code -----------------------------------------------------------------------------
// Sum in f64 of f32 data with a bool mask beside it: conversions, masks, scratch, horizontal sum.
static struct loop_kernel *masked_sum(struct fixture *f, int64_t n) {
  struct lb *b = lb_new(f->arena, &f->target, "masked_sum");
  lb_source(b, "model.btg:7");
  lb_equation(b, "total = sum(where(x > 0, x, 0)); positive = x > 0");
  struct loop_buf *x = lb_input(b, "x", LT_F32, n),
                  *positive = lb_output(b, "positive", LT_BOOL, n);
  struct loop_buf *total = lb_output(b, "total", LT_F64, 1),
                  *part = lb_shared(b, "part", LT_F64, 4);
  int64_t each = (n + 3) / 4;
  lx zero = lx_int(b, 0);
  lb_parallel(b);
  lx c = lb_parallel_for(b, "chunk", zero, lx_int(b, 4), 1);
  struct loop_reg *sum = lb_reg(b, "sum", LT_F64, f->target.lanes, 0, lx_const(b, LT_F64, 1, 0));
  lx begin = lx_muli(c, each);
  lx i = lb_for_range(b, "i", begin, lx_mini(lx_addi(begin, each), n), f->target.lanes);
  lx left = lx_sub(lx_mini(lx_addi(begin, each), n), i);
  lx v = lb_let(b, "v", lx_vload_n(x, i, left)), nought = lx_vf32(b, 0);
  lx above = lb_let(b, "above", lx_lt(nought, v));
  lb_store_n(b, positive, i, left, above);
  lb_accumulate(b, sum, LX_ADD, lx_convert(lx_select(above, v, nought), LT_F64));
  lb_end(b);
  lb_store(b, part, c, lx_hsum(lx_reg(b, sum)));
  lb_end(b);
  lb_barrier(b);
  lb_parallel_for(b, "once", zero, lx_int(b, 1), 1);
  struct loop_reg *all = lb_reg(b, "all", LT_F64, 1, 0, lx_const(b, LT_F64, 1, 0));
  lx k = lb_for(b, "k", 4);
  lb_accumulate(b, all, LX_ADD, lx_load(part, k));
  lb_end(b);
  lb_store(b, total, zero, lx_reg(b, all));
  lb_end(b);
  lb_end(b);
  return lb_finish(b);
}

static void runs_masked_sum(void **state) {
  struct fixture *f = *state;
  enum { N = 1003 };
  struct loop_kernel *k = masked_sum(f, N);
  const char *fault = loop_verify(f->arena, k);
  if (fault) fail_msg("%s", fault);
  struct jit j;
  assert_true(jit_build(&j, f->arena, &k, 1, &f->target));
  float x[N];
  uint8_t positive[N + 1];
  double total, want = 0;
  for (int i = 0; i < N; i++) x[i] = (float)(i * 37 % 101 - 50), want += x[i] > 0 ? x[i] : 0;
  positive[N] = 77;
  char shared[256] __attribute__((aligned(64)));
  j.kernels[0]((void *[]){x, positive, &total}, shared, NULL);
  assert_true(total == want);
  for (int i = 0; i < N; i++) assert_int_equal(positive[i], x[i] > 0);
  assert_int_equal(positive[N], 77);
  jit_close(&j);
}

static void heads_kernels_with_places(void **state) {
  struct fixture *f = *state;
  char *text;
  size_t size;
  FILE *out = open_memstream(&text, &size);
  emit_c_kernel(out, masked_sum(f, 100), &f->target);
  fclose(out);
  assert_non_null(strstr(text, "// masked_sum: total = sum(where(x > 0, x, 0))"));
  assert_non_null(strstr(text, "// from model.btg:7"));
  free(text);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void) {
  const struct CMUnitTest tests[] = {
      T(prints_text),
      T(folds_indices),
      T(accepts_masked_tail),
      T(accepts_flattened_tiles),
      T(accepts_cut_tiles_and_triangles),
      T(accepts_guarded),
      T(accepts_clamped_gather),
      T(accepts_checked_gather),
      T(catches_wrong_mask),
      T(catches_unmasked_tail),
      T(catches_negative_index),
      T(catches_weak_guard),
      T(catches_open_gather),
      T(catches_call_extent),
      T(catches_mixed_types),
      T(catches_written_input),
      T(catches_serial_register_index),
      T(catches_shared_accumulator),
      T(catches_stray_barrier),
      T(equal_but_for_names),
      T(runs_masked_sum),
      T(heads_kernels_with_places),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
