// arguments.h: a function of the file with arguments as the command line gives them, --shape NAME=AxB and
// -D NAME=VALUE: what `btc gradcheck` and `btc bench` take it for.
#ifndef BTC_ARGUMENTS_H
#define BTC_ARGUMENTS_H

#include "options.h"
#include "values.h"

// Reads the file, and the arguments of s->function: tensors have a type and no data (NULL), static
// parameters their number. NULL after diagnostics.
struct model *arguments_read(struct btc *b, const struct settings *s, value_list *given);
// The function as a program, and the type of its one result. NULL after a diagnostic.
struct program *arguments_forward(struct model *m, const char *function, const value_list *given, struct tensor_type *result);
// The same with gradients; `dout` of the result's type joins the arguments where that is no scalar.
struct program *arguments_gradients(struct model *m, const char *function, value_list *given);

#endif
