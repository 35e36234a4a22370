"""Marginals and quantiles of codes in which many rows share a value."""

import numpy as np
import pytest
import torch

from mmdprior.figures import PriorShape, marginals, quantiles
from mmdprior.priors import Bernoulli, SpikeAndSlab

N = 2000


@pytest.fixture(scope="module")
def normal():
    return torch.randn(N, 1, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def rare():
    return torch.arange(N)[:, None] % 20 == 0


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_other_values_set_the_scale_of_a_marginal(normal, rare):
    sparse, clipped = normal * rare, normal.clamp(-1, 1)
    figure = marginals(torch.cat([normal, sparse, clipped], 1))
    assert next(text for text in texts(figure) if "%" in text) == "95 %"
    assert len([text for text in texts(figure) if "%" in text]) == 3
    for bars in figure.axes[0].collections:
        y = bars.get_paths()[0].vertices[:, 1]
        visible = (y - y.min() > 0.03) & (y - y.min() < 1.05)
        assert len(np.unique(y[visible].round(3))) > 5


def test_the_slab_of_a_sparse_prior_is_visible(normal, rare):
    figure = marginals(normal * rare, PriorShape.of(SpikeAndSlab(1, probability=0.05)))
    line = max(figure.axes[0].lines, key=lambda line: len(line.get_xdata()))
    assert np.median(line.get_ydata()) > 0.1


def test_bits_are_drawn_as_before():
    bits = (torch.arange(N)[:, None] % 20 == 0).float()
    assert not any("%" in text for text in texts(marginals(bits)))


def test_quantiles_show_rare_values(normal, rare):
    bits = (torch.arange(N) % 1000 == 0).float()[:, None]
    figure = quantiles(bits, PriorShape.of(Bernoulli(1, p=0.5, low=0.0, high=1.0)))
    assert figure.axes[0].lines[0].get_ydata().max() == 1
    sparse = (normal * (torch.arange(N)[:, None] % 200 == 0)).numpy()
    drawn = quantiles(sparse, PriorShape.of(SpikeAndSlab(1, probability=0.005))).axes[0].lines[0].get_ydata()
    for value in sparse[sparse != 0]:
        assert np.abs(drawn - value).min() < 0.02


def test_quantiles_of_continuous_codes_have_the_fixed_levels(normal):
    figure = quantiles(normal, PriorShape.of(SpikeAndSlab(1, probability=1.0)))
    levels = np.concatenate([[0.002, 0.005], np.linspace(0.01, 0.99, 99), [0.995, 0.998]])
    np.testing.assert_allclose(
        figure.axes[0].lines[0].get_ydata(), np.quantile(normal.double().numpy(), levels), rtol=1e-6
    )


def test_mean_codes_are_drawn_over_sampled_ones():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(4000, 2))
    figure = marginals(means + rng.normal(size=means.shape), means=means, per_row=1)
    assert "means (dashed)" in figure.get_suptitle()
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert len(dashed) == 2
    # Both histograms have the same area: that of the density of all codes.
    (filled, _) = figure.axes[0].collections
    steps = dashed[0].get_ydata()
    assert steps.max() > filled.get_paths()[0].vertices[:, 1].max()  # the narrower one is higher
