// explain.c: the text of `btc explain`, and the facts that both forms show.
//
//   program pretrain
//     region pretrain/objective
//       …
//     0 conv2d_1  encoder.conv1@a/conv2d
//         y = conv2d(x, w), 3x3, 1 -> 32 channels, 28x28 -> 14x14
//         nn.btg:29            let y = conv2d(x, weight, stride: stride, pad: pad, …)
//         28.9 MFLOP, 6.89 MiB, 4 flop/byte: memory-bound, 147 us
//         reads   x            f32[256, 1, 28, 28]            input x                    784 KiB
//         writes  y            f32[256, 32, 14, 14]{block 16} arena+9437184              6.12 MiB
//         not with 12 relu_7: they run over different spaces
#include "explain_internal.h"

#include <fnmatch.h>
#include <string.h>

#include "units.h"

// ---- facts ------------------------------------------------------------------------------------

static bool is_known(const struct kernel *k) { return k->roots.data[0].node->op != OP_extern; }

const char *explain_bound(const struct kernel *k, struct kernel_time t) {
  if (!is_known(k)) return "unknown";
  if (t.launch > t.arithmetic && t.launch > t.traffic) return "launch-bound";
  return t.arithmetic > t.traffic ? "compute-bound" : "memory-bound";
}

const char *explain_region(const struct kernel *k) {
  for (int i = 0; i < k->roots.len; i++)
    if (k->roots.data[i].node->how) return k->roots.data[i].node->how->region;
  return NULL;
}

