"""A run directory that an earlier version wrote is loaded, scored, compared and resumed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import mmdprior
from mmdprior.cli.main import main
from mmdprior.comparison import read_runs
from mmdprior.training import read_checkpoint

FIXTURE = Path(__file__).parents[1] / "fixtures" / "earlier_run"
TOLERANCES = {"model": 1e-6, "averaged": 1e-6, "regularizer": 1e-3}
"""CPUs differ in the last bits of float32, which grow in networks that are trained on codes: 4e-5 between a
Xeon and an EPYC for the predictor of the penalty, and 0.004 for the R2 of the MLP that scores."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    copy = shutil.copytree(FIXTURE, tmp_path / "earlier_run")
    monkeypatch.chdir(copy)
    return copy


def tensors(state):
    return {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}


def largest_difference(one, two):
    assert one.keys() == two.keys()
    return max(float((one[key].double() - two[key].double()).abs().max()) for key in one)


def test_the_checkpoint_loads_with_its_codes(folder):
    codes = np.load("undisturbed/report/codes.npz")
    model = mmdprior.load("undisturbed/checkpoints/last.pt")
    images = torch.from_numpy(np.load("images.npy"))[:5].float()[:, None] / 255
    assert model.encode(images).mean.shape == (5, codes["mean"].shape[1])


def test_its_scores_are_the_same(folder):
    assert (
        main(
            ["score", "undisturbed/checkpoints/last.pt", "--predictor", "linear", "mlp", "--json", "new.json"]
        )
        == 0
    )
    new, old = (json.loads(Path(name).read_text()) for name in ("new.json", "score.json"))
    assert new.keys() == old.keys()
    for one, two in zip(new["lps"], old["lps"], strict=True):
        two["extra"] = two.pop("beside")  # renamed since
        assert one.keys() - {"groups", "test_groups", "block_length"} == two.keys()  # these are new
        trained = one["predictor"] == "mlp"
        assert one["score"] == pytest.approx(two["score"], abs=1e-2 if trained else 1e-4)
        assert one["r2"] == pytest.approx(two["r2"], abs=2e-2 if trained else 1e-3)


def test_it_is_compared(folder):
    (run,) = read_runs(["undisturbed"]).runs
    assert run.scalars["lps/linear"] == pytest.approx(run.test["lps"][0]["score"])
    assert "fixture" in str(read_runs(["undisturbed"]))


def test_it_is_resumed_to_the_weights_of_the_undisturbed_run(folder):
    assert main(["train", "--resume", "stopped"]) == 0
    assert main(["train", "run.yaml", "--directory", "again"]) == 0
    old, resumed, again = (
        read_checkpoint(f"{name}/checkpoints/last.pt") for name in ("undisturbed", "stopped", "again")
    )
    for part, tolerance in TOLERANCES.items():
        assert largest_difference(tensors(resumed[part]), tensors(old[part])) < tolerance
        assert largest_difference(tensors(again[part]), tensors(old[part])) < tolerance
    assert resumed["step"] == 16


def test_a_finished_run_of_this_config_is_recognised(folder, capsys):
    assert main(["train", "run.yaml", "--directory", "undisturbed"]) == 0
    assert "nothing to do" in capsys.readouterr().out
