// arguments.c: the parameters of a kernel's loops, and what is passed for them.
//
// Each place in memory that a kernel touches becomes one parameter, shared by values that lie there
// one after the other (work in place). It begins at the first element that the kernel touches and
// ends after the last, so kernels that differ only in which slice of a buffer they read are equal
// loops with other arguments, and are emitted once.
#include "nest.h"

struct reach {
  const char *name;
  int64_t lo, hi;
  bool read, write;
};

struct reaches {
  struct fusion *f;
  struct reach *reach;     // by buffer id, of places
  VEC(struct buffer *) places; // in the order of the parameters
};

static void touch(struct reaches *r, const struct body *body, struct buffer *b,
                  const struct affine *at, bool write) {
  struct buffer *place = buffer_place(b);
  struct reach *reach = &r->reach[place->id];
  int64_t lo, hi, end = buffer_count(place) - 1;
  affine_range(body, at, &lo, &hi);
  if (lo < 0 || hi > end) lo = 0, hi = end; // addresses are clamped to the buffer
  if (reach->name == NULL) {
    vec_push(r->f->arena, &r->places, place);
    *reach = (struct reach){.name = write ? "y" : "x", .lo = lo, .hi = hi};
  }
  if (lo < reach->lo) reach->lo = lo;
  if (hi > reach->hi) reach->hi = hi;
  reach->read |= !write;
  reach->write |= write;
}

static void touch_body(struct reaches *r, const struct body *body) {
  if (body == NULL) return;
  for (int i = 0; i < body->values.len; i++) {
    const struct value *v = body->values.data[i];
    if (v->kind == V_LOAD) touch(r, body, v->buffer, &v->at, false);
  }
  for (int i = 0; i < body->roots.len; i++) {
    const struct body_root *root = &body->roots.data[i];
    if (root->buffer != NULL) touch(r, body, root->buffer, &root->at, true);
  }
}

static void make_parameter(struct reaches *r, struct kernel *k, struct lb *b, struct params *p,
                           struct buffer *place) {
  const struct reach *reach = &r->reach[place->id];
  enum loop_type t = lower_type(place->node->type.dtype);
  int64_t count = reach->hi + 1 - reach->lo;
  vec_push(r->f->arena, &k->arguments, ((struct kernel_argument){place, reach->lo}));
  p->offset[place->id] = reach->lo;
  p->of[place->id] = reach->read && reach->write ? lb_inout(b, reach->name, t, count)
                     : reach->write              ? lb_output(b, reach->name, t, count)
                                                 : lb_input(b, reach->name, t, count);
}

struct params *params_new(struct fusion *f, struct kernel *k, struct lb *b) {
  struct params *p = NEW(f->arena, struct params);
  p->of = NEW_ARRAY(f->arena, struct loop_buf *, f->buffers.len);
  p->offset = NEW_ARRAY(f->arena, int64_t, f->buffers.len);
  struct reaches r = {.f = f, .reach = NEW_ARRAY(f->arena, struct reach, f->buffers.len)};
  for (int i = 0; i < 2; i++) touch_body(&r, k->operand[i]);
  touch_body(&r, k->body);
  touch_body(&r, k->finish);
  for (int i = 0; i < r.places.len; i++) make_parameter(&r, k, b, p, r.places.data[i]);
  for (int i = 0; i < f->buffers.len; i++) {
    const struct buffer *place = buffer_place(f->buffers.data[i]);
    p->of[i] = p->of[place->id];
    p->offset[i] = p->offset[place->id];
  }
  return p;
}
