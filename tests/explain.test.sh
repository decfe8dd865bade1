#!/bin/sh
# btc explain: regions, kernels in order with source and buffers, totals; the graph for dot.
set -u
. "$(dirname "$0")/tap.sh"
export BTC_TUNED=
cat >"$work/model.btg" <<'MODEL'
import std.mlp
import std.objectives
import std.optim
const n = 7
const d = 69
projector = mlp([8, d])
program pretrain {
  data x: f32[n, 5], y: f32[n, 5]
  let za = projector(x)
  let zb = projector(y)
  minimize barlow_twins(za, zb, 0.01)
  optimizer sgd(lr: 0.1)
}
program features {
  data x: f32[n, 5], y: i32[n]
  evaluate knn(eval(projector)(x), y)
}
MODEL
cd "$work" || exit 2
model=model.btg

# ---- regions ----
"$btc" explain $model >all
expect 'the region, and where it is' 0 out '^  region pretrain/objective$' "$btc" explain $model objective
expect 'its line' 0 out '^    objectives.btg:[0-9]* *let c = ' "$btc" explain $model objective
expect 'what comes in' 0 out '^    from za: f32\[7, 69\], zb: f32\[7, 69\]$' "$btc" explain $model objective
expect 'the choice' 0 out '^  \* fused ' "$btc" explain $model objective
expect 'by whose word' 0 out 'chosen: it has the least predicted time' "$btc" explain $model objective
expect 'by --variant' 0 out 'chosen: by --variant' "$btc" explain $model objective --variant objective=unfused
{ cat $model; echo 'schedule { objective: fused }'; } >s.btg
expect 'by the file' 0 out 'chosen: by the schedule block' "$btc" explain s.btg objective
expect 'what was rewritten, and where' 0 out '^ *- the diagonal of .* (objectives.btg:[0-9]*)$' "$btc" explain $model objective
expect 'a refusal, with its reason' 0 out 'streamed *refused: .* is no larger than one panel' "$btc" explain $model objective
expect 'single products only where asked for' 0 out '^  region pretrain/projector.0/forward@a$' "$btc" explain $model projector.0/forward@a
holds 'else not' sh -c '! grep "region.*projector" all' sh
expect 'but for a choice' 0 out '^  region pretrain/projector.0/forward@a$' "$btc" explain $model --variant projector.0/forward@a=blas

# ---- kernels ----
holds 'every kernel, in order' sh -c '
  "$0" compile model.btg --emit=kernels --program pretrain | grep "^ *[0-9]* [a-z_0-9]*: " | sed "s/^ *//; s/: .*//" >kernels
  "$0" explain model.btg --program pretrain | grep "^  *[0-9][0-9]* [a-z_0-9]*  [a-z%]" | sed "s/^ *//; s/  .*//" >explained
  [ -s kernels ] && cmp kernels explained' "$btc"
expect 'the equation' 0 out "^        p\[7,8\] = x x_2' over 5" "$btc" explain $model matmul_sum_1
expect 'the lines that it stands for' 0 out "^        nn.btg:[0-9]* *let y = x @ weight'" "$btc" explain $model matmul_sum_1
expect 'cost and bound' 0 out '^        [0-9.]* k*FLOP, [0-9.]* [KB].*, [0-9.]* flop/byte: launch-bound, [0-9.]* us$' "$btc" explain $model matmul_sum_1
expect 'compute-bound where it is large' 0 out 'flop/byte: compute-bound' "$btc" explain $model -D d=2048 -D n=512 --variant objective=unfused
expect 'memory-bound where little is done' 0 out 'flop/byte: memory-bound' "$btc" explain $model -D d=2048 -D n=512 --variant objective=unfused
expect 'a parameter that is read' 0 out '^        reads   [a-z_0-9]* *f32\[8, 5\] *parameter projector.0.weight *160 B$' "$btc" explain $model matmul_sum_1
expect 'an input' 0 out '^        reads .* f32\[7, 5\] *input x ' "$btc" explain $model matmul_sum_1
holds 'a place in the arena' grep -q '^        writes  .* arena+[0-9]* ' all
holds 'a result' grep -q '^        writes .* output loss ' all
holds 'an update in place' grep -q '^        updates .* parameter projector.[0-9].weight  ' all
expect 'which region it is of' 0 out '/sum  of pretrain/objective$' "$btc" explain $model objective
holds 'a neighbour that it is not one with, and why' grep -q '^        not one with [0-9]* [a-z_0-9]*: they run over different spaces$' all
expect 'products that the schedule keeps apart' 0 out 'not one with .*: the schedule keeps products by themselves' "$btc" explain $model --variant objective=unfused
holds 'which are one when fused' sh -c '! "$0" explain model.btg objective --variant objective=fused | grep "keeps products by themselves"' "$btc"
expect 'a line of each kind of large work' 0 out 'conv2d' "$btc" explain "$OLDPWD/examples/fashion_mnist.btg" 'conv2d*' --program knn

