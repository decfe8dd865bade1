#!/bin/sh
# The documentation's examples run: every fenced ```btg and tested ```sh block of docs/*.md and README.md.
#
#   ```btg                            a whole file: `btc check` says nothing against it
#   ```btg error "TEXT" [OPTIONS]     `btc check OPTIONS` fails, and TEXT is in the message
#   ```btg file NAME                  also kept as NAME, for later blocks of the page to import
#   ```btg from PATH                  its paragraphs stand so in the repository's PATH
#   ```c file NAME                    kept as NAME, for later blocks of the page
#   ```sh tested                      its lines `btc …` succeed; model.btg is the last btg block that is right
#
# The tables of the language's functions are held to the compiler's own by tests/unit/test_elab.c.
set -u
cd "$(dirname "$0")/.." || exit 2
root=$PWD
build=${BUILD:-$PWD/build}
btc=${BTC:-$build/btc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0 failed=0

verdict() { # verdict STATUS NAME
  n=$((n + 1))
  if [ "$1" = 0 ]; then echo "ok $n - $2"; return; fi
  failed=1
  echo "not ok $n - $2"
  sed 's/^/# /' "$work/log" | head -30
}

# split PAGE: its blocks as $work/blocks/NNN (text) and NNN.head ("line info…").
split() {
  rm -rf "$work/blocks"; mkdir "$work/blocks"
  awk -v dir="$work/blocks" '
    /^ *```/ && !inside {
      inside = 1; info = $0; sub(/^ *```/, "", info)
      file = ""
      if (info ~ /^(btg|sh|c)( |$)/) {
        file = sprintf("%s/%03d", dir, ++count)
        print NR, info > (file ".head"); close(file ".head"); printf "" > file
      }
      next
    }
    /^ *```/ { if (file) close(file); inside = 0; next }
    inside && file { print > file }' "$1"
}

check_btg() { # check_btg BLOCK MARKER: the model is $work/page/$model
  case $2 in
  '' | file\ *)
    (cd "$work/page" && "$btc" check $model >/dev/null 2>"$work/log") && [ ! -s "$work/log" ] ;;
  error\ *)
    text=$(printf '%s\n' "$2" | sed 's/^error "\(.*\)".*/\1/')
    options=$(printf '%s\n' "$2" | sed 's/^error ".*"//')
    (cd "$work/page" && "$btc" check $model $options >/dev/null 2>"$work/log") && return 1
    grep -qF -- "$text" "$work/log" ;;
  from\ *)
    awk -v path="${2#from }" '
      FNR == NR { have = have $0 "\n"; next }
      $0 != "" { part = part $0 "\n"; next }
      { check() }
      END { check(); exit missing || !seen }
      function check() {
        if (part == "") return
        seen = 1
        if (!index(have, part)) { missing = 1; print "this is not in " path ":\n" part }
        part = ""
      }' "$root/${2#from }" "$1" >"$work/log" ;;
  *) echo "unknown marker: $2" >"$work/log"; false ;;
  esac
}

run_lines() { # run_lines BLOCK WHERE
  while IFS= read -r line; do
    case $line in
    btc\ *)
      (cd "$work/page" && eval "\"\$btc\" ${line#btc }") >"$work/log" 2>&1 </dev/null
      verdict $? "$2: $line" ;;
    esac
  done <"$1"
}

for page in README.md docs/*.md; do
  split "$page"
  rm -rf "$work/page"; mkdir "$work/page"
  for head in "$work"/blocks/*.head; do
    [ -f "$head" ] || continue
    block=${head%.head}
    read -r line kind marker <"$head"
    case $kind-$marker in
    btg-*)
      case $marker in error\ *) model=wrong.btg ;; *) model=model.btg ;; esac
      cp "$block" "$work/page/$model"
      case $marker in file\ *) cp "$block" "$work/page/${marker#file }" ;; esac
      check_btg "$block" "$marker"
      verdict $? "$page:$line: btg $marker" ;;
    c-file\ *) cp "$block" "$work/page/${marker#file }" ;;
    sh-tested) run_lines "$block" "$page:$line" ;;
    esac
  done
done

# Every declaration of the standard library is on the language's page.
for name in $(sed -n 's/^\(fn\|module\) \([a-z0-9_]*\).*/\2/p' stdlib/*.btg); do
  echo "docs/language.md does not mention it" >"$work/log"
  grep -q "\`$name(" docs/language.md
  verdict $? "docs/language.md has $name of the standard library"
done

# The grammar's page is the grammar's.
awk -f grammar/appendix.awk grammar/btg.l grammar/btg.y | diff -u docs/grammar.md - >"$work/log"
verdict $? "docs/grammar.md is up to date (make docs/grammar.md)"

# The page of ops is what the code says; each constraint has a row of a node that breaks it, and only these.
sh docs/ops.sh | diff - docs/ops.md >"$work/log"
verdict $? 'docs/ops.md is what docs/ops.sh prints'
sed -n 's/^| `\([a-z0-9_]*_c[0-9]*\)`.*/\1/p' docs/ops.md | sort -u >"$work/stated"
sed -n 's/^    BAD(.* \/\/ \([a-z0-9_]*_c[0-9]*\)$/\1/p' tests/unit/test_op_rules.c | sort -u >"$work/broken"
diff "$work/stated" "$work/broken" >"$work/log" && [ -s "$work/stated" ]
verdict $? 'every constraint of docs/ops.md is broken by a row of test_op_rules.c'

echo "1..$n"
exit $failed
