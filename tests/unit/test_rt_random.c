// test_rt_random.c: Philox against the published vectors; draws that depend on their key alone.
#define _GNU_SOURCE
#include "random.h"
#include "rt_test.h"

#include <math.h>

// kat_vectors of Random123 (Salmon et al., SC11), philox4x32 with 10 rounds.
static void test_known_answers(void **state) {
  (void)state;
  static const struct {
    uint32_t counter[4], key[2], out[4];
  } cases[] = {{{0}, {0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
               {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
               {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                {0xa4093822, 0x299f31d0},
                {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
  for (int i = 0; i < 3; i++) {
    uint32_t out[4];
    bt_philox4x32(cases[i].counter, cases[i].key, out);
    assert_memory_equal(out, cases[i].out, sizeof out);
  }
}

static void test_streams_differ(void **state) {
  (void)state;
  struct bt_random a = bt_random_new(7, BT_RANDOM_VIEW, 1, 2, 3), b = a;
  struct bt_random others[] = {bt_random_new(8, BT_RANDOM_VIEW, 1, 2, 3),
                               bt_random_new(7, BT_RANDOM_DATA, 1, 2, 3),
                               bt_random_new(7, BT_RANDOM_VIEW, 2, 2, 3),
                               bt_random_new(7, BT_RANDOM_VIEW, 1, 1, 3),
                               bt_random_new(7, BT_RANDOM_VIEW, 1, 2, 4),
                               bt_random_new(7 + (1ull << 32), BT_RANDOM_VIEW, 1, 2, 3)};
  uint64_t first = (uint64_t)bt_random_bits(&a) << 32 | bt_random_bits(&a);
  uint64_t again = (uint64_t)bt_random_bits(&b) << 32 | bt_random_bits(&b);
  assert_true(first == again);
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    assert_true(first != ((uint64_t)bt_random_bits(&others[i]) << 32 | bt_random_bits(&others[i])));
}

static void test_moments(void **state) {
  (void)state;
  struct bt_random r = bt_random_new(1, BT_RANDOM_DATA, 0, 0, 0);
  enum { N = 200000 };
  double sum = 0, square = 0, fourth = 0, unit = 0;
  int counts[7] = {0};
  for (int i = 0; i < N; i++) {
    double z = bt_random_normal(&r), u = bt_random_unit(&r);
    sum += z, square += z * z, fourth += z * z * z * z, unit += u;
    assert_true(u >= 0 && u < 1);
    counts[bt_random_below(&r, 7)]++;
  }
  assert_true(fabs(sum / N) < 0.01);
  assert_true(fabs(square / N - 1) < 0.02);
  assert_true(fabs(fourth / N - 3) < 0.15);
  assert_true(fabs(unit / N - 0.5) < 0.005);
  for (int i = 0; i < 7; i++) assert_true(fabs(counts[i] - N / 7.0) < 900);
}

static void test_shuffle(void **state) {
  (void)state;
  enum { N = 1000 };
  uint32_t a[N], b[N];
  bool seen[N] = {false};
  bt_shuffle(3, 5, N, a);
  bt_shuffle(3, 5, N, b);
  assert_memory_equal(a, b, sizeof a);
  for (int i = 0; i < N; i++) assert_false(seen[a[i]]), seen[a[i]] = true;
  bt_shuffle(3, 6, N, b);
  assert_memory_not_equal(a, b, sizeof a);
  int fixed = 0;
  for (int i = 0; i < N; i++) fixed += a[i] == (uint32_t)i;
  assert_true(fixed < 10);
}

// Golden: the first values of a parameter may never change, or old seeds lose their meaning.
static void test_initialise(void **state) {
  (void)state;
  struct bt_tensor t = {"encoder.weight", BT_PARAM, BT_F32, 1,
                        {1000},           0,        4000,   {BT_INIT_UNIFORM, -0.5, 0.5}, NULL};
  float a[1000], b[1000];
  double sum = 0;
  bt_initialise(&t, 1, a);
  bt_initialise(&t, 1, b);
  assert_memory_equal(a, b, sizeof a);
  for (int i = 0; i < 1000; i++) sum += a[i], assert_true(a[i] >= -0.5f && a[i] <= 0.5f);
  assert_true(fabs(sum / 1000) < 0.05);
  t.name = "encoder.bias";
  bt_initialise(&t, 1, b);
  assert_memory_not_equal(a, b, sizeof a);
  t.init = (struct bt_init){BT_INIT_CONSTANT, 0.25, 0};
  bt_initialise(&t, 1, b);
  assert_true(b[0] == 0.25f && b[999] == 0.25f);
  t.init = (struct bt_init){BT_INIT_NORMAL, 10, 2};
  bt_initialise(&t, 1, b);
  sum = 0;
  for (int i = 0; i < 1000; i++) sum += b[i];
  assert_true(fabs(sum / 1000 - 10) < 0.3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_known_answers), cmocka_unit_test(test_streams_differ),
      cmocka_unit_test(test_moments),       cmocka_unit_test(test_shuffle),
      cmocka_unit_test(test_initialise),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
