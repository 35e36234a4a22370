"""Reconstructions, decoded samples and tables of images."""

import math

import pytest
import torch
from helpers.painter import SHAPE, linear_autoencoder, random_images

from mmdprior.evaluation import Codes
from mmdprior.figures import Panels, prior_samples, reconstructions
from mmdprior.figures.images import image_figure, in_rows
from mmdprior.figures.style import pixels
from mmdprior.latent import Latent
from mmdprior.priors import Gaussian


class TestPanels:
    def test_strip_shows_images_reconstructions_and_errors(self):
        net, data = linear_autoencoder(), random_images()
        x = data.images[:3].float() / 255
        strip = reconstructions(net, x)
        assert strip.shape == (3, 3, *SHAPE)
        assert torch.equal(strip[0], x)
        assert torch.allclose(strip[2], (2 * (strip[0] - strip[1]).abs()).clamp(max=1), atol=1e-6)

    def test_prior_samples_are_determined_by_the_seed(self):
        net = linear_autoencoder()
        first = prior_samples(net, Gaussian(4), n=9)
        assert first.shape == (9, *SHAPE)
        assert torch.equal(first, prior_samples(net, Gaussian(4), n=9))
        assert not torch.equal(first, prior_samples(net, Gaussian(4), n=9, seed=1))

    @pytest.mark.parametrize("mean", [torch.zeros(40, 4), torch.randn(40, 4), 1e6 * torch.randn(40, 4)])
    def test_panels_draw_collapsed_and_huge_codes(self, mean):
        panels = Panels(random_images(), Gaussian(4))
        codes = Codes(Latent(mean, mean), torch.empty(40, 0), ())
        drawn = panels.draw(linear_autoencoder(), codes)
        assert set(drawn) == {"reconstructions", "prior_samples", "traversals"}
        assert all(torch.isfinite(image).all() for image in drawn.values())
        assert len(panels.histograms(codes)) == 4


def test_image_tables_draw_nan_empty_and_large_tables():
    assert in_rows(torch.rand(5, *SHAPE)).shape == (3, 2, *SHAPE)
    assert torch.equal(in_rows(torch.zeros(5, *SHAPE))[2, 1], torch.ones(SHAPE))
    for table in (
        torch.full((2, 3, *SHAPE), math.nan),
        torch.empty(0, 3, *SHAPE),
        torch.rand(40, 40, *SHAPE),
    ):
        assert pixels(image_figure(table, ["a"], title="pictures"), 40).ndim == 3
