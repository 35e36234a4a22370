"""The correlation of codes and factors behind MCC, and scores of every factor before and after alignment."""

from typing import TYPE_CHECKING

import numpy as np

from mmdprior.errors import InputError
from mmdprior.figures.factor_map import draw_factor_map, short_name
from mmdprior.figures.style import COLOURS, MARKERS, new_figure, styled, text_figure
from mmdprior.metrics import Alignment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["alignment_figure"]


def alignment_figure(result: Alignment, score: str = "mcc_pearson") -> "Figure":
    """Draw the correlations of codes and factors, and a score of every factor before and after alignment.

    The left panel has the absolute Pearson correlations. Frames mark the one-to-one assignment of codes to
    factors with the largest sum, whose mean over factors is MCC. The right panel has one marker per factor
    and map: the codes, their permutation, rotation and independent components.

    Args:
        result: alignment of codes and factors.
        score: name of a computed score that has a part per factor, such as ``mig``, ``sap_r2`` or
            ``mcc_pearson``.

    Raises:
        InputError: the score has no part per factor, or was not computed.

    Example:
        >>> import numpy as np
        >>> from mmdprior.figures import alignment_figure
        >>> from mmdprior.metrics import alignment
        >>> factors = np.random.default_rng(0).integers(0, 5, (600, 2))
        >>> result = alignment(factors @ np.array([[0.8, 0.6], [-0.6, 0.8]]), factors, scores=["mig"])
        >>> figure = alignment_figure(result, "mig")
        >>> [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
        ['codes', 'permutation', 'rotation', 'ica']
    """
    names = [name for name in result.per_factor["codes"] if name in result.scores["codes"]]
    if score not in names:
        raise InputError(f"score: {score!r} received; expected one of {', '.join(names) or 'none'}")
    if not np.isfinite(result.pearson).any():
        return text_figure("correlation of codes and factors: no finite values")
    d, count = result.pearson.shape
    with styled():
        figure = new_figure(4.4 + 0.9 * min(count, 30), 1.8 + 0.28 * min(max(d, count), 40))
        left, right = figure.subplots(1, 2)
        figure.colorbar(draw_factor_map(left, result.pearson, result.factors, result.match), ax=left)
        left.set_title(f"abs(correlation), MCC {_mean_matched(result):.3f}")
        places = np.arange(count)
        for k, (title, scores) in enumerate(result.per_factor.items()):
            shift = 0.15 * (k - (len(result.per_factor) - 1) / 2)
            right.plot(scores[score], places + shift, MARKERS[k], color=COLOURS[k], ms=4, label=title)
        right.set_yticks(places, [short_name(name) for name in result.factors])
        right.set_ylim(count - 0.5, -0.5)
        right.set_xlim(-0.03, 1.03)
        right.set_title(f"{score} of every factor")
        right.legend(fontsize=7)
    return figure


def _mean_matched(result: Alignment) -> float:
    """Return the mean correlation of factors that vary with their codes; a factor without a code has 0."""
    varying = np.isfinite(result.pearson).any(0)
    own = result.pearson[result.match.clip(min=0), np.arange(len(result.match))]
    return float(np.where(result.match >= 0, own, 0.0)[varying].mean())
