// elab.h: elaboration, from the tree of a file to graphs. Shared by elab_*.c; nobody else includes
// it.
//
// Elaboration is partial evaluation. The tree is interpreted once for each program: what is static
// (numbers, strings, lists, modules, instances) is evaluated, calls are inlined, `if` and `for`
// splice their bodies, and what touches a tensor appends nodes to the program's graph. Shapes are
// known at every moment, so a mistake is reported where it is met, with the chain of calls that led
// there.
//
//   elab_model.c     the doors of graph.h: a file's model, one of its functions
//   elab_program.c   programs: data, loss, reports, evaluations
//   elab_pass.c      passes over a split, and what they keep
//   elab_optim.c     backward and optimiser
//   elab_ema.c       averages of instances: ema(encoder, decay: d)
//   elab_view.c      views of images
//   elab_schedule.c  `schedule` blocks
//   elab_stmt.c      statements of functions and modules
//   elab_call.c      arguments, functions, modules, instances
//   elab_expr.c      expressions on static values
//   elab_index.c     indices and slices
//   elab_tensor.c    alignment, operators on tensors
//   elab_type.c      types of signatures, names of axes
//   elab_builtin.c   the functions that the language has; elab_reduce.c, elab_shape.c, elab_take.c,
//                    elab_einsum.c, elab_triangular.c, elab_random.c: their families
//   elab_check.c     bodies that nothing applies
//   elab_lint.c      state updates that no gradient accompanies
//   elab_scope.c     names, frames, diagnostics
//   elab_unit.c      files, imports, -D
//   elab_limits.c    limits on what is evaluated
//   elab_value.c     values and their texts
//
// An error leaves a *poisoned* value (V_ERROR). Whatever touches one is poisoned in silence, so one
// mistake gives one message and elaboration goes on.
#ifndef BTC_ELAB_H
#define BTC_ELAB_H

#include "ast.h"
#include "graph.h"

struct elab;
struct frame;
struct unit;
struct entry;
struct instance;
struct average;
struct data;
struct builtin;
struct view_run;

// ---- axes -------------------------------------------------------------------------------------
// The name of an axis, as one frame uses it: `n` in z: f32[n, d]. Axes are compared by address. A
// callee's axis remembers the axis of its caller that it stands for, so results can be named again.
struct axis {
  const char *name;
  int64_t size;
  bool sized; // the name is an integer's: it says how many, not which axis
  struct frame *frame;
  struct axis *outer; // of the caller; NULL: nameless there
  struct loc loc;     // where the name got its size
  const char *where;  // "parameter `z`"
};
struct pack {
  const char *name;
  int n;
  struct axis *axes[MAX_RANK];
  struct loc loc;
};

// ---- values -----------------------------------------------------------------------------------
enum value_kind {
  V_ERROR,    // poisoned
  V_INT,      // integer; `axis` where it is the size of a named axis
  V_FLOAT,    // number
  V_BOOL,     // integer
  V_STRING,   // string
  V_LIST,     // list
  V_RANGE,    // low..high, both static numbers; `integral` where both are integers
  V_TENSOR,   // node, axes; a run-time scalar has rank 0
  V_TUPLE,    // list: several results
  V_FN,       // entry
  V_MODULE,   // entry; config NULL: not configured yet
  V_INSTANCE, // instance
  V_VIEW,     // entry; config
  V_BUILTIN,  // builtin
  V_UNIT,     // a file imported `as` a name
  V_DATA,     // images as stored; only views accept them
  V_INIT,     // how a parameter starts: uniform(a, b), normal(mean, sd)
};
enum mode { MODE_INHERIT, MODE_EVAL, MODE_FROZEN }; // of an application; callables only

struct value;
struct value_list {
  int len, cap;
  int64_t size; // items, those of the lists in it included, however often one is in it
  struct value *data;
};

