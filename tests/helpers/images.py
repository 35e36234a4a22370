"""Small image files and image sets."""

import numpy as np
import torch
from PIL import Image

from mmdprior.data import InMemory


def save_image(path, seed, size=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def numbered(n, shape=(1, 4, 4)):
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, *shape).contiguous()
    return InMemory(images, torch.arange(n)[:, None])
