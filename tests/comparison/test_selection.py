"""Model selection without labels: rank correlations of numbers of runs with their supervised scores."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from mmdprior import InputError
from mmdprior.cli.main import main
from mmdprior.comparison import select
from mmdprior.comparison.groups import group_runs
from mmdprior.metrics import udr
from mmdprior.runs import Run


def runs_with(columns, names=None):
    """Return runs whose scalars are the rows of the columns; equal names are seeds of one configuration."""
    count = len(next(iter(columns.values())))
    names = names or [f"run{i}" for i in range(count)]
    return [
        Run(Path(f"r{i}"), {"name": names[i], "seed": i}, scalars={tag: v[i] for tag, v in columns.items()})
        for i in range(count)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_correlations_are_those_of_scipy(seed):
    g = np.random.default_rng(seed)
    columns = {
        "lps/mlp": g.normal(size=9),
        "lps/linear": g.integers(0, 3, 9).astype(float),  # ties
        "independence/total_correlation": g.normal(size=9),
        "disentanglement/mig": g.normal(size=9),
        "disentanglement/sap": g.integers(0, 4, 9).astype(float),
    }
    columns["lps/mlp"][2] = columns["disentanglement/sap"][4] = np.nan
    result = select(group_runs(runs_with(columns)))
    tags = ("lps/linear", "lps/mlp", "independence/total_correlation")
    titles = {"lps/linear": "LPS linear", "lps/mlp": "LPS mlp", "independence/total_correlation": "TC"}
    for tag in tags:
        row = next(i for i, number in enumerate(result.numbers) if number.startswith(titles[tag]))
        for column, score in enumerate(result.scores):
            a, b = columns[tag], columns[f"disentanglement/{score}"]
            both = np.isfinite(a) & np.isfinite(b)
            assert result.correlation[row, column] == pytest.approx(spearmanr(a[both], b[both])[0], abs=1e-12)
            assert result.runs[row, column] == both.sum()


def test_the_selected_runs_are_the_extremes():
    columns = {"lps/mlp": [0.3, np.nan, 0.1, 0.2], "disentanglement/mig": [0.1, 0.2, 0.3, 0.4]}
    result = select(group_runs(runs_with(columns)))
    assert result.selected == (("run2 seed 2", "run0 seed 0"),)
    assert "run2 seed 2" in str(result)
    assert json.loads(result.to_json())["LPS mlp, means"]["lowest"] == "run2 seed 2"


@pytest.mark.parametrize(
    "columns",
    [
        {"lps/mlp": [0.1, 0.2, 0.3], "disentanglement/mig": [0.1, 0.2, 0.3]},  # three runs
        {"lps/mlp": [0.1] * 6, "disentanglement/mig": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]},  # constant
        {"lps/mlp": [np.nan] * 6, "disentanglement/mig": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]},
    ],
)
def test_no_correlation_of_few_or_constant_numbers(columns):
    result = select(group_runs(runs_with(columns)))
    assert np.isnan(result.correlation).all()
    assert "nan" not in str(result)


def test_seeds_that_agree_have_a_higher_udr(tmp_path):
    g = np.random.default_rng(0)
    z = g.normal(size=(400, 3))
    codes = {"same": [z, -z[:, [2, 0, 1]]], "other": [z, g.normal(size=(400, 3))]}
    runs = []
    for name, arrays in codes.items():
        for seed, mean in enumerate(arrays):
            folder = tmp_path / f"{name}{seed}"
            (folder / "report").mkdir(parents=True)
            np.savez(folder / "report" / "codes.npz", mean=mean)
            scalars = {"disentanglement/mig": 0.5 * (name == "same") + 0.01 * seed}
            runs.append(Run(folder, {"name": name, "seed": seed}, scalars=scalars))
    result = select(group_runs(runs))
    assert result.numbers == ("UDR",)
    assert result.selected[0][1].startswith("same")
    agreement = [score for arrays in codes.values() for score in udr(arrays).scores]
    mig = [run.scalars["disentanglement/mig"] for run in runs]
    assert min(agreement[:2]) > max(agreement[2:])
    assert result.correlation[0, 0] == pytest.approx(spearmanr(agreement, mig)[0], abs=1e-12)


def test_runs_without_supervised_scores():
    with pytest.raises(InputError, match="--select: no run has supervised scores"):
        select(group_runs(runs_with({"lps/mlp": [0.1, 0.2, 0.3, 0.4]})))


def test_the_command_selects_among_rows(tmp_path, capsys):
    test = {"dim": 2, "active": 2, "effective_rank": 2.0, "independence": {}}
    rows = [
        {
            "config": {"name": f"run{i}", "seed": 0},
            "test": {
                **test,
                "lps": [{"predictor": "mlp", "representation": "mean", "score": 0.1 * i, "max": 0.1}],
                "disentanglement": {"scores": {"mig": 0.5 - 0.1 * i}, "chance": {"mig": 0.0}},
            },
            "facts": {},
        }
        for i in range(5)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert main(["compare", str(file), "--select"]) == 0
    assert "-1.00" in capsys.readouterr().out
