// loops_bounds.h: the values that an index expression can take. Private to the loop verifier.
#ifndef BTC_LOOPS_BOUNDS_H
#define BTC_LOOPS_BOUNDS_H

#include "loops.h"

enum { BOUNDS_TERMS = 24, BOUNDS_FACTS = 32 };
#define BOUNDS_UNKNOWN (INT64_MAX / 4)

// constant + sum of coefficient * atom; an atom is a loop variable or what is not linear.
struct linear {
  int n;
  bool overflow; // more terms than fit: nothing is known
  int64_t constant;
  struct {
    lx atom;
    int64_t coefficient;
  } term[BOUNDS_TERMS];
};

struct bounds {
  int lanes;
  lx *definition; // by register id: the value it has for good, or NULL
  int *depth;     // by variable id: how deep its loop lies
  int n_facts;
  struct linear fact[BOUNDS_FACTS]; // each is <= 0 here, by the ifs around
};

struct linear bounds_linear(const struct bounds *b, lx e);
struct linear bounds_sum(struct linear x, const struct linear *y, int64_t factor); // x + factor * y
// Largest and least value, or ±BOUNDS_UNKNOWN.
int64_t bounds_upper(const struct bounds *b, struct linear e);
int64_t bounds_lower(const struct bounds *b, struct linear e);
// Adds what a condition being `truth` says. Returns how many facts were added.
int bounds_assume(struct bounds *b, lx condition, bool truth);

#endif
