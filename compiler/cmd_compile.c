// cmd_compile.c: `btc compile`: a .btg file to an executable, or to any level on the way there.
//
// The pipeline, and what --emit takes out of it:
//
//   parse         ast      the file, canonically printed
//   elaborate     graph    each program's forward graph
//   differentiate grad     the whole step; --stop-after=PASS goes on through the graph passes
//   codegen       kernels  fusion groups and the memory plan
//                 loops    loop nests
//                 c        the generated file
//   host compiler          the executable, or with --shared an object to load
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ast.h"
#include "command.h"
#include "native.h"

static const struct loc nowhere;

static const struct option_row options[] = {
    {'o', "output", OPTION_TEXT, "FILE", "where the result goes (--emit: standard output)", OPTION_AT(output), NULL},
    OPTION_DEFINE, OPTION_MARCH, OPTION_CC, OPTION_VARIANT, OPTION_NO_TUNED,
    {0, "shared", OPTION_FLAG, NULL, "make a shared object that exports bt_module", OPTION_AT(shared), NULL},
    {0, "emit", OPTION_CHOICE, "ast|graph|grad|kernels|loops|c", "print this level instead of compiling", OPTION_AT(emit), NULL},
    OPTION_PROGRAM("with --emit or --stop-after: only this program"),
    {0, "passes", OPTION_FLAG, NULL, "list the graph passes in order", OPTION_AT(list_passes), NULL},
    {0, "stop-after", OPTION_TEXT, "PASS", "print the graphs as this pass leaves them", OPTION_AT(opt.stop_after), NULL},
    {0, "dump-after", OPTION_ADD, "PASS|all", "print the graph after a pass on standard error", 0, option_add_dump},
    OPTION_DISABLE_PASS,
    {0, "time-passes", OPTION_FLAG, NULL, "print the time of each pass on standard error", OPTION_AT(opt.time_passes), NULL},
    OPTION_KEEP_C, OPTION_VERBOSE, OPTION_COLOR, OPTION_HELP,
};

static const char about[] =
    "Compiles a .btg file to a trainer: one executable that has the file's programs as subcommands.\n"
    "Nothing is overwritten unless all went well.\n\n"
    "FILE may also be graph text (its name ends in .graph), as --emit=graph prints it: it goes\n"
    "through the graph passes and is printed.\n\n"
    "Environment: CC, the host compiler; BTC_HOME, the folder with stdlib/ and runtime/.\n";

static const char examples[] =
    "  btc compile examples/fashion_mnist.btg -o train && ./train\n"
    "  btc compile model.btg -D batch=64 -o train\n"
    "  btc compile model.btg --emit=kernels --program pretrain\n"
    "  btc compile model.btg --stop-after=fold > folded.graph\n";

static int run(struct btc *b, struct settings *s);
const struct command command_compile = {
    "compile", "FILE", "compile a .btg file to a trainer, or print any level on the way", about, examples,
    options, sizeof options / sizeof *options, 0, 1, run,
};

// ---- printing a level -------------------------------------------------------------------------

static bool print_passed(struct btc *b, FILE *out, struct graph *g) {
  bool stopped;
  g = passes_run(b, g, &stopped);
  if (g) graph_print(out, g);
  return g && b->n_errors == 0;
}

static bool print_graphs(struct model *m, const struct settings *s, FILE *out) {
  bool forward = str_eq(s->emit, "graph");
  for (int i = 0; i < m->programs.len; i++) {
    struct program *p = &m->programs.data[i];
    if (!forward && p->loss) model_differentiate(m, p);
    if (m->b->n_errors) return false;
    if (i) fputc('\n', out);
    if (!s->opt.stop_after) graph_print(out, p->graph);
    else if (!print_passed(m->b, out, p->graph)) return false;
  }
  return true;
}

static bool print_code(struct model *m, const struct settings *s, FILE *out, const char *build) {
  struct target target;
  target_from_march(&target, s->opt.march);
  struct codegen *cg = codegen_model(m, &target);
  if (!cg || m->b->n_errors) return false;
  if (str_eq(s->emit, "kernels")) codegen_print_kernels(out, cg);
  else if (str_eq(s->emit, "loops")) codegen_print_loops(out, cg);
  else codegen_emit_c(out, cg, build, s->shared);
  return true;
}

// Leaves the model with the one program that --program names.
static bool select_program(struct model *m, const char *name) {
  if (!name) return true;
  struct program *p = driver_program(m, name);
  if (p) driver_keep(m, p);
  return p != NULL;
}

static bool is_graph_text(const char *path) {
  size_t n = strlen(path);
  return n > 6 && strcmp(path + n - 6, ".graph") == 0;
}

static bool print_graph_text(struct btc *b, const struct settings *s, FILE *out) {
  int source = source_open(b, s->operands.data[0], nowhere);
  struct graph *g = source < 0 ? NULL : graph_parse(b, source);
  if (!g) return false;
  if (!str_eq(s->emit, "graph")) return print_passed(b, out, g);
  graph_print(out, g);
  return true;
}

static const char *build_text(struct btc *b, const struct settings *s) {
  struct host host = {.command = s->cc ? s->cc : "cc", .march = s->opt.march};
  return native_description(b, &host);
}

