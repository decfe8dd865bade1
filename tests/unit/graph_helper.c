// graph_helper.c: see graph_helper.h.
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph_helper.h"

struct graph *graph_of_text(struct btc *b, const char *text) {
  return graph_parse(b, source_add(b, "test.graph", text, strlen(text)));
}

char *text_of_graph(const struct graph *g) {
  char *text = NULL;
  size_t size = 0;
  FILE *f = open_memstream(&text, &size);
  graph_print(f, g);
  fclose(f);
  return text;
}

char *text_of_diagnostics(struct btc *b) {
  char *text = NULL;
  size_t size = 0;
  FILE *f = open_memstream(&text, &size);
  diag_flush(b, f);
  fclose(f);
  return text;
}

int count_nodes(const struct graph *g, enum op op, int64_t over) {
  int count = 0;
  for (int i = 0; i < g->nodes.len; i++) {
    const struct node *n = g->nodes.data[i], *sized = n->n_in ? n->in[0] : n;
    count += n->op == op && shape_count(&sized->type.shape) >= over;
  }
  return count;
}

// ---- values -----------------------------------------------------------------------------------

struct leaves {
  struct arena *arena;
  unsigned seed;
};

static double draw(uint64_t *state, dtype t) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  double unit = (double)(*state >> 11) * 0x1p-53;
  if (t == BT_BOOL) return unit < 0.5;
  if (!dtype_is_float(t)) return floor(5 * unit);
  return 0.25 + 2 * unit; // positive: every function of the op table is smooth and defined there
}

static const struct tensor64 *random_leaf(void *user, const struct node *n) {
  struct leaves *l = user;
  struct tensor64 *t = tensor64_new(l->arena, &n->type);
  uint64_t state = str_hash(n->attr.s) + l->seed * 0x9e3779b97f4a7c15u;
  for (int64_t i = 0; i < shape_count(&n->type.shape); i++)
    t->data[i] = draw(&state, n->type.dtype);
  return t;
}

static double largest_of(const struct tensor64 *t) {
  double largest = 0;
  for (int64_t i = 0; i < shape_count(&t->type.shape); i++)
    if (isfinite(t->data[i])) largest = fmax(largest, fabs(t->data[i]));
  return largest;
}

// `noise`: what rounding leaves where a value is zero by algebra.
static void assert_close(const char *name, const struct tensor64 *a, const struct tensor64 *b,
                         double noise) {
  if (!type_eq(&a->type, &b->type)) fail_msg("%s changed its type", name);
  double largest = largest_of(a);
  int64_t count = shape_count(&a->type.shape);
  for (int64_t i = 0; i < count; i++) {
    if (a->data[i] == b->data[i] || (isnan(a->data[i]) && isnan(b->data[i]))) continue;
    if (!(fabs(a->data[i] - b->data[i]) <= 1e-9 * largest + noise))
      fail_msg("%s[%lld] was %.17g and became %.17g (largest %g)", name, (long long)i, a->data[i],
               b->data[i], largest);
  }
}

void assert_same_values(const struct graph *a, const struct graph *b, unsigned seed) {
  struct leaves l = {arena_new(), seed};
  struct tensor64 **va = interp_run(a, l.arena, false, random_leaf, &l);
  struct tensor64 **vb = interp_run(b, l.arena, false, random_leaf, &l);
  double noise = 0;
  for (int i = 0; i < a->nodes.len; i++) noise = fmax(noise, 1e-13 * largest_of(va[i]));
  assert_int_equal(a->outputs.len, b->outputs.len);
  assert_int_equal(a->updates.len, b->updates.len);
  for (int i = 0; i < a->outputs.len; i++) {
    assert_string_equal(a->outputs.data[i].name, b->outputs.data[i].name);
    assert_close(a->outputs.data[i].name, va[a->outputs.data[i].node->id],
                 vb[b->outputs.data[i].node->id], noise);
  }
  for (int i = 0; i < a->updates.len; i++) {
    assert_string_equal(a->updates.data[i].name, b->updates.data[i].name);
    assert_close(a->updates.data[i].name, va[a->updates.data[i].node->id],
                 vb[b->updates.data[i].node->id], noise);
  }
  arena_free(l.arena);
}

// ---- deaths -----------------------------------------------------------------------------------

char *text_of_death(void (*call)(void *user), void *user) {
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    signal(SIGABRT, SIG_DFL); // not the test framework's
    call(user);
    _exit(0);
  }
  close(ends[1]);
  char *text = calloc(1, 1 << 16);
  size_t used = 0;
  for (ssize_t n; (n = read(ends[0], text + used, (1 << 16) - 1 - used)) > 0;) used += (size_t)n;
  close(ends[0]);
  int status;
  waitpid(child, &status, 0);
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
    fail_msg("the call did not die; it printed: %s", text);
  return text;
}

const char *reference_folder(struct arena *a) {
  const char *shared = getenv("BTC_SHARED");
  return str_printf(a, "%s/reference", shared && *shared ? shared : "../shared");
}
