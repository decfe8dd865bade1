#!/bin/sh
# faults.test.sh: what a run survives. A library that is loaded before the trainer (tests/faults/shim.c) lets the Nth
# call of a kind fail, or kills the process at it, for every N that the run comes to; then the run is resumed, and must
# leave the same bytes as one that nothing happened to. BTC_KILLS (default 10): runs that are killed at random moments.
set -u
. "$(dirname "$0")/tap.sh"

if [ -n "${CC:-}" ] && [ "${CC%-fsanitize=*}" != "$CC" ]; then
  skip 'faults' 'the sanitizers have an allocator of their own'; echo "1..$n"; exit
fi
holds 'compile the library that makes calls fail' "${CC:-cc}" -O1 -Wall -shared -fPIC tests/faults/shim.c -o "$work/shim.so" -ldl
holds 'compile the trainer' "$btc" compile tests/models/runs.btg -o "$work/train"
train=$work/train shim=$work/shim.so mark=$work/mark

fit() { # fit OUT options…: 8 steps in 2 epochs; 5 checkpoints at 4 steps, under 3 names
  to=$1; shift
  "$train" pretrain --data synthetic:32 --threads 1 --quiet --save-every 3 --keep-every 1 --out "$work/$to" "$@"
}
export_encoder() { "$train" export encoder --out "$work/$1" -o "$work/$2"; }
with() { # with "FAULT…=…" COMMAND…: a failure in it
  settings=$1; shift
  env LD_PRELOAD="$shim" FAULT_MARK="$mark" $settings "$@"
}
faulty_fit() { # faulty_fit "FAULT…=…" OUT options…
  settings=$1 to=$2; shift 2
  with "$settings" "$train" pretrain --data synthetic:32 --threads 1 --quiet --save-every 3 --keep-every 1 --out "$work/$to" "$@" \
    >"$work/out" 2>"$work/err" </dev/null
}
checkpoints='last best epoch-0001 epoch-0002'
equals() { # equals OUT: it has the checkpoints of the run that nothing happened to, and nothing temporary
  for checkpoint in $checkpoints; do
    cmp "$work/whole/pretrain/$checkpoint.safetensors" "$work/$1/pretrain/$checkpoint.safetensors" || return 1
  done
  ! ls -A "$work/$1/pretrain" | grep tmp
}
go_on() { # go_on OUT: to the end, from the last checkpoint or from the beginning
  if [ -e "$work/$1/pretrain/last.safetensors" ]; then fit "$1" --resume; else fit "$1" --force; fi
}
one_message() { [ ! -s "$work/out" ] && [ "$(grep -c 'error: ' "$work/err")" = 1 ]; }
complain() { echo "$*: status $status"; cat "$work/err"; } # false, after what goes to a failed test's explanation

holds 'a run' fit whole
cat "$work/whole/pretrain/log.jsonl" >"$work/whole.log"

# ---- files ------------------------------------------------------------------------------------
# each CALL ERROR…: the errors take turns.
each() {
  call=$1; shift
  at=0 fired=1
  while [ $fired ]; do
    for error in "$@"; do
      at=$((at + 1))
      rm -rf "$work/cut" "$mark"
      faulty_fit "FAULT=$call FAULT_AT=$at FAULT_ERROR=$error" cut; status=$?
      [ -e "$mark" ] || { fired=; break; }
      [ $status = 1 ] && one_message || { complain "$call $at $error"; return 1; }
      ! ls -A "$work/cut/pretrain" 2>/dev/null | grep tmp || { complain "$call $at $error leaves a file"; return 1; }
      go_on cut && equals cut || { complain "$call $at $error, resumed"; return 1; }
    done
  done
  [ $at -gt "$least" ] || { echo "only $at calls"; return 1; }
}
least=5
holds 'a write that fails, wherever it is' each write ENOSPC EIO
holds 'a file that does not reach the disk' each fsync EIO ENOSPC
holds 'a file that cannot be closed' each close EIO
holds 'a file that cannot be renamed' each rename EIO EROFS
holds 'a file or folder that cannot be made' each open EROFS EMFILE ENOSPC

