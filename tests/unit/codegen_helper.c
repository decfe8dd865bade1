// codegen_helper.c: see codegen_helper.h.
#include "codegen_helper.h"
#include "formula_check.h"
#include "regions.h"

#include <dlfcn.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GUARD = 256, POISON = 0xff /* a NaN in every float type */ };

// ---- building ---------------------------------------------------------------------------------

static void add_tensor(struct model *m, const char *name, enum bt_role role,
                       const struct tensor_type *t) {
  for (int i = 0; i < m->tensors.len; i++)
    if (str_eq(m->tensors.data[i].name, name)) return;
  struct bt_tensor made = {
      .name = name, .role = role, .dtype = (enum bt_dtype)t->dtype, .rank = t->shape.rank};
  memcpy(made.shape, t->shape.dim, sizeof made.shape);
  vec_push(m->b->arena, &m->tensors, made);
}

struct model *step_model(struct btc *b, struct graph *const *g, int n) {
  struct model *m = NEW(b->arena, struct model);
  m->b = b;
  for (int i = 0; i < n; i++) {
    struct program p = {.name = str_printf(b->arena, "p%d", i), .graph = g[i], .batch = 1};
    vec_push(b->arena, &m->programs, p);
    for (int j = 0; j < g[i]->nodes.len; j++) {
      const struct node *leaf = g[i]->nodes.data[j];
      if (leaf->op == OP_param) add_tensor(m, leaf->attr.s, BT_PARAM, &leaf->type);
      if (leaf->op == OP_state) add_tensor(m, leaf->attr.s, BT_STATE, &leaf->type);
    }
    for (int j = 0; j < g[i]->updates.len; j++)
      add_tensor(m, g[i]->updates.data[j].name, BT_STATE, &g[i]->updates.data[j].node->type);
  }
  return m;
}

static bool host_compile(struct arena *a, const char *dir, const char *march) {
  const char *cc = getenv("CC") ? getenv("CC") : "cc";
  const char *root = getenv("BTC_ROOT") ? getenv("BTC_ROOT") : ".";
  return system(str_printf(a,
                           "%s -std=gnu17 -O1 -Wno-psabi -march=%s -fopenmp -fPIC -shared "
                           "-I%s/runtime -o %s/m.so %s/m.c -lopenblas -lm",
                           cc, march, root, dir, dir)) == 0;
}

struct compiled step_build(struct btc *b, struct graph *const *g, int n, const char *march) {
  return step_build_ready(b, g, NULL, n, march);
}

struct compiled step_build_ready(struct btc *b, struct graph *const *g, struct graph *const *ready, int n,
                                 const char *march) {
  struct compiled made = {.b = b, .model = step_model(b, g, n)};
  made.model->scheduled = ready != NULL;
  for (int i = 0; ready && i < n; i++) made.model->programs.data[i].graph = ready[i];
  struct target t;
  target_from_march(&t, march);
  for (int i = 0; i < n; i++) vec_push(b->arena, &made.graphs, g[i]);
  made.cg = codegen_model(made.model, &t);
  if (made.cg == NULL) diag_flush(b, stderr);
  assert_non_null(made.cg);
  char dir[] = "/tmp/btc-native-XXXXXX";
  assert_non_null(mkdtemp(dir));
  const char *source = str_printf(b->arena, "%s/m.c", dir),
             *object = str_printf(b->arena, "%s/m.so", dir);
  FILE *out = fopen(source, "w");
  assert_non_null(out);
  codegen_emit_c(out, made.cg, "test", true);
  fclose(out);
  bool compiled = host_compile(b->arena, dir, march);
  if (compiled) made.handle = dlopen(object, RTLD_NOW);
  if (compiled && made.handle == NULL) fprintf(stderr, "%s\n", dlerror());
  if (getenv("STEP_KEEP") || !compiled)
    fprintf(stderr, "# kept %s\n", source);
  else {
    unlink(source);
    unlink(object);
    rmdir(dir);
  }
  assert_non_null(made.handle);
  made.module = dlsym(made.handle, "bt_module");
  assert_non_null(made.module);
  return made;
}

