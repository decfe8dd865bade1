// test_elab.c: elaboration. Mistakes are in tests/errors/, files that say what they must get.
// Values are checked by running elaborated models in the interpreter against PyTorch's (skipped
// where the reference tensors are not there).
#define _GNU_SOURCE // rt_test.h: asprintf
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "elab_builtin.h"
#include "expectations.h"
#include "graph_helper.h"
#include "graph.h"
#include "rt_test.h"
#include "safetensors.h"

// ---- helpers ----------------------------------------------------------------------------------

static struct btc *fresh(void) {
  struct btc *b = btc_new();
  b->opt.home = ".";
  return b;
}

static void assert_clean(struct btc *b) {
  if (b->diags.len == 0) return;
  diag_flush(b, stderr);
  fail_msg("unexpected diagnostics");
}

static struct model *model_of_file(struct btc *b, const char *path) {
  struct model *m = model_elaborate(b, parse_file(b, source_open(b, path, (struct loc){0})));
  assert_clean(b);
  return m;
}

static struct model *model_of_text(struct btc *b, const char *text) {
  struct model *m =
      model_elaborate(b, parse_file(b, source_add(b, "test.btg", text, strlen(text))));
  assert_clean(b);
  return m;
}

static struct program *program_named(struct model *m, const char *name) {
  for (int i = 0; i < m->programs.len; i++)
    if (str_eq(m->programs.data[i].name, name)) return &m->programs.data[i];
  fail_msg("no program %s", name);
  return NULL;
}

static int64_t parameters_under(const struct model *m, const char *prefix) {
  int64_t n = 0;
  for (int i = 0; i < m->tensors.len; i++) {
    const struct bt_tensor *t = &m->tensors.data[i];
    if (t->role == BT_PARAM && strncmp(t->name, prefix, strlen(prefix)) == 0)
      n += (int64_t)t->bytes / dtype_size(t->dtype);
  }
  return n;
}

// ---- values by name ---------------------------------------------------------------------------
struct values {
  struct arena *arena;
  VEC(struct {
    const char *name;
    struct tensor64 *t;
  })
  all;
  const struct model *model; // states that have no value start as it says
};

static struct tensor64 *value_named(const struct values *v, const char *name) {
  for (int i = v->all.len - 1; i >= 0; i--)
    if (str_eq(v->all.data[i].name, name)) return v->all.data[i].t;
  return NULL;
}

static void set_value(struct values *v, const char *name, struct tensor64 *t) {
  for (int i = 0; i < v->all.len; i++)
    if (str_eq(v->all.data[i].name, name)) {
      v->all.data[i].t = t;
      return;
    }
  vec_push(v->arena, &v->all, ((__typeof__(*v->all.data)){str_printf(v->arena, "%s", name), t}));
}

static const struct tensor64 *leaf(void *user, const struct node *n) {
  struct values *v = user;
  const struct tensor64 *t = value_named(v, n->attr.s);
  if (t) return t;
  const struct bt_tensor *declared = v->model ? model_tensor(v->model, n->attr.s) : NULL;
  if (!declared) fail_msg("no value for %s", n->attr.s);
  struct tensor64 *start = tensor64_new(v->arena, &n->type);
  for (int64_t i = 0; i < shape_count(&n->type.shape); i++) start->data[i] = declared->init.a;
  return start;
}

static struct tensor64 *scalar_value(struct values *v, double x) {
  struct tensor64 *t = tensor64_new(v->arena, &(struct tensor_type){.dtype = BT_F32});
  t->data[0] = x;
  return t;
}

static struct tensor64 *tensor_of(struct arena *a, const struct st_tensor *s) {
  struct tensor_type type = {s->dtype, {.rank = s->rank}};
  memcpy(type.shape.dim, s->shape, sizeof s->shape);
  struct tensor64 *t = tensor64_new(a, &type);
  int64_t n = shape_count(&type.shape);
  for (int64_t i = 0; i < n; i++)
    t->data[i] =
        s->dtype == BT_F64 ? ((const double *)s->data)[i] : (double)((const int64_t *)s->data)[i];
  return t;
}

static struct tensor64 *slice_of(struct arena *a, const struct tensor64 *t, int64_t at) {
  struct tensor_type type = {t->type.dtype, {.rank = t->type.shape.rank - 1}};
  for (int i = 0; i < type.shape.rank; i++) type.shape.dim[i] = t->type.shape.dim[i + 1];
  struct tensor64 *s = tensor64_new(a, &type);
  int64_t n = shape_count(&type.shape);
  memcpy(s->data, t->data + at * n, sizeof *s->data * (size_t)n);
  return s;
}

// Relative to the largest entry of what is wanted.
static void assert_near_named(const char *name, const struct tensor64 *got,
                              const struct tensor64 *want, double tolerance) {
  int64_t n = shape_count(&want->type.shape);
  assert_int_equal(shape_count(&got->type.shape), n);
  double largest = 0;
  for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(want->data[i]));
  for (int64_t i = 0; i < n; i++)
    if (!(fabs(got->data[i] - want->data[i]) <= tolerance * largest))
      fail_msg("%s[%lld] is %.17g, not %.17g (largest %g)", name, (long long)i, got->data[i],
               want->data[i], largest);
}

// One step: evaluates, then commits the updates. Returns values by node id.
static struct tensor64 **step(struct values *v, const struct graph *g) {
  struct tensor64 **r = interp_run(g, v->arena, false, leaf, v);
  for (int i = 0; i < g->updates.len; i++)
    set_value(v, g->updates.data[i].name, r[g->updates.data[i].node->id]);
  return r;
}

static struct st_file *reference(const char *name) {
  char err[256];
  const char *path = rt_reference(name);
  if (!path) skip();
  struct st_file *f = st_open(path, err, sizeof err);
  if (!f) fail_msg("%s", err);
  return f;
}

static struct tensor64 *wanted(struct values *v, const struct st_file *f, const char *name) {
  const struct st_tensor *s = st_find(f, name);
  if (!s) fail_msg("the reference has no %s", name);
  return tensor_of(v->arena, s);
}

// ---- mistakes ---------------------------------------------------------------------------------

static void elaborate_only(struct btc *b, int source) {
  struct model *m = model_elaborate(b, parse_file(b, source));
  if (b->n_errors) return;
  for (int i = 0; i < m->programs.len; i++) model_differentiate(m, &m->programs.data[i]);
}

static void check_errors(const char *path) { check_expectations(path, elaborate_only); }

static void test_error_files(void **state) {
  (void)state;
  assert_true(each_file("tests/errors", check_errors) >= 30);
}

