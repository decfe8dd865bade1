// graph.h: the typed SSA tensor graph, its ops, its text form, its passes.
//
// A graph is an ordered array of nodes; a node's operands precede it. A node has one result: element
// type, shape (static), memory layout. State, per-step scalars and random keys are leaves; new values
// of parameters and states are the graph's *updates*, committed together at the end of the step.
//
// Passes do not mutate: they read one graph and build another (`struct rewrite`), so a pass is a
// function from graph to graph and every node's history stays valid. Building is checked: a node
// that breaks its op's shape rule dies at once, in the pass that made it.
#ifndef BTC_GRAPH_H
#define BTC_GRAPH_H

#include "btc.h"
#include "../runtime/btrt.h"

#define MAX_RANK BT_MAX_RANK
#define MAX_ATTR 8

// ---- types ------------------------------------------------------------------------------------
typedef enum bt_dtype dtype; // BT_F32 BT_F64 BT_I32 BT_I64 BT_U8 BT_BOOL
const char *dtype_name(dtype t);              // "f32", …, "bool"
bool dtype_parse(const char *s, dtype *out);
bool dtype_is_float(dtype t);
int dtype_size(dtype t);                      // bytes

struct shape { int rank; int64_t dim[MAX_RANK]; };
struct tensor_type { dtype dtype; struct shape shape; };
int64_t shape_count(const struct shape *s);   // elements
bool shape_eq(const struct shape *a, const struct shape *b);
bool type_eq(const struct tensor_type *a, const struct tensor_type *b);
struct shape shape_of(int rank, ...);         // shape_of(2, (int64_t)n, (int64_t)d)
const char *shape_text(struct arena *a, const struct shape *s); // "[256, 32, 14, 14]"
const char *type_text(struct arena *a, const struct tensor_type *t); // "f32[256, 32]"

// ---- ops --------------------------------------------------------------------------------------
enum op {
#define OP(name, ...) OP_##name,
#include "ops.def"
#undef OP
  OP_COUNT
};
enum op_class { LEAF, ELEMENTWISE, MOVE, REDUCE, OPAQUE };
enum op_gradient { GRAD, NOGRAD, FIRST };

struct node;
struct graph;
struct schedule;   // how nodes of a region are lowered (regions.h)
struct grad;       // differentiation in progress (grad.c)
struct tensor64;   // a reference value (interp.h part below)

// An op's rules: one static table per op, all of a family in one file under ops/. The name is
// op_rules_NAME; graph_ops.c collects them through ops.def.
struct op_rules {
  // Shape rule. Fills n->type from operands and attributes where it follows from them, checks it where
  // it was given (n->type.shape.rank >= 0). Returns NULL, or what is wrong (an arena string that names
  // sizes), which the builder turns into a death and graph_parse into a diagnostic.
  const char *(*infer)(struct arena *a, struct node *n);
  // Vector-Jacobian product: from the result's cotangent `dy` (same type as the result), call
  // grad_add(g, i, d) for each operand i that wants one (grad_wants).
  void (*vjp)(struct grad *g, const struct node *n, struct node *dy);
  // Reference evaluation in float64. `out` is allocated and typed. NULL: leaves with a name, and extern.
  void (*eval)(const struct node *n, const struct tensor64 *const *in, struct tensor64 *out);
  // Arithmetic operations of one evaluation; NULL: one per result element (ELEMENTWISE), none (MOVE),
  // one per operand element (REDUCE).
  double (*flops)(const struct node *n);
};
struct op_info {
  const char *name;
  enum op_class class;
  int arity;
  const char *attributes;
  enum op_gradient gradient;
  const char *help;
  const struct op_rules *rules;
};
const struct op_info *op_info(enum op op);
bool op_parse(const char *name, enum op *out);

// Slots of node.attr.i, by op.
enum { CONV_STRIDE = 0, CONV_PAD = 2, CONV_DILATION = 4, CONV_GROUPS = 6 };
enum { POOL_SIZE = 0, POOL_STRIDE = 2, POOL_PAD = 4 };
enum { MATMUL_TA = 0, MATMUL_TB = 1 };
enum { SOLVE_UPPER = 0, SOLVE_TRANSPOSE = 1, SOLVE_UNITRIANGULAR = 2 };
enum { EXTERN_RESULT = 0, EXTERN_OF = 1 };
enum { INPUT_KIND = 0 /* enum bt_input_kind */, INPUT_VIEW = 1, INPUT_SITE = 2 };

