// mutate.c: mutations of source text that leave most of it meaningful.
//
// Bytes mutated at random rarely get past the parser. These mutations know two things about a text:
// where its words end, and that a line with the block that it opens is a unit. Units are deleted,
// repeated, swapped and spliced in from another text of the corpus; words are renamed to others,
// numbers become nasty ones. One mutation in four is libFuzzer's own, so that the scanner gets its
// share. It serves the text form of graphs as well.
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

struct text {
  const char *at;
  size_t n;
};

static size_t pick(unsigned *seed, size_t n) { return n ? (size_t)rand_r(seed) % n : 0; }

// ---- units ------------------------------------------------------------------------------------

static size_t line_end(struct text t, size_t at) {
  const char *newline = at < t.n ? memchr(t.at + at, '\n', t.n - at) : NULL;
  return newline ? (size_t)(newline - t.at) + 1 : t.n;
}

static int brackets(struct text t, size_t from, size_t to) {
  int open = 0;
  for (size_t i = from; i < to; i++)
    open += (strchr("{([", t.at[i]) && t.at[i]) - (strchr("})]", t.at[i]) && t.at[i]);
  return open;
}

// A line, with those that follow while its brackets are open.
static struct text pick_unit(struct text t, unsigned *seed) {
  size_t from = pick(seed, t.n);
  while (from > 0 && t.at[from - 1] != '\n') from--;
  size_t to = line_end(t, from);
  int open = brackets(t, from, to);
  for (size_t next; open > 0 && to < t.n; to = next) {
    next = line_end(t, to);
    open += brackets(t, to, next);
  }
  return (struct text){t.at + from, to - from};
}

// ---- words ------------------------------------------------------------------------------------

static bool in_word(char c) { return isalnum((unsigned char)c) || c == '_'; }

// The word at or after a random place, or a single character where there is none.
static struct text pick_word(struct text t, unsigned *seed) {
  size_t from = pick(seed, t.n);
  while (from < t.n && !in_word(t.at[from])) from++;
  while (from > 0 && in_word(t.at[from - 1])) from--;
  size_t to = from;
  while (to < t.n && in_word(t.at[to])) to++;
  return (struct text){t.at + from, to - from};
}

static const char *const nasty[] = {
    "0",
    "1",
    "-1",
    "2",
    "0.0",
    "1e308",
    "1e-308",
    "9223372036854775807",
    "2147483648",
    "4294967297",
    "1000000000",
    "3037000500",
    "0..1000000000",
    "_",
    "..s",
    "[]",
    "true",
    "\"\"",
};

static struct text pick_nasty(unsigned *seed) {
  const char *s = nasty[pick(seed, sizeof nasty / sizeof *nasty)];
  return (struct text){s, strlen(s)};
}

// ---- edits ------------------------------------------------------------------------------------

struct output {
  uint8_t *at;
  size_t n, most;
};

static void append(struct output *o, const char *s, size_t n) {
  if (n > o->most - o->n) n = o->most - o->n;
  if (n) memcpy(o->at + o->n, s, n);
  o->n += n;
}

// The text with `old`, a part of it, replaced.
static void replace(struct output *o, struct text t, struct text old, struct text with) {
  size_t before = (size_t)(old.at - t.at);
  append(o, t.at, before);
  append(o, with.at, with.n);
  append(o, old.at + old.n, t.n - before - old.n);
}

static void swap(struct output *o, struct text t, struct text x, struct text y) {
  if (x.at > y.at) {
    struct text z = x;
    x = y, y = z;
  }
  if (x.at + x.n > y.at) return append(o, t.at, t.n); // one holds the other
  append(o, t.at, (size_t)(x.at - t.at));
  append(o, y.at, y.n);
  append(o, x.at + x.n, (size_t)(y.at - x.at) - x.n);
  append(o, x.at, x.n);
  append(o, y.at + y.n, t.n - (size_t)(y.at + y.n - t.at));
}

static void rename_all(struct output *o, struct text t, struct text old, struct text with) {
  for (size_t i = 0; i < t.n;) {
    size_t n = 0;
    while (i + n < t.n && in_word(t.at[i + n])) n++;
    bool same = n && n == old.n && memcmp(t.at + i, old.at, n) == 0;
    if (n == 0) n = 1;
    if (same)
      append(o, with.at, with.n);
    else
      append(o, t.at + i, n);
    i += n;
  }
}

static void mutate(struct output *o, struct text t, unsigned *seed) {
  struct text unit = pick_unit(t, seed), other = pick_unit(t, seed);
  struct text word = pick_word(t, seed), another = pick_word(t, seed);
  switch (pick(seed, 9)) {
  case 0: return replace(o, t, unit, (struct text){"", 0});
  case 1: return replace(o, t, (struct text){unit.at, 0}, other);
  case 2: return replace(o, t, unit, other);
  case 3: return swap(o, t, unit, other);
  case 4: return swap(o, t, word, another);
  case 5: return rename_all(o, t, word, another);
  case 6: return replace(o, t, word, pick_nasty(seed));
  case 7: return replace(o, t, word, (struct text){"", 0});
  default: return replace(o, t, word, another);
  }
}

// ---- libFuzzer's doors ------------------------------------------------------------------------

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
  if (size == 0 || pick(&seed, 4) == 0) return LLVMFuzzerMutate(data, size, most);
  uint8_t *copy = malloc(size);
  if (!copy) abort();
  memcpy(copy, data, size);
  struct output o = {data, 0, most};
  mutate(&o, (struct text){(const char *)copy, size}, &seed);
  free(copy);
  return o.n;
}

// The first text with a unit or a word of the second.
size_t LLVMFuzzerCustomCrossOver(const uint8_t *x, size_t x_size, const uint8_t *y, size_t y_size,
                                 uint8_t *out, size_t most, unsigned seed) {
  struct text into = {(const char *)x, x_size}, from = {(const char *)y, y_size};
  struct output o = {out, 0, most};
  if (pick(&seed, 4) == 0)
    replace(&o, into, pick_word(into, &seed), pick_word(from, &seed));
  else
    replace(&o, into, (struct text){pick_unit(into, &seed).at, 0}, pick_unit(from, &seed));
  return o.n;
}
