// support.c: the floor everything stands on: arena, growable arrays, strings, source files, and the
// end of the world (die_at).
//
// The arena is a chain of chunks that grow geometrically; an allocation bumps a pointer. Under the
// address sanitizer a chunk is poisoned but for what was handed out, with a gap after every
// allocation, so that an overrun inside the arena is caught like one on the heap.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "btc.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SUPPORT_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SUPPORT_ASAN 1
#endif
#ifdef SUPPORT_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

// ---- memory -----------------------------------------------------------------------------------
enum { ARENA_ALIGN = 16, ARENA_FIRST_CHUNK = 64 << 10, ARENA_LARGEST_CHUNK = 4 << 20 };
#ifdef SUPPORT_ASAN
enum { ARENA_GAP = 16 };
#else
enum { ARENA_GAP = 0 };
#endif

struct chunk {
  struct chunk *next;
  size_t used, capacity;
  _Alignas(ARENA_ALIGN) unsigned char data[];
};

struct arena {
  struct chunk *newest;
};

struct arena *arena_new(void) {
  struct arena *a = calloc(1, sizeof *a);
  expect(a, "out of memory");
  return a;
}

void arena_free(struct arena *a) {
  if (!a) return;
  for (struct chunk *c = a->newest, *next; c; c = next) {
    next = c->next;
    ASAN_UNPOISON_MEMORY_REGION(c->data, c->capacity);
    free(c);
  }
  free(a);
}

static struct chunk *arena_chunk(struct arena *a, size_t needed) {
  size_t capacity = a->newest ? 2 * a->newest->capacity : ARENA_FIRST_CHUNK;
  if (capacity > ARENA_LARGEST_CHUNK) capacity = ARENA_LARGEST_CHUNK;
  if (capacity < needed) capacity = needed;
  struct chunk *c = calloc(1, sizeof *c + capacity);
  expect(c, "out of memory: %zu bytes wanted", capacity);
  c->capacity = capacity;
  c->next = a->newest;
  a->newest = c;
  ASAN_POISON_MEMORY_REGION(c->data, capacity);
  return c;
}