each_export() { # each_export CALL: the old file stays, or the new one is whole
  at=0
  while at=$((at + 1)); do
    echo old >"$work/encoder"; rm -f "$mark"
    with "FAULT=$1 FAULT_AT=$at FAULT_ERROR=ENOSPC" "$train" export encoder --out "$work/whole" -o "$work/encoder" >"$work/out" 2>"$work/err"; status=$?
    [ -e "$mark" ] || break
    [ $status = 1 ] && one_message || { complain "$1 $at"; return 1; }
    [ "$(cat "$work/encoder")" = old ] || [ $at -gt 1 ] && ! ls "$work" | grep encoder.tmp || { complain "$1 $at leaves something"; return 1; }
  done
  cmp "$work/encoder" "$work/encoder.good" && [ $at -gt 1 ]
}
holds 'export' export_encoder whole encoder.good
for call in write fsync close rename open; do holds "an export whose $call fails" each_export $call; done

full_log() {
  mkdir -p "$work/full/pretrain" && ln -s /dev/full "$work/full/pretrain/log.jsonl"
  fit full 2>"$work/err" && grep -q 'warning: cannot write .*log.jsonl: No space' "$work/err" && [ "$(wc -l <"$work/err")" = 1 ] && equals full
}
holds 'a log that cannot be written is a warning' full_log

# ---- killed -----------------------------------------------------------------------------------
each_kill() {
  at=0
  while at=$((at + 1)); do
    rm -rf "$work/cut" "$mark"
    faulty_fit "FAULT=any FAULT_AT=$at FAULT_ERROR=KILL" cut 2>/dev/null; status=$?
    [ -e "$mark" ] || break
    [ $status = 137 ] && go_on cut && equals cut || { complain "killed at call $at"; return 1; }
  done
  [ $at -gt 100 ] || { echo "only $at calls"; return 1; }
}
holds 'killed at any change of a file' each_kill

# A run of many steps is killed and resumed until it comes to its end. Moments are drawn from the time that a whole run
# took last (the machine may be faster now, or slower), and from more and more of it.
long() { settings=$1; shift; faulty_fit "FAULT_COUNT=$work/count $settings" "$@" --epochs 30 --save-every 1; }
random_kills() {
  long FAULT=any long || return 1
  time=$(cut -d' ' -f2 "$work/count")
  mv "$work/whole" "$work/short"; mv "$work/long" "$work/whole"
  checkpoints='last best epoch-0001 epoch-0030' kills=0 round=0
  while [ $round -lt "${BTC_KILLS:-10}" ]; do
    round=$((round + 1)) turn=0
    rm -rf "$work/cut"
    while turn=$((turn + 1)); do
      moment=$(awk "BEGIN {srand($round * 1000 + $turn); print int(1 + rand() * $time * (1 + $turn / 10))}")
      [ -e "$work/cut/pretrain/last.safetensors" ] && more=--resume || more=--force
      long "FAULT_AFTER=$moment" cut $more 2>/dev/null; status=$?
      [ $status != 0 ] || break
      [ $status = 137 ] || { complain "round $round, turn $turn"; return 1; }
      kills=$((kills + 1))
    done
    [ $turn -gt 1 ] || time=$(cut -d' ' -f2 "$work/count")
    equals cut || { echo "round $round is another run"; return 1; }
  done
  rm -rf "$work/whole"; mv "$work/short" "$work/whole"
  checkpoints='last best epoch-0001 epoch-0002'
  echo "$kills kills"
  [ $kills -ge 1 ]
}
holds 'killed at random moments, until the end' random_kills

