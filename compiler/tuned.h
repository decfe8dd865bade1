// tuned.h: what `btc tune` measured, kept for later compilations.
//
// The store is one JSON file, $BTC_TUNED, else $XDG_CACHE_HOME/btc/tuned.json, else
// ~/.cache/btc/tuned.json. Its entries stand under the processor (name, threads, vector lanes) and the
// *shape* of a region: its plain graph's ops and types, without names, places and the values of
// constants. So another file with the same objective at the same sizes profits, and a change of either
// does not get a choice that was made for something else. choose.c reads it by tuned_choice (regions.h).
#ifndef BTC_TUNED_H
#define BTC_TUNED_H

#include "regions.h"

// Where the store is. NULL: off (BTC_TUNED is empty, --no-tuned, or there is no home).
const char *tuned_path(struct btc *b);
// The region's shape in 16 hexadecimal digits.
const char *tuned_shape(struct arena *a, const struct region *r);

struct tuned_entry {
  const char *shape;
  struct variant_request request;  // variant and its arguments
  double seconds, default_seconds; // measured: of the best, of what would have been chosen without
};
// Puts the entry into the store, replacing an older one of its shape; the file changes whole or not at all.
// False after a diagnostic.
bool tuned_add(struct btc *b, const struct region *r, const struct target *t, int threads, const struct tuned_entry *entry);

#endif
