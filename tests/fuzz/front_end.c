// front_end.c: libFuzzer's target for everything between a .btg text and a chosen variant.
//
// The text is scanned, parsed, formatted (twice: formatting what is formatted changes nothing),
// printed as a tree, elaborated, differentiated, simplified, and its regions get their variants, as
// `btc check` would do it. A text may bring options in its first comments, so that they are mutated
// with it and a finding is one file:
//
//   #-D name=value
//   #--variant REGION=NAME(argument: number)
//   #--function NAME       one function with its gradients, instead of the programs
//
// A finding is what a sanitizer sees, a `die`, a leak, or a text that takes too long or too much
// memory. Whatever the text is, the compiler answers with a model or with diagnostics.
#include <stdlib.h>
#include <string.h>

#include "ast.h"
#include "codegen.h"
#include "fmt.h"
#include "fuzz.h"

// Beyond this the passes take longer than the front end, which is what is looked at here.
enum { SMALL_GRAPH = 300 };

static const char *option_value(struct arena *a, const char *line, const char *option) {
  size_t n = strlen(option);
  if (strncmp(line, option, n) != 0) return NULL;
  return str_ndup(a, line + n, strcspn(line + n, "\n"));
}

static void read_define(struct btc *b, char *text) {
  struct define d = {.name = text};
  char *equals = strchr(text, '=');
  if (equals) *equals = 0, d.value = equals + 1;
  vec_push(b->arena, &b->opt.defines, d);
}

// Takes the options at the top of the text; returns the function that is asked for, or NULL.
static const char *read_options(struct btc *b, const char *text) {
  const char *function = NULL, *value;
  for (; *text == '#'; text += *text == '\n') {
    if ((value = option_value(b->arena, text, "#-D "))) read_define(b, (char *)value);
    if ((value = option_value(b->arena, text, "#--variant ")))
      vec_push(b->arena, &b->opt.variants, value);
    if ((value = option_value(b->arena, text, "#--function "))) function = value;
    text += strcspn(text, "\n");
  }
  return function;
}

static void try_format(struct btc *b, int source, FILE *sink) {
  struct diag_mark mark = diag_mark(b);
  const char *once = fmt_source(b, source);
  if (once) {
    const char *twice = fmt_source(b, source_add(b, "formatted.btg", once, strlen(once)));
    expect(twice && strcmp(once, twice) == 0,
           "formatting is not idempotent:\n%s\n---- and then ----\n%s", once,
           twice ? twice : "(errors)");
  }
  diag_rewind(b, mark);
  struct file *f = parse_file(b, source);
  if (b->n_errors == 0) ast_print(sink, f);
  diag_rewind(b, mark);
}

static void try_programs(struct model *m) {
  struct btc *b = m->b;
  struct target target;
  target_from_march(&target, "x86-64-v3");
  struct choices *choices = choices_begin(m, &target);
  bool complete = true;
  for (int i = 0; i < m->programs.len && b->n_errors == 0; i++) {
    struct program *p = &m->programs.data[i];
    struct regions *regions;
    model_differentiate(m, p);
    if (b->n_errors) break;
    graph_verify(p->graph, "differentiate");
    if (p->graph->nodes.len <= SMALL_GRAPH)
      codegen_regions(m, p, choices, &regions);
    else
      complete = false;
  }
  if (complete && b->n_errors == 0) choices_end(choices);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct btc *b = btc_new();
  FILE *sink = fopen("/dev/null", "w");
  expect(sink, "cannot open /dev/null");
  b->opt = (struct btc_options){
      .home = FUZZ_HOME, .max_errors = 20, .no_tuned = true, .color = size & 1};
  int source = source_add(b, FUZZ_HOME "/tests/errors/input.btg", (const char *)data, size);
  const char *function = read_options(b, b->files.data[source].text);
  try_format(b, source, sink);
  struct file *f = parse_file(b, source);
  struct model *m = model_elaborate(b, f);
  if (b->n_errors == 0 && function)
    model_function(m, function, NULL, 0, true);
  else if (b->n_errors == 0)
    try_programs(m);
  diag_flush(b, sink);
  fclose(sink);
  btc_free(b);
  return 0;
}
