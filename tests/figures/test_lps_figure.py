"""R2 per dimension, for every kind of result."""

import numpy as np
import pytest
import torch
from helpers.figure_text import figure_text

from mmdprior.figures import lps_figure
from mmdprior.figures.lps_figure import R2
from mmdprior.figures.style import pixels
from mmdprior.metrics import lps

RNG = np.random.default_rng(0)
R2S = {
    "usual": R2(RNG.normal(size=8), np.zeros(8), 0.2),
    "inactive": R2(np.array([0.1, np.nan, 0.2]), np.array([0.0, np.nan, 0.0]), 0.15),
    "nothing": R2(np.full(3, np.nan), np.full(3, np.nan), np.nan),
    "no null": R2(np.array([0.1, 0.2]), np.zeros(0), 0.15),
    "very negative": R2(np.array([-50.0, 0.1]), np.zeros(2), 0.05),
    "one": R2(np.array([np.nan]), np.array([np.nan]), np.nan),
    "512": R2(RNG.normal(size=512), np.zeros(512), 0.1),
}


@pytest.mark.parametrize("name", R2S)
def test_lps_figure_draws_any_result_or_states_why_not(name):
    figure = lps_figure({name: R2S[name]})
    assert pixels(figure, dpi=30).std() > 1
    if name in ("nothing", "one"):
        assert "fewer than two active dimensions" in figure_text(figure)


def test_lps_figure_shows_the_numbers_of_a_result():
    result = lps(torch.randn(400, 3), "linear")
    figure = lps_figure({"linear": R2.of(result)})
    (lines,) = [c for c in figure.axes[0].collections if len(c.get_paths()) == 3]
    heights = [path.vertices[1, 1] for path in lines.get_paths()]
    assert np.allclose(heights, result.r2)
    assert f"LPS {result.score:.4f}" in figure_text(figure)
