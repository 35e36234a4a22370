"""The report of a run: codes, images and facts."""

import json
import math

import numpy as np
import pytest
from helpers.painter import linear_autoencoder, random_images

from mmdprior.evaluation import encode
from mmdprior.evaluation.reconstruction import reconstruction_ssim
from mmdprior.models import GaussianPosterior
from mmdprior.priors import Gaussian
from mmdprior.runs.directory import RunDirectory
from mmdprior.runs.report import write_report


class TestReport:
    @pytest.mark.parametrize("posterior", [None, GaussianPosterior()])
    def test_report_has_codes_images_and_facts(self, tmp_path, posterior):
        net, data = linear_autoencoder(posterior), random_images()
        codes = encode(net, data)
        facts = {"device": "cpu", "seconds": math.nan}
        facts_written = write_report(
            RunDirectory(tmp_path), model=net, images=data, codes=codes, prior=Gaussian(4), facts=facts
        )
        read = json.loads((tmp_path / "report" / "run.json").read_text())
        assert read == facts_written
        assert read["seconds"] is None
        assert read["parameters"] == sum(p.numel() for p in net.parameters())
        assert read["ssim"] == pytest.approx(reconstruction_ssim(net, data, codes.latent.sample))
        with np.load(tmp_path / "report" / "codes.npz") as arrays:
            assert np.array_equal(arrays["mean"], codes.latent.mean.numpy())
            assert ("sample" in arrays) == (posterior is not None)
            assert arrays["labels"][:, 0].tolist() == list(range(70))
            assert arrays["dependence"].shape == arrays["importance"].shape == (4, 4)
        names = {path.name for path in (tmp_path / "report").iterdir()}
        assert {
            "reconstructions.png",
            "prior_samples.png",
            "traversals.png",
            "traversals_moving.gif",
        } <= names

    def test_saved_codes_are_limited_in_number(self, tmp_path, monkeypatch):
        monkeypatch.setattr("mmdprior.runs.report._MAX_CODES", 20)
        net, data = linear_autoencoder(dim=1), random_images()
        codes = encode(net, data)
        write_report(RunDirectory(tmp_path), model=net, images=data, codes=codes, prior=Gaussian(1), facts={})
        with np.load(tmp_path / "report" / "codes.npz") as arrays:
            assert arrays["mean"].shape == (20, 1)
            assert "dependence" not in arrays
