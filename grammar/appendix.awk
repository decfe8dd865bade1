# appendix.awk: the grammar as a page, docs/grammar.md (make docs/grammar.md):
#
#   awk -f grammar/appendix.awk grammar/btg.l grammar/btg.y
#
# Of the scanner it takes the definitions, of the grammar the precedences and the rules, less what only the
# compiler needs: actions, names of symbols, error recovery, rules that stand for one token. It relies on how
# btg.y is written: a rule's name begins its line, `:`, `|` and `;` begin theirs.

FNR == 1 { file++; part = 0 }
/^%%/ { part++; next }

# ---- the scanner's definitions: NAME, spaces, pattern ----
file == 1 && part == 0 && /^[A-Z]+ +[^ ]/ && !/^LETTER/ { lexical = lexical sprintf("%-9s %s\n", $1, $2) }

# ---- precedences, loosest first ----
file == 2 && part == 0 && /^%(precedence|nonassoc|left|right) / {
  line = $0
  sub(/^%[a-z]+ +/, "", line)
  sub(/NEGATION/, "\"-\"     (before an operand)", line)
  note = $1 == "%left" ? "left to right" : $1 == "%right" ? "right to left" : $1 == "%nonassoc" ? "does not chain" : ""
  levels[++n_levels] = note == "" ? line : sprintf("%-40s %s", line, note)
}

# ---- rules ----
file == 2 && part == 1 {
  if ($0 ~ /^\/\/ ---- /) { heading = $3; next }
  if ($0 ~ /^\/\//) next
  if ($0 ~ /^[a-z_]+$/) { rule = $0; section[rule] = heading; order[++n_rules] = rule; n_alternatives[rule] = 0; next }
  if ($0 ~ /^  ;/) { rule = ""; next }
  if (rule == "") next
  if ($0 ~ /^  [:|] /) { flush_alternative(); text = substr($0, 5) }
  else text = text " " $0
}
function flush_alternative() {
  if (text == "") return
  text = without_actions(text)
  gsub(/\[[a-z]+\]/, "", text)           # names of symbols
  sub(/%prec [A-Z]+/, "", text)
  gsub(/  +/, " ", text); sub(/^ /, "", text); sub(/ $/, "", text)
  if (text !~ /(^| )error( |$)/) alternative[owner, ++n_alternatives[owner]] = text
  text = ""
}
function without_actions(s,    out, depth, i, c, quoted) {
  for (i = 1; i <= length(s); i++) {
    c = substr(s, i, 1)
    if (c == "\"") quoted = !quoted
    if (!quoted && c == "{") depth++
    if (!depth) out = out c
    if (!quoted && c == "}") depth--
  }
  return out
}
file == 2 && part == 1 && $0 ~ /^  [:|] / { owner = rule }
file == 2 && part == 2 && !closed { flush_alternative(); closed = 1 }

function inlined(s,    n, words, i, out) {
  n = split(s, words, " ")
  for (i = 1; i <= n; i++) {
    if (n_alternatives[words[i]] == 1 && alternative[words[i], 1] ~ /^"[^" ]+"$/) words[i] = alternative[words[i], 1]
    out = out (i > 1 ? " " : "") (words[i] == "%empty" ? "(nothing)" : words[i])
  }
  return out
}
function is_token(r) { return n_alternatives[r] == 1 && alternative[r, 1] ~ /^"[^" ]+"$/ }

END {
  print "# Grammar\n"
  print "Made by `make docs/grammar.md` from [grammar/btg.y](../grammar/btg.y) and [grammar/btg.l](../grammar/btg.l), which"
  print "the parser is made from. [language.md](language.md) says what it all means.\n"
  print "Words and signs of the language are in quotes, `|` separates alternatives. White space and line ends only"
  print "separate tokens; a comment goes from `#` to the end of its line.\n"
  print "## Tokens\n\n```"
  printf "%s", lexical
  print "```\n"
  print "`NAME` is a `WORD` that is none of the words below, `INTEGER` is `DIGITS`, `NUMBER` is `DIGITS \".\" DIGITS` with or"
  print "without an `EXPONENT` or `DIGITS EXPONENT`, `INDEX` is `\".\" [0-9]+`, `STRING` is in double quotes, on one line, with"
  print "the escapes `\\n` `\\t` `\\r` `\\\\` `\\\"`.\n"
  print "## Precedence\n\nFrom loose to tight; what follows an operand (calls, indices, parts, `'`) is tighter still.\n\n```"
  for (i = 1; i <= n_levels; i++) print levels[i]
  print "```"
  for (i = 1; i <= n_rules; i++) {
    r = order[i]
    if (is_token(r)) continue
    if (section[r] != last) {
      if (last != "") print "```"
      last = section[r]
      print "\n## " toupper(substr(last, 1, 1)) substr(last, 2) "\n\n```"
    } else print ""
    print r
    for (k = 1; k <= n_alternatives[r]; k++) print "  " (k == 1 ? "=" : "|") " " inlined(alternative[r, k])
  }
  print "```"
}
