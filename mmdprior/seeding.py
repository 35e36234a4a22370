"""Named random streams: the same (seed, name, index) gives the same numbers wherever it is asked."""

import hashlib

import torch

__all__ = ["stream"]


def stream(seed: int, name: str, index: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator that depends on nothing but its arguments.

    Training draws from one stream per purpose and step, so a resumed run sees the numbers of the
    uninterrupted one without any stored generator state.

    Args:
        seed: the run's seed.
        name: what the numbers are for, such as ``"posterior"``.
        index: the step or epoch.
        device: where the numbers are drawn; a CPU stream and a CUDA stream differ.
    """
    digest = hashlib.blake2b(f"{seed}/{name}/{index}".encode(), digest_size=8).digest()
    generator = torch.Generator(device=device)
    generator.manual_seed(int.from_bytes(digest, "little") >> 1)
    return generator
