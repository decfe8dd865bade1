#!/bin/sh
# The btc command as users meet it: exit statuses, messages, help, levels, files.
set -u
. "$(dirname "$0")/tap.sh"
model=tests/models/small.btg

# ---- the command line ----
expect 'no arguments: usage on standard error' 2 err '^usage: btc' "$btc"
expect 'help' 0 out '^usage: btc' "$btc" help
expect '--help' 0 out '^usage: btc' "$btc" --help
expect '--version' 0 out '^btc [0-9]' "$btc" --version
for c in compile check fmt gradcheck eval variants bench tune explain doctor; do
  expect "help $c" 0 out "^usage: btc $c" "$btc" help $c
  expect "$c --help says the same" 0 out "^usage: btc $c" "$btc" $c --help
done
expect 'a misspelt command' 2 err "did you mean 'compile'" "$btc" compil $model
expect 'help on a misspelt command' 2 err "did you mean 'check'" "$btc" help chek
expect 'a misspelt option' 2 err "did you mean '--emit'" "$btc" compile $model --emti=c
expect 'a misspelt choice' 2 err "did you mean 'graph'" "$btc" compile $model --emit=grpah
expect 'a missing value' 2 err "needs a value" "$btc" compile $model -o
expect 'a value for a flag' 2 err "takes no value" "$btc" check $model --json=yes
expect 'not a number' 2 err "not a number" "$btc" gradcheck $model --seed=two
expect 'a missing file name' 2 err "FILE is missing" "$btc" check
expect 'too many files' 2 err "unexpected argument" "$btc" check $model $model
expect 'an empty file name' 2 err "-o FILE is missing" "$btc" compile $model -o ''
expect 'compile without -o' 2 err "-o FILE is missing" "$btc" compile $model
expect 'a pass that is none' 2 err "did you mean 'cse'" "$btc" compile $model --stop-after=dse
expect 'a required pass cannot be disabled' 2 err "cannot be disabled" "$btc" compile $model --emit=grad --disable-pass=expand
expect 'the list of passes' 0 out '^expand' "$btc" compile --passes
expect 'a program that is none' 1 err "did you mean 'pretrain'" "$btc" compile $model --emit=graph --program pretrian
expect 'eval wants to know what' 2 err "either --function or --program" "$btc" eval $model --in x --out y
expect 'a full disk' 1 err "cannot write" sh -c '"$0" compile --passes >/dev/full' "$btc"
expect 'a define without a value' 2 err "expected NAME=VALUE" "$btc" check $model -D batch
expect 'a define of no constant' 1 err "batch" "$btc" check $model -D bacth=4

# ---- files ----
expect 'a missing file' 1 err "no_such.btg" "$btc" check "$work/no_such.btg"
expect 'a folder that cannot be written' 1 err "cannot write" "$btc" compile $model -o "$work/none/train"
expect 'a folder as output' 1 err "it is a folder" "$btc" compile $model -o "$work"
expect 'no C compiler: the command that installs one' 1 err "apt-get install gcc" env -u CC PATH=/nonexistent "$btc" compile $model -o "$work/train"
expect 'a C compiler that is none' 1 err "no C compiler 'no-such-cc'" "$btc" compile $model -o "$work/train" --cc=no-such-cc
expect 'an executable where none can be' 1 err "is not a regular file: an executable needs one" "$btc" compile $model -o /dev/null
expect 'no folder for temporary files' 1 err "cannot make a temporary folder" env TMPDIR="$work/none" "$btc" compile $model -o "$work/train"
expect 'a home that is none' 1 err "where there is no stdlib/" env BTC_HOME="$work/none" "$btc" check $model
expect 'doctor without a folder for temporary files' 1 out "set TMPDIR" env TMPDIR="$work/none" "$btc" doctor
expect 'doctor without a home goes on' 1 out "^ok *C compiler" env BTC_HOME="$work/none" "$btc" doctor
printf 'fn f(x: f32[n]) -> f32 = sum(x)\n' >"$work/functions.btg"
expect 'check of a file without programs' 0 out 'no program' "$btc" check "$work/functions.btg"
expect 'a trainer of a file without programs' 1 err 'no program' "$btc" compile "$work/functions.btg" -o "$work/functions"
cp "$work/functions.btg" "$work/source.btg"; ln -s source.btg "$work/link.btg"
for output in source.btg link.btg; do
  expect "the source is no place for its trainer ($output)" 1 err 'input itself' "$btc" compile "$work/source.btg" -o "$work/$output"
  expect "nor for a level ($output)" 1 err 'input itself' "$btc" compile "$work/source.btg" --emit=ast -o "$work/$output"
  expect "nor for results ($output)" 1 err 'input itself' "$btc" eval "$work/source.btg" --function f --in "$work/x" --out "$work/$output"
