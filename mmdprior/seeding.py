"""Named random streams: the same seed, name and index give the same numbers in every process."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["generator_options", "global_generators_kept", "stream"]


def stream(seed: int, name: str, index: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a new generator that is a function of its arguments.

    Training uses one stream per purpose and step. A resumed run therefore draws the same numbers as an
    uninterrupted one, although no generator state is saved.

    Args:
        seed: seed of the run.
        name: purpose of the numbers, such as ``"posterior"``. Different names give unrelated numbers.
        index: step, epoch or another counter.
        device: where the numbers are drawn. CPU and CUDA generators give different numbers.

    Example:
        >>> import torch
        >>> from mmdprior.seeding import stream
        >>> noise = torch.randn(3, generator=stream(0, "posterior", index=7))
        >>> torch.equal(noise, torch.randn(3, generator=stream(0, "posterior", index=7)))
        True
        >>> torch.equal(noise, torch.randn(3, generator=stream(0, "posterior", index=8)))
        False
    """
    digest = hashlib.blake2b(f"{seed}/{name}/{index}".encode(), digest_size=8).digest()
    generator = torch.Generator(device=device)
    generator.manual_seed(int.from_bytes(digest, "little") >> 1)  # 63 bits, a non-negative seed
    return generator


def generator_options(generator: torch.Generator | None) -> dict[str, Any]:
    """Return the keyword argument that passes a generator to a random function of torch; empty for None.

    A compiled graph with a variable number of rows cannot draw with ``generator=None``.

    Example:
        >>> import torch
        >>> from mmdprior.seeding import generator_options
        >>> torch.rand(3, **generator_options(None)).shape
        torch.Size([3])
    """
    return {} if generator is None else {"generator": generator}


@contextmanager
def global_generators_kept(device: torch.device | str = "cpu") -> Iterator[None]:
    """Restore the global generators of NumPy and torch, on the CPU and on a device, after a ``with`` block.

    Args:
        device: device whose generator is restored as well.

    Example:
        >>> import torch
        >>> from mmdprior.seeding import global_generators_kept
        >>> with global_generators_kept():
        ...     first = torch.randn(3)
        >>> torch.equal(first, torch.randn(3))
        True
    """
    state = np.random.get_state()
    with torch.random.fork_rng([device] if torch.device(device).type == "cuda" else []):
        try:
            yield
        finally:
            np.random.set_state(state)