// Whatever is done to a file, elaboration ends, with or without messages: no crash, no death. Words
// of one kind change places, vanish or stand twice.
static void damage(struct btc *b, const char *text, unsigned seed, FILE *out) {
  uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  VEC(char *) words = {0};
  for (const char *s = text; *s;) {
    size_t n = 0;
    while (isalnum((unsigned char)s[n]) || s[n] == '_') n++;
    char *word = str_ndup(b->arena, s, n ? n : 1);
    vec_push(b->arena, &words, word);
    s += strlen(word);
  }
  for (int k = 0; k < 3; k++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    int i = (int)(state >> 33) % words.len, j = (int)(state >> 13 & 0xffff) % words.len;
    bool alike = !isalnum((unsigned char)*words.data[i]) == !isalnum((unsigned char)*words.data[j]);
    if (*words.data[i] == '\n') continue;
    if (state >> 61 == 0)
      words.data[i] = "";
    else if (state >> 61 == 1)
      words.data[i] = str_printf(b->arena, "%s %s", words.data[i], words.data[i]);
    else if (alike)
      words.data[i] = words.data[j];
  }
  for (int i = 0; i < words.len; i++) fputs(words.data[i], out);
}

static void check_damaged(const char *path) {
  for (unsigned seed = 0; seed < 30; seed++) {
    struct btc *b = fresh();
    char *text = NULL;
    size_t size = 0;
    int whole = source_open(b, path, (struct loc){0});
    FILE *out = open_memstream(&text, &size);
    damage(b, b->files.data[whole].text, seed, out);
    fclose(out);
    int source = source_add(b, path, str_printf(b->arena, "%s", text), size);
    free(text);
    elaborate_only(b, source);
    btc_free(b);
  }
}

static void test_damaged_files(void **state) {
  (void)state;
  assert_true(each_file("tests/errors", check_damaged) >= 30);
  each_file("examples", check_damaged);
  each_file("tests/models", check_damaged);
}

// Declarations that need one another in a chain longer than the stack is deep.
static void test_long_chain(void **state) {
  (void)state;
  struct btc *b = fresh();
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  for (int i = 0; i < 12000; i++) fprintf(out, "const a%d = a%d\n", i, i + 1);
  fprintf(out, "const a12000 = 1\n");
  fclose(out);
  elaborate_only(b, source_add(b, "chain.btg", text, size));
  free(text);
  assert_true(b->n_errors > 0);
  assert_string_equal(b->diags.data[0].message,
                      "declarations need one another deeper than 400 levels");
  btc_free(b);
}

static void on_page(const char *page, const char *text) {
  if (!strstr(page, text)) fail_msg("docs/language.md does not have %s", text);
}

// "a b? c=1 d:range=0..1 e:channels f:choice=x|y" of a table to
// `name(a, b?, c: 1, d: 0..1, e: channels, f: "x" or "y")`.
static const char *signature(struct arena *a, const char *name, const char *params) {
  const char *text = str_printf(a, "`%s(", name);
  for (const char *s = params; *s;) {
    size_t n = strcspn(s, " "), label = strcspn(s, ":= ");
    const char *rest = strncmp(s + label, ":range=", 7) == 0 ? s + label + 7 : s + label + 1;
    const char *bar = memchr(s, '|', n);
    if (strncmp(s + label, ":choice=", 8) == 0 && bar)
      text = str_printf(a, "%s%.*s: \"%.*s\" or \"%.*s\"", text, (int)label, s, (int)(bar - s - (int)label - 8),
                        s + label + 8, (int)(s + n - bar - 1), bar + 1);
    else
      text = label < n ? str_printf(a, "%s%.*s: %.*s", text, (int)label, s, (int)(s + n - rest), rest)
                     : str_printf(a, "%s%.*s", text, (int)n, s);
    s += n;
    if (*s) text = str_printf(a, "%s, ", text), s++;
  }
  return str_printf(a, "%s)`", text);
}

