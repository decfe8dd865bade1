// btrt_math.h: vectors and vector mathematics for emitted kernels.
//
// Included by emitted code after `#define BTRT_LANES 16` (or 8, 4). Every vector type has that many
// lanes whatever its element: vf32, vf64, vi32, vi64, vu8. A bool vector is a vi32 of 0 and -1.
//
// Functions work alike on scalars and vectors, by type-generic macros. f32 functions have one
// definition, on vectors; the scalar form is lane 0 of it, so that a value does not depend on where
// in a loop it falls. f64 functions call the C library lane by lane: they serve sums and
// statistics, not inner loops. Polynomials are those of Cephes (Moshier), single precision, where no
// other source is named. tests/unit/test_math.c holds every function, over all floats, infinities and
// NaN among them, to its error in ulp.
//
// Compile with -Wno-psabi (gcc notes the passing of wide vectors, which never happens: all is
// inlined) and without -ffast-math: rounding to nearest by adding 1.5 * 2^23, infinities and
// NaN are relied upon.
#ifndef BTRT_MATH_H
#define BTRT_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined __x86_64__
#include <immintrin.h>
#endif

#ifndef BTRT_LANES
#define BTRT_LANES 4
#endif

#define BTRT_FN static inline __attribute__((always_inline, unused))

#define BTRT_VECTOR(v, type)                                              \
  typedef type v __attribute__((vector_size(BTRT_LANES * sizeof(type)))); \
  typedef type v##_u                                                      \
      __attribute__((vector_size(BTRT_LANES * sizeof(type)), may_alias, aligned(sizeof(type))))
BTRT_VECTOR(vf32, float);
BTRT_VECTOR(vf64, double);
BTRT_VECTOR(vi32, int32_t);
BTRT_VECTOR(vi64, int64_t);
BTRT_VECTOR(vu8, uint8_t);

// ---- memory -----------------------------------------------------------------------------------
// vload_T(p), vload_T_n(p, n): the first n lanes, others 0; vload_T_strided(p, stride, n); stores
// alike; vgather_T(p, indices).
#define BTRT_MEMORY(T, type)                                                      \
  BTRT_FN v##T vsplat_##T(type x) { return x - (v##T){0}; }                       \
  BTRT_FN v##T vload_##T(const type *p) { return *(const v##T##_u *)p; }          \
  BTRT_FN void vstore_##T(type *p, v##T x) { *(v##T##_u *)p = x; }                \
  BTRT_FN v##T vload_##T##_strided(const type *p, int64_t stride, int64_t n) {    \
    v##T r = {0};                                                                 \
    for (int l = 0; l < BTRT_LANES; l++)                                          \
      if (l < n) r[l] = p[l * stride];                                            \
    return r;                                                                     \
  }                                                                               \
  BTRT_FN void vstore_##T##_strided(type *p, int64_t stride, int64_t n, v##T x) { \
    for (int l = 0; l < BTRT_LANES; l++)                                          \
      if (l < n) p[l * stride] = x[l];                                            \
  }                                                                               \
  BTRT_FN v##T vgather_##T(const type *p, vi64 at) {                              \
    v##T r = {0};                                                                 \
    for (int l = 0; l < BTRT_LANES; l++) r[l] = p[at[l]];                         \
    return r;                                                                     \
  }
#define BTRT_MEMORY_N(T, type)                                                                  \
  BTRT_FN v##T vload_##T##_n(const type *p, int64_t n) { return vload_##T##_strided(p, 1, n); } \
  BTRT_FN void vstore_##T##_n(type *p, int64_t n, v##T x) { vstore_##T##_strided(p, 1, n, x); }
BTRT_MEMORY(f32, float)
BTRT_MEMORY(f64, double)
BTRT_MEMORY(i32, int32_t)
BTRT_MEMORY(i64, int64_t)
BTRT_MEMORY(u8, uint8_t)
BTRT_MEMORY_N(f64, double)
BTRT_MEMORY_N(i32, int32_t)
BTRT_MEMORY_N(i64, int64_t)
BTRT_MEMORY_N(u8, uint8_t)
#if BTRT_LANES == 16 && defined __AVX512F__
BTRT_FN __mmask16 btrt_first(int64_t n) {
  return (__mmask16)(n >= 16 ? 0xffff : n <= 0 ? 0 : (1u << n) - 1);
}
BTRT_FN vf32 vload_f32_n(const float *p, int64_t n) {
  return (vf32)_mm512_maskz_loadu_ps(btrt_first(n), p);
}
BTRT_FN void vstore_f32_n(float *p, int64_t n, vf32 x) {
  _mm512_mask_storeu_ps(p, btrt_first(n), (__m512)x);
}
#else
BTRT_MEMORY_N(f32, float)
#endif

