"""The recipes for loops of others run against the real packages."""

import ast
import importlib
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmdprior.world import World

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "scripts" / "recipes"
REASON = "an optional client; pip install mmdprior[clients]"


def recipe(name, package):
    """Return the module of a recipe; skip the test if its package is not installed."""
    if package is not None:
        pytest.importorskip(package, reason=REASON)
    return importlib.import_module(f"recipes.{name}")


def test_ddp_on_two_processes_is_one_process_with_the_whole_batch():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(RECIPES / "with_ddp.py")],
            env={**os.environ, **place, "RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    printed = [process.communicate(timeout=300)[0] for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0]
    together = ast.literal_eval(printed[0].strip().splitlines()[-1])
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    alone = recipe("with_ddp", None).train(x, World()).state_dict()
    assert together.keys() == alone.keys()
    for name, values in together.items():
        assert values == pytest.approx(alone[name].flatten()[:3].tolist(), rel=1e-4, abs=1e-6), name


def test_lightning():
    model, logged = recipe("with_lightning", "lightning").train(epochs=2)
    x = torch.randn(256, 8, generator=torch.Generator().manual_seed(1))
    untrained = type(model)()
    assert model.penalty(model.encoder(x)) < 0.5 * untrained.penalty(untrained.encoder(x))
    assert logged.keys() >= {"penalty/value", "lps/linear"}
    assert math.isfinite(logged["lps/linear"])


def test_accelerate():
    encoder, values = recipe("with_accelerate", "accelerate").train()
    assert sum(values[-8:]) < 0.5 * sum(values[:8])
    assert isinstance(encoder, torch.nn.Linear)


def test_transformers_trainer():
    model, losses = recipe("with_transformers", "transformers").train()
    assert losses[-1] < 0.7 * losses[0]
    assert model.penalty.prior.dim == 2


def test_pythae():
    _, (before, after) = recipe("with_pythae", "pythae").train()
    assert after < 0.8 * before
