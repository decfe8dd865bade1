#!/bin/sh
# Runs every test and counts: tests/run.sh BUILD [PATTERN]
#
# A test is an executable that prints TAP: build/tests/test_* (cmocka) and tests/*.test.sh. One that
# exits non-zero, or ends before its plan, is a failure even where every line says ok. Output of a
# failed test is shown whole; the last line is `N passed, N failed, N skipped`.
set -u
cd "$(dirname "$0")/.." || exit 2
build=${1:-build}
pattern=${2:-}
results=$build/results
rm -rf "$results"; mkdir -p "$results"
case $build in /*) ;; *) build=$PWD/$build results=$PWD/$results ;; esac
export OMP_WAIT_POLICY=passive BTC_TUNED= BTC="$build/btc" BUILD="$build" CMOCKA_MESSAGE_OUTPUT=TAP OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"

run_one() { # test executable -> its verdict line
  name=$(basename "$1")
  start=$(date +%s)
  timeout 900 "$1" >"$results/$name.tap" 2>"$results/$name.err" </dev/null
  status=$?
  awk -v name="$name" -v status=$status -v seconds=$(($(date +%s) - start)) '
    /^(not )?ok .*# *[Ss][Kk][Ii][Pp]/ {skipped++; next} # cmocka says not ok of a skipped test
    /^ok / {passed++; next}
    /^not ok .*# *TODO/ {skipped++; next}
    /^not ok / {failed++; next}
    /^1\.\.[0-9]+/ {plan = substr($1, 4) + 0; planned = 1}
    END {
      seen = passed + failed + skipped
      note = ""
      if (planned && seen != plan) { note = "  (" seen " of " plan " ran)"; failed++ }
      else if (!seen) { note = "  (no test ran)"; failed++ }
      else if (status && !failed) { note = "  (exit status " status ")"; failed++ }
      printf "%-34s %4d passed %3d failed %3d skipped  %3d s%s\n", name, passed, failed, skipped, seconds, note
    }' "$results/$name.tap" >"$results/$name.line"
  cat "$results/$name.line"
  if ! grep -q ' 0 failed' "$results/$name.line"; then
    sed 's/^/    /' "$results/$name.tap" | grep -v '^    ok ' | head -100
    sed 's/^/    /' "$results/$name.err" | tail -60
  fi
}

# One that cannot be executed is a failure too.
for t in "$build"/tests/test_* tests/*.test.sh; do
  case $t in *"$pattern"*) run_one "$t" ;; esac
done

cat "$results"/*.line 2>/dev/null | awk '
  {p += $2; f += $4; s += $6}
  END {printf "%d passed, %d failed, %d skipped\n", p, f, s; exit f > 0 || p == 0}'
