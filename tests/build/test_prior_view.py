"""Priors outside of training: the command that shows them."""

from pathlib import Path

import pytest
from helpers.configs import TOYS

from mmdprior.cli.main import main

ROOT = Path(__file__).parents[2]


def test_the_command_draws_a_prior_and_prints_its_moments(tmp_path, capsys):
    out = tmp_path / "p.png"
    assert main(["prior", "{name: laplace, scale: 2.0}", "--dim", "3", "--n", "500", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "2.8284" in printed
    assert "independent dimensions" in printed
    assert out.stat().st_size > 10_000
    assert main(["prior", f"{TOYS}:two_sided", "--dim", "5", "--n", "500", "--out", str(out)]) == 0
    assert "not known to be independent" in capsys.readouterr().out


def test_power_simulates_what_the_penalty_detects(tmp_path, capsys):
    out = str(tmp_path / "p.pdf")
    arguments = [
        "prior",
        str(ROOT / "configs/quickstart.yaml"),
        "--power",
        "--repeats",
        "5",
        "--batch-size",
        "32",
    ]
    assert main([*arguments, "--out", out]) == 0
    assert "one dimension duplicated" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "prior.name: 'nothing' received"),
        (["gaussian", "--out", "x.txt"], "--out: x.txt received"),
        (["gaussian", "seed=1"], "give overrides only with a YAML config"),
        ([str(ROOT / "configs/sprites/vae.yaml"), "--power"], "--power: "),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(arguments, message, tmp_path, capsys, monkeypatch):
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "p.png")]
    assert main(["prior", *arguments, *out]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
