#!/bin/sh
# Autodiff against central differences, error at most 1e-5: every program of the examples that minimises,
# and every module and function of the standard library. The lists come from the files themselves: what
# stdlib/*.btg declares and tests/models/stdlib.btg has no case for is a failure.
set -u
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
cd "$(dirname "$0")/.." || exit 2
btc=${BTC:-${BUILD:-$PWD/build}/btc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cases=tests/models/stdlib.btg
n=0

verdict() { # verdict STATUS NAME FILE-SHOWN-ON-FAILURE
  n=$((n + 1))
  if [ "$1" = 0 ]; then echo "ok $n - $2"; else
    echo "not ok $n - $2"
    sed 's/^/# /' "$3" | head -60
  fi
}

# Names of the programs of FILE that minimise.
minimising() {
  awk '/^program / {name = $2} /^ *minimize / {print name}' "$1" | sort
}

# check FILE OPTION…: gradcheck succeeds and checks tensors of every program that minimises.
check() {
  file=$1; shift
  "$btc" gradcheck "$file" "$@" >"$work/table" 2>&1 </dev/null
  status=$?
  awk '/^program / {name = $2} / worst .* allowed 1e-05: good$/ {print name}' "$work/table" | sort >"$work/good"
  minimising "$file" >"$work/wanted"
  [ $status = 0 ] && [ -s "$work/wanted" ] && cmp -s "$work/good" "$work/wanted"
  verdict $? "btc gradcheck $file $*" "$work/table"
}

for example in examples/*.btg; do
  small=
  for size in batch=4 width=2 dim=4 size=32; do
    grep -q "^const ${size%=*} " "$example" && small="$small -D $size"
  done
  check "$example" $small
done

check $cases
cp "$work/good" "$work/checked"
# A gradient that drowns in the rounding of its difference is not checked: choose other numbers there.
grep ' rounding$' "$work/table" >"$work/drowned"
[ ! -s "$work/drowned" ]; verdict $? "every gradient of $cases is above rounding" "$work/drowned"

sed -n 's/^\(fn\|module\) \([a-z0-9_]*\).*/\2/p' stdlib/*.btg >"$work/declared"
[ "$(grep -c '^ *\(fn\|module\)\>' stdlib/*.btg | awk -F: '{n += $2} END {print n}')" = "$(wc -l <"$work/declared")" ]
verdict $? 'the names of all declarations of stdlib are read' "$work/declared"
while read -r name; do
  # Its case is among the checked programs, and the file calls it.
  { grep -qx "check_$name" "$work/checked" && grep -q "\<$name(" $cases; } 2>/dev/null
  status=$?
  echo "give $cases a program check_$name that calls $name, or mend its gradient" >"$work/mend"
  verdict $status "stdlib: $name has a case" "$work/mend"
done <"$work/declared"

# Functions: inputs, and the parameters of instances that they apply.
cat >"$work/function.btg" <<'MODEL'
import std.nn
layer = linear(3)
fn energy(x: f32[n, d]) -> f32 = sum(tanh(layer(x))^2)
MODEL
"$btc" gradcheck "$work/function.btg" --function energy --shape x=4x5 >"$work/table" 2>&1
verdict $? 'a function that applies an instance' "$work/table"
for tensor in x layer.weight layer.bias; do
  grep -q "^  $tensor " "$work/table"; verdict $? "its gradient by $tensor" "$work/table"
done

# What stop_gradient holds back is constant in the differences too.
cat >"$work/stopped.btg" <<'MODEL'
import std.nn
import std.objectives
import std.optim
net = [linear(4), relu, linear(3)]
program p {
  data x: f32[6, 5], y: f32[6, 5]
  minimize simsiam(net(x), net(y)) + sum(frozen(net).0.weight^2) + mean(frozen(net)(x) * y[.., 0..3])
  optimizer sgd(lr: 0.1)
}
MODEL
check "$work/stopped.btg"

echo "1..$n"
