// loops_text.c: loop kernels as text, for people (`--emit=loops`).
//
//   kernel increment(x: f32[1000] inout)
//     parallel for i in 0..1000 by 16
//       x[i : (1000 - i)] = (x[i : (1000 - i)] + 1.0)
//
// `x[i]` is a scalar, `x[i :]` a whole vector, `x[i : n]` its first n lanes, `x[i : n by 4]` a
// strided one. Indices are infix, everything else is written as it is named in loop_ops.def.
#include "loops.h"

#include <inttypes.h>

static void print(FILE *out, lx e);

static void print_const(FILE *out, lx e) {
  if (e->type == LT_F32 || e->type == LT_F64)
    fprintf(out, "%.9g", e->real);
  else
    fprintf(out, "%" PRId64, e->integer);
  if (e->type != LT_I64) fprintf(out, ":%s", loop_type_name(e->type));
  if (e->lanes > 1) fprintf(out, "x%d", e->lanes);
}

static void print_access(FILE *out, const struct loop_buf *buf, lx index, bool vector, lx n,
                         int64_t stride) {
  fprintf(out, "%s[", buf->name);
  print(out, index);
  if (vector) fputs(" :", out);
  if (n) fputc(' ', out), print(out, n);
  if (stride != 1) fprintf(out, " by %" PRId64, stride);
  fputc(']', out);
}

static const char *infix(enum loop_op op) {
  switch (op) {
  case LX_ADD: return "+";
  case LX_SUB: return "-";
  case LX_MUL: return "*";
  case LX_DIV: return "/";
  case LX_MOD: return "%";
  default: return NULL;
  }
}

static void print_operation(FILE *out, lx e) {
  const char *sign = infix(e->op);
  if (sign) {
    fputc('(', out);
    print(out, e->a);
    fprintf(out, " %s ", sign);
    print(out, e->b);
    fputc(')', out);
    return;
  }
  lx operand[] = {e->a, e->b, e->c};
  fprintf(out, "%s(", lx_op_name(e->op));
  for (int i = 0; i < lx_arity(e->op); i++) {
    fputs(i ? ", " : "", out);
    print(out, operand[i]);
  }
  fputc(')', out);
}

static void print(FILE *out, lx e) {
  switch (e->op) {
  case LX_CONST: print_const(out, e); break;
  case LX_INDEX: fputs(e->var->name, out); break;
  case LX_REG:
    fputs(e->reg->name, out);
    if (e->reg->array) fputc('[', out), print(out, e->a), fputc(']', out);
    break;
  case LX_LOAD: print_access(out, e->buf, e->a, e->lanes > 1, e->b, e->stride); break;
  case LX_GATHER: print_access(out, e->buf, e->a, false, NULL, 1); break;
  case LX_IOTA: fputs("iota", out); break;
  case LX_BROADCAST: fputs("broadcast(", out), print(out, e->a), fputc(')', out); break;
  case LX_CONVERT:
    fprintf(out, "%s(", loop_type_name(e->type));
    print(out, e->a);
    fputc(')', out);
    break;
  case LX_CHECKED:
    fputs("checked(", out);
    print(out, e->a);
    fprintf(out, ", %" PRId64 "..%" PRId64 ")", e->lo, e->hi);
    break;
  case LX_ADDRESS:
    fprintf(out, "&%s[", e->buf->name);
    print(out, e->a);
    fprintf(out, "; %" PRId64 "]", e->extent);
    break;
  case LX_SYMBOL: fputs(e->symbol, out); break;
  default: print_operation(out, e);
  }
}

static void print_body(FILE *out, const struct loop_stmt *s, int depth);

static void print_loop(FILE *out, const struct loop_stmt *s, int depth) {
  static const char *const kind[] = {"for", "parallel for", "unroll"};
  fprintf(out, "%s %s in ", kind[s->loop], s->var->name);
  print(out, s->lo);
  fputs("..", out);
  print(out, s->hi);
  if (s->step != 1) fprintf(out, " by %" PRId64, s->step);
  fputc('\n', out);
  print_body(out, s->body, depth + 1);
}

static void print_reg(FILE *out, const struct loop_stmt *s) {
  fprintf(out, "%s: %s", s->reg->name, loop_type_name(s->reg->type));
  if (s->reg->lanes > 1) fprintf(out, "x%d", s->reg->lanes);
  if (s->reg->array) fprintf(out, "[%d]", s->reg->count);
  if (s->value) fputs(" = ", out), print(out, s->value);
  fputc('\n', out);
}

static void print_set(FILE *out, const struct loop_stmt *s) {
  fputs(s->reg->name, out);
  if (s->reg->array) fputc('[', out), print(out, s->index), fputc(']', out);
  fputs(" = ", out);
  print(out, s->value);
  fputc('\n', out);
}

static void print_if(FILE *out, const struct loop_stmt *s, int depth) {
  fputs("if ", out);
  print(out, s->value);
  fputc('\n', out);
  print_body(out, s->body, depth + 1);
  if (!s->else_body) return;
  fprintf(out, "%*selse\n", 2 * depth, "");
  print_body(out, s->else_body, depth + 1);
}

static void print_call(FILE *out, const struct loop_stmt *s) {
  if (s->reg) fprintf(out, "%s = ", s->reg->name);
  fprintf(out, "call %s(", s->symbol);
  for (int i = 0; i < s->args.len; i++) fputs(i ? ", " : "", out), print(out, s->args.data[i]);
  fputs(")\n", out);
}

static void print_body(FILE *out, const struct loop_stmt *s, int depth) {
  for (; s; s = s->next) {
    fprintf(out, "%*s", 2 * depth, "");
    switch (s->kind) {
    case LS_FOR: print_loop(out, s, depth); break;
    case LS_PARALLEL: fputs("parallel\n", out), print_body(out, s->body, depth + 1); break;
    case LS_BARRIER: fputs("barrier\n", out); break;
    case LS_REG: print_reg(out, s); break;
    case LS_SET: print_set(out, s); break;
    case LS_STORE:
      print_access(out, s->buf, s->index, s->value->lanes > 1, s->lanes, s->stride);
      fputs(" = ", out);
      print(out, s->value);
      fputc('\n', out);
      break;
    case LS_IF: print_if(out, s, depth); break;
    case LS_CALL: print_call(out, s); break;
    case LS_COMMENT: fprintf(out, "# %s\n", s->symbol); break;
    }
  }
}

void loop_print(FILE *out, const struct loop_kernel *k) {
  if (k->equation) fprintf(out, "# %s\n", k->equation);
  for (int i = 0; i < k->sources.len; i++) fprintf(out, "# %s\n", k->sources.data[i]);
  fprintf(out, "kernel %s(", k->name);
  for (int i = 0; i < k->params.len; i++) {
    const struct loop_buf *p = k->params.data[i];
    const char *use = !p->write ? "in" : !p->read ? "out" : "inout";
    fprintf(out, "%s%s: %s[%" PRId64 "] %s", i ? ", " : "", p->name, loop_type_name(p->type),
            p->count, use);
  }
  fputs(")\n", out);
  for (int i = 0; i < k->bufs.len; i++) {
    const struct loop_buf *s = k->bufs.data[i];
    if (s->space == LB_PARAM) continue;
    fprintf(out, "  %s %s: %s[%" PRId64 "]\n", s->space == LB_SHARED ? "shared" : "scratch",
            s->name, loop_type_name(s->type), s->count);
  }
  print_body(out, k->body, 1);
}
