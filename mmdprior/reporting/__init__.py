"""Pictures of models and codes, and comparisons of finished runs."""

from mmdprior.reporting.comparison import Comparison, read_runs
from mmdprior.reporting.curves import curves, frontier
from mmdprior.reporting.figures import figures_of, save_figures
from mmdprior.reporting.heat_maps import correlation_map, importance_map, pair_map
from mmdprior.reporting.lps_figure import lps_figure
from mmdprior.reporting.marginals import marginals, quantiles
from mmdprior.reporting.pair_grid import pair_grid
from mmdprior.reporting.panels import Panels, prior_samples, reconstructions
from mmdprior.reporting.prior_shape import PriorShape
from mmdprior.reporting.runs import Run
from mmdprior.reporting.traversal import Traversal, side_by_side, traverse

__all__ = [
    "Comparison",
    "Panels",
    "PriorShape",
    "Run",
    "Traversal",
    "correlation_map",
    "curves",
    "figures_of",
    "frontier",
    "importance_map",
    "lps_figure",
    "marginals",
    "pair_grid",
    "pair_map",
    "prior_samples",
    "quantiles",
    "read_runs",
    "reconstructions",
    "save_figures",
    "side_by_side",
    "traverse",
]