// The language's page has every function, view step and evaluation as the compiler's tables do.
static void test_language_page(void **state) {
  (void)state;
  struct btc *b = fresh();
  int source = source_open(b, "docs/language.md", (struct loc){0});
  assert_int_equal(source, 0);
  const char *page = b->files.data[source].text, *names[256];
  int n = builtin_names(names, 256);
  assert_true(n > 40);
  for (int i = 0; i < n; i++) {
    const struct builtin *row = builtin_find(names[i]);
    bool mode = strcmp(names[i], "eval") == 0 || strcmp(names[i], "frozen") == 0;
    bool average = strcmp(names[i], "ema") == 0;
    on_page(page, row       ? signature(b->arena, names[i], row->params)
                  : mode    ? signature(b->arena, names[i], "m")
                  : average ? signature(b->arena, names[i], "m decay")
                            : str_printf(b->arena, "`%s`", names[i]));
  }
  on_page(page, str_printf(b->arena, "at most %d axes", MAX_RANK));
#define VIEW_STEP(name, size, arguments) on_page(page, signature(b->arena, #name, arguments));
#include "../../runtime/views.def"
#undef VIEW_STEP
#define EVALUATE(name, arguments) \
  on_page(page, signature(b->arena, #name, "features labels " arguments));
#include "../../runtime/evaluate.def"
#undef EVALUATE
  btc_free(b);
}

// ---- models -----------------------------------------------------------------------------------

static void test_resnet18_is_torchvisions(void **state) {
  (void)state;
  struct btc *b = fresh();
  struct model *m = model_of_file(b, "examples/cifar10.btg");
  // torchvision's 11,689,512 less fc (513,000), with a stem of 3×3 (1,728) for 7×7 (9,408).
  assert_int_equal(parameters_under(m, "encoder."), 11689512 - 513000 - 9408 + 1728);
  assert_int_equal(parameters_under(m, "projector."), 512 * 2048 + 2 * 2048 * 2048 + 2 * 2 * 2048);
  const struct bt_tensor *t = model_tensor(m, "encoder.layer4.0.downsample.0.weight");
  assert_non_null(t);
  assert_string_equal(
      shape_text(b->arena,
                 &(struct shape){t->rank, {t->shape[0], t->shape[1], t->shape[2], t->shape[3]}}),
      "[512, 256, 1, 1]");
  assert_int_equal(t->init.kind, BT_INIT_NORMAL);
  assert_true(fabs(t->init.b - sqrt(2.0 / 512)) < 1e-15);
  assert_non_null(model_tensor(m, "encoder.layer1.1.bn2.running_var"));
  assert_non_null(model_tensor(m, "projector.6.weight"));
  assert_null(model_tensor(m, "projector.6.bias"));
  btc_free(b);
}

// torchvision's resnet50 has 25,557,032 parameters, of which fc 2,049,000.
static void test_resnet50_is_torchvisions(void **state) {
  (void)state;
  struct btc *b = fresh();
  struct model *m = model_of_file(b, "examples/imagenet.btg");
  assert_int_equal(parameters_under(m, "encoder."), 25557032 - 2049000);
  assert_int_equal(parameters_under(m, "projector."), 2048 * 8192 + 2 * 8192 * 8192 + 2 * 2 * 8192);
  const struct bt_tensor *t = model_tensor(m, "encoder.layer2.0.conv2.weight");
  assert_int_equal(t->shape[0], 128);
  assert_true(fabs(t->init.b - sqrt(2.0 / (128 * 9))) < 1e-15);
  assert_non_null(model_tensor(m, "encoder.layer1.0.downsample.1.running_var"));
  assert_true(model_tensor(m, "encoder.layer4.2.bn3.weight")->init.a == 0); // zero_init_residual
  assert_true(model_tensor(m, "encoder.layer4.2.bn2.weight")->init.a == 1);
  btc_free(b);
}

static void check_silent(const char *path) {
  struct btc *b = fresh();
  model_of_file(b, path);
  btc_free(b);
}

static void test_examples(void **state) {
  (void)state;
  assert_true(each_file("examples", check_silent) >= 5); // no warnings either
  struct btc *b = fresh();
  struct model *m = model_of_file(b, "examples/fashion_mnist.btg");
  struct program *p = program_named(m, "pretrain");
  assert_int_equal(p->batch, 256);
  assert_int_equal(p->image[1], 28);
  model_differentiate(m, p);
  assert_clean(b);
  graph_verify(p->graph, "differentiate");
  assert_non_null(model_tensor(m, "optimizer.pretrain.encoder.conv1.weight.exp_avg"));
  struct program *knn = program_named(m, "knn");
  assert_int_equal(knn->evaluates.len, 1);
  assert_string_equal(knn->inputs.data[knn->evaluates.data[0].labels].name, "y");
  assert_int_equal(knn->graph->outputs.data[knn->evaluates.data[0].features].kind, BT_OUTPUT_VALUE);
  assert_string_equal(knn->loads.data[0].prefix, "encoder");
  assert_int_equal(knn->graph->updates.len, 0);
  btc_free(b);
}

// Views: two sites of one view; a second view is a second row.
static void test_views(void **state) {
  (void)state;
  struct btc *b = fresh();
  struct model *m = model_of_text(b, "view a(s: int) { random_resized_crop(s, scale: 0.25..1.0)\n "
                                     "normalize(mean: [0.5, 0.5, 0.5], std: [1, 1, 2]) }\n"
                                     "program p { data x: u8[4, 3, _, _]\n let u, v, w = a(8)(x), "
                                     "a(8)(x), a(6)(x)\n report r: sum(u * v) + sum(w) }\n");
  assert_int_equal(m->views.len, 2);
  const struct bt_view_step *steps = m->views.data[0].steps.data;
  assert_int_equal(steps[0].kind, BT_VIEW_random_resized_crop);
  assert_true(steps[0].arg[0] == 8 && steps[0].arg[1] == 0.25 && steps[0].arg[2] == 1 &&
              steps[0].arg[3] == 0.75);
  assert_true(steps[1].arg[0] == 0.5 && steps[1].arg[6] == 2);
  struct program *p = &m->programs.data[0];
  assert_int_equal(p->inputs.len, 3);
  assert_int_not_equal(p->inputs.data[0].site, p->inputs.data[1].site);
  assert_int_equal(p->inputs.data[0].view, p->inputs.data[1].view);
  assert_int_equal(p->inputs.data[2].shape[3], 6);
  btc_free(b);
}

// ---- meaning, evaluated -----------------------------------------------------------------------

// `expression` of x: f32[2, 3] = 0 … 5, v: f32[3] = 1 2 4, q: f32[3, 3] = 0 … 8, as text.
static void check_value(const char *expression, const char *want) {
  struct btc *b = fresh();
  struct model *m = model_of_text(
      b, str_printf(b->arena, "fn f(x: f32[n, d], v: f32[d], q: f32[d, d]) = %s\n", expression));
  struct named_type args[] = {{"x", {BT_F32, shape_of(2, (int64_t)2, (int64_t)3)}, NULL},
                              {"v", {BT_F32, shape_of(1, (int64_t)3)}, NULL},
                              {"q", {BT_F32, shape_of(2, (int64_t)3, (int64_t)3)}, NULL}};
  struct program *p = model_function(m, "f", args, 3, false);
  assert_clean(b);
  struct values v = {.arena = b->arena};
  for (int i = 0; i < 3; i++) set_value(&v, args[i].name, tensor64_new(b->arena, &args[i].type));
  for (int i = 0; i < 6; i++) value_named(&v, "x")->data[i] = i;
  for (int i = 0; i < 9; i++) value_named(&v, "q")->data[i] = i;
  for (int i = 0; i < 3; i++) value_named(&v, "v")->data[i] = 1 << i;
  struct node *out = p->graph->outputs.data[0].node;
  const struct tensor64 *r = step(&v, p->graph)[out->id];
  char *text = str_printf(b->arena, "%s", type_text(b->arena, &out->type));
  for (int64_t i = 0; i < shape_count(&out->type.shape); i++)
    text = str_printf(b->arena, "%s %g", text, r->data[i]);
  if (!str_eq(text, want)) fail_msg("%s is %s, not %s", expression, text, want);
  btc_free(b);
}

static void test_tensor_expressions(void **state) {
  (void)state;
  check_value("x + v", "f32[2, 3] 1 3 6 4 6 9");
  check_value("v - x", "f32[2, 3] 1 1 2 -2 -2 -1");
  check_value("x - mean(x, over: n)", "f32[2, 3] -1.5 -1.5 -1.5 1.5 1.5 1.5");
  check_value("x' - sum(x, over: d)", "f32[3, 2] -3 -9 -2 -8 -1 -7");
  check_value("sum(x, over: -1)", "f32[2] 3 12");
  check_value("sum(x, over: [n, d])", "f32 15");
  check_value("max(x, over: n)", "f32[3] 3 4 5");
  check_value("max(x, 2)", "f32[2, 3] 2 2 2 3 4 5");
  check_value("min(v, 2 * v - 3)", "f32[3] -1 1 4");
  check_value("x @ q", "f32[2, 3] 15 18 21 42 54 66");
  check_value("x' @ x", "f32[3, 3] 9 12 15 12 17 22 15 22 29");
  check_value("v @ q", "f32[3] 30 37 44");
  check_value("v^3 / 2 + v^-1", "f32[3] 1.5 4.5 32.25");
  check_value("v^0.5", "f32[3] 1 1.41421 2");
  check_value("-v // 3", "f32[3] -1 -1 -2");
  check_value("x[1]", "f32[3] 3 4 5");
  check_value("x[.., -1]", "f32[2] 2 5");
  check_value("x[0..1, 1..]", "f32[1, 2] 1 2");
  check_value("x[0..1] * x", "f32[2, 3] 0 1 4 0 4 10");
  check_value("where(x > 2 and not (x == 4), x, 0)", "f32[2, 3] 0 0 0 3 0 5");
  check_value("diag(q)", "f32[3] 0 4 8");
  check_value("offdiag(q)", "f32[3, 3] 0 1 2 3 0 5 6 7 0");
  check_value("eye(d)", "f32[3, 3] 1 0 0 0 1 0 0 0 1");
  check_value("one_hot(argmax(x, over: d), 3)", "f32[2, 3] 0 0 1 0 0 1");
  check_value("reshape(x, [d, -1])", "f32[3, 2] 0 1 2 3 4 5");
  check_value("permute(x, [1, 0])", "f32[3, 2] 0 3 1 4 2 5");
  check_value("permute(x, [d, n])", "f32[3, 2] 0 3 1 4 2 5");
  check_value("concat([x, x[0..1]], n)", "f32[3, 3] 0 1 2 3 4 5 0 1 2");
  check_value("norm(v)", "f32 4.58258");
  check_value("var(x, over: d)", "f32[2] 0.666667 0.666667");
  check_value("logsumexp(v * 0, over: 0)", "f32 1.09861");
  check_value("v * count(x) / count(x, over: n) + rank(q)", "f32[3] 5 8 14");
  check_value("f32(x > 1) + len([1, 2]) - 7 % 4 + (if n < d then 1 else 0)",
              "f32[2, 3] 0 0 1 1 1 1");
  check_value("sum([for i in 0..3: v[i] * i][2])", "f32 8");
}

// By hand, and as NumPy 2.4 has them.
static void test_einsum(void **state) {
  (void)state;
  check_value("einsum(\"nd->dn\", x)", "f32[3, 2] 0 3 1 4 2 5");
  check_value("einsum(\"ba\", x)", "f32[3, 2] 0 3 1 4 2 5");
  check_value("einsum(\"bA\", x)", "f32[3, 2] 0 3 1 4 2 5"); // capitals first
  check_value("einsum(\"ii\", q)", "f32 12");
  check_value("einsum(\"ii->i\", q)", "f32[3] 0 4 8");
  check_value("einsum(\"nd->\", x)", "f32 15");
  check_value("einsum(\" n d , d -> n \", x, v)", "f32[2] 10 31");
  check_value("einsum(\"nd,de\", x, q)", "f32[3, 2] 15 42 18 54 21 66"); // implicit: en
  check_value("einsum(\"nd,ed->en\", x, q)", "f32[3, 2] 5 14 14 50 23 86");
  check_value("einsum(\"nd,ne->de\", x, x)", "f32[3, 3] 9 12 15 12 17 22 15 22 29");
  check_value("einsum(\"nd,nd->n\", x, x)", "f32[2] 5 50");
  check_value("einsum(\"n,d->dn\", x[.., 0], v)", "f32[3, 2] 0 3 0 6 0 12");
  check_value("einsum(\"...d,d->...\", x, v)", "f32[2] 10 31");
  check_value("einsum(\"d...,d->...\", x', v)", "f32[2] 10 31");
  check_value("einsum(\"...,...\", x, v)", "f32[2, 3] 0 2 8 3 8 20");
  check_value("einsum(\"nd,nd->nd\", x, reshape(v, [1, 3]))", "f32[2, 3] 0 2 8 3 8 20");
  check_value("einsum(\"ab,bc->ac\", reshape(x[1], [3, 1]), q)", "f32[3, 3] 27 36 45 36 48 60 45 60 75");
  check_value("einsum(\"n,nd,de,e->\", x[.., 1], x, q, v)", "f32 1791");
  check_value("einsum(\"i,j,k->kij\", x[0], v, x[.., 1])[.., 2, 1]", "f32[2] 4 16");
  check_value("einsum(\"ii,ij->j\", q, q)", "f32[3] 60 72 84");
  check_value("einsum(\",d->d\", 2, v)", "f32[3] 2 4 8");
  check_value("einsum(\"nd,nd->d\", i32(x), i32(x))", "i32[3] 9 17 29");
  check_value("einsum(\"...ij,...jk->...ik\", reshape(x, [2, 1, 3]), reshape(q, [1, 3, 3]))",
              "f32[2, 1, 3] 15 18 21 42 54 66");
}

// The order of the fewest multiplications; a product of matrices only where there are rows and columns.
static void check_products(const char *expression, int products, int transposes) {
  struct btc *b = fresh();
  const struct tensor_type m = {BT_F32, shape_of(2, (int64_t)9, (int64_t)9)}, v = {BT_F32, shape_of(1, (int64_t)9)};
  struct model *model = model_of_text(
      b, str_printf(b->arena, "fn f(a: f32[_, _], b: f32[_, _], v: f32[_]) = %s\n", expression));
  struct named_type args[] = {{"a", m, NULL}, {"b", m, NULL}, {"v", v, NULL}};
  struct program *p = model_function(model, "f", args, 3, false);
  assert_clean(b);
  int n = count_nodes(p->graph, OP_matmul, 0), moved = count_nodes(p->graph, OP_transpose, 0);
  if (n != products || moved != transposes)
    fail_msg("%s: %d products and %d transposes, not %d and %d", expression, n, moved, products, transposes);
  btc_free(b);
}

static void test_einsum_order(void **state) {
  (void)state;
  check_products("einsum(\"ij,jk->ik\", a, b)", 1, 0);
  check_products("einsum(\"ij,ik->jk\", a, b)", 1, 1); // a' @ b
  check_products("einsum(\"ij,ik->kj\", a, b)", 1, 1); // b' @ a, not (a' @ b)'
  check_products("einsum(\"ij,jk,k->i\", a, b, v)", 0, 0); // a (b v), not (a b) v
  check_products("einsum(\"k,ij,jk->i\", v, a, b)", 0, 0);
  check_products("einsum(\"ij,jk,kl,l->il\", a, b, a, v)", 2, 0);
  check_products("einsum(\"ij,kj->\", a, b)", 0, 0); // sums first
  check_products("einsum(\"ij,ij->i\", a, b)", 0, 0);
  check_products("einsum(\"ij,jk->ijk\", a, b)", 0, 0);
}

static void test_picking(void **state) {
  (void)state;
  check_value("take(x, i32(v), 1)", "f32[2, 3] 1 2 nan 4 5 nan");
  check_value("take(x, -i32(v), d)", "f32[2, 3] 2 1 nan 5 4 nan");
  check_value("take(v, i64(x), 0)", "f32[2, 3] 1 2 4 nan nan nan");
  check_value("take(q, 1, 0)", "f32[3] 3 4 5");
  check_value("q[argmax(v, over: 0)]", "f32[3] 6 7 8");
  check_value("x[i32(x[.., 0]) - 1]", "f32[2, 3] 3 4 5 nan nan nan");
  check_value("x[1, i32(v) - 1]", "f32[3] 3 4 nan");
  check_value("q[i32(v[0..2]), 1..]", "f32[2, 2] 4 5 7 8");
  check_value("i32(q)[i32(v)]", "i32[3, 3] 3 4 5 6 7 8 -2.14748e+09 -2.14748e+09 -2.14748e+09");
  check_value("gather(x, i32(x - 2), d)", "f32[2, 3] 1 2 0 4 5 nan");
  check_value("gather(q, reshape(i32(v), [3, 1]), 1)", "f32[3, 1] 1 5 nan");
  check_value("gather(q, reshape(i64(v) - 5, [1, 3]), 0)", "f32[1, 3] nan 1 8");
}

static void check_number(const char *expression, double want) {
  struct btc *b = fresh();
  struct model *m = model_of_text(
      b, str_printf(b->arena, "const k = %s\nfn f(x: f32) = x * 0 + k\n", expression));
  struct program *p = model_function(m, "f", NULL, 0, false);
  assert_clean(b);
  struct values v = {.arena = b->arena};
  set_value(&v, "x", scalar_value(&v, 1));
  double got = step(&v, p->graph)[p->graph->outputs.data[0].node->id]->data[0];
  if (got != want) fail_msg("%s is %.17g, not %.17g", expression, got, want);
  btc_free(b);
}

static void test_static_expressions(void **state) {
  (void)state;
  check_number("7 // 2", 3);
  check_number("-7 // 2", -4);
  check_number("-7 % 3", 2);
  check_number("7 / 2", 3.5);
  check_number("2^10", 1024);
  check_number("2^-1", 0.5);
  check_number("-2^2", -4);
  check_number("sqrt(16) + min(1, 2) + max(1.5, 1)", 6.5);
  check_number("([1, 2] + [for i in 3..5: i * i])[3]", 16);
  check_number("if \"a\" == \"b\" or false then 1 else 2", 2);
  check_number("len([4, 5, 6][1..])", 2);
}

// States thread through applications; the last value commits; eval reads them and leaves them.
static void test_state_threads(void **state) {
  (void)state;
  struct btc *b = fresh();
  struct model *m = model_of_text(
      b,
      "module counter()(x: f32) -> f32 {\n  param w: f32 = 1\n  state n: f32 = 10\n"
      "  if training { update n = n + x }\n  return w * n\n}\nc = counter()\n"
      "module sgd(lr: f32)(w: f32[..s], g: f32[..s]) -> f32[..s] { return w - lr * g }\n"
      "program p { data x: f32[1]\n let u, v = c(sum(x)), c(sum(x))\n report u: u\n report v: v\n"
      "  report e: eval(c)(sum(x))\n minimize u + v + frozen(c)(sum(x))\n optimizer sgd(lr: 0.5) "
      "}\n");
  struct program *p = &m->programs.data[0];
  model_differentiate(m, p);
  assert_clean(b);
  struct values v = {.arena = b->arena, .model = m};
  set_value(&v, "x",
            tensor64_new(b->arena, &(struct tensor_type){BT_F32, shape_of(1, (int64_t)1)}));
  value_named(&v, "x")->data[0] = 3;
  struct tensor64 **r = step(&v, p->graph);
  double got[3];
  for (int i = 0; i < 3; i++) got[i] = r[p->graph->outputs.data[i].node->id]->data[0];
  assert_true(got[0] == 13 && got[1] == 16 && got[2] == 16);
  assert_true(value_named(&v, "c.n")->data[0] == 16);
  assert_true(value_named(&v, "c.w")->data[0] ==
              1 - 0.5 * (13 + 16)); // nothing from the frozen one
  btc_free(b);
}

static double number_of(const struct values *v, const char *name) { return value_named(v, name)->data[0]; }

// One update for each application in order, whether or not its result is used; several updates of one body follow
// one another, whatever else is bound between.
static void test_updates_in_order(void **state) {
  (void)state;
  struct btc *b = fresh();
  struct model *m = model_of_text(
      b,
      "module cell()(x: f32) -> f32 {\n  state s: f32 = 1\n  state other: f32 = 5\n  let before = s\n"
      "  update s = 2 * s + x\n  let z = s\n  update s = s + 100\n  update other = other + z\n  return before\n}\n"
      "c = cell()\nprogram p { data x: f32[1]\n let dead = c(sum(x))\n report r: c(2 * sum(x))\n"
      "  report s: c.s }\n");
  struct program *p = program_named(m, "p");
  struct values v = {.arena = b->arena, .model = m};
  set_value(&v, "x", tensor64_new(b->arena, &(struct tensor_type){BT_F32, shape_of(1, (int64_t)1)}));
  value_named(&v, "x")->data[0] = 3;
  struct tensor64 **r = step(&v, p->graph);
  const double first = 2 * 1 + 3 + 100, second = 2 * first + 6 + 100;
  assert_true(r[p->graph->outputs.data[0].node->id]->data[0] == first);
  assert_true(r[p->graph->outputs.data[1].node->id]->data[0] == second);
  assert_true(number_of(&v, "c.s") == second);
  assert_true(number_of(&v, "c.other") == 5 + (first - 100) + (second - 100));
  btc_free(b);
}

// Parameters by the path of bindings: items of lists by index, functions counted; what stands in several places is
// under its first.
static void test_parameter_names(void **state) {
  (void)state;
  struct btc *b = fresh();
  struct model *m = model_of_text(
      b, "module layer(n: int)(x: f32) -> f32 { param w: f32 = n\n return w * x }\n"
         "module outer(m: module)(x: f32) -> f32 {\n  inner = [relu, m]\n  if true { tail = layer(1) }\n"
         "  return tail(inner(x)) }\n"
         "shared = layer(2)\nnet = [layer(3), relu, [relu, layer(4)], shared, outer(layer(5))]\nagain = [shared, net.0]\n"
         "program p { data x: f32[1]\n report r: net(sum(x)) + again(sum(x)) }\n");
  static const char *const names[] = {"net.0.w", "net.2.1.w", "shared.w", "net.4.inner.1.w", "net.4.tail.w"};
  assert_int_equal(m->tensors.len, 5);
  for (int i = 0; i < 5; i++) assert_string_equal(m->tensors.data[i].name, names[i]);
  btc_free(b);
}

// What the data's labels and indices must be below: what is picked from by them, wherever the numbers go whole.
static void test_classes(void **state) {
  (void)state;
  struct btc *b = fresh();
  struct model *m = model_of_text(
      b, "program p {\n data x: f32[4, 6], y: i32[4], pair: i32[4, 2], far: i64[4], part: i32[4, 2], all: i32[4]\n"
         "  report r: sum(one_hot(y, 5)) + sum(take(x, pair', 1)) + sum(gather(x, i32(reshape(far, [4, 1])), 1))\n"
         "  report s: sum(take(x, part[.., 0], 1)) + sum(f32(part) @ x[0..2]) + sum(x[y]) + sum(f32(all)) }\n");
  const struct program *p = program_named(m, "p");
  static const struct {
    const char *name;
    int classes;
  } wanted_classes[] = {{"y", 4}, {"pair", 6}, {"far", 6}, {"part", 0}, {"all", 0}};
  for (int i = 0; i < 5; i++)
    for (int k = 0; k < p->inputs.len; k++)
      if (str_eq(p->inputs.data[k].name, wanted_classes[i].name))
        assert_int_equal(p->inputs.data[k].classes, wanted_classes[i].classes);
  btc_free(b);
}

// What is bound in a pass ends with it, a name of the program that it binds anew included.
static void test_pass_binds_for_itself(void **state) {
  (void)state;
  struct btc *b = fresh();
  struct model *m = model_of_text(b, "program p { data x: f32[4]\n let k = 2\n let seen = 0.5\n"
                                     "  pass test { let k = 3\n let seen: f32[k] = x[0..3]\n report s: sum(seen) }\n"
                                     "  pass test { let part: f32[k] = x[0..2]\n report t: sum(part) * seen } }\n");
  const struct graph *second = program_named(m, "p.test_2")->graph;
  assert_int_equal(count_nodes(second, OP_constant, 0), 1); // 0.5
  btc_free(b);
}

// An average reads tensors of its own, gets no gradient, and follows behind the optimiser what it averages:
// parameters, and the states that its own applications do not update. Its applications update its own.
static void test_averages(void **state) {
  (void)state;
  struct btc *b = fresh();
  struct model *m = model_of_text(
      b,
      "module cell()(x: f32) -> f32 {\n  param w: f32 = 1\n  state seen: f32 = 2\n"
      "  if training { update seen = seen + x }\n  return w * x + seen\n}\n"
      "module sgd(lr: f32)(w: f32[..s], g: f32[..s]) -> f32[..s] { return w - lr * g }\n"
      "a = cell()\nlist = [cell(), relu]\n"
      "target = ema([a, list], decay: 1 - 0.25 * (step + 1))\nquiet = ema(a, decay: 0.5)\n"
      "program p { data x: f32[1]\n let y = list(a(sum(x)))\n let t = target(sum(x))\n"
      "  minimize y + t\n report t: t\n report w: a.w + target.0.w\n optimizer sgd(lr: 0.5) }\n"
      "program q { data x: f32[1]\n report r: eval(quiet)(sum(x)) }\n");
  struct program *p = program_named(m, "p");
  assert_string_equal(model_tensor(m, "target.1.0.w")->copy_of, "list.0.w");
  assert_int_equal(model_tensor(m, "target.1.0.w")->role, BT_STATE);
  model_differentiate(m, p);
  assert_clean(b);
  struct values v = {.arena = b->arena, .model = m};
  set_value(&v, "x", tensor64_new(b->arena, &(struct tensor_type){BT_F32, shape_of(1, (int64_t)1)}));
  value_named(&v, "x")->data[0] = 3;
  set_value(&v, "step", scalar_value(&v, 1));
  set_value(&v, "target.0.w", scalar_value(&v, 5)); // apart from its source
  struct tensor64 **r = step(&v, p->graph);
  // a: seen 5, 1*3 + 5 = 8; list.0: seen 10, 1*8 + 10. target: seen 5, 5*3 + 5 = 20; seen 22, 20 + 22.
  double got[3];
  for (int i = 0; i < 3; i++) got[i] = r[p->graph->outputs.data[i].node->id]->data[0];
  assert_true(got[0] == 18 + 42 && got[1] == 42 && got[2] == 1 + 5);
  double w = 1 - 0.5 * 3; // dy/da.w = list.0.w * x, and list.0 also counts a in its state: + 3
  w -= 0.5 * 3;
  assert_true(number_of(&v, "a.w") == w);
  assert_true(number_of(&v, "target.0.w") == 0.5 * 5 + 0.5 * w); // decay 1 - 0.25 * 2
  assert_true(number_of(&v, "target.0.seen") == 5);              // its own
  assert_true(number_of(&v, "target.1.0.seen") == 22);
  assert_true(number_of(&v, "quiet.w") == 0.5 * 1 + 0.5 * w);
  assert_true(number_of(&v, "quiet.seen") == 0.5 * 2 + 0.5 * 5); // nothing else updates it here
  btc_free(b);
}

// Parameters and states of instances, read from outside; gradients flow, but not into what is frozen.
static void test_parts(void **state) {
  (void)state;
  struct btc *b = fresh();
  struct model *m = model_of_text(
      b,
      "module cell()(x: f32) -> f32 {\n  param w: f32 = 3\n  state n: f32 = 2\n  update n = n + x\n"
      "  return w * x\n}\nmodule outer()(x: f32) -> f32 {\n  inner = [cell()]\n  return inner(x)\n}\n"
      "module sgd(lr: f32)(w: f32[..s], g: f32[..s]) -> f32[..s] { return w - lr * g }\n"
      "net = outer()\nprogram p { data x: f32[1]\n let y = net(sum(x))\n"
      "  minimize 0 * y + net.inner.0.w^2 + frozen(net).inner.0.w^3\n report n: net.inner.0.n\n"
      "  optimizer sgd(lr: 0.5) }\n");
  struct program *p = program_named(m, "p");
  model_differentiate(m, p);
  assert_clean(b);
  struct values v = {.arena = b->arena, .model = m};
  set_value(&v, "x", tensor64_new(b->arena, &(struct tensor_type){BT_F32, shape_of(1, (int64_t)1)}));
  value_named(&v, "x")->data[0] = 7;
  struct tensor64 **r = step(&v, p->graph);
  assert_true(r[p->graph->outputs.data[0].node->id]->data[0] == 9 + 27);
  assert_true(r[p->graph->outputs.data[1].node->id]->data[0] == 9);
  assert_true(number_of(&v, "net.inner.0.w") == 3 - 0.5 * 2 * 3);
  btc_free(b);
}

// Whoever takes a list apart keeps how it is to be applied.
static void test_modes_of_items(void **state) {
  (void)state;
  struct btc *b = fresh();
  struct model *m = model_of_text(
      b,
      "module cell()(x: f32) -> f32 {\n  param w: f32 = 3\n  return if training then w * x else x\n}\n"
      "net = [cell(), cell()]\nprogram p { data x: f32[1]\n let total = net(sum(x))\n"
      "  for c in eval(net) { let total = total + c(sum(x)) }\n"
      "  report t: total + eval(net)[0](1.0) + eval(net).1(1.0) + (eval(net) + [])(1.0)\n"
      "  minimize total\n optimizer sgd(lr: 0.5) }\n"
      "module sgd(lr: f32)(w: f32[..s], g: f32[..s]) -> f32[..s] { return w - lr * g }\n");
  struct program *p = program_named(m, "p");
  struct values v = {.arena = b->arena, .model = m};
  set_value(&v, "x", tensor64_new(b->arena, &(struct tensor_type){BT_F32, shape_of(1, (int64_t)1)}));
  value_named(&v, "x")->data[0] = 2;
  struct tensor64 **r = step(&v, p->graph);
  assert_true(r[p->graph->outputs.data[0].node->id]->data[0] == 3 * 3 * 2 + 2 + 2 + 1 + 1 + 1);
  btc_free(b);
}

// -D recomputes what depends on the constant, and an int serves a float.
static void test_defines(void **state) {
  (void)state;
  struct btc *b = fresh();
  vec_push(b->arena, &b->opt.defines, ((struct define){"n", "5"}));
  vec_push(b->arena, &b->opt.defines, ((struct define){"rate", "2"}));
  vec_push(b->arena, &b->opt.defines, ((struct define){"stem", "small"}));
  struct model *m = model_of_text(
      b, "const twice = 2 * n\nconst n = 3\nconst rate = 0.5\nconst stem = \"imagenet\"\n"
         "program p { data x: f32[if stem == \"small\" then n else 1, twice]\n"
         " report r: sum(x) * rate }\n");
  const struct bt_input *x = &m->programs.data[0].inputs.data[0];
  assert_int_equal(x->shape[0], 5);
  assert_int_equal(x->shape[1], 10);
  btc_free(b);
}

// ---- against PyTorch --------------------------------------------------------------------------

static void check_output(struct values *v, const struct st_file *f, const char *name,
                         const struct tensor64 *got) {
  if (st_find(f, name)) assert_near_named(name, got, wanted(v, f, name), 1e-9);
}

// Function `function` of tests/models/functions.btg on the reference's inputs, and its gradients.
static void check_function(const char *name, const char *function) {
  struct btc *b = fresh();
  struct st_file *f = reference(str_printf(b->arena, "%s.safetensors", name));
  struct values v = {.arena = b->arena};
  struct named_type args[8];
  int n = 0;
  for (int i = 0; i < st_count(f); i++) {
    const struct st_tensor *s = st_at(f, i);
    set_value(&v, s->name, tensor_of(b->arena, s));
    if (str_eq(s->name, "out") || str_eq(s->name, "loss") || (s->name[0] == 'd')) continue;
    struct tensor_type type = value_named(&v, s->name)->type;
    type.dtype = s->dtype == BT_I64 ? BT_I32 : BT_F32;
    args[n++] = (struct named_type){str_printf(b->arena, "%s", s->name), type, NULL};
  }
  struct program *p =
      model_function(model_of_file(b, "tests/models/functions.btg"), function, args, n, true);
  assert_clean(b);
  graph_verify(p->graph, "function");
  struct tensor64 **r = step(&v, p->graph);
  int checked = 0;
  for (int i = 0; i < p->graph->outputs.len; i++) {
    const char *out = p->graph->outputs.data[i].name;
    if (str_eq(out, "out") && st_find(f, "loss")) out = "loss";
    check_output(&v, f, out, r[p->graph->outputs.data[i].node->id]);
    checked += st_find(f, out) != NULL;
  }
  assert_true(checked >= 2); // the result and a gradient at least
  st_close(f);
  btc_free(b);
}

static void test_barlow_twins(void **state) {
  (void)state;
  check_function("objective_barlow_twins_small", "objective_barlow_twins");
  check_function("objective_barlow_twins_wide", "objective_barlow_twins");
  check_function("objective_barlow_twins_tall", "objective_barlow_twins");
  check_function("objective_barlow_twins_offset", "objective_barlow_twins");
}

// Other papers' objectives.
static void test_objectives(void **state) {
  (void)state;
  static const char *const names[] = {"vicreg", "nt_xent", "simsiam", "byol"};
  static const char *const sizes[] = {"small", "wide", "tall"};
  for (int i = 0; i < 12; i++) {
    char file[64], function[64];
    snprintf(file, sizeof file, "objective_%s_%s", names[i / 3], sizes[i % 3]);
    snprintf(function, sizeof function, "objective_%s", names[i / 3]);
    check_function(file, function);
  }
}

static void test_layers(void **state) {
  (void)state;
  static const char *const layers[] = {
      "layer_cross_entropy",  "layer_linear",           "layer_gelu_tanh",
      "layer_avgpool_global", "layer_maxpool_k3_s2_p1", "layer_conv2d_bias",
      "layer_batchnorm2d",    "layer_layernorm",        "layer_softmax"};
  for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) check_function(layers[i], layers[i]);
}

// Five steps of an optimiser whose gradients are fed.
static void check_optimizer(const char *name) {
  struct btc *b = fresh();
  struct st_file *f = reference(str_printf(b->arena, "optimizer_%s.safetensors", name));
  struct model *m = model_of_file(b, "tests/models/optimizers.btg");
  struct program *p = program_named(m, name);
  model_differentiate(m, p);
  assert_clean(b);
  struct values v = {.arena = b->arena, .model = m};
  set_value(&v, "p.w", wanted(&v, f, "w0"));
  set_value(&v, "p.b", wanted(&v, f, "b0"));
  for (int i = 0; i < 5; i++) {
    set_value(&v, "step", scalar_value(&v, i));
    set_value(&v, "gw", wanted(&v, f, str_printf(b->arena, "gw%d", i)));
    set_value(&v, "gb", wanted(&v, f, str_printf(b->arena, "gb%d", i)));
    step(&v, p->graph);
    assert_near_named("w", value_named(&v, "p.w"),
                      wanted(&v, f, str_printf(b->arena, "w%d", i + 1)), 1e-9);
    assert_near_named("b", value_named(&v, "p.b"),
                      wanted(&v, f, str_printf(b->arena, "b%d", i + 1)), 1e-9);
  }
  st_close(f);
  btc_free(b);
}

static void test_optimizers(void **state) {
  (void)state;
  static const char *const names[] = {"lars", "sgd_momentum", "sgd_nesterov", "adam", "adamw"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) check_optimizer(names[i]);
}

static void test_schedule(void **state) {
  (void)state;
  struct btc *b = fresh();
  struct st_file *f = reference("schedule_cosine_warmup.safetensors");
  struct model *m = model_of_file(b, "tests/models/optimizers.btg");
  struct program *p = program_named(m, "cosine");
  struct values v = {.arena = b->arena};
  const struct tensor64 *rates = wanted(&v, f, "lr");
  set_value(&v, "x",
            tensor64_new(b->arena, &(struct tensor_type){BT_F32, shape_of(1, (int64_t)1)}));
  set_value(&v, "epochs", scalar_value(&v, 100));
  set_value(&v, "steps", scalar_value(&v, 1000));
  for (int i = 0; i < 1000; i++) {
    set_value(&v, "step", scalar_value(&v, i));
    set_value(&v, "epoch", scalar_value(&v, i / 10.0));
    double got = step(&v, p->graph)[p->graph->outputs.data[0].node->id]->data[0];
    if (!(fabs(got - rates->data[i]) <= 1e-12))
      fail_msg("step %d: %.17g, not %.17g", i, got, rates->data[i]);
  }
  st_close(f);
  btc_free(b);
}

static void add_gradient_outputs(struct program *p) {
  struct graph *g = p->graph;
  int n = 0, nodes = g->nodes.len;
  struct node **wrt = NEW_ARRAY(g->b->arena, struct node *, nodes),
              **grads = NEW_ARRAY(g->b->arena, struct node *, nodes);
  for (int i = 0; i < nodes; i++)
    if (g->nodes.data[i]->op == OP_param) wrt[n++] = g->nodes.data[i];
  graph_gradients(g, p->loss, NULL, wrt, n, grads);
  for (int i = 0; i < n; i++) {
    assert_non_null(grads[i]);
    graph_output(g, str_printf(g->b->arena, "grad.%s", wrt[i]->attr.s), BT_OUTPUT_VALUE, grads[i]);
  }
}

static void check_gradients(struct values *v, const struct st_file *f, const struct graph *g,
                            struct tensor64 **r, double tolerance) {
  for (int i = 0; i < g->outputs.len; i++) {
    const struct graph_output *o = &g->outputs.data[i];
    if (o->kind == BT_OUTPUT_VALUE)
      assert_near_named(o->name, r[o->node->id], wanted(v, f, o->name), tolerance);
  }
}

// Every tensor that the reference has under `prefix`.
static int check_tensors(struct values *v, const struct st_file *f, const char *prefix,
                         double tolerance) {
  int n = 0;
  size_t length = strlen(prefix);
  for (int i = 0; i < st_count(f); i++) {
    const char *name = st_at(f, i)->name;
    if (strncmp(name, prefix, length) != 0) continue;
    const struct tensor64 *got = value_named(v, name + length);
    if (!got) fail_msg("the model has no %s", name + length);
    assert_near_named(name, got, wanted(v, f, name), tolerance);
    n++;
  }
  return n;
}

// Features of the first images with the trained parameters and the running statistics.
static void check_features(struct values *v, struct model *m, const struct st_file *f) {
  struct program *p = program_named(m, "features");
  set_value(v, "x", slice_of(v->arena, wanted(v, f, "xa"), 0));
  set_value(v, "y", tensor64_new(v->arena, &(struct tensor_type){BT_I32, shape_of(1, p->batch)}));
  struct tensor64 **r = interp_run(p->graph, v->arena, false, leaf, v);
  assert_int_equal(p->graph->updates.len, 0);
  const struct tensor64 *got = r[p->graph->outputs.data[0].node->id];
  assert_near_named("features_eval", got, wanted(v, f, "features_eval"), 1e-7);
}

// The key check: elaboration, differentiation and optimiser of a whole network, three steps,
// against PyTorch's tensors under torchvision's names.
static void test_train_resnet18(void **state) {
  (void)state;
  struct btc *b = fresh();
  struct st_file *f = reference("train_resnet18_w8_lars.safetensors");
  struct model *m = model_of_file(b, "tests/models/resnet18_w8_lars.btg");
  struct program *p = program_named(m, "pretrain");
  add_gradient_outputs(p);
  model_differentiate(m, p);
  assert_clean(b);
  graph_verify(p->graph, "differentiate");
  struct values v = {.arena = b->arena, .model = m};
  for (int i = 0; i < st_count(f); i++)
    if (strncmp(st_at(f, i)->name, "init.", 5) == 0)
      set_value(&v, st_at(f, i)->name + 5, tensor_of(b->arena, st_at(f, i)));
  const struct tensor64 *losses = wanted(&v, f, "losses");
  for (int i = 0; i < 3; i++) {
    set_value(&v, "xa", slice_of(b->arena, wanted(&v, f, "xa"), i));
    set_value(&v, "xb", slice_of(b->arena, wanted(&v, f, "xb"), i));
    struct tensor64 **r = step(&v, p->graph);
    double loss = r[p->loss->id]->data[0];
    if (!(fabs(loss - losses->data[i]) <= 1e-7 * fabs(losses->data[i])))
      fail_msg("loss %d is %.17g, not %.17g", i, loss, losses->data[i]);
    if (i == 0) check_gradients(&v, f, p->graph, r, 1e-7);
  }
  assert_int_equal(check_tensors(&v, f, "final.", 1e-7), 111);
  check_features(&v, m, f);
  st_close(f);
  btc_free(b);
}

// The GELU network: one step, all gradients.
static void test_step_resnet18_gelu(void **state) {
  (void)state;
  struct btc *b = fresh();
  struct st_file *f = reference("step_resnet18_w8_gelu.safetensors");
  struct model *m = model_of_file(b, "tests/models/resnet18_w8_gelu.btg");
  struct program *p = program_named(m, "pretrain");
  add_gradient_outputs(p);
  struct values v = {.arena = b->arena, .model = m};
  for (int i = 0; i < st_count(f); i++) {
    const char *name = st_at(f, i)->name;
    if (name[0] == 'x') set_value(&v, name, tensor_of(b->arena, st_at(f, i)));
    if (strncmp(name, "init.", 5) == 0) set_value(&v, name + 5, tensor_of(b->arena, st_at(f, i)));
  }
  struct tensor64 **r = step(&v, p->graph);
  assert_near_named("loss", r[p->loss->id], wanted(&v, f, "loss"), 1e-9);
  check_gradients(&v, f, p->graph, r, 1e-9);
  st_close(f);
  btc_free(b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_error_files),
      cmocka_unit_test(test_damaged_files),
      cmocka_unit_test(test_long_chain),
      cmocka_unit_test(test_language_page),
      cmocka_unit_test(test_resnet18_is_torchvisions),
      cmocka_unit_test(test_resnet50_is_torchvisions),
      cmocka_unit_test(test_examples),
      cmocka_unit_test(test_views),
      cmocka_unit_test(test_tensor_expressions),
      cmocka_unit_test(test_einsum),
      cmocka_unit_test(test_einsum_order),
      cmocka_unit_test(test_picking),
      cmocka_unit_test(test_static_expressions),
      cmocka_unit_test(test_state_threads),
      cmocka_unit_test(test_updates_in_order),
      cmocka_unit_test(test_pass_binds_for_itself),
      cmocka_unit_test(test_classes),
      cmocka_unit_test(test_parameter_names),
      cmocka_unit_test(test_averages),
      cmocka_unit_test(test_parts),
      cmocka_unit_test(test_modes_of_items),
      cmocka_unit_test(test_defines),
      cmocka_unit_test(test_barlow_twins),
      cmocka_unit_test(test_objectives),
      cmocka_unit_test(test_layers),
      cmocka_unit_test(test_optimizers),
      cmocka_unit_test(test_schedule),
      cmocka_unit_test(test_train_resnet18),
      cmocka_unit_test(test_step_resnet18_gelu),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
