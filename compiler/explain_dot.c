// explain_dot.c: `btc explain --format=dot`: kernels as nodes, buffers as edges.
//
// An edge leads from the kernel that wrote a buffer last to each that reads it; what comes from outside
// and what is left behind (inputs, parameters, results) are nodes of another shape.
#include "explain_internal.h"

#include "units.h"

// Text inside double quotes; a newline breaks the line.
static void print_quoted(FILE *out, const char *s) {
  for (; *s; s++) {
    if (*s == '"' || *s == '\\') fputc('\\', out);
    if (*s == '\n') fputs("\\n", out);
    else fputc(*s, out);
  }
}

struct drawing {
  FILE *out;
  const struct codegen *cg;
  const struct codegen_program *p;
  const char *pattern;
  int index;     // of the program
  int *writer;   // by buffer: the last kernel so far that wrote it; -1: it came from outside
  bool *outside; // by buffer: is a node of the drawing
};

static bool is_drawn(const struct drawing *d, const struct kernel *k) { return explain_selects(d->cg, k, d->pattern); }

static void draw_kernel(const struct drawing *d, const struct kernel *k) {
  struct arena *a = d->cg->arena;
  struct kernel_time t = kernel_time(k->loops, &d->cg->target);
  const char *bound = explain_bound(k, t);
  const char *cost = str_eq(bound, "unknown") ? "arithmetic not known" : str_printf(a, "%s, %s, %s", unit_flops(a, k->loops->flops), unit_seconds(a, t.seconds), bound);
  fprintf(d->out, "    p%dk%d [label=\"", d->index, k->id);
  print_quoted(d->out, str_printf(a, "%d %s\n%s\n%s", k->id, k->same->loops->name, kernel_address(a, k), cost));
  fputs("\"];\n", d->out);
}

static void draw_outside(struct drawing *d, const struct buffer *b) {
  if (d->outside[b->id]) return;
  d->outside[b->id] = true;
  fprintf(d->out, "    p%db%d [shape=ellipse, label=\"", d->index, b->id);
  print_quoted(d->out, str_printf(d->cg->arena, "%s\n%s", explain_place(d->p, b), explain_type(d->cg->arena, b)));
  fputs("\"];\n", d->out);
}

static void draw_edge(const struct drawing *d, const char *from, const char *to, const struct buffer *b) {
  fprintf(d->out, "    %s -> %s [label=\"", from, to);
  print_quoted(d->out, str_printf(d->cg->arena, "%s\n%s", explain_type(d->cg->arena, b), unit_bytes(d->cg->arena, (double)b->bytes)));
  fprintf(d->out, "\"%s];\n", b->over ? ", style=bold" : "");
}

static const char *kernel_name(const struct drawing *d, int id) { return str_printf(d->cg->arena, "p%dk%d", d->index, id); }
static const char *buffer_name(const struct drawing *d, const struct buffer *b) { return str_printf(d->cg->arena, "p%db%d", d->index, b->id); }

static void draw_reads(struct drawing *d, const struct kernel *k) {
  for (int i = 0; i < k->reads.len; i++) {
    const struct buffer *b = k->reads.data[i];
    int writer = d->writer[b->id];
    if (writer >= 0 && !is_drawn(d, d->p->fusion->kernels.data[writer])) continue;
    if (writer < 0) draw_outside(d, b);
    draw_edge(d, writer < 0 ? buffer_name(d, b) : kernel_name(d, writer), kernel_name(d, k->id), b);
  }
}

static void draw_writes(struct drawing *d, const struct kernel *k) {
  for (int i = 0; i < k->roots.len; i++) {
    const struct buffer *b = k->roots.data[i].buffer;
    if (b->space == SPACE_ARENA) continue;
    draw_outside(d, b);
    draw_edge(d, kernel_name(d, k->id), buffer_name(d, b), b);
  }
}

static const char *variant_of(const struct drawing *d, const char *region) {
  for (int i = 0; i < d->p->regions->list.len; i++) {
    const struct region *r = &d->p->regions->list.data[i];
    if (str_eq(r->address, region)) return r->variants.data[r->chosen].name;
  }
  die("no region is called %s", region);
}

// The kernels of one region, framed; of no region (NULL), bare.
static void draw_region(const struct drawing *d, const char *region, int index) {
  bool any = false;
  for (int i = 0; i < d->p->fusion->kernels.len; i++) {
    const struct kernel *k = d->p->fusion->kernels.data[i];
    if (!is_drawn(d, k) || !str_eq(explain_region(k), region)) continue;
    if (!any && region) {
      fprintf(d->out, "    subgraph cluster_p%dr%d {\n    label=\"", d->index, index);
      print_quoted(d->out, str_printf(d->cg->arena, "%s: %s", region, variant_of(d, region)));
      fputs("\";\n", d->out);
    }
    any = true;
    draw_kernel(d, k);
  }
  if (any && region) fputs("    }\n", d->out);
}

static void draw_kernels(const struct drawing *d) {
  draw_region(d, NULL, 0);
  for (int i = 0; i < d->p->regions->list.len; i++) draw_region(d, d->p->regions->list.data[i].address, i);
}

static void draw_buffers(struct drawing *d) {
  const struct fusion *f = d->p->fusion;
  d->writer = NEW_ARRAY(d->cg->arena, int, f->buffers.len);
  d->outside = NEW_ARRAY(d->cg->arena, bool, f->buffers.len);
  for (int i = 0; i < f->buffers.len; i++) d->writer[i] = -1;
  for (int i = 0; i < f->kernels.len; i++) {
    const struct kernel *k = f->kernels.data[i];
    if (is_drawn(d, k)) {
      draw_reads(d, k);
      draw_writes(d, k);
    }
    for (int j = 0; j < k->roots.len; j++) d->writer[k->roots.data[j].buffer->id] = i;
  }
}

static void draw_program(struct drawing *d) {
  fprintf(d->out, "  subgraph cluster_p%d {\n    label=\"program ", d->index);
  print_quoted(d->out, d->p->program->name);
  fputs("\";\n", d->out);
  draw_kernels(d);
  draw_buffers(d);
  fputs("  }\n", d->out);
}

void explain_dot(FILE *out, const struct codegen *cg, const char *pattern) {
  fputs("digraph btc {\n  node [shape=box, fontname=\"monospace\"];\n  edge [fontname=\"monospace\"];\n", out);
  for (int i = 0; i < cg->programs.len; i++) {
    struct drawing d = {.out = out, .cg = cg, .p = &cg->programs.data[i], .pattern = pattern, .index = i};
    draw_program(&d);
  }
  fputs("}\n", out);
}
