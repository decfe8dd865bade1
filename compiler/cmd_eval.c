// cmd_eval.c: `btc eval`: a function or a program of a file on given tensors.
#include <string.h>

#include "command.h"
#include "eval.h"

static const struct option_row options[] = {
    OPTION_FUNCTION("run this function on tensors named like its parameters"),
    OPTION_PROGRAM("run steps of this program from given tensors"),
    {0, "in", OPTION_TEXT, "FILE", "safetensors with the inputs", OPTION_AT(in), NULL},
    {'o', "out", OPTION_TEXT, "FILE", "safetensors to write the results to", OPTION_AT(output), NULL},
    {0, "grad", OPTION_FLAG, NULL, "gradients too", OPTION_AT(gradients), NULL},
    {0, "backend", OPTION_CHOICE, "interp|c", "float64 interpreter (default) or compiled C", OPTION_AT(backend), NULL},
    {0, "steps", OPTION_NUMBER, "N", "steps of the program (default: as many as the data has)", OPTION_AT(steps), NULL},
    OPTION_SEED, OPTION_DEFINE, OPTION_MARCH, OPTION_CC, OPTION_VARIANT, OPTION_NO_TUNED, OPTION_DISABLE_PASS, OPTION_KEEP_C, OPTION_VERBOSE, OPTION_COLOR, OPTION_HELP,
};

static const char about[] =
    "Evaluates a function or some steps of a program on tensors of a safetensors file.\n\n"
    "--function: inputs are named like the parameters; f64 and i64 tensors serve f32 and i32\n"
    "parameters, one-element tensors serve static ones. Result: out (out0, out1, … where the\n"
    "function returns several), report.NAME. With --grad also dNAME for every float input and every\n"
    "parameter that it reads, from the cotangent dout of the file, which a scalar result does not\n"
    "need (1).\n\n"
    "--program: inputs are the program's data by name (name@view or name@view.SITE where views read\n"
    "it), each with a leading axis of steps or without, and initial tensors by their own names or these after\n"
    "\"init.\"; what is missing is drawn from --seed. Results: losses and report.NAME (a number a\n"
    "step), values of the last step by name, final.NAME of every tensor, and with --grad the first\n"
    "step's gradients, grad.NAME.\n\n"
    "The interpreter writes f64, compiled code f32. Other tensors of the file are ignored.\n";

static const char examples[] =
    "  btc eval model.btg --function barlow_twins --in z.safetensors --out r.safetensors --grad\n"
    "  btc eval model.btg --program pretrain --in run.safetensors --out r.safetensors --backend=c\n";

static int run(struct btc *b, struct settings *s);
const struct command command_eval = {
    "eval", "FILE", "run a function or a program on given tensors", about, examples,
    options, sizeof options / sizeof *options, 1, 1, run,
};

static struct program *prepare(struct model *m, const struct settings *s, const value_list *given) {
  if (s->function) return eval_function(m, s->function, given, s->gradients);
  struct program *p = driver_program(m, s->program);
  if (!p || !p->loss) return p;
  if (s->gradients) eval_add_gradients(p);
  model_differentiate(m, p);
  return p;
}

// Compiles the one program that is wanted.
static bool compile(struct model *m, struct program *p, const struct settings *s, struct compiled *native) {
  struct host host = {.march = s->opt.march, .verbose = s->verbose};
  if (!host_find(m->b, &host, s->cc)) return false;
  struct model alone = *m;
  driver_keep(&alone, p);
  return compiled_open(&alone, &host, s->keep_c, native);
}

// Without --variant the interpreter runs the step as it was written, before any pass.
static bool interpret_variants(struct model *m, struct program *p, const struct settings *s) {
  if (s->opt.variants.len == 0) return true;
  struct target target;
  target_from_march(&target, s->opt.march);
  struct model alone = *m;
  alone.partial = true;
  struct graph *step = codegen_step(&alone, p, &target);
  if (step) p->graph = step;
  return step != NULL;
}

static bool evaluate(struct btc *b, const struct settings *s) {
  value_list given = {0}, results = {0};
  struct model *m = driver_model(b, s->operands.data[0]);
  if (!m || !values_read(b, s->in, &given)) return false;
  struct program *p = prepare(m, s, &given);
  if (!p || b->n_errors) return false;
  struct compiled native = {0};
  bool compiled = str_eq(s->backend, "c");
  if (compiled && !compile(m, p, s, &native)) return false;
  if (!compiled && !interpret_variants(m, p, s)) return false;
  struct eval e = {.m = m, .p = p, .native = compiled ? &native : NULL, .given = &given, .seed = (uint64_t)s->seed, .steps = s->steps};
  bool good = eval_run(&e, &results) && values_write(b, s->output, &results);
  compiled_unload(&native);
  return good;
}

static int run(struct btc *b, struct settings *s) {
  if (!s->function == !s->program) return command_misuse(&command_eval, "give either --function or --program");
  if (!s->in) return command_misuse(&command_eval, "--in FILE is missing");
  if (!s->output) return command_misuse(&command_eval, "--out FILE is missing");
  if (!output_spares(b, s->output, s->operands.data[0]) || !output_spares(b, s->output, s->in)) return EXIT_FAILED;
  struct output probe; // finds out before the work whether the results can be written
  if (!output_begin(b, &probe, s->output)) return EXIT_FAILED;
  output_abandon(&probe);
  return evaluate(b, s) ? EXIT_OK : EXIT_FAILED;
}
