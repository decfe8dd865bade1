// watch.c: see watch.h.
#include "watch.h"
#include "formula.h"

#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { READS_SHOWN = 4 };

// Where a value that is not finite began.
struct beginning {
  int call;                       // -1: before the step, in `text`
  const struct bt_origin *origin; // NULL: not known
  const char *op;
  bool from_finite; // all that the kernel read
  int infinity;     // NaN: the beginning of the infinity that it was made of; -1: of none
  char text[160];   // "log(-0.25) = nan"; of a kernel that is one op, its name
  char reads[400];  // "x from -0.25 to 3.2, y from …"
};

// What an argument that a call has written holds.
struct fault {
  enum { FINITE, INFINITE, NOT_A_NUMBER } what;
  int beginning;
};

struct watched_call {
  const struct bt_call *call;
  const struct bt_kernel_info *kernel;
  const struct bt_argument *arguments;
  const int *made;
  struct bt_formula *formula;
  struct fault *faults; // by argument
  bool *in_place;       // by argument: read, and then written over
};

struct bt_watch {
  const struct bt_session *session;
  const struct bt_program *program;
  struct watched_call *calls;
  struct bt_formula_memory
      *memory;   // of the call that runs: what it reads, as it was, and what it wrote
  char **copies; // by argument: what is written over in place
  size_t *room;  // bytes
  struct beginning *beginnings;
  int n_beginnings, beginnings_room;
};

// ---- opening ----------------------------------------------------------------------------------

static void open_call(struct watched_call *c) {
  int n = c->kernel->n_parameters;
  c->faults = bt_xcalloc((size_t)n, sizeof *c->faults);
  c->in_place = bt_xcalloc((size_t)n, sizeof *c->in_place);
  if (!c->call->formula) return;
  c->formula = bt_formula_parse(c->call->formula);
  for (int i = 0; i < n; i++)
    c->in_place[i] = c->kernel->parameters[i].written && bt_formula_reads(c->formula, i);
}

struct bt_watch *bt_watch_new(const struct bt_session *s) {
  struct bt_watch *w = bt_xcalloc(1, sizeof *w);
  const struct bt_program *p = s->program;
  const struct bt_argument *arguments = p->arguments;
  const int *made = p->made;
  int most = 0;
  w->session = s, w->program = p;
  w->calls = bt_xcalloc((size_t)p->n_calls, sizeof *w->calls);
  for (int i = 0; i < p->n_calls; i++) {
    struct watched_call *c = &w->calls[i];
    *c = (struct watched_call){.call = &p->calls[i],
                               .kernel = &p->kernels[p->calls[i].kernel],
                               .arguments = arguments,
                               .made = made};
    open_call(c);
    arguments += c->kernel->n_parameters, made += c->call->n_origins;
    if (c->kernel->n_parameters > most) most = c->kernel->n_parameters;
  }
  w->memory = bt_xcalloc((size_t)most, sizeof *w->memory);
  w->copies = bt_xcalloc((size_t)most, sizeof *w->copies);
  w->room = bt_xcalloc((size_t)most, sizeof *w->room);
  return w;
}

void bt_watch_free(struct bt_watch *w) {
  if (!w) return;
  int most = 0;
  for (int i = 0; i < w->program->n_calls; i++) {
    if (w->calls[i].kernel->n_parameters > most) most = w->calls[i].kernel->n_parameters;
    bt_formula_free(w->calls[i].formula);
    free(w->calls[i].faults), free(w->calls[i].in_place);
  }
  for (int i = 0; i < most; i++) free(w->copies[i]);
  free(w->calls), free(w->memory), free(w->copies), free(w->room), free(w->beginnings), free(w);
}

// ---- memory -----------------------------------------------------------------------------------

static char *address(const struct bt_frame *f, const struct bt_argument *a) {
  switch (a->space) {
  case BT_ARENA: return f->arena + a->offset;
  case BT_STORE: return f->store + a->offset;
  case BT_IN: return (char *)f->inputs[a->slot] + a->offset;
  case BT_OUT: return (char *)f->outputs[a->slot] + a->offset;
  }
  bt_die("space %d", (int)a->space);
}

