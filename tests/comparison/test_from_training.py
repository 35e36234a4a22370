"""What a trained run saves is enough to compare, traverse and sample it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmdprior.cli.main import main
from mmdprior.comparison import read_runs

ROOT = Path(__file__).parents[2]
TOYS = ROOT / "tests" / "helpers" / "toys.py"
SHORT = [
    "trainer.steps=2",
    "data.images=300",
    "data.batch_size=32",
    "data.test=60",
    "trainer.device=cpu",
    "evaluation.final_predictors=[linear]",
    "evaluation.match_samples=16",
    "evaluation.every=2",
    "evaluation.disentanglement=[mig]",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    config = str(ROOT / "configs" / "quickstart.yaml")
    assert main(["train", config, *SHORT, "model.posterior=gaussian", "--runs", str(runs)]) == 0
    (path,) = runs.rglob("config.yaml")
    return path.parent


def test_a_trained_run_has_a_complete_report(trained):
    run = read_runs([trained]).runs[0]
    assert run.missing == ()
    assert {"reconstructions", "prior_samples", "traversals", "traversals_moving"} <= set(run.pictures)
    assert run.facts["versions"]["torch"]
    assert "train" in run.commands[0]
    assert 0 < run.scalars["reconstruction/ssim"] < 1


def test_event_files_have_images_figures_charts_and_codes(trained):
    events = EventAccumulator(str(trained), size_guidance={"images": 0}).Reload()
    images = set(events.Tags()["images"])
    assert {"reconstructions", "traversals", "aggregate_posterior/marginals", "dependence/lps"} <= images
    assert "disentanglement/factors" in images
    assert "custom_scalars__config__" in events.Tags()["tensors"]
    assert (trained / "projector_config.pbtxt").is_file()
    (labels,) = trained.glob("*/codes/metadata.tsv")
    assert len(labels.read_text().splitlines()) == 1 + 60


def test_completion_writes_the_report_that_training_wrote(trained, tmp_path, capsys):
    copy = shutil.copytree(trained, tmp_path / "copy")
    before = read_runs([copy]).runs[0]
    codes = before.arrays()
    for name in ("test.json", "run.json", "codes.npz"):
        (copy / "report" / name).unlink()
    assert main(["compare", str(copy), "--complete", "--out", str(tmp_path / "out")]) == 0
    after = read_runs([copy]).runs[0]
    assert after.missing == ()
    tags = ("reconstruction/psnr", "lps/linear", "reconstruction/ssim", "match/mmd_standardised")
    for tag in (*tags, "disentanglement/mig"):
        assert after.scalars[tag] == pytest.approx(before.scalars[tag], rel=1e-5)
    assert np.allclose(after.arrays()["sample"], codes["sample"], atol=1e-6)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Codes against the prior, per dimension" in page
    assert "Which dimension follows which factor" in page


def test_traverse_draws_one_run_or_several(trained, tmp_path, capsys):
    checkpoint = str(trained / "checkpoints" / "last.pt")
    assert main(["traverse", checkpoint, "--out", str(tmp_path / "one"), "--columns", "3"]) == 0
    assert sorted(p.suffix for p in (tmp_path / "one").iterdir()) == [".gif", ".png"]
    both = ["traverse", str(trained), checkpoint, "--no-data", "--out", str(tmp_path / "two")]
    assert main([*both, "--columns", "3"]) == 0
    assert (tmp_path / "two" / "side_by_side.png").is_file()


def test_sample_decodes_any_prior(trained, tmp_path, capsys):
    out = tmp_path / "new" / "draws.png"
    for prior in ([], ["--prior", "{name: uniform, low: -3}"], ["--prior", f"{TOYS}:wide"]):
        assert main(["sample", str(trained), *prior, "--n", "5", "--out", str(out)]) == 0
        assert out.stat().st_size > 1000
    capsys.readouterr()
    for bad in (["--prior", "no_such"], ["--out", "x.txt"], ["--n", "0"]):
        assert main(["sample", str(trained), *bad]) == 2
        assert capsys.readouterr().err.count("\n") == 1
