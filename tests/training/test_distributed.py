"""Several processes: the same run as one process with the same global batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import together

from mmdprior import InputError
from mmdprior.cli.main import main
from mmdprior.data import InMemory, ResidentBatches
from mmdprior.evaluation.encode import rows_of_rank
from mmdprior.training import read_checkpoint
from mmdprior.world import World

ROOT = Path(__file__).parents[2]
EXACT = {"float64": 1e-10, "float32": 1e-5}
CASES = [
    *("kl:float64", "anova:float64", "kl:float32", "anova:float32"),
    *("anova:float64:2", "queue:float64", "learned:float64", "per_process:float64"),
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


def apart(a, b):
    return float((a - b).norm() / b.norm())


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    path = tmp_path_factory.mktemp("two") / "two.pt"
    done = torchrun(ROOT / "tests" / "together.py", path, *CASES)
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def one():
    return together.run(CASES)[1]


@pytest.mark.parametrize("case", [case for case in CASES if "per_process" not in case])
def test_two_processes_are_one_run(one, two, case):
    for key in ("losses", "weights"):
        assert apart(two[case][key], one[case][key]) < EXACT[case.split(":")[1]], key


def test_averaged_penalties_of_processes_are_another_run(one, two):
    """Two processes that each take the MMD of their own codes move elsewhere; this comparison shows it."""
    case, right = "per_process:float64", "anova:float64"
    assert apart(one[case]["losses"], one[right]["losses"]) < 1e-10
    assert apart(two[case]["weights"], one[right]["weights"]) > 1e-4
    assert apart(two[case]["losses"], one[right]["losses"]) > 1e-4


def test_all_processes_hold_the_same_weights(two):
    first, second = two["of all"]
    assert torch.equal(first, second)


ARGUMENTS = [
    *(ROOT / "configs" / "quickstart.yaml", "data.images=400"),
    *("data.batch_size=32", "trainer.checkpoint_every=2", "trainer.log_every=1", "trainer.device=cpu"),
    *("evaluation.every=100", "evaluation.final_predictors=[linear]", "evaluation.batch_size=16"),
    *("evaluation.pictures=false", "model.linear_skip=false"),
    *("model.channels=[4, 4, 4, 4]", "model.hidden=8"),
    *("trainer.average=0.9", "data.flip=true", "trainer.accumulate=2"),
]


def losses(directory):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return torch.tensor([line["loss/total"] for line in lines if "loss/total" in line])


def test_torchrun_trains_scores_and_writes_once(tmp_path):
    two = torchrun(
        ROOT / "scripts" / "train.py", *ARGUMENTS, "trainer.steps=6", "--directory", tmp_path / "two"
    )
    assert two.returncode == 0, two.stderr[-3000:]
    assert two.stdout.count("checkpoint ") == 1
    assert main(["train", *map(str, ARGUMENTS), "trainer.steps=6", "--directory", str(tmp_path / "one")]) == 0
    a, b = (read_checkpoint(tmp_path / name / "checkpoints" / "last.pt") for name in ("one", "two"))
    assert a["step"] == b["step"] == 6
    assert torch.allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-5)
    assert all(torch.allclose(a["model"][key], b["model"][key], atol=1e-4) for key in a["model"])
    reports = [json.loads((tmp_path / name / "report" / "test.json").read_text()) for name in ("one", "two")]
    assert reports[0]["reconstruction"]["psnr"] == pytest.approx(
        reports[1]["reconstruction"]["psnr"], abs=0.01
    )


def test_batches_are_shared_without_overlap():
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
def test_encoding_is_shared_in_whole_batches_where_it_can(n, batch, size):
    shares = [rows_of_rank(n, batch, World(rank, size)) for rank in range(size)]
    assert torch.equal(torch.cat(shares), torch.arange(n))
    assert all(len(share) for share in shares)
    if -(-n // batch) >= size:
        assert all(int(share[0]) % batch == 0 for share in shares)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_are_one_run(tmp_path):
    path = tmp_path / "two.pt"
    done = torchrun(ROOT / "tests" / "together.py", path, "anova:float64", "kl:float64", "--cuda")
    assert done.returncode == 0, done.stderr[-3000:]
    two = torch.load(path, weights_only=True)
    for case, expected in together.run(["anova:float64", "kl:float64"], "cuda")[1].items():
        assert apart(two[case]["weights"], expected["weights"]) < 1e-10
