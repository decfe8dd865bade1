// subjects.h: the regions that `btc bench` and `btc tune` work on: of a file's programs, or of one function
// with gradients at given shapes.
#ifndef BTC_SUBJECTS_H
#define BTC_SUBJECTS_H

#include "options.h"
#include "regions.h"

typedef VEC(struct region *) subject_list;

// Reads the file as s says (--program; --function with --shape and -D), derives the variants of its regions
// and chooses as a compilation would. Operands after the file name regions, by address or glob; without
// them those that have more than one variant are meant. False after diagnostics.
bool subjects_find(struct btc *b, const struct settings *s, const struct target *t, subject_list *list);

#endif
