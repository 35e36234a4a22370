"""Reconstructions, decoded draws, traversals, structural similarity, and the report of a run."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from mmdprior import InputError
from mmdprior.data import InMemory
from mmdprior.evaluation import Codes, encode
from mmdprior.evaluation.reconstruction import reconstruction_ssim, ssim
from mmdprior.figures import Panels, PriorShape, prior_samples, reconstructions, side_by_side, traverse
from mmdprior.figures.images import image_figure, in_rows
from mmdprior.figures.style import pixels
from mmdprior.latent import Latent
from mmdprior.models import Autoencoder, GaussianPosterior, LinearDecoder, LinearEncoder
from mmdprior.priors import Gaussian, Uniform
from mmdprior.runs.directory import RunDirectory
from mmdprior.runs.report import write_report

SHAPE = (1, 6, 6)


class Painter(torch.nn.Module):
    """Paints z_i into pixel i, with a strength of its own; what each dimension does is known."""

    def __init__(self, strengths, channels=1):
        super().__init__()
        self.register_buffer("strengths", torch.tensor(strengths))
        self.channels = channels

    def forward(self, z):
        image = torch.full((len(z), 36), 0.5)
        image[:, : z.shape[1]] += self.strengths * z
        return image.view(-1, 1, 6, 6).expand(-1, self.channels, -1, -1)


def model(posterior=None, dim=4):
    outputs = 2 * dim if posterior is not None else dim
    return Autoencoder(LinearEncoder(SHAPE, outputs), LinearDecoder(SHAPE, dim), posterior)


def images(n=70):
    return InMemory(torch.randint(0, 256, (n, *SHAPE), dtype=torch.uint8), torch.arange(n)[:, None])


class TestSSIM:
    def test_follows_the_definition(self):
        """Wang et al. (2004), equation 13, pixel by pixel in float64."""
        rng = np.random.default_rng(0)
        x, y = rng.random((2, 13, 12)), rng.random((2, 13, 12))
        places = np.arange(-5, 6)
        window = np.exp(-(places[:, None] ** 2 + places[None] ** 2) / (2 * 1.5**2))
        window /= window.sum()
        found = []
        for c in range(2):
            for i in range(3):
                for j in range(2):
                    a, b = x[c, i : i + 11, j : j + 11], y[c, i : i + 11, j : j + 11]
                    ma, mb = (window * a).sum(), (window * b).sum()
                    va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
                    cov = (window * (a - ma) * (b - mb)).sum()
                    top = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4)
                    found.append(top / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
        given = ssim(torch.from_numpy(x)[None], torch.from_numpy(y)[None])
        assert float(given) == pytest.approx(np.mean(found), abs=1e-12)

    def test_is_one_for_equal_images_of_any_size_and_less_for_others(self):
        for size in (1, 4, 11, 32):
            x = torch.rand(3, 3, size, size)
            assert torch.allclose(ssim(x, x), torch.ones(3), atol=1e-5)
            assert (ssim(x, 1 - x) < 1).all()
        with pytest.raises(InputError, match="shapes"):
            ssim(torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 5))

    def test_of_reconstructions_does_not_depend_on_the_batch(self):
        net, data = model(), images()
        codes = encode(net, data).latent.sample
        whole = reconstruction_ssim(net, data, codes)
        assert reconstruction_ssim(net, data, codes, batch_size=9) == pytest.approx(whole, abs=1e-6)
        decoded = net.decode(codes).clamp(0, 1)
        assert whole == pytest.approx(float(ssim(data.images / 255, decoded).mean().detach()), abs=1e-6)


class TestTraversal:
    def test_is_over_the_prior_and_ordered_by_use(self):
        net = Autoencoder(torch.nn.Identity(), Painter([0.01, 0.2, 0.0, 0.1]))
        shape = PriorShape.of(Uniform(4))
        t = traverse(net, shape, rows=3, columns=5)
        assert t.dimensions == (1, 3, 0)
        assert t.levels == pytest.approx((0.02, 0.26, 0.5, 0.74, 0.98))
        expected = 0.5 + 0.2 * (2 * torch.tensor(t.levels) - 1)
        assert torch.allclose(t.images[0, :, 0, 0, 1], expected, atol=1e-3)
        assert torch.allclose(t.images[0, :, 0, 0, 3], torch.tensor(0.5), atol=1e-3)
        assert t.change[0] > t.change[1] > t.change[2] > 0

    def test_starts_from_a_central_code_and_keeps_to_active_dimensions(self):
        net = Autoencoder(torch.nn.Identity(), Painter([0.1, 0.1, 0.1]))
        codes = torch.tensor([[5.0, 5, 5], [0.2, 0.1, 0.3], [-5, -5, -5]])
        active = torch.tensor([True, False, True])
        t = traverse(net, PriorShape.of(Gaussian(3)), codes=codes, active=active, columns=3)
        assert set(t.dimensions) == {0, 2}
        assert torch.allclose(t.images[:, :, 0, 0, 1], torch.tensor(0.51), atol=1e-6)

    @pytest.mark.parametrize("dim", [1, 300])
    def test_bears_any_dimension_and_no_active_one(self, dim, tmp_path):
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

    def test_animation_goes_there_and_back(self, tmp_path):
        net = Autoencoder(torch.nn.Identity(), Painter([0.2, 0.1], channels=3))
        t = traverse(net, PriorShape.of(Gaussian(2)), columns=5)
        with Image.open(t.save_gif(tmp_path / "new" / "t.gif")) as gif:
            assert gif.n_frames == 8

    def test_what_is_not_finite_is_drawn_black(self):
        net = Autoencoder(torch.nn.Identity(), Painter([math.nan, 0.1]))
        t = traverse(net, PriorShape.of(Gaussian(2)))
        assert torch.isfinite(t.images).all()


class TestPanels:
    def test_strip_shows_images_reconstructions_and_errors(self):
        net, data = model(), images()
        x = data.images[:3].float() / 255
        strip = reconstructions(net, x)
        assert strip.shape == (3, 3, *SHAPE)
        assert torch.equal(strip[0], x)
        assert torch.allclose(strip[2], (2 * (strip[0] - strip[1]).abs()).clamp(max=1), atol=1e-6)

    def test_draws_are_the_same_at_every_call_and_follow_the_seed(self):
        net = model()
        first = prior_samples(net, Gaussian(4), n=9)
        assert first.shape == (9, *SHAPE)
        assert torch.equal(first, prior_samples(net, Gaussian(4), n=9))
        assert not torch.equal(first, prior_samples(net, Gaussian(4), n=9, seed=1))

    @pytest.mark.parametrize("mean", [torch.zeros(40, 4), torch.randn(40, 4), 1e6 * torch.randn(40, 4)])
    def test_bear_collapsed_and_huge_codes(self, mean):
        panels = Panels(images(), Gaussian(4))
        codes = Codes(Latent(mean, mean), torch.empty(40, 0), ())
        drawn = panels.draw(model(), codes)
        assert set(drawn) == {"reconstructions", "prior_samples", "traversals"}
        assert all(torch.isfinite(image).all() for image in drawn.values())
        assert len(panels.histograms(codes)) == 4

    def test_image_tables_bear_everything(self):
        assert in_rows(torch.rand(5, *SHAPE)).shape == (3, 2, *SHAPE)
        assert torch.equal(in_rows(torch.zeros(5, *SHAPE))[2, 1], torch.ones(SHAPE))
        for table in (
            torch.full((2, 3, *SHAPE), math.nan),
            torch.empty(0, 3, *SHAPE),
            torch.rand(40, 40, *SHAPE),
        ):
            assert pixels(image_figure(table, ["a"], title="pictures"), 40).ndim == 3


class TestReport:
    @pytest.mark.parametrize("posterior", [None, GaussianPosterior()])
    def test_leaves_codes_pictures_and_facts(self, tmp_path, posterior):
        net, data = model(posterior), images()
        codes = encode(net, data)
        facts = {"device": "cpu", "seconds": math.nan}
        told = write_report(
            RunDirectory(tmp_path), model=net, images=data, codes=codes, prior=Gaussian(4), facts=facts
        )
        read = json.loads((tmp_path / "report" / "run.json").read_text())
        assert read == told
        assert read["seconds"] is None
        assert read["parameters"] == sum(p.numel() for p in net.parameters())
        assert read["ssim"] == pytest.approx(reconstruction_ssim(net, data, codes.latent.sample))
        with np.load(tmp_path / "report" / "codes.npz") as held:
            assert np.array_equal(held["mean"], codes.latent.mean.numpy())
            assert ("sample" in held) == (posterior is not None)
            assert held["labels"][:, 0].tolist() == list(range(70))
            assert held["dependence"].shape == held["importance"].shape == (4, 4)
        names = {path.name for path in (tmp_path / "report").iterdir()}
        assert {
            "reconstructions.png",
            "prior_samples.png",
            "traversals.png",
            "traversals_moving.gif",
        } <= names

    def test_keeps_ten_thousand_codes_at_most(self, tmp_path, monkeypatch):
        monkeypatch.setattr("mmdprior.runs.report._ROWS", 20)
        net, data = model(dim=1), images()
        codes = encode(net, data)
        write_report(RunDirectory(tmp_path), model=net, images=data, codes=codes, prior=Gaussian(1), facts={})
        with np.load(tmp_path / "report" / "codes.npz") as held:
            assert held["mean"].shape == (20, 1)
            assert "dependence" not in held
