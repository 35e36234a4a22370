"""Pictures of models and codes."""

from mmdprior.reporting.figures import figures_of, save_figures
from mmdprior.reporting.importance import importance_map
from mmdprior.reporting.panels import Panels, prior_samples, reconstructions, traversals

__all__ = [
    "Panels",
    "figures_of",
    "importance_map",
    "prior_samples",
    "reconstructions",
    "save_figures",
    "traversals",
]
