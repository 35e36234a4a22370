"""Sprites: factors, rendering and seeded subsets."""

import sys

import numpy as np
import pytest
import torch

from mmdprior import InputError
from mmdprior.data import sprites
from mmdprior.data.sprites import FACTOR_SIZES, factors_of, render


def test_factors_invert_the_grid_index():
    indices = torch.tensor([0, 1, 31, 32, 737_279, 123_456])
    assert np.ravel_multi_index(factors_of(indices).T.numpy(), FACTOR_SIZES).tolist() == indices.tolist()
    assert len(sprites(None).train) == 737_280


def test_images_are_anti_aliased_repeatable_and_within_the_border():
    factors = factors_of(torch.randint(737_280, (300,)))
    images = render(factors)
    assert images.shape == (300, 1, 64, 64)
    assert images.dtype == torch.uint8
    assert torch.equal(images, render(factors))
    assert (images.flatten(1).max(1).values == 255).all()
    edge = (images > 0) & (images < 255)
    assert 0 < edge.float().mean() < 0.02
    border = torch.cat([images[..., 0, :], images[..., -1, :], images[..., 0], images[..., -1]], -1)
    assert border.max() == 0


def test_only_pixels_that_a_sprite_covers_are_computed(monkeypatch):
    """The window around a sprite contains it, for every shape, scale and orientation, also at the border."""
    looks = torch.cartesian_prod(*[torch.arange(size) for size in FACTOR_SIZES[:3]])
    for place in (torch.tensor([[0, 31]]), torch.tensor([[31, 0]]), torch.randint(32, (len(looks), 2))):
        factors = torch.cat([looks, place.expand(len(looks), 2)], 1)
        images = render(factors)
        with monkeypatch.context() as patch:
            patch.setattr(sys.modules[render.__module__], "_WINDOW", 64)  # the whole image
            assert torch.equal(images, render(factors))


@pytest.mark.parametrize("factor", range(5))
def test_every_factor_value_changes_the_image(factor):
    values = torch.arange(FACTOR_SIZES[factor])
    factors = torch.tensor([2, 5, 3, 16, 16]).repeat(len(values), 1)
    factors[:, factor] = values
    flat = render(factors).flatten(1).float()
    assert torch.cdist(flat, flat).add(1e9 * torch.eye(len(values))).min() > 0


def test_position_and_scale_follow_their_factors():
    base = torch.tensor([[1, 5, 0, 0, 16], [1, 5, 0, 31, 16], [1, 0, 0, 16, 16], [1, 5, 0, 16, 16]])
    images = render(base)[:, 0].double() / 255
    columns = torch.arange(64, dtype=torch.float64)
    centres = (images.sum(1) * columns).sum(1) / images.sum((1, 2))
    assert centres[1] - centres[0] == pytest.approx(2 * 0.6 * 32, abs=0.1)
    assert images[3].sum() / images[2].sum() == pytest.approx(4, rel=0.02)


def test_the_subset_is_a_function_of_the_seed():
    first, again = sprites(50, seed=3).train, sprites(50, seed=3).train
    assert torch.equal(first.indices, again.indices)
    assert len(first.indices.unique()) == 50
    images, labels = first.gather(torch.tensor([4, 7]))
    assert images.shape == (2, 1, 64, 64)
    assert torch.equal(labels, factors_of(first.indices[[4, 7]]))


@pytest.mark.parametrize("images", [0, 737_281])
def test_rejects_more_images_than_the_grid_has(images):
    with pytest.raises(InputError, match=f"images: {images}"):
        sprites(images)
