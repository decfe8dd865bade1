// lower_map.c: kernels that only store: every point of the space is independent.
//
// The innermost axis is walked a vector at a time, its rest once, masked. The outer axes are
// flattened into one parallel loop, as many as it takes to have enough pieces; a long innermost
// axis is cut into chunks of a fixed size. Nothing depends on the number of threads. Small spaces
// stay serial: a parallel region costs microseconds.
#include "nest.h"

enum {
  PIECES = 64,           // pieces of work to share out, where the space allows
  CHUNK = 8192,          // elements of the innermost axis in one piece
  PARALLEL_FROM = 16384, // points
};

struct map_schedule {
  int outer[BODY_AXES], n_outer; // axes but the vector axis
  int n_flat;                    // of them, flattened into the parallel loop
  int64_t full, tail;            // whole vectors of the vector axis, and lanes left
  int64_t per_chunk, chunks;     // vectors
  bool parallel;
};

static struct map_schedule map_plan(const struct nest *n) {
  struct map_schedule s = {.chunks = 1};
  const struct body *b = n->body;
  int64_t points = 1, flat = 1;
  for (int i = 0; i < b->n_axes; i++) {
    points *= b->extent[i];
    if (i != n->vector) s.outer[s.n_outer++] = i;
  }
  if (n->vector >= 0) {
    s.full = b->extent[n->vector] / n->lanes;
    s.tail = b->extent[n->vector] % n->lanes;
  }
  s.per_chunk = s.full;
  s.parallel = points >= PARALLEL_FROM;
  if (!s.parallel) return s;
  while (s.n_flat < s.n_outer && flat < PIECES) flat *= b->extent[s.outer[s.n_flat++]];
  int64_t chunk = CHUNK / n->lanes;
  if (flat < PIECES && s.full >= 2 * chunk) {
    s.per_chunk = chunk;
    s.chunks = (s.full + chunk - 1) / chunk;
  }
  return s;
}

static void store_all(struct nest *n) {
  nest_enter(n);
  nest_store_all(n, 0, true);
  nest_leave(n);
}

static void bind_one_vector(struct nest *n, lx at, lx lanes) {
  nest_bind_vector(n, 1, &at, &lanes);
}

static void vector_loop(struct nest *n, const struct map_schedule *s, lx chunk) {
  struct lb *b = n->b;
  unsigned bound = n->bound;
  if (s->full > 0) {
    lx lo = lx_muli(chunk, s->per_chunk);
    lx hi = s->chunks == 1 ? lx_int(b, s->full) : lx_mini(lx_addi(lo, s->per_chunk), s->full);
    lx j = lb_for_range(b, "j", lo, hi, 1);
    bind_one_vector(n, lx_muli(j, n->lanes), NULL);
    store_all(n);
    lb_end(b);
    n->bound = bound;
  }
  if (s->tail > 0) {
    if (s->chunks > 1) lb_if(b, lx_eq(chunk, lx_int(b, s->chunks - 1)));
    bind_one_vector(n, lx_int(b, s->full * n->lanes), lx_int(b, s->tail));
    store_all(n);
    if (s->chunks > 1) lb_end(b);
    n->bound = bound;
  }
}

static void inner_loops(struct nest *n, const struct map_schedule *s, int from, lx chunk) {
  if (from == s->n_outer) {
    bool done = n->vector < 0 || (n->bound >> n->vector) & 1;
    if (done)
      store_all(n);
    else
      vector_loop(n, s, chunk);
    return;
  }
  lx i = lb_for(n->b, "i", n->body->extent[s->outer[from]]);
  nest_bind(n, s->outer[from], i);
  nest_enter(n);
  inner_loops(n, s, from + 1, chunk);
  nest_leave(n);
  lb_end(n->b);
  n->bound &= ~(1u << s->outer[from]);
}

void lower_map(struct nest *n) {
  struct map_schedule s = map_plan(n);
  struct lb *b = n->b;
  lx chunk = lx_int(b, 0);
  if (n->vector >= 0 && n->body->extent[n->vector] <= n->lanes) // one vector: known from the start
    bind_one_vector(n, lx_int(b, 0), s.tail > 0 ? lx_int(b, s.tail) : NULL);
  if (s.parallel) {
    int64_t pieces = s.chunks;
    for (int i = 0; i < s.n_flat; i++) pieces *= n->body->extent[s.outer[i]];
    lx flat = lb_parallel_for(b, "t", lx_int(b, 0), lx_int(b, pieces), 1);
    if (s.chunks > 1) {
      chunk = lb_let(b, "chunk", lx_modi(flat, s.chunks));
      flat = s.n_flat > 0 ? lb_let(b, "i", lx_divi(flat, s.chunks)) : flat;
    }
    nest_bind_flat(n, s.outer, s.n_flat, flat);
  }
  nest_enter(n);
  inner_loops(n, &s, s.n_flat, chunk);
  nest_leave(n);
  if (s.parallel) lb_end(b);
}
