"""Runs of a few steps on small sprites, built in memory or in a run directory."""

from pathlib import Path

import torch

from mmdprior.config.load import make_config
from mmdprior.runs import assemble, create_run_directory


def raw_config(**changes):
    """Return a small config as nested dicts, with ``section__field=value`` changes."""
    content = {
        "name": "small",
        "data": {"name": "sprites", "images": 400, "batch_size": 16},
        "model": {
            "name": "mlp",
            "hidden": [8],
            "latent_dim": 4,
            "linear_skip": True,
            "likelihood": "bernoulli",
        },
        "regularizer": {"name": "mmd", "prior": "gaussian", "weight": 10.0},
        "trainer": {"steps": 6, "device": "cpu", "log_every": 2, "checkpoint_every": 2},
        "evaluation": {"every": 3, "final_predictors": ["linear"], "match_samples": 32, "pictures": False},
    }
    for key, value in changes.items():
        section, _, field = key.partition("__")
        if field:
            content[section][field] = value
        else:
            content[section] = value
    return content


def experiment(directory=None, resume=None, **changes):
    """Return the assembled experiment of a small config."""
    return assemble(make_config(raw_config(**changes), Path(), "x"), directory, resume, progress=False)


def trainer(directory=None, resume=None, **changes):
    """Return the trainer of a small config, without validation."""
    built = experiment(directory, resume, **changes).trainer
    built.validate = None
    return built


def run_directory(root):
    """Return a new run directory below ``root``."""
    return create_run_directory(root, "small")


def weights(model):
    """Return a copy of a state dict."""
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(a, b):
    """Return whether two state dicts are equal bit by bit."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
