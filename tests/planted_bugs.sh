#!/bin/sh
# Plants known bugs, one at a time, and says whether random programs find each: tests/planted_bugs.sh [PATTERN], after
# make tests; with a pattern, those whose names match it.
#
# A bug is a change to one source of the compiler, made by sed on a copy, which is linked in place of ours: nothing of
# it is in what is built. A change that no longer applies is a failure, so that the bugs keep up with the compiler.
set -u
. "$(dirname "$0")/tap.sh"
pattern=${1:-}
programs=150 # of at most so many, one must fail
export BTC_RANDOM_SEED=0 BTC_RANDOM_PROGRAMS=$programs BTC_RANDOM_REDUCE=0 OMP_WAIT_POLICY=passive CMOCKA_MESSAGE_OUTPUT=STDOUT

# bug NAME SOURCE SED: found, and by what, or what stands in the way.
bug() {
  case $1 in *"$pattern"*) ;; *) return ;; esac
  place=$work/$n
  mkdir -p "$place/$(dirname "$2")"
  sed "$3" "$2" >"$place/$2"
  : >"$work/out"
  if cmp -s "$2" "$place/$2"; then echo "the change does not apply to $2" >"$work/held"; verdict 1 "$1"; return; fi
  if ! make -s BUILD="${build#"$PWD/"}" PLANTED="$place" SOURCE="$2" planted-program >"$work/held" 2>&1; then verdict 1 "$1"; return; fi
  "$place/test" >"$work/out" 2>"$work/err" </dev/null
  status=$?
  what=$(sed -n 's/^\(program [0-9]*, [^:]*\): .*/\1/p' "$work/err" | head -1)
  rm -rf "$place"
  [ -n "$what" ] || what=$(grep -o '[1-9][0-9]* batches died' "$work/out")
  [ $status != 0 ] && [ -n "$what" ] # not found is what fails here
  verdict $? "$1: $what"
}

bug "a wrong gradient" compiler/ops/elementwise.c '/^VJP(softplus)/s/OP_sigmoid/OP_tanh/'
bug "a reduction without the mask of its tail" compiler/lower_reduce.c 's/v = lx_select(valid, v, neutral(.*/v = lx_select(valid, v, v);/'
bug "a tile one strip short" compiler/sched_gemm.c 's/t.strip1 = lx_addi(t.strip0, g->tile_strips)/t.strip1 = lx_addi(t.strip0, g->tile_strips - (g->tile_strips > 1))/'
bug "a broadcast along the wrong axis" compiler/fold_move.c 's/axes\[i\] = inverse\[x->attr.i\[i\]\]/inverse[0] = 0, axes[i] = n->attr.i[x->attr.i[i]]/'
bug "a fold that ignores a sign" compiler/fold_arith.c '/x->op == OP_sub) return fold_binary(f, OP_sub, x->in\[1\], x->in\[0\])/s/in\[1\], x->in\[0\]/in[0], x->in[1]/'
bug "two random sites taken for one" compiler/pass_cse.c 's/r.map\[i\] = rewrite_copy(&r, g->nodes.data\[i\]);/{\
    const struct node *x = g->nodes.data[i];\
    r.map[i] = rewrite_copy(\&r, x);\
    for (int j = 0; j < i \&\& (x->op == OP_random_uniform || x->op == OP_random_normal); j++)\
      if (g->nodes.data[j]->op == x->op \&\& type_eq(\&g->nodes.data[j]->type, \&x->type)) r.map[i] = r.map[j];\
  }/'
bug "a reduction that forgets a tail" compiler/lower_reduce.c 's/if (s->tail == 0) return;/if (s->tail <= 1) return;/'
bug "a product taken for symmetric" compiler/fold_move.c 's/return x->in\[0\] == x->in\[1\] && x->attr/return x->attr/'
bug "the padding of the other axis" compiler/lower_pool.c 's/-p->pad\[1\]/-p->pad[0]/'
bug "an update before the last reader of the old value" compiler/plan.c 's/^    follow_readers(o, writer, old);$//'
echo "1..$n"
