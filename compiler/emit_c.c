// emit_c.c: prints loop kernels as C with GCC/Clang vector extensions.
//
// One function a kernel, made to be read: index arithmetic as the schedule built it, named
// intermediate values, one C loop for each loop. Unrolled loops keep their form under
// `#pragma GCC unroll`; register arrays are arrays that the host compiler dissolves into registers.
#include "emit_c.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct emitter {
  FILE *out;
  const struct loop_kernel *kernel;
  const struct target *target;
  int indent;
  int region; // depth of parallel regions: 0 or 1
};

static const char *const form_table[] = {
#define X(ID, name, arity, class, c) c,
#include "loop_ops.def"
#undef X
};

const char *emit_c_type(enum loop_type t) {
  static const char *const name[] = {"float", "double", "int32_t", "int64_t", "uint8_t", "uint8_t"};
  return name[t];
}

// The type of a value: bool is int as a scalar and a lane mask as a vector.
static const char *value_type(enum loop_type t, int lanes) {
  static const char *const scalar[] = {"float", "double", "int32_t", "int64_t", "uint8_t", "int"};
  static const char *const vector[] = {"vf32", "vf64", "vi32", "vi64", "vu8", "vi32"};
  return lanes > 1 ? vector[t] : scalar[t];
}

void emit_c_prelude(FILE *out, const struct target *t) {
  fprintf(out, "#include <omp.h>\n#include <stdint.h>\n#define BTRT_LANES %d\n", t->lanes);
  fprintf(out, "#include \"btrt_math.h\"\n#include \"btrt_random.h\"\n");
  fputs("#ifdef BTC_PART // one part of this file: kernels of part 1, 2, …, or (0) everything else\n"
        "#define IN_PART(n) (BTC_PART == (n))\n"
        "#define KERNEL __attribute__((visibility(\"hidden\")))\n"
        "#else\n#define IN_PART(n) 1\n#define KERNEL static\n#endif\n",
        out);
}

// ---- expressions ------------------------------------------------------------------------------
enum { PREC_ANY = 0, PREC_SUM = 2, PREC_PRODUCT = 3, PREC_UNARY = 4 };
static void emit(struct emitter *c, lx e, int precedence);

static int precedence_of(enum loop_op op) {
  switch (op) {
  case LX_ADD:
  case LX_SUB:
  case LX_FMA: return PREC_SUM;
  case LX_MUL:
  case LX_DIV:
  case LX_MOD: return PREC_PRODUCT;
  case LX_NEG:
  case LX_NOT: return PREC_UNARY;
  case LX_LT:
  case LX_LE:
  case LX_EQ:
  case LX_NE:
  case LX_AND:
  case LX_OR: return 1;
  default: return PREC_UNARY + 1; // a function call
  }
}

// What an operand must bind at least as tightly as, to stand bare.
static int operand_precedence(enum loop_op op, int operand) {
  switch (op) {
  case LX_ADD:
  case LX_SUB: return operand == 1 ? PREC_SUM : PREC_PRODUCT;
  case LX_MUL:
  case LX_DIV:
  case LX_MOD: return operand == 1 ? PREC_PRODUCT : PREC_UNARY;
  case LX_FMA: return operand == 1 ? PREC_PRODUCT : operand == 2 ? PREC_UNARY : PREC_PRODUCT;
  case LX_NEG:
  case LX_NOT: return PREC_UNARY + 1;
  case LX_LT:
  case LX_LE:
  case LX_EQ:
  case LX_NE: return PREC_SUM;
  case LX_AND:
  case LX_OR: return PREC_SUM;
  default: return PREC_ANY;
  }
}

static void emit_form(struct emitter *c, lx e) {
  const char *form = form_table[e->op];
  if (e->op == LX_NOT && e->lanes == 1) form = "!$1";
  lx operand[] = {e->a, e->b, e->c};
  for (const char *p = form; *p; p++) {
    if (*p != '$') {
      fputc(*p, c->out);
      continue;
    }
    int i = *++p - '0';
    emit(c, operand[i - 1], operand_precedence(e->op, i));
  }
}

static bool is_comparison(enum loop_op op) {
  return op == LX_LT || op == LX_LE || op == LX_EQ || op == LX_NE;
}

static void emit_operation(struct emitter *c, lx e, int precedence) {
  // Comparing 8-byte lanes gives an 8-byte mask; masks have 4 bytes a lane.
  bool narrow = is_comparison(e->op) && e->lanes > 1 && loop_type_size(e->a->type) == 8;
  bool parens = !narrow && precedence_of(e->op) < precedence;
  fputs(narrow ? "vconvert(" : parens ? "(" : "", c->out);
  emit_form(c, e);
  fputs(narrow ? ", vi32)" : parens ? ")" : "", c->out);
}

