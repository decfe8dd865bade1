#!/bin/sh
# The Barlow Twins objective, forward and backward, by shape: the variants that btc derives, PyTorch eager as
# the official code writes it, and the Gram form written by hand in PyTorch.
#
#   bench/objective.sh [ROUNDS [SECONDS [NxD…]]]
#
# The first round also compares every variant with the float64 interpreter, and ends here if one is wrong.
# Every round measures each shape in all of them, one after the other, SECONDS each, so that a noisy machine
# disturbs all. A round's figure is the median of its runs; printed are medians over the rounds, in
# milliseconds, and how many times as fast as both PyTorch forms what btc chooses is, beside the goal for two cores
# with AVX-512 and whether it is met. Medians and quartiles go to
# $BUILD/bench/objective.json. PyTorch gets its best settings (bench/step.sh).
set -eu
cd "$(dirname "$0")/.."
rounds=${1:-3}
seconds=${2:-2}
[ $# -gt 2 ] && { shift 2; shapes=$*; } || shapes='256x8192 256x2048 128x1024 2048x8192 1024x2048 4096x512 2048x2048'
build=${BUILD:-build}
python=${PYTHON:-/usr/bin/python3}
out=$build/bench/objective.json
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$build/bench"

torch=no
"$python" -c 'import torch' 2>/dev/null && torch=yes || echo "bench: no PyTorch (apt-get install python3-torch): btc alone" >&2

# One candidate a line: "NAME MS" and "chosen MS".
ours() {
  "$build/btc" bench stdlib/objectives.btg --function barlow_twins --shape "za=$1" --shape "zb=$1" \
    --seconds "$seconds" --threads 2 --json $check >"$work/json" 2>"$work/err" || { cat "$work/json" "$work/err" >&2; exit 1; }
  awk '{gsub(/[",]/, "")}
    $1 == "name:" {name = $2} $1 == "chosen:" {chosen = $2}
    $1 == "median_ms:" {print name, $2; if (chosen == "true") print "chosen", $2, name}' "$work/json"
}
theirs() {
  (cd bench && OMP_NUM_THREADS=2 OPENBLAS_CORETYPE=SkylakeX MALLOC_MMAP_THRESHOLD_=4294967296 \
    MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=1073741824 \
    "$python" torch_objective.py "${1%x*}" "${1#*x}" "$seconds")
}

check=
for round in $(seq "$rounds"); do
  for shape in $shapes; do
    echo "bench: round $round of $rounds, $shape" >&2
    ours "$shape" >"$work/round"
    [ $torch = no ] || theirs "$shape" >>"$work/round"
    sed "s/^/$shape /" "$work/round" >>"$work/samples"
  done
  check=--no-check
done

sort -k1,1 -k2,2 -k3,3g "$work/samples" |
  awk -v shapes="$shapes" -v torch=$torch -v rounds="$rounds" -v out="$out" -f bench/objective.awk
echo "bench: written to $out" >&2
