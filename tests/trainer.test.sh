#!/bin/sh
# A compiled trainer as users meet it: a run and what it leaves, stopping and resuming, measures,
# accidents, memory, valgrind. Everything happens in a temporary folder.
#
# Most cases train a narrow fashion_mnist.btg on the first thousand images of the real data set, cut
# out here. Those that need the data are skipped without it; the others use synthetic images.
set -u
. "$(dirname "$0")/tap.sh"
dataset=/usr/share/datasets/fashion-mnist
mounted=
trap '[ -z "$mounted" ] || umount "$mounted"; rm -rf "$work"' EXIT

# expect NAME STATUS STREAM PATTERN COMMAND…: exit status, and a pattern in out or err. Where a failure
# is explained on standard error, standard output stays empty and one message is enough.
expect() {
  name=$1 want=$2 stream=$3 pattern=$4; shift 4
  "$@" >"$work/out" 2>"$work/err" </dev/null
  got=$?
  [ $got = "$want" ] && grep -q -e "$pattern" "$work/$stream" &&
    { [ "$want" = 0 ] || [ "$stream" = out ] || { [ ! -s "$work/out" ] && [ "$(grep -c 'error:' "$work/err")" = 1 ]; }; }
  verdict $? "$name"
}

# json FILE: every line is one JSON value. Strings become S, numbers and words V; then the innermost
# brackets become V until one V is left.
json() {
  sed -E -e 's/"([^"\\]|\\.)*"/S/g' -e 's/-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?/V/g' -e 's/true|false|null/V/g' \
    -e ':again' -e 's/\{(S:[SV](,S:[SV])*)?\}/V/g; s/\[([SV](,[SV])*)?\]/V/g' -e 't again' "$1" >"$work/json"
  [ -s "$work/json" ] && ! grep -q -v -x V "$work/json"
}
field() { # field NAME FILE: a number of each JSON line that has it
  sed -n 's/.*"'"$1"'":\(-\{0,1\}[0-9.e+-]*\).*/\1/p' "$2"
}
plain() { ! grep -q "$(printf '[\r\033]')" "$@"; }
between() { awk "BEGIN {exit !($2 >= $1 && $2 <= $3)}"; } # between LEAST VALUE MOST
copy() { rm -rf "$work/$2"; cp -r "$work/$1" "$work/$2"; }
folder_sum() { (cd "$1" && find . -type f | sort | xargs cksum); }

# accident NAME PATTERN COMMAND…: fails with one message, and the run in $work/kept is as it was.
folder_kept() { folder_sum "$work/kept" | cmp - "$work/kept.sum"; }
accident() {
  title=$1; shift
  expect "$title" 1 err "$@"
  holds "$title: nothing is overwritten" folder_kept
}

# ---- the trainers -----------------------------------------------------------------------------
holds 'compile the example, narrow' "$btc" compile examples/fashion_mnist.btg -o "$work/train" -D batch=32 -D width=8 -D dim=32
holds 'compile it for any processor with AVX2, tiny' "$btc" compile examples/fashion_mnist.btg -o "$work/tiny" --march=x86-64-v3 -D batch=8 -D width=4 -D dim=8
holds 'compile a model that diverges' "$btc" compile tests/models/diverges.btg -o "$work/diverges"
train=$work/train tiny=$work/tiny diverges=$work/diverges

had_run=; [ -e run ] && had_run=1 # the user's own, of ./train here
# ---- the command line -------------------------------------------------------------------------
expect '--help lists the programs' 0 out '^  raw_probe ' "$train" --help
for program in pretrain knn probe raw_knn raw_probe info export; do
  expect "$program --help" 0 out "^Usage: .* $program " "$train" $program --help
done
expect '--version' 0 out '^btc [0-9]' "$train" --version
expect 'a misspelt option' 2 err "unknown option '--seeds'; did you mean '--seed'" "$train" --seeds 1
expect 'a misspelt program' 2 err "did you mean 'probe'" "$train" prob
expect 'an option that has no meaning here' 2 err '--epochs has no meaning' "$train" knn --epochs 1
expect 'a missing value' 2 err '--seed takes a N' "$train" --seed
expect 'not a number' 2 err "not '1e3'" "$train" --steps 1e3
expect 'no steps' 2 err "not '0'" "$train" --steps 0
expect 'a share that is none' 2 err "not '0%'" "$train" probe --labels 0%
expect 'steps and epochs' 2 err 'not both' "$train" --steps 1 --epochs 1
expect 'export of nothing' 2 err 'Name an instance' "$train" export
expect 'help on a full disk' 1 err 'cannot write' sh -c '"$0" --help >/dev/full' "$train"
expect 'info on a full disk' 1 err 'cannot write' sh -c '"$0" info --data synthetic >/dev/full' "$train"
holds 'nothing was written by all this' test "$had_run" -o ! -e run

