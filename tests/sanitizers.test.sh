#!/bin/sh
# Address and undefined sanitizers over the unit tests, and over btc itself on every file of tests/errors
# and tests/syntax, the models and an example; there leaks are looked for too.
set -u
cd "$(dirname "$0")/.." || exit 2
build=${BUILD:-$PWD/build}
build=${build#"$PWD/"} # make takes no spaces, as there may be above this folder
work=$(mktemp -d)
log=$work/log
trap 'rm -rf "$work"' EXIT
if ! make --no-print-directory BUILD="$build" check-sanitizers >"$log" 2>&1; then
  tail -40 "$log" >&2
  echo "1..1"; echo "not ok 1 - builds with sanitizers"; exit 1
fi
n=0
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}" UBSAN_OPTIONS=print_stacktrace=1 CMOCKA_MESSAGE_OUTPUT=STDOUT
btc=$build/sanitize/btc

# Left out: tests that spend minutes in the host C compiler, on generated code that carries no sanitizer.
# What they call of btc, the others call too.
#   test_conv             some hundred convolution kernels, at three vector widths
#   test_codegen          whole programs compiled and run
#   test_reference_files  each reference function compiled
#   test_random_programs  runs here on a few of its programs
compile_heavy=" test_conv test_codegen test_reference_files "
export BTC_RANDOM_PROGRAMS=6

# OpenBLAS and OpenMP keep memory until the process ends, and tests do not free what they only look at.
export ASAN_OPTIONS=detect_leaks=0
for t in "$build"/sanitize/tests/test_*; do
  [ -x "$t" ] || continue
  name=$(basename "$t")
  case $compile_heavy in *" $name "*) continue ;; esac
  n=$((n + 1))
  if BUILD="$build/sanitize" BTC="$btc" timeout 300 "$t" >"$log" 2>&1 </dev/null; then echo "ok $n - $name"
  else tail -60 "$log" >&2; echo "not ok $n - $name"; fi
done

# ---- btc ----
# A wrong file is refused with exit status 1; an internal error ends otherwise, a sanitizer's finding is
# seen in what it says.
export ASAN_OPTIONS=detect_leaks=1
bad=0
clean() { # clean COMMAND…
  timeout 120 "$@" >/dev/null 2>"$log" </dev/null
  status=$?
  [ $status -le 1 ] && ! grep -q 'Sanitizer\|runtime error:' "$log" && return
  bad=$((bad + 1))
  { echo "exit status $status: $*"; grep -v '^ *$' "$log" | tail -40; } >&2
}
verdict() { # verdict NAME: nothing bad since the last one
  n=$((n + 1))
  if [ $bad = 0 ]; then echo "ok $n - $1"; else echo "not ok $n - $1: $bad runs"; fi
  bad=0
}

for f in tests/errors/*.btg tests/errors/parts/*.btg tests/syntax/*.btg; do clean "$btc" check "$f"; done
verdict "btc check on wrong files"
for f in tests/syntax/*.btg; do clean "$btc" compile --emit=ast "$f"; done
verdict "btc compile --emit=ast on tests/syntax"
for f in tests/models/*.btg examples/*.btg; do clean "$btc" check --json "$f"; done
verdict "btc check --json on models and examples"
for f in tests/models/small.btg tests/models/stdlib.btg examples/fashion_mnist.btg; do
  for level in graph grad kernels loops c; do clean "$btc" compile --emit=$level "$f"; done
done
for f in tests/passes/*.graph; do clean "$btc" compile "$f"; done
verdict "btc compile --emit on models, and on graphs"
clean "$btc" gradcheck tests/models/small.btg
clean "$btc" gradcheck examples/fashion_mnist.btg -D batch=4 -D width=2 -D dim=4
clean "$btc" gradcheck tests/models/small.btg --function energy --shape x=4x5
verdict "btc gradcheck"
for f in tests/models/small.btg examples/fashion_mnist.btg; do
  clean "$btc" variants "$f"
  clean "$btc" explain "$f"
  clean "$btc" explain "$f" --format=dot
done
clean "$btc" variants examples/fashion_mnist.btg --program pretrain --prototype objective
verdict "btc variants, btc explain"
clean "$btc" doctor
verdict "btc doctor"

echo "1..$n"
