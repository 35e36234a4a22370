"""Files of codes of any scale: tables and figures of huge and tiny codes."""

import numpy as np
import pytest

from mmdprior.cli.main import main


@pytest.mark.parametrize("scale", [1e200, 1e-310, np.array([1e200, 1.0, 1e-200])])
def test_figures_and_tables_of_codes_of_any_scale(tmp_path, scale):
    z = np.random.default_rng(0).normal(size=(60, 3)) * scale
    np.save(tmp_path / "z.npy", z)
    options = ["--predictor", "linear", "--figures", str(tmp_path / "figures")]
    assert main(["score", str(tmp_path / "z.npy"), *options]) == 0


def test_figures_of_codes_that_overflow_an_axis_are_refused_in_one_line(tmp_path, capsys):
    np.save(tmp_path / "z.npy", np.random.default_rng(0).normal(size=(60, 3)) * 4e307)
    path, figures = str(tmp_path / "z.npy"), str(tmp_path / "figures")
    assert main(["score", path, "--predictor", "linear"]) == 0
    assert main(["score", path, "--predictor", "linear", "--figures", figures]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: figures: codes up to 1e+308 received")
    assert error.count("\n") == 1
