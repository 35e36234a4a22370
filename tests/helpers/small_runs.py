"""Small runs that several tests train."""

from pathlib import Path

import torch

from mmdprior.config.load import make_config
from mmdprior.runs import assemble, create_run_directory


def raw(**changes):
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
    return assemble(make_config(raw(**changes), Path(), "x"), directory, resume, progress=False)


def run_directory(root):
    return create_run_directory(root, "small")


def weights(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
