// cmd_explain.c: `btc explain`: what became of a file's equations, and why.
#include "command.h"
#include "explain.h"
#include "subjects.h"

static const struct loc nowhere;

static const struct option_row options[] = {
    OPTION_PROGRAM("only this program"),
    OPTION_FUNCTION("a function with its gradients, instead of programs"),
    OPTION_SHAPE,
    {0, "format", OPTION_CHOICE, "text|dot", "text (default), or a graph for Graphviz's dot", OPTION_AT(format), NULL},
    {'D', "define", OPTION_ADD, "NAME=VALUE", "rebind a constant; with --function also a size or a static input", 0, option_add_define},
    OPTION_VARIANT, OPTION_NO_TUNED, OPTION_MARCH, OPTION_DISABLE_PASS, OPTION_COLOR, OPTION_HELP,
};

static const char about[] =
    "Prints what the compiler made of each program. Of every region: the ways in which it can be computed,\n"
    "what each derivation did or why it refused, and what was chosen by whose word. Of every kernel, in the\n"
    "order in which they run: the equation that it computes and the lines of the file that it stands for,\n"
    "arithmetic, memory traffic and predicted time, the buffers that it reads and writes, and why it is not\n"
    "one with the kernels that it shares data with. PATTERN, a glob of addresses or names, selects regions\n"
    "and kernels.\n\n"
    "--format=dot prints kernels as nodes, buffers as edges and regions as clusters.\n";
static const char examples[] =
    "  btc explain model.btg objective\n"
    "  btc explain model.btg '*/matmul' --program pretrain\n"
    "  btc explain model.btg --format=dot | dot -Tsvg > model.svg\n";

static int run(struct btc *b, struct settings *s);
const struct command command_explain = {
    "explain", "FILE [PATTERN]", "what became of a file's equations: regions, kernels, memory", about, examples,
    options, sizeof options / sizeof *options, 1, 2, run,
};

static bool explain(struct btc *b, const struct settings *s) {
  struct model *m = subject_model(b, s);
  struct target target;
  target_from_march(&target, s->opt.march);
  struct codegen *cg = m && b->n_errors == 0 ? codegen_model(m, &target) : NULL;
  if (!cg || b->n_errors) return false;
  const char *pattern = s->operands.len > 1 ? s->operands.data[1] : NULL;
  if (pattern && !explain_finds(cg, pattern)) {
    diag_error(b, nowhere, "no region and no kernel is called '%s'%s", pattern, explain_near(cg, pattern));
    return false;
  }
  if (str_eq(s->format, "dot")) explain_dot(stdout, cg, pattern);
  else explain_text(stdout, cg, pattern);
  return true;
}

static int run(struct btc *b, struct settings *s) {
  if (s->function && s->program) return command_misuse(&command_explain, "give --function or --program, not both");
  if (!s->function && s->shapes.len) return command_misuse(&command_explain, "--shape goes with --function");
  return explain(b, s) ? EXIT_OK : EXIT_FAILED;
}