void step_close(struct compiled *n) {
  if (n->handle) dlclose(n->handle);
  n->handle = NULL;
}

struct node *drawn(struct graph *g, enum op op, const struct shape *s) {
  struct tensor_type key = {.dtype = BT_I64};
  struct node *seed = g_input(g, "seed", BT_INPUT_ARRAY, 0, 0, &key);
  struct node *stream = g_input(g, "stream", BT_INPUT_ARRAY, 0, 0, &key);
  struct shape flat = shape_of(1, shape_count(s));
  struct node *element = g_reshape(g, g_iota(g, BT_I32, &flat, 0), s);
  struct node *in[] = {element, g_broadcast(g, seed, s, NULL), g_broadcast(g, stream, s, NULL)};
  return graph_node(g, op, in, 3, NULL, NULL);
}

// ---- leaves -----------------------------------------------------------------------------------

static uint64_t next_random(uint64_t *s) {
  *s += 0x9e3779b97f4a7c15u;
  uint64_t z = (*s ^ (*s >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// Floats in (-2, 2) that f32 holds; integers 0 … 4; booleans.
static double draw(uint64_t *s, dtype t, int grain) {
  uint64_t r = next_random(s) >> 11;
  if (t == BT_BOOL) return (double)(r & 1);
  if (!dtype_is_float(t)) return (double)(r % 5);
  double unit = (double)r * 0x1p-53;
  if (grain > 0) return floor(unit * 4 * grain) / grain - 2;
  return (double)(float)(unit * 4 - 2);
}

static struct tensor64 *leaf_value(struct arena *a, int grain, const char *name, const struct tensor_type *t,
                                   unsigned seed) {
  struct tensor64 *v = tensor64_new(a, t);
  uint64_t state = str_hash(name) ^ (uint64_t)seed * 0x2545f4914f6cdd1du;
  for (int64_t i = 0; i < shape_count(&t->shape); i++) v->data[i] = draw(&state, t->dtype, grain);
  return v;
}

const struct tensor64 *step_leaf(struct arena *a, int grain, unsigned seed, const struct node *leaf) {
  return leaf_value(a, grain, leaf->attr.s, &leaf->type, seed);
}

struct leaf_user {
  struct arena *arena;
  int grain;
  unsigned seed;
};
static const struct tensor64 *supply(void *user, const struct node *n) {
  struct leaf_user *u = user;
  return step_leaf(u->arena, u->grain, u->seed, n);
}

// ---- memory with guards -----------------------------------------------------------------------

struct block {
  unsigned char *raw, *at;
  size_t bytes;
};

static struct block block_new(size_t bytes) {
  struct block k = {.bytes = bytes};
  size_t all = (bytes + 63) / 64 * 64 + 2 * GUARD;
  k.raw = aligned_alloc(64, all);
  assert_non_null(k.raw);
  memset(k.raw, POISON, all);
  k.at = k.raw + GUARD;
  return k;
}

static void block_free(struct block *k, const char *what) {
  for (size_t i = 0; i < GUARD; i++) {
    if (k->raw[i] != POISON) fail_msg("%s was written %zu bytes before its start", what, GUARD - i);
    if (k->at[k->bytes + i] != POISON) fail_msg("%s was written %zu bytes past its end", what, i);
  }
  free(k->raw);
}

static void put(void *to, const struct tensor64 *v) {
  for (int64_t i = 0; i < shape_count(&v->type.shape); i++) switch (v->type.dtype) {
    case BT_F32: ((float *)to)[i] = (float)v->data[i]; break;
    case BT_F64: ((double *)to)[i] = v->data[i]; break;
    case BT_I32: ((int32_t *)to)[i] = (int32_t)v->data[i]; break;
    case BT_I64: ((int64_t *)to)[i] = (int64_t)v->data[i]; break;
    case BT_U8:
    case BT_BOOL: ((uint8_t *)to)[i] = (uint8_t)v->data[i]; break;
    }
}

static struct tensor64 *take(struct arena *a, const void *from, const struct tensor_type *t) {
  struct tensor64 *v = tensor64_new(a, t);
  for (int64_t i = 0; i < shape_count(&t->shape); i++) switch (t->dtype) {
    case BT_F32: v->data[i] = (double)((const float *)from)[i]; break;
    case BT_F64: v->data[i] = ((const double *)from)[i]; break;
    case BT_I32: v->data[i] = (double)((const int32_t *)from)[i]; break;
    case BT_I64: v->data[i] = (double)((const int64_t *)from)[i]; break;
    case BT_U8:
    case BT_BOOL: v->data[i] = (double)((const uint8_t *)from)[i]; break;
    }
  return v;
}

static struct tensor_type type_of(enum bt_dtype t, int rank, const int64_t *shape) {
  struct tensor_type made = {.dtype = (dtype)t, .shape = {.rank = rank}};
  memcpy(made.shape.dim, shape, sizeof *shape * (size_t)rank);
  return made;
}

static const struct bt_tensor *tensor_named(const struct bt_module *m, const char *name) {
  for (int i = 0; i < m->n_tensors; i++)
    if (strcmp(m->tensors[i].name, name) == 0) return &m->tensors[i];
  fail_msg("the module has no tensor %s", name);
  return NULL;
}

// Those that the program uses; the others stay poisoned.
static void fill_store(struct compiled *n, const struct bt_program *p, struct block *store, unsigned seed) {
  for (int i = 0; i < p->n_tensors; i++) {
    const struct bt_tensor *t = &n->module->tensors[p->tensors[i]];
    struct tensor_type type = type_of(t->dtype, t->rank, t->shape);
    put(store->at + t->offset, leaf_value(n->b->arena, n->grain, t->name, &type, seed));
  }
}

// Between tensors lies padding, which nobody may touch.
static void check_store(struct compiled *n, const struct block *store) {
  for (int i = 0; i < n->module->n_tensors; i++) {
    const struct bt_tensor *t = &n->module->tensors[i];
    for (size_t j = t->offset + t->bytes; j % BT_ALIGN != 0; j++)
      if (store->at[j] != POISON) fail_msg("tensor %s was written past its end", t->name);
  }
}

struct step_result step_run(struct compiled *n, int p, unsigned seed, int threads) {
  const struct bt_program *prog = &n->module->programs[p];
  struct block store = block_new(n->module->store_bytes), arena = block_new(prog->arena_bytes);
  struct block scratch = block_new(prog->thread_bytes * (size_t)threads), in[64], out[64];
  void *in_at[64], *out_at[64];
  struct step_result r = {0};
  assert_true(prog->n_inputs <= 64 && prog->n_outputs <= 64);
  fill_store(n, prog, &store, seed);
  for (int i = 0; i < prog->n_inputs; i++) {
    struct tensor_type t =
        type_of(prog->inputs[i].dtype, prog->inputs[i].rank, prog->inputs[i].shape);
    in[i] = block_new((size_t)shape_count(&t.shape) * (size_t)dtype_size(t.dtype));
    put(in_at[i] = in[i].at, leaf_value(n->b->arena, n->grain, prog->inputs[i].name, &t, seed));
  }
  for (int i = 0; i < prog->n_outputs; i++) {
    struct tensor_type t =
        type_of(prog->outputs[i].dtype, prog->outputs[i].rank, prog->outputs[i].shape);
    out[i] = block_new((size_t)shape_count(&t.shape) * (size_t)dtype_size(t.dtype));
    out_at[i] = out[i].at;
  }
  int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  struct bt_frame frame = {.store = (char *)store.at, .arena = (char *)arena.at, .thread_scratch = (char *)scratch.at, .inputs = in_at, .outputs = out_at};
  if (threads == 1) formula_check_step(prog, &frame);
  else prog->step(&frame);
  omp_set_num_threads(before);
  check_store(n, &store);
  for (int i = 0; i < prog->n_outputs; i++) {
    struct tensor_type t =
        type_of(prog->outputs[i].dtype, prog->outputs[i].rank, prog->outputs[i].shape);
    vec_push(n->b->arena, &r.values, take(n->b->arena, out_at[i], &t));
    block_free(&out[i], "an output");
  }
  for (int i = 0; i < n->graphs.data[p]->updates.len; i++) {
    const struct bt_tensor *t = tensor_named(n->module, n->graphs.data[p]->updates.data[i].name);
    struct tensor_type type = type_of(t->dtype, t->rank, t->shape);
    vec_push(n->b->arena, &r.values, take(n->b->arena, store.at + t->offset, &type));
  }
  for (int i = 0; i < prog->n_inputs; i++) block_free(&in[i], "an input");
  block_free(&store, "the store");
  block_free(&arena, "the arena");
  block_free(&scratch, "a thread's scratch");
  return r;
}

struct step_result step_expected(struct compiled *n, int p, unsigned seed, bool round_f32) {
  const struct graph *g = n->graphs.data[p];
  struct step_result r = {0};
  struct leaf_user user = {n->b->arena, n->grain, seed};
  struct tensor64 **v = interp_run(g, n->b->arena, round_f32, supply, &user);
  for (int i = 0; i < g->outputs.len; i++)
    vec_push(n->b->arena, &r.values, v[g->outputs.data[i].node->id]);
  for (int i = 0; i < g->updates.len; i++)
    vec_push(n->b->arena, &r.values, v[g->updates.data[i].node->id]);
  return r;
}

struct step_result step_interpreted(const struct graph *g, int grain, unsigned seed, uint64_t noise) {
  struct arena *a = g->b->arena;
  struct graph results = *g;
  struct step_result r = {0};
  memset(&results.outputs, 0, sizeof results.outputs);
  for (int i = 0; i < g->outputs.len; i++) vec_push(a, &results.outputs, g->outputs.data[i]);
  for (int i = 0; i < g->updates.len; i++)
    graph_output(&results, g->updates.data[i].name, BT_OUTPUT_VALUE, g->updates.data[i].node);
  struct leaf_user user = {a, grain, seed};
  r.values.data = interp_outputs(&results, a, noise, supply, &user);
  r.values.len = r.values.cap = results.outputs.len;
  return r;
}

static void compare(struct compiled *n, int p, int i, const struct tensor64 *is,
                    const struct tensor64 *want, const struct tensor64 *rounded) {
  double largest = 0, noise = 0;
  int64_t count = shape_count(&want->type.shape);
  for (int64_t j = 0; j < count; j++) {
    if (isfinite(want->data[j])) largest = fmax(largest, fabs(want->data[j]));
    if (isfinite(want->data[j])) noise = fmax(noise, fabs(want->data[j] - rounded->data[j]));
  }
  double tolerance = fmax(2e-5 * largest, 8 * noise) + 1e-30;
  for (int64_t j = 0; j < count; j++) {
    double x = is->data[j], y = want->data[j];
    bool same = x == y || (isnan(x) && isnan(y)) || fabs(x - y) <= tolerance;
    if (same) continue;
    graph_print(stderr, n->graphs.data[p]);
    fail_msg("program %d, result %d, element %lld: %.9g instead of %.9g (tolerance %.3g)", p, i,
             (long long)j, x, y, tolerance);
  }
}

// Does BLAS compute it, which adds in another order for another number of threads?
static bool by_blas(const struct node *n) {
  return n->op == OP_matmul && (n->type.dtype != BT_F32 || (n->how != NULL && n->how->blas));
}

void step_check(struct compiled *n, int p, unsigned seed) {
  struct step_result want = step_expected(n, p, seed, false),
                     rounded = step_expected(n, p, seed, true);
  struct step_result one = step_run(n, p, seed, 1), two = step_run(n, p, seed, 2);
  for (int i = 0; i < want.values.len; i++) {
    compare(n, p, i, one.values.data[i], want.values.data[i], rounded.values.data[i]);
    size_t bytes = sizeof(double) * (size_t)shape_count(&want.values.data[i]->type.shape);
    if (memcmp(one.values.data[i]->data, two.values.data[i]->data, bytes) == 0) continue;
    bool blas = false;
    for (int j = 0; j < n->graphs.data[p]->nodes.len; j++)
      blas |= by_blas(n->graphs.data[p]->nodes.data[j]);
    if (!blas) fail_msg("program %d, result %d depends on the number of threads", p, i);
  }
}
