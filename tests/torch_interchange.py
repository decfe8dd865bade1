"""torch_interchange.py: weights to and from PyTorch, under torchvision's and timm's names.

  make NETWORK FOLDER             random weights as weights.safetensors, images and labels as .npy
  bytes FILE FILE                 the second file's tensors are the first one's, byte for byte
  features NETWORK FOLDER FILE F  weights FILE, loaded into the network, give on the images the features in F

The networks are torchvision's ResNets and timm's VisionTransformer, written out, so that neither is needed; the
files are read and written here, so that the package safetensors is not needed either.
"""
import json
import sys

import numpy as np
import torch
from torch import nn

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
TYPES = {"F32": np.float32, "I32": np.int32, "I64": np.int64}


# ---- safetensors --------------------------------------------------------------------------------
def save(path, tensors):
    header, at, parts = {}, 0, []
    for name, x in tensors.items():
        kind = next(k for k, t in TYPES.items() if t == x.dtype)
        header[name] = {"dtype": kind, "shape": list(x.shape), "data_offsets": [at, at + x.nbytes]}
        parts.append(np.ascontiguousarray(x).tobytes())
        at += x.nbytes
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + b"".join(parts))


def load(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = f.read()
    header.pop("__metadata__", None)
    return {name: np.frombuffer(data[t["data_offsets"][0]:t["data_offsets"][1]], TYPES[t["dtype"]]).reshape(t["shape"])
            for name, t in header.items()}


# ---- torchvision's ResNets ----------------------------------------------------------------------
class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, cin, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(cin, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.downsample = shortcut(cin, width, stride)

    def forward(self, x):
        skip = x if self.downsample is None else self.downsample(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + skip)


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, cin, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(cin, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample = shortcut(cin, 4 * width, stride)

    def forward(self, x):
        skip = x if self.downsample is None else self.downsample(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.bn3(self.conv3(y)) + skip)


def shortcut(cin, cout, stride):
    if stride == 1 and cin == cout:
        return None
    return nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))


class ResNet(nn.Module):
    def __init__(self, block, blocks):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        cin = 64
        for stage, n in enumerate(blocks):
            layers = []
            for i in range(n):
                layers.append(block(cin, 64 << stage, 2 if stage and i == 0 else 1))
                cin = block.expansion * (64 << stage)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(cin, 1000)

    def forward(self, x):
        y = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(y)))).mean((2, 3))


# ---- timm's VisionTransformer, with the tanh form of GELU -----------------------------------------
class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        n, t, d = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = torch.softmax(q @ k.transpose(-2, -1) / (d // self.heads) ** 0.5, -1) @ v
        return self.proj(y.transpose(1, 2).reshape(n, t, d))


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim, eps=1e-6), Attention(dim, heads)
        self.norm2, self.mlp = nn.LayerNorm(dim, eps=1e-6), Mlp(dim, 4 * dim)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def waves(n, d):
    angle = np.arange(n)[:, None] * 10000.0 ** (-np.arange(d // 2) / (d // 2))[None]
    return np.concatenate([np.sin(angle), np.cos(angle)], 1)


def grid(side, d):
    """Positions of Masked Autoencoders: the column's, then the row's."""
    one = waves(side, d // 2)
    return torch.tensor(np.concatenate([np.tile(one, (side, 1)), np.repeat(one, side, 0)], 1), dtype=torch.float32)


class VisionTransformer(nn.Module):
    def __init__(self, dim=48, depth=2, heads=3, patch=16, pool="class", side=4):
        super().__init__()
        self.pool = pool
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dim, patch, patch)
        if pool == "class":
            self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
            self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side * side, dim))
        else:
            self.fixed = grid(side, dim)
        self.blocks = nn.Sequential(*[Block(dim, heads) for _ in range(depth)])
        self.final_norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x):
        y = self.patch_embed.proj(x).flatten(2).transpose(1, 2)
        if self.pool == "class":
            y = torch.cat([self.cls_token.expand(len(y), -1, -1), y], 1) + self.pos_embed
        else:
            y = y + self.fixed
        y = self.final_norm(self.blocks(y))
        return y[:, 0] if self.pool == "class" else y.mean(1)


def network(name):
    if name == "resnet18":
        return ResNet(BasicBlock, [2, 2, 2, 2])
    if name == "resnet50":
        return ResNet(Bottleneck, [3, 4, 6, 3])
    return VisionTransformer(pool=name)


# ---- commands -------------------------------------------------------------------------------------
def randomise(net):
    """Nothing keeps a value that a mistake could leave unseen: running statistics, weights of norms, biases."""
    with torch.no_grad():
        for name, x in net.state_dict().items():
            if name.endswith("running_var") or ("norm" in name or "bn" in name) and name.endswith("weight"):
                x.uniform_(0.5, 1.5)
            elif name.endswith("num_batches_tracked"):
                x.fill_(7)
            elif x.ndim <= 1 or "token" in name or "pos_embed" in name:
                x.normal_(0, 0.2)


def make(name, folder):
    torch.manual_seed(1)
    net = network(name)
    randomise(net)
    save(f"{folder}/weights.safetensors", {k: v.numpy() for k, v in net.state_dict().items()})
    draw = np.random.default_rng(1)
    for split, n in ("train", 4), ("test", 3):
        np.save(f"{folder}/{split}-x.npy", draw.integers(0, 256, (n, 3, 64, 64), dtype=np.uint8))
        np.save(f"{folder}/{split}-y.npy", np.arange(n) % 2)


def same_bytes(a, b):
    a, b = load(a), load(b)
    extra = {k for k in a if k not in b}
    assert all(k.startswith("fc.") or k.endswith(".num_batches_tracked") for k in extra), extra
    for name, x in b.items():
        assert x.dtype == a[name].dtype and x.shape == a[name].shape and x.tobytes() == a[name].tobytes(), name
    print(f"{len(b)} tensors equal, {len(extra)} left out")


def features(name, folder, weights, got):
    net = network(name).eval()
    # fc may be missing; of num_batches_tracked PyTorch says nothing.
    absent, unexpected = net.load_state_dict({k: torch.tensor(v) for k, v in load(weights).items()}, strict=False)
    assert not unexpected and all(k.startswith("fc.") or k.endswith("num_batches_tracked") for k in absent), absent
    got = load(got)
    for split in "train", "test":
        x = torch.tensor(np.load(f"{folder}/{split}-x.npy"), dtype=torch.float32) / 255
        x = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        with torch.no_grad():
            want = net(x).numpy()
        error = np.abs(got[f"{split}.features"] - want).max() / np.abs(want).max()
        print(f"{split}: features {want.shape} differ by {error:.1e} of the largest")
        assert error <= 1e-4


if __name__ == "__main__":
    {"make": make, "bytes": same_bytes, "features": features}[sys.argv[1]](*sys.argv[2:])
