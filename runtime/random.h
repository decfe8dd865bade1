// random.h: random numbers that are a function of what they are for.
//
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC11)
// turns a 128-bit counter and a 64-bit key into 128 random bits. The key is the run's seed; the
// counter says what the numbers are for (a use and up to three words of detail). So every draw is
// independent of thread count, of order and of what was drawn before, and resuming changes nothing.
#ifndef BT_RANDOM_H
#define BT_RANDOM_H

#include "btrt.h"

enum bt_random_use {
  BT_RANDOM_INIT,    // a parameter's initial values; detail: hash of its name
  BT_RANDOM_SHUFFLE, // the order of an epoch; detail: epoch
  BT_RANDOM_VIEW,    // one image through one view; detail: image, epoch, site
  BT_RANDOM_LABELS,  // which images keep their label; detail: class
  BT_RANDOM_DATA,    // synthetic images; detail: image, split
  BT_RANDOM_DRAW,    // a random site of a program; detail: step, element, site
};

struct bt_random {
  uint32_t key[2], counter[4]; // counter[0] counts blocks
  uint32_t out[4];
  int left; // words of out still unused
};

enum { BT_PHILOX_ROUNDS = 10 };
#define BT_PHILOX_M0 0xD2511F53u
#define BT_PHILOX_M1 0xCD9E8D57u
#define BT_PHILOX_W0 0x9E3779B9u // golden ratio
#define BT_PHILOX_W1 0xBB67AE85u // sqrt(3) - 1
void bt_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

// `site` takes 24 bits.
struct bt_random bt_random_new(uint64_t seed, enum bt_random_use use, uint32_t a, uint32_t b,
                               uint32_t site);
uint32_t bt_random_bits(struct bt_random *r);
double bt_random_unit(struct bt_random *r);                          // [0, 1), 53 bits
double bt_random_uniform(struct bt_random *r, double lo, double hi); // [lo, hi)
uint32_t bt_random_below(struct bt_random *r, uint32_t n);           // 0 … n-1, unbiased; n > 0
double bt_random_normal(struct bt_random *r);                        // mean 0, deviation 1

// ---- draws of programs ------------------------------------------------------------------------
// A random site of a program reads the stream site * 2^32 + step of the seed. Element i of a tensor
// has word i of the stream, of four words a block, so a vector of elements takes few blocks. These
// functions say what a draw is: the interpreter evaluates by them, kernels of emitted code compute
// the same, by btrt_random.h or by a call (btrt.h). A word of 32 bits makes
//   uniform  its upper 24 bits / 2^24, in [0, 1): exact in f32;
//   normal   by Box and Muller, elements 2i and 2i + 1 from words 2i and 2i + 1: radius
//            sqrt(-2 log u) with u = f32(f32(word) + 1) / 2^32, in (0, 1], so up to 6.7 deviations;
//            angle 2 pi times the other word's uniform number; cosine for even i, sine for odd.
uint64_t bt_draw_key(uint64_t seed); // the seed as programs read it: 53 bits, exact in a double
double bt_draw_uniform(int64_t seed, int64_t stream, uint32_t i);
double bt_draw_normal(int64_t seed, int64_t stream, uint32_t i);

// order: n. A permutation of 0 … n-1 keyed by (seed, epoch).
void bt_shuffle(uint64_t seed, uint32_t epoch, uint32_t n, uint32_t *order);
// Writes the tensor's initial values (its dtype) to data, keyed by (seed, its name).
void bt_initialise(const struct bt_tensor *tensor, uint64_t seed, void *data);

#endif
