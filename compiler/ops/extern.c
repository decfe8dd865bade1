// extern.c: results of a C function of the user's (docs/variants.md).
//
// The function is void NAME(const T *operand…, T *result…). Each result is a node of its own, all over
// the same operands; whoever lowers one lowers them all, with one call. What the function computes is
// known to nobody here: there is no gradient, no reference evaluation and no count of operations.
#include <ctype.h>

#include "rules.h"

static bool is_identifier(const char *s) {
  if (!s || !(isalpha((unsigned char)*s) || *s == '_')) return false;
  while (isalnum((unsigned char)*s) || *s == '_') s++;
  return !*s;
}

static const char *infer(struct arena *a, struct node *n) {
  int64_t result = n->attr.i[EXTERN_RESULT], of = n->attr.i[EXTERN_OF];
  if (!is_identifier(n->attr.s)) return "extern needs the name of a C function"; // (extern_c1) the name of a C function
  if (n->attr.n != 2 || result < 0 || result >= of) // (extern_c2) which of how many results
    return str_printf(a, "extern %s: result %lld of %lld", n->attr.s, (long long)result, (long long)of);
  return rule_given(a, n);
}

static double unknown_flops(const struct node *n) {
  (void)n;
  return 0;
}

const struct op_rules op_rules_extern = {.infer = infer, .flops = unknown_flops};
