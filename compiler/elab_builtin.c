// elab_builtin.c: the functions of the language, one row each: name, parameters, how it is called.
// A parameter that ends in `?` may be missing; the last may end in `…`, then more may follow. Rows
// that fold on static numbers name the C function.
#include <math.h>
#include <string.h>

#include "elab_builtin.h"

// ---- elementwise ------------------------------------------------------------------------------

static double relu_of(double x) { return x > 0 ? x : 0; }
static double sigmoid_of(double x) { return 1 / (1 + exp(-x)); }
static double rsqrt_of(double x) { return 1 / sqrt(x); }
static double softplus_of(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }

static struct value unary(struct call *c) {
  struct value x = c->given[0].value;
  if (value_is_number(&x)) {
    double y = c->row->fold(value_number(&x));
    if (!isfinite(y)) {
      elab_error(c->e, c->f, c->loc, "`%s` of %g is not a number", c->row->name, value_number(&x));
      return value_error();
    }
    if (c->row->op == OP_floor && fabs(y) >= 0x1p63) {
      elab_error(c->e, c->f, c->loc, "`floor` of %g does not fit an integer of 64 bits",
                 value_number(&x));
      return value_error();
    }
    bool stays_integer = x.kind == V_INT &&
                         (c->row->op == OP_abs || c->row->op == OP_floor || c->row->op == OP_relu);
    return stays_integer || c->row->op == OP_floor ? value_int(c->loc, (int64_t)y)
                                                   : value_float(c->loc, y);
  }
  if (!builtin_tensor(c, 0, &x)) return value_error();
  return tensor_unary(c->e, c->f, c->row->op, c->loc, x);
}

// min(x, y) of two, or min(x, over: n) of one.
static struct value extremum(struct call *c) {
  struct value v[2] = {c->given[0].value, c->given[1].value};
  bool least = c->row->op == OP_reduce_min;
  if (!c->given[1].present) return builtin_reduce(c);
  if (c->given[2].present) {
    elab_error(c->e, c->f, c->given[2].loc, "`%s` takes two values, or one and `over:`",
               c->row->name);
    return value_error();
  }
  if (value_is_number(&v[0]) && value_is_number(&v[1]))
    return v[(value_number(&v[0]) < value_number(&v[1])) == least ? 0 : 1];
  return builtin_elementwise(c, least ? OP_min : OP_max, v, 2);
}

// min(max(x, low), high), either of which may be missing; where x is at a bound, it gets the gradient.
static struct value clamp(struct call *c) {
  struct value x = c->given[0].value;
  for (int i = 1; i < 3; i++) {
    if (!c->given[i].present) continue;
    struct value v[2] = {x, c->given[i].value};
    if (value_is_number(&v[0]) && value_is_number(&v[1]))
      x = v[(value_number(&v[1]) > value_number(&v[0])) == (i == 1)];
    else
      x = builtin_elementwise(c, i == 1 ? OP_max : OP_min, v, 2);
    if (x.kind == V_ERROR) return x;
  }
  return x;
}

// -1, 0 or 1; 0 of NaN, as PyTorch has it.
static struct value sign(struct call *c) {
  struct value x = c->given[0].value;
  if (value_is_number(&x)) {
    double y = value_number(&x);
    int64_t s = (y > 0) - (y < 0);
    return x.kind == V_INT ? value_int(c->loc, s) : value_float(c->loc, (double)s);
  }
  if (!builtin_tensor(c, 0, &x)) return value_error();
  dtype t = x.node->type.dtype;
  if (t == BT_BOOL) {
    elab_error(c->e, c->f, c->loc, "`sign` does not take %s", tensor_text(c->e, &x));
    return value_error();
  }
  graph_at(c->e, c->f, c->loc);
  struct graph *g = c->e->graph;
  struct node *zero = g_constant(g, t, 0);
  struct node *above = g_cast(g, g_binary(g, OP_lt, zero, x.node), t);
  x.node = g_binary(g, OP_sub, above, g_cast(g, g_binary(g, OP_lt, x.node, zero), t));
  x.loc = c->loc;
  return x;
}

static struct value power(struct call *c) {
  return binary_value(c->e, c->f, OP_POW, c->loc, c->given[0].value, c->given[1].value);
}

