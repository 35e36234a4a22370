"""Mutations: configs with keys dropped, renamed, retyped or out of range train or give a one-line error.

``MMDPRIOR_EXAMPLES=1000 pytest tests/config/test_mutations.py`` tries more of them.
"""

import copy
import io
import os
import resource
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmdprior.cli.main import run
from mmdprior.config.load import make_config
from mmdprior.runs import assemble

EXAMPLES = int(os.environ.get("MMDPRIOR_EXAMPLES", "40"))
CONFIG = {
    "name": "small",
    "seed": 0,
    "data": {
        "name": "sprites",
        "images": 300,
        "batch_size": 16,
        "validation": 40,
        "test": 40,
        "limit": 100,
        "resident": "auto",
        "split_seed": 1,
    },
    "model": {
        "name": "mlp",
        "hidden": [8],
        "latent_dim": 3,
        "posterior": "gaussian",
        "likelihood": {"name": "bernoulli"},
        "linear_skip": True,
    },
    "regularizer": {
        "name": "mmd",
        "weight": 10.0,
        "prior": {
            "name": "product",
            "blocks": [
                {"name": "gaussian_mixture", "means": [[-2.0, 0.0], [2.0, 0.0]], "scale": 0.4},
                {"name": "uniform", "low": -1.7, "high": 1.7},
            ],
        },
        "kernel": {"name": "sum", "kernels": [{"name": "rbf", "lengthscale": 1.0}, {"name": "wae_imq"}]},
        "estimator": "auto",
        "schedule": {"name": "warmup", "warmup_steps": 2},
    },
    "trainer": {
        "steps": 1,
        "device": "cpu",
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "betas": [0.9, 0.99],
        "schedule": {"name": "cosine", "warmup_steps": 1, "final": 0.1},
        "gradient_clip": 1.0,
        "precision": "float32",
        "log_every": 1,
        "checkpoint_every": 1,
        "keep_every": 2,
        "keep_last": 1,
    },
    "evaluation": {
        "every": 100,
        "prior": "gaussian",
        "limit": 60,
        "batch_size": 20,
        "predictors": ["linear"],
        "final_predictors": ["linear"],
        "match_samples": 20,
        "monitor": "reconstruction/psnr",
    },
}
VALUES = [
    *(0, 1, 2, -1, 3, 50, 2**31, 2**63, 10**30, -(2**40), 0.5, -0.5, 1e-320, 1e308, -1e308),
    *(
        float("nan"),
        float("inf"),
        True,
        False,
        None,
        "",
        "x",
        "auto",
        "linear",
        "gaussian",
        "\0",
        "../x",
        "1e-3",
    ),
    *([], [1], [0], [-1], [1.5, "x"], [[1, 2], [3]], [None], {}, {"name": "gaussian"}, {"name": "nope"}),
    *({"target": "x"}, {"target": "os:getcwd"}, {"target": "os:environ"}, {"name": {"name": "rbf"}}, {1: 2}),
    *({"name": "uniform", "low": 2.0, "high": 1.0}, {"name": "kl"}, {"name": "conv"}, (1, 2), b"x", 1j),
]


def places(value, path=()):
    """Return the path of every entry of a nested config."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [place for key, entry in entries for place in [(*path, key), *places(entry, (*path, key))]]


def change(raw, path, kind, value):
    """Change one entry in place, unless an earlier change removed it."""
    holder = raw
    try:
        for key in path[:-1]:
            holder = holder[key]
        here = holder[path[-1]]
    except (KeyError, IndexError, TypeError):
        return
    if not isinstance(holder, (dict, list)):
        return
    if kind == "drop" or (kind == "rename" and isinstance(holder, list)):
        del holder[path[-1]]
    elif kind == "rename":
        del holder[path[-1]]
        holder[f"{path[-1]}s"] = here
    elif kind == "retype":
        holder[path[-1]] = [here] if not isinstance(here, list) else str(here)
    else:
        holder[path[-1]] = copy.deepcopy(value)


@contextmanager
def little_memory(extra=3 * 2**30):
    """Limit the memory of this process, so that impossible sizes fail at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def train(raw):
    """Train at most one step and score, with the exit status of the command."""

    def command(_):
        trained = assemble(make_config(raw, Path(), "config.yaml"), progress=False)
        trained.trainer.steps = min(1, trained.trainer.steps)
        trained.trainer.validate = None
        trained.run()
        return 0

    with little_memory():
        return run(command, [])


def test_the_config_itself_trains():
    assert train(CONFIG) == 0


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(places(CONFIG)),
            st.sampled_from(["drop", "rename", "retype", "value", "value", "value"]),
            st.sampled_from(VALUES),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_mutated_configs_never_end_in_a_traceback(mutations):
    raw = copy.deepcopy(CONFIG)
    for path, kind, value in mutations:
        change(raw, path, kind, value)
    errors = io.StringIO()
    with redirect_stderr(errors):
        status = train(raw)
    assert status in (0, 2)
    if status == 2:
        assert errors.getvalue().count("\n") == 1
        assert errors.getvalue().startswith("error: ")
