// function_inputs.h: one function of a file on inputs whose shapes the command line gives: --shape, and -D
// for sizes and static inputs.
#ifndef BTC_FUNCTION_INPUTS_H
#define BTC_FUNCTION_INPUTS_H

#include "driver.h"
#include "options.h"

typedef VEC(struct named_type) named_types;
// Reads the file that s->operands begins with, and finds the types of the inputs of s->function; static
// inputs have `scalar`. NULL after diagnostics.
struct model *function_inputs(struct btc *b, const struct settings *s, named_types *inputs);

#endif