static struct value where(struct call *c) {
  struct value v[3] = {c->given[0].value, c->given[1].value, c->given[2].value};
  if (v[0].kind == V_BOOL) return v[0].integer ? v[1] : v[2];
  if (v[0].kind != V_TENSOR || v[0].node->type.dtype != BT_BOOL) {
    elab_error(c->e, c->f, c->given[0].loc,
               "the condition of `where` is a comparison of tensors, not %s",
               value_text(c->e, &v[0]));
    return value_error();
  }
  return builtin_elementwise(c, OP_where, v, 3);
}

static struct value stop_gradient(struct call *c) {
  struct value x = c->given[0].value;
  return value_is_number(&x) ? x : unary(c);
}

static struct value convert(struct call *c) {
  struct value x = c->given[0].value;
  dtype t;
  expect(dtype_parse(c->row->name, &t), "%s is no element type", c->row->name);
  if (value_is_number(&x) && c->e->graph) {
    if (x.kind == V_FLOAT && !dtype_is_float(t) && !(fabs(x.number) < 0x1p63)) {
      elab_error(c->e, c->f, c->loc, "%s does not fit %s", value_text(c->e, &x), dtype_name(t));
      return value_error();
    }
    if (x.kind == V_FLOAT && !dtype_is_float(t)) x = value_int(x.loc, (int64_t)x.number);
    return as_tensor(c->e, c->f, &x, t, "the argument") ? x : value_error();
  }
  if (!builtin_tensor(c, 0, &x)) return value_error();
  graph_at(c->e, c->f, c->loc);
  x.node = g_cast(c->e->graph, x.node, t);
  x.loc = c->loc;
  return x;
}

// ---- static -----------------------------------------------------------------------------------

static struct value rank(struct call *c) {
  struct value x = c->given[0].value;
  if (value_is_number(&x)) return value_int(c->loc, 0);
  return builtin_tensor(c, 0, &x) ? value_int(c->loc, value_rank(&x)) : value_error();
}

static struct value len(struct call *c) {
  const struct value *x = &c->given[0].value;
  if (x->kind == V_LIST) return value_int(c->loc, x->list->len);
  elab_error(c->e, c->f, c->given[0].loc, "`len` counts a list, not %s", value_text(c->e, x));
  return value_error();
}

static struct value fail(struct call *c) {
  const struct value *x = &c->given[0].value;
  if (c->e->checking) return value_error();
  elab_error(c->e, c->f, c->loc, "%s", x->kind == V_STRING ? x->string : value_text(c->e, x));
  return value_error();
}

static struct value initializer(struct call *c) {
  double x[2];
  for (int i = 0; i < 2; i++) {
    const struct value *v = &c->given[i].value;
    if (!value_is_number(v)) {
      elab_error(c->e, c->f, c->given[i].loc, "`%s` needs numbers known at compile time, not %s",
                 c->row->name, value_text(c->e, v));
      return value_error();
    }
    x[i] = value_number(v);
  }
  enum bt_init_kind kind = c->row->name[0] == 'u' ? BT_INIT_UNIFORM : BT_INIT_NORMAL;
  return (struct value){.kind = V_INIT, .loc = c->loc, .init = {kind, x[0], x[1]}};
}

// ---- the table --------------------------------------------------------------------------------

