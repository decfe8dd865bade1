// error.c: how the runtime says no.
#define _GNU_SOURCE
#include "btrt_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool bt_fail(char *err, size_t errlen, const char *format, ...) {
  if (!err || errlen == 0) return false;
  va_list ap;
  va_start(ap, format);
  vsnprintf(err, errlen, format, ap);
  va_end(ap);
  return false;
}

void bt_append(char *text, size_t room, const char *format, ...) {
  size_t n = strlen(text);
  va_list ap;
  va_start(ap, format);
  vsnprintf(text + n, room - n, format, ap);
  va_end(ap);
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

// _exit: what is registered with atexit may itself want memory. What was printed before goes out.
static void *or_leave(void *p, size_t count, size_t size) {
  if (p) return p;
  fflush(stdout);
  fprintf(stderr, "%s: error: out of memory: %zu × %zu bytes\n", program_invocation_name, count, size);
  _exit(1);
}

void *bt_xcalloc(size_t count, size_t size) {
  return or_leave(calloc(count ? count : 1, size ? size : 1), count, size);
}

void *bt_xmalloc(size_t size) { return or_leave(malloc(size ? size : 1), 1, size); }

char *bt_xstrndup(const char *text, size_t n) {
  size_t length = strnlen(text, n);
  char *copy = bt_xmalloc(length + 1);
  memcpy(copy, text, length);
  copy[length] = 0;
  return copy;
}

char *bt_xstrdup(const char *text) { return bt_xstrndup(text, strlen(text)); }

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
