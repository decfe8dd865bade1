// random.c: see random.h.
#include "random.h"
#include "btrt_internal.h"

#include <math.h>
#include <string.h>

void bt_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < BT_PHILOX_ROUNDS; round++) {
    uint64_t p0 = (uint64_t)BT_PHILOX_M0 * c0, p1 = (uint64_t)BT_PHILOX_M1 * c2;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c1 = (uint32_t)p1;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c3 = (uint32_t)p0;
    k0 += BT_PHILOX_W0;
    k1 += BT_PHILOX_W1;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

struct bt_random bt_random_new(uint64_t seed, enum bt_random_use use, uint32_t a, uint32_t b,
                               uint32_t site) {
  return (struct bt_random){.key = {(uint32_t)seed, (uint32_t)(seed >> 32)},
                            .counter = {0, a, b, (uint32_t)use << 24 | (site & 0xffffff)}};
}

uint32_t bt_random_bits(struct bt_random *r) {
  if (r->left == 0) {
    bt_philox4x32(r->counter, r->key, r->out);
    r->counter[0]++;
    r->left = 4;
  }
  return r->out[4 - r->left--];
}

double bt_random_unit(struct bt_random *r) {
  uint64_t high = bt_random_bits(r), low = bt_random_bits(r);
  return (double)((high << 32 | low) >> 11) * 0x1p-53;
}

double bt_random_uniform(struct bt_random *r, double lo, double hi) {
  return lo + (hi - lo) * bt_random_unit(r);
}

// Lemire, "Fast random integer generation in an interval", 2019.
uint32_t bt_random_below(struct bt_random *r, uint32_t n) {
  uint64_t product = (uint64_t)bt_random_bits(r) * n;
  if ((uint32_t)product < n) {
    uint32_t threshold = -n % n;
    while ((uint32_t)product < threshold) product = (uint64_t)bt_random_bits(r) * n;
  }
  return (uint32_t)(product >> 32);
}

// Box–Muller; the second value is dropped, so that one call uses a fixed number of bits.
double bt_random_normal(struct bt_random *r) {
  double radius = sqrt(-2 * log(1 - bt_random_unit(r)));
  return radius * cos(2 * M_PI * bt_random_unit(r));
}

// Fisher and Yates.
static void permute(struct bt_random *r, uint32_t n, uint32_t *order) {
  for (uint32_t i = 0; i < n; i++) order[i] = i;
  for (uint32_t i = n; i > 1; i--) {
    uint32_t j = bt_random_below(r, i), swap = order[i - 1];
    order[i - 1] = order[j];
    order[j] = swap;
  }
}

void bt_shuffle(uint64_t seed, uint32_t epoch, uint32_t n, uint32_t *order) {
  struct bt_random r = bt_random_new(seed, BT_RANDOM_SHUFFLE, epoch, 0, 0);
  permute(&r, n, order);
}

// ---- draws of programs ------------------------------------------------------------------------

uint64_t bt_draw_key(uint64_t seed) { return (seed ^ seed >> 53) & (((uint64_t)1 << 53) - 1); }

static struct bt_random draw_new(int64_t seed, int64_t stream, uint32_t element) {
  return bt_random_new((uint64_t)seed, BT_RANDOM_DRAW, (uint32_t)stream, element,
                       (uint32_t)((uint64_t)stream >> 32));
}

static uint32_t draw_word(int64_t seed, int64_t stream, uint32_t i) {
  struct bt_random r = draw_new(seed, stream, 0);
  r.counter[0] = i / 4;
  bt_philox4x32(r.counter, r.key, r.out);
  return r.out[i % 4];
}

double bt_draw_uniform(int64_t seed, int64_t stream, uint32_t i) {
  return (draw_word(seed, stream, i) >> 8) * 0x1p-24;
}

double bt_draw_normal(int64_t seed, int64_t stream, uint32_t i) {
  float above_zero = (float)draw_word(seed, stream, i & ~1u) + 1.0f;
  double radius = sqrt(-2 * log(above_zero * 0x1p-32));
  double angle = 2 * M_PI * bt_draw_uniform(seed, stream, i | 1);
  return radius * (i % 2 ? sin(angle) : cos(angle));
}

// log of a gamma variate of shape `a` and scale 1: Marsaglia and Tsang, "A simple method for
// generating gamma variables", 2000, for a + 1; times U^(1/a) it has shape a, which in logarithms
// does not underflow.
static double log_gamma_variate(struct bt_random *r, double a) {
  double d = a + 1 - 1.0 / 3, c = 1 / sqrt(9 * d);
  for (;;) {
    double x = bt_random_normal(r), v = 1 + c * x;
    if (v <= 0) continue;
    v = v * v * v;
    if (log(1 - bt_random_unit(r)) < 0.5 * x * x + d - d * v + d * log(v))
      return log(d * v) + log(1 - bt_random_unit(r)) / a;
  }
}

// X / (X + Y) of gamma variates X and Y.
double bt_draw_beta(int64_t seed, int64_t stream, int64_t i, double a, double b) {
  if (!(a > 0 && b > 0 && isfinite(a) && isfinite(b))) return NAN;
  struct bt_random r = draw_new(seed, stream, (uint32_t)i);
  double x = log_gamma_variate(&r, a), y = log_gamma_variate(&r, b);
  return 1 / (1 + exp(y - x));
}

void bt_draw_permutation(int64_t seed, int64_t stream, int64_t n, int32_t *order) {
  struct bt_random r = draw_new(seed, stream, 0);
  permute(&r, (uint32_t)n, (uint32_t *)order);
}

// ---- parameters -------------------------------------------------------------------------------

static uint64_t hash_name(const char *name) { // FNV-1a
  uint64_t h = 0xcbf29ce484222325u;
  for (; *name; name++) h = (h ^ (unsigned char)*name) * 0x100000001b3u;
  return h;
}

static double initial_value(const struct bt_init *init, struct bt_random *r) {
  switch (init->kind) {
  case BT_INIT_CONSTANT: return init->a;
  case BT_INIT_UNIFORM: return bt_random_uniform(r, init->a, init->b);
  case BT_INIT_NORMAL: return init->a + init->b * bt_random_normal(r);
  }
  bt_die("initialiser %d", (int)init->kind);
}

static void store_value(void *data, enum bt_dtype dtype, int64_t i, double value) {
  switch (dtype) {
  case BT_F32: ((float *)data)[i] = (float)value; return;
  case BT_F64: ((double *)data)[i] = value; return;
  case BT_I32: ((int32_t *)data)[i] = (int32_t)value; return;
  case BT_I64: ((int64_t *)data)[i] = (int64_t)value; return;
  case BT_U8: ((uint8_t *)data)[i] = (uint8_t)value; return;
  case BT_BOOL: ((uint8_t *)data)[i] = value != 0; return;
  }
}

void bt_initialise(const struct bt_tensor *tensor, uint64_t seed, void *data) {
  uint64_t name = hash_name(tensor->name);
  struct bt_random r =
      bt_random_new(seed, BT_RANDOM_INIT, (uint32_t)name, (uint32_t)(name >> 32), 0);
  int64_t n = bt_count(tensor->rank, tensor->shape);
  for (int64_t i = 0; i < n; i++)
    store_value(data, tensor->dtype, i, initial_value(&tensor->init, &r));
}
