// loops_verify.c: proves a loop kernel sound. loops.h says what that means.
//
// One walk over the statements. It carries what is in scope (loop variables, registers), what the
// conditions around say (loops_bounds.h), and where parallel work stands. The first fault is kept;
// the walk goes on harmlessly.
#include "loops_bounds.h"

#include <inttypes.h>
#include <stdarg.h>

enum work {
  SERIAL,
  REGION,
  SHARED_OUT
}; // outside parallel work; on every thread; one iteration each

struct verifier {
  struct arena *arena;
  const struct loop_kernel *kernel;
  struct bounds bounds;
  bool *var_open;
  enum work work;
  enum work *reg_work; // by register id: where it was declared
  bool *reg_open;
  bool phase; // statements here run in step on every thread: a barrier may stand
  bool any_parallel;
  const char *fault;
};

enum op_class { ARITH, REAL, COMPARE, LOGIC, SELECT, HORIZONTAL, DRAW };
static const enum op_class class_table[] = {
#define X(ID, name, arity, class, c) class,
#include "loop_ops.def"
#undef X
};

static void fault(struct verifier *v, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void fault(struct verifier *v, const char *format, ...) {
  if (v->fault) return;
  va_list ap;
  va_start(ap, format);
  v->fault =
      str_printf(v->arena, "kernel %s: %s", v->kernel->name, str_vprintf(v->arena, format, ap));
  va_end(ap);
}

static bool is_float(enum loop_type t) { return t == LT_F32 || t == LT_F64; }
static bool is_number(enum loop_type t) { return t != LT_BOOL && t != LT_U8; }

// ---- accesses ---------------------------------------------------------------------------------
static void check_use(struct verifier *v, const struct loop_buf *buf, bool writes) {
  if (buf->space == LB_PARAM && !(writes ? buf->write : buf->read))
    fault(v, "%s is %s, but it is %s", buf->name, buf->write ? "an output" : "an input",
          writes ? "written" : "read");
  if (buf->space == LB_SCRATCH && v->work == SERIAL && v->any_parallel)
    fault(v, "%s is scratch of a thread and is used outside parallel work", buf->name);
}

static void report(struct verifier *v, const struct loop_buf *buf, int64_t lo, int64_t hi) {
  bool unknown = lo <= -BOUNDS_UNKNOWN || hi >= BOUNDS_UNKNOWN;
  if (unknown)
    fault(v, "%s[…]: its bounds cannot be proved (0..%" PRId64 ")", buf->name, buf->count);
  else
    fault(v, "%s[…] reaches %" PRId64 "..%" PRId64 ", outside 0..%" PRId64, buf->name, lo, hi + 1,
          buf->count);
}

// Elements index, index + stride, …: `lanes` of them, at most n where n is given.
static void check_run(struct verifier *v, const struct loop_buf *buf, lx index, int64_t stride,
                      int64_t lanes, lx n) {
  const struct bounds *b = &v->bounds;
  struct linear at = bounds_linear(b, index), last = at;
  last.constant += stride * (lanes - 1);
  int64_t lo = bounds_lower(b, at), hi = bounds_upper(b, last);
  if (stride < 0) fault(v, "%s: negative stride", buf->name);
  if (n && hi >= buf->count) {
    struct linear count = bounds_linear(b, n);
    last = bounds_sum(at, &count, stride);
    last.constant -= stride;
    int64_t masked = bounds_upper(b, last);
    if (masked < hi) hi = masked;
  }
  if (lo < 0 || hi >= buf->count) report(v, buf, lo, hi);
}

static void check_index(struct verifier *v, lx index, const char *what) {
  if (!index || index->type != LT_I64 || index->lanes != 1)
    fault(v, "the index of %s is not a scalar i64", what);
}

// ---- expressions ------------------------------------------------------------------------------
static void check_expr(struct verifier *v, lx e);

// Constants and unrolled loops only: then the register array dissolves into registers.
static void check_static_index(struct verifier *v, const struct loop_reg *r, lx e) {
  if (!e || v->fault) return;
  if (e->op == LX_INDEX && e->var->loop->loop != LF_UNROLL)
    fault(v, "register array %s is indexed by %s, which is not unrolled", r->name, e->var->name);
  if (e->op == LX_REG || e->op == LX_LOAD || e->op == LX_GATHER || e->op == LX_CHECKED)
    fault(v, "register array %s is indexed by a run-time value", r->name);
  if (e->op == LX_REG) return;
  check_static_index(v, r, e->a);
  check_static_index(v, r, e->b);
}

static void check_reg(struct verifier *v, const struct loop_reg *r, lx index) {
  if (!v->reg_open[r->id]) {
    fault(v, "register %s is used outside the block that declares it", r->name);
    return;
  }
  check_index(v, index, r->name);
  if (v->fault) return;
  check_static_index(v, r, index);
  struct linear at = bounds_linear(&v->bounds, index);
  int64_t lo = bounds_lower(&v->bounds, at), hi = bounds_upper(&v->bounds, at);
  if (lo < 0 || hi >= r->count)
    fault(v, "%s[…] reaches %" PRId64 "..%" PRId64 ", outside 0..%d", r->name, lo, hi + 1,
          r->count);
}

static void check_integer_division(struct verifier *v, lx e) {
  int64_t k;
  if (!lx_is_int(e->b, &k) || k <= 0)
    fault(v, "%s by what is not a positive constant", lx_op_name(e->op));
  else if (e->lanes == 1 && bounds_lower(&v->bounds, bounds_linear(&v->bounds, e->a)) < 0)
    fault(v, "%s of what may be negative", lx_op_name(e->op));
}

static bool operands_agree(lx e) {
  lx b = e->b ? e->b : e->a, c = e->c ? e->c : b;
  if (e->op == LX_SELECT)
    return e->a->type == LT_BOOL && b->type == c->type && e->a->lanes == b->lanes &&
           b->lanes == c->lanes && is_number(b->type);
  if (class_table[e->op] == DRAW)
    return e->a->type == LT_I32 && b->type == LT_I64 && c->type == LT_I64 &&
           (b->lanes == 1 || b->lanes == e->a->lanes) && b->lanes == c->lanes;
  return e->a->type == b->type && b->type == c->type && e->a->lanes == b->lanes &&
         b->lanes == c->lanes;
}

static void check_operation(struct verifier *v, lx e) {
  lx operand[] = {e->a, e->b, e->c};
  for (int i = 0; i < lx_arity(e->op); i++) check_expr(v, operand[i]);
  if (v->fault) return;
  const char *name = lx_op_name(e->op);
  enum loop_type t = e->a->type;
  if (!operands_agree(e)) fault(v, "the operands of %s differ in type or lanes", name);
  switch (class_table[e->op]) {
  case ARITH:
  case COMPARE:
    if (!is_number(t)) fault(v, "%s of %s", name, loop_type_name(t));
    if (e->op == LX_MOD && is_float(t)) fault(v, "mod of %s", loop_type_name(t));
    if ((e->op == LX_DIV || e->op == LX_MOD) && t == LT_I64) check_integer_division(v, e);
    break;
  case REAL:
    if (!is_float(t)) fault(v, "%s of %s", name, loop_type_name(t));
    break;
  case LOGIC:
    if (t != LT_BOOL) fault(v, "%s of %s", name, loop_type_name(t));
    break;
  case SELECT:
  case DRAW: break;
  case HORIZONTAL:
    if (e->a->lanes == 1 || !is_number(t)) fault(v, "%s of a scalar", name);
  }
}

static void check_load(struct verifier *v, lx e) {
  check_expr(v, e->a);
  if (e->b) check_expr(v, e->b);
  check_use(v, e->buf, false);
  check_index(v, e->a, e->buf->name);
  if (e->b) check_index(v, e->b, "a lane count");
  if (!v->fault) check_run(v, e->buf, e->a, e->stride, e->lanes, e->b);
}

static void check_gather(struct verifier *v, lx e) {
  check_expr(v, e->a);
  check_use(v, e->buf, false);
  if (e->lanes == 1 || (e->a->type != LT_I32 && e->a->type != LT_I64))
    fault(v, "the indices of %s are not an integer vector", e->buf->name);
  if (!v->fault) check_run(v, e->buf, e->a, 0, 1, NULL);
}

static void check_expr(struct verifier *v, lx e) {
  if (v->fault) return;
  if (e->lanes != 1 && e->lanes != v->kernel->lanes) fault(v, "a value of %d lanes", e->lanes);
  switch (e->op) {
  case LX_CONST:
  case LX_IOTA: break;
  case LX_INDEX:
    if (!v->var_open[e->var->id]) fault(v, "%s is used outside its loop", e->var->name);
    break;
  case LX_REG: check_reg(v, e->reg, e->a); break;
  case LX_LOAD: check_load(v, e); break;
  case LX_GATHER: check_gather(v, e); break;
  case LX_BROADCAST:
  case LX_CONVERT:
  case LX_CHECKED: check_expr(v, e->a); break;
  case LX_ADDRESS:
  case LX_SYMBOL: fault(v, "%s outside a call", lx_op_name(e->op)); break;
  default: check_operation(v, e);
  }
}

// ---- statements -------------------------------------------------------------------------------
static void check_body(struct verifier *v, const struct loop_stmt *s, bool phase);

static void check_loop(struct verifier *v, const struct loop_stmt *s, int depth) {
  int64_t constant;
  check_expr(v, s->lo);
  check_expr(v, s->hi);
  check_index(v, s->lo, s->var->name);
  check_index(v, s->hi, s->var->name);
  if (s->loop == LF_UNROLL && !lx_is_int(s->hi, &constant))
    fault(v, "unrolled loop %s has no constant end", s->var->name);
  enum work outer = v->work;
  if (s->loop == LF_PARALLEL) {
    if (outer == SHARED_OUT) fault(v, "parallel loop %s inside another", s->var->name);
    if (outer == REGION && !v->phase)
      fault(v, "parallel loop %s where threads differ", s->var->name);
    v->work = SHARED_OUT;
  }
  v->var_open[s->var->id] = true;
  v->bounds.depth[s->var->id] = depth;
  bool in_step = v->phase && s->loop != LF_PARALLEL; // bounds do not depend on the thread
  check_body(v, s->body, in_step);
  v->var_open[s->var->id] = false;
  v->work = outer;
}

static void check_region(struct verifier *v, const struct loop_stmt *s) {
  if (v->work != SERIAL) fault(v, "a parallel region inside parallel work");
  v->work = REGION;
  check_body(v, s->body, true);
  v->work = SERIAL;
}

static void check_if(struct verifier *v, const struct loop_stmt *s) {
  check_expr(v, s->value);
  if (s->value->type != LT_BOOL || s->value->lanes != 1)
    fault(v, "if of what is not a scalar bool");
  if (v->fault) return;
  int facts = bounds_assume(&v->bounds, s->value, true);
  check_body(v, s->body, false);
  v->bounds.n_facts -= facts;
  facts = bounds_assume(&v->bounds, s->value, false);
  check_body(v, s->else_body, false);
  v->bounds.n_facts -= facts;
}

static void check_store(struct verifier *v, const struct loop_stmt *s) {
  check_expr(v, s->value);
  check_expr(v, s->index);
  if (s->lanes) check_expr(v, s->lanes);
  check_use(v, s->buf, true);
  check_index(v, s->index, s->buf->name);
  if (s->value->type != s->buf->type)
    fault(v, "%s of %s is given %s", s->buf->name, loop_type_name(s->buf->type),
          loop_type_name(s->value->type));
  if (v->work == REGION && s->buf->space != LB_SCRATCH)
    fault(v, "every thread writes %s", s->buf->name);
  if (!v->fault) check_run(v, s->buf, s->index, s->stride, s->value->lanes, s->lanes);
}

static void check_set(struct verifier *v, const struct loop_stmt *s) {
  check_reg(v, s->reg, s->index);
  check_expr(v, s->value);
  if (s->value->type != s->reg->type || s->value->lanes != s->reg->lanes)
    fault(v, "register %s is given another type", s->reg->name);
  if (!v->fault && v->reg_work[s->reg->id] != v->work)
    fault(v, "register %s is set in a parallel loop and lives outside it", s->reg->name);
}

static void check_call(struct verifier *v, const struct loop_stmt *s) {
  for (int i = 0; i < s->args.len && !v->fault; i++) {
    lx a = s->args.data[i];
    if (a->op == LX_SYMBOL) continue;
    if (a->op != LX_ADDRESS) {
      check_expr(v, a);
      continue;
    }
    check_expr(v, a->a);
    check_index(v, a->a, a->buf->name);
    if (!v->fault) check_run(v, a->buf, a->a, 1, a->extent, NULL);
  }
  if (!s->reg || v->fault) return;
  if (!v->reg_open[s->reg->id] || s->reg->array || s->reg->lanes > 1)
    fault(v, "the result of %s goes to no scalar register", s->symbol);
}

static void check_decl(struct verifier *v, const struct loop_stmt *s) {
  if (s->value) {
    check_expr(v, s->value);
    if (s->value->type != s->reg->type || s->value->lanes != s->reg->lanes)
      fault(v, "register %s is initialised with another type", s->reg->name);
  }
  v->reg_open[s->reg->id] = true;
  v->reg_work[s->reg->id] = v->work;
}

static void check_stmt(struct verifier *v, const struct loop_stmt *s, int depth) {
  switch (s->kind) {
  case LS_FOR: check_loop(v, s, depth); break;
  case LS_PARALLEL: check_region(v, s); break;
  case LS_BARRIER:
    if (v->work != REGION || !v->phase) fault(v, "a barrier that not every thread meets");
    break;
  case LS_REG: check_decl(v, s); break;
  case LS_SET: check_set(v, s); break;
  case LS_STORE: check_store(v, s); break;
  case LS_IF: check_if(v, s); break;
  case LS_CALL: check_call(v, s); break;
  case LS_COMMENT: break;
  }
}

static int open_loops(const struct verifier *v) {
  int n = 0;
  for (int i = 0; i < v->kernel->n_vars; i++) n += v->var_open[i];
  return n;
}

static void check_body(struct verifier *v, const struct loop_stmt *s, bool phase) {
  bool outer = v->phase;
  int depth = open_loops(v);
  v->phase = phase;
  for (const struct loop_stmt *p = s; p && !v->fault; p = p->next) check_stmt(v, p, depth);
  for (; s; s = s->next)
    if (s->kind == LS_REG) v->reg_open[s->reg->id] = false;
  v->phase = outer;
}

// ---- the whole --------------------------------------------------------------------------------
// Registers that keep their first value stand for it in bounds.
static void find_definitions(struct verifier *v, const struct loop_stmt *s, bool *changes) {
  for (; s; s = s->next) {
    if (s->kind == LS_REG && s->value && !s->reg->array)
      v->bounds.definition[s->reg->id] = s->value;
    if (s->kind == LS_SET || (s->kind == LS_CALL && s->reg)) changes[s->reg->id] = true;
    if (s->kind == LS_PARALLEL || (s->kind == LS_FOR && s->loop == LF_PARALLEL))
      v->any_parallel = true;
    find_definitions(v, s->body, changes);
    find_definitions(v, s->else_body, changes);
  }
}

const char *loop_verify(struct arena *arena, const struct loop_kernel *k) {
  struct verifier *v = NEW(arena, struct verifier);
  bool *changes = NEW_ARRAY(arena, bool, k->n_regs + 1);
  v->arena = arena;
  v->kernel = k;
  v->bounds.lanes = k->lanes;
  v->bounds.definition = NEW_ARRAY(arena, lx, k->n_regs + 1);
  v->bounds.depth = NEW_ARRAY(arena, int, k->n_vars + 1);
  v->var_open = NEW_ARRAY(arena, bool, k->n_vars + 1);
  v->reg_open = NEW_ARRAY(arena, bool, k->n_regs + 1);
  v->reg_work = NEW_ARRAY(arena, enum work, k->n_regs + 1);
  find_definitions(v, k->body, changes);
  for (int i = 0; i < k->n_regs; i++)
    if (changes[i]) v->bounds.definition[i] = NULL;
  check_body(v, k->body, false);
  return v->fault;
}