#define vconvert(x, v) __builtin_convertvector((x), v)
// Bool: a byte in memory, a lane mask in a vector.
BTRT_FN vi32 vload_bool_strided(const uint8_t *p, int64_t stride, int64_t n) {
  return vconvert(vload_u8_strided(p, stride, n), vi32) != 0;
}
BTRT_FN vi32 vload_bool_n(const uint8_t *p, int64_t n) { return vload_bool_strided(p, 1, n); }
BTRT_FN vi32 vload_bool(const uint8_t *p) { return vconvert(vload_u8(p), vi32) != 0; }
BTRT_FN vi32 vgather_bool(const uint8_t *p, vi64 at) {
  return vconvert(vgather_u8(p, at), vi32) != 0;
}
BTRT_FN void vstore_bool_strided(uint8_t *p, int64_t stride, int64_t n, vi32 x) {
  vstore_u8_strided(p, stride, n, vconvert(x & 1, vu8));
}
BTRT_FN void vstore_bool_n(uint8_t *p, int64_t n, vi32 x) { vstore_bool_strided(p, 1, n, x); }
BTRT_FN void vstore_bool(uint8_t *p, vi32 x) { vstore_u8(p, vconvert(x & 1, vu8)); }
BTRT_FN vi32 vsplat_bool(int x) { return vsplat_i32(-(x != 0)); }
BTRT_FN vi32 btrt_iota(void) {
  vi32 r = {0};
  for (int l = 0; l < BTRT_LANES; l++) r[l] = l;
  return r;
}

// ---- conversion -------------------------------------------------------------------------------
// Real numbers to integers: towards 0, what lies outside to the nearest there is, NaN to 0, as in Rust and LLVM's
// fptosi.sat; in C it is undefined.
#define BTRT_TO_INTEGER(F, I, type, least, most, bound)                                                       \
  BTRT_FN type s##F##_to_##I(double x) {                                                                      \
    return x != x ? 0 : x < -(bound) ? (least) : x >= (bound) ? (most) : (type)x;                             \
  }                                                                                                           \
  BTRT_FN v##I v##F##_to_##I(v##F x) {                                                                        \
    v##I r = {0};                                                                                             \
    for (int l = 0; l < BTRT_LANES; l++) r[l] = s##F##_to_##I(x[l]);                                          \
    return r;                                                                                                 \
  }
BTRT_TO_INTEGER(f32, i32, int32_t, INT32_MIN, INT32_MAX, 0x1p31)
BTRT_TO_INTEGER(f32, i64, int64_t, INT64_MIN, INT64_MAX, 0x1p63)
BTRT_TO_INTEGER(f64, i32, int32_t, INT32_MIN, INT32_MAX, 0x1p31)
BTRT_TO_INTEGER(f64, i64, int64_t, INT64_MIN, INT64_MAX, 0x1p63)

// ---- transposition ----------------------------------------------------------------------------
// Blocks of lanes x lanes by Eklundh's method: for sizes s = lanes/2, …, 1, the s x s blocks off the
// diagonal of each 2s x 2s block change places.
#if BTRT_LANES == 16
#define BTRT_ALL_LANES(f, s)                                                                    \
  f(0, s), f(1, s), f(2, s), f(3, s), f(4, s), f(5, s), f(6, s), f(7, s), f(8, s), f(9, s),     \
      f(10, s), f(11, s), f(12, s), f(13, s), f(14, s), f(15, s)
#elif BTRT_LANES == 8
#define BTRT_ALL_LANES(f, s) \
  f(0, s), f(1, s), f(2, s), f(3, s), f(4, s), f(5, s), f(6, s), f(7, s)
