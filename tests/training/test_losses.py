"""Losses that are not finite: detected before the update, and reported with their batch."""

import json
import math
from pathlib import Path

import pytest
import torch
from helpers.small_runs import experiment, run_directory, same, trainer, weights

from mmdprior.training import NonFiniteLossError, newest_checkpoint

TOYS = Path(__file__).parents[1] / "helpers" / "toys.py"


def exploding(step):
    """Return a penalty that is NaN from a step on."""
    return {"target": f"{TOYS}:Exploding", "at": step}


def test_non_finite_loss_stops_before_the_update(tmp_path):
    directory = run_directory(tmp_path)
    broken = experiment(directory, regularizer=exploding(5), trainer__steps=20).trainer
    with pytest.raises(NonFiniteLossError, match=r"not finite at step 5.*lower trainer\.learning_rate"):
        broken.run()
    healthy = trainer(regularizer=exploding(99), trainer__steps=20)
    healthy.steps = 5
    healthy.run()
    assert same(weights(broken.model), weights(healthy.model))
    assert newest_checkpoint(directory)[1]["step"] == 4
    report = json.loads((directory / "checkpoints" / "nonfinite.json").read_text())
    assert report["step"] == 5
    assert report["parts"]["penalty"] == "nan"
    assert math.isfinite(report["parts"]["reconstruction"])
    assert report["indices"] == next(healthy.batches.stream(5)).indices.tolist()


def test_fused_optimizers_skip_updates_by_the_switch_used_on_cuda():
    """The guard sets found_inf on CUDA, so that no update waits for the host."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], fused=True)
    assert optimizer._step_supports_amp_scaling
    weight.grad = torch.full((3,), float("nan"))
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert torch.equal(weight.detach(), torch.ones(3))


@pytest.mark.gpu
def test_non_finite_loss_on_cuda_leaves_the_weights_finite():
    broken = trainer(regularizer=exploding(3), trainer__device="cuda", trainer__log_every=50)
    with pytest.raises(NonFiniteLossError):
        broken.run()
    assert all(torch.isfinite(p).all() for p in broken.model.parameters())
