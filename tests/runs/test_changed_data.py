"""Data that have changed since a run started, and settings that change only how they are read."""

import io
import tarfile

import numpy as np
import pytest
import torch
from helpers.small_runs import experiment, run_directory
from PIL import Image

from mmdprior.cli.main import main
from mmdprior.data import StreamingBatches
from mmdprior.errors import InputError
from mmdprior.runs import assembly
from mmdprior.world import World


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


def weights(state, **changes):
    """Return the weights of a run whose prior draws from NumPy; its generator was in a state before."""
    np.random.seed(state)
    prior = {"target": "helpers.toys:from_numpy"}
    penalty = {"name": "mmd", "prior": prior, "weight": 10.0}
    built = experiment(regularizer=penalty, trainer__steps=3, **changes)
    if "evaluation__every" not in changes:
        built.trainer.validate = None
    built.trainer.run()
    return torch.cat([p.detach().flatten() for p in built.trainer.model.parameters()])


def test_draws_from_numpy_depend_on_the_seed_and_not_on_validations():
    expected = weights(state=1)
    assert torch.equal(weights(state=2), expected)
    assert torch.equal(weights(state=3, evaluation__every=1), expected)
    assert not torch.equal(weights(state=1, seed=1), expected)


class OtherRank(World):
    """A world in which the images of another rank do not fit in its memory."""

    def any(self, flag):
        return True


def test_all_ranks_read_from_disk_if_one_of_them_must():
    config = experiment().config
    _, _, batches = assembly._data(config, torch.device("cpu"), OtherRank())
    assert isinstance(batches, StreamingBatches)


def test_an_unknown_device_names_its_key():
    with pytest.raises(InputError, match=r"trainer\.device: 'tpu9' received; not available on this machine"):
        experiment(trainer__device="tpu9")