static void emit_real(FILE *out, double v, bool f32) {
  const char *type = f32 ? "f" : "";
  if (isnan(v))
    fprintf(out, "__builtin_nan%s(\"\")", type);
  else if (isinf(v))
    fprintf(out, "%s__builtin_inf%s()", v < 0 ? "-" : "", type);
  else {
    char text[40];
    snprintf(text, sizeof text, f32 ? "%.9g" : "%.17g", v);
    bool plain = !strpbrk(text, ".e");
    fprintf(out, "%s%s%s", text, plain ? ".0" : "", type);
  }
}

static void emit_const(struct emitter *c, lx e) {
  if (e->lanes > 1) fprintf(c->out, "vsplat_%s(", loop_type_name(e->type));
  bool negative = e->type == LT_F32 || e->type == LT_F64 ? signbit(e->real) : e->integer < 0;
  bool parens = e->lanes == 1 && negative;
  if (parens) fputc('(', c->out);
  if (e->type == LT_F32 || e->type == LT_F64)
    emit_real(c->out, e->real, e->type == LT_F32);
  else if (e->integer == INT64_MIN) // C has no literal of it
    fprintf(c->out, "-%" PRId64 " - 1", INT64_MAX);
  else
    fprintf(c->out, "%" PRId64, e->integer);
  fputs(parens ? ")" : "", c->out);
  fputs(e->lanes > 1 ? ")" : "", c->out);
}

static void emit_pointer(struct emitter *c, const struct loop_buf *buf, lx index) {
  int64_t zero;
  fputs(buf->name, c->out);
  if (lx_is_int(index, &zero) && zero == 0) return;
  fputs(" + ", c->out);
  emit(c, index, PREC_SUM);
}

static void emit_lanes(struct emitter *c, lx n) {
  if (n)
    emit(c, n, PREC_ANY);
  else
    fprintf(c->out, "%d", c->target->lanes);
}

static void emit_load(struct emitter *c, lx e) {
  if (e->lanes == 1) {
    fprintf(c->out, "%s[", e->buf->name);
    emit(c, e->a, PREC_ANY);
    fputc(']', c->out);
    return;
  }
  bool strided = e->stride != 1;
  fprintf(c->out, "vload_%s%s(", loop_type_name(e->type), strided ? "_strided" : e->b ? "_n" : "");
  emit_pointer(c, e->buf, e->a);
  if (strided) fprintf(c->out, ", %" PRId64, e->stride);
  if (strided || e->b) {
    fputs(", ", c->out);
    emit_lanes(c, e->b);
  }
  fputc(')', c->out);
}

static void emit_convert(struct emitter *c, lx e) {
  enum loop_type from = e->a->type, to = e->type;
  bool saturates = (from == LT_F32 || from == LT_F64) && (to == LT_I32 || to == LT_I64);
  if (saturates) {
    fprintf(c->out, "%c%s_to_%s(", e->lanes == 1 ? 's' : 'v', loop_type_name(from), loop_type_name(to));
    emit(c, e->a, PREC_ANY);
    fputc(')', c->out);
  } else if (e->lanes == 1) {
    fputs(to == LT_BOOL ? "(" : "(", c->out);
    if (to != LT_BOOL) fprintf(c->out, "%s)", value_type(to, 1));
    emit(c, e->a, PREC_UNARY);
    fputs(to == LT_BOOL ? " != 0)" : "", c->out);
  } else if (to == LT_BOOL) {
    fputs("vconvert(", c->out);
    emit(c, e->a, PREC_SUM);
    fputs(" != 0, vi32)", c->out);
  } else {
    fputs("vconvert(", c->out);
    emit(c, e->a, PREC_SUM);
    fprintf(c->out, "%s, %s)", from == LT_BOOL ? " & 1" : "", value_type(to, e->lanes));
  }
}

static void emit_gather(struct emitter *c, lx e) {
  fprintf(c->out, "vgather_%s(%s, ", loop_type_name(e->type), e->buf->name);
  fputs(e->a->type == LT_I64 ? "" : "vconvert(", c->out);
  emit(c, e->a, PREC_ANY);
  fputs(e->a->type == LT_I64 ? ")" : ", vi64))", c->out);
}

static void emit_reg(struct emitter *c, const struct loop_reg *r, lx index) {
  fputs(r->name, c->out);
  if (!r->array) return;
  fputc('[', c->out);
  emit(c, index, PREC_ANY);
  fputc(']', c->out);
}