static const struct builtin table[] = {
    {"exp", "x", unary, OP_exp, exp},
    {"log", "x", unary, OP_log, log},
    {"sqrt", "x", unary, OP_sqrt, sqrt},
    {"rsqrt", "x", unary, OP_rsqrt, rsqrt_of},
    {"tanh", "x", unary, OP_tanh, tanh},
    {"sigmoid", "x", unary, OP_sigmoid, sigmoid_of},
    {"softplus", "x", unary, OP_softplus, softplus_of},
    {"erf", "x", unary, OP_erf, erf},
    {"relu", "x", unary, OP_relu, relu_of},
    {"abs", "x", unary, OP_abs, fabs},
    {"sin", "x", unary, OP_sin, sin},
    {"cos", "x", unary, OP_cos, cos},
    {"floor", "x", unary, OP_floor, floor},
    {"min", "x y? over?", extremum, OP_reduce_min, NULL},
    {"max", "x y? over?", extremum, OP_reduce_max, NULL},
    {"clamp", "x min? max?", clamp, OP_COUNT, NULL},
    {"sign", "x", sign, OP_COUNT, NULL},
    {"pow", "x exponent", power, OP_pow, NULL},
    {"where", "condition x y", where, OP_where, NULL},
    {"stop_gradient", "x", stop_gradient, OP_stop_gradient, NULL},
    {"f32", "x", convert, OP_cast, NULL},
    {"f64", "x", convert, OP_cast, NULL},
    {"i32", "x", convert, OP_cast, NULL},
    {"i64", "x", convert, OP_cast, NULL},
    {"sum", "x over?", builtin_reduce, OP_sum, NULL},
    {"mean", "x over?", builtin_reduce, OP_mean, NULL},
    {"var", "x over?", builtin_reduce, OP_var, NULL},
    {"argmax", "x over?", builtin_reduce, OP_argmax, NULL},
    {"logsumexp", "x over?", builtin_logsumexp, OP_COUNT, NULL},
    {"norm", "x over?", builtin_norm, OP_COUNT, NULL},
    {"count", "x over?", builtin_count, OP_COUNT, NULL},
    {"reshape", "x shape", builtin_reshape, OP_reshape, NULL},
    {"permute", "x axes", builtin_permute, OP_transpose, NULL},
    {"pad", "x widths value?", builtin_pad, OP_pad, NULL},
    {"concat", "xs axis", builtin_concat, OP_concat, NULL},
    {"diag", "x", builtin_diag, OP_diag, NULL},
    {"offdiag", "x", builtin_offdiag, OP_COUNT, NULL},
    {"tril", "x diagonal? value?", builtin_triangle, OP_COUNT, NULL},
    {"triu", "x diagonal? value?", builtin_triangle, OP_COUNT, NULL},
    {"eye", "n", builtin_eye, OP_COUNT, NULL},
    {"cholesky", "x", builtin_cholesky, OP_cholesky, NULL},
    {"solve_triangular", "a b upper? unitriangular?", builtin_solve_triangular, OP_solve_triangular, NULL},
    {"one_hot", "labels classes", builtin_one_hot, OP_COUNT, NULL},
    {"take", "x indices axis", builtin_take, OP_gather, NULL},
    {"gather", "x indices axis", builtin_gather, OP_gather, NULL},
    {"einsum", "subscripts operands…", builtin_einsum, OP_COUNT, NULL},
    {"conv2d", "x w stride? pad? dilation? groups? bias?", builtin_conv, OP_conv2d, NULL},
    {"max_pool", "x size stride? pad?", builtin_pool, OP_max_pool2d, NULL},
    {"avg_pool", "x size stride? pad?", builtin_pool, OP_avg_pool2d, NULL},
    {"rank", "x", rank, OP_COUNT, NULL},
    {"len", "list", len, OP_COUNT, NULL},
    {"fail", "message", fail, OP_COUNT, NULL},
    {"random_uniform", "shape low? high?", builtin_random_uniform, OP_random_uniform, NULL},
    {"random_normal", "shape mean? sd?", builtin_random_normal, OP_random_normal, NULL},
    {"random_beta", "shape a b", builtin_random_beta, OP_random_beta, NULL},
    {"random_permutation", "n", builtin_random_permutation, OP_random_permutation, NULL},
    {"uniform", "low high", initializer, OP_COUNT, NULL},
    {"normal", "mean sd", initializer, OP_COUNT, NULL},
};
enum { N_BUILTINS = sizeof table / sizeof *table };

// Per-step scalars and words: names without a call.
static const struct {
  const char *name;
  enum bt_input_kind kind;
} inputs[] = {
    {"step", BT_INPUT_STEP},
    {"steps", BT_INPUT_STEPS},
    {"epoch", BT_INPUT_EPOCH},
    {"epochs", BT_INPUT_EPOCHS},
};
enum { N_INPUTS = sizeof inputs / sizeof *inputs };
static const char *const words[] = {"training", "eval", "frozen", "ema"};
enum { N_WORDS = sizeof words / sizeof *words };

