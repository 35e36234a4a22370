"""Evaluation: tags, JSON and text."""

import json

import pytest
import torch
from helpers.linear_model import linear_model, random_images

from mmdprior import Latent
from mmdprior.evaluation import Codes, Reconstruction, add_reconstruction, evaluate, score_codes
from mmdprior.metrics import PriorMatch
from mmdprior.models import GaussianPosterior
from mmdprior.priors import Gaussian


@pytest.fixture(scope="module")
def match():
    """Its null distribution is computed once."""
    return PriorMatch(Gaussian(4), n=32)


def test_evaluation_has_tags_and_json(match):
    result, codes = evaluate(
        linear_model(GaussianPosterior()),
        random_images(),
        predictors=["linear"],
        match=match,
    )
    tags = result.scalars()
    assert {"lps/linear", "lps/linear_max", "lps/linear_sample", "latents/active"} <= tags.keys()
    assert {"reconstruction/psnr", "match/mmd_standardised"} <= tags.keys()
    assert result.to_dict()["reconstruction"]["psnr"] == tags["reconstruction/psnr"]
    assert "PSNR" in str(result)
    assert codes.latent.mean.shape == (70, 4)


def plain_codes(n=300, dim=3, log_var=None):
    z = torch.randn(n, dim)
    return Codes(Latent(z, z, log_var), torch.empty(n, 0), ())


@pytest.mark.parametrize(
    ("log_var", "rule"),
    [
        (None, "active 3 of 3 dimensions (not constant)"),
        (
            torch.zeros(300, 3),
            "active 3 of 3 dimensions (variance of the posterior mean above 1 % of the total variance)",
        ),
    ],
)
def test_text_has_the_rule_for_active_dimensions_once(log_var, rule):
    text = str(score_codes(plain_codes(log_var=log_var), ["linear", "additive"]))
    assert text.count(rule) == 1


def test_text_has_one_effective_rank_per_representation():
    text = str(score_codes(plain_codes(), ["linear", "additive"]))
    assert text.count("effective rank") == 1


def test_codes_of_one_dimension_have_no_lps():
    evaluation = score_codes(plain_codes(dim=1), ["linear"])
    assert evaluation.lps == {}
    assert str(evaluation) == "active 1 of 1 dimensions\neffective rank 1.00"
    assert evaluation.scalars() == {"latents/active": 1.0, "independence/effective_rank": 1.0}


def test_json_keys_and_html(match):
    codes = plain_codes(600, dim=4)
    scored = score_codes(codes, ["linear"])
    evaluation = add_reconstruction(scored, codes, Reconstruction(mse=0.0, loss=2.0), match)
    content = json.loads(evaluation.to_json())
    assert list(content) == [
        *("dim", "active", "effective_rank", "lps", "independence", "reconstruction", "match")
    ]
    assert content["reconstruction"] == {"mse": 0.0, "psnr": None, "loss": 2.0}
    assert list(content["match"]) == ["mmd_standardised"]
    assert content["lps"][0]["representation"] == "mean"
    assert evaluation._repr_html_().startswith("<pre>codes")
