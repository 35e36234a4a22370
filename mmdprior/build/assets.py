"""Assets: the arrays that a config names by path, read before anything is built."""

from torch import Tensor

from mmdprior.build.construct import error_path
from mmdprior.build.data import open_splits
from mmdprior.build.restore import checkpoint_file, config_of, model_from_checkpoint
from mmdprior.config.schema import Config
from mmdprior.config.slots import Slot
from mmdprior.data import thin
from mmdprior.data.codes import read_codes
from mmdprior.errors import InputError
from mmdprior.evaluation import encode
from mmdprior.files import expand
from mmdprior.training import is_checkpoint, read_checkpoint

__all__ = ["read_assets"]

_MAX_CODES = 100_000


def read_assets(source: Config | Slot) -> dict[str, Tensor]:
    """Read every array that a config, or one slot, names by path.

    Only priors called ``samples`` name arrays. The tensors are handed to `Builder` and stored in
    checkpoints, so rebuilding a run from a checkpoint reads no file.

    Args:
        source: a config, or a slot with its nested slots.

    Returns:
        One (m, d) tensor per path, under the path as it is written in the config.

    Raises:
        InputError: a file that is neither an array nor a checkpoint, or a checkpoint that names a target.

    Example:
        >>> import numpy as np
        >>> from mmdprior.build.assets import read_assets
        >>> from mmdprior.config.slots import check_slot
        >>> np.save("codes.npy", np.zeros((50, 4)))
        >>> assets = read_assets(check_slot("prior", {"name": "samples", "path": "codes.npy"}))
        >>> assets["codes.npy"].shape
        torch.Size([50, 4])
    """
    assets: dict[str, Tensor] = {}
    slots = [source] if isinstance(source, Slot) else list(source.slots.values())
    while slots:
        slot = slots.pop(0)
        slots.extend(slot.nested())
        if slot.kind == "prior" and slot.name == "samples":
            path = str(slot.arguments["path"])
            with error_path(slot.path):
                assets[path] = assets[path] if path in assets else _read(path)
    return assets


def _read(path: str) -> Tensor:
    """Read an (m, d) array, or encode the training images of a checkpoint with its model."""
    file = checkpoint_file(expand(path))
    if not is_checkpoint(file):
        return read_codes(expand(path))
    content = read_checkpoint(file)
    try:
        config = config_of(content, path, trust=False)
    except InputError as error:
        raise InputError(
            f"{error}: write its codes with 'mmdprior encode --trust' and give that file"
        ) from None
    model = model_from_checkpoint(content, config)
    images = open_splits(config.slots["data"], config.data).train
    return encode(model, thin(images, _MAX_CODES), seed=config.seed).latent.sample
