"""Heat maps of codes against factors, and traversals that name the factor of each dimension."""

import numpy as np
import pytest
import torch
from helpers.factor_tables import scores_of
from matplotlib.text import Text

from mmdprior.figures import Traversal, factor_map, factors_followed
from mmdprior.figures.factor_map import factor_figures


@pytest.fixture(scope="module")
def result():
    """Return the scores of codes: size, noise, twice a mixture, a constant."""
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 4, (800, 2))
    size, hue = factors.T
    codes = np.stack([hue, rng.normal(size=800), size, np.zeros(800)], 1) + [[0.1, 0, 0.1, 0]] * rng.normal(
        size=(800, 4)
    )
    return scores_of(codes, factors, "mig", "sap_r2", names=["size", "hue"])


def test_every_dimension_has_its_factor(result):
    followed = factors_followed(result)
    assert [text.split(" ")[0] for text in followed] == ["hue", "", "size", ""]
    strength = result.matrices["mutual_information"][0, 1] / result.per_factor["entropy"][1]
    assert followed[0] == f"hue {strength:.2f}"
    assert factors_followed(result.to_dict()) == followed
    assert factors_followed(scores_of(np.eye(8), np.arange(8) % 2, "factor_vae")) == ()


def test_map_has_strengths_factors_and_grey_constants(result):
    (name, figure), *others = factor_figures(result.to_dict()).items()
    assert (name, others) == ("factors", [])
    axes = figure.axes[0]
    drawn = np.ma.filled(axes.images[0].get_array().astype(float), np.nan)
    expected = result.matrices["mutual_information"] / result.per_factor["entropy"]
    np.testing.assert_allclose(drawn, expected)
    assert np.isnan(drawn[3]).all()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["size", "hue"]
    assert f"{expected[0, 1]:.2f}" in [text.get_text() for text in axes.texts]
    frames = sorted((int(patch.get_x() + 0.5), int(patch.get_y() + 0.5)) for patch in axes.patches)
    assert frames == [(0, 2), (1, 0)]


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (200, 7), (2, 0)])
def test_any_number_of_codes_and_factors_is_drawn(shape):
    figure = factor_map(np.random.default_rng(0).random(shape), [f"a_long_name_{i}" for i in range(shape[1])])
    figure.canvas.draw()
    assert bool(figure.axes) == (shape[1] > 0)


def test_importance_has_its_own_map():
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 2, (80, 2))
    result = scores_of(factors + 0.1 * rng.normal(size=(80, 2)), factors, "dci_disentanglement")
    assert list(factor_figures(result)) == ["factors", "factor_importance"]


def test_traversals_name_the_factor_of_each_row(tmp_path):
    result = Traversal(torch.rand(2, 3, 1, 8, 8), (2, 0), (0.02, 0.5, 0.98), (0.2, 0.1))
    assert result.labels == result.named(()).labels == ["z2", "z0"]
    named = result.named(["hue 0.81", "", "size 0.95"])
    assert named.labels == ["z2 size 0.95", "z0 hue 0.81"]
    written = {text.get_text() for text in named.figure().findobj(Text)}
    assert {"z2 size 0.95", "z0 hue 0.81"} <= written
    assert named.save_gif(tmp_path / "a.gif").stat().st_size > 0