# ---- memory -----------------------------------------------------------------------------------
# The threads' library and the loader have messages of their own.
out_of_memory() { grep -q -i -e 'out of memory' -e 'cannot allocate' -e 'Thread creation failed' -e 'cannot start [0-9]* threads' "$work/err"; }
no_memory() { # no_memory CALL AT COMMAND…: true too where it does without
  call=$1 at=$2; shift 2
  rm -f "$mark"
  with "FAULT=$call FAULT_AT=$at FAULT_ERROR=ENOMEM" "$@" >"$work/out" 2>"$work/err" </dev/null; status=$?
  [ $status = 0 ] || { [ $status = 1 ] && out_of_memory; } || { complain "$call $at of $*"; return 1; }
}
resume_without() { # resume_without CALL AT
  rm -rf "$work/cut"; cp -r "$work/begun" "$work/cut"
  no_memory "$1" "$2" "$train" pretrain --data synthetic:32 --threads 2 --quiet --save-every 3 --keep-every 1 --out "$work/cut" --resume
}
all_memory() { # all_memory FUNCTION…: every allocation up to the 150th, then some, with FUNCTION CALL AT; and all blocks
  at=0
  while at=$((at + 1)) && { "$@" malloc $at || return 1; } && [ -e "$mark" ]; do [ $at -lt 150 ] || at=$((at + 67)); done
  [ $at -gt 40 ] || { echo "only $at allocations"; return 1; }
  at=0
  while at=$((at + 1)) && { "$@" mmap $at || return 1; } && [ -e "$mark" ]; do :; done
}
holds 'a run that is stopped' fit begun --stop-at 5
start_without() { rm -rf "$work/cut"; no_memory "$1" "$2" "$train" pretrain --data synthetic:32 --threads 2 --out "$work/cut"; }
resumes_without() { resume_without "$1" "$2" && go_on cut && equals cut; }
knn_without() { no_memory "$1" "$2" "$train" knn --data synthetic:32 --threads 2 --out "$work/whole"; }
export_without() { no_memory "$1" "$2" "$train" export encoder --out "$work/whole" -o "$work/encoder"; }
holds 'a run that gets no memory' all_memory start_without
holds 'a resumed run that gets none goes on later' all_memory resumes_without
holds 'a measure that gets none' all_memory knn_without
holds 'an export that gets none' all_memory export_without

# ---- descriptors and standard files -----------------------------------------------------------
few_descriptors() {
  failed=
  for most in 4 5 6 7 8; do
    rm -rf "$work/cut"
    (ulimit -n $most; fit cut) >"$work/out" 2>"$work/err"; status=$?
    [ $status = 0 ] && equals cut || { [ $status = 1 ] && one_message && failed=1; } || { complain "$most descriptors"; return 1; }
  done
  [ $failed ] || echo 'it needs none'
  [ $failed ]
}
holds 'out of descriptors' few_descriptors
closed() { # closed NAME STATUS REDIRECTIONS options…: neither file of the run has words of ours in it
  name=$1 want=$2 how=$3; shift 3
  rm -rf "$work/cut"
  sh -c 'how=$1; shift; eval "exec \"\$@\" $how"' sh "$how" "$train" pretrain --data synthetic:32 --threads 1 --save-every 3 --keep-every 1 \
    --out "$work/cut" "$@" >"$work/out" 2>"$work/err"
  status=$?
  [ $status = "$want" ] && equals cut >"$work/held" && ! grep -q -a 'done, saved' "$work/cut/pretrain/"*
  verdict $? "$name"
}
closed 'standard output is closed, which takes the results' 1 '>&-'
closed 'standard error is closed' 0 '2>&-'
closed 'all are closed' 1 '<&- >&- 2>&-'
closed 'results go to a closed standard output' 1 '>&-' --json
holds 'it says so' grep -q 'cannot write to standard output' "$work/err"

if [ "$(id -u)" = 0 ] && setpriv --reuid=65534 --regid=65534 --clear-groups true 2>/dev/null; then
  nobody='setpriv --reuid=65534 --regid=65534 --clear-groups'
else
  nobody=env
fi
chmod 755 "$work"; cp -r "$work/begun" "$work/readonly"; chmod 555 "$work/readonly" "$work/readonly/pretrain"
if [ "$(id -u)" != 0 ] || [ "$nobody" != env ]; then
  expect 'a folder that cannot be written' 1 err 'cannot write to the folder .*Permission denied' \
    $nobody "$train" --data synthetic:32 --out "$work/readonly" --resume
else
  skip 'a folder that cannot be written' 'no way to be somebody else'
fi
chmod 755 "$work/readonly" "$work/readonly/pretrain"
limited() { (ulimit -f 4; fit limited); } # 2048 bytes
expect 'files may not grow' 1 err 'error: .*File too large' limited

