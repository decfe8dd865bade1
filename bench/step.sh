#!/bin/sh
# Step times of an example, btc and PyTorch interleaved: bench/step.sh MODEL [ROUNDS [STEPS]]
#
# Every round times STEPS steps of each, one after the other, so that a noisy machine disturbs both;
# printed are the medians over the rounds and their ratio. PyTorch gets its best settings: the right
# OpenBLAS core, an allocator that keeps its memory, the faster of NCHW and channels_last. btc needs none.
set -eu
cd "$(dirname "$0")/.."
model=${1:?usage: bench/step.sh MODEL [ROUNDS [STEPS]]}
rounds=${2:-5}
steps=${3:-10}
build=${BUILD:-build}
python=${PYTHON:-/usr/bin/python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$build/btc" compile "examples/$model.btg" -o "$work/train"
torch=no
"$python" -c 'import torch' 2>/dev/null && torch=yes || echo "bench: no PyTorch (apt-get install python3-torch): btc alone" >&2

for round in $(seq "$rounds"); do
  "$work/train" pretrain --data synthetic --bench "$steps" --out "$work/run" --json --quiet |
    sed -n 's/.*"step_ms":\([0-9.]*\).*/\1/p' >>"$work/btc"
  if [ $torch = yes ]; then
    (cd bench && OPENBLAS_CORETYPE=SkylakeX MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 \
      MALLOC_TOP_PAD_=1073741824 "$python" torch_step.py "$model" "$steps") | awk '{print $1}' >>"$work/torch"
  fi
done

median() { sort -n "$1" | awk '{a[NR] = $1} END {print (NR % 2) ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2}'; }
ours=$(median "$work/btc")
if [ $torch = yes ]; then
  peer=$(median "$work/torch")
  awk -v m="$model" -v a="$ours" -v b="$peer" -v r="$rounds" 'BEGIN {
    printf "%s: btc %.1f ms, PyTorch eager %.1f ms, ratio %.2f (medians of %d rounds)\n", m, a, b, a / b, r}'
else
  echo "$model: btc $ours ms"
fi
