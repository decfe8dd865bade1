// btc.h: the map of the compiler, and what every file of it shares.
//
//   source   ast.h, parse*.c, ast_print.c             text to tree (grammar/btg.l, btg.y)
//            fmt*.c                                   canonical text (btc fmt)
//   check    elab.h, elab_*.c                         tree to graph: names, types, shapes, instances
//   graph    graph.h, graph*.c, ops.def, ops/*.c      typed SSA; one home per op family
//            grad.c                                   reverse-mode differentiation
//            interp.c                                 float64 reference interpreter, the oracle
//            rewrite.c, pass*.c, fold_*.c             the pass table and its rows
//   regions  regions.h, outline.c, region.c           parts that can be computed in several ways
//            variants.c, derive_*.c, cost.c, choose.c the ways, their prices, the choice
//   kernels  kernels.h, layout.c, fuse.c, plan.c      layouts, fusion groups, the memory plan
//   loops    loops.h, loops_*.c                       loop nests with vectors and register blocks
//            body.c, nest.c, lower*.c, sched_conv.c   kernels to loop nests
//   code     codegen.c, emit_c.c, emit_module.c       C text
//   command  main.c, cmd_*.c, options.c, driver.c     the btc command
//            host.c, compiled.c, eval.c, gradcheck.c  host compiler, compiled code in process, checks
//            measure.c, machine.c, tune.c, tuned.c    variants timed, the search, what it found
//
// This header is the bottom level: memory, strings, source places, diagnostics, and the context that
// carries them. There are no mutable globals: everything hangs off a `struct btc`. Users' mistakes
// are *diagnosed* (collected, shown with their place); the compiler's own mistakes *die*.
#ifndef BTC_H
#define BTC_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

// ---- memory -----------------------------------------------------------------------------------
// One arena per compilation. Nothing is freed singly; arena_free drops the lot.
struct arena;
struct arena *arena_new(void);
void arena_free(struct arena *a);
void *arena_alloc(struct arena *a, size_t size); // zeroed, 16-byte aligned, never NULL (dies)
#define NEW(arena, type) ((type *)arena_alloc((arena), sizeof(type)))
#define NEW_ARRAY(arena, type, n) ((type *)arena_alloc((arena), sizeof(type) * (size_t)(n)))

// Growable array in an arena: VEC(int) v = {0}; vec_push(arena, &v, 3); v.data[0]; v.len
#define VEC(type) struct { type *data; int len, cap; }
// The item is evaluated first, so it may itself push to the vector.
#define vec_push(arena, v, item)                                                                   \
  ({                                                                                               \
    __typeof__(*(v)->data) pushed_ = (item);                                                       \
    if ((v)->len == (v)->cap) vec_grow((arena), (void **)&(v)->data, &(v)->cap, sizeof pushed_);   \
    (v)->data[(v)->len++] = pushed_;                                                               \
  })
void vec_grow(struct arena *a, void **data, int *cap, size_t item_size);

// ---- strings ----------------------------------------------------------------------------------
char *str_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *str_vprintf(struct arena *a, const char *format, va_list ap);
char *str_ndup(struct arena *a, const char *s, size_t n);
bool str_eq(const char *a, const char *b); // NULL equals only NULL
uint64_t str_hash(const char *s);          // FNV-1a, 64 bits
// The candidate nearest to `word` by edit distance, if near enough to be a likely misspelling of
// it; else NULL.
const char *str_nearest(const char *word, const char *const *candidates, int n);

// ---- numbers ----------------------------------------------------------------------------------
// x towards 0 as an integer of `bits` bits (32 or 64), the nearest there is; of NaN 0.
int64_t to_integer(double x, int bits);
// x - y floor(x / y), with the sign of y. Exact but where one y is added, and rounded once.
double floor_remainder(double x, double y);

// ---- source places ----------------------------------------------------------------------------
// A half-open run of one file. Lines and columns count from 1; column counts bytes. `line` 0: no
// place. `file` indexes btc.files.
struct loc {
  int file;
  int line, column;
  int end_line, end_column;
};
struct source_file {
  const char *path;  // as shown in messages
  const char *text;  // whole, NUL-terminated
  size_t length;
};

// ---- context ----------------------------------------------------------------------------------
enum severity { SEV_NOTE, SEV_WARNING, SEV_ERROR };
struct diag {
  enum severity severity;
  struct loc loc;
  const char *message;
  const char *fixit; // replacement text shown under the caret, or NULL
};

struct define { const char *name, *value; }; // -D name=value
struct btc_options {
  const char *program;          // argv[0]
  const char *home;             // where stdlib/, runtime headers and libbtrt.a are
  const char *march;            // host compiler's -march; NULL: native
  VEC(struct define) defines;   // -D
  VEC(const char *) disabled;   // --disable-pass
  VEC(const char *) variants;   // --variant REGION=NAME
  VEC(const char *) dump_after; // --dump-after
  const char *stop_after;       // --stop-after
  bool time_passes, color, warnings_are_errors;
  bool no_tuned;                // --no-tuned
  int max_errors;               // 0: no limit
};

struct btc {
  struct arena *arena;
  struct btc_options opt;
  VEC(struct source_file) files;
  VEC(struct diag) diags; // in the order found; notes follow what they explain
  int n_errors, n_warnings;
  struct tuned *tuned; // what was measured on this processor; NULL: not read yet (tuned.c)
};

struct btc *btc_new(void);
void btc_free(struct btc *b); // and its arena

// Reads a whole file and registers it. Returns its index, or -1 after a diagnostic at `from` (the
// import that wanted it; line 0 for the command line).
int source_open(struct btc *b, const char *path, struct loc from);
int source_add(struct btc *b, const char *path, const char *text, size_t length);
// A line's text without its line ending. False where the file has no such line.
bool source_line(const struct source_file *f, int line, const char **text, size_t *length);

// Diagnostics: collected here, printed by diag_flush in clang's form with source line and caret run.
void diag_error(struct btc *b, struct loc loc, const char *format, ...) __attribute__((format(printf, 3, 4)));
void diag_warning(struct btc *b, struct loc loc, const char *format, ...) __attribute__((format(printf, 3, 4)));
void diag_note(struct btc *b, struct loc loc, const char *format, ...) __attribute__((format(printf, 3, 4)));
void diag_fixit(struct btc *b, const char *replacement); // attaches to the latest error or warning
void diag_note_fixit(struct btc *b, const char *replacement); // to the latest note
void diag_flush(struct btc *b, FILE *out);               // prints and forgets what is collected
bool diag_is_full(const struct btc *b);          // past the limit of errors: no more of them are kept
// What was found since the mark is not counted, nor printed if it was not yet: an attempt may fail.
struct diag_mark { int diags, errors, warnings; };
struct diag_mark diag_mark(const struct btc *b);
void diag_rewind(struct btc *b, struct diag_mark mark);

// The compiler's own mistakes: prints place and message, aborts.
_Noreturn void die_at(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
#define die(...) die_at(__FILE__, __LINE__, __VA_ARGS__)
#define expect(cond, ...) ((cond) ? (void)0 : die(__VA_ARGS__))

#endif
