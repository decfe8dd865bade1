# messages.awk: the compiler's messages that no test expects: awk -f tests/messages.awk SOURCE… TEST…
#
# From .c, .l and .h files of compiler/ and grammar/ it takes the format of every diagnostic; from the other
# files what is expected: the lines `# error: …` (warning, note) of .btg files, ```btg error "…" of the
# documentation, quoted strings of scripts and unit tests, where a dot may stand for a quote. A message is expected where such a text has all the fixed
# parts of its format in order, or is itself (from ten characters on) a piece of one. Prints FILE:LINE: FORMAT.

function is_source(f) { return f ~ /^(compiler|grammar)\// }

FNR == 1 { if (is_source(FILENAME)) sources[++n_sources] = FILENAME }
is_source(FILENAME) { text[FILENAME] = text[FILENAME] $0 "\n"; next }
FILENAME ~ /\.btg$/ { if ($0 ~ /^# (error|warning|note): /) expected[++n_expected] = $0; next }
FILENAME ~ /\.md$/ { if ($0 ~ /^```btg error/) quoted($0); next }
{ quoted($0) }

# Keeps the quoted strings of a line.
function quoted(s,    q) {
  gsub(/\\"/, "\"", s)
  expected[++n_expected] = s
  while (match(s, /"[^"]*"|'[^']*'/)) {
    q = substr(s, RSTART + 1, RLENGTH - 2)
    if (length(q) >= 10) pieces[++n_pieces] = q
    s = substr(s, RSTART + RLENGTH)
  }
}

# Quotes are awkward in patterns, which have dots for them.
function plain(s) { gsub(/[`'"]/, ".", s); return s }

function line_of(s, at,    t) { t = substr(s, 1, at); return gsub(/\n/, "", t) + 1 }

# The first string literal from s on, with those joined to it; literal_end is where it ends, 0: there is none
# before the call does.
function literal(s,    out, depth, c, i, j) {
  literal_end = 0
  for (i = 1; i <= length(s); i++) {
    c = substr(s, i, 1)
    if (c == "\"") break
    if (c == "(") depth++
    if (c == ")" && --depth == 0) return ""
    if (c == ";" || c == "{") return ""
  }
  while (substr(s, i, 1) == "\"") {
    for (j = i + 1; substr(s, j, 1) != "\""; j++) {
      if (substr(s, j, 1) == "\\") j++
      out = out substr(s, j, 1)
    }
    for (i = j + 1; substr(s, i, 1) ~ /[ \n]/; i++) continue
  }
  literal_end = i
  return out
}

function covered(format,    n, parts, i, k, rest, at, whole) {
  gsub(/%%/, "\001", format)
  n = split(format, parts, /%[-0-9.*]*(l|ll|z|hh)?[a-zA-Z]/)
  for (i = 1; i <= n; i++) { gsub(/\001/, "%", parts[i]); parts[i] = plain(parts[i]) }
  for (k = 1; k <= n_expected; k++) {
    rest = expected[k]; whole = 1
    for (i = 1; i <= n && whole; i++) {
      at = index(rest, parts[i])
      if (parts[i] != "" && !at) whole = 0
      if (at) rest = substr(rest, at + length(parts[i]))
    }
    if (whole) return 1
  }
  for (k = 1; k <= n_pieces; k++)
    for (i = 1; i <= n; i++) if (index(parts[i], pieces[k])) return 1
  return 0
}

END {
  for (k = 1; k <= n_expected; k++) expected[k] = plain(expected[k])
  for (k = 1; k <= n_pieces; k++) pieces[k] = plain(pieces[k])
  for (f = 1; f <= n_sources; f++) {
    s = text[sources[f]]; at = 0
    while (match(substr(s, at + 1), /(diag_error|diag_warning|diag_note|elab_error|elab_warning|elab_note|SCAN_ERROR)\(/)) {
      start = at + RSTART; at = start + RLENGTH - 1
      format = literal(substr(s, at))
      if (format == "" || format ~ /^(%s)*$/) continue
      total++
      if (!covered(format)) { missing++; print sources[f] ":" line_of(s, start) ": " format }
    }
  }
  print total " messages, " missing + 0 " not expected by any test" > "/dev/stderr"
}
