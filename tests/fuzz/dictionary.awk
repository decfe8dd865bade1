# dictionary.awk: libFuzzer's dictionary, from the scanner's rules and the compiler's tables of words:
#
#   awk -f tests/fuzz/dictionary.awk grammar/btg.l compiler/parse_words.c compiler/elab_builtin.c
#
# Of btg.l every literal pattern of the rules (`"a"|"b"` gives two), of the tables the first word of every row, of
# parse_words.c also what other languages say.

function entry(text) { if (!seen[text]++) print "\"" text "\"" }

FNR == 1 { file++; part = 0 }
file == 1 && /^%%/ { part++; next }
file == 1 && part == 1 && /^"/ {
  pattern = $1
  while (match(pattern, /^"[^"]+"/)) {
    entry(substr(pattern, 2, RLENGTH - 2))
    pattern = substr(pattern, RLENGTH + 2)
  }
}
file > 1 {
  line = $0
  while (match(line, /\{"[A-Za-z0-9_]+"/)) {
    entry(substr(line, RSTART + 2, RLENGTH - 3))
    line = substr(line, RSTART + RLENGTH)
  }
}
