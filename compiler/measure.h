// measure.h: graphs that compute the same, compiled together, checked against the float64 interpreter
// and timed side by side: `btc bench`, `btc tune`.
//
//   struct measurement *m = measure_open(b, candidates, n, &setup);   // one shared object
//   struct reference *want = measure_reference(m, candidates, n, 4e9); // outputs in float64
//   measure_check(m, want);                                           // errors
//   measure_run(m, NULL, (struct budget){.seconds = 3, .least = 5});  // rounds; more of them, any time
//   struct measured r = measure_result(m, 0);
//   measure_close(m);
//
// All candidates read the same random inputs and work in the same memory. Rounds are interleaved: in
// each, every candidate runs once (a fast one several times), so that what disturbs the machine for a
// while disturbs all of them alike. Medians and quartiles over the rounds are reported.
#ifndef BTC_MEASURE_H
#define BTC_MEASURE_H

#include "compiled.h"
#include "graph.h"

// Tells a wrong kernel from rounding: what single precision leaves of the largest entry of a result. Where
// a result is itself hardly more than rounding (a difference of equals, a gradient of zero), more is allowed: what
// rounding every value on the way makes of it.
#define MEASURE_TOLERANCE 2e-5

// Inputs and outputs of one name are one; all candidates have the same outputs. Nodes are lowered as their `how` says.
struct candidate {
  const char *name;
  struct graph *graph; // no parameters, states or updates
};

struct measure_setup {
  const struct host *host;
  int threads; // 0: the cores that this process may use
  uint64_t seed;
  bool keep_c;
  const char *what; // what is measured, for progress on standard error; NULL: silent
};

struct quartiles { double least, low, median, high; }; // seconds; low and high: of a quarter each
// Interpolated between the samples' order statistics; sorts them. n > 0.
struct quartiles quartiles_of(double *samples, int n);

struct measured {
  bool failed;              // it does not compile, and there is nothing else to say
  struct quartiles seconds; // of one run; zeros before the first round
  int rounds;
  double flops, bytes;      // arithmetic and least memory traffic of its kernels
  size_t temporaries;       // arena bytes
  double error;             // worst difference over outputs, relative to the output's largest entry
  const char *worst;        // the output that has it; NULL: not checked
  bool wrong;               // by more than rounding
};

struct measurement;
// Compiles and loads. Where some do not compile, the C compiler's messages and a diagnostic are printed, and the
// others are measured. NULL after a diagnostic.
struct measurement *measure_open(struct btc *b, const struct candidate *candidates, int n, const struct measure_setup *setup);

// What the outputs are in float64: of the first of n candidates, which need not be measured themselves, or, where
// that would take more memory than `bytes`, of the one that takes least. It serves other measurements of the same
// inputs and seed too.
struct reference {
  struct arena *arena;
  int candidate;
  const struct graph *graph;
  struct tensor64 **outputs; // in the order of the graph's
  double *noise;             // by output: its relative error by rounding; NULL: nobody has asked
};
struct reference *measure_reference(struct measurement *m, const struct candidate *candidates, int n, double bytes);
void reference_free(struct reference *r);
// Runs every candidate once and compares.
void measure_check(struct measurement *m, struct reference *want);
// Times the candidates with active[i] (NULL: all) for about so many seconds, but `least` rounds at least, and
// no more than `most` (0: any number).
struct budget { double seconds; int least, most; };
void measure_run(struct measurement *m, const bool *active, struct budget budget);
struct measured measure_result(const struct measurement *m, int i);
void measure_close(struct measurement *m);

#endif
