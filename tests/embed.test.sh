#!/bin/sh
# A model in a C program that includes one header: examples/embed.c, as docs/cli.md has it built.
set -u
. "$(dirname "$0")/tap.sh"

cat >"$work/model.btg" <<'MODEL'
const batch = 2
module scaled(by: float)(x: f32[..s]) -> f32[..s] {
  param w: f32 = by
  return w * x
}
module still(lr: f32)(w: f32[..s], g: f32[..s]) -> f32[..s] { return w + 0 * lr * g }
encoder = scaled(3.0)
other = scaled(5.0)
program pretrain {
  data x: f32[batch, 4]
  minimize mean(encoder(x)^2) + mean(other(x)^2)
  optimizer still(lr: 1.0)
}
program knn {
  data x: f32[batch, 4], y: i32[batch]
  evaluate knn(frozen(encoder)(x), y)
}
program both {
  data x: f32[batch, 4], y: i32[batch]
  evaluate knn(frozen(encoder)(x) + frozen(other)(x), y)
}
MODEL
runtime=$(dirname "$0")/../runtime
"$btc" compile "$work/model.btg" -o "$work/train" && "$btc" compile "$work/model.btg" --shared -o "$work/model.so"
(cd "$work" && ./train pretrain --data synthetic:4 && ./train export encoder -o encoder.safetensors) >/dev/null 2>&1
holds 'a C program with one header' "${CC:-cc}" -Wall -Wextra -Werror -O1 -fopenmp -I"$runtime" \
  "$runtime/../examples/embed.c" "$(dirname "$btc")/libbtrt.a" -ljansson -lz -lm -lopenblas -o "$work/embed"
# 16 numbers, two batches: 1 and 0.5 as little-endian f32
{ for i in 1 2 3 4 5 6 7 8; do printf '\000\000\200\077\000\000\000\077'; done; } >"$work/batches"
embed() { "$work/embed" "$work/model.so" "$1" <"$work/batches" | od -An -v -t f4 | tr -s ' \n' '  '; }
expect 'of a checkpoint' 0 out '^ 3 1.5 3 1.5 3 1.5 3 1.5 3 1.5 3 1.5 3 1.5 3 1.5 $' embed "$work/run/pretrain/last.safetensors"
expect 'of an exported file' 0 out '^ 3 1.5 3 1.5 ' embed "$work/encoder.safetensors"
expect 'of one instance of a file' 0 out '^ 3 1.5 3 1.5 ' embed "encoder=$work/run/pretrain/last.safetensors"
sed 's/"knn"/"both"/' "$runtime/../examples/embed.c" >"$work/both.c"
"${CC:-cc}" -fopenmp -I"$runtime" "$work/both.c" "$(dirname "$btc")/libbtrt.a" -ljansson -lz -lm -lopenblas -o "$work/both"
expect 'weights that are not whole' 1 err 'encoder.safetensors has no tensor other.w' "$work/both" "$work/model.so" "encoder=$work/encoder.safetensors"
expect 'a program that is not there' 1 err 'the model has no program knm' sh -c \
  'sed "s/\"knn\"/\"knm\"/" "$1/../examples/embed.c" >"$2/none.c" && '"${CC:-cc}"' -fopenmp -I"$1" "$2/none.c" "$3/libbtrt.a" -ljansson -lz -lm -lopenblas -o "$2/none" && "$2/none" "$2/model.so" x' sh "$runtime" "$work" "$(dirname "$btc")"
head -c 20 "$work/batches" >"$work/short"
expect 'a batch that is not whole' 1 err 'ends within a batch' sh -c '"$1/embed" "$1/model.so" "$1/run/pretrain/last.safetensors" <"$1/short"' sh "$work"
echo "1..$n"
