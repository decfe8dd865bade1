"""Times training steps of an example's model in PyTorch eager: torch_step.py MODEL STEPS [batch=N].

Prints one line: the median milliseconds of a step for the faster of NCHW and channels_last. Data
lie in memory already; set OPENBLAS_CORETYPE and the MALLOC_* variables outside (bench/step.sh does).
"""
import statistics
import sys
import time

import torch

from torch_models import MODELS, barlow_twins


def median_step(model, steps, batch, memory_format):
    b, (c, h, w), encoder, projector, lam, optimizer = MODELS[model]
    b = batch or b
    torch.manual_seed(0)
    net = torch.nn.Sequential(encoder(), projector()).to(memory_format=memory_format)
    opt = optimizer(list(net.parameters()))
    xa = torch.randn(b, c, h, w).contiguous(memory_format=memory_format)
    xb = torch.randn(b, c, h, w).contiguous(memory_format=memory_format)
    times = []
    for i in range(steps + 1):
        start = time.perf_counter()
        loss = barlow_twins(net(xa), net(xb), lam)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times[1:])  # the first one allocates


def main():
    model, steps = sys.argv[1], int(sys.argv[2])
    batch = int(sys.argv[3].split("=")[1]) if len(sys.argv) > 3 else None
    torch.set_num_threads(2)
    formats = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
    results = {name: median_step(model, steps, batch, f) for name, f in formats.items()}
    name = min(results, key=results.get)
    print(f"{results[name]:.1f} ms {name}")


main()
