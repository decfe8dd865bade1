#!/bin/sh
# Trainers on folders of images: of one size and of many, grey and coloured, with and without labels and a test
# split, in memory and read each time, with files that cannot be read. The images are made by Debian's python3-pil.
set -u
. "$(dirname "$0")/tap.sh"
python=/usr/bin/python3
export OMP_WAIT_POLICY=passive PYTHONDONTWRITEBYTECODE=1

if ! "$python" -c 'import PIL, numpy' 2>/dev/null; then
  skip 'image folders' 'no python3-pil, or no python3-numpy'
  echo "1..$n"
  exit
fi

# Folders even (8 × 8), and mixed: other sizes, grey and palettes among them. Three classes, by colour.
"$python" - "$work" <<'PY'
import os, sys
import numpy as np
from PIL import Image

random = np.random.RandomState(0)
for kind in ["even", "mixed"]:
    for split, count in [("train", 16), ("val", 8)]:
        for label, name in enumerate(["blue", "green", "red"]):
            folder = os.path.join(sys.argv[1], kind, split, name)
            os.makedirs(folder)
            for i in range(count):
                height, width = (8, 8) if kind == "even" else random.randint(3, 40, 2)
                pixels = random.randint(0, 80, (height, width, 3)) + 150 * (np.arange(3) == 2 - label)
                image = Image.fromarray(pixels.astype(np.uint8))
                if kind == "mixed" and i == 0: image = image.convert("L")
                if kind == "mixed" and i == 1: image = image.quantize(16)
                image.save(os.path.join(folder, "%02d.%s" % (i, "png" if i % 4 == 1 else "jpg")))
PY

holds 'compile' "$btc" compile tests/models/image_folder.btg -o "$work/train"
train() { "$work/train" "$@" --threads 2; }
copy() { rm -rf "$work/$2"; cp -r "$work/$1" "$work/$2"; }
last() { echo "$work/$1/pretrain/last.safetensors"; }

# ---- pixels ---------------------------------------------------------------------------------------
expect 'classes are folders' 0 out '% of 24 test images right, from 48 labelled' train pixels --data "$work/even" --features "$work/f"
expect 'and without memory for them' 0 out '% of 24 test images right' train pixels --data "$work/even" --features "$work/f0" --cache 0
holds 'the same features' cmp "$work/f" "$work/f0"
holds "they are PIL's pixels, and labels go by name" "$python" - "$work" <<'PY'
import glob, sys
import numpy as np
from PIL import Image
sys.path.insert(0, "tests")
from tensors import read
t = read(sys.argv[1] + "/f")
for split, folder in [("train", "train"), ("test", "val")]:
    files = sorted(glob.glob(sys.argv[1] + "/even/" + folder + "/*/*"))
    want = np.stack([np.asarray(Image.open(f).convert("RGB")).transpose(2, 0, 1).ravel() for f in files])
    got = t[split + ".features"] * 255
    assert np.abs(got - want).max() < 1e-3, np.abs(got - want).max()
    labels = [["blue", "green", "red"].index(f.split("/")[-2]) for f in files]
    assert t[split + ".labels"].tolist() == labels
PY
expect 'images of one size are asked for' 1 err 'mixed/train/.* has .* pixels, the images before it another size. The program takes images of one size: write data x: u8\[batch, 3, _, _\]' \
  train pixels --data "$work/mixed"
expect 'and of another size' 1 err 'has images of 3×8×8 .*, the program was compiled for' sh -c '"$0" compile tests/models/image_folder.btg -D side=4 -o "$1/small" && "$1/small" pixels --data "$1/even"' "$btc" "$work"

# ---- training -------------------------------------------------------------------------------------
expect 'train on images of many sizes' 0 err 'done, saved' train pretrain --data "$work/mixed" --out "$work/run"
expect 'and read them each time' 0 err 'done, saved' train pretrain --data "$work/mixed" --out "$work/run0" --cache 0
holds 'the same parameters' cmp "$(last run)" "$(last run0)"
expect 'kNN of them' 0 out '% of 24 test images right' train knn --data "$work/mixed" --out "$work/run"
expect 'info says what they take' 0 out '^decoded images may take 3.00 MiB' train info --data "$work/even" --cache 3M
for size in x 1.5G 2GB -1 G; do expect "a cache of $size" 2 err "takes a size such as 2G, 500M or 0, not '$size'" train --cache=$size; done

