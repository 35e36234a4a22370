"""Which checkpoints stay, and how they are written."""

import time

import pytest
import torch
from helpers.small_runs import experiment, run_directory, trainer

from mmdprior import InputError
from mmdprior.training import newest_checkpoint
from mmdprior.training.retention import BackgroundWriter


def names(directory):
    return {path.name for path in (directory / "checkpoints").iterdir()}


def test_checkpoints_of_a_run(tmp_path):
    directory = run_directory(tmp_path)
    experiment(directory, trainer__keep_every=3).trainer.run()
    expected = {"last.pt", "previous.pt", "best.pt", "step_00000003.pt", "step_00000006.pt"}
    assert names(directory) == expected


def test_only_the_newest_of_the_kept_checkpoints_stay(tmp_path):
    directory = run_directory(tmp_path)
    trainer(directory, trainer__keep_every=1, trainer__keep_last=2, trainer__checkpoint_every=6).run()
    assert names(directory) == {"last.pt", "step_00000005.pt", "step_00000006.pt"}
    for name in ("last.pt", "step_00000006.pt"):
        (directory / "checkpoints" / name).write_bytes(b"")
    assert newest_checkpoint(directory)[1]["step"] == 5


def test_a_run_without_checkpoints_cannot_be_resumed(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoints"):
        newest_checkpoint(run_directory(tmp_path))


def test_background_writer_copies_the_state_at_once_and_raises_later(tmp_path):
    written = {}

    def slow(content, path):
        time.sleep(0.05)
        written[path.name] = content
        if path.name == "bad":
            raise OSError("full")

    writer, tensor = BackgroundWriter(slow), torch.zeros(3)
    writer.submit({"nested": [{"a": tensor}]}, tmp_path / "good")
    tensor.fill_(1)
    writer.submit({"a": tensor}, tmp_path / "bad")
    assert torch.equal(written["good"]["nested"][0]["a"], torch.zeros(3))
    with pytest.raises(OSError, match="full"):
        writer.wait()
    writer.wait()
