"""Several processes: the same run as one process with the same global batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import together
from helpers.baseline_catalogue import BASELINES

from mmdprior import InputError
from mmdprior.cli.main import main
from mmdprior.data import InMemory, ResidentBatches
from mmdprior.evaluation.encode import rows_of_rank
from mmdprior.training import join, read_checkpoint
from mmdprior.world import World

ROOT = Path(__file__).parents[2]
TOGETHER = ROOT / "tests" / "helpers" / "together.py"
BOUNDS = {"float64": 1e-10, "float32": 1e-5}
CASES = [
    *("kl:float64", "anova:float64", "kl:float32", "anova:float32"),
    *(
        "anova:float64:2",
        "queue:float64",
        "learned:float64",
        "per_process:float64",
        "labelled:float64",
        "target:float64",
    ),
    *("qlae:float64", "noise:float64:2"),
    *(f"{name}:float64" for name in BASELINES),
]


def torchrun(*arguments, processes=2):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    return subprocess.run(
        [*command, "--nproc-per-node", str(processes), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def relative_difference(a, b):
    return float((a - b).norm() / b.norm())


ARGUMENTS = [
    *(ROOT / "configs" / "quickstart.yaml", "data.images=400"),
    *("data.batch_size=32", "trainer.checkpoint_every=2", "trainer.log_every=1", "trainer.device=cpu"),
    *("evaluation.every=100", "evaluation.final_predictors=[linear]", "evaluation.batch_size=16"),
    *("evaluation.pictures=false", "evaluation.match_samples=32", "model.linear_skip=false"),
    *("model.channels=[4, 4, 4, 4]", "model.hidden=8", "trainer.steps=6"),
    *("trainer.average=0.9", "data.flip=true", "trainer.accumulate=2"),
]


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """Folder and output of one launch of two ranks, which train all cases and then a whole run."""
    folder = tmp_path_factory.mktemp("two")
    train = ["--", *ARGUMENTS, "--directory", folder / "run"]
    result = torchrun(TOGETHER, folder / "cases.pt", *CASES, *train)
    assert result.returncode == 0, result.stderr[-3000:]
    return folder, result.stdout


@pytest.fixture(scope="module")
def two(launched):
    return torch.load(launched[0] / "cases.pt", weights_only=True)


@pytest.fixture(scope="module")
def one():
    return together.run(CASES)[1]


@pytest.mark.parametrize("case", [case for case in CASES if "per_process" not in case])
def test_two_processes_are_one_run(one, two, case):
    for key in ("losses", "weights"):
        assert relative_difference(two[case][key], one[case][key]) < BOUNDS[case.split(":")[1]], key


def test_averaging_the_penalties_of_ranks_is_another_run(one, two):
    """Two ranks that each take the MMD of their own codes get other weights; the comparison above sees it."""
    case, right = "per_process:float64", "anova:float64"
    assert relative_difference(one[case]["losses"], one[right]["losses"]) < 1e-10
    assert relative_difference(two[case]["weights"], one[right]["weights"]) > 1e-4
    assert relative_difference(two[case]["losses"], one[right]["losses"]) > 1e-4


def test_all_ranks_have_the_same_weights(two):
    first, second = two["weight sums"]
    assert torch.equal(first, second)


def losses(directory):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return torch.tensor([line["loss/total"] for line in lines if "loss/total" in line])


def psnr(directory):
    return json.loads((directory / "report" / "test.json").read_text())["reconstruction"]["psnr"]


def test_torchrun_trains_and_scores_as_one_process_and_writes_once(tmp_path, launched):
    one, two = tmp_path / "run", launched[0] / "run"
    assert launched[1].count("checkpoint ") == 1
    assert main(["train", *map(str, ARGUMENTS), "--directory", str(one)]) == 0
    a, b = (read_checkpoint(run / "checkpoints" / "last.pt") for run in (one, two))
    assert a["step"] == b["step"] == 6
    assert torch.allclose(losses(two), losses(one), rtol=1e-5)
    assert all(torch.allclose(a["model"][key], b["model"][key], atol=1e-4) for key in a["model"])
    assert psnr(one) == pytest.approx(psnr(two), abs=0.01)


class TestJoin:
    @pytest.mark.parametrize(("device", "selected"), [("cuda", []), ("cuda:1", ["cuda:1"]), ("cpu", [])])
    def test_only_a_device_with_an_index_is_selected(self, monkeypatch, device, selected):
        """torch.cuda.set_device raises for "cuda" without an index, which is the current device anyway."""
        calls = []
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(str(device)))
        assert join(torch.device(device)) == (World(), torch.device(device))
        assert calls == selected

    def test_torchrun_needs_cuda_or_cpu(self, monkeypatch):
        for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(InputError, match=r"trainer\.device: mps received under torchrun"):
            join(torch.device("mps"))

    def test_torchrun_needs_a_gpu_per_process(self, monkeypatch):
        for name, value in {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "3"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        with pytest.raises(InputError, match="process 4 received on a machine with 2 GPUs"):
            join(torch.device("cuda"))


def test_ranks_share_batches_without_overlap():
    images = InMemory(torch.arange(40).view(40, 1, 1, 1).expand(-1, 1, 2, 2).to(torch.uint8))
    whole = next(ResidentBatches(images, 12, 0).stream())
    parts = [next(ResidentBatches(images, 12, 0, world=World(r, 3)).stream()) for r in range(3)]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert all(torch.equal(part.indices, whole.indices) for part in parts)
    with pytest.raises(
        InputError, match=r"data\.batch_size: 13 received; give a multiple of the 3 processes"
    ):
        ResidentBatches(images, 13, 0, world=World(0, 3))


@pytest.mark.parametrize(("n", "batch", "size"), [(100, 16, 3), (100, 50, 4), (5, 512, 2), (64, 16, 4)])
def test_encoding_is_shared_in_whole_batches_where_possible(n, batch, size):
    shares = [rows_of_rank(n, batch, World(rank, size)) for rank in range(size)]
    assert torch.equal(torch.cat(shares), torch.arange(n))
    assert all(len(share) for share in shares)
    if -(-n // batch) >= size:
        assert all(int(share[0]) % batch == 0 for share in shares)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_are_one_run(tmp_path):
    path = tmp_path / "two.pt"
    result = torchrun(TOGETHER, path, "anova:float64", "kl:float64", "--cuda")
    assert result.returncode == 0, result.stderr[-3000:]
    two = torch.load(path, weights_only=True)
    for case, expected in together.run(["anova:float64", "kl:float64"], "cuda")[1].items():
        assert relative_difference(two[case]["weights"], expected["weights"]) < 1e-10