struct value {
  enum value_kind kind;
  enum mode mode;
  struct average *average; // applied with its parameters; callables only
  struct loc loc;          // the expression that gave it
  union {
    int64_t integer;
    double number;
    const char *string;
    struct value_list *list;
    struct {
      double low, high;
      bool integral;
    };
    struct node *node;
    struct {
      struct entry *entry;
      struct value *config; // one value per parameter
    };
    struct instance *instance;
    const struct builtin *builtin;
    struct unit *unit;
    struct data *data;
    struct bt_init init;
  };
  struct axis *axis;           // V_INT
  struct axis *axes[MAX_RANK]; // V_TENSOR; NULL: nameless
};

struct value value_error(void);
struct value value_int(struct loc loc, int64_t i);
struct value value_float(struct loc loc, double x);
struct value value_bool(struct loc loc, bool b);
struct value value_string(struct loc loc, const char *s);
struct value value_list(struct elab *e, struct loc loc, enum value_kind kind);
void value_append(struct elab *e, struct value *list, struct value item);
struct value value_tensor(struct loc loc, struct node *n);      // axes nameless
// A callable, and with a list all in it, to be applied at least in `mode`, and with `average` (NULL: as
// it is).
struct value value_applied(struct elab *e, struct value v, enum mode mode, struct average *average);
bool value_is_number(const struct value *v);                    // V_INT or V_FLOAT
double value_number(const struct value *v);                     // of one that is
bool value_is_callable(const struct value *v);                  // may be applied to tensors
bool value_equal(const struct value *a, const struct value *b); // static values
int64_t value_size(const struct value *v);                      // of a list its items, else 1
int value_rank(const struct value *tensor);
int64_t value_dim(const struct value *tensor, int axis);
// "f32[n=256, d=64]", "int 3", "module `conv`": for messages.
const char *value_text(struct elab *e, const struct value *v);
const char *tensor_text(struct elab *e, const struct value *v);

// ---- names ------------------------------------------------------------------------------------
// A declaration of a file, evaluated when first needed.
struct entry {
  const char *name;
  const struct decl *decl;
  struct unit *unit; // where it was declared
  enum { ENTRY_UNSEEN, ENTRY_BUSY, ENTRY_DONE } state;
  struct value value; // constants and instances, when done
  bool applied;       // functions, modules and views
};
struct import {
  struct unit *unit;
  const char *as;
  struct loc loc;
};
struct unit {
  const char *path; // as opened
  const struct file *file;
  VEC(struct entry *) entries;
  VEC(struct import) imports;
  bool busy;       // its imports are being read
  bool incomplete; // one of them failed: names may be missing
  bool main;
};

struct binding {
  const char *name;
  struct value value;
  struct loc loc;
  const char *state; // its full name, for states
  struct loc let;    // `let name`; line 0: bound otherwise, or among others
};

// One activation: of a function, module, view, program, or of a declaration's expression.
struct frame {
  struct frame *caller;
  struct unit *unit;
  const struct decl *decl;   // NULL: a file's own expressions
  struct loc call;           // the place in the caller
  struct instance *instance; // whose module it is
  const char *address;       // for node.path
  const char *prefix;        // for names of parameters and instances: "encoder.layer1", or NULL
  struct average *average;   // whose parameters its modules read in place of their own; NULL: none
  struct application *within; // the outermost application that trains; NULL: none
  struct application *list;   // of the list that is being applied here
  bool training;
  enum bt_role state_role;
  int depth;
  VEC(struct binding) locals; // the last of a name counts
  VEC(struct axis *) axes;
  VEC(struct pack *) packs;
  VEC(struct name_at) owned; // params, states and instances declared so far in this activation
  struct view_run *view;     // of a view's body
  struct value result;       // after `return`
  bool returned;
  bool unfinished; // a statement failed: a result or an output that is missing is no mistake of its own
  // While its arguments are checked: the caller, whose mistake it would be.
  struct frame *reports_as;
};

