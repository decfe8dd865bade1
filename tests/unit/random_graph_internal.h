// random_graph_internal.h: what the files of the generator share: the pool of values, and steps that add to it.
#ifndef RANDOM_GRAPH_INTERNAL_H
#define RANDOM_GRAPH_INTERNAL_H

#include <math.h>

#include "random_graph.h"

struct item {
  struct node *node;
  double most;  // |value| is about this at most
  int fraction; // exact: a multiple of 2^-fraction; -1: not
};

struct generator {
  struct graph *g;
  struct arena *arena;
  unsigned seed;
  uint64_t state;
  VEC(struct item) reals, integers, flags;
  VEC(struct node *) trained; // parameters that a gradient may reach
  int names, sites;
  int limit;   // elements of a value
  bool layers; // many of them
};

enum { SMALL = 3000, LARGE = 80000 /* elements, enough for threads and chunks */ };

static inline int roll(struct generator *r, int n) {
  r->state = r->state * 6364136223846793005u + 1442695040888963407u;
  return (int)((r->state >> 33) % (unsigned)n);
}
static inline const struct shape *shape(const struct item *x) { return &x->node->type.shape; }
static inline bool exact(const struct item *x) { return x->fraction >= 0; }
static inline int finer(const struct item *x, const struct item *y) {
  if (!exact(x) || !exact(y)) return -1;
  return x->fraction > y->fraction ? x->fraction : y->fraction;
}

// A value of the pool: exact where the bits do, scaled where it is large.
struct item random_made(struct generator *r, struct node *n, double most, int fraction);
void random_keep(struct generator *r, struct item x);
struct item random_pick(struct generator *r);
struct item random_pick_exact(struct generator *r);
struct item random_pick_rank(struct generator *r, int rank); // of another rank if there is none
struct item random_pick_integer(struct generator *r);
// Another value of x's shape: of the pool, a stretched vector or scalar, or x itself.
struct item random_pick_like(struct generator *r, struct item x);

const char *random_name(struct generator *r, const char *stem);
struct item random_leaf(struct node *n);
struct item random_param(struct generator *r, struct shape s);
struct shape random_shape(struct generator *r, int rank);
int random_axes(struct generator *r, int rank, int *axes); // maybe none
// y stretched back over the axes of `to` that are not in axes.
struct node *random_stretched(struct generator *r, struct node *y, const struct shape *to, const int *axes, int n);
struct node *random_mask(struct generator *r, const struct shape *s);

// A step makes a value of one of the pool's, and returns that one where it cannot. `of`: what it is given.
enum { ANY = -1, EXACT = -2 /* else a rank, if there is one */ };
struct random_step {
  int weight;
  int of;
  struct item (*run)(struct generator *r, struct item x);
};
// Tables that end with a weight of 0.
extern const struct random_step random_pointwise[], random_movement[], random_layers[];

#endif
