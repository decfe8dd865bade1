#!/bin/sh
# Averages in a compiled trainer: they start as copies, after what is loaded, follow, are saved and
# loaded. examples/byol.btg trains, and goes on after a stop as if there had been none.
set -u
. "$(dirname "$0")/tap.sh"

cat >"$work/start.btg" <<'MODEL'
import std.nn
import std.optim
const rate = 0.0
encoder = [flatten, linear(3)]
target  = ema(encoder, decay: 0.5)
view plain { normalize(mean: [0.5], std: [0.25]) }
program first {
  data x: u8[8, 1, 4, 4]
  minimize mean(encoder(plain(x))^2) + mean(target(plain(x)))
  optimizer sgd(lr: rate)
}
program second {
  data x: u8[8, 1, 4, 4]
  load encoder from "moved.safetensors"
  minimize mean(encoder(plain(x))^2) + mean(target(plain(x)))
  optimizer sgd(lr: 0.0)
}
program third {
  data x: u8[8, 1, 4, 4]
  load encoder, target from first
  minimize mean(encoder(plain(x))^2) + mean(target(plain(x)))
  optimizer sgd(lr: 0.0)
}
MODEL
program=$work/still
run() { # run PROGRAM OUT OPTION…
  "$program" "$1" --data synthetic:64 --out "$work/$2" --quiet --force ${3-} ${4-}
}
parts() { # parts OUT PROGRAM: what it holds of encoder and target: the bytes of 3×16 weights and 3 biases
  for part in encoder target; do
    "$program" export $part --from "$work/$1/$2/last.safetensors" -o "$work/file" || return 1
    tail -c 204 "$work/file" >"$work/$part"
  done
}
together() { parts "$@" && cmp "$work/encoder" "$work/target"; }
apart() { parts "$@" && ! cmp -s "$work/encoder" "$work/target"; }

example=$PWD/examples/byol.btg
cd "$work" || exit 2 # where moved.safetensors is
holds 'compile' "$btc" compile start.btg -o still
holds 'compile with a rate' "$btc" compile start.btg -o moving -D rate=0.1
holds 'a step with rate 0' run first start --steps=1
holds 'an average starts as a copy' together start first
program=$work/moving
holds 'steps with a rate' run first moved --steps=3
holds 'it follows behind' apart moved first
cp moved/first/last.safetensors moved.safetensors
program=$work/still
holds 'a program that loads the encoder' run second moved --steps=1
holds 'the average starts as what was loaded' together moved second
holds 'and that had been trained' sh -c '"$0" export encoder --from start/first/last.safetensors -o fresh && ! tail -c 204 fresh | cmp -s - encoder' "$program"
holds 'a program that loads both' run third moved --steps=1
holds 'a loaded average is no copy' apart moved third

# ---- BYOL -------------------------------------------------------------------------------------
holds 'compile examples/byol.btg, narrow' "$btc" compile "$example" -o byol -D batch=16 -D width=4 -D hidden=16 -D dim=8
program=$work/byol
holds 'train' run pretrain whole --steps=6
holds 'train and stop' run pretrain parted --steps=6 --stop-at=3
holds 'go on' "$program" pretrain --data synthetic:64 --out parted --quiet --resume
holds 'stopped and resumed equals uninterrupted' cmp whole/pretrain/last.safetensors parted/pretrain/last.safetensors
for measure in knn knn_target; do
  expect "$measure" 0 out '^knn: ' "$program" $measure --data synthetic:64 --out whole
done
echo "1..$n"