static void emit(struct emitter *c, lx e, int precedence) {
  switch (e->op) {
  case LX_CONST: emit_const(c, e); break;
  case LX_INDEX: fputs(e->var->name, c->out); break;
  case LX_REG: emit_reg(c, e->reg, e->a); break;
  case LX_LOAD: emit_load(c, e); break;
  case LX_GATHER: emit_gather(c, e); break;
  case LX_IOTA: fputs("btrt_iota()", c->out); break;
  case LX_BROADCAST:
    fprintf(c->out, "vsplat_%s(", loop_type_name(e->type));
    emit(c, e->a, PREC_ANY);
    fputc(')', c->out);
    break;
  case LX_CONVERT: emit_convert(c, e); break;
  case LX_CHECKED: emit(c, e->a, precedence); break;
  case LX_ADDRESS: emit_pointer(c, e->buf, e->a); break;
  case LX_SYMBOL: fputs(e->symbol, c->out); break;
  default: emit_operation(c, e, precedence);
  }
}

// ---- statements -------------------------------------------------------------------------------
static void emit_body(struct emitter *c, const struct loop_stmt *s);

static void start_line(struct emitter *c) {
  for (int i = 0; i < c->indent; i++) fputs("  ", c->out);
}
static void pragma(struct emitter *c, const char *text) {
  start_line(c);
  fprintf(c->out, "#pragma %s\n", text);
}

// Pointers into this thread's scratch, where a kernel's statements can be many threads'.
static void emit_thread_scratch(struct emitter *c) {
  const struct loop_kernel *k = c->kernel;
  size_t bytes = loop_thread_bytes(k);
  if (!bytes) return;
  start_line(c);
  fprintf(c->out, "char *mine = thread_work + (size_t)omp_get_thread_num() * %zu;\n", bytes);
  for (int i = 0; i < k->bufs.len; i++) {
    const struct loop_buf *buf = k->bufs.data[i];
    if (buf->space != LB_SCRATCH) continue;
    start_line(c);
    fprintf(c->out, "%s *restrict %s = (%s *)(mine + %zu);\n", emit_c_type(buf->type), buf->name,
            emit_c_type(buf->type), loop_scratch_offset(k, buf));
  }
}

static void emit_block(struct emitter *c, const struct loop_stmt *body, bool scratch) {
  fputs("{\n", c->out);
  c->indent++;
  if (scratch) emit_thread_scratch(c);
  emit_body(c, body);
  c->indent--;
  start_line(c);
  fputs("}", c->out);
}

static void emit_for(struct emitter *c, const struct loop_stmt *s) {
  bool parallel = s->loop == LF_PARALLEL;
  if (parallel)
    pragma(c, c->region ? "omp for schedule(static) nowait" : "omp parallel for schedule(static)");
  if (s->loop == LF_UNROLL) {
    start_line(c);
    fprintf(c->out, "#pragma GCC unroll %" PRId64 "\n", s->hi->integer ? s->hi->integer : 1);
  }
  start_line(c);
  fprintf(c->out, "for (int64_t %s = ", s->var->name);
  emit(c, s->lo, PREC_ANY);
  fprintf(c->out, "; %s < ", s->var->name);
  emit(c, s->hi, PREC_SUM);
  if (s->step == 1)
    fprintf(c->out, "; %s++) ", s->var->name);
  else
    fprintf(c->out, "; %s += %" PRId64 ") ", s->var->name, s->step);
  bool opens = parallel && !c->region;
  c->region += opens;
  emit_block(c, s->body, opens);
  c->region -= opens;
  fputc('\n', c->out);
}

static void emit_parallel(struct emitter *c, const struct loop_stmt *s) {
  pragma(c, "omp parallel");
  start_line(c);
  c->region++;
  emit_block(c, s->body, true);
  c->region--;
  fputc('\n', c->out);
}

static void emit_reg_decl(struct emitter *c, const struct loop_stmt *s) {
  const struct loop_reg *r = s->reg;
  start_line(c);
  fprintf(c->out, "%s %s", value_type(r->type, r->lanes), r->name);
  if (!r->array) {
    if (s->value) {
      fputs(" = ", c->out);
      emit(c, s->value, PREC_ANY);
    }
    fputs(";\n", c->out);
    return;
  }
  fprintf(c->out, "[%d];\n", r->count);
  if (!s->value) return;
  start_line(c);
  fprintf(c->out, "#pragma GCC unroll %d\n", r->count);
  start_line(c);
  fprintf(c->out, "for (int each = 0; each < %d; each++) %s[each] = ", r->count, r->name);
  emit(c, s->value, PREC_ANY);
  fputs(";\n", c->out);
}

static void emit_store(struct emitter *c, const struct loop_stmt *s) {
  start_line(c);
  if (s->value->lanes == 1) {
    fprintf(c->out, "%s[", s->buf->name);
    emit(c, s->index, PREC_ANY);
    fputs("] = ", c->out);
    emit(c, s->value, PREC_ANY);
    fputs(";\n", c->out);
    return;
  }
  bool strided = s->stride != 1;
  fprintf(c->out, "vstore_%s%s(", loop_type_name(s->buf->type),
          strided    ? "_strided"
          : s->lanes ? "_n"
                     : "");
  emit_pointer(c, s->buf, s->index);
  if (strided) fprintf(c->out, ", %" PRId64, s->stride);
  if (strided || s->lanes) {
    fputs(", ", c->out);
    emit_lanes(c, s->lanes);
  }
  fputs(", ", c->out);
  emit(c, s->value, PREC_ANY);
  fputs(");\n", c->out);
}

