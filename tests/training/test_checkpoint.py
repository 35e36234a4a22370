"""Checkpoint files: damage, foreign files, states that do not fit, and rebuilding a model from one."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.small_runs import experiment, run_directory, same, trainer, weights

import mmdprior
from mmdprior import InputError
from mmdprior.build.restore import config_of
from mmdprior.runs import assemble
from mmdprior.training import read_checkpoint, write_checkpoint

TOYS = Path(__file__).parents[1] / "helpers" / "toys.py"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The last checkpoint of a run of six steps."""
    directory = run_directory(tmp_path_factory.mktemp("written"))
    trainer(directory).run()
    return directory / "checkpoints" / "last.pt"


@pytest.fixture
def path(written, tmp_path):
    """A copy of it."""
    return Path(shutil.copy(written, tmp_path / "last.pt"))


def test_load_rebuilds_the_model_without_its_data(tmp_path):
    points = np.random.default_rng(0).normal(size=(40, 4))
    np.save(tmp_path / "z.npy", points)
    directory = run_directory(tmp_path)
    trained = trainer(directory, regularizer__prior={"name": "samples", "path": str(tmp_path / "z.npy")})
    trained.run()
    (tmp_path / "z.npy").unlink()
    path = directory / "checkpoints" / "last.pt"
    model = mmdprior.load(path)
    assert not model.training
    assert same(weights(model), weights(trained.model))
    images = torch.rand(3, 1, 64, 64)
    assert model.decode(model.encode(images).mean).shape == images.shape
    content = read_checkpoint(path)
    resumed = assemble(config_of(content, "x", trust=False), None, content, progress=False).trainer
    loaded = resumed.regularizer.prior.points.double()
    assert torch.allclose(loaded, torch.from_numpy(points).float().double())


def test_damage_is_named(path, tmp_path):
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:100], b"", b"junk" * 100):
        path.write_bytes(content)
        with pytest.raises(InputError, match="damaged or no checkpoint"):
            read_checkpoint(path)
    with pytest.raises(InputError, match="no such file"):
        read_checkpoint(tmp_path / "gone.pt")


def test_flipped_bytes_are_detected(path):
    whole = bytearray(path.read_bytes())
    for place in range(2000, len(whole) - 2000, len(whole) // 7):
        broken = bytearray(whole)
        broken[place : place + 40] = bytes(255 - byte for byte in broken[place : place + 40])
        path.write_bytes(broken)
        with pytest.raises(InputError, match="damaged|pickled|not a checkpoint"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("key", "value"), [("step", "3"), ("config", None), ("image_shape", None), ("format_version", "1")]
)
def test_content_of_the_wrong_type(path, key, value):
    write_checkpoint({**read_checkpoint(path), key: value}, path)
    with pytest.raises(InputError, match=f"{key} is"):
        read_checkpoint(path)


@pytest.mark.parametrize("key", ["optimizer", "random", "best", "regularizer"])
def test_states_that_do_not_fit_the_run(path, key):
    content = read_checkpoint(path)
    content.pop(key)
    with pytest.raises(InputError, match="does not fit this run"):
        experiment(resume=content)


def test_optimizer_moments_of_another_shape(path):
    content = read_checkpoint(path)
    content["optimizer"]["state"][0]["exp_avg"] = torch.zeros(3)
    with pytest.raises(InputError, match=r"optimizer.exp_avg: shape \(3,\) received"):
        experiment(resume=content)


def test_pickled_objects_are_never_run(tmp_path):
    marker = tmp_path / "ran"

    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(marker),))

    for save in (
        lambda f: torch.save({"config": Payload()}, f),
        lambda f: f.write_bytes(pickle.dumps(Payload())),
    ):
        save(tmp_path / "evil.pt")
        with pytest.raises(InputError, match="pickled objects|damaged"):
            read_checkpoint(tmp_path / "evil.pt")
    assert not marker.exists()


def test_foreign_and_newer_files(path, tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "x.pt")
    with pytest.raises(InputError, match="not a checkpoint of this package"):
        read_checkpoint(tmp_path / "x.pt")
    torch.save({**read_checkpoint(path), "format_version": 99}, tmp_path / "y.pt")
    with pytest.raises(InputError, match="format_version 99"):
        read_checkpoint(tmp_path / "y.pt")


def test_targets_need_trust(path):
    content = read_checkpoint(path)
    content["config"]["regularizer"] = {"target": f"{TOYS}:Predicting"}
    write_checkpoint(content, path)
    with pytest.raises(InputError, match="pass --trust"):
        mmdprior.load(path)
    assert mmdprior.load(path, trust=True)
    content["config"]["regularizer"] = {"target": [f"{TOYS}:Predicting"]}
    write_checkpoint(content, path)
    with pytest.raises(InputError, match="pass --trust"):
        mmdprior.load(path)
    with pytest.raises(InputError, match="in quotes"):
        mmdprior.load(path, trust=True)


def test_a_failed_write_leaves_the_old_file(path):
    before = path.read_bytes()
    with pytest.raises(Exception, match="pickle|lambda|Can't"):
        write_checkpoint({"f": lambda: 0}, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["last.pt"]
