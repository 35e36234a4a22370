"""No table of codes and factors crashes a score, and no score is NaN without a warning that names it.

``MMDPRIOR_EXAMPLES=1000 pytest tests/metrics/supervised/test_random_tables.py`` tries more of them.
"""

import json
import math
import os
import warnings

import numpy as np
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from mmdprior.metrics import SupervisedProtocol, disentanglement
from mmdprior.metrics.supervised.scores import SCORES

EXAMPLES = int(os.environ.get("MMDPRIOR_EXAMPLES", "10"))
PROBES = ("histogram", "gradient_boosted", "random_forest", "lasso", "logistic")
CODES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "constant": lambda rng, n: np.full(n, 3.0),
    "tiny": lambda rng, n: 1e-7 * rng.normal(size=n),
    "large": lambda rng, n: 1e7 + 1e3 * rng.normal(size=n),
    "integers": lambda rng, n: rng.integers(0, 4, n).astype(float),
    "huge": lambda rng, n: 1e300 * rng.normal(size=n),
    "heavy": lambda rng, n: rng.standard_cauchy(n),
}
FACTORS = {
    "levels": lambda rng, n: rng.integers(0, 5, n).astype(float),
    "binary": lambda rng, n: rng.choice([-1.0, 1.0], n),
    "constant": lambda rng, n: np.full(n, 2.0),
    "one row per level": lambda rng, n: rng.permutation(n).astype(float),
    "continuous": lambda rng, n: rng.normal(size=n),
    "missing": lambda rng, n: rng.integers(-1, 4, n).astype(float),
    "mostly missing": lambda rng, n: np.where(rng.random(n) < 0.9, np.nan, rng.integers(0, 3, n)),
    "all missing": lambda rng, n: np.full(n, np.nan),
    "rare level": lambda rng, n: (np.arange(n) == 0).astype(float),
    "text": lambda rng, n: rng.choice(["", "a", "b"], n),
    "bool": lambda rng, n: rng.random(n) < 0.5,
    "uint8": lambda rng, n: rng.integers(0, 3, n).astype(np.uint8),
}
DTYPES = ("float16", "float32", "float64")


@seed(0)
@settings(max_examples=EXAMPLES, deadline=None, database=None)
@given(
    n=st.integers(4, 60),
    columns=st.lists(st.sampled_from(sorted(CODES)), min_size=1, max_size=4),
    factors=st.lists(st.sampled_from(sorted(FACTORS)), min_size=1, max_size=4),
    kind=st.sampled_from([None, "discrete", "ordinal", "circular", "continuous"]),
    duplicate=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    probe=st.sampled_from(PROBES),
    random_seed=st.integers(0, 2**16),
)
def test_scores_are_numbers_or_named(n, columns, factors, kind, duplicate, dtype, probe, random_seed):
    rng = np.random.default_rng(random_seed)
    codes = np.stack([CODES[name](rng, n) for name in columns], 1)
    codes = np.hstack([codes, codes[:, :1]]) if duplicate else codes
    codes = codes if dtype == "float64" else np.clip(codes, -6e4, 6e4).astype(dtype)
    table = {f"{name} {k}": FACTORS[name](rng, n) for k, name in enumerate(factors)}
    kinds = None if kind is None else {name: kind for name in table if not name.startswith("text")}
    protocol = SupervisedProtocol(batch=8, train_votes=40, test_votes=20, probe=probe)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        result = disentanglement(codes, table, kinds=kinds, protocol=protocol, chance=1)
    assert set(result.scores) == set(SCORES)
    text = "\n".join(result.warnings)
    for name, score in result.scores.items():
        assert not math.isinf(score)
        if math.isnan(score):
            assert name in text, (name, result.warnings)
        else:
            assert -1.0 - 1e-9 <= score <= 1 + 1e-9, (name, score)
    json.dumps(result.to_dict(), allow_nan=False)
