#!/bin/sh
# Weights of other libraries: random weights of PyTorch's networks are read by trainers, whose features equal
# PyTorch's; what a trainer exports is loaded by PyTorch, with equal features again, and every tensor that went
# through both is the same byte for byte. Needs Debian's python3-torch and python3-numpy.
set -u
. "$(dirname "$0")/tap.sh"
python=/usr/bin/python3
torch() { OMP_NUM_THREADS=2 "$python" tests/torch_interchange.py "$@"; }

# through NETWORK TENSORS IGNORED: how many tensors its encoder has, and what is ignored of the file
through() {
  net=$1 data=$work/$1; mkdir "$data"
  train=$work/$1/train weights=$data/weights.safetensors
  holds "$net: random weights" torch make "$net" "$data"
  holds "$net: compile" "$btc" compile tests/models/interchange.btg -o "$train" -D network="$net"
  expect "$net: features of the weights" 0 err "encoder: $2 tensors from .*weights.safetensors$3" \
    "$train" features --init "$weights" --data "$data" --features "$data/f1.safetensors"
  holds "$net: they are PyTorch's" torch features "$net" "$data" "$weights" "$data/f1.safetensors"
  expect "$net: start a run from the weights" 0 err "encoder: $2 tensors from" \
    "$train" tune --init "encoder=$weights" --data "$data" --out "$data/run"
  expect "$net: export" 0 err "encoder: $2 tensors to" "$train" export encoder --out "$data/run" -o "$data/out.safetensors"
  holds "$net: the tensors are as they were" torch bytes "$weights" "$data/out.safetensors"
  "$train" features --data "$data" --out "$data/run" --features "$data/f2.safetensors" >"$work/out" 2>"$work/err"
  holds "$net: PyTorch has the checkpoint's features from the exported weights" \
    torch features "$net" "$data" "$data/out.safetensors" "$data/f2.safetensors"
  expect "$net: export of another library's file" 0 err "encoder: $2 tensors to" \
    "$train" export encoder --from "$weights" -o "$data/again.safetensors"
  holds "$net: the same bytes" torch bytes "$weights" "$data/again.safetensors"
}

if "$python" -c 'import torch, numpy' 2>/dev/null; then
  through resnet18 100 '; ignored: fc.weight, fc.bias, 20 num_batches_tracked'
  through resnet50 265 '; ignored: fc.weight, fc.bias, 53 num_batches_tracked'
  through class 30 '$'
  through mean 28 '$'
  expect 'weights of another network' 1 err 'does not fit .encoder.; its tensors differ' \
    "$work/resnet18/train" features --init "$work/resnet50/weights.safetensors" --data "$work/resnet18"
  expect 'weights of no network of this file' 1 err "has no tensor of this program" \
    "$work/resnet18/train" features --init "$work/resnet18/f1.safetensors" --data "$work/resnet18"
else
  skip 'weights to and from PyTorch' 'no python3-torch, or no python3-numpy'
fi

# ---- arrays ---------------------------------------------------------------------------------------
# points.btg on the data of points.py, as its page says.
if command -v python3 >/dev/null; then
  right() { "$work/points" "$1" --data "$work/vectors" --out "$work/run" 2>&1 | sed -n "s/^[a-z_]*: \([0-9.]*\) % of 1024 test rows right.*/\1/p"; }
  holds 'points.py' python3 examples/points.py "$work/vectors"
  holds 'compile points.btg' "$btc" compile examples/points.btg -o "$work/points"
  expect 'train on vectors' 0 err 'done, saved' "$work/points" --data "$work/vectors" --out "$work/run"
  trained=$(right knn) raw=$(right raw_knn)
  echo "kNN: trained $trained %, raw $raw %" >"$work/held"
  awk "BEGIN {exit !($trained + 0 > 95 && $raw + 0 < 70 && $raw + 0 > 30)}"
  verdict $? 'what is learned tells the classes apart, the recordings do not'
  expect 'arrays and no --data' 1 err 'give --data FOLDER with train-a.npy and test-a.npy' "$work/points" --out "$work/none"
  expect 'synthetic arrays' 0 err 'done' "$work/points" --data synthetic:512 --steps 3 --out "$work/none"
  expect 'no labels to choose by' 1 err 'has no labels that program pretrain reads' "$work/points" --data "$work/vectors" --labels 1% --out "$work/no_labels"
else
  skip 'points.btg' 'no python3'
fi
echo "1..$n"
