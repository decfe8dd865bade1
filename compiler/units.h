// units.h: quantities for people to read.
#ifndef BTC_UNITS_H
#define BTC_UNITS_H

#include "btc.h"

const char *unit_bytes(struct arena *a, double bytes);     // "6.1 MiB"
const char *unit_flops(struct arena *a, double flops);     // "57.8 MFLOP"
const char *unit_seconds(struct arena *a, double seconds); // "1.63 ms"; "?" where it is not known

#endif
