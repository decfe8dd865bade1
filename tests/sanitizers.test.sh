#!/bin/sh
# Every unit test once more, built with address and undefined sanitizers.
set -u
cd "$(dirname "$0")/.." || exit 2
build=${BUILD:-$PWD/build}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! make --no-print-directory BUILD="$build" check-sanitizers >"$log" 2>&1; then
  tail -40 "$log" >&2
  echo "1..1"; echo "not ok 1 - builds with sanitizers"; exit 1
fi
n=0
# OpenBLAS and OpenMP keep memory until the process ends; leaks are looked for in btc's own runs.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 CMOCKA_MESSAGE_OUTPUT=STDOUT
for t in "$build"/sanitize/tests/test_*; do
  [ -x "$t" ] || continue
  n=$((n + 1))
  if BUILD="$build/sanitize" BTC="$build/sanitize/btc" timeout 900 "$t" >"$log" 2>&1 </dev/null; then echo "ok $n - $(basename "$t")"
  else tail -60 "$log" >&2; echo "not ok $n - $(basename "$t")"; fi
done
echo "1..$n"
