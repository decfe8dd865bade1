#!/bin/sh
# All benchmarks: bench/run.sh [BUILD]
set -eu
cd "$(dirname "$0")/.."
export BUILD="${1:-build}"
OMP_NUM_THREADS=2 "$BUILD/bench_conv"
OMP_NUM_THREADS=2 "$BUILD/bench_gemm"
bench/step.sh fashion_mnist 5 20
bench/step.sh cifar10 3 2
bench/objective.sh
bench/views.sh
