"""From a `Config` or a checkpoint to objects.

`read_assets` reads the arrays that a config names by path. `Builder` takes config and arrays and makes the
parts of a run: model, penalty, intended prior, schedules. It reads no file, so a checkpoint, which stores
config and arrays, is enough to rebuild its run: `load_model` does this for the model. `mmdprior.runs` adds
data, trainer and run directory.

Every part is built in the same way (``construct.py``): nested slots first, then one call of the factory,
with the arguments that only the builder knows, such as the dimension of the latent. Errors start with the
key path of the part in the YAML file.

Example:
    >>> from mmdprior.build import Builder, read_assets
    >>> from mmdprior.config.load import make_config
    >>> config = make_config(
    ...     {
    ...         "name": "demo",
    ...         "data": {"name": "sprites"},
    ...         "model": {"name": "mlp", "hidden": [32], "latent_dim": 4},
    ...         "regularizer": {"name": "mmd", "prior": {"name": "uniform"}, "kernel": "imq"},
    ...         "trainer": {"steps": 100},
    ...     }
    ... )
    >>> builder = Builder(config, read_assets(config))
    >>> penalty = builder.regularizer()
    >>> type(penalty).__name__, type(penalty.prior).__name__, penalty.prior.dim
    ('MMD', 'Uniform', 4)
    >>> model = builder.model(image_shape=(1, 16, 16))
    >>> sum(parameter.numel() for parameter in model.encoder.parameters())
    8356
"""

from mmdprior.build.assets import read_assets
from mmdprior.build.builder import Builder
from mmdprior.build.device import choose_device
from mmdprior.build.restore import load_model

__all__ = ["Builder", "choose_device", "load_model", "read_assets"]
