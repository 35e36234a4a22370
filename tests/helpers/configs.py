"""A small config for tests, and changed copies of it."""

import copy
from pathlib import Path

HELPERS = Path(__file__).parent
TOYS = HELPERS / "toys.py"
NESTED = HELPERS / "nested_targets.py"

SMALL = {
    "name": "small",
    "data": {"name": "sprites", "images": 400, "batch_size": 16},
    "model": {"name": "mlp", "hidden": [8], "latent_dim": 4},
    "regularizer": {"name": "mmd", "prior": {"name": "gaussian"}},
    "trainer": {"steps": 1, "device": "cpu"},
}


def changed(path, value, base=SMALL):
    """Return a copy of a config with one value set by key path; None drops the key."""
    raw = copy.deepcopy(base)
    holder = raw
    *parents, last = path.split(".")
    for key in parents:
        holder = holder.setdefault(key, {})
    if value is None:
        holder.pop(last)
    else:
        holder[last] = value
    return raw
