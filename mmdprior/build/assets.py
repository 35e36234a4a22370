"""Arrays that a config names by path: files of codes, and the codes of another run."""

from pathlib import Path

from torch import Tensor

from mmdprior.data import thin
from mmdprior.data.codes import read_codes
from mmdprior.errors import InputError
from mmdprior.evaluation import encode
from mmdprior.training import is_checkpoint, read_checkpoint

__all__ = ["read_asset"]

_MOST_CODES = 100_000


def read_asset(path: str) -> Tensor:
    """Read an (m, d) array, or encode the training images of a checkpoint with its model.

    Raises:
        InputError: a file that is neither, or a checkpoint that names a target, whose code would run.
    """
    if not is_checkpoint(Path(path)):
        return read_codes(path)
    # A checkpoint is rebuilt by the builder that asks for its codes: the import cannot stand above.
    from mmdprior.build.data import open_splits
    from mmdprior.build.restore import config_of, model_from_checkpoint

    content = read_checkpoint(Path(path))
    try:
        config = config_of(content, path, trust=False)
    except InputError as error:
        raise InputError(f"{error}: encode it with 'mmdprior encode --trust' and name the codes") from None
    model = model_from_checkpoint(content, config)
    images = open_splits(config.slots["data"], config.data).train
    return encode(model, thin(images, _MOST_CODES), seed=config.seed).latent.sample