struct attr {
  int n;               // integers in use
  int64_t i[MAX_ATTR];
  double f;
  const char *s;       // arena string
};

// ---- nodes ------------------------------------------------------------------------------------
struct node {
  int id;                     // position in graph.nodes
  enum op op;
  int n_in;
  struct node **in;
  struct attr attr;
  struct tensor_type type;
  int block;                  // layout: 0 row-major; c > 0: axis 1 blocked, [d0][d1/c][d2…][c], d1 % c == 0
  struct loc loc;             // the .btg expression it stands for
  const char *path;           // address: instance path and application ("encoder.layer1.0.conv1@a"), or a let name; may be NULL
  const struct schedule *how; // chosen for the region that it belongs to; NULL: the defaults
};

struct graph_output { const char *name; enum bt_output_kind kind; struct node *node; };
struct graph_update { const char *name; struct node *node; }; // parameter or state `name` becomes node
struct graph_label { const char *name; struct node *node; };  // what the program calls it: a `let`, a function's parameter; d_NAME: a parameter's gradient

struct graph {
  struct btc *b;
  const char *name; // the program
  VEC(struct node *) nodes;
  VEC(struct graph_output) outputs;
  VEC(struct graph_update) updates;
  VEC(struct graph_label) labels; // kept as long as their nodes live; the first of a node counts
  struct loc loc;   // given to new nodes
  const char *path; // likewise
  const struct schedule *how; // likewise
  struct graph_memo *memo; // hash-consing of the builder: equal nodes are one node (random sites differ by attribute)
};

struct graph *graph_new(struct btc *b, const char *name);
enum sharing { SHARE_ALL /* the default */, SHARE_LEAVES /* the default under --disable-pass=cse */, SHARE_NONE };
void graph_set_sharing(struct graph *g, enum sharing sharing); // of nodes built from now on
enum sharing graph_sharing(const struct graph *g);
void graph_output(struct graph *g, const char *name, enum bt_output_kind kind, struct node *n);
void graph_update(struct graph *g, const char *name, struct node *n); // replaces an earlier update of `name`
void graph_label(struct graph *g, const char *name, struct node *n);
const char *graph_label_of(const struct graph *g, const struct node *n); // NULL: none

// ---- building ---------------------------------------------------------------------------------
// The general builder. `type` NULL: inferred. Reuses an equal node that exists (CSE by construction).
struct node *graph_node(struct graph *g, enum op op, struct node *const *in, int n_in,
                        const struct attr *attr, const struct tensor_type *type);
// The same with a layout (node.block) for the result.
struct node *graph_node_in_layout(struct graph *g, enum op op, struct node *const *in, int n_in,
                                  const struct attr *attr, const struct tensor_type *type, int block);
// What is wrong with a node by itself (arity, its op's shape rule, its layout), or NULL. Fills in the
// type where it is not given.
const char *node_check(struct arena *a, struct node *n);
unsigned node_axes(const struct node *n); // its attribute `axes` as a set: bit i is axis i

struct node *g_leaf(struct graph *g, enum op op, const char *name, const struct tensor_type *type); // param, state
struct node *g_input(struct graph *g, const char *name, enum bt_input_kind kind, int view, int site, const struct tensor_type *type);
struct node *g_constant(struct graph *g, dtype t, double value);                       // rank 0
struct node *g_full(struct graph *g, const struct tensor_type *type, double value);    // broadcast constant
struct node *g_full_like(struct graph *g, const struct node *like, double value);
struct node *g_iota(struct graph *g, dtype t, const struct shape *shape, int axis);
struct node *g_unary(struct graph *g, enum op op, struct node *x);
struct node *g_binary(struct graph *g, enum op op, struct node *x, struct node *y);    // equal shapes, or one of rank 0
struct node *g_where(struct graph *g, struct node *c, struct node *x, struct node *y); // likewise
struct node *g_scale(struct graph *g, struct node *x, double factor);
struct node *g_cast(struct graph *g, struct node *x, dtype t);
struct node *g_broadcast(struct graph *g, struct node *x, const struct shape *to, const int *axes);
struct node *g_reshape(struct graph *g, struct node *x, const struct shape *to);
struct node *g_transpose(struct graph *g, struct node *x, const int *perm);
struct node *g_slice(struct graph *g, struct node *x, const int64_t *start, const struct shape *size);
struct node *g_pad(struct graph *g, struct node *x, const int64_t *before, const struct shape *to);
struct node *g_concat(struct graph *g, struct node *const *xs, int n, int axis);
struct node *g_relayout(struct graph *g, struct node *x, int block);
struct node *g_reduce(struct graph *g, enum op op, struct node *x, const int *axes, int n_axes); // axes ascending
struct node *g_matmul(struct graph *g, struct node *x, struct node *y, bool transpose_x, bool transpose_y);
struct node *g_conv(struct graph *g, enum op op, struct node *x, struct node *w, const struct attr *attr, const struct tensor_type *type);

