// bench_gemm.c: GFLOP/s of the product schedule beside OpenBLAS, interleaved in one run.
//
// Compiles every product for this machine and runs it alternately with cblas_sgemm until `seconds` are
// over: so both meet the same load. Prints the medians and their ratio. A second table has what the
// epilogues cost: times relative to the plain product x w', again interleaved.
//
//   build/bench_gemm [seconds a product, default 0.5] [only shapes whose name contains this]
#include "../tests/unit/jit.h"
#include "btrt_internal.h"
#include "measure.h"
#include "sched_gemm.h"

#include <cblas.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const struct gemm_shape shapes[] = {
    {.m = 256, .n = 256, .k = 256},    {.m = 512, .n = 512, .k = 512},
    {.m = 1024, .n = 1024, .k = 1024}, {.m = 2048, .n = 2048, .k = 2048},
    {.m = 4096, .n = 4096, .k = 4096}, {.m = 8192, .n = 8192, .k = 8192},
    {.m = 256, .n = 256, .k = 8192},   {.m = 8192, .n = 256, .k = 256},
    {.m = 256, .n = 8192, .k = 256},   {.m = 256, .n = 8192, .k = 8192},
    {.m = 8192, .n = 8192, .k = 256},  {.m = 512, .n = 512, .k = 4096},
    {.m = 4096, .n = 512, .k = 512},   {.m = 128, .n = 1024, .k = 128},
    {.m = 128, .n = 128, .k = 1024},   {.m = 1024, .n = 1024, .k = 128},
    {.m = 128, .n = 1024, .k = 1024},  {.m = 2048, .n = 2048, .k = 256},
    {.m = 256, .n = 2048, .k = 2048},  {.m = 127, .n = 1001, .k = 509},
    {.m = 32, .n = 4096, .k = 1024},   {.m = 1024, .n = 10, .k = 512},
};

// In huge pages, as the runtime's arena is.
static float *random_floats(int64_t n) {
  enum { HUGE_PAGE = 2 << 20 };
  size_t bytes = ((size_t)n * 4 + HUGE_PAGE) / HUGE_PAGE * HUGE_PAGE;
  float *p = aligned_alloc(HUGE_PAGE, bytes);
  madvise(p, bytes, MADV_HUGEPAGE);
  for (int64_t i = 0; i < n; i++) p[i] = (float)((i * 2654435761u % 2001) - 1000) / 1000;
  return p;
}

static void blas(const struct gemm_shape *s, bool tx, bool tw, float *const p[3]) {
  int m = (int)s->m, n = (int)s->n, k = (int)s->k;
  cblas_sgemm(CblasRowMajor, tx ? CblasTrans : CblasNoTrans, tw ? CblasTrans : CblasNoTrans, m, n, k, 1,
              p[0], tx ? m : k, p[1], tw ? k : n, 0, p[2], n);
}

static void time_product(const struct gemm_shape *s, bool tx, bool tw, const struct loop_kernel *k,
                         jit_kernel run, double seconds) {
  float *p[3] = {random_floats(s->m * s->k), random_floats(s->k * s->n), random_floats(s->m * s->n)};
  char *shared = (char *)random_floats((int64_t)loop_shared_bytes(k) / 4 + 16);
  char *mine = (char *)random_floats((int64_t)loop_thread_bytes(k) * omp_get_max_threads() / 4 + 16);
  enum { MOST = 2000 };
  double ours[MOST], theirs[MOST], end = omp_get_wtime() + seconds;
  int n = 0;
  run((void **)p, shared, mine);
  blas(s, tx, tw, p);
  do {
    double start = omp_get_wtime();
    run((void **)p, shared, mine);
    double middle = omp_get_wtime();
    blas(s, tx, tw, p);
    ours[n] = middle - start, theirs[n++] = omp_get_wtime() - middle;
  } while (n < MOST && (omp_get_wtime() < end || n < 3));
  double mine_took = quartiles_of(ours, n).median, theirs_took = quartiles_of(theirs, n).median;
  printf("  %4.0f %4.0f %5.2f", k->flops / mine_took / 1e9, k->flops / theirs_took / 1e9,
         theirs_took / mine_took);
  fflush(stdout);
  for (int i = 0; i < 3; i++) free(p[i]);
  free(shared);
  free(mine);
}

