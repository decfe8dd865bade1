#!/bin/sh
# Passes in a compiled trainer: their reports are what a program that measures reports, training is what it
# is without them, and a run that is stopped and resumed logs what a whole run logs.
set -u
. "$(dirname "$0")/tap.sh"

holds 'compile a model with passes' "$btc" compile tests/models/passes.btg -o "$work/train"
holds 'compile it without' "$btc" compile tests/models/passes.btg -o "$work/plain" -D passes=false
program=$work/train
run() { # run OUT OPTION…
  to=$1; shift
  "$program" train --data synthetic:200 --out "$work/$to" "$@"
}
# What the log says of pass $2 at step $3, without times.
line() { sed -n '/"event":"pass","step":'"$3"',.*"pass":"'"$2"'"/ { s/"seconds":[-+0-9.e]*,//; p; }' "$work/$1/train/log.jsonl"; }
field() { sed -n 's/.*"'"$1"'":\(-\{0,1\}[0-9.e+-]*\).*/\1/p'; } # field NAME: of the last line
near() { awk "BEGIN {d = $1 - ($2); exit !(d * d <= ($3)^2)}"; } # near VALUE WANTED TOLERANCE

expect 'a run' 0 err '^  test  loss [0-9.]*  drawn' run whole
holds 'the second pass over the test images has a line' grep -q '^  test_2  neighbours 0.[0-9]*  nearest 0' "$work/err"
holds 'so has one that reads only what was kept' grep -q '^  train_2  spread' "$work/err"
for step in 6 12 18; do
  holds "passes after step $step" test "$(line whole test $step | wc -l)" = 1 -a "$(line whole train_2 $step | wc -l)" = 1
done
holds 'draws are the same in each sweep, the model is not' test "$(line whole test 6 | field drawn)" != "$(line whole test 12 | field drawn)"
holds 'the epoch is the run'\''s' test "$(line whole test 12 | field at)" = 2.0

# The pass has the model after the last epoch in evaluation mode: so has a program that loads it.
"$program" check --data synthetic:200 --out "$work/whole" --json >"$work/out" 2>"$work/err"
holds 'a validation loss is what a program reports that loads the model' near "$(line whole test 18 | field loss)" "$(field value <"$work/out")" 1e-6
expect 'a program that minimises nothing has its passes once' 0 out '^test similarity: -\{0,1\}[0-9.]*$' "$program" measure --data synthetic:200 --out "$work/whole"
expect 'as JSON' 0 out '"pass":"test","report":"similarity","value":.*,"test_images":32}' "$program" measure --data synthetic:200 --out "$work/whole" --json

program=$work/plain
holds 'the same without passes' run without --quiet
tensors() { tail -c +$(($(od -An -tu8 -N8 "$work/$1/train/last.safetensors") + 9)) "$work/$1/train/last.safetensors"; } # behind the header
tensors whole >"$work/a"; tensors without >"$work/b"
holds 'trains the same model, bit for bit' cmp "$work/a" "$work/b"
holds 'which is one' test -s "$work/a"
program=$work/train
holds 'one thread' run one --quiet --threads 1
holds 'trains and reports the same' sh -c 'cmp "$0/whole/train/last.safetensors" "$0/one/train/last.safetensors"' "$work"
line whole test_2 18 >"$work/a"; line one test_2 18 >"$work/b"
holds 'its neighbours too' cmp "$work/a" "$work/b"

# ---- stopping ---------------------------------------------------------------------------------
for stop in 6 9; do
  holds "stop at $stop" run s$stop --quiet --stop-at $stop
  holds 'go on' run s$stop --quiet --resume
  holds 'stopped and resumed equals uninterrupted' cmp "$work/whole/train/last.safetensors" "$work/s$stop/train/last.safetensors"
  for pass in test train test_2 train_2; do line whole $pass 18; line whole $pass 6; done >"$work/a"
  for pass in test train test_2 train_2; do line s$stop $pass 18; line s$stop $pass 6; done >"$work/b"
  holds 'and so do its passes' cmp "$work/a" "$work/b"
done

# ---- what does not fit ------------------------------------------------------------------------
expect 'a split of another size' 1 err "keeps 200 rows of 'bank', .* sweeps 160 images" "$program" train --data synthetic:160 --out "$work/none"
expect 'fewer images than a batch' 1 err 'means over full batches of 32, but its split has 25 images' "$program" train --data synthetic:100 --out "$work/none"
expect 'a pass is no subcommand' 2 err "no program 'train.test'" "$program" train.test --data synthetic:200
expect 'info counts what passes keep' 0 out 'rows that passes keep' "$program" info --data synthetic:200
holds 'nothing was written by these' test ! -e "$work/none"
echo "1..$n"