bool explain_selects(const struct codegen *cg, const struct kernel *k, const char *pattern) {
  const char *region = explain_region(k);
  return !pattern || fnmatch(pattern, kernel_address(cg->arena, k), 0) == 0 ||
         fnmatch(pattern, k->same->loops->name, 0) == 0 || (region && region_matches(pattern, region));
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

// Constants are shared: their place is that of their first use.
static bool is_constant(const struct node *n) {
  if (n->n_in == 0) return n->op == OP_constant || n->op == OP_iota;
  for (int i = 0; i < n->n_in; i++)
    if (!is_constant(n->in[i])) return false;
  return true;
}

static void add_lines(const struct codegen_program *p, const struct node *n, bool top, bool *seen, place_list *list) {
  if (seen[n->id] || is_constant(n) || (!top && fusion_value(p->fusion, n))) return;
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

static void print_lines(FILE *out, const struct codegen_program *p, const struct kernel *k) {
  place_list lines = explain_lines(p, k);
  for (int i = 0; i < lines.len; i++) fprintf(out, "        %-20s %s\n", lines.data[i].name, lines.data[i].text);
}

static void print_cost(FILE *out, const struct codegen *cg, const struct kernel *k) {
  const struct loop_kernel *l = k->loops;
  struct arena *a = cg->arena;
  struct kernel_time t = kernel_time(l, &cg->target);
  if (!is_known(k))
    fprintf(out, "        arithmetic not known, %s\n", unit_bytes(a, l->bytes));
  else
    fprintf(out, "        %s, %s, %.3g flop/byte: %s, %s\n", unit_flops(a, l->flops), unit_bytes(a, l->bytes),
            l->bytes > 0 ? l->flops / l->bytes : 0, explain_bound(k, t), unit_seconds(a, t.seconds));
}

static void print_buffer(FILE *out, const struct codegen_program *p, const char *what, const char *name, const struct buffer *b) {
  struct arena *a = p->fusion->arena;
  fprintf(out, "        %-7s %-12s %-30s %-34s %s\n", what, name, explain_type(a, b), explain_place(p, b), unit_bytes(a, (double)b->bytes));
}

static void print_buffers(FILE *out, const struct codegen_program *p, const struct kernel *k) {
  for (int i = 0; i < k->arguments.len; i++) {
    const struct loop_buf *param = k->loops->params.data[i];
    const char *what = !param->write ? "reads" : param->read ? "updates" /* in place */ : "writes";
    print_buffer(out, p, what, param->name, k->arguments.data[i].buffer);
  }
  if (k->work) print_buffer(out, p, "uses", "", k->work);
  size_t scratch = loop_thread_bytes(k->loops);
  if (scratch) fprintf(out, "        uses    %s of scratch a thread\n", unit_bytes(p->fusion->arena, (double)scratch));
}

// Only of kernels that are left: one whose results nobody turned out to read is gone.
static bool is_left(const struct fusion *f, const struct kernel *k) { return k->id < f->kernels.len && f->kernels.data[k->id] == k; }

static void print_gaps(FILE *out, const struct codegen_program *p, const struct kernel *k) {
  for (int i = 0; i < p->fusion->gaps.len; i++) {
    const struct fusion_gap *gap = &p->fusion->gaps.data[i];
    if (gap->second != k || !is_left(p->fusion, gap->first)) continue;
    fprintf(out, "        not one with %d %s: %s\n", gap->first->id, gap->first->same->loops->name, gap->why);
  }
}

static void print_kernel(FILE *out, const struct codegen *cg, const struct codegen_program *p, const struct kernel *k) {
  const char *region = explain_region(k);
  fprintf(out, "  %3d %s  %s%s%s\n", k->id, k->same->loops->name, kernel_address(cg->arena, k), region ? "  of " : "", region ? region : "");
  if (k->loops->equation) fprintf(out, "        %s\n", k->loops->equation);
  print_lines(out, p, k);
  print_cost(out, cg, k);
  print_buffers(out, p, k);
  print_gaps(out, p, k);
}

// ---- totals -----------------------------------------------------------------------------------

static const char *const bounds[] = {"compute-bound", "memory-bound", "launch-bound", "unknown"};
enum { BOUNDS = sizeof bounds / sizeof *bounds };

struct totals {
  int kernels, of_bound[BOUNDS];
  double flops, bytes, seconds, seconds_of_bound[BOUNDS];
};

static void add_to(struct totals *sum, const struct kernel *k, struct kernel_time t) {
  sum->kernels++;
  sum->flops += k->loops->flops;
  sum->bytes += k->loops->bytes;
  if (is_known(k)) sum->seconds += t.seconds;
  for (int i = 0; i < BOUNDS; i++) {
    if (!str_eq(bounds[i], explain_bound(k, t))) continue;
    sum->of_bound[i]++;
    sum->seconds_of_bound[i] += t.seconds;
  }
}

static void print_totals(FILE *out, const struct codegen *cg, const struct codegen_program *p, const struct totals *t) {
  struct arena *a = cg->arena;
  bool all = t->kernels == p->fusion->kernels.len;
  fprintf(out, "  total%s: %d kernels, %s, %s, predicted %s%s\n", all ? "" : " of these", t->kernels, unit_flops(a, t->flops), unit_bytes(a, t->bytes),
          unit_seconds(a, t->seconds), t->of_bound[BOUNDS - 1] ? " and what is unknown" : "");
  for (int i = 0; i < BOUNDS; i++)
    if (t->of_bound[i]) fprintf(out, "    %-14s %4d kernels, %s\n", bounds[i], t->of_bound[i], i == BOUNDS - 1 ? "?" : unit_seconds(a, t->seconds_of_bound[i]));
  if (all) fprintf(out, "  memory: arena %s, scratch %s a thread, store %s\n", unit_bytes(a, (double)p->plan.arena_bytes), unit_bytes(a, (double)p->plan.thread_bytes), unit_bytes(a, (double)cg->store_bytes));
}

static bool selects_any(const struct codegen *cg, const struct codegen_program *p, const char *pattern) {
  bool any = !pattern;
  for (int i = 0; i < p->regions->list.len && !any; i++) any = region_matches(pattern, p->regions->list.data[i].address);
  for (int i = 0; i < p->fusion->kernels.len && !any; i++) any = explain_selects(cg, p->fusion->kernels.data[i], pattern);
  return any;
}

static void print_program(FILE *out, const struct codegen *cg, const struct codegen_program *p, const char *pattern) {
  struct totals totals = {0};
  fprintf(out, "program %s\n", p->program->name);
  explain_regions(out, cg, p, pattern);
  for (int i = 0; i < p->fusion->kernels.len; i++) {
    const struct kernel *k = p->fusion->kernels.data[i];
    if (!explain_selects(cg, k, pattern)) continue;
    print_kernel(out, cg, p, k);
    add_to(&totals, k, kernel_time(k->loops, &cg->target));
  }
  print_totals(out, cg, p, &totals);
}

void explain_text(FILE *out, const struct codegen *cg, const char *pattern) {
  bool any = false;
  for (int i = 0; i < cg->programs.len; i++) {
    if (!selects_any(cg, &cg->programs.data[i], pattern)) continue;
    if (any) fputc('\n', out);
    any = true;
    print_program(out, cg, &cg->programs.data[i], pattern);
  }
}

bool explain_finds(const struct codegen *cg, const char *pattern) {
  for (int i = 0; i < cg->programs.len; i++)
    if (selects_any(cg, &cg->programs.data[i], pattern)) return true;
  return false;
}

const char *explain_near(const struct codegen *cg, const char *pattern) {
  VEC(const char *) names = {0};
  for (int i = 0; i < cg->programs.len; i++) {
    const struct codegen_program *p = &cg->programs.data[i];
    for (int k = 0; k < p->regions->list.len; k++) vec_push(cg->arena, &names, p->regions->list.data[k].address);
    for (int k = 0; k < p->fusion->kernels.len; k++) {
      vec_push(cg->arena, &names, kernel_address(cg->arena, p->fusion->kernels.data[k]));
      vec_push(cg->arena, &names, p->fusion->kernels.data[k]->same->loops->name);
    }
  }
  return region_near(cg->arena, pattern, names.data, names.len, "; without it all are shown");
}
