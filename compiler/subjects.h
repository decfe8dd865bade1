// subjects.h: what a command line asks for: a file's programs or one of them, or a function with its
// gradients at given shapes; and its regions, which `btc bench` and `btc tune` work on.
#ifndef BTC_SUBJECTS_H
#define BTC_SUBJECTS_H

#include "options.h"
#include "regions.h"

// The model with what s names alone: --program; --function with --shape and -D; neither: all programs.
// NULL after diagnostics.
struct model *subject_model(struct btc *b, const struct settings *s);

typedef VEC(struct region *) subject_list;

// Derives the variants of the regions of what s names, and chooses as a compilation would. Operands after the file name regions, by address or glob; without
// them those that have more than one variant are meant. False after diagnostics.
bool subjects_find(struct btc *b, const struct settings *s, const struct target *t, subject_list *list);

#endif
