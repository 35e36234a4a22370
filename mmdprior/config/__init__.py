"""Configs: YAML in, objects out."""

from mmdprior.config.build import Builder
from mmdprior.config.experiment import Experiment, assemble
from mmdprior.config.load import dump_config, load_config
from mmdprior.config.rebuild import load_model
from mmdprior.config.schema import Config

__all__ = [
    "Builder",
    "Config",
    "Experiment",
    "assemble",
    "dump_config",
    "load_config",
    "load_model",
]
