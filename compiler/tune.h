// tune.h: the search for the fastest way to compute a region.
#ifndef BTC_TUNE_H
#define BTC_TUNE_H

#include "measure.h"
#include "regions.h"

// A variant with arguments, tried.
struct tune_point {
  struct variant_request request;
  int variant;       // of the region
  double seconds;    // the fastest round of its latest measurement
  int rounds;        // in that
  double error;
  bool wrong;        // by more than rounding: out of the running
  bool failed;       // it does not compile: likewise
};
struct tune_result {
  VEC(struct tune_point) points; // in the order tried
  int base;                      // what compilation would choose
  int best;
};

// Searches for about so many seconds, compiling included. False after a diagnostic.
bool tune_region(struct btc *b, struct region *r, const struct measure_setup *setup, double seconds, struct tune_result *out);
// "streamed(panel: 512, kc: 256)".
const char *tune_text(struct arena *a, const struct variant_request *request);

#endif
