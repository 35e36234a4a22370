"""The parser of all commands."""

import pytest

from mmdprior.cli.parser import parse
from mmdprior.errors import InputError


def add_options(parser):
    parser.add_argument(
        "--predictor", nargs="+", choices=["linear", "mlp", "trees"], default=["linear", "mlp"]
    )
    parser.add_argument("--levels", nargs="+", type=int)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["linear", "mlp"]),
        (["--predictor", "mlp"], ["mlp"]),
        (["--predictor", "mlp", "trees"], ["mlp", "trees"]),
        (["--predictor", "mlp", "--predictor", "trees"], ["mlp", "trees"]),
        (["--predictor=mlp", "--levels", "2", "--predictor=trees"], ["mlp", "trees"]),
        (["--predictor", "linear", "mlp", "--predictor", "trees"], ["linear", "mlp", "trees"]),
    ],
)
def test_a_repeated_option_adds_its_values(words, expected):
    for _ in range(2):  # the default is not changed
        assert parse("score", add_options, words, "").predictor == expected


def test_without_a_default():
    assert parse("score", add_options, ["--levels", "2", "--levels", "3", "4"], "").levels == [2, 3, 4]
    assert parse("score", add_options, [], "").levels is None


def test_options_are_not_abbreviated():
    with pytest.raises(InputError, match="score: --level: unknown option; did you mean '--levels'"):
        parse("score", add_options, ["--level", "2"], "")
