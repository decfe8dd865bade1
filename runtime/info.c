// info.c: `info`, what the programs are and where their memory goes.
//
// The compiler's blocks are known exactly. What libraries take is measured, not guessed: the
// process as it stands before anything is allocated, and what a matrix product makes BLAS keep.
#include "trainer.h"

#include <cblas.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define PROBE_SIZE 768 // of the product that makes BLAS allocate its buffers

struct reserve {
  const char *name;
  size_t bytes;
};

// What BLAS keeps after its first large product.
static size_t blas_bytes(void) {
  size_t n = PROBE_SIZE, before = bt_resident_bytes();
  struct bt_block block;
  if (!bt_block_new(&block, 3 * n * n * sizeof(float), "probe", NULL, 0)) return 0;
  float *a = block.data, *b = a + n * n, *c = b + n * n;
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)n, (int)n, 1, a, (int)n, b,
              (int)n, 0, c, (int)n);
  bt_block_free(&block);
  size_t after = bt_resident_bytes();
  return after > before ? after - before : 0;
}

static int fill(struct reserve rows[10], const struct bt_memory_plan *plan, size_t process,
                size_t blas) {
  const struct reserve all[] = {{"store (parameters, state)", plan->store},
                                {"arena", plan->arena},
                                {"thread scratch", plan->scratch},
                                {"inputs and outputs", plan->buffers},
                                {"rows that passes keep", plan->kept},
                                {"views", plan->views},
                                {"data", plan->data},
                                {"features and their evaluation", plan->features},
                                {"BLAS buffers (measured)", blas},
                                {"process: code, libraries, stacks (measured)", process}};
  int n = (int)(sizeof all / sizeof *all);
  for (int i = 0; i < n; i++) rows[i] = all[i];
  return n;
}

static void print_text(const struct bt_session *s, const struct reserve *rows, int n) {
  const struct bt_program *p = s->program;
  size_t total = 0;
  printf("\nprogram %s: batch %" PRId64 ", %" PRId64 " parameters, %.4g GFLOP a step, %d kernels\n",
         p->name, p->batch, p->parameters, p->flops * 1e-9, p->n_kernels);
  printf("  memory with %d threads on %s:\n", s->threads, s->data ? s->data->name : "no data");
  for (int i = 0; i < n; i++) {
    total += rows[i].bytes;
    if (rows[i].bytes)
      printf("    %-44s %10.2f MiB\n", rows[i].name, (double)rows[i].bytes / 0x1p20);
  }
  printf("    %-44s %10.2f MiB\n", "total", (double)total / 0x1p20);
}

static void print_json(const struct bt_session *s, const struct reserve *rows, int n) {
  const struct bt_program *p = s->program;
  size_t total = 0;
  json_t *memory = json_object();
  for (int i = 0; i < n; i++) {
    total += rows[i].bytes;
    json_object_set_new(memory, rows[i].name, json_integer((json_int_t)rows[i].bytes));
  }
  json_t *line =
      json_pack("{s:s, s:I, s:I, s:f, s:i, s:o, s:I}", "program", p->name, "batch",
                (json_int_t)p->batch, "parameters", (json_int_t)p->parameters, "flops", p->flops,
                "threads", s->threads, "memory", memory, "total", (json_int_t)total);
  char *text = json_dumps(line, JSON_COMPACT);
  printf("%s\n", text);
  free(text);
  json_decref(line);
}

static int describe(const struct bt_module *m, const struct bt_program *p,
                    const struct bt_options *o, int threads, size_t process, size_t blas) {
  char err[4096];
  struct bt_session s;
  struct bt_memory_plan plan;
  struct reserve rows[10];
  if (!bt_session_prepare(&s, m, p, o, threads, err, sizeof err)) {
    if (o->data) return bt_report_error(o, err);
    fprintf(stderr, "%s: warning: planning %s without data: %s\n", o->self, p->name, err);
    s = (struct bt_session){.module = m, .program = p, .options = o, .threads = threads};
    bt_session_find_passes(&s);
  }
  bt_session_plan(&s, &plan);
  int n = fill(rows, &plan, process, blas);
  if (o->json)
    print_json(&s, rows, n);
  else
    print_text(&s, rows, n);
  bt_session_close(&s);
  return 0;
}

int bt_info(const struct bt_module *m, const struct bt_options *o) {
  int threads = bt_blas_init((int)o->threads), code = 0;
  size_t process = bt_resident_bytes(), blas = blas_bytes();
  if (!o->json)
    printf("%s\n%s\nBLAS core %s, %d threads, %.2f MiB of parameters and state\n"
           "decoded images may take %.2f MiB (--cache)\n",
           m->source_path, m->build, bt_blas_core(), threads, (double)m->store_bytes / 0x1p20,
           (double)o->cache / 0x1p20);
  for (int i = 0; i < m->n_programs && code == 0; i++)
    if (!m->programs[i].owner) code = describe(m, &m->programs[i], o, threads, process, blas);
  return code;
}
