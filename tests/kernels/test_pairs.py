"""Sums over blocks of pairs: values, gradients, and what is kept for the backward pass."""

import pytest
import torch

from mmdprior import mmd
from mmdprior.kernels import ANOVA, IMQ, RBF, Energy, Kernel, Matern32, Sum
from mmdprior.kernels.distance import squared_distance
from mmdprior.priors import Gaussian


@pytest.fixture
def _small_blocks(monkeypatch):
    monkeypatch.setattr("mmdprior.kernels.pairs.BLOCK_ROWS", 16)
    monkeypatch.setattr("mmdprior.kernels.pairs.MAX_ENTRIES", 16**2)


class LearnedLength(Kernel):
    def __init__(self):
        super().__init__()
        self.length = torch.nn.Parameter(torch.tensor(1.3, dtype=torch.float64))

    def evaluate(self, x, y):
        return torch.exp(-0.5 * squared_distance(x, y) / self.length**2)


@pytest.mark.parametrize(
    "make",
    [RBF, Energy, lambda: Sum([IMQ(), Matern32()]), lambda: ANOVA(order=3).bind(Gaussian(3)), LearnedLength],
)
def test_blocks_give_the_same_means_and_gradients(make, request):
    kernel = make()
    x = torch.randn(50, 3, dtype=torch.float64, requires_grad=True)
    y = torch.randn(33, 3, dtype=torch.float64, requires_grad=True)
    sources = (x, y, *kernel.parameters())
    estimators = ("unbiased", "biased")
    whole = sum(mmd(x, y, kernel, name) for name in estimators)
    expected = torch.autograd.grad(whole, sources)
    request.getfixturevalue("_small_blocks")
    in_blocks = sum(mmd(x, y, kernel, name) for name in estimators)
    assert torch.allclose(in_blocks, whole, rtol=1e-12)
    for gradient, exact in zip(torch.autograd.grad(in_blocks, sources), expected, strict=True):
        assert torch.allclose(gradient, exact, rtol=1e-9, atol=1e-13)
    frozen = torch.autograd.grad(mmd(x.detach(), y, kernel), y)[0]
    assert torch.allclose(frozen, torch.autograd.grad(mmd(x, y, kernel), y)[0], rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("_small_blocks")
def test_blocks_keep_only_the_samples_for_the_backward_pass():
    x, y = torch.randn(200, 3, requires_grad=True), torch.randn(150, 3)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        mmd(x, y, RBF())
    assert 0 < sum(kept) < 4 * (x.numel() + y.numel())
