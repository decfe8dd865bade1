// file.c: see fuzz.h. Loaders take paths; the input is put under one that names memory.
#define _GNU_SOURCE
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

_Noreturn void fuzz_fail(const char *file, int line, const char *what) {
  fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
  abort();
}

// Parts of one file, one after the other.
static int begin(void) {
  static int fd = -1;
  if (fd < 0) fd = memfd_create("input", 0);
  fuzz_expect(fd >= 0 && ftruncate(fd, 0) == 0 && lseek(fd, 0, SEEK_SET) == 0);
  return fd;
}

static void put(int fd, const void *data, size_t size) {
  fuzz_expect(write(fd, data, size) == (ssize_t)size);
}

static struct fuzz_file end(int fd) {
  struct fuzz_file f;
  snprintf(f.path, sizeof f.path, FUZZ_FOLDER "/%d", fd);
  static char name[16];
  snprintf(name, sizeof name, "%d", fd);
  f.name = name;
  return f;
}

struct fuzz_file fuzz_file(const void *data, size_t size) {
  int fd = begin();
  put(fd, data, size);
  return end(fd);
}

struct fuzz_file fuzz_gzip(const void *data, size_t size) {
  z_stream z = {.next_in = (void *)data, .avail_in = (uInt)size};
  fuzz_expect(deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  size_t room = deflateBound(&z, (uLong)size);
  z.next_out = malloc(room), z.avail_out = (uInt)room;
  unsigned char *out = z.next_out;
  fuzz_expect(out && deflate(&z, Z_FINISH) == Z_STREAM_END);
  struct fuzz_file f = fuzz_file(out, z.total_out);
  deflateEnd(&z);
  free(out);
  return f;
}

struct fuzz_file fuzz_safetensors(const uint8_t *data, size_t size) {
  const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
  size_t header = nul ? (size_t)(nul - data) : size, behind = nul ? header + 1 : header;
  unsigned char length[8];
  for (int i = 0; i < 8; i++) length[i] = (unsigned char)(header >> 8 * i);
  int fd = begin();
  put(fd, length, 8);
  put(fd, data, header);
  put(fd, data + behind, size - behind);
  return end(fd);
}
