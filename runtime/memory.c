// memory.c: the two blocks that a trainer lives in, and what the process really uses.
//
// Page faults on fresh memory can cost a third of a training step, so the store and the arena are
// mapped once, on huge pages where the system offers them, and every page is touched before the
// first step (in parallel, which also places pages near the threads that will use them).
#define _GNU_SOURCE
#include "btrt_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)
#define SMALL_PAGE ((size_t)4096)

size_t bt_dtype_size(enum bt_dtype dtype) {
  switch (dtype) {
  case BT_F32:
  case BT_I32: return 4;
  case BT_F64:
  case BT_I64: return 8;
  case BT_U8:
  case BT_BOOL: return 1;
  }
  bt_die("dtype %d", (int)dtype);
}

const char *bt_dtype_name(enum bt_dtype dtype) {
  static const char *const names[] = {"f32", "f64", "i32", "i64", "u8", "bool"};
  if ((unsigned)dtype > BT_BOOL) bt_die("dtype %d", (int)dtype);
  return names[dtype];
}

int64_t bt_count(int rank, const int64_t *shape) {
  int64_t n = 1;
  for (int i = 0; i < rank; i++) n *= shape[i];
  return n;
}

size_t bt_tensor_bytes(enum bt_dtype dtype, int rank, const int64_t *shape) {
  return bt_dtype_size(dtype) * (size_t)bt_count(rank, shape);
}

static void touch(char *data, size_t bytes) {
  ptrdiff_t pages = (ptrdiff_t)((bytes + SMALL_PAGE - 1) / SMALL_PAGE);
#pragma omp parallel for schedule(static)
  for (ptrdiff_t i = 0; i < pages; i++) ((volatile char *)data)[i * (ptrdiff_t)SMALL_PAGE] = 0;
}

bool bt_block_new(struct bt_block *block, size_t bytes, const char *what, char *err,
                  size_t errlen) {
  *block = (struct bt_block){0};
  if (bytes == 0) return true;
  if (bytes > SIZE_MAX / 2)
    return bt_fail(err, errlen, "%s of %zu bytes is impossible", what, bytes);
  // Small blocks take small pages: a huge page under 100 KB would only waste memory.
  size_t align = bytes < HUGE_PAGE ? SMALL_PAGE : HUGE_PAGE;
  size_t size = bt_round_up(bytes, SMALL_PAGE), mapped = size + align - SMALL_PAGE;
  char *p = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    return bt_fail(err, errlen, "cannot allocate %.1f MiB for the %s: %s", (double)bytes / 0x1p20,
                   what, strerror(errno));
  size_t head = bt_round_up((size_t)p, align) - (size_t)p, tail = mapped - head - size;
  if (head) munmap(p, head);
  if (tail) munmap(p + head + size, tail);
  p += head;
  if (align == HUGE_PAGE) madvise(p, size, MADV_HUGEPAGE); // a wish: refusal costs only speed
  touch(p, size);
  *block = (struct bt_block){p, size};
  return true;
}

void *bt_room_take(struct bt_room *room, size_t count, size_t size) {
  size_t bytes, at = room->used;
  if (__builtin_mul_overflow(count, size, &bytes)) bt_die("%zu elements of %zu bytes", count, size);
  room->used += bt_round_up(bytes, BT_ALIGN);
  return room->base ? room->base + at : NULL;
}

void bt_block_free(struct bt_block *block) {
  if (block->data) munmap(block->data, block->bytes);
  *block = (struct bt_block){0};
}

size_t bt_resident_bytes(void) {
  FILE *f = fopen("/proc/self/statm", "r");
  if (!f) return 0;
  unsigned long total, resident;
  int got = fscanf(f, "%lu %lu", &total, &resident);
  fclose(f);
  return got == 2 ? (size_t)resident * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

// What one control group (version 2) allows; 0: no limit, or none that can be read.
static size_t group_limit(const char *group) {
  char path[4200];
  unsigned long limit = 0;
  snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
  FILE *f = fopen(path, "r");
  if (f && fscanf(f, "%lu", &limit) != 1) limit = 0;
  if (f) fclose(f);
  return limit;
}

size_t bt_memory_bytes(void) {
  size_t bytes = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
  char group[4096] = "";
  FILE *f = fopen("/proc/self/cgroup", "r");
  if (f && fscanf(f, "0::%4095[^\n]", group) != 1) *group = 0;
  if (f) fclose(f);
  for (char *slash = group;; *slash = 0) { // and the groups above
    size_t limit = group_limit(group);
    if (limit && limit < bytes) bytes = limit;
    if (!(slash = strrchr(group, '/'))) return bytes;
  }
}

size_t bt_peak_bytes(void) {
  struct rusage usage;
  return getrusage(RUSAGE_SELF, &usage) == 0 ? (size_t)usage.ru_maxrss * 1024 : 0;
}
