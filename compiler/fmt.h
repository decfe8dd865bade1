// fmt.h: canonical source text (`btc fmt`).
#ifndef BTC_FMT_H
#define BTC_FMT_H

#include "btc.h"

enum { FMT_WIDTH = 110 }; // columns that lines keep to where they can be broken

// The registered source in canonical form, an arena string. NULL after diagnostics where it has syntax errors.
const char *fmt_source(struct btc *b, int source);

#endif
