#!/bin/sh
# What programs measure and write: outputs, which other programs and NumPy read; accuracies while another program
# trains; and data with which nothing can be measured.
set -u
. "$(dirname "$0")/tap.sh"

holds 'compile a model that is measured' "$btc" compile tests/models/measured.btg -o "$work/train"
train=$work/train
field() { sed -n 's/.*"'"$1"'":\(-\{0,1\}[0-9.e+-]*\).*/\1/p'; } # field NAME: of each line that has it

encoder() { "$train" export encoder --out "$work/$1" -o "$work/$1.encoder"; }
same_encoder() { encoder "$1" && encoder "$2" && cmp "$work/$1.encoder" "$work/$2.encoder"; }

# ---- while training ---------------------------------------------------------------------------
expect 'a run with a measure' 0 err '^  knn [0-9.]* %' "$train" pretrain --data synthetic:300 --out "$work/run" --evaluate knn
if script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
  script -qec "stty cols 120; $train pretrain --data synthetic:300 --out $work/wide --evaluate knn" /dev/null >"$work/wide.out" 2>&1 </dev/null
  holds 'a wide line has the last accuracy' grep -q 'epoch 2/3 .*  knn [0-9.]* %  .*ETA' "$work/wide.out"
  holds 'and none before the first' sh -c '! grep -q "epoch 1/3.*knn.*ETA" "$0"' "$work/wide.out"
else
  for name in 'a wide line has the last accuracy' 'and none before the first'; do skip "$name" 'no script(1), or no pseudo-terminal'; done
fi
holds 'at its end standard output has it' grep -q '^knn: [0-9.]* % of 75 test rows right, from 300 labelled ones (knn' "$work/out"
holds 'the log has one an epoch' test "$(grep -c '"event":"evaluate",.*"program":"knn","measure":"knn","accuracy":0' "$work/run/pretrain/log.jsonl")" = 3
holds 'the same without' "$train" pretrain --data synthetic:300 --out "$work/plain" --quiet
holds 'trains the same, bit for bit' same_encoder run plain
grep '"evaluate"' "$work/run/pretrain/log.jsonl" | tail -1 | field accuracy >"$work/a"
expect 'knn by itself' 0 out '"measure":"knn"' "$train" knn --data synthetic:300 --out "$work/run" --json
field accuracy <"$work/out" >"$work/b"
holds 'says what the last one said' cmp "$work/a" "$work/b"
expect 'every other epoch and the last' 0 err 'done' "$train" pretrain --data synthetic:300 --out "$work/few" --evaluate knn --evaluate-every 2
holds 'are two' test "$(grep -c '"event":"evaluate"' "$work/few/pretrain/log.jsonl")" = 2
expect 'what needs another run' 1 err "evaluate tested: it loads head from probe, which pretrain does not have" "$train" pretrain --data synthetic:300 --out "$work/none" --evaluate tested
expect 'what reads data of another shape' 1 err "program narrow takes the data 'a' in another type or shape" "$train" pretrain --data synthetic:300 --out "$work/none" --evaluate narrow
expect 'a misspelt measure' 2 err "did you mean 'knn'" "$train" pretrain --evaluate kn
expect 'what only writes' 2 err "'embed' measures nothing" "$train" pretrain --evaluate embed
expect 'broken features while training are a warning' 0 err '^warning: program broken: the features of training row 0 are not finite' "$train" pretrain --data synthetic:300 --out "$work/warned" --evaluate broken
holds 'trains the same' same_encoder warned plain
expect 'broken features by themselves are an error' 1 err 'program broken: the features of training row 0 are not finite' "$train" broken --data synthetic:300 --out "$work/run"

# ---- a probe ----------------------------------------------------------------------------------
expect 'a probe says its accuracy on the test split' 0 out '^test accuracy: 0.[0-9]*$' "$train" probe --data synthetic:300 --out "$work/run"
sed 's/.*: //' "$work/out" >"$work/a"
expect 'a program that loads it' 0 out '^accuracy: 0.[0-9]*$' "$train" tested --data synthetic:300 --out "$work/run"
sed -n 's/^accuracy: //p' "$work/out" >"$work/b"
holds 'says the same' cmp "$work/a" "$work/b"
expect 'as JSON' 0 out '"pass":"test","accuracy":0' "$train" probe --data synthetic:300 --out "$work/run" --force --json --quiet
expect 'with few labels' 0 out '^test accuracy: 0.[0-9]*$' "$train" probe --data synthetic:400 --out "$work/run" --force --labels 10%

# ---- outputs ----------------------------------------------------------------------------------
expect 'outputs' 0 out '^outer: 75 rows of 6×8 to .*/run/embed/test-outer.npy$' "$train" embed --data synthetic:300 --out "$work/run"
holds 'are a file each and split' test "$(ls "$work/run/embed" | tr '\n' ' ')" = 'test-class.npy test-features.npy test-outer.npy train-class.npy train-features.npy train-outer.npy '
expect 'they are data of another program' 0 out '"accuracy"' "$train" again --data "$work/run/embed" --json
field accuracy <"$work/out" >"$work/a"
"$train" knn --data synthetic:300 --out "$work/run" --json | field accuracy >"$work/b"
holds 'whose features are those' cmp "$work/a" "$work/b"
expect 'with few labels they are fewer' 0 out '"output":"class","split":"train","shape":\[40\]' "$train" embed --data synthetic:400 --out "$work/few" --untrained --labels 10% --json
expect 'outputs that are not finite' 1 err 'not finite' "$train" broken --data synthetic:300 --out "$work/run"
if python3 -c 'import numpy' 2>/dev/null; then
  cat >"$work/read.py" <<'PY'
import sys, numpy as np
for split, n in ("train", 300), ("test", 75):
    z, o, c = (np.load(f"{sys.argv[1]}/{split}-{name}.npy") for name in ("features", "outer", "class"))
    assert z.shape == (n, 6) and z.dtype == np.float32 and o.shape == (n, 6, 8) and c.shape == (n,) and c.dtype == np.int32
    assert np.isfinite(z).all() and (c < 10).all()
PY
  holds 'NumPy reads them' python3 "$work/read.py" "$work/run/embed"
else
  skip 'NumPy reads them' 'no NumPy'
fi

# ---- data with which nothing can be measured ---------------------------------------------------
copy() { rm -rf "$work/bad"; cp -r "$work/run/embed" "$work/bad"; }
copy; rm "$work/bad/test-class.npy"
expect 'a test split without labels' 1 err 'test-class.npy' "$train" again --data "$work/bad"
copy; cp "$work/bad/test-class.npy" "$work/bad/train-class.npy"
expect 'fewer labels than rows' 1 err 'train-class.npy: 75 rows, where the split.s other files have 300' "$train" again --data "$work/bad"
one_class() { # its header, then zeros
  head -c 128 "$work/run/embed/$1-class.npy" >"$work/bad/$1-class.npy"
  head -c $((4 * $2)) /dev/zero >>"$work/bad/$1-class.npy"
}
copy; one_class train 300; one_class test 75
expect 'one class alone' 0 out '^knn: 100.00 %' "$train" again --data "$work/bad"
copy; one_class train 300
expect 'test labels that training has not' 1 err 'the training labels are 0 to 0' "$train" again --data "$work/bad"
expect 'fewer rows than neighbours and than a batch' 0 out '^knn: .* of 1 test rows right, from 3 labelled ones' "$train" again --data synthetic:3
echo "1..$n"
