// expectations.h: source files that say in comments which diagnostics they must get:
//
//   # error: LINE:COLUMN: part of the message      (likewise warning and note)
//   # note: stdlib/FILE: part of the message        (the place is in the standard library)
//   # error: part of the message                    (there is no place)
//   # fixit: TEXT                                  (after the one it belongs to)
//   # define: NAME=VALUE                           (as -D gives it)
//
// in order, and no others.
#ifndef EXPECTATIONS_H
#define EXPECTATIONS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "btc.h"

// Calls `check` with every .btg file of a folder; returns their number, 0 without the folder.
int each_file(const char *folder, void (*check)(const char *path));
// Opens the file, runs `compile` on it, and fails unless the diagnostics are those expected.
void check_expectations(const char *path, void (*compile)(struct btc *b, int source));

#endif
