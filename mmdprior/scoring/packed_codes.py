"""Quantised codes as bytes: a file of packed indices that NumPy reads without this package."""

import copy
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmdprior.errors import InputError
from mmdprior.models.quantiser import Quantiser

__all__ = ["pack_indices", "unpack_indices"]

_NAMES = ("packed", "rows", "bits", "values")


def pack_indices(path: str | PathLike[str], indices: Int[Tensor, "n d"], quantiser: Quantiser) -> int:
    """Write indices with ceil(log2 L) bits each to an .npz file, with the values of the levels.

    Arrays: ``packed`` (uint8, the bits of all rows, most significant bit first), ``rows`` (their number n),
    ``bits`` (d, bits per dimension) and ``values`` (d, L, what the decoder receives; rows of fewer levels
    repeat their last value).

    Args:
        path: file to write.
        indices: level of every code, from 0.
        quantiser: quantiser with these levels.

    Returns:
        Bits of one row of indices.

    Example:
        >>> import numpy as np
        >>> import torch
        >>> from mmdprior.models import FSQ
        >>> from mmdprior.scoring.packed_codes import pack_indices, unpack_indices
        >>> indices = torch.tensor([[7, 0, 4], [3, 5, 2]])
        >>> pack_indices("codes.npz", indices, FSQ(3, levels=8))
        9
        >>> unpack_indices("codes.npz")[0].tolist()
        [[7, 0, 4], [3, 5, 2]]

        NumPy reads the indices of d dimensions with equal numbers of bits in three lines:

        >>> file = np.load("codes.npz")
        >>> n, d, k = int(file["rows"]), len(file["bits"]), int(file["bits"][0])
        >>> rows = np.unpackbits(file["packed"], count=n * d * k).reshape(n, d, k)
        >>> (rows @ (1 << np.arange(k)[::-1])).tolist()
        [[7, 0, 4], [3, 5, 2]]
    """
    levels = np.array(quantiser.levels)
    widths = np.ceil(np.log2(levels)).astype(int)
    columns = indices.cpu().numpy()
    # The bits of one dimension after the other: (n, sum of bits).
    bits = np.concatenate(
        [columns[:, j, None] >> np.arange(width)[::-1] & 1 for j, width in enumerate(widths)], axis=1
    )
    with torch.no_grad():
        every = torch.arange(int(levels.max()))[:, None].minimum(torch.from_numpy(levels) - 1)
        values = copy.deepcopy(quantiser).cpu().values(every).T.numpy()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    packed = np.packbits(bits.astype(np.uint8))
    np.savez(path, packed=packed, rows=len(columns), bits=widths.astype(np.uint8), values=values)
    return int(widths.sum())


def unpack_indices(path: str | PathLike[str]) -> tuple[Int[Tensor, "n d"], Float[Tensor, "n d"]]:
    """Return the indices in a file of `pack_indices`, and the values that the decoder receives for them.

    Raises:
        InputError: not a file of packed indices.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            packed, rows, bits, values = (file[name] for name in _NAMES)
        n, total = int(rows), int(bits.sum())
        table = np.unpackbits(packed, count=n * total).reshape(n, total).astype(np.int64)
        parts = np.split(table, np.cumsum(bits.astype(int))[:-1], axis=1)
        indices = np.stack([part @ (1 << np.arange(part.shape[1])[::-1]) for part in parts], axis=1)
        return torch.from_numpy(indices), torch.from_numpy(values[np.arange(len(bits)), indices])
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"{path}: no packed indices ({type(error).__name__}); give a file that quantise --out wrote"
        ) from None
