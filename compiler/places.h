// places.h: lines of .btg files, to show what a piece of a graph stands for.
#ifndef BTC_PLACES_H
#define BTC_PLACES_H

#include "btc.h"

struct place {
  int file, line;
  const char *name; // "model.btg:12"
  const char *text; // the line without its indentation
};
typedef VEC(struct place) place_list;

// "model.btg:12"; NULL: nowhere.
const char *place_name(const struct btc *b, struct loc at);
// Adds the line at which `at` begins, unless it is nowhere or in the list already.
void places_add(struct btc *b, place_list *list, struct loc at);

#endif
