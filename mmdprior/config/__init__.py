"""Configs: from YAML to a checked `Config`."""

from mmdprior.config.load import dump_config, load_config
from mmdprior.config.schema import Config
from mmdprior.deprecation import moved

__all__ = ["Config", "dump_config", "load_config"]

__getattr__ = moved(
    __name__,
    {
        "Builder": "mmdprior.build:Builder",
        "Experiment": "mmdprior.runs:Experiment",
        "assemble": "mmdprior.runs:assemble",
        "load_model": "mmdprior.build:load_model",
    },
)
