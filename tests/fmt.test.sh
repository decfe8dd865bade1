#!/bin/sh
# btc fmt as a command: where the text goes, exit statuses, files rewritten whole; the repository's own files.
# What the text looks like is in tests/unit/test_fmt.c.
set -u
. "$(dirname "$0")/tap.sh"

# tests/syntax and tests/errors are as their expectations need them.
for f in stdlib/*.btg examples/*.btg tests/models/*.btg; do
  expect "$f is formatted" 0 out '^$' sh -c '"$0" fmt --check "$1" && echo' "$btc" "$f"
done

printf 'const a=1\n\n\n\n# why\nconst bc=2\n' >"$work/a.btg"
printf 'const a = 1\n\n# why\nconst bc = 2\n' >"$work/want.btg"
formatted() { "$btc" fmt "$@" | cmp - "$work/want.btg"; }
holds 'prints to standard output' formatted "$work/a.btg"
holds 'formats standard input' sh -c '"$0" fmt - <"$1" | cmp - "$2"' "$btc" "$work/a.btg" "$work/want.btg"
holds 'formats a pipe' sh -c 'cat "$1" | "$0" fmt - | cmp - "$2"' "$btc" "$work/a.btg" "$work/want.btg"
holds 'leaves the file' grep -q '^const a=1$' "$work/a.btg"
expect '--check shows where and how' 1 err 'a.btg:1:8: error: not in canonical form' "$btc" fmt --check "$work/a.btg"
expect '--check of what is formatted' 0 out '^$' sh -c '"$0" fmt --check "$1" && echo' "$btc" "$work/want.btg"
expect '--check of a missing end of line' 1 err ':1:12: error: not in canonical form' sh -c 'printf "const a = 1" | "$0" fmt --check -' "$btc"

chmod 640 "$work/a.btg"; ln -s a.btg "$work/link.btg"
expect '--in-place says nothing' 0 out '^$' sh -c '"$0" fmt --in-place "$1" && echo' "$btc" "$work/link.btg"
holds 'the file behind a link is rewritten' cmp "$work/a.btg" "$work/want.btg"
holds 'the link stays' test -L "$work/link.btg"
holds 'its permissions stay' sh -c 'test "$(stat -c %a "$1")" = 640' - "$work/a.btg"
touch -d 2001-01-01 "$work/a.btg"
"$btc" fmt -i "$work/a.btg"
holds 'a formatted file is not touched' test "$work/want.btg" -nt "$work/a.btg"
holds 'nothing is left beside it' sh -c 'test "$(ls "$1" | grep -c "^a.btg")" = 1' - "$work"

printf 'const a=\n' >"$work/wrong.btg"; cp "$work/wrong.btg" "$work/kept.btg"; printf 'const  a=1\n' >"$work/b.btg"
expect 'a syntax error' 1 err 'wrong.btg:1:9: error: expected an expression' "$btc" fmt -i "$work/wrong.btg" "$work/b.btg"
holds 'leaves its file' cmp "$work/wrong.btg" "$work/kept.btg"
holds 'and not the others' grep -q '^const a = 1$' "$work/b.btg"
expect 'a missing file' 1 err 'cannot open' "$btc" fmt "$work/none.btg"
expect '--check with --in-place' 2 err 'does not go with' "$btc" fmt -i --check "$work/a.btg"
expect 'standard input in place' 2 err 'no place' "$btc" fmt -i -
expect 'no file' 2 err 'FILE… is missing' "$btc" fmt

echo "1..$n"