static void emit_call(struct emitter *c, const struct loop_stmt *s) {
  start_line(c);
  if (s->reg) fprintf(c->out, "%s = ", s->reg->name);
  fprintf(c->out, "%s(", s->symbol);
  for (int i = 0; i < s->args.len; i++) {
    fputs(i ? ", " : "", c->out);
    emit(c, s->args.data[i], PREC_ANY);
  }
  fputs(");\n", c->out);
}

static void emit_if(struct emitter *c, const struct loop_stmt *s) {
  start_line(c);
  fputs("if (", c->out);
  emit(c, s->value, PREC_ANY);
  fputs(") ", c->out);
  emit_block(c, s->body, false);
  if (s->else_body) {
    fputs(" else ", c->out);
    emit_block(c, s->else_body, false);
  }
  fputc('\n', c->out);
}

static void emit_set(struct emitter *c, const struct loop_stmt *s) {
  start_line(c);
  emit_reg(c, s->reg, s->index);
  fputs(" = ", c->out);
  emit(c, s->value, PREC_ANY);
  fputs(";\n", c->out);
}

static void emit_body(struct emitter *c, const struct loop_stmt *s) {
  for (; s; s = s->next) switch (s->kind) {
    case LS_FOR: emit_for(c, s); break;
    case LS_PARALLEL: emit_parallel(c, s); break;
    case LS_BARRIER: pragma(c, "omp barrier"); break;
    case LS_REG: emit_reg_decl(c, s); break;
    case LS_SET: emit_set(c, s); break;
    case LS_STORE: emit_store(c, s); break;
    case LS_IF: emit_if(c, s); break;
    case LS_CALL: emit_call(c, s); break;
    case LS_COMMENT:
      start_line(c);
      fprintf(c->out, "// %s\n", s->symbol);
      break;
    }
}

// ---- kernels ----------------------------------------------------------------------------------
static void emit_heading(FILE *out, const struct loop_kernel *k) {
  fprintf(out, "\n// %s: %s\n", k->name, k->equation ? k->equation : "");
  for (int i = 0; i < k->sources.len; i++)
    fprintf(out, "%s%s%s", i ? ", " : "// from ", k->sources.data[i],
            i + 1 == k->sources.len ? "\n" : "");
}

static void emit_params(FILE *out, const struct loop_kernel *k) {
  const char *comma = "";
  for (int i = 0; i < k->params.len; i++) {
    const struct loop_buf *buf = k->params.data[i];
    fprintf(out, "%s%s%s *restrict %s", comma, buf->write ? "" : "const ", emit_c_type(buf->type),
            buf->name);
    comma = ", ";
  }
  if (loop_shared_bytes(k)) fprintf(out, "%schar *shared_work", comma), comma = ", ";
  if (loop_thread_bytes(k))
    fprintf(out, "%schar *thread_work", comma);
  else if (!*comma)
    fputs("void", out);
}

// Whether some statement outside any parallel part needs this thread's scratch: then, and in
// kernels without parallel parts, it is declared at the top.
static bool has_parallel(const struct loop_stmt *s) {
  for (; s; s = s->next)
    if (s->kind == LS_PARALLEL || (s->kind == LS_FOR && s->loop == LF_PARALLEL) ||
        has_parallel(s->body) || has_parallel(s->else_body))
      return true;
  return false;
}

static void emit_head(FILE *out, const struct loop_kernel *k) {
  fprintf(out, "KERNEL void %s(", k->name);
  emit_params(out, k);
}

void emit_c_prototype(FILE *out, const struct loop_kernel *k) {
  emit_head(out, k);
  fputs(");\n", out);
}

void emit_c_kernel(FILE *out, const struct loop_kernel *k, const struct target *t) {
  struct emitter c = {.out = out, .kernel = k, .target = t, .indent = 1};
  emit_heading(out, k);
  emit_head(out, k);
  fputs(") {\n", out);
  for (int i = 0; i < k->bufs.len; i++) {
    const struct loop_buf *buf = k->bufs.data[i];
    const char *type = emit_c_type(buf->type);
    if (buf->space == LB_SHARED)
      fprintf(out, "  %s *%s = (%s *)(shared_work + %zu);\n", type, buf->name, type,
              loop_scratch_offset(k, buf));
  }
  if (!has_parallel(k->body)) emit_thread_scratch(&c);
  emit_body(&c, k->body);
  fputs("}\n", out);
}
