// native.c: see native.h.
//
// A C file of the user's is compiled once, whatever number of its functions are called. The header of
// each function, which declares it with this model's sizes, is included before the file: then a
// function of another signature is an error in the user's file and not a crash in training, and a
// copy of the header that the file includes itself, maybe of other sizes, is guarded out.
#include "native.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "codegen_internal.h"
#include "process.h"
#include "regions.h"

static const struct loc nowhere;

const char *native_description(struct btc *b, const struct host *host) {
  return str_printf(b->arena, "btc %s: %s %s", BTC_VERSION, host->command, host_flags(b, host));
}

static FILE *open_for_writing(struct btc *b, const char *path) {
  FILE *f = fopen(path, "w");
  if (!f) diag_error(b, nowhere, "cannot write %s: %s", path, strerror(errno));
  return f;
}

static bool close_written(struct btc *b, FILE *f, const char *path) {
  bool good = !ferror(f);
  if (fclose(f)) good = false;
  if (!good) diag_error(b, nowhere, "cannot write %s: %s", path, strerror(errno));
  return good;
}

static bool write_c(const struct codegen *cg, const struct host *host, const char *path, bool shared) {
  struct btc *b = cg->model->b;
  FILE *f = open_for_writing(b, path);
  if (!f) return false;
  codegen_emit_c(f, cg, native_description(b, host), shared);
  return close_written(b, f, path);
}

// ---- the user's functions ---------------------------------------------------------------------

typedef VEC(const struct user_kernel *) user_kernel_list;

// One header declares a function, so two regions cannot share one.
static bool add_kernel(struct btc *b, user_kernel_list *list, const struct user_kernel *u) {
  for (int i = 0; i < list->len; i++) {
    if (!str_eq(list->data[i]->function, u->function)) continue;
    if (str_eq(list->data[i]->header, u->header) && str_eq(list->data[i]->source, u->source)) return true;
    diag_error(b, u->loc, "'%s' already computes another region; each needs a function of its own", u->function);
    diag_note(b, list->data[i]->loc, "here");
    return false;
  }
  vec_push(b->arena, list, u);
  return true;
}

static bool find_kernels(const struct codegen *cg, user_kernel_list *list) {
  bool good = true;
  for (int i = 0; i < cg->distinct.len; i++) {
    const struct node *n = cg->distinct.data[i]->roots.data[0].node;
    if (n->op == OP_extern && n->how && n->how->user) good &= add_kernel(cg->model->b, list, n->how->user);
  }
  return good;
}

static struct host_source *source_of(struct arena *a, host_source_list *sources, const struct user_kernel *u, const char *c_file) {
  for (int i = 0; i < sources->len; i++)
    if (str_eq(sources->data[i].path, u->source)) return &sources->data[i];
  const char *object = str_printf(a, "%s.%d.o", c_file, sources->len);
  vec_push(a, sources, ((struct host_source){.path = u->source, .object = object, .loc = u->loc}));
  return &sources->data[sources->len - 1];
}

static bool write_header(struct btc *b, struct host_source *s, const struct user_kernel *u, const char *c_file) {
  const char *slash = strrchr(c_file, '/');
  int folder = slash ? (int)(slash + 1 - c_file) : 0;
  const char *path = str_printf(b->arena, "%.*s%s.h", folder, c_file, u->function);
  FILE *f = open_for_writing(b, path);
  if (!f) return false;
  fputs(u->header, f);
  vec_push(b->arena, &s->headers, path);
  vec_push(b->arena, &s->functions, u->function);
  return close_written(b, f, path);
}

static bool compile_sources(const struct codegen *cg, const struct host *host, const char *c_file, bool shared, host_source_list *sources) {
  struct btc *b = cg->model->b;
  user_kernel_list kernels = {0};
  bool good = find_kernels(cg, &kernels);
  for (int i = 0; good && i < kernels.len; i++)
    good = write_header(b, source_of(b->arena, sources, kernels.data[i], c_file), kernels.data[i], c_file);
  bool written = good;
  for (int i = 0; written && i < sources->len; i++) good &= host_compile_source(b, host, &sources->data[i], shared); // every one has its say
  for (int i = 0; good && i < sources->len; i++) good = source_open(b, sources->data[i].path, sources->data[i].loc) >= 0; // the trainer names it
  return good;
}

static void remove_files(const host_source_list *sources) {
  for (int i = 0; i < sources->len; i++) {
    unlink(sources->data[i].object);
    for (int j = 0; j < sources->data[i].headers.len; j++) unlink(sources->data[i].headers.data[j]);
  }
}

bool native_build(const struct codegen *cg, const struct host *host, const char *c_file, const char *out, bool shared) {
  host_source_list sources = {0};
  process_hold_signals();
  bool good = compile_sources(cg, host, c_file, shared, &sources) && write_c(cg, host, c_file, shared) &&
              host_compile(cg->model->b, host, c_file, codegen_parts(cg), out, shared, &sources);
  remove_files(&sources);
  process_release_signals();
  return good;
}
