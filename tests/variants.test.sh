#!/bin/sh
# Regions and their variants as users meet them: btc variants, --variant, `schedule` blocks, and that a
# choice changes how a step is computed but not what.
set -u
. "$(dirname "$0")/tap.sh"

cat >"$work/body" <<'MODEL'
import std.mlp
import std.objectives
import std.optim
const n = 7
const d = 9
projector = mlp([8, d])
fn twins(za: f32[n, d], zb: f32[n, d], lambda: float) -> f32 {
  let c = standardize(za)' @ standardize(zb) / n
  return sum((diag(c) - 1)^2) + lambda * sum(offdiag(c)^2)
}
program pretrain {
  data x: f32[n, 5], y: f32[n, 5]
  let za = projector(x)
  let zb = projector(y)
  minimize twins(za, zb, 0.01)
  optimizer sgd(lr: 0.1)
}
program features {
  data x: f32[n, 5], y: i32[n]
  evaluate knn(eval(projector)(x), y)
}
MODEL
model=$work/model.btg
cp "$work/body" "$model"

# scheduled NAME STATUS STREAM PATTERN BLOCK: btc check of the model with this `schedule` block.
scheduled() {
  { cat "$work/body"; echo "$5"; } >"$work/scheduled.btg"
  expect "$1" "$2" "$3" "$4" "$btc" check "$work/scheduled.btg"
}

# ---- the list ----
expect 'the objective, where it is written' 0 out '^pretrain/objective   model.btg:8' "$btc" variants "$model"
expect 'what goes in' 0 out '^  from za: f32\[7, 9\], zb: f32\[7, 9\]$' "$btc" variants "$model" objective
expect 'what comes out' 0 out '^  to loss: f32, d_za: f32\[7, 9\], d_zb: f32\[7, 9\]$' "$btc" variants "$model" objective
expect 'a layer, forward' 0 out '^pretrain/projector.0/forward@a ' "$btc" variants "$model"
expect 'a layer, backward, of the second view' 0 out '^pretrain/projector.3/dweight@b ' "$btc" variants "$model"
expect 'the default is marked' 0 out '^  \* gemm ' "$btc" variants "$model" projector.0
expect 'the other product' 0 out '^    blas ' "$btc" variants "$model" projector.0
holds 'an operand narrows the list' sh -c '[ "$("$0" variants "$1" "projector.?/forward" --program pretrain | grep -c ^pretrain)" = 4 ]' "$btc" "$model"
holds 'a program narrows the list' sh -c '"$0" variants "$1" --program features | grep -q ^features && ! "$0" variants "$1" --program features | grep ^pretrain' "$btc" "$model"
expect 'an operand that is no region' 1 err "no region is called 'objektive'; did you mean 'objective'?" "$btc" variants "$model" objektive
expect 'with its program' 1 err "did you mean 'pretrain/objective'?" "$btc" variants "$model" pretrain/objektive
expect 'an operand like nothing' 1 err "no region is called 'nothing'; without it all are listed" "$btc" variants "$model" nothing
for operand in pretrain pretrain/ 'pretrain/*'; do
  holds "$operand is all of the program" sh -c '"$0" variants "$1" "$2" >"$3" && grep -q ^pretrain/objective "$3" && grep -q ^pretrain/projector "$3" && ! grep ^features "$3"' "$btc" "$model" "$operand" "$work/listed"
done
expect 'a folder, so to say' 0 out '^pretrain/projector.0/forward@a ' "$btc" variants "$model" projector.0/
expect 'a glob is not for programs' 1 err "no region is called 'pre[*]'" "$btc" variants "$model" 'pre*'
expect 'a program that is none' 1 err "did you mean 'pretrain'" "$btc" variants "$model" --program pretrian
expect 'a function with its gradients' 0 out '^barlow_twins/objective ' "$btc" variants "$model" --function barlow_twins --shape za=6x8 --shape zb=6x8 -D lambda=0.1
expect "a function's shapes by the constants of the file" 0 out '^  from za: f32.7, 9., ' "$btc" variants "$model" --function barlow_twins
expect 'a function without shapes' 1 err 'give --shape logits=' "$btc" variants "$model" --function cross_entropy
expect 'JSON' 0 out '"chosen_by": "--variant"' "$btc" variants "$model" --json --variant objective=unfused
if command -v python3 >/dev/null; then
  holds 'JSON has a price for every variant' sh -c '
    "$0" variants "$1" --json | python3 -c "
