// regions.h: parts of a graph that can be computed in several ways.
//
// A *region* is an outlined part of a program's graph, forward and backward together. It has
// *variants*: graphs with the region's inputs and outputs, each equal to the first under the
// interpreter, and each with a schedule that says how its nodes are lowered. They live side by side until one is chosen:
// by --variant, by a `schedule` block of the file, by what `btc tune` measured on this processor, else
// by predicted cost. The chosen graph is spliced into the program's, its nodes marked with its schedule
// (node.how), which fusion and lowering read.
//
//   outline.c       finds regions
//   region.c        names them, takes them out, puts variants in their place
//   variants.c      derives their variants
//   bind.c          makes a variant of a C function of the user's
//   cost.c          predicts what a variant costs
//   choose.c        chooses
//   derive_*.c      the algebra: one derivation a file, graph to graph
//
// Addresses are stable under unrelated edits: program/instance.path/role@application, a `let` name, or
// program/objective for the region that holds the loss.
#ifndef BTC_REGIONS_H
#define BTC_REGIONS_H

#include "graph.h"
#include "loops.h"
#include "target.h"

// A C function of the user's that computes a region (docs/variants.md).
struct user_kernel {
  const char *function; // C name
  const char *source;   // path of the C file
  const char *header;   // its prototype and sizes as C (prototype.h); included before the file
  struct loc loc;       // where the .btg file binds it
  const char *const *arguments; // names in the prototype, in its order
};

// How nodes are lowered. Zeros are the defaults: products by our own kernels with what surrounds them
// fused in, block sizes by shape.
struct schedule {
  const char *variant; // the name of what was chosen
  const char *region;  // the address of what it was chosen for; NULL: a variant by itself
  bool plain;          // nothing is fused into products: operands and results are stored
  bool blas;           // products are calls of BLAS
  int64_t mc, kc, nc;  // blocks of our own products; 0: by shape
  const struct user_kernel *user;
};

// What a variant would cost as code generation lowers it.
struct variant_cost {
  double flops, bytes;      // arithmetic; least memory traffic of its kernels
  size_t temporaries;       // arena bytes beside inputs and outputs
  int kernels;
  double seconds;           // predicted, by roofline; NAN, like flops: a function of the user's, which nobody knows
};

struct rewrite_note { const char *text; struct loc loc; }; // what a derivation did, for `btc explain`
typedef VEC(struct rewrite_note) note_list;

struct variant {
  const char *name, *help;
  unsigned takes;           // bit i: the argument variant_arguments[i]
  struct graph *graph;      // inputs in0, in1, … (BT_INPUT_ARRAY), outputs out0, … (BT_OUTPUT_VALUE)
  struct schedule schedule;
  int64_t panel;            // of `streamed`; 0: chosen by its derivation
  note_list notes;          // of its derivation
  bool priced;
  struct variant_cost cost; // where `priced`
};
struct refusal { const char *name, *why; }; // a variant that was not derived

struct region {
  const char *address;      // "pretrain/objective"
  struct loc loc;
  VEC(struct node *) inputs, outputs; // of the program's graph: what comes in, what is used outside
  VEC(const char *) input_names, output_names; // for people and for C prototypes; distinct identifiers
  VEC(struct node *) nodes;
  VEC(struct variant) variants;       // the first is the plain meaning
  VEC(struct refusal) refused;
  bool derived;             // all variants that there are have been derived
  int chosen;
  const char *chosen_by;    // "default", "cost", "--variant", "schedule", "tuned"
};
struct regions { VEC(struct region) list; };

// ---- finding and replacing --------------------------------------------------------------------
// The regions of a simplified whole-step graph, each with its plain variant alone, which is chosen.
struct regions *outline(const struct graph *g);
// The graph with each region replaced by its chosen variant.
struct graph *regions_splice(const struct graph *g, const struct regions *rs);
// A copy in which every node that computes has the schedule.
struct graph *graph_scheduled(const struct graph *g, const struct schedule *how);

