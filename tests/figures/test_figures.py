"""Every figure function on every kind of codes: a picture or one stated line, never a traceback."""

import re

import numpy as np
import pytest
import torch
from scipy import stats

from mmdprior import InputError
from mmdprior.figures import (
    PriorShape,
    correlation_map,
    curves,
    frontier,
    importance_map,
    lps_figure,
    marginals,
    pair_grid,
    pair_map,
    quantiles,
)
from mmdprior.figures.lps_figure import R2
from mmdprior.figures.marginals import dependence, strongest_pairs
from mmdprior.figures.prior_shape import finite_rows
from mmdprior.figures.style import COLOURS, line_style, pixels, save_png_and_svg, svg
from mmdprior.metrics import lps
from mmdprior.priors import FromCallable, Gaussian, Uniform

N = 200
RNG = np.random.default_rng(0)


def spoilt():
    z = RNG.normal(size=(N, 3))
    z[3, 1], z[5, 0], z[7, 2] = np.nan, np.inf, -np.inf
    return z


CODES = {
    "usual": RNG.normal(size=(N, 4)),
    "collapsed": np.zeros((N, 4)),
    "partly collapsed": RNG.normal(size=(N, 4)) * np.array([1, 0, 1, 1e-9]),
    "one dimension": RNG.normal(size=(N, 1)),
    "512 dimensions": RNG.normal(size=(N, 512)),
    "not all finite": spoilt(),
    "nothing finite": np.full((N, 3), np.nan),
    "one row": RNG.normal(size=(1, 3)),
    "none": np.zeros((0, 3)),
    "huge": 1e30 * RNG.normal(size=(N, 3)),
    "integers": RNG.integers(0, 3, size=(N, 3)),
}
SHAPES = {d: PriorShape.of(Gaussian(d), draws=50) for d in (1, 3, 4, 512)}


def texts(figure):
    """All that a figure says."""
    found = [text.get_text() for text in figure.texts]
    found += [figure.get_suptitle()] + [t.get_text() for axes in figure.axes for t in axes.texts]
    return " ".join(found + [axes.get_title() + axes.get_title(loc="left") for axes in figure.axes])


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("draw", ["marginals", "marginals alone", "quantiles", "pairs", "correlation"])
def test_figures_of_codes_bear_everything(draw, name):
    z = CODES[name]
    shape = SHAPES[z.shape[1]]
    figure = {
        "marginals": lambda: marginals(z, shape),
        "marginals alone": lambda: marginals(torch.from_numpy(z)),
        "quantiles": lambda: quantiles(z, shape),
        "pairs": lambda: pair_grid(z, shape),
        "correlation": lambda: correlation_map(z),
    }[draw]()
    image = pixels(figure, dpi=30)
    assert image.ndim == 3
    assert image.std() > 1
    if name == "not all finite":
        assert "3 of 200 codes are not finite and left out" in texts(figure)
    if name in ("nothing finite", "none"):
        assert re.search("no finite codes|fewer than two", texts(figure))
    if name in ("collapsed", "one dimension") and draw == "pairs":
        assert "fewer than two dimensions vary" in texts(figure)


MATRICES = {
    "usual": np.abs(RNG.normal(size=(5, 5))),
    "zero": np.zeros((4, 4)),
    "one": np.array([[np.nan]]),
    "nothing finite": np.full((40, 40), np.nan),
    "infinite": np.array([[np.nan, np.inf], [0.5, np.nan]]),
    "512": RNG.normal(size=(512, 512)),
}


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("draw", [lambda m: pair_map(m, "pairs"), importance_map])
def test_maps_bear_everything(draw, name):
    figure = draw(MATRICES[name])
    assert pixels(figure, dpi=30).std() > 1
    if name in ("one", "nothing finite"):
        assert "no finite values" in texts(figure)


R2S = {
    "usual": R2(RNG.normal(size=8), np.zeros(8), 0.2),
    "inactive": R2(np.array([0.1, np.nan, 0.2]), np.array([0.0, np.nan, 0.0]), 0.15),
    "nothing": R2(np.full(3, np.nan), np.full(3, np.nan), np.nan),
    "no null": R2(np.array([0.1, 0.2]), np.zeros(0), 0.15),
    "very negative": R2(np.array([-50.0, 0.1]), np.zeros(2), 0.05),
    "one": R2(np.array([np.nan]), np.array([np.nan]), np.nan),
    "512": R2(RNG.normal(size=512), np.zeros(512), 0.1),
}


@pytest.mark.parametrize("name", R2S)
def test_lps_figure_bears_everything(name):
    figure = lps_figure({name: R2S[name]})
    assert pixels(figure, dpi=30).std() > 1
    if name in ("nothing", "one"):
        assert "fewer than two active dimensions" in texts(figure)


