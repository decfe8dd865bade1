// loops_equal.c: whether two kernels are the same code, so that it is emitted once.
//
// A kernel is spelt as a list of words that holds everything the emitted code depends on and no
// names of the kernel's own: variables, registers and buffers count by the order they were made in.
// Equal lists, equal kernels; the hash is over the list.
#include "loops.h"

#include <string.h>

struct spelling {
  struct arena *arena;
  VEC(uint64_t) words;
};

static void put(struct spelling *s, uint64_t word) { vec_push(s->arena, &s->words, word); }

static void put_expr(struct spelling *s, lx e) {
  if (!e) {
    put(s, UINT64_MAX);
    return;
  }
  put(s, (uint64_t)e->op | (uint64_t)e->type << 8 | (uint64_t)e->lanes << 16);
  uint64_t real;
  memcpy(&real, &e->real, sizeof real);
  switch (e->op) {
  case LX_CONST: put(s, (uint64_t)e->integer), put(s, real); break;
  case LX_INDEX: put(s, (uint64_t)e->var->id); break;
  case LX_REG: put(s, (uint64_t)e->reg->id), put_expr(s, e->a); break;
  case LX_SYMBOL: put(s, str_hash(e->symbol)); break;
  default:
    put(s, e->buf ? (uint64_t)e->buf->id : 0);
    put(s, (uint64_t)e->stride);
    put(s, (uint64_t)e->extent);
    put_expr(s, e->a);
    put_expr(s, e->b);
    put_expr(s, e->c);
  }
}

static void put_body(struct spelling *s, const struct loop_stmt *body) {
  for (; body; body = body->next) {
    if (body->kind == LS_COMMENT) continue;
    put(s, (uint64_t)body->kind | (uint64_t)body->loop << 8 | (uint64_t)body->step << 16);
    put(s, body->buf ? (uint64_t)body->buf->id : 0);
    put(s, body->reg ? (uint64_t)body->reg->id : UINT64_MAX);
    if (body->kind == LS_REG)
      put(s, (uint64_t)body->reg->type | (uint64_t)body->reg->lanes << 8 |
                 (uint64_t)body->reg->array << 16 | (uint64_t)body->reg->count << 24);
    if (body->kind == LS_FOR) put(s, (uint64_t)body->var->id);
    put(s, (uint64_t)body->stride);
    put_expr(s, body->lo);
    put_expr(s, body->hi);
    put_expr(s, body->index);
    put_expr(s, body->value);
    put_expr(s, body->lanes);
    put(s, body->symbol ? str_hash(body->symbol) : 0);
    put(s, (uint64_t)body->args.len);
    for (int i = 0; i < body->args.len; i++) put_expr(s, body->args.data[i]);
    put_body(s, body->body);
    put_body(s, body->else_body);
  }
  put(s, UINT64_MAX - 1);
}

static void spell(struct spelling *s, const struct loop_kernel *k) {
  put(s, (uint64_t)k->lanes);
  put(s, (uint64_t)k->bufs.len);
  for (int i = 0; i < k->bufs.len; i++) {
    const struct loop_buf *b = k->bufs.data[i];
    put(s, (uint64_t)b->count);
    put(s, (uint64_t)b->type | (uint64_t)b->space << 8 | (uint64_t)b->read << 16 |
               (uint64_t)b->write << 24);
  }
  put_body(s, k->body);
}

uint64_t loop_hash(const struct loop_kernel *k) {
  struct spelling s = {.arena = arena_new()};
  spell(&s, k);
  uint64_t hash = 14695981039346656037u;
  for (int i = 0; i < s.words.len; i++) {
    hash = (hash ^ s.words.data[i]) * 1099511628211u;
    hash ^= hash >> 29;
  }
  arena_free(s.arena);
  return hash;
}

bool loop_equal(const struct loop_kernel *a, const struct loop_kernel *b) {
  struct spelling x = {.arena = arena_new()}, y = {.arena = x.arena};
  spell(&x, a);
  spell(&y, b);
  bool equal = x.words.len == y.words.len &&
               memcmp(x.words.data, y.words.data, sizeof(uint64_t) * (size_t)x.words.len) == 0;
  arena_free(x.arena);
  return equal;
}