done
expect 'the given tensors are no place for results' 1 err 'input itself' "$btc" eval $model --function energy --in "$work/source.btg" --out "$work/source.btg"
holds 'the source stays' cmp "$work/functions.btg" "$work/source.btg"
latin=$work/$(printf 'caf\351.btg'); cp $model "$latin"
expect 'a name that is not UTF-8' 0 out '^program pretrain' "$btc" check "$latin"
expect 'a name that is not UTF-8, as JSON' 0 out '"file": ".*/caf?.btg"' "$btc" check --json "$latin"
mkdir "$work/two words"
expect 'doctor with a space in the name of the temporary folder' 0 out '^ok *OpenBLAS' env TMPDIR="$work/two words" "$btc" doctor
expect 'compile with spaces in names' 0 out . env TMPDIR="$work/two words" sh -c 'cp "$1" "$2/two words.btg" && "$0" compile "$2/two words.btg" -o "$2/a trainer" && "$2/a trainer" --help' "$btc" $model "$work/two words"
expect 'doctor without a compiler' 1 out "^MISSING" env -u CC PATH=/nonexistent "$btc" doctor

printf 'old' >"$work/train"
printf 'program p {\n  minimize nonsense\n}\n' >"$work/wrong.btg"
expect 'a wrong model' 1 err 'error' "$btc" compile "$work/wrong.btg" -o "$work/train"
holds 'nothing is overwritten' test "$(cat "$work/train")" = old
printf '#!/bin/sh\necho "it is broken" >&2\nexit 1\n' >"$work/brokencc"; chmod +x "$work/brokencc"
expect "the compiler's messages under a heading" 1 err 'it is broken' "$btc" compile $model -o "$work/train" --cc="$work/brokencc"
holds 'it is called a bug of btc' grep -q 'bug in btc' "$work/err"
# A compiler that takes its time, and signals meanwhile.
mkdir "$work/slow" "$work/slow/tmp"
printf '#!/bin/sh\n[ "$1" = --version ] && exit\ntouch "%s"\nexec sleep 60\n' "$work/slow/started" >"$work/slow/cc"; chmod +x "$work/slow/cc"
for signal in TERM HUP; do
  rm -f "$work/slow/started"
  env --default-signal TMPDIR="$work/slow/tmp" "$btc" compile $model -o "$work/slow/train" --cc="$work/slow/cc" >"$work/out" 2>"$work/err" </dev/null &
  pid=$!
  for _ in $(seq 6000); do [ -e "$work/slow/started" ] && break; sleep 0.01; done
  kill -$signal $pid
  wait $pid
  test $? = 1
  verdict $? "SIG$signal while the C compiler runs: exit status 1"
  holds "SIG$signal: no temporary file stays" test "$(ls "$work/slow" "$work/slow/tmp" | grep -c 'train\|btc\.')" = 0
done
# A model of several parts has several compilers at work.
mkdir "$work/many"
printf '#!/bin/sh\n[ "$1" = --version ] && exit\ntouch "%s/$$"\nexec sleep 600\n' "$work/many" >"$work/slow/cc"
env --default-signal TMPDIR="$work/slow/tmp" "$btc" compile examples/fashion_mnist.btg -o "$work/slow/train" --cc="$work/slow/cc" >"$work/out" 2>"$work/err" </dev/null &
pid=$!
for _ in $(seq 6000); do [ "$(ls "$work/many" | wc -l)" -ge "$(nproc)" ] && break; sleep 0.01; done
kill -TERM $pid
for _ in $(seq 3000); do kill -0 $pid 2>/dev/null || break; sleep 0.01; done
holds 'SIGTERM while several C compilers run reaches all' sh -c 'for pid in $(ls "$0"); do kill $pid 2>/dev/null && exit 1; done; true' "$work/many"
wait $pid
test $? = 1
verdict $? 'and the exit status is 1'
holds 'nor a temporary file' test "$(ls "$work/slow" "$work/slow/tmp" | grep -c 'train\|btc\.')" = 0
# A clang without its OpenMP runtime is no bug of btc.
cat >"$work/clang-77" <<'CLANG'
#!/bin/sh
case $* in
  --version) echo 'clang version 77.0' ;;
  *-fno-predictive-commoning*) echo 'clang: error: unknown argument' >&2; exit 1 ;;
  *) echo "x.c:3:10: fatal error: 'omp.h' file not found" >&2; exit 1 ;;
