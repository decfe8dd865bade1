// values.h: named tensors of doubles, read from and written to safetensors.
#ifndef BTC_VALUES_H
#define BTC_VALUES_H

#include "graph.h"

struct value { const char *name; struct tensor64 *tensor; };
typedef VEC(struct value) value_list;

// Reads every tensor of a file. Types are the file's; data becomes double. False after a diagnostic.
bool values_read(struct btc *b, const char *path, value_list *list);
// Writes them, replacing the file whole or not at all. False after a diagnostic.
bool values_write(struct btc *b, const char *path, const value_list *list);

void values_add(struct arena *a, value_list *list, const char *name, struct tensor64 *tensor);
struct tensor64 *values_find(const value_list *list, const char *name); // NULL: none
// The nearest name to `name` in the list, if near enough to be a misspelling of it; else NULL.
const char *values_nearest(struct arena *a, const value_list *list, const char *name);
struct tensor64 *tensor64_copy(struct arena *a, const struct tensor64 *t);
// Rounds to what the type can hold: floats of an f32 tensor to single precision.
void tensor64_round(struct tensor64 *t);

#endif
