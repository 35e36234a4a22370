"""Data that have changed since a run started, and settings that change only how they are read."""

import io
import tarfile

import numpy as np
import pytest
from helpers.small_runs import experiment, run_directory
from PIL import Image

from mmdprior.cli.main import main


def images(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8), dtype=np.uint8)


@pytest.fixture
def stopped(tmp_path):
    """Return the directory of a run that was stopped after two of four steps, and the file of its images."""
    file = tmp_path / "images.npy"
    np.save(file, images(80))
    directory = run_directory(tmp_path / "runs")
    data = {"name": "arrays", "path": str(file), "batch_size": 16, "validation": 10, "test": 10}
    built = experiment(directory, data=data, trainer__steps=4, trainer__checkpoint_every=1)
    built.trainer.stop = lambda: built.trainer.step >= 2
    built.trainer.run()
    return directory, file


class TestMoreImages:
    CHANGE = "data: 70, 10, 10 training, validation and test images found, 60, 10, 10 when the run started"

    def test_a_run_is_not_resumed(self, stopped, capsys):
        directory, file = stopped
        np.save(file, images(90))
        assert main(["train", "--resume", str(directory)]) == 2
        assert f"error: {self.CHANGE}; restore the data" in capsys.readouterr().err
        np.save(file, images(80))
        assert main(["train", "--resume", str(directory), "-q"]) == 0

    def test_scores_warn(self, stopped, capsys):
        directory, file = stopped
        command = ["score", str(directory), "--predictor", "linear"]
        assert main(command) == 0
        assert "images found" not in capsys.readouterr().out
        np.save(file, images(90))
        assert main(command) == 0
        assert f"warning: {self.CHANGE}; the split may hold training images" in capsys.readouterr().out


def test_shards_read_with_another_shuffle_are_split_as_in_training(tmp_path, capsys):
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in range(3):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for k, pixels in enumerate(images(40, shard)):
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "png")
                info = tarfile.TarInfo(f"{k}.png")
                info.size = len(file.getvalue())
                file.seek(0)
                tar.addfile(info, file)
    directory = run_directory(tmp_path / "runs")
    data = {"name": "shards", "path": str(folder), "size": 8, "shuffle": 2, "batch_size": 16}
    experiment(directory, data={**data, "validation": 35, "test": 40}, trainer__steps=1).trainer.run()
    moved = folder.rename(tmp_path / "moved")
    place = f"{{name: shards, path: {moved}, size: 8}}"
    assert main(["score", str(directory), "--predictor", "linear", "--data", place]) == 0
    assert "used: the test split, 40 images" in capsys.readouterr().out


@pytest.mark.parametrize("every", [1, 3])
def test_a_prior_that_draws_from_numpy_is_reproducible(every):
    """Its draws depend on the seed, and not on how often the run is validated."""
    prior = {"target": "helpers.toys:from_numpy"}
    losses = []
    for state in (1, 2):
        np.random.seed(state)
        built = experiment(
            regularizer={"name": "mmd", "prior": prior, "weight": 10.0},
            trainer__steps=3,
            evaluation__every=every,
        )
        if losses:
            built.trainer.selection = type(built.trainer.selection)(every=100)
        built.trainer.run()
        losses.append([p.detach().clone() for p in built.trainer.model.parameters()])
    assert all((one == two).all() for one, two in zip(*losses, strict=True))
