"""Pictures of models and codes, and comparisons of finished runs."""

from mmdprior.reporting.comparison import Comparison, read_runs
from mmdprior.reporting.figures import figures_of, save_figures
from mmdprior.reporting.importance import importance_map
from mmdprior.reporting.panels import Panels, prior_samples, reconstructions, traversals

__all__ = [
    "Comparison",
    "Panels",
    "figures_of",
    "importance_map",
    "prior_samples",
    "read_runs",
    "reconstructions",
    "save_figures",
    "traversals",
]
