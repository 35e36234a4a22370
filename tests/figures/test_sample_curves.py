"""Curves of vectors and signals, in place of pictures of images."""

import pytest
import torch
from helpers.figure_text import figure_text
from PIL import Image

from mmdprior.data import InMemory
from mmdprior.evaluation import encode
from mmdprior.figures import Panels, PriorShape, prior_samples, reconstructions, side_by_side, traverse
from mmdprior.figures.images import image_figure, in_rows
from mmdprior.figures.sample_curves import curve_figures, unit_curves
from mmdprior.figures.style import pixels
from mmdprior.models import Autoencoder, MLPDecoder, MLPEncoder
from mmdprior.models.standardise import Standardisation, standardise
from mmdprior.priors import Gaussian


def model(shape):
    units = Standardisation.empty(shape)
    units.scale *= 1000
    return standardise(Autoencoder(MLPEncoder(shape, 3, [8]), MLPDecoder(shape, 3, [8])), units)


class TestUnitCurves:
    def test_vectors_are_scaled_per_feature_and_signals_per_channel(self):
        vectors = torch.tensor([[0.0, 1e6, 5.0], [1.0, 3e6, 5.0], [torch.nan, 2e6, 5.0]])
        curves = unit_curves(vectors)
        assert curves[:, 0, 1].tolist() == [0, 1, 0.5]
        assert curves[:2, 0, 0].tolist() == [0, 1]
        assert torch.isnan(curves[2, 0, 0])
        assert curves[:, 0, 2].tolist() == [0.5] * 3
        signals = torch.randn(4, 2, 30) * torch.tensor([[1.0], [1e-4]])
        curves = unit_curves(signals)
        assert curves.amin((0, 2)).tolist() == [0, 0]
        assert curves.amax((0, 2)).tolist() == [1, 1]

    @pytest.mark.parametrize("length", [1, 500, 501, 12345])
    def test_long_signals_are_thinned(self, length):
        assert unit_curves(torch.randn(2, 1, length)).shape[2] <= 500


@pytest.mark.parametrize("shape", [(1,), (6,), (2, 40), (1, 700)])
class TestPanels:
    def test_panels_and_traversals(self, shape, tmp_path):
        net, rows = model(shape), 1000 * torch.randn(6, *shape)
        data = InMemory(rows, kind="vectors" if len(shape) == 1 else "signals")
        strip = reconstructions(net, rows)
        assert torch.equal(strip[0], rows)
        assert torch.allclose(strip[2], (strip[0] - strip[1]).abs())
        assert float(prior_samples(net, Gaussian(3), 50).abs().max()) > 1  # not clipped to [0, 1]
        drawn = Panels(data, Gaussian(3)).draw(net, encode(net, data))
        assert set(drawn) == {"reconstructions", "prior_samples", "traversals"}
        assert all(image.shape[0] == 3 and image.std() > 0.01 for image in drawn.values())
        traversal = traverse(net, PriorShape.of(Gaussian(3)), columns=5)
        assert traversal.images.shape == (3, 5, *shape)
        assert max(traversal.change) < 10  # in standard deviations, not in units of the data
        legend = traversal.figure().legends[0]
        assert [text.get_text() for text in legend.get_texts()] == ["quantile 0.02", "quantile 0.98"]
        assert pixels(side_by_side({"a": traversal, "b": traversal}), 40).std() > 1
        with Image.open(traversal.save_gif(tmp_path / "t.gif")) as gif:
            assert gif.n_frames == 8 or shape == (1,)  # equal frames are merged


def test_tables_with_empty_places_nan_and_other_samples():
    table = in_rows(torch.randn(5, 4))
    assert table.shape == (3, 2, 4)
    assert torch.isnan(table[2, 1]).all()
    for samples in (table, torch.full((2, 2, 4), torch.nan), torch.empty(0, 3, 4)):
        assert pixels(image_figure(samples, ["a"], title="t"), 40).ndim == 3
    assert "nothing to draw" in figure_text(curve_figures({"t": (torch.empty(0, 1, 1, 4), [], [])}))
    shape = PriorShape.of(Gaussian(3))
    mixed = {str(sides): traverse(model(sides), shape) for sides in ((4,), (2, 9))}
    assert "not drawn in one figure" in figure_text(side_by_side(mixed))