// A module with configuration under a name. Its parameters live under `path`.
struct instance {
  struct entry *module;
  struct value *config;
  const char *path; // NULL: inline
  struct loc loc;   // where it is bound
  bool applied;
  VEC(struct binding) children; // instances bound in its body, by name; kept between applications
};

// target = ema(encoder, decay: d): the modules of `encoder` applied with other parameters and states,
// which follow those of `encoder`. Nothing of the modules is doubled: only names of tensors change,
// encoder.conv1.weight to target.conv1.weight.
struct average_root {
  const char *of;    // path of an instance
  const char *under; // where its tensors are, from the average's path: "", or ".0" in a list
};
struct average {
  const char *path; // NULL: not bound yet
  struct loc loc;
  VEC(struct average_root) roots;
  const struct expr *decay; // evaluated in every program that trains what is averaged
  struct frame *frame;      // there
  bool applied;
};

// What a parameter or state was fixed to, and where.
struct tensor_site {
  const struct frame *applied;
  struct average *average; // whose it is; NULL: none's
};
// An application in training mode, and all that it applies in turn.
struct application {
  struct loc call;
  struct value result;
  const char *state; // the first that it updates; NULL: none
  struct loc update;
  VEC(const char *) parameters;
};
// How often an instance, or an average's, was applied in the program so far.
struct application_count {
  const char *path;
  int n;
};

// `keep bank: f32[60000, _] = …`: what passes after it see.
struct kept {
  const char *name;
  struct loc loc;
  struct value value;       // a leaf of no program's graph
  const struct program *by; // the pass
  bool read;
};

// `data x: u8[batch, 3, _, _]`
struct data {
  const char *name;
  struct loc loc;
  int64_t dim[4]; // 0: not known
  struct axis *axes[4];
};

struct library_name {
  const char *name, *file; // declared by std.FILE
};

struct elab {
  struct btc *b;
  struct model *model;
  VEC(struct unit *) units; // the first is the main file
  VEC(struct instance *) instances;
  VEC(struct average *) averages;
  VEC(struct tensor_site) sites;  // beside model->tensors
  VEC(struct program *) programs; // all, so that `load` may name a later one
  VEC(struct program *) passes;   // of all of them
  struct program *program;        // being elaborated; NULL: none
  struct graph *graph;            // its graph
  bool minimizes;                 // it has a `minimize`
  VEC(struct kept) kept;          // by its passes so far
  VEC(struct name_at) reported;   // its reports
  VEC(struct application_count) applications; // in it
  VEC(struct application *) trained; // in it, in training mode
  int64_t rows;                   // of the first array of its data
  VEC(struct name_at) loaded;     // what follows `load`: "encoder.layer1"
  VEC(struct binding) defined;    // constants that -D rebinds
  int nesting;                    // calls and declarations in progress
  bool checking;                  // a body that nothing applies, on values that are not known (V_ERROR)
  int levels;                     // expressions in progress
  int64_t steps;                  // taken so far
  bool exhausted;                 // too many: nothing more is evaluated
  VEC(struct library_name) library; // what the standard library declares, once it was asked for
  bool muted;                     // the latest error was said before: so are its notes
  int64_t repeated;               // errors that were said before: a loop ends with its first one, and too many end all
};

