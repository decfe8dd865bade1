#!/bin/sh
# Files that would take for ever, or all memory, end in a message, within a few seconds and 3 GB.
set -u
. "$(dirname "$0")/tap.sh"

# repeat N TEXT: the text N times, with I and J for the number and the one after it.
repeat() { awk -v n="$1" -v text="$2" 'BEGIN { for (i = 0; i < n; i++) { t = text; gsub(/I/, i, t); gsub(/J/, i + 1, t); print t } }'; }
program() { printf 'program p {\n  data x: f32[4]\n  report r: sum(%s)\n}\n' "$1"; }
nested() { awk -v n="$1" -v s="$2" 'BEGIN { while (n-- > 0) printf "%s", s }'; }

# refused NAME PATTERN: $work/NAME.btg gives one error, and that soon.
refused() {
  expect "$1" 1 err "$2" sh -c 'ulimit -v "$1"; exec timeout 60 "$2" check "$3"' - $memory "$btc" "$work/$1.btg"
  holds "$1: one message" test "$(grep -c 'error:' "$work/err")" = 1
}
case ${CC:-cc} in *sanitize*) memory=unlimited ;; *) memory=3000000 ;; esac # the address sanitizer reserves terabytes

echo 'const a = [for i in 0..1000000000: i]' >"$work/range.btg"
refused range '1:21: error: `for` runs over at most 100000 integers, and this range has 1000000000'
echo 'const a = [for i in 0..100000: [for j in 0..100000: i + j]]' >"$work/lists-in-lists.btg"
refused lists-in-lists 'more than 2000000 steps'
{ echo 'fn f(x: f32[n]) -> f32 {'; echo '  let y = 0'
  echo '  for i in 0..100000 { for j in 0..100000 { let y = y + 1 } }'
  echo '  return sum(x) + y'; echo '}'; program 'f(x)'; } >"$work/nested-loops.btg"
refused nested-loops '3:.* more than 2000000 steps'
{ echo 'fn f(x: f32[n]) -> f32 {'; echo '  for i in 0..100000 { for j in 0..100000 { } }'; echo '  return sum(x)'; echo '}'; program 'f(x)'; } >"$work/empty-loops.btg"
refused empty-loops 'more than 2000000 steps'
{ repeat 60 'fn doubleI(x: f32[n]) = doubleJ(x) + doubleJ(x)'; echo 'fn double60(x: f32[n]) = x'; program 'double0(x)'; } >"$work/calls-that-double.btg"
refused calls-that-double 'more than 2000000 steps: loops or calls multiply'
{ echo 'const a0 = [1, 2]'; repeat 60 'const aJ = aI + aI'; } >"$work/lists-that-double.btg"
refused lists-that-double 'more than 2000000 steps'
{ echo 'const a0 = [1]'; repeat 60 'const aJ = [aI, aI]'; echo 'const b = a60 == a60'; } >"$work/trees-that-double.btg"
refused trees-that-double 'more than 2000000 steps'
{ repeat 40 'module mI()(x: f32[n]) -> f32[n] {
  a = mJ()
  b = mJ()
  return a(x) + b(x)
}'; printf 'module m40()(x: f32[n]) -> f32[n] {\n  param w: f32[n] = 0\n  return x * w\n}\nroot = m0()\n'; program 'root(x)'; } >"$work/instances-that-double.btg"
refused instances-that-double 'more than 10000 parameters and states'
{ repeat 190 "fn deepI(x: f32[n]) = $(nested 240 '-(')deepJ(x)$(nested 240 ')')"; echo 'fn deep190(x: f32[n]) = x'; program 'deep0(x)'; } >"$work/deep-calls.btg"
refused deep-calls 'more than 2000 levels of expressions and calls'
{ repeat 390 "const deepI = $(nested 240 '-(')deepJ$(nested 240 ')')"; echo 'const deep390 = 1'; } >"$work/deep-constants.btg"
refused deep-constants 'more than 2000 levels of expressions and calls'
chain() { # chain N: elementwise ops, one after the other
  printf 'fn f(x: f32[n]) -> f32[n] {\n  let y = x\n  for i in 0..%d {\n    let y = tanh(y + i)\n  }\n  return y\n}\n' "$1"; program 'f(x)'
}
chain 90000 >"$work/long-chain.btg"
refused long-chain 'more than 50000 nodes of a graph'
chain 3000 >"$work/deep.btg"
expect 'a deep expression is compiled' 0 out 'program p' "$btc" check "$work/deep.btg"

echo "1..$n"