copy even alone; mv "$work/alone/train" "$work/alone.train"; rm -r "$work/alone"
expect 'class folders alone are to train on' 0 err 'done, saved' train pretrain --data "$work/alone.train" --out "$work/run1"
expect 'not to test on' 1 err 'has no images to test on, which the program needs' train knn --data "$work/alone.train" --out "$work/run1"
mkdir "$work/bare" "$work/bare/train"
for file in "$work"/even/train/*/*; do cp "$file" "$work/bare/train/$(echo "${file#"$work/even/train/"}" | tr / -)"; done
expect 'images need no labels' 0 err 'done, saved' train pretrain --data "$work/bare" --out "$work/run2"
tensors() { tail -c +$(($(od -An -tu8 -N8 "$(last "$1")") + 9)) "$(last "$1")" >"$work/$1.tensors"; } # names of files differ
same_tensors() { tensors "$1" && tensors "$2" && cmp "$work/$1.tensors" "$work/$2.tensors"; }
holds 'which change nothing' same_tensors run1 run2
expect 'unless a program reads them' 1 err "has images without labels, which the program reads as 'y'" sh -c 'mv "$1/bare/train" "$1/bare/test" && cp -r "$1/bare/test" "$1/bare/train" && "$1/train" knn --data "$1/bare" --out "$1/run"' sh "$work"

# ---- what cannot be read --------------------------------------------------------------------------
copy even bad; head -c 300 "$work/even/train/green/02.jpg" >"$work/bad/train/green/02.jpg"
warned() { [ "$(grep -c "warning: cannot read .*bad/train/green/02.jpg: .*; the image after it takes its place" "$work/err")" = 1 ]; }
for cache in 1G 0; do
  expect "an image that is cut short, --cache $cache" 0 err '1 of 48 images could not be read, and others took their places' \
    train pretrain --data "$work/bad" --out "$work/bad$cache" --cache $cache
  holds 'is named once' warned
done
holds 'the same parameters all the same' cmp "$(last bad1G)" "$(last bad0)"
copy even end; : >"$work/end/train/green/15.jpg"
expect 'a measure goes on, too' 0 err '1 of 72 images could not be read' train pixels --data "$work/end" --features "$work/g"
holds 'the next image comes with its label' "$python" - "$work/g" <<'PY'
import sys
import numpy as np
sys.path.insert(0, "tests")
from tensors import read
t = read(sys.argv[1])
assert t["train.labels"][30:34].tolist() == [1, 2, 2, 2]
assert (t["train.features"][31] == t["train.features"][32]).all()
assert (t["train.features"][30] != t["train.features"][31]).any()
PY
: >"$work/bad/train/red/00.jpg"
for cache in 1G 0; do
  expect "too many of them, --cache $cache" 1 err '2 of 48 images cannot be read, more than one in a hundred; the first is' \
    train pretrain --data "$work/bad" --out "$work/none$cache" --cache $cache
done

# ---- the data of a run ----------------------------------------------------------------------------
expect 'a run that is stopped' 0 err 'stopped' train pretrain --data "$work/even" --out "$work/own" --steps 6 --stop-at 2
copy even renamed
for split in train val; do mv "$work/renamed/$split/green" "$work/renamed/$split/zebra"; done
expect 'is not resumed on other data' 1 err 'trained on other data.*--init' train pretrain --data "$work/renamed" --out "$work/own" --resume
copy even moved
expect 'but where they were moved, and says what becomes longer' 0 err 'the run is now 8 steps long, not 6' \
  train pretrain --data "$work/moved" --out "$work/own" --resume --steps 8
expect 'a used folder is refused before data are read' 1 err 'exists (step 8 of 8)' train pretrain --data "$work/none" --out "$work/own"

echo "1..$n"
