"""From a config or a checkpoint to objects."""

from mmdprior.build.builder import Builder
from mmdprior.build.restore import load_model

__all__ = ["Builder", "load_model"]
