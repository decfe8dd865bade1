#!/bin/sh
# Random numbers in programs, in a compiled trainer: neither threads nor resuming change a draw, the seed and
# the step do; a program that measures draws anew for each batch.
set -u
. "$(dirname "$0")/tap.sh"
trap 'rm -rf "$work"' EXIT

train=$work/train
holds 'compile a model that draws' "$btc" compile tests/models/draws.btg -o "$train"
fit() { # fit OUT options…: twelve steps of ten an epoch
  to=$1; shift
  "$train" train --data synthetic:240 --out "$work/$to" --steps 12 --log-every 1 --quiet "$@"
}
# Every number of the log but times.
values() { sed -n '/"event":"step"/ { s/"\(seconds\|images_per_s\)":[-+0-9.e]*,\{0,1\}//g; p; }' "$work/$1/train/log.jsonl"; }
same() { values "$1" >"$work/a"; values "$2" >"$work/b"; [ -s "$work/a" ] && cmp "$work/a" "$work/b" && cmp "$work/$1/train/last.safetensors" "$work/$2/train/last.safetensors"; }
distinct() { values one | sed -n 's/.*"'"$1"'":\([-0-9.e]*\).*/\1/p' | sort -u | wc -l; }

holds 'one thread' fit one --seed 9 --threads 1
holds 'two threads' fit two --seed 9 --threads 2
holds 'they log and learn the same, bit for bit' same one two
holds 'stop' fit stopped --seed 9 --stop-at 5
holds 'resume' fit stopped --resume
holds 'a resumed run draws what the whole run drew' same one stopped
holds 'every step draws a Beta anew' test "$(distinct share)" = 12
holds 'and a permutation' test "$(distinct first)" -ge 6
holds 'another seed' fit other --seed 10
holds 'draws other numbers' sh -c '! cmp -s "$0" "$1"' "$work/one/train/last.safetensors" "$work/other/train/last.safetensors"

"$train" measure --data synthetic:4800 --out "$work/one" --seed 1 >"$work/out" 2>&1
awk '$1 == "draw:" {mean = $2} $1 == "square:" {square = $2} END {exit !(square - mean * mean > 0.02)}' "$work/out"
verdict $? 'a program that measures draws anew for each batch'
"$train" measure --data synthetic:4800 --out "$work/one" --seed 2 >"$work/again" 2>&1
holds 'by its seed' sh -c '! cmp -s "$0" "$1"' "$work/out" "$work/again"

echo "1..$n"
