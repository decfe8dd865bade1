// graph_ops.c: the op table. Its rows are ops.def's; the rules of row NAME are `op_rules_NAME`,
// which the file of NAME's family under ops/ defines. A row without rules does not link.
#include <string.h>

#include "graph.h"

#define OP(name, ...) extern const struct op_rules op_rules_##name;
#include "ops.def"
#undef OP

static const struct op_info op_table[OP_COUNT] = {
#define OP(name, class, arity, attributes, gradient, help) \
  [OP_##name] = {#name, class, arity, attributes, gradient, help, &op_rules_##name},
#include "ops.def"
#undef OP
};

const struct op_info *op_info(enum op op) {
  expect((unsigned)op < OP_COUNT, "op %d does not exist", (int)op);
  return &op_table[op];
}

bool op_parse(const char *name, enum op *out) {
  for (int i = 0; i < OP_COUNT; i++) {
    if (strcmp(name, op_table[i].name) == 0) {
      *out = (enum op)i;
      return true;
    }
  }
  return false;
}