// ---- variants -----------------------------------------------------------------------------------
// One of those that the compiler knows, by name.
struct variant variant_new(const char *name, struct graph *g);
// What a variant of this name takes (struct variant); ~0u: only the region knows, as of a function of the user's.
unsigned variant_takes(const char *name);
// The names of those that take argument i: "`unfused`, `fused` and `gemm`".
const char *variant_takers(struct arena *a, int i);
// Derives every variant that there is and notes the refusals.
void region_derive(struct region *r);
// Derives the variant of this name (again) with the panel given. NULL, or why not.
const char *region_derive_panel(struct region *r, const char *name, int64_t panel);
int region_variant(const struct region *r, const char *name); // index; -1: none
// Adds the variant that calls a function of the user's. False after a diagnostic.
bool region_bind(struct btc *b, struct region *r, const struct kernel_binding *k);
void region_price(struct region *r, const struct target *t);  // all variants that it has
// What a graph costs as code generation lowers it (cost.c).
struct variant_cost graph_cost(const struct graph *g, const struct target *t);
// The same of one kernel: what its arithmetic, its memory traffic and its start take; all together.
struct kernel_time { double arithmetic, traffic, launch, seconds; };
struct kernel_time kernel_time(const struct loop_kernel *k, const struct target *t);

// ---- choosing (choose.c) ------------------------------------------------------------------------
// Arguments of variants, as in streamed(panel: 512): numbers from 1. Above the most nothing differs, in matrices that
// a memory holds, but sizes of blocks might not fit into 64 bits.
enum { ARGUMENT_PANEL, ARGUMENT_MC, ARGUMENT_KC, ARGUMENT_NC, VARIANT_ARGUMENTS };
enum { VARIANT_ARGUMENT_MOST = 1 << 20, VARIANT_TRIED = 4 };
struct variant_argument_row {
  const char *name;
  size_t offset;                // in struct variant_request
  int64_t tried[VARIANT_TRIED]; // values that btc tune tries, ascending; 0: no more
};
extern const struct variant_argument_row variant_arguments[VARIANT_ARGUMENTS];
int64_t *variant_argument(struct variant_request *r, int i);
bool variant_argument_fits(int64_t value);
// What is wrong with its arguments for a variant that takes these (struct variant), or NULL.
const char *variant_request_fault(struct arena *a, const struct variant_request *r, unsigned takes);
// ADDRESS=NAME or ADDRESS=NAME(key: value, …). NULL, or what is wrong.
const char *variant_request_parse(struct arena *a, const char *text, struct variant_request *out);

// Whether a request for `pattern` means the region: choose.c says how.
bool region_matches(const char *pattern, const char *address);
// What to say of an address that means nothing: "; did you mean 'objective'?", or else `otherwise`.
const char *region_near(struct arena *a, const char *wanted, const char *const *addresses, int n, const char *otherwise);
extern const char region_listed[]; // where to find the addresses that there are

// The choices for the programs of one compilation: of --variant, else the file's schedule, else what was
// tuned, else cost.
struct choices;
struct choices *choices_begin(const struct model *m, const struct target *t);
void choices_make(struct choices *c, struct regions *rs); // of one program; diagnoses
void choices_end(struct choices *c);                      // diagnoses requests that met no region
// What was measured to be best for this region on this processor; false: nothing was.
bool tuned_choice(const struct region *r, const struct target *t, struct variant_request *out);

// ---- derivations ------------------------------------------------------------------------------
// From a region's plain graph to another with the same inputs and outputs, or NULL with *why saying,
// for people, what stood in the way. Simplified already (fold, dce). `notes` collects what was done.
// Products with everything of their shape made pointwise, so that it fits into their epilogues.
struct graph *derive_fused(const struct graph *g, note_list *notes, const char **why);
// Sums of squares of products as Gram products, chains reassociated: no D x D value is left.
struct graph *derive_gram(const struct graph *g, note_list *notes, const char **why);
// The fused form, panel of columns by panel (of rows where a softmax of rows wants that): no D x D value is
// left. panel 0: chosen.
struct graph *derive_streamed(const struct graph *g, int64_t panel, note_list *notes, const char **why);

#endif
