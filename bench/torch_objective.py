"""Times the Barlow Twins objective, forward and backward, in PyTorch eager: torch_objective.py N D SECONDS.

Prints "NAME MILLISECONDS", the median over alternating rounds, of
  torch_eager   the objective as facebookresearch/barlowtwins writes it
  torch_gram    its Gram form, by hand: |A'B|^2 = <AA', BB'>, so that nothing of size D x D is made
after checking that both have the same loss and gradients. Set OPENBLAS_CORETYPE and the MALLOC_* variables
outside (bench/objective.sh does).
"""
import statistics
import sys
import time

import torch
from torch.nn.functional import batch_norm

LAMBDA = 0.0051
EPS = 1e-5


def off_diagonal(x):
    n, m = x.shape
    assert n == m
    return x.flatten()[:-1].view(n - 1, n + 1)[:, 1:].flatten()


class Eager:
    def __init__(self, d):
        self.bn = torch.nn.BatchNorm1d(d, affine=False)

    def __call__(self, z1, z2):
        c = self.bn(z1).T @ self.bn(z2)
        c.div_(z1.shape[0])
        on_diag = torch.diagonal(c).add_(-1).pow_(2).sum()
        off_diag = off_diagonal(c).pow_(2).sum()
        return on_diag + LAMBDA * off_diag


def standardize(z):  # one op, forward and backward
    return batch_norm(z, None, None, training=True, eps=EPS)


def gram(z1, z2):
    n = z1.shape[0]
    a, b = standardize(z1), standardize(z2)
    diagonal = (a * b).sum(0) / n
    squares = torch.sum((a @ a.T) * (b @ b.T)) / n**2
    return (diagonal - 1).square().sum() + LAMBDA * (squares - diagonal.square().sum())


def step(objective, za, zb):
    za.grad = zb.grad = None
    start = time.perf_counter()
    loss = objective(za, zb)
    loss.backward()
    return time.perf_counter() - start, loss


def check(objectives, za, zb):
    results = []
    for objective in objectives.values():
        _, loss = step(objective, za, zb)
        results.append((loss.detach(), za.grad, zb.grad))
    for one, other in zip(*results):
        assert (one - other).abs().max() <= 1e-4 * one.abs().max(), "the forms disagree"


def main():
    n, d, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    torch.set_num_threads(2)
    torch.manual_seed(0)
    za, zb = (torch.randn(n, d, requires_grad=True) for _ in range(2))
    objectives = {"torch_eager": Eager(d), "torch_gram": gram}
    check(objectives, za, zb)
    times = {name: [] for name in objectives}
    end = time.perf_counter() + seconds
    while len(times["torch_gram"]) < 3 or time.perf_counter() < end:
        for name, objective in objectives.items():
            times[name].append(step(objective, za, zb)[0])
    for name in objectives:
        print(f"{name} {1e3 * statistics.median(times[name]):.4f}")


main()
