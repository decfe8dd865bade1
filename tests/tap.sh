# tap.sh: what the script tests share. Sourced, it goes to the top folder and sets `build`, `btc` and `work`,
# a temporary folder. Commands leave their output in $work/out, err and held, which a failure shows.
cd "$(dirname "$0")/.." || exit 2
build=${BUILD:-$PWD/build}
btc=${BTC:-$build/btc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n=0
# A runtime that was built with sanitizers needs them in what is linked with it, too.
if nm "$build/libbtrt.a" 2>/dev/null | grep -q __asan_; then export CC="${CC:-cc} -fsanitize=address,undefined"; fi

verdict() { # verdict STATUS NAME
  n=$((n + 1))
  if [ "$1" = 0 ]; then echo "ok $n - $2"; else
    echo "not ok $n - $2"
    sed 's/^/# /' "$work/out" "$work/err" "$work/held" 2>/dev/null | head -30
  fi
}
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }

# holds NAME COMMAND…: the command succeeds.
holds() {
  name=$1; shift
  "$@" >"$work/held" 2>&1 </dev/null
  verdict $? "$name"
}

# expect NAME STATUS STREAM PATTERN COMMAND…: exit status, and a pattern in out or err. Where a failure
# is explained on standard error, standard output stays empty.
expect() {
  name=$1 want=$2 stream=$3 pattern=$4; shift 4
  "$@" >"$work/out" 2>"$work/err" </dev/null
  got=$?
  [ $got = "$want" ] && grep -q -e "$pattern" "$work/$stream" && { [ "$want" = 0 ] || [ "$stream" = out ] || [ ! -s "$work/out" ]; }
  verdict $? "$name"
}