#else
#define BTRT_ALL_LANES(f, s) f(0, s), f(1, s), f(2, s), f(3, s)
#endif
#define BTRT_UPPER(l, s) ((l) & (s) ? BTRT_LANES + (l) - (s) : (l))
#define BTRT_LOWER(l, s) ((l) & (s) ? BTRT_LANES + (l) : (l) + (s))
#define BTRT_SWAP_BLOCKS(r, s)                                                            \
  _Pragma("GCC unroll 16") for (int i = 0; i < BTRT_LANES; i++) if (!(i & (s))) {         \
    vf32 a = r[i], b = r[i + (s)];                                                        \
    r[i] = __builtin_shufflevector(a, b, BTRT_ALL_LANES(BTRT_UPPER, s));                 \
    r[i + (s)] = __builtin_shufflevector(a, b, BTRT_ALL_LANES(BTRT_LOWER, s));           \
  }
// to[q * to_stride + c] = from[c * from_stride + q]
BTRT_FN void btrt_transpose_f32(float *to, int64_t to_stride, const float *from,
                                int64_t from_stride) {
  vf32 r[BTRT_LANES];
  _Pragma("GCC unroll 16") for (int i = 0; i < BTRT_LANES; i++) r[i] = vload_f32(from + i * from_stride);
#if BTRT_LANES == 16
  BTRT_SWAP_BLOCKS(r, 8)
#endif
#if BTRT_LANES >= 8
  BTRT_SWAP_BLOCKS(r, 4)
#endif
  BTRT_SWAP_BLOCKS(r, 2)
  BTRT_SWAP_BLOCKS(r, 1)
  _Pragma("GCC unroll 16") for (int i = 0; i < BTRT_LANES; i++) vstore_f32(to + i * to_stride, r[i]);
}

// ---- choice -----------------------------------------------------------------------------------
// min: a < b ? a : b. max: a > b ? a : b. Both give b where a and b are unordered, as the x86
// instructions do.
#define BTRT_CHOICE(T, type, mask, maskof)                              \
  BTRT_FN type select_s##T(int m, type a, type b) { return m ? a : b; } \
  BTRT_FN type min_s##T(type a, type b) { return a < b ? a : b; }       \
  BTRT_FN type max_s##T(type a, type b) { return a > b ? a : b; }       \
  BTRT_FN type abs_s##T(type a) { return a < 0 ? -a : a; }              \
  BTRT_FN v##T select_v##T(vi32 c, v##T a, v##T b) {                    \
    mask m = maskof(c);                                                 \
    return (v##T)((m & (mask)a) | (~m & (mask)b));                      \
  }                                                                     \
  BTRT_FN v##T choose_##T(mask m, v##T a, v##T b) { return (v##T)((m & (mask)a) | (~m & (mask)b)); }
#define BTRT_MINMAX(T, mask)                                                        \
  BTRT_FN v##T min_v##T(v##T a, v##T b) { return choose_##T((mask)(a < b), a, b); } \
  BTRT_FN v##T max_v##T(v##T a, v##T b) { return choose_##T((mask)(a > b), a, b); }
#define BTRT_SAME(m) (m)
#define BTRT_WIDE(m) vconvert(m, vi64)
BTRT_CHOICE(f32, float, vi32, BTRT_SAME)
BTRT_CHOICE(f64, double, vi64, BTRT_WIDE)
BTRT_CHOICE(i32, int32_t, vi32, BTRT_SAME)
BTRT_CHOICE(i64, int64_t, vi64, BTRT_WIDE)
BTRT_MINMAX(f64, vi64)
BTRT_MINMAX(i32, vi32)
BTRT_MINMAX(i64, vi64)
#if BTRT_LANES == 16 && defined __AVX512F__
BTRT_FN vf32 min_vf32(vf32 a, vf32 b) { return (vf32)_mm512_min_ps((__m512)a, (__m512)b); }
BTRT_FN vf32 max_vf32(vf32 a, vf32 b) { return (vf32)_mm512_max_ps((__m512)a, (__m512)b); }
BTRT_FN vf32 sqrt_vf32(vf32 x) { return (vf32)_mm512_sqrt_ps((__m512)x); }
#elif BTRT_LANES == 8 && defined __AVX__
BTRT_FN vf32 min_vf32(vf32 a, vf32 b) { return (vf32)_mm256_min_ps((__m256)a, (__m256)b); }
BTRT_FN vf32 max_vf32(vf32 a, vf32 b) { return (vf32)_mm256_max_ps((__m256)a, (__m256)b); }
BTRT_FN vf32 sqrt_vf32(vf32 x) { return (vf32)_mm256_sqrt_ps((__m256)x); }
#elif BTRT_LANES == 4 && defined __SSE__
BTRT_FN vf32 min_vf32(vf32 a, vf32 b) { return (vf32)_mm_min_ps((__m128)a, (__m128)b); }
BTRT_FN vf32 max_vf32(vf32 a, vf32 b) { return (vf32)_mm_max_ps((__m128)a, (__m128)b); }
BTRT_FN vf32 sqrt_vf32(vf32 x) { return (vf32)_mm_sqrt_ps((__m128)x); }
#else
BTRT_MINMAX(f32, vi32)
BTRT_FN vf32 sqrt_vf32(vf32 x) {
  for (int l = 0; l < BTRT_LANES; l++) x[l] = sqrtf(x[l]);
  return x;
}
#endif
BTRT_FN vf32 abs_vf32(vf32 x) { return (vf32)((vi32)x & 0x7fffffff); }
BTRT_FN vf64 abs_vf64(vf64 x) { return (vf64)((vi64)x & INT64_MAX); }
BTRT_FN vi32 abs_vi32(vi32 x) { return max_vi32(x, -x); }
BTRT_FN vi64 abs_vi64(vi64 x) { return max_vi64(x, -x); }

