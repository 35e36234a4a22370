"""Labels read off the dimensions that hold them."""

import math

import pytest
import torch

from mmdprior.metrics import semantics
from mmdprior.priors import Factors, Gaussian

FACTORS = {
    "shape": {"dims": [0], "kind": "discrete", "levels": 3},
    "angle": {"dims": [4, 2], "kind": "circular", "levels": 8},
    "x": {"dims": [1], "kind": "continuous"},
}
PRIOR = Factors(6, FACTORS)
NAMES = ("x", "shape", "colour", "angle")


def draws(n=1200):
    g = torch.Generator().manual_seed(0)
    given = torch.stack([torch.randint(k, (n,), generator=g).float() for k in (3, 8, 1)], 1)
    given[:, 2] = torch.rand(n, generator=g)
    return PRIOR.sample(n, g, given), given[:, [2, 0, 0, 1]]


def test_labels_on_their_dimensions():
    z, labels = draws()
    scores = semantics(z, labels, NAMES, PRIOR).labels
    assert list(scores) == ["shape", "angle", "x"]
    assert scores["shape"].accuracy == scores["shape"].direct == 1
    assert scores["angle"].r2 > 0.95
    assert scores["x"].r2 == pytest.approx(1 - 0.01 * 1.1, abs=0.01)  # noise 0.1 of variance 1, 10 neighbours
    assert math.isnan(scores["x"].accuracy)
    assert math.isnan(scores["shape"].r2)
    for name, s in scores.items():
        assert s.free_r2 < 0.02 or math.isnan(s.free_r2), name
    assert scores["shape"].free_accuracy < 0.42


def test_shuffled_labels_are_at_chance_and_leaks_are_seen():
    z, labels = draws()
    shuffled = semantics(z, labels[torch.randperm(len(z))], NAMES, PRIOR).labels
    assert shuffled["shape"].accuracy < 0.42
    assert shuffled["x"].r2 < 0.05
    leaking = z.clone()
    leaking[:, 5] = labels[:, 1] + 0.1 * z[:, 5]  # the shape, in a dimension of no label
    assert semantics(leaking, labels, NAMES, PRIOR).labels["shape"].free_accuracy > 0.9


def test_missing_labels_other_labels_and_other_priors():
    z, labels = draws()
    labels[::3, 1] = torch.nan
    assert semantics(z, labels, NAMES, PRIOR).labels["shape"].accuracy == 1
    assert semantics(z, labels[:, :1], ("colour",), PRIOR) is None
    assert semantics(z, labels, NAMES, Gaussian(6)) is None
    assert semantics(z[:50], labels[:50], NAMES, PRIOR) is None
    text = str(semantics(z, labels, NAMES, PRIOR))
    assert "shape         0" in text
