"""Figures of codes, scores and models: arrays in, matplotlib figures out.

Matplotlib and torchvision are imported when the first figure is drawn.
"""

from mmdprior.figures.alignment_figure import alignment_figure
from mmdprior.figures.curves import curves, frontier
from mmdprior.figures.factor_map import factor_map, factors_followed
from mmdprior.figures.figures import correlation_map, figures_of, importance_map, pair_map, save_figures
from mmdprior.figures.label_traversal import label_figure, label_traversal
from mmdprior.figures.lps_figure import lps_figure
from mmdprior.figures.marginals import marginals, pair_grid, quantiles
from mmdprior.figures.panels import Panels, prior_samples, reconstructions
from mmdprior.figures.prior_shape import PriorShape
from mmdprior.figures.traversal import Traversal, side_by_side, traverse

__all__ = [
    "Panels",
    "PriorShape",
    "Traversal",
    "alignment_figure",
    "correlation_map",
    "curves",
    "factor_map",
    "factors_followed",
    "figures_of",
    "frontier",
    "importance_map",
    "label_figure",
    "label_traversal",
    "lps_figure",
    "marginals",
    "pair_grid",
    "pair_map",
    "prior_samples",
    "quantiles",
    "reconstructions",
    "save_figures",
    "side_by_side",
    "traverse",
]
