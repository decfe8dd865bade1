#!/bin/sh
# All benchmarks: bench/run.sh [BUILD]
set -eu
cd "$(dirname "$0")/.."
export BUILD="${1:-build}"
bench/step.sh fashion_mnist 5 20
bench/step.sh cifar10 3 2
