"""The examples' models in PyTorch, as a researcher would write them: the peer of bench/step.sh."""
import torch
from torch import nn


class BasicBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        skip = x if self.downsample is None else self.downsample(x)
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + skip)


class ResNet(nn.Module):
    """3x3 stem, then one stage of basic blocks per (width, blocks, stride)."""

    def __init__(self, channels, stem, stem_stride, stages):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, stem, 3, stem_stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        layers, c = [], stem
        for width, blocks, stride in stages:
            for i in range(blocks):
                layers.append(BasicBlock(c, width, stride if i == 0 else 1))
                c = width
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(torch.relu(self.bn1(self.conv1(x)))).mean((2, 3))


def projector(d_in, dim):
    return nn.Sequential(
        nn.Linear(d_in, dim, bias=False), nn.BatchNorm1d(dim), nn.ReLU(),
        nn.Linear(dim, dim, bias=False), nn.BatchNorm1d(dim), nn.ReLU(),
        nn.Linear(dim, dim, bias=False))


def barlow_twins(za, zb, lam):
    n, d = za.shape
    za = (za - za.mean(0)) / (za.var(0, unbiased=False) + 1e-5).sqrt()
    zb = (zb - zb.mean(0)) / (zb.var(0, unbiased=False) + 1e-5).sqrt()
    c = (za.T @ zb) / n
    on = (torch.diagonal(c) - 1).pow(2).sum()
    off = c.flatten()[:-1].view(d - 1, d + 1)[:, 1:].flatten().pow(2).sum()
    return on + lam * off


class Lars(torch.optim.Optimizer):
    """LARS as in the Barlow Twins code: 1-D parameters without decay and adaptation."""

    def __init__(self, params, lr, weight_decay=1e-6, momentum=0.9, eta=0.001):
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay, momentum=momentum, eta=eta))

    @torch.no_grad()
    def step(self):
        for g in self.param_groups:
            for p in g["params"]:
                dp = p.grad
                if p.ndim != 1:
                    dp = dp.add(p, alpha=g["weight_decay"])
                    pn, un = torch.norm(p), torch.norm(dp)
                    one = torch.ones_like(pn)
                    q = torch.where(pn > 0.0, torch.where(un > 0, g["eta"] * pn / un, one), one)
                    dp = dp.mul(q)
                state = self.state[p]
                if "mu" not in state:
                    state["mu"] = torch.zeros_like(p)
                state["mu"].mul_(g["momentum"]).add_(dp)
                p.add_(state["mu"], alpha=-g["lr"])


MODELS = {
    # name: (batch, (channels, height, width), encoder, projector, lambda, optimiser)
    "fashion_mnist": (256, (1, 28, 28),
                      lambda: ResNet(1, 32, 2, [(32, 1, 1), (64, 1, 2), (128, 1, 2)]),
                      lambda: projector(128, 256), 0.01,
                      lambda p: torch.optim.AdamW(p, lr=2e-3, weight_decay=1e-4)),
    "cifar10": (128, (3, 32, 32),
                lambda: ResNet(3, 64, 1, [(64, 2, 1), (128, 2, 2), (256, 2, 2), (512, 2, 2)]),
                lambda: projector(512, 2048), 0.0051,
                lambda p: Lars(p, lr=0.2)),
}
