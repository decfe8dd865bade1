// btrt_random.h: random numbers for emitted kernels, a vector at a time: what random.h defines by
// scalar functions. Included after btrt_math.h.
//
// A block of Philox is four words, and lanes that hold four consecutive elements from a multiple of
// four on take one block. Its state then stands in these lanes as it is, words c0 c1 c2 c3: of the
// two products of a round each is one widening multiplication of even lanes, and what else a round
// does is one shuffle, one shift and two exclusive ors. So 16 lanes cost about 50 instructions. Where
// lanes are no such elements (rows of odd length, blocked layouts) every lane computes a block of its own.
#ifndef BTRT_RANDOM_H
#define BTRT_RANDOM_H

#include "btrt_math.h"
#include "random.h"

typedef uint32_t vu32 __attribute__((vector_size(BTRT_LANES * sizeof(uint32_t))));
typedef uint64_t btrt_pairs __attribute__((vector_size(BTRT_LANES * sizeof(uint32_t)))); // of lanes


// ---- building blocks --------------------------------------------------------------------------
// Products of even lanes, 64 bits each; whether any lane of a mask is set.
#if BTRT_LANES == 16 && defined __AVX512F__
BTRT_FN btrt_pairs btrt_multiply_even(vu32 a, vu32 b) {
  return (btrt_pairs)_mm512_mul_epu32((__m512i)a, (__m512i)b);
}
BTRT_FN int btrt_any(vi32 mask) {
  return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
}
#elif BTRT_LANES == 8 && defined __AVX2__
BTRT_FN btrt_pairs btrt_multiply_even(vu32 a, vu32 b) {
  return (btrt_pairs)_mm256_mul_epu32((__m256i)a, (__m256i)b);
}
BTRT_FN int btrt_any(vi32 mask) { return _mm256_movemask_epi8((__m256i)mask) != 0; }
#elif BTRT_LANES == 4 && defined __SSE2__
BTRT_FN btrt_pairs btrt_multiply_even(vu32 a, vu32 b) {
  return (btrt_pairs)_mm_mul_epu32((__m128i)a, (__m128i)b);
}
BTRT_FN int btrt_any(vi32 mask) { return _mm_movemask_epi8((__m128i)mask) != 0; }
#else
BTRT_FN btrt_pairs btrt_multiply_even(vu32 a, vu32 b) {
  return ((btrt_pairs)a & UINT32_MAX) * ((btrt_pairs)b & UINT32_MAX);
}
BTRT_FN int btrt_any(vi32 mask) {
  int any = 0;
  for (int l = 0; l < BTRT_LANES; l++) any |= mask[l];
  return any != 0;
}
#endif

// Word w of every four lanes is x, the others are 0. By masks: what does not change in a loop leaves it.
BTRT_FN vu32 btrt_word(int w, vu32 x) {
  vu32 mask = {0};
  for (int l = w; l < BTRT_LANES; l += 4) mask[l] = UINT32_MAX;
  return x & mask;
}
BTRT_FN vu32 btrt_splat(uint32_t x) { return (vu32){0} + x; }
// x 0 y 0: for c0 and c2.
BTRT_FN vu32 btrt_even_words(uint32_t x, uint32_t y) {
  return btrt_word(0, btrt_splat(x)) | btrt_word(2, btrt_splat(y));
}

#define BTRT_REVERSED(l, s) ((l) ^ (s))
#define BTRT_EVEN(l, s) ((l) & ~(s))
#define BTRT_ODD(l, s) ((l) | (s))
#define BTRT_FROM(x, lane, s) __builtin_shufflevector(x, x, BTRT_ALL_LANES(lane, s))

// ---- blocks -----------------------------------------------------------------------------------
// Four lanes hold one block: counters in, words out.
BTRT_FN vu32 btrt_philox_quads(vu32 state, uint32_t k0, uint32_t k1) {
  vu32 key = btrt_even_words(k0, k1), weyl = btrt_even_words(BT_PHILOX_W0, BT_PHILOX_W1);
  vu32 factor = btrt_even_words(BT_PHILOX_M0, BT_PHILOX_M1);
  _Pragma("GCC unroll 10") for (int round = 0; round < BT_PHILOX_ROUNDS; round++) {
    vu32 products = (vu32)btrt_multiply_even(state, factor); // low0 high0 low1 high1
    vu32 odd = (vu32)((btrt_pairs)state >> 32);              // c1 0 c3 0
    state = BTRT_FROM(products, BTRT_REVERSED, 3) ^ odd ^ key;
    key += weyl;
  }
  return state;
}

struct btrt_product {
  vu32 low, high;
};
BTRT_FN struct btrt_product btrt_multiply(vu32 a, uint32_t b) {
  vu32 factor = btrt_even_words(b, b);
  btrt_pairs even = btrt_multiply_even(a, factor);
  btrt_pairs odd = btrt_multiply_even((vu32)((btrt_pairs)a >> 32), factor);
  btrt_pairs upper = (btrt_pairs){0} + ((uint64_t)UINT32_MAX << 32);
  return (struct btrt_product){(vu32)((even & ~upper) | odd << 32),
                               (vu32)(even >> 32 | (odd & upper))};
}

