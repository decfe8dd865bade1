// prototype.c: see prototype.h.
//
//   enum { za_dim0 = 256, za_dim1 = 8192, … };
//   void fast_barlow(const float *za, …, float *loss, …);
//
// Sizes are constants, so that the host compiler can use them, and come from the model that is being
// compiled: -D changes them without a change of the function's file.
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "emit_c.h"
#include "kernels.h"
#include "places.h"
#include "prototype.h"

struct argument {
  const char *name;
  const struct node *node;
  bool result;
};
typedef VEC(struct argument) argument_list;

static const char *const c_words[] = {
    "auto",   "break",  "case",     "char",   "const",   "continue", "default",  "do",     "double", "else",   "enum",
    "extern", "float",  "for",      "goto",   "if",      "inline",   "int",      "long",   "return", "short",  "signed",
    "sizeof", "static", "register", "struct", "restrict", "switch",  "typedef",  "union",  "unsigned", "void", "volatile",
    "while"};

static bool is_c_word(const char *name) {
  for (size_t i = 0; i < sizeof c_words / sizeof *c_words; i++)
    if (str_eq(name, c_words[i])) return true;
  return false;
}

static const char *c_name(struct arena *a, const char *name) { return is_c_word(name) ? str_printf(a, "%s_", name) : name; }

bool prototype_may_name(const char *function) {
  bool good = isalpha((unsigned char)*function) || *function == '_';
  for (const char *p = function; good && *p; p++) good = isalnum((unsigned char)*p) || *p == '_';
  return good && !is_c_word(function) && !str_eq(function, "main");
}

static argument_list arguments_of(struct arena *a, const struct region *r) {
  argument_list list = {0};
  for (int i = 0; i < r->inputs.len; i++)
    vec_push(a, &list, ((struct argument){c_name(a, r->input_names.data[i]), r->inputs.data[i], false}));
  for (int i = 0; i < r->outputs.len; i++)
    vec_push(a, &list, ((struct argument){c_name(a, r->output_names.data[i]), r->outputs.data[i], true}));
  return list;
}

const char *const *prototype_arguments(struct arena *a, const struct region *r) {
  argument_list list = arguments_of(a, r);
  const char **names = NEW_ARRAY(a, const char *, list.len);
  for (int i = 0; i < list.len; i++) names[i] = list.data[i].name;
  return names;
}

static void print_lines(FILE *out, struct btc *b, const struct region *r) {
  place_list places = {0};
  for (int i = 0; i < r->nodes.len; i++) places_add(b, &places, r->nodes.data[i]->loc);
  for (int i = 0; i < places.len; i++)
    fprintf(out, "//   %-20s %s\n", places.data[i].name, places.data[i].text);
}

static void print_heading(FILE *out, struct btc *b, const struct region *r) {
  fprintf(out, "// %s, computed by a C function. It stands for these lines, forward and backward:\n//\n", r->address);
  print_lines(out, b, r);
  fputs("//\n"
        "// Arrays are row-major and begin at 64-byte boundaries; results overlap nothing. The function is\n"
        "// called once a step, from one thread; OpenMP and BLAS (cblas.h) are there to use. It writes every\n"
        "// element of every result, and allocates nothing: work arrays are static.\n",
        out);
}

static void print_sizes(FILE *out, const argument_list *list) {
  const char *before = "enum {\n  ";
  for (int i = 0; i < list->len; i++) {
    const struct shape *s = &list->data[i].node->type.shape;
    for (int d = 0; d < s->rank; d++) {
      fprintf(out, "%s%s_dim%d = %" PRId64 ",", before, list->data[i].name, d, s->dim[d]);
      before = d + 1 < s->rank ? " " : "\n  ";
    }
  }
  if (*before != 'e') fputs("\n};\n\n", out);
}

static void print_argument(FILE *out, struct btc *b, const struct argument *p, bool last) {
  const char *type = emit_c_type(lower_type(p->node->type.dtype)), *place = place_name(b, p->node->loc);
  char *text = str_printf(b->arena, "%s%s *%s%s", p->result ? "" : "const ", type, p->name, last ? ");" : ",");
  fprintf(out, "    %-32s // %s %s%s%s%s%s\n", text, p->result ? "out" : "in ", type_text(b->arena, &p->node->type),
          p->node->path ? "  " : "", p->node->path ? p->node->path : "", place ? "  " : "", place ? place : "");
}

static const char *guard_of(struct arena *a, const char *function) {
  char *guard = str_printf(a, "%s_H", function);
  for (char *c = guard; *c; c++) *c = (char)toupper((unsigned char)*c);
  return guard;
}

const char *prototype_header(struct btc *b, const struct region *r, const char *function) {
  argument_list list = arguments_of(b->arena, r);
  const char *guard = guard_of(b->arena, function);
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  expect(out, "out of memory");
  print_heading(out, b, r);
  fprintf(out, "#ifndef %s\n#define %s\n\n#include <stdint.h>\n\n", guard, guard);
  print_sizes(out, &list);
  fprintf(out, "void %s(\n", function);
  for (int i = 0; i < list.len; i++) print_argument(out, b, &list.data[i], i + 1 == list.len);
  fputs("\n#endif\n", out);
  fclose(out);
  const char *kept = str_printf(b->arena, "%s", text);
  free(text);
  return kept;
}
