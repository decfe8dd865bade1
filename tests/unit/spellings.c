// spellings.c: see spellings.h.
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "driver.h"
#include "graph_helper.h"
#include "spellings.h"
#include "values.h"

static void fail_with_diagnostics(struct btc *b, const char *what) {
  fprintf(stderr, "%s", text_of_diagnostics(b));
  fail_msg("%s", what);
}

struct graph *spelling_graph(struct btc *b, const char *function, int64_t n, int64_t d) {
  struct model *m = driver_model(b, "tests/models/gram.btg");
  if (!m) fail_with_diagnostics(b, "gram.btg");
  struct tensor_type type = {BT_F32, shape_of(2, n, d)};
  struct named_type args[2] = {{"za", type, NULL}, {"zb", type, NULL}};
  struct program *p = model_function(m, function, args, 2, true);
  if (!p) fail_with_diagnostics(b, function);
  bool stopped;
  return passes_run(b, p->graph, &stopped);
}

// ---- reference tensors ------------------------------------------------------------------------

static const struct tensor64 *reference_tensor(const value_list *v, const char *name) {
  const struct tensor64 *t = values_find(v, name);
  if (!t) fail_msg("the file has no tensor %s", name);
  assert_int_equal(t->type.dtype, BT_F64);
  return t;
}

struct reference_file reference_objective(struct btc *b, const char *name) {
  const char *path =
      str_printf(b->arena, "%s/objective_%s.safetensors", reference_folder(b->arena), name);
  value_list v = {0};
  if (access(reference_folder(b->arena), R_OK)) skip();
  if (!values_read(b, path, &v)) fail_with_diagnostics(b, path);
  return (struct reference_file){reference_tensor(&v, "za"), reference_tensor(&v, "zb"),
                                 reference_tensor(&v, "loss"), reference_tensor(&v, "dza"),
                                 reference_tensor(&v, "dzb")};
}

static const struct tensor64 *reference_leaf(void *user, const struct node *n) {
  const struct reference_file *r = user;
  return str_eq(n->attr.s, "za") ? r->za : r->zb;
}

static void assert_near(const char *name, const struct tensor64 *got, const struct tensor64 *want,
                        double tolerance) {
  int64_t count = shape_count(&want->type.shape);
  double worst = 0, largest = 0;
  assert_int_equal(shape_count(&got->type.shape), count);
  for (int64_t i = 0; i < count; i++) {
    worst = fmax(worst, fabs(got->data[i] - want->data[i]));
    largest = fmax(largest, fabs(want->data[i]));
    if (isnan(got->data[i])) worst = INFINITY;
  }
  if (!(worst <= tolerance * largest))
    fail_msg("%s deviates by %.3g of its largest entry", name, worst / largest);
}

void assert_matches_reference(const struct graph *g, const struct reference_file *r,
                              double tolerance) {
  struct arena *a = arena_new();
  struct tensor64 **v = interp_run(g, a, false, reference_leaf, (void *)(uintptr_t)r);
  int compared = 0;
  for (int i = 0; i < g->outputs.len; i++) {
    const char *name = g->outputs.data[i].name;
    const struct tensor64 *want = str_eq(name, "out")   ? r->loss
                                  : str_eq(name, "dza") ? r->dza
                                  : str_eq(name, "dzb") ? r->dzb
                                                        : NULL;
    if (want) assert_near(name, v[g->outputs.data[i].node->id], want, tolerance);
    compared += want != NULL;
  }
  assert_int_equal(compared, 3);
  arena_free(a);
}
