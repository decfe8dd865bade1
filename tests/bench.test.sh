#!/bin/sh
# btc bench and btc tune: tables, JSON, exit statuses, and a store that later compilations read.
# Budgets are tiny: what is measured here is not the point.
set -u
. "$(dirname "$0")/tap.sh"
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
export BTC_TUNED="$work/cache/btc/tuned.json"

cat >"$work/model.btg" <<'MODEL'
import std.nn
import std.objectives
import std.optim

const batch = 19
const dim   = 13

layer = linear(dim)

fn energy(x: f32[n, d]) -> f32 = sum(x^2)

program pretrain {
  data xa: f32[batch, 7], xb: f32[batch, 7]
  minimize barlow_twins(layer(xa), layer(xb), 0.01)
  optimizer sgd(lr: 0.1)
  epochs 2
}
MODEL
model=$work/model.btg
small="--function barlow_twins --shape za=11x37 --shape zb=11x37"

# Both views are one: the diagonal is 1 but for rounding, and the loss and its gradient almost nothing.
cat >"$work/remainder.btg" <<'MODEL'
import std.objectives
fn one_view(z: f32[n, d]) -> f32 = barlow_twins(z, z, 0.0)
MODEL

# ---- bench ----
expect 'a function, all of its regions' 0 out '^barlow_twins/objective (za: f32\[11, 37\], zb: f32\[11, 37\])' "$btc" bench "$model" $small --seconds 0.05
for variant in unfused gram; do
  holds "$variant is timed and right" grep -q "^[* ] $variant  *[0-9.]* .*e-0[6-9]$" "$work/out"
done
holds 'one is chosen' test "$(grep -c '^\* ' "$work/out")" = 1
holds 'the peak of the machine' grep -q '^peak: [1-9][0-9]* GFLOP/s, [0-9.]* GB/s; .*threads: ' "$work/out"
expect 'a region of a program, on three threads' 0 out 'threads: 3$' "$btc" bench "$model" objective --program pretrain --seconds 0.05 --threads 3 --variant objective=unfused
holds 'and no other region' test "$(grep '^pretrain/' "$work/out" | cut -d' ' -f1)" = pretrain/objective
holds 'a forced variant is marked' grep -q '^\* unfused' "$work/out"
expect 'JSON' 0 out '"address": "barlow_twins/objective"' "$btc" bench "$model" $small --seconds 0.05 --json
for key in name chosen median_ms q1_ms q3_ms gflops peak_share gbps temporaries error peak_gflops threads; do
  holds "JSON has $key" grep -q "\"$key\": [^ ]" "$work/out"
done
expect 'a region that is none' 1 err "did you mean 'pretrain/objective'" "$btc" bench "$model" pretrain/objectiv
expect 'a variant that is none' 1 err "did you mean .gram" "$btc" bench "$model" $small --variant objective=grm
expect 'a function without products' 1 err 'no region with several variants' "$btc" bench "$model" --function energy --shape x=3x5
expect 'no time' 2 err 'not a number above 0' "$btc" bench "$model" --seconds 0
expect 'two variants alone' 0 out '^  unfused ' "$btc" bench "$model" $small --seconds 0.05 --only fused --only unfused
holds 'and no other' sh -c '! grep -q "^[* ] gram" "$0" && grep -q "^[* ] fused" "$0"' "$work/out"
expect 'unchecked' 0 out '^[* ] gram .* MB  *-$\|^[* ] gram .* kB  *-$' "$btc" bench "$model" $small --seconds 0.05 --no-check
expect 'unchecked, in JSON' 0 out '"checked_against": null' "$btc" bench "$model" $small --seconds 0.05 --no-check --only gram --json
expect 'only what is none' 1 err "no region has such a variant; did you mean 'gram'" "$btc" bench "$model" $small --only grm
expect 'only what was refused' 1 err 'cannot be computed so: the product .* is no larger than one panel' "$btc" bench "$model" $small --only streamed
expect 'what is nothing but rounding is no mistake' 0 out 'rounding: ' "$btc" bench "$work/remainder.btg" --function one_view --shape z=33x7 --seconds 0.05
expect 'shapes without a function' 2 err 'goes with --function' "$btc" bench "$model" --shape x=3x5

# ---- a wrong kernel ----
# A function of the user's that writes nothing but a loss, of its own.
cat >"$work/own.btg" <<'MODEL'
import std.nn
import std.optim

layer = linear(13)

