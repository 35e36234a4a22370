"""Curves over training steps, and PSNR against LPS."""

import numpy as np
import pytest
from helpers.figure_text import figure_text

from mmdprior.figures import curves, frontier
from mmdprior.figures.style import pixels

NAN, STEPS = np.array([np.nan, np.nan]), np.array([0, 10])


@pytest.mark.parametrize(
    "lines",
    [
        {},
        {"a": []},
        {"a": [(STEPS, NAN)]},
        {"a": [(STEPS, np.array([1.0, 2.0]))], "b": [(STEPS, NAN), (STEPS, np.array([-1.0, np.inf]))]},
        {f"run {i}": [(STEPS, np.array([1.0, i]))] * 2 for i in range(40)},
        {"a": [(STEPS, np.array([1.0, 2.0])), (np.array([5]), np.array([3.0]))]},
    ],
)
def test_curves_draw_any_values_or_state_why_not(lines):
    figure = curves(lines, "title", "label", log=True)
    assert pixels(figure, dpi=30).std() > 1
    if not any(np.isfinite(v).any() for seeds in lines.values() for _, v in seeds):
        assert "no finite values were logged" in figure_text(figure)


def test_thick_curve_is_the_mean_over_seeds():
    seeds = [(STEPS, np.array([1.0, 2.0])), (np.array([0, 10, 20]), np.array([3.0, 6.0, 9.0]))]
    figure = curves({"a": seeds}, "title", "label")
    thick = [line for line in figure.axes[0].lines if line.get_label() == "a"]
    assert [line.get_ydata().tolist() for line in thick] == [[2.0, 4.0]]


def test_frontier_line_joins_pareto_optimal_runs():
    nan = float("nan")
    points = {"a": (20.0, 0.1, 0.5, 0.1), "b": (18.0, nan, 0.1, nan), "c": (17.0, nan, 0.3, nan)}
    points["d"] = (nan, nan, 0.1, nan)
    figure = frontier(points, hollow=["c"])
    line = figure.axes[0].lines[0]
    assert line.get_xdata().tolist() == [0.1, 0.5]
    assert line.get_ydata().tolist() == [18.0, 20.0]
    assert "hollow: prior not matched" in figure_text(figure)
    assert "no run has both" in figure_text(frontier({"d": points["d"]}))
    assert pixels(frontier({f"run {i}": (20.0, nan, -0.001 * i, nan) for i in range(100)}), 30).std() > 1
