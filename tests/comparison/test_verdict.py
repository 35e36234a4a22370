"""Verdicts on runs whose scores are known."""

import json

import pytest
from helpers.run_directories import write_run

from mmdprior.comparison import read_runs
from mmdprior.comparison.verdict import independence_verdict, prior_verdict


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
