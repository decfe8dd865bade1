// rt_test.h: what the runtime's tests share: a scratch folder, whole files, captured output.
#ifndef RT_TEST_H
#define RT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// A fresh folder under $TMPDIR; rt_rmdir removes it with its content.
static inline char *rt_mkdir(void) {
  const char *base = getenv("TMPDIR");
  char *path = NULL;
  assert_true(asprintf(&path, "%s/btrt-XXXXXX", base ? base : "/tmp") > 0);
  assert_non_null(mkdtemp(path));
  return path;
}

static inline void rt_rmdir(char *path) {
  char command[512];
  snprintf(command, sizeof command, "rm -rf '%s'", path);
  assert_int_equal(system(command), 0);
  free(path);
}

// folder/name, in one of a few static buffers.
static inline const char *rt_path(const char *folder, const char *name) {
  static char paths[8][512];
  static int next;
  char *path = paths[next++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

static inline void rt_write(const char *path, const void *data, size_t n) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(data, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
}

// The whole file, NUL-terminated; free() it.
static inline char *rt_read(const char *path, size_t *n) {
  FILE *f = fopen(path, "rb");
  if (!f) fail_msg("cannot open %s", path);
  fseek(f, 0, SEEK_END);
  size_t size = (size_t)ftell(f);
  rewind(f);
  char *data = malloc(size + 1);
  assert_int_equal(fread(data, 1, size, f), size);
  data[size] = 0;
  fclose(f);
  if (n) *n = size;
  return data;
}

static inline bool rt_same_file(const char *a, const char *b) {
  size_t n, m;
  char *x = rt_read(a, &n), *y = rt_read(b, &m);
  bool same = n == m && memcmp(x, y, n) == 0;
  free(x), free(y);
  return same;
}

static inline void rt_expect_text(const char *text, const char *part) {
  if (!strstr(text, part)) fail_msg("expected '%s' in: %s", part, text);
}

static inline int rt_files_in(const char *folder) {
  char command[600];
  int n = -1;
  snprintf(command, sizeof command, "ls -A '%s' | wc -l", folder);
  FILE *f = popen(command, "r");
  assert_int_equal(fscanf(f, "%d", &n), 1);
  pclose(f);
  return n;
}

// $BTC_SHARED, or ../shared; NULL where there is no such reference file.
static inline const char *rt_reference(const char *name) {
  static char path[1024];
  const char *shared = getenv("BTC_SHARED");
  snprintf(path, sizeof path, "%s/reference/%s", shared ? shared : "../shared", name);
  return access(path, R_OK) == 0 ? path : NULL;
}

#endif
