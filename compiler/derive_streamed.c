#include "regions.h"
struct graph *derive_streamed(const struct graph *g, int64_t panel, note_list *notes, const char **why) { (void)g; (void)panel; (void)notes; *why = "x"; return NULL; }