static size_t bytes_of(const struct bt_parameter *p) {
  return (size_t)p->count * bt_dtype_size(p->dtype);
}
static bool is_real(enum bt_dtype type) { return type == BT_F32 || type == BT_F64; }

struct range {
  double lo, hi; // of the finite elements
  int64_t nans, infinities;
};

static double real_at(const struct bt_formula_memory *m, int64_t i) {
  return m->type == BT_F32 ? (double)((const float *)m->data)[i] : ((const double *)m->data)[i];
}

static struct range range_of(const struct bt_formula_memory *m) {
  struct range r = {INFINITY, -INFINITY, 0, 0};
  for (int64_t i = 0; i < m->count; i++) {
    double v = real_at(m, i);
    r.nans += isnan(v) != 0;
    r.infinities += isinf(v) != 0;
    if (!isfinite(v)) continue;
    r.lo = fmin(r.lo, v), r.hi = fmax(r.hi, v);
  }
  return r;
}

// Quicker than a range, and mostly enough.
static bool all_finite(const struct bt_formula_memory *m) {
  int64_t broken = 0;
  const float *f = m->data;
  const double *d = m->data;
  if (m->type == BT_F32) {
#pragma omp parallel for simd schedule(static) reduction(+ : broken)
    for (int64_t i = 0; i < m->count; i++) broken += !(fabsf(f[i]) <= 0x1.fffffep127f);
  } else if (m->type == BT_F64) {
#pragma omp parallel for simd schedule(static) reduction(+ : broken)
    for (int64_t i = 0; i < m->count; i++) broken += !(fabs(d[i]) <= 0x1.fffffffffffffp1023);
  }
  return broken == 0;
}

// ---- beginnings -------------------------------------------------------------------------------

static int beginning_new(struct bt_watch *w, int call) {
  if (w->n_beginnings == w->beginnings_room) {
    w->beginnings_room = w->beginnings_room ? 2 * w->beginnings_room : 16;
    w->beginnings = realloc(w->beginnings, sizeof *w->beginnings * (size_t)w->beginnings_room);
    if (!w->beginnings) bt_die("out of memory");
  }
  w->beginnings[w->n_beginnings] = (struct beginning){.call = call, .infinity = -1};
  return w->n_beginnings++;
}

static void append_range(char *text, size_t room, const char *name, struct range r) {
  bt_append(text, room, "%s%s", *text ? ", " : "", name);
  if (r.lo <= r.hi) bt_append(text, room, " from %.6g to %.6g", r.lo, r.hi);
  if (r.nans) bt_append(text, room, " with %" PRId64 " nan", r.nans);
  if (r.infinities) bt_append(text, room, " with %" PRId64 " inf", r.infinities);
}

// Is the argument one that the call has read? What is in place was, as it was before.
static bool is_read(const struct watched_call *c, int argument) {
  return !c->kernel->parameters[argument].written || c->in_place[argument];
}

static void describe_reads(const struct bt_watch *w, const struct watched_call *c,
                           struct beginning *b) {
  int shown = 0;
  b->from_finite = true;
  for (int i = 0; i < c->kernel->n_parameters; i++) {
    if (!is_read(c, i) || !is_real(w->memory[i].type)) continue;
    struct range r = range_of(&w->memory[i]);
    if (shown++ < READS_SHOWN)
      append_range(b->reads, sizeof b->reads, c->kernel->parameters[i].name, r);
    b->from_finite &= r.nans + r.infinities == 0;
  }
}

// What lies at this address and was there before the step.
static int beginning_outside(struct bt_watch *w, const struct bt_argument *a, size_t offset) {
  int made = beginning_new(w, -1);
  struct beginning *b = &w->beginnings[made];
  const struct bt_module *m = w->session->module;
  const char *what = NULL;
  if (a->space == BT_IN) what = w->program->inputs[a->slot].name;
  for (int i = 0; a->space == BT_STORE && i < m->n_tensors; i++)
    if (offset >= m->tensors[i].offset && offset - m->tensors[i].offset < m->tensors[i].bytes)
      what = m->tensors[i].name;
  if (what)
    snprintf(b->text, sizeof b->text, "%s %.120s held it before the step",
             a->space == BT_IN ? "the input" : "the tensor", what);
  return made;
}

