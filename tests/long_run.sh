#!/bin/sh
# A long run with accidents: trains for MINUTES (30), with evaluations, killed and resumed every SEGMENT
# seconds (300) by SIGKILL, SIGTERM and SIGUSR1 in turn: tests/long_run.sh BUILD [MINUTES [SEGMENT]]
#
# Resident memory and open descriptors are read every second. Fails where a process, once it has been evaluated
# once, holds at its end more than 1 % of memory more than at first, where a later process holds more than the
# first resumed one (the very first has read no checkpoint), where descriptors grow, or where a run does not go on.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build} minutes=${2:-30} segment=${3:-300}
out=$build/long_run
rm -rf "$out"; mkdir -p "$out"
"$build/btc" compile examples/fashion_mnist.btg -o "$out/train"

# sample PID FILE: seconds, resident KiB, descriptors, a line a second, until the process ends.
sample() {
  at=0
  while [ -d "/proc/$1/fd" ]; do
    rss=$(awk '/^VmRSS/ {print $2}' "/proc/$1/status" 2>/dev/null) || break
    [ -n "$rss" ] && echo "$at $rss $(ls "/proc/$1/fd" 2>/dev/null | wc -l)"
    sleep 1
    at=$((at + 1))
  done >"$2"
}

# judge FILE FIRST: the first third of the time (from the first evaluation on) against the last.
judge() {
  awk -v first="$2" '
    function median(a, from, to,   i, j, n, t, s) {
      for (i = from; i < to; i++) s[n++] = a[i]
      for (i = 1; i < n; i++) for (j = i; j > 0 && s[j - 1] > s[j]; j--) { t = s[j]; s[j] = s[j - 1]; s[j - 1] = t }
      return s[int(n / 2)]
    }
    {rss[NR] = $2; fd[NR] = $3}
    END {
      from = NR > 90 ? 60 : int(NR / 2); third = int((NR - from) / 3)
      early = median(rss, from, from + third + 1); late = median(rss, NR - third, NR + 1)
      fds = median(fd, from, from + third + 1); fdl = median(fd, NR - third, NR + 1)
      printf "%d s: %.1f MiB, at the end %.1f (%+.2f %%); descriptors %d, at the end %d\n", NR, early / 1024, late / 1024, 100 * (late / early - 1), fds, fdl
      exit late > 1.01 * early || fdl > fds || (first && late > 1.01 * first)
    }' "$1"
}

end=$(($(date +%s) + minutes * 60)) n=0 first=0 resume= failed=0
while [ "$(date +%s)" -lt $end ]; do
  n=$((n + 1))
  "$out/train" pretrain --out "$out/run" --epochs 100000 --save-every 100 --evaluate knn --tensorboard $resume >"$out/$n.out" 2>&1 &
  pid=$!
  sample $pid "$out/$n.memory" &
  left=$((end - $(date +%s)))
  sleep $((left < segment ? left : segment))
  case $((n % 3)) in 1) signal=KILL want=137 ;; 2) signal=TERM want=143 ;; *) signal=USR1 want=138 ;; esac
  kill -$signal $pid 2>/dev/null || true
  got=0; wait $pid 2>/dev/null || got=$?
  wait
  step=$(sed -n 's/.*"event":"step","step":\([0-9]*\),.*/\1/p' "$out/run/pretrain/log.jsonl" | tail -1)
  printf 'part %d, SIG%s at step %s, exit status %d, %d evaluations, ' $n $signal "$step" $got "$(grep -c '"event":"evaluate"' "$out/run/pretrain/log.jsonl")"
  [ $got = $want ] || { echo "(not $want)"; tail -5 "$out/$n.out"; failed=1; break; }
  judge "$out/$n.memory" $first || { echo "  grew"; failed=1; }
  [ $n = 1 ] || [ $first != 0 ] || first=$(awk 'NR > 60 {s += $2; n++} END {printf "%d", n ? s / n : 0}' "$out/$n.memory")
  resume=--resume
done
[ $failed = 0 ] && echo "flat within 1 %, no descriptor lost" || echo "FAILED"
exit $failed