esac
CLANG
chmod +x "$work/clang-77"
expect 'a clang without OpenMP: the command that installs it' 1 err "apt-get install libomp-77-dev" "$btc" compile $model -o "$work/train" --cc="$work/clang-77"
holds 'still nothing is overwritten' test "$(cat "$work/train")" = old
holds 'nothing is left beside it' sh -c 'test "$(ls "$0" | grep -c "^train")" = 1' "$work"
expect 'piped output has no colour' 1 err 'error' "$btc" check "$work/wrong.btg"
holds 'no escape in it' sh -c '! grep -q "$(printf "\033")" "$0"' "$work/err"
expect 'colour on demand' 1 err "$(printf '\033')" "$btc" check "$work/wrong.btg" --color=always

# ---- levels ----
for level in ast graph grad kernels loops c; do
  expect "--emit=$level" 0 out . "$btc" compile $model --emit=$level
done
"$btc" compile $model --emit=ast -o "$work/again.btg" 2>"$work/err"
"$btc" compile "$work/again.btg" --emit=ast >"$work/twice.btg" 2>>"$work/err"
holds 'a printed tree parses to the same' cmp "$work/again.btg" "$work/twice.btg"
"$btc" compile $model --emit=grad -o "$work/step.graph" 2>"$work/err"
"$btc" compile "$work/step.graph" --emit=graph >"$work/step2.graph" 2>>"$work/err"
holds 'graph text parses to the same' cmp "$work/step.graph" "$work/step2.graph"
"$btc" compile $model --stop-after=dce >"$work/a" 2>"$work/err"
"$btc" compile "$work/step.graph" >"$work/b" 2>>"$work/err"
holds 'passes on graph text give the same' cmp "$work/a" "$work/b"
expect 'dumps go to standard error' 0 err 'after fold' "$btc" compile $model --emit=kernels --dump-after=fold
expect 'times go to standard error' 0 err 'passes of pretrain' "$btc" compile $model --emit=kernels --time-passes

# ---- check, compile, gradcheck ----
expect 'check prints shapes' 0 out 'f32\[8, 6\]' "$btc" check $model
expect 'check rebinds constants' 0 out 'f32\[4, 6\]' "$btc" check $model -D batch=4
expect 'check --json' 0 out '"store": [1-9]' "$btc" check $model --json
if command -v python3 >/dev/null; then
  holds 'it is JSON' python3 -c 'import json, sys; p = json.load(open(sys.argv[1]))["programs"][0]; assert p["memory"]["store"] > 0 and p["flops"] > 0' "$work/out"
else
  skip 'it is JSON' 'no python3'
fi
holds 'compile' "$btc" compile $model -o "$work/train"
expect '-v prints the command' 0 err 'gnu17' "$btc" compile $model -o "$work/train" -v
expect 'the result is a trainer' 0 out 'pretrain' "$work/train" --help
expect 'gradcheck of a program' 0 out 'good' "$btc" gradcheck $model
expect 'gradcheck of a function' 0 out 'good' "$btc" gradcheck $model --function energy --shape x=3x4
expect 'gradcheck with sizes' 0 out '\[2, 7\]' "$btc" gradcheck $model --function energy -D n=2 -D d=7
expect 'a shape that is none' 1 err "expected sizes like 32x24" "$btc" gradcheck $model --function energy --shape x=3y4
printf 'fn whole(x: f32[4]) -> i32[4] = i32(x)\nact = [relu]\n' >"$work/whole.btg"
expect 'gradcheck of integers' 1 err "gradients need one float result, and .whole. returns i32" "$btc" gradcheck "$work/whole.btg" --function whole
expect 'a function of the language' 1 err "which cannot be run by itself" "$btc" gradcheck "$work/whole.btg" --function act
expect 'gradcheck needs shapes' 1 err '--shape x=' "$btc" gradcheck $model --function energy
for size in 0 -3 2.5 abc 1e30; do
  expect "gradcheck with a size of $size" 1 err 'shape of .x. is not known' "$btc" gradcheck $model --function energy -D n=$size -D d=7
done
printf "fn scaled(x: f32[n], scale: float) -> f32 = scale * sum(x)\n" >"$work/scaled.btg"
expect 'gradcheck with a static input that is no number' 1 err "'scale' needs a value" "$btc" gradcheck "$work/scaled.btg" --function scaled -D n=2 -D scale=abc
expect 'gradcheck of no function' 1 err 'did you mean .energy' "$btc" gradcheck $model --function enrgy
expect 'gradcheck of the demo' 0 out 'good' "$btc" gradcheck examples/fashion_mnist.btg -D batch=4 -D width=2 -D dim=4 --samples=1

