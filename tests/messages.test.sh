#!/bin/sh
# Every message about a model is expected by some test. What concerns files, commands and the machine instead
# (a file that is damaged, a compiler that is missing) is listed but does not fail.
set -u
. "$(dirname "$0")/tap.sh"

tests="tests/errors/*.btg tests/errors/parts/*.btg tests/syntax/*.btg docs/*.md tests/*.test.sh tests/unit/*.c"
outside='/(cmd_.*|compiled|driver|eval|function_inputs|host|machine|measure|native|tune|tuned)\.c:'

awk -f tests/messages.awk compiler/*.[ch] compiler/ops/*.c grammar/btg.l $tests >"$work/missing" 2>"$work/held"
grep -Ev "$outside" "$work/missing" >"$work/out"
verdict "$(wc -l <"$work/out")" 'every message about a model is expected by a test'
grep -E "$outside" "$work/missing" | sed 's/^/# not tested: /'

# The list finds what it should: a message that nothing expects, in all the forms that calls take.
mkdir -p "$work/compiler"
printf 'elab_error(e, f, loc,\n  "nobody " "expects `%%s` here", x);\ndiag_error(b, loc, "%%s has this", y);\n' >"$work/compiler/x.c"
printf '# error: 1:1: that has this\n' >"$work/x.btg"
(cd "$work" && awk -f "$OLDPWD/tests/messages.awk" compiler/x.c x.btg) >"$work/out" 2>"$work/err"
holds 'an untested message is found' grep -q '^compiler/x.c:1: nobody expects' "$work/out"
holds 'and no other' grep -q '^2 messages, 1 not' "$work/err"
echo "1..$n"
