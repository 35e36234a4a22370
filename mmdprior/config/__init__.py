'''Configs: YAML -> `Config`.

`load_config` reads a YAML file, applies ``key.sub=value`` overrides and checks everything before any work:
keys, types, names, targets and the arguments behind each of them. The result is a `Config`: one object per
section with every default filled in, and a slot for each part of the run, such as the model's encoder or
the penalty's prior. `dump_config` writes it back as the resolved YAML. `mmdprior.build` makes the objects.

The files, in the order in which a YAML file passes them:

- ``load.py``: YAML text and overrides to a plain mapping, and the config as a whole;
- ``schema.py``: the sections and their keys;
- ``slots.py``: parts with a ``name`` or a ``target``, and nested parts, as fields that pydantic checks;
- ``signature.py``: which arguments a factory takes, and which of them are slots, from its type hints;
- ``catalogue.py``: the factory behind every ``name``; ``targets.py``: the user's own factories;
- ``validation.py``: strict models and one-line errors; ``json_schema.py``: the schema for editors.

Example:
    >>> from pathlib import Path
    >>> from mmdprior.config import load_config
    >>> text = """
    ... name: demo
    ... data: {name: sprites, images: 1000}
    ... model: {name: mlp, hidden: [32], latent_dim: 4}
    ... regularizer: {name: mmd, prior: {name: uniform}, weight: 10}
    ... trainer: {steps: 100}
    ... """
    >>> _ = Path("demo.yaml").write_text(text)
    >>> config = load_config("demo.yaml", ["regularizer.prior.low=-2"])
    >>> config.trainer.steps, config.trainer.learning_rate
    (100, 0.001)
    >>> config.slots["regularizer"].arguments["prior"].to_dict()
    {'name': 'uniform', 'dim': None, 'low': -2.0, 'high': 1.0}
    >>> load_config("demo.yaml", ["regularizer.prior.hihg=2"])
    Traceback (most recent call last):
    mmdprior.errors.InputError: demo.yaml: regularizer.prior.hihg: unknown key; did you mean 'high'?
'''

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
