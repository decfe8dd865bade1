// formula_check.h: holds the formulas of a step's kernels (runtime/formula.h) against what the
// kernels write.
#ifndef FORMULA_CHECK_H
#define FORMULA_CHECK_H

#include "btrt.h"

// Runs the program's step; after each kernel some elements of each result are evaluated by its
// formula. Fails the test where one is not what the kernel wrote. Returns how many elements were
// compared.
int64_t formula_check_step(const struct bt_program *p, const struct bt_frame *frame);

#endif
