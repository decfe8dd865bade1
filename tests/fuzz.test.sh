#!/bin/sh
# libFuzzer over the front end and the readers of files, under address and undefined sanitizers: the kept corpus and
# the seeds, then a few seconds of mutations. `make fuzz` does it for long, tests/fuzz/run.sh says how it works.
set -u
. "$(dirname "$0")/tap.sh"
build=${build#"$PWD/"} # make takes no spaces, as there may be above this folder

if ! tests/fuzz/run.sh needs "${CLANG:-clang-19}" 2>"$work/err"; then
  skip 'fuzzing' "$(head -1 "$work/err")"
else
  holds 'the fuzz targets build' make --no-print-directory BUILD="$build" fuzz-build
  holds 'the kept corpus and the seeds' tests/fuzz/run.sh replay "$build/fuzz"
  holds 'some seconds of fuzzing' tests/fuzz/run.sh fuzz "$build/fuzz" "${FUZZ_SECONDS:-20}"
  holds 'and of the readers of files' tests/fuzz/run.sh fuzz-loaders "$build/fuzz" 2
fi
echo "1..$n"
