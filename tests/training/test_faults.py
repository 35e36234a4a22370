"""Faults during a run: damaged files, full disks, missing data, signals, a second process."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmdprior import InputError
from mmdprior.cli.main import main
from mmdprior.config import load_config
from mmdprior.runs.directory import RunDirectory
from mmdprior.runs.signals import StopSignals
from mmdprior.runs.start import continue_run, enter_run
from mmdprior.training import newest_checkpoint, read_checkpoint, write_checkpoint
from mmdprior.training.checkpoint import DamagedCheckpointError, has_checksum, intact

ROOT = Path(__file__).parents[2]
TOYS = ROOT / "tests" / "helpers" / "toys.py"
CONFIG = """
name: short
data: {name: sprites, images: 400, batch_size: 16}
model: {name: mlp, hidden: [8], latent_dim: 4, likelihood: bernoulli}
regularizer: {name: mmd, prior: gaussian, weight: 10.0}
trainer: {steps: 6, device: cpu, log_every: 2, checkpoint_every: 2}
evaluation: {every: 100, final_predictors: [linear], match_samples: 32, pictures: false}
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished run of six steps."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "short.yaml").write_text(CONFIG)
    assert main(["train", str(folder / "short.yaml"), "--directory", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def run(whole, tmp_path):
    """A copy of the finished run."""
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


def config_file(folder):
    path = folder / "short.yaml"
    path.write_text(CONFIG)
    return str(path)


def fails(capsys, *arguments):
    """Run a command that must end with status 2; return its one line."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def flipped(content, place, length=1):
    changed = bytearray(content)
    changed[place : place + length] = bytes(255 - byte for byte in changed[place : place + length])
    return bytes(changed)


def mutilations(content):
    """Yield twenty damaged versions of a file with their names."""
    size, end = len(content), content.rindex(b"PK\x05\x06")
    padding = content.index(b"FB") + 3  # torch pads entries with an extra field of this name
    for kept in (0, 1, 100, size // 2, size - 80, size - 64, size - 1):
        yield f"cut to {kept}", content[:kept]
    places = {"the first byte": 0, "a local header": 10, "padding": padding, "the middle": size // 2}
    places |= {"the directory": content.index(b"PK\x01\x02") + 8, "the end record": end + 5}
    places |= {"the mark": size - 70, "the checksum": size - 10, "the last byte": size - 1}
    for name, place in places.items():
        yield f"flipped in {name}", flipped(content, place)
    yield "a block flipped", flipped(content, size // 3, 512)
    yield "a block twice", content[: size // 3] + content[size // 3 - 512 : size // 3] + content[size // 3 :]
    yield "bytes added", content + b"\0"
    yield "emptied to zeros", bytes(size)


class TestDamage:
    def test_twenty_mutilations_are_each_detected(self, run, capsys):
        path = run / "checkpoints" / "last.pt"
        content = path.read_bytes()
        assert len(dict(mutilations(content))) == 20
        for name, broken in mutilations(content):
            assert broken != content, name
            path.write_bytes(broken)
            with pytest.raises(DamagedCheckpointError):
                read_checkpoint(path)
        for broken in (content[: len(content) // 2], b"", flipped(content, len(content) // 2)):
            path.write_bytes(broken)
            assert str(path) in fails(capsys, "score", path)

    def test_a_flip_of_any_byte_is_detected(self, run):
        path = run / "checkpoints" / "last.pt"
        content = path.read_bytes()
        assert has_checksum(path)
        assert intact(path)
        for place in [*range(0, len(content), 9973), *range(len(content) - 90, len(content))]:
            path.write_bytes(flipped(content, place))
            assert not (has_checksum(path) and intact(path)), place

    def test_zip_and_torch_read_the_file_despite_its_checksum(self, run, tmp_path):
        path = run / "checkpoints" / "last.pt"
        shutil.unpack_archive(path, tmp_path / "unpacked", "zip")
        for mmap in (False, True):
            assert torch.load(path, weights_only=True, mmap=mmap)["step"] == 6

    def test_files_of_the_first_format_had_no_checksum(self, run, tmp_path):
        content = read_checkpoint(run / "checkpoints" / "last.pt")
        torch.save({**content, "format_version": 1}, tmp_path / "old.pt")
        assert read_checkpoint(tmp_path / "old.pt")["step"] == 6
        torch.save(content, tmp_path / "stripped.pt")
        with pytest.raises(DamagedCheckpointError, match="checksum is missing"):
            read_checkpoint(tmp_path / "stripped.pt")

    def test_resume_falls_back_to_the_previous_checkpoint_and_reports_it(self, run, whole, capsys):
        folder = run / "checkpoints"
        assert read_checkpoint(folder / "previous.pt")["step"] == 4
        (folder / "last.pt").write_bytes((folder / "last.pt").read_bytes()[:-1])
        assert main(["train", "--resume", str(run)]) == 0
        errors = capsys.readouterr().err
        assert "last.pt: damaged" in errors
        assert "previous.pt: intact; continuing from its step 4" in errors
        assert (folder / "last.pt.damaged").is_file()
        first, second = (run / "commands.txt").read_text().splitlines()
        assert first.startswith("mmdprior train /")
        assert second == f"mmdprior train --resume {run}"
        a, b = (read_checkpoint(d / "checkpoints" / "last.pt") for d in (run, whole))
        assert same(a["model"], b["model"])
        assert read_checkpoint(folder / "previous.pt")["step"] == 4

    def test_no_intact_checkpoint_is_an_error_that_deletes_nothing(self, run, capsys):
        files = [run / "checkpoints" / name for name in ("last.pt", "previous.pt")]
        for path in files:
            path.write_bytes(b"")
        assert "holds no intact checkpoint" in fails(capsys, "train", "--resume", run)
        assert all(path.is_file() for path in files)

    def test_a_newer_format_is_not_reported_as_damage(self, run, capsys):
        path = run / "checkpoints" / "last.pt"
        write_checkpoint({**read_checkpoint(path), "format_version": 99}, path)
        assert "format_version 99" in fails(capsys, "train", "--resume", run)
        assert path.is_file()


@contextmanager
def largest_file(size):
    """Limit the size of files, which fails writes as a full disk does. Python ignores SIGXFSZ."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestDisk:
    def test_a_full_disk_is_a_one_line_error_that_keeps_the_checkpoints(self, run, capsys):
        folder = run / "checkpoints"
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        (folder / "last.pt").write_bytes(before["previous.pt"])  # two steps from the end
        size = len(before["last.pt"])
        with largest_file(size // 2):
            assert "not written (File too large)" in fails(capsys, "train", "--resume", run)
            with ExitStack() as hold:
                trainer = continue_run(run, hold).trainer
                trainer.validate = None
                with pytest.raises(InputError, match=r"last.pt: not written \(File too large\)"):
                    trainer.run()
        assert {path.name for path in folder.iterdir()} == before.keys()
        assert read_checkpoint(folder / "last.pt")["step"] == 4
        assert main(["train", "--resume", str(run)]) == 0
        assert read_checkpoint(folder / "last.pt")["step"] == 6

    def test_metrics_that_cannot_be_written_are_a_one_line_error(self, run, capsys):
        path = run / "checkpoints" / "last.pt"
        path.write_bytes((run / "checkpoints" / "previous.pt").read_bytes())
        with largest_file((run / "metrics.jsonl").stat().st_size // 2):
            assert "metrics.jsonl" in fails(capsys, "train", "--resume", run)
        assert read_checkpoint(path)["step"] == 4

    @pytest.mark.parametrize("workers", [0, 1])
    def test_deleted_images_are_a_one_line_error(self, tmp_path, capsys, workers):
        pixels = np.random.default_rng(0).integers(0, 256, (120, 8, 8), dtype=np.uint8)
        (tmp_path / "images").mkdir()
        for i, image in enumerate(pixels):
            Image.fromarray(image).save(tmp_path / "images" / f"{i}.png")
        data = f"data={{name: image_folder, root: {tmp_path / 'images'}, size: 8, channels: 1}}"
        changes = [data, "data.resident=false", f"data.workers={workers}", "data.batch_size=8"]
        changes += ["trainer.steps=1000000", "data.validation=40", "data.test=40"]
        config, directory = load_config(config_file(tmp_path), changes), tmp_path / "run"
        with ExitStack() as hold:
            trainer = enter_run(config, directory, hold).trainer
            trainer.stop = lambda: (
                trainer.step >= 2 and not shutil.rmtree(tmp_path / "images", ignore_errors=True)
            )
            trainer.run()
            assert trainer.stopped
            trainer.stop = lambda: False
            with pytest.raises(InputError) as error:
                trainer.run()
        assert "\n" not in str(error.value)
        assert "not a readable image" in str(error.value)
        assert "Traceback" not in str(error.value)
        assert newest_checkpoint(directory)[1]["step"] >= 2

    def test_a_non_finite_loss_is_a_one_line_error_that_keeps_the_checkpoint(self, tmp_path, capsys):
        explode = f"regularizer={{target: '{TOYS}:Exploding', at: 5}}"
        arguments = ["train", config_file(tmp_path), explode, "--directory", str(tmp_path / "run")]
        assert "not finite at step 5" in fails(capsys, *arguments)
        assert newest_checkpoint(tmp_path / "run")[1]["step"] == 4
        rows = json.loads((tmp_path / "run" / "checkpoints" / "nonfinite.json").read_text())
        assert len(next(v for v in rows.values() if isinstance(v, list))) == 16


class TestOneProcess:
    def test_only_one_run_writes_to_a_directory(self, run, capsys):
        with RunDirectory(run).claim():
            line = fails(capsys, "train", "--resume", run)
            assert f"process {os.getpid()} on " in line
            assert "writes there" in line

    def test_a_directory_holds_runs_of_one_config(self, whole, tmp_path, capsys):
        config = config_file(tmp_path)
        assert main(["train", config, "--directory", str(whole)]) == 0
        assert "is finished; nothing to do" in capsys.readouterr().out
        line = fails(capsys, "train", config, "trainer.steps=8", "--directory", whole)
        assert "trainer.steps 6, not 8" in line
        assert "cannot be combined with --resume" in fails(
            capsys, "train", "--resume", whole, "--directory", tmp_path
        )

    def test_a_start_that_died_before_its_first_checkpoint_is_repeated(self, run, whole, tmp_path):
        shutil.rmtree(run / "checkpoints")
        (run / "report" / "test.json").unlink()
        (run / "report" / ".test.json.1.tmp").write_text("{")
        with (run / "metrics.jsonl").open("a") as file:
            file.write('{"step": 9}\n{"st')
        assert main(["train", config_file(tmp_path), "--directory", str(run)]) == 0
        steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert 9 not in steps
        assert not list(run.rglob("*.tmp"))
        a, b = (read_checkpoint(d / "checkpoints" / "last.pt") for d in (run, whole))
        assert same(a["model"], b["model"])


class TestSignals:
    def test_outside_the_loop_a_signal_ends_with_its_status(self, monkeypatch, capsys):
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            with monkeypatch.context() as patch:
                patch.setattr("mmdprior.cli.prior.main", lambda _, n=number: os.kill(os.getpid(), n))
                assert main(["prior"]) == status
            assert "interrupted" in capsys.readouterr().err

    def test_a_stopped_run_continues_to_the_same_weights(self, whole, tmp_path):
        config = load_config(config_file(tmp_path))
        with ExitStack() as hold, StopSignals() as stop:
            stopped = enter_run(config, tmp_path / "run", hold)

            def signalled():
                if stopped.trainer.step == 4:
                    os.kill(os.getpid(), signal.SIGTERM)
                return stop()

            stopped.trainer.stop = signalled
            assert stopped.run() is None
            assert stopped.trainer.step == 4
        with ExitStack() as hold:
            assert continue_run(tmp_path / "run", hold).run() is not None
        a, b = (read_checkpoint(d / "checkpoints" / "last.pt") for d in (tmp_path / "run", whole))
        assert same(a["model"], b["model"])

    def test_kills_at_random_moments_do_not_change_the_weights(self):
        command = [sys.executable, str(ROOT / "scripts" / "bench.py"), "kills", "--number", "4"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "4 kills" in result.stdout
        assert "0 ended wrongly" in result.stdout
