# objective.awk: the table and the JSON of bench/objective.sh. Lines: SHAPE NAME MILLISECONDS [VARIANT], sorted.

# Between neighbours of the key's sorted samples.
function quantile(key, q,    at, low) {
  at = q * (n[key] - 1)
  low = int(at)
  return s[key, low] + (at - low) * (low + 1 < n[key] ? s[key, low + 1] - s[key, low] : 0)
}
function median(key) { return quantile(key, 0.5) }
function cell(key) { return n[key] ? sprintf("%10.2f", median(key)) : sprintf("%10s", "-") }
function ratio(a, b) { return n[a] && n[b] ? sprintf("%10.3f", median(a) / median(b)) : sprintf("%10s", "-") }

function print_head(    i, title) {
  printf "%-10s", "N x D"
  for (i = 1; i <= columns; i++) {
    title = column[i]
    sub("torch_", "t.", title)
    printf "%10s", title
  }
  printf "%10s  %-9s", "goal", "choice"
  printf "%s\n", torch == "yes" ? sprintf("%10s%10s", "/ t.eager", "/ t.gram") : ""
}

function print_row(shape,    i) {
  printf "%-10s", shape
  for (i = 1; i <= columns; i++) printf "%s", cell(shape " " column[i])
  printf "%10s  %-9s", (shape in goal) ? goal[shape] : "-", variant[shape]
  if (torch == "yes") printf "%s%s", ratio(shape " chosen", shape " torch_eager"), ratio(shape " chosen", shape " torch_gram")
  printf "\n"
}

function write_json(shape, first,    i, m, name, key) {
  printf "%s\n  {\"shape\": \"%s\", \"choice\": \"%s\"", first ? "" : ",", shape, variant[shape] >out
  m = split(names[shape], name, " ")
  for (i = 1; i <= m; i++) {
    key = shape " " name[i]
    printf ",\n   \"%s\": {\"median\": %.4f, \"q1\": %.4f, \"q3\": %.4f}", name[i], median(key), quantile(key, 0.25), quantile(key, 0.75) >out
  }
  printf "}" >out
}

BEGIN { # milliseconds that a plain C prototype over OpenBLAS needed, its best variant
  count = split("256x8192 27 256x2048 4.5 128x1024 0.95 2048x8192 736 1024x2048 53 4096x512 28 2048x2048 184", g, " ")
  for (i = 1; i < count; i += 2) goal[g[i]] = g[i + 1]
}
{
  key = $1 " " $2
  if (!n[key]) names[$1] = names[$1] " " $2
  s[key, n[key]++] = $3
  if ($2 == "chosen") variant[$1] = $4
}
END {
  count = split(shapes, shape, " ")
  columns = split("unfused fused streamed gram chosen" (torch == "yes" ? " torch_eager torch_gram" : ""), column, " ")
  print_head()
  printf "{\"rounds\": %d, \"unit\": \"ms\", \"shapes\": [", rounds >out
  for (k = 1; k <= count; k++) {
    print_row(shape[k])
    write_json(shape[k], k == 1)
  }
  printf "\n]}\n" >out
}
