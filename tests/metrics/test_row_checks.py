"""Warnings about duplicate, near-duplicate and autocorrelated rows, and data that must not cause them."""

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from mmdprior import lps
from mmdprior.data import sprites
from mmdprior.metrics.grouping import Blocks, Groups
from mmdprior.metrics.row_checks import row_warnings

SIGNS = ("duplicate rows", "near-duplicate rows", "autocorrelation")


def signs(z, grouping=None, seed=0):
    """Return the signs that a random split of the rows shows."""
    grouping = Groups.independent(len(z)) if grouping is None else grouping
    texts = row_warnings(z, grouping.split(1, seed, uses_validation=True)[0], grouping)
    assert all("group" in text for text in texts)
    return [next(sign for sign in SIGNS if text.startswith(sign)) for text in texts]


def shuffled(z):
    return z[torch.randperm(len(z))]


def repeats(count, copies, d, noise):
    return shuffled(
        torch.randn(count, d).repeat_interleave(copies, 0) + noise * torch.randn(count * copies, d)
    )


def walk(rho, n, d):
    z = torch.randn(n, d)
    for t in range(1, n):
        z[t] = rho * z[t - 1] + (1 - rho**2) ** 0.5 * z[t]
    return z


@pytest.mark.parametrize(
    "rows",
    [
        lambda: repeats(400, 10, 8, 0),
        lambda: repeats(500, 2, 2, 0),
        lambda: repeats(100, 5, 64, 0).clamp(min=0),
        lambda: shuffled((torch.rand(200, 24) < 0.5).float().repeat_interleave(3, 0)),
        lambda: shuffled(torch.randint(0, 10, (100, 8)).float().repeat_interleave(6, 0)),
        lambda: shuffled(torch.cat([torch.randn(900, 4), torch.randn(30, 4).repeat(4, 1)])),
        lambda: repeats(200, 4, 3, 0).double(),
    ],
)
def test_duplicate_rows(rows):
    assert signs(rows()) == ["duplicate rows"]


@pytest.mark.parametrize(
    "rows",
    [
        lambda: repeats(200, 5, 8, 0.1),
        lambda: repeats(500, 2, 8, 0.01),
        lambda: repeats(100, 10, 32, 0.2),
        lambda: repeats(500, 2, 128, 0.3),
        lambda: repeats(400, 2, 4, 1e-6),
        lambda: repeats(80, 40, 16, 0.1),
    ],
)
def test_near_duplicate_rows(rows):
    assert signs(rows()) == ["near-duplicate rows"]


@pytest.mark.parametrize("rho", [0.5, 0.9, 0.99])
@pytest.mark.parametrize(("n", "d"), [(600, 2), (1000, 8)])
def test_autocorrelated_rows(rho, n, d):
    z = walk(rho, n, d)
    assert "autocorrelation" in signs(z)
    assert "autocorrelation" not in signs(shuffled(z))
    assert signs(z, Blocks(z, 20)) == []


def test_groups_silence_their_own_signs_only():
    labels = torch.arange(400).repeat_interleave(5)
    z = torch.randn(400, 6)[labels]
    assert signs(z) == ["duplicate rows", "autocorrelation"]
    assert signs(z, Groups(labels)) == []
    assert signs(z, Groups(labels // 2)) == []
    assert signs(z, Groups(torch.arange(2000) // 2)) == ["duplicate rows", "autocorrelation"]


def test_lps_warns():
    z = torch.randn(100, 3).repeat_interleave(4, 0)
    with pytest.warns(UserWarning, match="duplicate rows: 100% of the test rows"):
        result = lps(z, null=0, permutations=0, bootstrap=0)
    assert any("autocorrelation" in text for text in result.warnings)


def _sprite_codes(n, d):
    """Return principal components of sprites, which are in the order of their factors."""
    images, _ = sprites(images=n).train.gather(torch.arange(n))
    return torch.pca_lowrank(images.float().flatten(1), d)[0]


def _sorted_classes(n, d):
    return 1.5 * torch.randn(10, d)[torch.arange(n) * 10 // n] + torch.randn(n, d)


def _circle(n, d):
    angle = 2 * torch.pi * torch.rand(n, 1)
    return torch.cat([(angle * k).sin() for k in range(1, min(d, 4) + 1)], 1)


INDEPENDENT = {
    "normal": torch.randn,
    "uniform": torch.rand,
    "student": lambda n, d: torch.distributions.StudentT(2.0).sample((n, d)),
    "cauchy": lambda n, d: torch.distributions.Cauchy(0.0, 1.0).sample((n, d)),
    "mixture": lambda n, d: 6 * torch.randn(8, d)[torch.randint(8, (n,))] + torch.randn(n, d),
    "narrow mixture": lambda n, d: torch.randn(5, d)[torch.randint(5, (n,))] + 0.01 * torch.randn(n, d),
    "two scales": lambda n, d: torch.randn(n, d) * torch.where(torch.rand(n, 1) < 0.5, 0.05, 1.0),
    "plane": lambda n, d: torch.randn(n, 2) @ torch.randn(2, d) + 0.02 * torch.randn(n, d),
    "circle": _circle,
    "bits": lambda n, d: (torch.rand(n, d) < 0.5).float(),
    "rare bits": lambda n, d: (torch.rand(n, d) < 0.02).float(),
    "equal bits": lambda n, d: (torch.rand(n, 1) < 0.5).float().repeat(1, d),
    "one-hot": lambda n, d: one_hot(torch.randint(d, (n,)), d).float(),
    "levels": lambda n, d: torch.randint(5, (n, d)) / 2,
    "bytes": lambda n, d: torch.randint(256, (n, d)).float(),
    "spike and slab": lambda n, d: torch.randn(n, d) * (torch.rand(n, d) < 0.1),
    "rectified": lambda n, d: torch.randn(n, d).clamp(min=0),
    "half precision": lambda n, d: torch.randn(n, d).half().float(),
    "sorted classes": _sorted_classes,
    "sprites": _sprite_codes,
}


@pytest.mark.parametrize("name", INDEPENDENT)
@pytest.mark.parametrize(("n", "d"), [(60, 2), (500, 5), (1000, 24)])
def test_independent_rows_cause_no_warning(name, n, d):
    assert signs(INDEPENDENT[name](n, d)) == []


def test_wide_codes_cause_no_warning():
    for d in (64, 256):
        assert signs(torch.randn(600, d)) == []
        assert signs(np.sqrt(2) * torch.rand(600, d).double()) == []