// ---- epilogues --------------------------------------------------------------------------------
// y = f(x w'), sum[0] and columns[j] of it; `finish` divides y by what it sums to in its column.
enum epilogue { PLAIN, FOLDED, FINISHED, SYMMETRIC, EPILOGUES };
static const char *const epilogue_names[] = {"plain", "value, two folds", "the same, finish", "symmetric"};
static const struct gemm_shape epilogue_shapes[] = {
    {.m = 256, .n = 256, .k = 8192},   {.m = 1024, .n = 1024, .k = 256},
    {.m = 2048, .n = 2048, .k = 256},  {.m = 8192, .n = 8192, .k = 256},
    {.m = 2048, .n = 2048, .k = 2048}, {.m = 2048, .n = 2048, .k = 8192},
};

struct ends {
  struct lb *b;
  const struct gemm_shape *s;
  enum epilogue kind;
  struct loop_buf *x, *w, *y, *sum, *columns;
  lx column;
};
static lx rows_of_x(void *user, lx batch, lx cross, lx p, lx lanes_left) {
  struct ends *e = user;
  (void)batch;
  return lx_vload_n(e->x, lx_add(lx_muli(cross, e->s->k), p), lanes_left);
}
static lx rows_of_w(void *user, lx batch, lx cross, lx p, lx lanes_left) {
  struct ends *e = user;
  (void)batch;
  return lx_vload_n(e->w, lx_add(lx_muli(cross, e->s->k), p), lanes_left);
}
static void end_point(void *user, lx batch, lx i, lx j, lx lanes_left, lx c, lx *value) {
  struct ends *e = user;
  (void)batch;
  bool plain = e->kind == PLAIN || e->kind == SYMMETRIC;
  lx y = plain ? c : lb_let(e->b, "f", lx_mul(lx_sub(c, lx_vf32(e->b, 1)), c));
  lb_store_n(e->b, e->y, lx_add(lx_muli(i, e->s->n), j), lanes_left, y);
  if (!plain) value[0] = y, value[1] = lx_mul(c, c);
}
static void end_done(void *user, int fold, lx batch, lx index, lx lanes_left, lx total) {
  struct ends *e = user;
  (void)batch;
  if (fold == 0)
    lb_store(e->b, e->sum, lx_int(e->b, 0), total);
  else
    lb_store_n(e->b, e->columns, index, lanes_left, total);
}
static void end_enter(void *user, lx batch, lx j, lx lanes_left) {
  struct ends *e = user;
  (void)batch;
  e->column = lb_let(e->b, "scale", lx_div(lx_vf32(e->b, 1), lx_vload_n(e->columns, j, lanes_left)));
}
static void end_finish(void *user, lx batch, lx i, lx j, lx lanes_left, lx c) {
  struct ends *e = user;
  (void)batch, (void)c;
  lx at = lb_let(e->b, "at", lx_add(lx_muli(i, e->s->n), j));
  lb_store_n(e->b, e->y, at, lanes_left, lx_mul(lx_vload_n(e->y, at, lanes_left), e->column));
}

static struct loop_kernel *build_epilogue(struct arena *arena, const struct target *t,
                                          const struct gemm_shape *given, enum epilogue kind) {
  struct gemm_shape s = *given;
  s.batch = 1;
  s.symmetric = kind == SYMMETRIC;
  struct lb *b = lb_new(arena, t, str_printf(arena, "epilogue_%d", kind));
  struct ends e = {.b = b, .s = &s, .kind = kind};
  e.x = lb_input(b, "x", LT_F32, s.m * s.k);
  e.w = s.symmetric ? e.x : lb_input(b, "w", LT_F32, s.n * s.k);
  e.y = lb_inout(b, "y", LT_F32, s.m * s.n);
  e.sum = lb_output(b, "sum", LT_F64, 1);
  e.columns = lb_inout(b, "columns", LT_F32, s.n);
  struct gemm_operand left = {.along_k = true, .vector = rows_of_x, .user = &e};
  struct gemm_operand right = {.along_k = true, .vector = rows_of_w, .user = &e};
  static const enum gemm_fold folds[] = {GEMM_FOLD_ALL, GEMM_FOLD_ROWS};
  struct gemm_epilogue end = {.user = &e, .point = end_point};
  if (kind == FOLDED || kind == FINISHED) end.n_folds = 2, end.folds = folds, end.fold_done = end_done;
  if (kind == FINISHED) end.finish = end_finish, end.finish_enter = end_enter;
  sched_gemm(b, &s, &left, &right, &end);
  return lb_finish(b);
}

