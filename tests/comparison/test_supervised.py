"""Supervised scores in a comparison: table, page, JSON, TensorBoard, and runs without them."""

import json
import re

import numpy as np
import pytest
import torch
from helpers.factor_tables import scores_of
from helpers.run_directories import MMD, write_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmdprior.cli.main import main
from mmdprior.comparison import read_runs
from mmdprior.comparison.differences import differences, fingerprint
from mmdprior.comparison.supervised import _ABOUT, supervised_in
from mmdprior.figures import PriorShape
from mmdprior.metrics.supervised.scores import SCORES
from mmdprior.priors import Gaussian

NOISE = {0: 0.1, 1: 0.2}


@pytest.fixture(scope="module")
def results():
    """Return the scores of two seeds of three dimensions, of which one follows no factor."""
    rng = np.random.default_rng(0)
    factors = rng.integers(0, 4, (600, 2))
    names = ["hue", "size"]
    codes = {seed: np.c_[factors, rng.normal(size=600)] for seed in NOISE}
    codes = {seed: z + NOISE[seed] * rng.normal(size=(600, 3)) for seed, z in codes.items()}
    return {seed: scores_of(z, factors, "mig", "irs", names=names, chance=1) for seed, z in codes.items()}


@pytest.fixture(scope="module")
def runs(results, tmp_path_factory):
    """Return a folder with two seeds that have supervised scores, and one run of another kind without."""
    root = tmp_path_factory.mktemp("supervised")
    shape = PriorShape.of(Gaussian(3))
    for seed, result in results.items():
        report = write_run(root / f"vae_{seed}", seed=seed) / "report"
        test = json.loads((report / "test.json").read_text())
        (report / "test.json").write_text(json.dumps(test | {"disentanglement": result.to_dict()}))
        arrays = {"prior_grid": shape.grid, "prior_cdf": shape.cdf, "prior_draws": shape.draws}
        np.savez(report / "codes.npz", mean=torch.randn(50, 3).numpy(), **arrays)
    write_run(root / "mmd", name="set/mmd", regularizer=MMD)
    return root


def test_table_has_mean_over_seeds_and_a_dash_without_scores(runs, results):
    comparison = read_runs([runs])
    table = comparison.tables()["Supervised disentanglement scores"]
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    labels = [head.text for head in table.columns[1:]]
    mig = [result.scores["mig"] for result in results.values()]
    text = f"{np.mean(mig):.4f} ± {np.std(mig, ddof=1):.4f}"
    assert dict(zip(labels, rows["mig"], strict=True)) == {"vae": text, "mmd": "-"}
    assert list(rows) == ["mig", "irs"]
    chance = [result.chance["mig"] for result in results.values()]
    cell = next(row for row in table.rows if row[0].text == "mig")[1 + labels.index("vae")]
    assert cell.about.startswith(f"{np.mean(chance):.4f} ±")
    assert "Supervised disentanglement scores" in str(comparison)


def test_page_json_and_tensorboard_have_the_scores(runs, results, tmp_path):
    out = tmp_path / "report"
    arguments = [
        "compare",
        str(runs),
        "--out",
        str(out),
        "--tensorboard",
        "--json",
        str(tmp_path / "o/c.json"),
    ]
    assert main(arguments) == 0
    page = (out / "index.html").read_text()
    places = [
        page.index(text) for text in ("Supervised disentanglement scores", "Which dimension follows which")
    ]
    assert places == sorted(places)
    assert re.search(r"<details open><summary>Which dimension follows which factor", page)
    assert "### Supervised disentanglement scores" in (out / "comparison.md").read_text()
    report = json.loads((tmp_path / "o/c.json").read_text())
    assert report == json.loads((out / "comparison.json").read_text())
    numbers = {group["label"]: group["numbers"] for group in report["groups"]}
    expected = [result.scores["mig"] for result in results.values()]
    assert numbers["vae"]["disentanglement/mig"]["by_run"] == expected
    assert "disentanglement/mig_chance" in numbers["vae"]
    assert not any(tag.startswith("disentanglement/") for tag in numbers["mmd"])
    tags = EventAccumulator(str(out / "tensorboard" / "vae")).Reload().Tags()["scalars"]
    assert "test/disentanglement/mig" in tags
    assert "test/disentanglement/mig_chance" not in tags


def test_runs_without_scores_have_no_table(shared_runs):
    comparison = read_runs([shared_runs])
    assert "Supervised disentanglement scores" not in comparison.tables()
    assert not any("disentanglement" in tag for tag in comparison.tags)


def test_a_damaged_entry_is_one_line(runs, tmp_path, capsys):
    report = write_run(tmp_path / "broken") / "report"
    test = json.loads((report / "test.json").read_text())
    (report / "test.json").write_text(json.dumps(test | {"disentanglement": {"scores": [1]}}))
    assert main(["compare", str(tmp_path), str(runs)]) == 2
    assert re.search(r"^error: .*broken.*scores of another format", capsys.readouterr().out, re.MULTILINE)


def test_runs_of_earlier_releases_belong_to_the_same_configuration():
    earlier, later = {"evaluation": {"every": 5}}, {"evaluation": {"every": 5, "disentanglement": False}}
    assert fingerprint(earlier) == fingerprint(later)
    assert differences([earlier, later]) == {}
    on = {"evaluation": {"every": 5, "disentanglement": ["mig"]}}
    assert differences([earlier, on]) == {"evaluation.disentanglement": [False, ["mig"]]}


def test_every_score_is_explained():
    assert tuple(_ABOUT) == SCORES
    assert supervised_in([f"disentanglement/{name}" for name in reversed(SCORES)]) == list(SCORES)