fn likeness(a: f32[n, d], b: f32[n, d]) -> f32 = sum((a' @ b)^2) / n

program pretrain {
  data xa: f32[11, 7], xb: f32[11, 7]
  minimize likeness(layer(xa), layer(xb))
  optimizer sgd(lr: 0.1)
  epochs 2
}
MODEL
cat >"$work/hasty.c" <<'KERNEL'
void hasty(const float *a, const float *b, float *loss, float *d_a, float *d_b) { loss[0] = a[0] * b[0]; }
KERNEL
printf 'schedule pretrain { objective: kernel("hasty.c", "hasty") }\n' >>"$work/own.btg"
expect 'a wrong kernel of the user is found' 1 out '^  hasty .* infinite  WRONG: d_' "$btc" bench "$work/own.btg" objective --seconds 0.05
holds 'and it alone' test "$(grep -c WRONG "$work/out")" = 1
expect 'tune does not take it' 0 out '^    hasty .*WRONG' env BTC_TUNED= "$btc" tune "$work/own.btg" objective --seconds 0.05

# One that does not compile leaves the others.
printf 'void hasty(const float *a) { nonsense }\n' >"$work/hasty.c"
expect 'a kernel that does not compile is named' 1 out '^  hasty  *does not compile$' "$btc" bench "$work/own.btg" objective --seconds 0.05
holds 'the others are timed and right' grep -q '^[* ] unfused  *[0-9.]* .*e-0[6-9]$' "$work/out"
holds 'and the C compiler is heard' grep -q 'nonsense' "$work/err"
expect 'tune goes on too' 1 out '^    hasty  *does not compile$' env BTC_TUNED= "$btc" tune "$work/own.btg" objective --seconds 0.05
holds 'and finds the fastest of the others' grep -q '^  objective: ' "$work/out"
expect 'alone it is an error' 1 err 'the C compiler did not accept' "$btc" bench "$work/own.btg" objective --only hasty

# ---- tune ----
expect 'tune stores' 0 out "^stored in $BTC_TUNED" "$btc" tune "$model" --seconds 0.5
cp "$work/out" "$work/tuned"
sed -n '/^schedule pretrain {/,/^}/p' "$work/tuned" >"$work/schedule"
holds 'it prints a schedule' grep -q '^  objective: ' "$work/schedule"
expect 'the choice is read' 0 out 'by tuned' "$btc" variants "$model" objective
expect 'with another constant too' 0 out 'by tuned' "$btc" variants "$model" objective -D batch=19
expect 'but not at another size' 0 out 'by cost' "$btc" variants "$model" objective -D batch=18
expect 'nor with --no-tuned' 0 out 'by cost' "$btc" variants "$model" objective --no-tuned
expect 'nor with an empty BTC_TUNED' 0 out 'by cost' env BTC_TUNED= "$btc" variants "$model" objective
expect 'another file with the same objective profits' 0 out 'by tuned' sh -c 'sed "s/pretrain/learn/; s/0.01/0.02/; s/layer/head/g" "$1" >"$2/other.btg" && "$0" variants "$2/other.btg" objective' "$btc" "$model" "$work"
cat "$model" "$work/schedule" >"$work/pasted.btg"
expect 'the schedule can be pasted' 0 out 'by schedule' "$btc" variants "$work/pasted.btg" objective --no-tuned
expect 'and compiles' 0 out . env BTC_TUNED= "$btc" compile "$work/pasted.btg" --emit=c
expect 'tune says that the schedule comes first' 0 out 'the file.s .schedule. asks for .* here, and comes before what is stored' env BTC_TUNED= "$btc" tune "$work/pasted.btg" objective --seconds 0.1
expect 'tune of a function tries arguments' 0 out '(mc: \|(kc: \|(nc: ' "$btc" tune "$model" --function barlow_twins --shape za=11x131 --shape zb=11x131 --seconds 200
expect 'both are kept' 0 out 'by tuned' "$btc" variants "$model" objective
expect 'tune without a store' 0 out '^schedule' env BTC_TUNED= "$btc" tune "$model" objective --seconds 0.1
holds 'stores nothing' sh -c '! grep -q "^stored" "$0"' "$work/out"
printf '{"version": 1, "proc' >"$BTC_TUNED"
expect 'a damaged store is ignored' 0 out 'by cost' "$btc" variants "$model" objective
holds 'with a warning' grep -q 'warning: .*tuned.json is damaged' "$work/err"
expect 'once' 0 err . "$btc" compile "$model" --emit=kernels
holds 'a compilation' test "$(grep -c damaged "$work/err")" = 1
expect 'tune makes it anew' 0 out '^stored in' "$btc" tune "$model" objective --seconds 0.1
expect 'and it is read' 0 out 'by tuned' "$btc" variants "$model" objective
holds 'a store that cannot be written' sh -c '
  BTC_TUNED=/dev/null/x/tuned.json "$0" tune "$1" objective --seconds 0.1 2>"$2/err"
  [ $? = 1 ] && grep -q "cannot make the folder" "$2/err"' "$btc" "$model" "$work"

echo "1..$n"