def test_lps_figure_shows_the_numbers_of_a_result():
    result = lps(torch.randn(400, 3), "linear")
    figure = lps_figure({"linear": R2.of(result)})
    (lines,) = [c for c in figure.axes[0].collections if len(c.get_paths()) == 3]
    heights = [path.vertices[1, 1] for path in lines.get_paths()]
    assert np.allclose(heights, result.r2)
    assert f"LPS {result.score:.4f}" in texts(figure)


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
def test_curves_bear_everything(lines):
    figure = curves(lines, "title", "label", log=True)
    assert pixels(figure, dpi=30).std() > 1
    if not any(np.isfinite(v).any() for seeds in lines.values() for _, v in seeds):
        assert "no finite values were logged" in texts(figure)


def test_thick_curve_is_the_mean_over_seeds():
    seeds = [(STEPS, np.array([1.0, 2.0])), (np.array([0, 10, 20]), np.array([3.0, 6.0, 9.0]))]
    figure = curves({"a": seeds}, "title", "label")
    thick = [line for line in figure.axes[0].lines if line.get_label() == "a"]
    assert [line.get_ydata().tolist() for line in thick] == [[2.0, 4.0]]


def test_frontier_joins_what_nothing_beats():
    nan = float("nan")
    points = {"a": (20.0, 0.1, 0.5, 0.1), "b": (18.0, nan, 0.1, nan), "c": (17.0, nan, 0.3, nan)}
    points["d"] = (nan, nan, 0.1, nan)
    figure = frontier(points, hollow=["c"])
    line = figure.axes[0].lines[0]
    assert line.get_xdata().tolist() == [0.1, 0.5]
    assert line.get_ydata().tolist() == [18.0, 20.0]
    assert "hollow: prior not matched" in texts(figure)
    assert "no run has both" in texts(frontier({"d": points["d"]}))
    assert pixels(frontier({f"run {i}": (20.0, nan, -0.001 * i, nan) for i in range(100)}), 30).std() > 1


def test_shape_of_a_prior_is_that_of_scipy():
    for prior, law in (
        (Gaussian(2, mean=1.0, scale=2.0), stats.norm(1, 2)),
        (Uniform(2), stats.uniform(-1, 2)),
    ):
        shape = PriorShape.of(prior)
        levels = np.array([0.02, 0.5, 0.9])
        assert np.allclose(shape.quantiles(levels)[:, 1], law.ppf(levels), atol=2e-3)
        middles, density = shape.density(0)
        inside = np.abs(law.cdf(middles) - 0.5) < 0.45
        assert np.allclose(density[inside], law.pdf(middles[inside]), rtol=2e-3)
    by_draws = PriorShape.of(FromCallable(lambda n: torch.randn(n, 2), 2))
    assert np.allclose(by_draws.quantiles(np.array([0.1, 0.5]))[:, 0], stats.norm.ppf([0.1, 0.5]), atol=0.05)


def test_distances_are_those_of_kolmogorov_and_smirnov():
    z = np.column_stack([RNG.normal(size=3000), 0.5 * RNG.normal(size=3000), np.zeros(3000)])
    expected = [stats.kstest(column, "norm").statistic for column in z.T]
    assert np.allclose(PriorShape.of(Gaussian(3)).distances(z), expected, atol=0.01)


def test_dependence_sees_more_than_correlation():
    angle = RNG.uniform(0, 2 * np.pi, 4000)
    z = np.column_stack([np.cos(angle), np.sin(angle), *RNG.normal(size=(3, 4000)), np.ones(4000)])
    z[:, 3] = z[:, 2] ** 2
    measure = dependence(z)
    assert abs(np.corrcoef(z.T[:2])[0, 1]) < 0.05
    assert set(strongest_pairs(measure, 2)) == {(0, 1), (2, 3)}
    assert np.isnan(measure[5]).all()
    assert strongest_pairs(np.full((3, 3), np.nan), 2) == []


def test_codes_that_are_no_table_are_refused():
    for bad in (np.zeros(3), np.zeros((3, 0)), np.zeros((2, 2, 2))):
        with pytest.raises(InputError, match="codes: shape"):
            finite_rows(bad)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("paper", ["#ffffff", "#15181d"])
def test_colours_stand_out_on_light_and_on_dark(paper):
    """WCAG 2.1, 1.4.11: graphics at 3:1."""
    for colour in COLOURS:
        low, high = sorted([luminance(colour), luminance(paper)])
        assert (high + 0.05) / (low + 0.05) >= 3, colour


def test_points_of_sixteen_runs_can_be_told_apart():
    looks = {(look["color"], look["marker"]) for look in map(line_style, range(16))}
    assert len(looks) == 16


def test_figures_are_saved_as_vector_and_pixels(tmp_path):
    figure = marginals(CODES["usual"], SHAPES[4])
    png, vector = save_png_and_svg(figure, tmp_path / "new" / "marginals")
    assert png.read_bytes().startswith(b"\x89PNG")
    text = vector.read_text()
    assert "prefers-color-scheme: dark" in text
    assert text == svg(figure)
