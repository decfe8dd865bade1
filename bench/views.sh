#!/bin/sh
# The two views of Barlow Twins, btc's and torchvision's on PIL, one core each: bench/views.sh [ROUNDS [SECONDS]]
#
# Every round times each case in both, one after the other, SECONDS each, so that a noisy machine disturbs
# both; printed are the medians over the rounds, in microseconds for both views of one image, and their ratio.
set -eu
cd "$(dirname "$0")/.."
rounds=${1:-5}
seconds=${2:-1}
build=${BUILD:-build}
python=${PYTHON:-/usr/bin/python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

torch=no
"$python" -c 'import torchvision, PIL' 2>/dev/null && torch=yes ||
  echo "bench: no torchvision (apt-get install python3-torchvision): btc alone" >&2

cases='32 32-no-blur 224'
for round in $(seq "$rounds"); do
  for case in $cases; do
    OMP_NUM_THREADS=1 "$build/bench_views" "$case" "$seconds" >>"$work/btc.$case"
    [ $torch = no ] || OMP_NUM_THREADS=1 "$python" bench/views.py "$case" "$seconds" >>"$work/torch.$case"
  done
done

median() { sort -n "$1" | awk '{a[NR] = $1} END {print (NR % 2) ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2}'; }
for case in $cases; do
  ours=$(median "$work/btc.$case")
  if [ $torch = yes ]; then
    awk -v c="$case" -v a="$ours" -v b="$(median "$work/torch.$case")" -v r="$rounds" 'BEGIN {
      printf "views %s: btc %.1f us, torchvision %.1f us a pair, %.1f times as fast (medians of %d rounds)\n", c, a, b, b / a, r}'
  else
    echo "views $case: btc $ours us a pair"
  fi
done