void *arena_alloc(struct arena *a, size_t size) {
  expect(size <= SIZE_MAX / 2, "allocation of %zu bytes", size);
  size_t taken = (size + ARENA_GAP + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
  struct chunk *c = a->newest;
  if (!c || c->capacity - c->used < taken) c = arena_chunk(a, taken);
  void *p = c->data + c->used;
  c->used += taken;
  ASAN_UNPOISON_MEMORY_REGION(p, size);
  return p;
}

void vec_grow(struct arena *a, void **data, int *cap, size_t item_size) {
  expect(*cap <= INT32_MAX / 2, "array of more than %d items", *cap);
  int bigger = *cap ? 2 * *cap : 8;
  void *moved = arena_alloc(a, (size_t)bigger * item_size);
  if (*cap) memcpy(moved, *data, (size_t)*cap * item_size);
  *data = moved;
  *cap = bigger;
}

// ---- strings ----------------------------------------------------------------------------------
char *str_vprintf(struct arena *a, const char *format, va_list ap) {
  va_list again;
  va_copy(again, ap);
  int length = vsnprintf(NULL, 0, format, again);
  va_end(again);
  expect(length >= 0, "bad format: %s", format);
  char *s = arena_alloc(a, (size_t)length + 1);
  vsnprintf(s, (size_t)length + 1, format, ap);
  return s;
}

char *str_printf(struct arena *a, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  char *s = str_vprintf(a, format, ap);
  va_end(ap);
  return s;
}

char *str_ndup(struct arena *a, const char *s, size_t n) {
  char *copy = arena_alloc(a, n + 1);
  if (n) memcpy(copy, s, n);
  return copy;
}

bool str_eq(const char *a, const char *b) { return a == b || (a && b && strcmp(a, b) == 0); }

uint64_t str_hash(const char *s) {
  uint64_t hash = 0xcbf29ce484222325u;
  for (; *s; s++) hash = (hash ^ (unsigned char)*s) * 0x100000001b3u;
  return hash;
}

// Misspellings are measured by the restricted Damerau-Levenshtein distance (insert, delete,
// replace, swap neighbours), in half steps: a change of case alone costs one, every other edit two.
enum { STR_EDIT = 2, STR_CASE = 1, STR_NEAREST_MAX = 64 };

static int str_fold(int c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; }

static int str_replace_cost(char a, char b) {
  if (a == b) return 0;
  return str_fold(a) == str_fold(b) ? STR_CASE : STR_EDIT;
}

static int str_min(int a, int b) { return a < b ? a : b; }

// Both lengths are at most STR_NEAREST_MAX. Three rows of the table suffice.
static int str_distance(const char *a, int n, const char *b, int m) {
  int rows[3][STR_NEAREST_MAX + 1];
  for (int j = 0; j <= m; j++) rows[0][j] = j * STR_EDIT;
  for (int i = 1; i <= n; i++) {
    int *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
    row[0] = i * STR_EDIT;
    for (int j = 1; j <= m; j++) {
      int cost = above[j - 1] + str_replace_cost(a[i - 1], b[j - 1]);
      cost = str_min(cost, str_min(above[j], row[j - 1]) + STR_EDIT);
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        cost = str_min(cost, above2[j - 2] + STR_EDIT);
      row[j] = cost;
    }
  }
  return rows[n % 3][m];
}

// One edit for every three letters; between words of one letter only the case may differ.
static int str_tolerance(int n, int m) {
  if (n < 2 || m < 2) return STR_CASE;
  return STR_EDIT * (((n > m ? n : m) + 2) / 3);
}

const char *str_nearest(const char *word, const char *const *candidates, int n) {
  size_t length = strlen(word);
  if (length > STR_NEAREST_MAX) return NULL;
  const char *best = NULL;
  int best_distance = 0;
  for (int i = 0; i < n; i++) {
    size_t other = candidates[i] ? strlen(candidates[i]) : 0;
    if (other == 0 || other > STR_NEAREST_MAX) continue;
    int distance = str_distance(word, (int)length, candidates[i], (int)other);
    if (distance > str_tolerance((int)length, (int)other)) continue;
    if (best && distance >= best_distance) continue;
    best = candidates[i];
    best_distance = distance;
  }
  return best;
}

// ---- context ----------------------------------------------------------------------------------
struct btc *btc_new(void) {
  struct arena *a = arena_new();
  struct btc *b = NEW(a, struct btc);
  b->arena = a;
  return b;
}

void btc_free(struct btc *b) {
  if (b) arena_free(b->arena);
}

// ---- source files -----------------------------------------------------------------------------
// Places are ints; nothing that a person writes comes near this.
enum { SOURCE_MAX = 64 << 20 };

int source_add(struct btc *b, const char *path, const char *text, size_t length) {
  struct source_file f = {
      .path = str_ndup(b->arena, path, strlen(path)),
      .text = str_ndup(b->arena, text, length),
      .length = length,
  };
  vec_push(b->arena, &b->files, f);
  return b->files.len - 1;
}

// Reads `in` to its end into a heap buffer that the caller frees. NULL with errno set on failure.
// Never asks for the size first, so pipes and /dev/stdin work.
static char *source_read(FILE *in, size_t *length) {
  char *text = NULL;
  size_t used = 0, capacity = 0;
  for (;;) {
    if (used == capacity) {
      capacity = capacity ? 2 * capacity : 16 << 10;
      char *bigger = realloc(text, capacity);
      expect(bigger, "out of memory");
      text = bigger;
    }
    size_t got = fread(text + used, 1, capacity - used, in);
    used += got;
    if (used > SOURCE_MAX) errno = EFBIG;
    if (used > SOURCE_MAX || ferror(in)) break;
    if (got == 0) {
      *length = used;
      return text;
    }
  }
  free(text);
  return NULL;
}

int source_open(struct btc *b, const char *path, struct loc from) {
  FILE *in = fopen(path, "rb");
  if (!in) {
    diag_error(b, from, "cannot open `%s`: %s", path, strerror(errno));
    return -1;
  }
  size_t length = 0;
  errno = 0;
  char *text = source_read(in, &length);
  int reason = errno;
  fclose(in);
  if (!text) {
    diag_error(b, from, "cannot read `%s`: %s", path, strerror(reason ? reason : EIO));
    return -1;
  }
  int index = source_add(b, path, text, length);
  free(text);
  return index;
}

// ---- the compiler's own mistakes --------------------------------------------------------------
_Noreturn void die_at(const char *file, int line, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  fflush(stdout);
  fprintf(stderr, "btc: internal error at %s:%d: ", file, line);
  vfprintf(stderr, format, ap);
  fputc('\n', stderr);
  va_end(ap);
  abort();
}

// ---- numbers ----------------------------------------------------------------------------------
int64_t to_integer(double x, int bits) {
  double bound = ldexp(1, bits - 1);
  if (isnan(x)) return 0;
  if (x < -bound) return bits == 32 ? INT32_MIN : INT64_MIN;
  if (x >= bound) return bits == 32 ? INT32_MAX : INT64_MAX;
  return (int64_t)x;
}

double floor_remainder(double x, double y) {
  double r = fmod(x, y);
  return r != 0 && (r < 0) != (y < 0) ? r + y : r;
}