# ---- eval ----
shared=${BTC_SHARED:-../shared}
reference=$shared/reference/objective_barlow_twins_small.safetensors
compare() { # compare RESULT TOLERANCE: loss and gradients against the reference
  python3 - "$1" "$reference" "$2" <<'PY'
import json, struct, sys
def read(path):
    raw = open(path, 'rb').read()
    n, = struct.unpack('<Q', raw[:8])
    out = {}
    for name, t in json.loads(raw[8:8 + n]).items():
        if name != '__metadata__':
            a, z = t['data_offsets']
            code, size = {'F64': ('d', 8), 'F32': ('f', 4)}[t['dtype']]
            out[name] = t['dtype'], struct.unpack('<%d%s' % ((z - a) // size, code), raw[8 + n + a:8 + n + z])
    return out
got, want = read(sys.argv[1]), read(sys.argv[2])
for mine, theirs in (('out', 'loss'), ('dza', 'dza'), ('dzb', 'dzb')):
    a, b = got[mine][1], want[theirs][1]
    error = max(abs(x - y) for x, y in zip(a, b)) / max(map(abs, b))
    print(mine, got[mine][0], error)
    if len(a) != len(b) or not error <= float(sys.argv[3]):
        sys.exit(1)
PY
}
if [ -r "$reference" ]; then
  for backend in interp c; do
    holds "eval --backend=$backend" "$btc" eval tests/models/reference.btg --function objective \
      --in "$reference" --out "$work/$backend.safetensors" --grad --backend=$backend
    tolerance=1e-9; [ $backend = c ] && tolerance=2e-4
    if command -v python3 >/dev/null; then holds "its result ($backend)" compare "$work/$backend.safetensors" $tolerance
    else skip "its result ($backend)" 'no python3'; fi
  done
  expect 'eval of no function' 1 err "objective" "$btc" eval tests/models/reference.btg --function objectiv --in "$reference" --out "$work/r"
  expect 'eval without its data' 1 err "'xa'" "$btc" eval $model --program pretrain --in "$reference" --out "$work/r"
  holds 'a failed eval writes nothing' test ! -e "$work/r"
else
  for name in 'eval --backend=interp' 'its result (interp)' 'eval --backend=c' 'its result (c)' 'eval of no function' 'eval without its data' 'a failed eval writes nothing'; do
    skip "$name" 'no reference tensors'
  done
fi
# Two f32 tensors of zeros: x [2, 3], w [1].
header='{"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"w":{"dtype":"F32","shape":[1],"data_offsets":[24,28]}}'
{ printf "\\$(printf %03o ${#header})\\0\\0\\0\\0\\0\\0\\0"; printf %s "$header"; head -c 28 /dev/zero; } >"$work/xw.safetensors"
holds 'eval of an imported function, with a tensor that it does not take' "$btc" eval $model --function gelu --in "$work/xw.safetensors" --out "$work/r"
expect 'gradients without their cotangent' 1 err "'dout'" "$btc" eval $model --function gelu --in "$work/xw.safetensors" --out "$work/r" --grad
expect 'eval without an input' 1 err 'no tensor `za` is given, and its type alone does not say its shape' "$btc" eval $model --function barlow_twins --in "$work/xw.safetensors" --out "$work/r"
header='{"x":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]},"xa":{"dtype":"F32","shape":[0,8,6],"data_offsets":[0,0]}}'
{ printf "\\$(printf %03o ${#header})\\0\\0\\0\\0\\0\\0\\0"; printf %s "$header"; } >"$work/empty.safetensors"
expect 'eval of a tensor without elements' 1 err "'x' is \[0, 3\] in the file: it has no elements" "$btc" eval $model --function energy --in "$work/empty.safetensors" --out "$work/r"
expect 'eval of no steps' 1 err "'xa' has no steps" "$btc" eval $model --program pretrain --in "$work/empty.safetensors" --out "$work/r"
expect 'eval of a missing file' 1 err 'no_such' "$btc" eval $model --function energy --in "$work/no_such.safetensors" --out "$work/r"
# More elements than 32 bits count, gathered lane by lane across the seam of a concat.
printf 'program p {\n  data x: f32[70000, 40000]\n  report r: sum(concat([x, x], 1)[.., 1..]) + sum(reshape(x, [40000, 70000]) %s)\n}\n' "* x'" >"$work/huge.btg"
expect 'indices beyond 32 bits' 0 out 'vgather_f32(x, .*vconvert(btrt_iota(), vi64)' "$btc" compile --emit=c "$work/huge.btg"
expect 'doctor' 0 out 'BLAS core' "$btc" doctor
echo "1..$n"