#define BTRT_NUMBERS(f)                                               \
  float : f##_sf32,                                                   \
          double : f##_sf64,                                          \
                   int32_t : f##_si32,                                \
                             int64_t : f##_si64,                      \
                                       vf32 : f##_vf32,               \
                                              vf64 : f##_vf64,        \
                                                     vi32 : f##_vi32, \
                                                            vi64 : f##_vi64
#define btrt_min(a, b) _Generic((a) + (b), BTRT_NUMBERS(min))((a), (b))
#define btrt_max(a, b) _Generic((a) + (b), BTRT_NUMBERS(max))((a), (b))
#define btrt_abs(a) _Generic((a), BTRT_NUMBERS(abs))(a)
#define btrt_select(m, a, b) _Generic((a) + (b), BTRT_NUMBERS(select))((m), (a), (b))

// ---- horizontal, pairwise in a fixed order ----------------------------------------------------
// Of lanes that are not all ordered, hmax and hmin are NaN.
#define BTRT_HORIZONTAL(T, type)                                                         \
  BTRT_FN type hsum_v##T(v##T x) {                                                       \
    for (int w = BTRT_LANES / 2; w; w /= 2)                                              \
      for (int l = 0; l < w; l++) x[l] += x[l + w];                                      \
    return x[0];                                                                         \
  }                                                                                      \
  BTRT_FN type hmax_v##T(v##T x) {                                                       \
    type r = x[0];                                                                       \
    for (int l = 1; l < BTRT_LANES; l++) r = x[l] > r ? x[l] : x[l] <= r ? r : x[l] + r; \
    return r;                                                                            \
  }                                                                                      \
  BTRT_FN type hmin_v##T(v##T x) {                                                       \
    type r = x[0];                                                                       \
    for (int l = 1; l < BTRT_LANES; l++) r = x[l] < r ? x[l] : x[l] >= r ? r : x[l] + r; \
    return r;                                                                            \
  }
BTRT_HORIZONTAL(f32, float)
BTRT_HORIZONTAL(f64, double)
BTRT_HORIZONTAL(i32, int32_t)
BTRT_HORIZONTAL(i64, int64_t)
#define BTRT_VECTORS(f) \
  vf32:                 \
  f##_vf32, vf64 : f##_vf64, vi32 : f##_vi32, vi64 : f##_vi64
#define btrt_hsum(x) _Generic((x), BTRT_VECTORS(hsum))(x)
#define btrt_hmax(x) _Generic((x), BTRT_VECTORS(hmax))(x)
#define btrt_hmin(x) _Generic((x), BTRT_VECTORS(hmin))(x)

// ---- functions --------------------------------------------------------------------------------
#define BTRT_K(c) vsplat_f32(c)

BTRT_FN vf32 floor_vf32(vf32 x) {
  vf32 whole = vconvert(vconvert(choose_f32(abs_vf32(x) < 8388608.0f, x, BTRT_K(0)), vi32), vf32);
  whole = choose_f32(whole > x, whole - 1.0f, whole);
  whole = (vf32)((vi32)whole | ((vi32)x & INT32_MIN)); // floor(-0) is -0
  return choose_f32(abs_vf32(x) < 8388608.0f, whole, x);
}
BTRT_FN vf32 rsqrt_vf32(vf32 x) { return 1.0f / sqrt_vf32(x); }