// ---- who wrote it -----------------------------------------------------------------------------

// The latest fault in calls before `before` of what lies at `offset` of a's space; NULL: nobody
// wrote one there.
static const struct fault *fault_at(const struct bt_watch *w, int before,
                                    const struct bt_argument *a, size_t offset, bool nan,
                                    bool *written) {
  *written = false;
  for (int i = before - 1; i >= 0; i--) {
    const struct watched_call *c = &w->calls[i];
    for (int j = 0; j < c->kernel->n_parameters; j++) {
      const struct bt_argument *b = &c->arguments[j];
      const struct bt_parameter *p = &c->kernel->parameters[j];
      bool here = p->written && b->space == a->space && b->slot == a->slot && offset >= b->offset &&
                  offset - b->offset < bytes_of(p);
      *written |= here;
      if (here && c->faults[j].what == (nan ? NOT_A_NUMBER : INFINITE)) return &c->faults[j];
    }
  }
  return NULL;
}

static int beginning_of_element(struct bt_watch *w, int call, int argument, int64_t element,
                                bool nan) {
  const struct watched_call *c = &w->calls[call];
  const struct bt_argument *a = &c->arguments[argument];
  size_t offset = a->offset + (size_t)element * bt_dtype_size(w->memory[argument].type);
  bool written;
  const struct fault *fault = fault_at(w, call, a, offset, nan, &written);
  if (fault) return fault->beginning;
  if (!written) return beginning_outside(w, a, offset);
  return -1;
}

// ---- after a kernel ---------------------------------------------------------------------------

static int made_by(struct bt_watch *w, int call, const struct bt_blame *blame) {
  int made = beginning_new(w, call);
  const struct watched_call *c = &w->calls[call];
  struct beginning *b = &w->beginnings[made];
  if (blame->how == BT_BLAME_MADE) {
    b->origin = &w->program->origins[c->made[blame->origin]];
    b->op = blame->op;
    snprintf(b->text, sizeof b->text, "%s", blame->text);
  }
  describe_reads(w, c, b);
  return made;
}

static int beginning_of_blame(struct bt_watch *w, int call, const struct bt_blame *blame,
                              bool nan) {
  int known = blame->how == BT_BLAME_READ
                  ? beginning_of_element(w, call, blame->argument, blame->element, nan)
                  : -1;
  return known >= 0 ? known : made_by(w, call, blame);
}

// The first NaN, or the first infinity; -1: none.
static int64_t first_broken(const struct bt_formula_memory *m, bool nan) {
  if (!is_real(m->type) || all_finite(m)) return -1;
  for (int64_t i = 0; i < m->count; i++)
    if (nan ? isnan(real_at(m, i)) : isinf(real_at(m, i))) return i;
  return -1;
}

// Where one element cannot be followed: to the first operand that has what is sought.
static struct bt_blame blame_operands(const struct bt_watch *w, const struct watched_call *c,
                                      bool nan) {
  for (int i = 0; i < c->kernel->n_parameters; i++) {
    int64_t at = is_read(c, i) ? first_broken(&w->memory[i], nan) : -1;
    if (at >= 0) return (struct bt_blame){.how = BT_BLAME_READ, .argument = i, .element = at};
  }
  return (struct bt_blame){.how = BT_BLAME_UNKNOWN};
}

static void blame_call(const struct bt_watch *w, const struct watched_call *c, bool nan,
                       struct bt_blame *blame, struct bt_blame *infinity) {
  *blame = blame_operands(w, c, nan);
  *infinity = (struct bt_blame){.how = BT_BLAME_UNKNOWN};
  if (blame->how == BT_BLAME_UNKNOWN && nan) *infinity = blame_operands(w, c, false);
  if (blame->how == BT_BLAME_UNKNOWN && !c->formula) {
    *blame = (struct bt_blame){.how = BT_BLAME_MADE, .op = c->call->op};
    snprintf(blame->text, sizeof blame->text, "%s = %s", c->call->op, nan ? "nan" : "inf");
  }
}

