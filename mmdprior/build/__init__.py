"""From a config or a checkpoint to objects."""

from mmdprior.build.assets import read_assets
from mmdprior.build.builder import Builder
from mmdprior.build.device import choose_device
from mmdprior.build.restore import load_model

__all__ = ["Builder", "choose_device", "load_model", "read_assets"]