// ---- elab_scope.c -----------------------------------------------------------------------------
// Errors are reported once for a place and text, whichever application met them, and are followed
// by notes that show the calls that led there.
void elab_error(struct elab *e, const struct frame *f, struct loc loc, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void elab_note(struct elab *e, struct loc loc, const char *format, ...)
    __attribute__((format(printf, 3, 4))); // of the latest error, if it was reported
void elab_fixit(struct elab *e, const char *replacement);
void elab_note_fixit(struct elab *e, const char *replacement); // of the latest note
void elab_warning(struct elab *e, struct loc loc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// ", did you mean `x`?" or "".
const char *did_you_mean(struct elab *e, const char *word, const char *const *candidates, int n);
struct unit *unit_load(struct elab *e, const struct file *file, const char *path);
void unit_apply_defines(struct elab *e, struct unit *main);
// The file of the standard library that declares a name ("nn"), or NULL.
const char *std_file_with(struct elab *e, const char *name);
struct entry *unit_entry(const struct unit *u,
                         const char *name); // its own or imported, also through other imports; NULL
struct frame *frame_push(struct elab *e, struct frame *caller, struct unit *u, const struct decl *d,
                         struct loc call); // NULL after a diagnostic: too deep
// A name that is bound already is bound anew.
void frame_bind(struct elab *e, struct frame *f, const char *name, struct loc loc, struct value v);
bool same_place(struct loc a, struct loc b); // begin there both
// Where the calls that led to `was` part from those that led to `now`: the innermost place of the first that is
// another. The same call in a loop has no such place, then it is the call.
struct loc parting_call(const struct frame *was, const struct frame *now);
struct binding *frame_find(struct frame *f, const char *name);
struct value name_value(struct elab *e, struct frame *f, const char *name,
                        struct loc loc); // diagnoses
bool name_bindable(struct elab *e, struct frame *f, const char *name,
                   struct loc loc); // may a local take it? diagnoses
// Binds a local. A name that it cannot take is a local from then on all the same, one that is not known: what
// follows would be no mistake of its own.
void local_bind(struct elab *e, struct frame *f, const char *name, struct loc loc, struct value v);
struct value entry_value(struct elab *e, struct frame *f, struct entry *n, struct loc loc);
void graph_at(struct elab *e, const struct frame *f,
              struct loc loc); // place and address of new nodes
bool needs_graph(struct elab *e, const struct frame *f, struct loc loc,
                 const char *what); // diagnoses

// ---- elab_limits.c ----------------------------------------------------------------------------
// Counts steps of elaboration; false, after one diagnostic, where there were too many.
bool elab_spend(struct elab *e, const struct frame *f, struct loc loc, int64_t steps);
// One step, a level deeper. Where true, elab_leave follows.
bool elab_enter(struct elab *e, const struct frame *f, struct loc loc);
void elab_leave(struct elab *e);

// ---- elab_schedule.c --------------------------------------------------------------------------
void schedule_elaborate(struct elab *e, struct frame *f, const struct decl *d);

// ---- elab_type.c ------------------------------------------------------------------------------
struct axis *frame_axis(struct frame *f, const char *name);
struct pack *frame_pack(struct frame *f, const char *name);
struct axis *axis_new(struct elab *e, struct frame *f, const char *name, int64_t size,
                      struct loc loc, const char *where);
// Checks `v` against a type of frame `f`, binds names that are new, and gives the value its form
// there (an int becomes a float, a tensor's axes take the frame's names). `from`: the frame that
// the value's axis names belong to (f itself for `let` and results). `what`: "argument `x` of
// `linear`". False after a diagnostic at `loc`.
bool type_bind(struct elab *e, struct frame *f, const struct type *t, struct value *v,
               struct frame *from, struct loc loc, const char *what);
// A param's, state's or data's type: every size must follow from the frame.
bool type_resolve(struct elab *e, struct frame *f, const struct type *t, struct tensor_type *out,
                  struct axis **axes);
// A result's axes in the caller's names.
void axes_to_caller(const struct frame *callee, struct value *v);
bool type_is_tensor(const struct type *t);

// ---- elab_expr.c ------------------------------------------------------------------------------
struct value expr_value(struct elab *e, struct frame *f, const struct expr *x);
struct value binary_value(struct elab *e, struct frame *f, enum token_op op, struct loc loc,
                          struct value a, struct value b);
bool static_int(struct elab *e, struct frame *f, struct value v, int64_t *out, const char *what);
struct value range_items(struct elab *e, struct frame *f, struct value v,
                         const char *what); // a list or int range, as a list
struct value index_value(struct elab *e, struct frame *f, const struct expr *x);

// ---- elab_tensor.c ----------------------------------------------------------------------------
// A tensor of a tensor or a static number; dtype where the number has none of its own.
bool as_tensor(struct elab *e, struct frame *f, struct value *v, dtype t, const char *what);
// Whether a tensor of these sizes can be meant at all; diagnoses. Sizes multiply without overflow
// then.
bool size_fits(struct elab *e, struct frame *f, struct loc loc, const struct shape *s);
// Brings n tensors to one shape (decision 7); false after a diagnostic.
bool tensors_align(struct elab *e, struct frame *f, struct loc loc, struct value *v, int n,
                   const char *what);
struct value tensor_binary(struct elab *e, struct frame *f, enum token_op op, struct loc loc,
                           struct value a, struct value b);
struct value tensor_unary(struct elab *e, struct frame *f, enum op op, struct loc loc,
                          struct value x);
struct value tensor_transpose(struct elab *e, struct frame *f, struct loc loc, struct value x);
struct value tensor_matmul(struct elab *e, struct frame *f, struct loc loc, struct value a,
                           struct value b);
// Labels and indices of the data must be below `classes`, which they count or pick from: the trainer checks
// them before it begins.
void note_classes(struct elab *e, const struct node *labels, int64_t classes);
// Rows of x along an axis, picked by a tensor of integers.
struct value tensor_take(struct elab *e, struct frame *f, struct loc loc, struct value x,
                         const struct value *indices, int axis);
struct value tensor_slice(struct elab *e, struct frame *f, const struct expr *x, struct value v);

// ---- elab_lint.c ------------------------------------------------------------------------------
// The outermost application that a call in frame f is, or belongs to; NULL: it does not train.
struct application *lint_application(struct elab *e, const struct frame *f, struct loc call);
void lint_parameter(struct elab *e, const struct frame *f, const char *name);
void lint_update(const struct frame *f, const char *state, struct loc loc);
void lint_program(struct elab *e); // warns, at its end

// ---- elab_call.c ------------------------------------------------------------------------------
struct label {
  const char *name;
  bool required;
  struct loc loc;
};
struct given {
  struct value value;
  struct loc loc;
  bool present;
};
// "x, shape, over?": what is called takes these.
const char *labels_text(struct elab *e, const struct label *labels, int n);
// Evaluates arguments in the caller's frame and sorts them by label; out[i] belongs to labels[i].
// False after diagnostics, everything evaluated all the same.
bool args_match(struct elab *e, struct frame *f, const arg_list *args, struct loc call,
                const char *callee, const struct label *labels, int n, struct given *out);
struct value call_value(struct elab *e, struct frame *f, const struct expr *x);
// A tensor of another graph than the one that is being made, or a list with one.
bool value_is_foreign(const struct elab *e, const struct value *v);
struct value apply_value(struct elab *e, struct frame *f, struct value callee, const arg_list *args,
                         struct loc call);
// Applies to values: lists in order, optimisers.
struct value apply_given(struct elab *e, struct frame *f, struct value callee, struct given *given,
                         int n, struct loc call);
bool config_bind(struct elab *e, struct frame *f, struct entry *n, const arg_list *args,
                 struct loc call, struct value **config);
void frame_bind_config(struct elab *e, struct frame *f, const struct decl *d,
                       const struct value *config);
// Names a value: configured modules in it become instances at `path`, `path`.0, …
struct value instance_bind(struct elab *e, struct frame *f, struct value v, const char *path,
                           struct loc loc, struct value *before);

// ---- elab_stmt.c ------------------------------------------------------------------------------
void block_run(struct elab *e, struct frame *f, const struct block *block,
               bool (*statement)(struct elab *e, struct frame *f, const struct stmt *s));
bool body_statement(struct elab *e, struct frame *f,
                    const struct stmt *s); // of functions and modules
const char *statement_word(enum stmt_kind kind); // of those that belong in a program: "keep"
// What a parameter or state of the model is now, in the program: a state's last update, or its value at
// the start of the step.
struct node *current_tensor(struct elab *e, int tensor);

// ---- elab_program.c ---------------------------------------------------------------------------
void program_elaborate(struct elab *e, struct unit *u, const struct decl *d, struct program *p);
void report_statement(struct elab *e, struct frame *f, const struct stmt *s);
struct node *program_input(struct elab *e, const char *name, enum bt_input_kind kind, int view,
                           int site, const struct tensor_type *t);
const char *path_text(struct arena *a, const struct path *p); // "encoder.layer1.0"
int program_input_index(struct elab *e, const struct bt_input *in);
int model_tensor_index(const struct model *m, const char *name); // -1: none

bool program_statement(struct elab *e, struct frame *f, const struct stmt *s);

// ---- elab_pass.c ------------------------------------------------------------------------------
void run_pass(struct elab *e, struct frame *f, const struct stmt *s);
bool has_passes(const struct elab *e, const struct program *p);
void warn_unread(struct elab *e); // what the program's passes kept in vain
// What a local of a program is in the step that is being elaborated, the program's or a pass's; diagnoses.
struct value step_value(struct elab *e, struct frame *f, const char *name, struct value v);

// ---- elab_view.c ------------------------------------------------------------------------------
struct value view_apply(struct elab *e, struct frame *f, struct value view, struct value data,
                        struct loc call);
void view_check(struct elab *e, struct frame *f, const struct block *body); // while e->checking
// The rows of a .def file's argument text "k=20 mean:channels": labels with their slots.
enum slot_kind { SLOT_NUMBER, SLOT_RANGE, SLOT_CHANNELS, SLOT_CHOICE };
enum { SLOT_WORDS = 4 };
struct slot {
  const char *name;
  enum slot_kind kind;
  int at;
  bool has_default;
  double value[2];
  const char *words[SLOT_WORDS]; // of a choice, the first is the default
  int n_words;
};
int slots_parse(struct arena *a, const char *text, struct slot *slots,
                int most); // returns how many
bool slot_fill(struct elab *e, struct frame *f, const struct slot *s, const struct given *g,
               double *arg, const char *what, int *channels);

// ---- elab_builtin.c ---------------------------------------------------------------------------
const struct builtin *builtin_find(const char *name);
const char *builtin_name(const struct builtin *b);
bool builtin_input(const char *name, enum bt_input_kind *kind); // step, steps, epoch, epochs
bool builtin_word(const char *name); // one of those, or training, eval, frozen, ema
struct value builtin_call(struct elab *e, struct frame *f, const struct builtin *b,
                          const arg_list *args, struct loc call);
struct value builtin_apply(struct elab *e, struct frame *f, const struct builtin *b,
                           struct given *given, int n, struct loc call);
int builtin_names(const char **out, int most);
// How one says here what other languages call `name`; NULL: no such word.
const char *builtin_elsewhere(const char *name);

// ---- elab_check.c -----------------------------------------------------------------------------
void check_unapplied(struct elab *e);
void check_type(struct elab *e, struct frame *f, const struct type *t);

// ---- elab_ema.c -------------------------------------------------------------------------------
struct value average_value(struct elab *e, struct frame *f, const struct expr *x); // ema(…)
// The path or name that stands for `path` in the average.
const char *average_path(struct elab *e, const struct average *a, const char *path);
void averages_follow(struct elab *e); // appended to a training step, behind its optimiser

// ---- elab_optim.c -----------------------------------------------------------------------------
struct optimizer {
  struct value rule;
  path_list on;
  struct loc loc;
  struct frame *frame;
};
bool optimizer_selects(struct elab *e, const struct optimizer *o, const char *param);

#endif
