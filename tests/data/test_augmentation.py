"""Augmentation: flips and shifts of a global batch."""

import pytest
import torch
from helpers.small_runs import experiment
from torch import nn

from mmdprior import InputError
from mmdprior.data import Augmentation
from mmdprior.seeding import stream

IMAGES = torch.randint(0, 256, (64, 3, 8, 10), dtype=torch.uint8, generator=stream(0, "images"))


def augmented(augmentation, rows=slice(0, 64)):
    return augmentation(IMAGES[rows], 64, rows, stream(0, "augmentation", 3))


def test_flips_half_of_the_images():
    images = augmented(Augmentation(flip=True))
    flipped = [torch.equal(a, b.flip(2)) for a, b in zip(images, IMAGES, strict=True)]
    unchanged = [torch.equal(a, b) for a, b in zip(images, IMAGES, strict=True)]
    assert all(a != b for a, b in zip(flipped, unchanged, strict=True))
    assert 16 < sum(flipped) < 48


def test_shifts_are_crops_of_an_image_padded_by_reflection():
    images = augmented(Augmentation(shift=3))
    padded = nn.functional.pad(IMAGES.float(), (3, 3, 3, 3), mode="reflect").to(torch.uint8)
    windows = padded.unfold(2, 8, 1).unfold(3, 10, 1)
    places = [(windows[i].permute(1, 2, 0, 3, 4) == images[i]).flatten(2).all(2) for i in range(64)]
    assert all(bool(place.any()) for place in places)
    assert torch.stack(places).float().mean(0).count_nonzero() > 30


def test_ranks_augment_their_rows_as_one_process_does():
    augmentation = Augmentation(flip=True, shift=2)
    parts = [augmented(augmentation, slice(a, a + 16)) for a in range(0, 64, 16)]
    assert torch.equal(torch.cat(parts), augmented(augmentation))


def test_a_shift_that_is_negative_or_too_large_is_an_error():
    with pytest.raises(InputError, match=r"shift: -1 received"):
        Augmentation(shift=-1)
    with pytest.raises(InputError, match=r"data\.shift: 64 received; shift images of 64 x 64 by less"):
        experiment(data__shift=64)
