"""Finished runs are read, grouped by configuration and printed; damaged ones do not affect the others."""

import json
import re
import warnings

import numpy as np
import pytest
import torch
from helpers.run_directories import MMD, write_run

from mmdprior import InputError
from mmdprior.cli.main import main
from mmdprior.comparison import read_runs
from mmdprior.metrics import lps, semantics
from mmdprior.priors import Factors
from mmdprior.results import Result
from mmdprior.runs.read import find_runs, scalars_of


def test_finds_runs_at_any_depth_each_once(runs):
    run = runs / "vae" / "seed_0"
    (runs / "other").mkdir()
    (runs / "other" / "config.yaml").write_text("{}")
    assert find_runs([run, runs, run]) == [run, *(p for p in find_runs([runs]) if p != run)]
    assert len(find_runs([runs])) == 4
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "last.pt").touch()
    assert find_runs([run / "checkpoints" / "last.pt"]) == [run]


def test_labels_on_their_dimensions_have_a_table(runs):
    labels = torch.arange(400)[:, None] % 4
    prior = Factors(3, {"x": {"dims": [1], "levels": 4}})
    scores = semantics(prior.sample(400, given=labels), labels, ("x",), prior)
    path = runs / "vae" / "seed_0" / "report" / "test.json"
    test = {**json.loads(path.read_text()), "semantics": scores.to_dict()}
    path.write_text(json.dumps(test))
    expected = {f"semantics/{name}": pytest.approx(value) for name, value in scores.scalars().items()}
    assert {k: v for k, v in scalars_of(test).items() if k.startswith("semantics/")} == expected
    table = read_runs([runs]).tables()["Labels on their dimensions"]
    titles = [cell.text for cell in table.columns[1:]]
    assert titles == [f"x: {title}" for title in ("accuracy", "R2", "accuracy elsewhere", "R2 elsewhere")]


def test_a_path_without_runs_is_a_one_line_error(tmp_path, capsys):
    for path in (tmp_path, tmp_path / "gone"):
        assert main(["compare", str(path)]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert str(path) in error


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("config.yaml", "a: ["),
        ("config.yaml", "!!python/object:os.system {}"),
        ("config.yaml", "3"),
        ("report/test.json", "{"),
        ("report/test.json", "[]"),
        ("report/test.json", '{"lps": 3}'),
        ("report/run.json", "nan?"),
    ],
)
def test_a_damaged_run_is_reported_and_the_others_are_compared(runs, capsys, file, text):
    (runs / "vae" / "seed_0" / file).write_text(text)
    assert main(["compare", str(runs)]) == 2
    out = capsys.readouterr().out
    assert re.search(r"^error: .*seed_0", out, re.MULTILINE)
    assert "mmd" in out
    with pytest.raises(InputError, match="none can be read"):
        read_runs([runs / "vae" / "seed_0"])


def test_scores_have_the_tags_of_tensorboard(runs):
    run = read_runs([runs / "vae" / "seed_0"]).runs[0]
    assert run.scalars["lps/mlp"] == 0.3
    assert run.scalars["lps/mlp_sample"] == 0.15
    assert run.scalars["independence/total_correlation"] == 0.5
    assert run.scalars["cost/train_seconds"] == 20.0
    assert np.isnan(run.curves["lps/linear"][1]).all()
    assert run.curves["loss/total"][0].tolist() == [50, 100]
    assert scalars_of({}) == {}


def test_a_run_without_scores_has_empty_cells_and_the_subtitle_says_so(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", name="set/b", test=False, regularizer=MMD)
    comparison = read_runs([tmp_path])
    assert "incomplete reports: 2 runs" in comparison.subtitle
    assert comparison.runs[1].missing == ("test.json", "run.json", "codes.npz")
    assert "not measured" in str(comparison)
    row = next(r for r in comparison.tables()["Reconstruction"].rows if r[0].text == "b")
    assert [cell.text for cell in row[1:]] == ["", ""]


def test_completion_without_a_checkpoint_is_an_error(tmp_path, capsys):
    write_run(tmp_path / "a")
    assert main(["compare", str(tmp_path), "--complete"]) == 2
    output = capsys.readouterr()
    assert "checkpoints/last.pt" in output.err
    assert "PSNR" in output.out


def test_a_comparison_is_a_result_that_notebooks_show(shared_runs):
    comparison = read_runs([shared_runs])
    assert isinstance(comparison, Result)
    assert "<pre>LPS linear" in lps(np.random.default_rng(0).normal(size=(60, 2)), "linear")._repr_html_()
    html = comparison._repr_html_()
    assert "prior matched?" in html
    assert "</table>" in html


def test_json_has_the_keys_of_earlier_versions(shared_runs):
    content = json.loads(read_runs([shared_runs]).to_json())
    assert set(content) == {"groups", "headlines", "errors"}
    assert list(content["headlines"]) == ["Prior enforced", "Independent codes", "Reconstruction"]
    assert content["headlines"]["Prior enforced"] == "mmd"
    assert set(content["groups"][0]) == {"label", "seeds", "runs", "missing", "numbers", "config"}


def test_the_methods_that_became_functions_still_work_with_a_warning(tmp_path):
    write_run(tmp_path / "run")
    comparison = read_runs([tmp_path])
    with pytest.warns(DeprecationWarning, match="is now mmdprior.comparison.write_tensorboard"):
        folder = comparison.write_tensorboard(tmp_path / "tensorboard")
    assert folder.is_dir()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert comparison.write(tmp_path / "out", command="c").name == "index.html"
    assert "mmdprior.comparison.write_page" in str(caught[0].message)
