#!/usr/bin/env python3
"""pil_images.py FOLDER: what PIL makes of images, for tests/unit/test_rt_images.c.

Writes JPEG and PNG files of the kinds that PIL writes; then, for every image file of the folder, NAME.rgb.npy
and NAME.l.npy: convert("RGB") as [3, height, width] and convert("L") as [1, height, width]."""
import os
import sys

import numpy as np
from PIL import Image

folder = sys.argv[1]
random = np.random.RandomState(1)


def picture(height, width, channels):
    """Smooth colours with some noise, as photographs have."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [128 + 100 * np.sin(x / (3 + c) + y / (5 - c) + c) for c in range(channels)]
    noisy = np.stack(planes, -1) + random.normal(0, 12, (height, width, channels))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def save(name, image, **options):
    image.save(os.path.join(folder, name), **options)


rgb = Image.fromarray(picture(45, 67, 3))
for subsampling, name in enumerate(["444", "422", "420"]):
    save("rgb%s.jpg" % name, rgb, subsampling=subsampling, quality=75)
save("progressive.jpg", rgb, progressive=True, quality=60)
save("pixel.jpg", rgb.crop((0, 0, 1, 1)))
save("column.jpg", rgb.crop((0, 0, 1, 33)))
save("grey.jpg", rgb.convert("L"))
save("cmyk.jpg", Image.fromarray(picture(31, 40, 4), "CMYK"))
exif = Image.Exif()
exif[0x0112] = 6  # turned, which nobody is to do
save("turned.jpg", rgb, exif=exif)

save("rgb.png", rgb)
save("rgba.png", Image.fromarray(picture(20, 30, 4), "RGBA"))
save("grey.png", rgb.convert("L"))
save("grey_alpha.png", Image.fromarray(picture(20, 30, 2), "LA"))
save("bits.png", rgb.convert("1"))
save("palette.png", rgb.quantize(200))
save("palette4.png", rgb.quantize(10))
save("transparent.png", rgb.quantize(100), transparency=3)
save("colour_key.png", rgb, transparency=(1, 2, 3))

for name in sorted(os.listdir(folder)):
    if not name.endswith((".jpg", ".png")):
        continue
    image = Image.open(os.path.join(folder, name))
    pixels = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    np.save(os.path.join(folder, name + ".rgb.npy"), np.ascontiguousarray(pixels))
    np.save(os.path.join(folder, name + ".l.npy"), np.asarray(image.convert("L"))[None])
