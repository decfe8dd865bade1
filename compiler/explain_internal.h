// explain_internal.h: what the two forms of `btc explain` share.
#ifndef BTC_EXPLAIN_INTERNAL_H
#define BTC_EXPLAIN_INTERNAL_H

#include "codegen_internal.h"
#include "explain.h"
#include "places.h"

// The least time of a kernel: its arithmetic at the processor's rate, or its traffic at memory's.
struct bound {
  double arithmetic, traffic; // seconds
  bool known;                 // false: a function of the user's
};
struct bound explain_bound(const struct codegen *cg, const struct kernel *k);
double bound_seconds(struct bound b);

bool explain_selects(const struct codegen *cg, const struct kernel *k, const char *pattern);
// Where a buffer lies, or what it is: "arena+4096", "parameter encoder.conv1.weight", "output loss".
const char *explain_place(const struct codegen_program *p, const struct buffer *b);
const char *explain_type(struct arena *a, const struct buffer *b);
// Lines of the source that the kernel computes: results first, then what is inlined into them.
place_list explain_lines(const struct codegen_program *p, const struct kernel *k);

#endif