# ---- totals ----
holds 'totals are those of check' sh -c '
  kernels=$("$0" check model.btg --program pretrain --json | sed -n "s/.*\"kernels\": \([0-9]*\),/\1/p")
  "$0" explain model.btg --program pretrain | grep -q "^  total: $kernels kernels, "' "$btc"
holds 'kinds of bound add up' awk '/^program/ {sum = 0} /^  total: / {total = $2} /-bound / {if ($3 == "kernels,") sum += $2} /^  memory: / {if (sum != total) bad = 1; seen++} END {exit bad || seen != 2}' all
expect 'of a part' 0 out '^  total of these: ' "$btc" explain $model objective

# ---- what is asked for ----
expect 'both programs' 0 out '^program features' "$btc" explain $model
holds 'one program' sh -c '! "$0" explain model.btg --program pretrain | grep "^program features"' "$btc"
expect 'a function' 0 out '^  region barlow_twins/objective$' "$btc" explain $model --function barlow_twins --shape za=6x8 --shape zb=6x8 -D lambda=0.1
expect 'nothing of that name' 1 err "no region and no kernel is called 'nothing'; without it all are shown" "$btc" explain $model nothing
expect 'a name like it' 1 err "no region and no kernel is called 'objektive'; did you mean 'objective'?" "$btc" explain $model objektive
expect 'both kinds' 2 err 'not both' "$btc" explain $model --program pretrain --function barlow_twins
expect 'shapes of nothing' 2 err 'goes with --function' "$btc" explain $model --shape za=6x8

# ---- dot ----
"$btc" explain $model --format=dot >all.dot 2>err
holds 'one graph' sh -c '[ "$(grep -c "^digraph btc {$" "$1")" = 1 ] && [ "$(tail -1 "$1")" = "}" ]' sh all.dot
holds 'brackets and quotes close' awk '
  {line = $0; gsub(/\\./, "", line); quotes += gsub(/"/, "", line)}
  {gsub(/"[^"]*"/, "", $0); depth += gsub(/\{/, "{", $0) - gsub(/\}/, "}", $0)}
  END {exit depth != 0 || quotes % 2 || quotes == 0}' all.dot
holds 'every kernel is a node' sh -c '[ "$(grep -c "^ *p0k[0-9]* \[label=" all.dot)" = "$("$0" check model.btg --program pretrain --json | sed -n "s/.*\"kernels\": \([0-9]*\),/\1/p")" ]' "$btc"
holds 'edges join nodes that there are' awk '
  /^ *p[0-9]+[kb][0-9]+ \[/ {node[$1] = 1}
  / -> / {edges++; used[$1] = used[$3] = 1}
  END {for (name in used) if (!(name in node)) bad = 1; exit bad || !edges}' all.dot
holds 'the region is a cluster' grep -q 'label="pretrain/objective: fused";' all.dot
holds 'edges have sizes' grep -q -- '-> p0k[0-9]* \[label="f32\[7, 8\]\\n224 B"\];' all.dot
holds 'names are quoted' sh -c 'sed "s/program pretrain/program pre_train/" model.btg >q.btg && "$0" explain q.btg --format=dot | grep -q "label=\"program pre_train\""' "$btc"
if command -v dot >/dev/null; then holds 'dot reads it' dot -Tsvg -o all.svg all.dot; else skip 'dot reads it' 'Graphviz is not installed'; fi

cd "$OLDPWD" && echo "1..$n"
