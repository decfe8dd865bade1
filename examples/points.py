#!/usr/bin/env python3
"""points.py FOLDER [SEED]: writes the data of points.btg as .npy files.

Eight classes are eight points on a circle, blurred. Two instruments record each event in 32 numbers: a fixed
mixture of where it was and of 12 disturbances that are stronger and of each instrument's own. So neighbours among
recordings are neighbours in disturbance; what two recordings of one event have in common is where it was.
Only Python's own library is needed; with NumPy each file is np.save("train-y.npy", y).
"""
import array
import math
import os
import random
import sys

CLASSES, NOISE, SIZE = 8, 12, 32


def save(path, kind, values, shape):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': ({', '.join(map(str, shape))},), }}"
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    numbers = array.array({"<f4": "f", "<i4": "i"}[kind], values)
    if sys.byteorder == "big":
        numbers.byteswap()
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + numbers.tobytes())


def main():
    folder, seed = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    draw = random.Random(seed)
    mixture = [[draw.gauss(0, 1) for _ in range(2 + NOISE)] for _ in range(SIZE)]

    def record(place):
        causes = place + [2 * draw.gauss(0, 1) for _ in range(NOISE)]
        return [sum(m * c for m, c in zip(row, causes)) + 0.1 * draw.gauss(0, 1) for row in mixture]

    os.makedirs(folder, exist_ok=True)
    for split, n in ("train", 4096), ("test", 1024):
        classes = [draw.randrange(CLASSES) for _ in range(n)]
        places = [[3 * math.cos(math.tau * c / CLASSES) + 0.3 * draw.gauss(0, 1),
                   3 * math.sin(math.tau * c / CLASSES) + 0.3 * draw.gauss(0, 1)] for c in classes]
        for name in "ab":
            rows = [x for place in places for x in record(place)]
            save(f"{folder}/{split}-{name}.npy", "<f4", rows, [n, SIZE])
        save(f"{folder}/{split}-class.npy", "<i4", classes, [n])


if __name__ == "__main__":
    main()
