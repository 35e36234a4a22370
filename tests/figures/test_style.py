"""Colours, line styles and file formats of figures."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from mmdprior.figures import marginals
from mmdprior.figures.style import COLOURS, line_style, save_png_and_svg, svg


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("paper", ["#ffffff", "#15181d"])
def test_colours_have_enough_contrast_on_light_and_dark(paper):
    """WCAG 2.1, 1.4.11: graphics at 3:1."""
    for colour in COLOURS:
        low, high = sorted([luminance(colour), luminance(paper)])
        assert (high + 0.05) / (low + 0.05) >= 3, colour


def test_first_sixteen_line_styles_differ_in_colour_or_marker():
    looks = {(look["color"], look["marker"]) for look in map(line_style, range(16))}
    assert len(looks) == 16


def test_figures_are_saved_as_png_and_svg(tmp_path):
    figure = marginals(np.random.default_rng(0).normal(size=(200, 4)))
    png, vector = save_png_and_svg(figure, tmp_path / "new" / "marginals")
    assert png.read_bytes().startswith(b"\x89PNG")
    text = vector.read_text()
    assert "prefers-color-scheme: dark" in text
    assert text == svg(figure)


def test_the_style_of_the_caller_has_no_effect_and_is_kept():
    codes = np.random.default_rng(0).normal(size=(200, 2))
    expected = svg(marginals(codes))
    with matplotlib.rc_context({"font.size": 30, "font.family": "monospace"}):
        assert svg(marginals(codes)) == expected
        assert matplotlib.rcParams["font.size"] == 30


def test_drawing_does_not_import_pyplot():
    """Importing it would choose a backend, and so load a GUI toolkit where one is installed."""
    code = (
        "import sys, numpy; from mmdprior.figures import marginals; from mmdprior.figures.style import png; "
        "png(marginals(numpy.ones((50, 2)))); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
