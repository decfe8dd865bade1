// lower_extern.c: a C function of the user's as a kernel: one call with the addresses of its operands,
// then of its results (docs/variants.md says what the function may count on).
#include "body.h"
#include "regions.h"

static lx whole(struct loop_buf *buf, struct lb *b) { return lx_address(buf, lx_int(b, 0), buf->count); }

// What argument i is called in the function's prototype, so that `btc explain` and the emitted call say it.
static const char *name_of(struct arena *a, const struct node *n, int i) {
  if (n->how && n->how->user) return n->how->user->arguments[i];
  return i < n->n_in ? str_printf(a, "in%d", i) : str_printf(a, "out%d", i - n->n_in);
}

// Operand i as an argument. Parameters never overlap: what is passed twice is one parameter.
static lx operand(struct fusion *f, struct kernel *k, struct lb *b, const struct node *n, int i, struct loop_buf **params) {
  struct buffer *from = fusion_value(f, n->in[i]);
  params[i] = NULL;
  for (int j = 0; j < i; j++)
    if (fusion_value(f, n->in[j]) == from) params[i] = params[j];
  if (!params[i]) params[i] = lower_input(k, b, from, name_of(f->arena, n, i));
  return whole(params[i], b);
}

static const struct kernel_root *result_of(const struct kernel *k, int64_t result) {
  for (int i = 0; i < k->roots.len; i++)
    if (k->roots.data[i].node->attr.i[EXTERN_RESULT] == result) return &k->roots.data[i];
  die("nobody reads result %lld of %s", (long long)result, k->roots.data[0].node->attr.s);
}

void lower_extern(struct fusion *f, struct kernel *k, const struct target *t) {
  const struct node *n = k->roots.data[0].node;
  int results = (int)n->attr.i[EXTERN_OF];
  struct lb *b = lower_begin(f, k, t, str_printf(f->arena, "call_%s", n->attr.s));
  struct loop_buf **params = NEW_ARRAY(f->arena, struct loop_buf *, n->n_in);
  lx *args = NEW_ARRAY(f->arena, lx, n->n_in + results);
  for (int i = 0; i < n->n_in; i++) args[i] = operand(f, k, b, n, i, params);
  for (int i = 0; i < results; i++) {
    struct loop_buf *to = lower_output(k, b, result_of(k, i)->buffer, name_of(f->arena, n, n->n_in + i));
    args[n->n_in + i] = whole(to, b);
  }
  lb_call_list(b, NULL, n->attr.s, n->n_in + results, args);
  lower_end(k, b);
}
