#!/bin/sh
# Prints docs/ops.md: a row for each op of compiler/ops.def, and one for each constraint that has a label
# in a comment of compiler/ops/*.c, `// (matmul_c4) inner sizes agree`; several, behind `;`, may share a line.
#
#   docs/ops.sh > docs/ops.md
set -eu
cd "$(dirname "$0")/.."
cat <<'END'
# Ops of the graph

Printed by `docs/ops.sh` from `compiler/ops.def` and the comments of `compiler/ops/*.c`;
[adding-an-op.md](adding-an-op.md) says how to add one. Operands: `*` is one or more. Attributes: how many
integers a label takes, `f` a number, `s` a string. Gradient: `GRAD` has one, `NOGRAD` none, `FIRST` is a
cotangent itself, which is not differentiated again.

| op | class | operands | attributes | gradient | meaning |
| --- | --- | --- | --- | --- | --- |
END
awk -F '"' '/^OP\(/ {
  split(substr($1, 4), head, /, */); split($3, middle, /, */)
  help = $4; gsub(/\|/, "\\|", help)
  attributes = $2 == "" ? "" : "`" $2 "`"
  print "| `" head[1] "` | " head[2] " | " (head[3] < 0 ? "*" : head[3]) " | " attributes " | " middle[2] " | " help " |"
}' compiler/ops.def
cat <<'END'

## Constraints

What shape rules check, by the label that the rule has in the code, and the row of
`tests/unit/test_op_rules.c` that breaks it.

| label | what must hold | file |
| --- | --- | --- |
END
awk '/\/\/.*\([a-z0-9_]+_c[0-9]+\) / {
  comment = substr($0, index($0, "//"))
  n = split(comment, part, /; */)
  for (i = 1; i <= n; i++) {
    text = part[i]; sub(/.*_c[0-9]+\) */, "", text); sub(/\.$/, "", text)
    while (match(part[i], /\([a-z0-9_]+_c[0-9]+\)/)) {
      print "| `" substr(part[i], RSTART + 1, RLENGTH - 2) "` | " text " | " FILENAME " |"
      part[i] = substr(part[i], RSTART + RLENGTH)
    }
  }
}' compiler/ops/*.c
