#!/bin/sh
# What `make fuzz`, `make fuzz-loaders`, `make fuzz-coverage` and tests/fuzz.test.sh do with libFuzzer's targets
# (tests/fuzz/*.c):
#
#   run.sh needs CLANG                   fails with the packages to install where there is no libFuzzer
#   run.sh fuzz BUILD SECONDS            fuzzes the compiler, the front end four fifths of the time
#   run.sh fuzz-loaders BUILD SECONDS    fuzzes the readers of files, each for so long
#   run.sh replay BUILD                  the kept corpus and the seeds, without mutations
#   run.sh keep BUILD [TARGET…]          adds to the kept corpus what fuzzing found that reaches more code
#   run.sh coverage BUILD                prints the lines that kept corpus and seeds reach, of the front end and of
#                                        each reader, and fails where they are too few
#
# Seeds of the front end are the repository's own texts, gathered anew; what is kept under tests/fuzz/corpus reaches
# more than they do, and is all that the readers of files have. A finding is left as BUILD/findings/TARGET-crash-…;
# `BUILD/fuzz_TARGET FILE` repeats it.
set -eu
cd "$(dirname "$0")/../.."
compiler="front_end graph_text tuned"
loaders="safetensors checkpoint idx npy events cifar image"
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1}" UBSAN_OPTIONS=print_stacktrace=1 BTC_TUNED=

# Of one input: seconds (on a busy machine), memory, bytes. What a small file may make a loader allocate at once is
# a multiple of its size, whatever its header promises: of a PNG of one bit a pixel, 3 × 8 × 1032 (deflate's most).
limits() { # limits TARGET
  case $1 in
  front_end | graph_text | tuned) echo "-timeout=120 -rss_limit_mb=3000 -max_len=4096" ;;
  cifar) echo "-timeout=60 -rss_limit_mb=2000 -malloc_limit_mb=100 -max_len=7000" ;;
  *) echo "-timeout=60 -rss_limit_mb=2000 -malloc_limit_mb=100 -max_len=4096" ;;
  esac
}

gather() { # gather BUILD: seeds and dictionary
  rm -rf "$1/seeds"
  for t in $compiler $loaders; do mkdir -p "$1/seeds/$t" "$1/found/$t" "$1/findings"; done
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

dictionary() { # dictionary BUILD TARGET: its options
  case $2 in
  front_end | graph_text | tuned) echo "-dict=$1/words.dict" ;;
  *) echo "-dict=tests/fuzz/loaders.dict" ;;
  esac
}

fuzz() { # fuzz BUILD TARGET SECONDS
  # The first folder takes what is found.
  "$1/fuzz_$2" $(limits $2) -max_total_time="$3" $(dictionary "$1" $2) -print_final_stats=1 -verbosity="${FUZZ_VERBOSITY:-1}" \
    -artifact_prefix="$1/findings/$2-" "$1/found/$2" "tests/fuzz/corpus/$2" "$1/seeds/$2" </dev/null
}

replay() { # replay BUILD TARGET
  "$1/fuzz_$2" $(limits $2) -runs=0 -artifact_prefix="$1/findings/$2-" "tests/fuzz/corpus/$2" "$1/seeds/$2" </dev/null
}

keep() { # keep BUILD TARGET
  # Of small ones, as few as reach all the code that any reaches; first come those that are there.
  rm -rf "$1/small"; mkdir "$1/small"
  case $2 in cifar) most=3200 ;; *) most=1500 ;; esac # a record of CIFAR
  find "$1/found/$2" -type f -size -${most}c -exec cp -t "$1/small" {} +
  "$1/fuzz_$2" $(limits $2) -merge=1 -use_counters=0 "tests/fuzz/corpus/$2" "$1/seeds/$2" "$1/small" </dev/null
}

# The front end, as docs/architecture.md has it: scanner and parser, trees, formatter, elaboration, diagnostics,
# the text form of graphs.
front_end() { ls "$1"/btg.lex.c "$1"/btg.tab.c grammar/btg.* compiler/parse*.c compiler/ast*.c compiler/elab*.c compiler/fmt*.c compiler/diag.c compiler/graph_text.c; }
# What parses files of others.
readers="runtime/safetensors.c runtime/checkpoint.c runtime/match.c runtime/reader.c runtime/idx.c runtime/npy.c
  runtime/cifar.c runtime/decode.c runtime/decode_jpeg.c runtime/decode_png.c runtime/events.c tests/unit/event_file.c"

report() { # report BUILD "TARGETS" FILES…: lines, missed ones and the share of those reached, by file and in total
  build=$1 objects=
  for t in $2; do objects="$objects -object $build/fuzz_$t"; done
  shift 2
  "llvm-cov$suffix" report -instr-profile="$build/all.profdata" -show-region-summary=false -show-branch-summary=false \
    ${objects#*-object } "$@" >"$build/coverage.txt"
  awk 'BEGIN {printf "%-44s %8s %8s %8s\n", "", "lines", "missed", "reached"}
       /\.[cly] |^TOTAL/ {printf "%-44s %8s %8s %8s\n", $1, $(NF - 2), $(NF - 1), $NF}' "$build/coverage.txt"
}

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
  fuzz "$2" tuned $small ;;
fuzz-loaders)
  gather "$2"
  for t in ${FUZZ_TARGETS:-$loaders}; do fuzz "$2" $t "$3"; done ;;
replay)
  gather "$2"
  for t in $compiler $loaders; do replay "$2" $t; done ;;
keep)
  build=$2; shift 2
  gather "$build"
  for t in ${*:-$compiler $loaders}; do keep "$build" $t; done ;;
coverage)
  gather "$2"
  rm -f "$2"/*.profraw
  suffix=${CLANG:-clang-19}; suffix=${suffix##*clang}
  command -v llvm-cov$suffix >/dev/null || { echo "llvm-cov$suffix is missing. On Debian 12:  tests/setup.sh coverage" >&2; exit 1; }
  for t in $compiler $loaders; do LLVM_PROFILE_FILE="$2/$t.profraw" replay "$2" $t >/dev/null 2>&1; done
  llvm-profdata$suffix merge -o "$2/all.profdata" "$2"/*.profraw
  report "$2" "$compiler" $(front_end "$2") | tee "$2/front_end.txt"
  awk '/^TOTAL/ {exit $NF + 0 < 80}' "$2/front_end.txt" || { echo "less than 80 % of the front end's lines are reached" >&2; exit 1; }
  report "$2" "$loaders" $readers | tee "$2/readers.txt"
  awk 'NR > 1 && !/^TOTAL/ && $NF + 0 < 85 {print $1 ": less than 85 % of its lines are reached"; low = 1} END {exit low}' "$2/readers.txt" >&2 ;;
esac