# ---- data -------------------------------------------------------------------------------------
big_endian() { printf "\\$(printf %03o $(($1 >> 24 & 255)))\\$(printf %03o $(($1 >> 16 & 255)))\\$(printf %03o $(($1 >> 8 & 255)))\\$(printf %03o $(($1 & 255)))"; }
images() { printf '\0\0\010\003'; big_endian "$1"; big_endian 28; big_endian 28; } # images COUNT: header
labels() { printf '\0\0\010\001'; big_endian "$1"; }
first() { # first COUNT NAME: cuts images and labels out of the data set
  { images "$1"; gzip -dc "$dataset/$2-images-idx3-ubyte.gz" | tail -c +17 | head -c $((784 * $1)); } >"$work/data/$2-images-idx3-ubyte"
  { labels "$1"; gzip -dc "$dataset/$2-labels-idx1-ubyte.gz" | tail -c +9 | head -c "$1"; } >"$work/data/$2-labels-idx1-ubyte"
}
mkdir "$work/data"
if [ -r $dataset/train-images-idx3-ubyte.gz ]; then
  first 1000 train 2>"$work/held"; first 400 t10k 2>"$work/held"
  have_data=1 data=$work/data
else
  have_data= data=synthetic:1000
fi

# ---- a run ------------------------------------------------------------------------------------
steps=40
fit() { # fit OUT options…: the standard run, into a folder of its own
  to=$1; shift
  "$train" pretrain --data "$data" --out "$work/$to" --steps $steps --log-every 1 --threads 2 "$@"
}
expect 'a run' 0 err 'done, saved to' fit whole
holds 'standard output stays empty' test ! -s "$work/out"
holds 'piped progress is plain text' plain "$work/err"
holds 'the log is JSON lines' json "$work/whole/pretrain/log.jsonl"
holds 'a line a step' test "$(grep -c '"event":"step"' "$work/whole/pretrain/log.jsonl")" = $steps
grep '"event":"step"' "$work/whole/pretrain/log.jsonl" >"$work/steps"
field loss "$work/steps" | awk '
  NR <= 5 {first += $1} {tail[NR % 5] = $1}
  END {for (i in tail) last += tail[i]; print first / 5, last / 5; exit !(NR >= 10 && last < 0.8 * first)}' >"$work/held"
falls=$?
if [ "$have_data" ]; then verdict $falls 'the loss falls'; else skip 'the loss falls' 'no dataset-fashion-mnist'; fi
expect 'a second start' 1 err 'give --resume' fit whole
expect 'a finished run resumed' 0 err 'nothing to do' fit whole --resume
expect 'results on standard output' 0 out '"event":"epoch"' fit again --json --quiet
holds 'they are JSON lines' json "$work/out"
holds '--quiet says nothing but what it must' sh -c '! grep -q loss "$0"' "$work/err"
expect '--bench' 0 out '^pretrain: step .* ms, data .* ms, both at once .* ms' fit bench --bench 2
expect '--bench --json' 0 out '"step_ms":' fit bench --bench 2 --json
holds 'it is JSON' json "$work/out"
holds 'it saves nothing' test ! -e "$work/bench"
if script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
  script -qec "$tiny pretrain --data synthetic:64 --steps 20 --out $work/terminal" /dev/null >"$work/out" 2>&1 </dev/null
  grep -q "$(printf '\r')" "$work/out"
  verdict $? 'a terminal gets one line that is rewritten'
else
  skip 'a terminal gets one line that is rewritten' 'no script(1), or no pseudo-terminal'
fi

