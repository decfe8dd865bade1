"""tensors.py: safetensors files without their library, for the tests in Python."""
import json
import struct

import numpy as np

TYPES = {"F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "U8": "u1"}


def read(path):
    """The file's tensors by name."""
    raw = open(path, "rb").read()
    start = 8 + struct.unpack("<Q", raw[:8])[0]
    tensors = {}
    for name, t in json.loads(raw[8:start]).items():
        if name != "__metadata__":
            begin, end = t["data_offsets"]
            tensors[name] = np.frombuffer(raw[start + begin:start + end], TYPES[t["dtype"]]).reshape(t["shape"])
    return tensors