// An argument's element is not finite: who began that? `root`: of the formula, or -1.
static void add_fault(struct bt_watch *w, int call, int argument, int root, int64_t element,
                      bool nan) {
  const struct watched_call *c = &w->calls[call];
  struct fault *fault = &c->faults[argument];
  struct bt_blame blame = {.how = BT_BLAME_UNKNOWN}, infinity = blame;
  if (fault->what == NOT_A_NUMBER || (fault->what == INFINITE && !nan))
    return; // of another result in this place
  if (root >= 0) bt_formula_blame(c->formula, w->memory, root, element, nan, &blame, &infinity);
  if (blame.how == BT_BLAME_UNKNOWN) blame_call(w, c, nan, &blame, &infinity);
  int began = beginning_of_blame(w, call, &blame, nan);
  fault->what = nan ? NOT_A_NUMBER : INFINITE;
  fault->beginning = began;
  if (infinity.how == BT_BLAME_UNKNOWN || w->beginnings[began].call != call) return;
  int earlier = beginning_of_blame(w, call, &infinity, false);
  w->beginnings[began].infinity = earlier;
}

static struct bt_formula_memory written(const struct bt_frame *f, const struct watched_call *c,
                                        int argument) {
  const struct bt_parameter *p = &c->kernel->parameters[argument];
  return (struct bt_formula_memory){address(f, &c->arguments[argument]), p->dtype, p->count};
}

static void look_at_root(struct bt_watch *w, const struct bt_frame *f, int call, int root) {
  const struct watched_call *c = &w->calls[call];
  int argument = bt_formula_argument(c->formula, root);
  struct bt_formula_memory m = written(f, c, argument);
  int64_t at = all_finite(&m) ? -1 : bt_formula_search(c->formula, root, m.data, m.type);
  if (at >= 0) add_fault(w, call, argument, root, at, isnan(real_at(&m, at)));
}

static void look_at_argument(struct bt_watch *w, const struct bt_frame *f, int call, int argument) {
  struct bt_formula_memory m = written(f, &w->calls[call], argument);
  int64_t nan = first_broken(&m, true), at = nan >= 0 ? nan : first_broken(&m, false);
  if (at >= 0) add_fault(w, call, argument, -1, at, nan >= 0);
}

static void after(struct bt_watch *w, const struct bt_frame *f, int call) {
  const struct watched_call *c = &w->calls[call];
  for (int i = 0; c->formula && i < bt_formula_roots(c->formula); i++) look_at_root(w, f, call, i);
  for (int i = 0; !c->formula && i < c->kernel->n_parameters; i++)
    if (c->kernel->parameters[i].written) look_at_argument(w, f, call, i);
}

// ---- before a kernel --------------------------------------------------------------------------

static const void *copy_of(struct bt_watch *w, int argument, const void *data, size_t bytes) {
  if (bytes > w->room[argument]) {
    free(w->copies[argument]);
    w->copies[argument] = bt_xcalloc(bytes, 1);
    w->room[argument] = bytes;
  }
  return memcpy(w->copies[argument], data, bytes);
}

static void before(struct bt_watch *w, const struct bt_frame *f, int call) {
  const struct watched_call *c = &w->calls[call];
  for (int i = 0; i < c->kernel->n_parameters; i++) {
    w->memory[i] = written(f, c, i);
    if (c->in_place[i])
      w->memory[i].data = copy_of(w, i, w->memory[i].data, bytes_of(&c->kernel->parameters[i]));
  }
}

static void on_call(const struct bt_frame *f, int call) {
  struct bt_watch *w = f->watcher;
  if (call > 0) after(w, f, call - 1);
  if (call < w->program->n_calls) before(w, f, call);
}

void bt_watch_step(struct bt_watch *w) {
  for (int i = 0; i < w->program->n_calls; i++)
    memset(w->calls[i].faults, 0,
           sizeof *w->calls[i].faults * (size_t)w->calls[i].kernel->n_parameters);
  w->n_beginnings = 0;
  struct bt_frame frame = w->session->frame;
  frame.watch = on_call;
  frame.watcher = w;
  w->program->step(&frame);
}

// ---- for people -------------------------------------------------------------------------------

