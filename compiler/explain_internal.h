// explain_internal.h: what the two forms of `btc explain` share.
#ifndef BTC_EXPLAIN_INTERNAL_H
#define BTC_EXPLAIN_INTERNAL_H

#include "codegen_internal.h"
#include "explain.h"
#include "places.h"

// "compute-bound", "memory-bound", or for little work "launch-bound"; "unknown" for a function of the user's.
const char *explain_bound(const struct kernel *k, struct kernel_time t);
// The region of which a kernel computes a part; NULL: none, or a single op that is computed as it always is.
const char *explain_region(const struct kernel *k);
bool explain_selects(const struct codegen *cg, const struct kernel *k, const char *pattern);
// Where a buffer lies, or what it is: "arena+4096", "parameter encoder.conv1.weight", "output loss".
const char *explain_place(const struct codegen_program *p, const struct buffer *b);
const char *explain_type(struct arena *a, const struct buffer *b);
// Lines of the source that the kernel computes: results first, then what is inlined into them.
place_list explain_lines(const struct codegen_program *p, const struct kernel *k);
// The part of the text that is about regions.
void explain_regions(FILE *out, const struct codegen *cg, const struct codegen_program *p, const char *pattern);

#endif
