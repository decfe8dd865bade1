// cmd_explain.c: `btc explain`: what became of a file's equations, and why.
#include "command.h"
#include "explain.h"

static const struct loc nowhere;

static const struct option_row options[] = {
    OPTION_PROGRAM("only this program"),
    {0, "format", OPTION_CHOICE, "text|dot", "text (default), or a graph for Graphviz's dot", OPTION_AT(format), NULL},
    OPTION_DEFINE, OPTION_MARCH, OPTION_DISABLE_PASS, OPTION_COLOR, OPTION_HELP,
};

static const char about[] =
    "Explains";
static const char examples[] =
    "  btc explain model.btg --program pretrain\n"
    "  btc explain model.btg '*/matmul'\n"
    "  btc explain model.btg --format=dot | dot -Tsvg > model.svg\n";

static int run(struct btc *b, struct settings *s);
const struct command command_explain = {
    "explain", "FILE [PATTERN]", "what became of a file's equations: regions, kernels, memory", about, examples,
    options, sizeof options / sizeof *options, 1, 2, run,
};

static bool explain(struct btc *b, const struct settings *s) {
  struct model *m = driver_model(b, s->operands.data[0]);
  struct program *p = m && s->program ? driver_program(m, s->program) : NULL;
  if (b->n_errors) return false;
  if (p) m->programs.data = p, m->programs.len = m->programs.cap = 1;
  struct target target;
  target_from_march(&target, s->opt.march);
  struct codegen *cg = codegen_model(m, &target);
  if (!cg || b->n_errors) return false;
  const char *pattern = s->operands.len > 1 ? s->operands.data[1] : NULL;
  bool any = str_eq(s->format, "dot") ? explain_dot(stdout, cg, pattern) : explain_text(stdout, cg, pattern);
  if (!any) diag_error(b, nowhere, "no kernel or region is called '%s'", pattern ? pattern : "*");
  return any;
}

static int run(struct btc *b, struct settings *s) { return explain(b, s) ? EXIT_OK : EXIT_FAILED; }