# ---- reports: a collapse is seen --------------------------------------------------------------
holds 'compile a model that collapses' "$btc" compile tests/models/collapses.btg -o "$work/collapses"
collapse() { # collapse PROGRAM: its log is $work/steps, what it shows in $work/err
  "$work/collapses" "$1" --data synthetic:400 --steps 50 --log-every 1 --out "$work/collapsed" >"$work/out" 2>"$work/err" </dev/null &&
    grep '"event":"step"' "$work/collapsed/$1/log.jsonl" >"$work/steps"
}
first_last() { field "$1" "$work/steps" | awk 'NR == 1 {first = $1} {last = $1} END {print first, last; exit !('"$2"')}' >"$work/held"; }
holds 'a run whose dimensions become one' collapse repeats
holds 'the participation falls to 1' first_last participation 'first > 5 && last > 0.99 && last < 1.05'
holds 'the deviation does not' first_last std 'last > 0.1'
holds 'the line says so' grep -q '^epoch 5/5  step 50/50  loss -3[0-9.]*  excess -3[0-9]*  participation 1  std [0-9.]*  .*img/s  ETA ' "$work/err"
holds 'in 120 columns' sh -c '! grep -q "^epoch.\{116\}" "$0"' "$work/err"
holds 'a run whose images become one point' collapse shrinks
holds 'the deviation falls to 0' first_last std 'first > 0.2 && last < 0.02'
holds 'the line says so' grep -q '^epoch 5/5 .*  std 0.0[01]  ' "$work/err"

# ---- the same again, stopped and resumed ------------------------------------------------------
same() { cmp "$work/whole/pretrain/last.safetensors" "$work/$1/pretrain/last.safetensors"; }
holds 'the same seed, the same file' same again
expect 'one thread instead of two' 0 err 'done' fit single --threads 1
holds 'the same file' same single
for loaders in 1 3 8; do
  expect "$loaders loader threads" 0 err 'done' fit loaders$loaders --loaders $loaders
  holds 'the same file' same loaders$loaders
done
losses() { field loss "$work/$1/pretrain/log.jsonl" >"$work/$1.losses"; test -s "$work/$1.losses"; }
same_losses() { losses "$1" && losses "$2" && cmp "$work/$1.losses" "$work/$2.losses"; }
holds 'and the same losses, digit for digit' same_losses whole single
expect 'another seed' 0 err 'done' fit other --seed 1
holds 'another file' sh -c '! cmp "$0/whole/pretrain/last.safetensors" "$0/other/pretrain/last.safetensors"' "$work"
expect 'start and stop, over an epoch' 0 err 'stopped, saved' fit stopped --stop-at 7
expect 'go on and stop' 0 err 'stopped, saved' fit stopped --resume --stop-at 31
holds 'on the way it is another file' sh -c '! cmp "$0/whole/pretrain/last.safetensors" "$0/stopped/pretrain/last.safetensors"' "$work"
expect 'stop at the next step' 0 err 'stopped, saved' fit stopped --resume --stop-at 32
expect 'go on to the end' 0 err 'done' "$train" pretrain --data "$data" --out "$work/stopped" --resume
holds 'stopped and resumed equals uninterrupted' same stopped
holds 'the log of all parts is JSON lines' json "$work/stopped/pretrain/log.jsonl"
holds 'it says where it went on' test "$(grep -c '"event":"resumed"' "$work/stopped/pretrain/log.jsonl")" = 3
expect 'a resumed run has its seed' 1 err 'trained with --seed 0, not 5' fit stopped --resume --seed 5
holds 'and is as it was' same stopped

