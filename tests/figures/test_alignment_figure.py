"""Correlations of codes and factors, and scores per factor before and after alignment."""

import numpy as np
import pytest
from helpers.factor_tables import sample, standardised
from helpers.figure_text import figure_text

from mmdprior import InputError
from mmdprior.figures import alignment_figure
from mmdprior.figures.style import pixels
from mmdprior.metrics import alignment

FACTORS = np.column_stack([sample((3, 4), 400), np.full(400, 2)])
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def result():
    codes = standardised(FACTORS[:, :2]) @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    codes = np.hstack([codes, np.ones((400, 1))])  # a dead code
    return alignment(
        codes, FACTORS, scores=["mig", "mcc_pearson", "irs"], names=["shape", "s" * 30, "colour"]
    )


@pytest.mark.parametrize("score", ["mcc_pearson", "mig"])
def test_figure_has_the_matrix_and_a_score_per_factor(result, score):
    figure = alignment_figure(result, score)
    assert pixels(figure, dpi=40).std() > 1
    left, right = figure.axes[:2]
    drawn = np.ma.filled(left.images[0].get_array().astype(float), np.nan)
    np.testing.assert_allclose(drawn, result.pearson)
    frames = {(patch.get_x() + 0.5, patch.get_y() + 0.5) for patch in left.patches}
    assert frames == {(k, code) for k, code in enumerate(result.match) if code >= 0}
    for line, scores in zip(right.lines, result.per_factor.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), scores[score])
    mcc = np.mean([result.pearson[result.match[k], k] for k in (0, 1)])
    assert f"MCC {mcc:.3f}" in figure_text(figure)


def test_a_score_without_factors_is_refused(result):
    with pytest.raises(InputError, match="score: 'irs' received; expected one of mig, mcc_pearson"):
        alignment_figure(result, "irs")
