"""Pictures of models and codes."""

from mmdprior.reporting.panels import Panels, prior_samples, reconstructions, traversals

__all__ = ["Panels", "prior_samples", "reconstructions", "traversals"]
