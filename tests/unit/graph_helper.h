// graph_helper.h: graphs in tests: from text, to text, evaluated on random leaves, compared.
#ifndef GRAPH_HELPER_H
#define GRAPH_HELPER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "graph.h"

struct graph *graph_of_text(struct btc *b, const char *text); // NULL after diagnostics
char *text_of_graph(const struct graph *g);                   // free it
char *text_of_diagnostics(struct btc *b);                     // free it; forgets them

// Nodes of one op whose first operand (a leaf's own value) has at least `over` elements.
int count_nodes(const struct graph *g, enum op op, int64_t over);

// Fails unless outputs and updates of both agree, evaluated in double on the same random leaves
// (drawn by `seed` and name), to 1e-9 of each tensor's largest element
// (and 1e-13 of the graph's, which is what remains of a zero that is computed).
void assert_same_values(const struct graph *a, const struct graph *b, unsigned seed);

// Where reference tensors are: below $BTC_SHARED, else ../shared; may not exist.
const char *reference_folder(struct arena *a);

// What a call that dies prints to standard error; fails the test if it returns. Free it.
char *text_of_death(void (*call)(void *user), void *user);

#endif
