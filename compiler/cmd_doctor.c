// cmd_doctor.c: `btc doctor`: what this machine has of what btc needs, and how to get the rest.
//
// A row is a thing, its state and a finding; a row that is not good names the command that mends it.
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../runtime/btrt_internal.h"
#include "command.h"
#include "target.h"

extern int openblas_get_parallel(void);

static const struct option_row options[] = {OPTION_MARCH, OPTION_CC, OPTION_COLOR, OPTION_HELP};

static const char about[] =
    "Checks what compiling and training need: the host C compiler, OpenBLAS and the core it chose,\n"
    "libraries, threads, vectors, huge pages, data sets; says how to install what is missing. Exit status 1\n"
    "if something required is missing.\n";

static int run(struct btc *b, struct settings *s);
const struct command command_doctor = {
    "doctor", "", "check this machine: compiler, BLAS, threads, vectors, data sets", about, NULL,
    options, sizeof options / sizeof *options, 0, 0, run,
};

// ---- rows -------------------------------------------------------------------------------------

enum state { GOOD, NOTE, MISSING };

struct report {
  struct btc *b;
  bool failed;
};

static void row(struct report *r, enum state state, const char *thing, const char *mend, const char *format, ...) __attribute__((format(printf, 5, 6)));
static void row(struct report *r, enum state state, const char *thing, const char *mend, const char *format, ...) {
  static const char *const words[] = {"ok", "note", "MISSING"};
  va_list ap;
  printf("%-8s %-15s ", words[state], thing);
  va_start(ap, format);
  vprintf(format, ap);
  va_end(ap);
  printf("\n");
  if (mend) printf("%25s%s\n", "", mend);
  if (state == MISSING) r->failed = true;
}

// ---- compiler and libraries -------------------------------------------------------------------

static const char *install_compiler = "apt-get install gcc libc6-dev";

// Whether the host compiler links a program with these flags.
static bool links(struct btc *b, const struct host *host, const char *text, const char *flags) {
  const char *folder = temporary_folder(b);
  if (!folder) return false;
  const char *c_file = str_printf(b->arena, "%s/probe.c", folder);
  FILE *f = fopen(c_file, "w");
  if (f) fputs(text, f), fclose(f);
  bool good = f && host_links(b, host, c_file, str_printf(b->arena, "%s/probe", folder), flags, str_printf(b->arena, "%s/log", folder));
  temporary_folder_end(folder, NULL);
  return good;
}

// Generated C goes through a folder of its own; without one no compiler can be tried.
static bool check_temporary(struct report *r) {
  const char *folder = temporary_folder(r->b);
  if (folder) return temporary_folder_end(folder, NULL), true;
  row(r, MISSING, "temporary files", "set TMPDIR to a folder that can be written", "%s", r->b->diags.data[r->b->diags.len - 1].message);
  r->b->diags.len = 0;
  return false;
}

static void check_compiler(struct report *r, struct host *host, const char *wanted) {
  struct btc *b = r->b;
  bool found = host_find(b, host, wanted);
  const char *why = found ? NULL : b->diags.data[b->diags.len - 1].message;
  if (!found) b->diags.len = 0;
  const char *version = found ? host_version(b, host) : NULL;
  if (!found) row(r, MISSING, "C compiler", install_compiler, "%s", why);
  else if (!version) row(r, MISSING, "C compiler", install_compiler, "'%s' does not run", host->command);
  else row(r, GOOD, "C compiler", NULL, "%s: %s", host->command, version);
  if (!version) host->command = NULL;
}

struct library { const char *name, *flags, *text, *package; }; // package NULL: the compiler's OpenMP

static void check_libraries(struct report *r, const struct host *host) {
  static const struct library libraries[] = {
      {"C library", "-lm", "#include <math.h>\nint main(void) {return 0;}", "libc6-dev"},
      {"OpenMP", "-fopenmp", "#include <omp.h>\nint main(void) {return omp_get_max_threads() < 1;}", NULL},
      {"OpenBLAS", "-lopenblas", "#include <cblas.h>\nint main(void) {float x = 0; cblas_sscal(1, 1, &x, 1); return 0;}", "libopenblas-openmp-dev"},
      {"zlib", "-lz", "#include <zlib.h>\nint main(void) {return !zlibVersion();}", "zlib1g-dev"},
      {"jansson", "-ljansson", "#include <jansson.h>\nint main(void) {json_decref(json_object()); return 0;}", "libjansson-dev"},
      {"libjpeg-turbo", "-ljpeg", "#include <stdio.h>\n#include <jpeglib.h>\nint main(void) {struct jpeg_error_mgr e; return !jpeg_std_error(&e);}", "libjpeg62-turbo-dev"},
      {"libpng", "-lpng", "#include <png.h>\nint main(void) {return !png_access_version_number();}", "libpng-dev"},
  };
  for (size_t i = 0; host->command && i < sizeof libraries / sizeof *libraries; i++) {
    const struct library *l = &libraries[i];
    const char *mend = str_printf(r->b->arena, "apt-get install %s", l->package ? l->package : host_openmp_package(r->b, host));
    if (links(r->b, host, l->text, l->flags)) row(r, GOOD, l->name, NULL, "headers and library to link with");
    else row(r, MISSING, l->name, mend, "%s does not compile and link a program with it", host->command);
  }
}