# ---- a checkpoint that is missing or damaged --------------------------------------------------
begun_at_5() { rm -rf "$work/cut"; cp -r "$work/begun" "$work/cut"; }
begun_at_5; : >"$work/cut/pretrain/last.safetensors"
expect 'a damaged last checkpoint: another is named' 1 err 'last.safetensors: empty.*/cut/pretrain/.*\.safetensors is good (step 4 of 8): --resume --from .* goes on' fit cut --resume
from=$(sed -n 's/.*--from \([^ ]*\) goes on.*/\1/p' "$work/err")
holds 'going on from it' fit cut --resume --from "$from"
holds 'comes to the same end' equals cut
begun_at_5; rm "$work/cut/pretrain/last.safetensors"; : >"$work/cut/pretrain/best.safetensors"
expect 'a missing last checkpoint' 1 err 'nothing to resume: .*epoch-0001.safetensors is good' fit cut --resume
expect 'is not overwritten by a new start' 1 err 'exists' fit cut
holds 'nor are the others, but by force' fit cut --force
holds 'which starts afresh' equals cut
cp "$work/whole/pretrain/last.safetensors" "$work/cut/pretrain/epoch-0077.safetensors"
touch "$work/cut/pretrain/last.safetensors.tmp-1" "$work/cut/pretrain/last.safetensors.tmp-x"
holds 'by force again' fit cut --force
holds 'nothing is left of the run before' test ! -e "$work/cut/pretrain/epoch-0077.safetensors"
holds 'nor of killed writers' test ! -e "$work/cut/pretrain/last.safetensors.tmp-1"
holds 'what is not ours stays' test -e "$work/cut/pretrain/last.safetensors.tmp-x"

# ---- two runs ---------------------------------------------------------------------------------
"$train" pretrain --data synthetic:32 --threads 1 --quiet --out "$work/two" --epochs 1000000 --save-every 2 >"$work/out" 2>&1 </dev/null & pid=$!
for _ in $(seq 500); do [ -e "$work/two/pretrain/best.safetensors" ] && break; sleep 0.02; done
expect 'a second run by force' 1 err 'another run is writing to' fit two --force
expect 'or resumed' 1 err 'another run is writing to' fit two --resume
reads() { for _ in 1 2 3 4 5 6 7 8 9 10; do export_encoder two encoder && "$train" knn --data synthetic:32 --out "$work/two" || return 1; done; }
holds 'others read what it writes' reads
kill -USR1 $pid; wait $pid; got=$?
holds 'SIGUSR1: exit status 138' test $got = 138
holds 'and it can be resumed' fit two --resume --stop-at 1

# ---- what a run leaves of itself --------------------------------------------------------------
mkdir "$work/model"
sed 's/^import std.nn$/import "layers.btg"/; s/linear(dim)/linear(width)/' tests/models/runs.btg >"$work/model/runs.btg"
printf 'import std.nn\nconst width = 4\n' >"$work/model/layers.btg"
holds 'compile a model of two files' "$btc" compile "$work/model/runs.btg" -o "$work/train"
holds 'train it' fit own --stop-at 3
holds 'its text' cmp "$work/model/runs.btg" "$work/own/pretrain/model.btg"
holds 'and that of what it imports' grep -q '"text": "import std.nn\\nconst width = 4\\n"' "$work/own/pretrain/config.json"
for word in '"program": "pretrain"' '"steps": 8' '"batch": 8' '"classes": 10' '"save-every": 3' '"path": "std/optim.btg"' '"started": "20'; do
  holds "config.json has $word" grep -q "$word" "$work/own/pretrain/config.json"
done
echo '# another' >>"$work/model/layers.btg"
holds 'compile it again, changed' "$btc" compile "$work/model/runs.btg" -D dim=5 -o "$work/train"
"$train" pretrain --data synthetic:32 --out "$work/own" --resume --stop-at 4 >"$work/out" 2>"$work/err"
holds 'a resumed run says what has changed' grep -q 'warning: .*: layers.btg has changed; it was compiled without -D dim=5; the run goes on' "$work/err"
holds 'so does its log' grep -q '"event":"resumed","step":3,"changes":"layers.btg has changed' "$work/own/pretrain/log.jsonl"
quiet() { fit "$@" >"$work/out" 2>"$work/err" && [ ! -s "$work/out" ] && [ ! -s "$work/err" ]; }
holds '--quiet is quiet about it' quiet own --resume --stop-at 5
echo "1..$n"