static bool print_level(struct btc *b, const struct settings *s, FILE *out) {
  const char *path = s->operands.data[0];
  if (is_graph_text(path)) return print_graph_text(b, s, out);
  struct file *f = driver_parse(b, path);
  if (!f) return false;
  if (str_eq(s->emit, "ast")) return ast_print(out, f), true;
  struct model *m = driver_elaborate(b, f);
  if (!m || !select_program(m, s->program)) return false;
  bool is_graph = !s->emit || str_eq(s->emit, "graph") || str_eq(s->emit, "grad");
  return is_graph ? print_graphs(m, s, out) : print_code(m, s, out, build_text(b, s));
}

// Prints into memory first: a level that cannot be made leaves no half of it behind.
static bool emit(struct btc *b, const struct settings *s) {
  char *text = NULL;
  size_t size = 0;
  struct output o = {0};
  if (s->output && !output_begin(b, &o, s->output)) return false;
  FILE *memory = open_memstream(&text, &size);
  expect(memory, "out of memory");
  bool good = print_level(b, s, memory);
  fclose(memory);
  FILE *out = !good ? NULL : s->output ? fopen(o.temporary, "w") : stdout;
  if (good && !out) diag_error(b, nowhere, "cannot write %s: %s", s->output, strerror(errno));
  if (out) good = fwrite(text, 1, size, out) == size;
  free(text);
  if (out && out != stdout && (fclose(out) || !good)) {
    diag_error(b, nowhere, "cannot write %s: %s", s->output, strerror(errno));
    good = false;
  }
  if (!s->output) return good;
  if (good && out) return output_commit(b, &o);
  output_abandon(&o);
  return false;
}

// ---- compiling --------------------------------------------------------------------------------

static const char *c_name(struct btc *b, const char *source) {
  const char *slash = strrchr(source, '/');
  const char *name = slash ? slash + 1 : source, *dot = strrchr(name, '.');
  return str_printf(b->arena, "%.*s.c", (int)(dot ? (size_t)(dot - name) : strlen(name)), name);
}

static bool build(struct btc *b, const struct settings *s, const struct host *host, const char *out) {
  struct model *m = driver_model(b, s->operands.data[0]);
  struct target target;
  target_from_march(&target, s->opt.march);
  if (m && m->programs.len == 0) diag_error(b, nowhere, "%s has no program: a trainer needs one to run", s->operands.data[0]);
  struct codegen *cg = m && b->n_errors == 0 ? codegen_model(m, &target) : NULL;
  if (!cg || b->n_errors) return false;
  diag_flush(b, stderr); // warnings come before the wait
  const char *folder = temporary_folder(b);
  if (!folder) return false;
  const char *c_file = str_printf(b->arena, "%s/%s", folder, c_name(b, s->operands.data[0]));
  bool good = native_build(cg, host, c_file, out, s->shared);
  temporary_folder_end(folder, s->keep_c ? c_file : NULL);
  return good;
}

static bool compile(struct btc *b, const struct settings *s) {
  struct host host = {.march = s->opt.march, .verbose = s->verbose};
  struct output o;
  if (!host_find(b, &host, s->cc) || !driver_home(b)) return false;
  if (!s->shared && !driver_runtime_library(b)) return false;
  if (!output_begin(b, &o, s->output)) return false;
  bool regular = o.temporary != o.path;
  if (!regular) diag_error(b, nowhere, "%s is not a regular file: an executable needs one", o.path);
  if (regular && build(b, s, &host, o.temporary)) return output_commit(b, &o);
  output_abandon(&o);
  return false;
}

static void print_passes(void) {
  for (int i = 0; i < pass_count; i++)
    printf("%-12s%s%s\n", pass_table[i].name, pass_table[i].help, pass_table[i].required ? " (cannot be disabled)" : "");
}

static bool in_pass_table(const char *name) {
  for (int i = 0; i < pass_count; i++)
    if (str_eq(pass_table[i].name, name)) return true;
  return false;
}

static int run(struct btc *b, struct settings *s) {
  if (s->list_passes) return print_passes(), EXIT_OK;
  if (s->operands.len == 0) return command_misuse(&command_compile, "FILE is missing");
  bool printing = s->emit || s->opt.stop_after || is_graph_text(s->operands.data[0]);
  if (s->program && !printing) return command_misuse(&command_compile, "--program goes with --emit or --stop-after: an executable has all programs");
  if (s->emit && s->opt.stop_after && !str_eq(s->emit, "graph") && !str_eq(s->emit, "grad"))
    return command_misuse(&command_compile, "--stop-after prints a graph; it does not go with --emit=%s", s->emit);
  if ((!printing && !s->output) || (s->output && !*s->output)) return command_misuse(&command_compile, "-o FILE is missing: where shall the executable go?");
  if (!pass_options_check(b)) return EXIT_USAGE;
  if (s->opt.stop_after && !in_pass_table(s->opt.stop_after))
    return command_misuse(&command_compile, "--stop-after=%s: it comes after the graph passes; --dump-after=%s shows it", s->opt.stop_after, s->opt.stop_after);
  if (s->output && !output_spares(b, s->output, s->operands.data[0])) return EXIT_FAILED;
  return (printing ? emit(b, s) : compile(b, s)) ? EXIT_OK : EXIT_FAILED;
}
