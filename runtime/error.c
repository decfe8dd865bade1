// error.c: how the runtime says no.
#include "btrt_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool bt_fail(char *err, size_t errlen, const char *format, ...) {
  if (!err || errlen == 0) return false;
  va_list ap;
  va_start(ap, format);
  vsnprintf(err, errlen, format, ap);
  va_end(ap);
  return false;
}

void bt_die_at(const char *file, int line, const char *format, ...) {
  va_list ap;
  fprintf(stderr, "%s:%d: internal error: ", file, line);
  va_start(ap, format);
  vfprintf(stderr, format, ap);
  va_end(ap);
  fputc('\n', stderr);
  abort();
}

void *bt_xcalloc(size_t count, size_t size) {
  void *p = calloc(count ? count : 1, size ? size : 1);
  if (!p) bt_die("out of memory: %zu × %zu bytes", count, size);
  return p;
}

// Levenshtein distance of two words of at most 63 letters; longer ones count as far apart.
static int edit_distance(const char *a, const char *b) {
  size_t n = strlen(a), m = strlen(b);
  int row[64];
  if (n > 63 || m > 63) return 64;
  for (size_t j = 0; j <= m; j++) row[j] = (int)j;
  for (size_t i = 1; i <= n; i++) {
    int diagonal = row[0];
    row[0] = (int)i;
    for (size_t j = 1; j <= m; j++) {
      int replace = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      int shorter = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
      row[j] = replace < shorter ? replace : shorter;
    }
  }
  return row[m];
}

const char *bt_nearest(const char *word, const char *const *candidates, int n) {
  int limit = (int)strlen(word) / 3 + 1, best = limit + 1;
  const char *nearest = NULL;
  for (int i = 0; i < n; i++) {
    int distance = edit_distance(word, candidates[i]);
    if (distance < best) best = distance, nearest = candidates[i];
  }
  return nearest;
}
