// tree_dump.h: writes syntax trees as S-expressions, every field but the places, so that a test can
// say what tree it wants and compare two of them.
#ifndef TREE_DUMP_H
#define TREE_DUMP_H

#include "ast.h"

void tree_dump_expr(FILE *out, const struct expr *e);
void tree_dump_file(FILE *out, const struct file *f);

#endif