// Every lane holds a block of its own, a vector for each word.
BTRT_FN void btrt_philox_lanes(vu32 c[4], vu32 k0, vu32 k1) {
  for (int round = 0; round < BT_PHILOX_ROUNDS; round++) {
    struct btrt_product p = btrt_multiply(c[0], BT_PHILOX_M0);
    struct btrt_product q = btrt_multiply(c[2], BT_PHILOX_M1);
    c[0] = q.high ^ c[1] ^ k0, c[1] = q.low;
    c[2] = p.high ^ c[3] ^ k1, c[3] = p.low;
    k0 += BT_PHILOX_W0, k1 += BT_PHILOX_W1;
  }
}

// ---- words ------------------------------------------------------------------------------------
struct btrt_words {
  vu32 own, even, odd; // word i; words i & ~1 and i | 1
};

BTRT_FN vu32 btrt_low_words(vi64 x) { return vconvert(x, vu32); }
BTRT_FN vu32 btrt_high_words(vi64 x) { return vconvert(x >> 32, vu32); }

BTRT_FN struct btrt_words btrt_words_of_run(int32_t first, int64_t seed, int64_t stream) {
  uint32_t site = (uint32_t)BT_RANDOM_DRAW << 24 | ((uint32_t)(stream >> 32) & 0xffffff);
  vu32 detail = btrt_word(1, btrt_splat((uint32_t)stream)) | btrt_word(3, btrt_splat(site));
  vu32 block = btrt_splat((uint32_t)first >> 2) + (vu32)(btrt_iota() >> 2);
  vu32 own = btrt_philox_quads(btrt_word(0, block) | detail, (uint32_t)seed, (uint32_t)(seed >> 32));
  return (struct btrt_words){own, BTRT_FROM(own, BTRT_EVEN, 1), BTRT_FROM(own, BTRT_ODD, 1)};
}

// Not inlined: few kernels need it, and it is long.
static __attribute__((noinline, unused)) void
btrt_words_of_lanes(const vi32 *index, const vi64 *seed, const vi64 *stream,
                    struct btrt_words *words) {
  vu32 i = (vu32)*index;
  vu32 site = (btrt_high_words(*stream) & 0xffffff) | (uint32_t)BT_RANDOM_DRAW << 24;
  vu32 c[4] = {i >> 2, btrt_low_words(*stream), {0}, site};
  btrt_philox_lanes(c, btrt_low_words(*seed), btrt_high_words(*seed));
  vu32 later = (vu32)((i & 2) != 0), is_odd = (vu32)((i & 1) != 0);
  words->even = (later & c[2]) | (~later & c[0]);
  words->odd = (later & c[3]) | (~later & c[1]);
  words->own = (is_odd & words->odd) | (~is_odd & words->even);
}

BTRT_FN struct btrt_words btrt_words_of_keys(vi32 index, vi64 seed, vi64 stream) {
  struct btrt_words words;
  btrt_words_of_lanes(&index, &seed, &stream, &words);
  return words;
}

BTRT_FN struct btrt_words btrt_words_of_key(vi32 index, int64_t seed, int64_t stream) {
  vi32 off = (index ^ (btrt_iota() + index[0])) | (index[0] & 3);
  if (__builtin_expect(!btrt_any(off != 0), 1)) return btrt_words_of_run(index[0], seed, stream);
  return btrt_words_of_keys(index, vsplat_i64(seed), vsplat_i64(stream));
}

// ---- draws ------------------------------------------------------------------------------------
BTRT_FN vf32 btrt_uniform_of(vi32 index, struct btrt_words words) {
  (void)index;
  return vconvert((vi32)(words.own >> 8), vf32) * 0x1p-24f;
}

// The angle 2 pi u of 24 bits u, in quadrants and a rest that is exact.
BTRT_FN vf32 btrt_normal_of(vi32 index, struct btrt_words words) {
  vf32 radius = sqrt_vf32(-2.0f * log_vf32((vconvert(words.even, vf32) + 1.0f) * 0x1p-32f));
  vi32 turn = (vi32)(words.odd >> 8), quadrant = (turn + (1 << 21)) >> 22;
  vf32 rest = vconvert(turn - (quadrant << 22), vf32) * (6.283185307179586f * 0x1p-24f);
  return radius * btrt_sine_reduced(rest, quadrant + (1 - (index & 1)));
}

// Of one element, of lanes with one key, of lanes with a key each.
#define BTRT_DRAW(f)                                                          \
  BTRT_FN float f##_s(int32_t index, int64_t seed, int64_t stream) {          \
    vi32 lanes = vsplat_i32(index);                                           \
    return f##_of(lanes, btrt_words_of_key(lanes, seed, stream))[0];          \
  }                                                                           \
  BTRT_FN vf32 f##_v(vi32 index, int64_t seed, int64_t stream) {              \
    return f##_of(index, btrt_words_of_key(index, seed, stream));             \
  }                                                                           \
  BTRT_FN vf32 f##_k(vi32 index, vi64 seed, vi64 stream) {                    \
    return f##_of(index, btrt_words_of_keys(index, seed, stream));            \
  }
BTRT_DRAW(btrt_uniform)
BTRT_DRAW(btrt_normal)
#define BTRT_DRAW_BY(f, index, seed) \
  _Generic((seed), vi64: f##_k, int64_t: _Generic((index), int32_t: f##_s, vi32: f##_v))
#define btrt_uniform(index, seed, stream) BTRT_DRAW_BY(btrt_uniform, index, seed)((index), (seed), (stream))
#define btrt_normal(index, seed, stream) BTRT_DRAW_BY(btrt_normal, index, seed)((index), (seed), (stream))

#endif
