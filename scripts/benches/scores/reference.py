"""Run the metric modules of a checkout of google-research/disentanglement_lib on a table of codes.

The modules need gin, absl and six. Small stand-ins take their place, so TensorFlow is not needed.
"""

import contextlib
import functools
import inspect
import io
import sys
import time
import types
import warnings
from pathlib import Path

import numpy as np

BATCH, TRAIN, TEST, VARIANCES, BINS = 64, 10_000, 5_000, 10_000, 20
SETTINGS = {
    "prune_dims.threshold": 0.05,
    "discretizer.num_bins": BINS,
    "histogram_discretizer.num_bins": BINS,
}


def load(checkout):
    """Return a function that imports a metric module of a checkout by its name."""
    if not (Path(checkout) / "disentanglement_lib" / "evaluation" / "metrics").is_dir():
        raise SystemExit(f"--reference: {checkout} received; give a checkout of disentanglement_lib")
    gin, six = types.ModuleType("gin"), types.ModuleType("six")
    gin.REQUIRED, gin.configurable, gin.tf = object(), _configurable, types.ModuleType("gin.tf")
    six.moves = types.ModuleType("six.moves")
    six.moves.range = range
    sys.modules |= {"gin": gin, "gin.tf": gin.tf, "six": six, "six.moves": six.moves}
    sys.path.insert(0, str(checkout))
    import sklearn.metrics  # noqa: F401  # the reference expects it as an attribute of sklearn

    def module(name):
        return __import__(f"disentanglement_lib.evaluation.metrics.{name}", fromlist=[name])

    SETTINGS["discretizer.discretizer_fn"] = module("utils")._histogram_discretize
    return module


def _configurable(name, **_):
    """Return a decorator that fills missing arguments in from SETTINGS."""

    def decorate(function):
        parameters = inspect.signature(function).parameters

        @functools.wraps(function)
        def call(*args, **options):
            given = inspect.signature(function).bind_partial(*args, **options).arguments
            missing = {p: SETTINGS[f"{name}.{p}"] for p in parameters if f"{name}.{p}" in SETTINGS}
            return function(*args, **options, **{p: v for p, v in missing.items() if p not in given})

        return call

    return decorate


class FullGrid:
    """A full grid of factors as the data that the reference draws from; an observation is a row number."""

    def __init__(self, factors):
        self.sizes = factors.max(0) + 1
        self.num_factors = factors.shape[1]
        self.strides = np.append(np.cumprod(self.sizes[:0:-1])[::-1], 1)
        place = factors @ self.strides
        if len(np.unique(place)) != len(factors) or len(factors) != self.sizes.prod():
            raise SystemExit("--reference: the reference needs a full grid of factors, numbered from 0")
        self.rows = np.empty(len(factors), dtype=np.int64)
        self.rows[place] = np.arange(len(factors))

    def sample_factors(self, count, random_state):
        return np.stack([random_state.randint(size, size=count) for size in self.sizes], 1)

    def sample_observations_from_factors(self, factors, random_state):
        return self.rows[factors @ self.strides]

    def sample(self, count, random_state):
        factors = self.sample_factors(count, random_state)
        return factors, self.sample_observations_from_factors(factors, random_state)

    def sample_observations(self, count, random_state):
        return self.sample(count, random_state)[1]


def reference_scores(module, codes, factors, names, seed=0):
    """Return scores, and CPU seconds of every computation, at the protocol of Locatello et al. (2019)."""
    data = FullGrid(factors)
    sizes = {"num_train": TRAIN, "batch_size": BATCH}
    both = {**sizes, "num_test": TEST}
    votes = {**sizes, "num_eval": TEST}
    jobs = {
        "beta_vae": ("beta_vae", "compute_beta_vae_sklearn", votes, {"beta_vae": "eval_accuracy"}),
        "factor_vae": (
            "factor_vae",
            "compute_factor_vae",
            {**votes, "num_variance_estimate": VARIANCES},
            {"factor_vae": "eval_accuracy"},
        ),
        "mig": ("mig", "compute_mig", sizes, {"mig": "discrete_mig"}),
        "sap": ("sap_score", "compute_sap", {**both, "continuous_factors": False}, {"sap": "SAP_score"}),
        "sap_r2": ("sap_score", "compute_sap", {**both, "continuous_factors": True}, {"sap_r2": "SAP_score"}),
        "explicitness": (
            "modularity_explicitness",
            "compute_modularity_explicitness",
            both,
            {"modularity": "modularity_score", "explicitness": "explicitness_score_test"},
        ),
        "irs": ("irs", "compute_irs", sizes, {"irs": "IRS"}),
        "dci": (
            "dci",
            "compute_dci",
            both,
            {
                "dci_disentanglement": "disentanglement",
                "dci_completeness": "completeness",
                "dci_informativeness": "informativeness_test",
            },
        ),
    }
    scores, seconds = {}, {}
    for title, (file, function, options, keys) in jobs.items():
        if not set(keys) & set(names):
            continue
        compute = getattr(module(file), function)
        start = time.process_time()
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            values = compute(data, lambda rows: codes[rows], np.random.RandomState(seed), **options)
        seconds[title] = time.process_time() - start
        scores |= {ours: float(values[theirs]) for ours, theirs in keys.items()}
    return scores, seconds
