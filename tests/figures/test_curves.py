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


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_single_logged_value_is_visible(seeds):
    value = (np.array([0]), np.array([0.5]))
    figure = curves({"a": [value] * seeds}, "title", "label")
    assert all(line.get_marker() == "o" for line in figure.axes[0].lines)


@pytest.mark.parametrize("spread", [0.3, 0.01, 0.0])
def test_labels_of_many_runs_do_not_collide(spread):
    rng = np.random.default_rng(0)
    points = {
        f"a_long_method_{i}": (20 + spread * rng.normal(), 0.01, 0.3 + spread * rng.random(), float("nan"))
        for i in range(20)
    }
    figure = frontier(points, hollow=["a_long_method_0"])
    figure.draw_without_rendering()
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert all(axes.bbox.contains(box.x0, box.y0) and axes.bbox.contains(box.x1, box.y1) for box in boxes)
    best = max(points, key=lambda name: points[name][0])
    assert best in [text.get_text() for text in axes.texts]


@pytest.mark.parametrize(("runs", "factor"), [(13, 1.0), (16, 1.0), (64, 2.0)])
def test_a_frontier_grows_with_its_labels(runs, factor):
    figure = frontier({f"run {k}": (k / 10, 0.0, 0.02 + k / 100, 0.0) for k in range(runs)})
    assert figure.get_size_inches() == pytest.approx([6.4 * factor, 4.8 * factor])


def test_the_legend_of_long_names_fits():
    names = [f"method_{i} latent_dim=10 flow_training=after" for i in range(8)]
    figure = frontier({name: (20.0 + i, 0.1, 0.1, 0.1) for i, name in enumerate(names)})
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