static void check_march(struct report *r, const struct host *host, const char *march) {
  struct target t;
  target_from_march(&t, march);
  const char *flags = str_printf(r->b->arena, "-march=%s", t.march);
  bool accepted = host->command && links(r->b, host, "int main(void) {return 0;}", flags);
  row(r, !host->command || accepted ? GOOD : MISSING, "vectors", accepted || !host->command ? NULL : "give a --march that the C compiler knows",
      "%d × f32 (%s) with -march=%s%s", t.lanes, t.lanes == 16 ? "AVX-512" : t.lanes == 8 ? "AVX2" : "SSE or other", t.march, accepted || !host->command ? "" : ", which the C compiler does not know");
}

// ---- this machine -----------------------------------------------------------------------------

static void check_blas(struct report *r) {
  enum { OPENMP = 2 };
  const char *before = str_printf(r->b->arena, "%s", bt_blas_core());
  bt_blas_init(0);
  bool same = str_eq(before, bt_blas_core());
  if (same) row(r, GOOD, "BLAS core", NULL, "%s", before);
  else row(r, GOOD, "BLAS core", NULL, "%s, which OpenBLAS chose, is wrong for this processor: trainers repair it to %s", before, bt_blas_core());
  bool openmp = openblas_get_parallel() == OPENMP;
  if (openmp) row(r, GOOD, "BLAS threads", NULL, "OpenMP build: one pool of threads with the kernels");
  else row(r, NOTE, "BLAS threads", "apt-get install libopenblas-openmp-dev && update-alternatives --auto libopenblas.so.0-x86_64-linux-gnu", "not the OpenMP build: two pools of threads will fight, trainers run slower");
}

static void check_pages(struct report *r) {
  char line[128] = "unknown";
  FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
  if (f && !fgets(line, sizeof line, f)) strcpy(line, "unknown");
  if (f) fclose(f);
  line[strcspn(line, "\n")] = 0;
  bool on = strstr(line, "[always]") || strstr(line, "[madvise]");
  row(r, on ? GOOD : NOTE, "huge pages", on ? NULL : "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled   (as root; optional)", "%s", line);
}

static void check_machine(struct report *r) {
  row(r, GOOD, "threads", NULL, "%d to use of %ld processors", bt_cores_available(), sysconf(_SC_NPROCESSORS_ONLN));
  check_blas(r);
  check_pages(r);
}

// ---- btc's own files and data -----------------------------------------------------------------

static void check_home(struct report *r) {
  struct btc *b = r->b;
  const char *library = driver_runtime_library(b);
  if (library) row(r, GOOD, "btc", NULL, "version %s, home %s, runtime %s", BTC_VERSION, b->opt.home, library);
  else row(r, MISSING, "btc", "make, or make install; or set BTC_HOME", "%s", b->diags.data[b->diags.len - 1].message);
  b->diags.len = 0;
}

struct data_set { const char *name, *mend; const char *places[2]; };

static void check_data(struct report *r) {
  static const struct data_set sets[] = {
      {"Fashion-MNIST", "apt-get install dataset-fashion-mnist", {"/usr/share/datasets/fashion-mnist"}},
  };
  for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
    const char *found = NULL;
    for (int k = 0; k < 2 && sets[i].places[k]; k++)
      if (!found && access(sets[i].places[k], R_OK) == 0) found = sets[i].places[k];
    if (found) row(r, GOOD, sets[i].name, NULL, "%s", found);
    else row(r, NOTE, sets[i].name, sets[i].mend, "not here (only training on it needs it)");
  }
}

static int run(struct btc *b, struct settings *s) {
  struct report r = {.b = b};
  struct host host = {.march = s->opt.march};
  check_home(&r);
  if (check_temporary(&r)) {
    check_compiler(&r, &host, s->cc);
    check_libraries(&r, &host);
  }
  check_march(&r, &host, s->opt.march);
  check_machine(&r);
  check_data(&r);
  printf("\n%s\n", r.failed ? "Something that btc needs is missing: the lines under MISSING mend it." : "All that btc needs is here.");
  return r.failed ? EXIT_FAILED : EXIT_OK;
}