static void time_epilogues(const struct gemm_shape *s, struct loop_kernel *const *k,
                           const jit_kernel *run, double seconds) {
  enum { MOST = 500 };
  void *p[5] = {random_floats(s->m * s->k), random_floats(s->n * s->k), random_floats(s->m * s->n),
                random_floats(2), random_floats(s->n)};
  void *q[] = {p[0], p[2], p[3], p[4]}; // of the symmetric product, which has no w
  double took[EPILOGUES][MOST], end = omp_get_wtime() + seconds * EPILOGUES;
  char *shared[EPILOGUES], *mine[EPILOGUES];
  for (int f = 0; f < EPILOGUES; f++) {
    shared[f] = (char *)random_floats((int64_t)loop_shared_bytes(k[f]) / 4 + 16);
    mine[f] = (char *)random_floats((int64_t)loop_thread_bytes(k[f]) * omp_get_max_threads() / 4 + 16);
    run[f](f == SYMMETRIC ? q : p, shared[f], mine[f]);
  }
  int n = 0;
  do {
    for (int f = 0; f < EPILOGUES; f++) {
      double start = omp_get_wtime();
      run[f](f == SYMMETRIC ? q : p, shared[f], mine[f]);
      took[f][n] = omp_get_wtime() - start;
    }
    n++;
  } while (n < MOST && (omp_get_wtime() < end || n < 3));
  double plain = quartiles_of(took[PLAIN], n).median;
  printf(" %9.2f ms", plain * 1e3);
  for (int f = 1; f < EPILOGUES; f++) printf("  %17.2f", quartiles_of(took[f], n).median / plain);
  for (int f = 0; f < EPILOGUES; f++) free(shared[f]), free(mine[f]);
  for (int i = 0; i < 5; i++) free(p[i]);
}

static bool bench_epilogues(struct arena *arena, const struct target *t, double seconds,
                            const char *only) {
  printf("\n%-16s %12s", "x w', relative", epilogue_names[PLAIN]);
  for (int f = 1; f < EPILOGUES; f++) printf("  %17s", epilogue_names[f]);
  printf("\n");
  for (size_t i = 0; i < sizeof epilogue_shapes / sizeof *epilogue_shapes; i++) {
    const struct gemm_shape *s = &epilogue_shapes[i];
    const char *name = str_printf(arena, "%ldx%ldx%ld", (long)s->m, (long)s->n, (long)s->k);
    if (only && !strstr(name, only)) continue;
    struct loop_kernel *k[EPILOGUES];
    for (int f = 0; f < EPILOGUES; f++) k[f] = build_epilogue(arena, t, s, (enum epilogue)f);
    struct jit j;
    if (!jit_build(&j, arena, k, EPILOGUES, t)) return false;
    printf("%-16s", name);
    time_epilogues(s, k, j.kernels, seconds);
    printf("\n");
    jit_close(&j);
  }
  return true;
}

int main(int argc, char **argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 0.5;
  const char *threads = getenv("OMP_NUM_THREADS");
  bt_blas_init(threads ? atoi(threads) : 0);
  struct arena *arena = arena_new();
  struct target t;
  target_from_march(&t, getenv("BENCH_MARCH"));
  printf("%d lanes, %d threads, OpenBLAS for %s; GFLOP/s of medians: ours, OpenBLAS, ratio\n", t.lanes,
         omp_get_max_threads(), bt_blas_core());
  printf("%-16s  %-15s  %-15s  %-15s  %s\n", "m x n x k", "x w", "x w'", "x' w", "x' w'");
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    struct gemm_shape s = shapes[i];
    s.batch = 1;
    const char *name = str_printf(arena, "%ldx%ldx%ld", (long)s.m, (long)s.n, (long)s.k);
    if (argc > 2 && !strstr(name, argv[2])) continue;
    struct loop_kernel *k[4];
    for (int f = 0; f < 4; f++)
      k[f] = sched_gemm_plain(arena, &t, str_printf(arena, "product_%d", f), &s, f & 2, f & 1);
    struct jit j;
    if (!jit_build(&j, arena, k, 4, &t)) return 1;
    printf("%-16s", name);
    for (int f = 0; f < 4; f++) time_product(&s, f & 2, f & 1, k[f], j.kernels[f], seconds);
    printf("\n");
    jit_close(&j);
  }
  bool ok = bench_epilogues(arena, &t, seconds, argc > 2 ? argv[2] : NULL);
  arena_free(arena);
  return !ok;
}
