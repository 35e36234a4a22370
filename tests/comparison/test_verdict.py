"""Verdicts on runs whose scores are known."""

import json

import pytest
from helpers.run_directories import write_run

from mmdprior.comparison import read_runs
from mmdprior.comparison.overview import overview_figures
from mmdprior.comparison.quantities import PSNR
from mmdprior.comparison.verdict import (
    headlines,
    independence_verdict,
    prior_verdict,
    quality_of,
    verdict_table,
)


@pytest.mark.parametrize(("match", "word"), [(-0.5, "yes"), (3.0, "yes"), (4.0, "nearly"), (11.0, "no")])
def test_prior_verdict_follows_the_mmd(tmp_path, match, word):
    write_run(tmp_path / "a", match=match)
    assert prior_verdict(read_runs([tmp_path]).groups[0]).text == word


def test_prior_verdict_follows_the_worst_marginal(tmp_path):
    run = write_run(tmp_path / "a", match=0.0)
    (run / "report" / "run.json").write_text(json.dumps({"marginal_distance": 0.2}))
    assert prior_verdict(read_runs([tmp_path]).groups[0]).text == "no"


@pytest.mark.parametrize(("lps", "word"), [(0.0105, "yes"), (0.04, "nearly"), (0.06, "no")])
def test_independence_verdict_subtracts_chance(tmp_path, lps, word):
    write_run(tmp_path / "a", lps=lps)
    assert independence_verdict(read_runs([tmp_path]).groups[0]).text == word


def test_prior_verdict_states_collapsed_dimensions(tmp_path):
    run = write_run(tmp_path / "a")
    path = run / "report" / "test.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "active": 1}))
    assert "only 1 of 3 dimensions active" in prior_verdict(read_runs([tmp_path]).groups[0]).note


class TestR2:
    """Runs of vectors and signals have R2 where those of images have PSNR."""

    @staticmethod
    def comparison(folder, **values):
        for name, value in values.items():
            path = write_run(folder / name, name=name) / "report" / "test.json"
            scores = json.loads(path.read_text())
            error = {"mse": 0.1, "loss": 1.0, **({} if value is None else {"r2": value})}
            path.write_text(json.dumps({**scores, "reconstruction": error}))
        return read_runs([folder])

    def test_r2_takes_the_place_of_psnr(self, tmp_path):
        comparison = self.comparison(tmp_path, good=0.95, bad=0.9, unknown=None)
        table = verdict_table(comparison.groups)
        assert [head.text for head in table.columns][3] == "R2"
        cells = {row[0].text: (row[3].text, row[3].note) for row in table.rows}
        assert cells["good"] == ("0.9500", "highest")
        assert cells["bad"] == ("0.9000", "0.0500 below")
        assert cells["unknown"][0] == "not measured"
        assert headlines(comparison.groups)[-1].text == "highest: good, 0.9500 R2; lowest: bad, 0.0500 less"
        assert "R2 against" in overview_figures(comparison.groups)["frontier"].alt
        assert "R2" in str(comparison.tables()["Reconstruction"])

    def test_psnr_stays_where_a_run_has_one(self, tmp_path):
        write_run(tmp_path / "image", name="image")
        comparison = self.comparison(tmp_path, vector=0.95)
        assert quality_of(comparison.groups) is PSNR
        assert verdict_table(comparison.groups).columns[3].text == "PSNR"