import json, sys
for p in json.load(sys.stdin)[\"programs\"]:
    for r in p[\"regions\"]:
        assert sum(v[\"chosen\"] for v in r[\"variants\"]) == 1
        for v in r[\"variants\"]:
            assert v[\"flops\"] > 0 and v[\"bytes\"] > 0 and v[\"kernels\"] > 0 and v[\"predicted_seconds\"] > 0, v
"' "$btc" "$model"
else
  skip 'JSON has a price for every variant' 'no python3'
fi

# ---- --variant ----
by_option='by --variant$'
expect '--variant' 0 out "^  \* unfused .*$by_option" "$btc" variants "$model" objective --variant objective=unfused
expect 'with the program' 0 out "^  \* blas .*$by_option" "$btc" variants "$model" projector.0/forward@a --variant pretrain/projector.0/forward@a=blas
expect 'by the beginning of an address' 0 out "^  \* blas .*$by_option" "$btc" variants "$model" projector.0/dweight@b --variant projector.0=blas
expect 'by the program' 0 out "^  \* blas .*$by_option" "$btc" variants "$model" projector.0/dweight@b --variant pretrain=blas
expect 'a glob, for those that have it' 0 out "^  \* blas .*$by_option" "$btc" variants "$model" projector.3/dinput@b --variant '*=blas'
holds 'which leaves the others alone' sh -c '! "$0" variants "$1" objective --variant "*=blas" | grep -q "by --variant"' "$btc" "$model"
expect 'a whole address counts more than a glob' 0 out "^  \* gemm .*$by_option" "$btc" variants "$model" projector.0/forward@a --variant '*=blas' --variant projector.0/forward@a=gemm
expect 'wherever it stands' 0 out "^  \* gemm .*$by_option" "$btc" variants "$model" projector.0/forward@a --variant projector.0/forward@a=gemm --variant '*=blas'
expect 'and a beginning more than a glob' 0 out "^  \* gemm .*$by_option" "$btc" variants "$model" projector.0/forward@a --variant projector=gemm --variant '*=blas'
expect 'blocks' 0 out "^  \* gemm .*$by_option" "$btc" variants "$model" projector.0/forward@a --variant 'projector.0/forward@a=gemm(mc: 32, kc: 64, nc: 48)'
expect 'no such region' 1 err "no region is called 'objektive'; did you mean 'objective'?" "$btc" check "$model" --variant objektive=unfused
expect 'nothing like it' 1 err 'btc variants. lists' "$btc" check "$model" --variant nothing=unfused
expect 'no such variant' 1 err "pretrain/objective has no variant .unfusd.; did you mean .unfused.?" "$btc" check "$model" --variant objective=unfusd
expect 'nothing like that either' 1 err "pretrain/objective has no variant .direct.; it has unfused" "$btc" check "$model" --variant objective=direct
expect 'a variant that does not fit' 1 err "pretrain/objective cannot be computed as .streamed.: the product" "$btc" check tests/models/small.btg --variant objective=streamed
expect 'and where it is' 1 err 'note: the region begins here' "$btc" check "$model" --variant objective=direct
expect 'two for one region' 1 err 'is given a variant twice' "$btc" check "$model" --variant objective=unfused --variant objective=fused
expect 'no name' 2 err 'expected ADDRESS=NAME' "$btc" check "$model" --variant objective
expect 'an argument that there is not' 2 err "did you mean 'panel'" "$btc" check "$model" --variant 'objective=streamed(pannel: 4)'
expect 'an argument of another variant' 2 err 'takes no .panel.' "$btc" check "$model" --variant 'objective=unfused(panel: 4)'
expect 'blocks of another variant' 2 err 'blas. takes no .kc.; .unfused., .*gram. and .gemm. do' "$btc" check "$model" --variant 'projector.0=blas(kc: 8)'
expect 'blocks of the most' 0 out '^program pretrain' "$btc" check "$model" --variant 'projector=gemm(mc: 1048576, kc: 1048576, nc: 1048576)'
for size in 0 -1 1048577 9223372036854775807 99999999999999999999; do
  expect "a block of $size" 2 err "'mc' needs a number from 1 to 1048576" "$btc" check "$model" --variant "objective=gram(mc: $size)"
done
expect 'a panel without end' 2 err "'panel' needs a number from 1 to 1048576" "$btc" check "$model" --variant 'objective=streamed(panel: 99999999999999999999)'
expect 'an argument that is no number' 2 err "needs a number from 1" "$btc" check "$model" --variant 'objective=streamed(panel: x)'
expect 'no closing parenthesis' 2 err 'expected ADDRESS=NAME' "$btc" check "$model" --variant 'objective=streamed(panel: 4'
expect 'a product of f32 cannot be convolved' 1 err 'it has gemm, blas' "$btc" check "$model" --variant projector.0/forward@a=winograd

# ---- schedule ----
{ cat "$work/body"; echo 'schedule pretrain { objective: unfused  "projector.?/d*": blas }'; } >"$work/s.btg"
expect 'a schedule' 0 out '^  \* unfused .*by schedule$' "$btc" variants "$work/s.btg" objective
expect 'a glob in it' 0 out '^  \* blas .*by schedule$' "$btc" variants "$work/s.btg" projector.3/dinput@a
expect '--variant counts more' 0 out "^  \* gemm .*$by_option" "$btc" variants "$work/s.btg" projector.3/dinput@a --variant '*=gemm'
expect 'a schedule for a program that is not looked at' 0 out '^features/' "$btc" variants "$work/s.btg" --program features
sed '/^  optimizer/a\  pass test { report twins: twins(projector(x), projector(y), 0.01) }' "$work/body" >"$work/passes"
{ cat "$work/passes"; echo 'schedule pretrain { objective: unfused  "projector.0": blas }'; } >"$work/s.btg"
expect 'a schedule is for the passes of its program' 0 out '^  \* blas .*by schedule$' "$btc" variants "$work/s.btg" pretrain.test/projector.0
{ cat "$work/s.btg"; echo 'schedule { "pretrain.test/projector.0": gemm }'; } >"$work/own.btg"
expect 'a pass may have its own' 0 out '^  \* gemm .*by schedule$' "$btc" variants "$work/own.btg" pretrain.test/projector.0
expect 'which is not for its program' 0 out '^  \* blas .*by schedule$' "$btc" variants "$work/own.btg" pretrain/projector.0
scheduled 'no such region in a schedule' 1 err 'scheduled.btg:22:12: error: no region is called .objektive.; did you mean .objective.?' 'schedule { objektive: unfused }'
scheduled 'of that program' 1 err 'no region of program features is called .objective.' 'schedule features { objective: unfused }'
scheduled 'no such variant in a schedule' 1 err ':22:23: error: pretrain/objective has no variant .unfusd.; did you mean .unfused.?' 'schedule { objective: unfusd }'
scheduled 'two entries for one region' 1 err ':22:31: error: pretrain/objective is given a variant twice' 'schedule { objective: unfused objective: blas }'
scheduled 'and the place of the first' 1 err ':22:12: note: the first is here' 'schedule { objective: unfused objective: blas }'
scheduled 'two blocks' 0 out '^program pretrain' 'schedule { objective: unfused } schedule features { "projector.0": blas }'

# ---- the same gradients ----
# Those of every variant of every region against differences of the loss as it was written.
"$btc" variants "$model" --program pretrain >"$work/table"
awk '/^pretrain/ {address = $1} $1 == "*" {print address "=" $2; next} /^    [a-z]+ +[0-9]/ && address {print address "=" $1}' "$work/table" >"$work/all"
holds 'all variants are read' sh -c '[ "$(wc -l <"$0")" -ge 21 ]' "$work/all"
while read -r choice; do
  expect "gradients with $choice" 0 out 'good$' "$btc" gradcheck "$model" --variant "$choice"
done <"$work/all"
expect 'gradients of a function in a variant' 0 out 'good' "$btc" gradcheck "$model" --function barlow_twins --shape za=6x8 --shape zb=6x8 -D lambda=0.1 --variant objective=unfused

echo "1..$n"
