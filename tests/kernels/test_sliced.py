"""Random directions against the whole sphere."""

import torch

from mmdprior.kernels import Sliced


def test_random_directions_average_to_the_whole_sphere():
    x, y = torch.randn(6, 5, dtype=torch.float64), torch.randn(7, 5, dtype=torch.float64)
    drawn = Sliced(directions=8_000).adapt(x, y, torch.Generator().manual_seed(0))
    assert (drawn(x, y) - Sliced()(x, y)).abs().max() < 0.02


def test_directions_are_redrawn_for_every_estimate_from_its_generator():
    x, y = torch.randn(6, 5), torch.randn(7, 5)
    few = Sliced(directions=4)
    assert not torch.equal(few.adapt(x, y)(x, y), few.adapt(x, y)(x, y))
    same = [few.adapt(x, y, torch.Generator().manual_seed(3))(x, y) for _ in range(2)]
    assert torch.equal(*same)
