"""Data that were moved after training: a run resumes, and commands name the option with the new place."""

import numpy as np
import pytest
from helpers.small_runs import experiment, run_directory, same, weights

from mmdprior.cli.main import main
from mmdprior.config.text import read_mapping
from mmdprior.training import read_checkpoint


@pytest.fixture
def run(tmp_path):
    """Return the directory of a run that was stopped after two of four steps; its data are elsewhere now."""
    images = np.random.default_rng(0).integers(0, 4096, (60, 8, 8)).astype(np.uint16)
    np.save(tmp_path / "old.npy", images)
    directory = run_directory(tmp_path / "runs")
    data = {"name": "arrays", "path": str(tmp_path / "old.npy"), "batch_size": 16}
    built = experiment(directory, data=data, trainer__steps=4, trainer__checkpoint_every=1)
    built.trainer.stop = lambda: built.trainer.step >= 2
    built.trainer.run()
    (tmp_path / "old.npy").rename(tmp_path / "new.npy")
    return directory


def test_a_run_resumes_at_the_new_place(run, tmp_path, capsys):
    new = f"data.path={tmp_path / 'new.npy'}"
    assert main(["train", "--resume", str(run)]) == 2
    assert main(["train", "--resume", str(run), "trainer.steps=9"]) == 2
    assert (
        "received with --resume, which can change data.path or data.test_path only" in capsys.readouterr().err
    )
    assert main(["train", "--resume", str(run), new, "-q"]) == 0
    content = read_checkpoint(run / "checkpoints" / "last.pt")
    assert content["step"] == 4
    assert content["config"]["data"]["value_range"] is None
    assert read_mapping(run / "config.yaml")["data"]["path"] == str(tmp_path / "new.npy")
    whole = experiment(data=content["config"]["data"], trainer__steps=4)
    whole.trainer.run()
    assert same(weights(whole.trainer.model), content["model"])


def test_other_commands_name_the_option(run, tmp_path, capsys):
    command = ["score", str(run), "--predictor", "linear", "--limit", "50"]
    assert main(command) == 2
    assert "if the data were moved, give their place with --data" in capsys.readouterr().err
    assert main([*command, "--data", str(tmp_path / "new.npy")]) == 0
