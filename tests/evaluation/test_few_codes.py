"""Too few codes to score: NaN and a warning, in evaluation, in training and at the end of a run."""

import json
import math

import numpy as np
import pytest
import torch
from helpers.linear_model import linear_model, random_images

from mmdprior import InputError, Latent, lps
from mmdprior.cli.main import main
from mmdprior.errors import InputWarning
from mmdprior.evaluation import Codes, evaluate, score_codes
from mmdprior.metrics import LPSResult, effective_rank
from mmdprior.models import GaussianPosterior

SMALL = """
name: small
data: {{name: sprites, images: 200, batch_size: 16, validation: {validation}, test: {test}}}
model: {{name: mlp, hidden: [8], latent_dim: {dim}}}
regularizer: {{name: mmd, prior: gaussian}}
trainer: {{steps: 2, device: cpu}}
evaluation: {{predictors: [linear], final_predictors: [linear], every: 2, pictures: false,
             monitor: {monitor}}}
"""


@pytest.mark.parametrize(("n", "d"), [(16, 4), (29, 2), (40, 39), (1, 3)])
@pytest.mark.parametrize("stochastic", [False, True])
def test_every_lps_is_nan_with_one_warning(n, d, stochastic):
    z = torch.randn(n, d)
    latent = Latent(z, z, torch.full((n, d), -4.0) if stochastic else None)
    with pytest.warns(
        InputWarning, match=rf"no scores: {n} codes of {d} dimensions.*at least {max(30, d + 2)}"
    ) as caught:
        result = score_codes(Codes(latent, torch.empty(n, 0), ()), ["linear", "mlp"])
    assert len(caught) == 1
    assert len(result.lps) == 4 if stochastic else 2
    tags = result.scalars()
    assert math.isnan(tags["lps/linear"])
    assert math.isnan(tags["lps/mlp_max"])
    assert json.loads(result.to_json())["lps"][0]["score"] is None
    assert "warning: no scores" in str(result)
    first = next(iter(result.lps.values()))
    assert math.isnan(LPSResult.from_json(first.to_json()).score)
    assert np.isnan(first.interval).all()
    with pytest.raises(InputError, match="give at least"):
        lps(z)


def test_reconstruction_is_computed_without_scores():
    with pytest.warns(InputWarning, match="no scores: 16 codes"):
        result, _ = evaluate(linear_model(GaussianPosterior()), random_images(16), predictors=["linear"])
    assert result.reconstruction.psnr > 0
    assert math.isnan(result.scalars()["lps/linear_sample"])


def test_the_effective_rank_of_one_code_is_nan():
    assert math.isnan(effective_rank(torch.randn(1, 3)))
    assert math.isnan(effective_rank(torch.randn(0, 3)))


def test_a_run_with_few_images_trains_without_scores(tmp_path, capsys):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL.format(validation=16, test=10, dim=4, monitor="reconstruction/psnr"))
    assert main(["train", str(path), "--runs", str(tmp_path / "runs")]) == 0
    output = capsys.readouterr()
    assert (
        "data.validation: 16 images received; LPS of 4 dimensions needs 30, so it will be NaN" in output.out
    )
    (scores,) = (tmp_path / "runs").rglob("test.json")
    content = json.loads(scores.read_text())
    assert content["lps"][0]["score"] is None
    assert content["reconstruction"]["psnr"] > 0


def test_a_run_whose_dimensions_exceed_the_images_trains(tmp_path):
    path = tmp_path / "wide.yaml"
    path.write_text(SMALL.format(validation=40, test=40, dim=64, monitor="reconstruction/psnr"))
    assert main(["train", str(path), "--runs", str(tmp_path / "runs")]) == 0


def test_a_monitored_score_needs_its_images(tmp_path, capsys):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL.format(validation=16, test=40, dim=4, monitor="lps/linear"))
    assert main(["train", str(path), "--runs", str(tmp_path / "runs")]) == 2
    assert "give more, or another evaluation.monitor" in capsys.readouterr().err
