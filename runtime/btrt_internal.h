// btrt_internal.h: what the runtime's own files share: error text, memory, threads and BLAS.
//
// Errors. A function that can fail takes `char *err, size_t errlen`, writes one sentence that says
// what is wrong and how to mend it, and returns false or NULL. Nobody prints but the command line.
// Impossible states (a module that the compiler should never have emitted) stop with `bt_die`.
#ifndef BTRT_INTERNAL_H
#define BTRT_INTERNAL_H

#include "btrt.h"

// ---- errors (error.c) -------------------------------------------------------------------------
// Formats into err; returns false, so that `return bt_fail(err, errlen, …)` reads as it should.
bool bt_fail(char *err, size_t errlen, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Formats behind what text says already, cut at its room.
void bt_append(char *text, size_t room, const char *format, ...) __attribute__((format(printf, 3, 4)));
_Noreturn void bt_die_at(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define bt_die(...) bt_die_at(__FILE__, __LINE__, __VA_ARGS__)
// Where memory is out, these end the process with a message and exit status 1: no file is half written then, as
// files are replaced whole. free() what they give.
void *bt_xcalloc(size_t count, size_t size);
void *bt_xmalloc(size_t size);
char *bt_xstrdup(const char *text);
char *bt_xstrndup(const char *text, size_t n);
// The candidate nearest to `word`, if near enough to be a likely misspelling of it; else NULL.
const char *bt_nearest(const char *word, const char *const *candidates, int n);

// ---- long work --------------------------------------------------------------------------------
// Told now and then how much is done; false asks it to stop. goes_on NULL: nobody watches.
struct bt_onlooker {
  bool (*goes_on)(void *user, int64_t done, int64_t of);
  void *user;
};
static inline bool bt_goes_on(const struct bt_onlooker *watch, int64_t done, int64_t of) {
  return !watch->goes_on || watch->goes_on(watch->user, done, of);
}

// ---- memory (memory.c) ------------------------------------------------------------------------
size_t bt_dtype_size(enum bt_dtype dtype);
const char *bt_dtype_name(enum bt_dtype dtype);   // "f32", …
int64_t bt_count(int rank, const int64_t *shape); // elements; 1 for rank 0
size_t bt_tensor_bytes(enum bt_dtype dtype, int rank, const int64_t *shape);
static inline size_t bt_round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

// A block for the whole run: zeroed, aligned to 2 MiB, on huge pages where the system has them, and
// every page touched, so that no step pays for a page fault. NULL with err when memory is out;
// NULL without err for 0 bytes.
struct bt_block {
  void *data;
  size_t bytes;
};
bool bt_block_new(struct bt_block *block, size_t bytes, const char *what, char *err, size_t errlen);
void bt_block_free(struct bt_block *block);
// A block handed out in order, aligned to BT_ALIGN. Without a base it only counts, so that one
// function both plans and places.
struct bt_room {
  char *base; // NULL: count
  size_t used;
};
void *bt_room_take(struct bt_room *room, size_t count, size_t size); // NULL where it counts
size_t bt_resident_bytes(void); // of this process now (0: unknown)
size_t bt_peak_bytes(void);     // its largest so far (0: unknown)
size_t bt_memory_bytes(void);   // of this machine, cut to the limit of the process's control groups

// ---- threads and BLAS (blas.c) ----------------------------------------------------------------
// Cores this process may use: the affinity mask, cut to the quota of its control groups.
int bt_cores_available(void);
// Sets one thread count for OpenMP and BLAS (0: bt_cores_available) after repairing a wrongly
// chosen OpenBLAS core. Call once, before the first BLAS call. Returns the count.
int bt_blas_init(int threads);
const char *bt_blas_core(void); // OpenBLAS's core ("SkylakeX"), or "unknown BLAS"
// The OPENBLAS_CORETYPE that this processor deserves, or NULL where `current` is no worse.
const char *bt_blas_better_core(const char *current);

#endif
