// explain.c: the text of `btc explain`, and the facts that both forms show.
//
//   program pretrain: 271 kernels (109 distinct), 22.9 GFLOP, 1.31 GiB, at least 131 ms
//     0 conv2d_1  encoder.conv1@a/conv2d
//         y = conv2d(x, w), 3x3, 1 -> 32 channels, 28x28 -> 14x14
//         nn.btg:29            return conv2d(x, weight, stride, pad)
//         28.9 MFLOP, 6.89 MiB, 4 flop/byte: memory-bound, at least 0.36 ms
//         reads   x    f32[256, 1, 28, 28]            input x               784 KiB
//         writes  y    f32[256, 32, 14, 14]{block 16} arena+9437184         6.12 MiB
#include "explain_internal.h"

#include <fnmatch.h>
#include <string.h>

#include "units.h"

// ---- facts ------------------------------------------------------------------------------------

struct bound explain_bound(const struct codegen *cg, const struct kernel *k) {
  (void)cg;
  return (struct bound){.arithmetic = k->loops->flops / 3.2e11,
                        .traffic = k->loops->bytes / 2e10,
                        .known = k->roots.data[0].node->op != OP_extern};
}

double bound_seconds(struct bound b) { return b.arithmetic > b.traffic ? b.arithmetic : b.traffic; }

bool explain_selects(const struct codegen *cg, const struct kernel *k, const char *pattern) {
  return !pattern || fnmatch(pattern, kernel_address(cg->arena, k), 0) == 0 ||
         fnmatch(pattern, k->same->loops->name, 0) == 0;
}

const char *explain_place(const struct codegen_program *p, const struct buffer *b) {
  struct arena *a = p->fusion->arena;
  switch (b->space) {
  case SPACE_INPUT: return str_printf(a, "input %s", p->fusion->inputs.data[b->slot]->attr.s);
  case SPACE_OUTPUT: return str_printf(a, "output %s", p->fusion->graph->outputs.data[b->slot].name);
  case SPACE_ARENA: return str_printf(a, "arena+%zu", b->offset);
  case SPACE_STORE: break;
  }
  static const char *const roles[] = {[BT_PARAM] = "parameter", [BT_STATE] = "state", [BT_OPTIMIZER] = "state"};
  const struct bt_tensor *t = &p->fusion->model->tensors.data[b->slot];
  return str_printf(a, "%s %s", roles[t->role], t->name);
}

const char *explain_type(struct arena *a, const struct buffer *b) {
  if (!b->node) return b->name;
  const char *type = type_text(a, &b->node->type);
  return b->node->block ? str_printf(a, "%s{block %d}", type, b->node->block) : type;
}

static void add_lines(const struct codegen_program *p, const struct node *n, bool top, bool *seen, place_list *list) {
  if (seen[n->id] || (!top && fusion_value(p->fusion, n))) return;
  seen[n->id] = true;
  places_add(p->fusion->graph->b, list, n->loc);
  for (int i = 0; i < n->n_in; i++) add_lines(p, n->in[i], false, seen, list);
}

place_list explain_lines(const struct codegen_program *p, const struct kernel *k) {
  place_list list = {0};
  bool *seen = NEW_ARRAY(p->fusion->arena, bool, p->fusion->graph->nodes.len);
  for (int i = 0; i < k->roots.len; i++) places_add(p->fusion->graph->b, &list, k->roots.data[i].node->loc);
  for (int i = 0; i < k->roots.len; i++) add_lines(p, k->roots.data[i].node, true, seen, &list);
  return list;
}

// ---- kernels ----------------------------------------------------------------------------------

struct totals {
  int kernels, compute_bound;
  double flops, bytes, seconds, compute_seconds;
};

static void add_to(struct totals *t, const struct kernel *k, struct bound b) {
  t->kernels++;
  t->flops += k->loops->flops;
  t->bytes += k->loops->bytes;
  t->seconds += bound_seconds(b);
  if (b.arithmetic <= b.traffic) return;
  t->compute_bound++;
  t->compute_seconds += b.arithmetic;
}

static void print_lines(FILE *out, const struct codegen_program *p, const struct kernel *k) {
  place_list lines = explain_lines(p, k);
  for (int i = 0; i < lines.len; i++) fprintf(out, "        %-20s %s\n", lines.data[i].name, lines.data[i].text);
}

