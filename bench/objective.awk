# objective.awk: the table and the JSON of bench/objective.sh. Lines: SHAPE NAME MILLISECONDS [VARIANT], sorted.

# Between neighbours of the key's sorted samples.
function quantile(key, q,    at, low) {
  at = q * (n[key] - 1)
  low = int(at)
  return s[key, low] + (at - low) * (low + 1 < n[key] ? s[key, low + 1] - s[key, low] : 0)
}
function median(key) { return quantile(key, 0.5) }
function cell(key) { return n[key] ? sprintf("%10.2f", median(key)) : sprintf("%10s", "-") }

# How many times as fast as `peer` the choice is; how fast it should be, and whether it is.
function speed(shape, peer,    times, want, verdict) {
  if (!n[shape " chosen"] || !n[shape " " peer]) return sprintf("%10s%7s %-6s", "-", "", "")
  times = median(shape " " peer) / median(shape " chosen")
  want = goal[shape, peer]
  verdict = want ? (times >= want ? "met" : "missed") : ""
  return sprintf("%9.2fx%7s %-6s", times, want ? ">= " want : "", verdict)
}

function print_head(    i, title) {
  printf "%-10s", "N x D"
  for (i = 1; i <= columns; i++) {
    title = column[i]
    sub("torch_", "t.", title)
    printf "%10s", title
  }
  printf "  %-9s", "choice"
  printf "%s\n", torch == "yes" ? sprintf("%10s%7s %-6s%10s%7s %-6s", "t.eager /", "goal", "", "t.gram /", "goal", "") : ""
}

function print_row(shape,    i) {
  printf "%-10s", shape
  for (i = 1; i <= columns; i++) printf "%s", cell(shape " " column[i])
  printf "  %-9s", variant[shape]
  if (torch == "yes") printf "%s%s", speed(shape, "torch_eager"), speed(shape, "torch_gram")
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

BEGIN { # shape, times as fast as eager, as the Gram form by hand (0: no goal)
  count = split("256x8192 38 2.5 256x2048 10 3 128x1024 10 3 2048x8192 5.5 1.1 1024x2048 2.2 1.2 4096x512 1.5 0 2048x2048 1.1 0", g, " ")
  for (i = 1; i < count; i += 3) {
    goal[g[i], "torch_eager"] = g[i + 1]
    goal[g[i], "torch_gram"] = g[i + 2]
  }
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