interrupt() { # interrupt SIGNAL OUT: sends it once a step is logged; leaves the exit status in $got
  env --default-signal "$train" pretrain --data "$data" --out "$work/$2" --steps $steps --log-every 1 --threads 2 --save-every 2 \
    >"$work/out" 2>"$work/err" </dev/null &
  pid=$!
  for _ in $(seq 1000); do
    grep -q '"step":3,' "$work/$2/pretrain/log.jsonl" 2>/dev/null && break
    sleep 0.01
  done
  kill -"$1" $pid
  wait $pid 2>/dev/null # the shell would say "Killed"
  got=$?
}
for pair in INT:130 TERM:143 USR1:138 HUP:129 KILL:137; do
  signal=${pair%:*} code=${pair#*:}
  interrupt "$signal" "$signal"
  test $got = "$code"
  verdict $? "SIG$signal: exit status $code"
  if [ "$signal" = KILL ]; then
    holds 'SIGKILL: the last checkpoint is whole' "$train" export encoder --out "$work/KILL" -o "$work/encoder.KILL"
  else
    holds "SIG$signal: it says what to do" grep -q 'interrupted at step [0-9]*; saved to .*--resume' "$work/err"
    holds "SIG$signal: the log says so" grep -q '"event":"interrupted"' "$work/$signal/pretrain/log.jsonl"
  fi
  expect "SIG$signal: go on" 0 err 'done' fit "$signal" --resume
  holds "SIG$signal: equals uninterrupted" same "$signal"
done

# ---- measures ---------------------------------------------------------------------------------
measure() { "$train" "$@" --data "$data" --out "$work/whole"; }
right() { # right NAME LEAST PROGRAM options…: an accuracy in per cent
  title=$1 least=$2; shift 2
  if [ -z "$have_data" ]; then skip "$title" 'no dataset-fashion-mnist'; return; fi
  measure "$@" >"$work/out" 2>"$work/err" </dev/null &&
    between "$least" "$(sed -n 's/^[a-z_]*: \([0-9.]*\) % of 400 test images right.*/\1/p' "$work/out")" 100
  verdict $? "$title"
}
right 'knn' 40 knn
right 'probe' 40 probe
right 'probe --labels 1%' 20 probe --labels 1%
right 'raw_knn' 60 raw_knn
right 'raw_probe' 60 raw_probe
right 'knn --untrained' 20 knn --untrained
expect 'knn --json' 0 out '"measure":"knn","accuracy":0' measure knn --json
holds 'it is JSON' json "$work/out"
expect 'probe --json of a few labels' 0 out '"labels":"1%","train_images":1[0-9],' measure probe --json --labels 1%
expect 'info' 0 out 'BLAS buffers' "$train" info --data synthetic
expect 'info --json' 0 out '"program":"raw_probe"' "$train" info --json --data synthetic
holds 'it is JSON lines' json "$work/out"
expect 'export' 0 err 'tensors to' "$train" export encoder --out "$work/whole" -o "$work/encoder.safetensors"
holds 'torchvision names' grep -a -q '"layer1.0.conv1.weight"' "$work/encoder.safetensors"
holds 'without the instance' sh -c '! grep -a -q "\"encoder\." "$0"' "$work/encoder.safetensors"
expect 'export of what is not there' 1 err "no instance 'encodr'" "$train" export encodr --out "$work/whole" -o "$work/none"
holds 'nothing is written' test ! -e "$work/none"
expect 'export over its own checkpoint' 1 err 'itself' "$train" export encoder --out "$work/whole" -o "$work/whole/../whole/pretrain/last.safetensors"
holds 'the checkpoint is as it was' same again

# ---- accidents: data --------------------------------------------------------------------------
copy whole kept
folder_sum "$work/kept" >"$work/kept.sum"
resume() { "$train" pretrain --out "$work/kept" --steps 80 --resume --data "$@"; }
restart() { "$train" pretrain --out "$work/kept" --steps 2 --force --data "$@"; }
accident 'a missing folder' 'no such folder' restart "$work/none"
accident 'a file instead of a folder' 'not a folder' restart "$work/train"
mkdir "$work/empty"
accident 'an empty folder' 'has neither train-x.npy nor train-images-idx3-ubyte (nor' restart "$work/empty"
images 64 >"$work/header"; head -c $((784 * 64)) /dev/zero >"$work/pixels"
labels 64 >"$work/header1"; head -c 64 /dev/zero >"$work/classes"
fresh() { # fresh: a whole small data set in $work/bad
  rm -rf "$work/bad"; mkdir "$work/bad"
  for split in train t10k; do
    cat "$work/header" "$work/pixels" >"$work/bad/$split-images-idx3-ubyte"
    cat "$work/header1" "$work/classes" >"$work/bad/$split-labels-idx1-ubyte"
  done
}
fresh
expect 'the data set that is to be spoilt is good' 0 out '.' "$train" info --data "$work/bad"
for size in 0 3 15 16 20000; do
  fresh; head -c $size "$work/bad/train-images-idx3-ubyte" >"$work/short"; mv "$work/short" "$work/bad/train-images-idx3-ubyte"
  accident "images of $size bytes" 'train-images-idx3-ubyte: .*truncated' restart "$work/bad"
done
fresh; head -c 40 "$work/bad/train-labels-idx1-ubyte" >"$work/short"; mv "$work/short" "$work/bad/train-labels-idx1-ubyte"
accident 'truncated labels' 'train-labels-idx1-ubyte: truncated' restart "$work/bad"
fresh; head -c 40 "$work/bad/t10k-labels-idx1-ubyte" >"$work/short"; mv "$work/short" "$work/bad/t10k-labels-idx1-ubyte"
accident 'truncated labels of the test split' 't10k-labels-idx1-ubyte: truncated' "$train" knn --out "$work/kept" --data "$work/bad"
fresh; gzip -1 "$work/bad/train-images-idx3-ubyte"; zipped=$work/bad/train-images-idx3-ubyte.gz
whole_size=$(wc -c <"$zipped"); cp "$zipped" "$work/zipped"
for size in 1 12 $((whole_size / 2)) $((whole_size - 4)); do
  head -c "$size" "$work/zipped" >"$zipped"
  accident "gzip of $size of $whole_size bytes" 'train-images-idx3-ubyte.gz: \(truncated\|damaged\|wrong magic\)' restart "$work/bad"
done
fresh; printf '\0\0\010\001' | dd of="$work/bad/train-images-idx3-ubyte" conv=notrunc 2>"$work/held"
accident 'labels where images should be' 'wrong magic number 00000801' restart "$work/bad"
fresh; printf x >>"$work/bad/train-images-idx3-ubyte"
accident 'bytes after the images' 'longer than its header says' restart "$work/bad"
fresh; { labels 63; head -c 63 /dev/zero; } >"$work/bad/train-labels-idx1-ubyte"
accident 'fewer labels than images' 'labels-idx1-ubyte has 63 rows, where .* have 64' restart "$work/bad"
fresh; { printf '\0\0\010\003'; big_endian 64; big_endian 56; big_endian 14; cat "$work/pixels"; } >"$work/bad/train-images-idx3-ubyte"
accident 'images of another size' '56×14' restart "$work/bad"
accident 'fewer images than a batch' 'fewer than one batch of 32' restart synthetic:31
accident 'no images' 'give a number of images' restart synthetic:0
accident 'a resumed run with other data' 'steps an epoch' resume synthetic:64

# ---- accidents: checkpoints -------------------------------------------------------------------
good=$work/whole/pretrain/last.safetensors size=$(wc -c <"$work/whole/pretrain/last.safetensors")
spoil() { # spoil NAME PATTERN: a run whose checkpoint is $work/spoilt: neither knn nor resume take it
  rm -rf "$work/kept"; mkdir -p "$work/kept/pretrain"; cp "$work/spoilt" "$work/kept/pretrain/last.safetensors"
  : >"$work/kept/pretrain/log.jsonl" # which --resume locks
  folder_sum "$work/kept" >"$work/kept.sum"
  accident "$1: knn" "pretrain/last.safetensors.*$2" "$train" knn --out "$work/kept" --data synthetic:64
  accident "$1: --resume" "pretrain/last.safetensors.*$2" resume "$data"
}
for bytes in 0 7 8 1000 $((size / 2)) $((size - 1)); do
  head -c "$bytes" "$good" >"$work/spoilt"
  spoil "a checkpoint of $bytes of $size bytes" ''
done
flip() { # flip OFFSET: inverts the lowest bit of that byte of the good checkpoint
  byte=$(od -An -tu1 -j "$1" -N 1 "$good")
  cp "$good" "$work/spoilt"
  printf "\\$(printf %03o $((byte ^ 1)))" | dd of="$work/spoilt" bs=1 seek="$1" conv=notrunc 2>/dev/null
}
at() { grep -a -b -o "$1" "$good" | head -1 | cut -d: -f1; } # at TEXT: its place
flip 0; spoil 'a flipped bit of the length' ''
flip $(($(at '"btc.step":"') + 12)); spoil 'a flipped bit of the step' 'damaged'
flip $(($(at 'btc.crc32":"') + 12)); spoil 'a flipped bit of the checksum' 'damaged'
flip $((size / 2)); spoil 'a flipped bit of a tensor' 'damaged'
flip $((size - 1)); spoil 'a flipped bit at the end' ''
head -c $size /dev/zero >"$work/spoilt"; spoil 'zeros' ''
"$tiny" pretrain --data synthetic:64 --steps 1 --out "$work/tiny1" >"$work/held" 2>&1
cp "$work/tiny1/pretrain/last.safetensors" "$work/spoilt"; spoil 'a checkpoint of another model' 'another model'
expect 'knn without a checkpoint' 1 err "run '.* pretrain' first" "$train" knn --out "$work/none" --data synthetic:64
expect 'resume without a checkpoint' 1 err 'nothing to resume' "$train" --resume --out "$work/none" --data synthetic:64
expect 'export without a checkpoint' 1 err "run '.* pretrain' first" "$train" export encoder --out "$work/none" -o "$work/none.safetensors"
holds 'export wrote nothing' test ! -e "$work/none.safetensors"

# ---- accidents: the run -----------------------------------------------------------------------
expect 'a run that diverges' 1 err 'the loss is .* at step 6 .*keeps step 4' "$diverges" --data synthetic:800 --out "$work/d" --save-every 2
"$diverges" --data synthetic:800 --out "$work/d4" --stop-at 4 >"$work/held" 2>&1
holds 'the checkpoint before it is good' cmp "$work/d/pretrain/last.safetensors" "$work/d4/pretrain/last.safetensors"
holds 'its log is JSON lines' json "$work/d/pretrain/log.jsonl"
expect 'a resumed run that diverges' 1 err 'at step 6 .*keeps step 4' "$diverges" --data synthetic:800 --out "$work/d4" --resume
holds 'the checkpoint stays' cmp "$work/d/pretrain/last.safetensors" "$work/d4/pretrain/last.safetensors"
expect 'a loss that is never finite' 1 err 'the loss is nan at step 1 .*nothing was saved' "$diverges" hopeless --data synthetic:800 --out "$work/d"
expect 'a covariance without a Cholesky factor' 1 err 'the loss is nan at step 1 .*nothing was saved' "$diverges" collapsed --data synthetic:800 --out "$work/d"
holds 'no checkpoint of it' test ! -e "$work/d/hopeless/last.safetensors"

# Who began it: the op, the layer and the line, which a comment in the model marks.
holds 'compile models that make values which are not finite' "$btc" compile tests/models/not_finite.btg -o "$work/not_finite"
holds 'and for any x86-64' "$btc" compile tests/models/not_finite.btg -o "$work/not_finite_x86" --march=x86-64
line() { sed -n "/# $1\$/=" tests/models/not_finite.btg; } # line COMMENT
culprit() { # culprit PROGRAM OP LAYER COMMENT WHAT: what the message and the log name, with either trainer
  for suffix in '' _x86; do
    out=$work/culprit$suffix
    "$work/not_finite$suffix" "$1" --data synthetic:800 --out "$out" --save-every 3 --force >"$work/out" 2>"$work/err" </dev/null
    [ $? = 1 ] && grep -q "$5, at not_finite.btg:$(line "$4") in $3\$" "$work/err" &&
      json "$out/$1/log.jsonl" && grep -q '"event":"not finite".*"op":"'"$2"'".*"place":"not_finite.btg:'"$(line "$4")"'"' "$out/$1/log.jsonl"
    verdict $? "$1$suffix: $2 in $3"
    "$work/not_finite$suffix" "$1" --data synthetic:800 --out "$out.3" --stop-at 3 --force >"$work/held" 2>&1
    holds "$1$suffix: the checkpoint before it is good" cmp "$out/$1/last.safetensors" "$out.3/$1/last.safetensors"
  done
}
culprit negative_log log head@a negative_log 'in step 4: log(-[0-9.]*) = nan'
culprit steep_root rsqrt y steep_root 'in step 4: .*inf.* = nan'
culprit no_norm div unit no_norm 'made of an infinity: .* / 0 = inf'
culprit overflow exp e 'overflow: infinite' 'made of an infinity: exp(1[0-9.]*) = inf'
culprit overflow div share 'overflow: nan' 'The first nan, in step 4: -\{0,1\}inf / inf = nan'
culprit masked sqrt y masked 'in step 4: sqrt(-[0-9.]*) = nan'
culprit large mul loss large 'in step 4: .* = inf'
search() { "$work/not_finite" negative_log --data synthetic:800 "$@"; }
expect '--find-nan' 1 err 'in step 4: log(' search --out "$work/searched" --find-nan
holds 'it writes nothing' test ! -e "$work/searched"
expect '--find-nan where all is finite' 0 err 'steps 1 to 3 are finite' search --out "$work/searched" --find-nan --stop-at 3
folder_sum "$work/culprit" >"$work/culprit.sum"
expect '--resume --find-nan' 1 err 'in step 4: log(' search --out "$work/culprit" --resume --find-nan
folder_sum "$work/culprit" >"$work/culprit.sum2"
holds 'it writes nothing either' cmp "$work/culprit.sum" "$work/culprit.sum2"
expect '--find-nan --bench' 2 err 'not both' search --find-nan --bench 2

expect 'a folder under a file' 1 err 'cannot make the folder' "$train" --data synthetic:64 --out "$work/train/run"
expect 'a file as folder' 1 err 'cannot make the folder' "$train" --data synthetic:64 --out "$work/encoder.safetensors"
expect 'a folder that takes nothing' 1 err 'cannot make the folder' "$train" --data synthetic:64 --out /proc
expect 'export to a full disk' 1 err 'cannot write /dev/full' "$train" export encoder --out "$work/whole" -o /dev/full
expect 'export to a folder' 1 err 'is a folder' "$train" export encoder --out "$work/whole" -o "$work"
mkdir "$work/disk"
if mount -t tmpfs -o size=128k none "$work/disk" 2>/dev/null; then
  mounted=$work/disk
  "$tiny" pretrain --data synthetic:64 --steps 2 --stop-at 1 --out "$work/disk/run" --quiet >"$work/held" 2>&1
  head -c 120000 /dev/zero >"$work/disk/rest" 2>/dev/null
  cp "$work/disk/run/pretrain/last.safetensors" "$work/before"
  expect 'a full disk' 1 err 'cannot write .*No space left' "$tiny" pretrain --data synthetic:64 --resume --out "$work/disk/run"
  holds 'the checkpoint before it stays' cmp "$work/before" "$work/disk/run/pretrain/last.safetensors"
  holds 'nothing is left beside it' sh -c '! ls "$0" | grep tmp' "$work/disk/run/pretrain"
else
  for name in 'a full disk' 'the checkpoint before it stays' 'nothing is left beside it'; do skip "$name" 'no right to mount'; done
fi

# ---- memory -----------------------------------------------------------------------------------
# The printed plan with its reserves is what the process takes, in the example's own size.
memory() { # memory PROGRAM options…: peak resident memory within 5 % of what info says
  program=$1; shift
  "$work/full" "$program" --out "$work/memory" "$@" >"$work/out" 2>"$work/err" </dev/null &
  pid=$!
  peak=0
  while now=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$pid/status 2>/dev/null) && [ -n "$now" ]; do
    peak=$now
    sleep 0.02
  done
  wait $pid || { verdict 1 "memory of $program"; return; }
  plan=$(sed -n "s/^{\"program\":\"$program\".*\"total\":\([0-9]*\)}/\1/p" "$work/info")
  echo "$program: plan $((plan / 1024)) KiB, peak $peak KiB" >"$work/held"
  between 0.95 "$peak / ($plan / 1024)" 1.05
  verdict $? "$(cat "$work/held")"
}
if [ "$have_data" ]; then
  holds 'compile the example' "$btc" compile examples/fashion_mnist.btg -o "$work/full"
  "$work/full" info --json >"$work/info" 2>"$work/err"
  memory pretrain --steps 5
  "$work/full" info --json --data synthetic:8000 >"$work/info" 2>"$work/err"
  memory raw_knn --data synthetic:8000
else
  for name in 'compile the example' 'memory of pretrain' 'memory of raw_knn'; do skip "$name" 'no dataset-fashion-mnist'; done
fi

# ---- valgrind ---------------------------------------------------------------------------------
# It knows no AVX-512: hence the tiny trainer for x86-64-v3. One thread, as it runs one at a time.
check_memory() {
  OMP_NUM_THREADS=1 valgrind -q --leak-check=full --errors-for-leak-kinds=definite,indirect,possible --error-exitcode=9 \
    "$tiny" "$@" --data synthetic:64 --out "$work/valgrind" --threads 1
}
if command -v valgrind >/dev/null; then
  holds 'valgrind: 20 steps' check_memory pretrain --steps 20
  holds 'valgrind: knn' check_memory knn
else
  for name in 'valgrind: 20 steps' 'valgrind: knn'; do skip "$name" 'no valgrind'; done
fi
echo "1..$n"