// e^x = 2^n e^r, r = x - n ln 2, |r| <= ln 2 / 2. 2^n in two factors, so that results below the
// least normal number and above 2^127 come out right.
BTRT_FN vf32 exp_vf32(vf32 x) {
  x = min_vf32(BTRT_K(89.0f), max_vf32(BTRT_K(-104.0f), x));
  vf32 n = (x * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
  vf32 r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  vf32 p = 1.9875691500e-4f * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  vi32 e = vconvert(choose_f32(n == n, n, BTRT_K(0)), vi32), half = e >> 1;
  return p * (vf32)((half + 127) << 23) * (vf32)((e - half + 127) << 23);
}

// log x = e ln 2 + log m, sqrt(1/2) <= m < sqrt(2).
BTRT_FN vf32 log_vf32(vf32 x) {
  vi32 small = x < 1.17549435e-38f;
  vf32 y = choose_f32(small, x * 8388608.0f, x);
  vi32 e = (((vi32)y >> 23) & 255) - 126 - (small & 23);
  vf32 m = (vf32)(((vi32)y & 0x007fffff) | 0x3f000000); // [1/2, 1)
  vi32 low = m < 0.707106781186547524f;
  e += low; // -1 where low
  m = choose_f32(low, m + m, m) - 1.0f;
  vf32 n = vconvert(e, vf32), z = m * m;
  vf32 p = 7.0376836292e-2f * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  p = p * m * z - n * 2.12194440e-4f - 0.5f * z;
  vf32 r = m + p + n * 0.693359375f;
  r = choose_f32(x == 0.0f, BTRT_K(-INFINITY), r);
  r = choose_f32(x < 0.0f, BTRT_K(NAN), r);
  return choose_f32((x == INFINITY) | (x != x), x, r);
}

BTRT_FN vf32 tanh_vf32(vf32 x) {
  vf32 a = abs_vf32(x), z = x * x;
  vf32 p = -5.70498872745e-3f * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  p = p * z * x + x;
  vf32 big = 1.0f - 2.0f / (exp_vf32(a + a) + 1.0f);
  vi32 sign = (vi32)x & INT32_MIN;
  return (vf32)(((vi32)choose_f32(a < 0.625f, p, big) & INT32_MAX) | sign); // tanh(-0) is -0
}

// By e^-|x|, which never overflows, so that the left tail is right down to the least number.
BTRT_FN vf32 sigmoid_vf32(vf32 x) {
  vf32 e = exp_vf32(-abs_vf32(x));
  return choose_f32(x < 0.0f, e, BTRT_K(1)) / (1.0f + e);
}

// max(x, 0) + log(1 + e), e = e^-|x|. What 1 + e rounds away is put back by the factor e / ((1 + e) - 1)
// (Kahan; Goldberg 1991, theorem 4).
BTRT_FN vf32 softplus_vf32(vf32 x) {
  vf32 e = exp_vf32(-abs_vf32(x)), whole = 1.0f + e, rest = whole - 1.0f;
  vf32 log1p = choose_f32(rest == 0.0f, e, log_vf32(whole) * (e / rest));
  return choose_f32(x > 0.0f, x, BTRT_K(0)) + log1p;
}

// Two minimax polynomials, that of larger |x| for log(1 - |erf x|) (N. Juffa, 2016).
BTRT_FN vf32 erf_vf32(vf32 x) {
  vf32 a = abs_vf32(x), z = x * x;
  vf32 p = -5.96761703e-4f * z + 4.99119423e-3f;
  p = p * z - 2.67681349e-2f;
  p = p * z + 1.12819925e-1f;
  p = p * z - 3.76125336e-1f;
  p = p * z + 1.28379166e-1f;
  p = p * x + x;
  vf32 t = min_vf32(BTRT_K(4.0f), a); // erf(4) is 1 in f32
  vf32 r = -1.72853470e-5f * t + 3.83197126e-4f, q = -3.88396438e-3f * t + 2.42546219e-2f;
  r = r * (t * t) + q;
  r = r * t - 1.06777877e-1f;
  r = r * t - 6.34846687e-1f;
  r = r * t - 1.28717512e-1f;
  r = r * t - t;
  vi32 sign = (vi32)x & INT32_MIN;
  vf32 big = (vf32)((vi32)(1.0f - exp_vf32(r)) | sign);
  big = choose_f32(x == x, big, x);
  return choose_f32(a < 0.927734375f, p, big);
}

// ---- functions by way of double ---------------------------------------------------------------
// Reducing an angle and taking a power need more digits than f32 has: half the lanes at a time, in
// double, which fills a register of the same size.
typedef float btrt_half_f32 __attribute__((vector_size(BTRT_LANES * 2)));
typedef double btrt_half __attribute__((vector_size(BTRT_LANES * 4)));
typedef int64_t btrt_half_i __attribute__((vector_size(BTRT_LANES * 4)));
BTRT_FN btrt_half btrt_half_of(vf32 x, int half) {
  btrt_half_f32 h;
  memcpy(&h, (const char *)&x + half * sizeof h, sizeof h);
  return vconvert(h, btrt_half);
}
BTRT_FN vf32 btrt_join(btrt_half low, btrt_half high) {
  btrt_half_f32 part[2] = {vconvert(low, btrt_half_f32), vconvert(high, btrt_half_f32)};
  vf32 r;
  memcpy(&r, part, sizeof r);
  return r;
}
BTRT_FN btrt_half btrt_half_choose(btrt_half_i m, btrt_half a, btrt_half b) {
  return (btrt_half)((m & (btrt_half_i)a) | (~m & (btrt_half_i)b));
}
BTRT_FN btrt_half btrt_half_splat(double x) { return x - (btrt_half){0}; }
BTRT_FN btrt_half btrt_half_abs(btrt_half x) { return (btrt_half)((btrt_half_i)x & INT64_MAX); }
#define BTRT_ROUND 6755399441055744.0 // 1.5 * 2^52: adding it rounds |x| < 2^51 to an integer

// x = n pi/2 + r with |r| <= pi/4, for |x| < 2^28: pi/2 in 25 bits, whose multiples by n are exact,
// and the rest (FreeBSD's e_rem_pio2f.c). n modulo 4 is in the low bits of *n.
BTRT_FN btrt_half btrt_reduce(btrt_half x, btrt_half_i *n) {
  btrt_half whole = x * 6.36619772367581382433e-01 + BTRT_ROUND;
  *n = (btrt_half_i)whole;
  whole -= BTRT_ROUND;
  return (x - whole * 1.57079631090164184570) - whole * 1.58932547735281966916e-08;
}

// Sine of r + q * pi/2, |r| <= pi/4.
BTRT_FN vf32 btrt_sine_reduced(vf32 r, vi32 q) {
  vf32 z = r * r;
  vf32 s = -1.9515295891e-4f * z + 8.3321608736e-3f;
  s = choose_f32(r == 0.0f, r, (s * z - 1.6666654611e-1f) * z * r + r); // sin(-0) is -0
  vf32 c = 2.443315711809948e-5f * z - 1.388731625493765e-3f;
  c = (c * z + 4.166664568298827e-2f) * z * z - 0.5f * z + 1.0f;
  vf32 y = choose_f32((q & 1) != 0, c, s);
  return (vf32)((vi32)y ^ ((q & 2) << 30));
}

// Sine of x + quadrant * pi/2. Beyond 2^28 the C library reduces.
BTRT_FN vf32 btrt_sine(vf32 x, int quadrant) {
  vf32 a = abs_vf32(x), inside = choose_f32(a < 268435456.0f, x, BTRT_K(0));
  btrt_half_i n[2];
  btrt_half low = btrt_reduce(btrt_half_of(inside, 0), &n[0]);
  btrt_half high = btrt_reduce(btrt_half_of(inside, 1), &n[1]);
  vi64 both;
  memcpy(&both, n, sizeof both);
  vf32 y = btrt_sine_reduced(btrt_join(low, high), vconvert(both & 3, vi32) + quadrant);
  for (int l = 0; l < BTRT_LANES; l++)
    if (__builtin_expect(!(a[l] < 268435456.0f), 0)) y[l] = quadrant ? cosf(x[l]) : sinf(x[l]);
  return y;
}
BTRT_FN vf32 sin_vf32(vf32 x) { return btrt_sine(x, 0); }
BTRT_FN vf32 cos_vf32(vf32 x) { return btrt_sine(x, 1); }

// log2 of positive finite numbers that are floats: x = 2^e m, sqrt(1/2) <= m < sqrt(2), log m = 2 artanh s,
// s = (m - 1) / (m + 1), by its series; what is left out is below 2^-39 of it.
BTRT_FN btrt_half btrt_log2(btrt_half x) {
  btrt_half_i bits = (btrt_half_i)x - 0x3fe6a09e667f3bcd; // less sqrt(1/2): the exponent carries
  btrt_half_i e = bits >> 52;
  btrt_half m = (btrt_half)((btrt_half_i)x - (e << 52));
  btrt_half s = (m - 1.0) / (m + 1.0), z = s * s;
  btrt_half p = z * (1.0 / 13) + 1.0 / 11;
  p = p * z + 1.0 / 9;
  p = p * z + 1.0 / 7;
  p = p * z + 1.0 / 5;
  p = p * z + 1.0 / 3;
  p = (p * z + 1.0) * s * (2 * 1.44269504088896340736);
  return vconvert(e, btrt_half) + p;
}

// 2^t for |t| < 1000: 2^n times the Taylor series of e^(f ln 2), |f| <= 1/2.
BTRT_FN btrt_half btrt_exp2(btrt_half t) {
  btrt_half whole = t + BTRT_ROUND;
  btrt_half_i n = (btrt_half_i)whole << 52;
  btrt_half f = (t - (whole - BTRT_ROUND)) * 6.93147180559945309417e-01;
  btrt_half p = f * (1.0 / 40320) + 1.0 / 5040;
  p = p * f + 1.0 / 720;
  p = p * f + 1.0 / 120;
  p = p * f + 1.0 / 24;
  p = p * f + 1.0 / 6;
  p = p * f + 0.5;
  p = p * f + 1.0;
  p = p * f + 1.0;
  return (btrt_half)((btrt_half_i)p + n);
}

// |x|^y as 2^(y log2 |x|), then the sign and the exceptions of C's pow (C17, F.10.4.4).
BTRT_FN btrt_half btrt_power(btrt_half x, btrt_half y) {
  btrt_half a = btrt_half_abs(x), b = btrt_half_abs(y), zero = {0};
  btrt_half_i ordinary = (a > 0.0) & (a < INFINITY);
  btrt_half log = btrt_log2(btrt_half_choose(ordinary, a, btrt_half_splat(1)));
  log = btrt_half_choose(a == 0.0, btrt_half_splat(-INFINITY), log);
  log = btrt_half_choose(ordinary | (a == 0.0), log, a); // infinity and NaN
  btrt_half t = y * log;
  t = btrt_half_choose(t > 500.0, btrt_half_splat(500), t);
  t = btrt_half_choose(t < -500.0, btrt_half_splat(-500), t);
  btrt_half r = btrt_exp2(btrt_half_choose(t == t, t, zero));
  r = btrt_half_choose(t == t, r, t);
  btrt_half whole = (b + BTRT_ROUND) - BTRT_ROUND;
  btrt_half_i integer = (b >= 16777216.0) | (whole == b);
  btrt_half_i odd = (b < 16777216.0) & integer & -((btrt_half_i)(b + BTRT_ROUND) & 1);
  r = (btrt_half)((btrt_half_i)r ^ ((btrt_half_i)x & odd & INT64_MIN));
  r = btrt_half_choose((x < 0.0) & (a < INFINITY) & ~integer & (y == y), btrt_half_splat(NAN), r);
  btrt_half_i one = (x == 1.0) | (y == 0.0) | ((a == 1.0) & (b == INFINITY));
  return btrt_half_choose(one, btrt_half_splat(1), r);
}
BTRT_FN vf32 pow_vf32(vf32 x, vf32 y) {
  return btrt_join(btrt_power(btrt_half_of(x, 0), btrt_half_of(y, 0)),
                   btrt_power(btrt_half_of(x, 1), btrt_half_of(y, 1)));
}
BTRT_FN float pow_sf32(float x, float y) { return pow_vf32(vsplat_f32(x), vsplat_f32(y))[0]; }
BTRT_FN double pow_sf64(double x, double y) { return pow(x, y); }
BTRT_FN vf64 pow_vf64(vf64 x, vf64 y) {
  for (int l = 0; l < BTRT_LANES; l++) x[l] = pow(x[l], y[l]);
  return x;
}

// What is left of x after floor(x / y) times y, with the sign of y: fmod is exact, and what it gives with the sign of
// x is one y away.
BTRT_FN double floormod_sf64(double x, double y) {
  double r = fmod(x, y);
  return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}
BTRT_FN vf64 floormod_vf64(vf64 x, vf64 y) {
  for (int l = 0; l < BTRT_LANES; l++) x[l] = floormod_sf64(x[l], y[l]);
  return x;
}
BTRT_FN float floormod_sf32(float x, float y) { return (float)floormod_sf64(x, y); }
BTRT_FN vf32 floormod_vf32(vf32 x, vf32 y) {
  for (int l = 0; l < BTRT_LANES; l++) x[l] = floormod_sf32(x[l], y[l]);
  return x;
}

BTRT_FN double rsqrt_sf64(double x) { return 1 / sqrt(x); }
BTRT_FN double sigmoid_sf64(double x) {
  double e = exp(-fabs(x));
  return (x < 0 ? e : 1) / (1 + e);
}
BTRT_FN double softplus_sf64(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }
#define BTRT_LANEWISE(f, scalar)                              \
  BTRT_FN vf64 f##_vf64(vf64 x) {                             \
    for (int l = 0; l < BTRT_LANES; l++) x[l] = scalar(x[l]); \
    return x;                                                 \
  }
