// codegen_internal.h: what codegen.c hands to emit_module.c, and what emission shares.
#ifndef BTC_CODEGEN_INTERNAL_H
#define BTC_CODEGEN_INTERNAL_H

#include "codegen.h"
#include "kernels.h"
#include "regions.h"

struct codegen_program {
  const struct program *program;
  struct regions *regions;
  struct fusion *fusion;
  struct plan plan;
  VEC(int) tensors;           // of the model's, which this program reads or writes
  int64_t parameters, states; // bytes of them
  int64_t trained;            // scalars of parameters that it updates
  double flops;
};

struct codegen {
  struct model *model;
  struct target target;
  struct arena *arena;
  VEC(struct codegen_program) programs;
  VEC(struct kernel *) distinct; // the first kernel of each set of equal ones
  size_t store_bytes;
};

// Orders f's kernels and lowers them, with their workspaces; plan_arena may follow.
void codegen_lower(struct fusion *f, const struct target *t);

// ---- emission: emit_module.c, emit_provenance.c ---------------------------------------------------
void emit_string(FILE *out, const char *s); // a C literal, or NULL

// Emits the tables of what the trainer is made of: files and options.
struct emitted_provenance { int n_sources, n_options; };
struct emitted_provenance emit_provenance(FILE *out, const struct model *m);
void emit_provenance_fields(FILE *out, const struct emitted_provenance *provenance); // in struct bt_module

#endif
