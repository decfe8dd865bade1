#!/bin/sh
# The demo: compiles fashion_mnist.btg, trains it, and holds the encoder against raw pixels and
# against its untrained self: examples/demo.sh [BUILD]
#
# Everything it makes lies in BUILD/demo; a finished run is used again (remove the folder to repeat).
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
out=$build/demo
mkdir -p "$out"
# Threads that wait give way soon: on an idle machine it costs nothing, on a busy one it halves the time.
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-1000}"

echo "== btc compile examples/fashion_mnist.btg -o $out/train"
"$build/btc" compile examples/fashion_mnist.btg -o "$out/train"
"$build/btc" check examples/fashion_mnist.btg

if [ -f "$out/run/pretrain.done" ]; then
  echo "== trained already (rm -r $out to repeat)"
else
  echo "== $out/train pretrain"
  "$out/train" pretrain --out "$out/run" --force
  touch "$out/run/pretrain.done"
fi

# accuracy PROGRAM [options]: in per cent
accuracy() {
  "$out/train" "$@" --out "$out/run" --quiet --json >"$out/accuracy.json" || return
  sed -n 's/.*"accuracy": *\([0-9.]*\).*/\1/p' "$out/accuracy.json" | awk '{printf "%.1f", 100 * $1}'
}
row() { # TITLE KNN-PROGRAM PROBE-PROGRAM [options]
  title=$1 knn=$2 probe=$3; shift 3
  a=$(accuracy "$knn" "$@"); b=$(accuracy "$probe" "$@"); c=$(accuracy "$probe" --labels 1% "$@") # each may fail
  printf '%-20s %8s %14s %22s\n' "$title" "$a" "$b" "$c"
}

echo
echo "Accuracy on the 10,000 test images, in per cent:"
echo
printf '%-20s %8s %14s %22s\n' "features" "kNN" "linear probe" "linear probe, 1% labels"
row "raw pixels" raw_knn raw_probe
row "untrained encoder" knn probe --untrained
row "trained encoder" knn probe
