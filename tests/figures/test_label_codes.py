"""Figures of codes by label, and of decoded draws given a label."""

import numpy as np
import pytest
import torch

from mmdprior import models
from mmdprior.figures.label_codes import conditional_samples, label_codes
from mmdprior.priors import ClassMixture, Factors, GaussianMixture

LABELS = {
    "shape": {"dims": [0], "kind": "discrete", "levels": 3, "order": [0, 2, 1]},
    "angle": {"dims": [1, 2], "kind": "circular", "levels": 8},
    "age": {"dims": [3], "kind": "continuous", "low": 0.0, "high": 100.0},
    "digit": {"dims": [4, 5, 6], "kind": "discrete", "levels": 3},
}


@pytest.fixture(scope="module")
def prior():
    return Factors(8, LABELS)


def test_every_label_has_its_panels(prior):
    generator = torch.Generator().manual_seed(0)
    labels = torch.stack([torch.randint(high, (900,), generator=generator) for high in (3, 8, 101, 3)], 1)
    codes = prior.sample(900, generator, given=labels)
    figure = label_codes(codes, labels, tuple(LABELS), prior)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["shape", "angle", "angle", "age", "digit: mean codes", "digit: prior"]
    dots = figure.axes[0].containers[0].lines[0].get_xydata()
    medians = [codes[labels[:, 0] == value, 0].median().item() for value in range(3)]
    np.testing.assert_allclose(dots[:, 0], [0, 1, 2])
    np.testing.assert_allclose(dots[:, 1], medians, atol=0.02)
    shown = figure.axes[4].images[0].get_array()
    means = [codes[labels[:, 3] == value, 4:7].mean(0).numpy() for value in range(3)]
    np.testing.assert_allclose(shown, np.array(means).T, atol=1e-5)
    prior_means = figure.axes[5].images[0].get_array()
    positions = prior.factors[3].positions(torch.arange(3)).T
    np.testing.assert_allclose(prior_means, positions, atol=0.02)
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    for value, position in enumerate(prior.factors[0].positions(torch.arange(3)).flatten()):
        heights = band[band[:, 0] == value, 1]
        assert heights.min() < position < heights.max()
        assert heights.max() - heights.min() == pytest.approx(2 * 1.645 * 0.1, abs=0.04)  # noise 0.1


def test_missing_labels_are_left_out(prior):
    labels = torch.full((60, 1), torch.nan)
    labels[:20] = 2
    figure = label_codes(prior.sample(60), labels, ("shape",), prior)
    assert figure.axes[0].containers[0].lines[0].get_xdata() == [2]
    figure = label_codes(prior.sample(60), torch.full((60, 1), -1), ("shape",), prior)
    assert "no labelled codes" in figure.texts[0].get_text()
    assert "no labelled codes" in label_codes(prior.sample(60), labels, ("other",), prior).texts[0].get_text()


def test_a_column_decodes_its_value():
    class Grey(torch.nn.Module):
        """A decoder whose images are as bright as the first code."""

        def forward(self, z):
            return (0.5 + z[:, :1, None, None] / 4).expand(-1, 1, 8, 8)

    prior = Factors(2, {"x": {"dims": [0], "levels": 4, "noise": 0.01}})
    model = models.Autoencoder(models.LinearEncoder((1, 8, 8), 2), Grey())
    pixels = conditional_samples(model, prior, rows=2).axes[0].images[0].get_array()
    places = [5 + 9 * column for column in range(4)]
    shown = torch.tensor(np.array([pixels[5, place, 0] for place in places]))
    expected = 0.5 + prior.factors[0].positions(torch.arange(4))[:, 0] / 4
    torch.testing.assert_close(shown.float(), expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 16), (5,)])
def test_decoded_draws_have_a_column_per_value(shape):
    prior = ClassMixture(GaussianMixture.ring(4), label="kind")
    model = models.Autoencoder(models.LinearEncoder(shape, 2), models.LinearDecoder(shape, 2))
    figure = conditional_samples(model, prior, rows=3)
    labels = [text.get_text() for axes in figure.axes for text in axes.get_xticklabels()]
    assert [text for text in labels if text in ("0", "1", "2", "3")][:4] == ["0", "1", "2", "3"]
