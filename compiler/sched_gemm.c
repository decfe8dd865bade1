// Temporary: deleted when the real schedule arrives.
#include "sched_gemm.h"
struct st { struct lb *b; const struct gemm_shape *s; int lanes; };
static void pack(struct st *t, const struct gemm_operand *o, lx batch, int64_t extent, struct loop_buf *to) {
  struct lb *b = t->b; int64_t k = t->s->k, L = t->lanes;
  if (o->along_k) {
    lx c = lb_for(b, "c", extent);
    if (o->enter) o->enter(o->user, batch, c, NULL);
    if (k / L) { lx p = lb_for_range(b, "p", lx_int(b, 0), lx_int(b, k / L * L), L);
      lb_store_strided(b, to, lx_add(lx_muli(p, extent), c), extent, NULL, o->vector(o->user, batch, c, p, NULL)); lb_end(b); }
    if (k % L) { lx p = lx_int(b, k / L * L);
      lb_store_strided(b, to, lx_add(lx_muli(p, extent), c), extent, lx_int(b, k % L), o->vector(o->user, batch, c, p, lx_int(b, k % L))); }
    if (o->leave) o->leave(o->user);
    lb_end(b);
    return;
  }
  lx c = lb_for_range(b, "c", lx_int(b, 0), lx_int(b, extent), L);
  lx left = extent % L ? lx_rsub(extent, c) : NULL;
  if (o->enter) o->enter(o->user, batch, c, left);
  lx p = lb_for(b, "p", k);
  lx v = o->vector(o->user, batch, c, p, left), at = lx_add(lx_muli(p, extent), c);
  if (left) lb_store_n(b, to, at, left, v); else lb_store(b, to, at, v);
  lb_end(b);
  if (o->leave) o->leave(o->user);
  lb_end(b);
}
void sched_gemm(struct lb *b, const struct gemm_shape *s, const struct gemm_operand *x, const struct gemm_operand *w, const struct gemm_epilogue *e) {
  struct st t = {b, s, lb_target(b)->lanes};
  int64_t L = t.lanes, m = s->m, n = s->n, k = s->k;
  struct loop_buf *pa = lb_scratch(b, "pa", LT_F32, m * k), *pb = lb_scratch(b, "pb", LT_F32, n * k), *fold[16];
  for (int f = 0; f < e->n_folds; f++) {
    int64_t c = e->folds[f] == GEMM_FOLD_ROWS ? n : e->folds[f] == GEMM_FOLD_COLUMNS ? m : 1;
    fold[f] = lb_scratch(b, "fold", LT_F64, c);
  }
  lx batch = s->batch > 1 ? lb_for(b, "batch", s->batch) : lx_int(b, 0);
  pack(&t, x, batch, m, pa); pack(&t, w, batch, n, pb);
  for (int f = 0; f < e->n_folds; f++) { lx i = lb_for(b, "z", fold[f]->count); lb_store(b, fold[f], i, lx_const(b, LT_F64, 1, 0)); lb_end(b); }
  lx i = lb_for(b, "i", m);
  lx j = lb_for_range(b, "j", lx_int(b, 0), lx_int(b, n), L), left = n % L ? lx_rsub(n, j) : NULL;
  struct loop_reg *acc = lb_reg(b, "acc", LT_F32, (int)L, 0, lx_vf32(b, 0));
  lx p = lb_for(b, "p", k);
  lb_accumulate(b, acc, LX_ADD, lx_mul(lx_broadcast(lx_load(pa, lx_add(lx_muli(p, m), i))), left ? lx_vload_n(pb, lx_add(lx_muli(p, n), j), left) : lx_vload(pb, lx_add(lx_muli(p, n), j))));
  lb_end(b);
  lx value[16];
  e->point(e->user, batch, i, j, left, lx_reg(b, acc), value);
  for (int f = 0; f < e->n_folds; f++) {
    lx v = value[f];
    if (left) v = lx_select(lx_lt(lx_iota(b), lx_convert(left, LT_I32)), v, lx_vf32(b, 0));
    v = lb_let(b, "v", lx_convert(v, LT_F64));
    if (e->folds[f] == GEMM_FOLD_ROWS) { if (left) lb_store_n(b, fold[f], j, left, lx_add(lx_vload_n(fold[f], j, left), v)); else lb_store(b, fold[f], j, lx_add(lx_vload(fold[f], j), v)); }
    else { lx at = e->folds[f] == GEMM_FOLD_COLUMNS ? i : lx_int(b, 0); lb_store(b, fold[f], at, lx_add(lx_load(fold[f], at), lx_hsum(v))); }
  }
  lb_end(b); lb_end(b);
  for (int f = 0; f < e->n_folds; f++) {
    if (e->folds[f] == GEMM_FOLD_ALL) { e->fold_done(e->user, f, batch, NULL, NULL, lx_load(fold[f], lx_int(b, 0))); continue; }
    if (e->folds[f] == GEMM_FOLD_COLUMNS) { lx r = lb_for(b, "r", m); e->fold_done(e->user, f, batch, r, NULL, lx_convert(lx_load(fold[f], r), LT_F32)); lb_end(b); continue; }
    lx c = lb_for_range(b, "c", lx_int(b, 0), lx_int(b, n), L), l = n % L ? lx_rsub(n, c) : NULL;
    e->fold_done(e->user, f, batch, c, l, lx_convert(l ? lx_vload_n(fold[f], c, l) : lx_vload(fold[f], c), LT_F32));
    lb_end(b);
  }
  if (e->finish) {
    lx c = lb_for_range(b, "c", lx_int(b, 0), lx_int(b, n), L), l = n % L ? lx_rsub(n, c) : NULL;
    if (e->finish_enter) e->finish_enter(e->user, batch, c, l);
    lx r = lb_for(b, "r", m);
    e->finish(e->user, batch, r, c, l);
    lb_end(b);
    if (e->finish_leave) e->finish_leave(e->user);
    lb_end(b);
  }
  if (s->batch > 1) lb_end(b);
}
