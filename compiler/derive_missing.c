// derive_missing.c: stands in for derivations whose files are not there.
#include "regions.h"

#if !__has_include("derive_fused.c")
struct graph *derive_fused(const struct graph *g, note_list *notes, const char **why) {
  (void)g, (void)notes;
  *why = "this compiler was built without it";
  return NULL;
}
#endif
#if !__has_include("derive_gram.c")
struct graph *derive_gram(const struct graph *g, note_list *notes, const char **why) {
  (void)g, (void)notes;
  *why = "this compiler was built without it";
  return NULL;
}
#endif
#if !__has_include("derive_streamed.c")
struct graph *derive_streamed(const struct graph *g, int64_t panel, note_list *notes, const char **why) {
  (void)g, (void)panel, (void)notes;
  *why = "this compiler was built without it";
  return NULL;
}
#endif
