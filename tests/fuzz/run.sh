#!/bin/sh
# What `make fuzz`, `make fuzz-coverage` and tests/fuzz.test.sh do with libFuzzer's targets (tests/fuzz/*.c):
#
#   run.sh needs CLANG             fails with the packages to install where there is no libFuzzer
#   run.sh fuzz BUILD SECONDS      fuzzes, the front end four fifths of the time
#   run.sh replay BUILD            the kept corpus and the seeds, without mutations
#   run.sh keep BUILD              adds to the kept corpus what fuzzing found that reaches more code
#   run.sh coverage BUILD          prints the lines of the front end that kept corpus and seeds reach
#
# Seeds are the repository's own texts, gathered anew; what is kept under tests/fuzz/corpus reaches more than they
# do. A finding is left as BUILD/findings/TARGET-crash-…; `BUILD/fuzz_TARGET FILE` repeats it.
set -eu
cd "$(dirname "$0")/../.."
targets="front_end graph_text stores"
# Of one input: seconds (on a busy machine), and memory.
limits="-timeout=120 -rss_limit_mb=3000 -max_len=4096"
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1}" UBSAN_OPTIONS=print_stacktrace=1 BTC_TUNED=

gather() { # gather BUILD: seeds and dictionary
  rm -rf "$1/seeds"
  for t in $targets; do mkdir -p "$1/seeds/$t" "$1/found/$t" "$1/findings"; done
  for f in stdlib/*.btg examples/*.btg tests/models/*.btg tests/errors/*.btg tests/errors/parts/*.btg tests/syntax/*.btg; do
    cp "$f" "$1/seeds/front_end/$(echo "$f" | tr / -)"
  done
  awk -v dir="$1/seeds/front_end" '
    /^ *```btg/ { file = sprintf("%s/docs-%03d.btg", dir, ++n); printf "" > file; next }
    /^ *```/ { if (file) close(file); file = ""; next }
    file { print > file }' README.md docs/*.md
  cp tests/passes/*.graph "$1/seeds/graph_text/"
  awk -f tests/fuzz/dictionary.awk grammar/btg.l compiler/parse_words.c compiler/elab_builtin.c >"$1/words.dict"
}

fuzz() { # fuzz BUILD TARGET SECONDS
  # The first folder takes what is found.
  "$1/fuzz_$2" $limits -max_total_time="$3" -dict="$1/words.dict" -print_final_stats=1 -verbosity="${FUZZ_VERBOSITY:-1}" \
    -artifact_prefix="$1/findings/$2-" "$1/found/$2" "tests/fuzz/corpus/$2" "$1/seeds/$2" </dev/null
}

replay() { # replay BUILD TARGET
  "$1/fuzz_$2" $limits -runs=0 -artifact_prefix="$1/findings/$2-" "tests/fuzz/corpus/$2" "$1/seeds/$2" </dev/null
}

# The front end, as docs/architecture.md has it: scanner and parser, trees, formatter, elaboration, diagnostics,
# the text form of graphs.
front_end() { ls "$1"/btg.lex.c "$1"/btg.tab.c grammar/btg.* compiler/parse*.c compiler/ast*.c compiler/elab*.c compiler/fmt*.c compiler/diag.c compiler/graph_text.c; }

case $1 in
needs)
  if ! echo 'int LLVMFuzzerTestOneInput(const char *p, unsigned long n) { return p && n > 9 && *p; }' |
    "$2" -fsanitize=fuzzer,address -x c - -o /dev/null 2>/dev/null; then
    echo "fuzzing needs clang with libFuzzer and its sanitizers. On Debian 12:  tests/setup.sh fuzz" >&2
    echo "or another clang:  make fuzz CLANG=clang" >&2
    exit 1
  fi ;;
fuzz)
  gather "$2"
  small=$(($3 / 10 + 1))
  fuzz "$2" front_end $(($3 - 2 * small > 0 ? $3 - 2 * small : 1))
  fuzz "$2" graph_text $small
  fuzz "$2" stores $small ;;
replay)
  gather "$2"
  for t in $targets; do replay "$2" $t; done ;;
keep)
  gather "$2"
  for t in $targets; do
    # Of small ones, as few as reach all the code that any reaches; first come those that are there.
    rm -rf "$2/small"; mkdir "$2/small"
    find "$2/found/$t" -type f -size -1500c -exec cp -t "$2/small" {} +
    "$2/fuzz_$t" $limits -merge=1 -use_counters=0 "tests/fuzz/corpus/$t" "$2/seeds/$t" "$2/small" </dev/null
  done ;;
coverage)
  gather "$2"
  rm -f "$2"/*.profraw
  for t in $targets; do LLVM_PROFILE_FILE="$2/$t.profraw" replay "$2" $t >/dev/null 2>&1; done
  suffix=${CLANG:-clang-19}; suffix=${suffix##*clang}
  command -v llvm-cov$suffix >/dev/null || { echo "llvm-cov$suffix is missing. On Debian 12:  tests/setup.sh coverage" >&2; exit 1; }
  llvm-profdata$suffix merge -o "$2/all.profdata" "$2"/*.profraw
  llvm-cov$suffix report -instr-profile="$2/all.profdata" -show-region-summary=false -show-branch-summary=false \
    "$2/fuzz_front_end" -object "$2/fuzz_graph_text" $(front_end "$2") >"$2/coverage.txt"
  awk 'BEGIN {printf "%-44s %8s %8s %8s\n", "", "lines", "missed", "reached"}
       /\.[cly] |^TOTAL/ {printf "%-44s %8s %8s %8s\n", $1, $(NF - 2), $(NF - 1), $NF}
       /^TOTAL/ {exit $NF + 0 < 80}' "$2/coverage.txt" || { echo "less than 80 % of the lines are reached" >&2; exit 1; } ;;
esac