static void print_cost(FILE *out, struct arena *a, const struct kernel *k, struct bound b) {
  const struct loop_kernel *l = k->loops;
  if (!b.known) {
    fprintf(out, "        arithmetic not known, %s\n", unit_bytes(a, l->bytes));
    return;
  }
  fprintf(out, "        %s, %s, %.3g flop/byte: %s-bound, at least %s\n", unit_flops(a, l->flops), unit_bytes(a, l->bytes),
          l->bytes > 0 ? l->flops / l->bytes : 0, b.arithmetic > b.traffic ? "compute" : "memory", unit_seconds(a, bound_seconds(b)));
}

static void print_buffer(FILE *out, const struct codegen_program *p, const char *what, const char *name, const struct buffer *b) {
  struct arena *a = p->fusion->arena;
  fprintf(out, "        %-7s %-12s %-30s %-34s %s%s\n", what, name, explain_type(a, b), explain_place(p, b),
          unit_bytes(a, (double)b->bytes), b->over ? ", in place" : "");
}

static void print_buffers(FILE *out, const struct codegen_program *p, const struct kernel *k) {
  for (int i = 0; i < k->arguments.len; i++) {
    const struct loop_buf *param = k->loops->params.data[i];
    const char *what = !param->write ? "reads" : param->read ? "updates" : "writes";
    print_buffer(out, p, what, param->name, k->arguments.data[i].buffer);
  }
  if (k->work) print_buffer(out, p, "uses", "", k->work);
  size_t scratch = loop_thread_bytes(k->loops);
  if (scratch) fprintf(out, "        uses    %s of scratch a thread\n", unit_bytes(p->fusion->arena, (double)scratch));
}

static void print_kernel(FILE *out, const struct codegen *cg, const struct codegen_program *p, const struct kernel *k, struct bound b) {
  fprintf(out, "  %3d %s  %s\n", k->id, k->same->loops->name, kernel_address(cg->arena, k));
  if (k->loops->equation) fprintf(out, "        %s\n", k->loops->equation);
  print_lines(out, p, k);
  print_cost(out, cg->arena, k, b);
  print_buffers(out, p, k);
}

static void print_totals(FILE *out, const struct codegen *cg, const struct codegen_program *p, const struct totals *t) {
  struct arena *a = cg->arena;
  bool all = t->kernels == p->fusion->kernels.len;
  fprintf(out, "  %s: %d kernels, %s, %s, at least %s\n", all ? "total" : "total of these", t->kernels, unit_flops(a, t->flops), unit_bytes(a, t->bytes), unit_seconds(a, t->seconds));
  fprintf(out, "    compute-bound %4d kernels, %s\n", t->compute_bound, unit_seconds(a, t->compute_seconds));
  fprintf(out, "    memory-bound  %4d kernels, %s\n", t->kernels - t->compute_bound, unit_seconds(a, t->seconds - t->compute_seconds));
  if (all) fprintf(out, "  memory: arena %s, scratch %s a thread, store %s\n", unit_bytes(a, (double)p->plan.arena_bytes), unit_bytes(a, (double)p->plan.thread_bytes), unit_bytes(a, (double)cg->store_bytes));
}

static bool print_program(FILE *out, const struct codegen *cg, const struct codegen_program *p, const char *pattern) {
  struct totals totals = {0};
  fprintf(out, "program %s\n", p->program->name);
  for (int i = 0; i < p->fusion->kernels.len; i++) {
    const struct kernel *k = p->fusion->kernels.data[i];
    if (!explain_selects(cg, k, pattern)) continue;
    struct bound b = explain_bound(cg, k);
    print_kernel(out, cg, p, k, b);
    add_to(&totals, k, b);
  }
  print_totals(out, cg, p, &totals);
  return totals.kernels > 0;
}

bool explain_text(FILE *out, const struct codegen *cg, const char *pattern) {
  bool any = false;
  for (int i = 0; i < cg->programs.len; i++) {
    if (i) fputc('\n', out);
    any |= print_program(out, cg, &cg->programs.data[i], pattern);
  }
  return any;
}