// ---- text -------------------------------------------------------------------------------------
// One node a line:   %5 = conv2d(%3, %0) {stride: 2 2, pad: 1 1, dilation: 1 1, groups: 1} : f32[256, 32, 14, 14]{block 16} "encoder.conv1@a" at "model.btg":12:3
// Reads back to an equal graph; tests start from it at any pass. Grammar: graph_text.c.
void graph_print(FILE *out, const struct graph *g);
void graph_print_node(FILE *out, const struct node *n); // without its place
// Parses the whole text of a source: one graph. Equal nodes stay apart, as written;
// whatever is built into the graph later shares with them.
struct graph *graph_parse(struct btc *b, int source); // NULL after diagnostics

// Dies with the pass's name, the offending node and its neighbours, where an invariant is broken.
void graph_verify(const struct graph *g, const char *after_pass);

// ---- rewriting --------------------------------------------------------------------------------
struct rewrite {
  const struct graph *from;
  struct graph *to;
  struct node **map; // from-id -> node of `to`; NULL: not built
  const int *uses;   // graph_use_counts of `from`, for the rules of graph_map
};
struct rewrite rewrite_begin(const struct graph *from);
// The same op over mapped operands, with n's place and address. Does not enter r->map.
struct node *rewrite_copy(struct rewrite *r, const struct node *n);
struct graph *rewrite_end(struct rewrite *r);                       // maps outputs and updates
// The common pass: calls rule(r, n) for each live node in order; NULL from it means copy.
struct graph *graph_map(const struct graph *g, struct node *(*rule)(struct rewrite *r, const struct node *n));
// Per node id: uses by live nodes, outputs and updates; 0 exactly for dead nodes. In the arena.
int *graph_use_counts(const struct graph *g);

// ---- passes -----------------------------------------------------------------------------------
struct pass { const char *name, *help; struct graph *(*run)(const struct graph *g); bool required; };
extern const struct pass pass_table[];
extern const int pass_count;
// For stages after the table (listed in pass.c: layout), which the same options name: whether
// --dump-after names it (or is `all`), whether --stop-after does.
bool pass_dumped(const struct btc *b, const char *name);
bool pass_stops(const struct btc *b, const char *name);
bool pass_options_check(struct btc *b); // diagnoses options that name no pass, or a required one to disable
// Runs the table in order on a differentiated graph: verifies after each, honours --dump-after,
// --stop-after, --disable-pass, --time-passes. *stopped is set where --stop-after hit.
// NULL: an option names no pass (diagnosed).
struct graph *passes_run(struct btc *b, struct graph *g, bool *stopped);

// ---- differentiation --------------------------------------------------------------------------
// Adds to `g` the cotangents of `wrt` for cotangent `seed` of `y` (NULL: 1, y a scalar). out[i] is NULL
// where y does not depend on wrt[i].
void graph_gradients(struct graph *g, struct node *y, struct node *seed, struct node *const *wrt, int n, struct node **out);
struct graph *grad_graph(struct grad *g);
bool grad_wants(const struct grad *g, int operand);
void grad_add(struct grad *g, int operand, struct node *cotangent); // sums where several arrive

