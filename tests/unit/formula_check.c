// formula_check.c: see formula_check.h.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../runtime/formula.h"
#include "formula_check.h"

enum { ELEMENTS = 5 };

struct check {
  const struct bt_program *program;
  struct bt_formula *formula;          // of the call that runs; NULL: none
  struct bt_formula_memory *memory;    // what it reads, as it was
  const struct bt_argument *arguments; // of it
  int n;
  int64_t compared;
};

static char *address(const struct bt_frame *f, const struct bt_argument *a) {
  char *const space[] = {[BT_ARENA] = f->arena, [BT_STORE] = f->store};
  return (a->space == BT_IN    ? f->inputs[a->slot]
          : a->space == BT_OUT ? f->outputs[a->slot]
                               : space[a->space]) +
         a->offset;
}

static double real_at(const void *data, enum bt_dtype type, int64_t i) {
  return type == BT_F32 ? (double)((const float *)data)[i] : ((const double *)data)[i];
}

static bool is_alone(const struct check *c, int root) {
  for (int i = 0; i < bt_formula_roots(c->formula); i++)
    if (i != root && bt_formula_argument(c->formula, i) == bt_formula_argument(c->formula, root))
      return false;
  return true;
}

static double largest_of(const void *data, enum bt_dtype type, int64_t count) {
  double largest = 0;
  bool real = type == BT_F32 || type == BT_F64;
  for (int64_t i = 0; real && i < count; i++)
    if (isfinite(real_at(data, type, i))) largest = fmax(largest, fabs(real_at(data, type, i)));
  return largest;
}

// A formula that means other elements or another op is wrong by far. What cancels is as exact as
// what it is made of, and a sum of n terms in f32 is n roundings off.
static double tolerance_of(const struct check *c, const void *data, enum bt_dtype type,
                           int64_t count) {
  double operands = 1, terms = 1;
  for (int i = 0; i < c->n; i++) {
    operands = fmax(operands, largest_of(c->memory[i].data, c->memory[i].type, c->memory[i].count));
    terms = fmax(terms, (double)c->memory[i].count / (double)count);
  }
  return 1e-4 * largest_of(data, type, count) + (1e-6 + 0x1p-24 * terms) * operands;
}

static void check_root(struct check *c, const struct bt_frame *f, int call, int root) {
  int argument = bt_formula_argument(c->formula, root);
  const struct bt_kernel_info *k = &c->program->kernels[c->program->calls[call].kernel];
  const struct bt_parameter *p = &k->parameters[argument];
  const void *data = address(f, &c->arguments[argument]);
  if ((p->dtype != BT_F32 && p->dtype != BT_F64) || !is_alone(c, root)) return;
  double tolerance = tolerance_of(c, data, p->dtype, p->count);
  for (int i = 0; i < ELEMENTS; i++) {
    int64_t at = (p->count - 1) * i / (ELEMENTS - 1);
    double want, is = real_at(data, p->dtype, at);
    if (!bt_formula_value(c->formula, c->memory, root, at, &want))
      continue; // another kernel's part of the place
    c->compared++;
    if (want == is || (isnan(want) && isnan(is)) || fabs(want - is) <= tolerance) continue;
    fail_msg("%s of %s, call %d, %s[%lld] is %.9g, its formula says %.9g:\n%s\n%s", k->name,
             c->program->name, call, p->name, (long long)at, is, want, k->equation,
             c->program->calls[call].formula);
  }
}

static void end_call(struct check *c, const struct bt_frame *f, int call) {
  for (int i = 0; c->formula && i < bt_formula_roots(c->formula); i++) check_root(c, f, call, i);
  for (int i = 0; i < c->n; i++) free((void *)c->memory[i].data);
  free(c->memory);
  bt_formula_free(c->formula);
  c->arguments += c->n;
}

// Of results that nothing reads before they are there only the place is of interest: a fold is read
// where it is.
static void begin_call(struct check *c, const struct bt_frame *f, int call) {
  const struct bt_call *k = &c->program->calls[call];
  const struct bt_kernel_info *info = &c->program->kernels[k->kernel];
  c->n = info->n_parameters;
  c->formula = k->formula ? bt_formula_parse(k->formula) : NULL;
  c->memory = calloc((size_t)c->n + 1, sizeof *c->memory);
  for (int i = 0; i < c->n; i++) {
    size_t bytes = (size_t)info->parameters[i].count * bt_dtype_size(info->parameters[i].dtype);
    c->memory[i] =
        (struct bt_formula_memory){memcpy(malloc(bytes), address(f, &c->arguments[i]), bytes),
                                   info->parameters[i].dtype, info->parameters[i].count};
  }
}

// Folds of the kernel's own, which its second meeting reads, are there now.
static void renew_results(struct check *c, const struct bt_frame *f) {
  for (int i = 0; c->formula && i < c->n; i++)
    if (!bt_formula_reads(c->formula, i))
      memcpy((void *)c->memory[i].data, address(f, &c->arguments[i]),
             (size_t)c->memory[i].count * bt_dtype_size(c->memory[i].type));
}

static void on_call(const struct bt_frame *f, int call) {
  struct check *c = f->watcher;
  if (call > 0) renew_results(c, f), end_call(c, f, call - 1);
  if (call < c->program->n_calls) begin_call(c, f, call);
}

int64_t formula_check_step(const struct bt_program *p, const struct bt_frame *frame) {
  struct check c = {.program = p, .arguments = p->arguments};
  struct bt_frame watched = *frame;
  watched.watch = on_call;
  watched.watcher = &c;
  p->step(&watched);
  return c.compared;
}
