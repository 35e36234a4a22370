"""Traversals of decoders whose dimensions are known."""

import math

import pytest
import torch
from helpers.painter import SHAPE, Painter
from PIL import Image

from mmdprior.figures import PriorShape, side_by_side, traverse
from mmdprior.figures.style import pixels
from mmdprior.models import Autoencoder, LinearDecoder
from mmdprior.priors import Gaussian, Uniform


class TestTraversal:
    def test_columns_are_prior_quantiles_and_rows_are_ordered_by_change(self):
        net = Autoencoder(torch.nn.Identity(), Painter([0.01, 0.2, 0.0, 0.1]))
        shape = PriorShape.of(Uniform(4))
        t = traverse(net, shape, rows=3, columns=5)
        assert t.dimensions == (1, 3, 0)
        assert t.levels == pytest.approx((0.02, 0.26, 0.5, 0.74, 0.98))
        expected = 0.5 + 0.2 * (2 * torch.tensor(t.levels) - 1)
        assert torch.allclose(t.images[0, :, 0, 0, 1], expected, atol=1e-3)
        assert torch.allclose(t.images[0, :, 0, 0, 3], torch.tensor(0.5), atol=1e-3)
        assert t.change[0] > t.change[1] > t.change[2] > 0

    def test_starts_from_a_central_code_and_traverses_active_dimensions(self):
        net = Autoencoder(torch.nn.Identity(), Painter([0.1, 0.1, 0.1]))
        codes = torch.tensor([[5.0, 5, 5], [0.2, 0.1, 0.3], [-5, -5, -5]])
        active = torch.tensor([True, False, True])
        t = traverse(net, PriorShape.of(Gaussian(3)), codes=codes, active=active, columns=3)
        assert set(t.dimensions) == {0, 2}
        assert torch.allclose(t.images[:, :, 0, 0, 1], torch.tensor(0.51), atol=1e-6)

    @pytest.mark.parametrize("dim", [1, 300])
    def test_draws_any_number_of_dimensions(self, dim, tmp_path):
        net = Autoencoder(torch.nn.Identity(), LinearDecoder(SHAPE, dim))
        shape = PriorShape.of(Gaussian(dim))
        t = traverse(net, shape, columns=3)
        assert len(t.images) == min(dim, 16)
        assert pixels(t.figure(), 40).std() > 1
        none = traverse(net, shape, active=torch.zeros(dim, dtype=torch.bool))
        assert none.dimensions == ()
        assert none.grid().shape[0] == 3
        assert pixels(none.figure(), 40).std() > 1
        assert pixels(side_by_side({"some": t, "none": none}), 40).std() > 1
        for moving in (t, none):
            with Image.open(moving.save_gif(tmp_path / "t.gif")) as gif:
                assert gif.n_frames >= 1

    def test_animation_runs_forwards_and_backwards(self, tmp_path):
        net = Autoencoder(torch.nn.Identity(), Painter([0.2, 0.1], channels=3))
        t = traverse(net, PriorShape.of(Gaussian(2)), columns=5)
        with Image.open(t.save_gif(tmp_path / "new" / "t.gif")) as gif:
            assert gif.n_frames == 8

    def test_values_that_are_not_finite_are_drawn_black(self):
        net = Autoencoder(torch.nn.Identity(), Painter([math.nan, 0.1]))
        t = traverse(net, PriorShape.of(Gaussian(2)))
        assert torch.isfinite(t.images).all()