// ---- reference interpreter --------------------------------------------------------------------
struct tensor64 { struct tensor_type type; double *data; }; // row-major, whatever the node's layout
struct tensor64 *tensor64_new(struct arena *a, const struct tensor_type *type);
// Evaluates all of `g`; leaf(user, n) supplies input, param and state leaves. Returns values by node
// id, in `a`. `round_f32`: rounds every f32 result to float, to learn an expression's fp32 noise.
struct tensor64 **interp_run(const struct graph *g, struct arena *a, bool round_f32,
                             const struct tensor64 *(*leaf)(void *user, const struct node *n), void *user);
// The same in double, where held[id], if not NULL, is the value of a node, whatever its operands are.
struct tensor64 **interp_run_holding(const struct graph *g, struct arena *a, struct tensor64 *const *held,
                                     const struct tensor64 *(*leaf)(void *user, const struct node *n), void *user);
// The same in double where only outputs are wanted: returns them in order, and holds every other value
// no longer than it is needed, which takes interp_outputs_bytes beside the leaves. `noise`: the key by which
// every f32 result is rounded up or down at random (Monte Carlo arithmetic, Parker 1997); 0: none is.
struct tensor64 **interp_outputs(const struct graph *g, struct arena *a, uint64_t noise,
                                 const struct tensor64 *(*leaf)(void *user, const struct node *n), void *user);
double interp_outputs_bytes(const struct graph *g);

// ---- models: what elaboration makes of a file ----------------------------------------------------
struct view_decl { const char *name; VEC(struct bt_view_step) steps; struct loc loc; };
struct program {
  const char *name;
  struct loc loc;
  struct graph *graph;        // forward; after model_differentiate: the whole step
  struct node *loss;          // NULL: nothing is minimised
  int64_t batch;
  int epochs;
  VEC(struct bt_input) inputs; // what its step may read, live or not: bt_evaluate.labels indexes it
  int64_t image[3];           // channels, height, width of its images; zeros without, and where not known
  VEC(struct bt_load) loads;
  VEC(struct bt_evaluate) evaluates;
  int sites;                  // random sites so far, numbered in order of elaboration
  const char *owner;          // of a pass: the program that it stands in; NULL: no pass
  enum bt_split_kind split;   // that a pass sweeps
  void *optimizer;            // the elaborator's own: what to apply to (parameter, gradient)
};
// Which variant a region should have: of --variant, or of an entry of a `schedule` block (regions.h).
struct variant_request {
  const char *program;         // NULL: any
  const char *address;         // a glob, for the part of addresses behind the program, or for all
  const char *variant;
  int64_t panel, mc, kc, nc;   // its arguments; 0: not given
  struct loc loc, variant_loc; // line 0: the command line
};
// A C function of the user's for one region, which becomes a variant of it by the function's name.
struct kernel_binding {
  const char *program, *address; // as of a request
  const char *function, *source; // C name, path of the C file
  struct loc loc, function_loc;
};
struct model {
  struct btc *b;
  const struct file *file;
  VEC(struct bt_tensor) tensors;     // offsets unset until planning
  VEC(struct view_decl) views;
  VEC(struct program) programs;      // the file's, then their passes
  VEC(struct variant_request) schedule;
  VEC(struct kernel_binding) kernels;
  bool partial;                      // the file has more programs, which `schedule` may mean
  bool scheduled;                    // its programs are variants of regions: simplified, their nodes say how they are lowered
  void *elab;                        // the elaborator's own state
};
// Elaborates a parsed file and its imports. Diagnoses; check b->n_errors.
struct model *model_elaborate(struct btc *b, const struct file *f);
// Appends backward and optimiser to the program's graph: gradients of `loss`, updates of parameters.
void model_differentiate(struct model *m, struct program *p);
// One function of the file as a program: inputs are its tensor parameters with the given types (by
// name; static ones take `values`), output `out`, and with `gradients` outputs dNAME for every float
// input and for every parameter that it reads through instances (cotangent input `dout` unless the
// result is a scalar and no type for `dout` is given).
// What it takes: the declaration of the function, or of the (first) module of the instance, of this name
// in the file or its imports. NULL after a diagnostic.
const struct decl *model_signature(struct model *m, const char *function);
struct named_type { const char *name; struct tensor_type type; const double *scalar; };
struct program *model_function(struct model *m, const char *function, const struct named_type *args, int n_args, bool gradients);
const struct bt_tensor *model_tensor(const struct model *m, const char *name);

#endif
