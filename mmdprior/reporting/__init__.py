"""Pictures of models and codes."""

from mmdprior.reporting.importance import importance_map
from mmdprior.reporting.panels import Panels, prior_samples, reconstructions, traversals

__all__ = ["Panels", "importance_map", "prior_samples", "reconstructions", "traversals"]
