"""Checks of images as sources return them, and the PSNR that unscaled images would get."""

import math
import warnings

import numpy as np
import pytest
import torch
from helpers.images import numbered
from torch import nn

from mmdprior import InputError
from mmdprior.data import ImageSet, InMemory, Source, arrays, make_splits
from mmdprior.data.pixel_checks import check_pixels
from mmdprior.errors import InputWarning
from mmdprior.evaluation import evaluate, reconstruction_error
from mmdprior.models import Autoencoder

NOISE = torch.rand(100, 1, 8, 8, generator=torch.Generator().manual_seed(0))
BITS = (NOISE < 0.1).to(torch.uint8)


class Returned(ImageSet):
    """A set whose gather returns rows of a tensor, as a user's own class might."""

    image_shape = (1, 8, 8)

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def gather(self, indices):
        return self.images[indices], torch.empty(len(indices), 0)


class Black(nn.Module):
    """A decoder that returns black images."""

    def forward(self, z):
        return torch.zeros(len(z), 1, 8, 8)


class Corner(nn.Module):
    """An encoder that returns two pixels."""

    def forward(self, x):
        return x[:, 0, 0, :2]


@pytest.mark.parametrize("kind", [bool, np.uint8, np.uint16])
def test_black_reconstructions_of_bits_have_the_psnr_of_their_contrast(tmp_path, kind):
    np.save(tmp_path / "bits.npy", BITS.numpy().astype(kind))
    images = arrays(str(tmp_path / "bits.npy")).train
    error = reconstruction_error(Autoencoder(Corner(), Black()), images)
    assert error.psnr == pytest.approx(-10 * math.log10(BITS.double().mean()), abs=1e-6)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (BITS, "uint8 images with no value above 1"),
        (BITS.long(), "torch.int64"),
        (BITS.bool(), "torch.bool"),
        (NOISE.double(), "torch.float64"),
        (255 * NOISE, "values from .* scale them"),
        (2 * NOISE - 1, "values from -.* scale them"),
        (NOISE.index_fill(0, torch.tensor([3]), math.nan), "values from nan"),
        (NOISE[:, :, :4], r"shape \(64, 1, 4, 8\) received for 64 indices; return \(64, 1, 8, 8\)"),
    ],
)
def test_images_that_break_the_contract_are_one_line(images, message):
    for check in (check_pixels, lambda images: make_splits(Source(images))):
        with pytest.raises(InputError, match=message) as caught:
            check(Returned(images))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (NOISE / 255, r"dark: their largest value is 0\.004"),
        ((255 * NOISE / 8).to(torch.uint8), r"dark: their largest value is 0\.1"),
        (torch.full((50, 1, 8, 8), 0.5), "nearly constant: .* 0 of 1, and its PSNR is infinite"),
        (0.5 + NOISE / 1000, r"nearly constant: .* its PSNR is 7\d dB"),
        (torch.full((50, 1, 8, 8), 77, dtype=torch.uint8), "nearly constant"),
    ],
)
def test_dark_and_nearly_constant_images_are_reported(images, message):
    with pytest.warns(InputWarning, match=message):
        check_pixels(Returned(images))


@pytest.mark.parametrize("images", [NOISE, (255 * NOISE).to(torch.uint8), 255 * BITS, NOISE[:1]])
def test_ordinary_images_are_not(images):
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        check_pixels(Returned(images))
        if len(images) > 1:
            make_splits(Source(Returned(images)))


def test_dark_images_in_the_sample_do_not_decide_for_the_set():
    images = torch.ones(1000, 1, 8, 8, dtype=torch.uint8)
    images[37] = 255  # not among the 64 that are read first
    check_pixels(Returned(images))


def test_evaluate_reports_dark_images():
    model = Autoencoder(Corner(), Black())
    with pytest.warns(InputWarning, match="dark"):
        evaluate(model, Returned(NOISE / 100), predictors=["linear"])


def test_tensors_in_memory():
    assert torch.equal(InMemory(BITS.bool()).images, 255 * BITS)
    with pytest.raises(InputError, match=r"no value above 1 .* give images.bool\(\), or 255 \* images"):
        InMemory(BITS)
    part = InMemory(BITS, is_part=True)
    assert torch.equal(part.to("cpu").images, BITS)
    assert torch.equal(InMemory(numbered(20).images).images, numbered(20).images)