// What other languages call a function, and how it is said here.
static const struct {
  const char *name, *here;
} elsewhere[] = {
    {"matmul", "`a @ b`"},
    {"mm", "`a @ b`"},
    {"bmm", "`a @ b`"},
    {"dot", "`sum(a * b, over: …)`"},
    {"transpose", "`x'` for the last two axes, `permute(x, axes)` for all"},
    {"T", "`x'`"},
    {"square", "`x^2`"},
    {"maximum", "`max(x, y)`"},
    {"minimum", "`min(x, y)`"},
    {"clip", "`clamp(x, low, high)`"},
    {"std", "`sqrt(var(x, over: …))`"},
    {"detach", "`stop_gradient(x)`"},
    {"zeros", "`0`, for a number stretches to any shape"},
    {"ones", "`1`, for a number stretches to any shape"},
    {"shape", "`count(x, over: axis)`, or a name in the type of a parameter: `x: f32[n, d]`"},
    {"size", "`count(x, over: axis)`, or a name in the type of a parameter: `x: f32[n, d]`"},
    {"view", "`reshape(x, shape)`"},
    {"squeeze", "`reshape(x, shape)`"},
    {"unsqueeze", "`reshape(x, shape)`"},
    {"cat", "`concat([a, b], axis)`"},
    {"rand", "`random_uniform(shape)`"},
    {"randn", "`random_normal(shape)`"},
    {"randperm", "`random_permutation(n)`"},
    {"bernoulli", "`random_uniform(shape) < p`"},
    {"index_select", "`take(x, indices, axis)`"},
    {"take_along_axis", "`gather(x, indices, axis)`"},
    {"take_along_dim", "`gather(x, indices, axis)`"},
    {"stack", "`reshape` to one more axis, then `concat([a, b], axis)`"},
};

const char *builtin_elsewhere(const char *name) {
  for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
    if (strcmp(elsewhere[i].name, name) == 0) return elsewhere[i].here;
  return NULL;
}

const struct builtin *builtin_find(const char *name) {
  for (int i = 0; i < N_BUILTINS; i++)
    if (strcmp(table[i].name, name) == 0) return &table[i];
  return NULL;
}

const char *builtin_name(const struct builtin *b) { return b->name; }

bool builtin_input(const char *name, enum bt_input_kind *kind) {
  for (int i = 0; i < N_INPUTS; i++) {
    if (strcmp(inputs[i].name, name) != 0) continue;
    *kind = inputs[i].kind;
    return true;
  }
  return false;
}

bool builtin_word(const char *name) {
  enum bt_input_kind kind;
  for (int i = 0; i < N_WORDS; i++)
    if (strcmp(words[i], name) == 0) return true;
  return builtin_input(name, &kind);
}

int builtin_names(const char **out, int most) {
  int n = 0;
  for (int i = 0; i < N_BUILTINS && n < most; i++) out[n++] = table[i].name;
  for (int i = 0; i < N_INPUTS && n < most; i++) out[n++] = inputs[i].name;
  for (int i = 0; i < N_WORDS && n < most; i++) out[n++] = words[i];
  return n;
}

// ---- calling ----------------------------------------------------------------------------------

static int row_labels(struct elab *e, const struct builtin *b, struct label *labels) {
  static const char more[] = "…";
  int n = 0;
  for (const char *s = b->params; *s;) {
    size_t length = strcspn(s, " ?…");
    bool optional = s[length] == '?', repeats = strncmp(s + length, more, strlen(more)) == 0;
    const char *name = str_ndup(e->b->arena, s, length);
    expect(n < BUILTIN_PARAMS, "%s has too many parameters", b->name);
    labels[n++] = (struct label){.name = name, .required = !optional};
    for (int k = 2; repeats && n < BUILTIN_PARAMS; k++) // by position only: these are no names
      labels[n++] = (struct label){.name = str_printf(e->b->arena, "%s %d", name, k)};
    s += length + optional + (repeats ? strlen(more) : 0);
    s += *s == ' ';
  }
  return n;
}

struct value builtin_call(struct elab *e, struct frame *f, const struct builtin *b,
                          const arg_list *args, struct loc loc) {
  struct label labels[BUILTIN_PARAMS];
  struct call c = {.e = e, .f = f, .row = b, .loc = loc};
  int n = row_labels(e, b, labels);
  const char *name = str_printf(e->b->arena, "`%s`", b->name);
  return args_match(e, f, args, loc, name, labels, n, c.given) ? b->call(&c) : value_error();
}

struct value builtin_apply(struct elab *e, struct frame *f, const struct builtin *b,
                           struct given *given, int n, struct loc loc) {
  struct label labels[BUILTIN_PARAMS];
  struct call c = {.e = e, .f = f, .row = b, .loc = loc};
  int most = row_labels(e, b, labels);
  bool fits = n <= most;
  for (int i = n; i < most; i++) fits = fits && !labels[i].required;
  if (!fits) {
    elab_error(e, f, loc, "`%s` takes (%s), not %d argument%s", b->name, labels_text(e, labels, most), n,
               n == 1 ? "" : "s");
    return value_error();
  }
  memcpy(c.given, given, sizeof *given * (size_t)n);
  return b->call(&c);
}
