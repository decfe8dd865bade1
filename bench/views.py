"""Time of the views of Barlow Twins (Zbontar et al., 2021, appendix A) in torchvision and PIL: views.py CASE SECONDS

Prints the microseconds that the two views of one image take, on one thread. The pipeline is the paper's code:
PIL images throughout, PIL's GaussianBlur, then ToTensor and Normalize. bench_views.c has the same cases.
"""
import random
import sys
import time

import numpy
import torch
from PIL import Image, ImageFilter, ImageOps
from torchvision import transforms

CASES = {  # height, width, size, how often each view is blurred
    "32": (32, 32, 32, (1.0, 0.1)),
    "32-no-blur": (32, 32, 32, (0.0, 0.0)),
    "224": (375, 500, 224, (1.0, 0.1)),
}


class GaussianBlur:
    def __init__(self, p):
        self.p = p

    def __call__(self, image):
        if random.random() >= self.p:
            return image
        return image.filter(ImageFilter.GaussianBlur(random.random() * 1.9 + 0.1))


class Solarization:
    def __init__(self, p):
        self.p = p

    def __call__(self, image):
        return ImageOps.solarize(image) if random.random() < self.p else image


def make_view(size, blur, solarize):
    jitter = transforms.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
    return transforms.Compose([
        transforms.RandomResizedCrop(size, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.RandomHorizontalFlip(p=0.5),
        transforms.RandomApply([jitter], p=0.8),
        transforms.RandomGrayscale(p=0.2),
        GaussianBlur(blur),
        Solarization(solarize),
        transforms.ToTensor(),
        transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    ])


def main():
    height, width, size, blur = CASES[sys.argv[1]]
    seconds = float(sys.argv[2])
    torch.set_num_threads(1)
    draw = numpy.random.default_rng(0)
    images = [Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=numpy.uint8)) for _ in range(16)]
    views = [make_view(size, blur[0], 0.0), make_view(size, blur[1], 0.2)]
    for view in views:  # warms up
        view(images[0])
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for image in images:
            for view in views:
                view(image)
        done += len(images)
    print(f"{(time.perf_counter() - start) / done * 1e6:.1f}")


main()