BTRT_LANEWISE(floor, floor)
BTRT_LANEWISE(sqrt, sqrt)
BTRT_LANEWISE(rsqrt, rsqrt_sf64)
BTRT_LANEWISE(exp, exp)
BTRT_LANEWISE(log, log)
BTRT_LANEWISE(tanh, tanh)
BTRT_LANEWISE(sin, sin)
BTRT_LANEWISE(cos, cos)
BTRT_LANEWISE(erf, erf)
BTRT_LANEWISE(sigmoid, sigmoid_sf64)
BTRT_LANEWISE(softplus, softplus_sf64)
#define BTRT_LANE0(f) \
  BTRT_FN float f##_sf32(float x) { return f##_vf32(vsplat_f32(x))[0]; }
BTRT_LANE0(exp)
BTRT_LANE0(log)
BTRT_LANE0(tanh)
BTRT_LANE0(sin)
BTRT_LANE0(cos)
BTRT_LANE0(erf)
BTRT_LANE0(sigmoid)
BTRT_LANE0(softplus)
BTRT_FN float rsqrt_sf32(float x) { return 1.0f / sqrtf(x); }

#define BTRT_REALS(f, sf32, sf64) float : sf32, double : sf64, vf32 : f##_vf32, vf64 : f##_vf64
#define btrt_floor(x) _Generic((x), BTRT_REALS(floor, floorf, floor))(x)
#define btrt_sqrt(x) _Generic((x), BTRT_REALS(sqrt, sqrtf, sqrt))(x)
#define btrt_rsqrt(x) _Generic((x), BTRT_REALS(rsqrt, rsqrt_sf32, rsqrt_sf64))(x)
#define btrt_exp(x) _Generic((x), BTRT_REALS(exp, exp_sf32, exp))(x)
#define btrt_log(x) _Generic((x), BTRT_REALS(log, log_sf32, log))(x)
#define btrt_tanh(x) _Generic((x), BTRT_REALS(tanh, tanh_sf32, tanh))(x)
#define btrt_sin(x) _Generic((x), BTRT_REALS(sin, sin_sf32, sin))(x)
#define btrt_cos(x) _Generic((x), BTRT_REALS(cos, cos_sf32, cos))(x)
#define btrt_erf(x) _Generic((x), BTRT_REALS(erf, erf_sf32, erf))(x)
#define btrt_sigmoid(x) _Generic((x), BTRT_REALS(sigmoid, sigmoid_sf32, sigmoid_sf64))(x)
#define btrt_softplus(x) _Generic((x), BTRT_REALS(softplus, softplus_sf32, softplus_sf64))(x)
#define btrt_pow(x, y) _Generic((x) + (y), BTRT_REALS(pow, pow_sf32, pow_sf64))((x), (y))
#define btrt_floormod(x, y) _Generic((x) + (y), BTRT_REALS(floormod, floormod_sf32, floormod_sf64))((x), (y))

#endif