// "model.btg:23, model.btg:24": of all that the kernel computes.
static void append_places(char *text, size_t room, const struct bt_watch *w,
                          const struct watched_call *c) {
  const char *last = NULL;
  int shown = 0;
  for (int i = 0; i < c->call->n_origins; i++) {
    const char *place = w->program->origins[c->made[i]].place;
    if (!place || (last && strcmp(last, place) == 0) || shown == READS_SHOWN) continue;
    bt_append(text, room, "%s%s", shown++ ? ", " : "", last = place);
  }
}

// What was made, where.
static void append_op(char *text, size_t room, const struct bt_watch *w,
                      const struct beginning *b) {
  const struct bt_origin *o = b->origin;
  if (b->call < 0) {
    bt_append(text, room, "%s", *b->text ? b->text : "not known whose");
    return;
  }
  bt_append(text, room, "%s", b->op ? b->text : "by one of several ops");
  if (o && o->place) bt_append(text, room, ", at %s", o->place);
  if (o && o->layer) bt_append(text, room, " in %s", o->layer);
  if (!o) bt_append(text, room, ", at "), append_places(text, room, w, &w->calls[b->call]);
}

static void append_kernel(char *text, size_t room, const struct bt_watch *w,
                          const struct beginning *b) {
  enum { EQUATION_SHOWN = 160 };
  if (b->call < 0) return;
  const struct bt_kernel_info *k = w->calls[b->call].kernel;
  bt_append(text, room, "\n    by kernel %d of %d, %s", b->call, w->program->n_calls, k->name);
  if (k->equation)
    bt_append(text, room, ": %.*s%s", EQUATION_SHOWN, k->equation,
           strlen(k->equation) > EQUATION_SHOWN ? "..." : "");
  if (*b->reads)
    bt_append(text, room, "\n    which reads %s%s", b->reads, b->from_finite ? ", all finite" : "");
}

// The beginning of the first element that is not finite, NaN before infinite; -1: not known.
static int beginning_of_value(struct bt_watch *w, struct bt_watched_value v) {
  const struct bt_session *s = w->session;
  struct bt_argument a = {.space = BT_OUT, .slot = v.output};
  struct bt_formula_memory m;
  if (v.output >= 0) {
    const struct bt_output *o = &w->program->outputs[v.output];
    m = (struct bt_formula_memory){s->outputs[v.output], o->dtype, bt_count(o->rank, o->shape)};
  } else {
    const struct bt_tensor *t = &s->module->tensors[v.tensor];
    m = (struct bt_formula_memory){(const char *)s->store.data + t->offset, t->dtype,
                                   bt_count(t->rank, t->shape)};
    a = (struct bt_argument){.offset = t->offset, .space = BT_STORE};
  }
  int64_t nan = first_broken(&m, true), at = nan >= 0 ? nan : first_broken(&m, false);
  if (at < 0) return -1;
  size_t offset = a.offset + (size_t)at * bt_dtype_size(m.type);
  bool is_written;
  const struct fault *fault = fault_at(w, w->program->n_calls, &a, offset, nan >= 0, &is_written);
  return fault ? fault->beginning : is_written ? -1 : beginning_outside(w, &a, offset);
}

static void name_op(struct bt_named_op *to, const struct beginning *b) {
  *to = (struct bt_named_op){.op = b->op};
  if (b->origin) to->layer = b->origin->layer, to->place = b->origin->place;
}

void bt_watch_explain(struct bt_watch *w, struct bt_watched_value value,
                      struct bt_finding *finding) {
  int began = beginning_of_value(w, value);
  char *text = finding->text;
  size_t room = sizeof finding->text;
  *finding = (struct bt_finding){.text = ""};
  if (began < 0) {
    bt_append(text, room, "not known whose");
    return;
  }
  const struct beginning *b = &w->beginnings[began],
                         *infinity = b->infinity < 0 ? NULL : &w->beginnings[b->infinity];
  append_op(text, room, w, b);
  name_op(&finding->first, b);
  if (!infinity || infinity->call != b->call) append_kernel(text, room, w, b);
  if (!infinity) return;
  bt_append(text, room, "\n  made of an infinity: ");
  append_op(text, room, w, infinity);
  name_op(&finding->infinity, infinity);
  append_kernel(text, room, w, infinity);
}
